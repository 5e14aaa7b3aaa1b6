/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "control/logs.h"

#include <stdio.h>
#include <sys/mman.h>

struct file {
	int fd;
	struct output_header *header;
};

static int setup(void **state)
{
	struct file *f = malloc(sizeof(*f));

	f->fd = memfd_create("output", MFD_CLOEXEC);
	assert_return_code(ftruncate(f->fd, OUTPUT_FILE_BYTES), errno);
	f->header = mmap(NULL, OUTPUT_FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, f->fd, 0);
	assert_ptr_not_equal(f->header, MAP_FAILED);
	output_format(f->header, OUTPUT_FILE_BYTES);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct file *f = *state;

	munmap(f->header, OUTPUT_FILE_BYTES);
	close(f->fd);
	free(f);
	return 0;
}

static void print(struct file *f, const char *text)
{
	output_append(f->header, OUTPUT_STDOUT, UINT64_C(1763712000123456789), text, strlen(text));
}

static json_t *read_logs(struct file *f, uint64_t *position, size_t max, bool *more)
{
	json_t *logs = NULL;

	assert_int_equal(logs_read(f->fd, position, max, &logs, more), 0);
	assert_int_equal(json_integer_value(json_object_get(logs, "next")), *position);
	return logs;
}

static const json_t *entry(const json_t *logs, size_t i)
{
	return json_array_get(json_object_get(logs, "entries"), i);
}

static const char *text_of(const json_t *logs, size_t i)
{
	return json_string_value(json_object_get(entry(logs, i), "text"));
}

static size_t count(const json_t *logs)
{
	return json_array_size(json_object_get(logs, "entries"));
}

static void test_entries(void **state)
{
	struct file *f = *state;
	uint64_t position = 0;
	bool more = true;

	print(f, "one\n");
	output_append(f->header, OUTPUT_STDERR, 0, "two", 3);
	output_append(f->header, OUTPUT_INIT, 0, "three", 5);
	json_t *logs = read_logs(f, &position, LOGS_DEFAULT_BYTES, &more);
	assert_false(more);
	assert_int_equal(count(logs), 3);
	assert_string_equal(text_of(logs, 0), "one\n");
	assert_string_equal(json_string_value(json_object_get(entry(logs, 0), "at")), "2025-11-21T08:00:00.123Z");
	assert_string_equal(json_string_value(json_object_get(entry(logs, 0), "stream")), "stdout");
	assert_string_equal(json_string_value(json_object_get(entry(logs, 1), "stream")), "stderr");
	assert_string_equal(json_string_value(json_object_get(entry(logs, 2), "stream")), "init");
	assert_int_equal(json_integer_value(json_object_get(logs, "skipped_bytes")), 0);
	json_decref(logs);
	/* From there on. */
	print(f, "four");
	logs = read_logs(f, &position, LOGS_DEFAULT_BYTES, &more);
	assert_int_equal(count(logs), 1);
	assert_string_equal(text_of(logs, 0), "four");
	json_decref(logs);
	logs = read_logs(f, &position, LOGS_DEFAULT_BYTES, &more);
	assert_int_equal(count(logs), 0);
	json_decref(logs);
}

static void test_hostile_bytes(void **state)
{
	static const char bytes[] = "a\x1b[2J\0\"\\\xff\xc3\xa9\xed\xa0\x80\xf4\x90\x80\x80 end";
	struct file *f = *state;
	uint64_t position = 0;
	bool more;

	output_append(f->header, OUTPUT_STDOUT, 0, bytes, sizeof(bytes) - 1);
	json_t *logs = read_logs(f, &position, LOGS_DEFAULT_BYTES, &more);
	char *line = json_dumps(logs, JSON_COMPACT);
	assert_non_null(line);
	assert_null(strchr(line, '\x1b'));
	assert_non_null(strstr(line, "a\\u001B[2J\\u0000\\\"\\\\\xef\xbf\xbd\xc3\xa9"));
	json_t *again = json_loads(line, JSON_ALLOW_NUL, NULL);
	assert_true(json_equal(again, logs));
	json_decref(again);
	free(line);
	json_decref(logs);
}

