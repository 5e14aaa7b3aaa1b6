/* SPDX-License-Identifier: Apache-2.0 */
/* Commands whose input and output are this program's own while they run: exec -i and -t, shell, attach. */
#include <unistd.h>

#include "cli/interact.h"
#include "cli/remote.h"

enum { SIGNAL_BASE = 128 }; /* exit status of a command that a signal ended, as shells have it */

/* Opens stream NAME of STREAMS, if it is there, into *FD. */
static int open_named(struct cli *cli, const json_t *streams, const char *name, int *fd, struct failure *why)
{
	const json_t *offer = json_object_get(streams, name);

	if (!offer)
		return 0;
	*fd = stream_open(cli, offer, why);
	return *fd < 0 ? *fd : 0;
}

/* Fills the streams of WITH from what a method has answered: a terminal's one, or up to three. */
static int open_streams(struct cli *cli, const json_t *opened, struct interaction *with, struct failure *why)
{
	const json_t *streams = json_object_get(opened, "streams"), *one = json_object_get(opened, "stream");
	int r;

	if (one) {
		with->from_fd = stream_open(cli, one, why);
		r = with->from_fd < 0 ? with->from_fd : 0;
	} else {
		r = open_named(cli, streams, "tty", &with->from_fd, why);
	}
	if (r == 0 && with->from_fd >= 0) {
		with->tty = true;
		with->to_fd = with->from_fd;
		return 0;
	}
	if (r == 0)
		r = open_named(cli, streams, "stdin", &with->to_fd, why);
	if (r == 0)
		r = open_named(cli, streams, "stdout", &with->from_fd, why);
	if (r == 0)
		r = open_named(cli, streams, "stderr", &with->errors_fd, why);
	return r;
}

static void tell_left(struct cli *cli, const json_t *target, const json_t *opened)
{
	const char *session = text_of(target, "session"), *terminal = text_of(opened, "terminal");

	fprintf(stderr, "\r\ncarrel %s: it goes on; `carrel attach %s %s` comes back to it\n", cli->verb->name,
		session, terminal ? terminal : text_of(target, "exec"));
}

static enum exit_code status_of(const json_t *result)
{
	const json_t *exit_code = json_object_get(result, "exit_code"), *number = json_object_get(result, "signal");
	json_int_t status =
		json_is_integer(exit_code) ? json_integer_value(exit_code) : SIGNAL_BASE + json_integer_value(number);

	return (enum exit_code)(status & 255);
}

enum exit_code exec_failed(const struct cli *cli, struct failure *why)
{
	const json_t *data = json_object_get(why->error, "data");
	const char *step = text_of(data, "step"), *num = text_of(data, "errno");

	if (step && num && streq(step, "exec"))
		why->code = streq(num, "ENOENT") ? EXIT_NO_COMMAND : EXIT_NOT_STARTED;
	else if (why->code == EXIT_REFUSED || why->code == EXIT_UNREACHABLE)
		why->code = EXIT_NOT_RUN;
	return cli_failed(cli, why);
}

