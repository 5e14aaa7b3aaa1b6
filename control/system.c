/* SPDX-License-Identifier: Apache-2.0 */
#include "control/system.h"

#include <sys/utsname.h>

#include "control/control.h"
#include "control/discover.h"
#include "control/json.h"
#include "control/server.h"
#include "version.h"

/* A result that could not be built is NULL: memory was short. */
static void reply(struct call *call, json_t *result)
{
	struct error_details details = { .err_no = ENOMEM };

	if (result)
		call_reply(call, result);
	else
		call_fail(call, E_UNAVAILABLE, true, &details, "out of memory");
}

static double seconds(uint64_t ns)
{
	return (double)ns / (double)NS_PER_SEC;
}

/* A duration of the configuration; null for never. */
static json_t *seconds_or_null(uint64_t ns)
{
	return ns == UINT64_MAX ? json_null() : json_real(seconds(ns));
}

static json_t *api_version(void)
{
	return json_pack("{s:i, s:i}", "major", API_MAJOR, "minor", API_MINOR);
}

/* Groups of methods that this version has: "session", "events", ... */
static json_t *capabilities(void)
{
	json_t *array = json_array();
	size_t previous = 0;

	for (size_t i = 0; i < n_methods; i++) {
		const char *name = method_table[i].name;
		size_t n = strcspn(name, ".");
		if (!name[n] || (n == previous && memcmp(name, method_table[i - 1].name, n) == 0))
			continue;
		previous = n;
		json_append(&array, json_stringn(name, n));
	}
	return array;
}

static json_t *client_limits(const struct config *config)
{
	uint32_t per_uid = config->max_sessions_per_uid, per_owner = config->max_sessions_per_owner;
	const struct {
		const char *name;
		uint64_t value;
	} limits[] = {
		{ "frame_bytes", RPC_MAX_FRAME },
		{ "nesting", RPC_MAX_DEPTH },
		{ "batch", RPC_MAX_BATCH },
		{ "connections", config->max_connections },
		{ "connections_per_uid", config->max_connections_per_uid },
		{ "in_flight", config->max_in_flight },
		{ "in_flight_per_uid", (uint64_t)config->max_in_flight * USER_SHARE },
		{ "queued_bytes", config->max_queued_bytes },
		{ "queued_bytes_per_uid", config->max_queued_bytes * USER_SHARE },
		{ "sessions", config->max_sessions },
		{ "sessions_per_uid", per_uid ? per_uid : config->max_sessions },
		{ "sessions_per_owner", per_owner ? per_owner : config->max_sessions },
	};
	json_t *object = json_object();

	for (size_t i = 0; i < ARRAY_SIZE(limits); i++)
		json_put(&object, limits[i].name, json_integer((json_int_t)limits[i].value));
	return object;
}

void method_hello(struct call *call)
{
	const struct control *control = call_control(call);
	const struct caller *caller = call_caller(call);
	const json_t *api = json_object_get(call_params(call), "api");

	if (api && json_integer_value(api) != API_MAJOR) {
		call_fail(call, E_UNAVAILABLE, false, NULL,
			"version %lld of the interface is asked for, %d.%d is served",
			(long long)json_integer_value(api), API_MAJOR, API_MINOR);
		return;
	}
	json_t *result = json_object();
	json_put(&result, "api", api_version());
	json_put(&result, "version", json_string(CARREL_VERSION));
	json_put(&result, "boot_id", json_string(control->boot_id));
	json_put(&result, "role", json_string(role_name(caller->role)));
	json_put(&result, "owner_prefix", json_string(caller->owner_prefix));
	json_put(&result, "limits", client_limits(&control->config));
	json_put(&result, "capabilities", capabilities());
	reply(call, result);
}

void method_rpc_discover(struct call *call)
{
	reply(call, discover_document());
}

static bool has_docker(const struct config *config)
{
	for (size_t i = 0; i < config->n_templates; i++)
		if (streq(config->templates[i].kind, "dind"))
			return true;
	return false;
}

void method_system_health(struct call *call)
{
	const struct control *control = call_control(call);
	json_t *states = lifecycle_states(control), *count;
	json_int_t active = 0;
	const char *state;

	json_object_foreach (states, state, count)
		if (!streq(state, "ended"))
			active += json_integer_value(count);
	json_t *result = json_object();
	json_put(&result, "status", json_string(lifecycle_status(control)));
	json_put(&result, "active_sessions", json_integer(active));
	json_put(&result, "sessions_by_state", states);
	json_put(&result, "docker_available", json_boolean(has_docker(&control->config)));
	/* This process ends with the supervisor's channel: whoever gets an answer knows that both are there. */
	json_put(&result, "supervisor", json_string("connected"));
	json_put(&result, "uptime_seconds", json_real(seconds(boottime_ns() - control->started_ns)));
	reply(call, result);
}

