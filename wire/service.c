/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/service.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

enum { FIRST_FD = 3 }; /* SD_LISTEN_FDS_START */
#define PERIOD_NS NS_PER_SEC

/* A datagram socket connected to PATH; a leading '@' stands for the abstract name space. -1 where that cannot be. */
static int connect_to(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const size_t n = path ? strlen(path) : 0;

	if (n < 2 || n >= sizeof(address.sun_path) || (path[0] != '/' && path[0] != '@'))
		return -1;
	memcpy(address.sun_path, path, n);
	if (path[0] == '@')
		address.sun_path[0] = '\0';
	_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 ||
		connect(fd, (struct sockaddr *)&address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)) < 0)
		return -1;
	return steal_fd(&fd);
}

/* A number of the environment that is meant for this process: PID_NAME says for which it is. */
static uint64_t own_number(const char *name, const char *pid_name)
{
	const char *value = getenv(name), *pid = getenv(pid_name);

	return value && pid && strtoull(pid, NULL, 10) == (uint64_t)getpid() ? strtoull(value, NULL, 10) : 0;
}

void service_open(struct service *ret)
{
	ret->notify_fd = connect_to(getenv("NOTIFY_SOCKET"));
	ret->watchdog_ns = own_number("WATCHDOG_USEC", "WATCHDOG_PID") * 1000 / 2;
}

int service_socket(const char *name)
{
	const char *names = getenv("LISTEN_FDNAMES");
	const uint64_t n = own_number("LISTEN_FDS", "LISTEN_PID");

	for (uint64_t i = 0; names && i < n && i < SERVICE_FDS_MAX; i++) {
		const size_t length = strcspn(names, ":");
		if (length == strlen(name) && strncmp(names, name, length) == 0) {
			const int fd = FIRST_FD + (int)i;
			return fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ? -1 : fd;
		}
		names += length + (names[length] == ':');
	}
	return -1;
}

/* What cannot be sent is lost: the manager has a timeout. */
static void tell(const struct service *service, const char *text)
{
	send(service->notify_fd, text, strlen(text), MSG_NOSIGNAL);
}

/* Runs in the loop, so that a process whose loop hangs misses it. */
static void on_time(struct loop_timer *timer)
{
	struct service *service = container_of(timer, struct service, timer);
	char text[SERVICE_STATUS_SIZE], line[SERVICE_STATUS_SIZE + 8];
	const uint64_t watchdog_ns = service->watchdog_ns;

	tell(service, "WATCHDOG=1");
	service->status(service, text);
	if (!streq(text, service->told)) {
		memcpy(service->told, text, sizeof(text));
		snprintf(line, sizeof(line), "STATUS=%s", text);
		tell(service, line);
	}
	loop_arm(service->loop, timer,
		boottime_ns() + (watchdog_ns > 0 && watchdog_ns < PERIOD_NS ? watchdog_ns : PERIOD_NS));
}

void service_ready(struct service *service, struct loop *loop,
	void (*status)(struct service *service, char text[static SERVICE_STATUS_SIZE]))
{
	if (service->notify_fd < 0)
		return;
	service->loop = loop;
	service->status = status;
	service->timer.fn = on_time;
	tell(service, "READY=1");
	on_time(&service->timer);
}

int service_journal(void)
{
	return getenv("JOURNAL_STREAM") ? connect_to("/run/systemd/journal/socket") : -1;
}

/* Adds "NAME=value" and a newline at *N; a newline of the value's own must not begin another field. */
static void add_field(char *record, size_t size, size_t *n, const char *name, const char *value)
{
	const size_t length = value ? strlen(name) + strlen(value) + 2 : 0;

	if (length == 0 || length > size - *n)
		return;
	*n += (size_t)snprintf(record + *n, size - *n, "%s=%s", name, value);
	for (char *c = record + *n - strlen(value); *c; c++)
		if (*c == '\n')
			*c = ' ';
	record[(*n)++] = '\n';
}

bool service_log(int journal_fd, int priority, const struct service_fields *fields, const char *text)
{
	char record[4096], digit[2] = { (char)('0' + priority % 8) };
	size_t n = 0;

	if (journal_fd < 0)
		return false;
	add_field(record, sizeof(record), &n, "PRIORITY", digit);
	add_field(record, sizeof(record), &n, "SYSLOG_IDENTIFIER", program_invocation_short_name);
	add_field(record, sizeof(record), &n, "CARREL_SESSION", fields->session);
	add_field(record, sizeof(record), &n, "CARREL_OWNER_HASH", fields->owner);
	add_field(record, sizeof(record), &n, "CARREL_STEP", fields->step);
	add_field(record, sizeof(record), &n, "MESSAGE", text);
	return send(journal_fd, record, n, MSG_NOSIGNAL) == (ssize_t)n;
}
