/* SPDX-License-Identifier: Apache-2.0 */
/* The host's side of the sessions' network: who may reach them, interfaces that go away, rules that somebody removed. */
#include <grp.h>
#include <syslog.h>

#include "config/ids.h"
#include "supervisor/supervisor.h"

static void allow_user(const char *name, struct netns_config *nc)
{
	uid_t uid;
	gid_t gid;

	if (ids_user(name, &uid, &gid) < 0)
		log_line(LOG_WARNING, "access: there is no user %s", name);
	else if (nc->n_uids == NETNS_MAX_IDS)
		log_line(LOG_WARNING, "access: only %d users reach sessions directly; %s does not", NETNS_MAX_IDS,
			name);
	else
		nc->uids[nc->n_uids++] = uid;
}

/* The packet filter sees a process's effective group alone, so that the members are allowed one by one, too. */
static void allow_group(const char *name, struct netns_config *nc)
{
	const struct group *group = name[0] == '#' ? NULL : getgrnam(name);
	gid_t gid;

	if (ids_group(name, &gid) < 0)
		log_line(LOG_WARNING, "access: there is no group %s", name);
	else if (nc->n_gids < NETNS_MAX_IDS)
		nc->gids[nc->n_gids++] = gid;
	for (char **member = group ? group->gr_mem : NULL; member && *member; member++)
		allow_user(*member, nc);
}

/* Local users who may call the API may also reach what the sessions offer. */
static void allow_callers(const struct config *config, struct netns_config *nc)
{
	for (size_t i = 0; i < config->n_access; i++) {
		const struct config_access *a = &config->access[i];
		if (a->user)
			allow_user(a->user, nc);
		if (a->group)
			allow_group(a->group, nc);
	}
}

static void on_link_gone(uint32_t slot, void *arg)
{
	slots_link_gone(arg, slot);
}

static void on_links(struct loop_io *io, uint32_t revents _unused_)
{
	struct supervisor *super = container_of(io, struct supervisor, links_io);

	if (netns_gone(super->netns, on_link_gone, super) == -ENOBUFS) {
		/* Announcements were lost: ask for each that is waited for. */
		for (struct session *s = super->sessions, *next; s; s = next) {
			next = s->next;
			session_advance(s);
		}
	}
	super_stop_when_empty(super);
}

int network_set_rates(const struct session *session, const struct limits *limits, struct err *err)
{
	const uint64_t sent = limits->value[LIMIT_NETWORK_TX], received = limits->value[LIMIT_NETWORK_RX];

	_Static_assert(LIMIT_UNSET == NETNS_SAME_RATE, "what is not said stays as it is");
	if (sent == LIMIT_UNSET && received == LIMIT_UNSET)
		return 0;
	return netns_set_rates(session->super->netns, session->entry.slot, sent, received, err);
}

/* Somebody flushed the host's rules, as a restart of nftables.service does: the walls go up again at once. */
static void on_policy(struct loop_io *io, uint32_t revents _unused_)
{
	struct supervisor *super = container_of(io, struct supervisor, policy_io);
	struct err err;

	if (super->ending || !netns_policy_lost(super->netns))
		return;
	int r = netns_load_policy(super->netns, &err);
	for (struct session *s = super->sessions; r == 0 && s; s = s->next)
		r = s->phase == PHASE_ENDING ? 0 : network_set_rates(s, &s->entry.limits, &err);
	if (r < 0)
		log_err(LOG_CRIT, "all", &err);
	else
		log_line(LOG_WARNING, "the nftables table was removed by somebody else and has been loaded again");
}

int network_open(struct supervisor *super, struct err *err)
{
	const struct config *config = &super->config;
	struct netns_config *nc = &super->netns_config;

	*nc = (struct netns_config){
		.lists = super->config.egress_lists,
		.n_lists = super->config.n_egress_lists,
		.id_base = config->id_base,
		.max_slots = config_slots(config),
		.has_ipv6 = config->has_ipv6,
		.allowed_uid = super->keeper.uid,
	};
	memcpy(nc->ipv4, config->ipv4, sizeof(nc->ipv4));
	memcpy(nc->ipv6, config->ipv6, sizeof(nc->ipv6));
	allow_callers(config, nc);
	int r = netns_open(nc, &super->netns, err);
	if (r == 0)
		r = netns_load_policy(super->netns, err);
	if (r < 0)
		return r;
	super->links_io = (struct loop_io){ .fd = netns_monitor_fd(super->netns), .fn = on_links };
	super->policy_io = (struct loop_io){ .fd = netns_policy_fd(super->netns), .fn = on_policy };
	r = loop_watch(&super->loop, &super->links_io, EPOLLIN);
	if (r == 0)
		r = loop_watch(&super->loop, &super->policy_io, EPOLLIN);
	return r < 0 ? err_set(err, r, "network", "event loop") : 0;
}
