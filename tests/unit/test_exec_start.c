/* SPDX-License-Identifier: Apache-2.0 */
/* Commands that outlive connections, against an init of the test's own, honest and otherwise. */
#include "unit.h"

#include "fake_host.h"

#include <signal.h>
#include <sys/socket.h>

#include "control/kept.h"

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

static json_t *named(const json_t *started)
{
	return json_pack("{s:s, s:O}", "session", "one", "exec", json_object_get(started, "exec"));
}

static void tell_exited(struct fake_host *host, uint64_t exec, int exit_code)
{
	struct init_ev_exited event = { .exec = exec, .exit_code = exit_code };

	msg_init(&event.header, INIT_EV_EXITED, 0, sizeof(event));
	assert_int_equal(msg_send(host_session(host, "one")->init, &event.header, NULL, 0), 0);
}

static size_t n_listed(struct fake_host *host)
{
	json_t *result = host_ok(host, method_exec_list, json_pack("{s:s}", "session", "one"));
	size_t n = json_array_size(json_object_get(result, "execs"));

	json_decref(result);
	return n;
}

static bool is_attached(void *arg)
{
	return host_session(arg, "one")->n_attached > 0;
}

/* ---- the usual course ---- */

static void test_streams(void **state)
{
	struct fake_host *host = *state;

	json_t *started = host_ok(host, method_exec_start, params());
	const json_t *streams = json_object_get(started, "streams");
	assert_int_equal(json_object_size(streams), 3);
	assert_int_equal(host_session(host, "one")->start.flags, START_INPUT);
	assert_string_equal(host_session(host, "one")->start.label.command, "echo hello");
	int fd = stream_open(host, json_object_get(streams, "stdout"));
	host_run(host, is_attached, host);
	assert_int_equal(host_session(host, "one")->attach.stream, STREAM_OUTPUT);
	/* What init writes the client reads, and then the end. */
	int pipe = host_session(host, "one")->attached_fds[0];
	assert_int_equal(write(pipe, "hello\n", 6), 6);
	close(pipe);
	host_idle(host, 20);
	char text[16];
	assert_int_equal(recv(fd, text, sizeof(text), 0), 6);
	assert_int_equal(recv(fd, text, sizeof(text), 0), 0);
	close(fd);
	/* Nobody comes for the others. */
	stream_expire(host, json_object_get(streams, "stdin"));
	stream_expire(host, json_object_get(streams, "stderr"));
	json_decref(started);
}

static void test_end_of_input_is_said(void **state)
{
	struct fake_host *host = *state;

	json_t *started = host_ok(host, method_exec_start, params());
	int fd = stream_open(host, json_object_get(json_object_get(started, "streams"), "stdin"));
	host_run(host, is_attached, host);
	close_fd(host_session(host, "one")->attached_fds[0]);
	host_idle(host, 20);
	/* The command wants no more: that is no end of input. */
	assert_int_equal(host_session(host, "one")->n_input_ends, 0);
	close(fd);
	json_decref(started);
	host_session(host, "one")->n_attached = 0;
	started = host_ok(host, method_exec_start, params());
	fd = stream_open(host, json_object_get(json_object_get(started, "streams"), "stdin"));
	host_run(host, is_attached, host);
	shutdown(fd, SHUT_WR);
	host_idle(host, 20);
	assert_int_equal(host_session(host, "one")->n_input_ends, 1);
	close_fd(host_session(host, "one")->attached_fds[0]);
	close(fd);
	json_decref(started);
}

static void test_descriptors(void **state)
{
	struct fake_host *host = *state;
	json_t *all = params();

	json_object_set_new(all, "via", json_string("fd"));
	json_object_set_new(all, "merge", json_true());
	struct call *call = call_new(host, conn_new(), all);
	struct conn *conn = call_conn(call);
	host_answer(host, call, method_exec_start);
	assert_int_equal(call->n_fds, 2);
	assert_int_equal(json_integer_value(json_object_get(
				 json_object_get(json_object_get(call->result, "streams"), "stdout"), "fd")),
		1);
	assert_null(host->offers);
	call_free(call);
	conn_end(conn);
	host_idle(host, 20);
	struct fake_session *session = host_session(host, "one");
	close_fds(session->attached_fds, ARRAY_SIZE(session->attached_fds));
}

static void test_wait(void **state)
{
	struct fake_host *host = *state;
	struct conn *conn = conn_new();

	json_t *started = host_ok(host, method_exec_start, params());
	struct call *call = call_new(host, conn, named(started));
	method_exec_wait(call);
	host_idle(host, 5);
	assert_false(call->answered);
	tell_exited(host, host_session(host, "one")->last_exec, 7);
	host_idle(host, 5);
	assert_true(call->answered);
	assert_int_equal(json_integer_value(json_object_get(call->result, "exit_code")), 7);
	call_free(call);
	/* Also after it. */
	json_t *ended = host_ok(host, method_exec_wait, named(started));
	assert_int_equal(json_integer_value(json_object_get(ended, "exit_code")), 7);
	json_decref(ended);
	json_decref(started);
	conn_end(conn);
}

static void test_ended_ones_are_bounded(void **state)
{
	struct fake_host *host = *state;

	for (size_t i = 0; i < KEPT_ENDED_PER_SESSION + 5; i++) {
		json_decref(host_ok(host, method_exec_start, params()));
		tell_exited(host, host_session(host, "one")->last_exec, 0);
		host_idle(host, 1);
	}
	host_idle(host, 10);
	assert_int_equal(n_listed(host), KEPT_ENDED_PER_SESSION);
	assert_int_equal(host_session(host, "one")->n_forgotten, 5);
}

