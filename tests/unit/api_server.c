/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/api_server.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "control/access.h"
#include "control/stream.h"

/* ---- the server: each session.* method does one simple thing ---- */

enum { MAX_HELD = 1024 };

static struct {
	struct call *held[MAX_HELD];
	size_t n_held, reserved[MAX_HELD];
	struct conn *subscriber;
	int n_closed, n_attached, n_gone;
} stub;

json_t *lifecycle_states(const struct control *control _unused_)
{
	return json_pack("{s:i, s:i}", "ready", 2, "ended", 5);
}

const char *lifecycle_status(const struct control *control _unused_)
{
	return "ok";
}

void lifecycle_print_metrics(const struct control *control _unused_, FILE *out)
{
	fputs("lifecycle 1\n", out);
}

static size_t count_entries(const char *path)
{
	DIR *dir = opendir(path);
	size_t n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

void lifecycle_check(struct call *call)
{
	call_reply(call, json_pack("{s:i}", "fds", (int)count_entries("/proc/self/fd")));
}

static json_t *long_text(size_t n)
{
	char *text = malloc(n);

	memset(text, 'x', n);
	json_t *json = json_stringn(text, n);
	free(text);
	return json;
}

/* Reserves as much as it may of what is asked for; the answer, when it is released, is that long. */
void method_exec_run(struct call *call)
{
	size_t n = (size_t)json_integer_value(json_object_get(call_params(call), "max_output_bytes")), got = 0;

	while (got < n && call_reserve(call, 1024))
		got += 1024;
	stub.reserved[stub.n_held] = got;
	stub.held[stub.n_held++] = call;
}

/* Is answered by session.heartbeat. */
void method_session_wait(struct call *call)
{
	stub.held[stub.n_held++] = call;
}

void method_session_heartbeat(struct call *call)
{
	size_t n = stub.n_held, orphans = 0;

	stub.n_held = 0;
	for (size_t i = 0; i < n; i++) {
		orphans += call_conn(stub.held[i]) == NULL;
		call_reply(stub.held[i], stub.reserved[i] ? long_text(stub.reserved[i]) : json_true());
		stub.reserved[i] = 0;
	}
	call_reply(call, json_pack("{s:i, s:i}", "released", (int)n, "orphans", (int)orphans));
}

/* A text as long as asked for. */
void method_session_logs(struct call *call)
{
	size_t n = (size_t)json_integer_value(json_object_get(call_params(call), "max_bytes"));

	call_reply(call, long_text(n));
}

static void on_close(struct conn *conn, void *owner)
{
	if (owner != &stub || conn != stub.subscriber)
		abort();
	stub.subscriber = NULL;
	stub.n_closed++;
}

void method_events_subscribe(struct call *call)
{
	stub.subscriber = call_conn(call);
	conn_on_close(stub.subscriber, on_close, &stub);
	call_reply(call, json_true());
}

/* As many notifications of a thousand bytes as "ttl_seconds" says. */
void method_session_extend(struct call *call)
{
	int n = (int)json_number_value(json_object_get(call_params(call), "ttl_seconds"));
	char pad[1001] = { 0 };

	memset(pad, 'x', sizeof(pad) - 1);
	for (int i = 0; i < n && stub.subscriber; i++)
		conn_notify(stub.subscriber, "event", json_pack("{s:i, s:s}", "seq", i, "pad", pad));
	call_reply(call, json_integer(stub.n_closed));
}

/* Takes the hook out again. */
void method_session_pause(struct call *call)
{
	if (stub.subscriber)
		conn_on_close(stub.subscriber, NULL, &stub);
	stub.subscriber = NULL;
	call_reply(call, json_true());
}

void method_session_stop(struct call *call)
{
	struct error_details details = {
		.session = "s\xff", .step = "cgroup", .err_no = ENOSPC, .log_tail = "line\n", .retry_after_ms = 5
	};

	call_fail(call, E_FAILED, true, &details, "it %s", "failed");
}

/* What of the stream is there already is written back, and a full stop; then it ends. */
static void on_attached(void *arg _unused_, int fd)
{
	char text[64];
	ssize_t n = recv(fd, text, sizeof(text) - 1, 0);

	if (n < 0)
		n = 0;
	text[n++] = '.';
	if (send(fd, text, (size_t)n, 0) != n)
		abort();
	close(fd);
	stub.n_attached++;
}

static void on_stream_gone(void *arg _unused_)
{
	stub.n_gone++;
}

/* Offers a stream. */
void method_session_get(struct call *call)
{
	static const struct stream_use use = { .attach = on_attached, .gone = on_stream_gone };
	struct stream_offer *offer;

	if (stream_offer(call, &use, &offer) == 0)
		call_reply(call, stream_json(offer));
}

/* Answers with as many descriptors as "limit" says, each a pipe with its number in it, and a text as long as "cursor". */
void method_session_list(struct call *call)
{
	const json_t *params = call_params(call);
	size_t n = (size_t)json_integer_value(json_object_get(params, "limit"));
	const char *length = json_string_value(json_object_get(params, "cursor"));
	int fds[CALL_MAX_FDS], ends[2];

	if (!call_takes_fds(call))
		return;
	for (size_t i = 0; i < n; i++) {
		if (pipe2(ends, O_CLOEXEC) < 0 || dprintf(ends[1], "%zu", i) < 0)
			abort();
		fds[i] = ends[0];
		close(ends[1]);
	}
	call_reply_fds(call, length ? long_text(strtoul(length, NULL, 10)) : json_true(), fds, n);
}

/* How many streams were opened, and how many nobody came for. */
void method_session_stats(struct call *call)
{
	call_reply(call, json_pack("{s:i, s:i}", "attached", stub.n_attached, "gone", stub.n_gone));
}

#define UNUSED_METHOD(name)                    \
	void name(struct call *call)           \
	{                                      \
		call_reply(call, json_null()); \
	}
UNUSED_METHOD(method_docker_build)
UNUSED_METHOD(method_docker_cancel)
UNUSED_METHOD(method_docker_run)
UNUSED_METHOD(method_docker_stop)
UNUSED_METHOD(method_docker_ps)
UNUSED_METHOD(method_docker_images)
UNUSED_METHOD(method_session_create)
UNUSED_METHOD(method_exec_start)
UNUSED_METHOD(method_exec_attach)
UNUSED_METHOD(method_exec_wait)
UNUSED_METHOD(method_exec_signal)
UNUSED_METHOD(method_exec_resize)
UNUSED_METHOD(method_exec_list)
UNUSED_METHOD(method_terminal_open)
UNUSED_METHOD(method_terminal_attach)
UNUSED_METHOD(method_port_connect)
UNUSED_METHOD(method_port_publish)
UNUSED_METHOD(method_port_unpublish)
UNUSED_METHOD(method_session_ensure)
UNUSED_METHOD(method_system_capacity)
UNUSED_METHOD(method_system_drain)
UNUSED_METHOD(method_session_remove)
UNUSED_METHOD(method_session_set_limits)
UNUSED_METHOD(method_session_resume)
UNUSED_METHOD(method_file_list)
UNUSED_METHOD(method_file_stat)
UNUSED_METHOD(method_file_read)
UNUSED_METHOD(method_file_write)
UNUSED_METHOD(method_file_mkdir)
UNUSED_METHOD(method_file_move)
UNUSED_METHOD(method_file_delete)
UNUSED_METHOD(method_file_wait)
UNUSED_METHOD(method_archive_get)
UNUSED_METHOD(method_archive_put)
UNUSED_METHOD(method_pool_get)
UNUSED_METHOD(method_pool_set)
UNUSED_METHOD(method_volume_list)
UNUSED_METHOD(method_volume_get)
UNUSED_METHOD(method_volume_remove)

/* ---- the fixture ---- */

struct stopper {
	struct loop_io io;
	struct loop *loop;
};

static void on_stop(struct loop_io *io, uint32_t revents _unused_)
{
	container_of(io, struct stopper, io)->loop->stop = true;
}

/* The child: serves until STOP_FD ends. Its exit status. */
static int serve(int listen_fd, int stream_fd, int stop_fd, const struct options *options)
{
	char id[16], unknown[64];
	struct config_access access = { .user = id, .role = options->is_client ? ROLE_CLIENT : ROLE_ADMIN };
	struct control control = {
		.config = {
			.access = &access,
			.n_access = !options->without_access,
			.max_connections = options->max_connections ? options->max_connections : 64,
			.max_connections_per_uid = options->max_per_uid ? options->max_per_uid : 64,
			.max_in_flight = options->max_in_flight ? options->max_in_flight : 64,
			.max_queued_bytes = options->max_queued ? options->max_queued : 4 << 20,
		},
		.config_directory = "/etc/carrel",
		.started_ns = boottime_ns(),
	};
	struct stopper stopper = { .io = { .fd = stop_fd, .fn = on_stop }, .loop = &control.loop };

	snprintf(id, sizeof(id), "#%u", getuid());
	if (options->max_fds)
		setrlimit(RLIMIT_NOFILE, &(struct rlimit){ options->max_fds, options->max_fds });
	if (loop_open(&control.loop) < 0 || loop_watch(&control.loop, &stopper.io, EPOLLIN) < 0 ||
		access_resolve(&control.config, &control.access, unknown, sizeof(unknown)) < 0 ||
		server_start(&control, listen_fd) < 0 || streams_start(&control, stream_fd) < 0)
		return 2;
	if (options->token_ms)
		control.streams->token_ns = options->token_ms * NS_PER_MS;
	if (options->line_ms)
		control.streams->line_ns = options->line_ms * NS_PER_MS;
	if (options->stall_ms)
		control.server->stall_ns = options->stall_ms * NS_PER_MS;
	if (options->refuse_ms)
		control.server->refuse_ns = options->refuse_ms * NS_PER_MS;
	int r = loop_run(&control.loop);
	server_stop(&control);
	streams_stop(&control);
	while (stub.n_held > 0)
		call_reply(stub.held[--stub.n_held], json_true());
	access_free(control.access);
	loop_close(&control.loop);
	return r < 0;
}

static int make_listener(const char *dir, const char *name, struct sockaddr_un *ret_address)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	*ret_address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(ret_address->sun_path, sizeof(ret_address->sun_path), "%s/%s", dir, name);
	assert_return_code(bind(fd, (struct sockaddr *)ret_address, sizeof(*ret_address)), errno);
	assert_return_code(listen(fd, 128), errno);
	return fd;
}

