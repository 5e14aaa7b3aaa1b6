/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The channel to the supervisor: requests, answers and events. Control trusts the supervisor, which is root and made
 * it; a malformed message is a fault of one of the two programs and ends the channel, and with it this process.
 */
#pragma once

#include "control/requests.h"
#include "wire/super.h"

struct super_link {
	struct chan chan;
	struct requests requests;
	/* Set before super_link_open(). Descriptors: SUPER_FD_COUNT, or none; stolen from the array or closed afterwards. */
	void (*on_session)(struct super_link *link, const struct super_ev_session *event, int *fds, size_t n_fds);
	void (*on_volumes)(struct super_link *link, const struct super_ev_volumes *event);
	void (*on_exited)(struct super_link *link, const struct super_ev_exited *event);
	void (*on_gone)(struct super_link *link, const char *id);
	void (*on_closed)(struct super_link *link, int error); /* as of struct chan */
};

/* Takes over the nonblocking SOCK. 0 or a negative errno. */
int super_link_open(struct super_link *link, struct loop *loop, int sock);
/* Requests under way are answered with NULL. on_closed is not called. */
void super_link_close(struct super_link *link);

/* See requests_send(). HEADER is filled but for its id. */
int super_link_send(
	struct super_link *link, struct msg_header *header, const int *fds, size_t n_fds, answer_fn *fn, void *owner);

/* SUPER_LIST or SUPER_CHECK. */
int super_link_ask(struct super_link *link, enum super_op op, answer_fn *fn, void *owner);

/* SUPER_CONNECT, SUPER_KILL, SUPER_FREEZE or SUPER_THAW of the session ID. */
int super_link_tell(struct super_link *link, enum super_op op, const char *id, answer_fn *fn, void *owner);

/* Answers for OWNER are dropped from now on. */
void super_link_forget(struct super_link *link, const void *owner);
