/* SPDX-License-Identifier: Apache-2.0 */
/* Whose volumes are, who has them, and what becomes of them. */
#include "unit.h"

#include "fake_host.h"

#include <stdio.h>

static char *const path_data = (char *)(uintptr_t) "/data", *const path_own = (char *)(uintptr_t) "/own";
static char *const name_own = (char *)(uintptr_t) "own-{owner_hash}";

static int setup(void **state)
{
	static struct config_volume places[2];
	struct fake_host *host = host_new();

	places[0] = (struct config_volume){ .path = path_data, .persistent = true };
	places[1] = (struct config_volume){ .path = path_own, .name = name_own, .persistent = true };
	host->templates[0].volumes = places;
	host->templates[0].n_volumes = ARRAY_SIZE(places);
	host->control.config.max_volumes = 4;
	host->control.config.max_volumes_per_owner = 2;
	host_start(host);
	*state = host;
	return 0;
}

static int teardown(void **state)
{
	host_free(*state);
	return 0;
}

static json_t *request(const char *id, const char *owner, const char *path, const char *name, bool persistent)
{
	return json_pack("{s:s, s:s, s:s, s:[{s:s, s:s*, s:b}]}", "template", "plain", "id", id, "owner", owner,
		"volumes", "path", path, "name", name, "persistent", (int)persistent);
}

static void create(struct fake_host *host, const char *id, const char *owner, const char *name)
{
	json_decref(host_ok(host, method_session_create, request(id, owner, path_data, name, true)));
}

static void end(struct fake_host *host, const char *id)
{
	json_decref(host_ok(host, method_session_remove, json_pack("{s:s}", "session", id)));
}

/* What volume.get says: a member as text, the caller's to compare at once. */
static void check_volume(struct fake_host *host, const char *name, const char *member, const char *expected)
{
	json_t *volume = host_ok(host, method_volume_get, json_pack("{s:s}", "volume", name));
	const char *text = json_string_value(json_object_get(volume, member));

	if (expected) {
		assert_non_null(text);
		assert_string_equal(text, expected);
	} else {
		assert_null(text);
	}
	json_decref(volume);
}

static void check_gone(struct fake_host *host, const char *name)
{
	host_idle(host, 20);
	assert_null(volume_find(host->control.lifecycle, name));
	for (size_t i = 0; i < host->volumes.n; i++)
		assert_string_not_equal(host->volumes.volumes[i].name, name);
}

static void test_one_holder(void **state)
{
	struct fake_host *host = *state;

	create(host, "one", "ann", "v");
	check_volume(host, "v", "session", "one");
	host_refused(host, method_session_create, request("two", "ann", path_data, "v", true), E_CONFLICT,
		"volumes[0].name", "one");
	host_refused(host, method_volume_remove, json_pack("{s:s}", "volume", "v"), E_CONFLICT, "volume", "one");
	end(host, "one");
	check_volume(host, "v", "state", "free");
	host_refused(host, method_session_create, request("two", "bob", path_data, "v", true), E_DENIED,
		"volumes[0].name", "another");
	create(host, "two", "ann", "v");
	check_volume(host, "v", "session", "two");
}

static void test_limits(void **state)
{
	struct fake_host *host = *state;

	create(host, "a", "ann", "v1");
	create(host, "b", "ann", "v2");
	host_refused(host, method_session_create, request("c", "ann", path_data, "v3", true), E_LIMIT,
		"volumes[0].name", "max_volumes_per_owner");
	create(host, "c", "bob", "v3");
	create(host, "d", "bob", "v4");
	host_refused(host, method_session_create, request("e", "eve", path_data, "v5", true), E_LIMIT,
		"volumes[0].name", "max_volumes)");
}

static void test_names(void **state)
{
	struct fake_host *host = *state;

	host_refused(host, method_session_create, request("a", "ann", "/etc", "v", true), E_INVALID_PARAMS,
		"volumes[0].path", "/data, /own");
	host_refused(host, method_session_create, request("a", "ann", path_data, NULL, true), E_INVALID_PARAMS,
		"volumes[0].name", "no name");
	json_decref(host_ok(host, method_session_create, request("a", "ann", path_own, NULL, true)));
	assert_int_equal(host->volumes.n, 1);
	assert_int_equal(strlen(host->volumes.volumes[0].name), strlen("own-") + 16);
	assert_memory_equal(host->volumes.volumes[0].name, "own-", 4);
}

static void test_goes_with_the_session(void **state)
{
	struct fake_host *host = *state;

	json_decref(host_ok(host, method_session_create, request("a", "ann", path_data, "v", false)));
	end(host, "a");
	check_gone(host, "v");
	create(host, "b", "ann", "w");
	json_decref(
		host_ok(host, method_session_remove, json_pack("{s:s, s:s}", "session", "b", "volumes", "remove")));
	check_gone(host, "w");
}

static void test_a_session_that_never_began(void **state)
{
	struct fake_host *host = *state;

	host->create_error = (struct err){ .num = -ENOSPC, .step = "rootfs" };
	host_refused(host, method_session_create, request("a", "ann", path_data, "v", true), E_FAILED, "", "rootfs");
	check_gone(host, "v");
}

