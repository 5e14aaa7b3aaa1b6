/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "control/registry.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>

struct fixture {
	char dir[64], path[128];
	struct registry *registry;
	struct record loaded[8];
	size_t n_loaded;
	uint64_t seqs[8];
	size_t n_seqs;
};

static struct registry *open_it(struct fixture *f, bool expect_damaged)
{
	struct registry *registry = NULL;
	bool damaged = !expect_damaged;
	char text[256];

	int r = registry_open(f->dir, &registry, &damaged, text, sizeof(text));
	if (r < 0)
		fail_msg("%s", text);
	assert_int_equal(damaged, expect_damaged);
	return registry;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	snprintf(f->dir, sizeof(f->dir), "/tmp/carrel-unit-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/control/registry.db", f->dir);
	f->registry = open_it(f, false);
	*state = f;
	return 0;
}

static void remove_with(const struct fixture *f, const char *suffix)
{
	char path[160];

	snprintf(path, sizeof(path), "%s%s", f->path, suffix);
	unlink(path);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	registry_close(f->registry);
	for (size_t i = 0; i < f->n_loaded; i++)
		record_clear(&f->loaded[i]);
	remove_with(f, "");
	remove_with(f, "-wal");
	remove_with(f, ".damaged");
	remove_with(f, ".damaged-wal");
	snprintf(f->path, sizeof(f->path), "%s/control", f->dir);
	assert_return_code(rmdir(f->path), errno);
	assert_return_code(rmdir(f->dir), errno);
	free(f);
	return 0;
}

static int keep(void *arg, struct record *record)
{
	struct fixture *f = arg;

	assert_true(f->n_loaded < ARRAY_SIZE(f->loaded));
	f->loaded[f->n_loaded++] = *record;
	return 0;
}

static int keep_seq(void *arg, const struct registry_event *event)
{
	struct fixture *f = arg;

	assert_true(f->n_seqs < ARRAY_SIZE(f->seqs));
	f->seqs[f->n_seqs++] = event->seq;
	return 0;
}

static void fill(struct record *record, uint64_t number, const char *id)
{
	record_init(record);
	record->number = number;
	copy_string(record->id, sizeof(record->id), id);
	copy_string(record->template, sizeof(record->template), "browser");
	copy_string(record->boot_id, sizeof(record->boot_id), "boot");
	record->kind = strdup("browser");
	record->owner = strdup("ann");
}

static void test_round_trip(void **state)
{
	struct fixture *f = *state;
	struct record record;

	fill(&record, 7, "one");
	copy_string(record.address, sizeof(record.address), "100.96.0.6");
	record.task_id = strdup("t");
	record.key = strdup("1000:key");
	record.uid = UINT32_MAX - 1;
	record.state = SESSION_STOPPING;
	record.created_at_ns = 1;
	record.expires_at_ns = UINT64_C(1) << 62;
	record.labels = json_pack("{s:s}", "a", "b");
	record_add_times(&record, json_pack("[{s:s, s:f}]", "step", "slot", "ms", 0.5));
	memset(record.fingerprint, 0xab, sizeof(record.fingerprint));
	record.end.reason = END_FAILED;
	record.end.err_no = -ENOENT;
	record.end.signal = 9;
	copy_string(record.end.step, sizeof(record.end.step), "exec");
	record.end.message = strdup("a message with 'quotes' and \xf0\x9f\x90\x9f");
	assert_int_equal(registry_begin(f->registry), 0);
	assert_int_equal(registry_put_session(f->registry, &record), 0);
	assert_int_equal(registry_commit(f->registry), 0);

	registry_close(f->registry);
	f->registry = open_it(f, false);
	assert_int_equal(registry_load(f->registry, keep, f), 0);
	assert_int_equal(f->n_loaded, 1);
	const struct record *got = &f->loaded[0];
	assert_int_equal(got->number, 7);
	assert_string_equal(got->id, "one");
	assert_string_equal(got->template, "browser");
	assert_string_equal(got->kind, "browser");
	assert_string_equal(got->owner, "ann");
	assert_string_equal(got->task_id, "t");
	assert_string_equal(got->key, "1000:key");
	assert_string_equal(got->address, "100.96.0.6");
	assert_string_equal(got->address6, "");
	assert_int_equal(got->uid, UINT32_MAX - 1);
	assert_int_equal(got->state, SESSION_STOPPING);
	assert_int_equal(got->created_at_ns, 1);
	assert_int_equal(got->expires_at_ns, UINT64_C(1) << 62);
	assert_true(got->expires_boot_ns == NEVER && got->idle_ns == NEVER && got->ready_at_ns == NEVER);
	assert_true(json_equal(got->labels, record.labels));
	assert_string_equal(got->timeline, record.timeline);
	assert_null(got->limits);
	assert_memory_equal(got->fingerprint, record.fingerprint, sizeof(record.fingerprint));
	assert_int_equal(got->end.reason, END_FAILED);
	assert_int_equal(got->end.err_no, -ENOENT);
	assert_int_equal(got->end.exit_code, -1);
	assert_int_equal(got->end.signal, 9);
	assert_true(got->end.at_ns == NEVER);
	assert_string_equal(got->end.step, "exec");
	assert_string_equal(got->end.message, record.end.message);
	assert_null(got->end.log_tail);
	record_clear(&record);
}

