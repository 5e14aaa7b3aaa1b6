/* SPDX-License-Identifier: Apache-2.0 */
/* Limits of a session that runs. */
#include "unit.h"

#include "fake_host.h"

#include "control/lifecycle.h"

static int setup(void **state)
{
	*state = host_new();
	host_start(*state);
	json_decref(host_create(*state, "plain", "one"));
	return 0;
}

static int teardown(void **state)
{
	host_free(*state);
	return 0;
}

static json_t *change(const char *name, json_t *value)
{
	return json_pack("{s:s, s:{s:o}}", "session", "one", "limits", name, value);
}

static json_int_t value_of(const json_t *session, const char *name)
{
	return json_integer_value(
		json_object_get(json_object_get(json_object_get(session, "limits"), name), "value"));
}

static void test_set(void **state)
{
	struct fake_host *host = *state;
	struct conn *conn = conn_new();
	struct call *call = call_new(host, conn, json_pack("{s:[s]}", "kinds", "session.limits"));

	method_events_subscribe(call);
	call_free(call);
	json_t *session = host_ok(host, method_session_set_limits, change("pids", json_integer(40)));
	assert_int_equal(value_of(session, "pids"), 40);
	assert_int_equal(value_of(session, "memory_bytes"), 512 << 20);
	assert_int_equal(host_session(host, "one")->limits.value[LIMIT_PIDS], 40);
	json_decref(session);
	host_idle(host, 5);
	assert_int_equal(json_array_size(conn->notifications), 1);
	assert_int_equal(value_of(conn_notification(conn, 0), "pids"), 40);
	conn_end(conn);
	/* Up again, to what the template allows, and known after a crash. */
	json_decref(host_ok(host, method_session_set_limits, change("pids", json_integer(512))));
	host_idle(host, 5);
	host_crash(host);
	host_start(host);
	session = host_get(host, "one");
	assert_int_equal(value_of(session, "pids"), 512);
	json_decref(session);
}

static void test_refusals(void **state)
{
	struct fake_host *host = *state;

	host_refused(
		host, method_session_set_limits, change("pids", json_integer(513)), E_LIMIT, "limits.pids", "512");
	host_refused(host, method_session_set_limits, change("cpus", json_real(0.001)), E_INVALID_PARAMS,
		"limits.cpus", "from 0.01");
	host_refused(host, method_session_set_limits, change("root_bytes", json_integer(1 << 20)), E_INVALID_PARAMS,
		"limits.root_bytes", "cannot be changed");
	host_refused(host, method_session_set_limits, json_pack("{s:s, s:{}}", "session", "one", "limits"),
		E_INVALID_PARAMS, "limits", "names none");
	/* What the template does not set is not for the taking. */
	host_refused(host, method_session_set_limits, change("cpu_weight", json_integer(101)), E_LIMIT,
		"limits.cpu_weight", "100");
	host_refused(host, method_session_set_limits, change("memory_low_bytes", json_integer(1)), E_LIMIT,
		"limits.memory_low_bytes", "at most 0");
	assert_int_equal(host_session(host, "one")->limits.value[LIMIT_PIDS], 512);
}

static void test_supervisor_fails(void **state)
{
	struct fake_host *host = *state;

	err_set(&host->limits_error, -EBUSY, "cgroup", "memory.max");
	struct call *call = host_error(host, method_session_set_limits, change("pids", json_integer(40)));
	assert_int_equal(call->kind, E_FAILED);
	assert_string_equal(call->step, "cgroup");
	assert_int_equal(call->err_no, EBUSY);
	call_free(call);
}

/* One change at a time, and the end of the session ends the wait. */
static void test_meets_the_end(void **state)
{
	struct fake_host *host = *state;
	struct conn *conn = conn_new();
	struct call *first = call_new(host, conn, change("pids", json_integer(40)));

	host->hold_limits = true;
	method_session_set_limits(first);
	struct call *second = host_error(host, method_session_set_limits, change("pids", json_integer(41)));
	assert_int_equal(second->kind, E_BUSY);
	assert_true(second->retryable);
	call_free(second);
	assert_false(first->answered);
	json_decref(host_ok(host, method_session_stop, json_pack("{s:s}", "session", "one")));
	assert_true(first->answered);
	assert_int_equal(first->kind, E_INVALID_STATE);
	call_free(first);
	conn_end(conn);
	struct call *late = host_error(host, method_session_set_limits, change("pids", json_integer(40)));
	assert_int_equal(late->kind, E_INVALID_STATE);
	call_free(late);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_set, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
		cmocka_unit_test_setup_teardown(test_supervisor_fails, setup, teardown),
		cmocka_unit_test_setup_teardown(test_meets_the_end, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
