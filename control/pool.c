/* SPDX-License-Identifier: Apache-2.0 */
#include "control/pool.h"

#include "control/command.h"
#include "control/json.h"
#include "control/lifecycle.h"
#include "control/session_create.h"

#define FIRST_DELAY_NS NS_PER_SEC /* after one that failed; doubles up to a minute */
#define CLAIMED_DELAY_NS (200 * NS_PER_MS) /* after a claim: whoever claimed has the processors for himself */
/*
 * A program is at work for a while after it is ready, and would go on with that in the claimer's time. So it is frozen
 * once it used less than CALM_USEC of CPU time in CALM_LOOK_NS; after CALM_MAX_NS in any case.
 */
#define CALM_LOOK_NS (200 * NS_PER_MS)
#define CALM_MAX_NS (10 * NS_PER_SEC)
enum { CALM_USEC = 20000 };
enum { MAX_DOUBLINGS = 6, HEADROOM = 2 /* sessions of max_sessions that pools leave free */ };

/* ---- pools ---- */

static struct pool *pool_of(struct lifecycle *lifecycle, const struct template *template)
{
	for (size_t i = 0; i < lifecycle->pools.n; i++)
		if (lifecycle->pools.each[i].template == template)
			return &lifecycle->pools.each[i];
	return NULL;
}

static size_t count(const struct list *list)
{
	size_t n = 0;

	for (const struct list *l = list->next; l != list; l = l->next)
		n++;
	return n;
}

/* Frozen, and nothing about it is under way. */
static bool is_ready(const struct session *member)
{
	return member->record.state == SESSION_PAUSED && member->frozen;
}

static size_t count_ready(const struct pool *pool)
{
	size_t n = 0;

	for (const struct list *l = pool->members.next; l != &pool->members; l = l->next)
		n += is_ready(container_of(l, struct session, of_pool));
	return n;
}

static size_t count_all(const struct pools *pools)
{
	size_t n = 0;

	for (size_t i = 0; i < pools->n; i++)
		n += count(&pools->each[i].members);
	return n;
}

static void on_refill(struct loop_timer *timer);

int pools_init(struct lifecycle *lifecycle)
{
	const struct config *config = lifecycle_config(lifecycle);
	struct pools *pools = &lifecycle->pools;

	pools->refill.fn = on_refill;
	pools->each = calloc(config->n_templates + 1, sizeof(*pools->each));
	if (!pools->each)
		return -ENOMEM;
	pools->n = config->n_templates;
	for (size_t i = 0; i < pools->n; i++) {
		pools->each[i].template = &config->templates[i];
		list_init(&pools->each[i].members);
	}
	for (size_t i = 0; i < config->n_pools; i++)
		pools_load(lifecycle, config->pools[i].template, config->pools[i].size);
	return 0;
}

void pools_free(struct lifecycle *lifecycle)
{
	loop_disarm(lifecycle_loop(lifecycle), &lifecycle->pools.refill);
	free(lifecycle->pools.each);
}

void pools_load(void *arg, const char *template, uint32_t size)
{
	struct lifecycle *lifecycle = arg;
	struct pool *pool = pool_of(lifecycle, config_template(lifecycle_config(lifecycle), template));

	if (pool)
		pool->size = size;
}

/* ---- members ---- */

static void on_look(struct loop_timer *timer);

void pool_join(struct session *session)
{
	struct pool *pool = session->record.pooled ? pool_of(session->lifecycle, session->template) : NULL;

	session->discard = session->discard || session->record.pooled;
	session->settling.timer.fn = on_look;
	if (pool)
		list_append(&pool->members, &session->of_pool);
}

