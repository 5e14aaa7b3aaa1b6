/* SPDX-License-Identifier: Apache-2.0 */
/* From the command line to a request: options become members of JSON objects as their table says. */
#include <stdarg.h>

#include "cli/cli.h"
#include "cli/format.h"

/* clang-format off */
const struct option global_options[] = {
	{ "json", 'j', NULL, OPT_SWITCH, NULL, "print JSON for programs instead of tables" },
	{ "socket", 0, "PATH", OPT_TEXT, NULL,
	  "carrel's API socket; else $CARREL_SOCKET, else " DEFAULT_SOCKET },
	{ "help", 'h', NULL, OPT_SWITCH, NULL, "say how the command is used" },
	{ 0 },
};
/* clang-format on */

const char *option_text(const struct cli *cli, const char *name)
{
	return json_string_value(json_object_get(cli->options, name));
}

bool option_set(const struct cli *cli, const char *name)
{
	return json_is_true(json_object_get(cli->options, name));
}

const struct verb *verb_find(char *const *words, size_t n, size_t *ret_used)
{
	for (const struct verb *verb = verb_table; n > 0 && verb->name; verb++) {
		size_t first = strcspn(verb->name, " "), used = verb->name[first] ? 2 : 1;
		if (strlen(words[0]) != first || memcmp(words[0], verb->name, first) != 0)
			continue;
		if (used == 2 && (n < 2 || !streq(words[1], verb->name + first + 1)))
			continue;
		if (ret_used)
			*ret_used = used;
		return verb;
	}
	return NULL;
}

static const struct option *find_in(const struct option *options, const char *name, size_t length, char letter)
{
	for (; options && options->name; options++)
		if (name ? strlen(options->name) == length && memcmp(options->name, name, length) == 0
			 : options->letter == letter)
			return options;
	return NULL;
}

/* The row that WORD ("--name", "--name=value", "-n") names; RET_VALUE is what stands behind '=', or NULL. */
static const struct option *find_option(const struct verb *verb, const char *word, const char **ret_value)
{
	const char *name = word[1] == '-' ? word + 2 : NULL, *equals = strchr(word, '=');
	size_t length = name ? (equals ? (size_t)(equals - name) : strlen(name)) : 0;
	const struct option *option;

	*ret_value = name && equals ? equals + 1 : NULL;
	if (!name && word[2])
		return NULL;
	option = find_in(verb ? verb->options : NULL, name, length, word[1]);
	return option ? option : find_in(global_options, name, length, word[1]);
}

