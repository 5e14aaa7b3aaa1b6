/* SPDX-License-Identifier: Apache-2.0 */
#include "control/json.h"

#include "control/text.h"

/* With 15 digits 0.1 is written as 0.1. */
enum { WRITE_FLAGS = JSON_COMPACT | JSON_REAL_PRECISION(15) };

void json_append(json_t **array, json_t *value)
{
	if (json_array_append_new(*array, value) < 0) {
		json_decref(*array);
		*array = NULL;
	}
}

void json_put(json_t **object, const char *key, json_t *value)
{
	if (json_object_set_new(*object, key, value) < 0) {
		json_decref(*object);
		*object = NULL;
	}
}

json_t *json_text(const char *text)
{
	size_t n = strlen(text);
	_free_ char *scrubbed = n < SIZE_MAX / 4 ? malloc(3 * n + 1) : NULL;

	if (!scrubbed)
		return NULL;
	n = utf8_scrub((const uint8_t *)text, n, scrubbed);
	return json_stringn_nocheck(scrubbed, n);
}

static int append_chunk(const char *bytes, size_t n, void *buffer)
{
	return buffer_append(buffer, bytes, n) < 0 ? -1 : 0;
}

int json_write(struct buffer *buffer, const json_t *value)
{
	return json_dump_callback(value, append_chunk, buffer, WRITE_FLAGS) < 0 ? -ENOMEM : 0;
}
