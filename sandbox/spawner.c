/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A spawner: starts commands in init's place, for control, in a hurry. To fork init takes as long as to execute a
 * program, for its memory is copied; a child that shares memory with who waits for it (vfork) costs next to nothing.
 * Init must not wait like that, since a process of the session might stop the child by a signal: but a spawner may. At
 * worst it is stopped, killed, or replaced, and init starts commands itself.
 *
 * It is a fork of init, as uid 0 of the session, under its filter, with init's capabilities, executes nothing and has
 * two descriptors: its channel and the pipe to init. Commands are born as init's children, and reaped there.
 *
 * Nobody in the session may trace a child while it shares this memory: neither is dumpable, and a child that becomes
 * another user stays so, because the kernel then sets what fs.suid_dumpable says. With 1 there, which is for debugging,
 * there is no spawner.
 */
#include <poll.h>
#include <sys/fsuid.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "sandbox/spawn.h"
#include "sandbox/sys.h"
#include "wire/init.h"

enum {
	PAGE = 4096,
	STACK_BYTES = 64 * 1024, /* of a child, which uses a third */
};

/* What becomes of memory whose process changes its user, tried on this one. */
static bool would_be_dumpable(void)
{
	setfsuid(1);
	setfsuid(0);
	return prctl(PR_GET_DUMPABLE) == 1;
}

/* The end of a stack with a page before it that cannot be touched; or NULL. */
static void *make_stack(void)
{
	uint8_t *map = mmap(NULL, PAGE + STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (map == MAP_FAILED || mprotect(map, PAGE, PROT_NONE) < 0)
		return NULL;
	return map + PAGE + STACK_BYTES;
}

static void take_order(int pipe, const struct spawn_rules *rules, const struct msg *msg, void *stack)
{
	struct spawn what = { .rules = rules, .spec = msg->fds[0], .n_fds = SPAWN_STDIO, .pts = -1 };

	memcpy(what.fds, msg->fds + 1, SPAWN_STDIO * sizeof(int));
	spawn_shared(&what, msg->header.id, pipe, stack);
	/* The child's change of user was one for this memory, too. */
	if (prctl(PR_SET_DUMPABLE, 0) < 0)
		_exit(EXIT_FAILURE);
}

/* The next order, or the end. */
static void receive(int channel, struct msg *msg)
{
	struct pollfd wait = { .fd = channel, .events = POLLIN };
	int r;

	do {
		if (RETRY_EINTR(poll(&wait, 1, -1)) < 0)
			_exit(EXIT_FAILURE);
		r = msg_recv(channel, init_requests, n_init_requests, msg);
	} while (r == -EAGAIN);
	if (r <= 0 || msg->header.op != INIT_EXEC)
		_exit(r == 0 ? EXIT_SUCCESS : EXIT_FAILURE);
}

_Noreturn void spawner_serve(int channel, int pipe, const struct spawn_rules *rules)
{
	struct spawn_report there = { .pid = getpid() };
	struct init_started answer = { 0 };
	_uninitialized_ struct msg msg;

	void *stack = make_stack();
	bool can = stack && !would_be_dumpable();
	if (prctl(PR_SET_DUMPABLE, 0) < 0 || prctl(PR_SET_NAME, "carrel-spawn") < 0 || !can ||
		RETRY_EINTR(write(pipe, &there, sizeof(there))) != sizeof(there))
		_exit(EXIT_FAILURE);
	for (;;) {
		receive(channel, &msg);
		take_order(pipe, rules, &msg, stack);
		msg_release(&msg);
		msg_init(&answer.header, INIT_EXEC | MSG_REPLY, msg.header.id, sizeof(answer));
		if (msg_send(channel, &answer.header, NULL, 0) < 0)
			_exit(EXIT_FAILURE);
	}
}
