/* SPDX-License-Identifier: Apache-2.0 */
/*
 * netns/: the network of sessions; netns.h says what it looks like. All of it is linked into the supervisor and runs
 * there as root, in the host's user namespace and, but for the moment in which the inside of a new network is set up,
 * in the host's network namespace. It needs CAP_NET_ADMIN (links, rules), CAP_SYS_ADMIN (namespaces), CAP_SETUID and
 * CAP_SETGID (id maps), CAP_SYS_PTRACE (namespaces of a process that may not be dumped), and /proc/sys/net writable.
 * It reads no byte that a session wrote: its peer is the kernel.
 *
 *   netns.c     a slot from beginning to end
 *   userns.c    the pair of namespaces
 *   rtnl.c      route netlink messages: link, address, neighbour, route
 *   policy.c    nftables: policy.nft on the host, the redirect inside
 *   watch.c     what the kernel announces
 */
#include "netns/netns.h"

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <sys/socket.h>

#include "netns/policy.h"
#include "netns/rtnl.h"
#include "netns/userns.h"
#include "netns/watch.h"

enum { LOOPBACK_IFINDEX = 1 }; /* in every network namespace */

struct netns {
	struct netns_config config;
	int host_fd; /* the host's network namespace, to come back to */
	int links_fd; /* hears of links that go away */
	int tables_fd; /* hears of nftables */
	int low_fd; /* see policy.h */
	bool has_stack6; /* the kernel speaks IPv6, whether we give addresses or not */
};

/*
 * The same two addresses on every veth: nobody else is on the link, and a session learns nothing of its slot. Locally
 * administered, unicast.
 */
static const mac_address mac_of_host = { 0x02, 'c', 'a', 'r', 0, 1 };
static const mac_address mac_of_session = { 0x02, 'c', 'a', 'r', 0, 2 };

static const char *const policy_names[NETNS_FIRST_LIST] = {
	[NETNS_NONE] = "none",
	[NETNS_INTERNET] = "internet",
};

/* FNV-1a. */
enum netns_policy netns_list_number(const struct egress_list *list)
{
	uint32_t h = UINT32_C(0x811c9dc5);

	for (const char *c = list->name; *c; c++)
		h = (h ^ (uint8_t)*c) * UINT32_C(0x01000193);
	return (enum netns_policy)(NETNS_FIRST_LIST + h % (NETNS_POLICY_END - NETNS_FIRST_LIST));
}

int netns_policy_by_name(const struct netns_config *config, const char *name, enum netns_policy *ret)
{
	for (int i = 0; i < NETNS_FIRST_LIST; i++)
		if (policy_names[i] && streq(policy_names[i], name)) {
			*ret = (enum netns_policy)i;
			return 0;
		}
	for (size_t i = 0; i < config->n_lists; i++)
		if (streq(config->lists[i].name, name)) {
			*ret = netns_list_number(&config->lists[i]);
			return 0;
		}
	return -ENOENT;
}

static int check_lists(const struct netns_config *config, struct err *err)
{
	for (size_t i = 0; i < config->n_lists; i++)
		for (size_t j = 0; j < i; j++)
			if (netns_list_number(&config->lists[i]) == netns_list_number(&config->lists[j]))
				return err_set(err, -EEXIST, "policy", "%s and %s have one number: rename one",
					config->lists[j].name, config->lists[i].name);
	return 0;
}

/* base + 2 * SLOT, and one more for the host end, on the last 32 bits of an address. */
static void add_to_address(uint8_t *last4, uint32_t slot, bool host)
{
	uint32_t n = (uint32_t)last4[0] << 24 | (uint32_t)last4[1] << 16 | (uint32_t)last4[2] << 8 | last4[3];
	n += 2 * slot + host;
	for (int i = 3; i >= 0; i--, n >>= 8)
		last4[i] = (uint8_t)n;
}

void netns_ipv4(const struct netns_config *config, uint32_t slot, bool host, uint8_t ret[4])
{
	memcpy(ret, config->ipv4, 4);
	add_to_address(ret, slot, host);
}

void netns_ipv6(const struct netns_config *config, uint32_t slot, bool host, uint8_t ret[16])
{
	memcpy(ret, config->ipv6, 16);
	add_to_address(ret + 12, slot, host);
}

static void link_name(uint32_t slot, char name[static IFNAMSIZ])
{
	snprintf(name, IFNAMSIZ, "cr%u", slot);
}

