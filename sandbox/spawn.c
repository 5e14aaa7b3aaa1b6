/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/spawn.h"

#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "sandbox/file_child.h"
#include "sandbox/sys.h"
#include "sandbox/users.h"
#include "wire/spec.h"

/* Of the child, which exits with it when it cannot become the command; nobody mistakes it for the command's own. */
enum { EXIT_NOT_STARTED = 127 };

/* In the child, between fork and exec. */
struct child {
	const struct spawn *what;
	struct spawn_rules rules; /* a copy: what init serves from is no part of a child's memory */
	struct spec spec;
	struct err err;
	int pipe; /* to init */
	int pts; /* -1: no terminal */
	uint64_t id; /* of an order to a spawner; else 0 */
};

/* ---- the child's steps ---- */

static int child_spec(struct child *child)
{
	if (child->what->is_spawner)
		return 0;
	int r = spec_read(child->what->spec, &child->spec);
	if (r < 0)
		return err_set(&child->err, r, "spec", "%s", "");
	bool wants_cdp = child->spec.header->flags & SPEC_CDP_PIPE;
	if (wants_cdp != (child->what->n_fds == SPAWN_CDP))
		return err_set(&child->err, -EINVAL, "spec", "debugging pipe");
	if (child->what->pts >= 0 && !(child->spec.header->flags & SPEC_TTY))
		return err_set(&child->err, -EINVAL, "spec", "terminal");
	return 0;
}

/*
 * The map of descriptors, made in two moves so that none is overwritten before it is copied:
 *   0, 1, 2   the command's stdin, stdout, stderr
 *   3, 4      the debugging pipe, only where the spec asks for it
 *   3 or 5    the pipe to init, closed by exec
 *   4         where terminals are made, if the command gets one, closed by exec
 * or, of a file child or a spawner,
 *   0, 1      its channel, the pipe to init
 * and everything above is closed.
 */
static int child_descriptors(struct child *child)
{
	enum { HIGH = 64 }; /* above all of these; init's own limit is far higher */
	const struct spawn *what = child->what;
	int high[SPAWN_CDP], n = (int)what->n_fds;

	int pipe = fcntl(child->pipe, F_DUPFD_CLOEXEC, HIGH);
	int pts = what->pts >= 0 ? fcntl(what->pts, F_DUPFD_CLOEXEC, HIGH) : -1;
	bool ok = pipe >= 0 && (pts >= 0 || what->pts < 0);
	for (int i = 0; i < n && ok; i++)
		ok = (high[i] = fcntl(what->fds[i], F_DUPFD_CLOEXEC, HIGH)) >= 0;
	for (int i = 0; i < n && ok; i++)
		ok = dup2(high[i], i) >= 0;
	if (!ok || dup3(pipe, n, O_CLOEXEC) < 0 || (pts >= 0 && dup3(pts, n + 1, O_CLOEXEC) < 0))
		return err_set(&child->err, -errno, "descriptors", "%s", "");
	child->pipe = n++;
	child->pts = pts >= 0 ? n++ : -1;
	int r = sys_close_range((unsigned int)n, ~0U, 0);
	return r < 0 ? err_set(&child->err, r, "descriptors", "close_range") : 0;
}

/*
 * A session and process group of its own; with a terminal as stdin, that becomes the controlling one. From here on a
 * spawner goes its own way.
 */
static int child_session(struct child *child)
{
	if (setsid() < 0)
		return err_set(&child->err, -errno, "session", "setsid");
	if (child->what->is_spawner)
		spawner_serve(STDIN_FILENO, child->pipe, &child->rules);
	if (child->pts < 0 && child->spec.header->flags & SPEC_TTY && ioctl(STDIN_FILENO, TIOCSCTTY, 0) < 0)
		return err_set(&child->err, -errno, "session", "controlling terminal");
	return 0;
}

static int child_limits(struct child *child)
{
	const struct spawn_rules *rules = &child->rules;

	for (size_t i = 0; i < rules->n_rlimits; i++) {
		const struct plan_rlimit *from = &rules->rlimits[i];
		const struct rlimit to = { .rlim_cur = from->soft, .rlim_max = from->hard };
		int r = sys_rlimit(from->resource, &to, NULL);
		if (r < 0)
			return err_set(&child->err, r, "limits", "resource %u", from->resource);
	}
	return 0;
}

/* Passes the terminal's other side on to init. */
static int send_master(const struct child *child, int master)
{
	union {
		struct cmsghdr header;
		uint8_t bytes[CMSG_SPACE(sizeof(int))];
	} control = {
		.header = { .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS },
	};
	struct iovec iov = { .iov_base = (char[1]){ 0 }, .iov_len = 1 };
	const struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = CMSG_SPACE(sizeof(int))
	};

	memcpy(CMSG_DATA(&control.header), &master, sizeof(int));
	return sendmsg(child->pipe, &msg, MSG_NOSIGNAL) == 1 ? 0 : -errno;
}

/*
 * A terminal in the session's own devpts, which is found by the descriptor of its root, where nobody can put anything
 * else; the command's side comes from the other one, by no path (TIOCGPTPEER, Linux 4.13). Its file belongs to whom it
 * is made by, and that is the command's user by now.
 */
