/* SPDX-License-Identifier: Apache-2.0 */
/* What the hostile programs of the session tests share: how they say what became of a try. */
#pragma once

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* "NAME: done" when R is no error, else "NAME: EPERM" and the like; ERRNO is looked at before anything else. */
static __attribute__((format(printf, 2, 3))) void say(long r, const char *format, ...)
{
	static const struct {
		int number;
		const char *name;
	} names[] = {
#define E(name) { name, #name }
		E(EPERM),
		E(ENOENT),
		E(ESRCH),
		E(EIO),
		E(ENXIO),
		E(E2BIG),
		E(ENOEXEC),
		E(EBADF),
		E(EAGAIN),
		E(ENOMEM),
		E(EACCES),
		E(EFAULT),
		E(ENOTBLK),
		E(EBUSY),
		E(EEXIST),
		E(EXDEV),
		E(ENODEV),
		E(ENOTDIR),
		E(EISDIR),
		E(EINVAL),
		E(ENFILE),
		E(EMFILE),
		E(ENOTTY),
		E(ETXTBSY),
		E(EFBIG),
		E(ENOSPC),
		E(EROFS),
		E(EMLINK),
		E(ENAMETOOLONG),
		E(ENOSYS),
		E(ENOTEMPTY),
		E(ELOOP),
		E(EUSERS),
		E(EOPNOTSUPP),
		E(EPROTONOSUPPORT),
		E(ESOCKTNOSUPPORT),
		E(EAFNOSUPPORT),
		E(ECONNREFUSED),
		E(ENOPROTOOPT),
		E(EADDRINUSE),
		E(EDQUOT),
		E(ENODATA),
		E(EOVERFLOW),
		E(ERANGE),
		E(EPROTOTYPE),
		E(ENETUNREACH),
		E(ESTALE),
		E(EADDRNOTAVAIL),
		E(ECHILD),
		E(ENOTRECOVERABLE),
		E(ENOTSOCK),
		E(EHOSTUNREACH),
#undef E
	};
	const int number = errno;
	const char *what = "another error";
	va_list list;

	va_start(list, format);
	vprintf(format, list);
	va_end(list);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (names[i].number == number)
			what = names[i].name;
	printf(": %s\n", r >= 0 ? "done" : what);
	fflush(stdout);
	errno = 0;
}

/*
 * FN in a process of its own, born with FLAGS (CLONE_NEW...): 0 when it returns that, else -1 with the errno it had, or ENOTRECOVERABLE when a
 * signal ended it.
 */
static long in_clone(unsigned long flags, long (*fn)(const void *arg), const void *arg)
{
	int status;

	fflush(stdout);
	pid_t pid = (pid_t)syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
	if (pid == 0) {
		errno = 0;
		long r = fn(arg);
		fflush(stdout);
		_exit(r >= 0 ? 0 : errno ? errno : 255);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	errno = WIFEXITED(status) ? WEXITSTATUS(status) : ENOTRECOVERABLE;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
}

static long in_child(long (*fn)(const void *arg), const void *arg)
{
	return in_clone(0, fn, arg);
}
