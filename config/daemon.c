/* SPDX-License-Identifier: Apache-2.0 */
/* carrel.json. */
#include "config/members.h"

enum { MAX_SLOTS = 16384 };

/* Ids that systemd reserves for containers (its UIDS-GIDS document): 524288 to 1879048191. */
#define ID_MIN 524288
#define ID_END UINT64_C(1879048192)
#define IDS_PER_SLOT UINT64_C(65536)

/* ---- types of single members ---- */

/* A user's or group's name as the system's databases know it, or "#number". */
static int read_account(const struct place *place, const struct member *member, const json_t *value, void *field)
{
	if (json_is_null(value))
		return 0;
	const char *name = string_read(place, value, member->min, member->max), *p = name;
	if (!name)
		return -EINVAL;
	if (name[0] == '#') {
		char *end;
		/* The highest id is no id: the kernel takes it for "leave as it is". */
		if (name[1] < '0' || name[1] > '9' || strtoull(name + 1, &end, 10) >= UINT32_MAX || *end)
			return place_fail(place, "\"%s\" is no id: \"#\" and a number below %u", name, UINT32_MAX);
	} else {
		p += strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-@$");
		if (*p || name[0] == '-')
			return place_fail(place, "\"%s\" is no name of a user or group", name);
	}
	return type_string.read(place, member, value, field);
}

static const struct member_type type_account = { "name or \"#id\"", read_account, string_release };

