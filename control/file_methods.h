/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the handlers of file.* and archive.* share.
 */
#pragma once

#include "control/file_pool.h"

/* Answers CALL, which was about PATH (may be NULL), with why it failed. */
void file_fail_call(
	struct call *call, const struct session *session, const char *path, const struct file_failure *failure);

/* The session's pool, or NULL with CALL answered: the session takes no such call now, or memory is short. */
struct file_pool *file_pool_of_call(struct call *call);

/*
 * Fills RET from what parameters of these names a call has: path, to, offset, length, mode, create_parents, recursive,
 * follow, replace. 0, or -EINVAL with CALL answered.
 */
int file_request_fill(struct call *call, uint16_t op, struct files_request *ret);

/* For how long the caller of CALL wants to wait: FALLBACK_NS unless it says. */
uint64_t file_call_ns(const struct call *call, uint64_t fallback_ns);

/* file.read and file.write by stream, archive.get and archive.put: OP. Answers CALL now or later. */
void file_transfer_call(struct call *call, struct file_pool *pool, enum files_op op);

/* ---- file_json.c ---- */

/* The errno of a child's error as a kind of control's own. */
struct file_failure file_failure_of(const struct err *err);

enum file_encoding { FILE_UTF8, FILE_BASE64 };

/* {type, size_bytes, mode, uid, gid, modified_at, links, target?} of what a child said, a new object. */
json_t *file_json(const struct files_attributes *attributes, const char *target);

/* {entries, next_cursor} of a page; NULL when memory is short or the page is none. */
json_t *file_page_json(const uint8_t *page, size_t n, bool more);

/* Puts "content" and "encoding" into *RESULT: as text where that is what it is, unless BASE64 is wanted. */
void file_put_content(json_t **result, const uint8_t *bytes, size_t n, bool base64);

/* "0644" as a number; -EINVAL for anything but one to five octal digits, at most 07777. */
int file_parse_mode(const char *text, uint32_t *ret);

/* N bytes as base64 (RFC 4648, padded), malloc'ed; NULL when memory is short. */
char *base64_encode(const uint8_t *bytes, size_t n);
/* The bytes that TEXT stands for to RET, of at least N / 4 * 3 bytes. Their number, or -EINVAL. */
ssize_t base64_decode(const char *text, size_t n, uint8_t *ret);
