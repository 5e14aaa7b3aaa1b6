/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands of the session, as init sees them: the workload, which is number 0, and what control has it run. All are
 * init's children; so a pid in the table is that command until init itself has reaped it.
 */
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#include "sandbox/serve.h"

enum {
	REAPS_PER_ROUND = 256,
	PIPE_BYTES = 64 * 1024, /* what a pipe holds */
};

struct exec *exec_find(struct serve *serve, uint64_t id)
{
	for (size_t i = 0; i < serve->n_execs_used; i++)
		if (serve->execs[i].state != EXEC_FREE && serve->execs[i].id == id)
			return &serve->execs[i];
	return NULL;
}

static struct exec *find_by_pid(struct serve *serve, pid_t pid)
{
	for (size_t i = 0; i < serve->n_execs_used; i++) {
		enum exec_state state = serve->execs[i].state;
		if ((state == EXEC_STARTING || state == EXEC_RUNNING) && serve->execs[i].pid == pid)
			return &serve->execs[i];
	}
	return NULL;
}

static struct exec *find_free(struct serve *serve)
{
	for (size_t i = 1; i < serve->n_execs_used; i++)
		if (serve->execs[i].state == EXEC_FREE)
			return &serve->execs[i];
	return serve->n_execs_used < ARRAY_SIZE(serve->execs) ? &serve->execs[serve->n_execs_used++] : NULL;
}

static void answer_started(struct serve *serve, const struct exec *exec, pid_t pid, const struct err *err)
{
	struct init_started started = { .err = *err, .pid = pid };

	msg_init(&started.header, exec->op | MSG_REPLY, exec->id, sizeof(started));
	control_answer(serve, exec->asked_by, &started.header, NULL, 0);
}

/* ---- spawners ---- */

/* A child is about to become the command of an order. */
static void order_begun(struct serve *serve, const struct exec *spawner, const struct spawn_report *said)
{
	const struct exec new = {
		.id = said->id,
		.op = INIT_EXEC,
		.pid = said->pid,
		.state = EXEC_RUNNING,
		.asked_by = spawner->asked_by,
		.pipe = -1,
	};
	struct exec *exec = exec_find(serve, said->id) ? NULL : find_free(serve);
	struct err err;

	if (exec) {
		*exec = new;
		return;
	}
	kill(said->pid, SIGKILL);
	err_set(&err, -EAGAIN, "spawn", "%d commands run already", INIT_MAX_EXECS);
	answer_started(serve, &new, 0, &err);
}

/* It cannot be that; or there was none. */
static void order_failed(struct serve *serve, const struct exec *spawner, const struct spawn_report *said)
{
	const struct exec asked = { .id = said->id, .op = INIT_EXEC, .asked_by = spawner->asked_by };
	struct exec *exec = exec_find(serve, said->id);

	/* What is left of it is nobody's. */
	if (exec && exec->pid == said->pid)
		exec->state = EXEC_FREE;
	answer_started(serve, &asked, 0, &said->err);
}

/* The spawner has gone, or says nonsense. */
static void drop_spawner(struct serve *serve, struct exec *spawner)
{
	struct err err;

	serve_drop(serve, &spawner->pipe);
	if (spawner->state == EXEC_STARTING) {
		err_set(&err, -ECHILD, "spawn", "spawner");
		answer_started(serve, spawner, 0, &err);
		spawner->state = EXEC_FREE;
	} else if (spawner->state == EXEC_RUNNING) {
		kill(spawner->pid, SIGKILL);
	}
}

/* Hears all that SPAWNER has said until now: so much goes into a pipe. */
static void hear(struct serve *serve, struct exec *spawner)
{
	const struct err none = { 0 };
	struct spawn_report said;
	int r = 0;

	for (size_t n = 0; spawner->pipe >= 0 && n <= PIPE_BYTES / sizeof(said); n++) {
		r = spawn_report(spawner->pipe, &said);
		if (r == 0)
			return;
		if (r < 0 || (said.id != 0 && said.pid == 1)) {
			drop_spawner(serve, spawner);
		} else if (said.id != 0 && said.err.num == 0) {
			order_begun(serve, spawner, &said);
		} else if (said.id != 0) {
			order_failed(serve, spawner, &said);
		} else if (spawner->state == EXEC_STARTING) {
			spawner->state = EXEC_RUNNING;
			answer_started(serve, spawner, spawner->pid, &none);
		}
	}
}

static void hear_all(struct serve *serve)
{
	for (size_t i = 1; i < serve->n_execs_used; i++)
		if (serve->execs[i].is_spawner && serve->execs[i].state != EXEC_FREE)
			hear(serve, &serve->execs[i]);
}

/* As exec_find(), with what spawners have to say of it. */
static struct exec *find_heard(struct serve *serve, uint64_t id)
{
	if (!exec_find(serve, id))
		hear_all(serve);
	return exec_find(serve, id);
}

/* ---- requests ---- */

int exec_start(
	struct serve *serve, const struct msg *msg, const struct spawn *what, struct kept *kept, struct err *err)
{
	struct exec new = {
		.id = msg->header.id,
		.op = msg->header.op,
		.state = EXEC_STARTING,
		.asked_by = serve->n_controls,
		.kept = kept,
		.is_spawner = what->is_spawner,
	};

