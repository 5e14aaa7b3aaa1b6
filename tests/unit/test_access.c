/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/unit.h"

#include "control/access.h"
#include "wire/def.h"

static struct config_access entries[] = {
	{ .user = (char *)(uintptr_t) "root", .role = ROLE_ADMIN },
	{ .user = (char *)(uintptr_t) "no-such-user-here", .role = ROLE_ADMIN },
	{ .user = (char *)(uintptr_t) "#1001", .role = ROLE_OPERATOR, .owner_prefix = (char *)(uintptr_t) "ignored" },
	{ .group = (char *)(uintptr_t) "#2000", .role = ROLE_CLIENT, .owner_prefix = (char *)(uintptr_t) "web/" },
	{ .group = (char *)(uintptr_t) "#2001", .role = ROLE_ADMIN },
	{ .user = (char *)(uintptr_t) "#4294967295", .role = ROLE_ADMIN },
	{ .user = (char *)(uintptr_t) "#12x", .role = ROLE_ADMIN },
};

static struct config config = { .access = entries, .n_access = ARRAY_SIZE(entries) };

static int set_up(void **state)
{
	struct access *access;
	char unknown[128];

	assert_int_equal(access_resolve(&config, &access, unknown, sizeof(unknown)), 0);
	assert_string_equal(unknown, "user no-such-user-here, user #4294967295, user #12x");
	*state = access;
	return 0;
}

static int tear_down(void **state)
{
	access_free(*state);
	return 0;
}

static enum role role_of(const struct access *access, uid_t uid, gid_t gid, const gid_t *groups, size_t n)
{
	struct caller caller;

	access_match(access, uid, gid, groups, n, &caller);
	assert_int_equal(caller.uid, uid);
	assert_int_equal(caller.gid, gid);
	return caller.role;
}

static void test_users(void **state)
{
	assert_int_equal(role_of(*state, 0, 0, NULL, 0), ROLE_ADMIN);
	assert_int_equal(role_of(*state, 1001, 1001, NULL, 0), ROLE_OPERATOR);
	assert_int_equal(role_of(*state, 1002, 1002, NULL, 0), ROLE_NONE);
	assert_int_equal(role_of(*state, 12, 12, NULL, 0), ROLE_NONE);
	assert_int_equal(role_of(*state, (uid_t)-1, 5, NULL, 0), ROLE_NONE);
}

static void test_primary_and_supplementary_groups(void **state)
{
	const gid_t groups[] = { 7, 2000, 8 };

	assert_int_equal(role_of(*state, 1002, 2000, NULL, 0), ROLE_CLIENT);
	assert_int_equal(role_of(*state, 1002, 1002, groups, 3), ROLE_CLIENT);
	assert_int_equal(role_of(*state, 1002, 1002, groups, 1), ROLE_NONE);
	/* A number is a group's or a user's, never both. */
	assert_int_equal(role_of(*state, 2000, 1002, NULL, 0), ROLE_NONE);
}

static void test_first_match_decides(void **state)
{
	const gid_t groups[] = { 2001, 2000 };

	assert_int_equal(role_of(*state, 1002, 1002, groups, 2), ROLE_CLIENT);
	assert_int_equal(role_of(*state, 1001, 2001, NULL, 0), ROLE_OPERATOR);
}

static void test_prefix_is_for_clients(void **state)
{
	struct caller caller;

	access_match(*state, 1002, 2000, NULL, 0, &caller);
	assert_string_equal(caller.owner_prefix, "web/");
	access_match(*state, 1001, 1001, NULL, 0, &caller);
	assert_string_equal(caller.owner_prefix, "");
}

static void test_hint(void **state _unused_)
{
	char text[512], small[32];

	access_hint(&config, "/etc/carrel", 1002, text, sizeof(text));
	assert_string_equal(text,
		"uid 1002 may not use carrel: make it a member of a group that may (#2000, #2001) and log in again, "
		"or give it an entry under \"access\" in /etc/carrel/carrel.json and restart carrel");
	access_hint(&config, "/etc/carrel", 1002, small, sizeof(small));
	assert_int_equal(strlen(small), sizeof(small) - 1);
	access_hint(&(struct config){ 0 }, "/etc/carrel", 5, text, sizeof(text));
	assert_string_equal(text, "uid 5 may not use carrel: give it an entry under \"access\" in "
				  "/etc/carrel/carrel.json and restart carrel");
}

static void test_many_unknown_names_are_cut(void **state _unused_)
{
	struct config_access many[64];
	struct access *access;
	char unknown[100];

	for (size_t i = 0; i < ARRAY_SIZE(many); i++)
		many[i] = entries[1];
	assert_int_equal(access_resolve(&(struct config){ .access = many, .n_access = ARRAY_SIZE(many) }, &access,
				 unknown, sizeof(unknown)),
		0);
	assert_int_equal(strlen(unknown), sizeof(unknown) - 1);
	access_free(access);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_users),
		cmocka_unit_test(test_primary_and_supplementary_groups),
		cmocka_unit_test(test_first_match_decides),
		cmocka_unit_test(test_prefix_is_for_clients),
		cmocka_unit_test(test_hint),
		cmocka_unit_test(test_many_unknown_names_are_cut),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
