/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tree, or one file, into a tar. Names are relative to the path that was asked for, whose own entry is "./", so that
 * what is unpacked elsewhere becomes a copy of it. Sockets and devices are left out and counted.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/sysmacros.h>

#include "sandbox/file_child.h"

enum {
	SMALL_FILE = 64 * 1024, /* goes into the buffer, behind its header */
	END_BYTES = 2 * TAR_BLOCK,
	RECORD_BYTES = 20 * TAR_BLOCK, /* what tapes had, and tar(1) still expects */
};

/* ---- out ---- */

static int flush(struct file_child *child)
{
	size_t n = child->n_buffered;

	child->n_buffered = 0;
	child->done->n_bytes += n;
	return stream_write(child, child->buffer, n);
}

/* Room for N bytes in the buffer, at its end. */
static int make_room(struct file_child *child, size_t n)
{
	return child->n_buffered + n > sizeof(child->buffer) ? flush(child) : 0;
}

static int put(struct file_child *child, const void *bytes, size_t n)
{
	int r = make_room(child, n);

	if (r < 0)
		return r;
	memcpy(child->buffer + child->n_buffered, bytes, n);
	child->n_buffered += n;
	return 0;
}

static int put_header(struct file_child *child, bool is_sparse, uint64_t stored)
{
	int r = make_room(child, TAR_HEADER_BYTES);

	if (r == 0)
		child->n_buffered += tar_header(&child->entry, is_sparse, stored, child->buffer + child->n_buffered);
	return r;
}

static int put_zeros(struct file_child *child, size_t n)
{
	int r = make_room(child, n);

	if (r < 0)
		return r;
	memset(child->buffer + child->n_buffered, 0, n);
	child->n_buffered += n;
	return 0;
}

static int put_padding(struct file_child *child, uint64_t stored)
{
	return put_zeros(child, (size_t)(-stored & (TAR_BLOCK - 1)));
}

/* What is missing of the last record behind N bytes. */
static size_t record_rest(uint64_t n)
{
	return (size_t)((RECORD_BYTES - n % RECORD_BYTES) % RECORD_BYTES);
}

/* ---- contents ---- */

static int fail_shorter(struct file_child *child)
{
	return file_fail(child, -EIO, "archive", "%s became shorter meanwhile", child->entry.path);
}

/* N bytes of FILE from where it is. */
static int put_data(struct file_child *child, int file, uint64_t n)
{
	if (n > SMALL_FILE) {
		int r = flush(child);
		if (r < 0)
			return r;
		int64_t sent = stream_send_file(child, file, n);
		if (sent < 0)
			return (int)sent;
		child->done->n_bytes += (uint64_t)sent;
		return (uint64_t)sent < n ? fail_shorter(child) : 0;
	}
	int r = make_room(child, (size_t)n);
	while (r == 0 && n > 0) {
		ssize_t got = RETRY_EINTR(read(file, child->buffer + child->n_buffered, (size_t)n));
		if (got < 0)
			return file_fail(child, -errno, "archive", "%s", child->entry.path);
		if (got == 0)
			return fail_shorter(child);
		child->n_buffered += (size_t)got;
		n -= (uint64_t)got;
	}
	return r;
}

/* The pieces of data of a file, in the arena, if it has holes that are worth it; *RET NULL when it has not. */
static size_t find_extents(struct file_child *child, int file, const struct stat *st, struct tar_extent **ret)
{
	off_t size = st->st_size, at = 0;
	size_t n = 0;

	*ret = NULL;
	if (st->st_blocks >= size / 512)
		return 0;
	struct tar_extent *extents = arena_take(&child->names, TAR_MAX_EXTENTS * sizeof(*extents));
	while (extents && at < size) {
		off_t data = lseek(file, at, SEEK_DATA);
		if (data < 0 && errno != ENXIO)
			return 0;
		if (data < 0 || data >= size)
			break;
		off_t hole = lseek(file, data, SEEK_HOLE);
		if (hole <= data || n == TAR_MAX_EXTENTS)
			return 0;
		at = hole < size ? hole : size;
		extents[n++] = (struct tar_extent){ (uint64_t)data, (uint64_t)(at - data) };
	}
	if (n == 1 && extents[0].length == (uint64_t)size)
		return 0;
	*ret = extents;
	return n;
}

