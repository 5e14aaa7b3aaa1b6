/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plays the supervisor for carrel-init's tests: namespaces, layers, /dev, descriptors, plan, exec of the sealed
 * binary; and nothing else, so that a test of init fails for init's reasons.
 *
 *   init_harness INIT DIR [KEY=VALUE]... -- COMMAND [ARGUMENT]...
 *
 * DIR holds store/image/0, ... (the layers); init.sock and output are made there. Prints "pid N", then the report as
 * "report NUM STEP OBJECT", "step NAME NS" each and "started NS", then, when init has ended, "status N" (wait(2)).
 * With bench=N, N sessions one after the other, and the steps' medians instead.
 */
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#include "rootfs/rootfs.h"
#include "sandbox/seccomp.h"
#include "wire/output.h"
#include "wire/plan.h"
#include "wire/spec.h"

enum { ID_BASE = 1500053504, MAX_FDS = 64, MAX_BINDS = 8, MAX_ENV = 16 };

struct harness {
	const char *directory;
	struct plan plan;
	struct spec_header spec;
	char *env[MAX_ENV + 1];
	size_t n_env;
	char *binds[MAX_BINDS]; /* host paths, in the plan's order */
	size_t n_binds;
	const char *cgroup; /* directory to start in, or NULL */
	const char *seccomp; /* a profile; "uname": a filter under which uname(2) alone is EPERM; or NULL */
	bool extra_fd; /* leave one descriptor too many open */
	unsigned int bench;
	int null_fd, init_fd, empty_fd, user_fd, net_fd, store_fd, listen_fd, spec_fd, seccomp_fd, cgroup_fd;
};

static _Noreturn void die(const char *what)
{
	perror(what);
	exit(2);
}

static int check(int result, const char *what)
{
	if (result < 0)
		die(what);
	return result;
}

static uint64_t now_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* ---- what is there before a session ---- */

static void write_file(const char *path, const char *text)
{
	_close_ int fd = check(open(path, O_WRONLY | O_CLOEXEC), path);
	if (write(fd, text, strlen(text)) < 0)
		die(path);
}

/* Brings the loopback of the calling thread's network namespace up. */
static void loopback_up(void)
{
	struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	_close_ int fd = check(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket");
	check(ioctl(fd, SIOCSIFFLAGS, &request), "lo");
}

/* A user namespace with its ids and a network namespace that belongs to it, held by descriptors alone. */
static void make_namespaces(struct harness *h)
{
	struct clone_args args = { .flags = CLONE_NEWUSER | CLONE_NEWNET, .exit_signal = SIGCHLD };
	char path[64], map[64];
	int ready[2];

	check(pipe2(ready, O_CLOEXEC), "pipe");
	pid_t pid = (pid_t)check((int)syscall(SYS_clone3, &args, sizeof(args)), "clone3");
	if (pid == 0) {
		loopback_up();
		check((int)write(ready[1], "", 1), "pipe");
		pause();
		_exit(0);
	}
	check((int)read(ready[0], path, 1), "pipe");
	snprintf(map, sizeof(map), "0 %d 65536\n", ID_BASE);
	snprintf(path, sizeof(path), "/proc/%d/uid_map", pid);
	write_file(path, map);
	snprintf(path, sizeof(path), "/proc/%d/gid_map", pid);
	write_file(path, map);
	snprintf(path, sizeof(path), "/proc/%d/ns/user", pid);
	h->user_fd = check(open(path, O_RDONLY | O_CLOEXEC), path);
	snprintf(path, sizeof(path), "/proc/%d/ns/net", pid);
	h->net_fd = check(open(path, O_RDONLY | O_CLOEXEC), path);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close_fds(ready, 2);
}

static void seal_init(struct harness *h, const char *path)
{
	char buffer[4096], self[64];
	ssize_t n;

	_close_ int from = check(open(path, O_RDONLY | O_CLOEXEC), path);
	_close_ int fd = check(memfd_create("carrel-init", MFD_CLOEXEC | MFD_ALLOW_SEALING), "memfd");
	while ((n = read(from, buffer, sizeof(buffer))) > 0)
		check((int)write(fd, buffer, (size_t)n), "write");
	check(fchmod(fd, 0111), "fchmod");
	check(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL), "seal");
	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	h->init_fd = check(open(self, O_RDONLY | O_CLOEXEC), self);
}

