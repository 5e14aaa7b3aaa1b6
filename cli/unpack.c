/* SPDX-License-Identifier: Apache-2.0 */
/* A tar that comes out of a session, below a directory of this host and nowhere else. */
#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "cli/pack.h"

enum {
	READ_BYTES = 1 << 18,
	MODE_KEPT = 0777, /* of what is unpacked nothing becomes setuid */
	MODE_OWNER = 0700, /* a directory is open to its owner until all that belongs into it is there */
};

/* A directory whose mode is only set at the end. */
struct late_mode {
	struct late_mode *next;
	mode_t mode;
	char path[];
};

struct unpacker {
	struct archive *tar;
	int dir_fd, parent_fd; /* the target; the directory PARENT below it */
	char parent[PATH_MAX], path[PATH_MAX]; /* PATH is the entry's; "" is the target itself */
	const char *name; /* its last part, in PATH */
	mode_t mask;
	struct late_mode *late;
	struct transfer *transfer;
	struct skipped skipped;
	struct failure *why;
};

static void unpacker_free(struct unpacker *unpacker)
{
	archive_read_free(unpacker->tar);
	close_fdp(&unpacker->parent_fd);
	while (unpacker->late) {
		struct late_mode *late = unpacker->late;
		unpacker->late = late->next;
		free(late);
	}
}

static int failed(struct unpacker *unpacker, int num, const char *what)
{
	return failure_set(unpacker->why, EXIT_REFUSED, num, "%s %s", what, unpacker->path);
}

static int bad_archive(struct unpacker *unpacker)
{
	const char *text = archive_error_string(unpacker->tar);

	return failure_set(unpacker->why, EXIT_REFUSED, -EBADMSG, "the archive cannot be read: %s", text ? text : "");
}

/* ---- names ---- */

/* NAME without "." and repeated slashes. -EXDEV when it could lead out of the target. */
static int clean_name(const char *name, char ret[static PATH_MAX])
{
	size_t used = 0;

	if (!name || name[0] == '/' || strlen(name) >= PATH_MAX)
		return name && name[0] == '/' ? -EXDEV : -ENAMETOOLONG;
	for (size_t n; *name; name += n + (name[n] == '/')) {
		n = strcspn(name, "/");
		if (n == 2 && name[0] == '.' && name[1] == '.')
			return -EXDEV;
		if (n == 0 || (n == 1 && name[0] == '.'))
			continue;
		if (used > 0)
			ret[used++] = '/';
		memcpy(ret + used, name, n);
		used += n;
	}
	ret[used] = '\0';
	return 0;
}

static int open_beneath(int dir_fd, const char *path)
{
	struct open_how how = {
		.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};
	int fd = (int)syscall(SYS_openat2, dir_fd, *path ? path : ".", &how, sizeof(how));

	return fd < 0 ? -errno : fd;
}

/* Opens the directory of PATH (written to, and as it was again) below the target, made when it is not there. */
static int open_parent(const struct unpacker *unpacker, char *path, const char **ret_name)
{
	char *slash = strrchr(path, '/');
	int fd;

	*ret_name = slash ? slash + 1 : path;
	if (!slash)
		return open_beneath(unpacker->dir_fd, "");
	*slash = '\0';
	fd = open_beneath(unpacker->dir_fd, path);
	if (fd == -ENOENT) {
		const char *name;
		_close_ int above = open_parent(unpacker, path, &name);
		fd = above;
		if (above >= 0 && mkdirat(above, name, MODE_KEPT) < 0 && errno != EEXIST)
			fd = -errno;
		else if (above >= 0)
			fd = open_beneath(above, name);
	}
	*slash = '/';
	return fd;
}

