/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this folder share: the list of items that is being filled. */
#pragma once

#include "check/check.h"

struct check {
	const struct config *config;
	struct check_item *items;
	size_t n, max;
	int user_fd, net_fd; /* namespaces to try things in, as those of slot 1; -1 where there are none */
};

/* Adds an item; REMEDY is shown where STATE is not CHECK_OK. */
void check_say(struct check *c, enum check_state state, const char *name, const char *remedy, const char *format, ...)
	_printf_(5, 6);

#define ok(c, name, ...) check_say(c, CHECK_OK, name, "", __VA_ARGS__)

/* A small file as a string. 0 or a negative errno. */
int check_read_text(int dir_fd, const char *path, char *text, size_t size);

/* ---- check/hazards.c ---- */

void check_hazards(struct check *c);
