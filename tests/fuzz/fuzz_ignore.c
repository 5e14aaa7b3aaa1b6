/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Patterns and a path of any bytes, of which the first zero byte parts them. What is taken stays within its bounds; what
 * is below a directory that is left out, with nothing below it wanted, is left out itself.
 */
#include "sandbox/ignore.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void need(bool condition)
{
	if (!condition)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static struct ignore ignore;
	const uint8_t *end = memchr(data, '\0', n);
	size_t n_text = end ? (size_t)(end - data) : n;
	char path[256] = "";
	unsigned int line = 0;

	n_text = n_text < IGNORE_MAX_BYTES ? n_text : IGNORE_MAX_BYTES;
	if (ignore_parse(&ignore, (const char *)data, n_text, &line) < 0) {
		need(line > 0);
		return 0;
	}
	need(ignore.n <= sizeof(ignore.patterns) && (ignore.n == 0 || ignore.patterns[ignore.n - 1] == '\0'));
	if (end && n - n_text - 1 < sizeof(path))
		memcpy(path, end + 1, n - n_text - 1);
	ignore_set_dockerfile(&ignore, path);
	need(ignore_look(&ignore, ignore.dockerfile) == IGNORE_NOT);
	ignore_set_dockerfile(&ignore, "Dockerfile");
	char *slash = strrchr(path, '/');
	enum ignore_verdict verdict = ignore_look(&ignore, path);
	if (slash) {
		*slash = '\0';
		need(ignore_look(&ignore, path) != IGNORE_IT || verdict == IGNORE_IT);
	}
	return 0;
}
