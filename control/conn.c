/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection: bytes to lines, answers to bytes, and every way in which a peer can misbehave with either. Nobody
 * waits for anybody: each event does a bounded piece of work and returns to the loop.
 *
 * A connection is closed in two places only, on_ready() and on_timer(), both called from the loop; whoever finds
 * in the middle of other work that it must end marks it and shuts the socket down, which is an event.
 */
#include <sys/socket.h>

#include "control/control.h"
#include "control/error.h"
#include "control/json.h"
#include "control/server.h"

enum {
	MIN_READ = 4096,
	MAX_READ = 64 * 1024,
	LINES_PER_ROUND = 32,
	LONG_QUEUE_SHARE = 16, /* with this part of max_queued_bytes unsent, no further requests are taken up */
	SHORT_QUEUE = 64 * 1024, /* goes out even when the user's other connections hold too much */
};

#define WORK_PER_ROUND_NS (1 * NS_PER_MS)

static void drop_parcel(struct conn *conn)
{
	struct parcel *parcel = conn->parcels;

	conn->parcels = parcel->next;
	conn->n_parcels--;
	close_fds(parcel->fds, parcel->n);
	free(parcel);
}

/* What is queued will not be sent. */
static void drop_queue(struct conn *conn)
{
	while (conn->parcels)
		drop_parcel(conn);
	conn->sent += buffer_used(&conn->out);
	buffer_free(&conn->out);
}

void conn_fail(struct conn *conn)
{
	if (conn->doomed)
		return;
	conn->doomed = true;
	drop_queue(conn);
	/* Shut down on both sides, a socket reports EPOLLHUP whatever it is watched for. */
	shutdown(conn->io.fd, SHUT_RDWR);
}

/* Brings the user's account of bytes up to date. */
static void count_bytes(struct conn *conn)
{
	size_t n = conn->in.size + conn->out.size;

	conn->client->n_bytes += n - conn->counted;
	conn->counted = n;
}

static uint64_t max_queued(const struct conn *conn)
{
	return conn->server->control->config.max_queued_bytes;
}

static bool user_is_over(const struct conn *conn)
{
	return client_is_over(conn->client, &conn->server->control->config);
}

/* ---- out ---- */

static bool is_congested(const struct conn *conn)
{
	return buffer_used(&conn->out) > max_queued(conn) / LONG_QUEUE_SHARE || conn->n_parcels > MAX_PARCELS;
}

/* Ends the connection when OUT, which had BEFORE bytes, is now too long. */
static void check_queue(struct conn *conn, size_t before)
{
	size_t used = buffer_used(&conn->out);

	count_bytes(conn);
	/* One answer always goes out, however long; a second one only within the bound. */
	if ((before > 0 && used > max_queued(conn)) || (used > SHORT_QUEUE && user_is_over(conn)))
		conn_fail(conn);
	if (before == 0)
		conn->unsent_since_ns = boottime_ns();
}

/* ANSWER is stolen. */
static void enqueue(struct conn *conn, json_t *answer)
{
	size_t before = buffer_used(&conn->out);

	if (json_write(&conn->out, answer) < 0 || buffer_append(&conn->out, "\n", 1) < 0)
		conn_fail(conn);
	else
		check_queue(conn, before);
	json_decref(answer);
}

static bool takes_answers(const struct conn *conn)
{
	return !conn->doomed && !conn->refused && !conn->hung_up;
}

void conn_attach_fds(struct conn *conn, const int *fds, size_t n)
{
	struct parcel *parcel = malloc(sizeof(*parcel)), **tail = &conn->parcels;

	if (!parcel || !takes_answers(conn)) {
		for (size_t i = 0; i < n; i++)
			close_fd(fds[i]);
		free(parcel);
		if (!parcel)
			conn_fail(conn);
		return;
	}
	*parcel = (struct parcel){ .at = conn->sent + buffer_used(&conn->out), .n = n };
	memcpy(parcel->fds, fds, n * sizeof(*fds));
	while (*tail)
		tail = &(*tail)->next;
	*tail = parcel;
	conn->n_parcels++;
}

/*
 * Sends as much as one call can: bytes up to the next that has descriptors, or from that one on together with them.
 * The kernel passes descriptors with the first byte of a call that takes at least one (unix(7)).
 */
