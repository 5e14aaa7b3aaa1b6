/* SPDX-License-Identifier: Apache-2.0 */
/* config/: the exact message for each kind of bad text. */
#include "tests/unit/config_text.h"

struct bad {
	const char *text, *message;
};

static void check_bad(const struct object_table *table, size_t size, const struct bad *cases, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		char error[512] = "";
		_free_ void *object = calloc(1, size);
		int r = read_text(table, cases[i].text, object, error, sizeof(error));
		members_release(table, object);
		if (r != -EINVAL)
			print_error("accepted: %s\n", cases[i].text);
		assert_int_equal(r, -EINVAL);
		assert_string_equal(error, cases[i].message);
	}
}

/* clang-format off */
#define POLICY(entry) "{\"egress_policies\": {\"shop\": [" entry "]}}"
#define TO(text) POLICY("{\"to\": [" text "]}")

static const struct bad bad_policies[] = {
	{ "{\"egress_policies\": []}", "x.json:1: egress_policies: must be an object, not an array" },
	{ "{\"egress_policies\": {\"internet\": []}}", "x.json:1: egress_policies.internet: must have a name of its own, of a-z, 0-9 and '-'" },
	{ "{\"egress_policies\": {\"Shop\": []}}", "x.json:1: egress_policies.Shop: must have a name of its own, of a-z, 0-9 and '-'" },
	{ "{\"egress_policies\": {\"shop\": {}}}", "x.json:1: egress_policies.shop: must be an array, not an object" },
	{ POLICY("5"), "x.json:1: egress_policies.shop[0]: must be an object, not an integer" },
	{ POLICY("{}"), "x.json:1: egress_policies.shop[0].to: must be an array of addresses and prefixes" },
	{ POLICY("{\"to\": [\"10.0.0.1\"], \"port\": 5}"), "x.json:1: egress_policies.shop[0].port: unknown member" },
	{ TO("\"example.com\""), "x.json:1: egress_policies.shop[0].to[0]: \"example.com\" is no address or prefix; names are not looked up" },
	{ TO("\"10.0.0.0/33\""), "x.json:1: egress_policies.shop[0].to[0]: \"10.0.0.0/33\" is no prefix, ADDRESS/BITS" },
	{ TO("\"10.0.0.0/\""), "x.json:1: egress_policies.shop[0].to[0]: \"10.0.0.0/\" is no prefix, ADDRESS/BITS" },
	{ TO("\"10.0.0.1/8\""), "x.json:1: egress_policies.shop[0].to[0]: \"10.0.0.1/8\" has bits set behind the prefix" },
	{ TO("\"10.0.0.1\", \"0.0.0.0/0\""), "x.json:1: egress_policies.shop[0].to[1]: may not hold this network (0.0.0.0/8)" },
	{ TO("\"169.254.169.254\""), "x.json:1: egress_policies.shop[0].to[0]: may not hold link-local addresses, metadata services among them (169.254.0.0/16)" },
	{ TO("\"::1\""), "x.json:1: egress_policies.shop[0].to[0]: may not hold the unspecified address and loopback (::/127)" },
	{ TO("\"fe80::/64\""), "x.json:1: egress_policies.shop[0].to[0]: may not hold link-local addresses (fe80::/10)" },
	{ TO("\"::ffff:10.0.0.1\""), "x.json:1: egress_policies.shop[0].to[0]: may not hold IPv4 in another form (::ffff:0:0/96)" },
	{ POLICY("{\"to\": [\"10.0.0.1\"], \"protocol\": \"icmp\"}"), "x.json:1: egress_policies.shop[0].protocol: must be one of tcp, udp, any" },
	{ POLICY("{\"to\": [\"10.0.0.1\"], \"protocol\": \"any\", \"ports\": [1]}"), "x.json:1: egress_policies.shop[0].ports: need the protocol tcp or udp" },
	{ POLICY("{\"to\": [\"10.0.0.1\"], \"ports\": 1}"), "x.json:1: egress_policies.shop[0].ports: must be an array" },
	{ POLICY("{\"to\": [\"10.0.0.1\"], \"ports\": [0]}"), "x.json:1: egress_policies.shop[0].ports[0]: 0 is below 1" },
	{ POLICY("{\"to\": [\"10.0.0.1\"], \"ports\": [[5]]}"), "x.json:1: egress_policies.shop[0].ports[0]: must be one port, or [first, last]" },
	{ POLICY("{\"to\": [\"10.0.0.1\"], \"ports\": [[6, 5]]}"), "x.json:1: egress_policies.shop[0].ports[0]: the first port is above the last" },
};

