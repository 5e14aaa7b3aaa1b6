/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A block that is a header, as the three formats have it.
 */
#pragma once

#include "sandbox/tar.h"

struct tar_block {
	char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, target[100];
	char magic[6], version[2], user[32], group[32], major[8], minor[8];
	union {
		char prefix[155]; /* ustar */
		struct {
			char unused[41];
			char extents[4][24]; /* offset and length of each; zero-filled behind the last */
			char more; /* not 0: another block of extents follows */
			char real_size[12];
		} gnu;
	};
	char padding[12];
};
_Static_assert(sizeof(struct tar_block) == TAR_BLOCK, "one block");
_Static_assert(offsetof(struct tar_block, gnu.extents) == 386, "as GNU tar has it");

/* What follows a struct tar_block, or another of these, with MORE. */
struct tar_more_extents {
	char extents[21][24];
	char more;
	char padding[7];
};
_Static_assert(sizeof(struct tar_more_extents) == TAR_BLOCK, "one block");

#define TAR_USTAR_MAGIC \
	"ustar\0"       \
	"00"
#define TAR_GNU_MAGIC "ustar  "

/* The sum of a header's bytes, its own field taken as blanks. */
static inline uint32_t tar_checksum(const struct tar_block *block)
{
	const uint8_t *bytes = (const uint8_t *)block;
	uint32_t sum = 8 * ' ';

	for (size_t i = 0; i < TAR_BLOCK; i++)
		sum += bytes[i];
	for (size_t i = 0; i < sizeof(block->checksum); i++)
		sum -= (uint8_t)block->checksum[i];
	return sum;
}

/* ---- tar_number.c: 0, or -EBADMSG ---- */

/* A header's field: octal digits between blanks or, as GNU has it, a big-endian number after 0x80 (negative: 0xff). */
int tar_parse_field(const char *field, size_t size, int64_t *ret);
/* N digits, at least one, of a number below 2^63. */
int tar_parse_decimal(const char *text, size_t n, uint64_t *ret);
/* "-1.5": seconds and, counted forward from them, nanoseconds. */
int tar_parse_time(const char *text, size_t n, int64_t *ret, uint32_t *ret_ns);

/* The bytes that N take in the archive: whole blocks. */
static inline uint64_t tar_padded(uint64_t n)
{
	return (n + TAR_BLOCK - 1) & ~(uint64_t)(TAR_BLOCK - 1);
}