static ssize_t send_some(struct conn *conn)
{
	union {
		struct cmsghdr header;
		uint8_t bytes[CMSG_SPACE(CALL_MAX_FDS * sizeof(int))];
	} control = { 0 };
	const struct parcel *parcel = conn->parcels;
	struct iovec iov = { .iov_base = buffer_head(&conn->out), .iov_len = buffer_used(&conn->out) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	bool with_fds = parcel && parcel->at == conn->sent;

	if (with_fds) {
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(parcel->n * sizeof(int));
		control.header = (struct cmsghdr){ .cmsg_len = CMSG_LEN(parcel->n * sizeof(int)),
			.cmsg_level = SOL_SOCKET,
			.cmsg_type = SCM_RIGHTS };
		memcpy(CMSG_DATA(&control.header), parcel->fds, parcel->n * sizeof(int));
		parcel = parcel->next;
	}
	if (parcel && parcel->at - conn->sent < iov.iov_len)
		iov.iov_len = parcel->at - conn->sent;
	ssize_t n = RETRY_EINTR(sendmsg(conn->io.fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT));
	if (n <= 0)
		return n;
	if (with_fds)
		drop_parcel(conn);
	buffer_consume(&conn->out, (size_t)n);
	conn->sent += (uint64_t)n;
	return n;
}

static void flush(struct conn *conn)
{
	size_t before = buffer_used(&conn->out);
	bool more = conn->parcels; /* without descriptors one call does it all, or the queue is full */
	ssize_t n;

	if (before == 0 || conn->doomed)
		return;
	for (n = send_some(conn); n > 0 && more && buffer_used(&conn->out) > 0; n = send_some(conn))
		continue;
	if (n < 0 && errno == ETOOMANYREFS) {
		/* It receives bytes, but leaves descriptors in its queue (unix(7)). */
		conn_fail(conn);
	} else if (n < 0 && errno != EAGAIN) {
		/* Nobody reads any more. What was asked before may still be waiting to be read here: go on without. */
		drop_queue(conn);
	} else if (buffer_used(&conn->out) < before) {
		conn->unsent_since_ns = boottime_ns();
	}
	count_bytes(conn);
}

static uint32_t wanted_events(const struct conn *conn)
{
	uint32_t events = 0;

	if (!conn->eof && !conn->more && !is_congested(conn))
		events |= EPOLLIN;
	/* Lines left over from this round wait for the peer to take answers, and for everybody else's turn. */
	if (buffer_used(&conn->out) > 0 || conn->more)
		events |= EPOLLOUT;
	/* Nothing but the end, which is always reported; once is enough. */
	return events ? events : EPOLLET;
}

/* ---- time ---- */

static uint64_t deadline(const struct conn *conn)
{
	const struct server *server = conn->server;
	uint64_t at = UINT64_MAX;

	if (conn->unsent_since_ns > 0)
		at = conn->unsent_since_ns + server->stall_ns;
	if (conn->partial_since_ns > 0 && conn->partial_since_ns + server->stall_ns < at)
		at = conn->partial_since_ns + server->stall_ns;
	if (conn->refused_since_ns > 0 && conn->refused_since_ns + server->refuse_ns < at)
		at = conn->refused_since_ns + server->refuse_ns;
	return at;
}

/* A timer that is early does no harm: it looks again. So it is only ever moved forward in time, or set anew. */
static int arm_timer(struct conn *conn)
{
	uint64_t at = deadline(conn);

	if (at == UINT64_MAX || (conn->timer.place > 0 && conn->timer.at_ns <= at))
		return 0;
	return loop_arm(&conn->server->control->loop, &conn->timer, at);
}

static void on_timer(struct loop_timer *timer)
{
	struct conn *conn = container_of(timer, struct conn, timer);

	if (conn->doomed || deadline(conn) <= boottime_ns())
		conn_close(conn);
	else if (arm_timer(conn) < 0)
		conn_fail(conn);
}

/* ---- the end ---- */

/* Nothing more will come of this connection. A half-closed peer still gets its answers and notifications. */
static bool is_over(const struct conn *conn)
{
	if (conn->doomed)
		return true;
	if (!conn->eof || conn->more)
		return false;
	if (conn->hung_up)
		return true;
	if (buffer_used(&conn->out) > 0)
		return false;
	return conn->refused || (conn->n_calls == 0 && !conn->hooks);
}

void conn_settle(struct conn *conn)
{
	if (conn->working || conn->doomed)
		return;
	if (buffer_used(&conn->out) == 0) {
		conn->unsent_since_ns = 0;
		/* The end of the answer is the end of the stream, for a peer that reads until then. */
		if (conn->refused)
			shutdown(conn->io.fd, SHUT_WR);
	}
	if (is_over(conn) || arm_timer(conn) < 0 ||
		loop_watch(&conn->server->control->loop, &conn->io, wanted_events(conn)) < 0)
		conn_fail(conn);
}

static void flush_and_settle(struct conn *conn)
{
	if (!conn->working)
		flush(conn);
	conn_settle(conn);
}

void conn_send(struct conn *conn, json_t *answer)
{
	if (takes_answers(conn)) {
		enqueue(conn, answer);
		flush_and_settle(conn);
	} else {
		json_decref(answer);
	}
}

void conn_send_text(struct conn *conn, const char *text, size_t n)
{
	size_t before = buffer_used(&conn->out);

	if (!takes_answers(conn))
		return;
	if (buffer_append(&conn->out, text, n) < 0)
		conn_fail(conn);
	else
		check_queue(conn, before);
	flush_and_settle(conn);
}

void conn_refuse(struct conn *conn, enum error_kind kind, int64_t retry_after_ms, const char *message)
{
	struct error_details details = { .retry_after_ms = retry_after_ms };

	if (conn->refused || conn->doomed)
		return;
	enqueue(conn, rpc_error_answer(NULL, error_object(kind, retry_after_ms > 0, &details, message)));
	conn->refused = true;
	conn->refused_since_ns = boottime_ns();
	conn->server->n_refused++;
	conn->client->n_refused++;
	flush_and_settle(conn);
}

/* ---- in ---- */

static void receive(struct conn *conn)
{
	size_t used = buffer_used(&conn->in), room = used < MIN_READ ? MIN_READ : used > MAX_READ ? MAX_READ : used;

	/* One byte more than a line may have tells that it is too long. */
	if (room > RPC_MAX_FRAME + 1 - used)
		room = RPC_MAX_FRAME + 1 - used;
	if (buffer_reserve(&conn->in, room) < 0) {
		conn_fail(conn);
		return;
	}
	/* Without room for control messages the kernel itself drops descriptors that were sent along, and says so. */
	struct iovec iov = { .iov_base = conn->in.bytes + conn->in.end, .iov_len = room };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n = RETRY_EINTR(recvmsg(conn->io.fd, &msg, MSG_DONTWAIT));
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		conn->eof = true;
		conn->hung_up |= n < 0;
		return;
	}
	conn->in.end += (size_t)n;
	count_bytes(conn);
	if ((msg.msg_flags & MSG_CTRUNC) && ++conn->n_descriptor_messages > MAX_DESCRIPTOR_MESSAGES)
		conn_refuse(conn, E_LIMIT, 0, "descriptors are not accepted here");
	else if (user_is_over(conn))
		conn_refuse(conn, E_BUSY, BUSY_RETRY_MS, "the caller's connections hold too many bytes");
}

