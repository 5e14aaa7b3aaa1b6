/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The spawner of a session (sandbox/spawner.c): a child of its init that starts a command in a fraction of the time that
 * init takes. There is one for a while after each exec.run, for the next; a session in which nothing is run has none.
 *
 * It is given one order at a time, and the next when it has said that it is free. Nobody depends on it: whatever the
 * session does to it, init starts the commands that it does not take.
 */
#pragma once

#include "control/session.h"

/*
 * As init_link_exec(), by the spawner; but that the command was started is not told, only its end. A negative errno when
 * there is none or it is not free.
 */
int spawner_exec(struct session *session, struct init_exec *exec, const int fds[static 4]);
/* Kills the command ID if the spawner may still have the order, together with the spawner. False: it has not. */
bool spawner_kill(struct session *session, uint64_t id);
/* See to it that there is one for the next command. */
void spawner_want(struct session *session);
/* The session has ended. */
void spawner_end(struct session *session);
