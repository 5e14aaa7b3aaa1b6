/* SPDX-License-Identifier: Apache-2.0 */
/* What carrel-init accepts from the supervisor. */
#include "wire/plan.h"

static int check_plan(const void *msg)
{
	const struct plan *m = msg;

	if (m->n_layers == 0 || m->n_layers > PLAN_MAX_LAYERS || m->n_mounts > PLAN_MAX_MOUNTS ||
		m->n_rlimits > PLAN_MAX_RLIMITS || m->n_nameservers > PLAN_MAX_NAMESERVERS ||
		!TERMINATED(m, hostname) || !name_is_valid(m->hostname))
		return -EPROTO;
	for (size_t i = 0; i < m->n_mounts; i++) {
		const struct plan_mount *mount = &m->mounts[i];
		if ((mount->kind != PLAN_TMPFS && mount->kind != PLAN_BIND) || !TERMINATED(mount, target) ||
			mount->target[0] != '/')
			return -EPROTO;
	}
	return 0;
}

/* clang-format off */
const struct msg_shape plan_orders[] = {
	{ PLAN_GO, 0, 0, sizeof(struct plan), "go", check_plan },
};
const size_t n_plan_orders = ARRAY_SIZE(plan_orders);
/* clang-format on */
