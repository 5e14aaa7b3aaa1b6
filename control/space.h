/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much room a session's file systems have, asked of its init: from time to time, and for session.stats. One that has
 * none left is an event, once; again after a twentieth of it was free. The kernel tells nobody of it but the workload.
 *
 * Init is hostile: it is asked for one place after the other, of which there are few, and nobody waits for it for long.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "control/list.h"
#include "wire/init.h"
#include "wire/loop.h"

struct call;
struct session;

struct space_watch {
	struct init_space *places; /* as told; NULL: never */
	uint32_t n_places; /* of the last look that came to its end */
	uint32_t at; /* the place that is asked for */
	uint64_t told; /* bit 2N: place N has no bytes left, bit 2N + 1: no inodes */
	bool asking;
	struct list waiting; /* calls of session.stats */
	struct loop_timer patience;
};

void space_start(struct session *session);
/* Answers who waits; nothing more is asked. */
void space_stop(struct session *session);

/* Asks init, unless that is under way. */
void space_look(struct session *session);

/*
 * Looks, and answers session.stats when that is done. False: CALL is the caller's to answer now, because the session does
 * not run or memory is short.
 */
bool space_wait(struct session *session, struct call *call);

/* [{mount, bytes: {limit, free}, inodes: {limit, free}}] of the last look; null before the first. A new reference. */
json_t *space_json(const struct session *session);
