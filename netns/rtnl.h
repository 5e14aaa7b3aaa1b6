/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Route netlink, several messages at a time. A batch is filled by the functions below; what goes wrong while it is
 * being filled is kept in it and told by rtnl_send(). libnl writes and parses the messages. Each batch has its own
 * socket, opened in whatever network namespace the caller is in, so that no old answer can be taken for a new one.
 */
#pragma once

#include <netlink/msg.h>
#include <stdbool.h>

#include "wire/err.h"

enum { RTNL_BATCH_MAX = 12 };

struct rtnl_batch {
	struct nl_msg *msg[RTNL_BATCH_MAX];
	const char *step[RTNL_BATCH_MAX]; /* what each message does, for the error */
	size_t n;
	int num; /* a message could not be written */
};

#define _rtnl_batch_ _cleanup_(rtnl_batch_done)
void rtnl_batch_done(struct rtnl_batch *batch);

typedef uint8_t mac_address[6];

/*
 * A veth NAME in GROUP; its other end is born in the namespace PEER_NET_FD as PEER_NAME. Both ends are down, and neither
 * asks for nor answers for an address (NOARP), in ARP or neighbour discovery: a flag that changed later, when they are
 * up, would make the kernel look through all IPv6 routes.
 * Addresses set here count as chosen by an administrator: udev gives no others.
 */
void rtnl_add_veth(struct rtnl_batch *batch, const char *name, uint32_t group, const mac_address mac,
	const char *peer_name, const mac_address peer_mac, int peer_net_fd);
void rtnl_delete_link(struct rtnl_batch *batch, const char *name);
/* Asks for the link NAME: rtnl_send() returns what is known of it. */
void rtnl_get_link(struct rtnl_batch *batch, const char *name);
void rtnl_set_group(struct rtnl_batch *batch, int ifindex, uint32_t group);
/* The link makes itself no link-local IPv6 address; to be said before it is up. */
void rtnl_no_link_local(struct rtnl_batch *batch, int ifindex);
/* Packets to and from 127.0.0.0/8 may pass the link. There is no such setting for IPv6. */
void rtnl_route_localnet(struct rtnl_batch *batch, int ifindex);
void rtnl_set_up(struct rtnl_batch *batch, int ifindex);
/* FAMILY is AF_INET or AF_INET6, an address 4 or 16 bytes. It gets its /31 or /127 and is usable at once (no DAD). */
void rtnl_add_address(struct rtnl_batch *batch, int ifindex, int family, const uint8_t *address);
void rtnl_add_neighbour(
	struct rtnl_batch *batch, int ifindex, int family, const uint8_t *address, const mac_address mac);
void rtnl_add_default_route(struct rtnl_batch *batch, int ifindex, int family, const uint8_t *gateway);

struct rtnl_link {
	int ifindex;
	int peer_ifindex; /* in the peer's namespace */
};

/*
 * Sends the batch and reads the answers; never waits, because the kernel has answered when the send returns. 0, or the
 * errno of the first message that failed, with its step and OBJECT in ERR; later ones may have been done nevertheless.
 * RET_LINK, NULL in a batch without rtnl_get_link(), is what that one found.
 */
int rtnl_send(struct rtnl_batch *batch, struct rtnl_link *ret_link, struct err *err, const char *object);
