/* SPDX-License-Identifier: Apache-2.0 */
#include "control/docker.h"

#include <stdarg.h>
#include <stdio.h>

#include "control/exec.h"
#include "control/json.h"
#include "control/lifecycle.h"

enum { MAX_ANSWER = 4 << 20 };

/* ---- operations ---- */

static void on_conn_closed(struct conn *conn, void *owner);
static void on_limit(struct loop_timer *timer);

struct docker_op *docker_begin(struct call *call, size_t size)
{
	struct session *session = exec_session(call);
	struct docker_op *op;

	if (!session)
		return NULL;
	op = call_conn(call) ? calloc(1, size) : NULL;
	if (!op) {
		call_fail(call, E_UNAVAILABLE, true, NULL, "the connection ended, or memory is short");
		return NULL;
	}
	op->session = session;
	op->call = call;
	op->limit.fn = on_limit;
	op->begun_ns = boottime_ns();
	list_append(&session->docker, &op->of_session);
	session->n_execs++;
	conn_on_close(call_conn(call), on_conn_closed, op);
	session_touch(session);
	return op;
}

void docker_end(struct docker_op *op)
{
	docker_http_cancel(&op->http);
	loop_disarm(lifecycle_loop(op->session->lifecycle), &op->limit);
	if (op->release)
		op->release(op);
	list_remove(&op->of_session);
	op->session->n_execs--;
	session_touch(op->session);
	buffer_free(&op->answer);
	free(op);
}

/* Takes the call out of OP, to be answered. */
static struct call *take_call(struct docker_op *op)
{
	if (op->call && call_conn(op->call))
		conn_on_close(call_conn(op->call), NULL, op);
	return steal_ptr(&op->call);
}

void docker_reply(struct docker_op *op, json_t *result)
{
	struct call *call = take_call(op);

	docker_end(op);
	if (call)
		call_reply(call, result);
	else
		json_decref(result);
}

/* Whatever the call was told: takes back what is to be taken back, and ends. */
static void failed(struct docker_op *op)
{
	bool (*clean_up)(struct docker_op *) = op->on_failed;

	docker_http_cancel(&op->http);
	op->on_failed = NULL;
	if (!clean_up || !clean_up(op))
		docker_end(op);
}

void docker_fail(struct docker_op *op, enum error_kind kind, int num, const json_t *result, const char *format, ...)
{
	const char *id = op->session->record.id;
	const struct error_details details = { .session = id, .step = "docker", .err_no = -num, .result = result };
	struct call *call = take_call(op);
	char text[1024];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	if (call)
		call_fail(
			call, kind, kind == E_UNAVAILABLE || kind == E_TIMEOUT, &details, "session %s: %s", id, text);
	failed(op);
}

void docker_fail_param(struct docker_op *op, enum error_kind kind, int num, const char *path, const char *text)
{
	const struct error_details details = { .path = path,
		.session = op->session->record.id,
		.step = kind == E_INVALID_PARAMS ? NULL : "docker",
		.err_no = -num };
	struct call *call = take_call(op);

	if (call)
		call_fail(call, kind, kind == E_TIMEOUT, &details, "%s: %s", path, text);
	failed(op);
}

void docker_fail_http(struct docker_op *op, int num, const json_t *result)
{
	if (num == -ENOENT || num == -ECONNREFUSED)
		docker_fail(op, E_UNAVAILABLE, num, result, "no Docker daemon answers there");
	else if (num == -EMSGSIZE)
		docker_fail(op, E_LIMIT, num, result, "the Docker daemon answers with more than is taken");
	else if (num == -EPROTO)
		docker_fail(op, E_FAILED, num, result, "what the Docker daemon says is no answer");
	else
		docker_fail(op, E_UNAVAILABLE, num, result, "the Docker daemon did not answer: %s", strerror(-num));
}

static void on_conn_closed(struct conn *conn _unused_, void *owner)
{
	struct docker_op *op = owner;

	call_fail(steal_ptr(&op->call), E_UNAVAILABLE, true, NULL, "the connection ended");
	failed(op);
}

static void on_limit(struct loop_timer *timer)
{
	struct docker_op *op = container_of(timer, struct docker_op, limit);

	docker_fail(op, E_TIMEOUT, -ETIMEDOUT, NULL, "the Docker daemon did not answer in time");
}

void docker_session_ended(struct session *session)
{
	while (!list_is_empty(&session->docker)) {
		struct docker_op *op = container_of(session->docker.next, struct docker_op, of_session);
		/* There is nothing left to clean up. */
		op->on_failed = NULL;
		docker_fail(op, E_INVALID_STATE, 0, NULL, "it ended");
	}
}

/* ---- requests ---- */

