/* SPDX-License-Identifier: Apache-2.0 */
/* How long sessions last: what may be asked for, what is refused, and that the end comes, with its reason, on time. */
#include "unit.h"

#include "fake_host.h"

#include <stdio.h>

static int setup(void **state)
{
	struct fake_host *host = host_new();

	host->templates[0].max_ttl_ns = 60 * NS_PER_SEC;
	host->templates[0].ttl_ns = 30 * NS_PER_SEC;
	host_start(host);
	*state = host;
	return 0;
}

static int teardown(void **state)
{
	host_free(*state);
	return 0;
}

static json_t *with_ttl(json_t *ttl)
{
	return json_pack("{s:s, s:o}", "template", "plain", "ttl_seconds", ttl);
}

static void test_maximum(void **state)
{
	struct fake_host *host = *state;

	host_refused(host, method_session_create, with_ttl(json_integer(61)), E_LIMIT, "ttl_seconds", "at most 60");
	host_refused(host, method_session_create, with_ttl(json_null()), E_LIMIT, "ttl_seconds", "at most 60");
	json_decref(host_ok(host, method_session_create, with_ttl(json_integer(60))));
	json_decref(host_create(host, "plain", "one"));
	/* From creation, however often it is extended. */
	json_decref(
		host_ok(host, method_session_extend, json_pack("{s:s, s:i}", "session", "one", "ttl_seconds", 59)));
	host_refused(host, method_session_extend, json_pack("{s:s, s:i}", "session", "one", "ttl_seconds", 61),
		E_LIMIT, "ttl_seconds", "of which 59 are left");
	host_refused(host, method_session_extend, json_pack("{s:s, s:n}", "session", "one", "ttl_seconds"), E_LIMIT,
		"ttl_seconds", "max_ttl_seconds");
	/* Over a restart, too. */
	host_idle(host, 5);
	host_crash(host);
	host_start(host);
	host_refused(host, method_session_extend, json_pack("{s:s, s:i}", "session", "one", "ttl_seconds", 60),
		E_LIMIT, "ttl_seconds", "of which 59 are left");
}

static void test_extend(void **state)
{
	struct fake_host *host = *state;

	json_decref(host_create(host, "tcp", "one"));
	struct call *call = host_error(host, method_session_extend, json_pack("{s:s}", "session", "one"));
	assert_int_equal(call->kind, E_INVALID_PARAMS);
	call_free(call);
	json_t *session = host_ok(
		host, method_session_extend, json_pack("{s:s, s:f}", "session", "one", "idle_timeout_seconds", 0.15));
	assert_non_null(json_path(session, "idle_deadline"));
	json_decref(session);
	session = host_ok(
		host, method_session_extend, json_pack("{s:s, s:n}", "session", "one", "idle_timeout_seconds"));
	assert_true(json_is_null(json_object_get(session, "idle_deadline")));
	json_decref(session);
	host_idle(host, 200);
	host_expect_state(host, "one", "ready");
	json_decref(host_ok(host, method_session_extend,
		json_pack("{s:s, s:f}", "session", "one", "idle_timeout_seconds", 0.05)));
	json_decref(host_ended(host, "one", "idle"));
	host_refused(host, method_session_extend, json_pack("{s:s, s:i}", "session", "one", "ttl_seconds", 5),
		E_INVALID_STATE, "", "ended");
}

/* The reason that session.stopping gave of the session ID, and that it came before the end. */
static const char *stopping_reason(struct conn *conn, const char *id)
{
	const char *reason = NULL;

	for (size_t i = 0; i < json_array_size(conn->notifications); i++) {
		const json_t *event = conn_notification(conn, i);
		if (!streq(json_path(event, "session"), id))
			continue;
		if (streq(json_path(event, "kind"), "session.stopping")) {
			assert_null(reason);
			reason = json_path(event, "reason");
			assert_non_null(reason);
		}
		if (streq(json_path(event, "kind"), "session.ended"))
			assert_string_equal(json_path(event, "reason"), reason);
	}
	return reason;
}

/* However it ends: also where only the supervisor's count of kills says why. */
static void test_stopping_says_why(void **state)
{
	struct fake_host *host = *state;
	struct conn *conn = conn_new();
	struct call *call = call_new(host, conn, json_object());

	host_answer(host, call, method_events_subscribe);
	call_free(call);
	for (const char *const *id =
			(const char *const[]){ "stopped", "killed", "exited", "oom", "died", "late", NULL };
		*id; id++)
		json_decref(host_create(host, "plain", *id));
	json_decref(host_ok(host, method_session_stop, json_pack("{s:s}", "session", "stopped")));
	fake_exit(host, host_session(host, "killed"), -1, 9);
	host_expect_ended(host, "killed", "exited");
	fake_exit(host, host_session(host, "exited"), 3, 0);
	host_expect_ended(host, "exited", "exited");
	host->oom_kills = 1;
	fake_exit(host, host_session(host, "oom"), -1, 9);
	host_expect_ended(host, "oom", "oom");
	host->oom_kills = 0;
	fake_die(host, host_session(host, "died"));
	host_expect_ended(host, "died", "failed");
	json_decref(
		host_ok(host, method_session_extend, json_pack("{s:s, s:f}", "session", "late", "ttl_seconds", 0.1)));
	host_expect_ended(host, "late", "expired");
	assert_string_equal(stopping_reason(conn, "stopped"), "stopped");
	assert_string_equal(stopping_reason(conn, "killed"), "exited");
	assert_string_equal(stopping_reason(conn, "exited"), "exited");
	assert_string_equal(stopping_reason(conn, "oom"), "oom");
	assert_string_equal(stopping_reason(conn, "died"), "failed");
	assert_string_equal(stopping_reason(conn, "late"), "expired");
	conn_end(conn);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_maximum, setup, teardown),
		cmocka_unit_test_setup_teardown(test_extend, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stopping_says_why, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
