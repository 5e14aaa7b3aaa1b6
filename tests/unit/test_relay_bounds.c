/* SPDX-License-Identifier: Apache-2.0 */
/* What relays hold on to while nothing moves, and whom they make wait. */
#include "tests/unit/relay_world.h"

#include <fcntl.h>
#include <sys/socket.h>

enum { MANY = 200 };

static void test_slow_reader(void **state)
{
	struct world *world = *state;
	struct run run;
	int a[2], b[2];

	unix_pair(a);
	unix_pair(b);
	run_start(&run, world, both(a[1]), both(b[0]));
	uint64_t total = world_stuff(world, a[0]);
	assert_in_range(total, CHUNK, 4 * MIB);
	assert_in_range(run.relay.way[0].pending, 1, CHUNK);
	assert_int_equal(world->pool.n_busy, 1);
	world_expect_quiet(world);
	/* The other way is not held up. */
	assert_int_equal(send(b[1], "word", 4, 0), 4);
	world_expect(world, a[0], "word");
	/* It goes on where it stopped, to the last byte, although the writer has gone. */
	close(a[0]);
	world_expect_quiet(world);
	for (uint64_t got = 0; got < total;) {
		char bytes[CHUNK];
		ssize_t n = recv(b[1], bytes, sizeof(bytes), MSG_DONTWAIT);
		if (n > 0)
			got += (uint64_t)n;
		else
			world_run_for(world, NS_PER_MS);
	}
	run_wait(&run);
	assert_int_equal(run.bytes[0], total);
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
	run_start(&run, world, (struct relay_end){ .in = in[0], .out = -1 },
		(struct relay_end){ .in = -1, .out = out[1] });
	assert_int_equal(write(in[1], "output", 6), 6);
	close(in[1]);
	run_wait(&run);
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
	run_start(&run, world, (struct relay_end){ .in = in[0], .out = -1 },
		(struct relay_end){ .in = -1, .out = out[1] });
	close(out[0]);
	run_wait(&run);
	assert_int_equal(run.err, -EPIPE);
	close(in[1]);

	assert_return_code(pipe2(in, O_CLOEXEC), errno);
	unix_pair(out);
	run_start(&run, world, (struct relay_end){ .in = in[0], .out = -1 },
		(struct relay_end){ .in = -1, .out = out[1] });
	close(out[0]);
	run_wait(&run);
	assert_int_equal(run.err, -EPIPE);
	close(in[1]);
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
	run_start(&run, world, both(a[1]), (struct relay_end){ .in = b[0], .out = b[0], .foreign = true });
	assert_return_code(fcntl(kept, F_SETFL, 0), errno);
	assert_int_equal(send(a[0], "x", 1, 0), 1);
	run_wait(&run);
	assert_int_equal(run.err, -EPROTO);
	close(kept);
	close(a[0]);
	close(b[1]);
}

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
		run_start(&runs[i], world, both(a[i][1]), both(b[i][0]));
	for (int i = 0; i < MANY; i++)
		assert_int_equal(send(a[i][0], "ping", 4, 0), 4);
	for (int i = 0; i < MANY; i++) {
		world_expect(world, b[i][1], "ping");
		assert_int_equal(send(b[i][1], "pong", 4, 0), 4);
	}
	for (int i = 0; i < MANY; i++)
		world_expect(world, a[i][0], "pong");
	assert_int_equal(world->pool.n_busy, 0);
	assert_in_range(count_fds(), before, before + (size_t)2 * RELAY_SPARE_PIPES);
	for (int i = 0; i < MANY; i++) {
		relay_stop(&runs[i].relay);
		relay_stop(&runs[i].relay);
		assert_false(runs[i].over);
		world_expect(world, a[i][0], "");
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
	run_start(&flood, world, both(a[1]), both(b[0]));
	run_start(&talk, world, both(c[1]), both(d[0]));
	start_peer(&left, world, a[0], UINT64_MAX);
	start_peer(&right, world, b[1], UINT64_MAX);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(send(c[0], "ping", 4, 0), 4);
		world_expect(world, d[1], "ping");
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
	run_start(&run, world, both(a[1]), both(b[0]));
	world_stuff(world, a[0]);
	assert_int_equal(world->pool.n_busy, 1);
	relay_stop(&run.relay);
	assert_int_equal(world->pool.n_busy, 0);
	close(a[0]);
	close(b[1]);
	relay_pool_release(&world->pool);
	assert_int_equal(count_fds(), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_slow_reader, world_set_up, world_tear_down),
		cmocka_unit_test_setup_teardown(test_pipes, world_set_up, world_tear_down),
		cmocka_unit_test_setup_teardown(test_idle_reader_goes, world_set_up, world_tear_down),
		cmocka_unit_test_setup_teardown(test_foreign_that_waits, world_set_up, world_tear_down),
		cmocka_unit_test_setup_teardown(test_idle_ones_hold_no_pipe, world_set_up, world_tear_down),
		cmocka_unit_test_setup_teardown(test_fair, world_set_up, world_tear_down),
		cmocka_unit_test_setup_teardown(test_stopped_in_the_middle, world_set_up, world_tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
