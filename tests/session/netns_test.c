/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a session can reach, and who can reach a session, with real packets on the stage of netns_stage.h. Needs root.
 * Nearly every packet that must not arrive is sent once more without the rules, and must arrive then.
 */
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <netpacket/packet.h>
#include <nftables/libnftables.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/select.h>

#include "netns_stage.h"

enum { STRANGER = 4321, FLOWS_MAX = 1024 };

static void run_nft(const char *commands)
{
	struct nft_ctx *nft = nft_ctx_new(NFT_CTX_DEFAULT);
	assert_non_null(nft);
	assert_ok(nft_run_cmd_from_buffer(nft, commands));
	nft_ctx_free(nft);
}

/* The link */

/* As many addresses as LINK has by /proc/net/if_inet6, where a line ends with its name. */
static int count_addresses6(const char *link)
{
	char text[8192];
	int n = 0;
	file_read("/proc/self/net/if_inet6", text, sizeof(text));
	for (const char *at = text; (at = strstr(at, link)); at++)
		n++;
	return n;
}

static void test_no_discovery6(_unused_ void **state)
{
	char value[8];

	assert_int_equal(count_addresses6(" cr1\n"), 1);
	file_read("/proc/sys/net/ipv6/conf/cr1/accept_ra", value, sizeof(value));
	assert_string_equal(value, "0\n");
	enter(stage.slot[1].net_fd);
	int inside = count_addresses6(" eth0\n");
	enter(stage.host);
	assert_int_equal(inside, 1);
}

/* Whether the host tells session 1 who has an address of its uplink. */
static bool arp_is_answered(void)
{
	struct {
		struct arphdr head;
		uint8_t source_mac[6], source[4], target_mac[6], target[4];
	} question = { .head = { .ar_hrd = htons(ARPHRD_ETHER),
			       .ar_pro = htons(ETH_P_IP),
			       .ar_hln = 6,
			       .ar_pln = 4,
			       .ar_op = htons(ARPOP_REQUEST) },
		.source_mac = { 2, 'c', 'a', 'r', 0, 2 },
		.source = { 12, 0, 0, 2 },
		.target = { 11, 0, 0, 1 } };
	struct sockaddr_ll to = { .sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ARP),
		.sll_halen = 6,
		.sll_addr = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff } };
	_close_ int fd = socket_in(stage.slot[1].net_fd, AF_PACKET, SOCK_DGRAM, htons(ETH_P_ARP));
	struct ifreq request = { .ifr_name = "eth0" };

	assert_ok(ioctl(fd, SIOCGIFINDEX, &request));
	to.sll_ifindex = request.ifr_ifindex;
	assert_int_equal(
		sendto(fd, &question, sizeof(question), 0, (struct sockaddr *)&to, sizeof(to)), sizeof(question));
	return is_readable(fd);
}

static void test_no_arp(_unused_ void **state)
{
	_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq request = { .ifr_name = "cr1" };

	assert_false(arp_is_answered());
	assert_ok(ioctl(fd, SIOCGIFFLAGS, &request));
	request.ifr_flags &= ~IFF_NOARP;
	assert_ok(ioctl(fd, SIOCSIFFLAGS, &request));
	assert_true(arp_is_answered());
}

/* Walls */

/* A session against the other one and every address of the host. */
static void test_walls(_unused_ void **state)
{
	struct probe probes[PROBES_MAX];
	char texts[N_PUBLIC + N_PRIVATE][INET6_ADDRSTRLEN];
	const char *host[N_PUBLIC + N_PRIVATE];
	const char *const other[] = { stage.v4[2][false], stage.v6[2][false] };
	const char *const ends[] = { stage.v4[1][true], stage.v6[1][true], stage.v4[2][true], stage.v6[2][true] };
	const int from = stage.slot[1].net_fd;

	for (size_t i = 0; i < ARRAY_SIZE(host); i++)
		host[i] = address_of_host(
			i < N_PUBLIC ? public_addresses[i] : private_addresses[i - N_PUBLIC], texts[i]);
	size_t n = probes_add(probes, from, stage.slot[2].net_fd, other, ARRAY_SIZE(other));
	n += probes_add(probes + n, from, stage.host, ends, ARRAY_SIZE(ends));
	n += probes_add(probes + n, from, stage.host, host, ARRAY_SIZE(host));

	assert_arrive(probes, n, false, "spare");
	stage_set_policy(NETNS_NONE);
	assert_arrive(probes, n, false, "none");
	stage_set_policy(NETNS_INTERNET);
	assert_arrive(probes, n, false, "internet");
	assert_ok(netns_unload_policy(stage.netns, &stage.err));
	assert_arrive(probes, n, true, "without rules");
}

