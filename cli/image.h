/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The image store and what is built into it. Needs root: a tree holds files with the ids that they have in a session
 * (0 to 65535, setuid bits and all), so it lies below a directory that nobody else may enter.
 *
 *   STATE_DIR/images/NAME.json	what the image is; readable by all; an image without it is not there
 *   STATE_DIR/rootfs/NAME/0	its one layer
 *   STATE_DIR/rootfs/.scratch/[volume-]BYTES	an empty file system of that size, which the supervisor copies for sessions
 *   STATE_DIR/rootfs/.new-*	a build under way, or one that was interrupted
 *   STATE_DIR/rootfs/.old-*	the former tree of an image that sessions still used when it was replaced
 *   STATE_DIR/rootfs/.lock	held while somebody changes the store
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "cli/failure.h"
#include "cli/term.h"

struct store {
	char *rootfs_path; /* for programs that take paths */
	int rootfs_fd, images_fd, lock_fd;
};

enum { STORE_NAME_SIZE = 64 }; /* [a-z0-9][a-z0-9-]{0,62} and a NUL */

/* Says whether a session may be using image NAME: false only when it is sure that none does. */
typedef bool in_use_fn(void *context, const char *name);

/*
 * Opens the store below STATE_DIR, made when it is not there, for this process alone; or (READ_ONLY, any user) only
 * what describes the images. 0, or a negative errno with WHY.
 */
int store_open(struct store *ret, const char *state_dir, bool read_only, struct failure *why);
void store_close(struct store *store);

#define _store_ _cleanup_(store_close)

/* Removes what interrupted builds left, and former trees of images that are not IN_USE. */
int store_sweep(struct store *store, in_use_fn *in_use, void *context, struct failure *why);

/* What is known of image NAME, the caller's; NULL when there is no such image. */
json_t *store_read(const struct store *store, const char *name);

/* All images, by name: an array, the caller's. */
json_t *store_list(const struct store *store);

/* Makes an empty tree: *RET_NAME below rootfs/ and its layer. */
int store_new(struct store *store, const char *name, char ret_name[2 * STORE_NAME_SIZE], int *ret_root_fd,
	struct failure *why);

/* Puts the tree NEW_NAME in the place of image NAME in one step, and INFO beside it. *RET_OLD: the former tree or "". */
int store_publish(struct store *store, const char *name, const char *new_name, const json_t *info,
	char ret_old[2 * STORE_NAME_SIZE], struct failure *why);

/* Takes image NAME out of the store. *RET_OLD is its tree. */
int store_withdraw(struct store *store, const char *name, char ret_old[2 * STORE_NAME_SIZE], struct failure *why);

/* Shows what a build is doing: a line for each phase, with the seconds that it took. */
struct progress {
	const struct term *term;
	FILE *out;
	int64_t phase_started_ms;
	char phase[128];
};

void progress_phase(struct progress *progress, const char *format, ...) _printf_(2, 3);
void progress_end(struct progress *progress);

/* A build under way. */
struct build {
	const struct recipe *recipe;
	const json_t *packages; /* asked for besides the recipe's own, or NULL */
	struct progress *progress;
	int root_fd; /* the tree: while foreseeing the present one, while building the new one */
	const char *root_path; /* the same, for programs that take paths */
	const char *libexec_dir; /* where carrel's own programs are */
	uint64_t key; /* set by the recipe: the same for two builds that would give the same */
};

struct recipe {
	const char *name;
	int (*build)(struct build *build, struct failure *why);
	/* The key that a build would have now, from the tree that is there: 0 with *RET_KEY; 1 when it cannot be said. */
	int (*foresee)(struct build *build, uint64_t *ret_key, struct failure *why);
	const char *const *packages; /* of Debian; ends with NULL */
};

extern const struct recipe recipes[]; /* ends with a NULL name */

int build_minimal(struct build *build, struct failure *why);
int build_host(struct build *build, struct failure *why);
int build_debian(struct build *build, struct failure *why);
int foresee_debian(struct build *build, uint64_t *ret_key, struct failure *why);
int build_dind(struct build *build, struct failure *why);
int foresee_dind(struct build *build, uint64_t *ret_key, struct failure *why);

/* Makes the empty file systems that templates below CONFIG_DIR which use IMAGE ask for, where they are not there yet. */
int scratch_prepare(const struct store *store, const char *config_dir, const char *image, struct progress *progress,
	struct failure *why);

/* Fills WHY with "cannot WHAT OBJECT" of the image being made. Returns NUM. */
int build_failed(struct failure *why, int num, const char *what, const char *object);

/* The user whom sessions run as, and the ids of his home. */
enum { IMAGE_UID = 1000 };
#define IMAGE_USER "user"
