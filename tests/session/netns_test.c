/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network of sessions, with real packets. Needs root; runs in a network namespace of its own, which plays the
 * host, beside a second one that plays the rest of the world:
 *
 *   world 11.0.0.0, 10.1.1.0, 169.254.169.254, 2600::, fd00:1:: -- up0 host cr1 -- eth0 session 1
 *                                                                      cr2 -- eth0 session 2
 *
 * The world has a route back to the sessions, so that whatever does not arrive was dropped by a rule. Nearly every
 * packet that must not arrive is sent a second time without the rules, and must arrive then.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>
#include <netinet/udp.h>
#include <netpacket/packet.h>
#include <nftables/libnftables.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "netns/netns.h"
#include "netns/rtnl.h"

enum { WAIT_MS = 150, GONE_MS = 5000, CDP_PORT = 9222, STRANGER = 4321, FLOWS_MAX = 1024, PROBES_MAX = 64 };

static const struct netns_config base_config = {
	.id_base = 524288,
	.max_slots = 4,
	.ipv4 = { 100, 96, 0, 0 },
	.ipv6 = { 0xfd, 0x63, 0x61, 0x72, 0x72, 0x65, 0x6c },
	.has_ipv6 = true,
	.allowed_uid = 990,
};

/* What a test has at hand; filled anew for each. */
static struct world {
	int host, world; /* network namespaces */
	int n_fds;
	struct netns *netns;
	struct netns_slot slot[3]; /* 1 and 2 */
	char v4[3][2][INET6_ADDRSTRLEN], v6[3][2][INET6_ADDRSTRLEN]; /* [slot][host end] */
} w;

static struct err err;

#define assert_ok(expr) assert_no_error((expr), #expr)

static void assert_no_error(int r, const char *what)
{
	char text[256];
	if (r < 0)
		fail_msg("%s: %d, %s", what, r, err.num ? err_text(&err, text, sizeof(text)) : strerror(errno));
}

static int open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = -1; /* its own */
	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static void enter(int net_fd)
{
	assert_ok(setns(net_fd, CLONE_NEWNET));
}

static void write_file(const char *path, const char *value)
{
	_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_ok(fd);
	assert_int_equal(write(fd, value, strlen(value)), strlen(value));
}

static void read_file(const char *path, char *buf, size_t size)
{
	_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_ok(fd);
	ssize_t n = read(fd, buf, size - 1);
	assert_true(n >= 0);
	buf[n] = '\0';
}

/* Addresses */

union address {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
	struct sockaddr_storage storage;
};

static socklen_t parse(const char *text, uint16_t port, union address *ret)
{
	memset(ret, 0, sizeof(*ret));
	if (inet_pton(AF_INET, text, &ret->in.sin_addr) == 1) {
		ret->in.sin_family = AF_INET;
		ret->in.sin_port = htons(port);
		return sizeof(ret->in);
	}
	assert_int_equal(inet_pton(AF_INET6, text, &ret->in6.sin6_addr), 1);
	ret->in6.sin6_family = AF_INET6;
	ret->in6.sin6_port = htons(port);
	return sizeof(ret->in6);
}

static const char *source_of(const union address *from, char text[static INET6_ADDRSTRLEN])
{
	const void *bytes = from->sa.sa_family == AF_INET ? (const void *)&from->in.sin_addr : &from->in6.sin6_addr;
	return inet_ntop(from->sa.sa_family, bytes, text, INET6_ADDRSTRLEN);
}

