/* SPDX-License-Identifier: Apache-2.0 */
/* What a client cannot do to the server, and what the others notice of it. */
#include "tests/unit/api_server.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define LOGS(bytes)                                                  \
	"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"session.logs\"," \
	"\"params\":{\"session\":\"s\",\"max_bytes\":" #bytes "}}"

static void test_bound_on_connections(void **state _unused_)
{
	struct fixture f;

	for (int by_uid = 0; by_uid < 2; by_uid++) {
		start(&f, by_uid ? &(struct options){ .max_per_uid = 3 } : &(struct options){ .max_connections = 3 });
		struct peer peers[3];
		for (int i = 0; i < 3; i++) {
			peers[i] = dial(&f);
			ask(&peers[i], i, "system.health", "");
			expect_result(&peers[i], i);
		}
		struct peer late = dial(&f);
		assert_int_equal(expect_error(&late, "busy"), -32005);
		expect_end(&late);
		hang_up(&peers[0]);
		/* The end of one is seen before the next is accepted, or it is not: ask until it is. */
		for (bool served = false; !served;) {
			late = dial(&f);
			say_maybe(&late, HEALTH(1) "\n");
			json_t *answer = hear(&late);
			served = json_object_get(answer, "result");
			json_decref(answer);
			hang_up(&late);
		}
		hang_up(&peers[1]);
		hang_up(&peers[2]);
		stop(&f);
	}
}

/* Those who are refused are waited for, so that they can read why; but not for any number of them. */
static void test_many_refusals_at_once(void **state _unused_)
{
	enum { N = MAX_REFUSED + 8 };
	struct fixture f;
	struct peer peers[N];

	start(&f, &(struct options){ .max_per_uid = 1, .refuse_ms = 60000 });
	struct peer inside = dial(&f);
	int before = server_fds(&inside);
	for (int i = 0; i < N; i++)
		peers[i] = dial(&f);
	for (int i = 0; i < N; i++)
		assert_int_equal(expect_error(&peers[i], "busy"), -32005);
	assert_int_equal(server_fds(&inside), before + MAX_REFUSED);
	for (int i = 0; i < N; i++)
		expect_end(&peers[i]);
	for (int tries = 0; server_fds(&inside) > before; tries++)
		assert_true(tries < 1000);
	hang_up(&inside);
	stop(&f);
}

static void test_bound_on_requests_of_a_connection(void **state _unused_)
{
	struct fixture f;

	start(&f, &(struct options){ .max_in_flight = 4 });
	struct peer peer = dial(&f);
	for (int i = 0; i < 5; i++)
		ask(&peer, i, WAIT);
	assert_int_equal(expect_error(&peer, "busy"), -32005);
	assert_int_equal(release(&f, NULL), 4);
	for (int i = 0; i < 4; i++)
		expect_result(&peer, i);
	ask(&peer, 9, "system.health", "");
	expect_result(&peer, 9);
	hang_up(&peer);
	stop(&f);
}

/* Requests count for their user even when the connection that brought them is gone. */
static void test_bound_on_requests_of_a_user(void **state _unused_)
{
	enum { MAX = 2 };
	struct fixture f;
	struct peer peer;

	start(&f, &(struct options){ .max_in_flight = MAX });
	for (int i = 0; i < USER_SHARE; i++) {
		peer = dial(&f);
		for (int j = 0; j < MAX; j++)
			ask(&peer, j, WAIT);
		/* An answer to a third shows that the first two have been taken. */
		ask(&peer, 7, WAIT);
		expect_error(&peer, "busy");
		hang_up(&peer);
	}
	peer = dial(&f);
	ask(&peer, 1, WAIT);
	assert_int_equal(expect_error(&peer, "busy"), -32005);
	/* session.heartbeat does not get through either: sixteen calls are not answered. */
	ask(&peer, 2, "session.heartbeat", "{\"session\":\"s\"}");
	assert_int_equal(expect_error(&peer, "busy"), -32005);
	hang_up(&peer);
	stop(&f);
}

