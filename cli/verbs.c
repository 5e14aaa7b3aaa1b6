/* SPDX-License-Identifier: Apache-2.0 */
/* The table of verbs: parsing, help and completion follow from it. */
#include "cli/cli.h"

/* clang-format off */
/* What one that is made is like. */
#define CREATION_OPTIONS \
	{ "env",     'e', "NAME=VALUE",  OPT_PAIR,    "env", \
	  "a variable for the workload's environment; may be repeated" }, \
	{ "secret",  0, "NAME[=VALUE]",  OPT_SECRET,  "secrets", "the same, but shown and kept nowhere" }, \
	{ "limit",   'l', "NAME=NUMBER", OPT_LIMIT,   "limits", "a limit lower than the template's; may be repeated" }, \
	{ "label",   0, "NAME=VALUE",    OPT_PAIR,    "labels", "a word for `carrel list` to select by; may be repeated" }, \
	{ "ttl",     0, "DURATION",      OPT_SECONDS, "ttl_seconds", \
	  "end it after this long, used or not; the template's by default" }, \
	{ "idle",    0, "DURATION",      OPT_SECONDS, "idle_timeout_seconds", \
	  "end it when it is not used for this long; the template's by default" }, \
	{ "egress",  0, "POLICY",        OPT_TEXT,    "egress", \
	  "the network policy: one that `carrel template show` lists under egress_allowed" }, \
	{ "volume",  'v', "PATH[=VOLUME]", OPT_VOLUME, "volumes", \
	  "mount a volume where the template has a place for one; without a name the template's; may be repeated" }, \
	{ "wait",    0, "created|ready", OPT_TEXT,    "wait", \
	  "answer when the workload runs (created), or when its readiness probe succeeded (ready, the default)" }, \
	{ "queue",   0, "DURATION",      OPT_SECONDS, "queue_timeout_seconds", "wait so long for room where there is none" }, \
	{ "idempotency-key", 0, "KEY",   OPT_TEXT,    "idempotency_key", \
	  "makes it safe to ask again: the same key with the same options gives the same session" }

static const struct option create_options[] = {
	{ "id",      0, "ID",            OPT_TEXT,    "id", "its name; one is made up when none is given" },
	{ "owner",   0, "OWNER",         OPT_TEXT,    "owner", "whom it belongs to, in your own words: an address, a number" },
	CREATION_OPTIONS,
	{ "timeline", 't', NULL,         OPT_SWITCH,  NULL, "show how long each step took" },
	{ "quiet",   'q', NULL,          OPT_SWITCH,  NULL, "print the session's id and nothing else" },
	{ 0 },
};

static const struct option ensure_options[] = {
	{ "isolation", 'i', "shared|per-owner|per-task", OPT_TEXT, "isolation", "whom the session is for; per-owner by default" },
	{ "owner",   0, "OWNER",         OPT_TEXT,    "owner", "whose session it is; else its task or thread names him" },
	{ "task",    0, "TASK",          OPT_TEXT,    "task_id", "what it is for; names the owner of a session per-task" },
	{ "thread",  0, "THREAD",        OPT_TEXT,    "thread_id", "names the owner where nothing else does" },
	{ "id",      0, "ID",            OPT_TEXT,    "id", "the name of one that is made; one is made up when none is given" },
	CREATION_OPTIONS,
	{ "quiet",   'q', NULL,          OPT_SWITCH,  NULL, "print the session's id and nothing else" },
	{ 0 },
};

static const struct option list_options[] = {
	{ "owner",    0, "OWNER",       OPT_TEXT, "owner", "only those of this owner" },
	{ "template", 0, "TEMPLATE",    OPT_TEXT, "template", "only those made from this template" },
	{ "state",    0, "creating|starting|ready|paused|stopping|ended", OPT_TEXT, "state", "only those in this state" },
	{ "label",    0, "NAME=VALUE",  OPT_PAIR, "labels", "only those with this label; may be repeated" },
	{ "quiet",    'q', NULL,        OPT_SWITCH, NULL, "print ids and nothing else" },
	{ 0 },
};

