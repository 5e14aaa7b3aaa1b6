/* SPDX-License-Identifier: Apache-2.0 */
/* config/: what a good file gives, and the exact message for each kind of bad one. */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "config/members.h"
#include "wire/loop.h"

/* ---- one text ---- */

#define LIMITS "\"limits\": {\"memory_bytes\": 67108864, \"cpus\": 1.5, \"pids\": 64, \"root_bytes\": 1048576}"
#define HEAD "{\n\"kind\": \"k\", \"image\": \"i\", \"seccomp\": \"minimal\",\n"
/* A template with what is required on lines 2 and 3; the text given starts on line 4. */
#define TEMPLATE(text) HEAD LIMITS ",\n" text "\n}"
/* The same with limits of one's own, on line 3. */
#define WITH_LIMITS(text) HEAD "\"limits\": {" text "}\n}"
#define GOOD_LIMITS "\"memory_bytes\": 67108864, \"cpus\": 1.5, \"pids\": 64, \"root_bytes\": 1048576"

static int read_text(const struct object_table *table, const char *text, void *ret, char *error, size_t size)
{
	const struct source source = {
		.name = "x.json", .text = text, .n = strlen(text), .error = error, .error_size = size
	};

	return source_read(&source, table, ret);
}

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
	assert_true(t->mounts[0].kind == MOUNT_BIND && t->mounts[0].read_only && !t->mounts[0].noexec && !t->mounts[0].suid);
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

/* ---- files ---- */

struct directory {
	char path[64];
	int fd, templates_fd;
};

