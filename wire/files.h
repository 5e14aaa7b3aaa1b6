/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What control and a file child say to each other. A file child is a process of the session's (INIT_FILES): init forks
 * it, it becomes the user that control asks for, and from then on opens and changes files for control, with that
 * user's rights and in the session's namespaces. Control itself opens nothing there.
 *
 * The channel is a SOCK_SEQPACKET pair made by control; one request is under way at a time, each has one answer, and
 * the child ends when the channel does. Control takes all that comes back as hostile: whoever can trace or replace the
 * child may send anything.
 *
 * Contents do not travel in messages. Up to 1 MiB goes through a memfd that control makes for the call; more through
 * a stream whose descriptor control passes on, so that no byte of it goes through control:
 *
 *	FILES_READ without a memfd, FILES_GET	opens, answers with what it is
 *	FILES_WRITE without a memfd, FILES_PUT	prepares, so that what cannot be written is known at once
 *	FILES_TRANSFER				with the stream; answers when all of it has been moved
 *	FILES_COMMIT				after FILES_WRITE: the file gets its name
 *
 * A child whose channel ends before that leaves nothing of the new file.
 */
#pragma once

#include "wire/err.h"
#include "wire/msg.h"

enum {
	FILES_PATH_SIZE = 4096, /* with its NUL, as the kernel has it */
	FILES_NAME_MAX = 255,
	FILES_MAX_INLINE = 1 << 20, /* contents that go through a memfd */
	FILES_MAX_ENTRIES = 1000, /* in one page of a list */
	FILES_PAGE_BYTES = 512 * 1024, /* of one page */
	FILES_MAX_DEPTH = 100, /* of directories in a list, a removal or an archive */
	FILES_ARENA_BYTES = 64 << 20, /* names of the directories that are being walked, links of an archive */
	FILES_STALL_SECONDS = 60, /* a stream on which nothing moves for so long has failed */
};

enum files_op {
	FILES_STAT = 1,
	FILES_LIST, /* descriptor: the memfd for the page */
	FILES_READ, /* descriptor: the memfd for the contents; more than it takes is held for a transfer */
	FILES_WRITE, /* descriptor: the memfd with the contents */
	FILES_MKDIR,
	FILES_MOVE,
	FILES_DELETE,
	FILES_GET, /* of an archive, from PATH */
	FILES_PUT, /* the contents of an archive into PATH */
	FILES_TRANSFER, /* struct files_plain, descriptor: the stream */
	FILES_COMMIT, /* struct files_plain */
};

enum files_flags {
	FILES_FOLLOW = 1 << 0, /* STAT: what a link at the end leads to */
	FILES_RECURSIVE = 1 << 1, /* LIST, DELETE */
	FILES_PARENTS = 1 << 2, /* WRITE, MKDIR, PUT: make the directories that are missing */
	FILES_HAS_MODE = 1 << 3, /* WRITE, MKDIR: MODE is meant */
	FILES_NO_REPLACE = 1 << 4, /* MOVE */
	FILES_CONTEXT = 1 << 5, /* GET: a directory, without what its .dockerignore leaves out; OTHER is the Dockerfile */
	FILES_ALL_FLAGS = (1 << 6) - 1,
};

/* The request of every operation but the last two. Answered by struct files_done. */
struct files_request {
	struct msg_header header;
	uint32_t flags;
	uint32_t mode; /* permission bits, at most 07777 */
	uint64_t offset, length; /* READ; LENGTH also the most that WRITE takes from a stream. At most INT64_MAX */
	char path[FILES_PATH_SIZE]; /* absolute */
	/* MOVE: the new path, absolute. LIST: the last path of the page before, or "". GET: see FILES_CONTEXT */
	char other[FILES_PATH_SIZE];
};

struct files_plain {
	struct msg_header header;
};

struct files_attributes {
	uint64_t size;
	int64_t mtime; /* seconds */
	uint32_t mtime_ns;
	uint32_t mode; /* with the type: st_mode */
	uint32_t uid, gid; /* in the session */
	uint64_t n_links;
};

struct files_done {
	struct msg_header header;
	struct err err;
	struct files_attributes attributes; /* of what was asked about, read or written */
	uint64_t n_bytes; /* of contents, of the page or moved through the stream */
	uint32_t n_entries; /* of the page or the archive */
	uint32_t n_skipped; /* of the archive: devices and sockets */
	uint32_t more; /* 1: LIST, the page is not the last; READ, it is held for a transfer */
	uint32_t reserved;
	char text[FILES_PATH_SIZE]; /* STAT: where a link leads; TRANSFER: the first that was skipped */
};

/*
 * One entry of a page, which is a sequence of these, each followed by its path relative to the listed directory and,
 * of a symbolic link, its target; both with a NUL, the whole padded to 8 bytes.
 */
struct files_entry {
	struct files_attributes attributes;
	uint16_t path_bytes, target_bytes; /* without the NUL */
	int32_t unread; /* a directory that could not be read: a negative errno; else 0 */
};
_Static_assert(sizeof(struct files_entry) % 8 == 0, "entries are aligned");

/* What files_page_next() found; the strings point into the page. */
struct files_found {
	struct files_entry entry;
	const char *path, *target;
};

/* The bytes that an entry with these strings takes in a page. */
static inline size_t files_entry_bytes(size_t path_bytes, size_t target_bytes)
{
	return (sizeof(struct files_entry) + path_bytes + 1 + target_bytes + 1 + 7) & ~(size_t)7;
}

/*
 * The entry at *AT of a page of N bytes, *AT moved behind it. 1, 0 at the end, or -EPROTO for what no child of ours
 * would have written: cut, unterminated, with an empty path or attributes out of range.
 */
int files_page_next(const uint8_t *page, size_t n, size_t *at, struct files_found *ret);

extern const struct msg_shape files_requests[];
extern const size_t n_files_requests;
extern const struct msg_shape files_answers[];
extern const size_t n_files_answers;
