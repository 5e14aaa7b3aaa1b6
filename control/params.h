/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checks a request's parameters against the row of its method, so that a handler can rely on names, types and ranges.
 */
#pragma once

#include "control/methods.h"

struct param_fault {
	char path[160]; /* the member: "limits.cpus", "command[3]"; empty for the parameters as a whole */
	char text[224]; /* what it must be */
};

/* 0; or -EINVAL and *RET says what is wrong. PARAMS may be NULL for none. */
int params_check(const struct param *table, const json_t *params, struct param_fault *ret);

/* The rule of a parameter in words, "1 to 256 bytes"; always terminated. Returns BUF. */
const char *param_rule(const struct param *param, char *buf, size_t size);

/* The Nth value of an enum's "a|b|c": its start and length in *RET_N, or NULL. */
const char *param_enum_value(const char *values, size_t n, size_t *ret_n);
