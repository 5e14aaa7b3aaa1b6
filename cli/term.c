/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/term.h"

#include <langinfo.h>
#include <limits.h>
#include <sys/ioctl.h>
#include <wchar.h>
#include <wctype.h>

#include "wire/def.h"

static bool environment_forbids_color(void)
{
	const char *no_color = getenv("NO_COLOR"), *name = getenv("TERM"); /* https://no-color.org */

	return (no_color && *no_color) || !name || streq(name, "dumb");
}

struct term term_of(FILE *out)
{
	struct term term = { .utf8 = streq(nl_langinfo(CODESET), "UTF-8") };
	struct winsize size;
	int fd = fileno(out);

	term.tty = isatty(fd);
	if (term.tty && ioctl(fd, TIOCGWINSZ, &size) == 0)
		term.width = size.ws_col;
	term.color = term.tty && !environment_forbids_color();
	return term;
}

const char *term_on(const struct term *term, enum style style)
{
	/* ECMA-48 SGR; the eight basic colours, which every theme keeps readable. */
	static const char *const codes[] = {
		[STYLE_PLAIN] = "",
		[STYLE_BOLD] = "\033[1m",
		[STYLE_DIM] = "\033[2m",
		[STYLE_GOOD] = "\033[32m",
		[STYLE_WARN] = "\033[33m",
		[STYLE_BAD] = "\033[31m",
	};
	return term->color ? codes[style] : "";
}

const char *term_off(const struct term *term, enum style style)
{
	return term->color && style != STYLE_PLAIN ? "\033[0m" : "";
}

enum style term_state_style(const char *state)
{
	static const struct {
		const char *state;
		enum style style;
	} styles[] = {
		{ "ready", STYLE_GOOD },
		{ "ok", STYLE_GOOD },
		{ "creating", STYLE_WARN },
		{ "starting", STYLE_WARN },
		{ "stopping", STYLE_WARN },
		{ "paused", STYLE_WARN },
		{ "degraded", STYLE_WARN },
		{ "draining", STYLE_WARN },
		{ "missing", STYLE_BAD },
		{ "failed", STYLE_BAD },
		{ "unhealthy", STYLE_BAD },
		{ "ended", STYLE_DIM },
	};

	for (size_t i = 0; i < ARRAY_SIZE(styles); i++)
		if (streq(styles[i].state, state))
			return styles[i].style;
	return STYLE_PLAIN;
}

/* Decodes the character at TEXT: its length, or 0 when it is invalid. The locale's encoding is UTF-8. */
static size_t decode(const char *text, wchar_t *ret)
{
	mbstate_t state = { 0 };
	size_t n = mbrtowc(ret, text, MB_LEN_MAX, &state);

	return n == (size_t)-1 || n == (size_t)-2 ? 0 : n;
}

char *term_text(const struct term *term, const char *text)
{
	size_t room = 4 * strlen(text) + 1; /* \xHH for every byte */
	char *copy = malloc(room), *at = copy;

	while (copy && *text) {
		size_t left = room - (size_t)(at - copy), n = 1;
		wchar_t c = 0;

		if (*text == '\n' || *text == '\t') {
			at += snprintf(at, left, "\\%c", *text == '\n' ? 'n' : 't');
		} else if ((unsigned char)*text >= 0x20 && (unsigned char)*text < 0x7f) {
			*at++ = *text;
		} else if (term->utf8 && (n = decode(text, &c)) > 1 && iswprint((wint_t)c) && wcwidth(c) > 0) {
			memcpy(at, text, n);
			at += n;
		} else {
			at += snprintf(at, left, "\\x%02x", (unsigned char)*text);
			n = 1;
		}
		text += n;
	}
	if (copy)
		*at = '\0';
	return copy;
}

/* Length in bytes and columns of the character at safe TEXT. */
static size_t step(const char *text, size_t *ret_columns)
{
	wchar_t c = 0;
	size_t n = (unsigned char)*text < 0x80 ? 1 : decode(text, &c);
	int columns = n > 1 ? wcwidth(c) : 1;

	*ret_columns = columns < 0 ? 0 : (size_t)columns;
	return n ? n : 1;
}

size_t term_columns(const char *text)
{
	size_t total = 0, columns;

	while (*text) {
		text += step(text, &columns);
		total += columns;
	}
	return total;
}

struct fit term_fit(const struct term *term, const char *text, size_t columns)
{
	struct fit fit = { .bytes = strlen(text), .columns = term_columns(text), .mark = "" };
	size_t one;

	if (columns == 0 || fit.columns <= columns)
		return fit;
	fit = (struct fit){ .columns = 1, .mark = term->utf8 ? "\xe2\x80\xa6" : "~" };
	for (;;) {
		size_t n = step(text + fit.bytes, &one);
		if (fit.columns + one > columns)
			return fit;
		fit.columns += one;
		fit.bytes += n;
	}
}
