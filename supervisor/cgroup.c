/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cgroup v2 tree: <cgroup>/sessions/<id> carries the limits and is root's alone; <id>/payload holds the processes
 * and is the session's own where its template delegates it. Reached through a mount of this process's own, so it does
 * not matter where, or whether, the host shows the tree.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "supervisor/supervisor.h"

enum { MAX_DESCENDANTS = 1024, MAX_DEPTH = 32, CPU_PERIOD_US = 100000 };

static const char *const wanted_controllers[] = { "cpu", "memory", "pids", "io" };

static int write_at(int dir, const char *name, const char *text)
{
	/* Nonblocking: a lower memory.max or memory.high does not wait until memory is reclaimed (since Linux 6.16). */
	_close_ int fd = openat(dir, name, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return -errno;
	return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

/* The kernel's text, terminated; empty when there is no such file. */
static void read_at(int dir, const char *name, char *buf, size_t size)
{
	buf[0] = '\0';
	_close_ int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return;
	ssize_t n = read(fd, buf, size - 1);
	buf[n > 0 ? n : 0] = '\0';
}

static bool has_word(const char *text, const char *word)
{
	size_t n = strlen(word);

	for (const char *p = text; (p = strstr(p, word)); p += n)
		if ((p == text || p[-1] == ' ') && (p[n] == '\0' || p[n] == ' ' || p[n] == '\n'))
			return true;
	return false;
}

/*
 * Hands to the children of DIR what it has itself; what it has not, the limits' "enforced" shows. All in one write, which
 * succeeds or fails as a whole: a cgroup with processes of its own may hand down cpu and pids but not memory, and if it
 * did its children could not have processes any more (cgroup-v2.rst, "Threads").
 */
static void hand_down(int dir)
{
	char have[256], given[256], orders[64];
	int n = 0;

	read_at(dir, "cgroup.controllers", have, sizeof(have));
	read_at(dir, "cgroup.subtree_control", given, sizeof(given));
	for (size_t i = 0; i < ARRAY_SIZE(wanted_controllers); i++)
		if (has_word(have, wanted_controllers[i]) && !has_word(given, wanted_controllers[i]))
			n += snprintf(orders + n, sizeof(orders) - (size_t)n, "+%s ", wanted_controllers[i]);
	if (n > 0)
		write_at(dir, "cgroup.subtree_control", orders);
}

static int open_dir(int dir, const char *name)
{
	int fd = openat(dir, name, OPEN_DIR);
	return fd < 0 ? -errno : fd;
}

static int mount_tree(void)
{
	_close_ int fs = fsopen("cgroup2", FSOPEN_CLOEXEC);
	if (fs < 0 || fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	int fd = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	return fd < 0 ? -errno : fd;
}

/*
 * The disk that has DIRECTORY, as io.max wants it: "8:0", of a partition the whole. Empty where there is none, as for a
 * tmpfs or a file system of several disks.
 */
static void find_disk(const char *directory, char *buf, size_t size)
{
	char path[64], text[16];
	struct stat st;

	buf[0] = '\0';
	if (stat(directory, &st) < 0 || major(st.st_dev) == 0)
		return;
	/* The link leads to the device's directory, and a partition's lies in that of its disk. */
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/partition", major(st.st_dev), minor(st.st_dev));
	read_at(AT_FDCWD, path, text, sizeof(text));
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%sdev", major(st.st_dev), minor(st.st_dev),
		text[0] ? "../" : "");
	read_at(AT_FDCWD, path, buf, size);
	buf[strcspn(buf, "\n")] = '\0';
}

/* The limits that hold in the children of a cgroup that hands down the controllers GIVEN. */
static uint32_t enforced_limits(const struct supervisor *super, const char *given)
{
	uint32_t mask = 0;

	for (uint32_t i = 0; i < LIMIT_COUNT; i++)
		if ((!limit_table[i].controller || has_word(given, limit_table[i].controller)) &&
			(limit_table[i].carrier != CARRIER_CGROUP_IO || super->disk[0]))
			mask |= UINT32_C(1) << i;
	return mask;
}

/*
 * The host may have all controllers and yet none for us: a cgroup above with processes of its own hands nothing down
 * (cgroup-v2.rst, "No Internal Process Constraint").
 */
static int require_controllers(const struct supervisor *super, const char *given, struct err *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(wanted_controllers); i++)
		if (super->config.missing_controllers == MISSING_REFUSE && !has_word(given, wanted_controllers[i]))
			return err_set(err, -EOPNOTSUPP, "cgroup", "%s has no controller \"%s\" to hand down",
				super->config.cgroup, wanted_controllers[i]);
	return 0;
}

/* What all sessions together may have, so that the host and carrel itself have the rest. */
static int reserve_for_host(const struct supervisor *super, struct err *err)
{
	const struct config *config = &super->config;
	const uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
	const uint64_t cpus = (uint64_t)sysconf(_SC_NPROCESSORS_ONLN) * 1000;
	char bytes[32] = "max", quota[64] = "max";

	if (config->reserve_memory_bytes >= memory || config->reserve_cpus >= cpus)
		return err_set(err, -ERANGE, "cgroup", "host_reserve is all that this host has");
	if (config->reserve_memory_bytes > 0)
		snprintf(bytes, sizeof(bytes), "%llu", (unsigned long long)(memory - config->reserve_memory_bytes));
	if (config->reserve_cpus > 0)
		snprintf(quota, sizeof(quota), "%llu %d",
			(unsigned long long)(cpus - config->reserve_cpus) * CPU_PERIOD_US / 1000, CPU_PERIOD_US);
	/* Where there is no such controller, "missing_controllers" has decided. */
	write_at(super->cgroup_fd, "memory.max", bytes);
	write_at(super->cgroup_fd, "cpu.max", quota);
	return 0;
}

int cgroup_open(struct supervisor *super, struct err *err)
{
	char path[512], given[256];
	int r = copy_string(path, sizeof(path), super->config.cgroup);
	if (r < 0)
		return err_set(err, r, "cgroup", "%s", super->config.cgroup);
	_close_ int dir = mount_tree();
	if (dir < 0)
		return err_set(err, dir, "cgroup", "mount of cgroup2");
	char *rest = path, *name;
	bool last = false;
	while (!last) {
		name = strsep(&rest, "/");
		if (!name) {
			name = (char *)(uintptr_t) "sessions";
			last = true;
		}
		if (!name[0])
			continue;
		hand_down(dir);
		if (mkdirat(dir, name, 0755) < 0 && errno != EEXIST)
			return err_set(err, -errno, "cgroup", "%s in %s", name, super->config.cgroup);
		int below = open_dir(dir, name);
		if (below < 0)
			return err_set(err, below, "cgroup", "%s in %s", name, super->config.cgroup);
		close_fd(dir);
		dir = below;
	}
	hand_down(dir);
	read_at(dir, "cgroup.subtree_control", given, sizeof(given));
	find_disk(super->config.state_dir, super->disk, sizeof(super->disk));
	super->controllers = enforced_limits(super, given);
	super->cgroup_fd = steal_fd(&dir);
	r = require_controllers(super, given, err);
	if (r == 0)
		r = reserve_for_host(super, err);
	if (r < 0)
		cgroup_remove_root(super);
	return r;
}

void cgroup_remove_root(struct supervisor *super)
{
	char path[512];

	_close_ int top = mount_tree();
	if (top < 0 || (size_t)snprintf(path, sizeof(path), "%s/sessions", super->config.cgroup) >= sizeof(path))
		return;
	close_fdp(&super->cgroup_fd);
	/* Only what is empty goes; directories above ours are not ours. */
	if (unlinkat(top, path, AT_REMOVEDIR) == 0)
		unlinkat(top, super->config.cgroup, AT_REMOVEDIR);
}

static int set_limit(const struct session *session, enum limit limit, uint64_t value)
{
	const struct limit_row *row = &limit_table[limit];
	unsigned long long number = value;
	char text[64];

	if (row->carrier == CARRIER_CGROUP_CPU)
		snprintf(text, sizeof(text), "%llu %d", number * CPU_PERIOD_US / 1000, CPU_PERIOD_US);
	else if (row->carrier == CARRIER_CGROUP_IO)
		snprintf(text, sizeof(text), "%s %s=%llu", session->super->disk, row->key, number);
	else
		snprintf(text, sizeof(text), "%llu", number);
	return write_at(session->cgroup_fd, row->file, text);
}

/*
 * memory.low of a session protects it only as far as the cgroups above are protected (cgroup-v2.rst, "memory.low"): ours
 * have what all sessions have together. Whoever manages the cgroups above those decides about them.
 */
static void protect_memory(const struct supervisor *super)
{
	uint64_t sum = 0;
	char text[24];

	for (const struct session *s = super->sessions; s; s = s->next) {
		uint64_t low = s->entry.limits.value[LIMIT_MEMORY_LOW];
		sum += low == LIMIT_UNSET || s->cgroup_fd < 0 ? 0 : low;
	}
	snprintf(text, sizeof(text), "%llu", (unsigned long long)sum);
	write_at(super->cgroup_fd, "memory.low", text);
	write_at(super->cgroup_fd, "../memory.low", text);
}

int cgroup_set_limits(const struct session *session, const struct limits *limits, struct err *err)
{
	for (enum limit i = 0; i < LIMIT_COUNT; i++) {
		const bool is_there = limit_table[i].carrier != CARRIER_CGROUP_IO || session->super->disk[0];
		if (!limit_table[i].controller || limits->value[i] == LIMIT_UNSET || !is_there)
			continue;
		int r = set_limit(session, i, limits->value[i]);
		/* No such file: no such controller, which "enforced" says. */
		if (r < 0 && r != -ENOENT)
			return err_set(err, r, "cgroup", "%s", limit_table[i].file);
	}
	return 0;
}

void cgroup_limits_changed(const struct session *session)
{
	if (session->entry.limits.value[LIMIT_MEMORY_LOW] != LIMIT_UNSET)
		protect_memory(session->super);
}

/* The files that a delegated cgroup's owner may write; cgroup-v2.rst, "Delegation". */
static const char *const delegated_files[] = { "cgroup.procs", "cgroup.threads", "cgroup.subtree_control" };

static int delegate(const struct session *session, struct err *err)
{
	const struct supervisor *super = session->super;
	uid_t owner = super->config.id_base + (session->entry.slot - 1) * UINT32_C(65536);
	char text[16];

	/* Dying cgroups cost the host memory: bound their number. */
	snprintf(text, sizeof(text), "%d", MAX_DESCENDANTS);
	int r = write_at(session->cgroup_fd, "cgroup.max.descendants", text);
	snprintf(text, sizeof(text), "%d", MAX_DEPTH);
	if (r == 0)
		r = write_at(session->cgroup_fd, "cgroup.max.depth", text);
	hand_down(session->cgroup_fd);
	if (r == 0 && fchown(session->payload_fd, owner, owner) < 0)
		r = -errno;
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(delegated_files); i++)
		if (fchownat(session->payload_fd, delegated_files[i], owner, owner, AT_SYMLINK_NOFOLLOW) < 0)
			r = -errno;
	return r < 0 ? err_set(err, r, "cgroup", "delegation") : 0;
}

