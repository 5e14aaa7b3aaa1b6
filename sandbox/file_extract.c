/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tar into a directory, and nowhere else. Names are relative and have no ".."; each is resolved beneath the
 * directory's descriptor through no link at all, neither one that the archive has made nor one that somebody swaps in
 * meanwhile. An entry replaces what is there, but no directory. Files appear when they are complete.
 *
 * Modes and times are kept; owners, by number, where the child may change them: that is root's, as with tar(1).
 */
#include <fcntl.h>
#include <stdio.h>

#include "sandbox/file_child.h"
#include "sandbox/sys.h"

/* Directories are open to their owner until nothing more is put into them. */
enum { MODE_UNFINISHED = 0700, MODE_PARENT = 0755 };

static int fail(struct file_child *child, int r)
{
	return file_fail(child, r, "archive", "%s", child->entry.path);
}

/* ---- names ---- */

/*
 * Takes "." and repeated slashes out of a name of the archive: "" is the directory itself. -EXDEV for one that could
 * lead out of it, -E2BIG for one that is deeper than what a list or a removal goes down to.
 */
static int clean_name(const char *name, char ret[static FILES_PATH_SIZE])
{
	size_t to = 0, depth = 0;

	if (name[0] == '/')
		return -EXDEV;
	while (*name) {
		size_t n = strcspn(name, "/");
		if (n == 2 && name[0] == '.' && name[1] == '.')
			return -EXDEV;
		if (n > FILES_NAME_MAX)
			return -ENAMETOOLONG;
		if (n > 0 && !(n == 1 && name[0] == '.')) {
			if (++depth > FILES_MAX_DEPTH)
				return -E2BIG;
			if (to > 0)
				ret[to++] = '/';
			memcpy(ret + to, name, n); /* never longer than NAME, which has as much room */
			to += n;
		}
		name += n;
		name += *name == '/';
	}
	ret[to] = '\0';
	return 0;
}

static int open_beneath(int dir, const char *path, int flags)
{
	struct open_how how = {
		.flags = (uint64_t)(unsigned int)flags | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};
	return sys_result(syscall(SYS_openat2, dir, path[0] ? path : ".", &how, sizeof(how)));
}

/* The directory PATH beneath DIR, made with those above it. PATH is written to. */
static int make_beneath(int dir, char *path)
{
	_close_ int at = open_beneath(dir, "", O_PATH | O_DIRECTORY);

	for (char *name = path, *end; at >= 0 && *name; name = *end ? end + 1 : end) {
		end = name + strcspn(name, "/");
		char saved = *end;
		*end = '\0';
		int next = open_beneath(at, name, O_PATH | O_DIRECTORY);
		if (next == -ENOENT && (mkdirat(at, name, MODE_PARENT) == 0 || errno == EEXIST))
			next = open_beneath(at, name, O_PATH | O_DIRECTORY);
		else if (next == -ENOENT)
			next = -errno;
		*end = saved;
		close_fd(at);
		at = next;
	}
	return at < 0 ? at : steal_fd(&at);
}

/*
 * The directory that the entry with the clean NAME is in, which stays the child's; *RET_LAST is its name there.
 * Archives have the files of a directory together, so that the last one is kept.
 */
static int open_parent(struct file_child *child, char *name, const char **ret_last)
{
	char *slash = strrchr(name, '/');
	const char *parent = slash ? name : "";

	*ret_last = slash ? slash + 1 : name;
	if (slash)
		*slash = '\0';
	if (child->parent >= 0 && streq(parent, child->parent_path))
		return 0;
	close_fdp(&child->parent);
	int dir = open_beneath(child->file, parent, O_PATH | O_DIRECTORY);
	if (dir == -ENOENT) {
		char copy[FILES_PATH_SIZE];
		memcpy(copy, parent, strlen(parent) + 1);
		dir = make_beneath(child->file, copy);
	}
	if (dir < 0)
		return dir;
	memcpy(child->parent_path, parent, strlen(parent) + 1);
	child->parent = dir;
	return 0;
}

/* ---- what an entry has besides its contents ---- */

static void times_of(const struct tar_entry *entry, struct timespec ret[static 2])
{
	ret[0] = (struct timespec){ .tv_nsec = UTIME_OMIT };
	ret[1] = (struct timespec){ .tv_sec = entry->mtime, .tv_nsec = entry->mtime_ns };
}

