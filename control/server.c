/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Accepting connections: who it is, whether he may, whether there is room. Whoever is refused is told so in one line
 * with the remedy, also when descriptors have run out.
 */
#include "control/server.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>

#include "control/access.h"
#include "control/control.h"
#include "control/error.h"

enum {
	ACCEPTS_PER_ROUND = 16,
	MAX_GROUPS = 65536, /* NGROUPS_MAX */
	STALL_SECONDS = 30,
	REFUSE_MS = 1000,
	ACCEPT_AGAIN_MS = 100,
};

struct client *client_get(struct server *server, uid_t uid)
{
	struct client *client = server->clients;

	while (client && client->uid != uid)
		client = client->next;
	if (client)
		return client;
	client = calloc(1, sizeof(*client));
	if (!client)
		return NULL;
	client->uid = uid;
	client->next = server->clients;
	client->link = &server->clients;
	if (client->next)
		client->next->link = &client->next;
	server->clients = client;
	return client;
}

bool client_is_over(const struct client *client, const struct config *config)
{
	return client->n_bytes > config->max_queued_bytes * USER_SHARE;
}

void client_put(struct client *client)
{
	if (client->n_conns > 0 || client->n_calls > 0)
		return;
	audit_close(&client->audit, client->uid);
	if (client->link)
		*client->link = client->next;
	if (client->next)
		client->next->link = client->link;
	free(client);
}

/* SO_PEERGROUPS since Linux 4.13. */
int server_identify(const struct control *control, int fd, struct caller *ret)
{
	_free_ gid_t *groups = NULL;
	struct ucred cred;
	socklen_t cred_size = sizeof(cred), size = 64 * sizeof(gid_t);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &cred_size) < 0)
		return -errno;
	groups = malloc(size);
	if (!groups)
		return -ENOMEM;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size) < 0) {
		/* SIZE is now what it takes. */
		if (errno != ERANGE || size > MAX_GROUPS * sizeof(gid_t))
			return -errno;
		free(groups);
		groups = malloc(size);
		if (!groups)
			return -ENOMEM;
		if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size) < 0)
			return -errno;
	}
	access_match(control->access, cred.uid, cred.gid, groups, size / sizeof(gid_t), ret);
	ret->pid = cred.pid;
	return 0;
}

struct refusal {
	enum error_kind kind;
	int64_t retry_after_ms;
	char text[512];
};

/* Whether a connection is refused, and why. */
static bool is_refused(
	const struct server *server, const struct caller *caller, const struct client *client, struct refusal *ret)
{
	const struct config *config = &server->control->config;

	*ret = (struct refusal){ E_BUSY, FULL_RETRY_MS, "" };
	if (caller->role == ROLE_NONE) {
		*ret = (struct refusal){ E_DENIED, 0, "" };
		access_hint(config, server->control->config_directory, caller->uid, ret->text, sizeof(ret->text));
	} else if (server->n_conns - server->n_refused >= config->max_connections) {
		snprintf(ret->text, sizeof(ret->text), "all %u connections are taken (client_limits.max_connections)",
			config->max_connections);
	} else if (client->n_conns - client->n_refused >= config->max_connections_per_uid) {
		snprintf(ret->text, sizeof(ret->text),
			"uid %u has %u connections open (client_limits.max_connections_per_uid)", caller->uid,
			config->max_connections_per_uid);
	}
	return ret->text[0];
}

/* The last resort: one line if the socket takes it, and the end. */
static void refuse_at_once(int fd, const struct refusal *refusal)
{
	struct error_details details = { .retry_after_ms = refusal->retry_after_ms };
	json_t *answer = rpc_error_answer(
		NULL, error_object(refusal->kind, refusal->retry_after_ms > 0, &details, refusal->text));
	_free_ char *line = answer ? json_dumps(answer, JSON_COMPACT) : NULL;

	json_decref(answer);
	if (line) {
		size_t n = strlen(line);
		line[n] = '\n';
		send(fd, line, n + 1, MSG_NOSIGNAL | MSG_DONTWAIT);
	}
	close_fd(fd);
}

