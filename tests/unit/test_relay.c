/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Relays between socket pairs, TCP connections and pipes, with peers that run in the same loop: what they send is
 * known for every place in the stream, so that each byte is checked where it arrives.
 */
#include "tests/unit/unit.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "control/relay.h"

enum { MIB = 1 << 20, CHUNK = 1 << 16, LIMIT_S = 60 };

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

static int set_up(void **state)
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

static int tear_down(void **state)
{
	struct world *world = *state;

	assert_false(world->timed_out);
	assert_int_equal(world->pool.n_busy, 0);
	relay_pool_release(&world->pool);
	loop_close(&world->loop);
	return 0;
}

static void run_for(struct world *world, uint64_t ns)
{
	loop_arm(&world->loop, &world->pause, boottime_ns() + ns);
	assert_int_equal(loop_run(&world->loop), 0);
	loop_disarm(&world->loop, &world->pause);
}

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

static void start(struct run *run, struct world *world, struct relay_end a, struct relay_end b)
{
	*run = (struct run){ .world = world, .relay = { .done = on_done, .moved = on_moved, .arg = run } };
	assert_int_equal(relay_start(&run->relay, &world->pool, &a, &b), 0);
}

static void wait_for(struct run *run)
{
	if (!run->over)
		assert_int_equal(loop_run(&run->world->loop), 0);
	assert_true(run->over);
}

/* ---- connections ---- */

static void unix_pair(int fds[2])
{
	assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), errno);
}

static void tcp_pair(int fds[2])
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

static struct relay_end both(int fd)
{
	return (struct relay_end){ .in = fd, .out = fd };
}

static size_t count_fds(void)
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

static void start_peer(struct peer *peer, struct world *world, int fd, uint64_t size)
{
	*peer = (struct peer){ .io = { .fd = fd, .fn = on_peer }, .world = world, .size = size, .seed = 7 };
	assert_int_equal(loop_watch(&world->loop, &peer->io, EPOLLIN | EPOLLOUT), 0);
}

static void end_peer(struct peer *peer)
{
	loop_remove(&peer->world->loop, &peer->io);
	close(peer->io.fd);
}

static void exchange(struct world *world, const int a[2], const int b[2], bool foreign)
{
	struct peer left, right;
	struct run run;

	start(&run, world, both(a[1]), (struct relay_end){ .in = b[0], .out = b[0], .foreign = foreign });
	start_peer(&left, world, a[0], 64 * MIB);
	start_peer(&right, world, b[1], 64 * MIB);
	wait_for(&run);
	assert_int_equal(run.err, 0);
	assert_int_equal(run.bytes[0], 64 * MIB);
	assert_int_equal(run.bytes[1], 64 * MIB);
	assert_true(run.moved > 0);
	while (!left.ended || !right.ended)
		run_for(world, NS_PER_MS);
	assert_int_equal(left.received, 64 * MIB);
	assert_int_equal(right.received, 64 * MIB);
	end_peer(&left);
	end_peer(&right);
}

/* ---- tests ---- */

static void test_both_ways_unix(void **state)
{
	int a[2], b[2];

	unix_pair(a);
	unix_pair(b);
	exchange(*state, a, b, false);
}

static void test_both_ways_tcp(void **state)
{
	int a[2], b[2];

	tcp_pair(a);
	tcp_pair(b);
	exchange(*state, a, b, true);
}

static void test_both_ways_unix_and_tcp(void **state)
{
	int a[2], b[2];

	unix_pair(a);
	tcp_pair(b);
	exchange(*state, a, b, true);
}

static void expect(struct world *world, int fd, const char *text)
{
	char bytes[64] = { 0 };
	ssize_t n = -1;

	for (int i = 0; i < 1000 && n < 0; i++) {
		run_for(world, NS_PER_MS);
		n = recv(fd, bytes, sizeof(bytes) - 1, MSG_DONTWAIT);
	}
	assert_string_equal(bytes, text);
	assert_int_equal(n, strlen(text));
}