static void test_world(_unused_ void **state)
{
	struct probe open[8], closed[PROBES_MAX], inward[8];
	const char *const session[] = { stage.v4[1][false], stage.v6[1][false] };
	const int inside = stage.slot[1].net_fd;
	size_t n_open = probes_add(open, inside, stage.world, public_addresses, N_PUBLIC);
	size_t n_closed = probes_add(closed, inside, stage.world, private_addresses, N_PRIVATE);
	size_t n_inward = probes_add(inward, stage.world, inside, session, ARRAY_SIZE(session));
	char host[INET6_ADDRSTRLEN];

	assert_arrive(open, n_open, false, "spare");
	stage_set_policy(NETNS_NONE);
	assert_arrive(open, n_open, false, "none");
	assert_arrive(closed, n_closed, false, "none");
	assert_arrive(inward, n_inward, false, "none");
	stage_set_policy(NETNS_INTERNET);
	assert_arrive(closed, n_closed, false, "internet");
	assert_arrive(inward, n_inward, false, "internet");
	assert_arrive(open, n_open, true, "internet");
	for (size_t i = 0; i < n_open; i++) /* masqueraded */
		if (open[i].protocol != IPPROTO_TCP)
			assert_string_equal(open[i].source, address_of_host(open[i].address, host));
	assert_ok(netns_unload_policy(stage.netns, &stage.err));
	assert_arrive(closed, n_closed, true, "without rules");
	assert_arrive(inward, n_inward, true, "without rules");
}

/* What is none of ours passes. */
static void test_host_and_world(_unused_ void **state)
{
	struct probe probes[16];
	char texts[N_PUBLIC][INET6_ADDRSTRLEN];
	const char *const host[] = { address_of_host(public_addresses[0], texts[0]),
		address_of_host(public_addresses[1], texts[1]) };
	size_t n = probes_add(probes, stage.host, stage.world, public_addresses, N_PUBLIC);
	n += probes_add(probes + n, stage.world, stage.host, host, ARRAY_SIZE(host));
	assert_arrive(probes, n, true, "with rules");
}

/* What the host redirects to somewhere else was meant for the host. */
static void test_redirected_service(_unused_ void **state)
{
	union address to;
	socklen_t size = address_parse("11.0.0.1", 20300, &to);
	_close_ int service = receiver_in(stage.world, IPPROTO_UDP, "11.0.0.0", 20300);
	_close_ int fd = socket_in(stage.slot[1].net_fd, AF_INET, SOCK_DGRAM, 0);

	run_nft("table ip service { chain c { type nat hook prerouting priority dstnat;"
		" ip daddr 11.0.0.1 udp dport 20300 dnat to 11.0.0.0; }; }");
	stage_set_policy(NETNS_INTERNET);
	assert_int_equal(sendto(fd, "", 1, 0, &to.sa, size), 1);
	assert_false(is_readable(service));
	assert_ok(netns_unload_policy(stage.netns, &stage.err));
	assert_int_equal(sendto(fd, "", 1, 0, &to.sa, size), 1);
	assert_true(becomes_readable(service));
	run_nft("delete table ip service");
}