int cgroup_make(struct session *session, struct err *err)
{
	const char *id = session->entry.id;
	int r;

	if (mkdirat(session->super->cgroup_fd, id, 0755) < 0)
		return err_set(err, -errno, "cgroup", "%s", id);
	session->cgroup_fd = open_dir(session->super->cgroup_fd, id);
	if (session->cgroup_fd < 0)
		return err_set(err, session->cgroup_fd, "cgroup", "%s", id);
	if (mkdirat(session->cgroup_fd, "payload", 0755) < 0)
		return err_set(err, -errno, "cgroup", "%s/payload", id);
	session->payload_fd = open_dir(session->cgroup_fd, "payload");
	if (session->payload_fd < 0)
		return err_set(err, session->payload_fd, "cgroup", "%s/payload", id);
	r = cgroup_set_limits(session, &session->entry.limits, err);
	/* A session that lost one process to the OOM killer is not worth keeping half alive. */
	if (r == 0 && (super_enforces(session->super, LIMIT_MEMORY)))
		r = write_at(session->cgroup_fd, "memory.oom.group", "1");
	if (r < 0)
		return r;
	cgroup_limits_changed(session);
	return session->template->cgroup ? delegate(session, err) : 0;
}

int cgroup_kill(struct session *session)
{
	return session->cgroup_fd >= 0 ? write_at(session->cgroup_fd, "cgroup.kill", "1") : 0;
}

