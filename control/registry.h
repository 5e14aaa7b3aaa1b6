/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What outlives the process: sessions and the history of events, in SQLite at <state_dir>/control/registry.db. Only
 * SQL lives here; when to write is the lifecycle's to say, which puts a round's changes into one transaction.
 *
 * Durability: write-ahead log with synchronous=NORMAL. A transaction survives the death of this process at once, and
 * the loss of power after the next checkpoint; the file is consistent at any time. Nothing is synced to disk but by
 * registry_checkpoint(). The file is locked for as long as it is open: there is one control process.
 */
#pragma once

#include "control/record.h"
#include "control/volume.h"

struct registry;

struct registry_event {
	uint64_t seq;
	uint64_t at_ns; /* CLOCK_REALTIME */
	const char *boot_id, *kind;
	const char *session, *owner; /* empty: of the host */
	const char *data; /* an object in JSON: the members besides those above */
};

/*
 * Opens STATE_DIR/control/registry.db, makes it or brings it to this program's schema. A damaged one is kept aside as
 * registry.db.damaged and *RET_DAMAGED set: an empty one is begun. 0, -EPROTONOSUPPORT for the file of a later
 * version, or another negative errno; on failure TEXT says more.
 */
int registry_open(const char *state_dir, struct registry **ret, bool *ret_damaged, char *text, size_t text_size);

/* Closes after a checkpoint; the mark that everything was written makes event numbers go on without a gap. */
void registry_close(struct registry *registry);

/* Calls FN with each session, oldest first; FN takes over what RECORD holds. A negative value of FN ends it. */
int registry_load(struct registry *registry, int (*fn)(void *arg, struct record *record), void *arg);

/* The same with each volume. */
int registry_load_volumes(struct registry *registry, int (*fn)(void *arg, struct volume_record *record), void *arg);

/* Calls FN with each pool whose size was set. */
int registry_load_pools(
	struct registry *registry, void (*fn)(void *arg, const char *template, uint32_t size), void *arg);

/* All of the following return 0 or a negative errno (-ENOSPC when the disk is full). */
int registry_begin(struct registry *registry);
int registry_commit(struct registry *registry);
void registry_rollback(struct registry *registry);
int registry_put_session(struct registry *registry, const struct record *record);
int registry_delete_session(struct registry *registry, uint64_t number);
int registry_put_pool(struct registry *registry, const char *template, uint32_t size);
int registry_put_volume(struct registry *registry, const struct volume_record *record);
int registry_delete_volume(struct registry *registry, const char *name);
int registry_put_event(struct registry *registry, const struct registry_event *event);
/* Whether the host is drained; and how often the registry was opened, this time included. */
int registry_set_draining(struct registry *registry, bool draining);
bool registry_is_draining(const struct registry *registry);
uint64_t registry_n_starts(const struct registry *registry);
/* Forgets events before number FIRST. */
int registry_trim_events(struct registry *registry, uint64_t first);

/*
 * The number to go on with after the newest event: past a gap when the host went down before all was on disk, so that
 * a number that may have been given already is not given again.
 */
int registry_next_seq(struct registry *registry, const char *boot_id, uint64_t *ret);

/* Calls FN with up to MAX events from number FIRST on, in order, until it returns a negative value. 0 or an error. */
int registry_events(struct registry *registry, uint64_t first, unsigned max,
	int (*fn)(void *arg, const struct registry_event *event), void *arg);

/* Moves the log into the file and syncs both: tens of milliseconds on a slow disk. */
void registry_checkpoint(struct registry *registry);
