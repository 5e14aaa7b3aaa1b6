/* SPDX-License-Identifier: Apache-2.0 */
/* The verbs that look at files of sessions. Copying is in copy.c. */
#include <fcntl.h>
#include <signal.h>

#include "cli/format.h"
#include "cli/remote.h"
#include "cli/safe.h"
#include "cli/table.h"
#include "cli/transfer.h"

/* ---- ls ---- */

/* All entries of the directory at PLACE, page by page: an array, the caller's; NULL with WHY. */
static json_t *fetch_entries(struct cli *cli, struct client *client, const struct place *place, struct failure *why)
{
	json_t *params = place_params(place);

	if (option_set(cli, "recursive"))
		json_object_set_new(params, "recursive", json_true());
	return client_fetch(client, "file.list", "entries", params, CLIENT_FOREVER, why);
}

/* The first character of what ls(1) shows for a type, and the one behind a name. */
static const struct {
	const char *type;
	char letter, mark;
} types[] = {
	{ "directory", 'd', '/' },
	{ "symlink", 'l', '@' },
	{ "fifo", 'p', '|' },
	{ "socket", 's', '=' },
	{ "char-device", 'c', 0 },
	{ "block-device", 'b', 0 },
};

static void describe(const json_t *entry, char ret_mode[static 12], char *ret_mark)
{
	const char *type = text_of(entry, "type"), *text = text_of(entry, "mode");
	unsigned long mode = text ? strtoul(text, NULL, 8) : 0;

	snprintf(ret_mode, 12, "-rwxrwxrwx");
	*ret_mark = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if (type && streq(type, types[i].type)) {
			ret_mode[0] = types[i].letter;
			*ret_mark = types[i].mark;
		}
	for (int bit = 0; bit < 9; bit++)
		if (!(mode >> (8 - bit) & 1))
			ret_mode[1 + bit] = '-';
	/* Set-id and sticky bits share the places of what may be executed. */
	for (int bit = 0; bit < 3; bit++)
		if (mode >> (11 - bit) & 1) {
			char *place = &ret_mode[3 * (bit + 1)];
			*place = (char)(bit == 2 ? (*place == 'x' ? 't' : 'T') : (*place == 'x' ? 's' : 'S'));
		}
}

static void add_long(struct table *table, const json_t *entry, const char *name)
{
	const char *target = text_of(entry, "target"), *modified = text_of(entry, "modified_at");
	char mode[12], mark;

	describe(entry, mode, &mark);
	table_add(table, mode);
	table_addf(table, "%lld:%lld", (long long)json_integer_value(json_object_get(entry, "uid")),
		(long long)json_integer_value(json_object_get(entry, "gid")));
	table_addf(table, "%lld", (long long)json_integer_value(json_object_get(entry, "size_bytes")));
	table_addf(table, "%.19s", modified ? modified : "");
	table_addf(table, "%s%s%s", name, target ? " -> " : "", target ? target : "");
}

static void print_short(const struct cli *cli, const json_t *entry, const char *name)
{
	char mode[12], mark;

	describe(entry, mode, &mark);
	/* Marks, and names that do no harm, are for people; a program reads names as they are. */
	if (cli->out.tty)
		print_text(cli, mark == '/' ? STYLE_BOLD : STYLE_PLAIN, name);
	else if (name)
		fputs(name, stdout);
	if (cli->out.tty && mark)
		putchar(mark);
	putchar('\n');
}

static void print_entries(const struct cli *cli, const json_t *entries)
{
	static const struct column columns[] = { { "MODE" }, { "OWNER" }, { "SIZE", .right = true }, { "MODIFIED" },
		{ "NAME" }, { 0 } };
	_table_ struct table table;
	json_t *entry;
	size_t i;

	table_init(&table, &cli->out, columns);
	json_array_foreach (entries, i, entry) {
		const char *name = text_of(entry, "path"), *unread = text_of(entry, "unread");
		_free_ char *safe = unread ? term_text(&cli->err, name ? name : "") : NULL;
		if (unread)
			fprintf(stderr, "carrel ls: cannot go into %s: %s\n", safe ? safe : "", unread);
		if (option_set(cli, "long"))
			add_long(&table, entry, name ? name : "");
		else
			print_short(cli, entry, name);
	}
	if (option_set(cli, "long"))
		table_print(&table, stdout);
}

