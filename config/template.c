/* SPDX-License-Identifier: Apache-2.0 */
/* templates.d/NAME.json. */
#include <signal.h>
#include <stdio.h>

#include "config/members.h"
#include "wire/init.h"
#include "wire/loop.h"
#include "wire/plan.h"
#include "wire/spec.h"

enum {
	MAX_ENDPOINTS = 16,
	MAX_ENV = 1024,
	MAX_SESSION_ID = 65535,
	MAX_SECONDS = 315360000, /* ten years */
	MIN_SCRATCH = 16 << 20, /* and what sizes of scratch and volumes are multiples of */
};

#define MAX_VOLUME (UINT64_C(8) << 40)

/* ---- env: {"NAME": "value"} to "NAME=value" ---- */

static bool env_name_is_valid(const char *name)
{
	size_t n = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789");

	return n > 0 && !name[n] && !(name[0] >= '0' && name[0] <= '9');
}

static int read_env(const struct place *place, const struct member *member, const json_t *value, void *field)
{
	const char *name;
	json_t *item;
	size_t i = 0;

	if (!json_is_object(value))
		return place_fail_type(place, "an object", value);
	if (json_object_size(value) > member->max)
		return place_fail(place, "has more than %llu members", (unsigned long long)member->max);
	char **env = calloc(json_object_size(value) + 1, sizeof(*env));
	if (!env)
		return place_fail_memory(place);
	*(char ***)field = env;
	json_object_foreach ((json_t *)value, name, item) {
		const struct place at = { place->source, place, name, 0 };
		const char *text = string_read(&at, item, 0, UINT64_MAX);
		if (!text)
			return -EINVAL;
		if (!env_name_is_valid(name))
			return place_fail(&at, "is no name of an environment variable");
		if (asprintf(&env[i], "%s=%s", name, text) < 0) {
			env[i] = NULL;
			return place_fail_memory(&at);
		}
		i++;
	}
	return 0;
}

static const struct member_type type_env = { "object of strings", read_env, strings_release };

/* ---- mounts ---- */

/* "1777" as chmod(1) takes it: JSON has no octal numbers, and a decimal one would be read wrongly by people. */
static int read_mode(
	const struct place *place, const struct member *member _unused_, const json_t *value, void *field)
{
	const char *text = string_read(place, value, 3, 4);

	if (!text)
		return -EINVAL;
	if (text[strspn(text, "01234567")])
		return place_fail(place, "\"%s\" is no octal mode", text);
	*(uint32_t *)field = (uint32_t)strtoul(text, NULL, 8);
	return 0;
}

static const struct member_type type_mode = { "octal mode", read_mode, NULL };

static bool is_below(const char *path, const char *top)
{
	size_t n = strlen(top);

	return strncmp(path, top, n) == 0 && (!path[n] || path[n] == '/');
}

/* The directory of carrel-init's own that PATH is in; NULL: none. */
static const char *of_init(const char *path)
{
	static const char *const tops[] = { "/proc", "/sys", "/dev" };

	for (size_t i = 0; i < ARRAY_SIZE(tops); i++)
		if (is_below(path, tops[i]))
			return tops[i];
	return NULL;
}

static int finish_mount(const struct place *place, const json_t *value, void *object)
{
	/* What each kind besides tmpfs has no use for. */
	static const char *const not_of_bind[] = { "mode", "uid", "gid", "size_bytes", "inodes", NULL };
	static const char *const not_of_scratch[] = { "mode", "uid", "gid", "suid", "inodes", NULL };
	struct config_mount *mount = object;

	if (of_init(mount->target))
		return place_fail_at(place, "target", "%s is mounted by carrel-init itself", of_init(mount->target));
	const bool bind = mount->kind == MOUNT_BIND;
	if (!bind && mount->source)
		return place_fail_at(place, "source", "is for the type bind");
	if (!bind && mount->bytes == LIMIT_UNSET)
		return place_fail(place, "size_bytes is missing");
	if (bind && !mount->source)
		return place_fail(place, "source is missing");
	if (mount->kind == MOUNT_TMPFS)
		return 0;
	for (const char *const *name = bind ? not_of_bind : not_of_scratch; *name; name++)
		if (json_object_get(value, *name))
			return place_fail_at(place, *name, "is for the type tmpfs");
	if (mount->kind == MOUNT_SCRATCH && (mount->bytes < MIN_SCRATCH || mount->bytes % MIN_SCRATCH != 0))
		return place_fail_at(place, "size_bytes", "of scratch must be a multiple of %d", MIN_SCRATCH);
	if (bind && !json_object_get(value, "read_only"))
		mount->read_only = true;
	return 0;
}

