/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes on their way in or out of a connection: filled at the end, taken from the start, moved together only when
 * room is needed. An empty buffer holds no memory to speak of.
 */
#pragma once

#include <stddef.h>

struct buffer {
	char *bytes;
	size_t start, end, size;
};

static inline size_t buffer_used(const struct buffer *buffer)
{
	return buffer->end - buffer->start;
}

static inline char *buffer_head(const struct buffer *buffer)
{
	return buffer->bytes + buffer->start;
}

/* Makes room for N bytes at buffer->bytes + buffer->end; the caller then adds what it wrote to buffer->end. 0 or -ENOMEM. */
int buffer_reserve(struct buffer *buffer, size_t n);

/* Appends N bytes. 0 or -ENOMEM. */
int buffer_append(struct buffer *buffer, const void *bytes, size_t n);

/* Takes N bytes (at most all) from the start; gives large memory back when nothing is left. */
void buffer_consume(struct buffer *buffer, size_t n);

void buffer_free(struct buffer *buffer);
