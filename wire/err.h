/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The error value of everything that can fail in a step: which step, on which object, with which errno. Functions
 * that fill one return its number, so that callers write `return err_set(...)`.
 */
#pragma once

#include "wire/def.h"

enum { ERR_STEP_SIZE = 24, ERR_OBJECT_SIZE = 104 };

struct err {
	int32_t num; /* a negative errno, or 0 */
	char step[ERR_STEP_SIZE]; /* "cgroup", "overlay", ...: a session step or a part of one */
	char object[ERR_OBJECT_SIZE]; /* what it was done to; cut, never overrun */
};

/* Fills ERR (may be NULL) and returns NUM. STEP and the formatted object are cut to fit. */
int err_set(struct err *err, int num, const char *step, const char *object_format, ...) _printf_(4, 5);

/* Puts what happened inside a larger step under that step's name: "uid_map 0 65536" becomes "network uid_map 0 65536". */
void err_within(struct err *err, const char *step);

/* "step: object: strerror" into BUF; always terminated. Returns BUF. */
const char *err_text(const struct err *err, char *buf, size_t size);
