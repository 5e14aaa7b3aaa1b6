/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/remote.h"

#include <sys/socket.h>
#include <sys/un.h>

static bool is_session_name(const char *text, size_t n)
{
	if (n == 0 || n >= member_size(struct place, session) || text[0] == '-')
		return false;
	return strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-") >= n;
}

int place_parse(const char *word, struct place *ret, struct failure *why)
{
	const char *colon = strchr(word, ':'), *path = word;
	size_t n = colon ? (size_t)(colon - word) : 0;
	int written;

	*ret = (struct place){ 0 };
	if (colon && is_session_name(word, n)) {
		memcpy(ret->session, word, n);
		path = colon + 1;
		/* There is no current directory in a session. */
		written = snprintf(ret->path, sizeof(ret->path), "%s%s", *path == '/' ? "" : "/", path);
	} else {
		written = snprintf(ret->path, sizeof(ret->path), "%s", path);
	}
	if ((size_t)written >= sizeof(ret->path))
		return failure_set(why, EXIT_USAGE, -EINVAL, "the path is longer than %zu bytes: %.64s...",
			sizeof(ret->path) - 1, path);
	if (!*ret->path)
		return failure_set(why, EXIT_USAGE, -EINVAL, "a path is empty");
	return 0;
}

bool place_is_remote(const struct place *place)
{
	return *place->session;
}

json_t *place_params(const struct place *place)
{
	return json_pack("{ss, ss}", "session", place->session, "path", place->path);
}

const char *last_part(const char *path)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;

	return streq(name, ".") || streq(name, "..") ? "" : name;
}

int path_append(char path[static PATH_MAX], const char *name, struct failure *why)
{
	size_t n = strlen(path);
	const char *slash = n > 0 && path[n - 1] == '/' ? "" : "/";

	if ((size_t)snprintf(path + n, PATH_MAX - n, "%s%s", slash, name) < PATH_MAX - n)
		return 0;
	path[n] = '\0';
	return failure_set(why, EXIT_USAGE, -ENAMETOOLONG, "the path is too long: %.64s...", path);
}

int remote_stat(struct client *client, const struct place *place, json_t **ret_stat, struct failure *why)
{
	json_t *params = place_params(place);

	json_object_set_new(params, "follow", json_true());
	int r = client_call(client, "file.stat", params, CLIENT_FOREVER, ret_stat, why);
	const char *num = text_of(json_object_get(why->error, "data"), "errno");
	if (r == -EREMOTEIO && num && streq(num, "ENOENT")) {
		failure_free(why);
		*why = (struct failure){ 0 };
		*ret_stat = NULL;
		return 0;
	}
	return r;
}

int stream_open(const struct cli *cli, const json_t *offer, struct failure *why)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const char *token = text_of(offer, "token"), *slash = strrchr(cli->socket_path, '/');
	int n = slash ? (int)(slash - cli->socket_path) + 1 : 0;
	char line[256];

	if (!token || strlen(token) + sizeof("{\"token\": \"\"}\n") > sizeof(line))
		return failure_set(why, EXIT_UNREACHABLE, -EPROTO, "carrel offered no stream");
	if ((size_t)snprintf(address.sun_path, sizeof(address.sun_path), "%.*sstream.sock", n, cli->socket_path) >=
		sizeof(address.sun_path))
		return failure_set(why, EXIT_USAGE, -ENAMETOOLONG, "the path of the stream socket is too long");
	_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int size = snprintf(line, sizeof(line), "{\"token\": \"%s\"}\n", token);
	if (fd < 0 || RETRY_EINTR(connect(fd, (struct sockaddr *)&address, sizeof(address))) < 0 ||
		RETRY_EINTR(send(fd, line, (size_t)size, MSG_NOSIGNAL)) != size) {
		int num = failure_set(why, EXIT_UNREACHABLE, -errno, "cannot reach carrel at %s", address.sun_path);
		failure_add(why, "step", "stream");
		return num;
	}
	return steal_fd(&fd);
}

int remote_open(struct remote_transfer *ret, const struct cli *cli, struct client *client, const char *method,
	json_t *params, struct failure *why)
{
	json_t *opened = NULL;
	const char *session = text_of(params, "session");
	/* It is wanted after PARAMS is gone. */
	_free_ char *name = strdup(session ? session : "");

	int r = name ? client_call(client, method, params, CLIENT_FOREVER, &opened, why)
		     : failure_set(why, EXIT_REFUSED, -ENOMEM, "out of memory");
	if (r < 0)
		return r;
	r = stream_open(cli, json_object_get(opened, "stream"), why);
	if (r < 0) {
		json_decref(opened);
		return r;
	}
	json_object_set_new(opened, "session", json_string(name));
	*ret = (struct remote_transfer){ .opened = opened, .session = text_of(opened, "session"), .fd = r };
	return 0;
}

void remote_free(struct remote_transfer *transfer)
{
	json_decref(transfer->opened);
	transfer->opened = NULL;
	close_fdp(&transfer->fd);
}

int remote_wait(struct client *client, const struct remote_transfer *transfer, json_int_t sent, json_t **ret_outcome,
	struct failure *why)
{
	json_t *outcome = NULL, *params = json_pack("{ss, sO}", "session", transfer->session, "transfer",
					json_object_get(transfer->opened, "transfer"));

	if (sent >= 0)
		json_object_set_new(params, "size_bytes", json_integer(sent));
	int r = client_call(client, "file.wait", params, CLIENT_FOREVER, &outcome, why);
	if (r == 0 && ret_outcome)
		*ret_outcome = json_incref(outcome);
	json_decref(outcome);
	return r;
}
