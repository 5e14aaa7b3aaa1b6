/* SPDX-License-Identifier: Apache-2.0 */
/*
 * carrel-init's set-up: what its steps share. The table of steps, and the page that says what each stage may and may
 * not do, is in sandbox/init.c; what init does afterwards is behind sandbox/serve.h.
 */
#pragma once

#include "sandbox/serve.h"
#include "wire/plan.h"

/* All descriptors are owned by the struct until stolen or closed; -1 for none. */
struct setup {
	const char *step; /* the one under way */
	struct plan plan;
	struct plan_report report;
	/* as executed: enum plan_fd */
	int channel, listen, output_fd, spec, seccomp, dev;
	int layers[PLAN_MAX_LAYERS], binds[PLAN_MAX_MOUNTS];
	size_t n_binds;
	/* made on the way */
	int stage; /* directory under which the root is put together, on the empty root */
	int root, proc, sys; /* roots of the session's own mounts */
	int pts; /* the root of /dev/pts, which serving goes on with */
	size_t n_places; /* likewise */
	struct place places[INIT_MAX_PLACES];
	struct output_header *output; /* the output file, mapped */
	struct spawn_rules rules;
	struct serve *serve; /* what init goes on with */
	int workload_fds[SPAWN_CDP]; /* the workload's descriptors 0, 1, ... */
	size_t n_workload_fds;
	pid_t workload;
};

/* Fills the report's error for the step under way; the value is the negative errno NUM. */
#define fail(setup, num, ...) err_set(&(setup)->report.err, num, (setup)->step, __VA_ARGS__)

/* Steps: 0, or a negative errno with the report's error filled. */
int step_plan(struct setup *setup); /* sandbox/receive.c */
int step_stage(struct setup *setup); /* sandbox/root.c */
int step_files(struct setup *setup); /* sandbox/files.c */
int step_root(struct setup *setup); /* sandbox/root.c */
int step_proc(struct setup *setup); /* sandbox/proc.c */
int step_counts(struct setup *setup); /* sandbox/proc.c */
int step_sys(struct setup *setup); /* sandbox/mounts.c */
int step_dev(struct setup *setup); /* sandbox/mounts.c */
int step_masks(struct setup *setup); /* sandbox/proc.c */
int step_mounts(struct setup *setup); /* sandbox/mounts.c */
int step_cgroup(struct setup *setup); /* sandbox/cgroup.c */
int step_enter(struct setup *setup); /* sandbox/root.c */
int step_service(struct setup *setup); /* sandbox/workload.c */
int step_limits(struct setup *setup); /* sandbox/privilege.c */
int step_privilege(struct setup *setup); /* sandbox/privilege.c */
int step_exec(struct setup *setup); /* sandbox/workload.c */

/* A "key=value" of a file system; without a value it is a flag. Lists end with a NULL key. */
struct fs_option {
	const char *key, *value;
};

/*
 * A new file system of TYPE in a detached mount with ATTRS (MOUNT_ATTR_*). Returns the descriptor of its root, or
 * fails with the kernel's own message where it has one. OPTIONS may be NULL.
 */
int fs_make(struct setup *setup, const char *type, const struct fs_option *options, unsigned int attrs);

/* A tmpfs with a mode and, unless LIMIT_UNSET, a size in bytes and a number of inodes. */
struct tmpfs {
	uint32_t mode, uid, gid;
	uint64_t bytes, inodes;
};
int fs_make_tmpfs(struct setup *setup, const struct tmpfs *options, unsigned int attrs);

/*
 * Opens TARGET, absolute in the session, as a place to mount a directory or a file on (O_PATH), and makes what is
 * missing of it. Whatever links the image holds, it stays beneath ROOT. Returns the descriptor or a negative errno.
 */
int target_open(int root, const char *target, bool directory);

/*
 * Keeps the file system that TREE, the root of a mount, is of for those who ask how much room there is (INIT_SPACE). What
 * is neither in memory nor on a disk of this host is left out, because an answer might not come. Returns TREE, or passes
 * on the error that it is; what cannot be kept is not.
 */
int space_keep(struct setup *setup, int tree, const char *target);
