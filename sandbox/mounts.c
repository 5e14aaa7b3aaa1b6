/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mounts of a session beside its root: /sys, /dev and what its template's table says. Everything is attached by
 * descriptor, and every target is resolved beneath the session's own root: an image may hold any links it likes.
 */
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>

#include "sandbox/init.h"
#include "sandbox/sys.h"

/* Fails with the last line that the kernel wrote about the file system, or else with WHAT ("e overlay: ..."). */
static int fs_fail(struct setup *setup, int fs, int num, const char *type, const char *what)
{
	char line[ERR_OBJECT_SIZE];
	ssize_t n = read(fs, line, sizeof(line) - 1);

	if (n <= 2)
		return fail(setup, num, "%s %s", type, what);
	line[n] = '\0';
	return fail(setup, num, "%s: %s", type, line + 2);
}

int fs_make(struct setup *setup, const char *type, const struct fs_option *options, unsigned int attrs)
{
	_close_ int fs = sys_fsopen(type);
	if (fs < 0)
		return fail(setup, fs, "%s", type);
	/* The source is what df(1) shows. */
	int r = sys_fsconfig(fs, FSCONFIG_SET_STRING, "source", type);
	if (r < 0)
		return fs_fail(setup, fs, r, type, "source");
	for (; options && options->key; options++) {
		r = sys_fsconfig(
			fs, options->value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, options->key, options->value);
		if (r < 0)
			return fs_fail(setup, fs, r, type, options->key);
	}
	r = sys_fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL);
	if (r < 0)
		return fs_fail(setup, fs, r, type, "create");
	r = sys_fsmount(fs, attrs);
	return r < 0 ? fs_fail(setup, fs, r, type, "mount") : r;
}

int fs_make_tmpfs(struct setup *setup, const struct tmpfs *tmpfs, unsigned int attrs)
{
	char mode[12], uid[12], gid[12], bytes[24], inodes[24];
	struct fs_option options[6];
	size_t n = 0;

	snprintf(mode, sizeof(mode), "%" PRIo32, tmpfs->mode & 07777);
	options[n++] = (struct fs_option){ "mode", mode };
	if (tmpfs->uid != 0 || tmpfs->gid != 0) {
		snprintf(uid, sizeof(uid), "%" PRIu32, tmpfs->uid);
		snprintf(gid, sizeof(gid), "%" PRIu32, tmpfs->gid);
		options[n++] = (struct fs_option){ "uid", uid };
		options[n++] = (struct fs_option){ "gid", gid };
	}
	if (tmpfs->bytes != LIMIT_UNSET) {
		snprintf(bytes, sizeof(bytes), "%" PRIu64, tmpfs->bytes);
		options[n++] = (struct fs_option){ "size", bytes };
	}
	if (tmpfs->inodes != LIMIT_UNSET) {
		snprintf(inodes, sizeof(inodes), "%" PRIu64, tmpfs->inodes);
		options[n++] = (struct fs_option){ "nr_inodes", inodes };
	}
	options[n] = (struct fs_option){ NULL, NULL };
	return fs_make(setup, "tmpfs", options, attrs);
}

/*
 * Makes the last part of TARGET in its directory, which is there. A name that turns out to be a dangling link is
 * refused with -EEXIST.
 */
static int make_last(int parent, const char *name, bool directory)
{
	if (directory)
		return mkdirat(parent, name, 0755) < 0 ? -errno : 0;
	int fd = openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0)
		return -errno;
	close_fd(fd);
	return 0;
}

int target_open(int root, const char *target, bool directory)
{
	char parent_path[member_size(struct plan_mount, target)];
	const int flags = O_PATH | (directory ? O_DIRECTORY : 0);

	int fd = sys_open_in_root(root, target, flags);
	if (fd != -ENOENT)
		return fd;
	const char *slash = strrchr(target, '/');
	if (!slash || slash[1] == '\0' || (size_t)(slash - target) >= sizeof(parent_path))
		return -EINVAL;
	memcpy(parent_path, target, (size_t)(slash - target));
	parent_path[slash - target] = '\0';
	/* Each call is for a shorter path, and the shortest is there: the depth is bounded by the target's length. */
	_close_ int parent = target_open(root, slash == target ? "/" : parent_path, true);
	if (parent < 0)
		return parent;
	int r = make_last(parent, slash + 1, directory);
	return r < 0 ? r : sys_open_in_root(root, target, flags);
}

