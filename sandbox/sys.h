/* SPDX-License-Identifier: Apache-2.0 */
/*
 * System calls for which musl 1.2.3 has no function, and glibc one only of late: each by its number, each returning
 * a negative errno where the C library would set errno. Constants and structs come from the kernel's own headers,
 * and <sys/mount.h>, which in both libraries clashes with <linux/mount.h>, is included nowhere in this folder.
 */
#pragma once

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "wire/def.h"

/* Linux 5.9; include/uapi/linux/close_range.h. */
#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2)
#endif

/* include/linux/fs.h: a part of the interface since 2.4.11 that no header for user programs carries. */
#define UMOUNT_DETACH 2

static inline int sys_result(long r)
{
	return r < 0 ? -errno : (int)r;
}

enum { OPEN_TRIES = 64 };

/*
 * Resolves PATH with DIR as the root: neither "..", nor an absolute path or link leads out of it. The kernel gives up a
 * path with ".." when anything was renamed or mounted meanwhile, on the whole host, and wants to be asked again
 * (openat2(2), EAGAIN).
 */
static inline int sys_open_in_root(int dir, const char *path, int flags)
{
	struct open_how how = {
		.flags = (uint64_t)(unsigned int)flags | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	int fd = -EAGAIN;

	for (int i = 0; i < OPEN_TRIES && fd == -EAGAIN; i++)
		fd = sys_result(syscall(SYS_openat2, dir, path, &how, sizeof(how)));
	return fd;
}

/* Opens PATH as the caller sees it, but through none of the links of /proc that are not what they look like. */
static inline int sys_open_no_magic(const char *path, int flags)
{
	struct open_how how = {
		.flags = (uint64_t)(unsigned int)flags | O_CLOEXEC,
		.resolve = RESOLVE_NO_MAGICLINKS,
	};
	return sys_result(syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how)));
}

/* Whether there is a file DIR/PATH: 0 or a negative errno. */
static inline int sys_access(int dir, const char *path)
{
	return sys_result(syscall(SYS_faccessat, dir, path, F_OK));
}

/*
 * Gives signal NUMBER its default disposition. The libraries keep some real-time signals for themselves and refuse to
 * touch them. The kernel's struct sigaction is four words (asm/signal.h); all zero is SIG_DFL.
 */
static inline int sys_signal_default(int number)
{
	const unsigned long action[4] = { 0 };

	return sys_result(syscall(SYS_rt_sigaction, number, action, NULL, sizeof(uint64_t)));
}

static inline int sys_close_range(unsigned int first, unsigned int last, unsigned int flags)
{
	return sys_result(syscall(SYS_close_range, first, last, flags));
}

static inline int sys_fsopen(const char *type)
{
	return sys_result(syscall(SYS_fsopen, type, FSOPEN_CLOEXEC));
}

static inline int sys_fsconfig(int fs, enum fsconfig_command command, const char *key, const char *value)
{
	return sys_result(syscall(SYS_fsconfig, fs, command, key, value, 0));
}

static inline int sys_fsmount(int fs, unsigned int attrs)
{
	return sys_result(syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, attrs));
}

/* A detached copy of the mount at DIR/PATH, of that directory or file downwards, without the mounts below it. */
static inline int sys_clone_tree(int dir, const char *path)
{
	return sys_result(
		syscall(SYS_open_tree, dir, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_SYMLINK_NOFOLLOW));
}

/* Changes attributes of the mount whose root TREE is; it then neither receives nor passes on mounts. */
static inline int sys_mount_restrict(int tree, uint64_t attrs)
{
	const uint64_t ms_private = 1 << 18; /* MS_PRIVATE */
	struct mount_attr attr = { .attr_set = attrs, .propagation = ms_private };

	return sys_result(syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)));
}

/* Attaches the detached mount FROM at DIR/PATH, whose last part is not followed if it is a link; "" is DIR itself. */
static inline int sys_attach(int from, int dir, const char *path)
{
	unsigned int flags = MOVE_MOUNT_F_EMPTY_PATH | (path[0] ? 0 : MOVE_MOUNT_T_EMPTY_PATH);

	return sys_result(syscall(SYS_move_mount, from, "", dir, path, flags));
}

/* The path of the working directory; one outside the root begins with "(unreachable)" instead of '/'. */
static inline int sys_getcwd(char *buf, size_t size)
{
	return sys_result(syscall(SYS_getcwd, buf, size));
}

static inline int sys_umount(const char *path, int flags)
{
	return sys_result(syscall(SYS_umount2, path, flags));
}

_Static_assert(sizeof(struct rlimit) == 2 * sizeof(uint64_t), "struct rlimit64 of prlimit(2)");

/* Sets the calling thread's capabilities: bit N for capability N. */
static inline int sys_capset(uint64_t effective, uint64_t permitted, uint64_t inheritable)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	for (unsigned int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
		data[i] = (struct __user_cap_data_struct){
			.effective = (uint32_t)(effective >> (32 * i)),
			.permitted = (uint32_t)(permitted >> (32 * i)),
			.inheritable = (uint32_t)(inheritable >> (32 * i)),
		};
	return sys_result(syscall(SYS_capset, &header, data));
}

/* By number: the libraries differ in the type of RESOURCE. Both structs may be NULL. */
static inline int sys_rlimit(uint32_t resource, const struct rlimit *new, struct rlimit *ret_old)
{
	return sys_result(syscall(SYS_prlimit64, 0, resource, new, ret_old));
}

static inline int sys_seccomp_filter(const struct sock_fprog *program)
{
	return sys_result(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, program));
}
