/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the lifecycle counts for system.metrics. Counters begin anew with the process; carrel_control_starts_total says
 * that they did. What the server counts is in server_metrics.c.
 */
#pragma once

#include "control/prometheus.h"
#include "control/record.h"
#include "wire/loop.h"

struct lifecycle;

enum { MAX_STEPS = 48, LIMIT_EVENTS = 4 };

/* What the lifecycle counts. */
struct metrics {
	struct histogram create, ready, destroy, lag;
	struct step_metric {
		char name[STEP_NAME_SIZE]; /* a word; what is none, or one too many, counts as the first, "other" */
		struct histogram times;
	} steps[MAX_STEPS];
	size_t n_steps;
	uint64_t *n_created; /* by template, in the configuration's order */
	uint64_t n_ended[END_REASON_COUNT], n_restarts;
	uint64_t n_limit_events[LIMIT_EVENTS];
	struct loop_timer lag_timer;
};

struct session;

/* 0 or -ENOMEM. */
int metrics_start(struct lifecycle *lifecycle);
void metrics_stop(struct lifecycle *lifecycle);

void metrics_accepted(const struct session *session);
/* The supervisor made it. */
void metrics_created(const struct session *session, const struct super_created *created);
void metrics_ready(const struct session *session);
void metrics_ended(const struct session *session);
/* It came to a limit: KIND is the event that says so. */
void metrics_limit(const struct session *session, const char *kind);