static void listen_in(struct harness *h)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/init.sock", h->directory);
	unlink(address.sun_path);
	h->listen_fd = check(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), "socket");
	check(bind(h->listen_fd, (struct sockaddr *)&address, sizeof(address)), "bind");
	check(listen(h->listen_fd, 8), "listen");
}

static void make_filter(struct harness *h)
{
	const struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_uname, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct err err;

	if (!h->seccomp) {
		h->seccomp_fd = check(open("/dev/null", O_RDWR | O_CLOEXEC), "/dev/null");
	} else if (streq(h->seccomp, "uname")) {
		h->seccomp_fd = check(memfd_create("filter", MFD_CLOEXEC), "memfd");
		check((int)write(h->seccomp_fd, filter, sizeof(filter)), "filter");
		h->plan.n_seccomp = ARRAY_SIZE(filter);
	} else if (seccomp_profile_compile(h->seccomp, &h->seccomp_fd, &h->plan.n_seccomp, &err) < 0) {
		die(err.object);
	}
}

static void prepare(struct harness *h, const char *init, char **command)
{
	char path[256];
	struct err err;

	check(unshare(CLONE_NEWNS), "unshare");
	check(mount(NULL, "/", NULL, MS_REC | MS_SHARED, NULL), "shared"); /* as systemd has it */
	h->null_fd = check(open("/dev/null", O_RDWR | O_CLOEXEC), "/dev/null");
	if (rootfs_empty(&h->empty_fd, &err) < 0)
		die(err.object);
	make_namespaces(h);
	seal_init(h, init);
	listen_in(h);
	make_filter(h);
	snprintf(path, sizeof(path), "%s/store", h->directory);
	h->store_fd = check(open(path, O_PATH | O_DIRECTORY | O_CLOEXEC), path);
	h->spec_fd = spec_write(&h->spec, command, h->env);
	if (h->spec_fd < 0) {
		errno = -h->spec_fd;
		die("spec");
	}
	h->cgroup_fd = h->cgroup ? check(open(h->cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC), h->cgroup) : -1;
}

/* ---- one session ---- */

/* The descriptors of enum plan_fd from PLAN_FD_CHANNEL on. Returns how many. */
static size_t make_fds(struct harness *h, int channel, int *fds)
{
	struct err err = { 0 };
	char path[256];
	size_t n = 0, n_layers;

	snprintf(path, sizeof(path), "%s/output", h->directory);
	unlink(path);
	int output = check(open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600), path);
	check(ftruncate(output, OUTPUT_FILE_BYTES), "output");
	fds[n++] = fcntl(channel, F_DUPFD_CLOEXEC, 3);
	fds[n++] = fcntl(h->listen_fd, F_DUPFD_CLOEXEC, 3);
	fds[n++] = output;
	fds[n++] = fcntl(h->spec_fd, F_DUPFD_CLOEXEC, 3);
	fds[n++] = fcntl(h->seccomp_fd, F_DUPFD_CLOEXEC, 3);
	if (rootfs_dev_make(h->user_fd, &fds[n++], &err) < 0 ||
		rootfs_layers(h->store_fd, "image", h->user_fd, fds + n, PLAN_MAX_LAYERS, &n_layers, &err) < 0)
		die(err_text(&err, path, sizeof(path)));
	h->plan.n_layers = (uint32_t)n_layers;
	n += n_layers;
	for (size_t i = 0; i < h->n_binds; i++)
		if (rootfs_bind(h->binds[i], h->user_fd, true, false, &fds[n++], &err) < 0)
			die(err_text(&err, path, sizeof(path)));
	return n;
}