/* What was open under one policy is not under the next, in either direction, whatever conntrack remembers. */
static void test_policy_ends_connections(_unused_ void **state)
{
	union address to, from;
	socklen_t size = address_parse("11.0.0.0", 20400, &to), from_size = sizeof(from);
	_close_ int world = receiver_in(stage.world, IPPROTO_UDP, "11.0.0.0", 20400);
	_close_ int inside = socket_in(stage.slot[1].net_fd, AF_INET, SOCK_DGRAM, 0);
	char byte;

	for (int i = 0; i < 2; i++) {
		stage_set_policy(NETNS_INTERNET);
		assert_int_equal(sendto(inside, "", 1, 0, &to.sa, size), 1);
		assert_true(becomes_readable(world));
		assert_int_equal(recvfrom(world, &byte, 1, 0, &from.sa, &from_size), 1);
		assert_int_equal(sendto(world, "", 1, 0, &from.sa, from_size), 1);
		assert_true(becomes_readable(inside));
		assert_int_equal(read(inside, &byte, 1), 1);
		stage_set_policy(i == 0 ? NETNS_NONE : NETNS_SPARE);
		assert_int_equal(sendto(inside, "", 1, 0, &to.sa, size), 1);
		assert_int_equal(sendto(world, "", 1, 0, &from.sa, from_size), 1);
		assert_false(is_readable(world));
		assert_false(is_readable(inside));
	}
	/* Between host and session too. */
	address_parse(stage.v4[1][false], 20400, &to);
	_close_ int server = receiver_in(stage.slot[1].net_fd, IPPROTO_UDP, stage.v4[1][false], 20400);
	_close_ int host = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	stage_set_policy(NETNS_NONE);
	assert_int_equal(sendto(host, "", 1, 0, &to.sa, size), 1);
	assert_int_equal(recvfrom(server, &byte, 1, 0, &from.sa, &from_size), 1);
	assert_int_equal(sendto(server, "", 1, 0, &from.sa, from_size), 1);
	assert_true(becomes_readable(host));
	assert_int_equal(read(host, &byte, 1), 1);
	stage_set_policy(NETNS_SPARE);
	assert_int_equal(sendto(server, "", 1, 0, &from.sa, from_size), 1);
	assert_false(is_readable(host));
}

/* One session can have so many connections through the host and no more; the other one does not notice. */
static void test_flow_limit(_unused_ void **state)
{
	struct probe probes[8];
	size_t n = probes_add(probes, stage.slot[2].net_fd, stage.world, public_addresses, N_PUBLIC);
	char text[32];

	stage_set_policy(NETNS_INTERNET);
	for (int i = 0; i < N_PUBLIC; i++) {
		union address to;
		file_read("/proc/sys/net/netfilter/nf_conntrack_count", text, sizeof(text));
		const int before = atoi(text);
		address_parse(public_addresses[i], 1, &to);
		_close_ int fd = socket_in(stage.slot[1].net_fd, to.sa.sa_family, SOCK_DGRAM, 0);
		for (uint16_t port = 1; port < FLOWS_MAX + 200; port++) {
			socklen_t size = address_parse(public_addresses[i], port, &to);
			(void)!sendto(fd, "", 1, 0, &to.sa, size);
		}
		file_read("/proc/sys/net/netfilter/nf_conntrack_count", text, sizeof(text));
		assert_in_range(atoi(text), FLOWS_MAX / 2, before + FLOWS_MAX);
	}
	assert_arrive(probes, n, true, "beside a busy session");
}

/* Forged packets */

