/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/table.h"

#include <stdarg.h>

enum { GAP = 2, MAX_COLUMNS = 12, MAX_CELL = 4096 };

void table_init(struct table *table, const struct term *term, const struct column *columns)
{
	*table = (struct table){ .term = term, .columns = columns };
	while (columns[table->n_columns].title)
		table->n_columns++;
	if (table->n_columns > MAX_COLUMNS)
		abort();
}

void table_free(struct table *table)
{
	for (size_t i = 0; i < table->n_cells; i++)
		free(table->cells[i]);
	free(table->cells);
	*table = (struct table){ 0 };
}

void table_add(struct table *table, const char *text)
{
	if (table->n_cells == table->room) {
		size_t room = table->room ? 2 * table->room : 64;
		char **cells = reallocarray(table->cells, room, sizeof(*cells));
		if (!cells) {
			table->failed = true;
			return;
		}
		table->cells = cells;
		table->room = room;
	}
	char *cell = term_text(table->term, text && *text ? text : "-");
	if (!cell) {
		table->failed = true;
		return;
	}
	table->cells[table->n_cells++] = cell;
}

void table_addf(struct table *table, const char *format, ...)
{
	char text[MAX_CELL];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	table_add(table, text);
}

static size_t max_size(size_t a, size_t b)
{
	return a > b ? a : b;
}

/* Takes columns away from the widest cell that may be cut, until the table fits or none is left. */
static void shrink(const struct table *table, size_t widths[MAX_COLUMNS])
{
	size_t total = GAP * (table->n_columns - 1);

	for (size_t i = 0; i < table->n_columns; i++)
		total += widths[i];
	while (table->term->width && total > table->term->width) {
		size_t widest = MAX_COLUMNS;
		for (size_t i = 0; i < table->n_columns; i++) {
			const struct column *column = &table->columns[i];
			size_t least = max_size(column->least, strlen(column->title));
			if (column->least && widths[i] > least &&
				(widest == MAX_COLUMNS || widths[i] > widths[widest]))
				widest = i;
		}
		if (widest == MAX_COLUMNS)
			return;
		widths[widest]--;
		total--;
	}
}

static void print_cell(
	const struct table *table, size_t column, const char *text, size_t width, enum style style, FILE *out)
{
	const struct term *term = table->term;
	bool last = column + 1 == table->n_columns, right = table->columns[column].right;
	struct fit fit = term_fit(term, text, width);
	int pad = (int)(width - fit.columns);

	fprintf(out, "%*s%s%.*s%s%s", right ? pad : 0, "", term_on(term, style), (int)fit.bytes, text, fit.mark,
		term_off(term, style));
	if (!last)
		fprintf(out, "%*s", (right ? 0 : pad) + GAP, "");
}

int table_print(const struct table *table, FILE *out)
{
	size_t widths[MAX_COLUMNS];

	if (table->failed)
		return -ENOMEM;
	for (size_t i = 0; i < table->n_columns; i++)
		widths[i] = strlen(table->columns[i].title);
	for (size_t i = 0; i < table->n_cells; i++)
		widths[i % table->n_columns] = max_size(widths[i % table->n_columns], term_columns(table->cells[i]));
	shrink(table, widths);

	for (size_t i = 0; i < table->n_columns; i++)
		print_cell(table, i, table->columns[i].title, widths[i], STYLE_BOLD, out);
	fputc('\n', out);
	for (size_t i = 0; i < table->n_cells; i++) {
		size_t column = i % table->n_columns;
		const char *cell = table->cells[i];
		enum style style = table->columns[column].state ? term_state_style(cell) : STYLE_PLAIN;
		print_cell(table, column, cell, widths[column], style, out);
		if (column + 1 == table->n_columns)
			fputc('\n', out);
	}
	return 0;
}
