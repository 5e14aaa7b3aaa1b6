/* SPDX-License-Identifier: Apache-2.0 */
/*
 * docker.*: what clients ask of the Docker daemon in a session, through its Engine API. A method is a chain of requests
 * to the daemon, each begun by what the one before it answered; the supervisor has no part in it.
 *
 *	docker.c	operations in general; docker.ps, docker.images, docker.stop
 *	docker_run.c	docker.run
 *	docker_build.c	docker.build and docker.cancel
 *	docker_http.c	one request
 *	docker_stream.c	what is streamed
 */
#pragma once

#include "control/docker_http.h"
#include "control/session.h"

enum { DOCKER_TARGET_SIZE = 4096 };

/* What a refusal of the daemon's is about: a row that fits its status and its words. */
struct docker_refusal {
	int status; /* 0: any */
	const char *text; /* some of the daemon's words; NULL: any */
	enum error_kind kind;
	const char *param;
};

struct docker_op {
	struct list of_session; /* session->docker */
	struct session *session;
	struct call *call; /* NULL once it is answered: what is under way is cleaning up */
	struct docker_http http;
	struct buffer answer; /* of the request under way, where it is not streamed */
	const struct docker_refusal *refusals; /* up to one without a param; the first that fits counts. NULL: none */
	bool streams; /* the answer's body goes to on_stream, unless its status is an error's */
	struct loop_timer limit;
	uint64_t begun_ns;
	/* The request was answered with 2xx or 304: ANSWER is its JSON, or NULL; borrowed. May end OP. */
	void (*then)(struct docker_op *op, const json_t *answer);
	/* A piece of what is streamed: 0, or a negative errno, which ends the request. NULL: nothing streams. */
	int (*on_stream)(struct docker_op *op, const char *bytes, size_t n);
	/* The call failed or its client went away; anything that has to be taken back begins here. NULL: nothing has. */
	bool (*on_failed)(struct docker_op *op); /* true: a request is under way that cleans up, and ends OP */
	/* Releases what the method has besides, before OP is freed. NULL: nothing. */
	void (*release)(struct docker_op *op);
	void (*cancel)(struct docker_op *op); /* what docker.cancel does to it; NULL: it cannot be */
};

/*
 * Begins an operation of SIZE bytes, of which a struct docker_op is the first member, for the session that CALL names.
 * Otherwise answers the call and returns NULL.
 */
struct docker_op *docker_begin(struct call *call, size_t size);

/* Asks the daemon. THEN gets the answer; any other end fails the operation. BODY is stolen and may be NULL. */
void docker_ask(struct docker_op *op, const char *method, const char *target, json_t *body, uint64_t limit_ns,
	void (*then)(struct docker_op *op, const json_t *answer));

/* Answers the call and ends OP. RESULT is stolen. */
void docker_reply(struct docker_op *op, json_t *result);

/* Answers the call with an error and ends OP, when it has cleaned up. RESULT, borrowed, is what there is all the same. */
void docker_fail(struct docker_op *op, enum error_kind kind, int num, const json_t *result, const char *format, ...)
	_printf_(5, 6);

/* The same, because of the call's parameter PATH: "PATH: TEXT". NUM is 0 where there is no errno. */
void docker_fail_param(struct docker_op *op, enum error_kind kind, int num, const char *path, const char *text);

/* The request under way ended without an answer: says so in the words of the errno NUM. */
void docker_fail_http(struct docker_op *op, int num, const json_t *result);

/* Ends OP; the call has been answered. */
void docker_end(struct docker_op *op);

/* The session ended: so does all that is under way in it. */
void docker_session_ended(struct session *session);

#define DOCKER_PROMPT_NS (60 * NS_PER_SEC) /* what a daemon that works answers at once */

/* BEFORE, NAME escaped, and what is formatted: 0, or -ENAMETOOLONG, which no NAME of up to 1,000 bytes is. */
int docker_target(char target[static DOCKER_TARGET_SIZE], const char *before, const char *name,
	const char *after_format, ...) _printf_(4, 5);

/* What Docker takes as the name or the id of a container: [a-zA-Z0-9][a-zA-Z0-9_.-]*; true for NULL. */
bool docker_name_is_valid(const char *name);

const char *docker_string(
	const struct docker_op *op, const char *param); /* of the call; NULL where it is not given */
bool docker_flag(const struct docker_op *op, const char *param);
