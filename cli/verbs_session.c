/* SPDX-License-Identifier: Apache-2.0 */
/* The verbs about sessions. */
#include "cli/cli.h"
#include "cli/format.h"
#include "cli/members.h"
#include "cli/table.h"

/* One line, and one for each endpoint. */
static void print_session(const struct cli *cli, const json_t *session)
{
	const char *state = text_of(session, "state"), *name;
	json_t *endpoint;

	print_text(cli, STYLE_BOLD, text_of(session, "id"));
	printf("  ");
	print_text(cli, term_state_style(state ? state : ""), state);
	printf("  ");
	print_text(cli, STYLE_PLAIN, text_of(session, "address"));
	putchar('\n');
	json_object_foreach (json_object_get(session, "endpoints"), name, endpoint) {
		_free_ char *safe = term_text(&cli->out, name);
		printf("  %-8s ", safe ? safe : "");
		print_text(cli, STYLE_PLAIN, text_of(endpoint, text_of(endpoint, "url") ? "url" : "unix"));
		putchar('\n');
	}
}

/* The id alone, on a line of its own. */
static void print_id(const struct cli *cli, const json_t *session)
{
	print_text(cli, STYLE_PLAIN, text_of(session, "id"));
	putchar('\n');
}

enum exit_code run_create(struct cli *cli)
{
	_failure_ struct failure why = { 0 };
	json_t *session = NULL;

	json_object_set_new(cli->params, "template", json_string(cli->words[0]));
	/* People and scripts go on to use what they made. */
	if (!json_object_get(cli->params, "wait"))
		json_object_set_new(cli->params, "wait", json_string("ready"));
	if (cli->command) {
		json_t *command = json_array();
		for (char **word = cli->command; *word; word++)
			json_array_append_new(command, json_string(*word));
		json_object_set_new(cli->params, "command", command);
	}
	if (cli_ask(cli, CLIENT_FOREVER, &session, &why) < 0)
		return cli_failed(cli, &why);
	if (option_set(cli, "quiet"))
		print_id(cli, session);
	else if (cli->json)
		print_json(cli, session);
	else
		print_session(cli, session);
	if (option_set(cli, "timeline") && !cli->json)
		print_timeline(cli, json_object_get(session, "timeline"));
	json_decref(session);
	return EXIT_OK;
}

enum exit_code run_ensure(struct cli *cli)
{
	if (!json_object_get(cli->params, "isolation"))
		json_object_set_new(cli->params, "isolation", json_string("per-owner"));
	return run_create(cli);
}

json_t *fetch_sessions(struct client *client, json_t *params, struct failure *why)
{
	return client_fetch(client, "session.list", "sessions", params, CLIENT_PROMPT_MS, why);
}

/* When and why it ends: "in 25 min", "idle in 5 min", "never"; of one that has ended, why it did. */
static void add_end(struct table *table, const json_t *session)
{
	const json_t *end = json_object_get(session, "end");
	int64_t expires = INT64_MAX, idle = INT64_MAX;
	char text[FORMAT_SIZE];

	seconds_until(text_of(session, "expires_at"), &expires);
	seconds_until(text_of(session, "idle_deadline"), &idle);
	if (json_is_object(end))
		table_add(table, text_of(end, "reason"));
	else if (expires == INT64_MAX && idle == INT64_MAX)
		table_add(table, "never");
	else
		table_addf(table, "%sin %s", idle < expires ? "idle " : "",
			format_seconds(text, idle < expires ? idle : expires));
}

static void add_session(struct table *table, const json_t *session)
{
	char text[FORMAT_SIZE];
	int64_t age = 0;

	table_add(table, text_of(session, "id"));
	table_add(table, text_of(session, "template"));
	table_add(table, text_of(session, "state"));
	table_add(table, text_of(session, "owner"));
	table_add(table, seconds_until(text_of(session, "created_at"), &age) ? format_seconds(text, -age) : NULL);
	add_end(table, session);
	table_add(table, text_of(session, "address"));
}

enum exit_code run_list(struct cli *cli)
{
	static const struct column columns[] = { { "SESSION" }, { "TEMPLATE", .least = 8 },
		{ "STATE", .state = true }, { "OWNER", .least = 10 }, { "AGE", .right = true }, { "ENDS" },
		{ "ADDRESS" }, { 0 } };
	_client_ struct client client = { .fd = -1 };
	_failure_ struct failure why = { 0 };
	_table_ struct table table;
	json_t *sessions, *session;
	size_t i;

