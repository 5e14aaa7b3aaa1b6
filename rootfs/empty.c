/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "rootfs/rootfs.h"
#include "wire/plan.h"

enum { STACK_BYTES = 16384 };

struct empty {
	const char *doing;
	int error; /* a negative errno, or 0 */
	int fd;
};

static int mount_empty(struct empty *empty)
{
	const unsigned long attrs = MS_NOSUID | MS_NODEV | MS_NOEXEC;
	static const char *const dirs[] = { "proc", "sys", &PLAN_STAGE[1] };

	empty->doing = "mounts of the host";
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return -errno;
	empty->doing = "root";
	/* Over any directory that every host has. */
	if (mount("empty", "/usr", "tmpfs", attrs, "mode=0755,size=4k,nr_inodes=8") < 0 || chdir("/usr") < 0)
		return -errno;
	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++)
		if (mkdir(dirs[i], 0755) < 0)
			return -errno;
	if (mount("empty", ".", NULL, MS_REMOUNT | MS_RDONLY | attrs, NULL) < 0)
		return -errno;
	empty->doing = "proc";
	if (mount("proc", "proc", "proc", attrs, NULL) < 0)
		return -errno;
	empty->doing = "sysfs";
	if (mount("sysfs", "sys", "sysfs", attrs, NULL) < 0)
		return -errno;
	empty->doing = "pivot_root";
	/* The host's root ends up on top, where "." finds it (pivot_root(2), "pivot_root(".", ".")"). */
	if (syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return -errno;
	empty->doing = "namespace";
	empty->fd = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	return empty->fd < 0 ? -errno : 0;
}

/* On the caller's memory and with its descriptors, while the caller waits. */
static int make(void *arg)
{
	struct empty *empty = arg;

	empty->error = mount_empty(empty);
	return 0;
}

int rootfs_empty(int *ret_ns_fd, struct err *err)
{
	/* Processes and network of its own: what its /proc and /sys show is gone with this child. */
	const int flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_VM | CLONE_VFORK | CLONE_FILES;
	struct empty empty = { .doing = "clone", .error = -ECHILD, .fd = -1 };
	_Alignas(16) uint8_t stack[STACK_BYTES];

	pid_t pid = clone(make, stack + sizeof(stack), flags, &empty);
	if (pid < 0)
		return err_set(err, -errno, "mounts", "%s", empty.doing);
	/* No exit signal: the child is nobody's business but ours. */
	RETRY_EINTR(waitpid(pid, NULL, __WALL));
	if (empty.error < 0)
		return err_set(err, empty.error, "mounts", "%s", empty.doing);
	*ret_ns_fd = empty.fd;
	return 0;
}
