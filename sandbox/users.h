/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who a command runs as: a spec's user, looked up in the session's own /etc/passwd and /etc/group. Both files belong
 * to the session and are hostile: they are read in the child that will become the command, never by init itself, and
 * parsed here without allocation, recursion or trust.
 *
 * Numbers are strict (digits only, below 4294967295): a user "1x" or "4294967296" is an error and never user 0.
 */
#pragma once

#include "wire/err.h"
#include "wire/spec.h"

struct identity {
	uint32_t uid, gid;
	size_t n_groups;
	uint32_t groups[SPEC_MAX_GROUPS];
};

/* The contents of a file; need not end with a newline or a NUL. */
struct text {
	const char *bytes;
	size_t n;
};

/*
 * The identity for WHO, which is "name", "name:group", "1000" or "1000:1000". An account has its group and those that
 * list it as a member; a number that no account has is its own group. 0; -ENOENT for a name that is not there, -EINVAL for what is
 * neither a name nor a number, -E2BIG past SPEC_MAX_GROUPS; with step "user" and the name in ERR.
 */
int identity_find(const char *who, struct text passwd, struct text group, struct identity *ret, struct err *err);

/*
 * The identity that HEADER asks for: numbers if it names no user, else identity_find() in the files under the calling
 * process's root. Also fails when a file is not a regular one or larger than 1 MiB (-EFBIG).
 */
int identity_read(const struct spec_header *header, struct identity *ret, struct err *err);

/* Makes the calling process run as IDENTITY for good: gid, groups, then uid. */
int identity_become(const struct identity *identity, struct err *err);
