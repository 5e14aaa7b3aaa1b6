/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What happens to sessions and to the host, numbered. An event is written to the registry with the changes it tells
 * of, and only then sent to who subscribed: nobody hears of a number that a crash could take back.
 *
 * A subscription is a position in the history. One that has caught up gets each new event from memory; one that is
 * behind reads the history in small portions, at a pace that a connection which is read at all can keep up with.
 */
#pragma once

#include "control/call.h"
#include "control/list.h"
#include "control/registry.h"
#include "wire/loop.h"

struct events {
	struct loop *loop;
	struct registry *registry;
	const char *boot_id; /* borrowed */
	uint64_t history; /* how many are kept */
	uint64_t next_seq; /* of the next event */
	struct list fresh; /* emitted, not yet written */
	size_t n_fresh;
	struct list subscriptions;
	struct loop_timer replay;
	/* Called when an event was emitted: the lifecycle arranges for events_write() and events_publish(). */
	void (*on_fresh)(struct events *events);
};

/* Set loop, registry, boot_id, history and on_fresh before. 0 or a negative errno. */
int events_start(struct events *events);
void events_stop(struct events *events);

/*
 * Emits an event. SESSION and OWNER are "" for one of the host. DATA, an object or NULL, holds further members and is
 * stolen. An event for which there is no memory is lost, and its number with it.
 */
void events_emit(struct events *events, const char *kind, const char *session, const char *owner, json_t *data);

/* Writes what was emitted, within the caller's transaction. 0 or a negative errno. */
int events_write(struct events *events);

/*
 * Sends what was emitted to the subscribers, after the transaction. WRITTEN false: it failed (the disk is full, say);
 * events are sent all the same and written with the next that succeeds.
 */
void events_publish(struct events *events, bool written);

/* events.subscribe: answers CALL with {last, gone}. A connection has one subscription; a second replaces it. */
void events_subscribe(struct events *events, struct call *call);
