/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "control/http_answer.h"

/* Feeds TEXT in pieces of N bytes and then the end; the first result that is not 0. */
static int feed(const char *text, size_t n)
{
	struct http_answer answer;
	size_t left = strlen(text);

	http_answer_init(&answer);
	for (; left > 0; left -= n < left ? n : left, text += n) {
		int r = http_answer_feed(&answer, text, n < left ? n : left);
		if (r != 0)
			return r;
	}
	return http_answer_feed(&answer, "", 0);
}

static void test_answers(void **state _unused_)
{
	static const struct {
		const char *text;
		int wanted;
	} cases[] = {
		{ "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", 200 },
		{ "HTTP/1.0 404 Not Found\r\n\r\n", 404 },
		{ "HTTP/1.1 204 No Content\r\nConnection: keep-alive\r\n\r\nHTTP/1.1 500 No\r\n\r\n", 204 },
		{ "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n", 302 },
		{ "HTTP/1.1 200 OK\r\n", -EPROTO },
		{ "HTTP/1.1 100 Continue\r\n\r\n", -EPROTO },
		{ "", -EPROTO },
		{ "220 smtp.example.com ESMTP\r\n", -EPROTO },
		{ "GET / HTTP/1.1\r\n\r\n", -EPROTO },
		{ "HTTP/1.1 abc\r\n\r\n", -EPROTO },
		{ "HTTP/1.1 200 OK\r\nBad Header\r\n\r\n", -EPROTO },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(feed(cases[i].text, 4096), cases[i].wanted);
		assert_int_equal(feed(cases[i].text, 1), cases[i].wanted);
	}
}

/* A header, or interim answers, without end. */
static void test_bounds(void **state _unused_)
{
	static const char *const repeated[] = { "X-Header: value\r\n", "HTTP/1.1 100 Continue\r\n\r\n" };
	struct http_answer answer;

	for (size_t i = 0; i < ARRAY_SIZE(repeated); i++) {
		size_t sent = 0;
		int r;
		http_answer_init(&answer);
		assert_int_equal(http_answer_feed(&answer, "HTTP/1.1 100 Continue\r\n", 23), 0);
		if (i == 1)
			assert_int_equal(http_answer_feed(&answer, "\r\n", 2), 0);
		do {
			r = http_answer_feed(&answer, repeated[i], strlen(repeated[i]));
			sent += strlen(repeated[i]);
		} while (r == 0);
		assert_int_equal(r, -EMSGSIZE);
		assert_true(sent <= HTTP_ANSWER_MAX);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_bounds),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
