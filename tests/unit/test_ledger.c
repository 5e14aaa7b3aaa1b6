/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "supervisor/ledger.h"

#define BOOT "b0000000-0000-4000-8000-000000000000"

struct fixture {
	char path[64];
	int dir;
};

static int set_up(void **state)
{
	static struct fixture f;

	snprintf(f.path, sizeof(f.path), "/tmp/carrel-ledger-XXXXXX");
	assert_non_null(mkdtemp(f.path));
	f.dir = open(f.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(f.dir >= 0);
	*state = &f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	unlinkat(f->dir, "ledger", 0);
	close(f->dir);
	assert_int_equal(rmdir(f->path), 0);
	return 0;
}

static struct ledger_entry entry(uint32_t slot, const char *id, uint32_t steps)
{
	struct ledger_entry e = {
		.slot = slot, .steps_begun = steps, .pid = 4711, .pid_start_time = 99, .n_limits = LIMIT_COUNT
	};

	copy_string(e.id, sizeof(e.id), id);
	copy_string(e.template, sizeof(e.template), "minimal");
	limits_clear(&e.limits);
	return e;
}

static void survives_reopening(void **state)
{
	struct fixture *f = *state;
	struct ledger ledger;
	struct ledger_entry e = entry(3, "one", 2), got;

	assert_int_equal(ledger_open(f->dir, 8, BOOT, &ledger), 0);
	assert_int_equal(ledger_read(&ledger, 3, &got), 0);
	assert_int_equal(ledger_write(&ledger, &e), 0);
	e.steps_begun = 5;
	assert_int_equal(ledger_write(&ledger, &e), 0);
	ledger_close(&ledger);

	assert_int_equal(ledger_open(f->dir, 8, BOOT, &ledger), 0);
	assert_int_equal(ledger_read(&ledger, 3, &got), 1);
	assert_string_equal(got.id, "one");
	assert_int_equal(got.steps_begun, 5);
	assert_int_equal(got.pid, 4711);
	assert_int_equal(ledger_clear(&ledger, 3), 0);
	assert_int_equal(ledger_read(&ledger, 3, &got), 0);
	ledger_close(&ledger);
}

static void forgets_another_boot(void **state)
{
	struct fixture *f = *state;
	struct ledger ledger;
	struct ledger_entry e = entry(1, "one", 2), got;

	assert_int_equal(ledger_open(f->dir, 4, BOOT, &ledger), 0);
	assert_int_equal(ledger_write(&ledger, &e), 0);
	ledger_close(&ledger);
	assert_int_equal(ledger_open(f->dir, 4, "another", &ledger), 0);
	assert_int_equal(ledger_read(&ledger, 1, &got), 0);
	ledger_close(&ledger);
}

static void grows_and_never_hides(void **state)
{
	struct fixture *f = *state;
	struct ledger ledger;
	struct ledger_entry e = entry(4, "four", 2), got;

	assert_int_equal(ledger_open(f->dir, 4, BOOT, &ledger), 0);
	assert_int_equal(ledger_write(&ledger, &e), 0);
	e.slot = 5;
	assert_int_equal(ledger_write(&ledger, &e), -ERANGE);
	ledger_close(&ledger);
	assert_int_equal(ledger_open(f->dir, 9, BOOT, &ledger), 0);
	assert_int_equal(ledger.n_slots, 9);
	assert_int_equal(ledger_read(&ledger, 4, &got), 1);
	ledger_close(&ledger);
	assert_int_equal(ledger_open(f->dir, 2, BOOT, &ledger), 0);
	assert_int_equal(ledger_read(&ledger, 4, &got), 1);
	ledger_close(&ledger);
}

static void change_head(struct fixture *f, off_t at, uint32_t by)
{
	_close_ int fd = openat(f->dir, "ledger", O_RDWR | O_CLOEXEC);
	uint32_t value;

	assert_int_equal(pread(fd, &value, sizeof(value), at), sizeof(value));
	value += by;
	assert_int_equal(pwrite(fd, &value, sizeof(value), at), sizeof(value));
}

/* What a later version wrote is not understood, and not touched. */
static void leaves_a_later_version_alone(void **state)
{
	static const off_t members[] = { 8, 16 }; /* the head's version, and the size of its entries */
	struct fixture *f = *state;
	struct ledger ledger;
	struct ledger_entry e = entry(1, "one", 2), got;

	for (size_t i = 0; i < ARRAY_SIZE(members); i++) {
		assert_int_equal(ledger_open(f->dir, 4, BOOT, &ledger), 0);
		assert_int_equal(ledger_write(&ledger, &e), 0);
		ledger_close(&ledger);
		change_head(f, members[i], 1);
		assert_int_equal(ledger_open(f->dir, 8, BOOT, &ledger), -EPROTONOSUPPORT);
		change_head(f, members[i], UINT32_MAX);
		assert_int_equal(ledger_open(f->dir, 4, BOOT, &ledger), 0);
		assert_int_equal(ledger_read(&ledger, 1, &got), 1);
		assert_string_equal(got.id, "one");
		ledger_close(&ledger);
		/* Of another boot nothing is left to be understood. */
		change_head(f, members[i], 1);
		assert_int_equal(ledger_open(f->dir, 4, i == 0 ? "second" : "third", &ledger), 0);
		ledger_close(&ledger);
		unlinkat(f->dir, "ledger", 0);
	}
}

/* An earlier version knew fewer limits: the others are not set. */
static void takes_an_earlier_version_over(void **state)
{
	struct fixture *f = *state;
	struct ledger ledger;
	struct ledger_entry e = entry(1, "one", 2), got;

	e.limits.value[LIMIT_PIDS] = 7;
	e.n_limits = LIMIT_PIDS + 1;
	assert_int_equal(ledger_open(f->dir, 4, BOOT, &ledger), 0);
	assert_int_equal(ledger_write(&ledger, &e), 0);
	ledger_close(&ledger);
	change_head(f, 8, UINT32_MAX);
	assert_int_equal(ledger_open(f->dir, 4, BOOT, &ledger), 0);
	assert_int_equal(ledger_read(&ledger, 1, &got), 1);
	assert_int_equal(got.limits.value[LIMIT_PIDS], 7);
	assert_true(
		got.limits.value[LIMIT_PIDS + 1] == LIMIT_UNSET && got.limits.value[LIMIT_COUNT - 1] == LIMIT_UNSET);
	ledger_close(&ledger);
	/* From now on it is this version's. */
	change_head(f, 8, 1);
	assert_int_equal(ledger_open(f->dir, 4, BOOT, &ledger), -EPROTONOSUPPORT);
}

/* Whatever part of the newest write is missing, the one before it still holds; and a whole one is found. */
static void survives_torn_writes(void **state)
{
	struct fixture *f = *state;
	struct ledger ledger;
	struct ledger_entry first = entry(1, "one", 2), second = entry(1, "one", 3), got;
	struct stat st;

	assert_int_equal(ledger_open(f->dir, 1, BOOT, &ledger), 0);
	assert_int_equal(ledger_write(&ledger, &first), 0);
	ledger_close(&ledger);
	_close_ int fd = openat(f->dir, "ledger", O_RDWR | O_CLOEXEC);
	assert_int_equal(fstat(fd, &st), 0);
	size_t size = (size_t)st.st_size;
	_free_ uint8_t *before = malloc(size), *after = malloc(size);
	assert_int_equal(pread(fd, before, size, 0), size);

	assert_int_equal(ledger_open(f->dir, 1, BOOT, &ledger), 0);
	assert_int_equal(ledger_write(&ledger, &second), 0);
	ledger_close(&ledger);
	assert_int_equal(pread(fd, after, size, 0), size);

	size_t from = 0, to = size;
	while (before[from] == after[from])
		from++;
	while (before[to - 1] == after[to - 1])
		to--;
	for (size_t cut = from; cut <= to; cut++) {
		assert_int_equal(pwrite(fd, before, size, 0), size);
		assert_int_equal(pwrite(fd, after + from, cut - from, (off_t)from), cut - from);
		assert_int_equal(ledger_open(f->dir, 1, BOOT, &ledger), 0);
		assert_int_equal(ledger_read(&ledger, 1, &got), 1);
		assert_int_equal(got.steps_begun, cut == to ? 3 : 2);
		ledger_close(&ledger);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(survives_reopening, set_up, tear_down),
		cmocka_unit_test_setup_teardown(forgets_another_boot, set_up, tear_down),
		cmocka_unit_test_setup_teardown(grows_and_never_hides, set_up, tear_down),
		cmocka_unit_test_setup_teardown(leaves_a_later_version_alone, set_up, tear_down),
		cmocka_unit_test_setup_teardown(takes_an_earlier_version_over, set_up, tear_down),
		cmocka_unit_test_setup_teardown(survives_torn_writes, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
