/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/users.h"

#include <stdbool.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "sandbox/sys.h"

enum { MAX_FILE_BYTES = 1 << 20 };

/* ---- lines of fields between colons: passwd(5), group(5) ---- */

enum passwd_field { PASSWD_NAME, PASSWD_PASSWORD, PASSWD_UID, PASSWD_GID };
enum group_field { GROUP_NAME, GROUP_PASSWORD, GROUP_GID, GROUP_MEMBERS };

static bool text_is(struct text text, const char *s)
{
	return text.n == strlen(s) && memcmp(text.bytes, s, text.n) == 0;
}

/* Takes what is before the first SEPARATOR, or everything, off the front of REST. False when there is nothing more. */
static bool next_part(struct text *rest, char separator, struct text *ret)
{
	if (!rest->bytes)
		return false;
	const char *end = rest->n > 0 ? memchr(rest->bytes, separator, rest->n) : NULL;
	size_t n = end ? (size_t)(end - rest->bytes) : rest->n;
	*ret = (struct text){ rest->bytes, n };
	*rest = end ? (struct text){ end + 1, rest->n - n - 1 } : (struct text){ NULL, 0 };
	return true;
}

/* Field NUMBER of a line, from 0; empty when the line has fewer. */
static struct text field(struct text line, unsigned int number)
{
	struct text part = { NULL, 0 };

	for (unsigned int i = 0; i <= number; i++)
		if (!next_part(&line, ':', &part))
			return (struct text){ NULL, 0 };
	return part;
}

/* A user or group number; 4294967295 is (uid_t)-1, which means "leave it" to setresuid(2). */
static bool parse_id(struct text text, uint32_t *ret)
{
	uint64_t value = 0;

	if (text.n == 0 || text.n > strlen("4294967295"))
		return false;
	for (size_t i = 0; i < text.n; i++) {
		if (text.bytes[i] < '0' || text.bytes[i] > '9')
			return false;
		value = value * 10 + (uint64_t)(text.bytes[i] - '0');
	}
	if (value >= UINT32_MAX)
		return false;
	*ret = (uint32_t)value;
	return true;
}

/* The first account with the name NAME or, where that is NULL, with the number UID. Lines that make no sense are not
 * there. */
static bool find_account(struct text passwd, const char *name, uint32_t uid, struct text *ret_name, uint32_t *ret_uid,
	uint32_t *ret_gid)
{
	struct text line;

	while (next_part(&passwd, '\n', &line)) {
		struct text found = field(line, PASSWD_NAME);
		uint32_t found_uid, found_gid;
		if (found.n == 0 || !parse_id(field(line, PASSWD_UID), &found_uid) ||
			!parse_id(field(line, PASSWD_GID), &found_gid))
			continue;
		if (name ? !text_is(found, name) : found_uid != uid)
			continue;
		*ret_name = found;
		*ret_uid = found_uid;
		*ret_gid = found_gid;
		return true;
	}
	return false;
}

static bool find_group(struct text group, const char *name, uint32_t *ret)
{
	struct text line;

	while (next_part(&group, '\n', &line)) {
		struct text found = field(line, GROUP_NAME);
		if (found.n > 0 && text_is(found, name) && parse_id(field(line, GROUP_GID), ret))
			return true;
	}
	return false;
}

static bool lists_member(struct text members, struct text name)
{
	struct text member;

	while (next_part(&members, ',', &member))
		if (member.n == name.n && memcmp(member.bytes, name.bytes, name.n) == 0)
			return true;
	return false;
}

static bool has_group(const struct identity *identity, uint32_t gid)
{
	for (size_t i = 0; i < identity->n_groups; i++)
		if (identity->groups[i] == gid)
			return true;
	return false;
}

static int add_group(struct identity *identity, uint32_t gid)
{
	if (has_group(identity, gid))
		return 0;
	if (identity->n_groups == SPEC_MAX_GROUPS)
		return -E2BIG;
	identity->groups[identity->n_groups++] = gid;
	return 0;
}

/* Adds the groups that list NAME. 0 or -E2BIG. */
static int add_groups(struct text group, struct text name, struct identity *identity)
{
	struct text line;
	uint32_t gid;
	int r = 0;

	while (r == 0 && next_part(&group, '\n', &line))
		if (parse_id(field(line, GROUP_GID), &gid) && lists_member(field(line, GROUP_MEMBERS), name))
			r = add_group(identity, gid);
	return r;
}

/* ---- identities ---- */

static bool is_number(const char *s)
{
	return s[0] != '\0' && s[strspn(s, "0123456789")] == '\0';
}

