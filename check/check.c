/* SPDX-License-Identifier: Apache-2.0 */
#include "check/item.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdarg.h>
#include <sys/capability.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#include "config/ids.h"
#include "netns/netns.h"
#include "netns/userns.h"

/* Linux 6.3, include/uapi/linux/memfd.h. */
#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

enum {
	SUBID_FILE_BYTES = 65536,
	TRY_SECONDS = 30, /* a child that tries something has this long */
	FDS_PER_SESSION = 8, /* of the supervisor, or of control: directory, cgroups, pidfd, sockets */
	FDS_ELSEWHERE = 256,
	PIDS_PER_SESSION = 64,
};

/* ---- saying it ---- */

void check_say(struct check *c, enum check_state state, const char *name, const char *remedy, const char *format, ...)
{
	va_list ap;

	/* Counted on, so that check_host() notices. */
	if (c->n++ >= c->max)
		return;
	struct check_item *item = &c->items[c->n - 1];
	*item = (struct check_item){ .state = state };
	snprintf(item->name, sizeof(item->name), "%s", name);
	snprintf(item->remedy, sizeof(item->remedy), "%s", state == CHECK_OK ? "" : remedy);
	va_start(ap, format);
	vsnprintf(item->detail, sizeof(item->detail), format, ap);
	va_end(ap);
}

/* R is what a trial gave: 0, or the negative errno that says why it is missing. */
static void say_tried(struct check *c, const char *name, int r, const char *what, const char *remedy)
{
	if (r == 0)
		ok(c, name, "%s", what);
	else
		check_say(c, CHECK_MISSING, name, remedy, "%s: %s", what, strerror(-r));
}

/* ---- looking ---- */

int check_read_text(int dir_fd, const char *path, char *text, size_t size)
{
	_close_ int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : RETRY_EINTR(read(fd, text, size - 1));

	if (n < 0)
		return -errno;
	text[n] = '\0';
	return 0;
}

/* The number in a file of /proc/sys; RET is FALLBACK where there is no such file. */
static uint64_t read_number(const char *path, uint64_t fallback)
{
	char text[32];

	return check_read_text(AT_FDCWD, path, text, sizeof(text)) < 0 ? fallback : strtoull(text, NULL, 10);
}

/* ---- trying ---- */

/* Runs TRY in a child, whose namespaces and mounts end with it. What TRY returned, or why it could not be run. */
static int in_child(const struct check *c, int (*try)(const struct check *))
{
	int status;
	pid_t pid = fork();

	if (pid < 0)
		return -errno;
	if (pid == 0) {
		alarm(TRY_SECONDS);
		const int r = try(c);
		_exit(r < -UINT8_MAX ? EIO : -r); /* all errno that user programs see fit */
	}
	if (RETRY_EINTR(waitpid(pid, &status, 0)) < 0)
		return -errno;
	return WIFEXITED(status) ? -WEXITSTATUS(status) : -ETIMEDOUT;
}

/* Becomes root of the user namespace, in a mount namespace of its own. */
static int enter_user(const struct check *c)
{
	if (setns(c->user_fd, CLONE_NEWUSER) < 0 || setgroups(0, NULL) < 0 || setresgid(0, 0, 0) < 0 ||
		setresuid(0, 0, 0) < 0 || unshare(CLONE_NEWNS) < 0)
		return -errno;
	return 0;
}

static int try_namespaces(const struct check *c)
{
	int r = enter_user(c);

	if (r == 0 && unshare(CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP) < 0)
		r = -errno;
	return r;
}

static int try_overlay(const struct check *c)
{
	const int r = enter_user(c);

	if (r == 0 && (mount("none", "/run", "tmpfs", 0, "size=1m") < 0 || mkdir("/run/lower", 0755) < 0 ||
			      mkdir("/run/upper", 0755) < 0 || mkdir("/run/work", 0755) < 0 ||
			      mount("none", "/run", "overlay", 0,
				      "lowerdir=/run/lower,upperdir=/run/upper,workdir=/run/work,userxattr") < 0))
		return -errno;
	return r;
}

