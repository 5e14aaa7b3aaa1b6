/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What may stand at a place of the command line, one candidate a line: asked by the shell's completion, which so needs
 * to know nothing of verbs and options itself.
 */
#include "cli/cli.h"
#include "cli/format.h"
#include "cli/image.h"
#include "cli/keys.h"
#include "cli/remote.h"

enum { PATIENCE_MS = 300 }; /* a person is waiting at a prompt */

/* Prints NAME of every entry of MEMBER of what METHOD answers. */
static void print_names(const struct cli *cli, const char *method, const char *member, const char *name)
{
	_failure_ struct failure why = { 0 };
	json_t *result = NULL, *entry;
	size_t i;

	client_ask(cli->socket_path, method, NULL, PATIENCE_MS, &result, &why);
	json_array_foreach (json_object_get(result, member), i, entry) {
		const char *text = json_string_value(json_object_get(entry, name));
		if (text)
			puts(text);
	}
	json_decref(result);
}

static void print_methods(void)
{
	json_t *document = methods_document(), *method;
	size_t i;

	json_array_foreach (json_object_get(document, "methods"), i, method) {
		const char *name = json_string_value(json_object_get(method, "name"));
		if (name)
			puts(name);
	}
	json_decref(document);
}

/* First words of verbs, or the second words of those that begin with FIRST. */
static void print_verbs(const char *first)
{
	const char *last = "";

	for (const struct verb *verb = verb_table; verb->name; verb++) {
		size_t n = strcspn(verb->name, " ");
		if (first && strlen(first) == n && strncmp(verb->name, first, n) == 0 && verb->name[n])
			puts(verb->name + n + 1);
		if (first || verb->run == run_complete || strncmp(verb->name, last, n) == 0)
			continue;
		printf("%.*s\n", (int)n, verb->name);
		last = verb->name;
	}
}

static void print_options(const struct option *options)
{
	for (; options && options->name; options++)
		printf("--%s\n", options->name);
}

static bool begins_with(const char *text, const char *start)
{
	return strncmp(text, start, strlen(start)) == 0;
}

/* Names of the directory that WORD, "SESSION:DIRECTORY/NAME", leads into; those of directories end with a slash. */
static void print_remote_names(const struct cli *cli, const char *word)
{
	_failure_ struct failure why = { 0 };
	json_t *result = NULL, *entry;
	struct place place;
	size_t i;

	if (place_parse(word, &place, &why) < 0 || !place_is_remote(&place))
		return;
	*(strrchr(place.path, '/') + 1) = '\0';
	client_ask(cli->socket_path, "file.list", place_params(&place), PATIENCE_MS, &result, &why);
	json_array_foreach (json_object_get(result, "entries"), i, entry) {
		const char *name = text_of(entry, "path"), *type = text_of(entry, "type");
		/* A name with a newline in it cannot be told. */
		if (name && !strchr(name, '\n'))
			printf("%s:%s%s%s\n", place.session, place.path, name,
				type && streq(type, "directory") ? "/" : "");
	}
	json_decref(result);
}

/* A session with the colon that a path follows; behind it, the path. */
static void print_places(const struct cli *cli, const char *word)
{
	_failure_ struct failure why = { 0 };
	json_t *result = NULL, *session;
	size_t i;

	if (strchr(word, ':')) {
		print_remote_names(cli, word);
		return;
	}
	client_ask(cli->socket_path, "session.list", NULL, PATIENCE_MS, &result, &why);
	json_array_foreach (json_object_get(result, "sessions"), i, session) {
		const char *id = text_of(session, "id"), *state = text_of(session, "state");
		if (id && state && !streq(state, "ended"))
			printf("%s:\n", id);
	}
	json_decref(result);
}

/*
 * What a place is called in the help says what may stand there: "[SESSION...]", "created|ready". WORD is what stands
 * there already.
 */
static void print_kind(const struct cli *cli, const char *kind, const char *word)
{
	kind += strspn(kind, "[");
	if (begins_with(kind, "SESSION:") || begins_with(kind, "SESSION[:") || begins_with(kind, "SOURCE"))
		print_places(cli, word);
	else if (begins_with(kind, "SESSION"))
		print_names(cli, "session.list", "sessions", "id");
	else if (begins_with(kind, "VOLUME"))
		print_names(cli, "volume.list", "volumes", "name");
	else if (begins_with(kind, "TEMPLATE"))
		print_names(cli, "template.list", "templates", "name");
	else if (begins_with(kind, "METHOD"))
		print_methods();
	else if (begins_with(kind, "KEYS"))
		puts(DETACH_KEYS_DEFAULT);
	else if (begins_with(kind, "VERB"))
		print_verbs(NULL);
	else if (begins_with(kind, "IMAGE"))
		for (const struct recipe *recipe = recipes; recipe->name; recipe++)
			puts(recipe->name);
	else if (strchr(kind, '|'))
		for (size_t n; *kind; kind += n + (kind[n] == '|')) {
			n = strcspn(kind, "|");
			printf("%.*s\n", (int)n, kind);
		}
}

/* The option of VERB or of all verbs that "--NAME" or "--NAME=" in WORD names and that wants a value, or NULL. */
static const struct option *wants_value(const struct verb *verb, const char *word)
{
	const struct option *const tables[] = { verb ? verb->options : NULL, global_options };
	size_t n = strcspn(word, "=");

	for (size_t i = 0; i < ARRAY_SIZE(tables); i++)
		for (const struct option *option = tables[i]; option && option->name; option++)
			if (option->value && n == strlen(option->name) + 2 && begins_with(word, "--") &&
				begins_with(word + 2, option->name))
				return option;
	return NULL;
}

enum exit_code run_complete(struct cli *cli)
{
	char *operands[MAX_WORDS];
	const struct verb *verb = NULL;
	const struct option *option = NULL; /* whose value the word at hand is */
	size_t n_operands = 0, used = 0;
	uint64_t place;

	if (parse_count(cli->words[0], MAX_WORDS - 1, &place) < 0 || !cli->command)
		return EXIT_USAGE;
	for (size_t i = 0; i < place && cli->command[i]; i++) {
		char *word = cli->command[i];
		if (streq(word, "--"))
			return EXIT_OK;
		if (option)
			option = NULL;
		else if (word[0] == '-')
			option = strchr(word, '=') ? NULL : wants_value(verb, word);
		else
			operands[n_operands++] = word;
		verb = verb_find(operands, n_operands, &used);
	}
	const char *current = "";
	for (size_t i = 0; cli->command[i]; i++)
		current = i == place ? cli->command[i] : current;
	if (!option && strchr(current, '='))
		option = wants_value(verb, current);
	if (option) {
		print_kind(cli, option->value, "");
	} else if (current[0] == '-') {
		print_options(verb ? verb->options : NULL);
		print_options(global_options);
	} else if (!verb) {
		print_verbs(n_operands ? operands[0] : NULL);
	} else if (n_operands - used < verb->max_words) {
		print_kind(cli, verb->operands, current);
	}
	return EXIT_OK;
}
