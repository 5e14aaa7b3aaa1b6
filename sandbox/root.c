/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The root file system: an overlay of the image's layers below a tmpfs, put together on a stage and laid over the
 * empty root that init finds (rootfs_empty()). Nobody leaves it for that: a path cannot get below the mount that is on
 * top of the namespace's root, and if root inside takes it away, there is nothing.
 *
 * Paths that overlayfs is given are relative to the stage, so that the session's mountinfo says "lowerdir=l0:l1" and
 * nothing of where images lie on the host. Descriptors instead of paths would do as well, but not before Linux 6.13.
 */
#include <stdio.h>
#include <sys/stat.h>

#include "sandbox/init.h"
#include "sandbox/sys.h"

enum { LAYER_NAME_SIZE = sizeof("l15") };
_Static_assert(PLAN_MAX_LAYERS <= 100, "two digits");

/* On the stage: the upper layer, overlayfs's work directory, an empty directory. */
static const char *const stage_dirs[] = { "u", "w", "e" };

/* Directories of the upper layer: the session's own mounts go there, whatever the image has under these names. */
static const char *const upper_dirs[] = { "u/proc", "u/sys", "u/dev", "u/etc" };

static int make_dirs(struct setup *setup, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (mkdirat(setup->stage, names[i], 0755) < 0)
			return fail(setup, -errno, "directory %s", names[i]);
	return 0;
}

static int attach_layers(struct setup *setup)
{
	char name[LAYER_NAME_SIZE];

	for (unsigned int i = 0; i < setup->plan.n_layers; i++) {
		snprintf(name, sizeof(name), "l%u", i);
		if (mkdirat(setup->stage, name, 0700) < 0)
			return fail(setup, -errno, "directory %s", name);
		int r = sys_attach(setup->layers[i], setup->stage, name);
		if (r < 0)
			return fail(setup, r, "layer %u", i);
	}
	close_fds(setup->layers, setup->plan.n_layers);
	return 0;
}

/*
 * One tmpfs is both stage and upper layer: what the session writes to its root counts against its size, and the few
 * names on the stage do so, too. Nobody but init ever sees the stage.
 */
int step_stage(struct setup *setup)
{
	const struct tmpfs options = {
		.mode = 0700,
		.bytes = setup->plan.limits.value[LIMIT_ROOT_BYTES],
		.inodes = setup->plan.limits.value[LIMIT_ROOT_INODES],
	};

	int r = fs_make_tmpfs(setup, &options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
	if (r < 0)
		return r;
	setup->stage = r;
	r = sys_attach(setup->stage, AT_FDCWD, PLAN_STAGE);
	if (r < 0)
		return fail(setup, r, "attach");
	/* For the relative paths of step_root(). */
	if (fchdir(setup->stage) < 0)
		return fail(setup, -errno, "enter");
	r = make_dirs(setup, stage_dirs, ARRAY_SIZE(stage_dirs));
	if (r == 0)
		r = make_dirs(setup, upper_dirs, ARRAY_SIZE(upper_dirs));
	return r < 0 ? r : attach_layers(setup);
}

int step_root(struct setup *setup)
{
	char lower[PLAN_MAX_LAYERS * LAYER_NAME_SIZE] = "l0";
	size_t n = strlen(lower);

	for (unsigned int i = 1; i < setup->plan.n_layers; i++)
		n += (size_t)snprintf(lower + n, sizeof(lower) - n, ":l%u", i);
	const struct fs_option options[] = {
		{ "lowerdir", lower }, /* topmost first, as in the plan */
		{ "upperdir", "u" },
		{ "workdir", "w" },
		{ "userxattr", NULL }, /* the mounter has no right to trusted.* attributes (Linux 5.11) */
		{ NULL, NULL },
	};
	/* Where nobody may gain privileges, the image's setuid programs are told so in a second way. */
	const unsigned int nosuid = setup->plan.flags & PLAN_NO_NEW_PRIVS ? MOUNT_ATTR_NOSUID : 0U;
	int r = fs_make(setup, "overlay", options, MOUNT_ATTR_NODEV | nosuid);
	if (r < 0)
		return r;
	setup->root = space_keep(setup, r, "/");
	r = sys_attach(setup->root, AT_FDCWD, "/");
	return r < 0 ? fail(setup, r, "attach") : 0;
}

static bool same_directory(const struct stat *a, const char *path)
{
	struct stat b;

	return stat(path, &b) == 0 && a->st_dev == b.st_dev && a->st_ino == b.st_ino;
}

/* Descriptors 0, 1 and 2 came from the host's /dev; the last that is left of the host. */
static int renew_stdio(void)
{
	_close_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0)
		return -errno;
	for (int i = 0; i < 3; i++)
		if (dup2(null, i) < 0)
			return -errno;
	return 0;
}

/*
 * The /proc and the /sys of the empty root have done their service. In a user namespace that is made inside they would
 * allow to mount a /proc without its covers; covered themselves, they do not. The kernel forbids to unmount them.
 */
static int cover_empty(struct setup *setup)
{
	static const char *const paths[] = { "/proc", "/sys" };

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		_close_ int tree = sys_clone_tree(setup->stage, "e");
		int r = tree < 0 ? tree : sys_attach(tree, AT_FDCWD, paths[i]);
		if (r < 0)
			return fail(setup, r, "cover %s", paths[i]);
	}
	return 0;
}

int step_enter(struct setup *setup)
{
	char cwd[32];
	struct stat root;

	int r = cover_empty(setup);
	if (r < 0)
		return r;
	r = sys_umount(PLAN_STAGE, UMOUNT_DETACH);
	if (r < 0)
		return fail(setup, r, "stage");
	if (fchdir(setup->root) < 0 || chroot(".") < 0 || fstat(setup->root, &root) < 0)
		return fail(setup, -errno, "/");
	/* A working directory outside the root would be a way back. */
	if (sys_getcwd(cwd, sizeof(cwd)) < 0 || !streq(cwd, "/") || !same_directory(&root, "/") ||
		!same_directory(&root, ".") || !same_directory(&root, "/.."))
		return fail(setup, -EXDEV, "the root is not the session's");
	r = renew_stdio();
	if (r < 0)
		return fail(setup, r, "/dev/null");
	/* They hold nothing of the host, but nothing needs them. */
	close_fdp(&setup->stage);
	close_fdp(&setup->root);
	close_fdp(&setup->proc);
	close_fdp(&setup->sys);
	close_fdp(&setup->dev);
	return 0;
}