/* The bytes of all connections of a user count together, unfinished requests as well as answers not taken. */
static void test_bound_on_bytes_of_a_user(void **state _unused_)
{
	enum { MAX = 64 * 1024, N = 16, EACH = USER_SHARE * MAX / N };
	_free_ char *junk = malloc(EACH);
	struct fixture f;
	struct peer peers[N];

	memset(junk, 'x', EACH);
	start(&f, &(struct options){ .max_queued = MAX });
	for (int i = 0; i < N; i++) {
		peers[i] = dial(&f);
		ask(&peers[i], i, "system.health", "");
		expect_result(&peers[i], i);
	}
	/* Room is made in powers of two: half of the connections fill it. */
	int refused = 0;
	for (int i = 0; i < N; i++) {
		for (int j = 0; j < EACH; j += 1024)
			send(peers[i].fd, junk, 1024, MSG_NOSIGNAL);
		struct pollfd readable = { .fd = peers[i].fd, .events = POLLIN };
		if (poll(&readable, 1, 100) == 1) {
			assert_int_equal(expect_error(&peers[i], "busy"), -32005);
			refused++;
		}
	}
	assert_true(refused >= 1 && refused < N);
	for (int i = 0; i < N; i++)
		hang_up(&peers[i]);
	stop(&f);
}

