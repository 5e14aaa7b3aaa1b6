/* SPDX-License-Identifier: Apache-2.0 */
#include "control/foreign.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "wire/def.h"

/* Anything but a socket fails with ENOTSOCK: descriptors on which even MSG_DONTWAIT could wait stay out. */
static bool is_stream(int fd, int *ret_domain, int *ret_protocol)
{
	int type = 0;
	socklen_t n = sizeof(int);

	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, ret_domain, &n) == 0 &&
	       getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) == 0 &&
	       getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, ret_protocol, &n) == 0 && type == SOCK_STREAM;
}

bool foreign_is_tcp(int fd)
{
	int domain = 0, protocol = 0;

	return is_stream(fd, &domain, &protocol) && (domain == AF_INET || domain == AF_INET6) &&
	       protocol == IPPROTO_TCP;
}

bool foreign_is_unix_stream(int fd)
{
	int domain = 0, protocol = 0;

	return is_stream(fd, &domain, &protocol) && domain == AF_UNIX;
}

bool foreign_is_nonblocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags >= 0 && flags & O_NONBLOCK;
}

void foreign_close(int fd, bool dissolve)
{
	const struct linger off = { 0 };
	const sa_family_t nobody = AF_UNSPEC;

	if (fd < 0)
		return;
	/* With SO_LINGER, close() would wait for a peer that need never answer. */
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &off, sizeof(off));
	if (dissolve)
		connect(fd, (const struct sockaddr *)(const void *)&nobody, sizeof(nobody));
	close_fd(fd);
}
