/* SPDX-License-Identifier: Apache-2.0 */
/* The small tables: volumes, and the sizes of pools. */
#include "control/registry_private.h"

int registry_put_volume(struct registry *registry, const struct volume_record *record)
{
	sqlite3_stmt *statement = registry->statements[ST_PUT_VOLUME];

	sqlite3_bind_text(statement, 1, record->name, -1, SQLITE_STATIC);
	sqlite3_bind_text(statement, 2, record->owner, -1, SQLITE_STATIC);
	sqlite3_bind_int(statement, 3, record->persistent);
	sqlite3_bind_int(statement, 4, record->removing);
	sqlite3_bind_int64(statement, 5, (sqlite3_int64)record->created_at_ns);
	if (record->last_used_at_ns != NEVER)
		sqlite3_bind_int64(statement, 6, (sqlite3_int64)record->last_used_at_ns);
	int r = registry_run(statement);
	sqlite3_clear_bindings(statement);
	return r;
}

int registry_delete_volume(struct registry *registry, const char *name)
{
	sqlite3_stmt *statement = registry->statements[ST_DELETE_VOLUME];

	sqlite3_bind_text(statement, 1, name, -1, SQLITE_STATIC);
	int r = registry_run(statement);
	sqlite3_clear_bindings(statement);
	return r;
}

int registry_load_volumes(struct registry *registry, int (*fn)(void *arg, struct volume_record *record), void *arg)
{
	sqlite3_stmt *statement = registry->statements[ST_LOAD_VOLUMES];
	int r = 0;

	while (r >= 0 && sqlite3_step(statement) == SQLITE_ROW) {
		const char *name = (const char *)sqlite3_column_text(statement, 0);
		const char *owner = (const char *)sqlite3_column_text(statement, 1);
		struct volume_record record = {
			.owner = owner ? strdup(owner) : NULL,
			.persistent = sqlite3_column_int(statement, 2) != 0,
			.removing = sqlite3_column_int(statement, 3) != 0,
			.created_at_ns = (uint64_t)sqlite3_column_int64(statement, 4),
			.last_used_at_ns = sqlite3_column_type(statement, 5) == SQLITE_NULL
						   ? NEVER
						   : (uint64_t)sqlite3_column_int64(statement, 5),
		};
		/* A row that this program cannot have written is passed over: the rest is worth having. */
		if (!name || !name_is_valid(name) || copy_string(record.name, sizeof(record.name), name) < 0)
			free(record.owner);
		else if (owner && !record.owner)
			r = -ENOMEM;
		else
			r = fn(arg, &record);
	}
	int error = registry_errno(sqlite3_reset(statement));
	return r < 0 ? r : error;
}

int registry_put_pool(struct registry *registry, const char *template, uint32_t size)
{
	sqlite3_stmt *statement = registry->statements[ST_PUT_POOL];

	sqlite3_bind_text(statement, 1, template, -1, SQLITE_STATIC);
	sqlite3_bind_int64(statement, 2, size);
	int r = registry_run(statement);
	sqlite3_clear_bindings(statement);
	return r;
}

int registry_load_pools(
	struct registry *registry, void (*fn)(void *arg, const char *template, uint32_t size), void *arg)
{
	sqlite3_stmt *statement = registry->statements[ST_LOAD_POOLS];

	while (sqlite3_step(statement) == SQLITE_ROW) {
		const char *template = (const char *)sqlite3_column_text(statement, 0);
		int64_t size = sqlite3_column_int64(statement, 1);
		if (template && size >= 0 && size <= UINT32_MAX)
			fn(arg, template, (uint32_t)size);
	}
	return registry_errno(sqlite3_reset(statement));
}
