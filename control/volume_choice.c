/* SPDX-License-Identifier: Apache-2.0 */
/* Which volumes a session gets: what its template allows, what the request names, and what may be had now. */
#include <stdarg.h>
#include <stdio.h>

#include "control/json.h"
#include "control/lifecycle.h"
#include "control/visibility.h"

enum { REMOVING_RETRY_MS = 100, HELD_RETRY_MS = 1000 };

/* Where a request names a volume, for messages: "volumes[1].name", or "template" when the template does. */
struct origin {
	char path[32];
};

static struct origin origin_of(const struct volume_request *request, const char *path, const char *member)
{
	const json_t *volumes = json_object_get(request->params, "volumes"), *entry;
	struct origin origin = { "template" };
	size_t i;

	json_array_foreach (volumes, i, entry)
		if (streq(json_string_value(json_object_get(entry, "path")), path))
			snprintf(origin.path, sizeof(origin.path), "volumes[%zu].%s", i, member);
	return origin;
}

static void refuse(const struct volume_request *request, const struct origin *origin, const char *format, ...)
	_printf_(3, 4);

static void refuse(const struct volume_request *request, const struct origin *origin, const char *format, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	call_fail(request->call, E_INVALID_PARAMS, false, &(struct error_details){ .path = origin->path }, "%s: %s",
		origin->path, text);
}

/* PATTERN with {owner_hash} and {session} filled in; -ENAMETOOLONG. */
static int fill_name(const struct volume_request *request, const char *pattern, char ret[static NAME_SIZE])
{
	char hash[OWNER_HASH_SIZE];
	size_t n = 0;

	owner_hash(request->owner, hash);
	const struct {
		const char *mark, *value;
	} parts[] = { { "{owner_hash}", hash }, { "{session}", request->id } };
	for (const char *p = pattern; *p;) {
		char one[2] = { *p, '\0' };
		const char *value = one;
		size_t skip = 1;
		for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
			if (strncmp(p, parts[i].mark, strlen(parts[i].mark)) == 0) {
				value = parts[i].value;
				skip = strlen(parts[i].mark);
			}
		if (n + strlen(value) >= NAME_SIZE)
			return -ENAMETOOLONG;
		n += (size_t)snprintf(ret + n, NAME_SIZE - n, "%s", value);
		p += skip;
	}
	return 0;
}

/* The name that the template has for the volume at PLACE. */
static int name_by_template(
	const struct volume_request *request, const struct config_volume *place, char ret[static NAME_SIZE])
{
	struct origin origin = origin_of(request, place->path, "name");

	if (!place->name) {
		refuse(request, &origin, "template %s has no name for the volume at %s", request->template->name,
			place->path);
		return -EINVAL;
	}
	if (strstr(place->name, "{owner_hash}") && !request->owner[0]) {
		call_fail(request->call, E_INVALID_PARAMS, false, &(struct error_details){ .path = "owner" },
			"owner: the volume at %s is its owner's, and none is given", place->path);
		return -EINVAL;
	}
	if (fill_name(request, place->name, ret) == 0)
		return 0;
	refuse(request, &origin, "%s is too long with the session's id", place->name);
	return -EINVAL;
}

/* Which of the template's places PATH is, or a negative errno. */
static int find_place(const struct volume_request *request, const char *path)
{
	const struct template *template = request->template;
	struct origin origin = origin_of(request, path, "path");
	char places[128] = "";
	size_t n = 0;

	for (size_t i = 0; i < template->n_volumes; i++) {
		if (streq(template->volumes[i].path, path))
			return (int)i;
		if (n < sizeof(places))
			n += (size_t)snprintf(
				places + n, sizeof(places) - n, "%s%s", n ? ", " : "", template->volumes[i].path);
	}
	refuse(request, &origin, "template %s has no volume there%s%s", template->name, n ? ", but at " : "", places);
	return -EINVAL;
}

/* A name that the registry lost the owner of is his whose hash it ends with, or whoever an operator says. */
static bool may_claim(const struct volume_request *request, const char *name)
{
	char hash[OWNER_HASH_SIZE];
	size_t n = strlen(name), tail = sizeof(hash) - 1;

	owner_hash(request->owner, hash);
	return caller_sees_host(call_caller(request->call)) || (n >= tail && streq(name + n - tail, hash));
}

static int check_new(const struct volume_request *request, const char *path)
{
	const struct config *config = lifecycle_config(request->lifecycle);
	struct error_details details = { .path = path };

	if (request->lifecycle->volumes.by_name.n >= config->max_volumes)
		call_fail(request->call, E_LIMIT, false, &details,
			"%s: this host has %u volumes, and may have no more (client_limits.max_volumes)", path,
			config->max_volumes);
	else if (volumes_count(request->lifecycle, request->owner) >= config->max_volumes_per_owner)
		call_fail(request->call, E_LIMIT, false, &details,
			"%s: the owner has %u volumes, and may have no more (client_limits.max_volumes_per_owner)",
			path, config->max_volumes_per_owner);
	else
		return 0;
	return -EDQUOT;
}

/* A volume keeps the size that it was made with, but a directory and a file system are mounted in different ways. */
static const char *kind_name(uint64_t bytes)
{
	return bytes ? "file system of fixed size" : "directory";
}

