/* SPDX-License-Identifier: Apache-2.0 */
/* session.ensure: whose session is meant, and that there is one. */
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

static json_t *owned(const char *isolation, const char *owner)
{
	return json_pack("{s:s, s:s, s:s*}", "template", "plain", "isolation", isolation, "owner", owner);
}

/* The session, the caller's; CREATED must be as wanted. */
static json_t *ensure(struct fake_host *host, json_t *params, bool created)
{
	json_t *session = host_ok(host, method_session_ensure, params);

	assert_int_equal(json_is_true(json_object_get(session, "created")), created);
	return session;
}

/* Whom a session is for, by request. */
static void test_owner(void **state)
{
	/* clang-format off */
	static const struct { const char *request, *owner, *hash; } rows[] = {
		{ "{'isolation': 'per-owner'}", "default", "37a8eec1ce19687d" },
		{ "{'isolation': 'per-owner', 'task_id': 't'}", "t", NULL },
		{ "{'isolation': 'per-owner', 'task_id': 't', 'thread_id': 'h'}", "h", NULL },
		{ "{'isolation': 'per-owner', 'thread_id': 'h', 'metadata': {'session_id': 's'}}", "s", NULL },
		{ "{'isolation': 'per-owner', 'metadata': {'session_id': 's', 'user_id': 'u'}}", "u", NULL },
		{ "{'isolation': 'per-owner', 'metadata': {'session_id': 's', 'user_id': ''}}", "s", NULL },
		{ "{'isolation': 'per-owner', 'metadata': {'user_id': null, 'x': [1]}, 'task_id': 'u2'}", "u2", NULL },
		{ "{'isolation': 'per-owner', 'metadata': {'user_id': 4711}}", "4711", NULL },
		{ "{'isolation': 'per-owner', 'metadata': {'user_id': 'u'}, 'owner': 'user@example.com'}", "user@example.com",
		  "b4c9a289323b21a0" },
		{ "{'isolation': 'per-task', 'task_id': 't', 'metadata': {'user_id': 'u'}}", "t", NULL },
		{ "{'isolation': 'per-task', 'owner': 'o', 'task_id': 't'}", "o", NULL },
		{ "{'isolation': 'shared', 'metadata': {'user_id': 'u'}}", "u", NULL },
	};
	/* clang-format on */
	struct fake_host *host = *state;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char text[256];
		snprintf(text, sizeof(text), "%s", rows[i].request);
		for (char *p = text; (p = strchr(p, '\''));)
			*p = '"';
		json_t *params = json_loads(text, 0, NULL);
		assert_non_null(params);
		json_object_set_new(params, "template", json_string("plain"));
		const json_t *isolation = json_object_get(params, "isolation");
		json_t *session = ensure(host, json_incref(params), true);
		check_string(session, "owner", rows[i].owner);
		check_string(session, "isolation_mode", json_string_value(isolation));
		check_string(session, "isolation", json_string_value(isolation));
		if (rows[i].hash)
			check_string(session, "owner_hash", rows[i].hash);
		json_decref(host_ok(
			host, method_session_remove, json_pack("{s:O}", "session", json_object_get(session, "id"))));
		json_decref(session);
		json_decref(params);
	}
}

static void test_refusals(void **state)
{
	struct fake_host *host = *state;

	host_refused(host, method_session_ensure,
		json_pack("{s:s, s:s}", "template", "plain", "isolation", "per-task"), E_INVALID_PARAMS, "task_id",
		"required");
	host_refused(host, method_session_ensure,
		json_pack(
			"{s:s, s:s, s:{s:[]}}", "template", "plain", "isolation", "per-owner", "metadata", "user_id"),
		E_INVALID_PARAMS, "metadata.user_id", "at most 256");
	host_refused(host, method_session_ensure,
		json_pack("{s:s, s:s}", "template", "nonesuch", "isolation", "per-owner"), E_NOT_FOUND, "template",
		"nonesuch");
	json_decref(ensure(host, owned("per-owner", "ann"), true));
	host_refused(host, method_session_ensure,
		json_pack("{s:s, s:s, s:s}", "template", "http", "isolation", "per-owner", "owner", "ann"),
		E_CONFLICT, "template", "is made from plain");
}

