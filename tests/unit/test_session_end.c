/* SPDX-License-Identifier: Apache-2.0 */
/* How sessions end: asked to, by themselves, by their deadlines, broken or hostile. */
#include "unit.h"

#include "fake_host.h"

#include <signal.h>

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

static void test_stop(void **state)
{
	struct fake_host *host = *state;

	json_decref(host_create(host, "plain", "one"));
	struct fake_session *fake = host_session(host, "one");
	fake_print(fake, "bye\n");
	json_t *session = host_ok(host, method_session_stop, json_pack("{s:s}", "session", "one"));
	check_string(session, "state", "ended");
	check_string(session, "end.reason", "stopped");
	assert_int_equal(json_integer_value(json_object_get(json_object_get(session, "end"), "exit_code")), 0);
	assert_null(json_path(session, "end.log_tail"));
	json_decref(session);
	assert_null(host->sessions);
	/* Its record and its output are still there, until it is removed. */
	json_t *logs = host_ok(host, method_session_logs, json_pack("{s:s}", "session", "one"));
	assert_string_equal(json_path(json_array_get(json_object_get(logs, "entries"), 0), "text"), "bye\n");
	assert_true(json_is_true(json_object_get(logs, "ended")));
	json_decref(logs);
	struct call *call =
		host_error(host, method_session_create, json_pack("{s:s, s:s}", "template", "plain", "id", "one"));
	assert_int_equal(call->kind, E_ALREADY_EXISTS);
	call_free(call);
	json_decref(host_ok(host, method_session_remove, json_pack("{s:s}", "session", "one")));
	host_expect_forgotten(host, "one");
	json_decref(host_create(host, "plain", "one"));
}

static void test_stop_by_template(void **state)
{
	struct fake_host *host = *state;

	host->templates[0].stop_signal = SIGINT;
	host->deaf_stop = true;
	json_decref(host_create(host, "plain", "signal"));
	host->templates[2].stop_kind = STOP_BY_CDP;
	json_decref(host_create(host, "tcp", "cdp"));
	struct conn *conn = conn_new();
	struct call *one = call_new(host, conn, json_pack("{s:s}", "session", "signal"));
	struct call *two = call_new(host, conn, json_pack("{s:s}", "session", "cdp"));
	method_session_stop(one);
	method_session_stop(two);
	host_idle(host, 10);
	assert_int_equal(host_session(host, "signal")->last_stop_method, STOP_SIGNAL);
	assert_int_equal(host_session(host, "signal")->last_stop_signal, SIGINT);
	assert_int_equal(host_session(host, "cdp")->last_stop_method, STOP_CDP);
	assert_int_equal(host->n_kills, 0);
	/* They do not listen: after the grace they are killed. */
	host_answer(host, one, NULL);
	host_answer(host, two, NULL);
	assert_int_equal(host->n_kills, 2);
	call_free(one);
	call_free(two);
	conn_end(conn);
}

static void test_stop_without_grace(void **state)
{
	struct fake_host *host = *state;

	json_decref(host_create(host, "plain", "one"));
	json_decref(
		host_ok(host, method_session_stop, json_pack("{s:s, s:i}", "session", "one", "grace_seconds", 0)));
	assert_int_equal(host->n_kills, 1);
}

static void test_remove_while_stopping(void **state)
{
	struct fake_host *host = *state;
	struct conn *conn = conn_new();

	host->deaf_stop = true;
	json_decref(host_create(host, "plain", "one"));
	struct call *stop = call_new(host, conn, json_pack("{s:s, s:i}", "session", "one", "grace_seconds", 1000));
	method_session_stop(stop);
	host_idle(host, 5);
	assert_false(stop->answered);
	host_expect_state(host, "one", "stopping");
	json_t *session = host_ok(host, method_session_remove, json_pack("{s:s}", "session", "one"));
	check_string(session, "state", "ended");
	json_decref(session);
	assert_true(stop->answered && stop->result);
	call_free(stop);
	conn_end(conn);
	host_expect_forgotten(host, "one");
}

static void test_stop_before_it_was_asked_for(void **state)
{
	struct fake_host *host = *state;
	struct conn *conn = conn_new();
	struct call *make = call_new(host, conn, json_pack("{s:s, s:s}", "template", "plain", "id", "one"));
	struct call *stop = call_new(host, conn, json_pack("{s:s}", "session", "one"));

	method_session_create(make);
	method_session_stop(stop);
	host_idle(host, 5);
	assert_true(stop->answered && stop->result);
	assert_true(make->answered && !make->result);
	assert_int_equal(make->kind, E_INVALID_STATE);
	assert_int_equal(host->n_creates, 0);
	host_expect_forgotten(host, "one");
	call_free(make);
	call_free(stop);
	conn_end(conn);
}

