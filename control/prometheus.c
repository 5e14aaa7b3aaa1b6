/* SPDX-License-Identifier: Apache-2.0 */
#include "control/prometheus.h"

#include "wire/loop.h"

/* Upper bounds in microseconds: an exec is under one millisecond, the start of a browser some hundred. */
static const uint32_t bounds_us[HISTOGRAM_BUCKETS] = { 250, 500, 1000, 2500, 5000, 10000, 25000, 50000, 100000,
	250000, 500000, 1000000, 2500000, 10000000, 60000000 };

void histogram_add(struct histogram *histogram, uint64_t ns)
{
	size_t i = 0;

	while (i < HISTOGRAM_BUCKETS && ns > (uint64_t)bounds_us[i] * 1000)
		i++;
	if (i < HISTOGRAM_BUCKETS)
		histogram->counts[i]++;
	histogram->n++;
	histogram->sum_ns += ns;
}

void metric_head(FILE *out, const char *name, const char *type, const char *help)
{
	fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

void metric_value(FILE *out, const char *name, const char *labels, double value)
{
	fprintf(out, "%s%s%s%s %.17g\n", name, labels[0] ? "{" : "", labels, labels[0] ? "}" : "", value);
}

void metric_single(FILE *out, const char *name, const char *type, const char *help, double value)
{
	metric_head(out, name, type, help);
	metric_value(out, name, "", value);
}

void metric_histogram(FILE *out, const char *name, const char *labels, const struct histogram *histogram)
{
	const char *comma = labels[0] ? "," : "", *open = labels[0] ? "{" : "", *close = labels[0] ? "}" : "";
	uint64_t n = 0;

	for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
		n += histogram->counts[i];
		fprintf(out, "%s_bucket{%s%sle=\"%g\"} %llu\n", name, labels, comma, bounds_us[i] / 1e6,
			(unsigned long long)n);
	}
	fprintf(out, "%s_bucket{%s%sle=\"+Inf\"} %llu\n", name, labels, comma, (unsigned long long)histogram->n);
	fprintf(out, "%s_sum%s%s%s %.9f\n", name, open, labels, close, (double)histogram->sum_ns / NS_PER_SEC);
	fprintf(out, "%s_count%s%s%s %llu\n", name, open, labels, close, (unsigned long long)histogram->n);
}
