/* SPDX-License-Identifier: Apache-2.0 */
#include "netns/rtnl.h"

#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/ip.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum { MESSAGE_SIZE = 512, ANSWER_SIZE = 8192 };

void rtnl_batch_done(struct rtnl_batch *batch)
{
	for (size_t i = 0; i < batch->n; i++)
		nlmsg_free(batch->msg[i]);
}

static void keep(struct rtnl_batch *batch, bool ok)
{
	if (!ok && batch->num == 0)
		batch->num = -ENOMEM;
}

/* The message being written; NULL once something went wrong, and then nothing more is written. */
static struct nl_msg *current(struct rtnl_batch *batch)
{
	return batch->num == 0 ? batch->msg[batch->n - 1] : NULL;
}

/* Begins a message: BODY follows the header, attributes follow that. Its number in the batch, from 1, is its sequence. */
static void begin(struct rtnl_batch *batch, const char *step, int type, int flags, const void *body, size_t size)
{
	struct nl_msg *msg = batch->n < RTNL_BATCH_MAX ? nlmsg_alloc_size(MESSAGE_SIZE) : NULL;
	keep(batch, msg);
	if (!msg)
		return;
	batch->msg[batch->n] = msg;
	batch->step[batch->n++] = step;
	keep(batch, nlmsg_put(msg, 0, (uint32_t)batch->n, type, (int)size, NLM_F_REQUEST | flags));
	if (current(batch))
		memcpy(nlmsg_data(nlmsg_hdr(msg)), body, size);
}

static void put(struct rtnl_batch *batch, int type, const void *data, size_t size)
{
	struct nl_msg *msg = current(batch);
	if (msg)
		keep(batch, nla_put(msg, type, (int)size, data) == 0);
}

static void put_u32(struct rtnl_batch *batch, int type, uint32_t value)
{
	put(batch, type, &value, sizeof(value));
}

static void put_string(struct rtnl_batch *batch, int type, const char *value)
{
	put(batch, type, value, strlen(value) + 1);
}

static struct nlattr *nest(struct rtnl_batch *batch, int type)
{
	struct nl_msg *msg = current(batch);
	struct nlattr *start = msg ? nla_nest_start(msg, type) : NULL;
	keep(batch, start);
	return start;
}

static void nest_end(struct rtnl_batch *batch, struct nlattr *start)
{
	struct nl_msg *msg = current(batch);
	if (msg)
		nla_nest_end(msg, start);
}

/* One queue each way: the kernel's default is one per possible CPU, thousands of sysfs objects on a large host. */
static void put_veth_end(struct rtnl_batch *batch, const char *name, const mac_address mac)
{
	put_string(batch, IFLA_IFNAME, name);
	put(batch, IFLA_ADDRESS, mac, sizeof(mac_address));
	put_u32(batch, IFLA_NUM_TX_QUEUES, 1);
	put_u32(batch, IFLA_NUM_RX_QUEUES, 1);
}

void rtnl_add_veth(struct rtnl_batch *batch, const char *name, uint32_t group, const mac_address mac,
	const char *peer_name, const mac_address peer_mac, int peer_net_fd)
{
	struct ifinfomsg body = { .ifi_flags = IFF_NOARP, .ifi_change = IFF_NOARP };

	begin(batch, "veth", RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &body, sizeof(body));
	put_veth_end(batch, name, mac);
	put_u32(batch, IFLA_GROUP, group);
	struct nlattr *info = nest(batch, IFLA_LINKINFO);
	put_string(batch, IFLA_INFO_KIND, "veth");
	struct nlattr *data = nest(batch, IFLA_INFO_DATA);
	struct nlattr *peer = nest(batch, VETH_INFO_PEER);
	if (current(batch))
		keep(batch, nlmsg_append(current(batch), &body, sizeof(body), NLMSG_ALIGNTO) == 0);
	put_veth_end(batch, peer_name, peer_mac);
	put_u32(batch, IFLA_NET_NS_FD, (uint32_t)peer_net_fd);
	nest_end(batch, peer);
	nest_end(batch, data);
	nest_end(batch, info);
}

void rtnl_delete_link(struct rtnl_batch *batch, const char *name)
{
	struct ifinfomsg body = { 0 };
	begin(batch, "veth removal", RTM_DELLINK, 0, &body, sizeof(body));
	put_string(batch, IFLA_IFNAME, name);
}

