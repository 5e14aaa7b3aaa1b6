/* SPDX-License-Identifier: Apache-2.0 */
#include "control/init_link.h"

#include <signal.h>

enum { MAX_SIGNAL = 64 };

static void end(struct init_link *link, int error)
{
	init_link_close(link);
	link->on_closed(link, error);
}

static int hello(struct init_link *link, const struct init_hello *event)
{
	if (link->greeted || event->workload > WORKLOAD_SIGNALED)
		return -EPROTO;
	link->greeted = true;
	link->on_hello(link, (enum workload_state)event->workload);
	return 0;
}

static struct init_exec *find(struct init_link *link, uint64_t id)
{
	for (struct list *l = link->execs.next; l != &link->execs; l = l->next) {
		struct init_exec *exec = container_of(l, struct init_exec, of_link);
		if (exec->id == id)
			return exec;
	}
	return NULL;
}

static int exited(struct init_link *link, const struct init_ev_exited *event)
{
	bool by_exit = event->exit_code >= 0 && event->exit_code <= 255 && event->signal == 0;
	bool by_signal = event->exit_code == -1 && event->signal > 0 && event->signal <= MAX_SIGNAL;

	if (!by_exit && !by_signal)
		return -EPROTO;
	if (event->exec == 0) {
		link->on_workload_exited(link, event->exit_code, event->signal);
		return 0;
	}
	struct init_exec *exec = find(link, event->exec);
	/* Else one that a control process before this one started, or that nobody wants to hear of any more. */
	if (exec) {
		init_link_forget_exec(link, exec); /* an answer that comes after its end is of no interest */
		exec->on_exited(exec, event->exit_code, event->signal);
	}
	return 0;
}

/* What became of INIT_EXEC: the answer to a request of this link's, or of what was ordered of a spawner. */
static int exec_answered(struct init_link *link, struct msg *msg)
{
	const struct init_started *started = (const void *)msg->bytes;
	const struct init_exec *exec = find(link, msg->header.id);

	if (!exec || !exec->ordered) {
		int r = requests_answer(&link->requests, msg);
		/* Else it was ordered, and nobody wants to hear of it any more. */
		return r < 0 && started->err.num < 0 && msg->header.id <= link->requests.last_id ? 0 : r;
	}
	if (started->err.num == 0)
		return -EPROTO;
	init_link_fail_order(link, msg->header.id, &started->err);
	return 0;
}

static int kept(struct init_link *link, const struct init_ev_kept *event)
{
	if (!link->listing || ++link->n_listed > INIT_MAX_KEPT)
		return -EPROTO;
	link->on_kept(link, event);
	return 0;
}

static void on_message(struct chan *chan, struct msg *msg)
{
	struct init_link *link = container_of(chan, struct init_link, chan);
	int r = 0;

	/* LINK may be gone when a handler returns 0. */
	switch (msg->header.op) {
	case INIT_EV_HELLO:
		r = hello(link, (const void *)msg->bytes);
		break;
	case INIT_EV_EXITED:
		r = exited(link, (const void *)msg->bytes);
		break;
	case INIT_EV_OUTPUT:
		link->on_output(link);
		break;
	case INIT_EV_KEPT:
		r = kept(link, (const void *)msg->bytes);
		break;
	case INIT_EXEC | MSG_REPLY:
		r = exec_answered(link, msg);
		break;
	default:
		r = requests_answer(&link->requests, msg);
	}
	if (r < 0)
		end(link, r);
}

static void on_closed(struct chan *chan, int error)
{
	end(container_of(chan, struct init_link, chan), error);
}

int init_link_open(struct init_link *link, struct loop *loop, int sock)
{
	requests_init(&link->requests);
	list_init(&link->execs);
	link->greeted = link->listing = false;
	link->n_listed = 0;
	link->chan.shapes = init_answers;
	link->chan.n_shapes = n_init_answers;
	link->chan.on_message = on_message;
	link->chan.on_closed = on_closed;
	return chan_open(&link->chan, loop, sock);
}

bool init_link_is_open(const struct init_link *link)
{
	return chan_is_open(&link->chan);
}

