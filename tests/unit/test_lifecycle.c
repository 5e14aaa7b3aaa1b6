/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions from creation to end: every way there is, with everything that can fail on it, and over restarts. */
#include "unit.h"

#include "fake_host.h"

#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
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

static json_t *create(struct fake_host *host, const char *template, const char *id)
{
	return host_ok(host, method_session_create,
		json_pack("{s:s, s:s, s:s}", "template", template, "id", id, "owner", "ann"));
}

static json_t *get(struct fake_host *host, const char *id)
{
	return host_ok(host, method_session_get, json_pack("{s:s}", "session", id));
}

static void expect_state(struct fake_host *host, const char *id, const char *wanted)
{
	json_t *session = get(host, id);

	check_string(session, "state", wanted);
	json_decref(session);
}

static void expect_forgotten(struct fake_host *host, const char *id)
{
	struct call *call = host_error(host, method_session_get, json_pack("{s:s}", "session", id));

	assert_int_equal(call->kind, E_NOT_FOUND);
	call_free(call);
}

/* The session once it has ended, for REASON. */
static json_t *wait_ended(struct fake_host *host, const char *id, const char *reason)
{
	json_t *session = host_ok(host, method_session_wait, json_pack("{s:s, s:s}", "session", id, "for", "ended"));

	check_string(session, "state", "ended");
	check_string(session, "end.reason", reason);
	return session;
}

static void finish(struct fake_host *host, const char *id, const char *reason)
{
	json_decref(wait_ended(host, id, reason));
}

/* ---- creation ---- */