/* Only root changes owners; one without the capability, as many a container has it, keeps its own. */
static bool may_own(int r)
{
	return r == 0 || errno == EPERM;
}

/* Of an open file or directory: owner first, because that takes setuid bits away. */
static int set_attributes(int fd, uint32_t uid, uint32_t gid, uint32_t mode, const struct timespec times[static 2])
{
	if (geteuid() == 0 && !may_own(fchown(fd, uid, gid)))
		return -errno;
	if (fchmod(fd, mode) < 0 || futimens(fd, times) < 0)
		return -errno;
	return 0;
}

/* Of what cannot be opened: a link, a FIFO. */
static int set_attributes_at(int dir, const char *name, const struct tar_entry *entry)
{
	struct timespec times[2];

	times_of(entry, times);
	if (geteuid() == 0 && !may_own(fchownat(dir, name, entry->uid, entry->gid, AT_SYMLINK_NOFOLLOW)))
		return -errno;
	return utimensat(dir, name, times, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

/* ---- entries ---- */

static int write_contents(struct file_child *child, int file)
{
	const uint8_t *bytes;
	uint64_t offset;
	size_t n;
	int r;

	while ((r = tar_data(&child->reader, &bytes, &n, &offset)) > 0) {
		r = file_write_at(file, bytes, n, offset);
		if (r < 0)
			return fail(child, r);
	}
	if (r == 0 && ftruncate(file, (off_t)child->entry.size) < 0)
		return fail(child, -errno);
	return r;
}

static int extract_file(struct file_child *child, const char *name)
{
	const struct tar_entry *entry = &child->entry;
	struct timespec times[2];

	times_of(entry, times);
	int r = new_file_open(&child->new_file, child->parent, name);
	if (r < 0)
		return fail(child, r);
	r = write_contents(child, child->new_file.fd);
	if (r == 0) {
		r = set_attributes(child->new_file.fd, entry->uid, entry->gid, entry->mode, times);
		if (r == 0)
			r = new_file_commit(&child->new_file);
		if (r < 0)
			fail(child, r);
	}
	new_file_discard(&child->new_file);
	child->new_file.dir = -1; /* the parent's, which is kept */
	return r;
}

/* Remembers what a directory gets in the end. */
static int put_off(struct file_child *child, const char *path, bool is_new)
{
	const struct tar_entry *entry = &child->entry;
	size_t n = strlen(path) + 1;
	struct late_directory *late = arena_take(&child->kept, sizeof(*late) + n);

	if (!late)
		return file_fail(child, -ENOBUFS, "archive", "too many directories");
	*late = (struct late_directory){
		.next = child->late,
		.is_new = is_new,
		.mode = entry->mode,
		.uid = entry->uid,
		.gid = entry->gid,
		.mtime = entry->mtime,
		.mtime_ns = entry->mtime_ns,
	};
	memcpy(late->path, path, n);
	child->late = late;
	return 0;
}

static int extract_directory(struct file_child *child, const char *path, const char *name)
{
	bool is_new = name[0] != '\0' && mkdirat(child->parent, name, MODE_UNFINISHED) == 0;

	if (name[0] != '\0' && !is_new) {
		if (errno != EEXIST)
			return fail(child, -errno);
		_close_ int there = open_beneath(child->parent, name, O_PATH | O_DIRECTORY);
		if (there < 0)
			return fail(child, there);
	}
	return put_off(child, path, is_new);
}

/* Makes NAME by what MAKE does, in the place of what has it unless that is a directory. */
static int replace(
	struct file_child *child, const char *name, int (*make)(struct file_child *child, const char *name))
{
	int r = make(child, name);

	if (r == -EEXIST) {
		if (unlinkat(child->parent, name, 0) < 0)
			return -errno;
		r = make(child, name);
	}
	return r;
}

static int make_symlink(struct file_child *child, const char *name)
{
	return symlinkat(child->entry.target, child->parent, name) < 0 ? -errno : 0;
}

static int make_fifo(struct file_child *child, const char *name)
{
	return mknodat(child->parent, name, S_IFIFO | child->entry.mode, 0) < 0 ? -errno : 0;
}

/* The target, made clean, is in ENTRY's place for it. */
static int make_hard_link(struct file_child *child, const char *name)
{
	char *slash = strrchr(child->entry.target, '/');

	if (slash)
		*slash = '\0';
	_close_ int dir = open_beneath(child->file, slash ? child->entry.target : "", O_PATH | O_DIRECTORY);
	if (slash)
		*slash = '/';
	if (dir < 0)
		return dir;
	return linkat(dir, slash ? slash + 1 : child->entry.target, child->parent, name, 0) < 0 ? -errno : 0;
}

static int extract_hard_link(struct file_child *child, const char *path, const char *name)
{
	char clean[FILES_PATH_SIZE];

	int r = clean_name(child->entry.target, clean);
	if (r < 0 || clean[0] == '\0')
		return file_fail(child, r < 0 ? r : -EISDIR, "archive", "link to %s", child->entry.target);
	/* To itself: taking the name away would lose the file. */
	if (streq(clean, path))
		return 0;
	memcpy(child->entry.target, clean, strlen(clean) + 1);
	r = replace(child, name, make_hard_link);
	return r < 0 ? file_fail(child, r, "archive", "link to %s", child->entry.target) : 0;
}

static int extract_node(struct file_child *child, const char *name, int (*make)(struct file_child *, const char *))
{
	int r = replace(child, name, make);

	if (r == 0)
		r = set_attributes_at(child->parent, name, &child->entry);
	return r < 0 ? fail(child, r) : 0;
}

static int extract(struct file_child *child)
{
	char path[FILES_PATH_SIZE], split[FILES_PATH_SIZE];
	const char *name;

	int r = clean_name(child->entry.path, path);
	if (r == -EXDEV)
		return file_fail(child, r, "archive", "%s would be outside", child->entry.path);
	if (r == -E2BIG)
		return file_fail(
			child, r, "archive", "%.40s… would be more than %d deep", child->entry.path, FILES_MAX_DEPTH);
	if (r == 0 && path[0] == '\0' && child->entry.type != TAR_DIRECTORY)
		r = -EISDIR;
	if (r < 0)
		return fail(child, r);
	if (child->entry.type == TAR_DEVICE) {
		if (child->done->n_skipped++ == 0)
			snprintf(child->done->text, sizeof(child->done->text), "%s", child->entry.path);
		return 0;
	}
	memcpy(split, path, sizeof(split));
	r = open_parent(child, split, &name);
	if (r < 0)
		return fail(child, r);
	child->done->n_entries++;
	switch (child->entry.type) {
	case TAR_FILE:
		return extract_file(child, name);
	case TAR_DIRECTORY:
		return extract_directory(child, path, name);
	case TAR_SYMLINK:
		return extract_node(child, name, make_symlink);
	case TAR_FIFO:
		return extract_node(child, name, make_fifo);
	case TAR_HARD_LINK:
		return extract_hard_link(child, path, name);
	case TAR_DEVICE:
		break;
	}
	return 0;
}

/* ---- the whole ---- */

/* Of one that was there before, and is somebody else's, neither mode nor time is changed. */
static int finish_directory(struct file_child *child, const struct late_directory *late)
{
	const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT },
		{ .tv_sec = late->mtime, .tv_nsec = late->mtime_ns } };

	_close_ int dir = open_beneath(child->file, late->path, O_RDONLY | O_DIRECTORY);
	int r = dir < 0 ? dir : set_attributes(dir, late->uid, late->gid, late->mode, times);
	if (r < 0 && !(r == -EPERM && !late->is_new))
		return file_fail(child, r, "archive", "%s", late->path);
	return 0;
}

static int read_stream(void *arg, void *bytes, size_t n)
{
	return stream_read(arg, bytes, n);
}

/* Whatever follows the end of the archive: tar(1) fills its last record. */
static int drain(struct file_child *child)
{
	int n;

	while ((n = stream_read(child, child->buffer, sizeof(child->buffer))) > 0)
		child->done->n_bytes += (uint64_t)n;
	return n;
}

int archive_put(struct file_child *child)
{
	int r;

	child->late = NULL;
	tar_read_open(&child->reader, read_stream, child, &child->err);
	while ((r = tar_next(&child->reader, &child->entry)) > 0) {
		r = extract(child);
		if (r < 0)
			break;
	}
	close_fdp(&child->parent);
	/* Also after an error: what is there is as the archive has it. The first error is the one that is told. */
	const struct err first = child->err;
	for (const struct late_directory *late = child->late; late; late = late->next) {
		int late_r = finish_directory(child, late);
		r = r < 0 ? r : late_r;
	}
	if (first.num < 0)
		child->err = first;
	child->done->n_bytes = child->reader.n_read;
	return r < 0 ? r : drain(child);
}
