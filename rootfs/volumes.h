/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Volumes, which outlive sessions: STATE_DIR/volumes/NAME is a directory, or, for one of fixed size, a file with an
 * ext4 in it. As in the image store, files have the ids that they have in a session and the directory is 0700 and
 * root's. Root makes a volume, mounts it and renames it away; it opens nothing in it, because all that is in there was
 * put there by sessions. Files of a removed one are deleted from STATE_DIR/removed by a process without any privilege
 * on the host.
 */
#pragma once

#include <sys/types.h>

#include "wire/super.h"

/* How a volume is made; of one that is there, only its kind counts. */
struct volume_spec {
	uint64_t bytes; /* its size; 0: a directory without one */
	uint32_t mode, uid, gid; /* of its root */
};

/*
 * A detached, writable mount of the volume NAME with its ids mapped by USER_FD, without devices and setuid programs;
 * the volume is made when there is none, from the empty file system of STORE_FD that has its size. 0 or a negative
 * errno with ERR filled: -ENOTDIR and -EISDIR when it is of the other kind, -EBUSY while it is mounted elsewhere.
 */
int volume_open(int volumes_fd, int store_fd, const char *name, const struct volume_spec *spec, int user_fd,
	int *ret_fd, struct err *err);

/* What there is to know of the volume NAME. */
void volume_look(int volumes_fd, const char *name, struct super_volume_info *ret);

/* Calls FN with the name of every volume. 0 or a negative errno. */
int volume_list(int volumes_fd, void (*fn)(const char *name, void *arg), void *arg);

/*
 * Starts a process that brings to the disk what was written to the file system of VOLUMES_FD before. 0 with its pidfd,
 * or a negative errno. It exits with 0 when all is there, and dies with this one. Kernel: syncfs(2).
 */
int volume_flush(int volumes_fd, int *ret_pidfd);

/* Moves the volume into REMOVED_FD, where volume_delete() finds it. 0, -ENOENT or another negative errno. */
int volume_remove(int volumes_fd, int removed_fd, const char *name);

/*
 * Starts a process that deletes everything below REMOVED_FD, however much and deep it is. It is in the namespaces of
 * USER_FD, where the files' owners are its own, and has no capability outside of them; it dies with this one. 0 with
 * its pidfd, or a negative errno. It exits with 0 when all is gone.
 */
int volume_delete(int removed_fd, int user_fd, int *ret_pidfd);
