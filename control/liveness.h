/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether a session that is ready still does what it is there for. Its template's liveness probe asks again and again;
 * failing so many times in a row, the session is unhealthy, and ends or begins anew, as the template says.
 *
 * One that begins anew is the same session for those who know it: its id, owner, labels, deadlines and volumes stay,
 * and it becomes ready again. Its processes, its root file system and its output are new. What its workload was started
 * with, secrets included, is kept for that in a sealed memfd of this process and nowhere else: once control has been
 * started again it is gone, and an unhealthy session ends.
 */
#pragma once

#include "control/probe.h"

struct session;

struct liveness {
	struct probe probe;
	struct loop_timer next;
	uint32_t n_failures; /* in a row */
	/* To begin anew with; NULL and -1 where the template does not say so, or nothing is left of it. */
	struct super_create *create;
	int spec_fd;
	bool restarting; /* it is stopped in order to begin anew */
};

void liveness_init(struct liveness *liveness);

/* Keeps a copy of what SESSION is about to be made with, if it may have to be made again. */
void liveness_keep(struct session *session, const struct super_create *create, int spec_fd);

/* SESSION is ready, or is no longer. */
void liveness_begin(struct session *session);
void liveness_end(struct session *session);

/* Nothing of SESSION is left on the host: makes it again if that is what it was stopped for. False: it has ended. */
bool liveness_restart(struct session *session);

/* Releases what is kept. */
void liveness_release(struct session *session);
