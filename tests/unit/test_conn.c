/* SPDX-License-Identifier: Apache-2.0 */
/* What a client gets for what it asks. */
#include "tests/unit/api_server.h"

#include <stdio.h>
#include <sys/socket.h>

static void test_hello_and_errors(void **state _unused_)
{
	struct fixture f;
	json_t *answer;

	start(&f, &(struct options){ .is_client = true });
	struct peer peer = dial(&f);
	ask(&peer, 1, "hello", "{\"client\":\"test\"}");
	json_t *result = result_of(&peer, 1, &answer);
	assert_string_equal(json_string_value(json_object_get(result, "role")), "client");
	assert_int_equal(number(json_object_get(result, "limits"), "frame_bytes"), RPC_MAX_FRAME);
	json_decref(answer);
	ask(&peer, 2, "hello", "{\"api\":2}");
	assert_int_equal(expect_error(&peer, "unavailable"), -32011);
	ask(&peer, 3, "no.such", "");
	assert_int_equal(expect_error(&peer, NULL), RPC_METHOD_NOT_FOUND);
	ask(&peer, 4, "system.check", "");
	assert_int_equal(expect_error(&peer, "denied"), -32004);
	ask(&peer, 5, "session.wait", "{\"session\":\"s\",\"for\":\"ever\"}");
	assert_int_equal(expect_error(&peer, "invalid_params"), RPC_INVALID_PARAMS);
	ask(&peer, 6, "system.health", "[]");
	assert_int_equal(expect_error(&peer, "invalid_params"), RPC_INVALID_PARAMS);
	ask(&peer, 7, "system.health", "");
	assert_int_equal(number(result_of(&peer, 7, &answer), "active_sessions"), 2);
	json_decref(answer);
	hang_up(&peer);
	stop(&f);
}

static void test_error_details(void **state _unused_)
{
	struct fixture f;

	start(&f, &(struct options){ 0 });
	struct peer peer = dial(&f);
	ask(&peer, 1, "session.stop", "{\"session\":\"s\"}");
	json_t *answer = hear(&peer), *error = json_object_get(answer, "error"),
	       *data = json_object_get(error, "data");
	assert_int_equal(number(error, "code"), -32010);
	assert_string_equal(json_string_value(json_object_get(error, "message")), "it failed");
	assert_string_equal(json_string_value(json_object_get(data, "kind")), "failed");
	assert_true(json_is_true(json_object_get(data, "retryable")));
	assert_string_equal(json_string_value(json_object_get(data, "session")), "s\ufffd");
	assert_string_equal(json_string_value(json_object_get(data, "step")), "cgroup");
	assert_string_equal(json_string_value(json_object_get(data, "errno")), "ENOSPC");
	assert_string_equal(json_string_value(json_object_get(data, "log_tail")), "line\n");
	assert_int_equal(number(data, "retry_after_ms"), 5);
	json_decref(answer);
	hang_up(&peer);
	stop(&f);
}

static void test_discover(void **state _unused_)
{
	struct fixture f;
	json_t *answer;

	start(&f, &(struct options){ 0 });
	struct peer peer = dial(&f);
	ask(&peer, 1, "rpc.discover", "");
	json_t *methods = json_object_get(result_of(&peer, 1, &answer), "methods");
	assert_int_equal(json_array_size(methods), n_methods);
	for (size_t i = 0; i < n_methods; i++) {
		json_t *method = json_array_get(methods, i), *params = json_object_get(method, "params");
		size_t n = 0;
		assert_string_equal(json_string_value(json_object_get(method, "name")), method_table[i].name);
		while (method_table[i].params[n].name)
			n++;
		assert_int_equal(json_array_size(params), n);
	}
	json_decref(answer);
	hang_up(&peer);
	stop(&f);
}

