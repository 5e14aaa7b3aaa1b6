/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A session as control knows it, from the request that asks for one to the record of how it ended.
 *
 *	creating → starting → ready ⇄ paused → stopping → ended
 *
 * One function moves a session from state to state by a const table (session.c), and everything that hangs on a state
 * happens there: times, counts, the event, the registry, whoever waits. What leads from one state to the next:
 *
 *	session_start.c		the supervisor made it; its init is connected; the readiness probe succeeded
 *	session_stop.c		a client, a deadline, a failure or the workload itself ends it
 *	adopt.c			it was there before this process was
 *	session_methods.c	what clients ask of one that is there
 */
#pragma once

#include "control/call.h"
#include "control/index.h"
#include "control/init_link.h"
#include "control/limit_watch.h"
#include "control/list.h"
#include "control/liveness.h"
#include "control/pool.h"
#include "control/ports.h"
#include "control/probe.h"
#include "control/record.h"
#include "control/space.h"

struct lifecycle;
struct file_pool;

/* The sessions of one owner, of one user or from one template; lives as long as it has any. */
struct account {
	struct index_node node;
	char *name;
	size_t n_sessions, n_live;
	struct list sessions; /* session->of_owner, oldest first; owners only */
	json_t *limits; /* of the newest session, shared by all that have the same; templates only */
};

struct session {
	struct record record;
	struct lifecycle *lifecycle;
	const struct template *template; /* NULL: the configuration no longer has it */
	struct index_node by_id, by_host_id, by_key, by_place;
	struct account *owner, *user, *kin; /* of the same owner, user and template */
	struct list of_all, of_owner, of_ended, of_output, of_dirty, of_written, of_launch, of_pool;
	struct list waiters, followers;
	struct list docker; /* operations of docker.* under way */
	struct list kept; /* commands that outlive connections: control/kept.h */
	size_t n_kept, n_kept_running;
	bool forgotten; /* out of every index; freed when the registry has forgotten it, too */
	bool dirty;
	/* The supervisor's part */
	struct super_create *create; /* until it is sent */
	int spec_fd, cgroup_fd, output_fd;
	uint32_t slot; /* the host's end of its network is cr<slot>; 0: not known */
	uint64_t started_ns; /* CLOCK_BOOTTIME of the workload's start */
	bool asked; /* SUPER_CREATE is under way */
	bool noted; /* the supervisor knows that its end is written down */
	bool frozen; /* it is, or will be once the change is over */
	struct call *limiting; /* of session.set_limits: SUPER_SET_LIMITS is under way; or NULL */
	struct call *change; /* of session.pause or .resume: SUPER_FREEZE or SUPER_THAW is under way; or NULL */
	bool killed; /* SUPER_KILL was sent */
	bool init_gone; /* SUPER_EV_EXITED has come: nothing more will come from inside */
	bool stopping_untold; /* the event session.stopping waits for its reason */
	bool unseen; /* it ended while nobody was there to say whether it had begun, or been ready */
	bool confirmed; /* named by SUPER_LIST: begun before this process was */
	bool foreign; /* its init is of another version of carrel, with which nothing can be said */
	struct limit_watch limit_watch;
	struct space_watch space;
	/* From inside */
	struct init_link init;
	struct probe probe;
	struct liveness liveness;
	struct settling settling;
	struct ports ports;
	bool watching, watched; /* INIT_WATCH_OUTPUT was sent; was answered */
	struct loop_timer watch_again;
	struct file_pool *files; /* file children (control/file_pool.h); NULL: none was needed yet */
	struct spawner *spawner; /* starts commands in a hurry (control/spawner.h); NULL: there is none */
	size_t n_execs; /* commands that clients have under way: with one the session is not idle */
	uint64_t watch_pause_ns; /* until init is asked again */
	/* Deadlines */
	struct loop_timer deadline; /* the earlier of expiry and idleness */
	struct loop_timer stop_timer; /* the end of the grace, then of patience with the kill */
	uint64_t stopping_ns; /* CLOCK_BOOTTIME of the beginning of its end, as far as this process saw it; else 0 */
	uint64_t saved_activity_ns; /* last_activity_boot_ns as the registry has it */
	bool discard; /* forget the record when it has ended: its creator is told that it failed */
};

/* ---- session.c ---- */

/*
 * A session with RECORD, which is taken over, in every index. NULL when memory is short; then RECORD is still the
 * caller's.
 */
struct session *session_new(struct lifecycle *lifecycle, struct record *record);

/* Takes it out of every index; the registry follows with the next write, which frees it. */
void session_forget(struct session *session);
/* Frees it at once: when all ends. */
void session_free(struct session *session);

struct session *session_find(const struct lifecycle *lifecycle, const char *id);
/* The same by its name with the supervisor. */
struct session *session_find_by_host_id(const struct lifecycle *lifecycle, const char *host_id);

/* Releases what only a session that runs has. */
void session_release_run(struct session *session);

