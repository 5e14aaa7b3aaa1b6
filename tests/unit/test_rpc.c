/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/unit.h"

#include <stdio.h>

#include "control/rpc.h"
#include "wire/def.h"

static void parse(const char *text, struct rpc_frame *ret)
{
	rpc_parse(text, strlen(text), ret);
}

/* The code of a line that is one fault, or 0 for one that is all requests. */
static int code_of(const char *text, size_t n)
{
	struct rpc_frame frame;
	int code = 0;

	rpc_parse(text, n, &frame);
	for (size_t i = 0; i < frame.n_items; i++)
		if (frame.items[i].fault)
			code = frame.items[i].fault;
	rpc_release(&frame);
	return code;
}

static void test_request(void **state _unused_)
{
	struct rpc_frame frame;

	parse("{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"a.b\",\"params\":{\"x\":1}}\r", &frame);
	assert_int_equal(frame.n_items, 1);
	assert_false(frame.batch);
	assert_int_equal(frame.items[0].fault, 0);
	assert_string_equal(frame.items[0].method, "a.b");
	assert_int_equal(json_integer_value(frame.items[0].id), 7);
	assert_int_equal(json_integer_value(json_object_get(frame.items[0].params, "x")), 1);
	rpc_release(&frame);
}

static void test_notification_has_no_id(void **state _unused_)
{
	struct rpc_frame frame;

	parse("{\"jsonrpc\":\"2.0\",\"method\":\"m\"}", &frame);
	assert_int_equal(frame.items[0].fault, 0);
	assert_null(frame.items[0].id);
	assert_null(frame.items[0].params);
	rpc_release(&frame);
}

static void test_blank_line_is_nothing(void **state _unused_)
{
	struct rpc_frame frame;

	parse(" \t\r", &frame);
	assert_int_equal(frame.n_items, 0);
	rpc_release(&frame);
	parse("", &frame);
	assert_int_equal(frame.n_items, 0);
	rpc_release(&frame);
	rpc_parse("\0", 1, &frame);
	assert_int_equal(frame.items[0].fault, RPC_PARSE_ERROR);
	rpc_release(&frame);
}

/* clang-format off */
#define LINE(text) { text, sizeof(text) - 1 }

static void test_parse_errors(void **state _unused_)
{
	static const struct {
		const char *text;
		size_t n;
	} lines[] = {
		LINE("{"), LINE("nonsense"), LINE("{\"a\":1,}"), LINE("{} {}"), LINE("[1,2"), LINE("\"open"),
		LINE("{\"jsonrpc\":\"2.0\",\"jsonrpc\":\"2.0\",\"method\":\"m\"}"),	/* duplicate */
		LINE("{\"a\":{\"b\":1,\"b\":1}}"),					/* duplicate, deeper */
		LINE("{\"a\":\"\\u0000\"}"), LINE("{\"a\\u0000b\":1}"), LINE("{\"a\":\"\0\"}"), LINE("{}\0"),
		LINE("{\"a\":\"\xc0\xaf\"}"), LINE("{\"a\":\"\xed\xa0\x80\"}"), LINE("{\"a\":\"\xff\"}"),
		LINE("{\"a\":\"\\ud800\"}"),					/* half a surrogate pair */
		LINE("{\"a\":99999999999999999999}"), LINE("{\"a\":1e999}"), LINE("{\"a\":01}"), LINE("{\"a\":NaN}"),
		LINE("{\"a\":\"\t\"}"), LINE("\xef\xbb\xbf{}"),
	};
	/* clang-format on */

	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		if (code_of(lines[i].text, lines[i].n) != RPC_PARSE_ERROR)
			print_error("line %zu: %s\n", i, lines[i].text);
		assert_int_equal(code_of(lines[i].text, lines[i].n), RPC_PARSE_ERROR);
	}
}

