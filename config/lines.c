/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines of members. jansson tells the line of a syntax error but keeps no positions of what it parsed. A line is only
 * wanted for a message, so the text is walked again, along the place's chain. The text has been accepted by jansson
 * and has no duplicate keys: this scanner needs to skip values, not to judge them. It stays within the text anyway.
 */
#include "config/members.h"

/* A walk that ran off the text ends here; the message then names the enclosing line. */
#define NOT_FOUND ((const char *)NULL)

static const char *skip_space(const char *p, const char *end)
{
	while (p < end && (*p == ' ' || *p == '\t' || *p == '\r' || *p == '\n'))
		p++;
	return p;
}

/* P is at the opening quote; returns behind the closing one. */
static const char *skip_string(const char *p, const char *end)
{
	for (p++; p < end && *p != '"'; p++)
		if (*p == '\\' && p + 1 < end)
			p++;
	return p < end ? p + 1 : end;
}

static const char *skip_value(const char *p, const char *end)
{
	size_t depth = 0;

	do {
		if (p < end && *p == '"') {
			p = skip_string(p, end);
			continue;
		}
		if (p < end && (*p == '{' || *p == '['))
			depth++;
		else if (p < end && (*p == '}' || *p == ']'))
			depth--;
		if (p < end)
			p++;
		if (depth == 0) /* a number or a word, or just behind the closing bracket */
			while (p < end && !strchr(",]} \t\r\n", *p))
				p++;
	} while (p < end && depth > 0);
	return p;
}

/* Behind a comma, if there is one. */
static const char *skip_comma(const char *p, const char *end)
{
	p = skip_space(p, end);
	return p < end && *p == ',' ? skip_space(p + 1, end) : p;
}

/* The value behind a key. */
static const char *behind_key(const char *p, const char *end)
{
	p = skip_space(skip_string(p, end), end);
	return p < end && *p == ':' ? skip_space(p + 1, end) : end;
}

/* The quoted key at P is NAME; decoded by jansson, for a key may be written with escapes. */
static bool key_is(const char *p, const char *end, const char *name)
{
	json_auto_t *key = json_loadb(p, (size_t)(skip_string(p, end) - p), JSON_DECODE_ANY, NULL);

	return json_is_string(key) && streq(json_string_value(key), name);
}

static const char *find_member(const char *p, const char *end, const char *name)
{
	if (p >= end || *p != '{')
		return NOT_FOUND;
	p = skip_space(p + 1, end);
	while (p < end && *p == '"') {
		if (key_is(p, end, name))
			return p;
		p = skip_comma(skip_value(behind_key(p, end), end), end);
	}
	return NOT_FOUND;
}

static const char *find_element(const char *p, const char *end, size_t index)
{
	if (p >= end || *p != '[')
		return NOT_FOUND;
	p = skip_space(p + 1, end);
	while (p < end && *p != ']' && index > 0) {
		p = skip_comma(skip_value(p, end), end);
		index--;
	}
	return p < end && *p != ']' ? p : NOT_FOUND;
}

/* Where the member's key or the element stands in the text. Recursion is as deep as the tables nest. */
static const char *find_place(const struct place *place)
{
	const char *end = place->source->text + place->source->n;

	if (!place->parent)
		return skip_space(place->source->text, end);
	const char *p = find_place(place->parent);
	if (p && place->parent->name)
		p = behind_key(p, end);
	if (!p)
		return NOT_FOUND;
	return place->name ? find_member(p, end, place->name) : find_element(p, end, place->index);
}

size_t place_line(const struct place *place)
{
	const char *p = find_place(place);
	size_t line = 1;

	while (!p && place->parent) {
		place = place->parent;
		p = find_place(place);
	}
	for (const char *at = place->source->text; p && at < p; at++)
		line += *at == '\n';
	return line;
}
