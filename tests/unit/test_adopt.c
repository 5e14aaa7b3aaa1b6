/* SPDX-License-Identifier: Apache-2.0 */
/* What a control process makes of the sessions of the one before it. */
#include "unit.h"

#include "fake_host.h"

#include <stdio.h>

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

static void test_adopted(void **state)
{
	struct fake_host *host = *state;

	json_t *before = host_ok(host, method_session_create,
		json_pack("{s:s, s:s, s:s, s:{s:s}, s:i}", "template", "plain", "id", "kept", "owner", "bob",
			"labels", "a", "1", "ttl_seconds", 1000));
	fake_print(host_session(host, "kept"), "hello\n");
	host_idle(host, 5);
	host_crash(host);
	host_start(host);
	json_t *after = host_get(host, "kept");
	assert_true(json_equal(before, after));
	json_decref(before);
	json_decref(after);
	json_t *logs = host_ok(host, method_session_logs, json_pack("{s:s}", "session", "kept"));
	assert_int_equal(json_array_size(json_object_get(logs, "entries")), 1);
	json_decref(logs);
	json_decref(host_ok(host, method_session_stop, json_pack("{s:s}", "session", "kept")));
	assert_null(host->sessions);
}

static void test_adopted_in_every_state(void **state)
{
	struct fake_host *host = *state;
	struct conn *conn = conn_new();

	host->refuse_connects = UINT32_MAX;
	host->templates[1].readiness.timeout_ns = 60 * NS_PER_SEC;
	host->deaf_stop = true;
	json_decref(host_ok(host, method_session_create,
		json_pack("{s:s, s:s, s:s}", "template", "http", "id", "starting", "wait", "created")));
	json_decref(host_create(host, "plain", "paused"));
	json_decref(host_ok(host, method_session_pause, json_pack("{s:s}", "session", "paused")));
	json_decref(host_create(host, "plain", "stopping"));
	struct call *stop =
		call_new(host, conn, json_pack("{s:s, s:i}", "session", "stopping", "grace_seconds", 1000));
	method_session_stop(stop);
	host_idle(host, 5);
	host_crash(host);
	assert_true(stop->answered && stop->kind == E_UNAVAILABLE);
	call_free(stop);
	host->refuse_connects = 0;
	host_start(host);
	json_decref(
		host_ok(host, method_session_wait, json_pack("{s:s, s:s}", "session", "starting", "for", "ready")));
	host_expect_state(host, "paused", "paused");
	host_expect_ended(host, "stopping", "stopped");
	assert_int_equal(host->n_kills, 1);
	conn_end(conn);
}

static void test_killed_while_it_is_made(void **state)
{
	struct fake_host *host = *state;
	struct conn *conn = conn_new();
	struct call *call = call_new(host, conn, json_pack("{s:s, s:s}", "template", "plain", "id", "half"));

	host->hold_create = true;
	host->hold_gone = true;
	method_session_create(call);
	host_run(host, host_has_session, host);
	/* Sessions being made are not listed. */
	struct fake_session *half = host->sessions;
	host->sessions = NULL;
	host_crash(host);
	host_start(host);
	host_expect_forgotten(host, "half");
	/* The answer to the process before is nobody's, and no harm. */
	fake_refuse_held(host);
	host_idle(host, 5);
	host->sessions = half;
	host->hold_create = false;
	json_decref(host_create(host, "plain", "other"));
	call_free(call);
	conn_end(conn);
}

static void test_stranger(void **state)
{
	struct fake_host *host = *state;

	json_decref(host_create(host, "plain", "known"));
	memcpy(host_session(host, "known")->id, "other", 6);
	host_crash(host);
	host_start(host);
	json_t *session = host_get(host, "other");
	check_string(session, "state", "ready");
	check_string(session, "owner", "");
	json_decref(session);
	session = host_ended(host, "known", "failed");
	check_string(session, "end.step", "lost");
	json_decref(session);
}

static void test_ended_meanwhile(void **state)
{
	struct fake_host *host = *state;

	for (int i = 0; i < 2; i++) {
		json_decref(host_create(host, "plain", "dying"));
		host_idle(host, 5);
		host_crash(host);
		close_fdp(&host_session(host, "dying")->init);
		fake_exit(host, host_session(host, "dying"), 5, 0);
		host_session(host, "dying")->ending = true;
		host->exit_before_list = i == 1;
		host_start(host);
		json_t *session = host_ended(host, "dying", "exited");
		assert_int_equal(
			json_integer_value(json_object_get(json_object_get(session, "end"), "exit_code")), 5);
		json_decref(session);
		assert_null(host->sessions);
		json_decref(host_ok(host, method_session_remove, json_pack("{s:s}", "session", "dying")));
	}
}

/* It dies so soon that the registry does not know that it was ready; it is not said to have failed to become so. */
static void test_ended_before_it_was_written(void **state)
{
	struct fake_host *host = *state;
	struct conn *conn = conn_new();
	struct call *call = call_new(host, conn, json_pack("{s:s, s:s}", "template", "plain", "id", "dying"));

	host->hold_create = true;
	method_session_create(call);
	host_run(host, host_has_session, host);
	host_crash(host);
	host_session(host, "dying")->ending = true;
	fake_exit(host, host_session(host, "dying"), 5, 0);
	host_start(host);
	host_expect_ended(host, "dying", "exited");
	call_free(call);
	conn_end(conn);
}