	if (new.id == 0 || exec_find(serve, new.id))
		return err_set(err, -EEXIST, "spawn", "number %llu", (unsigned long long)new.id);
	struct exec *exec = find_free(serve);
	if (!exec)
		return err_set(err, -EAGAIN, "spawn", "%d commands run already", INIT_MAX_EXECS);
	int r = spawn(what, &new.pid, &new.pipe, err);
	if (r < 0)
		return r;
	*exec = new;
	if (kept)
		kept->exec = exec;
	/* If it cannot be watched, the child's end tells. */
	serve_watch(serve, new.pipe, SOURCE_EXEC, (size_t)(exec - serve->execs), EPOLLIN);
	return 0;
}

void exec_request(struct serve *serve, struct msg *msg)
{
	const struct exec asked = { .id = msg->header.id, .op = msg->header.op, .asked_by = serve->n_controls };
	struct spawn what = { .rules = &serve->rules, .spec = msg->fds[0], .n_fds = msg->n_fds - 1, .pts = -1 };
	struct err err = { 0 };

	what.is_spawner = msg->header.op == INIT_SPAWNER;
	if (what.is_spawner) {
		what.fds[0] = msg->fds[0];
		what.n_fds = SPAWN_CHANNEL;
	} else {
		memcpy(what.fds, msg->fds + 1, what.n_fds * sizeof(int));
	}
	if (exec_start(serve, msg, &what, NULL, &err) < 0)
		answer_started(serve, &asked, 0, &err);
}

void exec_signal(struct serve *serve, struct msg *msg)
{
	const struct init_signal *request = (const void *)msg->bytes;
	const struct exec *exec = find_heard(serve, request->exec);
	struct init_done done = { 0 };
	bool lives = exec && exec->state != EXEC_ENDED && exec->state != EXEC_TOLD;

	msg_init(&done.header, INIT_SIGNAL | MSG_REPLY, msg->header.id, sizeof(done));
	/*
	 * A command leads the process group with its own number, or has not got to that: then there is no such group. One
	 * that is killed first does not get to it, and keeps the number until it is reaped.
	 */
	if (lives && request->group && request->signal == SIGKILL)
		kill(exec->pid, SIGKILL);
	if (!lives)
		err_set(&done.err, -ESRCH, "signal", "command %llu", (unsigned long long)request->exec);
	else if (kill(request->group ? -exec->pid : exec->pid, request->signal) < 0)
		err_set(&done.err, -errno, "signal", "command %llu", (unsigned long long)request->exec);
	control_answer(serve, serve->n_controls, &done.header, NULL, 0);
}

/* ---- the lives of commands ---- */

void exec_ready(struct serve *serve, size_t index)
{
	struct exec *exec = &serve->execs[index];
	struct kept *kept = exec->kept;
	struct err err = { 0 };

	if (exec->is_spawner && exec->state != EXEC_FREE) {
		hear(serve, exec);
		return;
	}
	if (exec->state != EXEC_STARTING)
		return;
	int r = spawn_result(exec->pipe, kept && kept->terminal ? &kept->terminal->master : NULL, &err);
	if (r == 0)
		return;
	serve_drop(serve, &exec->pipe);
	answer_started(serve, exec, r < 0 ? 0 : exec->pid, &err);
	/* One that was not started leaves a child to be reaped, which is then nobody's. */
	exec->state = r < 0 ? EXEC_FREE : EXEC_RUNNING;
	if (kept && r < 0)
		kept_release(serve, kept);
	else if (kept)
		kept_started(serve, kept);
}

static void child_ended(struct serve *serve, const siginfo_t *info)
{
	struct exec *exec = find_by_pid(serve, info->si_pid);

	/* A spawner's child has said who it is before it could end. */
	if (!exec) {
		hear_all(serve);
		exec = find_by_pid(serve, info->si_pid);
	}
	/* An orphan of the session's. */
	if (!exec)
		return;
	/* It has closed its end of the pipe: the pipe knows by now. */
	exec_ready(serve, (size_t)(exec - serve->execs));
	if (exec->is_spawner && exec->state != EXEC_FREE) {
		/* The pid is nobody's any more: not to be signalled. */
		exec->state = exec->state == EXEC_RUNNING ? EXEC_ENDED : exec->state;
		drop_spawner(serve, exec);
		if (exec->state == EXEC_FREE)
			return;
	} else if (exec->state != EXEC_RUNNING) {
		return;
	}
	exec->exit_code = info->si_code == CLD_EXITED ? info->si_status : 0;
	exec->signal = info->si_code == CLD_EXITED ? 0 : info->si_status;
	exec->state = EXEC_ENDED;
	if (exec->kept)
		kept_ended(serve, exec->kept);
	if (exec == &serve->execs[0])
		serve->ended = true;
}

void exec_reap(struct serve *serve)
{
	struct signalfd_siginfo signal;

	/* Before the first child is looked for, so that one that ends later is reported again. */
	while (read(serve->children, &signal, sizeof(signal)) > 0)
		continue;
	serve->more_children = true;
	for (int i = 0; i < REAPS_PER_ROUND && !serve->ended; i++) {
		siginfo_t info = { 0 };
		if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG) < 0 || info.si_pid == 0) {
			serve->more_children = false;
			return;
		}
		child_ended(serve, &info);
	}
}
