/* SPDX-License-Identifier: Apache-2.0 */
/* Clients' streams to and from commands that init keeps. */
#include <fcntl.h>
#include <sys/socket.h>

#include "control/json.h"
#include "control/kept.h"
#include "control/lifecycle.h"

static const char *const stream_names[STREAM_COUNT] = {
	[STREAM_INPUT] = "stdin",
	[STREAM_OUTPUT] = "stdout",
	[STREAM_ERRORS] = "stderr",
	[STREAM_TERMINAL] = "tty",
};

void attachment_free(struct attachment *attachment)
{
	struct kept *kept = attachment->kept;

	stream_withdraw(attachment->offer);
	relay_stop(&attachment->relay);
	if (kept->session->init.chan.loop)
		requests_forget(&kept->session->init.requests, attachment);
	close_fdp(&attachment->server_fd);
	close_fdp(&attachment->client_fd);
	if (attachment->place)
		*attachment->place = NULL;
	list_remove(&attachment->of_kept);
	kept->n_attachments--;
	free(attachment);
}

/* ---- a connection and what it is joined to ---- */

static void ignore_answer(void *owner _unused_, struct msg *answer _unused_)
{
}

/* The client has said all that it has to say: the command's input ends. */
static void end_input(struct kept *kept)
{
	struct init_kept request = { .exec = kept->command.id };

	msg_init(&request.header, INIT_END_INPUT, 0, sizeof(request));
	if (init_link_is_open(&kept->session->init))
		init_link_send(&kept->session->init, &request.header, NULL, 0, ignore_answer, &kept->session->init);
}

static void on_done(void *arg, uint64_t bytes_ab _unused_, uint64_t bytes_ba _unused_, int err)
{
	struct attachment *attachment = arg;

	if (attachment->stream == STREAM_INPUT && err == 0)
		end_input(attachment->kept);
	attachment_free(attachment);
}

static void on_moved(void *arg)
{
	struct attachment *attachment = arg;
	const uint64_t typed = attachment->relay.way[0].bytes;
	const bool terminal = attachment->stream == STREAM_TERMINAL;

	if (!terminal)
		session_active(attachment->kept->session, ACTIVITY_STREAM);
	else if (typed != attachment->typed)
		session_active(attachment->kept->session, ACTIVITY_TERMINAL);
	attachment->typed = typed;
}

/* Where init has nothing to attach it to, it is over. */
static void on_attached(void *owner, struct msg *answer)
{
	struct attachment *attachment = owner;
	const struct init_done *done = answer ? (const void *)answer->bytes : NULL;

	if (done && done->err.num == 0)
		return;
	attachment_free(attachment);
}

/* A pipe with an end for control, which does not block, and one for init. */
static int open_pipe(bool control_reads, int *ret_control, int *ret_init)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	*ret_control = ends[control_reads ? 0 : 1];
	*ret_init = ends[control_reads ? 1 : 0];
	return 0;
}

/* Joins the client's connection to the command. CLIENT is taken over. */
static int join(struct attachment *attachment, int client)
{
	struct session *session = attachment->kept->session;
	const bool types = attachment->stream == STREAM_INPUT || attachment->stream == STREAM_TERMINAL;
	const bool shows = attachment->stream != STREAM_INPUT;
	struct init_attach request = { .exec = attachment->kept->command.id, .stream = attachment->stream };
	int own[2] = { -1, -1 }, inits[2] = { -1, -1 };
	size_t n = 0;
	int r = 0;

	if (types)
		r = open_pipe(false, &own[1], &inits[n++]);
	if (r == 0 && shows)
		r = open_pipe(true, &own[0], &inits[n++]);
	if (r == 0) {
		msg_init(&request.header, INIT_ATTACH, 0, sizeof(request));
		r = init_link_send(&session->init, &request.header, inits, n, on_attached, attachment);
	}
	close_fds(inits, ARRAY_SIZE(inits));
	const struct relay_end a = { .in = client, .out = client }, b = { .in = own[0], .out = own[1] };
	if (r == 0)
		r = relay_start(&attachment->relay, &session->lifecycle->relays, &a, &b);
	if (r < 0) {
		close_fd(client);
		close_fds(own, ARRAY_SIZE(own));
	}
	return r;
}

static void on_stream(void *arg, int fd)
{
	struct attachment *attachment = arg;

	attachment->offer = NULL;
	if (!init_link_is_open(&attachment->kept->session->init)) {
		close_fd(fd);
		attachment_free(attachment);
		return;
	}
	session_active(attachment->kept->session,
		attachment->stream == STREAM_TERMINAL ? ACTIVITY_TERMINAL : ACTIVITY_STREAM);
	if (join(attachment, fd) < 0)
		attachment_free(attachment);
}

