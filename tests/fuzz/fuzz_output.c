/* SPDX-License-Identifier: Apache-2.0 */
/* The reader of the output file on any bytes: it ends, stays within its buffer and never goes back. */
#include <sys/mman.h>

#include "wire/output.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* A file of the right size with a right header, and the input over it or, so that records are reached, behind it. */
static int make_file(const uint8_t *data, size_t n)
{
	struct output_header header = { 0 };

	int fd = memfd_create("output", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, OUTPUT_FILE_BYTES) < 0)
		abort();
	output_format(&header, OUTPUT_FILE_BYTES);
	header.head = header.ring_bytes;
	if (pwrite(fd, &header, sizeof(header), 0) < 0 || pwrite(fd, data, n, n % 2 ? 0 : sizeof(header)) < 0)
		abort();
	return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct output_state state;
	struct output_record record;
	uint64_t position = 0, skipped = 0;
	uint8_t buffer[OUTPUT_MAX_RECORD];

	if (n > OUTPUT_FILE_BYTES - sizeof(struct output_header))
		return 0;
	_close_ int fd = make_file(data, n);
	(void)output_read_state(fd, &state);
	for (uint64_t before = 0; output_read(fd, &position, &record, buffer, &skipped) == 1; before = position)
		if (position <= before || record.length > sizeof(buffer) || skipped > position)
			abort();
	return 0;
}