static const struct option wait_options[] = {
	{ "for",     0, "ready|ended", OPT_TEXT,    "for", "what to wait for: ready by default" },
	{ "timeout", 0, "DURATION",    OPT_SECONDS, "timeout_seconds", "how long to wait; for ever by default" },
	{ 0 },
};

static const struct option logs_options[] = {
	{ "follow",    'f', NULL,     OPT_SWITCH, "follow", "go on as more is written, until the session has ended" },
	{ "since",     0, "POSITION", OPT_COUNT,  "since", "begin there: \"next\" of an earlier `carrel logs --json`" },
	{ "max-bytes", 0, "BYTES",    OPT_COUNT,  "max_bytes", "print so much of it at most" },
	{ "times",     't', NULL,     OPT_SWITCH, NULL, "show when each line was written" },
	{ 0 },
};

#define DETACH_KEYS                                                                                     \
	{ "detach-keys", 0, "KEYS", OPT_TEXT, NULL,                                                     \
	  "these leave the terminal, instead of ctrl-p,ctrl-q: characters, or ctrl- and one; none if empty" }

static const struct option exec_options[] = {
	{ "env",        'e', "NAME=VALUE", OPT_PAIR,    "env",
	  "a variable for its environment, added to the template's; may be repeated" },
	{ "cwd",        'w', "DIR",        OPT_TEXT,    "cwd", "directory to run it in; the workload's by default" },
	{ "user",       'u', "USER",       OPT_TEXT,    "user",
	  "name, name:group, uid or uid:gid in the session; the workload's by default" },
	{ "timeout",    0, "DURATION",     OPT_SECONDS, "timeout_seconds",
	  "then the command and its process group are killed, and the exit status is 124" },
	{ "max-output", 0, "BYTES",        OPT_COUNT,   "max_output_bytes",
	  "keep so much of its output, from the start; 1 MiB by default" },
	{ "merge",      0, NULL,           OPT_SWITCH,  "merge", "its standard error goes where its standard output goes" },
	{ "interactive", 'i', NULL,        OPT_SWITCH,  NULL, "pass input on as it comes, and output as it is printed" },
	{ "tty",        't', NULL,         OPT_SWITCH,  NULL, "give it a terminal; ctrl-p ctrl-q leaves it" },
	DETACH_KEYS,
	{ "no-stdin",   'n', NULL,         OPT_SWITCH,  NULL, "leave standard input alone; the command gets /dev/null" },
	{ 0 },
};

#define BY_OWNER "instead of a session: the newest one of this owner, one that has not ended first"

static const struct option limit_options[] = {
	{ "limit", 'l', "NAME=NUMBER", OPT_LIMIT, "limits", "a limit and its new value; may be repeated" },
	{ 0 },
};

static const struct option shell_options[] = {
	{ "name", 0, "NAME",       OPT_TEXT, "name", "of the terminal: one that is there is come back to; one is made up by default" },
	{ "env",  'e', "NAME=VALUE", OPT_PAIR, "env", "a variable for its environment; may be repeated" },
	{ "cwd",  'w', "DIR",      OPT_TEXT, "cwd", "directory to begin in; the workload's by default" },
	{ "user", 'u', "USER",     OPT_TEXT, "user", "name, name:group, uid or uid:gid in the session; the workload's by default" },
	DETACH_KEYS,
	{ 0 },
};

static const struct option attach_options[] = {
	DETACH_KEYS,
	{ 0 },
};

static const struct option ls_options[] = {
	{ "long",      'l', NULL, OPT_SWITCH, NULL, "modes, owners, sizes and times, too" },
	{ "recursive", 'R', NULL, OPT_SWITCH, NULL, "and what is in the directories below" },
	{ 0 },
};

static const struct option top_options[] = {
	{ "interval", 0, "DURATION", OPT_SECONDS, NULL, "from one look to the next; 2 seconds by default" },
	{ "count", 'n', "NUMBER", OPT_COUNT, NULL, "end after so many; never by default" },
	{ 0 },
};

