/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "control/foreign.h"
#include "control/json.h"
#include "control/lifecycle.h"
#include "control/stream.h"

/* From the moment at which somebody wants it to its end: dialled, perhaps waiting for its stream, then relayed. */
struct port_conn {
	struct list of_session;
	struct session *session;
	struct dial dial;
	struct dial_target target;
	char *path; /* the target's */
	int client; /* until the relay has it; -1: port.connect */
	struct call *call; /* port.connect that is not answered yet */
	bool via_fd;
	int inside; /* until the relay has it */
	struct stream_offer *offer;
	struct relay relay;
};

/* ---- bounds ---- */

size_t port_conns_max(const struct control *control)
{
	const struct config *config = &control->config;
	/* Clients, and for each session its init, cgroup, output, and a few published ports and commands. */
	size_t others = config->max_connections + (size_t)config->max_sessions * 8 + 256;
	size_t all = control->n_descriptors;

	if (others > all / 2)
		others = all / 2;
	size_t fit = (all - others) / RELAY_MAX_FDS;
	return fit < config->max_port_connections ? fit : config->max_port_connections;
}

const char *port_conns_bound(const struct session *session)
{
	const struct lifecycle *lifecycle = session->lifecycle;

	if (session->ports.n_conns >= lifecycle_config(lifecycle)->max_port_connections_per_session)
		return "client_limits.max_port_connections_per_session";
	if (lifecycle->n_port_conns >= port_conns_max(lifecycle->control))
		return "client_limits.max_port_connections, or the descriptors of carrel-control";
	return NULL;
}

/* ---- connections ---- */

static void conn_free(struct port_conn *conn)
{
	struct session *session = conn->session;

	dial_cancel(&conn->dial);
	stream_withdraw(conn->offer);
	relay_stop(&conn->relay);
	close_fd(conn->client);
	foreign_close(conn->inside, true);
	session->ports.n_conns--;
	session->lifecycle->n_port_conns--;
	list_remove(&conn->of_session);
	free(conn->path);
	free(conn);
}

static void on_relayed(void *arg, uint64_t bytes_ab, uint64_t bytes_ba, int err _unused_)
{
	struct port_conn *conn = arg;

	conn->session->ports.bytes_in += bytes_ab;
	conn->session->ports.bytes_out += bytes_ba;
	conn_free(conn);
}

static void on_moved(void *arg)
{
	session_active(((struct port_conn *)arg)->session, ACTIVITY_PORT);
}

/* Small messages are not kept back for larger ones. Of a unix socket it fails, and does not matter. */
static void set_no_delay(int fd)
{
	const int on = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

static void start_relay(struct port_conn *conn)
{
	const struct relay_end client = { .in = conn->client, .out = conn->client };
	const struct relay_end inside = { .in = conn->inside, .out = conn->inside, .foreign = true };

	set_no_delay(conn->client);
	set_no_delay(conn->inside);
	conn->relay.done = on_relayed;
	conn->relay.moved = on_moved;
	conn->relay.arg = conn;
	if (relay_start(&conn->relay, &conn->session->lifecycle->relays, &client, &inside) < 0) {
		conn_free(conn);
		return;
	}
	conn->client = conn->inside = -1;
	session_active(conn->session, ACTIVITY_PORT);
}

/* ---- port.connect ---- */

static void on_stream(void *arg, int fd)
{
	struct port_conn *conn = arg;

	conn->offer = NULL;
	conn->client = fd;
	start_relay(conn);
}

static void on_no_stream(void *arg)
{
	struct port_conn *conn = arg;

	conn->offer = NULL;
	conn_free(conn);
}

static void fail_call(struct port_conn *conn, int err)
{
	const struct session *session = conn->session;
	struct error_details details = { .session = session->record.id, .step = "connect", .err_no = -err };
	struct call *call = steal_ptr(&conn->call);

	if (err == -ECONNRESET && session->record.state >= SESSION_STOPPING)
		call_fail(call, E_INVALID_STATE, false, &details, "session %s has ended", session->record.id);
	else if (conn->path)
		call_fail(call, E_FAILED, err == -EAGAIN || err == -ETIMEDOUT, &details, "path %.200s: %s",
			conn->path, strerror(-err));
	else
		call_fail(call, E_FAILED, err == -ECONNREFUSED || err == -ETIMEDOUT, &details, "port %u: %s",
			conn->target.port, strerror(-err));
}

/* Not the session's own socket: wherever that is open, it keeps the session's network from going away. */
static void answer_with_descriptor(struct port_conn *conn, struct call *call)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) < 0) {
		call_fail(call, E_FAILED, true, &(struct error_details){ .err_no = errno }, "%s", strerror(errno));
		conn_free(conn);
		return;
	}
	/* Who gets it expects one that waits; the flag is each end's own. */
	fcntl(ends[1], F_SETFL, 0);
	conn->client = ends[0];
	call_reply_fds(call, json_pack("{s:s}", "via", "fd"), &ends[1], 1);
	start_relay(conn);
}

