/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/tar_format.h"

#define fail(reader, num, ...) err_set((reader)->err, num, "archive", __VA_ARGS__)

/* What extended headers and GNU's long names say about the entry that follows them. */
struct extended {
	bool has_path, has_target, has_size, has_uid, has_gid, has_mtime;
	bool is_sparse, has_real_size, has_sparse_name;
	uint64_t size, real_size, uid, gid, sparse_major, sparse_minor;
	int64_t mtime;
	uint32_t mtime_ns;
};

/* ---- bytes ---- */

/* Makes sure that N bytes, at most a buffer, are there. The end of the stream is an error here. */
static int need(struct tar_reader *reader, size_t n)
{
	if (reader->n - reader->at >= n)
		return 0;
	memmove(reader->buffer, reader->buffer + reader->at, reader->n - reader->at);
	reader->n -= reader->at;
	reader->at = 0;
	while (reader->n < n) {
		int got = reader->read(reader->arg, reader->buffer + reader->n, sizeof(reader->buffer) - reader->n);
		if (got < 0)
			return got;
		if (got == 0)
			return fail(reader, -EPIPE, "ends before its end");
		reader->n += (size_t)got;
		reader->n_read += (uint64_t)got;
	}
	return 0;
}

/* The next N bytes, which are consumed; they stay until the next call. */
static int take(struct tar_reader *reader, size_t n, const uint8_t **ret)
{
	int r = need(reader, n);

	if (r < 0)
		return r;
	*ret = reader->buffer + reader->at;
	reader->at += n;
	return 0;
}

static int skip(struct tar_reader *reader, uint64_t n)
{
	while (n > 0) {
		int r = need(reader, 1);
		if (r < 0)
			return r;
		size_t there = reader->n - reader->at, part = n < there ? (size_t)n : there;
		reader->at += part;
		n -= part;
	}
	return 0;
}

/* ---- extended headers ---- */

/* Copies a name of N bytes, which may end with a NUL and has no other. */
static int copy_name(struct tar_reader *reader, const char *bytes, size_t n, char to[static TAR_PATH_SIZE])
{
	while (n > 0 && bytes[n - 1] == '\0')
		n--;
	if (n >= TAR_PATH_SIZE)
		return fail(reader, -ENAMETOOLONG, "a name of %zu bytes", n);
	if (n > 0 && memchr(bytes, '\0', n))
		return fail(reader, -EBADMSG, "a name with a NUL");
	memcpy(to, bytes, n);
	to[n] = '\0';
	return 0;
}

static bool is_key(const char *key, size_t n, const char *name)
{
	return n == strlen(name) && memcmp(key, name, n) == 0;
}

/* clang-format off */
static const struct {
	const char *key;
	size_t value, has; /* of struct extended */
} number_keys[] = {
	{ "size",                offsetof(struct extended, size),         offsetof(struct extended, has_size) },
	{ "uid",                 offsetof(struct extended, uid),          offsetof(struct extended, has_uid) },
	{ "gid",                 offsetof(struct extended, gid),          offsetof(struct extended, has_gid) },
	{ "GNU.sparse.major",    offsetof(struct extended, sparse_major), offsetof(struct extended, is_sparse) },
	{ "GNU.sparse.minor",    offsetof(struct extended, sparse_minor), offsetof(struct extended, is_sparse) },
	{ "GNU.sparse.realsize", offsetof(struct extended, real_size),    offsetof(struct extended, has_real_size) },
};
/* clang-format on */

