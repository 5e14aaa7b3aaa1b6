/* SPDX-License-Identifier: Apache-2.0 */
#include "control/kept.h"

#include <signal.h>
#include <stdio.h>

#include "control/json.h"
#include "control/lifecycle.h"

static struct loop *loop_of(const struct kept *kept)
{
	return lifecycle_loop(kept->session->lifecycle);
}

static void ignore_answer(void *owner _unused_, struct msg *answer _unused_)
{
}

/* ---- the end ---- */

void kept_free(struct kept *kept)
{
	struct session *session = kept->session;

	init_link_forget_exec(&session->init, &kept->command);
	loop_disarm(loop_of(kept), &kept->timeout);
	loop_disarm(loop_of(kept), &kept->expiry);
	while (!list_is_empty(&kept->attachments))
		attachment_free(container_of(kept->attachments.next, struct attachment, of_kept));
	if (kept->call && call_conn(kept->call))
		conn_on_close(call_conn(kept->call), NULL, kept);
	list_remove(&kept->of_session);
	session->n_kept--;
	session->n_kept_running -= !kept->ended;
	free(kept);
}

/* Init may let go of it, too. */
static void forget(struct kept *kept)
{
	struct session *session = kept->session;
	struct init_kept request = { .exec = kept->command.id };

	msg_init(&request.header, INIT_FORGET, 0, sizeof(request));
	if (init_link_is_open(&session->init))
		init_link_send(&session->init, &request.header, NULL, 0, ignore_answer, &session->init);
	kept_free(kept);
}

static void on_expired(struct loop_timer *timer)
{
	forget(container_of(timer, struct kept, expiry));
}

/* The oldest of those that have ended goes when they are too many. */
static void bound_ended(struct session *session)
{
	struct kept *oldest = NULL;

	if (session->n_kept - session->n_kept_running <= KEPT_ENDED_PER_SESSION)
		return;
	for (struct list *l = session->kept.next; l != &session->kept; l = l->next) {
		struct kept *kept = container_of(l, struct kept, of_session);
		if (kept->ended && (!oldest || kept->ended_ns < oldest->ended_ns))
			oldest = kept;
	}
	if (oldest)
		forget(oldest);
}

static void set_ended(struct kept *kept, int exit_code, int signal)
{
	struct session *session = kept->session;

	kept->ended = true;
	kept->exit_code = exit_code;
	kept->signal = signal;
	kept->ended_ns = boottime_ns();
	session->n_kept_running--;
	loop_disarm(loop_of(kept), &kept->timeout);
	loop_arm(loop_of(kept), &kept->expiry, kept->ended_ns + KEPT_ENDED_SECONDS * NS_PER_SEC);
}

/* As exec.wait answers. */
json_t *kept_ended_json(const struct kept *kept)
{
	json_t *json = json_object();

	json_put(&json, "exec", json_string(kept->id));
	json_put(&json, "exit_code", kept->exit_code >= 0 ? json_integer(kept->exit_code) : json_null());
	json_put(&json, "signal", kept->signal > 0 ? json_integer(kept->signal) : json_null());
	return json;
}

static void on_exited(struct init_exec *command, int exit_code, int signal)
{
	struct kept *kept = container_of(command, struct kept, command);
	struct session *session = kept->session;

	set_ended(kept, exit_code, signal);
	session_active(session, ACTIVITY_EXEC);
	/* Otherwise it is the connection to init that has ended; what becomes of the session is told, if anything does. */
	if (exit_code >= 0 || signal > 0)
		session_emit(session, "exec.ended", kept_ended_json(kept));
	kept_serve_waiters(kept);
	bound_ended(session);
}

void kept_free_all(struct session *session)
{
	while (!list_is_empty(&session->kept)) {
		struct kept *kept = container_of(session->kept.next, struct kept, of_session);
		if (!kept->ended)
			set_ended(kept, -1, -1);
		kept_serve_waiters(kept);
		kept_free(kept);
	}
}

/* ---- time ---- */

void kept_kill(struct kept *kept)
{
	if (init_link_is_open(&kept->session->init) && !kept->ended)
		init_link_signal(&kept->session->init, &kept->command, SIGKILL, true);
}

static void on_timeout(struct loop_timer *timer)
{
	kept_kill(container_of(timer, struct kept, timeout));
}

int kept_arm_timeout(struct kept *kept)
{
	if (kept->label.deadline_ns == 0)
		return 0;
	return loop_arm(loop_of(kept), &kept->timeout, kept->label.deadline_ns);
}

/* ---- the beginning ---- */

struct kept *kept_new(struct session *session, uint32_t flags)
{
	struct kept *kept = calloc(1, sizeof(*kept));

	if (!kept)
		return NULL;
	kept->session = session;
	kept->flags = flags;
	kept->exit_code = kept->signal = -1;
	kept->command.on_exited = on_exited;
	kept->timeout.fn = on_timeout;
	kept->expiry.fn = on_expired;
	list_init(&kept->attachments);
	list_init(&kept->waiters);
	list_append(&session->kept, &kept->of_session);
	session->n_kept++;
	session->n_kept_running++;
	return kept;
}

void kept_set_id(struct kept *kept, uint64_t number)
{
	kept->command.id = number;
	snprintf(kept->id, sizeof(kept->id), "exec-%llx", (unsigned long long)number);
}

struct kept *kept_find(const struct session *session, const char *name)
{
	struct kept *found = NULL;

	for (struct list *l = session->kept.next; l != &session->kept; l = l->next) {
		struct kept *kept = container_of(l, struct kept, of_session);
		if (streq(kept->id, name))
			return kept;
		/* The newest of that name; only one that has ended makes room for another. */
		if (kept->label.name[0] && streq(kept->label.name, name))
			found = kept;
	}
	return found;
}

void kept_adopt(struct session *session, const struct init_ev_kept *event)
{
	char id[KEPT_ID_SIZE];

	snprintf(id, sizeof(id), "exec-%llx", (unsigned long long)event->exec);
	/* Twice the same, or a second terminal of a name, is a lie. */
	if (kept_find(session, id))
		return;
	struct kept *kept = kept_new(session, event->flags);
	if (!kept)
		return;
	kept_set_id(kept, event->exec);
	kept->label = event->label;
	kept->pid = event->pid;
	if (event->pid > 0) {
		init_link_adopt_exec(&session->init, &kept->command);
		kept_arm_timeout(kept);
	} else {
		set_ended(kept, event->exit_code, event->signal > 0 ? event->signal : -1);
	}
}
