/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keeper of carrel-control: starts it as its own user without any capability, with the channel and the clients'
 * sockets as its only descriptors, and starts it again when it ends. Sessions do not notice.
 *
 * Where a service manager starts control, as a unit of its own, it connects to a socket that only its user can reach,
 * and the newest connection is control: the manager runs one at a time, and the one before has ended or is hung.
 */
#include <fcntl.h>
#include <grp.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/capability.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <syslog.h>

#include "config/ids.h"
#include "supervisor/supervisor.h"

/* Control's descriptors: 0 and 1 /dev/null, 2 ours, and these. */
enum { CONTROL_FD_CHANNEL = 3, CONTROL_FD_API, CONTROL_FD_STREAM, CONTROL_FD_END };

#define STEADY_NS (10 * NS_PER_SEC) /* one that lived this long died by accident: start it at once */
#define FIRST_DELAY_NS (50 * NS_PER_MS)
enum { MAX_DELAY_DOUBLINGS = 7 }; /* 6.4 s */
#define LISTEN_AGAIN_NS (100 * NS_PER_MS)
enum { CONTROL_END_MS = 3000 }; /* what it has for its own end when we end */

/* Never root, and never root's group. */
static int find_ids(struct keeper *keeper, const struct config *config, struct err *err)
{
	int r = ids_user(config->user, &keeper->uid, &keeper->gid);

	if (r == 0 && keeper->uid == 0)
		r = -EPERM;
	if (r < 0)
		return err_set(err, r, "control", "user %s", config->user);
	r = ids_group(config->group, &keeper->gid);
	if (r == 0 && keeper->gid == 0)
		r = -EPERM;
	return r < 0 ? err_set(err, r, "control", "group %s", config->group) : 0;
}

/* Control sees the host read-only, but for two directories of its own: its state, and the sockets it publishes. */
static int child_mount_view(const struct config *config)
{
	struct mount_attr read_only = { .attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID };
	struct mount_attr writable = { .attr_clr = MOUNT_ATTR_RDONLY };
	char paths[2][512];

	if ((size_t)snprintf(paths[0], sizeof(paths[0]), "%s/control", config->state_dir) >= sizeof(paths[0]) ||
		(size_t)snprintf(paths[1], sizeof(paths[1]), "%s/endpoints", config->run_dir) >= sizeof(paths[1]))
		return -ENAMETOOLONG;
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		mount(paths[0], paths[0], NULL, MS_BIND, NULL) < 0 ||
		mount(paths[1], paths[1], NULL, MS_BIND, NULL) < 0 ||
		mount_setattr(AT_FDCWD, "/", AT_RECURSIVE, &read_only, sizeof(read_only)) < 0 ||
		mount_setattr(AT_FDCWD, paths[0], 0, &writable, sizeof(writable)) < 0 ||
		mount_setattr(AT_FDCWD, paths[1], 0, &writable, sizeof(writable)) < 0)
		return -errno;
	return 0;
}

