/* SPDX-License-Identifier: Apache-2.0 */
/* Liveness: when a session is unhealthy, and what becomes of it. */
#include "unit.h"

#include "fake_host.h"

#include <stdio.h>

static char *command[] = { (char *)(uintptr_t) "check", NULL };

/* The template "plain" asks every few milliseconds, and gives up after three failures. */
static int setup(void **state)
{
	struct fake_host *host = host_new();

	host->templates[0].liveness = (struct config_liveness){
		.probe = { .kind = PROBE_EXEC,
			.command = command,
			.interval_ns = 5 * NS_PER_MS,
			.timeout_ns = 50 * NS_PER_MS },
		.initial_delay_ns = 10 * NS_PER_MS,
		.failure_threshold = 3,
		.max_restarts = 2,
	};
	host_start(host);
	*state = host;
	return 0;
}

static int teardown(void **state)
{
	host_free(*state);
	return 0;
}

static struct conn *subscribe(struct fake_host *host)
{
	struct conn *conn = conn_new();
	struct call *call = call_new(host, conn, json_object());

	host_answer(host, call, method_events_subscribe);
	call_free(call);
	return conn;
}

/* The last event of KIND that CONN was sent, or NULL. */
static const json_t *event(const struct conn *conn, const char *kind)
{
	for (size_t i = json_array_size(conn->notifications); i > 0; i--) {
		const json_t *json = conn_notification(conn, i - 1);
		if (streq(json_path(json, "kind"), kind))
			return json;
	}
	return NULL;
}

static void test_healthy(void **state)
{
	struct fake_host *host = *state;

	json_decref(host_create(host, "plain", "one"));
	host_idle(host, 100);
	host_expect_state(host, "one", "ready");
	assert_in_range(host_session(host, "one")->n_execs, 3, 20);
}

static void test_ends(void **state)
{
	struct fake_host *host = *state;
	struct conn *conn = subscribe(host);

	json_decref(host_create(host, "plain", "one"));
	fake_print(host_session(host, "one"), "last words\n");
	host->exec_exit_code = 7;
	json_t *ended = host_ended(host, "one", "unhealthy");
	check_string(
		ended, "end.message", "the liveness probe failed 3 times in a row; last attempt: exec: exit code 7");
	assert_non_null(strstr(json_path(ended, "end.log_tail"), "last words"));
	json_decref(ended);
	const json_t *unhealthy = event(conn, "session.unhealthy");
	check_string(unhealthy, "action", "end");
	check_string(unhealthy, "error", "exec: exit code 7");
	assert_non_null(strstr(json_path(unhealthy, "log_tail"), "last words"));
	check_string(event(conn, "session.stopping"), "reason", "unhealthy");
	conn_end(conn);
}

/* Failures count only in a row. */
static void test_recovers(void **state)
{
	struct fake_host *host = *state;

	host->templates[0].liveness.failure_threshold = 1000;
	json_decref(host_create(host, "plain", "one"));
	host->exec_exit_code = 1;
	host_idle(host, 60);
	struct session *session = session_find(host->control.lifecycle, "one");
	assert_true(session->liveness.n_failures > 1);
	host->exec_exit_code = 0;
	host_idle(host, 30);
	assert_int_equal(session->liveness.n_failures, 0);
	host_expect_state(host, "one", "ready");
}

static void test_no_answer(void **state)
{
	struct fake_host *host = *state;

	host->templates[0].liveness.failure_threshold = 1;
	host->silent_exec = true;
	json_decref(host_create(host, "plain", "one"));
	json_t *ended = host_ended(host, "one", "unhealthy");
	assert_non_null(strstr(json_path(ended, "end.message"), "no answer within"));
	json_decref(ended);
}

static void test_not_while_paused(void **state)
{
	struct fake_host *host = *state;

	host->exec_exit_code = 1;
	host->templates[0].liveness.initial_delay_ns = 30 * NS_PER_MS;
	json_decref(host_create(host, "plain", "one"));
	json_decref(host_ok(host, method_session_pause, json_pack("{s:s}", "session", "one")));
	host_idle(host, 100);
	host_expect_state(host, "one", "paused");
	assert_int_equal(host_session(host, "one")->n_execs, 0);
	json_decref(host_ok(host, method_session_resume, json_pack("{s:s}", "session", "one")));
	host_expect_ended(host, "one", "unhealthy");
}

static bool is_restarted(void *arg)
{
	struct session *session = session_find(((struct fake_host *)arg)->control.lifecycle, "one");

	return session && session->record.n_restarts == 1 && session->record.state == SESSION_READY;
}

