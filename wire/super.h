/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What control may ask of the supervisor, and what it hears. The supervisor's side of each request, with the reason
 * why it is safe when control is hostile, is a row of the operations table in supervisor/ops.c.
 *
 * Requests carry names of root-owned templates, never paths, ids of the host, or arguments for root. Every request
 * gets exactly one answer; answers may come in any order.
 */
#pragma once

#include "wire/err.h"
#include "wire/limits.h"
#include "wire/msg.h"

enum { NAME_SIZE = 64 }; /* session ids, template names, ...: 63 characters and a NUL */

enum super_op {
	SUPER_HELLO = 1, /* struct super_hello → struct super_welcome */
	SUPER_CHECK, /* struct super_plain → struct super_checked */
	SUPER_LIST, /* struct super_plain → SUPER_EV_VOLUMES and SUPER_EV_SESSION, some of each, then struct super_done */
	SUPER_CREATE, /* struct super_create, descriptor: spec → struct super_created, SUPER_FD_* of the session */
	SUPER_CONNECT, /* struct super_named → struct super_done, descriptor: a new connection to its init */
	SUPER_NOTED, /* struct super_named → struct super_done: its end is in the registry, forget it */
	SUPER_KILL, /* struct super_named → struct super_done when the kill is under way */
	SUPER_FREEZE, /* struct super_named → struct super_done */
	SUPER_THAW, /* struct super_named → struct super_done */
	SUPER_SET_LIMITS, /* struct super_set_limits → struct super_limits_set */
	SUPER_REMOVE_VOLUME, /* struct super_named → struct super_done when the name is free; its files go later */

	SUPER_EV_SESSION =
		0x100, /* struct super_ev_session, SUPER_FD_* of the session; of one that ends the output alone */
	SUPER_EV_EXITED, /* struct super_ev_exited: its init is gone; the rest is undone, the output kept until SUPER_NOTED */
	SUPER_EV_GONE, /* struct super_named: every host resource is given back; the id is free again */
	SUPER_EV_VOLUMES, /* struct super_ev_volumes: there are these volumes; of a session that ends, how full they are */
};

/*
 * Control never opens a path of the supervisor's: what it needs of a session comes as descriptors. The cgroup's
 * directory is open for reading (its files are world-readable and root's to write), the output file read-only.
 */
enum super_fd {
	SUPER_FD_OUTPUT,
	SUPER_FD_CGROUP,
	SUPER_FD_INIT, /* connected SOCK_SEQPACKET, nonblocking: wire/init.h is spoken there */
	SUPER_FD_COUNT,
};

struct super_plain {
	struct msg_header header;
};

struct super_hello {
	struct msg_header header;
	char version[32]; /* of the asking program; must equal the supervisor's */
};

struct super_welcome {
	struct msg_header header;
	struct err err;
	char version[32];
	char boot_id[40];
	uint64_t started_ns; /* CLOCK_BOOTTIME of the supervisor's start */
	uint32_t max_sessions;
	uint32_t controllers; /* which limits are enforced on this host: bit N for enum limit N */
};

struct super_done {
	struct msg_header header;
	struct err err;
};

struct super_named {
	struct msg_header header;
	char id[NAME_SIZE]; /* of a session, or a volume's name */
};

enum {
	SUPER_MAX_VOLUMES = 4, /* of a template, and so of a session */
	SUPER_VOLUMES_LISTED = 128, /* in one message */
};

struct super_volume_info {
	char name[NAME_SIZE];
	uint64_t bytes; /* its size; 0: a directory, which has none */
	uint64_t used_bytes; /* of these, when no session had it for the last time */
};

struct super_ev_volumes {
	struct msg_header header;
	uint32_t n, reserved;
	struct super_volume_info volumes[SUPER_VOLUMES_LISTED];
};

struct super_create {
	struct msg_header header;
	char id[NAME_SIZE]; /* [a-z0-9][a-z0-9-]{0,62} */
	char template[NAME_SIZE];
	char hostname[NAME_SIZE]; /* same alphabet as the id; empty: the id */
	char egress[NAME_SIZE]; /* a policy's name; empty: the template's. May only be one that the template allows */
	struct limits limits; /* within the template's */
	/*
	 * For each of the template's volumes, in their order, which one is mounted there; empty: none. It is made when
	 * there is none of the name. One that another session holds is refused with -EBUSY.
	 */
	char volumes[SUPER_MAX_VOLUMES][NAME_SIZE];
};

