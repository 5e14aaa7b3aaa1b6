/* SPDX-License-Identifier: Apache-2.0 */
/* Prometheus' text format (version 0.0.4), and the histograms that are printed in it. */
#pragma once

#include <stdio.h>

#include "wire/def.h"

enum { HISTOGRAM_BUCKETS = 15 };

struct histogram {
	uint64_t counts[HISTOGRAM_BUCKETS]; /* of its own bucket each; what is above the last is in N alone */
	uint64_t n, sum_ns;
};

void histogram_add(struct histogram *histogram, uint64_t ns);

/* The head of a metric. TYPE: "counter", "gauge" or "histogram". */
void metric_head(FILE *out, const char *name, const char *type, const char *help);
/* One sample. LABELS as they stand between the braces, or "". */
void metric_value(FILE *out, const char *name, const char *labels, double value);
/* Head and sample of a metric without labels. */
void metric_single(FILE *out, const char *name, const char *type, const char *help, double value);
/* The samples of one histogram. */
void metric_histogram(FILE *out, const char *name, const char *labels, const struct histogram *histogram);
