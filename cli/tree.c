/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "wire/def.h"

enum { MAX_FILE = 64 << 20, CHUNK = 1 << 16 };

/* The names in a directory, sorted. */
struct names {
	struct dirent **entries;
	int n;
};

static int not_dots(const struct dirent *entry)
{
	return !streq(entry->d_name, ".") && !streq(entry->d_name, "..");
}

static int list_names(int dir_fd, struct names *ret)
{
	int n = scandirat(dir_fd, ".", &ret->entries, not_dots, alphasort);

	if (n < 0)
		return -errno;
	ret->n = n;
	return 0;
}

static void names_free(struct names *names)
{
	for (int i = 0; i < names->n; i++)
		free(names->entries[i]);
	free(names->entries);
}

#define _names_ _cleanup_(names_free)

/* Opens a path that must not lead out of DIR_FD; the last part is not followed. A descriptor or a negative errno. */
static int open_beneath(int dir_fd, const char *path, uint64_t flags, mode_t mode)
{
	struct open_how how = {
		.flags = flags | O_NOFOLLOW | O_CLOEXEC,
		.mode = mode,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
	};
	int fd = (int)syscall(SYS_openat2, dir_fd, path, &how, sizeof(how));

	return fd < 0 ? -errno : fd;
}

static int open_dir(int dir_fd, const char *path)
{
	return open_beneath(dir_fd, path, O_RDONLY | O_DIRECTORY, 0);
}

static int remove_below(int dir_fd, const char *name, dev_t device)
{
	_names_ struct names names = { 0 };
	struct stat st;

	if (unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR)
		return -errno;
	_close_ int fd = open_dir(dir_fd, name);
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_dev != device)
		return -EXDEV;
	int r = list_names(fd, &names);
	for (int i = 0; r == 0 && i < names.n; i++)
		r = remove_below(fd, names.entries[i]->d_name, device);
	if (r == 0 && unlinkat(dir_fd, name, AT_REMOVEDIR) < 0)
		r = -errno;
	return r;
}

int tree_remove(int dir_fd, const char *name)
{
	struct stat st;

	if (fstat(dir_fd, &st) < 0)
		return -errno;
	return remove_below(dir_fd, name, st.st_dev);
}

int tree_empty(int dir_fd, const char *name)
{
	_names_ struct names names = { 0 };

	_close_ int fd = open_dir(dir_fd, name);
	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	int r = list_names(fd, &names);
	for (int i = 0; r == 0 && i < names.n; i++)
		r = tree_remove(fd, names.entries[i]->d_name);
	return r;
}

static int copy_file(int from_fd, const char *from, int to_fd, const char *to, mode_t mode)
{
	_close_ int in = open_beneath(from_fd, from, O_RDONLY | O_NONBLOCK, 0);
	if (in < 0)
		return in;
	_close_ int out = open_beneath(to_fd, to, O_WRONLY | O_CREAT | O_EXCL, 0600);
	if (out < 0)
		return out;
	for (;;) {
		ssize_t n = RETRY_EINTR(sendfile(out, in, NULL, CHUNK));
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
	}
	return fchmod(out, mode) < 0 ? -errno : 0;
}

static int copy_link(int from_fd, const char *from, int to_fd, const char *to)
{
	char target[4096];
	ssize_t n = readlinkat(from_fd, from, target, sizeof(target));

	if (n < 0)
		return -errno;
	if (n == sizeof(target))
		return -ENAMETOOLONG;
	target[n] = '\0';
	return symlinkat(target, to_fd, to) < 0 ? -errno : 0;
}

static int copy_dir(int from_fd, const char *from, int to_fd, const char *to)
{
	_names_ struct names names = { 0 };

	_close_ int source = open_dir(from_fd, from);
	if (source < 0)
		return source;
	int r = make_dir(to_fd, to, 0755, 0);
	if (r < 0)
		return r;
	_close_ int target = open_dir(to_fd, to);
	if (target < 0)
		return target;
	r = list_names(source, &names);
	for (int i = 0; r == 0 && i < names.n; i++)
		r = tree_copy(source, names.entries[i]->d_name, target, names.entries[i]->d_name);
	return r;
}