/* Opens the network of sessions as the supervisor does, but in a network namespace that nobody else is in. */
static int open_scratch_network(const struct check *c, struct netns **ret)
{
	struct netns_config config = {
		.id_base = c->config->id_base, .max_slots = config_slots(c->config), .has_ipv6 = c->config->has_ipv6
	};

	memcpy(config.ipv4, c->config->ipv4, sizeof(config.ipv4));
	memcpy(config.ipv6, c->config->ipv6, sizeof(config.ipv6));
	return setns(c->net_fd, CLONE_NEWNET) < 0 ? -errno : netns_open(&config, ret, NULL);
}

static int try_policy(const struct check *c)
{
	struct netns *netns;
	int r = open_scratch_network(c, &netns);

	return r < 0 ? r : netns_load_policy(netns, NULL);
}

static int try_veth(const struct check *c)
{
	static const uint16_t port = 9222;
	struct netns_slot slot;
	struct netns *netns;
	int r = open_scratch_network(c, &netns);

	return r < 0 ? r : netns_make(netns, 1, NETNS_SPARE, &port, 1, &slot, NULL);
}

/* A detached mount of PATH whose ids are mapped as slot 1's are. */
static int try_idmap(const struct check *c, const char *path)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint32_t)c->user_fd };
	_close_ int tree = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	if (tree < 0 || mount_setattr(tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		return -errno;
	return 0;
}

/* ---- the kernel ---- */

static void check_kernel(struct check *c)
{
	struct utsname name;

	if (uname(&name) == 0 && check_release(name.release, 6, 1))
		ok(c, "kernel", "Linux %.60s", name.release);
	else
		check_say(c, CHECK_MISSING, "kernel", "install a newer kernel", "Linux %.40s is older than 6.1",
			name.release);
}

static void check_capabilities(struct check *c)
{
	/* What supervisor/privilege.c keeps, but for those that only ease something. */
	static const cap_value_t needed[] = { CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_SETUID, CAP_SETGID, CAP_SETPCAP,
		CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_MKNOD, CAP_KILL, CAP_SYS_CHROOT, CAP_SYS_PTRACE };
	cap_t have = cap_get_proc();

	for (size_t i = 0; have && i < ARRAY_SIZE(needed); i++) {
		cap_flag_value_t value = CAP_CLEAR;
		cap_get_flag(have, needed[i], CAP_PERMITTED, &value);
		if (value == CAP_SET)
			continue;
		char *name = cap_to_name(needed[i]);
		check_say(c, CHECK_MISSING, "capabilities",
			"run carreld as root, outside of containers; see CapabilityBoundingSet= of its unit",
			"%s is not permitted", name ? name : "one");
		cap_free(name);
		cap_free(have);
		return;
	}
	cap_free(have);
	ok(c, "capabilities", "all that it needs");
}

static void check_calls(struct check *c)
{
	const uint32_t kill = SECCOMP_RET_KILL_PROCESS;
	const int r = syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &kill) < 0 ? -errno : 0;

	say_tried(c, "seccomp", r, "system call filters", "use a kernel with CONFIG_SECCOMP_FILTER");
	/* Without arguments it is refused where it exists. */
	const bool has_clone3 = syscall(SYS_clone3, NULL, 0) < 0 && errno != ENOSYS;
	say_tried(c, "clone3", has_clone3 ? 0 : -ENOSYS, "clone3 into a cgroup, with a pidfd",
		"run carreld outside of containers and filters that hide clone3");

	_close_ int fd = memfd_create("carrel-check", MFD_CLOEXEC | MFD_EXEC);
	if (fd < 0 && errno == EINVAL) /* before 6.3 all are executable */
		fd = memfd_create("carrel-check", MFD_CLOEXEC);
	say_tried(c, "memfd", fd < 0 ? -errno : 0, "executable memory files", "sysctl -w vm.memfd_noexec=1");
}

