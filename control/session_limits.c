/* SPDX-License-Identifier: Apache-2.0 */
#include "control/session_limits.h"

#include <stdio.h>

#include "control/lifecycle.h"
#include "control/session_methods.h"

/* A value of LIMIT as it stands in JSON. */
static void print_limit(enum limit limit, uint64_t value, char *buf, size_t size)
{
	if (limit_table[limit].fractional)
		snprintf(buf, size, "%.15g", (double)value / 1000);
	else
		snprintf(buf, size, "%llu", (unsigned long long)value);
}

static void read_limits(const json_t *object, struct limits *ret)
{
	limits_clear(ret);
	for (enum limit i = 0; i < LIMIT_COUNT; i++) {
		const json_t *value = json_object_get(object, limit_table[i].name);
		if (!value)
			continue;
		double number = json_number_value(value) * (limit_table[i].fractional ? 1000 : 1);
		/* A number that no limit can be becomes one that is out of range. */
		if (json_is_integer(value) && !limit_table[i].fractional)
			ret->value[i] =
				json_integer_value(value) < 0 ? LIMIT_UNSET - 1 : (uint64_t)json_integer_value(value);
		else
			ret->value[i] = number >= 0 && number < (double)(1ULL << 62) ? (uint64_t)(number + 0.5)
										     : LIMIT_UNSET - 1;
	}
}

int limits_of_call(struct call *call, const struct limits *ceilings, const char *template, struct limits *ret_asked,
	struct limits *ret_merged)
{
	char path[64], first[32], second[32];
	enum limit bad = 0;

	read_limits(json_object_get(call_params(call), "limits"), ret_asked);
	int r = limits_merge(ceilings, ret_asked, ret_merged, &bad);
	if (r == 0)
		return 0;
	snprintf(path, sizeof(path), "limits.%s", limit_table[bad].name);
	struct error_details details = { .path = path };
	if (r == -EPERM) {
		print_limit(bad, limit_ceiling(ceilings, bad), first, sizeof(first));
		call_fail(call, E_LIMIT, false, &details, "%s: template %s allows at most %s", path, template, first);
	} else {
		print_limit(bad, limit_table[bad].min, first, sizeof(first));
		print_limit(bad, limit_table[bad].max, second, sizeof(second));
		call_fail(call, E_INVALID_PARAMS, false, &details, "%s: must be from %s to %s", path, first, second);
	}
	return r;
}

/* ---- session.set_limits ---- */

/* Only what the kernel lets be changed under a running process. */
static int check_live(struct call *call, const struct limits *asked)
{
	size_t n = 0;

	for (enum limit i = 0; i < LIMIT_COUNT; i++) {
		if (asked->value[i] == LIMIT_UNSET)
			continue;
		n++;
		if (limit_table[i].live)
			continue;
		char path[64];
		snprintf(path, sizeof(path), "limits.%s", limit_table[i].name);
		call_fail(call, E_INVALID_PARAMS, false, &(struct error_details){ .path = path },
			"%s: is set when a session is made and cannot be changed afterwards", path);
		return -EINVAL;
	}
	if (n > 0)
		return 0;
	call_fail(call, E_INVALID_PARAMS, false, &(struct error_details){ .path = "limits" }, "limits: names none");
	return -EINVAL;
}

static void on_limits_set(void *owner, struct msg *answer)
{
	struct session *session = owner;
	char text[ERR_STEP_SIZE + ERR_OBJECT_SIZE + 64];

	/* The channel ended, or the session did and who waited was told. */
	if (!answer || !session->limiting)
		return;
	struct call *call = steal_ptr(&session->limiting);
	const struct super_limits_set *set = (const void *)answer->bytes;
	/* Also after a failure: of several limits the first may have been changed. */
	session_set_limits(session, &set->limits, set->enforced);
	if (session->liveness.create)
		session->liveness.create->limits = set->limits;
	session_changed(session);
	if (set->err.num < 0) {
		call_fail(call, E_FAILED, false,
			&(struct error_details){
				.session = session->record.id, .step = set->err.step, .err_no = -set->err.num },
			"%s", err_text(&set->err, text, sizeof(text)));
		return;
	}
	session_emit(session, "session.limits", json_pack("{s:O}", "limits", session->record.limits));
	call_reply(call, session_json(session));
}

void method_session_set_limits(struct call *call)
{
	struct session *session = session_of_call(call);
	struct super_set_limits request;
	struct limits merged, unknown;

	if (!session)
		return;
	const struct template *template = session->template;
	/* Without its template nothing is known of what was allowed: the supervisor then refuses every raise. */
	limits_clear(&unknown);
	memset(&request, 0, sizeof(request));
	if (limits_of_call(call, template ? &template->limits : &unknown, session->record.template, &request.limits,
		    &merged) < 0 ||
		check_live(call, &request.limits) < 0)
		return;
	if (session->record.state < SESSION_STARTING || session->record.state > SESSION_PAUSED) {
		session_refuse(session, call, "given other limits");
		return;
	}
	if (session->limiting) {
		call_fail(call, E_BUSY, true,
			&(struct error_details){ .session = session->record.id, .retry_after_ms = CHANGE_RETRY_MS },
			"the limits of session %s are just being changed", session->record.id);
		return;
	}
	msg_init(&request.header, SUPER_SET_LIMITS, 0, sizeof(request));
	memcpy(request.id, session->record.host_id, sizeof(request.id));
	int r = super_link_send(&session->lifecycle->super, &request.header, NULL, 0, on_limits_set, session);
	if (r < 0)
		call_fail(call, E_FAILED, true, &(struct error_details){ .step = "supervisor", .err_no = -r },
			"the supervisor cannot be asked: %s", strerror(-r));
	else
		session->limiting = call;
}
