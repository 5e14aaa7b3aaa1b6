/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A workload that wants out: "escaper GROUP [MARKER [PID...]]" makes the tries of one group and prints a line for
 * each, "NAME: done" or the error. MARKER is a path that exists on the host alone; a root in which it shows is
 * outside. PIDs are those of processes of the host.
 * Static, so that it runs in any image. Runs inside sessions only, and even there does nothing that would harm the
 * host if it succeeded: what is written is what was read before.
 */
#include "escape.h"

#include <dirent.h>
#include <linux/fs.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <linux/random.h>
#include <sched.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>

#include "escape_calls.h"

static const char *marker = "/none";
static char *const *host_pids;

/* ---- every file of /proc, /sys and the cgroup tree ---- */

/* What is written is what the file says already, to where the session's own namespaces have their settings. */
static bool may_write_back(const char *path)
{
	static const char *const prefixes[] = { "/proc/sys/", "/sys/fs/cgroup/" };

	for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
		if (strncmp(path, prefixes[i], strlen(prefixes[i])) == 0)
			return true;
	return false;
}

static void write_back(const char *path)
{
	char text[4096];
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text));

	if (fd >= 0)
		close(fd);
	fd = n <= 0 ? -1 : open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return;
	printf("%s %s\n", write(fd, text, (size_t)n) >= 0 ? "written" : "refused", path);
	close(fd);
}

static void try_file(const char *path)
{
	struct stat st;
	int fd = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

	/* What is covered by /dev/null is no file of /proc. */
	if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
		printf("opened %s\n", path);
		if (may_write_back(path))
			write_back(path);
	}
	if (fd >= 0)
		close(fd);
}

/* Of the processes in /proc only PID 1 is of interest, and of its threads none. */
static bool skipped(const char *path, const char *name)
{
	if (name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0')))
		return true;
	if (strlen(path) >= 5 && strcmp(path + strlen(path) - 5, "/proc") == 0)
		return name[0] >= '0' && name[0] <= '9' && strcmp(name, "1") != 0;
	return strcmp(name, "task") == 0;
}

static unsigned long walk(const char *path)
{
	char below[4096];
	unsigned long seen = 0;
	DIR *dir = opendir(path);

	if (!dir)
		return 0;
	for (struct dirent *e; (e = readdir(dir));) {
		if (skipped(path, e->d_name) ||
			(size_t)snprintf(below, sizeof(below), "%s/%s", path, e->d_name) >= sizeof(below))
			continue;
		if (e->d_type == DT_DIR)
			seen += walk(below);
		else if (e->d_type == DT_REG && ++seen)
			try_file(below);
	}
	closedir(dir);
	return seen;
}

static void group_files(void)
{
	printf("seen %lu\n", walk("/proc") + walk("/sys"));
}

/* ---- PID 1 and what leads from it ---- */

static long execute(const void *path)
{
	char *const argv[] = { (char *)(uintptr_t)path, NULL }, *const envp[] = { NULL };

	return execve(path, argv, envp);
}

static long set_child_ns(const void *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	return fd < 0 ? -1 : setns(fd, 0);
}

static void open_each(int pid)
{
	static const char *const names[] = { "exe", "mem", "environ", "maps", "auxv", "cwd", "root", "root/etc",
		"fd/0", "fd/3", "fdinfo", "map_files", "ns/user", "ns/mnt", "ns/net", "ns/pid", "stack", "syscall",
		"oom_score_adj", "clear_refs", "uid_map", "gid_map", "setgroups", "projid_map", "coredump_filter",
		"attr/current", "comm", "autogroup", "timens_offsets" };
	char path[64], target[256];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "/proc/%d/%s", pid, names[i]);
		if (i < 18)
			say(open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC), "read %s", names[i]);
		if (i < 7 || i >= 18)
			say(open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC), "write %s", names[i]);
		if (i < 14)
			say(readlink(path, target, sizeof(target)), "readlink %s", names[i]);
	}
}

