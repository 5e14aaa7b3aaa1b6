/* SPDX-License-Identifier: Apache-2.0 */
/* session.logs: reading a session's output and following it. */
#include "unit.h"

#include "fake_host.h"

static int setup(void **state)
{
	*state = host_new();
	host_start(*state);
	return 0;
}

static int teardown(void **state)
{
	host_free(*state);
	return 0;
}

static const char *logged(const struct conn *conn, size_t i)
{
	return json_path(json_array_get(json_object_get(conn_notification(conn, i), "entries"), 0), "text");
}

static void test_follow(void **state)
{
	struct fake_host *host = *state;
	struct conn *conn = conn_new();

	json_decref(host_create(host, "plain", "one"));
	fake_print(host_session(host, "one"), "before\n");
	struct call *call = call_new(host, conn, json_pack("{s:s, s:b}", "session", "one", "follow", 1));
	host_answer(host, call, method_session_logs);
	assert_int_equal(json_array_size(json_object_get(call->result, "entries")), 1);
	call_free(call);
	host_idle(host, 5);
	assert_int_equal(host_session(host, "one")->n_watches, 1);
	fake_print(host_session(host, "one"), "while\n");
	/* A session that cries wolf is asked no more often. */
	for (int i = 0; i < 100; i++) {
		struct init_plain grew = { 0 };
		msg_init(&grew.header, INIT_EV_OUTPUT, 0, sizeof(grew));
		assert_int_equal(msg_send(host_session(host, "one")->init, &grew.header, NULL, 0), 0);
	}
	host_idle(host, 30);
	assert_true(host_session(host, "one")->n_watches <= 2);
	assert_int_equal(json_array_size(conn->notifications), 1);
	check_string(json_array_get(conn->notifications, 0), "method", "log");
	assert_string_equal(logged(conn, 0), "while\n");
	check_string(conn_notification(conn, 0), "session", "one");
	fake_print(host_session(host, "one"), "last\n");
	json_decref(
		host_ok(host, method_session_stop, json_pack("{s:s, s:i}", "session", "one", "grace_seconds", 0)));
	assert_int_equal(json_array_size(conn->notifications), 2);
	assert_string_equal(logged(conn, 1), "last\n");
	assert_true(json_is_true(json_object_get(conn_notification(conn, 1), "ended")));
	conn_end(conn);
}

/* An init that says it has news, but does not answer when it is asked for them, is not asked again and again. */
static void test_follow_a_liar(void **state)
{
	struct fake_host *host = *state;
	struct conn *conn = conn_new();
	struct init_plain grew = { 0 };

	host->deaf_watch = true;
	json_decref(host_create(host, "plain", "one"));
	struct call *call = call_new(host, conn, json_pack("{s:s, s:b}", "session", "one", "follow", 1));
	host_answer(host, call, method_session_logs);
	call_free(call);
	msg_init(&grew.header, INIT_EV_OUTPUT, 0, sizeof(grew));
	for (int i = 0; i < 20; i++) {
		assert_int_equal(msg_send(host_session(host, "one")->init, &grew.header, NULL, 0), 0);
		host_idle(host, 3);
	}
	assert_int_equal(host_session(host, "one")->n_watches, 1);
	conn_end(conn);
}

static void test_followers(void **state)
{
	struct fake_host *host = *state;
	struct conn *conns[17];

	json_decref(host_create(host, "plain", "one"));
	for (size_t i = 0; i < ARRAY_SIZE(conns); i++) {
		conns[i] = conn_new();
		struct call *call = call_new(host, conns[i], json_pack("{s:s, s:b}", "session", "one", "follow", 1));
		method_session_logs(call);
		assert_int_equal(call->result != NULL, i < 16);
		call_free(call);
	}
	/* One goes away: there is room again, and who asks twice takes one place. */
	conn_end(conns[0]);
	for (int i = 0; i < 2; i++) {
		struct call *call = call_new(host, conns[16], json_pack("{s:s, s:b}", "session", "one", "follow", 1));
		method_session_logs(call);
		assert_non_null(call->result);
		call_free(call);
	}
	fake_print(host_session(host, "one"), "to all\n");
	host_idle(host, 40);
	for (size_t i = 1; i < ARRAY_SIZE(conns); i++) {
		assert_int_equal(json_array_size(conns[i]->notifications), 1);
		conn_end(conns[i]);
	}
}

static void test_logs_since(void **state)
{
	struct fake_host *host = *state;

	json_decref(host_create(host, "plain", "one"));
	fake_print(host_session(host, "one"), "first\n");
	json_t *logs = host_ok(host, method_session_logs, json_pack("{s:s}", "session", "one"));
	json_int_t next = json_integer_value(json_object_get(logs, "next"));
	json_decref(logs);
	fake_print(host_session(host, "one"), "second\n");
	logs = host_ok(host, method_session_logs, json_pack("{s:s, s:I}", "session", "one", "since", next));
	check_string(json_array_get(json_object_get(logs, "entries"), 0), "text", "second\n");
	json_decref(logs);
	host_refused(host, method_session_logs, json_pack("{s:s, s:i}", "session", "one", "since", 5),
		E_INVALID_PARAMS, "since", "next");
	/* After a restart the output of what ended before it is gone. */
	json_decref(host_ok(host, method_session_stop, json_pack("{s:s}", "session", "one")));
	host_stop(host);
	host_start(host);
	host_refused(
		host, method_session_logs, json_pack("{s:s}", "session", "one"), E_UNAVAILABLE, "", "no longer kept");
}

int main(void)
{
	/* clang-format off */
	const struct CMUnitTest tests[] = {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
		TEST(test_follow), TEST(test_follow_a_liar), TEST(test_followers), TEST(test_logs_since),
	};
	/* clang-format on */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
