/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/serve.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <time.h>

enum {
	EVENTS_PER_ROUND = 16,
	READS_PER_ROUND = 16, /* from one pipe, of OUTPUT_MAX_RECORD bytes: a default pipe, full */
};

/* ---- sources of events ---- */

int serve_watch(struct serve *serve, int fd, enum source source, size_t index, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.u64 = (uint64_t)source << 32 | index };

	if (epoll_ctl(serve->epoll, EPOLL_CTL_ADD, fd, &event) == 0)
		return 0;
	if (errno == EEXIST && epoll_ctl(serve->epoll, EPOLL_CTL_MOD, fd, &event) == 0)
		return 0;
	return -errno;
}

void serve_drop(struct serve *serve, int *fd)
{
	/* Not left to close(2): a child between fork and exec has a copy, and epoll would go on until that is closed. */
	if (*fd >= 0)
		epoll_ctl(serve->epoll, EPOLL_CTL_DEL, *fd, NULL);
	close_fdp(fd);
}

/* ---- output ---- */

static uint64_t realtime_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

void serve_keep(struct serve *serve, enum output_stream stream, const void *data, size_t n)
{
	output_append(serve->output, stream, realtime_ns(), data, n);
	if (serve->watching) {
		serve->watching = false;
		serve->grew = true;
	}
}

void serve_note(struct serve *serve, const char *line)
{
	serve_keep(serve, OUTPUT_INIT, line, strlen(line));
}

/* Moves at most LIMIT bytes from a pipe to the output. Closes the pipe when nobody can write to it any more. */
static void keep_from(struct serve *serve, int *pipe, enum output_stream stream, size_t limit)
{
	uint8_t buffer[OUTPUT_MAX_RECORD];

	while (limit > 0 && *pipe >= 0) {
		ssize_t n = RETRY_EINTR(read(*pipe, buffer, limit < sizeof(buffer) ? limit : sizeof(buffer)));
		if (n > 0) {
			serve_keep(serve, stream, buffer, (size_t)n);
			limit -= (size_t)n;
		} else if (n < 0 && errno == EAGAIN) {
			break;
		} else {
			serve_drop(serve, pipe);
		}
	}
}

static void on_stdout(struct serve *serve)
{
	keep_from(serve, &serve->stdout_pipe, OUTPUT_STDOUT, (size_t)READS_PER_ROUND * OUTPUT_MAX_RECORD);
}

static void on_stderr(struct serve *serve)
{
	keep_from(serve, &serve->stderr_pipe, OUTPUT_STDERR, (size_t)READS_PER_ROUND * OUTPUT_MAX_RECORD);
}

/* What the browser says on its debugging pipe nobody wants; but a full pipe would stop it. */
static void on_cdp(struct serve *serve)
{
	uint8_t buffer[4096];

	for (int i = 0; i < READS_PER_ROUND; i++) {
		ssize_t n = RETRY_EINTR(read(serve->cdp_read, buffer, sizeof(buffer)));
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			serve_drop(serve, &serve->cdp_read);
			return;
		}
	}
}

/* ---- beginning and end ---- */