static void test_stop_while_it_is_made(void **state)
{
	struct fake_host *host = *state;
	struct conn *conn = conn_new();
	struct call *make = call_new(host, conn, json_pack("{s:s, s:s}", "template", "plain", "id", "one"));
	struct call *stop = call_new(host, conn, json_pack("{s:s}", "session", "one"));

	host->hold_create = true;
	host->hold_gone = true;
	method_session_create(make);
	host_run(host, host_has_session, host);
	method_session_stop(stop);
	host_idle(host, 5);
	assert_int_equal(host->n_kills, 1);
	assert_false(stop->answered);
	fake_refuse_held(host);
	host_answer(host, stop, NULL);
	host_answer(host, make, NULL);
	assert_non_null(stop->result);
	assert_int_equal(make->kind, E_INVALID_STATE);
	call_free(make);
	call_free(stop);
	conn_end(conn);
	host_expect_forgotten(host, "one");
}

static void test_workload_exits(void **state)
{
	struct fake_host *host = *state;

	json_decref(host_create(host, "plain", "code"));
	fake_print(host_session(host, "code"), "oops\n");
	fake_exit(host, host_session(host, "code"), 5, 0);
	json_t *session = host_ended(host, "code", "exited");
	assert_int_equal(json_integer_value(json_object_get(json_object_get(session, "end"), "exit_code")), 5);
	check_string(session, "end.log_tail", "oops\n");
	json_decref(session);

	json_decref(host_create(host, "plain", "signal"));
	fake_exit(host, host_session(host, "signal"), -1, SIGSEGV);
	session = host_ended(host, "signal", "exited");
	assert_int_equal(json_integer_value(json_object_get(json_object_get(session, "end"), "signal")), SIGSEGV);
	assert_null(json_object_get(json_object_get(session, "end"), "exit_code"));
	json_decref(session);
}

static void test_out_of_memory(void **state)
{
	struct fake_host *host = *state;

	host->oom_kills = 3;
	json_decref(host_create(host, "plain", "one"));
	fake_die(host, host_session(host, "one"));
	host_expect_ended(host, "one", "oom");
	/* One that exits has not been killed with all the others. */
	json_decref(host_create(host, "plain", "two"));
	fake_exit(host, host_session(host, "two"), 1, 0);
	host_expect_ended(host, "two", "exited");
	json_decref(host_create(host, "plain", "three"));
	close_fdp(&host_session(host, "three")->init);
	fake_exit(host, host_session(host, "three"), 1, 0);
	fake_die(host, host_session(host, "three"));
	host_expect_ended(host, "three", "exited");
}

static void test_workload_is_gone_at_once(void **state)
{
	struct fake_host *host = *state;

	host->workload_gone = true;
	json_decref(host_ok(host, method_session_create,
		json_pack("{s:s, s:s, s:s}", "template", "plain", "id", "one", "wait", "created")));
	json_t *session = host_ended(host, "one", "exited");
	assert_int_equal(json_integer_value(json_object_get(json_object_get(session, "end"), "exit_code")), 4);
	json_decref(session);
}

static void test_init_dies(void **state)
{
	struct fake_host *host = *state;

	json_decref(host_create(host, "plain", "one"));
	fake_die(host, host_session(host, "one"));
	json_t *session = host_ended(host, "one", "failed");
	check_string(session, "end.step", "init");
	json_decref(session);
}

static void test_hostile_init(void **state)
{
	static const enum init_fault faults[] = { FAULT_RUBBISH, FAULT_UNASKED, FAULT_BAD_EXIT, FAULT_TWO_HELLOS,
		FAULT_CLOSE };
	struct fake_host *host = *state;

	json_decref(host_create(host, "plain", "neighbour"));
	for (size_t i = 0; i < ARRAY_SIZE(faults); i++) {
		host->fault = faults[i];
		json_decref(host_ok(host, method_session_create,
			json_pack("{s:s, s:s, s:s}", "template", "plain", "id", "bad", "wait", "created")));
		json_t *session = host_ended(host, "bad", "failed");
		check_string(session, "end.step", "init");
		const char *error = json_path(session, "end.errno");
		assert_true(faults[i] == FAULT_CLOSE ? !error : error && streq(error, "EPROTO"));
		json_decref(session);
		json_decref(host_ok(host, method_session_remove, json_pack("{s:s}", "session", "bad")));
		host_expect_state(host, "neighbour", "ready");
		assert_non_null(host_session(host, "neighbour"));
	}
}

static void test_init_sends_no_socket(void **state)
{
	struct fake_host *host = *state;

	host->fault = FAULT_PIPE;
	struct call *call = host_error(host, method_session_create, json_pack("{s:s}", "template", "http"));
	assert_int_equal(call->kind, E_TIMEOUT);
	assert_non_null(strstr(call->message, "no such socket"));
	call_free(call);
}

