/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Help, made from the table of verbs and from control's own table of methods, which is put into this program when it
 * is built (methods.json.h: what `carrel-control --print-openrpc` prints).
 */
#include <ctype.h>

#include "cli/cli.h"
#include "cli/table.h"

#define MAX_EXACT 9007199254740991.0 /* of JSON's integers: a bound that is none */

enum { INDENT = 2, TERM_COLUMNS = 26, FILL_WIDTH = 100 };

/* clang-format off */
static const char methods_json[] =
#include "cli/methods.json.h"
	;

static const struct {
	enum exit_code code;
	const char *help;
} exit_codes[] = {
	{ EXIT_OK, "done" },
	{ EXIT_REFUSED, "the request was refused or failed; the error says which and why" },
	{ EXIT_USAGE, "the command line is wrong; nothing was asked" },
	{ EXIT_UNREACHABLE, "carrel cannot be reached, or the connection broke" },
	{ EXIT_TIMED_OUT, "it did not happen in the time given" },
	{ EXIT_NOT_RUN, "of exec, shell and attach: carrel failed, not the command" },
	{ EXIT_NOT_STARTED, "of these: the command cannot be started" },
	{ EXIT_NO_COMMAND, "of these: there is no such command" },
};

/* The first verb of each group of the overview. */
static const struct {
	const char *title, *first;
} groups[] = {
	{ "Sessions", "create" },
	{ "Templates and images", "template list" },
	{ "Host", "check" },
	{ "Everything else", "rpc" },
};
/* clang-format on */

json_t *methods_document(void)
{
	return json_loads(methods_json, 0, NULL);
}

/* Two columns: TERM, and TEXT broken at spaces and indented behind it. */
static void print_entry(FILE *out, const char *term, const char *text)
{
	int used = fprintf(out, "%*s%s", INDENT, "", term);
	int width = FILL_WIDTH - TERM_COLUMNS;

	if (used + 2 > TERM_COLUMNS) {
		fputc('\n', out);
		used = 0;
	}
	while (*text) {
		int n = (int)strlen(text);
		if (n > width)
			for (n = width; n > 0 && text[n] != ' '; n--)
				;
		if (n == 0)
			n = (int)strcspn(text, " ");
		fprintf(out, "%*s%.*s\n", TERM_COLUMNS - used, "", n, text);
		used = 0;
		text += n + (int)strspn(text + n, " ");
	}
	if (used)
		fputc('\n', out);
}

static void print_verb(const struct verb *verb, FILE *out)
{
	char usage[160];

	snprintf(usage, sizeof(usage), "%s%s%s", verb->name, *verb->operands ? " " : "", verb->operands);
	print_entry(out, usage, verb->help);
}

static void print_option(const struct option *option, const char *help, FILE *out)
{
	char usage[160], letter[8] = "";

	if (option->letter)
		snprintf(letter, sizeof(letter), "-%c, ", option->letter);
	snprintf(usage, sizeof(usage), "%s--%s%s%s", letter, option->name, option->value ? " " : "",
		option->value ? option->value : "");
	print_entry(out, usage, help);
}

void help_overview(const struct cli *cli, FILE *out)
{
	const char *on = term_on(&cli->out, STYLE_BOLD), *off = term_off(&cli->out, STYLE_BOLD);

	fprintf(out, "carrel lends isolated sessions: a browser or a Docker daemon of one's own.\n\n"
		     "usage: carrel [OPTION...] VERB [OPERAND...]\n");
	for (const struct verb *verb = verb_table; verb->name; verb++) {
		for (size_t i = 0; i < ARRAY_SIZE(groups); i++)
			if (streq(groups[i].first, verb->name))
				fprintf(out, "\n%s%s%s\n", on, groups[i].title, off);
		if (verb->run != run_complete)
			print_verb(verb, out);
	}
	fprintf(out, "\n%sOptions of every verb%s\n", on, off);
	for (const struct option *option = global_options; option->name; option++)
		print_option(option, option->help, out);
	fprintf(out, "\n%sExit status%s\n", on, off);
	for (size_t i = 0; i < ARRAY_SIZE(exit_codes); i++) {
		char number[8];
		snprintf(number, sizeof(number), "%d", (int)exit_codes[i].code);
		print_entry(out, number, exit_codes[i].help);
	}
	fprintf(out, "\n`carrel VERB --help` shows a verb's options, `carrel help METHOD` a method of the API.\n");
}