static void check_namespaces(struct check *c)
{
	static const char path[] = "/proc/sys/user/max_user_namespaces";
	static const char remedy[] = "sysctl -w user.max_user_namespaces=65536";
	const uint64_t most = read_number(path, 0);
	const int r = userns_make(c->config->id_base, &c->user_fd, &c->net_fd, NULL);

	if (r < 0) {
		say_tried(c, "namespaces", r, "user and network namespaces", remedy);
		return;
	}
	if (most < c->config->max_sessions)
		check_say(c, CHECK_DEGRADED, "namespaces", remedy, "user.max_user_namespaces is %llu",
			(unsigned long long)most);
	else
		say_tried(c, "namespaces", in_child(c, try_namespaces), "user, mount, pid, net, ipc, uts, cgroup",
			"use a kernel with all namespaces");
	say_tried(c, "overlay", in_child(c, try_overlay), "overlay in a user namespace",
		"modprobe overlay, from a kernel of 5.11 or later");
}

/* ---- cgroups ---- */

static int read_controllers(char *text, size_t size)
{
	_close_ int fs = fsopen("cgroup2", FSOPEN_CLOEXEC);

	if (fs < 0 || fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	_close_ int root = fsmount(fs, FSMOUNT_CLOEXEC, 0);
	return root < 0 ? -errno : check_read_text(root, "cgroup.controllers", text, size);
}

static void check_cgroup(struct check *c)
{
	static const char *const needed[] = { "cpu", "memory", "pids", "io" };
	const bool warn = c->config->missing_controllers == MISSING_WARN;
	const enum check_state state = warn ? CHECK_DEGRADED : CHECK_MISSING;
	const char *remedy =
		warn ? "boot with systemd.unified_cgroup_hierarchy=1"
		     : "boot with systemd.unified_cgroup_hierarchy=1, or set \"missing_controllers\": \"warn\"";
	char text[256], name[32];

	const int r = read_controllers(text, sizeof(text));
	say_tried(c, "cgroup", r, "cgroup v2", "boot with systemd.unified_cgroup_hierarchy=1");
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(needed); i++) {
		snprintf(name, sizeof(name), "cgroup.%s", needed[i]);
		if (check_has_word(text, needed[i]))
			ok(c, name, "available");
		else
			check_say(c, state, name, remedy, "no such controller in cgroup v2: its limits do not hold");
	}
}

/* ---- network ---- */

static bool wants_outside(const struct config *config)
{
	for (size_t i = 0; i < config->n_templates; i++) {
		const struct template *t = &config->templates[i];
		if (!streq(t->egress, "none"))
			return true;
		for (char **policy = t->egress_allowed; *policy; policy++)
			if (!streq(*policy, "none"))
				return true;
	}
	return false;
}

static void check_forwarding(struct check *c, const char *name, const char *path, const char *remedy)
{
	if (read_number(path, 0) > 0)
		ok(c, name, "on");
	else
		check_say(c, CHECK_DEGRADED, name, remedy,
			"off: sessions reach nothing outside, whatever their egress");
}

static void check_network(struct check *c)
{
	if (c->net_fd < 0)
		return;
	say_tried(c, "net.nftables", in_child(c, try_policy), "the policy's rules load",
		"modprobe -a nf_tables nft_masq nft_ct, or use a kernel with them");
	say_tried(c, "net.veth", in_child(c, try_veth), "a session's link, addresses and redirect",
		"modprobe -a veth nft_nat, or use a kernel with them");
	if (c->config->has_ipv6 && read_number("/proc/sys/net/ipv6/conf/all/disable_ipv6", 1) == 0)
		ok(c, "net.ipv6", "on");
	else if (c->config->has_ipv6)
		check_say(c, CHECK_MISSING, "net.ipv6",
			"sysctl -w net.ipv6.conf.all.disable_ipv6=0, or set \"ipv6\": null in carrel.json",
			"off, but configured");
	if (!wants_outside(c->config))
		return;
	check_forwarding(c, "net.forwarding4", "/proc/sys/net/ipv4/ip_forward", "sysctl -w net.ipv4.ip_forward=1");
	if (c->config->has_ipv6)
		check_forwarding(c, "net.forwarding6", "/proc/sys/net/ipv6/conf/all/forwarding",
			"sysctl -w net.ipv6.conf.all.forwarding=1");
}

