/* SPDX-License-Identifier: Apache-2.0 */
#include "control/ports.h"

#include <arpa/inet.h>
#include <stdio.h>

#include "control/json.h"
#include "control/lifecycle.h"

/* ---- the object ---- */

static void port_free(struct port *port)
{
	port_stop_listening(port);
	if (!port->of_template)
		port->session->ports.n_published--;
	list_remove(&port->of_session);
	free(port->path);
	free(port);
}

/* A copy of WANTED that listens. 0 or a negative errno. */
static int port_new(struct session *session, const struct port *wanted, struct port **ret)
{
	struct port *port = calloc(1, sizeof(*port));
	char *path = wanted->target.path ? strdup(wanted->target.path) : NULL;

	if (!port || (wanted->target.path && !path)) {
		free(port);
		free(path);
		return -ENOMEM;
	}
	*port = *wanted;
	port->session = session;
	port->path = path;
	port->target.path = path;
	port->listener.fd = -1;
	list_append(&session->ports.published, &port->of_session);
	if (!port->of_template)
		session->ports.n_published++;
	int r = port_listen(port);
	if (r < 0)
		port_free(port);
	else
		*ret = port;
	return r;
}

struct port *ports_find(const struct session *session, const char *name)
{
	for (struct list *l = session->ports.published.next; l != &session->ports.published; l = l->next) {
		struct port *port = container_of(l, struct port, of_session);
		if (streq(port->name, name))
			return port;
	}
	return NULL;
}

/* ---- JSON ---- */

static void address_text(const struct port *port, char *buf, size_t size)
{
	inet_ntop(port->address.family == 4 ? AF_INET : AF_INET6, port->address.bytes, buf, (socklen_t)size);
}

static void put_target(const struct port *port, json_t **object)
{
	if (port->path)
		json_put(object, "path", json_string(port->path));
	else
		json_put(object, "port", json_integer(port->target.port));
}

json_t *port_json(const struct port *port)
{
	const bool ipv6 = port->address.family == 6;
	char address[INET6_ADDRSTRLEN] = "", path[PORT_PATH_SIZE], url[sizeof(address) + 32];
	json_t *object = json_object();

	put_target(port, &object);
	if (port->tcp) {
		address_text(port, address, sizeof(address));
		snprintf(url, sizeof(url), "tcp://%s%s%s:%u", ipv6 ? "[" : "", address, ipv6 ? "]" : "",
			port->host_port);
		json_put(&object, "url", json_string(url));
	} else if (port_socket_path(port->session, port->name, path) == 0) {
		json_put(&object, "unix", json_string(path));
	}
	return object;
}

void ports_put_endpoints(const struct session *session, json_t **endpoints)
{
	for (const struct list *l = session->ports.published.next; l != &session->ports.published; l = l->next) {
		const struct port *port = container_of(l, struct port, of_session);
		json_t *endpoint = port_json(port), *there = json_object_get(*endpoints, port->name);
		/* The template's has its URL there already. */
		if (there && endpoint)
			json_object_update(endpoint, there);
		json_put(endpoints, port->name, endpoint);
	}
}

json_t *ports_stats(const struct session *session)
{
	const struct ports *ports = &session->ports;
	uint64_t in = ports->bytes_in, out = ports->bytes_out;

	port_conns_bytes(session, &in, &out);
	return json_pack("{s:I, s:I, s:I, s:I, s:I}", "open", (json_int_t)ports->n_conns, "accepted",
		(json_int_t)ports->n_accepted, "refused", (json_int_t)ports->n_refused, "bytes_in", (json_int_t)in,
		"bytes_out", (json_int_t)out);
}

/* ---- what the registry keeps ---- */

/* {name, port|path, family, address?, host_port?} */
static json_t *saved(const struct port *port)
{
	char address[INET6_ADDRSTRLEN] = "";
	json_t *object = json_object();

	json_put(&object, "name", json_string(port->name));
	put_target(port, &object);
	json_put(&object, "family", json_integer(port->target.family));
	if (port->tcp) {
		address_text(port, address, sizeof(address));
		json_put(&object, "address", json_string(address));
		json_put(&object, "host_port", json_integer(port->host_port));
	}
	return object;
}

