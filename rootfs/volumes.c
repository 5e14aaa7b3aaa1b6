/* SPDX-License-Identifier: Apache-2.0 */
#include "rootfs/volumes.h"

#include <dirent.h>
#include <endian.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "rootfs/rootfs.h"

/* No volume's name has a dot: what is being made is none yet. */
#define UNFINISHED ".new"

/* ---- making ---- */

static int give_root(int fd, const struct volume_spec *spec)
{
	return fchmod(fd, spec->mode) < 0 || fchown(fd, spec->uid, spec->gid) < 0 ? -errno : 0;
}

/* Made whole under another name first, so that one that is there is as it should be. */
static int make_directory(int volumes_fd, const char *name, const struct volume_spec *spec)
{
	/* Of a supervisor that died here. */
	if (unlinkat(volumes_fd, UNFINISHED, AT_REMOVEDIR) < 0 && errno != ENOENT)
		return -errno;
	if (mkdirat(volumes_fd, UNFINISHED, 0700) < 0)
		return -errno;
	_close_ int fd = openat(volumes_fd, UNFINISHED, OPEN_DIR);
	int r = fd < 0 ? -errno : give_root(fd, spec);
	if (r == 0 && renameat2(volumes_fd, UNFINISHED, volumes_fd, name, RENAME_NOREPLACE) < 0)
		r = -errno;
	return r;
}

/* A new one gets its name when it is whole, on the disk, too: a power cut must not leave half of one under it. */
static int name_file(int volumes_fd, const char *name, const struct volume_spec *spec, int file, int mount)
{
	_close_ int root = openat(mount, ".", OPEN_DIR);
	int r = root < 0 ? -errno : give_root(root, spec);
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	/* As empty as a directory that was just made. */
	if (r == 0 && ((unlinkat(root, "lost+found", AT_REMOVEDIR) < 0 && errno != ENOENT) || syncfs(root) < 0 ||
			      linkat(AT_FDCWD, path, volumes_fd, name, AT_SYMLINK_FOLLOW) < 0))
		r = -errno;
	return r;
}

static int open_file(int volumes_fd, int store_fd, const char *name, const struct volume_spec *spec, int user_fd,
	int *ret_fd, struct err *err)
{
	_close_ int file = openat(volumes_fd, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC), mount = -1;
	const bool is_new = file < 0 && errno == ENOENT;
	int r = file < 0 && !is_new ? err_set(err, -errno, "volume", "%s", name) : 0;

	if (is_new)
		r = scratch_file(store_fd, spec->bytes, true, volumes_fd, &file, err);
	if (r == 0)
		r = scratch_mount(file, true, &mount, err);
	if (r < 0)
		return r;
	if (is_new)
		r = name_file(volumes_fd, name, spec, file, mount);
	if (r == 0)
		r = rootfs_map(mount, 0, user_fd);
	if (r < 0)
		return err_set(err, r, "volume", "%s", name);
	*ret_fd = steal_fd(&mount);
	return 0;
}

int volume_open(int volumes_fd, int store_fd, const char *name, const struct volume_spec *spec, int user_fd,
	int *ret_fd, struct err *err)
{
	if (spec->bytes > 0)
		return open_file(volumes_fd, store_fd, name, spec, user_fd, ret_fd, err);
	_close_ int fd = openat(volumes_fd, name, OPEN_DIR);
	int r = 0;

	if (fd < 0 && errno == ENOENT) {
		r = make_directory(volumes_fd, name, spec);
		fd = openat(volumes_fd, name, OPEN_DIR);
	}
	if (r == 0)
		r = fd < 0 ? -errno : rootfs_clone(fd, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, user_fd, ret_fd);
	return r < 0 ? err_set(err, r, "volume", "%s", name) : 0;
}

/* Two numbers at fixed places of the superblock, which the kernel alone writes. A directory cannot be read. */
void volume_look(int volumes_fd, const char *name, struct super_volume_info *ret)
{
	enum { SUPERBLOCK = 1024, BLOCK = 4096 };
	struct {
		uint32_t inodes, blocks, reserved_blocks, free_blocks;
	} super;

	*ret = (struct super_volume_info){ 0 };
	copy_string(ret->name, sizeof(ret->name), name);
	_close_ int fd = openat(volumes_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || pread(fd, &super, sizeof(super), SUPERBLOCK) != sizeof(super))
		return;
	ret->bytes = (uint64_t)le32toh(super.blocks) * BLOCK;
	ret->used_bytes = ret->bytes - (uint64_t)le32toh(super.free_blocks) * BLOCK;
}

int volume_list(int volumes_fd, void (*fn)(const char *name, void *arg), void *arg)
{
	int fd = openat(volumes_fd, ".", OPEN_DIR);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir) {
		close_fd(fd);
		return -errno;
	}
	for (const struct dirent *entry; (entry = readdir(dir));)
		if (entry->d_name[0] != '.')
			fn(entry->d_name, arg);
	closedir(dir);
	return 0;
}

