/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /proc, and what a session need not see of it. The barrier is the user namespace: the files that change or reveal
 * much belong to the host's root. The covers take away what is readable for everybody and tells of the host.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>

#include "sandbox/init.h"
#include "sandbox/sys.h"

enum cover {
	COVER_FILE, /* by /dev/null */
	COVER_DIR, /* by an empty directory */
	READ_ONLY,
};

/* clang-format off */
static const struct {
	enum cover how;
	const char *path;	/* in /proc */
	const char *why;
} covers[] = {
	{ READ_ONLY,  "sys",           "settings; those of the session's own namespaces are root's inside" },
	{ READ_ONLY,  "irq",           "interrupt affinity" },
	{ READ_ONLY,  "bus",           "PCI configuration space" },
	{ COVER_DIR,  "fs",            "the host's file systems, by device name" },
	{ COVER_DIR,  "acpi",          "the host's firmware" },
	{ COVER_DIR,  "asound",        "the host's sound cards" },
	{ COVER_DIR,  "driver",        "the host's hardware" },
	{ COVER_DIR,  "pressure",      "how the host fares; accepts orders to watch it from everybody" },
	{ COVER_DIR,  "scsi",          "the host's disks; accepts commands" },
	{ COVER_FILE, "kcore",         "the kernel's memory" },
	{ COVER_FILE, "keys",          "key rings, which know no containers" },
	{ COVER_FILE, "key-users",     "every uid of the host that has keys" },
	{ COVER_FILE, "interrupts",    "timing of the host's devices: keystrokes, network" },
	{ COVER_FILE, "timer_list",    "what other processes wait for" },
	{ COVER_FILE, "latency_stats", "where other processes wait" },
	{ COVER_FILE, "sched_debug",   "every process of the host (before Linux 5.13)" },
	{ COVER_FILE, "sysrq-trigger", "reboots and kills" },
};
/* clang-format on */

/* Nobody is a router to the session but the host, whose address it has. Without IPv6 there is no such file. */
static int refuse_advertisements(struct setup *setup)
{
	_close_ int fd = openat(setup->proc, "sys/net/ipv6/conf/eth0/accept_ra", O_WRONLY | O_CLOEXEC);

	if (fd < 0 ? errno != ENOENT : write(fd, "0", 1) < 0)
		return fail(setup, -errno, "accept_ra");
	return 0;
}

int step_proc(struct setup *setup)
{
	const unsigned int attrs = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;

	/*
	 * Now, because the kernel allows this to a user namespace only while another /proc is in sight that nothing
	 * covers: that of the empty root (fs/namespace.c, mount_too_revealing()).
	 */
	int r = fs_make(setup, "proc", NULL, attrs);
	if (r < 0)
		return r;
	setup->proc = r;
	r = sys_attach(setup->proc, setup->root, "proc");
	return r < 0 ? fail(setup, r, "attach") : refuse_advertisements(setup);
}

/*
 * A user namespace that is made here gets limits of its own, and still counts against these. Only CAP_SYS_RESOURCE in
 * the session's own user namespace raises them again (kernel/ucount.c, set_permissions()).
 */
int step_counts(struct setup *setup)
{
	char path[64], text[24];

	for (size_t i = 0; i < LIMIT_COUNT; i++) {
		const uint64_t value = setup->plan.limits.value[i];
		if (limit_table[i].carrier != CARRIER_USER || value == LIMIT_UNSET)
			continue;
		snprintf(path, sizeof(path), "sys/user/%s", limit_table[i].file);
		int n = snprintf(text, sizeof(text), "%" PRIu64, value);
		_close_ int fd = openat(setup->proc, path, O_WRONLY | O_CLOEXEC);
		if (fd < 0 || write(fd, text, (size_t)n) < 0)
			return fail(setup, -errno, "/proc/%s", path);
	}
	return 0;
}

/* A detached mount to lay over PATH, or a negative errno. */
static int make_cover(const struct setup *setup, enum cover how, const char *path)
{
	/* The clone of null is read-only and more, as /dev is. */
	if (how == COVER_FILE)
		return sys_clone_tree(setup->dev, "null");
	_close_ int tree = how == READ_ONLY ? sys_clone_tree(setup->proc, path) : sys_clone_tree(setup->stage, "e");
	if (tree < 0)
		return tree;
	int r = sys_mount_restrict(tree, MOUNT_ATTR_RDONLY);
	return r < 0 ? r : steal_fd(&tree);
}

/*
 * After /dev, from which one cover comes. A process in the session cannot mount a /proc of its own where this is
 * done, not even in a namespace of its own: what is covered here it would uncover.
 */
int step_masks(struct setup *setup)
{
	if (!(setup->plan.flags & PLAN_MASK_PROC))
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(covers); i++) {
		/* Kernels differ in what they have. A cover that fits nowhere would be made for nothing, and is dear. */
		if (sys_access(setup->proc, covers[i].path) == -ENOENT)
			continue;
		_close_ int tree = make_cover(setup, covers[i].how, covers[i].path);
		int r = tree < 0 ? tree : sys_attach(tree, setup->proc, covers[i].path);
		if (r < 0)
			return fail(setup, r, "/proc/%s", covers[i].path);
	}
	return 0;
}
