/* SPDX-License-Identifier: Apache-2.0 */
/* The part of escaper.c that is about the kernel's interfaces rather than its files: calls, sockets, privilege. */
#pragma once

#include "escape.h"

#include <linux/capability.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <termios.h>
#include <time.h>

static char target_buffer[4096];
static const char *abstract_name = "";

/* ---- system calls that no session needs ---- */

static long old_architecture(const void *arg)
{
	long r = 20; /* getpid of i386 */

	(void)arg;
	__asm__ volatile("int $0x80" : "+a"(r) : : "memory", "r8", "r9", "r10", "r11");
	return r;
}

static long x32_call(const void *arg)
{
	(void)arg;
	return syscall(0x40000000 | SYS_getpid);
}

static void group_calls(void)
{
	struct timeval now;
	struct timespec clock;
	char *const buffer = target_buffer;

	gettimeofday(&now, NULL);
	clock_gettime(CLOCK_REALTIME, &clock);
	/* Arguments that change nothing where the call is allowed after all. */
	say(syscall(SYS_settimeofday, &now, NULL), "settimeofday");
	say(syscall(SYS_clock_settime, CLOCK_REALTIME, &clock), "clock_settime");
	say(syscall(SYS_reboot, 0xfee1dead, 672274793, 0 /* CAD_OFF */, NULL), "reboot");
	const struct {
		const char *name;
		long number, a, b, c, d;
	} calls[] = {
		{ "adjtimex", SYS_adjtimex, (long)buffer, 0, 0, 0 },
		{ "clock_adjtime", SYS_clock_adjtime, CLOCK_REALTIME, (long)buffer, 0, 0 },
		{ "keyctl", SYS_keyctl, 0, -3, 1, 0 },
		{ "add_key", SYS_add_key, (long)"user", (long)"escape", (long)"x", 1 },
		{ "request_key", SYS_request_key, (long)"user", (long)"escape", 0, 0 },
		{ "bpf", SYS_bpf, 0, (long)buffer, 64, 0 },
		{ "perf_event_open", SYS_perf_event_open, (long)buffer, 0, -1, -1 },
		{ "io_uring_setup", 425, 1, (long)buffer, 0, 0 },
		{ "io_uring_enter", 426, -1, 0, 0, 0 },
		{ "userfaultfd", SYS_userfaultfd, 0, 0, 0, 0 },
		{ "kexec_load", SYS_kexec_load, 0, 0, 0, 0 },
		{ "kexec_file_load", SYS_kexec_file_load, -1, -1, 0, 0 },
		{ "init_module", SYS_init_module, (long)buffer, 1, (long)"", 0 },
		{ "finit_module", SYS_finit_module, -1, (long)"", 0, 0 },
		{ "delete_module", SYS_delete_module, (long)"escape_none", 0, 0, 0 },
		{ "iopl", SYS_iopl, 3, 0, 0, 0 },
		{ "ioperm", SYS_ioperm, 0x80, 1, 1, 0 },
		{ "swapon", SYS_swapon, (long)"/none", 0, 0, 0 },
		{ "swapoff", SYS_swapoff, (long)"/none", 0, 0, 0 },
		{ "acct", SYS_acct, (long)"/none", 0, 0, 0 },
		{ "quotactl", SYS_quotactl, 0x800007 << 8, (long)"/none", 0, (long)buffer },
		{ "quotactl_fd", 443, 0, 0, 0, 0 },
		{ "syslog", SYS_syslog, 3, (long)buffer, 100, 0 },
		{ "fanotify_init", SYS_fanotify_init, 0, 0, 0, 0 },
		{ "vhangup", SYS_vhangup, 0, 0, 0, 0 },
		{ "modify_ldt", SYS_modify_ldt, 0, (long)buffer, 16, 0 },
		{ "memfd_secret", 447, 0, 0, 0, 0 },
		{ "process_madvise", 440, -1, 0, 0, 0 },
		{ "kcmp", SYS_kcmp, 1, 1, 0, 0 },
		{ "mbind", SYS_mbind, 0, 0, 0, 0 },
		{ "set_mempolicy", SYS_set_mempolicy, 0, 0, 0, 0 },
		{ "clone3", 435, 0, 0, 0, 0 },
		{ "fspick", 433, AT_FDCWD, (long)"/", 0, 0 },
		{ "statmount", 457, 0, 0, 0, 0 },
		{ "listmount", 458, 0, 0, 0, 0 },
		{ "cachestat", 451, 0, (long)buffer, (long)buffer, 0 },
		{ "lookup_dcookie", SYS_lookup_dcookie, 0, (long)buffer, 1, 0 },
		{ "uselib", SYS_uselib, (long)"/none", 0, 0, 0 },
		{ "ustat", SYS_ustat, 0, (long)buffer, 0, 0 },
		{ "sysfs", SYS_sysfs, 3, 0, 0, 0 },
		{ "vmsplice", SYS_vmsplice, -1, 0, 0, 0 },
		{ "personality READ_IMPLIES_EXEC", SYS_personality, 0x0400000, 0, 0, 0 },
		{ "a number of the future", 999, 0, 0, 0, 0 },
	};
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		say(syscall(calls[i].number, calls[i].a, calls[i].b, calls[i].c, calls[i].d, 0), "%s", calls[i].name);
	say(in_child(old_architecture, NULL), "int 0x80");
	say(in_child(x32_call, NULL), "x32");
}