/* Makes PATH the entry at hand; its directory stays open for those that follow. */
static int enter(struct unpacker *unpacker, const char *pathname)
{
	int r = clean_name(pathname, unpacker->path);

	if (r < 0) {
		snprintf(unpacker->path, sizeof(unpacker->path), "%s", pathname ? pathname : "");
		return failed(unpacker, r, "the archive has a name that leads out of its directory:");
	}
	const char *slash = strrchr(unpacker->path, '/');
	size_t n = slash ? (size_t)(slash - unpacker->path) : 0;
	if (unpacker->parent_fd >= 0 && strlen(unpacker->parent) == n &&
		memcmp(unpacker->parent, unpacker->path, n) == 0) {
		unpacker->name = slash ? slash + 1 : unpacker->path;
		return 0;
	}
	close_fdp(&unpacker->parent_fd);
	r = open_parent(unpacker, unpacker->path, &unpacker->name);
	if (r < 0)
		return failed(unpacker, r, "cannot make the directory of");
	unpacker->parent_fd = r;
	memcpy(unpacker->parent, unpacker->path, n);
	unpacker->parent[n] = '\0';
	return 0;
}

/* ---- entries ---- */

static int make_way(struct unpacker *unpacker)
{
	if (unlinkat(unpacker->parent_fd, unpacker->name, 0) < 0 && errno != ENOENT)
		return failed(unpacker, -errno, "cannot replace");
	return 0;
}

static int unpack_directory(struct unpacker *unpacker, mode_t mode)
{
	if (!*unpacker->path)
		return 0; /* it is the caller's */
	if (mkdirat(unpacker->parent_fd, unpacker->name, mode | MODE_OWNER) < 0 && errno != EEXIST)
		return failed(unpacker, -errno, "cannot make the directory");
	_close_ int fd = open_beneath(unpacker->parent_fd, unpacker->name);
	if (fd < 0)
		return failed(unpacker, fd, "cannot open the directory");
	if ((mode & MODE_OWNER) == MODE_OWNER)
		return fchmod(fd, mode) < 0 ? failed(unpacker, -errno, "cannot set the mode of") : 0;
	struct late_mode *late = malloc(sizeof(*late) + strlen(unpacker->path) + 1);
	if (!late)
		return failed(unpacker, -ENOMEM, "out of memory at");
	*late = (struct late_mode){ .next = unpacker->late, .mode = mode };
	memcpy(late->path, unpacker->path, strlen(unpacker->path) + 1);
	unpacker->late = late;
	return 0;
}

static int take_data(struct unpacker *unpacker, int fd)
{
	const void *block;
	int64_t offset;
	size_t n;

	for (;;) {
		int r = archive_read_data_block(unpacker->tar, &block, &n, &offset);
		if (r == ARCHIVE_EOF)
			return 0;
		if (r < ARCHIVE_WARN)
			return bad_archive(unpacker);
		for (size_t done = 0; done < n;) {
			ssize_t written =
				RETRY_EINTR(pwrite(fd, (const char *)block + done, n - done, offset + (int64_t)done));
			if (written < 0)
				return failed(unpacker, -errno, "cannot write");
			done += (size_t)written;
		}
		transfer_add(unpacker->transfer, n);
	}
}

static int unpack_file(struct unpacker *unpacker, struct archive_entry *entry, mode_t mode)
{
	const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT },
		{ .tv_sec = archive_entry_mtime(entry), .tv_nsec = archive_entry_mtime_nsec(entry) } };
	int r = make_way(unpacker);

	if (r < 0)
		return r;
	_close_ int fd = openat(unpacker->parent_fd, unpacker->name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return failed(unpacker, -errno, "cannot make");
	r = take_data(unpacker, fd);
	if (r < 0)
		return r;
	/* What ends with a hole is longer than what was written. */
	if (ftruncate(fd, archive_entry_size(entry)) < 0 || fchmod(fd, mode) < 0 ||
		(archive_entry_mtime_is_set(entry) && futimens(fd, times) < 0))
		return failed(unpacker, -errno, "cannot finish");
	return 0;
}

