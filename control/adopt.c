/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How this process takes up the sessions of the one before it. The registry says what sessions there were, the
 * supervisor which of them live; each may know some that the other does not.
 */
#include <stdio.h>

#include "control/lifecycle.h"

static void ignore_answer(void *owner _unused_, struct msg *answer _unused_)
{
}

int adopt_record(void *arg, struct record *record)
{
	struct lifecycle *lifecycle = arg;

	if (record->number > lifecycle->last_number)
		lifecycle->last_number = record->number;
	struct session *session = session_new(lifecycle, record);
	if (!session) {
		record_clear(record);
		return -ENOMEM;
	}
	session->stopping_untold = record->state == SESSION_STOPPING && record->end.reason == END_NONE;
	if (session_is_live(session))
		return volumes_hold(session);
	lifecycle_keep_ended(lifecycle, session);
	return 0;
}

/* A record for a session that only the supervisor knows: nobody's, with its template's times from now on. */
static struct session *new_stranger(struct lifecycle *lifecycle, const struct super_ev_session *event)
{
	const struct template *template = config_template(lifecycle_config(lifecycle), event->template);
	uint64_t now = boottime_ns(), age = now > event->started_ns ? now - event->started_ns : 0;
	struct record record;

	record_init(&record);
	record.number = ++lifecycle->last_number;
	memcpy(record.id, event->id, sizeof(record.id));
	memcpy(record.host_id, event->id, sizeof(record.host_id));
	memcpy(record.template, event->template, sizeof(record.template));
	memcpy(record.hostname, event->id, sizeof(record.hostname));
	memcpy(record.boot_id, lifecycle->control->boot_id, sizeof(record.boot_id));
	record.kind = strdup(template && template->kind ? template->kind : "");
	record.owner = strdup("");
	record.last_activity_at_ns = realtime_ns();
	record.created_at_ns = record.last_activity_at_ns - age;
	record.last_activity_boot_ns = now;
	record.created_boot_ns = now - age;
	if (template && template->ttl_ns != NEVER) {
		record.expires_at_ns = record.last_activity_at_ns + template->ttl_ns;
		record.expires_boot_ns = now + template->ttl_ns;
	}
	record.idle_ns = template ? template->idle_ns : NEVER;
	struct session *session = record.kind && record.owner ? session_new(lifecycle, &record) : NULL;
	if (!session) {
		record_clear(&record);
		return NULL;
	}
	session_emit(session, "session.adopted",
		json_pack("{s:s}", "warning", "the registry did not know it; it has no owner"));
	session_changed(session);
	return session;
}

/* One that has ended, or whose init no longer answers: its output may say how. */
static void adopt_ending(struct session *session, bool exited, int *fds, size_t n_fds)
{
	if (n_fds > SUPER_FD_OUTPUT)
		session->output_fd = steal_fd(&fds[SUPER_FD_OUTPUT]);
	session->unseen = true;
	if (exited)
		session_exited(session, NULL);
	session_stop(session, END_NONE, 0);
}

static void adopt_running(struct session *session)
{
	/* Claimed from a pool, but not yet thawed. */
	if (session->frozen && session->record.state < SESSION_READY)
		super_link_tell(
			&session->lifecycle->super, SUPER_THAW, session->record.host_id, ignore_answer, session);
	switch (session->record.state) {
	case SESSION_CREATING:
		session_enter(session, SESSION_STARTING);
		session_probe(session);
		break;
	case SESSION_STARTING:
		session_arm_deadline(session);
		session_probe(session);
		break;
	case SESSION_READY:
	case SESSION_PAUSED:
		if (session->frozen != (session->record.state == SESSION_PAUSED))
			session_enter(session, session->frozen ? SESSION_PAUSED : SESSION_READY);
		else if (session->record.pooled && !session->frozen)
			pool_entered(session);
		else if (!session->frozen)
			liveness_begin(session);
		session_arm_deadline(session);
		break;
	default:
		session_continue_stop(session, session_grace_ns(session));
	}
}

void adopt_live(struct lifecycle *lifecycle, const struct super_ev_session *event, int *fds, size_t n_fds)
{
	struct session *session = session_find_by_host_id(lifecycle, event->id);

	/* Its end was told: it must not live on, unseen. */
	if (session && !session_is_live(session)) {
		super_link_tell(&lifecycle->super, SUPER_KILL, event->id, ignore_answer, lifecycle);
		lifecycle_tell_noted(lifecycle, event->id);
		return;
	}
	const bool stranger = !session;
	if (stranger)
		session = new_stranger(lifecycle, event);
	if (!session)
		return;
	session->confirmed = true;
	session->started_ns = event->started_ns;
	session->frozen = event->frozen != 0;
	session->slot = event->slot;
	if (session_set_resources(session, &event->limits, event->enforced, event->ipv4, event->ipv6) || stranger)
		session_changed(session);
	if (event->state == SUPER_ENDING || n_fds != SUPER_FD_COUNT) {
		adopt_ending(session, event->state == SUPER_ENDING, fds, n_fds);
		return;
	}
	session_attach(session, fds);
	if (init_link_is_open(&session->init))
		init_link_list(&session->init);
	adopt_running(session);
}

/* Whether the supervisor had said that it was made. One that is asked to end before that has no times of steps. */
static bool has_begun(const struct record *record)
{
	return record->state != SESSION_CREATING && (record->state != SESSION_STOPPING || record->timeline);
}

/* A live record that the supervisor did not name. */
static void adopt_lost(struct session *session)
{
	struct lifecycle *lifecycle = session->lifecycle;
	struct session_end *end = &session->record.end;
	bool same_boot = streq(session->record.boot_id, lifecycle->control->boot_id);

	/* What the disk has of the boot before may be of before it began. */
	session->unseen = !same_boot || has_begun(&session->record);
	if (!same_boot) {
		end->reason = END_HOST_RESTART;
		session_gone(session);
		return;
	}
	/* It may just be being made; whoever asked for it was never answered, and will ask again. */
	if (session->record.state == SESSION_CREATING && session->record.n_restarts == 0) {
		super_link_tell(&lifecycle->super, SUPER_KILL, session->record.host_id, ignore_answer, lifecycle);
		session->discard = true;
	}
	session_failed_to_start(session, "lost", 0, "it ended while nobody was there to see how");
}

/* Looked for from the start each time: an end may push older records out of the list. */
static struct session *find_unconfirmed(const struct lifecycle *lifecycle)
{
	for (struct list *l = lifecycle->all.next; l != &lifecycle->all; l = l->next) {
		struct session *session = container_of(l, struct session, of_all);
		if (session_is_live(session) && !session->confirmed)
			return session;
	}
	return NULL;
}

void adopt_finish(struct lifecycle *lifecycle)
{
	struct session *session;

	while ((session = find_unconfirmed(lifecycle))) {
		session->confirmed = true;
		adopt_lost(session);
	}
}