int volume_remove(int volumes_fd, int removed_fd, const char *name)
{
	struct timespec now;
	char to[128];

	/* The same name may be removed again before its files are deleted. Names given by the process below have no dot. */
	clock_gettime(CLOCK_REALTIME, &now);
	snprintf(to, sizeof(to), "%s.%lld.%09ld", name, (long long)now.tv_sec, now.tv_nsec);
	return renameat2(volumes_fd, name, removed_fd, to, RENAME_NOREPLACE) < 0 ? -errno : 0;
}

/* ---- the process that deletes ---- */

/* What is being deleted: directories that are found inside of others are moved up and come later, so that no depth of
 * directories takes more than two descriptors. */
struct deletion {
	int top;
	unsigned long long next_name;
	bool progress; /* something has changed in this pass */
	bool left; /* something is still there after it */
};

static bool delete_file(struct deletion *deletion, int dir, const char *name)
{
	bool gone = unlinkat(dir, name, 0) == 0;

	deletion->progress = deletion->progress || gone;
	return gone;
}

static void move_up(struct deletion *deletion, int dir, const char *name)
{
	char to[24];
	int r;

	do {
		snprintf(to, sizeof(to), "%llu", deletion->next_name++);
		r = renameat2(dir, name, deletion->top, to, RENAME_NOREPLACE);
	} while (r < 0 && errno == EEXIST);
	deletion->progress = deletion->progress || r == 0;
}

/* Calls FN with the name of each entry of DIR but "." and "..". Plain system calls: this is a copy of the supervisor. */
static void each_entry(
	struct deletion *deletion, int dir, void (*fn)(struct deletion *deletion, int dir, const char *name))
{
	_Alignas(struct dirent64) char entries[8192];

	for (long n; (n = syscall(SYS_getdents64, dir, entries, sizeof(entries))) > 0;)
		for (long at = 0; at < n;) {
			const struct dirent64 *entry = (const void *)(entries + at);
			at += entry->d_reclen;
			if (!streq(entry->d_name, ".") && !streq(entry->d_name, ".."))
				fn(deletion, dir, entry->d_name);
		}
}

static void delete_below(struct deletion *deletion, int dir, const char *name)
{
	if (!delete_file(deletion, dir, name) && errno == EISDIR)
		move_up(deletion, dir, name);
}

static void delete_at_top(struct deletion *deletion, int top, const char *name)
{
	if (delete_file(deletion, top, name))
		return;
	_close_ int dir = openat(top, name, OPEN_DIR);
	if (dir >= 0)
		each_entry(deletion, dir, delete_below);
	if (unlinkat(top, name, AT_REMOVEDIR) == 0)
		deletion->progress = true;
	else
		deletion->left = true;
}

/* 0 when nothing is left; 1 when what is left cannot be deleted. */
static int delete_all(int tree)
{
	struct deletion deletion = { .top = openat(tree, ".", OPEN_DIR) };

	/* A pass that took something away may have brought other things up. */
	do {
		deletion.progress = deletion.left = false;
		lseek(deletion.top, 0, SEEK_SET);
		each_entry(&deletion, deletion.top, delete_at_top);
	} while (deletion.progress);
	return deletion.left;
}

/* The ids of USER_FD are no user's on the host, and its capabilities count for what they own alone. */
static bool become_root_of(int user_fd)
{
	return setns(user_fd, CLONE_NEWUSER) == 0 && syscall(SYS_setgroups, 0, NULL) == 0 &&
	       syscall(SYS_setresgid, 0, 0, 0) == 0 && syscall(SYS_setresuid, 0, 0, 0) == 0;
}

/*
 * Starts a copy of this process that runs FN with FD, which is all that is open there, exits with what FN returns, and
 * dies with this one. USER_FD: as root of that user namespace; -1: as it is.
 */
static int start(int (*fn)(int fd), int fd, int user_fd, int *ret_pidfd)
{
	int pidfd = -1;
	struct clone_args args = {
		.flags = CLONE_PIDFD, .exit_signal = SIGCHLD, .pidfd = (uint64_t)(uintptr_t)&pidfd
	};
	long pid = syscall(SYS_clone3, &args, sizeof(args));

	if (pid == 0) {
		if ((user_fd >= 0 && !become_root_of(user_fd)) || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 ||
			dup2(fd, 0) < 0 || syscall(SYS_close_range, 1, ~0U, 0) < 0)
			_exit(2);
		_exit(fn(0) != 0);
	}
	if (pid < 0)
		return -errno;
	*ret_pidfd = pidfd;
	return 0;
}

int volume_delete(int removed_fd, int user_fd, int *ret_pidfd)
{
	_close_ int tree = -1;

	int r = rootfs_clone(removed_fd, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, user_fd, &tree);
	return r < 0 ? r : start(delete_all, tree, user_fd, ret_pidfd);
}

/* ---- the process that flushes: it may take seconds where others write much ---- */

int volume_flush(int volumes_fd, int *ret_pidfd)
{
	return start(syncfs, volumes_fd, -1, ret_pidfd);
}
