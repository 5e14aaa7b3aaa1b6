/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file child: what control does to a session's files is done by this process (wire/files.h). Init forks it for
 * control; it is the user that was asked for, without init's descriptors, before it looks at anything. It executes
 * nothing, so that there is no program or library of the session's in it, and like init it cannot be traced.
 *
 *	file_child.c	the requests
 *	file_path.c	from a path to a descriptor; new files
 *	file_walk.c	directories, from top to bottom, in order
 *	file_list.c	a page of a list; removal of a tree
 *	file_stream.c	bytes between a file and a stream
 *	file_archive.c	a tree into a tar		file_extract.c	and out of it
 *	ignore.c	what of a tree is no part of it
 *	tar_write.c, tar_read.c, tar_number.c	the format
 *
 * Everything in the session may change while it is looked at. A path is resolved once, to a descriptor, by openat2(2)
 * without the magic links of /proc; what it turns out to be is asked of the descriptor. Only regular files are ever
 * opened for their contents, and those without waiting: a FIFO, a socket, a device or a lease is an error.
 */
#pragma once

#include <stdbool.h>
#include <sys/stat.h>

#include "sandbox/file_walk.h"
#include "sandbox/ignore.h"
#include "sandbox/tar.h"
#include "wire/files.h"

enum { FILE_BUFFER_BYTES = 256 * 1024 };

/* A file that gets its name only when it is complete. */
struct new_file {
	int dir; /* where it will be, O_PATH */
	int fd; /* -1: none */
	char name[FILES_NAME_MAX + 1];
	char temporary[32]; /* its name until then, where the file system has no files without one; or "" */
};

/* The place in a directory that a path names; what is there may not exist. */
struct place {
	int dir; /* O_PATH */
	char name[FILES_NAME_MAX + 1];
};

/* The links of an archive that is being written: the first name of each file that has several. */
struct link_name {
	struct link_name *next;
	uint64_t dev, ino;
	char path[];
};

/* A directory of an archive that is being read: it gets its mode and time when nothing more is put into it. */
struct late_directory {
	struct late_directory *next;
	bool is_new;
	uint32_t mode, uid, gid, mtime_ns;
	int64_t mtime;
	char path[];
};

enum held { HELD_NOTHING, HELD_READ, HELD_WRITE, HELD_GET, HELD_PUT, HELD_COMMIT };

/* Mapped, not cleared: what an operation does not use takes no memory. */
struct file_child {
	int channel, root;
	struct err err; /* of the request under way */
	struct files_done *done; /* its answer */
	/* what FILES_TRANSFER goes on with */
	enum held held;
	int file; /* READ, GET of a file; GET of a directory and PUT: the directory */
	uint64_t length; /* READ: what is to be sent; WRITE: the most that is taken */
	bool is_exact; /* READ: neither more nor less */
	struct new_file new_file;
	char name[FILES_NAME_MAX + 1]; /* GET of a file: its own */
	bool has_ignore; /* GET of a directory: without what IGNORE says */
	struct ignore ignore;
	int stream; /* while it is being moved */
	/* room to work in */
	struct arena names, kept;
	struct walk walk;
	size_t n_buffered;
	struct link_name *links[4096];
	struct late_directory *late;
	int parent; /* PUT: the directory of PARENT_PATH, which the last entry was put into; or -1 */
	char parent_path[FILES_PATH_SIZE];
	struct tar_entry entry;
	struct tar_reader reader;
	uint8_t buffer[FILE_BUFFER_BYTES];
};

/* Serves control on CHANNEL until it ends, then exits. */
_Noreturn void file_child_serve(int channel);

/* Fills the error of the request under way; the value is NUM. */
#define file_fail(child, num, step, ...) err_set(&(child)->err, num, step, __VA_ARGS__)

/* ---- file_path.c; all return 0 or a descriptor, or a negative errno with the child's error filled ---- */

/* PATH without following a link at its end, unless FOLLOW; for fstat() and the *at() calls only. */
int path_look(struct file_child *child, const char *path, bool follow);
/* The directory PATH, to be read. */
int path_directory(struct file_child *child, const char *path);
/* The directory PATH, made with what is missing above it. */
int path_make_directory(struct file_child *child, const char *path);
/* The regular file PATH, to be read, and what it is. */
int path_file(struct file_child *child, const char *path, struct stat *ret);
/* The regular file NAME in DIR, itself and no link; likewise, but without filling the error. */
int path_file_at(int dir, const char *name, struct stat *ret);
/* Where PATH is, or would be. PARENTS: the directories above it are made. */
int place_open(struct file_child *child, const char *path, bool parents, struct place *ret);
void place_close(struct place *place);
#define _place_ _cleanup_(place_close)

/* A new file for NAME in DIR, which must stay open; mode 0600. Without filling the error. */
int new_file_open(struct new_file *file, int dir, const char *name);
/* Gives it its name, replacing what has it. What then remains is to close FD, by new_file_discard(). */
int new_file_commit(struct new_file *file);
void new_file_discard(struct new_file *file);

void file_attributes(const struct stat *st, struct files_attributes *ret);
/* What a file is that is no regular one: "a FIFO". */
const char *file_type_name(mode_t mode);

/* ---- file_list.c ---- */

int file_list(struct file_child *child, const struct files_request *request, int page);
int file_delete(struct file_child *child, const struct files_request *request, int fd);
/* Why the child's walk cannot go on, with where it had come to. */
int file_fail_walk(struct file_child *child, int r, const char *step);

/* ---- file_stream.c; errors have the step "stream" or that of the file ---- */

/* Writes N bytes to the stream. */
int stream_write(struct file_child *child, const void *bytes, size_t n);
/* Reads up to N bytes: their number, 0 at the end. */
int stream_read(struct file_child *child, void *bytes, size_t n);
/* Sends up to N bytes of FILE, from where it is, to the stream. Their number, fewer only at the file's end. */
int64_t stream_send_file(struct file_child *child, int file, uint64_t n);
/* Takes the stream to its end into FILE, at most N bytes (-EFBIG). Their number. */
int64_t stream_receive_file(struct file_child *child, int file, uint64_t n);
/* Copies up to N bytes from a file to a file. Their number. */
int64_t file_copy(struct file_child *child, int from, int to, uint64_t n);
/* Writes N bytes at OFFSET of a file. */
int file_write_at(int file, const uint8_t *bytes, size_t n, uint64_t offset);

/* ---- archives: from and to the stream ---- */

int archive_get(struct file_child *child);
/* What .dockerignore in the directory of a request says, for archive_get(); nothing where there is none. */
int archive_ignore(struct file_child *child, const struct files_request *request);
int archive_put(struct file_child *child);
