/* SPDX-License-Identifier: Apache-2.0 */
/* The verbs about the host, the templates and carrel itself. */
#include <limits.h>
#include <poll.h>
#include <sys/stat.h>

#include "cli/cli.h"
#include "cli/format.h"
#include "cli/members.h"
#include "cli/table.h"
#include "version.h"

enum {
	GLANCE_MS = 500, /* for what is nice to have from a carrel that runs */
	RETRY_MS = 20,
	KIND_COLUMNS = 17, /* "session.unhealthy" */
};

/* Prints RESULT, which is released. */
static void print_result(const struct cli *cli, json_t *result)
{
	if (cli->json)
		print_json(cli, result);
	else
		print_members(cli, result);
	json_decref(result);
}

/* Nothing tells when somebody begins to listen at a path that is not there yet: it is tried again and again. */
enum exit_code run_health(struct cli *cli)
{
	json_t *wait = json_object_get(cli->options, "wait"), *result = NULL;
	int64_t deadline = monotonic_ms() + (int64_t)(json_number_value(wait) * 1000);
	_failure_ struct failure why = { 0 };

	while (cli_ask(cli, CLIENT_PROMPT_MS, &result, &why) < 0) {
		if (why.code != EXIT_UNREACHABLE || monotonic_ms() >= deadline)
			return cli_failed(cli, &why);
		poll(NULL, 0, RETRY_MS);
	}
	print_result(cli, result);
	return EXIT_OK;
}

enum exit_code run_info(struct cli *cli)
{
	_failure_ struct failure why = { 0 };
	json_t *result = NULL;

	if (cli_ask(cli, CLIENT_PROMPT_MS, &result, &why) < 0)
		return cli_failed(cli, &why);
	print_result(cli, result);
	return EXIT_OK;
}

enum exit_code run_metrics(struct cli *cli)
{
	_failure_ struct failure why = { 0 };
	json_t *result = NULL;

	if (cli_ask(cli, CLIENT_PROMPT_MS, &result, &why) < 0)
		return cli_failed(cli, &why);
	const char *text = text_of(result, "text");
	if (cli->json)
		print_json(cli, result);
	else
		fputs(text ? text : "", stdout);
	json_decref(result);
	return EXIT_OK;
}

enum exit_code run_drain(struct cli *cli)
{
	bool on = streq(cli->words[0], "on");

	if (!on && !streq(cli->words[0], "off"))
		return cli_fail(cli, EXIT_USAGE, 0, "wants on or off");
	json_object_set_new(cli->params, "on", json_boolean(on));
	return run_info(cli);
}

/* ---- templates ---- */

static void add_template(struct table *table, const json_t *template)
{
	const json_t *limits = json_object_get(template, "limits");
	char text[64];

	table_add(table, text_of(template, "name"));
	table_add(table, text_of(template, "image"));
	for (const char *const *name = (const char *const[]){ "memory_bytes", "cpus", NULL }; *name; name++) {
		const json_t *value = json_object_get(limits, *name);
		table_add(table, json_is_number(value) ? format_number(text, sizeof(text), *name, value) : NULL);
	}
	table_add(table, text_of(template, "description"));
}

/* Asks the verb's method and shows what its result has in MEMBER, an array: a row of COLUMNS for each, which ADD fills. */
static enum exit_code list_all(struct cli *cli, const struct column *columns, const char *member,
	void (*add)(struct table *table, const json_t *item))
{
	_failure_ struct failure why = { 0 };
	_table_ struct table table;
	json_t *result = NULL, *item;
	size_t i;

	table_init(&table, &cli->out, columns);
	if (cli_ask(cli, CLIENT_PROMPT_MS, &result, &why) < 0)
		return cli_failed(cli, &why);
	if (cli->json) {
		print_json(cli, json_object_get(result, member));
	} else {
		json_array_foreach (json_object_get(result, member), i, item)
			add(&table, item);
		table_print(&table, stdout);
	}
	json_decref(result);
	return EXIT_OK;
}

enum exit_code run_template_list(struct cli *cli)
{
	static const struct column columns[] = { { "TEMPLATE" }, { "IMAGE" }, { "MEMORY", .right = true },
		{ "CPUS", .right = true }, { "DESCRIPTION", .least = 16 }, { 0 } };

	return list_all(cli, columns, "templates", add_template);
}

enum exit_code run_template_show(struct cli *cli)
{
	json_object_set_new(cli->params, "template", json_string(cli->words[0]));
	return run_info(cli);
}

/* ---- pools ---- */

static void add_pool(struct table *table, const json_t *pool)
{
	static const char *const counts[] = { "size", "ready", "starting", "claims", "misses" };
	char text[32];

	table_add(table, text_of(pool, "template"));
	for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
		const json_int_t n = json_integer_value(json_object_get(pool, counts[i]));
		snprintf(text, sizeof(text), "%" JSON_INTEGER_FORMAT, n);
		table_add(table, text);
	}
}

