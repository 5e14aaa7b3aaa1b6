/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stage for the tests of netns/: a network namespace that plays the host, and one that plays the rest of the
 * world. Nothing outside these two is touched.
 *
 *   world: public and private addresses -- world0 up0 -- host -- cr1 eth0 -- session 1
 *                                                             -- cr2 eth0 -- session 2
 *
 * Sessions have public addresses here, so that no rule about private ones stands in for another; and the world has a
 * route back to them, so that what does not arrive was dropped by a rule.
 */
#pragma once

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "netns/netns.h"

enum { WAIT_MS = 150, GONE_MS = 5000, PROBES_MAX = 128, CDP_PORT = 9222 };

extern const struct netns_config stage_config;

/* What a test has at hand. */
struct stage {
	int host, world; /* network namespaces */
	int uplink; /* the host's interface towards the world */
	int n_fds;
	struct netns *netns;
	struct netns_slot slot[3]; /* 1 and 2 */
	char v4[3][2][INET6_ADDRSTRLEN], v6[3][2][INET6_ADDRSTRLEN]; /* [slot][host end] */
	struct err err;
};
extern struct stage stage;

/* Once for all tests, before each, after each (which sees that nothing is left). */
int stage_build(void **state);
int stage_open(void **state);
int stage_close(void **state);

/* Makes netns anew with its table; both sessions under a policy; waits for the end of slots, by their bits. */
void stage_load(const struct netns_config *config);
void stage_set_policy(enum netns_policy policy);
void stage_wait_until_gone(unsigned slots);
int stage_count_fds(void);

#define assert_ok(expr) stage_assert_ok((expr), #expr)
void stage_assert_ok(int r, const char *what);

/* Addresses; the world's, and the host's on the same link, which is one higher. */
union address {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
	struct sockaddr_storage storage;
};
enum { N_PUBLIC = 2, N_PRIVATE = 21 };
extern const char *const public_addresses[N_PUBLIC];
extern const char *const private_addresses[N_PRIVATE];

socklen_t address_parse(const char *text, uint16_t port, union address *ret);
const char *address_text(const union address *address, char text[static INET6_ADDRSTRLEN]);
const char *address_of_host(const char *of_world, char text[static INET6_ADDRSTRLEN]);
uint16_t checksum(const void *data, size_t size, uint32_t sum);

/* Files, as the current network namespace sees them. */
void file_write(const char *path, const char *value);
void file_read(const char *path, char *buf, size_t size);

/* A socket of the namespace NET_FD; the caller stays where he is, the host. */
void enter(int net_fd);
int socket_in(int net_fd, int family, int type, int protocol);
/* Bound there, for TCP listening: PROTOCOL is IPPROTO_TCP, _UDP or _ICMP, the latter raw and also for ICMPv6. */
int receiver_in(int net_fd, int protocol, const char *address, uint16_t port);
bool is_readable(int fd); /* soon: of what must not come */
bool becomes_readable(int fd); /* in the end: of what must */

/* Packets sent all at once, and then a look at which of them arrived: TCP when connected, UDP and echo when received. */
struct probe {
	int from, to;
	int protocol;
	const char *address;
	int sender, receiver;
	uint16_t port; /* told in an echo too, whose id a masquerade may change */
	bool arrived;
	char source[INET6_ADDRSTRLEN]; /* as the receiver of UDP and ICMP saw it */
};
/* FROM to each ADDRESS, which is one of TO's, by each protocol. Returns how many probes that is. */
size_t probes_add(struct probe *probes, int from, int to, const char *const *addresses, size_t n);
void assert_arrive(struct probe *probes, size_t n, bool expected, const char *when);
