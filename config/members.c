/* SPDX-License-Identifier: Apache-2.0 */
#include "config/members.h"

#include <stdarg.h>

enum { NAME_MAX_COMPARED = 32, ERROR_LINE = 1024 };

/* ---- messages ---- */

static void print_path(const struct place *place, char *buf, size_t size)
{
	size_t n;

	if (!place->parent)
		return;
	print_path(place->parent, buf, size);
	n = strlen(buf);
	if (place->name)
		snprintf(buf + n, size - n, "%s%s", n ? "." : "", place->name);
	else
		snprintf(buf + n, size - n, "[%zu]", place->index);
}

/* One line, whatever characters the file's own strings have. */
static void write_error(const struct source *source, size_t line, const char *path, const char *message)
{
	snprintf(source->error, source->error_size, "%s:%zu: %s%s%s", source->name, line, path, path[0] ? ": " : "",
		message);
	for (char *p = source->error; source->error_size > 0 && *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = '?';
}

int place_fail(const struct place *place, const char *format, ...)
{
	char path[ERROR_LINE] = "", message[ERROR_LINE];
	va_list ap;

	va_start(ap, format);
	vsnprintf(message, sizeof(message), format, ap);
	va_end(ap);
	print_path(place, path, sizeof(path));
	write_error(place->source, place_line(place), path, message);
	return -EINVAL;
}

static const char *json_type_text(const json_t *value)
{
	switch (json_typeof(value)) {
	case JSON_OBJECT:
		return "an object";
	case JSON_ARRAY:
		return "an array";
	case JSON_STRING:
		return "a string";
	case JSON_INTEGER:
		return "an integer";
	case JSON_REAL:
		return "a number with a fraction or an exponent";
	case JSON_TRUE:
		return "true";
	case JSON_FALSE:
		return "false";
	case JSON_NULL:
		return "null";
	}
	return "something else";
}

int place_fail_type(const struct place *place, const char *wanted, const json_t *value)
{
	return place_fail(place, "must be %s, not %s", wanted, json_type_text(value));
}

int place_fail_memory(const struct place *place)
{
	place_fail(place, "out of memory");
	return -ENOMEM;
}

/* Edits (insert, delete, replace one character) from A to B; large for long names. */
static size_t edit_distance(const char *a, const char *b)
{
	size_t n = strlen(a), m = strlen(b), row[NAME_MAX_COMPARED + 1];

	if (n > NAME_MAX_COMPARED || m > NAME_MAX_COMPARED)
		return SIZE_MAX;
	for (size_t j = 0; j <= m; j++)
		row[j] = j;
	for (size_t i = 1; i <= n; i++) {
		size_t diagonal = row[0];
		row[0] = i;
		for (size_t j = 1; j <= m; j++) {
			size_t best = diagonal + (a[i - 1] != b[j - 1]);
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			diagonal = row[j];
			row[j] = best;
		}
	}
	return row[m];
}

static int fail_unknown(const struct place *parent, const struct object_table *table, const char *name)
{
	const struct member *nearest = NULL;
	size_t least = 3; /* so far may a name be off and still be guessed */

	for (size_t i = 0; i < table->n_members; i++) {
		size_t distance = edit_distance(name, table->members[i].name);
		if (distance < least && distance < strlen(name)) {
			least = distance;
			nearest = &table->members[i];
		}
	}
	if (nearest)
		return place_fail_at(parent, name, "unknown member; did you mean \"%s\"?", nearest->name);
	return place_fail_at(parent, name, "unknown member");
}

/* ---- reading ---- */

static int refuse_unknown(const struct place *place, const struct object_table *table, const json_t *value)
{
	const char *name;
	json_t *item;

	json_object_foreach ((json_t *)value, name, item) {
		bool known = false;
		for (size_t i = 0; i < table->n_members && !known; i++)
			known = streq(table->members[i].name, name);
		if (!known)
			return fail_unknown(place, table, name);
	}
	return 0;
}

static int read_member(const struct place *parent, const struct member *member, const json_t *value, void *object)
{
	const struct place place = { parent->source, parent, member->name, 0 };
	json_auto_t *fallback = NULL;
	const json_t *item = json_object_get(value, member->name);

	if (!item && !member->fallback)
		return place_fail(parent, "%s is missing", member->name);
	if (!item) {
		item = fallback = json_loads(member->fallback, JSON_DECODE_ANY, NULL);
		if (!item)
			return place_fail_memory(&place);
	}
	if (json_is_null(item) && !member->nullable)
		return place_fail(&place, "must not be null");
	return member->type->read(&place, member, item, (char *)object + member->offset);
}

int members_read(const struct place *place, const struct object_table *table, const json_t *value, void *object)
{
	int r;

	if (!json_is_object(value))
		return place_fail_type(place, "an object", value);
	r = refuse_unknown(place, table, value);
	for (size_t i = 0; i < table->n_members && r == 0; i++)
		r = read_member(place, &table->members[i], value, object);
	if (r == 0 && table->finish)
		r = table->finish(place, value, object);
	return r;
}

void members_release(const struct object_table *table, void *object)
{
	for (size_t i = 0; i < table->n_members; i++) {
		const struct member *member = &table->members[i];
		if (member->type->release)
			member->type->release(member, (char *)object + member->offset);
	}
}

int source_read(const struct source *source, const struct object_table *table, void *ret)
{
	const struct place place = { .source = source };
	json_error_t error;
	json_auto_t *value = json_loadb(source->text, source->n, JSON_REJECT_DUPLICATES, &error);

	if (!value) {
		write_error(source, error.line > 0 ? (size_t)error.line : 1, "", error.text);
		return -EINVAL;
	}
	return members_read(&place, table, value, ret);
}

/* ---- the manual's list ---- */

static void print_range(FILE *out, const struct member *member)
{
	if (member->words)
		fprintf(out, " (%s)", member->words);
	else if (member->max == UINT64_MAX)
		fprintf(out, " (%llu or more)", (unsigned long long)member->min);
	else if (member->max > 0)
		fprintf(out, " (%llu to %llu)", (unsigned long long)member->min, (unsigned long long)member->max);
}

void members_print(FILE *out, const char *prefix, const struct object_table *table)
{
	for (size_t i = 0; i < table->n_members; i++) {
		const struct member *member = &table->members[i];
		bool is_array = member->type == &type_objects;
		char inner[128];

		fprintf(out, "%s%s: %s", prefix, member->name, member->type->name);
		print_range(out, member);
		if (member->fallback)
			fprintf(out, ", default %s", member->fallback);
		else
			fprintf(out, ", required");
		fprintf(out, ": %s\n", member->help);
		if (!member->object)
			continue;
		snprintf(inner, sizeof(inner), "%s%s%s.", prefix, member->name, is_array ? "[]" : "");
		members_print(out, inner, member->object);
	}
}
