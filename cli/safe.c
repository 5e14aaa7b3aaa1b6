/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/safe.h"

#include "cli/transfer.h"
#include "wire/def.h"

/* Bytes at the end of TEXT that begin a character of UTF-8 and do not complete it. */
static size_t incomplete(const char *text, size_t n)
{
	for (size_t back = 1; back <= SAFE_TAIL && back <= n; back++) {
		unsigned char c = (unsigned char)text[n - back];
		if ((c & 0xc0) == 0x80)
			continue;
		size_t wanted = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 1;
		return wanted > back ? back : 0;
	}
	return 0;
}

/* N bytes without a newline, a tab or a NUL among them. */
static int write_spelled(int fd, const char *text, size_t n)
{
	static const struct term term = { .tty = true, .utf8 = true };
	_free_ char *part = strndup(text, n), *safe = part ? term_text(&term, part) : NULL;

	return safe ? write_all(fd, safe, strlen(safe)) : -ENOMEM;
}

static int write_filtered(int fd, const char *text, size_t n)
{
	const char *end = text + n;
	int r = 0;

	while (r == 0 && text < end) {
		const char *stop = text;
		while (stop < end && *stop && *stop != '\n' && *stop != '\t')
			stop++;
		if (stop > text)
			r = write_spelled(fd, text, (size_t)(stop - text));
		if (r == 0 && stop < end)
			r = *stop ? write_all(fd, stop, 1) : write_all(fd, "\\x00", 4);
		text = stop + 1;
	}
	return r;
}

int safe_write(struct safe_writer *writer, const char *bytes, size_t n)
{
	char first[SAFE_TAIL + 1];
	size_t n_first = writer->n_tail;

	if (!writer->filter)
		return write_all(writer->fd, bytes, n);
	/* The character at the border of two pieces is completed byte by byte. */
	memcpy(first, writer->tail, n_first);
	while (n_first > 0 && n > 0 && incomplete(first, n_first) == n_first) {
		first[n_first++] = *bytes++;
		n--;
	}
	writer->n_tail = n > 0 ? incomplete(bytes, n) : incomplete(first, n_first);
	int r = 0;
	if (n > 0) {
		memcpy(writer->tail, bytes + n - writer->n_tail, writer->n_tail);
		r = write_filtered(writer->fd, first, n_first);
		return r < 0 ? r : write_filtered(writer->fd, bytes, n - writer->n_tail);
	}
	memcpy(writer->tail, first + n_first - writer->n_tail, writer->n_tail);
	return write_filtered(writer->fd, first, n_first - writer->n_tail);
}

int safe_end(struct safe_writer *writer)
{
	size_t n = writer->n_tail;

	writer->n_tail = 0;
	return n > 0 ? write_filtered(writer->fd, writer->tail, n) : 0;
}
