/* SPDX-License-Identifier: Apache-2.0 */
/* Members that speak of what a session may use: limits, resource limits, capabilities. */
#include <linux/capability.h>
#include <sys/resource.h>

#include "config/members.h"
#include "wire/plan.h"

/* ---- limits: an object with the names of limit_table ---- */

static int read_thousandths(
	const struct place *place, const struct limit_row *row, const json_t *value, uint64_t *ret)
{
	if (!json_is_number(value))
		return place_fail_type(place, "a number", value);
	const double given = json_number_value(value), thousandths = given * 1000 + 0.5;
	if (thousandths < (double)row->min)
		return place_fail(place, "%g is below %g", given, (double)row->min / 1000);
	if (thousandths > (double)row->max)
		return place_fail(place, "%g is above %g", given, (double)row->max / 1000);
	*ret = (uint64_t)thousandths;
	return 0;
}

static int read_limits(
	const struct place *place, const struct member *member _unused_, const json_t *value, void *field)
{
	/* Without these a session could take the whole host. */
	static const enum limit needed[] = { LIMIT_MEMORY, LIMIT_CPUS, LIMIT_PIDS, LIMIT_ROOT_BYTES };
	struct limits *limits = field;
	const char *name;
	json_t *item;

	limits_clear(limits);
	if (!json_is_object(value))
		return place_fail_type(place, "an object", value);
	json_object_foreach ((json_t *)value, name, item) {
		const struct place at = { place->source, place, name, 0 };
		size_t i = 0;
		while (i < LIMIT_COUNT && !streq(limit_table[i].name, name))
			i++;
		if (i == LIMIT_COUNT)
			return place_fail(&at, "unknown limit");
		const struct limit_row *row = &limit_table[i];
		int r = row->fractional ? read_thousandths(&at, row, item, &limits->value[i])
					: integer_read(&at, item, row->min, row->max, &limits->value[i]);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < ARRAY_SIZE(needed); i++)
		if (limits->value[needed[i]] == LIMIT_UNSET)
			return place_fail(place, "%s is missing", limit_table[needed[i]].name);
	return 0;
}

const struct member_type type_limits = { "limits", read_limits, NULL };

/* ---- rlimits: {"core": 0, "nproc": [512, 1024], "memlock": "unlimited"} ---- */

/* clang-format off */
static const struct {
	const char *name;
	int resource;
} rlimit_names[] = {
	{ "as",         RLIMIT_AS },
	{ "core",       RLIMIT_CORE },
	{ "cpu",        RLIMIT_CPU },
	{ "data",       RLIMIT_DATA },
	{ "fsize",      RLIMIT_FSIZE },
	{ "locks",      RLIMIT_LOCKS },
	{ "memlock",    RLIMIT_MEMLOCK },
	{ "msgqueue",   RLIMIT_MSGQUEUE },
	{ "nice",       RLIMIT_NICE },
	{ "nproc",      RLIMIT_NPROC },
	{ "rtprio",     RLIMIT_RTPRIO },
	{ "rttime",     RLIMIT_RTTIME },
	{ "sigpending", RLIMIT_SIGPENDING },
	{ "stack",      RLIMIT_STACK },
};
/* clang-format on */

/* One entry of the plan is kept for limits.open_files. */
_Static_assert(ARRAY_SIZE(rlimit_names) <= PLAN_MAX_RLIMITS - 1, "every resource fits the plan");

int rlimit_by_name(const char *name, int *ret)
{
	for (size_t i = 0; i < ARRAY_SIZE(rlimit_names); i++)
		if (streq(rlimit_names[i].name, name)) {
			*ret = rlimit_names[i].resource;
			return 0;
		}
	return -ENOENT;
}

static int read_rlimit_value(const struct place *place, const json_t *value, uint64_t *ret)
{
	if (json_is_string(value) && streq(json_string_value(value), "unlimited")) {
		*ret = RLIM_INFINITY;
		return 0;
	}
	if (!json_is_integer(value))
		return place_fail_type(place, "an integer or \"unlimited\"", value);
	return integer_read(place, value, 0, INT64_MAX, ret);
}

static int read_rlimit(const struct place *place, const json_t *value, struct config_rlimit *ret)
{
	int r;

	if (rlimit_by_name(place->name, &ret->resource) < 0)
		return place_fail(place,
			streq(place->name, "nofile") ? "is set by limits.open_files" : "unknown resource limit");
	if (!json_is_array(value)) {
		r = read_rlimit_value(place, value, &ret->soft);
		ret->hard = ret->soft;
		return r;
	}
	if (json_array_size(value) != 2)
		return place_fail(place, "must be one number, or [soft, hard]");
	r = read_rlimit_value(&(struct place){ place->source, place, NULL, 0 }, json_array_get(value, 0), &ret->soft);
	if (r == 0)
		r = read_rlimit_value(
			&(struct place){ place->source, place, NULL, 1 }, json_array_get(value, 1), &ret->hard);
	if (r == 0 && ret->soft > ret->hard)
		r = place_fail(place, "the soft limit is above the hard one");
	return r;
}

