/* SPDX-License-Identifier: Apache-2.0 */
/* How sessions come to be, with everything that can fail on the way. */
#include "unit.h"

#include "fake_host.h"

#include <stdio.h>
#include <sys/stat.h>

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

static void test_plain(void **state)
{
	struct fake_host *host = *state;
	json_t *session = host_create(host, "plain", "one");

	check_string(session, "id", "one");
	check_string(session, "state", "ready");
	check_string(session, "template", "plain");
	check_string(session, "kind", "minimal");
	check_string(session, "owner", "ann");
	check_string(session, "owner_hash", "49915e0d7d4b402e");
	check_string(session, "address", "100.96.0.6");
	check_string(session, "hostname", "one");
	assert_non_null(json_path(session, "created_at"));
	assert_non_null(json_path(session, "ready_at"));
	assert_true(json_is_null(json_object_get(session, "expires_at")));
	assert_true(json_is_null(json_object_get(session, "idle_deadline")));
	assert_true(json_is_null(json_object_get(session, "end")));
	assert_true(json_is_null(json_object_get(session, "cdp_url")));
	const json_t *memory = json_object_get(json_object_get(session, "limits"), "memory_bytes");
	assert_int_equal(json_integer_value(json_object_get(memory, "value")), 512 << 20);
	assert_true(json_is_true(json_object_get(memory, "enforced")));
	const json_t *cpus = json_object_get(json_object_get(session, "limits"), "cpus");
	assert_float_equal(json_real_value(json_object_get(cpus, "value")), 1.5, 1e-9);
	assert_true(json_is_false(json_object_get(cpus, "enforced")));
	const json_t *timeline = json_object_get(session, "timeline");
	assert_int_equal(json_array_size(timeline), 3);
	assert_string_equal(json_path(json_array_get(timeline, 0), "step"), "slot");
	assert_string_equal(json_path(json_array_get(timeline, 2), "step"), "ready");
	const struct fake_session *fake = host_session(host, "one");
	assert_string_equal(fake->argv, "sleep 1000 ");
	assert_string_equal(fake->envp, "PATH=/bin LANG=C ");
	json_decref(session);
}

static void test_made_up_id(void **state)
{
	json_t *session = host_ok(*state, method_session_create, json_pack("{s:s}", "template", "plain"));
	const char *id = json_path(session, "id");

	assert_int_equal(strlen(id), 17);
	assert_memory_equal(id, "sess-", 5);
	assert_int_equal(strspn(id + 5, "abcdefghijklmnopqrstuvwxyz234567"), 12);
	json_decref(session);
}

static void test_environment_and_secrets(void **state)
{
	struct fake_host *host = *state;
	char path[128];
	json_t *session = host_ok(host, method_session_create,
		json_pack("{s:s, s:s, s:{s:s, s:s}, s:{s:s}, s:[s, s]}", "template", "plain", "id", "env", "env",
			"LANG", "de", "A", "1", "secrets", "TOKEN", "s3cr3t-value", "command", "/bin/echo", "x y"));
	const struct fake_session *fake = host_session(host, "env");

	assert_string_equal(fake->argv, "/bin/echo x y ");
	assert_string_equal(fake->envp, "PATH=/bin LANG=de A=1 TOKEN=s3cr3t-value ");
	char *text = json_dumps(session, 0);
	assert_null(strstr(text, "s3cr3t"));
	free(text);
	json_decref(session);
	host_stop(host);
	snprintf(path, sizeof(path), "%s/control/registry.db", host->dir);
	FILE *file = fopen(path, "re");
	size_t n = 0, run = 0;
	for (int c; (c = fgetc(file)) != EOF; n++)
		assert_int_not_equal(run = c == "s3cr3t"[run] ? run + 1 : c == 's', 6);
	assert_true(n > 4096);
	fclose(file);
}

static void test_bad_variable(void **state)
{
	struct call *call = host_error(
		*state, method_session_create, json_pack("{s:s, s:{s:s}}", "template", "plain", "env", "A=B", "1"));

	assert_int_equal(call->kind, E_INVALID_PARAMS);
	assert_string_equal(call->path, "env");
	assert_non_null(strstr(call->message, "A=B"));
	call_free(call);
}

static void test_image_command(void **state)
{
	struct fake_host *host = *state;
	char path[128];

	host->templates[0].command = NULL;
	host->templates[0].workdir = NULL;
	struct call *call = host_error(host, method_session_create, json_pack("{s:s}", "template", "plain"));
	assert_int_equal(call->kind, E_FAILED);
	assert_string_equal(call->step, "image");
	assert_int_equal(call->err_no, ENOENT);
	call_free(call);

	snprintf(path, sizeof(path), "%s/images", host->dir);
	assert_return_code(mkdir(path, 0700), errno);
	snprintf(path, sizeof(path), "%s/images/base.json", host->dir);
	json_t *image = json_pack("{s:[], s:{s:[s, s], s:[s], s:[s], s:s, s:s}}", "layers", "config", "env",
		"LANG=fr", "FROM=image", "entrypoint", "/entry", "cmd", "default", "user", "web", "workdir", "/srv");
	assert_int_equal(json_dump_file(image, path, 0), 0);
	json_decref(image);
	json_decref(host_create(host, "plain", "byimage"));
	assert_string_equal(host_session(host, "byimage")->argv, "/entry default ");
	assert_string_equal(host_session(host, "byimage")->envp, "LANG=C FROM=image PATH=/bin ");
	json_decref(host_ok(host, method_session_create,
		json_pack("{s:s, s:s, s:[s]}", "template", "plain", "id", "own", "command", "mine")));
	assert_string_equal(host_session(host, "own")->argv, "/entry mine ");
}

