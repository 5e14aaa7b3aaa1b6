/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A session's output as entries for clients: read from the ring that its init writes (wire/output.h), as hostile
 * bytes. Text is made valid UTF-8 here; control characters are escaped by the JSON that carries it.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "wire/output.h"

enum {
	LOGS_DEFAULT_BYTES = 64 * 1024,
	LOGS_MAX_BYTES = 512 * 1024, /* an answer stays well below a frame's limit */
	LOG_TAIL_LINES = 20,
	LOG_TAIL_BYTES = 2048,
};

/*
 * Reads from *POSITION (0: the oldest there is) as much as costs at most MAX_BYTES in JSON. 0 and *RET, {entries: [{at,
 * stream, text}], next, skipped_bytes}, a new reference; *POSITION is then next and *RET_MORE says whether there is
 * more. -EPROTO for a position that no answer named or a ring full of rubbish, else a negative errno.
 */
int logs_read(int output_fd, uint64_t *position, size_t max_bytes, json_t **ret, bool *ret_more);

/* The last lines as valid UTF-8, the caller's to free; NULL when there are none. OUTPUT_FD may be negative. */
char *logs_tail(int output_fd);