static int fill_record(struct lifecycle *lifecycle, const struct template *template, struct record *record)
{
	const char *hostname = template->constant_hostname;
	struct limits limits;
	enum limit bad;

	record_init(record);
	limits_clear(&limits);
	int r = limits_merge(&template->limits, &limits, &limits, &bad);
	record->pooled = 1;
	record->number = ++lifecycle->last_number;
	record->uid = UINT32_MAX;
	record->created_at_ns = record->last_activity_at_ns = realtime_ns();
	record->created_boot_ns = record->last_activity_boot_ns = boottime_ns();
	record->limits = session_limits_json(&limits, 0);
	record->kind = strdup(template->kind ? template->kind : "");
	record->owner = strdup("");
	if (r == 0)
		r = record->kind && record->owner && record->limits ? session_make_id("pool-", record->id) : -ENOMEM;
	memcpy(record->host_id, record->id, sizeof(record->host_id));
	if (r == 0)
		r = copy_string(record->template, sizeof(record->template), template->name);
	if (r == 0)
		r = copy_string(
			record->hostname, sizeof(record->hostname), hostname && hostname[0] ? hostname : record->id);
	if (r == 0)
		r = copy_string(record->boot_id, sizeof(record->boot_id), lifecycle->control->boot_id);
	return r;
}

/* Makes a member, as session.create makes a session. */
static int make(struct lifecycle *lifecycle, const struct template *template)
{
	_free_ struct super_create *request = calloc(1, sizeof(*request));
	struct record record;
	struct err err;

	_close_ int spec = command_workload(
		lifecycle_config(lifecycle), template, &(struct command_request){ .command = NULL }, &err);
	if (spec < 0)
		return spec;
	int r = fill_record(lifecycle, template, &record);
	if (r == 0 && request) {
		limits_clear(&request->limits);
		session_fill_request(&record, request);
	}
	struct session *session = r == 0 && request ? session_new(lifecycle, &record) : NULL;
	if (!session) {
		record_clear(&record);
		return r < 0 ? r : -ENOMEM;
	}
	session->create = steal_ptr(&request);
	session->spec_fd = steal_fd(&spec);
	list_append(&lifecycle->launch, &session->of_launch);
	session_changed(session);
	return 0;
}

static void on_frozen(void *owner, struct msg *answer)
{
	struct session *member = owner;

	if (!answer || member->record.state != SESSION_READY)
		return;
	if (((const struct super_done *)(const void *)answer->bytes)->err.num < 0) {
		session_stop(member, END_STOPPED, 0);
		return;
	}
	member->frozen = true;
	session_enter(member, SESSION_PAUSED);
	pools_adjust(member->lifecycle);
}

static void freeze(struct session *member)
{
	if (super_link_tell(&member->lifecycle->super, SUPER_FREEZE, member->record.host_id, on_frozen, member) < 0)
		session_stop(member, END_STOPPED, 0);
}

static void look_again(struct session *member)
{
	limit_watch_read_cpu(member, &member->settling.usage_usec);
	loop_arm(lifecycle_loop(member->lifecycle), &member->settling.timer, boottime_ns() + CALM_LOOK_NS);
}

static void on_look(struct loop_timer *timer)
{
	struct session *member = container_of(timer, struct session, settling.timer);
	uint64_t before = member->settling.usage_usec, usage;

	if (member->record.state != SESSION_READY)
		return;
	limit_watch_read_cpu(member, &usage);
	if (usage - before < CALM_USEC || boottime_ns() >= member->settling.end_ns)
		freeze(member);
	else
		look_again(member);
}

/* ---- filling up ---- */

void pool_entered(struct session *member)
{
	struct pool *pool = pool_of(member->lifecycle, member->template);

	if (member->record.state == SESSION_READY) {
		if (pool)
			pool->n_failed = 0;
		member->settling.end_ns = boottime_ns() + CALM_MAX_NS;
		look_again(member);
	} else if (member->record.state >= SESSION_STOPPING) {
		if (pool && !list_is_empty(&member->of_pool) && member->record.end.reason != END_STOPPED)
			pool->n_failed++;
		list_remove(&member->of_pool);
		pools_adjust(member->lifecycle);
	}
}

static void adjust_at(struct lifecycle *lifecycle, uint64_t at_ns)
{
	struct loop_timer *timer = &lifecycle->pools.refill;

	/* Not before all sessions of the process before this one are known. */
	if (!lifecycle->ready && (!timer->place || timer->at_ns > at_ns))
		loop_arm(lifecycle_loop(lifecycle), timer, at_ns);
}

void pools_adjust(struct lifecycle *lifecycle)
{
	adjust_at(lifecycle, 0);
}

