/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Contents by stream: a file out or in, a tree out or in as a tar. The client's connection is passed on to the file
 * child, which moves the bytes; control hears how it ended.
 *
 *	opening → offered → moving → ended				reading, archives
 *	opening → offered → moving → received → committing → ended	writing a file
 *
 * The call that began it is answered when the file is open, with a token for the stream and the transfer's id. The
 * outcome is for file.wait. A file is put in place only if as many bytes have come as its writer has said, in the
 * call or in file.wait: the end of a stream alone also comes from a writer that has died.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>

#include "control/control.h"
#include "control/file_archive.h"
#include "control/file_methods.h"
#include "control/json.h"
#include "control/lifecycle.h"
#include "control/session_methods.h"
#include "control/stream.h"
#include "control/text.h"

enum { OUTCOMES_KEPT = 64 }; /* outcomes that nobody may have asked for yet, of a session */

#define KEEP_NS (60 * NS_PER_SEC) /* how long; and how long a writer may take to say the size */

enum transfer_state { OPENING, OFFERED, MOVING, RECEIVED, COMMITTING, ENDED };

struct waiter {
	struct list of_transfer;
	struct call *call;
};

struct transfer {
	struct list of_pool;
	struct file_pool *pool;
	struct file_job job;
	enum files_op op;
	enum transfer_state state;
	char id[24];
	struct call *call; /* until it is answered */
	struct stream_offer *offer;
	int sink; /* of file_archive_start(); else -1 */
	file_archive_fn *fn;
	void *arg;
	uint64_t move_ns; /* time for the stream */
	bool has_size; /* what the writer says */
	uint64_t size;
	struct list waiters;
	struct loop_timer timer; /* for the size, then until it is forgotten */
	struct file_failure failure; /* once it has ended: TEXT and err.num say whether it failed */
	char text[96]; /* for that */
	struct files_done done;
	struct files_request request;
};

static struct loop *loop_of(const struct transfer *transfer)
{
	return lifecycle_loop(transfer->pool->session->lifecycle);
}

static void transfer_free(struct transfer *transfer)
{
	loop_disarm(loop_of(transfer), &transfer->timer);
	stream_withdraw(transfer->offer);
	list_remove(&transfer->of_pool);
	close_fdp(&transfer->sink);
	free(transfer);
}

/* ---- outcomes ---- */

static bool has_failed(const struct transfer *transfer)
{
	return transfer->failure.text || transfer->failure.err.num < 0;
}

static json_t *result_json(const struct transfer *transfer)
{
	const struct files_done *done = &transfer->done;
	json_t *result = transfer->op == FILES_WRITE ? file_json(&done->attributes, NULL) : json_object();

	json_put(&result, "transfer", json_string(transfer->id));
	if (transfer->op != FILES_WRITE)
		json_put(&result, "size_bytes", json_integer((json_int_t)done->n_bytes));
	if (transfer->op == FILES_GET || transfer->op == FILES_PUT) {
		json_put(&result, "entries", json_integer(done->n_entries));
		json_put(&result, "skipped", json_integer(done->n_skipped));
		json_put(&result, "first_skipped", done->n_skipped > 0 ? json_text(done->text) : json_null());
	}
	return result;
}

static void answer_outcome(const struct transfer *transfer, struct call *call)
{
	if (has_failed(transfer))
		file_fail_call(call, transfer->pool->session, transfer->request.path, &transfer->failure);
	else
		call_reply(call, result_json(transfer));
}

static void on_forget(struct loop_timer *timer)
{
	transfer_free(container_of(timer, struct transfer, timer));
}

/* The oldest outcome goes where there are too many. */
static void forget_oldest(struct file_pool *pool)
{
	struct transfer *oldest = NULL;
	size_t n = 0;

	for (struct list *l = pool->transfers.prev; l != &pool->transfers; l = l->prev) {
		struct transfer *transfer = container_of(l, struct transfer, of_pool);
		if (transfer->state == ENDED) {
			oldest = transfer;
			n++;
		}
	}
	if (n > OUTCOMES_KEPT)
		transfer_free(oldest);
}

static void tell_archive(struct transfer *transfer)
{
	const enum error_kind kind = transfer->failure.kind;
	struct err err = transfer->failure.err;
	file_archive_fn *fn = transfer->fn;
	void *arg = transfer->arg;

	/* Whoever looks at the errno alone sees it, too. */
	if (transfer->failure.text && err.num == 0)
		err_set(&err, kind == E_TIMEOUT ? -ETIMEDOUT : -ECANCELED, "files", "%s", transfer->failure.text);
	transfer_free(transfer);
	fn(arg, kind, &err);
}