/* One record; names that mean nothing here are passed over. */
static int take_record(struct tar_reader *reader, const char *key, size_t key_n, const char *value, size_t n,
	struct extended *x, struct tar_entry *entry)
{
	if (is_key(key, key_n, "path") && !x->has_sparse_name) {
		x->has_path = n > 0;
		return copy_name(reader, value, n, entry->path);
	}
	if (is_key(key, key_n, "GNU.sparse.name")) {
		x->has_path = x->has_sparse_name = n > 0;
		return copy_name(reader, value, n, entry->path);
	}
	if (is_key(key, key_n, "linkpath")) {
		x->has_target = n > 0;
		return copy_name(reader, value, n, entry->target);
	}
	if (is_key(key, key_n, "mtime")) {
		x->has_mtime = true;
		return tar_parse_time(value, n, &x->mtime, &x->mtime_ns) < 0 ? fail(reader, -EBADMSG, "mtime") : 0;
	}
	if (is_key(key, key_n, "GNU.sparse.map") || is_key(key, key_n, "GNU.sparse.offset"))
		return fail(reader, -EOPNOTSUPP, "sparse files of pax format 0");
	for (size_t i = 0; i < ARRAY_SIZE(number_keys); i++) {
		if (!is_key(key, key_n, number_keys[i].key))
			continue;
		*(bool *)((char *)x + number_keys[i].has) = true;
		if (tar_parse_decimal(value, n, (uint64_t *)(void *)((char *)x + number_keys[i].value)) < 0)
			return fail(reader, -EBADMSG, "%s", number_keys[i].key);
	}
	return 0;
}

/* The length at the front of a record, and how many bytes it takes there with the blank behind it. */
static int record_length(struct tar_reader *reader, uint64_t left, size_t *ret_digits, uint64_t *ret)
{
	enum { MAX_DIGITS = 8 };
	size_t there = left < MAX_DIGITS + 1 ? (size_t)left : MAX_DIGITS + 1;

	int r = need(reader, there);
	if (r < 0)
		return r;
	const char *text = (const char *)reader->buffer + reader->at, *blank = memchr(text, ' ', there);
	if (!blank || tar_parse_decimal(text, (size_t)(blank - text), ret) < 0)
		return fail(reader, -EBADMSG, "extended header");
	*ret_digits = (size_t)(blank - text) + 1;
	/* Something, '=', newline. */
	return *ret > left || *ret < *ret_digits + 3 ? fail(reader, -EBADMSG, "extended header") : 0;
}

static int read_records(struct tar_reader *reader, uint64_t size, struct extended *x, struct tar_entry *entry)
{
	uint64_t left = size;

	while (left > 0) {
		const uint8_t *bytes;
		uint64_t length = 0;
		size_t digits = 0;

		int r = record_length(reader, left, &digits, &length);
		if (r < 0)
			return r;
		left -= length;
		/* What is so long is nothing that is wanted, or an error: an extended attribute may be 64 KiB. */
		if (length > TAR_BUFFER_BYTES / 2) {
			r = skip(reader, length);
			if (r < 0)
				return r;
			continue;
		}
		r = take(reader, (size_t)length, &bytes);
		if (r < 0)
			return r;
		const char *key = (const char *)bytes + digits;
		const char *end = (const char *)bytes + length - 1, *equals = memchr(key, '=', (size_t)(end - key));
		if (*end != '\n' || !equals)
			return fail(reader, -EBADMSG, "extended header");
		r = take_record(
			reader, key, (size_t)(equals - key), equals + 1, (size_t)(end - equals - 1), x, entry);
		if (r < 0)
			return r;
	}
	return skip(reader, tar_padded(size) - size);
}

static int read_long_name(struct tar_reader *reader, uint64_t size, char to[static TAR_PATH_SIZE])
{
	const uint8_t *bytes;

	if (size > TAR_PATH_SIZE)
		return fail(reader, -ENAMETOOLONG, "a name of %llu bytes", (unsigned long long)size);
	int r = take(reader, (size_t)tar_padded(size), &bytes);
	return r < 0 ? r : copy_name(reader, (const char *)bytes, (size_t)size, to);
}

/* ---- holes ---- */

/* One more piece of data: in order, inside the file and not of more bytes than the archive has. */
static int add_extent(struct tar_reader *reader, uint64_t offset, uint64_t length, uint64_t size)
{
	uint64_t end = 0;

	if (length == 0)
		return 0;
	if (reader->n_extents == TAR_MAX_EXTENTS)
		return fail(reader, -E2BIG, "a file of more than %d pieces", TAR_MAX_EXTENTS);
	if (reader->n_extents > 0)
		end = reader->extents[reader->n_extents - 1].offset + reader->extents[reader->n_extents - 1].length;
	if (offset < end || offset > size || length > size - offset)
		return fail(reader, -EBADMSG, "holes");
	reader->extents[reader->n_extents++] = (struct tar_extent){ offset, length };
	return 0;
}

