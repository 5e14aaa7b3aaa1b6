/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <stdio.h>

#include "control/exec.h"
#include "control/json.h"
#include "control/lifecycle.h"
#include "control/session_methods.h"

static const char *param_string(const struct call *call, const char *name)
{
	return json_string_value(json_object_get(call_params(call), name));
}

static void fail_param(struct call *call, enum error_kind kind, const char *path, const char *text)
{
	call_fail(call, kind, false, &(struct error_details){ .path = path }, "%s: %s", path, text);
}

/* The session of CALL that has a running init; else NULL, and the call is answered. PAUSED: it may be. */
static struct session *running_session(struct call *call, bool paused)
{
	struct session *session = session_of_call(call);

	if (!session)
		return NULL;
	const enum session_state state = session->record.state;
	if (init_link_is_open(&session->init) &&
		(state == SESSION_STARTING || state == SESSION_READY || (paused && state == SESSION_PAUSED)))
		return session;
	if (exec_fail_foreign(session, call))
		return NULL;
	call_fail(call, state == SESSION_CREATING ? E_NOT_READY : E_INVALID_STATE, state == SESSION_CREATING,
		&(struct error_details){ .session = session->record.id }, "session %s is %s", session->record.id,
		session_state_name(state));
	return NULL;
}

/* What CALL wants to reach; its path is CALL's. False: answered. */
static bool read_target(struct call *call, struct dial_target *ret)
{
	const char *path = param_string(call, "path"), *family = param_string(call, "family");

	*ret = (struct dial_target){
		.port = (uint16_t)json_integer_value(json_object_get(call_params(call), "port")),
		.family = !family		  ? FAMILY_ANY
			  : streq(family, "ipv4") ? FAMILY_IPV4
						  : FAMILY_IPV6,
		.path = path,
	};
	if (path && path[0] != '/') {
		fail_param(call, E_INVALID_PARAMS, "path", "an absolute path");
		return false;
	}
	return true;
}

void method_port_connect(struct call *call)
{
	const char *via = param_string(call, "via");
	const bool via_fd = via && streq(via, "fd");
	struct session *session = running_session(call, false);
	struct dial_target target;

	if (!session || !read_target(call, &target) || (via_fd && !call_takes_fds(call)))
		return;
	const char *bound = port_conns_bound(session);
	if (bound)
		call_fail(call, E_LIMIT, true, &(struct error_details){ .session = session->record.id },
			"session %s takes no more connections now: %s is reached", session->record.id, bound);
	else
		port_conn_call(session, &target, via_fd, call);
}

/* ---- port.publish ---- */

/* The address of "as.tcp", which the configuration must have. False: answered. */
static bool read_address(struct call *call, const json_t *tcp, struct port *ret)
{
	const struct config *config = &call_control(call)->config;
	const json_t *value = json_object_get(tcp, "address");
	const char *text = json_string_value(value);
	struct config_address wanted = { 0 };

	if (config->n_publish_addresses == 0) {
		fail_param(call, E_DENIED, "as.tcp", "the configuration has no addresses for it (publish.addresses)");
		return false;
	}
	if (!value) {
		ret->address = config->publish_addresses[0];
		return true;
	}
	if (text && inet_pton(AF_INET, text, wanted.bytes) == 1)
		wanted.family = 4;
	else if (text && inet_pton(AF_INET6, text, wanted.bytes) == 1)
		wanted.family = 6;
	if (!wanted.family) {
		fail_param(call, E_INVALID_PARAMS, "as.tcp.address", "an IPv4 or IPv6 address");
		return false;
	}
	for (size_t i = 0; i < config->n_publish_addresses; i++) {
		const struct config_address *allowed = &config->publish_addresses[i];
		if (allowed->family == wanted.family &&
			memcmp(allowed->bytes, wanted.bytes, wanted.family == 4 ? 4 : 16) == 0) {
			ret->address = wanted;
			return true;
		}
	}
	fail_param(call, E_DENIED, "as.tcp.address", "none of the configuration's (publish.addresses)");
	return false;
}

static bool read_tcp(struct call *call, const json_t *tcp, struct port *ret)
{
	const struct config *config = &call_control(call)->config;
	const json_t *value = json_object_get(tcp, "port");
	const json_int_t port = json_integer_value(value);
	const char *name;
	json_t *member;

	if (!json_is_object(tcp)) {
		fail_param(call, E_INVALID_PARAMS, "as.tcp", "an object of address and port, both optional");
		return false;
	}
	json_object_foreach ((json_t *)(uintptr_t)tcp, name, member)
		if (!streq(name, "address") && !streq(name, "port")) {
			fail_param(call, E_INVALID_PARAMS, "as.tcp", "knows address and port only");
			return false;
		}
	if (call_caller(call)->role < config->publish_role) {
		call_fail(call, E_DENIED, false, &(struct error_details){ .path = "as.tcp" },
			"as.tcp: is for the role %s (publish.role); a unix socket is not",
			role_name(config->publish_role));
		return false;
	}
	if (value && (!json_is_integer(value) || port < 1 || port > UINT16_MAX)) {
		fail_param(call, E_INVALID_PARAMS, "as.tcp.port", "an integer from 1 to 65535");
		return false;
	}
	if (value && (port < config->publish_first_port || port > config->publish_last_port)) {
		call_fail(call, E_DENIED, false, &(struct error_details){ .path = "as.tcp.port" },
			"as.tcp.port: is not from %u to %u (publish.first_port, publish.last_port)",
			config->publish_first_port, config->publish_last_port);
		return false;
	}
	ret->tcp = true;
	ret->host_port = (uint16_t)port;
	return read_address(call, tcp, ret);
}

