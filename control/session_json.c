/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What clients see of a session (docs/API.md). Secrets, keys and who created it are not among it.
 */
#include <stdio.h>

#include "control/json.h"
#include "control/lifecycle.h"

#define CLOCK_SLACK_NS (2 * NS_PER_SEC) /* by which the two clocks may differ without having been set */

json_t *session_limits_json(const struct limits *limits, uint32_t enforced)
{
	json_t *object = json_object();

	for (enum limit i = 0; i < LIMIT_COUNT; i++) {
		uint64_t value = limits->value[i];
		if (value == LIMIT_UNSET)
			continue;
		json_put(&object, limit_table[i].name,
			json_pack("{s:o, s:b}", "value",
				limit_table[i].fractional ? json_real((double)value / 1000)
							  : json_integer((json_int_t)value),
				"enforced", (int)(enforced >> i & 1)));
	}
	return object;
}

json_t *session_end_json(const struct session_end *end)
{
	if (end->at_ns == NEVER)
		return json_null();
	json_t *object = json_object();
	json_put(&object, "reason", json_string(end_reason_name(end->reason)));
	json_put(&object, "at", json_time(end->at_ns));
	if (end->exit_code >= 0)
		json_put(&object, "exit_code", json_integer(end->exit_code));
	if (end->signal > 0)
		json_put(&object, "signal", json_integer(end->signal));
	if (end->step[0])
		json_put(&object, "step", json_text(end->step));
	if (end->err_no)
		json_put(&object, "errno", json_errno(end->err_no));
	if (end->message)
		json_put(&object, "message", json_text(end->message));
	if (end->log_tail)
		json_put(&object, "log_tail", json_text(end->log_tail));
	return object;
}

static json_t *or_null(const char *s)
{
	return s && s[0] ? json_string(s) : json_null();
}

struct filling {
	const char *name, *value;
};

/* A copy of FORMAT with what FILLINGS name, up to a NULL name, filled in: the caller's; NULL when memory is short. */
static char *fill_url(const char *format, const struct filling *fillings)
{
	char *url = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&url, &size);

	if (!out)
		return NULL;
	while (*format) {
		const struct filling *filling = fillings;
		while (filling->name && strncmp(format, filling->name, strlen(filling->name)) != 0)
			filling++;
		if (filling->name) {
			fputs(filling->value, out);
			format += strlen(filling->name);
		} else {
			fputc(*format++, out);
		}
	}
	fclose(out);
	return url;
}

/* The address as a URL has it: an IPv6 one in brackets. Empty when there is none. */
static void url_address(const struct record *record, char *buf, size_t size)
{
	if (record->address[0] || !record->address6[0])
		snprintf(buf, size, "%s", record->address);
	else
		snprintf(buf, size, "[%s]", record->address6);
}

/* {name: {url}} for the ports that the template offers; nothing while there is no address, or no longer one. */
static json_t *addresses(const struct session *session, const char *hash)
{
	const struct template *template = session->template;
	json_t *object = json_object();
	char address[64];

	url_address(&session->record, address, sizeof(address));
	if (!template || !session_is_live(session) || !address[0])
		return object;
	for (size_t i = 0; i < template->n_endpoints; i++) {
		char port[8];
		if (template->endpoints[i].path)
			continue;
		snprintf(port, sizeof(port), "%u", template->endpoints[i].port);
		const struct filling fillings[] = { { "{address}", address }, { "{port}", port },
			{ "{owner_hash}", hash }, { "{session}", session->record.id }, { NULL, NULL } };
		_free_ char *url = fill_url(template->endpoints[i].url, fillings);
		json_put(&object, template->endpoints[i].name, json_pack("{s:s?}", "url", url));
	}
	return object;
}

/* The same with the sockets that lead there, and with what clients have published. */
static json_t *endpoints(const struct session *session, const char *hash)
{
	json_t *object = addresses(session, hash);

	ports_put_endpoints(session, &object);
	return object;
}

