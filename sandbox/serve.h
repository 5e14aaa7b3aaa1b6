/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What init does once the workload runs: one thread, one epoll. It reaps, keeps the workload's output, and serves one
 * connection of control's. Control may be hostile and the workload is, so nothing here waits for either: each source
 * of events gets a bounded amount of work in a round, everything that can be asked for has a limit, and what cannot
 * be delivered is kept (the ends of commands), marked (output that grew), or costs control its connection.
 *
 * Nothing is allocated after start-up. The one struct is mapped, not cleared: pages of its tables that were never
 * used take no memory.
 */
#pragma once

#include <stdbool.h>

#include "sandbox/spawn.h"
#include "wire/init.h"
#include "wire/output.h"

enum {
	SERVE_MAX_CONNECTS = 64, /* connections to ports of the session that are being made at once */
	SERVE_MAX_HELD = 1 + INIT_MAX_EXECS + SERVE_MAX_CONNECTS, /* answers: all that can be open at once */
	SERVE_HELD_BYTES = 192, /* of one, which is not read on before it is sent */
	SERVE_MAX_TERMINALS = 2 * INIT_MAX_TERMINALS, /* with those that have ended and can still be looked at */
};

/* Where an event came from; the place in a table goes with it. */
enum source {
	SOURCE_CHILDREN,
	SOURCE_LISTEN,
	SOURCE_CONTROL,
	SOURCE_STDOUT,
	SOURCE_STDERR,
	SOURCE_CDP,
	SOURCE_EXEC, /* index in execs: one that is being started, or a spawner */
	SOURCE_CONNECT, /* index in connects */
	SOURCE_KEPT, /* index in kept, times STREAM_COUNT, and the stream */
	SOURCE_TERMINAL, /* index in terminals */
};

enum exec_state {
	EXEC_FREE,
	EXEC_STARTING,
	EXEC_RUNNING,
	EXEC_ENDED, /* control has not been told yet */
	EXEC_TOLD, /* one that is kept until control says that it is forgotten */
};

struct exec {
	uint64_t id;
	uint16_t op; /* what it was started by: INIT_EXEC, ... */
	pid_t pid;
	enum exec_state state;
	uint32_t asked_by; /* number of the connection that INIT_EXEC came from */
	int pipe; /* while it is being started */
	int32_t exit_code, signal;
	struct kept *kept; /* NULL: its input and output are not init's */
	bool is_spawner; /* its pipe stays */
};

/* Bytes go from OWN to PEER, or for input from PEER to OWN. -1: there is none, or not any more. */
struct stream {
	int own; /* init's end of the command's pipe */
	int peer; /* what control has attached */
	bool ends; /* input: PEER's end is OWN's */
	bool hot; /* this round's work was used up */
};

struct viewer {
	int in, out; /* out -1: a free place */
	uint64_t at; /* position of the next byte to be shown */
};

struct terminal {
	struct kept *kept; /* NULL: not in use */
	int master; /* -1: the command has ended, or not begun */
	bool hot;
	uint64_t ended; /* its place among those that have, from 1; 0: it has not */
	bool seen; /* to its end, by somebody */
	uint64_t head; /* bytes ever shown; the ring has the last of them */
	struct viewer viewers[INIT_MAX_VIEWERS];
	uint8_t ring[INIT_SCROLLBACK] __attribute__((aligned(4096)));
};

struct kept {
	bool used;
	struct exec *exec; /* NULL: forgotten; goes when what it wrote has been read */
	uint32_t flags; /* enum init_start_flags */
	struct stream streams[SPAWN_STDIO];
	struct terminal *terminal;
	struct init_label label;
};

struct held {
	int fd; /* -1: none */
	uint8_t bytes[SERVE_HELD_BYTES] __attribute__((aligned(8)));
};

struct connecting {
	bool used;
	int fd;
	uint16_t port, family; /* family: the one that is being tried */
	bool try_next;
	uint64_t id;
};

/* A file system that control may ask about. */
struct place {
	int fd; /* the mount's root: what is mounted over it does not stand in the way */
	char target[member_size(struct init_space, target)];
};

struct serve {
	int epoll, children, listen;
	int control; /* -1 while nobody is connected */
	uint32_t n_controls; /* connections so far: the number of the present one */
	bool control_blocked; /* its queue was full: wait until it is not, and take no more requests */
	size_t held_at, n_held; /* answers that wait for that: a ring in HELD */
	uint64_t list_id; /* of the INIT_LIST under way; 0: none */
	size_t list_at; /* in execs: where it goes on */
	int pts; /* the root of /dev/pts */
	bool watching, grew; /* INIT_WATCH_OUTPUT was asked for; there is something to say */
	int stdout_pipe, stderr_pipe;
	int cdp_write, cdp_read; /* -1 where the workload has no debugging pipe */
	struct output_header *output;
	struct spawn_rules rules;
	bool more_children; /* the last round left some unreaped */
	bool ended; /* the workload has */
	int exit_code; /* init's own, then */
	size_t n_execs_used; /* places in execs that were ever used */
	struct exec execs[1 + INIT_MAX_EXECS]; /* the workload first */
	struct msg request; /* the one under way: on the stack, children would have a copy */
	size_t n_places;
	struct place places[INIT_MAX_PLACES];
	struct connecting connects[SERVE_MAX_CONNECTS];
	bool hot; /* of kept and terminals some are */
	struct kept kept[INIT_MAX_KEPT];
	struct held held[SERVE_MAX_HELD];
	uint64_t n_terminals_ended; /* ever */
	struct terminal terminals[SERVE_MAX_TERMINALS];
};

