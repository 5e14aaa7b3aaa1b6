/* SPDX-License-Identifier: Apache-2.0 */
/* Streams: tokens and the socket where they are shown; and descriptors that go with an answer. */
#include "tests/unit/api_server.h"

#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "control/stream.h"

/* Asks for a stream and fills LINE with what is to be said for it. */
static void get_line(struct peer *peer, char line[static 64])
{
	json_t *answer;

	ask(peer, 1, "session.get", "{\"session\":\"s\"}");
	json_t *result = result_of(peer, 1, &answer);
	assert_int_equal(number(result, "expires_in_seconds"), STREAM_SECONDS);
	const char *token = json_string_value(json_object_get(result, "token"));
	assert_int_equal(strspn(token, "0123456789abcdef"), STREAM_TOKEN_SIZE - 1);
	snprintf(line, 64, "{\"token\":\"%s\"}\n", token);
	json_decref(answer);
}

/* The stream's bytes until its end. */
static void expect_bytes(struct peer *peer, const char *text)
{
	char bytes[64] = "";
	size_t n = 0;

	for (ssize_t r; n < sizeof(bytes) - 1 && (r = recv(peer->fd, bytes + n, sizeof(bytes) - 1 - n, 0)) > 0;)
		n += (size_t)r;
	assert_string_equal(bytes, text);
	hang_up(peer);
}

static void expect_refusal(struct peer *stream, const char *kind)
{
	expect_error(stream, kind);
	expect_end(stream);
}

static int stat_of(struct peer *peer, const char *member)
{
	json_t *answer;

	ask(peer, 2, "session.stats", "{\"session\":\"s\"}");
	int n = number(result_of(peer, 2, &answer), member);
	json_decref(answer);
	return n;
}

static void test_not_a_byte_is_eaten(void **state _unused_)
{
	struct fixture f;
	char line[64], text[128];

	start(&f, &(struct options){ 0 });
	struct peer peer = dial(&f);
	get_line(&peer, line);
	struct peer stream = dial_stream(&f);
	snprintf(text, sizeof(text), "%sabc\ndef", line);
	say(&stream, text);
	expect_bytes(&stream, "abc\ndef.");
	assert_int_equal(stat_of(&peer, "attached"), 1);
	hang_up(&peer);
	stop(&f);
}

static void test_line_in_pieces(void **state _unused_)
{
	struct fixture f;
	char line[64];

	start(&f, &(struct options){ 0 });
	struct peer peer = dial(&f), stream = dial_stream(&f);
	get_line(&peer, line);
	for (size_t i = 0; line[i]; i++) {
		say_bytes(&stream, &line[i], 1);
		/* What the server has by then it has looked at. */
		stat_of(&peer, "attached");
	}
	expect_bytes(&stream, ".");
	hang_up(&peer);
	stop(&f);
}

static void test_token_works_once(void **state _unused_)
{
	struct fixture f;
	char line[64];

	start(&f, &(struct options){ 0 });
	struct peer peer = dial(&f);
	get_line(&peer, line);
	struct peer stream = dial_stream(&f), again = dial_stream(&f);
	say(&stream, line);
	expect_bytes(&stream, ".");
	say(&again, line);
	expect_refusal(&again, "not_found");
	hang_up(&peer);
	stop(&f);
}

static void test_token_expires(void **state _unused_)
{
	struct fixture f;
	char line[64];

	start(&f, &(struct options){ .token_ms = 1 });
	struct peer peer = dial(&f), stream = dial_stream(&f);
	get_line(&peer, line);
	while (stat_of(&peer, "gone") == 0)
		continue;
	say(&stream, line);
	expect_refusal(&stream, "not_found");
	hang_up(&peer);
	stop(&f);
}

static void test_first_lines_that_are_none(void **state _unused_)
{
	static const struct {
		const char *line, *kind;
	} rows[] = {
		{ "\n", "invalid_params" },
		{ "GET / HTTP/1.1\r\n", "invalid_params" },
		{ "{\"token\":1}\n", "invalid_params" },
		{ "{\"token\":\"0\"}\n", "invalid_params" },
		{ "[\"token\"]\n", "invalid_params" },
		{ "{\"token\":\"00000000000000000000000000000000\",\"more\":1}\n", "invalid_params" },
		{ "{\"token\":\"0000000000000000000000000000000\\u0000\"}\n", "invalid_params" },
		{ "{\"token\":\"00000000000000000000000000000000\"}\n", "not_found" },
	};
	char longest[STREAM_MAX_LINE + 1];
	struct fixture f;

	start(&f, &(struct options){ 0 });
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct peer stream = dial_stream(&f);
		say(&stream, rows[i].line);
		expect_refusal(&stream, rows[i].kind);
	}
	struct peer stream = dial_stream(&f);
	memset(longest, ' ', sizeof(longest));
	say_bytes(&stream, longest, STREAM_MAX_LINE);
	expect_refusal(&stream, "invalid_params");
	stop(&f);
}

static void test_silent_connection(void **state _unused_)
{
	struct fixture f;

	start(&f, &(struct options){ .line_ms = 20 });
	struct peer peer = dial(&f);
	int before = server_fds(&peer);
	struct peer stream = dial_stream(&f);
	say(&stream, "{\"tok");
	expect_refusal(&stream, "timeout");
	assert_int_equal(server_fds(&peer), before);
	hang_up(&peer);
	stop(&f);
}

