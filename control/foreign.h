/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sockets that a session's init sent. Whoever made one may have kept it: its file status flags and its options are
 * shared with the session, and can change between any two calls. So nothing here trusts what was set a moment ago.
 */
#pragma once

#include <stdbool.h>

/* FD is a connected-kind stream socket: TCP over IPv4 or IPv6, or, with UNIX, AF_UNIX. Anything else could wait. */
bool foreign_is_tcp(int fd);
bool foreign_is_unix_stream(int fd);

/* O_NONBLOCK is set. False also for what is no descriptor. */
bool foreign_is_nonblocking(int fd);

/*
 * Closes the socket without ever waiting for its peer. DISSOLVE: what is not sent yet need not arrive; that is how
 * to close one with SO_LINGER set by somebody who may set it again.
 */
void foreign_close(int fd, bool dissolve);
