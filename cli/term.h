/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an output stream can show: width, colour, UTF-8. Text that came from elsewhere (owners, logs, errors) is hostile
 * to terminals: it only gets there through term_text(), which spells control characters out.
 */
#pragma once

#include <stdbool.h>
#include <stdio.h>

struct term {
	bool tty;
	bool color; /* a terminal, and neither NO_COLOR nor TERM=dumb is set */
	bool utf8; /* the locale can show more than ASCII */
	size_t width; /* columns; 0: no limit */
};

enum style {
	STYLE_PLAIN,
	STYLE_BOLD,
	STYLE_DIM,
	STYLE_GOOD,
	STYLE_WARN,
	STYLE_BAD,
};

/* Looks at OUT. Needs setlocale() to have been called. */
struct term term_of(FILE *out);

/* Escape sequences around text in STYLE, or "" where TERM has no colour. */
const char *term_on(const struct term *term, enum style style);
const char *term_off(const struct term *term, enum style style);

/* How states read at a glance: "ready" and "ok" are good, "failed" bad, "stopping" a warning, others plain. */
enum style term_state_style(const char *state);

/*
 * A copy of TEXT that is safe on any terminal and, beyond ASCII, only where TERM can show it: control characters,
 * invalid UTF-8 and what cannot be shown become \n, \t, \xHH. The caller's; NULL when memory ran out.
 */
char *term_text(const struct term *term, const char *text);

/* Columns that safe TEXT takes. */
size_t term_columns(const char *text);

/* What to show of a text for which there may be too little room: its first bytes, then the mark. */
struct fit {
	size_t bytes;
	size_t columns; /* of both */
	const char *mark; /* says that something is missing; "" when nothing is */
};

/* Fits safe TEXT into COLUMNS (0: no limit). */
struct fit term_fit(const struct term *term, const char *text, size_t columns);
