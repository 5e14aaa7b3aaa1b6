/* SPDX-License-Identifier: Apache-2.0 */
/* Running a command in a session. Its output and its end become this program's own. */
#include "cli/cli.h"

enum {
	MAX_INPUT = 1 << 20, /* of standard input: what fits into a request, if nothing of it needs escaping */
	SIGNAL_BASE = 128, /* exit status of a command that a signal ended, as shells have it */
};

/* ---- its input ---- */

static ssize_t read_all(char *bytes, size_t size)
{
	size_t used = 0;

	while (used < size) {
		ssize_t n = RETRY_EINTR(read(STDIN_FILENO, bytes + used, size - used));
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		used += (size_t)n;
	}
	return (ssize_t)used;
}

/* Makes standard input a parameter, unless it is a terminal. 0, or a negative errno with WHY. */
static int take_input(struct cli *cli, struct failure *why)
{
	if (option_set(cli, "no-stdin") || isatty(STDIN_FILENO))
		return 0;
	_free_ char *bytes = malloc(MAX_INPUT + 1);
	if (!bytes)
		return failure_set(why, EXIT_REFUSED, -ENOMEM, "out of memory");
	ssize_t n = read_all(bytes, MAX_INPUT + 1);
	/* One that is closed is empty. */
	if (n == 0 || n == -EBADF)
		return 0;
	if (n < 0)
		return failure_set(why, EXIT_REFUSED, (int)n, "standard input cannot be read");
	if (n > MAX_INPUT)
		return failure_set(why, EXIT_USAGE, -E2BIG, "standard input is longer than %d bytes", MAX_INPUT);
	json_t *text = memchr(bytes, '\0', (size_t)n) ? NULL : json_stringn(bytes, (size_t)n);
	if (!text)
		return failure_set(why, EXIT_USAGE, -EILSEQ, "standard input is not text in UTF-8");
	json_object_set_new(cli->params, "stdin", text);
	return 0;
}

/* ---- its output ---- */

/* As it is; but nothing that it prints plays with a terminal. */
static void print_output(const struct term *term, FILE *out, const json_t *output)
{
	const char *text = json_string_value(output), *end = text + json_string_length(output);

	if (!text)
		return;
	if (!term->tty) {
		fwrite(text, 1, (size_t)(end - text), out);
		return;
	}
	for (const char *at = text; at < end;) {
		const char *newline = memchr(at, '\n', (size_t)(end - at)), *stop = newline ? newline : end;
		/* A string ends at a NUL. */
		const size_t length = strnlen(at, (size_t)(stop - at));
		_free_ char *line = strndup(at, length), *safe = line ? term_text(term, line) : NULL;
		fputs(safe ? safe : "", out);
		at += length;
		if (at < stop)
			fputs("\\x00", out);
		else if (newline)
			fputc('\n', out);
		at++;
	}
}

static void print_result(const struct cli *cli, const json_t *result)
{
	json_int_t dropped = json_integer_value(json_object_get(result, "dropped_bytes"));

	print_output(&cli->out, stdout, json_object_get(result, "stdout"));
	fflush(stdout);
	print_output(&cli->err, stderr, json_object_get(result, "stderr"));
	if (dropped > 0)
		fprintf(stderr, "carrel exec: %lld more bytes of output were dropped\n", (long long)dropped);
}

/* ---- the verb ---- */

enum exit_code run_exec(struct cli *cli)
{
	_failure_ struct failure why = { 0 };
	json_t *result = NULL, *command = json_array();

	json_object_set_new(cli->params, "session", json_string(cli->words[0]));
	for (char **word = cli->command; word && *word; word++)
		json_array_append_new(command, json_string(*word));
	json_object_set_new(cli->params, "command", command);
	if (!cli->command)
		return cli_fail(cli, EXIT_USAGE, -EINVAL, "wants a command; see `carrel exec --help`");
	if (option_set(cli, "tty") || option_set(cli, "interactive")) {
		json_decref(result);
		return run_exec_streams(cli);
	}
	if (take_input(cli, &why) < 0)
		return exec_failed(cli, &why);
	if (cli_ask(cli, CLIENT_FOREVER, &result, &why) < 0) {
		/* One that was killed for its time has printed something, too. */
		if (!cli->json)
			print_result(cli, json_object_get(json_object_get(why.error, "data"), "result"));
		return exec_failed(cli, &why);
	}
	if (cli->json)
		print_json(cli, result);
	else
		print_result(cli, result);
	const json_t *exit_code = json_object_get(result, "exit_code"), *number = json_object_get(result, "signal");
	json_int_t status =
		json_is_integer(exit_code) ? json_integer_value(exit_code) : SIGNAL_BASE + json_integer_value(number);
	json_decref(result);
	return (enum exit_code)(status & 255);
}
