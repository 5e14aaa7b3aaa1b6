/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Walking a tree: every directory is read whole and its names are sorted, so that a list can be continued after the
 * name that was last, and two archives of one tree are the same. What it takes is bounded: FILES_MAX_DEPTH open
 * directories, FILES_ARENA_BYTES of names.
 */
#pragma once

#include <stdbool.h>

#include "wire/files.h"

/* Memory of FILES_ARENA_BYTES that is given out in order and given back in reverse, or all at once. */
struct arena {
	uint8_t *base; /* NULL until it is first used */
	size_t used;
};

/* N bytes, aligned to 8; NULL when there are no more. */
void *arena_take(struct arena *arena, size_t n);
void arena_reset(struct arena *arena);

struct walk_level {
	int fd;
	char **names;
	size_t n, at; /* AT: the next */
	size_t mark; /* of the arena, before the names */
	size_t path_bytes; /* of the directory */
	bool partial; /* there are more names than were read */
};

struct walk {
	struct arena *arena;
	bool removing; /* names are taken as they come, a part at a time: they will not be there the next time */
	size_t n_levels;
	char path[FILES_PATH_SIZE]; /* of the last entry, relative to the start */
	struct walk_level levels[FILES_MAX_DEPTH];
};

/* The last entry: its directory, which may have changed since, and its name there. */
struct walk_entry {
	int dir;
	const char *name;
};

enum {
	WALK_END,
	WALK_ENTRY, /* the next one; walk_enter() goes on below it */
	WALK_LEFT, /* everything below an entry that was entered is done */
};

/* Begins with the directory FD, which is taken over. 0, or as walk_enter(). */
int walk_open(struct walk *walk, struct arena *arena, int fd, bool removing);
/* WALK_*, or -ENAMETOOLONG, or a negative errno of reading more. */
int walk_next(struct walk *walk, struct walk_entry *ret);
/*
 * Goes into the directory that walk_next() has just given. 0; -E2BIG past the depth, -ENOBUFS past the names, or what
 * the kernel says: then the walk goes on after it.
 */
int walk_enter(struct walk *walk);
/* Goes to behind the entry PATH, or where it would be; with RECURSIVE what is below it comes next. */
int walk_seek(struct walk *walk, const char *path, bool recursive);
void walk_close(struct walk *walk);
