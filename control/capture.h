/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a command printed on its standard output and error, up to a bound: each as one text, and both as lines in the
 * order in which they were completed. The beginning is kept; what comes after the bound is only counted.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "control/buffer.h"

enum capture_stream {
	CAPTURE_STDOUT,
	CAPTURE_STDERR,
	CAPTURE_STREAMS,
};

struct capture_line {
	enum capture_stream stream;
	uint32_t start, length; /* in the stream's text; without the newline */
};

struct capture {
	uint32_t max_bytes; /* of both streams together; set before the first byte */
	bool full; /* something was dropped: nothing is kept any more, so that what there is has no gaps */
	uint64_t dropped_bytes;
	struct buffer text[CAPTURE_STREAMS];
	uint32_t line_start[CAPTURE_STREAMS];
	struct capture_line *lines;
	size_t n_lines, lines_size;
};

/* How many of N more bytes would be kept. */
size_t capture_room(const struct capture *capture, size_t n);

/* At most what N bytes add to an answer, in bytes, as text and as lines; and what keeping them until then takes. */
size_t capture_cost(const void *bytes, size_t n);

/* Keeps what there is room for. When memory is short, nothing more is kept, and that is counted as dropped. */
void capture_add(struct capture *capture, enum capture_stream stream, const void *bytes, size_t n);

/* Counts N bytes as dropped. */
void capture_drop(struct capture *capture, size_t n);

/*
 * Puts "stdout", "stderr", "logs", "truncated" and "dropped_bytes" into *OBJECT, which becomes NULL when memory is
 * short. What is not UTF-8 becomes U+FFFD. A last line without a newline is a line.
 */
void capture_put_json(const struct capture *capture, json_t **object);

void capture_release(struct capture *capture);
