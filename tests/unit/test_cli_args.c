/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/unit.h"

#include <stdlib.h>

#include "cli/cli.h"

enum { MAX_ARGV = 16 };

/* A parsed command line and what it points into. */
struct parsed {
	struct cli cli;
	struct failure why;
	char *argv[MAX_ARGV + 1];
	int r;
};

static void parsed_free(struct parsed *parsed)
{
	args_free(&parsed->cli);
	failure_free(&parsed->why);
}

#define _parsed_ _cleanup_(parsed_free)

/* Parses WORDS, which end with NULL. */
static void parse(struct parsed *parsed, const char *const words[])
{
	int argc = 0;

	*parsed = (struct parsed){ 0 };
	for (; words[argc]; argc++)
		parsed->argv[argc] = (char *)(uintptr_t)words[argc];
	parsed->r = args_parse(&parsed->cli, argc, parsed->argv, &parsed->why);
}

#define PARSE(parsed, ...) parse(parsed, (const char *const[]){ __VA_ARGS__, NULL })

static const char *message(const struct parsed *parsed)
{
	return json_string_value(json_object_get(parsed->why.error, "message"));
}

static void assert_json(json_t *value, const char *expected)
{
	_free_ char *text = json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);

	assert_string_equal(text, expected);
}

#define ASSERT_REFUSED(text, ...)                                 \
	do {                                                      \
		_parsed_ struct parsed refused;                   \
		PARSE(&refused, __VA_ARGS__);                     \
		assert_true(refused.r < 0);                       \
		assert_int_equal(refused.why.code, EXIT_USAGE);   \
		assert_non_null(strstr(message(&refused), text)); \
	} while (0)

static void test_create(void **state _unused_)
{
	_parsed_ struct parsed p;

	PARSE(&p, "create", "browser", "--id", "one", "--owner=a@b", "-e", "A=1", "--env", "B=x=y", "--limit",
		"cpus=1.5", "-l", "memory_bytes=512M", "--ttl", "30m", "--idle", "never");
	assert_int_equal(p.r, 0);
	assert_string_equal(p.cli.verb->name, "create");
	assert_int_equal(p.cli.n_words, 1);
	assert_string_equal(p.cli.words[0], "browser");
	assert_json(p.cli.params,
		"{\"env\":{\"A\":\"1\",\"B\":\"x=y\"},\"id\":\"one\",\"idle_timeout_seconds\":null,"
		"\"limits\":{\"cpus\":1.5,\"memory_bytes\":536870912},\"owner\":\"a@b\",\"ttl_seconds\":1800}");
	assert_json(p.cli.options, "{}");
}

static void test_command_is_left_alone(void **state _unused_)
{
	_parsed_ struct parsed p, short_forms, other;

	PARSE(&p, "create", "minimal", "-q", "--", "sh", "-c", "--json", "--");
	assert_int_equal(p.r, 0);
	assert_true(option_set(&p.cli, "quiet"));
	assert_false(p.cli.json);
	assert_string_equal(p.cli.command[0], "sh");
	assert_string_equal(p.cli.command[2], "--json");
	assert_string_equal(p.cli.command[3], "--");
	assert_null(p.cli.command[4]);
	PARSE(&short_forms, "create", "minimal", "-qtj");
	assert_true(option_set(&short_forms.cli, "quiet") && option_set(&short_forms.cli, "timeline") &&
		    short_forms.cli.json);
	PARSE(&other, "exec", "a", "-n", "ls", "-l", "--json");
	assert_true(option_set(&other.cli, "no-stdin"));
	assert_int_equal(other.cli.n_words, 1);
	assert_false(other.cli.json);
	assert_string_equal(other.cli.command[0], "ls");
	assert_string_equal(other.cli.command[2], "--json");
	assert_null(other.cli.command[3]);
}

static void test_secret_from_environment(void **state _unused_)
{
	_parsed_ struct parsed p, q;

	setenv("CLI_TEST_SECRET", "hidden", 1);
	PARSE(&p, "create", "minimal", "--secret", "CLI_TEST_SECRET", "--secret", "OTHER=given");
	assert_int_equal(p.r, 0);
	assert_json(json_object_get(p.cli.params, "secrets"), "{\"CLI_TEST_SECRET\":\"hidden\",\"OTHER\":\"given\"}");
	unsetenv("CLI_TEST_SECRET");
	PARSE(&q, "create", "minimal", "--secret", "CLI_TEST_SECRET");
	assert_true(q.r < 0);
	assert_non_null(strstr(message(&q), "no such variable"));
}

static void test_global_options_before_and_behind(void **state _unused_)
{
	_parsed_ struct parsed p, q;

	PARSE(&p, "--socket", "/x/api.sock", "-j", "image", "list", "--state-dir=/y");
	assert_int_equal(p.r, 0);
	assert_string_equal(p.cli.verb->name, "image list");
	assert_string_equal(p.cli.socket_path, "/x/api.sock");
	assert_true(p.cli.json);
	assert_string_equal(option_text(&p.cli, "state-dir"), "/y");
	PARSE(&q, "list", "--json", "--json");
	assert_int_equal(q.r, 0);
	assert_true(q.cli.json);
	assert_json(q.cli.params, "{}");
}

static void test_repeated(void **state _unused_)
{
	_parsed_ struct parsed p;

	PARSE(&p, "events", "--kind", "session.ended", "--kind", "session.oom", "--since", "7");
	assert_int_equal(p.r, 0);
	assert_json(p.cli.params, "{\"kinds\":[\"session.ended\",\"session.oom\"],\"since\":7}");
}

