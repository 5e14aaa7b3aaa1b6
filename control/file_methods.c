/* SPDX-License-Identifier: Apache-2.0 */
/*
 * file.*: one request to a file child, one answer to the client. Contents and pages lie in a memfd meanwhile, which
 * the child writes or reads; control reads it with pread(2), never through a mapping that somebody could cut short.
 */
#include "control/file_methods.h"

#include <fcntl.h>

#include "control/exec.h"
#include "control/json.h"
#include "control/lifecycle.h"
#include "control/session_methods.h"
#include "wire/spec.h"

struct file_call {
	struct file_job job;
	struct session *session;
	struct call *call;
	int data; /* the memfd; -1: none */
	struct files_request request;
};

static const json_t *param(const struct call *call, const char *name)
{
	return json_object_get(call_params(call), name);
}

/* ---- failing ---- */

void file_fail_call(
	struct call *call, const struct session *session, const char *path, const struct file_failure *failure)
{
	const struct err *err = &failure->err;
	struct error_details details = { .session = session->record.id };
	const char *colon = path ? ": " : "";

	if (err->num < 0) {
		details.step = err->step;
		details.err_no = -err->num;
	}
	if (failure->kind == E_INVALID_PARAMS)
		details.path = failure->text ? "user" : streq(err->step, "to") ? "to" : "path";
	path = path ? path : "";
	if (failure->text)
		call_fail(
			call, failure->kind, failure->retryable, &details, "%.256s%s%s", path, colon, failure->text);
	else
		call_fail(call, failure->kind, failure->retryable, &details, "%.256s%s%s%s%s", path, colon,
			err->object, err->object[0] ? ": " : "", strerror(-err->num));
}

/* ---- beginning ---- */

struct file_pool *file_pool_of_call(struct call *call)
{
	struct session *session = session_for_work(call);

	if (!session)
		return NULL;
	struct file_pool *pool = file_pool_get(session);
	if (pool)
		session_active(session, ACTIVITY_FILE);
	else
		call_fail(call, E_FAILED, true, &(struct error_details){ .session = session->record.id },
			"memory is short");
	return pool;
}

uint64_t file_call_ns(const struct call *call, uint64_t fallback_ns)
{
	const json_t *seconds = param(call, "timeout_seconds");

	return seconds ? duration_ns(seconds) : fallback_ns;
}

static int fill_path(struct call *call, const char *name, char to[static FILES_PATH_SIZE])
{
	const char *path = json_string_value(param(call, name));

	if (!path)
		return 0;
	if (path[0] == '/' && copy_string(to, FILES_PATH_SIZE, path) == 0)
		return 0;
	call_fail(
		call, E_INVALID_PARAMS, false, &(struct error_details){ .path = name }, "%s: an absolute path", name);
	return -EINVAL;
}

int file_request_fill(struct call *call, uint16_t op, struct files_request *ret)
{
	static const struct {
		const char *name;
		bool value;
		uint32_t flag;
	} flags[] = {
		{ "follow", true, FILES_FOLLOW },
		{ "recursive", true, FILES_RECURSIVE },
		{ "create_parents", true, FILES_PARENTS },
		{ "replace", false, FILES_NO_REPLACE },
	};
	const json_t *offset = param(call, "offset"), *length = param(call, "length");
	const char *mode = json_string_value(param(call, "mode"));

	msg_init(&ret->header, op, 0, sizeof(*ret));
	ret->offset = offset ? (uint64_t)json_integer_value(offset) : 0;
	ret->length = length ? (uint64_t)json_integer_value(length) : INT64_MAX;
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
		const json_t *given = param(call, flags[i].name);
		if (given && json_is_true(given) == flags[i].value)
			ret->flags |= flags[i].flag;
	}
	if (mode && file_parse_mode(mode, &ret->mode) < 0) {
		call_fail(call, E_INVALID_PARAMS, false, &(struct error_details){ .path = "mode" },
			"mode: octal digits, \"0000\" to \"7777\"");
		return -EINVAL;
	}
	ret->flags |= mode ? FILES_HAS_MODE : 0;
	int r = fill_path(call, "path", ret->path);
	return r < 0 ? r : fill_path(call, "to", ret->other);
}

/* ---- the course of a call ---- */

/* Frees FILE and returns its call, still to be answered. */
static struct call *take(struct file_call *file)
{
	struct call *call = file->call;

