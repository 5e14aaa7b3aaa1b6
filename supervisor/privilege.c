/* SPDX-License-Identifier: Apache-2.0 */
#include <linux/capability.h>
#include <stdio.h>
#include <sys/capability.h>
#include <sys/prctl.h>

#include "supervisor/supervisor.h"

static const struct {
	cap_value_t capability;
	const char *why;
} kept[] = {
	{ CAP_SYS_ADMIN, "makes mounts and namespaces, joins those of a session that is being made" },
	{ CAP_NET_ADMIN, "makes veths, addresses, routes and the nftables table" },
	{ CAP_SETUID, "writes the uid map of a session; becomes control's user before executing it" },
	{ CAP_SETGID, "writes the gid map of a session; takes control's group before executing it" },
	{ CAP_SETPCAP, "empties the bounding set before control is executed" },
	{ CAP_CHOWN, "gives the API socket to its group, and a session's cgroup to its root" },
	{ CAP_DAC_OVERRIDE, "removes what a session left in its delegated cgroup; opens and renames volumes, whose "
			    "roots are a session's" },
	{ CAP_MKNOD, "makes the nodes of the /dev tree" },
	{ CAP_KILL, "signals carrel-init, which has another uid" },
	{ CAP_SYS_CHROOT, "joins the mount namespace that a session begins with, to which setns(2) sets the root, too" },
	{ CAP_SYS_PTRACE, "opens the namespaces of a process in another user namespace" },
	{ CAP_SYS_RESOURCE,
		"raises its own limit of open files; keeps its protection from want of memory out of sessions" },
};

static bool is_kept(cap_value_t capability)
{
	for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
		if (kept[i].capability == capability)
			return true;
	return false;
}

/*
 * Nothing that is executed from here gets what is not in the table. Sessions are not bound by it: whoever enters a user
 * namespace begins anew there (set_cred_user_ns() in kernel/user_namespace.c).
 */
static int trim_bound(void)
{
	for (cap_value_t c = 0; c <= CAP_LAST_CAP; c++)
		if (!is_kept(c) && cap_drop_bound(c) < 0 && errno != EINVAL && errno != EPERM)
			return -errno;
	return 0;
}

int privilege_trim(struct err *err)
{
	cap_t wanted = cap_init(), have = cap_get_proc();
	int r = 0;

	if (!wanted || !have)
		r = -ENOMEM;
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(kept); i++) {
		cap_value_t c = kept[i].capability;
		cap_flag_value_t permitted = CAP_CLEAR;
		/* What the host withholds is the host check's to complain about. */
		if (cap_get_flag(have, c, CAP_PERMITTED, &permitted) < 0)
			r = -errno;
		else if (permitted == CAP_SET && (cap_set_flag(wanted, CAP_PERMITTED, 1, &c, CAP_SET) < 0 ||
							 cap_set_flag(wanted, CAP_EFFECTIVE, 1, &c, CAP_SET) < 0))
			r = -errno;
	}
	if (r == 0)
		r = trim_bound();
	if (r == 0 && cap_set_proc(wanted) < 0)
		r = -errno;
	cap_free(wanted);
	cap_free(have);
	return r < 0 ? err_set(err, r, "privilege", "capabilities") : 0;
}

void privilege_print(FILE *out)
{
	for (size_t i = 0; i < ARRAY_SIZE(kept); i++) {
		char *name = cap_to_name(kept[i].capability);
		fprintf(out, "| `%s` | %s |\n", name ? name : "?", kept[i].why);
		cap_free(name);
	}
}
