/* SPDX-License-Identifier: Apache-2.0 */
/*
 * carrel-init: PID 1 of a session.
 *
 * The supervisor's child executes it from a sealed memfd, in namespaces of its own (user, mount, pid, net, ipc, uts,
 * cgroup), as uid 0 of the session's user namespace: an unprivileged uid to the host, on which it never has a
 * capability. It finishes the session from the inside, starts the workload, and then reaps, keeps the workload's
 * output and does what control asks. Nobody trusts it: the supervisor and control take all it says as hostile.
 *
 * It is one static program without a library, a configuration file, an argument or an environment variable. What it
 * is to do comes in one message of fixed size, the plan; what it works on comes as descriptors:
 *
 *   0 1 2     /dev/null; the host's until "enter", then the session's own
 *   3         channel: the plan in, the report out, then closed
 *   4         socket on which control connects; kept
 *   5         the output file: mapped, then closed
 *   6         the workload's spec: passed on to the child that becomes the workload, then closed
 *   7         the seccomp filter: installed, then closed
 *   8         the /dev tree: attached, closed after "enter"
 *   9 ...     layers of the root and bind mounts: attached, then closed
 *
 * From stage to stage it can do less:
 *
 *   until "enter"      is in an empty root with a /proc and a /sys in which nothing is. Of the host's files it has but
 *                      the descriptors above.
 *   until "privilege"  has all capabilities in the session's user namespace. No code but its own has run.
 *   until "exec"       has the capabilities to change user and to signal, no more, and lives under the session's
 *                      seccomp filter. What the workload cannot be allowed init has given up as well.
 *   THE LINE           the workload has been executed, the supervisor knows. From here on init may not fail any more:
 *                      when PID 1 ends, the kernel kills the session.
 *   serving            resolves no path, allocates no memory, waits for nobody. Holds the socket of control, the ends
 *                      of the workload's pipes, the root of /dev/pts, where children make terminals, the roots of file
 *                      systems that can fill up, an epoll and a signalfd; and of commands that outlive connections,
 *                      pipes and terminals. When the workload ends, so does init, with the workload's exit code, or
 *                      128 and its signal.
 *
 * Nobody inside can trace it, read its memory or take its descriptors: its binary is not readable to the session's
 * ids, so that the kernel has its memory belong to the host's user namespace, and it is not dumpable. A test looks.
 */
#include <stdio.h>
#include <sys/mman.h>
#include <time.h>

#include "sandbox/init.h"

/* Every step says in its report's error what it was about when it failed. */
/* clang-format off */
static const struct {
	const char *name;
	int (*run)(struct setup *setup);
} steps[] = {
	{ "plan",      step_plan },	/* become a process of its own, take the plan and the descriptors */
	{ "stage",     step_stage },	/* a tmpfs to put the root together on, with the image's layers */
	{ "files",     step_files },	/* host name; /etc/hostname, hosts, resolv.conf */
	{ "root",      step_root },	/* the overlay */
	{ "proc",      step_proc },	/* while the one that was there is not covered */
	{ "counts",    step_counts },	/* what the kernel counts for each user of the session */
	{ "sys",       step_sys },
	{ "dev",       step_dev },	/* with pts, shm and mqueue */
	{ "masks",     step_masks },	/* cover parts of /proc, with pieces of /dev */
	{ "mounts",    step_mounts },	/* the template's table */
	{ "cgroupfs",  step_cgroup },	/* below /sys */
	{ "enter",     step_enter },	/* the session's root becomes init's */
	{ "service",   step_service },	/* all that serving needs, so that it cannot fail later */
	{ "limits",    step_limits },
	{ "privilege", step_privilege },	/* capabilities, no_new_privs, seccomp */
	{ "exec",      step_exec },	/* the workload */
};
/* clang-format on */
_Static_assert(ARRAY_SIZE(steps) <= MAX_STEP_TIMES, "fit the report");

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec ts;
	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static int run_steps(struct setup *setup)
{
	uint64_t start = clock_ns(CLOCK_MONOTONIC);

	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		struct step_time *time = &setup->report.steps[setup->report.n_steps++];
		setup->step = steps[i].name;
		snprintf(time->name, sizeof(time->name), "%s", setup->step);
		int r = steps[i].run(setup);
		uint64_t end = clock_ns(CLOCK_MONOTONIC);
		time->ns = end - start;
		start = end;
		if (r < 0)
			return r;
	}
	return 0;
}

/* Init's only words to the supervisor. That these get lost can only mean that nobody wants to know. */
static void report(struct setup *setup)
{
	struct plan_report *r = &setup->report;

	r->header = (struct msg_header){
		.version = MSG_VERSION, .op = PLAN_REPORT, .length = sizeof(*r), .id = setup->plan.header.id
	};
	r->started_ns = clock_ns(CLOCK_BOOTTIME);
	msg_send(setup->channel, &r->header, NULL, 0);
	close_fdp(&setup->channel);
}

/*
 * Everything up to the line. 0 with what comes after it, or a negative errno that has been reported. Never a part of
 * main(), whose frame stays.
 */
__attribute__((noinline)) static int set_up(struct serve **ret, pid_t *ret_workload)
{
	struct setup setup = {
		.channel = PLAN_FD_CHANNEL,
		.listen = PLAN_FD_LISTEN,
		.output_fd = PLAN_FD_OUTPUT,
		.spec = PLAN_FD_SPEC,
		.seccomp = PLAN_FD_SECCOMP,
		.dev = PLAN_FD_DEV,
		.stage = -1,
		.root = -1,
		.proc = -1,
		.sys = -1,
		.pts = -1,
	};

	int r = run_steps(&setup);
	report(&setup);
	*ret = setup.serve;
	*ret_workload = setup.workload;
	return r;
}

/*
 * Gives back the pages of the stack that the set-up has used, a third of all that init has to itself. Whatever lies
 * more than a page below this function's frame is nobody's.
 */
static void release_stack(void)
{
	enum { PAGE = 4096, USED = 16 * PAGE };
	uintptr_t end = ((uintptr_t)__builtin_frame_address(0) & ~(uintptr_t)(PAGE - 1)) - PAGE;

	/* Saves memory, no more: if it fails, so be it. */
	madvise((void *)(end - USED), USED, MADV_DONTNEED);
}

int main(void)
{
	struct serve *serve;
	pid_t workload;

	if (set_up(&serve, &workload) < 0)
		return EXIT_FAILURE;
	/* ---- THE LINE: init must not end before the workload has. ---- */
	release_stack();
	return serve_run(serve, workload);
}