/* Many at once: one makes it, all get it. */
static void test_one_session(void **state)
{
	struct fake_host *host = *state;
	struct conn *conns[20];
	struct call *calls[100];
	unsigned n_created = 0;

	host->refuse_connects = 3;
	for (size_t i = 0; i < ARRAY_SIZE(conns); i++)
		conns[i] = conn_new();
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		calls[i] = call_new(host, conns[i % ARRAY_SIZE(conns)],
			json_pack("{s:s, s:s, s:s}", "template", "http", "isolation", "per-owner", "owner", "ann"));
		method_session_ensure(calls[i]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		host_answer(host, calls[i], NULL);
		assert_non_null(calls[i]->result);
		check_string(calls[i]->result, "state", "ready");
		assert_string_equal(json_path(calls[i]->result, "id"), json_path(calls[0]->result, "id"));
		n_created += json_is_true(json_object_get(calls[i]->result, "created"));
	}
	assert_int_equal(n_created, 1);
	assert_int_equal(host->n_creates, 1);
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++)
		call_free(calls[i]);
	for (size_t i = 0; i < ARRAY_SIZE(conns); i++)
		conn_end(conns[i]);
}

/* Whoever asked first leaves before it is ready: the others get it all the same. */
static void test_creator_leaves(void **state)
{
	struct fake_host *host = *state;
	struct conn *first = conn_new(), *second = conn_new();
	struct call *calls[2];

	host->hold_create = true;
	calls[0] = call_new(host, first, owned("per-owner", "ann"));
	calls[1] = call_new(host, second, owned("per-owner", "ann"));
	method_session_ensure(calls[0]);
	method_session_ensure(calls[1]);
	host_idle(host, 20);
	conn_end(first);
	assert_int_equal(calls[0]->kind, E_UNAVAILABLE);
	host_idle(host, 20);
	assert_false(calls[1]->answered);
	host->hold_create = false;
	fake_refuse_held(host);
	host_answer(host, calls[1], NULL);
	assert_int_equal(calls[1]->kind, E_FAILED);
	call_free(calls[0]);
	call_free(calls[1]);
	conn_end(second);
	/* What failed is in nobody's way. */
	json_decref(ensure(host, owned("per-owner", "ann"), true));
}

static void test_places(void **state)
{
	struct fake_host *host = *state;
	json_t *ann = ensure(host, owned("per-owner", "ann"), true),
	       *again = ensure(host, owned("per-owner", "ann"), false);

	assert_string_equal(json_path(ann, "id"), json_path(again, "id"));
	json_decref(again);
	json_decref(ensure(host, owned("per-owner", "bob"), true));
	json_decref(ensure(host, owned("shared", "ann"), true));
	json_decref(ensure(host, owned("shared", "ann"), false));
	/* Without an owner, one for all. */
	json_decref(ensure(host,
		json_pack("{s:s, s:s, s:s}", "template", "plain", "isolation", "shared", "thread_id", "1"), true));
	json_decref(ensure(host,
		json_pack("{s:s, s:s, s:s}", "template", "plain", "isolation", "shared", "thread_id", "2"), false));
	/* An owner's tasks are apart from each other, and from another's. */
	for (int created = 1; created >= 0; created--) {
		json_decref(ensure(host,
			json_pack("{s:s, s:s, s:s, s:s}", "template", "plain", "isolation", "per-task", "owner", "a",
				"task_id", "b:c"),
			created));
		json_decref(ensure(host,
			json_pack("{s:s, s:s, s:s, s:s}", "template", "plain", "isolation", "per-task", "owner",
				"a:b", "task_id", "c"),
			created));
	}
	/* What session.create made is in no place. */
	json_decref(host_create(host, "plain", "own"));
	json_decref(ensure(host, owned("per-owner", "ann"), false));
	json_decref(ann);
}

/* One that has ended is replaced, with its id where it is asked for; over restarts, too. */
static void test_replaced(void **state)
{
	struct fake_host *host = *state;
	json_t *first = ensure(host,
		json_pack("{s:s, s:s, s:s, s:s}", "template", "plain", "isolation", "per-owner", "owner", "ann", "id",
			"desk"),
		true);

	host_crash(host);
	host_start(host);
	json_decref(ensure(host, owned("per-owner", "ann"), false));
	json_decref(host_ok(host, method_session_stop, json_pack("{s:s}", "session", "desk")));
	host_crash(host);
	host_start(host);
	json_t *second = ensure(host,
		json_pack("{s:s, s:s, s:s, s:s}", "template", "http", "isolation", "per-owner", "owner", "ann", "id",
			"desk"),
		true);
	check_string(second, "id", "desk");
	check_string(second, "template", "http");
	json_t *listed = host_ok(host, method_session_list, json_object());
	assert_int_equal(json_array_size(json_object_get(listed, "sessions")), 1);
	json_decref(listed);
	json_decref(first);
	json_decref(second);
}

