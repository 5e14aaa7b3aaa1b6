/* SPDX-License-Identifier: Apache-2.0 */
/* The types that a member may have. JSON types are taken strictly: 1 is not true, "1" is not 1, 1.0 is no integer. */
#include "config/members.h"
#include "wire/loop.h"

/* ---- numbers ---- */

static void store(void *field, size_t size, uint64_t value)
{
	const uint8_t u8 = (uint8_t)value;
	const uint16_t u16 = (uint16_t)value;
	const uint32_t u32 = (uint32_t)value;

	memcpy(field,
		size == 1   ? (const void *)&u8
		: size == 2 ? (const void *)&u16
		: size == 4 ? (const void *)&u32
			    : &value,
		size);
}

int integer_read(const struct place *place, const json_t *value, uint64_t min, uint64_t max, uint64_t *ret)
{
	if (!json_is_integer(value))
		return place_fail_type(place, "an integer", value);
	const json_int_t n = json_integer_value(value);
	if (n < 0 || (uint64_t)n < min)
		return place_fail(place, "%lld is below %llu", (long long)n, (unsigned long long)min);
	if ((uint64_t)n > max)
		return place_fail(place, "%lld is above %llu", (long long)n, (unsigned long long)max);
	*ret = (uint64_t)n;
	return 0;
}

static int read_integer(const struct place *place, const struct member *member, const json_t *value, void *field)
{
	uint64_t n = UINT64_MAX;
	int r = json_is_null(value) ? 0 : integer_read(place, value, member->min, member->max, &n);

	if (r == 0)
		store(field, member->size, n);
	return r;
}

static int read_time(const struct place *place, const struct member *member, const json_t *value, uint64_t unit_ns,
	uint64_t *field)
{
	uint64_t n;
	int r;

	if (json_is_null(value)) {
		*field = UINT64_MAX;
		return 0;
	}
	r = integer_read(place, value, member->min, member->max, &n);
	if (r == 0 && __builtin_mul_overflow(n, unit_ns, field))
		r = place_fail(place, "is too long");
	return r;
}

static int read_seconds(const struct place *place, const struct member *member, const json_t *value, void *field)
{
	return read_time(place, member, value, NS_PER_SEC, field);
}

static int read_milliseconds(const struct place *place, const struct member *member, const json_t *value, void *field)
{
	return read_time(place, member, value, NS_PER_MS, field);
}

static int read_bool(const struct place *place, const struct member *member, const json_t *value, void *field)
{
	if (!json_is_boolean(value))
		return place_fail_type(place, "true or false", value);
	store(field, member->size, json_is_true(value));
	return 0;
}

/* ---- words ---- */

/* The place of WORD among "a|b|c", or -1. */
static int word_index(const char *words, const char *word)
{
	size_t n = strlen(word);
	int i = 0;

	for (const char *p = words;; i++) {
		size_t length = strcspn(p, "|");
		if (length == n && memcmp(p, word, n) == 0)
			return i;
		if (!p[length])
			return -1;
		p += length + 1;
	}
}

static int fail_word(const struct place *place, const char *words, const char *word)
{
	return place_fail(place, "\"%s\" is none of %s", word, words);
}

static int read_enum(const struct place *place, const struct member *member, const json_t *value, void *field)
{
	const char *word = string_read(place, value, 0, UINT64_MAX);
	int i;

	if (!word)
		return -EINVAL;
	i = word_index(member->words, word);
	if (i < 0)
		return fail_word(place, member->words, word);
	store(field, member->size, member->min + (uint64_t)i);
	return 0;
}

/* ---- strings ---- */

const char *string_read(const struct place *place, const json_t *value, uint64_t min, uint64_t max)
{
	if (!json_is_string(value)) {
		place_fail_type(place, "a string", value);
		return NULL;
	}
	if (json_string_length(value) < min) {
		place_fail(place, min == 1 ? "is empty" : "is shorter than %llu bytes", (unsigned long long)min);
		return NULL;
	}
	if (json_string_length(value) > max) {
		place_fail(place, "is longer than %llu bytes", (unsigned long long)max);
		return NULL;
	}
	return json_string_value(value);
}

static int keep_string(const struct place *place, const char *s, void *field)
{
	char *copy = strdup(s);

	if (!copy)
		return place_fail_memory(place);
	*(char **)field = copy;
	return 0;
}

void string_release(const struct member *member _unused_, void *field)
{
	free(*(char **)field);
	*(char **)field = NULL;
}

static int read_string(const struct place *place, const struct member *member, const json_t *value, void *field)
{
	if (json_is_null(value))
		return 0;
	const char *s = string_read(place, value, member->min, member->max);
	return s ? keep_string(place, s, field) : -EINVAL;
}

static int read_word(const struct place *place, const struct member *member, const json_t *value, void *field)
{
	const char *word = string_read(place, value, 0, UINT64_MAX);

	if (!word)
		return -EINVAL;
	if (word_index(member->words, word) < 0)
		return fail_word(place, member->words, word);
	return keep_string(place, word, field);
}

static int read_name(
	const struct place *place, const struct member *member _unused_, const json_t *value, void *field)
{
	const char *name = json_is_null(value) ? "" : string_read(place, value, 0, UINT64_MAX);

	if (!name)
		return -EINVAL;
	if (!json_is_null(value) && !name_is_valid(name))
		return place_fail(
			place, "\"%s\" is no name: a-z, 0-9 and inner hyphens, 1 to %d of them", name, NAME_SIZE - 1);
	return keep_string(place, name, field);
}

