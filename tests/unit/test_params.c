/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/unit.h"

#include <stdio.h>

#include "control/params.h"
#include "wire/def.h"

static const struct param table[] = {
	{ "string", P_STRING, .min = 2, .max = 4 },
	{ "name", P_NAME },
	{ "integer", P_INTEGER, .min = -1, .max = 9007199254740991.0 },
	{ "number", P_NUMBER | P_NULLABLE, .min = 0.5, .max = 2 },
	{ "bool", P_BOOL },
	{ "enum", P_ENUM, .values = "one|two|three" },
	{ "strings", P_STRINGS, .min = 1, .max = 2, .item_bytes = 3 },
	{ "map", P_STRING_MAP, .max = 2, .item_bytes = 3 },
	{ "limits", P_LIMITS },
	{ "object", P_OBJECT },
	{ NULL },
};

/* 0, or the error and where it is, "path: text", in FAULT. */
static int check(const struct param *params, const char *text, struct param_fault *fault)
{
	json_t *value = json_loads(text, 0, NULL);

	assert_non_null(value);
	int r = params_check(params, value, fault);
	json_decref(value);
	return r;
}

static void test_accepted(void **state _unused_)
{
	/* clang-format off */
	static const char *const good[] = {
		"{}",
		"{\"string\":\"ab\"}", "{\"string\":\"abcd\"}", "{\"string\":\"\u20ac\"}",
		"{\"name\":\"a\"}", "{\"name\":\"0-9\"}",
		"{\"integer\":-1}", "{\"integer\":9007199254740991}",
		"{\"number\":1}", "{\"number\":0.5}", "{\"number\":null}",
		"{\"bool\":true}", "{\"bool\":false}",
		"{\"enum\":\"one\"}", "{\"enum\":\"three\"}",
		"{\"strings\":[\"\"]}", "{\"strings\":[\"abc\",\"def\"]}",
		"{\"map\":{}}", "{\"map\":{\"abc\":\"def\",\"b\":\"\"}}",
		"{\"limits\":{\"cpus\":0.01,\"pids\":2,\"memory_bytes\":4194304}}",
		"{\"object\":{\"any\":[1]}}",
	};
	/* clang-format on */
	struct param_fault fault;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		int r = check(table, good[i], &fault);
		if (r < 0)
			print_error("%s: %s: %s\n", good[i], fault.path, fault.text);
		assert_int_equal(r, 0);
	}
	assert_int_equal(params_check(table, NULL, &fault), 0);
}

static void test_refused_with_path(void **state _unused_)
{
	/* clang-format off */
	static const struct {
		const char *text, *path;
	} bad[] = {
		{ "[]", "" },
		{ "{\"sting\":\"ab\"}", "sting" },
		{ "{\"string\":\"a\"}", "string" }, { "{\"string\":\"abcde\"}", "string" }, { "{\"string\":\"\u20ac\u20ac\"}", "string" },
		{ "{\"string\":12}", "string" }, { "{\"string\":null}", "string" },
		{ "{\"name\":\"\"}", "name" }, { "{\"name\":\"-a\"}", "name" }, { "{\"name\":\"A\"}", "name" }, { "{\"name\":\"a/b\"}", "name" },
		{ "{\"name\":\"a0123456789012345678901234567890123456789012345678901234567890123\"}", "name" },
		{ "{\"integer\":-2}", "integer" }, { "{\"integer\":9007199254740993}", "integer" }, { "{\"integer\":1.0}", "integer" },
		{ "{\"integer\":\"1\"}", "integer" }, { "{\"integer\":true}", "integer" },
		{ "{\"number\":0.4}", "number" }, { "{\"number\":2.1}", "number" }, { "{\"number\":\"1\"}", "number" },
		{ "{\"bool\":1}", "bool" }, { "{\"bool\":null}", "bool" },
		{ "{\"enum\":\"\"}", "enum" }, { "{\"enum\":\"one|two\"}", "enum" }, { "{\"enum\":\"thre\"}", "enum" }, { "{\"enum\":1}", "enum" },
		{ "{\"strings\":[]}", "strings" }, { "{\"strings\":[\"a\",\"b\",\"c\"]}", "strings" }, { "{\"strings\":\"a\"}", "strings" },
		{ "{\"strings\":[\"a\",1]}", "strings[1]" }, { "{\"strings\":[\"abcd\"]}", "strings[0]" },
		{ "{\"map\":[]}", "map" }, { "{\"map\":{\"a\":\"\",\"b\":\"\",\"c\":\"\"}}", "map" }, { "{\"map\":{\"a\":1}}", "map.a" },
		{ "{\"map\":{\"abcd\":\"\"}}", "map.abcd" }, { "{\"map\":{\"a\":\"abcd\"}}", "map.a" }, { "{\"map\":{\"\":\"a\"}}", "map." },
		{ "{\"limits\":{\"cpu\":1}}", "limits.cpu" }, { "{\"limits\":{\"cpus\":0}}", "limits.cpus" }, { "{\"limits\":{\"cpus\":\"1\"}}", "limits.cpus" },
		{ "{\"limits\":{\"pids\":2.5}}", "limits.pids" }, { "{\"limits\":{\"pids\":1}}", "limits.pids" }, { "{\"limits\":{\"pids\":-1}}", "limits.pids" },
		{ "{\"limits\":{\"pids\":null}}", "limits.pids" }, { "{\"limits\":[]}", "limits" },
		{ "{\"object\":[]}", "object" },
	};
	/* clang-format on */
	struct param_fault fault;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		int r = check(table, bad[i].text, &fault);
		if (r == 0)
			print_error("%s was accepted\n", bad[i].text);
		assert_int_equal(r, -EINVAL);
		assert_string_equal(fault.path, bad[i].path);
		assert_true(fault.text[0]);
	}
}

