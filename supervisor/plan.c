/* SPDX-License-Identifier: Apache-2.0 */
/* What carrel-init is told: all of it from root-owned configuration and the supervisor's own numbering. */
#include <sys/resource.h>

#include "supervisor/supervisor.h"

const struct seccomp_filter *plan_filter(const struct supervisor *super, const char *profile)
{
	for (size_t i = 0; i < super->n_filters; i++)
		if (streq(super->filters[i].name, profile))
			return &super->filters[i];
	return NULL;
}

static int fill_mounts(const struct template *template, struct plan *plan)
{
	if (template->n_mounts + SUPER_MAX_VOLUMES > PLAN_MAX_MOUNTS)
		return -E2BIG;
	for (size_t i = 0; i < template->n_mounts; i++) {
		const struct config_mount *from = &template->mounts[i];
		struct plan_mount *to = &plan->mounts[plan->n_mounts++];
		*to = (struct plan_mount){
			.kind = from->kind == MOUNT_TMPFS ? PLAN_TMPFS : PLAN_BIND,
			.flags = (from->read_only ? PLAN_MOUNT_RDONLY : 0U) |
				 (from->noexec ? PLAN_MOUNT_NOEXEC : 0U) | (from->suid ? PLAN_MOUNT_SUID : 0U),
			.mode = from->mode,
			.uid = from->uid,
			.gid = from->gid,
			.bytes = from->bytes,
			.inodes = from->inodes,
		};
		int r = copy_string(to->target, sizeof(to->target), from->target);
		if (r < 0)
			return r;
	}
	return 0;
}

static int fill_volumes(const struct session *session, struct plan *plan)
{
	for (size_t i = 0; i < SUPER_MAX_VOLUMES; i++) {
		if (!session->entry.volumes[i][0])
			continue;
		const struct config_volume *volume = &session->template->volumes[i];
		struct plan_mount *to = &plan->mounts[plan->n_mounts++];
		*to = (struct plan_mount){
			.kind = PLAN_BIND,
			.flags = volume->chromium_profile ? PLAN_MOUNT_CHROMIUM : 0U,
		};
		int r = copy_string(to->target, sizeof(to->target), volume->path);
		if (r < 0)
			return r;
	}
	return 0;
}

static int fill_rlimits(const struct template *template, const struct limits *limits, struct plan *plan)
{
	if (template->n_rlimits + 1 > PLAN_MAX_RLIMITS)
		return -E2BIG;
	for (size_t i = 0; i < template->n_rlimits; i++)
		plan->rlimits[plan->n_rlimits++] = (struct plan_rlimit){
			.resource = (uint32_t) template->rlimits[i].resource,
			.soft = template->rlimits[i].soft,
			.hard = template->rlimits[i].hard,
		};
	if (limits->value[LIMIT_OPEN_FILES] != LIMIT_UNSET)
		plan->rlimits[plan->n_rlimits++] = (struct plan_rlimit){
			.resource = RLIMIT_NOFILE,
			.soft = limits->value[LIMIT_OPEN_FILES],
			.hard = limits->value[LIMIT_OPEN_FILES],
		};
	return 0;
}

void plan_addresses(const struct session *session, uint8_t ipv4[4], uint8_t ipv6[16])
{
	const struct netns_config *config = &session->super->netns_config;

	netns_ipv4(config, session->entry.slot, false, ipv4);
	if (config->has_ipv6)
		netns_ipv6(config, session->entry.slot, false, ipv6);
}

static void fill_network(const struct session *session, struct plan *plan)
{
	const struct config *config = &session->super->config;

	plan->flags |= PLAN_HAS_IPV4 | (config->has_ipv6 ? PLAN_HAS_IPV6 : 0U);
	plan_addresses(session, plan->ipv4, plan->ipv6);
	for (size_t i = 0; i < config->n_nameservers && i < PLAN_MAX_NAMESERVERS; i++) {
		plan->nameserver_family[i] = config->nameserver_family[i];
		memcpy(plan->nameservers[i], config->nameservers[i], sizeof(plan->nameservers[i]));
		plan->n_nameservers++;
	}
}

int plan_fill(const struct session *session, struct plan *ret, struct err *err)
{
	const struct template *template = session->template;
	const struct making *making = session->making;
	const struct seccomp_filter *filter = plan_filter(session->super, template->seccomp);
	struct plan plan;
	int r;

	msg_begin(&plan, PLAN_GO, 0);
	plan.flags = (template->no_new_privs ? PLAN_NO_NEW_PRIVS : 0U) | (template->mask_proc ? PLAN_MASK_PROC : 0U) |
		     (template->cgroup ? PLAN_CGROUP : 0U);
	plan.capabilities = template->capabilities;
	plan.limits = session->entry.limits;
	plan.n_layers = (uint32_t)making->n_layers;
	plan.n_seccomp = filter ? filter->n_instructions : 0;
	r = copy_string(plan.hostname, sizeof(plan.hostname), making->hostname);
	if (r == 0)
		r = fill_mounts(template, &plan);
	if (r == 0)
		r = fill_volumes(session, &plan);
	if (r == 0)
		r = fill_rlimits(template, &session->entry.limits, &plan);
	if (r < 0)
		return err_set(err, r, "init", "plan of template %s", template->name);
	fill_network(session, &plan);
	*ret = plan;
	return 0;
}
