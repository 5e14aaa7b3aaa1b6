/* SPDX-License-Identifier: Apache-2.0 */
#include "control/buffer.h"

#include "wire/def.h"

/* What an idle connection may keep; most requests and answers fit. */
enum { KEPT_BYTES = 4096 };

int buffer_reserve(struct buffer *buffer, size_t n)
{
	size_t used = buffer_used(buffer), size;

	if (buffer->size - buffer->end >= n)
		return 0;
	if (n > SIZE_MAX / 4 - used)
		return -ENOMEM;
	/* Bytes are moved down when at least half of them are gone, else into twice the room: constant cost per byte. */
	if (buffer->size >= used + n && buffer->start >= used) {
		memmove(buffer->bytes, buffer_head(buffer), used);
	} else {
		size = buffer->size ? buffer->size * 2 : KEPT_BYTES;
		while (size < used + n)
			size *= 2;
		char *bytes = malloc(size);
		if (!bytes)
			return -ENOMEM;
		if (used > 0)
			memcpy(bytes, buffer_head(buffer), used);
		free(buffer->bytes);
		buffer->bytes = bytes;
		buffer->size = size;
	}
	buffer->start = 0;
	buffer->end = used;
	return 0;
}

int buffer_append(struct buffer *buffer, const void *bytes, size_t n)
{
	int r = buffer_reserve(buffer, n);

	if (r < 0)
		return r;
	if (n > 0)
		memcpy(buffer->bytes + buffer->end, bytes, n);
	buffer->end += n;
	return 0;
}

void buffer_consume(struct buffer *buffer, size_t n)
{
	buffer->start += n;
	if (buffer->start < buffer->end)
		return;
	if (buffer->size > KEPT_BYTES)
		buffer_free(buffer);
	buffer->start = buffer->end = 0;
}

void buffer_free(struct buffer *buffer)
{
	free(buffer->bytes);
	*buffer = (struct buffer){ 0 };
}