/* It is over; FAILURE NULL: well. The job is, too. May free TRANSFER. */
static void end(struct transfer *transfer, const struct file_failure *failure)
{
	struct file_pool *pool = transfer->pool;

	transfer->state = ENDED;
	pool->n_transfers--;
	session_active(pool->session, ACTIVITY_FILE);
	if (failure)
		transfer->failure = *failure;
	if (transfer->failure.text) {
		snprintf(transfer->text, sizeof(transfer->text), "%s", transfer->failure.text);
		transfer->failure.text = transfer->text;
	}
	if (transfer->fn) {
		tell_archive(transfer);
		return;
	}
	if (transfer->call) {
		struct call *call = steal_ptr(&transfer->call);
		answer_outcome(transfer, call);
		transfer_free(transfer);
		return;
	}
	for (struct list *l; (l = list_take_first(&transfer->waiters));) {
		struct waiter *waiter = container_of(l, struct waiter, of_transfer);
		answer_outcome(transfer, waiter->call);
		free(waiter);
	}
	transfer->timer.fn = on_forget;
	if (loop_arm(loop_of(transfer), &transfer->timer, boottime_ns() + KEEP_NS) < 0)
		transfer_free(transfer);
	else
		forget_oldest(pool);
}

/* Ends it where the child still has something in hand. */
static void give_up(struct transfer *transfer, const struct file_failure *failure)
{
	loop_disarm(loop_of(transfer), &transfer->timer);
	stream_withdraw(steal_ptr(&transfer->offer));
	file_job_end(&transfer->job, true);
	end(transfer, failure);
}

static void on_failed(struct file_job *job, const struct file_failure *failure)
{
	struct transfer *transfer = container_of(job, struct transfer, job);

	loop_disarm(loop_of(transfer), &transfer->timer);
	stream_withdraw(steal_ptr(&transfer->offer));
	end(transfer, failure);
}

/* ---- the stream ---- */

/* Passes FD on to the child; it is borrowed. */
static void move(struct transfer *transfer, int fd)
{
	struct files_plain request;

	transfer->state = MOVING;
	file_job_arm(&transfer->job, transfer->move_ns);
	msg_init(&request.header, FILES_TRANSFER, 0, sizeof(request));
	file_job_send(&transfer->job, &request.header, &fd, 1);
}

static void on_attach(void *arg, int fd)
{
	struct transfer *transfer = arg;

	transfer->offer = NULL;
	move(transfer, fd);
	close_fd(fd);
}

static void on_gone(void *arg)
{
	const struct file_failure failure = { .kind = E_TIMEOUT, .text = "nobody came for the stream" };
	struct transfer *transfer = arg;

	transfer->offer = NULL;
	give_up(transfer, &failure);
}

/* What the call that began it is answered with; NULL when memory is short. */
static json_t *opened_json(const struct transfer *transfer, const struct files_done *done)
{
	json_t *result = transfer->op == FILES_READ ? file_json(&done->attributes, NULL) : json_object();

	json_put(&result, "transfer", json_string(transfer->id));
	if (transfer->op == FILES_READ)
		json_put(&result, "length",
			done->n_bytes > 0 || done->attributes.size > 0 ? json_integer((json_int_t)done->n_bytes)
								       : json_null());
	return result;
}

static void offer_descriptor(struct transfer *transfer, const struct files_done *done)
{
	const struct file_failure failure = { .kind = E_FAILED, .retryable = true, .text = "no pair of sockets" };
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
		give_up(transfer, &failure);
		return;
	}
	json_t *result = opened_json(transfer, done);
	json_put(&result, "stream", json_pack("{s:s}", "via", "fd"));
	call_reply_fds(steal_ptr(&transfer->call), result, &pair[1], 1);
	move(transfer, pair[0]);
	close_fd(pair[0]);
}

static void offer_token(struct transfer *transfer, const struct files_done *done)
{
	const struct stream_use use = { .attach = on_attach, .gone = on_gone, .arg = transfer };
	const struct file_failure failure = { .kind = E_FAILED, .text = "" };

	transfer->state = OFFERED;
	file_job_arm(&transfer->job, NEVER); /* the token expires */
	if (stream_offer(transfer->call, &use, &transfer->offer) < 0) {
		/* The call has been answered. */
		transfer->call = NULL;
		give_up(transfer, &failure);
		return;
	}
	json_t *result = opened_json(transfer, done);
	json_put(&result, "stream", stream_json(transfer->offer));
	call_reply(steal_ptr(&transfer->call), result);
}

static void opened(struct transfer *transfer, const struct files_done *done)
{
	const char *via =
		transfer->call ? json_string_value(json_object_get(call_params(transfer->call), "via")) : NULL;

	if (transfer->sink >= 0) {
		move(transfer, transfer->sink);
		close_fdp(&transfer->sink);
	} else if (via && streq(via, "fd")) {
		offer_descriptor(transfer, done);
	} else {
		offer_token(transfer, done);
	}
}