static uint16_t checksum(const void *data, size_t size, uint32_t sum)
{
	const uint8_t *bytes = data;
	for (size_t i = 0; i < size; i++)
		sum += i % 2 ? bytes[i] : (uint32_t)bytes[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

/* Probes: packets sent all at once, and then a look at which of them arrived. */

struct echo {
	struct icmphdr head;
	uint16_t port;
};

struct probe {
	int from, to; /* network namespaces of sender and receiver */
	int protocol; /* TCP counts when the connection is there, UDP and ICMP echo when the packet is */
	const char *address;
	uint16_t port; /* also told in an echo, whose id masquerading may change */
	int sender, receiver;
	bool arrived;
	char source[INET6_ADDRSTRLEN]; /* UDP: as the receiver saw it */
};

static int open_receiver(const struct probe *probe)
{
	union address a;
	const int one = 1;
	bool raw = probe->protocol == IPPROTO_ICMP;
	socklen_t size = parse(probe->address, raw ? 0 : probe->port, &a);
	int type = raw ? SOCK_RAW : probe->protocol == IPPROTO_TCP ? SOCK_STREAM : SOCK_DGRAM;
	int protocol = raw && a.sa.sa_family == AF_INET6 ? IPPROTO_ICMPV6 : probe->protocol;

	enter(probe->to);
	int fd = socket(a.sa.sa_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
	assert_ok(fd);
	assert_ok(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)));
	assert_ok(bind(fd, &a.sa, size));
	if (type == SOCK_STREAM)
		assert_ok(listen(fd, 4));
	enter(w.host);
	return fd;
}

static int send_probe(const struct probe *probe)
{
	union address a;
	bool raw = probe->protocol == IPPROTO_ICMP;
	socklen_t size = parse(probe->address, raw ? 0 : probe->port, &a);
	bool v6 = a.sa.sa_family == AF_INET6;
	struct echo echo = { .head.type = v6 ? ICMP6_ECHO_REQUEST : ICMP_ECHO, .port = probe->port };

	echo.head.checksum = checksum(&echo, sizeof(echo), 0); /* the kernel does ICMPv6's itself */
	enter(probe->from);
	int type = raw ? SOCK_RAW : probe->protocol == IPPROTO_TCP ? SOCK_STREAM : SOCK_DGRAM;
	int fd = socket(
		a.sa.sa_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, raw && v6 ? IPPROTO_ICMPV6 : probe->protocol);
	assert_ok(fd);
	/* Where there is no way or a refusal, the packet does not arrive; that is all we ask. */
	if (type == SOCK_STREAM)
		(void)!connect(fd, &a.sa, size);
	else
		(void)!sendto(fd, &echo, sizeof(echo), 0, &a.sa, size);
	enter(w.host);
	return fd;
}

static bool has_arrived(struct probe *probe)
{
	if (probe->protocol == IPPROTO_TCP) {
		_close_ int fd = accept4(probe->receiver, NULL, NULL, SOCK_CLOEXEC);
		return fd >= 0;
	}
	uint8_t packet[256];
	union address from;
	socklen_t size = sizeof(from);
	ssize_t n;
	while ((n = recvfrom(probe->receiver, packet, sizeof(packet), 0, &from.sa, &size)) >= 0) {
		source_of(&from, probe->source);
		if (probe->protocol == IPPROTO_UDP)
			return true;
		/* A raw IPv4 socket gives the IP header too. */
		const struct echo *echo =
			(void *)(packet + (from.sa.sa_family == AF_INET ? sizeof(struct iphdr) : 0));
		if ((echo->head.type == ICMP_ECHO || echo->head.type == ICMP6_ECHO_REQUEST) &&
			echo->port == probe->port)
			return true;
	}
	return false;
}

/* Sends all and waits until all have arrived, or so long that the rest will not. */
static void run_probes(struct probe *probes, size_t n)
{
	struct pollfd fds[PROBES_MAX];
	size_t missing = n;

	assert_true(n <= PROBES_MAX);
	for (size_t i = 0; i < n; i++) {
		probes[i].arrived = false;
		probes[i].port = (uint16_t)(20000 + i);
		probes[i].receiver = open_receiver(&probes[i]);
		fds[i] = (struct pollfd){ .fd = probes[i].receiver, .events = POLLIN };
	}
	for (size_t i = 0; i < n; i++)
		probes[i].sender = send_probe(&probes[i]);
	while (missing > 0 && poll(fds, n, WAIT_MS) > 0)
		for (size_t i = 0; i < n; i++)
			if (fds[i].revents && has_arrived(&probes[i])) {
				probes[i].arrived = true;
				fds[i].fd = -1;
				missing--;
			}
	for (size_t i = 0; i < n; i++) {
		close_fd(probes[i].sender);
		close_fd(probes[i].receiver);
	}
}

static void assert_arrive(struct probe *probes, size_t n, bool expected, const char *when)
{
	run_probes(probes, n);
	for (size_t i = 0; i < n; i++)
		if (probes[i].arrived != expected)
			fail_msg("%s: %s %s, protocol %d", when, probes[i].address,
				expected ? "did not arrive" : "arrived", probes[i].protocol);
}

/* FROM to each address, which is one of TO's, by every protocol. */
static size_t add_probes(struct probe *probes, int from, int to, const char *const *addresses, size_t n)
{
	static const int protocols[] = { IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMP };
	size_t count = 0;
	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < ARRAY_SIZE(protocols); j++)
			probes[count++] = (struct probe){
				.from = from, .to = to, .protocol = protocols[j], .address = addresses[i]
			};
	return count;
}

/* The stage */

static void rtnl_ok(struct rtnl_batch *batch, struct rtnl_link *link)
{
	assert_ok(rtnl_send(batch, link, &err, "test"));
	rtnl_batch_done(batch);
}

static const uint8_t *bytes_of(const union address *a)
{
	return a->sa.sa_family == AF_INET ? (const uint8_t *)&a->in.sin_addr : a->in6.sin6_addr.s6_addr;
}

/* OWN on a link, as a /31 or /127 with OTHER, which has MAC. */
static void add_address(int ifindex, const char *own, const char *other, const mac_address mac)
{
	struct rtnl_batch batch = { 0 };
	union address a, b;
	parse(own, 0, &a);
	parse(other, 0, &b);
	rtnl_add_address(&batch, ifindex, a.sa.sa_family, bytes_of(&a));
	rtnl_add_neighbour(&batch, ifindex, b.sa.sa_family, bytes_of(&b), mac);
	rtnl_ok(&batch, NULL);
}