static int check_config(const struct netns_config *config, bool has_stack6, struct err *err)
{
	const uint64_t id_end = config->id_base + (uint64_t)config->max_slots * IDS_PER_SLOT;

	if (id_end > UINT32_MAX)
		return err_set(err, -ERANGE, "id_base", "%u and %u slots", config->id_base, config->max_slots);
	/* Else the two ends of a slot would not be a /31. */
	if ((config->ipv4[3] & 1) || (config->has_ipv6 && (config->ipv6[15] & 1)))
		return err_set(err, -EINVAL, "network", "base address is odd");
	if (config->has_ipv6 && !has_stack6)
		return err_set(err, -EAFNOSUPPORT, "network", "ipv6");
	if (config->n_uids > NETNS_MAX_IDS || config->n_gids > NETNS_MAX_IDS)
		return err_set(err, -E2BIG, "network", "more than %d users or groups", NETNS_MAX_IDS);
	return 0;
}

int netns_open(const struct netns_config *config, struct netns **ret, struct err *err)
{
	bool has_stack6 = access("/proc/sys/net/ipv6", F_OK) == 0;
	int r = check_config(config, has_stack6, err);
	if (r == 0)
		r = check_lists(config, err);
	if (r < 0)
		return r;
	struct netns *netns = malloc(sizeof(*netns));
	if (!netns)
		return err_set(err, -ENOMEM, "network", "memory");
	*netns = (struct netns){
		.config = *config, .has_stack6 = has_stack6, .links_fd = -1, .tables_fd = -1, .low_fd = -1
	};
	netns->host_fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	r = netns->host_fd < 0 ? -errno : 0;
	if (r == 0)
		r = netns->links_fd = watch_open_links();
	if (r >= 0)
		r = netns->tables_fd = watch_open_tables();
	if (r < 0) {
		netns_close(netns);
		return err_set(err, r, "network", "sockets");
	}
	*ret = netns;
	return 0;
}

void netns_close(struct netns *netns)
{
	if (!netns)
		return;
	close_fd(netns->host_fd);
	close_fd(netns->links_fd);
	close_fd(netns->tables_fd);
	close_fd(netns->low_fd);
	free(netns);
}

int netns_load_policy(struct netns *netns, struct err *err)
{
	return policy_load(&netns->config, &netns->low_fd, err);
}

int netns_unload_policy(struct netns *netns, struct err *err)
{
	return policy_unload(&netns->low_fd, err);
}

int netns_set_rates(struct netns *netns, uint32_t slot, uint64_t sent, uint64_t received, struct err *err)
{
	return policy_rates(slot, sent, received, &netns->low_fd, err);
}

/*
 * A session that sends a router advertisement would offer itself as the host's way to the world. The rules drop it; this
 * holds when somebody flushed them. Netlink cannot set it. The session's end is left to carrel-init (sandbox/proc.c):
 * here the same paths of the host's /proc would be looked up in each of its namespaces, and the kernel compares
 * them with those of all others.
 */
static int refuse_advertisements(const struct netns *netns, const char *link, struct err *err)
{
	char path[64];
	if (!netns->has_stack6)
		return 0;
	snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/accept_ra", link);
	_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "0", 1) < 0)
		return err_set(err, -errno, "accept_ra", "%s", path);
	return 0;
}

/* Brings a link up with its address and the other end's MAC address; the session's end also gets the way out. */
static void add_end(const struct netns *netns, uint32_t slot, int ifindex, bool host, struct rtnl_batch *batch)
{
	const uint8_t *other_mac = host ? mac_of_session : mac_of_host;
	uint8_t own[16], other[16];

	if (netns->has_stack6)
		rtnl_no_link_local(batch, ifindex);
	rtnl_set_up(batch, ifindex);
	for (int i = 0; i < (netns->config.has_ipv6 ? 2 : 1); i++) {
		const int family = i == 0 ? AF_INET : AF_INET6;
		void (*const address)(const struct netns_config *, uint32_t, bool, uint8_t *) =
			i == 0 ? netns_ipv4 : netns_ipv6;
		address(&netns->config, slot, host, own);
		address(&netns->config, slot, !host, other);
		rtnl_add_address(batch, ifindex, family, own);
		rtnl_add_neighbour(batch, ifindex, family, other, other_mac);
		if (!host)
			rtnl_add_default_route(batch, ifindex, family, other);
	}
}

static int set_up_host_end(
	const struct netns *netns, const struct netns_slot *slot, const char *name, struct err *err)
{
	_rtnl_batch_ struct rtnl_batch batch = { 0 };
	int r = refuse_advertisements(netns, name, err);
	if (r < 0)
		return r;
	add_end(netns, slot->slot, slot->ifindex, true, &batch);
	return rtnl_send(&batch, NULL, err, name);
}

/* Runs in the session's network namespace. Loopback comes first: with a route and no loopback, ::1 is sent outside. */
static int set_up_inside(
	struct netns *netns, uint32_t slot, int ifindex, const uint16_t *ports, size_t n_ports, struct err *err)
{
	_rtnl_batch_ struct rtnl_batch batch = { 0 };

