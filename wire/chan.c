/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/chan.h"

#include <fcntl.h>

struct chan_item {
	struct chan_item *next;
	size_t n_fds;
	int fds[MSG_MAX_FDS];
	struct msg_header header; /* followed by the rest of the message */
};

static void item_free(struct chan_item *item)
{
	close_fds(item->fds, item->n_fds);
	free(item);
}

static void fail(struct chan *chan, int error)
{
	chan_close(chan);
	chan->on_closed(chan, error);
}

/* Sends what is queued as far as the peer takes it. 0 or the error that ends the channel. */
static int flush(struct chan *chan)
{
	while (chan->head) {
		struct chan_item *item = chan->head;
		int r = msg_send(chan->io.fd, &item->header, item->fds, item->n_fds);
		if (r == -EAGAIN)
			break;
		if (r < 0)
			return r;
		chan->head = item->next;
		if (!chan->head)
			chan->tail = &chan->head;
		chan->n_queued--;
		item_free(item);
	}
	return loop_watch(chan->loop, &chan->io, chan->head ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static void on_ready(struct loop_io *io, uint32_t revents)
{
	struct chan *chan = container_of(io, struct chan, io);
	int r = 0;

	if (revents & EPOLLOUT)
		r = flush(chan);
	if (r < 0) {
		fail(chan, r);
		return;
	}
	if (!(revents & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		return;
	_uninitialized_ struct msg msg;
	r = msg_recv(io->fd, chan->shapes, chan->n_shapes, &msg);
	if (r == -EAGAIN)
		return;
	if (r <= 0 && r != -EMFILE) {
		fail(chan, r);
		return;
	}
	chan->on_message(chan, &msg);
	msg_release(&msg);
}

int chan_open(struct chan *chan, struct loop *loop, int sock)
{
	chan->loop = loop;
	chan->io = (struct loop_io){ .fd = sock, .fn = on_ready };
	chan->head = NULL;
	chan->tail = &chan->head;
	chan->n_queued = 0;
	int r = loop_watch(loop, &chan->io, EPOLLIN);
	if (r < 0)
		close_fdp(&chan->io.fd);
	return r;
}

bool chan_is_open(const struct chan *chan)
{
	return chan->loop && chan->io.fd >= 0;
}

static int queue(struct chan *chan, const struct msg_header *header, const int *fds, size_t n_fds)
{
	if (chan->n_queued >= CHAN_MAX_QUEUED)
		return -ENOBUFS;
	struct chan_item *item = malloc(offsetof(struct chan_item, header) + header->length);
	if (!item)
		return -ENOMEM;
	item->next = NULL;
	item->n_fds = 0;
	memcpy(&item->header, header, header->length);
	for (; item->n_fds < n_fds; item->n_fds++) {
		int fd = fcntl(fds[item->n_fds], F_DUPFD_CLOEXEC, 3);
		if (fd < 0) {
			int r = -errno;
			item_free(item);
			return r;
		}
		item->fds[item->n_fds] = fd;
	}
	*chan->tail = item;
	chan->tail = &item->next;
	chan->n_queued++;
	return loop_watch(chan->loop, &chan->io, EPOLLIN | EPOLLOUT);
}

int chan_send(struct chan *chan, const struct msg_header *header, const int *fds, size_t n_fds)
{
	if (!chan_is_open(chan))
		return -ENOTCONN;
	if (!chan->head) {
		int r = msg_send(chan->io.fd, header, fds, n_fds);
		if (r != -EAGAIN)
			return r == -EPIPE || r == -ECONNRESET ? 0 : r;
	}
	return queue(chan, header, fds, n_fds);
}

void chan_close(struct chan *chan)
{
	if (!chan_is_open(chan))
		return;
	loop_remove(chan->loop, &chan->io);
	close_fdp(&chan->io.fd);
	while (chan->head) {
		struct chan_item *item = chan->head;
		chan->head = item->next;
		item_free(item);
	}
	chan->tail = &chan->head;
	chan->n_queued = 0;
}