static void trim(struct pool *pool, size_t size)
{
	for (size_t n = count(&pool->members); n > size; n--)
		session_stop(container_of(pool->members.prev, struct session, of_pool), END_STOPPED, 0);
}

/* One is made at a time for each pool: what clients ask for goes before. */
static bool may_grow(struct lifecycle *lifecycle, const struct pool *pool)
{
	size_t all = lifecycle_n_live(lifecycle) + count_all(&lifecycle->pools), n = count(&pool->members);

	return n < pool->size && n == count_ready(pool) && !lifecycle->admission.draining &&
	       all + HEADROOM < lifecycle_config(lifecycle)->max_sessions;
}

static void refill(struct lifecycle *lifecycle, struct pool *pool)
{
	uint32_t doublings = pool->n_failed < MAX_DOUBLINGS ? pool->n_failed : MAX_DOUBLINGS;
	uint64_t now = boottime_ns();

	trim(pool, lifecycle->admission.draining ? 0 : pool->size);
	if (!may_grow(lifecycle, pool))
		return;
	if (pool->n_failed > 0 && pool->try_at_ns == 0)
		pool->try_at_ns = now + (FIRST_DELAY_NS << doublings) / 2;
	if (now < pool->try_at_ns) {
		adjust_at(lifecycle, pool->try_at_ns);
		return;
	}
	pool->try_at_ns = 0;
	if (make(lifecycle, pool->template) < 0)
		pool->n_failed++;
}

static void on_refill(struct loop_timer *timer)
{
	struct pools *pools = container_of(timer, struct pools, refill);
	struct lifecycle *lifecycle = container_of(pools, struct lifecycle, pools);

	for (size_t i = 0; i < pools->n; i++)
		refill(lifecycle, &pools->each[i]);
	/* Clients go before: the supervisor has no more places than max_sessions for all. */
	for (size_t i = 0; i < pools->n; i++)
		if (!list_is_empty(&pools->each[i].members) &&
			lifecycle_n_live(lifecycle) + count_all(pools) >= lifecycle_config(lifecycle)->max_sessions)
			trim(&pools->each[i], count(&pools->each[i].members) - 1);
}

/* ---- claims ---- */

struct session *pool_take(struct lifecycle *lifecycle, const struct template *template)
{
	struct pool *pool = pool_of(lifecycle, template);

	if (!pool || pool->size == 0)
		return NULL;
	for (struct list *l = pool->members.next; l != &pool->members; l = l->next) {
		struct session *member = container_of(l, struct session, of_pool);
		if (!is_ready(member))
			continue;
		pool->claims++;
		return member;
	}
	pool->misses++;
	return NULL;
}

void pool_claim(struct session *session, struct session *member)
{
	struct record *to = &session->record, *from = &member->record;

	session->slot = member->slot;
	session->frozen = true;
	session->cgroup_fd = steal_fd(&member->cgroup_fd);
	session->output_fd = steal_fd(&member->output_fd);
	session->liveness.create = steal_ptr(&member->liveness.create);
	session->liveness.spec_fd = steal_fd(&member->liveness.spec_fd);
	json_decref(to->limits);
	to->limits = json_incref(from->limits);
	memcpy(to->hostname, from->hostname, sizeof(to->hostname));
	memcpy(to->address, from->address, sizeof(to->address));
	memcpy(to->address6, from->address6, sizeof(to->address6));
	list_remove(&member->of_pool);
	session_forget(member);
	list_append(&session->lifecycle->launch, &session->of_launch);
	adjust_at(session->lifecycle, boottime_ns() + CLAIMED_DELAY_NS);
}