void init_link_close(struct init_link *link)
{
	if (!link->chan.loop)
		return;
	chan_close(&link->chan);
	requests_end(&link->requests);
	for (struct list *l; (l = list_take_first(&link->execs));) {
		struct init_exec *exec = container_of(l, struct init_exec, of_link);
		exec->on_exited(exec, -1, -1);
	}
}

int init_link_send(
	struct init_link *link, struct msg_header *header, const int *fds, size_t n_fds, answer_fn *fn, void *owner)
{
	return requests_send(&link->requests, &link->chan, header, fds, n_fds, fn, owner);
}

static void on_exec_answer(void *owner, struct msg *answer)
{
	struct init_exec *exec = owner;

	if (!answer) {
		list_remove(&exec->of_link);
		exec->on_started(exec, NULL, 0);
		return;
	}
	const struct init_started *started = (const void *)answer->bytes;
	if (started->err.num < 0)
		list_remove(&exec->of_link);
	exec->on_started(exec, &started->err, started->pid);
}

static int start(struct init_link *link, struct init_exec *exec, enum init_op op, const int *fds, size_t n_fds)
{
	struct init_plain request = { 0 };

	msg_init(&request.header, (uint16_t)op, 0, sizeof(request));
	int r = init_link_send(link, &request.header, fds, n_fds, on_exec_answer, exec);
	if (r < 0)
		return r;
	exec->id = request.header.id;
	exec->ordered = false; /* it may have been tried */
	list_append(&link->execs, &exec->of_link);
	return 0;
}

int init_link_exec(struct init_link *link, struct init_exec *exec, const int fds[static 4])
{
	return start(link, exec, INIT_EXEC, fds, 4);
}

int init_link_files(struct init_link *link, struct init_exec *exec, int spec, int channel)
{
	return start(link, exec, INIT_FILES, (const int[]){ spec, channel }, 2);
}

int init_link_spawner(struct init_link *link, struct init_exec *exec, int channel)
{
	return start(link, exec, INIT_SPAWNER, &channel, 1);
}

void init_link_order(struct init_link *link, struct init_exec *exec)
{
	exec->id = ++link->requests.last_id;
	exec->ordered = true;
	list_append(&link->execs, &exec->of_link);
}

void init_link_fail_order(struct init_link *link, uint64_t id, const struct err *err)
{
	struct init_exec *exec = find(link, id);

	if (!exec)
		return;
	list_remove(&exec->of_link);
	exec->on_started(exec, err, 0);
}

int init_link_start(struct init_link *link, struct init_exec *exec, struct init_start *request, int spec)
{
	msg_init(&request->header, INIT_START, 0, sizeof(*request));
	int r = init_link_send(link, &request->header, &spec, 1, on_exec_answer, exec);
	if (r < 0)
		return r;
	exec->id = request->header.id;
	list_append(&link->execs, &exec->of_link);
	return 0;
}

void init_link_adopt_exec(struct init_link *link, struct init_exec *exec)
{
	list_append(&link->execs, &exec->of_link);
}

static void on_listed(void *owner, struct msg *answer _unused_)
{
	struct init_link *link = owner;

	link->listing = false;
	link->on_kept(link, NULL);
}

int init_link_list(struct init_link *link)
{
	struct init_plain request = { 0 };

	msg_init(&request.header, INIT_LIST, 0, sizeof(request));
	int r = init_link_send(link, &request.header, NULL, 0, on_listed, link);
	link->listing = r == 0;
	return r;
}

void init_link_forget_exec(struct init_link *link, struct init_exec *exec)
{
	/* An entry that was never linked is zero. */
	if (!exec->of_link.next)
		return;
	list_remove(&exec->of_link);
	requests_forget(&link->requests, exec);
}

static void ignore_answer(void *owner _unused_, struct msg *answer _unused_)
{
}

int init_link_signal(struct init_link *link, const struct init_exec *exec, int signal, bool group)
{
	struct init_signal request = { .exec = exec->id, .signal = signal, .group = group };

	msg_init(&request.header, INIT_SIGNAL, 0, sizeof(request));
	return init_link_send(link, &request.header, NULL, 0, ignore_answer, link);
}

void init_link_kill(struct init_link *link, uint64_t id)
{
	const struct init_exec exec = { .id = id };

	/* Init kills the command and its group at once: after the command has been reaped its group is not known. */
	init_link_signal(link, &exec, SIGKILL, true);
}
