/* SPDX-License-Identifier: Apache-2.0 */
/* A line from a client: taken apart, its parameters checked by a table with every type, and answered. */
#include <stdlib.h>

#include "control/params.h"
#include "control/rpc.h"
#include "wire/def.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct param table[] = {
	{ "session", P_NAME, .one_of = true },
	{ "owner", P_STRING, .one_of = true, .min = 1, .max = 16 },
	{ "limit", P_INTEGER, .min = 1, .max = 1000 },
	{ "ttl_seconds", P_NUMBER | P_NULLABLE, .min = 0.1, .max = 1000 },
	{ "follow", P_BOOL },
	{ "for", P_ENUM, .required = true, .values = "ready|ended" },
	{ "command", P_STRINGS, .min = 1, .max = 4, .item_bytes = 8 },
	{ "env", P_STRING_MAP, .max = 4, .item_bytes = 8 },
	{ "limits", P_LIMITS },
	{ "metadata", P_OBJECT },
	{ NULL },
};

static void expect(bool condition)
{
	if (!condition)
		abort();
}

/* Whatever came in, an answer is one line of valid JSON. */
static void check_answer(json_t *answer)
{
	char *line = json_dumps(answer, JSON_COMPACT);
	json_t *again = line ? json_loads(line, JSON_REJECT_DUPLICATES, NULL) : NULL;

	expect(again && !strchr(line, '\n'));
	json_decref(again);
	json_decref(answer);
	free(line);
}

static void check_item(const struct rpc_item *item)
{
	struct param_fault fault;

	expect(!item->id || json_is_integer(item->id) || json_is_string(item->id));
	if (item->fault) {
		expect(item->text[0]);
		check_answer(rpc_error_answer(item->id, rpc_fault(item->fault, item->text)));
		return;
	}
	expect(item->method);
	if (params_check(table, item->params, &fault) < 0) {
		expect(is_terminated(fault.path, sizeof(fault.path)) &&
			is_terminated(fault.text, sizeof(fault.text)));
		expect(fault.text[0]);
		check_answer(rpc_error_answer(item->id, rpc_fault(RPC_INVALID_PARAMS, fault.path)));
	} else {
		expect(json_is_object(item->params) && json_object_get(item->params, "for"));
		check_answer(rpc_answer(item->id, json_incref(item->params)));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rpc_frame frame;

	rpc_parse((const char *)data, size, &frame);
	expect(frame.n_items <= RPC_MAX_BATCH);
	expect(!frame.batch || json_array_size(frame.tree) == frame.n_items);
	for (size_t i = 0; i < frame.n_items; i++)
		check_item(&frame.items[i]);
	rpc_release(&frame);
	return 0;
}