int tree_copy(int from_fd, const char *from, int to_fd, const char *to)
{
	struct stat st;

	if (fstatat(from_fd, from, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (S_ISLNK(st.st_mode))
		return copy_link(from_fd, from, to_fd, to);
	if (S_ISDIR(st.st_mode) && (st.st_mode & 05) == 05)
		return copy_dir(from_fd, from, to_fd, to);
	if (S_ISREG(st.st_mode) && (st.st_mode & 04))
		return copy_file(from_fd, from, to_fd, to, st.st_mode & 0755);
	return 0;
}

int tree_bytes(int dir_fd, const char *name, uint64_t *ret_bytes)
{
	_names_ struct names names = { 0 };
	struct stat st;
	int r;

	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	uint64_t bytes = (uint64_t)st.st_blocks * 512;
	if (!S_ISDIR(st.st_mode)) {
		*ret_bytes = bytes / st.st_nlink;
		return 0;
	}
	_close_ int fd = open_dir(dir_fd, name);
	if (fd < 0)
		return fd;
	r = list_names(fd, &names);
	for (int i = 0; r == 0 && i < names.n; i++) {
		uint64_t below = 0;
		r = tree_bytes(fd, names.entries[i]->d_name, &below);
		bytes += below;
	}
	if (r == 0)
		*ret_bytes = bytes;
	return r;
}

uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t n)
{
	const unsigned char *at = bytes;

	for (size_t i = 0; i < n; i++)
		hash = (hash ^ at[i]) * UINT64_C(0x100000001b3);
	return hash;
}

static int hash_file(int dir_fd, const char *name, uint64_t *hash)
{
	_free_ char *chunk = malloc(CHUNK);
	if (!chunk)
		return -ENOMEM;
	_close_ int fd = open_beneath(dir_fd, name, O_RDONLY, 0);
	if (fd < 0)
		return fd;
	for (;;) {
		ssize_t n = RETRY_EINTR(read(fd, chunk, CHUNK));
		if (n <= 0)
			return n < 0 ? -errno : 0;
		*hash = hash_bytes(*hash, chunk, (size_t)n);
	}
}

static int hash_below(int dir_fd, const char *name, uint64_t *hash)
{
	_names_ struct names names = { 0 };
	char target[4096];
	struct stat st;
	int r = 0;

	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	const uint32_t head[] = { st.st_mode, st.st_uid, st.st_gid };
	*hash = hash_bytes(*hash, name, strlen(name) + 1);
	*hash = hash_bytes(*hash, head, sizeof(head));
	if (S_ISREG(st.st_mode))
		return hash_file(dir_fd, name, hash);
	if (S_ISLNK(st.st_mode)) {
		ssize_t n = readlinkat(dir_fd, name, target, sizeof(target));
		if (n < 0)
			return -errno;
		*hash = hash_bytes(*hash, target, (size_t)n);
	}
	if (!S_ISDIR(st.st_mode))
		return 0;
	_close_ int fd = open_dir(dir_fd, name);
	if (fd < 0)
		return fd;
	r = list_names(fd, &names);
	for (int i = 0; r == 0 && i < names.n; i++)
		r = hash_below(fd, names.entries[i]->d_name, hash);
	*hash = hash_bytes(*hash, "", 1); /* the end of the directory: a/b is not a, b */
	return r;
}

int tree_hash(int dir_fd, const char *name, uint64_t *ret_hash)
{
	uint64_t hash = HASH_START;
	int r = hash_below(dir_fd, name, &hash);

	if (r == 0)
		*ret_hash = hash;
	return r;
}

int make_dir(int dir_fd, const char *path, mode_t mode, uid_t owner)
{
	if (mkdirat(dir_fd, path, 0700) < 0 && errno != EEXIST)
		return -errno;
	_close_ int fd = open_dir(dir_fd, path);
	if (fd < 0)
		return fd;
	if (fchown(fd, owner, owner) < 0 || fchmod(fd, mode) < 0)
		return -errno;
	return 0;
}

int write_file(int dir_fd, const char *path, mode_t mode, const char *text)
{
	size_t n = strlen(text);

	if (unlinkat(dir_fd, path, 0) < 0 && errno != ENOENT)
		return -errno;
	_close_ int fd = open_beneath(dir_fd, path, O_WRONLY | O_CREAT | O_EXCL, 0600);
	if (fd < 0)
		return fd;
	for (size_t done = 0; done < n;) {
		ssize_t written = RETRY_EINTR(write(fd, text + done, n - done));
		if (written < 0)
			return -errno;
		done += (size_t)written;
	}
	return fchmod(fd, mode) < 0 || fsync(fd) < 0 ? -errno : 0;
}

int read_file(int dir_fd, const char *path, char **ret_text)
{
	struct stat st;

	_close_ int fd = open_beneath(dir_fd, path, O_RDONLY | O_NONBLOCK, 0);
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size > MAX_FILE)
		return -EINVAL;
	_free_ char *text = malloc((size_t)st.st_size + 1);
	if (!text)
		return -ENOMEM;
	size_t used = 0;
	while (used < (size_t)st.st_size) {
		ssize_t n = RETRY_EINTR(read(fd, text + used, (size_t)st.st_size - used));
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		used += (size_t)n;
	}
	text[used] = '\0';
	*ret_text = steal_ptr(&text);
	return 0;
}
