/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A private channel in an event loop: msg_send and msg_recv with a bounded queue for what the peer is not yet ready
 * to take. Used by the supervisor (to control) and by control (to the supervisor and to each session's init).
 */
#pragma once

#include "wire/loop.h"
#include "wire/msg.h"

enum { CHAN_MAX_QUEUED = 4096 }; /* messages; a peer that lets more pile up is ended with -ENOBUFS */

struct chan_item;

struct chan {
	struct loop *loop;
	struct loop_io io;
	const struct msg_shape *shapes; /* of what the peer may send */
	size_t n_shapes;
	struct chan_item *head, **tail; /* waiting to be sent */
	size_t n_queued;
	/*
	 * MSG's descriptors are closed after the call unless stolen; it has none where this process has no room for them,
	 * whatever its shape says. The handler may close the channel.
	 */
	void (*on_message)(struct chan *chan, struct msg *msg);
	/* The channel is already closed; ERROR is 0 at end of file, else why (-EPROTO, -ENOBUFS, -errno). */
	void (*on_closed)(struct chan *chan, int error);
};

/* Takes ownership of the nonblocking SOCK; set shapes, n_shapes and both handlers before. 0 or a negative errno. */
int chan_open(struct chan *chan, struct loop *loop, int sock);
bool chan_is_open(const struct chan *chan);

/*
 * Sends, or queues a copy of the message and of its descriptors (duplicated: the caller keeps his). 0, -ENOTCONN,
 * -ENOMEM or -ENOBUFS; a peer that turns out to be gone is reported through on_closed from the loop, not from here.
 */
int chan_send(struct chan *chan, const struct msg_header *header, const int *fds, size_t n_fds);

/* Closes without calling on_closed. */
void chan_close(struct chan *chan);
