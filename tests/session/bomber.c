/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A workload that uses up what it can: "bomber BOMB" takes one kind of resource until it is refused, or until a count
 * that no bound should let it reach, prints "BOMB: COUNT ERRNO" and keeps what it has until it is killed.
 * "bomber probe" is the neighbour: it takes one of each and prints "NAME: done" or the error. Static.
 */
#include "escape.h"

#include <mqueue.h>
#include <sched.h>
#include <stddef.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

#include <arpa/inet.h>
#include <netinet/in.h>

static char block[1 << 20];

/* Each takes number I and returns a negative number when refused. */

static long fill(const char *path)
{
	static int fd = -1;

	if (fd < 0)
		fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	ssize_t n = fd < 0 ? -1 : write(fd, block, sizeof(block));
	if (n >= 0 && n < (ssize_t)sizeof(block))
		errno = ENOSPC;
	return n == (ssize_t)sizeof(block) ? 0 : -1;
}

static long take_root(int i)
{
	(void)i;
	return fill("/fill");
}

static long take_shm(int i)
{
	(void)i;
	return fill("/dev/shm/fill");
}

static long make_file(const char *directory, int i)
{
	char path[64];

	snprintf(path, sizeof(path), "%s/f%d", directory, i);
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	return fd < 0 ? -1 : close(fd);
}

static long take_inode(int i)
{
	return make_file("/var", i);
}

static long take_shm_inode(int i)
{
	return make_file("/dev/shm", i);
}

static long take_queue(int i)
{
	return make_file("/dev/mqueue", i);
}

static long take_directory(int i)
{
	(void)i;
	return mkdir("deeper", 0700) < 0 ? -1 : chdir("deeper");
}

static long take_terminal(int i)
{
	(void)i;
	return open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
}

static long take_file(int i)
{
	(void)i;
	return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static long take_inotify(int i)
{
	(void)i;
	return inotify_init1(IN_CLOEXEC);
}

static long take_timer(int i)
{
	struct sigevent event = { .sigev_notify = SIGEV_NONE };
	int id;

	(void)i;
	return syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &id);
}

static long take_signal(int i)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return sigqueue(getpid(), SIGRTMIN, (union sigval){ .sival_int = i });
}

/* As many pages in pipes as one can have. */
static long take_pipe(int i)
{
	int ends[2];

	(void)i;
	return pipe2(ends, O_CLOEXEC) < 0			 ? -1
	       : fcntl(ends[1], F_SETPIPE_SZ, 1 << 20) < 1 << 20 ? (errno = EPERM, -1)
								 : 0;
}

static long take_abstract(int i)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	int n = snprintf(name.sun_path + 1, sizeof(name.sun_path) - 1, "escape-%d", i);

	return bind(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), (void *)&name,
		(socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n));
}

static long take_shared_memory(int i)
{
	(void)i;
	return shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600);
}

static long take_semaphores(int i)
{
	(void)i;
	return semget(IPC_PRIVATE, 1, IPC_CREAT | 0600);
}

static long take_messages(int i)
{
	(void)i;
	return msgget(IPC_PRIVATE, IPC_CREAT | 0600);
}

static long take_mount(int i)
{
	char path[32];

	/* Over each other in many places: a deep pile is slow to walk through. */
	snprintf(path, sizeof(path), "/mnt/%d", i % 1000);
	mkdir(path, 0755);
	return mount("/bin", path, NULL, MS_BIND, NULL);
}

static long take_cgroup(int i)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/fs/cgroup/c%d", i);
	return mkdir(path, 0755);
}

static long put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t n = write(fd, text, strlen(text));

	close(fd);
	return n < 0 ? -1 : 0;
}

/* One in another, each holding the one around it: whose maker must have ids there. */
static long take_nested(int i)
{
	char user[32], group[32];

	(void)i;
	snprintf(user, sizeof(user), "0 %u 1", geteuid());
	snprintf(group, sizeof(group), "0 %u 1", getegid());
	if (unshare(CLONE_NEWUSER) < 0)
		return -1;
	if (put("/proc/self/setgroups", "deny") < 0 || put("/proc/self/gid_map", group) < 0)
		return -1;
	return put("/proc/self/uid_map", user);
}

/* A child that has namespaces of its own and lives on. */
static long keep_child(unsigned long flags)
{
	pid_t pid = (pid_t)syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
	if (pid == 0)
		for (;;)
			pause();
	return pid;
}

