/* SPDX-License-Identifier: Apache-2.0 */
#include "netns_stage.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <net/if.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <sched.h>
#include <sys/wait.h>

#include "netns/rtnl.h"

const struct netns_config stage_config = {
	.id_base = 524288,
	.max_slots = 4,
	.ipv4 = { 12, 0, 0, 0 },
	.ipv6 = { 0x26, 0, 0, 2 },
	.has_ipv6 = true,
	.allowed_uid = 990,
};

struct stage stage;

const char *const public_addresses[N_PUBLIC] = { "11.0.0.0", "2600::" };

/* One of each range that can be an address at all. */
const char *const private_addresses[N_PRIVATE] = { "0.1.0.0", "10.1.1.0", "100.100.100.200", "168.63.129.16",
	"169.254.169.254", "172.16.1.0", "192.0.0.192", "192.0.2.0", "192.88.99.0", "192.168.1.0", "198.19.0.0",
	"198.51.100.0", "203.0.113.0", "240.0.0.2", "64:ff9b::a01:100",
	"2001:0:a01:100::", "2001:db8::", "2002:a01:100::", "3fff::", "fd00:ec2::254", "fec0::" };

void stage_assert_ok(int r, const char *what)
{
	char text[256];
	if (r < 0)
		fail_msg("%s: %d, %s", what, r,
			stage.err.num ? err_text(&stage.err, text, sizeof(text)) : strerror(errno));
}

int stage_count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = -1; /* its own */
	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

void file_write(const char *path, const char *value)
{
	_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_ok(fd);
	assert_int_equal(write(fd, value, strlen(value)), strlen(value));
}

void file_read(const char *path, char *buf, size_t size)
{
	_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_ok(fd);
	ssize_t n = read(fd, buf, size - 1);
	assert_true(n >= 0);
	buf[n] = '\0';
}

/* Addresses */

socklen_t address_parse(const char *text, uint16_t port, union address *ret)
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

static uint8_t *address_bytes(union address *address)
{
	return address->sa.sa_family == AF_INET ? (uint8_t *)&address->in.sin_addr : address->in6.sin6_addr.s6_addr;
}

const char *address_text(const union address *address, char text[static INET6_ADDRSTRLEN])
{
	union address copy = *address;
	return inet_ntop(copy.sa.sa_family, address_bytes(&copy), text, INET6_ADDRSTRLEN);
}

const char *address_of_host(const char *of_world, char text[static INET6_ADDRSTRLEN])
{
	union address a;
	address_parse(of_world, 0, &a);
	address_bytes(&a)[a.sa.sa_family == AF_INET ? 3 : 15]++;
	return address_text(&a, text);
}

uint16_t checksum(const void *data, size_t size, uint32_t sum)
{
	const uint8_t *bytes = data;
	for (size_t i = 0; i < size; i++)
		sum += i % 2 ? bytes[i] : (uint32_t)bytes[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

/* Sockets */

void enter(int net_fd)
{
	assert_ok(setns(net_fd, CLONE_NEWNET));
}

int socket_in(int net_fd, int family, int type, int protocol)
{
	enter(net_fd);
	int fd = socket(family, type | SOCK_CLOEXEC, protocol);
	enter(stage.host);
	assert_ok(fd);
	return fd;
}

static int probe_socket(int net_fd, int family, int protocol)
{
	int type = protocol == IPPROTO_TCP ? SOCK_STREAM : protocol == IPPROTO_UDP ? SOCK_DGRAM : SOCK_RAW;
	if (protocol == IPPROTO_ICMP && family == AF_INET6)
		protocol = IPPROTO_ICMPV6;
	return socket_in(net_fd, family, type | SOCK_NONBLOCK, protocol);
}

int receiver_in(int net_fd, int protocol, const char *address, uint16_t port)
{
	union address a;
	socklen_t size = address_parse(address, protocol == IPPROTO_ICMP ? 0 : port, &a);
	const int one = 1;
	int fd = probe_socket(net_fd, a.sa.sa_family, protocol);

	assert_ok(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)));
	assert_ok(bind(fd, &a.sa, size));
	if (protocol == IPPROTO_TCP)
		assert_ok(listen(fd, 4));
	return fd;
}

bool is_readable(int fd)
{
	struct pollfd event = { .fd = fd, .events = POLLIN };
	return poll(&event, 1, WAIT_MS) == 1;
}

