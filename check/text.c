/* SPDX-License-Identifier: Apache-2.0 */
/* The host check's dealings with text: what it reads and what it prints. Touches nothing of the host. */
#include "check/check.h"

/* ---- reading ---- */

bool check_release(const char *release, unsigned int major, unsigned int minor)
{
	char *end;
	const unsigned long is_major = strtoul(release, &end, 10);
	const unsigned long is_minor = *end == '.' ? strtoul(end + 1, NULL, 10) : 0;

	return is_major > major || (is_major == major && is_minor >= minor);
}

bool check_subids(const char *text, uint64_t first, uint64_t count, char *ret, size_t size)
{
	for (const char *line = text; *line; line += strspn(line, "\n")) {
		const size_t length = strcspn(line, "\n");
		const char *colon = memchr(line, ':', length);
		char *end = NULL;
		uint64_t from = 0, n = 0;
		if (colon)
			from = strtoull(colon + 1, &end, 10);
		if (end && *end == ':')
			n = strtoull(end + 1, NULL, 10);
		line += length;
		/* Compared by differences: sums of a file's numbers may overflow. */
		if (n == 0 || !(from < first ? first - from < n : from - first < count))
			continue;
		snprintf(ret, size, "%.*s", (int)length, line - length);
		return true;
	}
	return false;
}

bool check_has_word(const char *words, const char *word)
{
	const size_t n = strlen(word);

	for (const char *p = words; *p; p += strspn(p, " \n")) {
		const size_t length = strcspn(p, " \n");
		if (length == n && memcmp(p, word, n) == 0)
			return true;
		p += length;
	}
	return false;
}

/* ---- printing ---- */

static const char *state_name(uint32_t state)
{
	return state == CHECK_OK ? "ok" : state == CHECK_DEGRADED ? "degraded" : "missing";
}

/* RFC 8259. Only ASCII goes out: a detail may have been cut in the middle of a character. */
static void print_json_string(const char *s, FILE *out)
{
	fputc('"', out);
	for (; *s; s++) {
		const unsigned char byte = (unsigned char)*s;
		if (byte == '"' || byte == '\\')
			fprintf(out, "\\%c", byte);
		else if (byte < ' ')
			fprintf(out, "\\u%04x", byte);
		else
			fputc(byte < 0x7f ? byte : '?', out);
	}
	fputc('"', out);
}

static void print_json(const struct check_item *items, size_t n, FILE *out)
{
	fputs("{\"items\": [", out);
	for (size_t i = 0; i < n; i++) {
		fputs(i ? ",\n\t{\"name\": " : "\n\t{\"name\": ", out);
		print_json_string(items[i].name, out);
		fprintf(out, ", \"state\": \"%s\", \"detail\": ", state_name(items[i].state));
		print_json_string(items[i].detail, out);
		fputs(", \"remedy\": ", out);
		if (items[i].remedy[0])
			print_json_string(items[i].remedy, out);
		else
			fputs("null", out);
		fputc('}', out);
	}
	fputs("\n]}\n", out);
}

void check_print(const struct check_item *items, size_t n, bool json, FILE *out)
{
	if (json) {
		print_json(items, n, out);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		fprintf(out, "%-8s  %-20s  %s\n", state_name(items[i].state), items[i].name, items[i].detail);
		if (items[i].remedy[0])
			fprintf(out, "%-8s  %-20s  -> %s\n", "", "", items[i].remedy);
	}
}
