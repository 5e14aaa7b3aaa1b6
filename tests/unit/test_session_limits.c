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
	/* A limit where there was none. */
	session = host_ok(
		host, method_session_set_limits, change("network_tx_bytes_per_second", json_integer(1 << 20)));
	assert_int_equal(value_of(session, "network_tx_bytes_per_second"), 1 << 20);
	json_decref(session);
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
	host_refused(host, method_session_set_limits, change("network_rx_bytes_per_second", json_integer(1)),
		E_INVALID_PARAMS, "limits.network_rx_bytes_per_second", "from 4096 to 8589934592");
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

/* ---- running into them ---- */

/* As if the kernel had raised an event, or the time had passed. */
static void look(struct fake_host *host)
{
	struct loop_timer *again = &session_find(host->control.lifecycle, "watched")->limit_watch.again;

	again->fn(again);
	host_idle(host, 5);
}

static int setup_watched(void **state)
{
	struct fake_host *host = *state = host_new();

	host_write(host, "memory.events", "low 0\nhigh 1\nmax 0\noom 0\noom_kill 1\n");
	host_write(host, "memory.stat", "anon 3145728\nfile 6291456\nkernel 1048576\nshmem 4194304\n");
	host_write(host, "pids.events", "max 4\n");
	host_write(host, "cpu.stat", "usage_usec 9000\nthrottled_usec 0\n");
	host_start(host);
	json_decref(host_create(host, "plain", "watched"));
	return 0;
}

static struct conn *subscribe_to_limits(struct fake_host *host)
{
	struct conn *conn = conn_new();
	struct call *call = call_new(host, conn,
		json_pack("{s:[s, s, s]}", "kinds", "session.throttled", "session.refused", "session.oom"));

	method_events_subscribe(call);
	call_free(call);
	return conn;
}

/* A workload may have run into them before control knew its cgroup. */
static void test_told_of_the_first_moment(void **state)
{
	struct fake_host *host = *state;
	struct conn *conn = subscribe_to_limits(host);

	look(host);
	assert_int_equal(json_array_size(conn->notifications), 2);
	check_string(conn_notification(conn, 0), "kind", "session.throttled");
	assert_int_equal(json_integer_value(json_object_get(conn_notification(conn, 0), "times")), 1);
	check_string(conn_notification(conn, 1), "kind", "session.refused");
	conn_end(conn);
}

static void test_told(void **state)
{
	struct fake_host *host = *state;

	/* What was there before another control took over is no news. */
	host_stop(host);
	host_start(host);
	struct conn *conn = subscribe_to_limits(host);
	look(host);
	assert_int_equal(json_array_size(conn->notifications), 0);
	host_write(host, "memory.events", "low 0\nhigh 5\nmax 0\noom 0\noom_kill 2\n");
	host_write(host, "pids.events", "max 9\n");
	look(host);
	assert_int_equal(json_array_size(conn->notifications), 3);
	check_string(conn_notification(conn, 0), "kind", "session.throttled");
	check_string(conn_notification(conn, 0), "limit", "memory_high_bytes");
	assert_int_equal(json_integer_value(json_object_get(conn_notification(conn, 0), "times")), 4);
	check_string(conn_notification(conn, 1), "kind", "session.oom");
	assert_int_equal(json_integer_value(json_object_get(conn_notification(conn, 1), "killed")), 1);
	check_string(conn_notification(conn, 2), "kind", "session.refused");
	check_string(conn_notification(conn, 2), "limit", "pids");
	/* It goes on: no news. */
	host_write(host, "pids.events", "max 99\n");
	look(host);
	assert_int_equal(json_array_size(conn->notifications), 3);
	/* Throttled nearly all the time since the last look, which was long enough ago. */
	session_find(host->control.lifecycle, "watched")->limit_watch.looked_ns = boottime_ns() - 10 * NS_PER_SEC;
	host_write(host, "cpu.stat", "usage_usec 9000\nthrottled_usec 9000000\n");
	look(host);
	assert_int_equal(json_array_size(conn->notifications), 4);
	check_string(conn_notification(conn, 3), "limit", "cpus");
	assert_int_equal(json_integer_value(json_object_get(conn_notification(conn, 3), "throttled_ms")), 9000);
	conn_end(conn);
}

static void test_oom_is_described(void **state)
{
	struct fake_host *host = *state;

	host_write(host, "memory.events", "low 0\nhigh 1\nmax 3\noom 1\noom_kill 2\n");
	look(host);
	host->oom_kills = 1;
	fake_die(host, host_session(host, "watched"));
	json_t *session = host_ended(host, "watched", "oom");
	const char *message = json_path(session, "end.message");
	assert_non_null(message);
	assert_non_null(strstr(message, "it may have 512 MiB"));
	assert_non_null(
		strstr(message, "processes had 3 MiB, files 2, file systems in memory 4, the kernel for it 1"));
	json_decref(session);
}

/* ---- file systems ---- */