static void test_removal_that_fails(void **state)
{
	struct fake_host *host = *state;

	create(host, "a", "ann", "v");
	end(host, "a");
	host->remove_error = -EIO;
	host_refused(host, method_volume_remove, json_pack("{s:s}", "volume", "v"), E_FAILED, "", "removed");
	check_volume(host, "v", "state", "free");
	json_decref(host_ok(host, method_volume_remove, json_pack("{s:s}", "volume", "v")));
	check_gone(host, "v");
	/* Where nobody waits for it, it is tried again. */
	json_decref(host_ok(host, method_session_create, request("b", "ann", path_data, "w", false)));
	host->remove_error = -EIO;
	end(host, "b");
	host_idle(host, 1200);
	check_gone(host, "w");
}

static void test_crashes(void **state)
{
	struct fake_host *host = *state;

	create(host, "a", "ann", "v");
	json_decref(host_ok(host, method_session_create, request("b", "ann", path_data, "w", false)));
	host_crash(host);
	host_start(host);
	check_volume(host, "v", "session", "a");
	host_crash(host);
	/* Both end while nobody is there. */
	host_session(host, "a")->ending = host_session(host, "b")->ending = true;
	host_start(host);
	host_idle(host, 50);
	check_volume(host, "v", "session", NULL);
	check_volume(host, "v", "owner", "ann");
	check_gone(host, "w");
}

static void test_loss_of_power(void **state)
{
	struct fake_host *host = *state;

	create(host, "a", "ann", "v");
	json_decref(host_ok(host, method_session_create, request("b", "ann", path_data, "w", false)));
	host_lose_power(host);
	host_start(host);
	check_volume(host, "v", "owner", "ann");
	check_gone(host, "w");
	json_decref(host_ok(host, method_volume_remove, json_pack("{s:s}", "volume", "v")));
	host_lose_power(host);
	/* The disk does not have the renaming of the directory, but the registry knows. */
	copy_string(host->volumes.volumes[0].name, NAME_SIZE, "v");
	host->volumes.n = 1;
	host_start(host);
	check_gone(host, "v");
	/* The registry is told of a volume before it is made. */
	create(host, "c", "ann", "x");
	host_lose_power(host);
	host->volumes.n = 0;
	host_start(host);
	check_gone(host, "x");
}

static void test_unknown_ones(void **state)
{
	struct fake_host *host = *state;

	host_stop(host);
	copy_string(host->volumes.volumes[0].name, NAME_SIZE, "found");
	host->volumes.n = 1;
	host_start(host);
	check_volume(host, "found", "owner", NULL);
	create(host, "a", "ann", "found");
	check_volume(host, "found", "owner", "ann");
}

static json_int_t number_of(struct fake_host *host, const char *name, const char *member)
{
	json_t *volume = host_ok(host, method_volume_get, json_pack("{s:s}", "volume", name));
	const json_t *value = json_object_get(volume, member);
	json_int_t number = json_is_null(value) ? -1 : json_integer_value(value);

	json_decref(volume);
	return number;
}

static void test_sizes(void **state)
{
	struct fake_host *host = *state;

	host->templates[0].volumes[1].bytes = 32 << 20;
	create(host, "a", "ann", "v");
	json_decref(host_ok(host, method_session_create, request("b", "ann", path_own, "s", true)));
	assert_int_equal(number_of(host, "v", "size_bytes"), -1);
	assert_int_equal(number_of(host, "s", "size_bytes"), 32 << 20);
	assert_int_equal(number_of(host, "s", "used_bytes"), -1);
	end(host, "a");
	end(host, "b");
	host_refused(host, method_session_create, request("c", "ann", path_data, "s", true), E_CONFLICT,
		"volumes[0].name", "has a directory");
	host_refused(host, method_session_create, request("c", "ann", path_own, "v", true), E_CONFLICT,
		"volumes[0].name", "v is a directory");
	/* What the supervisor says counts, and what a template says by now does not. */
	for (size_t i = 0; i < host->volumes.n; i++)
		if (streq(host->volumes.volumes[i].name, "s"))
			host->volumes.volumes[i] =
				(struct super_volume_info){ .name = "s", .bytes = 16 << 20, .used_bytes = 4096 };
	host_crash(host);
	host_start(host);
	assert_int_equal(number_of(host, "s", "size_bytes"), 16 << 20);
	assert_int_equal(number_of(host, "s", "used_bytes"), 4096);
	assert_int_equal(number_of(host, "v", "used_bytes"), -1);
	json_decref(host_ok(host, method_session_create, request("c", "ann", path_own, "s", true)));
	assert_int_equal(number_of(host, "s", "size_bytes"), 16 << 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_one_holder, setup, teardown),
		cmocka_unit_test_setup_teardown(test_limits, setup, teardown),
		cmocka_unit_test_setup_teardown(test_names, setup, teardown),
		cmocka_unit_test_setup_teardown(test_goes_with_the_session, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_session_that_never_began, setup, teardown),
		cmocka_unit_test_setup_teardown(test_removal_that_fails, setup, teardown),
		cmocka_unit_test_setup_teardown(test_crashes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_loss_of_power, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unknown_ones, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sizes, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
