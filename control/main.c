/* SPDX-License-Identifier: Apache-2.0 */
/*
 * carrel-control: what clients of carrel talk to.
 *
 * It serves JSON-RPC on a unix socket and keeps what sessions are beyond processes and mounts: whose they are, how
 * long they last, whether they are ready, why they ended. Whatever touches the host it asks of carreld, the
 * supervisor, in fixed messages; whatever happens inside a session it asks of that session's init.
 *
 * It runs as the user carrel with no capability, started by carreld or by the service manager, and again whenever it
 * ends: sessions do not need it to live, and everything that must outlast it is in the registry.
 *
 * What it holds:
 *
 *   0, 1  /dev/null
 *   2     standard error: the journal
 *   3     the channel to carreld (SOCK_SEQPACKET; wire/super.h). Its end is the end of this process.
 *   4     the API socket, listening. carreld made it and keeps it: clients that wait while control is started again
 *         are served by the next one.
 *   5     the stream socket, listening, in the same way (control/stream.h)
 *
 * and later /proc/self/net/dev, a descriptor for each client, and for each session a channel to its init, its cgroup
 * and its output.
 *
 * Stages, and what it can do in each:
 *
 *   1. As started. Any user's rights: reads the configuration, looks up users and groups (which may load libraries and
 *      ask a directory service), opens its event loop. Nobody has been able to say a word to it yet.
 *   2. Locked in (sandbox.c): no new privileges, no capability, not traceable; of the file system, the registry's
 *      directory to write and a few others to read; of the system calls at most sixty, with no fork, exec, kill or
 *      ioctl among them, no connection to an address, and no memory becomes executable any more.
 *   3. Finding out: greets carreld, opens the registry, asks which sessions live. Clients still wait in the queue.
 *   4. Serving. From here on all input is hostile: bytes of clients (rpc.c, params.c), of each session's init
 *      (wire/init.c), of each session's output (wire/output.c).
 *
 * If it is taken over in stage 4, it can end sessions, create as many as the limits permit, and read what passes
 * through it. It cannot become root, name a path, an id or an argument to anything that is root, read a file of the
 * host that is not listed in sandbox.c, or raise a limit that a root-owned template sets: carreld sees to that,
 * whatever control says (supervisor/ops.c).
 */
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "control/access.h"
#include "control/activation.h"
#include "control/control.h"
#include "control/discover.h"
#include "control/ports.h"
#include "control/sandbox.h"
#include "control/stream.h"
#include "version.h"
#include "wire/service.h"

enum { SUPERVISOR_FD = 3, LISTEN_FD, STREAM_FD };

struct process {
	struct control control;
	struct loop_io signals;
	struct service service;
	int listen_fd, stream_fd;
	bool failed;
};

static const char usage[] =
	"Usage: carrel-control CONFIG-DIRECTORY\n"
	"       carrel-control OPTION\n"
	"\n"
	"Serves carrel's interface. Started by carreld, which hands it the descriptors it needs.\n"
	"\n"
	"  --list-syscalls   the system calls that it keeps, each with the reason\n"
	"  --print-api       the reference of its methods, in Markdown\n"
	"  --print-openrpc   the same for programs, as rpc.discover gives it\n"
	"  --version\n"
	"  --help\n";

/* Says what went wrong. Always -1. */
static int complain(const char *what, int error)
{
	fprintf(stderr, "carrel-control: %s: %s\n", what, strerror(-error));
	return -1;
}

/* ---- stage 1 ---- */

/* 0 when there is something to serve; else the exit status plus one. */
static int parse_arguments(int argc, char **argv)
{
	const char *option = argc == 2 ? argv[1] : "";

	if (streq(option, "--list-syscalls")) {
		sandbox_print_syscalls(stdout);
	} else if (streq(option, "--print-api")) {
		discover_print_markdown(stdout);
	} else if (streq(option, "--print-openrpc")) {
		return discover_print_openrpc(stdout) < 0 ? 2 : 1;
	} else if (streq(option, "--version")) {
		puts("carrel-control " CARREL_VERSION);
	} else if (streq(option, "--help")) {
		fputs(usage, stdout);
	} else if (!option[0] || option[0] == '-') {
		fputs(usage, stderr);
		return 3;
	} else {
		return 0;
	}
	return 1;
}

static bool is_socket(int fd, int type, bool listens)
{
	int value;
	socklen_t size = sizeof(value);

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &size) < 0 || value != type)
		return false;
	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &size) == 0 && (value != 0) == listens;
}

/* Takes what carreld handed over, and nothing else. */
static int take_descriptors(void)
{
	if (!is_socket(SUPERVISOR_FD, SOCK_SEQPACKET, false) || !is_socket(LISTEN_FD, SOCK_STREAM, true) ||
		!is_socket(STREAM_FD, SOCK_STREAM, true)) {
		fputs("carrel-control: is started by carreld, with its channel and two sockets\n", stderr);
		return -1;
	}
	if (syscall(SYS_close_range, STREAM_FD + 1, ~0U, 0) < 0)
		return complain("descriptors", -errno);
	for (int fd = SUPERVISOR_FD; fd <= STREAM_FD; fd++)
		if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
			return complain("descriptors", -errno);
	return 0;
}

static int read_boot_id(char *ret, size_t size)
{
	_close_ int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : RETRY_EINTR(read(fd, ret, size - 1));

	if (n < 0)
		return complain("boot_id", -errno);
	ret[n] = '\0';
	ret[strcspn(ret, "\n")] = '\0';
	return 0;
}