/* ---- what goes wrong ---- */

static void test_not_started(void **state)
{
	struct fake_host *host = *state;

	err_set(&host->exec_error, -ENOENT, "exec", "%s", "echo");
	struct call *call = host_error(host, method_exec_start, params());
	assert_int_equal(call->kind, E_FAILED);
	assert_int_equal(call->err_no, ENOENT);
	call_free(call);
	/* No token is left over, no command either. */
	assert_null(host->offers);
	assert_int_equal(n_listed(host), 0);
}

static void test_client_leaves(void **state)
{
	struct fake_host *host = *state;
	struct conn *conn = conn_new();
	struct call *call = call_new(host, conn, params());

	method_exec_start(call);
	conn_end(conn);
	assert_true(call->answered && call->kind == E_UNAVAILABLE);
	assert_null(host->offers);
	call_free(call);
	host_idle(host, 10);
	/* Whoever knows no name of it cannot end it. */
	assert_int_equal(host_session(host, "one")->last_exec_signal, SIGKILL);
}

static void test_session_ends(void **state)
{
	struct fake_host *host = *state;
	struct conn *conn = conn_new();

	json_t *started = host_ok(host, method_exec_start, params());
	struct call *call = call_new(host, conn, named(started));
	method_exec_wait(call);
	json_decref(host_ok(host, method_session_stop, json_pack("{s:s}", "session", "one")));
	assert_true(call->answered);
	assert_int_equal(call->kind, E_INVALID_STATE);
	assert_null(host->offers);
	call_free(call);
	json_decref(started);
	conn_end(conn);
}

/* ---- the list ---- */

static struct init_ev_kept kept_event(uint64_t exec, const char *name)
{
	struct init_ev_kept event = { .exec = exec,
		.flags = START_TTY,
		.pid = 5,
		.label = { .command = "sleep", .uid = 77, .started_ns = 1 } };

	copy_string(event.label.name, sizeof(event.label.name), name);
	msg_init(&event.header, INIT_EV_KEPT, 0, sizeof(event));
	return event;
}

static void test_found_again(void **state)
{
	struct fake_host *host = *state;
	struct init_ev_kept events[] = { kept_event(9, "desk"), kept_event(10, ""), kept_event(9, "twice") };

	events[1].pid = 0;
	events[1].exit_code = 4;
	host_crash(host);
	host->kept = events;
	host->n_kept = ARRAY_SIZE(events);
	host_start(host);
	host_idle(host, 10);
	json_t *result = host_ok(host, method_exec_list, json_pack("{s:s}", "session", "one"));
	const json_t *execs = json_object_get(result, "execs");
	assert_int_equal(json_array_size(execs), 2);
	check_string(json_array_get(execs, 0), "terminal", "desk");
	check_string(json_array_get(execs, 0), "state", "running");
	check_string(json_array_get(execs, 1), "state", "ended");
	assert_int_equal(json_integer_value(json_object_get(json_array_get(execs, 1), "exit_code")), 4);
	json_decref(result);
	tell_exited(host, 9, 3);
	json_t *ended = host_ok(host, method_exec_wait, json_pack("{s:s, s:s}", "session", "one", "exec", "desk"));
	assert_int_equal(json_integer_value(json_object_get(ended, "exit_code")), 3);
	json_decref(ended);
}

/* A list that nobody asked for, or with what cannot be, ends its own session. */
static void test_lies(void **state)
{
	struct fake_host *host = *state;
	struct init_ev_kept event = kept_event(9, "desk");

	json_decref(host_create(host, "plain", "two"));
	assert_int_equal(msg_send(host_session(host, "one")->init, &event.header, NULL, 0), 0);
	host_expect_ended(host, "one", "failed");
	host_expect_state(host, "two", "ready");
	memset(event.label.name, 'x', sizeof(event.label.name));
	assert_int_equal(msg_check(&event, sizeof(event), 0, init_answers, n_init_answers), -EPROTO);
	event = kept_event(9, "desk");
	event.pid = 0;
	event.exit_code = 256;
	assert_int_equal(msg_check(&event, sizeof(event), 0, init_answers, n_init_answers), -EPROTO);
	event.exit_code = -1;
	assert_int_equal(msg_check(&event, sizeof(event), 0, init_answers, n_init_answers), -EPROTO);
	event.signal = 9;
	assert_int_equal(msg_check(&event, sizeof(event), 0, init_answers, n_init_answers), 0);
}

static void test_list_without_end(void **state)
{
	struct fake_host *host = *state;
	static struct init_ev_kept events[INIT_MAX_KEPT + 1];

	for (size_t i = 0; i < ARRAY_SIZE(events); i++)
		events[i] = kept_event(i + 1, "");
	host_crash(host);
	host->kept = events;
	host->n_kept = ARRAY_SIZE(events);
	host_start(host);
	host_expect_ended(host, "one", "failed");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_streams, setup, teardown),
		cmocka_unit_test_setup_teardown(test_end_of_input_is_said, setup, teardown),
		cmocka_unit_test_setup_teardown(test_descriptors, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wait, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ended_ones_are_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(test_not_started, setup, teardown),
		cmocka_unit_test_setup_teardown(test_client_leaves, setup, teardown),
		cmocka_unit_test_setup_teardown(test_session_ends, setup, teardown),
		cmocka_unit_test_setup_teardown(test_found_again, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lies, setup, teardown),
		cmocka_unit_test_setup_teardown(test_list_without_end, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
