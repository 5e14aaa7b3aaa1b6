/* SPDX-License-Identifier: Apache-2.0 */
#include "control/session_methods.h"

#include <stdio.h>

#include "control/lifecycle.h"
#include "control/stats.h"
#include "control/visibility.h"

enum {
	LIST_DEFAULT = 100,
	LIST_MAX_BYTES = 512 * 1024, /* of one page: an answer stays well below a frame's limit */
};

#define LONGEST_NS (UINT64_C(100) * 365 * 86400 * NS_PER_SEC)

static const char *param_string(const struct call *call, const char *name)
{
	return json_string_value(json_object_get(call_params(call), name));
}

uint64_t duration_ns(const json_t *seconds)
{
	double s = json_number_value(seconds);

	if (json_is_null(seconds))
		return NEVER;
	if (s <= 0)
		return 0;
	return s < (double)(LONGEST_NS / NS_PER_SEC) ? (uint64_t)(s * (double)NS_PER_SEC) : LONGEST_NS;
}

/* ---- finding ---- */

static struct session *newest_of(const struct lifecycle *lifecycle, const char *owner)
{
	struct index_node *node = index_find(&lifecycle->owners, owner);
	struct session *newest = NULL;

	if (!node)
		return NULL;
	struct account *account = container_of(node, struct account, node);
	for (struct list *l = account->sessions.prev; l != &account->sessions; l = l->prev) {
		struct session *session = container_of(l, struct session, of_owner);
		if (session_is_live(session))
			return session;
		if (!newest)
			newest = session;
	}
	return newest;
}

struct session *session_of_call(struct call *call)
{
	const struct lifecycle *lifecycle = call_control(call)->lifecycle;
	const char *id = param_string(call, "session"), *owner = param_string(call, "owner");
	struct session *session = id ? session_find(lifecycle, id) : owner ? newest_of(lifecycle, owner) : NULL;

	if (session && !session->record.pooled && caller_sees_owner(call_caller(call), session->record.owner)) {
		session_active(session, ACTIVITY_API);
		return session;
	}
	if (id)
		call_fail(call, E_NOT_FOUND, false, &(struct error_details){ .session = id },
			"there is no session %s", id);
	else
		call_fail(call, E_NOT_FOUND, false, NULL, "there is no session of owner %.64s", owner ? owner : "");
	return NULL;
}

void session_refuse(const struct session *session, struct call *call, const char *what)
{
	enum session_state state = session->record.state;
	bool early = state == SESSION_CREATING || state == SESSION_STARTING;

	call_fail(call, early ? E_NOT_READY : E_INVALID_STATE, early,
		&(struct error_details){ .session = session->record.id }, "session %s is %s and cannot be %s",
		session->record.id, session_state_name(state), what);
}

/* ---- looking ---- */

void method_session_get(struct call *call)
{
	const struct session *session = session_of_call(call);

	if (session)
		call_reply(call, session_json(session));
}

static bool has_labels(const struct session *session, const json_t *wanted)
{
	const char *name;
	json_t *value;

	json_object_foreach ((json_t *)(uintptr_t)wanted, name, value)
		if (!json_equal(json_object_get(session->record.labels, name), value))
			return false;
	return true;
}

static bool is_listed(const struct session *session, const struct call *call)
{
	const char *owner = param_string(call, "owner"), *template = param_string(call, "template");
	const char *state = param_string(call, "state");

	return !session->record.pooled && caller_sees_owner(call_caller(call), session->record.owner) &&
	       (!owner || streq(owner, session->record.owner)) &&
	       (!template || streq(template, session->record.template)) &&
	       (!state || streq(state, session_state_name(session->record.state))) &&
	       has_labels(session, json_object_get(call_params(call), "labels"));
}

/* A cursor is the number of the last session on the page before. */
static int parse_cursor(const char *cursor, uint64_t *ret)
{
	char *end;

	*ret = 0;
	if (!cursor)
		return 0;
	errno = 0;
	*ret = strtoull(cursor, &end, 10);
	return errno || *end || end == cursor || cursor[0] < '0' || cursor[0] > '9' ? -EINVAL : 0;
}

