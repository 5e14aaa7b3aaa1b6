/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The errors of carrel's own that a client sees: one table of kinds with their words and numbers, and how one is
 * rendered. Numbers are part of the interface: a new kind takes a new one, none is ever given out again.
 */
#pragma once

#include "control/call.h"

struct error_row {
	const char *word; /* data.kind */
	int code;
	const char *help; /* one line */
};

extern const struct error_row error_table[E_KIND_COUNT];

/*
 * {code, message, data: {kind, retryable, …}}; DETAILS may be NULL. Texts may hold any bytes; what is not UTF-8 is
 * replaced. NULL when memory is short.
 */
json_t *error_object(enum error_kind kind, bool retryable, const struct error_details *details, const char *message);
