/* SPDX-License-Identifier: Apache-2.0 */
/* config/: what a good text gives. */
#include "tests/unit/config_text.h"

#include <netinet/in.h>
#include <signal.h>
#include <sys/resource.h>

#include "wire/loop.h"

static void test_daemon_defaults(void **state _unused_)
{
	static const uint8_t ipv4[] = { 100, 96, 0, 0 };
	static const uint8_t ipv6[] = { 0xfd, 0x63, 0x61, 0x72, 0x72, 0x65, 0x6c, 0, 0, 0, 0, 0, 0, 0, 0, 0 };
	struct config config = { 0 };
	char error[256] = "";

	assert_int_equal(read_text(&daemon_table, "{}", &config, error, sizeof(error)), 0);
	assert_string_equal(config.user, "carrel");
	assert_string_equal(config.group, "carrel");
	assert_string_equal(config.state_dir, "/var/lib/carrel");
	assert_string_equal(config.run_dir, "/run/carrel");
	assert_string_equal(config.cgroup, "carrel");
	assert_int_equal(config.n_publish_addresses, 1);
	assert_memory_equal(config.publish_addresses[0].bytes, "\x7f\0\0\1", 4);
	assert_int_equal(config.publish_first_port, 20000);
	assert_int_equal(config.publish_last_port, 20999);
	assert_int_equal(config.publish_role, ROLE_OPERATOR);
	assert_int_equal(config.missing_controllers, MISSING_REFUSE);
	assert_int_equal(config.max_sessions, 512);
	assert_int_equal(config.spare_networks, 4);
	assert_int_equal(config.id_base, 524288);
	assert_memory_equal(config.ipv4, ipv4, sizeof(ipv4));
	assert_int_equal(config.ipv4_bits, 16);
	assert_true(config.has_ipv6);
	assert_memory_equal(config.ipv6, ipv6, sizeof(ipv6));
	assert_int_equal(config.ipv6_bits, 64);
	assert_int_equal(config.n_access, 1);
	assert_string_equal(config.access[0].user, "root");
	assert_null(config.access[0].group);
	assert_int_equal(config.access[0].role, ROLE_ADMIN);
	assert_string_equal(config.access[0].owner_prefix, "");
	assert_int_equal(config.max_connections, 256);
	assert_int_equal(config.max_connections_per_uid, 64);
	assert_int_equal(config.max_in_flight, 64);
	assert_int_equal(config.max_queued_bytes, 4194304);
	assert_int_equal(config.max_sessions_per_uid, 0);
	assert_int_equal(config.event_history, 10000);
	members_release(&daemon_table, &config);
}

static void test_daemon_members(void **state _unused_)
{
	static const uint8_t dns6[] = { 0x26, 0x20, 0, 0xfe, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9 };
	struct config config = { 0 };
	char error[256] = "";

	assert_int_equal(
		read_text(&daemon_table,
			"{\"user\": \"#0\", \"missing_controllers\": \"warn\", \"ipv6\": null, \"ipv4\": "
			"\"10.0.0.0/8\","
			" \"max_sessions\": 16384, \"cgroup\": \"system.slice/carrel-sessions.service\","
			" \"nameservers\": [\"9.9.9.9\", \"2620:fe::9\"],"
			" \"access\": [{\"group\": \"users\", \"role\": \"client\", \"owner_prefix\": \"u/\"},"
			" {\"user\": \"op\", \"role\": \"operator\"}]}",
			&config, error, sizeof(error)),
		0);
	assert_string_equal(config.user, "#0");
	assert_int_equal(config.missing_controllers, MISSING_WARN);
	assert_false(config.has_ipv6);
	assert_int_equal(config.n_nameservers, 2);
	assert_int_equal(config.nameserver_family[0], 4);
	assert_int_equal(config.nameservers[0][3], 9);
	assert_int_equal(config.nameserver_family[1], 6);
	assert_memory_equal(config.nameservers[1], dns6, sizeof(dns6));
	assert_int_equal(config.n_access, 2);
	assert_null(config.access[0].user);
	assert_string_equal(config.access[0].group, "users");
	assert_int_equal(config.access[0].role, ROLE_CLIENT);
	assert_string_equal(config.access[0].owner_prefix, "u/");
	assert_int_equal(config.access[1].role, ROLE_OPERATOR);
	members_release(&daemon_table, &config);
}