enum exit_code run_pool_list(struct cli *cli)
{
	static const struct column columns[] = { { "TEMPLATE" }, { "WANTED", .right = true },
		{ "READY", .right = true }, { "STARTING", .right = true }, { "CLAIMS", .right = true },
		{ "MISSES", .right = true }, { 0 } };

	if (cli->n_words > 0)
		json_object_set_new(cli->params, "template", json_string(cli->words[0]));
	return list_all(cli, columns, "pools", add_pool);
}

enum exit_code run_pool_resize(struct cli *cli)
{
	char *end;
	const unsigned long size = strtoul(cli->words[1], &end, 10);

	if (cli->words[1][0] < '0' || cli->words[1][0] > '9' || *end || size > INT32_MAX)
		return cli_fail(cli, EXIT_USAGE, 0, "%s: wants a number of sessions", cli->words[1]);
	json_object_set_new(cli->params, "template", json_string(cli->words[0]));
	json_object_set_new(cli->params, "size", json_integer((json_int_t)size));
	return run_info(cli);
}

/* ---- check ---- */

/* A remedy, and the features that all have it, once: where the first of them stands. */
static void print_remedy(const struct cli *cli, const json_t *items, size_t first)
{
	const char *remedy = text_of(json_array_get(items, first), "remedy"), *separator = "\n";
	json_t *item;
	size_t i;

	if (!remedy || !*remedy)
		return;
	json_array_foreach (items, i, item) {
		const char *other = text_of(item, "remedy");
		if (!other || !streq(other, remedy))
			continue;
		if (i < first)
			return;
		fputs(separator, stdout);
		print_text(cli, STYLE_BOLD, text_of(item, "name"));
		separator = ", ";
	}
	printf(":\n  ");
	print_text(cli, STYLE_PLAIN, remedy);
	putchar('\n');
}

/* The remedies stand below the table: they are sentences. */
static void print_check(const struct cli *cli, const json_t *items)
{
	static const struct column columns[] = { { "FEATURE" }, { "STATE", .state = true }, { "DETAIL", .least = 20 },
		{ 0 } };
	_table_ struct table table;
	json_t *item;
	size_t i;

	table_init(&table, &cli->out, columns);
	json_array_foreach (items, i, item) {
		table_add(&table, text_of(item, "name"));
		table_add(&table, text_of(item, "state"));
		table_add(&table, text_of(item, "detail"));
	}
	table_print(&table, stdout);
	for (i = 0; i < json_array_size(items); i++)
		print_remedy(cli, items, i);
}

/*
 * Becomes `carreld --check`: from beside this program, as in a build tree, or from where packages put it. Returns only
 * when there is none.
 */
static void exec_check(const struct cli *cli)
{
	static const char *const places[] = { "carreld", "../sbin/carreld", "../libexec/carrel/carreld",
		"../lib/carrel/carreld", "../supervisor/carreld" };
	const char *config = option_text(cli, "config"), *argv[6] = { "carreld", "--check" };
	char self[PATH_MAX], path[PATH_MAX + 64];
	ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
	size_t n = 2;

	if (length <= 0)
		return;
	self[length] = '\0';
	*strrchr(self, '/') = '\0';
	if (cli->json)
		argv[n++] = "--json";
	if (config) {
		argv[n++] = "--config";
		argv[n++] = config;
	}
	argv[n] = NULL;
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		snprintf(path, sizeof(path), "%s/%s", self, places[i]);
		execve(path, (char *const *)argv, environ);
	}
}

enum exit_code run_check(struct cli *cli)
{
	_failure_ struct failure why = { 0 };
	json_t *result = NULL, *item;
	bool missing = false;
	size_t i;

	int r = cli_ask(cli, CLIENT_PROMPT_MS, &result, &why);
	/* Nobody serves: then the host is looked at from here. A socket that may not be used is another matter. */
	if (r == -ENOENT || r == -ECONNREFUSED)
		exec_check(cli);
	if (r < 0)
		return cli_failed(cli, &why);
	json_array_foreach (json_object_get(result, "items"), i, item) {
		const char *state = text_of(item, "state");
		missing = missing || (state && streq(state, "missing"));
	}
	if (cli->json)
		print_json(cli, result);
	else
		print_check(cli, json_object_get(result, "items"));
	json_decref(result);
	return missing ? EXIT_REFUSED : EXIT_OK;
}

/* ---- events ---- */

