/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scratch: a file system of fixed size on disk that is a session's own and goes with it. An empty ext4 that `carrel
 * image build` made is copied, holes and all, into a file without a name; a loop device shows it as a disk, which is
 * mounted.
 *
 * Nothing has to be undone, and a crash at any point leaves nothing: the file goes with its last user, the device; the
 * device clears itself when its last user goes, the mount; and the mount goes with the session's mount namespace.
 * The session reaches files in there and never the device, so that what the kernel parses is its own writing.
 */
#include <fcntl.h>
#include <linux/loop.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "rootfs/rootfs.h"

enum {
	BLOCK = 4096, /* of the file system and of the device */
	LOOP_TRIES = 64, /* others may take the device that was free when asked; ours come one after the other */
};

static int copy_range(int from, int to, off_t start, off_t end)
{
	while (start < end) {
		loff_t in = start, out = start;
		ssize_t n = RETRY_EINTR(copy_file_range(from, &in, to, &out, (size_t)(end - start), 0));
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		start += n;
	}
	return 0;
}

/* Copies what FROM has besides holes to the same places of TO. */
static int copy_sparse(int from, int to)
{
	struct stat st;
	int r = 0;

	if (fstat(from, &st) < 0 || ftruncate(to, st.st_size) < 0)
		return -errno;
	for (off_t end = 0; r == 0;) {
		off_t start = lseek(from, end, SEEK_DATA);
		if (start < 0)
			return errno == ENXIO ? 0 : -errno; /* ENXIO: only a hole is left */
		end = lseek(from, start, SEEK_HOLE);
		r = end < 0 ? -errno : copy_range(from, to, start, end);
	}
	return r;
}

/* A copy of the empty file system of BYTES, in a file that has no name. */
static int make_file(int store_fd, uint64_t bytes, int *ret_fd)
{
	struct open_how how = {
		.flags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV,
	};
	char path[64];

	snprintf(path, sizeof(path), ".scratch/%llu", (unsigned long long)bytes);
	_close_ int empty = (int)syscall(SYS_openat2, store_fd, path, &how, sizeof(how));
	if (empty < 0)
		return -errno;
	_close_ int fd = openat(store_fd, ".scratch", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	int r = copy_sparse(empty, fd);
	if (r < 0)
		return r;
	*ret_fd = steal_fd(&fd);
	return 0;
}

/*
 * Direct: what the session reads and writes is in the page cache once, not twice, and is written for the session's
 * account. Where the file system below cannot, the kernel goes on without it (drivers/block/loop.c, loop_configure()).
 */
static int configure(int loop_fd, int file_fd)
{
	const struct loop_config config = {
		.fd = (unsigned int)file_fd,
		.block_size = BLOCK,
		.info.lo_flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO,
	};
	return ioctl(loop_fd, LOOP_CONFIGURE, &config) < 0 ? -errno : 0;
}

enum { LOOP_PATH_SIZE = 32 };

static int attach_loop(int file_fd, char path[static LOOP_PATH_SIZE], int *ret_fd)
{
	_close_ int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	if (control < 0)
		return -errno;
	for (int i = 0; i < LOOP_TRIES; i++) {
		int number = ioctl(control, LOOP_CTL_GET_FREE);
		if (number < 0)
			return -errno;
		snprintf(path, LOOP_PATH_SIZE, "/dev/loop%d", number);
		_close_ int fd = open(path, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			return -errno;
		int r = configure(fd, file_fd);
		if (r == 0)
			*ret_fd = steal_fd(&fd);
		if (r != -EBUSY)
			return r;
	}
	return -EBUSY;
}

/*
 * No lazy initialisation: the kernel would fill the holes of the inode tables with zeros. Discard: what a session
 * deletes, the host gets back. An error of the disk below stops writes rather than be ignored.
 */
static int mount_ext4(const char *device, int *ret_fd)
{
	_close_ int fs = fsopen("ext4", FSOPEN_CLOEXEC);
	if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "source", device, 0) < 0 ||
		fsconfig(fs, FSCONFIG_SET_FLAG, "discard", NULL, 0) < 0 ||
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

int rootfs_scratch(int store_fd, uint64_t bytes, int user_fd, int *ret_fd, struct err *err)
{
	struct mount_attr attr = {
		.attr_set = MOUNT_ATTR_IDMAP,
		.propagation = MS_PRIVATE,
		.userns_fd = (unsigned int)user_fd,
	};
	_close_ int file = -1, loop = -1, mount = -1;
	char device[LOOP_PATH_SIZE];

	int r = make_file(store_fd, bytes, &file);
	if (r < 0)
		return err_set(err, r, "scratch", "empty file system of %llu bytes", (unsigned long long)bytes);
	r = attach_loop(file, device, &loop);
	if (r < 0)
		return err_set(err, r, "scratch", "loop device");
	r = mount_ext4(device, &mount);
	if (r < 0)
		return err_set(err, r, "scratch", "mount");
	if (mount_setattr(mount, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		return err_set(err, -errno, "scratch", "ids");
	*ret_fd = steal_fd(&mount);
	return 0;
}
