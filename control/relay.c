/* SPDX-License-Identifier: Apache-2.0 */
#include "control/relay.h"

#include <fcntl.h>
#include <sys/socket.h>

#include "control/foreign.h"

enum {
	ROUNDS_PER_EVENT = 4, /* times a pipe's content */
	BYTES_PER_ROUND = 1 << 20, /* more than a pipe holds */
	COPY_BYTES = 4096, /* what an empty pipe takes whole, however small it was made */
	MAX_EMPTY_ROUNDS = 64,
};

/* ---- pipes ---- */

static int take_pipe(struct relay_pool *pool, struct relay_way *way)
{
	if (way->pipe[0] >= 0)
		return 0;
	if (pool->n_spare > 0) {
		pool->n_spare--;
		way->pipe[0] = pool->spare[pool->n_spare][0];
		way->pipe[1] = pool->spare[pool->n_spare][1];
	} else if (pipe2(way->pipe, O_CLOEXEC | O_NONBLOCK) < 0) {
		return -errno;
	}
	pool->n_busy++;
	return 0;
}

static void drop_pipe(struct relay_pool *pool, struct relay_way *way)
{
	if (way->pipe[0] < 0)
		return;
	pool->n_busy--;
	if (way->pending == 0 && pool->n_spare < RELAY_SPARE_PIPES) {
		pool->spare[pool->n_spare][0] = steal_fd(&way->pipe[0]);
		pool->spare[pool->n_spare][1] = steal_fd(&way->pipe[1]);
		pool->n_spare++;
	}
	close_fds(way->pipe, 2);
	way->pending = 0;
}

void relay_pool_release(struct relay_pool *pool)
{
	for (; pool->n_spare > 0; pool->n_spare--)
		close_fds(pool->spare[pool->n_spare - 1], 2);
}

/* ---- one way ---- */

/* splice(2) obeys the flags of the file alone; where somebody else can take O_NONBLOCK off, it is looked at each time. */
static bool may_wait(const struct relay_end *end, int fd)
{
	return end->foreign && !foreign_is_nonblocking(fd);
}

/*
 * Urgent data stops splice(2), which then says EAGAIN although there is something to read; recv(2) steps over it. The
 * pipe is empty. Bytes, 0 at the end, or a negative errno.
 */
static ssize_t copy_in(int fd, struct relay_way *way)
{
	_uninitialized_ char bytes[COPY_BYTES];

	ssize_t n = RETRY_EINTR(recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT));
	if (n < 0)
		return errno == ENOTSOCK ? -EAGAIN : -errno;
	if (n > 0 && write(way->pipe[1], bytes, (size_t)n) != n)
		return -EIO;
	return n;
}

/* Fills the empty pipe. ANNOUNCED: the loop says that something is to be read. Bytes, 0 at the end, or a negative errno. */
static ssize_t fill(struct relay *relay, struct relay_way *way, const struct relay_end *from, bool announced)
{
	int r = take_pipe(relay->pool, way);

	if (r < 0)
		return r;
	if (may_wait(from, from->in))
		return -EPROTO;
	ssize_t n = RETRY_EINTR(
		splice(from->in, NULL, way->pipe[1], NULL, BYTES_PER_ROUND, SPLICE_F_MOVE | SPLICE_F_NONBLOCK));
	if (n < 0)
		n = -errno;
	if (n == -EAGAIN && announced) {
		n = copy_in(from->in, way);
		if (n == -EAGAIN && ++way->empty_rounds > MAX_EMPTY_ROUNDS)
			return -EIO;
	}
	if (n > 0) {
		way->pending = (size_t)n;
		way->empty_rounds = 0;
	}
	return n;
}

/* Writes what the pipe holds, as far as it is taken. 0 when it is empty, or a negative errno. */
static int drain(struct relay_way *way, const struct relay_end *to)
{
	while (way->pending > 0) {
		if (may_wait(to, to->out))
			return -EPROTO;
		ssize_t n = RETRY_EINTR(
			splice(way->pipe[0], NULL, to->out, NULL, way->pending, SPLICE_F_MOVE | SPLICE_F_NONBLOCK));
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		way->pending -= (size_t)n;
		way->bytes += (uint64_t)n;
	}
	return 0;
}

