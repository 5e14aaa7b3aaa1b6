/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What control and a session's init say to each other. Init listens on a SOCK_SEQPACKET socket in a directory of the
 * supervisor's, outside the session's view; control gets a connected descriptor from the supervisor (SUPER_FD_INIT,
 * SUPER_CONNECT). The newest connection wins: the old one is closed. Init parses requests defensively; control takes every
 * byte from init as hostile.
 *
 * Commands that init runs are numbered by control with the ids of INIT_EXEC; number 0 is the workload. A file child counts as
 * one, by INIT_FILES, and so does a spawner, by INIT_SPAWNER.
 *
 * A spawner is a child of init that starts commands in init's place, without copying its memory. It takes INIT_EXEC on
 * its channel, one at a time, and answers each there, whatever has become of it, when it can take the next. The commands
 * are init's children. Of one that was not started, the answer to INIT_EXEC comes from init; of one that was there is
 * none, but its end. The spawner ends with its channel.
 */
#pragma once

#include "wire/err.h"
#include "wire/msg.h"

enum init_op {
	INIT_EXEC = 1, /* struct init_plain, descriptors: spec, stdin, stdout, stderr → struct init_started */
	INIT_SIGNAL, /* struct init_signal → struct init_done */
	INIT_STOP, /* struct init_stop → struct init_done; the end is seen by INIT_EV_EXITED of 0 */
	INIT_CONNECT, /* struct init_connect → struct init_done, descriptor: the connected socket */
	INIT_WATCH_OUTPUT, /* struct init_plain → struct init_done; from then on INIT_EV_OUTPUT */
	INIT_CONNECT_PATH, /* struct init_connect_path → struct init_done, descriptor: the connected socket */
	INIT_FILES, /* struct init_plain, descriptors: spec, channel → struct init_started: a file child (wire/files.h) */
	INIT_START, /* struct init_start, descriptor: spec → struct init_started: init keeps its input and output */
	INIT_ATTACH, /* struct init_attach, descriptors: ends of pipes → struct init_done */
	INIT_END_INPUT, /* struct init_kept → struct init_done: what was attached is all the input that there is */
	INIT_RESIZE, /* struct init_resize → struct init_done */
	INIT_FORGET, /* struct init_kept → struct init_done: of a command that has ended nobody asks any more */
	INIT_LIST, /* struct init_plain → INIT_EV_KEPT each, then struct init_done */
	INIT_SPACE, /* struct init_place → struct init_space: what there is of one of the session's file systems */
	INIT_SPAWNER, /* struct init_plain, descriptor: channel → struct init_started: a spawner */

	INIT_EV_HELLO = 0x100, /* struct init_hello: the first message of a connection */
	INIT_EV_EXITED, /* struct init_ev_exited */
	INIT_EV_OUTPUT, /* struct init_plain: the output grew since INIT_WATCH_OUTPUT was last sent (sent once; ask again) */
	INIT_EV_KEPT, /* struct init_ev_kept */
};

struct init_plain {
	struct msg_header header;
};

struct init_done {
	struct msg_header header;
	struct err err;
};

struct init_started {
	struct msg_header header;
	struct err err; /* step "exec", "user", "cwd", ...: the command was not started */
	int32_t pid; /* in the session */
	uint32_t reserved;
};

struct init_signal {
	struct msg_header header;
	uint64_t exec; /* id of its INIT_EXEC; 0: the workload */
	int32_t signal;
	uint32_t group; /* 1: its process group, 0: only the process */
};

enum init_stop_method {
	STOP_SIGNAL = 1, /* to the workload */
	STOP_CDP, /* Browser.close down the workload's debugging pipe */
};

struct init_stop {
	struct msg_header header;
	uint32_t method; /* enum init_stop_method */
	int32_t signal; /* for STOP_SIGNAL */
};

enum init_family {
	FAMILY_ANY = 0, /* 127.0.0.1, then ::1 */
	FAMILY_IPV4 = 4,
	FAMILY_IPV6 = 6,
};

struct init_connect {
	struct msg_header header;
	uint16_t port;
	uint16_t family; /* enum init_family */
	uint32_t reserved;
};

enum { INIT_PATH_SIZE = 1024 };

/* A stream socket in the session's file system; -EAGAIN while its queue is full. */
struct init_connect_path {
	struct msg_header header;
	char path[INIT_PATH_SIZE]; /* absolute */
};

