/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes that came from a session on their way to a terminal: as they come, in pieces that may end within a character. */
#pragma once

#include <stddef.h>

#include "cli/term.h"

enum { SAFE_TAIL = 3 };

struct safe_writer {
	int fd;
	bool filter; /* it is a terminal: control characters but newlines and tabs are spelled out */
	char tail[SAFE_TAIL]; /* of a character that is not complete yet */
	size_t n_tail;
};

/* Writes all N bytes, or what is safe of them. 0 or a negative errno. */
int safe_write(struct safe_writer *writer, const char *bytes, size_t n);

/* What is left of a character that never was completed. 0 or a negative errno. */
int safe_end(struct safe_writer *writer);
