/* SPDX-License-Identifier: Apache-2.0 */
/*
 * docker.build. The context is put into a tar by a file child of the session, with the session's own rights; it goes
 * through here, in chunks, to the daemon, never more than the daemon takes. What the daemon says of its progress
 * becomes the answer's log and, a few times a second at most, an event.
 *
 * A build ends when its request does: the client goes away, docker.cancel is called, the session ends.
 */
#include <stdio.h>

#include "control/docker.h"
#include "control/docker_stream.h"
#include "control/exec.h"
#include "control/file_archive.h"
#include "control/json.h"
#include "control/lifecycle.h"
#include "control/session_methods.h"
#include "wire/files.h"

enum {
	MAX_LOG = 1 << 20,
	MAX_QUEUED = 256 * 1024, /* of the context, on its way to the daemon */
	EVENT_LINES = 20, /* of an event, which is kept in the history */
	EVENT_LINE_BYTES = 200,
	MAX_ID = 128,
};

#define EVENT_PAUSE_NS (200 * NS_PER_MS)

struct build {
	struct docker_op op; /* first: docker_begin() */
	struct transfer *archive; /* of the context, while it is made; then ARCHIVED is how it went */
	struct err archived;
	enum error_kind archive_failure;
	struct loop_io context; /* what comes of it; fd -1: all has */
	struct docker_lines lines;
	struct capture log;
	char image_id[MAX_ID];
	char *error; /* the daemon's, of a step that failed */
	json_t *progress; /* lines for the next event */
	size_t n_skipped;
	struct loop_timer event;
};

static struct build *build_of(struct docker_op *op)
{
	return container_of(op, struct build, op);
}

static struct loop *loop_of(const struct build *build)
{
	return lifecycle_loop(build->op.session->lifecycle);
}

/* ---- the end ---- */

static void drop_pipe(struct build *build)
{
	loop_remove(loop_of(build), &build->context);
	close_fdp(&build->context.fd);
}

static void end_context(struct build *build)
{
	if (build->archive)
		file_archive_cancel(steal_ptr(&build->archive));
	drop_pipe(build);
}

static void release(struct docker_op *op)
{
	struct build *build = build_of(op);

	end_context(build);
	loop_disarm(loop_of(build), &build->event);
	docker_lines_release(&build->lines);
	capture_release(&build->log);
	json_decref(build->progress);
	free(build->error);
}

/* {logs, truncated, dropped_bytes}: what the daemon said so far. */
static json_t *log_json(const struct build *build)
{
	json_t *result = json_object();

	capture_put_json(&build->log, &result);
	json_object_del(result, "stdout");
	json_object_del(result, "stderr");
	return result;
}

static void fail_with_log(struct build *build, enum error_kind kind, int num, const char *text)
{
	json_t *log = log_json(build);

	docker_fail(&build->op, kind, num, log, "%s", text);
	json_decref(log);
}

static void cancel(struct docker_op *op)
{
	fail_with_log(build_of(op), E_FAILED, -ECANCELED, "the build was cancelled");
}

static void on_timeout(struct loop_timer *timer)
{
	struct build *build = container_of(timer, struct build, op.limit);

	fail_with_log(build, E_TIMEOUT, -ETIMEDOUT, "the build did not end in the time given, and was cancelled");
}

/* ---- what the daemon says ---- */

static void send_event(struct build *build)
{
	json_t *data = json_pack("{s:s, s:o, s:I}", "image_tag", docker_string(&build->op, "image_tag"), "lines",
		steal_ptr(&build->progress), "skipped_lines", (json_int_t)build->n_skipped);

	build->n_skipped = 0;
	session_emit(build->op.session, "docker.build.progress", data);
}

static void on_event_timer(struct loop_timer *timer)
{
	struct build *build = container_of(timer, struct build, event);

	if (build->progress && build->op.call)
		send_event(build);
}

/* One of a bounded number of lines of bounded length, in an event that is sent a little later with what follows. */
static void add_progress(struct build *build, const char *text)
{
	char line[EVENT_LINE_BYTES];

	snprintf(line, sizeof(line), "%s", text);
	line[strcspn(line, "\r\n")] = '\0';
	if (!line[0])
		return;
	if (!build->progress)
		build->progress = json_array();
	if (json_array_size(build->progress) >= EVENT_LINES)
		build->n_skipped++;
	else
		json_append(&build->progress, json_text(line));
	if (build->event.place == 0)
		loop_arm(loop_of(build), &build->event, boottime_ns() + EVENT_PAUSE_NS);
}

static void add_log(struct build *build, enum capture_stream stream, const char *text)
{
	size_t n = strlen(text), kept = capture_room(&build->log, n);

	if (kept > 0 && (!build->op.call || !call_reserve(build->op.call, capture_cost(text, kept))))
		kept = 0;
	capture_add(&build->log, stream, text, kept);
	capture_drop(&build->log, n - kept);
	add_progress(build, text);
}