/*
 * The file systems that init made or attached and that can be written: the root first, then /dev/shm, then the mounts of
 * the template and the volumes, as they were made; whatever the session has mounted over them since.
 */
struct init_place {
	struct msg_header header;
	uint32_t place; /* 0 and up; there is always one. What is too high is taken for 0 */
	uint32_t reserved;
};

enum { INIT_MAX_PLACES = 32 };

struct init_space {
	struct msg_header header;
	uint32_t n_places; /* as many as there are, at most INIT_MAX_PLACES */
	uint32_t reserved;
	uint64_t bytes,
		bytes_free; /* as statfs(2) has it for who is not root; 0 of 0: without a bound, or not known */
	uint64_t inodes, inodes_free;
	char target[128]; /* where it was mounted, absolute */
};

struct init_hello {
	struct msg_header header;
	uint32_t workload; /* enum workload_state */
	uint32_t n_execs; /* commands running, the workload not counted */
};

struct init_ev_exited {
	struct msg_header header;
	uint64_t exec;
	int32_t exit_code; /* -1 when a signal ended it */
	int32_t signal; /* 0 when it exited */
};

/*
 * Commands that outlive connections, and control itself: init makes their pipes or their terminal and keeps its ends.
 * Control attaches pipes to them for as long as somebody wants to read or write; without a reader a command's output
 * waits in its pipe, and that of a terminal goes into its scrollback alone.
 */
enum init_start_flags {
	START_TTY = 1 << 0, /* a terminal; the spec must say so, too */
	START_MERGE = 1 << 1, /* stderr is stdout */
	START_INPUT = 1 << 2, /* stdin is a pipe; without it, /dev/null */
	START_FLAGS = START_TTY | START_MERGE | START_INPUT,
};

/* Control's own notes on a command. Init returns them as they were, or so control hopes. */
struct init_label {
	char name[64]; /* of a terminal; empty: none */
	char command[192]; /* for people, cut */
	uint64_t started_at_ns; /* CLOCK_REALTIME */
	uint64_t started_ns, deadline_ns; /* CLOCK_BOOTTIME; deadline 0: none */
	uint32_t uid; /* whose call it was */
	uint32_t reserved;
};

struct init_start {
	struct msg_header header;
	uint32_t flags; /* enum init_start_flags */
	uint16_t rows, columns; /* of the terminal */
	struct init_label label;
};

enum init_stream {
	STREAM_INPUT, /* one descriptor, to be read: the command's stdin */
	STREAM_OUTPUT, /* one descriptor, to be written */
	STREAM_ERRORS, /* the same */
	STREAM_TERMINAL, /* two: what is typed, to be read; what is shown, to be written. Scrollback first */
	STREAM_COUNT,
};

/* Of a command's stream the newest attachment counts. A terminal has as many as INIT_MAX_VIEWERS. */
struct init_attach {
	struct msg_header header;
	uint64_t exec;
	uint32_t stream; /* enum init_stream */
	uint32_t reserved;
};

struct init_kept {
	struct msg_header header;
	uint64_t exec;
};

struct init_resize {
	struct msg_header header;
	uint64_t exec;
	uint16_t rows, columns;
	uint32_t reserved;
};

struct init_ev_kept {
	struct msg_header header;
	uint64_t exec;
	uint32_t flags; /* enum init_start_flags */
	int32_t pid; /* 0: it has ended */
	int32_t exit_code, signal; /* as in struct init_ev_exited, once it has ended */
	struct init_label label;
};

enum {
	INIT_MAX_KEPT = 320, /* commands with their input and output, not yet forgotten; one more is -EAGAIN */
	INIT_MAX_TERMINALS = 16, /* of them that run with a terminal; one more is -EAGAIN; as many ended ones stay */
	INIT_MAX_VIEWERS = 8, /* of one terminal; one more is -EAGAIN */
	INIT_SCROLLBACK = 64 * 1024, /* bytes that a terminal shows again to a new viewer */
};

/* The limit of commands that run at once in one session; one more is -EAGAIN. */
enum { INIT_MAX_EXECS = 1024 };

extern const struct msg_shape init_requests[];
extern const size_t n_init_requests;
extern const struct msg_shape init_answers[];
extern const size_t n_init_answers;