static void test_requests_in_one_write_and_byte_by_byte(void **state _unused_)
{
	enum { N = 100 };
	struct fixture f;
	char lines[N * 80];
	size_t n = 0;

	start(&f, &(struct options){ 0 });
	struct peer peer = dial(&f);
	for (int i = 0; i < N; i++)
		n += (size_t)snprintf(lines + n, sizeof(lines) - n,
			"{\"jsonrpc\":\"2.0\",\"id\":%d,\"method\":\"session.get\",\"params\":{\"session\":\"s\"}}"
			"\r\n\n",
			i);
	say_bytes(&peer, lines, n);
	for (int i = 0; i < N; i++)
		expect_result(&peer, i);
	for (const char *p = HEALTH(5) "\n"; *p; p++)
		say_bytes(&peer, p, 1);
	expect_result(&peer, 5);
	hang_up(&peer);
	stop(&f);
}

static void test_half_closed_peer_gets_its_answers(void **state _unused_)
{
	struct fixture f;

	start(&f, &(struct options){ 0 });
	struct peer peer = dial(&f);
	/* The last line has no newline: the end of the stream ends it. */
	ask(&peer, 1, WAIT);
	say(&peer, HEALTH(2));
	shutdown(peer.fd, SHUT_WR);
	expect_result(&peer, 2);
	assert_int_equal(release(&f, NULL), 1);
	expect_result(&peer, 1);
	expect_end(&peer);
	/* A notification has no answer, but its end is the connection's, too. */
	peer = dial(&f);
	say(&peer, "{\"jsonrpc\":\"2.0\",\"method\":\"session.wait\",\"params\":{\"session\":\"s\",\"for\":\"ready\"}"
		   "}\n");
	shutdown(peer.fd, SHUT_WR);
	/* Rounds enough for the server to have seen both. */
	struct peer other = dial(&f);
	for (int i = 0; i < 4; i++) {
		ask(&other, i, "system.health", "");
		expect_result(&other, i);
	}
	assert_int_equal(release(&f, NULL), 1);
	expect_end(&peer);
	hang_up(&other);
	stop(&f);
}

static void test_requests_of_a_peer_that_left_are_done(void **state _unused_)
{
	struct fixture f;
	int orphans = 0, n = 0;

	start(&f, &(struct options){ 0 });
	struct peer peer = dial(&f);
	ask(&peer, 1, WAIT);
	ask(&peer, 2, WAIT);
	hang_up(&peer);
	while (n < 2) {
		int some;
		n += release(&f, &some);
		orphans += some;
	}
	assert_int_equal(n, 2);
	assert_true(orphans <= 2);
	stop(&f);
}

static void test_batch_is_answered_as_one(void **state _unused_)
{
	struct fixture f;

	start(&f, &(struct options){ 0 });
	struct peer peer = dial(&f);
	say(&peer, "[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"session.wait\","
		   "\"params\":{\"session\":\"s\",\"for\":\"ended\"}}," SILENT_HEALTH "," HEALTH(2) ",7]\n");
	/* Another request is not held up by the batch. */
	ask(&peer, 3, "system.health", "");
	expect_result(&peer, 3);
	assert_int_equal(release(&f, NULL), 1);
	json_t *answers = hear(&peer);
	assert_true(json_is_array(answers));
	assert_int_equal(json_array_size(answers), 3);
	json_decref(answers);
	hang_up(&peer);
	stop(&f);
}

static void test_notifications_are_silent(void **state _unused_)
{
	struct fixture f;

	start(&f, &(struct options){ 0 });
	struct peer peer = dial(&f);
	say(&peer, "[" SILENT_HEALTH ",{\"jsonrpc\":\"2.0\",\"method\":\"no.such\"}]\n" SILENT_HEALTH "\n");
	say(&peer, "{\"jsonrpc\":\"2.0\",\"method\":\"system.health\",\"params\":{\"bad\":1}}\n");
	ask(&peer, 1, "system.health", "");
	expect_result(&peer, 1);
	hang_up(&peer);
	stop(&f);
}

