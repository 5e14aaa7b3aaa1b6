/* SPDX-License-Identifier: Apache-2.0 */
/*
 * docker.run: create, look up the name, start; unless detached, wait for the end, fetch what was printed, and remove
 * if asked to. A container that does not start is removed again. When a client goes away, a container that was to be
 * removed is; another one goes on.
 */
#include <stdio.h>

#include "control/docker.h"
#include "control/docker_stream.h"
#include "control/json.h"
#include "control/lifecycle.h"

enum { ID_SIZE = 80, MAX_OUTPUT = 1 << 20 };

struct run {
	struct docker_op op; /* first: docker_begin() */
	char id[ID_SIZE]; /* of the container; "" before there is one */
	json_t *name;
	bool started, remove;
	json_int_t exit_code;
	struct docker_frames frames;
	struct capture capture;
};

static struct run *run_of(struct docker_op *op)
{
	return container_of(op, struct run, op);
}

static void ask_container(struct run *run, const char *method, const char *what, uint64_t limit_ns,
	void (*then)(struct docker_op *op, const json_t *answer))
{
	char target[DOCKER_TARGET_SIZE];

	docker_target(target, "/containers/", run->id, "%s", what);
	docker_ask(&run->op, method, target, NULL, limit_ns, then);
}

/* ---- the end ---- */

static void release(struct docker_op *op)
{
	struct run *run = run_of(op);

	json_decref(run->name);
	capture_release(&run->capture);
}

static void cleaned_up(struct docker_op *op, const json_t *answer _unused_)
{
	docker_end(op);
}

static bool on_failed(struct docker_op *op)
{
	struct run *run = run_of(op);

	if (!run->id[0] || (run->started && !run->remove))
		return false;
	op->streams = false;
	ask_container(run, "DELETE", "?force=1&v=1", DOCKER_PROMPT_NS, cleaned_up);
	return true;
}

static void reply(struct run *run)
{
	json_t *result = json_object();

	json_put(&result, "container_id", json_text(run->id));
	json_put(&result, "container_name", json_incref(run->name));
	if (!docker_flag(&run->op, "detach")) {
		json_put(&result, "exit_code", json_integer(run->exit_code));
		capture_put_json(&run->capture, &result);
		json_object_del(result, "stdout");
		json_object_del(result, "stderr");
	}
	json_put(&result, "elapsed_seconds",
		json_real((double)(boottime_ns() - run->op.begun_ns) / (double)NS_PER_SEC));
	docker_reply(&run->op, result);
}

static void removed(struct docker_op *op, const json_t *answer _unused_)
{
	reply(run_of(op));
}

/* ---- what was printed ---- */

static void keep(void *arg, enum capture_stream stream, const char *bytes, size_t n)
{
	struct run *run = arg;
	size_t kept = capture_room(&run->capture, n);

	if (kept > 0 && (!run->op.call || !call_reserve(run->op.call, capture_cost(bytes, kept))))
		kept = 0;
	capture_add(&run->capture, stream, bytes, kept);
	capture_drop(&run->capture, n - kept);
}

static int on_stream(struct docker_op *op, const char *bytes, size_t n)
{
	struct run *run = run_of(op);

	return docker_frames_feed(&run->frames, bytes, n, keep, run);
}

static void logs_read(struct docker_op *op, const json_t *answer _unused_)
{
	struct run *run = run_of(op);

	op->streams = false;
	if (run->remove)
		ask_container(run, "DELETE", "?force=1&v=1", DOCKER_PROMPT_NS, removed);
	else
		reply(run);
}

static void waited(struct docker_op *op, const json_t *answer)
{
	struct run *run = run_of(op);

	run->exit_code = json_integer_value(json_object_get(answer, "StatusCode"));
	op->streams = true;
	op->on_stream = on_stream;
	ask_container(run, "GET", "/logs?stdout=1&stderr=1", DOCKER_PROMPT_NS, logs_read);
}

/* ---- the beginning ---- */

static void started(struct docker_op *op, const json_t *answer _unused_)
{
	struct run *run = run_of(op);

	run->started = true;
	if (docker_flag(op, "detach"))
		reply(run);
	else
		/* However long it runs: the session's own end is its limit. */
		ask_container(run, "POST", "/wait", 0, waited);
}

static void named(struct docker_op *op, const json_t *answer)
{
	struct run *run = run_of(op);
	const char *name = json_string_value(json_object_get(answer, "Name"));

	run->name = name ? json_text(name + (name[0] == '/')) : json_null();
	ask_container(run, "POST", "/start", DOCKER_PROMPT_NS, started);
}

static void created(struct docker_op *op, const json_t *answer)
{
	struct run *run = run_of(op);
	const char *id = json_string_value(json_object_get(answer, "Id"));

	if (!id || !id[0] || copy_string(run->id, sizeof(run->id), id) < 0) {
		docker_fail_http(op, -EPROTO, NULL);
		return;
	}
	ask_container(run, "GET", "/json", DOCKER_PROMPT_NS, named);
}

/* ---- what is asked for ---- */

static bool parse_port(const char *text, size_t n, unsigned int *ret)
{
	unsigned int port = 0;

	if (n < 1 || n > 5)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		port = port * 10 + (unsigned int)(text[i] - '0');
	}
	*ret = port;
	return port >= 1 && port <= UINT16_MAX;
}

