/* SPDX-License-Identifier: Apache-2.0 */
#include "control/volume.h"

#include "control/json.h"
#include "control/lifecycle.h"

#define REMOVE_AGAIN_NS NS_PER_SEC /* after a removal that the supervisor could not do */

/* ---- the object ---- */

static void changed(struct volume *volume)
{
	if (!volume->dirty) {
		volume->dirty = true;
		list_append(&volume->lifecycle->volumes.dirty, &volume->of_dirty);
	}
	lifecycle_flush_soon(volume->lifecycle);
}

/* On disk before anything comes of it: whose files they are cannot be told by looking at them. */
static void promise(struct volume *volume)
{
	volume->lifecycle->volumes.promised = true;
	changed(volume);
}

static void emit(const struct volume *volume, const char *kind, const struct session *session)
{
	const char *owner = volume->record.owner ? volume->record.owner : "";

	events_emit(&volume->lifecycle->events, kind, session ? session->record.id : "", owner,
		json_pack("{s:s}", "volume", volume->record.name));
}

/* Takes over what RECORD holds; NULL when memory is short. */
static struct volume *volume_new(struct lifecycle *lifecycle, struct volume_record *record)
{
	struct volume *volume = calloc(1, sizeof(*volume));

	if (!volume)
		return NULL;
	volume->lifecycle = lifecycle;
	volume->record = *record;
	volume->used_bytes = NEVER;
	record->owner = NULL;
	list_init(&volume->of_all);
	list_init(&volume->of_dirty);
	list_init(&volume->of_removals);
	list_append(&lifecycle->volumes.all, &volume->of_all);
	index_add(&lifecycle->volumes.by_name, &volume->by_name, volume->record.name);
	return volume;
}

static struct volume *make(struct lifecycle *lifecycle, const char *name, const char *owner, bool persistent)
{
	struct volume_record record = {
		.owner = owner ? strdup(owner) : NULL,
		.persistent = persistent,
		.created_at_ns = realtime_ns(),
		.last_used_at_ns = NEVER,
	};
	struct volume *volume = NULL;

	if ((!owner || record.owner) && copy_string(record.name, sizeof(record.name), name) == 0)
		volume = volume_new(lifecycle, &record);
	free(record.owner);
	if (volume)
		promise(volume);
	return volume;
}

static void volume_free(struct volume *volume)
{
	super_link_forget(&volume->lifecycle->super, volume);
	index_remove(&volume->lifecycle->volumes.by_name, &volume->by_name);
	list_remove(&volume->of_all);
	list_remove(&volume->of_dirty);
	list_remove(&volume->of_removals);
	if (volume->remove_call)
		call_fail(volume->remove_call, E_UNAVAILABLE, true, NULL, "this service ends");
	free(volume->record.owner);
	free(volume);
}

/* Out of every index; the next write takes it out of the registry, too. */
static void forget(struct volume *volume)
{
	volume->forgotten = true;
	index_remove(&volume->lifecycle->volumes.by_name, &volume->by_name);
	list_remove(&volume->of_all);
	changed(volume);
}

int volumes_init(struct volumes *volumes)
{
	list_init(&volumes->all);
	list_init(&volumes->dirty);
	list_init(&volumes->removals);
	return index_init(&volumes->by_name);
}

void volumes_free(struct lifecycle *lifecycle)
{
	struct volumes *volumes = &lifecycle->volumes;

	while (!list_is_empty(&volumes->all))
		volume_free(container_of(volumes->all.next, struct volume, of_all));
	while (!list_is_empty(&volumes->dirty))
		volume_free(container_of(volumes->dirty.next, struct volume, of_dirty));
	loop_disarm(lifecycle_loop(lifecycle), &volumes->remove_again);
	index_free(&volumes->by_name);
}

struct volume *volume_find(const struct lifecycle *lifecycle, const char *name)
{
	struct index_node *node = index_find(&lifecycle->volumes.by_name, name);

	return node ? container_of(node, struct volume, by_name) : NULL;
}

size_t volumes_count(const struct lifecycle *lifecycle, const char *owner)
{
	const struct volumes *volumes = &lifecycle->volumes;
	size_t n = 0;

	for (const struct list *l = volumes->all.next; l != &volumes->all; l = l->next) {
		const char *of = container_of(l, struct volume, of_all)->record.owner;
		n += of && streq(of, owner);
	}
	return n;
}

static json_t *json_bytes(uint64_t bytes)
{
	return bytes == NEVER ? json_null() : json_integer((json_int_t)bytes);
}

