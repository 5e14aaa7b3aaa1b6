/* SPDX-License-Identifier: Apache-2.0 */
/* Texts of configuration for tests, and how one is read. */
#pragma once

#include "tests/unit/unit.h"

#include "config/members.h"

#define LIMITS "\"limits\": {\"memory_bytes\": 67108864, \"cpus\": 1.5, \"pids\": 64, \"root_bytes\": 1048576}"
#define HEAD "{\n\"kind\": \"k\", \"image\": \"i\", \"seccomp\": \"minimal\",\n"
/* A template with what is required on lines 2 and 3; the text given starts on line 4. */
#define TEMPLATE(text) HEAD LIMITS ",\n" text "\n}"
/* The same with limits of one's own, on line 3. */
#define WITH_LIMITS(text) HEAD "\"limits\": {" text "}\n}"
#define GOOD_LIMITS "\"memory_bytes\": 67108864, \"cpus\": 1.5, \"pids\": 64, \"root_bytes\": 1048576"

static inline int read_text(const struct object_table *table, const char *text, void *ret, char *error, size_t size)
{
	const struct source source = {
		.name = "x.json", .text = text, .n = strlen(text), .error = error, .error_size = size
	};

	return source_read(&source, table, ret);
}
