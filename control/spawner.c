/* SPDX-License-Identifier: Apache-2.0 */
#include "control/spawner.h"

#include <signal.h>
#include <sys/socket.h>

#include "control/lifecycle.h"

#define KEPT_NS (20 * NS_PER_SEC) /* after the last order */
#define PATIENCE_NS (2 * NS_PER_SEC) /* with one that was asked to end */
#define ORDER_NS (5 * NS_PER_SEC) /* with one that has an order: to start a command takes it a millisecond */

struct spawner {
	struct session *session;
	struct init_exec process;
	struct chan chan; /* closed: only its end is waited for */
	struct loop_timer timer; /* the end of idleness, or of patience */
	bool there; /* init has said so */
	uint64_t order; /* what it has not said to be done with; 0: it is free */
};

static struct loop *loop_of(const struct spawner *spawner)
{
	return lifecycle_loop(spawner->session->lifecycle);
}

static void spawner_free(struct spawner *spawner)
{
	struct session *session = spawner->session;

	init_link_forget_exec(&session->init, &spawner->process);
	loop_disarm(loop_of(spawner), &spawner->timer);
	chan_close(&spawner->chan);
	session->spawner = NULL;
	free(spawner);
}

/* Asks it to end, which it does when its channel is closed; one that hangs or says nonsense is killed. */
static void stop(struct spawner *spawner, bool kill)
{
	struct init_link *init = &spawner->session->init;

	chan_close(&spawner->chan);
	loop_disarm(loop_of(spawner), &spawner->timer);
	if (!kill && loop_arm(loop_of(spawner), &spawner->timer, boottime_ns() + PATIENCE_NS) == 0)
		return;
	init_link_signal(init, &spawner->process, SIGKILL, false);
}

/* It is free, and is kept for a while. */
static void keep(struct spawner *spawner)
{
	if (loop_arm(loop_of(spawner), &spawner->timer, boottime_ns() + KEPT_NS) < 0)
		stop(spawner, false);
}

static void on_started(struct init_exec *process, const struct err *err, int pid _unused_)
{
	struct spawner *spawner = container_of(process, struct spawner, process);

	if (err && err->num == 0)
		spawner->there = true;
	else
		spawner_free(spawner);
}

/*
 * With an order, there may be a child: if it has said who it is, init knows by now, and kills it; if it has not, it has
 * nobody to say it to any more, and ends.
 */
static void on_exited(struct init_exec *process, int exit_code, int signal)
{
	struct spawner *spawner = container_of(process, struct spawner, process);
	struct init_link *init = &spawner->session->init;
	uint64_t order = spawner->order;
	bool link_ended = exit_code < 0 && signal < 0;
	struct err err;

	spawner_free(spawner);
	/* Without the link, whoever waits is told by that. */
	if (order == 0 || link_ended)
		return;
	init_link_kill(init, order);
	err_set(&err, -EAGAIN, "spawn", "%s", "spawner");
	init_link_fail_order(init, order, &err);
}

static void on_message(struct chan *chan, struct msg *msg)
{
	struct spawner *spawner = container_of(chan, struct spawner, chan);

	if (spawner->order == 0 || msg->header.op != (INIT_EXEC | MSG_REPLY) || msg->header.id != spawner->order) {
		stop(spawner, true);
		return;
	}
	spawner->order = 0;
	keep(spawner);
}

static void on_closed(struct chan *chan, int error _unused_)
{
	struct spawner *spawner = container_of(chan, struct spawner, chan);

	/* That it has ended, if it has, comes from init. */
	stop(spawner, true);
}

static void on_timer(struct loop_timer *timer)
{
	struct spawner *spawner = container_of(timer, struct spawner, timer);

	stop(spawner, spawner->order != 0 || !chan_is_open(&spawner->chan));
}

/* ---- for exec.run ---- */

int spawner_exec(struct session *session, struct init_exec *exec, const int fds[static 4])
{
	struct spawner *spawner = session->spawner;
	struct init_plain order = { 0 };

	if (!spawner || !spawner->there || spawner->order != 0 || !chan_is_open(&spawner->chan))
		return -EAGAIN;
	init_link_order(&session->init, exec);
	msg_init(&order.header, INIT_EXEC, exec->id, sizeof(order));
	int r = msg_send(spawner->chan.io.fd, &order.header, fds, 4);
	if (r < 0) {
		init_link_forget_exec(&session->init, exec);
		return r;
	}
	spawner->order = exec->id;
	loop_arm(loop_of(spawner), &spawner->timer, boottime_ns() + ORDER_NS);
	return 0;
}

bool spawner_kill(struct session *session, uint64_t id)
{
	struct spawner *spawner = session->spawner;

	if (!spawner || spawner->order != id)
		return false;
	stop(spawner, true);
	return true;
}

static int launch(struct spawner *spawner)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return -errno;
	_close_ int theirs = pair[1];
	int r = chan_open(&spawner->chan, loop_of(spawner), pair[0]);
	return r < 0 ? r : init_link_spawner(&spawner->session->init, &spawner->process, theirs);
}

void spawner_want(struct session *session)
{
	struct spawner *spawner = session->spawner;

	if (!init_link_is_open(&session->init))
		return;
	if (!spawner) {
		spawner = session->spawner = calloc(1, sizeof(*spawner));
		if (!spawner)
			return;
		*spawner = (struct spawner){
			.session = session,
			.process = { .on_started = on_started, .on_exited = on_exited },
			.timer.fn = on_timer,
			.chan = { .shapes = init_answers,
				.n_shapes = n_init_answers,
				.on_message = on_message,
				.on_closed = on_closed },
		};
		if (launch(spawner) < 0) {
			spawner_free(spawner);
			return;
		}
	}
	/* One that hangs with its order is not kept by what init starts meanwhile. */
	if (chan_is_open(&spawner->chan) && spawner->order == 0)
		keep(spawner);
}

void spawner_end(struct session *session)
{
	if (session->spawner)
		spawner_free(session->spawner);
}
