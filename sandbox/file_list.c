/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>

#include "sandbox/file_child.h"

/* The page of a list as it is collected in the child's buffer and written to the memfd. */
struct page {
	int fd;
	size_t n_bytes, n_entries;
};

/* Writes one entry. 1, or 0 when the page has no room for it, or a negative errno. */
static int put_entry(
	struct file_child *child, struct page *page, const struct stat *st, const char *target, int unread)
{
	struct files_entry entry = { .unread = unread };
	size_t path_bytes = strlen(child->walk.path), target_bytes = strlen(target);
	size_t bytes = files_entry_bytes(path_bytes, target_bytes);

	if (page->n_entries == FILES_MAX_ENTRIES || page->n_bytes + bytes > FILES_PAGE_BYTES)
		return 0;
	file_attributes(st, &entry.attributes);
	entry.path_bytes = (uint16_t)path_bytes;
	entry.target_bytes = (uint16_t)target_bytes;
	if (child->n_buffered + bytes > sizeof(child->buffer)) {
		int r = file_write_at(page->fd, child->buffer, child->n_buffered, page->n_bytes - child->n_buffered);
		if (r < 0)
			return r;
		child->n_buffered = 0;
	}
	uint8_t *to = child->buffer + child->n_buffered;
	memset(to + bytes - 8, 0, 8);
	memcpy(to, &entry, sizeof(entry));
	memcpy(to + sizeof(entry), child->walk.path, path_bytes + 1);
	memcpy(to + sizeof(entry) + path_bytes + 1, target, target_bytes + 1);
	child->n_buffered += bytes;
	page->n_bytes += bytes;
	page->n_entries++;
	return 1;
}

/* What the walk has just come to. As put_entry(). */
static int list_entry(struct file_child *child, struct page *page, const struct walk_entry *at, bool recursive)
{
	char target[FILES_PATH_SIZE] = "";
	struct stat st;
	int unread = 0;

	/* Gone since its directory was read. */
	if (fstatat(at->dir, at->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 1 : -errno;
	if (S_ISLNK(st.st_mode)) {
		ssize_t n = readlinkat(at->dir, at->name, target, sizeof(target) - 1);
		target[n < 0 ? 0 : n] = '\0';
	}
	/* A page that is full is found out before the directory is entered: the next page begins with it. */
	if (page->n_entries == FILES_MAX_ENTRIES)
		return 0;
	if (recursive && S_ISDIR(st.st_mode)) {
		unread = walk_enter(&child->walk);
		if (unread == -E2BIG || unread == -ENOBUFS)
			return unread;
	}
	return put_entry(child, page, &st, target, unread);
}

/* Why the walk cannot go on, with the path it had come to. */
int file_fail_walk(struct file_child *child, int r, const char *step)
{
	if (r == -E2BIG)
		return file_fail(child, r, step, "directories are nested more than %d deep", FILES_MAX_DEPTH);
	if (r == -ENOBUFS)
		return file_fail(child, r, step, "a directory has too many entries");
	return file_fail(child, r, step, "%s", child->walk.path);
}

static int list_walk(struct file_child *child, const struct files_request *request, struct page *page)
{
	bool recursive = request->flags & FILES_RECURSIVE;
	struct walk_entry at;

	int r = walk_seek(&child->walk, request->other, recursive);
	while (r >= 0) {
		r = walk_next(&child->walk, &at);
		if (r == WALK_LEFT)
			continue;
		if (r <= 0)
			break;
		r = list_entry(child, page, &at, recursive);
		if (r == 0) {
			child->done->more = 1;
			break;
		}
	}
	return r < 0 ? file_fail_walk(child, r, "list") : 0;
}

int file_list(struct file_child *child, const struct files_request *request, int fd)
{
	struct page page = { .fd = fd };
	struct stat st;

	int dir = path_directory(child, request->path);
	if (dir < 0)
		return dir;
	if (fstat(dir, &st) == 0)
		file_attributes(&st, &child->done->attributes);
	child->n_buffered = 0;
	int r = walk_open(&child->walk, &child->names, dir, false);
	if (r < 0)
		return file_fail_walk(child, r, "list");
	r = list_walk(child, request, &page);
	walk_close(&child->walk);
	if (r < 0)
		return r;
	r = file_write_at(fd, child->buffer, child->n_buffered, page.n_bytes - child->n_buffered);
	if (r < 0)
		return file_fail(child, r, "list", "%s", "");
	child->done->n_bytes = page.n_bytes;
	child->done->n_entries = (uint32_t)page.n_entries;
	return 0;
}

/* ---- removal ---- */

/* Removes what the walk has come to, unless that is a directory, into which it then goes. */
static int delete_entry(struct file_child *child, const struct walk_entry *at)
{
	struct stat st;

	if (fstatat(at->dir, at->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (S_ISDIR(st.st_mode))
		return walk_enter(&child->walk);
	child->done->n_entries++;
	return unlinkat(at->dir, at->name, 0) < 0 && errno != ENOENT ? -errno : 0;
}

static int delete_below(struct file_child *child, int dir)
{
	struct walk_entry at;

	int r = walk_open(&child->walk, &child->names, dir, true);
	while (r >= 0 && (r = walk_next(&child->walk, &at)) > 0) {
		if (r == WALK_ENTRY) {
			r = delete_entry(child, &at);
		} else {
			child->done->n_entries++;
			r = unlinkat(at.dir, at.name, AT_REMOVEDIR) < 0 && errno != ENOENT ? -errno : 0;
		}
	}
	if (r < 0)
		file_fail_walk(child, r, "delete");
	walk_close(&child->walk);
	return r;
}

int file_delete(struct file_child *child, const struct files_request *request, int fd _unused_)
{
	_place_ struct place place = { .dir = -1 };
	struct stat st;

	int r = place_open(child, request->path, false, &place);
	if (r < 0)
		return r;
	if (fstatat(place.dir, place.name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return file_fail(child, -errno, "delete", "%s", "");
	file_attributes(&st, &child->done->attributes);
	bool is_dir = S_ISDIR(st.st_mode);
	if (is_dir && request->flags & FILES_RECURSIVE) {
		int dir = openat(place.dir, place.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
		if (dir < 0)
			return file_fail(child, -errno, "delete", "%s", "");
		r = delete_below(child, dir);
		if (r < 0)
			return r;
	}
	child->done->n_entries++;
	if (unlinkat(place.dir, place.name, is_dir ? AT_REMOVEDIR : 0) < 0)
		return file_fail(child, -errno, "delete", "%s", "");
	return 0;
}
