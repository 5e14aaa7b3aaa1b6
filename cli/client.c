/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/client.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "cli/format.h"

/* What breaks on the way: all "unreachable", told apart by the step. */
static int lost(struct failure *why, int num, const char *step, const char *text)
{
	failure_set(why, EXIT_UNREACHABLE, num, "%s", text);
	failure_add(why, "step", step);
	return num;
}

int client_open(struct client *client, const char *path, struct failure *why)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	*client = (struct client){ .fd = -1 };
	if (copy_string(address.sun_path, sizeof(address.sun_path), path) < 0)
		return failure_set(why, EXIT_USAGE, -ENAMETOOLONG,
			"the path of the socket has more than %zu characters: %s", sizeof(address.sun_path) - 1,
			path);

	_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return lost(why, -errno, "socket", "cannot make a socket");
	/* Neither connecting nor a request that does not fit into the socket may wait for ever for one that hangs. */
	const struct timeval send_limit = { .tv_sec = CLIENT_PROMPT_MS / 1000 };
	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &send_limit, sizeof(send_limit)) < 0)
		return lost(why, -errno, "socket", "cannot limit the time of sending");
	if (RETRY_EINTR(connect(fd, (struct sockaddr *)&address, sizeof(address))) < 0) {
		int num = failure_set(why, EXIT_UNREACHABLE, -errno, "cannot reach carrel at %s", path);
		failure_add(why, "step", "connect");
		return num;
	}
	client->fd = steal_fd(&fd);
	return 0;
}

void client_close(struct client *client)
{
	close_fdp(&client->fd);
	free(client->buffer);
	json_decref(client->queue);
	*client = (struct client){ .fd = -1 };
}

static int send_line(struct client *client, const json_t *value, struct failure *why)
{
	_free_ char *line = json_dumps(value, JSON_COMPACT);

	if (!line)
		return lost(why, -ENOMEM, "send", "out of memory");
	size_t n = strlen(line);
	line[n++] = '\n'; /* in place of the NUL */
	for (size_t done = 0; done < n;) {
		ssize_t sent = RETRY_EINTR(send(client->fd, line + done, n - done, MSG_NOSIGNAL));
		if (sent < 0)
			return lost(why, -errno, "send", "the connection to carrel broke");
		done += (size_t)sent;
	}
	return 0;
}

/* Makes room for more bytes behind END. */
static int make_room(struct client *client, struct failure *why)
{
	if (client->start > 0) {
		memmove(client->buffer, client->buffer + client->start, client->end - client->start);
		client->end -= client->start;
		client->start = 0;
	}
	if (client->end < client->size)
		return 0;
	if (client->size >= CLIENT_MAX_LINE)
		return lost(why, -EMSGSIZE, "read", "an answer is larger than any that carrel gives");
	size_t size = client->size ? 2 * client->size : 65536;
	char *buffer = realloc(client->buffer, size);
	if (!buffer)
		return lost(why, -ENOMEM, "read", "out of memory");
	client->buffer = buffer;
	client->size = size;
	return 0;
}

static int read_more(struct client *client, int64_t deadline, struct failure *why)
{
	struct pollfd poll_fd = { .fd = client->fd, .events = POLLIN };
	int r = make_room(client, why);

	if (r < 0)
		return r;
	for (;;) {
		int64_t left = deadline < 0 ? -1 : deadline - monotonic_ms();
		int ready = poll(&poll_fd, 1, (int)(deadline >= 0 && left < 0 ? 0 : left));
		if (ready > 0)
			break;
		if (ready == 0) {
			failure_set(why, EXIT_TIMED_OUT, -ETIMEDOUT, "carrel took the request and does not answer");
			failure_add(why, "step", "answer");
			return -ETIMEDOUT;
		}
		if (errno != EINTR)
			return lost(why, -errno, "read", "cannot wait for the answer");
	}
	ssize_t n = RETRY_EINTR(recv(client->fd, client->buffer + client->end, client->size - client->end, 0));
	if (n < 0)
		return lost(why, -errno, "read", "the connection to carrel broke");
	if (n == 0)
		return lost(why, -ECONNRESET, "read", "carrel ended the connection");
	client->end += (size_t)n;
	return 0;
}

