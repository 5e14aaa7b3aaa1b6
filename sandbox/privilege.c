/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What init and everything it starts may do from now on. All capabilities spoken of here are those of the session's
 * user namespace; init never had one on the host.
 *
 * Capabilities of a process come from its program file and its user, cut by the bounding set. So the bounding set is
 * the template's for everybody, and init itself goes on with what it has and needs: a set that is never widened,
 * because init executes nothing.
 */
#include <linux/securebits.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "sandbox/init.h"
#include "sandbox/sys.h"

/* clang-format off */
static const struct {
	unsigned int capability;
	const char *why;
} kept[] = {
	{ CAP_KILL,   "signals commands that control started as another user, and stops the workload" },
	{ CAP_SETGID, "its children take on the groups of the command's user" },
	{ CAP_SETUID, "its children take on the command's user" },
};
/* clang-format on */

static uint64_t kept_set(void)
{
	uint64_t set = 0;

	for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
		set |= UINT64_C(1) << kept[i].capability;
	return set;
}

/*
 * The workload's limits are applied in each child, so that init itself has descriptors enough whatever they are. Here
 * they are only checked: what is above init's own hard limit no child could set.
 */
int step_limits(struct setup *setup)
{
	struct spawn_rules *rules = &setup->rules;
	struct rlimit own;
	int r;

	for (size_t i = 0; i < setup->plan.n_rlimits; i++) {
		const struct plan_rlimit *wanted = &setup->plan.rlimits[i];
		if (wanted->resource >= RLIM_NLIMITS || wanted->soft > wanted->hard)
			return fail(setup, -EINVAL, "resource %u", wanted->resource);
		r = sys_rlimit(wanted->resource, NULL, &own);
		if (r < 0)
			return fail(setup, r, "resource %u", wanted->resource);
		if (wanted->hard > own.rlim_max)
			return fail(setup, -EPERM, "resource %u, above the supervisor's own", wanted->resource);
		rules->rlimits[rules->n_rlimits++] = *wanted;
	}
	/* Each command that is being started and each port that is being connected to takes init one descriptor. */
	r = sys_rlimit(RLIMIT_NOFILE, NULL, &own);
	own.rlim_cur = own.rlim_max;
	if (r == 0)
		r = sys_rlimit(RLIMIT_NOFILE, &own, NULL);
	return r < 0 ? fail(setup, r, "open files") : 0;
}

static int limit_children(struct setup *setup)
{
	const uint64_t bounding = setup->plan.capabilities;

	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		return fail(setup, -errno, "ambient");
	/* EINVAL is the first number that this kernel has no capability for. */
	for (unsigned int i = 0; i < 64; i++)
		if (!(bounding & UINT64_C(1) << i) && prctl(PR_CAPBSET_DROP, i, 0, 0, 0) < 0) {
			if (errno == EINVAL)
				break;
			return fail(setup, -errno, "bounding set, %u", i);
		}
	/* Without capabilities uid 0 is a user like any other, and no setuid program changes that. */
	const unsigned long secure = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE |
				     SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;
	if (bounding == 0 && prctl(PR_SET_SECUREBITS, secure, 0, 0, 0) < 0)
		return fail(setup, -errno, "securebits");
	if (setup->plan.flags & PLAN_NO_NEW_PRIVS && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return fail(setup, -errno, "no_new_privs");
	return 0;
}

/* Init itself lives under the filter that its children inherit. */
static int install_filter(struct setup *setup)
{
	const size_t bytes = setup->plan.n_seccomp * sizeof(struct sock_filter);
	struct stat st;

	if (setup->plan.n_seccomp == 0)
		return 0;
	if (setup->plan.n_seccomp > BPF_MAXINSNS || fstat(setup->seccomp, &st) < 0 || st.st_size != (off_t)bytes)
		return fail(setup, -EPROTO, "filter of %u instructions", setup->plan.n_seccomp);
	void *map = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, setup->seccomp, 0);
	if (map == MAP_FAILED)
		return fail(setup, -errno, "map filter");
	const struct sock_fprog program = { .len = (unsigned short)setup->plan.n_seccomp, .filter = map };
	int r = sys_seccomp_filter(&program);
	munmap(map, bytes);
	return r < 0 ? fail(setup, r, "filter") : 0;
}

int step_privilege(struct setup *setup)
{
	const uint64_t own = kept_set(), children = setup->plan.capabilities;

	int r = limit_children(setup);
	/* Before capabilities go: without no_new_privs the kernel lets only CAP_SYS_ADMIN install a filter. */
	if (r == 0)
		r = install_filter(setup);
	if (r < 0)
		return r;
	/*
	 * The children's stay permitted, though not effective: under no_new_privs an exec gives nothing that was not
	 * permitted before it (security/commoncap.c).
	 */
	r = sys_capset(own, own | children, 0);
	if (r < 0)
		return fail(setup, r, "capset");
	setup->rules.capabilities = children;
	close_fdp(&setup->seccomp);
	return 0;
}
