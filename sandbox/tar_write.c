/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "sandbox/tar_format.h"

/* The largest numbers that octal digits and a NUL have room for in fields of 8 and 12 bytes. */
#define MAX_OCTAL_7 UINT64_C(07777777)
#define MAX_OCTAL_11 UINT64_C(077777777777)

/* Records of an extended header as they are collected; there is room for all that one entry can need. */
struct records {
	char text[TAR_HEADER_BYTES - 2 * TAR_BLOCK];
	size_t n;
};

/* "LENGTH NAME=VALUE\n", where LENGTH counts its own digits, too. */
static void add(struct records *records, const char *name, const char *value)
{
	size_t rest = strlen(name) + strlen(value) + 3, length = rest + 1;

	for (size_t ten = 10, digits = 1; length >= ten; ten *= 10, digits++)
		length = rest + digits + 1;
	int n = snprintf(
		records->text + records->n, sizeof(records->text) - records->n, "%zu %s=%s\n", length, name, value);
	records->n += (size_t)n;
}

static void add_number(struct records *records, const char *name, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	add(records, name, text);
}

/* Seconds before 1970 with a fraction count backwards: -1.5 is 500 ms after second -2. */
static void add_time(struct records *records, int64_t seconds, uint32_t ns)
{
	bool back = seconds < 0 && ns > 0;
	uint64_t whole = seconds < 0 ? 0 - (uint64_t)(seconds + back) : (uint64_t)seconds;
	char text[40];

	snprintf(text, sizeof(text), "%s%llu.%09u", seconds < 0 ? "-" : "", (unsigned long long)whole,
		back ? 1000000000 - ns : ns);
	add(records, "mtime", text);
}

/* Puts VALUE into a field of SIZE bytes if it fits there, else into a record. */
static void put_number(char *field, size_t size, uint64_t value, struct records *records, const char *name)
{
	uint64_t max = size == 8 ? MAX_OCTAL_7 : MAX_OCTAL_11;

	if (value > max) {
		add_number(records, name, value);
		value = 0;
	}
	for (size_t i = size - 1; i-- > 0; value >>= 3)
		field[i] = (char)('0' + (value & 7));
}

/* A field of text needs no NUL. What is cut here is whole in a record. */
static void put_text(char *field, size_t size, const char *text)
{
	size_t n = strlen(text);

	memcpy(field, text, n < size ? n : size);
}

/* The path in name and, if need be, prefix. False when it does not fit. */
static bool put_path(struct tar_block *block, const char *path)
{
	size_t n = strlen(path);

	if (n <= sizeof(block->name)) {
		memcpy(block->name, path, n);
		return true;
	}
	/* The leftmost slash that leaves no more than the name can hold, and neither part empty. */
	for (size_t i = n - sizeof(block->name) - 1; i < n - 1 && i <= sizeof(block->prefix); i++)
		if (i > 0 && path[i] == '/') {
			memcpy(block->prefix, path, i);
			memcpy(block->name, path + i + 1, n - i - 1);
			return true;
		}
	memcpy(block->name, path, sizeof(block->name));
	return false;
}

static void finish(struct tar_block *block)
{
	char sum[8];

	memcpy(block->magic, TAR_USTAR_MAGIC, sizeof(block->magic) + sizeof(block->version));
	/* Six digits, a NUL, a blank. */
	snprintf(sum, sizeof(sum), "%06o", tar_checksum(block));
	memcpy(block->checksum, sum, sizeof(sum) - 1);
	block->checksum[7] = ' ';
}

static void put_names(struct tar_block *block, const struct tar_entry *entry, bool is_sparse, struct records *records)
{
	/* Who does not know of holes gets a file of another name, which is no worse than a file without them. */
	char other[sizeof(block->name)];

	if (is_sparse) {
		const char *slash = strrchr(entry->path, '/');
		snprintf(other, sizeof(other), "GNUSparseFile.0/%.80s", slash ? slash + 1 : entry->path);
		memcpy(block->name, other, strlen(other));
	} else if (!put_path(block, entry->path)) {
		add(records, "path", entry->path);
	}
	put_text(block->target, sizeof(block->target), entry->target);
	if (strlen(entry->target) > sizeof(block->target))
		add(records, "linkpath", entry->target);
}

