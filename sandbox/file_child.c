/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/file_child.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "sandbox/sys.h"

enum { MODE_FILE = 0644, MODE_DIRECTORY = 0755 };

/* ---- looking ---- */

static int on_stat(struct file_child *child, const struct files_request *request, int fd _unused_)
{
	struct stat st;

	_close_ int look = path_look(child, request->path, request->flags & FILES_FOLLOW);
	if (look < 0)
		return look;
	if (fstat(look, &st) < 0)
		return file_fail(child, -errno, "open", "%s", "");
	file_attributes(&st, &child->done->attributes);
	if (S_ISLNK(st.st_mode)) {
		ssize_t n = readlinkat(look, "", child->done->text, sizeof(child->done->text) - 1);
		if (n < 0)
			return file_fail(child, -errno, "open", "%s", "");
		child->done->text[n] = '\0';
	}
	return 0;
}

/* Whether more than an answer takes is wanted. Files of /proc, whose size is 0, are read to see. */
static bool is_large(const struct files_request *request, const struct stat *st)
{
	uint64_t size = (uint64_t)st->st_size, there = size > request->offset ? size - request->offset : 0;

	return (there < request->length ? there : request->length) > FILES_MAX_INLINE;
}

static int on_read(struct file_child *child, const struct files_request *request, int fd)
{
	struct stat st;

	_close_ int file = path_file(child, request->path, &st);
	if (file < 0)
		return file;
	file_attributes(&st, &child->done->attributes);
	if (request->offset > 0 && lseek(file, (off_t)request->offset, SEEK_SET) < 0)
		return file_fail(child, -errno, "read", "%s", "");
	if (fd < 0 || is_large(request, &st)) {
		child->file = steal_fd(&file);
		child->held = HELD_READ;
		child->length = request->length;
		/* What it grows by from now on is not waited for. A file of /proc says 0 and has what it has. */
		uint64_t size = (uint64_t)st.st_size, there = size > request->offset ? size - request->offset : 0;
		child->is_exact = size > 0;
		if (child->is_exact && there < child->length)
			child->length = there;
		child->done->more = 1;
		child->done->n_bytes = child->is_exact ? child->length : 0;
		return 0;
	}
	int64_t n =
		file_copy(child, file, fd, request->length < FILES_MAX_INLINE ? request->length : FILES_MAX_INLINE);
	if (n < 0)
		return (int)n;
	child->done->n_bytes = (uint64_t)n;
	return 0;
}

/* ---- writing ---- */