static int bad_value(struct failure *why, const struct option *option, const char *format, ...) _printf_(3, 4);
static int bad_value(struct failure *why, const struct option *option, const char *format, ...)
{
	char text[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return failure_set(why, EXIT_USAGE, -EINVAL, "--%s %s", option->name, text);
}

/* NAME=VALUE into *RET_NAME (the caller's) and *RET_VALUE, which points into TEXT or is NULL where there is no '='. */
static int split_pair(const char *text, char **ret_name, const char **ret_value)
{
	const char *equals = strchr(text, '=');
	char *name = equals ? strndup(text, (size_t)(equals - text)) : strdup(text);

	if (!name)
		return -ENOMEM;
	*ret_name = name;
	*ret_value = equals ? equals + 1 : NULL;
	return 0;
}

static int add_pair(json_t *object, const struct option *option, const char *text, struct failure *why)
{
	_free_ char *name = NULL;
	const char *value;
	json_t *json;

	if (split_pair(text, &name, &value) < 0)
		return failure_set(why, EXIT_REFUSED, -ENOMEM, "out of memory");
	if (!value && option->kind == OPT_SECRET) {
		value = getenv(name);
		if (!value)
			return bad_value(why, option, "%s: the environment has no such variable", name);
	}
	if (!*name || !value)
		return bad_value(why, option, "wants %s, not \"%s\"", option->value, text);
	if (option->kind == OPT_LIMIT) {
		json = parse_limit(value);
		if (!json)
			return bad_value(why, option, "%s: \"%s\" is no number: 512M, 2G, 100 or 1.5", name, value);
	} else {
		json = json_string(value);
	}
	if (json_object_set_new(object, name, json) < 0)
		return bad_value(why, option, "is not valid UTF-8");
	return 0;
}

/* A path, and the volume's name where there is one, into ARRAY. */
static int add_volume(json_t *array, const struct option *option, const char *text, struct failure *why)
{
	_free_ char *path = NULL;
	const char *name;

	if (split_pair(text, &path, &name) < 0)
		return failure_set(why, EXIT_REFUSED, -ENOMEM, "out of memory");
	if (path[0] != '/' || (name && !*name))
		return bad_value(why, option, "wants %s, not \"%s\"", option->value, text);
	if (json_array_append_new(array, json_pack("{s:s, s:s*}", "path", path, "name", name)) < 0)
		return bad_value(why, option, "is not valid UTF-8");
	return 0;
}

/* The value of an option that may be given only once. NULL with WHY. */
static json_t *single_value(const struct option *option, const char *text, struct failure *why)
{
	uint64_t number;
	json_t *json;

	switch (option->kind) {
	case OPT_SWITCH:
		return json_true();
	case OPT_COUNT:
		if (parse_count(text, INT64_MAX, &number) == 0)
			return json_integer((json_int_t)number);
		bad_value(why, option, "wants a number from 0, not \"%s\"", text);
		return NULL;
	case OPT_SECONDS:
		if (streq(text, "never"))
			return json_null();
		if (parse_seconds(text, &number) == 0)
			return json_integer((json_int_t)number);
		json = parse_decimal(text);
		if (json)
			return json;
		bad_value(why, option, "wants seconds, or a duration as 90s, 30m, 12h, 7d, not \"%s\"", text);
		return NULL;
	case OPT_TEXT:
	case OPT_LIST:
	case OPT_PAIR:
	case OPT_SECRET:
	case OPT_LIMIT:
	case OPT_VOLUME:
		break;
	}
	json = json_string(text);
	if (!json)
		bad_value(why, option, "is not valid UTF-8");
	return json;
}

/* The container of an option that may be repeated, made at its first use. Borrowed. */
static json_t *collection(json_t *target, const char *member, bool array)
{
	json_t *found = json_object_get(target, member);

	if (!found) {
		found = array ? json_array() : json_object();
		json_object_set_new(target, member, found);
	}
	return found;
}

static int set_option(struct cli *cli, const struct option *option, const char *text, struct failure *why)
{
	json_t *target = option->param ? cli->params : cli->options, *value;
	const char *member = option->param ? option->param : option->name;

	if (option->kind == OPT_PAIR || option->kind == OPT_SECRET || option->kind == OPT_LIMIT)
		return add_pair(collection(target, member, false), option, text, why);
	if (option->kind == OPT_VOLUME)
		return add_volume(collection(target, member, true), option, text, why);
	value = single_value(option, text, why);
	if (!value)
		return -EINVAL;
	if (option->kind == OPT_LIST) {
		json_array_append_new(collection(target, member, true), value);
		return 0;
	}
	if (json_object_get(target, member)) {
		json_decref(value);
		return option->kind == OPT_SWITCH ? 0 : bad_value(why, option, "is given twice");
	}
	json_object_set_new(target, member, value);
	return 0;
}

static int unknown_verb(const struct cli *cli, struct failure *why)
{
	const char *word = cli->words[0];
	size_t length = strlen(word);

	for (const struct verb *verb = verb_table; verb->name; verb++)
		if (strncmp(verb->name, word, length) == 0 && verb->name[length] == ' ')
			return failure_set(why, EXIT_USAGE, -EINVAL, "%s what? See `carrel help %s`", word, word);
	return failure_set(why, EXIT_USAGE, -EINVAL, "there is no command \"%s\"; see `carrel help`", word);
}

static bool is_utf8(const char *text)
{
	json_t *string = json_string(text); /* it is the judge: words become strings of JSON */

	json_decref(string);
	return string;
}

/* The first word or two are the verb; the others are its operands. */
static int take_word(struct cli *cli, char *word, struct failure *why)
{
	size_t used;

	if (cli->n_words == MAX_WORDS)
		return failure_set(why, EXIT_USAGE, -E2BIG, "more than %d operands", MAX_WORDS);
	if (!is_utf8(word))
		return failure_set(why, EXIT_USAGE, -EILSEQ, "\"%s\" is not valid UTF-8", word);
	cli->words[cli->n_words++] = word;
	if (cli->verb)
		return 0;
	cli->verb = verb_find(cli->words, cli->n_words, &used);
	if (cli->verb)
		cli->n_words = 0;
	else if (cli->n_words == 2)
		return unknown_verb(cli, why);
	return 0;
}

/* "-it": several switches in one word. */
static bool is_cluster(const struct verb *verb, const char *word)
{
	const struct option *option;

	if (word[1] == '-' || !word[2])
		return false;
	for (const char *letter = word + 1; *letter; letter++) {
		option = find_in(verb ? verb->options : NULL, NULL, 0, *letter);
		option = option ? option : find_in(global_options, NULL, 0, *letter);
		if (!option || option->kind != OPT_SWITCH)
			return false;
	}
	return true;
}

static int take_cluster(struct cli *cli, const char *word, struct failure *why)
{
	int r = 0;

	for (const char *letter = word + 1; r == 0 && *letter; letter++) {
		const struct option *option = find_in(cli->verb ? cli->verb->options : NULL, NULL, 0, *letter);
		r = set_option(cli, option ? option : find_in(global_options, NULL, 0, *letter), NULL, why);
	}
	return r;
}

static int take_option(struct cli *cli, int argc, char **argv, int *at, struct failure *why)
{
	const char *word = argv[*at], *value;
	const struct option *option = find_option(cli->verb, word, &value);

	if (!option && is_cluster(cli->verb, word))
		return take_cluster(cli, word, why);
	if (!option && !cli->verb && cli->n_words)
		return unknown_verb(cli, why);
	if (!option && cli->verb)
		return failure_set(why, EXIT_USAGE, -EINVAL, "there is no option %.*s; see `carrel %s --help`",
			(int)strcspn(word, "="), word, cli->verb->name);
	if (!option)
		return failure_set(why, EXIT_USAGE, -EINVAL,
			"there is no option %.*s before the command; see `carrel help`", (int)strcspn(word, "="),
			word);
	if (option->kind == OPT_SWITCH && value)
		return bad_value(why, option, "takes no value");
	if (option->kind != OPT_SWITCH && !value) {
		if (*at + 1 >= argc)
			return bad_value(why, option, "wants %s", option->value);
		value = argv[++*at];
	}
	return set_option(cli, option, value, why);
}

/* The word behind the operands of a verb that takes a command begins it; the options that follow are the command's. */
static bool begins_command(const struct cli *cli, const char *word)
{
	return cli->verb && cli->verb->takes_command && cli->n_words == cli->verb->max_words && word[0] != '-';
}

static int check_words(const struct cli *cli, struct failure *why)
{
	const struct verb *verb = cli->verb;

	if (cli->command && !verb->takes_command)
		return failure_set(why, EXIT_USAGE, -EINVAL, "%s takes no command behind --", verb->name);
	if (cli->command && !cli->command[0])
		return failure_set(why, EXIT_USAGE, -EINVAL, "there is no command behind --");
	for (char **word = cli->command; word && *word; word++)
		if (!is_utf8(*word))
			return failure_set(why, EXIT_USAGE, -EILSEQ, "\"%s\" is not valid UTF-8", *word);
	if (cli->n_words < verb->min_words)
		return failure_set(
			why, EXIT_USAGE, -EINVAL, "wants %s; see `carrel %s --help`", verb->operands, verb->name);
	if (cli->n_words > verb->max_words)
		return failure_set(why, EXIT_USAGE, -EINVAL, "\"%s\" is one operand too many; see `carrel %s --help`",
			cli->words[verb->max_words], verb->name);
	return 0;
}

int args_parse(struct cli *cli, int argc, char **argv, struct failure *why)
{
	static char help[] = "help";
	int r = 0;

	cli->params = json_object();
	cli->options = json_object();
	cli->words = calloc(MAX_WORDS, sizeof(*cli->words));
	if (!cli->params || !cli->options || !cli->words)
		return failure_set(why, EXIT_REFUSED, -ENOMEM, "out of memory");
	for (int i = 0; r == 0 && i < argc; i++) {
		if (streq(argv[i], "--") || begins_command(cli, argv[i])) {
			cli->command = argv + i + streq(argv[i], "--");
			break;
		}
		if (!cli->verb && streq(argv[i], "--version"))
			r = take_word(cli, argv[i] + 2, why);
		else if (argv[i][0] == '-' && argv[i][1])
			r = take_option(cli, argc, argv, &i, why);
		else
			r = take_word(cli, argv[i], why);
	}
	cli->json = option_set(cli, "json");
	cli->socket_path = option_text(cli, "socket");
	if (r < 0 || option_set(cli, "help"))
		return r;
	if (!cli->verb && cli->n_words)
		return unknown_verb(cli, why);
	if (!cli->verb)
		return take_word(cli, help, why);
	return check_words(cli, why);
}

void args_free(struct cli *cli)
{
	json_decref(cli->params);
	json_decref(cli->options);
	free(cli->words);
	*cli = (struct cli){ 0 };
}