void method_session_list(struct call *call)
{
	const struct lifecycle *lifecycle = call_control(call)->lifecycle;
	const json_t *limit = json_object_get(call_params(call), "limit");
	size_t max = json_is_integer(limit) ? (size_t)json_integer_value(limit) : LIST_DEFAULT, bytes = 0;
	uint64_t after, last = 0;
	bool more = false;

	if (parse_cursor(param_string(call, "cursor"), &after) < 0) {
		call_fail(call, E_INVALID_PARAMS, false, &(struct error_details){ .path = "cursor" },
			"cursor: only the \"next_cursor\" of an earlier answer is one");
		return;
	}
	json_t *page = json_array();
	for (const struct list *l = lifecycle->all.next; l != &lifecycle->all; l = l->next) {
		const struct session *session = container_of(l, struct session, of_all);
		if (session->record.number <= after || !is_listed(session, call))
			continue;
		more = json_array_size(page) >= max || bytes > LIST_MAX_BYTES;
		if (more)
			break;
		json_t *json = session_json(session);
		bytes += json_dumpb(json, NULL, 0, JSON_COMPACT);
		json_array_append_new(page, json);
		last = session->record.number;
	}
	call_reply(call, json_pack("{s:o, s:o}", "sessions", page, "next_cursor",
				 more ? json_sprintf("%llu", (unsigned long long)last) : json_null()));
}

void session_reply_stats(struct session *session, struct call *call)
{
	json_t *stats = stats_read(session->cgroup_fd);
	json_object_set_new(stats, "session", json_string(session->record.id));
	json_object_set_new(stats, "network", stats_network(call_control(call)->net_dev_fd, session->slot));
	json_object_set(stats, "limits", session->record.limits);
	json_object_set_new(stats, "ports", ports_stats(session));
	json_object_set_new(stats, "space", space_json(session));
	call_reply(call, stats);
}

void method_session_stats(struct call *call)
{
	struct session *session = session_of_call(call);

	if (session && !space_wait(session, call))
		session_reply_stats(session, call);
}

void method_session_logs(struct call *call)
{
	struct session *session = session_of_call(call);

	if (session)
		session_logs(session, call);
}

void method_events_subscribe(struct call *call)
{
	events_subscribe(&call_control(call)->lifecycle->events, call);
}

/* ---- waiting and ending ---- */

void method_session_wait(struct call *call)
{
	const json_t *timeout = json_object_get(call_params(call), "timeout_seconds");
	const char *what = param_string(call, "for");
	struct session *session = session_of_call(call);

	if (session)
		session_wait(session, call, what && streq(what, "ended") ? WAIT_ENDED : WAIT_READY,
			timeout ? duration_ns(timeout) : NEVER, 0);
}

void method_session_stop(struct call *call)
{
	const json_t *grace = json_object_get(call_params(call), "grace_seconds");
	struct session *session = session_of_call(call);

	if (!session)
		return;
	/* First the call, then what it waits for: a session that was not yet asked for ends at once. */
	session_wait(session, call, WAIT_ENDED, NEVER, 0);
	session_stop(session, END_STOPPED, grace ? duration_ns(grace) : session_grace_ns(session));
}

void method_session_remove(struct call *call)
{
	const char *volumes = param_string(call, "volumes");
	struct session *session = session_of_call(call);

	if (!session)
		return;
	if (volumes)
		volumes_keep(session, streq(volumes, "keep"));
	if (!session_is_live(session)) {
		call_reply(call, session_json(session));
		session_forget(session);
		return;
	}
	uint64_t grace = session->record.state == SESSION_STOPPING ? 0 : session_grace_ns(session);
	session_wait(session, call, WAIT_FORGOTTEN, NEVER, 0);
	session_stop(session, END_STOPPED, grace);
}

/* ---- changing ---- */

static void on_changed(void *owner, struct msg *answer)
{
	struct session *session = owner;
	enum session_state to = session->frozen ? SESSION_PAUSED : SESSION_READY;

	/* The channel ended: who waits is told when the session's own end comes. */
	if (!answer || !session->change)
		return;
	struct call *call = steal_ptr(&session->change);
	const struct err *err = &((const struct super_done *)(const void *)answer->bytes)->err;
	if (err->num < 0) {
		char text[sizeof(*err) + 64];
		session->frozen = session->record.state == SESSION_PAUSED;
		call_fail(call, E_FAILED, false,
			&(struct error_details){
				.session = session->record.id, .step = err->step, .err_no = -err->num },
			"%s", err_text(err, text, sizeof(text)));
	} else if (session->record.state >= SESSION_STOPPING) {
		session_refuse(session, call, to == SESSION_PAUSED ? "paused" : "resumed");
	} else {
		session_enter(session, to);
		call_reply(call, session_json(session));
	}
}

