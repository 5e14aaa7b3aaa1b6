/* SPDX-License-Identifier: Apache-2.0 */
/* What clients ask of commands that run on their own: exec.wait, exec.list, exec.signal, exec.resize. */
#include <signal.h>

#include "control/json.h"
#include "control/kept.h"
#include "control/lifecycle.h"
#include "control/session_methods.h"
#include "control/text.h"

static const json_t *param(const struct call *call, const char *name)
{
	return json_object_get(call_params(call), name);
}

/* Whether this process has just begun and init has not named all commands yet. True: CALL is answered. */
static bool fail_listing(const struct session *session, struct call *call)
{
	const struct error_details details = { .session = session->record.id, .retry_after_ms = 10 };

	if (!session->init.listing)
		return false;
	call_fail(call, E_NOT_READY, true, &details, "the commands of session %s are just being looked up",
		session->record.id);
	return true;
}

struct kept *exec_kept(struct call *call, const char *parameter)
{
	const char *name = json_string_value(param(call, parameter));
	const struct session *session = session_of_call(call);

	if (!session)
		return NULL;
	const struct error_details details = { .session = session->record.id, .path = parameter };
	struct kept *kept = kept_find(session, name);
	if (kept)
		return kept;
	if (!fail_listing(session, call))
		call_fail(call, E_NOT_FOUND, false, &details, "session %s has no command or terminal %s",
			session->record.id, name);
	return NULL;
}

struct kept *exec_kept_awake(struct call *call, const char *parameter)
{
	struct kept *kept = exec_kept(call, parameter);

	/* Nobody inside would read what is sent, and no queue is without end. */
	if (kept && kept->session->frozen) {
		session_refuse(kept->session, call, "spoken to");
		return NULL;
	}
	return kept;
}

static void exec_fail_ended(const struct kept *kept, struct call *call)
{
	const struct error_details details = { .session = kept->session->record.id };

	call_fail(call, E_INVALID_STATE, false, &details, "%s has ended", kept->id);
}

/* ---- exec.signal, exec.resize ---- */

/* "TERM", "SIGTERM" or "15"; 0 when it is none. */
static int signal_number(const char *name)
{
	char *end;
	const unsigned long number = name[0] >= '0' && name[0] <= '9' ? strtoul(name, &end, 10) : 0;

	if (number > 0 && number <= 64 && !*end)
		return (int)number;
	if (strncmp(name, "SIG", 3) == 0)
		name += 3;
	for (int signal = 1; signal < 32; signal++)
		if (streq(name, sigabbrev_np(signal)))
			return signal;
	return 0;
}

void method_exec_signal(struct call *call)
{
	const char *name = json_string_value(param(call, "signal"));
	const bool group = !json_is_false(param(call, "group"));
	const int signal = signal_number(name);
	struct kept *kept = exec_kept_awake(call, "exec");

	if (!kept)
		return;
	if (!signal) {
		call_fail(call, E_INVALID_PARAMS, false, &(struct error_details){ .path = "signal" },
			"signal: %.32s is none; \"TERM\", \"SIGTERM\" and \"15\" are", name);
		return;
	}
	if (kept->ended) {
		exec_fail_ended(kept, call);
		return;
	}
	session_active(kept->session, ACTIVITY_EXEC);
	init_link_signal(&kept->session->init, &kept->command, signal, group);
	call_reply(call, json_object());
}

static void ignore_answer(void *owner _unused_, struct msg *answer _unused_)
{
}

void kept_resize(struct kept *kept, uint16_t rows, uint16_t columns)
{
	struct init_resize request = { .exec = kept->command.id, .rows = rows, .columns = columns };

	msg_init(&request.header, INIT_RESIZE, 0, sizeof(request));
	if (init_link_is_open(&kept->session->init))
		init_link_send(&kept->session->init, &request.header, NULL, 0, ignore_answer, &kept->session->init);
}

void method_exec_resize(struct call *call)
{
	struct kept *kept = exec_kept_awake(call, "exec");

	if (!kept)
		return;
	if (kept->ended) {
		exec_fail_ended(kept, call);
	} else if (!(kept->flags & START_TTY)) {
		call_fail(call, E_INVALID_STATE, false,
			&(struct error_details){ .session = kept->session->record.id }, "%s has no terminal",
			kept->id);
	} else {
		kept_resize(kept, (uint16_t)json_integer_value(param(call, "rows")),
			(uint16_t)json_integer_value(param(call, "cols")));
		call_reply(call, json_object());
	}
}