/* The extents of an old sparse file in N fields; *RET_MORE whether there was one in each. */
static int add_fields(struct tar_reader *reader, const char (*fields)[24], size_t n, uint64_t size)
{
	for (size_t i = 0; i < n && fields[i][0] != '\0'; i++) {
		int64_t offset, length;
		if (tar_parse_field(fields[i], 12, &offset) < 0 || tar_parse_field(fields[i] + 12, 12, &length) < 0 ||
			offset < 0 || length < 0)
			return fail(reader, -EBADMSG, "holes");
		int r = add_extent(reader, (uint64_t)offset, (uint64_t)length, size);
		if (r < 0)
			return r;
	}
	return 0;
}

static int read_old_map(struct tar_reader *reader, const struct tar_block *block, struct tar_entry *entry)
{
	int64_t size;

	if (tar_parse_field(block->gnu.real_size, sizeof(block->gnu.real_size), &size) < 0 || size < 0)
		return fail(reader, -EBADMSG, "size");
	entry->size = (uint64_t)size;
	int r = add_fields(reader, block->gnu.extents, ARRAY_SIZE(block->gnu.extents), entry->size);
	bool more = block->gnu.more != 0;
	while (r == 0 && more) {
		const uint8_t *bytes;
		r = take(reader, TAR_BLOCK, &bytes);
		if (r < 0)
			return r;
		const struct tar_more_extents *next = (const void *)bytes;
		more = next->more != 0;
		r = add_fields(reader, next->extents, ARRAY_SIZE(next->extents), entry->size);
	}
	return r;
}

/* A number and a newline out of the data. */
static int read_line(struct tar_reader *reader, uint64_t *ret)
{
	size_t n = reader->left < 20 ? (size_t)reader->left : 20;

	int r = need(reader, n);
	if (r < 0)
		return r;
	const char *text = (const char *)reader->buffer + reader->at, *newline = n > 0 ? memchr(text, '\n', n) : NULL;
	if (!newline || tar_parse_decimal(text, (size_t)(newline - text), ret) < 0)
		return fail(reader, -EBADMSG, "holes");
	reader->at += (size_t)(newline - text) + 1;
	reader->left -= (size_t)(newline - text) + 1;
	return 0;
}

/* The map in front of the data, as the format 1.0 has it. */
static int read_map(struct tar_reader *reader, struct tar_entry *entry)
{
	uint64_t before = reader->left, n, offset, length;

	int r = read_line(reader, &n);
	for (uint64_t i = 0; r == 0 && i < n; i++) {
		r = read_line(reader, &offset);
		if (r == 0)
			r = read_line(reader, &length);
		if (r == 0)
			r = add_extent(reader, offset, length, entry->size);
	}
	if (r < 0)
		return r;
	uint64_t used = before - reader->left, padding = tar_padded(used) - used;
	if (padding > reader->left)
		return fail(reader, -EBADMSG, "holes");
	reader->left -= padding;
	return skip(reader, padding);
}

/* ---- entries ---- */

void tar_read_open(
	struct tar_reader *reader, int (*read)(void *arg, void *bytes, size_t n), void *arg, struct err *err)
{
	reader->read = read;
	reader->arg = arg;
	reader->err = err;
	reader->at = reader->n = reader->n_extents = reader->extent = 0;
	reader->left = reader->n_read = reader->in_extent = 0;
}

static bool is_zero(const struct tar_block *block)
{
	const char *bytes = (const char *)block;

	for (size_t i = 0; i < TAR_BLOCK; i++)
		if (bytes[i])
			return false;
	return true;
}

/* Older programs took the bytes as signed. */
static bool checksum_fits(const struct tar_block *block)
{
	uint32_t sum = tar_checksum(block), high = 0;
	int64_t said;

	for (size_t i = 0; i < TAR_BLOCK; i++)
		high += (uint8_t)((const char *)block)[i] >= 0x80;
	for (size_t i = 0; i < sizeof(block->checksum); i++)
		high -= (uint8_t)block->checksum[i] >= 0x80;
	return tar_parse_field(block->checksum, sizeof(block->checksum), &said) == 0 &&
	       (said == (int64_t)sum || said == (int64_t)sum - 256 * (int64_t)high);
}