enum exit_code run_ls(struct cli *cli)
{
	_client_ struct client client = { .fd = -1 };
	_failure_ struct failure why = { 0 };
	struct place place;
	_free_ char *word = NULL;
	json_t *found = NULL, *entries = NULL;

	/* The session alone is its root directory. */
	if (asprintf(&word, "%s%s", cli->words[0], strchr(cli->words[0], ':') ? "" : ":/") < 0)
		return cli_fail(cli, EXIT_REFUSED, -ENOMEM, "out of memory");
	int r = place_parse(word, &place, &why);
	if (r == 0 && !place_is_remote(&place))
		r = failure_set(&why, EXIT_USAGE, -EINVAL, "wants SESSION:PATH, not \"%s\"", cli->words[0]);
	if (r == 0)
		r = client_open(&client, cli->socket_path, &why);
	if (r == 0)
		r = remote_stat(&client, &place, &found, &why);
	if (r == 0 && !found)
		r = failure_set(
			&why, EXIT_REFUSED, -ENOENT, "there is no %s in session %s", place.path, place.session);
	if (r == 0 && streq(text_of(found, "type") ? text_of(found, "type") : "", "directory")) {
		entries = fetch_entries(cli, &client, &place, &why);
	} else if (r == 0) {
		json_object_set_new(found, "path", json_string(place.path));
		entries = json_pack("[O]", found);
	}
	json_decref(found);
	if (!entries)
		return cli_failed(cli, &why);
	if (cli->json)
		print_json(cli, entries);
	else
		print_entries(cli, entries);
	json_decref(entries);
	return EXIT_OK;
}

/* ---- cat ---- */

/* What is printed on a terminal shall not play with it. */
static int print_stream(const struct cli *cli, int fd)
{
	struct safe_writer out = { .fd = STDOUT_FILENO, .filter = cli->out.tty };
	struct transfer transfer = { 0 };
	char bytes[16384];
	ssize_t n;
	int r = 0;

	if (!cli->out.tty)
		return transfer_all(&transfer, fd, STDOUT_FILENO);
	do {
		n = RETRY_EINTR(read(fd, bytes, sizeof(bytes)));
		r = n < 0 ? -errno : safe_write(&out, bytes, (size_t)n);
	} while (r == 0 && n > 0);
	return r < 0 ? r : safe_end(&out);
}

static int print_file(struct cli *cli, struct client *client, const char *word, struct failure *why)
{
	_remote_ struct remote_transfer stream = { .fd = -1 };
	struct place place;
	int r = place_parse(word, &place, why);

	if (r < 0)
		return r;
	if (!place_is_remote(&place))
		return failure_set(why, EXIT_USAGE, -EINVAL, "wants SESSION:PATH, not \"%s\"", word);
	json_t *params = place_params(&place);
	json_object_set_new(params, "stream", json_true());
	r = remote_open(&stream, cli, client, "file.read", params, why);
	if (r < 0)
		return r;
	r = print_stream(cli, stream.fd);
	if (r < 0)
		return failure_set(why, EXIT_REFUSED, r, "cannot print %s", place.path);
	return remote_wait(client, &stream, -1, NULL, why);
}

enum exit_code run_cat(struct cli *cli)
{
	_client_ struct client client = { .fd = -1 };
	_failure_ struct failure why = { 0 };
	enum exit_code worst = EXIT_OK;

	if (client_open(&client, cli->socket_path, &why) < 0)
		return cli_failed(cli, &why);
	for (size_t i = 0; i < cli->n_words; i++)
		if (print_file(cli, &client, cli->words[i], &why) < 0) {
			worst = cli_failed(cli, &why);
			if (worst == EXIT_UNREACHABLE || worst == EXIT_USAGE)
				break;
		}
	return worst;
}