static void test_template_defaults(void **state _unused_)
{
	struct template t = { 0 };
	char error[256] = "";

	assert_int_equal(read_text(&template_table, HEAD LIMITS "}", &t, error, sizeof(error)), 0);
	assert_string_equal(t.kind, "k");
	assert_string_equal(t.image, "i");
	assert_string_equal(t.seccomp, "minimal");
	assert_int_equal(t.capabilities, 0);
	assert_true(t.no_new_privs);
	assert_true(t.mask_proc);
	assert_false(t.cgroup);
	assert_int_equal(t.limits.value[LIMIT_CPUS], 1500);
	assert_int_equal(t.limits.value[LIMIT_PIDS], 64);
	assert_true(t.limits.value[LIMIT_SWAP] == LIMIT_UNSET);
	assert_int_equal(t.n_mounts, 0);
	assert_int_equal(t.n_rlimits, 1);
	assert_int_equal(t.rlimits[0].resource, RLIMIT_CORE);
	assert_int_equal(t.rlimits[0].hard, 0);
	assert_string_equal(t.egress, "none");
	assert_non_null(t.egress_allowed);
	assert_null(t.egress_allowed[0]);
	assert_null(t.command);
	assert_non_null(t.env);
	assert_null(t.env[0]);
	assert_string_equal(t.workdir, "/");
	assert_int_equal(t.stop_kind, STOP_BY_SIGNAL);
	assert_int_equal(t.stop_signal, SIGTERM);
	assert_int_equal(t.grace_ns, 10 * NS_PER_SEC);
	assert_int_equal(t.readiness.kind, PROBE_NONE);
	assert_true(t.ttl_ns == UINT64_MAX && t.idle_ns == UINT64_MAX);
	assert_string_equal(t.constant_hostname, "");
	members_release(&template_table, &t);
}

static const char whole_template[] = TEMPLATE(
	"\"command\": [\"/bin/a\", \"b\"], \"env\": {\"A\": \"1\", \"B\": \"x=y\"}, \"user\": {\"uid\": 1, \"gid\": "
	"2},"
	"\"capabilities\": [\"CHOWN\", \"CHECKPOINT_RESTORE\", \"CHOWN\"], \"proc\": \"full\", \"cgroup\": true,"
	"\"mounts\": [{\"type\": \"bind\", \"source\": \"/usr\", \"target\": \"/usr\"},"
	" {\"type\": \"bind\", \"source\": \"/srv\", \"target\": \"/srv\", \"read_only\": false, \"noexec\": true},"
	" {\"type\": \"tmpfs\", \"target\": \"/t\", \"mode\": \"1777\", \"uid\": 3, \"gid\": 4, \"size_bytes\": "
	"4096}],"
	"\"rlimits\": {\"nproc\": [5, \"unlimited\"], \"memlock\": 7},"
	"\"network\": {\"egress\": \"internet\", \"egress_allowed\": [\"none\"], \"loopback_ports\": [9222, 80]},"
	"\"readiness\": {\"http\": {\"port\": 9222, \"path\": \"/v\"}, \"interval_ms\": 10, \"timeout_seconds\": 45},"
	"\"endpoints\": {\"cdp\": {\"port\": 9222, \"url\": \"http://{address}:{port}\"}, \"x\": {\"port\": 1},"
	" \"docker\": {\"path\": \"/run/docker.sock\"}},"
	"\"stop\": {\"cdp\": true, \"grace_seconds\": 0}, \"ttl_seconds\": 1, \"idle_timeout_seconds\": 1800,"
	"\"hostname\": \"desk\"");

static void check_mounts(const struct template *t)
{
	assert_int_equal(t->n_mounts, 3);
	assert_true(t->mounts[0].kind == MOUNT_BIND && t->mounts[0].read_only && !t->mounts[0].noexec &&
		    !t->mounts[0].suid);
	assert_string_equal(t->mounts[0].source, "/usr");
	assert_true(t->mounts[1].kind == MOUNT_BIND && !t->mounts[1].read_only && t->mounts[1].noexec);
	assert_int_equal(t->mounts[2].kind, MOUNT_TMPFS);
	assert_null(t->mounts[2].source);
	assert_int_equal(t->mounts[2].mode, 01777);
	assert_int_equal(t->mounts[2].uid, 3);
	assert_int_equal(t->mounts[2].gid, 4);
	assert_int_equal(t->mounts[2].bytes, 4096);
	assert_true(t->mounts[2].inodes == LIMIT_UNSET);
}

