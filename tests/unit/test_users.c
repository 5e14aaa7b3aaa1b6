/* SPDX-License-Identifier: Apache-2.0 */
/* sandbox/users: the accounts of a session are hostile text; a user that cannot be told is an error, never uid 0. */
#include "tests/unit/unit.h"

#include <stdio.h>

#include "sandbox/users.h"

static const char passwd[] = "root:x:0:0:root:/root:/bin/sh\n"
			     "daemon:*:1:1\n"
			     "# comment\n"
			     "\n"
			     "+nis::::\n"
			     "short:x:5\n"
			     "me:x:1000:1000:Me,,,:/home/me:/bin/sh\n"
			     "me:x:0:0:the second of that name:/:/bin/sh\n"
			     "twin:x:1000:1001::/:\n"
			     "last:x:1002:1002::/:/bin/sh"; /* no newline */

static const char group[] = "root:x:0:\n"
			    "me:x:1000:\n"
			    "audio:x:29:me,last\n"
			    "video:x:44:last,me,root\n"
			    "medium:x:45:medium,mee,m,e\n"
			    "again:x:29:me\n"
			    "bad:x:zero:me\n"
			    "wheel:x:10:me";

static struct text text(const char *s)
{
	return (struct text){ s, s ? strlen(s) : 0 };
}

static int find(const char *who, struct identity *ret)
{
	struct err err;

	int r = identity_find(who, text(passwd), text(group), ret, &err);
	assert_true(r <= 0);
	if (r < 0)
		assert_string_equal(err.step, "user");
	return r;
}

static void check(const char *who, uint32_t uid, uint32_t gid, size_t n_groups, const uint32_t *groups)
{
	struct identity identity;

	assert_int_equal(find(who, &identity), 0);
	assert_int_equal(identity.uid, uid);
	assert_int_equal(identity.gid, gid);
	assert_int_equal(identity.n_groups, n_groups);
	assert_memory_equal(identity.groups, groups, n_groups * sizeof(*groups));
}

static void test_names(void **state _unused_)
{
	check("root", 0, 0, 2, (const uint32_t[]){ 44, 0 });
	check("daemon", 1, 1, 1, (const uint32_t[]){ 1 });
	check("me", 1000, 1000, 4, (const uint32_t[]){ 29, 44, 10, 1000 });
	check("twin", 1000, 1001, 1, (const uint32_t[]){ 1001 });
	check("last", 1002, 1002, 3, (const uint32_t[]){ 29, 44, 1002 });
}

static void test_groups(void **state _unused_)
{
	check("me:audio", 1000, 29, 3, (const uint32_t[]){ 29, 44, 10 });
	check("me:7", 1000, 7, 4, (const uint32_t[]){ 29, 44, 10, 7 });
	check("daemon:me", 1, 1000, 1, (const uint32_t[]){ 1000 });
}

static void test_numbers(void **state _unused_)
{
	check("0", 0, 0, 2, (const uint32_t[]){ 44, 0 });
	check("1000", 1000, 1000, 4, (const uint32_t[]){ 29, 44, 10, 1000 });
	check("77", 77, 77, 1, (const uint32_t[]){ 77 });
	check("77:88", 77, 88, 1, (const uint32_t[]){ 88 });
	check("4294967294", 4294967294, 4294967294, 1, (const uint32_t[]){ 4294967294 });
}

static void test_refused(void **state _unused_)
{
	static const struct {
		const char *who;
		int error;
	} cases[] = {
		{ "nobody", -ENOENT },
		{ "short", -ENOENT },
		{ "+nis", -ENOENT },
		{ "# comment", -ENOENT },
		{ "1x", -ENOENT },
		{ "-1", -ENOENT },
		{ " 0", -ENOENT },
		{ "0x0", -ENOENT },
		{ "4294967295", -EINVAL }, /* (uid_t)-1 */
		{ "4294967296", -EINVAL }, /* 0, cut to 32 bits */
		{ "18446744073709551616", -EINVAL },
		{ "00000000000", -EINVAL },
		{ "", -EINVAL },
		{ ":", -EINVAL },
		{ ":0", -EINVAL },
		{ "me:", -EINVAL },
		{ "me:0:0", -EINVAL },
		{ "me:none", -ENOENT },
		{ "me:bad", -ENOENT },
		{ "me:4294967295", -EINVAL },
		{ "me\nroot", -ENOENT },
	};
	struct identity identity = { .uid = 7 };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(find(cases[i].who, &identity), cases[i].error);
	assert_int_equal(identity.uid, 7);

	char endless[128];
	memset(endless, '1', sizeof(endless) - 1);
	endless[sizeof(endless) - 1] = '\0';
	assert_int_equal(find(endless, &identity), -EINVAL);
}

