/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions that are kept ready: who gets one, and what is left of it when control dies. */
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

static json_int_t pool_member(struct fake_host *host, const char *member)
{
	json_t *result = host_ok(host, method_pool_get, json_pack("{s:s}", "template", "plain"));
	json_int_t n =
		json_integer_value(json_object_get(json_array_get(json_object_get(result, "pools"), 0), member));

	json_decref(result);
	return n;
}

/* A member is frozen when control has seen that it is at rest. */
static void await_ready(struct fake_host *host, int n)
{
	const uint64_t end = boottime_ns() + 10 * NS_PER_SEC;

	while (pool_member(host, "ready") != n && boottime_ns() < end)
		host_idle(host, 10);
	assert_int_equal(pool_member(host, "ready"), n);
}

static void fill(struct fake_host *host, int size)
{
	json_decref(host_ok(host, method_pool_set, json_pack("{s:s, s:i}", "template", "plain", "size", size)));
	await_ready(host, size);
}

static size_t count_sessions(const struct fake_host *host)
{
	size_t n = 0;

	for (const struct fake_session *s = host->sessions; s; s = s->next)
		n += !s->ending;
	return n;
}

static void test_claim(void **state)
{
	struct fake_host *host = *state;

	fill(host, 1);
	assert_true(host->sessions->frozen);
	json_t *listed = host_ok(host, method_session_list, json_object());
	assert_int_equal(json_array_size(json_object_get(listed, "sessions")), 0);
	json_decref(listed);
	host_refused(host, method_session_get, json_pack("{s:s}", "session", host->sessions->id), E_NOT_FOUND, "",
		"no session");
	unsigned made = host->n_creates;
	json_t *session = host_ok(host, method_session_create,
		json_pack("{s:s, s:s, s:s}", "template", "plain", "id", "mine", "owner", "ann"));
	assert_int_equal(host->n_creates, made);
	assert_string_equal(json_string_value(json_object_get(session, "state")), "ready");
	assert_string_equal(json_string_value(json_object_get(session, "owner")), "ann");
	assert_false(host->sessions->frozen);
	json_decref(session);
	json_decref(host_ok(host, method_session_stop, json_pack("{s:s}", "session", "mine")));
	await_ready(host, 1);
	assert_int_equal(pool_member(host, "claims"), 1);
	assert_int_equal(count_sessions(host), 1);
}

static void test_special_requests(void **state)
{
	struct fake_host *host = *state;

	fill(host, 1);
	json_decref(host_ok(
		host, method_session_create, json_pack("{s:s, s:{s:s}}", "template", "plain", "env", "A", "1")));
	assert_int_equal(pool_member(host, "claims"), 0);
	assert_int_equal(pool_member(host, "misses"), 0);
}

static void test_crash(void **state)
{
	struct fake_host *host = *state;

	fill(host, 2);
	json_decref(host_ok(host, method_session_create, json_pack("{s:s, s:s}", "template", "plain", "id", "mine")));
	await_ready(host, 2);
	size_t n = count_sessions(host);
	host_crash(host);
	host_start(host);
	await_ready(host, 2);
	assert_int_equal(count_sessions(host), n);
	assert_int_equal(pool_member(host, "size"), 2);
	json_t *session = host_ok(host, method_session_get, json_pack("{s:s}", "session", "mine"));
	assert_string_equal(json_string_value(json_object_get(session, "state")), "ready");
	json_decref(session);
	json_decref(host_ok(host, method_session_remove, json_pack("{s:s}", "session", "mine")));
	assert_int_equal(count_sessions(host), n - 1);
}

static void test_smaller(void **state)
{
	struct fake_host *host = *state;

	fill(host, 2);
	json_decref(host_ok(host, method_pool_set, json_pack("{s:s, s:i}", "template", "plain", "size", 0)));
	host_idle(host, 100);
	assert_int_equal(count_sessions(host), 0);
	host_refused(host, method_pool_set, json_pack("{s:s, s:i}", "template", "nonesuch", "size", 1), E_NOT_FOUND,
		"template", "nonesuch");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_claim, setup, teardown),
		cmocka_unit_test_setup_teardown(test_special_requests, setup, teardown),
		cmocka_unit_test_setup_teardown(test_crash, setup, teardown),
		cmocka_unit_test_setup_teardown(test_smaller, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