json_t *volume_json(const struct volume *volume)
{
	const struct volume_record *record = &volume->record;
	const struct session *holder = volume->holder;
	char hash[OWNER_HASH_SIZE];
	json_t *json = json_object();

	owner_hash(record->owner ? record->owner : "", hash);
	json_put(&json, "name", json_string(record->name));
	json_put(&json, "owner", record->owner ? json_string(record->owner) : json_null());
	json_put(&json, "owner_hash", record->owner ? json_string(hash) : json_null());
	json_put(&json, "state", json_string(record->removing ? "removing" : holder ? "in-use" : "free"));
	json_put(&json, "session", holder ? json_string(holder->record.id) : json_null());
	json_put(&json, "persistent", json_boolean(record->persistent));
	json_put(&json, "size_bytes", json_bytes(volume->bytes ? volume->bytes : NEVER));
	json_put(&json, "used_bytes", json_bytes(volume->used_bytes));
	json_put(&json, "created_at", json_time(record->created_at_ns));
	json_put(&json, "last_used_at", json_time(record->last_used_at_ns));
	return json;
}

/* ---- removal ---- */

/* What the supervisor could not do it is asked again, unless a client was told so. */
static void on_remove_again(struct loop_timer *timer)
{
	struct volumes *volumes = container_of(timer, struct volumes, remove_again);

	volumes_written(container_of(volumes, struct lifecycle, volumes));
}

static void removal_failed(struct volume *volume, int error)
{
	struct lifecycle *lifecycle = volume->lifecycle;
	struct error_details details = { .step = "volume", .err_no = -error };
	struct call *call = steal_ptr(&volume->remove_call);

	if (call) {
		volume->record.removing = false;
		changed(volume);
		call_fail(call, error == -EBUSY ? E_BUSY : E_FAILED, error == -EBUSY, &details,
			"volume %s cannot be removed: %s", volume->record.name, strerror(-error));
		return;
	}
	list_append(&lifecycle->volumes.removals, &volume->of_removals);
	lifecycle->volumes.remove_again.fn = on_remove_again;
	loop_arm(lifecycle_loop(lifecycle), &lifecycle->volumes.remove_again, boottime_ns() + REMOVE_AGAIN_NS);
}

static void on_removed(void *owner, struct msg *answer)
{
	struct volume *volume = owner;

	if (!answer)
		return;
	int error = ((const struct super_done *)(const void *)answer->bytes)->err.num;
	/* One that no session ever had is not on the host. */
	if (error < 0 && error != -ENOENT) {
		removal_failed(volume, error);
		return;
	}
	emit(volume, "volume.removed", NULL);
	if (volume->remove_call)
		call_reply(steal_ptr(&volume->remove_call), volume_json(volume));
	forget(volume);
}

static void ask_removal(struct volume *volume)
{
	struct super_named request = { 0 };

	memcpy(request.id, volume->record.name, sizeof(request.id));
	msg_init(&request.header, SUPER_REMOVE_VOLUME, 0, sizeof(request));
	int r = super_link_send(&volume->lifecycle->super, &request.header, NULL, 0, on_removed, volume);
	if (r < 0)
		removal_failed(volume, r);
}

void volumes_settle(struct lifecycle *lifecycle)
{
	for (struct list *l; (l = list_take_first(&lifecycle->volumes.dirty));) {
		struct volume *volume = container_of(l, struct volume, of_dirty);
		volume->dirty = false;
		if (volume->forgotten)
			volume_free(volume);
	}
}

void volumes_written(struct lifecycle *lifecycle)
{
	struct list asked;

	/* One that fails comes back to the list, for the next time. */
	list_init(&asked);
	for (struct list *l; (l = list_take_first(&lifecycle->volumes.removals));)
		list_append(&asked, l);
	for (struct list *l; (l = list_take_first(&asked));)
		ask_removal(container_of(l, struct volume, of_removals));
}

void volume_remove(struct volume *volume, struct call *call)
{
	if (call)
		volume->remove_call = call;
	if (volume->record.removing)
		return;
	volume->record.removing = true;
	list_remove(&volume->of_removals);
	list_append(&volume->lifecycle->volumes.removals, &volume->of_removals);
	/* One that goes with its session is removed after a loss of power anyway. */
	if (volume->record.persistent)
		promise(volume);
	else
		changed(volume);
}

/* ---- sessions ---- */

/* The Nth volume in the session's record; NULL: there is none, or another's by now. */
static struct volume *volume_of(const struct session *session, size_t n)
{
	const char *name = json_string_value(json_object_get(json_array_get(session->record.volumes, n), "name"));
	struct volume *volume = name ? volume_find(session->lifecycle, name) : NULL;