static _Noreturn void become_init(struct harness *h, const int *fds, size_t n)
{
	char *const argv[] = { (char *)(uintptr_t) "carrel-init", NULL }, *const envp[] = { NULL };
	int high[MAX_FDS];

	if (syscall(SYS_setgroups, 0, NULL) < 0 || syscall(SYS_setresgid, 0, 0, 0) < 0 ||
		syscall(SYS_setresuid, 0, 0, 0) < 0)
		die("ids");
	for (size_t i = 0; i < n; i++)
		high[i] = check(fcntl(fds[i], F_DUPFD_CLOEXEC, 128), "dup");
	int binary = check(fcntl(h->init_fd, F_DUPFD_CLOEXEC, 128), "dup");
	for (int i = 0; i < 3; i++)
		check(dup2(h->null_fd, i), "dup2");
	for (size_t i = 0; i < n; i++)
		check(dup2(high[i], PLAN_FD_CHANNEL + (int)i), "dup2");
	int next = PLAN_FD_CHANNEL + (int)n;
	if (h->extra_fd)
		check(dup2(h->null_fd, next++), "dup2");
	check(dup3(binary, next, O_CLOEXEC), "dup3");
	check((int)syscall(SYS_close_range, next + 1, ~0U, 0), "close_range");
	syscall(SYS_execveat, next, "", argv, envp, AT_EMPTY_PATH);
	_exit(125);
}

/* The two steps that joining namespaces made ahead of need takes: a go-between joins, its child is PID 1. */
static pid_t start(struct harness *h, const int *fds, size_t n)
{
	pid_t *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct clone_args between = {
		.flags = h->cgroup_fd >= 0 ? CLONE_INTO_CGROUP : 0,
		.exit_signal = SIGCHLD,
		.cgroup = h->cgroup_fd >= 0 ? (unsigned int)h->cgroup_fd : 0,
	};
	struct clone_args args = {
		.flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP | CLONE_PARENT,
	};

	*shared = 0;
	pid_t pid = check((pid_t)syscall(SYS_clone3, &between, sizeof(between)), "clone3");
	if (pid == 0) {
		check(setns(h->empty_fd, CLONE_NEWNS), "setns mounts");
		check(setns(h->user_fd, CLONE_NEWUSER), "setns user");
		check(setns(h->net_fd, CLONE_NEWNET), "setns net");
		if (h->plan.flags & PLAN_CGROUP) {
			check((int)syscall(SYS_setresgid, 0, 0, 0), "gid");
			check((int)syscall(SYS_setresuid, 0, 0, 0), "uid");
			check(mkdirat(h->cgroup_fd, PLAN_LEAF, 0755), "leaf");
			check(unshare(CLONE_NEWCGROUP), "cgroup namespace");
			args.flags = (args.flags & ~(unsigned long)CLONE_NEWCGROUP) | CLONE_INTO_CGROUP;
			args.cgroup = (unsigned int)check(openat(h->cgroup_fd, PLAN_LEAF, O_PATH | O_DIRECTORY | O_CLOEXEC), "leaf");
		}
		pid_t init = (pid_t)check((int)syscall(SYS_clone3, &args, sizeof(args)), "clone3");
		if (init == 0)
			become_init(h, fds, n);
		*shared = init;
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	pid_t init = *shared;
	munmap(shared, sizeof(*shared));
	if (init == 0)
		exit(2);
	return init;
}

/* Makes a session and receives its report; false when init ended without one. The channel is closed. */
static bool session(struct harness *h, pid_t *ret_pid, struct plan_report *ret, uint64_t *ret_ns)
{
	int pair[2], fds[MAX_FDS];
	struct msg msg;

	check(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), "socketpair");
	size_t n = make_fds(h, pair[1], fds);
	msg_init(&h->plan.header, PLAN_GO, 1, sizeof(h->plan));
	if (msg_send(pair[0], &h->plan.header, NULL, 0) < 0)
		die("plan");
	uint64_t before = now_ns();
	*ret_pid = start(h, fds, n);
	close_fds(fds, n);
	close(pair[1]);
	struct pollfd readable = { .fd = pair[0], .events = POLLIN };
	check(poll(&readable, 1, 30000), "poll");
	*ret_ns = now_ns() - before;
	int r = msg_recv(pair[0], plan_reports, n_plan_reports, &msg);
	if (r == 1)
		memcpy(ret, msg.bytes, sizeof(*ret));
	close(pair[0]);
	return r == 1;
}

