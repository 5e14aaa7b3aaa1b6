/* SPDX-License-Identifier: Apache-2.0 */
/* Runs one program, without a shell, and reads what it says line by line. */
#pragma once

#include "cli/failure.h"

enum { PROGRAM_TAIL_LINES = 12, PROGRAM_MAX_LINE = 4096 };

/*
 * Runs ARGV (ARGV[0] looked up in PATH) in the C.UTF-8 locale with no input, and calls LINE for each line of its
 * output and errors, which may change it. SIGINT from the terminal reaches the program alone, so that it can clean up
 * and so can we. 0 when it exited with 0; else a negative errno and WHY with its last lines.
 */
int program_run(
	const char *const argv[], void (*line)(void *context, char *text), void *context, struct failure *why);
