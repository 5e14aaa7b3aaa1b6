/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event loop of the supervisor and of control: one thread, epoll for descriptors, one timerfd on CLOCK_BOOTTIME
 * for all timers. Both structs are embedded in their owner, who finds himself again with container_of(); nothing is
 * allocated per event. A handler may remove and free anything, itself included: removed descriptors get no event
 * that was already fetched.
 */
#pragma once

#include <stdbool.h>
#include <sys/epoll.h>

#include "wire/def.h"

struct loop_io {
	int fd; /* borrowed; its owner closes it after loop_remove() */
	uint32_t events; /* EPOLLIN, ... as now registered; 0 when it is not */
	void (*fn)(struct loop_io *io, uint32_t revents);
};

struct loop_timer {
	uint64_t at_ns; /* CLOCK_BOOTTIME; the time it was armed for */
	size_t place; /* in the heap, from 1; 0 when not armed */
	void (*fn)(struct loop_timer *timer); /* called once; it may arm itself again */
};

struct loop {
	int epoll_fd, timer_fd;
	struct loop_io timer_io;
	struct epoll_event *fetched; /* events of the round under way */
	int n_fetched;
	uint64_t alarm_ns; /* when timer_fd is to wake us, CLOCK_BOOTTIME; UINT64_MAX: never */
	struct loop_timer **heap;
	size_t n_timers, heap_size;
	bool stop;
};

/* 0 or a negative errno; on failure nothing is held. */
int loop_open(struct loop *loop);
void loop_close(struct loop *loop);

/* Registers IO for EVENTS, or changes what it is registered for. 0 or a negative errno. */
int loop_watch(struct loop *loop, struct loop_io *io, uint32_t events);

/* Takes IO out; harmless when it is not in. */
void loop_remove(struct loop *loop, struct loop_io *io);

/* Arms TIMER for a time on CLOCK_BOOTTIME (past times fire in the next round). 0 or -ENOMEM. */
int loop_arm(struct loop *loop, struct loop_timer *timer, uint64_t at_ns);
void loop_disarm(struct loop *loop, struct loop_timer *timer);

/* Serves events until loop->stop. 0 or a negative errno. */
int loop_run(struct loop *loop);

/* Nanoseconds of CLOCK_BOOTTIME, CLOCK_MONOTONIC and CLOCK_REALTIME. */
uint64_t boottime_ns(void);
uint64_t monotonic_ns(void);
uint64_t realtime_ns(void);

#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_SEC UINT64_C(1000000000)
