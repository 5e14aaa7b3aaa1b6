/* SPDX-License-Identifier: Apache-2.0 */
#include "control/sandbox.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

/* ---- privilege ---- */

/* The supervisor has dropped it all already; this is the proof, and what makes starting by hand as safe. */
static int drop_privilege(struct err *err)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { 0 }, have[_LINUX_CAPABILITY_U32S_3];
	uid_t ruid, euid, suid;
	gid_t rgid, egid, sgid;

	if (getresuid(&ruid, &euid, &suid) < 0 || getresgid(&rgid, &egid, &sgid) < 0)
		return err_set(err, -errno, "privilege", "ids");
	if (!ruid || !euid || !suid || !rgid || !egid || !sgid)
		return err_set(err, -EPERM, "privilege", "runs as root");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return err_set(err, -errno, "privilege", "prctl");
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 || syscall(SYS_capget, &header, have) < 0)
		return err_set(err, -errno, "privilege", "capabilities");
	/* Asked first: a service manager that has taken all of them away refuses this call, too. */
	if (memcmp(have, none, sizeof(none)) != 0 && syscall(SYS_capset, &header, none) < 0)
		return err_set(err, -errno, "privilege", "capabilities");
	return 0;
}

/* ---- files ---- */

/* Of ABI 3 and later (Linux 6.2, 6.7, 6.10, 6.12); headers of older kernels do not have them. */
#define FS_TRUNCATE (UINT64_C(1) << 14)
#define FS_IOCTL_DEV (UINT64_C(1) << 15)
#define NET_BIND_TCP (UINT64_C(1) << 0)
#define NET_CONNECT_TCP (UINT64_C(1) << 1)
/* Of MSG_FASTOPEN (linux/socket.h): sends and connects in one. */
#define FASTOPEN 0x20000000
#define SCOPE_ABSTRACT_UNIX_SOCKET (UINT64_C(1) << 0)
#define SCOPE_SIGNAL (UINT64_C(1) << 1)

/* struct landlock_ruleset_attr as of ABI 6. */
struct ruleset {
	uint64_t fs, net, scoped;
};

#define READ (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define READ_WRITE_FILE (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE)
#define KEEP_FILES                                                                                             \
	(READ | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_REMOVE_FILE | \
		FS_TRUNCATE)
/* What has rules at all; everything that is not permitted below is refused. */
#define ALL_OF_ABI_1 ((UINT64_C(1) << 13) - 1)

enum base {
	BASE_CONFIG,
	BASE_STATE,
	BASE_RUN,
	BASE_ROOT,
};

/* clang-format off */
static const struct {
	enum base base;
	const char *path;
	uint64_t access;
} files[] = {
	{ BASE_CONFIG, "",                       READ },		/* root-owned configuration */
	{ BASE_STATE,  "/control",               KEEP_FILES },		/* the registry: SQLite's file, log and journal */
	{ BASE_RUN,    "/endpoints",             LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_REMOVE_FILE },	/* ports of sessions */
	{ BASE_STATE,  "/images",                READ },		/* what an image runs by default */
	/* A session's cgroup comes as a descriptor, but its files are opened here; rules hold for inodes, however mounted. */
	{ BASE_ROOT,   "/sys/fs/cgroup",         READ },
	{ BASE_ROOT,   "/sys/fs/cgroup/unified", READ },
	{ BASE_ROOT,   "/dev/null",              READ_WRITE_FILE },	/* what a probe's command reads and writes */
	{ BASE_ROOT,   "/dev/urandom",           LANDLOCK_ACCESS_FS_READ_FILE },	/* SQLite's random numbers */
};
/* clang-format on */

/* The handled rights of a kernel with this ABI, and the size of the attributes that it knows. */
static struct ruleset all_rights(long abi, size_t *ret_size)
{
	struct ruleset ruleset = { .fs = ALL_OF_ABI_1 };

	if (abi >= 2)
		ruleset.fs |= LANDLOCK_ACCESS_FS_REFER;
	if (abi >= 3)
		ruleset.fs |= FS_TRUNCATE;
	if (abi >= 4)
		ruleset.net = NET_BIND_TCP | NET_CONNECT_TCP;
	if (abi >= 5)
		ruleset.fs |= FS_IOCTL_DEV;
	if (abi >= 6)
		ruleset.scoped = SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL;
	*ret_size = abi >= 6   ? sizeof(ruleset)
		    : abi >= 4 ? offsetof(struct ruleset, scoped)
			       : offsetof(struct ruleset, net);
	return ruleset;
}

