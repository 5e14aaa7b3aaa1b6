/* SPDX-License-Identifier: Apache-2.0 */
/* What is kept of a command's output, and how it is told. */
#include "unit.h"

#include "control/capture.h"
#include "wire/def.h"

static void add(struct capture *capture, enum capture_stream stream, const char *text)
{
	capture_add(capture, stream, text, strlen(text));
}

static json_t *told(struct capture *capture)
{
	json_t *json = json_object();

	capture_put_json(capture, &json);
	assert_non_null(json);
	capture_release(capture);
	return json;
}

static void expect(json_t *json, const char *wanted)
{
	json_t *other = json_loads(wanted, 0, NULL);
	char *text = json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS);

	assert_non_null(other);
	if (!json_equal(json, other))
		fail_msg("%s", text);
	free(text);
	json_decref(other);
	json_decref(json);
}

static void test_nothing(void **state _unused_)
{
	struct capture capture = { .max_bytes = 10 };

	expect(told(&capture),
		"{\"stdout\": \"\", \"stderr\": \"\", \"logs\": [], \"truncated\": false, \"dropped_bytes\": 0}");
}

static void test_lines_in_the_order_in_which_they_end(void **state _unused_)
{
	struct capture capture = { .max_bytes = 1000 };

	add(&capture, CAPTURE_STDOUT, "one\ntw");
	add(&capture, CAPTURE_STDERR, "bad\n\nworse");
	add(&capture, CAPTURE_STDOUT, "o\n");
	add(&capture, CAPTURE_STDOUT, "rest");
	expect(told(&capture),
		"{\"stdout\": \"one\\ntwo\\nrest\", \"stderr\": \"bad\\n\\nworse\", \"truncated\": false,"
		"\"logs\": [\"one\", \"bad\", \"\", \"two\", \"rest\", \"worse\"], \"dropped_bytes\": 0}");
}

static void test_the_bound_is_of_both(void **state _unused_)
{
	struct capture capture = { .max_bytes = 6 };

	add(&capture, CAPTURE_STDOUT, "abc");
	assert_int_equal(capture_room(&capture, 100), 3);
	assert_int_equal(capture_room(&capture, 2), 2);
	add(&capture, CAPTURE_STDERR, "def");
	assert_false(capture.full);
	assert_int_equal(capture_room(&capture, 1), 0);
	add(&capture, CAPTURE_STDOUT, "ghij");
	/* What there is has no gaps. */
	capture.max_bytes = 100;
	add(&capture, CAPTURE_STDERR, "k");
	expect(told(&capture), "{\"stdout\": \"abc\", \"stderr\": \"def\", \"logs\": [\"abc\", \"def\"],"
			       "\"truncated\": true, \"dropped_bytes\": 5}");
}

static void test_any_bytes(void **state _unused_)
{
	static const char bytes[] = "\xff\0\x1b\xe4\xbd\xa0\xe4\xbd";
	struct capture capture = { .max_bytes = 100 };

	capture_add(&capture, CAPTURE_STDOUT, bytes, sizeof(bytes) - 1);
	json_t *json = told(&capture);
	const json_t *text = json_object_get(json, "stdout");
	assert_int_equal(json_string_length(text), 3 + 1 + 1 + 3 + 3 + 3);
	assert_memory_equal(json_string_value(text), "\xef\xbf\xbd\0\x1b\xe4\xbd\xa0\xef\xbf\xbd\xef\xbf\xbd", 14);
	json_decref(json);
}

/* Whatever the bytes, the cost is no less than what the answer takes. */
static void test_cost(void **state _unused_)
{
	static const char alphabet[] = "a\n\n\"\\\t\x01\x7f\xff\xc3\xa4\xf0\x9f\x98\x80\0";
	unsigned seed = 1;

	for (int round = 0; round < 500; round++) {
		struct capture capture = { .max_bytes = 4096 };
		size_t cost = 0, empty = 2 * strlen("\"\"") + strlen("[]");
		for (int chunk = 0; chunk < 4; chunk++) {
			char bytes[64];
			size_t n = (size_t)rand_r(&seed) % sizeof(bytes);
			for (size_t i = 0; i < n; i++)
				bytes[i] = alphabet[(size_t)rand_r(&seed) % sizeof(alphabet)];
			cost += capture_cost(bytes, n);
			capture_add(&capture, (enum capture_stream)(chunk % 2), bytes, n);
		}
		json_t *json = told(&capture);
		size_t size = 0;
		static const char *const members[] = { "stdout", "stderr", "logs" };
		for (size_t i = 0; i < ARRAY_SIZE(members); i++)
			size += json_dumpb(
				json_object_get(json, members[i]), NULL, 0, JSON_COMPACT | JSON_ENCODE_ANY);
		/* The quotes and commas of two last lines without an end are not counted. */
		assert_true(size <= cost + empty + 2 * strlen("\"\","));
		json_decref(json);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing),
		cmocka_unit_test(test_lines_in_the_order_in_which_they_end),
		cmocka_unit_test(test_the_bound_is_of_both),
		cmocka_unit_test(test_any_bytes),
		cmocka_unit_test(test_cost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
