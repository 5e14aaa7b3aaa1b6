/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who sees what: operators everything, a client the sessions of owners that start with his prefix. What somebody does
 * not see does not exist for him.
 */
#pragma once

#include "control/call.h"

static inline bool owner_has_prefix(const char *owner, const char *prefix)
{
	return !prefix || strncmp(owner, prefix, strlen(prefix)) == 0;
}

static inline bool caller_sees_host(const struct caller *caller)
{
	return caller->role >= ROLE_OPERATOR;
}

static inline bool caller_sees_owner(const struct caller *caller, const char *owner)
{
	return caller_sees_host(caller) || owner_has_prefix(owner, caller->owner_prefix);
}