/* Another name for a file that was unpacked before: never for one elsewhere. */
static int unpack_link(struct unpacker *unpacker, const char *target)
{
	char path[PATH_MAX];
	const char *name;
	int r = clean_name(target, path);

	if (r < 0)
		return failed(unpacker, r, "the archive has a link that leads out of its directory:");
	_close_ int fd = open_parent(unpacker, path, &name);
	if (fd < 0)
		return failed(unpacker, fd, "cannot find what is linked to by");
	r = make_way(unpacker);
	if (r == 0 && linkat(fd, name, unpacker->parent_fd, unpacker->name, 0) < 0)
		r = failed(unpacker, -errno, "cannot make the link");
	return r;
}

static int unpack_symlink(struct unpacker *unpacker, const char *target)
{
	int r = make_way(unpacker);

	if (r == 0 && symlinkat(target ? target : "", unpacker->parent_fd, unpacker->name) < 0)
		r = failed(unpacker, -errno, "cannot make the link");
	return r;
}

static int unpack_entry(struct unpacker *unpacker, struct archive_entry *entry)
{
	mode_t mode = archive_entry_perm(entry) & MODE_KEPT & ~unpacker->mask;
	int r = enter(unpacker, archive_entry_pathname(entry));

	if (r < 0)
		return r;
	if (!*unpacker->path && archive_entry_filetype(entry) != AE_IFDIR)
		return failed(unpacker, -EBADMSG, "the archive has a file without a name");
	if (archive_entry_hardlink(entry))
		return unpack_link(unpacker, archive_entry_hardlink(entry));
	switch (archive_entry_filetype(entry)) {
	case AE_IFDIR:
		return unpack_directory(unpacker, mode);
	case AE_IFREG:
		return unpack_file(unpacker, entry, mode);
	case AE_IFLNK:
		return unpack_symlink(unpacker, archive_entry_symlink(entry));
	}
	if (unpacker->skipped.n++ == 0)
		snprintf(unpacker->skipped.first, sizeof(unpacker->skipped.first), "%.*s",
			(int)sizeof(unpacker->skipped.first) - 1, unpacker->path);
	return 0;
}

/* The newest is the deepest: those above are still open to their owner. */
static int set_modes(struct unpacker *unpacker)
{
	for (const struct late_mode *late = unpacker->late; late; late = late->next) {
		_close_ int fd = open_beneath(unpacker->dir_fd, late->path);
		if (fd < 0 || fchmod(fd, late->mode) < 0) {
			int num = fd < 0 ? fd : -errno;
			return failure_set(unpacker->why, EXIT_REFUSED, num, "cannot set the mode of %s", late->path);
		}
	}
	return 0;
}

/* What follows the end of an archive is read, too: whoever writes it shall not find the stream broken. */
static int drain(struct unpacker *unpacker, int fd)
{
	char rest[4096];
	ssize_t n;

	do
		n = RETRY_EINTR(read(fd, rest, sizeof(rest)));
	while (n > 0);
	return n < 0 ? failed(unpacker, -errno, "cannot read what follows") : 0;
}

int unpack_tree(int fd, int dir_fd, struct transfer *transfer, struct skipped *ret, struct failure *why)
{
	_cleanup_(unpacker_free) struct unpacker unpacker = { .tar = archive_read_new(),
		.dir_fd = dir_fd,
		.parent_fd = -1,
		.mask = umask(0),
		.transfer = transfer,
		.why = why };
	struct archive_entry *entry;
	int r = 0;

	umask(unpacker.mask);
	if (!unpacker.tar)
		return failure_set(why, EXIT_REFUSED, -ENOMEM, "out of memory");
	/* No decompression: nothing that is small may become large. */
	archive_read_support_format_tar(unpacker.tar);
	if (archive_read_open_fd(unpacker.tar, fd, READ_BYTES) < ARCHIVE_OK)
		return bad_archive(&unpacker);
	while (r == 0) {
		int next = archive_read_next_header(unpacker.tar, &entry);
		if (next == ARCHIVE_EOF)
			break;
		r = next < ARCHIVE_WARN ? bad_archive(&unpacker) : unpack_entry(&unpacker, entry);
	}
	if (r == 0)
		r = set_modes(&unpacker);
	if (r == 0)
		r = drain(&unpacker, fd);
	*ret = unpacker.skipped;
	return r;
}