	file_job_end(&file->job, false);
	close_fdp(&file->data);
	free(file);
	return call;
}

static void on_begin(struct file_job *job)
{
	struct file_call *file = container_of(job, struct file_call, job);

	file_job_send(job, &file->request.header, &file->data, file->data >= 0 ? 1 : 0);
}

static void on_failed(struct file_job *job, const struct file_failure *failure)
{
	struct file_call *file = container_of(job, struct file_call, job);
	const struct session *session = file->session;
	bool is_to = streq(failure->err.step, "to");
	_free_ char *path = strdup(is_to ? file->request.other : file->request.path);

	file_fail_call(take(file), session, path, failure);
}

/* N bytes of the memfd, malloc'ed; NULL when there are fewer, or memory is short. */
static uint8_t *read_data(int fd, size_t n)
{
	_free_ uint8_t *bytes = malloc(n + 1);
	size_t at = 0;

	while (bytes && at < n) {
		ssize_t got = RETRY_EINTR(pread(fd, bytes + at, n - at, (off_t)at));
		if (got <= 0)
			return NULL;
		at += (size_t)got;
	}
	return steal_ptr(&bytes);
}

static json_t *read_json(const struct file_call *file, const struct files_done *done, const uint8_t *bytes)
{
	const char *encoding = json_string_value(param(file->call, "encoding"));
	json_t *result = file_json(&done->attributes, NULL);

	file_put_content(&result, bytes, (size_t)done->n_bytes, encoding && streq(encoding, "base64"));
	json_put(&result, "length", json_integer((json_int_t)done->n_bytes));
	return result;
}

static void fail_reading(struct file_call *file)
{
	struct call *call = take(file);

	call_fail(call, E_FAILED, true, NULL, "the answer from inside the session cannot be read");
}

/* The answer is in the memfd. */
static void answer_data(struct file_call *file, const struct files_done *done)
{
	bool is_list = file->request.header.op == FILES_LIST;
	size_t max = is_list ? FILES_PAGE_BYTES : FILES_MAX_INLINE;
	_free_ uint8_t *bytes = done->n_bytes <= max ? read_data(file->data, (size_t)done->n_bytes) : NULL;

	if (!bytes) {
		fail_reading(file);
		return;
	}
	/* As much as base64 takes. */
	if (!call_reserve(file->call, (size_t)done->n_bytes / 3 * 4)) {
		call_fail(take(file), E_BUSY, true, &(struct error_details){ .retry_after_ms = 100 },
			"the connection's other answers have not been read yet");
		return;
	}
	json_t *result =
		is_list ? file_page_json(bytes, (size_t)done->n_bytes, done->more) : read_json(file, done, bytes);
	if (result)
		call_reply(take(file), result);
	else
		fail_reading(file);
}

static void on_answered(struct file_job *job, const struct files_done *done)
{
	struct file_call *file = container_of(job, struct file_call, job);

	session_active(file->session, ACTIVITY_FILE);
	if (done->err.num < 0) {
		const struct file_failure failure = file_failure_of(&done->err);
		on_failed(job, &failure);
		return;
	}
	uint16_t op = file->request.header.op;
	if (op == FILES_READ && done->more) {
		struct file_pool *pool = job->pool;
		struct call *call = take(file);
		if (json_is_false(param(call, "stream")))
			call_fail(call, E_LIMIT, false, &(struct error_details){ .path = "stream" },
				"more than %d bytes, which only a stream takes", FILES_MAX_INLINE);
		else
			file_transfer_call(call, pool, FILES_READ);
	} else if (op == FILES_READ || op == FILES_LIST) {
		answer_data(file, done);
	} else if (op == FILES_DELETE) {
		call_reply(take(file), json_pack("{s:I}", "removed", (json_int_t)done->n_entries));
	} else {
		json_t *result = file_json(&done->attributes, done->text);
		call_reply(take(file), result);
	}
}

/* Starts a call; DATA is taken over. */
static void start(struct file_pool *pool, struct call *call, const struct files_request *request, int data)
{
	struct file_call *file = calloc(1, sizeof(*file));

	if (!file) {
		close_fd(data);
		call_fail(call, E_FAILED, true, NULL, "memory is short");
		return;
	}
	*file = (struct file_call){
		.job = { .begin = on_begin, .answered = on_answered, .failed = on_failed },
		.session = pool->session,
		.call = call,
		.data = data,
		.request = *request,
	};
	file_job_start(pool, &file->job, json_string_value(param(call, "user")),
		file_call_ns(call, FILE_CALL_SECONDS * NS_PER_SEC));
}

