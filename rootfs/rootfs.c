/* SPDX-License-Identifier: Apache-2.0 */
#include "rootfs/rootfs.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

/* Layers may be symbolic links to directories elsewhere in the store, but never lead out of it. */
static int open_in_store(int store_fd, const char *path)
{
	struct open_how how = {
		.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV,
	};
	int fd = (int)syscall(SYS_openat2, store_fd, path, &how, sizeof(how));
	return fd < 0 ? -errno : fd;
}

int rootfs_map(int mount_fd, uint64_t attrs, int user_fd)
{
	struct mount_attr attr = {
		.attr_set = attrs | (user_fd < 0 ? 0 : MOUNT_ATTR_IDMAP),
		.propagation = MS_PRIVATE,
		.userns_fd = user_fd < 0 ? 0 : (unsigned int)user_fd,
	};
	return mount_setattr(mount_fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0 ? -errno : 0;
}

int rootfs_clone(int fd, uint64_t attrs, int user_fd, int *ret_fd)
{
	_close_ int tree = open_tree(fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	if (tree < 0)
		return -errno;
	int r = rootfs_map(tree, attrs, user_fd);
	if (r == 0)
		*ret_fd = steal_fd(&tree);
	return r;
}

int rootfs_layers(
	int store_fd, const char *image, int user_fd, int *ret_fds, size_t max, size_t *ret_n, struct err *err)
{
	size_t n = 0;
	int r;

	_close_ int dir = open_in_store(store_fd, image);
	if (dir < 0)
		return err_set(err, dir, "rootfs", "image %s", image);
	for (;; n++) {
		char path[128];
		snprintf(path, sizeof(path), "%s/%zu", image, n);
		_close_ int layer = open_in_store(store_fd, path);
		if (layer == -ENOENT && n > 0)
			break;
		r = layer < 0 ? layer : 0;
		if (r == 0 && n == max)
			r = -E2BIG;
		if (r == 0)
			r = rootfs_clone(layer, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV, user_fd, &ret_fds[n]);
		if (r < 0) {
			close_fds(ret_fds, n);
			return err_set(err, r, "rootfs", "image %s layer %zu", image, n);
		}
	}
	*ret_n = n;
	return 0;
}

int rootfs_bind(const char *source, int user_fd, bool writable, bool suid, int *ret_fd, struct err *err)
{
	uint64_t attrs = MOUNT_ATTR_NODEV | (writable ? 0 : MOUNT_ATTR_RDONLY) | (suid ? 0 : MOUNT_ATTR_NOSUID);

	_close_ int fd = open(source, O_PATH | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return err_set(err, -errno, "rootfs", "bind %s", source);
	int r = rootfs_clone(fd, attrs, user_fd, ret_fd);
	if (r < 0)
		return err_set(err, r, "rootfs", "bind %s", source);
	return 0;
}

/* The devices that a process may rely on in every session; nothing that leads to the host's hardware or
 * kernel. */
static const struct {
	const char *name;
	unsigned int major, minor; /* Documentation/admin-guide/devices.txt */
} dev_nodes[] = {
	{ "null", 1, 3 },
	{ "zero", 1, 5 },
	{ "full", 1, 7 },
	{ "random", 1, 8 },
	{ "urandom", 1, 9 },
	{ "tty", 5, 0 },
};

static const struct {
	const char *name, *target;
} dev_links[] = {
	{ "fd", "/proc/self/fd" },
	{ "stdin", "/proc/self/fd/0" },
	{ "stdout", "/proc/self/fd/1" },
	{ "stderr", "/proc/self/fd/2" },
	{ "ptmx", "pts/ptmx" },
};

static const char *const dev_dirs[] = { "pts", "shm", "mqueue" };

static int fill_dev(int root, struct err *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(dev_nodes); i++) {
		if (mknodat(root, dev_nodes[i].name, S_IFCHR, makedev(dev_nodes[i].major, dev_nodes[i].minor)) < 0 ||
			fchmodat(root, dev_nodes[i].name, 0666, 0) < 0)
			return err_set(err, -errno, "dev", "/dev/%s", dev_nodes[i].name);
	}
	for (size_t i = 0; i < ARRAY_SIZE(dev_links); i++)
		if (symlinkat(dev_links[i].target, root, dev_links[i].name) < 0)
			return err_set(err, -errno, "dev", "/dev/%s", dev_links[i].name);
	for (size_t i = 0; i < ARRAY_SIZE(dev_dirs); i++)
		if (mkdirat(root, dev_dirs[i], 0755) < 0)
			return err_set(err, -errno, "dev", "/dev/%s", dev_dirs[i]);
	return 0;
}

/* A new tmpfs, writable until it has been filled; *RET_FS is its context, for the change. */
static int make_dev_fs(int *ret_fs, int *ret_mount)
{
	_close_ int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
	if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "mode", "0755", 0) < 0 ||
		fsconfig(fs, FSCONFIG_SET_STRING, "size", "64k", 0) < 0 ||
		fsconfig(fs, FSCONFIG_SET_STRING, "nr_inodes", "64", 0) < 0 ||
		fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	int fd = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
	if (fd < 0)
		return -errno;
	*ret_fs = steal_fd(&fs);
	*ret_mount = fd;
	return 0;
}

int rootfs_dev_make(int user_fd, int *ret_fd, struct err *err)
{
	/* The file system is read-only anyway; writing to a device node is no write to it. */
	const uint64_t attrs = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC;
	_close_ int fs = -1, dev = -1;

	int r = make_dev_fs(&fs, &dev);
	if (r < 0)
		return err_set(err, r, "dev", "tmpfs");
	r = fill_dev(dev, err);
	if (r < 0)
		return r;
	/* The file system itself, too: root in a session with CAP_SYS_ADMIN can take the flag off a mount. */
	if (fsconfig(fs, FSCONFIG_SET_FLAG, "ro", NULL, 0) < 0 ||
		fsconfig(fs, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0) < 0)
		return err_set(err, -errno, "dev", "read-only");
	r = rootfs_map(dev, attrs, user_fd);
	if (r == -EINVAL)
		r = rootfs_map(dev, attrs, -1);
	if (r < 0)
		return err_set(err, r, "dev", "ids");
	*ret_fd = steal_fd(&dev);
	return 0;
}
