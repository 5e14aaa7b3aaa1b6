/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session.logs: what a session's output says so far, and, to who follows it, what it says from then on. Init says
 * once that there is more; the pause before it is asked again bounds how often a session can keep control busy.
 */
#include "control/lifecycle.h"
#include "control/logs.h"

enum {
	MAX_FOLLOWERS = 16,
	WATCH_PAUSE_MS = 20,
	WATCH_REST = 10, /* times what feeding the followers took: one session's flood must not take all the time */
};

struct follower {
	struct list of_session;
	struct session *session;
	struct conn *conn;
	uint64_t position;
};

static void follower_free(struct follower *follower)
{
	list_remove(&follower->of_session);
	free(follower);
}

static void on_conn_closed(struct conn *conn _unused_, void *owner)
{
	follower_free(owner);
}

/* Sends what there is, in portions of one notification. *RET_MORE: there is more than that. */
static void feed(struct follower *follower, bool ended, bool *ret_more)
{
	const struct session *session = follower->session;
	json_t *logs = NULL;

	*ret_more = false;
	/* A ring full of rubbish has nothing to say, but its end is told. */
	if (logs_read(session->output_fd, &follower->position, LOGS_DEFAULT_BYTES, &logs, ret_more) < 0)
		logs = json_pack("{s:[]}", "entries");
	if (json_array_size(json_object_get(logs, "entries")) == 0 && !ended) {
		json_decref(logs);
		return;
	}
	json_object_set_new(logs, "session", json_string(session->record.id));
	json_object_set_new(logs, "more", json_boolean(*ret_more));
	json_object_set_new(logs, "ended", json_boolean(ended && !*ret_more));
	conn_notify(follower->conn, "log", logs);
}

static void on_watching(void *owner, struct msg *answer)
{
	struct session *session = owner;
	uint64_t begun = boottime_ns();
	bool any_more = false;

	if (!answer)
		return;
	session->watched = true;
	/* Whatever comes after this answer is announced; what came before it is read now. */
	for (struct list *l = session->followers.next; l != &session->followers; l = l->next) {
		bool more;
		feed(container_of(l, struct follower, of_session), false, &more);
		any_more |= more;
	}
	session->watch_pause_ns = WATCH_PAUSE_MS * NS_PER_MS + WATCH_REST * (boottime_ns() - begun);
	if (any_more)
		session_output_grew(session);
}

void session_watch_output(struct session *session)
{
	struct init_plain request = { 0 };

	if (session->watching || list_is_empty(&session->followers) || !init_link_is_open(&session->init))
		return;
	msg_init(&request.header, INIT_WATCH_OUTPUT, 0, sizeof(request));
	session->watching = init_link_send(&session->init, &request.header, NULL, 0, on_watching, session) == 0;
}

static void on_watch_again(struct loop_timer *timer)
{
	struct session *session = container_of(timer, struct session, watch_again);

	session->watching = session->watched = false;
	session_watch_output(session);
}

void session_output_grew(struct session *session)
{
	/* Before its answer an init has nothing to announce. */
	if (!session->watched || session->watch_again.place)
		return;
	session->watch_again.fn = on_watch_again;
	loop_arm(lifecycle_loop(session->lifecycle), &session->watch_again, boottime_ns() + session->watch_pause_ns);
}

void session_end_followers(struct session *session)
{
	while (!list_is_empty(&session->followers)) {
		struct follower *follower = container_of(session->followers.next, struct follower, of_session);
		bool more = true;
		while (more)
			feed(follower, true, &more);
		conn_on_close(follower->conn, NULL, follower);
		follower_free(follower);
	}
}

static size_t count_followers(const struct session *session)
{
	size_t n = 0;

	for (const struct list *l = session->followers.next; l != &session->followers; l = l->next)
		n++;
	return n;
}

/* CONN follows SESSION from POSITION on; one that does already goes on from there. 0, -EMFILE or -ENOMEM. */
static int follow(struct session *session, struct conn *conn, uint64_t position)
{
	for (struct list *l = session->followers.next; l != &session->followers; l = l->next) {
		struct follower *follower = container_of(l, struct follower, of_session);
		if (follower->conn == conn) {
			follower->position = position;
			return 0;
		}
	}
	if (count_followers(session) >= MAX_FOLLOWERS)
		return -EMFILE;
	struct follower *follower = calloc(1, sizeof(*follower));
	if (!follower)
		return -ENOMEM;
	*follower = (struct follower){ .session = session, .conn = conn, .position = position };
	list_append(&session->followers, &follower->of_session);
	conn_on_close(conn, on_conn_closed, follower);
	return 0;
}

static void fail_read(const struct session *session, struct call *call, int r, bool since_given)
{
	struct error_details details = { .session = session->record.id };

	if (r == -EPROTO && since_given) {
		details.path = "since";
		call_fail(call, E_INVALID_PARAMS, false, &details,
			"since: only 0 and the \"next\" of an earlier answer are positions");
		return;
	}
	details.err_no = -r;
	call_fail(call, E_FAILED, false, &details, "the output of session %s cannot be read: %s", session->record.id,
		strerror(-r));
}

static void fail_follow(const struct session *session, struct call *call, int r)
{
	struct error_details details = { .session = session->record.id };

	if (r == -EMFILE) {
		call_fail(call, E_LIMIT, false, &details, "follow: session %s has %d followers, and takes no more",
			session->record.id, MAX_FOLLOWERS);
		return;
	}
	details.err_no = -r;
	call_fail(call, E_FAILED, true, &details, "follow: %s", strerror(-r));
}

static void fail_without_output(const struct session *session, struct call *call)
{
	struct error_details details = { .session = session->record.id };

	if (session_is_live(session))
		call_fail(call, E_NOT_READY, true, &details, "session %s has no output yet", session->record.id);
	else
		call_fail(call, E_UNAVAILABLE, false, &details,
			"the output of session %s, which has ended, is no longer kept", session->record.id);
}

void session_logs(struct session *session, struct call *call)
{
	const json_t *params = call_params(call), *since = json_object_get(params, "since");
	const json_t *max_bytes = json_object_get(params, "max_bytes");
	bool follows = json_is_true(json_object_get(params, "follow")) && session_is_live(session) && call_conn(call);
	uint64_t position = json_is_integer(since) ? (uint64_t)json_integer_value(since) : 0;
	size_t max = json_is_integer(max_bytes) ? (size_t)json_integer_value(max_bytes) : LOGS_DEFAULT_BYTES;
	bool more = false, since_given = position > 0;
	json_t *logs;

	if (session->output_fd < 0) {
		fail_without_output(session, call);
		return;
	}
	int r = logs_read(session->output_fd, &position, max < LOGS_MAX_BYTES ? max : LOGS_MAX_BYTES, &logs, &more);
	if (r < 0) {
		fail_read(session, call, r, since_given);
		return;
	}
	r = follows ? follow(session, call_conn(call), position) : 0;
	if (r < 0) {
		json_decref(logs);
		fail_follow(session, call, r);
		return;
	}
	json_object_set_new(logs, "more", json_boolean(more));
	json_object_set_new(logs, "ended", json_boolean(!session_is_live(session)));
	call_reply(call, logs);
	if (follows && session->watching)
		session_output_grew(session);
	else if (follows)
		session_watch_output(session);
}
