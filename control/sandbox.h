/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How control locks itself in, once all that needs more has been read and opened. There is no way back.
 */
#pragma once

#include <stdio.h>

#include "config/config.h"

/*
 * Gives up all privilege for good (capabilities, gaining any by exec, being traced or dumped), all of the file system
 * but what the table in sandbox.c lists (Landlock, as far as the kernel has it), and all system calls but those of
 * the other table there. -EPERM when the process is root or cannot be rid of a capability. 0 or a negative errno with
 * ERR.
 */
int sandbox_enter(const struct config *config, const char *config_directory, struct err *err);

/* Every system call that is left, with the reason. */
void sandbox_print_syscalls(FILE *out);