/* ---- sockets ---- */

static void group_sockets(void)
{
	static const int types[] = { SOCK_STREAM, SOCK_DGRAM, SOCK_RAW, SOCK_RDM, SOCK_SEQPACKET, SOCK_PACKET };
	int pair[2];

	for (int family = 0; family < 64; family++)
		for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
			int fd = family == AF_NETLINK ? -1 : socket(family, types[i], 0);
			if (fd >= 0)
				printf("family %d\n", family);
			close(fd);
			if (socketpair(family, types[i], 0, pair) == 0) {
				printf("pair %d\n", family);
				close(pair[0]);
				close(pair[1]);
			}
		}
	for (int protocol = 0; protocol < 32; protocol++) {
		int fd = socket(AF_NETLINK, SOCK_RAW, protocol);
		if (fd >= 0)
			printf("netlink %d\n", protocol);
		close(fd);
	}
	/* A name that a process of the host listens at. */
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	snprintf(name.sun_path + 1, sizeof(name.sun_path) - 1, "%s", abstract_name);
	socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(abstract_name));
	for (size_t i = 0; i < 2; i++)
		say(connect(socket(AF_UNIX, types[i], 0), (void *)&name, size),
			"abstract socket of the host, type %d", types[i]);
	/* Tables of rules: iptables, arptables, ebtables, multicast routes. */
	static const int replace[] = { 64, 96, 128, 200 };
	for (size_t i = 0; i < sizeof(replace) / sizeof(replace[0]); i++)
		say(setsockopt(socket(AF_INET, SOCK_DGRAM, 0), IPPROTO_IP, replace[i], target_buffer, 256),
			"setsockopt %d", replace[i]);
}

/* ---- netlink: other network namespaces are known by number, because one's link leads there ---- */

struct request {
	struct nlmsghdr header;
	struct ifinfomsg link;
	char attributes[256];
};

static void put(struct request *request, unsigned short type, const void *data, size_t size)
{
	struct nlattr *attribute = (void *)((char *)request + NLMSG_ALIGN(request->header.nlmsg_len));

	attribute->nla_type = type;
	attribute->nla_len = (unsigned short)(NLA_HDRLEN + size);
	memcpy((char *)attribute + NLA_HDRLEN, data, size);
	request->header.nlmsg_len = NLMSG_ALIGN(request->header.nlmsg_len) + NLA_ALIGN(attribute->nla_len);
}

/* Sends and reads the answer: 0, or -1 with the errno in it. */
static long ask(int fd, struct request *request)
{
	static char answer[65536];

	if (send(fd, request, request->header.nlmsg_len, 0) < 0)
		return -1;
	if (recv(fd, answer, sizeof(answer), 0) < 0)
		return -1;
	const struct nlmsghdr *header = (void *)answer;
	const struct nlmsgerr *error = (void *)(answer + NLMSG_HDRLEN);
	if (header->nlmsg_type != NLMSG_ERROR || error->error == 0)
		return 0;
	errno = -error->error;
	return -1;
}

static struct request request_for(unsigned short type, int flags, int index)
{
	struct request request = { .header = { NLMSG_LENGTH(sizeof(struct ifinfomsg)), type,
					   (unsigned short)(NLM_F_REQUEST | NLM_F_ACK | flags), 1, 0 },
		.link = { .ifi_family = AF_UNSPEC, .ifi_index = index } };

	return request;
}

