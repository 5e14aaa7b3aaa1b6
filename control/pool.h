/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pools: sessions made ahead of need, frozen when they have come to rest, and given to whoever asks for one like them.
 *
 * A member is a session as any other, but of nobody: not listed, not counted, without deadlines and events. Claimed, it
 * gives way to a session of the claimer's own, with his id, owner and deadlines, which takes over what runs. To the
 * supervisor that goes on under the name that it was made with (record.host_id); so no root code takes part in a claim.
 *
 * A member can stand for a request that asks for nothing which had to be settled before the workload began: no command,
 * environment, secret, limit, volume or policy of its own. Its host name stays the member's.
 */
#pragma once

#include "control/call.h"
#include "control/list.h"
#include "wire/loop.h"

struct lifecycle;
struct session;

struct pool {
	const struct template *template;
	uint32_t size; /* how many there are to be */
	struct list members; /* session->of_pool */
	uint32_t n_failed; /* in a row: sets the delay before the next try */
	uint64_t try_at_ns; /* CLOCK_BOOTTIME; 0: at once */
	uint64_t claims, misses; /* requests that found one, and that could have but found none */
};

/* Of a member that is ready, until it is frozen. */
struct settling {
	struct loop_timer timer;
	uint64_t usage_usec; /* the CPU time at the last look */
	uint64_t end_ns; /* CLOCK_BOOTTIME: when it is frozen however busy it is */
};

struct pools {
	struct pool *each; /* one for each template */
	size_t n;
	struct loop_timer refill;
};

/* Before the registry is read. 0 or -ENOMEM. */
int pools_init(struct lifecycle *lifecycle);
void pools_free(struct lifecycle *lifecycle);

/* A size that pool.set has changed: fn of registry_load_pools(), ARG is the lifecycle. */
void pools_load(void *arg, const char *template, uint32_t size);

/* Fills up and trims, soon. */
void pools_adjust(struct lifecycle *lifecycle);

/* SESSION is a member from its beginning; a session that is none is passed over. */
void pool_join(struct session *session);
/* A member came to another state. */
void pool_entered(struct session *session);

/* The member to be claimed by a request for TEMPLATE; NULL: there is none that is ready. */
struct session *pool_take(struct lifecycle *lifecycle, const struct template *template);

/*
 * SESSION, just made from its claimer's record, takes over from MEMBER, which is forgotten; what runs is thawed once
 * that is written.
 */
void pool_claim(struct session *session, struct session *member);

/* The claim is in the registry; or, with the negative errno ERROR, cannot be put there. */
void pool_launch(struct session *session, int error);
