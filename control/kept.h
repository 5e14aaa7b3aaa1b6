/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands that outlive connections, and control itself: exec.start and terminals. Their pipes and terminals, and their
 * names, are init's (wire/init.h); what is here is control's mirror of it. The next control process asks init for the
 * list and has them again; whoever was attached then is not, and may attach anew.
 *
 * An attachment is a client's stream on its way to a command: a token that nobody has shown yet, or a connection, which
 * a relay joins to pipes whose other ends init has. No socket of a client's ever gets into a session, and no descriptor
 * that init sent is ever read here.
 */
#pragma once

#include "control/exec.h"
#include "control/relay.h"
#include "control/stream.h"

enum {
	KEPT_ENDED_PER_SESSION = 64, /* the newest that have ended, for exec.wait and what nobody has read yet */
	KEPT_ENDED_SECONDS = 600, /* and for how long */
	ATTACHMENTS_PER_EXEC = 3 * INIT_MAX_VIEWERS,
};

enum { KEPT_ID_SIZE = 24 }; /* "exec-" and the number in hexadecimal digits */

struct attachment {
	struct kept *kept;
	struct attachment **place; /* in a struct attach; NULL once its call is answered */
	struct list of_kept;
	enum init_stream stream;
	struct stream_offer *offer; /* the token; NULL once it was shown */
	int server_fd, client_fd; /* of a client that wants a descriptor, until the call is answered; or -1 */
	struct relay relay;
	uint64_t typed; /* relay.way[0].bytes as last seen */
};

/* What is attached for one call; must not move until that is answered. */
struct attach {
	bool by_fd; /* the client wants descriptors instead of tokens */
	struct attachment *attachments[STREAM_COUNT];
};

struct kept {
	struct session *session;
	struct list of_session;
	struct init_exec command; /* its id is the command's */
	char id[KEPT_ID_SIZE];
	uint32_t flags; /* enum init_start_flags */
	struct init_label label;
	int pid; /* in the session; 0 until it is started */
	bool ended;
	int exit_code, signal; /* -1: it was not that; both: not known */
	uint64_t ended_ns;
	struct list attachments, waiters;
	size_t n_attachments;
	struct call *call; /* that started it and is not answered yet */
	struct attach attach; /* for that */
	struct loop_timer timeout, expiry;
};

/* One that INIT_LIST has named. */
void kept_adopt(struct session *session, const struct init_ev_kept *event);

/* The session has ended: whoever waits or is attached hears of it. */
void kept_free_all(struct session *session);

/* By id or by a terminal's name; one that runs first. NULL when there is none. */
struct kept *kept_find(const struct session *session, const char *name);

/*
 * A command in the session's list, not started yet; NULL when memory is short. kept_free() takes it out again, without
 * a word to its call or to init.
 */
struct kept *kept_new(struct session *session, uint32_t flags);
void kept_free(struct kept *kept);
void kept_set_id(struct kept *kept, uint64_t number);
/* {exec, exit_code, signal} of one that has ended; NULL when memory is short. */
json_t *kept_ended_json(const struct kept *kept);
/* Ends the command's process group. */
void kept_kill(struct kept *kept);
/* The time it has, if any, begins. 0 or -ENOMEM. */
int kept_arm_timeout(struct kept *kept);

/* ---- exec_attach.c ---- */

/*
 * Offers CALL's caller all streams that KEPT has, as ATTACH says in by_fd. 0, or a negative errno and the call is
 * answered.
 */
int attach_all(struct kept *kept, struct call *call, struct attach *attach);
/* Answers CALL with RESULT, stolen, and what was offered: as "streams", or that of a TERMINAL as "stream". */
void attach_reply(struct attach *attach, struct call *call, json_t *result, bool terminal);
/* Takes back what was offered. */
void attach_drop(struct attach *attach);
void attachment_free(struct attachment *attachment);
/* What "via" says of CALL. False, and the call is answered, where it cannot be had. */
bool attach_via(struct call *call, bool *ret_by_fd);

/* ---- exec_kept.c ---- */

/* The kept command that CALL names by PARAMETER, if the caller may see it; else the call is answered, and NULL. */
struct kept *exec_kept(struct call *call, const char *parameter);
/* The same, and not while the session is paused. */
struct kept *exec_kept_awake(struct call *call, const char *parameter);
void kept_resize(struct kept *kept, uint16_t rows, uint16_t columns);
/* The command has ended, or the session has: answers those who wait. */
void kept_serve_waiters(struct kept *kept);
