/* SPDX-License-Identifier: Apache-2.0 */
#include "control/registry_private.h"

enum column_kind {
	C_NUMBER, /* uint64_t; NEVER is NULL */
	C_INT, /* int32_t */
	C_UID, /* uint32_t */
	C_NAME, /* char[], terminated */
	C_TEXT, /* char *, owned, may be NULL */
	C_JSON, /* json_t *, owned, may be NULL */
	C_BYTES, /* uint8_t[] */
	C_STATE,
	C_REASON,
};

struct column {
	const char *name;
	enum column_kind kind;
	size_t offset, size;
};

#define COLUMN(name, kind, member)                                                              \
	{                                                                                       \
		name, kind, offsetof(struct record, member), member_size(struct record, member) \
	}

/* clang-format off */
static const struct column columns[] = {
	COLUMN("number",             C_NUMBER, number),
	COLUMN("id",                 C_NAME,   id),
	COLUMN("host_id",            C_NAME,   host_id),
	COLUMN("pooled",             C_INT,    pooled),
	COLUMN("template",           C_NAME,   template),
	COLUMN("hostname",           C_NAME,   hostname),
	COLUMN("egress",             C_NAME,   egress),
	COLUMN("boot_id",            C_NAME,   boot_id),
	COLUMN("kind",               C_TEXT,   kind),
	COLUMN("owner",              C_TEXT,   owner),
	COLUMN("task_id",            C_TEXT,   task_id),
	COLUMN("uid",                C_UID,    uid),
	COLUMN("state",              C_STATE,  state),
	COLUMN("created_at",         C_NUMBER, created_at_ns),
	COLUMN("ready_at",           C_NUMBER, ready_at_ns),
	COLUMN("expires_at",         C_NUMBER, expires_at_ns),
	COLUMN("expires_boot",       C_NUMBER, expires_boot_ns),
	COLUMN("idle",               C_NUMBER, idle_ns),
	COLUMN("last_activity_at",   C_NUMBER, last_activity_at_ns),
	COLUMN("last_activity_boot", C_NUMBER, last_activity_boot_ns),
	COLUMN("address",            C_NAME,   address),
	COLUMN("address6",           C_NAME,   address6),
	COLUMN("labels",             C_JSON,   labels),
	COLUMN("limits",             C_JSON,   limits),
	COLUMN("ports",              C_JSON,   ports),
	COLUMN("timeline",           C_TEXT,   timeline),
	COLUMN("volumes",            C_JSON,   volumes),
	COLUMN("key",                C_TEXT,   key),
	COLUMN("fingerprint",        C_BYTES,  fingerprint),
	COLUMN("end_reason",         C_REASON, end.reason),
	COLUMN("ended_at",           C_NUMBER, end.at_ns),
	COLUMN("exit_code",          C_INT,    end.exit_code),
	COLUMN("signal",             C_INT,    end.signal),
	COLUMN("error",              C_INT,    end.err_no),
	COLUMN("step",               C_NAME,   end.step),
	COLUMN("message",            C_TEXT,   end.message),
	COLUMN("log_tail",           C_TEXT,   end.log_tail),
	COLUMN("isolation",          C_TEXT,   isolation),
	COLUMN("place",              C_TEXT,   place),
	COLUMN("created_boot",       C_NUMBER, created_boot_ns),
	COLUMN("restarts",           C_UID,    n_restarts),
};
/* clang-format on */

/* The columns' names, or a question mark for each, with commas between them. */
static char *join(bool names)
{
	sqlite3_str *joined = sqlite3_str_new(NULL);

	for (size_t i = 0; i < ARRAY_SIZE(columns); i++)
		sqlite3_str_appendf(joined, "%s%s", i > 0 ? "," : "", names ? columns[i].name : "?");
	return sqlite3_str_finish(joined);
}

char *registry_put_sql(void)
{
	char *names = join(true), *values = join(false);
	char *sql = sqlite3_mprintf("INSERT OR REPLACE INTO sessions (%s) VALUES (%s)", names, values);

	sqlite3_free(names);
	sqlite3_free(values);
	return sql;
}

char *registry_load_sql(void)
{
	char *names = join(true);
	char *sql = sqlite3_mprintf("SELECT %s FROM sessions ORDER BY number", names);

	sqlite3_free(names);
	return sql;
}

static int bind_json(sqlite3_stmt *statement, int i, const json_t *value)
{
	if (!value)
		return sqlite3_bind_null(statement, i);
	char *text = json_dumps(value, JSON_COMPACT);
	return text ? sqlite3_bind_text(statement, i, text, -1, free) : SQLITE_NOMEM;
}

