/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON-RPC 2.0 as pure functions: the bytes of one line in, requests or faults out, and the objects of answers. No
 * sockets and no methods here, so that all of it can be fuzzed.
 *
 * Stricter than the specification where looseness helps nobody: names are unique, strings hold no NUL, requests have
 * no unknown members, an id is an integer or a short string.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

enum {
	RPC_MAX_FRAME = 1 << 20, /* bytes in one line, its newline not counted */
	RPC_MAX_DEPTH = 32, /* arrays and objects in each other */
	RPC_MAX_VALUES = 32768, /* commas and brackets: a tree takes a hundred times the memory of its text */
	RPC_MAX_BATCH = 32, /* requests in an array */
	RPC_MAX_ID = 128, /* bytes in an id that is a string */
};

/* The specification's own codes. Those of carrel are in control/error.c. */
enum rpc_code {
	RPC_PARSE_ERROR = -32700,
	RPC_INVALID_REQUEST = -32600,
	RPC_METHOD_NOT_FOUND = -32601,
	RPC_INVALID_PARAMS = -32602,
};

/* A request, or what is wrong with one. Everything points into the frame's tree. */
struct rpc_item {
	enum rpc_code fault; /* 0: a request; else only id and text are set */
	char text[96]; /* why, for people */
	json_t *id; /* NULL: a notification, or a fault whose id could not be told */
	const char *method;
	json_t *params; /* an array or an object; NULL when there are none */
};

struct rpc_frame {
	json_t *tree;
	bool batch; /* the answers go out together, as one array */
	size_t n_items; /* 0 for a blank line */
	struct rpc_item items[RPC_MAX_BATCH];
};

/* Parses one line without its newline. Never fails: what is wrong is an item. rpc_release() the result. */
void rpc_parse(const char *bytes, size_t n, struct rpc_frame *ret);
void rpc_release(struct rpc_frame *frame);

/*
 * Answers and notifications; RESULT, ERROR and PARAMS are stolen, ID is borrowed (NULL: null). They return NULL when
 * memory is short or when what they were given is NULL.
 */
json_t *rpc_answer(json_t *id, json_t *result);
json_t *rpc_error_answer(json_t *id, json_t *error);
json_t *rpc_notification(const char *method, json_t *params);

/* {"code": CODE, "message": TEXT}, or NULL. */
json_t *rpc_fault(enum rpc_code code, const char *text);
