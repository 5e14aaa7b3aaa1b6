/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>

#include "sandbox/file_child.h"
#include "sandbox/sys.h"

enum { MODE_DIRECTORY = 0755, MODE_UNFINISHED = 0600, TRIES = 100 };

/* ---- what is there ---- */

const char *file_type_name(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFDIR:
		return "a directory";
	case S_IFLNK:
		return "a symbolic link";
	case S_IFIFO:
		return "a FIFO";
	case S_IFSOCK:
		return "a socket";
	case S_IFCHR:
	case S_IFBLK:
		return "a device";
	}
	return "no regular file";
}

void file_attributes(const struct stat *st, struct files_attributes *ret)
{
	*ret = (struct files_attributes){
		.size = (uint64_t)st->st_size,
		.mtime = st->st_mtim.tv_sec,
		.mtime_ns = (uint32_t)st->st_mtim.tv_nsec,
		.mode = st->st_mode,
		.uid = st->st_uid,
		.gid = st->st_gid,
		.n_links = st->st_nlink,
	};
}

int path_look(struct file_child *child, const char *path, bool follow)
{
	int fd = sys_open_in_root(child->root, path, O_PATH | (follow ? 0 : O_NOFOLLOW));

	return fd < 0 ? file_fail(child, fd, "open", "%s", "") : fd;
}

int path_directory(struct file_child *child, const char *path)
{
	int fd = sys_open_in_root(child->root, path, O_RDONLY | O_DIRECTORY | O_NONBLOCK | O_NOCTTY);

	return fd < 0 ? file_fail(child, fd, "open", "%s", "") : fd;
}

static int wrong_type(struct file_child *child, mode_t mode)
{
	return file_fail(child, S_ISDIR(mode) ? -EISDIR : -EOPNOTSUPP, "type", "%s", file_type_name(mode));
}

/*
 * Looked at before it is opened, because to open a FIFO or a device can have effects of its own; and again afterwards,
 * because it may be another one by then.
 */
int path_file(struct file_child *child, const char *path, struct stat *ret)
{
	struct stat st;

	_close_ int look = path_look(child, path, true);
	if (look < 0)
		return look;
	if (fstat(look, &st) < 0)
		return file_fail(child, -errno, "open", "%s", "");
	if (!S_ISREG(st.st_mode))
		return wrong_type(child, st.st_mode);
	_close_ int fd = sys_open_in_root(child->root, path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return file_fail(child, fd, "open", "%s", "");
	if (fstat(fd, &st) < 0)
		return file_fail(child, -errno, "open", "%s", "");
	if (!S_ISREG(st.st_mode))
		return wrong_type(child, st.st_mode);
	*ret = st;
	return steal_fd(&fd);
}

int path_file_at(int dir, const char *name, struct stat *ret)
{
	struct stat st;

	_close_ int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EOPNOTSUPP;
	*ret = st;
	return steal_fd(&fd);
}

/* ---- where something is to be ---- */

/*
 * The directory PATH, which is made, with those above it, where it is not there. Each part is resolved from the root
 * again, so that links and ".." in it mean what they mean to everybody else. PATH is written to.
 */
static int make_directories(struct file_child *child, char *path)
{
	_close_ int dir = sys_open_in_root(child->root, "/", O_PATH | O_DIRECTORY);

	for (char *name = path + 1, *end; dir >= 0; name = end + 1) {
		name += strspn(name, "/");
		end = name + strcspn(name, "/");
		if (end == name)
			break;
		char saved = *end;
		*end = '\0';
		int next = sys_open_in_root(child->root, path, O_PATH | O_DIRECTORY);
		if (next == -ENOENT && (mkdirat(dir, name, MODE_DIRECTORY) == 0 || errno == EEXIST))
			next = sys_open_in_root(child->root, path, O_PATH | O_DIRECTORY);
		else if (next == -ENOENT)
			next = -errno;
		*end = saved;
		close_fd(dir);
		dir = next;
		if (saved == '\0')
			break;
	}
	return dir < 0 ? file_fail(child, dir, "parents", "%s", path) : steal_fd(&dir);
}

int path_make_directory(struct file_child *child, const char *path)
{
	char copy[FILES_PATH_SIZE];

	snprintf(copy, sizeof(copy), "%s", path);
	return make_directories(child, copy);
}

int place_open(struct file_child *child, const char *path, bool parents, struct place *ret)
{
	char copy[FILES_PATH_SIZE];
	size_t n = (size_t)snprintf(copy, sizeof(copy), "%s", path);

	while (n > 1 && copy[n - 1] == '/')
		copy[--n] = '\0';
	char *slash = strrchr(copy, '/'), *name = slash + 1;
	if (name[0] == '\0' || streq(name, ".") || streq(name, ".."))
		return file_fail(child, -EINVAL, "open", "its last part is no name");
	if (strlen(name) > FILES_NAME_MAX)
		return file_fail(child, -ENAMETOOLONG, "open", "%s", "");
	memcpy(ret->name, name, strlen(name) + 1);
	slash[slash == copy] = '\0';
	int dir = parents ? make_directories(child, copy) : sys_open_in_root(child->root, copy, O_PATH | O_DIRECTORY);
	if (dir < 0)
		return parents ? dir : file_fail(child, dir, "open", "%s", "");
	ret->dir = dir;
	return 0;
}

void place_close(struct place *place)
{
	close_fdp(&place->dir);
}

/* ---- new files ---- */

/* A name that nobody has: of this process, which does one thing at a time. */
static void temporary_name(unsigned int try, char ret[static 32])
{
	snprintf(ret, 32, ".carrel-%d.%u", (int)getpid(), try);
}

int new_file_open(struct new_file *file, int dir, const char *name)
{
	*file = (struct new_file){ .dir = dir, .fd = -1 };
	memcpy(file->name, name, strlen(name) + 1);
	/* Without a name it goes when the process does, whatever ends it. */
	file->fd = openat(dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, MODE_UNFINISHED);
	if (file->fd >= 0)
		return 0;
	/* EISDIR: a kernel's answer for a file system that does not know the flag. */
	if (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT)
		return -errno;
	for (unsigned int i = 0; i < TRIES; i++) {
		temporary_name(i, file->temporary);
		file->fd = openat(
			dir, file->temporary, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, MODE_UNFINISHED);
		if (file->fd >= 0)
			return 0;
		int r = -errno;
		file->temporary[0] = '\0';
		if (r != -EEXIST)
			return r;
	}
	return -EEXIST;
}

/* Gives a file without a name the name TO, which must be free. */
static int link_file(const struct new_file *file, const char *to)
{
	char path[32];

	/* With AT_EMPTY_PATH it would take a capability before Linux 6.10. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file->fd);
	return linkat(AT_FDCWD, path, file->dir, to, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

int new_file_commit(struct new_file *file)
{
	if (!file->temporary[0]) {
		int r = link_file(file, file->name);
		if (r != -EEXIST)
			return r;
		/* No call replaces a file by one without a name. */
		for (unsigned int i = 0; i < TRIES && r == -EEXIST; i++) {
			temporary_name(i, file->temporary);
			r = link_file(file, file->temporary);
		}
		if (r < 0) {
			file->temporary[0] = '\0';
			return r;
		}
	}
	if (renameat(file->dir, file->temporary, file->dir, file->name) < 0)
		return -errno;
	file->temporary[0] = '\0';
	return 0;
}

void new_file_discard(struct new_file *file)
{
	if (file->fd >= 0 && file->temporary[0])
		unlinkat(file->dir, file->temporary, 0);
	file->temporary[0] = '\0';
	close_fdp(&file->fd);
}
