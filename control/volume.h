/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Volumes: directories that outlive sessions, each of one owner, mounted in one live session at a time.
 *
 * Who holds a volume is not kept: it follows from the sessions that live, here and in the supervisor, so that whatever
 * is killed nobody dead holds one. What is kept in the registry is whose it is, and that it is to be removed, which is
 * on the disk before it is done.
 */
#pragma once

#include "control/call.h"
#include "control/index.h"
#include "control/list.h"
#include "control/text.h"
#include "wire/loop.h"
#include "wire/super.h"

struct lifecycle;
struct session;

/* A row of the registry. */
struct volume_record {
	char name[NAME_SIZE];
	char *owner; /* NULL: not known, the registry that knew was lost */
	bool persistent; /* else it goes with the session that has it */
	bool removing; /* the supervisor has been or will be asked to remove it */
	uint64_t created_at_ns, last_used_at_ns; /* CLOCK_REALTIME; NEVER: not used */
};

struct volume {
	struct volume_record record;
	struct lifecycle *lifecycle;
	struct index_node by_name;
	struct list of_all, of_dirty, of_removals;
	struct session *holder; /* the live session that has it; NULL: none */
	struct call *remove_call; /* waits for its end; NULL: nobody */
	uint64_t bytes; /* its size; 0: a directory without one */
	uint64_t used_bytes; /* when a session last gave it back; NEVER: not known */
	bool on_host; /* seen by the supervisor when this process began; what is not there by then never was */
	bool dirty, forgotten;
};

struct volumes {
	struct index by_name;
	struct list all; /* in order of creation */
	struct list dirty; /* to be written */
	struct list removals; /* to be asked of the supervisor once that is written */
	bool promised; /* what is to be written must outlast a loss of power, too */
	struct loop_timer remove_again;
};

/* Which volume is mounted at each of a template's places. */
struct volume_choice {
	char name[NAME_SIZE]; /* empty: none */
	bool persistent;
};
struct volume_choices {
	struct volume_choice at[SUPER_MAX_VOLUMES];
};

/* ---- volume.c ---- */

/* 0 or -ENOMEM. */
int volumes_init(struct volumes *volumes);
void volumes_free(struct lifecycle *lifecycle);

/* A volume of the registry as this process begins: fn of registry_load_volumes(), ARG is the lifecycle. */
int volumes_adopt_record(void *arg, struct volume_record *record);
/* SUPER_EV_VOLUMES: those that are on the host, and what sessions that end have left in theirs. */
void volumes_adopt(struct lifecycle *lifecycle, const struct super_ev_volumes *event);
/* All that is on the host was named, and all live sessions are known. */
void volumes_adopt_finish(struct lifecycle *lifecycle);

struct volume *volume_find(const struct lifecycle *lifecycle, const char *name);
size_t volumes_count(const struct lifecycle *lifecycle, const char *owner);

/* Makes SESSION the holder of the volumes in its record; those that are not there yet come to be. 0 or -ENOMEM. */
int volumes_hold(struct session *session);
/* SESSION has ended: it lets go of them, and those that were not to stay are removed. */
void volumes_release(struct session *session);
/* From now on none, or all, of the session's volumes stay when it ends; those of one that has ended go at once. */
void volumes_keep(struct session *session, bool keep);

/* Removes a volume that nobody holds; CALL, which may be NULL, is answered when its name is free. */
void volume_remove(struct volume *volume, struct call *call);

/* What was changed is in the registry. */
void volumes_settle(struct lifecycle *lifecycle);
/* Asks the supervisor for the removals that are written down. */
void volumes_written(struct lifecycle *lifecycle);

/* What a client sees; a new reference. */
json_t *volume_json(const struct volume *volume);

/* ---- volume_choice.c ---- */

struct volume_request {
	struct lifecycle *lifecycle;
	struct call *call;
	const json_t *params;
	const struct template *template;
	const char *owner, *id; /* of the session */
};

/*
 * What a request and its template together say: 0, or a negative errno when that may not be and the call was answered.
 */
int volumes_choose(const struct volume_request *request, struct volume_choices *ret);

/* [{name, path, persistent}] for the session's record; a new reference. */
json_t *volumes_json(const struct template *template, const struct volume_choices *choices);

/* The volume that gives the session its host name; NULL: none does. */
const char *volumes_hostname(const struct template *template, const struct volume_choices *choices);
