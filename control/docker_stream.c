/* SPDX-License-Identifier: Apache-2.0 */
#include "control/docker_stream.h"

#include "wire/def.h"

static int parse_line(const char *line, size_t n, void (*fn)(void *arg, const json_t *object), void *arg)
{
	/* Empty but for the CR of its end. */
	if (n == 0 || (n == 1 && line[0] == '\r'))
		return 0;
	json_t *object = json_loadb(line, n, JSON_REJECT_DUPLICATES, NULL);
	int r = json_is_object(object) ? 0 : -EPROTO;
	if (r == 0)
		fn(arg, object);
	json_decref(object);
	return r;
}

int docker_lines_feed(struct docker_lines *lines, const char *bytes, size_t n,
	void (*fn)(void *arg, const json_t *object), void *arg)
{
	struct buffer *buffer = &lines->buffer;

	while (n > 0) {
		const char *end = memchr(bytes, '\n', n);
		size_t piece = end ? (size_t)(end - bytes) : n;
		if (buffer_used(buffer) + piece > DOCKER_MAX_LINE)
			return -EMSGSIZE;
		int r = buffer_append(buffer, bytes, piece);
		if (r == 0 && end) {
			r = parse_line(buffer_head(buffer), buffer_used(buffer), fn, arg);
			buffer_consume(buffer, buffer_used(buffer));
		}
		if (r < 0)
			return r;
		bytes += piece + (end ? 1 : 0);
		n -= piece + (end ? 1 : 0);
	}
	return 0;
}

void docker_lines_release(struct docker_lines *lines)
{
	buffer_free(&lines->buffer);
}

/* 1 is standard output, 2 standard error; 0 and 3 have no place in an answer. */
static bool header_fits(const uint8_t header[8])
{
	return (header[0] == 1 || header[0] == 2) && header[1] == 0 && header[2] == 0 && header[3] == 0;
}

int docker_frames_feed(struct docker_frames *frames, const char *bytes, size_t n,
	void (*fn)(void *arg, enum capture_stream stream, const char *bytes, size_t n), void *arg)
{
	while (n > 0) {
		if (frames->left == 0) {
			frames->header[frames->n_header++] = (uint8_t)*bytes++;
			n--;
			if (frames->n_header < sizeof(frames->header))
				continue;
			frames->n_header = 0;
			if (!header_fits(frames->header))
				return -EPROTO;
			for (size_t i = 4; i < 8; i++)
				frames->left = frames->left << 8 | frames->header[i];
			continue;
		}
		size_t piece = n < frames->left ? n : frames->left;
		fn(arg, frames->header[0] == 1 ? CAPTURE_STDOUT : CAPTURE_STDERR, bytes, piece);
		frames->left -= (uint32_t)piece;
		bytes += piece;
		n -= piece;
	}
	return 0;
}
