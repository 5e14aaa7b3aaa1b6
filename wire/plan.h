/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the supervisor tells a session's init before the workload starts, and what init answers. The plan is a
 * fixed-size struct in the first message on the channel at descriptor PLAN_FD_CHANNEL; the report is init's only
 * message back, after which that channel is closed. The supervisor takes the report as hostile.
 *
 * Everything in the plan comes from root-owned configuration, from the supervisor's own numbering, or is a name that
 * was checked; the workload's arguments come separately, as a spec (wire/spec.h).
 */
#pragma once

#include "wire/super.h"

enum plan_op {
	PLAN_GO = 1, /* struct plan, supervisor → init */
	PLAN_REPORT, /* struct plan_report, init → supervisor */
};

/* Init begins in an empty root, which has this empty directory to mount on (rootfs_empty()). */
#define PLAN_STAGE "/stage"
/* The cgroup below that of the session's payload in which init begins where there is PLAN_CGROUP. */
#define PLAN_LEAF "init"

/* The descriptors with which init is executed, and no others. 0, 1 and 2 are /dev/null. */
enum plan_fd {
	PLAN_FD_CHANNEL = 3, /* SOCK_SEQPACKET to the supervisor: plan in, report out */
	PLAN_FD_LISTEN, /* listening SOCK_SEQPACKET for control */
	PLAN_FD_OUTPUT, /* the output file, empty, read-write: init gives it its size, maps and closes it */
	PLAN_FD_SPEC, /* sealed memfd: the workload */
	PLAN_FD_SECCOMP, /* sealed memfd: struct sock_filter[], the session's filter; /dev/null where there is none */
	PLAN_FD_DEV, /* detached mount: the /dev tree, read-only */
	PLAN_FD_MOUNT, /* the first of plan.n_layers detached, idmapped, read-only mounts: the root's layers, topmost
				   first; then one detached mount for each PLAN_BIND in plan.mounts, in order */
};

/* PLAN_MAX_MOUNTS: those of the template's table and then its volumes. */
enum {
	PLAN_MAX_LAYERS = 16,
	PLAN_MAX_MOUNTS = 24 + SUPER_MAX_VOLUMES,
	PLAN_MAX_RLIMITS = 16,
	PLAN_MAX_NAMESERVERS = 3
};

enum plan_flags {
	PLAN_NO_NEW_PRIVS = 1 << 0,
	PLAN_MASK_PROC = 1 << 1, /* cover what /proc says of the host; forbids nested containers */
	PLAN_CGROUP =
		1 << 2, /* mount the session's own cgroup tree at /sys/fs/cgroup; init is in its leaf PLAN_LEAF */
	PLAN_HAS_IPV4 = 1 << 3,
	PLAN_HAS_IPV6 = 1 << 4,
};

enum plan_mount_kind {
	PLAN_TMPFS = 1,
	PLAN_BIND,
};

enum plan_mount_flags {
	PLAN_MOUNT_RDONLY = 1 << 0,
	PLAN_MOUNT_NOEXEC = 1 << 1,
	PLAN_MOUNT_SUID = 1 << 2, /* otherwise nosuid; nodev always */
	PLAN_MOUNT_CHROMIUM = 1 << 3, /* a Chromium's profile: the locks of one that was killed are removed */
};

struct plan_mount {
	uint32_t kind, flags;
	uint32_t mode, uid, gid; /* of a tmpfs's root */
	uint32_t reserved;
	uint64_t bytes, inodes; /* of a tmpfs; LIMIT_UNSET: none */
	char target[128]; /* absolute, in the session; made where it is missing */
};

struct plan_rlimit {
	uint32_t resource, reserved;
	uint64_t soft, hard;
};

struct plan {
	struct msg_header header;
	uint32_t flags;
	uint32_t n_layers, n_mounts, n_rlimits, n_nameservers;
	uint32_t n_seccomp; /* instructions in the filter; 0: none */
	uint64_t capabilities; /* bounding set of everything but init, bit N: capability N */
	struct limits limits; /* ROOT_BYTES, ROOT_INODES, SHM_BYTES are init's to apply */
	char hostname[NAME_SIZE];
	uint8_t ipv4[4], ipv6[16]; /* the session's own, for /etc/hosts */
	uint8_t nameserver_family[PLAN_MAX_NAMESERVERS]; /* 4 or 6 */
	uint8_t nameservers[PLAN_MAX_NAMESERVERS][16];
	uint8_t reserved[5];
	struct plan_mount mounts[PLAN_MAX_MOUNTS];
	struct plan_rlimit rlimits[PLAN_MAX_RLIMITS];
};

struct plan_report {
	struct msg_header header;
	struct err err; /* what failed; 0: the workload has been executed */
	uint32_t n_steps;
	struct step_time steps[MAX_STEP_TIMES];
	uint64_t started_ns; /* CLOCK_BOOTTIME at the workload's exec */
};

_Static_assert(sizeof(struct plan) <= MSG_MAX_SIZE, "one message");

extern const struct msg_shape plan_orders[]; /* what init accepts */
extern const size_t n_plan_orders;
extern const struct msg_shape plan_reports[]; /* what the supervisor accepts */
extern const size_t n_plan_reports;