static void group_netlink(void)
{
	int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE), one = 1, lo = 1;

	say(fd, "socket");
	if (fd < 0)
		return;
	say(setsockopt(fd, SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, &one, sizeof(one)), "listen everywhere");
	for (int nsid = 0; nsid < 8; nsid++) {
		struct request get = request_for(RTM_GETLINK, 0, 1);
		put(&get, IFLA_TARGET_NETNSID, &nsid, sizeof(nsid));
		say(ask(fd, &get), "look at a link in namespace %d", nsid);
		struct request set = request_for(RTM_SETLINK, 0, 1);
		put(&set, IFLA_TARGET_NETNSID, &nsid, sizeof(nsid));
		put(&set, IFLA_IFALIAS, "escaped", 7);
		say(ask(fd, &set), "change a link in namespace %d", nsid);
		/* A tunnel whose lower end is a link over there. */
		struct request new = request_for(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, 0);
		char info[32] = { 0 };
		struct nlattr kind = { NLA_HDRLEN + 8, IFLA_INFO_KIND };
		memcpy(info, &kind, sizeof(kind));
		memcpy(info + NLA_HDRLEN, "macvlan", 8);
		put(&new, IFLA_LINKINFO, info, NLA_HDRLEN + 8);
		put(&new, IFLA_LINK, &lo, sizeof(lo));
		put(&new, IFLA_LINK_NETNSID, &nsid, sizeof(nsid));
		say(ask(fd, &new), "make a link onto one in namespace %d", nsid);
		struct request give = request_for(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, 0);
		memcpy(info + NLA_HDRLEN, "dummy\0\0", 8);
		put(&give, IFLA_LINKINFO, info, NLA_HDRLEN + 8);
		put(&give, IFLA_TARGET_NETNSID, &nsid, sizeof(nsid));
		say(ask(fd, &give), "make a link in namespace %d", nsid);
	}
}

/* ---- terminals ---- */

static void group_terminal(void)
{
	static const struct {
		const char *name;
		unsigned long request;
	} requests[] = { { "TIOCSTI", 0x5412 }, { "TIOCLINUX", 0x541c }, { "TIOCCONS", 0x541d },
		{ "VT_ACTIVATE", 0x5606 }, { "KDSKBENT", 0x4b47 }, { "TIOCVHANGUP", 0x5437 } };
	int master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC), unlocked = 0, number = -1;
	char path[32];

	say(ioctl(master, TIOCSPTLCK, &unlocked), "terminal");
	ioctl(master, TIOCGPTN, &number);
	snprintf(path, sizeof(path), "/dev/pts/%d", number);
	setsid();
	int slave = open(path, O_RDWR | O_CLOEXEC);
	say(ioctl(slave, TIOCSCTTY, 0), "controlling terminal");
	target_buffer[0] = 3;
	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++)
		for (int high = 0; high < 3; high++) {
			const unsigned long bits[] = { 0, 1UL << 32, 0xdeadbeefUL << 32 };
			say(syscall(SYS_ioctl, slave, bits[high] | requests[i].request, target_buffer), "%s %d",
				requests[i].name, high);
		}
}

/* ---- capabilities, ids, limits ---- */

static long raise_all(void)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2] = { { ~0U, ~0U, ~0U }, { 0x1ff, 0x1ff, 0x1ff } };

	return syscall(SYS_capset, &header, data);
}

static void print_status(void)
{
	char line[256];
	FILE *status = fopen("/proc/self/status", "r");

	while (status && fgets(line, sizeof(line), status))
		if (strncmp(line, "Cap", 3) == 0 || strncmp(line, "Uid", 3) == 0 ||
			strncmp(line, "NoNewPrivs", 10) == 0)
			printf("%s", line);
	if (status)
		fclose(status);
}

static long run_program(const void *path)
{
	char *const argv[] = { (char *)(uintptr_t)path, (char *)(uintptr_t) "status", NULL }, *const envp[] = {
		NULL
	};

	return execve(path, argv, envp);
}