static void add_default(int ifindex, const char *gateway)
{
	struct rtnl_batch batch = { 0 };
	union address a;
	parse(gateway, 0, &a);
	rtnl_add_default_route(&batch, ifindex, a.sa.sa_family, bytes_of(&a));
	rtnl_ok(&batch, NULL);
}

static void set_up(int ifindex)
{
	struct rtnl_batch batch = { 0 };
	if (ifindex != 1)
		rtnl_no_link_local(&batch, ifindex);
	rtnl_set_up(&batch, ifindex, ifindex != 1);
	rtnl_ok(&batch, NULL);
}

/* The world's addresses, each with the host's that shares a /31 or /127 with it. */
static const char *const public_addresses[] = { "11.0.0.0", "2600::" };
static const char *const public_host[] = { "11.0.0.1", "2600::1" };
/* Private, metadata, unique local, 6to4, Teredo. */
static const char *const private_addresses[] = { "10.1.1.0", "169.254.169.254", "168.63.129.16", "100.64.9.0",
	"fd00:1::", "2002:a01:100::", "2001:0:a01:100::" };
static const char *const private_host[] = { "10.1.1.1", "169.254.169.255", "168.63.129.17", "100.64.9.1", "fd00:1::1",
	"2002:a01:100::1", "2001:0:a01:100::1" };

static void add_addresses(
	int ifindex, const char *const *own, const char *const *other, size_t n, const mac_address mac)
{
	for (size_t i = 0; i < n; i++)
		add_address(ifindex, own[i], other[i], mac);
}

/* Once: our own "host" and the world beyond it. Nothing outside these two namespaces is touched. */
static int set_stage(_unused_ void **state)
{
	static const mac_address macs[2] = { { 2, 0, 0, 0, 0, 1 }, { 2, 0, 0, 0, 0, 2 } };
	struct rtnl_batch batch = { 0 };
	struct rtnl_link link;

	assert_ok(unshare(CLONE_NEWNET));
	assert_ok(w.world = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
	write_file("/proc/sys/net/ipv6/conf/all/forwarding", "0");
	set_up(1);
	assert_ok(unshare(CLONE_NEWNET));
	assert_ok(w.host = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
	write_file("/proc/sys/net/ipv4/ip_forward", "1");
	write_file("/proc/sys/net/ipv6/conf/all/forwarding", "1");
	/* Spoofed packets shall meet our rules, not the kernel's filter that the operator may have turned off. */
	write_file("/proc/sys/net/ipv4/conf/all/rp_filter", "0");
	write_file("/proc/sys/net/ipv4/conf/default/rp_filter", "0");
	set_up(1);
	rtnl_add_veth(&batch, "up0", 0, macs[0], "world0", macs[1], w.world);
	rtnl_get_link(&batch, "up0");
	rtnl_ok(&batch, &link);
	set_up(link.ifindex);
	add_addresses(link.ifindex, public_host, public_addresses, ARRAY_SIZE(public_host), macs[1]);
	add_addresses(link.ifindex, private_host, private_addresses, ARRAY_SIZE(private_host), macs[1]);
	enter(w.world);
	set_up(link.peer_ifindex);
	add_addresses(link.peer_ifindex, public_addresses, public_host, ARRAY_SIZE(public_host), macs[0]);
	add_addresses(link.peer_ifindex, private_addresses, private_host, ARRAY_SIZE(private_host), macs[0]);
	for (size_t i = 0; i < ARRAY_SIZE(public_host); i++)
		add_default(link.peer_ifindex, public_host[i]);
	enter(w.host);
	return 0;
}

static void set_policies(enum netns_policy policy)
{
	for (int i = 1; i <= 2; i++)
		assert_ok(netns_set_policy(w.netns, &w.slot[i], policy, &err));
}

static void open_netns(const struct netns_config *config)
{
	assert_ok(netns_open(config, &w.netns, &err));
	assert_ok(netns_load_policy(w.netns, &err));
}

static int make_sessions(_unused_ void **state)
{
	const uint16_t ports[] = { 5900, CDP_PORT };

	err = (struct err){ 0 };
	w.n_fds = open_fds();
	open_netns(&base_config);
	for (uint32_t i = 1; i <= 2; i++) {
		uint8_t bytes[16];
		assert_ok(netns_make(w.netns, i, ports, ARRAY_SIZE(ports), &w.slot[i], &err));
		for (int host = 0; host < 2; host++) {
			netns_ipv4(&base_config, i, host, bytes);
			inet_ntop(AF_INET, bytes, w.v4[i][host], INET6_ADDRSTRLEN);
			netns_ipv6(&base_config, i, host, bytes);
			inet_ntop(AF_INET6, bytes, w.v6[i][host], INET6_ADDRSTRLEN);
		}
	}
	return 0;
}

static void count_gone(uint32_t slot, void *arg)
{
	*(unsigned *)arg |= 1U << slot;
}

static void ignore_gone(_unused_ uint32_t slot, _unused_ void *arg)
{
}

static void wait_until_gone(unsigned wanted)
{
	unsigned gone = 0;
	while (gone != wanted) {
		struct pollfd fd = { .fd = netns_monitor_fd(w.netns), .events = POLLIN };
		assert_int_equal(poll(&fd, 1, GONE_MS), 1);
		assert_ok(netns_gone(w.netns, count_gone, &gone));
	}
}

/* After each test: what was made goes, is announced, and leaves nothing. */
static int end_sessions(_unused_ void **state)
{
	assert_ok(netns_unload_policy(w.netns, &err));
	for (int i = 1; i <= 2; i++) {
		assert_true(netns_slot_exists(w.netns, (uint32_t)i));
		netns_slot_release(&w.slot[i]);
	}
	wait_until_gone(1U << 1 | 1U << 2);
	for (uint32_t i = 1; i <= 2; i++)
		assert_false(netns_slot_exists(w.netns, i));
	netns_close(w.netns);
	assert_int_equal(open_fds(), w.n_fds);
	assert_int_equal(waitpid(-1, NULL, WNOHANG | __WALL), -1);
	struct if_nameindex *links = if_nameindex();
	assert_non_null(links);
	assert_true(links[0].if_name && links[1].if_name && !links[2].if_name); /* lo, up0 */
	if_freenameindex(links);
	return 0;
}

/* Calls that the library makes, one of which can be made to fail: linked with --wrap for each. */

static unsigned call_count, failing_call; /* 0: none */

static bool this_call_fails(void)
{
	if (failing_call == 0 || ++call_count != failing_call)
		return false;
	errno = ENOBUFS;
	return true;
}

/* clang-format off */
#define WRAP(type, name, params, args) \
	type __real_##name params; \
	type __wrap_##name params; \
	type __wrap_##name params { return this_call_fails() ? -1 : __real_##name args; }

WRAP(int, pipe2, (int fds[2], int flags), (fds, flags))
WRAP(int, open, (const char *path, int flags), (path, flags))
WRAP(int, openat, (int fd, const char *path, int flags), (fd, path, flags))
WRAP(ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size))
WRAP(int, socket, (int family, int type, int protocol), (family, type, protocol))
WRAP(int, setsockopt, (int fd, int level, int name, const void *value, socklen_t size), (fd, level, name, value, size))
WRAP(int, bind, (int fd, const struct sockaddr *address, socklen_t size), (fd, address, size))
WRAP(ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags), (fd, message, flags))
WRAP(ssize_t, recv, (int fd, void *data, size_t size, int flags), (fd, data, size, flags))
/* clang-format on */

