/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How ports of sessions, and sockets in them, are reached from outside: as sockets of the host that lead there, or one
 * connection at a time. Init connects inside, where the loopback is the session's own, and hands over the socket; from
 * then on a relay moves the bytes (control/relay.h). Root has no part in it.
 *
 *	ports.c		a session's published ports: made, kept over restarts, taken back
 *	port_listen.c	the sockets that are listened on, and who may connect to them
 *	port_conn.c	connections, and how many there may be
 *	port_methods.c	port.connect, port.publish, port.unpublish
 */
#pragma once

#include "control/call.h"
#include "control/dial.h"
#include "control/relay.h"

struct lifecycle;
struct session;

enum {
	PORT_PATH_SIZE = 108, /* of sun_path */
	PORT_MAX_NAME = 32,
};

/* Embedded in a session. */
struct ports {
	struct dialer dialer;
	struct list published; /* struct port: the template's, then those of clients */
	struct list conns; /* struct port_conn */
	size_t n_published, n_conns; /* by clients; now */
	uint64_t n_accepted, n_refused, bytes_in,
		bytes_out; /* of connections so far; the bytes of those that ended */
};

/* A socket of the host that leads into a session. */
struct port {
	struct list of_session;
	struct session *session;
	char name[NAME_SIZE];
	struct dial_target target;
	char *path; /* the target's, the port's own; or NULL */
	bool of_template;
	bool held; /* not accepting while the session is paused */
	bool tcp; /* else a unix socket */
	struct config_address address; /* TCP */
	uint16_t host_port;
	struct loop_io listener; /* fd -1: none */
	struct loop_timer accept_again; /* descriptors or memory had run out */
};

/* ---- ports.c ---- */

void ports_init(struct session *session);
/* Its init is connected: the template's endpoints and what the record has are published. */
void ports_open(struct session *session);
/* Sockets are removed, connections end, calls are answered. Harmless when there are none. */
void ports_close(struct session *session);
/* It runs again: connections that waited for that are accepted. */
void ports_resume(struct session *session);

/* The port of that name, or NULL. */
struct port *ports_find(const struct session *session, const char *name);

/*
 * Publishes what WANTED says (name, target, tcp, address, host_port; 0: any of those configured), of which strings are
 * copied. 0 and the port, or a negative errno: -EADDRINUSE, -ENAMETOOLONG when the socket's path does not fit, ...
 */
int ports_publish(struct session *session, const struct port *wanted, struct port **ret);
/* Takes PORT back; the record no longer has it. Connections that there are go on. */
void ports_unpublish(struct port *port);

/* {port|path, unix|url, address?}; a new reference. */
json_t *port_json(const struct port *port);
/* Adds what is published to ENDPOINTS, {name: {...}}. */
void ports_put_endpoints(const struct session *session, json_t **endpoints);
/* {open, accepted, refused, bytes_in, bytes_out}; a new reference. */
json_t *ports_stats(const struct session *session);

/* ---- port_listen.c ---- */

/* Before this process locks itself in: removes the sockets of the one before it. */
void port_sockets_clear(const struct config *config);

/* The path of a unix socket into BUF; -ENAMETOOLONG. */
int port_socket_path(const struct session *session, const char *name, char buf[static PORT_PATH_SIZE]);

/* Listens as PORT says, and fills in host_port. 0 or a negative errno. */
int port_listen(struct port *port);
void port_stop_listening(struct port *port);
/* Accepts again, after the session was paused. */
void port_accept(struct port *port);

/* ---- port_conn.c ---- */

/* How many connections control's descriptors suffice for, and the configuration allows. */
size_t port_conns_max(const struct control *control);

/* What stands in the way of one more connection to SESSION: the name of a bound, or NULL. */
const char *port_conns_bound(const struct session *session);

/* A client connected to PORT: FD is taken over. Past a bound it is closed, and counted. */
void port_conn_accept(struct port *port, int fd);

/* port.connect to TARGET: answers CALL in the end. The path is copied. */
void port_conn_call(struct session *session, const struct dial_target *target, bool via_fd, struct call *call);

/* Adds to RET_IN and RET_OUT what SESSION's connections have moved so far. */
void port_conns_bytes(const struct session *session, uint64_t *ret_in, uint64_t *ret_out);

/* Ends all of SESSION's. */
void port_conns_end(struct session *session);