/* FIELD is the whole template: the array and its count stand apart. */
static int read_rlimits(
	const struct place *place, const struct member *member _unused_, const json_t *value, void *field)
{
	struct template *template = field;
	const char *name;
	json_t *item;

	if (!json_is_object(value))
		return place_fail_type(place, "an object", value);
	template->rlimits = calloc(json_object_size(value) + 1, sizeof(*template->rlimits));
	if (!template->rlimits)
		return place_fail_memory(place);
	json_object_foreach ((json_t *)value, name, item) {
		const struct place at = { place->source, place, name, 0 };
		int r = read_rlimit(&at, item, &template->rlimits[template->n_rlimits]);
		if (r < 0)
			return r;
		template->n_rlimits++;
	}
	return 0;
}

static void release_rlimits(const struct member *member _unused_, void *field)
{
	struct template *template = field;

	free(template->rlimits);
	template->rlimits = NULL;
	template->n_rlimits = 0;
}

const struct member_type type_rlimits = { "resource limits", read_rlimits, release_rlimits };

/* ---- capabilities ---- */

/* clang-format off */
static const char *const capability_names[] = {
	[CAP_CHOWN] = "CHOWN",
	[CAP_DAC_OVERRIDE] = "DAC_OVERRIDE",
	[CAP_DAC_READ_SEARCH] = "DAC_READ_SEARCH",
	[CAP_FOWNER] = "FOWNER",
	[CAP_FSETID] = "FSETID",
	[CAP_KILL] = "KILL",
	[CAP_SETGID] = "SETGID",
	[CAP_SETUID] = "SETUID",
	[CAP_SETPCAP] = "SETPCAP",
	[CAP_LINUX_IMMUTABLE] = "LINUX_IMMUTABLE",
	[CAP_NET_BIND_SERVICE] = "NET_BIND_SERVICE",
	[CAP_NET_BROADCAST] = "NET_BROADCAST",
	[CAP_NET_ADMIN] = "NET_ADMIN",
	[CAP_NET_RAW] = "NET_RAW",
	[CAP_IPC_LOCK] = "IPC_LOCK",
	[CAP_IPC_OWNER] = "IPC_OWNER",
	[CAP_SYS_MODULE] = "SYS_MODULE",
	[CAP_SYS_RAWIO] = "SYS_RAWIO",
	[CAP_SYS_CHROOT] = "SYS_CHROOT",
	[CAP_SYS_PTRACE] = "SYS_PTRACE",
	[CAP_SYS_PACCT] = "SYS_PACCT",
	[CAP_SYS_ADMIN] = "SYS_ADMIN",
	[CAP_SYS_BOOT] = "SYS_BOOT",
	[CAP_SYS_NICE] = "SYS_NICE",
	[CAP_SYS_RESOURCE] = "SYS_RESOURCE",
	[CAP_SYS_TIME] = "SYS_TIME",
	[CAP_SYS_TTY_CONFIG] = "SYS_TTY_CONFIG",
	[CAP_MKNOD] = "MKNOD",
	[CAP_LEASE] = "LEASE",
	[CAP_AUDIT_WRITE] = "AUDIT_WRITE",
	[CAP_AUDIT_CONTROL] = "AUDIT_CONTROL",
	[CAP_SETFCAP] = "SETFCAP",
	[CAP_MAC_OVERRIDE] = "MAC_OVERRIDE",
	[CAP_MAC_ADMIN] = "MAC_ADMIN",
	[CAP_SYSLOG] = "SYSLOG",
	[CAP_WAKE_ALARM] = "WAKE_ALARM",
	[CAP_BLOCK_SUSPEND] = "BLOCK_SUSPEND",
	[CAP_AUDIT_READ] = "AUDIT_READ",
	[CAP_PERFMON] = "PERFMON",
	[CAP_BPF] = "BPF",
	[CAP_CHECKPOINT_RESTORE] = "CHECKPOINT_RESTORE",
};
/* clang-format on */

_Static_assert(
	ARRAY_SIZE(capability_names) == CAP_LAST_CAP + 1, "a name for every capability of the kernel's header");

int capability_by_name(const char *name, unsigned *ret)
{
	for (unsigned i = 0; i < ARRAY_SIZE(capability_names); i++)
		if (streq(capability_names[i], name)) {
			*ret = i;
			return 0;
		}
	return -ENOENT;
}

static int read_capabilities(
	const struct place *place, const struct member *member _unused_, const json_t *value, void *field)
{
	uint64_t *set = field;
	size_t i;
	json_t *item;

	if (!json_is_array(value))
		return place_fail_type(place, "an array", value);
	json_array_foreach (value, i, item) {
		const struct place at = { place->source, place, NULL, i };
		const char *name = string_read(&at, item, 0, UINT64_MAX);
		unsigned capability;
		if (!name)
			return -EINVAL;
		if (capability_by_name(name, &capability) < 0)
			return place_fail(&at, "\"%s\" is no capability; they are written like \"NET_ADMIN\"", name);
		*set |= UINT64_C(1) << capability;
	}
	return 0;
}

const struct member_type type_capabilities = { "array of capabilities", read_capabilities, NULL };
