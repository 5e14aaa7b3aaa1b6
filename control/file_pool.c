/* SPDX-License-Identifier: Apache-2.0 */
#include "control/file_pool.h"

#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>

#include "control/command.h"
#include "control/lifecycle.h"
#include "control/text.h"

enum { IDLE_KEPT = 4 }; /* children without a job, of a session */

#define IDLE_NS (20 * NS_PER_SEC) /* how long */
#define PATIENCE_NS (2 * NS_PER_SEC) /* with one that was asked to end, and may have to take a file away */

struct file_worker {
	struct list of_pool;
	struct file_pool *pool;
	struct init_exec process;
	struct chan chan; /* closed: only its end is waited for */
	struct file_job *job; /* NULL: it is idle */
	bool started; /* init has said so */
	struct loop_timer timer; /* the end of idleness, or of patience */
	uint64_t last_id;
	uint16_t asked; /* the operation that is to be answered; 0: none */
	char user[FILE_USER_SIZE];
};

static struct loop *loop_of(const struct file_pool *pool)
{
	return lifecycle_loop(pool->session->lifecycle);
}

static void serve_waiting(struct file_pool *pool);

/* ---- the end of a child ---- */

static void worker_free(struct file_worker *worker)
{
	struct file_pool *pool = worker->pool;

	loop_disarm(loop_of(pool), &worker->timer);
	init_link_forget_exec(&pool->session->init, &worker->process);
	chan_close(&worker->chan);
	list_remove(&worker->of_pool);
	pool->n_workers--;
	free(worker);
}

/* Asks it to end, which it does when its channel is closed, unless it hangs: then it is killed, or to begin with. */
static void worker_stop(struct file_worker *worker, bool kill)
{
	struct init_link *init = &worker->pool->session->init;

	chan_close(&worker->chan);
	loop_disarm(loop_of(worker->pool), &worker->timer);
	if (!kill && loop_arm(loop_of(worker->pool), &worker->timer, boottime_ns() + PATIENCE_NS) == 0)
		return;
	if (init_link_is_open(init))
		init_link_signal(init, &worker->process, SIGKILL, false);
}

/* Takes the job from its child and fails it. */
static void fail_job(struct file_job *job, const struct file_failure *failure)
{
	if (job->worker)
		job->worker->job = NULL;
	else
		job->pool->n_waiting--;
	job->worker = NULL;
	list_remove(&job->of_pool);
	loop_disarm(loop_of(job->pool), &job->deadline);
	job->failed(job, failure);
}

static void worker_failed(struct file_worker *worker, enum error_kind kind, bool retryable, const char *text)
{
	const struct file_failure failure = { .kind = kind, .retryable = retryable, .text = text };

	if (worker->job)
		fail_job(worker->job, &failure);
}

static void on_started(struct init_exec *process, const struct err *err, int pid _unused_)
{
	struct file_worker *worker = container_of(process, struct file_worker, process);
	struct file_job *job = worker->job;
	struct file_failure failure = { .kind = E_FAILED, .retryable = true };

	/* Without an answer the link has ended, and on_exited() is not called. */
	if (err && err->num >= 0) {
		worker->started = true;
		return;
	}
	if (err)
		failure.err = *err;
	else
		failure = (struct file_failure){ .kind = E_INVALID_STATE, .text = "the session has ended" };
	struct file_pool *pool = worker->pool;
	worker->job = NULL;
	worker_free(worker);
	if (job) {
		job->worker = NULL;
		loop_disarm(loop_of(pool), &job->deadline);
		job->failed(job, &failure);
	}
}

static void on_exited(struct init_exec *process, int exit_code, int signal)
{
	struct file_worker *worker = container_of(process, struct file_worker, process);
	struct file_pool *pool = worker->pool;
	bool link_ended = exit_code < 0 && signal < 0;

	if (link_ended)
		worker_failed(worker, E_INVALID_STATE, false, "the session has ended");
	else
		worker_failed(worker, E_FAILED, true, "the process that does it in the session was ended");
	worker_free(worker);
	/* Without the link nobody is started: file_pool_end() follows. */
	if (!link_ended)
		serve_waiting(pool);
}

/* ---- what children say ---- */

static void on_message(struct chan *chan, struct msg *msg)
{
	struct file_worker *worker = container_of(chan, struct file_worker, chan);

	/* Who answers what was not asked is no child of ours any more. */
	if (!worker->job || worker->asked == 0 || msg->header.op != (worker->asked | MSG_REPLY) ||
		msg->header.id != worker->last_id) {
		worker_stop(worker, true);
		worker_failed(worker, E_FAILED, false, "the process that does it in the session answered nonsense");
		return;
	}
	worker->asked = 0;
	worker->job->answered(worker->job, (const void *)msg->bytes);
}