static void on_gone(void *arg)
{
	struct attachment *attachment = arg;

	attachment->offer = NULL;
	attachment_free(attachment);
}

/* ---- offering ---- */

static int offer(struct attachment *attachment, struct call *call, bool by_fd)
{
	const struct stream_use use = { .attach = on_stream, .gone = on_gone, .arg = attachment };
	struct err err;
	int pair[2];

	if (!by_fd)
		return stream_offer(call, &use, &attachment->offer);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0) {
		err_set(&err, -errno, "stream", "%s", "");
		exec_fail_start(attachment->kept->session, call, &err);
		return err.num;
	}
	attachment->server_fd = pair[0];
	attachment->client_fd = pair[1];
	/* It is the client's to decide, and most expect a descriptor that waits. */
	fcntl(attachment->client_fd, F_SETFL, 0);
	return 0;
}

/* A new attachment in *PLACE. 0, or a negative errno and CALL is answered. */
static int attach(
	struct kept *kept, enum init_stream stream, struct call *call, bool by_fd, struct attachment **place)
{
	const size_t max = stream == STREAM_TERMINAL ? (size_t)INIT_MAX_VIEWERS : (size_t)ATTACHMENTS_PER_EXEC;
	const struct error_details details = { .session = kept->session->record.id };
	struct attachment *attachment = kept->n_attachments < max ? calloc(1, sizeof(*attachment)) : NULL;

	if (!attachment) {
		call_fail(call, E_LIMIT, true, &details,
			"exec: %s has %zu of at most %zu streams attached or offered", kept->id, kept->n_attachments,
			max);
		return -EAGAIN;
	}
	*attachment = (struct attachment){
		.kept = kept,
		.place = place,
		.stream = stream,
		.server_fd = -1,
		.client_fd = -1,
		.relay = { .done = on_done, .moved = on_moved, .arg = attachment },
	};
	*place = attachment;
	list_append(&kept->attachments, &attachment->of_kept);
	kept->n_attachments++;
	int r = offer(attachment, call, by_fd);
	if (r < 0)
		attachment_free(attachment);
	return r;
}

static bool has_stream(const struct kept *kept, enum init_stream stream)
{
	switch (stream) {
	case STREAM_INPUT:
		return (kept->flags & (START_TTY | START_INPUT)) == START_INPUT;
	case STREAM_OUTPUT:
		return !(kept->flags & START_TTY);
	case STREAM_ERRORS:
		return !(kept->flags & (START_TTY | START_MERGE));
	default:
		return kept->flags & START_TTY;
	}
}

int attach_all(struct kept *kept, struct call *call, struct attach *attaching)
{
	for (enum init_stream stream = 0; stream < STREAM_COUNT; stream++) {
		if (!has_stream(kept, stream))
			continue;
		int r = attach(kept, stream, call, attaching->by_fd, &attaching->attachments[stream]);
		if (r < 0) {
			attach_drop(attaching);
			return r;
		}
	}
	return 0;
}

void attach_drop(struct attach *attaching)
{
	for (size_t i = 0; i < STREAM_COUNT; i++)
		if (attaching->attachments[i])
			attachment_free(attaching->attachments[i]);
}

bool attach_via(struct call *call, bool *ret_by_fd)
{
	const char *via = json_string_value(json_object_get(call_params(call), "via"));

	*ret_by_fd = via && streq(via, "fd");
	return !*ret_by_fd || call_takes_fds(call);
}

/* {token, …} or {fd: its place among the answer's descriptors}. */
static json_t *stream_of(const struct attachment *attachment, size_t n_fds)
{
	json_t *json;

	if (attachment->offer)
		return stream_json(attachment->offer);
	json = json_object();
	json_put(&json, "fd", json_integer((json_int_t)n_fds));
	return json;
}

void attach_reply(struct attach *attaching, struct call *call, json_t *result, bool terminal)
{
	json_t *streams = json_object();
	int fds[STREAM_COUNT];
	size_t n = 0;

	for (size_t i = 0; i < STREAM_COUNT; i++) {
		struct attachment *attachment = attaching->attachments[i];
		if (!attachment)
			continue;
		json_t *stream = stream_of(attachment, n);
		if (terminal)
			json_put(&result, "stream", stream);
		else
			json_put(&streams, stream_names[i], stream);
		attaching->attachments[i] = NULL;
		attachment->place = NULL;
		if (!attaching->by_fd)
			continue;
		fds[n++] = steal_fd(&attachment->client_fd);
		if (join(attachment, steal_fd(&attachment->server_fd)) < 0)
			attachment_free(attachment);
	}
	if (terminal)
		json_decref(streams);
	else
		json_put(&result, "streams", streams);
	if (n > 0)
		call_reply_fds(call, result, fds, n);
	else
		call_reply(call, result);
}
