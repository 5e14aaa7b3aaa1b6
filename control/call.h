/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A JSON-RPC request under way: between the connection that brought it (control/conn.c) and the method that answers
 * it. A handler answers exactly once, at once or later from the event loop. If the client goes away first, the call
 * stays valid until it is answered; the answer is then dropped.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

#include "config/config.h"

struct control;
struct conn;
struct call;

/* Who is calling: taken from the kernel at connect, never from the message. */
struct caller {
	uid_t uid;
	gid_t gid;
	pid_t pid; /* for people who read the audit log: nothing is decided by it */
	enum role role;
	const char *owner_prefix; /* for ROLE_CLIENT; "" for no restriction */
};

/* Kinds of errors a backend sees (API.md); each is a JSON-RPC code and a word in data.kind. */
enum error_kind {
	E_NOT_FOUND,
	E_ALREADY_EXISTS,
	E_CONFLICT,
	E_DENIED,
	E_BUSY,
	E_LIMIT,
	E_INVALID_STATE,
	E_TIMEOUT,
	E_NOT_READY,
	E_FAILED,
	E_UNAVAILABLE,
	E_DRAINING,
	E_INVALID_PARAMS, /* -32602, with data.path */
	E_KIND_COUNT,
};

/* What goes into an error's data besides kind and retryable; members that are NULL, 0 or negative are left out. */
struct error_details {
	const char *path; /* E_INVALID_PARAMS: the member, "limits.cpus" */
	const char *session;
	const char *step;
	int err_no; /* positive errno; becomes its name, "ENOENT" */
	const char *log_tail;
	int64_t retry_after_ms;
	const json_t *result; /* what there is of a result all the same; borrowed */
};

struct control *call_control(const struct call *call);
const struct caller *call_caller(const struct call *call);
const json_t *call_params(const struct call *call); /* an object, already validated against the method's table */

/* Answers and ends the call. RESULT is stolen. */
void call_reply(struct call *call, json_t *result);

enum { CALL_MAX_FDS = 8 };

/*
 * Whether descriptors can go with the answer: not in a batch, not for a notification. False: the call has been
 * answered, with invalid_params naming "via". To be asked before anything is begun for "via": "fd".
 */
bool call_takes_fds(struct call *call);

/*
 * As call_reply(), and N descriptors (at most CALL_MAX_FDS, taken over whatever becomes of the answer) travel by
 * SCM_RIGHTS with the first byte of the answer's line. RESULT says what they are, in their order.
 */
void call_reply_fds(struct call *call, json_t *result, const int *fds, size_t n);

/* Answers with an error and ends the call. Set RETRYABLE for what may work when asked again unchanged. */
void call_fail(struct call *call, enum error_kind kind, bool retryable, const struct error_details *details,
	const char *message_format, ...) _printf_(5, 6);

/*
 * Sets N more bytes of the connection's queue aside for the call's answer, which is then sure to fit. False when the
 * connection, or its user, has not so much room: whoever collects an answer piece by piece stops here.
 */
bool call_reserve(struct call *call, size_t n);

/* The connection of a call, for subscriptions; NULL when the client is gone. */
struct conn *call_conn(const struct call *call);

/* Sends a notification; PARAMS is stolen. Dropped when the connection's queue is full (the connection is then ended). */
void conn_notify(struct conn *conn, const char *method, json_t *params);

/*
 * Registers a function to be called when the connection ends, once per OWNER: a second call replaces the first, and
 * a NULL function takes it out. A connection is never ended from within conn_notify(), call_reply() or call_fail(),
 * only from the event loop.
 */
void conn_on_close(struct conn *conn, void (*fn)(struct conn *conn, void *owner), void *owner);
