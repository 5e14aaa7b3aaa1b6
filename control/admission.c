/* SPDX-License-Identifier: Apache-2.0 */
#include "control/admission.h"

#include <stdarg.h>
#include <stdio.h>

#include "control/json.h"
#include "control/lifecycle.h"

enum { BUSY_RETRY_MS = 1000 };

struct queued {
	struct list of_queue;
	struct lifecycle *lifecycle;
	struct call *call;
	void (*again)(struct call *call);
	const struct template *template;
	char *place; /* or NULL */
	struct loop_timer timeout;
};

/* clang-format off */
static const char *const refusal_names[REFUSAL_COUNT] = {
	[REFUSED_HOST]          = "host",
	[REFUSED_TEMPLATE]      = "template",
	[REFUSED_OWNER]         = "owner",
	[REFUSED_USER]          = "user",
	[REFUSED_QUEUE]         = "queue",
	[REFUSED_QUEUE_TIMEOUT] = "queue_timeout",
	[REFUSED_DRAINING]      = "draining",
};
/* clang-format on */

const char *refusal_name(enum refusal refusal)
{
	return refusal_names[refusal];
}

/* ---- ceilings ---- */

static size_t live_of(const struct index *accounts, const char *name)
{
	const struct index_node *node = index_find(accounts, name);

	return node ? container_of(node, struct account, node)->n_live : 0;
}

static bool host_is_full(const struct lifecycle *lifecycle)
{
	return lifecycle_n_live(lifecycle) >= lifecycle_config(lifecycle)->max_sessions;
}

static bool template_is_full(const struct lifecycle *lifecycle, const struct template *template)
{
	return template->max_sessions > 0 && live_of(&lifecycle->templates, template->name) >= template->max_sessions;
}

static int refuse(struct lifecycle *lifecycle, struct call *call, enum refusal why, const char *format, ...)
	_printf_(4, 5);

static int refuse(struct lifecycle *lifecycle, struct call *call, enum refusal why, const char *format, ...)
{
	bool own = why == REFUSED_OWNER || why == REFUSED_USER;
	struct error_details details = { .path = why == REFUSED_OWNER ? "owner" : NULL };
	char text[320];
	va_list ap;

	lifecycle->admission.n_refused[why]++;
	if (!own)
		details.retry_after_ms = BUSY_RETRY_MS;
	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	call_fail(call, why == REFUSED_DRAINING ? E_DRAINING : own ? E_LIMIT : E_BUSY, !own, &details, "%s", text);
	return -EUSERS;
}

/* What the caller has too many of himself: waiting for others would not help. */
static int check_own(struct lifecycle *lifecycle, const struct applicant *applicant)
{
	const struct config *config = lifecycle_config(lifecycle);
	char uid[16];

	snprintf(uid, sizeof(uid), "%u", call_caller(applicant->call)->uid);
	if (config->max_sessions_per_uid > 0 && live_of(&lifecycle->users, uid) >= config->max_sessions_per_uid)
		return refuse(lifecycle, applicant->call, REFUSED_USER,
			"user %s has %u sessions, and may have no more (client_limits.max_sessions_per_uid)", uid,
			config->max_sessions_per_uid);
	if (config->max_sessions_per_owner > 0 &&
		live_of(&lifecycle->owners, applicant->owner) >= config->max_sessions_per_owner)
		return refuse(lifecycle, applicant->call, REFUSED_OWNER,
			"owner: %.64s has %u sessions, and may have no more (client_limits.max_sessions_per_owner)",
			applicant->owner, config->max_sessions_per_owner);
	return 0;
}

/* ---- the queue ---- */

/* Frees QUEUED and returns its call, still to be answered. */
static struct call *take(struct queued *queued)
{
	struct call *call = queued->call;

	list_remove(&queued->of_queue);
	queued->lifecycle->admission.n_queued--;
	loop_disarm(lifecycle_loop(queued->lifecycle), &queued->timeout);
	if (call_conn(call))
		conn_on_close(call_conn(call), NULL, queued);
	free(queued->place);
	free(queued);
	return call;
}

static void on_timeout(struct loop_timer *timer)
{
	struct queued *queued = container_of(timer, struct queued, timeout);
	struct lifecycle *lifecycle = queued->lifecycle;

	refuse(lifecycle, take(queued), REFUSED_QUEUE_TIMEOUT, "no room came free within queue_timeout_seconds");
}

static void on_conn_closed(struct conn *conn _unused_, void *owner)
{
	call_fail(take(owner), E_UNAVAILABLE, true, NULL, "the connection ended");
}

/* Whether it is worth beginning anew: there is room, or an answer that needs none. */
static bool is_served(const struct queued *queued)
{
	const struct lifecycle *lifecycle = queued->lifecycle;
	const struct index_node *node = queued->place ? index_find(&lifecycle->by_place, queued->place) : NULL;

	if (lifecycle->admission.draining || (node && session_is_live(container_of(node, struct session, by_place))))
		return true;
	return !host_is_full(lifecycle) && !template_is_full(lifecycle, queued->template);
}