/* A pull tells each layer's bytes again and again: only what has no "progress" is for the log. */
static void add_status(struct build *build, const json_t *object, const char *status)
{
	const char *id = json_string_value(json_object_get(object, "id"));
	char line[1024];

	if (json_object_get(object, "progress"))
		return;
	snprintf(line, sizeof(line), "%s%s%s\n", id ? id : "", id ? ": " : "", status);
	add_log(build, CAPTURE_STDOUT, line);
}

static void on_object(void *arg, const json_t *object)
{
	struct build *build = arg;
	const char *stream = json_string_value(json_object_get(object, "stream"));
	const char *status = json_string_value(json_object_get(object, "status"));
	const char *error = json_string_value(json_object_get(object, "error"));
	const char *id = json_string_value(json_object_get(json_object_get(object, "aux"), "ID"));

	if (stream)
		add_log(build, CAPTURE_STDOUT, stream);
	if (status)
		add_status(build, object, status);
	if (id)
		copy_string(build->image_id, sizeof(build->image_id), id);
	if (error && !build->error) {
		build->error = strndup(error, 512);
		add_log(build, CAPTURE_STDERR, error);
	}
}

static int on_stream(struct docker_op *op, const char *bytes, size_t n)
{
	struct build *build = build_of(op);

	return docker_lines_feed(&build->lines, bytes, n, on_object, build);
}

/* ---- the result ---- */

static void inspected(struct docker_op *op, const json_t *answer)
{
	struct build *build = build_of(op);
	json_t *result = log_json(build), *metrics = json_object();
	double bytes = (double)json_integer_value(json_object_get(answer, "Size"));

	json_put(&metrics, "image_size_mb", json_real(bytes / 1e6));
	json_put(&metrics, "elapsed_seconds", json_real((double)(boottime_ns() - op->begun_ns) / (double)NS_PER_SEC));
	json_put(&result, "image_tag", json_string(docker_string(op, "image_tag")));
	json_put(&result, "image_id", json_text(build->image_id));
	json_put(&result, "metrics", metrics);
	docker_reply(op, result);
}

static void built(struct docker_op *op, const json_t *answer _unused_)
{
	struct build *build = build_of(op);
	char target[DOCKER_TARGET_SIZE], text[600];

	end_context(build);
	if (build->progress)
		send_event(build);
	if (build->error || !build->image_id[0]) {
		snprintf(text, sizeof(text), "the build failed: %s",
			build->error ? build->error : "no image came of it");
		fail_with_log(build, E_FAILED, 0, text);
		return;
	}
	op->streams = op->http.chunked = false;
	docker_target(target, "/images/", build->image_id, "/json");
	docker_ask(op, "GET", target, NULL, DOCKER_PROMPT_NS, inspected);
}

/* ---- the context ---- */

/* It is not whole, or all of it is in the daemon's queue. */
static void on_context_end(struct build *build)
{
	const struct err *err = &build->archived;
	char text[sizeof(err->object) + 128];
	int r = 0;

	if (err->num < 0) {
		snprintf(text, sizeof(text), "%s%s%s", err->object, err->object[0] ? ": " : "", strerror(-err->num));
		docker_fail_param(&build->op, build->archive_failure, err->num, "context_path", text);
	} else if (build->context.fd < 0)
		r = docker_http_chunk(&build->op.http, "", 0);
	if (r < 0)
		docker_fail_http(&build->op, r, NULL);
}

static void on_context(struct loop_io *io, uint32_t revents _unused_)
{
	struct build *build = container_of(io, struct build, context);
	_uninitialized_ char bytes[65536];
	int r = 0;

	ssize_t n = RETRY_EINTR(read(io->fd, bytes, sizeof(bytes)));
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		drop_pipe(build);
		if (!build->archive)
			on_context_end(build);
		return;
	}
	/* The daemon answered before it had all: what is left is of no use. */
	if (build->op.http.running)
		r = docker_http_chunk(&build->op.http, bytes, (size_t)n);
	if (r < 0)
		docker_fail_http(&build->op, r, NULL);
	else if (buffer_used(&build->op.http.out) > MAX_QUEUED)
		loop_remove(loop_of(build), io);
}

static void on_drained(struct docker_http *http)
{
	struct build *build = container_of(http, struct build, op.http);

	if (build->context.fd >= 0)
		loop_watch(loop_of(build), &build->context, EPOLLIN);
}

static void on_archived(void *arg, enum error_kind kind, const struct err *err)
{
	struct build *build = arg;

	build->archive = NULL;
	build->archive_failure = kind == E_LIMIT || kind == E_TIMEOUT || kind == E_NOT_FOUND ? kind : E_FAILED;
	build->archived = *err;
	/* Before the daemon is asked, it is method_docker_build() that looks at it. */
	if (build->op.http.running)
		on_context_end(build);
}