static void consume(struct conn *conn, size_t n)
{
	buffer_consume(&conn->in, n);
	conn->scanned = 0;
	conn->partial_since_ns = 0;
}

/*
 * The next line, without its newline. After the end of input also one that has none, and of one that is too long what
 * shows it. NULL when there is none yet.
 */
static const char *next_line(struct conn *conn, size_t *ret_n)
{
	for (;;) {
		const char *head = buffer_head(&conn->in);
		size_t used = buffer_used(&conn->in), fresh = used - conn->scanned;
		const char *newline = fresh > 0 ? memchr(head + conn->scanned, '\n', fresh) : NULL;

		if (conn->skipping) {
			if (!newline) {
				buffer_consume(&conn->in, used);
				return NULL;
			}
			conn->skipping = false;
			consume(conn, (size_t)(newline - head) + 1);
			continue;
		}
		if (newline || used > RPC_MAX_FRAME || (conn->eof && used > 0)) {
			*ret_n = newline ? (size_t)(newline - head) : used;
			return head;
		}
		conn->scanned = used;
		return NULL;
	}
}

static void take_lines(struct conn *conn)
{
	uint64_t until_ns = monotonic_ns() + WORK_PER_ROUND_NS;
	const char *line;
	size_t n;

	conn->more = false;
	for (size_t i = 0; (line = next_line(conn, &n)); i++) {
		if (i == LINES_PER_ROUND || is_congested(conn) || monotonic_ns() > until_ns) {
			conn->more = true;
			return;
		}
		call_start_line(conn, line, n);
		if (conn->doomed || conn->refused)
			return;
		size_t used = buffer_used(&conn->in);
		conn->skipping = n == used && !conn->eof;
		consume(conn, n < used ? n + 1 : used);
	}
	if ((buffer_used(&conn->in) > 0 || conn->skipping) && conn->partial_since_ns == 0)
		conn->partial_since_ns = boottime_ns();
}