static void test_half_close(void **state)
{
	struct world *world = *state;
	struct run run;
	int a[2], b[2];

	unix_pair(a);
	tcp_pair(b);
	start(&run, world, both(a[1]), both(b[0]));
	assert_int_equal(send(a[0], "question", 8, 0), 8);
	assert_return_code(shutdown(a[0], SHUT_WR), errno);
	expect(world, b[1], "question");
	expect(world, b[1], "");
	assert_false(run.over);
	assert_int_equal(send(b[1], "answer", 6, 0), 6);
	expect(world, a[0], "answer");
	close(b[1]);
	wait_for(&run);
	assert_int_equal(run.err, 0);
	expect(world, a[0], "");
	close(a[0]);
}

static uint64_t cpu_ns(void)
{
	struct rusage use;

	getrusage(RUSAGE_SELF, &use);
	return (uint64_t)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) * NS_PER_SEC +
	       (uint64_t)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) * 1000;
}

static void expect_quiet(struct world *world)
{
	run_for(world, 20 * NS_PER_MS);
	const uint64_t before = cpu_ns();
	run_for(world, 200 * NS_PER_MS);
	assert_in_range(cpu_ns() - before, 0, 50 * NS_PER_MS);
}

/* Writes until neither the relay nor the buffers take more. */
static uint64_t stuff(struct world *world, int fd)
{
	static const char bytes[CHUNK];
	uint64_t total = 0;

	for (int full = 0; full < 3;) {
		ssize_t n = send(fd, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n > 0) {
			total += (uint64_t)n;
			full = 0;
		} else {
			run_for(world, 2 * NS_PER_MS);
			full++;
		}
	}
	return total;
}

static void test_slow_reader(void **state)
{
	struct world *world = *state;
	struct run run;
	int a[2], b[2];

	unix_pair(a);
	unix_pair(b);
	start(&run, world, both(a[1]), both(b[0]));
	uint64_t total = stuff(world, a[0]);
	assert_in_range(total, CHUNK, 4 * MIB);
	assert_in_range(run.relay.way[0].pending, 1, CHUNK);
	assert_int_equal(world->pool.n_busy, 1);
	expect_quiet(world);
	/* The other way is not held up. */
	assert_int_equal(send(b[1], "word", 4, 0), 4);
	expect(world, a[0], "word");
	/* It goes on where it stopped, to the last byte, although the writer has gone. */
	close(a[0]);
	expect_quiet(world);
	for (uint64_t got = 0; got < total;) {
		char bytes[CHUNK];
		ssize_t n = recv(b[1], bytes, sizeof(bytes), MSG_DONTWAIT);
		if (n > 0)
			got += (uint64_t)n;
		else
			run_for(world, NS_PER_MS);
	}
	wait_for(&run);
	assert_int_equal(run.bytes[0], total);
	close(b[1]);
}

static void test_gone_at_once(void **state)
{
	struct world *world = *state;
	struct run run;
	int a[2], b[2];

	unix_pair(a);
	tcp_pair(b);
	assert_int_equal(send(a[0], "last words", 10, 0), 10);
	close(a[0]);
	start(&run, world, both(a[1]), (struct relay_end){ .in = b[0], .out = b[0], .foreign = true });
	wait_for(&run);
	assert_int_equal(run.err, -EPIPE); /* whatever the other would have said */
	assert_int_equal(run.bytes[0], 10);
	expect(world, b[1], "last words");
	expect(world, b[1], "");
	close(b[1]);
}

static void test_reset(void **state)
{
	const struct linger now = { .l_onoff = 1 };
	struct world *world = *state;
	struct run run;
	int a[2], b[2];

	tcp_pair(a);
	unix_pair(b);
	start(&run, world, both(a[1]), both(b[0]));
	assert_return_code(setsockopt(a[0], SOL_SOCKET, SO_LINGER, &now, sizeof(now)), errno);
	close(a[0]);
	wait_for(&run);
	assert_int_equal(run.err, -ECONNRESET);
	expect(world, b[1], "");
	close(b[1]);
}

