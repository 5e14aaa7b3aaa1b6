/* SPDX-License-Identifier: Apache-2.0 */
/*
 * carrel, the command line client. Runs as whoever calls it, with nothing but the rights of that user: it asks
 * control over the JSON-RPC socket and prints the answers. Only `image build` and `image remove` act by themselves;
 * they work on the image store and therefore need root.
 *
 * A command is a row of the verb table (verbs.c): what it is called, its operands and options, the method it calls.
 * Parsing (args.c), help (help.c) and completion (complete.c) follow from the table; the functions that do the work
 * are in verbs_session.c, verbs_exec.c, verbs_port.c, verbs_volume.c, verbs_host.c and verbs_image.c. What those share: client.c (socket and JSON-RPC), failure.c
 * (what went wrong, exit codes, hints), term.c and table.c (terminals, tables), format.c (numbers and times in words).
 *
 * Links libc and jansson; nothing of carrel's other folders but wire/def.h.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "cli/client.h"
#include "cli/failure.h"
#include "cli/term.h"

#define DEFAULT_SOCKET "/run/carrel/api.sock"
#define DEFAULT_STATE_DIR "/var/lib/carrel"

enum option_kind {
	OPT_SWITCH, /* takes no value: true */
	OPT_TEXT,
	OPT_COUNT, /* an integer from 0 */
	OPT_SECONDS, /* 90, 90s, 30m, 12h, 7d; "never" is null */
	OPT_LIST, /* may be repeated: an array of strings */
	OPT_PAIR, /* NAME=VALUE, may be repeated: an object of strings */
	OPT_SECRET, /* as OPT_PAIR; NAME alone takes the value from the environment */
	OPT_VOLUME, /* PATH[=VOLUME], may be repeated: an array of {path, name?} */
	OPT_LIMIT, /* NAME=NUMBER, may be repeated: an object of numbers; 512M, 2G, 1.5 */
};

struct option {
	const char *name; /* without the dashes */
	char letter; /* a short form, or 0 */
	const char *value; /* what the help calls its value; NULL for a switch */
	enum option_kind kind;
	const char *param; /* the parameter of the method that it sets, or NULL: for the verb itself */
	const char *help;
};

struct cli;

struct verb {
	const char *name; /* "create", "image build" */
	const char *operands; /* "TEMPLATE [COMMAND...]" */
	const char *help; /* one line */
	const char *method; /* the method it calls, whose description the help shows; or NULL */
	enum exit_code (*run)(struct cli *cli);
	size_t min_words, max_words; /* operands, without those after "--" */
	bool takes_command; /* what follows the operands, or "--", is a command */
	const struct option *options; /* ends with a NULL name; NULL for none */
	const char *details; /* paragraphs at the end of the verb's help, or NULL */
};

extern const struct verb verb_table[]; /* ends with a NULL name */
extern const struct option global_options[];

/* One run of the program. */
struct cli {
	const struct verb *verb;
	const char *socket_path;
	bool json; /* print for programs */
	struct term out, err; /* what standard output and standard error are */
	json_t *params; /* from options with a param: the request's parameters */
	json_t *options; /* from the others, by name */
	char **words; /* operands; point into argv */
	size_t n_words;
	char **command; /* NULL-terminated; NULL when there was none */
};

/* No command line may have more operands. */
enum { MAX_WORDS = 256 };

/*
 * Fills CLI from the command line, argv[0] left out. 0, or -EINVAL with WHY saying what is wrong in which word. ARGV is
 * borrowed for the life of CLI. `--help` and `--version` become verbs of that name.
 */
int args_parse(struct cli *cli, int argc, char **argv, struct failure *why);
void args_free(struct cli *cli);

/* What an option for the verb itself was given as: NULL / false when it was not. */
const char *option_text(const struct cli *cli, const char *name);
bool option_set(const struct cli *cli, const char *name);

/* The row of a verb, from one or two words; NULL for none. RET_USED (may be NULL) is how many words its name has. */
const struct verb *verb_find(char *const *words, size_t n, size_t *ret_used);