	table_init(&table, &cli->out, columns);
	if (client_open(&client, cli->socket_path, &why) < 0)
		return cli_failed(cli, &why);
	sessions = fetch_sessions(&client, json_incref(cli->params), &why);
	if (!sessions)
		return cli_failed(cli, &why);
	json_array_foreach (sessions, i, session) {
		if (option_set(cli, "quiet"))
			print_id(cli, session);
		else
			add_session(&table, session);
	}
	if (cli->json)
		print_json(cli, sessions);
	else if (!option_set(cli, "quiet"))
		table_print(&table, stdout);
	json_decref(sessions);
	return EXIT_OK;
}

/* The one session that is meant: by operand, or by --owner. */
static int name_session(struct cli *cli, struct failure *why)
{
	bool by_owner = json_object_get(cli->params, "owner");

	if (by_owner == (cli->n_words > 0))
		return failure_set(why, EXIT_USAGE, -EINVAL, "wants a session or --owner, and not both");
	if (!by_owner)
		json_object_set_new(cli->params, "session", json_string(cli->words[0]));
	return 0;
}

enum exit_code run_show(struct cli *cli)
{
	_failure_ struct failure why = { 0 };
	json_t *session = NULL;

	if (name_session(cli, &why) < 0 || cli_ask(cli, CLIENT_PROMPT_MS, &session, &why) < 0)
		return cli_failed(cli, &why);
	if (cli->json)
		print_json(cli, session);
	else
		print_members(cli, session);
	json_decref(session);
	return EXIT_OK;
}

enum exit_code run_wait(struct cli *cli)
{
	_failure_ struct failure why = { 0 };
	json_t *session = NULL;

	json_object_set_new(cli->params, "session", json_string(cli->words[0]));
	if (!json_object_get(cli->params, "for"))
		json_object_set_new(cli->params, "for", json_string("ready"));
	if (cli_ask(cli, CLIENT_FOREVER, &session, &why) < 0)
		return cli_failed(cli, &why);
	if (cli->json)
		print_json(cli, session);
	else
		print_session(cli, session);
	json_decref(session);
	return EXIT_OK;
}

/* What the verb's method did to one session: its state now, or that it is no more. */
static void print_result(const struct cli *cli, const char *word, const json_t *result)
{
	bool removed = streq(cli->verb->method, "session.remove");
	const char *id = text_of(result, "id"), *state = removed ? "removed" : text_of(result, "state");

	if (cli->json) {
		print_json(cli, result);
		return;
	}
	print_text(cli, STYLE_PLAIN, id ? id : word);
	printf("  ");
	print_text(cli, STYLE_PLAIN, state);
	putchar('\n');
}

enum { STOP_AT_ONCE = 32 }; /* half of what one connection may have in flight, so that none is refused */

/* Ends SESSIONS from FROM on, up to TO, all at the same time, and waits until they have ended. */
static int stop_some(
	struct cli *cli, struct client *client, const json_t *sessions, size_t from, size_t to, struct failure *why)
{
	for (size_t i = from; i < to; i++) {
		json_t *params = json_copy(cli->params);
		json_object_set(params, "session", json_object_get(json_array_get(sessions, i), "id"));
		if (client_send(client, "session.stop", params, NULL, why) < 0)
			return -1;
	}
	for (size_t i = from; i < to; i++) {
		const char *id = text_of(json_array_get(sessions, i), "id");
		json_t *result = NULL;
		if (client_call(client, "session.wait", json_pack("{ss, ss}", "session", id, "for", "ended"),
			    CLIENT_FOREVER, &result, why) == 0)
			print_result(cli, id, result);
		else if (why->code == EXIT_UNREACHABLE)
			return -1;
		else
			failure_free(why); /* forgotten meanwhile: it has ended, too */
		json_decref(result);
	}
	return 0;
}

enum exit_code run_stop(struct cli *cli)
{
	_client_ struct client client = { .fd = -1 };
	_failure_ struct failure why = { 0 };

