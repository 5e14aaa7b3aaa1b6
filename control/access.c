/* SPDX-License-Identifier: Apache-2.0 */
#include "control/access.h"

#include <grp.h>
#include <pwd.h>
#include <stdio.h>

struct access_rule {
	bool resolved, by_group;
	uint32_t id;
	enum role role;
	const char *owner_prefix;
};

struct access {
	size_t n;
	struct access_rule rules[];
};

/* "#1000". 0 or -EINVAL. */
static int parse_id(const char *text, uint32_t *ret)
{
	uint64_t id = 0;

	if (text[0] != '#' || !text[1])
		return -EINVAL;
	for (const char *p = text + 1; *p; p++) {
		if (*p < '0' || *p > '9')
			return -EINVAL;
		id = id * 10 + (uint64_t)(*p - '0');
		/* The highest number is no id: the kernel uses it for "none". */
		if (id >= UINT32_MAX)
			return -EINVAL;
	}
	*ret = (uint32_t)id;
	return 0;
}

static bool look_up(const struct config_access *entry, struct access_rule *rule)
{
	const char *name = entry->user ? entry->user : entry->group;

	rule->by_group = !entry->user;
	if (name[0] == '#')
		return parse_id(name, &rule->id) == 0;
	if (rule->by_group) {
		const struct group *group = getgrnam(name);
		if (group)
			rule->id = group->gr_gid;
		return group;
	}
	const struct passwd *user = getpwnam(name);
	if (user)
		rule->id = user->pw_uid;
	return user;
}

int access_resolve(const struct config *config, struct access **ret, char *unknown, size_t unknown_size)
{
	struct access *access = calloc(1, sizeof(*access) + config->n_access * sizeof(access->rules[0]));

	if (!access)
		return -ENOMEM;
	unknown[0] = '\0';
	for (size_t i = 0; i < config->n_access; i++) {
		const struct config_access *entry = &config->access[i];
		struct access_rule *rule = &access->rules[access->n++];
		rule->role = entry->role;
		rule->owner_prefix = entry->role == ROLE_CLIENT && entry->owner_prefix ? entry->owner_prefix : "";
		rule->resolved = look_up(entry, rule);
		if (!rule->resolved) {
			size_t n = strlen(unknown);
			snprintf(unknown + n, unknown_size - n, "%s%s %s", n ? ", " : "",
				entry->user ? "user" : "group", entry->user ? entry->user : entry->group);
		}
	}
	*ret = access;
	return 0;
}

void access_free(struct access *access)
{
	free(access);
}

static bool is_member(uint32_t id, gid_t gid, const gid_t *groups, size_t n_groups)
{
	if (id == gid)
		return true;
	for (size_t i = 0; i < n_groups; i++)
		if (id == groups[i])
			return true;
	return false;
}

void access_match(
	const struct access *access, uid_t uid, gid_t gid, const gid_t *groups, size_t n_groups, struct caller *ret)
{
	*ret = (struct caller){ .uid = uid, .gid = gid, .role = ROLE_NONE, .owner_prefix = "" };
	for (size_t i = 0; i < access->n; i++) {
		const struct access_rule *rule = &access->rules[i];
		if (!rule->resolved ||
			!(rule->by_group ? is_member(rule->id, gid, groups, n_groups) : rule->id == uid))
			continue;
		ret->role = rule->role;
		ret->owner_prefix = rule->owner_prefix;
		return;
	}
}

void access_hint(const struct config *config, const char *config_directory, uid_t uid, char *buf, size_t size)
{
	char groups[256] = "";

	for (size_t i = 0; i < config->n_access; i++) {
		size_t n = strlen(groups);
		if (config->access[i].group)
			snprintf(groups + n, sizeof(groups) - n, "%s%s", n ? ", " : "", config->access[i].group);
	}
	snprintf(buf, size,
		"uid %u may not use carrel: %s%s%sgive it an entry under \"access\" in %s/carrel.json and restart "
		"carrel",
		uid, groups[0] ? "make it a member of a group that may (" : "", groups,
		groups[0] ? ") and log in again, or " : "", config_directory);
}
