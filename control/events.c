/* SPDX-License-Identifier: Apache-2.0 */
#include "control/events.h"

#include "control/visibility.h"

enum {
	MAX_FRESH = 65536, /* that wait for a registry that cannot be written */
	REPLAY_PORTION = 128, /* events sent to one subscriber at a time ... */
	REPLAY_PAUSE_MS = 5, /* ... and the pause until the next */
};

struct event {
	struct list of_fresh;
	struct registry_event row; /* its strings are allocated, but for boot_id */
};

struct subscription {
	struct list of_events;
	struct conn *conn;
	bool sees_host; /* an operator: the host's events, too */
	char *owner_prefix;
	char *owner, *session; /* filters; NULL: any */
	json_t *kinds; /* array of strings, "session.*" for a group; NULL: any */
	uint64_t next; /* the number it waits for */
};

static void event_free(struct event *event)
{
	free((void *)(uintptr_t)event->row.kind);
	free((void *)(uintptr_t)event->row.session);
	free((void *)(uintptr_t)event->row.owner);
	free((void *)(uintptr_t)event->row.data);
	free(event);
}

static void subscription_free(struct subscription *subscription)
{
	list_remove(&subscription->of_events);
	free(subscription->owner_prefix);
	free(subscription->owner);
	free(subscription->session);
	json_decref(subscription->kinds);
	free(subscription);
}

/* ---- emitting ---- */

static void drop_oldest(struct events *events)
{
	event_free(container_of(list_take_first(&events->fresh), struct event, of_fresh));
	events->n_fresh--;
}

void events_emit(struct events *events, const char *kind, const char *session, const char *owner, json_t *data)
{
	struct event *event = calloc(1, sizeof(*event));
	uint64_t seq = events->next_seq++;

	if (event) {
		event->row = (struct registry_event){
			.seq = seq,
			.at_ns = realtime_ns(),
			.boot_id = events->boot_id,
			.kind = strdup(kind),
			.session = strdup(session),
			.owner = strdup(owner),
			.data = data ? json_dumps(data, JSON_COMPACT) : strdup("{}"),
		};
	}
	json_decref(data);
	if (!event)
		return;
	if (!event->row.kind || !event->row.session || !event->row.owner || !event->row.data) {
		event_free(event);
		return;
	}
	if (events->n_fresh >= MAX_FRESH)
		drop_oldest(events);
	list_append(&events->fresh, &event->of_fresh);
	events->n_fresh++;
	events->on_fresh(events);
}

int events_write(struct events *events)
{
	int r = 0;

	if (list_is_empty(&events->fresh))
		return 0;
	for (struct list *l = events->fresh.next; l != &events->fresh && r == 0; l = l->next)
		r = registry_put_event(events->registry, &container_of(l, struct event, of_fresh)->row);
	if (r == 0 && events->next_seq > events->history)
		r = registry_trim_events(events->registry, events->next_seq - events->history);
	return r;
}

/* ---- sending ---- */

static bool kind_matches(const json_t *kinds, const char *kind)
{
	const json_t *item;
	size_t i;

	if (!kinds)
		return true;
	json_array_foreach (kinds, i, item) {
		const char *pattern = json_string_value(item);
		size_t n = strlen(pattern);
		if (n > 0 && pattern[n - 1] == '*' ? strncmp(pattern, kind, n - 1) == 0 : streq(pattern, kind))
			return true;
	}
	return false;
}

/* Of neither a session nor an owner. */
static bool is_of_host(const struct registry_event *event)
{
	return !event->session[0] && !event->owner[0];
}

static bool is_wanted(const struct subscription *subscription, const struct registry_event *event)
{
	/* What belongs to nobody is the operators' business. */
	if (!subscription->sees_host &&
		(is_of_host(event) || !owner_has_prefix(event->owner, subscription->owner_prefix)))
		return false;
	if (subscription->owner && !streq(subscription->owner, event->owner))
		return false;
	if (subscription->session && !streq(subscription->session, event->session))
		return false;
	return kind_matches(subscription->kinds, event->kind);
}

static json_t *event_json(const struct registry_event *event)
{
	json_t *json = json_pack("{s:I, s:s, s:o, s:s, s:o, s:o}", "seq", (json_int_t)event->seq, "boot_id",
		event->boot_id, "at", json_time(event->at_ns), "kind", event->kind, "session",
		event->session[0] ? json_string(event->session) : json_null(), "owner",
		is_of_host(event) ? json_null() : json_string(event->owner));
	json_t *data = json_loads(event->data, 0, NULL);

	json_object_update_missing(json, data);
	json_decref(data);
	return json;
}

static json_t *range_json(uint64_t first, uint64_t last)
{
	return json_pack("{s:I, s:I}", "from", (json_int_t)first, "to", (json_int_t)last);
}

/* Moves SUBSCRIPTION on to the number NEXT and says so where that leaves events out. */
static void skip_to(struct subscription *subscription, uint64_t next)
{
	if (next > subscription->next)
		conn_notify(subscription->conn, "event",
			json_pack("{s:s, s:o}", "kind", "events.gone", "gone",
				range_json(subscription->next, next - 1)));
	subscription->next = next;
}

/* Hands the next event of the history to SUBSCRIPTION, and what is missing before it. */
static int send_event(void *arg, const struct registry_event *event)
{
	struct subscription *subscription = arg;

	skip_to(subscription, event->seq);
	subscription->next++;
	if (is_wanted(subscription, event))
		conn_notify(subscription->conn, "event", event_json(event));
	return 0;
}