/* ---- room ---- */

static void check_room(struct check *c)
{
	const uint64_t sessions = c->config->max_sessions, pids = read_number("/proc/sys/kernel/pid_max", 0);
	const uint64_t fds = FDS_ELSEWHERE + FDS_PER_SESSION * sessions;
	struct rlimit limit = { 0 };

	if (pids >= PIDS_PER_SESSION * sessions)
		ok(c, "pids", "kernel.pid_max is %llu", (unsigned long long)pids);
	else
		check_say(c, CHECK_DEGRADED, "pids", "sysctl -w kernel.pid_max=4194304",
			"kernel.pid_max is %llu: %llu for each of %llu sessions", (unsigned long long)pids,
			(unsigned long long)(pids / sessions), (unsigned long long)sessions);
	getrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_max >= fds)
		ok(c, "open_files", "at most %llu", (unsigned long long)limit.rlim_max);
	else
		check_say(c, CHECK_DEGRADED, "open_files",
			"raise LimitNOFILE= of carreld's unit, or lower max_sessions",
			"at most %llu; %llu sessions take %llu", (unsigned long long)limit.rlim_max,
			(unsigned long long)sessions, (unsigned long long)fds);
}

/* ---- ids ---- */

static void check_ids(struct check *c)
{
	static const char *const files[] = { "/etc/subuid", "/etc/subgid" };
	const struct config *config = c->config;
	const uint64_t count =
		(config->max_sessions + (uint64_t)config->spare_networks * config->n_templates) * IDS_PER_SLOT;
	char line[48];

	_free_ char *text = malloc(SUBID_FILE_BYTES);
	for (size_t i = 0; text && i < ARRAY_SIZE(files); i++) {
		if (check_read_text(AT_FDCWD, files[i], text, SUBID_FILE_BYTES) == 0 &&
			check_subids(text, config->id_base, count, line, sizeof(line))) {
			check_say(c, CHECK_MISSING, "ids",
				"set \"id_base\" in carrel.json to a range that nobody else has",
				"%s gives ids of sessions away: %s", files[i], line);
			return;
		}
	}
	ok(c, "ids", "%u and %llu more", config->id_base, (unsigned long long)count - 1);
}

static void check_account(struct check *c)
{
	static const char remedy[] =
		"systemd-sysusers, or: adduser --system --group carrel; or set \"user\" and \"group\" in carrel.json";
	const char *user = c->config->user, *group = c->config->group;
	uid_t uid;
	gid_t gid;

	if (ids_user(user, &uid, &gid) < 0)
		check_say(c, CHECK_MISSING, "account", remedy, "there is no user %s", user);
	else if (ids_group(group, &gid) < 0)
		check_say(c, CHECK_MISSING, "account", remedy, "there is no group %s", group);
	else if (uid == 0 || gid == 0)
		check_say(c, CHECK_MISSING, "account", remedy, "carrel-control must not run as %s:%s", user, group);
	else
		ok(c, "account", "carrel-control runs as %s:%s", user, group);
}

/* ---- templates ---- */

/* PATH exists below ROOT_FD with that as its root, whatever links there are. */
static bool exists_in(int root_fd, const char *path)
{
	struct open_how how = { .flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT };
	_close_ int fd = (int)syscall(SYS_openat2, root_fd, path, &how, sizeof(how));

	return fd >= 0;
}

/* The workload's program comes with a bind mount of the host. */
static bool is_bound(const struct template *t)
{
	for (size_t i = 0; i < t->n_mounts; i++) {
		const struct config_mount *mount = &t->mounts[i];
		const size_t n = strlen(mount->target);
		if (mount->kind == MOUNT_BIND && streq(t->command[0], mount->target))
			return access(mount->source, X_OK) == 0;
		if (mount->kind == MOUNT_BIND && strncmp(t->command[0], mount->target, n) == 0 &&
			t->command[0][n] == '/') {
			_close_ int fd = open(mount->source, O_PATH | O_DIRECTORY | O_CLOEXEC);
			return fd >= 0 && exists_in(fd, t->command[0] + n);
		}
	}
	return false;
}

