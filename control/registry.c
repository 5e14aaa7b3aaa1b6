/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "control/registry_private.h"
#include "version.h"
#include "wire/loop.h"

/* More events than a host can have had since the last checkpoint. */
#define SEQ_GAP UINT64_C(65536)

/* Entry N brings a file of version N to version N + 1. */
static const char *const migrations[] = {
	"CREATE TABLE sessions ("
	" number INTEGER PRIMARY KEY, id TEXT NOT NULL, template TEXT NOT NULL, hostname TEXT NOT NULL,"
	" egress TEXT NOT NULL, boot_id TEXT NOT NULL, kind TEXT, owner TEXT, task_id TEXT, uid INTEGER NOT NULL,"
	" state TEXT NOT NULL, created_at INTEGER, ready_at INTEGER, expires_at INTEGER, expires_boot INTEGER,"
	" idle INTEGER, last_activity_at INTEGER, last_activity_boot INTEGER, address TEXT NOT NULL,"
	" address6 TEXT NOT NULL, labels TEXT, limits TEXT, timeline TEXT, key TEXT, fingerprint BLOB NOT NULL,"
	" end_reason TEXT NOT NULL, ended_at INTEGER, exit_code INTEGER NOT NULL, signal INTEGER NOT NULL,"
	" error INTEGER NOT NULL, step TEXT NOT NULL, message TEXT, log_tail TEXT) STRICT;"
	"CREATE TABLE events ("
	" seq INTEGER PRIMARY KEY, boot_id TEXT NOT NULL, at INTEGER NOT NULL, kind TEXT NOT NULL,"
	" session TEXT NOT NULL, owner TEXT NOT NULL, data TEXT NOT NULL) STRICT;"
	"CREATE TABLE mark (clean INTEGER NOT NULL) STRICT;"
	"INSERT INTO mark VALUES (1);",
	"ALTER TABLE sessions ADD COLUMN isolation TEXT;"
	"ALTER TABLE sessions ADD COLUMN place TEXT;"
	"ALTER TABLE sessions ADD COLUMN created_boot INTEGER;"
	"ALTER TABLE sessions ADD COLUMN restarts INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE mark ADD COLUMN draining INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE mark ADD COLUMN starts INTEGER NOT NULL DEFAULT 0;",

	"ALTER TABLE sessions ADD COLUMN volumes TEXT;"
	"CREATE TABLE volumes ("
	" name TEXT PRIMARY KEY, owner TEXT, persistent INTEGER NOT NULL, removing INTEGER NOT NULL,"
	" created_at INTEGER NOT NULL, last_used_at INTEGER) STRICT;",

	"ALTER TABLE sessions ADD COLUMN host_id TEXT NOT NULL DEFAULT '';"
	"ALTER TABLE sessions ADD COLUMN pooled INTEGER NOT NULL DEFAULT 0;"
	"CREATE TABLE pools (template TEXT PRIMARY KEY, size INTEGER NOT NULL) STRICT;",
	"ALTER TABLE sessions ADD COLUMN ports TEXT;",
#if CARREL_NEXT_FORMATS
	"ALTER TABLE mark ADD COLUMN next INTEGER NOT NULL DEFAULT 0;",
#endif
};

int registry_errno(int rc)
{
	switch (rc & 0xff) {
	case SQLITE_OK:
	case SQLITE_ROW:
	case SQLITE_DONE:
		return 0;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return -EUCLEAN;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	case SQLITE_READONLY:
		return -EROFS;
	case SQLITE_CANTOPEN:
	case SQLITE_PERM:
		return -EACCES;
	default:
		return -EIO;
	}
}

int registry_run(sqlite3_stmt *statement)
{
	errno = 0;
	sqlite3_step(statement);
	const int number = errno, rc = sqlite3_reset(statement);

	/* The last call that failed says why: a quota, a file system that went read-only. */
	return (rc & 0xff) == SQLITE_IOERR && number > 0 ? -number : registry_errno(rc);
}

/* ---- opening ---- */

