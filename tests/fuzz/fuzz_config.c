/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as carrel.json or as a template: accepted, or refused with one line that names a line of the text. */
#include "config/members.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const char name[] = "fuzz.json";
	char error[256] = "";
	size_t lines = 1;

	if (n == 0)
		return 0;
	const bool daemon = data[0] & 1;
	const struct object_table *table = daemon ? &daemon_table : &template_table;
	const struct source source = {
		.name = name, .text = (const char *)data + 1, .n = n - 1, .error = error, .error_size = sizeof(error)
	};
	_free_ void *object = calloc(1, daemon ? sizeof(struct config) : sizeof(struct template));
	if (!object)
		abort();
	int r = source_read(&source, table, object);
	members_release(table, object);
	for (size_t i = 0; i < source.n; i++)
		lines += source.text[i] == '\n';
	if (r == 0 && error[0])
		abort();
	if (r != 0 && (strncmp(error, name, sizeof(name) - 1) != 0 || strchr(error, '\n')))
		abort();
	if (r != 0) {
		unsigned long line = strtoul(error + sizeof(name), NULL, 10);
		if (line < 1 || line > lines)
			abort();
	}
	return 0;
}