static void on_body(struct docker_http *http, const char *bytes, size_t n)
{
	struct docker_op *op = container_of(http, struct docker_op, http);
	int r = 0;

	if (op->streams && http->status < 300)
		r = op->on_stream(op, bytes, n);
	else if (buffer_used(&op->answer) + n > MAX_ANSWER)
		r = -EMSGSIZE;
	else
		r = buffer_append(&op->answer, bytes, n);
	if (r < 0)
		docker_http_fail(http, r);
}

static const struct docker_refusal *find_refusal(const struct docker_op *op, const char *message)
{
	for (const struct docker_refusal *row = op->refusals; row && row->param; row++)
		if ((row->status == 0 || row->status == op->http.status) &&
			(!row->text || strstr(message, row->text)))
			return row;
	return NULL;
}

/* The daemon refused: its own words, and what they are about, or the kind that its status stands for. */
static void fail_status(struct docker_op *op, const json_t *answer)
{
	const char *message = json_string_value(json_object_get(answer, "message"));
	int status = op->http.status;

	if (!message)
		message = "no reason given";
	const struct docker_refusal *refusal = find_refusal(op, message);
	if (refusal)
		docker_fail_param(op, refusal->kind, 0, refusal->param, message);
	else
		docker_fail(op,
			status == 404	? E_NOT_FOUND
			: status == 409 ? E_CONFLICT
					: E_FAILED,
			0, NULL, "docker: %s", message);
}

static void on_done(struct docker_http *http, int error)
{
	struct docker_op *op = container_of(http, struct docker_op, http);
	json_t *answer = NULL;

	loop_disarm(http->loop, &op->limit);
	if (error < 0) {
		docker_fail_http(op, error, NULL);
		return;
	}
	if (buffer_used(&op->answer) > 0)
		answer = json_loadb(buffer_head(&op->answer), buffer_used(&op->answer), JSON_REJECT_DUPLICATES, NULL);
	buffer_consume(&op->answer, buffer_used(&op->answer));
	if ((http->status >= 200 && http->status < 300) || http->status == 304)
		op->then(op, answer);
	else
		fail_status(op, answer);
	json_decref(answer);
}

void docker_ask(struct docker_op *op, const char *method, const char *target, json_t *body, uint64_t limit_ns,
	void (*then)(struct docker_op *op, const json_t *answer))
{
	struct loop *loop = lifecycle_loop(op->session->lifecycle);
	_free_ char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	int r = body && !text ? -ENOMEM : 0;

	json_decref(body);
	op->then = then;
	op->http.on_body = on_body;
	op->http.on_done = on_done;
	if (r == 0 && limit_ns)
		r = loop_arm(loop, &op->limit, boottime_ns() + limit_ns);
	if (r == 0)
		r = docker_http_start(&op->http, loop, &op->session->init, method, target, text, op->http.chunked);
	if (r < 0)
		docker_fail_http(op, r, NULL);
}

int docker_target(
	char target[static DOCKER_TARGET_SIZE], const char *before, const char *name, const char *after_format, ...)
{
	char escaped[DOCKER_TARGET_SIZE], after[128];
	va_list ap;

	if (docker_escape(escaped, sizeof(escaped), name) < 0)
		return -ENAMETOOLONG;
	va_start(ap, after_format);
	vsnprintf(after, sizeof(after), after_format, ap);
	va_end(ap);
	int n = snprintf(target, DOCKER_TARGET_SIZE, "%s%s%s", before, escaped, after);
	return n < 0 || n >= DOCKER_TARGET_SIZE ? -ENAMETOOLONG : 0;
}

bool docker_name_is_valid(const char *name)
{
	static const char first[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
	static const char rest[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";

	return !name || (name[0] && strchr(first, name[0]) && !name[strspn(name, rest)]);
}

const char *docker_string(const struct docker_op *op, const char *param)
{
	return json_string_value(json_object_get(call_params(op->call), param));
}

bool docker_flag(const struct docker_op *op, const char *param)
{
	return json_is_true(json_object_get(call_params(op->call), param));
}

/* ---- docker.ps and docker.images ---- */

/* A text of the daemon's, or null. */
static json_t *text_of(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));
	return text ? json_text(text) : json_null();
}

static json_t *integer_of(const json_t *object, const char *name)
{
	return json_integer(json_integer_value(json_object_get(object, name)));
}

/* {ip, private_port, public_port, type} of each port that is published. */
static json_t *ports_of(const json_t *container)
{
	json_t *ports = json_array(), *port;
	size_t i;

	json_array_foreach (json_object_get(container, "Ports"), i, port) {
		json_t *one = json_object();
		json_put(&one, "container_port", integer_of(port, "PrivatePort"));
		json_put(&one, "port",
			json_object_get(port, "PublicPort") ? integer_of(port, "PublicPort") : json_null());
		json_put(&one, "address", text_of(port, "IP"));
		json_put(&one, "protocol", text_of(port, "Type"));
		json_append(&ports, one);
	}
	return ports;
}