/* ---- the end of a stream ---- */

static void on_no_size(struct loop_timer *timer)
{
	const struct file_failure failure = { .kind = E_TIMEOUT,
		.text = "its writer has not said what its size should be" };

	give_up(container_of(timer, struct transfer, timer), &failure);
}

/* Everything has come: the file is put in place if that is as much as was said. */
static void commit(struct transfer *transfer)
{
	struct files_plain request;
	char text[sizeof(transfer->text)];

	loop_disarm(loop_of(transfer), &transfer->timer);
	if (transfer->done.n_bytes != transfer->size) {
		snprintf(text, sizeof(text), "%llu bytes have come, not size_bytes: it was not put in place",
			(unsigned long long)transfer->done.n_bytes);
		give_up(transfer, &(struct file_failure){ .kind = E_FAILED, .text = text });
		return;
	}
	transfer->state = COMMITTING;
	file_job_arm(&transfer->job, FILE_CALL_SECONDS * NS_PER_SEC);
	msg_init(&request.header, FILES_COMMIT, 0, sizeof(request));
	file_job_send(&transfer->job, &request.header, NULL, 0);
}

static void moved(struct transfer *transfer, const struct files_done *done)
{
	transfer->done = *done;
	if (transfer->op != FILES_WRITE) {
		file_job_end(&transfer->job, false);
		end(transfer, NULL);
	} else if (transfer->has_size) {
		commit(transfer);
	} else {
		transfer->state = RECEIVED;
		file_job_arm(&transfer->job, NEVER);
		transfer->timer.fn = on_no_size;
		loop_arm(loop_of(transfer), &transfer->timer, boottime_ns() + KEEP_NS);
	}
}

static void on_answered(struct file_job *job, const struct files_done *done)
{
	struct transfer *transfer = container_of(job, struct transfer, job);

	if (done->err.num < 0) {
		const struct file_failure failure = file_failure_of(&done->err);
		file_job_end(job, false);
		end(transfer, &failure);
		return;
	}
	switch (transfer->state) {
	case OPENING:
		opened(transfer, done);
		break;
	case MOVING:
		moved(transfer, done);
		break;
	case COMMITTING:
		transfer->done = *done;
		file_job_end(job, false);
		end(transfer, NULL);
		break;
	default: /* nothing is asked in the others */
		break;
	}
}

/* ---- the beginning ---- */

static void on_begin(struct file_job *job)
{
	struct transfer *transfer = container_of(job, struct transfer, job);

	file_job_send(job, &transfer->request.header, NULL, 0);
}

static struct transfer *transfer_new(struct file_pool *pool, enum files_op op)
{
	struct transfer *transfer = calloc(1, sizeof(*transfer));

	if (!transfer)
		return NULL;
	transfer->pool = pool;
	transfer->op = op;
	transfer->job = (struct file_job){ .begin = on_begin, .answered = on_answered, .failed = on_failed };
	transfer->sink = -1;
	transfer->move_ns = NEVER;
	list_init(&transfer->waiters);
	/* No other of this boot has it, so that who asks a new control process is told that it is not there. */
	snprintf(transfer->id, sizeof(transfer->id), "%llx", (unsigned long long)boottime_ns());
	list_append(&pool->transfers, &transfer->of_pool);
	pool->n_transfers++;
	return transfer;
}

static void fail_limit(struct call *call, const struct file_pool *pool)
{
	call_fail(call, E_LIMIT, true, &(struct error_details){ .session = pool->session->record.id },
		"%d streams of files of the session are open, and it takes no more", FILE_TRANSFERS);
}

void file_transfer_call(struct call *call, struct file_pool *pool, enum files_op op)
{
	const json_t *params = call_params(call), *size = json_object_get(params, "size_bytes");
	const char *via = json_string_value(json_object_get(params, "via"));
	struct files_request request = { 0 };

	if (via && streq(via, "fd") && !call_takes_fds(call))
		return;
	if (file_request_fill(call, (uint16_t)op, &request) < 0)
		return;
	if (pool->n_transfers >= FILE_TRANSFERS) {
		fail_limit(call, pool);
		return;
	}
	struct transfer *transfer = transfer_new(pool, op);
	if (!transfer) {
		call_fail(call, E_FAILED, true, NULL, "memory is short");
		return;
	}
	transfer->call = call;
	transfer->request = request;
	transfer->move_ns = file_call_ns(call, NEVER);
	transfer->has_size = size != NULL;
	transfer->size = size ? (uint64_t)json_integer_value(size) : 0;
	if (op == FILES_WRITE)
		transfer->request.length = size ? transfer->size : INT64_MAX;
	file_job_start(pool, &transfer->job, json_string_value(json_object_get(params, "user")),
		FILE_CALL_SECONDS * NS_PER_SEC);
}

