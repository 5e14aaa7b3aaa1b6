/* SPDX-License-Identifier: Apache-2.0 */
/* The first line of a stream's connection. */
#include <stdlib.h>

#include "control/stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char token[STREAM_TOKEN_SIZE];

	memset(token, 'x', sizeof(token));
	if (stream_parse_line((const char *)data, size, token) == 0) {
		if (size >= STREAM_MAX_LINE || token[STREAM_TOKEN_SIZE - 1])
			abort();
	} else if (token[0] != 'x' || token[STREAM_TOKEN_SIZE - 1] != 'x') {
		abort();
	}
	return 0;
}
