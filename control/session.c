/* SPDX-License-Identifier: Apache-2.0 */
#include "control/session.h"

#include <assert.h>
#include <stdio.h>

#include "control/docker.h"
#include "control/file_pool.h"
#include "control/kept.h"
#include "control/lifecycle.h"
#include "control/spawner.h"

/* Activity is saved when what the registry has is older than this: a crash moves an idle deadline by no more. */
#define ACTIVITY_SAVE_NS (5 * NS_PER_SEC)

#define TO(state) (1U << (state))

/* clang-format off */
static const struct {
	unsigned to;		/* the states that may follow */
	const char *event;
} states[SESSION_STATE_COUNT] = {
	[SESSION_CREATING] = { TO(SESSION_STARTING) | TO(SESSION_STOPPING) | TO(SESSION_ENDED), "session.created" },
	[SESSION_STARTING] = { TO(SESSION_READY) | TO(SESSION_STOPPING) | TO(SESSION_ENDED),    "session.starting" },
	[SESSION_READY]    = { TO(SESSION_PAUSED) | TO(SESSION_STOPPING) | TO(SESSION_ENDED),   "session.ready" },
	[SESSION_PAUSED]   = { TO(SESSION_READY) | TO(SESSION_STOPPING) | TO(SESSION_ENDED),    "session.paused" },
	[SESSION_STOPPING] = { TO(SESSION_ENDED) | TO(SESSION_CREATING),                                              "session.stopping" },
	[SESSION_ENDED]    = { 0,                                                               "session.ended" },
};
/* clang-format on */

/* ---- accounts ---- */

static struct account *account_get(struct index *index, const char *name)
{
	struct index_node *node = index_find(index, name);

	if (node)
		return container_of(node, struct account, node);
	struct account *account = calloc(1, sizeof(*account));
	char *copy = strdup(name);
	if (!account || !copy) {
		free(account);
		free(copy);
		return NULL;
	}
	account->name = copy;
	list_init(&account->sessions);
	index_add(index, &account->node, account->name);
	return account;
}

static void account_put(struct index *index, struct account *account)
{
	if (!account || account->n_sessions > 0)
		return;
	index_remove(index, &account->node);
	json_decref(account->limits);
	free(account->name);
	free(account);
}

static int join_accounts(struct session *session, const struct record *record)
{
	struct lifecycle *lifecycle = session->lifecycle;
	char uid[16];

	snprintf(uid, sizeof(uid), "%u", record->uid);
	session->owner = account_get(&lifecycle->owners, record->owner);
	session->user = account_get(&lifecycle->users, uid);
	session->kin = account_get(&lifecycle->templates, record->template);
	if (!session->owner || !session->user || !session->kin) {
		account_put(&lifecycle->owners, session->owner);
		account_put(&lifecycle->users, session->user);
		account_put(&lifecycle->templates, session->kin);
		return -ENOMEM;
	}
	struct account *const accounts[] = { session->owner, session->user, session->kin };
	for (size_t i = 0; i < ARRAY_SIZE(accounts); i++) {
		accounts[i]->n_sessions++;
		accounts[i]->n_live += record->state != SESSION_ENDED && !record->pooled;
	}
	list_append(&session->owner->sessions, &session->of_owner);
	return 0;
}

/* It has ended. */
static void count_end(const struct session *session)
{
	if (session->record.pooled)
		return;
	session->owner->n_live--;
	session->user->n_live--;
	session->kin->n_live--;
}

static void leave_accounts(struct session *session)
{
	struct lifecycle *lifecycle = session->lifecycle;

	if (session_is_live(session))
		count_end(session);
	list_remove(&session->of_owner);
	session->owner->n_sessions--;
	session->user->n_sessions--;
	session->kin->n_sessions--;
	account_put(&lifecycle->owners, session->owner);
	account_put(&lifecycle->users, session->user);
	account_put(&lifecycle->templates, session->kin);
	session->owner = session->user = session->kin = NULL;
}

/* ---- deadlines ---- */

static uint64_t idle_boot_ns(const struct session *session)
{
	const struct record *record = &session->record;
	uint64_t at;

	/* One that nobody could use yet is not idle. */
	if (record->ready_at_ns == NEVER || record->idle_ns == NEVER ||
		__builtin_add_overflow(record->last_activity_boot_ns, record->idle_ns, &at))
		return NEVER;
	return at;
}

void session_arm_deadline(struct session *session)
{
	struct loop *loop = lifecycle_loop(session->lifecycle);
	uint64_t idle = idle_boot_ns(session), expires = session->record.expires_boot_ns;
	uint64_t at = idle < expires ? idle : expires;

	if (at == NEVER || session->record.state >= SESSION_STOPPING)
		loop_disarm(loop, &session->deadline);
	/* A timer that is early looks again; so activity, which only moves it on, need not touch it. */
	else if (!session->deadline.place || session->deadline.at_ns > at)
		loop_arm(loop, &session->deadline, at);
}

