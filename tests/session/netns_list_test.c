/* SPDX-License-Identifier: Apache-2.0 */
/* Egress policies that are lists of the configuration's. */
#include "netns_stage.h"

#include <string.h>
#include <unistd.h>

/* A policy that is a list: what it holds is reached, private or public, by the protocol that it says, and no more. */
static void test_list(_unused_ void **state)
{
	struct egress_rule rules[] = {
		{ .family = 4,
			.protocol = IPPROTO_TCP,
			.address = { 10, 1, 0, 0 },
			.bits = 16,
			.last_port = UINT16_MAX },
		{ .family = 4,
			.protocol = IPPROTO_UDP,
			.address = { 192, 168, 1, 0 },
			.bits = 32,
			.first_port = 1,
			.last_port = UINT16_MAX },
		{ .family = 4,
			.protocol = IPPROTO_UDP,
			.address = { 172, 16, 1, 0 },
			.bits = 32,
			.first_port = 1,
			.last_port = 5 },
		{ .family = 6, .address = { 0xfd, 0, 0x0e, 0xc2 }, .bits = 32, .last_port = UINT16_MAX },
	};
	struct egress_list lists[] = { { (char *)(uintptr_t) "nothing", NULL, 0 },
		{ (char *)(uintptr_t) "shop", rules, ARRAY_SIZE(rules) } };
	struct netns_config config = stage_config;
	struct probe probes[PROBES_MAX], other[8];
	const char *const sessions[] = { stage.v4[2][false], stage.v6[2][false] };
	const int inside = stage.slot[1].net_fd;
	enum netns_policy policy;

	config.lists = lists;
	config.n_lists = ARRAY_SIZE(lists);
	netns_close(stage.netns);
	stage_load(&config);
	size_t n = probes_add(probes, inside, stage.world, private_addresses, N_PRIVATE);
	n += probes_add(probes + n, inside, stage.world, public_addresses, N_PUBLIC);
	assert_ok(netns_policy_by_name(&config, "nothing", &policy));
	stage_set_policy(policy);
	assert_arrive(probes, n, false, "an empty list");
	assert_ok(netns_policy_by_name(&config, "shop", &policy));
	stage_set_policy(policy);
	for (size_t i = 0; i < n; i++) {
		const char *to = probes[i].address;
		const bool tcp = probes[i].protocol == IPPROTO_TCP, udp = probes[i].protocol == IPPROTO_UDP;
		const bool expected = (tcp && strcmp(to, "10.1.1.0") == 0) ||
				      (udp && strcmp(to, "192.168.1.0") == 0) || strcmp(to, "fd00:ec2::254") == 0;
		assert_arrive(&probes[i], 1, expected, "a list");
	}
	size_t n_other = probes_add(other, inside, stage.slot[2].net_fd, sessions, ARRAY_SIZE(sessions));
	assert_arrive(other, n_other, false, "another session");
	/* A configuration without it: who had it reaches nothing. */
	netns_close(stage.netns);
	stage_load(&stage_config);
	stage_set_policy(policy);
	assert_arrive(probes, n, false, "a list that is gone");
}

/* Two names with one number cannot be told apart. */
static void test_list_numbers(_unused_ void **state)
{
	struct egress_list lists[] = { { (char *)(uintptr_t) "a", NULL, 0 }, { (char *)(uintptr_t) "a", NULL, 0 } };
	struct netns_config config = stage_config;
	struct netns *netns;

	config.lists = lists;
	config.n_lists = ARRAY_SIZE(lists);
	assert_int_equal(netns_open(&config, &netns, &stage.err), -EEXIST);
	assert_string_equal(stage.err.object, "a and a have one number: rename one");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_list, stage_open, stage_close),
		cmocka_unit_test_setup_teardown(test_list_numbers, stage_open, stage_close),
	};
	if (geteuid() != 0)
		return 77; /* skipped */
	return cmocka_run_group_tests_name("netns lists", tests, stage_build, NULL);
}