	rtnl_set_up(&batch, LOOPBACK_IFINDEX);
	if (n_ports > 0)
		rtnl_route_localnet(&batch, ifindex);
	add_end(netns, slot, ifindex, false, &batch);
	int r = rtnl_send(&batch, NULL, err, "eth0");
	return r < 0 || n_ports == 0 ? r : policy_redirect(ports, n_ports, &netns->low_fd, err);
}

/*
 * A supervisor that cannot come back would make other sessions' links inside this one, and load the host's rules
 * there. Nothing can be done in that place, not even report; a new supervisor adopts the sessions.
 */
static void come_back(const struct netns *netns)
{
	if (setns(netns->host_fd, CLONE_NEWNET) < 0)
		abort();
}

static int set_up(struct netns *netns, const struct netns_slot *slot, const struct rtnl_link *link,
	const uint16_t *ports, size_t n_ports, struct err *err)
{
	char name[IFNAMSIZ];
	link_name(slot->slot, name);
	int r = set_up_host_end(netns, slot, name, err);
	if (r < 0)
		return r;
	if (setns(slot->net_fd, CLONE_NEWNET) < 0)
		return err_set(err, -errno, "setns", "%s", name);
	r = set_up_inside(netns, slot->slot, link->peer_ifindex, ports, n_ports, err);
	come_back(netns);
	return r;
}

int netns_make(struct netns *netns, uint32_t slot, enum netns_policy policy, const uint16_t *ports, size_t n_ports,
	struct netns_slot *ret, struct err *err)
{
	_rtnl_batch_ struct rtnl_batch batch = { 0 };
	_close_ int user_fd = -1, net_fd = -1;
	struct rtnl_link link;
	char name[IFNAMSIZ];

	link_name(slot, name);
	if (slot < 1 || slot > netns->config.max_slots || n_ports > NETNS_MAX_PORTS)
		return err_set(err, -EINVAL, "network", "%s with %zu ports", name, n_ports);
	int r = userns_make(netns->config.id_base + (slot - 1) * IDS_PER_SLOT, &user_fd, &net_fd, err);
	if (r < 0)
		return r;
	rtnl_add_veth(&batch, name, NETNS_GROUP_BASE + policy, mac_of_host, "eth0", mac_of_session, net_fd);
	rtnl_get_link(&batch, name);
	r = rtnl_send(&batch, &link, err, name);
	if (r < 0)
		return r;
	const struct netns_slot made = {
		.slot = slot, .ifindex = link.ifindex, .policy = policy, .user_fd = user_fd, .net_fd = net_fd
	};
	r = set_up(netns, &made, &link, ports, n_ports, err);
	if (r < 0) {
		/* It would go with the namespaces, but in the background; the caller may want the slot at once. */
		_rtnl_batch_ struct rtnl_batch removal = { 0 };
		rtnl_delete_link(&removal, name);
		rtnl_send(&removal, NULL, NULL, name);
		return r;
	}
	*ret = made;
	steal_fd(&user_fd);
	steal_fd(&net_fd);
	return 0;
}

int netns_set_policy(_unused_ struct netns *netns, struct netns_slot *slot, enum netns_policy policy, struct err *err)
{
	_rtnl_batch_ struct rtnl_batch batch = { 0 };
	char name[IFNAMSIZ];

	if (slot->policy == policy)
		return 0;
	link_name(slot->slot, name);
	rtnl_set_group(&batch, slot->ifindex, NETNS_GROUP_BASE + policy);
	int r = rtnl_send(&batch, NULL, err, name);
	if (r == 0)
		slot->policy = policy;
	return r;
}

void netns_slot_release(struct netns_slot *slot)
{
	close_fdp(&slot->user_fd);
	close_fdp(&slot->net_fd);
}

int netns_slot_exists(_unused_ struct netns *netns, uint32_t slot)
{
	_rtnl_batch_ struct rtnl_batch batch = { 0 };
	struct rtnl_link link;
	char name[IFNAMSIZ];

	link_name(slot, name);
	rtnl_get_link(&batch, name);
	int r = rtnl_send(&batch, &link, NULL, name);
	if (r == -ENODEV)
		return 0;
	return r < 0 ? r : 1;
}

int netns_slot_cut(_unused_ struct netns *netns, uint32_t slot)
{
	_rtnl_batch_ struct rtnl_batch batch = { 0 };
	char name[IFNAMSIZ];

	link_name(slot, name);
	rtnl_delete_link(&batch, name);
	int r = rtnl_send(&batch, NULL, NULL, name);
	return r == -ENODEV ? 0 : r;
}

int netns_monitor_fd(const struct netns *netns)
{
	return netns->links_fd;
}

int netns_gone(struct netns *netns, void (*fn)(uint32_t slot, void *arg), void *arg)
{
	return watch_links(netns->links_fd, fn, arg);
}

int netns_policy_fd(const struct netns *netns)
{
	return netns->tables_fd;
}

bool netns_policy_lost(struct netns *netns)
{
	return watch_table_lost(netns->tables_fd);
}
