/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starting carrel-init. Two processes, because the namespaces were made ahead of need:
 *
 *   supervisor ── clone3(INTO_CGROUP) ──▶ go-between: own descriptors; a mount namespace without the host's files;
 *                                             │ the slot's user and network namespaces
 *                                             │ clone3(NEWPID NEWNS NEWIPC NEWUTS NEWCGROUP, PARENT)
 *                                             ▼
 *   supervisor's child, PID 1 of the session: ids 0, descriptors in place, execveat of the sealed memfd
 *
 * Safe against the session: nothing of it runs yet; from the setns on the go-between and the child have no privilege
 * on the host, and the child has no descriptor but those in enum plan_fd. Safe against control: the only thing of
 * control's that passes through is the spec, a descriptor that is not read here.
 *
 * Both children run on copies of this process's memory until exec, so they call nothing but system calls.
 */
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "supervisor/supervisor.h"

/* Shared with the children, so that no pipe has to be read. */
struct shared {
	pid_t init_pid;
	int error;
	const char *failed;
};

enum {
	CHILD_STACK_BYTES = 32768,
	/*
	 * Descriptors of the supervisor's that stand for nothing but while a session is started: then they are init's, in
	 * the order of enum plan_fd, and those of enum beside. Every session has some of the supervisor's descriptors,
	 * thousands of which would take long to copy and to close again; so the go-between shares the table, and makes
	 * itself one of what is below WINDOW_END alone.
	 */
	WINDOW = 64,
	WINDOW_END = 128,
	MAX_PLAN_FDS = PLAN_FD_MOUNT - PLAN_FD_CHANNEL + PLAN_MAX_LAYERS + PLAN_MAX_MOUNTS,
};

/* In the window behind init's own. */
enum beside { BESIDE_INIT, BESIDE_NULL, BESIDE_MOUNTS, BESIDE_USER, BESIDE_NET, BESIDE_CGROUP, N_BESIDE };

_Static_assert(WINDOW + MAX_PLAN_FDS + N_BESIDE <= WINDOW_END, "the window is large enough");
_Static_assert(PLAN_FD_CHANNEL + MAX_PLAN_FDS + 1 <= WINDOW, "where init has its descriptors, the window is not");

/* Puts FDS into the window; NULL: nothing. */
static int fill_window(const struct supervisor *super, const int *fds, int n)
{
	for (int i = 0; i < n; i++)
		if (dup3(fds ? fds[i] : super->null_fd, WINDOW + i, O_CLOEXEC) < 0)
			return -errno;
	return 0;
}

static int clone_process(struct clone_args *args)
{
	return (int)syscall(SYS_clone3, args, sizeof(*args));
}

/* The go-between's failure is seen by the supervisor that waits for it. */
static void go_between_fail(struct shared *shared, const char *what)
{
	shared->failed = what;
	shared->error = -errno;
	_exit(1);
}

/* The child's is told the way carrel-init would tell it. */
static void child_fail(int channel, const char *what)
{
	struct plan_report report;

	msg_begin(&report, PLAN_REPORT, 0);
	err_set(&report.err, -errno, "init", "%s", what);
	msg_send(channel, &report.header, NULL, 0);
	_exit(1);
}

/* What the child needs, on the go-between's stack; if that is killed meanwhile, its memory stays. */
struct child {
	int n; /* descriptors for init */
	_Alignas(16) uint8_t stack[CHILD_STACK_BYTES];
};

/*
 * The map of descriptors:
 *   0, 1, 2   /dev/null
 *   3 ...     N, in the order of enum plan_fd
 *   3 + N     carrel-init's binary, closed by exec
 * and everything above is closed.
 */
static void child_place_fds(int n)
{
	bool ok = true;

	for (int i = 0; ok && i < PLAN_FD_CHANNEL; i++)
		ok = dup2(WINDOW + n + BESIDE_NULL, i) >= 0;
	for (int i = 0; ok && i < n; i++)
		ok = dup2(WINDOW + i, PLAN_FD_CHANNEL + i) >= 0;
	if (!ok || dup3(WINDOW + n + BESIDE_INIT, PLAN_FD_CHANNEL + n, O_CLOEXEC) < 0 ||
		syscall(SYS_close_range, PLAN_FD_CHANNEL + n + 1, ~0U, 0) < 0)
		child_fail(WINDOW, "descriptors");
}

static int child_exec_init(void *arg)
{
	const int n = ((const struct child *)arg)->n;
	char *const argv[] = { (char *)(uintptr_t) "carrel-init", NULL }, *const envp[] = { NULL };

	/* Raw calls: glibc's wrappers would look for other threads. */
	if (syscall(SYS_setgroups, 0, NULL) < 0 || syscall(SYS_setresgid, 0, 0, 0) < 0 ||
		syscall(SYS_setresuid, 0, 0, 0) < 0)
		child_fail(WINDOW, "ids");
	child_place_fds(n);
	syscall(SYS_execveat, PLAN_FD_CHANNEL + n, "", argv, envp, AT_EMPTY_PATH);
	child_fail(PLAN_FD_CHANNEL, "exec");
	return 1;
}