long __real_syscall(long number, long a, long b, long c);
long __wrap_syscall(long number, long a, long b, long c);

/* The child that clone3 makes does nothing that can fail. */
long __wrap_syscall(long number, long a, long b, long c)
{
	return number == SYS_clone3 && this_call_fails() ? -1 : __real_syscall(number, a, b, c);
}

int __real_setns(int fd, int type);
int __wrap_setns(int fd, int type);

/* The way back must not fail: the process would end, as it should. */
int __wrap_setns(int fd, int type)
{
	struct stat there, host;
	fstat(fd, &there);
	fstat(w.host, &host);
	return there.st_ino != host.st_ino && this_call_fails() ? -1 : __real_setns(fd, type);
}

/* Tests */

static void test_names_and_numbers(_unused_ void **state)
{
	enum netns_policy policy;
	struct netns_config config = base_config;
	uint8_t v4[4], v6[16];

	assert_int_equal(netns_policy_by_name("none", &policy), 0);
	assert_int_equal(policy, NETNS_NONE);
	assert_int_equal(netns_policy_by_name("internet", &policy), 0);
	assert_int_equal(policy, NETNS_INTERNET);
	assert_int_equal(netns_policy_by_name("spare", &policy), -ENOENT);
	assert_int_equal(netns_policy_by_name("", &policy), -ENOENT);

	config.max_slots = 512;
	netns_ipv4(&config, 128, true, v4);
	assert_memory_equal(v4, ((uint8_t[]){ 100, 96, 1, 1 }), 4);
	netns_ipv6(&config, 200, false, v6);
	assert_memory_equal(v6 + 12, ((uint8_t[]){ 0, 0, 1, 0x90 }), 4);
	assert_memory_equal(v6, config.ipv6, 8);
}

static void assert_refused(struct netns_config config, int num)
{
	struct netns *netns;
	assert_int_equal(netns_open(&config, &netns, &err), num);
	assert_int_equal(err.num, num);
}