/* The state, ready but for the workload, whose side of the pipes goes to RET_FDS. LISTEN is taken over on success. */
int serve_open(struct serve **ret, int listen, struct output_header *output, bool cdp, int *ret_fds);

/* The workload runs as PID: serves until it has ended. Returns init's exit code. Never fails. */
int serve_run(struct serve *serve, pid_t pid);

/* ---- sandbox/serve.c: for the parts below ---- */

int serve_watch(struct serve *serve, int fd, enum source source, size_t index, uint32_t events);
/* Stops watching *FD and closes it. */
void serve_drop(struct serve *serve, int *fd);
/* Writes a line of init's own to the output. */
void serve_note(struct serve *serve, const char *line);
/* Puts what the workload wrote into the output. */
void serve_keep(struct serve *serve, enum output_stream stream, const void *data, size_t n);

/* ---- sandbox/control.c: control's connection ---- */

void control_accept(struct serve *serve);
void control_ready(struct serve *serve, uint32_t events);
void control_close(struct serve *serve, const char *why);
/* Answers the request that NUMBER's connection made; dropped when that is not the present one. */
void control_answer(struct serve *serve, uint32_t number, const struct msg_header *header, const int *fds, size_t n);
/* Answers the request MSG with a struct init_done: NUM 0, or a negative errno and what failed on what. */
void control_done(struct serve *serve, const struct msg *msg, int num, const char *step, const char *object);
/* Tells what is to be told: commands that ended, output that grew. */
void control_tell(struct serve *serve);

/* ---- sandbox/execs.c: commands ---- */

/* INIT_EXEC, INIT_FILES and INIT_SPAWNER. */
void exec_request(struct serve *serve, struct msg *msg);
void exec_signal(struct serve *serve, struct msg *msg);
/* A command that is being started has become what it should, or not; a spawner has something to say. */
void exec_ready(struct serve *serve, size_t index);
/* Reaps children, a bounded number. */
void exec_reap(struct serve *serve);

struct exec *exec_find(struct serve *serve, uint64_t id);
/* Starts what MSG's request and descriptors say; 0, or a negative errno with ERR filled. */
int exec_start(
	struct serve *serve, const struct msg *msg, const struct spawn *what, struct kept *kept, struct err *err);

/* ---- sandbox/kept.c: commands whose input and output outlive connections ---- */

void kept_request(struct serve *serve, struct msg *msg); /* INIT_START */
void kept_attach(struct serve *serve, struct msg *msg);
void kept_end_input(struct serve *serve, struct msg *msg);
void kept_resize(struct serve *serve, struct msg *msg);
void kept_forget(struct serve *serve, struct msg *msg);
/* A stream can move, or what had work left over has its turn. */
void kept_ready(struct serve *serve, size_t index);
void kept_go_on(struct serve *serve);
/* The command runs; it was not started; it has ended. */
void kept_started(struct serve *serve, struct kept *kept);
void kept_release(struct serve *serve, struct kept *kept);
void kept_ended(struct serve *serve, struct kept *kept);

/* ---- sandbox/terminal.c ---- */

/* A free terminal for KEPT, whose master is not there yet; NULL when all are in use. */
struct terminal *terminal_take(struct serve *serve, struct kept *kept);
void terminal_opened(struct serve *serve, struct terminal *terminal);
/* IN and OUT are taken over on success. 0 or -EAGAIN. */
int terminal_view(struct serve *serve, struct terminal *terminal, int in, int out);
void terminal_ready(struct serve *serve, size_t index);
/* The command has ended: what it wrote last is shown to who watches, and to who comes later, until it is forgotten. */
void terminal_end(struct serve *serve, struct terminal *terminal);
void terminal_release(struct serve *serve, struct terminal *terminal);

/* ---- sandbox/connect.c: connections to ports of the session ---- */

void connect_request(struct serve *serve, struct msg *msg);
void connect_path_request(struct serve *serve, struct msg *msg);
void connect_ready(struct serve *serve, size_t index);
/* Gives up all that are being made: who asked for them is gone. */
void connect_cancel(struct serve *serve);

/* ---- sandbox/space.c: room in file systems ---- */

void space_request(struct serve *serve, struct msg *msg);
