/* SPDX-License-Identifier: Apache-2.0 */
/* What clients may ask of sessions, and what they are refused. */
#include "unit.h"

#include "fake_host.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>

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

static void create(struct fake_host *host, const char *id, const char *owner)
{
	json_decref(host_ok(host, method_session_create,
		json_pack("{s:s, s:s, s:s}", "template", "plain", "id", id, "owner", owner)));
}

/* ---- session.create ---- */

static void test_refusals(void **state)
{
	struct fake_host *host = *state;

	host_refused(host, method_session_create, json_pack("{s:s}", "template", "nonesuch"), E_NOT_FOUND, "template",
		"nonesuch");
	host_refused(host, method_session_create,
		json_pack("{s:s, s:{s:I}}", "template", "plain", "limits", "memory_bytes", (json_int_t)1 << 30),
		E_LIMIT, "limits.memory_bytes", "536870912");
	host_refused(host, method_session_create,
		json_pack("{s:s, s:{s:f}}", "template", "plain", "limits", "cpus", 2.5), E_LIMIT, "limits.cpus",
		"1.5");
	host_refused(host, method_session_create,
		json_pack("{s:s, s:{s:i}}", "template", "plain", "limits", "pids", 1), E_INVALID_PARAMS,
		"limits.pids", "from 2 to 4194304");
	host_refused(host, method_session_create,
		json_pack("{s:s, s:{s:i}}", "template", "plain", "limits", "pids", -1), E_INVALID_PARAMS,
		"limits.pids", "from 2");
	host_refused(host, method_session_create,
		json_pack("{s:s, s:s}", "template", "plain", "egress", "everywhere"), E_DENIED, "egress",
		"everywhere");
	assert_int_equal(host->n_creates, 0);
	json_t *sessions = host_ok(host, method_session_list, json_object());
	assert_int_equal(json_array_size(json_object_get(sessions, "sessions")), 0);
	json_decref(sessions);
}

static void test_limits_reach_the_supervisor(void **state)
{
	struct fake_host *host = *state;

	json_decref(host_ok(host, method_session_create,
		json_pack("{s:s, s:s, s:s, s:{s:f, s:i}}", "template", "plain", "id", "one", "egress", "internet",
			"limits", "cpus", 0.25, "pids", 100)));
	const struct limits *limits = &host_session(host, "one")->limits;
	assert_int_equal(limits->value[LIMIT_CPUS], 250);
	assert_int_equal(limits->value[LIMIT_PIDS], 100);
	assert_int_equal(limits->value[LIMIT_MEMORY], 512 << 20);
	assert_true(limits->value[LIMIT_SWAP] == LIMIT_UNSET);
}

static void test_too_long_a_command(void **state)
{
	struct fake_host *host = *state;
	json_t *command = json_array();

	for (int i = 0; i < SPEC_MAX_STRINGS + 1; i++)
		json_array_append_new(command, json_string("x"));
	host_refused(host, method_session_create, json_pack("{s:s, s:o}", "template", "plain", "command", command),
		E_LIMIT, "command", "longer");
	char *text = calloc(1, SPEC_MAX_BYTES + 1);
	memset(text, 'x', SPEC_MAX_BYTES);
	host_refused(host, method_session_create, json_pack("{s:s, s:[s]}", "template", "plain", "command", text),
		E_LIMIT, "command", "longer");
	free(text);
}

static void test_room(void **state)
{
	struct fake_host *host = *state;

	host->control.config.max_sessions_per_owner = 2;
	create(host, "a", "ann");
	create(host, "b", "ann");
	host_refused(host, method_session_create, json_pack("{s:s, s:s}", "template", "plain", "owner", "ann"),
		E_LIMIT, "owner", "max_sessions_per_owner");
	create(host, "c", "bob");
	host->control.config.max_sessions_per_uid = 3;
	host_refused(host, method_session_create, json_pack("{s:s, s:s}", "template", "plain", "owner", "eve"),
		E_LIMIT, "", "max_sessions_per_uid");
	host->control.config.max_sessions_per_uid = 0;
	host->control.config.max_sessions = 3;
	struct call *call = host_error(host, method_session_create, json_pack("{s:s}", "template", "plain"));
	assert_int_equal(call->kind, E_BUSY);
	assert_true(call->retryable);
	call_free(call);
	/* One that has ended takes no room. */
	json_decref(host_ok(host, method_session_stop, json_pack("{s:s}", "session", "a")));
	create(host, "d", "ann");
}

