/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kernel announces: sessions' links that went away, and our table when somebody removed it. The sockets
 * never block. Each function reads all there is.
 */
#pragma once

#include <stdbool.h>

#include "wire/err.h"

/* Sockets in the current network namespace; a descriptor or a negative errno. */
int watch_open_links(void);
int watch_open_tables(void);

/* Calls FN for each cr<slot> that went away. -ENOBUFS when announcements were lost. */
int watch_links(int fd, void (*fn)(uint32_t slot, void *arg), void *arg);

/* Whether the table "inet carrel" was removed and not made again, or that cannot be told. */
bool watch_table_lost(int fd);
