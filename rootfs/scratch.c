/* SPDX-License-Identifier: Apache-2.0 */
/*
 * File systems of fixed size on disk: scratch, which is a session's own and goes with it, and volumes that have a size
 * (rootfs/volumes.c). An empty ext4 that `carrel image build` made is copied, holes and all, into a file without a
 * name; a loop device shows it as a disk, which is mounted.
 *
 * Nothing has to be undone, and a crash at any point leaves nothing: the file goes with its last user, the device; the
 * device clears itself when its last user goes, the mount; and the mount goes with the session's mount namespace.
 * The session reaches files in there and never the device, so that what the kernel parses is its own writing.
 */
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "rootfs/rootfs.h"

enum {
	BLOCK = 4096, /* of the file system and of the device */
	LOOP_TRIES = 64, /* others may take the device that was free when asked; ours come one after the other */
};

/* Copies what FROM has besides holes to the same places of TO. */
static int copy_sparse(int from, int to)
{
	struct stat st;
	loff_t at = 0;

	if (fstat(from, &st) < 0 || ftruncate(to, st.st_size) < 0)
		return -errno;
	while ((at = lseek(from, at, SEEK_DATA)) >= 0) {
		const loff_t end = lseek(from, at, SEEK_HOLE);
		if (end < 0)
			break;
		for (loff_t out = at; at < end;) {
			ssize_t n = RETRY_EINTR(copy_file_range(from, &at, to, &out, (size_t)(end - at), 0));
			if (n <= 0)
				return n < 0 ? -errno : -EIO;
		}
	}
	return errno == ENXIO ? 0 : -errno; /* ENXIO: only a hole is left */
}

int scratch_file(int store_fd, uint64_t bytes, bool kept, int dir_fd, int *ret_fd, struct err *err)
{
	char path[64];

	snprintf(path, sizeof(path), ".scratch/%s%llu", kept ? "volume-" : "", (unsigned long long)bytes);
	_close_ int empty = openat(store_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	_close_ int fd = empty < 0 ? -1 : openat(dir_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	int r = fd < 0 ? -errno : copy_sparse(empty, fd);
	if (r == 0 && kept && fallocate(fd, 0, 0, (off_t)bytes) < 0 && errno != EOPNOTSUPP)
		r = -errno;
	if (r < 0)
		return err_set(err, r, "scratch", "empty file system of %llu bytes", (unsigned long long)bytes);
	*ret_fd = steal_fd(&fd);
	return 0;
}

enum { LOOP_PATH_SIZE = 32 };

/*
 * Direct: what the session reads and writes is in the page cache once, not twice, and is written for the session's
 * account. Where the file system below cannot, the kernel goes on without it (drivers/block/loop.c, loop_configure()).
 */
static int attach_loop(int file_fd, char path[static LOOP_PATH_SIZE], int *ret_fd)
{
	const struct loop_config config = {
		.fd = (unsigned int)file_fd,
		.block_size = BLOCK,
		.info.lo_flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO,
	};
	_close_ int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	if (control < 0)
		return -errno;
	for (int i = 0; i < LOOP_TRIES; i++) {
		int number = ioctl(control, LOOP_CTL_GET_FREE);
		if (number < 0)
			return -errno;
		snprintf(path, LOOP_PATH_SIZE, "/dev/loop%d", number);
		_close_ int fd = open(path, O_RDWR | O_CLOEXEC);
		if (fd >= 0 && ioctl(fd, LOOP_CONFIGURE, &config) == 0) {
			*ret_fd = steal_fd(&fd);
			return 0;
		}
		if (fd < 0 || errno != EBUSY)
			return -errno;
	}
	return -EBUSY;
}

/*
 * No lazy initialisation: the kernel would fill the holes of the inode tables with zeros. Discard: what a session
 * deletes, the host gets back, but of what is set aside. An error of the disk below stops writes rather than be ignored.
 * No barrier for what is not kept: a power cut loses the whole of it, so that nothing need be on the disk at any time,
 * and neither the mount nor a session's fsync(2) waits until the host has flushed its own file system.
 */
static int mount_ext4(const char *device, bool kept, int *ret_fd)
{
	_close_ int fs = fsopen("ext4", FSOPEN_CLOEXEC);
	if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "source", device, 0) < 0 ||
		fsconfig(fs, FSCONFIG_SET_FLAG, kept ? "nodiscard" : "discard", NULL, 0) < 0 ||
		fsconfig(fs, FSCONFIG_SET_FLAG, kept ? "barrier" : "nobarrier", NULL, 0) < 0 ||
		fsconfig(fs, FSCONFIG_SET_FLAG, "noinit_itable", NULL, 0) < 0 ||
		fsconfig(fs, FSCONFIG_SET_STRING, "errors", "remount-ro", 0) < 0 ||
		fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	int fd = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

int scratch_mount(int file_fd, bool kept, int *ret_fd, struct err *err)
{
	char device[LOOP_PATH_SIZE];
	_close_ int loop = -1;

	int r = flock(file_fd, LOCK_EX | LOCK_NB) < 0 ? -EBUSY : attach_loop(file_fd, device, &loop);
	if (r < 0)
		return err_set(err, r, "scratch", "loop device");
	r = mount_ext4(device, kept, ret_fd);
	return r < 0 ? err_set(err, r, "scratch", "mount") : 0;
}

int rootfs_scratch(int store_fd, uint64_t bytes, int user_fd, int *ret_fd, struct err *err)
{
	_close_ int file = -1, mount = -1;

	int r = scratch_file(store_fd, bytes, false, store_fd, &file, err);
	if (r == 0)
		r = scratch_mount(file, false, &mount, err);
	if (r < 0)
		return r;
	r = rootfs_map(mount, 0, user_fd);
	if (r < 0)
		return err_set(err, r, "scratch", "ids");
	*ret_fd = steal_fd(&mount);
	return 0;
}
