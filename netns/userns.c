/* SPDX-License-Identifier: Apache-2.0 */
#include "netns/userns.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* In glibc, which declares them nowhere. */
extern int capget(cap_user_header_t header, cap_user_data_t data);
extern int capset(cap_user_header_t header, const cap_user_data_t data);

enum { STACK_BYTES = 8192 };

/*
 * A namespace's ids can be mapped only while a process is in it (user_namespaces(7)), so a child is born into both
 * and does nothing until it is killed, or until the supervisor dies. Neither memory nor descriptors are copied for it:
 * both would be the more the more sessions there are. So it is root's process with a part of its memory in a user
 * namespace of its own, where nobody is yet who could reach it; it makes plain system calls, which cannot fail and
 * so do not touch errno, and touches no memory but its stack.
 */
static int stay(void *arg)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* Of one that died before that there is no signal. */
	while (getppid() == *(const pid_t *)arg)
		pause();
	return 0;
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
static int take(int pid, uint32_t first_id, int *ret_user_fd, int *ret_net_fd, struct err *err)
{
	char path[32];
	snprintf(path, sizeof(path), "/proc/%d", pid);
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
static int clone_owned(uid_t euid, uint8_t stack[static STACK_BYTES], const pid_t *parent, int *ret_pidfd)
{
	/* No exit signal: the child is nobody's business but ours, in particular not the supervisor's reaper's. */
	const int flags = CLONE_NEWUSER | CLONE_NEWNET | CLONE_PIDFD | CLONE_VM | CLONE_FILES;
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct caps[_LINUX_CAPABILITY_U32S_3];

	if (capget(&header, caps) < 0 || setresuid((uid_t)-1, euid, (uid_t)-1) < 0)
		return -errno;
	int pid = capset(&header, caps) < 0
			  ? -1
			  : clone(stay, stack + STACK_BYTES, flags, (void *)(uintptr_t)parent, ret_pidfd);
	const int r = pid < 0 ? -errno : pid;
	/* One that stayed another user could neither go on nor say so; the real id may always come back. */
	if (setresuid((uid_t)-1, getuid(), (uid_t)-1) < 0 || capset(&header, caps) < 0)
		abort();
	return r;
}

int userns_make(uint32_t first_id, int *ret_user_fd, int *ret_net_fd, struct err *err)
{
	_Alignas(16) uint8_t stack[STACK_BYTES];
	const int dumpable = prctl(PR_GET_DUMPABLE);
	const pid_t parent = getpid();
	_close_ int pidfd = -1;
	siginfo_t info;

	int pid = clone_owned(first_id, stack, &parent, &pidfd);
	int r = pid < 0 ? err_set(err, pid, "namespaces", "clone")
			: take(pid, first_id, ret_user_fd, ret_net_fd, err);
	if (pid >= 0) {
		kill(pid, SIGKILL);
		RETRY_EINTR(waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED | __WALL));
	}
	/* The change of ids took it away; while the memory was shared it was better so. */
	if (dumpable == 1)
		prctl(PR_SET_DUMPABLE, 1);
	return r;
}