static int prepare(struct registry *registry)
{
	/* clang-format off */
	static const char *const sql[ST_COUNT] = {
		[ST_BEGIN]          = "BEGIN IMMEDIATE",
		[ST_COMMIT]         = "COMMIT",
		[ST_ROLLBACK]       = "ROLLBACK",
		[ST_DELETE_SESSION] = "DELETE FROM sessions WHERE number = ?",
		[ST_PUT_VOLUME]     = "INSERT OR REPLACE INTO volumes VALUES (?,?,?,?,?,?)",
		[ST_DELETE_VOLUME]  = "DELETE FROM volumes WHERE name = ?",
		[ST_LOAD_VOLUMES]   = "SELECT name, owner, persistent, removing, created_at, last_used_at FROM volumes"
				      " ORDER BY created_at",
		[ST_PUT_POOL]       = "INSERT OR REPLACE INTO pools VALUES (?,?)",
		[ST_LOAD_POOLS]     = "SELECT template, size FROM pools",
		[ST_PUT_EVENT]      = "INSERT INTO events (seq, boot_id, at, kind, session, owner, data) VALUES (?,?,?,?,?,?,?)",
		[ST_TRIM_EVENTS]    = "DELETE FROM events WHERE seq < ?",
		[ST_EVENTS]         = "SELECT seq, boot_id, at, kind, session, owner, data FROM events"
				      " WHERE seq >= ? ORDER BY seq LIMIT ?",
		[ST_LAST_EVENT]     = "SELECT seq, boot_id FROM events ORDER BY seq DESC LIMIT 1",
		[ST_MARK]           = "UPDATE mark SET clean = ?, starts = ?",
		[ST_SET_DRAINING]   = "UPDATE mark SET draining = ?",
	};
	/* clang-format on */
	char *put = registry_put_sql(), *load = registry_load_sql();
	int rc = put && load ? SQLITE_OK : SQLITE_NOMEM;

	for (size_t i = 0; i < ST_COUNT && rc == SQLITE_OK; i++) {
		const char *text = i == ST_PUT_SESSION ? put : i == ST_LOAD_SESSIONS ? load : sql[i];
		rc = sqlite3_prepare_v3(
			registry->db, text, -1, SQLITE_PREPARE_PERSISTENT, &registry->statements[i], NULL);
	}
	sqlite3_free(put);
	sqlite3_free(load);
	return registry_errno(rc);
}

/* The first column of the first row of SQL as a number; negative errno. */
static int query_number(sqlite3 *db, const char *sql, int64_t *ret)
{
	sqlite3_stmt *statement = NULL;
	int rc = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_step(statement);
	if (rc == SQLITE_ROW)
		*ret = sqlite3_column_int64(statement, 0);
	sqlite3_finalize(statement);
	return rc == SQLITE_ROW ? 0 : rc == SQLITE_DONE ? -EUCLEAN : registry_errno(rc);
}

static int check_integrity(sqlite3 *db)
{
	sqlite3_stmt *statement = NULL;
	int rc = sqlite3_prepare_v2(db, "PRAGMA integrity_check(1)", -1, &statement, NULL), r;

	if (rc == SQLITE_OK)
		rc = sqlite3_step(statement);
	if (rc == SQLITE_ROW)
		r = streq((const char *)sqlite3_column_text(statement, 0), "ok") ? 0 : -EUCLEAN;
	else
		r = rc == SQLITE_DONE ? -EUCLEAN : registry_errno(rc);
	sqlite3_finalize(statement);
	return r;
}

static int migrate(sqlite3 *db, char *text, size_t text_size)
{
	int64_t version = 0;
	int r = query_number(db, "PRAGMA user_version", &version);

	if (r < 0)
		return r;
	if (version < 0 || (uint64_t)version > ARRAY_SIZE(migrations)) {
		snprintf(text, text_size, "schema %lld is of a later version of carrel; this one knows up to %zu",
			(long long)version, ARRAY_SIZE(migrations));
		return -EPROTONOSUPPORT;
	}
	for (size_t i = (size_t)version; i < ARRAY_SIZE(migrations) && r == 0; i++) {
		char *sql = sqlite3_mprintf("BEGIN;%s;PRAGMA user_version = %d;COMMIT;", migrations[i], (int)i + 1);
		r = sql ? registry_errno(sqlite3_exec(db, sql, NULL, NULL, NULL)) : -ENOMEM;
		sqlite3_free(sql);
	}
	return r;
}

static void release(struct registry *registry)
{
	for (size_t i = 0; i < ST_COUNT; i++)
		sqlite3_finalize(registry->statements[i]);
	sqlite3_close(registry->db);
	free(registry);
}