static int find_user(const char *user, struct text passwd, struct text group, struct identity *identity)
{
	struct text name;
	uint32_t uid = 0;

	if (is_number(user)) {
		if (!parse_id((struct text){ user, strlen(user) }, &uid))
			return -EINVAL;
		if (!find_account(passwd, NULL, uid, &name, &identity->uid, &identity->gid)) {
			identity->uid = identity->gid = uid;
			return 0;
		}
	} else if (!find_account(passwd, user, 0, &name, &identity->uid, &identity->gid)) {
		return -ENOENT;
	}
	return add_groups(group, name, identity);
}

static int find_gid(const char *name, struct text group, uint32_t *ret)
{
	if (is_number(name))
		return parse_id((struct text){ name, strlen(name) }, ret) ? 0 : -EINVAL;
	return find_group(group, name, ret) ? 0 : -ENOENT;
}

int identity_find(const char *who, struct text passwd, struct text group, struct identity *ret, struct err *err)
{
	char user[member_size(struct spec_header, user)];
	struct identity identity = { 0 };

	if (copy_string(user, sizeof(user), who) < 0)
		return err_set(err, -EINVAL, "user", "%s", who);
	char *colon = strchr(user, ':');
	if (colon)
		*colon = '\0';
	if (user[0] == '\0' || (colon && (colon[1] == '\0' || strchr(colon + 1, ':'))))
		return err_set(err, -EINVAL, "user", "%s", who);
	int r = find_user(user, passwd, group, &identity);
	if (r < 0)
		return err_set(err, r, "user", "%s", user);
	r = colon ? find_gid(colon + 1, group, &identity.gid) : 0;
	if (r < 0)
		return err_set(err, r, "user", "group %s", colon + 1);
	/* As initgroups(3) has it: the group of the process is also one of the list. */
	r = add_group(&identity, identity.gid);
	if (r < 0)
		return err_set(err, r, "user", "%s", user);
	*ret = identity;
	return 0;
}

/* ---- the session's files ---- */

static void unmap_text(struct text *text)
{
	if (text->bytes)
		munmap((void *)(uintptr_t)text->bytes, MAX_FILE_BYTES);
}
#define _unmap_text_ _cleanup_(unmap_text)

/* Reads the whole of a regular file. One that is not there is empty. */
static int read_text(const char *path, struct text *ret)
{
	_unmap_text_ struct text text = { NULL, 0 };
	struct stat st;

	/* O_NONBLOCK: whatever the session put there, opening it does not wait for anybody. */
	_close_ int fd = sys_open_no_magic(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	/* A copy, because a mapping of the file would fault when somebody makes it shorter. */
	char *buffer = mmap(NULL, MAX_FILE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (buffer == MAP_FAILED)
		return -errno;
	text.bytes = buffer;
	while (text.n < MAX_FILE_BYTES) {
		ssize_t got = RETRY_EINTR(read(fd, buffer + text.n, MAX_FILE_BYTES - text.n));
		if (got < 0)
			return -errno;
		if (got == 0) {
			*ret = text;
			text.bytes = NULL;
			return 0;
		}
		text.n += (size_t)got;
	}
	return -EFBIG;
}

int identity_read(const struct spec_header *header, struct identity *ret, struct err *err)
{
	_unmap_text_ struct text passwd = { NULL, 0 };
	_unmap_text_ struct text group = { NULL, 0 };

	if (header->user[0] == '\0') {
		struct identity numbers = { .uid = header->uid, .gid = header->gid, .n_groups = header->n_groups };
		memcpy(numbers.groups, header->groups, sizeof(numbers.groups));
		*ret = numbers;
		return 0;
	}
	int r = read_text("/etc/passwd", &passwd);
	if (r < 0)
		return err_set(err, r, "user", "/etc/passwd");
	r = read_text("/etc/group", &group);
	if (r < 0)
		return err_set(err, r, "user", "/etc/group");
	return identity_find(header->user, passwd, group, ret, err);
}

int identity_become(const struct identity *identity, struct err *err)
{
	/* Straight to the kernel: the library's functions would look for other threads. */
	if (syscall(SYS_setresgid, identity->gid, identity->gid, identity->gid) < 0)
		return err_set(err, -errno, "user", "gid %u", identity->gid);
	if (syscall(SYS_setgroups, identity->n_groups, identity->groups) < 0)
		return err_set(err, -errno, "user", "groups");
	if (syscall(SYS_setresuid, identity->uid, identity->uid, identity->uid) < 0)
		return err_set(err, -errno, "user", "uid %u", identity->uid);
	return 0;
}