static const struct bad bad_daemons[] = {
	/* JSON itself */
	{ "", "x.json:1: '[' or '{' expected near end of file" },
	{ "{\n\"max_sessions\": 5,\n}", "x.json:3: string or '}' expected near '}'" },
	{ "{\"user\": \"a\n\"}", "x.json:1: unexpected newline near '\"a'" },
	{ "{\"user\": \"a\",\n\"user\": \"b\"}", "x.json:2: duplicate object key near '\"user\"'" },
	{ "{\"user\": \"a\"} {}", "x.json:1: end of file expected near '{'" },
	{ "{\"user\": \"a\\u0000b\"}", "x.json:1: \\u0000 is not allowed without JSON_ALLOW_NUL near '\"a\\u0000b\"'" },
	{ "[]", "x.json:1: must be an object, not an array" },
	/* members */
	{ "{\n\n\"max_sesions\": 1}", "x.json:3: max_sesions: unknown member; did you mean \"max_sessions\"?" },
	{ "{\n\"x\": 1}", "x.json:2: x: unknown member" },
	{ "{\"new\\nline\": 1}", "x.json:1: new?line: unknown member" },
	{ "{\"publish\": {\"addresses\": [\"::1\",\n\"localhost\"]}}", "x.json:2: publish.addresses[1]: \"localhost\" is no IP address" },
	{ "{\"publish\": {\"first_port\": 80}}", "x.json:1: publish.first_port: 80 is below 1024" },
	{ "{\"publish\": {\"first_port\": 30000,\n\"last_port\": 29999}}", "x.json:2: publish.last_port: must be first_port, or up to 4095 above it" },
	{ "{\"publish\": {\"first_port\": 30000, \"last_port\": 34096}}", "x.json:1: publish.last_port: must be first_port, or up to 4095 above it" },
	{ "{\"publish\": {\"role\": \"root\"}}", "x.json:1: publish.role: \"root\" is none of client|operator|admin" },
	{ "{\"client_limits\": {\n\"max_conections\": 1}}", "x.json:2: client_limits.max_conections: unknown member; did you mean \"max_connections\"?" },
	/* numbers, taken strictly */
	{ "{\"max_sessions\": \"1\"}", "x.json:1: max_sessions: must be an integer, not a string" },
	{ "{\"max_sessions\": true}", "x.json:1: max_sessions: must be an integer, not true" },
	{ "{\"max_sessions\": 1.0}", "x.json:1: max_sessions: must be an integer, not a number with a fraction or an exponent" },
	{ "{\"max_sessions\": 1e2}", "x.json:1: max_sessions: must be an integer, not a number with a fraction or an exponent" },
	{ "{\"max_sessions\": null}", "x.json:1: max_sessions: must not be null" },
	{ "{\"max_sessions\": 0}", "x.json:1: max_sessions: 0 is below 1" },
	{ "{\"host_reserve\": {\"cpus\": \"1\"}}", "x.json:1: host_reserve.cpus: must be a number, not a string" },
	{ "{\"host_reserve\": {\"cpus\": -0.5}}", "x.json:1: host_reserve.cpus: must be from 0 to 1024" },
	{ "{\"host_reserve\": {\"memory_bytes\": -1}}", "x.json:1: host_reserve.memory_bytes: -1 is below 0" },
	{ "{\"max_sessions\": -1}", "x.json:1: max_sessions: -1 is below 1" },
	{ "{\"max_sessions\": 16385}", "x.json:1: max_sessions: 16385 is above 16384" },
	{ "{\"max_sessions\": 4294967297}", "x.json:1: max_sessions: 4294967297 is above 16384" },
	{ "{\"max_sessions\": 99999999999999999999}", "x.json:1: too big integer near '99999999999999999999'" },
	/* words and strings */
	{ "{\"missing_controllers\": \"ignore\"}", "x.json:1: missing_controllers: \"ignore\" is none of refuse|warn" },
	{ "{\"missing_controllers\": \"refuse|warn\"}", "x.json:1: missing_controllers: \"refuse|warn\" is none of refuse|warn" },
	{ "{\"missing_controllers\": \"\"}", "x.json:1: missing_controllers: \"\" is none of refuse|warn" },
	{ "{\"user\": \"\"}", "x.json:1: user: is empty" },
	{ "{\"user\": \"a b\"}", "x.json:1: user: \"a b\" is no name of a user or group" },
	{ "{\"user\": \"#\"}", "x.json:1: user: \"#\" is no id: \"#\" and a number below 4294967295" },
	{ "{\"user\": \"#-1\"}", "x.json:1: user: \"#-1\" is no id: \"#\" and a number below 4294967295" },
	{ "{\"user\": \"#4294967295\"}", "x.json:1: user: \"#4294967295\" is no id: \"#\" and a number below 4294967295" },
	{ "{\"group\": \"#1x\"}", "x.json:1: group: \"#1x\" is no id: \"#\" and a number below 4294967295" },
	{ "{\"user\": null}", "x.json:1: user: must not be null" },
	{ "{\"state_dir\": \"var\"}", "x.json:1: state_dir: \"var\" is not absolute" },
	{ "{\"state_dir\": \"/\"}", "x.json:1: state_dir: must not be \"/\"" },
	{ "{\"state_dir\": \"/a/../b\"}", "x.json:1: state_dir: \"/a/../b\" has an empty, \".\" or \"..\" component" },
	{ "{\"state_dir\": \"/a//b\"}", "x.json:1: state_dir: \"/a//b\" has an empty, \".\" or \"..\" component" },
	{ "{\"state_dir\": \"/a/\"}", "x.json:1: state_dir: \"/a/\" has an empty, \".\" or \"..\" component" },
	{ "{\"run_dir\": \"/run/a-name-that-would-leave-no-room-for-one-of-a-session\"}", "x.json:1: run_dir: is longer than 48 bytes" },
	{ "{\"cgroup\": \"/a\"}", "x.json:1: cgroup: \"/a\" is no relative path of cgroup names" },
	{ "{\"cgroup\": \"a/../b\"}", "x.json:1: cgroup: \"a/../b\" is no relative path of cgroup names" },
	{ "{\"cgroup\": \"a/\"}", "x.json:1: cgroup: \"a/\" is no relative path of cgroup names" },
	{ "{\"cgroup\": \"a b\"}", "x.json:1: cgroup: \"a b\" is no relative path of cgroup names" },
	/* addresses and ids */
	{ "{\"ipv4\": \"100.96.0.0\"}", "x.json:1: ipv4: \"100.96.0.0\" is no IPv4 prefix, ADDRESS/BITS" },
	{ "{\"ipv4\": \"100.96.0/16\"}", "x.json:1: ipv4: \"100.96.0/16\" is no IPv4 prefix, ADDRESS/BITS" },
	{ "{\"ipv4\": \"100.96.0.0/ 16\"}", "x.json:1: ipv4: \"100.96.0.0/ 16\" is no IPv4 prefix, ADDRESS/BITS" },
	{ "{\"ipv4\": \"100.96.0.0/16x\"}", "x.json:1: ipv4: \"100.96.0.0/16x\" is no IPv4 prefix, ADDRESS/BITS" },
	{ "{\"ipv4\": \"100.96.0.0/31\"}", "x.json:1: ipv4: a prefix of 31 bits is outside 8 to 30" },
	{ "{\"ipv4\": \"100.96.0.1/16\"}", "x.json:1: ipv4: \"100.96.0.1/16\" has bits set behind the prefix" },
	{ "{\"ipv4\": \"8.8.0.0/16\"}", "x.json:1: ipv4: is in no private range (10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10)" },
	{ "{\n\"ipv4\": \"10.0.0.0/24\"}", "x.json:2: ipv4: a /24 is too small for 512 slots" },
	{ "{\"max_sessions\": 512,\n\"ipv4\": \"10.0.0.0/22\"}", "x.json:2: ipv4: a /22 is too small for 512 slots" },
	{ "{\"ipv6\": \"fe80::/64\"}", "x.json:1: ipv6: is neither unique local (fc00::/7) nor global (2000::/3)" },
	{ "{\"ipv6\": \"fd00::/120\"}", "x.json:1: ipv6: a /120 is too small for 512 slots" },
	{ "{\"ipv6\": \"\"}", "x.json:1: ipv6: \"\" is no IPv6 prefix, ADDRESS/BITS" },
	{ "{\"id_base\": 0}", "x.json:1: id_base: 0 is below 524288" },
	{ "{\"id_base\": 524289}", "x.json:1: id_base: must be a multiple of 65536" },
	{ "{\"id_base\": 1878982656}", "x.json:1: id_base: 512 slots of 65536 ids would pass 1879048191, the end of the range for containers" },
	{ "{\"nameservers\": [\"9.9.9.9\",\n\"dns\"]}", "x.json:2: nameservers[1]: \"dns\" is no IP address" },
	{ "{\"nameservers\": [\"::1\", \"::2\", \"::3\", \"::4\"]}", "x.json:1: nameservers: has more than 3 entries" },
	/* access */
	{ "{\"access\": {}}", "x.json:1: access: must be an array, not an object" },
	{ "{\"access\": [{\"user\": \"a\", \"role\": \"admin\"},\n {\"user\": \"b\",\n  \"role\": \"king\"}]}", "x.json:3: access[1].role: \"king\" is none of client|operator|admin" },
	{ "{\"access\": [\n{\"role\": \"admin\"}]}", "x.json:2: access[0]: needs either user or group" },
	{ "{\"access\": [{\"user\": \"a\", \"group\": \"b\", \"role\": \"admin\"}]}", "x.json:1: access[0]: needs either user or group" },
	{ "{\"access\": [{\"user\": \"a\"}]}", "x.json:1: access[0]: role is missing" },
	{ "{\"access\": [{\"user\": \"a\", \"role\": \"admin\", \"owner_prefix\": \"x\"}]}", "x.json:1: access[0].owner_prefix: is for the role client; others see every owner" },
};