static const struct option stop_options[] = {
	{ "all", 0, NULL, OPT_SWITCH, NULL, "every session that you may see, all at the same time" },
	{ "grace", 0, "DURATION", OPT_SECONDS, "grace_seconds",
	  "from the stop signal to SIGKILL; the template's by default" },
	{ "owner", 0, "OWNER",    OPT_TEXT,    "owner", BY_OWNER },
	{ 0 },
};

static const struct option remove_options[] = {
	{ "volumes", 0, "keep|remove", OPT_TEXT, "volumes", "what becomes of its volumes; else what was said when it was made" },
	{ "owner",   0, "OWNER",       OPT_TEXT, "owner", BY_OWNER },
	{ 0 },
};

static const struct option port_options[] = {
	{ "unix",   0, NULL,           OPT_SWITCH, NULL, "publish it as a unix socket of the host, and print its path (the default)" },
	{ "tcp",    0, "ADDRESS:PORT", OPT_TEXT,   NULL, "publish it as a TCP port of the host, and print it; \":\" for any that the configuration has" },
	{ "stdio",  0, NULL,           OPT_SWITCH, NULL, "connect once, to standard input and output" },
	{ "remove", 0, NULL,           OPT_SWITCH, NULL, "take back what is published under this name: carrel port --remove SESSION NAME" },
	{ "name",   0, "NAME",         OPT_TEXT,   "name", "what to call the endpoint that is published" },
	{ 0 },
};

static const struct option volumes_options[] = {
	{ "owner", 0, "OWNER", OPT_TEXT, "owner", "only those of this owner" },
	{ 0 },
};

static const struct option owner_options[] = {
	{ "owner", 0, "OWNER", OPT_TEXT, "owner", BY_OWNER },
	{ 0 },
};

static const struct option events_options[] = {
	{ "since",   0, "NUMBER",  OPT_COUNT, "since", "first what came after this event and is still kept" },
	{ "owner",   0, "OWNER",   OPT_TEXT,  "owner", "only those of this owner's sessions" },
	{ "session", 0, "SESSION", OPT_TEXT,  "session", "only those of this session" },
	{ "kind",    0, "KIND",    OPT_LIST,  "kinds",
	  "only those of this kind, as session.ended, or of a group, as session.*; may be repeated" },
	{ 0 },
};

static const struct option health_options[] = {
	{ "wait", 0, "DURATION", OPT_SECONDS, NULL, "try for so long to reach a carrel that is being started" },
	{ 0 },
};

static const struct option check_options[] = {
	{ "config", 0, "DIR", OPT_TEXT, NULL, "the configuration to check where no carreld answers; else " CARREL_CONFIG_DIR },
	{ 0 },
};

#define STORE_OPTIONS \
	{ "config", 0, "DIR", OPT_TEXT, NULL, "where carrel.json names the state directory; else " CARREL_CONFIG_DIR }, \
	{ "state-dir", 0, "DIR", OPT_TEXT, NULL, "the state directory itself; else \"state_dir\" of carrel.json, else " DEFAULT_STATE_DIR }

static const struct option store_options[] = {
	STORE_OPTIONS,
	{ 0 },
};

static const struct option build_options[] = {
	{ "package", 'p', "PACKAGE", OPT_LIST, NULL, "one more Debian package (browser, browser-small, dind); may be repeated" },
	{ "force", 0, NULL, OPT_SWITCH, NULL, "build although the image is current" },
	{ "libexec-dir", 0, "DIR", OPT_TEXT, NULL, "where carrel's own programs are; else " CARREL_LIBEXEC_DIR },
	STORE_OPTIONS,
	{ 0 },
};

