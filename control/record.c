/* SPDX-License-Identifier: Apache-2.0 */
#include "control/record.h"

/* clang-format off */
static const char *const state_names[SESSION_STATE_COUNT] = {
	[SESSION_CREATING] = "creating",
	[SESSION_STARTING] = "starting",
	[SESSION_READY]    = "ready",
	[SESSION_PAUSED]   = "paused",
	[SESSION_STOPPING] = "stopping",
	[SESSION_ENDED]    = "ended",
};

static const char *const reason_names[END_REASON_COUNT] = {
	[END_NONE]         = "",
	[END_STOPPED]      = "stopped",
	[END_EXPIRED]      = "expired",
	[END_IDLE]         = "idle",
	[END_EXITED]       = "exited",
	[END_FAILED]       = "failed",
	[END_UNHEALTHY]    = "unhealthy",
	[END_OOM]          = "oom",
	[END_HOST_RESTART] = "host-restart",
};
/* clang-format on */

void record_init(struct record *record)
{
	*record = (struct record){
		.created_boot_ns = NEVER,
		.ready_at_ns = NEVER,
		.expires_at_ns = NEVER,
		.expires_boot_ns = NEVER,
		.idle_ns = NEVER,
		.last_activity_at_ns = NEVER,
		.last_activity_boot_ns = NEVER,
		.end = { .at_ns = NEVER, .exit_code = -1 },
	};
}

void record_clear(struct record *record)
{
	free(record->kind);
	free(record->owner);
	free(record->task_id);
	free(record->isolation);
	free(record->place);
	free(record->key);
	free(record->timeline);
	free(record->end.message);
	free(record->end.log_tail);
	json_decref(record->labels);
	json_decref(record->limits);
	json_decref(record->ports);
	json_decref(record->volumes);
	record_init(record);
}

void record_add_times(struct record *record, json_t *steps)
{
	json_t *all = record->timeline ? json_loads(record->timeline, 0, NULL) : json_array();
	char *text = json_array_extend(all, steps) == 0 ? json_dumps(all, JSON_COMPACT) : NULL;

	json_decref(all);
	json_decref(steps);
	if (!text)
		return;
	free(record->timeline);
	record->timeline = text;
}

const char *session_state_name(enum session_state state)
{
	return state_names[state];
}

int session_state_parse(const char *name, enum session_state *ret)
{
	for (enum session_state i = 0; i < SESSION_STATE_COUNT; i++) {
		if (streq(name, state_names[i])) {
			*ret = i;
			return 0;
		}
	}
	return -EINVAL;
}

const char *end_reason_name(enum end_reason reason)
{
	return reason_names[reason];
}

int end_reason_parse(const char *name, enum end_reason *ret)
{
	for (enum end_reason i = 0; i < END_REASON_COUNT; i++) {
		if (streq(name, reason_names[i])) {
			*ret = i;
			return 0;
		}
	}
	return -EINVAL;
}
