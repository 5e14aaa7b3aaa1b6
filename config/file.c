/* SPDX-License-Identifier: Apache-2.0 */
/* Files and directories of the configuration: opened without following links, believed only if root wrote them. */
#include "config/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

static int fail(const struct source *source, int num, const char *what)
{
	snprintf(source->error, source->error_size, "%s: %s", source->name, what);
	return num;
}

/* Nobody but root, or the user that we are, may have written what FD is. */
static int check_trust(const struct source *source, const struct stat *st)
{
	char what[64];

	if (st->st_uid != 0 && st->st_uid != geteuid()) {
		snprintf(what, sizeof(what), "belongs to uid %u, not to root", st->st_uid);
		return fail(source, -EPERM, what);
	}
	if (st->st_mode & (S_IWGRP | S_IWOTH)) {
		snprintf(what, sizeof(what), "can be written by group or others (mode %04o)", st->st_mode & 07777);
		return fail(source, -EPERM, what);
	}
	return 0;
}

int file_open_directory(int dir_fd, const char *path, const struct source *source)
{
	struct stat st;
	int r;

	_close_ int fd =
		openat(dir_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | (dir_fd == AT_FDCWD ? 0 : O_NOFOLLOW));
	if (fd < 0 || fstat(fd, &st) < 0) {
		r = -errno;
		return fail(source, r, strerror(-r));
	}
	r = check_trust(source, &st);
	return r < 0 ? r : steal_fd(&fd);
}

/* Up to FILE_MAX_BYTES and one more, to see that there is more. */
static int read_all(int fd, char *text, size_t *ret_n)
{
	size_t n = 0;

	while (n <= FILE_MAX_BYTES) {
		ssize_t got = RETRY_EINTR(read(fd, text + n, FILE_MAX_BYTES + 1 - n));
		if (got < 0)
			return -errno;
		if (got == 0)
			break;
		n += (size_t)got;
	}
	*ret_n = n;
	return 0;
}

int file_read(int dir_fd, const char *name, struct source *source, char **ret_text)
{
	struct stat st;
	int r;

	/* Without O_NONBLOCK a FIFO of that name would stop us for ever. */
	_close_ int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0) {
		r = -errno;
		return fail(source, r, r == -ELOOP ? "is a symbolic link" : strerror(-r));
	}
	if (!S_ISREG(st.st_mode))
		return fail(source, -EINVAL, "is no regular file");
	r = check_trust(source, &st);
	if (r < 0)
		return r;
	_free_ char *text = malloc(FILE_MAX_BYTES + 1);
	if (!text)
		return fail(source, -ENOMEM, "out of memory");
	r = read_all(fd, text, &source->n);
	if (r < 0)
		return fail(source, r, strerror(-r));
	if (source->n > FILE_MAX_BYTES)
		return fail(source, -EFBIG, "is larger than 256 KiB");
	source->text = *ret_text = steal_ptr(&text);
	return 0;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Editors' backups, packagers' leftovers and hidden files have other endings. */
static bool is_wanted(const char *name)
{
	const size_t n = strlen(name), suffix = strlen(".json");

	return name[0] != '.' && n > suffix && streq(name + n - suffix, ".json");
}

int file_list(int dir_fd, const struct source *source, char *names[], size_t max, size_t *ret_n)
{
	size_t n = 0;
	int r = 0;
	int copy = fcntl(dir_fd, F_DUPFD_CLOEXEC, 0);
	DIR *dir = copy < 0 ? NULL : fdopendir(copy);

	if (!dir) {
		r = -errno;
		close_fd(copy);
		return fail(source, r, strerror(-r));
	}
	for (;;) {
		errno = 0;
		const struct dirent *entry = readdir(dir);
		if (!entry) {
			r = errno ? fail(source, -errno, strerror(errno)) : 0;
			break;
		}
		if (!is_wanted(entry->d_name))
			continue;
		if (n == max) {
			r = fail(source, -E2BIG, "has more than 64 templates");
			break;
		}
		names[n] = strdup(entry->d_name);
		if (!names[n]) {
			r = fail(source, -ENOMEM, "out of memory");
			break;
		}
		n++;
	}
	closedir(dir);
	/* Sorted, so that messages and lists do not depend on the file system. */
	qsort(names, n, sizeof(names[0]), compare_names);
	*ret_n = n;
	return r;
}
