/* SPDX-License-Identifier: Apache-2.0 */
/*
 * carreld, the supervisor: what it holds, and how its files speak to each other. main.c tells the whole story.
 *
 *   main.c      start-up stage by stage, signals, the end
 *   ops.c       the table of privileged operations: everything that control can make root do
 *   steps.c     the table of session steps, each with do and undo
 *   session.c   a session from creation to gone: drives the steps, waits for events
 *   spawn.c     clone3 into cgroup and namespaces, exec of carrel-init
 *   plan.c      what carrel-init is told, out of a template
 *   cgroup.c    the cgroup v2 tree
 *   volumes.c   who holds which volume, what is written to them at the end, removal
 *   slots.c     slot numbers and networks made ahead of need
 *   ledger.c    what survives the supervisor's own death
 *   adopt.c     taking over what the ledger says
 *   network.c   who may reach sessions, interfaces that go away, rules that somebody removed
 *   keeper.c    starts carrel-control and starts it again, or takes the one that the service manager starts
 *   privilege.c capabilities kept, and why
 */
#pragma once

#include "config/config.h"
#include "netns/netns.h"
#include "supervisor/ledger.h"
#include "wire/chan.h"
#include "wire/plan.h"
#include "wire/service.h"

struct supervisor;
struct session;

/* ---- session ---- */

enum phase {
	PHASE_CREATING, /* steps are being done, or carrel-init is setting up */
	PHASE_LIVE,
	PHASE_ENDING, /* steps are being undone */
};

/* What only creation needs; freed when carrel-init has been executed or the attempt has failed. */
struct making {
	int spec_fd;
	int listen_fd;
	int init_fd; /* connected to it before init runs, so that control gets it even if init ends at once */
	int output_fd; /* read-write, for init */
	int dev_fd;
	size_t n_mounts;
	int mounts[PLAN_MAX_LAYERS + PLAN_MAX_MOUNTS];
	size_t n_layers; /* the first of mounts */
	char hostname[NAME_SIZE];
	enum netns_policy policy;
	size_t n_times;
	struct step_time times[MAX_STEP_TIMES];
};

struct session {
	struct supervisor *super;
	struct session *next, **link; /* in supervisor.sessions */
	struct ledger_entry entry; /* what the ledger holds of it: id, slot, steps begun, identity of init */
	const struct template *template; /* NULL when it has left the configuration since */
	enum phase phase;
	struct making *making;

	struct netns_slot net; /* the descriptors only until init holds the namespaces */
	int dir_fd; /* <run_dir>/sessions/<id> */
	int cgroup_fd; /* sessions/<id> */
	int payload_fd; /* sessions/<id>/payload */
	struct loop_io init_io; /* pidfd of carrel-init; -1 when it is gone */
	bool is_child; /* we started it; an adopted one's status is not ours to wait for */
	struct loop_io channel_io; /* to carrel-init while it sets up */
	struct loop_timer timer; /* the latest moment for init's report; later, the next try of an undo */
	struct loop_io events_io; /* cgroup.events while the cgroup drains */
	uint64_t flush; /* has to have ended before it lets go of its volumes (supervisor.flushes_ended); 0: not yet known */
	uint64_t link_deadline_ns; /* boottime; then an interface that is still there is taken away; 0: not yet set */
	bool killed; /* control asked for the end */
	bool noted; /* control has written down how it ended */
	uint64_t answer_to; /* control's SUPER_CREATE that still waits for its answer; 0: none */
	struct err failure; /* why creation failed */
};

/* ---- the supervisor ---- */

struct keeper {
	struct chan chan; /* to carrel-control; closed while it is down */
	struct loop_io listen_io; /* the service manager starts control, and this is where it connects; or -1 */
	struct loop_io pid_io; /* pidfd of the one that we started; -1 when it is down */
	struct loop_timer restart_timer;
	uint64_t started_ns;
	uint32_t quick_deaths; /* in a row; sets the delay before the next start */
	bool greeted; /* it has said hello with the right version */
	uid_t uid;
	gid_t gid;
	char program[256];
};

enum { SECCOMP_PROFILES = 8 };

struct seccomp_filter {
	char name[NAME_SIZE];
	int fd; /* sealed memfd of struct sock_filter */
	uint32_t n_instructions;
};

struct supervisor {
	struct loop loop;
	struct config config;
	const char *config_dir, *libexec_dir;
	struct netns *netns;
	struct netns_config netns_config;
	struct keeper keeper;
	struct super_checked checked; /* what the host check last said */
	uint64_t checked_ns; /* CLOCK_BOOTTIME; 0: never */
	struct ledger ledger;
	struct service service;

