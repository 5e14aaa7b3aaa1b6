/* SPDX-License-Identifier: Apache-2.0 */
/* Who may have one more session: ceilings, the queue, draining, and what system.capacity makes of them. */
#include "unit.h"

#include "fake_host.h"

#include <stdio.h>

static int setup(void **state)
{
	struct fake_host *host = host_new();

	host->control.config.max_sessions = 3;
	host_start(host);
	*state = host;
	return 0;
}

static int teardown(void **state)
{
	host_free(*state);
	return 0;
}

static json_t *wanted(const char *template, const char *id, double queue_seconds)
{
	return json_pack("{s:s, s:s, s:s, s:f}", "template", template, "id", id, "owner", id, "queue_timeout_seconds",
		queue_seconds);
}

static void expect_busy(struct fake_host *host, json_t *params, const char *text)
{
	struct call *call = host_error(host, method_session_create, params);

	assert_int_equal(call->kind, E_BUSY);
	assert_true(call->retryable);
	assert_non_null(strstr(call->message, text));
	call_free(call);
}

static void fill(struct fake_host *host)
{
	json_decref(host_create(host, "plain", "a"));
	json_decref(host_create(host, "plain", "b"));
	json_decref(host_create(host, "plain", "c"));
}

static void test_host_and_template(void **state)
{
	struct fake_host *host = *state;

	host->templates[0].max_sessions = 1;
	json_decref(host_create(host, "plain", "a"));
	expect_busy(host, wanted("plain", "b", 0), "template plain has 1 sessions");
	json_decref(host_create(host, "tcp", "b"));
	json_decref(host_create(host, "tcp", "c"));
	expect_busy(host, wanted("tcp", "d", 0), "this host has 3 sessions");
	assert_int_equal(host->control.lifecycle->admission.n_refused[REFUSED_HOST], 1);
	assert_int_equal(host->control.lifecycle->admission.n_refused[REFUSED_TEMPLATE], 1);
	json_decref(host_ok(host, method_session_remove, json_pack("{s:s}", "session", "b")));
	expect_busy(host, wanted("plain", "b", 0), "template plain");
	json_decref(host_ok(host, method_session_stop, json_pack("{s:s}", "session", "a")));
	json_decref(host_create(host, "plain", "d"));
}

/* In the order of asking; a later one does not overtake. */
static void test_queue(void **state)
{
	struct fake_host *host = *state;
	struct conn *conn = conn_new();
	struct call *calls[3];

	fill(host);
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		char id[2] = { (char)('x' + i), '\0' };
		calls[i] = call_new(host, conn, wanted("plain", id, 10));
		method_session_create(calls[i]);
		assert_false(calls[i]->answered);
	}
	json_decref(host_ok(host, method_session_stop, json_pack("{s:s}", "session", "a")));
	host_answer(host, calls[0], NULL);
	check_string(calls[0]->result, "id", "x");
	host_idle(host, 10);
	assert_false(calls[1]->answered);
	json_decref(host_ok(host, method_session_stop, json_pack("{s:s}", "session", "x")));
	host_answer(host, calls[1], NULL);
	check_string(calls[1]->result, "id", "y");
	/* Whoever goes away gives up his turn. */
	host_idle(host, 10);
	assert_false(calls[2]->answered);
	conn_end(conn);
	assert_int_equal(calls[2]->kind, E_UNAVAILABLE);
	assert_int_equal(host->control.lifecycle->admission.n_queued, 0);
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++)
		call_free(calls[i]);
}

static void test_no_overtaking(void **state)
{
	struct fake_host *host = *state;
	struct conn *conn = conn_new();

	fill(host);
	struct call *first = call_new(host, conn, wanted("plain", "x", 10));
	method_session_create(first);
	/* The room is there, but not yet given to who waits for it. */
	session_gone(session_find(host->control.lifecycle, "a"));
	expect_busy(host, wanted("plain", "y", 0), "takes no more");
	host_answer(host, first, NULL);
	check_string(first->result, "id", "x");
	call_free(first);
	conn_end(conn);
}

/* One that waits for its template's ceiling keeps nobody else waiting. */
static void test_other_templates_pass(void **state)
{
	struct fake_host *host = *state;
	struct conn *conn = conn_new();

	host->templates[0].max_sessions = 1;
	json_decref(host_create(host, "plain", "a"));
	struct call *first = call_new(host, conn, wanted("plain", "x", 10));
	method_session_create(first);
	json_decref(host_create(host, "tcp", "b"));
	assert_false(first->answered);
	json_decref(host_ok(host, method_session_remove, json_pack("{s:s}", "session", "a")));
	host_answer(host, first, NULL);
	assert_non_null(first->result);
	call_free(first);
	conn_end(conn);
}

static void test_queue_has_bounds(void **state)
{
	struct fake_host *host = *state;
	struct conn *conn = conn_new();
	struct call *calls[4];

	fill(host);
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		char id[2] = { (char)('p' + i), '\0' };
		calls[i] = call_new(host, conn, wanted("plain", id, i == 0 ? 0.05 : 10));
		method_session_create(calls[i]);
	}
	expect_busy(host, wanted("plain", "z", 10), "max_queued_creations");
	host_answer(host, calls[0], NULL);
	assert_int_equal(calls[0]->kind, E_BUSY);
	assert_non_null(strstr(calls[0]->message, "queue_timeout_seconds"));
	/* When the service ends, all are told. */
	host_stop(host);
	for (size_t i = 1; i < ARRAY_SIZE(calls); i++)
		assert_int_equal(calls[i]->kind, E_UNAVAILABLE);
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++)
		call_free(calls[i]);
	host_start(host);
	conn_end(conn);
}

