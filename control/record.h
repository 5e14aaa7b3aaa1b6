/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is known of a session beyond the life of this process: the row that the registry keeps and, but for what
 * clients must not see of each other, what session_json.c shows. Nothing here is a secret: the values of "secrets"
 * go into the workload's spec and nowhere else.
 */
#pragma once

#include <jansson.h>

#include "control/text.h"
#include "wire/super.h"

enum session_state {
	SESSION_CREATING, /* accepted; the supervisor has not answered */
	SESSION_STARTING, /* the workload runs; the readiness probe has not succeeded */
	SESSION_READY,
	SESSION_PAUSED, /* frozen */
	SESSION_STOPPING, /* asked to end, being killed, or being undone */
	SESSION_ENDED, /* nothing of it is left on the host */
	SESSION_STATE_COUNT,
};

enum end_reason {
	END_NONE, /* it has not ended, or why is not known yet */
	END_STOPPED, /* a client asked */
	END_EXPIRED, /* its time was over */
	END_IDLE, /* nobody used it */
	END_EXITED, /* the workload ended by itself */
	END_FAILED, /* it could not be made or did not become ready, or its init broke */
	END_UNHEALTHY, /* a liveness probe failed */
	END_OOM, /* the kernel killed it for memory */
	END_HOST_RESTART, /* the host was restarted under it */
	END_REASON_COUNT,
};

struct session_end {
	enum end_reason reason;
	uint64_t at_ns; /* CLOCK_REALTIME, or NEVER */
	int32_t exit_code; /* of the workload; -1: it did not exit, or that is not known */
	int32_t signal; /* that ended the workload; 0: none */
	int32_t err_no; /* a negative errno; 0: none */
	char step[ERR_STEP_SIZE]; /* what failed; empty: nothing */
	char *message; /* for people; NULL: none */
	char *log_tail; /* the last lines of output; NULL: none or not of interest */
};

/* Times are nanoseconds, NEVER where there is none: _at_ns of CLOCK_REALTIME, _boot_ns of CLOCK_BOOTTIME in BOOT_ID. */
struct record {
	uint64_t number; /* counts creations: the order of session.list */
	char id[NAME_SIZE];
	char host_id
		[NAME_SIZE]; /* its name with the supervisor: that of a pool's member where it was claimed, else the id */
	int32_t pooled; /* 1: a pool's, and nobody's yet */
	char template[NAME_SIZE];
	char hostname[NAME_SIZE];
	char egress[NAME_SIZE]; /* the policy asked for; empty: the template's */
	char boot_id[40];
	char *kind, *owner, *task_id; /* task_id may be NULL */
	uint32_t uid; /* who created it */
	char *isolation, *place; /* of session.ensure, or NULL: what it sets apart, and whose session it is */
	uint32_t n_restarts; /* of the workload, by its liveness probe */
	enum session_state state;
	uint64_t created_at_ns, created_boot_ns, ready_at_ns;
	uint64_t expires_at_ns, expires_boot_ns;
	uint64_t idle_ns; /* how long it may go unused */
	uint64_t last_activity_at_ns, last_activity_boot_ns;
	char address[16], address6[48]; /* empty: none */
	json_t *labels; /* object of strings */
	json_t *limits; /* {name: {value, enforced}}; shared, so not to be changed in place */
	json_t *ports; /* [{name, port|path, family, address?, host_port?}]: published by clients; or NULL */
	char *timeline; /* [{step, ms}] as text, a tenth of what it takes as values; or NULL */
	json_t *volumes; /* [{name, path, persistent}] */
	char *key; /* "uid:idempotency_key" or NULL */
	uint8_t fingerprint[SHA256_SIZE]; /* of the parameters that came with the key */
	struct session_end end;
};

/* An empty record: no times, no end. */
void record_init(struct record *record);
/* Releases what RECORD holds, not RECORD. */
void record_clear(struct record *record);

/* Adds STEPS, [{step, ms}], to the timeline. They are stolen; lost where memory is short. */
void record_add_times(struct record *record, json_t *steps);

/* "creating", ... and back; -EINVAL for a name that is none. */
const char *session_state_name(enum session_state state);
int session_state_parse(const char *name, enum session_state *ret);

/* "stopped", ...; "" for END_NONE. And back. */
const char *end_reason_name(enum end_reason reason);
int end_reason_parse(const char *name, enum end_reason *ret);