void start(struct fixture *f, const struct options *options)
{
	int pair[2];

	snprintf(f->dir, sizeof(f->dir), "/tmp/carrel-conn-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	int listener = make_listener(f->dir, "api.sock", &f->address);
	int streams = make_listener(f->dir, "stream.sock", &f->stream_address);
	assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), errno);
	f->pid = fork();
	assert_return_code(f->pid, errno);
	if (f->pid == 0) {
		close(pair[0]);
		exit(serve(listener, streams, pair[1], options));
	}
	close(pair[1]);
	close(listener);
	close(streams);
	f->stop_fd = pair[0];
}

void stop(struct fixture *f)
{
	int status;

	close(f->stop_fd);
	assert_int_equal(waitpid(f->pid, &status, 0), f->pid);
	unlink(f->address.sun_path);
	unlink(f->stream_address.sun_path);
	rmdir(f->dir);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- a client ---- */

static struct peer dial_address(const struct sockaddr_un *address)
{
	struct peer peer = { .fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) };

	assert_true(peer.fd >= 0);
	assert_return_code(connect(peer.fd, (const struct sockaddr *)address, sizeof(*address)), errno);
	return peer;
}

struct peer dial(const struct fixture *f)
{
	return dial_address(&f->address);
}

struct peer dial_stream(const struct fixture *f)
{
	return dial_address(&f->stream_address);
}