static int run_one(struct harness *h)
{
	struct plan_report report;
	uint64_t ns;
	pid_t pid;
	int status;

	bool reported = session(h, &pid, &report, &ns);
	printf("pid %d\n", pid);
	if (reported) {
		printf("report %d %s %s\n", report.err.num, report.err.step, report.err.object);
		for (size_t i = 0; i < report.n_steps; i++)
			printf("step %s %llu\n", report.steps[i].name, (unsigned long long)report.steps[i].ns);
		printf("started %llu\n", (unsigned long long)report.started_ns);
	}
	fflush(stdout);
	check(waitpid(pid, &status, 0), "waitpid");
	printf("status %d\n", status);
	return 0;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

static int run_bench(struct harness *h)
{
	enum { ROWS = MAX_STEP_TIMES + 2 };
	uint64_t *ns = calloc((size_t)ROWS * h->bench, sizeof(*ns));
	struct plan_report report;

	for (unsigned int i = 0; i < h->bench; i++) {
		pid_t pid;
		uint64_t total;
		if (!session(h, &pid, &report, &total) || report.err.num < 0)
			die(report.err.step);
		for (size_t s = 0; s < report.n_steps; s++) {
			ns[s * h->bench + i] = report.steps[s].ns;
			ns[MAX_STEP_TIMES * h->bench + i] += report.steps[s].ns;
		}
		ns[(MAX_STEP_TIMES + 1) * h->bench + i] = total;
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	for (size_t s = 0; s < ROWS; s++) {
		uint64_t *row = ns + s * h->bench;
		const char *name = s < report.n_steps	     ? report.steps[s].name
				   : s == MAX_STEP_TIMES     ? "(all steps)"
				   : s == MAX_STEP_TIMES + 1 ? "(clone to report)"
							     : NULL;
		if (!name)
			continue;
		qsort(row, h->bench, sizeof(*row), compare);
		printf("%-18s least %8.1f us   median %8.1f us   p90 %8.1f us\n", name, (double)row[0] / 1000,
			(double)row[h->bench / 2] / 1000, (double)row[h->bench * 9 / 10] / 1000);
	}
	free(ns);
	return 0;
}

/* ---- options ---- */

static uint64_t number(const char *s)
{
	return streq(s, "-") ? LIMIT_UNSET : strtoull(s, NULL, 0);
}

/* "tmpfs:TARGET:MODE:UID:GID:BYTES:INODES:FLAGS" or "bind:TARGET:SOURCE:FLAGS" */
static void add_mount(struct harness *h, char *value)
{
	struct plan_mount *m = &h->plan.mounts[h->plan.n_mounts++];
	char *rest, *kind = strtok_r(value, ":", &rest), *target = strtok_r(NULL, ":", &rest);

	if (!kind || !target || copy_string(m->target, sizeof(m->target), target) < 0)
		die("mount");
	if (streq(kind, "bind")) {
		m->kind = PLAN_BIND;
		h->binds[h->n_binds++] = strtok_r(NULL, ":", &rest);
	} else {
		m->kind = PLAN_TMPFS;
		m->mode = (uint32_t)number(strtok_r(NULL, ":", &rest));
		m->uid = (uint32_t)number(strtok_r(NULL, ":", &rest));
		m->gid = (uint32_t)number(strtok_r(NULL, ":", &rest));
		m->bytes = number(strtok_r(NULL, ":", &rest));
		m->inodes = number(strtok_r(NULL, ":", &rest));
	}
	m->flags = (uint32_t)number(strtok_r(NULL, ":", &rest));
}

/* "RESOURCE:SOFT:HARD" */
static void add_rlimit(struct harness *h, char *value)
{
	struct plan_rlimit *l = &h->plan.rlimits[h->plan.n_rlimits++];
	char *rest;

	l->resource = (uint32_t)number(strtok_r(value, ":", &rest));
	l->soft = number(strtok_r(NULL, ":", &rest));
	l->hard = number(strtok_r(NULL, ":", &rest));
}

static void parse_option(struct harness *h, char *option)
{
	char *value = strchr(option, '=');

	if (!value)
		die(option);
	*value++ = '\0';
	if (streq(option, "flags"))
		h->plan.flags = (uint32_t)number(value);
	else if (streq(option, "caps"))
		h->plan.capabilities = number(value);
	else if (streq(option, "hostname"))
		copy_string(h->plan.hostname, sizeof(h->plan.hostname), value);
	else if (streq(option, "root_bytes"))
		h->plan.limits.value[LIMIT_ROOT_BYTES] = number(value);
	else if (streq(option, "root_inodes"))
		h->plan.limits.value[LIMIT_ROOT_INODES] = number(value);
	else if (streq(option, "shm_bytes"))
		h->plan.limits.value[LIMIT_SHM_BYTES] = number(value);
	else if (streq(option, "mount"))
		add_mount(h, value);
	else if (streq(option, "rlimit"))
		add_rlimit(h, value);
	else if (streq(option, "cgroup"))
		h->cgroup = value;
	else if (streq(option, "seccomp"))
		h->seccomp = value;
	else if (streq(option, "extra_fd"))
		h->extra_fd = number(value);
	else if (streq(option, "bench"))
		h->bench = (unsigned int)number(value);
	else if (streq(option, "spec_flags"))
		h->spec.flags = (uint32_t)number(value);
	else if (streq(option, "uid"))
		h->spec.uid = (uint32_t)number(value);
	else if (streq(option, "gid"))
		h->spec.gid = (uint32_t)number(value);
	else if (streq(option, "user"))
		copy_string(h->spec.user, sizeof(h->spec.user), value);
	else if (streq(option, "cwd"))
		copy_string(h->spec.cwd, sizeof(h->spec.cwd), value);
	else if (streq(option, "env") && h->n_env < MAX_ENV)
		h->env[h->n_env++] = value;
	else
		die(option);
}

static void set_defaults(struct harness *h)
{
	h->plan.flags = PLAN_NO_NEW_PRIVS | PLAN_HAS_IPV4 | PLAN_HAS_IPV6;
	limits_clear(&h->plan.limits);
	h->plan.limits.value[LIMIT_ROOT_BYTES] = 16 << 20;
	h->plan.limits.value[LIMIT_ROOT_INODES] = 4096;
	h->plan.limits.value[LIMIT_SHM_BYTES] = 1 << 20;
	copy_string(h->plan.hostname, sizeof(h->plan.hostname), "desk-1");
	memcpy(h->plan.ipv4, (const uint8_t[]){ 100, 96, 0, 2 }, 4);
	memcpy(h->plan.ipv6, (const uint8_t[]){ 0xfd, 0x63, [15] = 2 }, 16);
	h->plan.n_nameservers = 2;
	h->plan.nameserver_family[0] = 4;
	memcpy(h->plan.nameservers[0], (const uint8_t[]){ 192, 0, 2, 53 }, 4);
	h->plan.nameserver_family[1] = 6;
	memcpy(h->plan.nameservers[1], (const uint8_t[]){ 0x20, 0x01, 0x0d, 0xb8, [15] = 0x53 }, 16);
	copy_string(h->spec.cwd, sizeof(h->spec.cwd), "/");
}

int main(int argc, char **argv)
{
	static struct harness h;
	int i = 3;

	if (argc < 4)
		return 2;
	h.directory = argv[2];
	set_defaults(&h);
	for (; i < argc && !streq(argv[i], "--"); i++)
		parse_option(&h, argv[i]);
	if (i + 1 >= argc)
		return 2;
	/* The supervisor ignores some signals; init must not pass that on. */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGUSR1, SIG_IGN);
	prepare(&h, argv[1], argv + i + 1);
	return h.bench ? run_bench(&h) : run_one(&h);
}
