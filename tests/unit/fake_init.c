/* SPDX-License-Identifier: Apache-2.0 */
/* A session's init for tests of control: what it is asked is carried out at once, or as the test wants. */
#include "unit.h"

#include "fake_host.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>

char *fake_join(char *const *strings)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	for (; *strings; strings++)
		fprintf(out, "%s ", *strings);
	fclose(out);
	return text;
}

/* A connection to the listener, which reads nothing and answers at once. */
static int connect_port(struct fake_host *host)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
		.sin_port = htons((uint16_t)host->http_port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_return_code(connect(fd, (const void *)&to, sizeof(to)), errno);
	int server = accept4(host->listener, NULL, NULL, SOCK_CLOEXEC);
	assert_return_code(server, errno);
	if (host->http_answer)
		assert_int_equal(send(server, host->http_answer, strlen(host->http_answer), 0),
			(int)strlen(host->http_answer));
	shutdown(server, SHUT_WR);
	/* Nothing that is unread may turn the end into a reset. */
	char request[512];
	if (host->http_answer)
		recv(server, request, sizeof(request), MSG_DONTWAIT);
	close(server);
	return fd;
}

static void serve_connect(struct fake_host *host, struct fake_session *session, const struct msg *msg)
{
	struct init_done done = { 0 };
	int pipe_fds[2] = { -1, -1 };
	_close_ int fd = -1;

	if (session->n_connects++ < host->refuse_connects)
		err_set(&done.err, -ECONNREFUSED, "connect", "port");
	else if (host->fault == FAULT_PIPE && pipe2(pipe_fds, O_CLOEXEC) == 0)
		fd = pipe_fds[0];
	else
		fd = connect_port(host);
	fake_put(session->init, &done, INIT_CONNECT | MSG_REPLY, msg->header.id, sizeof(done), &fd, fd >= 0);
	close_fd(pipe_fds[1]);
}

/* What the command would be, and be given. */
static void keep_exec(struct fake_session *session, const struct msg *msg)
{
	struct spec spec;
	char input[256];

	free(session->exec_argv);
	free(session->exec_envp);
	free(session->exec_input);
	assert_int_equal(spec_read(msg->fds[0], &spec), 0);
	session->exec_argv = fake_join(spec.argv);
	session->exec_envp = fake_join(spec.envp);
	session->exec_header = *spec.header;
	spec_release(&spec);
	/* Control writes it before it lets go of its end, or after: what a pipe holds is there by then. */
	struct pollfd readable = { .fd = msg->fds[1], .events = POLLIN };
	ssize_t n = poll(&readable, 1, 0) == 1 ? read(msg->fds[1], input, sizeof(input)) : 0;
	session->exec_input = strndup(input, n > 0 ? (size_t)n : 0);
}

/* A killed command ends of it. */
static void serve_signal(struct fake_session *session, const struct init_signal *request)
{
	struct init_ev_exited ev = { .exec = request->exec, .exit_code = -1, .signal = request->signal };
	struct init_done done = { 0 };

	session->n_signals++;
	fake_put(session->init, &done, INIT_SIGNAL | MSG_REPLY, request->header.id, sizeof(done), NULL, 0);
	if (session->spawner_id && request->exec == session->spawner_id) {
		fake_spawner_end(session, request->signal);
		return;
	}
	session->last_exec_signal = request->signal;
	if (request->exec == session->last_exec && request->group && !session->frozen)
		fake_put(session->init, &ev, INIT_EV_EXITED, 0, sizeof(ev), NULL, 0);
}

static void serve_exec(struct fake_host *host, struct fake_session *session, const struct msg *msg)
{
	struct init_started started = { .pid = 2 };
	struct init_ev_exited ev = { .exec = msg->header.id, .exit_code = host->exec_exit_code };

	session->n_execs++;
	session->last_exec = msg->header.id;
	keep_exec(session, msg);
	started.err = host->exec_error;
	if (started.err.num == 0 && host->exec_output)
		assert_int_equal(
			write(msg->fds[2], host->exec_output, strlen(host->exec_output)), strlen(host->exec_output));
	if (started.err.num == 0 && host->exec_errors)
		assert_int_equal(
			write(msg->fds[3], host->exec_errors, strlen(host->exec_errors)), strlen(host->exec_errors));
	fake_put(session->init, &started, INIT_EXEC | MSG_REPLY, msg->header.id, sizeof(started), NULL, 0);
	if (!host->silent_exec && started.err.num == 0)
		fake_put(session->init, &ev, INIT_EV_EXITED, 0, sizeof(ev), NULL, 0);
}

