/* SPDX-License-Identifier: Apache-2.0 */
#include "control/rpc.h"

#include <stdio.h>
#include <string.h>

#include "control/json.h"
#include "wire/def.h"

static void fault(struct rpc_item *item, enum rpc_code code, const char *text)
{
	item->fault = code;
	snprintf(item->text, sizeof(item->text), "%s", text);
}

/*
 * What must be known before memory is spent on a tree: jansson permits 2048 levels and any number of values. Opening
 * brackets and commas outside strings tell both; whether the text is JSON is for the parser to say.
 */
static const char *scan(const char *bytes, size_t n)
{
	size_t depth = 0, values = 0;
	bool in_string = false;

	for (size_t i = 0; i < n; i++) {
		char c = bytes[i];
		if (in_string) {
			if (c == '\\')
				i++;
			else if (c == '"')
				in_string = false;
			continue;
		}
		if (c == '"')
			in_string = true;
		else if (c == '[' || c == '{')
			depth++, values++;
		else if ((c == ']' || c == '}') && depth > 0)
			depth--;
		else if (c == ',')
			values++;
		if (depth > RPC_MAX_DEPTH)
			return "nested deeper than 32";
		if (values > RPC_MAX_VALUES)
			return "more than 32768 commas and brackets";
	}
	return NULL;
}

/* jansson's own texts quote the input, which may be anything; these do not. */
static const char *parse_error_text(const json_error_t *error)
{
	switch (json_error_code(error)) {
	case json_error_duplicate_key:
		return "duplicate member";
	case json_error_invalid_utf8:
		return "invalid UTF-8";
	case json_error_null_character:
	case json_error_null_byte_in_key:
		return "NUL in a string";
	case json_error_numeric_overflow:
		return "number out of range";
	case json_error_premature_end_of_input:
		return "unexpected end";
	case json_error_end_of_input_expected:
		return "more than one value in the line";
	case json_error_out_of_memory:
		return "out of memory";
	default:
		return "invalid JSON";
	}
}

static bool is_blank(const char *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!strchr(" \t\r", bytes[i]) || !bytes[i])
			return false;
	return true;
}

static bool id_is_valid(const json_t *id)
{
	return json_is_integer(id) || (json_is_string(id) && json_string_length(id) <= RPC_MAX_ID);
}

static const char *unknown_member(json_t *request)
{
	const char *key;
	json_t *value;

	json_object_foreach (request, key, value)
		if (!streq(key, "jsonrpc") && !streq(key, "id") && !streq(key, "method") && !streq(key, "params"))
			return key;
	return NULL;
}

static void read_request(json_t *request, struct rpc_item *item)
{
	const char *key;

	if (!json_is_object(request)) {
		fault(item, RPC_INVALID_REQUEST, "a request is an object");
		return;
	}
	/* First the id, so that whatever else is wrong is said to the one who asked. */
	json_t *id = json_object_get(request, "id");
	if (id && !id_is_valid(id)) {
		fault(item, RPC_INVALID_REQUEST, "id: an integer, or a string of at most 128 bytes");
		return;
	}
	item->id = id;
	const char *version = json_string_value(json_object_get(request, "jsonrpc"));
	const char *method = json_string_value(json_object_get(request, "method"));
	json_t *params = json_object_get(request, "params");
	if (!version || !streq(version, "2.0"))
		fault(item, RPC_INVALID_REQUEST, "jsonrpc: must be \"2.0\"");
	else if (!method)
		fault(item, RPC_INVALID_REQUEST, "method: a string is required");
	else if (params && !json_is_object(params) && !json_is_array(params))
		fault(item, RPC_INVALID_REQUEST, "params: an object");
	else if ((key = unknown_member(request))) {
		item->fault = RPC_INVALID_REQUEST;
		snprintf(item->text, sizeof(item->text), "a request has no member \"%.40s\"", key);
	}
	item->method = method;
	item->params = params;
}

static void read_batch(struct rpc_frame *frame)
{
	size_t n = json_array_size(frame->tree);

	if (n == 0 || n > RPC_MAX_BATCH) {
		frame->n_items = 1;
		fault(&frame->items[0], RPC_INVALID_REQUEST,
			n == 0 ? "empty batch" : "more than 32 requests in a batch");
		return;
	}
	frame->batch = true;
	frame->n_items = n;
	for (size_t i = 0; i < n; i++)
		read_request(json_array_get(frame->tree, i), &frame->items[i]);
}

void rpc_parse(const char *bytes, size_t n, struct rpc_frame *ret)
{
	json_error_t error;

	memset(ret, 0, sizeof(*ret));
	if (is_blank(bytes, n))
		return;
	ret->n_items = 1;
	const char *reason = n > RPC_MAX_FRAME ? "frame longer than 1048576 bytes" : scan(bytes, n);
	if (reason) {
		fault(&ret->items[0], RPC_PARSE_ERROR, reason);
		return;
	}
	ret->tree = json_loadb(bytes, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
	if (!ret->tree) {
		ret->items[0].fault = RPC_PARSE_ERROR;
		snprintf(ret->items[0].text, sizeof(ret->items[0].text), "%s, byte %d", parse_error_text(&error),
			error.position);
	} else if (json_is_array(ret->tree)) {
		read_batch(ret);
	} else {
		read_request(ret->tree, &ret->items[0]);
	}
}

void rpc_release(struct rpc_frame *frame)
{
	json_decref(frame->tree);
	frame->tree = NULL;
	frame->n_items = 0;
}

static json_t *envelope(json_t *id, const char *member, json_t *value)
{
	json_t *answer = json_object();

	json_put(&answer, "jsonrpc", json_string("2.0"));
	json_put(&answer, "id", id ? json_incref(id) : json_null());
	json_put(&answer, member, value);
	return answer;
}

json_t *rpc_answer(json_t *id, json_t *result)
{
	return envelope(id, "result", result);
}

json_t *rpc_error_answer(json_t *id, json_t *error)
{
	return envelope(id, "error", error);
}

json_t *rpc_notification(const char *method, json_t *params)
{
	json_t *notification = json_object();

	json_put(&notification, "jsonrpc", json_string("2.0"));
	json_put(&notification, "method", json_string(method));
	json_put(&notification, "params", params);
	return notification;
}

json_t *rpc_fault(enum rpc_code code, const char *text)
{
	json_t *error = json_object();

	json_put(&error, "code", json_integer(code));
	json_put(&error, "message", json_text(text));
	return error;
}
