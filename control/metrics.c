/* SPDX-License-Identifier: Apache-2.0 */
#include "control/metrics.h"

#include "control/lifecycle.h"

#define LAG_PERIOD_NS NS_PER_SEC

/* ---- counting ---- */

/* How late the loop is for a timer: what handlers take, and what the host does not give. */
static void on_lag(struct loop_timer *timer)
{
	struct lifecycle *lifecycle = container_of(timer, struct lifecycle, metrics.lag_timer);
	uint64_t now = boottime_ns();

	histogram_add(&lifecycle->metrics.lag, now - timer->at_ns);
	loop_arm(lifecycle_loop(lifecycle), timer, now + LAG_PERIOD_NS);
}

int metrics_start(struct lifecycle *lifecycle)
{
	struct metrics *metrics = &lifecycle->metrics;

	metrics->n_created = calloc(lifecycle_config(lifecycle)->n_templates + 1, sizeof(*metrics->n_created));
	if (!metrics->n_created)
		return -ENOMEM;
	metrics->lag_timer.fn = on_lag;
	snprintf(metrics->steps[metrics->n_steps++].name, STEP_NAME_SIZE, "other");
	return loop_arm(lifecycle_loop(lifecycle), &metrics->lag_timer, boottime_ns() + LAG_PERIOD_NS);
}

void metrics_stop(struct lifecycle *lifecycle)
{
	loop_disarm(lifecycle_loop(lifecycle), &lifecycle->metrics.lag_timer);
	free(lifecycle->metrics.n_created);
	lifecycle->metrics.n_created = NULL;
}

void metrics_accepted(const struct session *session)
{
	const struct config *config = lifecycle_config(session->lifecycle);

	if (session->template && !session->record.pooled)
		session->lifecycle->metrics.n_created[session->template - config->templates]++;
}

/* The histogram of a step. Names come from the host and from init: only words become labels. */
static struct histogram *step_times(struct metrics *metrics, const char *name)
{
	size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.");

	for (size_t i = 1; i < metrics->n_steps; i++)
		if (streq(metrics->steps[i].name, name))
			return &metrics->steps[i].times;
	if (name[n] || n == 0 || metrics->n_steps == MAX_STEPS)
		return &metrics->steps[0].times;
	struct step_metric *step = &metrics->steps[metrics->n_steps++];
	snprintf(step->name, sizeof(step->name), "%s", name);
	return &step->times;
}

void metrics_created(const struct session *session, const struct super_created *created)
{
	struct metrics *metrics = &session->lifecycle->metrics;

	for (size_t i = 0; i < created->n_steps && i < MAX_STEP_TIMES; i++)
		histogram_add(step_times(metrics, created->steps[i].name), created->steps[i].ns);
	if (session->record.n_restarts > 0)
		metrics->n_restarts++;
	else if (!session->record.pooled)
		histogram_add(&metrics->create, boottime_ns() - session->record.created_boot_ns);
}

void metrics_ready(const struct session *session)
{
	const struct record *record = &session->record;

	/* Not of one that begins anew: it was asked for long ago; nor of one that nobody has asked for. */
	if (record->n_restarts == 0 && !record->pooled && record->created_boot_ns != NEVER)
		histogram_add(&session->lifecycle->metrics.ready, boottime_ns() - record->created_boot_ns);
}

void metrics_ended(const struct session *session)
{
	struct metrics *metrics = &session->lifecycle->metrics;

	if (session->record.pooled)
		return;
	metrics->n_ended[session->record.end.reason]++;
	if (session->stopping_ns > 0)
		histogram_add(&metrics->destroy, boottime_ns() - session->stopping_ns);
}

/* ---- the lifecycle's part of system.metrics ---- */

