/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starting carrel-init. Two processes, because the namespaces were made ahead of need:
 *
 *   supervisor ── clone3(INTO_CGROUP) ──▶ go-between: joins the slot's user and network namespaces
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

enum { CHILD_STACK_BYTES = 32768 };
enum { FIRST_FREE_FD = 256 }; /* above every descriptor of enum plan_fd */

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

/*
 * The map of descriptors, made in two moves so that none is overwritten before it is copied:
 *   0, 1, 2   /dev/null
 *   3 ...     FDS, in the order of enum plan_fd
 *   3 + N     carrel-init's binary, closed by exec
 * and everything above is closed.
 */
static void child_place_fds(const int *fds, unsigned int n, int null_fd, int init_fd)
{
	int high[PLAN_FD_MOUNT + PLAN_MAX_LAYERS + PLAN_MAX_MOUNTS];

	for (unsigned int i = 0; i < n; i++)
		if ((high[i] = fcntl(fds[i], F_DUPFD, FIRST_FREE_FD)) < 0)
			child_fail(fds[0], "descriptors");
	int exec_fd = fcntl(init_fd, F_DUPFD, FIRST_FREE_FD);
	if (exec_fd < 0)
		child_fail(fds[0], "descriptors");
	for (int i = 0; i < 3; i++)
		if (dup2(null_fd, i) < 0)
			child_fail(fds[0], "descriptors");
	for (unsigned int i = 0; i < n; i++)
		if (dup2(high[i], PLAN_FD_CHANNEL + (int)i) < 0)
			child_fail(fds[0], "descriptors");
	if (dup3(exec_fd, PLAN_FD_CHANNEL + (int)n, O_CLOEXEC) < 0 ||
		syscall(SYS_close_range, PLAN_FD_CHANNEL + n + 1, ~0U, 0) < 0)
		child_fail(PLAN_FD_CHANNEL, "descriptors");
}

/* What the child needs, on the go-between's stack; the go-between may end first, its memory stays. */
struct child {
	const struct session *session;
	const int *fds;
	unsigned int n;
	_Alignas(16) uint8_t stack[CHILD_STACK_BYTES];
};

static int child_exec_init(void *arg)
{
	const struct child *child = arg;
	const struct session *session = child->session;
	const int *fds = child->fds;
	unsigned int n = child->n;
	char *const argv[] = { (char *)(uintptr_t) "carrel-init", NULL }, *const envp[] = { NULL };
	const struct supervisor *super = session->super;

	/* Raw calls: glibc's wrappers would look for other threads. */
	if (syscall(SYS_setgroups, 0, NULL) < 0 || syscall(SYS_setresgid, 0, 0, 0) < 0 ||
		syscall(SYS_setresuid, 0, 0, 0) < 0)
		child_fail(fds[0], "ids");
	child_place_fds(fds, n, super->null_fd, super->init_fd);
	syscall(SYS_execveat, PLAN_FD_CHANNEL + (int)n, "", argv, envp, AT_EMPTY_PATH);
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

static void go_between(const struct session *session, struct shared *shared, const int *fds, unsigned int n)
{
	/*
	 * CLONE_PARENT: the supervisor is init's parent and may wait for it. The exit signal is inherited, SIGCHLD.
	 * CLONE_VM: this memory is a copy already, and nobody but the child needs it from here on.
	 */
	const int flags =
		CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP | CLONE_PARENT | CLONE_VM;
	struct child child = { .session = session, .fds = fds, .n = n };

	if (give_up_oom_protection() < 0)
		go_between_fail(shared, "oom_score_adj");
	if (setns(session->net.user_fd, CLONE_NEWUSER) < 0 || setns(session->net.net_fd, CLONE_NEWNET) < 0)
		go_between_fail(shared, "namespaces");
	pid_t pid = clone(child_exec_init, child.stack + sizeof(child.stack), flags, &child);
	if (pid < 0)
		go_between_fail(shared, "clone");
	shared->init_pid = pid;
	_exit(0);
}

/* Runs the go-between to its end. 0 with the child's pid, or a negative errno with what failed. */
static int start(struct session *session, const int *fds, unsigned int n, pid_t *ret_pid, struct err *err)
{
	struct shared *shared =
		mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return err_set(err, -errno, "init", "mmap");
	struct clone_args args = {
		.flags = CLONE_INTO_CGROUP,
		.exit_signal = SIGCHLD,
		.cgroup = (unsigned int)session->payload_fd,
	};
	int r = 0;
	pid_t pid = clone_process(&args);
	if (pid == 0)
		go_between(session, shared, fds, n);
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

/* The descriptors that init is executed with, in the order of enum plan_fd. Returns their number. */
static unsigned int collect_fds(const struct session *session, int channel, int filter_fd, int *fds)
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

	memcpy(fds, fixed, sizeof(fixed));
	memcpy(fds + ARRAY_SIZE(fixed), m->mounts, m->n_mounts * sizeof(int));
	return (unsigned int)(ARRAY_SIZE(fixed) + m->n_mounts);
}

int spawn_init(struct session *session, struct err *err)
{
	struct plan plan;
	int pair[2], r;

	r = plan_fill(session, &plan, err);
	if (r < 0)
		return r;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return err_set(err, -errno, "init", "channel");
	_close_ int ours = pair[0], theirs = pair[1];
	/* The plan waits in the socket until init is there to read it. */
	r = msg_send(ours, &plan.header, NULL, 0);
	if (r < 0)
		return err_set(err, r, "init", "send plan");

	const struct seccomp_filter *filter = plan_filter(session->super, session->template->seccomp);
	int fds[PLAN_FD_MOUNT + PLAN_MAX_LAYERS + PLAN_MAX_MOUNTS];
	unsigned int n = collect_fds(session, theirs, filter ? filter->fd : session->super->null_fd, fds);
	pid_t pid = 0;
	r = start(session, fds, n, &pid, err);
	if (r < 0)
		return r;
	/* It is our child and not waited for, so the number cannot have been given to another process. */
	session->init_io.fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (session->init_io.fd < 0)
		return err_set(err, -errno, "init", "pidfd");
	session->is_child = true;
	session->entry.pid = pid;
	session->channel_io.fd = steal_fd(&ours);
	return 0;
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
