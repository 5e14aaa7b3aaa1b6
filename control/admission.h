/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may have one more session, now or in a while. Ceilings hold for the host, a template, an owner and a user; what a
 * caller has too many of himself is refused for good ("limit"), what others have taken may become free: he is told when
 * to ask again ("busy"), or waits in a queue, of bounded length and in the order of asking, for as long as he said.
 *
 * A host that is being drained takes no new sessions at all; those that there are go on, and are found by
 * session.ensure. That outlives this process.
 */
#pragma once

#include "control/call.h"
#include "control/list.h"
#include "wire/loop.h"

struct lifecycle;

enum refusal {
	REFUSED_HOST,
	REFUSED_TEMPLATE,
	REFUSED_OWNER,
	REFUSED_USER,
	REFUSED_QUEUE, /* it is full */
	REFUSED_QUEUE_TIMEOUT,
	REFUSED_DRAINING,
	REFUSAL_COUNT,
};

struct admission {
	struct list queue; /* in the order of asking */
	size_t n_queued;
	struct loop_timer serve; /* there may be room for who waits */
	bool serving; /* for the first of the queue, whom nobody overtakes */
	bool draining;
	uint64_t n_refused[REFUSAL_COUNT], n_queued_ever;
};

/* A session that is wanted; all borrowed. */
struct applicant {
	struct call *call;
	const struct template *template;
	const char *owner;
	const char *place; /* of session.ensure, or NULL */
	void (*again)(struct call *call); /* when there may be room: begins the call anew */
};

void admission_start(struct lifecycle *lifecycle);
/* Answers everybody who waits. */
void admission_stop(struct lifecycle *lifecycle);

/* 0 when there is room; else -EUSERS, and the call is answered or waits to begin anew. */
int admission_check(struct lifecycle *lifecycle, const struct applicant *applicant);

/* A session ended or began: somebody in the queue may be served. */
void admission_wake(struct lifecycle *lifecycle);

/* "host", "template", ...: the ceiling or reason of a refusal. */
const char *refusal_name(enum refusal refusal);