void hang_up(struct peer *peer)
{
	close(peer->fd);
	free(peer->bytes);
	*peer = (struct peer){ .fd = -1 };
}

void say_bytes(const struct peer *peer, const char *bytes, size_t n)
{
	while (n > 0) {
		ssize_t sent = send(peer->fd, bytes, n, MSG_NOSIGNAL);
		assert_return_code(sent, errno);
		bytes += sent;
		n -= (size_t)sent;
	}
}

void say_maybe(const struct peer *peer, const char *text)
{
	send(peer->fd, text, strlen(text), MSG_NOSIGNAL);
}

void say(const struct peer *peer, const char *text)
{
	say_bytes(peer, text, strlen(text));
}

void ask(const struct peer *peer, int id, const char *method, const char *params)
{
	char line[512];

	snprintf(line, sizeof(line), "{\"jsonrpc\":\"2.0\",\"id\":%d,\"method\":\"%s\"%s%s}\n", id, method,
		params[0] ? ",\"params\":" : "", params);
	say(peer, line);
}

/* More bytes; false at the end of the stream. Five seconds are for ever. */
static bool fill(struct peer *peer)
{
	struct pollfd readable = { .fd = peer->fd, .events = POLLIN };

	assert_int_equal(poll(&readable, 1, 5000), 1);
	peer->bytes = realloc(peer->bytes, peer->n + 65536);
	assert_non_null(peer->bytes);
	ssize_t n = recv(peer->fd, peer->bytes + peer->n, 65536, 0);
	if (n <= 0)
		return false;
	peer->n += (size_t)n;
	return true;
}

