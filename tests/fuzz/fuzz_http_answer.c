/* SPDX-License-Identifier: Apache-2.0 */
/* The status of an HTTP answer does not depend on how its bytes are cut, and is a status. */
#include "control/http_answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static int feed(const char *bytes, size_t n, size_t piece)
{
	struct http_answer answer;

	http_answer_init(&answer);
	for (size_t i = 0; i < n; i += piece) {
		int r = http_answer_feed(&answer, bytes + i, n - i < piece ? n - i : piece);
		if (r != 0)
			return r;
	}
	return http_answer_feed(&answer, "", 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	if (n < 2)
		return 0;
	int whole = feed((const char *)data + 1, n - 1, n), cut = feed((const char *)data + 1, n - 1, 1U + data[0]);
	if (whole != cut || whole == 0 || (whole > 0 && whole < 200))
		abort();
	return 0;
}
