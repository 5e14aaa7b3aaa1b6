/* SPDX-License-Identifier: Apache-2.0 */
/* Settings with which sessions run, but less well, or at a risk that is the host's own. */
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/xattr.h>

#include "check/item.h"

/* A program there is run by the kernel, as root on the host, for a crash in a session as well (core(5)). */
static void check_core_pattern(struct check *c)
{
	char text[160];

	if (check_read_text(AT_FDCWD, "/proc/sys/kernel/core_pattern", text, sizeof(text)) < 0)
		return;
	text[strcspn(text, "\n")] = '\0';
	if (text[0] != '|')
		ok(c, "core_pattern", "crashes in sessions start nothing on the host");
	else
		check_say(c, CHECK_DEGRADED, "core_pattern", "sysctl -w kernel.core_pattern=core",
			"crashes in sessions start a program as root on the host: %.40s", text);
}

/* Linux 6.6 gave tmpfs user attributes, in which an overlay in a user namespace says what hides a layer's directory. */
static int try_tmpfs_attributes(void)
{
	_close_ int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
	if (fs < 0 || fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	_close_ int mount = fsmount(fs, FSMOUNT_CLOEXEC, 0);
	_close_ int root = mount < 0 ? -1 : openat(mount, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return -errno;
	return fsetxattr(root, "user.overlay.opaque", "y", 1, 0) < 0 ? -errno : 0;
}

static void check_tmpfs(struct check *c)
{
	int r = try_tmpfs_attributes();

	if (r == 0)
		ok(c, "tmpfs", "has user attributes");
	else
		check_say(c, CHECK_DEGRADED, "tmpfs", "Linux 6.6 or later",
			"no user attributes: a directory of the image, removed and made anew, gives EIO");
}

/* Docker's containers in a session reach one another's published ports through their bridge by the packet filter. */
static void check_bridge(struct check *c)
{
	bool wanted = false;

	for (size_t i = 0; i < c->config->n_templates; i++)
		wanted |= streq(c->config->templates[i].seccomp, "dind");
	if (!wanted)
		return;
	if (access("/proc/sys/net/bridge", F_OK) == 0)
		ok(c, "net.bridge", "br_netfilter is there, for Docker in sessions");
	else
		check_say(c, CHECK_DEGRADED, "net.bridge", "modprobe br_netfilter",
			"no br_netfilter: Docker in sessions complains, and containers' ports may not be reached");
}

void check_hazards(struct check *c)
{
	check_core_pattern(c);
	check_tmpfs(c);
	check_bridge(c);
}