/* So do requests that wait, with their parameters. */
static void test_bound_on_bytes_of_requests(void **state _unused_)
{
	enum { MAX = 64 * 1024, LINE = 60 * 1024, N = USER_SHARE * MAX / LINE + 2 };
	static const char request[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"session.wait\","
				      "\"params\":{\"session\":\"s\",\"for\":\"ended\"}}";
	_free_ char *line = malloc(LINE);
	struct fixture f;
	size_t n = 0;

	memset(line, ' ', LINE);
	memcpy(line, request, sizeof(request) - 1);
	line[LINE - 1] = '\n';
	start(&f, &(struct options){ .max_queued = MAX });
	struct peer peer = dial(&f);
	struct pollfd readable = { .fd = peer.fd, .events = POLLIN };
	for (; n < N && poll(&readable, 1, 20) == 0; n++)
		for (size_t i = 0; i < LINE; i += 1024)
			send(peer.fd, line + i, 1024, MSG_NOSIGNAL);
	assert_in_range(n, 2, N - 1);
	assert_int_equal(expect_error(&peer, "busy"), -32005);
	hang_up(&peer);
	stop(&f);
}

/* A batch keeps its answers until the last is there, in the bounds of a queue. */
static void test_bound_on_bytes_of_a_batch(void **state _unused_)
{
	static const char batch[] =
		"[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"session.wait\","
		"\"params\":{\"session\":\"s\",\"for\":\"ended\"}}," LOGS(40000) "," LOGS(40000) "]\n";
	struct fixture f;

	start(&f, &(struct options){ .max_queued = 64 * 1024 });
	struct peer peer = dial(&f), other = dial(&f);
	say(&peer, batch);
	expect_end(&peer);
	ask(&other, 1, "system.health", "");
	expect_result(&other, 1);
	hang_up(&other);
	stop(&f);
}

/* Answers that nobody takes, on many connections: some are dropped, and then there is room again. */
static void test_bound_on_bytes_of_answers(void **state _unused_)
{
	enum { N = 4 };
	struct fixture f;
	struct peer peers[N];
	int dropped = 0;

	start(&f, &(struct options){ .max_queued = 256 * 1024 });
	for (int i = 0; i < N; i++) {
		peers[i] = dial(&f);
		ask(&peers[i], 1, "session.logs", "{\"session\":\"s\",\"max_bytes\":524288}");
		struct pollfd there = { .fd = peers[i].fd, .events = POLLIN };
		assert_int_equal(poll(&there, 1, 5000), 1);
		dropped += (there.revents & POLLHUP) != 0;
	}
	assert_in_range(dropped, 1, N - 1);
	for (int i = 0; i < N; i++)
		hang_up(&peers[i]);
	for (bool served = false; !served;) {
		struct peer peer = dial(&f);
		say_maybe(&peer, HEALTH(1) "\n");
		json_t *answer = hear(&peer);
		served = json_object_get(answer, "result");
		json_decref(answer);
		hang_up(&peer);
	}
	stop(&f);
}

/* Answers that grow while they are waited for stop growing where they would cost the connection. */
static void test_answers_keep_to_what_is_reserved(void **state _unused_)
{
	enum { MAX = 256 * 1024, N = 8 };
	struct fixture f;
	json_t *answer;

	start(&f, &(struct options){ .max_queued = MAX });
	struct peer peer = dial(&f);
	for (int round = 0; round < 3; round++) {
		size_t sum = 0;
		for (int i = 0; i < N; i++)
			ask(&peer, i, "exec.run",
				"{\"session\":\"s\",\"command\":[\"x\"],\"max_output_bytes\":100000}");
		ask(&peer, 99, "system.health", "");
		expect_result(&peer, 99);
		assert_int_equal(release(&f, NULL), N);
		for (int i = 0; i < N; i++) {
			const json_t *text = result_of(&peer, i, &answer);
			if (i == 0)
				assert_in_range(json_string_length(text), 100000, 100000 + 1024);
			sum += json_string_length(text);
			json_decref(answer);
		}
		assert_in_range(sum, MAX / 2, MAX - MAX / 4);
	}
	hang_up(&peer);
	stop(&f);
}

/* What ends is no longer counted: much more than the bound goes through, in turn. */
static void test_accounts_are_settled(void **state _unused_)
{
	enum { MAX = 64 * 1024, LINE = 50 * 1024, ROUNDS = 16 * USER_SHARE };
	static char line[LINE];
	struct fixture f;
	json_t *answer;

	start(&f, &(struct options){ .max_queued = MAX });
	struct peer inside = dial(&f);
	memset(line, ' ', sizeof(line));
	line[LINE - 1] = '\n';
	for (int i = 0; i < ROUNDS; i++) {
		struct peer peer = dial(&f);
		memcpy(line, HEALTH(1), strlen(HEALTH(1)));
		say_bytes(&peer, line, sizeof(line));
		expect_result(&peer, 1);
		say(&peer, "[" LOGS(20000) "," LOGS(20000) "]\n");
		answer = hear(&peer);
		assert_int_equal(json_array_size(answer), 2);
		json_decref(answer);
		/* What it holds at its end is the least that a buffer has. */
		ask(&peer, 2, "system.health", "");
		expect_result(&peer, 2);
		hang_up(&peer);
		ask(&inside, i, "system.health", "");
		expect_result(&inside, i);
	}
	hang_up(&inside);
	stop(&f);
}

static void test_slow_reader_is_dropped(void **state _unused_)
{
	struct fixture f;
	json_t *answer;

	start(&f, &(struct options){ .max_queued = 64 * 1024 });
	struct peer slow = dial(&f), other = dial(&f);
	ask(&slow, 1, "events.subscribe", "{}");
	expect_result(&slow, 1);
	ask(&other, 1, "session.extend", "{\"session\":\"s\",\"ttl_seconds\":2000}");
	expect_result(&other, 1);
	/* What is asked next is answered after the end has been worked off, or the one after that. */
	int closed = 0;
	for (int id = 2; closed == 0; id++) {
		ask(&other, id, "session.extend", "{\"session\":\"s\",\"ttl_seconds\":1}");
		closed = (int)json_integer_value(result_of(&other, id, &answer));
		json_decref(answer);
	}
	assert_int_equal(closed, 1);
	int n = 0;
	for (; (answer = hear(&slow)); n++)
		json_decref(answer);
	assert_in_range(n, 1, 1999);
	hang_up(&slow);
	hang_up(&other);
	stop(&f);
}

static void test_peer_that_stops_reading_is_dropped_in_time(void **state _unused_)
{
	struct fixture f;

	start(&f, &(struct options){ .stall_ms = 100 });
	struct peer peer = dial(&f);
	for (int i = 0; i < 6; i++)
		ask(&peer, i, "session.logs", "{\"session\":\"s\",\"max_bytes\":262144}");
	/* Longer than a socket holds. The server hangs up on what it cannot send, which the peer sees without reading. */
	struct pollfd hung_up = { .fd = peer.fd, .events = 0 };
	assert_int_equal(poll(&hung_up, 1, 5000), 1);
	assert_true(hung_up.revents & POLLHUP);
	hang_up(&peer);
	stop(&f);
}

static void test_peer_that_does_not_finish_a_line_is_dropped(void **state _unused_)
{
	struct fixture f;

	start(&f, &(struct options){ .stall_ms = 100 });
	struct peer peer = dial(&f), idle = dial(&f);
	ask(&idle, 1, "system.health", "");
	expect_result(&idle, 1);
	say(&peer, "{\"jsonrpc\":");
	expect_end(&peer);
	/* One that says nothing at all is welcome to stay. */
	ask(&idle, 2, "system.health", "");
	expect_result(&idle, 2);
	hang_up(&idle);
	stop(&f);
}

/* A peer that asks and asks without reading is slowed down, not dropped; all is answered once it reads. */
static void test_requests_wait_for_a_full_socket(void **state _unused_)
{
	static const char line[] = LOGS(262144) "\n";
	struct fixture f;
	size_t sent = 0, answers = 0;
	json_t *answer;

	/* Room for little more than what makes the server wait: if it went on, the connection would be dropped. */
	start(&f, &(struct options){ .max_queued = 400 * 1024 });
	struct peer peer = dial(&f);
	for (;;) {
		struct pollfd writable = { .fd = peer.fd, .events = POLLOUT };
		if (poll(&writable, 1, 200) == 0)
			break;
		ssize_t n = send(peer.fd, line + sent % (sizeof(line) - 1),
			sizeof(line) - 1 - sent % (sizeof(line) - 1), MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n > 0)
			sent += (size_t)n;
	}
	shutdown(peer.fd, SHUT_WR);
	while ((answer = hear(&peer))) {
		answers += json_object_get(answer, "result") != NULL;
		json_decref(answer);
	}
	assert_int_equal(answers, sent / (sizeof(line) - 1));
	hang_up(&peer);
	stop(&f);
}

static void send_descriptors(const struct peer *peer, const char *text, int fd, size_t n)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(16 * sizeof(int))];
	} control = { 0 };
	struct iovec iov = { .iov_base = (char *)(uintptr_t)text, .iov_len = strlen(text) };
	struct msghdr msg = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = CMSG_SPACE(n * sizeof(int)) };
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	*cmsg = (struct cmsghdr){
		.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(n * sizeof(int))
	};
	for (size_t i = 0; i < n; i++)
		memcpy(CMSG_DATA(cmsg) + i * sizeof(int), &fd, sizeof(fd));
	assert_return_code(sendmsg(peer->fd, &msg, MSG_NOSIGNAL), errno);
}

