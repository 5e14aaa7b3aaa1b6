/* SPDX-License-Identifier: Apache-2.0 */
/* Relays between socket pairs, TCP connections and pipes: every byte gets where it should, and so does every end. */
#include "tests/unit/relay_world.h"

#include <fcntl.h>
#include <sys/socket.h>

static void exchange(struct world *world, const int a[2], const int b[2], bool foreign)
{
	struct peer left, right;
	struct run run;

	run_start(&run, world, both(a[1]), (struct relay_end){ .in = b[0], .out = b[0], .foreign = foreign });
	start_peer(&left, world, a[0], 64 * MIB);
	start_peer(&right, world, b[1], 64 * MIB);
	run_wait(&run);
	assert_int_equal(run.err, 0);
	assert_int_equal(run.bytes[0], 64 * MIB);
	assert_int_equal(run.bytes[1], 64 * MIB);
	assert_true(run.moved > 0);
	while (!left.ended || !right.ended)
		world_run_for(world, NS_PER_MS);
	assert_int_equal(left.received, 64 * MIB);
	assert_int_equal(right.received, 64 * MIB);
	end_peer(&left);
	end_peer(&right);
}

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

static void test_half_close(void **state)
{
	struct world *world = *state;
	struct run run;
	int a[2], b[2];

	unix_pair(a);
	tcp_pair(b);
	run_start(&run, world, both(a[1]), both(b[0]));
	assert_int_equal(send(a[0], "question", 8, 0), 8);
	assert_return_code(shutdown(a[0], SHUT_WR), errno);
	world_expect(world, b[1], "question");
	world_expect(world, b[1], "");
	assert_false(run.over);
	assert_int_equal(send(b[1], "answer", 6, 0), 6);
	world_expect(world, a[0], "answer");
	close(b[1]);
	run_wait(&run);
	assert_int_equal(run.err, 0);
	world_expect(world, a[0], "");
	close(a[0]);
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
	run_start(&run, world, both(a[1]), (struct relay_end){ .in = b[0], .out = b[0], .foreign = true });
	run_wait(&run);
	assert_int_equal(run.err, -EPIPE); /* whatever the other would have said */
	assert_int_equal(run.bytes[0], 10);
	world_expect(world, b[1], "last words");
	world_expect(world, b[1], "");
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
	run_start(&run, world, both(a[1]), both(b[0]));
	assert_return_code(setsockopt(a[0], SOL_SOCKET, SO_LINGER, &now, sizeof(now)), errno);
	close(a[0]);
	run_wait(&run);
	assert_int_equal(run.err, -ECONNRESET);
	world_expect(world, b[1], "");
	close(b[1]);
}

static void test_separate_descriptors(void **state)
{
	struct world *world = *state;
	struct run run;
	int in[2], out[2], b[2];

	assert_return_code(pipe2(in, O_CLOEXEC), errno);
	assert_return_code(pipe2(out, O_CLOEXEC), errno);
	unix_pair(b);
	run_start(&run, world, (struct relay_end){ .in = out[0], .out = in[1] }, both(b[0]));
	assert_int_equal(send(b[1], "in", 2, 0), 2);
	assert_int_equal(write(out[1], "out", 3), 3);
	world_expect(world, b[1], "out");
	char bytes[8];
	assert_int_equal(read(in[0], bytes, sizeof(bytes)), 2);
	assert_return_code(shutdown(b[1], SHUT_WR), errno);
	world_run_for(world, 5 * NS_PER_MS);
	assert_int_equal(read(in[0], bytes, sizeof(bytes)), 0);
	close(out[1]);
	run_wait(&run);
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
	run_start(&run, world, both(a[1]), both(b[0]));
	assert_int_equal(send(a[0], "before", 6, 0), 6);
	assert_int_equal(send(a[0], "!", 1, MSG_OOB), 1);
	assert_int_equal(send(a[0], "after", 5, 0), 5);
	world_run_for(world, 20 * NS_PER_MS);
	world_expect(world, b[1], "beforeafter");
	assert_int_equal(send(a[0], "?", 1, MSG_OOB), 1);
	world_expect_quiet(world);
	close(a[0]);
	world_expect(world, b[1], "");
	close(b[1]);
	run_wait(&run);
}

static void test_what_cannot_be_watched(void **state)
{
	struct world *world = *state;
	struct relay relay = { 0 };
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
		cmocka_unit_test_setup_teardown(test_both_ways_unix, world_set_up, world_tear_down),
		cmocka_unit_test_setup_teardown(test_both_ways_tcp, world_set_up, world_tear_down),
		cmocka_unit_test_setup_teardown(test_both_ways_unix_and_tcp, world_set_up, world_tear_down),
		cmocka_unit_test_setup_teardown(test_half_close, world_set_up, world_tear_down),
		cmocka_unit_test_setup_teardown(test_gone_at_once, world_set_up, world_tear_down),
		cmocka_unit_test_setup_teardown(test_reset, world_set_up, world_tear_down),
		cmocka_unit_test_setup_teardown(test_separate_descriptors, world_set_up, world_tear_down),
		cmocka_unit_test_setup_teardown(test_urgent_data, world_set_up, world_tear_down),
		cmocka_unit_test_setup_teardown(test_what_cannot_be_watched, world_set_up, world_tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
