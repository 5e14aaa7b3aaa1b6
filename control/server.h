/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server half of control, for its own files: server.c accepts, conn.c moves bytes, call.c turns lines into calls
 * and answers into lines. The lifecycle sees control.h and call.h only.
 *
 * Everything a client can make the server hold is counted here: connections, calls not yet answered, and the bytes
 * of its buffers, each for the connection and for the user behind it, whose connections may be many.
 */
#pragma once

#include "control/audit.h"
#include "control/buffer.h"
#include "control/call.h"
#include "control/error.h"
#include "control/rpc.h"
#include "wire/loop.h"

enum {
	USER_SHARE = 8, /* a user may hold as much as this many full connections, calls and bytes */
	MAX_REFUSED = 32, /* connections that are only being told why they are refused */
	MAX_DESCRIPTOR_MESSAGES = 16, /* messages with descriptors before a connection is ended */
	MAX_PARCELS = 16, /* answers with descriptors that are not sent; with more, no requests are taken up */
	BUSY_RETRY_MS = 100,
	FULL_RETRY_MS = 1000, /* for a bound on connections: they last longer than requests */
};

/* What the connections of one user hold together; lives as long as any of it. */
struct client {
	struct client *next, **link; /* in server->clients; LINK is NULL once the server is gone */
	uid_t uid;
	size_t n_conns, n_refused, n_calls, n_bytes;
	struct audit_budget audit;
};

struct server {
	struct control *control;
	struct loop_io listener;
	struct loop_timer accept_again; /* the kernel was short of memory */
	int reserve_fd; /* closed to accept, and refuse, one more when descriptors run out; or -1 */
	struct client *clients;
	struct conn *conns;
	size_t n_conns, n_refused;
	uint64_t stall_ns; /* a peer that takes nothing, or does not finish a line, is dropped after this */
	struct audit_budget refusals; /* of connections: whoever is refused is forgotten */
	uint64_t (*n_answers)[E_KIND_COUNT +
			      1]; /* by method, in the table's order, and kind of error; the last: none */
	uint64_t refuse_ns; /* a refused one, after this */
};

/* Together they hold more than one user may. */
bool client_is_over(const struct client *client, const struct config *config);
/* The record of a user, made when there is none; or NULL when memory is short. */
struct client *client_get(struct server *server, uid_t uid);
/* To be called whenever something of it went away: frees it when nothing is left. */
void client_put(struct client *client);

struct conn_hook {
	struct conn_hook *next;
	void (*fn)(struct conn *conn, void *owner);
	void *owner;
};

/* Descriptors on their way out. */
struct parcel {
	struct parcel *next;
	uint64_t at; /* position of the byte that they travel with, counted from the connection's first */
	size_t n;
	int fds[CALL_MAX_FDS];
};

struct conn {
	struct conn *next, **link; /* in server->conns */
	struct server *server;
	struct loop_io io;
	struct loop_timer timer; /* for the three times below */
	struct caller caller;
	struct client *client;
	struct buffer in, out;
	size_t scanned; /* of IN's bytes: these hold no newline */
	size_t counted; /* bytes that client->n_bytes has for this connection */
	struct call *calls; /* not yet answered */
	size_t n_calls;
	size_t n_reserved; /* bytes of OUT that the answers of calls will fill */
	uint64_t sent; /* bytes that have left OUT */
	struct parcel *parcels; /* in the order of their bytes */
	size_t n_parcels;
	struct conn_hook *hooks;
	uint64_t partial_since_ns; /* the start of a line has been waiting for its end; 0: none has */
	uint64_t unsent_since_ns; /* the peer has taken nothing of OUT; 0: OUT is empty */
	uint64_t refused_since_ns;
	uint32_t n_descriptor_messages;
	bool more; /* IN may hold a whole line: this round's work was used up, or OUT is long */
	bool skipping; /* the rest of a line that was too long */
	bool eof; /* the peer sends no more */
	bool hung_up; /* the peer is gone altogether */
	bool refused; /* told why, then ended: input is thrown away */
	bool doomed; /* to be ended by the event that is on its way */
	bool working; /* in the event's handler, which sends and settles once for all that it does */
};

/* ---- conn.c ---- */

/* Takes over FD and counts it for CLIENT. 0, or a negative errno and FD is closed. */
int conn_open(struct server *server, int fd, const struct caller *caller, struct client *client, struct conn **ret);
/* Ends the connection at once: only from the event loop and from server_stop(). */
void conn_close(struct conn *conn);
/* Queues one line; ANSWER is stolen, NULL ends the connection (memory was short). */
void conn_send(struct conn *conn, json_t *answer);
/* The same for N bytes of text with its newline. */
void conn_send_text(struct conn *conn, const char *text, size_t n);
/* FDS, taken over, go with the first byte of what is queued next. */
void conn_attach_fds(struct conn *conn, const int *fds, size_t n);
/* Has the loop end the connection: an answer was lost, or it and its user hold too much. */
void conn_fail(struct conn *conn);
/* Queues an error line, takes no more input, and ends the connection once the peer has read it or a moment passed. */
void conn_refuse(struct conn *conn, enum error_kind kind, int64_t retry_after_ms, const char *message);
/* After anything that may have changed what the connection waits for, the last answer included. */
void conn_settle(struct conn *conn);

/* ---- call.c ---- */

/* Parses a line and starts what it asks for, or answers what is wrong with it. */
void call_start_line(struct conn *conn, const char *bytes, size_t n);
/* The connection ends: its calls go on without it. */
void call_orphan_all(struct conn *conn);
