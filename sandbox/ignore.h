/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a build's context leaves out: the patterns of .dockerignore, as Docker's client takes them (".dockerignore
 * files" in Docker's documentation). One a line, "#" begins a comment, "!" makes an exception, the last that matches
 * decides. "*" and "?" stop at slashes, "**" does not, "[a-z]" and "\" are as in Go's path.Match. A pattern that
 * matches a directory matches all that is below it.
 *
 * Both patterns and paths are the session's. Matching takes a time that grows with the length of both and no faster.
 */
#pragma once

#include <stdbool.h>

#include "wire/files.h"

#define IGNORE_FILE ".dockerignore"

enum { IGNORE_MAX_BYTES = 64 * 1024 };

struct ignore {
	size_t n; /* bytes of PATTERNS, each of which ends with NUL */
	char patterns[IGNORE_MAX_BYTES + 1];
	char dockerfile[FILES_PATH_SIZE]; /* always sent, as .dockerignore itself is; relative and clean */
};

enum ignore_verdict {
	IGNORE_NOT, /* it is part of the context */
	IGNORE_IT, /* it is not, nor is anything below it */
	IGNORE_BUT_BELOW, /* it is not, but something below it may be */
};

/*
 * Takes the patterns out of the N bytes of TEXT, at most IGNORE_MAX_BYTES. 0, or -EINVAL with the line that is no
 * pattern in *RET_LINE.
 */
int ignore_parse(struct ignore *ignore, const char *text, size_t n, unsigned int *ret_line);

/* The Dockerfile's path in the context, as a client gave it. */
void ignore_set_dockerfile(struct ignore *ignore, const char *path);

/* What becomes of PATH, relative to the context. */
enum ignore_verdict ignore_look(const struct ignore *ignore, const char *path);