/* No component of PATH is empty, "." or "..". */
static bool path_is_normal(const char *path)
{
	for (const char *p = path; *p; p += strcspn(p, "/")) {
		size_t n = strcspn(++p, "/");
		if (n == 0 || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
			return false;
	}
	return true;
}

static int read_directory(const struct place *place, const struct member *member, const json_t *value, void *field)
{
	if (json_is_null(value))
		return 0;
	const char *path = string_read(place, value, 1, member->max);
	if (!path)
		return -EINVAL;
	if (path[0] != '/')
		return place_fail(place, "\"%s\" is not absolute", path);
	if (!streq(path, "/") && !path_is_normal(path))
		return place_fail(place, "\"%s\" has an empty, \".\" or \"..\" component", path);
	return keep_string(place, path, field);
}

static int read_path(const struct place *place, const struct member *member, const json_t *value, void *field)
{
	if (json_is_string(value) && streq(json_string_value(value), "/"))
		return place_fail(place, "must not be \"/\"");
	return read_directory(place, member, value, field);
}

/* ---- arrays of strings ---- */

void strings_release(const struct member *member _unused_, void *field)
{
	char **strings = *(char ***)field;

	for (size_t i = 0; strings && strings[i]; i++)
		free(strings[i]);
	free(strings);
	*(char ***)field = NULL;
}

static int check_array(const struct place *place, const struct member *member, const json_t *value)
{
	if (!json_is_array(value))
		return place_fail_type(place, "an array", value);
	if (json_array_size(value) < member->min)
		return place_fail(place, member->min == 1 ? "is empty" : "has fewer than %llu entries",
			(unsigned long long)member->min);
	if (json_array_size(value) > member->max)
		return place_fail(place, "has more than %llu entries", (unsigned long long)member->max);
	return 0;
}

static int read_strings(const struct place *place, const struct member *member, const json_t *value, void *field)
{
	char **strings;
	size_t i;
	json_t *item;
	int r;

	if (json_is_null(value))
		return 0;
	r = check_array(place, member, value);
	if (r < 0)
		return r;
	strings = calloc(json_array_size(value) + 1, sizeof(*strings));
	if (!strings)
		return place_fail_memory(place);
	*(char ***)field = strings;
	json_array_foreach (value, i, item) {
		const struct place at = { place->source, place, NULL, i };
		const char *s = string_read(&at, item, 0, UINT64_MAX);
		if (!s)
			return -EINVAL;
		if (member->words && word_index(member->words, s) < 0)
			return fail_word(&at, member->words, s);
		r = keep_string(&at, s, &strings[i]);
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- objects ---- */

static int read_object(const struct place *place, const struct member *member, const json_t *value, void *field)
{
	return json_is_null(value) ? 0 : members_read(place, member->object, value, field);
}

static void release_object(const struct member *member, void *field)
{
	members_release(member->object, field);
}

/* FIELD is the pointer; the count stands at another offset of the same struct. */
static size_t *count_of(const struct member *member, void *field)
{
	return (void *)((char *)field - member->offset + member->count_offset);
}

static int read_objects(const struct place *place, const struct member *member, const json_t *value, void *field)
{
	const size_t size = member->object->size;
	char *items;
	size_t i;
	json_t *item;
	int r;

	r = check_array(place, member, value);
	if (r < 0 || json_array_size(value) == 0)
		return r;
	items = calloc(json_array_size(value), size);
	if (!items)
		return place_fail_memory(place);
	*(void **)field = items;
	*count_of(member, field) = json_array_size(value);
	json_array_foreach (value, i, item) {
		const struct place at = { place->source, place, NULL, i };
		r = members_read(&at, member->object, item, items + i * size);
		if (r < 0)
			return r;
	}
	return 0;
}

static void release_objects(const struct member *member, void *field)
{
	char *items = *(void **)field;

	for (size_t i = 0; i < *count_of(member, field); i++)
		members_release(member->object, items + i * member->object->size);
	free(items);
	*(void **)field = NULL;
	*count_of(member, field) = 0;
}

/* clang-format off */
const struct member_type type_integer      = { "integer",           read_integer,      NULL };
const struct member_type type_bool         = { "true or false",     read_bool,         NULL };
const struct member_type type_seconds      = { "seconds",           read_seconds,      NULL };
const struct member_type type_milliseconds = { "milliseconds",      read_milliseconds, NULL };
const struct member_type type_enum         = { "word",              read_enum,         NULL };
const struct member_type type_string       = { "string",            read_string,       string_release };
const struct member_type type_word         = { "word",              read_word,         string_release };
const struct member_type type_name         = { "name",              read_name,         string_release };
const struct member_type type_path         = { "absolute path",     read_path,         string_release };
const struct member_type type_directory    = { "absolute path",     read_directory,    string_release };
const struct member_type type_strings      = { "array of strings",  read_strings,      strings_release };
const struct member_type type_words        = { "array of words",    read_strings,      strings_release };
const struct member_type type_object       = { "object",            read_object,       release_object };
const struct member_type type_group        = { "object",            read_object,       release_object };
const struct member_type type_objects      = { "array of objects",  read_objects,      release_objects };
/* clang-format on */
