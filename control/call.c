/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests under way: from the line that asks to the line that answers. A batch's answers are kept until the last of
 * them is there and go out as one array.
 */
#include <stdarg.h>
#include <stdio.h>

#include "control/control.h"
#include "control/error.h"
#include "control/json.h"
#include "control/params.h"
#include "control/server.h"

struct batch {
	struct client *client;
	struct buffer text; /* "[answer,answer", counted for the client while it waits */
	size_t counted;
	size_t n_open; /* calls not yet answered, and one for call_start_line() while it fills the batch */
};

struct call {
	struct call *next, **link; /* in conn->calls; LINK is NULL once the connection is gone */
	struct control *control;
	struct conn *conn;
	struct client *client;
	struct caller caller;
	struct batch *batch; /* NULL for a request of its own */
	const struct method *method; /* NULL until it is found */
	uint64_t started_ns; /* CLOCK_BOOTTIME */
	json_t *id; /* NULL: a notification, which is not answered */
	json_t *params;
	size_t n_bytes; /* its share of the line, counted for the client while the parameters are kept */
	size_t n_reserved; /* counted for connection and client until it is answered */
};

static struct batch *batch_new(struct client *client)
{
	struct batch *batch = calloc(1, sizeof(*batch));

	if (batch)
		*batch = (struct batch){ .client = client, .n_open = 1 };
	return batch;
}

static void batch_count(struct batch *batch)
{
	batch->client->n_bytes += batch->text.size - batch->counted;
	batch->counted = batch->text.size;
}

/* Adds one answer. What a batch holds has the bounds of a queue: answers that wait for the last one are not free. */
static int batch_add(struct batch *batch, const struct config *config, const json_t *answer)
{
	int r = buffer_append(&batch->text, buffer_used(&batch->text) > 0 ? "," : "[", 1);

	if (r == 0)
		r = json_write(&batch->text, answer);
	batch_count(batch);
	if (r == 0 && (buffer_used(&batch->text) > config->max_queued_bytes || client_is_over(batch->client, config)))
		r = -ENOBUFS;
	return r;
}

/* One more part of the batch is done; the last sends what there is to say. CONN may be NULL. */
static void batch_put(struct batch *batch, struct conn *conn)
{
	if (--batch->n_open > 0)
		return;
	struct buffer text = batch->text;
	batch->text = (struct buffer){ 0 };
	batch_count(batch);
	free(batch);
	/* None but notifications: silence. */
	if (conn && buffer_used(&text) > 0) {
		if (buffer_append(&text, "]\n", 2) < 0)
			conn_fail(conn);
		else
			conn_send_text(conn, buffer_head(&text), buffer_used(&text));
	}
	buffer_free(&text);
}

/* ANSWER is stolen; NULL ends the connection, for memory was short. */
static void deliver(struct conn *conn, struct batch *batch, json_t *answer)
{
	if (!batch) {
		conn_send(conn, answer);
		return;
	}
	if (batch_add(batch, &conn->server->control->config, answer) < 0)
		conn_fail(conn);
	json_decref(answer);
}

static struct call *call_new(struct conn *conn, const struct rpc_item *item, struct batch *batch, size_t n_bytes)
{
	struct call *call = calloc(1, sizeof(*call));
	json_t *params = item->params ? json_incref(item->params) : json_object();

	if (!call || !params) {
		free(call);
		json_decref(params);
		return NULL;
	}
	*call = (struct call){
		.control = conn->server->control,
		.conn = conn,
		.client = conn->client,
		.caller = conn->caller,
		.batch = batch,
		.started_ns = boottime_ns(),
		.id = json_incref(item->id),
		.params = params,
		.n_bytes = n_bytes,
		.next = conn->calls,
		.link = &conn->calls,
	};
	if (call->next)
		call->next->link = &call->next;
	conn->calls = call;
	conn->n_calls++;
	conn->client->n_calls++;
	conn->client->n_bytes += n_bytes;
	if (batch)
		batch->n_open++;
	return call;
}

static void unlink_call(struct call *call)
{
	if (!call->conn)
		return;
	*call->link = call->next;
	if (call->next)
		call->next->link = call->link;
	call->link = NULL;
	call->next = NULL;
	call->conn->n_calls--;
}

void call_orphan_all(struct conn *conn)
{
	while (conn->calls) {
		struct call *call = conn->calls;
		unlink_call(call);
		call->conn = NULL;
	}
}

bool call_reserve(struct call *call, size_t n)
{
	struct conn *conn = call->conn;
	struct client *client = call->client;
	size_t max = call->control->config.max_queued_bytes;

	/* The connection's other answers need room, too; for the user room counts as it is made, in powers of two. */
	if (!conn || buffer_used(&conn->out) + conn->n_reserved + n > max - max / 4 ||
		client->n_bytes + n > max * USER_SHARE / 2)
		return false;
	conn->n_reserved += n;
	client->n_bytes += n;
	call->n_reserved += n;
	return true;
}

static void end_reservation(struct call *call)
{
	if (call->conn)
		call->conn->n_reserved -= call->n_reserved;
	call->client->n_bytes -= call->n_reserved;
	call->n_reserved = 0;
}