/* Moves a session between ready and paused; one that is there already is the answer. */
static void change(struct call *call, enum session_state to)
{
	bool freeze = to == SESSION_PAUSED;
	struct session *session = session_of_call(call);

	if (!session)
		return;
	if (session->change) {
		call_fail(call, E_BUSY, true,
			&(struct error_details){ .session = session->record.id, .retry_after_ms = CHANGE_RETRY_MS },
			"session %s is just being paused or resumed", session->record.id);
		return;
	}
	if (session->record.state == to) {
		call_reply(call, session_json(session));
		return;
	}
	if (session->record.state != (freeze ? SESSION_READY : SESSION_PAUSED)) {
		session_refuse(session, call, freeze ? "paused" : "resumed");
		return;
	}
	int r = super_link_tell(&session->lifecycle->super, freeze ? SUPER_FREEZE : SUPER_THAW,
		session->record.host_id, on_changed, session);
	if (r < 0) {
		call_fail(call, E_FAILED, true, &(struct error_details){ .step = "supervisor", .err_no = -r },
			"the supervisor cannot be asked: %s", strerror(-r));
		return;
	}
	session->change = call;
	session->frozen = freeze;
}

void method_session_pause(struct call *call)
{
	change(call, SESSION_PAUSED);
}

void method_session_resume(struct call *call)
{
	change(call, SESSION_READY);
}

void method_session_heartbeat(struct call *call)
{
	struct session *session = session_of_call(call);

	if (!session)
		return;
	if (session->record.state >= SESSION_STOPPING) {
		session_refuse(session, call, "kept alive");
		return;
	}
	session_touch(session);
	call_reply(call, session_json(session));
}

/* The latest end on CLOCK_BOOTTIME that the template allows; NEVER: any. */
static uint64_t latest_end(const struct session *session)
{
	uint64_t at;

	if (!session->template || session->template->max_ttl_ns == NEVER ||
		session->record.created_boot_ns == NEVER ||
		__builtin_add_overflow(session->record.created_boot_ns, session->template->max_ttl_ns, &at))
		return NEVER;
	return at;
}

/* Sets the end TTL_NS from now; NEVER: none. */
static int extend(struct session *session, struct call *call, uint64_t ttl_ns)
{
	uint64_t now = boottime_ns(), latest = latest_end(session), at = ttl_ns == NEVER ? NEVER : now + ttl_ns;

	if (at > latest) {
		call_fail(call, E_LIMIT, false,
			&(struct error_details){ .path = "ttl_seconds", .session = session->record.id },
			"ttl_seconds: template %s allows %llu from creation (max_ttl_seconds), of which %llu are "
			"left",
			session->record.template, (unsigned long long)(session->template->max_ttl_ns / NS_PER_SEC),
			(unsigned long long)(latest > now ? (latest - now) / NS_PER_SEC : 0));
		return -EPERM;
	}
	session->record.expires_boot_ns = at;
	session->record.expires_at_ns = ttl_ns == NEVER ? NEVER : realtime_ns() + ttl_ns;
	return 0;
}

void method_session_extend(struct call *call)
{
	const json_t *ttl = json_object_get(call_params(call), "ttl_seconds");
	const json_t *idle = json_object_get(call_params(call), "idle_timeout_seconds");
	struct session *session = session_of_call(call);

	if (!session)
		return;
	if (session->record.state >= SESSION_STOPPING) {
		session_refuse(session, call, "extended");
		return;
	}
	if (!ttl && !idle) {
		call_fail(call, E_INVALID_PARAMS, false, NULL, "ttl_seconds or idle_timeout_seconds is required");
		return;
	}
	if (ttl && extend(session, call, duration_ns(ttl)) < 0)
		return;
	if (idle)
		session->record.idle_ns = duration_ns(idle);
	session_arm_deadline(session);
	session_changed(session);
	call_reply(call, session_json(session));
}
