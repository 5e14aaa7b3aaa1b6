/* SPDX-License-Identifier: Apache-2.0 */
/* Hostile text on its way to a terminal: what comes out is printable, and fits. */
#include <locale.h>
#include <stdint.h>

#include "cli/format.h"
#include "cli/term.h"
#include "wire/def.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerInitialize(int *argc, char ***argv);

int LLVMFuzzerInitialize(int *argc _unused_, char ***argv _unused_)
{
	return setlocale(LC_CTYPE, "C.UTF-8") ? 0 : -1;
}

static void check_fit(const struct term *term, const char *safe, size_t columns)
{
	struct fit fit = term_fit(term, safe, columns);

	if (fit.bytes > strlen(safe) || (columns && fit.columns > columns))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	const struct term terms[] = { { 0 }, { .utf8 = true } };
	struct timespec at;
	uint64_t number;

	if (n < 1)
		return 0;
	_free_ char *text = strndup((const char *)data + 1, n - 1);
	for (size_t i = 0; i < ARRAY_SIZE(terms); i++) {
		_free_ char *safe = term_text(&terms[i], text);
		for (const char *c = safe; *c; c++)
			if ((unsigned char)*c < 0x20 || *c == 0x7f || (!terms[i].utf8 && (unsigned char)*c >= 0x80))
				abort();
		check_fit(&terms[i], safe, data[0]);
	}
	parse_time(text, &at);
	parse_seconds(text, &number);
	json_decref(parse_limit(text));
	return 0;
}
