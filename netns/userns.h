/* SPDX-License-Identifier: Apache-2.0 */
/* A user namespace and the network namespace it owns, made before anybody lives in them. */
#pragma once

#include "wire/err.h"

enum { IDS_PER_SLOT = 65536 };

/*
 * The user namespace maps 0..65535 to FIRST_ID and up, for users and groups, and belongs to FIRST_ID, so that what is
 * used up in it counts against nobody else. Both descriptors are the caller's; when
 * they are closed and nobody has joined, the namespaces are gone.
 */
int userns_make(uint32_t first_id, int *ret_user_fd, int *ret_net_fd, struct err *err);
