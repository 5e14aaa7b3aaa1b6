/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "control/lifecycle.h"
#include "control/visibility.h"

enum {
	ACCEPTS_PER_ROUND = 16,
	BACKLOG = 1024, /* cut to net.core.somaxconn */
	SOCKET_TYPE = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
};

#define ACCEPT_AGAIN_NS (100 * NS_PER_MS)

/* ---- accepting ---- */

static struct loop *loop_of(const struct port *port)
{
	return lifecycle_loop(port->session->lifecycle);
}

/*
 * Whoever sees the session in the API may connect to its sockets: the kernel says who it is. Over TCP nobody can say;
 * there the configuration decides which addresses there are, and who may publish.
 */
static bool may_connect(const struct port *port, int fd)
{
	struct caller caller;

	if (port->tcp)
		return true;
	return server_identify(port->session->lifecycle->control, fd, &caller) == 0 && caller.role != ROLE_NONE &&
	       caller_sees_owner(&caller, port->session->record.owner);
}

static void accept_later(struct port *port)
{
	if (loop_arm(loop_of(port), &port->accept_again, boottime_ns() + ACCEPT_AGAIN_NS) == 0)
		loop_remove(loop_of(port), &port->listener);
}

static void on_accept_again(struct loop_timer *timer)
{
	port_accept(container_of(timer, struct port, accept_again));
}

static void on_listener(struct loop_io *io, uint32_t revents _unused_)
{
	struct port *port = container_of(io, struct port, listener);

	/* Who connects to a session that is paused waits in the queue until it is not. */
	if (port->session->frozen) {
		port->held = true;
		loop_remove(loop_of(port), io);
		return;
	}
	for (int i = 0; i < ACCEPTS_PER_ROUND; i++) {
		int fd = accept4(io->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd >= 0 && may_connect(port, fd)) {
			port_conn_accept(port, fd);
		} else if (fd >= 0) {
			port->session->ports.n_refused++;
			close_fd(fd);
		} else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
			accept_later(port);
			return;
		} else if (errno != ECONNABORTED && errno != EINTR) {
			return;
		}
	}
}

void port_accept(struct port *port)
{
	port->held = false;
	if (port->listener.fd >= 0 && loop_watch(loop_of(port), &port->listener, EPOLLIN) < 0)
		accept_later(port);
}

/* ---- unix sockets ---- */

static int endpoints_path(const struct config *config, const char *file, char *buf, size_t size)
{
	int n = snprintf(buf, size, "%s/endpoints/%s", config->run_dir, file);

	return (size_t)n < size ? 0 : -ENAMETOOLONG;
}

void port_sockets_clear(const struct config *config)
{
	char path[512];
	DIR *dir = endpoints_path(config, "", path, sizeof(path)) == 0 ? opendir(path) : NULL;

	if (!dir)
		return;
	for (const struct dirent *entry; (entry = readdir(dir));)
		if (entry->d_name[0] != '.')
			unlinkat(dirfd(dir), entry->d_name, 0);
	closedir(dir);
}

int port_socket_path(const struct session *session, const char *name, char buf[static PORT_PATH_SIZE])
{
	char file[2 * NAME_SIZE + 8];

	/* No id has a dot. */
	snprintf(file, sizeof(file), "%s.%s.sock", session->record.id, name);
	return endpoints_path(lifecycle_config(session->lifecycle), file, buf, PORT_PATH_SIZE);
}

static int listen_unix(const struct port *port)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int r = port_socket_path(port->session, port->name, address.sun_path);

	if (r < 0)
		return r;
	_close_ int fd = socket(AF_UNIX, SOCKET_TYPE, 0);
	if (fd < 0)
		return -errno;
	/* The file gets the socket's mode, before anybody can connect; its group is control's, as the API socket's is. */
	if (fchmod(fd, 0660) < 0 || bind(fd, (const void *)&address, sizeof(address)) < 0)
		return -errno;
	if (listen(fd, BACKLOG) < 0) {
		r = -errno;
		unlink(address.sun_path);
		return r;
	}
	return steal_fd(&fd);
}

/* ---- TCP ---- */

static int listen_at(const struct config_address *address, uint16_t port)
{
	const int on = 1;
	union {
		struct sockaddr any;
		struct sockaddr_in ipv4;
		struct sockaddr_in6 ipv6;
	} to = { .any.sa_family = address->family == 4 ? AF_INET : AF_INET6 };

	_close_ int fd = socket(to.any.sa_family, SOCKET_TYPE, 0);
	if (fd < 0)
		return -errno;
	if (address->family == 4) {
		to.ipv4.sin_port = htons(port);
		memcpy(&to.ipv4.sin_addr, address->bytes, sizeof(to.ipv4.sin_addr));
	} else {
		to.ipv6.sin6_port = htons(port);
		memcpy(&to.ipv6.sin6_addr, address->bytes, sizeof(to.ipv6.sin6_addr));
		if (setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) < 0)
			return -errno;
	}
	/* So that connections which are just ending do not keep the next control process from listening again. */
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
		bind(fd, &to.any, address->family == 4 ? sizeof(to.ipv4) : sizeof(to.ipv6)) < 0 ||
		listen(fd, BACKLOG) < 0)
		return -errno;
	return steal_fd(&fd);
}

/* On any port that is free, each in its turn: one that was just given back is not given to somebody else at once. */
static int listen_any(struct port *port)
{
	struct lifecycle *lifecycle = port->session->lifecycle;
	const uint32_t first = lifecycle_config(lifecycle)->publish_first_port;
	const uint32_t n = lifecycle_config(lifecycle)->publish_last_port - first + 1;

	for (uint32_t i = 0; i < n; i++) {
		uint16_t candidate = (uint16_t)(first + lifecycle->next_host_port++ % n);
		int fd = listen_at(&port->address, candidate);
		if (fd >= 0)
			port->host_port = candidate;
		if (fd != -EADDRINUSE)
			return fd;
	}
	return -EADDRINUSE;
}

int port_listen(struct port *port)
{
	_close_ int fd = !port->tcp	   ? listen_unix(port)
			 : port->host_port ? listen_at(&port->address, port->host_port)
					   : listen_any(port);

	if (fd < 0)
		return fd;
	port->listener = (struct loop_io){ .fd = steal_fd(&fd), .fn = on_listener };
	port->accept_again = (struct loop_timer){ .fn = on_accept_again };
	port_accept(port);
	return 0;
}

void port_stop_listening(struct port *port)
{
	char path[PORT_PATH_SIZE];

	if (port->listener.fd < 0)
		return;
	loop_disarm(loop_of(port), &port->accept_again);
	loop_remove(loop_of(port), &port->listener);
	close_fdp(&port->listener.fd);
	if (!port->tcp && port_socket_path(port->session, port->name, path) == 0)
		unlink(path);
}
