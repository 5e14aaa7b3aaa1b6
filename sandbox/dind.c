/* SPDX-License-Identifier: Apache-2.0 */
/*
 * carrel-dind: the workload of a session that has a Docker daemon. It runs inside, as root of the session, and has no
 * part in keeping anybody in: a template could name any other program.
 *
 *   carrel-dind [OPTION of dockerd ...]
 *
 * containerd first, and dockerd only once containerd's socket is there: dockerd would start one of its own otherwise,
 * or find none and ask again a second later. Both write to this program's output, so that the session's log has what
 * they say. The two end together: when one does, the other is asked to, and the exit code is that of the first. Only a
 * dockerd that was killed takes nobody along: the session's liveness probe misses it, and does what the template says.
 *
 * SIGTERM goes to dockerd, which stops its containers before it ends.
 */
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "wire/def.h"

#define CONTAINERD_DIR "/run/containerd"
#define CONTAINERD_SOCKET "containerd.sock"

enum { MAX_OPTIONS = 64 };

struct daemons {
	char *const *options; /* of dockerd; ends with NULL */
	int signals, created; /* signalfd; inotify of containerd's directory */
	pid_t containerd, dockerd; /* 0: does not run */
	bool ending;
	int exit_code; /* of the one that ended first */
};

static int say(const char *what, int num)
{
	fprintf(stderr, "carrel-dind: %s: %s\n", what, strerror(-num));
	return num;
}

static pid_t start(char *const argv[])
{
	sigset_t none;
	pid_t pid = fork();

	if (pid < 0)
		return say(argv[0], -errno);
	if (pid > 0)
		return pid;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execvp(argv[0], argv);
	say(argv[0], -errno);
	_exit(127);
}

static int start_containerd(struct daemons *daemons)
{
	static char *const argv[] = { "containerd", NULL };

	pid_t pid = start(argv);
	if (pid < 0)
		return pid;
	daemons->containerd = pid;
	return 0;
}

static int start_dockerd(struct daemons *daemons)
{
	char *argv[MAX_OPTIONS + 3] = { "dockerd", "--containerd=" CONTAINERD_DIR "/" CONTAINERD_SOCKET };
	size_t n = 2;

	for (char *const *option = daemons->options; *option; option++) {
		if (n == ARRAY_SIZE(argv) - 1)
			return say("options of dockerd", -E2BIG);
		argv[n++] = *option;
	}
	pid_t pid = start(argv);
	if (pid < 0)
		return pid;
	daemons->dockerd = pid;
	return 0;
}

/* Asks what runs to end: dockerd, which needs containerd for stopping its containers; containerd when dockerd has. */
static void end(struct daemons *daemons)
{
	pid_t pid = daemons->dockerd ? daemons->dockerd : daemons->containerd;

	daemons->ending = true;
	if (pid)
		kill(pid, SIGTERM);
}

static void on_child(struct daemons *daemons, pid_t pid, int status)
{
	const char *name = pid == daemons->dockerd ? "dockerd" : "containerd";
	int code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);

	if (pid != daemons->dockerd && pid != daemons->containerd)
		return; /* an orphan of theirs */
	bool killed = pid == daemons->dockerd && WIFSIGNALED(status);
	*(pid == daemons->dockerd ? &daemons->dockerd : &daemons->containerd) = 0;
	if (!daemons->ending) {
		fprintf(stderr, "carrel-dind: %s ended with %d\n", name, code);
		if (killed)
			return;
		/* What was to run for ever and ended has failed, whatever it says. */
		daemons->exit_code = code ? code : EXIT_FAILURE;
	}
	end(daemons);
}

static void on_signals(struct daemons *daemons)
{
	struct signalfd_siginfo info;
	pid_t pid;
	int status;

	while (read(daemons->signals, &info, sizeof(info)) == sizeof(info))
		if (info.ssi_signo != SIGCHLD)
			end(daemons);
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		on_child(daemons, pid, status);
}

/* containerd binds its socket under its final name when it is ready to serve. */
static int on_created(struct daemons *daemons)
{
	_Alignas(struct inotify_event) char events[4096];
	struct stat st;

	while (read(daemons->created, events, sizeof(events)) > 0)
		continue;
	if (daemons->ending || stat(CONTAINERD_DIR "/" CONTAINERD_SOCKET, &st) < 0 || !S_ISSOCK(st.st_mode))
		return 0;
	close_fdp(&daemons->created);
	return start_dockerd(daemons);
}

static int prepare(struct daemons *daemons)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return say("signals", -errno);
	daemons->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (daemons->signals < 0)
		return say("signals", -errno);
	if (mkdir(CONTAINERD_DIR, 0711) < 0 && errno != EEXIST)
		return say(CONTAINERD_DIR, -errno);
	/* A socket that an earlier containerd left would look like this one's. */
	if (unlink(CONTAINERD_DIR "/" CONTAINERD_SOCKET) < 0 && errno != ENOENT)
		return say(CONTAINERD_SOCKET, -errno);
	daemons->created = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (daemons->created < 0 || inotify_add_watch(daemons->created, CONTAINERD_DIR, IN_CREATE | IN_MOVED_TO) < 0)
		return say(CONTAINERD_DIR, -errno);
	return start_containerd(daemons);
}

int main(int argc _unused_, char *argv[])
{
	struct daemons daemons = { .options = argv + 1, .signals = -1, .created = -1 };

	if (prepare(&daemons) < 0)
		return EXIT_FAILURE;
	while (daemons.containerd || daemons.dockerd) {
		struct pollfd ready[] = {
			{ .fd = daemons.signals, .events = POLLIN },
			{ .fd = daemons.created, .events = POLLIN },
		};
		if (RETRY_EINTR(poll(ready, ARRAY_SIZE(ready), -1)) < 0)
			return EXIT_FAILURE;
		if (ready[0].revents)
			on_signals(&daemons);
		if (ready[1].revents && on_created(&daemons) < 0) {
			daemons.exit_code = EXIT_FAILURE;
			end(&daemons);
		}
	}
	return daemons.exit_code;
}
