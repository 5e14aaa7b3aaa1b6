/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections to the session's own ports and sockets, made from inside, so that a server which listens on 127.0.0.1
 * or ::1 alone, or on a path, is reached; the connected socket goes to control. A port that answers late holds up
 * nobody else.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "sandbox/serve.h"
#include "sandbox/sys.h"

/* A server whose queue is full is asked again after 1, 2 and 4 s; the kernel then gives up after 8 more. */
enum { SYN_RETRIES = 3 };

union address {
	struct sockaddr any;
	struct sockaddr_in ipv4;
	struct sockaddr_in6 ipv6;
};

static void answer(struct serve *serve, uint64_t id, uint16_t port, int num, int fd)
{
	struct init_done done = { 0 };

	msg_init(&done.header, INIT_CONNECT | MSG_REPLY, id, sizeof(done));
	if (num < 0)
		err_set(&done.err, num, "connect", "port %u", port);
	control_answer(serve, serve->n_controls, &done.header, &fd, fd >= 0 ? 1 : 0);
}

static socklen_t loopback(uint16_t family, uint16_t port, union address *ret)
{
	if (family == FAMILY_IPV4) {
		ret->ipv4 = (struct sockaddr_in){
			.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = { htonl(INADDR_LOOPBACK) }
		};
		return sizeof(ret->ipv4);
	}
	ret->ipv6 = (struct sockaddr_in6){
		.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT
	};
	return sizeof(ret->ipv6);
}

/* Begins to connect; the socket becomes writable when that has succeeded or failed. */
static int begin(struct serve *serve, struct connecting *c)
{
	const int retries = SYN_RETRIES;
	union address to;
	socklen_t n = loopback(c->family, c->port, &to);

	_close_ int fd = socket(to.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (setsockopt(fd, IPPROTO_TCP, TCP_SYNCNT, &retries, sizeof(retries)) < 0)
		return -errno;
	if (connect(fd, &to.any, n) < 0 && errno != EINPROGRESS)
		return -errno;
	int r = serve_watch(serve, fd, SOURCE_CONNECT, (size_t)(c - serve->connects), EPOLLOUT);
	if (r < 0)
		return r;
	c->fd = steal_fd(&fd);
	return 0;
}

/* Begins, also with the next family where the first fails at once. */
static int begin_any(struct serve *serve, struct connecting *c)
{
	int r = begin(serve, c);
	if (r < 0 && c->try_next) {
		c->try_next = false;
		c->family = FAMILY_IPV6;
		r = begin(serve, c);
	}
	return r;
}

void connect_request(struct serve *serve, struct msg *msg)
{
	const struct init_connect *request = (const void *)msg->bytes;
	struct connecting *c = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(serve->connects) && !c; i++)
		if (!serve->connects[i].used)
			c = &serve->connects[i];
	if (!c) {
		answer(serve, msg->header.id, request->port, -EAGAIN, -1);
		return;
	}
	*c = (struct connecting){
		.used = true,
		.fd = -1,
		.id = msg->header.id,
		.port = request->port,
		.family = request->family == FAMILY_IPV6 ? FAMILY_IPV6 : FAMILY_IPV4,
		.try_next = request->family == FAMILY_ANY,
	};
	int r = begin_any(serve, c);
	if (r < 0) {
		c->used = false;
		answer(serve, msg->header.id, request->port, r, -1);
	}
}

/*
 * A client may be given its destination as its own port and then meet itself (RFC 9293, simultaneous open): nobody
 * listens there.
 */
static bool met_itself(int fd)
{
	union address own, peer;
	socklen_t own_size = sizeof(own), peer_size = sizeof(peer);

	if (getsockname(fd, &own.any, &own_size) < 0 || getpeername(fd, &peer.any, &peer_size) < 0)
		return false;
	return own.ipv4.sin_port == peer.ipv4.sin_port; /* at the same place for both families */
}

/* 0, -EINPROGRESS or why it failed. */
static int result(int fd)
{
	int error;
	socklen_t n = sizeof(error);
	union address peer;

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &n) < 0)
		return -errno;
	if (error)
		return -error;
	n = sizeof(peer);
	if (getpeername(fd, &peer.any, &n) < 0)
		return errno == ENOTCONN ? -EINPROGRESS : -errno;
	return met_itself(fd) ? -ECONNREFUSED : 0;
}

void connect_ready(struct serve *serve, size_t index)
{
	struct connecting *c = &serve->connects[index];

	if (!c->used)
		return;
	int r = result(c->fd);
	if (r == -EINPROGRESS)
		return;
	if (r == 0) {
		_close_ int fd = steal_fd(&c->fd);
		c->used = false;
		epoll_ctl(serve->epoll, EPOLL_CTL_DEL, fd, NULL);
		answer(serve, c->id, c->port, 0, fd);
		return;
	}
	serve_drop(serve, &c->fd);
	if (c->try_next) {
		c->try_next = false;
		c->family = FAMILY_IPV6;
		int next = begin(serve, c);
		if (next == 0)
			return;
	}
	c->used = false;
	answer(serve, c->id, c->port, r, -1);
}

/*
 * The path is resolved once, and what is connected to is what was looked at. A path that the session lets hang (a file
 * system of its own) hangs this process, and so the session alone.
 */
static int connect_path(const char *path)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	struct stat st;

	_close_ int place = sys_open_no_magic(path, O_PATH);
	if (place < 0)
		return place;
	if (fstat(place, &st) < 0)
		return -errno;
	if (!S_ISSOCK(st.st_mode))
		return -ENOTSOCK;
	_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	snprintf(to.sun_path, sizeof(to.sun_path), "/proc/self/fd/%d", place);
	/* Done at once or never: a full queue is EAGAIN. */
	if (connect(fd, (const struct sockaddr *)(const void *)&to, sizeof(to)) < 0)
		return -errno;
	return steal_fd(&fd);
}

void connect_path_request(struct serve *serve, struct msg *msg)
{
	const struct init_connect_path *request = (const void *)msg->bytes;
	struct init_done done = { 0 };

	_close_ int fd = connect_path(request->path);
	msg_init(&done.header, INIT_CONNECT_PATH | MSG_REPLY, msg->header.id, sizeof(done));
	if (fd < 0)
		err_set(&done.err, fd, "connect", "%s", request->path);
	control_answer(serve, serve->n_controls, &done.header, &fd, fd >= 0 ? 1 : 0);
}

void connect_cancel(struct serve *serve)
{
	for (size_t i = 0; i < ARRAY_SIZE(serve->connects); i++) {
		if (!serve->connects[i].used)
			continue;
		serve->connects[i].used = false;
		serve_drop(serve, &serve->connects[i].fd);
	}
}