static void test_bad_configuration(_unused_ void **state)
{
	struct netns_config config = base_config;
	config.ipv4[3] = 1;
	assert_refused(config, -EINVAL);
	config = base_config;
	config.ipv6[15] = 1;
	assert_refused(config, -EINVAL);
	config = base_config;
	config.max_slots = 65536;
	assert_refused(config, -ERANGE);
	config = base_config;
	config.n_gids = NETNS_MAX_IDS + 1;
	assert_refused(config, -E2BIG);
}

/* A session against the other one and every address of the host, under the policy that allows most and that allows least. */
static void test_walls(_unused_ void **state)
{
	struct probe probes[PROBES_MAX];
	const char *const others[] = { w.v4[2][false], w.v6[2][false] };
	const char *const ends[] = { w.v4[1][true], w.v6[1][true], w.v4[2][true], w.v6[2][true] };
	size_t n = add_probes(probes, w.slot[1].net_fd, w.slot[2].net_fd, others, ARRAY_SIZE(others));
	n += add_probes(probes + n, w.slot[1].net_fd, w.host, ends, ARRAY_SIZE(ends));
	n += add_probes(probes + n, w.slot[1].net_fd, w.host, public_host, ARRAY_SIZE(public_host));
	n += add_probes(probes + n, w.slot[1].net_fd, w.host, private_host, ARRAY_SIZE(private_host));

	assert_arrive(probes, n, false, "spare");
	set_policies(NETNS_NONE);
	assert_arrive(probes, n, false, "none");
	set_policies(NETNS_INTERNET);
	assert_arrive(probes, n, false, "internet");
	assert_ok(netns_unload_policy(w.netns, &err));
	assert_arrive(probes, n, true, "without rules");
}

static void test_world(_unused_ void **state)
{
	struct probe open[8], closed[PROBES_MAX], inward[8];
	const char *const sessions[] = { w.v4[1][false], w.v6[1][false] };
	size_t n_open = add_probes(open, w.slot[1].net_fd, w.world, public_addresses, ARRAY_SIZE(public_addresses));
	size_t n_closed =
		add_probes(closed, w.slot[1].net_fd, w.world, private_addresses, ARRAY_SIZE(private_addresses));
	size_t n_inward = add_probes(inward, w.world, w.slot[1].net_fd, sessions, ARRAY_SIZE(sessions));

	assert_arrive(open, n_open, false, "spare");
	set_policies(NETNS_NONE);
	assert_arrive(open, n_open, false, "none");
	assert_arrive(closed, n_closed, false, "none");
	assert_arrive(inward, n_inward, false, "none");
	set_policies(NETNS_INTERNET);
	assert_arrive(closed, n_closed, false, "internet");
	assert_arrive(inward, n_inward, false, "internet");
	assert_arrive(open, n_open, true, "internet");
	/* Masqueraded: the world sees the host. */
	for (size_t i = 0; i < n_open; i++)
		if (open[i].protocol == IPPROTO_UDP)
			assert_string_equal(open[i].source, public_host[strchr(open[i].address, ':') != NULL]);
	assert_ok(netns_unload_policy(w.netns, &err));
	assert_arrive(closed, n_closed, true, "without rules");
	assert_arrive(inward, n_inward, true, "without rules");
}

/* What was open under one policy is not open under the next, whatever conntrack remembers. */
static void test_policy_ends_connections(_unused_ void **state)
{
	union address to;
	char byte;
	struct probe receiver = { .to = w.world, .protocol = IPPROTO_UDP, .address = "11.0.0.0", .port = 20100 };
	_close_ int world = open_receiver(&receiver);
	struct pollfd fd = { .fd = world, .events = POLLIN };
	socklen_t size = parse(receiver.address, receiver.port, &to);

	set_policies(NETNS_INTERNET);
	enter(w.slot[1].net_fd);
	_close_ int inside = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	enter(w.host);
	assert_int_equal(sendto(inside, "", 1, 0, &to.sa, size), 1);
	assert_int_equal(poll(&fd, 1, WAIT_MS), 1);
	assert_int_equal(read(world, &byte, 1), 1);
	set_policies(NETNS_NONE);
	assert_int_equal(sendto(inside, "", 1, 0, &to.sa, size), 1);
	assert_int_equal(poll(&fd, 1, WAIT_MS), 0);
	set_policies(NETNS_INTERNET);
	assert_int_equal(sendto(inside, "", 1, 0, &to.sa, size), 1);
	assert_int_equal(poll(&fd, 1, WAIT_MS), 1);
}

/* The host's users */

static void test_host_reaches_sessions(_unused_ void **state)
{
	struct probe probes[8];
	const char *const sessions[] = { w.v4[1][false], w.v6[1][false] };
	size_t n = add_probes(probes, w.host, w.slot[1].net_fd, sessions, ARRAY_SIZE(sessions));

	assert_arrive(probes, n, false, "spare");
	set_policies(NETNS_NONE);
	assert_arrive(probes, n, true, "none");
	set_policies(NETNS_INTERNET);
	assert_arrive(probes, n, true, "internet");
}

