/* SPDX-License-Identifier: Apache-2.0 */
/* volume.list, .get and .remove. */
#include "control/json.h"
#include "control/lifecycle.h"
#include "control/visibility.h"

enum { LIST_DEFAULT = 100 };

static const char *param_string(const struct call *call, const char *name)
{
	return json_string_value(json_object_get(call_params(call), name));
}

/* One whose owner is not known is the operators' to look after. */
static bool is_visible(const struct volume *volume, const struct caller *caller)
{
	return caller_sees_host(caller) || (volume->record.owner && caller_sees_owner(caller, volume->record.owner));
}

/* The volume that CALL names; NULL when the call was answered with not_found. */
static struct volume *volume_of_call(struct call *call)
{
	const char *name = param_string(call, "volume");
	struct volume *volume = volume_find(call_control(call)->lifecycle, name);

	if (volume && is_visible(volume, call_caller(call)))
		return volume;
	call_fail(
		call, E_NOT_FOUND, false, &(struct error_details){ .path = "volume" }, "there is no volume %s", name);
	return NULL;
}

void method_volume_get(struct call *call)
{
	const struct volume *volume = volume_of_call(call);

	if (volume)
		call_reply(call, volume_json(volume));
}

/* The names on a page follow the cursor, which is a name: whatever comes and goes, none is shown twice. */
static struct volume *next_by_name(struct call *call, const char *after)
{
	struct volumes *volumes = &call_control(call)->lifecycle->volumes;
	const char *owner = param_string(call, "owner");
	struct volume *next = NULL;

	for (struct list *l = volumes->all.next; l != &volumes->all; l = l->next) {
		struct volume *volume = container_of(l, struct volume, of_all);
		const struct volume_record *record = &volume->record;
		if (!is_visible(volume, call_caller(call)) ||
			(owner && (!record->owner || !streq(record->owner, owner))))
			continue;
		if (strcmp(record->name, after) > 0 && (!next || strcmp(record->name, next->record.name) < 0))
			next = volume;
	}
	return next;
}

void method_volume_list(struct call *call)
{
	const json_t *limit = json_object_get(call_params(call), "limit");
	const char *cursor = param_string(call, "cursor"), *last = cursor ? cursor : "";
	json_int_t max = limit ? json_integer_value(limit) : LIST_DEFAULT;
	json_t *page = json_array(), *result = json_object();
	const struct volume *volume = NULL;

	for (json_int_t n = 0; (volume = next_by_name(call, last)) && n < max; n++) {
		json_append(&page, volume_json(volume));
		last = volume->record.name;
	}
	json_put(&result, "volumes", page);
	json_put(&result, "next_cursor", volume ? json_string(last) : json_null());
	call_reply(call, result);
}

void method_volume_remove(struct call *call)
{
	struct volume *volume = volume_of_call(call);

	if (!volume)
		return;
	if (volume->holder) {
		call_fail(call, E_CONFLICT, false,
			&(struct error_details){ .path = "volume", .session = volume->holder->record.id },
			"volume %s is in use by session %s", volume->record.name, volume->holder->record.id);
		return;
	}
	if (volume->remove_call) {
		call_fail(call, E_BUSY, true, &(struct error_details){ .path = "volume", .retry_after_ms = 100 },
			"volume %s is being removed", volume->record.name);
		return;
	}
	volume_remove(volume, call);
}