const struct verb verb_table[] = {
	{ "create", "TEMPLATE [COMMAND...]", "make a session", "session.create", run_create, 1, 1, true, create_options,
	  "A DURATION is a number of seconds, or 90s, 30m, 12h, 7d, or never. Limits with K, M, G or T are powers of 1024.\n"
	  "A secret without a value is taken from the environment, so that no command line shows it. COMMAND runs in place of\n"
	  "the template's; options behind its first word, or behind --, are its own. `carrel help session.create` lists the\n"
	  "limits." },
	{ "ensure", "TEMPLATE [COMMAND...]", "find the session of an owner or a task, or make it", "session.ensure", run_ensure, 1, 1, true,
	  ensure_options, "Any number of these at once, for one owner, make one session." },
	{ "list", "", "show the sessions that you may see", "session.list", run_list, 0, 0, false, list_options, NULL },
	{ "show", "[SESSION]", "show everything about a session", "session.get", run_show, 0, 1, false, owner_options, NULL },
	{ "wait", "SESSION", "wait until a session is ready, or has ended", "session.wait", run_wait, 1, 1, false,
	  wait_options, "Exits with 124 when it did not happen in time." },
	{ "logs", "SESSION", "print what a session's workload wrote", "session.logs", run_logs, 1, 1, false, logs_options, NULL },
	{ "exec", "SESSION COMMAND...", "run a command in a session", "exec.run", run_exec, 1, 1, true, exec_options,
	  "Waits for the command and prints what it printed. Standard input goes along, to its end, if it is no terminal and\n"
	  "holds text of at most 1 MiB. The exit status is the command's, or 128 and the number of the signal that ended it;\n"
	  "125 to 127 are carrel's own, with an error on standard error: not run, not to be started, not there." },
	{ "shell", "SESSION [COMMAND...]", "open a terminal in a session", "terminal.open", run_shell, 1, 1, true, shell_options,
	  "The terminal, with what runs in it, stays when you leave it by ctrl-p ctrl-q or when the connection breaks; it ends\n"
	  "with its shell, whose exit status is this program's." },
	{ "attach", "SESSION TERMINAL", "come back to a terminal, or to what exec -i or -t started", "exec.attach", run_attach, 2, 2,
	  false, attach_options, NULL },
	{ "cp", "SOURCE... TARGET", "copy files and directories into and out of sessions", NULL, run_cp, 2, MAX_WORDS, false,
	  NULL,
	  "One side is SESSION:PATH, the other a path of this host; ./NAME is a file whose name has a colon. Into a directory\n"
	  "that is there a copy gets the name of its source; DIRECTORY/. is what is in it. A file appears under its name when\n"
	  "it is complete. With - for SOURCE or TARGET a tar is read from standard input or written to standard output.\n"
	  "What comes here belongs to you, and nothing of it lands outside of TARGET; links are copied as links." },
	{ "ls", "SESSION[:PATH]", "list a directory of a session", "file.list", run_ls, 1, 1, false, ls_options, NULL },
	{ "cat", "SESSION:PATH...", "print files of sessions", "file.read", run_cat, 1, MAX_WORDS, false, NULL, NULL },
	{ "stats", "[SESSION...]", "show what sessions use", "session.stats", run_stats, 0, MAX_WORDS, false, NULL,
	  "Without operands: all sessions that you may see and that have not ended." },
	{ "top", "", "show what sessions use, again and again", "session.stats", run_top, 0, 0, false, top_options,
	  "The busiest are first. CPU is in hundredths of one processor; IN and OUT are what passes the network." },
	{ "limit", "SESSION...", "change limits of sessions that run", "session.set_limits", run_each, 1, MAX_WORDS, false,
	  limit_options, "At most to what the template allows.\n"
	  "Limits with K, M, G or T are powers of 1024; `carrel show` lists them." },
	{ "pause", "SESSION...", "freeze sessions", "session.pause", run_each, 1, MAX_WORDS, false, NULL, NULL },
	{ "resume", "SESSION...", "thaw sessions", "session.resume", run_each, 1, MAX_WORDS, false, NULL, NULL },
	{ "stop", "[SESSION...]", "end sessions", "session.stop", run_stop, 0, MAX_WORDS, false, stop_options, NULL },
	{ "remove", "[SESSION...]", "end sessions and forget them", "session.remove", run_each, 0, MAX_WORDS, false,
	  remove_options, NULL },
	{ "events", "", "print events as they happen", "events.subscribe", run_events, 0, 0, false, events_options,
	  "Every event has a number: give the last one seen as --since to miss nothing." },
	{ "template list", "", "show what sessions can be made", "template.list", run_template_list, 0, 0, false, NULL, NULL },
	{ "template show", "TEMPLATE", "show everything about a template", "template.get", run_template_show, 1, 1, false,
	  NULL, NULL },
	{ "pool list", "[TEMPLATE]", "show how many sessions are kept ready", "pool.get", run_pool_list, 0, 1, false, NULL,
	  "CLAIMS are requests that were given one of them, MISSES those that could have been but found none ready." },
	{ "pool resize", "TEMPLATE N", "keep this many sessions of a template ready", "pool.set", run_pool_resize, 2, 2, false, NULL,
	  "Instead of what the configuration says, until the pool is resized again; 0 keeps none." },
	{ "port", "SESSION PORT", "reach a port of a session, or a socket in it", "port.publish", run_port, 2, 2, false,
	  port_options,
	  "PORT is a number, or the absolute path of a stream socket in the session.\n" },
	{ "volume list", "", "show the volumes that you may see", "volume.list", run_volume_list, 0, 0, false, volumes_options,
	  NULL },
	{ "volume show", "VOLUME", "show everything about a volume", "volume.get", run_volume_show, 1, 1, false, NULL, NULL },
	{ "volume remove", "VOLUME...", "remove volumes that no session has, with all that is in them", "volume.remove",
	  run_volume_remove, 1, MAX_WORDS, false, NULL, NULL },
	{ "image list", "", "show the images of this host", NULL, run_image_list, 0, 0, false, store_options, NULL },
	{ "image build", "IMAGE", "make or renew an image", NULL, run_image_build, 1, 1, false, build_options,
	  "  browser        Chromium from Debian packages, built by mmdebstrap from the sources that this host's apt uses\n"
	  "  browser-small  the same with chromium-headless-shell\n"
	  "  dind           a Docker daemon, git and editors from Debian packages, and the empty file systems on which its\n"
	  "                 templates' sessions keep their Docker data\n"
	  "  minimal        this host's busybox and nothing else\n"
	  "  host           a skeleton over this host's own /usr, which the template shows read-only\n"
	  "\n"
	  "Needs root. An image that is current is left as it is. A new one takes the place of the old in one step; sessions\n"
	  "that run keep the old one until they end." },
	{ "image remove", "IMAGE", "remove an image that no session uses", NULL, run_image_remove, 1, 1, false, store_options,
	  NULL },
	{ "check", "", "say what carrel needs of this host and whether it is there", "system.check", run_check, 0, 0, false,
	  check_options, "Where no carreld answers, the check is made by `carreld --check` itself, for which root is needed.\n"
	  "Exits with 1 when something is missing without which carreld does not start." },
	{ "health", "", "say whether carrel is well", "system.health", run_health, 0, 0, false, health_options, NULL },
	{ "capacity", "", "say what more this host takes", "system.capacity", run_info, 0, 0, false, NULL, NULL },
	{ "metrics", "", "print counters, gauges and histograms for Prometheus", "system.metrics", run_metrics, 0, 0, false, NULL, NULL },
	{ "drain", "on|off", "take no new sessions, or take them again", "system.drain", run_drain, 1, 1, false, NULL,
	  "Sessions that there are go on. A host stays drained when it is restarted." },
	{ "info", "", "describe the host and its carrel", "system.info", run_info, 0, 0, false, NULL, NULL },
	{ "rpc", "METHOD [JSON]", "call any method and print its result", NULL, run_rpc, 1, 2, false, NULL,
	  "JSON is the method's parameters; - reads them from standard input. `carrel help METHOD` describes one." },
	{ "complete", "N WORD...", "what may stand as word N of a command line, for the shell's completion", NULL,
	  run_complete, 1, MAX_WORDS, true, NULL, NULL },
	{ "version", "", "print the versions of this program and of the carrel that runs", NULL, run_version, 0, 0, false,
	  NULL, NULL },
	{ "help", "[VERB | METHOD]", "say how carrel, a command or a method of the API is used", NULL, run_help, 0, 2, false,
	  NULL, NULL },
	{ 0 },
};
/* clang-format on */