/* Number, time, kind and session, then whatever else the event says, as NAME=VALUE. */
static void print_event(const struct cli *cli, const json_t *event)
{
	static const char *const shown[] = { "seq", "at", "kind", "session", "boot_id" };
	json_t *seq = json_object_get(event, "seq"), *value;
	const char *name;

	if (cli->json) {
		json_dumpf(event, stdout, JSON_COMPACT);
		putchar('\n');
		fflush(stdout);
		return;
	}
	printf(seq ? "%6lld  " : "     -  ", (long long)json_integer_value(seq));
	print_text(cli, STYLE_DIM, text_of(event, "at"));
	printf("  ");
	print_padded(cli, STYLE_BOLD, text_of(event, "kind"), KIND_COLUMNS);
	printf("  ");
	print_text(cli, STYLE_PLAIN, text_of(event, "session"));
	json_object_foreach ((json_t *)event, name, value) {
		bool known = json_is_null(value) || (json_is_string(value) && json_string_length(value) == 0);
		for (size_t i = 0; i < ARRAY_SIZE(shown); i++)
			known = known || streq(name, shown[i]);
		_free_ char *text = known ? NULL : json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
		if (!text)
			continue;
		printf("  ");
		print_text(cli, STYLE_PLAIN, name);
		putchar('=');
		print_text(cli, STYLE_PLAIN, text);
	}
	putchar('\n');
	fflush(stdout);
}

enum exit_code run_events(struct cli *cli)
{
	_client_ struct client client = { .fd = -1 };
	_failure_ struct failure why = { 0 };
	json_t *result = NULL, *event = NULL;

	if (client_open(&client, cli->socket_path, &why) < 0)
		return cli_failed(cli, &why);
	int r = client_call(&client, "events.subscribe", json_incref(cli->params), CLIENT_PROMPT_MS, &result, &why);
	const json_t *gone = json_object_get(result, "gone");
	if (gone && !json_is_null(gone)) {
		_free_ char *range = json_dumps(gone, JSON_COMPACT | JSON_ENCODE_ANY);
		fprintf(stderr, "carrel events: these are no longer kept: %s\n", range ? range : "");
	}
	json_decref(result);
	while (r == 0) {
		r = client_next(&client, CLIENT_FOREVER, &event, &why);
		if (r == 0)
			print_event(cli, event);
		json_decref(event);
		event = NULL;
	}
	return cli_failed(cli, &why);
}

/* ---- any method ---- */

/* The parameters: the operand, or with "-" what stands on standard input. NULL with a message printed. */
static json_t *read_params(const struct cli *cli)
{
	json_error_t error;
	json_t *params;

	if (cli->n_words < 2)
		return json_object();
	if (streq(cli->words[1], "-"))
		params = json_loadf(stdin, JSON_REJECT_DUPLICATES, &error);
	else
		params = json_loads(cli->words[1], JSON_REJECT_DUPLICATES, &error);
	if (!params)
		cli_fail(cli, EXIT_USAGE, 0, "the parameters are no JSON object or array: line %d, column %d: %s",
			error.line, error.column, error.text);
	return params;
}

enum exit_code run_rpc(struct cli *cli)
{
	_failure_ struct failure why = { 0 };
	json_t *params = read_params(cli), *result = NULL;

	if (!params)
		return EXIT_USAGE;
	if (client_ask(cli->socket_path, cli->words[0], params, CLIENT_FOREVER, &result, &why) < 0)
		return cli_failed(cli, &why);
	print_json(cli, result);
	json_decref(result);
	return EXIT_OK;
}

enum exit_code run_version(struct cli *cli)
{
	_failure_ struct failure why = { 0 };
	json_t *hello = NULL;

	client_ask(cli->socket_path, "hello", NULL, GLANCE_MS, &hello, &why);
	const char *running = text_of(hello, "version");
	if (cli->json) {
		json_t *versions = json_pack("{ss, ss?}", "client", CARREL_VERSION, "running", running);
		print_json(cli, versions);
		json_decref(versions);
	} else {
		printf("carrel %s\n", CARREL_VERSION);
		if (running && !streq(running, CARREL_VERSION))
			printf("the carrel that runs: %s\n", running);
	}
	json_decref(hello);
	return EXIT_OK;
}

enum exit_code run_help(struct cli *cli)
{
	_failure_ struct failure why = { 0 };
	const struct verb *verb = verb_find(cli->words, cli->n_words, NULL);
	json_t *document = NULL;
	bool found = true;

	if (cli->n_words == 0) {
		help_overview(cli, stdout);
	} else if (verb) {
		help_verb(cli, verb, stdout);
	} else if (!strchr(cli->words[0], '.') && help_group(cli->words[0], stdout)) {
		;
	} else {
		/* The carrel that runs knows its own methods best. */
		if (client_ask(cli->socket_path, "rpc.discover", NULL, GLANCE_MS, &document, &why) < 0)
			document = methods_document();
		found = help_method(document, cli->words[0], &cli->out, stdout);
		json_decref(document);
	}
	if (!found)
		return cli_fail(cli, EXIT_USAGE, 0, "there is no command and no method \"%s\"", cli->words[0]);
	return EXIT_OK;
}