	if (!option_set(cli, "all"))
		return run_each(cli);
	if (cli->n_words > 0 || json_object_get(cli->params, "owner"))
		return cli_fail(cli, EXIT_USAGE, 0, "wants --all, or sessions, or --owner: one of them");
	if (client_open(&client, cli->socket_path, &why) < 0)
		return cli_failed(cli, &why);
	json_t *sessions = fetch_sessions(&client, json_object(), &why);
	size_t i = 0;
	while (sessions && i < json_array_size(sessions))
		if (text_of(json_object_get(json_array_get(sessions, i), "end"), "reason"))
			json_array_remove(sessions, i);
		else
			i++;
	int r = sessions ? 0 : -1;
	for (size_t from = 0; r == 0 && from < i; from += STOP_AT_ONCE)
		r = stop_some(cli, &client, sessions, from, from + STOP_AT_ONCE < i ? from + STOP_AT_ONCE : i, &why);
	json_decref(sessions);
	return r < 0 ? cli_failed(cli, &why) : EXIT_OK;
}

enum exit_code run_each(struct cli *cli)
{
	_client_ struct client client = { .fd = -1 };
	_failure_ struct failure why = { 0 };
	bool by_owner = json_object_get(cli->params, "owner");
	enum exit_code worst = EXIT_OK;

	if (by_owner == (cli->n_words > 0))
		return cli_fail(cli, EXIT_USAGE, 0, "wants sessions%s",
			cli->verb->options ? " or --owner, and not both" : "");
	if (client_open(&client, cli->socket_path, &why) < 0)
		return cli_failed(cli, &why);
	for (size_t i = 0; i < cli->n_words || (i == 0 && by_owner); i++) {
		json_t *params = json_copy(cli->params), *result = NULL;
		if (!by_owner)
			json_object_set_new(params, "session", json_string(cli->words[i]));
		if (client_call(&client, cli->verb->method, params, CLIENT_FOREVER, &result, &why) < 0) {
			worst = cli_failed(cli, &why);
			if (worst == EXIT_UNREACHABLE)
				return worst;
			continue;
		}
		print_result(cli, by_owner ? text_of(result, "removed") : cli->words[i], result);
		json_decref(result);
	}
	return worst;
}

/* ---- logs ---- */

/* What the session wrote, as it is for programs, made safe for terminals: newlines stay, the rest is spelled out. */
static void print_output(const struct cli *cli, const char *text)
{
	_free_ char *copy = cli->out.tty ? strdup(text) : NULL;
	char *rest = copy;

	if (!copy)
		fputs(text, stdout);
	for (char *line; rest && (line = strsep(&rest, "\n"));) {
		_free_ char *safe = term_text(&cli->out, line);
		printf("%s%s", safe ? safe : "", rest ? "\n" : "");
	}
}

static void print_entry(const struct cli *cli, const json_t *entry)
{
	const char *text = text_of(entry, "text"), *at = text_of(entry, "at"), *stream = text_of(entry, "stream");
	enum style style = stream && streq(stream, "init") ? STYLE_WARN : STYLE_PLAIN;

	if (option_set(cli, "times"))
		printf("%s%s %-6s%s ", term_on(&cli->out, STYLE_DIM), at ? at : "", stream ? stream : "",
			term_off(&cli->out, STYLE_DIM));
	fputs(term_on(&cli->out, style), stdout);
	print_output(cli, text ? text : "");
	fputs(term_off(&cli->out, style), stdout);
	/* With times, and for carrel's own words, an entry is a line; the workload's output is what it is. */
	size_t n = text ? strlen(text) : 0;
	if ((option_set(cli, "times") || style == STYLE_WARN) && (n == 0 || text[n - 1] != '\n'))
		putchar('\n');
}

static void print_portion(const struct cli *cli, const json_t *portion)
{
	json_int_t skipped = json_integer_value(json_object_get(portion, "skipped_bytes"));
	json_t *entry;
	size_t i;

	if (cli->json) {
		print_json(cli, portion);
	} else {
		if (skipped > 0)
			fprintf(stderr, "carrel logs: %lld bytes are gone: only the newest are kept\n",
				(long long)skipped);
		json_array_foreach (json_object_get(portion, "entries"), i, entry)
			print_entry(cli, entry);
	}
	fflush(stdout);
}