/* The URL of an endpoint under a name of its own, as existing callers expect it; null when there is none. */
static json_t *endpoint_url(const json_t *endpoints, const char *name)
{
	json_t *url = json_object_get(json_object_get(endpoints, name), "url");

	return url ? json_incref(url) : json_null();
}

/*
 * What holds is BOOT_NS, of a clock that nobody sets. AT_NS is the same moment by the host's clock as it was then: when
 * that was set since, it is told anew.
 */
static json_t *deadline(uint64_t at_ns, uint64_t boot_ns)
{
	if (at_ns == NEVER || boot_ns == NEVER)
		return json_null();
	const int64_t left_ns = (int64_t)(boot_ns - boottime_ns());
	const int64_t set_by_ns = (int64_t)(realtime_ns() - at_ns) + left_ns;
	const bool was_set = set_by_ns > (int64_t)CLOCK_SLACK_NS || set_by_ns < -(int64_t)CLOCK_SLACK_NS;

	return json_time(was_set ? at_ns + (uint64_t)set_by_ns : at_ns);
}

static json_t *idle_deadline(const struct record *record)
{
	uint64_t at, boot;

	if (record->ready_at_ns == NEVER || record->idle_ns == NEVER ||
		__builtin_add_overflow(record->last_activity_at_ns, record->idle_ns, &at) ||
		__builtin_add_overflow(record->last_activity_boot_ns, record->idle_ns, &boot))
		return json_null();
	return deadline(at, boot);
}

/* A shared reference to what the record holds, or an empty value. */
static json_t *shared(json_t *value, json_t *(*empty)(void))
{
	return value ? json_incref(value) : empty();
}

json_t *session_json(const struct session *session)
{
	const struct record *record = &session->record;
	char hash[OWNER_HASH_SIZE];
	const bool live = session_is_live(session); /* of what was, there is only the end */

	owner_hash(record->owner, hash);
	json_t *json = json_object(), *ends = endpoints(session, hash);
	json_t *times = record->timeline ? json_loads(record->timeline, 0, NULL) : NULL;
	/* clang-format off */
	const struct { const char *name; json_t *value; } members[] = {
		{ "id",               json_string(record->id) },
		{ "template",         json_string(record->template) },
		{ "kind",             json_string(record->kind) },
		{ "owner",            json_string(record->owner) },
		{ "owner_hash",       json_string(hash) },
		{ "task_id",          or_null(record->task_id) },
		{ "isolation",        or_null(record->isolation) },
		{ "state",            json_string(session_state_name(record->state)) },
		{ "created_at",       json_time(record->created_at_ns) },
		{ "ready_at",         json_time(record->ready_at_ns) },
		{ "expires_at",       live ? deadline(record->expires_at_ns, record->expires_boot_ns) : json_null() },
		{ "idle_deadline",    live ? idle_deadline(record) : json_null() },
		{ "last_activity_at", json_time(record->last_activity_at_ns) },
		{ "restarts",         json_integer(record->n_restarts) },
		{ "end",              session_end_json(&record->end) },
		{ "address",          live ? or_null(record->address) : json_null() },
		{ "ipv6",             live ? or_null(record->address6) : json_null() },
		{ "hostname",         json_string(record->hostname) },
		{ "cdp_url",          endpoint_url(ends, "cdp") },
		{ "rpc_url",          endpoint_url(ends, "rpc") },
		{ "browser_view",     endpoint_url(ends, "view") },
		{ "endpoints",        ends },
		{ "limits",           shared(record->limits, json_object) },
		{ "labels",           shared(record->labels, json_object) },
		{ "volumes",          shared(record->volumes, json_array) },
		{ "timeline",         times ? times : json_array() },
	};
	/* clang-format on */
	for (size_t i = 0; i < ARRAY_SIZE(members); i++)
		json_put(&json, members[i].name, members[i].value);
	return json;
}
