/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a hostile workload does to the network, one try per call; static, so that it runs in any image.
 *   prober tcp|udp|icmp ADDRESS PORT   prints "PROTOCOL ADDRESS: reached" when an answer came, else why not
 *   prober serve PORT                  answers TCP and UDP, prints a line for each
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { TIMEOUT_MS = 700 };

static socklen_t parse(const char *text, int port, struct sockaddr_storage *ret)
{
	struct sockaddr_in *v4 = (void *)ret;
	struct sockaddr_in6 *v6 = (void *)ret;

	memset(ret, 0, sizeof(*ret));
	if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t)port);
		return sizeof(*v4);
	}
	if (inet_pton(AF_INET6, text, &v6->sin6_addr) != 1)
		exit(2);
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons((uint16_t)port);
	return sizeof(*v6);
}

static uint16_t checksum(const uint8_t *p, size_t n)
{
	uint32_t sum = 0;

	for (size_t i = 0; i + 1 < n; i += 2)
		sum += (uint32_t)(p[i] << 8 | p[i + 1]);
	sum = (sum >> 16) + (sum & 0xffff);
	return htons((uint16_t)~(sum + (sum >> 16)));
}

static int open_socket(const char *protocol, int family)
{
	if (strcmp(protocol, "tcp") == 0)
		return socket(family, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (strcmp(protocol, "udp") == 0)
		return socket(family, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	return socket(family, SOCK_RAW | SOCK_NONBLOCK, family == AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6);
}

static const char *try(const char *protocol, const char *address, int port)
{
	struct sockaddr_storage to;
	socklen_t size = parse(address, port, &to);
	uint8_t echo[8] = { to.ss_family == AF_INET ? ICMP_ECHO : ICMP6_ECHO_REQUEST, 0, 0, 0, 0x12, 0x34, 0, 1 };
	int is_tcp = strcmp(protocol, "tcp") == 0, is_icmp = strcmp(protocol, "icmp") == 0;
	int fd = open_socket(protocol, to.ss_family);

	if (fd < 0 || (connect(fd, (void *)&to, size) < 0 && errno != EINPROGRESS))
		return strerror(errno);
	if (is_icmp && to.ss_family == AF_INET) {
		uint16_t sum = checksum(echo, sizeof(echo));
		memcpy(echo + 2, &sum, sizeof(sum));
	}
	if (!is_tcp && send(fd, echo, sizeof(echo), 0) < 0)
		return strerror(errno);
	struct pollfd p = { .fd = fd, .events = is_tcp ? POLLOUT : POLLIN };
	if (poll(&p, 1, TIMEOUT_MS) == 0)
		return "no answer";
	int error = 0;
	socklen_t n = sizeof(error);
	getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &n);
	return error ? strerror(error) : "reached";
}

static int serve(int port)
{
	struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };
	int tcp = socket(AF_INET6, SOCK_STREAM, 0), udp = socket(AF_INET6, SOCK_DGRAM, 0), one = 1;
	char buf[512];

	setsockopt(tcp, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(tcp, (void *)&any, sizeof(any)) < 0 || listen(tcp, 16) < 0 || bind(udp, (void *)&any, sizeof(any)) < 0)
		return 1;
	puts("serving");
	for (;;) {
		struct pollfd p[2] = { { .fd = tcp, .events = POLLIN }, { .fd = udp, .events = POLLIN } };
		struct sockaddr_storage from;
		socklen_t size = sizeof(from);
		fflush(stdout);
		poll(p, 2, -1);
		if (p[0].revents) {
			int fd = accept(tcp, NULL, NULL);
			puts("got tcp");
			close(fd);
		}
		if (p[1].revents) {
			ssize_t n = recvfrom(udp, buf, sizeof(buf), 0, (void *)&from, &size);
			puts("got udp");
			if (n > 0)
				sendto(udp, buf, (size_t)n, 0, (void *)&from, size);
		}
	}
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "serve") == 0)
		return serve(atoi(argv[2]));
	if (argc != 4)
		return 2;
	printf("%s %s: %s\n", argv[1], argv[2], try(argv[1], argv[2], atoi(argv[3])));
	return 0;
}