static void test_init_does_not_answer(void **state)
{
	struct fake_host *host = *state;

	json_decref(host_create(host, "plain", "hung"));
	host_idle(host, 5);
	host_crash(host);
	host->no_descriptors = true;
	host_start(host);
	json_t *session = host_ended(host, "hung", "failed");
	check_string(session, "end.step", "init");
	json_decref(session);
	assert_int_equal(host->n_kills, 1);
	assert_null(host->sessions);
}

static void test_host_restart(void **state)
{
	struct fake_host *host = *state;

	json_decref(host_create(host, "plain", "one"));
	host_crash(host);
	fake_gone(host, host_session(host, "one"));
	copy_string(host->control.boot_id, sizeof(host->control.boot_id), "boot-two");
	host_start(host);
	host_expect_ended(host, "one", "host-restart");
}

static void test_told_to_have_ended(void **state)
{
	struct fake_host *host = *state;

	json_decref(host_create(host, "plain", "zombie"));
	memcpy(host_session(host, "zombie")->id, "hidden", 7);
	host_crash(host);
	host_start(host);
	host_expect_ended(host, "zombie", "failed");
	memcpy(host_session(host, "hidden")->id, "zombie", 7);
	host_crash(host);
	host_start(host);
	host_idle(host, 5);
	assert_null(host_session(host, "zombie"));
	host_expect_ended(host, "zombie", "failed");
}

static void test_damaged_registry(void **state)
{
	struct fake_host *host = *state;
	char path[128];

	json_decref(host_create(host, "plain", "one"));
	host_stop(host);
	snprintf(path, sizeof(path), "%s/control/registry.db", host->dir);
	FILE *file = fopen(path, "r+e");
	fseek(file, 4096, SEEK_SET);
	for (int i = 0; i < 8192; i++)
		fputc(0xa5, file);
	fclose(file);
	host_start(host);
	json_t *session = host_get(host, "one");
	check_string(session, "state", "ready");
	check_string(session, "owner", "");
	json_decref(session);
}

static void expect_out_of_reach(struct fake_host *host, void (*method)(struct call *call), json_t *params)
{
	struct call *call = host_error(host, method, params);

	assert_int_equal(call->kind, E_UNAVAILABLE);
	assert_non_null(strstr(call->message, "another version of carrel"));
	call_free(call);
}

/* Sessions whose init speaks another protocol go on, and their end can still be asked for. */
static void test_begun_by_another_version(void **state)
{
	static const enum init_fault faults[] = { FAULT_OTHER_VERSION, FAULT_HANGS_UP };
	struct fake_host *host = *state;

	for (size_t i = 0; i < ARRAY_SIZE(faults); i++) {
		json_decref(host_create(host, "plain", "old"));
		fake_print(host_session(host, "old"), "hello\n");
		host_idle(host, 5);
		host_crash(host);
		host->fault = faults[i];
		host_start(host);
		host_idle(host, 20);
		host->fault = FAULT_NONE;
		host_expect_state(host, "old", "ready");
		expect_out_of_reach(
			host, method_exec_run, json_pack("{s:s, s:[s]}", "session", "old", "command", "/bin/true"));
		expect_out_of_reach(
			host, method_file_stat, json_pack("{s:s, s:s}", "session", "old", "path", "/etc"));
		expect_out_of_reach(host, method_port_connect, json_pack("{s:s, s:i}", "session", "old", "port", 80));
		json_decref(host_ok(host, method_session_pause, json_pack("{s:s}", "session", "old")));
		json_decref(host_ok(host, method_session_resume, json_pack("{s:s}", "session", "old")));
		json_t *logs = host_ok(host, method_session_logs, json_pack("{s:s}", "session", "old"));
		assert_int_equal(json_array_size(json_object_get(logs, "entries")), 1);
		json_decref(logs);
		/* New ones are as ever. */
		json_decref(host_create(host, "plain", "new"));
		json_decref(host_ok(
			host, method_exec_run, json_pack("{s:s, s:[s]}", "session", "new", "command", "/bin/true")));
		json_decref(host_ok(host, method_session_remove, json_pack("{s:s}", "session", "new")));
		json_decref(host_ok(host, method_session_remove, json_pack("{s:s}", "session", "old")));
		assert_null(host->sessions);
	}
}

int main(void)
{
	/* clang-format off */
	const struct CMUnitTest tests[] = {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
		TEST(test_adopted), TEST(test_adopted_in_every_state), TEST(test_killed_while_it_is_made),
		TEST(test_stranger), TEST(test_ended_meanwhile), TEST(test_ended_before_it_was_written),
		TEST(test_init_does_not_answer), TEST(test_host_restart), TEST(test_told_to_have_ended),
		TEST(test_damaged_registry), TEST(test_begun_by_another_version),
	};
	/* clang-format on */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
