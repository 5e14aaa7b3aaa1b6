/* SPDX-License-Identifier: Apache-2.0 */
/* The lifecycle's metrics: that they count what happens, and that a monitor can read them. */
#include "unit.h"

#include "fake_host.h"

#include <math.h>
#include <stdio.h>

static int setup(void **state)
{
	*state = host_new();
	host_start(*state);
	return 0;
}

static int teardown(void **state)
{
	host_free(*state);
	return 0;
}

static char *scrape(struct fake_host *host)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	lifecycle_print_metrics(&host->control, out);
	fclose(out);
	return text;
}

/* The value of the sample that is called exactly SAMPLE; NAN when there is none. */
static double sample(struct fake_host *host, const char *wanted)
{
	_free_ char *text = scrape(host);
	char *rest = text;
	double value = NAN;

	for (char *line; (line = strsep(&rest, "\n"));) {
		size_t n = strlen(wanted);
		if (strncmp(line, wanted, n) == 0 && line[n] == ' ')
			value = strtod(line + n, NULL);
	}
	return value;
}

#define expect(host, wanted, value) assert_float_equal(sample(host, wanted), value, 1e-9)

static void test_counts(void **state)
{
	struct fake_host *host = *state;

	expect(host, "carrel_sessions_created_total{template=\"plain\"}", 0);
	json_decref(host_create(host, "plain", "a"));
	json_decref(host_create(host, "http", "b"));
	expect(host, "carrel_sessions{template=\"plain\",state=\"ready\"}", 1);
	expect(host, "carrel_sessions_created_total{template=\"http\"}", 1);
	expect(host, "carrel_session_create_seconds_count", 2);
	expect(host, "carrel_session_ready_seconds_count", 2);
	json_decref(host_ok(host, method_session_stop, json_pack("{s:s}", "session", "a")));
	expect(host, "carrel_sessions{template=\"plain\",state=\"ended\"}", 1);
	expect(host, "carrel_sessions_ended_total{reason=\"stopped\"}", 1);
	expect(host, "carrel_session_destroy_seconds_count", 1);
	host->control.config.max_sessions = 1;
	call_free(host_error(host, method_session_create, json_pack("{s:s}", "template", "plain")));
	expect(host, "carrel_sessions_refused_total{limit=\"host\"}", 1);
	expect(host, "carrel_control_starts_total", 1);
	host_crash(host);
	host_start(host);
	expect(host, "carrel_control_starts_total", 2);
	expect(host, "carrel_sessions{template=\"http\",state=\"ready\"}", 1);
}

static void test_histogram(void **state _unused_)
{
	struct histogram histogram = { 0 };
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	histogram_add(&histogram, 250 * 1000);
	histogram_add(&histogram, 250 * 1000 + 1);
	histogram_add(&histogram, 3600 * NS_PER_SEC);
	metric_histogram(out, "x", "a=\"b\"", &histogram);
	fclose(out);
	assert_non_null(strstr(text, "x_bucket{a=\"b\",le=\"0.00025\"} 1\n"));
	assert_non_null(strstr(text, "x_bucket{a=\"b\",le=\"0.0005\"} 2\n"));
	assert_non_null(strstr(text, "x_bucket{a=\"b\",le=\"60\"} 2\n"));
	assert_non_null(strstr(text, "x_bucket{a=\"b\",le=\"+Inf\"} 3\n"));
	assert_non_null(strstr(text, "x_sum{a=\"b\"} 3600.000500001\n"));
	assert_non_null(strstr(text, "x_count{a=\"b\"} 3\n"));
	free(text);
}

/* However many names the other side makes up, and whatever is in them. */
static void test_hostile_steps(void **state)
{
	struct fake_host *host = *state;
	struct super_created created = { .n_steps = 2 };

	json_decref(host_create(host, "plain", "a"));
	const struct session *session = session_find(host->control.lifecycle, "a");
	for (unsigned i = 0; i < 100; i++) {
		snprintf(created.steps[0].name, STEP_NAME_SIZE, "step%u", i);
		snprintf(created.steps[1].name, STEP_NAME_SIZE, "a\"} 1\nx %u", i);
		metrics_created(session, &created);
	}
	char *text = scrape(host);
	assert_null(strstr(text, "\nx "));
	assert_int_equal(host->control.lifecycle->metrics.n_steps, MAX_STEPS);
	for (size_t i = 1; i < MAX_STEPS; i++)
		assert_string_not_equal(host->control.lifecycle->metrics.steps[i].name, "other");
	free(text);
	expect(host, "carrel_session_create_step_seconds_count{step=\"step1\"}", 1);
	assert_true(sample(host, "carrel_session_create_step_seconds_count{step=\"other\"}") >= 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_counts, setup, teardown),
		cmocka_unit_test(test_histogram),
		cmocka_unit_test_setup_teardown(test_hostile_steps, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