/* A memfd for what goes in or comes out. Negative: CALL has been answered. */
static int make_data(struct call *call)
{
	int fd = memfd_make("files");

	if (fd < 0)
		call_fail(call, E_FAILED, true, &(struct error_details){ .err_no = -fd }, "no memory file: %s",
			strerror(-fd));
	return fd;
}

static void run(struct call *call, enum files_op op, bool with_data)
{
	struct files_request request = { 0 };
	struct file_pool *pool = file_pool_of_call(call);

	if (!pool || file_request_fill(call, (uint16_t)op, &request) < 0)
		return;
	int data = with_data ? make_data(call) : -1;
	if (!with_data || data >= 0)
		start(pool, call, &request, data);
}

/* ---- methods ---- */

void method_file_stat(struct call *call)
{
	run(call, FILES_STAT, false);
}

void method_file_mkdir(struct call *call)
{
	run(call, FILES_MKDIR, false);
}

void method_file_move(struct call *call)
{
	run(call, FILES_MOVE, false);
}

void method_file_delete(struct call *call)
{
	run(call, FILES_DELETE, false);
}

void method_file_list(struct call *call)
{
	const json_t *cursor = param(call, "cursor");
	struct files_request request = { 0 };
	uint8_t last[FILES_PATH_SIZE + 4];
	struct file_pool *pool = file_pool_of_call(call);

	if (!pool || file_request_fill(call, FILES_LIST, &request) < 0)
		return;
	size_t text_n = json_string_length(cursor);
	ssize_t n = !cursor			    ? 0
		    : text_n / 4 * 3 > sizeof(last) ? -1
						    : base64_decode(json_string_value(cursor), text_n, last);
	if (n < 0 || n >= FILES_PATH_SIZE || memchr(last, '\0', (size_t)n)) {
		call_fail(call, E_INVALID_PARAMS, false, &(struct error_details){ .path = "cursor" },
			"cursor: next_cursor of the page before");
		return;
	}
	memcpy(request.other, last, (size_t)n);
	int data = make_data(call);
	if (data >= 0)
		start(pool, call, &request, data);
}

void method_file_read(struct call *call)
{
	if (!json_is_true(param(call, "stream"))) {
		run(call, FILES_READ, true);
		return;
	}
	struct file_pool *pool = file_pool_of_call(call);
	if (pool)
		file_transfer_call(call, pool, FILES_READ);
}

/* Puts the call's contents into DATA. 0, or a negative errno with the call answered. */
static int put_content(struct call *call, int data)
{
	const json_t *content = param(call, "content");
	const char *encoding = json_string_value(param(call, "encoding")), *text = json_string_value(content);
	ssize_t n = (ssize_t)json_string_length(content);
	_free_ uint8_t *decoded = NULL;

	if (encoding && streq(encoding, "base64")) {
		decoded = malloc((size_t)n / 4 * 3 + 1);
		n = decoded ? base64_decode(text, (size_t)n, decoded) : -ENOMEM;
		text = (const char *)decoded;
	}
	if (n == -EINVAL) {
		call_fail(call, E_INVALID_PARAMS, false, &(struct error_details){ .path = "content" },
			"content: no base64 (RFC 4648, padded)");
		return -EINVAL;
	}
	if (n >= 0 && (n == 0 || RETRY_EINTR(pwrite(data, text, (size_t)n, 0)) == n))
		return 0;
	call_fail(call, E_FAILED, true, NULL, "memory is short");
	return -ENOMEM;
}

void method_file_write(struct call *call)
{
	struct files_request request = { 0 };
	bool stream = json_is_true(param(call, "stream"));

	if (stream == (param(call, "content") != NULL)) {
		call_fail(call, E_INVALID_PARAMS, false, &(struct error_details){ .path = "content" },
			"content: either this or stream: true");
		return;
	}
	struct file_pool *pool = file_pool_of_call(call);
	if (!pool)
		return;
	if (stream) {
		file_transfer_call(call, pool, FILES_WRITE);
		return;
	}
	if (file_request_fill(call, FILES_WRITE, &request) < 0)
		return;
	int data = make_data(call);
	if (data < 0)
		return;
	if (put_content(call, data) < 0)
		close_fd(data);
	else
		start(pool, call, &request, data);
}