static void put(struct fixture *f, uint64_t number, const char *id)
{
	struct record record;

	fill(&record, number, id);
	assert_int_equal(registry_put_session(f->registry, &record), 0);
	record_clear(&record);
}

static void test_replace_and_delete(void **state)
{
	struct fixture *f = *state;

	put(f, 2, "two");
	put(f, 1, "one");
	put(f, 2, "again");
	put(f, 3, "three");
	assert_int_equal(registry_delete_session(f->registry, 3), 0);
	assert_int_equal(registry_delete_session(f->registry, 4), 0);
	assert_int_equal(registry_load(f->registry, keep, f), 0);
	assert_int_equal(f->n_loaded, 2);
	assert_string_equal(f->loaded[0].id, "one");
	assert_string_equal(f->loaded[1].id, "again");
}

static void test_rollback(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(registry_begin(f->registry), 0);
	put(f, 1, "one");
	registry_rollback(f->registry);
	registry_rollback(f->registry); /* of nothing: harmless */
	assert_int_equal(registry_load(f->registry, keep, f), 0);
	assert_int_equal(f->n_loaded, 0);
}

static void put_event(struct fixture *f, uint64_t seq)
{
	const struct registry_event event = {
		.seq = seq, .boot_id = "boot", .kind = "k", .session = "s", .owner = "o", .data = "{}"
	};

	assert_int_equal(registry_put_event(f->registry, &event), 0);
}

static void test_events(void **state)
{
	struct fixture *f = *state;
	uint64_t next = 0;

	assert_int_equal(registry_next_seq(f->registry, "boot", &next), 0);
	assert_int_equal(next, 1);
	for (uint64_t seq = 1; seq <= 6; seq++)
		put_event(f, seq);
	assert_int_equal(registry_trim_events(f->registry, 3), 0);
	assert_int_equal(registry_events(f->registry, 1, 3, keep_seq, f), 0);
	assert_int_equal(f->n_seqs, 3);
	assert_int_equal(f->seqs[0], 3);
	assert_int_equal(f->seqs[2], 5);
	assert_int_equal(registry_events(f->registry, 6, 3, keep_seq, f), 0);
	assert_int_equal(f->n_seqs, 4);
	/* A number is never given twice. */
	assert_int_not_equal(
		registry_put_event(f->registry,
			&(struct registry_event){
				.seq = 6, .boot_id = "", .kind = "", .session = "", .owner = "", .data = "" }),
		0);
}

static void test_numbers_go_on(void **state)
{
	struct fixture *f = *state;
	uint64_t next = 0;

	put_event(f, 41);
	registry_close(f->registry);
	f->registry = open_it(f, false);
	assert_int_equal(registry_next_seq(f->registry, "other boot", &next), 0);
	assert_int_equal(next, 42);
}

