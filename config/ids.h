/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <sys/types.h>

/* A name or "#number"; -ENOENT when there is no such user or group. A numbered user's group has the same number. */
int ids_user(const char *name, uid_t *ret_uid, gid_t *ret_gid);
int ids_group(const char *name, gid_t *ret_gid);