static int child_terminal(struct child *child)
{
	const struct winsize size = { .ws_row = child->what->rows, .ws_col = child->what->columns };
	int unlocked = 0;

	if (child->pts < 0)
		return 0;
	_close_ int master = openat(child->pts, "ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
	if (master < 0 || ioctl(master, TIOCSPTLCK, &unlocked) < 0 || ioctl(master, TIOCSWINSZ, &size) < 0)
		return err_set(&child->err, -errno, "terminal", "ptmx");
	_close_ int terminal = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (terminal < 0 || ioctl(terminal, TIOCSCTTY, 0) < 0)
		return err_set(&child->err, -errno, "terminal", "%s", "");
	for (int i = 0; i < SPAWN_STDIO; i++)
		if (dup2(terminal, i) < 0)
			return err_set(&child->err, -errno, "terminal", "descriptors");
	int r = send_master(child, master);
	return r < 0 ? err_set(&child->err, r, "terminal", "to init") : 0;
}

static int child_user(struct child *child)
{
	struct identity identity;

	int r = identity_read(child->spec.header, &identity, &child->err);
	if (r == 0)
		r = identity_become(&identity, &child->err);
	if (r < 0)
		return r;
	/*
	 * A change to another uid has cleared every capability. With uid 0 the child has now what the command will have,
	 * so that the directory and the program are found with the command's own rights.
	 */
	uint64_t set = identity.uid == 0 ? child->rules.capabilities : 0;
	r = sys_capset(set, set, 0);
	return r < 0 ? err_set(&child->err, r, "user", "capabilities") : 0;
}

/*
 * With the user's rights, through no magic link of /proc, and then asked of the kernel: a directory that is not below
 * the root has no path (runc, CVE-2024-21626).
 */
static int child_cwd(struct child *child)
{
	const char *path = child->spec.header->cwd;
	char cwd[PATH_MAX];

	_close_ int fd = sys_open_no_magic(path, O_PATH | O_DIRECTORY);
	if (fd < 0)
		return err_set(&child->err, fd, "cwd", "%s", path);
	if (fchdir(fd) < 0)
		return err_set(&child->err, -errno, "cwd", "%s", path);
	if (sys_getcwd(cwd, sizeof(cwd)) < 0 || cwd[0] != '/')
		return err_set(&child->err, -EXDEV, "cwd", "%s", path);
	return 0;
}

static const char *find_path(char *const envp[])
{
	for (; *envp; envp++)
		if (strncmp(*envp, "PATH=", 5) == 0)
			return *envp + 5;
	return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
}

/*
 * execvp(3) without its shell, and with the command's PATH: the first that can be executed, else the most telling
 * error. Empty entries of PATH, which mean the working directory, are passed over.
 */
static int exec_in_path(char *const argv[], char *const envp[])
{
	char file[PATH_MAX];
	int result = -ENOENT;

	for (const char *dir = find_path(envp), *end; dir; dir = end ? end + 1 : NULL) {
		end = strchr(dir, ':');
		int n = (int)(end ? (size_t)(end - dir) : strnlen(dir, PATH_MAX));
		if (n == 0 || n >= PATH_MAX ||
			snprintf(file, sizeof(file), "%.*s/%s", n, dir, argv[0]) >= (int)sizeof(file))
			continue;
		execve(file, argv, envp);
		if (errno == EACCES)
			result = -EACCES;
		else if (errno != ENOENT && errno != ENOTDIR)
			return -errno;
	}
	return result;
}

static int child_exec(struct child *child)
{
	char **argv = child->spec.argv, **envp = child->spec.envp;
	sigset_t none;
	int r;

	if (child->what->n_fds == SPAWN_CHANNEL) {
		close_fd(child->pipe); /* as an exec would have */
		file_child_serve(STDIN_FILENO);
	}
	/* Dispositions are the defaults: init never changes one. */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (strchr(argv[0], '/')) {
		execve(argv[0], argv, envp);
		r = -errno;
	} else {
		r = argv[0][0] ? exec_in_path(argv, envp) : -ENOENT;
	}
	return err_set(&child->err, r, "exec", "%s", argv[0]);
}

/*
 * In this order: nothing of the session is looked at before init's descriptors are closed, nothing is opened or
 * executed for the command before the child is the command's user.
 */
static int (*const child_steps[])(struct child *child) = {
	child_spec,
	child_descriptors,
	child_session,
	child_limits,
	child_user,
	child_terminal,
	child_cwd,
	child_exec,
};

/* Says to init what there is to say. Whole or not at all: it is shorter than PIPE_BUF. */
static bool report(const struct child *child)
{
	struct spawn_report ordered = { .id = child->id, .pid = getpid(), .err = child->err };
	const void *bytes = child->id ? (const void *)&ordered : &child->err;
	ssize_t n = child->id ? (ssize_t)sizeof(ordered) : (ssize_t)sizeof(child->err);

	return RETRY_EINTR(write(child->pipe, bytes, (size_t)n)) == n;
}

static _Noreturn void run_child(struct child *child)
{
	for (size_t i = 0; i < ARRAY_SIZE(child_steps); i++)
		if (child_steps[i](child) < 0)
			break;
	/* If init is gone, so is this process. */
	_exit(report(child) ? EXIT_NOT_STARTED : EXIT_NOT_STARTED - 1);
}

/* ---- init's side ---- */

/* A function of its own, in which nothing but CHILD lives across vfork(2). Neither call runs handlers for threads. */
static pid_t start_child(struct child *child)
{
	pid_t pid = child->what->is_first ? vfork() : _Fork();
	if (pid == 0)
		run_child(child);
	return pid;
}

int spawn(const struct spawn *what, pid_t *ret_pid, int *ret_pipe, struct err *err)
{
	int ends[2];

	/* A pipe is quicker, but carries no descriptor. */
	int r = what->pts < 0 ? pipe2(ends, O_CLOEXEC | O_NONBLOCK)
			      : socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends);
	if (r < 0)
		return err_set(err, -errno, "spawn", "pipe");
	_close_ int readable = ends[0], writable = ends[1];
	/* What a spawner's children say must not get lost; init reads it, whatever they do. */
	if (what->is_spawner && fcntl(writable, F_SETFL, 0) < 0)
		return err_set(err, -errno, "spawn", "pipe");
	struct child child = { .what = what, .rules = *what->rules, .pipe = writable, .pts = -1 };
	pid_t pid = start_child(&child);
	/* What a child with the same memory has left behind; otherwise there is nothing. */
	spec_release(&child.spec);
	if (pid < 0)
		return err_set(err, -errno, "spawn", "fork");
	*ret_pid = pid;
	*ret_pipe = steal_fd(&readable);
	return 0;
}

