/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands that clients run in a session: what all ways of running one have in common. Control makes the pipes, the
 * session's init starts the command on their other ends (INIT_EXEC); the supervisor has no part in it.
 *
 *	exec_run.c	exec.run: runs to its end, with what it printed as the answer
 */
#pragma once

#include "control/session.h"

/*
 * Under way at once. For each, init may have four messages to send (started, signalled twice, ended), and ends the
 * connection when an answer does not fit into the socket, which holds 278 of them: a control that is slow to read must
 * not cost a session its life. What a connection has under way is bounded by its requests in flight.
 */
enum { EXECS_PER_SESSION = 64 };

/* The command's descriptors. */
enum { EXEC_STDIN, EXEC_STDOUT, EXEC_STDERR, EXEC_STDIO };

/*
 * The session that CALL names, if something can be done in it now. Otherwise answers the call (not_found, not_ready,
 * invalid_state, unavailable) and returns NULL.
 */
struct session *session_for_work(struct call *call);

/*
 * The session that CALL names, if it takes a command now. Otherwise answers the call (not_found, not_ready,
 * invalid_state, limit, unavailable) and returns NULL.
 */
struct session *exec_session(struct call *call);

/* The spec of the command in CALL's parameters, the caller's; or a negative errno, and the call is answered. */
int exec_spec(const struct session *session, struct call *call);

/*
 * A pipe between control and a command. Control's end does not block; the command's does, and can be opened again by
 * whoever the command runs as, as /dev/stdout is. 0 and both ends, the caller's; or a negative errno.
 */
int exec_pipe(bool control_reads, int *ret_control, int *ret_command);

/* Answers CALL with why its command was not started, as init or control itself says. */
void exec_fail_start(const struct session *session, struct call *call, const struct err *err);
