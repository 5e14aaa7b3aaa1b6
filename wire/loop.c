/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/loop.h"

#include <sys/timerfd.h>
#include <time.h>

enum { EVENTS_PER_ROUND = 64 };

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec ts;
	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_SEC + (uint64_t)ts.tv_nsec;
}

uint64_t boottime_ns(void)
{
	return clock_ns(CLOCK_BOOTTIME);
}

uint64_t monotonic_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

uint64_t realtime_ns(void)
{
	return clock_ns(CLOCK_REALTIME);
}

/* A binary heap by at_ns, places counted from 1: heap[0] is the next timer. */

static void heap_put(struct loop *loop, size_t place, struct loop_timer *timer)
{
	loop->heap[place - 1] = timer;
	timer->place = place;
}

static void heap_settle(struct loop *loop, size_t place, struct loop_timer *timer)
{
	while (place > 1 && loop->heap[place / 2 - 1]->at_ns > timer->at_ns) {
		heap_put(loop, place, loop->heap[place / 2 - 1]);
		place /= 2;
	}
	for (size_t child; (child = place * 2) <= loop->n_timers; place = child) {
		if (child < loop->n_timers && loop->heap[child]->at_ns < loop->heap[child - 1]->at_ns)
			child++;
		if (loop->heap[child - 1]->at_ns >= timer->at_ns)
			break;
		heap_put(loop, place, loop->heap[child - 1]);
	}
	heap_put(loop, place, timer);
}

/*
 * Once before each wait, and only for what comes earlier than the alarm that is set: most timers are disarmed before their
 * time, and programming a virtual machine's clock takes longer than most handlers. An alarm too early finds nothing to do.
 */
static void set_alarm(struct loop *loop)
{
	struct itimerspec spec = { 0 };

	if (loop->n_timers == 0 || loop->heap[0]->at_ns >= loop->alarm_ns)
		return;
	uint64_t at = loop->heap[0]->at_ns ? loop->heap[0]->at_ns : 1;
	spec.it_value.tv_sec = (time_t)(at / NS_PER_SEC);
	spec.it_value.tv_nsec = (long)(at % NS_PER_SEC);
	timerfd_settime(loop->timer_fd, TFD_TIMER_ABSTIME, &spec, NULL);
	loop->alarm_ns = loop->heap[0]->at_ns;
}

int loop_arm(struct loop *loop, struct loop_timer *timer, uint64_t at_ns)
{
	if (timer->place == 0) {
		if (loop->n_timers == loop->heap_size) {
			size_t size = loop->heap_size ? loop->heap_size * 2 : 64;
			struct loop_timer **heap = reallocarray(loop->heap, size, sizeof(struct loop_timer *));
			if (!heap)
				return -ENOMEM;
			loop->heap = heap;
			loop->heap_size = size;
		}
		timer->at_ns = UINT64_MAX;
		heap_put(loop, ++loop->n_timers, timer);
	}
	timer->at_ns = at_ns;
	heap_settle(loop, timer->place, timer);
	return 0;
}

void loop_disarm(struct loop *loop, struct loop_timer *timer)
{
	size_t place = timer->place;

	if (place == 0)
		return;
	timer->place = 0;
	struct loop_timer *last = loop->heap[--loop->n_timers];
	if (last != timer)
		heap_settle(loop, place, last);
}

static void on_alarm(struct loop_io *io, uint32_t revents _unused_)
{
	struct loop *loop = container_of(io, struct loop, timer_io);
	uint64_t expirations, now = boottime_ns();

	if (read(io->fd, &expirations, sizeof(expirations)) < 0 && errno != EAGAIN)
		return;
	loop->alarm_ns = UINT64_MAX;
	/* Timers armed by a handler for now or earlier wait for the next round, so descriptors are never starved. */
	for (size_t n = loop->n_timers; n > 0 && loop->n_timers > 0 && loop->heap[0]->at_ns <= now; n--) {
		struct loop_timer *timer = loop->heap[0];
		loop_disarm(loop, timer);
		timer->fn(timer);
	}
}

int loop_open(struct loop *loop)
{
	*loop = (struct loop){ .epoll_fd = -1, .timer_fd = -1, .alarm_ns = UINT64_MAX };
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd < 0)
		return -errno;
	loop->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	if (loop->timer_fd < 0) {
		int r = -errno;
		loop_close(loop);
		return r;
	}
	loop->timer_io = (struct loop_io){ .fd = loop->timer_fd, .fn = on_alarm };
	int r = loop_watch(loop, &loop->timer_io, EPOLLIN);
	if (r < 0)
		loop_close(loop);
	return r;
}

void loop_close(struct loop *loop)
{
	close_fdp(&loop->epoll_fd);
	close_fdp(&loop->timer_fd);
	free(loop->heap);
	loop->heap = NULL;
	loop->n_timers = loop->heap_size = 0;
}

int loop_watch(struct loop *loop, struct loop_io *io, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = io };

	if (io->events == events)
		return 0;
	if (epoll_ctl(loop->epoll_fd, io->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, io->fd, &ev) < 0)
		return -errno;
	io->events = events;
	return 0;
}

void loop_remove(struct loop *loop, struct loop_io *io)
{
	if (io->events == 0)
		return;
	epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, io->fd, NULL);
	io->events = 0;
	for (int i = 0; i < loop->n_fetched; i++)
		if (loop->fetched[i].data.ptr == io)
			loop->fetched[i].data.ptr = NULL;
}

int loop_run(struct loop *loop)
{
	struct epoll_event events[EVENTS_PER_ROUND];

	loop->stop = false;
	while (!loop->stop) {
		set_alarm(loop);
		int n = epoll_wait(loop->epoll_fd, events, EVENTS_PER_ROUND, -1);
		if (n < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		loop->fetched = events;
		loop->n_fetched = n;
		for (int i = 0; i < n && !loop->stop; i++) {
			struct loop_io *io = events[i].data.ptr;
			if (io)
				io->fn(io, events[i].events);
		}
		loop->fetched = NULL;
		loop->n_fetched = 0;
	}
	return 0;
}