static int mark(struct registry *registry, bool clean)
{
	sqlite3_stmt *statement = registry->statements[ST_MARK];

	sqlite3_bind_int(statement, 1, clean);
	sqlite3_bind_int64(statement, 2, (sqlite3_int64)registry->n_starts);
	return registry_run(statement);
}

/*
 * Notes that the file is in use, on disk before anything else is. When it cannot be written now, with the first thing
 * that can: until then the sessions that live are served.
 */
static int mark_in_use(struct registry *registry)
{
	int64_t clean = 0, draining = 0, starts = 0;
	int r = query_number(registry->db, "SELECT clean FROM mark", &clean);

	if (r == 0)
		r = query_number(registry->db, "SELECT draining FROM mark", &draining);
	if (r == 0)
		r = query_number(registry->db, "SELECT starts FROM mark", &starts);
	if (r < 0)
		return r;
	registry->was_clean = clean != 0;
	registry->draining = draining != 0;
	registry->n_starts = (uint64_t)starts + 1;
	r = mark(registry, false);
	registry->marked = r == 0;
	registry_checkpoint(registry);
	return r == -EUCLEAN ? r : 0;
}

static int open_file(const char *path, struct registry **ret, char *text, size_t text_size)
{
	/* Exclusive locking keeps the log's index in memory; no second process, no shared file. */
	static const char pragmas[] = "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL;"
				      "PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 0;"
				      "PRAGMA journal_size_limit = 4194304;"
				      /* KiB: what is written often is little; the history of events is not */
				      "PRAGMA cache_size = -256;"
				      "PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF;";
	struct registry *registry = calloc(1, sizeof(*registry));

	if (!registry)
		return -ENOMEM;
	registry->first_seq = 1;
	int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
	int r = registry_errno(sqlite3_open_v2(path, &registry->db, flags, NULL));
	if (r == 0)
		r = registry_errno(sqlite3_exec(registry->db, pragmas, NULL, NULL, NULL));
	if (r == 0)
		r = check_integrity(registry->db);
	if (r == 0)
		r = migrate(registry->db, text, text_size);
	if (r == 0)
		r = prepare(registry);
	if (r == 0)
		r = mark_in_use(registry);
	if (r < 0) {
		if (!text[0])
			snprintf(text, text_size, "%s", registry->db ? sqlite3_errmsg(registry->db) : "no memory");
		release(registry);
		return r;
	}
	*ret = registry;
	return 0;
}

/* Renames PATH and its log to "....damaged", over what an earlier accident left. */
static int set_aside(const char *path)
{
	_free_ char *log = NULL, *aside = NULL, *aside_log = NULL;

	if (asprintf(&log, "%s-wal", path) < 0 || asprintf(&aside, "%s.damaged", path) < 0 ||
		asprintf(&aside_log, "%s.damaged-wal", path) < 0)
		return -ENOMEM;
	if (rename(path, aside) < 0)
		return -errno;
	if (rename(log, aside_log) < 0 && errno != ENOENT)
		return -errno;
	return 0;
}

/* The file is made here, so that its mode does not depend on the umask. */
static int touch(const char *path)
{
	_close_ int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	return fd < 0 ? -errno : 0;
}

int registry_open(const char *state_dir, struct registry **ret, bool *ret_damaged, char *text, size_t text_size)
{
	_free_ char *directory = NULL, *path = NULL;

	text[0] = '\0';
	if (asprintf(&directory, "%s/control", state_dir) < 0 || asprintf(&path, "%s/registry.db", directory) < 0)
		return -ENOMEM;
	if (mkdir(directory, 0700) < 0 && errno != EEXIST) {
		snprintf(text, text_size, "%s: %s", directory, strerror(errno));
		return -errno;
	}
	int r = touch(path);
	if (r == 0)
		r = open_file(path, ret, text, text_size);
	else
		snprintf(text, text_size, "%s: %s", path, strerror(-r));
	*ret_damaged = r == -EUCLEAN;
	if (r != -EUCLEAN)
		return r;
	r = set_aside(path);
	if (r == 0)
		r = touch(path);
	if (r == 0)
		r = open_file(path, ret, text, text_size);
	/* How far the lost numbers had come is not known; nobody makes more than an event each millisecond for long. */
	if (r == 0)
		(*ret)->first_seq = realtime_ns() / NS_PER_MS;
	return r;
}

