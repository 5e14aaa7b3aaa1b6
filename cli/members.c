/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/members.h"

#include "cli/format.h"

enum { NAME_COLUMNS = 22, STEP_COLUMNS = 18, BAR_COLUMNS = 48, MAX_DEPTH = 16 };

static bool ends_with(const char *text, const char *end)
{
	size_t n = strlen(text), m = strlen(end);

	return n >= m && streq(text + n - m, end);
}

const char *format_number(char *buf, size_t size, const char *name, const json_t *value)
{
	double number = json_number_value(value);
	char text[FORMAT_SIZE];

	if (ends_with(name, "_bytes") && number >= 0)
		snprintf(buf, size, "%s", format_bytes(text, (uint64_t)number));
	else if (ends_with(name, "_ms"))
		snprintf(buf, size, "%s", format_ms(text, number));
	else if (ends_with(name, "_seconds") && number >= 1)
		snprintf(buf, size, "%s", format_seconds(text, (int64_t)number));
	else if (ends_with(name, "_seconds"))
		snprintf(buf, size, "%s", format_ms(text, number * 1000));
	else
		snprintf(buf, size, "%.15g", number);
	return buf;
}

bool seconds_until(const char *text, int64_t *ret_seconds)
{
	struct timespec at, now;

	if (!text || parse_time(text, &at) < 0)
		return false;
	clock_gettime(CLOCK_REALTIME, &now);
	*ret_seconds = (int64_t)at.tv_sec - (int64_t)now.tv_sec;
	return true;
}

/* NAME before its value, or alone on its line above what is nested in it. */
static void print_name(const struct cli *cli, const char *name, int indent, bool alone)
{
	int width = alone || indent >= NAME_COLUMNS ? 0 : NAME_COLUMNS - indent;

	printf("%*s%s%-*s%s%c", indent, "", term_on(&cli->out, STYLE_DIM), width, name,
		term_off(&cli->out, STYLE_DIM), alone ? '\n' : ' ');
}

static void print_value(const struct cli *cli, const char *name, const char *value)
{
	enum style style = streq(name, "state") || streq(name, "status") ? term_state_style(value) : STYLE_PLAIN;
	char left[FORMAT_SIZE];
	int64_t seconds;

	print_text(cli, style, value);
	if ((ends_with(name, "_at") || streq(name, "at") || ends_with(name, "_deadline")) &&
		seconds_until(value, &seconds)) {
		if (seconds > 0)
			printf(" (in %s)", format_seconds(left, seconds));
		else
			printf(" (%s ago)", format_seconds(left, -seconds));
	}
}

/* The last lines of a session's output, below their name. */
static void print_lines(const struct cli *cli, const char *value, int indent)
{
	_free_ char *copy = strdup(value);
	char *rest = copy;

	for (char *line; rest && (line = strsep(&rest, "\n"));) {
		if (!*line && !rest)
			break;
		printf("%*s| ", indent, "");
		print_text(cli, STYLE_PLAIN, line);
		putchar('\n');
	}
}

static bool is_empty(const json_t *value)
{
	return json_is_null(value) || (json_is_object(value) && json_object_size(value) == 0) ||
	       (json_is_array(value) && json_array_size(value) == 0) ||
	       (json_is_string(value) && json_string_length(value) == 0);
}

static bool has_lines(const json_t *value)
{
	return json_is_string(value) && strchr(json_string_value(value), '\n');
}

/* A limit, {"value", "enforced"}, is one thing. */
static bool is_limit(const json_t *value)
{
	return json_is_number(json_object_get(value, "value")) && json_is_boolean(json_object_get(value, "enforced"));
}

/* What stands below its name instead of beside it. */
static bool is_nested(const json_t *value)
{
	if (json_is_array(value))
		return json_is_object(json_array_get(value, 0));
	return has_lines(value) || (json_is_object(value) && !is_limit(value));
}

/* What stands beside its name. */
static void print_flat(const struct cli *cli, const char *name, const json_t *value)
{
	const json_t *entry;
	char number[64];
	size_t i;

	if (is_limit(value)) {
		printf("%s", format_number(number, sizeof(number), name, json_object_get(value, "value")));
		if (!json_is_true(json_object_get(value, "enforced")))
			printf(" (not enforced on this host)");
	} else if (json_is_string(value)) {
		print_value(cli, name, json_string_value(value));
	} else if (json_is_number(value)) {
		printf("%s", format_number(number, sizeof(number), name, value));
	} else if (json_is_boolean(value)) {
		printf("%s", json_is_true(value) ? "yes" : "no");
	}
	json_array_foreach (value, i, entry) {
		if (i)
			printf(", ");
		print_flat(cli, name, entry);
	}
}

static void print_object(const struct cli *cli, const json_t *object, int depth);

/* What stands below its name. */
static void print_nested(const struct cli *cli, const char *name, const json_t *value, int depth)
{
	const json_t *entry;
	size_t i;

	if (streq(name, "timeline")) {
		print_timeline(cli, value);
		return;
	}
	if (json_is_string(value))
		print_lines(cli, json_string_value(value), 2 * depth);
	else if (json_is_object(value))
		print_object(cli, value, depth);
	json_array_foreach (value, i, entry) {
		if (i)
			putchar('\n');
		print_object(cli, entry, depth);
	}
}

static void print_object(const struct cli *cli, const json_t *object, int depth)
{
	const char *name;
	json_t *value;

	if (depth >= MAX_DEPTH)
		return;
	json_object_foreach ((json_t *)object, name, value) {
		_free_ char *safe = term_text(&cli->out, name);
		if (!safe || is_empty(value))
			continue;
		print_name(cli, safe, 2 * depth, is_nested(value));
		if (is_nested(value)) {
			print_nested(cli, name, value, depth + 1);
		} else {
			print_flat(cli, name, value);
			putchar('\n');
		}
	}
}

void print_members(const struct cli *cli, const json_t *object)
{
	print_object(cli, object, 0);
}

/* WIDTH columns from the one at START: blocks, or '#' where there is only ASCII. At least one, so that it is seen. */
static void print_bar(const struct cli *cli, double start, double width)
{
	int from = (int)start, columns = (int)(start + width + 0.5) - from;

	printf("%*s%s", from, "", term_on(&cli->out, STYLE_GOOD));
	do
		fputs(cli->out.utf8 ? "\xe2\x96\x88" : "#", stdout);
	while (--columns > 0);
	printf("%s\n", term_off(&cli->out, STYLE_GOOD));
}

void print_timeline(const struct cli *cli, const json_t *timeline)
{
	double total = 0, start = 0;
	char text[FORMAT_SIZE];
	const json_t *entry;
	size_t i;

	json_array_foreach (timeline, i, entry)
		total += json_number_value(json_object_get(entry, "ms"));
	json_array_foreach (timeline, i, entry) {
		const char *step = json_string_value(json_object_get(entry, "step"));
		double ms = json_number_value(json_object_get(entry, "ms"));
		_free_ char *safe = term_text(&cli->out, step ? step : "?");
		if (!safe || ms < 0 || total <= 0)
			return;
		printf("  %-*s %10s  ", STEP_COLUMNS, safe, format_ms(text, ms));
		print_bar(cli, start / total * (BAR_COLUMNS - 1), ms / total * (BAR_COLUMNS - 1));
		start += ms;
	}
	printf("  %-*s %10s\n", STEP_COLUMNS, "together", format_ms(text, total));
}