static void test_pipes(void **state)
{
	struct world *world = *state;
	struct run run;
	int in[2], out[2];
	char bytes[16];

	assert_return_code(pipe2(in, O_CLOEXEC), errno);
	assert_return_code(pipe2(out, O_CLOEXEC), errno);
	start(&run, world, (struct relay_end){ .in = in[0], .out = -1 },
		(struct relay_end){ .in = -1, .out = out[1] });
	assert_int_equal(write(in[1], "output", 6), 6);
	close(in[1]);
	wait_for(&run);
	assert_int_equal(run.err, 0);
	assert_int_equal(run.bytes[0], 6);
	assert_int_equal(run.bytes[1], 0);
	assert_int_equal(read(out[0], bytes, sizeof(bytes)), 6);
	assert_int_equal(read(out[0], bytes, sizeof(bytes)), 0);
	close(out[0]);
}

/* A command's output that is silent, and whoever wanted it goes away: nobody waits for the next byte to find out. */
static void test_idle_reader_goes(void **state)
{
	struct world *world = *state;
	struct run run;
	int in[2], out[2];

	assert_return_code(pipe2(in, O_CLOEXEC), errno);
	assert_return_code(pipe2(out, O_CLOEXEC), errno);
	start(&run, world, (struct relay_end){ .in = in[0], .out = -1 },
		(struct relay_end){ .in = -1, .out = out[1] });
	close(out[0]);
	wait_for(&run);
	assert_int_equal(run.err, -EPIPE);
	close(in[1]);

	assert_return_code(pipe2(in, O_CLOEXEC), errno);
	unix_pair(out);
	start(&run, world, (struct relay_end){ .in = in[0], .out = -1 },
		(struct relay_end){ .in = -1, .out = out[1] });
	close(out[0]);
	wait_for(&run);
	assert_int_equal(run.err, -EPIPE);
	close(in[1]);
}

static void test_separate_descriptors(void **state)
{
	struct world *world = *state;
	struct run run;
	int in[2], out[2], b[2];

	assert_return_code(pipe2(in, O_CLOEXEC), errno);
	assert_return_code(pipe2(out, O_CLOEXEC), errno);
	unix_pair(b);
	start(&run, world, (struct relay_end){ .in = out[0], .out = in[1] }, both(b[0]));
	assert_int_equal(send(b[1], "in", 2, 0), 2);
	assert_int_equal(write(out[1], "out", 3), 3);
	expect(world, b[1], "out");
	char bytes[8];
	assert_int_equal(read(in[0], bytes, sizeof(bytes)), 2);
	assert_return_code(shutdown(b[1], SHUT_WR), errno);
	run_for(world, 5 * NS_PER_MS);
	assert_int_equal(read(in[0], bytes, sizeof(bytes)), 0);
	close(out[1]);
	wait_for(&run);
	assert_int_equal(run.err, 0);
	close(in[0]);
	close(b[1]);
}

/* At urgent data splice(2) stops and finds nothing, while the loop goes on announcing it. */
static void test_urgent_data(void **state)
{
	struct world *world = *state;
	struct run run;
	int a[2], b[2];

	tcp_pair(a);
	unix_pair(b);
	start(&run, world, both(a[1]), both(b[0]));
	assert_int_equal(send(a[0], "before", 6, 0), 6);
	assert_int_equal(send(a[0], "!", 1, MSG_OOB), 1);
	assert_int_equal(send(a[0], "after", 5, 0), 5);
	run_for(world, 20 * NS_PER_MS);
	expect(world, b[1], "beforeafter");
	assert_int_equal(send(a[0], "?", 1, MSG_OOB), 1);
	expect_quiet(world);
	close(a[0]);
	expect(world, b[1], "");
	close(b[1]);
	wait_for(&run);
}

