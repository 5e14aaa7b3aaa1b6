/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Control's connection: one at a time, the newest. The session cannot reach the listening socket, so what connects is
 * control; but a control that was taken over may send anything, and may stop reading.
 *
 * There is no queue of messages besides the socket's. An answer that does not fit ends the connection, since who asks
 * has to read. Events that do not fit are marks in the tables and go when there is room.
 */
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
	connect_cancel(serve);
	if (why)
		serve_note(serve, why);
}

void control_answer(struct serve *serve, uint32_t number, const struct msg_header *header, const int *fds, size_t n)
{
	if (serve->control < 0 || number != serve->n_controls)
		return;
	if (msg_send(serve->control, header, fds, n) < 0)
		control_close(serve, "carrel-init: control does not read its answers\n");
}

static void answer_done(struct serve *serve, const struct msg *msg, int num, const char *step, const char *object)
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
	if (r == -EAGAIN)
		serve->control_blocked =
			serve_watch(serve, serve->control, SOURCE_CONTROL, 0, EPOLLIN | EPOLLOUT) == 0;
	else if (r < 0)
		control_close(serve, NULL);
	return r == 0;
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
	for (size_t i = 0; i < serve->n_execs_used; i++) {
		if (serve->execs[i].state != EXEC_ENDED)
			continue;
		if (!tell_ended(serve, &serve->execs[i]))
			return;
		serve->execs[i].state = EXEC_FREE;
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
		answer_done(serve, msg, stop_by_cdp(serve), "stop", "debugging pipe");
	else
		answer_done(serve, msg, kill(serve->execs[0].pid, stop->signal) < 0 ? -errno : 0, "stop", "workload");
}

static void on_watch_output(struct serve *serve, struct msg *msg)
{
	serve->watching = true;
	serve->grew = false;
	answer_done(serve, msg, 0, "", "");
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
};
/* clang-format on */

void control_ready(struct serve *serve, uint32_t events)
{
	_uninitialized_ struct msg msg;

	if (serve->control_blocked && events & EPOLLOUT) {
		serve->control_blocked = false;
		serve_watch(serve, serve->control, SOURCE_CONTROL, 0, EPOLLIN);
	}
	for (int i = 0; i < REQUESTS_PER_ROUND && serve->control >= 0; i++) {
		int r = msg_recv(serve->control, init_requests, n_init_requests, &msg);
		if (r == -EAGAIN)
			return;
		if (r <= 0) {
			control_close(serve, r == -EPROTO ? "carrel-init: control sent a malformed message\n" : NULL);
			return;
		}
		for (size_t j = 0; j < ARRAY_SIZE(requests); j++)
			if (requests[j].op == msg.header.op)
				requests[j].handle(serve, &msg);
		msg_release(&msg);
	}
}