void method_system_info(struct call *call)
{
	const struct control *control = call_control(call);
	const struct config *config = &control->config;
	struct utsname host;

	uname(&host);
	json_t *result = json_object();
	json_put(&result, "version", json_string(CARREL_VERSION));
	json_put(&result, "api", api_version());
	json_put(&result, "boot_id", json_string(control->boot_id));
	json_put(&result, "kernel", json_text(host.release));
	json_put(&result, "machine", json_text(host.machine));
	json_put(&result, "host", json_text(host.nodename));
	json_put(&result, "uptime_seconds", json_real(seconds(boottime_ns() - control->started_ns)));
	json_put(&result, "config_directory", json_text(control->config_directory));
	json_put(&result, "state_directory", json_text(config->state_dir));
	json_put(&result, "run_directory", json_text(config->run_dir));
	json_put(&result, "templates", json_integer((json_int_t)config->n_templates));
	json_put(&result, "max_sessions", json_integer((json_int_t)config->max_sessions));
	json_put(&result, "event_history", json_integer((json_int_t)config->event_history));
	json_put(&result, "ipv6", json_boolean(config->has_ipv6));
	reply(call, result);
}

/* ---- templates ---- */

static json_t *template_limits(const struct limits *limits)
{
	json_t *object = json_object();

	for (size_t i = 0; i < LIMIT_COUNT; i++) {
		uint64_t value = limits->value[i];
		if (value == LIMIT_UNSET)
			continue;
		json_t *number =
			limit_table[i].fractional ? json_real((double)value / 1000) : json_integer((json_int_t)value);
		json_put(&object, limit_table[i].name, number);
	}
	return object;
}

static json_t *template_endpoints(const struct template *template)
{
	json_t *array = json_array();

	for (size_t i = 0; i < template->n_endpoints; i++) {
		const struct config_endpoint *endpoint = &template->endpoints[i];
		if (endpoint->path)
			json_append(&array, json_pack("{s:s, s:s}", "name", endpoint->name, "path", endpoint->path));
		else
			json_append(&array, json_pack("{s:s, s:i, s:s}", "name", endpoint->name, "port",
						    (int)endpoint->port, "url", endpoint->url));
	}
	return array;
}

static json_t *strings(char *const *list)
{
	json_t *array = json_array();

	for (; list && *list; list++)
		json_append(&array, json_string(*list));
	return array;
}

/*
 * What a client may know of a template. Its environment may hold secrets and its mounts say where things lie on the
 * host: both stay here.
 */
static json_t *template_json(const struct template *template)
{
	json_t *object = json_object();

	json_put(&object, "name", json_string(template->name));
	json_put(&object, "kind", json_text(template->kind));
	json_put(&object, "description", json_text(template->description));
	json_put(&object, "image", json_text(template->image));
	json_put(&object, "limits", template_limits(&template->limits));
	json_put(&object, "ttl_seconds", seconds_or_null(template->ttl_ns));
	json_put(&object, "max_sessions",
		template->max_sessions ? json_integer((json_int_t) template->max_sessions) : json_null());
	json_put(&object, "max_ttl_seconds", seconds_or_null(template->max_ttl_ns));
	json_put(&object, "idle_timeout_seconds", seconds_or_null(template->idle_ns));
	json_put(&object, "grace_seconds", json_real(seconds(template->grace_ns)));
	json_put(&object, "egress", json_text(template->egress));
	json_put(&object, "egress_allowed", strings(template->egress_allowed));
	json_put(&object, "endpoints", template_endpoints(template));
	return object;
}

void method_template_list(struct call *call)
{
	const struct config *config = &call_control(call)->config;
	json_t *array = json_array();

	for (size_t i = 0; i < config->n_templates; i++)
		json_append(&array, template_json(&config->templates[i]));
	json_t *result = json_object();
	json_put(&result, "templates", array);
	reply(call, result);
}

void method_template_get(struct call *call)
{
	const char *name = json_string_value(json_object_get(call_params(call), "template"));
	const struct template *template = config_template(&call_control(call)->config, name);

	if (template)
		reply(call, template_json(template));
	else
		call_fail(call, E_NOT_FOUND, false, NULL, "there is no template \"%s\"", name);
}