enum { STEP_NAME_SIZE = 16, MAX_STEP_TIMES = 32 };

struct step_time {
	char name[STEP_NAME_SIZE];
	uint64_t ns; /* how long it took */
};

struct super_created {
	struct msg_header header;
	struct err err; /* which step failed; everything before it is undone */
	uint32_t slot;
	uint32_t n_steps;
	struct step_time steps[MAX_STEP_TIMES]; /* in order, the supervisor's and then init's */
	struct limits limits; /* as merged */
	uint32_t enforced; /* bit N: enum limit N holds on this host */
	uint8_t ipv4[4]; /* zero: none */
	uint8_t ipv6[16];
	uint64_t started_ns; /* CLOCK_BOOTTIME at which the workload was executed */
};

struct super_set_limits {
	struct msg_header header;
	char id[NAME_SIZE];
	struct limits limits; /* only those with .live in the table; others -EINVAL */
};

struct super_limits_set {
	struct msg_header header;
	struct err err;
	struct limits limits;
	uint32_t enforced;
};

enum super_state {
	SUPER_LIVE = 1,
	SUPER_ENDING,
};

struct super_ev_session {
	struct msg_header header;
	char id[NAME_SIZE];
	char template[NAME_SIZE];
	uint32_t state; /* enum super_state */
	uint32_t slot;
	struct limits limits;
	uint32_t enforced;
	uint8_t ipv4[4];
	uint8_t ipv6[16];
	uint64_t started_ns;
	uint32_t frozen;
};

struct super_ev_exited {
	struct msg_header header;
	char id[NAME_SIZE];
	int32_t status; /* of init, as wait(2) reports it; -1: not known (it ended while nobody watched) */
	uint32_t oom_kills; /* processes of the session that the kernel killed for memory */
	uint32_t killed; /* by SUPER_KILL */
	uint64_t memory_peak_bytes; /* 0: not known */
};

enum check_state {
	CHECK_OK = 1,
	CHECK_DEGRADED, /* works, with something less; named */
	CHECK_MISSING, /* carreld refuses to start */
};

struct check_item {
	char name[32]; /* "cgroup.memory", "net.nftables", ... */
	uint32_t state; /* enum check_state */
	char detail[92];
	char remedy[160]; /* empty when ok */
};

enum { MAX_CHECK_ITEMS = 48 };

struct super_checked {
	struct msg_header header;
	uint32_t n_items;
	struct check_item items[MAX_CHECK_ITEMS];
};

_Static_assert(offsetof(struct super_set_limits, id) == offsetof(struct super_named, id), "same place");
_Static_assert(offsetof(struct super_ev_exited, id) == offsetof(struct super_named, id), "same place");
_Static_assert(sizeof(struct err) == 132, "part of the protocol");
_Static_assert(sizeof(struct super_hello) == 48, "part of the protocol");
_Static_assert(
	sizeof(struct super_create) == 16 + (4 + SUPER_MAX_VOLUMES) * 64 + 8 * LIMIT_COUNT, "part of the protocol");
_Static_assert(sizeof(struct super_checked) <= MSG_MAX_SIZE, "fits one message");
_Static_assert(sizeof(struct super_ev_volumes) <= MSG_MAX_SIZE, "fits one message");

/* Of this program: what super_hello and super_welcome carry. */
extern const char carrel_version[];

/* What the supervisor accepts from control, and control from the supervisor. */
extern const struct msg_shape super_requests[];
extern const size_t n_super_requests;
extern const struct msg_shape super_answers[];
extern const size_t n_super_answers;

/* The check of every message that begins as struct super_named does, in both directions. */
int super_check_named(const void *msg);

/* The id of a session: [a-z0-9][a-z0-9-]{0,62}. Also the rule for template, policy and image names. */
bool name_is_valid(const char *name);
