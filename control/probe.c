/* SPDX-License-Identifier: Apache-2.0 */
#include "control/probe.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>

#include "control/command.h"
#include "control/foreign.h"

/* What one attempt may take, so that a server that accepts and hangs while it starts is asked again. */
#define ATTEMPT_NS (5 * NS_PER_SEC)

/* Releases everything that belongs to the attempt under way. */
static void end_attempt(struct probe *probe)
{
	loop_disarm(probe->loop, &probe->limit);
	requests_forget(&probe->link->requests, probe);
	init_link_forget_exec(probe->link, &probe->exec);
	loop_remove(probe->loop, &probe->io);
	foreign_close(steal_fd(&probe->io.fd), true);
}

void probe_cancel(struct probe *probe)
{
	if (!probe->running)
		return;
	end_attempt(probe);
	loop_disarm(probe->loop, &probe->next);
	loop_disarm(probe->loop, &probe->deadline);
	probe->running = false;
}

static void finish(struct probe *probe, int error)
{
	probe_cancel(probe);
	probe->on_done(probe, error);
}

static void attempt_failed(struct probe *probe, const char *format, ...) _printf_(2, 3);

static void attempt_failed(struct probe *probe, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(probe->last_error, sizeof(probe->last_error), format, ap);
	va_end(ap);
	if (probe->once) {
		finish(probe, -EAGAIN);
		return;
	}
	end_attempt(probe);
	if (loop_arm(probe->loop, &probe->next, boottime_ns() + probe->config->interval_ns) < 0)
		finish(probe, -ETIMEDOUT);
}

/* The file status flags are shared with the session: MSG_DONTWAIT does not depend on them, O_NONBLOCK would. */
static void on_answer_bytes(struct loop_io *io, uint32_t revents _unused_)
{
	struct probe *probe = container_of(io, struct probe, io);
	char bytes[4096];

	ssize_t n = RETRY_EINTR(recv(io->fd, bytes, sizeof(bytes), MSG_DONTWAIT));
	if (n < 0 && errno == EAGAIN)
		return;
	if (n < 0) {
		attempt_failed(probe, "http: %s", strerror(errno));
		return;
	}
	int status = http_answer_feed(&probe->answer, bytes, (size_t)n);
	if (status == 0)
		return;
	if (status >= 200 && status <= 399)
		finish(probe, 0);
	else if (status > 0)
		attempt_failed(probe, "http: status %d", status);
	else
		attempt_failed(probe, "http: %s", status == -EMSGSIZE ? "header too long" : "no HTTP answer");
}

static void ask_http(struct probe *probe, int fd)
{
	const struct config_probe *config = probe->config;
	_free_ char *request = NULL;

	probe->io = (struct loop_io){ .fd = fd, .fn = on_answer_bytes };
	/* By a unix socket no port is spoken to; a Host there must be all the same. */
	int n = asprintf(&request,
		"GET %s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nUser-Agent: carrel\r\nConnection: close\r\n\r\n",
		config->path ? config->path : "/", config->port);
	if (n < 0) {
		request = NULL;
		attempt_failed(probe, "http: out of memory");
		return;
	}
	/* It fits a fresh connection's buffer; a session that made the buffer smaller only harms itself. */
	ssize_t sent = RETRY_EINTR(send(fd, request, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL));
	if (sent != n) {
		attempt_failed(probe, "http: %s", sent < 0 ? strerror(errno) : "request not taken");
		return;
	}
	http_answer_init(&probe->answer);
	int r = loop_watch(probe->loop, &probe->io, EPOLLIN);
	if (r < 0)
		attempt_failed(probe, "http: %s", strerror(-r));
}

static void on_connected(void *owner, struct msg *answer)
{
	struct probe *probe = owner;
	const struct config_probe *config = probe->config;

	/* The link ended: the session is told so and cancels this probe. */
	if (!answer)
		return;
	const struct init_done *done = (const void *)answer->bytes;
	if (done->err.num < 0) {
		if (config->unix_path)
			attempt_failed(probe, "connect to %s: %s", config->unix_path, strerror(-done->err.num));
		else
			attempt_failed(probe, "connect to port %u: %s", config->port, strerror(-done->err.num));
		return;
	}
	_close_ int fd = answer->n_fds == 1 ? steal_fd(&answer->fds[0]) : -1;
	if (config->unix_path ? !foreign_is_unix_stream(fd) : !foreign_is_tcp(fd)) {
		attempt_failed(probe, "connect: init sent no such socket");
		return;
	}
	if (config->kind == PROBE_HTTP) {
		ask_http(probe, steal_fd(&fd));
		return;
	}
	foreign_close(steal_fd(&fd), true);
	finish(probe, 0);
}

