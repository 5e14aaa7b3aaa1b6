/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the handlers of session.* share.
 */
#pragma once

#include "control/session.h"

/*
 * The session that a call names by "session" or by "owner" (of whose sessions the newest that lives counts, else the
 * newest), if the caller may see it. Otherwise answers the call with not_found and returns NULL.
 */
struct session *session_of_call(struct call *call);

/* Answers CALL: SESSION is in a state in which it cannot be WHAT ("paused"). */
void session_refuse(const struct session *session, struct call *call, const char *what);

/* Answers session.stats. */
void session_reply_stats(struct session *session, struct call *call);

enum { CHANGE_RETRY_MS = 50 }; /* after busy: a change of the same kind is under way */

/* Nanoseconds of a number of seconds that fits the methods table; NEVER for null. At most a hundred years. */
uint64_t duration_ns(const json_t *seconds);
