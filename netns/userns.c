/* SPDX-License-Identifier: Apache-2.0 */
#include "netns/userns.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* In glibc, which declares them nowhere. */
extern int capget(cap_user_header_t header, cap_user_data_t data);
extern int capset(cap_user_header_t header, const cap_user_data_t data);

/*
 * A namespace's ids can be mapped only while a process is in it (user_namespaces(7)), so a child is born into both
 * and does nothing until the other end of its pipe is closed, be it by the death of the supervisor. It is a copy of
 * a root process, in a user namespace of its own: it makes plain system calls and touches no memory of libraries.
 */
static _Noreturn void stay(int read_end, int write_end)
{
	char nothing;

	syscall(SYS_close, write_end);
	while (syscall(SYS_read, read_end, &nothing, 1) < 0 && errno == EINTR)
		;
	for (;;)
		syscall(SYS_exit_group, 0);
}

static int write_map(int proc_fd, const char *name, uint32_t first_id, struct err *err)
{
	char map[48];
	int size = snprintf(map, sizeof(map), "0 %u %u", first_id, (unsigned)IDS_PER_SLOT);
	_close_ int fd = openat(proc_fd, name, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, map, (size_t)size) < 0)
		return err_set(err, -errno, name, "%s", map);
	return 0;
}

/* Maps the child's ids and opens its namespaces; it has not been waited for, so PID can be nobody else's. */
static int take(long pid, uint32_t first_id, int *ret_user_fd, int *ret_net_fd, struct err *err)
{
	char path[32];
	snprintf(path, sizeof(path), "/proc/%ld", pid);
	_close_ int proc_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (proc_fd < 0)
		return err_set(err, -errno, "namespaces", "%s", path);
	int r = write_map(proc_fd, "uid_map", first_id, err);
	if (r == 0)
		r = write_map(proc_fd, "gid_map", first_id, err);
	if (r < 0)
		return r;
	_close_ int user_fd = openat(proc_fd, "ns/user", O_RDONLY | O_CLOEXEC);
	_close_ int net_fd = user_fd < 0 ? -1 : openat(proc_fd, "ns/net", O_RDONLY | O_CLOEXEC);
	if (net_fd < 0)
		return err_set(err, -errno, "namespaces", "%s", path);
	*ret_user_fd = steal_fd(&user_fd);
	*ret_net_fd = steal_fd(&net_fd);
	return 0;
}

/*
 * A child in namespaces of its own that EUID owns. The kernel counts what is used up in a user namespace (inotify
 * instances, queued signals and POSIX timers, bytes of message queues, namespaces) against its owner as well, whose
 * share is that of one user of the host (kernel/ucount.c). If all sessions' namespaces were root's, any session could
 * take root's share, and with it that of all others and of the host's own daemons. So each belongs to an id of its
 * slot. That gives nobody rights over it: no process of the host has that id, and those of the session are not in the
 * parent namespace (security/commoncap.c, cap_capable()).
 *
 * The caller's capabilities are kept through it, because some kernels let only the privileged make user namespaces.
 */
static long clone_owned(uid_t euid, struct clone_args *args, int read_end, int write_end)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct caps[_LINUX_CAPABILITY_U32S_3];
	const int dumpable = prctl(PR_GET_DUMPABLE);

	if (capget(&header, caps) < 0 || setresuid((uid_t)-1, euid, (uid_t)-1) < 0)
		return -errno;
	long pid = capset(&header, caps) < 0 ? -1 : syscall(SYS_clone3, args, sizeof(*args));
	if (pid == 0)
		stay(read_end, write_end);
	const long r = pid < 0 ? -errno : pid;
	/* One that stayed another user could neither go on nor say so; the real id may always come back. */
	if (setresuid((uid_t)-1, getuid(), (uid_t)-1) < 0 || capset(&header, caps) < 0)
		abort();
	/* A change of ids takes it away. */
	if (dumpable == 1)
		prctl(PR_SET_DUMPABLE, 1);
	return r;
}

int userns_make(uint32_t first_id, int *ret_user_fd, int *ret_net_fd, struct err *err)
{
	int ends[2];
	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_set(err, -errno, "namespaces", "pipe");
	_close_ int read_end = ends[0], write_end = ends[1], pidfd = -1;
	/* No exit signal: the child is nobody's business but ours, in particular not the supervisor's reaper's. */
	struct clone_args args = { .flags = CLONE_NEWUSER | CLONE_NEWNET | CLONE_PIDFD,
		.pidfd = (uint64_t)(uintptr_t)&pidfd };
	long pid = clone_owned(first_id, &args, read_end, write_end);
	if (pid < 0)
		return err_set(err, (int)pid, "namespaces", "clone3");
	int r = take(pid, first_id, ret_user_fd, ret_net_fd, err);
	close_fdp(&write_end);
	siginfo_t info;
	RETRY_EINTR(waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED | __WALL));
	return r;
}