static void group_init(void)
{
	struct iovec local = { target_buffer, 8 }, remote = { (void *)(uintptr_t)0x400000, 8 };
	struct open_how how = { .flags = O_PATH };
	int pidfd = (int)syscall(SYS_pidfd_open, 1, 0);

	open_each(1);
	say(in_child(execute, "/proc/1/exe"), "execve");
	say(chdir("/proc/1/root") < 0 ? -1 : chdir("/proc/1/cwd"), "chdir");
	say(syscall(SYS_openat2, AT_FDCWD, "/proc/1/root/../../", &how, sizeof(how)), "openat2");
	say(ptrace(PTRACE_ATTACH, 1, NULL, NULL), "ptrace attach");
	say(ptrace(0x4206 /* PTRACE_SEIZE */, 1, NULL, NULL), "ptrace seize");
	say(syscall(SYS_process_vm_readv, 1, &local, 1, &remote, 1, 0), "process_vm_readv");
	say(syscall(SYS_process_vm_writev, 1, &local, 1, &remote, 1, 0), "process_vm_writev");
	say(syscall(438 /* pidfd_getfd */, pidfd, 0, 0), "pidfd_getfd");
	say(syscall(SYS_kcmp, getpid(), 1, 0, 0, 0), "kcmp");
	say(setns(pidfd, CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWUSER), "setns by pidfd");
	say(in_child(set_child_ns, "/proc/1/ns/user"), "setns by name");
	say(syscall(SYS_get_robust_list, 1, target_buffer, target_buffer + 8), "get_robust_list");
	say(syscall(SYS_move_pages, 1, 0, NULL, NULL, NULL, 0), "move_pages");
	say(syscall(SYS_migrate_pages, 1, 0, NULL, NULL), "migrate_pages");
	say(syscall(SYS_perf_event_open, NULL, 1, -1, -1, 0), "perf_event_open");
}

/* Every signal to PID 1; that none reaches it shows in the session's life. */
static void group_signals(void)
{
	siginfo_t info = { .si_code = SI_QUEUE };
	int pidfd = (int)syscall(SYS_pidfd_open, 1, 0);

	for (int s = 1; s <= 64; s++) {
		kill(1, s);
		syscall(SYS_tgkill, 1, 1, s);
		syscall(424 /* pidfd_send_signal */, pidfd, s, NULL, 0);
		info.si_signo = s;
		syscall(SYS_rt_sigqueueinfo, 1, s, &info);
	}
	/* Numbers that are processes of the host; here they are nobody's, or mine. */
	for (size_t i = 0; host_pids && host_pids[i]; i++) {
		say(kill(atoi(host_pids[i]), 0), "kill %s", host_pids[i]);
		say(syscall(SYS_pidfd_open, atoi(host_pids[i]), 0), "pidfd_open %s", host_pids[i]);
		say(getpriority(PRIO_PROCESS, (id_t)atoi(host_pids[i])), "getpriority %s", host_pids[i]);
	}
	say(kill(1, 0), "PID 1");
}

/* ---- roots and descriptors ---- */

static bool outside(void)
{
	return access(marker, F_OK) == 0;
}

/* At the end of a try: 0 if it led outside, else ECHILD, which no call has for an answer. */
static long still_inside(void)
{
	const bool out = outside();

	errno = ECHILD;
	return out ? 0 : -1;
}

/* The classic: a root below, a descriptor of what is above, and up as far as it goes. */
static long chroot_up(const void *arg)
{
	(void)arg;
	int top = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	mkdir("/tmp/jail", 0755);
	if (chroot("/tmp/jail") < 0 || fchdir(top) < 0)
		return -1;
	for (int i = 0; i < 100; i++)
		if (chdir("..") < 0)
			return -1;
	if (chroot(".") < 0)
		return -1;
	/* It is the session's root that one arrives in. */
	if (access("/bin/busybox", F_OK) < 0)
		return -1;
	return still_inside();
}