static void test_help_and_version(void **state _unused_)
{
	_parsed_ struct parsed none, alone, verb, group, version;

	parse(&none, (const char *const[]){ NULL });
	assert_int_equal(none.r, 0);
	assert_string_equal(none.cli.verb->name, "help");
	PARSE(&alone, "--help");
	assert_int_equal(alone.r, 0);
	assert_true(option_set(&alone.cli, "help"));
	assert_null(alone.cli.verb);
	/* Help is given even where the operands are not all there. */
	PARSE(&verb, "create", "--help");
	assert_int_equal(verb.r, 0);
	assert_string_equal(verb.cli.verb->name, "create");
	PARSE(&group, "image", "--help");
	assert_int_equal(group.r, 0);
	assert_null(group.cli.verb);
	assert_string_equal(group.cli.words[0], "image");
	PARSE(&version, "--version");
	assert_int_equal(version.r, 0);
	assert_string_equal(version.cli.verb->name, "version");
}

static void test_refused(void **state _unused_)
{
	ASSERT_REFUSED("no command \"launch\"", "launch");
	ASSERT_REFUSED("no command \"launch\"", "launch", "--fast");
	ASSERT_REFUSED("image what?", "image");
	ASSERT_REFUSED("image what?", "image", "make");
	ASSERT_REFUSED("no option --fast", "create", "minimal", "--fast=1");
	ASSERT_REFUSED("no option -x", "create", "minimal", "-x");
	ASSERT_REFUSED("no option -tx", "create", "minimal", "-tx");
	ASSERT_REFUSED("no option --fast before", "--fast", "create");
	ASSERT_REFUSED("wants TEMPLATE", "create");
	ASSERT_REFUSED("one operand too many", "wait", "a", "b");
	ASSERT_REFUSED("no option -qe", "create", "-qe", "A=b", "x");
	ASSERT_REFUSED("--id wants ID", "create", "minimal", "--id");
	ASSERT_REFUSED("--id is given twice", "create", "minimal", "--id", "a", "--id", "b");
	ASSERT_REFUSED("--quiet takes no value", "create", "minimal", "--quiet=yes");
	ASSERT_REFUSED("--env wants NAME=VALUE", "create", "minimal", "--env", "A");
	ASSERT_REFUSED("--env wants NAME=VALUE", "create", "minimal", "--env", "=1");
	ASSERT_REFUSED("is no number", "create", "minimal", "--limit", "pids=many");
	ASSERT_REFUSED("wants seconds", "create", "minimal", "--ttl", "soon");
	ASSERT_REFUSED("wants seconds", "create", "minimal", "--ttl", "-1");
	ASSERT_REFUSED("wants a number from 0", "events", "--since", "0x10");
	ASSERT_REFUSED("no command behind --", "create", "minimal", "--");
	ASSERT_REFUSED("takes no command", "list", "--", "sh");
	ASSERT_REFUSED("not valid UTF-8", "create", "minimal", "--owner", "\xff");
	ASSERT_REFUSED("not valid UTF-8", "create", "minimal", "--env", "A=\xff");
	ASSERT_REFUSED("not valid UTF-8", "show", "\xff");
	ASSERT_REFUSED("not valid UTF-8", "create", "minimal", "--", "sh", "\xff");
}

static void test_too_many_operands(void **state _unused_)
{
	static char stop[] = "stop", word[] = "x";
	char *argv[MAX_WORDS + 2] = { stop };
	_cleanup_(args_free) struct cli cli = { 0 };
	_failure_ struct failure why = { 0 };

	for (size_t i = 1; i < ARRAY_SIZE(argv); i++)
		argv[i] = word;
	assert_true(args_parse(&cli, (int)ARRAY_SIZE(argv), argv, &why) < 0);
	assert_int_equal(why.code, EXIT_USAGE);
}

static const json_t *find_named(const json_t *array, const char *name)
{
	const json_t *entry;
	size_t i;

	json_array_foreach (array, i, entry)
		if (streq(json_string_value(json_object_get(entry, "name")), name))
			return entry;
	return NULL;
}

/* Every method and parameter that a verb speaks of is in control's table, and every option is explained. */
static void test_verbs_fit_the_methods(void **state _unused_)
{
	json_t *document = methods_document();
	const json_t *methods = json_object_get(document, "methods");

	assert_true(json_array_size(methods) > 0);
	for (const struct verb *verb = verb_table; verb->name; verb++) {
		const json_t *method = verb->method ? find_named(methods, verb->method) : NULL;
		if (verb->method && !method)
			fail_msg("%s: there is no method %s", verb->name, verb->method);
		for (const struct option *option = verb->options; option && option->name; option++) {
			if (option->param && !find_named(json_object_get(method, "params"), option->param))
				fail_msg("%s --%s: %s has no parameter %s", verb->name, option->name, verb->method,
					option->param);
			assert_true(option->param || option->help);
			assert_true((option->kind == OPT_SWITCH) == !option->value);
		}
	}
	json_decref(document);
}

static void test_verbs_are_found_by_their_names(void **state _unused_)
{
	for (const struct verb *verb = verb_table; verb->name; verb++) {
		_free_ char *copy = strdup(verb->name);
		char *rest = copy, *words[2] = { strsep(&rest, " "), rest };
		size_t used;
		assert_ptr_equal(verb_find(words, rest ? 2 : 1, &used), verb);
		assert_int_equal(used, rest ? 2 : 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_create),
		cmocka_unit_test(test_command_is_left_alone),
		cmocka_unit_test(test_secret_from_environment),
		cmocka_unit_test(test_global_options_before_and_behind),
		cmocka_unit_test(test_repeated),
		cmocka_unit_test(test_help_and_version),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_too_many_operands),
		cmocka_unit_test(test_verbs_fit_the_methods),
		cmocka_unit_test(test_verbs_are_found_by_their_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
