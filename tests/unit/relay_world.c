/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/relay_world.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>

enum { LIMIT_S = 60 };

static void count_timeout(struct loop_timer *timer)
{
	struct world *world = container_of(timer, struct world, limit);

	world->timed_out = true;
	world->loop.stop = true;
}

static void stop_loop(struct loop_timer *timer)
{
	container_of(timer, struct world, pause)->loop.stop = true;
}

int world_set_up(void **state)
{
	static struct world world;

	signal(SIGPIPE, SIG_IGN);
	world = (struct world){ .limit.fn = count_timeout, .pause.fn = stop_loop };
	assert_int_equal(loop_open(&world.loop), 0);
	world.pool.loop = &world.loop;
	assert_int_equal(loop_arm(&world.loop, &world.limit, boottime_ns() + LIMIT_S * NS_PER_SEC), 0);
	*state = &world;
	return 0;
}

int world_tear_down(void **state)
{
	struct world *world = *state;

	assert_false(world->timed_out);
	assert_int_equal(world->pool.n_busy, 0);
	relay_pool_release(&world->pool);
	loop_close(&world->loop);
	return 0;
}

void world_run_for(struct world *world, uint64_t ns)
{
	loop_arm(&world->loop, &world->pause, boottime_ns() + ns);
	assert_int_equal(loop_run(&world->loop), 0);
	loop_disarm(&world->loop, &world->pause);
}

void world_expect(struct world *world, int fd, const char *text)
{
	char bytes[64] = { 0 };
	ssize_t n = -1;

	for (int i = 0; i < 1000 && n < 0; i++) {
		world_run_for(world, NS_PER_MS);
		n = recv(fd, bytes, sizeof(bytes) - 1, MSG_DONTWAIT);
	}
	assert_string_equal(bytes, text);
	assert_int_equal(n, strlen(text));
}

static uint64_t cpu_ns(void)
{
	struct rusage use;

	getrusage(RUSAGE_SELF, &use);
	return (uint64_t)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) * NS_PER_SEC +
	       (uint64_t)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) * 1000;
}

void world_expect_quiet(struct world *world)
{
	world_run_for(world, 20 * NS_PER_MS);
	const uint64_t before = cpu_ns();
	world_run_for(world, 200 * NS_PER_MS);
	assert_in_range(cpu_ns() - before, 0, 50 * NS_PER_MS);
}

uint64_t world_stuff(struct world *world, int fd)
{
	static const char bytes[CHUNK];
	uint64_t total = 0;

	for (int full = 0; full < 3;) {
		ssize_t n = send(fd, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n > 0) {
			total += (uint64_t)n;
			full = 0;
		} else {
			world_run_for(world, 2 * NS_PER_MS);
			full++;
		}
	}
	return total;
}

/* ---- a relay ---- */

static void on_done(void *arg, uint64_t bytes_ab, uint64_t bytes_ba, int err)
{
	struct run *run = arg;

	assert_false(run->over);
	run->over = true;
	run->bytes[0] = bytes_ab;
	run->bytes[1] = bytes_ba;
	run->err = err;
	run->world->loop.stop = true;
}

static void on_moved(void *arg)
{
	((struct run *)arg)->moved++;
}

void run_start(struct run *run, struct world *world, struct relay_end a, struct relay_end b)
{
	*run = (struct run){ .world = world, .relay = { .done = on_done, .moved = on_moved, .arg = run } };
	assert_int_equal(relay_start(&run->relay, &world->pool, &a, &b), 0);
}

void run_wait(struct run *run)
{
	if (!run->over)
		assert_int_equal(loop_run(&run->world->loop), 0);
	assert_true(run->over);
}

/* ---- connections ---- */

void unix_pair(int fds[2])
{
	assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), errno);
}

void tcp_pair(int fds[2])
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof(address);

	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_return_code(bind(listener, (struct sockaddr *)&address, sizeof(address)), errno);
	assert_return_code(listen(listener, 1), errno);
	assert_return_code(getsockname(listener, (struct sockaddr *)&address, &n), errno);
	fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_return_code(connect(fds[0], (struct sockaddr *)&address, sizeof(address)), errno);
	fds[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_return_code(fds[1], errno);
	close(listener);
}

struct relay_end both(int fd)
{
	return (struct relay_end){ .in = fd, .out = fd };
}

size_t count_fds(void)
{
	size_t n = 0;
	DIR *dir = opendir("/proc/self/fd");

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* ---- peers ---- */

static char byte_at(unsigned seed, uint64_t place)
{
	return (char)(((place + seed) * 2654435761U) >> 13);
}

static void peer_write(struct peer *peer)
{
	char bytes[CHUNK];
	size_t n = 1 + (size_t)rand_r(&peer->seed) % CHUNK;

	if (n > peer->size - peer->sent)
		n = (size_t)(peer->size - peer->sent);
	for (size_t i = 0; i < n; i++)
		bytes[i] = byte_at(1, peer->sent + i);
	ssize_t sent = send(peer->io.fd, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (sent > 0)
		peer->sent += (uint64_t)sent;
	if (peer->sent == peer->size) {
		assert_return_code(shutdown(peer->io.fd, SHUT_WR), errno);
		peer->closed = true;
	}
}

static void peer_read(struct peer *peer)
{
	char bytes[CHUNK];

	ssize_t n = recv(peer->io.fd, bytes, 1 + (size_t)rand_r(&peer->seed) % CHUNK, MSG_DONTWAIT);
	if (n < 0)
		return;
	for (ssize_t i = 0; i < n; i++)
		if (bytes[i] != byte_at(1, peer->received + (uint64_t)i))
			fail_msg("byte %llu differs", (unsigned long long)peer->received + (unsigned long long)i);
	peer->received += (uint64_t)n;
	peer->ended = n == 0;
}

static void on_peer(struct loop_io *io, uint32_t revents)
{
	struct peer *peer = container_of(io, struct peer, io);

	if (revents & EPOLLIN && !peer->ended)
		peer_read(peer);
	if (revents & EPOLLOUT && !peer->closed)
		peer_write(peer);
	uint32_t events =
		(peer->ended || peer->lazy ? 0 : (uint32_t)EPOLLIN) | (peer->closed ? 0 : (uint32_t)EPOLLOUT);
	if (events)
		loop_watch(&peer->world->loop, io, events);
	else
		loop_remove(&peer->world->loop, io);
}

void start_peer(struct peer *peer, struct world *world, int fd, uint64_t size)
{
	*peer = (struct peer){ .io = { .fd = fd, .fn = on_peer }, .world = world, .size = size, .seed = 7 };
	assert_int_equal(loop_watch(&world->loop, &peer->io, EPOLLIN | EPOLLOUT), 0);
}

void end_peer(struct peer *peer)
{
	loop_remove(&peer->world->loop, &peer->io);
	close(peer->io.fd);
}