static void test_invalid_requests(void **state _unused_)
{
	/* clang-format off */
	static const char *const lines[] = {
		"1", "\"text\"", "null", "true", "[]", "{}", "[1]", "[[]]",
		"{\"id\":1,\"method\":\"m\"}",
		"{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"m\"}",
		"{\"jsonrpc\":2.0,\"id\":1,\"method\":\"m\"}",
		"{\"jsonrpc\":\"2.0\",\"id\":1}",
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":5}",
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"m\",\"params\":7}",
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"m\",\"params\":null}",
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"m\",\"parms\":{}}",
		"{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"m\"}",
		"{\"jsonrpc\":\"2.0\",\"id\":1.0,\"method\":\"m\"}",
		"{\"jsonrpc\":\"2.0\",\"id\":1.5,\"method\":\"m\"}",
		"{\"jsonrpc\":\"2.0\",\"id\":true,\"method\":\"m\"}",
		"{\"jsonrpc\":\"2.0\",\"id\":[1],\"method\":\"m\"}",
		"{\"jsonrpc\":\"2.0\",\"id\":{},\"method\":\"m\"}",
	};
	/* clang-format on */

	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		if (code_of(lines[i], strlen(lines[i])) != RPC_INVALID_REQUEST)
			print_error("line %zu: %s\n", i, lines[i]);
		assert_int_equal(code_of(lines[i], strlen(lines[i])), RPC_INVALID_REQUEST);
	}
}

static void test_fault_carries_the_id_that_could_be_told(void **state _unused_)
{
	struct rpc_frame frame;

	parse("{\"jsonrpc\":\"2.0\",\"id\":\"x\",\"method\":5}", &frame);
	assert_int_equal(frame.items[0].fault, RPC_INVALID_REQUEST);
	assert_string_equal(json_string_value(frame.items[0].id), "x");
	rpc_release(&frame);
	parse("{\"jsonrpc\":\"2.0\",\"id\":1.5,\"method\":\"m\"}", &frame);
	assert_null(frame.items[0].id);
	rpc_release(&frame);
}

static void test_id_length(void **state _unused_)
{
	char line[RPC_MAX_ID + 64], id[RPC_MAX_ID + 2];

	memset(id, 'i', sizeof(id));
	for (int n = RPC_MAX_ID; n <= RPC_MAX_ID + 1; n++) {
		snprintf(line, sizeof(line), "{\"jsonrpc\":\"2.0\",\"id\":\"%.*s\",\"method\":\"m\"}", n, id);
		assert_int_equal(code_of(line, strlen(line)), n > RPC_MAX_ID ? RPC_INVALID_REQUEST : 0);
	}
}

static void test_largest_integers(void **state _unused_)
{
	struct rpc_frame frame;

	parse("{\"jsonrpc\":\"2.0\",\"id\":9223372036854775807,\"method\":\"m\"}", &frame);
	assert_int_equal(frame.items[0].fault, 0);
	assert_true(json_integer_value(frame.items[0].id) == INT64_MAX);
	rpc_release(&frame);
	assert_int_equal(code_of("{\"id\":9223372036854775808}", 26), RPC_PARSE_ERROR);
}

/* N requests in an array. */
static char *batch_of(size_t n)
{
	static const char one[] = "{\"jsonrpc\":\"2.0\",\"method\":\"m\"},";
	char *text = malloc(n * sizeof(one) + 3), *p = text;

	*p++ = '[';
	for (size_t i = 0; i < n; i++, p += sizeof(one) - 1)
		memcpy(p, one, sizeof(one) - 1);
	p[-1] = ']';
	*p = '\0';
	return text;
}

static void test_batch(void **state _unused_)
{
	struct rpc_frame frame;
	_free_ char *full = batch_of(RPC_MAX_BATCH), *over = batch_of(RPC_MAX_BATCH + 1);

	parse(full, &frame);
	assert_true(frame.batch);
	assert_int_equal(frame.n_items, RPC_MAX_BATCH);
	for (size_t i = 0; i < frame.n_items; i++)
		assert_int_equal(frame.items[i].fault, 0);
	rpc_release(&frame);
	parse(over, &frame);
	assert_false(frame.batch);
	assert_int_equal(frame.n_items, 1);
	assert_int_equal(frame.items[0].fault, RPC_INVALID_REQUEST);
	rpc_release(&frame);
}

/* From the specification's examples: each element that is no request gets its own answer. */
static void test_batch_of_mixed(void **state _unused_)
{
	struct rpc_frame frame;

	parse("[1,{\"foo\":\"boo\"},{\"jsonrpc\":\"2.0\",\"method\":\"m\",\"id\":\"1\"}]", &frame);
	assert_true(frame.batch);
	assert_int_equal(frame.n_items, 3);
	assert_int_equal(frame.items[0].fault, RPC_INVALID_REQUEST);
	assert_int_equal(frame.items[1].fault, RPC_INVALID_REQUEST);
	assert_int_equal(frame.items[2].fault, 0);
	rpc_release(&frame);
}