/* As read(2); a message that brings the terminal is no result, and -EAGAIN. */
static ssize_t receive(int pipe, int *ret_master, struct err *ret)
{
	union {
		struct cmsghdr header;
		uint8_t bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = { .iov_base = ret, .iov_len = sizeof(*ret) };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
	};

	if (!ret_master)
		return RETRY_EINTR(read(pipe, ret, sizeof(*ret)));
	ssize_t n = RETRY_EINTR(recvmsg(pipe, &msg, MSG_CMSG_CLOEXEC));
	const struct cmsghdr *header = n > 0 ? CMSG_FIRSTHDR(&msg) : NULL;
	if (!header || header->cmsg_type != SCM_RIGHTS || header->cmsg_len != CMSG_LEN(sizeof(int)))
		return n;
	close_fd(*ret_master);
	memcpy(ret_master, CMSG_DATA(header), sizeof(int));
	errno = EAGAIN;
	return -1;
}

int spawn_result(int pipe, int *ret_master, struct err *err)
{
	struct err got;

	ssize_t n = receive(pipe, ret_master, &got);
	if (n < 0 && errno == EAGAIN && ret_master && *ret_master >= 0)
		n = receive(pipe, ret_master, &got); /* what came with it or after it */
	if (n < 0)
		return errno == EAGAIN ? 0 : err_set(err, -errno, "spawn", "result");
	/* Closed by exec without a word. */
	if (n == 0)
		return 1;
	/* The child was init's own code, but it has read the session's files. */
	if (n != sizeof(got) || got.num >= 0 || !is_terminated(got.step, sizeof(got.step)) ||
		!is_terminated(got.object, sizeof(got.object)))
		return err_set(err, -EPROTO, "spawn", "result");
	*err = got;
	return got.num;
}

/* ---- a spawner's side ---- */

static int run_shared_child(void *arg)
{
	struct child *child = arg;

	/* Before it can end. A spawner that init has given up has no reader for this: it is not started then. */
	if (!report(child))
		_exit(EXIT_NOT_STARTED - 1);
	run_child(child);
}

void spawn_shared(const struct spawn *what, uint64_t id, int pipe, void *stack)
{
	struct child child = { .what = what, .rules = *what->rules, .pipe = pipe, .pts = -1, .id = id };

	if (clone(run_shared_child, stack, CLONE_VM | CLONE_VFORK | CLONE_PARENT | SIGCHLD, &child) < 0) {
		struct spawn_report failed = { .id = id };
		err_set(&failed.err, -errno, "spawn", "fork");
		if (RETRY_EINTR(write(pipe, &failed, sizeof(failed))) != sizeof(failed))
			_exit(EXIT_FAILURE);
	}
	spec_release(&child.spec);
}

int spawn_report(int pipe, struct spawn_report *ret)
{
	struct spawn_report got;

	ssize_t n = RETRY_EINTR(read(pipe, &got, sizeof(got)));
	if (n < 0)
		return errno == EAGAIN ? 0 : -errno;
	if (n == 0)
		return -ENOTCONN;
	/* Init's own code, but its children have read the session's files in the same memory. */
	if (n != sizeof(got) || got.pid < 0 || got.err.num > 0 || !is_terminated(got.err.step, sizeof(got.err.step)) ||
		!is_terminated(got.err.object, sizeof(got.err.object)))
		return -EPROTO;
	*ret = got;
	return 1;
}