/* Takes over FD. */
static void admit(struct server *server, int fd)
{
	struct refusal refusal;
	struct caller caller;
	struct conn *conn;

	if (server_identify(server->control, fd, &caller) < 0) {
		close_fd(fd);
		return;
	}
	struct client *client = client_get(server, caller.uid);
	if (!client) {
		close_fd(fd);
		return;
	}
	bool refused = is_refused(server, &caller, client, &refusal);
	if (refused && caller.role == ROLE_NONE && server->control->config.audit != AUDIT_NONE)
		audit_refused(&server->refusals, boottime_ns(), &caller);
	if (refused && server->n_refused >= MAX_REFUSED) {
		refuse_at_once(fd, &refusal);
		client_put(client);
		return;
	}
	int r = conn_open(server, fd, &caller, client, &conn);
	if (r < 0) {
		client_put(client);
		return;
	}
	if (refused)
		conn_refuse(conn, refusal.kind, refusal.retry_after_ms, refusal.text);
}

static void accept_later(struct server *server)
{
	if (loop_arm(&server->control->loop, &server->accept_again, boottime_ns() + ACCEPT_AGAIN_MS * NS_PER_MS) == 0)
		loop_remove(&server->control->loop, &server->listener);
}

static void on_accept_again(struct loop_timer *timer)
{
	struct server *server = container_of(timer, struct server, accept_again);

	if (loop_watch(&server->control->loop, &server->listener, EPOLLIN) < 0)
		accept_later(server);
}

/* Out of descriptors: without the reserve the connection would stay in the queue and wake the loop for ever. */
static void shed(struct server *server)
{
	struct refusal refusal = { E_BUSY, FULL_RETRY_MS, "carrel-control has no descriptors left" };

	if (server->reserve_fd < 0)
		server->reserve_fd = fcntl(server->listener.fd, F_DUPFD_CLOEXEC, 3);
	if (server->reserve_fd < 0) {
		accept_later(server);
		return;
	}
	close_fdp(&server->reserve_fd);
	int fd = accept4(server->listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd >= 0)
		refuse_at_once(fd, &refusal);
	server->reserve_fd = fcntl(server->listener.fd, F_DUPFD_CLOEXEC, 3);
}

static void on_listener(struct loop_io *io, uint32_t revents _unused_)
{
	struct server *server = container_of(io, struct server, listener);

	for (size_t i = 0; i < ACCEPTS_PER_ROUND; i++) {
		int fd = accept4(io->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd >= 0) {
			admit(server, fd);
			continue;
		}
		if (errno == EMFILE || errno == ENFILE)
			shed(server);
		else if (errno == ENOMEM || errno == ENOBUFS)
			accept_later(server);
		else if (errno == ECONNABORTED || errno == EINTR)
			continue;
		return;
	}
}

int server_start(struct control *control, int listen_fd)
{
	struct server *server = calloc(1, sizeof(*server));

	if (server)
		server->n_answers = calloc(n_methods, sizeof(*server->n_answers));
	if (!server || !server->n_answers) {
		free(server);
		close_fd(listen_fd);
		return -ENOMEM;
	}
	server->control = control;
	server->stall_ns = STALL_SECONDS * NS_PER_SEC;
	server->refuse_ns = REFUSE_MS * NS_PER_MS;
	server->accept_again.fn = on_accept_again;
	server->listener = (struct loop_io){ .fd = listen_fd, .fn = on_listener };
	server->reserve_fd = fcntl(listen_fd, F_DUPFD_CLOEXEC, 3);
	int r = server->reserve_fd < 0 ? -errno : loop_watch(&control->loop, &server->listener, EPOLLIN);
	if (r < 0) {
		close_fd(server->reserve_fd);
		close_fd(listen_fd);
		free(server->n_answers);
		free(server);
		return r;
	}
	control->server = server;
	return 0;
}

void server_stop(struct control *control)
{
	struct server *server = control->server;

	if (!server)
		return;
	while (server->conns)
		conn_close(server->conns);
	for (struct client *client; (client = server->clients);) {
		/* It has calls that are not answered yet; the last of them frees it. */
		server->clients = client->next;
		client->next = NULL;
		client->link = NULL;
	}
	loop_disarm(&control->loop, &server->accept_again);
	loop_remove(&control->loop, &server->listener);
	close_fd(server->listener.fd);
	close_fd(server->reserve_fd);
	free(server->n_answers);
	free(server);
	control->server = NULL;
}