static void test_http_probe(void **state)
{
	struct fake_host *host = *state;

	host->refuse_connects = 3;
	json_t *session = host_create(host, "http", "web");
	check_string(session, "state", "ready");
	check_string(session, "cdp_url", "http://100.96.0.6:9222");
	check_string(session, "endpoints.cdp.url", "http://100.96.0.6:9222");
	assert_int_equal(host_session(host, "web")->n_connects, 4);
	json_decref(session);
	/* What has ended is not to be reached: another may have the address. */
	session = host_ok(host, method_session_stop, json_pack("{s:s}", "session", "web"));
	assert_true(json_is_null(json_object_get(session, "cdp_url")));
	assert_int_equal(json_object_size(json_object_get(session, "endpoints")), 0);
	json_decref(session);
}

static void test_http_answers(void **state)
{
	struct fake_host *host = *state;
	static const struct {
		const char *answer, *text;
	} cases[] = {
		{ "HTTP/1.1 503 Service Unavailable\r\n\r\n", "status 503" },
		{ "SSH-2.0-OpenSSH_9.2\r\n", "no HTTP answer" },
		{ "HTTP/1.1 200", "no HTTP answer" },
		{ "", "no HTTP answer" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		host->http_answer = cases[i].answer;
		host->templates[1].readiness.timeout_ns = 30 * NS_PER_MS;
		struct call *call = host_error(host, method_session_create, json_pack("{s:s}", "template", "http"));
		assert_int_equal(call->kind, E_TIMEOUT);
		assert_non_null(strstr(call->message, cases[i].text));
		call_free(call);
	}
}

static void test_tcp_and_exec_probes(void **state)
{
	struct fake_host *host = *state;

	host->refuse_connects = 2;
	json_decref(host_create(host, "tcp", "tcp"));
	assert_int_equal(host_session(host, "tcp")->n_connects, 3);
	json_decref(host_create(host, "exec", "exec"));
	assert_int_equal(host_session(host, "exec")->n_execs, 1);
}

static void test_exec_probe_fails(void **state)
{
	struct fake_host *host = *state;

	host->exec_exit_code = 3;
	struct call *call = host_error(host, method_session_create, json_pack("{s:s}", "template", "exec"));
	assert_int_equal(call->kind, E_TIMEOUT);
	assert_string_equal(call->step, "readiness");
	assert_int_equal(call->err_no, ETIMEDOUT);
	assert_non_null(strstr(call->message, "exit code 3"));
	call_free(call);
	host->silent_exec = true;
	call = host_error(host, method_session_create, json_pack("{s:s}", "template", "exec"));
	assert_non_null(strstr(call->message, "no answer"));
	call_free(call);
	assert_null(host->sessions);
}

static void test_never_ready(void **state)
{
	struct fake_host *host = *state;
	struct conn *conn = conn_new();
	struct call *call = call_new(host, conn, json_pack("{s:s, s:s}", "template", "http", "id", "deaf"));

	host->refuse_connects = UINT32_MAX;
	method_session_create(call);
	host_run(host, host_has_session, host);
	fake_print(host->sessions, "waiting for godot\n");
	host_answer(host, call, NULL);
	assert_null(call->result);
	assert_int_equal(call->kind, E_TIMEOUT);
	assert_string_equal(call->step, "readiness");
	assert_non_null(strstr(call->message, "Connection refused"));
	assert_string_equal(call->log_tail, "waiting for godot\n");
	call_free(call);
	conn_end(conn);
	/* Rolled back whole. */
	assert_null(host->sessions);
	host_expect_forgotten(host, "deaf");
	host->refuse_connects = 0;
	json_decref(host_create(host, "http", "deaf"));
}

static void test_created_then_never_ready(void **state)
{
	struct fake_host *host = *state;

	host->refuse_connects = UINT32_MAX;
	json_t *session = host_ok(host, method_session_create,
		json_pack("{s:s, s:s, s:s}", "template", "http", "id", "slow", "wait", "created"));
	check_string(session, "state", "starting");
	json_decref(session);
	struct call *call =
		host_error(host, method_session_wait, json_pack("{s:s, s:s}", "session", "slow", "for", "ready"));
	assert_int_equal(call->kind, E_TIMEOUT);
	call_free(call);
	/* Who was told that it exists finds out what became of it. */
	session = host_ended(host, "slow", "failed");
	check_string(session, "end.step", "readiness");
	check_string(session, "end.errno", "ETIMEDOUT");
	json_decref(session);
}

static void test_supervisor_fails(void **state)
{
	struct fake_host *host = *state;

	err_set(&host->create_error, -ENOENT, "exec", "%s", "/bin/nonesuch");
	struct call *call =
		host_error(host, method_session_create, json_pack("{s:s, s:s}", "template", "plain", "id", "one"));
	assert_int_equal(call->kind, E_FAILED);
	assert_string_equal(call->step, "exec");
	assert_int_equal(call->err_no, ENOENT);
	assert_non_null(strstr(call->message, "/bin/nonesuch"));
	assert_false(call->retryable);
	call_free(call);
	host_expect_forgotten(host, "one");
	host->create_error.num = 0;
	json_decref(host_create(host, "plain", "one"));
}

static void test_dies_before_ready(void **state)
{
	struct fake_host *host = *state;
	struct conn *conn = conn_new();
	struct call *call = call_new(host, conn, json_pack("{s:s}", "template", "http"));

	host->refuse_connects = UINT32_MAX;
	method_session_create(call);
	host_run(host, host_has_session, host);
	fake_print(host->sessions, "last words\n");
	fake_exit(host, host->sessions, 7, 0);
	host_answer(host, call, NULL);
	assert_null(call->result);
	assert_int_equal(call->kind, E_FAILED);
	assert_string_equal(call->step, "workload");
	assert_non_null(strstr(call->message, "code 7"));
	assert_string_equal(call->log_tail, "last words\n");
	call_free(call);
	conn_end(conn);
	assert_null(host->sessions);
}

/* Nobody would know of it; but with a key its creator can ask again. */
static void test_client_vanishes(void **state)
{
	struct fake_host *host = *state;
	struct conn *conn = conn_new();
	struct call *call = call_new(host, conn, json_pack("{s:s, s:s}", "template", "plain", "id", "left"));
	struct call *keyed = call_new(
		host, conn, json_pack("{s:s, s:s, s:s}", "template", "plain", "id", "kept", "idempotency_key", "k"));

	method_session_create(call);
	method_session_create(keyed);
	conn_end(conn);
	assert_true(call->answered && keyed->answered);
	call_free(call);
	call_free(keyed);
	json_decref(host_ok(host, method_session_wait, json_pack("{s:s, s:s}", "session", "kept", "for", "ready")));
	assert_non_null(host_session(host, "kept"));
	host_idle(host, 20);
	host_expect_forgotten(host, "left");
	assert_null(host_session(host, "left"));
}

static void test_registry_full(void **state)
{
	struct fake_host *host = *state;
	struct conn *conn = conn_new();
	struct call *call = call_new(host, conn, json_pack("{s:s, s:s}", "template", "plain", "id", "one"));

	method_session_create(call);
	host_disk_full(host, true);
	host_answer(host, call, NULL);
	host_disk_full(host, false);
	assert_null(call->result);
	assert_string_equal(call->step, "registry");
	assert_int_equal(call->kind, E_FAILED);
	assert_int_not_equal(call->err_no, 0);
	assert_int_equal(host->n_creates, 0);
	call_free(call);
	conn_end(conn);
	/* Until that has been tried again nothing is begun, nor remembered. */
	host_refused(host, method_session_create, json_pack("{s:s, s:s}", "template", "plain", "id", "two"), E_FAILED,
		"", "the registry cannot be written");
	assert_null(session_find(host->control.lifecycle, "two"));
	host_idle(host, 1200);
	/* There is room again: all goes on, and nothing of it is left but the tale. */
	json_decref(host_create(host, "plain", "one"));
	assert_int_equal(host->n_creates, 1);
	conn = conn_new();
	call = call_new(host, conn, json_pack("{s:i, s:s}", "since", 0, "session", "one"));
	method_events_subscribe(call);
	assert_true(json_is_null(json_object_get(call->result, "gone")));
	host_idle(host, 20);
	assert_int_equal(json_array_size(conn->notifications), 5);
	check_string(json_object_get(json_array_get(conn->notifications, 1), "params"), "kind", "session.ended");
	call_free(call);
	conn_end(conn);
}

int main(void)
{
	/* clang-format off */
	const struct CMUnitTest tests[] = {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
		TEST(test_plain), TEST(test_made_up_id), TEST(test_environment_and_secrets),
		TEST(test_bad_variable), TEST(test_image_command), TEST(test_http_probe), TEST(test_http_answers),
		TEST(test_tcp_and_exec_probes), TEST(test_exec_probe_fails), TEST(test_never_ready),
		TEST(test_created_then_never_ready), TEST(test_supervisor_fails), TEST(test_dies_before_ready),
		TEST(test_client_vanishes), TEST(test_registry_full),
	};
	/* clang-format on */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
