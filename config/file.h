/* SPDX-License-Identifier: Apache-2.0 */
/* Files and directories of the configuration. Private to this folder. */
#pragma once

#include "config/members.h"

enum { FILE_MAX_BYTES = 256 * 1024 };

/*
 * Opens a directory that only root, or the caller's own user, can write. The descriptor, the caller's, or a negative
 * errno with one line in SOURCE's error. Below a DIR_FD no symbolic link is followed.
 */
int file_open_directory(int dir_fd, const char *path, const struct source *source);

/*
 * Reads the file NAME below DIR_FD under the same condition; a link, a file that is not regular or one past
 * FILE_MAX_BYTES is refused. 0 with *RET_TEXT, the caller's to free, at which SOURCE then points; or a negative errno with
 * one line in SOURCE's error.
 */
int file_read(int dir_fd, const char *name, struct source *source, char **ret_text);

/*
 * Names of DIR_FD's files that end in ".json", hidden ones left out, sorted. *RET_N of them are the caller's to free,
 * also on failure.
 */
int file_list(int dir_fd, const struct source *source, char *names[], size_t max, size_t *ret_n);
