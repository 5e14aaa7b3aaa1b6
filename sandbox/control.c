/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Control's connection: one at a time, the newest. The session cannot reach the listening socket, so what connects is
 * control; but a control that was taken over may send anything, and may stop reading.
 *
 * When the socket's queue is full, answers wait in a ring that has a place for each request that can be open, because
 * no further request is read meanwhile. Events are marks in the tables and go when there is room.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "sandbox/serve.h"

enum { REQUESTS_PER_ROUND = 16 };

/* ---- what init says ---- */

void control_close(struct serve *serve, const char *why)
{
	if (serve->control < 0)
		return;
	serve_drop(serve, &serve->control);
	serve->watching = serve->grew = serve->control_blocked = false;
	serve->list_id = 0;
	for (; serve->n_held > 0; serve->n_held--)
		close_fdp(&serve->held[serve->held_at++ % SERVE_MAX_HELD].fd);
	connect_cancel(serve);
	if (why)
		serve_note(serve, why);
}

/* Waits until there is room in the connection's queue. 0 or a negative errno. */
static int block(struct serve *serve)
{
	if (serve->control_blocked)
		return 0;
	int r = serve_watch(serve, serve->control, SOURCE_CONTROL, 0, EPOLLOUT);
	serve->control_blocked = r == 0;
	return r;
}

/* Keeps an answer for later, with a duplicate of its one descriptor. */
static int hold(struct serve *serve, const struct msg_header *header, int fd)
{
	struct held *held = &serve->held[(serve->held_at + serve->n_held) % SERVE_MAX_HELD];

	if (serve->n_held == SERVE_MAX_HELD || header->length > sizeof(held->bytes))
		return -ENOBUFS;
	held->fd = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : -1;
	if (fd >= 0 && held->fd < 0)
		return -errno;
	memcpy(held->bytes, header, header->length);
	serve->n_held++;
	return 0;
}

/* There is room again. */
static void unblock(struct serve *serve)
{
	serve->control_blocked = false;
	for (; serve->n_held > 0; serve->n_held--) {
		struct held *held = &serve->held[serve->held_at % SERVE_MAX_HELD];
		int r = msg_send(serve->control, (const void *)held->bytes, &held->fd, held->fd >= 0);
		if (r == -EAGAIN) {
			serve->control_blocked = true;
			return;
		}
		if (r < 0) {
			control_close(serve, NULL);
			return;
		}
		close_fdp(&held->fd);
		serve->held_at++;
	}
	if (serve_watch(serve, serve->control, SOURCE_CONTROL, 0, EPOLLIN) < 0)
		control_close(serve, NULL);
}

void control_answer(struct serve *serve, uint32_t number, const struct msg_header *header, const int *fds, size_t n)
{
	if (serve->control < 0 || number != serve->n_controls)
		return;
	int r = serve->control_blocked ? -EAGAIN : msg_send(serve->control, header, fds, n);
	if (r == -EAGAIN)
		r = block(serve) < 0 ? -EIO : hold(serve, header, n > 0 ? fds[0] : -1);
	if (r < 0)
		control_close(serve, "carrel-init: control does not read its answers\n");
}

void control_done(struct serve *serve, const struct msg *msg, int num, const char *step, const char *object)
{
	struct init_done done = { 0 };

	msg_init(&done.header, msg->header.op | MSG_REPLY, msg->header.id, sizeof(done));
	if (num < 0)
		err_set(&done.err, num, step, "%s", object);
	control_answer(serve, serve->n_controls, &done.header, NULL, 0);
}

/* Sends an event. False when there is no room, or nobody to send it to. */
static bool send_event(struct serve *serve, const struct msg_header *header)
{
	if (serve->control < 0 || serve->control_blocked)
		return false;
	int r = msg_send(serve->control, header, NULL, 0);
	if (r < 0 && (r != -EAGAIN || block(serve) < 0))
		control_close(serve, NULL);
	return r == 0;
}

static bool tell_kept(struct serve *serve, const struct exec *exec)
{
	const bool ended = exec->state == EXEC_ENDED || exec->state == EXEC_TOLD;
	struct init_ev_kept event = {
		.exec = exec->id,
		.flags = exec->kept->flags,
		.pid = ended ? 0 : exec->pid,
		.exit_code = !ended	    ? 0
			     : exec->signal ? -1
					    : exec->exit_code,
		.signal = ended ? exec->signal : 0,
		.label = exec->kept->label,
	};

	msg_init(&event.header, INIT_EV_KEPT, 0, sizeof(event));
	return send_event(serve, &event.header);
}

/* Goes on with the list that control has asked for. */
static void tell_list(struct serve *serve)
{
	struct init_done done = { 0 };

	for (; serve->list_at < serve->n_execs_used; serve->list_at++) {
		struct exec *exec = &serve->execs[serve->list_at];
		if (!exec->kept || exec->state == EXEC_FREE || exec->state == EXEC_STARTING)
			continue;
		if (!tell_kept(serve, exec))
			return;
		if (exec->state == EXEC_ENDED)
			exec->state = EXEC_TOLD;
	}
	msg_init(&done.header, INIT_LIST | MSG_REPLY, serve->list_id, sizeof(done));
	serve->list_id = 0;
	control_answer(serve, serve->n_controls, &done.header, NULL, 0);
}