static int put_sparse(struct file_child *child, int file, const struct tar_extent *extents, size_t n)
{
	size_t map_bytes = tar_map(extents, n, child->entry.size, NULL);
	uint64_t stored = map_bytes;
	char *map = arena_take(&child->names, map_bytes);

	if (!map)
		return file_fail(child, -ENOMEM, "archive", "%s", child->entry.path);
	tar_map(extents, n, child->entry.size, map);
	for (size_t i = 0; i < n; i++)
		stored += extents[i].length;
	int r = put_header(child, true, stored);
	for (size_t at = 0, part; r == 0 && at < map_bytes; at += part) {
		part = map_bytes - at < SMALL_FILE ? map_bytes - at : SMALL_FILE;
		r = put(child, map + at, part);
	}
	for (size_t i = 0; r == 0 && i < n; i++) {
		if (lseek(file, (off_t)extents[i].offset, SEEK_SET) < 0)
			return file_fail(child, -errno, "archive", "%s", child->entry.path);
		r = put_data(child, file, extents[i].length);
	}
	return r < 0 ? r : put_padding(child, stored);
}

static int put_file(struct file_child *child, int file, const struct stat *st)
{
	struct tar_extent *extents;
	size_t mark = child->names.used, n = find_extents(child, file, st, &extents);
	int r;

	child->entry.type = TAR_FILE;
	child->entry.size = (uint64_t)st->st_size;
	if (extents) {
		r = put_sparse(child, file, extents, n);
	} else if (lseek(file, 0, SEEK_SET) < 0) {
		r = file_fail(child, -errno, "archive", "%s", child->entry.path);
	} else {
		r = put_header(child, false, child->entry.size);
		if (r == 0)
			r = put_data(child, file, child->entry.size);
		if (r == 0)
			r = put_padding(child, child->entry.size);
	}
	child->names.used = mark;
	return r;
}

/* ---- entries ---- */

/* The path under which this file already is in the archive, or NULL; it is remembered. */
static const char *find_link(struct file_child *child, const struct stat *st)
{
	struct link_name **bucket = &child->links[(st->st_ino ^ st->st_dev) % ARRAY_SIZE(child->links)];
	size_t n = strlen(child->entry.path) + 1;

	for (struct link_name *link = *bucket; link; link = link->next)
		if (link->dev == st->st_dev && link->ino == st->st_ino)
			return link->path;
	struct link_name *link = arena_take(&child->kept, sizeof(*link) + n);
	/* Too many of them: this one becomes a file of its own if it comes again. */
	if (!link)
		return NULL;
	*link = (struct link_name){ .next = *bucket, .dev = st->st_dev, .ino = st->st_ino };
	memcpy(link->path, child->entry.path, n);
	*bucket = link;
	return NULL;
}

static void describe(struct file_child *child, const struct stat *st)
{
	struct tar_entry *entry = &child->entry;

	entry->mode = st->st_mode & 07777;
	entry->uid = st->st_uid;
	entry->gid = st->st_gid;
	entry->size = 0;
	entry->mtime = st->st_mtim.tv_sec;
	entry->mtime_ns = (uint32_t)st->st_mtim.tv_nsec;
	entry->target[0] = '\0';
}

static int skip(struct file_child *child)
{
	struct files_done *done = child->done;

	if (done->n_skipped++ == 0)
		snprintf(done->text, sizeof(done->text), "%s", child->entry.path);
	return 0;
}

static int put_link(struct file_child *child, const struct walk_entry *at)
{
	struct tar_entry *entry = &child->entry;
	ssize_t n = readlinkat(at->dir, at->name, entry->target, sizeof(entry->target) - 1);

	if (n < 0)
		return file_fail(child, -errno, "archive", "%s", entry->path);
	entry->target[n] = '\0';
	entry->type = TAR_SYMLINK;
	return put_header(child, false, 0);
}

static int put_opened(struct file_child *child, const struct walk_entry *at)
{
	struct stat st;

	_close_ int file = path_file_at(at->dir, at->name, &st);
	if (file == -ENOENT)
		return 0;
	if (file < 0)
		return file_fail(child, file, "archive", "%s", child->entry.path);
	describe(child, &st);
	const char *link = st.st_nlink > 1 ? find_link(child, &st) : NULL;
	child->done->n_entries++;
	if (!link)
		return put_file(child, file, &st);
	snprintf(child->entry.target, sizeof(child->entry.target), "%s", link);
	child->entry.type = TAR_HARD_LINK;
	return put_header(child, false, 0);
}

static int put_directory(struct file_child *child)
{
	size_t n = strlen(child->entry.path);

	if (n + 1 >= sizeof(child->entry.path))
		return file_fail(child, -ENAMETOOLONG, "archive", "%s", child->entry.path);
	memcpy(child->entry.path + n, "/", 2);
	child->entry.type = TAR_DIRECTORY;
	child->done->n_entries++;
	return put_header(child, false, 0);
}

