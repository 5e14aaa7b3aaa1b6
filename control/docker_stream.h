/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two forms in which a Docker daemon streams, from bytes that come in pieces from a hostile peer: objects of JSON,
 * one on each line (progress of a build), and frames (the output of a container without a terminal).
 */
#pragma once

#include <jansson.h>

#include "control/buffer.h"
#include "control/capture.h"

enum { DOCKER_MAX_LINE = 64 * 1024 };

struct docker_lines {
	struct buffer buffer; /* a line that is not whole yet */
};

/*
 * Calls FN for each object in N more bytes; OBJECT is borrowed. 0; -EMSGSIZE for a longer line, -EPROTO for one that is
 * no object, -ENOMEM.
 */
int docker_lines_feed(struct docker_lines *lines, const char *bytes, size_t n,
	void (*fn)(void *arg, const json_t *object), void *arg);
void docker_lines_release(struct docker_lines *lines);

/* Engine API, "Attach to a container", stream format: stream, three zeros, a big-endian length; then so many bytes. */
struct docker_frames {
	uint8_t header[8];
	size_t n_header;
	uint32_t left; /* of the frame */
};

/* Calls FN for each piece of what a stream carries. 0, or -EPROTO for what is no frame. */
int docker_frames_feed(struct docker_frames *frames, const char *bytes, size_t n,
	void (*fn)(void *arg, enum capture_stream stream, const char *bytes, size_t n), void *arg);