static void on_connected(void *owner, struct msg *answer)
{
	struct session *session = owner;
	char text[ERR_STEP_SIZE + ERR_OBJECT_SIZE + 64];

	if (!answer || session->record.state != SESSION_CREATING)
		return;
	const struct err *err = &((const struct super_done *)(const void *)answer->bytes)->err;
	if (err->num < 0 || answer->n_fds != 1) {
		session_fail(
			session, "claim", err->num < 0 ? err->num : -EPROTO, "%s", err_text(err, text, sizeof(text)));
		return;
	}
	int fds[SUPER_FD_COUNT] = {
		[SUPER_FD_OUTPUT] = steal_fd(&session->output_fd),
		[SUPER_FD_CGROUP] = steal_fd(&session->cgroup_fd),
		[SUPER_FD_INIT] = steal_fd(&answer->fds[0]),
	};
	session_attach(session, fds);
	if (session->record.state != SESSION_CREATING)
		return;
	session_enter(session, SESSION_STARTING);
	/* It was ready when it was frozen, and nothing has happened in it since. */
	session_enter(session, SESSION_READY);
}

static void on_thawed(void *owner, struct msg *answer)
{
	struct session *session = owner;

	if (!answer)
		return;
	const struct err *err = &((const struct super_done *)(const void *)answer->bytes)->err;
	session->frozen = err->num < 0;
	if (err->num < 0)
		session_fail(session, "claim", err->num, "%s", "cannot be thawed");
}

void pool_launch(struct session *session, int error)
{
	struct super_link *link = &session->lifecycle->super;

	list_remove(&session->of_launch);
	if (session->record.state != SESSION_CREATING)
		return;
	if (error < 0) {
		session_fail(session, "registry", error, "cannot be written: %s", strerror(-error));
		return;
	}
	session->started_ns = boottime_ns();
	int r = super_link_tell(link, SUPER_THAW, session->record.host_id, on_thawed, session);
	if (r == 0)
		r = super_link_tell(link, SUPER_CONNECT, session->record.host_id, on_connected, session);
	if (r < 0)
		session_fail(session, "claim", r, "the supervisor cannot be asked: %s", strerror(-r));
}

/* ---- for clients ---- */

static json_t *pool_json(const struct pool *pool)
{
	size_t ready = count_ready(pool);

	return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I}", "template", pool->template->name, "size",
		(json_int_t)pool->size, "ready", (json_int_t)ready, "starting",
		(json_int_t)(count(&pool->members) - ready), "claims", (json_int_t)pool->claims, "misses",
		(json_int_t)pool->misses);
}

void method_pool_get(struct call *call)
{
	const struct pools *pools = &call_control(call)->lifecycle->pools;
	const char *name = json_string_value(json_object_get(call_params(call), "template"));
	json_t *array = json_array(), *result = json_object();
	bool found = !name;

	for (size_t i = 0; i < pools->n; i++) {
		const struct pool *pool = &pools->each[i];
		if (name ? !streq(pool->template->name, name) : !pool->size && list_is_empty(&pool->members))
			continue;
		found = true;
		json_append(&array, pool_json(pool));
	}
	json_put(&result, "pools", array);
	if (found) {
		call_reply(call, result);
		return;
	}
	json_decref(result);
	call_fail(call, E_NOT_FOUND, false, &(struct error_details){ .path = "template" },
		"template: there is no template %s", name);
}

void method_pool_set(struct call *call)
{
	struct lifecycle *lifecycle = call_control(call)->lifecycle;
	const json_t *params = call_params(call);
	const char *name = json_string_value(json_object_get(params, "template"));
	uint32_t size = (uint32_t)json_integer_value(json_object_get(params, "size"));
	struct pool *pool = pool_of(lifecycle, config_template(lifecycle_config(lifecycle), name));

	if (!pool) {
		call_fail(call, E_NOT_FOUND, false, &(struct error_details){ .path = "template" },
			"template: there is no template %s", name);
		return;
	}
	if (size > 0 && template_always_has_volume(pool->template)) {
		call_fail(call, E_INVALID_PARAMS, false, &(struct error_details){ .path = "template" },
			"template: sessions of %s always have a volume, and a pool's have none", name);
		return;
	}
	int r = registry_put_pool(lifecycle->registry, name, size);
	if (r < 0) {
		call_fail(call, E_FAILED, true, &(struct error_details){ .step = "registry", .err_no = -r },
			"registry: cannot be written: %s", strerror(-r));
		return;
	}
	pool->size = size;
	pool->n_failed = 0;
	pool->try_at_ns = 0;
	pools_adjust(lifecycle);
	call_reply(call, pool_json(pool));
}
