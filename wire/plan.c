/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/plan.h"

#define TERMINATED(m, member) is_terminated((m)->member, sizeof((m)->member))

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

static int check_report(const void *msg)
{
	const struct plan_report *m = msg;

	if (m->err.num > 0 || !TERMINATED(&m->err, step) || !TERMINATED(&m->err, object) ||
		m->n_steps > MAX_STEP_TIMES)
		return -EPROTO;
	for (size_t i = 0; i < m->n_steps; i++)
		if (!TERMINATED(&m->steps[i], name))
			return -EPROTO;
	return 0;
}

/* clang-format off */
const struct msg_shape plan_orders[] = {
	{ PLAN_GO, 0, 0, sizeof(struct plan), "go", check_plan },
};
const size_t n_plan_orders = ARRAY_SIZE(plan_orders);

const struct msg_shape plan_reports[] = {
	{ PLAN_REPORT, 0, 0, sizeof(struct plan_report), "report", check_report },
};
const size_t n_plan_reports = ARRAY_SIZE(plan_reports);
/* clang-format on */
