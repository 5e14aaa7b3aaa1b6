/* SPDX-License-Identifier: Apache-2.0 */
/* The loop's timers: a thousand deadlines, each on time. */
#include "unit.h"

#include "wire/loop.h"

enum { N_TIMERS = 1000, SPREAD_MS = 400, LATE_MS = 100 };

struct deadline {
	struct loop_timer timer;
	struct run *run;
	uint64_t due_ns, fired_ns;
	bool cancelled;
};

struct run {
	struct loop loop;
	struct loop_timer end;
	struct deadline deadlines[N_TIMERS];
	uint64_t last_due_ns;
	unsigned n_fired, n_in_order;
};

static void on_deadline(struct loop_timer *timer)
{
	struct deadline *deadline = container_of(timer, struct deadline, timer);
	struct run *run = deadline->run;

	deadline->fired_ns = boottime_ns();
	run->n_fired++;
	run->n_in_order += deadline->due_ns >= run->last_due_ns;
	run->last_due_ns = deadline->due_ns;
}

static void on_end(struct loop_timer *timer)
{
	container_of(timer, struct run, end)->loop.stop = true;
}

/* In an order of arming that has nothing to do with that of firing; half of them moved, a tenth taken out again. */
static void test_thousand(void **state _unused_)
{
	struct run *run = calloc(1, sizeof(*run));
	uint64_t now = boottime_ns() + 20 * NS_PER_MS;
	unsigned n_cancelled = 0, x = 1;

	assert_int_equal(loop_open(&run->loop), 0);
	run->end.fn = on_end;
	for (unsigned i = 0; i < N_TIMERS; i++) {
		struct deadline *deadline = &run->deadlines[i];
		x = x * 1103515245 + 12345;
		deadline->run = run;
		deadline->timer.fn = on_deadline;
		deadline->due_ns = now + (x >> 8) % SPREAD_MS * NS_PER_MS;
		uint64_t first = i % 4 == 0 ? now : i % 4 == 1 ? now + 3600 * NS_PER_SEC : deadline->due_ns;
		assert_int_equal(loop_arm(&run->loop, &deadline->timer, first), 0);
	}
	for (unsigned i = 0; i < N_TIMERS; i++) {
		struct deadline *deadline = &run->deadlines[i];
		deadline->cancelled = i % 10 == 3;
		if (deadline->cancelled)
			loop_disarm(&run->loop, &deadline->timer);
		else
			loop_arm(&run->loop, &deadline->timer, deadline->due_ns);
		n_cancelled += deadline->cancelled;
	}
	assert_int_equal(loop_arm(&run->loop, &run->end, now + (SPREAD_MS + LATE_MS) * NS_PER_MS), 0);
	assert_int_equal(loop_run(&run->loop), 0);
	assert_int_equal(run->n_fired, N_TIMERS - n_cancelled);
	assert_int_equal(run->n_in_order, run->n_fired);
	for (unsigned i = 0; i < N_TIMERS; i++) {
		const struct deadline *deadline = &run->deadlines[i];
		if (deadline->cancelled) {
			assert_int_equal(deadline->fired_ns, 0);
			continue;
		}
		assert_true(deadline->fired_ns >= deadline->due_ns);
		assert_true(deadline->fired_ns - deadline->due_ns <= LATE_MS * NS_PER_MS);
	}
	loop_close(&run->loop);
	free(run);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_thousand) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