static int attempt_connect(struct probe *probe)
{
	const struct config_probe *config = probe->config;
	struct init_connect request = { .port = config->port, .family = FAMILY_ANY };
	struct init_connect_path path_request = { 0 };

	if (!config->unix_path) {
		msg_init(&request.header, INIT_CONNECT, 0, sizeof(request));
		return init_link_send(probe->link, &request.header, NULL, 0, on_connected, probe);
	}
	/* It fits: the configuration's bound is the same. */
	copy_string(path_request.path, sizeof(path_request.path), config->unix_path);
	msg_init(&path_request.header, INIT_CONNECT_PATH, 0, sizeof(path_request));
	return init_link_send(probe->link, &path_request.header, NULL, 0, on_connected, probe);
}

static void on_exec_started(struct init_exec *exec, const struct err *err, int pid _unused_)
{
	struct probe *probe = container_of(exec, struct probe, exec);

	if (err && err->num < 0)
		attempt_failed(probe, "exec: %s: %s", err->step, strerror(-err->num));
}

static void on_exec_exited(struct init_exec *exec, int exit_code, int signal)
{
	struct probe *probe = container_of(exec, struct probe, exec);

	if (exit_code == 0)
		finish(probe, 0);
	else if (exit_code > 0)
		attempt_failed(probe, "exec: exit code %d", exit_code);
	else if (signal > 0)
		attempt_failed(probe, "exec: signal %d", signal);
}

static int attempt_exec(struct probe *probe)
{
	struct err err;
	_close_ int spec = command_probe(probe->template, probe->config->command, &err);

	if (spec < 0)
		return spec;
	const int fds[4] = { spec, probe->null_fd, probe->null_fd, probe->null_fd };
	probe->exec.on_started = on_exec_started;
	probe->exec.on_exited = on_exec_exited;
	return init_link_exec(probe->link, &probe->exec, fds);
}

static uint64_t limit_ns(const struct probe *probe)
{
	return probe->once ? probe->config->timeout_ns : ATTEMPT_NS;
}

static void attempt(struct probe *probe)
{
	int r = loop_arm(probe->loop, &probe->limit, boottime_ns() + limit_ns(probe));

	if (r == 0)
		r = probe->config->kind == PROBE_EXEC ? attempt_exec(probe) : attempt_connect(probe);
	if (r < 0)
		attempt_failed(probe, "%s", strerror(-r));
}

static void on_next(struct loop_timer *timer)
{
	attempt(container_of(timer, struct probe, next));
}

static void on_limit(struct loop_timer *timer)
{
	struct probe *probe = container_of(timer, struct probe, limit);

	if (probe->config->kind == PROBE_EXEC)
		init_link_signal(probe->link, &probe->exec, SIGKILL, true);
	attempt_failed(probe, "no answer within %u s", (unsigned)(limit_ns(probe) / NS_PER_SEC));
}

static void on_deadline(struct loop_timer *timer)
{
	struct probe *probe = container_of(timer, struct probe, deadline);

	if (!probe->last_error[0])
		snprintf(probe->last_error, sizeof(probe->last_error), "no answer");
	finish(probe, -ETIMEDOUT);
}

static void begin(struct probe *probe, struct loop *loop, bool once)
{
	probe->loop = loop;
	probe->once = once;
	probe->next.fn = on_next;
	probe->limit.fn = on_limit;
	probe->deadline.fn = on_deadline;
	probe->io.fd = -1;
	probe->last_error[0] = '\0';
	probe->running = true;
}

int probe_start(struct probe *probe, struct loop *loop, uint64_t deadline_ns)
{
	begin(probe, loop, false);
	int r = loop_arm(loop, &probe->deadline, deadline_ns);
	if (r == 0 && probe->config->initial_delay_ns > 0)
		r = loop_arm(loop, &probe->next, boottime_ns() + probe->config->initial_delay_ns);
	else if (r == 0)
		attempt(probe);
	if (r < 0)
		probe_cancel(probe);
	return r;
}

void probe_once(struct probe *probe, struct loop *loop)
{
	begin(probe, loop, true);
	attempt(probe);
}