/* The mode of a new file: the one asked for, or that of the file in its place. */
static mode_t mode_for(const struct files_request *request, const struct place *place)
{
	struct stat st;

	if (request->flags & FILES_HAS_MODE)
		return request->mode;
	if (fstatat(place->dir, place->name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
		return st.st_mode & 07777;
	return MODE_FILE;
}

static int commit(struct file_child *child)
{
	struct stat st;

	int r = new_file_commit(&child->new_file);
	if (r == 0 && fstat(child->new_file.fd, &st) < 0)
		r = -errno;
	if (r < 0)
		return file_fail(child, r, "rename", "%s", "");
	file_attributes(&st, &child->done->attributes);
	return 0;
}

/* Gives up what a transfer was prepared for. */
static void let_go(struct file_child *child)
{
	new_file_discard(&child->new_file);
	close_fdp(&child->new_file.dir);
	close_fdp(&child->file);
	child->held = HELD_NOTHING;
}

/* Makes the new file; what it is about belongs to the child until let_go(). */
static int begin_file(struct file_child *child, const struct files_request *request)
{
	_place_ struct place place = { .dir = -1 };
	struct stat st;

	int r = place_open(child, request->path, request->flags & FILES_PARENTS, &place);
	if (r < 0)
		return r;
	/* Known now rather than when everything has been sent. */
	if (fstatat(place.dir, place.name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode))
		return file_fail(child, -EISDIR, "type", "%s", file_type_name(st.st_mode));
	mode_t mode = mode_for(request, &place);
	r = new_file_open(&child->new_file, place.dir, place.name);
	if (r < 0)
		return file_fail(child, r, "create", "%s", "");
	steal_fd(&place.dir);
	if (fchmod(child->new_file.fd, mode) < 0)
		return file_fail(child, -errno, "create", "mode %04o", (unsigned int)mode);
	return 0;
}

static int on_write(struct file_child *child, const struct files_request *request, int fd)
{
	int r = begin_file(child, request);
	if (r == 0 && fd < 0) {
		child->held = HELD_WRITE;
		child->length = request->length;
		return 0;
	}
	if (r == 0) {
		int64_t n = file_copy(child, fd, child->new_file.fd, FILES_MAX_INLINE);
		child->done->n_bytes = n < 0 ? 0 : (uint64_t)n;
		r = n < 0 ? (int)n : commit(child);
	}
	let_go(child);
	return r;
}

/* mkdir(2) leaves out what is more than permissions. */
static int set_special_mode(const struct place *place, mode_t mode)
{
	_close_ int dir =
		openat(place->dir, place->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	return dir < 0 || fchmod(dir, mode) < 0 ? -errno : 0;
}

static int on_mkdir(struct file_child *child, const struct files_request *request, int fd _unused_)
{
	_place_ struct place place = { .dir = -1 };
	mode_t mode = request->flags & FILES_HAS_MODE ? request->mode : MODE_DIRECTORY;
	struct stat st;

	int r = place_open(child, request->path, request->flags & FILES_PARENTS, &place);
	if (r < 0)
		return r;
	if (mkdirat(place.dir, place.name, mode) < 0) {
		r = -errno;
		/* As mkdir -p: with "parents" it may be there. */
		if (r != -EEXIST || !(request->flags & FILES_PARENTS) ||
			fstatat(place.dir, place.name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode))
			return file_fail(child, r, "mkdir", "%s", "");
	} else if (mode & 07000 && (r = set_special_mode(&place, mode)) < 0) {
		return file_fail(child, r, "mkdir", "mode %04o", (unsigned int)mode);
	}
	if (fstatat(place.dir, place.name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		file_attributes(&st, &child->done->attributes);
	return 0;
}

static int on_move(struct file_child *child, const struct files_request *request, int fd _unused_)
{
	_place_ struct place from = { .dir = -1 };
	_place_ struct place to = { .dir = -1 };
	const unsigned int no_replace = 1; /* RENAME_NOREPLACE, linux/fs.h */
	struct stat st;

	int r = place_open(child, request->path, false, &from);
	if (r < 0)
		return r;
	r = place_open(child, request->other, false, &to);
	if (r < 0)
		return file_fail(child, r, "to", "%s", ""); /* the step says which of the two */
	/* By number: musl 1.2.3 has no function for it. */
	if (syscall(SYS_renameat2, from.dir, from.name, to.dir, to.name,
		    request->flags & FILES_NO_REPLACE ? no_replace : 0) < 0)
		return file_fail(child, -errno, "rename", "%s", "");
	if (fstatat(to.dir, to.name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		file_attributes(&st, &child->done->attributes);
	return 0;
}

/* ---- archives ---- */

static int on_get(struct file_child *child, const struct files_request *request, int fd _unused_)
{
	struct stat st;
	int r = 0;

	_close_ int look = path_look(child, request->path, true);
	if (look < 0)
		return look;
	if (fstat(look, &st) < 0)
		return file_fail(child, -errno, "open", "%s", "");
	if (S_ISDIR(st.st_mode)) {
		child->file = path_directory(child, request->path);
		child->name[0] = '\0';
		child->has_ignore = false;
		if (child->file >= 0 && request->flags & FILES_CONTEXT)
			r = archive_ignore(child, request);
	} else if (request->flags & FILES_CONTEXT) {
		return file_fail(child, -ENOTDIR, "open", "%s", "");
	} else {
		/* One file: by the name that it has in the path. */
		_place_ struct place place = { .dir = -1 };
		r = place_open(child, request->path, false, &place);
		if (r < 0)
			return r;
		memcpy(child->name, place.name, sizeof(child->name));
		child->file = path_file(child, request->path, &st);
	}
	if (child->file < 0 || r < 0)
		return child->file < 0 ? child->file : r;
	file_attributes(&st, &child->done->attributes);
	child->held = HELD_GET;
	return 0;
}

static int on_put(struct file_child *child, const struct files_request *request, int fd _unused_)
{
	struct stat st;

	child->file = request->flags & FILES_PARENTS ? path_make_directory(child, request->path)
						     : path_directory(child, request->path);
	if (child->file < 0)
		return child->file;
	if (fstat(child->file, &st) == 0)
		file_attributes(&st, &child->done->attributes);
	child->held = HELD_PUT;
	return 0;
}

/* ---- transfers ---- */

static int transfer_read(struct file_child *child)
{
	int64_t n = stream_send_file(child, child->file, child->length);

	if (n < 0)
		return (int)n;
	if (child->is_exact && (uint64_t)n < child->length)
		return file_fail(child, -EIO, "read", "it became shorter while it was sent");
	child->done->n_bytes = (uint64_t)n;
	return 0;
}

static int transfer_write(struct file_child *child)
{
	int64_t n = stream_receive_file(child, child->new_file.fd, child->length);

	if (n < 0)
		return (int)n;
	child->done->n_bytes = (uint64_t)n;
	return 0;
}

static int on_transfer(struct file_child *child, const struct files_request *request _unused_, int fd)
{
	enum held held = child->held;
	int flags = fcntl(fd, F_GETFL), r;

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return file_fail(child, -errno, "stream", "%s", "");
	child->stream = fd;
	switch (held) {
	case HELD_READ:
		r = transfer_read(child);
		break;
	case HELD_WRITE:
		r = transfer_write(child);
		break;
	case HELD_GET:
		r = archive_get(child);
		break;
	case HELD_PUT:
		r = archive_put(child);
		break;
	default:
		r = file_fail(child, -EPROTO, "stream", "nothing is to be moved");
	}
	child->stream = -1;
	if (r == 0 && held == HELD_WRITE)
		child->held = HELD_COMMIT;
	else
		let_go(child);
	return r;
}

static int on_commit(struct file_child *child, const struct files_request *request _unused_, int fd _unused_)
{
	int r = child->held == HELD_COMMIT ? commit(child) : file_fail(child, -EPROTO, "rename", "no file");

	let_go(child);
	return r;
}

/* ---- serving ---- */

/* clang-format off */
static const struct {
	uint16_t op;
	bool goes_on; /* with what was held before; another request gives that up */
	int (*handle)(struct file_child *child, const struct files_request *request, int fd);
} handlers[] = {
	{ FILES_STAT,     false, on_stat },
	{ FILES_LIST,     false, file_list },
	{ FILES_READ,     false, on_read },
	{ FILES_WRITE,    false, on_write },
	{ FILES_MKDIR,    false, on_mkdir },
	{ FILES_MOVE,     false, on_move },
	{ FILES_DELETE,   false, file_delete },
	{ FILES_GET,      false, on_get },
	{ FILES_PUT,      false, on_put },
	{ FILES_TRANSFER, true,  on_transfer },
	{ FILES_COMMIT,   true,  on_commit },
};
/* clang-format on */

static int answer(struct file_child *child, const struct msg *msg, int r)
{
	struct files_done *done = child->done;

	if (r < 0) {
		memset(done, 0, sizeof(*done));
		done->err = child->err;
	}
	msg_init(&done->header, msg->header.op | MSG_REPLY, msg->header.id, sizeof(*done));
	return msg_send(child->channel, &done->header, NULL, 0);
}

static int serve_one(struct file_child *child, struct msg *msg)
{
	struct files_done done = { 0 };
	int r = -ENOSYS;

	child->done = &done;
	child->err = (struct err){ 0 };
	for (size_t i = 0; i < ARRAY_SIZE(handlers); i++) {
		if (handlers[i].op != msg->header.op)
			continue;
		if (!handlers[i].goes_on)
			let_go(child);
		r = handlers[i].handle(child, (const void *)msg->bytes, msg->n_fds > 0 ? msg->fds[0] : -1);
	}
	/* The stream ends before it is said how. */
	msg_release(msg);
	arena_reset(&child->names);
	arena_reset(&child->kept);
	return answer(child, msg, r);
}

static struct file_child *child_new(int channel)
{
	struct file_child *child = mmap(
		NULL, sizeof(*child), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (child == MAP_FAILED)
		return NULL;
	child->channel = channel;
	child->file = child->new_file.dir = child->new_file.fd = child->stream = child->parent = -1;
	child->root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return child->root < 0 ? NULL : child;
}

_Noreturn void file_child_serve(int channel)
{
	struct file_child *child = child_new(channel);
	struct msg msg;

	prctl(PR_SET_NAME, "carrel-files");
	signal(SIGPIPE, SIG_IGN); /* a client that goes away is an error of the transfer */
	umask(0); /* modes are those that were asked for */
	while (child) {
		struct pollfd wait = { .fd = channel, .events = POLLIN };
		if (RETRY_EINTR(poll(&wait, 1, -1)) < 0)
			break;
		int r = msg_recv(channel, files_requests, n_files_requests, &msg);
		if (r == -EAGAIN)
			continue;
		if (r <= 0 || serve_one(child, &msg) < 0)
			break;
	}
	if (child)
		let_go(child);
	_exit(child ? EXIT_SUCCESS : EXIT_FAILURE);
}