static void on_closed(struct chan *chan, int error)
{
	struct file_worker *worker = container_of(chan, struct file_worker, chan);

	/* That it has ended, if it has, comes from init; and if it never began, why. */
	worker_stop(worker, worker->started);
	if (!worker->started)
		return;
	worker_failed(worker, E_FAILED, error == 0,
		error == 0 ? "the process that does it in the session has ended"
			   : "the process that does it in the session answered nonsense");
}

static void on_timer(struct loop_timer *timer)
{
	struct file_worker *worker = container_of(timer, struct file_worker, timer);

	worker_stop(worker, !chan_is_open(&worker->chan));
}

/* ---- a new child ---- */

/* Has init fork a child for WORKER. 0, or a negative errno with ERR. */
static int worker_launch(struct file_worker *worker, struct err *err)
{
	struct session *session = worker->pool->session;
	int pair[2];

	_close_ int spec = command_files(
		lifecycle_config(session->lifecycle), session->template, worker->user[0] ? worker->user : NULL, err);
	if (spec < 0)
		return spec;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return err_set(err, -errno, "files", "channel");
	_close_ int theirs = pair[1];
	int r = chan_open(&worker->chan, loop_of(worker->pool), pair[0]);
	if (r == 0)
		r = init_link_files(&session->init, &worker->process, spec, theirs);
	if (r < 0)
		chan_close(&worker->chan);
	return r < 0 ? err_set(err, r, "files", "%s", "") : 0;
}

static struct file_worker *worker_new(struct file_pool *pool, const char *user, struct err *err)
{
	struct file_worker *worker = calloc(1, sizeof(*worker));

	if (!worker) {
		err_set(err, -ENOMEM, "files", "%s", "");
		return NULL;
	}
	worker->pool = pool;
	worker->process = (struct init_exec){ .on_started = on_started, .on_exited = on_exited };
	worker->timer.fn = on_timer;
	worker->chan.shapes = files_answers;
	worker->chan.n_shapes = n_files_answers;
	worker->chan.on_message = on_message;
	worker->chan.on_closed = on_closed;
	snprintf(worker->user, sizeof(worker->user), "%s", user);
	if (worker_launch(worker, err) < 0) {
		free(worker);
		return NULL;
	}
	list_append(&pool->workers, &worker->of_pool);
	pool->n_workers++;
	return worker;
}

/* An idle one of USER's; or NULL, and then one of another user's may go to make room. */
static struct file_worker *find_idle(struct file_pool *pool, const char *user)
{
	struct file_worker *other = NULL;

	for (struct list *l = pool->workers.next; l != &pool->workers; l = l->next) {
		struct file_worker *worker = container_of(l, struct file_worker, of_pool);
		if (worker->job || !chan_is_open(&worker->chan))
			continue;
		if (streq(worker->user, user))
			return worker;
		other = worker;
	}
	if (other && pool->n_workers == FILE_CHILDREN)
		worker_stop(other, false);
	return NULL;
}

/* ---- jobs ---- */

/* Somebody in the session may have stopped all of them by a signal: the next job gets a new one. */
static void stop_idle(struct file_pool *pool)
{
	for (struct list *l = pool->workers.next; l != &pool->workers; l = l->next) {
		struct file_worker *worker = container_of(l, struct file_worker, of_pool);
		if (!worker->job && chan_is_open(&worker->chan))
			worker_stop(worker, true);
	}
}

static void on_deadline(struct loop_timer *timer)
{
	struct file_job *job = container_of(timer, struct file_job, deadline);
	const struct file_failure failure = { .kind = E_TIMEOUT, .text = "it was not done in the time given" };

	if (job->worker) {
		worker_stop(job->worker, true);
		stop_idle(job->pool);
	}
	fail_job(job, &failure);
}

static void give(struct file_job *job, struct file_worker *worker)
{
	loop_disarm(loop_of(job->pool), &worker->timer);
	job->worker = worker;
	worker->job = job;
	job->begin(job);
}