static uint64_t first_fresh(const struct events *events)
{
	if (list_is_empty(&events->fresh))
		return events->next_seq;
	return container_of(events->fresh.next, struct event, of_fresh)->row.seq;
}

/* One portion of the history for everybody who is behind it. */
static void on_replay(struct loop_timer *timer)
{
	struct events *events = container_of(timer, struct events, replay);
	bool behind = false;

	for (struct list *l = events->subscriptions.next; l != &events->subscriptions; l = l->next) {
		struct subscription *subscription = container_of(l, struct subscription, of_events);
		uint64_t before = subscription->next;
		if (before >= first_fresh(events))
			continue;
		registry_events(events->registry, before, REPLAY_PORTION, send_event, subscription);
		if (subscription->next == before)
			skip_to(subscription, first_fresh(events));
		behind |= subscription->next < first_fresh(events);
	}
	if (behind)
		loop_arm(events->loop, timer, boottime_ns() + REPLAY_PAUSE_MS * NS_PER_MS);
}

static void publish_to(struct events *events, struct subscription *subscription)
{
	for (struct list *l = events->fresh.next; l != &events->fresh; l = l->next) {
		const struct registry_event *event = &container_of(l, struct event, of_fresh)->row;
		if (event->seq >= subscription->next)
			send_event(subscription, event);
	}
}

void events_publish(struct events *events, bool written)
{
	uint64_t first = first_fresh(events);
	bool behind = false;

	for (struct list *l = events->subscriptions.next; l != &events->subscriptions; l = l->next) {
		struct subscription *subscription = container_of(l, struct subscription, of_events);
		if (subscription->next >= first)
			publish_to(events, subscription);
		else
			behind = true;
	}
	while (written && !list_is_empty(&events->fresh))
		drop_oldest(events);
	if (behind && !events->replay.place)
		loop_arm(events->loop, &events->replay, 0);
}

/* ---- subscribing ---- */

static void on_conn_closed(struct conn *conn, void *owner)
{
	struct events *events = owner;

	for (struct list *l = events->subscriptions.next; l != &events->subscriptions; l = l->next) {
		struct subscription *subscription = container_of(l, struct subscription, of_events);
		if (subscription->conn == conn) {
			subscription_free(subscription);
			return;
		}
	}
}

static int copy_param(const json_t *params, const char *name, char **ret)
{
	const char *value = json_string_value(json_object_get(params, name));

	if (!value)
		return 0;
	*ret = strdup(value);
	return *ret ? 0 : -ENOMEM;
}

static struct subscription *subscription_new(const struct call *call)
{
	const struct caller *caller = call_caller(call);
	const json_t *params = call_params(call);
	struct subscription *subscription = calloc(1, sizeof(*subscription));

	if (!subscription)
		return NULL;
	list_init(&subscription->of_events);
	subscription->conn = call_conn(call);
	subscription->sees_host = caller_sees_host(caller);
	subscription->owner_prefix = strdup(caller->owner_prefix ? caller->owner_prefix : "");
	subscription->kinds = json_incref(json_object_get(params, "kinds"));
	if (!subscription->owner_prefix || copy_param(params, "owner", &subscription->owner) < 0 ||
		copy_param(params, "session", &subscription->session) < 0) {
		subscription_free(subscription);
		return NULL;
	}
	return subscription;
}

static int note_seq(void *arg, const struct registry_event *event)
{
	*(uint64_t *)arg = event->seq;
	return -ECANCELED;
}

void events_subscribe(struct events *events, struct call *call)
{
	const json_t *since = json_object_get(call_params(call), "since");
	uint64_t next = events->next_seq, oldest = first_fresh(events);
	json_t *gone = json_null();

	if (json_is_integer(since)) {
		json_int_t seen = json_integer_value(since);
		if (seen < 0 || (uint64_t)seen >= events->next_seq) {
			call_fail(call, E_INVALID_PARAMS, false, &(struct error_details){ .path = "since" },
				"since: no event has the number %lld; the last one is %llu", (long long)seen,
				(unsigned long long)events->next_seq - 1);
			return;
		}
		next = (uint64_t)seen + 1;
		registry_events(events->registry, next, 1, note_seq, &oldest);
		if (oldest > next) {
			gone = range_json(next, oldest - 1);
			next = oldest;
		}
	}
	struct subscription *subscription = call_conn(call) ? subscription_new(call) : NULL;
	if (!subscription) {
		json_decref(gone);
		call_fail(call, E_FAILED, true, &(struct error_details){ .err_no = ENOMEM }, "out of memory");
		return;
	}
	on_conn_closed(subscription->conn, events);
	conn_on_close(subscription->conn, on_conn_closed, events);
	subscription->next = next;
	list_append(&events->subscriptions, &subscription->of_events);
	call_reply(call, json_pack("{s:I, s:s, s:o}", "last", (json_int_t)events->next_seq - 1, "boot_id",
				 events->boot_id, "gone", gone));
	if (next < first_fresh(events) && !events->replay.place)
		loop_arm(events->loop, &events->replay, 0);
}

/* ---- start and stop ---- */

int events_start(struct events *events)
{
	list_init(&events->fresh);
	list_init(&events->subscriptions);
	/* The newest is always kept: it holds the number to go on from. */
	if (events->history == 0)
		events->history = 1;
	events->replay.fn = on_replay;
	return registry_next_seq(events->registry, events->boot_id, &events->next_seq);
}

void events_stop(struct events *events)
{
	loop_disarm(events->loop, &events->replay);
	while (!list_is_empty(&events->fresh))
		drop_oldest(events);
	while (!list_is_empty(&events->subscriptions))
		subscription_free(container_of(events->subscriptions.next, struct subscription, of_events));
}
