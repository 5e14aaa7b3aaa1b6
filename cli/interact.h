/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A command in a session and this program's own input, output, terminal and signals as one: bytes both ways until the
 * command has ended and all of its output is here, or until the person at the terminal leaves it.
 */
#pragma once

#include "cli/client.h"
#include "cli/console.h"
#include "cli/keys.h"

struct interaction {
	struct client *client; /* where it was started: asked for its end, told sizes and signals */
	const char *wait_method, *resize_method, *signal_method; /* NULL: there is none */
	json_t *target; /* the parameters that name it: {"session", "exec"}; borrowed */
	int in_fd; /* where our input comes from; -1: there is none */
	int to_fd, from_fd, errors_fd; /* its streams; -1: it has none. TO_FD may be FROM_FD. Taken over */
	bool tty; /* it has a terminal, and ours is to be raw */
	struct detach_keys detach_keys; /* none where it has no terminal */
	bool redraw; /* it was there before: what is on its screen is to be drawn again */
	bool filter_out, filter_err; /* what it prints shall not play with our terminal */
};

enum interaction_end {
	INTERACTION_ENDED, /* the command has; RET_RESULT is what wait_method answered */
	INTERACTION_LEFT, /* by the detach keys */
	INTERACTION_SIGNALLED, /* we were asked to end; RET_SIGNAL says how */
};

/* 0 with *RET_END, or a negative errno with WHY: the connection or a stream broke. */
int interact(struct interaction *interaction, enum interaction_end *ret_end, json_t **ret_result, int *ret_signal,
	struct failure *why);