/* The same session, with all that is known of it, and a new workload of the same arguments. */
static void test_restarts(void **state)
{
	struct fake_host *host = *state;
	struct conn *conn = subscribe(host);

	host->templates[0].liveness.restart = true;
	json_t *before = host_ok(host, method_session_ensure,
		json_pack("{s:s, s:s, s:s, s:s, s:i, s:{s:s}, s:[s, s]}", "template", "plain", "isolation",
			"per-owner", "owner", "ann", "id", "one", "ttl_seconds", 100, "secrets", "TOKEN", "x",
			"command", "work", "hard"));
	host->exec_exit_code = 1;
	host_idle(host, 40);
	host->exec_exit_code = 0;
	host_run(host, is_restarted, host);
	assert_int_equal(host->n_creates, 2);
	assert_string_equal(host_session(host, "one")->argv, "work hard ");
	assert_non_null(strstr(host_session(host, "one")->envp, "TOKEN=x"));
	json_t *after = host_get(host, "one");
	for (const char *const *name =
			(const char *const[]){ "id", "owner", "created_at", "expires_at", "isolation", NULL };
		*name; name++)
		assert_string_equal(json_path(after, *name), json_path(before, *name));
	assert_int_equal(json_integer_value(json_object_get(after, "restarts")), 1);
	assert_true(json_is_null(json_object_get(after, "end")));
	json_t *found = host_ok(host, method_session_ensure,
		json_pack("{s:s, s:s, s:s}", "template", "plain", "isolation", "per-owner", "owner", "ann"));
	assert_true(json_is_false(json_object_get(found, "created")));
	check_string(event(conn, "session.unhealthy"), "action", "restart");
	assert_non_null(event(conn, "session.restarting"));
	assert_null(event(conn, "session.ended"));
	/* Not for ever. */
	host->exec_exit_code = 1;
	host_expect_ended(host, "one", "unhealthy");
	assert_int_equal(host->n_creates, 3);
	json_decref(found);
	json_decref(before);
	json_decref(after);
	conn_end(conn);
}

/* Whoever stops it while it is about to begin anew has the last word. */
static void test_stopped_while_restarting(void **state)
{
	struct fake_host *host = *state;
	struct conn *conn = conn_new();

	host->templates[0].liveness.restart = true;
	json_decref(host_create(host, "plain", "one"));
	host->exec_exit_code = 1;
	host->hold_gone = true;
	host_idle(host, 60);
	host_expect_state(host, "one", "stopping");
	struct call *call = call_new(host, conn, json_pack("{s:s}", "session", "one"));
	method_session_stop(call);
	host->hold_gone = false;
	fake_gone(host, host_session(host, "one"));
	host_answer(host, call, NULL);
	check_string(call->result, "state", "ended");
	assert_int_equal(host->n_creates, 1);
	call_free(call);
	conn_end(conn);
}

/* What it was started with went with the control process that had it. */
static void test_after_a_crash(void **state)
{
	struct fake_host *host = *state;

	host->templates[0].liveness.restart = true;
	json_decref(host_create(host, "plain", "one"));
	host_idle(host, 5);
	host_crash(host);
	host_start(host);
	host_idle(host, 30);
	host_expect_state(host, "one", "ready");
	host->exec_exit_code = 1;
	host_expect_ended(host, "one", "unhealthy");
	assert_int_equal(host->n_creates, 1);
}

/* What the first run wrote to the volume that came with the session stays, though the second never began. */
static void test_volume_of_a_restart_that_fails(void **state)
{
	static struct config_volume place = { .path = (char *)(uintptr_t) "/data", .persistent = true };
	struct fake_host *host = *state;

	host->control.config.max_volumes = host->control.config.max_volumes_per_owner = 1;
	host->templates[0].liveness.restart = true;
	host->templates[0].volumes = &place;
	host->templates[0].n_volumes = 1;
	json_decref(host_ok(host, method_session_create,
		json_pack("{s:s, s:s, s:s, s:[{s:s, s:s}]}", "template", "plain", "id", "one", "owner", "ann",
			"volumes", "path", place.path, "name", "v")));
	host->create_error = (struct err){ .num = -ENOSPC, .step = "rootfs" };
	host->exec_exit_code = 1;
	host_expect_ended(host, "one", "failed");
	host_idle(host, 20);
	assert_non_null(volume_find(host->control.lifecycle, "v"));
	assert_int_equal(host->volumes.n, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_healthy, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ends, setup, teardown),
		cmocka_unit_test_setup_teardown(test_recovers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_answer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_not_while_paused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_restarts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stopped_while_restarting, setup, teardown),
		cmocka_unit_test_setup_teardown(test_after_a_crash, setup, teardown),
		cmocka_unit_test_setup_teardown(test_volume_of_a_restart_that_fails, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
