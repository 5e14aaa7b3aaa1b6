/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tar format: bytes to entries and back, without a file system (sandbox/file_archive.c and file_extract.c have
 * that). Written is what POSIX calls pax interchange (IEEE Std 1003.1, pax): a ustar header per file, before it an
 * extended one where names, numbers or times do not fit, and holes by GNU's "PAX Format, Version 1.0". Read are these,
 * ustar, the format before it, and GNU's own: long names, numbers in base 256, old sparse files.
 *
 * A reader takes everything as hostile. It holds nothing that grows with the archive.
 */
#pragma once

#include <stdbool.h>

#include "wire/err.h"

enum {
	TAR_BLOCK = 512,
	TAR_PATH_SIZE = 4096,
	TAR_MAX_EXTENTS = 1 << 16, /* pieces of data in a file with holes */
	TAR_BUFFER_BYTES = 256 * 1024,
	TAR_HEADER_BYTES = 24 * TAR_BLOCK, /* of what tar_header() writes, at most */
	TAR_MAX_EXTENDED = 1 << 20, /* one extended header that is read */
};

enum tar_type {
	TAR_FILE,
	TAR_HARD_LINK, /* to TARGET, a path in the archive */
	TAR_SYMLINK,
	TAR_DIRECTORY,
	TAR_FIFO,
	TAR_DEVICE, /* of either kind; never written */
};

struct tar_entry {
	enum tar_type type;
	uint32_t mode; /* permission bits */
	uint32_t uid, gid;
	uint64_t size; /* of the file, holes included; 0 of anything else */
	int64_t mtime; /* seconds */
	uint32_t mtime_ns;
	char path[TAR_PATH_SIZE], target[TAR_PATH_SIZE];
};

/* A piece of data between holes. */
struct tar_extent {
	uint64_t offset, length;
};

/* ---- writing ---- */

/*
 * Writes the headers of ENTRY to OUT (of TAR_HEADER_BYTES) and returns their length. IS_SPARSE: the data that follow
 * are STORED bytes, a map by tar_map() and then the extents; else they are the file.
 */
size_t tar_header(const struct tar_entry *entry, bool is_sparse, uint64_t stored, uint8_t *out);

/* Writes the map of N extents in a file of SIZE bytes, padded to blocks; the length. OUT NULL: only that. */
size_t tar_map(const struct tar_extent *extents, size_t n, uint64_t size, char *out);

/* ---- reading ---- */

struct tar_reader {
	/* Reads up to N bytes. Their number, 0 at the end of the stream; or a negative errno, and it has filled ERR. */
	int (*read)(void *arg, void *bytes, size_t n);
	void *arg;
	struct err *err; /* what is wrong with the archive; the step is "archive" */
	size_t at, n; /* of BUFFER: what is not consumed yet */
	uint64_t left; /* bytes of the entry under way that are still in the stream, with the padding after them */
	uint64_t n_read; /* bytes so far */
	size_t n_extents, extent;
	uint64_t in_extent; /* bytes of that one that have been given out */
	uint8_t buffer[TAR_BUFFER_BYTES];
	struct tar_extent extents[TAR_MAX_EXTENTS];
};

/* Prepares a reader, which may be of any size in memory that is zero: only what is used is touched. */
void tar_read_open(
	struct tar_reader *reader, int (*read)(void *arg, void *bytes, size_t n), void *arg, struct err *err);

/*
 * The next entry; what was left of the one before is passed over. 1, 0 behind the archive's last, or a negative errno
 * with the reader's error filled: -EBADMSG for what is no archive, -EPIPE for one that is cut short, -EOPNOTSUPP for
 * parts of formats that are not read, -ENAMETOOLONG, -E2BIG, or what read() gave.
 */
int tar_next(struct tar_reader *reader, struct tar_entry *ret);

/*
 * The next piece of the entry's data: 1 with N bytes, in the buffer until the next call, that belong at OFFSET of the
 * file; 0 when there is no more; or a negative errno as above.
 */
int tar_data(struct tar_reader *reader, const uint8_t **ret_bytes, size_t *ret_n, uint64_t *ret_offset);