static void print_sessions(FILE *out, const struct lifecycle *lifecycle)
{
	const struct config *config = lifecycle_config(lifecycle);
	_free_ uint32_t *counts = calloc((config->n_templates + 1) * SESSION_STATE_COUNT, sizeof(*counts));
	char labels[128];

	if (!counts)
		return;
	for (const struct list *l = lifecycle->all.next; l != &lifecycle->all; l = l->next) {
		const struct session *session = container_of(l, struct session, of_all);
		/* Of a template that the configuration no longer has: the last row. */
		size_t i = session->template ? (size_t)(session->template - config->templates) : config->n_templates;
		counts[i * SESSION_STATE_COUNT + session->record.state] += !session->record.pooled;
	}
	metric_head(out, "carrel_sessions", "gauge",
		"Sessions by template and state; ended ones as long as they are kept.");
	for (size_t i = 0; i <= config->n_templates; i++) {
		for (enum session_state state = 0; state < SESSION_STATE_COUNT; state++) {
			snprintf(labels, sizeof(labels), "template=\"%s\",state=\"%s\"",
				i < config->n_templates ? config->templates[i].name : "", session_state_name(state));
			metric_value(out, "carrel_sessions", labels, counts[i * SESSION_STATE_COUNT + state]);
		}
	}
}

static const char *const limit_events[LIMIT_EVENTS] = { "throttled", "refused", "oom", "full" };

void metrics_limit(const struct session *session, const char *kind)
{
	for (size_t i = 0; i < LIMIT_EVENTS; i++)
		if (streq(kind + strlen("session."), limit_events[i]))
			session->lifecycle->metrics.n_limit_events[i]++;
}

static void print_counters(FILE *out, const struct lifecycle *lifecycle)
{
	const struct config *config = lifecycle_config(lifecycle);
	const struct metrics *metrics = &lifecycle->metrics;
	char labels[128];

	metric_head(out, "carrel_sessions_created_total", "counter", "Sessions that were accepted.");
	for (size_t i = 0; i < config->n_templates; i++) {
		snprintf(labels, sizeof(labels), "template=\"%s\"", config->templates[i].name);
		metric_value(out, "carrel_sessions_created_total", labels, (double)metrics->n_created[i]);
	}
	metric_head(out, "carrel_sessions_ended_total", "counter", "Sessions that ended, by reason.");
	for (enum end_reason reason = END_NONE + 1; reason < END_REASON_COUNT; reason++) {
		snprintf(labels, sizeof(labels), "reason=\"%s\"", end_reason_name(reason));
		metric_value(out, "carrel_sessions_ended_total", labels, (double)metrics->n_ended[reason]);
	}
	metric_head(out, "carrel_sessions_refused_total", "counter",
		"Sessions that were not accepted, by the limit that was hit.");
	for (enum refusal refusal = 0; refusal < REFUSAL_COUNT; refusal++) {
		snprintf(labels, sizeof(labels), "limit=\"%s\"", refusal_name(refusal));
		metric_value(out, "carrel_sessions_refused_total", labels,
			(double)lifecycle->admission.n_refused[refusal]);
	}
	metric_head(out, "carrel_session_limit_events_total", "counter",
		"How often sessions came to a limit, by the event that tells so: session.throttled and so on.");
	for (size_t i = 0; i < LIMIT_EVENTS; i++) {
		snprintf(labels, sizeof(labels), "event=\"%s\"", limit_events[i]);
		metric_value(out, "carrel_session_limit_events_total", labels, (double)metrics->n_limit_events[i]);
	}
	metric_single(out, "carrel_sessions_restarted_total", "counter",
		"Sessions that began anew because they were unhealthy.", (double)metrics->n_restarts);
}

static void print_times(FILE *out, const struct metrics *metrics)
{
	char labels[64];
	const struct {
		const char *name, *help;
		const struct histogram *times;
	} rows[] = {
		{ "carrel_session_create_seconds", "From a request to its running workload.", &metrics->create },
		{ "carrel_session_ready_seconds", "From a request to the success of the readiness probe.",
			&metrics->ready },
		{ "carrel_session_destroy_seconds", "From the beginning of the end until nothing is left.",
			&metrics->destroy },
		{ "carrel_event_loop_lag_seconds", "How late control's event loop is for a timer.", &metrics->lag },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		metric_head(out, rows[i].name, "histogram", rows[i].help);
		metric_histogram(out, rows[i].name, "", rows[i].times);
	}
	metric_head(out, "carrel_session_create_step_seconds", "histogram", "Each step of a creation.");
	for (size_t i = 0; i < metrics->n_steps; i++) {
		if (metrics->steps[i].times.n == 0)
			continue;
		snprintf(labels, sizeof(labels), "step=\"%s\"", metrics->steps[i].name);
		metric_histogram(out, "carrel_session_create_step_seconds", labels, &metrics->steps[i].times);
	}
}