size_t tar_header(const struct tar_entry *entry, bool is_sparse, uint64_t stored, uint8_t *out)
{
	static const char types[] = {
		[TAR_FILE] = '0', [TAR_HARD_LINK] = '1', [TAR_SYMLINK] = '2', [TAR_DIRECTORY] = '5', [TAR_FIFO] = '6'
	};
	struct tar_block block = { .type = types[entry->type] }, extended = { .type = 'x' };
	struct records records = { .n = 0 };
	bool plain_time = entry->mtime >= 0 && (uint64_t)entry->mtime <= MAX_OCTAL_11;

	put_names(&block, entry, is_sparse, &records);
	put_number(block.mode, sizeof(block.mode), entry->mode & 07777, &records, "");
	put_number(block.uid, sizeof(block.uid), entry->uid, &records, "uid");
	put_number(block.gid, sizeof(block.gid), entry->gid, &records, "gid");
	put_number(block.size, sizeof(block.size), is_sparse ? stored : entry->size, &records, "size");
	put_number(block.mtime, sizeof(block.mtime), plain_time ? (uint64_t)entry->mtime : 0, &records, "");
	if (!plain_time || entry->mtime_ns > 0)
		add_time(&records, entry->mtime, entry->mtime_ns);
	if (is_sparse) {
		add(&records, "GNU.sparse.major", "1");
		add(&records, "GNU.sparse.minor", "0");
		add(&records, "GNU.sparse.name", entry->path);
		add_number(&records, "GNU.sparse.realsize", entry->size);
	}
	finish(&block);
	uint8_t *end = out;
	if (records.n > 0) {
		size_t padded = (size_t)tar_padded(records.n);
		put_text(extended.name, sizeof(extended.name), "PaxHeaders.0/x");
		put_number(extended.mode, sizeof(extended.mode), 0644, &records, "");
		put_number(extended.size, sizeof(extended.size), records.n, &records, "");
		put_number(extended.uid, sizeof(extended.uid), 0, &records, "");
		put_number(extended.gid, sizeof(extended.gid), 0, &records, "");
		put_number(extended.mtime, sizeof(extended.mtime), 0, &records, "");
		finish(&extended);
		memcpy(end, &extended, TAR_BLOCK);
		memset(end + TAR_BLOCK, 0, padded);
		memcpy(end + TAR_BLOCK, records.text, records.n);
		end += TAR_BLOCK + padded;
	}
	memcpy(end, &block, TAR_BLOCK);
	return (size_t)(end - out) + TAR_BLOCK;
}

/* Appends a number and a newline where there is room for it; its length. */
static size_t put_line(uint64_t value, char *out)
{
	char text[24];
	size_t n = (size_t)snprintf(text, sizeof(text), "%llu\n", (unsigned long long)value);

	if (out)
		memcpy(out, text, n);
	return n;
}

size_t tar_map(const struct tar_extent *extents, size_t n, uint64_t size, char *out)
{
	/* A hole at the end is shown by an extent of nothing behind it. */
	bool ends_in_hole = n == 0 || extents[n - 1].offset + extents[n - 1].length < size;
	size_t at = put_line(n + ends_in_hole, out);

	for (size_t i = 0; i < n; i++) {
		at += put_line(extents[i].offset, out ? out + at : NULL);
		at += put_line(extents[i].length, out ? out + at : NULL);
	}
	if (ends_in_hole) {
		at += put_line(size, out ? out + at : NULL);
		at += put_line(0, out ? out + at : NULL);
	}
	size_t padded = (size_t)tar_padded(at);
	if (out)
		memset(out + at, 0, padded - at);
	return padded;
}