static int make_pipe(int *ret_read, int *ret_write, bool nonblocking_read)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	*ret_read = ends[0];
	*ret_write = ends[1];
	/* Only init's end: the flag belongs to the end, and the workload expects its own to block. */
	return fcntl(nonblocking_read ? ends[0] : ends[1], F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

static int open_pipes(struct serve *serve, bool cdp, int *fds)
{
	int r;

	fds[0] = STDIN_FILENO; /* /dev/null */
	if ((r = make_pipe(&serve->stdout_pipe, &fds[1], true)) < 0 ||
		(r = make_pipe(&serve->stderr_pipe, &fds[2], true)) < 0 ||
		(r = serve_watch(serve, serve->stdout_pipe, SOURCE_STDOUT, 0, EPOLLIN)) < 0 ||
		(r = serve_watch(serve, serve->stderr_pipe, SOURCE_STDERR, 0, EPOLLIN)) < 0 || !cdp)
		return r;
	if ((r = make_pipe(&fds[3], &serve->cdp_write, false)) < 0 ||
		(r = make_pipe(&serve->cdp_read, &fds[4], true)) < 0)
		return r;
	return serve_watch(serve, serve->cdp_read, SOURCE_CDP, 0, EPOLLIN);
}

int serve_open(struct serve **ret, int listen, struct output_header *output, bool cdp, int *ret_fds)
{
	sigset_t children;

	struct serve *serve = mmap(NULL, sizeof(*serve), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	/* No child has a use for it: so forks are quicker, and pages are not copied because a child is there. */
	if (serve == MAP_FAILED || madvise(serve, sizeof(*serve), MADV_DONTFORK) < 0)
		return -errno;
	serve->control = serve->cdp_read = serve->cdp_write = serve->pts = -1;
	serve->output = output;
	/* Blocked, so that the descriptor reports it; other signals do nothing to PID 1 as long as it has no handler. */
	sigemptyset(&children);
	sigaddset(&children, SIGCHLD);
	if (sigprocmask(SIG_BLOCK, &children, NULL) < 0)
		return -errno;
	serve->epoll = epoll_create1(EPOLL_CLOEXEC);
	serve->children = signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK);
	if (serve->epoll < 0 || serve->children < 0 || fcntl(listen, F_SETFL, O_NONBLOCK) < 0)
		return -errno;
	int r = serve_watch(serve, serve->children, SOURCE_CHILDREN, 0, EPOLLIN);
	if (r == 0)
		r = serve_watch(serve, listen, SOURCE_LISTEN, 0, EPOLLIN);
	if (r == 0)
		r = open_pipes(serve, cdp, ret_fds);
	if (r < 0)
		return r; /* what was made goes with the process */
	serve->listen = listen;
	*ret = serve;
	return 0;
}

/*
 * The workload has ended: what it wrote is in the pipes, and is kept; what its children may go on writing is not
 * waited for. Then the fact, for whoever reads the file; then a word to control, if it listens.
 */
static void finish(struct serve *serve)
{
	const struct exec *workload = &serve->execs[0];
	struct output_header *output = serve->output;
	int in_stdout = 0, in_stderr = 0;

	if (serve->stdout_pipe >= 0 && ioctl(serve->stdout_pipe, FIONREAD, &in_stdout) == 0)
		keep_from(serve, &serve->stdout_pipe, OUTPUT_STDOUT, (size_t)in_stdout);
	if (serve->stderr_pipe >= 0 && ioctl(serve->stderr_pipe, FIONREAD, &in_stderr) == 0)
		keep_from(serve, &serve->stderr_pipe, OUTPUT_STDERR, (size_t)in_stderr);
	output->exit_code = workload->signal ? 0 : workload->exit_code;
	output->signal = workload->signal;
	output->ended_realtime_ns = realtime_ns();
	atomic_store_explicit(
		&output->workload, workload->signal ? WORKLOAD_SIGNALED : WORKLOAD_EXITED, memory_order_release);
	control_tell(serve);
	serve->exit_code = workload->signal ? 128 + workload->signal : workload->exit_code;
}

static void dispatch(struct serve *serve, const struct epoll_event *event)
{
	size_t index = (uint32_t)event->data.u64;

	switch ((enum source)(event->data.u64 >> 32)) {
	case SOURCE_CHILDREN:
		exec_reap(serve);
		break;
	case SOURCE_LISTEN:
		control_accept(serve);
		break;
	case SOURCE_CONTROL:
		control_ready(serve, event->events);
		break;
	case SOURCE_STDOUT:
		on_stdout(serve);
		break;
	case SOURCE_STDERR:
		on_stderr(serve);
		break;
	case SOURCE_CDP:
		on_cdp(serve);
		break;
	case SOURCE_EXEC:
		exec_ready(serve, index);
		break;
	case SOURCE_CONNECT:
		connect_ready(serve, index);
		break;
	case SOURCE_KEPT:
		kept_ready(serve, index);
		break;
	case SOURCE_TERMINAL:
		terminal_ready(serve, index);
		break;
	}
}

int serve_run(struct serve *serve, pid_t pid)
{
	struct epoll_event events[EVENTS_PER_ROUND];

	serve->execs[0] = (struct exec){ .pid = pid, .state = EXEC_RUNNING, .pipe = -1 };
	serve->n_execs_used = 1;
	atomic_store_explicit(&serve->output->workload, WORKLOAD_RUNNING, memory_order_release);
	for (;;) {
		int n = epoll_wait(
			serve->epoll, events, EVENTS_PER_ROUND, serve->more_children || serve->hot ? 0 : -1);
		/*
		 * An event may be for something that an earlier one of the round has closed, or even replaced: every
		 * handler finds out by a call that does not block.
		 */
		for (int i = 0; i < n && !serve->ended; i++)
			dispatch(serve, &events[i]);
		if (serve->more_children)
			exec_reap(serve);
		if (serve->ended)
			break;
		kept_go_on(serve);
		control_tell(serve);
	}
	finish(serve);
	return serve->exit_code;
}