/* Whether a process of UID and GID may open a connection to a session; a refusal is told at once. */
static bool may_connect(uid_t uid, gid_t gid)
{
	struct probe listener = {
		.to = w.slot[1].net_fd, .protocol = IPPROTO_TCP, .address = w.v4[1][false], .port = 80
	};
	_close_ int server = open_receiver(&listener);
	union address to;
	socklen_t size = parse(listener.address, listener.port, &to);

	assert_ok(setegid(gid));
	assert_ok(seteuid(uid));
	_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int r = connect(fd, &to.sa, size);
	int num = errno;
	assert_ok(seteuid(0));
	assert_ok(setegid(0));
	assert_true(r == 0 || num == EHOSTUNREACH);
	return r == 0;
}

static void test_local_users(_unused_ void **state)
{
	struct netns_config config = base_config;

	set_policies(NETNS_NONE);
	assert_true(may_connect(0, STRANGER));
	assert_true(may_connect(base_config.allowed_uid, STRANGER));
	assert_false(may_connect(STRANGER, STRANGER));
	assert_false(may_connect(STRANGER, 0));
	netns_close(w.netns);
	for (config.n_uids = 0; config.n_uids < NETNS_MAX_IDS; config.n_uids++)
		config.uids[config.n_uids] = STRANGER + (uint32_t)config.n_uids;
	for (config.n_gids = 0; config.n_gids < NETNS_MAX_IDS; config.n_gids++)
		config.gids[config.n_gids] = STRANGER + 100 + (uint32_t)config.n_gids;
	open_netns(&config);
	assert_true(may_connect(STRANGER, STRANGER));
	assert_true(may_connect(STRANGER + NETNS_MAX_IDS - 1, STRANGER));
	assert_false(may_connect(STRANGER + NETNS_MAX_IDS, STRANGER));
	assert_true(may_connect(STRANGER + NETNS_MAX_IDS, STRANGER + 100));
	assert_ok(netns_unload_policy(w.netns, &err));
	assert_true(may_connect(STRANGER + NETNS_MAX_IDS, STRANGER));
}

/* A server on the session's 127.0.0.1 is reached at its address, at the given ports alone, and its answers come back. */
static void test_redirect(_unused_ void **state)
{
	struct probe listener = {
		.to = w.slot[2].net_fd, .protocol = IPPROTO_TCP, .address = "127.0.0.1", .port = CDP_PORT
	};
	struct probe unlisted = listener;
	unlisted.port = CDP_PORT + 1;
	_close_ int server = open_receiver(&listener), other = open_receiver(&unlisted);
	union address to;
	char byte = 0;

	set_policies(NETNS_NONE);
	_close_ int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_ok(connect(client, &to.sa, parse(w.v4[2][false], CDP_PORT, &to)));
	_close_ int served = accept4(server, NULL, NULL, SOCK_CLOEXEC);
	assert_ok(served);
	assert_int_equal(write(client, "a", 1), 1);
	assert_int_equal(read(served, &byte, 1), 1);
	assert_int_equal(byte, 'a');
	assert_int_equal(write(served, "b", 1), 1);
	assert_int_equal(read(client, &byte, 1), 1);
	assert_int_equal(byte, 'b');
	_close_ int refused = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(refused, &to.sa, parse(w.v4[2][false], CDP_PORT + 1, &to)), -1);
	assert_int_equal(errno, ECONNREFUSED);
}

/* Forged packets */