static void close_out(struct relay *relay, struct relay_side *side)
{
	struct relay_end *end = &side->end;

	shutdown(end->out, SHUT_WR); /* of a pipe, its closing says it */
	if (end->in == end->out)
		return;
	loop_remove(relay->pool->loop, &side->out);
	close_fdp(&end->out);
}

/* The way's reader takes no more: what is under way is lost, and the writer is not read any further. */
static void break_way(struct relay *relay, struct relay_way *way)
{
	way->open = false;
	relay->broken = -EPIPE;
	drop_pipe(relay->pool, way);
}

/* A bounded amount of work for the way from side[N]. 0, or a negative errno that ends the relay. */
static int pump(struct relay *relay, unsigned n, bool announced)
{
	struct relay_way *way = &relay->way[n];
	struct relay_side *from = &relay->side[n], *to = &relay->side[!n];
	const uint64_t before = way->bytes;
	ssize_t filled = 1;
	int r = 0;

	for (int i = 0; r == 0 && i < ROUNDS_PER_EVENT; i++) {
		if (way->pending == 0)
			filled = fill(relay, way, &from->end, announced && i == 0);
		if (filled <= 0)
			break;
		r = drain(way, &to->end);
	}
	if (relay->moved && way->bytes > before)
		relay->moved(relay->arg);
	if (r == -EPIPE) {
		break_way(relay, way);
		return 0;
	}
	if (way->pending == 0)
		drop_pipe(relay->pool, way);
	if (filled == 0) {
		way->open = false;
		close_out(relay, to);
	}
	if (filled < 0 && filled != -EAGAIN)
		return (int)filled;
	return r == -EAGAIN ? 0 : r;
}

/* ---- both ---- */

static uint32_t wanted_of_reading(const struct relay_way *way)
{
	return way->open && way->pending == 0 ? EPOLLIN : 0;
}

/* An open way's idle reader is watched, too, for going away: EPOLLERR and EPOLLHUP come unasked. */
static uint32_t wanted_of_writing(const struct relay_way *way)
{
	if (!way->open)
		return 0;
	return way->pending > 0 ? EPOLLOUT : EPOLLERR;
}

static int watch(struct relay *relay, struct loop_io *io, uint32_t events)
{
	if (events)
		return loop_watch(relay->pool->loop, io, events);
	/* Not even for what comes unasked: it is level-triggered, and nobody would clear it. */
	loop_remove(relay->pool->loop, io);
	return 0;
}

static int watch_side(struct relay *relay, unsigned n)
{
	struct relay_side *side = &relay->side[n];
	const uint32_t in = wanted_of_reading(&relay->way[n]), out = wanted_of_writing(&relay->way[!n]);

	if (side->end.in == side->end.out)
		return watch(relay, &side->in, in | out);
	int r = watch(relay, &side->in, in);
	return r < 0 ? r : watch(relay, &side->out, out);
}

static void close_side(struct relay *relay, struct relay_side *side, int err)
{
	struct relay_end *end = &side->end;

	loop_remove(relay->pool->loop, &side->in);
	loop_remove(relay->pool->loop, &side->out);
	if (end->out != end->in)
		close_fdp(&end->out);
	if (end->foreign)
		foreign_close(steal_fd(&end->in), err != 0 && err != -EPIPE);
	else
		close_fdp(&end->in);
	end->out = -1;
}

static void end(struct relay *relay, int err)
{
	for (unsigned n = 0; n < 2; n++) {
		relay->way[n].open = false;
		drop_pipe(relay->pool, &relay->way[n]);
		close_side(relay, &relay->side[n], err);
	}
	relay->pool = NULL;
}

void relay_stop(struct relay *relay)
{
	if (relay->pool)
		end(relay, -ECANCELED);
}