/*
 * What protects the supervisor from the kernel's want of memory is not a session's. Written with CAP_SYS_RESOURCE, it is
 * also the least that the session can give itself (oom_score_adj_min in fs/proc/base.c).
 */
static int give_up_oom_protection(void)
{
	_close_ int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	return fd < 0 || write(fd, "0", 1) < 0 ? -errno : 0;
}

/*
 * A cgroup tree of the session's own begins with a leaf that has its processes: one with processes can hand no controller
 * to its children (Documentation/admin-guide/cgroup-v2.rst, "No Internal Process Constraint"). It is made as the
 * session's root, whose it is then. Init is born in there, because to move takes until every processor has heard of it,
 * 14 ms. Its namespace begins above, where the go-between is (CLONE_NEWCGROUP with CLONE_INTO_CGROUP would make it
 * begin at the leaf, whose limits are the session's to set).
 */
static int make_leaf(int cgroup_fd)
{
	if (unshare(CLONE_NEWCGROUP) < 0 || syscall(SYS_setresgid, 0, 0, 0) < 0 ||
		syscall(SYS_setresuid, 0, 0, 0) < 0 || mkdirat(cgroup_fd, PLAN_LEAF, 0755) < 0)
		return -errno;
	return openat(cgroup_fd, PLAN_LEAF, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static pid_t clone_into_leaf(uint64_t flags, int leaf_fd, struct child *child)
{
	struct clone_args args = { .flags = flags | CLONE_INTO_CGROUP, .cgroup = (unsigned int)leaf_fd };
	pid_t pid = clone_process(&args);

	if (pid == 0)
		child_exec_init(child);
	return pid;
}

static void go_between(struct shared *shared, int n, bool leaf)
{
	/*
	 * CLONE_PARENT: the supervisor is init's parent and may wait for it. The exit signal is inherited, SIGCHLD.
	 * CLONE_VM, CLONE_FILES: these are copies already, and nobody but the child needs them from here on.
	 * CLONE_VFORK: when the go-between ends the memory is its own again; else the kernel would look among all
	 * children of the supervisor for one that it shall belong to (kernel/exit.c, mm_update_next_owner()).
	 */
	const int flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_PARENT;
	const int more = CLONE_NEWCGROUP | CLONE_VM | CLONE_FILES | CLONE_VFORK;
	struct child child = { .n = n };

	/* Before anything is opened or closed: the table is the supervisor's. */
	if (syscall(SYS_close_range, WINDOW_END, ~0U, CLOSE_RANGE_UNSHARE) < 0)
		go_between_fail(shared, "descriptors");
	if (give_up_oom_protection() < 0)
		go_between_fail(shared, "oom_score_adj");
	if (setns(WINDOW + n + BESIDE_MOUNTS, CLONE_NEWNS) < 0 ||
		setns(WINDOW + n + BESIDE_USER, CLONE_NEWUSER) < 0 ||
		setns(WINDOW + n + BESIDE_NET, CLONE_NEWNET) < 0)
		go_between_fail(shared, "namespaces");
	int leaf_fd = leaf ? make_leaf(WINDOW + n + BESIDE_CGROUP) : -1;
	if (leaf && leaf_fd < 0)
		go_between_fail(shared, "cgroup");
	/* The C library's clone() knows no cgroup, and its caller's memory cannot be shared without its help. */
	pid_t pid = leaf ? clone_into_leaf((unsigned)flags, leaf_fd, &child)
			 : clone(child_exec_init, child.stack + sizeof(child.stack), flags | more, &child);
	if (pid < 0)
		go_between_fail(shared, "clone");
	shared->init_pid = pid;
	_exit(0);
}

/* Runs the go-between to its end. 0 with the child's pid, or a negative errno with what failed. */
static int start(int cgroup_fd, int n, bool leaf, pid_t *ret_pid, struct err *err)
{
	struct shared *shared =
		mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return err_set(err, -errno, "init", "mmap");
	struct clone_args args = {
		.flags = CLONE_INTO_CGROUP | CLONE_FILES,
		.exit_signal = SIGCHLD,
		.cgroup = (unsigned int)cgroup_fd,
	};
	int r = 0;
	pid_t pid = clone_process(&args);
	if (pid == 0)
		go_between(shared, n, leaf);
	if (pid < 0) {
		r = err_set(err, -errno, "init", "clone into cgroup");
	} else {
		int status;
		RETRY_EINTR(waitpid(pid, &status, 0));
		if (shared->init_pid == 0)
			r = err_set(err, shared->error ? shared->error : -ECHILD, "init", "%s",
				shared->failed ? shared->failed : "go-between was killed");
		*ret_pid = shared->init_pid;
	}
	munmap(shared, sizeof(*shared));
	return r;
}

/*
 * The descriptors that init is executed with, in the order of enum plan_fd, and then those of enum beside. Returns the
 * number of init's.
 */
static int collect_fds(const struct session *session, int channel, int filter_fd, int fds[MAX_PLAN_FDS + N_BESIDE])
{
	const struct making *m = session->making;
	const int fixed[] = {
		[PLAN_FD_CHANNEL - 3] = channel,
		[PLAN_FD_LISTEN - 3] = m->listen_fd,
		[PLAN_FD_OUTPUT - 3] = m->output_fd,
		[PLAN_FD_SPEC - 3] = m->spec_fd,
		[PLAN_FD_SECCOMP - 3] = filter_fd,
		[PLAN_FD_DEV - 3] = m->dev_fd,
	};
	const int beside[N_BESIDE] = {
		[BESIDE_INIT] = session->super->init_fd,
		[BESIDE_NULL] = session->super->null_fd,
		[BESIDE_MOUNTS] = session->super->empty_fd,
		[BESIDE_USER] = session->net.user_fd,
		[BESIDE_NET] = session->net.net_fd,
		[BESIDE_CGROUP] = session->payload_fd,
	};
	const size_t n = ARRAY_SIZE(fixed) + m->n_mounts;

	memcpy(fds, fixed, sizeof(fixed));
	memcpy(fds + ARRAY_SIZE(fixed), m->mounts, m->n_mounts * sizeof(int));
	memcpy(fds + n, beside, sizeof(beside));
	return (int)n;
}

int spawn_init(struct session *session, struct err *err)
{
	const struct supervisor *super = session->super;
	struct plan plan;
	int pair[2], r;

	r = plan_fill(session, &plan, err);
	if (r < 0)
		return r;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return err_set(err, -errno, "init", "channel");
	_close_ int ours = pair[0], theirs = pair[1];
	const struct seccomp_filter *filter = plan_filter(super, session->template->seccomp);
	int fds[MAX_PLAN_FDS + N_BESIDE];
	int n = collect_fds(session, theirs, filter ? filter->fd : super->null_fd, fds);
	pid_t pid = 0;
	r = fill_window(super, fds, n + N_BESIDE);
	r = r < 0 ? err_set(err, r, "init", "descriptors")
		  : start(session->payload_fd, n, session->template->cgroup, &pid, err);
	/* What init has now would otherwise be held here, too. */
	fill_window(super, NULL, n + N_BESIDE);
	if (r < 0)
		return r;
	/* It is our child and not waited for, so the number cannot have been given to another process. */
	session->init_io.fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (session->init_io.fd < 0)
		return err_set(err, -errno, "init", "pidfd");
	session->is_child = true;
	session->entry.pid = pid;
	/* Init begins with it: no process but its own is in the session's cgroup any more. */
	r = msg_send(ours, &plan.header, NULL, 0);
	if (r < 0)
		return err_set(err, r, "init", "send plan");
	session->channel_io.fd = steal_fd(&ours);
	return 0;
}

int spawn_open(struct supervisor *super, struct err *err)
{
	int r = fill_window(super, NULL, WINDOW_END - WINDOW);

	return r < 0 ? err_set(err, r, "init", "descriptors") : 0;
}

int spawn_seal_init(const char *path, int *ret_fd, struct err *err)
{
	const int seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
	const unsigned int mfd_exec = 0x0010; /* MFD_EXEC, linux/memfd.h since 6.3; older kernels refuse the flag */

	_close_ int file = open(path, O_RDONLY | O_CLOEXEC);
	if (file < 0)
		return err_set(err, -errno, "init", "%s", path);
	_close_ int fd = memfd_create("carrel-init", MFD_CLOEXEC | MFD_ALLOW_SEALING | mfd_exec);
	if (fd < 0 && errno == EINVAL)
		fd = memfd_create("carrel-init", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return err_set(err, -errno, "init", "memfd");
	ssize_t n;
	while ((n = RETRY_EINTR(sendfile(fd, file, NULL, 1 << 20))) > 0)
		;
	if (n < 0)
		return err_set(err, -errno, "init", "copy of %s", path);
	/*
	 * Not readable for the session: the kernel then keeps its PID 1 undumpable and its memory out of reach of
	 * root inside (would_dump() in fs/exec.c).
	 */
	if (fchmod(fd, 0111) < 0 || fcntl(fd, F_ADD_SEALS, seals) < 0)
		return err_set(err, -errno, "init", "seal");
	/* A descriptor open for writing would make the exec fail with ETXTBSY. */
	char self[64];
	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	int read_only = open(self, O_RDONLY | O_CLOEXEC);
	if (read_only < 0)
		return err_set(err, -errno, "init", "reopen");
	*ret_fd = read_only;
	return 0;
}