/* The volume NAME may be had by this session, at PLACE. */
static int check_volume(
	const struct volume_request *request, const struct config_volume *place, const char *name, const char *path)
{
	const struct volume *volume = volume_find(request->lifecycle, name);
	struct error_details details = { .path = path };

	if (!volume)
		return check_new(request, path);
	const struct volume_record *record = &volume->record;
	if (record->owner ? !streq(record->owner, request->owner) : !may_claim(request, name)) {
		call_fail(request->call, E_DENIED, false, &details, "%s: volume %s is another owner's", path, name);
		return -EPERM;
	}
	if (record->removing) {
		details.retry_after_ms = REMOVING_RETRY_MS;
		call_fail(request->call, E_BUSY, true, &details, "%s: volume %s is being removed", path, name);
		return -EBUSY;
	}
	if (!volume->bytes != !place->bytes) {
		call_fail(request->call, E_CONFLICT, false, &details,
			"%s: volume %s is a %s, which cannot be mounted where template %s has a %s", path, name,
			kind_name(volume->bytes), request->template->name, kind_name(place->bytes));
		return -EPERM;
	}
	const struct session *holder = volume->holder;
	if (!holder)
		return 0;
	bool ends = holder->record.state == SESSION_STOPPING;
	details.session = holder->record.id;
	details.retry_after_ms = ends ? HELD_RETRY_MS : 0;
	call_fail(request->call, E_CONFLICT, ends, &details, "%s: volume %s is in use by session %s", path, name,
		holder->record.id);
	return -EBUSY;
}

/* Takes what the request says of the volume in its Nth entry. */
static int choose_asked(const struct volume_request *request, const json_t *entry, bool by_default,
	struct volume_choices *choices, bool wanted[static SUPER_MAX_VOLUMES])
{
	const char *path = json_string_value(json_object_get(entry, "path"));
	const char *name = json_string_value(json_object_get(entry, "name"));
	const json_t *persistent = json_object_get(entry, "persistent");
	int place = find_place(request, path);

	if (place < 0)
		return place;
	struct volume_choice *choice = &choices->at[place];
	if (choice->name[0] || wanted[place]) {
		struct origin origin = origin_of(request, path, "path");
		refuse(request, &origin, "%s is there twice", path);
		return -EINVAL;
	}
	choice->persistent =
		persistent ? json_is_true(persistent) : by_default && request->template->volumes[place].persistent;
	wanted[place] = true;
	return name ? copy_string(choice->name, sizeof(choice->name), name) : 0;
}

static int settle_names(const struct volume_request *request, const bool wanted[static SUPER_MAX_VOLUMES],
	struct volume_choices *choices)
{
	for (size_t i = 0; i < request->template->n_volumes; i++) {
		const struct config_volume *place = &request->template->volumes[i];
		struct volume_choice *choice = &choices->at[i];
		if (!wanted[i])
			continue;
		int r = choice->name[0] ? 0 : name_by_template(request, place, choice->name);
		struct origin origin = origin_of(request, place->path, "name");
		for (size_t j = 0; j < i && r == 0; j++)
			if (streq(choices->at[j].name, choice->name)) {
				refuse(request, &origin, "%s is there twice", choice->name);
				r = -EINVAL;
			}
		if (r == 0)
			r = check_volume(request, place, choice->name, origin.path);
		if (r < 0)
			return r;
	}
	return 0;
}

int volumes_choose(const struct volume_request *request, struct volume_choices *ret)
{
	const char *isolation = json_string_value(json_object_get(request->params, "isolation"));
	/* A volume of a task alone is of no use to another. */
	bool persistent = !isolation || !streq(isolation, "per-task");
	bool ensured = isolation && !json_object_get(request->params, "volumes");
	struct volume_choices choices = { 0 };
	bool wanted[SUPER_MAX_VOLUMES] = { false };
	const json_t *entry;
	size_t i;

	json_array_foreach (json_object_get(request->params, "volumes"), i, entry) {
		int r = choose_asked(request, entry, persistent, &choices, wanted);
		if (r < 0)
			return r;
	}
	for (i = 0; i < request->template->n_volumes; i++) {
		const struct config_volume *place = &request->template->volumes[i];
		if (wanted[i] || (place->use != VOLUME_ALWAYS && !(place->use == VOLUME_ENSURED && ensured)))
			continue;
		wanted[i] = true;
		choices.at[i].persistent = persistent && place->persistent;
	}
	int r = settle_names(request, wanted, &choices);
	if (r == 0)
		*ret = choices;
	return r;
}

json_t *volumes_json(const struct template *template, const struct volume_choices *choices)
{
	json_t *array = json_array();

	for (size_t i = 0; i < template->n_volumes; i++)
		if (choices->at[i].name[0])
			json_append(&array,
				json_pack("{s:s, s:s, s:b}", "name", choices->at[i].name, "path",
					template->volumes[i].path, "persistent", (int)choices->at[i].persistent));
	return array;
}

const char *volumes_hostname(const struct template *template, const struct volume_choices *choices)
{
	for (size_t i = 0; i < template->n_volumes; i++)
		if (template->volumes[i].chromium_profile && choices->at[i].name[0])
			return choices->at[i].name;
	return NULL;
}