static void put(int dir_fd, const char *name, const char *text, mode_t mode)
{
	int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static int make_directory(void **state)
{
	struct directory *d = calloc(1, sizeof(*d));

	assert_non_null(d);
	strcpy(d->path, "/tmp/carrel-config-XXXXXX");
	assert_non_null(mkdtemp(d->path));
	d->fd = open(d->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(mkdirat(d->fd, "templates.d", 0700), 0);
	d->templates_fd = openat(d->fd, "templates.d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	put(d->fd, "carrel.json", "{}", 0644);
	put(d->templates_fd, "b.json", HEAD LIMITS "}", 0644);
	put(d->templates_fd, "a.json", HEAD LIMITS "}", 0644);
	*state = d;
	return 0;
}

static int remove_directory(void **state)
{
	static const char *const names[] = { "carrel.json", "a.json", "b.json", "c.json", "Bad.json", ".a.json",
		"a.json.bak" };
	struct directory *d = *state;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		unlinkat(d->fd, names[i], 0);
		unlinkat(d->templates_fd, names[i], 0);
	}
	for (int i = 0; i < CONFIG_MAX_TEMPLATES; i++) {
		char name[16];
		snprintf(name, sizeof(name), "t%d.json", i);
		unlinkat(d->templates_fd, name, 0);
	}
	close(d->templates_fd);
	unlinkat(d->fd, "templates.d", AT_REMOVEDIR);
	close(d->fd);
	int r = rmdir(d->path);
	free(d);
	return r;
}

static void expect_load(const struct directory *d, int wanted, const char *message)
{
	struct config config = { .max_sessions = 12345 };
	char error[512] = "";
	int r = config_load(d->path, &config, error, sizeof(error));

	assert_string_equal(error, message);
	assert_int_equal(r, wanted);
	if (r == 0)
		config_free(&config);
	else
		assert_int_equal(config.max_sessions, 12345);
}

static void test_egress_policies(void **state _unused_)
{
	static const char text[] =
		"{\"egress_policies\": {\"quiet\": [], \"shop\": ["
		"{\"to\": [\"10.1.0.0/16\", \"2001:db8::5\"], \"ports\": [443, [8000, 8100]]},"
		"{\"to\": [\"192.168.0.1\"], \"protocol\": \"any\"}, {\"to\": [\"192.168.0.2\"], \"protocol\": \"udp\"}]}}";
	struct config config = { 0 };
	char error[256] = "";

	check_bad(&daemon_table, sizeof(struct config), bad_policies, ARRAY_SIZE(bad_policies));
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

static void test_load(void **state)
{
	const struct directory *d = *state;
	struct config config;
	char error[256] = "";

	put(d->templates_fd, ".a.json", "x", 0644);
	put(d->templates_fd, "a.json.bak", "x", 0644);
	assert_int_equal(config_load(d->path, &config, error, sizeof(error)), 0);
	assert_int_equal(config.n_templates, 2);
	assert_string_equal(config.templates[0].name, "a");
	assert_ptr_equal(config_template(&config, "b"), &config.templates[1]);
	assert_null(config_template(&config, "c"));
	config_free(&config);
	assert_int_equal(config.n_templates, 0);
}

static void test_load_missing(void **state)
{
	const struct directory *d = *state;

	unlinkat(d->fd, "carrel.json", 0);
	expect_load(d, -ENOENT, "carrel.json: No such file or directory");
	put(d->fd, "carrel.json", "{}", 0644);
	assert_int_equal(renameat(d->fd, "templates.d", d->fd, "x"), 0);
	expect_load(d, -ENOENT, "templates.d: No such file or directory");
	assert_int_equal(renameat(d->fd, "x", d->fd, "templates.d"), 0);
	expect_load(d, 0, "");
}

static void test_load_modes(void **state)
{
	const struct directory *d = *state;

	assert_int_equal(fchmodat(d->fd, "carrel.json", 0664, 0), 0);
	expect_load(d, -EPERM, "carrel.json: can be written by group or others (mode 0664)");
	assert_int_equal(fchmodat(d->fd, "carrel.json", 0644, 0), 0);
	assert_int_equal(fchmodat(d->templates_fd, "a.json", 0602, 0), 0);
	expect_load(d, -EPERM, "templates.d/a.json: can be written by group or others (mode 0602)");
	assert_int_equal(fchmodat(d->templates_fd, "a.json", 0600, 0), 0);
	assert_int_equal(fchmod(d->templates_fd, 0777), 0);
	expect_load(d, -EPERM, "templates.d: can be written by group or others (mode 0777)");
	assert_int_equal(fchmod(d->templates_fd, 0755), 0);
	expect_load(d, 0, "");
}

/* Only root can give files away. */
static void test_load_owner(void **state)
{
	const struct directory *d = *state;

	if (geteuid() != 0)
		skip();
	assert_int_equal(fchownat(d->fd, "carrel.json", 12345, 0, 0), 0);
	expect_load(d, -EPERM, "carrel.json: belongs to uid 12345, not to root");
}

static void test_load_kinds(void **state)
{
	const struct directory *d = *state;

	assert_int_equal(symlinkat("a.json", d->templates_fd, "c.json"), 0);
	expect_load(d, -ELOOP, "templates.d/c.json: is a symbolic link");
	unlinkat(d->templates_fd, "c.json", 0);
	assert_int_equal(mkfifoat(d->templates_fd, "c.json", 0600), 0);
	expect_load(d, -EINVAL, "templates.d/c.json: is no regular file");
	unlinkat(d->templates_fd, "c.json", 0);
	put(d->templates_fd, "Bad.json", HEAD LIMITS "}", 0644);
	expect_load(d, -EINVAL,
		"templates.d/Bad.json:1: the file's name is no name of a template: a-z, 0-9 and inner hyphens, 1 to "
		"63 of them");
}

static void test_load_size(void **state)
{
	const struct directory *d = *state;
	const size_t most = 256 * 1024;
	_free_ char *text = malloc(most + 2);

	assert_non_null(text);
	memset(text, ' ', most + 1);
	text[0] = '{';
	text[1] = '}';
	text[most] = '\0';
	put(d->fd, "carrel.json", text, 0644);
	expect_load(d, 0, "");
	text[most] = ' ';
	text[most + 1] = '\0';
	put(d->fd, "carrel.json", text, 0644);
	expect_load(d, -EFBIG, "carrel.json: is larger than 256 KiB");
}

static void test_load_many(void **state)
{
	const struct directory *d = *state;
	char name[16];

	for (int i = 0; i < CONFIG_MAX_TEMPLATES - 2; i++) {
		snprintf(name, sizeof(name), "t%d.json", i);
		put(d->templates_fd, name, HEAD LIMITS "}", 0644);
	}
	expect_load(d, 0, "");
	put(d->templates_fd, "c.json", HEAD LIMITS "}", 0644);
	expect_load(d, -E2BIG, "templates.d: has more than 64 templates");
}

/* What spare networks of all templates may come to use has to fit the ranges, too. */
static void test_load_slots(void **state)
{
	const struct directory *d = *state;

	put(d->fd, "carrel.json", "{\"max_sessions\": 500,\n\"ipv4\": \"10.0.0.0/22\",\n\"spare_networks\": 5}",
		0644);
	expect_load(d, 0, "");
	put(d->fd, "carrel.json", "{\"max_sessions\": 500,\n\"ipv4\": \"10.0.0.0/22\",\n\"spare_networks\": 6}",
		0644);
	expect_load(d, -EINVAL, "carrel.json:2: ipv4: a /22 is too small for 512 slots");
}

/* Templates name policies of carrel.json, which is read before them. */
static void test_load_policies(void **state)
{
	const struct directory *d = *state;

	put(d->templates_fd, "c.json",
		HEAD LIMITS ", \"network\": {\"egress\": \"none\", \"egress_allowed\": [\"internet\", \"shop\"]}}", 0644);
	put(d->fd, "carrel.json", "{\n\"egress_policies\": {\"shops\": []}}", 0644);
	expect_load(d, -EINVAL, "carrel.json:2: egress_policies: has no \"shop\", which template c names");
	put(d->fd, "carrel.json", "{\n\"egress_policies\": {\"shop\": []}}", 0644);
	expect_load(d, 0, "");
}

static void copy_file(int from_dir, int to_dir, const char *name)
{
	static char text[256 * 1024];
	int fd = openat(from_dir, name, O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	ssize_t n = read(fd, text, sizeof(text) - 1);
	assert_true(n > 0);
	text[n] = '\0';
	put(to_dir, name, text, 0644);
	close(fd);
}

/* The files that are installed load. The source tree is the working directory, or the environment's CARREL_SOURCE. */
static void test_packaged(void **state)
{
	static const char *const names[] = { "minimal.json", "browser.json", "browser-host.json", "dind.json" };
	const struct directory *d = *state;
	const char *source = getenv("CARREL_SOURCE");
	struct config config;
	char path[512], error[512] = "";

	snprintf(path, sizeof(path), "%s/packaging/etc", source ? source : ".");
	int from = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int templates = openat(from, "templates.d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	copy_file(from, d->fd, "carrel.json");
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		copy_file(templates, d->templates_fd, names[i]);
	close(templates);
	close(from);

	int r = config_load(d->path, &config, error, sizeof(error));
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		unlinkat(d->templates_fd, names[i], 0);
	assert_string_equal(error, "");
	assert_int_equal(r, 0);
	const struct template *browser = config_template(&config, "browser");
	assert_non_null(browser);
	assert_int_equal(browser->capabilities, 0);
	assert_true(browser->no_new_privs && browser->cdp_pipe);
	assert_int_equal(browser->uid, 1000);
	const struct template *host = config_template(&config, "browser-host");
	assert_non_null(host);
	assert_true(host->mounts[0].kind == MOUNT_BIND && host->mounts[0].read_only);
	assert_non_null(config_template(&config, "minimal"));
	const struct template *dind = config_template(&config, "dind");
	assert_non_null(dind);
	assert_true(dind->cgroup && dind->no_new_privs && !dind->mask_proc);
	assert_int_equal(dind->mounts[0].kind, MOUNT_SCRATCH);
	assert_string_equal(dind->readiness.unix_path, "/run/docker.sock");
	config_free(&config);
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
#define ON_FILES(test) cmocka_unit_test_setup_teardown(test, make_directory, remove_directory)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bad_daemons),
		cmocka_unit_test(test_bad_templates),
		cmocka_unit_test(test_egress_policies),
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_line_of_default),
		cmocka_unit_test(test_small_buffer),
		cmocka_unit_test(test_daemon_defaults),
		cmocka_unit_test(test_daemon_members),
		cmocka_unit_test(test_template_defaults),
		cmocka_unit_test(test_template_members),
		ON_FILES(test_load),
		ON_FILES(test_load_missing),
		ON_FILES(test_load_modes),
		ON_FILES(test_load_owner),
		ON_FILES(test_load_kinds),
		ON_FILES(test_load_size),
		ON_FILES(test_load_many),
		ON_FILES(test_load_slots),
		ON_FILES(test_load_policies),
		ON_FILES(test_packaged),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_print),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