/* clang-format off */
static const struct member mount_members[] = {
	{ "type", &type_enum, FIELD(struct config_mount, kind), .words = "tmpfs|bind|scratch",
	  .help = "a file system in memory, a directory or file of the host, or an empty file system on disk that goes with the session" },
	{ "source", &type_path, FIELD(struct config_mount, source), .fallback = "null", .nullable = true, .max = 4095,
	  .help = "bind: the host's path" },
	{ "target", &type_path, FIELD(struct config_mount, target), .max = member_size(struct plan_mount, target) - 1,
	  .help = "where in the session; made where it is missing" },
	{ "read_only", &type_bool, FIELD(struct config_mount, read_only), .fallback = "false",
	  .help = "a bind is read-only unless it says false here" },
	{ "noexec", &type_bool, FIELD(struct config_mount, noexec), .fallback = "false",
	  .help = "nothing there can be executed" },
	{ "suid", &type_bool, FIELD(struct config_mount, suid), .fallback = "false",
	  .help = "honour setuid bits and file capabilities there" },
	{ "mode", &type_mode, FIELD(struct config_mount, mode), .fallback = "\"0755\"",
	  .help = "tmpfs: of its root, as \"1777\"" },
	{ "uid", &type_integer, FIELD(struct config_mount, uid), .fallback = "0", .max = MAX_SESSION_ID,
	  .help = "tmpfs: owner of its root, in the session" },
	{ "gid", &type_integer, FIELD(struct config_mount, gid), .fallback = "0", .max = MAX_SESSION_ID,
	  .help = "tmpfs: group of its root, in the session" },
	{ "size_bytes", &type_integer, FIELD(struct config_mount, bytes), .fallback = "null", .nullable = true, .min = 4096, .max = INT64_MAX,
	  .help = "tmpfs: required, counts as the session's memory; scratch: required, a multiple of 16 MiB" },
	{ "inodes", &type_integer, FIELD(struct config_mount, inodes), .fallback = "null", .nullable = true, .min = 16, .max = UINT32_MAX,
	  .help = "tmpfs: files that may be made; null for the kernel's default" },
};
static const struct object_table mount_table = OBJECT_TABLE(mount_members, struct config_mount, finish_mount);

/* clang-format on */

/* ---- volumes ---- */

/* "profile-{owner_hash}": with something in place of each {...} it is a name. */
static int read_pattern(const struct place *place, const struct member *member, const json_t *value, void *field)
{
	static const char *const parts[] = { "{owner_hash}", "{session}" };
	char name[NAME_SIZE];
	size_t n = 0;

	if (json_is_null(value))
		return 0;
	const char *text = string_read(place, value, 1, member->max);
	if (!text)
		return -EINVAL;
	for (const char *p = text; *p && n < sizeof(name) - 1; n++) {
		size_t skip = 1;
		for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
			if (strncmp(p, parts[i], strlen(parts[i])) == 0)
				skip = strlen(parts[i]);
		name[n] = skip > 1 ? '0' : *p;
		p += skip;
	}
	name[n] = '\0';
	if (!name_is_valid(name))
		return place_fail(
			place, "\"%s\" is no name: a-z, 0-9, inner hyphens, {owner_hash} and {session}", text);
	return type_string.read(place, member, value, field);
}

static const struct member_type type_pattern = { "name", read_pattern, string_release };

static int finish_volume(const struct place *place, const json_t *value _unused_, void *object)
{
	struct config_volume *volume = object;

	if (volume->bytes == LIMIT_UNSET)
		volume->bytes = 0;
	if (of_init(volume->path))
		return place_fail_at(place, "path", "%s is mounted by carrel-init itself", of_init(volume->path));
	if (volume->bytes % MIN_SCRATCH != 0)
		return place_fail_at(place, "size_bytes", "must be a multiple of %d", MIN_SCRATCH);
	if (volume->use != VOLUME_ASKED && !volume->name)
		return place_fail_at(place, "use", "needs a name for the volume");
	return 0;
}

