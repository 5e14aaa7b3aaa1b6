/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/files.h"

#include <stdbool.h>

enum { MAX_PERMISSIONS = 07777, MAX_MODE = 0177777 };

static int check_request(const void *msg)
{
	const struct files_request *m = msg;

	return FITS(TERMINATED(m, path) && TERMINATED(m, other) && m->path[0] == '/' && m->mode <= MAX_PERMISSIONS &&
		    !(m->flags & ~(uint32_t)FILES_ALL_FLAGS) && m->offset <= INT64_MAX && m->length <= INT64_MAX);
}

static int check_move(const void *msg)
{
	const struct files_request *m = msg;
	int r = check_request(msg);

	return r < 0 ? r : FITS(m->other[0] == '/');
}

static bool attributes_fit(const struct files_attributes *a)
{
	return a->size <= INT64_MAX && a->mode <= MAX_MODE && a->mtime_ns < 1000000000;
}

static int check_done(const void *msg)
{
	const struct files_done *m = msg;

	return FITS(m->err.num <= 0 && m->err.num > -4096 && TERMINATED(&m->err, step) &&
		    TERMINATED(&m->err, object) && attributes_fit(&m->attributes) && m->n_bytes <= INT64_MAX &&
		    m->more <= 1 && TERMINATED(m, text));
}

int files_page_next(const uint8_t *page, size_t n, size_t *at, struct files_found *ret)
{
	struct files_found found;
	size_t left = n - *at;

	if (left == 0)
		return 0;
	if (left < sizeof(found.entry))
		return -EPROTO;
	memcpy(&found.entry, page + *at, sizeof(found.entry));
	size_t path_bytes = found.entry.path_bytes, target_bytes = found.entry.target_bytes;
	size_t bytes = files_entry_bytes(path_bytes, target_bytes);
	found.path = (const char *)page + *at + sizeof(found.entry);
	found.target = found.path + path_bytes + 1;
	if (bytes > left || path_bytes == 0 || path_bytes >= FILES_PATH_SIZE || target_bytes >= FILES_PATH_SIZE)
		return -EPROTO;
	if (strnlen(found.path, path_bytes + 1) != path_bytes ||
		strnlen(found.target, target_bytes + 1) != target_bytes)
		return -EPROTO;
	if (!attributes_fit(&found.entry.attributes) || found.entry.unread > 0 || found.entry.unread <= -4096)
		return -EPROTO;
	*at += bytes;
	*ret = found;
	return 1;
}

/* clang-format off */
const struct msg_shape files_requests[] = {
	{ FILES_STAT,       0, 0, sizeof(struct files_request), "stat",       check_request },
	{ FILES_LIST,       1, 1, sizeof(struct files_request), "list",       check_request },
	{ FILES_READ,       0, 1, sizeof(struct files_request), "read",       check_request },
	{ FILES_WRITE,      0, 1, sizeof(struct files_request), "write",      check_request },
	{ FILES_MKDIR,      0, 0, sizeof(struct files_request), "mkdir",      check_request },
	{ FILES_MOVE,       0, 0, sizeof(struct files_request), "move",       check_move },
	{ FILES_DELETE,     0, 0, sizeof(struct files_request), "delete",     check_request },
	{ FILES_GET,        0, 0, sizeof(struct files_request), "get",        check_request },
	{ FILES_PUT,        0, 0, sizeof(struct files_request), "put",        check_request },
	{ FILES_TRANSFER,   1, 1, sizeof(struct files_plain),   "transfer",   NULL },
	{ FILES_COMMIT,     0, 0, sizeof(struct files_plain),   "commit",     NULL },
};
const size_t n_files_requests = ARRAY_SIZE(files_requests);

#define DONE(op, name) { (op) | MSG_REPLY, 0, 0, sizeof(struct files_done), name, check_done }
const struct msg_shape files_answers[] = {
	DONE(FILES_STAT, "stat"),
	DONE(FILES_LIST, "list"),
	DONE(FILES_READ, "read"),
	DONE(FILES_WRITE, "write"),
	DONE(FILES_MKDIR, "mkdir"),
	DONE(FILES_MOVE, "move"),
	DONE(FILES_DELETE, "delete"),
	DONE(FILES_GET, "get"),
	DONE(FILES_PUT, "put"),
	DONE(FILES_TRANSFER, "transfer"),
	DONE(FILES_COMMIT, "commit"),
};
const size_t n_files_answers = ARRAY_SIZE(files_answers);
/* clang-format on */
