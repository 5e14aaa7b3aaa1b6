/* SPDX-License-Identifier: Apache-2.0 */
/* carrel: parses the command line and runs one verb. See cli.h for what this program is and may do. */
#include <locale.h>
#include <stdarg.h>
#include <stdlib.h>

#include "cli/cli.h"

static void choose_socket(struct cli *cli)
{
	const char *named = getenv("CARREL_SOCKET");

	if (!cli->socket_path)
		cli->socket_path = named && *named ? named : DEFAULT_SOCKET;
}

/* --help behind a verb, behind the first word of several verbs, or alone. */
static enum exit_code show_help(const struct cli *cli)
{
	if (cli->verb)
		help_verb(cli, cli->verb, stdout);
	else if (cli->n_words)
		help_group(cli->words[0], stdout);
	else
		help_overview(cli, stdout);
	return EXIT_OK;
}

/* A full disk or a broken pipe behind standard output must not look like success. */
static enum exit_code check_output(const struct cli *cli, enum exit_code code)
{
	int num = fflush(stdout) == 0 ? 0 : -errno;

	if ((num || ferror(stdout)) && code == EXIT_OK)
		return cli_fail(cli, EXIT_REFUSED, num, "cannot write the output");
	return code;
}

int main(int argc, char **argv)
{
	_cleanup_(args_free) struct cli cli = { 0 };
	_failure_ struct failure why = { 0 };
	enum exit_code code;

	setlocale(LC_CTYPE, "");
	cli.out = term_of(stdout);
	cli.err = term_of(stderr);
	int r = args_parse(&cli, argc - 1, argv + 1, &why);
	choose_socket(&cli);
	if (r < 0)
		return (int)cli_failed(&cli, &why);
	if (option_set(&cli, "help"))
		code = show_help(&cli);
	else
		code = cli.verb->run(&cli);
	return (int)check_output(&cli, code);
}