/* clang-format off */
static const struct member volume_members[] = {
	{ "path", &type_path, FIELD(struct config_volume, path), .max = member_size(struct plan_mount, target) - 1,
	  .help = "where in the session; made where it is missing" },
	{ "name", &type_pattern, FIELD(struct config_volume, name), .fallback = "null", .nullable = true, .max = NAME_SIZE - 1,
	  .help = "of the volume where a request gives none, as \"profile-{owner_hash}\" or \"data-{session}\"; null: a request must" },
	{ "use", &type_enum, FIELD(struct config_volume, use), .fallback = "\"asked\"", .words = "asked|ensured|always", .min = VOLUME_ASKED,
	  .help = "when there is a volume: when a request asks for one there; for a session.ensure that says nothing of volumes, too; always" },
	{ "persistent", &type_bool, FIELD(struct config_volume, persistent), .fallback = "true",
	  .help = "it stays when the session ends, unless the request says otherwise" },
	{ "chromium_profile", &type_bool, FIELD(struct config_volume, chromium_profile), .fallback = "false",
	  .help = "a Chromium's --user-data-dir: locks of one that was killed are removed, the session's host name is the volume's" },
	{ "size_bytes", &type_integer, FIELD(struct config_volume, bytes), .fallback = "null", .nullable = true, .min = MIN_SCRATCH, .max = MAX_VOLUME,
	  .help = "a file system of its own of that size, a multiple of 16 MiB, set aside on disk when it is made; null: a directory, which may fill the disk" },
	{ "mode", &type_mode, FIELD(struct config_volume, mode), .fallback = "\"0755\"",
	  .help = "of its root when it is made" },
	{ "uid", &type_integer, FIELD(struct config_volume, uid), .fallback = "0", .max = MAX_SESSION_ID,
	  .help = "owner of its root when it is made, in the session" },
	{ "gid", &type_integer, FIELD(struct config_volume, gid), .fallback = "0", .max = MAX_SESSION_ID,
	  .help = "group of its root when it is made, in the session" },
};
static const struct object_table volume_table = OBJECT_TABLE(volume_members, struct config_volume, finish_volume);
/* clang-format on */

/* ---- network and user: groups of members of the template ---- */

/* clang-format off */
static const struct member network_members[] = {
	{ "egress", &type_name, FIELD(struct template, egress), .fallback = "\"none\"",
	  .help = "what sessions may reach: none, internet (public addresses), or one of egress_policies" },
	{ "egress_allowed", &type_strings, FIELD(struct template, egress_allowed), .fallback = "[]", .max = 8,
	  .help = "what a request may ask for instead" },
	{ "loopback_ports", &type_ports, .fallback = "[]",
	  .help = "ports bound to 127.0.0.1 in the session that are reached at its address too" },
};
static const struct object_table network_table = OBJECT_TABLE(network_members, struct template, NULL);

static const struct member user_members[] = {
	{ "uid", &type_integer, FIELD(struct template, uid), .fallback = "0", .max = MAX_SESSION_ID,
	  .help = "in the session" },
	{ "gid", &type_integer, FIELD(struct template, gid), .fallback = "0", .max = MAX_SESSION_ID,
	  .help = "in the session" },
};
static const struct object_table user_table = OBJECT_TABLE(user_members, struct template, NULL);

/* ---- readiness ---- */

static int finish_http(const struct place *place, const json_t *value _unused_, void *object)
{
	const struct config_probe *probe = object;

	if ((probe->port == 0) == (probe->unix_path == NULL))
		return place_fail(place, "needs either port or unix");
	return 0;
}

