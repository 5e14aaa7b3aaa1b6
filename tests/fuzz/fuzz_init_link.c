/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile init: any frames in any order, while requests and a command are under way. Nobody is told anything twice,
 * or after the end.
 */
#include <sys/socket.h>

#include "control/init_link.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct world {
	struct loop loop;
	struct init_link link;
	struct init_exec exec;
	struct loop_timer stop;
	bool closed, exec_over;
	unsigned answers, started, exited, workload_exits;
};

static void need(bool condition)
{
	if (!condition)
		abort();
}

static void on_hello(struct init_link *link, enum workload_state workload)
{
	need(!container_of(link, struct world, link)->closed && workload <= WORKLOAD_SIGNALED);
}

static void on_workload_exited(struct init_link *link, int exit_code, int signal)
{
	need(!container_of(link, struct world, link)->closed);
	need((exit_code >= 0 && exit_code <= 255 && signal == 0) || (exit_code == -1 && signal > 0 && signal <= 64));
}

static void on_output(struct init_link *link)
{
	need(!container_of(link, struct world, link)->closed);
}

static void on_closed(struct init_link *link, int error)
{
	struct world *w = container_of(link, struct world, link);

	need(!w->closed && error <= 0);
	w->closed = true;
}

static void on_started(struct init_exec *exec, const struct err *err, int pid _unused_)
{
	struct world *w = container_of(exec, struct world, exec);

	need(w->started++ == 0 && !w->exec_over);
	w->exec_over = !err || err->num < 0;
}

static void on_exited(struct init_exec *exec, int exit_code _unused_, int signal _unused_)
{
	struct world *w = container_of(exec, struct world, exec);

	need(w->exited++ == 0 && !w->exec_over);
	w->exec_over = true;
}

static void on_answer(void *owner, struct msg *answer)
{
	struct world *w = owner;

	need(w->answers++ == 0);
	if (answer)
		need(answer->header.op == (INIT_CONNECT | MSG_REPLY) && answer->n_fds <= 1);
}

static void on_stop(struct loop_timer *timer)
{
	container_of(timer, struct world, stop)->loop.stop = true;
}

static void turn(struct world *w)
{
	w->stop.fn = on_stop;
	need(loop_arm(&w->loop, &w->stop, 0) == 0 && loop_run(&w->loop) == 0);
}

/*
 * A frame from the input: of the Nth shape, its numbers near those in use and the rest as given; or, past the last
 * shape, as given altogether. Returns how much of the input it took; *RET_LENGTH of FRAME is to be sent.
 */
static size_t make_frame(const struct world *w, const uint8_t *data, size_t n, uint8_t *frame, size_t *ret_length)
{
	const struct msg_shape *shape = data[0] < n_init_answers ? &init_answers[data[0]] : NULL;
	uint64_t id = w->link.requests.first_id + (n > 1 ? data[1] & 3 : 0);
	size_t length = shape ? shape->length : data[0], given = length < n - 1 ? length : n - 1;

	memset(frame, 0, length);
	memcpy(frame, data + 1, given);
	if (shape)
		msg_init((void *)frame, shape->op, shape->op & MSG_REPLY ? id : 0, length);
	if (shape && shape->op == INIT_EV_EXITED && n > 1 && data[1] & 4)
		memcpy(frame + offsetof(struct init_ev_exited, exec), &id, sizeof(id));
	*ret_length = length;
	return 1 + given;
}

static void send_frames(struct world *w, int peer, const uint8_t *data, size_t n)
{
	union {
		struct msg_header header;
		uint8_t bytes[MSG_MAX_SIZE];
	} frame;

	while (n > 0 && !w->closed) {
		size_t length, taken = make_frame(w, data, n, frame.bytes, &length);
		if (send(peer, frame.bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
			turn(w);
		data += taken;
		n -= taken;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct world w = { .link = { .on_hello = on_hello,
				   .on_workload_exited = on_workload_exited,
				   .on_output = on_output,
				   .on_closed = on_closed },
		.exec = { .on_started = on_started, .on_exited = on_exited } };
	struct init_connect request = { .port = 80 };
	int pair[2];

	need(loop_open(&w.loop) == 0);
	need(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
	need(init_link_open(&w.link, &w.loop, pair[0]) == 0);
	msg_init(&request.header, INIT_CONNECT, 0, sizeof(request));
	need(init_link_send(&w.link, &request.header, NULL, 0, on_answer, &w) == 0);
	need(init_link_exec(&w.link, &w.exec, (const int[4]){ 0, 0, 0, 0 }) == 0);
	send_frames(&w, pair[1], data, n);
	close(pair[1]);
	if (!w.closed)
		turn(&w);
	need(w.closed && w.answers == 1 && w.exec_over);
	loop_close(&w.loop);
	return 0;
}
