/* SPDX-License-Identifier: Apache-2.0 */
/* exec.run against an init of the test's own: what it is asked, and what becomes of its answers. */
#include "unit.h"

#include "fake_host.h"

#include <signal.h>

#include "control/exec.h"

static int setup(void **state)
{
	struct fake_host *host = host_new();

	host_start(host);
	json_decref(host_create(host, "plain", "one"));
	*state = host;
	return 0;
}

static int teardown(void **state)
{
	host_free(*state);
	return 0;
}

static json_t *params(void)
{
	return json_pack("{s:s, s:[s, s]}", "session", "one", "command", "echo", "hello");
}

static json_t *with(const char *name, json_t *value)
{
	json_t *all = params();

	json_object_set_new(all, name, value);
	return all;
}

static void expect_number(const json_t *json, const char *name, int wanted)
{
	assert_true(json_is_integer(json_object_get(json, name)));
	assert_int_equal(json_integer_value(json_object_get(json, name)), wanted);
}

static bool is_asked(void *arg)
{
	const struct fake_session *session = host_session(arg, "one");

	return session->n_execs > 0;
}

/* ---- the usual course ---- */

static void test_result(void **state)
{
	struct fake_host *host = *state;

	host->exec_output = "out\nmore\n";
	host->exec_errors = "err\n";
	host->exec_exit_code = 3;
	json_t *result = host_ok(host, method_exec_run, params());
	expect_number(result, "exit_code", 3);
	assert_true(json_is_null(json_object_get(result, "signal")));
	check_string(result, "stdout", "out\nmore\n");
	check_string(result, "stderr", "err\n");
	assert_int_equal(json_array_size(json_object_get(result, "logs")), 3);
	assert_true(json_is_false(json_object_get(result, "truncated")));
	assert_true(json_real_value(json_object_get(result, "elapsed_seconds")) >= 0);
	json_decref(result);
}

static void test_what_init_is_asked(void **state)
{
	struct fake_host *host = *state;
	struct fake_session *session = host_session(host, "one");

	json_decref(host_ok(host, method_exec_run, params()));
	assert_string_equal(session->exec_argv, "echo hello ");
	assert_string_equal(session->exec_envp, "PATH=/bin LANG=C ");
	assert_string_equal(session->exec_input, "");
	assert_int_equal(session->exec_header.uid, 1000);
	assert_string_equal(session->exec_header.user, "");
	assert_string_equal(session->exec_header.cwd, "/");
	assert_int_equal(session->exec_header.flags, 0);
	json_t *all = with("stdin", json_string("for you"));
	json_object_set_new(all, "env", json_pack("{s:s, s:s}", "LANG", "de", "A", "b=c"));
	json_object_set_new(all, "cwd", json_string("/srv"));
	json_object_set_new(all, "user", json_string("daemon:0"));
	json_decref(host_ok(host, method_exec_run, all));
	assert_string_equal(session->exec_envp, "PATH=/bin LANG=de A=b=c ");
	assert_string_equal(session->exec_input, "for you");
	assert_string_equal(session->exec_header.user, "daemon:0");
	assert_string_equal(session->exec_header.cwd, "/srv");
}

static void test_merged(void **state)
{
	struct fake_host *host = *state;

	host->exec_output = "out\n";
	host->exec_errors = "err\n";
	json_t *result = host_ok(host, method_exec_run, with("merge", json_true()));
	check_string(result, "stdout", "out\nerr\n");
	check_string(result, "stderr", "");
	json_decref(result);
}

static void test_output_has_bounds(void **state)
{
	struct fake_host *host = *state;

	host->exec_output = "0123456789";
	json_t *result = host_ok(host, method_exec_run, with("max_output_bytes", json_integer(4)));
	check_string(result, "stdout", "0123");
	assert_true(json_is_true(json_object_get(result, "truncated")));
	expect_number(result, "dropped_bytes", 6);
	json_decref(result);
	/* Where the connection has no room, nothing is kept. */
	host->reserve_max = 10;
	result = host_ok(host, method_exec_run, params());
	check_string(result, "stdout", "");
	expect_number(result, "dropped_bytes", 10);
	json_decref(result);
}

/* ---- refusals ---- */

