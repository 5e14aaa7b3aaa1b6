/* SPDX-License-Identifier: Apache-2.0 */
/* What a session's Docker daemon streams: the first byte chooses the form, the second the size of the pieces. */
#include "control/docker_stream.h"

static void on_object(void *arg, const json_t *object)
{
	if (!json_is_object(object))
		abort();
	*(size_t *)arg += json_object_size(object);
}

static void on_piece(void *arg, enum capture_stream stream, const char *bytes, size_t n)
{
	if (stream >= CAPTURE_STREAMS)
		abort();
	for (size_t i = 0; i < n; i++)
		*(size_t *)arg += (unsigned char)bytes[i];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct docker_lines lines = { 0 };
	struct docker_frames frames = { 0 };
	size_t sum = 0, piece, take;
	int r = 0;

	if (n < 2)
		return 0;
	piece = (size_t)data[1] + 1;
	for (size_t at = 2; at < n && r == 0; at += take) {
		const char *bytes = (const char *)data + at;
		take = n - at < piece ? n - at : piece;
		r = data[0] & 1 ? docker_lines_feed(&lines, bytes, take, on_object, &sum)
				: docker_frames_feed(&frames, bytes, take, on_piece, &sum);
		if (buffer_used(&lines.buffer) > DOCKER_MAX_LINE)
			abort();
	}
	docker_lines_release(&lines);
	return 0;
}