static void test_bound_on_silent_connections(void **state _unused_)
{
	struct peer streams[STREAM_MAX_PENDING_PER_UID];
	struct fixture f;
	char line[64];

	start(&f, &(struct options){ 0 });
	struct peer peer = dial(&f);
	for (size_t i = 0; i < ARRAY_SIZE(streams); i++)
		streams[i] = dial_stream(&f);
	struct peer late = dial_stream(&f);
	expect_refusal(&late, "busy");
	for (size_t i = 1; i < ARRAY_SIZE(streams); i++)
		hang_up(&streams[i]);
	/* One that was there before still has its turn. */
	get_line(&peer, line);
	say(&streams[0], line);
	expect_bytes(&streams[0], ".");
	hang_up(&peer);
	stop(&f);
}

static void test_bound_on_tokens(void **state _unused_)
{
	struct fixture f;
	char line[64];

	start(&f, &(struct options){ 0 });
	struct peer peer = dial(&f);
	for (int i = 0; i < STREAM_MAX_OFFERS_PER_UID; i++)
		get_line(&peer, line);
	ask(&peer, 1, "session.get", "{\"session\":\"s\"}");
	assert_int_equal(expect_error(&peer, "busy"), -32005);
	struct peer stream = dial_stream(&f);
	say(&stream, line);
	expect_bytes(&stream, ".");
	get_line(&peer, line);
	hang_up(&peer);
	stop(&f);
}

/* ---- descriptors with an answer ---- */

/* Reads once, as much as comes; the descriptors, at most MAX, go to FDS. */
static size_t receive_fds(struct peer *peer, int *fds, size_t max)
{
	union {
		struct cmsghdr header;
		uint8_t bytes[CMSG_SPACE(CALL_MAX_FDS * sizeof(int))];
	} control;
	struct iovec iov;
	size_t n = 0;

	peer->bytes = realloc(peer->bytes, peer->n + 65536);
	iov = (struct iovec){ .iov_base = peer->bytes + peer->n, .iov_len = 65536 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
	};
	ssize_t got = recvmsg(peer->fd, &msg, MSG_CMSG_CLOEXEC);
	assert_true(got > 0);
	peer->n += (size_t)got;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		assert_true(n <= max);
		memcpy(fds, CMSG_DATA(c), n * sizeof(int));
	}
	return n;
}

static void test_descriptors_with_an_answer(void **state _unused_)
{
	int fds[CALL_MAX_FDS];
	struct fixture f;
	char c;

	start(&f, &(struct options){ 0 });
	struct peer peer = dial(&f);
	int before = server_fds(&peer);
	ask(&peer, 1, "session.list", "{\"limit\":3}");
	assert_int_equal(receive_fds(&peer, fds, 3), 3);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(read(fds[i], &c, 1), 1);
		assert_int_equal(c, '0' + i);
		close(fds[i]);
	}
	expect_result(&peer, 1);
	assert_int_equal(server_fds(&peer), before);
	hang_up(&peer);
	stop(&f);
}

/* Long answers fill the socket before they are read: each one's descriptors come with it, not with one before. */
static void test_descriptors_behind_a_queue(void **state _unused_)
{
	enum { N = 8 };
	size_t came[N] = { 0 }, n_came = 0;
	int fds[CALL_MAX_FDS];
	struct fixture f;

	start(&f, &(struct options){ .max_queued = 64 << 20 });
	struct peer peer = dial(&f), other = dial(&f);
	int before = server_fds(&other);
	for (int i = 0; i < N; i++)
		ask(&peer, i, "session.list", "{\"limit\":2,\"cursor\":\"300000\"}");
	for (int answers = 0; answers < N;) {
		size_t n = receive_fds(&peer, fds, 2);
		for (size_t i = 0; i < n; i++)
			close(fds[i]);
		if (n > 0) {
			/* With the first bytes of an answer: all before it have been read, or are in the buffer. */
			assert_int_equal(n, 2);
			came[n_came++] = (size_t)answers;
		}
		while (memchr(peer.bytes, '\n', peer.n))
			expect_result(&peer, answers++);
	}
	assert_int_equal(n_came, N);
	for (size_t i = 0; i < N; i++)
		assert_true(came[i] == i || (i > 0 && came[i] == i - 1));
	assert_int_equal(server_fds(&other), before);
	hang_up(&peer);
	hang_up(&other);
	stop(&f);
}

static void test_descriptors_that_nobody_gets(void **state _unused_)
{
	struct fixture f;

	start(&f, &(struct options){ .max_queued = 64 << 20 });
	struct peer other = dial(&f);
	int before = server_fds(&other);
	struct peer peer = dial(&f);
	say(&peer, "[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"session.list\",\"params\":{\"limit\":1}}]\n");
	json_t *batch = hear(&peer);
	const json_t *error = json_object_get(json_array_get(batch, 0), "error");
	assert_string_equal(json_string_value(json_object_get(json_object_get(error, "data"), "path")), "via");
	json_decref(batch);
	for (int i = 0; i < 4; i++)
		ask(&peer, i, "session.list", "{\"limit\":8,\"cursor\":\"1000000\"}");
	hang_up(&peer);
	while (server_fds(&other) > before)
		continue;
	hang_up(&other);
	stop(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_not_a_byte_is_eaten),
		cmocka_unit_test(test_line_in_pieces),
		cmocka_unit_test(test_token_works_once),
		cmocka_unit_test(test_token_expires),
		cmocka_unit_test(test_first_lines_that_are_none),
		cmocka_unit_test(test_silent_connection),
		cmocka_unit_test(test_bound_on_silent_connections),
		cmocka_unit_test(test_bound_on_tokens),
		cmocka_unit_test(test_descriptors_with_an_answer),
		cmocka_unit_test(test_descriptors_behind_a_queue),
		cmocka_unit_test(test_descriptors_that_nobody_gets),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
