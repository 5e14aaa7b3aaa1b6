/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands whose input and output init keeps, so that they outlive the connections of those who use them, and control.
 * Bytes move by splice(2) between init's end of a command's pipe and the pipe that control has attached: nothing is
 * copied and nothing is buffered here. What cannot be moved waits in the pipe, and so does its writer.
 *
 * Descriptors are watched by edges: one that is ready, but has no counterpart that is, would wake init for ever.
 */
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "sandbox/serve.h"

enum { SPLICES_PER_ROUND = 16, SPLICE_BYTES = 64 * 1024 };

static size_t index_of(const struct serve *serve, const struct kept *kept, enum init_stream stream)
{
	return (size_t)(kept - serve->kept) * STREAM_COUNT + stream;
}

static void drop_stream(struct serve *serve, struct stream *stream)
{
	serve_drop(serve, &stream->own);
	serve_drop(serve, &stream->peer);
}

void kept_release(struct serve *serve, struct kept *kept)
{
	for (size_t i = 0; i < ARRAY_SIZE(kept->streams); i++)
		drop_stream(serve, &kept->streams[i]);
	if (kept->terminal)
		terminal_release(serve, kept->terminal);
	if (kept->exec)
		kept->exec->kept = NULL;
	*kept = (struct kept){ 0 };
}

/* One that is forgotten goes when all that it wrote has been read, or nobody is there to read it. */
static void settle(struct serve *serve, struct kept *kept)
{
	bool wanted = false;

	if (!kept->used || kept->exec)
		return;
	for (size_t i = STREAM_OUTPUT; i <= STREAM_ERRORS; i++)
		wanted |= kept->streams[i].own >= 0 && kept->streams[i].peer >= 0;
	if (!wanted)
		kept_release(serve, kept);
}

/* ---- streams ---- */

static void pump_input(struct serve *serve, struct stream *stream)
{
	for (int i = 0; stream->own >= 0 && stream->peer >= 0; i++) {
		stream->hot = i == SPLICES_PER_ROUND;
		if (stream->hot)
			return;
		ssize_t n = splice(stream->peer, NULL, stream->own, NULL, SPLICE_BYTES, SPLICE_F_NONBLOCK);
		if (n > 0)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		/* The end of what was attached is the end of the input only where control has said so: it may have died. */
		serve_drop(serve, &stream->peer);
		if (n < 0 || stream->ends)
			serve_drop(serve, &stream->own);
	}
}

static void pump_output(struct serve *serve, struct stream *stream)
{
	for (int i = 0; stream->own >= 0 && stream->peer >= 0; i++) {
		stream->hot = i == SPLICES_PER_ROUND;
		if (stream->hot)
			return;
		ssize_t n = splice(stream->own, NULL, stream->peer, NULL, SPLICE_BYTES, SPLICE_F_NONBLOCK);
		if (n > 0)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		/* Either nobody writes any more, or (EPIPE) nobody reads just now. */
		serve_drop(serve, &stream->peer);
		if (n == 0)
			serve_drop(serve, &stream->own);
	}
}

static void pump(struct serve *serve, struct kept *kept, size_t stream)
{
	if (stream == STREAM_INPUT)
		pump_input(serve, &kept->streams[stream]);
	else
		pump_output(serve, &kept->streams[stream]);
	serve->hot |= kept->streams[stream].hot;
	settle(serve, kept);
}

void kept_ready(struct serve *serve, size_t index)
{
	struct kept *kept = &serve->kept[index / STREAM_COUNT];

	if (kept->used && index % STREAM_COUNT < SPAWN_STDIO)
		pump(serve, kept, index % STREAM_COUNT);
}

void kept_go_on(struct serve *serve)
{
	if (!serve->hot)
		return;
	serve->hot = false;
	for (size_t i = 0; i < ARRAY_SIZE(serve->kept); i++)
		for (size_t j = 0; j < SPAWN_STDIO; j++)
			if (serve->kept[i].used && serve->kept[i].streams[j].hot)
				pump(serve, &serve->kept[i], j);
	for (size_t i = 0; i < ARRAY_SIZE(serve->terminals); i++)
		if (serve->terminals[i].hot)
			terminal_ready(serve, i);
}

