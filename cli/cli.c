/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include <stdarg.h>

enum exit_code cli_failed(const struct cli *cli, struct failure *why)
{
	enum exit_code code = why->code == EXIT_OK ? EXIT_REFUSED : why->code;

	fflush(stdout); /* so that what was printed before stands before the error */
	if (cli->json)
		failure_print_json(why, stderr);
	else
		failure_print(why, cli->verb ? cli->verb->name : NULL, &cli->err, stderr);
	failure_free(why);
	return code;
}

enum exit_code cli_fail(const struct cli *cli, enum exit_code code, int num, const char *format, ...)
{
	_failure_ struct failure why = { 0 };
	char text[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	failure_set(&why, code, num, "%s", text);
	return cli_failed(cli, &why);
}

void print_json(const struct cli *cli, const json_t *value)
{
	json_dumpf(value, stdout, JSON_ENCODE_ANY | (cli->out.tty ? JSON_INDENT(2) : JSON_COMPACT));
	putchar('\n');
}

int cli_ask(const struct cli *cli, int timeout_ms, json_t **ret_result, struct failure *why)
{
	return client_ask(cli->socket_path, cli->verb->method, json_incref(cli->params), timeout_ms, ret_result, why);
}

void print_padded(const struct cli *cli, enum style style, const char *text, size_t columns)
{
	_free_ char *safe = term_text(&cli->out, text ? text : "");
	size_t used = safe ? term_columns(safe) : 0;

	if (safe)
		printf("%s%s%s%*s", term_on(&cli->out, style), safe, term_off(&cli->out, style),
			used < columns ? (int)(columns - used) : 0, "");
}

void print_text(const struct cli *cli, enum style style, const char *text)
{
	print_padded(cli, style, text, 0);
}

const char *text_of(const json_t *object, const char *name)
{
	return json_string_value(json_object_get(object, name));
}