static void test_plain(void **state)
{
	struct fake_host *host = *state;
	json_t *session = create(host, "plain", "one");

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
	json_decref(create(host, "plain", "byimage"));
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
	json_t *session = create(host, "http", "web");
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
	json_decref(create(host, "tcp", "tcp"));
	assert_int_equal(host_session(host, "tcp")->n_connects, 3);
	json_decref(create(host, "exec", "exec"));
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

static bool has_session(void *arg)
{
	struct fake_host *host = arg;

	return host->sessions != NULL;
}

static void test_never_ready(void **state)
{
	struct fake_host *host = *state;
	struct conn *conn = conn_new();
	struct call *call = call_new(host, conn, json_pack("{s:s, s:s}", "template", "http", "id", "deaf"));

	host->refuse_connects = UINT32_MAX;
	method_session_create(call);
	host_run(host, has_session, host);
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
	expect_forgotten(host, "deaf");
	host->refuse_connects = 0;
	json_decref(create(host, "http", "deaf"));
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
	session = wait_ended(host, "slow", "failed");
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
	expect_forgotten(host, "one");
	host->create_error.num = 0;
	json_decref(create(host, "plain", "one"));
}

static void test_dies_before_ready(void **state)
{
	struct fake_host *host = *state;
	struct conn *conn = conn_new();
	struct call *call = call_new(host, conn, json_pack("{s:s}", "template", "http"));

	host->refuse_connects = UINT32_MAX;
	method_session_create(call);
	host_run(host, has_session, host);
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
	expect_forgotten(host, "left");
	assert_null(host_session(host, "left"));
}

static void test_registry_full(void **state)
{
	struct fake_host *host = *state;
	struct conn *conn = conn_new();
	struct call *call = call_new(host, conn, json_pack("{s:s, s:s}", "template", "plain", "id", "one"));
	struct rlimit before, none = { 0 };

	signal(SIGXFSZ, SIG_IGN);
	assert_return_code(getrlimit(RLIMIT_FSIZE, &before), errno);
	none.rlim_max = before.rlim_max;
	method_session_create(call);
	assert_return_code(setrlimit(RLIMIT_FSIZE, &none), errno);
	host_answer(host, call, NULL);
	assert_return_code(setrlimit(RLIMIT_FSIZE, &before), errno);
	assert_null(call->result);
	assert_string_equal(call->step, "registry");
	assert_int_equal(call->kind, E_FAILED);
	assert_int_not_equal(call->err_no, 0);
	assert_int_equal(host->n_creates, 0);
	call_free(call);
	conn_end(conn);
	/* There is room again: all goes on, and nothing of it is left but the tale. */
	json_decref(create(host, "plain", "one"));
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

static void test_registry_full_at_the_end(void **state)
{
	struct fake_host *host = *state;
	struct rlimit before, none = { 0 };

	json_decref(create(host, "plain", "one"));
	host_idle(host, 5);
	assert_return_code(getrlimit(RLIMIT_FSIZE, &before), errno);
	none.rlim_max = before.rlim_max;
	assert_return_code(setrlimit(RLIMIT_FSIZE, &none), errno);
	/* It ends all the same, and whoever waits is told. */
	json_t *session = host_ok(host, method_session_stop, json_pack("{s:s}", "session", "one"));
	assert_return_code(setrlimit(RLIMIT_FSIZE, &before), errno);
	check_string(session, "end.reason", "stopped");
	json_decref(session);
	assert_null(host->sessions);
}

/* ---- the end ---- */

static void test_stop(void **state)
{
	struct fake_host *host = *state;

	json_decref(create(host, "plain", "one"));
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
	expect_forgotten(host, "one");
	json_decref(create(host, "plain", "one"));
}

static void test_stop_by_template(void **state)
{
	struct fake_host *host = *state;

	host->templates[0].stop_signal = SIGINT;
	host->deaf_stop = true;
	json_decref(create(host, "plain", "signal"));
	host->templates[2].stop_kind = STOP_BY_CDP;
	json_decref(create(host, "tcp", "cdp"));
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

	json_decref(create(host, "plain", "one"));
	json_decref(
		host_ok(host, method_session_stop, json_pack("{s:s, s:i}", "session", "one", "grace_seconds", 0)));
	assert_int_equal(host->n_kills, 1);
}

static void test_remove_while_stopping(void **state)
{
	struct fake_host *host = *state;
	struct conn *conn = conn_new();

	host->deaf_stop = true;
	json_decref(create(host, "plain", "one"));
	struct call *stop = call_new(host, conn, json_pack("{s:s, s:i}", "session", "one", "grace_seconds", 1000));
	method_session_stop(stop);
	host_idle(host, 5);
	assert_false(stop->answered);
	expect_state(host, "one", "stopping");
	json_t *session = host_ok(host, method_session_remove, json_pack("{s:s}", "session", "one"));
	check_string(session, "state", "ended");
	json_decref(session);
	assert_true(stop->answered && stop->result);
	call_free(stop);
	conn_end(conn);
	expect_forgotten(host, "one");
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
	expect_forgotten(host, "one");
	call_free(make);
	call_free(stop);
	conn_end(conn);
}

/* Answers the SUPER_CREATE that was held back as if the session had been killed in the making. */
static void refuse_held(struct fake_host *host)
{
	struct super_created created = { 0 };

	err_set(&created.err, -ECANCELED, "init", "ended while it was being made");
	msg_init(&created.header, SUPER_CREATE | MSG_REPLY, host->held_id, sizeof(created));
	assert_int_equal(msg_send(host->super, &created.header, NULL, 0), 0);
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
	host_run(host, has_session, host);
	method_session_stop(stop);
	host_idle(host, 5);
	assert_int_equal(host->n_kills, 1);
	assert_false(stop->answered);
	refuse_held(host);
	host_answer(host, stop, NULL);
	host_answer(host, make, NULL);
	assert_non_null(stop->result);
	assert_int_equal(make->kind, E_INVALID_STATE);
	call_free(make);
	call_free(stop);
	conn_end(conn);
	expect_forgotten(host, "one");
}

static void test_workload_exits(void **state)
{
	struct fake_host *host = *state;

	json_decref(create(host, "plain", "code"));
	fake_print(host_session(host, "code"), "oops\n");
	fake_exit(host, host_session(host, "code"), 5, 0);
	json_t *session = wait_ended(host, "code", "exited");
	assert_int_equal(json_integer_value(json_object_get(json_object_get(session, "end"), "exit_code")), 5);
	check_string(session, "end.log_tail", "oops\n");
	json_decref(session);

	json_decref(create(host, "plain", "signal"));
	fake_exit(host, host_session(host, "signal"), -1, SIGSEGV);
	session = wait_ended(host, "signal", "exited");
	assert_int_equal(json_integer_value(json_object_get(json_object_get(session, "end"), "signal")), SIGSEGV);
	assert_null(json_object_get(json_object_get(session, "end"), "exit_code"));
	json_decref(session);
}

static void test_out_of_memory(void **state)
{
	struct fake_host *host = *state;

	host->oom_kills = 3;
	json_decref(create(host, "plain", "one"));
	fake_die(host, host_session(host, "one"));
	finish(host, "one", "oom");
	/* One that exits has not been killed with all the others. */
	json_decref(create(host, "plain", "two"));
	fake_exit(host, host_session(host, "two"), 1, 0);
	finish(host, "two", "exited");
	json_decref(create(host, "plain", "three"));
	close_fdp(&host_session(host, "three")->init);
	fake_exit(host, host_session(host, "three"), 1, 0);
	fake_die(host, host_session(host, "three"));
	finish(host, "three", "exited");
}

static void test_workload_is_gone_at_once(void **state)
{
	struct fake_host *host = *state;

	host->workload_gone = true;
	json_decref(host_ok(host, method_session_create,
		json_pack("{s:s, s:s, s:s}", "template", "plain", "id", "one", "wait", "created")));
	json_t *session = wait_ended(host, "one", "exited");
	assert_int_equal(json_integer_value(json_object_get(json_object_get(session, "end"), "exit_code")), 4);
	json_decref(session);
}

static void test_init_dies(void **state)
{
	struct fake_host *host = *state;

	json_decref(create(host, "plain", "one"));
	fake_die(host, host_session(host, "one"));
	json_t *session = wait_ended(host, "one", "failed");
	check_string(session, "end.step", "init");
	json_decref(session);
}

static void test_hostile_init(void **state)
{
	static const enum init_fault faults[] = { FAULT_RUBBISH, FAULT_UNASKED, FAULT_BAD_EXIT, FAULT_TWO_HELLOS,
		FAULT_CLOSE };
	struct fake_host *host = *state;

	json_decref(create(host, "plain", "neighbour"));
	for (size_t i = 0; i < ARRAY_SIZE(faults); i++) {
		host->fault = faults[i];
		json_decref(host_ok(host, method_session_create,
			json_pack("{s:s, s:s, s:s}", "template", "plain", "id", "bad", "wait", "created")));
		json_t *session = wait_ended(host, "bad", "failed");
		check_string(session, "end.step", "init");
		const char *error = json_path(session, "end.errno");
		assert_true(faults[i] == FAULT_CLOSE ? !error : error && streq(error, "EPROTO"));
		json_decref(session);
		json_decref(host_ok(host, method_session_remove, json_pack("{s:s}", "session", "bad")));
		expect_state(host, "neighbour", "ready");
		assert_non_null(host_session(host, "neighbour"));
	}
}

static void test_init_sends_no_socket(void **state)
{
	struct fake_host *host = *state;

	host->fault = FAULT_PIPE;
	struct call *call = host_error(host, method_session_create, json_pack("{s:s}", "template", "http"));
	assert_int_equal(call->kind, E_TIMEOUT);
	assert_non_null(strstr(call->message, "no TCP socket"));
	call_free(call);
}

static void test_kill_hangs(void **state)
{
	struct fake_host *host = *state;

	host->hold_gone = true;
	json_decref(create(host, "plain", "one"));
	struct conn *conn = conn_new();
	struct call *call = call_new(host, conn, json_pack("{s:s, s:i}", "session", "one", "grace_seconds", 0));
	method_session_stop(call);
	host_idle(host, 20);
	assert_false(call->answered);
	expect_state(host, "one", "stopping");
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

/* ---- deadlines ---- */

static void test_expires(void **state)
{
	struct fake_host *host = *state;
	uint64_t begun = boottime_ns();

	json_t *session = host_ok(host, method_session_create,
		json_pack("{s:s, s:s, s:f}", "template", "plain", "id", "short", "ttl_seconds", 0.05));
	assert_non_null(json_path(session, "expires_at"));
	json_decref(session);
	finish(host, "short", "expired");
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
	expect_state(host, "longer", "ready");
	json_decref(host_ok(
		host, method_session_extend, json_pack("{s:s, s:f}", "session", "longer", "ttl_seconds", 0.01)));
	finish(host, "longer", "expired");
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
	finish(host, "idle", "idle");
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
	finish(host, "slow", "idle");
}

/* ---- restart ---- */

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
	json_t *after = get(host, "kept");
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
	json_decref(create(host, "plain", "paused"));
	json_decref(host_ok(host, method_session_pause, json_pack("{s:s}", "session", "paused")));
	json_decref(create(host, "plain", "stopping"));
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
	expect_state(host, "paused", "paused");
	finish(host, "stopping", "stopped");
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
	host_run(host, has_session, host);
	/* Sessions being made are not listed. */
	struct fake_session *half = host->sessions;
	host->sessions = NULL;
	host_crash(host);
	host_start(host);
	expect_forgotten(host, "half");
	/* The answer to the process before is nobody's, and no harm. */
	refuse_held(host);
	host_idle(host, 5);
	host->sessions = half;
	host->hold_create = false;
	json_decref(create(host, "plain", "other"));
	call_free(call);
	conn_end(conn);
}

static void test_stranger(void **state)
{
	struct fake_host *host = *state;

	json_decref(create(host, "plain", "known"));
	memcpy(host_session(host, "known")->id, "other", 6);
	host_crash(host);
	host_start(host);
	json_t *session = get(host, "other");
	check_string(session, "state", "ready");
	check_string(session, "owner", "");
	json_decref(session);
	session = wait_ended(host, "known", "failed");
	check_string(session, "end.step", "lost");
	json_decref(session);
}

static void test_ended_meanwhile(void **state)
{
	struct fake_host *host = *state;

	for (int i = 0; i < 2; i++) {
		json_decref(create(host, "plain", "dying"));
		host_idle(host, 5);
		host_crash(host);
		close_fdp(&host_session(host, "dying")->init);
		fake_exit(host, host_session(host, "dying"), 5, 0);
		host_session(host, "dying")->ending = true;
		host->exit_before_list = i == 1;
		host_start(host);
		json_t *session = wait_ended(host, "dying", "exited");
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
	host_run(host, has_session, host);
	host_crash(host);
	host_session(host, "dying")->ending = true;
	fake_exit(host, host_session(host, "dying"), 5, 0);
	host_start(host);
	finish(host, "dying", "exited");
	call_free(call);
	conn_end(conn);
}

static void test_init_does_not_answer(void **state)
{
	struct fake_host *host = *state;

	json_decref(create(host, "plain", "hung"));
	host_idle(host, 5);
	host_crash(host);
	host->no_descriptors = true;
	host_start(host);
	json_t *session = wait_ended(host, "hung", "failed");
	check_string(session, "end.step", "init");
	json_decref(session);
	assert_int_equal(host->n_kills, 1);
	assert_null(host->sessions);
}

static void test_host_restart(void **state)
{
	struct fake_host *host = *state;

	json_decref(create(host, "plain", "one"));
	host_crash(host);
	fake_gone(host, host_session(host, "one"));
	copy_string(host->control.boot_id, sizeof(host->control.boot_id), "boot-two");
	host_start(host);
	finish(host, "one", "host-restart");
}

static void test_told_to_have_ended(void **state)
{
	struct fake_host *host = *state;

	json_decref(create(host, "plain", "zombie"));
	memcpy(host_session(host, "zombie")->id, "hidden", 7);
	host_crash(host);
	host_start(host);
	finish(host, "zombie", "failed");
	memcpy(host_session(host, "hidden")->id, "zombie", 7);
	host_crash(host);
	host_start(host);
	host_idle(host, 5);
	assert_null(host_session(host, "zombie"));
	finish(host, "zombie", "failed");
}

static void test_damaged_registry(void **state)
{
	struct fake_host *host = *state;
	char path[128];

	json_decref(create(host, "plain", "one"));
	host_stop(host);
	snprintf(path, sizeof(path), "%s/control/registry.db", host->dir);
	FILE *file = fopen(path, "r+e");
	fseek(file, 4096, SEEK_SET);
	for (int i = 0; i < 8192; i++)
		fputc(0xa5, file);
	fclose(file);
	host_start(host);
	json_t *session = get(host, "one");
	check_string(session, "state", "ready");
	check_string(session, "owner", "");
	json_decref(session);
}

int main(void)
{
	/* clang-format off */
	const struct CMUnitTest tests[] = {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
		TEST(test_plain), TEST(test_made_up_id), TEST(test_environment_and_secrets), TEST(test_bad_variable),
		TEST(test_image_command), TEST(test_http_probe), TEST(test_http_answers), TEST(test_tcp_and_exec_probes),
		TEST(test_exec_probe_fails), TEST(test_never_ready), TEST(test_created_then_never_ready),
		TEST(test_supervisor_fails), TEST(test_dies_before_ready), TEST(test_client_vanishes),
		TEST(test_registry_full), TEST(test_registry_full_at_the_end), TEST(test_stop), TEST(test_stop_by_template), TEST(test_stop_without_grace),
		TEST(test_remove_while_stopping), TEST(test_stop_before_it_was_asked_for), TEST(test_stop_while_it_is_made),
		TEST(test_workload_exits), TEST(test_out_of_memory), TEST(test_workload_is_gone_at_once), TEST(test_init_dies), TEST(test_hostile_init),
		TEST(test_init_sends_no_socket), TEST(test_kill_hangs), TEST(test_supervisor_ends), TEST(test_expires),
		TEST(test_extend), TEST(test_idle), TEST(test_not_idle_before_it_is_ready), TEST(test_adopted), TEST(test_adopted_in_every_state),
		TEST(test_killed_while_it_is_made), TEST(test_stranger), TEST(test_ended_meanwhile), TEST(test_ended_before_it_was_written), TEST(test_init_does_not_answer),
		TEST(test_host_restart), TEST(test_told_to_have_ended), TEST(test_damaged_registry),
	};
	/* clang-format on */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
