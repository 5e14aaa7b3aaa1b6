/* SPDX-License-Identifier: Apache-2.0 */
/* wire/service.c, with this test as the service manager and as the journal. */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "wire/service.h"

struct fixture {
	int manager; /* what NOTIFY_SOCKET leads to */
	struct service service;
	struct loop loop;
	size_t n_sessions, n_asked;
};

static void set_number(const char *name, long n)
{
	char text[32];

	snprintf(text, sizeof(text), "%ld", n);
	setenv(name, text, 1);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	socklen_t size = sizeof(address);
	char name[sizeof(address.sun_path) + 1];

	f->manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* Without a name it gets an abstract one: a NUL and five digits. */
	assert_int_equal(bind(f->manager, (struct sockaddr *)&address, sizeof(sa_family_t)), 0);
	assert_int_equal(getsockname(f->manager, (struct sockaddr *)&address, &size), 0);
	snprintf(name, sizeof(name), "@%.*s", (int)(size - sizeof(sa_family_t) - 1), address.sun_path + 1);
	setenv("NOTIFY_SOCKET", name, 1);
	set_number("WATCHDOG_PID", getpid());
	setenv("WATCHDOG_USEC", "200000", 1);
	assert_int_equal(loop_open(&f->loop), 0);
	service_open(&f->service);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	loop_close(&f->loop);
	close_fd(f->manager);
	close_fd(f->service.notify_fd);
	free(f);
	return 0;
}

static void assert_said(int fd, const char *wanted)
{
	char text[256];
	const ssize_t n = recv(fd, text, sizeof(text) - 1, 0);

	assert_true(n >= 0);
	text[n] = '\0';
	assert_string_equal(text, wanted);
}

static void status(struct service *service, char text[static SERVICE_STATUS_SIZE])
{
	struct fixture *f = container_of(service, struct fixture, service);

	snprintf(text, SERVICE_STATUS_SIZE, "%zu sessions", f->n_sessions);
	if (++f->n_asked == 3)
		f->loop.stop = true;
	f->n_sessions = 7;
}

static void test_ready_watchdog_and_status(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(f->service.watchdog_ns, 100 * NS_PER_MS);
	service_ready(&f->service, &f->loop, status);
	assert_int_equal(loop_run(&f->loop), 0);
	assert_said(f->manager, "READY=1");
	assert_said(f->manager, "WATCHDOG=1");
	assert_said(f->manager, "STATUS=0 sessions");
	assert_said(f->manager, "WATCHDOG=1");
	assert_said(f->manager, "STATUS=7 sessions");
	/* What has not changed is not said again. */
	assert_said(f->manager, "WATCHDOG=1");
	assert_int_equal(recv(f->manager, &(char){ 0 }, 1, 0), -1);
}

static void test_watchdog_of_another_process(void **state)
{
	struct service service;

	set_number("WATCHDOG_PID", getpid() + 1L);
	service_open(&service);
	assert_int_equal(service.watchdog_ns, 0);
	close_fd(service.notify_fd);
	(void)state;
}

static void test_without_a_manager(void **state)
{
	struct fixture *f = *state;
	static const char *const useless[] = { "", "relative", "@", "/nonexistent/socket" };

	for (size_t i = 0; i < ARRAY_SIZE(useless); i++) {
		struct service service;
		setenv("NOTIFY_SOCKET", useless[i], 1);
		service_open(&service);
		assert_int_equal(service.notify_fd, -1);
		service_ready(&service, &f->loop, status);
		assert_int_equal(f->n_asked, 0);
	}
}

static void test_sockets_by_name(void **state)
{
	/* Descriptors 3 and up are this test's own for the moment. */
	const int fds[] = { fcntl(0, F_DUPFD, 3), fcntl(0, F_DUPFD, 3), fcntl(0, F_DUPFD, 3) };

	(void)state;
	setenv("LISTEN_FDNAMES", "api:stream:control", 1);
	set_number("LISTEN_FDS", 3);
	set_number("LISTEN_PID", getpid());
	assert_int_equal(service_socket("api"), 3);
	assert_int_equal(service_socket("control"), 5);
	assert_int_equal(service_socket("ap"), -1);
	assert_int_equal(service_socket("apis"), -1);
	set_number("LISTEN_FDS", 2);
	assert_int_equal(service_socket("control"), -1);
	set_number("LISTEN_PID", getpid() + 1L);
	assert_int_equal(service_socket("api"), -1);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		close_fd(fds[i]);
}

static void test_fields_of_the_journal(void **state)
{
	const struct service_fields fields = { .session = "desk\nMESSAGE=forged", .step = "cgroup" };
	int pair[2];
	char text[512], wanted[512];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), 0);
	assert_true(service_log(pair[0], 4, &fields, "two\nlines"));
	const ssize_t n = recv(pair[1], text, sizeof(text) - 1, 0);
	text[n] = '\0';
	snprintf(wanted, sizeof(wanted),
		"PRIORITY=4\nSYSLOG_IDENTIFIER=%s\nCARREL_SESSION=desk MESSAGE=forged\nCARREL_STEP=cgroup\n"
		"MESSAGE=two lines\n",
		program_invocation_short_name);
	assert_string_equal(text, wanted);
	assert_false(service_log(-1, 4, &fields, "nobody"));
	close_fd(pair[1]);
	assert_false(service_log(pair[0], 4, &fields, "gone"));
	close_fd(pair[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_ready_watchdog_and_status, setup, teardown),
		cmocka_unit_test_setup_teardown(test_watchdog_of_another_process, setup, teardown),
		cmocka_unit_test_setup_teardown(test_without_a_manager, setup, teardown),
		cmocka_unit_test(test_sockets_by_name),
		cmocka_unit_test(test_fields_of_the_journal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