static int go_below(struct file_child *child)
{
	int r = walk_enter(&child->walk);

	return r < 0 && r != -ENOENT ? file_fail_walk(child, r, "archive") : 0;
}

/* What the walk has come to. */
static int put_entry(struct file_child *child, const struct walk_entry *at)
{
	struct stat st;

	enum ignore_verdict verdict = child->has_ignore ? ignore_look(&child->ignore, child->walk.path) : IGNORE_NOT;
	if (verdict == IGNORE_IT)
		return 0;
	snprintf(child->entry.path, sizeof(child->entry.path), "%s", child->walk.path);
	if (fstatat(at->dir, at->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : file_fail(child, -errno, "archive", "%s", child->entry.path);
	describe(child, &st);
	if (verdict == IGNORE_BUT_BELOW)
		return S_ISDIR(st.st_mode) ? go_below(child) : 0;
	switch (st.st_mode & S_IFMT) {
	case S_IFREG:
		return put_opened(child, at);
	case S_IFLNK:
		child->done->n_entries++;
		return put_link(child, at);
	case S_IFIFO:
		child->done->n_entries++;
		child->entry.type = TAR_FIFO;
		return put_header(child, false, 0);
	case S_IFDIR: {
		int r = put_directory(child);
		return r < 0 ? r : go_below(child);
	}
	}
	return skip(child);
}

static int put_tree(struct file_child *child)
{
	struct walk_entry at;
	struct stat st;

	if (fstat(child->file, &st) < 0)
		return file_fail(child, -errno, "archive", "%s", "");
	memcpy(child->entry.path, ".", 2);
	describe(child, &st);
	int r = put_directory(child);
	if (r < 0)
		return r;
	r = walk_open(&child->walk, &child->names, steal_fd(&child->file), false);
	if (r < 0)
		return file_fail_walk(child, r, "archive");
	while ((r = walk_next(&child->walk, &at)) > 0) {
		r = r == WALK_ENTRY ? put_entry(child, &at) : 0;
		if (r < 0)
			break;
	}
	if (r < 0 && child->err.num == 0)
		file_fail_walk(child, r, "archive");
	walk_close(&child->walk);
	return r;
}

static int put_one(struct file_child *child)
{
	struct stat st;

	if (fstat(child->file, &st) < 0)
		return file_fail(child, -errno, "archive", "%s", child->name);
	snprintf(child->entry.path, sizeof(child->entry.path), "%s", child->name);
	describe(child, &st);
	child->done->n_entries++;
	return put_file(child, child->file, &st);
}

static int fail_ignore(struct file_child *child, int num, unsigned int line)
{
	if (line > 0)
		return file_fail(child, num, "archive", IGNORE_FILE ": line %u is no pattern", line);
	return file_fail(child, num, "archive", IGNORE_FILE);
}

int archive_ignore(struct file_child *child, const struct files_request *request)
{
	char path[FILES_PATH_SIZE], *text = (char *)child->buffer;
	unsigned int line = 0;
	struct stat st;
	size_t used = 0;

	_Static_assert(sizeof(child->buffer) > IGNORE_MAX_BYTES, "one byte more than there may be is read");
	if ((size_t)snprintf(path, sizeof(path), "%s/" IGNORE_FILE, request->path) >= sizeof(path))
		return fail_ignore(child, -ENAMETOOLONG, 0);
	_close_ int file = path_file(child, path, &st);
	if (file == -ENOENT) {
		child->err = (struct err){ 0 };
		return 0;
	}
	if (file < 0)
		return fail_ignore(child, file, 0);
	for (ssize_t n; (n = RETRY_EINTR(read(file, text + used, IGNORE_MAX_BYTES + 1 - used))) != 0;
		used += (size_t)n)
		if (n < 0)
			return fail_ignore(child, -errno, 0);
	if (used > IGNORE_MAX_BYTES)
		return fail_ignore(child, -E2BIG, 0);
	int r = ignore_parse(&child->ignore, text, used, &line);
	if (r < 0)
		return fail_ignore(child, r, line);
	ignore_set_dockerfile(&child->ignore, request->other);
	child->has_ignore = true;
	return 0;
}

int archive_get(struct file_child *child)
{
	memset(child->links, 0, sizeof(child->links));
	child->n_buffered = 0;
	int r = child->name[0] ? put_one(child) : put_tree(child);
	if (r == 0)
		r = put_zeros(child, END_BYTES);
	if (r == 0)
		r = put_zeros(child, record_rest(child->done->n_bytes + child->n_buffered));
	return r < 0 ? r : flush(child);
}