static void group_privilege(void)
{
	const struct {
		uint32_t magic, permitted, inheritable, permitted_high, inheritable_high;
	} file_caps = { 0x02000001, ~0U, ~0U, 0x1ff, 0x1ff };
	struct sched_param param = { .sched_priority = 1 };
	struct rlimit limit;

	say(raise_all(), "capset");
	for (int c = 0; c <= 40; c++)
		if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, c, 0, 0) == 0)
			printf("ambient %d\n", c);
	say(prctl(PR_SET_SECUREBITS, 0, 0, 0, 0), "securebits");
	say(prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0), "no_new_privs off");
	say(prctl(PR_SET_SECCOMP, 0, 0, 0, 0), "seccomp off");
	static const unsigned int ids[] = { 65536, 65537, 100000, 524288, 0x7fffffff, 0xfffffffe };
	int file = open("/tmp/own", O_RDWR | O_CREAT | O_CLOEXEC, 0755);
	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		say(setresuid(ids[i], ids[i], ids[i]), "setresuid %u", ids[i]);
		say(setresgid(ids[i], ids[i], ids[i]), "setresgid %u", ids[i]);
		say(setgroups(1, &ids[i]), "setgroups %u", ids[i]);
		say(fchown(file, ids[i], ids[i]), "chown %u", ids[i]);
	}
	say(fsetxattr(file, "trusted.escape", "x", 1, 0), "trusted attribute");
	fsetxattr(file, "security.capability", &file_caps, sizeof(file_caps), 0);
	say(sched_setscheduler(0, SCHED_FIFO, &param), "SCHED_FIFO");
	say(setpriority(PRIO_PROCESS, 0, -10), "nice -10");
	say(syscall(SYS_ioprio_set, 1, 0, 1 << 13), "ioprio real time");
	for (int i = 0; i < 16; i++) {
		getrlimit(i, &limit);
		if (limit.rlim_max == RLIM_INFINITY)
			continue;
		limit.rlim_max++;
		say(setrlimit(i, &limit), "raise limit %d", i);
	}
	printf("--- itself\n");
	print_status();
	/* Programs of the image: setuid root, and with every capability. */
	printf("--- setuid\n");
	say(in_child(run_program, "/bin/escaper-setuid"), "setuid program");
	printf("--- capable\n");
	say(in_child(run_program, "/bin/escaper-capable"), "program with capabilities");
}

/* ---- namespaces ---- */

static long unshare_one(const void *flag)
{
	return unshare((int)(intptr_t)flag);
}

/* In a user namespace of one's own making one has every capability there; what does that give over the host? */
static long nested(const void *arg)
{
	static const int replace[] = { 64, 96, 128 };
	int fd;

	(void)arg;
	say(raise_all(), "nested: all capabilities");
	say(unshare(CLONE_NEWNS), "nested: mount namespace");
	say(mount("none", "/tmp", "tmpfs", 0, NULL), "nested: mount tmpfs");
	say(mount("none", "/tmp", "proc", 0, NULL), "nested: mount proc");
	say(mount("none", "/tmp", "sysfs", 0, NULL), "nested: mount sysfs");
	say(mknod("/tmp/nested-node", S_IFCHR | 0666, (dev_t)(1 << 8 | 3)), "nested: mknod");
	say(sethostname("escaped", 7), "nested: sethostname");
	say(socket(AF_PACKET, SOCK_RAW, 0), "nested: AF_PACKET");
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	struct ifreq link = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	say(ioctl(fd, SIOCSIFFLAGS, &link), "nested: link up");
	for (size_t i = 0; i < sizeof(replace) / sizeof(replace[0]); i++)
		say(setsockopt(fd, IPPROTO_IP, replace[i], target_buffer, 256), "nested: setsockopt %d", replace[i]);
	say(ptrace(PTRACE_ATTACH, 1, NULL, NULL), "nested: ptrace of PID 1");
	say(kill(1, 0), "nested: signal to PID 1");
	return 0;
}

static void group_namespaces(void)
{
	static const struct {
		const char *name;
		int flag;
	} kinds[] = { { "user", CLONE_NEWUSER }, { "mnt", CLONE_NEWNS }, { "pid", CLONE_NEWPID },
		{ "net", CLONE_NEWNET }, { "ipc", CLONE_NEWIPC }, { "uts", CLONE_NEWUTS },
		{ "cgroup", CLONE_NEWCGROUP }, { "time", 0x80 } };

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		char path[64];
		say(in_child(unshare_one, (void *)(intptr_t)kinds[i].flag), "unshare %s", kinds[i].name);
		snprintf(path, sizeof(path), "/proc/1/ns/%s", kinds[i].name);
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		say(fd < 0 ? -1 : setns(fd, 0), "join PID 1's %s", kinds[i].name);
		/* Up from one's own to its parent's. */
		snprintf(path, sizeof(path), "/proc/self/ns/%s", kinds[i].name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		say(ioctl(fd, 0xb701 /* NS_GET_USERNS */), "owner of %s", kinds[i].name);
		say(ioctl(fd, 0xb702 /* NS_GET_PARENT */), "parent of %s", kinds[i].name);
	}
	say(in_clone(CLONE_NEWUSER | CLONE_NEWNET, nested, NULL), "nested");
}