/* A UDP packet with any source, from session 1. */
static void send_forged(const char *source, const char *destination, uint16_t port)
{
	struct {
		union {
			struct iphdr v4;
			struct ip6_hdr v6;
		} ip;
		struct udphdr udp;
	} p = { .udp = { .source = htons(1), .dest = htons(port), .len = htons(sizeof(struct udphdr)) } };
	union address from, to;
	const socklen_t size = parse(destination, 0, &to);
	const bool v6 = to.sa.sa_family == AF_INET6;

	parse(source, 0, &from);
	if (v6) {
		p.ip.v6.ip6_flow = htonl(6U << 28);
		p.ip.v6.ip6_plen = p.udp.len;
		p.ip.v6.ip6_nxt = IPPROTO_UDP;
		p.ip.v6.ip6_hlim = 64;
		p.ip.v6.ip6_src = from.in6.sin6_addr;
		p.ip.v6.ip6_dst = to.in6.sin6_addr;
		p.udp.check = checksum(&p.ip.v6.ip6_src, 32 + sizeof(p.udp), IPPROTO_UDP + sizeof(p.udp));
	} else {
		p.ip.v4 = (struct iphdr){ .version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_UDP };
		p.ip.v4.saddr = from.in.sin_addr.s_addr;
		p.ip.v4.daddr = to.in.sin_addr.s_addr;
	}
	/* The IPv4 header, 20 bytes shorter than the other, is put right before the rest. */
	const size_t head = v6 ? sizeof(p.ip.v6) : sizeof(p.ip.v4);
	uint8_t packet[sizeof(p)];
	memcpy(packet, &p.ip, head);
	memcpy(packet + head, &p.udp, sizeof(p.udp));
	enter(w.slot[1].net_fd);
	_close_ int fd = socket(to.sa.sa_family, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
	enter(w.host);
	assert_ok(fd);
	assert_int_equal(sendto(fd, packet, head + sizeof(p.udp), 0, &to.sa, size), head + sizeof(p.udp));
}

static bool forged_arrives(const char *source, const char *destination)
{
	struct probe probe = { .to = w.world, .protocol = IPPROTO_UDP, .address = destination, .port = 20200 };
	_close_ int fd = open_receiver(&probe);
	struct pollfd event = { .fd = fd, .events = POLLIN };
	send_forged(source, destination, probe.port);
	return poll(&event, 1, WAIT_MS) == 1;
}

static void test_spoofing(_unused_ void **state)
{
	static const char *const foreign[] = { "12.0.0.1", "2600:1::1" };

	set_policies(NETNS_INTERNET);
	for (int i = 0; i < 2; i++) {
		const char *to = public_addresses[i];
		assert_true(forged_arrives(i == 0 ? w.v4[1][false] : w.v6[1][false], to));
		assert_false(forged_arrives(i == 0 ? w.v4[1][true] : w.v6[1][true], to));
		assert_false(forged_arrives(i == 0 ? w.v4[2][false] : w.v6[2][false], to));
		assert_false(forged_arrives(i == 0 ? w.v4[2][true] : w.v6[2][true], to));
		assert_false(forged_arrives(public_host[i], to));
		assert_false(forged_arrives(foreign[i], to));
	}
	assert_ok(netns_unload_policy(w.netns, &err));
	assert_true(forged_arrives(w.v4[2][false], public_addresses[0]));
	assert_true(forged_arrives(w.v6[1][true], public_addresses[1]));
	assert_true(forged_arrives(foreign[0], public_addresses[0]));
	assert_true(forged_arrives(foreign[1], public_addresses[1]));
}

/* The link */

/* Whether the host answers session 1's question who has an address of its uplink. */
static bool arp_answered(void)
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
		.source = { 100, 96, 0, 2 },
		.target = { 11, 0, 0, 1 } };
	struct sockaddr_ll to = { .sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ARP),
		.sll_halen = 6,
		.sll_addr = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff } };

	enter(w.slot[1].net_fd);
	to.sll_ifindex = (int)if_nametoindex("eth0");
	_close_ int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, htons(ETH_P_ARP));
	enter(w.host);
	assert_ok(fd);
	assert_int_equal(
		sendto(fd, &question, sizeof(question), 0, (struct sockaddr *)&to, sizeof(to)), sizeof(question));
	struct pollfd event = { .fd = fd, .events = POLLIN };
	return poll(&event, 1, WAIT_MS) == 1;
}

static void test_no_arp(_unused_ void **state)
{
	struct ifreq request = { .ifr_name = "cr1" };

	assert_false(arp_answered());
	_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_ok(ioctl(fd, SIOCGIFFLAGS, &request));
	request.ifr_flags &= ~IFF_NOARP;
	assert_ok(ioctl(fd, SIOCSIFFLAGS, &request));
	assert_true(arp_answered());
}

/* As many lines of /proc/net/if_inet6 as name LINK. */
static int count_addresses6(const char *link)
{
	char text[4096];
	int n = 0;
	read_file("/proc/self/net/if_inet6", text, sizeof(text));
	for (const char *at = text; (at = strstr(at, link)); at++)
		n++;
	return n;
}

static void test_link(_unused_ void **state)
{
	char value[8];

	assert_int_equal(count_addresses6(" cr1\n"), 1);
	read_file("/proc/sys/net/ipv6/conf/cr1/accept_ra", value, sizeof(value));
	assert_string_equal(value, "0\n");
	enter(w.slot[1].net_fd);
	int inside = count_addresses6(" eth0\n");
	read_file("/proc/sys/net/ipv6/conf/eth0/accept_ra", value, sizeof(value));
	enter(w.host);
	assert_int_equal(inside, 1);
	assert_string_equal(value, "0\n");
}

