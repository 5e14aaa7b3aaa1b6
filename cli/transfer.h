/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes on their way: moved from one descriptor to another, and counted for whoever waits in front of a terminal. */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "cli/term.h"

struct transfer {
	const struct term *term; /* where progress is shown: standard error. NULL: nowhere */
	const char *name; /* what is being moved */
	uint64_t bytes, total; /* so far; all, or 0 when that is not known */
	int64_t started_ms, shown_ms; /* shown_ms 0: nothing is on the screen */
};

void transfer_begin(struct transfer *transfer, const struct term *term, const char *name, uint64_t total);

/* N more bytes have been moved. Shows it a few times a second, from the first second on. */
void transfer_add(struct transfer *transfer, uint64_t n);

/* Takes the line off the screen. */
void transfer_end(struct transfer *transfer);

/* Moves all that comes from IN to OUT. 0 or a negative errno. */
int transfer_all(struct transfer *transfer, int in, int out);

/* Writes all N bytes, also to a descriptor that does not block. 0 or a negative errno. */
int write_all(int fd, const void *bytes, size_t n);