static void answer_call(struct port_conn *conn)
{
	const struct stream_use use = { .attach = on_stream, .gone = on_no_stream, .arg = conn };
	struct call *call = steal_ptr(&conn->call);

	session_active(conn->session, ACTIVITY_PORT);
	if (conn->via_fd) {
		answer_with_descriptor(conn, call);
	} else if (stream_offer(call, &use, &conn->offer) < 0) {
		conn_free(conn);
	} else {
		call_reply(call, stream_json(conn->offer));
	}
}

/* ---- both ---- */

static void on_dialled(struct dial *dial, int fd)
{
	struct port_conn *conn = container_of(dial, struct port_conn, dial);

	if (fd >= 0)
		conn->inside = fd;
	if (fd >= 0 && conn->call)
		answer_call(conn);
	else if (fd >= 0)
		start_relay(conn);
	else {
		if (conn->call)
			fail_call(conn, fd);
		else
			conn->session->ports.n_refused++;
		conn_free(conn);
	}
}

/* One that is being dialled; NULL when memory is short. */
static struct port_conn *conn_new(struct session *session, const struct dial_target *target)
{
	struct port_conn *conn = calloc(1, sizeof(*conn));
	char *path = target->path ? strdup(target->path) : NULL;

	if (!conn || (target->path && !path)) {
		free(conn);
		free(path);
		return NULL;
	}
	*conn = (struct port_conn){ .session = session, .path = path, .client = -1, .inside = -1, .target = *target };
	conn->target.path = path;
	conn->dial.target = conn->target;
	conn->dial.done = on_dialled;
	list_append(&session->ports.conns, &conn->of_session);
	session->ports.n_conns++;
	session->lifecycle->n_port_conns++;
	if (dial_start(&session->ports.dialer, &conn->dial) < 0) {
		conn_free(conn);
		return NULL;
	}
	return conn;
}

void port_conn_accept(struct port *port, int fd)
{
	struct session *session = port->session;
	struct port_conn *conn = port_conns_bound(session) ? NULL : conn_new(session, &port->target);

	if (!conn) {
		session->ports.n_refused++;
		close_fd(fd);
		return;
	}
	session->ports.n_accepted++;
	conn->client = fd;
}

void port_conn_call(struct session *session, const struct dial_target *target, bool via_fd, struct call *call)
{
	struct port_conn *conn = conn_new(session, target);

	if (!conn) {
		call_fail(call, E_FAILED, true, &(struct error_details){ .err_no = ENOMEM }, "%s", strerror(ENOMEM));
		return;
	}
	session->ports.n_accepted++;
	conn->call = call;
	conn->via_fd = via_fd;
}

void port_conns_bytes(const struct session *session, uint64_t *ret_in, uint64_t *ret_out)
{
	for (const struct list *l = session->ports.conns.next; l != &session->ports.conns; l = l->next) {
		const struct port_conn *conn = container_of(l, struct port_conn, of_session);
		*ret_in += conn->relay.way[0].bytes;
		*ret_out += conn->relay.way[1].bytes;
	}
}

void port_conns_end(struct session *session)
{
	/* Those that are dialled first: their calls are answered. */
	dialer_end(&session->ports.dialer);
	while (!list_is_empty(&session->ports.conns))
		conn_free(container_of(session->ports.conns.next, struct port_conn, of_session));
}
