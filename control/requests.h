/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests on a private channel that wait for their answers. Answers are matched by ids that count up; one that fits
 * no request, or the wrong operation, is a breach of the protocol.
 *
 * Ids begin at the time the channel was opened: no two control processes of a boot give the same, and an answer to
 * what the one before this asked is told from this one's, and dropped.
 */
#pragma once

#include "wire/chan.h"

/* ANSWER is NULL when the channel ended first; else its descriptors may be stolen. */
typedef void answer_fn(void *owner, struct msg *answer);

struct request;

struct requests {
	uint64_t first_id, last_id;
	struct request *head, **tail; /* in the order of sending, in which most answers come */
};

void requests_init(struct requests *requests);

/*
 * Gives HEADER the next id and sends it. FN is called once with the answer unless requests_forget() comes first.
 * 0 or a negative errno, after which FN is not called.
 */
int requests_send(struct requests *requests, struct chan *chan, struct msg_header *header, const int *fds,
	size_t n_fds, answer_fn *fn, void *owner);

/* Hands an answer to whom it belongs. 0, or -EPROTO when nobody asked for it. */
int requests_answer(struct requests *requests, struct msg *answer);

/* The answers to OWNER's requests are dropped from now on: for an owner about to be freed. */
void requests_forget(struct requests *requests, const void *owner);

/* Tells everybody who waits that no answer will come. */
void requests_end(struct requests *requests);
