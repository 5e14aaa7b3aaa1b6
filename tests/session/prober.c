/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a hostile workload does to the network, one try per call; static, so that it runs in any image.
 *   prober tcp|udp|icmp ADDRESS PORT   prints "PROTOCOL ADDRESS: reached" when an answer came, else why not
 *   prober serve PORT                  answers TCP and UDP, prints a line for each
 *   prober stream PORT                 takes and gives bytes without end, to each who connects
 *   prober mute PORT                   lets them connect, and takes nothing
 *   prober pull|push ADDRESS PORT MS   takes or gives so long: "pull ADDRESS: BYTES", those that arrived
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { TIMEOUT_MS = 700, PIECE = 1 << 16 };

static char piece[PIECE];

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
	return htons((uint16_t) ~(sum + (sum >> 16)));
}

static int open_socket(const char *protocol, int family)
{
	if (strcmp(protocol, "tcp") == 0)
		return socket(family, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (strcmp(protocol, "udp") == 0)
		return socket(family, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	return socket(family, SOCK_RAW | SOCK_NONBLOCK, family == AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6);
}

static long now_ms(void);

/* Whether ADDRESS answers the echo that was sent; whatever else comes to a raw socket is told, and no answer. */
static const char *echo_answer(int fd, const struct sockaddr_storage *address)
{
	static char other[64];
	const int is_v4 = address->ss_family == AF_INET;
	const long end = now_ms() + TIMEOUT_MS;
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint8_t buf[1500];
	const char *said = "no answer";

	for (long left; (left = end - now_ms()) > 0 && poll(&p, 1, (int)left) > 0;) {
		ssize_t n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
		if (n < 0 && errno != EAGAIN)
			return strerror(errno);
		/* The socket is connected: it hears of its peer alone. IPv4 gives the IP header, too. */
		size_t at = is_v4 && n > 0 ? (size_t)(buf[0] & 15) * 4 : 0;
		if (n < (ssize_t)at + 8)
			continue;
		if (buf[at] == (is_v4 ? ICMP_ECHOREPLY : ICMP6_ECHO_REPLY) && memcmp(buf + at + 4, "\x12\x34\0\1", 4) == 0)
			return "reached";
		if (buf[at] != (is_v4 ? ICMP_ECHO : ICMP6_ECHO_REQUEST)) {
			snprintf(other, sizeof(other), "no answer, but type %u code %u", buf[at], buf[at + 1]);
			said = other;
		}
	}
	return said;
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
	if (is_icmp)
		return echo_answer(fd, &to);
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
	if (bind(tcp, (void *)&any, sizeof(any)) < 0 || listen(tcp, 16) < 0 ||
		bind(udp, (void *)&any, sizeof(any)) < 0)
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

/* One connection, both ways. */
static void give_and_take(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN | POLLOUT };

	while (poll(&p, 1, -1) > 0) {
		ssize_t taken = recv(fd, piece, sizeof(piece), MSG_DONTWAIT);
		if (taken == 0 || (taken < 0 && errno != EAGAIN))
			return;
		send(fd, piece, sizeof(piece), MSG_DONTWAIT | MSG_NOSIGNAL);
	}
}

static int stream(int port, bool is_mute)
{
	struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };
	int tcp = socket(AF_INET6, SOCK_STREAM, 0);

	signal(SIGCHLD, SIG_IGN);
	if (bind(tcp, (void *)&any, sizeof(any)) < 0 || listen(tcp, 16) < 0)
		return 1;
	puts("serving");
	fflush(stdout);
	for (;;) {
		int fd = accept(tcp, NULL, NULL);
		if (fork() == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			while (is_mute)
				pause();
			give_and_take(fd);
			_exit(0);
		}
		close(fd);
	}
}

static long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Bytes that came, or that the other side has acknowledged. */
static long long move(int is_push, const char *address, int port, long ms)
{
	const struct timeval patience = { .tv_usec = 100000 };
	struct sockaddr_storage to;
	socklen_t size = parse(address, port, &to);
	int fd = socket(to.ss_family, SOCK_STREAM, 0), queued = 0;
	const long end = now_ms() + ms;
	long long moved = 0;

	if (connect(fd, (void *)&to, size) < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	while (now_ms() < end) {
		ssize_t n =
			is_push ? send(fd, piece, sizeof(piece), MSG_NOSIGNAL) : recv(fd, piece, sizeof(piece), 0);
		if (n > 0)
			moved += n;
		else if (n == 0 || errno != EAGAIN)
			return -1;
	}
	if (is_push)
		ioctl(fd, TIOCOUTQ, &queued);
	return moved - queued;
}

int main(int argc, char **argv)
{
	if (argc == 3 && (strcmp(argv[1], "stream") == 0 || strcmp(argv[1], "mute") == 0))
		return stream(atoi(argv[2]), strcmp(argv[1], "mute") == 0);
	if (argc == 5) {
		long long bytes = move(strcmp(argv[1], "push") == 0, argv[2], atoi(argv[3]), atol(argv[4]));
		printf("%s %s: %lld\n", argv[1], argv[2], bytes);
		return bytes < 0;
	}
	if (argc == 3 && strcmp(argv[1], "serve") == 0)
		return serve(atoi(argv[2]));
	if (argc != 4)
		return 2;
	printf("%s %s: %s\n", argv[1], argv[2], try(argv[1], argv[2], atoi(argv[3])));
	return 0;
}
