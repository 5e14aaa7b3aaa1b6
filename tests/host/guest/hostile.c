/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A workload that takes all it can get of one thing; static, so that it runs in any image. It prints how far it came,
 * on one line, and then holds what it has:
 *   hostile memory [MIB]     allocates and writes, MIB or without end: "held 12 MiB: REASON"
 *   hostile fill FILE        writes one file without end: "wrote BYTES: REASON"
 *   hostile files DIRECTORY  makes empty files: "made N: REASON"
 *   hostile descriptors      opens without closing: "opened N: REASON"
 *   hostile processes        forks children that wait: "forked N: REASON"
 *   hostile bomb             forks, as all its children do, without end
 *   hostile terminals        opens /dev/ptmx: "opened N: REASON"
 *   hostile inotify          makes inotify instances: "opened N: REASON"
 *   hostile watches DIR      makes files there and watches them: "watched N: REASON"
 *   hostile user-namespaces | mount-namespaces | network-namespaces
 *                            children that have one each, mount and network below a user namespace: "made N: REASON"
 *   hostile mounts N         mounts as many file systems over one directory: "mounted N: REASON"
 *   hostile direct FILE MIB  writes so much past the page cache: "wrote BYTES: REASON"
 *   hostile flows ADDRESS N  a UDP packet to each of so many ports there: "sent N"
 *   hostile read FILE        reads a file again and again, without end
 *   hostile print            prints without end
 *   hostile spin THREADS     takes processor time in so many processes
 *   hostile cgroups DIR      makes cgroups, all empty: "made N: REASON"
 *   hostile cgroup DIR       tries to write every file of every cgroup there: a line for each that let it, then "end"
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MIB = 1 << 20, MAX_PATH = 4096 };

static void hold(void)
{
	fflush(stdout);
	for (;;)
		pause();
}

static void memory(const char *limit)
{
	const long most = limit ? atol(limit) : -1;
	long held = 0;
	const char *reason = "asked for no more";

	for (; held != most; held++) {
		char *p = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (p == MAP_FAILED) {
			reason = strerror(errno);
			break;
		}
		/* Different in each page, lest the kernel has an idea. */
		for (size_t i = 0; i < MIB; i += 4096)
			memcpy(p + i, &p, sizeof(p));
	}
	printf("held %ld MiB: %s\n", held, reason);
}

static void fill(const char *file)
{
	static char block[65536];
	long long written = 0;
	ssize_t n = -1;
	int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	memset(block, 'x', sizeof(block));
	while (fd >= 0 && (n = write(fd, block, sizeof(block))) > 0)
		written += n;
	printf("wrote %lld: %s\n", written, strerror(errno));
}

static void files(const char *directory)
{
	char path[MAX_PATH];
	long made = 0;

	for (;; made++) {
		snprintf(path, sizeof(path), "%s/%ld", directory, made);
		int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
		if (fd < 0)
			break;
		close(fd);
	}
	printf("made %ld: %s\n", made, strerror(errno));
}

static void cgroups(const char *directory)
{
	char path[MAX_PATH];
	long made = 0;

	for (;; made++) {
		snprintf(path, sizeof(path), "%s/%ld", directory, made);
		if (mkdir(path, 0755) < 0)
			break;
	}
	printf("made %ld: %s\n", made, strerror(errno));
}

static void descriptors(void)
{
	long opened = 0;

	while (open("/dev/null", O_RDONLY) >= 0)
		opened++;
	printf("opened %ld: %s\n", opened, strerror(errno));
}

static void terminals(void)
{
	long opened = 0;

	while (open("/dev/ptmx", O_RDWR | O_NOCTTY) >= 0)
		opened++;
	printf("opened %ld: %s\n", opened, strerror(errno));
}

static void instances(void)
{
	long opened = 0;

	while (inotify_init() >= 0)
		opened++;
	printf("opened %ld: %s\n", opened, strerror(errno));
}

static void watches(const char *directory)
{
	char path[MAX_PATH];
	long watched = 0;
	int fd = inotify_init();

	for (;; watched++) {
		snprintf(path, sizeof(path), "%s/%ld", directory, watched);
		close(open(path, O_WRONLY | O_CREAT, 0600));
		if (inotify_add_watch(fd, path, IN_ALL_EVENTS) < 0)
			break;
	}
	printf("watched %ld: %s\n", watched, strerror(errno));
}

/* One process each; a child tells by its exit that it has none. */
static void namespaces(int flag)
{
	long made = 0;
	int error = 0;

	if (flag != CLONE_NEWUSER && unshare(CLONE_NEWUSER) < 0)
		error = errno;
	while (!error) {
		int told[2];
		if (pipe(told) < 0)
			break;
		pid_t pid = fork();
		if (pid == 0) {
			int result = unshare(flag) < 0 ? errno : 0;
			(void)!write(told[1], &result, sizeof(result));
			for (;;)
				pause();
		}
		if (pid < 0 || read(told[0], &error, sizeof(error)) != sizeof(error))
			error = errno;
		close(told[0]);
		close(told[1]);
		made += !error;
	}
	printf("made %ld: %s\n", made, strerror(error));
}