static const struct member http_members[] = {
	{ "port", &type_integer, FIELD(struct config_probe, port), .fallback = "0", .max = UINT16_MAX,
	  .help = "on the session's 127.0.0.1" },
	{ "unix", &type_path, FIELD(struct config_probe, unix_path), .fallback = "null", .nullable = true, .max = INIT_PATH_SIZE - 1,
	  .help = "or the path of a unix socket in the session" },
	{ "path", &type_string, FIELD(struct config_probe, path), .fallback = "\"/\"", .min = 1, .max = 1024,
	  .help = "a GET of it must be answered with 200 to 399" },
};
static const struct object_table http_table = OBJECT_TABLE(http_members, struct config_probe, finish_http);

static const struct member tcp_members[] = {
	{ "port", &type_integer, FIELD(struct config_probe, port), .min = 1, .max = UINT16_MAX,
	  .help = "on the session's 127.0.0.1, must accept a connection" },
};
static const struct object_table tcp_table = OBJECT_TABLE(tcp_members, struct config_probe, NULL);

static const struct member exec_members[] = {
	{ "command", &type_strings, FIELD(struct config_probe, command), .min = 1, .max = SPEC_MAX_STRINGS,
	  .help = "must exit with 0" },
};
static const struct object_table exec_table = OBJECT_TABLE(exec_members, struct config_probe, NULL);
/* clang-format on */

static int finish_probe(const struct place *place, const json_t *value, void *object)
{
	static const char *const kinds[] = { [PROBE_HTTP] = "http", [PROBE_TCP] = "tcp", [PROBE_EXEC] = "exec" };
	struct config_probe *probe = object;

	for (enum probe_kind kind = PROBE_HTTP; kind <= PROBE_EXEC; kind++) {
		const json_t *item = json_object_get(value, kinds[kind]);
		if (!item || json_is_null(item))
			continue;
		if (probe->kind != PROBE_NONE)
			return place_fail_at(place, kinds[kind], "there is %s already", kinds[probe->kind]);
		probe->kind = kind;
	}
	if (probe->kind == PROBE_NONE)
		return place_fail(place, "needs one of http, tcp and exec");
	/* It becomes part of a request line: what would end it is refused. */
	for (const char *p = probe->path; p && *p; p++)
		if (probe->path[0] != '/' || (unsigned char)*p <= ' ' || *p == 0x7f)
			return place_fail_at(
				place, "http", "path must start with \"/\" and have no spaces or control characters");
	return 0;
}

/* clang-format off */
static const struct member probe_members[] = {
	{ "http", &type_group, .object = &http_table, .fallback = "null", .nullable = true, .help = "one of the three" },
	{ "tcp", &type_group, .object = &tcp_table, .fallback = "null", .nullable = true, .help = "one of the three" },
	{ "exec", &type_group, .object = &exec_table, .fallback = "null", .nullable = true, .help = "one of the three" },
	{ "interval_ms", &type_milliseconds, FIELD(struct config_probe, interval_ns), .fallback = "20", .min = 1, .max = 60000,
	  .help = "between two attempts" },
	{ "timeout_seconds", &type_seconds, FIELD(struct config_probe, timeout_ns), .fallback = "30", .min = 1, .max = 3600,
	  .help = "a session that is not ready by then has failed" },
	{ "initial_delay_ms", &type_milliseconds, FIELD(struct config_probe, initial_delay_ns), .fallback = "0", .max = 3600000,
	  .help = "before the first attempt" },
};
static const struct object_table probe_table = OBJECT_TABLE(probe_members, struct config_probe, finish_probe);