/* Docker's names start with a slash. */
static json_t *name_of(const json_t *container)
{
	const char *name = json_string_value(json_array_get(json_object_get(container, "Names"), 0));
	return name ? json_text(name + (name[0] == '/')) : json_null();
}

static void ps_answered(struct docker_op *op, const json_t *answer)
{
	json_t *containers = json_array(), *container;
	size_t i;

	json_array_foreach (answer, i, container) {
		json_t *one = json_object();
		json_put(&one, "container_id", text_of(container, "Id"));
		json_put(&one, "container_name", name_of(container));
		json_put(&one, "image", text_of(container, "Image"));
		json_put(&one, "command", text_of(container, "Command"));
		json_put(&one, "state", text_of(container, "State"));
		json_put(&one, "status", text_of(container, "Status"));
		json_put(&one, "created_at_unix", integer_of(container, "Created"));
		json_put(&one, "ports", ports_of(container));
		json_append(&containers, one);
	}
	docker_reply(op, json_pack("{s:o}", "containers", containers));
}

void method_docker_ps(struct call *call)
{
	struct docker_op *op = docker_begin(call, sizeof(*op));

	if (op)
		docker_ask(op, "GET", docker_flag(op, "all") ? "/containers/json?all=1" : "/containers/json", NULL,
			DOCKER_PROMPT_NS, ps_answered);
}

static json_t *tags_of(const json_t *image)
{
	json_t *tags = json_array(), *tag;
	size_t i;

	json_array_foreach (json_object_get(image, "RepoTags"), i, tag) {
		const char *text = json_string_value(tag);
		if (text && !streq(text, "<none>:<none>"))
			json_append(&tags, json_text(text));
	}
	return tags;
}

static void images_answered(struct docker_op *op, const json_t *answer)
{
	json_t *images = json_array(), *image;
	size_t i;

	json_array_foreach (answer, i, image) {
		json_t *one = json_object();
		json_put(&one, "image_id", text_of(image, "Id"));
		json_put(&one, "tags", tags_of(image));
		json_put(&one, "size_bytes", integer_of(image, "Size"));
		json_put(&one, "created_at_unix", integer_of(image, "Created"));
		json_append(&images, one);
	}
	docker_reply(op, json_pack("{s:o}", "images", images));
}

void method_docker_images(struct call *call)
{
	struct docker_op *op = docker_begin(call, sizeof(*op));

	if (op)
		docker_ask(op, "GET", "/images/json", NULL, DOCKER_PROMPT_NS, images_answered);
}

/* ---- docker.stop ---- */

static const struct docker_refusal stop_refusals[] = {
	{ 404, NULL, E_NOT_FOUND, "container_name" },
	{ .param = NULL },
};

static void stop_reply(struct docker_op *op, bool removed)
{
	docker_reply(op, json_pack("{s:s, s:b, s:b}", "container_name", docker_string(op, "container_name"),
				 "stopped", true, "removed", removed));
}

static void removed(struct docker_op *op, const json_t *answer _unused_)
{
	stop_reply(op, true);
}

static void stopped(struct docker_op *op, const json_t *answer _unused_)
{
	char target[DOCKER_TARGET_SIZE];

	if (!docker_flag(op, "remove")) {
		stop_reply(op, false);
		return;
	}
	docker_target(target, "/containers/", docker_string(op, "container_name"), "?v=1");
	docker_ask(op, "DELETE", target, NULL, DOCKER_PROMPT_NS, removed);
}

void method_docker_stop(struct call *call)
{
	const json_t *timeout = json_object_get(call_params(call), "timeout");
	uint64_t seconds = timeout ? (uint64_t)json_integer_value(timeout) : 10;
	struct docker_op *op = docker_begin(call, sizeof(*op));
	char target[DOCKER_TARGET_SIZE];

	if (!op)
		return;
	op->refusals = stop_refusals;
	if (!docker_name_is_valid(docker_string(op, "container_name"))) {
		docker_fail_param(op, E_INVALID_PARAMS, 0, "container_name", "is no name or id of a container");
		return;
	}
	/* The methods table bounds its length. */
	docker_target(target, "/containers/", docker_string(op, "container_name"), "/stop?t=%llu",
		(unsigned long long)seconds);
	docker_ask(op, "POST", target, NULL, DOCKER_PROMPT_NS + seconds * NS_PER_SEC, stopped);
}
