/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An archive of something in a session into a descriptor, for other parts of control: a build context for the Docker
 * daemon in there, say. The bytes go from the session's file child straight to the descriptor, never through control.
 *
 *	r = file_archive_start(session, NULL, "/work/app", fd, on_archived, build, &build->archive);
 *	close_fd(fd);				 the child has its own; at its last byte it closes that
 *	if (r < 0)
 *		...				 memory is short: FN is not called
 *
 * FN is called from the loop or from within this call, exactly once unless file_archive_cancel() comes first: also
 * when the path does not exist, the reader of FD goes away, nothing moves for 60 s, or the session ends. Forget the
 * pointer then. What was written is a whole archive only if it says so: an error may come after half of it.
 */
#pragma once

#include "control/session.h"

struct file_archive_result {
	struct err err; /* num 0: it is whole */
	const char *text; /* more about an error, or NULL */
	uint64_t n_bytes;
	uint32_t n_entries, n_skipped; /* skipped: sockets and devices */
};

typedef void file_archive_fn(void *arg, const struct file_archive_result *result);

struct transfer;

/*
 * Archives PATH, absolute in the session, as USER (NULL: the workload's) into FD, a pipe or stream socket, borrowed.
 * The names of a directory's entries are relative to it. 0, or -ENOMEM.
 */
int file_archive_start(struct session *session, const char *user, const char *path, int fd, file_archive_fn *fn,
	void *arg, struct transfer **ret);

/* Ends it; FN is not called. What was written so far stays written. */
void file_archive_cancel(struct transfer *transfer);