/* The next line as JSON, the caller's. */
static int read_value(struct client *client, int64_t deadline, json_t **ret, struct failure *why)
{
	size_t seen = 0; /* of the line, so that no byte is looked at twice */

	for (;;) {
		size_t used = client->end - client->start;
		char *line = client->buffer + client->start;
		char *newline = used > seen ? memchr(line + seen, '\n', used - seen) : NULL;
		if (newline) {
			json_error_t error;
			client->start += (size_t)(newline - line) + 1;
			/* What a session printed may hold a NUL. */
			*ret = json_loadb(
				line, (size_t)(newline - line), JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
			return *ret ? 0 : lost(why, -EPROTO, "read", "the answer is not JSON");
		}
		seen = used;
		int r = read_more(client, deadline, why);
		if (r < 0)
			return r;
	}
}

/* Takes the answer apart; MESSAGE is borrowed. */
static int take_answer(const json_t *message, json_t **ret_result, struct failure *why)
{
	json_t *error = json_object_get(message, "error"), *result = json_object_get(message, "result");

	if (json_is_object(error))
		return failure_from(why, json_incref(error));
	if (!result)
		return lost(why, -EPROTO, "read", "the answer is no JSON-RPC");
	*ret_result = json_incref(result);
	return 0;
}

int client_send(struct client *client, const char *method, json_t *params, json_int_t *ret_id, struct failure *why)
{
	json_t *request = json_pack("{ss, ss, so*}", "jsonrpc", "2.0", "method", method, "params", params);

	if (!request)
		return failure_set(why, EXIT_USAGE, -EINVAL, "the name of the method is not valid UTF-8");
	if (ret_id)
		json_object_set_new(request, "id", json_integer(++client->last_id));
	int r = send_line(client, request, why);
	json_decref(request);
	if (r == 0 && ret_id)
		*ret_id = client->last_id;
	return r;
}

/* Takes MESSAGE, the caller's still, if it answers ID: 0 with *RET_RESULT, or -EREMOTEIO with WHY. 1 when it does not. */
static int take_if_mine(const json_t *message, json_int_t id, json_t **ret_result, struct failure *why)
{
	json_t *answered = json_object_get(message, "id");
	bool mine = json_is_integer(answered) && json_integer_value(answered) == id;

	/* An error without an id is about what was sent last: it could not even be read. */
	if (mine || (!json_object_get(message, "method") && !json_is_integer(answered)))
		return take_answer(message, ret_result, why);
	return 1;
}

/* As take_if_mine(), of what came while another answer was waited for: answers come in any order. */
static int take_queued(struct client *client, json_int_t id, json_t **ret_result, struct failure *why)
{
	json_t *message;
	size_t i;

	json_array_foreach (client->queue, i, message) {
		int r = take_if_mine(message, id, ret_result, why);
		if (r <= 0) {
			json_array_remove(client->queue, i);
			return r;
		}
	}
	return 1;
}

int client_answer(struct client *client, json_int_t id, int timeout_ms, json_t **ret_result, struct failure *why)
{
	int64_t deadline = timeout_ms < 0 ? -1 : monotonic_ms() + timeout_ms;
	int queued = take_queued(client, id, ret_result, why);

	if (queued <= 0)
		return queued;
	for (;;) {
		json_t *message;
		int r = read_value(client, deadline, &message, why);
		if (r < 0)
			return r;
		r = take_if_mine(message, id, ret_result, why);
		if (r <= 0) {
			json_decref(message);
			return r;
		}
		if (!client->queue)
			client->queue = json_array();
		json_array_append_new(client->queue, message);
	}
}

int client_call(struct client *client, const char *method, json_t *params, int timeout_ms, json_t **ret_result,
	struct failure *why)
{
	json_int_t id;
	int r = client_send(client, method, params, &id, why);

	return r < 0 ? r : client_answer(client, id, timeout_ms, ret_result, why);
}

json_t *client_fetch(struct client *client, const char *method, const char *member, json_t *params, int timeout_ms,
	struct failure *why)
{
	json_t *all = json_array(), *cursor;

	do {
		json_t *page = NULL;
		if (client_call(client, method, json_incref(params), timeout_ms, &page, why) < 0) {
			json_decref(all);
			all = NULL;
			break;
		}
		json_array_extend(all, json_object_get(page, member));
		cursor = json_object_get(page, "next_cursor");
		if (json_is_string(cursor))
			json_object_set(params, "cursor", cursor);
		else
			cursor = NULL;
		json_decref(page);
	} while (cursor);
	json_decref(params);
	return all;
}

int client_next(struct client *client, int timeout_ms, json_t **ret_params, struct failure *why)
{
	int64_t deadline = timeout_ms < 0 ? -1 : monotonic_ms() + timeout_ms;

	for (;;) {
		json_t *message = json_array_get(client->queue, 0);
		int r = 0;
		if (message) {
			json_incref(message);
			json_array_remove(client->queue, 0);
		} else {
			r = read_value(client, deadline, &message, why);
		}
		if (r < 0)
			return r;
		json_t *params = json_object_get(message, "params");
		json_incref(params);
		json_decref(message);
		if (params) {
			*ret_params = params;
			return 0;
		}
	}
}

int client_ask(const char *path, const char *method, json_t *params, int timeout_ms, json_t **ret_result,
	struct failure *why)
{
	_client_ struct client client = { .fd = -1 };
	int r = client_open(&client, path, why);

	if (r < 0) {
		json_decref(params);
		return r;
	}
	return client_call(&client, method, params, timeout_ms, ret_result, why);
}