static void test_template_members(void **state _unused_)
{
	struct template t = { 0 };
	char error[256] = "";

	assert_int_equal(read_text(&template_table, whole_template, &t, error, sizeof(error)), 0);
	assert_string_equal(t.command[1], "b");
	assert_null(t.command[2]);
	assert_string_equal(t.env[1], "B=x=y");
	assert_null(t.env[2]);
	assert_int_equal(t.uid, 1);
	assert_int_equal(t.gid, 2);
	assert_true(t.capabilities == (UINT64_C(1) | UINT64_C(1) << 40));
	assert_false(t.mask_proc);
	assert_true(t.cgroup);
	check_mounts(&t);
	assert_int_equal(t.n_rlimits, 2);
	assert_int_equal(t.rlimits[0].resource, RLIMIT_NPROC);
	assert_int_equal(t.rlimits[0].soft, 5);
	assert_true(t.rlimits[0].hard == RLIM_INFINITY);
	assert_true(t.rlimits[1].soft == 7 && t.rlimits[1].hard == 7);
	assert_string_equal(t.egress_allowed[0], "none");
	assert_int_equal(t.n_loopback_ports, 2);
	assert_int_equal(t.loopback_ports[0], 9222);
	assert_int_equal(t.readiness.kind, PROBE_HTTP);
	assert_int_equal(t.readiness.port, 9222);
	assert_string_equal(t.readiness.path, "/v");
	assert_int_equal(t.readiness.interval_ns, 10 * NS_PER_MS);
	assert_int_equal(t.readiness.timeout_ns, 45 * NS_PER_SEC);
	assert_int_equal(t.n_endpoints, 3);
	assert_string_equal(t.endpoints[0].name, "cdp");
	assert_string_equal(t.endpoints[1].url, "tcp://{address}:{port}");
	assert_true(t.endpoints[1].has_unix);
	assert_string_equal(t.endpoints[2].path, "/run/docker.sock");
	assert_int_equal(t.stop_kind, STOP_BY_CDP);
	assert_true(t.cdp_pipe);
	assert_int_equal(t.grace_ns, 0);
	assert_int_equal(t.ttl_ns, NS_PER_SEC);
	assert_int_equal(t.idle_ns, 1800 * NS_PER_SEC);
	assert_string_equal(t.constant_hostname, "desk");
	members_release(&template_table, &t);
}

static void test_egress_policies(void **state _unused_)
{
	static const char text[] = "{\"egress_policies\": {\"quiet\": [], \"shop\": ["
				   "{\"to\": [\"10.1.0.0/16\", \"2001:db8::5\"], \"ports\": [443, [8000, 8100]]},"
				   "{\"to\": [\"192.168.0.1\"], \"protocol\": \"any\"}, {\"to\": [\"192.168.0.2\"], "
				   "\"protocol\": \"udp\"}]}}";
	struct config config = { 0 };
	char error[256] = "";

	assert_int_equal(read_text(&daemon_table, text, &config, error, sizeof(error)), 0);
	assert_int_equal(config.n_egress_lists, 2);
	assert_int_equal(config.egress_lists[0].n_rules, 0);
	assert_string_equal(config.egress_lists[1].name, "shop");
	const struct egress_rule *rules = config.egress_lists[1].rules;
	assert_int_equal(config.egress_lists[1].n_rules, 6);
	assert_int_equal(rules[0].family, 4);
	assert_int_equal(rules[0].bits, 16);
	assert_memory_equal(rules[0].address, ((uint8_t[]){ 10, 1, 0, 0 }), 4);
	assert_int_equal(rules[0].first_port, 443);
	assert_int_equal(rules[0].last_port, 443);
	assert_int_equal(rules[1].first_port, 8000);
	assert_int_equal(rules[1].last_port, 8100);
	assert_int_equal(rules[2].family, 6);
	assert_int_equal(rules[2].bits, 128);
	assert_int_equal(rules[2].address[15], 5);
	assert_int_equal(rules[4].protocol, 0);
	assert_int_equal(rules[5].protocol, IPPROTO_UDP);
	assert_int_equal(rules[5].first_port, 0);
	assert_int_equal(rules[5].last_port, UINT16_MAX);
	members_release(&daemon_table, &config);
}

/* ---- tables ---- */

static void test_names(void **state _unused_)
{
	unsigned capability;
	int resource;

	assert_string_equal(role_name(ROLE_OPERATOR), "operator");
	assert_null(role_name((enum role)17));
	assert_int_equal(capability_by_name("SYS_ADMIN", &capability), 0);
	assert_int_equal(capability, 21);
	assert_int_equal(capability_by_name("sys_admin", &capability), -ENOENT);
	assert_int_equal(rlimit_by_name("stack", &resource), 0);
	assert_int_equal(resource, RLIMIT_STACK);
}

/* Every member that the tables know is printed once, with help. */
static void test_print(void **state _unused_)
{
	_free_ char *text = NULL;
	size_t n = 0;
	FILE *out = open_memstream(&text, &n);

	assert_non_null(out);
	config_print_members(out);
	fclose(out);
	assert_non_null(
		strstr(text, "carrel.json max_sessions: integer (1 to 16384), default 512: sessions at once\n"));
	assert_non_null(strstr(text, "template mounts[].type: word (tmpfs|bind|scratch), required: "));
	assert_non_null(strstr(text, "template limits.cpus: number (0.01 to 1024): "));
	assert_null(strstr(text, "(null)"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_egress_policies),
		cmocka_unit_test(test_daemon_defaults),
		cmocka_unit_test(test_daemon_members),
		cmocka_unit_test(test_template_defaults),
		cmocka_unit_test(test_template_members),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_print),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