static json_t *with_key(const char *label, const char *secret)
{
	return json_pack("{s:s, s:s, s:{s:s}, s:{s:s}}", "template", "http", "idempotency_key", "k1", "labels", "a",
		label, "secrets", "TOKEN", secret);
}

static void test_idempotency(void **state)
{
	struct fake_host *host = *state;
	struct conn *conn = conn_new();

	/* The second comes while the first is still under way. */
	host->refuse_connects = 10;
	struct call *first = call_new(host, conn, with_key("1", "x"));
	struct call *second = call_new(host, conn, with_key("1", "x"));
	method_session_create(first);
	method_session_create(second);
	host_answer(host, first, NULL);
	host_answer(host, second, NULL);
	assert_true(json_equal(first->result, second->result));
	assert_int_equal(host->n_creates, 1);
	check_string(first->result, "state", "ready");
	host_refused(
		host, method_session_create, with_key("2", "x"), E_CONFLICT, "idempotency_key", "other parameters");
	/* Another user's key is another key. */
	struct call *other = call_new(host, conn, with_key("2", "x"));
	other->caller.uid = 1001;
	host_answer(host, other, method_session_create);
	assert_non_null(other->result);
	/* It is remembered over a restart; of secrets only their names are. */
	host_crash(host);
	host_start(host);
	json_t *third = host_ok(host, method_session_create, with_key("1", "y"));
	assert_string_equal(json_path(third, "id"), json_path(first->result, "id"));
	json_decref(third);
	call_free(first);
	call_free(second);
	call_free(other);
	conn_end(conn);
}

static void test_failed_creation_frees_the_key(void **state)
{
	struct fake_host *host = *state;

	err_set(&host->create_error, -ENOMEM, "spawn", "clone3");
	struct call *call = host_error(host, method_session_create, with_key("1", "x"));
	assert_true(call->retryable);
	call_free(call);
	host->create_error.num = 0;
	json_decref(host_ok(host, method_session_create, with_key("1", "x")));
}

/* ---- owners ---- */

static struct call *as_client(
	struct fake_host *host, struct conn *conn, void (*method)(struct call *call), json_t *params)
{
	struct call *call = call_new(host, conn, params);

	call->caller.role = ROLE_CLIENT;
	call->caller.owner_prefix = "team-a/";
	host_answer(host, call, method);
	return call;
}

static void test_owner_prefix(void **state)
{
	struct fake_host *host = *state;
	struct conn *conn = conn_new();

	create(host, "theirs", "team-b/bob");
	struct call *call = as_client(host, conn, method_session_create,
		json_pack("{s:s, s:s}", "template", "plain", "owner", "team-b/ann"));
	assert_int_equal(call->kind, E_DENIED);
	assert_string_equal(call->path, "owner");
	call_free(call);
	call = as_client(
		host, conn, method_session_create, json_pack("{s:s, s:s}", "template", "plain", "id", "ours"));
	check_string(call->result, "owner", "team-a/");
	call_free(call);
	static void (*const methods[])(struct call * call) = { method_session_get, method_session_stop,
		method_session_remove, method_session_wait, method_session_logs, method_session_stats,
		method_session_pause, method_session_resume, method_session_heartbeat, method_session_extend,
		method_session_set_limits };
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
		call = as_client(host, conn, methods[i], json_pack("{s:s}", "session", "theirs"));
		assert_null(call->result);
		assert_int_equal(call->kind, E_NOT_FOUND);
		call_free(call);
	}
	call = as_client(host, conn, method_session_get, json_pack("{s:s}", "owner", "team-b/bob"));
	assert_int_equal(call->kind, E_NOT_FOUND);
	call_free(call);
	call = as_client(host, conn, method_session_list, json_object());
	const json_t *sessions = json_object_get(call->result, "sessions");
	assert_int_equal(json_array_size(sessions), 1);
	check_string(json_array_get(sessions, 0), "id", "ours");
	call_free(call);
	conn_end(conn);
}