	int run_fd; /* <run_dir> */
	int sessions_fd; /* <run_dir>/sessions */
	int store_fd; /* <state_dir>/rootfs */
	int volumes_fd; /* <state_dir>/volumes */
	int removed_fd; /* <state_dir>/removed: volumes on their way out */
	struct loop_io deletion_io; /* pidfd of the process that deletes those; -1: none */
	bool delete_again; /* more came while it ran */
	struct loop_timer deletion_timer; /* the next try, after one that did not do all */
	struct loop_io flush_io; /* pidfd of the process that brings volumes to the disk; -1: none */
	uint64_t flushes_ended;
	int cgroup_fd; /* <cgroup>/sessions in the cgroup v2 tree */
	uint32_t controllers; /* bit N: enum limit N is enforced here */
	char disk[16]; /* "8:0": the one that has the state directory; empty: none that io.max knows */
	int init_fd; /* sealed memfd of carrel-init */
	int null_fd;
	int empty_fd; /* the mount namespace of which each session's is a copy */
	int api_fd, stream_fd; /* listening */
	struct seccomp_filter filters[SECCOMP_PROFILES];
	size_t n_filters;

	struct session *sessions;
	void *ids; /* the same, in a tree by their entry.id: tsearch(3) */
	size_t n_sessions;
	size_t n_creating; /* in PHASE_CREATING */
	struct session **by_slot; /* max_sessions + 1 */
	struct slots *slots;

	struct loop_io signal_io, links_io, policy_io;
	struct loop_timer refill_timer;
	uint64_t started_ns;
	char boot_id[40];
	bool ending; /* all sessions are being ended, then the program */
};

/* LIMIT holds on this host, as far as a controller is what it takes. */
static inline bool super_enforces(const struct supervisor *super, enum limit limit)
{
	return super->controllers >> limit & 1;
}

/* ---- main.c ---- */

/* Ends the loop when the program is ending and nothing is left to wait for. */
void super_stop_when_empty(struct supervisor *super);

/* ---- ops.c ---- */

/* Serves one message from control; a message that is not permitted ends control. */
void ops_serve(struct supervisor *super, struct msg *msg);

/* Prints the table of privileged operations for docs/ARCHITECTURE.md. */
void ops_print(FILE *out);

/* Tells control about a session that ended or is gone; nothing when control is down: it asks when it is back. */
void ops_tell_exited(struct session *session, int32_t status);
void ops_tell_gone(struct session *session);
/* Tells control how much the session's volumes hold. */
void ops_tell_volumes(const struct session *session);

/*
 * Answers control's SUPER_CREATE, with the error that is in session->failure or with the session's descriptors. A
 * negative errno when those cannot be opened: the answer was an error, and the session is to be ended.
 */
int ops_answer_create(struct session *session);

/* Answers one that never became a session. */
void ops_refuse_create(struct supervisor *super, uint64_t request_id, const struct err *err);

/* ---- steps.c ---- */

struct step {
	const char *name;
	/* 0 or a negative errno with ERR filled. Whatever it has begun when it fails, undo must cope with. */
	int (*run)(struct session *session, struct err *err);
	/* Idempotent. 0 when undone, -EAGAIN when an event will say so (session_advance() comes back), else an errno. */
	int (*undo)(struct session *session);
	const char *what; /* for people */
};

extern const struct step step_table[];
extern const size_t n_steps;

/* Prints the table for docs/ARCHITECTURE.md. */
void steps_print(FILE *out);

/* ---- session.c ---- */

/*
 * Begins a session; the answer to control follows from here or from the loop, whatever happens. SPEC_FD is taken
 * over. LIMITS are merged already.
 */
void session_create(struct supervisor *super, const struct super_create *request, const struct template *template,
	const struct limits *limits, enum netns_policy policy, int spec_fd);

/* Kills what runs in it and undoes every step, in its own time. Harmless when that is under way; may free it. */
void session_end(struct session *session);

/* Takes it as live: its init was proved to be the one in the ledger. */
void session_adopted(struct session *session);

/* Goes on with undoing; called by whoever saw an event that a step was waiting for. May free the session. */
void session_advance(struct session *session);
/* Comes back to session_advance() by itself. */
void session_retry_later(struct session *session, uint64_t delay_ns);

struct session *session_find(struct supervisor *super, const char *id);

/* A session in the list, of which only ENTRY is known; NULL when memory is short. */
struct session *session_new(struct supervisor *super, const struct ledger_entry *entry);

/* Registers the handlers of a running session: its init's pidfd. 0 or a negative errno. */
int session_watch(struct session *session);

/* Opens a connection to the session's init. */
int session_connect(struct session *session, int *ret_fd);

void making_free(struct making *making);

/* ---- spawn.c ---- */

/* Starts carrel-init in the session's namespaces and cgroup, and sends it its plan. Fills init_io.fd, channel_io.fd. */
int spawn_init(struct session *session, struct err *err);

/* Sets descriptors aside for it; while few are open. After open_null(). */
int spawn_open(struct supervisor *super, struct err *err);

/* Reads carrel-init's binary into a sealed memfd that nobody but root can read. */
int spawn_seal_init(const char *path, int *ret_fd, struct err *err);

/* ---- plan.c ---- */