int cgroup_freeze(struct session *session, bool freeze)
{
	return write_at(session->cgroup_fd, "cgroup.freeze", freeze ? "1" : "0");
}

static uint64_t number_after(const char *text, const char *key)
{
	size_t n = key ? strlen(key) : 0;

	for (const char *line = text; line && *line; line = strchr(line, '\n'), line += line ? 1 : 0)
		if (!key || (strncmp(line, key, n) == 0 && line[n] == ' '))
			return strtoull(key ? line + n + 1 : line, NULL, 10);
	return 0;
}

uint64_t cgroup_read(const struct session *session, const char *file, const char *key)
{
	char text[1024];

	if (session->cgroup_fd < 0)
		return 0;
	read_at(session->cgroup_fd, file, text, sizeof(text));
	return number_after(text, key);
}

bool cgroup_is_populated(const struct session *session)
{
	return cgroup_read(session, "cgroup.events", "populated") != 0;
}

bool cgroup_is_frozen(const struct session *session)
{
	return cgroup_read(session, "cgroup.freeze", NULL) != 0;
}

/* Removes DIR/NAME and every cgroup below it, deepest first. The kernel bounds the depth (MAX_DEPTH). */
static int remove_tree(int dir, const char *name, int depth)
{
	if (unlinkat(dir, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
		return 0;
	if (errno != EBUSY && errno != ENOTEMPTY)
		return -errno;
	if (depth > MAX_DEPTH + 2)
		return -ELOOP;
	int fd = open_dir(dir, name);
	if (fd < 0)
		return fd;
	DIR *entries = fdopendir(fd);
	if (!entries) {
		int r = -errno;
		close_fd(fd);
		return r;
	}
	int r = 0;
	for (struct dirent *e; r == 0 && (e = readdir(entries));)
		if (e->d_type == DT_DIR && !streq(e->d_name, ".") && !streq(e->d_name, ".."))
			r = remove_tree(dirfd(entries), e->d_name, depth + 1);
	closedir(entries);
	if (r == 0 && unlinkat(dir, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		r = -errno;
	return r;
}

int cgroup_remove(struct session *session)
{
	if (session->cgroup_fd < 0)
		session->cgroup_fd = open_dir(session->super->cgroup_fd, session->entry.id);
	if (session->cgroup_fd < 0) {
		session->cgroup_fd = -1;
		return 0;
	}
	cgroup_kill(session);
	if (cgroup_is_populated(session))
		return -EAGAIN;
	close_fdp(&session->payload_fd);
	int r = remove_tree(session->super->cgroup_fd, session->entry.id, 0);
	if (r == 0) {
		close_fdp(&session->cgroup_fd);
		cgroup_limits_changed(session);
	}
	return r;
}

bool cgroup_contains(const struct session *session, pid_t pid)
{
	char path[64], text[4096], want[NAME_SIZE + 32];

	snprintf(path, sizeof(path), "/proc/%d/cgroup", pid);
	snprintf(want, sizeof(want), "/sessions/%s/payload", session->entry.id);
	read_at(AT_FDCWD, path, text, sizeof(text));
	for (char *rest = text, *line; (line = strsep(&rest, "\n"));) {
		/* "0::/<cgroup>/sessions/<id>/payload[/...]": hierarchy 0 is cgroup v2. */
		char *at = strncmp(line, "0::", 3) == 0 ? strstr(line, want) : NULL;
		if (at && (at[strlen(want)] == '\0' || at[strlen(want)] == '/'))
			return true;
	}
	return false;
}
