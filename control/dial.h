/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections that a session's init makes to ports and sockets inside, one queue for each session: so many are asked
 * for at once, the others wait their turn. A server that takes no more for the moment is asked again for a while.
 */
#pragma once

#include "control/init_link.h"

struct dial_target {
	uint16_t port; /* 0: PATH instead */
	uint16_t family; /* enum init_family */
	const char *path; /* shorter than INIT_PATH_SIZE; borrowed */
};

struct dialer {
	struct loop *loop;
	struct init_link *link;
	struct list waiting, all; /* dial->of_waiting, dial->of_all */
	size_t n_asked;
};

/* One connection that is being made, embedded in its owner. */
struct dial {
	struct dialer *dialer; /* NULL: none is being made */
	struct list of_waiting, of_all;
	struct dial_target target;
	bool asked; /* init has been asked, and has not answered */
	int error; /* what LIMIT is to report */
	struct loop_timer limit, again;
	/*
	 * From the loop, once: the connected socket, the owner's (see control/foreign.h), or a negative errno as init
	 * has it; -ETIMEDOUT, -ECONNRESET when the session ends, -EPROTO when init sends something else.
	 */
	void (*done)(struct dial *dial, int fd);
};

/* LINK may be opened later. */
void dialer_init(struct dialer *dialer, struct loop *loop, struct init_link *link);

/* Every dial is done, with -ECONNRESET. */
void dialer_end(struct dialer *dialer);

/* Begins to connect; set target and done before. 0 or -ENOMEM. */
int dial_start(struct dialer *dialer, struct dial *dial);

/* done is not called any more. Harmless when none is being made. */
void dial_cancel(struct dial *dial);