/* A relative path of plain names: it is put below the root of the cgroup tree. */
static int read_cgroup_path(const struct place *place, const struct member *member, const json_t *value, void *field)
{
	const char *path = string_read(place, value, 1, member->max);

	if (!path)
		return -EINVAL;
	for (const char *p = path;; p++) {
		size_t n = strspn(p, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-@:\\");
		if (n == 0 || *p == '.' || (p[n] && p[n] != '/'))
			return place_fail(place, "\"%s\" is no relative path of cgroup names", path);
		p += n;
		if (!*p)
			return type_string.read(place, member, value, field);
	}
}

static const struct member_type type_cgroup_path = { "relative path", read_cgroup_path, string_release };

/* ---- access ---- */

static int finish_access(const struct place *place, const json_t *value _unused_, void *object)
{
	const struct config_access *access = object;

	if (!access->user == !access->group)
		return place_fail(place, "needs either user or group");
	if (access->role != ROLE_CLIENT && access->owner_prefix[0])
		return place_fail_at(place, "owner_prefix", "is for the role client; others see every owner");
	return 0;
}

/* clang-format off */
static const struct member access_members[] = {
	{ "user", &type_account, FIELD(struct config_access, user), .fallback = "null", .nullable = true, .min = 1, .max = 64,
	  .help = "a user" },
	{ "group", &type_account, FIELD(struct config_access, group), .fallback = "null", .nullable = true, .min = 1, .max = 64,
	  .help = "or a group, supplementary ones included" },
	{ "role", &type_enum, FIELD(struct config_access, role), .words = "client|operator|admin", .min = ROLE_CLIENT,
	  .help = "what they may call" },
	{ "owner_prefix", &type_string, FIELD(struct config_access, owner_prefix), .fallback = "\"\"", .max = 200,
	  .help = "clients: owners that do not start with it do not exist for them" },
};
static const struct object_table access_table = OBJECT_TABLE(access_members, struct config_access, finish_access);

static const struct member client_limits_members[] = {
	{ "max_connections", &type_integer, FIELD(struct config, max_connections), .fallback = "256", .min = 1, .max = 65536,
	  .help = "open connections" },
	{ "max_connections_per_uid", &type_integer, FIELD(struct config, max_connections_per_uid), .fallback = "64", .min = 1, .max = 65536,
	  .help = "open connections of one user" },
	{ "max_in_flight", &type_integer, FIELD(struct config, max_in_flight), .fallback = "64", .min = 1, .max = 4096,
	  .help = "requests of one connection that are not answered yet" },
	{ "max_queued_bytes", &type_integer, FIELD(struct config, max_queued_bytes), .fallback = "4194304", .min = 1048576, .max = 1073741824,
	  .help = "answers and events that one connection has not read yet; past it the connection is dropped" },
	{ "max_sessions_per_uid", &type_integer, FIELD(struct config, max_sessions_per_uid), .fallback = "0", .min = 0, .max = MAX_SLOTS,
	  .help = "sessions of one user; 0: as many as the host has" },
	{ "max_sessions_per_owner", &type_integer, FIELD(struct config, max_sessions_per_owner), .fallback = "0", .min = 0, .max = MAX_SLOTS,
	  .help = "sessions of one owner; 0: as many as the host has" },
	{ "max_port_connections", &type_integer, FIELD(struct config, max_port_connections), .fallback = "8192", .min = 1, .max = 65536,
	  .help = "connections to ports of sessions that are relayed, as far as control's descriptors suffice, six for each" },
	{ "max_port_connections_per_session", &type_integer, FIELD(struct config, max_port_connections_per_session), .fallback = "4096", .min = 1, .max = 65536,
	  .help = "of these to one session" },
	{ "max_ports_per_session", &type_integer, FIELD(struct config, max_ports_per_session), .fallback = "16", .min = 0, .max = 256,
	  .help = "ports of one session that clients publish, the template's endpoints not counted" },
	{ "max_volumes", &type_integer, FIELD(struct config, max_volumes), .fallback = "4096", .min = 1, .max = 65536,
	  .help = "volumes on this host" },
	{ "max_volumes_per_owner", &type_integer, FIELD(struct config, max_volumes_per_owner), .fallback = "64", .min = 1, .max = 65536,
	  .help = "volumes of one owner" },
	{ "max_queued_creations", &type_integer, FIELD(struct config, max_queued_creations), .fallback = "256", .min = 0, .max = 65536,
	  .help = "requests for a session that wait for room (queue_timeout_seconds)" },
};
static const struct object_table client_limits_table = OBJECT_TABLE(client_limits_members, struct config, NULL);
/* clang-format on */

/* ---- publish ---- */

static int finish_publish(const struct place *place, const json_t *value _unused_, void *object)
{
	const struct config *config = object;

	/* Each port is a rule of control's Landlock ruleset. */
	if (config->publish_last_port < config->publish_first_port ||
		config->publish_last_port - config->publish_first_port >= CONFIG_MAX_PUBLISH_PORTS)
		return place_fail_at(
			place, "last_port", "must be first_port, or up to %d above it", CONFIG_MAX_PUBLISH_PORTS - 1);
	return 0;
}

/* clang-format off */
static const struct member publish_members[] = {
	{ "addresses", &type_addresses, .fallback = "[\"127.0.0.1\"]",
	  .help = "addresses of the host that a request may name, at most 8; the first is the default, [] turns it off" },
	{ "first_port", &type_integer, FIELD(struct config, publish_first_port), .fallback = "20000", .min = 1024, .max = UINT16_MAX,
	  .help = "the first port that may be used there" },
	{ "last_port", &type_integer, FIELD(struct config, publish_last_port), .fallback = "20999", .min = 1024, .max = UINT16_MAX,
	  .help = "the last" },
	{ "role", &type_enum, FIELD(struct config, publish_role), .fallback = "\"operator\"", .words = "client|operator|admin", .min = ROLE_CLIENT,
	  .help = "the least that may publish there: whoever reaches the address reaches the port" },
};
static const struct object_table publish_table = OBJECT_TABLE(publish_members, struct config, finish_publish);
/* clang-format on */

/* CPUs, as limits.cpus: thousandths. */
static int read_cpus(const struct place *place, const struct member *member, const json_t *value, void *field)
{
	const double thousandths = json_number_value(value) * 1000 + 0.5;

	if (!json_is_number(value))
		return place_fail_type(place, "a number", value);
	if (thousandths < 0 || thousandths > (double)member->max * 1000)
		return place_fail(place, "must be from 0 to %llu", (unsigned long long)member->max);
	*(uint64_t *)field = (uint64_t)thousandths;
	return 0;
}

static const struct member_type type_cpus = { "number", read_cpus, NULL };

/* clang-format off */
static const struct member host_reserve_members[] = {
	{ "memory_bytes", &type_integer, FIELD(struct config, reserve_memory_bytes), .fallback = "268435456", .max = UINT64_C(1) << 46,
	  .help = "memory of the host that all sessions together never have; 0: none" },
	{ "cpus", &type_cpus, FIELD(struct config, reserve_cpus), .fallback = "0", .max = 1024,
	  .help = "CPUs, likewise; 0 leaves it to the weights of cgroups" },
};
static const struct object_table host_reserve_table = OBJECT_TABLE(host_reserve_members, struct config, NULL);
/* clang-format on */

/* ---- the file ---- */

/* A prefix of BITS out of ALL_BITS has room for SLOTS slots, two addresses each, from number 1. */
static bool prefix_holds(uint32_t bits, uint32_t all_bits, uint64_t slots)
{
	return all_bits - bits >= 63 || (UINT64_C(1) << (all_bits - bits)) >= 2 * (slots + 1);
}

int daemon_check_slots(const struct place *place, const struct config *config)
{
	/* supervisor/slots.c: networks made ahead, for each set of ports that templates have, take numbers too. */
	const uint64_t slots = config->max_sessions + (uint64_t)config->spare_networks * config->n_templates;

	if (config->id_base % IDS_PER_SLOT != 0)
		return place_fail_at(
			place, "id_base", "must be a multiple of %llu", (unsigned long long)IDS_PER_SLOT);
	if (config->id_base + slots * IDS_PER_SLOT > ID_END)
		return place_fail_at(place, "id_base",
			"%llu slots of 65536 ids would pass %llu, the end of the range for containers",
			(unsigned long long)slots, (unsigned long long)ID_END - 1);
	if (!prefix_holds(config->ipv4_bits, 32, slots))
		return place_fail_at(place, "ipv4", "a /%u is too small for %llu slots", config->ipv4_bits,
			(unsigned long long)slots);
	if (config->has_ipv6 && !prefix_holds(config->ipv6_bits, 128, slots))
		return place_fail_at(place, "ipv6", "a /%u is too small for %llu slots", config->ipv6_bits,
			(unsigned long long)slots);
	return 0;
}

int daemon_check_pools(const struct place *place, const struct config *config)
{
	for (size_t i = 0; i < config->n_pools; i++) {
		const struct template *template = config_template(config, config->pools[i].template);
		if (!template)
			return place_fail_at(place, "pools", "there is no template %s", config->pools[i].template);
		if (template_always_has_volume(template))
			return place_fail_at(place, "pools",
				"sessions of %s always have a volume, and a pool's have none", template->name);
	}
	return 0;
}

/* clang-format off */
static const struct member pool_members[] = {
	{ "template", &type_name, FIELD(struct config_pool, template),
	  .help = "what its sessions are made from" },
	{ "size", &type_integer, FIELD(struct config_pool, size), .min = 0, .max = MAX_SLOTS,
	  .help = "how many are kept ready, frozen" },
};
static const struct object_table pool_table = OBJECT_TABLE(pool_members, struct config_pool, NULL);
/* clang-format on */

static int finish_daemon(const struct place *place, const json_t *value _unused_, void *object)
{
	return daemon_check_slots(place, object);
}

/* clang-format off */
static const struct member daemon_members[] = {
	{ "user", &type_account, FIELD(struct config, user), .fallback = "\"carrel\"", .min = 1, .max = 64,
	  .help = "carrel-control runs as this user" },
	{ "group", &type_account, FIELD(struct config, group), .fallback = "\"carrel\"", .min = 1, .max = 64,
	  .help = "and with this group, to which the API socket belongs" },
	{ "state_dir", &type_path, FIELD(struct config, state_dir), .fallback = "\"/var/lib/carrel\"", .max = 200,
	  .help = "images, registry, volumes" },
	/* carreld reaches what is there by descriptor; clients need paths, and sun_path has room for 107 bytes. */
	{ "run_dir", &type_path, FIELD(struct config, run_dir), .fallback = "\"/run/carrel\"", .max = 48,
	  .help = "sockets, ledger, directories of running sessions; short, because paths of sockets are" },
	{ "cgroup", &type_cgroup_path, FIELD(struct config, cgroup), .fallback = "\"carrel\"", .max = 200,
	  .help = "where sessions live, below the root of the cgroup v2 tree" },
	{ "missing_controllers", &type_enum, FIELD(struct config, missing_controllers), .fallback = "\"refuse\"", .words = "refuse|warn", .min = MISSING_REFUSE,
	  .help = "what to do on a host without the cgroup controllers cpu, memory, pids or io" },
	{ "host_reserve", &type_group, .object = &host_reserve_table, .fallback = "{}",
	  .help = "kept for the host and for carrel itself, by limits of the cgroup that all sessions are in" },
	{ "max_sessions", &type_integer, FIELD(struct config, max_sessions), .fallback = "512", .min = 1, .max = MAX_SLOTS,
	  .help = "sessions at once" },
	{ "spare_networks", &type_integer, FIELD(struct config, spare_networks), .fallback = "4", .min = 0, .max = 64,
	  .help = "networks kept ready for sessions to come, for each set of loopback_ports" },
	{ "id_base", &type_integer, FIELD(struct config, id_base), .fallback = "524288", .min = ID_MIN, .max = ID_END - IDS_PER_SLOT,
	  .help = "first host uid and gid of sessions, 65536 for each; a multiple of 65536" },
	{ "ipv4", &type_ipv4_prefix, .fallback = "\"100.96.0.0/16\"",
	  .help = "private range of the sessions' addresses, two for each" },
	{ "ipv6", &type_ipv6_prefix, .fallback = "\"fd63:6172:7265:6c00::/64\"", .nullable = true,
	  .help = "the same for IPv6; null for none" },
	{ "nameservers", &type_nameservers, .fallback = "[]",
	  .help = "what sessions find in /etc/resolv.conf, at most 3" },
	{ "egress_policies", &type_egress_policies, .fallback = "{}",
	  .help = "what sessions may reach, by name: arrays of {\"to\": [addresses, prefixes], \"protocol\": tcp, udp or any, \"ports\": [443, [8000, 8100]]}" },
	{ "access", &type_objects, FIELD(struct config, access), COUNT(struct config, n_access), .object = &access_table,
	  .fallback = "[{\"user\": \"root\", \"role\": \"admin\"}]", .max = 256,
	  .help = "who may do what; the first row that fits the caller counts" },
	{ "client_limits", &type_group, .object = &client_limits_table, .fallback = "{}",
	  .help = "bounds on those who call" },
	{ "publish", &type_group, .object = &publish_table, .fallback = "{}",
	  .help = "TCP ports of the host that lead to ports of sessions; the packaged service wants publish-tcp.conf for it" },
	{ "pools", &type_objects, FIELD(struct config, pools), COUNT(struct config, n_pools), .object = &pool_table,
	  .fallback = "[]", .max = CONFIG_MAX_TEMPLATES,
	  .help = "sessions made ahead, for requests that ask for nothing but the template; pool.set changes their number" },
	{ "event_history", &type_integer, FIELD(struct config, event_history), .fallback = "10000", .min = 16, .max = 1000000,
	  .help = "events kept for subscribers that come back" },
	{ "audit", &type_enum, FIELD(struct config, audit), .fallback = "\"changes\"", .words = "none|changes|all", .min = AUDIT_NONE,
	  .help = "requests of which carrel-control writes to its standard error who asked and what came of it" },
};
/* clang-format on */

const struct object_table daemon_table = OBJECT_TABLE(daemon_members, struct config, finish_daemon);
