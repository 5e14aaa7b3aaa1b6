/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which system calls a session may make. Three built-in profiles, "minimal", "browser" and "dind", out of one table
 * (sandbox/seccomp_rules.c) with a reason on every row. The supervisor compiles them once at start; carrel-init loads
 * the result before it executes anything of the session's.
 *
 * A call that is in no row gets ENOSYS, which C libraries take as "an older kernel" and have a way around; one that is
 * refused because of what it could do gets EPERM. Calls of another architecture (i386, x32) end the process. How many
 * are allowed, and who needs them (Docker's default: 295, and 316 with CAP_SYS_ADMIN):
 *
 *   minimal 244   shells, interpreters, servers; no namespaces, no mounts
 *   browser 249   and what Chromium's own sandbox takes: user, pid and net namespaces, chroot
 *   dind    294   and what dockerd, containerd and runc take in a user namespace, and what containers may want
 *
 * The kernel keeps a bitmap of calls that a filter always allows (5.11), so that for nearly all of them none of it is
 * executed.
 */
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "wire/err.h"

bool seccomp_profile_exists(const char *name);

/*
 * Compiles a profile. 0 with *RET_FD, the caller's: a memfd sealed against every change that holds *RET_INSTRUCTIONS
 * struct sock_filter as seccomp(2) takes them (to be read by pread: its position is shared by all who inherit it); or a
 * negative errno with ERR filled, -ENOENT for an unknown name.
 */
int seccomp_profile_compile(const char *name, int *ret_fd, uint32_t *ret_instructions, struct err *err);

/* How many calls a profile allows, conditions or not; 0 for an unknown name. */
size_t seccomp_profile_count(const char *name);

/* Prints a profile's rows with their reasons, for people. 0 or -ENOENT. */
int seccomp_profile_print(const char *name, FILE *out);