static long pivot_up(const void *arg)
{
	(void)arg;
	mkdir("/tmp/new", 0755);
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/tmp/new", "tmpfs", 0, "size=64k") < 0 ||
		mkdir("/tmp/new/old", 0755) < 0 || syscall(SYS_pivot_root, "/tmp/new", "/tmp/new/old") < 0)
		return -1;
	if (chdir("/old/../../..") < 0)
		return -1;
	if (umount2("/old", MNT_DETACH) < 0)
		return -1;
	if (chroot(".") < 0)
		return -1;
	return still_inside();
}

static void list(const char *path)
{
	DIR *dir = opendir(path);

	for (const struct dirent *d; dir && (d = readdir(dir));)
		if (d->d_name[0] != '.')
			printf("below the root: %s/%s\n", path, d->d_name);
	if (dir)
		closedir(dir);
}

/* What lies below the root once it is taken away. */
static long umount_root(const void *arg)
{
	(void)arg;
	if (unshare(CLONE_NEWNS) < 0 || chdir("/") < 0)
		return -1;
	int ns = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	int r = umount2("/", MNT_DETACH), number = errno;
	if (chroot(".") < 0 || chdir("..") < 0)
		return -1;
	/* Who joins a mount namespace is in its root, whatever that is by now. */
	if (r == 0 && setns(ns, CLONE_NEWNS) < 0)
		return -1;
	if (r == 0) {
		list(".");
		list("./proc");
		list("./sys");
	}
	if (r == 0 || outside())
		return still_inside();
	errno = number;
	return -1;
}

static long tree_of_root(const void *path)
{
	int fd = (int)syscall(SYS_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | AT_RECURSIVE | O_CLOEXEC);

	if (fd < 0 || fchdir(fd) < 0)
		return -1;
	for (int i = 0; i < 100; i++)
		if (chdir("..") < 0)
			return -1;
	if (chroot(".") < 0)
		return -1;
	return still_inside();
}

static void group_roots(void)
{
	char path[64], target[4096];

	say(in_child(chroot_up, NULL), "chroot");
	say(in_child(pivot_up, NULL), "pivot_root");
	say(in_child(umount_root, NULL), "umount of /");
	say(in_child(tree_of_root, "/"), "open_tree of /");
	say(in_child(tree_of_root, "/proc/1/root"), "open_tree of PID 1's root");
	say(in_child(tree_of_root, "/proc/self/cwd/../.."), "open_tree of the working directory");
	say(outside() ? 0 : (errno = ENOENT, -1), "marker");
	for (int fd = 0; fd < 1024; fd++) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		ssize_t n = readlink(path, target, sizeof(target) - 1);
		if (n <= 0)
			continue;
		target[n] = '\0';
		printf("fd %d -> %s\n", fd, target);
		snprintf(path, sizeof(path), "/proc/self/fd/%d/../../../../../../../%s", fd, marker);
		say(access(path, F_OK), "beyond descriptor %d", fd);
	}
	struct {
		struct file_handle {
			unsigned int bytes;
			int type;
			unsigned char handle[8];
		} handle;
	} h = { { 8, 1, { 2 } } };
	static const char *const places[] = { "/", "/dev", "/proc", "/sys", "/dev/shm", "/dev/pts", "/tmp" };
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		int fd = open(places[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC), id;
		say(syscall(SYS_open_by_handle_at, fd, &h, O_RDONLY), "open_by_handle_at %s", places[i]);
		say(syscall(SYS_name_to_handle_at, fd, "", &h, &id, AT_EMPTY_PATH), "name_to_handle_at %s",
			places[i]);
	}
}

/* ---- mounts ---- */

static long clone_attach(const char *from, const char *to)
{
	int fd = (int)syscall(SYS_open_tree, AT_FDCWD, from, OPEN_TREE_CLONE | O_CLOEXEC);

	return fd < 0 ? -1 : syscall(SYS_move_mount, fd, "", AT_FDCWD, to, MOVE_MOUNT_F_EMPTY_PATH);
}