static struct queued *first_served(const struct admission *admission)
{
	for (struct list *l = admission->queue.next; l != &admission->queue; l = l->next) {
		struct queued *queued = container_of(l, struct queued, of_queue);
		if (is_served(queued))
			return queued;
	}
	return NULL;
}

static void on_serve(struct loop_timer *timer)
{
	struct admission *admission = container_of(timer, struct admission, serve);
	struct queued *queued;

	while ((queued = first_served(admission))) {
		void (*again)(struct call * call) = queued->again;
		admission->serving = true;
		again(take(queued));
		admission->serving = false;
	}
}

static int enqueue(struct lifecycle *lifecycle, const struct applicant *applicant, const json_t *seconds)
{
	uint64_t timeout_ns = (uint64_t)(json_number_value(seconds) * (double)NS_PER_SEC);
	struct admission *admission = &lifecycle->admission;
	struct call *call = applicant->call;
	uint32_t max = lifecycle_config(lifecycle)->max_queued_creations;

	if (admission->n_queued >= max)
		return refuse(lifecycle, call, REFUSED_QUEUE,
			"%u requests wait for room already (client_limits.max_queued_creations)", max);
	struct queued *queued = calloc(1, sizeof(*queued));
	char *place = applicant->place ? strdup(applicant->place) : NULL;
	if (!queued || (applicant->place && !place) || !call_conn(call)) {
		free(queued);
		free(place);
		call_fail(call, E_UNAVAILABLE, true, NULL, "the request cannot wait");
		return -EUSERS;
	}
	*queued = (struct queued){ .lifecycle = lifecycle,
		.call = call,
		.again = applicant->again,
		.template = applicant->template,
		.place = place,
		.timeout = { .fn = on_timeout } };
	list_append(&admission->queue, &queued->of_queue);
	admission->n_queued++;
	admission->n_queued_ever++;
	conn_on_close(call_conn(call), on_conn_closed, queued);
	loop_arm(lifecycle_loop(lifecycle), &queued->timeout, boottime_ns() + timeout_ns);
	return -EUSERS;
}

int admission_check(struct lifecycle *lifecycle, const struct applicant *applicant)
{
	const json_t *wait = json_object_get(call_params(applicant->call), "queue_timeout_seconds");
	const struct admission *admission = &lifecycle->admission;
	const struct template *template = applicant->template;
	bool overtakes = !admission->serving && first_served(admission);

	if (admission->draining)
		return refuse(lifecycle, applicant->call, REFUSED_DRAINING,
			"this host is drained: it takes no new sessions");
	int r = check_own(lifecycle, applicant);
	if (r < 0 || (!overtakes && !host_is_full(lifecycle) && !template_is_full(lifecycle, template)))
		return r;
	if (wait && json_number_value(wait) > 0)
		return enqueue(lifecycle, applicant, wait);
	if (!overtakes && !host_is_full(lifecycle))
		return refuse(lifecycle, applicant->call, REFUSED_TEMPLATE,
			"template %s has %u sessions, and takes no more (max_sessions)", template->name,
			template->max_sessions);
	return refuse(lifecycle, applicant->call, REFUSED_HOST,
		"this host has %u sessions, and takes no more (max_sessions)",
		lifecycle_config(lifecycle)->max_sessions);
}

void admission_wake(struct lifecycle *lifecycle)
{
	struct admission *admission = &lifecycle->admission;

	if (admission->n_queued > 0 && !admission->serve.place)
		loop_arm(lifecycle_loop(lifecycle), &admission->serve, 0);
}

void admission_start(struct lifecycle *lifecycle)
{
	list_init(&lifecycle->admission.queue);
	lifecycle->admission.serve.fn = on_serve;
}

void admission_stop(struct lifecycle *lifecycle)
{
	struct admission *admission = &lifecycle->admission;

	loop_disarm(lifecycle_loop(lifecycle), &admission->serve);
	while (!list_is_empty(&admission->queue))
		call_fail(take(container_of(admission->queue.next, struct queued, of_queue)), E_UNAVAILABLE, true,
			NULL, "this service ends");
}

/* ---- draining ---- */

void method_system_drain(struct call *call)
{
	struct lifecycle *lifecycle = call_control(call)->lifecycle;
	struct admission *admission = &lifecycle->admission;
	bool on = json_is_true(json_object_get(call_params(call), "on"));
	int r = on == admission->draining ? 0 : registry_set_draining(lifecycle->registry, on);

	if (r < 0) {
		call_fail(call, E_FAILED, true, &(struct error_details){ .step = "registry", .err_no = -r },
			"registry: cannot be written: %s", strerror(-r));
		return;
	}
	if (on != admission->draining)
		events_emit(&lifecycle->events, on ? "system.draining" : "system.accepting", "", "", NULL);
	admission->draining = on;
	pools_adjust(lifecycle);
	admission_wake(lifecycle);
	call_reply(call,
		json_pack("{s:b, s:I}", "draining", on, "active_sessions", (json_int_t)lifecycle_n_live(lifecycle)));
}