static void test_descriptors_are_not_taken(void **state _unused_)
{
	struct fixture f;
	int pair[2];

	start(&f, &(struct options){ 0 });
	struct peer peer = dial(&f), other = dial(&f);
	int before = server_fds(&other);
	assert_return_code(pipe(pair), errno);
	for (int i = 0; i < MAX_DESCRIPTOR_MESSAGES; i++) {
		send_descriptors(&peer, HEALTH(1) "\n", pair[1], 16);
		expect_result(&peer, 1);
	}
	assert_int_equal(server_fds(&other), before);
	/* Nobody else has the writing end: ours is the last. */
	close(pair[1]);
	char byte;
	assert_int_equal(read(pair[0], &byte, 1), 0);
	send_descriptors(&peer, "\n", pair[0], 1);
	assert_int_equal(expect_error(&peer, "limit"), -32006);
	expect_end(&peer);
	close(pair[0]);
	hang_up(&other);
	stop(&f);
}

static void test_out_of_descriptors(void **state _unused_)
{
	struct fixture f;
	struct peer peers[64];
	size_t n = 0;
	json_t *answer = NULL;

	start(&f, &(struct options){ .max_fds = 24 });
	/* Each is served until one is told that there is no room. */
	for (bool full = false; !full; n++) {
		assert_true(n < ARRAY_SIZE(peers));
		peers[n] = dial(&f);
		say_maybe(&peers[n], HEALTH(1) "\n");
		answer = hear(&peers[n]);
		full = json_object_get(answer, "error");
		if (!full)
			json_decref(answer);
	}
	json_t *data = json_object_get(json_object_get(answer, "error"), "data");
	assert_string_equal(json_string_value(json_object_get(data, "kind")), "busy");
	json_decref(answer);
	/* Those inside go on; and when one leaves, another finds room. */
	ask(&peers[0], 2, "system.health", "");
	expect_result(&peers[0], 2);
	for (size_t i = 0; i < n; i++)
		hang_up(&peers[i]);
	struct peer peer = dial(&f);
	ask(&peer, 1, "system.health", "");
	expect_result(&peer, 1);
	hang_up(&peer);
	stop(&f);
}