static const struct bad bad_templates[] = {
	{ "{}", "x.json:1: kind is missing" },
	{ "{\"kind\": \"k\", \"image\": \"i\", \"seccomp\": \"\", " LIMITS "}", "x.json:1: seccomp: \"\" is none of minimal|browser|dind" },
	{ TEMPLATE("\"kin\": 1"), "x.json:4: kin: unknown member; did you mean \"kind\"?" },
	{ "{\"kind\": \"k\", \"image\": \"../i\"}", "x.json:1: image: \"../i\" is no name: a-z, 0-9 and inner hyphens, 1 to 63 of them" },
	{ TEMPLATE("\"no_new_privs\": 1"), "x.json:4: no_new_privs: must be true or false, not an integer" },
	{ TEMPLATE("\"proc\": \"none\""), "x.json:4: proc: \"none\" is none of full|masked" },
	{ TEMPLATE("\"hostname\": \"\""), "x.json:4: hostname: \"\" is no name: a-z, 0-9 and inner hyphens, 1 to 63 of them" },
	{ TEMPLATE("\"workdir\": \"home\""), "x.json:4: workdir: \"home\" is not absolute" },
	/* arguments and environment */
	{ TEMPLATE("\"command\": \"/bin/sh\""), "x.json:4: command: must be an array, not a string" },
	{ TEMPLATE("\"command\": []"), "x.json:4: command: is empty" },
	{ TEMPLATE("\"command\": [\"/bin/sh\",\n\"-c\",\n7]"), "x.json:6: command[2]: must be a string, not an integer" },
	{ TEMPLATE("\"env\": [\"A=b\"]"), "x.json:4: env: must be an object, not an array" },
	{ TEMPLATE("\"env\": {\"A\": \"b\",\n\"B\": 1}"), "x.json:5: env.B: must be a string, not an integer" },
	{ TEMPLATE("\"env\": {\"A=\": \"b\"}"), "x.json:4: env.A=: is no name of an environment variable" },
	{ TEMPLATE("\"env\": {\"1A\": \"b\"}"), "x.json:4: env.1A: is no name of an environment variable" },
	{ TEMPLATE("\"env\": {\"\": \"b\"}"), "x.json:4: env.: is no name of an environment variable" },
	{ TEMPLATE("\"user\": {\"uid\": 65536}"), "x.json:4: user.uid: 65536 is above 65535" },
	{ TEMPLATE("\"user\": \"root\""), "x.json:4: user: must be an object, not a string" },
	/* limits */
	{ WITH_LIMITS("\"cpus\": 0.005"), "x.json:3: limits.cpus: 0.005 is below 0.01" },
	{ WITH_LIMITS("\"cpus\": 1025"), "x.json:3: limits.cpus: 1025 is above 1024" },
	{ WITH_LIMITS("\"cpus\": -1"), "x.json:3: limits.cpus: -1 is below 0.01" },
	{ WITH_LIMITS("\"cpus\": \"2\""), "x.json:3: limits.cpus: must be a number, not a string" },
	{ WITH_LIMITS("\"memory_bytes\": 1048576"), "x.json:3: limits.memory_bytes: 1048576 is below 4194304" },
	{ WITH_LIMITS("\"memory_bytes\": 67108864.0"), "x.json:3: limits.memory_bytes: must be an integer, not a number with a fraction or an exponent" },
	{ WITH_LIMITS("\"pids\": null"), "x.json:3: limits.pids: must be an integer, not null" },
	{ WITH_LIMITS("\"memory\": 1"), "x.json:3: limits.memory: unknown limit" },
	{ WITH_LIMITS("\"network_rx_bytes_per_second\": 4095"), "x.json:3: limits.network_rx_bytes_per_second: 4095 is below 4096" },
	{ WITH_LIMITS("\"network_tx_bytes_per_second\": 8589934593"), "x.json:3: limits.network_tx_bytes_per_second: 8589934593 is above 8589934592" },
	{ WITH_LIMITS("\"memory_bytes\": 67108864, \"cpus\": 1, \"pids\": 64"), "x.json:3: limits: root_bytes is missing" },
	{ WITH_LIMITS(""), "x.json:3: limits: memory_bytes is missing" },
	/* capabilities and resource limits */
	{ TEMPLATE("\"capabilities\": [\"CAP_NET_ADMIN\"]"), "x.json:4: capabilities[0]: \"CAP_NET_ADMIN\" is no capability; they are written like \"NET_ADMIN\"" },
	{ TEMPLATE("\"capabilities\": \"NET_ADMIN\""), "x.json:4: capabilities: must be an array, not a string" },
	{ TEMPLATE("\"rlimits\": {\"nofile\": 1}"), "x.json:4: rlimits.nofile: is set by limits.open_files" },
	{ TEMPLATE("\"rlimits\": {\"cores\": 1}"), "x.json:4: rlimits.cores: unknown resource limit" },
	{ TEMPLATE("\"rlimits\": {\"core\": \"none\"}"), "x.json:4: rlimits.core: must be an integer or \"unlimited\", not a string" },
	{ TEMPLATE("\"rlimits\": {\"core\": -1}"), "x.json:4: rlimits.core: -1 is below 0" },
	{ TEMPLATE("\"rlimits\": {\"core\": [1]}"), "x.json:4: rlimits.core: must be one number, or [soft, hard]" },
	{ TEMPLATE("\"rlimits\": {\"core\": [1,\n\"x\"]}"), "x.json:5: rlimits.core[1]: must be an integer or \"unlimited\", not a string" },
	{ TEMPLATE("\"rlimits\": {\"core\": [\"unlimited\", 1]}"), "x.json:4: rlimits.core: the soft limit is above the hard one" },
	/* mounts */
	{ TEMPLATE("\"mounts\": [{\"type\": \"tmpfs\"}]"), "x.json:4: mounts[0]: target is missing" },
	{ TEMPLATE("\"mounts\": [{\"target\": \"/a\"}]"), "x.json:4: mounts[0]: type is missing" },
	{ TEMPLATE("\"mounts\": [{\"type\": \"tmpfs\", \"target\": \"/a\"}]"), "x.json:4: mounts[0]: size_bytes is missing" },
	{ TEMPLATE("\"mounts\": [{\"type\": \"tmpfs\", \"target\": \"/\", \"size_bytes\": 4096}]"), "x.json:4: mounts[0].target: must not be \"/\"" },
	{ TEMPLATE("\"mounts\": [{\"type\": \"tmpfs\",\n\"target\": \"/proc/x\", \"size_bytes\": 4096}]"), "x.json:5: mounts[0].target: /proc is mounted by carrel-init itself" },
	{ TEMPLATE("\"mounts\": [{\"type\": \"tmpfs\", \"target\": \"/a\", \"size_bytes\": 4096, \"source\": \"/b\"}]"), "x.json:4: mounts[0].source: is for the type bind" },
	{ TEMPLATE("\"mounts\": [{\"type\": \"tmpfs\", \"target\": \"/a\", \"size_bytes\": 4096, \"mode\": \"0888\"}]"), "x.json:4: mounts[0].mode: \"0888\" is no octal mode" },
	{ TEMPLATE("\"mounts\": [{\"type\": \"tmpfs\", \"target\": \"/a\", \"size_bytes\": 4096, \"mode\": 755}]"), "x.json:4: mounts[0].mode: must be a string, not an integer" },
	{ TEMPLATE("\"mounts\": [{\"type\": \"tmpfs\", \"target\": \"/a\", \"size_bytes\": 4096, \"mode\": \"17777\"}]"), "x.json:4: mounts[0].mode: is longer than 4 bytes" },
	{ TEMPLATE("\"mounts\": [{\"type\": \"bind\", \"target\": \"/a\"}]"), "x.json:4: mounts[0]: source is missing" },
	{ TEMPLATE("\"mounts\": [{\"type\": \"bind\", \"target\": \"/a\", \"source\": \"/\"}]"), "x.json:4: mounts[0].source: must not be \"/\"" },
	{ TEMPLATE("\"mounts\": [{\"type\": \"bind\", \"target\": \"/a\", \"source\": \"/b\", \"uid\": 5}]"), "x.json:4: mounts[0].uid: is for the type tmpfs" },
	{ TEMPLATE("\"mounts\": [{\"type\": \"scratch\", \"target\": \"/a\"}]"), "x.json:4: mounts[0]: size_bytes is missing" },
	{ TEMPLATE("\"mounts\": [{\"type\": \"scratch\", \"target\": \"/a\", \"size_bytes\": 16777217}]"), "x.json:4: mounts[0].size_bytes: of scratch must be a multiple of 16777216" },
	{ TEMPLATE("\"mounts\": [{\"type\": \"scratch\", \"target\": \"/a\", \"size_bytes\": 16777216, \"suid\": true}]"), "x.json:4: mounts[0].suid: is for the type tmpfs" },
	/* network */
	{ TEMPLATE("\"network\": {\"egress_allowed\": [\"none\",\n5]}"), "x.json:5: network.egress_allowed[1]: must be a string, not an integer" },
	{ TEMPLATE("\"network\": {\"loopback_ports\": [0]}"), "x.json:4: network.loopback_ports[0]: 0 is below 1" },
	{ TEMPLATE("\"network\": {\"loopback_ports\": [80, 65536]}"), "x.json:4: network.loopback_ports[1]: 65536 is above 65535" },
	{ TEMPLATE("\"network\": {\"loopback_ports\": [80, 80]}"), "x.json:4: network.loopback_ports[1]: port 80 is named twice" },
	{ TEMPLATE("\"network\": {\"loopback_ports\": [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]}"), "x.json:4: network.loopback_ports: has more than 16 entries" },
	/* readiness, endpoints, stop, deadlines */
	{ TEMPLATE("\"readiness\": {}"), "x.json:4: readiness: needs one of http, tcp and exec" },
	{ TEMPLATE("\"readiness\": {\"http\": {}}"), "x.json:4: readiness.http: needs either port or unix" },
	{ TEMPLATE("\"readiness\": {\"http\": {\"port\": 1, \"unix\": \"/a\"}}"), "x.json:4: readiness.http: needs either port or unix" },
	{ TEMPLATE("\"readiness\": {\"tcp\": {}}"), "x.json:4: readiness.tcp: port is missing" },
	{ TEMPLATE("\"readiness\": {\"tcp\": {\"port\": 1}, \"exec\": {\"command\": [\"/x\"]}}"), "x.json:4: readiness.exec: there is tcp already" },
	{ TEMPLATE("\"readiness\": {\"http\": {\"port\": 1, \"path\": \"x\"}}"), "x.json:4: readiness.http: path must start with \"/\" and have no spaces or control characters" },
	{ TEMPLATE("\"readiness\": {\"http\": {\"port\": 1, \"path\": \"/a\\r\\nb\"}}"), "x.json:4: readiness.http: path must start with \"/\" and have no spaces or control characters" },
	{ TEMPLATE("\"readiness\": {\"tcp\": {\"port\": 1}, \"interval_ms\": 0}"), "x.json:4: readiness.interval_ms: 0 is below 1" },
	{ TEMPLATE("\"endpoints\": {\"CDP\": {\"port\": 1}}"), "x.json:4: endpoints.CDP: is no name: a-z, 0-9 and inner hyphens" },
	{ TEMPLATE("\"liveness\": {}"), "x.json:4: liveness: needs one of http, tcp and exec" },
	{ TEMPLATE("\"liveness\": {\"tcp\": {\"port\": 1}, \"period_seconds\": 0}"), "x.json:4: liveness.period_seconds: 0 is below 1" },
	{ TEMPLATE("\"liveness\": {\"tcp\": {\"port\": 1}, \"action\": \"pray\"}"), "x.json:4: liveness.action: \"pray\" is none of end|restart" },
	{ TEMPLATE("\"max_ttl_seconds\": 5, \"ttl_seconds\": 6"), "x.json:4: ttl_seconds: is longer than max_ttl_seconds" },
	{ TEMPLATE("\"endpoints\": {\"cdp\": {\"port\": 1, \"url\": \"http://{host}\"}}"), "x.json:4: endpoints.cdp.url: knows {address}, {port}, {owner_hash} and {session} only" },
	{ TEMPLATE("\"endpoints\": {\"a\": {\"port\": 1},\n\"b\": 2}"), "x.json:5: endpoints.b: must be an object, not an integer" },
	{ TEMPLATE("\"endpoints\": {\n\"a\": {}}"), "x.json:5: endpoints.a: needs either port or path" },
	{ TEMPLATE("\"endpoints\": {\n\"a\": {\"port\": 1, \"path\": \"/s\"}}"), "x.json:5: endpoints.a: needs either port or path" },
	{ TEMPLATE("\"endpoints\": {\n\"a\": {\"path\": \"s\"}}"), "x.json:5: endpoints.a.path: \"s\" is not absolute" },
	{ TEMPLATE("\"endpoints\": {\n\"a\": {\"path\": \"/s\", \"unix\": false}}"), "x.json:5: endpoints.a.unix: is all there is of a path" },
	{ TEMPLATE("\"stop\": {\"signal\": \"TERM\"}"), "x.json:4: stop.signal: \"TERM\" is no signal; they are written like \"SIGTERM\"" },
	{ TEMPLATE("\"stop\": {\"signal\": 15}"), "x.json:4: stop.signal: must be a string, not an integer" },
	{ TEMPLATE("\"stop\": {\"cdp\": true, \"signal\": \"SIGTERM\"}"), "x.json:4: stop.signal: is not sent where cdp is true" },
	{ TEMPLATE("\"stop\": {\"grace_seconds\": 3601}"), "x.json:4: stop.grace_seconds: 3601 is above 3600" },
	{ TEMPLATE("\"ttl_seconds\": 0"), "x.json:4: ttl_seconds: 0 is below 1" },
	{ TEMPLATE("\"ttl_seconds\": 0.5"), "x.json:4: ttl_seconds: must be an integer, not a number with a fraction or an exponent" },
	{ TEMPLATE("\"idle_timeout_seconds\": 0"), "x.json:4: idle_timeout_seconds: 0 is below 1" },
};
/* clang-format on */