/* A UDP packet with any source, from session 1. */
static void send_forged(const char *source, const char *destination, uint16_t port)
{
	struct udphdr udp = { .source = htons(1), .dest = htons(port), .len = htons(sizeof(udp)) };
	uint8_t packet[sizeof(struct ip6_hdr) + sizeof(udp)];
	union address from, to;
	socklen_t size = address_parse(destination, 0, &to);
	size_t head;

	address_parse(source, 0, &from);
	if (to.sa.sa_family == AF_INET6) {
		struct ip6_hdr ip = { .ip6_plen = udp.len, .ip6_hlim = 64, .ip6_nxt = IPPROTO_UDP };
		ip.ip6_vfc = 6 << 4;
		ip.ip6_src = from.in6.sin6_addr;
		ip.ip6_dst = to.in6.sin6_addr;
		memcpy(packet, &ip, head = sizeof(ip));
		memcpy(packet + head, &udp, sizeof(udp));
		udp.check = checksum(packet + 8, 32 + sizeof(udp), IPPROTO_UDP + sizeof(udp));
	} else {
		struct iphdr ip = { .version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_UDP };
		ip.saddr = from.in.sin_addr.s_addr;
		ip.daddr = to.in.sin_addr.s_addr;
		memcpy(packet, &ip, head = sizeof(ip));
	}
	memcpy(packet + head, &udp, sizeof(udp));
	_close_ int fd = socket_in(stage.slot[1].net_fd, to.sa.sa_family, SOCK_RAW, IPPROTO_RAW);
	assert_int_equal(sendto(fd, packet, head + sizeof(udp), 0, &to.sa, size), head + sizeof(udp));
}

static bool forged_arrives(const char *source, const char *destination)
{
	_close_ int fd = receiver_in(stage.world, IPPROTO_UDP, destination, 20500);
	send_forged(source, destination, 20500);
	return is_readable(fd);
}

static void test_spoofing(_unused_ void **state)
{
	static const char *const foreign[N_PUBLIC] = { "13.0.0.1", "2600:1::1" };
	char host[INET6_ADDRSTRLEN];

	/* Else the kernel itself would drop what claims to come from the host. */
	file_write("/proc/sys/net/ipv4/conf/cr1/accept_local", "1");
	stage_set_policy(NETNS_INTERNET);
	for (int i = 0; i < N_PUBLIC; i++) {
		const char *to = public_addresses[i];
		assert_true(forged_arrives(i == 0 ? stage.v4[1][false] : stage.v6[1][false], to));
		assert_false(forged_arrives(i == 0 ? stage.v4[1][true] : stage.v6[1][true], to));
		assert_false(forged_arrives(i == 0 ? stage.v4[2][false] : stage.v6[2][false], to));
		assert_false(forged_arrives(i == 0 ? stage.v4[2][true] : stage.v6[2][true], to));
		assert_false(forged_arrives(address_of_host(to, host), to));
		assert_false(forged_arrives(foreign[i], to));
	}
	assert_ok(netns_unload_policy(stage.netns, &stage.err));
	assert_true(forged_arrives(stage.v6[1][true], public_addresses[1]));
	assert_true(forged_arrives(stage.v4[2][false], public_addresses[0]));
	for (int i = 0; i < N_PUBLIC; i++)
		assert_true(forged_arrives(foreign[i], public_addresses[i]));
}

/* An ICMP message of TYPE from session 1 about INNER, the beginning of a packet; whether a raw socket RECEIVER hears it. */
static bool icmp_arrives(int receiver, const char *destination, uint8_t type, const void *inner, size_t inner_size)
{
	struct {
		struct icmphdr head;
		uint8_t inner[64];
	} message = { .head.type = type };
	const size_t size = sizeof(message.head) + inner_size;
	union address to;
	socklen_t to_size = address_parse(destination, 0, &to);
	_close_ int fd = socket_in(stage.slot[1].net_fd, AF_INET, SOCK_RAW, IPPROTO_ICMP);
	uint8_t packet[256];

	if (inner_size > 0)
		memcpy(message.inner, inner, inner_size);
	message.head.checksum = checksum(&message, size, 0);
	assert_int_equal(sendto(fd, &message, size, 0, &to.sa, to_size), size);
	while (is_readable(receiver))
		if (recv(receiver, packet, sizeof(packet), 0) > 0 && packet[sizeof(struct iphdr)] == type)
			return true;
	return false;
}