/* What it shares with a readiness probe is its first member: the groups and the last check are the same. */
static const struct member liveness_members[] = {
	{ "http", &type_group, .object = &http_table, .fallback = "null", .nullable = true, .help = "one of the three" },
	{ "tcp", &type_group, .object = &tcp_table, .fallback = "null", .nullable = true, .help = "one of the three" },
	{ "exec", &type_group, .object = &exec_table, .fallback = "null", .nullable = true, .help = "one of the three" },
	{ "initial_delay_seconds", &type_seconds, FIELD(struct config_liveness, initial_delay_ns), .fallback = "30", .max = 3600,
	  .help = "from ready to the first attempt" },
	{ "period_seconds", &type_seconds, FIELD(struct config_liveness, probe.interval_ns), .fallback = "30", .min = 1, .max = 3600,
	  .help = "from the end of an attempt to the next" },
	{ "timeout_seconds", &type_seconds, FIELD(struct config_liveness, probe.timeout_ns), .fallback = "5", .min = 1, .max = 600,
	  .help = "an attempt without an answer by then has failed" },
	{ "failure_threshold", &type_integer, FIELD(struct config_liveness, failure_threshold), .fallback = "3", .min = 1, .max = 100,
	  .help = "attempts that fail in a row make the session unhealthy" },
	{ "action", &type_enum, FIELD(struct config_liveness, restart), .fallback = "\"end\"", .words = "end|restart",
	  .help = "what becomes of it then; one that is restarted keeps id, owner, deadlines and volumes" },
	{ "max_restarts", &type_integer, FIELD(struct config_liveness, max_restarts), .fallback = "3", .min = 1, .max = 1000,
	  .help = "of one session; the next time it ends" },
};
static const struct object_table liveness_table = OBJECT_TABLE(liveness_members, struct config_liveness, finish_probe);
_Static_assert(offsetof(struct config_liveness, probe) == 0, "finish_probe() and the groups rely on it");
/* clang-format on */

/* ---- endpoints: {"cdp": {"port": 9222, "url": "http://{address}:{port}"}, "docker": {"path": "/run/docker.sock"}} ---- */

static int finish_endpoint(const struct place *place, const json_t *value _unused_, void *object)
{
	const struct config_endpoint *endpoint = object;

	static const char *const known[] = { "{address}", "{port}", "{owner_hash}", "{session}" };

	for (const char *p = strchr(endpoint->url, '{'); p; p = strchr(p + 1, '{')) {
		size_t i = 0;
		while (i < ARRAY_SIZE(known) && strncmp(p, known[i], strlen(known[i])) != 0)
			i++;
		if (i == ARRAY_SIZE(known))
			return place_fail_at(
				place, "url", "knows {address}, {port}, {owner_hash} and {session} only");
	}
	if (!endpoint->port == !endpoint->path)
		return place_fail(place, "needs either port or path");
	if (endpoint->path && !endpoint->has_unix)
		return place_fail_at(place, "unix", "is all there is of a path");
	return 0;
}

/* clang-format off */
static const struct member endpoint_members[] = {
	{ "port", &type_integer, FIELD(struct config_endpoint, port), .fallback = "0", .max = UINT16_MAX,
	  .help = "in the session" },
	{ "path", &type_path, FIELD(struct config_endpoint, path), .fallback = "null", .nullable = true, .max = 1023,
	  .help = "or of a socket in the session" },
	{ "unix", &type_bool, FIELD(struct config_endpoint, has_unix), .fallback = "true",
	  .help = "a socket of the host leads there" },
	{ "url", &type_string, FIELD(struct config_endpoint, url), .fallback = "\"tcp://{address}:{port}\"", .min = 1, .max = 1024,
	  .help = "what clients are given, with {address}, {port}, {owner_hash} and {session} filled in" },
};
static const struct object_table endpoint_table = OBJECT_TABLE(endpoint_members, struct config_endpoint, finish_endpoint);
/* clang-format on */

/* FIELD is the whole template. */
static int read_endpoints(
	const struct place *place, const struct member *member _unused_, const json_t *value, void *field)
{
	struct template *template = field;
	const char *name;
	json_t *item;

	if (!json_is_object(value))
		return place_fail_type(place, "an object", value);
	if (json_object_size(value) > MAX_ENDPOINTS)
		return place_fail(place, "has more than %d members", MAX_ENDPOINTS);
	template->endpoints = calloc(json_object_size(value) + 1, sizeof(*template->endpoints));
	if (!template->endpoints)
		return place_fail_memory(place);
	json_object_foreach ((json_t *)value, name, item) {
		const struct place at = { place->source, place, name, 0 };
		struct config_endpoint *endpoint = &template->endpoints[template->n_endpoints++];
		if (!name_is_valid(name))
			return place_fail(&at, "is no name: a-z, 0-9 and inner hyphens");
		endpoint->name = strdup(name);
		if (!endpoint->name)
			return place_fail_memory(&at);
		int r = members_read(&at, &endpoint_table, item, endpoint);
		if (r < 0)
			return r;
	}
	return 0;
}