static void test_refusals(void **state)
{
	struct fake_host *host = *state;

	host_refused(host, method_exec_run, json_pack("{s:s, s:[s]}", "session", "two", "command", "x"), E_NOT_FOUND,
		"", "no session two");
	host_refused(host, method_exec_run, with("cwd", json_string("tmp")), E_INVALID_PARAMS, "cwd", "absolute");
	host_refused(host, method_exec_run, with("env", json_pack("{s:s}", "A=B", "c")), E_INVALID_PARAMS, "env",
		"no name");
	char *text = calloc(1, SPEC_MAX_BYTES + 1);
	memset(text, 'x', SPEC_MAX_BYTES);
	host_refused(host, method_exec_run, with("command", json_pack("[s]", text)), E_LIMIT, "command", "longer");
	free(text);
	json_decref(host_ok(host, method_session_pause, json_pack("{s:s}", "session", "one")));
	host_refused(host, method_exec_run, params(), E_INVALID_STATE, "", "paused");
	json_decref(host_ok(host, method_session_stop, json_pack("{s:s}", "session", "one")));
	host_refused(host, method_exec_run, params(), E_INVALID_STATE, "", "ended");
}

static void test_not_started(void **state)
{
	struct fake_host *host = *state;

	err_set(&host->exec_error, -ENOENT, "exec", "%s", "nonesuch");
	struct call *call = host_error(host, method_exec_run, params());
	assert_int_equal(call->kind, E_FAILED);
	assert_string_equal(call->step, "exec");
	assert_int_equal(call->err_no, ENOENT);
	assert_false(call->retryable);
	call_free(call);
	err_set(&host->exec_error, -EAGAIN, "spawn", "%s", "fork");
	call = host_error(host, method_exec_run, params());
	assert_true(call->retryable);
	call_free(call);
}

static void test_bound_per_session(void **state)
{
	struct fake_host *host = *state;
	struct call *calls[EXECS_PER_SESSION];
	struct conn *conns[EXECS_PER_SESSION];

	host->silent_exec = true;
	for (size_t i = 0; i < EXECS_PER_SESSION; i++) {
		conns[i] = conn_new();
		calls[i] = call_new(host, conns[i], params());
		method_exec_run(calls[i]);
		host_idle(host, 1);
	}
	host_refused(host, method_exec_run, params(), E_LIMIT, "", "256 commands");
	for (size_t i = 0; i < EXECS_PER_SESSION; i++) {
		conn_end(conns[i]);
		host_idle(host, 1);
		assert_true(calls[i]->answered);
		call_free(calls[i]);
	}
	host->silent_exec = false;
	json_decref(host_ok(host, method_exec_run, params()));
}

/* ---- ends of other kinds ---- */

static void test_timeout(void **state)
{
	struct fake_host *host = *state;

	host->silent_exec = true;
	host->exec_output = "so far\n";
	struct call *call = host_error(host, method_exec_run, with("timeout_seconds", json_real(0.02)));
	assert_int_equal(call->kind, E_TIMEOUT);
	check_string(call->partial, "stdout", "so far\n");
	assert_true(json_is_null(json_object_get(call->partial, "exit_code")));
	assert_int_equal(host_session(host, "one")->last_exec_signal, SIGKILL);
	call_free(call);
}

static void test_connection_ends(void **state)
{
	struct fake_host *host = *state;
	struct conn *conn = conn_new();

	host->silent_exec = true;
	struct call *call = call_new(host, conn, params());
	method_exec_run(call);
	host_run(host, is_asked, host);
	conn_end(conn);
	host_idle(host, 10);
	assert_true(call->answered);
	assert_int_equal(host_session(host, "one")->last_exec_signal, SIGKILL);
	call_free(call);
}

static void test_session_ends(void **state)
{
	struct fake_host *host = *state;
	struct conn *conn = conn_new();

	host->silent_exec = true;
	host->exec_output = "so far\n";
	struct call *call = call_new(host, conn, params());
	method_exec_run(call);
	host_run(host, is_asked, host);
	json_decref(host_ok(host, method_session_stop, json_pack("{s:s}", "session", "one")));
	host_answer(host, call, NULL);
	assert_int_equal(call->kind, E_INVALID_STATE);
	check_string(call->partial, "stdout", "so far\n");
	call_free(call);
	conn_end(conn);
}