static void test_required(void **state _unused_)
{
	static const struct param params[] = { { "a", P_BOOL, .required = true }, { "b", P_BOOL }, { NULL } };
	struct param_fault fault;

	assert_int_equal(check(params, "{\"a\":true}", &fault), 0);
	assert_int_equal(check(params, "{\"b\":true}", &fault), -EINVAL);
	assert_string_equal(fault.path, "a");
	assert_string_equal(fault.text, "is required");
	assert_int_equal(params_check(params, NULL, &fault), -EINVAL);
}

static void test_exactly_one_of(void **state _unused_)
{
	static const struct param params[] = { { "a", P_BOOL, .one_of = true }, { "b", P_BOOL, .one_of = true },
		{ "c", P_BOOL }, { NULL } };
	struct param_fault fault;

	assert_int_equal(check(params, "{\"a\":true}", &fault), 0);
	assert_int_equal(check(params, "{\"b\":true,\"c\":true}", &fault), 0);
	assert_int_equal(check(params, "{\"c\":true}", &fault), -EINVAL);
	assert_string_equal(fault.text, "exactly one of a, b");
	assert_int_equal(check(params, "{\"a\":true,\"b\":true}", &fault), -EINVAL);
}

static void test_the_limit_is_named(void **state _unused_)
{
	struct param_fault fault;

	check(table, "{\"string\":\"abcde\"}", &fault);
	assert_string_equal(fault.text, "a string of 2 to 4 bytes");
	check(table, "{\"number\":3}", &fault);
	assert_string_equal(fault.text, "a number from 0.5 to 2, or null");
	check(table, "{\"limits\":{\"cpus\":0}}", &fault);
	assert_string_equal(fault.text, "a number from 0.01 to 1024");
}

/* Long hostile names are cut, not overrun. */
static void test_long_names(void **state _unused_)
{
	struct param_fault fault;
	char key[1000] = { 0 };

	memset(key, 'k', sizeof(key) - 1);
	json_t *params = json_pack("{s:{s:i}}", "limits", key, 1), *unknown = json_pack("{s:i}", key, 1);
	assert_int_equal(params_check(table, params, &fault), -EINVAL);
	assert_true(strlen(fault.path) < sizeof(fault.path));
	assert_int_equal(params_check(table, unknown, &fault), -EINVAL);
	assert_int_equal(strlen(fault.path), sizeof(fault.path) - 1);
	json_decref(params);
	json_decref(unknown);
}

static void test_enum_values(void **state _unused_)
{
	size_t n;

	assert_memory_equal(param_enum_value("one|two", 1, &n), "two", 3);
	assert_int_equal(n, 3);
	assert_null(param_enum_value("one|two", 2, &n));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_accepted),
		cmocka_unit_test(test_refused_with_path),
		cmocka_unit_test(test_required),
		cmocka_unit_test(test_exactly_one_of),
		cmocka_unit_test(test_the_limit_is_named),
		cmocka_unit_test(test_long_names),
		cmocka_unit_test(test_enum_values),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
