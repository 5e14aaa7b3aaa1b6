/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The world around the lifecycle half of control, for its tests: callers and connections that remember what they are
 * told, a supervisor at the other end of a socket pair, and an init for each session that it makes. All of it runs in
 * one thread between rounds of control's own loop; what a test wants to go wrong it says beforehand.
 */
#pragma once

#include "control/lifecycle.h"
#include "wire/output.h"
#include "wire/spec.h"

#include <sys/resource.h>

struct conn {
	json_t *notifications; /* [{method, params}] */
	struct {
		void (*fn)(struct conn *conn, void *owner);
		void *owner;
	} hooks[8];
};

struct call {
	struct control *control;
	struct caller caller;
	struct conn *conn;
	json_t *params;
	bool answered;
	json_t *result; /* NULL: an error */
	enum error_kind kind;
	bool retryable;
	char path[64], step[32], message[512];
	int err_no;
	char *log_tail;
	json_t *partial; /* of an error: data.result */
	size_t n_reserved;
	int fds[CALL_MAX_FDS]; /* that went with the answer; a test may take them and put -1 */
	size_t n_fds;
};

enum init_fault {
	FAULT_NONE,
	FAULT_RUBBISH, /* a frame that fits nothing */
	FAULT_UNASKED, /* an answer that nobody asked for */
	FAULT_BAD_EXIT, /* an exit code that is none */
	FAULT_TWO_HELLOS,
	FAULT_PIPE, /* a pipe where a socket is expected */
	FAULT_CLOSE, /* the connection is closed */
	FAULT_OTHER_VERSION, /* it greets as one of another version does */
	FAULT_HANGS_UP, /* the connection is closed before a greeting */
};

/* What a file child answers. */
enum files_fault {
	FILES_WELL,
	FILES_FAILS, /* there is no such file */
	FILES_SILENT,
	FILES_RUBBISH, /* a frame that fits nothing */
	FILES_WRONG_OP,
	FILES_WRONG_ID,
	FILES_TWICE,
	FILES_MUCH, /* more contents than go anywhere */
	FILES_CLOSED, /* the connection is closed */
};

/* What a spawner does with its orders. */
enum spawner_fault {
	SPAWNER_NONE, /* there is none: init starts everything itself */
	SPAWNER_WELL,
	SPAWNER_TWICE, /* says twice that it is done */
	SPAWNER_UNASKED, /* speaks before it is ordered anything */
	SPAWNER_RUBBISH, /* a frame that fits nothing */
	SPAWNER_WRONG_OP,
	SPAWNER_WRONG_ID,
	SPAWNER_HANGS_UP,
	SPAWNER_DIES,
};

struct fake_files {
	struct fake_files *next;
	uint64_t id; /* of its INIT_FILES */
	int channel;
};

/* A session as the fake supervisor and init have it. */
struct fake_session {
	struct fake_session *next;
	char id[NAME_SIZE], template[NAME_SIZE], hostname[NAME_SIZE];
	struct limits limits;
	int init; /* the init's end of its connection; -1: closed */
	int output, cgroup;
	struct output_header *ring;
	struct fake_files *files; /* its file children */
	int spawner; /* its end of the channel; -1: there is none */
	uint64_t spawner_id;
	unsigned n_orders, n_spawners_ended;
	bool ending, frozen;
	uint64_t started_ns;
	char *argv, *envp; /* joined with spaces */
	unsigned n_connects, n_execs, n_stops, n_watches, n_signals;
	uint64_t last_exec;
	char *exec_argv, *exec_envp, *exec_input; /* of the last command; its input as far as it was there */
	struct spec_header exec_header;
	int last_exec_signal;
	struct init_start start; /* the last */
	struct init_attach attach; /* the last, of so many, with its descriptors, the test's to close */
	unsigned n_attached, n_input_ends, n_forgotten;
	int attached_fds[4];
	uint64_t list_id; /* INIT_LIST is being answered; 0: none is */
	size_t list_at;
	int last_stop_method, last_stop_signal;
};

