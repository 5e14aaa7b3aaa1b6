/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slots: one number from which a session's host ids, addresses and interface name follow. Networks are made ahead of
 * need, one at a time when nothing else is being done, so that the kernel's routing lock is off the path of a
 * creation; they are kept for each distinct network that templates ask for: redirected ports, egress policy.
 */
#include <syslog.h>

#include "supervisor/supervisor.h"

enum slot_use {
	SLOT_FREE,
	SLOT_TAKEN, /* by a session or a spare */
	SLOT_LEAVING, /* a spare was given up; its interface is still there */
};

struct spare {
	struct spare *next;
	const struct template *like; /* the first template with such a network */
	struct netns_slot net;
};

struct slots {
	uint32_t n; /* numbers 1..n may be in use */
	uint32_t n_new; /* 1..n_new are given out: fewer after the configured ceiling was lowered */
	uint32_t last; /* the one given out last */
	uint8_t *use;
	struct spare *spares;
};

#define REFILL_DELAY_NS (10 * NS_PER_MS)

static bool same_network(const struct template *a, const struct template *b)
{
	return streq(a->egress, b->egress) && a->n_loopback_ports == b->n_loopback_ports &&
	       memcmp(a->loopback_ports, b->loopback_ports, a->n_loopback_ports * sizeof(a->loopback_ports[0])) == 0;
}

/* The template that stands for all with the same network. */
static const struct template *representative(const struct supervisor *super, const struct template *template)
{
	for (size_t i = 0; i < super->config.n_templates; i++)
		if (same_network(&super->config.templates[i], template))
			return &super->config.templates[i];
	return template;
}

static uint32_t count_spares(const struct slots *slots, const struct template *like)
{
	uint32_t n = 0;

	for (const struct spare *s = slots->spares; s; s = s->next)
		n += s->like == like;
	return n;
}

/* The next free number after the last: a number rests as long as possible before it is used again. */
static uint32_t next_number(struct supervisor *super)
{
	struct slots *slots = super->slots;

	for (uint32_t i = 0; i < slots->n_new; i++) {
		uint32_t slot = (slots->last + i) % slots->n_new + 1;
		/* An interface that a former supervisor's spare left is gone in a moment; until then another number. */
		if (slots->use[slot] != SLOT_FREE || netns_slot_exists(super->netns, slot) != 0)
			continue;
		slots->last = slot;
		slots->use[slot] = SLOT_TAKEN;
		return slot;
	}
	return 0;
}

int slots_make_network(const struct supervisor *super, const struct template *template, uint32_t slot,
	struct netns_slot *ret, struct err *err)
{
	enum netns_policy policy = NETNS_SPARE;

	netns_policy_by_name(&super->netns_config, template->egress, &policy);
	return netns_make(super->netns, slot, policy, template->loopback_ports, template->n_loopback_ports, ret, err);
}

static void on_refill(struct loop_timer *timer)
{
	struct supervisor *super = container_of(timer, struct supervisor, refill_timer);

	if (super->ending)
		return;
	/* Making one takes longer than init's set-up, whose report would have to wait. */
	if (super->n_creating > 0) {
		slots_refill_later(super);
		return;
	}
	for (size_t i = 0; i < super->config.n_templates; i++) {
		const struct template *like = representative(super, &super->config.templates[i]);
		if (count_spares(super->slots, like) >= super->config.spare_networks)
			continue;
		struct spare *spare = calloc(1, sizeof(*spare));
		uint32_t slot = spare ? next_number(super) : 0;
		struct err err;
		if (slot == 0 || slots_make_network(super, like, slot, &spare->net, &err) < 0) {
			/* No harm: a creation makes its own, and says what is wrong if it cannot. */
			if (slot)
				super->slots->use[slot] = SLOT_FREE;
			free(spare);
			return;
		}
		spare->like = like;
		spare->next = super->slots->spares;
		super->slots->spares = spare;
		slots_refill_later(super);
		return;
	}
}

int slots_open(struct supervisor *super)
{
	struct slots *slots = calloc(1, sizeof(*slots));

	if (!slots)
		return -ENOMEM;
	slots->n = super->ledger.n_slots;
	slots->n_new = config_slots(&super->config);
	slots->use = calloc((size_t)slots->n + 1, sizeof(*slots->use));
	super->by_slot = calloc((size_t)slots->n + 1, sizeof(struct session *));
	super->slots = slots;
	super->refill_timer.fn = on_refill;
	return slots->use && super->by_slot ? 0 : -ENOMEM;
}

void slots_close(struct supervisor *super)
{
	struct slots *slots = super->slots;

	if (!slots)
		return;
	loop_disarm(&super->loop, &super->refill_timer);
	while (slots->spares) {
		struct spare *spare = slots->spares;
		slots->spares = spare->next;
		slots->use[spare->net.slot] = SLOT_LEAVING;
		netns_slot_release(&spare->net);
		free(spare);
	}
}

bool slots_are_leaving(const struct supervisor *super)
{
	for (uint32_t slot = 1; slot <= super->slots->n; slot++)
		if (super->slots->use[slot] == SLOT_LEAVING && netns_slot_exists(super->netns, slot) > 0)
			return true;
	return false;
}

int slots_take(struct supervisor *super, const struct template *template, struct netns_slot *ret)
{
	const struct template *like = representative(super, template);

	slots_refill_later(super);
	for (struct spare **link = &super->slots->spares; *link; link = &(*link)->next) {
		struct spare *spare = *link;
		if (spare->like != like)
			continue;
		*ret = spare->net;
		*link = spare->next;
		free(spare);
		return 0;
	}
	uint32_t slot = next_number(super);
	if (slot == 0)
		return -EBUSY;
	*ret = (struct netns_slot){ .slot = slot, .user_fd = -1, .net_fd = -1 };
	return 0;
}

void slots_claim(struct supervisor *super, uint32_t slot)
{
	super->slots->use[slot] = SLOT_TAKEN;
}

void slots_give_back(struct supervisor *super, uint32_t slot)
{
	super->slots->use[slot] = SLOT_FREE;
	slots_refill_later(super);
}

void slots_link_gone(struct supervisor *super, uint32_t slot)
{
	if (slot > super->slots->n)
		return;
	if (super->slots->use[slot] == SLOT_LEAVING)
		super->slots->use[slot] = SLOT_FREE;
	if (super->by_slot[slot])
		session_advance(super->by_slot[slot]);
}

void slots_refill_later(struct supervisor *super)
{
	if (!super->ending && super->config.spare_networks > 0)
		loop_arm(&super->loop, &super->refill_timer, boottime_ns() + REFILL_DELAY_NS);
}
