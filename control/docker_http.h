/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One HTTP request to the Docker daemon in a session, through its unix socket (docs.docker.com/engine/api). Init
 * connects and hands over the socket; each request has its own. The daemon is the session's, and everything that it
 * says is hostile: header and body are bounded, nothing waits for it, and what fits no answer ends the request.
 */
#pragma once

#include <http_parser.h>

#include "control/buffer.h"
#include "control/init_link.h"

enum { DOCKER_MAX_BODY = 64 << 20 }; /* bytes of one answer */

struct docker_http {
	struct loop *loop;
	struct init_link *link;
	struct loop_io io; /* the socket; -1: not connected */
	http_parser parser;
	struct buffer out; /* to be sent */
	bool running, chunked, complete;
	size_t n_body;
	int status; /* of the answer; 0 before it has come */
	int failure; /* set by docker_http_fail() */
	/* A piece of the body. May call docker_http_fail(), and must not free or cancel. */
	void (*on_body)(struct docker_http *http, const char *bytes, size_t n);
	/* What was to be sent is: a chunked request may go on. Must not free or cancel. NULL: of no interest. */
	void (*on_drained)(struct docker_http *http);
	/* The end: 0 with the status, or a negative errno. Nothing more is called; may free HTTP. */
	void (*on_done)(struct docker_http *http, int error);
};

/*
 * Sends METHOD TARGET with BODY (JSON, or NULL), or, CHUNKED, with a tar whose pieces follow. Set the functions before.
 * 0 or a negative errno: then nothing is called.
 */
int docker_http_start(struct docker_http *http, struct loop *loop, struct init_link *link, const char *method,
	const char *target, const char *body, bool chunked);

/* Sends a piece of the body; the last is empty. 0 or -ENOMEM. */
int docker_http_chunk(struct docker_http *http, const void *bytes, size_t n);

/* Ends the request with the negative errno NUM once the handler that calls this has returned. */
static inline void docker_http_fail(struct docker_http *http, int num)
{
	http->failure = num;
}

/* Gives it up; nothing is called. Harmless when it is not running. */
void docker_http_cancel(struct docker_http *http);

/* TEXT for a place between slashes or after "=" in a target. 0, or -ENAMETOOLONG with TO untouched. */
int docker_escape(char *to, size_t size, const char *text);