/*
 * The superblock is writable and only the mount is not: a sysfs that is read-only itself would forbid a container
 * inside the session a writable one (fs/namespace.c, mnt_already_visible()).
 */
int step_sys(struct setup *setup)
{
	const unsigned int attrs = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;

	int r = fs_make(setup, "sysfs", NULL, attrs);
	if (r < 0)
		return r;
	setup->sys = r;
	r = sys_attach(setup->sys, setup->root, "sys");
	return r < 0 ? fail(setup, r, "attach") : 0;
}

/* Attaches what fs_make() has just made, or passes on that it failed. */
static int attach_new(struct setup *setup, int tree, int dir, const char *name)
{
	if (tree < 0)
		return tree;
	int r = sys_attach(tree, dir, name);
	close_fd(tree);
	return r < 0 ? fail(setup, r, "%s", name) : 0;
}

/* One inode for each page: small files and empty ones cost the kernel about as much. */
static uint64_t shm_inodes(uint64_t bytes)
{
	return bytes == LIMIT_UNSET ? LIMIT_UNSET : bytes / 4096 + 16;
}

int step_dev(struct setup *setup)
{
	const uint64_t shm_bytes = setup->plan.limits.value[LIMIT_SHM_BYTES];
	const struct tmpfs shm = { .mode = 01777, .bytes = shm_bytes, .inodes = shm_inodes(shm_bytes) };
	const uint64_t terminals = setup->plan.limits.value[LIMIT_TERMINALS];
	char max[24];
	const struct fs_option pts[] = {
		{ "newinstance", NULL },
		{ "ptmxmode", "0666" },
		{ "mode", "0620" },
		{ "gid", "5" }, /* tty, in every distribution */
		{ "max", max }, /* of kernel.pty.max, which all sessions and the host share */
		{ NULL, NULL },
	};
	const unsigned int attrs = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC;

	snprintf(max, sizeof(max), "%" PRIu64,
		terminals == LIMIT_UNSET ? limit_table[LIMIT_TERMINALS].absent : terminals);
	/* The supervisor's tree has these attributes already; that no mount is passed on to other sessions' is vital. */
	int r = sys_mount_restrict(setup->dev, MOUNT_ATTR_RDONLY | attrs);
	if (r == 0)
		r = sys_attach(setup->dev, setup->root, "dev");
	if (r < 0)
		return fail(setup, r, "attach");
	/* Terminals are devices: no NODEV. */
	r = setup->pts = fs_make(setup, "devpts", pts, attrs);
	if (r >= 0)
		r = sys_attach(setup->pts, setup->dev, "pts") < 0 ? fail(setup, -errno, "pts") : 0;
	if (r == 0)
		r = space_keep(setup, fs_make_tmpfs(setup, &shm, attrs | MOUNT_ATTR_NODEV), "/dev/shm");
	if (r >= 0)
		r = attach_new(setup, r, setup->dev, "shm");
	if (r == 0)
		r = attach_new(setup, fs_make(setup, "mqueue", NULL, attrs | MOUNT_ATTR_NODEV), setup->dev, "mqueue");
	return r;
}

/*
 * A directory of the host that the session may not write to. A read-only flag is not enough: root inside a session
 * that has CAP_SYS_ADMIN may take it off again, because the kernel locks the flags only of mounts that were copied
 * into a namespace of lesser privilege, not of those that were moved there. An overlay without an upper layer has
 * nowhere to write to, whatever its flags. It wants two lower layers; the second is the stage's empty directory.
 */