static void on_ready(struct loop_io *io, uint32_t revents)
{
	struct conn *conn = container_of(io, struct conn, io);

	if (revents & (EPOLLHUP | EPOLLERR))
		conn->hung_up = true;
	conn->working = true;
	flush(conn);
	if ((revents & ~(uint32_t)EPOLLOUT) && !conn->doomed && !conn->eof && !conn->more && !is_congested(conn))
		receive(conn);
	if (!conn->doomed && !conn->refused)
		take_lines(conn);
	flush(conn);
	if (conn->refused) {
		conn->more = false;
		consume(conn, buffer_used(&conn->in));
	}
	count_bytes(conn);
	conn->working = false;
	if (is_over(conn))
		conn_close(conn);
	else
		conn_settle(conn);
}

/* ---- life ---- */

int conn_open(struct server *server, int fd, const struct caller *caller, struct client *client, struct conn **ret)
{
	struct conn *conn = calloc(1, sizeof(*conn));

	if (!conn) {
		close_fd(fd);
		return -ENOMEM;
	}
	conn->server = server;
	conn->caller = *caller;
	conn->client = client;
	conn->io = (struct loop_io){ .fd = fd, .fn = on_ready };
	conn->timer.fn = on_timer;
	int r = loop_watch(&server->control->loop, &conn->io, EPOLLIN);
	if (r < 0) {
		close_fd(fd);
		free(conn);
		return r;
	}
	conn->next = server->conns;
	conn->link = &server->conns;
	if (conn->next)
		conn->next->link = &conn->next;
	server->conns = conn;
	server->n_conns++;
	client->n_conns++;
	*ret = conn;
	return 0;
}

void conn_close(struct conn *conn)
{
	struct server *server = conn->server;

	conn->doomed = true;
	for (struct conn_hook *hook; (hook = conn->hooks);) {
		conn->hooks = hook->next;
		hook->fn(conn, hook->owner);
		free(hook);
	}
	call_orphan_all(conn);
	loop_remove(&server->control->loop, &conn->io);
	loop_disarm(&server->control->loop, &conn->timer);
	close_fd(conn->io.fd);
	*conn->link = conn->next;
	if (conn->next)
		conn->next->link = conn->link;
	server->n_conns--;
	server->n_refused -= conn->refused;
	conn->client->n_refused -= conn->refused;
	conn->client->n_conns--;
	conn->client->n_bytes -= conn->counted;
	client_put(conn->client);
	drop_queue(conn);
	buffer_free(&conn->in);
	free(conn);
}

void conn_notify(struct conn *conn, const char *method, json_t *params)
{
	conn_send(conn, rpc_notification(method, params));
}

void conn_on_close(struct conn *conn, void (*fn)(struct conn *conn, void *owner), void *owner)
{
	struct conn_hook **link = &conn->hooks;

	while (*link && (*link)->owner != owner)
		link = &(*link)->next;
	struct conn_hook *hook = *link;
	if (fn && !hook) {
		hook = calloc(1, sizeof(*hook));
		if (!hook) {
			conn_fail(conn);
			return;
		}
		hook->owner = owner;
		*link = hook;
	}
	if (fn) {
		hook->fn = fn;
	} else if (hook) {
		*link = hook->next;
		free(hook);
		conn_settle(conn);
	}
}
