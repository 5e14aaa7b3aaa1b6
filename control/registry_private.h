/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the registry share: registry.c opens the file and keeps events, registry_session.c maps a record
 * to a row and back by one table of columns, registry_volume.c has the volumes.
 */
#pragma once

#include <sqlite3.h>

#include "control/registry.h"

enum statement {
	ST_BEGIN,
	ST_COMMIT,
	ST_ROLLBACK,
	ST_PUT_SESSION,
	ST_DELETE_SESSION,
	ST_LOAD_SESSIONS,
	ST_PUT_VOLUME,
	ST_DELETE_VOLUME,
	ST_LOAD_VOLUMES,
	ST_PUT_POOL,
	ST_LOAD_POOLS,
	ST_PUT_EVENT,
	ST_TRIM_EVENTS,
	ST_EVENTS,
	ST_LAST_EVENT,
	ST_MARK,
	ST_SET_DRAINING,
	ST_COUNT,
};

struct registry {
	sqlite3 *db;
	sqlite3_stmt *statements[ST_COUNT];
	bool was_clean; /* whoever had it open before closed it in order */
	bool marked; /* the file says that it is in use */
	bool draining;
	uint64_t n_starts;
	uint64_t first_seq; /* where numbers begin in an empty history */
};

/* A negative errno for what SQLite returned; 0 for what is no error. */
int registry_errno(int rc);

/* Runs a prepared statement that yields no rows. */
int registry_run(sqlite3_stmt *statement);

/* The statements of which the columns are part, to be freed with sqlite3_free(); NULL when memory is short. */
char *registry_put_sql(void);
char *registry_load_sql(void);
