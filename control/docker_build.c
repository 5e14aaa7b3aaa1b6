/* SPDX-License-Identifier: Apache-2.0 */
/*
 * docker.build. The context is put into a tar by a command in the session, with the session's own rights; its output
 * goes through here, in chunks, to the daemon, never more than the daemon takes. What the daemon says of its progress
 * becomes the answer's log and, a few times a second at most, an event.
 *
 * A build ends when its request does: the client goes away, docker.cancel is called, the session ends.
 */
#include <signal.h>
#include <stdio.h>

#include "control/command.h"
#include "control/docker.h"
#include "control/docker_stream.h"
#include "control/exec.h"
#include "control/json.h"
#include "control/lifecycle.h"
#include "control/session_methods.h"

enum {
	MAX_LOG = 1 << 20,
	MAX_QUEUED = 256 * 1024, /* of the context, on its way to the daemon */
	TAR_ERROR_SIZE = 512,
	EVENT_LINES = 20, /* of an event, which is kept in the history */
	EVENT_LINE_BYTES = 200,
	MAX_ID = 128,
};

#define EVENT_PAUSE_NS (200 * NS_PER_MS)

struct build {
	struct docker_op op; /* first: docker_begin() */
	struct init_exec tar;
	struct loop_io context, tar_errors; /* what the tar command writes; fd -1: closed */
	bool tar_started, tar_ended;
	int tar_code;
	char tar_text[TAR_ERROR_SIZE]; /* the beginning of its errors */
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

static void drop_io(struct build *build, struct loop_io *io)
{
	loop_remove(loop_of(build), io);
	close_fdp(&io->fd);
}

/* The command, where it still runs, gets SIGPIPE or is killed. */
static void end_tar(struct build *build)
{
	if (build->tar_started && !build->tar_ended)
		init_link_signal(&build->op.session->init, &build->tar, SIGKILL, false);
	init_link_forget_exec(&build->op.session->init, &build->tar);
	drop_io(build, &build->context);
	drop_io(build, &build->tar_errors);
}

static void release(struct docker_op *op)
{
	struct build *build = build_of(op);

	end_tar(build);
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

	end_tar(build);
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

static bool is_uploaded(const struct build *build)
{
	return build->context.fd < 0;
}

/* All of it is read, and tar has said whether that was all. It says 1 when a file changed meanwhile. */
static void on_context_end(struct build *build)
{
	char text[TAR_ERROR_SIZE + 64];

	if (!is_uploaded(build) || !build->tar_ended)
		return;
	if (build->tar_code == 0 || build->tar_code == 1) {
		int r = docker_http_chunk(&build->op.http, "", 0);
		if (r < 0)
			docker_fail_http(&build->op, r, NULL);
		return;
	}
	snprintf(text, sizeof(text), "context_path: %s", build->tar_text[0] ? build->tar_text : "cannot be read");
	docker_fail(&build->op, E_FAILED, 0, NULL, "%s", text);
}

static void on_context(struct loop_io *io, uint32_t revents _unused_)
{
	struct build *build = container_of(io, struct build, context);
	char bytes[65536];
	int r = 0;

	ssize_t n = RETRY_EINTR(read(io->fd, bytes, sizeof(bytes)));
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		drop_io(build, io);
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

	if (!is_uploaded(build))
		loop_watch(loop_of(build), &build->context, EPOLLIN);
}

/* Only the beginning is kept; the rest is read, so that nobody waits. */
static void on_tar_errors(struct loop_io *io, uint32_t revents _unused_)
{
	struct build *build = container_of(io, struct build, tar_errors);
	size_t used = strlen(build->tar_text);
	char bytes[4096];

	ssize_t n = RETRY_EINTR(read(io->fd, bytes, sizeof(bytes)));
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		drop_io(build, io);
		return;
	}
	size_t kept = (size_t)n < sizeof(build->tar_text) - 1 - used ? (size_t)n : sizeof(build->tar_text) - 1 - used;
	memcpy(build->tar_text + used, bytes, kept);
	build->tar_text[used + kept] = '\0';
	build->tar_text[strcspn(build->tar_text, "\n")] = '\0';
}

static void on_tar_started(struct init_exec *tar, const struct err *err, int pid _unused_)
{
	struct build *build = container_of(tar, struct build, tar);

	if (err && err->num == 0)
		build->tar_started = true;
	else if (err)
		docker_fail(&build->op, E_FAILED, err->num, NULL, "context_path: no tar in the session: %s: %s",
			err->step, strerror(-err->num));
}

static void on_tar_exited(struct init_exec *tar, int exit_code, int signal)
{
	struct build *build = container_of(tar, struct build, tar);

	/* Of the session's end docker_session_ended() tells. */
	if (exit_code < 0 && signal < 0)
		return;
	build->tar_ended = true;
	build->tar_code = exit_code;
	if (build->tar_errors.fd >= 0)
		on_tar_errors(&build->tar_errors, EPOLLIN);
	on_context_end(build);
}

static int start_tar(struct build *build)
{
	struct session *session = build->op.session;
	json_t *command = json_pack("[sssss]", "tar", "-C", docker_string(&build->op, "context_path"), "-c", ".");
	const struct command_request request = { .command = command };
	int out = -1, errors = -1;
	struct err err;

	_close_ int spec = command_exec(lifecycle_config(session->lifecycle), session->template, &request, &err);
	json_decref(command);
	int r = spec < 0 ? spec : exec_pipe(true, &build->context.fd, &out);
	_close_ int out_end = out;
	if (r == 0)
		r = exec_pipe(true, &build->tar_errors.fd, &errors);
	_close_ int errors_end = errors;
	if (r == 0)
		r = loop_watch(loop_of(build), &build->context, EPOLLIN);
	if (r == 0)
		r = loop_watch(loop_of(build), &build->tar_errors, EPOLLIN);
	const int fds[] = { spec, session->lifecycle->null_fd, out_end, errors_end };
	return r < 0 ? r : init_link_exec(&session->init, &build->tar, fds);
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

void method_docker_build(struct call *call)
{
	const json_t *timeout = json_object_get(call_params(call), "timeout_seconds");
	struct docker_op *op = docker_begin(call, sizeof(struct build));
	char target[DOCKER_TARGET_SIZE];

	if (!op)
		return;
	struct build *build = build_of(op);
	build->context = (struct loop_io){ .fd = -1, .fn = on_context };
	build->tar_errors = (struct loop_io){ .fd = -1, .fn = on_tar_errors };
	build->tar = (struct init_exec){ .on_started = on_tar_started, .on_exited = on_tar_exited };
	list_init(&build->tar.of_link);
	build->log.max_bytes = MAX_LOG;
	build->event.fn = on_event_timer;
	op->release = release;
	op->cancel = cancel;
	op->limit.fn = on_timeout;
	op->streams = true;
	op->on_stream = on_stream;
	op->http.chunked = true;
	op->http.on_drained = on_drained;
	if (!make_target(op, target)) {
		docker_fail_param(op, "build_args", "is longer than the Docker daemon takes, with the names");
		return;
	}
	int r = start_tar(build);
	if (r < 0)
		docker_fail_http(op, r, NULL);
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
