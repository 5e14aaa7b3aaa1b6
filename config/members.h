/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the configuration's JSON is read: one const table per object, a row per member. The row gives the member's
 * name, type, place in the C struct, default, range and help; reading, refusing, freeing and the manual's list all
 * follow from it. A default is JSON text that goes through the same reader as the file's value.
 *
 * Private to this folder and its tests. Nothing here logs; a failure leaves one line in the source's error buffer.
 */
#pragma once

#include <jansson.h>

#include "config/config.h"

/* A file's text, while it is being read. */
struct source {
	const char *name; /* as messages name it: "templates.d/browser.json" */
	const char *text;
	size_t n;
	char *error; /* receives one line */
	size_t error_size;
};

/* Where in the source a value stands: a chain of stack frames from the value up to the file's outermost object. */
struct place {
	const struct source *source;
	const struct place *parent; /* NULL: the outermost object */
	const char *name; /* of the member; NULL: an array's element */
	size_t index;
};

struct member;

struct member_type {
	const char *name; /* for the manual: "integer", "path" */
	/* 0 with *FIELD filled, or -EINVAL / -ENOMEM with the message written. FIELD was zero. */
	int (*read)(const struct place *place, const struct member *member, const json_t *value, void *field);
	void (*release)(const struct member *member, void *field); /* NULL: nothing to free; harmless on zeroes */
};

/* An object: its members, and what no single member can say. */
struct object_table {
	const struct member *members;
	size_t n_members;
	size_t size; /* of the C struct, where objects stand in an array */
	/* NULL, or a last check with all members read. VALUE tells what the file said and what was filled in. */
	int (*finish)(const struct place *place, const json_t *value, void *object);
};

struct member {
	const char *name;
	const struct member_type *type;
	size_t offset, size; /* of the field in the C struct */
	const char *fallback; /* JSON text; NULL: the member is required */
	uint64_t min, max; /* integers: range; strings: length; arrays: entries */
	bool nullable; /* null is allowed and means what the help says */
	const char *words; /* "refuse|warn" for type_enum and type_word */
	const struct object_table *object; /* for type_object, type_group and type_objects */
	size_t count_offset; /* of the count that belongs to an array of objects */
	const char *help;
};

#define FIELD(type, field) .offset = offsetof(type, field), .size = member_size(type, field)
#define COUNT(type, field) .count_offset = offsetof(type, field)
#define OBJECT_TABLE(table, type, last_check)                                                                    \
	{                                                                                                        \
		.members = (table), .n_members = ARRAY_SIZE(table), .size = sizeof(type), .finish = (last_check) \
	}

/* Numbers. Unsigned fields of 1, 2, 4 or 8 bytes; null is all bits set. */
extern const struct member_type type_integer, type_bool;
extern const struct member_type type_seconds, type_milliseconds; /* stored in nanoseconds, uint64_t */
extern const struct member_type type_enum; /* one of words, stored as its number counted from min */

/* Strings: char *, the struct's own; null is NULL. */
extern const struct member_type type_string;
extern const struct member_type type_word; /* one of words */
extern const struct member_type type_name; /* name_is_valid(); null is "" */
extern const struct member_type type_path; /* absolute, normal: no empty, "." or ".." component; not "/" */
extern const struct member_type type_directory; /* the same, and "/" */
extern const struct member_type type_strings; /* char **, NULL-terminated; null is NULL */
extern const struct member_type type_words; /* the same, each one of words */

/* Objects. */
extern const struct member_type type_object; /* a struct at the field; null leaves zeroes */
extern const struct member_type type_group; /* an object in the file, but its fields stand in the same C struct */
extern const struct member_type type_objects; /* an array of them, at a pointer and a count */

/* What those types release, for types of single members. */
void string_release(const struct member *member, void *field);
void strings_release(const struct member *member, void *field);

/* Reads VALUE, which must be an object of TABLE, into OBJECT (zeroed by the caller, released by him also on failure). */
int members_read(const struct place *place, const struct object_table *table, const json_t *value, void *object);
void members_release(const struct object_table *table, void *object);
void members_print(FILE *out, const char *prefix, const struct object_table *table);

/* Writes "file:line: path: message" to the source's error; returns -EINVAL. */
int place_fail(const struct place *place, const char *format, ...) _printf_(2, 3);

/* "must be WANTED, not a string": the wrong type of JSON value. */
int place_fail_type(const struct place *place, const char *wanted, const json_t *value);

/* Fails for a member with no place of its own in the chain yet. */
#define place_fail_at(parent_place, member_name, ...) \
	place_fail(&(struct place){ (parent_place)->source, (parent_place), (member_name), 0 }, __VA_ARGS__)

/* Out of memory, said in the same way; returns -ENOMEM. */
int place_fail_memory(const struct place *place);

/* The line, from 1, of the member or element; that of the nearest enclosing one that is in the text. */
size_t place_line(const struct place *place);

/* The string of VALUE when it is one of MIN to MAX bytes, else NULL with the message written. */
const char *string_read(const struct place *place, const json_t *value, uint64_t min, uint64_t max);

/* VALUE when it is an integer in [MIN, MAX]; 0 or -EINVAL with the message written. */
int integer_read(const struct place *place, const json_t *value, uint64_t min, uint64_t max, uint64_t *ret);

/* The two kinds of files. RET is released by the caller, also on failure. */
extern const struct object_table daemon_table, template_table;
int source_read(const struct source *source, const struct object_table *table, void *ret);

/*
 * Ids and addresses suffice for every slot that CONFIG, with the templates read so far, can come to use. PLACE is
 * carrel.json's outermost object. 0 or -EINVAL with the message written.
 */
int daemon_check_slots(const struct place *place, const struct config *config);

/* The templates that pools are of are there, and fit. */
int daemon_check_pools(const struct place *place, const struct config *config);
/* Every policy that a template names is there. PLACE is carrel.json's outermost object. */
int egress_check(const struct place *place, const struct config *config);

/* Types of single members, in limits.c, network.c and template.c. */
extern const struct member_type type_limits, type_rlimits, type_capabilities;
extern const struct member_type type_egress_policies; /* egress.c; the field is the whole configuration */
extern const struct member_type type_ipv4_prefix, type_ipv6_prefix, type_nameservers, type_addresses, type_ports;

/* Names in configuration. 0 or -ENOENT. */
int rlimit_by_name(const char *name, int *ret);
int capability_by_name(const char *name, unsigned *ret);