/* One floods with rubbish and reads nothing of what it is told; the other is served all the same. */
static void test_flood_of_rubbish(void **state _unused_)
{
	static const char rubbish[] = "{]\n[[[[\n\xff\xfe\n{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"x\"}\n[]"
				      "\n\"\n7\n{\"a\":1,\"a\":2}\n";
	enum { LINES = 8, ROUNDS = 2500 };
	struct fixture f;
	uint64_t worst = 0;

	start(&f, &(struct options){ 0 });
	pid_t flooder = fork();
	if (flooder == 0) {
		struct peer peer = dial(&f);
		size_t heard = 0, sent = 0;
		fcntl(peer.fd, F_SETFL, O_NONBLOCK);
		while (heard < (size_t)LINES * ROUNDS) {
			static char sink[65536];
			size_t at = sent % (sizeof(rubbish) - 1);
			struct pollfd ready = { .fd = peer.fd, .events = POLLIN };
			if (sent < (sizeof(rubbish) - 1) * ROUNDS)
				ready.events |= POLLOUT;
			poll(&ready, 1, -1);
			ssize_t n =
				ready.revents & POLLOUT ? write(peer.fd, rubbish + at, sizeof(rubbish) - 1 - at) : 0;
			sent += n > 0 ? (size_t)n : 0;
			n = ready.revents & POLLIN ? read(peer.fd, sink, sizeof(sink)) : 0;
			for (ssize_t i = 0; i < n; i++)
				heard += sink[i] == '\n';
			if (ready.revents & POLLHUP)
				_exit(1);
		}
		_exit(0);
	}
	struct peer peer = dial(&f);
	int status;
	while (waitpid(flooder, &status, WNOHANG) == 0) {
		uint64_t before = monotonic_ns();
		ask(&peer, 1, "system.health", "");
		expect_result(&peer, 1);
		uint64_t took = monotonic_ns() - before;
		worst = took > worst ? took : worst;
	}
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	assert_true(worst < NS_PER_SEC);
	hang_up(&peer);
	stop(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bound_on_connections),
		cmocka_unit_test(test_many_refusals_at_once),
		cmocka_unit_test(test_bound_on_requests_of_a_connection),
		cmocka_unit_test(test_bound_on_requests_of_a_user),
		cmocka_unit_test(test_bound_on_bytes_of_a_user),
		cmocka_unit_test(test_bound_on_bytes_of_requests),
		cmocka_unit_test(test_bound_on_bytes_of_a_batch),
		cmocka_unit_test(test_bound_on_bytes_of_answers),
		cmocka_unit_test(test_answers_keep_to_what_is_reserved),
		cmocka_unit_test(test_accounts_are_settled),
		cmocka_unit_test(test_slow_reader_is_dropped),
		cmocka_unit_test(test_peer_that_stops_reading_is_dropped_in_time),
		cmocka_unit_test(test_peer_that_does_not_finish_a_line_is_dropped),
		cmocka_unit_test(test_requests_wait_for_a_full_socket),
		cmocka_unit_test(test_descriptors_are_not_taken),
		cmocka_unit_test(test_out_of_descriptors),
		cmocka_unit_test(test_flood_of_rubbish),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