void rtnl_get_link(struct rtnl_batch *batch, const char *name)
{
	struct ifinfomsg body = { 0 };
	begin(batch, "veth query", RTM_GETLINK, 0, &body, sizeof(body));
	put_string(batch, IFLA_IFNAME, name);
	put_u32(batch, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
}

void rtnl_set_group(struct rtnl_batch *batch, int ifindex, uint32_t group)
{
	struct ifinfomsg body = { .ifi_index = ifindex };
	begin(batch, "link group", RTM_SETLINK, 0, &body, sizeof(body));
	put_u32(batch, IFLA_GROUP, group);
}

void rtnl_no_link_local(struct rtnl_batch *batch, int ifindex)
{
	struct ifinfomsg body = { .ifi_index = ifindex };
	uint8_t mode = IN6_ADDR_GEN_MODE_NONE;

	begin(batch, "addr_gen_mode", RTM_SETLINK, 0, &body, sizeof(body));
	struct nlattr *spec = nest(batch, IFLA_AF_SPEC);
	struct nlattr *inet6 = nest(batch, AF_INET6);
	put(batch, IFLA_INET6_ADDR_GEN_MODE, &mode, sizeof(mode));
	nest_end(batch, inet6);
	nest_end(batch, spec);
}

void rtnl_route_localnet(struct rtnl_batch *batch, int ifindex)
{
	struct ifinfomsg body = { .ifi_index = ifindex };

	begin(batch, "route_localnet", RTM_SETLINK, 0, &body, sizeof(body));
	struct nlattr *spec = nest(batch, IFLA_AF_SPEC);
	struct nlattr *inet = nest(batch, AF_INET);
	struct nlattr *conf = nest(batch, IFLA_INET_CONF);
	put_u32(batch, IPV4_DEVCONF_ROUTE_LOCALNET, 1);
	nest_end(batch, conf);
	nest_end(batch, inet);
	nest_end(batch, spec);
}

void rtnl_set_up(struct rtnl_batch *batch, int ifindex)
{
	struct ifinfomsg body = { .ifi_index = ifindex, .ifi_flags = IFF_UP, .ifi_change = IFF_UP };
	begin(batch, "link up", RTM_SETLINK, 0, &body, sizeof(body));
}

static size_t address_size(int family)
{
	return family == AF_INET ? 4 : 16;
}

void rtnl_add_address(struct rtnl_batch *batch, int ifindex, int family, const uint8_t *address)
{
	struct ifaddrmsg body = { .ifa_family = (uint8_t)family,
		.ifa_prefixlen = (uint8_t)(address_size(family) * 8 - 1),
		.ifa_flags = IFA_F_NODAD,
		.ifa_index = (uint32_t)ifindex };
	begin(batch, "address", RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &body, sizeof(body));
	put(batch, IFA_LOCAL, address, address_size(family));
}

void rtnl_add_neighbour(
	struct rtnl_batch *batch, int ifindex, int family, const uint8_t *address, const mac_address mac)
{
	struct ndmsg body = { .ndm_family = (uint8_t)family, .ndm_ifindex = ifindex, .ndm_state = NUD_PERMANENT };
	begin(batch, "neighbour", RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, &body, sizeof(body));
	put(batch, NDA_DST, address, address_size(family));
	put(batch, NDA_LLADDR, mac, sizeof(mac_address));
}

void rtnl_add_default_route(struct rtnl_batch *batch, int ifindex, int family, const uint8_t *gateway)
{
	struct rtmsg body = { .rtm_family = (uint8_t)family,
		.rtm_table = RT_TABLE_MAIN,
		.rtm_protocol = RTPROT_STATIC,
		.rtm_scope = RT_SCOPE_UNIVERSE,
		.rtm_type = RTN_UNICAST };
	begin(batch, "default route", RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &body, sizeof(body));
	put(batch, RTA_GATEWAY, gateway, address_size(family));
	put_u32(batch, RTA_OIF, (uint32_t)ifindex);
}

static int read_link(struct nlmsghdr *header, struct rtnl_link *ret)
{
	struct nlattr *attrs[IFLA_MAX + 1];
	if (nlmsg_parse(header, sizeof(struct ifinfomsg), attrs, IFLA_MAX, NULL) < 0)
		return -EBADMSG;
	ret->ifindex = ((struct ifinfomsg *)nlmsg_data(header))->ifi_index;
	ret->peer_ifindex = attrs[IFLA_LINK] ? (int)nla_get_u32(attrs[IFLA_LINK]) : 0;
	return 0;
}

/*
 * Reads answers until the one to the last message, which alone asked for it; the others answer only when they fail.
 * RET_FAILED counts from 0 and stays at the last message when the failure is not one of a message.
 */
static int read_answers(int fd, size_t n, struct rtnl_link *link, size_t *ret_failed)
{
	int r = 0;
	for (;;) {
		_Alignas(struct nlmsghdr) uint8_t answer[ANSWER_SIZE];
		ssize_t size = recv(fd, answer, sizeof(answer), MSG_DONTWAIT | MSG_TRUNC);
		if (size < 0)
			return -errno;
		if ((size_t)size > sizeof(answer))
			return -EMSGSIZE;
		struct nlmsghdr *header = (void *)answer;
		for (int left = (int)size; nlmsg_ok(header, left); header = nlmsg_next(header, &left)) {
			if (header->nlmsg_type == RTM_NEWLINK && link && r == 0)
				r = read_link(header, link);
			if (header->nlmsg_type != NLMSG_ERROR)
				continue;
			int num = ((struct nlmsgerr *)nlmsg_data(header))->error;
			if (num < 0 && r == 0) {
				r = num;
				*ret_failed = header->nlmsg_seq - 1;
			}
			if (header->nlmsg_seq == n)
				return r;
		}
	}
}

int rtnl_send(struct rtnl_batch *batch, struct rtnl_link *ret_link, struct err *err, const char *object)
{
	struct iovec iov[RTNL_BATCH_MAX];
	struct msghdr header = { .msg_iov = iov, .msg_iovlen = batch->n };
	struct rtnl_link link = { 0 };
	size_t step = batch->n - 1;

	if (batch->num < 0)
		return err_set(err, batch->num, "netlink message", "%s", object);
	for (size_t i = 0; i < batch->n; i++) {
		struct nlmsghdr *message = nlmsg_hdr(batch->msg[i]);
		if (i == step)
			message->nlmsg_flags |= NLM_F_ACK;
		iov[i] = (struct iovec){ .iov_base = message, .iov_len = NLMSG_ALIGN(message->nlmsg_len) };
	}
	_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (fd < 0 || sendmsg(fd, &header, 0) < 0)
		return err_set(err, -errno, "netlink", "%s", object);
	int r = read_answers(fd, batch->n, ret_link ? &link : NULL, &step);
	if (r < 0)
		return err_set(err, r, batch->step[step], "%s", object);
	if (ret_link)
		*ret_link = link;
	return 0;
}