static void release_endpoints(const struct member *member _unused_, void *field)
{
	struct template *template = field;

	for (size_t i = 0; i < template->n_endpoints; i++) {
		free(template->endpoints[i].name);
		members_release(&endpoint_table, &template->endpoints[i]);
	}
	free(template->endpoints);
	template->endpoints = NULL;
	template->n_endpoints = 0;
}

static const struct member_type type_endpoints = { "object of endpoints", read_endpoints, release_endpoints };

/* ---- stop ---- */

static int read_signal(
	const struct place *place, const struct member *member _unused_, const json_t *value, void *field)
{
	const char *name = string_read(place, value, 0, UINT64_MAX);

	if (!name)
		return -EINVAL;
	for (int signal = 1; signal < 32 && strncmp(name, "SIG", 3) == 0; signal++)
		if (streq(name + 3, sigabbrev_np(signal))) {
			*(int *)field = signal;
			return 0;
		}
	return place_fail(place, "\"%s\" is no signal; they are written like \"SIGTERM\"", name);
}

static const struct member_type type_signal = { "signal", read_signal, NULL };

static int finish_stop(const struct place *place, const json_t *value, void *object)
{
	struct template *template = object;

	template->stop_kind = template->cdp_pipe ? STOP_BY_CDP : STOP_BY_SIGNAL;
	if (template->cdp_pipe && json_object_get(value, "signal"))
		return place_fail_at(place, "signal", "is not sent where cdp is true");
	return 0;
}

/* clang-format off */
static const struct member stop_members[] = {
	{ "signal", &type_signal, FIELD(struct template, stop_signal), .fallback = "\"SIGTERM\"",
	  .help = "sent to the workload" },
	{ "cdp", &type_bool, FIELD(struct template, cdp_pipe), .fallback = "false",
	  .help = "the workload is a Chromium with --remote-debugging-pipe: tell it Browser.close instead" },
	{ "grace_seconds", &type_seconds, FIELD(struct template, grace_ns), .fallback = "10", .max = 3600,
	  .help = "then everything in the session is killed" },
};
static const struct object_table stop_table = OBJECT_TABLE(stop_members, struct template, finish_stop);

/* ---- the file ---- */