int plan_fill(const struct session *session, struct plan *ret, struct err *err);
/* The session's own; IPV6 is left alone where sessions have none. */
void plan_addresses(const struct session *session, uint8_t ipv4[4], uint8_t ipv6[16]);
const struct seccomp_filter *plan_filter(const struct supervisor *super, const char *profile);

/* ---- cgroup.c ---- */

/* Opens <cgroup>/sessions, making what is missing and handing controllers down; fills super->controllers. */
int cgroup_open(struct supervisor *super, struct err *err);
/* Removes <cgroup>/sessions and <cgroup> if they are empty. */
void cgroup_remove_root(struct supervisor *super);
int cgroup_make(struct session *session, struct err *err);
/* Writes those of LIMITS that a cgroup carries and this host has; "enforced" says which. */
int cgroup_set_limits(const struct session *session, const struct limits *limits, struct err *err);
/* After entry.limits changed: what depends on all sessions' limits together. */
void cgroup_limits_changed(const struct session *session);
/* 0 when the session's cgroup is gone; -EAGAIN while something in it lives (killed by now). */
int cgroup_remove(struct session *session);
int cgroup_kill(struct session *session);
int cgroup_freeze(struct session *session, bool freeze);
bool cgroup_is_frozen(const struct session *session);
bool cgroup_is_populated(const struct session *session);
/* A number in a cgroup file ("memory.peak"), or after KEY in a keyed one ("memory.events", "oom_kill"); 0 if absent. */
uint64_t cgroup_read(const struct session *session, const char *file, const char *key);
/* PID is in the session's cgroup or below. */
bool cgroup_contains(const struct session *session, pid_t pid);

/* ---- volumes.c ---- */

/* The session that has the volume NAME, and has it until the last step is undone; NULL: none. */
const struct session *volumes_holder(const struct supervisor *super, const char *name);
/* The volumes that REQUEST names may be mounted: the template has places for them, nobody holds them. */
int volumes_check(const struct supervisor *super, const struct super_create *request, const struct template *template,
	struct err *err);
/* Adds the session's volumes, made where they are missing, to what is mounted for it. */
int volumes_open(struct session *session, struct err *err);
/* Undo: -EAGAIN until what the session, which has no process left, wrote to its volumes is on the disk. */
int volumes_flush(struct session *session);
/* Frees the name; the files are deleted later. 0, -ENOENT, -EBUSY or another negative errno. */
int volumes_remove(struct supervisor *super, const char *name);
/* Deletes what was removed, in the background; at start, too: what a former supervisor had not come to. */
void volumes_delete(struct supervisor *super);

/* ---- slots.c ---- */

/* After the ledger was opened: it may have more. */
int slots_open(struct supervisor *super);
void slots_close(struct supervisor *super); /* gives the spares up */
/* Interfaces of spares that were given up are still there. */
bool slots_are_leaving(const struct supervisor *super);
/* A network for SLOT with what TEMPLATE asks for, under the policy that its sessions have where they name none. */
int slots_make_network(const struct supervisor *super, const struct template *template, uint32_t slot,
	struct netns_slot *ret, struct err *err);
/* A free slot for TEMPLATE: one with a network made ahead if there is one, else a number alone. -EBUSY: none is free. */
int slots_take(struct supervisor *super, const struct template *template, struct netns_slot *ret);
/* Marks SLOT as used: adoption. */
void slots_claim(struct supervisor *super, uint32_t slot);
void slots_give_back(struct supervisor *super, uint32_t slot);
/* Links were removed: free the slots that waited for it. */
void slots_link_gone(struct supervisor *super, uint32_t slot);
/* Makes networks ahead of need, one per call, from the loop. */
void slots_refill_later(struct supervisor *super);

/* ---- adopt.c ---- */

/* Takes over the sessions of the ledger: those whose init is proved to be theirs live on, the others are undone. */
int adopt_all(struct supervisor *super);
/* When the process with PID started, in clock ticks after boot (proc(5), stat field 22); 0 when there is none. */
uint64_t adopt_start_time(pid_t pid);

/* ---- network.c ---- */

/* Loads the nftables table and listens to what becomes of it and of the interfaces. After keeper_open(). */
int network_open(struct supervisor *super, struct err *err);
/* Lets the session send and receive as fast as LIMITS say, as before where they say nothing: then it is no work. */
int network_set_rates(const struct session *session, const struct limits *limits, struct err *err);

/* ---- keeper.c ---- */

int keeper_open(struct supervisor *super, struct err *err);
void keeper_start(struct supervisor *super);
/* Ends control at once; the next one starts when it is dead. */
void keeper_restart(struct supervisor *super);
/* Lets control end by itself and waits for it: the end of the program. */
void keeper_stop(struct supervisor *super);

/* ---- privilege.c ---- */

/* Drops every capability that the table does not list. */
int privilege_trim(struct err *err);
void privilege_print(FILE *out);

/* ---- log.c ---- */

/* One line on standard error; with a priority prefix (sd-daemon(3)) when that is the journal. */
void log_line(int priority, const char *format, ...) _printf_(2, 3);
void log_err(int priority, const char *session, const struct err *err);
