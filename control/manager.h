/* SPDX-License-Identifier: Apache-2.0 */
/* Control under a service manager, as a unit of its own, instead of as carreld's child. */
#pragma once

#include "control/control.h"
#include "wire/service.h"

struct manager {
	struct service service;
	struct control *control;
	struct loop_timer timer;
	size_t told_live, told_ready; /* the numbers in the status */
};

/*
 * Puts the sockets that the unit names "api" and "stream", and a channel connected to the supervisor's
 * RUN_DIR/control.sock, at the descriptors where carreld would have put them. Before the sandbox: it makes sockets. 0,
 * also where there is no such manager and nothing was done, or a negative errno.
 */
int manager_arrange(const char *run_dir, int channel_fd, int api_fd, int stream_fd);

/* Says READY=1, and from then on how many sessions there are, and that the loop goes round. */
void manager_ready(struct manager *manager, struct control *control);
