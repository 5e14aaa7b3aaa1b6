/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/plan.h"

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
const struct msg_shape plan_reports[] = {
	{ PLAN_REPORT, 0, 0, sizeof(struct plan_report), "report", check_report },
};
const size_t n_plan_reports = ARRAY_SIZE(plan_reports);
/* clang-format on */