static int bind_column(sqlite3_stmt *statement, int i, const struct column *column, const struct record *record)
{
	const void *at = (const char *)record + column->offset;
	uint64_t number;

	switch (column->kind) {
	case C_NUMBER:
		number = *(const uint64_t *)at;
		return number > INT64_MAX ? sqlite3_bind_null(statement, i)
					  : sqlite3_bind_int64(statement, i, (sqlite3_int64)number);
	case C_INT:
		return sqlite3_bind_int(statement, i, *(const int32_t *)at);
	case C_UID:
		return sqlite3_bind_int64(statement, i, *(const uint32_t *)at);
	case C_NAME:
		return sqlite3_bind_text(statement, i, at, -1, SQLITE_STATIC);
	case C_TEXT:
		return sqlite3_bind_text(statement, i, *(char *const *)at, -1, SQLITE_STATIC);
	case C_JSON:
		return bind_json(statement, i, *(json_t *const *)at);
	case C_BYTES:
		return sqlite3_bind_blob(statement, i, at, (int)column->size, SQLITE_STATIC);
	case C_STATE:
		return sqlite3_bind_text(
			statement, i, session_state_name(*(const enum session_state *)at), -1, SQLITE_STATIC);
	case C_REASON:
		return sqlite3_bind_text(
			statement, i, end_reason_name(*(const enum end_reason *)at), -1, SQLITE_STATIC);
	}
	return SQLITE_INTERNAL;
}

int registry_put_session(struct registry *registry, const struct record *record)
{
	sqlite3_stmt *statement = registry->statements[ST_PUT_SESSION];
	int rc = SQLITE_OK;

	for (size_t i = 0; i < ARRAY_SIZE(columns) && rc == SQLITE_OK; i++)
		rc = bind_column(statement, (int)i + 1, &columns[i], record);
	int r = rc == SQLITE_OK ? registry_run(statement) : registry_errno(rc);
	/* What is bound statically belongs to the record. */
	sqlite3_clear_bindings(statement);
	return r;
}

int registry_delete_session(struct registry *registry, uint64_t number)
{
	sqlite3_stmt *statement = registry->statements[ST_DELETE_SESSION];

	sqlite3_bind_int64(statement, 1, (sqlite3_int64)number);
	return registry_run(statement);
}

static int read_number(sqlite3_stmt *statement, int i, int64_t min, int64_t max, int64_t *ret)
{
	int64_t number = sqlite3_column_int64(statement, i);

	if (number < min || number > max)
		return -EINVAL;
	*ret = number;
	return 0;
}

/* A text or number column into RECORD; -EINVAL for what bind_column() cannot have written. */
static int read_column(sqlite3_stmt *statement, int i, const struct column *column, struct record *record)
{
	void *at = (char *)record + column->offset;
	bool null = sqlite3_column_type(statement, i) == SQLITE_NULL;
	const char *text = null ? NULL : (const char *)sqlite3_column_text(statement, i);
	int64_t number;
	int r = 0;

	switch (column->kind) {
	case C_NUMBER:
		r = read_number(statement, i, 0, INT64_MAX, &number);
		if (r == 0)
			*(uint64_t *)at = null ? NEVER : (uint64_t)number;
		return r;
	case C_INT:
		r = read_number(statement, i, INT32_MIN, INT32_MAX, &number);
		if (r == 0)
			*(int32_t *)at = (int32_t)number;
		return r;
	case C_UID:
		r = read_number(statement, i, 0, UINT32_MAX, &number);
		if (r == 0)
			*(uint32_t *)at = (uint32_t)number;
		return r;
	case C_NAME:
		return text ? copy_string(at, column->size, text) : -EINVAL;
	case C_TEXT:
		*(char **)at = text ? strdup(text) : NULL;
		return text && !*(char **)at ? -ENOMEM : 0;
	case C_JSON:
		*(json_t **)at = text ? json_loads(text, 0, NULL) : NULL;
		return text && !*(json_t **)at ? -EINVAL : 0;
	case C_BYTES:
		if ((size_t)sqlite3_column_bytes(statement, i) != column->size)
			return -EINVAL;
		memcpy(at, sqlite3_column_blob(statement, i), column->size);
		return 0;
	case C_STATE:
		return text ? session_state_parse(text, at) : -EINVAL;
	case C_REASON:
		return text ? end_reason_parse(text, at) : -EINVAL;
	}
	return -EINVAL;
}

int registry_load(struct registry *registry, int (*fn)(void *arg, struct record *record), void *arg)
{
	sqlite3_stmt *statement = registry->statements[ST_LOAD_SESSIONS];
	int r = 0;

	while (r >= 0 && sqlite3_step(statement) == SQLITE_ROW) {
		struct record record;
		record_init(&record);
		for (size_t i = 0; i < ARRAY_SIZE(columns) && r == 0; i++)
			r = read_column(statement, (int)i, &columns[i], &record);
		if (r == 0 && (!record.kind || !record.owner))
			r = -EINVAL;
		/* Of a version that knew no others. */
		if (r == 0 && !record.host_id[0])
			memcpy(record.host_id, record.id, sizeof(record.host_id));
		if (r == 0) {
			r = fn(arg, &record);
			continue;
		}
		/* A row that this program cannot have written is passed over: the rest is worth having. */
		record_clear(&record);
		r = r == -EINVAL || r == -ENAMETOOLONG ? 0 : r;
	}
	int error = registry_errno(sqlite3_reset(statement));
	return r < 0 ? r : error;
}