static void test_by_owner(void **state)
{
	struct fake_host *host = *state;

	create(host, "old", "ann");
	create(host, "new", "ann");
	create(host, "other", "bob");
	json_t *session = host_ok(host, method_session_get, json_pack("{s:s}", "owner", "ann"));
	check_string(session, "id", "new");
	json_decref(session);
	json_decref(host_ok(host, method_session_stop, json_pack("{s:s}", "owner", "ann")));
	session = host_ok(host, method_session_get, json_pack("{s:s}", "owner", "ann"));
	check_string(session, "id", "old");
	json_decref(session);
	json_decref(host_ok(host, method_session_remove, json_pack("{s:s}", "owner", "ann")));
	session = host_ok(host, method_session_get, json_pack("{s:s}", "owner", "ann"));
	check_string(session, "id", "new");
	check_string(session, "state", "ended");
	json_decref(session);
	host_refused(host, method_session_get, json_pack("{s:s}", "owner", "eve"), E_NOT_FOUND, "", "eve");
}

/* ---- session.list ---- */

static size_t list_size(struct fake_host *host, json_t *params)
{
	json_t *page = host_ok(host, method_session_list, params);
	size_t n = json_array_size(json_object_get(page, "sessions"));

	json_decref(page);
	return n;
}

static void test_list(void **state)
{
	struct fake_host *host = *state;

	for (int i = 0; i < 7; i++) {
		char id[16];
		snprintf(id, sizeof(id), "s%d", i);
		json_decref(host_ok(host, method_session_create,
			json_pack("{s:s, s:s, s:s, s:{s:s, s:s}}", "template", i < 3 ? "plain" : "tcp", "id", id,
				"owner", i % 2 ? "odd" : "even", "labels", "n", id, "all", "yes")));
	}
	json_decref(host_ok(host, method_session_stop, json_pack("{s:s}", "session", "s6")));
	assert_int_equal(list_size(host, json_object()), 7);
	assert_int_equal(list_size(host, json_pack("{s:s}", "owner", "odd")), 3);
	assert_int_equal(list_size(host, json_pack("{s:s}", "template", "plain")), 3);
	assert_int_equal(list_size(host, json_pack("{s:s}", "state", "ready")), 6);
	assert_int_equal(list_size(host, json_pack("{s:{s:s}}", "labels", "all", "yes")), 7);
	assert_int_equal(list_size(host, json_pack("{s:{s:s, s:s}}", "labels", "all", "yes", "n", "s2")), 1);
	assert_int_equal(list_size(host, json_pack("{s:{s:s}}", "labels", "none", "yes")), 0);
	/* Pages, while one of the sessions on a page before goes away. */
	json_t *page = host_ok(host, method_session_list, json_pack("{s:i}", "limit", 3));
	check_string(json_array_get(json_object_get(page, "sessions"), 2), "id", "s2");
	json_decref(host_ok(host, method_session_remove, json_pack("{s:s}", "session", "s2")));
	json_t *next = host_ok(host, method_session_list,
		json_pack("{s:i, s:s}", "limit", 4, "cursor", json_path(page, "next_cursor")));
	check_string(json_array_get(json_object_get(next, "sessions"), 0), "id", "s3");
	assert_int_equal(json_array_size(json_object_get(next, "sessions")), 4);
	assert_true(json_is_null(json_object_get(next, "next_cursor")));
	json_decref(page);
	json_decref(next);
	static const char *const bad[] = { "", "x", "1x", "-1", " 1", "99999999999999999999999" };
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		host_refused(host, method_session_list, json_pack("{s:s}", "cursor", bad[i]), E_INVALID_PARAMS,
			"cursor", "");
}