/* PATH as it is meant from where the workload begins; false when it is too long. */
static bool resolve(const struct build *build, const char *path, char ret[static FILES_PATH_SIZE])
{
	const char *from = build->op.session->template->workdir;

	if (path[0] == '/' || !from)
		from = "";
	return snprintf(ret, FILES_PATH_SIZE, "%s/%s", from, path) < FILES_PATH_SIZE;
}

static int start_archive(struct build *build)
{
	const char *dockerfile = docker_string(&build->op, "dockerfile_path");
	char path[FILES_PATH_SIZE];
	int out = -1;

	if (!resolve(build, docker_string(&build->op, "context_path"), path))
		return -ENAMETOOLONG;
	int r = exec_pipe(true, &build->context.fd, &out);
	_close_ int out_end = out;
	if (r == 0)
		r = loop_watch(loop_of(build), &build->context, EPOLLIN);
	return r < 0 ? r
		     : file_archive_start(build->op.session, path, dockerfile ? dockerfile : "Dockerfile", out_end,
			       on_archived, build, &build->archive);
}

/* ---- the beginning ---- */

/* NAME=VALUE of a query, escaped, at the end of TARGET; false when it does not fit. */
static bool add_query(char target[static DOCKER_TARGET_SIZE], const char *name, const char *value)
{
	char escaped[DOCKER_TARGET_SIZE];
	size_t n = strlen(target);

	if (!value || docker_escape(escaped, sizeof(escaped), value) < 0)
		return !value;
	return snprintf(target + n, DOCKER_TARGET_SIZE - n, "&%s=%s", name, escaped) < (int)(DOCKER_TARGET_SIZE - n);
}

static bool make_target(struct docker_op *op, char target[static DOCKER_TARGET_SIZE])
{
	const json_t *args = json_object_get(call_params(op->call), "build_args");
	_free_ char *text = args ? json_dumps(args, JSON_COMPACT) : NULL;

	snprintf(target, DOCKER_TARGET_SIZE, "/build?rm=1&forcerm=1");
	return add_query(target, "t", docker_string(op, "image_tag")) &&
	       add_query(target, "dockerfile", docker_string(op, "dockerfile_path")) &&
	       add_query(target, "buildargs", text);
}

static const struct docker_refusal refusals[] = {
	{ 0, "Cannot locate specified Dockerfile", E_NOT_FOUND, "dockerfile_path" },
	{ 0, "forbidden path outside the build context", E_INVALID_PARAMS, "dockerfile_path" },
	{ 400, "ockerfile", E_FAILED, "dockerfile_path" }, /* what is in it */
	{ 0, "invalid reference format", E_INVALID_PARAMS, "image_tag" },
	{ 0, "repository name must", E_INVALID_PARAMS, "image_tag" },
	{ .param = NULL },
};

void method_docker_build(struct call *call)
{
	const json_t *timeout = json_object_get(call_params(call), "timeout_seconds");
	struct docker_op *op = docker_begin(call, sizeof(struct build));
	char target[DOCKER_TARGET_SIZE];

	if (!op)
		return;
	struct build *build = build_of(op);
	build->context = (struct loop_io){ .fd = -1, .fn = on_context };
	build->log.max_bytes = MAX_LOG;
	build->event.fn = on_event_timer;
	op->release = release;
	op->cancel = cancel;
	op->refusals = refusals;
	op->limit.fn = on_timeout;
	op->streams = true;
	op->on_stream = on_stream;
	op->http.chunked = true;
	op->http.on_drained = on_drained;
	if (!make_target(op, target)) {
		docker_fail_param(op, E_INVALID_PARAMS, 0, "build_args",
			"is longer than the Docker daemon takes, with the names");
		return;
	}
	int r = start_archive(build);
	if (r == -ENAMETOOLONG)
		docker_fail_param(
			op, E_INVALID_PARAMS, 0, "context_path", "is too long, with the directory that it begins at");
	else if (r < 0)
		docker_fail_http(op, r, NULL);
	else if (!build->archive)
		on_context_end(build);
	else
		docker_ask(op, "POST", target, NULL,
			timeout ? (uint64_t)(json_number_value(timeout) * (double)NS_PER_SEC) : 0, built);
}

/* ---- docker.cancel ---- */

void method_docker_cancel(struct call *call)
{
	const char *tag = json_string_value(json_object_get(call_params(call), "image_tag"));
	struct session *session = session_of_call(call);
	json_int_t n = 0;

	if (!session)
		return;
	for (struct list *l = session->docker.next, *next; l != &session->docker; l = next) {
		struct docker_op *op = container_of(l, struct docker_op, of_session);
		next = l->next;
		if (!op->cancel || !op->call || (tag && !streq(tag, docker_string(op, "image_tag"))))
			continue;
		op->cancel(op);
		n++;
	}
	call_reply(call, json_pack("{s:I}", "cancelled", n));
}
