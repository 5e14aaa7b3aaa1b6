/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exec.start and terminal.open: commands that outlive the connection of who started them. Streams are offered before
 * the command is asked for, so that nothing is started that nobody can be given.
 */
#include <stdio.h>

#include "control/json.h"
#include "control/kept.h"
#include "control/lifecycle.h"
#include "control/session_methods.h"

enum { DEFAULT_ROWS = 24, DEFAULT_COLUMNS = 80 };

static const json_t *param(const struct call *call, const char *name)
{
	return json_object_get(call_params(call), name);
}

/* ---- the answer ---- */

static void reply(struct kept *kept, struct call *call, struct attach *attach, bool created)
{
	const bool terminal = kept->label.name[0];
	json_t *result = json_object();

	json_put(&result, "exec", json_string(kept->id));
	json_put(&result, "pid", json_integer(kept->pid));
	if (terminal) {
		json_put(&result, "terminal", json_string(kept->label.name));
		json_put(&result, "created", json_boolean(created));
	}
	attach_reply(attach, call, result, terminal);
}

static void on_conn_closed(struct conn *conn _unused_, void *owner)
{
	struct kept *kept = owner;

	/* Nobody will ever know its name. */
	kept_kill(kept);
	attach_drop(&kept->attach);
	call_fail(steal_ptr(&kept->call), E_UNAVAILABLE, true, NULL, "the connection ended");
}

/* Frees KEPT and returns its call, if that is still to be answered. */
static struct call *kept_take(struct kept *kept)
{
	struct call *call = kept->call;

	if (call && call_conn(call))
		conn_on_close(call_conn(call), NULL, kept);
	kept->call = NULL;
	kept_free(kept);
	return call;
}

static void on_started(struct init_exec *command, const struct err *err, int pid)
{
	struct kept *kept = container_of(command, struct kept, command);
	const struct session *session = kept->session;
	struct err why = { .num = -ECONNRESET, .step = "exec" };

	if (!err || err->num < 0) {
		if (err)
			why = *err;
		struct call *call = kept_take(kept);
		if (call)
			exec_fail_start(session, call, &why);
		return;
	}
	kept->pid = pid;
	struct call *call = steal_ptr(&kept->call);
	if (!call) {
		kept_kill(kept);
		return;
	}
	conn_on_close(call_conn(call), NULL, kept);
	session_emit(kept->session, "exec.started", json_pack("{s:s, s:i}", "exec", kept->id, "pid", pid));
	reply(kept, call, &kept->attach, true);
}

/* ---- the beginning ---- */

/* What is written on it, for control processes to come. */
static void fill_label(struct kept *kept, struct call *call, const char *name)
{
	const json_t *timeout = param(call, "timeout_seconds"), *command = param(call, "command"), *word;
	struct init_label *label = &kept->label;
	size_t i, used = 0;

	label->uid = call_caller(call)->uid;
	label->started_at_ns = realtime_ns();
	label->started_ns = boottime_ns();
	if (timeout)
		label->deadline_ns = label->started_ns + duration_ns(timeout);
	if (name)
		copy_string(label->name, sizeof(label->name), name);
	json_array_foreach (command, i, word) {
		int n = snprintf(label->command + used, sizeof(label->command) - used, "%s%s", i ? " " : "",
			json_string_value(word));
		used += (size_t)n;
		if (used >= sizeof(label->command))
			return;
	}
	if (!command)
		copy_string(label->command, sizeof(label->command), "shell");
}

static uint16_t size_of(const struct call *call, const char *name, uint16_t fallback)
{
	const json_t *value = param(call, name);

	return value ? (uint16_t)json_integer_value(value) : fallback;
}

/* Asks init. 0 or a negative errno. */
static int ask(struct kept *kept, struct call *call, int spec)
{
	struct init_start request = {
		.flags = kept->flags,
		.rows = size_of(call, "rows", DEFAULT_ROWS),
		.columns = size_of(call, "cols", DEFAULT_COLUMNS),
		.label = kept->label,
	};

	kept->command.on_started = on_started;
	int r = kept_arm_timeout(kept);
	if (r == 0)
		r = init_link_start(&kept->session->init, &kept->command, &request, spec);
	if (r == 0)
		kept_set_id(kept, kept->command.id);
	return r;
}

/* Starts what CALL says; answers it in any case, sooner or later. NAME: of a terminal, or NULL. */
static void start(struct session *session, struct call *call, uint32_t flags, const char *name, bool by_fd)
{
	struct err err = { .num = -ENOMEM, .step = "exec" };

	_close_ int spec = exec_spec(session, call, flags & START_TTY);
	if (spec < 0)
		return;
	struct kept *kept = kept_new(session, flags);
	if (!kept) {
		exec_fail_start(session, call, &err);
		return;
	}
	kept->attach.by_fd = by_fd;
	fill_label(kept, call, name);
	if (attach_all(kept, call, &kept->attach) < 0) {
		kept_free(kept);
		return;
	}
	int r = ask(kept, call, spec);
	if (r < 0) {
		err.num = r;
		kept_free(kept);
		exec_fail_start(session, call, &err);
		return;
	}
	kept->call = call;
	conn_on_close(call_conn(call), on_conn_closed, kept);
	session_active(session, ACTIVITY_EXEC);
}

void method_exec_start(struct call *call)
{
	const bool tty = json_is_true(param(call, "tty"));
	uint32_t flags = tty ? START_TTY : START_INPUT;
	struct session *session = exec_session(call);
	bool by_fd;

	if (!session || !exec_has_room(session, call, tty) || !attach_via(call, &by_fd))
		return;
	if (!tty && json_is_true(param(call, "merge")))
		flags |= START_MERGE;
	start(session, call, flags, NULL, by_fd);
}

/* ---- terminals ---- */

static void attach(struct kept *kept, struct call *call, bool by_fd)
{
	struct attach attaching = { .by_fd = by_fd };

	if (attach_all(kept, call, &attaching) == 0)
		reply(kept, call, &attaching, false);
}

/* A name that no other terminal of SESSION has. */
static void make_name(const struct session *session, char *name, size_t size)
{
	for (unsigned int i = 1; i <= INIT_MAX_KEPT + 1; i++) {
		snprintf(name, size, "terminal-%u", i);
		if (!kept_find(session, name))
			return;
	}
}

void method_terminal_open(struct call *call)
{
	const char *name = json_string_value(param(call, "name"));
	struct session *session = exec_session(call);
	char made[NAME_SIZE];
	bool by_fd;

	if (!session || !attach_via(call, &by_fd))
		return;
	struct kept *kept = name ? kept_find(session, name) : NULL;
	if (kept && !kept->ended && kept->label.name[0]) {
		if (param(call, "rows") || param(call, "cols"))
			kept_resize(
				kept, size_of(call, "rows", DEFAULT_ROWS), size_of(call, "cols", DEFAULT_COLUMNS));
		attach(kept, call, by_fd);
		return;
	}
	if (!exec_has_room(session, call, true))
		return;
	if (!name) {
		make_name(session, made, sizeof(made));
		name = made;
	}
	start(session, call, START_TTY, name, by_fd);
}

/* Attaches to what CALL names by PARAMETER. */
static void attach_named(struct call *call, const char *parameter)
{
	struct kept *kept = exec_kept_awake(call, parameter);
	bool by_fd;

	if (kept && attach_via(call, &by_fd))
		attach(kept, call, by_fd);
}

void method_terminal_attach(struct call *call)
{
	attach_named(call, "terminal");
}

void method_exec_attach(struct call *call)
{
	attach_named(call, "exec");
}