/* ---- exec.list ---- */

static json_t *kept_json(const struct kept *kept)
{
	const bool terminal = kept->label.name[0];
	json_t *json = json_object();

	json_put(&json, "exec", json_string(kept->id));
	json_put(&json, "terminal", terminal ? json_string(kept->label.name) : json_null());
	json_put(&json, "command", json_text(kept->label.command));
	json_put(&json, "state", json_string(kept->ended ? "ended" : kept->pid ? "running" : "starting"));
	json_put(&json, "tty", json_boolean(kept->flags & START_TTY));
	json_put(&json, "pid", kept->pid ? json_integer(kept->pid) : json_null());
	json_put(&json, "uid", json_integer(kept->label.uid));
	json_put(&json, "started_at", json_time(kept->label.started_at_ns));
	json_put(&json, "exit_code", kept->exit_code >= 0 ? json_integer(kept->exit_code) : json_null());
	json_put(&json, "signal", kept->signal > 0 ? json_integer(kept->signal) : json_null());
	json_put(&json, "attached", json_integer((json_int_t)kept->n_attachments));
	return json;
}

void method_exec_list(struct call *call)
{
	const struct session *session = session_of_call(call);
	json_t *result, *execs;

	if (!session || fail_listing(session, call))
		return;
	result = json_object();
	execs = json_array();
	for (struct list *l = session->kept.next; l != &session->kept; l = l->next)
		json_append(&execs, kept_json(container_of(l, struct kept, of_session)));
	json_put(&result, "execs", execs);
	call_reply(call, result);
}

/* ---- exec.wait ---- */

struct waiter {
	struct list of_kept;
	struct kept *kept;
	struct call *call;
	struct loop_timer timeout;
};

/* Frees WAITER and returns its call, still to be answered. */
static struct call *waiter_take(struct waiter *waiter)
{
	struct call *call = waiter->call;

	list_remove(&waiter->of_kept);
	loop_disarm(lifecycle_loop(waiter->kept->session->lifecycle), &waiter->timeout);
	if (call_conn(call))
		conn_on_close(call_conn(call), NULL, waiter);
	free(waiter);
	return call;
}

static void answer(const struct kept *kept, struct call *call)
{
	if (kept->exit_code < 0 && kept->signal < 0) {
		call_fail(call, E_INVALID_STATE, false,
			&(struct error_details){ .session = kept->session->record.id },
			"session %s: %s was ended by the end of the session", kept->session->record.id, kept->id);
		return;
	}
	call_reply(call, kept_ended_json(kept));
}

void kept_serve_waiters(struct kept *kept)
{
	while (!list_is_empty(&kept->waiters))
		answer(kept, waiter_take(container_of(kept->waiters.next, struct waiter, of_kept)));
}

static void on_timeout(struct loop_timer *timer)
{
	struct waiter *waiter = container_of(timer, struct waiter, timeout);
	const struct kept *kept = waiter->kept;

	call_fail(waiter_take(waiter), E_TIMEOUT, true,
		&(struct error_details){ .session = kept->session->record.id }, "%s still runs", kept->id);
}

static void on_conn_closed(struct conn *conn _unused_, void *owner)
{
	struct waiter *waiter = owner;

	call_fail(waiter_take(waiter), E_UNAVAILABLE, true, NULL, "the connection ended");
}

void method_exec_wait(struct call *call)
{
	const json_t *timeout = param(call, "timeout_seconds");
	struct kept *kept = exec_kept(call, "exec");

	if (!kept)
		return;
	if (kept->ended || !call_conn(call)) {
		answer(kept, call);
		return;
	}
	struct waiter *waiter = calloc(1, sizeof(*waiter));
	if (waiter)
		*waiter = (struct waiter){ .kept = kept, .call = call, .timeout.fn = on_timeout };
	if (!waiter || (timeout && loop_arm(lifecycle_loop(kept->session->lifecycle), &waiter->timeout,
					   boottime_ns() + duration_ns(timeout)) < 0)) {
		free(waiter);
		call_fail(call, E_FAILED, true, &(struct error_details){ .err_no = ENOMEM }, "memory is short");
		return;
	}
	list_append(&kept->waiters, &waiter->of_kept);
	conn_on_close(call_conn(call), on_conn_closed, waiter);
}
