/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <sys/stat.h>

#include "control/file_methods.h"
#include "control/json.h"
#include "control/text.h"

/* ---- base64 ---- */

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *base64_encode(const uint8_t *bytes, size_t n)
{
	char *text = malloc((n + 2) / 3 * 4 + 1), *to = text;

	if (!text)
		return NULL;
	for (size_t i = 0; i < n; i += 3) {
		size_t left = n - i;
		uint32_t three = (uint32_t)bytes[i] << 16 | (left > 1 ? (uint32_t)bytes[i + 1] << 8 : 0) |
				 (left > 2 ? bytes[i + 2] : 0);
		*to++ = digits[three >> 18];
		*to++ = digits[three >> 12 & 63];
		*to++ = left > 1 ? digits[three >> 6 & 63] : '=';
		*to++ = left > 2 ? digits[three & 63] : '=';
	}
	*to = '\0';
	return text;
}

static int digit_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

ssize_t base64_decode(const char *text, size_t n, uint8_t *ret)
{
	size_t at = 0, padding = 0;

	if (n % 4 != 0)
		return -EINVAL;
	for (size_t i = 0; i < n; i += 4) {
		uint32_t three = 0;
		for (size_t j = 0; j < 4; j++) {
			int value = digit_value(text[i + j]);
			/* Only in the last group, only one or two. */
			if (value < 0 && text[i + j] == '=' && i + 4 == n && j >= 2) {
				padding++;
				value = 0;
			} else if (value < 0 || padding > 0) {
				return -EINVAL;
			}
			three = three << 6 | (uint32_t)value;
		}
		/* Bits behind the end must be zero: one text for the same bytes. */
		if ((padding == 1 && three & 0xff) || (padding == 2 && three & 0xffff))
			return -EINVAL;
		for (size_t j = 0; j < 3 - padding; j++)
			ret[at++] = (uint8_t)(three >> (16 - 8 * j));
	}
	return (ssize_t)at;
}

/* ---- errors ---- */

static enum error_kind kind_of(int num)
{
	switch (num) {
	case -ENOENT:
		return E_NOT_FOUND;
	case -EEXIST:
		return E_ALREADY_EXISTS;
	case -EACCES:
	case -EPERM:
	case -EROFS:
		return E_DENIED;
	case -ENOSPC:
	case -EDQUOT:
	case -EFBIG:
	case -E2BIG:
	case -ENOBUFS:
	case -ENAMETOOLONG:
		return E_LIMIT;
	case -ETIMEDOUT:
		return E_TIMEOUT;
	}
	return E_FAILED;
}

/* A path without a name at its end, a directory to be moved into itself. */
static bool is_request_wrong(const struct err *err)
{
	return err->num == -EINVAL &&
	       (streq(err->step, "open") || streq(err->step, "to") || streq(err->step, "rename"));
}

struct file_failure file_failure_of(const struct err *err)
{
	return (struct file_failure){ .kind = is_request_wrong(err) ? E_INVALID_PARAMS : kind_of(err->num),
		.err = *err };
}

/* ---- what a file is ---- */

static const char *type_word(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return "file";
	case S_IFDIR:
		return "directory";
	case S_IFLNK:
		return "symlink";
	case S_IFIFO:
		return "fifo";
	case S_IFSOCK:
		return "socket";
	case S_IFCHR:
		return "char-device";
	case S_IFBLK:
		return "block-device";
	}
	return "unknown";
}

/* Times that json_time() does not have are null: nobody's files are of before 1970 or after 2500 for a good reason. */
static json_t *mtime_json(const struct files_attributes *a)
{
	bool known = a->mtime >= 0 && a->mtime < INT64_C(16725225600);

	return json_time(known ? (uint64_t)a->mtime * UINT64_C(1000000000) + a->mtime_ns : NEVER);
}

json_t *file_json(const struct files_attributes *a, const char *target)
{
	json_t *json = json_object();
	char mode[8];

	snprintf(mode, sizeof(mode), "%04o", a->mode & 07777);
	json_put(&json, "type", json_string(type_word(a->mode)));
	json_put(&json, "size_bytes", json_integer((json_int_t)a->size));
	json_put(&json, "mode", json_string(mode));
	json_put(&json, "uid", json_integer(a->uid));
	json_put(&json, "gid", json_integer(a->gid));
	json_put(&json, "modified_at", mtime_json(a));
	json_put(&json, "links", json_integer((json_int_t)(a->n_links & INT64_MAX)));
	if (target && target[0])
		json_put(&json, "target", json_text(target));
	return json;
}

static json_t *entry_json(const struct files_found *found)
{
	json_t *json = file_json(&found->entry.attributes, found->target);

	json_put(&json, "path", json_text(found->path));
	/* Names are bytes; one that is no UTF-8 is shown, but cannot be asked for. */
	if (!json_is_string(json_object_get(json, "path")) ||
		!streq(json_string_value(json_object_get(json, "path")), found->path))
		json_put(&json, "path_is_exact", json_false());
	if (found->entry.unread < 0)
		json_put(&json, "unread", json_errno(found->entry.unread));
	return json;
}

json_t *file_page_json(const uint8_t *page, size_t n, bool more)
{
	json_t *json = json_object(), *entries = json_array();
	struct files_found found = { .path = "" };
	_free_ char *cursor = NULL;
	size_t at = 0;
	int r;

	while ((r = files_page_next(page, n, &at, &found)) > 0)
		json_append(&entries, entry_json(&found));
	if (more && r == 0)
		cursor = base64_encode((const uint8_t *)found.path, strlen(found.path));
	json_put(&json, "entries", entries);
	json_put(&json, "next_cursor", more ? json_string(cursor) : json_null());
	if (r < 0) {
		json_decref(json);
		return NULL;
	}
	return json;
}

/* ---- contents ---- */

/* Text that JSON carries as well as base64 would, without characters that trip programs up. */
static bool is_text(const uint8_t *bytes, size_t n)
{
	return n == 0 || (!memchr(bytes, '\0', n) && json_text_cost(bytes, n) <= n + n / 3);
}

void file_put_content(json_t **result, const uint8_t *bytes, size_t n, bool base64)
{
	json_t *content = NULL;

	/* NULL for what is no UTF-8. */
	if (!base64 && is_text(bytes, n))
		content = json_stringn((const char *)bytes, n);
	json_put(result, "encoding", json_string(content ? "utf-8" : "base64"));
	if (!content) {
		_free_ char *text = base64_encode(bytes, n);
		content = text ? json_string_nocheck(text) : NULL;
	}
	json_put(result, "content", content);
}

int file_parse_mode(const char *text, uint32_t *ret)
{
	uint32_t mode = 0;
	size_t n = strlen(text);

	if (n == 0 || n > 5 || strspn(text, "01234567") != n)
		return -EINVAL;
	for (size_t i = 0; i < n; i++)
		mode = mode << 3 | (uint32_t)(text[i] - '0');
	if (mode > 07777)
		return -EINVAL;
	*ret = mode;
	return 0;
}
