/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/failure.h"

#include <stdarg.h>

/* What can be done about it. The first row that fits is shown; NULL fits everything. */
struct hint {
	const char *kind, *step, *num;
	const char *text;
	const char *path; /* the parameter that it is about */
};

/* clang-format off */
static const struct hint hints[] = {
	{ "unreachable", "connect", "EACCES",
	  "the socket belongs to group carrel: `adduser NAME carrel`, then log in again" },
	{ "unreachable", "connect", "ENOENT", "is carreld running? `systemctl status carreld`" },
	{ "unreachable", "connect", "ECONNREFUSED", "is carreld running? `systemctl status carreld`" },
	{ "unreachable", "connect", "EAGAIN", "carrel has more clients waiting than it can take; try again" },
	{ "unreachable", "read", NULL, "carrel-control went away and is started again by carreld: `carrel health`" },
	{ "timeout", "answer", NULL, "carrel-control hangs or is overloaded: `systemctl status carreld`" },
	{ "not_found", NULL, NULL, "`carrel list` and `carrel template list` show what you may see" },
	{ "already_exists", NULL, NULL, "choose another id, or `carrel remove` the session that has it" },
	{ "limit", NULL, NULL, "`carrel template show NAME` lists the template's limits" },
	{ "denied", NULL, NULL, "`carrel template show NAME` says which policies a template allows", "egress" },
	{ "denied", NULL, NULL, "roles are given in /etc/carrel/carrel.json under \"access\"" },
	{ "draining", NULL, NULL, "this host takes no new sessions until an operator ends the drain" },
	{ "failed", "rootfs", "ENOENT", "is the image there? `carrel image list`, `carrel image build NAME`" },
	{ "failed", "store", "ENOENT", "no image has been built there: `carrel image build NAME`" },
	{ "unavailable", NULL, NULL, "`carrel check` says what this host lacks" },
};
/* clang-format on */

enum { JSONRPC_NO_METHOD = -32601 };

static json_t *failure_data(const struct failure *why)
{
	return json_object_get(why->error, "data");
}

/* A member of data as a string, or NULL. */
static const char *member(const struct failure *why, const char *name)
{
	return json_string_value(json_object_get(failure_data(why), name));
}

static const char *local_kind(enum exit_code code)
{
	switch (code) {
	case EXIT_USAGE:
		return "usage";
	case EXIT_UNREACHABLE:
		return "unreachable";
	case EXIT_TIMED_OUT:
		return "timeout";
	case EXIT_OK:
	case EXIT_REFUSED:
	case EXIT_NOT_RUN:
	case EXIT_NOT_STARTED:
	case EXIT_NO_COMMAND:
		break;
	}
	return "failed";
}

/* A string of JSON. Words of the command line and of other programs need not be UTF-8: then they lose what is not ASCII. */
static json_t *any_string(const char *text)
{
	json_t *string = json_string(text);

	if (string || !text)
		return string;
	_free_ char *copy = strdup(text);
	for (char *c = copy; c && *c; c++)
		*c = (unsigned char)*c < 0x80 ? *c : '?';
	return json_string(copy);
}

int failure_set(struct failure *why, enum exit_code code, int num, const char *format, ...)
{
	char message[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);

	json_decref(why->error);
	why->code = code;
	why->error = json_pack("{so, s{ss}}", "message", any_string(message), "data", "kind", local_kind(code));
	if (num && code != EXIT_USAGE)
		failure_add(why, "errno", strerrorname_np(-num));
	return num ? num : -EIO;
}

void failure_add(struct failure *why, const char *name, const char *value)
{
	json_object_set_new(failure_data(why), name, any_string(value));
}

int failure_from(struct failure *why, json_t *error)
{
	json_decref(why->error);
	why->error = error;
	const char *kind = member(why, "kind");
	why->code = kind && streq(kind, "timeout") ? EXIT_TIMED_OUT : EXIT_REFUSED;
	return -EREMOTEIO;
}

static const char *errno_text(const char *name)
{
	for (int num = 1; name && num < 256; num++) {
		const char *known = strerrorname_np(num);
		if (known && streq(known, name))
			return strerrordesc_np(num);
	}
	return NULL;
}

static const char *find_hint(const struct failure *why)
{
	const char *kind = member(why, "kind"), *step = member(why, "step"), *num = member(why, "errno");
	const char *path = member(why, "path");

	if (member(why, "hint"))
		return member(why, "hint");
	if (json_integer_value(json_object_get(why->error, "code")) == JSONRPC_NO_METHOD)
		return "carrel-control may be older than this client: `carrel version` shows both";
	for (size_t i = 0; kind && i < ARRAY_SIZE(hints); i++) {
		const struct hint *hint = &hints[i];
		if (streq(hint->kind, kind) && (!hint->step || (step && streq(hint->step, step))) &&
			(!hint->num || (num && streq(hint->num, num))) &&
			(!hint->path || (path && streq(hint->path, path))))
			return hint->text;
	}
	return NULL;
}

static void print_field(const struct term *term, FILE *out, const char *name, const char *value)
{
	if (!value)
		return;
	_free_ char *text = term_text(term, value);
	fprintf(out, "  %s%-8s%s %s\n", term_on(term, STYLE_DIM), name, term_off(term, STYLE_DIM), text ? text : "");
}

static void print_log(const struct term *term, FILE *out, const char *log)
{
	_free_ char *copy = log ? strdup(log) : NULL;
	const char *name = "log";
	char *rest = copy;

	for (char *line; rest && (line = strsep(&rest, "\n"));) {
		if (!*line && !rest)
			break;
		_free_ char *text = term_text(term, line);
		fprintf(out, "  %s%-8s |%s %s\n", term_on(term, STYLE_DIM), name, term_off(term, STYLE_DIM),
			text ? text : "");
		name = "";
	}
}

void failure_print(const struct failure *why, const char *verb, const struct term *term, FILE *out)
{
	const char *message = json_string_value(json_object_get(why->error, "message"));
	const char *num = member(why, "errno"), *meaning = errno_text(num), *kind = member(why, "kind");
	json_t *retry = json_object_get(failure_data(why), "retry_after_ms");
	char line[160];

	_free_ char *text = term_text(term, message ? message : "out of memory");
	fprintf(out, "carrel%s%s: %s%s%s\n", verb ? " " : "", verb ? verb : "", term_on(term, STYLE_BAD),
		text ? text : "out of memory", term_off(term, STYLE_BAD));
	if (kind && why->code != EXIT_USAGE)
		print_field(term, out, "kind", kind);
	print_field(term, out, "member", member(why, "path"));
	print_field(term, out, "session", member(why, "session"));
	print_field(term, out, "step", member(why, "step"));
	if (num) {
		snprintf(line, sizeof(line), meaning ? "%s (%s)" : "%s", num, meaning);
		print_field(term, out, "errno", line);
	}
	print_log(term, out, member(why, "log_tail"));
	if (json_is_integer(retry)) {
		snprintf(line, sizeof(line), "try again in %lld ms", (long long)json_integer_value(retry));
		print_field(term, out, "hint", line);
	} else {
		print_field(term, out, "hint", find_hint(why));
	}
}

void failure_print_json(const struct failure *why, FILE *out)
{
	json_t *line = json_pack("{sO?, si}", "error", why->error, "exit_code", (int)why->code);

	if (line)
		json_dumpf(line, out, JSON_COMPACT);
	fputc('\n', out);
	json_decref(line);
}
