/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server half of control against real sockets: it runs in a child of the test, over a lifecycle that is nothing
 * but the handlers in api_server.c; the test is its client. What the child still holds at its end is what the leak
 * check reports, and its exit status is the test's, too.
 */
#pragma once

#include "tests/unit/unit.h"

#include <sys/un.h>

#include "control/control.h"
#include "control/server.h"

/* Zero is the usual: an administrator, wide bounds, the server's own times. */
struct options {
	bool without_access, is_client;
	uint32_t max_connections, max_per_uid, max_in_flight;
	uint64_t max_queued, stall_ms, refuse_ms;
	uint64_t max_fds;
	uint64_t token_ms, line_ms; /* of streams */
};

struct fixture {
	char dir[64];
	struct sockaddr_un address, stream_address;
	pid_t pid;
	int stop_fd; /* its end is the child's */
};

void start(struct fixture *f, const struct options *options);
void stop(struct fixture *f);

struct peer {
	int fd;
	char *bytes;
	size_t n;
};

struct peer dial(const struct fixture *f);
struct peer dial_stream(const struct fixture *f);
void hang_up(struct peer *peer);

void say_bytes(const struct peer *peer, const char *bytes, size_t n);
void say(const struct peer *peer, const char *text);
/* For a peer that may have been hung up on already. */
void say_maybe(const struct peer *peer, const char *text);
/* A request with integer id and parameters in JSON, "" for none. */
void ask(const struct peer *peer, int id, const char *method, const char *params);

/* The next line; NULL at the end of the stream. */
json_t *hear(struct peer *peer);
/* Hears the answer to ID and returns its result, borrowed from *RET. */
json_t *result_of(struct peer *peer, int id, json_t **ret);
void expect_result(struct peer *peer, int id);
/* Hears an error, of KIND unless that is NULL, and returns its code. */
int expect_error(struct peer *peer, const char *kind);
/* Hears nothing more, and hangs up. */
void expect_end(struct peer *peer);
int number(const json_t *object, const char *member);

/* Asks on a connection of its own; returns how many calls session.heartbeat released, and whose clients were gone. */
int release(const struct fixture *f, int *ret_orphans);
/* The server's open descriptors. */
int server_fds(struct peer *peer);

/* A line of its own, for what goes out with others. */
#define HEALTH(id) "{\"jsonrpc\":\"2.0\",\"id\":" #id ",\"method\":\"system.health\"}"
#define SILENT_HEALTH "{\"jsonrpc\":\"2.0\",\"method\":\"system.health\"}"

#define WAIT "session.wait", "{\"session\":\"s\",\"for\":\"ended\"}"
