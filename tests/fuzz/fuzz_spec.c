/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spec_parse on any bytes: what it accepts is whole, terminated, and written back by spec_write() as it was. Every
 * other input gets a header that is right, so that the strings are reached; its first bytes say how many there are.
 */
#include "wire/spec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_accepted(const uint8_t *bytes, size_t n, char **argv, char **envp)
{
	const struct spec_header *header = (const void *)bytes;
	size_t used = sizeof(*header);

	for (uint32_t i = 0; i < header->argc; i++)
		used += strlen(argv[i]) + 1;
	for (uint32_t i = 0; i < header->envc; i++)
		used += strlen(envp[i]) + 1;
	if (used != n || argv[header->argc] || envp[header->envc])
		abort();
	_close_ int fd = spec_write(header, argv, envp);
	_free_ uint8_t *again = malloc(n);
	if (fd < 0 || !again || pread(fd, again, n, 0) != (ssize_t)n || memcmp(again, bytes, n) != 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	/* The size that init gives the arrays comes from the same header. */
	static char *argv[SPEC_MAX_STRINGS + 1], *envp[SPEC_MAX_STRINGS + 1];
	struct spec_header header = { .magic = SPEC_MAGIC, .version = SPEC_VERSION, .cwd = "/" };
	size_t skip = 0;

	if (n > 2 && data[0] % 2 == 0) {
		header.argc = data[0];
		header.envc = data[1];
		header.total_bytes = (uint32_t)(sizeof(header) + n - 2);
		skip = sizeof(header);
		data += 2;
		n -= 2;
	}
	/* An own copy: aligned, and of exactly the size that may be read. */
	_free_ uint8_t *bytes = malloc(skip + n + 1);
	if (!bytes)
		return 0;
	memcpy(bytes, &header, skip);
	memcpy(bytes + skip, data, n);
	if (spec_parse(bytes, skip + n, argv, envp) == 0)
		check_accepted(bytes, skip + n, argv, envp);
	return 0;
}