static size_t list_length(const struct list *list)
{
	size_t n = 0;

	for (const struct list *l = list->next; l != list; l = l->next)
		n++;
	return n;
}

/* Of templates that have, or had, a pool. */
static void print_pools(FILE *out, const struct lifecycle *lifecycle)
{
	static const struct {
		const char *name, *type, *help;
	} rows[] = {
		{ "carrel_pool_wanted", "gauge", "Sessions that a pool is to keep ready." },
		{ "carrel_pool_members", "gauge", "Sessions that are in a pool or being made for it." },
		{ "carrel_pool_claims_total", "counter", "Requests that found a session in a pool." },
		{ "carrel_pool_misses_total", "counter", "Requests that could have, but found none." },
	};
	char labels[128];

	for (size_t row = 0; row < ARRAY_SIZE(rows); row++) {
		metric_head(out, rows[row].name, rows[row].type, rows[row].help);
		for (size_t i = 0; i < lifecycle->pools.n; i++) {
			const struct pool *pool = &lifecycle->pools.each[i];
			const double values[] = { pool->size, (double)list_length(&pool->members),
				(double)pool->claims, (double)pool->misses };
			if (pool->size == 0 && pool->claims == 0)
				continue;
			snprintf(labels, sizeof(labels), "template=\"%s\"", pool->template->name);
			metric_value(out, rows[row].name, labels, values[row]);
		}
	}
}

static void print_queues(FILE *out, const struct lifecycle *lifecycle)
{
	size_t n_execs = 0, n_asked = 0;

	for (const struct list *l = lifecycle->all.next; l != &lifecycle->all; l = l->next) {
		const struct session *session = container_of(l, struct session, of_all);
		n_execs += session->n_execs;
		n_asked += session->asked;
	}
	const struct {
		const char *labels;
		size_t depth;
	} queues[] = {
		{ "queue=\"admission\"", lifecycle->admission.n_queued },
		{ "queue=\"supervisor\"", n_asked },
		{ "queue=\"registry\"", list_length(&lifecycle->dirty) },
		{ "queue=\"events\"", lifecycle->events.n_fresh },
	};
	metric_head(out, "carrel_queue_depth", "gauge",
		"Requests that wait for room or for the supervisor; records and events that are to be written.");
	for (size_t i = 0; i < ARRAY_SIZE(queues); i++)
		metric_value(out, "carrel_queue_depth", queues[i].labels, (double)queues[i].depth);
	metric_single(out, "carrel_execs_running", "gauge", "Commands that clients have under way.", (double)n_execs);
}

void lifecycle_print_metrics(const struct control *control, FILE *out)
{
	const struct lifecycle *lifecycle = control->lifecycle;

	metric_single(out, "carrel_control_starts_total", "counter",
		"Starts of carrel-control since the registry was begun.",
		(double)registry_n_starts(lifecycle->registry));
	metric_single(out, "carrel_sessions_max", "gauge", "Sessions that the host takes at once.",
		control->config.max_sessions);
	metric_single(
		out, "carrel_draining", "gauge", "1: the host takes no new sessions.", lifecycle->admission.draining);
	metric_single(out, "carrel_registry_writable", "gauge", "0: the registry could not be written the last time.",
		lifecycle->write_error == 0);
	print_sessions(out, lifecycle);
	print_counters(out, lifecycle);
	print_times(out, &lifecycle->metrics);
	print_queues(out, lifecycle);
	print_pools(out, lifecycle);
}
