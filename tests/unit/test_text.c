/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "control/text.h"

#include "wire/loop.h"

static void check_json(json_t *json, const char *wanted)
{
	assert_string_equal(json_string_value(json), wanted);
	json_decref(json);
}

static void test_times(void **state _unused_)
{
	check_json(json_time(0), "1970-01-01T00:00:00.000Z");
	check_json(json_time(UINT64_C(1795255200) * NS_PER_SEC + 999999999), "2026-11-21T10:00:00.999Z");
	check_json(json_time(UINT64_C(951782400) * NS_PER_SEC), "2000-02-29T00:00:00.000Z");
	/* The last that 64 bits hold, but one. */
	check_json(json_time(UINT64_MAX - 1), "2554-07-21T23:34:33.709Z");
	assert_true(json_is_null(json_time(NEVER)));
}

static void test_errno_names(void **state _unused_)
{
	check_json(json_errno(ENOENT), "ENOENT");
	check_json(json_errno(-ENOSPC), "ENOSPC");
	check_json(json_errno(99999), "99999");
}

static void test_owner_hash(void **state _unused_)
{
	char hash[OWNER_HASH_SIZE];

	/* FIPS 180-2, and the empty string. */
	owner_hash("abc", hash);
	assert_string_equal(hash, "ba7816bf8f01cfea");
	owner_hash("", hash);
	assert_string_equal(hash, "e3b0c44298fc1c14");
	/* The example of the interface. */
	owner_hash("user@example.com", hash);
	assert_string_equal(hash, "b4c9a289323b21a0");
}

static void test_utf8(void **state _unused_)
{
#define BAD "\xef\xbf\xbd"
	static const struct {
		const char *in, *out;
	} cases[] = {
		{ "", "" },
		{ "plain", "plain" },
		{ "\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\x9f", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\x9f" },
		{ "\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf" },
		/* A continuation alone; a start alone; cut short at the end and in the middle. */
		{ "\x80", BAD },
		{ "\xc3", BAD },
		{ "\xe2\x82", BAD BAD },
		{ "\xe2\x82z", BAD BAD "z" },
		{ "\xf0\x9f\x90", BAD BAD BAD },
		/* Overlong, a surrogate, past the last code point, bytes that never occur. */
		{ "\xc0\xaf", BAD BAD },
		{ "\xe0\x9f\xbf", BAD BAD BAD },
		{ "\xf0\x8f\xbf\xbf", BAD BAD BAD BAD },
		{ "\xed\xa0\x80", BAD BAD BAD },
		{ "\xf4\x90\x80\x80", BAD BAD BAD BAD },
		{ "\xf5\xff\xfe", BAD BAD BAD },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char out[64];
		size_t n = utf8_scrub((const uint8_t *)cases[i].in, strlen(cases[i].in), out);
		assert_int_equal(n, strlen(cases[i].out));
		assert_string_equal(out, cases[i].out);
		json_t *string = json_stringn(out, n);
		assert_non_null(string);
		json_decref(string);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_times),
		cmocka_unit_test(test_errno_names),
		cmocka_unit_test(test_owner_hash),
		cmocka_unit_test(test_utf8),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