static int child_drop_privileges(const struct keeper *keeper)
{
	for (int c = 0; c <= CAP_LAST_CAP; c++)
		if (prctl(PR_CAPBSET_DROP, c, 0, 0, 0) < 0 && errno != EINVAL)
			return -errno;
	if (setgroups(0, NULL) < 0 || setresgid(keeper->gid, keeper->gid, keeper->gid) < 0 ||
		setresuid(keeper->uid, keeper->uid, keeper->uid) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	return 0;
}

static int child_descriptors(const struct supervisor *super, int channel)
{
	const int fds[CONTROL_FD_END] = { super->null_fd, super->null_fd, 2, channel, super->api_fd,
		super->stream_fd };
	int high[CONTROL_FD_END];

	/* Out of the way first: one may have a number that another is to have. */
	for (int i = 0; i < CONTROL_FD_END; i++)
		if ((high[i] = fcntl(fds[i], F_DUPFD, 64)) < 0)
			return -errno;
	for (int i = 0; i < CONTROL_FD_END; i++)
		if (dup2(high[i], i) < 0)
			return -errno;
	return syscall(SYS_close_range, CONTROL_FD_END, ~0U, 0) < 0 ? -errno : 0;
}

/* Between fork and exec; the only way out on failure is a message and an exit status. */
static void child_exec(struct supervisor *super, int channel)
{
	char *const argv[] = { super->keeper.program, (char *)(uintptr_t)super->config_dir, NULL };
	char *const envp[] = { NULL };
	const char *what = "mount view";
	sigset_t none;

	int r = child_mount_view(&super->config);
	if (r == 0) {
		what = "privileges";
		r = child_drop_privileges(&super->keeper);
	}
	if (r == 0) {
		what = "descriptors";
		r = child_descriptors(super, channel);
	}
	if (r == 0) {
		what = super->keeper.program;
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		execve(super->keeper.program, argv, envp);
		r = -errno;
	}
	log_line(LOG_ERR, "carrel-control cannot be started: %s: %s", what, strerror(-r));
	_exit(127);
}

static void start_later(struct supervisor *super)
{
	struct keeper *keeper = &super->keeper;
	uint64_t delay = 0;

	if (super->ending)
		return;
	if (boottime_ns() - keeper->started_ns >= STEADY_NS)
		keeper->quick_deaths = 0;
	if (keeper->quick_deaths > 0) {
		uint32_t doublings = keeper->quick_deaths - 1;
		delay = FIRST_DELAY_NS << (doublings < MAX_DELAY_DOUBLINGS ? doublings : MAX_DELAY_DOUBLINGS);
	}
	keeper->quick_deaths++;
	loop_arm(&super->loop, &keeper->restart_timer, boottime_ns() + delay);
}

/* Nobody hears any more what became of sessions that were being made: they are undone. */
static void abandon_creations(struct supervisor *super)
{
	for (struct session *s = super->sessions, *next; s; s = next) {
		next = s->next;
		s->answer_to = 0;
		if (s->phase == PHASE_CREATING)
			session_end(s);
	}
}

static void on_control_exit(struct loop_io *io, uint32_t revents _unused_)
{
	struct supervisor *super = container_of(io, struct supervisor, keeper.pid_io);
	siginfo_t info = { 0 };

	if (waitid(P_PIDFD, (id_t)io->fd, &info, WEXITED | WNOHANG) == 0 && info.si_pid == 0)
		return;
	loop_remove(&super->loop, io);
	close_fdp(&io->fd);
	chan_close(&super->keeper.chan);
	abandon_creations(super);
	if (!super->ending)
		log_line(LOG_WARNING, "carrel-control ended (%s %d): starting it again",
			info.si_code == CLD_EXITED ? "status" : "signal", info.si_status);
	start_later(super);
}

static void on_control_message(struct chan *chan, struct msg *msg)
{
	ops_serve(container_of(chan, struct supervisor, keeper.chan), msg);
}

static void on_control_closed(struct chan *chan, int error)
{
	struct supervisor *super = container_of(chan, struct supervisor, keeper.chan);

	if (error < 0)
		log_line(LOG_ERR, "carrel-control broke the protocol: %s", strerror(-error));
	keeper_restart(super);
	/* Of one that we started, the pidfd says when it is gone. */
	if (super->keeper.listen_io.fd >= 0)
		abandon_creations(super);
}

/* Speaks with control over CHANNEL, which is taken over. */
static int open_channel(struct supervisor *super, int channel)
{
	struct keeper *keeper = &super->keeper;

	keeper->greeted = false;
	keeper->chan.shapes = super_requests;
	keeper->chan.n_shapes = n_super_requests;
	keeper->chan.on_message = on_control_message;
	keeper->chan.on_closed = on_control_closed;
	return chan_open(&keeper->chan, &super->loop, channel);
}

/* Control, started by the service manager, connects. Whoever is not its user is hung up on. */
static void on_connect(struct loop_io *io, uint32_t revents _unused_)
{
	struct supervisor *super = container_of(io, struct supervisor, keeper.listen_io);
	struct keeper *keeper = &super->keeper;
	struct ucred peer;
	socklen_t size = sizeof(peer);

	_close_ int channel = accept4(io->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (channel < 0 && errno != EAGAIN && errno != ECONNABORTED) {
		/* Out of descriptors: it waits in the queue, and must not wake the loop meanwhile. */
		loop_remove(&super->loop, io);
		loop_arm(&super->loop, &keeper->restart_timer, boottime_ns() + LISTEN_AGAIN_NS);
	}
	if (channel < 0 || getsockopt(channel, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0 || peer.uid != keeper->uid)
		return;
	if (keeper->chan.io.fd >= 0) {
		chan_close(&keeper->chan);
		abandon_creations(super);
	}
	const int r = open_channel(super, steal_fd(&channel));
	if (r < 0)
		log_line(LOG_ERR, "carrel-control is not heard: %s", strerror(-r));
}

static void on_restart(struct loop_timer *timer)
{
	keeper_start(container_of(timer, struct supervisor, keeper.restart_timer));
}

int keeper_open(struct supervisor *super, struct err *err)
{
	struct keeper *keeper = &super->keeper;

	keeper->listen_io = (struct loop_io){ .fd = service_socket("control"), .fn = on_connect };
	keeper->pid_io = (struct loop_io){ .fd = -1, .fn = on_control_exit };
	keeper->restart_timer.fn = on_restart;
	keeper->chan.io.fd = -1;
	return find_ids(keeper, &super->config, err);
}

/* Forks control. 0 with its pidfd and our end of the channel. */
static int fork_control(struct supervisor *super, int *ret_pidfd, int *ret_channel)
{
	int pair[2], pidfd = -1;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return -errno;
	_close_ int ours = pair[0], theirs = pair[1];
	struct clone_args args = {
		.flags = CLONE_PIDFD, .exit_signal = SIGCHLD, .pidfd = (uint64_t)(uintptr_t)&pidfd
	};
	long pid = syscall(SYS_clone3, &args, sizeof(args));
	if (pid < 0)
		return -errno;
	if (pid == 0)
		child_exec(super, theirs);
	*ret_pidfd = pidfd;
	*ret_channel = steal_fd(&ours);
	return 0;
}

void keeper_start(struct supervisor *super)
{
	struct keeper *keeper = &super->keeper;
	int channel = -1, r;

	if (super->ending || keeper->pid_io.fd >= 0)
		return;
	if (keeper->listen_io.fd >= 0) {
		r = loop_watch(&super->loop, &keeper->listen_io, EPOLLIN);
		if (r < 0)
			log_line(LOG_ERR, "carrel-control cannot connect: %s", strerror(-r));
		return;
	}
	keeper->started_ns = boottime_ns();
	r = fork_control(super, &keeper->pid_io.fd, &channel);
	if (r == 0) {
		r = loop_watch(&super->loop, &keeper->pid_io, EPOLLIN);
		if (r == 0)
			r = open_channel(super, channel);
		else
			close_fd(channel);
	}
	if (r < 0) {
		log_line(LOG_ERR, "carrel-control cannot be started: %s", strerror(-r));
		if (keeper->pid_io.fd >= 0)
			keeper_restart(super);
		else
			start_later(super);
	}
}

void keeper_restart(struct supervisor *super)
{
	struct keeper *keeper = &super->keeper;

	chan_close(&keeper->chan);
	/* Its end is seen by the pidfd, which starts the next one. */
	if (keeper->pid_io.fd >= 0)
		syscall(SYS_pidfd_send_signal, keeper->pid_io.fd, SIGKILL, NULL, 0);
}

void keeper_stop(struct supervisor *super)
{
	struct keeper *keeper = &super->keeper;
	siginfo_t info;

	loop_disarm(&super->loop, &keeper->restart_timer);
	/* Closing the channel is what tells control to end; it writes its registry out and exits. */
	chan_close(&keeper->chan);
	if (keeper->pid_io.fd < 0)
		return;
	struct pollfd gone = { .fd = keeper->pid_io.fd, .events = POLLIN };
	if (RETRY_EINTR(poll(&gone, 1, CONTROL_END_MS)) == 0)
		syscall(SYS_pidfd_send_signal, keeper->pid_io.fd, SIGKILL, NULL, 0);
	RETRY_EINTR(waitid(P_PIDFD, (id_t)keeper->pid_io.fd, &info, WEXITED));
	loop_remove(&super->loop, &keeper->pid_io);
	close_fdp(&keeper->pid_io.fd);
}
