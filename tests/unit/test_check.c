/* SPDX-License-Identifier: Apache-2.0 */
/* check/text.c: what the host check reads and prints. The rest is tried for real by tests/session. */
#include "tests/unit/unit.h"

#include <jansson.h>

#include "check/check.h"

static void test_release(void **state _unused_)
{
	assert_true(check_release("6.1.0-28-amd64", 6, 1));
	assert_true(check_release("6.10.1", 6, 1));
	assert_true(check_release("10.0", 6, 1));
	assert_true(check_release("6.1-rc3", 6, 1));
	assert_true(check_release("7", 6, 1));
	assert_false(check_release("6.0.19", 6, 1));
	assert_false(check_release("5.15.0", 6, 1));
	assert_false(check_release("6", 6, 1));
	assert_false(check_release("", 6, 1));
	assert_false(check_release("x.y", 6, 1));
}

static void test_words(void **state _unused_)
{
	assert_true(check_has_word("cpuset cpu io memory\n", "cpu"));
	assert_true(check_has_word("memory\n", "memory"));
	assert_true(check_has_word("cpuset  io", "io"));
	assert_false(check_has_word("cpuset cpuacct\n", "cpu"));
	assert_false(check_has_word("pid", "pids"));
	assert_false(check_has_word("", "cpu"));
	assert_false(check_has_word("\n", "cpu"));
}

static void test_subids(void **state _unused_)
{
	static const struct {
		const char *text, *found; /* NULL: none */
	} cases[] = {
		{ "", NULL },
		{ "alice:100000:65536\nbob:165536:65536\n", NULL },
		{ "alice:100000:65536\nbob:524288:65536\n", "bob:524288:65536" },
		{ "alice:458752:65536\n", NULL }, /* ends just below */
		{ "alice:458752:65537\n", "alice:458752:65537" },
		{ "alice:655359:1", "alice:655359:1" },
		{ "alice:655360:65536", NULL }, /* begins just above */
		{ "alice:0:4294967295", "alice:0:4294967295" },
		{ "alice:524288:0\n", NULL },
		{ "# a comment\n\nalice\nalice:\nalice:524288\nalice:x:y\n1000:600000:5\n", "1000:600000:5" },
		{ "alice:18446744073709551615:18446744073709551615\n", NULL },
		{ "alice:1:18446744073709551615\n", "alice:1:18446744073709551615" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char line[64] = "";
		assert_int_equal(
			check_subids(cases[i].text, 524288, 131072, line, sizeof(line)), cases[i].found != NULL);
		assert_string_equal(line, cases[i].found ? cases[i].found : "");
	}
}

static const struct check_item items[] = {
	{ .name = "kernel", .state = CHECK_OK, .detail = "Linux \"6.1\"\\" },
	{ .name = "overlay", .state = CHECK_DEGRADED, .detail = "caf\xc3\xa9 cut \xc3", .remedy = "a\tb\nc" },
	{ .name = "net.veth", .state = CHECK_MISSING, .detail = "none", .remedy = "modprobe veth" },
};

static char *print(size_t n, bool json)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	assert_non_null(out);
	check_print(items, n, json, out);
	fclose(out);
	return text;
}

static void test_table(void **state _unused_)
{
	_free_ char *text = print(3, false);

	assert_int_equal(strncmp(text, "ok        kernel                Linux \"6.1\"\\\n", 45), 0);
	assert_non_null(strstr(text, "\nmissing   net.veth              none\n"
				     "                                -> modprobe veth\n"));
}

static const char *member(const json_t *object, const char *name)
{
	return json_string_value(json_object_get(object, name));
}

static void test_json(void **state _unused_)
{
	_free_ char *text = print(3, true);
	json_auto_t *value = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	const json_t *list = json_object_get(value, "items");

	assert_int_equal(json_array_size(list), 3);
	const json_t *first = json_array_get(list, 0), *second = json_array_get(list, 1);
	assert_string_equal(member(first, "name"), "kernel");
	assert_string_equal(member(first, "state"), "ok");
	assert_string_equal(member(first, "detail"), "Linux \"6.1\"\\");
	assert_true(json_is_null(json_object_get(first, "remedy")));
	assert_string_equal(member(second, "state"), "degraded");
	assert_string_equal(member(second, "detail"), "caf?? cut ?");
	assert_string_equal(member(second, "remedy"), "a\tb\nc");
	assert_string_equal(member(json_array_get(list, 2), "state"), "missing");
}

static void test_json_empty(void **state _unused_)
{
	_free_ char *text = print(0, true);
	json_auto_t *value = json_loads(text, 0, NULL);

	assert_true(json_is_array(json_object_get(value, "items")));
	assert_int_equal(json_array_size(json_object_get(value, "items")), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_release),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_subids),
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_json_empty),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