static void mounts(long most)
{
	long mounted = 0;

	while (mounted < most && mount("none", "/mnt", "tmpfs", 0, "size=4096") == 0)
		mounted++;
	printf("mounted %ld: %s\n", mounted, mounted < most ? strerror(errno) : "asked for no more");
}

static void direct(const char *file, long mib)
{
	char *block = aligned_alloc(4096, 65536);
	int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_DIRECT, 0600);
	long long written = 0;
	ssize_t n = 0;

	memset(block, 'x', 65536);
	while (fd >= 0 && written < mib * MIB && (n = write(fd, block, 65536)) > 0)
		written += n;
	printf("wrote %lld: %s\n", written, fd < 0 || n < 0 ? strerror(errno) : "all");
}

static void flows(const char *address, int ports)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	long sent = 0;

	inet_pton(AF_INET, address, &to.sin_addr);
	for (int port = 1; port <= ports; port++) {
		to.sin_port = htons((unsigned short)port);
		sent += sendto(fd, "", 1, 0, (struct sockaddr *)&to, sizeof(to)) == 1;
	}
	printf("sent %ld\n", sent);
}

static void read_again(const char *file)
{
	static char block[1 << 20];
	int fd = open(file, O_RDONLY);

	for (;;)
		while (read(fd, block, sizeof(block)) <= 0)
			lseek(fd, 0, SEEK_SET);
}

static void print(void)
{
	static char block[65536];

	memset(block, 'x', sizeof(block));
	for (size_t i = 99; i < sizeof(block); i += 100)
		block[i] = '\n';
	for (;;)
		(void)!write(1, block, sizeof(block));
}

static void processes(void)
{
	long forked = 0;
	pid_t pid;

	while ((pid = fork()) > 0)
		forked++;
	if (pid == 0)
		for (;;)
			pause();
	printf("forked %ld: %s\n", forked, strerror(errno));
}

static void spin(int n)
{
	while (--n > 0 && fork() > 0)
		;
	for (;;)
		;
}

/* What is written back is what was read: a cgroup that lets us is not changed by it. */
static int is_writable(const char *path)
{
	char text[MAX_PATH];
	int in = open(path, O_RDONLY | O_NONBLOCK), out = open(path, O_WRONLY | O_NONBLOCK);
	ssize_t n = in >= 0 ? read(in, text, sizeof(text)) : 0;
	const int opened = out >= 0;

	if (opened && n > 0)
		(void)!write(out, text, (size_t)n);
	close(in);
	close(out);
	return opened;
}

static void try_cgroup(const char *directory)
{
	char path[MAX_PATH];
	struct stat st;
	DIR *entries = opendir(directory);

	for (struct dirent *e; entries && (e = readdir(entries));) {
		snprintf(path, sizeof(path), "%s/%s", directory, e->d_name);
		if (e->d_name[0] == '.' || lstat(path, &st) < 0)
			continue;
		if (S_ISDIR(st.st_mode))
			try_cgroup(path);
		else if (is_writable(path))
			printf("writable %s\n", path);
	}
	if (entries)
		closedir(entries);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "", *argument = argc > 2 ? argv[2] : NULL;

	if (strcmp(what, "memory") == 0)
		memory(argument);
	else if (strcmp(what, "fill") == 0 && argument)
		fill(argument);
	else if (strcmp(what, "files") == 0 && argument)
		files(argument);
	else if (strcmp(what, "descriptors") == 0)
		descriptors();
	else if (strcmp(what, "processes") == 0)
		processes();
	else if (strcmp(what, "bomb") == 0)
		for (;;)
			fork();
	else if (strcmp(what, "terminals") == 0)
		terminals();
	else if (strcmp(what, "inotify") == 0)
		instances();
	else if (strcmp(what, "watches") == 0 && argument)
		watches(argument);
	else if (strcmp(what, "user-namespaces") == 0)
		namespaces(CLONE_NEWUSER);
	else if (strcmp(what, "mount-namespaces") == 0)
		namespaces(CLONE_NEWNS);
	else if (strcmp(what, "network-namespaces") == 0)
		namespaces(CLONE_NEWNET);
	else if (strcmp(what, "mounts") == 0 && argument)
		mounts(atol(argument));
	else if (strcmp(what, "direct") == 0 && argc > 3)
		direct(argument, atol(argv[3]));
	else if (strcmp(what, "flows") == 0 && argc > 3)
		flows(argument, atoi(argv[3]));
	else if (strcmp(what, "read") == 0 && argument)
		read_again(argument);
	else if (strcmp(what, "print") == 0)
		print();
	else if (strcmp(what, "spin") == 0 && argument)
		spin(atoi(argument));
	else if (strcmp(what, "cgroups") == 0 && argument)
		cgroups(argument);
	else if (strcmp(what, "cgroup") == 0 && argument) {
		try_cgroup(argument);
		puts("end");
	} else
		return 2;
	hold();
}