/* ---- session.wait ---- */

static void test_wait(void **state)
{
	struct fake_host *host = *state;
	struct conn *conn = conn_new();

	create(host, "one", "ann");
	json_t *session =
		host_ok(host, method_session_wait, json_pack("{s:s, s:s}", "session", "one", "for", "ready"));
	check_string(session, "state", "ready");
	json_decref(session);
	struct call *call = host_error(host, method_session_wait,
		json_pack("{s:s, s:s, s:f}", "session", "one", "for", "ended", "timeout_seconds", 0.02));
	assert_int_equal(call->kind, E_TIMEOUT);
	assert_true(call->retryable);
	call_free(call);
	/* Who goes away while he waits is forgotten. */
	call = call_new(host, conn, json_pack("{s:s, s:s}", "session", "one", "for", "ended"));
	method_session_wait(call);
	conn_end(conn);
	assert_true(call->answered);
	call_free(call);
	json_decref(host_ok(host, method_session_stop, json_pack("{s:s}", "session", "one")));
	session = host_ok(host, method_session_wait, json_pack("{s:s, s:s}", "session", "one", "for", "ended"));
	check_string(session, "end.reason", "stopped");
	json_decref(session);
	call = host_error(host, method_session_wait, json_pack("{s:s, s:s}", "session", "one", "for", "ready"));
	assert_int_equal(call->kind, E_INVALID_STATE);
	call_free(call);
}

/* ---- pause and resume ---- */

static void test_pause(void **state)
{
	struct fake_host *host = *state;
	struct conn *conn = conn_new();

	create(host, "one", "ann");
	json_t *session = host_ok(host, method_session_pause, json_pack("{s:s}", "session", "one"));
	check_string(session, "state", "paused");
	assert_true(host_session(host, "one")->frozen);
	json_decref(session);
	/* Asking again changes nothing. */
	json_decref(host_ok(host, method_session_pause, json_pack("{s:s}", "session", "one")));
	struct call *resume = call_new(host, conn, json_pack("{s:s}", "session", "one"));
	method_session_resume(resume);
	host_refused(host, method_session_pause, json_pack("{s:s}", "session", "one"), E_BUSY, "", "just being");
	host_answer(host, resume, NULL);
	check_string(resume->result, "state", "ready");
	assert_false(host_session(host, "one")->frozen);
	call_free(resume);
	conn_end(conn);
}

static void test_stop_when_paused(void **state)
{
	struct fake_host *host = *state;

	create(host, "one", "ann");
	json_decref(host_ok(host, method_session_pause, json_pack("{s:s}", "session", "one")));
	/* It is thawed to hear of its end. */
	json_t *session = host_ok(host, method_session_stop, json_pack("{s:s}", "session", "one"));
	check_string(session, "end.reason", "stopped");
	assert_int_equal(json_integer_value(json_object_get(json_object_get(session, "end"), "exit_code")), 0);
	assert_int_equal(host->n_thaws, 1);
	json_decref(session);
	host_refused(host, method_session_pause, json_pack("{s:s}", "session", "one"), E_INVALID_STATE, "", "ended");
}

static void test_pause_meets_the_end(void **state)
{
	struct fake_host *host = *state;
	struct conn *conn = conn_new();

	create(host, "one", "ann");
	struct call *pause = call_new(host, conn, json_pack("{s:s}", "session", "one"));
	struct call *stop = call_new(host, conn, json_pack("{s:s}", "session", "one"));
	method_session_pause(pause);
	method_session_stop(stop);
	host_answer(host, pause, NULL);
	host_answer(host, stop, NULL);
	assert_int_equal(pause->kind, E_INVALID_STATE);
	check_string(stop->result, "end.reason", "stopped");
	assert_int_equal(host->n_thaws, 1);
	call_free(pause);
	call_free(stop);
	conn_end(conn);
}

