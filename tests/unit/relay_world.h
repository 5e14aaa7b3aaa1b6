/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What tests of relays run in: one loop with a time limit, pairs of connections, and peers that run in the same loop and
 * know for every place in a stream which byte belongs there.
 */
#pragma once

#include "tests/unit/unit.h"

#include "control/relay.h"

enum { MIB = 1 << 20, CHUNK = 1 << 16 };

struct world {
	struct loop loop;
	struct relay_pool pool;
	struct loop_timer limit, pause;
	bool timed_out;
};

struct run {
	struct world *world;
	struct relay relay;
	bool over;
	uint64_t bytes[2];
	int err;
	unsigned moved;
};

/* Sends SIZE bytes, then shuts down; reads and checks until the end. */
struct peer {
	struct loop_io io;
	struct world *world;
	uint64_t size, sent, received;
	bool closed, ended, lazy; /* lazy: does not read */
	unsigned seed;
};

/* Of cmocka: STATE is the world. The second sees to it that no pipe is held and that the time limit was not met. */
int world_set_up(void **state);
int world_tear_down(void **state);
void world_run_for(struct world *world, uint64_t ns);
/* TEXT comes to FD, or "" for the end. */
void world_expect(struct world *world, int fd, const char *text);
/* The loop has nothing to do: it does not turn over and over. */
void world_expect_quiet(struct world *world);
/* Writes to FD until neither the relay nor the buffers take more; how much that was. */
uint64_t world_stuff(struct world *world, int fd);

void run_start(struct run *run, struct world *world, struct relay_end a, struct relay_end b);
/* Until it is over. */
void run_wait(struct run *run);

void start_peer(struct peer *peer, struct world *world, int fd, uint64_t size);
void end_peer(struct peer *peer);

void unix_pair(int fds[2]);
void tcp_pair(int fds[2]);
struct relay_end both(int fd);
size_t count_fds(void);
