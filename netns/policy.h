/* SPDX-License-Identifier: Apache-2.0 */
/* The rules of nftables: the host's static table, and a session's redirect to its own loopback. */
#pragma once

#include "netns/netns.h"

/*
 * Each works in the network namespace the caller is in, and is one transaction: all of it or nothing. *LOW_FD is -1
 * before the first and the caller's to close in the end: it keeps a descriptor number for the next.
 */
int policy_load(const struct netns_config *config, int *low_fd, struct err *err);
int policy_unload(int *low_fd, struct err *err);
int policy_rates(uint32_t slot, uint64_t sent, uint64_t received, int *low_fd, struct err *err);
int policy_redirect(const uint16_t *ports, size_t n_ports, int *low_fd, struct err *err);
