/* SPDX-License-Identifier: Apache-2.0 */
/* What a Docker daemon streams, in pieces of every size; and what no daemon would send. */
#include <stdio.h>

#include "control/docker_http.h"
#include "control/docker_stream.h"
#include "tests/unit/unit.h"

struct seen {
	char text[256];
	size_t n;
};

static void put(struct seen *seen, const char *bytes, size_t n)
{
	assert_true(seen->n + n < sizeof(seen->text));
	memcpy(seen->text + seen->n, bytes, n);
	seen->n += n;
	seen->text[seen->n] = '\0';
}

static void on_object(void *arg, const json_t *object)
{
	const char *text = json_string_value(json_object_get(object, "stream"));

	put(arg, text ? text : "-", text ? strlen(text) : 1);
}

static void test_lines(void **state _unused_)
{
	static const char text[] =
		"{\"stream\":\"a\\n\"}\r\n\r\n{\"other\":1}\n{\"stream\":\"b\"}\n{\"stream\":\"cut";

	for (size_t piece = 1; piece < sizeof(text); piece++) {
		struct docker_lines lines = { 0 };
		struct seen seen = { 0 };
		for (size_t at = 0; at < sizeof(text) - 1; at += piece) {
			size_t n = sizeof(text) - 1 - at < piece ? sizeof(text) - 1 - at : piece;
			assert_int_equal(docker_lines_feed(&lines, text + at, n, on_object, &seen), 0);
		}
		assert_string_equal(seen.text, "a\n-b");
		docker_lines_release(&lines);
	}
}

static void test_lines_that_are_none(void **state _unused_)
{
	static const char *const bad[] = { "[1]\n", "1\n", "{\n", "{\"a\":1,\"a\":2}\n", "{} {}\n", "\xff\n" };

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct docker_lines lines = { 0 };
		struct seen seen = { 0 };
		assert_int_equal(docker_lines_feed(&lines, bad[i], strlen(bad[i]), on_object, &seen), -EPROTO);
		assert_int_equal(seen.n, 0);
		docker_lines_release(&lines);
	}
}

static void test_a_line_without_end(void **state _unused_)
{
	struct docker_lines lines = { 0 };
	struct seen seen = { 0 };
	char piece[1024];
	int r = 0;
	size_t n = 0;

	memset(piece, ' ', sizeof(piece));
	for (; r == 0 && n < 1000; n++)
		r = docker_lines_feed(&lines, piece, sizeof(piece), on_object, &seen);
	assert_int_equal(r, -EMSGSIZE);
	assert_int_equal(n, DOCKER_MAX_LINE / sizeof(piece) + 1);
	docker_lines_release(&lines);
}

static void on_piece(void *arg, enum capture_stream stream, const char *bytes, size_t n)
{
	put(arg, stream == CAPTURE_STDOUT ? "o" : "e", 1);
	put(arg, bytes, n);
}

static void test_frames(void **state _unused_)
{
	static const char bytes[] = "\1\0\0\0\0\0\0\3one\2\0\0\0\0\0\0\0\2\0\0\0\0\0\0\1!\1\0\0\0\0\0\1\0cut";
	struct docker_frames frames = { 0 };
	struct seen seen = { 0 };

	assert_int_equal(docker_frames_feed(&frames, bytes, sizeof(bytes) - 1, on_piece, &seen), 0);
	assert_string_equal(seen.text, "oonee!ocut");
	assert_int_equal(frames.left, 256 - 3);
	for (size_t i = 0; i < 253; i++)
		assert_int_equal(docker_frames_feed(&frames, "", 1, on_piece, &(struct seen){ 0 }), 0);
	assert_int_equal(frames.left, 0);
	assert_int_equal(docker_frames_feed(&frames, "\3\0\0\0\0\0\0\1x", 9, on_piece, &seen), -EPROTO);
	frames = (struct docker_frames){ 0 };
	assert_int_equal(docker_frames_feed(&frames, "\1\0\0\1\0\0\0\1x", 9, on_piece, &seen), -EPROTO);
}

static void test_escape(void **state _unused_)
{
	char text[32] = "untouched";

	assert_int_equal(docker_escape(text, sizeof(text), "a/b:1 ?&%\xc3\xa9"), 0);
	assert_string_equal(text, "a%2Fb%3A1%20%3F%26%25%C3%A9");
	assert_int_equal(copy_string(text, sizeof(text), "untouched"), 0);
	assert_int_equal(docker_escape(text, 9, "123456789"), -ENAMETOOLONG);
	assert_int_equal(docker_escape(text, 9, "///"), -ENAMETOOLONG);
	assert_string_equal(text, "untouched");
	assert_int_equal(docker_escape(text, 10, "123456789"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_lines_that_are_none),
		cmocka_unit_test(test_a_line_without_end),
		cmocka_unit_test(test_frames),
		cmocka_unit_test(test_escape),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