static int make_read_only(struct setup *setup, int bind, unsigned int number, unsigned int attrs)
{
	char name[sizeof("b23")], lower[sizeof("b23:e")];

	snprintf(name, sizeof(name), "b%u", number % 100);
	snprintf(lower, sizeof(lower), "%s:e", name);
	if (mkdirat(setup->stage, name, 0700) < 0)
		return fail(setup, -errno, "directory %s", name);
	int r = sys_attach(bind, setup->stage, name);
	if (r < 0)
		return fail(setup, r, "attach %s", name);
	const struct fs_option options[] = { { "lowerdir", lower }, { "userxattr", NULL }, { NULL, NULL } };
	return fs_make(setup, "overlay", options, attrs);
}

/* The tree of bind mount NUMBER as the session may see it; takes the descriptor out of the set-up. */
static int make_bind(struct setup *setup, unsigned int number, unsigned int attrs, bool *ret_directory)
{
	_close_ int bind = steal_fd(&setup->binds[number]);
	struct stat st;

	if (fstat(bind, &st) < 0)
		return fail(setup, -errno, "bind %u", number);
	*ret_directory = S_ISDIR(st.st_mode);
	if (*ret_directory && (attrs & MOUNT_ATTR_RDONLY))
		return make_read_only(setup, bind, number, attrs);
	/* There is no overlay of a single file. */
	if ((attrs & MOUNT_ATTR_RDONLY) && (setup->plan.capabilities & UINT64_C(1) << CAP_SYS_ADMIN))
		return fail(setup, -EOPNOTSUPP, "read-only file in a session with CAP_SYS_ADMIN");
	int r = sys_mount_restrict(bind, attrs);
	return r < 0 ? fail(setup, r, "bind %u", number) : steal_fd(&bind);
}

static unsigned int mount_attrs(uint32_t flags)
{
	return MOUNT_ATTR_NODEV | (flags & PLAN_MOUNT_RDONLY ? MOUNT_ATTR_RDONLY : 0U) |
	       (flags & PLAN_MOUNT_NOEXEC ? MOUNT_ATTR_NOEXEC : 0U) |
	       (flags & PLAN_MOUNT_SUID ? 0U : MOUNT_ATTR_NOSUID);
}

/* A Chromium that was killed leaves links by which the next one takes the profile for another's. */
static int remove_chromium_locks(struct setup *setup, int profile)
{
	static const char *const locks[] = { "SingletonLock", "SingletonSocket", "SingletonCookie" };

	for (size_t i = 0; i < ARRAY_SIZE(locks); i++)
		if (unlinkat(profile, locks[i], 0) < 0 && errno != ENOENT && errno != EISDIR)
			return fail(setup, -errno, "%s", locks[i]);
	return 0;
}

int step_mounts(struct setup *setup)
{
	unsigned int n_binds = 0;

	for (size_t i = 0; i < setup->plan.n_mounts; i++) {
		const struct plan_mount *mount = &setup->plan.mounts[i];
		const struct tmpfs tmpfs = { mount->mode, mount->uid, mount->gid, mount->bytes, mount->inodes };
		bool directory = true;

		_close_ int tree = mount->kind == PLAN_BIND
					   ? make_bind(setup, n_binds++, mount_attrs(mount->flags), &directory)
					   : fs_make_tmpfs(setup, &tmpfs, mount_attrs(mount->flags));
		if (tree < 0)
			return tree;
		_close_ int target = target_open(setup->root, mount->target, directory);
		if (target < 0)
			return fail(setup, target, "target %s", mount->target);
		int r = sys_attach(tree, target, "");
		if (r < 0)
			return fail(setup, r, "attach %s", mount->target);
		if (!(mount->flags & PLAN_MOUNT_RDONLY))
			space_keep(setup, tree, mount->target);
		r = mount->flags & PLAN_MOUNT_CHROMIUM ? remove_chromium_locks(setup, tree) : 0;
		if (r < 0)
			return r;
	}
	return 0;
}
