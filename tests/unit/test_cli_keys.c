/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/unit.h"

#include <stdlib.h>

#include "cli/keys.h"
#include "wire/def.h"

static struct detach_keys parsed(const char *text)
{
	struct detach_keys keys = { 0 };

	assert_int_equal(detach_keys_parse(text, &keys), 0);
	return keys;
}

static void test_parse(void **state _unused_)
{
	struct detach_keys keys = parsed(DETACH_KEYS_DEFAULT);

	assert_int_equal(keys.n, 2);
	assert_memory_equal(keys.keys, "\x10\x11", 2);
	keys = parsed("ctrl-a,d");
	assert_int_equal(keys.n, 2);
	assert_memory_equal(keys.keys,
		"\x01"
		"d",
		2);
	keys = parsed("ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_,~,.");
	assert_int_equal(keys.n, DETACH_KEYS_MAX);
	assert_memory_equal(keys.keys, "\x00\x1b\x1c\x1d\x1e\x1f~.", DETACH_KEYS_MAX);
	assert_int_equal(parsed("").n, 0);
}

static void test_no_keys(void **state _unused_)
{
	static const char *const wrong[] = { ",", "a,", ",a", "ctrl-", "ctrl-P", "ctrl-1", "ctrl-aa", "ctrl", "ab",
		" ", "\x7f", "\xc3\xa4", "Ctrl-p" };
	struct detach_keys keys = { .n = 1, .keys = "x" };

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_int_equal(detach_keys_parse(wrong[i], &keys), -EINVAL);
	assert_int_equal(detach_keys_parse("a,b,c,d,e,f,g,h,i", &keys), -E2BIG);
	assert_int_equal(keys.n, 1);
	assert_int_equal(keys.keys[0], 'x');
}

/* Types TEXT in pieces of SIZE; what comes of it, the caller's. */
static char *type(struct detach_keys *keys, const char *text, size_t size, bool *ret_left)
{
	const size_t n = strlen(text);
	char *out = calloc(1, n + DETACH_KEYS_MAX + 1);
	size_t used = 0, got;

	assert_non_null(out);
	*ret_left = false;
	for (size_t at = 0; at < n && !*ret_left; at += size) {
		*ret_left = detach_keys_find(keys, text + at, size < n - at ? size : n - at, out + used, &got);
		used += got;
	}
	if (!*ret_left)
		detach_keys_end(keys, out + used);
	return out;
}

static void test_find(void **state _unused_)
{
	static const struct {
		const char *keys, *typed, *passed;
		bool left;
	} cases[] = {
		{ DETACH_KEYS_DEFAULT, "ls\r", "ls\r", false },
		{ DETACH_KEYS_DEFAULT, "l\x10\x11s", "l", true },
		{ DETACH_KEYS_DEFAULT, "\x10\x10\x11s", "\x10", true },
		{ DETACH_KEYS_DEFAULT, "\x10x\x11", "\x10x\x11", false },
		{ DETACH_KEYS_DEFAULT, "\x11\x10", "\x11\x10", false },
		{ "a,a,b", "aaab", "a", true },
		{ "a,a,b", "aaxaabb", "aax", true },
		{ "a,b,a,c", "ababac", "ab", true },
		{ "a,b,a,c", "abababa", "abababa", false },
		{ "~,.", "~~~.x", "~~", true },
		{ "q", "abqd", "ab", true },
		{ "", "a\x10\x11", "a\x10\x11", false },
	};
	bool left;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		for (size_t size = 1; size <= 8; size++) {
			struct detach_keys keys = parsed(cases[i].keys);
			_free_ char *passed = type(&keys, cases[i].typed, size, &left);
			assert_string_equal(passed, cases[i].passed);
			assert_int_equal(left, cases[i].left);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_no_keys),
		cmocka_unit_test(test_find),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
