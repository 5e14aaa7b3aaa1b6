/* SPDX-License-Identifier: Apache-2.0 */
/* Tables for people: aligned columns, as wide as needed and never wider than the terminal. */
#pragma once

#include "cli/term.h"
#include "wire/def.h"

struct column {
	const char *title;
	bool right; /* numbers */
	bool state; /* coloured by term_state_style() */
	size_t least; /* may be cut to this many columns when the terminal is narrow; 0: never cut */
};

struct table {
	const struct term *term;
	const struct column *columns;
	size_t n_columns;
	char **cells; /* row by row */
	size_t n_cells, room;
	bool failed; /* memory ran out: table_print() says so by its value */
};

/* Columns end with a NULL title. Both are borrowed. */
void table_init(struct table *table, const struct term *term, const struct column *columns);
void table_free(struct table *table);

#define _table_ _cleanup_(table_free)

/* Appends the next cell of the row under way, made safe; NULL and "" become "-". */
void table_add(struct table *table, const char *text);
void table_addf(struct table *table, const char *format, ...) _printf_(2, 3);

/* Prints titles and rows. 0, or -ENOMEM. */
int table_print(const struct table *table, FILE *out);