/*
 * What comes behind *PORTION, which is released: the next notification for who follows a session that lives, else the
 * next answer. 1 when there is no more, 0, or a negative errno with WHY.
 */
static int next_portion(struct cli *cli, struct client *client, json_t **portion, struct failure *why)
{
	bool follow = json_is_true(json_object_get(cli->params, "follow"));
	bool bounded = json_object_get(cli->params, "max_bytes");
	bool ended = json_is_true(json_object_get(*portion, "ended"));
	bool more = json_is_true(json_object_get(*portion, "more"));

	json_object_set(cli->params, "since", json_object_get(*portion, "next"));
	json_decref(*portion);
	*portion = NULL;
	if (follow && !ended)
		return client_next(client, CLIENT_FOREVER, portion, why);
	if (more && !bounded)
		return client_call(client, "session.logs", json_incref(cli->params), CLIENT_PROMPT_MS, portion, why);
	return 1;
}

enum exit_code run_logs(struct cli *cli)
{
	_client_ struct client client = { .fd = -1 };
	_failure_ struct failure why = { 0 };
	json_t *portion = NULL;

	json_object_set_new(cli->params, "session", json_string(cli->words[0]));
	if (client_open(&client, cli->socket_path, &why) < 0)
		return cli_failed(cli, &why);
	int r = client_call(&client, "session.logs", json_incref(cli->params), CLIENT_PROMPT_MS, &portion, &why);
	while (r == 0) {
		print_portion(cli, portion);
		r = next_portion(cli, &client, &portion, &why);
	}
	return r < 0 ? cli_failed(cli, &why) : EXIT_OK;
}

/* ---- stats ---- */

static void add_stat(struct table *table, const json_t *stats, const char *group, const char *name)
{
	const json_t *value = json_object_get(json_object_get(stats, group), name);
	char text[64];

	table_add(table, json_is_number(value) ? format_number(text, sizeof(text), name, value) : NULL);
}

/* The sessions named on the command line, else all that live: an array of ids, the caller's; NULL with WHY. */
static json_t *choose_sessions(struct cli *cli, struct client *client, struct failure *why)
{
	json_t *ids = json_array(), *sessions, *session;
	size_t i;

	for (i = 0; i < cli->n_words; i++)
		json_array_append_new(ids, json_string(cli->words[i]));
	if (cli->n_words > 0)
		return ids;
	sessions = fetch_sessions(client, json_object(), why);
	json_array_foreach (sessions, i, session) {
		const char *state = text_of(session, "state");
		if (state && !streq(state, "ended"))
			json_array_append(ids, json_object_get(session, "id"));
	}
	if (!sessions) {
		json_decref(ids);
		ids = NULL;
	}
	json_decref(sessions);
	return ids;
}

enum exit_code run_stats(struct cli *cli)
{
	static const struct column columns[] = { { "SESSION" }, { "MEMORY", .right = true },
		{ "PEAK", .right = true }, { "CPU", .right = true }, { "PROCESSES", .right = true }, { 0 } };
	_client_ struct client client = { .fd = -1 };
	_failure_ struct failure why = { 0 };
	_table_ struct table table;
	enum exit_code worst = EXIT_OK;
	json_t *ids, *id;
	size_t i;

	table_init(&table, &cli->out, columns);
	if (client_open(&client, cli->socket_path, &why) < 0)
		return cli_failed(cli, &why);
	ids = choose_sessions(cli, &client, &why);
	if (!ids)
		return cli_failed(cli, &why);
	json_array_foreach (ids, i, id) {
		json_t *stats = NULL, *params = json_pack("{sO}", "session", id);
		if (client_call(&client, "session.stats", params, CLIENT_PROMPT_MS, &stats, &why) < 0) {
			worst = cli_failed(cli, &why);
			continue;
		}
		if (cli->json)
			print_json(cli, stats);
		table_add(&table, json_string_value(id));
		add_stat(&table, stats, "memory", "current_bytes");
		add_stat(&table, stats, "memory", "peak_bytes");
		add_stat(&table, stats, "cpu", "usage_seconds");
		add_stat(&table, stats, "pids", "current");
		json_decref(stats);
	}
	json_decref(ids);
	if (!cli->json)
		table_print(&table, stdout);
	return worst;
}