	if (!volume || (volume->record.owner && !streq(volume->record.owner, session->record.owner)))
		return NULL;
	return volume;
}

static bool is_persistent(const struct session *session, size_t n)
{
	return json_is_true(json_object_get(json_array_get(session->record.volumes, n), "persistent"));
}

/* How large the Nth volume of the session is, if it is made for it. */
static uint64_t size_by_template(const struct session *session, size_t n)
{
	const char *path = json_string_value(json_object_get(json_array_get(session->record.volumes, n), "path"));
	const struct template *template = session->template;

	for (size_t i = 0; template && path && i < template->n_volumes; i++)
		if (streq(template->volumes[i].path, path))
			return template->volumes[i].bytes;
	return 0;
}

static int hold(struct session *session, size_t n)
{
	const char *name = json_string_value(json_object_get(json_array_get(session->record.volumes, n), "name"));
	struct volume *volume = name ? volume_find(session->lifecycle, name) : NULL;
	bool persistent = is_persistent(session, n);

	if (!name)
		return 0;
	if (!volume) {
		volume = make(session->lifecycle, name, session->record.owner, persistent);
		if (!volume)
			return -ENOMEM;
		volume->record.created_at_ns = session->record.created_at_ns;
		volume->bytes = size_by_template(session, n);
		emit(volume, "volume.created", session);
	}
	if (!volume->record.owner)
		volume->record.owner = strdup(session->record.owner);
	volume->holder = session;
	volume->record.persistent = persistent;
	volume->record.last_used_at_ns = realtime_ns();
	changed(volume);
	return volume->record.owner ? 0 : -ENOMEM;
}

int volumes_hold(struct session *session)
{
	int r = 0;

	for (size_t i = 0; i < json_array_size(session->record.volumes) && r == 0; i++)
		r = hold(session, i);
	return r;
}

/* One that came with a session that never began is as empty as it was. */
static bool is_unused(const struct volume *volume, const struct session *session)
{
	return session->started_ns == 0 && !session->unseen && session->record.n_restarts == 0 &&
	       volume->record.created_at_ns == session->record.created_at_ns;
}

void volumes_release(struct session *session)
{
	for (size_t i = 0; i < json_array_size(session->record.volumes); i++) {
		struct volume *volume = volume_of(session, i);
		if (!volume || volume->holder != session)
			continue;
		volume->holder = NULL;
		volume->record.last_used_at_ns = realtime_ns();
		emit(volume, "volume.released", session);
		if (!is_persistent(session, i) || is_unused(volume, session))
			volume_remove(volume, NULL);
		changed(volume);
	}
}

void volumes_keep(struct session *session, bool keep)
{
	for (size_t i = 0; i < json_array_size(session->record.volumes); i++) {
		struct volume *volume = volume_of(session, i);
		json_object_set_new(json_array_get(session->record.volumes, i), "persistent", json_boolean(keep));
		if (!volume || (volume->holder && volume->holder != session))
			continue;
		volume->record.persistent = keep;
		promise(volume);
		if (!volume->holder && !keep)
			volume_remove(volume, NULL);
	}
	session_changed(session);
}

/* ---- as this process begins ---- */

int volumes_adopt_record(void *arg, struct volume_record *record)
{
	struct volume *volume = volume_new(arg, record);

	free(record->owner);
	return volume ? 0 : -ENOMEM;
}

void volumes_adopt(struct lifecycle *lifecycle, const struct super_ev_volumes *event)
{
	for (size_t i = 0; i < event->n; i++) {
		const struct super_volume_info *info = &event->volumes[i];
		struct volume *volume = volume_find(lifecycle, info->name);
		if (!volume) {
			volume = make(lifecycle, info->name, NULL, true);
			if (!volume)
				return;
			emit(volume, "volume.found", NULL);
		}
		volume->on_host = true;
		volume->bytes = info->bytes;
		volume->used_bytes = info->bytes ? info->used_bytes : NEVER;
	}
}

void volumes_adopt_finish(struct lifecycle *lifecycle)
{
	struct volumes *volumes = &lifecycle->volumes;

	for (struct list *l = volumes->all.next, *next; l != &volumes->all; l = next) {
		struct volume *volume = container_of(l, struct volume, of_all);
		next = l->next;
		if (volume->holder)
			continue;
		if (!volume->on_host)
			forget(volume);
		else if (!volume->record.persistent || volume->record.removing) {
			volume->record.removing = false;
			volume_remove(volume, NULL);
		}
	}
}