static void test_bad_daemons(void **state _unused_)
{
	check_bad(&daemon_table, sizeof(struct config), bad_daemons, ARRAY_SIZE(bad_daemons));
}

static void test_bad_templates(void **state _unused_)
{
	check_bad(&template_table, sizeof(struct template), bad_templates, ARRAY_SIZE(bad_templates));
}

static void test_bad_policies(void **state _unused_)
{
	check_bad(&daemon_table, sizeof(struct config), bad_policies, ARRAY_SIZE(bad_policies));
}

/* The line is found through whatever JSON may hold before it. */
static void test_lines(void **state _unused_)
{
	static const struct bad cases[] = {
		{ "{\"cgroup\": \"a\",\r\n\t\"access\": [ ],\n\n  \"\\u0070ort\"\n : 1}",
			"x.json:4: port: unknown member" },
		{ "{\"client_limits\": {},\n\"cgroup\" : \"c\",\n\"access\": [[],\n[[\"]}\", \"\\\"\"]]]}",
			"x.json:3: access[0]: must be an object, not an array" },
		{ "{\"nameservers\": [\"::1\", \"::\\u0031\"\n,\n5]}",
			"x.json:3: nameservers[2]: must be a string, not an integer" },
		{ "{\"ipv6\": null, \"user\": \"]}\\\\\\\"{[\", \"max_sessions\":\n0}",
			"x.json:1: user: \"]}\\\"{[\" is no name of a user or group" },
	};

	check_bad(&daemon_table, sizeof(struct config), cases, ARRAY_SIZE(cases));
}

