/* SPDX-License-Identifier: Apache-2.0 */
/* The verbs about volumes. */
#include "cli/cli.h"
#include "cli/format.h"
#include "cli/members.h"
#include "cli/table.h"

static void add_bytes(struct table *table, const json_t *bytes)
{
	char text[FORMAT_SIZE];

	table_add(table, json_is_integer(bytes) ? format_bytes(text, (uint64_t)json_integer_value(bytes)) : NULL);
}

static void add_volume(struct table *table, const json_t *volume)
{
	char text[FORMAT_SIZE];
	int64_t age = 0;

	table_add(table, text_of(volume, "name"));
	table_add(table, text_of(volume, "owner"));
	table_add(table, text_of(volume, "state"));
	table_add(table, text_of(volume, "session"));
	add_bytes(table, json_object_get(volume, "used_bytes"));
	add_bytes(table, json_object_get(volume, "size_bytes"));
	table_add(table, json_is_true(json_object_get(volume, "persistent")) ? "kept" : "goes with it");
	table_add(table, seconds_until(text_of(volume, "last_used_at"), &age) ? format_seconds(text, -age) : NULL);
}

enum exit_code run_volume_list(struct cli *cli)
{
	static const struct column columns[] = { { "VOLUME" }, { "OWNER", .least = 10 }, { "STATE", .state = true },
		{ "SESSION" }, { "USED", .right = true }, { "SIZE", .right = true }, { "WHEN IT ENDS" },
		{ "UNUSED", .right = true }, { 0 } };
	_client_ struct client client = { .fd = -1 };
	_failure_ struct failure why = { 0 };
	_table_ struct table table;
	json_t *all, *volume;
	size_t i;

	table_init(&table, &cli->out, columns);
	if (client_open(&client, cli->socket_path, &why) < 0)
		return cli_failed(cli, &why);
	all = client_fetch(&client, "volume.list", "volumes", json_incref(cli->params), CLIENT_PROMPT_MS, &why);
	if (!all)
		return cli_failed(cli, &why);
	json_array_foreach (all, i, volume)
		add_volume(&table, volume);
	if (cli->json)
		print_json(cli, all);
	else
		table_print(&table, stdout);
	json_decref(all);
	return EXIT_OK;
}

enum exit_code run_volume_show(struct cli *cli)
{
	json_object_set_new(cli->params, "volume", json_string(cli->words[0]));
	return run_info(cli);
}

enum exit_code run_volume_remove(struct cli *cli)
{
	_client_ struct client client = { .fd = -1 };
	_failure_ struct failure why = { 0 };
	enum exit_code worst = EXIT_OK;

	if (client_open(&client, cli->socket_path, &why) < 0)
		return cli_failed(cli, &why);
	for (size_t i = 0; i < cli->n_words; i++) {
		json_t *params = json_pack("{s:s}", "volume", cli->words[i]), *result = NULL;
		if (client_call(&client, "volume.remove", params, CLIENT_FOREVER, &result, &why) < 0) {
			worst = cli_failed(cli, &why);
			if (worst == EXIT_UNREACHABLE)
				return worst;
			continue;
		}
		if (cli->json)
			print_json(cli, result);
		json_decref(result);
	}
	return worst;
}