struct fake_host {
	char dir[64];
	struct control control;
	struct template templates[4];
	int super; /* the supervisor's end of the channel */
	struct fake_session *sessions;
	struct super_ev_volumes volumes; /* those on the host; of the first message of the list, and the only one */
	bool ready;
	struct loop_timer tick;
	struct rlimit file_size; /* before host_disk_full() */
	/* What goes wrong, or is slow */
	struct err create_error; /* num < 0: SUPER_CREATE fails so */
	bool hold_create; /* SUPER_CREATE is not answered ... */
	uint64_t held_id; /* ... this one was not */
	char held_session[NAME_SIZE];
	int remove_error; /* negative: SUPER_REMOVE_VOLUME fails so, once */
	struct err limits_error; /* num < 0: SUPER_SET_LIMITS fails so */
	bool hold_limits; /* SUPER_SET_LIMITS is not answered */
	bool hold_gone; /* no SUPER_EV_GONE after a kill */
	bool deaf_watch; /* INIT_WATCH_OUTPUT is not answered */
	struct init_space spaces[3]; /* what INIT_SPACE is answered with, but for the header */
	uint32_t n_spaces; /* 0: one of which nothing is known */
	bool deaf_space; /* it is not answered */
	bool deaf_stop; /* INIT_STOP does nothing */
	uint32_t oom_kills;
	unsigned refuse_connects; /* as many INIT_CONNECT fail first */
	int http_port; /* the listener that INIT_CONNECT reaches; its answer is: */
	int listener;
	const char *http_answer;
	int exec_exit_code; /* of a probe's command */
	bool silent_exec; /* it does not end, unless it is killed */
	const char *exec_output, *exec_errors; /* what it writes, at most a pipe full */
	struct err exec_error; /* num < 0: it is not started */
	size_t reserve_max; /* calls may reserve so many bytes; 0: no bound */
	bool workload_gone; /* workloads have exited with code 4 when their init says hello */
	bool exit_before_list; /* SUPER_EV_EXITED of those that end comes before the list that names them */
	bool no_descriptors; /* the list brings of live sessions nothing but the output */
	enum init_fault fault; /* of the next init that says hello or is asked to connect */
	enum files_fault files_fault; /* of all file children */
	enum spawner_fault spawner_fault; /* of all spawners */
	struct caller peer; /* who connects to published sockets */
	/* What was seen */
	const struct init_ev_kept *kept; /* what an init says when it is asked for the list */
	size_t n_kept;
	struct stream_offer *offers; /* streams that nobody has come for */
	unsigned n_offers; /* so far */
	unsigned n_creates, n_kills, n_thaws, n_noted, n_removes;
	unsigned n_files_asked;
};

/* ---- fake_files.c ---- */

/* INIT_FILES; the channel is taken out of MSG. */
void fake_files_start(struct fake_host *host, struct fake_session *session, struct msg *msg);
/* Answers what was asked. True when there was anything. */
bool fake_files_serve(struct fake_host *host, struct fake_session *session);
size_t fake_files_count(const struct fake_session *session);
void fake_files_free(struct fake_session *session);

/* ---- fake_init.c ---- */

/* Serves one request of control's. True when there was any. */
bool fake_init_serve(struct fake_host *host, struct fake_session *session);
/* Says what is left to say of INIT_LIST, as far as it can be sent. */
void fake_init_list(const struct fake_host *host, struct fake_session *session);
/* STRINGS with a space between, the caller's. */
char *fake_join(char *const *strings);

/* ---- fake_super.c ---- */

/* Sends MSG, whose header is filled in, to control. */
void fake_put(int sock, void *msg, uint16_t op, uint64_t id, size_t size, const int *fds, size_t n_fds);

/* ---- fake_spawner.c ---- */

/* INIT_SPAWNER; the channel is taken out of MSG. */
void fake_spawner_start(struct fake_host *host, struct fake_session *session, struct msg *msg);
/* Serves one order, or sees that it is to end. True when there was anything. */
bool fake_spawner_serve(struct fake_host *host, struct fake_session *session);
/* It ends, by SIGNAL or, with 0, by itself. */
void fake_spawner_end(struct fake_session *session, int signal);

/* ---- fake_host.c ---- */

