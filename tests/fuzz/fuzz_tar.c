/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile archive: whatever it says, names are terminated, pieces of data lie in the file, in order, and reading comes
 * to an end. Sums are made right in a second run, so that what is behind them is reached.
 */
#include "sandbox/tar_format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct source {
	const uint8_t *bytes;
	size_t n;
	bool repair;
};

static void need(bool condition)
{
	if (!condition)
		abort();
}

/* A block at a time, so that what may be a header is one. */
static int read_source(void *arg, void *bytes, size_t n)
{
	struct source *source = arg;
	struct tar_block block;

	n = n < TAR_BLOCK ? n : TAR_BLOCK;
	n = n < source->n ? n : source->n;
	memcpy(bytes, source->bytes, n);
	source->bytes += n;
	source->n -= n;
	if (source->repair && n == TAR_BLOCK) {
		char text[8];
		memcpy(&block, bytes, sizeof(block));
		uint32_t sum = tar_checksum(&block);
		for (size_t i = 7; i-- > 0; sum >>= 3)
			text[i] = (char)('0' + (sum & 7));
		text[7] = '\0';
		memcpy(block.checksum, text, sizeof(text));
		memcpy(bytes, &block, sizeof(block));
	}
	return (int)n;
}

static void read_archive(struct tar_reader *reader, const uint8_t *data, size_t n, bool repair)
{
	struct source source = { data, n, repair };
	struct err err = { 0 };
	struct tar_entry entry;
	const uint8_t *bytes;
	size_t piece;
	int r;

	tar_read_open(reader, read_source, &source, &err);
	while ((r = tar_next(reader, &entry)) > 0) {
		uint64_t end = 0, offset = 0;
		need(is_terminated(entry.path, sizeof(entry.path)) &&
			is_terminated(entry.target, sizeof(entry.target)));
		need(entry.type <= TAR_DEVICE && entry.mode <= 07777 && entry.mtime_ns < 1000000000);
		need(entry.uid != UINT32_MAX && entry.gid != UINT32_MAX && entry.size <= INT64_MAX);
		while ((r = tar_data(reader, &bytes, &piece, &offset)) > 0) {
			need(piece > 0 && offset >= end && offset <= entry.size && piece <= entry.size - offset);
			end = offset + piece;
		}
		if (r < 0)
			break;
	}
	need((r == 0) == (err.num == 0) && err.num <= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static struct tar_reader reader; /* large, and made ready anew for each archive */

	read_archive(&reader, data, n, false);
	read_archive(&reader, data, n, true);
	return 0;
}