static void test_too_early(void **state)
{
	struct fake_host *host = *state;

	host->refuse_connects = UINT32_MAX;
	json_decref(host_ok(host, method_session_create,
		json_pack("{s:s, s:s, s:s}", "template", "http", "id", "one", "wait", "created")));
	host_refused(host, method_session_pause, json_pack("{s:s}", "session", "one"), E_NOT_READY, "", "starting");
}

/* ---- the rest ---- */

static const char interfaces[] = "Inter-|   Receive                                                |  Transmit\n"
				 " face |bytes    packets errs drop fifo frame compressed multicast|bytes packets "
				 "errs drop fifo colls carrier compressed\n"
				 "    lo:       0       0    0    0    0     0          0         0        0       0 "
				 "   0    0    0     0       0          0\n"
				 "  cr33:      99      99    9    9    0     0          0         0       99      99 "
				 "   0    9    0     0       0          0\n"
				 "   cr3: 1000000     700    0    5    0     0          0         0    40000      30 "
				 "   0    2    0     0       0          0\n";

static void test_stats_network(void **state)
{
	struct fake_host *host = *state;

	create(host, "one", "ann");
	json_t *stats = host_ok(host, method_session_stats, json_pack("{s:s}", "session", "one"));
	assert_true(json_is_null(json_object_get(stats, "network")));
	json_decref(stats);
	host_write(host, "interfaces", interfaces);
	char path[128];
	snprintf(path, sizeof(path), "%s/interfaces", host->dir);
	host->control.net_dev_fd = open(path, O_RDONLY | O_CLOEXEC);
	stats = host_ok(host, method_session_stats, json_pack("{s:s}", "session", "one"));
	const json_t *network = json_object_get(stats, "network");
	assert_int_equal(json_integer_value(json_object_get(network, "sent_bytes")), 1000000);
	assert_int_equal(json_integer_value(json_object_get(network, "sent_packets")), 700);
	assert_int_equal(json_integer_value(json_object_get(network, "sent_dropped")), 5);
	assert_int_equal(json_integer_value(json_object_get(network, "received_bytes")), 40000);
	assert_int_equal(json_integer_value(json_object_get(network, "received_packets")), 30);
	assert_int_equal(json_integer_value(json_object_get(network, "received_dropped")), 2);
	json_decref(stats);
	close_fdp(&host->control.net_dev_fd);
}

static void test_stats(void **state)
{
	struct fake_host *host = *state;

	host_write(host, "memory.current", "4096\n");
	host_write(host, "pids.events", "max 7\n");
	host_write(host, "cpu.stat", "usage_usec 1500000\nuser_usec 1000000\nsystem_usec 500000\nnr_throttled 3\n");
	create(host, "one", "ann");
	json_t *stats = host_ok(host, method_session_stats, json_pack("{s:s}", "session", "one"));
	const json_t *memory = json_object_get(stats, "memory"), *cpu = json_object_get(stats, "cpu");
	assert_int_equal(json_integer_value(json_object_get(memory, "current_bytes")), 4096);
	assert_true(json_is_null(json_object_get(memory, "peak_bytes")));
	assert_float_equal(json_real_value(json_object_get(cpu, "usage_seconds")), 1.5, 1e-9);
	assert_int_equal(json_integer_value(json_object_get(cpu, "throttled_periods")), 3);
	assert_true(json_is_null(json_object_get(stats, "io")));
	assert_int_equal(json_integer_value(json_object_get(json_object_get(stats, "pids"), "refused")), 7);
	assert_true(json_is_null(json_object_get(json_object_get(stats, "pids"), "current")));
	assert_true(json_is_null(json_object_get(json_object_get(stats, "pressure"), "cpu")));
	json_decref(stats);
	/* One that has ended uses nothing. */
	json_decref(host_ok(host, method_session_stop, json_pack("{s:s}", "session", "one")));
	stats = host_ok(host, method_session_stats, json_pack("{s:s}", "session", "one"));
	assert_true(json_is_null(json_object_get(stats, "memory")));
	json_decref(stats);
}