static bool tell_ended(struct serve *serve, const struct exec *exec)
{
	struct init_ev_exited event = {
		.exec = exec->id,
		.exit_code = exec->signal ? -1 : exec->exit_code,
		.signal = exec->signal,
	};

	msg_init(&event.header, INIT_EV_EXITED, 0, sizeof(event));
	return send_event(serve, &event.header);
}

void control_tell(struct serve *serve)
{
	struct init_plain event;

	if (serve->control < 0 || serve->control_blocked)
		return;
	if (serve->list_id)
		tell_list(serve);
	for (size_t i = 0; i < serve->n_execs_used && !serve->list_id; i++) {
		if (serve->execs[i].state != EXEC_ENDED)
			continue;
		if (!tell_ended(serve, &serve->execs[i]))
			return;
		serve->execs[i].state = serve->execs[i].kept ? EXEC_TOLD : EXEC_FREE;
	}
	if (serve->grew) {
		msg_init(&event.header, INIT_EV_OUTPUT, 0, sizeof(event));
		serve->grew = !send_event(serve, &event.header);
	}
}

static bool say_hello(struct serve *serve)
{
	struct init_hello hello = { .workload = atomic_load(&serve->output->workload) };

	for (size_t i = 1; i < serve->n_execs_used; i++)
		hello.n_execs += serve->execs[i].state == EXEC_STARTING || serve->execs[i].state == EXEC_RUNNING;
	msg_init(&hello.header, INIT_EV_HELLO, 0, sizeof(hello));
	return send_event(serve, &hello.header);
}

void control_accept(struct serve *serve)
{
	/* First, so that there is a descriptor for the new one however many are in use. */
	control_close(serve, NULL);
	int fd = accept4(serve->listen, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return;
	serve->control = fd;
	serve->n_controls++;
	if (serve_watch(serve, fd, SOURCE_CONTROL, 0, EPOLLIN) < 0 || !say_hello(serve))
		control_close(serve, NULL);
}

/* ---- what control asks ---- */

/* Chromium's protocol on a pipe: JSON, then a NUL (--remote-debugging-pipe). */
static const char browser_close[] = "{\"id\":1,\"method\":\"Browser.close\"}";

static int stop_by_cdp(const struct serve *serve)
{
	if (serve->cdp_write < 0)
		return -EOPNOTSUPP;
	/* Shorter than PIPE_BUF, so that it is written whole or not at all; EPIPE, since SIGPIPE does nothing to PID 1. */
	return write(serve->cdp_write, browser_close, sizeof(browser_close)) < 0 ? -errno : 0;
}

static void on_stop(struct serve *serve, struct msg *msg)
{
	const struct init_stop *stop = (const void *)msg->bytes;

	if (stop->method == STOP_CDP)
		control_done(serve, msg, stop_by_cdp(serve), "stop", "debugging pipe");
	else
		control_done(
			serve, msg, kill(serve->execs[0].pid, stop->signal) < 0 ? -errno : 0, "stop", "workload");
}

static void on_list(struct serve *serve, struct msg *msg)
{
	serve->list_id = msg->header.id;
	serve->list_at = 0;
}

static void on_watch_output(struct serve *serve, struct msg *msg)
{
	serve->watching = true;
	serve->grew = false;
	control_done(serve, msg, 0, "", "");
}

/* clang-format off */
static const struct {
	uint16_t op;
	void (*handle)(struct serve *serve, struct msg *msg);
} requests[] = {
	{ INIT_EXEC,         exec_request },
	{ INIT_SIGNAL,       exec_signal },
	{ INIT_STOP,         on_stop },
	{ INIT_CONNECT,      connect_request },
	{ INIT_WATCH_OUTPUT, on_watch_output },
	{ INIT_CONNECT_PATH, connect_path_request },
	{ INIT_FILES,        exec_request },
	{ INIT_START,        kept_request },
	{ INIT_ATTACH,       kept_attach },
	{ INIT_END_INPUT,    kept_end_input },
	{ INIT_RESIZE,       kept_resize },
	{ INIT_FORGET,       kept_forget },
	{ INIT_LIST,         on_list },
	{ INIT_SPACE,        space_request },
	{ INIT_SPAWNER,      exec_request },
};
/* clang-format on */

void control_ready(struct serve *serve, uint32_t events)
{
	struct msg *msg = &serve->request;

	if (serve->control_blocked && events & (EPOLLOUT | EPOLLERR | EPOLLHUP))
		unblock(serve);
	for (int i = 0; i < REQUESTS_PER_ROUND && serve->control >= 0 && !serve->control_blocked; i++) {
		int r = msg_recv(serve->control, init_requests, n_init_requests, msg);
		if (r == -EAGAIN)
			return;
		if (r <= 0) {
			control_close(serve, r == -EPROTO ? "carrel-init: control sent a malformed message\n" : NULL);
			return;
		}
		for (size_t j = 0; j < ARRAY_SIZE(requests); j++)
			if (requests[j].op == msg->header.op)
				requests[j].handle(serve, msg);
		msg_release(msg);
	}
}