static long take_user_namespace(int i)
{
	(void)i;
	return keep_child(CLONE_NEWUSER);
}

static long take_net_namespace(int i)
{
	(void)i;
	return keep_child(CLONE_NEWUSER | CLONE_NEWNET);
}

/* A connection each; the session's namespace tracks them where it has a redirect or rules of its own. */
static long take_flow(int i)
{
	static int fd = -1;
	struct sockaddr_in to = { .sin_family = AF_INET,
		.sin_port = htons((uint16_t)(1000 + i % 60000)),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK + (uint32_t)(i / 60000)) };

	if (fd < 0)
		fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	/* The refusal of the packet before shows here. */
	return sendto(fd, "x", 1, 0, (void *)&to, sizeof(to)) == 1 || errno == ECONNREFUSED ? 0 : -1;
}

static long nest(const void *arg)
{
	(void)arg;
	return unshare(CLONE_NEWUSER);
}

static void probe(void)
{
	char path[32];
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	say(take_inotify(0), "inotify");
	say(take_timer(0), "timer");
	say(take_signal(0), "signal");
	say(take_queue(getpid()), "queue");
	snprintf(path, sizeof(path), "/dev/mqueue/f%d", getpid());
	unlink(path);
	say(take_terminal(0), "terminal");
	say(take_pipe(0), "pipe");
	say(flock(fd, LOCK_EX | LOCK_NB), "lock");
	say(in_child(nest, NULL), "user namespace");
}

/* What happens to the devices that all sessions have; nothing of it may be another session's doing. */
static void watch(void)
{
	static const char *const names[] = { "/dev", "/dev/null", "/dev/urandom", "/bin", "/bin/busybox", "/etc",
		"/" };
	char buffer[4096] __attribute__((aligned(8)));
	int fd = inotify_init1(IN_CLOEXEC), null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		printf("watch %d is %s\n", inotify_add_watch(fd, names[i], IN_ALL_EVENTS), names[i]);
	say(flock(null, LOCK_EX | LOCK_NB), "lock");
	puts("held");
	fflush(stdout);
	for (ssize_t n; (n = read(fd, buffer, sizeof(buffer))) > 0;) {
		for (char *p = buffer; p < buffer + n;) {
			const struct inotify_event *event = (void *)p;
			printf("event %d %x %s\n", event->wd, event->mask, event->len ? event->name : "");
			p += sizeof(*event) + event->len;
		}
		fflush(stdout);
	}
}

int main(int argc, char *argv[])
{
	static const struct {
		const char *name;
		long (*take)(int i);
		int most;
	} bombs[] = {
		{ "root", take_root, 256 },
		{ "shm", take_shm, 64 },
		{ "inodes", take_inode, 100000 },
		{ "shm-inodes", take_shm_inode, 100000 },
		{ "queues", take_queue, 1000 },
		{ "directories", take_directory, 100000 },
		{ "terminals", take_terminal, 5000 },
		{ "files", take_file, 100000 },
		{ "inotify", take_inotify, 5000 },
		{ "timers", take_timer, 200000 },
		{ "signals", take_signal, 200000 },
		{ "pipes", take_pipe, 1000 },
		{ "abstract", take_abstract, 5000 },
		{ "shared-memory", take_shared_memory, 40000 },
		{ "semaphores", take_semaphores, 40000 },
		{ "messages", take_messages, 40000 },
		{ "mounts", take_mount, 10000 },
		{ "cgroups", take_cgroup, 5000 },
		{ "nested", take_nested, 100 },
		{ "user-namespaces", take_user_namespace, 300 },
		{ "net-namespaces", take_net_namespace, 100 },
		{ "flows", take_flow, 20000 },
	};
	const char *name = argc > 1 ? argv[1] : "";

	if (strcmp(name, "probe") == 0) {
		probe();
		return 0;
	}
	if (strcmp(name, "watch") == 0)
		watch();
	for (size_t i = 0; i < sizeof(bombs) / sizeof(bombs[0]); i++) {
		int n = 0;
		if (strcmp(bombs[i].name, name) != 0)
			continue;
		errno = 0;
		while (n < bombs[i].most && bombs[i].take(n) >= 0)
			n++;
		const int number = n < bombs[i].most ? errno : 0;
		printf("%s: %d %s\nheld\n", name, n, number ? strerror(number) : "no error");
		fflush(stdout);
		for (;;)
			pause();
	}
	return 2;
}