/* Help: all verbs; those whose first word is GROUP (false: none); one verb with what its method's table says of it. */
void help_overview(const struct cli *cli, FILE *out);
bool help_group(const char *group, FILE *out);
void help_verb(const struct cli *cli, const struct verb *verb, FILE *out);

/* One method of DOCUMENT, which is what rpc.discover answers: parameters and result. False when it is not there. */
bool help_method(const json_t *document, const char *method, const struct term *term, FILE *out);

/* What rpc.discover of this version answers, from the time of the build. The caller's. */
json_t *methods_document(void);

/* Prints WHY on standard error, for people or for programs as CLI says, frees it and returns its exit code. */
enum exit_code cli_failed(const struct cli *cli, struct failure *why);

/* The same for a message made here. NUM is a negative errno, or 0. */
enum exit_code cli_fail(const struct cli *cli, enum exit_code code, int num, const char *format, ...) _printf_(4, 5);

/*
 * Calls the verb's method with the parameters that the command line gave, on a connection of its own. As client_call().
 */
int cli_ask(const struct cli *cli, int timeout_ms, json_t **ret_result, struct failure *why);

/* Prints JSON for programs: indented on a terminal, else on one line. */
void print_json(const struct cli *cli, const json_t *value);

/* Prints TEXT in STYLE, made safe for terminals; NULL is nothing. The second fills up to COLUMNS with spaces. */
void print_text(const struct cli *cli, enum style style, const char *text);
void print_padded(const struct cli *cli, enum style style, const char *text, size_t columns);

/* The string that is member NAME, or NULL. */
const char *text_of(const json_t *object, const char *name);

/* All sessions that PARAMS (stolen) select, page by page: an array, the caller's; NULL with WHY. */
json_t *fetch_sessions(struct client *client, json_t *params, struct failure *why);

enum exit_code run_create(struct cli *cli);
enum exit_code run_ensure(struct cli *cli);
enum exit_code run_list(struct cli *cli);
enum exit_code run_show(struct cli *cli);
enum exit_code run_wait(struct cli *cli);
enum exit_code run_logs(struct cli *cli);
enum exit_code run_stats(struct cli *cli);
enum exit_code run_top(struct cli *cli);
enum exit_code run_each(struct cli *cli); /* stop, remove, pause, resume: the verb's method, for every operand */
enum exit_code run_stop(struct cli *cli);
enum exit_code run_exec(struct cli *cli);
/* cli_failed() with the exit status that tells carrel's failure from the command's: 125, or 126 and 127 as shells do. */
enum exit_code exec_failed(const struct cli *cli, struct failure *why);
enum exit_code run_exec_streams(struct cli *cli); /* exec -i and -t */
enum exit_code run_shell(struct cli *cli);
enum exit_code run_attach(struct cli *cli);
enum exit_code run_ls(struct cli *cli);
enum exit_code run_cat(struct cli *cli);
enum exit_code run_cp(struct cli *cli);
enum exit_code run_events(struct cli *cli);
enum exit_code run_check(struct cli *cli);
enum exit_code run_info(struct cli *cli); /* the verb's method, printed member by member */
enum exit_code run_metrics(struct cli *cli);
enum exit_code run_drain(struct cli *cli);
enum exit_code run_health(struct cli *cli);
enum exit_code run_template_list(struct cli *cli);
enum exit_code run_template_show(struct cli *cli);
enum exit_code run_pool_list(struct cli *cli);
enum exit_code run_pool_resize(struct cli *cli);
enum exit_code run_image_list(struct cli *cli);
enum exit_code run_image_build(struct cli *cli);
enum exit_code run_image_remove(struct cli *cli);
enum exit_code run_port(struct cli *cli);
enum exit_code run_volume_list(struct cli *cli);
enum exit_code run_volume_show(struct cli *cli);
enum exit_code run_volume_remove(struct cli *cli);
enum exit_code run_rpc(struct cli *cli);
enum exit_code run_complete(struct cli *cli);
enum exit_code run_version(struct cli *cli);
enum exit_code run_help(struct cli *cli);