/* ---- beginning and end ---- */

/* A pipe for STREAM; the command's end goes to *RET_FD, the caller's. */
static int open_pipe(struct serve *serve, struct kept *kept, enum init_stream stream, int *ret_fd)
{
	const bool input = stream == STREAM_INPUT;
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	_close_ int command = ends[input ? 0 : 1];
	kept->streams[stream].own = ends[input ? 1 : 0];
	/* Whoever the command runs as may open it again, as /dev/stdout. */
	if (fchmod(command, 0666) < 0)
		return -errno;
	int r = serve_watch(serve, kept->streams[stream].own, SOURCE_KEPT, index_of(serve, kept, stream),
		(input ? EPOLLOUT : EPOLLIN) | EPOLLET);
	if (r == 0)
		*ret_fd = steal_fd(&command);
	return r;
}

/* What the command gets as FDS; those above 2 are the caller's. */
static int open_streams(struct serve *serve, struct kept *kept, int fds[static SPAWN_STDIO])
{
	int r = 0;

	if (kept->flags & START_TTY) {
		kept->terminal = terminal_take(serve, kept);
		return kept->terminal ? 0 : -EAGAIN;
	}
	if (kept->flags & START_INPUT)
		r = open_pipe(serve, kept, STREAM_INPUT, &fds[0]);
	if (r == 0)
		r = open_pipe(serve, kept, STREAM_OUTPUT, &fds[1]);
	if (r == 0 && !(kept->flags & START_MERGE))
		r = open_pipe(serve, kept, STREAM_ERRORS, &fds[2]);
	return r;
}

static struct kept *take(struct serve *serve, const struct init_start *request)
{
	for (size_t i = 0; i < ARRAY_SIZE(serve->kept); i++) {
		struct kept *kept = &serve->kept[i];
		if (kept->used)
			continue;
		*kept = (struct kept){ .used = true, .flags = request->flags, .label = request->label };
		for (size_t j = 0; j < SPAWN_STDIO; j++)
			kept->streams[j] = (struct stream){ .own = -1, .peer = -1 };
		return kept;
	}
	return NULL;
}

static int start(struct serve *serve, const struct msg *msg, struct err *err)
{
	const struct init_start *request = (const void *)msg->bytes;
	int own[SPAWN_STDIO] = { -1, -1, -1 };

	struct kept *kept = take(serve, request);
	if (!kept)
		return err_set(err, -EAGAIN, "spawn", "%d commands are kept already", INIT_MAX_KEPT);
	int r = open_streams(serve, kept, own);
	if (r < 0)
		err_set(err, r, kept->flags & START_TTY ? "terminal" : "spawn", "%s", "");
	if (r == 0) {
		const struct spawn what = {
			.rules = &serve->rules,
			.spec = msg->fds[0],
			.fds = { own[0] >= 0 ? own[0] : STDIN_FILENO, own[1] >= 0 ? own[1] : STDIN_FILENO,
				own[2] >= 0   ? own[2]
				: own[1] >= 0 ? own[1]
					      : STDIN_FILENO },
			.n_fds = SPAWN_STDIO,
			.pts = kept->flags & START_TTY ? serve->pts : -1,
			.rows = request->rows,
			.columns = request->columns,
		};
		r = exec_start(serve, msg, &what, kept, err);
	}
	close_fds(own, ARRAY_SIZE(own));
	if (r < 0)
		kept_release(serve, kept);
	return r;
}

void kept_request(struct serve *serve, struct msg *msg)
{
	struct init_started started = { 0 };

	if (start(serve, msg, &started.err) == 0)
		return;
	msg_init(&started.header, INIT_START | MSG_REPLY, msg->header.id, sizeof(started));
	control_answer(serve, serve->n_controls, &started.header, NULL, 0);
}

void kept_started(struct serve *serve, struct kept *kept)
{
	if (kept->terminal)
		terminal_opened(serve, kept->terminal);
}

