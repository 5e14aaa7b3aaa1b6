/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Named lists of what sessions may reach, as the configuration gives them and the packet filter enforces them.
 */
#pragma once

#include "wire/def.h"

enum { EGRESS_MAX_LISTS = 32, EGRESS_MAX_RULES = 256 };

/* One prefix and one range of ports of a protocol. */
struct egress_rule {
	uint8_t family; /* 4 or 6 */
	uint8_t protocol; /* IPPROTO_TCP, IPPROTO_UDP; 0: all, and no ports */
	uint8_t address[16], bits;
	uint16_t first_port, last_port;
};

struct egress_list {
	char *name;
	struct egress_rule *rules;
	size_t n_rules;
};
