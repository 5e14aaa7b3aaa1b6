/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The service manager's side of a process: sockets that it holds (sd_listen_fds(3)), what it wants to hear
 * (sd_notify(3)), how often (sd_watchdog_enabled(3)), and the journal's fields (systemd.journal-fields(7)). The protocols
 * are a few environment variables and datagrams, so nothing is linked for them. Without a service manager all of it does
 * nothing.
 */
#pragma once

#include <stdbool.h>

#include "wire/loop.h"

enum { SERVICE_STATUS_SIZE = 64 };

struct service {
	int notify_fd; /* connected; -1: nobody listens */
	uint64_t watchdog_ns; /* say "WATCHDOG=1" this often; 0: nobody waits for it */
	struct loop *loop;
	struct loop_timer timer;
	void (*status)(struct service *service, char text[static SERVICE_STATUS_SIZE]);
	char told[SERVICE_STATUS_SIZE];
};

enum { SERVICE_FDS_MAX = 8 };

/* Connects to what the environment names. To be called before any sandbox takes the call socket(2) away. */
void service_open(struct service *ret);

/*
 * Says READY=1, and from then on, every second, that the loop goes round and, where it has changed, the STATUS that
 * STATUS writes down.
 */
void service_ready(struct service *service, struct loop *loop,
	void (*status)(struct service *service, char text[static SERVICE_STATUS_SIZE]));

/* The listening socket that the unit names NAME, now close-on-exec, or -1: there is none. It stays the manager's. */
int service_socket(const char *name);

/* A connection to the journal where standard error is the journal's, or -1; the caller's to close. */
int service_journal(void);

/* What a line is about, where it is about that; else NULL. */
struct service_fields {
	const char *session, *owner, *step;
};

/* A line for the journal. False when it was not taken: say it on standard error. */
bool service_log(int journal_fd, int priority, const struct service_fields *fields, const char *text);