/* Moves SESSION to STATE; a step that the table does not have is a fault of this program. */
void session_enter(struct session *session, enum session_state state);
static inline bool session_is_live(const struct session *session)
{
	return session->record.state != SESSION_ENDED;
}

/* Emits session.stopping once its reason is known, if it is still to be told. */
void session_tell_stopping(struct session *session);

/* The record is to be written with the next transaction. */
void session_changed(struct session *session);

/* It is used in this way, which counts where the template says so. */
void session_active(struct session *session, enum activity kind);
/* Somebody uses it: the idle deadline moves. */
void session_touch(struct session *session);

/* Sets the deadlines' timer anew, after anything they are made of changed. */
void session_arm_deadline(struct session *session);

/* Emits an event about it; DATA is stolen and may be NULL. */
void session_emit(struct session *session, const char *kind, json_t *data);

/* ---- session_start.c ---- */

/* Sends SUPER_CREATE, once the registry knows of the session. */
void session_launch(struct session *session);

/* Takes over the SUPER_FD_COUNT descriptors of a session that runs and starts what is to happen next. */
void session_attach(struct session *session, int fds[static SUPER_FD_COUNT]);

/* Keeps what the supervisor said about limits, and about addresses, in the record; whether some of it is new. */
void session_set_limits(struct session *session, const struct limits *limits, uint32_t enforced);
bool session_set_resources(struct session *session, const struct limits *limits, uint32_t enforced,
	const uint8_t ipv4[static 4], const uint8_t ipv6[static 16]);

/* Probes the session, or calls it ready when there is nothing to probe. */
void session_probe(struct session *session);

/* ---- session_stop.c ---- */

/*
 * Ends SESSION for REASON: asks the workload, waits GRACE_NS, kills. With GRACE_NS 0 it is killed at once, also when it
 * is stopping already. END_NONE: something inside broke off; why is found out once it is gone.
 */
void session_stop(struct session *session, enum end_reason reason, uint64_t grace_ns);

/* Kills one that is stopping; what is left of it comes as SUPER_EV_EXITED and SUPER_EV_GONE. */
void session_kill(struct session *session);

/* Asks one that is stopping, and was adopted as such, again. */
void session_continue_stop(struct session *session, uint64_t grace_ns);

/* The time a session of this template gets to stop by itself. */
uint64_t session_grace_ns(const struct session *session);

/* Ends SESSION as failed in STEP with the negative errno NUM. */
void session_fail(struct session *session, const char *step, int num, const char *format, ...) _printf_(4, 5);

/* The same for one that the supervisor did not make or that is not there any more: ends here and now. */
void session_failed_to_start(struct session *session, const char *step, int num, const char *format, ...)
	_printf_(4, 5);

/* The workload ended. */
void session_workload_exited(struct session *session, int exit_code, int signal);
/* The connection to its init ended. */
void session_lost_init(struct session *session, int error);

/* SUPER_EV_EXITED (NULL: it was not there to hear it) and SUPER_EV_GONE. */
void session_exited(struct session *session, const struct super_ev_exited *event);
void session_gone(struct session *session);

/* ---- session_wait.c ---- */

enum wait_for {
	WAIT_CREATED,
	WAIT_READY,
	WAIT_ENDED,
	WAIT_FORGOTTEN, /* ended and then forgotten: session.remove */
	WAIT_REPLACEABLE, /* ended, for a session.ensure that then begins anew */
};

enum waiter_flags {
	WAITER_CREATED =
		1, /* the session exists for this call; one that fails before it is answered leaves no record */
	WAITER_ENSURES = 2, /* the answer says so */
};

/*
 * Answers CALL with the session when it has come to what is waited for, at once if it already has; or with why it
 * never will. TIMEOUT_NS NEVER: waits without end.
 */
void session_wait(struct session *session, struct call *call, enum wait_for wait_for, uint64_t timeout_ns,
	enum waiter_flags flags);

/* Answers whoever waits for the state that the session is in. */
void session_serve_waiters(struct session *session);

/*
 * What was changed is in the registry, or cannot be put there: only now is it told to those who wait for it, so that
 * nothing that a client was told is unknown to the next control process. May forget the session.
 */
void session_written(struct session *session);
/* Answers everybody who waits with an error of KIND. */
void session_fail_waiters(struct session *session, enum error_kind kind, const char *text);

/* ---- session_json.c ---- */

/* What a client sees; a new reference. */
json_t *session_json(const struct session *session);
json_t *session_limits_json(const struct limits *limits, uint32_t enforced);
/* {reason, at, exit_code?, ...}; null while it has not ended. */
json_t *session_end_json(const struct session_end *end);

/* ---- session_logs.c ---- */

/* session.logs, its session found. */
void session_logs(struct session *session, struct call *call);
/* Asks init to say when there is more output, if anybody follows it. */
void session_watch_output(struct session *session);
/* INIT_EV_OUTPUT. */
void session_output_grew(struct session *session);
/* Followers get what there is and are told that no more comes. */
void session_end_followers(struct session *session);