void registry_close(struct registry *registry)
{
	if (!registry)
		return;
	registry_checkpoint(registry);
	mark(registry, true);
	registry_checkpoint(registry);
	release(registry);
}

void registry_checkpoint(struct registry *registry)
{
	sqlite3_wal_checkpoint_v2(registry->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
}

/* ---- transactions ---- */

int registry_begin(struct registry *registry)
{
	int r = registry_run(registry->statements[ST_BEGIN]);

	return r < 0 || registry->marked ? r : mark(registry, false);
}

int registry_commit(struct registry *registry)
{
	int r = registry_run(registry->statements[ST_COMMIT]);

	registry->marked |= r == 0;
	return r;
}

void registry_rollback(struct registry *registry)
{
	/* Some failures have rolled back already. */
	if (!sqlite3_get_autocommit(registry->db))
		registry_run(registry->statements[ST_ROLLBACK]);
}

/* ---- the host ---- */

int registry_set_draining(struct registry *registry, bool draining)
{
	sqlite3_stmt *statement = registry->statements[ST_SET_DRAINING];

	sqlite3_bind_int(statement, 1, draining);
	int r = registry_run(statement);
	if (r == 0)
		registry->draining = draining;
	return r;
}

bool registry_is_draining(const struct registry *registry)
{
	return registry->draining;
}

uint64_t registry_n_starts(const struct registry *registry)
{
	return registry->n_starts;
}

/* ---- events ---- */

int registry_put_event(struct registry *registry, const struct registry_event *event)
{
	sqlite3_stmt *statement = registry->statements[ST_PUT_EVENT];

	sqlite3_bind_int64(statement, 1, (sqlite3_int64)event->seq);
	sqlite3_bind_text(statement, 2, event->boot_id, -1, SQLITE_STATIC);
	sqlite3_bind_int64(statement, 3, (sqlite3_int64)event->at_ns);
	sqlite3_bind_text(statement, 4, event->kind, -1, SQLITE_STATIC);
	sqlite3_bind_text(statement, 5, event->session, -1, SQLITE_STATIC);
	sqlite3_bind_text(statement, 6, event->owner, -1, SQLITE_STATIC);
	sqlite3_bind_text(statement, 7, event->data, -1, SQLITE_STATIC);
	int r = registry_run(statement);
	sqlite3_clear_bindings(statement);
	return r;
}

int registry_trim_events(struct registry *registry, uint64_t first)
{
	sqlite3_stmt *statement = registry->statements[ST_TRIM_EVENTS];

	sqlite3_bind_int64(statement, 1, (sqlite3_int64)first);
	return registry_run(statement);
}

int registry_next_seq(struct registry *registry, const char *boot_id, uint64_t *ret)
{
	sqlite3_stmt *statement = registry->statements[ST_LAST_EVENT];
	uint64_t next = registry->first_seq;

	if (sqlite3_step(statement) == SQLITE_ROW) {
		next = (uint64_t)sqlite3_column_int64(statement, 0) + 1;
		if (!registry->was_clean && !streq((const char *)sqlite3_column_text(statement, 1), boot_id))
			next += SEQ_GAP;
	}
	int r = registry_errno(sqlite3_reset(statement));
	if (r == 0)
		*ret = next;
	return r;
}

static const char *column_string(sqlite3_stmt *statement, int i)
{
	const char *text = (const char *)sqlite3_column_text(statement, i);

	return text ? text : "";
}

int registry_events(struct registry *registry, uint64_t first, unsigned max,
	int (*fn)(void *arg, const struct registry_event *event), void *arg)
{
	sqlite3_stmt *statement = registry->statements[ST_EVENTS];
	int r = 0;

	sqlite3_bind_int64(statement, 1, (sqlite3_int64)first);
	sqlite3_bind_int64(statement, 2, max);
	while (r >= 0 && sqlite3_step(statement) == SQLITE_ROW) {
		const struct registry_event event = {
			.seq = (uint64_t)sqlite3_column_int64(statement, 0),
			.boot_id = column_string(statement, 1),
			.at_ns = (uint64_t)sqlite3_column_int64(statement, 2),
			.kind = column_string(statement, 3),
			.session = column_string(statement, 4),
			.owner = column_string(statement, 5),
			.data = column_string(statement, 6),
		};
		r = fn(arg, &event);
	}
	return registry_errno(sqlite3_reset(statement));
}
