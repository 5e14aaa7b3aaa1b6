/* SPDX-License-Identifier: Apache-2.0 */
/* A connection to control: JSON-RPC 2.0 over a unix stream socket, one JSON value per line. */
#pragma once

#include "cli/failure.h"

struct client {
	int fd; /* -1: not connected */
	char *buffer; /* bytes that came but were not yet looked at: [start, end) of size */
	size_t start, end, size;
	json_int_t last_id;
	json_t *queue; /* what arrived while another answer was waited for: notifications, answers */
};

enum {
	CLIENT_FOREVER = -1,
	CLIENT_PROMPT_MS = 30000, /* for what control answers at once: longer means that it hangs */
	CLIENT_MAX_LINE = 64 << 20, /* no answer is larger; what is comes from something that is not carrel */
};

/* Connects to the socket at PATH. 0, or a negative errno with WHY saying what to do about it. */
int client_open(struct client *client, const char *path, struct failure *why);
void client_close(struct client *client);

#define _client_ _cleanup_(client_close)

/*
 * Calls METHOD with PARAMS (stolen; NULL for none) and waits up to TIMEOUT_MS for its answer. 0 and *RET_RESULT (the
 * caller's), or a negative errno with WHY: -EREMOTEIO when the request was refused, -ETIMEDOUT, or what broke.
 */
int client_call(struct client *client, const char *method, json_t *params, int timeout_ms, json_t **ret_result,
	struct failure *why);

/*
 * Calls a METHOD that answers a page at a time, until the last: what its pages have in MEMBER, an array, the caller's; or
 * NULL with WHY. PARAMS is stolen.
 */
json_t *client_fetch(struct client *client, const char *method, const char *member, json_t *params, int timeout_ms,
	struct failure *why);

/*
 * The two halves of it. client_send() with RET_ID NULL sends what gets no answer. client_answer() with a TIMEOUT_MS of 0
 * takes what has come: -ETIMEDOUT when that is not the whole answer yet.
 */
int client_send(struct client *client, const char *method, json_t *params, json_int_t *ret_id, struct failure *why);
int client_answer(struct client *client, json_int_t id, int timeout_ms, json_t **ret_result, struct failure *why);

/* The next notification: its params, the caller's. 0, or a negative errno with WHY. */
int client_next(struct client *client, int timeout_ms, json_t **ret_params, struct failure *why);

/* One call on a connection of its own. */
int client_ask(const char *path, const char *method, json_t *params, int timeout_ms, json_t **ret_result,
	struct failure *why);
