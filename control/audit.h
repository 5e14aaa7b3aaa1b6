/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who asked for what, and what came of it: a line of JSON on standard error, which the journal keeps, for each request
 * that a method was found for. Names are written and nothing else: no environment, no secret, no argument, no content.
 *
 * The journal's room is not without end, and clients may be many: each user has a number of lines that comes back with
 * time. What is left out is counted in his next line.
 */
#pragma once

#include "control/methods.h"

enum { AUDIT_BURST = 1000, AUDIT_PER_SECOND = 200 };

/* Of a user. Zeroed: a full portion. */
struct audit_budget {
	uint64_t spent_until_ns; /* CLOCK_BOOTTIME: when all that was written is paid for */
	uint64_t n_left_out;
};

struct audit_entry {
	const struct caller *caller;
	const struct method *method;
	const json_t *params;
	const json_t *answer; /* {result} or {error}, as the client gets it; NULL: none could be made */
	uint64_t elapsed_ns;
};

/* Whether a request for METHOD is to be written by the configuration. */
bool audit_wants(const struct config *config, const struct method *method);

/* Writes ENTRY, if BUDGET allows it at NOW_NS. */
void audit_write(struct audit_budget *budget, uint64_t now_ns, const struct audit_entry *entry);

/* Writes that CALLER, who has no role, was refused a connection. BUDGET is that of all who are. */
void audit_refused(struct audit_budget *budget, uint64_t now_ns, const struct caller *caller);

/* Writes how much was left out, if anything, of the user UID, who has gone. */
void audit_close(struct audit_budget *budget, uid_t uid);

/* "ok", or the kind of the error; "invalid_request" for one below the methods. */
const char *audit_outcome(const json_t *answer);
