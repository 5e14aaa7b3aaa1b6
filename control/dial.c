/* SPDX-License-Identifier: Apache-2.0 */
#include "control/dial.h"

#include "control/foreign.h"

enum {
	/* Init makes 64 at once, and its socket holds 278 messages: a control that is late costs no session its life. */
	ASKED_AT_ONCE = 32,
};

#define AGAIN_NS (20 * NS_PER_MS)
#define LIMIT_NS (20 * NS_PER_SEC) /* longer than the kernel tries */

static void pump(struct dialer *dialer);

/* Takes DIAL out of everything. */
static void leave(struct dial *dial)
{
	struct dialer *dialer = steal_ptr(&dial->dialer);

	loop_disarm(dialer->loop, &dial->limit);
	loop_disarm(dialer->loop, &dial->again);
	list_remove(&dial->of_waiting);
	list_remove(&dial->of_all);
	if (dial->asked) {
		dial->asked = false;
		dialer->n_asked--;
		requests_forget(&dialer->link->requests, dial);
	}
}

static void finish(struct dial *dial, int fd)
{
	struct dialer *dialer = dial->dialer;

	leave(dial);
	dial->done(dial, fd);
	pump(dialer);
}

static void on_answer(void *owner, struct msg *answer)
{
	struct dial *dial = owner;
	struct dialer *dialer = dial->dialer;

	dial->asked = false;
	dialer->n_asked--;
	/* The link ended; the session ends its dialer presently. */
	if (!answer)
		return;
	const struct init_done *done = (const void *)answer->bytes;
	if (done->err.num == -EAGAIN) {
		if (loop_arm(dialer->loop, &dial->again, boottime_ns() + AGAIN_NS) < 0)
			finish(dial, -EAGAIN);
		else
			pump(dialer);
		return;
	}
	if (done->err.num < 0) {
		finish(dial, done->err.num);
		return;
	}
	_close_ int fd = answer->n_fds == 1 ? steal_fd(&answer->fds[0]) : -1;
	if (dial->target.port > 0 ? foreign_is_tcp(fd) : foreign_is_unix_stream(fd))
		finish(dial, steal_fd(&fd));
	else
		finish(dial, -EPROTO);
}

static int ask(struct dial *dial)
{
	struct init_link *link = dial->dialer->link;
	struct init_connect port = { .port = dial->target.port, .family = dial->target.family };
	struct init_connect_path path = { 0 };

	if (!init_link_is_open(link))
		return -ENOTCONN;
	if (dial->target.port > 0) {
		msg_init(&port.header, INIT_CONNECT, 0, sizeof(port));
		return init_link_send(link, &port.header, NULL, 0, on_answer, dial);
	}
	int r = copy_string(path.path, sizeof(path.path), dial->target.path);
	if (r < 0)
		return r;
	msg_init(&path.header, INIT_CONNECT_PATH, 0, sizeof(path));
	return init_link_send(link, &path.header, NULL, 0, on_answer, dial);
}

/* Asks for as many as may be asked for. One that cannot be is reported from the loop. */
static void pump(struct dialer *dialer)
{
	while (dialer->n_asked < ASKED_AT_ONCE) {
		struct list *first = list_take_first(&dialer->waiting);
		if (!first)
			return;
		struct dial *dial = container_of(first, struct dial, of_waiting);
		int r = ask(dial);
		if (r == 0) {
			dial->asked = true;
			dialer->n_asked++;
			continue;
		}
		dial->error = r;
		loop_arm(dialer->loop, &dial->limit, 0); /* it is armed already: there is room in the heap */
	}
}

static void on_limit(struct loop_timer *timer)
{
	struct dial *dial = container_of(timer, struct dial, limit);

	finish(dial, dial->error);
}

static void on_again(struct loop_timer *timer)
{
	struct dial *dial = container_of(timer, struct dial, again);

	list_append(&dial->dialer->waiting, &dial->of_waiting);
	pump(dial->dialer);
}

void dialer_init(struct dialer *dialer, struct loop *loop, struct init_link *link)
{
	*dialer = (struct dialer){ .loop = loop, .link = link };
	list_init(&dialer->waiting);
	list_init(&dialer->all);
}

void dialer_end(struct dialer *dialer)
{
	while (!list_is_empty(&dialer->all)) {
		struct dial *dial = container_of(dialer->all.next, struct dial, of_all);
		leave(dial);
		dial->done(dial, -ECONNRESET);
	}
}

int dial_start(struct dialer *dialer, struct dial *dial)
{
	dial->error = -ETIMEDOUT;
	dial->asked = false;
	dial->limit = (struct loop_timer){ .fn = on_limit };
	dial->again = (struct loop_timer){ .fn = on_again };
	int r = loop_arm(dialer->loop, &dial->limit, boottime_ns() + LIMIT_NS);
	if (r < 0)
		return r;
	dial->dialer = dialer;
	list_append(&dialer->all, &dial->of_all);
	list_append(&dialer->waiting, &dial->of_waiting);
	pump(dialer);
	return 0;
}

void dial_cancel(struct dial *dial)
{
	struct dialer *dialer = dial->dialer;

	if (!dialer)
		return;
	leave(dial);
	pump(dialer);
}
