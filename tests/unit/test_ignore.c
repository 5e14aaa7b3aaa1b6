/* SPDX-License-Identifier: Apache-2.0 */
/* What .dockerignore leaves out; the answers are those of Docker's own client. */
#include "unit.h"

#include "sandbox/ignore.h"

static struct ignore ignore;

static void parse(const char *text)
{
	unsigned int line = 0;

	assert_int_equal(ignore_parse(&ignore, text, strlen(text), &line), 0);
	ignore_set_dockerfile(&ignore, "Dockerfile");
}

static void refused(const char *text, size_t n, unsigned int line)
{
	unsigned int found = 0;

	if (ignore_parse(&ignore, text, n, &found) != -EINVAL || found != line)
		fail_msg("\"%s\": line %u", text, found);
}

/* clang-format off */
static const struct {
	const char *patterns, *path;
	enum ignore_verdict verdict;
} cases[] = {
	/* names, anywhere in a path that is given whole */
	{ "file", "file", IGNORE_IT },
	{ "file", "file2", IGNORE_NOT },
	{ "file", "dir/file", IGNORE_NOT },
	{ "dir", "dir/sub/file", IGNORE_IT },
	{ "dir/sub", "dir", IGNORE_NOT },
	{ "dir/sub", "dir/sub", IGNORE_IT },
	{ "dir/sub", "dir/sub/file", IGNORE_IT },
	{ "/file", "file", IGNORE_IT },
	{ "./dir//x/../sub/", "dir/sub/file", IGNORE_IT },
	{ "../file", "file", IGNORE_NOT },
	{ "/../file", "file", IGNORE_IT },
	{ "..", "file", IGNORE_NOT },
	{ ".", "file", IGNORE_NOT },
	/* one star, which stops at slashes, and a question mark, which does, too */
	{ "*", "file", IGNORE_IT },
	{ "*", "dir/file", IGNORE_IT },
	{ "*/file", "dir/file", IGNORE_IT },
	{ "*/file", "file", IGNORE_NOT },
	{ "*/file", "a/b/file", IGNORE_NOT },
	{ "*/*/file", "a/b/file", IGNORE_IT },
	{ "*.c", "a.c", IGNORE_IT },
	{ "*.c", "a.cc", IGNORE_NOT },
	{ "*.c", "dir/a.c", IGNORE_NOT },
	{ "*a*b*c*", "xaybzcw", IGNORE_IT },
	{ "*a*b*c*", "xaycwb", IGNORE_NOT },
	{ "temp?", "temp1", IGNORE_IT },
	{ "temp?", "temp", IGNORE_NOT },
	{ "a?b", "a/b", IGNORE_NOT },
	{ "?", "\xc3\xa4", IGNORE_IT },
	{ "??", "\xc3\xa4", IGNORE_NOT },
	{ "?", "\xff", IGNORE_IT },
	/* two, which do not */
	{ "**", "a/b/c", IGNORE_IT },
	{ "**/file", "file", IGNORE_IT },
	{ "**/file", "a/b/file", IGNORE_IT },
	{ "**/file", "a/b/file/c", IGNORE_IT },
	{ "**/file", "a/bfile", IGNORE_NOT },
	{ "**/*.go", "a/b/c.go", IGNORE_IT },
	{ "a/**", "a", IGNORE_NOT },
	{ "a/**", "a/b/c", IGNORE_IT },
	{ "a/**/d", "a/d", IGNORE_IT },
	{ "a/**/d", "a/b/c/d", IGNORE_IT },
	{ "a/**/d", "a/b/c", IGNORE_NOT },
	{ "a**d", "ab/d", IGNORE_IT },
	{ "a**d", "abd", IGNORE_NOT },
	{ "**/**/x", "x", IGNORE_IT },
	/* classes and what is escaped */
	{ "[a-c]", "b", IGNORE_IT },
	{ "[a-c]", "d", IGNORE_NOT },
	{ "[^a-c]", "d", IGNORE_IT },
	{ "[^a-c]", "b", IGNORE_NOT },
	{ "[a\\]]x", "]x", IGNORE_IT },
	{ "[\\--0]", ".", IGNORE_IT },
	{ "[\xc3\xa0-\xc3\xa9]", "\xc3\xa4", IGNORE_IT },
	{ "\\*", "*", IGNORE_IT },
	{ "\\*", "x", IGNORE_NOT },
	{ "\\!x", "!x", IGNORE_IT },
	{ "a.b", "axb", IGNORE_NOT },
	{ "a+(b)|{c}$^", "a+(b)|{c}$^", IGNORE_IT },
	/* lines */
	{ "# file\nfile", "file", IGNORE_IT },
	{ "#file", "#file", IGNORE_NOT },
	{ " #file", "#file", IGNORE_IT },
	{ "\xef\xbb\xbf" "file\r\nother\r\n", "file", IGNORE_IT },
	{ "\xef\xbb\xbf" "file\r\nother\r\n", "other", IGNORE_IT },
	{ "\n  \t\n  file  \n\n", "file", IGNORE_IT },
	{ "", "file", IGNORE_NOT },
	/* exceptions: the last that matches decides */
	{ "*.md\n!README.md", "README.md", IGNORE_NOT },
	{ "*.md\n!README.md", "x.md", IGNORE_IT },
	{ "*.md\n!README*.md\nREADME-secret.md", "README-secret.md", IGNORE_IT },
	{ "*.md\nREADME-secret.md\n!README*.md", "README-secret.md", IGNORE_NOT },
	{ "!file\nfile", "file", IGNORE_IT },
	{ "*\n! /src/", "src/a/b", IGNORE_NOT },
	{ "*\n!src", "src", IGNORE_NOT },
	{ "dir\n!dir/keep", "dir", IGNORE_BUT_BELOW },
	{ "dir\n!dir/keep", "dir/keep", IGNORE_NOT },
	{ "dir\n!dir/keep", "dir/keep/more", IGNORE_NOT },
	{ "dir\n!dir/keep", "dir/other", IGNORE_IT },
	{ "dir\n!dir/a/b", "dir/a", IGNORE_BUT_BELOW },
	{ "dir\n!dir/a/b", "dir/b", IGNORE_IT },
	{ "dir\n!other/a", "dir", IGNORE_IT },
	{ "dir\n!**/keep", "dir/sub", IGNORE_BUT_BELOW },
	{ "dir\n!**/keep", "dir/sub/keep", IGNORE_NOT },
	{ "*\n!d[i]r/k*", "dir", IGNORE_BUT_BELOW },
	/* what the daemon needs */
	{ "*", "Dockerfile", IGNORE_NOT },
	{ "*", ".dockerignore", IGNORE_NOT },
	{ "Dockerfile\n.dockerignore", "Dockerfile", IGNORE_NOT },
	{ "**", "sub/Dockerfile", IGNORE_IT },
};
/* clang-format on */

