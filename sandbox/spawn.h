/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starting a command: the workload, and everything that control has run in the session. The child that becomes the
 * command does whatever could wait or be lied to (reading /etc/passwd, entering a directory, finding the program), so
 * that init itself never resolves a path once the session is under way.
 *
 * A file child (sandbox/file_child.h) begins as a command does, with a command's rights, and executes nothing. A spawner
 * (sandbox/spawner.c) does neither: it starts commands, as init does, with init's rights.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "wire/err.h"
#include "wire/plan.h"

/* What holds for every command of the session. */
struct spawn_rules {
	uint64_t capabilities; /* of a command with uid 0 */
	size_t n_rlimits;
	struct plan_rlimit rlimits[PLAN_MAX_RLIMITS];
};

enum {
	SPAWN_CHANNEL = 1, /* a file child or a spawner: its channel */
	SPAWN_STDIO = 3,
	SPAWN_CDP = 5, /* and descriptors 3 and 4: the debugging pipe, which the spec must ask for */
};

struct spawn {
	const struct spawn_rules *rules;
	int spec; /* none for a spawner */
	int fds[SPAWN_CDP]; /* become the command's descriptors 0, 1, ...; borrowed */
	size_t n_fds; /* SPAWN_* */
	/*
	 * The root of the session's devpts, if the command is to have a terminal of its own there, which the spec must ask
	 * for, too; else -1. It replaces the first three descriptors.
	 */
	int pts;
	uint16_t rows, columns;
	bool is_spawner;
	/*
	 * Nothing of the session runs yet: the child then shares init's memory until it executes the command, and init
	 * waits for that. Later a user of the session could stop the child by a signal, and init with it.
	 */
	bool is_first;
};

/*
 * Starts the child. 0 with its pid and a pipe, nonblocking and the caller's, that spawn_result() reads; or a negative
 * errno with ERR filled.
 */
int spawn(const struct spawn *what, pid_t *ret_pid, int *ret_pipe, struct err *err);

/*
 * What became of it. Of a command with a terminal, *RET_MASTER is the other side as soon as there is one, the caller's,
 * nonblocking; NULL where no terminal was asked for. 1 when the program has been executed or the file child
 * serves, 0 while that is open, or the negative errno of what failed,
 * with ERR filled: step "spec", "descriptors", "session", "limits", "user", "terminal", "cwd" or "exec" and its object. The child
 * then exits by itself.
 */
int spawn_result(int pipe, int *ret_master, struct err *err);

/* ---- what a spawner shares with its commands and with init ---- */

/*
 * What it writes to its pipe, which stays: ID 0, that it is there. Then of each order a child, as the first thing that
 * it does, its PID; and if it cannot be the command, why, before it ends. So who has reaped the child can know by the pipe
 * which command it was.
 */
struct spawn_report {
	uint64_t id; /* of the INIT_EXEC */
	int32_t pid; /* 0: there was no child */
	uint32_t reserved;
	struct err err;
};

/* Serves orders on CHANNEL until it ends, then exits. PIPE is blocking. */
_Noreturn void spawner_serve(int channel, int pipe, const struct spawn_rules *rules);

/*
 * As spawn(), but in a spawner: the child is init's, shares the caller's memory until it executes the command, on STACK
 * (its end), and the caller waits for that. ID is for its reports, which go to PIPE.
 */
void spawn_shared(const struct spawn *what, uint64_t id, int pipe, void *stack);

/* The next of a spawner's reports: 1; 0 when there is none, -ENOTCONN when there will be none, -EPROTO. */
int spawn_report(int pipe, struct spawn_report *ret);