static void test_empty_files(void **state _unused_)
{
	struct identity identity;
	struct err err;

	assert_int_equal(identity_find("root", text(NULL), text(NULL), &identity, &err), -ENOENT);
	assert_int_equal(identity_find("root", text(""), text("\n\n"), &identity, &err), -ENOENT);
	assert_int_equal(identity_find("5", text(NULL), text(NULL), &identity, &err), 0);
	assert_int_equal(identity.gid, 5);
	assert_int_equal(identity_find("root", text(":::::"), text(""), &identity, &err), -ENOENT);
	assert_int_equal(identity_find("root", text("root"), text(""), &identity, &err), -ENOENT);
	assert_int_equal(identity_find("root", text("root:x:0"), text(""), &identity, &err), -ENOENT);
	assert_int_equal(identity_find("root", text("root:x:0:"), text(""), &identity, &err), -ENOENT);
}

/* The text is no string: nothing behind its end is read, which AddressSanitizer sees, and a NUL is a character. */
static void test_no_terminator(void **state _unused_)
{
	static const char line[] = { 'm', 'e', ':', 'x', ':', '5', ':', '6' };
	_free_ char *bytes = malloc(sizeof(line));
	struct identity identity;
	struct err err;

	memcpy(bytes, line, sizeof(line));
	assert_int_equal(identity_find("me", (struct text){ bytes, sizeof(line) }, text(NULL), &identity, &err), 0);
	assert_int_equal(identity.gid, 6);
	bytes[2] = '\0';
	assert_int_equal(
		identity_find("me", (struct text){ bytes, sizeof(line) }, text(NULL), &identity, &err), -ENOENT);
}

static void test_too_many_groups(void **state _unused_)
{
	char many[2048] = "";
	size_t n = 0;
	struct identity identity;
	struct err err;

	for (int i = 1; i < SPEC_MAX_GROUPS; i++)
		n += (size_t)snprintf(many + n, sizeof(many) - n, "g%d:x:%d:me\n", i, i);
	assert_int_equal(identity_find("me", text(passwd), text(many), &identity, &err), 0);
	assert_int_equal(identity.n_groups, SPEC_MAX_GROUPS);
	snprintf(many + n, sizeof(many) - n, "one:x:999:me\n");
	assert_int_equal(identity_find("me", text(passwd), text(many), &identity, &err), -E2BIG);
	assert_string_equal(err.object, "me");
}

static void test_spec_with_numbers(void **state _unused_)
{
	struct spec_header header = { .uid = 3, .gid = 4, .n_groups = 2, .groups = { 5, 6 } };
	struct identity identity;
	struct err err;

	assert_int_equal(identity_read(&header, &identity, &err), 0);
	assert_int_equal(identity.uid, 3);
	assert_int_equal(identity.gid, 4);
	assert_int_equal(identity.n_groups, 2);
	assert_int_equal(identity.groups[1], 6);
}

/* The files of the machine that the test runs on, where everybody has a root. */
static void test_spec_with_name(void **state _unused_)
{
	struct spec_header header = { .uid = 3, .user = "root" };
	struct identity identity = { .uid = 7 };
	struct err err;

	assert_int_equal(identity_read(&header, &identity, &err), 0);
	assert_int_equal(identity.uid, 0);
	copy_string(header.user, sizeof(header.user), "no such user here");
	assert_int_equal(identity_read(&header, &identity, &err), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_groups),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_empty_files),
		cmocka_unit_test(test_no_terminator),
		cmocka_unit_test(test_too_many_groups),
		cmocka_unit_test(test_spec_with_numbers),
		cmocka_unit_test(test_spec_with_name),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
