/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Offers and the connections that come for them. A connection's first line is looked at where it lies in the
 * socket's queue (MSG_PEEK) until it is whole, then taken out, and no byte behind it.
 */
#include "control/stream.h"

#include <sys/random.h>
#include <sys/socket.h>

#include "control/error.h"
#include "control/json.h"
#include "control/rpc.h"

enum { ACCEPTS_PER_ROUND = 16, TOKEN_BYTES = (STREAM_TOKEN_SIZE - 1) / 2, ACCEPT_AGAIN_MS = 100, BUSY_MS = 1000 };

struct stream_offer {
	struct list of_streams;
	struct streams *streams;
	struct stream_use use;
	struct loop_timer expiry;
	uid_t uid;
	char token[STREAM_TOKEN_SIZE];
};

/* A connection that has not shown a token yet. */
struct pending {
	struct list of_streams;
	struct streams *streams;
	struct loop_io io;
	struct loop_timer deadline;
	uid_t uid;
};

/* ---- offers ---- */

/* Frees OFFER and returns what it was for. */
static struct stream_use take(struct stream_offer *offer)
{
	const struct stream_use use = offer->use;

	list_remove(&offer->of_streams);
	offer->streams->n_offers--;
	loop_disarm(&offer->streams->control->loop, &offer->expiry);
	explicit_bzero(offer->token, sizeof(offer->token));
	free(offer);
	return use;
}

void stream_withdraw(struct stream_offer *offer)
{
	if (offer)
		take(offer);
}

static void on_expired(struct loop_timer *timer)
{
	const struct stream_use use = take(container_of(timer, struct stream_offer, expiry));

	use.gone(use.arg);
}

static size_t offers_of(const struct streams *streams, uid_t uid)
{
	size_t n = 0;

	for (struct list *l = streams->offers.next; l != &streams->offers; l = l->next)
		n += container_of(l, struct stream_offer, of_streams)->uid == uid;
	return n;
}

static int make_token(char token[static STREAM_TOKEN_SIZE])
{
	static const char digits[] = "0123456789abcdef";
	uint8_t bytes[TOKEN_BYTES];

	/* Requests of up to 256 bytes are answered whole once the kernel's pool is seeded (getrandom(2)). */
	if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
		return -EIO;
	for (size_t i = 0; i < sizeof(bytes); i++) {
		token[2 * i] = digits[bytes[i] >> 4];
		token[2 * i + 1] = digits[bytes[i] & 15];
	}
	token[STREAM_TOKEN_SIZE - 1] = '\0';
	return 0;
}

static int offer_new(struct streams *streams, uid_t uid, const struct stream_use *use, struct stream_offer **ret)
{
	struct loop *loop = &streams->control->loop;
	_free_ struct stream_offer *offer = calloc(1, sizeof(*offer));

	if (!offer)
		return -ENOMEM;
	offer->streams = streams;
	offer->use = *use;
	offer->uid = uid;
	offer->expiry.fn = on_expired;
	int r = make_token(offer->token);
	if (r == 0)
		r = loop_arm(loop, &offer->expiry, boottime_ns() + streams->token_ns);
	if (r < 0)
		return r;
	list_append(&streams->offers, &offer->of_streams);
	streams->n_offers++;
	*ret = steal_ptr(&offer);
	return 0;
}

int stream_offer(struct call *call, const struct stream_use *use, struct stream_offer **ret)
{
	struct streams *streams = call_control(call)->streams;
	uid_t uid = call_caller(call)->uid;
	struct error_details details = { .step = "stream" };

	if (streams &&
		(streams->n_offers >= STREAM_MAX_OFFERS || offers_of(streams, uid) >= STREAM_MAX_OFFERS_PER_UID)) {
		call_fail(call, E_BUSY, true, &(struct error_details){ .retry_after_ms = BUSY_MS },
			"%d tokens of uid %u, or %d of all, wait for their streams to be opened",
			STREAM_MAX_OFFERS_PER_UID, uid, STREAM_MAX_OFFERS);
		return -EBUSY;
	}
	int r = streams ? offer_new(streams, uid, use, ret) : -ESHUTDOWN;
	if (r < 0) {
		details.err_no = -r;
		call_fail(call, E_FAILED, true, &details, "the stream: %s", strerror(-r));
	}
	return r;
}

