/* SPDX-License-Identifier: Apache-2.0 */
#include "netns/watch.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/msg.h>
#include <stdio.h>
#include <sys/socket.h>

enum {
	/* Hundreds of links can go away in one batch, each announcement charged at several KiB. */
	QUEUE_SIZE = 4 << 20,
	/* Tables' changes come many to a datagram, of up to a page or 8 KiB (NLMSG_GOODSIZE); links' one by one. */
	DATAGRAM_SIZE = 32768,
};

static int open_group(int protocol, unsigned group, const struct sock_fprog *filter)
{
	const struct sockaddr_nl address = { .nl_family = AF_NETLINK, .nl_groups = 1U << (group - 1) };
	const int size = QUEUE_SIZE;
	_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0 ||
		(filter && setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, filter, sizeof(*filter)) < 0) ||
		bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	return steal_fd(&fd);
}

/* Making a slot is some ten announcements, and other programs' links change too: wake up for removals only. */
int watch_open_links(void)
{
	struct sock_filter removals[] = {
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, offsetof(struct nlmsghdr, nlmsg_type)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htons(RTM_DELLINK), 0, 1),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	return open_group(
		NETLINK_ROUTE, RTNLGRP_LINK, &(struct sock_fprog){ .len = ARRAY_SIZE(removals), .filter = removals });
}

int watch_open_tables(void)
{
	return open_group(NETLINK_NETFILTER, NFNLGRP_NFTABLES, NULL);
}

/* Calls FN for each message until there is none. Only the kernel, or a process that could do worse, sends here. */
static int read_all(int fd, void (*fn)(struct nlmsghdr *header, void *arg), void *arg)
{
	for (int r = 0;;) {
		_Alignas(struct nlmsghdr) uint8_t datagram[DATAGRAM_SIZE];
		ssize_t size = recv(fd, datagram, sizeof(datagram), MSG_TRUNC);
		if (size < 0 && errno == EAGAIN)
			return r;
		if (size < 0 && errno == EINTR)
			continue;
		if (size < 0 && errno != ENOBUFS)
			return -errno;
		if (size < 0 || (size_t)size > sizeof(datagram)) {
			r = -ENOBUFS;
			continue;
		}
		struct nlmsghdr *header = (void *)datagram;
		for (int left = (int)size; nlmsg_ok(header, left); header = nlmsg_next(header, &left))
			fn(header, arg);
	}
}

struct link_reader {
	void (*fn)(uint32_t slot, void *arg);
	void *arg;
};

static void read_link(struct nlmsghdr *header, void *arg)
{
	const struct link_reader *reader = arg;
	struct nlattr *attrs[IFLA_MAX + 1];
	char name[IFNAMSIZ], same[IFNAMSIZ];

	/* Bridges announce in the same way, with their own family, that a link leaves them. */
	if (header->nlmsg_type != RTM_DELLINK ||
		nlmsg_parse(header, sizeof(struct ifinfomsg), attrs, IFLA_MAX, NULL) < 0 ||
		((struct ifinfomsg *)nlmsg_data(header))->ifi_family != AF_UNSPEC || !attrs[IFLA_IFNAME])
		return;
	nla_strlcpy(name, attrs[IFLA_IFNAME], sizeof(name));
	if (strncmp(name, "cr", 2) != 0)
		return;
	uint32_t slot = (uint32_t)strtoul(name + 2, NULL, 10);
	snprintf(same, sizeof(same), "cr%u", slot);
	if (streq(name, same))
		reader->fn(slot, reader->arg);
}

int watch_links(int fd, void (*fn)(uint32_t slot, void *arg), void *arg)
{
	struct link_reader reader = { .fn = fn, .arg = arg };
	return read_all(fd, read_link, &reader);
}

static void read_table(struct nlmsghdr *header, void *arg)
{
	const int type = NFNL_MSG_TYPE(header->nlmsg_type);
	struct nlattr *attrs[NFTA_TABLE_MAX + 1];

	if (NFNL_SUBSYS_ID(header->nlmsg_type) != NFNL_SUBSYS_NFTABLES ||
		(type != NFT_MSG_NEWTABLE && type != NFT_MSG_DELTABLE) ||
		nlmsg_parse(header, sizeof(struct nfgenmsg), attrs, NFTA_TABLE_MAX, NULL) < 0)
		return;
	if (((struct nfgenmsg *)nlmsg_data(header))->nfgen_family == NFPROTO_INET && attrs[NFTA_TABLE_NAME] &&
		nla_strcmp(attrs[NFTA_TABLE_NAME], "carrel") == 0)
		*(bool *)arg = type == NFT_MSG_DELTABLE;
}

bool watch_table_lost(int fd)
{
	bool lost = false;
	return read_all(fd, read_table, &lost) < 0 || lost;
}