/* As the file is when power goes: in use, and nobody closed it. */
static void pull_the_plug(struct fixture *f)
{
	char bytes[1 << 16], wal[1 << 16];
	char path[160];
	ssize_t n, n_wal;

	snprintf(path, sizeof(path), "%s-wal", f->path);
	int fd = open(f->path, O_RDONLY | O_CLOEXEC), wal_fd = open(path, O_RDONLY | O_CLOEXEC);
	n = read(fd, bytes, sizeof(bytes));
	n_wal = read(wal_fd, wal, sizeof(wal));
	close(fd);
	close(wal_fd);
	registry_close(f->registry);
	fd = open(f->path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	wal_fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_int_equal(write(fd, bytes, (size_t)n), n);
	assert_int_equal(write(wal_fd, wal, (size_t)n_wal), n_wal);
	close(fd);
	close(wal_fd);
}

static void test_numbers_after_a_crash(void **state)
{
	struct fixture *f = *state;
	uint64_t next = 0;

	put_event(f, 41);
	pull_the_plug(f);
	f->registry = open_it(f, false);
	/* The same boot: whatever was written is there. */
	assert_int_equal(registry_next_seq(f->registry, "boot", &next), 0);
	assert_int_equal(next, 42);
	/* Another: some that were given may be lost. */
	assert_int_equal(registry_next_seq(f->registry, "other boot", &next), 0);
	assert_true(next > 1000);
}

static void scribble(const struct fixture *f, const char *sql)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

static void test_damaged(void **state)
{
	struct fixture *f = *state;
	uint64_t next = 0;

	put(f, 1, "one");
	registry_close(f->registry);
	FILE *file = fopen(f->path, "r+e");
	fputs("this is no database", file);
	fclose(file);
	f->registry = open_it(f, true);
	assert_int_equal(registry_load(f->registry, keep, f), 0);
	assert_int_equal(f->n_loaded, 0);
	assert_int_equal(registry_next_seq(f->registry, "boot", &next), 0);
	assert_true(next > 1000000);
	struct stat st;
	char path[160];
	snprintf(path, sizeof(path), "%s.damaged", f->path);
	assert_return_code(stat(path, &st), errno);
}

static void test_later_version(void **state)
{
	struct fixture *f = *state;
	struct registry *registry = NULL;
	char text[256], aside[160];
	bool damaged;

	snprintf(aside, sizeof(aside), "%s.aside", f->path);
	registry_close(f->registry);
	assert_return_code(rename(f->path, aside), errno);
	f->registry = open_it(f, false);
	registry_close(f->registry);
	scribble(f, "PRAGMA user_version = 99");
	assert_int_equal(registry_open(f->dir, &registry, &damaged, text, sizeof(text)), -EPROTONOSUPPORT);
	assert_null(registry);
	assert_non_null(strstr(text, "99"));
	assert_false(damaged);
	assert_return_code(rename(aside, f->path), errno);
	f->registry = open_it(f, false);
}

static void test_rows_that_cannot_be(void **state)
{
	struct fixture *f = *state;

	put(f, 1, "one");
	put(f, 2, "two");
	put(f, 3, "three");
	put(f, 4, "four");
	registry_close(f->registry);
	scribble(f, "UPDATE sessions SET state = 'strange' WHERE number = 1;"
		    "UPDATE sessions SET id = printf('%.100c', 'x') WHERE number = 2;"
		    "UPDATE sessions SET labels = '{' WHERE number = 4;");
	f->registry = open_it(f, false);
	assert_int_equal(registry_load(f->registry, keep, f), 0);
	assert_int_equal(f->n_loaded, 1);
	assert_string_equal(f->loaded[0].id, "three");
}

static void test_only_one(void **state)
{
	struct fixture *f = *state;
	struct stat st;

	put(f, 1, "one");
	assert_return_code(stat(f->path, &st), errno);
	assert_int_equal(st.st_mode & 0777, 0600);
	/* A second process would find it locked; locks of one process do not exclude each other. */
	if (fork() == 0) {
		struct registry *registry = NULL;
		bool damaged;
		char text[256];
		_exit(registry_open(f->dir, &registry, &damaged, text, sizeof(text)) == -EBUSY ? 0 : 1);
	}
	int status;
	assert_return_code(waitpid(-1, &status, 0), errno);
	assert_int_equal(status, 0);
}

int main(void)
{
	/* clang-format off */
	const struct CMUnitTest tests[] = {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
		TEST(test_round_trip), TEST(test_replace_and_delete), TEST(test_rollback), TEST(test_events),
		TEST(test_numbers_go_on), TEST(test_numbers_after_a_crash), TEST(test_damaged), TEST(test_later_version),
		TEST(test_rows_that_cannot_be), TEST(test_only_one),
	};
	/* clang-format on */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