static void save(struct session *session)
{
	json_t *array = json_array();

	for (const struct list *l = session->ports.published.next; l != &session->ports.published; l = l->next) {
		const struct port *port = container_of(l, struct port, of_session);
		if (!port->of_template)
			json_append(&array, saved(port));
	}
	json_decref(session->record.ports);
	session->record.ports = array;
	session_changed(session);
}

static int parse_saved(const json_t *object, struct port *ret)
{
	const char *name = json_string_value(json_object_get(object, "name"));
	const char *address = json_string_value(json_object_get(object, "address"));

	*ret = (struct port){
		.target = {
			.port = (uint16_t)json_integer_value(json_object_get(object, "port")),
			.family = (uint16_t)json_integer_value(json_object_get(object, "family")),
			.path = json_string_value(json_object_get(object, "path")),
		},
		.tcp = address != NULL,
		.host_port = (uint16_t)json_integer_value(json_object_get(object, "host_port")),
	};
	if (address && inet_pton(AF_INET, address, ret->address.bytes) == 1)
		ret->address.family = 4;
	else if (address && inet_pton(AF_INET6, address, ret->address.bytes) == 1)
		ret->address.family = 6;
	else if (address)
		return -EINVAL;
	return name ? copy_string(ret->name, sizeof(ret->name), name) : -EINVAL;
}

/* What cannot be had any more is said, and forgotten. */
static void restore(struct session *session)
{
	json_t *array = json_incref(session->record.ports), *object;
	struct port wanted, *port;
	size_t i;

	json_array_foreach (array, i, object) {
		int r = parse_saved(object, &wanted);
		if (r == 0)
			r = port_new(session, &wanted, &port);
		if (r < 0)
			session_emit(session, "port.lost",
				json_pack("{s:s, s:o}", "name", wanted.name, "errno", json_errno(r)));
	}
	json_decref(array);
	save(session);
}

/* ---- a session's ---- */

void ports_init(struct session *session)
{
	dialer_init(&session->ports.dialer, lifecycle_loop(session->lifecycle), &session->init);
	list_init(&session->ports.published);
	list_init(&session->ports.conns);
}

static void publish_endpoint(struct session *session, const struct config_endpoint *endpoint)
{
	struct port wanted = { .target = { .port = endpoint->port, .path = endpoint->path }, .of_template = true };
	struct port *port;

	/* One whose path would be too long has its URL alone, or port.connect. */
	int r = copy_string(wanted.name, sizeof(wanted.name), endpoint->name);
	if (r == 0)
		r = port_new(session, &wanted, &port);
	if (r < 0 && r != -ENAMETOOLONG)
		session_emit(session, "port.lost",
			json_pack("{s:s, s:o}", "name", endpoint->name, "errno", json_errno(r)));
}

void ports_open(struct session *session)
{
	const struct template *template = session->template;

	for (size_t i = 0; template && i < template->n_endpoints; i++)
		if (template->endpoints[i].has_unix)
			publish_endpoint(session, &template->endpoints[i]);
	if (json_array_size(session->record.ports) > 0)
		restore(session);
}

void ports_close(struct session *session)
{
	while (!list_is_empty(&session->ports.published))
		port_free(container_of(session->ports.published.next, struct port, of_session));
	port_conns_end(session);
}

void ports_resume(struct session *session)
{
	for (struct list *l = session->ports.published.next; l != &session->ports.published; l = l->next) {
		struct port *port = container_of(l, struct port, of_session);
		if (port->held)
			port_accept(port);
	}
}

int ports_publish(struct session *session, const struct port *wanted, struct port **ret)
{
	int r = port_new(session, wanted, ret);

	if (r < 0)
		return r;
	save(session);
	session_emit(session, "port.published",
		json_pack("{s:s, s:o}", "name", wanted->name, "endpoint", port_json(*ret)));
	return 0;
}

void ports_unpublish(struct port *port)
{
	struct session *session = port->session;

	session_emit(session, "port.unpublished", json_pack("{s:s}", "name", port->name));
	port_free(port);
	save(session);
}