json_t *stream_json(const struct stream_offer *offer)
{
	json_t *json = json_object();

	json_put(&json, "token", json_string(offer->token));
	json_put(&json, "expires_in_seconds", json_integer(STREAM_SECONDS));
	return json;
}

/* Says nothing, by the time that it takes, about where two tokens differ. */
static bool tokens_equal(const char *a, const char *b)
{
	unsigned int difference = 0;

	for (size_t i = 0; i < STREAM_TOKEN_SIZE; i++)
		difference |= (unsigned int)(a[i] ^ b[i]);
	return difference == 0;
}

static struct stream_offer *find(const struct streams *streams, const char *token, uid_t uid)
{
	struct stream_offer *found = NULL;

	for (struct list *l = streams->offers.next; l != &streams->offers; l = l->next) {
		struct stream_offer *offer = container_of(l, struct stream_offer, of_streams);
		if (tokens_equal(offer->token, token) && offer->uid == uid)
			found = offer;
	}
	return found;
}

/* ---- connections ---- */

int stream_parse_line(const char *bytes, size_t n, char ret_token[static STREAM_TOKEN_SIZE])
{
	json_t *line = n < STREAM_MAX_LINE ? json_loadb(bytes, n, JSON_REJECT_DUPLICATES, NULL) : NULL;
	const json_t *token = json_object_get(line, "token");
	const char *text = json_string_value(token);
	int r = -EPROTO;

	if (text && json_object_size(line) == 1 && json_string_length(token) == STREAM_TOKEN_SIZE - 1) {
		memcpy(ret_token, text, STREAM_TOKEN_SIZE);
		r = 0;
	}
	json_decref(line);
	return r;
}

/* Frees PENDING and returns its connection, the caller's now. */
static int pending_take(struct pending *pending)
{
	struct streams *streams = pending->streams;
	int fd = pending->io.fd;

	loop_remove(&streams->control->loop, &pending->io);
	loop_disarm(&streams->control->loop, &pending->deadline);
	list_remove(&pending->of_streams);
	streams->n_pending--;
	free(pending);
	return fd;
}

/* One line that says what is wrong, if the socket takes it, and the end. Takes FD over. */
static void refuse(int fd, enum error_kind kind, int64_t retry_after_ms, const char *text)
{
	struct error_details details = { .retry_after_ms = retry_after_ms };
	json_t *answer = rpc_error_answer(NULL, error_object(kind, retry_after_ms > 0, &details, text));
	struct buffer line = { 0 };

	if (json_write(&line, answer) == 0 && buffer_append(&line, "\n", 1) == 0)
		send(fd, buffer_head(&line), buffer_used(&line), MSG_NOSIGNAL | MSG_DONTWAIT);
	json_decref(answer);
	buffer_free(&line);
	close_fd(fd);
}

static void show(struct pending *pending, const char *line, size_t n)
{
	char token[STREAM_TOKEN_SIZE], eaten[STREAM_MAX_LINE];
	struct streams *streams = pending->streams;
	uid_t uid = pending->uid;
	int fd = pending_take(pending);

	if (stream_parse_line(line, n, token) < 0) {
		refuse(fd, E_INVALID_PARAMS, 0, "the first line is {\"token\": \"…\"} with a token of a stream");
		return;
	}
	struct stream_offer *offer = find(streams, token, uid);
	explicit_bzero(token, sizeof(token));
	if (!offer) {
		refuse(fd, E_NOT_FOUND, 0, "the token is wrong, used, expired or another user's");
		return;
	}
	if (recv(fd, eaten, n + 1, 0) != (ssize_t)n + 1) {
		close_fd(fd);
		return;
	}
	const struct stream_use use = take(offer);
	use.attach(use.arg, fd);
}

static void on_pending(struct loop_io *io, uint32_t revents _unused_)
{
	struct pending *pending = container_of(io, struct pending, io);
	char line[STREAM_MAX_LINE];

	ssize_t n = recv(io->fd, line, sizeof(line), MSG_PEEK);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	const char *newline = n > 0 ? memchr(line, '\n', (size_t)n) : NULL;
	if (newline)
		show(pending, line, (size_t)(newline - line));
	else if (n == sizeof(line))
		refuse(pending_take(pending), E_INVALID_PARAMS, 0, "the first line is too long for one with a token");
	else if (n <= 0)
		close_fd(pending_take(pending));
}

