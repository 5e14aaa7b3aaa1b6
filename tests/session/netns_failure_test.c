/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What netns/ refuses; and each system call that it needs fails once, each time there is an error with its step, and
 * nothing left. Linked with -Wl,--wrap= for every call below. Needs root.
 */
#include <sys/stat.h>
#include <sys/wait.h>

#include "netns_stage.h"

static unsigned call_count, failing_call; /* 0: none */

static bool this_call_fails(void)
{
	if (failing_call == 0 || ++call_count != failing_call)
		return false;
	errno = ENOBUFS;
	return true;
}

/* clang-format off */
#define WRAP(type, name, params, args) \
	type __real_##name params; \
	type __wrap_##name params; \
	type __wrap_##name params { return this_call_fails() ? -1 : __real_##name args; }

WRAP(int, clone, (int (*fn)(void *arg), void *stack, int flags, void *arg, int *pidfd), (fn, stack, flags, arg, pidfd))
WRAP(int, open, (const char *path, int flags), (path, flags))
WRAP(int, openat, (int fd, const char *path, int flags), (fd, path, flags))
WRAP(ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size))
WRAP(int, socket, (int family, int type, int protocol), (family, type, protocol))
WRAP(int, bind, (int fd, const struct sockaddr *address, socklen_t size), (fd, address, size))
WRAP(ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags), (fd, message, flags))
WRAP(ssize_t, recv, (int fd, void *data, size_t size, int flags), (fd, data, size, flags))
/* clang-format on */

int __real_setns(int fd, int type);
int __wrap_setns(int fd, int type);

/* If the way back fails the process ends, as it should; only the way in is tried. */
int __wrap_setns(int fd, int type)
{
	struct stat there, host;
	return fstat(fd, &there) == 0 && fstat(stage.host, &host) == 0 && there.st_ino != host.st_ino &&
			       this_call_fails()
		       ? -1
		       : __real_setns(fd, type);
}

static void test_names_and_numbers(_unused_ void **state)
{
	struct netns_config config = stage_config;
	enum netns_policy policy;
	uint8_t v4[4], v6[16];

	assert_int_equal(netns_policy_by_name(&config, "none", &policy), 0);
	assert_int_equal(policy, NETNS_NONE);
	assert_int_equal(netns_policy_by_name(&config, "internet", &policy), 0);
	assert_int_equal(policy, NETNS_INTERNET);
	assert_int_equal(netns_policy_by_name(&config, "spare", &policy), -ENOENT);
	assert_int_equal(netns_policy_by_name(&config, "", &policy), -ENOENT);
	netns_ipv4(&config, 128, true, v4);
	assert_memory_equal(v4, ((uint8_t[]){ 12, 0, 1, 1 }), 4);
	netns_ipv6(&config, 200, false, v6);
	assert_memory_equal(v6, config.ipv6, 12);
	assert_memory_equal(v6 + 12, ((uint8_t[]){ 0, 0, 1, 0x90 }), 4);
}

static void assert_refused(struct netns_config config, int num)
{
	struct netns *netns;
	assert_int_equal(netns_open(&config, &netns, &stage.err), num);
	assert_int_equal(stage.err.num, num);
}

static void test_bad_configuration(_unused_ void **state)
{
	struct netns_config config = stage_config;
	config.ipv4[3] = 1;
	assert_refused(config, -EINVAL);
	config = stage_config;
	config.ipv6[15] = 1;
	assert_refused(config, -EINVAL);
	config = stage_config;
	config.max_slots = 65536;
	assert_refused(config, -ERANGE);
	config = stage_config;
	config.n_uids = NETNS_MAX_IDS + 1;
	assert_refused(config, -E2BIG);
	config = stage_config;
	config.n_gids = NETNS_MAX_IDS + 1;
	assert_refused(config, -E2BIG);
}

static void test_bad_requests(_unused_ void **state)
{
	struct netns_slot slot = { .slot = 77, .ifindex = 1 << 30 };
	const uint16_t ports[NETNS_MAX_PORTS + 1] = { 0 };
	const int before = stage_count_fds();

	assert_int_equal(netns_make(stage.netns, 1, NETNS_SPARE, NULL, 0, &slot, &stage.err), -EEXIST);
	assert_string_equal(stage.err.step, "veth");
	assert_string_equal(stage.err.object, "cr1");
	assert_true(netns_slot_exists(stage.netns, 1));
	assert_int_equal(netns_make(stage.netns, 0, NETNS_SPARE, NULL, 0, &slot, &stage.err), -EINVAL);
	assert_int_equal(netns_make(stage.netns, stage_config.max_slots + 1, NETNS_SPARE, NULL, 0, &slot, &stage.err),
		-EINVAL);
	assert_int_equal(
		netns_make(stage.netns, 3, NETNS_SPARE, ports, ARRAY_SIZE(ports), &slot, &stage.err), -EINVAL);
	assert_int_equal(slot.slot, 77);
	assert_int_equal(netns_set_policy(stage.netns, &slot, NETNS_NONE, &stage.err), -ENODEV);
	assert_int_equal(stage_count_fds(), before);
}

/* Failures */

static void ignore_gone(_unused_ uint32_t slot, _unused_ void *arg)
{
}

static void test_make(_unused_ void **state)
{
	const uint16_t port = CDP_PORT;
	const int before = stage_count_fds();
	struct netns_slot slot;
	unsigned n = 0;

	for (int r = -1; r < 0;) {
		call_count = 0;
		failing_call = ++n;
		r = netns_make(stage.netns, 3, NETNS_SPARE, &port, 1, &slot, &stage.err);
		failing_call = 0;
		if (r == 0)
			break;
		assert_int_equal(r, -ENOBUFS);
		assert_int_equal(stage.err.num, r);
		assert_true(stage.err.step[0] && stage.err.object[0]);
		assert_int_equal(stage_count_fds(), before);
		assert_int_equal(waitpid(-1, NULL, WNOHANG | __WALL), -1);
		/* Where the answer to the making itself is lost, the link goes with its namespace, a moment later. */
		if (netns_slot_exists(stage.netns, 3))
			stage_wait_until_gone(1U << 3);
		assert_false(netns_slot_exists(stage.netns, 3));
		assert_ok(netns_gone(stage.netns, ignore_gone, NULL));
	}
	assert_in_range(n, 15, 40); /* some two dozen calls, but for those that _FORTIFY_SOURCE renames */
	assert_int_equal(stage_count_fds(), before + 2);
	netns_slot_release(&slot);
	stage_wait_until_gone(1U << 3);
}

static void test_open(_unused_ void **state)
{
	const int before = stage_count_fds();
	struct netns *netns;
	unsigned n = 0;

	for (int r = -1; r < 0;) {
		call_count = 0;
		failing_call = ++n;
		r = netns_open(&stage_config, &netns, &stage.err);
		failing_call = 0;
		assert_true(r == 0 || (r == -ENOBUFS && stage.err.num == r));
		assert_true(r == 0 || stage_count_fds() == before);
	}
	assert_in_range(n, 5, 10);
	netns_close(netns);
	assert_int_equal(stage_count_fds(), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names_and_numbers),
		cmocka_unit_test(test_bad_configuration),
		cmocka_unit_test_setup_teardown(test_bad_requests, stage_open, stage_close),
		cmocka_unit_test_setup_teardown(test_make, stage_open, stage_close),
		cmocka_unit_test_setup_teardown(test_open, stage_open, stage_close),
	};
	if (geteuid() != 0)
		return 77; /* skipped */
	return cmocka_run_group_tests_name("netns failures", tests, stage_build, NULL);
}