static void set_space(struct fake_host *host, size_t i, const char *target, uint64_t bytes_free, uint64_t inodes_free)
{
	host->spaces[i] = (struct init_space){
		.bytes = 1 << 20, .bytes_free = bytes_free, .inodes = 1000, .inodes_free = inodes_free
	};
	copy_string(host->spaces[i].target, sizeof(host->spaces[i].target), target);
}

static void test_full(void **state)
{
	struct fake_host *host = *state;
	struct conn *conn = conn_new();
	struct call *call = call_new(host, conn, json_pack("{s:[s]}", "kinds", "session.full"));

	method_events_subscribe(call);
	call_free(call);
	host->n_spaces = 3;
	set_space(host, 0, "/", 1 << 19, 500);
	set_space(host, 1, "/dev/shm", 0, 500);
	set_space(host, 2, "/\xff\n", 1 << 19, 9);
	json_t *stats = host_ok(host, method_session_stats, json_pack("{s:s}", "session", "watched"));
	const json_t *space = json_object_get(stats, "space"), *shm = json_array_get(space, 1);
	assert_int_equal(json_array_size(space), 3);
	check_string(shm, "mount", "/dev/shm");
	assert_int_equal(json_integer_value(json_object_get(json_object_get(shm, "bytes"), "limit")), 1 << 20);
	assert_int_equal(json_integer_value(json_object_get(json_object_get(shm, "inodes"), "free")), 500);
	json_decref(stats);
	host_idle(host, 5);
	assert_int_equal(json_array_size(conn->notifications), 2);
	check_string(conn_notification(conn, 0), "limit", "shm_bytes");
	check_string(conn_notification(conn, 0), "mount", "/dev/shm");
	assert_int_equal(json_integer_value(json_object_get(conn_notification(conn, 0), "bytes")), 1 << 20);
	check_string(conn_notification(conn, 1), "limit", "inodes");
	check_string(conn_notification(conn, 1), "mount", "/\xef\xbf\xbd\n");
	/* It stays so, and is nearly full, and full: one event. Then there is room, and it is full again. */
	const struct {
		uint64_t free;
		size_t n;
	} steps[] = { { 0, 2 }, { 20000, 2 }, { 0, 2 }, { 1 << 18, 2 }, { 4096, 3 } };
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		set_space(host, 1, "/dev/shm", steps[i].free, 500);
		json_decref(host_ok(host, method_session_stats, json_pack("{s:s}", "session", "watched")));
		host_idle(host, 5);
		assert_int_equal(json_array_size(conn->notifications), steps[i].n);
	}
	conn_end(conn);
}

/* Of one that runs all the while it is asked by itself, of one that is idle not so often. */
static void test_full_is_seen(void **state)
{
	struct fake_host *host = *state;
	struct session *session = session_find(host->control.lifecycle, "watched");

	host->n_spaces = 1;
	set_space(host, 0, "/", 0, 0);
	session->limit_watch.looked_ns = boottime_ns() - 11 * NS_PER_SEC;
	look(host);
	assert_int_equal(session->space.told, 0);
	host_write(host, "cpu.stat", "usage_usec 95000\nthrottled_usec 0\n");
	session->limit_watch.looked_ns = boottime_ns() - 11 * NS_PER_SEC;
	look(host);
	assert_int_equal(session->space.told, 3);
	session->space.told = 0;
	session->limit_watch.looked_ns = session->limit_watch.space_ns = boottime_ns() - 61 * NS_PER_SEC;
	look(host);
	assert_int_equal(session->space.told, 3);
}

/* An init that does not answer holds nobody up for long, and is asked once. */
static void test_deaf_to_questions_of_space(void **state)
{
	struct fake_host *host = *state;
	struct session *session = session_find(host->control.lifecycle, "watched");
	struct conn *conn = conn_new();
	struct call *first = call_new(host, conn, json_pack("{s:s}", "session", "watched"));
	struct call *second = call_new(host, conn, json_pack("{s:s}", "session", "watched"));

	host->deaf_space = true;
	method_session_stats(first);
	host_idle(host, 5);
	assert_false(first->answered);
	session->space.patience.fn(&session->space.patience);
	assert_true(first->answered);
	assert_true(json_is_null(json_object_get(first->result, "space")));
	method_session_stats(second);
	assert_false(second->answered);
	json_decref(host_ok(host, method_session_stop, json_pack("{s:s}", "session", "watched")));
	assert_true(second->answered);
	call_free(first);
	call_free(second);
	conn_end(conn);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_set, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full, setup_watched, teardown),
		cmocka_unit_test_setup_teardown(test_full_is_seen, setup_watched, teardown),
		cmocka_unit_test_setup_teardown(test_deaf_to_questions_of_space, setup_watched, teardown),
		cmocka_unit_test_setup_teardown(test_supervisor_fails, setup, teardown),
		cmocka_unit_test_setup_teardown(test_meets_the_end, setup, teardown),
		cmocka_unit_test_setup_teardown(test_told, setup_watched, teardown),
		cmocka_unit_test_setup_teardown(test_told_of_the_first_moment, setup_watched, teardown),
		cmocka_unit_test_setup_teardown(test_oom_is_described, setup_watched, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