static void on_deadline(struct loop_timer *timer)
{
	refuse(pending_take(container_of(timer, struct pending, deadline)), E_TIMEOUT, 0,
		"no line with a token came");
}

static size_t pending_of(const struct streams *streams, uid_t uid)
{
	size_t n = 0;

	for (struct list *l = streams->pending.next; l != &streams->pending; l = l->next)
		n += container_of(l, struct pending, of_streams)->uid == uid;
	return n;
}

/* Takes FD over. */
static void admit(struct streams *streams, int fd)
{
	struct loop *loop = &streams->control->loop;
	struct ucred cred;
	socklen_t size = sizeof(cred);
	_free_ struct pending *pending = calloc(1, sizeof(*pending));

	if (!pending || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &size) < 0) {
		close_fd(fd);
		return;
	}
	if (streams->n_pending >= STREAM_MAX_PENDING || pending_of(streams, cred.uid) >= STREAM_MAX_PENDING_PER_UID) {
		refuse(fd, E_BUSY, BUSY_MS, "too many connections have not sent their first line");
		return;
	}
	*pending = (struct pending){
		.streams = streams, .io = { .fd = fd, .fn = on_pending }, .deadline.fn = on_deadline, .uid = cred.uid
	};
	/* By edges: a line of which a part is left in the queue would otherwise wake the loop for ever. */
	if (loop_arm(loop, &pending->deadline, boottime_ns() + streams->line_ns) < 0 ||
		loop_watch(loop, &pending->io, EPOLLIN | EPOLLRDHUP | EPOLLET) < 0) {
		loop_disarm(loop, &pending->deadline);
		close_fd(fd);
		return;
	}
	list_append(&streams->pending, &pending->of_streams);
	streams->n_pending++;
	steal_ptr(&pending);
}

static void accept_later(struct streams *streams)
{
	struct loop *loop = &streams->control->loop;

	if (loop_arm(loop, &streams->accept_again, boottime_ns() + ACCEPT_AGAIN_MS * NS_PER_MS) == 0)
		loop_remove(loop, &streams->listener);
}

static void on_accept_again(struct loop_timer *timer)
{
	struct streams *streams = container_of(timer, struct streams, accept_again);

	if (loop_watch(&streams->control->loop, &streams->listener, EPOLLIN) < 0)
		accept_later(streams);
}

static void on_listener(struct loop_io *io, uint32_t revents _unused_)
{
	struct streams *streams = container_of(io, struct streams, listener);

	for (size_t i = 0; i < ACCEPTS_PER_ROUND; i++) {
		int fd = accept4(io->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd >= 0) {
			admit(streams, fd);
		} else if (errno != ECONNABORTED && errno != EINTR) {
			/* Out of descriptors: it waits in the queue, and must not wake the loop meanwhile. */
			if (errno != EAGAIN)
				accept_later(streams);
			return;
		}
	}
}

int streams_start(struct control *control, int listen_fd)
{
	_free_ struct streams *streams = calloc(1, sizeof(*streams));
	_close_ int fd = listen_fd;

	if (!streams)
		return -ENOMEM;
	streams->control = control;
	streams->token_ns = STREAM_SECONDS * NS_PER_SEC;
	streams->line_ns = STREAM_LINE_SECONDS * NS_PER_SEC;
	streams->listener = (struct loop_io){ .fd = fd, .fn = on_listener };
	streams->accept_again.fn = on_accept_again;
	list_init(&streams->offers);
	list_init(&streams->pending);
	int r = loop_watch(&control->loop, &streams->listener, EPOLLIN);
	if (r < 0)
		return r;
	steal_fd(&fd);
	control->streams = steal_ptr(&streams);
	return 0;
}

void streams_stop(struct control *control)
{
	struct streams *streams = control->streams;

	if (!streams)
		return;
	/* No new offer from what follows. */
	control->streams = NULL;
	while (!list_is_empty(&streams->pending))
		close_fd(pending_take(container_of(streams->pending.next, struct pending, of_streams)));
	while (!list_is_empty(&streams->offers)) {
		const struct stream_use use =
			take(container_of(streams->offers.next, struct stream_offer, of_streams));
		use.gone(use.arg);
	}
	loop_disarm(&control->loop, &streams->accept_again);
	loop_remove(&control->loop, &streams->listener);
	close_fd(streams->listener.fd);
	free(streams);
}