/* 0 where sessions of the template can be made, as far as one can see; else what is wrong in WHAT. */
static int check_template(struct check *c, const struct template *t, char *what, size_t size)
{
	struct rlimit limit;
	char path[512];

	snprintf(path, sizeof(path), "%s/rootfs/%s/0", c->config->state_dir, t->image);
	_close_ int layer = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (layer < 0)
		return snprintf(what, size, "there is no image %s", t->image);
	for (size_t i = 0; c->user_fd >= 0 && i < t->n_mounts; i++) {
		const int r = t->mounts[i].kind == MOUNT_BIND ? try_idmap(c, t->mounts[i].source) : 0;
		if (r < 0)
			return snprintf(what, size, "mount of %s: %s", t->mounts[i].source, strerror(-r));
	}
	/* Of an image with several layers links may lead from one to the other: not judged here. */
	snprintf(path, sizeof(path), "%s/rootfs/%s/1", c->config->state_dir, t->image);
	if (t->command && t->command[0][0] == '/' && access(path, F_OK) < 0 && !exists_in(layer, t->command[0]) &&
		!is_bound(t))
		return snprintf(what, size, "image %s has no %s", t->image, t->command[0]);
	if (t->limits.value[LIMIT_OPEN_FILES] != LIMIT_UNSET && getrlimit(RLIMIT_NOFILE, &limit) == 0 &&
		t->limits.value[LIMIT_OPEN_FILES] > limit.rlim_max)
		return snprintf(
			what, size, "limits.open_files is above the host's %llu", (unsigned long long)limit.rlim_max);
	return 0;
}

static void check_templates(struct check *c)
{
	static const char remedy[] =
		"`carrel image build`, or correct the template; its sessions fail, others do not";
	char what[256], name[sizeof(c->items->name)];
	size_t good = 0;

	const int r = c->user_fd < 0 ? 0 : try_idmap(c, c->config->state_dir);
	if (r == -ENOENT)
		check_say(c, CHECK_DEGRADED, "idmap", "it is made when carreld starts", "%.60s is not there yet",
			c->config->state_dir);
	else if (c->user_fd >= 0)
		say_tried(c, "idmap", r, "idmapped mounts of the state directory",
			"put \"state_dir\" on ext4, xfs or btrfs");
	for (size_t i = 0; i < c->config->n_templates; i++) {
		const struct template *t = &c->config->templates[i];
		if (check_template(c, t, what, sizeof(what)) == 0) {
			good++;
			continue;
		}
		/* Broken ones beyond the room for items are counted only. */
		snprintf(name, sizeof(name), "template.%s", t->name);
		if (c->n + 1 < c->max)
			check_say(c, CHECK_DEGRADED, name, remedy, "%s", what);
	}
	if (good == c->config->n_templates)
		ok(c, "templates", "all %zu can be used", good);
	else
		check_say(c, CHECK_DEGRADED, "templates", remedy, "%zu of %zu can be used", good,
			c->config->n_templates);
}

/* In this order: later ones use the namespaces that check_namespaces() leaves. */
static void (*const checks[])(struct check *) = { check_kernel, check_capabilities, check_calls, check_namespaces,
	check_cgroup, check_network, check_room, check_ids, check_account, check_templates, check_hazards };

int check_host(const struct config *config, struct check_item *items, size_t max, size_t *ret_n)
{
	struct check c = { .config = config, .items = items, .max = max, .user_fd = -1, .net_fd = -1 };

	for (size_t i = 0; i < ARRAY_SIZE(checks); i++)
		checks[i](&c);
	close_fd(c.user_fd);
	close_fd(c.net_fd);
	if (c.n > max)
		return -ENOBUFS;
	*ret_n = c.n;
	return 0;
}