/* Something that a client asked for is under way. */
static bool is_busy(const struct session *session)
{
	return session->n_execs > 0 || (session->files && session->files->n_transfers > 0);
}

static void on_deadline(struct loop_timer *timer)
{
	struct session *session = container_of(timer, struct session, deadline);
	uint64_t now = boottime_ns();

	if (session->record.state >= SESSION_STOPPING)
		return;
	if (now >= session->record.expires_boot_ns)
		session_stop(session, END_EXPIRED, session_grace_ns(session));
	else if (now >= idle_boot_ns(session) && !is_busy(session))
		session_stop(session, END_IDLE, session_grace_ns(session));
	else {
		if (is_busy(session))
			session_touch(session);
		session_arm_deadline(session);
	}
}

void session_touch(struct session *session)
{
	struct record *record = &session->record;

	record->last_activity_boot_ns = boottime_ns();
	record->last_activity_at_ns = realtime_ns();
	if (record->last_activity_boot_ns - session->saved_activity_ns < ACTIVITY_SAVE_NS)
		return;
	session->saved_activity_ns = record->last_activity_boot_ns;
	session_changed(session);
}

void session_active(struct session *session, enum activity kind)
{
	/* As by default, where the template is gone. */
	const uint32_t counts = session->template ? session->template->activity : ~(1U << ACTIVITY_API);

	if (counts >> kind & 1 && session_is_live(session))
		session_touch(session);
}

/* ---- the object ---- */

/* A pool's members are counted apart. */
static void count_state(const struct session *session, int by)
{
	if (!session->record.pooled)
		session->lifecycle->n_by_state[session->record.state] += (size_t)by;
}

struct session *session_new(struct lifecycle *lifecycle, struct record *record)
{
	struct session *session = calloc(1, sizeof(*session));

	if (!session)
		return NULL;
	session->lifecycle = lifecycle;
	list_init(&session->of_owner);
	if (join_accounts(session, record) < 0) {
		free(session);
		return NULL;
	}
	session->record = *record;
	session->template = config_template(lifecycle_config(lifecycle), record->template);
	session->spec_fd = session->cgroup_fd = session->output_fd = -1;
	session->limit_watch.memory.io.fd = session->limit_watch.processes.io.fd = -1;
	session->deadline.fn = on_deadline;
	liveness_init(&session->liveness);
	session->saved_activity_ns = record->last_activity_boot_ns == NEVER ? 0 : record->last_activity_boot_ns;
	ports_init(session);
	list_init(&session->of_all);
	list_init(&session->of_ended);
	list_init(&session->of_output);
	list_init(&session->of_dirty);
	list_init(&session->of_written);
	list_init(&session->of_launch);
	list_init(&session->of_pool);
	list_init(&session->waiters);
	list_init(&session->followers);
	list_init(&session->docker);
	list_init(&session->kept);
	list_append(&lifecycle->all, &session->of_all);
	index_add(&lifecycle->by_id, &session->by_id, session->record.id);
	index_add(&lifecycle->by_host_id, &session->by_host_id, session->record.host_id);
	if (session->record.key)
		index_add(&lifecycle->by_key, &session->by_key, session->record.key);
	if (session->record.place)
		index_add(&lifecycle->by_place, &session->by_place, session->record.place);
	count_state(session, 1);
	pool_join(session);
	/* Who waits for room for the same place needs none now. */
	admission_wake(lifecycle);
	return session;
}

/* A change of SESSION that the supervisor was asked for: nobody waits for it any more. */
static void fail_change(struct session *session, struct call **change)
{
	if (*change)
		call_fail(steal_ptr(change), E_INVALID_STATE, false,
			&(struct error_details){ .session = session->record.id }, "session %s has ended",
			session->record.id);
}

void session_release_run(struct session *session)
{
	struct loop *loop = lifecycle_loop(session->lifecycle);

	probe_cancel(&session->probe);
	docker_session_ended(session);
	file_pool_end(session);
	spawner_end(session);
	limit_watch_stop(session);
	ports_close(session);
	init_link_close(&session->init);
	kept_free_all(session);
	fail_change(session, &session->change);
	fail_change(session, &session->limiting);
	loop_disarm(loop, &session->watch_again);
	loop_disarm(loop, &session->deadline);
	loop_disarm(loop, &session->stop_timer);
	loop_disarm(loop, &session->settling.timer);
	free(session->create);
	session->create = NULL;
	close_fdp(&session->spec_fd);
	close_fdp(&session->cgroup_fd);
	list_remove(&session->of_launch);
}