/* One that is about to end is waited for, and the next one is made. */
static void test_while_stopping(void **state)
{
	struct fake_host *host = *state;
	struct conn *conn = conn_new();
	json_t *first = ensure(host, owned("per-owner", "ann"), true);

	host->hold_gone = true;
	struct call *stop = call_new(host, conn, json_pack("{s:O}", "session", json_object_get(first, "id")));
	method_session_stop(stop);
	struct call *a = call_new(host, conn, owned("per-owner", "ann")),
		    *b = call_new(host, conn, owned("per-owner", "ann"));
	method_session_ensure(a);
	method_session_ensure(b);
	host_idle(host, 20);
	assert_false(a->answered || b->answered);
	host->hold_gone = false;
	fake_gone(host, host_session(host, json_path(first, "id")));
	host_answer(host, a, NULL);
	host_answer(host, b, NULL);
	assert_true(json_is_true(json_object_get(a->result, "created")));
	assert_true(json_is_false(json_object_get(b->result, "created")));
	assert_string_equal(json_path(a->result, "id"), json_path(b->result, "id"));
	assert_string_not_equal(json_path(a->result, "id"), json_path(first, "id"));
	host_answer(host, stop, NULL);
	call_free(stop);
	call_free(a);
	call_free(b);
	json_decref(first);
	conn_end(conn);
}

static void test_counts_as_use(void **state)
{
	struct fake_host *host = *state;
	json_t *before = ensure(host, owned("per-owner", "ann"), true);

	host_idle(host, 10);
	json_t *after = ensure(host, owned("per-owner", "ann"), false);
	assert_true(strcmp(json_path(after, "last_activity_at"), json_path(before, "last_activity_at")) > 0);
	json_decref(before);
	json_decref(after);
}

static void test_key(void **state)
{
	struct fake_host *host = *state;
	const char *format = "{s:s, s:s, s:s, s:s, s:i}";

	json_decref(ensure(host,
		json_pack(format, "template", "plain", "isolation", "per-owner", "owner", "ann", "idempotency_key",
			"k", "ttl_seconds", 60),
		true));
	json_decref(ensure(host,
		json_pack(format, "template", "plain", "isolation", "per-owner", "owner", "ann", "idempotency_key",
			"k", "ttl_seconds", 60),
		false));
	host_refused(host, method_session_ensure,
		json_pack(format, "template", "plain", "isolation", "per-owner", "owner", "ann", "idempotency_key",
			"k", "ttl_seconds", 61),
		E_CONFLICT, "idempotency_key", "other parameters");
	host_refused(host, method_session_create,
		json_pack("{s:s, s:s, s:s, s:i}", "template", "plain", "owner", "ann", "idempotency_key", "k",
			"ttl_seconds", 60),
		E_CONFLICT, "idempotency_key", "other parameters");
}

/* A client of one prefix gets his own, however others are named. */
static void test_prefix(void **state)
{
	struct fake_host *host = *state;
	struct conn *conn = conn_new();
	static const char *const prefixes[] = { "a/", "b/" };

	for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++) {
		static const char *const isolations[] = { "shared", "per-owner", "per-task" };
		for (size_t j = 0; j < ARRAY_SIZE(isolations); j++) {
			struct call *call = call_new(host, conn,
				json_pack("{s:s, s:s, s:s}", "template", "plain", "isolation", isolations[j],
					"task_id", "t"));
			char owner[16];
			call->caller.role = ROLE_CLIENT;
			call->caller.owner_prefix = prefixes[i];
			host_answer(host, call, method_session_ensure);
			assert_true(json_is_true(json_object_get(call->result, "created")));
			snprintf(owner, sizeof(owner), "%st", prefixes[i]);
			check_string(call->result, "owner", owner);
			call_free(call);
		}
	}
	struct call *call = call_new(host, conn, owned("per-owner", "b/t"));
	call->caller.role = ROLE_CLIENT;
	call->caller.owner_prefix = "a/";
	host_answer(host, call, method_session_ensure);
	assert_int_equal(call->kind, E_DENIED);
	call_free(call);
	conn_end(conn);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_owner, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
		cmocka_unit_test_setup_teardown(test_one_session, setup, teardown),
		cmocka_unit_test_setup_teardown(test_creator_leaves, setup, teardown),
		cmocka_unit_test_setup_teardown(test_places, setup, teardown),
		cmocka_unit_test_setup_teardown(test_replaced, setup, teardown),
		cmocka_unit_test_setup_teardown(test_while_stopping, setup, teardown),
		cmocka_unit_test_setup_teardown(test_counts_as_use, setup, teardown),
		cmocka_unit_test_setup_teardown(test_key, setup, teardown),
		cmocka_unit_test_setup_teardown(test_prefix, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
