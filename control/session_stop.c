/* SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>

#include "control/lifecycle.h"
#include "control/logs.h"

#define DEFAULT_GRACE_NS (10 * NS_PER_SEC) /* for a template that is no longer there */
#define KILL_PATIENCE_NS (60 * NS_PER_SEC) /* between a kill and telling who waits that it hangs */
#define KILL_AGAIN_NS (NS_PER_SEC) /* after a kill that could not be sent or was refused */

static void on_stop_timer(struct loop_timer *timer)
{
	struct session *session = container_of(timer, struct session, stop_timer);

	if (session->killed || session->init_gone)
		session_fail_waiters(session, E_TIMEOUT, "was killed, but the host has not yet given up all of it");
	session->killed = false;
	session_kill(session);
}

static void arm_stop_timer(struct session *session, uint64_t delay_ns)
{
	session->stop_timer.fn = on_stop_timer;
	loop_arm(lifecycle_loop(session->lifecycle), &session->stop_timer, boottime_ns() + delay_ns);
}

static void on_killed(void *owner, struct msg *answer)
{
	struct session *session = owner;

	/* While it is being made, the answer to that says how it goes on. */
	if (!answer || session->asked || !session_is_live(session))
		return;
	const struct super_done *done = (const void *)answer->bytes;
	/* It ended while this process was not there to hear of it. */
	if (done->err.num == -ENOENT || done->err.num == -ESRCH)
		session_gone(session);
	else if (done->err.num < 0) {
		session->killed = false;
		arm_stop_timer(session, KILL_AGAIN_NS);
	}
}

void session_kill(struct session *session)
{
	if (session->killed || !session_is_live(session))
		return;
	arm_stop_timer(session, KILL_PATIENCE_NS);
	/* A socket from inside, wherever it is open, would keep the session's network from going away. */
	ports_close(session);
	if (session->init_gone)
		return;
	session->killed = true;
	int r = super_link_tell(&session->lifecycle->super, SUPER_KILL, session->record.host_id, on_killed, session);
	if (r < 0) {
		session->killed = false;
		arm_stop_timer(session, KILL_AGAIN_NS);
	}
}

static void ignore_answer(void *owner _unused_, struct msg *answer _unused_)
{
}

static void on_stop_answer(void *owner, struct msg *answer)
{
	/* A workload that cannot be asked to stop need not be waited for. */
	if (answer && ((const struct init_done *)(const void *)answer->bytes)->err.num < 0)
		session_kill(owner);
}

/* Asks the workload to end, in the way its template says. False when nobody is there to be asked. */
static bool ask_workload(struct session *session)
{
	const struct template *template = session->template;
	struct init_stop request = { .method = STOP_SIGNAL, .signal = SIGTERM };

	if (!init_link_is_open(&session->init))
		return false;
	/* A frozen process sees no signal. */
	if (session->frozen)
		super_link_tell(
			&session->lifecycle->super, SUPER_THAW, session->record.host_id, ignore_answer, session);
	if (template && template->stop_kind == STOP_BY_CDP)
		request = (struct init_stop){ .method = STOP_CDP };
	else if (template)
		request.signal = template->stop_signal;
	msg_init(&request.header, INIT_STOP, 0, sizeof(request));
	return init_link_send(&session->init, &request.header, NULL, 0, on_stop_answer, session) == 0;
}

void session_continue_stop(struct session *session, uint64_t grace_ns)
{
	if (grace_ns > 0 && ask_workload(session))
		arm_stop_timer(session, grace_ns);
	else
		session_kill(session);
}

/* A second request may make the grace shorter, never longer. */
static void shorten_grace(struct session *session, uint64_t grace_ns)
{
	if (grace_ns == 0)
		session_kill(session);
	else if (!session->killed && session->stop_timer.place &&
		 session->stop_timer.at_ns > boottime_ns() + grace_ns)
		arm_stop_timer(session, grace_ns);
}

void session_stop(struct session *session, enum end_reason reason, uint64_t grace_ns)
{
	/* One that is to be claimed from a pool runs already. */
	bool unsent = !list_is_empty(&session->of_launch) && session->create;

	if (session->record.state == SESSION_STOPPING) {
		/* Somebody wants its end, and not another beginning. */
		session->liveness.restarting &= reason == END_NONE;
		shorten_grace(session, grace_ns);
	}
	if (session->record.state >= SESSION_STOPPING)
		return;
	if (session->record.end.reason == END_NONE)
		session->record.end.reason = reason;
	probe_cancel(&session->probe);
	session_enter(session, SESSION_STOPPING);
	if (unsent)
		session_gone(session);
	else
		session_continue_stop(session, grace_ns);
}

uint64_t session_grace_ns(const struct session *session)
{
	return session->template ? session->template->grace_ns : DEFAULT_GRACE_NS;
}

/* ---- failures ---- */

static void note_failure(struct session *session, const char *step, int num, const char *format, va_list ap)
	__attribute__((format(printf, 4, 0)));

