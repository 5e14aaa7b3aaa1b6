/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a session comes to be: session.create asks for one, session.ensure for the one there is or else for one. What
 * both check, and what they make, is in session_create.c; which one there is for whom, in session_ensure.c.
 */
#pragma once

#include "control/session.h"

/* What session.ensure adds to the parameters that it has in common with session.create. All borrowed. */
struct wanted {
	const char *isolation; /* "shared", "per-owner" or "per-task" */
	const char *owner; /* as given or found */
	const char *place; /* there is one session at a time for each */
};

/* Makes a session for CALL, or answers why not. WANTED: NULL for session.create. */
void session_create(struct call *call, const struct wanted *wanted);

/* A name that nobody has guessed: PREFIX and 60 random bits. 0 or -EIO. */
int session_make_id(const char *prefix, char id[static NAME_SIZE]);

/* Fills the header and the names of SUPER_CREATE from RECORD. */
void session_fill_request(const struct record *record, struct super_create *ret);

/* Answers CALL with the session that holds its place, once it is ready or gone. False: the place is free. */
bool session_ensure_existing(struct call *call, const struct wanted *wanted, enum wait_for wait_for);

/* Forgets the session that has ended in PLACE: another is about to be made there. */
void session_leave_place(struct lifecycle *lifecycle, const char *place);