/* Permits ACCESS to PATH and below. A path that is not there needs no rule. */
static int permit(int ruleset_fd, const char *path, uint64_t access)
{
	_close_ int fd = open(path, O_PATH | O_CLOEXEC);

	if (fd < 0)
		return errno == ENOENT || errno == EACCES ? 0 : -errno;
	struct landlock_path_beneath_attr rule = { .allowed_access = access, .parent_fd = fd };
	if (syscall(SYS_landlock_add_rule, ruleset_fd, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
		return -errno;
	return 0;
}

/* struct landlock_net_port_attr and LANDLOCK_RULE_NET_PORT as of ABI 4. */
struct port_rule {
	uint64_t access, port;
};

enum { RULE_NET_PORT = 2 };

/* Permits to listen on the ports that the configuration has for it; to connect, on none. */
static int permit_ports(int ruleset_fd, const struct config *config)
{
	struct port_rule rule = { NET_BIND_TCP, config->publish_first_port };

	for (; config->n_publish_addresses > 0 && rule.port <= config->publish_last_port; rule.port++)
		if (syscall(SYS_landlock_add_rule, ruleset_fd, RULE_NET_PORT, &rule, 0) < 0)
			return -errno;
	return 0;
}

static int restrict_files(const struct config *config, const char *config_directory, struct err *err)
{
	const char *const bases[] = {
		[BASE_CONFIG] = config_directory,
		[BASE_STATE] = config->state_dir,
		[BASE_RUN] = config->run_dir,
		[BASE_ROOT] = "",
	};
	size_t size;

	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	if (abi < 0)
		return errno == ENOSYS || errno == EOPNOTSUPP ? 0 : err_set(err, -errno, "landlock", "version");
	const struct ruleset ruleset = all_rights(abi, &size);
	_close_ int fd = (int)syscall(SYS_landlock_create_ruleset, &ruleset, size, 0);
	if (fd < 0)
		return err_set(err, -errno, "landlock", "ruleset");
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		char path[512];
		int n = snprintf(path, sizeof(path), "%s%s", bases[files[i].base], files[i].path);
		int r = (size_t)n < sizeof(path) ? permit(fd, path, files[i].access & ruleset.fs) : -ENAMETOOLONG;
		if (r < 0)
			return err_set(err, r, "landlock", "%s%s", bases[files[i].base], files[i].path);
	}
	int r = ruleset.net ? permit_ports(fd, config) : 0;
	if (r < 0)
		return err_set(
			err, r, "landlock", "ports %u to %u", config->publish_first_port, config->publish_last_port);
	if (syscall(SYS_landlock_restrict_self, fd, 0) < 0)
		return err_set(err, -errno, "landlock", "restrict");
	return 0;
}

/* ---- system calls ---- */

struct call_row {
	int number;
	const char *name;
	const char *why;
	const char *only; /* what is allowed of it; NULL: all */
	struct scmp_arg_cmp conditions[3]; /* op 0: no more of them */
};

#define ROW(name, why)                     \
	{                                  \
		SCMP_SYS(name), #name, why \
	}
/* The first where this architecture has it, for then the C library uses it; else the second, which newer ones have. */
#define ROW_EITHER(name, newer, why)                                                                              \
	{                                                                                                         \
		SCMP_SYS(name) >= 0 ? SCMP_SYS(name) : SCMP_SYS(newer), SCMP_SYS(name) >= 0 ? #name : #newer, why \
	}
/* Only with arguments that fulfil all conditions. */
#define ROW_ONLY(name, why, only, ...)            \
	{                                         \
		SCMP_SYS(name), #name, why, only, \
		{                                 \
			__VA_ARGS__               \
		}                                 \
	}
/* SCMP_A2() and the like are compound literals, which no constant table takes. */
#define IF_NO_BITS(argument, bits)                    \
	{                                             \
		argument, SCMP_CMP_MASKED_EQ, bits, 0 \
	}
#define IF_AT_MOST(argument, value)          \
	{                                    \
		argument, SCMP_CMP_LE, value \
	}
#define IF_EQUAL(argument, value)            \
	{                                    \
		argument, SCMP_CMP_EQ, value \
	}

/*
 * No fork, no exec, no kill, no ioctl, and no connection to anywhere: control starts nothing, and its sockets come from
 * the supervisor, from inits and from accept. Those that it makes itself are there to listen: connect() is left with a
 * length that holds no address, and no call that sends may open a connection. Calls that only some architectures have
 * are no rule on the others.
 */
/* clang-format off */
static const struct call_row allowed[] = {
	ROW(read,            "the registry, cgroup files, the timer"),
	ROW(write,           "the registry, messages on standard error, specs"),
	ROW(writev,          "glibc's last words before it aborts"),
	ROW(pread64,         "the registry, a session's output"),
	ROW(pwrite64,        "the registry"),
	ROW(lseek,           "the registry; files read through stdio"),
	ROW(close,           "descriptors end"),
	ROW(openat,          "the registry, an image's configuration, cgroup files; Landlock says where"),
	ROW(newfstatat,      "SQLite and stdio look at what they opened"),
	ROW(fstat,           "the same, where glibc uses this one"),
	ROW_EITHER(access, faccessat, "SQLite looks for a log to recover"),
	ROW_EITHER(readlink, readlinkat, "SQLite resolves its file's path"),
	ROW_EITHER(unlink, unlinkat, "SQLite removes its log"),
	ROW_EITHER(rename, renameat, "a damaged registry is put aside"),
	ROW_EITHER(mkdir, mkdirat, "the registry's directory is there already, which this finds out"),
	ROW(ftruncate,       "the registry's log is cut"),
	ROW(fsync,           "the registry survives a loss of power"),
	ROW(fdatasync,       "the same"),
	ROW(fchmod,          "SQLite gives its log the mode of its file; a session's users open their end of a pipe again"),
	ROW(fcntl,           "SQLite's locks, seals of a spec, duplicates of descriptors"),
	ROW(pipe2,           "input and output of a command in a session; what a relayed connection holds"),
	ROW(splice,          "relayed connections, whose bytes are never copied here"),
	ROW(memfd_create,    "a command for a session is written into one"),
	ROW_ONLY(mmap, "memory", "never executable", IF_NO_BITS(2, PROT_EXEC)),
	ROW_ONLY(mprotect, "malloc grows a heap", "never executable", IF_NO_BITS(2, PROT_EXEC)),
	ROW(munmap,          "memory is given back"),
	ROW(mremap,          "realloc of what is large"),
	ROW(brk,             "malloc"),
	ROW(madvise,         "free gives pages back"),
	ROW(accept4,         "clients, also of published ports"),
	ROW(recvfrom,        "a probe's answer"),
	ROW(recvmsg,         "clients, the supervisor, a session's init"),
	ROW_ONLY(sendto, "answers to clients, a probe's request", "to no address", IF_EQUAL(4, 0), IF_NO_BITS(3, FASTOPEN)),
	ROW_ONLY(sendmsg, "the supervisor, a session's init; descriptors go along", "no connection with it", IF_NO_BITS(2, FASTOPEN)),
	ROW(shutdown,        "a client that is hung up on"),
	ROW_ONLY(socketpair, "a channel to a file child in a session; a stream that a client gets as a descriptor", "unix", IF_EQUAL(0, AF_UNIX)),
	ROW(getsockopt,      "who a client is; what kind of socket init sent"),
	ROW(setsockopt,      "a probe's connection is closed without lingering"),
	ROW_ONLY(connect, "a session's connection is dissolved (AF_UNSPEC)", "no address", IF_EQUAL(2, sizeof(sa_family_t))),
	ROW_ONLY(socket, "ports of sessions are published", "unix and TCP", IF_AT_MOST(0, AF_INET6), IF_EQUAL(1, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK), IF_EQUAL(2, 0)),
	ROW(bind,            "ports of sessions are published; Landlock says where"),
	ROW(listen,          "the same"),
	ROW_EITHER(epoll_wait, epoll_pwait, "the loop"),
	ROW(epoll_ctl,       "the loop's descriptors come and go"),
	ROW(timerfd_settime, "the loop's next timer"),
	ROW(clock_gettime,   "the time, where the vDSO does not know it"),
	ROW(gettimeofday,    "the same, for SQLite"),
	ROW(getrandom,       "ids of sessions"),
	ROW(getpid,          "SQLite tells a fork by it; abort"),
	ROW(gettid,          "abort"),
	ROW(tgkill,          "abort"),
	ROW(geteuid,         "SQLite asks whether it may change owners"),
	ROW(uname,           "system.info"),
	ROW(futex,           "locks inside libraries"),
	ROW(rt_sigaction,    "abort"),
	ROW(rt_sigprocmask,  "abort"),
	ROW(rt_sigreturn,    "the end of a signal handler"),
	ROW(restart_syscall, "a call goes on after the process was stopped and continued"),
	ROW(exit_group,      "the end"),
};
/* clang-format on */

enum { MAX_CALLS = 60 };
_Static_assert(ARRAY_SIZE(allowed) <= MAX_CALLS, "a call more needs an argument, and one less");

/* Unknown calls get ENOSYS, on which libraries fall back; other architectures' calls end the process. */
static int restrict_calls(struct err *err)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));
	int r = filter ? 0 : -ENOMEM;

	if (r == 0)
		r = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	/* A binary tree instead of a chain: the last row costs as little as the first. */
	if (r == 0)
		r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(allowed); i++) {
		const struct call_row *row = &allowed[i];
		unsigned n = 0;
		while (n < ARRAY_SIZE(row->conditions) && row->conditions[n].op != 0)
			n++;
		r = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, row->number, n, row->conditions);
	}
	if (r == 0)
		r = seccomp_load(filter);
	if (filter)
		seccomp_release(filter);
	return r < 0 ? err_set(err, r, "seccomp", "filter") : 0;
}

void sandbox_print_syscalls(FILE *out)
{
	for (size_t i = 0; i < ARRAY_SIZE(allowed); i++)
		fprintf(out, "%-16s %s%s%s%s\n", allowed[i].name, allowed[i].why, allowed[i].only ? " (" : "",
			allowed[i].only ? allowed[i].only : "", allowed[i].only ? ")" : "");
}

int sandbox_enter(const struct config *config, const char *config_directory, struct err *err)
{
	int r = drop_privilege(err);

	if (r == 0)
		r = restrict_files(config, config_directory, err);
	if (r == 0)
		r = restrict_calls(err);
	return r;
}
