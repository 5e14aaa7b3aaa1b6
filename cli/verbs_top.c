/* SPDX-License-Identifier: Apache-2.0 */
/* `carrel top`: what every session uses, again and again. */
#include <poll.h>

#include "cli/cli.h"
#include "cli/format.h"
#include "cli/table.h"

enum {
	AT_ONCE = 32, /* half of what one connection may have in flight, so that none is refused */
	DEFAULT_SECONDS = 2,
	CELL_SIZE = FORMAT_SIZE + 8,
};

struct row {
	json_t *session, *stats, *before; /* stats of now and, where there were any, of the round before */
	double cpus; /* used since then; below 0: not known yet */
};

struct rows {
	struct row *row;
	size_t n;
};

static void rows_free(struct rows *rows)
{
	for (size_t i = 0; i < rows->n; i++) {
		json_decref(rows->row[i].session);
		json_decref(rows->row[i].stats);
		json_decref(rows->row[i].before);
	}
	free(rows->row);
	*rows = (struct rows){ 0 };
}

static double number_of(const json_t *stats, const char *group, const char *name)
{
	const json_t *value = json_object_get(json_object_get(stats, group), name);

	return json_is_number(value) ? json_number_value(value) : -1;
}

/* How fast it grows, in units a second; below 0 where that is not known. */
static double rate_of(const struct row *row, const char *group, const char *name, double seconds)
{
	const double now = number_of(row->stats, group, name), then = number_of(row->before, group, name);

	return now < 0 || then < 0 || now < then || seconds <= 0 ? -1 : (now - then) / seconds;
}

/* The statistics of rows FROM to TO, asked for together. One that is gone meanwhile has none. */
static int ask_some(struct client *client, struct rows *rows, size_t from, size_t to, struct failure *why)
{
	json_int_t ids[AT_ONCE];
	int r = 0;

	for (size_t i = from; r == 0 && i < to; i++)
		r = client_send(client, "session.stats",
			json_pack("{sO}", "session", json_object_get(rows->row[i].session, "id")), &ids[i - from],
			why);
	for (size_t i = from; r == 0 && i < to; i++) {
		r = client_answer(client, ids[i - from], CLIENT_PROMPT_MS, &rows->row[i].stats, why);
		if (r == -EREMOTEIO) {
			failure_free(why);
			r = 0;
		}
	}
	return r;
}

static int by_cpu(const void *a, const void *b)
{
	const struct row *one = a, *other = b;

	if (one->cpus != other->cpus)
		return one->cpus < other->cpus ? 1 : -1;
	return strcmp(text_of(one->session, "id"), text_of(other->session, "id"));
}

/* All sessions that have not ended, with what they use; KNOWN has the statistics of the round before, by id. */
static int look(struct client *client, json_t *known, double seconds, struct rows *ret, struct failure *why)
{
	json_t *sessions = fetch_sessions(client, json_object(), why), *session;
	size_t i;
	int r = 0;

	if (!sessions)
		return -EIO;
	ret->row = calloc(json_array_size(sessions) + 1, sizeof(*ret->row));
	json_array_foreach (sessions, i, session)
		if (ret->row && !streq(text_of(session, "state"), "ended"))
			ret->row[ret->n++].session = json_incref(session);
	json_decref(sessions);
	for (size_t from = 0; r == 0 && from < ret->n; from += AT_ONCE)
		r = ask_some(client, ret, from, from + AT_ONCE < ret->n ? from + AT_ONCE : ret->n, why);
	for (i = 0; r == 0 && i < ret->n; i++) {
		struct row *row = &ret->row[i];
		const char *id = text_of(row->session, "id");
		row->before = json_incref(json_object_get(known, id));
		row->cpus = rate_of(row, "cpu", "usage_seconds", seconds);
		if (row->stats)
			json_object_set(known, id, row->stats);
	}
	if (r == 0 && ret->n > 0)
		qsort(ret->row, ret->n, sizeof(*ret->row), by_cpu);
	return r;
}

static void add_bytes(struct table *table, double bytes, const char *unit)
{
	char text[FORMAT_SIZE];

	if (bytes < 0)
		table_add(table, NULL);
	else
		table_addf(table, "%s%s", format_bytes(text, (uint64_t)bytes), unit);
}

static void show(const struct cli *cli, const struct rows *rows, double seconds)
{
	static const struct column columns[] = { { "SESSION", .least = 12 }, { "TEMPLATE", .least = 8 },
		{ "STATE", .state = true }, { "CPU", .right = true }, { "MEMORY", .right = true },
		{ "PROCESSES", .right = true }, { "IN", .right = true }, { "OUT", .right = true }, { 0 } };
	_table_ struct table table;
	size_t n_ready = 0;

	table_init(&table, &cli->out, columns);
	for (size_t i = 0; i < rows->n; i++) {
		const struct row *row = &rows->row[i];
		const char *state = text_of(row->session, "state");
		const double processes = number_of(row->stats, "pids", "current");
		n_ready += state && streq(state, "ready");
		table_add(&table, text_of(row->session, "id"));
		table_add(&table, text_of(row->session, "template"));
		table_add(&table, state);
		if (row->cpus < 0)
			table_add(&table, NULL);
		else
			table_addf(&table, "%.1f %%", 100 * row->cpus);
		add_bytes(&table, number_of(row->stats, "memory", "current_bytes"), "");
		if (processes < 0)
			table_add(&table, NULL);
		else
			table_addf(&table, "%.0f", processes);
		add_bytes(&table, rate_of(row, "network", "received_bytes", seconds), "/s");
		add_bytes(&table, rate_of(row, "network", "sent_bytes", seconds), "/s");
	}
	if (cli->out.tty)
		fputs("\033[H\033[J", stdout); /* home, and nothing below */
	printf("%zu session%s, %zu ready\n\n", rows->n, rows->n == 1 ? "" : "s", n_ready);
	table_print(&table, stdout);
	fflush(stdout);
}

enum exit_code run_top(struct cli *cli)
{
	_client_ struct client client = { .fd = -1 };
	_failure_ struct failure why = { 0 };
	const json_t *interval = json_object_get(cli->options, "interval"),
		     *rounds = json_object_get(cli->options, "count");
	const double wanted = json_is_number(interval) ? json_number_value(interval) : DEFAULT_SECONDS;
	const json_int_t n = json_is_integer(rounds) ? json_integer_value(rounds) : 0;
	json_t *known = json_object();
	int64_t before = 0;
	int r = client_open(&client, cli->socket_path, &why);

	for (json_int_t i = 0; r == 0 && (n == 0 || i <= n); i++) {
		struct rows rows = { 0 };
		const int64_t now = monotonic_ms();
		const double seconds = before ? (double)(now - before) / 1000 : 0;
		r = look(&client, known, seconds, &rows, &why);
		before = now;
		/* Of the first look nothing is known that is by the second; a terminal shows it all the same. */
		if (r == 0 && (i > 0 || cli->out.tty))
			show(cli, &rows, seconds);
		rows_free(&rows);
		if (r == 0 && (n == 0 || i < n))
			poll(NULL, 0, (int)(wanted * 1000));
	}
	json_decref(known);
	return r < 0 ? cli_failed(cli, &why) : EXIT_OK;
}
