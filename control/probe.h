/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Readiness and liveness: asks again and again, through the session's init, whether the workload does what it is there for. Ready
 * is an HTTP status from 200 to 399, a TCP connection, or a command that exits with 0. All of it happens in the
 * session's own network and file system; control only sees descriptors and numbers, and takes them as hostile.
 */
#pragma once

#include "config/config.h"
#include "control/http_answer.h"
#include "control/init_link.h"

struct probe {
	struct loop *loop;
	/* Set before probe_start(); all borrowed. */
	struct init_link *link;
	const struct template *template; /* as whom a command runs */
	const struct config_probe *config;
	int null_fd; /* /dev/null: what a probe's command reads and writes */
	/* ERROR 0: it answers; -ETIMEDOUT, or -EAGAIN of probe_once(), with what the last attempt met in last_error. Once. */
	void (*on_done)(struct probe *probe, int error);

	bool running, once;
	struct loop_timer next; /* the next attempt */
	struct loop_timer limit; /* the end of this attempt */
	struct loop_timer deadline; /* the end of all attempts */
	struct loop_io io; /* http: the connection of this attempt */
	struct http_answer answer;
	struct init_exec exec;
	char last_error[96];
};

/* Asks, after the configuration's delay, until it answers or DEADLINE_NS of CLOCK_BOOTTIME. 0 or -ENOMEM. */
int probe_start(struct probe *probe, struct loop *loop, uint64_t deadline_ns);

/* Asks once; the configuration's timeout is that of the attempt. on_done may be called before it returns. */
void probe_once(struct probe *probe, struct loop *loop);

/* Ends it without calling on_done; to be called before the link is closed. Harmless when it does not run. */
void probe_cancel(struct probe *probe);