/* A directory, a configuration with the templates "plain", "http", "tcp" and "exec", nothing running. */
struct fake_host *host_new(void);
/* Writes a file of what sessions have for a cgroup. */
void host_write(const struct fake_host *host, const char *name, const char *text);
/* Ends everything in order and checks that nothing is left open. */
void host_free(struct fake_host *host);

/* Starts the lifecycle with what the supervisor has, until it is ready. */
void host_start(struct fake_host *host);
/* Ends it in order; sessions live on. */
void host_stop(struct fake_host *host);
/* As if it had been killed: the registry is as it was last written. */
void host_crash(struct fake_host *host);
/* As if the power had gone: of the registry is there what was synced, of the sessions nothing; the next boot has begun. */
void host_lose_power(struct fake_host *host);

/* From now on nothing can be written to files; or it can again. */
void host_disk_full(struct fake_host *host, bool full);

/* Runs the loop and the fakes until DONE says so; fails the test after five seconds. */
void host_run(struct fake_host *host, bool (*done)(void *arg), void *arg);
/* Runs them for some milliseconds. */
void host_idle(struct fake_host *host, unsigned ms);

/* Comes for the stream that STREAM, a method's {token, ...}, is about. Returns the client's end. */
int stream_open(struct fake_host *host, const json_t *stream);
/* Nobody came for it in time. */
void stream_expire(struct fake_host *host, const json_t *stream);

struct conn *conn_new(void);
/* The parameters of the notification I that it got. */
const json_t *conn_notification(const struct conn *conn, size_t i);
/* As when the client goes away. */
void conn_end(struct conn *conn);

/* A call by uid 1000, an operator unless its role is changed; PARAMS is stolen. Not yet handled. */
struct call *call_new(struct fake_host *host, struct conn *conn, json_t *params);
void call_free(struct call *call);
/* Handles CALL and waits for its answer. */
void host_answer(struct fake_host *host, struct call *call, void (*method)(struct call *call));
/* The result of a call that must succeed, the caller's; PARAMS is stolen. */
json_t *host_ok(struct fake_host *host, void (*method)(struct call *call), json_t *params);
/* The call, answered with an error. */
struct call *host_error(struct fake_host *host, void (*method)(struct call *call), json_t *params);

/* A refusal of KIND about the parameter PATH, whose message contains TEXT; PARAMS is stolen. */
void host_refused(struct fake_host *host, void (*method)(struct call *call), json_t *params, enum error_kind kind,
	const char *path, const char *text);

/* A session that must come to be, of the owner "ann"; or one that is there. */
json_t *host_create(struct fake_host *host, const char *template, const char *id);
json_t *host_get(struct fake_host *host, const char *id);
void host_expect_state(struct fake_host *host, const char *id, const char *wanted);
void host_expect_forgotten(struct fake_host *host, const char *id);
/* Waits for the end of a session, which must be for REASON; the first returns what it is then, the caller's. */
json_t *host_ended(struct fake_host *host, const char *id, const char *reason);
void host_expect_ended(struct fake_host *host, const char *id, const char *reason);
/* For host_run(): the supervisor has a session. ARG is the host. */
bool host_has_session(void *arg);

struct fake_session *host_session(struct fake_host *host, const char *id);
/* The workload of SESSION ends: as init tells it. */
void fake_exit(struct fake_host *host, struct fake_session *session, int exit_code, int signal);
/* All of SESSION dies, as the supervisor tells it; the last of it goes when control has written that down. */
void fake_die(struct fake_host *host, struct fake_session *session);
/* The last of it goes now: for a test that set hold_gone. */
void fake_gone(struct fake_host *host, struct fake_session *session);
void fake_print(struct fake_session *session, const char *text);
/* Answers the SUPER_CREATE that was held back as if the session had been killed in the making. */
void fake_refuse_held(struct fake_host *host);
/* Answers what control asked, as supervisor and as every init; for host_run(). */
void fake_serve(struct fake_host *host);
/* SESSION was never there. */
void fake_drop(struct fake_host *host, struct fake_session *session);

/* The string at a path like "end.reason" in JSON; NULL when there is none. */
const char *json_path(const json_t *json, const char *path);
/* Fails the test when it is another. */
void check_string(const json_t *json, const char *path, const char *wanted);
