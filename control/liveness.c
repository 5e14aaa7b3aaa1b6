/* SPDX-License-Identifier: Apache-2.0 */
#include "control/liveness.h"

#include <fcntl.h>
#include <stdio.h>

#include "control/json.h"
#include "control/lifecycle.h"
#include "control/logs.h"

static const struct config_liveness *config_of(const struct session *session)
{
	const struct config_liveness *config = session->template ? &session->template->liveness : NULL;

	if (session->foreign)
		return NULL;
	return config && config->probe.kind != PROBE_NONE ? config : NULL;
}

void liveness_init(struct liveness *liveness)
{
	liveness->spec_fd = -1;
}

void liveness_keep(struct session *session, const struct super_create *create, int spec_fd)
{
	const struct config_liveness *config = config_of(session);
	struct liveness *liveness = &session->liveness;

	if (!config || !config->restart || liveness->create)
		return;
	/* Without memory or a descriptor for it, the session ends where it would have begun anew. */
	struct super_create *copy = malloc(sizeof(*copy));
	int fd = fcntl(spec_fd, F_DUPFD_CLOEXEC, 0);
	if (!copy || fd < 0) {
		free(copy);
		close_fd(fd);
		return;
	}
	memcpy(copy, create, sizeof(*copy));
	liveness->create = copy;
	liveness->spec_fd = fd;
}

void liveness_release(struct session *session)
{
	liveness_end(session);
	free(session->liveness.create);
	session->liveness.create = NULL;
	close_fdp(&session->liveness.spec_fd);
}

/* ---- asking ---- */

static bool may_restart(const struct session *session)
{
	const struct config_liveness *config = config_of(session);

	return config && config->restart && session->liveness.create &&
	       session->record.n_restarts < config->max_restarts;
}

static void unhealthy(struct session *session)
{
	struct liveness *liveness = &session->liveness;
	struct session_end *end = &session->record.end;
	_free_ char *tail = logs_tail(session->output_fd);

	liveness->restarting = may_restart(session);
	json_t *data = json_object();
	json_put(&data, "failures", json_integer(liveness->n_failures));
	json_put(&data, "error", json_text(liveness->probe.last_error));
	json_put(&data, "action", json_string(liveness->restarting ? "restart" : "end"));
	json_put(&data, "log_tail", tail ? json_text(tail) : json_null());
	session_emit(session, "session.unhealthy", data);
	end->reason = END_UNHEALTHY;
	snprintf(end->step, sizeof(end->step), "liveness");
	if (asprintf(&end->message, "the liveness probe failed %u times in a row; last attempt: %s",
		    liveness->n_failures, liveness->probe.last_error) < 0)
		end->message = NULL;
	session_stop(session, END_UNHEALTHY, session_grace_ns(session));
}

static void ask_in(struct session *session, uint64_t delay_ns)
{
	loop_arm(lifecycle_loop(session->lifecycle), &session->liveness.next, boottime_ns() + delay_ns);
}

static void on_probed(struct probe *probe, int error)
{
	struct session *session = container_of(probe, struct session, liveness.probe);
	const struct config_liveness *config = config_of(session);

	session->liveness.n_failures = error == 0 ? 0 : session->liveness.n_failures + 1;
	if (session->liveness.n_failures >= config->failure_threshold)
		unhealthy(session);
	else
		ask_in(session, config->probe.interval_ns);
}

static void on_next(struct loop_timer *timer)
{
	struct session *session = container_of(timer, struct session, liveness.next);
	struct probe *probe = &session->liveness.probe;

	probe->link = &session->init;
	probe->template = session->template;
	probe->config = &session->template->liveness.probe;
	probe->null_fd = session->lifecycle->null_fd;
	probe->on_done = on_probed;
	probe_once(probe, lifecycle_loop(session->lifecycle));
}

void liveness_begin(struct session *session)
{
	const struct config_liveness *config = config_of(session);

	if (!config)
		return;
	session->liveness.next.fn = on_next;
	session->liveness.n_failures = 0;
	ask_in(session, config->initial_delay_ns);
}

void liveness_end(struct session *session)
{
	probe_cancel(&session->liveness.probe);
	loop_disarm(lifecycle_loop(session->lifecycle), &session->liveness.next);
}

/* ---- beginning anew ---- */

/* Forgets what was of the workload that is gone. */
static void forget_run(struct session *session)
{
	struct record *record = &session->record;

	session_release_run(session);
	session_end_followers(session);
	close_fdp(&session->output_fd);
	session->asked = session->noted = session->frozen = session->killed = session->init_gone = false;
	session->stopping_untold = session->unseen = session->watching = session->watched = false;
	session->watch_pause_ns = session->started_ns = 0;
	free(record->end.message);
	free(record->end.log_tail);
	record->end = (struct session_end){ .at_ns = NEVER, .exit_code = -1 };
	record->ready_at_ns = NEVER;
	free(record->timeline);
	record->timeline = NULL;
}

bool liveness_restart(struct session *session)
{
	struct liveness *liveness = &session->liveness;
	struct super_create *copy;

	if (!liveness->restarting || session->discard)
		return false;
	liveness->restarting = false;
	copy = malloc(sizeof(*copy));
	int fd = fcntl(liveness->spec_fd, F_DUPFD_CLOEXEC, 0);
	if (!copy || fd < 0) {
		free(copy);
		close_fd(fd);
		return false;
	}
	memcpy(copy, liveness->create, sizeof(*copy));
	forget_run(session);
	session->record.n_restarts++;
	session->create = copy;
	session->spec_fd = fd;
	list_append(&session->lifecycle->launch, &session->of_launch);
	session_enter(session, SESSION_CREATING);
	return true;
}