json_t *hear(struct peer *peer)
{
	char *newline;

	while (!peer->n || !(newline = memchr(peer->bytes, '\n', peer->n)))
		if (!fill(peer))
			return NULL;
	size_t n = (size_t)(newline - peer->bytes);
	json_t *answer = json_loadb(peer->bytes, n, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(answer);
	peer->n -= n + 1;
	memmove(peer->bytes, newline + 1, peer->n);
	return answer;
}

json_t *result_of(struct peer *peer, int id, json_t **ret)
{
	*ret = hear(peer);
	assert_non_null(*ret);
	assert_int_equal(json_integer_value(json_object_get(*ret, "id")), id);
	assert_null(json_object_get(*ret, "error"));
	return json_object_get(*ret, "result");
}

void expect_result(struct peer *peer, int id)
{
	json_t *answer;

	assert_non_null(result_of(peer, id, &answer));
	json_decref(answer);
}

int expect_error(struct peer *peer, const char *kind)
{
	json_t *answer = hear(peer), *error = json_object_get(answer, "error"),
	       *data = json_object_get(error, "data");

	assert_non_null(error);
	assert_true(json_is_string(json_object_get(error, "message")));
	int code = (int)json_integer_value(json_object_get(error, "code"));
	if (kind) {
		assert_non_null(data);
		assert_string_equal(json_string_value(json_object_get(data, "kind")), kind);
		if (streq(kind, "busy"))
			assert_true(json_integer_value(json_object_get(data, "retry_after_ms")) > 0);
	}
	json_decref(answer);
	return code;
}

void expect_end(struct peer *peer)
{
	assert_null(hear(peer));
	hang_up(peer);
}

int number(const json_t *object, const char *member)
{
	return (int)json_integer_value(json_object_get(object, member));
}

int release(const struct fixture *f, int *ret_orphans)
{
	struct peer peer = dial(f);
	json_t *answer;

	ask(&peer, 1, "session.heartbeat", "{\"session\":\"s\"}");
	json_t *result = result_of(&peer, 1, &answer);
	int n = number(result, "released");
	if (ret_orphans)
		*ret_orphans = number(result, "orphans");
	json_decref(answer);
	hang_up(&peer);
	return n;
}

int server_fds(struct peer *peer)
{
	json_t *answer;

	ask(peer, 99, "system.check", "");
	int n = number(result_of(peer, 99, &answer), "fds");
	json_decref(answer);
	return n;
}
