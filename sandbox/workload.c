/* SPDX-License-Identifier: Apache-2.0 */
/* The last two steps: everything that init needs for serving, while it may still fail; then the workload. */
#include <poll.h>
#include <sys/prctl.h>

#include "sandbox/init.h"
#include "wire/spec.h"

/* Whether the workload wants a debugging pipe. The rest of the spec is read by the child that becomes the workload. */
static int wants_cdp(int spec, bool *ret)
{
	struct spec_header header;

	ssize_t n = pread(spec, &header, sizeof(header), 0);
	if (n < 0)
		return -errno;
	if (n != sizeof(header) || header.magic != SPEC_MAGIC)
		return -EPROTO;
	*ret = header.flags & SPEC_CDP_PIPE;
	return 0;
}

int step_service(struct setup *setup)
{
	bool cdp;

	int r = wants_cdp(setup->spec, &cdp);
	if (r < 0)
		return fail(setup, r, "spec");
	setup->n_workload_fds = cdp ? SPAWN_CDP : SPAWN_STDIO;
	r = serve_open(&setup->serve, setup->listen, setup->output, cdp, setup->workload_fds);
	if (r < 0)
		return fail(setup, r, "descriptors");
	setup->listen = -1;
	setup->serve->pts = setup->pts;
	setup->serve->n_places = setup->n_places;
	memcpy(setup->serve->places, setup->places, setup->n_places * sizeof(setup->places[0]));
	return 0;
}

/* Waits for the child to become the workload. It fails with the child's own step: "user", "cwd", "exec", ... */
static int wait_for_exec(struct setup *setup, int pipe)
{
	struct pollfd decided = { .fd = pipe, .events = POLLIN };
	int r;

	do {
		if (RETRY_EINTR(poll(&decided, 1, -1)) < 0)
			return fail(setup, -errno, "wait");
		r = spawn_result(pipe, NULL, &setup->report.err);
	} while (r == 0);
	return r < 0 ? r : 0;
}

int step_exec(struct setup *setup)
{
	struct spawn what = {
		.rules = &setup->rules,
		.spec = setup->spec,
		.n_fds = setup->n_workload_fds,
		.pts = -1,
		.is_first = true,
	};
	_close_ int pipe = -1;

	memcpy(what.fds, setup->workload_fds, sizeof(what.fds));
	setup->serve->rules = setup->rules;
	int r = spawn(&what, &setup->workload, &pipe, &setup->report.err);
	if (r == 0)
		r = wait_for_exec(setup, pipe);
	if (r < 0)
		return r;
	/* The child's change of user has set this to fs.suid_dumpable for the memory that both shared. */
	if (prctl(PR_SET_DUMPABLE, 0) < 0)
		return fail(setup, -errno, "prctl");
	/* The first, stdin, is init's own. */
	close_fds(setup->workload_fds + 1, setup->n_workload_fds - 1);
	close_fdp(&setup->spec);
	return 0;
}