/* Every mount there is, made writable: as a mount, and as a file system. Says what can be written to afterwards. */
static void remount_all(void)
{
	char line[4096], point[1024], path[1100];
	FILE *mounts = fopen("/proc/self/mountinfo", "r");
	struct mount_attr attr = { .attr_clr = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID };

	while (mounts && fgets(line, sizeof(line), mounts)) {
		if (sscanf(line, "%*s %*s %*s %*s %1023s", point) != 1)
			continue;
		say(mount(NULL, point, NULL, MS_REMOUNT, NULL), "remount rw %s", point);
		say(mount(NULL, point, NULL, MS_REMOUNT | MS_BIND, NULL), "bind remount rw %s", point);
		say(syscall(442 /* mount_setattr */, AT_FDCWD, point, 0, &attr, sizeof(attr)), "mount_setattr %s",
			point);
		int fd = (int)syscall(433 /* fspick */, AT_FDCWD, point, 0);
		say(fd, "fspick %s", point);
		snprintf(path, sizeof(path), "%s/escape-write", point);
		say(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600) < 0 ? -1 : unlink(path), "write in %s", point);
	}
	if (mounts)
		fclose(mounts);
}

static void mount_new(void)
{
	static const char *const types[] = { "proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup", "cgroup2",
		"devtmpfs", "securityfs", "debugfs", "tracefs", "bpf", "configfs", "binfmt_misc", "fusectl", "pstore",
		"efivarfs", "hugetlbfs", "ramfs", "ext4", "xfs", "nfs", "9p", "fuse", "squashfs", "overlay" };
	char path[64];

	mkdir("/tmp/m", 0755);
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		snprintf(path, sizeof(path), "/tmp/m/%s", types[i]);
		mkdir(path, 0755);
		const char *options = strcmp(types[i], "overlay") == 0	? "lowerdir=/bin:/etc,userxattr"
				      : strcmp(types[i], "cgroup") == 0 ? "memory"
									: NULL;
		const char *source =
			strcmp(types[i], "ext4") == 0 || strcmp(types[i], "xfs") == 0 ? "/dev/null" : "none";
		say(mount(source, path, types[i], 0, options), "mount %s", types[i]);
		say((int)syscall(430 /* fsopen */, types[i], 0), "fsopen %s", types[i]);
	}
	/* Whatever was got that way shows files of the host, or of the session? */
	printf("seen %lu\n", walk("/tmp/m"));
}

static void group_mounts(void)
{
	remount_all();
	mount_new();
	say(mount("/dev/null", "/proc/version", NULL, MS_BIND, NULL), "bind over /proc");
	say(mount("/proc", "/tmp/m", NULL, MS_BIND | MS_REC, NULL), "bind of /proc");
	say(clone_attach("/proc/self", "/tmp"), "move_mount");
	say(mount(NULL, "/", NULL, MS_REC | MS_SHARED, NULL), "make shared");
	say(mount("/dev", "/tmp", NULL, MS_MOVE, NULL), "move of /dev");
	static const char *const covers[] = { "/proc/sys", "/proc/sysrq-trigger", "/proc/kcore", "/proc/fs",
		"/proc/irq", "/sys/fs/cgroup", "/sys", "/dev", "/proc" };
	for (size_t i = 0; i < sizeof(covers) / sizeof(covers[0]); i++)
		say(umount2(covers[i], MNT_DETACH), "umount %s", covers[i]);
	say(outside() ? 0 : (errno = ENOENT, -1), "marker");
}

/* ---- devices ---- */