static const struct member template_members[] = {
	{ "kind", &type_name, FIELD(struct template, kind),
	  .help = "shown to clients; has no meaning of its own" },
	{ "description", &type_string, FIELD(struct template, description), .fallback = "\"\"", .max = 1024,
	  .help = "for people" },
	{ "image", &type_name, FIELD(struct template, image),
	  .help = "the root file system, by its name in the image store" },
	{ "command", &type_strings, FIELD(struct template, command), .fallback = "null", .nullable = true, .min = 1, .max = SPEC_MAX_STRINGS,
	  .help = "the workload's arguments, the program first; null: what the image says" },
	{ "env", &type_env, FIELD(struct template, env), .fallback = "{}", .max = MAX_ENV,
	  .help = "its whole environment, before what a request adds" },
	{ "user", &type_group, .object = &user_table, .fallback = "{}",
	  .help = "whom the workload runs as" },
	{ "workdir", &type_directory, FIELD(struct template, workdir), .fallback = "\"/\"", .max = member_size(struct spec_header, cwd) - 1,
	  .help = "where it starts" },
	{ "capabilities", &type_capabilities, FIELD(struct template, capabilities), .fallback = "[]",
	  .help = "the bounding set of all that runs in the session, as [\"NET_BIND_SERVICE\"]" },
	{ "no_new_privs", &type_bool, FIELD(struct template, no_new_privs), .fallback = "true",
	  .help = "setuid programs and file capabilities give nothing" },
	{ "seccomp", &type_word, FIELD(struct template, seccomp), .words = "minimal|browser|dind",
	  .help = "the built-in profile of system calls (carreld --list-seccomp)" },
	{ "proc", &type_enum, FIELD(struct template, mask_proc), .fallback = "\"masked\"", .words = "full|masked",
	  .help = "masked: cover what /proc says of the host; containers within the session need full" },
	{ "cgroup", &type_bool, FIELD(struct template, cgroup), .fallback = "false",
	  .help = "give the session a cgroup tree of its own at /sys/fs/cgroup" },
	{ "limits", &type_limits, FIELD(struct template, limits),
	  .help = "ceilings and defaults; memory_bytes, cpus, pids and root_bytes must be there" },
	{ "mounts", &type_objects, FIELD(struct template, mounts), COUNT(struct template, n_mounts), .object = &mount_table,
	  .fallback = "[]", .max = PLAN_MAX_MOUNTS - SUPER_MAX_VOLUMES,
	  .help = "made in this order" },
	{ "volumes", &type_objects, FIELD(struct template, volumes), COUNT(struct template, n_volumes), .object = &volume_table,
	  .fallback = "[]", .max = SUPER_MAX_VOLUMES,
	  .help = "where volumes may be mounted, after the mounts" },
	{ "rlimits", &type_rlimits, .fallback = "{\"core\": 0}",
	  .help = "setrlimit(2), as {\"nproc\": 512} or [soft, hard] or \"unlimited\"; nofile is limits.open_files" },
	{ "network", &type_group, .object = &network_table, .fallback = "{}",
	  .help = "what sessions reach, and how they are reached" },
	{ "readiness", &type_object, FIELD(struct template, readiness), .object = &probe_table, .fallback = "null", .nullable = true,
	  .help = "when a session is ready; null: once the workload has been executed" },
	{ "liveness", &type_object, FIELD(struct template, liveness), .object = &liveness_table, .fallback = "null", .nullable = true,
	  .help = "whether a session that is ready still does its work; null: nobody asks" },
	{ "endpoints", &type_endpoints, .fallback = "{}",
	  .help = "ports that clients are told about, by name: {\"port\", \"url\"}" },
	{ "stop", &type_group, .object = &stop_table, .fallback = "{}",
	  .help = "how a session is ended" },
	{ "ttl_seconds", &type_seconds, FIELD(struct template, ttl_ns), .fallback = "null", .nullable = true, .min = 1, .max = MAX_SECONDS,
	  .help = "a session's time from creation; null: no end" },
	{ "max_sessions", &type_integer, FIELD(struct template, max_sessions), .fallback = "0", .max = 16384,
	  .help = "sessions of this template at once; 0: as many as the host takes" },
	{ "max_ttl_seconds", &type_seconds, FIELD(struct template, max_ttl_ns), .fallback = "null", .nullable = true, .min = 1, .max = MAX_SECONDS,
	  .help = "no request makes it longer, from creation; null: no bound" },
	{ "idle_timeout_seconds", &type_seconds, FIELD(struct template, idle_ns), .fallback = "null", .nullable = true, .min = 1, .max = MAX_SECONDS,
	  .help = "a session's time since its last use; null: no end" },
	{ "activity", &type_words, FIELD(struct template, activity_words),
	  .fallback = "[\"exec\", \"stream\", \"terminal\", \"port\", \"file\"]", .words = ACTIVITY_WORDS, .max = ACTIVITY_COUNT,
	  .help = "what counts as use of a session, besides session.heartbeat; api is any call that names it" },
	{ "hostname", &type_name, FIELD(struct template, constant_hostname), .fallback = "null", .nullable = true,
	  .help = "of every session; null: the session's id" },
};
/* clang-format on */

/* The place of WORD in ACTIVITY_WORDS, which it is known to be in. */
static unsigned int activity_number(const char *word)
{
	const size_t n = strlen(word);
	unsigned int number = 0;

	for (const char *at = ACTIVITY_WORDS; strncmp(at, word, n) != 0 || (at[n] && at[n] != '|'); number++)
		at = strchr(at, '|') + 1;
	return number;
}

static int finish_template(const struct place *place, const json_t *value, void *object)
{
	struct template *template = object;

	for (char **word = template->activity_words; word && *word; word++)
		template->activity |= 1U << activity_number(*word);

	if (!json_object_get(value, "ttl_seconds"))
		template->ttl_ns = template->max_ttl_ns;
	if (template->ttl_ns > template->max_ttl_ns)
		return place_fail_at(place, "ttl_seconds", "is longer than max_ttl_seconds");
	return 0;
}

const struct object_table template_table = OBJECT_TABLE(template_members, struct template, finish_template);