static bool read_as(struct call *call, struct port *ret)
{
	const json_t *as = json_object_get(call_params(call), "as"), *tcp = json_object_get(as, "tcp");

	if (json_object_size(as) == 1 && tcp)
		return read_tcp(call, tcp, ret);
	if (json_object_size(as) == 1 && json_is_true(json_object_get(as, "unix")))
		return true;
	fail_param(call, E_INVALID_PARAMS, "as", "{\"unix\": true} or {\"tcp\": {…}}");
	return false;
}

/* The name that CALL gives, or "port-80", "tcp-80", "socket-1". False: answered. */
static bool read_name(struct call *call, const struct session *session, struct port *ret)
{
	const char *name = param_string(call, "name");

	if (name) {
		if (strlen(name) > PORT_MAX_NAME) {
			fail_param(call, E_INVALID_PARAMS, "name", "a name of at most 32 characters");
			return false;
		}
		return copy_string(ret->name, sizeof(ret->name), name) == 0;
	}
	if (ret->target.port > 0) {
		snprintf(ret->name, sizeof(ret->name), "%s-%u", ret->tcp ? "tcp" : "port", ret->target.port);
		return true;
	}
	for (unsigned i = 1;; i++) {
		snprintf(ret->name, sizeof(ret->name), "socket-%u", i);
		const struct port *there = ports_find(session, ret->name);
		if (!there || (there->path && streq(there->path, ret->target.path) && there->tcp == ret->tcp))
			return true;
	}
}

/* What is asked for is what is there: asking again is safe. A host port that is left open fits any. */
static bool is_same(const struct port *there, const struct port *wanted)
{
	return there->target.port == wanted->target.port && there->target.family == wanted->target.family &&
	       !there->path == !wanted->target.path && (!there->path || streq(there->path, wanted->target.path)) &&
	       there->tcp == wanted->tcp && memcmp(&there->address, &wanted->address, sizeof(there->address)) == 0 &&
	       (wanted->host_port == 0 || there->host_port == wanted->host_port);
}

static void reply_port(struct call *call, const struct port *port)
{
	json_t *result = port_json(port);

	json_put(&result, "name", json_string(port->name));
	call_reply(call, result);
}

static void fail_publish(struct call *call, const struct port *wanted, int r)
{
	const struct error_details details = { .step = "listen", .err_no = -r };

	if (r == -EADDRINUSE && wanted->tcp && wanted->host_port > 0)
		call_fail(call, E_CONFLICT, false, &details, "port %u of that address is in use", wanted->host_port);
	else if (r == -EADDRINUSE && wanted->tcp)
		call_fail(call, E_LIMIT, true, &details, "no port from publish.first_port to last_port is free");
	else if (r == -ENAMETOOLONG)
		call_fail(call, E_LIMIT, false, &details,
			"run_dir, the session's id and the name \"%s\" make a path of more than %d bytes",
			wanted->name, PORT_PATH_SIZE - 1);
	else if (r == -EAFNOSUPPORT)
		call_fail(call, E_UNAVAILABLE, false, &details,
			"the service manager keeps carrel-control from TCP: see "
			"/usr/share/doc/carrel/examples/publish-tcp.conf");
	else
		call_fail(call, E_FAILED, r == -EMFILE || r == -ENOMEM, &details, "cannot listen: %s", strerror(-r));
}

void method_port_publish(struct call *call)
{
	const uint32_t max = call_control(call)->config.max_ports_per_session;
	struct session *session = running_session(call, true);
	struct port wanted = { 0 }, *port;

	if (!session || !read_target(call, &wanted.target) || !read_as(call, &wanted) ||
		!read_name(call, session, &wanted))
		return;
	const struct port *there = ports_find(session, wanted.name);
	if (there && is_same(there, &wanted)) {
		reply_port(call, there);
		return;
	}
	if (there) {
		call_fail(call, E_CONFLICT, false, &(struct error_details){ .session = session->record.id },
			"session %s has another endpoint of the name %s", session->record.id, wanted.name);
		return;
	}
	if (session->ports.n_published >= max) {
		call_fail(call, E_LIMIT, false, &(struct error_details){ .session = session->record.id },
			"session %s has %u published ports (client_limits.max_ports_per_session)", session->record.id,
			max);
		return;
	}
	int r = ports_publish(session, &wanted, &port);
	if (r < 0) {
		fail_publish(call, &wanted, r);
		return;
	}
	session_touch(session);
	reply_port(call, port);
}

void method_port_unpublish(struct call *call)
{
	struct session *session = running_session(call, true);
	struct port *port = session ? ports_find(session, param_string(call, "name")) : NULL;

	if (!session)
		return;
	const struct error_details details = { .session = session->record.id };
	if (!port) {
		call_fail(call, E_NOT_FOUND, false, &details, "session %s has no published port %s",
			session->record.id, param_string(call, "name"));
	} else if (port->of_template) {
		call_fail(call, E_DENIED, false, &details, "%s is an endpoint of the template", port->name);
	} else {
		ports_unpublish(port);
		call_reply(call, json_object());
	}
}
