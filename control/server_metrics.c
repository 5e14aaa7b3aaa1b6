/* SPDX-License-Identifier: Apache-2.0 */
/* The server's part of system.metrics, and the method itself. */
#include <stdio.h>

#include "control/control.h"
#include "control/prometheus.h"
#include "control/server.h"
#include "control/system.h"
#include "version.h"

static void print_requests(FILE *out, const struct server *server)
{
	const char *name = "carrel_requests_total";
	char labels[128];

	metric_head(out, name, "counter",
		"Requests that were answered, by method and outcome: ok, or the kind of the error.");
	for (size_t i = 0; i < n_methods; i++) {
		for (enum error_kind kind = 0; kind <= E_KIND_COUNT; kind++) {
			uint64_t n = server->n_answers[i][kind];
			/* A method that was called is told of; others would only be noughts. */
			if (n == 0)
				continue;
			snprintf(labels, sizeof(labels), "method=\"%s\",outcome=\"%s\"", method_table[i].name,
				kind == E_KIND_COUNT ? "ok" : error_table[kind].word);
			metric_value(out, name, labels, (double)n);
		}
	}
}

static void print_server(FILE *out, const struct control *control)
{
	const struct server *server = control->server;
	size_t n_calls = 0, n_bytes = 0;

	for (const struct client *client = server->clients; client; client = client->next) {
		n_calls += client->n_calls;
		n_bytes += client->n_bytes;
	}
	metric_head(out, "carrel_build_info", "gauge", "1, with the version.");
	metric_value(out, "carrel_build_info", "version=\"" CARREL_VERSION "\"", 1);
	metric_single(out, "carrel_control_uptime_seconds", "gauge", "Since carrel-control was started.",
		(double)(boottime_ns() - control->started_ns) / NS_PER_SEC);
	metric_single(out, "carrel_connections", "gauge", "Connections of clients.", (double)server->n_conns);
	metric_single(
		out, "carrel_requests_in_flight", "gauge", "Requests that are not answered yet.", (double)n_calls);
	metric_single(out, "carrel_client_bytes", "gauge",
		"Bytes held for clients: requests, and answers not yet read.", (double)n_bytes);
	print_requests(out, server);
}

void method_system_metrics(struct call *call)
{
	struct control *control = call_control(call);
	_free_ char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	if (out) {
		print_server(out, control);
		lifecycle_print_metrics(control, out);
	}
	if (!out || fclose(out) != 0) {
		call_fail(call, E_UNAVAILABLE, true, &(struct error_details){ .err_no = ENOMEM }, "out of memory");
		return;
	}
	call_reply(call,
		json_pack("{s:s, s:s}", "content_type", "text/plain; version=0.0.4; charset=utf-8", "text", text));
}