bool becomes_readable(int fd)
{
	struct pollfd event = { .fd = fd, .events = POLLIN };
	return poll(&event, 1, GONE_MS) == 1;
}

/* Probes */

struct echo {
	struct icmphdr head;
	uint16_t port;
};

static int send_probe(const struct probe *probe)
{
	union address a;
	socklen_t size = address_parse(probe->address, probe->protocol == IPPROTO_ICMP ? 0 : probe->port, &a);
	int fd = probe_socket(probe->from, a.sa.sa_family, probe->protocol);
	struct echo echo = { .head.type = a.sa.sa_family == AF_INET ? ICMP_ECHO : ICMP6_ECHO_REQUEST,
		.port = probe->port };

	echo.head.checksum = checksum(&echo, sizeof(echo), 0); /* the kernel does ICMPv6's itself */
	/* Where there is no way, or a refusal, it does not arrive; that is all we ask. */
	if (probe->protocol == IPPROTO_TCP)
		(void)!connect(fd, &a.sa, size);
	else
		(void)!sendto(fd, &echo, sizeof(echo), 0, &a.sa, size);
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
	for (socklen_t size = sizeof(from);
		recvfrom(probe->receiver, packet, sizeof(packet), 0, &from.sa, &size) >= 0; size = sizeof(from)) {
		address_text(&from, probe->source);
		if (probe->protocol == IPPROTO_UDP)
			return true;
		/* A raw IPv4 socket gives the IP header too. */
		size_t head = from.sa.sa_family == AF_INET ? sizeof(struct iphdr) : 0;
		const struct echo *echo = (void *)(packet + head);
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
		struct probe *probe = &probes[i];
		probe->arrived = false;
		probe->port = (uint16_t)(20000 + i);
		probe->receiver = receiver_in(probe->to, probe->protocol, probe->address, probe->port);
		fds[i] = (struct pollfd){ .fd = probe->receiver, .events = POLLIN };
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

void assert_arrive(struct probe *probes, size_t n, bool expected, const char *when)
{
	run_probes(probes, n);
	for (size_t i = 0; i < n; i++)
		if (probes[i].arrived != expected)
			fail_msg("%s: %s %s, protocol %d", when, probes[i].address,
				expected ? "did not arrive" : "arrived", probes[i].protocol);
}

size_t probes_add(struct probe *probes, int from, int to, const char *const *addresses, size_t n)
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

static void send_all(struct rtnl_batch *batch, struct rtnl_link *link)
{
	assert_ok(rtnl_send(batch, link, &stage.err, "stage"));
	rtnl_batch_done(batch);
}

/* Up, without any discovery of neighbours that could make a packet late. */
static void set_up(int ifindex)
{
	struct rtnl_batch batch = { 0 };
	const bool loopback = ifindex == 1;
	if (!loopback)
		rtnl_no_link_local(&batch, ifindex);
	rtnl_set_up(&batch, ifindex);
	send_all(&batch, NULL);
}

/* The world's addresses, or the host's beside them; and where the other end of the link is. */
static void add_addresses(int ifindex, bool host, const char *const *addresses, size_t n, const mac_address other)
{
	for (size_t i = 0; i < n; i++) {
		struct rtnl_batch batch = { 0 };
		char text[INET6_ADDRSTRLEN];
		union address of_world, of_host;
		address_parse(addresses[i], 0, &of_world);
		address_parse(address_of_host(addresses[i], text), 0, &of_host);
		const int family = of_world.sa.sa_family;
		rtnl_add_address(&batch, ifindex, family, address_bytes(host ? &of_host : &of_world));
		rtnl_add_neighbour(&batch, ifindex, family, address_bytes(host ? &of_world : &of_host), other);
		if (!host && addresses == public_addresses)
			rtnl_add_default_route(&batch, ifindex, family, address_bytes(&of_host));
		send_all(&batch, NULL);
	}
}

int stage_build(_unused_ void **state)
{
	static const mac_address host_mac = { 2, 0, 0, 0, 0, 1 }, world_mac = { 2, 0, 0, 0, 0, 2 };
	struct rtnl_batch batch = { 0 };
	struct rtnl_link link;

	assert_ok(unshare(CLONE_NEWNET));
	assert_ok(stage.world = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
	/* How often an earlier test was told of an error is nothing to a later one. */
	file_write("/proc/sys/net/ipv4/icmp_ratelimit", "0");
	file_write("/proc/sys/net/ipv6/icmp/ratelimit", "0");
	set_up(1);
	assert_ok(unshare(CLONE_NEWNET));
	assert_ok(stage.host = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
	file_write("/proc/sys/net/ipv4/ip_forward", "1");
	file_write("/proc/sys/net/ipv6/conf/all/forwarding", "1");
	/* Spoofed packets shall meet our rules, not the kernel's filter, which an operator may have turned off. */
	file_write("/proc/sys/net/ipv4/conf/all/rp_filter", "0");
	file_write("/proc/sys/net/ipv4/conf/default/rp_filter", "0");
	file_write("/proc/sys/net/ipv4/icmp_ratelimit", "0");
	file_write("/proc/sys/net/ipv6/icmp/ratelimit", "0");
	set_up(1);
	rtnl_add_veth(&batch, "up0", 0, host_mac, "world0", world_mac, stage.world);
	rtnl_get_link(&batch, "up0");
	send_all(&batch, &link);
	stage.uplink = link.ifindex;
	set_up(link.ifindex);
	add_addresses(link.ifindex, true, public_addresses, N_PUBLIC, world_mac);
	add_addresses(link.ifindex, true, private_addresses, N_PRIVATE, world_mac);
	enter(stage.world);
	set_up(link.peer_ifindex);
	add_addresses(link.peer_ifindex, false, public_addresses, N_PUBLIC, host_mac);
	add_addresses(link.peer_ifindex, false, private_addresses, N_PRIVATE, host_mac);
	enter(stage.host);
	return 0;
}

void stage_load(const struct netns_config *config)
{
	assert_ok(netns_open(config, &stage.netns, &stage.err));
	assert_ok(netns_load_policy(stage.netns, &stage.err));
}

void stage_set_policy(enum netns_policy policy)
{
	for (int i = 1; i <= 2; i++)
		assert_ok(netns_set_policy(stage.netns, &stage.slot[i], policy, &stage.err));
}

int stage_open(_unused_ void **state)
{
	const uint16_t ports[] = { 5900, CDP_PORT };

	stage.err = (struct err){ 0 };
	stage.n_fds = stage_count_fds();
	stage_load(&stage_config);
	for (uint32_t i = 1; i <= 2; i++) {
		assert_ok(netns_make(
			stage.netns, i, NETNS_SPARE, ports, ARRAY_SIZE(ports), &stage.slot[i], &stage.err));
		for (int host = 0; host < 2; host++) {
			uint8_t bytes[16];
			netns_ipv4(&stage_config, i, host, bytes);
			inet_ntop(AF_INET, bytes, stage.v4[i][host], INET6_ADDRSTRLEN);
			netns_ipv6(&stage_config, i, host, bytes);
			inet_ntop(AF_INET6, bytes, stage.v6[i][host], INET6_ADDRSTRLEN);
		}
	}
	return 0;
}

static void note_gone(uint32_t slot, void *arg)
{
	*(unsigned *)arg |= 1U << slot;
}

void stage_wait_until_gone(unsigned slots)
{
	struct pollfd event = { .fd = netns_monitor_fd(stage.netns), .events = POLLIN };
	for (unsigned gone = 0; gone != slots;) {
		assert_int_equal(poll(&event, 1, GONE_MS), 1);
		assert_ok(netns_gone(stage.netns, note_gone, &gone));
		assert_int_equal(gone & ~slots, 0);
	}
}

int stage_close(_unused_ void **state)
{
	assert_ok(netns_unload_policy(stage.netns, &stage.err));
	for (uint32_t i = 1; i <= 2; i++) {
		assert_true(netns_slot_exists(stage.netns, i));
		netns_slot_release(&stage.slot[i]);
	}
	stage_wait_until_gone(1U << 1 | 1U << 2);
	for (uint32_t i = 1; i <= 2; i++)
		assert_false(netns_slot_exists(stage.netns, i));
	netns_close(stage.netns);
	assert_int_equal(stage_count_fds(), stage.n_fds);
	assert_int_equal(waitpid(-1, NULL, WNOHANG | __WALL), -1);
	struct if_nameindex *links = if_nameindex();
	assert_non_null(links);
	assert_true(links[0].if_name && links[1].if_name && !links[2].if_name); /* lo and up0 */
	if_freenameindex(links);
	return 0;
}