/* The session has the socket, too, and makes it one that waits. */
static void test_foreign_that_waits(void **state)
{
	struct world *world = *state;
	struct run run;
	int a[2], b[2];

	unix_pair(a);
	tcp_pair(b);
	int kept = dup(b[0]);
	start(&run, world, both(a[1]), (struct relay_end){ .in = b[0], .out = b[0], .foreign = true });
	assert_return_code(fcntl(kept, F_SETFL, 0), errno);
	assert_int_equal(send(a[0], "x", 1, 0), 1);
	wait_for(&run);
	assert_int_equal(run.err, -EPROTO);
	close(kept);
	close(a[0]);
	close(b[1]);
}

enum { MANY = 200 };

static void test_idle_ones_hold_no_pipe(void **state)
{
	static struct run runs[MANY];
	static int a[MANY][2], b[MANY][2];
	struct world *world = *state;

	for (int i = 0; i < MANY; i++) {
		unix_pair(a[i]);
		unix_pair(b[i]);
	}
	size_t before = count_fds();
	for (int i = 0; i < MANY; i++)
		start(&runs[i], world, both(a[i][1]), both(b[i][0]));
	for (int i = 0; i < MANY; i++)
		assert_int_equal(send(a[i][0], "ping", 4, 0), 4);
	for (int i = 0; i < MANY; i++) {
		expect(world, b[i][1], "ping");
		assert_int_equal(send(b[i][1], "pong", 4, 0), 4);
	}
	for (int i = 0; i < MANY; i++)
		expect(world, a[i][0], "pong");
	assert_int_equal(world->pool.n_busy, 0);
	assert_in_range(count_fds(), before, before + (size_t)2 * RELAY_SPARE_PIPES);
	for (int i = 0; i < MANY; i++) {
		relay_stop(&runs[i].relay);
		relay_stop(&runs[i].relay);
		assert_false(runs[i].over);
		expect(world, a[i][0], "");
		close(a[i][0]);
		close(b[i][1]);
	}
}

/* One that floods costs the others a round, not their turn. */
static void test_fair(void **state)
{
	struct world *world = *state;
	struct run flood, talk;
	struct peer left, right;
	int a[2], b[2], c[2], d[2];

	unix_pair(a);
	unix_pair(b);
	unix_pair(c);
	unix_pair(d);
	start(&flood, world, both(a[1]), both(b[0]));
	start(&talk, world, both(c[1]), both(d[0]));
	start_peer(&left, world, a[0], UINT64_MAX);
	start_peer(&right, world, b[1], UINT64_MAX);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(send(c[0], "ping", 4, 0), 4);
		expect(world, d[1], "ping");
	}
	assert_true(right.received > 0);
	relay_stop(&flood.relay);
	relay_stop(&talk.relay);
	end_peer(&left);
	end_peer(&right);
	close(c[0]);
	close(d[1]);
}

static void test_stopped_in_the_middle(void **state)
{
	struct world *world = *state;
	struct run run;
	int a[2], b[2];

	size_t before = count_fds();
	unix_pair(a);
	unix_pair(b);
	start(&run, world, both(a[1]), both(b[0]));
	stuff(world, a[0]);
	assert_int_equal(world->pool.n_busy, 1);
	relay_stop(&run.relay);
	assert_int_equal(world->pool.n_busy, 0);
	close(a[0]);
	close(b[1]);
	relay_pool_release(&world->pool);
	assert_int_equal(count_fds(), before);
}

static void test_what_cannot_be_watched(void **state)
{
	struct world *world = *state;
	struct relay relay = { .done = on_done };
	int a[2];

	unix_pair(a);
	int file = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
	struct relay_end left = both(a[0]), right = { .in = file, .out = -1 };
	assert_int_equal(relay_start(&relay, &world->pool, &left, &right), -EPERM);
	close(a[0]); /* nothing was taken */
	close(a[1]);
	close(file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_both_ways_unix, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_both_ways_tcp, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_both_ways_unix_and_tcp, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_half_close, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_slow_reader, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_gone_at_once, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_reset, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_pipes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_idle_reader_goes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_separate_descriptors, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_urgent_data, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_foreign_that_waits, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_idle_ones_hold_no_pipe, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_fair, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_stopped_in_the_middle, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_what_cannot_be_watched, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
