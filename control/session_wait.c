/* SPDX-License-Identifier: Apache-2.0 */
#include "control/json.h"
#include "control/lifecycle.h"

struct waiter {
	struct list of_session;
	struct session *session;
	struct call *call;
	enum wait_for wait_for;
	enum waiter_flags flags;
	bool late; /* what is waited for was over when the waiting began */
	struct loop_timer timeout;
};

static bool is_due(const struct session *session, enum wait_for wait_for)
{
	enum session_state state = session->record.state;

	switch (wait_for) {
	case WAIT_CREATED:
		return state != SESSION_CREATING && state != SESSION_STOPPING;
	case WAIT_READY:
		return state == SESSION_READY || state == SESSION_PAUSED || state == SESSION_ENDED;
	default:
		return state == SESSION_ENDED;
	}
}

/* An error of the host that may be over when asked again. */
static bool is_transient(int err_no)
{
	switch (-err_no) {
	case EAGAIN:
	case EBUSY:
	case ENOMEM:
	case ENFILE:
	case EMFILE:
	case ENOSPC:
		return true;
	default:
		return false;
	}
}

/* Tells a caller who waited for something else that the session has ended. */
static void fail_ended(const struct session *session, struct call *call)
{
	const struct session_end *end = &session->record.end;
	struct error_details details = {
		.session = session->record.id,
		.step = end->step[0] ? end->step : NULL,
		.err_no = -end->err_no,
		.log_tail = end->log_tail,
	};
	enum error_kind kind = E_INVALID_STATE;

	if (end->reason == END_FAILED && end->err_no == -ETIMEDOUT)
		kind = E_TIMEOUT;
	else if (end->reason == END_FAILED || end->reason == END_OOM || end->reason == END_EXITED)
		kind = E_FAILED;
	call_fail(call, kind, is_transient(end->err_no), &details, "session %s has ended (%s)%s%s",
		session->record.id, end_reason_name(end->reason), end->message ? ": " : "",
		end->message ? end->message : "");
}

static json_t *result(const struct session *session, enum waiter_flags flags)
{
	json_t *json = session_json(session);

	if (flags & WAITER_ENSURES) {
		json_put(&json, "isolation_mode", json_string(session->record.isolation));
		json_put(&json, "created", json_boolean(flags & WAITER_CREATED));
	}
	return json;
}

static void answer(
	struct session *session, struct call *call, enum wait_for wait_for, enum waiter_flags flags, bool reached)
{
	/* Whoever hears that it failed need not remove it before he tries again. */
	if (wait_for == WAIT_FORGOTTEN || (!reached && (flags & WAITER_CREATED)))
		session->discard = true;
	if (wait_for == WAIT_REPLACEABLE)
		method_session_ensure(call);
	else if (reached)
		call_reply(call, result(session, flags));
	else
		fail_ended(session, call);
}

/* Frees WAITER and returns its call, still to be answered. */
static struct call *waiter_take(struct waiter *waiter)
{
	struct call *call = waiter->call;

	list_remove(&waiter->of_session);
	loop_disarm(lifecycle_loop(waiter->session->lifecycle), &waiter->timeout);
	if (call_conn(call))
		conn_on_close(call_conn(call), NULL, waiter);
	free(waiter);
	return call;
}

static void on_timeout(struct loop_timer *timer)
{
	struct waiter *waiter = container_of(timer, struct waiter, timeout);
	struct error_details details = { .session = waiter->session->record.id };
	const char *state = session_state_name(waiter->session->record.state);

	call_fail(waiter_take(waiter), E_TIMEOUT, true, &details, "session %s is still %s", details.session, state);
}

/*
 * A session goes on without those who waited for something. But one whose creator never heard of it goes, unless he
 * can find it again by asking with the same idempotency key, or for the same place, where others may wait for it too.
 */
static void on_conn_closed(struct conn *conn _unused_, void *owner)
{
	struct waiter *waiter = owner;
	struct session *session = waiter->session;
	bool orphaned = waiter->flags & WAITER_CREATED && !session->record.key && !session->record.place;

	call_fail(waiter_take(waiter), E_UNAVAILABLE, true, NULL, "the connection ended");
	if (!orphaned)
		return;
	session->discard = true;
	session_stop(session, END_STOPPED, 0);
	session_changed(session);
}

void session_wait(struct session *session, struct call *call, enum wait_for wait_for, uint64_t timeout_ns,
	enum waiter_flags flags)
{
	if (is_due(session, wait_for) && !session->dirty) {
		answer(session, call, wait_for, flags, session_is_live(session) || wait_for >= WAIT_ENDED);
		return;
	}
	if (!call_conn(call)) {
		call_fail(call, E_UNAVAILABLE, true, NULL, "the connection ended");
		return;
	}
	struct waiter *waiter = calloc(1, sizeof(*waiter));
	if (!waiter) {
		call_fail(call, E_FAILED, true, &(struct error_details){ .err_no = ENOMEM }, "out of memory");
		return;
	}
	*waiter = (struct waiter){
		.session = session,
		.call = call,
		.wait_for = wait_for,
		.flags = flags,
		.late = session->record.state >= SESSION_STOPPING,
		.timeout = { .fn = on_timeout },
	};
	list_append(&session->waiters, &waiter->of_session);
	conn_on_close(call_conn(call), on_conn_closed, waiter);
	if (timeout_ns != NEVER)
		loop_arm(lifecycle_loop(session->lifecycle), &waiter->timeout, boottime_ns() + timeout_ns);
}

/* What is waited for has been so, however short it lasted. */
static bool came_true(const struct session *session, enum wait_for wait_for)
{
	switch (wait_for) {
	case WAIT_CREATED:
		return session->started_ns > 0;
	case WAIT_READY:
		return session->record.ready_at_ns != NEVER;
	default:
		return session->record.state == SESSION_ENDED;
	}
}

void session_serve_waiters(struct session *session)
{
	for (struct list *l = session->waiters.next, *next; l != &session->waiters; l = next) {
		struct waiter *waiter = container_of(l, struct waiter, of_session);
		next = l->next;
		if (!is_due(session, waiter->wait_for) && (waiter->late || !came_true(session, waiter->wait_for)))
			continue;
		enum wait_for wait_for = waiter->wait_for;
		enum waiter_flags flags = waiter->flags;
		bool reached = session_is_live(session) || (!waiter->late && came_true(session, wait_for)) ||
			       wait_for >= WAIT_ENDED;
		answer(session, waiter_take(waiter), wait_for, flags, reached);
	}
}

void session_fail_waiters(struct session *session, enum error_kind kind, const char *text)
{
	struct error_details details = { .session = session->record.id };

	while (!list_is_empty(&session->waiters)) {
		struct waiter *waiter = container_of(session->waiters.next, struct waiter, of_session);
		call_fail(waiter_take(waiter), kind, true, &details, "session %s %s", details.session, text);
	}
}