static void audit(struct call *call, const json_t *answer)
{
	uint64_t now_ns = boottime_ns();

	if (!call->method || !audit_wants(&call->control->config, call->method))
		return;
	audit_write(&call->client->audit, now_ns,
		&(struct audit_entry){ .caller = &call->caller,
			.method = call->method,
			.params = call->params,
			.answer = answer,
			.elapsed_ns = now_ns - call->started_ns });
}

/* Ends the call. ANSWER is stolen, and not sent for a notification. */
static void finish(struct call *call, json_t *answer)
{
	struct conn *conn = call->conn;

	unlink_call(call);
	end_reservation(call);
	if (conn && call->id)
		deliver(conn, call->batch, json_incref(answer));
	if (call->batch)
		batch_put(call->batch, conn);
	/* The one who asked need not wait for that. */
	audit(call, answer);
	json_decref(answer);
	call->client->n_calls--;
	call->client->n_bytes -= call->n_bytes;
	client_put(call->client);
	if (conn)
		conn_settle(conn);
	json_decref(call->id);
	json_decref(call->params);
	free(call);
}

/* For the metrics. KIND: E_KIND_COUNT for success. */
static void count(const struct call *call, enum error_kind kind)
{
	if (call->method && call->control->server)
		call->control->server->n_answers[call->method - method_table][kind]++;
}

void call_reply(struct call *call, json_t *result)
{
	count(call, E_KIND_COUNT);
	finish(call, rpc_answer(call->id, result));
}

bool call_takes_fds(struct call *call)
{
	if (call->id && !call->batch)
		return true;
	call_fail(call, E_INVALID_PARAMS, false, &(struct error_details){ .path = "via" },
		"via: descriptors need an answer of their own: no batch, no notification");
	return false;
}

void call_reply_fds(struct call *call, json_t *result, const int *fds, size_t n)
{
	if (call->conn && call->id && !call->batch)
		conn_attach_fds(call->conn, fds, n);
	else
		for (size_t i = 0; i < n; i++)
			close_fd(fds[i]);
	call_reply(call, result);
}

void call_fail(struct call *call, enum error_kind kind, bool retryable, const struct error_details *details,
	const char *message_format, ...)
{
	char message[512];
	va_list ap;

	va_start(ap, message_format);
	vsnprintf(message, sizeof(message), message_format, ap);
	va_end(ap);
	count(call, kind);
	finish(call, rpc_error_answer(call->id, error_object(kind, retryable, details, message)));
}

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

/* ---- starting ---- */

static void fail_unknown(struct call *call, const char *method)
{
	char text[128];

	snprintf(text, sizeof(text), "there is no method \"%.80s\"; rpc.discover lists them", method);
	finish(call, rpc_error_answer(call->id, rpc_fault(RPC_METHOD_NOT_FOUND, text)));
}

static void fail_params(struct call *call, const struct param_fault *fault)
{
	struct error_details details = { .path = fault->path[0] ? fault->path : NULL };

	call_fail(call, E_INVALID_PARAMS, false, &details, "%s%s%s", fault->path, fault->path[0] ? ": " : "",
		fault->text);
}

static bool is_busy(const struct conn *conn)
{
	uint32_t max = conn->server->control->config.max_in_flight;

	return conn->n_calls > max || conn->client->n_calls > (size_t)max * USER_SHARE;
}

static void fail_busy(struct call *call)
{
	struct error_details details = { .retry_after_ms = BUSY_RETRY_MS };
	uint32_t max = call->control->config.max_in_flight;

	call_fail(call, E_BUSY, true, &details,
		"%u requests of this connection, or %u of its user, are not answered yet "
		"(client_limits.max_in_flight)",
		max, max * USER_SHARE);
}

static void start(struct conn *conn, const struct rpc_item *item, struct batch *batch, size_t n_bytes)
{
	struct param_fault fault;

	if (item->fault) {
		deliver(conn, batch, rpc_error_answer(item->id, rpc_fault(item->fault, item->text)));
		return;
	}
	struct call *call = call_new(conn, item, batch, n_bytes);
	if (!call) {
		conn_fail(conn);
		return;
	}
	const struct method *method = call->method = method_find(item->method);
	if (!method)
		fail_unknown(call, item->method);
	else if (conn->caller.role < method->role)
		call_fail(call, E_DENIED, false, NULL, "%s needs the role %s, this connection has %s", method->name,
			role_name(method->role), role_name(conn->caller.role));
	else if (params_check(method->params, call->params, &fault) < 0)
		fail_params(call, &fault);
	else if (is_busy(conn))
		fail_busy(call);
	else
		method->handler(call);
}

void call_start_line(struct conn *conn, const char *bytes, size_t n)
{
	struct batch *batch = NULL;
	struct rpc_frame frame;

	rpc_parse(bytes, n, &frame);
	if (frame.batch) {
		batch = batch_new(conn->client);
		if (!batch) {
			rpc_release(&frame);
			conn_fail(conn);
			return;
		}
	}
	for (size_t i = 0; i < frame.n_items; i++)
		start(conn, &frame.items[i], batch, n / frame.n_items);
	if (batch)
		batch_put(batch, conn);
	rpc_release(&frame);
}