static void copy_block_path(const struct tar_block *block, char to[static TAR_PATH_SIZE])
{
	size_t n = 0;

	if (memcmp(block->magic, TAR_USTAR_MAGIC, sizeof(block->magic)) == 0 && block->prefix[0]) {
		n = strnlen(block->prefix, sizeof(block->prefix));
		memcpy(to, block->prefix, n);
		to[n++] = '/';
	}
	size_t name = strnlen(block->name, sizeof(block->name));
	memcpy(to + n, block->name, name);
	to[n + name] = '\0';
}

static int parse_type(struct tar_reader *reader, const struct tar_block *block, struct tar_entry *entry)
{
	size_t n = strlen(entry->path);

	switch (block->type) {
	case '0':
	case '\0':
	case '7':
		/* The oldest format had no other way to say directory. */
		entry->type = n > 0 && entry->path[n - 1] == '/' ? TAR_DIRECTORY : TAR_FILE;
		return 0;
	case 'S':
		entry->type = TAR_FILE;
		return 0;
	case '1':
		entry->type = TAR_HARD_LINK;
		return 0;
	case '2':
		entry->type = TAR_SYMLINK;
		return 0;
	case '3':
	case '4':
		entry->type = TAR_DEVICE;
		return 0;
	case '5':
	case 'D':
		entry->type = TAR_DIRECTORY;
		return 0;
	case '6':
		entry->type = TAR_FIFO;
		return 0;
	}
	return fail(reader, -EOPNOTSUPP, "an entry of type 0x%02x", (uint8_t)block->type);
}

/* Which entries are followed by data. Some programs give a hard link the size of its file, but no data. */
static bool has_data(char type)
{
	return type == '0' || type == '\0' || type == '7' || type == 'S' || type == 'D';
}

static int parse_numbers(
	struct tar_reader *reader, const struct tar_block *block, const struct extended *x, struct tar_entry *entry)
{
	int64_t mode, uid, gid, mtime;

	if (tar_parse_field(block->mode, sizeof(block->mode), &mode) < 0 ||
		tar_parse_field(block->uid, sizeof(block->uid), &uid) < 0 ||
		tar_parse_field(block->gid, sizeof(block->gid), &gid) < 0 ||
		tar_parse_field(block->mtime, sizeof(block->mtime), &mtime) < 0)
		return fail(reader, -EBADMSG, "header of %s", entry->path);
	uid = x->has_uid ? (int64_t)x->uid : uid;
	gid = x->has_gid ? (int64_t)x->gid : gid;
	/* (uid_t)-1 means "leave it" to chown(2). */
	if (uid < 0 || gid < 0 || uid >= UINT32_MAX || gid >= UINT32_MAX)
		return fail(reader, -EBADMSG, "owner of %s", entry->path);
	entry->mode = (uint32_t)mode & 07777;
	entry->uid = (uint32_t)uid;
	entry->gid = (uint32_t)gid;
	entry->mtime = x->has_mtime ? x->mtime : mtime;
	entry->mtime_ns = x->has_mtime ? x->mtime_ns : 0;
	return 0;
}

/* The pieces of the file: where its holes are, if it has any. */
static int read_extents(
	struct tar_reader *reader, const struct tar_block *block, const struct extended *x, struct tar_entry *entry)
{
	if (block->type == 'S')
		return read_old_map(reader, block, entry);
	if (entry->type != TAR_FILE || !x->is_sparse)
		return add_extent(reader, 0, entry->size, entry->size);
	if (x->sparse_major != 1 || x->sparse_minor != 0 || !x->has_real_size)
		return fail(reader, -EOPNOTSUPP, "sparse files of pax format %u.%u", (unsigned)x->sparse_major,
			(unsigned)x->sparse_minor);
	entry->size = x->real_size;
	return read_map(reader, entry);
}

