/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The channel to one session's init. Everything that comes from there is hostile: a frame that fits no shape, an
 * answer nobody asked for or a number out of range ends this channel, and so this session, and nothing else.
 */
#pragma once

#include "control/list.h"
#include "control/requests.h"
#include "wire/init.h"
#include "wire/output.h"

struct init_link {
	struct chan chan;
	struct requests requests;
	struct list execs;
	bool greeted; /* INIT_EV_HELLO has come */
	/* Set before init_link_open(). A handler may close the link and free its owner. */
	void (*on_hello)(struct init_link *link, enum workload_state workload);
	void (*on_workload_exited)(struct init_link *link, int exit_code, int signal);
	void (*on_output)(struct init_link *link);
	/* A command that init keeps, while INIT_LIST is under way; NULL: that was all. */
	void (*on_kept)(struct init_link *link, const struct init_ev_kept *kept);
	void (*on_closed)(struct init_link *link, int error); /* as of struct chan */
	bool listing;
	size_t n_listed;
};

/* A command that init runs for somebody, embedded in its owner. */
struct init_exec {
	struct list of_link;
	uint64_t id;
	bool ordered; /* of a spawner: only that it was not started is told */
	/* ERR NULL: the link ended. After an error nothing more is called. */
	void (*on_started)(struct init_exec *exec, const struct err *err, int pid);
	/* exit_code -1: ended by SIGNAL; both -1: the link ended. Nothing more is called. */
	void (*on_exited)(struct init_exec *exec, int exit_code, int signal);
};

/* Takes over SOCK, which must be nonblocking. 0 or a negative errno. */
int init_link_open(struct init_link *link, struct loop *loop, int sock);
bool init_link_is_open(const struct init_link *link);
/* Tells requests and execs under way that the link ended. on_closed is not called. Harmless when it is not open. */
void init_link_close(struct init_link *link);

/* See requests_send(). HEADER is filled but for its id. */
int init_link_send(
	struct init_link *link, struct msg_header *header, const int *fds, size_t n_fds, answer_fn *fn, void *owner);

/* Starts a command; FDS are its spec, stdin, stdout and stderr, all borrowed. Set EXEC's functions before. */
int init_link_exec(struct init_link *link, struct init_exec *exec, const int fds[static 4]);
/* Starts a file child (wire/files.h) on CHANNEL, likewise; of SPEC only the user counts. */
int init_link_files(struct init_link *link, struct init_exec *exec, int spec, int channel);
/* Starts a spawner on CHANNEL, which is borrowed. */
int init_link_spawner(struct init_link *link, struct init_exec *exec, int channel);
/* EXEC is about to be ordered of a spawner, under the id that it gets here. */
void init_link_order(struct init_link *link, struct init_exec *exec);
/* The command ID, which was ordered, will not be started, for all that is known: on_started is called. */
void init_link_fail_order(struct init_link *link, uint64_t id, const struct err *err);
/* The same for one that init keeps (INIT_START). REQUEST is filled but for its header; SPEC is borrowed. */
int init_link_start(struct init_link *link, struct init_exec *exec, struct init_start *request, int spec);
/* EXEC is the command with its id, which init already runs: its on_exited is called. */
void init_link_adopt_exec(struct init_link *link, struct init_exec *exec);
/* Asks for the commands that init keeps: on_kept follows. 0 or a negative errno. */
int init_link_list(struct init_link *link);
/* EXEC's functions are not called any more; the command goes on. Harmless when it is not running. */
void init_link_forget_exec(struct init_link *link, struct init_exec *exec);

/* Sends a signal to a command, or to the process group that it leads; nobody hears whether it arrived. */
int init_link_signal(struct init_link *link, const struct init_exec *exec, int signal, bool group);
/* Kills a command and its group, whether it leads one yet or not. */
void init_link_kill(struct init_link *link, uint64_t id);
