/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/file_walk.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>

enum { PART = 4096 }; /* names that are read at once where they are removed */

/* getdents64(2); no header for user programs has it. */
struct kernel_dirent {
	uint64_t ino;
	int64_t offset;
	uint16_t length;
	uint8_t type;
	char name[];
};

/* ---- memory ---- */

void *arena_take(struct arena *arena, size_t n)
{
	size_t at = (arena->used + 7) & ~(size_t)7;

	if (!arena->base) {
		void *map = mmap(NULL, FILES_ARENA_BYTES, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (map == MAP_FAILED)
			return NULL;
		arena->base = map;
	}
	if (n > FILES_ARENA_BYTES || at > FILES_ARENA_BYTES - n)
		return NULL;
	arena->used = at + n;
	return arena->base + at;
}

void arena_reset(struct arena *arena)
{
	/* A child lives on between requests, small. */
	if (arena->used > 0)
		madvise(arena->base, arena->used, MADV_DONTNEED);
	arena->used = 0;
}

/* ---- one directory ---- */

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool is_dots(const char *name)
{
	return name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

/* Copies the names in N bytes of entries into the arena, one behind the other, and counts them. */
static int copy_names(struct walk *walk, struct walk_level *level, const uint8_t *bytes, size_t n)
{
	for (size_t at = 0; at < n;) {
		const struct kernel_dirent *entry = (const void *)(bytes + at);
		at += entry->length;
		if (is_dots(entry->name))
			continue;
		size_t size = strlen(entry->name) + 1;
		char *copy = arena_take(walk->arena, size);
		if (!copy)
			return -ENOBUFS;
		memcpy(copy, entry->name, size);
		level->n++;
	}
	return 0;
}

static int read_names(struct walk *walk, struct walk_level *level)
{
	_Alignas(8) uint8_t buffer[16384];
	long n;

	level->n = level->at = 0;
	level->partial = false;
	char *first = arena_take(walk->arena, 0);
	if (!first)
		return -ENOBUFS;
	while (!level->partial && (n = syscall(SYS_getdents64, level->fd, buffer, sizeof(buffer))) != 0) {
		if (n < 0)
			return -errno;
		int r = copy_names(walk, level, buffer, (size_t)n);
		if (r < 0)
			return r;
		level->partial = walk->removing && level->n >= PART;
	}
	level->names = arena_take(walk->arena, level->n * sizeof(char *));
	if (!level->names)
		return -ENOBUFS;
	/* Each begins at the next multiple of 8: see arena_take(). */
	for (size_t i = 0; i < level->n; i++) {
		level->names[i] = first;
		first += (strlen(first) + 1 + 7) & ~(size_t)7;
	}
	qsort(level->names, level->n, sizeof(char *), compare);
	return 0;
}

/* Takes FD over. */
static int push(struct walk *walk, int fd, size_t path_bytes)
{
	struct walk_level *level = &walk->levels[walk->n_levels];

	*level = (struct walk_level){ .fd = fd, .mark = walk->arena->used, .path_bytes = path_bytes };
	int r = read_names(walk, level);
	if (r < 0) {
		walk->arena->used = level->mark;
		close_fdp(&level->fd);
		return r;
	}
	walk->n_levels++;
	return 0;
}

static void pop(struct walk *walk)
{
	struct walk_level *level = &walk->levels[--walk->n_levels];

	walk->arena->used = level->mark;
	close_fdp(&level->fd);
}

/* ---- the tree ---- */

int walk_open(struct walk *walk, struct arena *arena, int fd, bool removing)
{
	walk->arena = arena;
	walk->removing = removing;
	walk->n_levels = 0;
	walk->path[0] = '\0';
	return push(walk, fd, 0);
}

/* The level's next name becomes the last entry. */
static int advance(struct walk *walk, struct walk_level *level, struct walk_entry *ret)
{
	const char *name = level->names[level->at++];
	size_t n = level->path_bytes, room = sizeof(walk->path) - n;

	int length = snprintf(walk->path + n, room, "%s%s", n > 0 ? "/" : "", name);
	if ((size_t)length >= room)
		return -ENAMETOOLONG;
	*ret = (struct walk_entry){ level->fd, name };
	return WALK_ENTRY;
}

/* The names of the level are used up: more of them, if there are. */
static int refill(struct walk *walk, struct walk_level *level)
{
	walk->arena->used = level->mark;
	if (lseek(level->fd, 0, SEEK_SET) < 0)
		return -errno;
	return read_names(walk, level);
}

int walk_next(struct walk *walk, struct walk_entry *ret)
{
	if (walk->n_levels == 0)
		return WALK_END;
	struct walk_level *level = &walk->levels[walk->n_levels - 1];
	if (level->at == level->n && level->partial) {
		int r = refill(walk, level);
		if (r < 0)
			return r;
	}
	if (level->at < level->n)
		return advance(walk, level, ret);
	walk->path[level->path_bytes] = '\0';
	pop(walk);
	if (walk->n_levels == 0)
		return WALK_END;
	level--;
	*ret = (struct walk_entry){ level->fd, level->names[level->at - 1] };
	return WALK_LEFT;
}

int walk_enter(struct walk *walk)
{
	const struct walk_level *level = &walk->levels[walk->n_levels - 1];

	if (walk->n_levels == ARRAY_SIZE(walk->levels))
		return -E2BIG;
	int fd = openat(level->fd, level->names[level->at - 1],
		O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	return fd < 0 ? -errno : push(walk, fd, strlen(walk->path));
}

int walk_seek(struct walk *walk, const char *path, bool recursive)
{
	char name[FILES_NAME_MAX + 1];
	struct walk_entry entry;

	while (*path) {
		struct walk_level *level = &walk->levels[walk->n_levels - 1];
		size_t n = strcspn(path, "/");
		if (n > FILES_NAME_MAX)
			return -ENAMETOOLONG;
		memcpy(name, path, n);
		name[n] = '\0';
		path += n;
		path += *path == '/';
		while (level->at < level->n && strcmp(level->names[level->at], name) < 0)
			level->at++;
		if (level->at == level->n || !streq(level->names[level->at], name))
			return 0;
		int r = advance(walk, level, &entry);
		if (r < 0)
			return r;
		/* What cannot be entered, because it is no directory or not that any more, has nothing below it. */
		if (!recursive || walk_enter(walk) < 0)
			return 0;
	}
	return 0;
}

void walk_close(struct walk *walk)
{
	while (walk->n_levels > 0)
		pop(walk);
}
