/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What went wrong, in one shape wherever it happened: the JSON-RPC error object that control sent, or one made here
 * with the same members (message, data.kind, data.step, data.errno, data.log_tail, ...), so that people and programs
 * read both in the same way.
 */
#pragma once

#include <jansson.h>
#include <stdio.h>

#include "cli/term.h"
#include "wire/def.h"

/* The program's exit status: part of the interface, documented in `carrel help`. */
enum exit_code {
	EXIT_OK = 0,
	EXIT_REFUSED = 1, /* the request was refused or failed; the error says its kind */
	EXIT_USAGE = 2, /* the command line is wrong; nothing was asked */
	EXIT_UNREACHABLE = 3, /* no answer from carrel: not running, no permission, connection lost */
	EXIT_NOT_RUN = 125, /* of exec, shell and attach: carrel failed, not the command */
	EXIT_NOT_STARTED = 126, /* the command is there and cannot be started */
	EXIT_NO_COMMAND = 127, /* there is no such command */
	EXIT_TIMED_OUT = 124, /* it did not happen in the time given, as of timeout(1) */
};

struct failure {
	enum exit_code code;
	json_t *error; /* NULL when memory ran out; then only the code is known */
};

static inline void failure_free(struct failure *why)
{
	json_decref(why->error);
	why->error = NULL;
}

#define _failure_ _cleanup_(failure_free)

/*
 * Fills WHY with a message made here and, when NUM (a negative errno) is not 0, its name. Returns NUM, or -EIO for 0,
 * so that callers write `return failure_set(...)`.
 */
int failure_set(struct failure *why, enum exit_code code, int num, const char *format, ...) _printf_(4, 5);

/* Adds a member of data: "step", "log_tail", "hint", ... */
void failure_add(struct failure *why, const char *member, const char *value);

/* Takes over ERROR, an error object that came from control, and finds the exit code from its kind. Returns -EREMOTEIO. */
int failure_from(struct failure *why, json_t *error);

/*
 * For people: "carrel VERB: message", then kind, step, errno, the last lines of the log indented, and a hint where
 * there is something to be done. TERM is what OUT is.
 */
void failure_print(const struct failure *why, const char *verb, const struct term *term, FILE *out);

/* For programs: {"error": {...}, "exit_code": N} on one line. */
void failure_print_json(const struct failure *why, FILE *out);
