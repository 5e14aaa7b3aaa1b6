/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small things that every part of carrel uses: ownership of descriptors and memory by cleanup attributes, array
 * sizes, retry on EINTR. Header only; compiled by glibc and musl, gcc and clang.
 *
 * Ownership rule: a variable declared with _close_ or _free_ owns what it holds and releases it at the end of its
 * scope; steal_fd() and steal_ptr() move ownership out. Nothing else moves it.
 */
#pragma once

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define member_size(type, member) sizeof(((type *)NULL)->member)
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#define _cleanup_(fn) __attribute__((cleanup(fn)))
#define _unused_ __attribute__((unused))
#define _printf_(fmt, first) __attribute__((format(printf, fmt, first)))

/* For openat() of a directory that is to be read or looked into, and of nothing else. */
#define OPEN_DIR (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

/* Evaluates a system call again while it fails with EINTR; the value is the call's. */
#define RETRY_EINTR(expr)                           \
	({                                          \
		__typeof__(expr) _r;                \
		do                                  \
			_r = (expr);                \
		while (_r == -1 && errno == EINTR); \
		_r;                                 \
	})

/* close(2) that keeps errno; a negative descriptor is nothing to close. Linux releases it even on EINTR. */
static inline void close_fd(int fd)
{
	if (fd >= 0) {
		int saved = errno;
		close(fd);
		errno = saved;
	}
}

static inline void close_fdp(int *fd)
{
	close_fd(*fd);
	*fd = -1;
}

static inline int steal_fd(int *fd)
{
	int stolen = *fd;
	*fd = -1;
	return stolen;
}

static inline void close_fds(int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		close_fdp(&fds[i]);
}

static inline void freep(void *p)
{
	free(*(void **)p);
}

/*
 * For what is read into, which is large: a struct msg, a chunk of 64 KiB. All other variables are zeroed by the compiler
 * (-ftrivial-auto-var-init); here that would take as long as the reading, and make pages resident that are never used.
 */
#define _uninitialized_ __attribute__((uninitialized))

#define _close_ _cleanup_(close_fdp)
#define _free_ _cleanup_(freep)
#define steal_ptr(p)                        \
	({                                  \
		__typeof__(*(p)) _s = *(p); \
		*(p) = NULL;                \
		_s;                         \
	})

static inline int streq(const char *a, const char *b)
{
	return strcmp(a, b) == 0;
}

/* The array holds a NUL: the rule for every string in a message. */
static inline int is_terminated(const char *array, size_t size)
{
	return memchr(array, '\0', size) != NULL;
}

/* Copies a string into a zero-filled array of SIZE bytes; -ENAMETOOLONG when it does not fit, array untouched. */
static inline int copy_string(char *array, size_t size, const char *s)
{
	size_t n = strlen(s);
	if (n >= size)
		return -ENAMETOOLONG;
	memset(array, 0, size);
	memcpy(array, s, n);
	return 0;
}
