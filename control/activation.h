/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Where a service manager starts control, as a unit of its own, and not carreld: puts the sockets that the unit names
 * "api" and "stream", and a channel connected to the supervisor's RUN_DIR/control.sock, at the descriptors where carreld
 * would have put them. Before the sandbox: it makes sockets. 0, also where there is no such manager and nothing was
 * done, or a negative errno.
 */
int activation_arrange(const char *run_dir, int channel_fd, int api_fd, int stream_fd);
