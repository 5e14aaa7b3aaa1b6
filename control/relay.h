/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Moves bytes between two connections, each way through a pipe by splice(2), so that they are never copied here. Used
 * for the ports of sessions and for the input and output of commands.
 *
 * - Half-close is kept: the end of one way is shutdown(SHUT_WR), or the closing of a pipe, on the other side.
 * - Back-pressure is kept: a way reads only when all that it read has been written. What it holds meanwhile is one
 *   pipe's content.
 * - A way has a pipe only while bytes are in it; empty pipes are kept in a pool. Idle relays cost their descriptors.
 * - An event gets a bounded amount of work; epoll's order sees to it that the others have their turn.
 *
 * The process must ignore SIGPIPE.
 */
#pragma once

#include <stdbool.h>

#include "wire/loop.h"

enum {
	RELAY_SPARE_PIPES = 32,
	RELAY_MAX_FDS = 6, /* of one relay between two sockets: these, and a pipe each way */
};

/* Empty pipes, shared by the relays of one loop. Set loop; the rest is zero. */
struct relay_pool {
	struct loop *loop;
	size_t n_spare, n_busy; /* pipes that are empty; that hold bytes */
	int spare[RELAY_SPARE_PIPES][2];
};

/* One of the two connections. */
struct relay_end {
	int in; /* is read; -1: nothing comes from here */
	int out; /* is written; the same number as IN for a socket; -1: nothing goes here */
	bool foreign; /* a socket that a session's init sent: see control/foreign.h */
};

struct relay_side {
	struct relay_end end;
	struct loop_io in, out; /* a socket has only the first */
};

struct relay_way {
	bool open;
	int pipe[2]; /* -1 while it holds nothing */
	size_t pending; /* bytes in it */
	uint64_t bytes; /* written so far */
	unsigned empty_rounds; /* in a row: the loop announced bytes and there were none */
};

struct relay {
	struct relay_pool *pool;
	struct relay_side side[2]; /* a, b */
	struct relay_way way[2]; /* way[N] goes from side[N] to the other */
	int broken; /* -EPIPE once a side took no more */
	/*
	 * It is over, and every descriptor closed. ERR is 0 when each way came to its end, -EPIPE when a side went away
	 * before, or else what failed. May free the relay.
	 */
	void (*done)(void *arg, uint64_t bytes_ab, uint64_t bytes_ba, int err);
	void (*moved)(void *arg); /* some bytes arrived; may be NULL; must not stop the relay */
	void *arg;
};

/*
 * Takes over the descriptors of both ends and makes them nonblocking. Set done, moved and arg before. 0, or a negative
 * errno; then nothing is taken.
 */
int relay_start(struct relay *relay, struct relay_pool *pool, const struct relay_end *a, const struct relay_end *b);

/* Ends it at once and closes everything; done is not called. Harmless when it is over, or zero. */
void relay_stop(struct relay *relay);

/* Closes the spare pipes, after the last relay. */
void relay_pool_release(struct relay_pool *pool);