/* Gives the first that waits a child, if there can be one. False when there is nothing more to do now. */
static bool serve_first(struct file_pool *pool)
{
	if (list_is_empty(&pool->waiting))
		return false;
	struct file_job *job = container_of(pool->waiting.next, struct file_job, of_pool);
	struct file_worker *worker = find_idle(pool, job->user);
	if (!worker && pool->n_workers >= FILE_CHILDREN)
		return false;
	struct file_failure failure = { .kind = E_FAILED, .retryable = true };
	if (!worker)
		worker = worker_new(pool, job->user, &failure.err);
	if (!worker) {
		fail_job(job, &failure);
		return true;
	}
	list_remove(&job->of_pool);
	pool->n_waiting--;
	give(job, worker);
	return true;
}

static void serve_waiting(struct file_pool *pool)
{
	while (serve_first(pool))
		continue;
}

void file_job_start(struct file_pool *pool, struct file_job *job, const char *user, uint64_t ns)
{
	static const struct file_failure limit = {
		.kind = E_LIMIT, .retryable = true, .text = "256 file calls of the session wait already"
	};
	static const struct file_failure name = { .kind = E_INVALID_PARAMS, .text = "user: too long" };

	_Static_assert(FILE_JOBS_WAITING == 256, "as the text says");
	job->pool = pool;
	job->worker = NULL;
	job->deadline = (struct loop_timer){ .fn = on_deadline };
	list_init(&job->of_pool);
	if (pool->n_waiting == FILE_JOBS_WAITING || copy_string(job->user, sizeof(job->user), user ? user : "") < 0) {
		job->failed(job, pool->n_waiting == FILE_JOBS_WAITING ? &limit : &name);
		return;
	}
	list_append(&pool->waiting, &job->of_pool);
	pool->n_waiting++;
	file_job_arm(job, ns);
	serve_waiting(pool);
}

void file_job_arm(struct file_job *job, uint64_t ns)
{
	uint64_t now = boottime_ns();

	/* Without memory for a timer the job has the time that it takes. */
	if (ns == NEVER || ns > NEVER - now)
		loop_disarm(loop_of(job->pool), &job->deadline);
	else
		loop_arm(loop_of(job->pool), &job->deadline, now + ns);
}

void file_job_send(struct file_job *job, struct msg_header *header, const int *fds, size_t n_fds)
{
	struct file_worker *worker = job->worker;

	header->id = ++worker->last_id;
	worker->asked = header->op;
	int r = chan_send(&worker->chan, header, fds, n_fds);
	if (r < 0) {
		worker_stop(worker, true);
		worker_failed(worker, E_FAILED, true, "the process that does it in the session cannot be reached");
	}
}

static size_t n_idle(const struct file_pool *pool)
{
	size_t n = 0;

	for (const struct list *l = pool->workers.next; l != &pool->workers; l = l->next) {
		const struct file_worker *worker = container_of(l, struct file_worker, of_pool);
		n += !worker->job && chan_is_open(&worker->chan);
	}
	return n;
}

void file_job_end(struct file_job *job, bool holds)
{
	struct file_pool *pool = job->pool;
	struct file_worker *worker = job->worker;

	loop_disarm(loop_of(pool), &job->deadline);
	if (!worker) {
		if (!list_is_empty(&job->of_pool))
			pool->n_waiting--;
		list_remove(&job->of_pool);
		return;
	}
	job->worker = NULL;
	worker->job = NULL;
	if (holds || worker->asked != 0 || n_idle(pool) > IDLE_KEPT ||
		loop_arm(loop_of(pool), &worker->timer, boottime_ns() + IDLE_NS) < 0)
		worker_stop(worker, false);
	serve_waiting(pool);
}

/* ---- the pool ---- */

struct file_pool *file_pool_get(struct session *session)
{
	if (session->files)
		return session->files;
	struct file_pool *pool = calloc(1, sizeof(*pool));
	if (!pool)
		return NULL;
	pool->session = session;
	list_init(&pool->workers);
	list_init(&pool->waiting);
	list_init(&pool->transfers);
	session->files = pool;
	return pool;
}

void file_pool_end(struct session *session)
{
	static const struct file_failure ended = { .kind = E_INVALID_STATE, .text = "the session has ended" };
	struct file_pool *pool = session->files;

	if (!pool)
		return;
	while (!list_is_empty(&pool->waiting))
		fail_job(container_of(pool->waiting.next, struct file_job, of_pool), &ended);
	while (!list_is_empty(&pool->workers)) {
		struct file_worker *worker = container_of(pool->workers.next, struct file_worker, of_pool);
		if (worker->job)
			fail_job(worker->job, &ended);
		worker_free(worker);
	}
	file_transfers_end(pool);
	session->files = NULL;
	free(pool);
}