/* While a command runs the session is in use, and for the whole idle time after it. */
static void test_counts_as_use(void **state)
{
	struct fake_host *host = *state;
	struct conn *conn = conn_new();

	json_decref(host_ok(host, method_session_create,
		json_pack("{s:s, s:s, s:f}", "template", "plain", "id", "idle", "idle_timeout_seconds", 0.1)));
	host->silent_exec = true;
	struct call *call = call_new(host, conn, json_pack("{s:s, s:[s]}", "session", "idle", "command", "x"));
	method_exec_run(call);
	host_idle(host, 250);
	host_expect_state(host, "idle", "ready");
	conn_end(conn);
	call_free(call);
	host_expect_ended(host, "idle", "idle");
}

/* ---- spawners ---- */

static void run_well(struct fake_host *host, int code)
{
	host->exec_exit_code = code;
	json_t *result = host_ok(host, method_exec_run, params());
	expect_number(result, "exit_code", code);
	json_decref(result);
	/* What a spawner says is heard before the next. */
	host_idle(host, 5);
}

static void test_spawner(void **state)
{
	struct fake_host *host = *state;
	struct fake_session *session = host_session(host, "one");

	host->spawner_fault = SPAWNER_WELL;
	run_well(host, 1);
	for (int i = 0; i < 5; i++)
		run_well(host, i);
	assert_int_equal(session->n_execs, 1);
	assert_int_equal(session->n_orders, 5);
	assert_int_equal(session->n_spawners_ended, 0);
}

/* One that lies costs its order, and ends; init starts what comes then. */
static void test_spawners_that_lie(void **state)
{
	static const enum spawner_fault lies[] = { SPAWNER_RUBBISH, SPAWNER_WRONG_OP, SPAWNER_WRONG_ID, SPAWNER_HANGS_UP,
		SPAWNER_DIES };
	struct fake_host *host = *state;
	struct fake_session *session = host_session(host, "one");

	for (unsigned i = 0; i < ARRAY_SIZE(lies); i++) {
		host->spawner_fault = lies[i];
		run_well(host, 0);
		assert_int_equal(session->n_execs, 1 + i);
		struct call *call = host_error(host, method_exec_run, params());
		assert_int_equal(call->kind, E_FAILED);
		assert_string_equal(call->step, "spawn");
		assert_true(call->retryable);
		call_free(call);
		assert_int_equal(session->n_orders, 1 + i);
		assert_int_equal(session->n_spawners_ended, 1 + i);
	}
	host_expect_state(host, "one", "ready");
}

static void test_spawners_that_say_too_much(void **state)
{
	struct fake_host *host = *state;
	struct fake_session *session = host_session(host, "one");

	host->spawner_fault = SPAWNER_UNASKED;
	run_well(host, 2);
	host_idle(host, 10);
	assert_int_equal(session->n_spawners_ended, 1);
	host->spawner_fault = SPAWNER_TWICE;
	run_well(host, 3);
	run_well(host, 4);
	host_idle(host, 10);
	assert_int_equal(session->n_orders, 1);
	assert_int_equal(session->n_spawners_ended, 2);
	host->spawner_fault = SPAWNER_NONE;
	run_well(host, 5);
	host_expect_state(host, "one", "ready");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_result, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_init_is_asked, setup, teardown),
		cmocka_unit_test_setup_teardown(test_merged, setup, teardown),
		cmocka_unit_test_setup_teardown(test_output_has_bounds, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
		cmocka_unit_test_setup_teardown(test_not_started, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bound_per_session, setup, teardown),
		cmocka_unit_test_setup_teardown(test_timeout, setup, teardown),
		cmocka_unit_test_setup_teardown(test_connection_ends, setup, teardown),
		cmocka_unit_test_setup_teardown(test_session_ends, setup, teardown),
		cmocka_unit_test_setup_teardown(test_counts_as_use, setup, teardown),
		cmocka_unit_test_setup_teardown(test_spawner, setup, teardown),
		cmocka_unit_test_setup_teardown(test_spawners_that_lie, setup, teardown),
		cmocka_unit_test_setup_teardown(test_spawners_that_say_too_much, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