/* Errors about what the host sent pass; a redirect, and an answer that nobody asked for, do not. */
static void test_stray_icmp(_unused_ void **state)
{
	struct {
		struct iphdr ip;
		struct udphdr udp;
	} sent = { .ip = { .version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_UDP },
		.udp = { .source = htons(20600), .dest = htons(20601), .len = htons(sizeof(sent.udp) + 1) } };
	_close_ int at_host = receiver_in(stage.host, IPPROTO_ICMP, stage.v4[1][true], 0);
	_close_ int at_world = receiver_in(stage.world, IPPROTO_ICMP, "11.0.0.0", 0);
	_close_ int host = receiver_in(stage.host, IPPROTO_UDP, stage.v4[1][true], 20600);
	_close_ int inside = receiver_in(stage.slot[1].net_fd, IPPROTO_UDP, stage.v4[1][false], 20601);
	union address to;
	socklen_t size = address_parse(stage.v4[1][false], 20601, &to);

	assert_ok(inside);
	sent.ip.tot_len = htons(sizeof(sent) + 1);
	inet_pton(AF_INET, stage.v4[1][true], &sent.ip.saddr);
	sent.ip.daddr = to.in.sin_addr.s_addr;
	stage_set_policy(NETNS_INTERNET);
	assert_int_equal(sendto(host, "", 1, 0, &to.sa, size), 1);
	assert_true(icmp_arrives(at_host, stage.v4[1][true], ICMP_DEST_UNREACH, &sent, sizeof(sent)));
	assert_false(icmp_arrives(at_host, stage.v4[1][true], ICMP_REDIRECT, &sent, sizeof(sent)));
	assert_false(icmp_arrives(at_world, "11.0.0.0", ICMP_ECHOREPLY, NULL, 0));
	assert_ok(netns_unload_policy(stage.netns, &stage.err));
	assert_true(icmp_arrives(at_host, stage.v4[1][true], ICMP_REDIRECT, &sent, sizeof(sent)));
	assert_true(icmp_arrives(at_world, "11.0.0.0", ICMP_ECHOREPLY, NULL, 0));
}

/* Whoever sends to a port where nobody listens is told so at once. */
static void assert_told_refused(int net_fd, const char *address)
{
	union address to;
	socklen_t size = address_parse(address, 20700, &to);
	_close_ int fd = socket_in(net_fd, to.sa.sa_family, SOCK_DGRAM, 0);
	char byte;

	assert_ok(connect(fd, &to.sa, size));
	assert_int_equal(send(fd, "", 1, 0), 1);
	assert_true(becomes_readable(fd));
	assert_int_equal(recv(fd, &byte, 1, 0), -1);
	assert_int_equal(errno, ECONNREFUSED);
}

static void test_errors_are_told(_unused_ void **state)
{
	stage_set_policy(NETNS_INTERNET);
	assert_told_refused(stage.host, stage.v4[1][false]);
	assert_told_refused(stage.host, stage.v6[1][false]);
	assert_told_refused(stage.slot[1].net_fd, public_addresses[0]);
	assert_told_refused(stage.slot[1].net_fd, public_addresses[1]);
}

static void set_uplink_mtu(int mtu)
{
	struct ifreq request = { .ifr_name = "up0", .ifr_mtu = mtu };
	_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_ok(ioctl(fd, SIOCSIFMTU, &request));
}

/* The world is told a segment size that fits, and a session that its packets do not fit. */
static void test_narrow_uplink(_unused_ void **state)
{
	const int mtu = 1300, discover = IP_PMTUDISC_DO;
	static const char packet[1400];
	_close_ int server = receiver_in(stage.world, IPPROTO_TCP, "11.0.0.0", 20800);
	_close_ int client = socket_in(stage.slot[1].net_fd, AF_INET, SOCK_STREAM, 0);
	_close_ int sender = socket_in(stage.slot[1].net_fd, AF_INET, SOCK_DGRAM, 0);
	union address to;
	socklen_t size = address_parse("11.0.0.0", 20800, &to), int_size = sizeof(int);
	int found = 0;

	stage_set_policy(NETNS_INTERNET);
	set_uplink_mtu(mtu);
	assert_ok(connect(client, &to.sa, size));
	_close_ int served = accept4(server, NULL, NULL, SOCK_CLOEXEC);
	assert_ok(served);
	assert_ok(getsockopt(served, IPPROTO_TCP, TCP_MAXSEG, &found, &int_size));
	assert_in_range(found, 1000, mtu - 40);
	assert_ok(setsockopt(sender, IPPROTO_IP, IP_MTU_DISCOVER, &discover, sizeof(discover)));
	assert_ok(connect(sender, &to.sa, size));
	assert_int_equal(send(sender, packet, sizeof(packet), 0), sizeof(packet));
	assert_true(becomes_readable(sender));
	assert_ok(getsockopt(sender, IPPROTO_IP, IP_MTU, &found, &int_size));
	assert_int_equal(found, mtu);
	set_uplink_mtu(1500);
}