/* What is not in the text, because a default was filled in, has the line of what is around it. */
static void test_line_of_default(void **state _unused_)
{
	static const char text[] = "\n{\n\"a\": [1,\n2], \"b\":\n{\"c\": 3}}";
	const struct source source = { .name = "x.json", .text = text, .n = sizeof(text) - 1 };
	const struct place top = { .source = &source };
	const struct place a = { &source, &top, "a", 0 }, b = { &source, &top, "b", 0 },
			   none = { &source, &top, "n", 0 };

	assert_int_equal(place_line(&top), 2);
	assert_int_equal(place_line(&none), 2);
	assert_int_equal(place_line(&a), 3);
	assert_int_equal(place_line(&(struct place){ &source, &a, NULL, 1 }), 4);
	assert_int_equal(place_line(&(struct place){ &source, &a, NULL, 2 }), 3);
	assert_int_equal(place_line(&(struct place){ &source, &a, "c", 0 }), 3);
	assert_int_equal(place_line(&b), 4);
	assert_int_equal(place_line(&(struct place){ &source, &b, "c", 0 }), 5);
	assert_int_equal(place_line(&(struct place){ &source, &b, NULL, 0 }), 4);
}

/* A message is cut to its buffer, however small. */
static void test_small_buffer(void **state _unused_)
{
	struct config config = { 0 };
	char error[16];

	memset(error, 'x', sizeof(error));
	assert_int_equal(read_text(&daemon_table, "{\"max_sessions\": 0}", &config, error, 10), -EINVAL);
	assert_string_equal(error, "x.json:1:");
	assert_int_equal(error[10], 'x');
	members_release(&daemon_table, &config);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bad_daemons),
		cmocka_unit_test(test_bad_templates),
		cmocka_unit_test(test_bad_policies),
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_line_of_default),
		cmocka_unit_test(test_small_buffer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
