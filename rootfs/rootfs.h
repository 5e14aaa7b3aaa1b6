/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Root file systems, as far as root has to make them: detached, idmapped, read-only mounts of image layers
 * and of host directories that a template names, and the /dev tree; and the mounts that a session begins with.
 * Runs in the supervisor, as root. Putting them together (overlay, proc, tmpfs) is done by carrel-init inside the
 * session.
 *
 * The image store is STATE_DIR/rootfs, 0700: IMAGE/0 is the topmost layer, IMAGE/1 the one below, ... Files
 * there have the ids that they have in a session (0 to 65535, setuid bits and all), so nobody but root may
 * reach them. STATE_DIR/rootfs/.scratch/BYTES is an empty ext4 of that size, sparse.
 */
#pragma once

#include <stdbool.h>

#include "wire/err.h"

/*
 * A mount namespace, private, for sessions to begin in a copy of: an empty read-only root with the empty directory
 * PLAN_STAGE to mount on, and a /proc and a /sys, without which the kernel lets no user namespace mount its own
 * (mount_too_revealing() in fs/namespace.c). They are of process and network namespaces in which nobody is. So nothing
 * of the host is ever in a session's sight, there is little to copy, and no pivot_root, which looks at every process of
 * the host. Called once, at the start, by a process with one thread. 0 or a negative errno.
 */
int rootfs_empty(int *ret_ns_fd, struct err *err);

/*
 * Clones what FD, open on a directory or file, refers to into a detached mount with ATTRS (MOUNT_ATTR_*) and ids mapped
 * by USER_FD. 0 or a negative errno.
 */
int rootfs_clone(int fd, uint64_t attrs, int user_fd, int *ret_fd);

/* Gives a detached mount ATTRS (MOUNT_ATTR_*) and ids mapped by USER_FD; -1: as they are. 0 or a negative errno. */
int rootfs_map(int mount_fd, uint64_t attrs, int user_fd);

/*
 * Opens the layers of IMAGE below STORE_FD and fills RET with detached mounts whose ids are mapped by
 * USER_FD, topmost first, at most MAX. 0; -ENOENT when there is no such image, -E2BIG with more layers than
 * MAX. On failure nothing is held. Kernel: mount_setattr(2), MOUNT_ATTR_IDMAP.
 */
int rootfs_layers(
	int store_fd, const char *image, int user_fd, int *ret_fds, size_t max, size_t *ret_n, struct err *err);

/*
 * A detached idmapped mount of the host path SOURCE, which comes from root-owned configuration; mounts below
 * SOURCE are not taken along. Read-only unless WRITABLE; never with devices.
 */
int rootfs_bind(const char *source, int user_fd, bool writable, bool suid, int *ret_fd, struct err *err);

/*
 * An ext4 of fixed size in a file: what scratch and volumes with a size have in common. KEPT is what outlives sessions:
 * it has a journal, and its blocks are set aside, so that who fills the disk takes none of them.
 *
 * A copy of the store's empty file system of BYTES, in a file without a name beside DIR_FD. 0, -ENOENT when `carrel image
 * build` has made no such one, -ENOSPC, or another negative errno, with ERR filled.
 */
int scratch_file(int store_fd, uint64_t bytes, bool kept, int dir_fd, int *ret_fd, struct err *err);

/*
 * A detached mount, nosuid and nodev, of what FILE_FD holds; the kernel replays its journal. The file is locked as long
 * as it is mounted, though nothing be left of its session: two mounts would write over each other. 0, -EBUSY or another
 * negative errno with ERR filled. Kernel: loop(4), which keeps the open file that flock(2) knows.
 */
int scratch_mount(int file_fd, bool kept, int *ret_fd, struct err *err);

/*
 * A detached idmapped mount of a new, empty ext4 of BYTES on disk, nosuid and nodev; it is gone when its last user
 * is. -ENOENT when `carrel image build` has made no empty one of that size. Kernel: loop(4), LOOP_CONFIGURE.
 */
int rootfs_scratch(int store_fd, uint64_t bytes, int user_fd, int *ret_fd, struct err *err);

/*
 * A session's /dev: a read-only tmpfs with device nodes of its own, detached, owned by the session's root where
 * the kernel can map a tmpfs (6.3 and later). No two sessions share one: with inotify and flock they would see
 * each other in it. pts, shm and mqueue are empty directories.
 */
int rootfs_dev_make(int user_fd, int *ret_fd, struct err *err);
