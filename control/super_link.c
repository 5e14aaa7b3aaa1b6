/* SPDX-License-Identifier: Apache-2.0 */
#include "control/super_link.h"

static void end(struct super_link *link, int error)
{
	super_link_close(link);
	link->on_closed(link, error);
}

static void on_message(struct chan *chan, struct msg *msg)
{
	struct super_link *link = container_of(chan, struct super_link, chan);
	int r = 0;

	switch (msg->header.op) {
	case SUPER_EV_SESSION:
		link->on_session(link, (const void *)msg->bytes, msg->fds, msg->n_fds);
		break;
	case SUPER_EV_VOLUMES:
		link->on_volumes(link, (const void *)msg->bytes);
		break;
	case SUPER_EV_EXITED:
		link->on_exited(link, (const void *)msg->bytes);
		break;
	case SUPER_EV_GONE:
		link->on_gone(link, ((const struct super_named *)(const void *)msg->bytes)->id);
		break;
	default:
		r = requests_answer(&link->requests, msg);
	}
	if (r < 0)
		end(link, r);
}

static void on_closed(struct chan *chan, int error)
{
	end(container_of(chan, struct super_link, chan), error);
}

int super_link_open(struct super_link *link, struct loop *loop, int sock)
{
	requests_init(&link->requests);
	link->chan.shapes = super_answers;
	link->chan.n_shapes = n_super_answers;
	link->chan.on_message = on_message;
	link->chan.on_closed = on_closed;
	return chan_open(&link->chan, loop, sock);
}

void super_link_close(struct super_link *link)
{
	chan_close(&link->chan);
	requests_end(&link->requests);
}

int super_link_send(
	struct super_link *link, struct msg_header *header, const int *fds, size_t n_fds, answer_fn *fn, void *owner)
{
	return requests_send(&link->requests, &link->chan, header, fds, n_fds, fn, owner);
}

int super_link_ask(struct super_link *link, enum super_op op, answer_fn *fn, void *owner)
{
	struct super_plain request = { 0 };

	msg_init(&request.header, (uint16_t)op, 0, sizeof(request));
	return super_link_send(link, &request.header, NULL, 0, fn, owner);
}

int super_link_tell(struct super_link *link, enum super_op op, const char *id, answer_fn *fn, void *owner)
{
	struct super_named request = { 0 };
	int r = copy_string(request.id, sizeof(request.id), id);

	if (r < 0)
		return r;
	msg_init(&request.header, (uint16_t)op, 0, sizeof(request));
	return super_link_send(link, &request.header, NULL, 0, fn, owner);
}

void super_link_forget(struct super_link *link, const void *owner)
{
	requests_forget(&link->requests, owner);
}
