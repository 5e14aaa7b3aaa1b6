/* SPDX-License-Identifier: Apache-2.0 */
/* port.connect against inits that refuse, lie and go away. */
#include "unit.h"

#include "fake_host.h"

#include <signal.h>
#include <sys/socket.h>

static int set_up(void **state)
{
	struct fake_host *host = host_new();

	signal(SIGPIPE, SIG_IGN);
	host->control.config.max_port_connections = 4;
	host->control.config.max_port_connections_per_session = 2;
	host->control.n_descriptors = 1024;
	host_start(host);
	json_decref(host_create(host, "plain", "one"));
	*state = host;
	return 0;
}

static int tear_down(void **state)
{
	host_free(*state);
	return 0;
}

static json_t *target(void)
{
	return json_pack("{s:s, s:i}", "session", "one", "port", 80);
}

static int64_t open_connections(struct fake_host *host)
{
	json_t *stats = host_ok(host, method_session_stats, json_pack("{s:s}", "session", "one"));
	int64_t n = json_integer_value(json_object_get(json_object_get(stats, "ports"), "open"));

	json_decref(stats);
	return n;
}

static void test_token(void **state)
{
	struct fake_host *host = *state;
	json_t *offer = host_ok(host, method_port_connect, target());
	int fd = stream_open(host, offer);

	assert_int_equal(open_connections(host), 1);
	close(fd);
	host_idle(host, 20);
	assert_int_equal(open_connections(host), 0);
	json_decref(offer);
}

static void test_nobody_comes(void **state)
{
	struct fake_host *host = *state;
	json_t *offer = host_ok(host, method_port_connect, target());

	assert_int_equal(open_connections(host), 1);
	stream_expire(host, offer);
	assert_int_equal(open_connections(host), 0);
	json_decref(offer);
}

static void test_refused(void **state)
{
	struct fake_host *host = *state;

	host->refuse_connects = 1;
	struct call *call = host_error(host, method_port_connect, target());
	assert_int_equal(call->kind, E_FAILED);
	assert_int_equal(call->err_no, ECONNREFUSED);
	call_free(call);
	assert_int_equal(open_connections(host), 0);
}

static void test_no_socket(void **state)
{
	struct fake_host *host = *state;

	host->fault = FAULT_PIPE;
	struct call *call = host_error(host, method_port_connect, target());
	assert_int_equal(call->kind, E_FAILED);
	assert_int_equal(call->err_no, EPROTO);
	call_free(call);
}

static void test_bounds(void **state)
{
	struct fake_host *host = *state;
	json_t *first = host_ok(host, method_port_connect, target()),
	       *second = host_ok(host, method_port_connect, target());

	struct call *call = host_error(host, method_port_connect, target());
	assert_int_equal(call->kind, E_LIMIT);
	assert_non_null(strstr(call->message, "max_port_connections_per_session"));
	call_free(call);
	stream_expire(host, first);
	json_t *third = host_ok(host, method_port_connect, target());
	json_decref(first);
	json_decref(second);
	json_decref(third);
}

/* The session is killed with a connection open, and another that nobody came for. */
static void test_session_ends(void **state)
{
	struct fake_host *host = *state;
	json_t *offer = host_ok(host, method_port_connect, target()),
	       *idle = host_ok(host, method_port_connect, target());
	int fd = stream_open(host, offer);
	char byte;

	json_decref(
		host_ok(host, method_session_stop, json_pack("{s:s, s:i}", "session", "one", "grace_seconds", 0)));
	assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), 0);
	close(fd);
	struct call *call = host_error(host, method_port_connect, target());
	assert_int_equal(call->kind, E_INVALID_STATE);
	call_free(call);
	json_decref(offer);
	json_decref(idle);
}

static void test_relative_path(void **state)
{
	host_refused(*state, method_port_connect, json_pack("{s:s, s:s}", "session", "one", "path", "tmp/s"),
		E_INVALID_PARAMS, "path", "absolute");
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_token),
		TEST(test_nobody_comes),
		TEST(test_refused),
		TEST(test_no_socket),
		TEST(test_bounds),
		TEST(test_session_ends),
		TEST(test_relative_path),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