static void test_check(void **state)
{
	struct fake_host *host = *state;
	json_t *result = host_ok(host, lifecycle_check, json_object());
	const json_t *item = json_array_get(json_object_get(result, "items"), 0);

	check_string(item, "name", "net.nftables");
	check_string(item, "state", "degraded");
	check_string(item, "detail", "slow");
	assert_true(json_is_null(json_object_get(item, "remedy")));
	json_decref(result);
}

static void test_states(void **state)
{
	struct fake_host *host = *state;

	create(host, "one", "ann");
	create(host, "two", "ann");
	json_decref(host_ok(host, method_session_stop, json_pack("{s:s}", "session", "two")));
	json_t *states = lifecycle_states(&host->control);
	assert_int_equal(json_integer_value(json_object_get(states, "ready")), 1);
	assert_int_equal(json_integer_value(json_object_get(states, "ended")), 1);
	assert_int_equal(json_integer_value(json_object_get(states, "creating")), 0);
	json_decref(states);
}

static void test_event_kinds(void **state)
{
	static const char *const kinds[] = { "session.created", "session.starting", "session.ready", "session.paused",
		"session.resumed", "session.stopping", "session.ended" };
	struct fake_host *host = *state;
	struct conn *conn = conn_new();
	struct call *call = call_new(host, conn, json_object());

	method_events_subscribe(call);
	call_free(call);
	create(host, "one", "ann");
	json_decref(host_ok(host, method_session_pause, json_pack("{s:s}", "session", "one")));
	json_decref(host_ok(host, method_session_resume, json_pack("{s:s}", "session", "one")));
	json_decref(host_ok(host, method_session_remove, json_pack("{s:s}", "session", "one")));
	host_idle(host, 5);
	assert_int_equal(json_array_size(conn->notifications), ARRAY_SIZE(kinds));
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		check_string(conn_notification(conn, i), "kind", kinds[i]);
		check_string(conn_notification(conn, i), "session", "one");
		check_string(conn_notification(conn, i), "template", "plain");
	}
	check_string(conn_notification(conn, 5), "reason", "stopped");
	check_string(conn_notification(conn, 6), "reason", "stopped");
	conn_end(conn);
}

/* More ended sessions than are kept: the oldest go, from the registry, too. */
static void test_ended_are_bounded(void **state)
{
	struct fake_host *host = *state;
	char id[16];

	for (int i = 0; i < ENDED_KEPT + 5; i++) {
		snprintf(id, sizeof(id), "s%d", i);
		struct record record;
		record_init(&record);
		record.number = ++host->control.lifecycle->last_number;
		copy_string(record.id, sizeof(record.id), id);
		copy_string(record.template, sizeof(record.template), "plain");
		record.kind = strdup("");
		record.owner = strdup("");
		session_enter(session_new(host->control.lifecycle, &record), SESSION_ENDED);
	}
	host_idle(host, 10);
	assert_int_equal(host->control.lifecycle->n_by_state[SESSION_ENDED], ENDED_KEPT);
	assert_null(session_find(host->control.lifecycle, "s4"));
	assert_non_null(session_find(host->control.lifecycle, "s5"));
	host_stop(host);
	host_start(host);
	assert_int_equal(host->control.lifecycle->n_by_state[SESSION_ENDED], ENDED_KEPT);
	assert_null(session_find(host->control.lifecycle, "s4"));
	assert_non_null(session_find(host->control.lifecycle, "s5"));
}

int main(void)
{
	/* clang-format off */
	const struct CMUnitTest tests[] = {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
		TEST(test_refusals), TEST(test_limits_reach_the_supervisor), TEST(test_too_long_a_command), TEST(test_room),
		TEST(test_idempotency), TEST(test_failed_creation_frees_the_key), TEST(test_owner_prefix),
		TEST(test_by_owner), TEST(test_list), TEST(test_wait), TEST(test_pause), TEST(test_stop_when_paused),
		TEST(test_pause_meets_the_end), TEST(test_too_early), TEST(test_stats), TEST(test_stats_network), TEST(test_check), TEST(test_states), TEST(test_event_kinds),
		TEST(test_ended_are_bounded),
	};
	/* clang-format on */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