/* Fills the request for an archive of a build's context. False when the session could not open such a path. */
static bool fill_context(struct files_request *request, const char *path, const char *dockerfile)
{
	msg_init(&request->header, FILES_GET, 0, sizeof(*request));
	request->flags = FILES_CONTEXT;
	return path[0] == '/' && copy_string(request->path, sizeof(request->path), path) == 0 &&
	       copy_string(request->other, sizeof(request->other), dockerfile) == 0;
}

int file_archive_start(struct session *session, const char *path, const char *dockerfile, int fd, file_archive_fn *fn,
	void *arg, struct transfer **ret)
{
	struct file_pool *pool = file_pool_get(session);
	struct transfer *transfer = pool ? transfer_new(pool, FILES_GET) : NULL;

	if (!transfer)
		return -ENOMEM;
	transfer->sink = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	transfer->fn = fn;
	transfer->arg = arg;
	*ret = transfer;
	struct file_failure failure = { .kind = E_FAILED };
	if (transfer->sink < 0)
		err_set(&failure.err, -EMFILE, "archive", "%s", path);
	else if (!fill_context(&transfer->request, path, dockerfile))
		err_set(&failure.err, -EINVAL, "archive", "%s", path);
	else if (pool->n_transfers > FILE_TRANSFERS)
		failure = (struct file_failure){ .kind = E_LIMIT, .text = "too many streams of files are open" };
	if (failure.err.num < 0 || failure.text)
		end(transfer, &failure);
	else
		file_job_start(pool, &transfer->job, NULL, FILE_CALL_SECONDS * NS_PER_SEC);
	return 0;
}

void file_archive_cancel(struct transfer *transfer)
{
	transfer->pool->n_transfers--;
	file_job_end(&transfer->job, true);
	transfer_free(transfer);
}

/* ---- methods ---- */

static struct transfer *find(const struct file_pool *pool, const char *id)
{
	for (struct list *l = pool ? pool->transfers.next : NULL; l && l != &pool->transfers; l = l->next) {
		struct transfer *transfer = container_of(l, struct transfer, of_pool);
		if (streq(transfer->id, id) && !transfer->fn)
			return transfer;
	}
	return NULL;
}

/* Takes the size that file.wait says. False when CALL has been answered with what is wrong. */
static bool take_size(struct transfer *transfer, struct call *call)
{
	const json_t *size = json_object_get(call_params(call), "size_bytes");
	uint64_t said = (uint64_t)json_integer_value(size);

	if (transfer->op != FILES_WRITE || transfer->state == ENDED)
		return true;
	if (size ? transfer->has_size && transfer->size != said : !transfer->has_size) {
		call_fail(call, E_INVALID_PARAMS, false, &(struct error_details){ .path = "size_bytes" },
			size ? "size_bytes: another one was given before"
			     : "size_bytes: is required, because file.write was not given it");
		return false;
	}
	if (size) {
		transfer->has_size = true;
		transfer->size = said;
	}
	return true;
}

void method_file_wait(struct call *call)
{
	const char *id = json_string_value(json_object_get(call_params(call), "transfer"));
	struct session *session = session_of_call(call);

	if (!session)
		return;
	struct transfer *transfer = find(session->files, id);
	if (!transfer) {
		call_fail(call, E_NOT_FOUND, false, &(struct error_details){ .session = session->record.id },
			"there is no transfer %.32s", id);
		return;
	}
	if (!take_size(transfer, call))
		return;
	if (transfer->state == ENDED) {
		answer_outcome(transfer, call);
		return;
	}
	struct waiter *waiter = calloc(1, sizeof(*waiter));
	if (!waiter) {
		call_fail(call, E_FAILED, true, NULL, "memory is short");
		return;
	}
	waiter->call = call;
	list_append(&transfer->waiters, &waiter->of_transfer);
	if (transfer->state == RECEIVED)
		commit(transfer);
}

static void begin(struct call *call, enum files_op op)
{
	struct file_pool *pool = file_pool_of_call(call);

	if (pool)
		file_transfer_call(call, pool, op);
}

void method_archive_get(struct call *call)
{
	begin(call, FILES_GET);
}

void method_archive_put(struct call *call)
{
	begin(call, FILES_PUT);
}

void file_transfers_end(struct file_pool *pool)
{
	/* Their jobs have failed with the children; what is left are outcomes. */
	while (!list_is_empty(&pool->transfers))
		transfer_free(container_of(pool->transfers.next, struct transfer, of_pool));
}