bool help_group(const char *group, FILE *out)
{
	size_t length = strlen(group);
	bool found = false;

	for (const struct verb *verb = verb_table; verb->name; verb++)
		if (strncmp(verb->name, group, length) == 0 && verb->name[length] == ' ') {
			print_verb(verb, out);
			found = true;
		}
	return found;
}

static json_t *find_named(const json_t *array, const char *name)
{
	size_t i;
	json_t *entry;

	json_array_foreach (array, i, entry) {
		const char *found = json_string_value(json_object_get(entry, "name"));
		if (found && streq(found, name))
			return entry;
	}
	return NULL;
}

static const char *description(const json_t *entry)
{
	const char *text = json_string_value(json_object_get(entry, "description"));

	if (!text)
		text = json_string_value(json_object_get(entry, "summary"));
	return text ? text : "";
}

static json_t *find_method(const json_t *document, const char *name)
{
	return name ? find_named(json_object_get(document, "methods"), name) : NULL;
}

void help_verb(const struct cli *cli, const struct verb *verb, FILE *out)
{
	const char *on = term_on(&cli->out, STYLE_BOLD), *off = term_off(&cli->out, STYLE_BOLD);
	json_t *document = methods_document(), *method = find_method(document, verb->method);

	fprintf(out, "usage: carrel %s%s%s%s\n\n%c%s.\n", verb->name, verb->options ? " [OPTION...]" : "",
		*verb->operands ? " " : "", verb->operands, toupper((unsigned char)verb->help[0]), verb->help + 1);
	if (method)
		fprintf(out, "%s: %s\n", verb->method, description(method));
	if (verb->options)
		fprintf(out, "\n%sOptions%s\n", on, off);
	for (const struct option *option = verb->options; option && option->name; option++)
		print_option(option, option->help, out);
	if (verb->details)
		fprintf(out, "\n%s\n", verb->details);
	fprintf(out, "\n`carrel help` lists the options of every verb and the meaning of the exit status.\n");
	json_decref(document);
}

/* What a schema says of a value, in a few words: "integer from 1 to 86400, or null", "created or ready". */
static void describe_schema(const json_t *schema, FILE *out)
{
	const json_t *least = json_object_get(schema, "minimum"), *most = json_object_get(schema, "maximum"), *entry;
	const char *type = json_string_value(json_object_get(schema, "type"));
	const json_t *values = json_object_get(schema, "enum");
	size_t i;

	json_array_foreach (json_object_get(schema, "oneOf"), i, entry) {
		fputs(i ? " or " : "", out);
		describe_schema(entry, out);
	}
	json_array_foreach (values, i, entry)
		if (json_is_string(entry))
			fprintf(out, "%s%s", i ? " or " : "", json_string_value(entry));
	if (type && !values)
		fputs(type, out);
	if (json_is_number(most) && json_number_value(most) >= MAX_EXACT)
		fprintf(out, " from %.15g", json_number_value(least));
	else if (json_is_number(least) && json_is_number(most))
		fprintf(out, " from %.15g to %.15g", json_number_value(least), json_number_value(most));
}

/* A parameter, or a member of one: its name, what it is for, what it may be. */
static void print_param(const char *name, bool required, const json_t *param, const json_t *schema, FILE *out)
{
	_free_ char *text = NULL;
	char usage[128];
	size_t size;
	FILE *line = open_memstream(&text, &size);

	if (!line)
		return;
	snprintf(usage, sizeof(usage), "%s%s", name, required ? "" : "?");
	fprintf(line, "%s (", description(param));
	describe_schema(schema, line);
	fputc(')', line);
	fclose(line);
	print_entry(out, usage, text);
}

bool help_method(const json_t *document, const char *name, const struct term *term, FILE *out)
{
	const json_t *method = find_method(document, name), *param;
	const char *member;
	json_t *member_schema;
	size_t i;

	if (!method)
		return false;
	fprintf(out, "%s%s%s\n%s\n\n", term_on(term, STYLE_BOLD), name, term_off(term, STYLE_BOLD),
		description(method));
	json_array_foreach (json_object_get(method, "params"), i, param) {
		const char *param_name = json_string_value(json_object_get(param, "name"));
		bool required = json_is_true(json_object_get(param, "required"));
		const json_t *schema = json_object_get(param, "schema");
		print_param(param_name ? param_name : "", required, param, schema, out);
		json_object_foreach (json_object_get(schema, "properties"), member, member_schema) {
			char path[128];
			snprintf(path, sizeof(path), "%s.%s", param_name ? param_name : "", member);
			print_param(path, false, member_schema, member_schema, out);
		}
	}
	print_entry(out, "answer", description(json_object_get(method, "result")));
	return true;
}