static void note_failure(struct session *session, const char *step, int num, const char *format, va_list ap)
{
	struct session_end *end = &session->record.end;

	/* The first reason is the one that counts. */
	if (end->reason != END_NONE)
		return;
	end->reason = END_FAILED;
	end->err_no = num;
	snprintf(end->step, sizeof(end->step), "%s", step);
	if (vasprintf(&end->message, format, ap) < 0)
		end->message = NULL;
}

void session_fail(struct session *session, const char *step, int num, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	note_failure(session, step, num, format, ap);
	va_end(ap);
	session_stop(session, END_FAILED, 0);
}

void session_failed_to_start(struct session *session, const char *step, int num, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	note_failure(session, step, num, format, ap);
	va_end(ap);
	session_gone(session);
}

/* ---- what is heard of its end ---- */

/* How the workload ended, from the output that outlives it, unless that is known. */
static void learn_exit(struct session *session)
{
	struct session_end *end = &session->record.end;
	struct output_state state;

	if (end->exit_code >= 0 || end->signal > 0 || session->output_fd < 0 ||
		output_read_state(session->output_fd, &state) < 0)
		return;
	if (state.workload == WORKLOAD_EXITED)
		end->exit_code = state.exit_code;
	else if (state.workload == WORKLOAD_SIGNALED)
		end->signal = state.signal;
}

static void describe_workload(struct session_end *end, bool was_ready)
{
	const char *when = was_ready ? "" : " before it was ready";
	int n;

	if (end->exit_code >= 0)
		n = asprintf(&end->message, "the workload exited with code %d%s", end->exit_code, when);
	else
		n = asprintf(&end->message, "the workload was ended by signal %d%s", end->signal, when);
	if (n < 0)
		end->message = NULL;
}

/* Names the reason of an end that nobody asked for. EVENT may be NULL. */
static void find_reason(struct session *session, const struct super_ev_exited *event)
{
	struct session_end *end = &session->record.end;
	bool was_ready = session->record.ready_at_ns != NEVER || session->unseen;

	learn_exit(session);
	if (end->reason != END_NONE)
		return;
	/* With memory.oom.group the kernel kills all of a session: a workload that exited did so by itself. */
	if (event && event->oom_kills > 0 && end->exit_code < 0) {
		end->reason = END_OOM;
		end->message = limit_watch_describe_oom(session, event->memory_peak_bytes);
	} else if (end->exit_code >= 0 || end->signal > 0) {
		end->reason = was_ready ? END_EXITED : END_FAILED;
		snprintf(end->step, sizeof(end->step), "%s", was_ready ? "" : "workload");
		describe_workload(end, was_ready);
	} else {
		end->reason = END_FAILED;
		snprintf(end->step, sizeof(end->step), "init");
		end->message = strdup("the session's init ended, and how its workload did is not known");
	}
}

void session_workload_exited(struct session *session, int exit_code, int signal)
{
	struct session_end *end = &session->record.end;

	if (end->exit_code >= 0 || end->signal > 0)
		return;
	end->exit_code = exit_code;
	end->signal = signal;
	/* What a signal means is known when the kernel's count of kills for memory is. */
	if (exit_code >= 0)
		find_reason(session, NULL);
	/* Whatever else runs there ends with it. */
	session_stop(session, END_NONE, 0);
}

/* It goes on, as it was when there was no control to speak to; limits, pauses and its end are the supervisor's. */
static void became_foreign(struct session *session)
{
	session->foreign = true;
	liveness_end(session);
	session_emit(session, "session.adopted",
		json_pack("{s:s}", "warning", "another version of carrel began it, which speaks another protocol"));
}

void session_lost_init(struct session *session, int error)
{
	/* An init of another version may hang up on what it was asked before its greeting is read. */
	if (error == -EPROTONOSUPPORT || (error == 0 && session->confirmed && !session->init.greeted))
		became_foreign(session);
	else if (error == -EPROTO)
		session_fail(session, "init", error, "the session's init broke the protocol");
	else
		session_stop(session, END_NONE, 0);
}

void session_exited(struct session *session, const struct super_ev_exited *event)
{
	if (session->init_gone || !session_is_live(session))
		return;
	session->init_gone = true;
	ports_close(session);
	find_reason(session, event);
	session_tell_stopping(session);
	if (session->record.state == SESSION_STOPPING)
		session_changed(session);
	else
		session_stop(session, session->record.end.reason, 0);
}

static bool wants_log_tail(const struct session_end *end)
{
	return end->reason == END_FAILED || end->reason == END_OOM || end->reason == END_UNHEALTHY ||
	       (end->reason == END_EXITED && end->exit_code != 0);
}

void session_gone(struct session *session)
{
	struct session_end *end = &session->record.end;

	if (!session_is_live(session))
		return;
	find_reason(session, NULL);
	if (wants_log_tail(end) && !end->log_tail)
		end->log_tail = logs_tail(session->output_fd);
	if (!liveness_restart(session))
		session_enter(session, SESSION_ENDED);
}