static void test_kill_hangs(void **state)
{
	struct fake_host *host = *state;

	host->hold_gone = true;
	json_decref(host_create(host, "plain", "one"));
	struct conn *conn = conn_new();
	struct call *call = call_new(host, conn, json_pack("{s:s, s:i}", "session", "one", "grace_seconds", 0));
	method_session_stop(call);
	host_idle(host, 20);
	assert_false(call->answered);
	host_expect_state(host, "one", "stopping");
	/* The rest is given back at last. */
	fake_gone(host, host_session(host, "one"));
	host_answer(host, call, NULL);
	assert_non_null(call->result);
	call_free(call);
	conn_end(conn);
}

static void test_supervisor_ends(void **state)
{
	struct fake_host *host = *state;

	close_fdp(&host->super);
	assert_int_equal(loop_run(&host->control.loop), 0);
}

static void test_registry_full_at_the_end(void **state)
{
	struct fake_host *host = *state;

	json_decref(host_create(host, "plain", "one"));
	host_idle(host, 5);
	host_disk_full(host, true);
	/* It ends all the same, and whoever waits is told. */
	json_t *session = host_ok(host, method_session_stop, json_pack("{s:s}", "session", "one"));
	host_disk_full(host, false);
	check_string(session, "end.reason", "stopped");
	json_decref(session);
	assert_null(host->sessions);
}

/* ---- deadlines ---- */

static void test_expires(void **state)
{
	struct fake_host *host = *state;
	uint64_t begun = boottime_ns();

	json_t *session = host_ok(host, method_session_create,
		json_pack("{s:s, s:s, s:f}", "template", "plain", "id", "short", "ttl_seconds", 0.05));
	assert_non_null(json_path(session, "expires_at"));
	json_decref(session);
	host_expect_ended(host, "short", "expired");
	assert_true(boottime_ns() - begun >= 50 * NS_PER_MS);
	assert_true(boottime_ns() - begun < 1000 * NS_PER_MS);
}

static void test_extend(void **state)
{
	struct fake_host *host = *state;

	json_decref(host_ok(host, method_session_create,
		json_pack("{s:s, s:s, s:f}", "template", "plain", "id", "longer", "ttl_seconds", 0.05)));
	json_decref(host_ok(
		host, method_session_extend, json_pack("{s:s, s:f}", "session", "longer", "ttl_seconds", 100.0)));
	host_idle(host, 100);
	host_expect_state(host, "longer", "ready");
	json_decref(host_ok(
		host, method_session_extend, json_pack("{s:s, s:f}", "session", "longer", "ttl_seconds", 0.01)));
	host_expect_ended(host, "longer", "expired");
	struct call *call = host_error(
		host, method_session_extend, json_pack("{s:s, s:f}", "session", "longer", "ttl_seconds", 1.0));
	assert_int_equal(call->kind, E_INVALID_STATE);
	call_free(call);
}

static void test_idle(void **state)
{
	struct fake_host *host = *state;
	uint64_t begun = boottime_ns();

	json_decref(host_ok(host, method_session_create,
		json_pack("{s:s, s:s, s:f}", "template", "plain", "id", "idle", "idle_timeout_seconds", 0.06)));
	for (int i = 0; i < 3; i++) {
		host_idle(host, 40);
		json_decref(host_ok(host, method_session_heartbeat, json_pack("{s:s}", "session", "idle")));
	}
	host_expect_ended(host, "idle", "idle");
	assert_true(boottime_ns() - begun >= 180 * NS_PER_MS);
}

/* A session that is long in coming is not idle meanwhile. */
static void test_not_idle_before_it_is_ready(void **state)
{
	struct fake_host *host = *state;

	host->refuse_connects = 40;
	json_t *session = host_ok(host, method_session_create,
		json_pack("{s:s, s:s, s:f}", "template", "http", "id", "slow", "idle_timeout_seconds", 0.04));
	check_string(session, "state", "ready");
	json_decref(session);
	host_expect_ended(host, "slow", "idle");
}

int main(void)
{
	/* clang-format off */
	const struct CMUnitTest tests[] = {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
		TEST(test_stop), TEST(test_stop_by_template), TEST(test_stop_without_grace),
		TEST(test_remove_while_stopping), TEST(test_stop_before_it_was_asked_for),
		TEST(test_stop_while_it_is_made), TEST(test_workload_exits), TEST(test_out_of_memory),
		TEST(test_workload_is_gone_at_once), TEST(test_init_dies), TEST(test_hostile_init),
		TEST(test_init_sends_no_socket), TEST(test_kill_hangs), TEST(test_supervisor_ends),
		TEST(test_registry_full_at_the_end), TEST(test_expires), TEST(test_extend), TEST(test_idle),
		TEST(test_not_idle_before_it_is_ready),
	};
	/* clang-format on */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