static void test_portions(void **state)
{
	struct file *f = *state;
	uint64_t position = 0;
	bool more = true;
	size_t n = 0;

	for (int i = 0; i < 200; i++)
		print(f, "0123456789012345678\n");
	while (more) {
		json_t *logs = read_logs(f, &position, 1000, &more);
		char *line = json_dumps(logs, JSON_COMPACT);
		assert_true(strlen(line) < 1000 + 100);
		free(line);
		n += count(logs);
		json_decref(logs);
	}
	assert_int_equal(n, 200);
	/* An entry longer than what is asked for comes all the same. */
	char long_one[OUTPUT_MAX_RECORD];
	memset(long_one, 1, sizeof(long_one));
	output_append(f->header, OUTPUT_STDOUT, 0, long_one, sizeof(long_one));
	json_t *logs = read_logs(f, &position, 10, &more);
	assert_int_equal(count(logs), 1);
	json_decref(logs);
}

static void test_overwritten(void **state)
{
	struct file *f = *state;
	uint64_t position = 0, before;
	bool more;

	print(f, "first");
	json_t *logs = read_logs(f, &position, 100000, &more);
	json_decref(logs);
	before = position;
	for (int i = 0; i < 40000; i++)
		print(f, "12345678");
	logs = read_logs(f, &position, 200, &more);
	json_int_t skipped = json_integer_value(json_object_get(logs, "skipped_bytes"));
	assert_true(skipped > 40000 * 24 - OUTPUT_FILE_BYTES);
	assert_true(position > before + (uint64_t)skipped);
	assert_true(more);
	json_decref(logs);
}

static void test_bad_positions(void **state)
{
	struct file *f = *state;
	json_t *logs = NULL;
	bool more;

	print(f, "one");
	const uint64_t bad[] = { 3, 8, 4096, UINT64_MAX - 7, (uint64_t)INT64_MAX + 1 };
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		uint64_t position = bad[i];
		assert_int_equal(logs_read(f->fd, &position, 1000, &logs, &more), -EPROTO);
		assert_int_equal(position, bad[i]);
		assert_null(logs);
	}
}

static void test_rubbish(void **state)
{
	struct file *f = *state;
	uint64_t position = 0;
	json_t *logs = NULL;
	bool more;

	print(f, "one");
	memset(f->header + 1, 0xff, 64);
	assert_int_equal(logs_read(f->fd, &position, 1000, &logs, &more), -EPROTO);
	assert_null(logs_tail(f->fd));
	f->header->head = UINT64_MAX - 7;
	assert_int_equal(logs_read(f->fd, &position, 1000, &logs, &more), -EPROTO);
	assert_null(logs_tail(f->fd));
	assert_null(logs_tail(-1));
}

static void expect_tail(struct file *f, const char *wanted)
{
	char *tail = logs_tail(f->fd);

	assert_non_null(tail);
	assert_string_equal(tail, wanted);
	free(tail);
}

static void test_tail(void **state)
{
	struct file *f = *state;
	char line[64];

	assert_null(logs_tail(f->fd));
	print(f, "no newline");
	expect_tail(f, "no newline");
	print(f, " yet\nsecond\n");
	expect_tail(f, "no newline yet\nsecond\n");
	for (int i = 0; i < 100; i++) {
		snprintf(line, sizeof(line), "line %d\n", i);
		print(f, line);
	}
	char *tail = logs_tail(f->fd);
	assert_memory_equal(tail, "line 80\n", 8);
	assert_string_equal(tail + strlen(tail) - 8, "line 99\n");
	free(tail);
	/* A line without end, and bytes that a string in C would end at. */
	for (int i = 0; i < 300; i++)
		output_append(f->header, OUTPUT_STDOUT, 0, "0123456\0\xff", 9);
	tail = logs_tail(f->fd);
	assert_true(strlen(tail) >= LOG_TAIL_BYTES && strlen(tail) <= 3 * LOG_TAIL_BYTES);
	assert_string_equal(tail + strlen(tail) - 11, "0123456 \xef\xbf\xbd");
	free(tail);
}

int main(void)
{
	/* clang-format off */
	const struct CMUnitTest tests[] = {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
		TEST(test_entries), TEST(test_hostile_bytes), TEST(test_portions), TEST(test_overwritten),
		TEST(test_bad_positions), TEST(test_rubbish), TEST(test_tail),
	};
	/* clang-format on */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