static void test_line_too_long(void **state _unused_)
{
	_free_ char *junk = malloc(3 * RPC_MAX_FRAME);
	struct fixture f;

	memset(junk, 'x', 3 * RPC_MAX_FRAME);
	start(&f, &(struct options){ 0 });
	struct peer peer = dial(&f);
	say_bytes(&peer, junk, 3 * RPC_MAX_FRAME);
	assert_int_equal(expect_error(&peer, NULL), RPC_PARSE_ERROR);
	say(&peer, "\n");
	ask(&peer, 1, "system.health", "");
	expect_result(&peer, 1);
	/* The longest line that is taken: a request padded with blanks. */
	memset(junk, ' ', RPC_MAX_FRAME);
	memcpy(junk, HEALTH(2), strlen(HEALTH(2)));
	junk[RPC_MAX_FRAME] = '\n';
	say_bytes(&peer, junk, RPC_MAX_FRAME + 1);
	expect_result(&peer, 2);
	junk[RPC_MAX_FRAME] = ' ';
	junk[RPC_MAX_FRAME + 1] = '\n';
	say_bytes(&peer, junk, RPC_MAX_FRAME + 2);
	assert_int_equal(expect_error(&peer, NULL), RPC_PARSE_ERROR);
	/* Cut off by the end of the stream. */
	say_bytes(&peer, junk, RPC_MAX_FRAME + 1);
	shutdown(peer.fd, SHUT_WR);
	assert_int_equal(expect_error(&peer, NULL), RPC_PARSE_ERROR);
	expect_end(&peer);
	stop(&f);
}

static void test_without_a_role(void **state _unused_)
{
	struct fixture f;

	start(&f, &(struct options){ .without_access = true, .refuse_ms = 60000 });
	struct peer peer = dial(&f);
	/* What it says in the meantime neither counts nor keeps it from reading why. */
	say_maybe(&peer, HEALTH(1) "\n");
	assert_int_equal(expect_error(&peer, "denied"), -32004);
	expect_end(&peer);
	stop(&f);
}

static void test_hook_taken_out(void **state _unused_)
{
	struct fixture f;
	json_t *answer;

	start(&f, &(struct options){ 0 });
	struct peer peer = dial(&f), other = dial(&f);
	ask(&peer, 1, "events.subscribe", "{}");
	expect_result(&peer, 1);
	/* Half-closed and with a hook: notifications go on. */
	shutdown(peer.fd, SHUT_WR);
	ask(&other, 1, "session.extend", "{\"session\":\"s\",\"ttl_seconds\":3}");
	expect_result(&other, 1);
	for (int i = 0; i < 3; i++) {
		answer = hear(&peer);
		assert_int_equal(number(json_object_get(answer, "params"), "seq"), i);
		json_decref(answer);
	}
	ask(&other, 2, "session.pause", "{\"session\":\"s\"}");
	expect_result(&other, 2);
	expect_end(&peer);
	ask(&other, 3, "session.extend", "{\"session\":\"s\",\"ttl_seconds\":3}");
	assert_int_equal(json_integer_value(result_of(&other, 3, &answer)), 0);
	json_decref(answer);
	hang_up(&other);
	stop(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hello_and_errors),
		cmocka_unit_test(test_error_details),
		cmocka_unit_test(test_discover),
		cmocka_unit_test(test_requests_in_one_write_and_byte_by_byte),
		cmocka_unit_test(test_half_closed_peer_gets_its_answers),
		cmocka_unit_test(test_requests_of_a_peer_that_left_are_done),
		cmocka_unit_test(test_batch_is_answered_as_one),
		cmocka_unit_test(test_notifications_are_silent),
		cmocka_unit_test(test_line_too_long),
		cmocka_unit_test(test_without_a_role),
		cmocka_unit_test(test_hook_taken_out),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