void kept_ended(struct serve *serve, struct kept *kept)
{
	if (kept->terminal)
		terminal_end(serve, kept->terminal);
}

/* ---- what control asks of one that is there ---- */

/* The kept command that a request is about; NULL, and the request is answered. */
static struct kept *find(struct serve *serve, const struct msg *msg, uint64_t id)
{
	const struct exec *exec = exec_find(serve, id);

	if (exec && exec->kept)
		return exec->kept;
	control_done(serve, msg, -ESRCH, "command", "of this number is not kept");
	return NULL;
}

static bool are_pipes(const struct msg *msg)
{
	for (size_t i = 0; i < msg->n_fds; i++)
		if (fcntl(msg->fds[i], F_GETPIPE_SZ) < 0)
			return false;
	return true;
}

/* FD is taken over on success. */
static int attach_stream(struct serve *serve, struct kept *kept, enum init_stream which, int fd)
{
	struct stream *stream = &kept->streams[which];

	/* At its end already: so is what was to be attached, when it is closed. */
	if (stream->own < 0)
		return -EPIPE;
	int r = serve_watch(serve, fd, SOURCE_KEPT, index_of(serve, kept, which),
		(which == STREAM_INPUT ? EPOLLIN : EPOLLOUT) | EPOLLET);
	if (r < 0)
		return r;
	serve_drop(serve, &stream->peer);
	stream->peer = fd;
	stream->ends = false;
	return 0;
}

void kept_attach(struct serve *serve, struct msg *msg)
{
	const struct init_attach *request = (const void *)msg->bytes;
	const bool terminal = request->stream == STREAM_TERMINAL;
	struct kept *kept = find(serve, msg, request->exec);
	int r = -EINVAL;

	if (!kept)
		return;
	if (!are_pipes(msg) || msg->n_fds != (terminal ? 2 : 1))
		r = -EINVAL;
	else if (terminal && kept->terminal)
		r = terminal_view(serve, kept->terminal, msg->fds[0], msg->fds[1]);
	else if (terminal)
		r = -EPIPE;
	else
		r = attach_stream(serve, kept, (enum init_stream)request->stream, msg->fds[0]);
	for (size_t i = 0; i < msg->n_fds && r == 0; i++)
		steal_fd(&msg->fds[i]);
	control_done(serve, msg, r, "attach", "");
	if (r == 0 && terminal)
		terminal_ready(serve, (size_t)(kept->terminal - serve->terminals));
	else if (r == 0)
		pump(serve, kept, request->stream);
}

void kept_end_input(struct serve *serve, struct msg *msg)
{
	const struct init_kept *request = (const void *)msg->bytes;
	struct kept *kept = find(serve, msg, request->exec);

	if (!kept)
		return;
	struct stream *input = &kept->streams[STREAM_INPUT];
	input->ends = true;
	if (input->peer < 0)
		serve_drop(serve, &input->own);
	control_done(serve, msg, 0, "", "");
	pump(serve, kept, STREAM_INPUT);
}

void kept_resize(struct serve *serve, struct msg *msg)
{
	const struct init_resize *request = (const void *)msg->bytes;
	const struct winsize size = { .ws_row = request->rows, .ws_col = request->columns };
	const struct kept *kept = find(serve, msg, request->exec);
	int r = 0;

	if (!kept)
		return;
	if (!kept->terminal)
		r = -ENOTTY;
	else if (ioctl(kept->terminal->master, TIOCSWINSZ, &size) < 0)
		r = -errno;
	control_done(serve, msg, r, "resize", "");
}

void kept_forget(struct serve *serve, struct msg *msg)
{
	const struct init_kept *request = (const void *)msg->bytes;
	struct kept *kept = find(serve, msg, request->exec);

	if (!kept)
		return;
	struct exec *exec = kept->exec;
	if (exec->state != EXEC_ENDED && exec->state != EXEC_TOLD) {
		control_done(serve, msg, -EBUSY, "forget", "a command that runs");
		return;
	}
	exec->state = EXEC_FREE;
	exec->kept = NULL;
	kept->exec = NULL;
	control_done(serve, msg, 0, "", "");
	settle(serve, kept);
}