/* From the host */

static void test_host_reaches_sessions(_unused_ void **state)
{
	struct probe probes[8];
	const char *const session[] = { stage.v4[1][false], stage.v6[1][false] };
	size_t n = probes_add(probes, stage.host, stage.slot[1].net_fd, session, ARRAY_SIZE(session));

	assert_arrive(probes, n, false, "spare");
	stage_set_policy(NETNS_NONE);
	assert_arrive(probes, n, true, "none");
	stage_set_policy(NETNS_INTERNET);
	assert_arrive(probes, n, true, "internet");
}

/* Whether a process of UID and GID may open a connection to ADDRESS, NET_FD's; a refusal is told at once. */
static bool may_connect(uid_t uid, gid_t gid, int net_fd, const char *address)
{
	_close_ int server = receiver_in(net_fd, IPPROTO_TCP, address, 20900);
	union address to;
	socklen_t size = address_parse(address, 20900, &to);

	assert_ok(server);
	assert_ok(setegid(gid));
	assert_ok(seteuid(uid));
	_close_ int fd = socket(to.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int r = connect(fd, &to.sa, size);
	int num = errno;
	assert_ok(seteuid(0));
	assert_ok(setegid(0));
	assert_true(r == 0 || num == EHOSTUNREACH || num == EACCES);
	return r == 0;
}

static bool may_reach(uid_t uid, gid_t gid)
{
	bool v4 = may_connect(uid, gid, stage.slot[1].net_fd, stage.v4[1][false]);
	bool v6 = may_connect(uid, gid, stage.slot[1].net_fd, stage.v6[1][false]);
	assert_true(v4 == v6);
	return v4;
}

static void test_local_users(_unused_ void **state)
{
	struct netns_config config = stage_config;

	stage_set_policy(NETNS_NONE);
	assert_true(may_reach(0, STRANGER));
	assert_true(may_reach(stage_config.allowed_uid, STRANGER));
	assert_false(may_reach(STRANGER, STRANGER));
	assert_false(may_reach(STRANGER, 0));
	netns_close(stage.netns);
	config.n_uids = config.n_gids = NETNS_MAX_IDS;
	for (uint32_t i = 0; i < NETNS_MAX_IDS; i++) {
		config.uids[i] = UINT32_MAX - 100 + i;
		config.gids[i] = UINT32_MAX - 50 + i;
	}
	stage_load(&config);
	assert_true(may_reach(config.uids[0], STRANGER));
	assert_true(may_reach(config.uids[NETNS_MAX_IDS - 1], STRANGER));
	assert_true(may_reach(STRANGER, config.gids[NETNS_MAX_IDS - 1]));
	assert_false(may_reach(STRANGER, STRANGER));
	assert_true(may_connect(STRANGER, STRANGER, stage.world, public_addresses[0]));
	assert_ok(netns_unload_policy(stage.netns, &stage.err));
	assert_true(may_reach(STRANGER, STRANGER));
}

/* A server on the session's 127.0.0.1 is reached at its address, at the given ports alone, and its answers come back. */
static void test_redirect(_unused_ void **state)
{
	const int inside = stage.slot[2].net_fd;
	_close_ int server = receiver_in(inside, IPPROTO_TCP, "127.0.0.1", CDP_PORT);
	_close_ int unlisted = receiver_in(inside, IPPROTO_TCP, "127.0.0.1", CDP_PORT + 1);
	union address to;
	socklen_t size = address_parse(stage.v4[2][false], CDP_PORT, &to);
	char byte = 0;

	assert_ok(unlisted);
	stage_set_policy(NETNS_NONE);
	_close_ int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_ok(connect(client, &to.sa, size));
	_close_ int served = accept4(server, NULL, NULL, SOCK_CLOEXEC);
	assert_ok(served);
	assert_int_equal(write(client, "a", 1), 1);
	assert_int_equal(read(served, &byte, 1), 1);
	assert_int_equal(byte, 'a');
	assert_int_equal(write(served, "b", 1), 1);
	assert_int_equal(read(client, &byte, 1), 1);
	assert_int_equal(byte, 'b');
	_close_ int refused = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	to.in.sin_port = htons(CDP_PORT + 1);
	assert_int_equal(connect(refused, &to.sa, size), -1);
	assert_int_equal(errno, ECONNREFUSED);
}

/* It is noticed when somebody flushes all rules of the host, and nothing else is mistaken for it. */
static void test_flushed_rules(_unused_ void **state)
{
	struct pollfd event = { .fd = netns_policy_fd(stage.netns), .events = POLLIN };

	assert_false(netns_policy_lost(stage.netns));
	assert_ok(netns_load_policy(stage.netns, &stage.err)); /* again */
	assert_int_equal(poll(&event, 1, 0), 1);
	assert_false(netns_policy_lost(stage.netns));
	assert_int_equal(poll(&event, 1, 0), 0);
	run_nft("add table ip carrel; delete table ip carrel; add table inet other; delete table inet other");
	assert_int_equal(poll(&event, 1, 0), 1);
	assert_false(netns_policy_lost(stage.netns));
	run_nft("flush ruleset");
	assert_int_equal(poll(&event, 1, 0), 1);
	assert_true(netns_policy_lost(stage.netns));
	assert_false(netns_policy_lost(stage.netns));
}

/* With hundreds of sessions descriptors have numbers that the library of nftables cannot wait for. */
static void test_many_descriptors(_unused_ void **state)
{
	const struct rlimit limit = { .rlim_cur = FD_SETSIZE + 100, .rlim_max = FD_SETSIZE + 100 };
	const uint16_t port = CDP_PORT;
	struct netns_slot slot = { .user_fd = -1, .net_fd = -1 };
	int fds[FD_SETSIZE], n = 0;

	assert_ok(setrlimit(RLIMIT_NOFILE, &limit));
	do
		assert_ok(fds[n] = fcntl(stage.host, F_DUPFD_CLOEXEC, 0));
	while (fds[n++] < FD_SETSIZE);
	assert_ok(netns_load_policy(stage.netns, &stage.err));
	assert_ok(netns_make(stage.netns, 3, NETNS_SPARE, &port, 1, &slot, &stage.err));
	assert_ok(netns_load_policy(stage.netns, &stage.err));
	netns_slot_release(&slot);
	close_fds(fds, (size_t)n);
	stage_wait_until_gone(1U << 3);
}

int main(void)
{
#define STAGE_TEST(test) cmocka_unit_test_setup_teardown(test, stage_open, stage_close)
	const struct CMUnitTest tests[] = {
		STAGE_TEST(test_no_discovery6),
		STAGE_TEST(test_no_arp),
		STAGE_TEST(test_walls),
		STAGE_TEST(test_world),
		STAGE_TEST(test_host_and_world),
		STAGE_TEST(test_redirected_service),
		STAGE_TEST(test_policy_ends_connections),
		STAGE_TEST(test_flow_limit),
		STAGE_TEST(test_spoofing),
		STAGE_TEST(test_stray_icmp),
		STAGE_TEST(test_errors_are_told),
		STAGE_TEST(test_narrow_uplink),
		STAGE_TEST(test_host_reaches_sessions),
		STAGE_TEST(test_local_users),
		STAGE_TEST(test_redirect),
		STAGE_TEST(test_flushed_rules),
		STAGE_TEST(test_many_descriptors),
	};
	if (geteuid() != 0)
		return 77; /* skipped */
	return cmocka_run_group_tests_name("netns", tests, stage_build, NULL);
}
