/* SPDX-License-Identifier: Apache-2.0 */
/*
 * File trees below a directory descriptor: what the image builder copies, weighs, compares and removes. Symbolic links
 * that are the last part of a path are never followed, none leads out of the descriptor. All functions return 0 or a
 * negative errno.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

/* Removes DIR_FD/NAME and all below it. -EXDEV rather than enter another file system; what is not there is no error. */
int tree_remove(int dir_fd, const char *name);

/* The same for what is in the directory NAME; it stays. */
int tree_empty(int dir_fd, const char *name);

/*
 * Copies FROM below FROM_FD to TO below TO_FD, owned by root and writable by nobody else. Only what
 * every local user may read is taken; the rest, and what is no file, directory or symbolic link, is passed over. A
 * FROM that is not there is no error.
 */
int tree_copy(int from_fd, const char *from, int to_fd, const char *to);

/* Disk space that DIR_FD/NAME and all below it take; a file with several names counts once. */
int tree_bytes(int dir_fd, const char *name, uint64_t *ret_bytes);

/* A number that changes when anything in the tree does: names, types, modes, owners, contents. */
int tree_hash(int dir_fd, const char *name, uint64_t *ret_hash);

/* The hash behind it, 64-bit FNV-1a: tells versions apart, and is no protection against forgery. */
#define HASH_START UINT64_C(0xcbf29ce484222325)
uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t n);

/* Makes a directory with exactly this mode and owner; one that is there gets them. */
int make_dir(int dir_fd, const char *path, mode_t mode, uid_t owner);

/* Makes or replaces a regular file of root's with exactly this mode. */
int write_file(int dir_fd, const char *path, mode_t mode, const char *text);

/* A whole small file, NUL-terminated, the caller's. */
int read_file(int dir_fd, const char *path, char **ret_text);