/* What a header that is no prelude to another one says: 1, or a negative errno. */
static int parse_entry(struct tar_reader *reader, const struct tar_block *block, uint64_t size, struct extended *x,
	struct tar_entry *entry)
{
	uint64_t stored = !has_data(block->type) ? 0 : x->has_size ? x->size : size, data = 0;

	if (!x->has_path)
		copy_block_path(block, entry->path);
	if (!x->has_target) {
		memcpy(entry->target, block->target, sizeof(block->target));
		entry->target[sizeof(block->target)] = '\0';
	}
	int r = parse_type(reader, block, entry);
	if (r == 0)
		r = parse_numbers(reader, block, x, entry);
	if (r < 0)
		return r;
	reader->left = stored;
	entry->size = entry->type == TAR_FILE ? stored : 0;
	r = read_extents(reader, block, x, entry);
	if (r < 0)
		return r;
	for (size_t i = 0; i < reader->n_extents; i++)
		data += reader->extents[i].length; /* they lie in the file one behind the other: no overflow */
	if (data > reader->left)
		return fail(reader, -EBADMSG, "holes");
	/* A map is whole blocks, so that the padding is that of the data, too. */
	reader->left += tar_padded(stored) - stored;
	return 1;
}

static int pass_over(struct tar_reader *reader)
{
	uint64_t left = reader->left;

	reader->left = 0;
	return skip(reader, left);
}

/* Takes in a header that only prepares the next one: 1. 0 when BLOCK is none of these. */
static int read_prelude(struct tar_reader *reader, const struct tar_block *block, uint64_t size, struct extended *x,
	struct tar_entry *entry)
{
	int r;

	switch (block->type) {
	case 'x':
		if (size > TAR_MAX_EXTENDED)
			return fail(reader, -E2BIG, "an extended header of more than %d bytes", TAR_MAX_EXTENDED);
		r = read_records(reader, size, x, entry);
		break;
	case 'L':
		r = read_long_name(reader, size, entry->path);
		x->has_path = true;
		break;
	case 'K':
		r = read_long_name(reader, size, entry->target);
		x->has_target = true;
		break;
	case 'g': /* what holds for all that follows: a comment of git's, as a rule */
	case 'V': /* a label */
		r = skip(reader, tar_padded(size));
		break;
	default:
		return 0;
	}
	return r < 0 ? r : 1;
}

int tar_next(struct tar_reader *reader, struct tar_entry *ret)
{
	struct extended x = { 0 };
	struct tar_block block;
	const uint8_t *bytes;
	int64_t size;

	int r = pass_over(reader);
	if (r < 0)
		return r;
	reader->n_extents = reader->extent = 0;
	reader->in_extent = 0;
	do {
		r = take(reader, TAR_BLOCK, &bytes);
		if (r < 0)
			return r;
		memcpy(&block, bytes, sizeof(block));
		/* A second one follows; but one is as good an end. */
		if (is_zero(&block))
			return 0;
		if (!checksum_fits(&block) || tar_parse_field(block.size, sizeof(block.size), &size) < 0 || size < 0)
			return fail(reader, -EBADMSG, "no tar header at byte %llu",
				(unsigned long long)(reader->n_read - (reader->n - reader->at) - TAR_BLOCK));
		r = read_prelude(reader, &block, (uint64_t)size, &x, ret);
	} while (r == 1);
	return r < 0 ? r : parse_entry(reader, &block, (uint64_t)size, &x, ret);
}

int tar_data(struct tar_reader *reader, const uint8_t **ret_bytes, size_t *ret_n, uint64_t *ret_offset)
{
	if (reader->extent == reader->n_extents)
		return 0;
	const struct tar_extent *extent = &reader->extents[reader->extent];
	uint64_t wanted = extent->length - reader->in_extent;
	int r = need(reader, 1);
	if (r < 0)
		return r;
	size_t there = reader->n - reader->at, n = wanted < there ? (size_t)wanted : there;
	*ret_bytes = reader->buffer + reader->at;
	*ret_n = n;
	*ret_offset = extent->offset + reader->in_extent;
	reader->at += n;
	reader->left -= n;
	reader->in_extent += n;
	if (reader->in_extent == extent->length) {
		reader->extent++;
		reader->in_extent = 0;
	}
	return 1;
}
