/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Servers inside a session, for test_ports.py: static, one process, pairs of words for what to serve where.
 *
 *	tcp PORT, tcp6 PORT, unix PATH	echo, with the end of what comes as the end of what is sent
 *	any-tcp PORT, any-sum PORT	tcp and sum on every address of the session
 *	sum PORT			counts what comes, and says how much when it ends
 *	deaf PORT			accepts, and never reads
 *	once PORT			says a line and closes
 *	try ADDRESS PORT		only says whether a connection succeeds
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum kind { ECHO, SUM, DEAF, ONCE };

struct thing {
	int fd, listens, ended;
	enum kind kind;
	size_t held, at;
	unsigned long total;
	char bytes[262144];
};

static int epoll_fd;

static void watch(struct thing *thing, unsigned events, int op)
{
	struct epoll_event event = { .events = events, .data.ptr = thing };

	if (epoll_ctl(epoll_fd, op, thing->fd, &event) < 0) {
		perror("epoll_ctl");
		exit(1);
	}
}

static void add(int fd, int listens, enum kind kind)
{
	struct thing *thing = calloc(1, sizeof(*thing));

	if (fd < 0 || !thing) {
		perror("server");
		exit(1);
	}
	thing->fd = fd;
	thing->listens = listens;
	thing->kind = kind;
	watch(thing, EPOLLIN, EPOLL_CTL_ADD);
}

static int listen_tcp(int family, int port, int any)
{
	struct sockaddr_in ipv4 = { .sin_family = AF_INET,
		.sin_port = htons((unsigned short)port),
		.sin_addr = { htonl(any ? INADDR_ANY : INADDR_LOOPBACK) } };
	struct sockaddr_in6 ipv6 = {
		.sin6_family = AF_INET6, .sin6_port = htons((unsigned short)port), .sin6_addr = IN6ADDR_LOOPBACK_INIT
	};
	const void *address = family == AF_INET ? (const void *)&ipv4 : (const void *)&ipv6;
	int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (bind(fd, address, family == AF_INET ? sizeof(ipv4) : sizeof(ipv6)) < 0 || listen(fd, 4096) < 0)
		return -1;
	return fd;
}

static int listen_unix(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
	if (bind(fd, (const void *)&address, sizeof(address)) < 0 || listen(fd, 4096) < 0)
		return -1;
	return fd;
}

static void accept_one(const struct thing *thing)
{
	int fd = accept4(thing->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0)
		return;
	if (thing->kind == ONCE) {
		dprintf(fd, "only this\n");
		close(fd);
	} else if (thing->kind != DEAF) {
		add(fd, 0, thing->kind);
	}
}

static void end(struct thing *thing)
{
	close(thing->fd);
	free(thing);
}

static void talk(struct thing *thing)
{
	if (thing->held == 0 && !thing->ended) {
		ssize_t n = read(thing->fd, thing->bytes, sizeof(thing->bytes));
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0) {
			end(thing);
			return;
		}
		thing->ended = n == 0;
		thing->total += (unsigned long)n;
		thing->held = thing->kind == ECHO ? (size_t)n : 0;
		thing->at = 0;
	}
	if (thing->held > 0) {
		ssize_t n = send(thing->fd, thing->bytes + thing->at, thing->held, MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN) {
			end(thing);
			return;
		}
		thing->at += n > 0 ? (size_t)n : 0;
		thing->held -= n > 0 ? (size_t)n : 0;
		watch(thing, thing->held > 0 ? EPOLLOUT : EPOLLIN, EPOLL_CTL_MOD);
	}
	if (thing->ended && thing->held == 0) {
		if (thing->kind == SUM)
			dprintf(thing->fd, "%lu\n", thing->total);
		end(thing);
	}
}

static int try_to_connect(const char *address, int port)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((unsigned short)port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), error = 0;
	struct pollfd ready = { .fd = fd, .events = POLLOUT };
	socklen_t n = sizeof(error);

	inet_pton(AF_INET, address, &to.sin_addr);
	if (connect(fd, (const void *)&to, sizeof(to)) < 0 && errno != EINPROGRESS)
		error = errno;
	else if (poll(&ready, 1, 3000) == 0)
		error = ETIMEDOUT;
	else
		getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &n);
	printf("%s\n", error == 0	       ? "reached"
		       : error == ECONNREFUSED ? "ECONNREFUSED"
		       : error == EHOSTUNREACH ? "EHOSTUNREACH"
		       : error == ENETUNREACH  ? "ENETUNREACH"
		       : error == EPERM	       ? "EPERM"
		       : error == ETIMEDOUT    ? "timeout"
					       : strerror(error));
	return 0;
}

static void serve(const char *what, const char *where)
{
	const int port = atoi(where), any = strncmp(what, "any-", 4) == 0;

	what += any ? 4 : 0;
	if (strcmp(what, "unix") == 0)
		add(listen_unix(where), 1, ECHO);
	else if (strcmp(what, "tcp6") == 0)
		add(listen_tcp(AF_INET6, port, 0), 1, ECHO);
	else
		add(listen_tcp(AF_INET, port, any), 1,
			strcmp(what, "sum") == 0    ? SUM
			: strcmp(what, "deaf") == 0 ? DEAF
			: strcmp(what, "once") == 0 ? ONCE
						    : ECHO);
}

int main(int argc, char **argv)
{
	struct epoll_event events[64];

	if (argc == 4 && strcmp(argv[1], "try") == 0)
		return try_to_connect(argv[2], atoi(argv[3]));
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	for (int i = 1; i + 1 < argc; i += 2)
		serve(argv[i], argv[i + 1]);
	printf("serving\n");
	fflush(stdout);
	for (;;) {
		int n = epoll_wait(epoll_fd, events, 64, -1);
		for (int i = 0; i < n; i++) {
			struct thing *thing = events[i].data.ptr;
			if (thing->listens)
				accept_one(thing);
			else
				talk(thing);
		}
	}
}