/* "PORT:CONTAINER", "CONTAINER" (any free port), either with "/tcp" or "/udp". */
static int add_port(const char *text, json_t *exposed, json_t *bindings)
{
	const char *slash = strchr(text, '/'), *end = slash ? slash : text + strlen(text), *colon = strchr(text, ':');
	const char *inner = colon && colon < end ? colon + 1 : text;
	unsigned int port = 0, container;
	char name[16], outside[8] = "";

	if (slash && !streq(slash, "/tcp") && !streq(slash, "/udp"))
		return -EINVAL;
	if (!parse_port(inner, (size_t)(end - inner), &container) ||
		(inner != text && !parse_port(text, (size_t)(inner - 1 - text), &port)))
		return -EINVAL;
	snprintf(name, sizeof(name), "%u%s", container, slash ? slash : "/tcp");
	if (port)
		snprintf(outside, sizeof(outside), "%u", port);
	json_t *list = json_object_get(bindings, name);
	if (!list) {
		json_object_set_new(bindings, name, json_array());
		list = json_object_get(bindings, name);
	}
	json_object_set_new(exposed, name, json_object());
	return json_array_append_new(list, json_pack("{s:s}", "HostPort", outside)) < 0 ? -ENOMEM : 0;
}

static json_t *env_list(const json_t *env)
{
	json_t *list = json_array(), *value;
	const char *name;

	json_object_foreach ((json_t *)(uintptr_t)env, name, value)
		json_append(&list, json_sprintf("%s=%s", name, json_string_value(value)));
	return list;
}

/* The first that is no name of a variable; NULL: each is one. */
static const char *bad_env_name(const json_t *env)
{
	json_t *value;
	const char *name;

	json_object_foreach ((json_t *)(uintptr_t)env, name, value)
		if (strchr(name, '='))
			return name;
	return NULL;
}

/* The body of the request that creates the container; NULL when a port is none, and the call is answered. */
static json_t *describe(struct docker_op *op)
{
	const json_t *params = call_params(op->call), *port;
	json_t *exposed = json_object(), *bindings = json_object(), *body = json_object(), *host;
	size_t i;

	json_array_foreach (json_object_get(params, "ports"), i, port) {
		char path[32];
		if (add_port(json_string_value(port), exposed, bindings) == 0)
			continue;
		json_decref(exposed);
		json_decref(bindings);
		json_decref(body);
		snprintf(path, sizeof(path), "ports[%zu]", i);
		docker_fail_param(op, E_INVALID_PARAMS, 0, path, "must be like \"8080:80\", \"80\" or \"53:53/udp\"");
		return NULL;
	}
	/* Docker removes a detached one when it ends; here the output is fetched first. */
	host = json_pack("{s:o, s:b}", "PortBindings", bindings, "AutoRemove",
		docker_flag(op, "detach") && docker_flag(op, "auto_remove"));
	json_put(&body, "Image", json_string(docker_string(op, "image")));
	json_put(&body, "ExposedPorts", exposed);
	json_put(&body, "HostConfig", host);
	json_put(&body, "Env", env_list(json_object_get(params, "env")));
	if (json_object_get(params, "command"))
		json_put(&body, "Cmd", json_incref(json_object_get(params, "command")));
	return body;
}

static const struct docker_refusal refusals[] = {
	{ 404, "No such image", E_NOT_FOUND, "image" },
	{ 400, "invalid reference format", E_INVALID_PARAMS, "image" },
	{ 400, "Invalid container name", E_INVALID_PARAMS, "name" },
	{ 409, "is already in use by container", E_CONFLICT, "name" },
	{ 0, "port is already allocated", E_CONFLICT, "ports" },
	{ 0, "address already in use", E_CONFLICT, "ports" },
	{ 400, "unable to start container process", E_FAILED, "command" },
	{ 400, "No command specified", E_INVALID_PARAMS, "command" },
	{ .param = NULL },
};

void method_docker_run(struct call *call)
{
	struct docker_op *op = docker_begin(call, sizeof(struct run));
	char target[DOCKER_TARGET_SIZE], path[128];

	if (!op)
		return;
	struct run *run = run_of(op);
	run->name = json_null();
	run->capture.max_bytes = MAX_OUTPUT;
	run->remove = docker_flag(op, "auto_remove") && !docker_flag(op, "detach");
	op->on_failed = on_failed;
	op->release = release;
	op->refusals = refusals;
	if (!docker_name_is_valid(docker_string(op, "name"))) {
		docker_fail_param(op, E_INVALID_PARAMS, 0, "name",
			"a letter or a digit, then letters, digits, \"_\", \".\" and \"-\"");
		return;
	}
	const char *variable = bad_env_name(json_object_get(call_params(call), "env"));
	if (variable) {
		snprintf(path, sizeof(path), "env.%.96s", variable);
		docker_fail_param(op, E_INVALID_PARAMS, 0, path, "is no name for a variable");
		return;
	}
	json_t *body = describe(op);
	if (!body)
		return;
	const char *name = docker_string(op, "name");
	docker_target(target, "/containers/create", "", "%s", "");
	if (name)
		docker_target(target, "/containers/create?name=", name, "%s", "");
	docker_ask(op, "POST", target, body, DOCKER_PROMPT_NS, created);
}