static int read_configuration(struct control *control, const char *directory)
{
	char text[512];
	int r = config_load(directory, &control->config, text, sizeof(text));

	if (r < 0) {
		fprintf(stderr, "carrel-control: %s\n", text);
		return -1;
	}
	control->config_directory = directory;
	r = access_resolve(&control->config, &control->access, text, sizeof(text));
	if (r < 0)
		return complain("access", r);
	if (text[0])
		fprintf(stderr, "carrel-control: carrel.json: access: there is no %s; the entry fits nobody\n", text);
	long n_cpus = sysconf(_SC_NPROCESSORS_ONLN);
	control->n_cpus = n_cpus > 0 ? (uint32_t)n_cpus : 1;
	return read_boot_id(control->boot_id, sizeof(control->boot_id));
}

static void on_signal(struct loop_io *io, uint32_t revents _unused_)
{
	struct process *process = container_of(io, struct process, signals);
	struct signalfd_siginfo info;

	if (read(io->fd, &info, sizeof(info)) == sizeof(info))
		process->control.loop.stop = true;
}

static int open_loop(struct process *process)
{
	sigset_t end;

	int r = loop_open(&process->control.loop);
	if (r < 0)
		return complain("event loop", r);
	sigemptyset(&end);
	sigaddset(&end, SIGTERM);
	sigaddset(&end, SIGINT);
	if (sigprocmask(SIG_BLOCK, &end, NULL) < 0 || signal(SIGHUP, SIG_IGN) == SIG_ERR ||
		signal(SIGPIPE, SIG_IGN) == SIG_ERR)
		return complain("signals", -errno);
	int fd = signalfd(-1, &end, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		return complain("signals", -errno);
	process->signals = (struct loop_io){ .fd = fd, .fn = on_signal };
	r = loop_watch(&process->control.loop, &process->signals, EPOLLIN);
	return r < 0 ? complain("signals", r) : 0;
}

/* A client costs one descriptor, a session three. */
static void raise_descriptor_limit(struct control *control)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	control->n_descriptors = limit.rlim_cur;
}

/* Keys of JSON objects are hashed with a number that clients cannot guess; jansson takes its first for good. */
static int seed_hashes(void)
{
	size_t seed;

	if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		return complain("getrandom", -errno);
	json_object_seed(seed | 1);
	return 0;
}

static int prepare(struct process *process, const char *directory)
{
	if (geteuid() == 0 || getuid() == 0) {
		fputs("carrel-control: does not run as root; carreld starts it as the user \"carrel\"\n", stderr);
		return -1;
	}
	if (seed_hashes() < 0 || read_configuration(&process->control, directory) < 0)
		return -1;
	int r = activation_arrange(process->control.config.run_dir, SUPERVISOR_FD, LISTEN_FD, STREAM_FD);
	if (r < 0)
		return complain("carreld", r);
	if (take_descriptors() < 0)
		return -1;
	service_open(&process->service);
	umask(0007); /* the group may connect to sockets; files have their modes from who makes them */
	raise_descriptor_limit(&process->control);
	port_sockets_clear(&process->control.config);
	/* Rules for files come later, and let neither be opened. */
	process->control.meminfo_fd = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
	process->control.net_dev_fd = open("/proc/self/net/dev", O_RDONLY | O_CLOEXEC);
	return open_loop(process);
}

/* ---- stages 2 to 4 ---- */

static int lock_in(const struct control *control)
{
	char text[256];
	struct err err;

	if (sandbox_enter(&control->config, control->config_directory, &err) == 0)
		return 0;
	fprintf(stderr, "carrel-control: %s\n", err_text(&err, text, sizeof(text)));
	return -1;
}

static void write_status(struct service *service, char text[static SERVICE_STATUS_SIZE])
{
	size_t live, ready;

	lifecycle_count(&container_of(service, struct process, service)->control, &live, &ready);
	snprintf(text, SERVICE_STATUS_SIZE, "%zu session%s, %zu ready", live, live == 1 ? "" : "s", ready);
}

static void on_ready(struct control *control)
{
	struct process *process = container_of(control, struct process, control);
	int r = server_start(control, steal_fd(&process->listen_fd));

	if (r == 0)
		r = streams_start(control, steal_fd(&process->stream_fd));
	if (r < 0) {
		complain("sockets", r);
		process->failed = true;
		control->loop.stop = true;
		return;
	}
	service_ready(&process->service, &control->loop, write_status);
}

/* Serves until a signal, the end of the channel, or an error. 0 or -1. */
static int run(struct process *process)
{
	struct control *control = &process->control;
	int r = lifecycle_start(control, SUPERVISOR_FD, on_ready);

	if (r < 0)
		return -1;
	r = loop_run(&control->loop);
	if (r < 0)
		complain("event loop", r);
	/* Clients first: what the lifecycle holds for them is taken back through it. */
	server_stop(control);
	streams_stop(control);
	lifecycle_stop(control);
	return r < 0 || process->failed ? -1 : 0;
}

int main(int argc, char **argv)
{
	struct process process = {
		.control.loop = { .epoll_fd = -1, .timer_fd = -1 },
		.control.net_dev_fd = -1,
		.control.meminfo_fd = -1,
		.signals.fd = -1,
		.listen_fd = LISTEN_FD,
		.stream_fd = STREAM_FD,
	};
	struct control *control = &process.control;
	int r = parse_arguments(argc, argv);

	if (r > 0)
		return r - 1;
	control->started_ns = boottime_ns();
	r = prepare(&process, argv[1]);
	if (r == 0)
		r = lock_in(control);
	if (r == 0)
		r = run(&process);
	close_fd(process.signals.fd);
	close_fd(control->net_dev_fd);
	close_fd(control->meminfo_fd);
	loop_close(&control->loop);
	access_free(control->access);
	config_free(&control->config);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