/* After any event: what is waited for next, or the end. The relay may be gone afterwards. */
static void settle(struct relay *relay, int r)
{
	const bool open = relay->way[0].open || relay->way[1].open;

	for (unsigned n = 0; n < 2 && open && r == 0; n++)
		r = watch_side(relay, n);
	if (open && r == 0)
		return;
	if (r == 0)
		r = relay->broken;
	end(relay, r);
	relay->done(relay->arg, relay->way[0].bytes, relay->way[1].bytes, r);
}

/* Something of side[N]: it can be read, written, or is gone. */
static void serve(struct relay *relay, unsigned n, bool reads, bool writes, uint32_t revents)
{
	struct relay_way *from = &relay->way[n], *to = &relay->way[!n];
	const bool gone = revents & (EPOLLHUP | EPOLLERR);
	int r = 0;

	if (reads && from->open && from->pending == 0 && (revents & EPOLLIN || gone))
		r = pump(relay, n, true);
	if (r == 0 && writes && to->open && to->pending > 0 && (revents & EPOLLOUT || gone))
		r = pump(relay, !n, false);
	/* Read to its end first, and then also what waits to be read there goes its way. */
	if (r == 0 && writes && to->open && gone)
		break_way(relay, to);
	settle(relay, r);
}

static void on_in_a(struct loop_io *io, uint32_t revents)
{
	struct relay *relay = container_of(io, struct relay, side[0].in);

	serve(relay, 0, true, relay->side[0].end.in == relay->side[0].end.out, revents);
}

static void on_in_b(struct loop_io *io, uint32_t revents)
{
	struct relay *relay = container_of(io, struct relay, side[1].in);

	serve(relay, 1, true, relay->side[1].end.in == relay->side[1].end.out, revents);
}

static void on_out_a(struct loop_io *io, uint32_t revents)
{
	serve(container_of(io, struct relay, side[0].out), 0, false, true, revents);
}

static void on_out_b(struct loop_io *io, uint32_t revents)
{
	serve(container_of(io, struct relay, side[1].out), 1, false, true, revents);
}

static int make_nonblocking(int fd)
{
	int flags = fd < 0 ? O_NONBLOCK : fcntl(fd, F_GETFL);

	if (flags < 0)
		return -errno;
	return flags & O_NONBLOCK || fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0 ? 0 : -errno;
}

static int start_side(struct relay *relay, unsigned n)
{
	const struct relay_end *end = &relay->side[n].end;
	int r = make_nonblocking(end->in);

	if (r == 0)
		r = make_nonblocking(end->out);
	return r < 0 ? r : watch_side(relay, n);
}

int relay_start(struct relay *relay, struct relay_pool *pool, const struct relay_end *a, const struct relay_end *b)
{
	static void (*const on_in[2])(struct loop_io * io, uint32_t revents) = { on_in_a, on_in_b };
	static void (*const on_out[2])(struct loop_io * io, uint32_t revents) = { on_out_a, on_out_b };
	const struct relay_end *const ends[2] = { a, b };

	relay->broken = 0;
	for (unsigned n = 0; n < 2; n++) {
		relay->side[n].end = *ends[n];
		relay->side[n].in = (struct loop_io){ .fd = ends[n]->in, .fn = on_in[n] };
		relay->side[n].out = (struct loop_io){ .fd = ends[n]->out, .fn = on_out[n] };
		relay->way[n] =
			(struct relay_way){ .open = ends[n]->in >= 0 && ends[!n]->out >= 0, .pipe = { -1, -1 } };
	}
	relay->pool = pool;
	int r = start_side(relay, 0);
	if (r == 0)
		r = start_side(relay, 1);
	if (r < 0) {
		for (unsigned n = 0; n < 2; n++) {
			loop_remove(pool->loop, &relay->side[n].in);
			loop_remove(pool->loop, &relay->side[n].out);
		}
		relay->pool = NULL;
	}
	return r;
}
