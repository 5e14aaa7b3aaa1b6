/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lifecycle half of control: every session, the supervisor's channel, the registry and the events. For the files
 * of this half only; the server sees control.h.
 *
 * What changes in a round of the event loop is written in one transaction at the start of the next, and only then do
 * effects follow: a session is asked of the supervisor once the registry knows it, an event is sent once it is written.
 */
#pragma once

#include "control/admission.h"
#include "control/control.h"
#include "control/events.h"
#include "control/metrics.h"
#include "control/pool.h"
#include "control/relay.h"
#include "control/session.h"
#include "control/super_link.h"
#include "control/volume.h"

enum {
	ENDED_KEPT = 1000, /* records of ended sessions ... */
	ENDED_KEPT_SECONDS = 3600, /* ... and for how long */
	ENDED_OUTPUTS_KEPT = 128, /* the newest of them with all their output, each up to 256 KiB of memory */
};

struct lifecycle {
	struct control *control;
	void (*ready)(struct control *control); /* NULL once it was called */
	struct super_link super;
	struct registry *registry;
	struct events events;
	struct admission admission;
	struct metrics metrics;
	struct relay_pool relays; /* of streams, and of connections to ports */
	int null_fd;
	uint64_t last_number; /* of record.number */
	struct index by_id, by_host_id, by_key, by_place, owners, users, templates;
	struct list all; /* in order of creation */
	struct list ended; /* in order of their end */
	struct list outputs; /* ended ones with their output, in the same order */
	struct volumes volumes;
	struct pools pools;
	struct list dirty; /* to be written */
	struct list launch; /* to be asked of the supervisor once they are written */
	size_t n_by_state[SESSION_STATE_COUNT];
	struct loop_timer flush; /* the next transaction */
	struct loop_timer checkpoint;
	struct loop_timer sweep; /* ended records that have been kept long enough */
	size_t n_port_conns;
	uint32_t next_host_port; /* counts up; where the search for a free one begins */
	int write_error; /* why the last transaction failed, a negative errno; said once on standard error */
};

static inline struct loop *lifecycle_loop(struct lifecycle *lifecycle)
{
	return &lifecycle->control->loop;
}

static inline const struct config *lifecycle_config(const struct lifecycle *lifecycle)
{
	return &lifecycle->control->config;
}

/* Sessions that are not ended. */
size_t lifecycle_n_live(const struct lifecycle *lifecycle);

/* Something is to be written: arranges for a transaction at the start of the next round. */
void lifecycle_flush_soon(struct lifecycle *lifecycle);

/* Tells the supervisor, which keeps how a session ended until then, that it is written down here. 0 or a negative errno. */
int lifecycle_tell_noted(struct lifecycle *lifecycle, const char *id);

/* An ended session joins those that are kept; the oldest of them may have to go. */
void lifecycle_keep_ended(struct lifecycle *lifecycle, struct session *session);

/* SUPER_EV_GONE and SUPER_EV_EXITED of a session that still is to be made are those of an earlier one of its name. */
static inline bool session_is_made(const struct session *session)
{
	return !session->create && !session->asked;
}

/* ---- adopt.c ---- */

/* A session of the registry as this process begins: fn of registry_load(), ARG is the lifecycle. */
int adopt_record(void *arg, struct record *record);
/* SUPER_EV_SESSION. */
void adopt_live(struct lifecycle *lifecycle, const struct super_ev_session *event, int *fds, size_t n_fds);
/* The list is whole: what it did not name has ended. */
void adopt_finish(struct lifecycle *lifecycle);
