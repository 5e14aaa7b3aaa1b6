/* SPDX-License-Identifier: Apache-2.0 */
#include "control/capture.h"

#include "control/json.h"
#include "control/text.h"
#include "wire/def.h"

enum { LINE_COST = 32 }; /* of an entry of lines, and of quotes and comma in JSON */

size_t capture_room(const struct capture *capture, size_t n)
{
	size_t used = buffer_used(&capture->text[CAPTURE_STDOUT]) + buffer_used(&capture->text[CAPTURE_STDERR]);

	if (capture->full || used >= capture->max_bytes)
		return 0;
	return n < capture->max_bytes - used ? n : capture->max_bytes - used;
}

size_t capture_cost(const void *bytes, size_t n)
{
	size_t lines = 0;

	for (const char *at = bytes, *end = at + n; (at = memchr(at, '\n', (size_t)(end - at))); at++)
		lines++;
	return 2 * json_text_cost(bytes, n) + lines * LINE_COST;
}

static int add_line(struct capture *capture, enum capture_stream stream, uint32_t end)
{
	if (capture->n_lines == capture->lines_size) {
		size_t size = capture->lines_size ? capture->lines_size * 2 : 64;
		struct capture_line *lines = reallocarray(capture->lines, size, sizeof(*lines));
		if (!lines)
			return -ENOMEM;
		capture->lines = lines;
		capture->lines_size = size;
	}
	uint32_t start = capture->line_start[stream];
	capture->lines[capture->n_lines++] =
		(struct capture_line){ .stream = stream, .start = start, .length = end - start };
	capture->line_start[stream] = end + 1;
	return 0;
}

/* Finds the lines that end in what was appended behind FROM. */
static int add_lines(struct capture *capture, enum capture_stream stream, size_t from)
{
	const struct buffer *text = &capture->text[stream];
	const char *head = buffer_head(text), *end = head + buffer_used(text);
	int r = 0;

	for (const char *at = head + from; r == 0 && (at = memchr(at, '\n', (size_t)(end - at))); at++)
		r = add_line(capture, stream, (uint32_t)(at - head));
	return r;
}

void capture_drop(struct capture *capture, size_t n)
{
	if (n == 0)
		return;
	capture->full = true;
	capture->dropped_bytes += n;
}

void capture_add(struct capture *capture, enum capture_stream stream, const void *bytes, size_t n)
{
	size_t kept = capture_room(capture, n), from = buffer_used(&capture->text[stream]);

	if (kept > 0 && buffer_append(&capture->text[stream], bytes, kept) < 0)
		kept = 0;
	if (kept > 0 && add_lines(capture, stream, from) < 0)
		capture->full = true;
	capture_drop(capture, n - kept);
}

static json_t *text_json(const struct buffer *text, size_t start, size_t length)
{
	_free_ char *scrubbed = malloc(3 * length + 1);

	if (!scrubbed)
		return NULL;
	size_t n = length ? utf8_scrub((const uint8_t *)buffer_head(text) + start, length, scrubbed) : 0;
	return json_stringn_nocheck(scrubbed, n);
}

static json_t *lines_json(const struct capture *capture)
{
	json_t *lines = json_array();

	for (size_t i = 0; i < capture->n_lines; i++) {
		const struct capture_line *line = &capture->lines[i];
		json_append(&lines, text_json(&capture->text[line->stream], line->start, line->length));
	}
	for (size_t i = 0; i < CAPTURE_STREAMS; i++) {
		size_t start = capture->line_start[i], used = buffer_used(&capture->text[i]);
		if (used > start)
			json_append(&lines, text_json(&capture->text[i], start, used - start));
	}
	return lines;
}

void capture_put_json(const struct capture *capture, json_t **object)
{
	const struct buffer *out = &capture->text[CAPTURE_STDOUT], *err = &capture->text[CAPTURE_STDERR];

	json_put(object, "stdout", text_json(out, 0, buffer_used(out)));
	json_put(object, "stderr", text_json(err, 0, buffer_used(err)));
	json_put(object, "logs", lines_json(capture));
	json_put(object, "truncated", json_boolean(capture->full));
	json_put(object, "dropped_bytes", json_integer((json_int_t)capture->dropped_bytes));
}

void capture_release(struct capture *capture)
{
	for (size_t i = 0; i < CAPTURE_STREAMS; i++)
		buffer_free(&capture->text[i]);
	free(capture->lines);
	*capture = (struct capture){ 0 };
}
