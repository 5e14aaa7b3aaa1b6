/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Volumes: directories STATE_DIR/volumes/NAME that outlive sessions. As in the image store, files have the ids that
 * they have in a session and the directory is 0700 and root's. Root makes a volume, mounts it and renames it away; it
 * opens nothing in it, because all that is in there was put there by sessions. Files of a removed one are deleted from
 * STATE_DIR/removed by a process without any privilege on the host.
 */
#pragma once

#include <sys/types.h>

#include "wire/err.h"

/* The root of a volume when it is made. */
struct volume_root {
	uint32_t mode, uid, gid;
};

/*
 * A detached, writable mount of the volume NAME with its ids mapped by USER_FD, without devices and setuid programs;
 * the volume is made when there is none. 0 or a negative errno with ERR filled.
 */
int volume_open(
	int volumes_fd, const char *name, const struct volume_root *root, int user_fd, int *ret_fd, struct err *err);

/* Calls FN with the name of every volume. 0 or a negative errno. */
int volume_list(int volumes_fd, void (*fn)(const char *name, void *arg), void *arg);

/* Moves the volume into REMOVED_FD, where volume_delete() finds it. 0, -ENOENT or another negative errno. */
int volume_remove(int volumes_fd, int removed_fd, const char *name);

/*
 * Starts a process that deletes everything below REMOVED_FD, however much and deep it is. It is in the namespaces of
 * USER_FD, where the files' owners are its own, and has no capability outside of them; it dies with this one. 0 with
 * its pidfd, or a negative errno. It exits with 0 when all is gone.
 */
int volume_delete(int removed_fd, int user_fd, int *ret_pidfd);
