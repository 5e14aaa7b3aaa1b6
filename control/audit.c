/* SPDX-License-Identifier: Apache-2.0 */
#include "control/audit.h"

#include <stdio.h>

#include "control/json.h"
#include "wire/loop.h"

enum { MAX_NAME_BYTES = 256 }; /* of an owner */

#define PRICE_NS (NS_PER_SEC / AUDIT_PER_SECOND)

bool audit_wants(const struct config *config, const struct method *method)
{
	return config->audit == AUDIT_ALL || (config->audit == AUDIT_CHANGES && !method->reads);
}

const char *audit_outcome(const json_t *answer)
{
	const json_t *error = json_object_get(answer, "error");
	const char *kind = json_string_value(json_object_get(json_object_get(error, "data"), "kind"));

	return kind ? kind : error ? "invalid_request" : answer ? "ok" : "failed";
}

/* What is longer was no name, and was refused. */
static bool is_name(const json_t *value)
{
	return json_is_string(value) && json_string_length(value) <= MAX_NAME_BYTES;
}

/* The first of the names NAME in A and OTHER in B that there is. */
static json_t *first_string(const json_t *a, const char *name, const json_t *b, const char *other)
{
	const json_t *value = json_object_get(a, name);

	if (!is_name(value))
		value = json_object_get(b, other);
	return is_name(value) ? json_incref((json_t *)(uintptr_t)value) : NULL;
}

static void put_known(json_t **object, const char *name, json_t *value)
{
	if (value)
		json_put(object, name, value);
}

static void put_line(json_t *line)
{
	_free_ char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;

	json_decref(line);
	/* One write, so that lines stay whole; standard error is not buffered. */
	if (text)
		fprintf(stderr, "carrel-control: audit %s\n", text);
}

/* Takes a line out of the budget. False: there is none left. */
static bool spend(struct audit_budget *budget, uint64_t now_ns)
{
	uint64_t from_ns = budget->spent_until_ns > now_ns ? budget->spent_until_ns : now_ns;

	if (from_ns - now_ns > (AUDIT_BURST - 1) * PRICE_NS) {
		budget->n_left_out++;
		return false;
	}
	budget->spent_until_ns = from_ns + PRICE_NS;
	return true;
}

static json_t *begin_line(const struct caller *caller, const char *method)
{
	json_t *line = json_object();

	json_put(&line, "uid", json_integer(caller->uid));
	json_put(&line, "pid", json_integer(caller->pid));
	json_put(&line, "role", json_string(caller->role == ROLE_NONE ? "none" : role_name(caller->role)));
	json_put(&line, "method", json_string(method));
	return line;
}

/* Prints LINE, which is stolen, with what was left out before it. */
static void end_line(struct audit_budget *budget, json_t *line)
{
	if (budget->n_left_out > 0)
		json_put(&line, "left_out", json_integer((json_int_t)budget->n_left_out));
	budget->n_left_out = 0;
	put_line(line);
}

void audit_refused(struct audit_budget *budget, uint64_t now_ns, const struct caller *caller)
{
	json_t *line;

	if (!spend(budget, now_ns))
		return;
	line = begin_line(caller, "connect");
	json_put(&line, "outcome", json_string("denied"));
	end_line(budget, line);
}

void audit_write(struct audit_budget *budget, uint64_t now_ns, const struct audit_entry *entry)
{
	const json_t *result = json_object_get(entry->answer, "result");
	const json_t *data = json_object_get(json_object_get(entry->answer, "error"), "data");
	json_t *line;

	if (!spend(budget, now_ns))
		return;
	line = begin_line(entry->caller, entry->method->name);
	json_t *session = first_string(entry->params, "session", result, "id");
	put_known(&line, "session", session ? session : first_string(data, "session", entry->params, "id"));
	put_known(&line, "owner", first_string(entry->params, "owner", result, "owner"));
	put_known(&line, "template", first_string(entry->params, "template", NULL, NULL));
	json_put(&line, "outcome", json_string(audit_outcome(entry->answer)));
	json_put(&line, "ms", json_integer((json_int_t)(entry->elapsed_ns / NS_PER_MS)));
	end_line(budget, line);
}

void audit_close(struct audit_budget *budget, uid_t uid)
{
	if (budget->n_left_out > 0)
		put_line(json_pack("{s:I, s:I}", "uid", (json_int_t)uid, "left_out", (json_int_t)budget->n_left_out));
	budget->n_left_out = 0;
}
