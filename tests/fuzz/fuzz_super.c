/* SPDX-License-Identifier: Apache-2.0 */
/* A datagram against the shapes of every private channel: no table may read past it or accept what lies. */
#include <stdlib.h>

#include "wire/init.h"
#include "wire/plan.h"
#include "wire/super.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct {
		const struct msg_shape *shapes;
		size_t n;
	} tables[] = {
		{ super_requests, n_super_requests }, { super_answers, n_super_answers }, { init_requests, n_init_requests },
		{ init_answers, n_init_answers },     { plan_orders, n_plan_orders },	  { plan_reports, n_plan_reports },
	};

	if (size < 2)
		return 0;
	size_t table = data[0] % ARRAY_SIZE(tables), n_fds = data[1] % (MSG_MAX_FDS + 1);
	data += 2;
	size -= 2;
	/* A copy of exactly this size, aligned as a message is, so that the sanitizer sees a read past its end. */
	uint8_t *copy = malloc(size ? size : 1);
	if (!copy)
		return 0;
	memcpy(copy, data, size);
	/* The tables know how long each operation is; the header alone would keep the fuzzer out of every check. */
	if (size >= sizeof(struct msg_header)) {
		struct msg_header *header = (void *)copy;
		header->version = MSG_VERSION;
		header->length = (uint32_t)size;
	}
	if (msg_check(copy, size, n_fds, tables[table].shapes, tables[table].n) == 0) {
		const struct msg_header *header = (const void *)copy;
		if (header->length != size)
			abort();
	}
	free(copy);
	return 0;
}