/* Joins this program to the command that OPENED tells of. Its exit status is the command's. */
static enum exit_code join(struct cli *cli, struct client *client, const char *session, const json_t *opened,
	const struct detach_keys *keys, bool redraw)
{
	_failure_ struct failure why = { 0 };
	struct interaction with = {
		.client = client,
		.wait_method = "exec.wait",
		.resize_method = "exec.resize",
		.signal_method = "exec.signal",
		.target = json_pack("{ss, ss}", "session", session, "exec", text_of(opened, "exec")),
		.in_fd = STDIN_FILENO,
		.to_fd = -1,
		.from_fd = -1,
		.errors_fd = -1,
		.redraw = redraw,
		.filter_out = cli->out.tty,
		.filter_err = cli->err.tty,
	};
	enum interaction_end end = INTERACTION_ENDED;
	enum exit_code code = EXIT_OK;
	json_t *result = NULL;
	int number = 0;

	int r = open_streams(cli, opened, &with, &why);
	with.redraw = redraw && with.tty;
	/* What has the terminal may do with it what it likes. */
	if (with.tty) {
		with.filter_out = with.filter_err = false;
		with.detach_keys = *keys;
	} else {
		with.resize_method = NULL;
	}
	/* Asked for no input: the command gets none but its end. */
	if (option_set(cli, "no-stdin") || (streq(cli->verb->name, "exec") && !option_set(cli, "interactive")))
		with.in_fd = -1;
	if (r == 0)
		r = interact(&with, &end, &result, &number, &why);
	if (r < 0)
		code = exec_failed(cli, &why);
	else if (end == INTERACTION_LEFT)
		tell_left(cli, with.target, opened);
	else
		code = end == INTERACTION_SIGNALLED ? (enum exit_code)(SIGNAL_BASE + number) : status_of(result);
	json_decref(with.target);
	json_decref(result);
	return code;
}

/* The size of the terminal that this program has, if it has one. */
static void add_size(json_t *params)
{
	struct console console = { .fd = isatty(STDIN_FILENO) ? STDIN_FILENO : STDOUT_FILENO };
	int rows, columns;

	if (!console_size(&console, &rows, &columns))
		return;
	json_object_set_new(params, "rows", json_integer(rows));
	json_object_set_new(params, "cols", json_integer(columns));
}

/* The keys that leave the terminal. 0, or -EINVAL with WHY. */
static int take_keys(const struct cli *cli, struct detach_keys *ret, struct failure *why)
{
	const char *text = option_text(cli, "detach-keys");
	const int r = detach_keys_parse(text ? text : DETACH_KEYS_DEFAULT, ret);

	if (r == -E2BIG)
		return failure_set(why, EXIT_USAGE, r, "--detach-keys: at most %d", DETACH_KEYS_MAX);
	if (r < 0)
		return failure_set(why, EXIT_USAGE, r,
			"--detach-keys: characters, or ctrl- and one of a-z @ [ \\ ] ^ _, with commas between them");
	return 0;
}

/* Calls METHOD with the parameters there are and joins what it opens. */
static enum exit_code open_and_join(struct cli *cli, const char *method, const char *session, bool redraw)
{
	_client_ struct client client = { .fd = -1 };
	_failure_ struct failure why = { 0 };
	struct detach_keys keys;
	json_t *opened = NULL;

	if (take_keys(cli, &keys, &why) < 0)
		return cli_failed(cli, &why);
	if (client_open(&client, cli->socket_path, &why) < 0 ||
		client_call(&client, method, json_incref(cli->params), CLIENT_FOREVER, &opened, &why) < 0)
		return exec_failed(cli, &why);
	const json_t *created = json_object_get(opened, "created");
	enum exit_code code = join(cli, &client, session, opened, &keys, redraw || json_is_false(created));
	json_decref(opened);
	return code;
}

enum exit_code run_exec_streams(struct cli *cli)
{
	if (option_set(cli, "tty")) {
		json_object_set_new(cli->params, "tty", json_true());
		add_size(cli->params);
	}
	return open_and_join(cli, "exec.start", cli->words[0], false);
}

enum exit_code run_shell(struct cli *cli)
{
	json_object_set_new(cli->params, "session", json_string(cli->words[0]));
	if (cli->command) {
		json_t *command = json_array();
		for (char **word = cli->command; *word; word++)
			json_array_append_new(command, json_string(*word));
		json_object_set_new(cli->params, "command", command);
	}
	add_size(cli->params);
	return open_and_join(cli, "terminal.open", cli->words[0], false);
}

enum exit_code run_attach(struct cli *cli)
{
	json_object_set_new(cli->params, "session", json_string(cli->words[0]));
	json_object_set_new(cli->params, "exec", json_string(cli->words[1]));
	return open_and_join(cli, "exec.attach", cli->words[0], true);
}
