/* SPDX-License-Identifier: Apache-2.0 */
/* Files of sessions: places that are named SESSION:PATH on the command line, and streams of their contents. */
#pragma once

#include <limits.h>

#include "cli/cli.h"

struct place {
	char session[64]; /* "": this host */
	char path[PATH_MAX]; /* in a session always absolute; "-" on this host is standard input or output */
};

/* SESSION:PATH, or a path of this host, also one with a colon behind a slash. 0, or -EINVAL with WHY. */
int place_parse(const char *word, struct place *ret, struct failure *why);

bool place_is_remote(const struct place *place);

/* {"session", "path"} of a remote place, to which more may be added. */
json_t *place_params(const struct place *place);

/* The last part of a path, "" where it has none of its own: "/", "a/.", "..". Points into PATH. */
const char *last_part(const char *path);

/* Appends "/NAME" to a path of PATH_MAX bytes. 0, or -ENAMETOOLONG with WHY. */
int path_append(char path[static PATH_MAX], const char *name, struct failure *why);

/*
 * What file.stat says of a place, links followed: *RET_STAT, the caller's, or NULL when there is nothing there. 0, or a
 * negative errno with WHY.
 */
int remote_stat(struct client *client, const struct place *place, json_t **ret_stat, struct failure *why);

/*
 * The stream that a method offers: the connected socket of {"token"} at the API socket's neighbour stream.sock. A
 * descriptor that is the caller's, or a negative errno with WHY.
 */
int stream_open(const struct cli *cli, const json_t *offer, struct failure *why);

/* A transfer under way: what METHOD, called with PARAMS (stolen), has opened. */
struct remote_transfer {
	json_t *opened; /* what the method answered */
	const char *session;
	int fd; /* the stream */
};

int remote_open(struct remote_transfer *ret, const struct cli *cli, struct client *client, const char *method,
	json_t *params, struct failure *why);
void remote_free(struct remote_transfer *transfer);

#define _remote_ _cleanup_(remote_free)

/*
 * Asks how the transfer ended, after the stream has. SENT: bytes that were sent, -1 for what has none to be counted.
 * *RET_OUTCOME (may be NULL) is the caller's. 0, or a negative errno with WHY: then it was not done as a whole.
 */
int remote_wait(struct client *client, const struct remote_transfer *transfer, json_int_t sent, json_t **ret_outcome,
	struct failure *why);
