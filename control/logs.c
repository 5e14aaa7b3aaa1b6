/* SPDX-License-Identifier: Apache-2.0 */
#include "control/logs.h"

#include "control/text.h"

enum { ENTRY_COST = 80 }; /* {"at": ..., "stream": ..., "text": ""} in JSON */

static const char *stream_name(uint32_t stream)
{
	switch (stream) {
	case OUTPUT_STDOUT:
		return "stdout";
	case OUTPUT_STDERR:
		return "stderr";
	default:
		return "init";
	}
}

/* What TEXT takes in JSON at most: a control character six bytes, quotes and backslashes two. */
static size_t json_cost(const char *text, size_t n)
{
	size_t cost = ENTRY_COST;

	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)text[i];
		cost += c < 0x20 || c == 0x7f ? 6 : c == '"' || c == '\\' ? 2 : 1;
	}
	return cost;
}

static json_t *entry_json(const struct output_record *record, const char *text, size_t n)
{
	return json_pack("{s:o, s:s, s:s%}", "at", json_time(record->realtime_ns), "stream",
		stream_name(record->stream), "text", text, n);
}

int logs_read(int output_fd, uint64_t *position, size_t max_bytes, json_t **ret, bool *ret_more)
{
	uint8_t data[OUTPUT_MAX_RECORD];
	char text[3 * OUTPUT_MAX_RECORD + 1];
	uint64_t skipped = 0, at = *position;
	json_t *entries = json_array();
	size_t cost = 0;
	bool more = false;
	int r;

	for (;;) {
		struct output_record record;
		uint64_t next = at, lost = 0;
		r = output_read(output_fd, &next, &record, data, &lost);
		if (r <= 0)
			break;
		size_t n = utf8_scrub(data, record.length, text);
		cost += json_cost(text, n);
		/* One entry always fits, or nobody would get past a long one. */
		more = cost > max_bytes && json_array_size(entries) > 0;
		if (more)
			break;
		json_array_append_new(entries, entry_json(&record, text, n));
		skipped += lost;
		at = next;
	}
	json_t *result = json_pack(
		"{s:O, s:I, s:I}", "entries", entries, "next", (json_int_t)at, "skipped_bytes", (json_int_t)skipped);
	json_decref(entries);
	if (r >= 0 && !result)
		r = -ENOMEM;
	if (r < 0) {
		json_decref(result);
		return r;
	}
	*position = at;
	*ret = result;
	*ret_more = more;
	return 0;
}

/* Where the last lines of TEXT begin: at most LOG_TAIL_LINES of them and LOG_TAIL_BYTES. */
static const uint8_t *last_lines(const uint8_t *text, size_t n)
{
	const uint8_t *start = text + n;
	unsigned lines = 0;

	while (start > text && (size_t)(text + n - start) < LOG_TAIL_BYTES) {
		bool line_ends = start[-1] == '\n' && start != text + n;
		if (line_ends && ++lines == LOG_TAIL_LINES)
			break;
		start--;
	}
	return start;
}

char *logs_tail(int output_fd)
{
	uint8_t data[OUTPUT_MAX_RECORD], tail[2 * OUTPUT_MAX_RECORD];
	uint64_t position = 0, skipped;
	struct output_record record;
	size_t n = 0;

	if (output_fd < 0)
		return NULL;
	while (output_read(output_fd, &position, &record, data, &skipped) == 1) {
		/* The newest OUTPUT_MAX_RECORD bytes are kept, and what comes behind them. */
		if (n > OUTPUT_MAX_RECORD) {
			memmove(tail, tail + n - OUTPUT_MAX_RECORD, OUTPUT_MAX_RECORD);
			n = OUTPUT_MAX_RECORD;
		}
		memcpy(tail + n, data, record.length);
		n += record.length;
	}
	const uint8_t *start = last_lines(tail, n);
	size_t length = (size_t)(tail + n - start);
	/* A string for C and for the registry ends at a NUL; the session may well print some. */
	for (uint8_t *c = tail; c < tail + n; c++)
		*c = *c == '\0' ? ' ' : *c;
	char *text = length > 0 ? malloc(3 * length + 1) : NULL;
	if (text)
		utf8_scrub(start, length, text);
	return text;
}
