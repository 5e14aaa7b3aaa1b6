/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network of sessions. Runs in the supervisor, as root, in the host's network namespace.
 *
 * A session gets a user namespace with its own 65,536 host ids and a network namespace owned by it, made ahead of
 * need by netns_make() and held by two descriptors alone: when the last process and the descriptors are gone the
 * kernel removes the namespace and its veth, and netns_gone() reports the interface's end. So nothing here has to be
 * remembered across a crash.
 *
 * One routed point-to-point veth per slot: "cr<slot>" on the host, "eth0" inside; no bridge, no ARP, no neighbour
 * discovery (both ends have fixed MAC addresses and permanent neighbour entries), no router advertisements. Slot N
 * has base + 2N, the host end base + 2N + 1. The host's nftables table is static: sessions are told apart by
 * interface group, the number of their egress policy, so that no rule changes when a session starts or ends; but one
 * whose rate is limited has two of its own.
 */
#pragma once

#include <stdbool.h>

#include "wire/egress.h"
#include "wire/err.h"

struct netns;

enum { NETNS_MAX_IDS = 64, NETNS_MAX_PORTS = 16 };

struct netns_config {
	uint32_t id_base; /* slot N maps 0..65535 to id_base + (N - 1) * 65536 */
	uint32_t max_slots;
	uint8_t ipv4[4];
	uint8_t ipv6[16];
	bool has_ipv6;
	uint32_t allowed_uid; /* control's: together with root it may always reach sessions from the host */
	/*
	 * Further local users whose processes may. A gid counts when it is the process's effective group; the packet
	 * filter does not know supplementary groups.
	 */
	uint32_t uids[NETNS_MAX_IDS], gids[NETNS_MAX_IDS];
	size_t n_uids, n_gids;
	const struct egress_list *lists; /* borrowed for as long as netns is open */
	size_t n_lists;
};

/* Egress policies; the value is added to NETNS_GROUP_BASE for the interface group. */
enum netns_policy {
	NETNS_SPARE, /* nothing passes */
	NETNS_NONE, /* only answers to the host */
	NETNS_INTERNET, /* and public addresses: no private range, link-local, metadata address or host service */
	NETNS_FIRST_LIST, /* a list of the configuration's: this and more, see netns_list_number() */
	NETNS_POLICY_END = 0x10000,
};
enum { NETNS_GROUP_BASE = 0x63610000 };

/*
 * The policy that LIST is. It follows from the name alone: sessions that outlive a change of the configuration keep the
 * list they had, and reach nothing when it is gone.
 */
enum netns_policy netns_list_number(const struct egress_list *list);

/* "none", "internet" and the names of lists, as configuration and requests have them; -ENOENT for others. */
int netns_policy_by_name(const struct netns_config *config, const char *name, enum netns_policy *ret);

/* One slot's namespaces. */
struct netns_slot {
	uint32_t slot; /* from 1 */
	int ifindex; /* of cr<slot> on the host */
	enum netns_policy policy; /* as last set */
	int user_fd, net_fd; /* the namespaces; owned by whoever holds the struct */
};

/*
 * Remembers the network namespace the caller is in as the host's, and listens there for links and tables that go
 * away. -ERANGE, -EINVAL, -E2BIG, -EEXIST or -EAFNOSUPPORT for a configuration that cannot work.
 */
int netns_open(const struct netns_config *config, struct netns **ret, struct err *err);
void netns_close(struct netns *netns);

/*
 * Loads the static table "inet carrel", replacing one that is there in a single transaction; netns_unload_policy()
 * deletes it. Session to session, spoofed sources, the host's own services and metadata addresses are dropped.
 */
int netns_load_policy(struct netns *netns, struct err *err);
int netns_unload_policy(struct netns *netns, struct err *err);

/*
 * Lets the session of SLOT send and receive so many bytes in a second, IPv4 and IPv6 together, and drops what is more.
 * 0: as many as there are; NETNS_SAME_RATE: as before. One transaction, which replaces former rates. The rules are the
 * host's: nobody inside reaches them. They name the interface, and are to be taken back before the slot is used again;
 * a policy that is loaded has none. -EPROTO where there is no policy.
 */
#define NETNS_SAME_RATE UINT64_MAX
int netns_set_rates(struct netns *netns, uint32_t slot, uint64_t sent, uint64_t received, struct err *err);

/*
 * Becomes readable when nftables change; then netns_policy_lost() once: whether somebody has removed the table, as
 * "nft flush ruleset" at every restart of Debian's nftables.service does, or announcements were lost. The caller
 * loads it again; until then sessions reach whatever the host's other rules let them.
 */
int netns_policy_fd(const struct netns *netns);
bool netns_policy_lost(struct netns *netns);

/*
 * Makes user namespace, network namespace and veth of SLOT under POLICY; with N_PORTS > 0 also the redirect by which
 * TCP to those ports of the session's address reaches a listener on its 127.0.0.1. 0 or a negative errno;
 * -EEXIST when an interface of that name is still there. On failure nothing is left. Needs /proc/sys/net writable.
 */
int netns_make(struct netns *netns, uint32_t slot, enum netns_policy policy, const uint16_t *ports, size_t n_ports,
	struct netns_slot *ret, struct err *err);

/*
 * Puts a slot under POLICY: from now on it may pass what the policy lets pass. One netlink message, for which the kernel
 * looks through all of the host's IPv6 routes; nothing is done where it is under that policy.
 */
int netns_set_policy(struct netns *netns, struct netns_slot *slot, enum netns_policy policy, struct err *err);

/* Closes both descriptors; the interface goes away once nobody else holds the namespace. */
void netns_slot_release(struct netns_slot *slot);

/* 1 or 0: whether cr<slot> exists now; or a negative errno: the kernel could not be asked. */
int netns_slot_exists(struct netns *netns, uint32_t slot);

/*
 * Takes cr<slot> away, though somebody may still hold its namespace: the kernel, for what was left unsent. It waits until
 * that is done, some 20 ms. 0 also when there is none.
 */
int netns_slot_cut(struct netns *netns, uint32_t slot);

/* Becomes readable when links have changed; then netns_gone() once. */
int netns_monitor_fd(const struct netns *netns);

/*
 * Calls FN for each cr<slot> whose removal was announced since the last call. -ENOBUFS: announcements were lost, the
 * caller asks netns_slot_exists() for those it waits for. That a link is gone does not say that its session is: a
 * session's root can delete its own end.
 */
int netns_gone(struct netns *netns, void (*fn)(uint32_t slot, void *arg), void *arg);

/* Addresses of a slot: the session's, or with HOST the host end's. */
void netns_ipv4(const struct netns_config *config, uint32_t slot, bool host, uint8_t ret[4]);
void netns_ipv6(const struct netns_config *config, uint32_t slot, bool host, uint8_t ret[16]);