static void unlink_session(struct session *session)
{
	struct lifecycle *lifecycle = session->lifecycle;

	session->forgotten = true;
	index_remove(&lifecycle->by_id, &session->by_id);
	index_remove(&lifecycle->by_host_id, &session->by_host_id);
	index_remove(&lifecycle->by_key, &session->by_key);
	index_remove(&lifecycle->by_place, &session->by_place);
	list_remove(&session->of_all);
	list_remove(&session->of_pool);
	list_remove(&session->of_ended);
	list_remove(&session->of_output);
	count_state(session, -1);
	leave_accounts(session);
}

void session_forget(struct session *session)
{
	session_release_run(session);
	liveness_release(session);
	super_link_forget(&session->lifecycle->super, session);
	close_fdp(&session->output_fd);
	unlink_session(session);
	session_changed(session);
}

void session_free(struct session *session)
{
	session_release_run(session);
	liveness_release(session);
	super_link_forget(&session->lifecycle->super, session);
	if (!session->forgotten)
		unlink_session(session);
	list_remove(&session->of_dirty);
	list_remove(&session->of_written);
	close_fdp(&session->output_fd);
	record_clear(&session->record);
	free(session);
}

struct session *session_find(const struct lifecycle *lifecycle, const char *id)
{
	struct index_node *node = index_find(&lifecycle->by_id, id);

	return node ? container_of(node, struct session, by_id) : NULL;
}

struct session *session_find_by_host_id(const struct lifecycle *lifecycle, const char *host_id)
{
	struct index_node *node = index_find(&lifecycle->by_host_id, host_id);

	return node ? container_of(node, struct session, by_host_id) : NULL;
}

void session_changed(struct session *session)
{
	if (!session->dirty) {
		session->dirty = true;
		list_append(&session->lifecycle->dirty, &session->of_dirty);
	}
	lifecycle_flush_soon(session->lifecycle);
}

void session_emit(struct session *session, const char *kind, json_t *data)
{
	if (session->record.pooled) {
		json_decref(data);
		return;
	}
	if (!data)
		data = json_object();
	json_object_set_new(data, "template", json_string(session->record.template));
	events_emit(&session->lifecycle->events, kind, session->record.id, session->record.owner, data);
}

/* ---- states ---- */

static void became_ready(struct session *session)
{
	struct record *record = &session->record;

	liveness_begin(session);
	if (record->ready_at_ns != NEVER)
		return;
	record->ready_at_ns = realtime_ns();
	metrics_ready(session);
	record_add_times(record, json_pack("[{s:s, s:f}]", "step", "ready", "ms",
					 (double)(boottime_ns() - session->started_ns) / (double)NS_PER_MS));
	session_touch(session);
}

void session_tell_stopping(struct session *session)
{
	if (!session->stopping_untold)
		return;
	session->stopping_untold = false;
	session_emit(session, states[SESSION_STOPPING].event,
		json_pack("{s:s}", "reason", end_reason_name(session->record.end.reason)));
}

static void ended(struct session *session)
{
	count_end(session);
	metrics_ended(session);
	admission_wake(session->lifecycle);
	session->record.end.at_ns = realtime_ns();
	if (session->record.end.reason == END_OOM)
		limit_watch_tell(session, "session.oom", json_pack("{s:s?}", "message", session->record.end.message));
	session_release_run(session);
	liveness_release(session);
	volumes_release(session);
	session_end_followers(session);
}

static const char *event_of(enum session_state from, enum session_state state)
{
	if (from == SESSION_PAUSED && state == SESSION_READY)
		return "session.resumed";
	return from == SESSION_STOPPING && state == SESSION_CREATING ? "session.restarting" : states[state].event;
}

void session_enter(struct session *session, enum session_state state)
{
	enum session_state from = session->record.state;

	assert(states[from].to & TO(state));
	count_state(session, -1);
	session->record.state = state;
	count_state(session, 1);
	liveness_end(session);
	if (state == SESSION_READY)
		became_ready(session);
	else if (state == SESSION_ENDED)
		ended(session);
	if (from == SESSION_PAUSED)
		ports_resume(session);
	session_arm_deadline(session);
	/* With its reason, for which the kernel's count of kills for memory may have to be waited. */
	session->stopping_untold |= state == SESSION_STOPPING;
	if (state == SESSION_STOPPING)
		session->stopping_ns = boottime_ns();
	if (session->record.end.reason != END_NONE)
		session_tell_stopping(session);
	if (state != SESSION_STOPPING)
		session_emit(session, event_of(from, state),
			state == SESSION_ENDED ? session_end_json(&session->record.end) : NULL);
	session_changed(session);
	if (session->record.pooled)
		pool_entered(session);
}

void session_written(struct session *session)
{
	session_serve_waiters(session);
	/* Whoever waited for its end has been told; the record stays, or goes for good. */
	if (session_is_live(session) || session->forgotten)
		return;
	if (session->discard)
		session_forget(session);
	else if (list_is_empty(&session->of_ended))
		lifecycle_keep_ended(session->lifecycle, session);
}
