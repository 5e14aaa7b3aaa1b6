/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The session's own cgroup tree, for templates that run containers. The root of this view is the delegated cgroup:
 * its directory and the files that make and populate children belong to root inside, the limit files to the host.
 */
#include <stdio.h>
#include <sys/stat.h>

#include "sandbox/init.h"
#include "sandbox/sys.h"

static int write_to(int dir, const char *path, const char *text)
{
	_close_ int fd = openat(dir, path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		return -errno;
	return 0;
}

/* Gives children whatever the session was given: "cpu memory pids\n" becomes "+cpu +memory +pids\n". */
static int enable_controllers(int dir)
{
	char names[256], orders[2 * sizeof(names)];
	size_t n = 0;

	_close_ int fd = openat(dir, "cgroup.controllers", O_RDONLY | O_CLOEXEC);
	ssize_t got = fd < 0 ? -1 : read(fd, names, sizeof(names) - 1);
	if (got < 0)
		return -errno;
	for (ssize_t i = 0; i < got; i++) {
		if (names[i] != '\n' && (i == 0 || names[i - 1] == ' '))
			orders[n++] = '+';
		orders[n++] = names[i];
	}
	orders[n] = '\0';
	return n > 1 ? write_to(dir, "cgroup.subtree_control", orders) : 0;
}

/* Init, and with it everything it starts, is in a leaf, PLAN_LEAF, so that what is above can have controllers. */
int step_cgroup(struct setup *setup)
{
	if (!(setup->plan.flags & PLAN_CGROUP))
		return 0;
	_close_ int dir = fs_make(setup, "cgroup2", NULL, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	if (dir < 0)
		return dir;
	int r = sys_attach(dir, setup->sys, "fs/cgroup");
	if (r < 0)
		return fail(setup, r, "attach");
	r = enable_controllers(dir);
	return r < 0 ? fail(setup, r, "cgroup.subtree_control") : 0;
}