static void group_devices(void)
{
	static const struct {
		mode_t type;
		unsigned int major, minor;
		const char *name;
	} nodes[] = { { S_IFBLK, 8, 0, "sda" }, { S_IFBLK, 253, 0, "vda" }, { S_IFBLK, 254, 0, "vda" },
		{ S_IFBLK, 259, 0, "nvme0n1" }, { S_IFBLK, 7, 0, "loop0" }, { S_IFBLK, 1, 0, "ram0" },
		{ S_IFCHR, 1, 1, "mem" }, { S_IFCHR, 1, 4, "port" }, { S_IFCHR, 1, 11, "kmsg" },
		{ S_IFCHR, 1, 3, "null" }, { S_IFCHR, 10, 229, "fuse" }, { S_IFCHR, 10, 237, "loop-control" },
		{ S_IFCHR, 10, 200, "net/tun" }, { S_IFCHR, 10, 232, "kvm" }, { S_IFCHR, 10, 238, "vhost-net" },
		{ S_IFCHR, 4, 0, "tty0" }, { S_IFCHR, 5, 1, "console" }, { S_IFCHR, 5, 2, "ptmx" },
		{ S_IFCHR, 10, 144, "nvram" }, { S_IFCHR, 10, 223, "uinput" }, { S_IFCHR, 29, 0, "fb0" },
		{ S_IFCHR, 0, 0, "whiteout" } };
	static const char *const places[] = { "/", "/tmp/", "/dev/", "/dev/shm/" };
	char path[128];

	for (size_t i = 0; i < sizeof(nodes) / sizeof(nodes[0]); i++) {
		for (size_t j = 0; j < sizeof(places) / sizeof(places[0]); j++) {
			snprintf(path, sizeof(path), "%sescape-%s", places[j], i < 21 ? "node" : "whiteout");
			int r = mknod(path, nodes[i].type | 0666, makedev(nodes[i].major, nodes[i].minor));
			say(r, "mknod %s%s", places[j], nodes[i].name);
			/* For a whiteout the kernel needs no privilege; it leads nowhere. */
			if (r == 0)
				say(open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC), "open %s%s", places[j],
					nodes[i].name);
			unlink(path);
		}
		snprintf(path, sizeof(path), "/dev/%s", nodes[i].name);
		if (nodes[i].major != 1 || nodes[i].minor != 3)
			say(open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC), "open %s", path);
	}
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), random = open("/dev/random", O_RDWR | O_CLOEXEC);
	int top = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC), count = 0;
	say(fchmod(null, 0600), "chmod /dev/null");
	say(fchown(null, 0, 0), "chown /dev/null");
	say(unlink("/dev/null"), "unlink /dev/null");
	say(rename("/dev/null", "/dev/zero"), "rename /dev/null");
	say(ioctl(random, RNDADDTOENTCNT, &count), "RNDADDTOENTCNT");
	say(ioctl(random, RNDRESEEDCRNG), "RNDRESEEDCRNG");
	say(ioctl(top, FIFREEZE, 0), "FIFREEZE");
	say(ioctl(open("/dev", O_RDONLY | O_DIRECTORY | O_CLOEXEC), FIFREEZE, 0), "FIFREEZE /dev");
	say(ioctl(top, FITRIM, target_buffer), "FITRIM");
}

int main(int argc, char *argv[])
{
	static const struct {
		const char *name;
		void (*run)(void);
	} groups[] = { { "files", group_files }, { "init", group_init }, { "signals", group_signals },
		{ "roots", group_roots }, { "mounts", group_mounts }, { "devices", group_devices },
		{ "calls", group_calls }, { "sockets", group_sockets }, { "netlink", group_netlink },
		{ "terminal", group_terminal }, { "privilege", group_privilege }, { "status", print_status },
		{ "namespaces", group_namespaces } };

	if (argc > 2) {
		marker = abstract_name = argv[2];
		host_pids = argv + 3;
	}
	mkdir("/tmp", 01777);
	for (size_t i = 0; argc > 1 && i < sizeof(groups) / sizeof(groups[0]); i++)
		if (strcmp(groups[i].name, argv[1]) == 0) {
			groups[i].run();
			puts("end");
			return 0;
		}
	return 2;
}
