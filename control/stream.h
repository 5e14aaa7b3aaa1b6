/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Raw byte streams between a client and something in a session: what a command reads and writes, a port, a file.
 *
 * A method that yields a stream offers it here and answers with the token. The client opens a second connection, to
 * stream.sock, and sends {"token": "…"} and a newline; from the next byte on the connection is the stream, and belongs
 * to whoever offered it. A token is 128 random bits, works once, only for the uid that got it, and expires.
 *
 *	r = stream_offer(call, &(struct stream_use){ .attach = on_attach, .gone = on_gone, .arg = thing }, &thing->offer);
 *	if (r < 0)
 *		return;					 the call is answered already
 *	json_put(&result, "stream", stream_json(thing->offer));
 *	call_reply(call, result);
 *
 * and from the loop exactly one of attach() and gone(), unless stream_withdraw() comes first. In all three cases the
 * offer is gone afterwards: forget the pointer. A client that can receive descriptors asks for "via": "fd" instead,
 * and gets one end of a socketpair or pipe by call_reply_fds() (control/call.h) with no token at all.
 */
#pragma once

#include "control/call.h"
#include "control/control.h"
#include "control/list.h"

enum {
	STREAM_TOKEN_SIZE = 33, /* 32 hexadecimal digits and a NUL */
	STREAM_MAX_LINE = 256, /* of the first line, its newline included */
	STREAM_SECONDS = 30, /* before a token expires */
	STREAM_LINE_SECONDS = 10, /* for a first line, from its connection's begin */
	STREAM_MAX_OFFERS = 4096,
	STREAM_MAX_OFFERS_PER_UID = 1024,
	STREAM_MAX_PENDING = 256, /* connections whose first line is not there yet */
	STREAM_MAX_PENDING_PER_UID = 64,
};

struct streams {
	struct control *control;
	struct loop_io listener;
	struct loop_timer accept_again; /* descriptors or memory had run out */
	struct list offers, pending;
	size_t n_offers, n_pending;
	uint64_t token_ns, line_ns; /* how long a token and a connection without one last */
};

struct stream_offer;

struct stream_use {
	/* FD is the connection, a nonblocking stream socket, now ARG's owner's. None of the stream's bytes is read yet. */
	void (*attach)(void *arg, int fd);
	/* Nobody came in time, or the service ends. */
	void (*gone)(void *arg);
	void *arg;
};

/*
 * Offers a stream to the caller of CALL. 0 with the offer; or a negative errno, and then the call has been answered
 * with what is wrong: busy with the bound that is reached, or failed.
 */
int stream_offer(struct call *call, const struct stream_use *use, struct stream_offer **ret);

/* {token, expires_in_seconds}: what a method answers with. NULL when memory is short (json_put() copes). */
json_t *stream_json(const struct stream_offer *offer);

/* Takes an offer back; neither of its functions is called any more. NULL is nothing to take back. */
void stream_withdraw(struct stream_offer *offer);

/* Serves LISTEN_FD (a nonblocking listening stream socket, taken over). 0 or a negative errno. */
int streams_start(struct control *control, int listen_fd);
/* Ends connections that have no stream yet and calls the gone() of all offers. Harmless when it was not started. */
void streams_stop(struct control *control);

/* The token in a first line of N bytes without its newline; -EPROTO when it is anything else. Also for fuzzing. */
int stream_parse_line(const char *bytes, size_t n, char ret_token[static STREAM_TOKEN_SIZE]);