static void serve_start(struct fake_host *host, struct fake_session *session, const struct msg *msg)
{
	struct init_started started = { .pid = 2, .err = host->exec_error };

	session->last_exec = msg->header.id;
	memcpy(&session->start, msg->bytes, sizeof(session->start));
	fake_put(session->init, &started, INIT_START | MSG_REPLY, msg->header.id, sizeof(started), NULL, 0);
}

static void serve_attach(struct fake_session *session, struct msg *msg)
{
	struct init_done done = { 0 };

	memcpy(&session->attach, msg->bytes, sizeof(session->attach));
	for (size_t i = 0; i < msg->n_fds; i++) {
		size_t place = session->n_attached++ % ARRAY_SIZE(session->attached_fds);
		session->attached_fds[place] = steal_fd(&msg->fds[i]);
	}
	fake_put(session->init, &done, INIT_ATTACH | MSG_REPLY, msg->header.id, sizeof(done), NULL, 0);
}

/* As much of the list as the socket takes. */
void fake_init_list(const struct fake_host *host, struct fake_session *session)
{
	struct init_done done = { 0 };

	if (!session->list_id || session->init < 0)
		return;
	for (; session->list_at < host->n_kept; session->list_at++)
		if (msg_send(session->init, &host->kept[session->list_at].header, NULL, 0) < 0)
			return;
	fake_put(session->init, &done, INIT_LIST | MSG_REPLY, session->list_id, sizeof(done), NULL, 0);
	session->list_id = 0;
}

static void serve_stop(struct fake_host *host, struct fake_session *session, const struct init_stop *stop)
{
	struct init_done done = { 0 };

	session->n_stops++;
	session->last_stop_method = (int)stop->method;
	session->last_stop_signal = stop->signal;
	fake_put(session->init, &done, INIT_STOP | MSG_REPLY, stop->header.id, sizeof(done), NULL, 0);
	if (!host->deaf_stop && !session->frozen)
		fake_exit(host, session, 0, 0);
}

static void serve_space(
	const struct fake_host *host, const struct fake_session *session, const struct init_place *place)
{
	struct init_space space = host->spaces[place->place % ARRAY_SIZE(host->spaces)];

	space.n_places = host->n_spaces;
	if (host->n_spaces == 0)
		space = (struct init_space){ .n_places = 1, .target = "/" };
	if (!host->deaf_space)
		fake_put(session->init, &space, INIT_SPACE | MSG_REPLY, place->header.id, sizeof(space), NULL, 0);
}

bool fake_init_serve(struct fake_host *host, struct fake_session *session)
{
	struct init_done done = { 0 };
	struct msg msg;

	if (session->init < 0 || msg_recv(session->init, init_requests, n_init_requests, &msg) != 1)
		return false;
	switch (msg.header.op) {
	case INIT_CONNECT:
		serve_connect(host, session, &msg);
		break;
	case INIT_EXEC:
		serve_exec(host, session, &msg);
		break;
	case INIT_START:
		serve_start(host, session, &msg);
		break;
	case INIT_ATTACH:
		serve_attach(session, &msg);
		break;
	case INIT_LIST:
		session->list_id = msg.header.id;
		session->list_at = 0;
		break;
	case INIT_SPACE:
		serve_space(host, session, (const void *)msg.bytes);
		break;
	case INIT_FILES:
		fake_files_start(host, session, &msg);
		break;
	case INIT_SPAWNER:
		fake_spawner_start(host, session, &msg);
		break;
	case INIT_SIGNAL:
		serve_signal(session, (const void *)msg.bytes);
		break;
	case INIT_STOP:
		serve_stop(host, session, (const void *)msg.bytes);
		break;
	default:
		session->n_watches += msg.header.op == INIT_WATCH_OUTPUT;
		session->n_input_ends += msg.header.op == INIT_END_INPUT;
		session->n_forgotten += msg.header.op == INIT_FORGET;
		if (msg.header.op == INIT_WATCH_OUTPUT && host->deaf_watch)
			break;
		fake_put(session->init, &done, msg.header.op | MSG_REPLY, msg.header.id, sizeof(done), NULL, 0);
	}
	msg_release(&msg);
	return true;
}
