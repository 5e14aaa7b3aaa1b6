/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first step: init becomes a process of its own, takes the plan and looks at what it was given. The supervisor is
 * trusted, so these checks find mistakes, not attacks: a descriptor too many here is one that a workload could use.
 */
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "sandbox/init.h"
#include "sandbox/sys.h"
#include "wire/output.h"

/* What every process is given and init may have inherited otherwise. */
static int reset_process(struct setup *setup)
{
	sigset_t none;

	/*
	 * Not PR_SET_PDEATHSIG: a session outlives the supervisor that made it.
	 * Not dumpable: nobody in the session may trace init or read its memory, whatever its capabilities there. The
	 * kernel sees to this already if the binary is not readable; this covers the other case.
	 */
	if (prctl(PR_SET_DUMPABLE, 0) < 0 || prctl(PR_SET_NAME, "carrel-init") < 0)
		return fail(setup, -errno, "prctl");
	umask(022);
	if (setsid() < 0)
		return fail(setup, -errno, "setsid");
	/* Ignored signals would stay ignored in the workload. For PID 1 the default of most is to be ignored, too. */
	for (int i = 1; i < NSIG; i++)
		sys_signal_default(i); /* fails for SIGKILL and SIGSTOP, which have no other */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	return 0;
}

static int receive_plan(struct setup *setup)
{
	struct pollfd readable = { .fd = setup->channel, .events = POLLIN };
	_uninitialized_ struct msg msg;

	if (RETRY_EINTR(poll(&readable, 1, -1)) < 0)
		return fail(setup, -errno, "wait");
	int r = msg_recv(setup->channel, plan_orders, n_plan_orders, &msg);
	if (r <= 0)
		return fail(setup, r == 0 ? -ECONNRESET : r, "receive");
	memcpy(&setup->plan, msg.bytes, sizeof(setup->plan));
	return 0;
}

/* The file types that a descriptor may refer to, one bit for each S_IFMT value. */
#define TYPE(mode) (1U << (((mode)&S_IFMT) >> 12))

static int check_type(struct setup *setup, int fd, unsigned int types, const char *name)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return fail(setup, -errno, "descriptor %d, %s", fd, name);
	if (!(TYPE(st.st_mode) & types))
		return fail(setup, -EBADFD, "descriptor %d, %s", fd, name);
	return 0;
}

/* clang-format off */
static const struct {
	int fd;
	unsigned int types;
	const char *name;
} expected[] = {
	{ STDIN_FILENO,    TYPE(S_IFCHR), "stdin" },
	{ STDOUT_FILENO,   TYPE(S_IFCHR), "stdout" },
	{ STDERR_FILENO,   TYPE(S_IFCHR), "stderr" },
	{ PLAN_FD_CHANNEL, TYPE(S_IFSOCK), "channel" },
	{ PLAN_FD_LISTEN,  TYPE(S_IFSOCK), "listening socket" },
	{ PLAN_FD_OUTPUT,  TYPE(S_IFREG), "output" },
	{ PLAN_FD_SPEC,    TYPE(S_IFREG), "spec" },
	{ PLAN_FD_SECCOMP, TYPE(S_IFREG) | TYPE(S_IFCHR), "seccomp filter" },
	{ PLAN_FD_DEV,     TYPE(S_IFDIR), "/dev" },
};
/* clang-format on */

/* Takes the descriptors of enum plan_fd into the set-up; there must be none missing and none more. */
static int take_descriptors(struct setup *setup)
{
	int next = PLAN_FD_MOUNT, r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(expected) && r == 0; i++)
		r = check_type(setup, expected[i].fd, expected[i].types, expected[i].name);
	for (size_t i = 0; i < setup->plan.n_layers && r == 0; i++) {
		setup->layers[i] = next;
		r = check_type(setup, next++, TYPE(S_IFDIR), "layer");
	}
	for (size_t i = 0; i < setup->plan.n_mounts && r == 0; i++) {
		if (setup->plan.mounts[i].kind != PLAN_BIND)
			continue;
		setup->binds[setup->n_binds++] = next;
		r = check_type(setup, next++, TYPE(S_IFDIR) | TYPE(S_IFREG) | TYPE(S_IFSOCK), "bind");
	}
	if (r < 0)
		return r;
	if (fcntl(next, F_GETFD) >= 0)
		return fail(setup, -EBADFD, "descriptor %d, not in the plan", next);
	/* Whatever may be open above is closed; the rest goes no further than init. */
	r = sys_close_range((unsigned int)next, ~0U, 0);
	if (r == 0)
		r = sys_close_range(PLAN_FD_CHANNEL, (unsigned int)next - 1, CLOSE_RANGE_CLOEXEC);
	return r < 0 ? fail(setup, r, "close_range") : 0;
}

/*
 * A mapping cannot make the file grow, a descriptor could: so nothing in the session ever has one, and children do not
 * even inherit the mapping.
 */
static int map_output(struct setup *setup)
{
	if (ftruncate(setup->output_fd, OUTPUT_FILE_BYTES) < 0)
		return fail(setup, -errno, "output");
	/* The rest init can do without; to write a header for which there is no room would be its end. */
	int r = -posix_fallocate(setup->output_fd, 0, sizeof(struct output_header));
	if (r < 0)
		return fail(setup, r, "output");
	void *map = mmap(NULL, OUTPUT_FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, setup->output_fd, 0);
	if (map == MAP_FAILED)
		return fail(setup, -errno, "map output");
	if (madvise(map, OUTPUT_FILE_BYTES, MADV_DONTFORK) < 0)
		return fail(setup, -errno, "madvise output");
	setup->output = map;
	output_format(setup->output, OUTPUT_FILE_BYTES);
	close_fdp(&setup->output_fd);
	return 0;
}

int step_plan(struct setup *setup)
{
	int r = reset_process(setup);
	if (r == 0)
		r = receive_plan(setup);
	if (r == 0)
		r = take_descriptors(setup);
	if (r == 0)
		r = map_output(setup);
	return r;
}
