/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A directory of a session as an archive into a descriptor, for other parts of control: what an image is built from.
 * The bytes go from the session's file child straight to the descriptor.
 *
 *	r = file_archive_start(session, "/work/app", "Dockerfile", fd, on_archived, build, &build->archive);
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

/* ERR's num 0: it is whole; else KIND says of what kind the error is. Both are borrowed. */
typedef void file_archive_fn(void *arg, enum error_kind kind, const struct err *err);

struct transfer;

/*
 * Archives the directory PATH, absolute in the session, as the workload's user into FD, a pipe or stream socket,
 * borrowed. Names are relative to it; what its .dockerignore says is left out, but for DOCKERFILE. 0, or -ENOMEM.
 */
int file_archive_start(struct session *session, const char *path, const char *dockerfile, int fd, file_archive_fn *fn,
	void *arg, struct transfer **ret);

/* Ends it; FN is not called. What was written so far stays written. */
void file_archive_cancel(struct transfer *transfer);
