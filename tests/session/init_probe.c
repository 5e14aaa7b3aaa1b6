/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a hostile program does in a session, one thing per run; a static program that test_init.py puts into images.
 * Prints one line: "ok", or the name of the errno.
 *
 *   init_probe ptrace | seize | vm_read | getfd      PID 1: attach, attach the other way, read memory, take a descriptor
 *   init_probe remount DIR                           take the read-only flag off the mount at DIR and write there
 *   init_probe unmount DIR
 *   init_probe listen PORT BACKLOG                   listen on 127.0.0.1 and accept nothing, until killed
 *   init_probe serve PORT FAMILY                     4 or 6: accept, answer each connection with "hello\n"
 *   init_probe uname
 *   init_probe effective                             print the effective capabilities, in hexadecimal
 */
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/mount.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/utsname.h>

#include "wire/def.h"

static int attach(int request)
{
	return ptrace((enum __ptrace_request)request, 1, NULL, NULL) < 0 ? -errno : 0;
}

static int vm_read(void)
{
	char byte;
	struct iovec to = { &byte, 1 }, from = { (void *)(uintptr_t)0x400000, 1 };

	return process_vm_readv(1, &to, 1, &from, 1, 0) < 0 ? -errno : 0;
}

static int getfd(void)
{
	_close_ int pidfd = (int)syscall(SYS_pidfd_open, 1, 0);

	if (pidfd < 0)
		return -errno;
	return syscall(SYS_pidfd_getfd, pidfd, 4, 0) < 0 ? -errno : 0;
}

/* -EROFS is the good answer; whether the flag comes off is the kernel's business. */
static int remount(const char *path)
{
	struct mount_attr attr = { .attr_clr = MOUNT_ATTR_RDONLY };

	if (syscall(SYS_mount_setattr, AT_FDCWD, path, 0, &attr, sizeof(attr)) < 0)
		return -errno;
	_close_ int dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	_close_ int fd = openat(dir, "probe", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	return fd < 0 ? -errno : 0;
}

static int listen_on(uint16_t port, int backlog, int family)
{
	struct sockaddr_in ipv4 = {
		.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = { htonl(INADDR_LOOPBACK) }
	};
	struct sockaddr_in6 ipv6 = {
		.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT
	};
	const void *address = family == 6 ? (const void *)&ipv6 : &ipv4;

	int fd = socket(family == 6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, address, family == 6 ? sizeof(ipv6) : sizeof(ipv4)) < 0 || listen(fd, backlog) < 0)
		return -errno;
	printf("ok\n");
	fflush(stdout);
	return fd;
}

static int listen_at(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || copy_string(address.sun_path, sizeof(address.sun_path), path) < 0 ||
		bind(fd, (const void *)&address, sizeof(address)) < 0 || listen(fd, 8) < 0)
		return -errno;
	printf("ok\n");
	fflush(stdout);
	return fd;
}

static int serve(int listening)
{
	while (listening >= 0) {
		_close_ int fd = accept(listening, NULL, NULL);
		if (fd < 0 || write(fd, "hello\n", 6) < 0)
			return -errno;
	}
	return listening;
}

static int effective(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &header, data) < 0)
		return -errno;
	printf("%08x%08x\n", data[1].effective, data[0].effective);
	exit(0);
}

static int run(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	struct utsname name;
	int r;

	if (streq(what, "ptrace"))
		return attach(PTRACE_ATTACH);
	if (streq(what, "seize"))
		return attach(PTRACE_SEIZE);
	if (streq(what, "vm_read"))
		return vm_read();
	if (streq(what, "getfd"))
		return getfd();
	if (streq(what, "uname"))
		return uname(&name) < 0 ? -errno : 0;
	if (streq(what, "effective"))
		return effective();
	if (streq(what, "remount") && argc == 3)
		return remount(argv[2]);
	if (streq(what, "unmount") && argc == 3)
		return syscall(SYS_umount2, argv[2], 0) < 0 ? -errno : 0;
	if (streq(what, "serve") && argc == 4)
		return serve(listen_on((uint16_t)atoi(argv[2]), 8, atoi(argv[3])));
	if (streq(what, "serve_at") && argc == 3)
		return serve(listen_at(argv[2]));
	if (streq(what, "listen") && argc == 4) {
		r = listen_on((uint16_t)atoi(argv[2]), atoi(argv[3]), 4);
		while (r >= 0)
			pause();
		return r;
	}
	return -EINVAL;
}

int main(int argc, char **argv)
{
	int r = run(argc, argv);

	printf("%s\n", r < 0 ? strerrorname_np(-r) : "ok");
	return 0;
}