/* One session can have so many connections through the host and no more; the other one does not notice. */
static void test_flow_limit(_unused_ void **state)
{
	struct probe probes[8];
	const char *const to[] = { "11.0.0.0" };
	size_t n = add_probes(probes, w.slot[2].net_fd, w.world, to, 1);
	union address world;
	char text[32];

	set_policies(NETNS_INTERNET);
	enter(w.slot[1].net_fd);
	_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	enter(w.host);
	for (uint16_t port = 1; port < FLOWS_MAX + 200; port++) {
		socklen_t size = parse(to[0], port, &world);
		(void)!sendto(fd, "", 1, 0, &world.sa, size);
	}
	read_file("/proc/sys/net/netfilter/nf_conntrack_count", text, sizeof(text));
	assert_in_range(atoi(text), FLOWS_MAX, FLOWS_MAX + 16);
	assert_arrive(probes, n, true, "beside a busy session");
}

/* The rules are noticed to be gone when somebody flushes all rules of the host. */
static void test_flushed_rules(_unused_ void **state)
{
	struct pollfd fd = { .fd = netns_policy_fd(w.netns), .events = POLLIN };

	assert_false(netns_policy_lost(w.netns));
	assert_ok(netns_load_policy(w.netns, &err)); /* again */
	assert_int_equal(poll(&fd, 1, 0), 1);
	assert_false(netns_policy_lost(w.netns));
	assert_int_equal(poll(&fd, 1, 0), 0);

	struct nft_ctx *nft = nft_ctx_new(NFT_CTX_DEFAULT);
	assert_ok(nft_run_cmd_from_buffer(nft, "add table ip other"));
	assert_false(netns_policy_lost(w.netns));
	assert_ok(nft_run_cmd_from_buffer(nft, "flush ruleset"));
	nft_ctx_free(nft);
	assert_int_equal(poll(&fd, 1, 0), 1);
	assert_true(netns_policy_lost(w.netns));
	assert_false(netns_policy_lost(w.netns));
}

/* Failures */

static void test_refusals(_unused_ void **state)
{
	struct netns_slot slot = { .slot = 77 };
	const uint16_t ports[NETNS_MAX_PORTS + 1] = { 0 };
	const int before = open_fds();

	assert_int_equal(netns_make(w.netns, 1, NULL, 0, &slot, &err), -EEXIST);
	assert_string_equal(err.step, "veth");
	assert_string_equal(err.object, "cr1");
	assert_true(netns_slot_exists(w.netns, 1));
	assert_int_equal(netns_make(w.netns, 0, NULL, 0, &slot, &err), -EINVAL);
	assert_int_equal(netns_make(w.netns, base_config.max_slots + 1, NULL, 0, &slot, &err), -EINVAL);
	assert_int_equal(netns_make(w.netns, 3, ports, ARRAY_SIZE(ports), &slot, &err), -EINVAL);
	assert_int_equal(slot.slot, 77);
	slot.ifindex = 1 << 30;
	assert_int_equal(netns_set_policy(w.netns, &slot, NETNS_NONE, &err), -ENODEV);
	assert_int_equal(open_fds(), before);
}

/* Each call that making a slot needs fails once; each time there is an error and nothing else. */
static void test_every_call_fails_once(_unused_ void **state)
{
	const uint16_t port = CDP_PORT;
	const int before = open_fds();
	struct netns_slot slot;
	unsigned n = 0;

	for (int r = -1; r < 0;) {
		call_count = 0;
		failing_call = ++n;
		err = (struct err){ 0 };
		r = netns_make(w.netns, 3, &port, 1, &slot, &err);
		failing_call = 0;
		if (r == 0)
			break;
		assert_int_equal(err.num, r);
		assert_true(err.step[0] && err.object[0]);
		assert_int_equal(open_fds(), before);
		/* Where the answer to the making is lost, the link goes with its namespace, a moment later. */
		if (netns_slot_exists(w.netns, 3))
			wait_until_gone(1U << 3);
		assert_false(netns_slot_exists(w.netns, 3));
		assert_ok(netns_gone(w.netns, ignore_gone, NULL));
		assert_int_equal(waitpid(-1, NULL, WNOHANG | __WALL), -1);
	}
	assert_in_range(n, 20, 40); /* each of some two dozen calls was reached */
	assert_int_equal(open_fds(), before + 2);
	netns_slot_release(&slot);
	wait_until_gone(1U << 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names_and_numbers),
		cmocka_unit_test(test_bad_configuration),
#define SESSION_TEST(test) cmocka_unit_test_setup_teardown(test, make_sessions, end_sessions)
		SESSION_TEST(test_link),
		SESSION_TEST(test_no_arp),
		SESSION_TEST(test_walls),
		SESSION_TEST(test_world),
		SESSION_TEST(test_policy_ends_connections),
		SESSION_TEST(test_spoofing),
		SESSION_TEST(test_flow_limit),
		SESSION_TEST(test_host_reaches_sessions),
		SESSION_TEST(test_local_users),
		SESSION_TEST(test_redirect),
		SESSION_TEST(test_flushed_rules),
		SESSION_TEST(test_refusals),
		SESSION_TEST(test_every_call_fails_once),
	};
	if (geteuid() != 0)
		return 77; /* skipped */
	return cmocka_run_group_tests_name("netns", tests, set_stage, NULL);
}
