/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands that clients run in a session: what all ways of running one have in common. Control makes the pipes, the
 * session's init starts the command on their other ends (INIT_EXEC); the supervisor has no part in it.
 *
 *	exec_run.c	exec.run: runs to its end, with what it printed as the answer
 *	exec_start.c	exec.start, terminal.open: run on their own; clients attach to them and leave
 *	exec_attach.c	the streams of those who are attached
 *	exec_kept.c	what else clients ask of commands that run on their own
 */
#pragma once

#include "control/session.h"

/* Under way at once, of all kinds together; and of those the ones with a terminal. */
enum { EXECS_PER_SESSION = 256, TERMINALS_PER_SESSION = 16 };

/* The command's descriptors. */
enum { EXEC_STDIN, EXEC_STDOUT, EXEC_STDERR, EXEC_STDIO };

/*
 * The session that CALL names, if something can be done in it now. Otherwise answers the call (not_found, not_ready,
 * invalid_state, unavailable) and returns NULL.
 */
struct session *session_for_work(struct call *call);

/* Whether nothing can be asked of SESSION's init because it is of another version; then CALL is answered. */
bool exec_fail_foreign(const struct session *session, struct call *call);

/*
 * The session that CALL names, if it takes a command now. Otherwise answers the call (not_found, not_ready,
 * invalid_state, limit, unavailable) and returns NULL.
 */
struct session *exec_session(struct call *call);

/* Whether the session has room for one more that outlives its call, with a terminal or not. False: CALL is answered. */
bool exec_has_room(const struct session *session, struct call *call, bool tty);

/* The spec of the command in CALL's parameters, the caller's; or a negative errno, and the call is answered. */
int exec_spec(const struct session *session, struct call *call, bool tty);

/*
 * A pipe between control and a command. Control's end does not block; the command's does, and can be opened again by
 * whoever the command runs as, as /dev/stdout is. 0 and both ends, the caller's; or a negative errno.
 */
int exec_pipe(bool control_reads, int *ret_control, int *ret_command);

/* Answers CALL with why its command was not started, as init or control itself says. */
void exec_fail_start(const struct session *session, struct call *call, const struct err *err);