static void test_nesting(void **state _unused_)
{
	char line[256];
	size_t n;

	for (int depth = RPC_MAX_DEPTH; depth <= RPC_MAX_DEPTH + 1; depth++) {
		memset(line, '[', (size_t)depth);
		memset(line + depth, ']', (size_t)depth);
		n = (size_t)depth * 2;
		assert_int_equal(code_of(line, n), depth > RPC_MAX_DEPTH ? RPC_PARSE_ERROR : RPC_INVALID_REQUEST);
	}
	/* Brackets in strings are text, and a quote may be escaped. */
	memset(line, '[', sizeof(line));
	memcpy(line, "{\"\\\"", 4);
	memcpy(line + 100, "\":1}", 4);
	assert_int_equal(code_of(line, 104), RPC_INVALID_REQUEST);
}

static void test_number_of_values(void **state _unused_)
{
	size_t n = 2 * RPC_MAX_VALUES + 3;
	_free_ char *line = malloc(n);

	/* A bracket, and a comma before each number but the first: as many as there are numbers. */
	for (size_t i = 0; i < n; i++)
		line[i] = i % 2 ? '1' : ',';
	line[0] = '[';
	line[n - 3] = ']';
	assert_int_equal(code_of(line, n - 2), RPC_INVALID_REQUEST);
	line[n - 3] = ',';
	line[n - 1] = ']';
	assert_int_equal(code_of(line, n), RPC_PARSE_ERROR);
}

static void test_frame_length(void **state _unused_)
{
	_free_ char *line = malloc(RPC_MAX_FRAME + 1);

	memset(line, ' ', RPC_MAX_FRAME + 1);
	memcpy(line, "{}", 2);
	assert_int_equal(code_of(line, RPC_MAX_FRAME), RPC_INVALID_REQUEST);
	assert_int_equal(code_of(line, RPC_MAX_FRAME + 1), RPC_PARSE_ERROR);
}

#define EUROS "\u20ac\u20ac\u20ac\u20ac\u20ac\u20ac\u20ac"

static void test_unknown_member_is_named_even_when_cut(void **state _unused_)
{
	struct rpc_frame frame;
	/* The cut falls into the middle of a character. */
	static const char line[] = "{\"jsonrpc\":\"2.0\",\"method\":\"m\",\"xy" EUROS EUROS "\":1}";
	parse(line, &frame);
	assert_int_equal(frame.items[0].fault, RPC_INVALID_REQUEST);
	json_t *answer = rpc_error_answer(NULL, rpc_fault(frame.items[0].fault, frame.items[0].text));
	assert_non_null(answer);
	const char *message = json_string_value(json_object_get(json_object_get(answer, "error"), "message"));
	assert_non_null(strstr(message, "xy\u20ac"));
	assert_non_null(strstr(message, "\ufffd"));
	json_decref(answer);
	rpc_release(&frame);
}

static void check_dump(json_t *value, const char *expected)
{
	_free_ char *text = json_dumps(value, JSON_COMPACT);

	assert_non_null(text);
	assert_string_equal(text, expected);
	json_decref(value);
}

static void test_answers(void **state _unused_)
{
	json_t *id = json_string("a");

	check_dump(rpc_answer(id, json_true()), "{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"result\":true}");
	check_dump(rpc_error_answer(NULL, rpc_fault(RPC_PARSE_ERROR, "no\xff")),
		"{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32700,\"message\":\"no\ufffd\"}}");
	check_dump(
		rpc_notification("event", json_object()), "{\"jsonrpc\":\"2.0\",\"method\":\"event\",\"params\":{}}");
	assert_null(rpc_answer(id, NULL));
	assert_null(rpc_notification("event", NULL));
	json_decref(id);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_request),
		cmocka_unit_test(test_notification_has_no_id),
		cmocka_unit_test(test_blank_line_is_nothing),
		cmocka_unit_test(test_parse_errors),
		cmocka_unit_test(test_invalid_requests),
		cmocka_unit_test(test_fault_carries_the_id_that_could_be_told),
		cmocka_unit_test(test_id_length),
		cmocka_unit_test(test_largest_integers),
		cmocka_unit_test(test_batch),
		cmocka_unit_test(test_batch_of_mixed),
		cmocka_unit_test(test_nesting),
		cmocka_unit_test(test_number_of_values),
		cmocka_unit_test(test_frame_length),
		cmocka_unit_test(test_unknown_member_is_named_even_when_cut),
		cmocka_unit_test(test_answers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