/* Many wait for the session of one owner: when there is room for one, all have it. */
static void test_ensure_in_queue(void **state)
{
	struct fake_host *host = *state;
	struct conn *conn = conn_new();
	struct call *calls[4];
	unsigned n_created = 0;

	fill(host);
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		calls[i] = call_new(host, conn,
			json_pack("{s:s, s:s, s:s, s:i}", "template", "plain", "isolation", "per-owner", "owner",
				"ann", "queue_timeout_seconds", 10));
		method_session_ensure(calls[i]);
		assert_false(calls[i]->answered);
	}
	json_decref(host_ok(host, method_session_stop, json_pack("{s:s}", "session", "a")));
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		host_answer(host, calls[i], NULL);
		assert_string_equal(json_path(calls[i]->result, "id"), json_path(calls[0]->result, "id"));
		n_created += json_is_true(json_object_get(calls[i]->result, "created"));
	}
	assert_int_equal(n_created, 1);
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++)
		call_free(calls[i]);
	conn_end(conn);
}

static void set_drain(struct fake_host *host, bool on)
{
	json_decref(host_ok(host, method_system_drain, json_pack("{s:b}", "on", on)));
}

static void expect_draining(struct fake_host *host)
{
	struct call *call = host_error(host, method_session_create, wanted("plain", "late", 10));

	assert_int_equal(call->kind, E_DRAINING);
	assert_string_equal(lifecycle_status(&host->control), "draining");
	call_free(call);
}

static void test_drain(void **state)
{
	struct fake_host *host = *state;
	struct conn *conn = conn_new();
	const char *format = "{s:s, s:s, s:s}";

	json_decref(host_ok(host, method_session_ensure,
		json_pack(format, "template", "plain", "isolation", "per-owner", "owner", "ann")));
	json_decref(host_create(host, "plain", "b"));
	json_decref(host_create(host, "plain", "c"));
	struct call *waits = call_new(host, conn, wanted("plain", "x", 10));
	method_session_create(waits);
	set_drain(host, true);
	host_answer(host, waits, NULL);
	assert_int_equal(waits->kind, E_DRAINING);
	call_free(waits);
	expect_draining(host);
	/* What there is is still found, and goes on. */
	json_decref(host_ok(host, method_session_ensure,
		json_pack(format, "template", "plain", "isolation", "per-owner", "owner", "ann")));
	host_crash(host);
	host_start(host);
	expect_draining(host);
	json_t *capacity = host_ok(host, method_system_capacity, json_object());
	assert_true(json_is_true(json_object_get(capacity, "draining")));
	json_decref(capacity);
	set_drain(host, false);
	host_crash(host);
	host_start(host);
	assert_string_equal(lifecycle_status(&host->control), "ok");
	json_decref(host_ok(host, method_session_remove, json_pack("{s:s}", "session", "b")));
	json_decref(host_create(host, "plain", "late"));
	conn_end(conn);
}

static json_int_t number(const json_t *json, const char *object, const char *name)
{
	return json_integer_value(json_object_get(object ? json_object_get(json, object) : json, name));
}

static void test_capacity(void **state)
{
	struct fake_host *host = *state;
	char path[128];

	snprintf(path, sizeof(path), "%s/meminfo", host->dir);
	FILE *f = fopen(path, "w+");
	fputs("MemTotal:        4194304 kB\nMemFree:  1 kB\nMemAvailable:    2097152 kB\n", f);
	fflush(f);
	host->control.meminfo_fd = fileno(f);
	host->templates[1].max_sessions = 1;
	json_decref(host_create(host, "plain", "a"));
	json_t *capacity = host_ok(host, method_system_capacity, json_object());
	assert_int_equal(number(capacity, "sessions", "max"), 3);
	assert_int_equal(number(capacity, "sessions", "live"), 1);
	assert_int_equal(number(capacity, "sessions", "free"), 2);
	assert_int_equal(number(capacity, "memory", "total_bytes"), (json_int_t)4 << 30);
	assert_int_equal(number(capacity, "memory", "available_bytes"), (json_int_t)2 << 30);
	assert_int_equal(number(capacity, "memory", "promised_bytes"), 512 << 20);
	const json_t *plain = json_array_get(json_object_get(capacity, "templates"), 0);
	check_string(plain, "name", "plain");
	assert_int_equal(number(plain, NULL, "live"), 1);
	assert_int_equal(number(plain, NULL, "more"), 2);
	/* 4 GiB, of which 0.5 are promised, in portions of 0.5; and 2 CPUs, of which 1.5 are. */
	assert_int_equal(number(plain, NULL, "more_within_memory"), 7);
	assert_int_equal(number(plain, NULL, "more_within_cpus"), 0);
	assert_int_equal(number(json_array_get(json_object_get(capacity, "templates"), 1), NULL, "more"), 1);
	json_decref(capacity);
	fclose(f);
	unlink(path);
	host->control.meminfo_fd = -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_host_and_template, setup, teardown),
		cmocka_unit_test_setup_teardown(test_queue, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_overtaking, setup, teardown),
		cmocka_unit_test_setup_teardown(test_other_templates_pass, setup, teardown),
		cmocka_unit_test_setup_teardown(test_queue_has_bounds, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ensure_in_queue, setup, teardown),
		cmocka_unit_test_setup_teardown(test_drain, setup, teardown),
		cmocka_unit_test_setup_teardown(test_capacity, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
