/* SPDX-License-Identifier: Apache-2.0 */
#include "control/sandbox.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

/* ---- privilege ---- */

/* The supervisor has dropped it all already; this is the proof, and what makes starting by hand as safe. */
static int drop_privilege(struct err *err)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { 0 };
	uid_t ruid, euid, suid;
	gid_t rgid, egid, sgid;

	if (getresuid(&ruid, &euid, &suid) < 0 || getresgid(&rgid, &egid, &sgid) < 0)
		return err_set(err, -errno, "privilege", "ids");
	if (!ruid || !euid || !suid || !rgid || !egid || !sgid)
		return err_set(err, -EPERM, "privilege", "runs as root");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return err_set(err, -errno, "privilege", "prctl");
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 || syscall(SYS_capset, &header, none) < 0)
		return err_set(err, -errno, "privilege", "capabilities");
	return 0;
}

/* ---- files ---- */

/* Of ABI 3 and later (Linux 6.2, 6.7, 6.10, 6.12); headers of older kernels do not have them. */
#define FS_TRUNCATE (UINT64_C(1) << 14)
#define FS_IOCTL_DEV (UINT64_C(1) << 15)
#define NET_BIND_TCP (UINT64_C(1) << 0)
#define NET_CONNECT_TCP (UINT64_C(1) << 1)
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

static int restrict_files(const struct config *config, const char *config_directory, struct err *err)
{
	const char *const bases[] = {
		[BASE_CONFIG] = config_directory, [BASE_STATE] = config->state_dir, [BASE_ROOT] = ""
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
	if (syscall(SYS_landlock_restrict_self, fd, 0) < 0)
		return err_set(err, -errno, "landlock", "restrict");
	return 0;
}

/* ---- system calls ---- */

struct call_row {
	int number;
	const char *name;
	bool not_executable; /* only without PROT_EXEC in the third argument: no new code */
	const char *why;
};

#define ROW(name, why)                            \
	{                                         \
		SCMP_SYS(name), #name, false, why \
	}
/* The first where this architecture has it, for then the C library uses it; else the second, which newer ones have. */
#define ROW_EITHER(name, newer, why)                                                                                 \
	{                                                                                                            \
		SCMP_SYS(name) >= 0 ? SCMP_SYS(name) : SCMP_SYS(newer), SCMP_SYS(name) >= 0 ? #name : #newer, false, \
			why                                                                                          \
	}
#define ROW_NOT_EXECUTABLE(name, why)            \
	{                                        \
		SCMP_SYS(name), #name, true, why \
	}

/*
 * No socket, no fork, no exec, no kill, no ioctl: descriptors come from the supervisor and from accept, and control
 * starts nothing. Calls that only some architectures have are no rule on the others.
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
	ROW(fallocate,       "a spec gets its memory before it is written"),
	ROW(fsync,           "the registry survives a loss of power"),
	ROW(fdatasync,       "the same"),
	ROW(fchmod,          "SQLite gives its log the mode of its file; a session's users open their end of a pipe again"),
	ROW(fcntl,           "SQLite's locks, seals of a spec, duplicates of descriptors"),
	ROW(pipe2,           "input and output of a command in a session; what a relayed connection holds"),
	ROW(splice,          "relayed connections, whose bytes are never copied here"),
	ROW(memfd_create,    "a command for a session is written into one"),
	ROW_NOT_EXECUTABLE(mmap, "memory; specs"),
	ROW_NOT_EXECUTABLE(mprotect, "malloc grows a heap"),
	ROW(munmap,          "memory is given back"),
	ROW(mremap,          "realloc of what is large"),
	ROW(brk,             "malloc"),
	ROW(madvise,         "free gives pages back"),
	ROW(accept4,         "clients"),
	ROW(recvfrom,        "a probe's answer"),
	ROW(recvmsg,         "clients, the supervisor, a session's init"),
	ROW(sendto,          "answers to clients, a probe's request"),
	ROW(sendmsg,         "the supervisor, a session's init; descriptors go along"),
	ROW(shutdown,        "a client that is hung up on"),
	ROW(getsockopt,      "who a client is; what kind of socket init sent"),
	ROW(setsockopt,      "a probe's connection is closed without lingering"),
	ROW(connect,         "a probe's connection is dissolved (AF_UNSPEC); Landlock refuses TCP"),
	ROW(epoll_wait,      "the loop"),
	ROW(epoll_pwait,     "the same, where there is no epoll_wait"),
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
		if (row->not_executable)
			r = seccomp_rule_add(
				filter, SCMP_ACT_ALLOW, row->number, 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
		else
			r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, row->number, 0);
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
		fprintf(out, "%-16s %s%s\n", allowed[i].name, allowed[i].why,
			allowed[i].not_executable ? " (never executable)" : "");
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