static void test_verdicts(void **state _unused_)
{
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		parse(cases[i].patterns);
		enum ignore_verdict verdict = ignore_look(&ignore, cases[i].path);
		if (verdict != cases[i].verdict)
			fail_msg("\"%s\" of \"%s\": %d", cases[i].path, cases[i].patterns, verdict);
	}
}

static void test_a_dockerfile_below_is_sent(void **state _unused_)
{
	parse("*");
	ignore_set_dockerfile(&ignore, "/docker/./of/Other");
	assert_int_equal(ignore_look(&ignore, "docker"), IGNORE_BUT_BELOW);
	assert_int_equal(ignore_look(&ignore, "docker/of"), IGNORE_BUT_BELOW);
	assert_int_equal(ignore_look(&ignore, "docker/of/Other"), IGNORE_NOT);
	assert_int_equal(ignore_look(&ignore, "docker/of/Others"), IGNORE_IT);
	assert_int_equal(ignore_look(&ignore, "dock"), IGNORE_IT);
	assert_int_equal(ignore_look(&ignore, "Dockerfile"), IGNORE_IT);
}

static void test_what_is_no_pattern(void **state _unused_)
{
	static const char *const bad[] = { "[", "[]", "[a", "[a-]", "[]a]", "[^]", "[-a]", "[b-a]", "[\\", "x\\", "!",
		"! ", "x[", "**[" };

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		refused(bad[i], strlen(bad[i]), 1);
	refused("a\n# b\n[\nc", 8, 3);
	refused("a\0b", 3, 1);
}

/* Bounds: a file as large as there may be, a pattern as long as there may be and one longer. */
static void test_bounds(void **state _unused_)
{
	static char text[IGNORE_MAX_BYTES], path[FILES_PATH_SIZE + 1];
	unsigned int line;

	memset(text, 'x', sizeof(text));
	for (size_t i = 1; i < sizeof(text); i += 2)
		text[i] = '\n';
	assert_int_equal(ignore_parse(&ignore, text, sizeof(text), &line), 0);
	ignore_set_dockerfile(&ignore, "Dockerfile");
	assert_int_equal(ignore_look(&ignore, "x"), IGNORE_IT);
	assert_int_equal(ignore_look(&ignore, "y"), IGNORE_NOT);
	memset(path, 'y', FILES_PATH_SIZE);
	refused(path, FILES_PATH_SIZE, 1);
	path[FILES_PATH_SIZE - 1] = '\0';
	parse(path);
	assert_int_equal(ignore_look(&ignore, path), IGNORE_IT);
}

/* What would take longer than the world lasts if every way of matching were tried. */
static void test_stars_take_no_time(void **state _unused_)
{
	static char pattern[4000], path[4000];

	for (size_t i = 0; i + 3 < sizeof(pattern); i += 2)
		memcpy(pattern + i, "*a", 3);
	memset(path, 'a', sizeof(path) - 1);
	path[sizeof(path) - 2] = 'b';
	parse(pattern);
	assert_int_equal(ignore_look(&ignore, path), IGNORE_NOT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_verdicts),
		cmocka_unit_test(test_a_dockerfile_below_is_sent),
		cmocka_unit_test(test_what_is_no_pattern),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_stars_take_no_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
