/* SPDX-License-Identifier: Apache-2.0 */
/* control/call.h for tests: what a caller is told is kept for the test to look at. */
#include "unit.h"

#include "fake_host.h"

#include <stdio.h>

struct control *call_control(const struct call *call)
{
	return call->control;
}

const struct caller *call_caller(const struct call *call)
{
	return &call->caller;
}

const json_t *call_params(const struct call *call)
{
	return call->params;
}

struct conn *call_conn(const struct call *call)
{
	return call->conn;
}

void call_reply(struct call *call, json_t *result)
{
	assert_false(call->answered);
	assert_non_null(result);
	call->answered = true;
	call->result = result;
}

int server_identify(const struct control *control, int fd _unused_, struct caller *ret)
{
	*ret = container_of(control, struct fake_host, control)->peer;
	return 0;
}

bool call_takes_fds(struct call *call _unused_)
{
	return true;
}

void call_reply_fds(struct call *call, json_t *result, const int *fds, size_t n)
{
	call_reply(call, result);
	assert_true(n <= CALL_MAX_FDS);
	memcpy(call->fds, fds, n * sizeof(*fds));
	call->n_fds = n;
}

void call_fail(struct call *call, enum error_kind kind, bool retryable, const struct error_details *details,
	const char *format, ...)
{
	static const struct error_details none;
	va_list ap;

	assert_false(call->answered);
	call->answered = true;
	call->kind = kind;
	call->retryable = retryable;
	details = details ? details : &none;
	snprintf(call->path, sizeof(call->path), "%s", details->path ? details->path : "");
	snprintf(call->step, sizeof(call->step), "%s", details->step ? details->step : "");
	call->err_no = details->err_no;
	call->log_tail = details->log_tail ? strdup(details->log_tail) : NULL;
	call->partial = json_deep_copy(details->result);
	va_start(ap, format);
	vsnprintf(call->message, sizeof(call->message), format, ap);
	va_end(ap);
}

bool call_reserve(struct call *call, size_t n)
{
	const struct fake_host *host = container_of(call->control, struct fake_host, control);

	if (host->reserve_max > 0 && call->n_reserved + n > host->reserve_max)
		return false;
	call->n_reserved += n;
	return true;
}

void conn_notify(struct conn *conn, const char *method, json_t *params)
{
	assert_non_null(params);
	json_array_append_new(conn->notifications, json_pack("{s:s, s:o}", "method", method, "params", params));
}

void conn_on_close(struct conn *conn, void (*fn)(struct conn *conn, void *owner), void *owner)
{
	size_t free_hook = ARRAY_SIZE(conn->hooks);

	for (size_t i = 0; i < ARRAY_SIZE(conn->hooks); i++) {
		if (conn->hooks[i].fn && conn->hooks[i].owner == owner) {
			conn->hooks[i].fn = fn;
			return;
		}
		if (!conn->hooks[i].fn)
			free_hook = i;
	}
	if (!fn)
		return;
	assert_true(free_hook < ARRAY_SIZE(conn->hooks));
	conn->hooks[free_hook].fn = fn;
	conn->hooks[free_hook].owner = owner;
}

const json_t *conn_notification(const struct conn *conn, size_t i)
{
	return json_object_get(json_array_get(conn->notifications, i), "params");
}

struct conn *conn_new(void)
{
	struct conn *conn = calloc(1, sizeof(*conn));

	conn->notifications = json_array();
	return conn;
}

void conn_end(struct conn *conn)
{
	for (size_t i = 0; i < ARRAY_SIZE(conn->hooks); i++) {
		void (*fn)(struct conn *, void *) = conn->hooks[i].fn;
		conn->hooks[i].fn = NULL;
		if (fn)
			fn(conn, conn->hooks[i].owner);
	}
	json_decref(conn->notifications);
	free(conn);
}

struct call *call_new(struct fake_host *host, struct conn *conn, json_t *params)
{
	struct call *call = calloc(1, sizeof(*call));

	assert_non_null(params);
	*call = (struct call){
		.control = &host->control,
		.caller = { .uid = 1000, .gid = 1000, .role = ROLE_OPERATOR, .owner_prefix = "" },
		.conn = conn,
		.params = params,
	};
	return call;
}

void call_free(struct call *call)
{
	json_decref(call->params);
	json_decref(call->result);
	json_decref(call->partial);
	close_fds(call->fds, call->n_fds);
	free(call->log_tail);
	free(call);
}

const char *json_path(const json_t *json, const char *path)
{
	char name[64];

	for (const char *dot; (dot = strchr(path, '.')); path = dot + 1) {
		snprintf(name, sizeof(name), "%.*s", (int)(dot - path), path);
		json = json_object_get(json, name);
	}
	return json_string_value(json_object_get(json, path));
}

void check_string(const json_t *json, const char *path, const char *wanted)
{
	const char *value = json_path(json, path);

	if (!value)
		fail_msg("no %s in %s", path, json_dumps(json, 0));
	assert_string_equal(value, wanted);
}
