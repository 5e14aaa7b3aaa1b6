/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server half against real sockets: it runs in a child with handlers of this file's own, the tests are its
 * clients. What the child holds at its end is what the leak check reports, and its exit status is a test's, too.
 */
#include "tests/unit/unit.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "control/access.h"
#include "control/control.h"
#include "control/server.h"

/* ---- the server: each session.* method does one simple thing ---- */

enum { MAX_HELD = 1024 };

static struct {
	struct call *held[MAX_HELD];
	size_t n_held;
	struct conn *subscriber;
	int n_closed;
} stub;

json_t *lifecycle_states(const struct control *control _unused_)
{
	return json_pack("{s:i, s:i}", "ready", 2, "ended", 5);
}

static size_t count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	size_t n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

void lifecycle_check(struct call *call)
{
	call_reply(call, json_pack("{s:i}", "fds", (int)count_fds()));
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
		call_reply(stub.held[i], json_true());
	}
	call_reply(call, json_pack("{s:i, s:i}", "released", (int)n, "orphans", (int)orphans));
}

/* A text as long as asked for. */
void method_session_logs(struct call *call)
{
	size_t n = (size_t)json_integer_value(json_object_get(call_params(call), "max_bytes"));
	char *text = malloc(n);

	memset(text, 'x', n);
	call_reply(call, json_stringn(text, n));
	free(text);
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

#define UNUSED_METHOD(name)                    \
	void name(struct call *call)           \
	{                                      \
		call_reply(call, json_null()); \
	}
UNUSED_METHOD(method_session_create)
UNUSED_METHOD(method_session_get)
UNUSED_METHOD(method_session_list)
UNUSED_METHOD(method_session_remove)
UNUSED_METHOD(method_session_stats)
UNUSED_METHOD(method_session_resume)

/* ---- the fixture ---- */

struct options {
	bool without_access, is_client;
	uint32_t max_connections, max_per_uid, max_in_flight;
	uint64_t max_queued, stall_ms;
	rlim_t max_fds;
};

struct fixture {
	char dir[64];
	struct sockaddr_un address;
	pid_t pid;
	int stop_fd; /* its end is the child's */
};

struct stop {
	struct loop_io io;
	struct loop *loop;
};

static void on_stop(struct loop_io *io, uint32_t revents _unused_)
{
	container_of(io, struct stop, io)->loop->stop = true;
}

/* The child: serves until STOP_FD ends. Its exit status. */
static int serve(int listen_fd, int stop_fd, const struct options *options)
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
	struct stop stop = { .io = { .fd = stop_fd, .fn = on_stop }, .loop = &control.loop };

	snprintf(id, sizeof(id), "#%u", getuid());
	if (options->max_fds)
		setrlimit(RLIMIT_NOFILE, &(struct rlimit){ options->max_fds, options->max_fds });
	if (loop_open(&control.loop) < 0 || loop_watch(&control.loop, &stop.io, EPOLLIN) < 0 ||
		access_resolve(&control.config, &control.access, unknown, sizeof(unknown)) < 0 ||
		server_start(&control, listen_fd) < 0)
		return 2;
	if (options->stall_ms)
		control.server->stall_ns = options->stall_ms * NS_PER_MS;
	int r = loop_run(&control.loop);
	server_stop(&control);
	while (stub.n_held > 0)
		call_reply(stub.held[--stub.n_held], json_true());
	access_free(control.access);
	loop_close(&control.loop);
	return r < 0;
}

static void start(struct fixture *f, const struct options *options)
{
	int pair[2];

	snprintf(f->dir, sizeof(f->dir), "/tmp/carrel-conn-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	f->address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(f->address.sun_path, sizeof(f->address.sun_path), "%s/api.sock", f->dir);
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_return_code(bind(listener, (struct sockaddr *)&f->address, sizeof(f->address)), errno);
	assert_return_code(listen(listener, 128), errno);
	assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), errno);
	f->pid = fork();
	assert_return_code(f->pid, errno);
	if (f->pid == 0) {
		close(pair[0]);
		exit(serve(listener, pair[1], options));
	}
	close(pair[1]);
	close(listener);
	f->stop_fd = pair[0];
}

static void stop(struct fixture *f)
{
	int status;

	close(f->stop_fd);
	assert_int_equal(waitpid(f->pid, &status, 0), f->pid);
	unlink(f->address.sun_path);
	rmdir(f->dir);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- a client ---- */

struct peer {
	int fd;
	char *bytes;
	size_t n;
};

static struct peer dial(const struct fixture *f)
{
	struct peer peer = { .fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) };

	assert_true(peer.fd >= 0);
	assert_return_code(connect(peer.fd, (const struct sockaddr *)&f->address, sizeof(f->address)), errno);
	return peer;
}

static void hang_up(struct peer *peer)
{
	close(peer->fd);
	free(peer->bytes);
	*peer = (struct peer){ .fd = -1 };
}

static void say_bytes(const struct peer *peer, const char *bytes, size_t n)
{
	while (n > 0) {
		ssize_t sent = send(peer->fd, bytes, n, MSG_NOSIGNAL);
		assert_return_code(sent, errno);
		bytes += sent;
		n -= (size_t)sent;
	}
}

/* For a peer that may have been hung up on already. */
static void say_maybe(const struct peer *peer, const char *text)
{
	send(peer->fd, text, strlen(text), MSG_NOSIGNAL);
}

static void say(const struct peer *peer, const char *text)
{
	say_bytes(peer, text, strlen(text));
}

/* A request with integer id and parameters in JSON, "" for none. */
static void ask(const struct peer *peer, int id, const char *method, const char *params)
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

/* The next line; NULL at the end of the stream. */
static json_t *hear(struct peer *peer)
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

/* Hears the answer to ID and returns its result, borrowed from *RET. */
static json_t *result_of(struct peer *peer, int id, json_t **ret)
{
	*ret = hear(peer);
	assert_non_null(*ret);
	assert_int_equal(json_integer_value(json_object_get(*ret, "id")), id);
	assert_null(json_object_get(*ret, "error"));
	return json_object_get(*ret, "result");
}

static void expect_result(struct peer *peer, int id)
{
	json_t *answer;

	assert_non_null(result_of(peer, id, &answer));
	json_decref(answer);
}

/* Hears an error, of KIND unless that is NULL, and returns its code. */
static int expect_error(struct peer *peer, const char *kind)
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

static void expect_end(struct peer *peer)
{
	assert_null(hear(peer));
	hang_up(peer);
}

static int number(const json_t *object, const char *member)
{
	return (int)json_integer_value(json_object_get(object, member));
}

/* Asks on a connection of its own; returns what session.heartbeat released, and whose clients were gone. */
static int release(const struct fixture *f, int *ret_orphans)
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

/* A line of its own, for what goes out with others. */
#define HEALTH(id) "{\"jsonrpc\":\"2.0\",\"id\":" #id ",\"method\":\"system.health\"}"
#define SILENT_HEALTH "{\"jsonrpc\":\"2.0\",\"method\":\"system.health\"}"

#define WAIT "session.wait", "{\"session\":\"s\",\"for\":\"ended\"}"

/* ---- tests ---- */

static void test_hello_and_errors(void **state _unused_)
{
	struct fixture f;
	json_t *answer;

	start(&f, &(struct options){ .is_client = true });
	struct peer peer = dial(&f);
	ask(&peer, 1, "hello", "{\"client\":\"test\"}");
	json_t *result = result_of(&peer, 1, &answer);
	assert_string_equal(json_string_value(json_object_get(result, "role")), "client");
	assert_int_equal(number(json_object_get(result, "limits"), "frame_bytes"), RPC_MAX_FRAME);
	json_decref(answer);
	ask(&peer, 2, "hello", "{\"api\":2}");
	assert_int_equal(expect_error(&peer, "unavailable"), -32011);
	ask(&peer, 3, "no.such", "");
	assert_int_equal(expect_error(&peer, NULL), RPC_METHOD_NOT_FOUND);
	ask(&peer, 4, "system.check", "");
	assert_int_equal(expect_error(&peer, "denied"), -32004);
	ask(&peer, 5, "session.wait", "{\"session\":\"s\",\"for\":\"ever\"}");
	assert_int_equal(expect_error(&peer, "invalid_params"), RPC_INVALID_PARAMS);
	ask(&peer, 6, "system.health", "[]");
	assert_int_equal(expect_error(&peer, "invalid_params"), RPC_INVALID_PARAMS);
	ask(&peer, 7, "system.health", "");
	assert_int_equal(number(result_of(&peer, 7, &answer), "active_sessions"), 2);
	json_decref(answer);
	hang_up(&peer);
	stop(&f);
}

static void test_error_details(void **state _unused_)
{
	struct fixture f;

	start(&f, &(struct options){ 0 });
	struct peer peer = dial(&f);
	ask(&peer, 1, "session.stop", "{\"session\":\"s\"}");
	json_t *answer = hear(&peer), *error = json_object_get(answer, "error"),
	       *data = json_object_get(error, "data");
	assert_int_equal(number(error, "code"), -32010);
	assert_string_equal(json_string_value(json_object_get(error, "message")), "it failed");
	assert_string_equal(json_string_value(json_object_get(data, "kind")), "failed");
	assert_true(json_is_true(json_object_get(data, "retryable")));
	assert_string_equal(json_string_value(json_object_get(data, "session")), "s\ufffd");
	assert_string_equal(json_string_value(json_object_get(data, "step")), "cgroup");
	assert_string_equal(json_string_value(json_object_get(data, "errno")), "ENOSPC");
	assert_string_equal(json_string_value(json_object_get(data, "log_tail")), "line\n");
	assert_int_equal(number(data, "retry_after_ms"), 5);
	json_decref(answer);
	hang_up(&peer);
	stop(&f);
}

static void test_discover(void **state _unused_)
{
	struct fixture f;
	json_t *answer;

	start(&f, &(struct options){ 0 });
	struct peer peer = dial(&f);
	ask(&peer, 1, "rpc.discover", "");
	json_t *methods = json_object_get(result_of(&peer, 1, &answer), "methods");
	assert_int_equal(json_array_size(methods), n_methods);
	for (size_t i = 0; i < n_methods; i++) {
		json_t *method = json_array_get(methods, i), *params = json_object_get(method, "params");
		size_t n = 0;
		assert_string_equal(json_string_value(json_object_get(method, "name")), method_table[i].name);
		while (method_table[i].params[n].name)
			n++;
		assert_int_equal(json_array_size(params), n);
	}
	json_decref(answer);
	hang_up(&peer);
	stop(&f);
}

static void test_requests_in_one_write_and_byte_by_byte(void **state _unused_)
{
	enum { N = 100 };
	struct fixture f;
	char lines[N * 80];
	size_t n = 0;

	start(&f, &(struct options){ 0 });
	struct peer peer = dial(&f);
	for (int i = 0; i < N; i++)
		n += (size_t)snprintf(lines + n, sizeof(lines) - n,
			"{\"jsonrpc\":\"2.0\",\"id\":%d,\"method\":\"session.get\",\"params\":{\"session\":\"s\"}}"
			"\r\n\n",
			i);
	say_bytes(&peer, lines, n);
	for (int i = 0; i < N; i++)
		expect_result(&peer, i);
	for (const char *p = HEALTH(5) "\n"; *p; p++)
		say_bytes(&peer, p, 1);
	expect_result(&peer, 5);
	hang_up(&peer);
	stop(&f);
}

static void test_half_closed_peer_gets_its_answers(void **state _unused_)
{
	struct fixture f;

	start(&f, &(struct options){ 0 });
	struct peer peer = dial(&f);
	/* The last line has no newline: the end of the stream ends it. */
	ask(&peer, 1, WAIT);
	say(&peer, HEALTH(2));
	shutdown(peer.fd, SHUT_WR);
	expect_result(&peer, 2);
	assert_int_equal(release(&f, NULL), 1);
	expect_result(&peer, 1);
	expect_end(&peer);
	stop(&f);
}

static void test_requests_of_a_peer_that_left_are_done(void **state _unused_)
{
	struct fixture f;
	int orphans = 0, n = 0;

	start(&f, &(struct options){ 0 });
	struct peer peer = dial(&f);
	ask(&peer, 1, WAIT);
	ask(&peer, 2, WAIT);
	hang_up(&peer);
	while (n < 2) {
		int some;
		n += release(&f, &some);
		orphans += some;
	}
	assert_int_equal(n, 2);
	assert_true(orphans <= 2);
	stop(&f);
}

static void test_batch_is_answered_as_one(void **state _unused_)
{
	struct fixture f;

	start(&f, &(struct options){ 0 });
	struct peer peer = dial(&f);
	say(&peer, "[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"session.wait\","
		   "\"params\":{\"session\":\"s\",\"for\":\"ended\"}}," SILENT_HEALTH "," HEALTH(2) ",7]\n");
	/* Another request is not held up by the batch. */
	ask(&peer, 3, "system.health", "");
	expect_result(&peer, 3);
	assert_int_equal(release(&f, NULL), 1);
	json_t *answers = hear(&peer);
	assert_true(json_is_array(answers));
	assert_int_equal(json_array_size(answers), 3);
	json_decref(answers);
	hang_up(&peer);
	stop(&f);
}

static void test_notifications_are_silent(void **state _unused_)
{
	struct fixture f;

	start(&f, &(struct options){ 0 });
	struct peer peer = dial(&f);
	say(&peer, "[" SILENT_HEALTH ",{\"jsonrpc\":\"2.0\",\"method\":\"no.such\"}]\n" SILENT_HEALTH "\n");
	say(&peer, "{\"jsonrpc\":\"2.0\",\"method\":\"system.health\",\"params\":{\"bad\":1}}\n");
	ask(&peer, 1, "system.health", "");
	expect_result(&peer, 1);
	hang_up(&peer);
	stop(&f);
}

static void test_line_too_long(void **state _unused_)
{
	_free_ char *junk = malloc(3 * RPC_MAX_FRAME);
	struct fixture f;

	memset(junk, 'x', 3 * RPC_MAX_FRAME);
	start(&f, &(struct options){ 0 });
	struct peer peer = dial(&f);
	say_bytes(&peer, junk, 3 * RPC_MAX_FRAME);
	assert_int_equal(expect_error(&peer, NULL), RPC_PARSE_ERROR);
	say(&peer, "\n");
	ask(&peer, 1, "system.health", "");
	expect_result(&peer, 1);
	/* The longest line that is taken: a request padded with blanks. */
	memset(junk, ' ', RPC_MAX_FRAME);
	memcpy(junk, HEALTH(2), strlen(HEALTH(2)));
	junk[RPC_MAX_FRAME] = '\n';
	say_bytes(&peer, junk, RPC_MAX_FRAME + 1);
	expect_result(&peer, 2);
	junk[RPC_MAX_FRAME] = ' ';
	junk[RPC_MAX_FRAME + 1] = '\n';
	say_bytes(&peer, junk, RPC_MAX_FRAME + 2);
	assert_int_equal(expect_error(&peer, NULL), RPC_PARSE_ERROR);
	/* Cut off by the end of the stream. */
	say_bytes(&peer, junk, RPC_MAX_FRAME + 1);
	shutdown(peer.fd, SHUT_WR);
	assert_int_equal(expect_error(&peer, NULL), RPC_PARSE_ERROR);
	expect_end(&peer);
	stop(&f);
}

static void test_without_a_role(void **state _unused_)
{
	struct fixture f;

	start(&f, &(struct options){ .without_access = true });
	struct peer peer = dial(&f);
	/* What it says in the meantime neither counts nor keeps it from reading why. */
	say_maybe(&peer, HEALTH(1) "\n");
	assert_int_equal(expect_error(&peer, "denied"), -32004);
	expect_end(&peer);
	stop(&f);
}

static void test_bound_on_connections(void **state _unused_)
{
	struct fixture f;

	for (int by_uid = 0; by_uid < 2; by_uid++) {
		start(&f, by_uid ? &(struct options){ .max_per_uid = 3 } : &(struct options){ .max_connections = 3 });
		struct peer peers[3];
		for (int i = 0; i < 3; i++) {
			peers[i] = dial(&f);
			ask(&peers[i], i, "system.health", "");
			expect_result(&peers[i], i);
		}
		struct peer late = dial(&f);
		assert_int_equal(expect_error(&late, "busy"), -32005);
		expect_end(&late);
		hang_up(&peers[0]);
		/* The end of one is seen before the next is accepted, or it is not: ask until it is. */
		for (bool served = false; !served;) {
			late = dial(&f);
			say_maybe(&late, HEALTH(1) "\n");
			json_t *answer = hear(&late);
			served = json_object_get(answer, "result");
			json_decref(answer);
			hang_up(&late);
		}
		hang_up(&peers[1]);
		hang_up(&peers[2]);
		stop(&f);
	}
}

static void test_many_refusals_at_once(void **state _unused_)
{
	enum { N = MAX_REFUSED + 8 };
	struct fixture f;
	struct peer peers[N];

	start(&f, &(struct options){ .without_access = true });
	for (int i = 0; i < N; i++)
		peers[i] = dial(&f);
	for (int i = 0; i < N; i++)
		assert_int_equal(expect_error(&peers[i], "denied"), -32004);
	for (int i = 0; i < N; i++)
		expect_end(&peers[i]);
	stop(&f);
}

static void test_bound_on_requests_of_a_connection(void **state _unused_)
{
	struct fixture f;

	start(&f, &(struct options){ .max_in_flight = 4 });
	struct peer peer = dial(&f);
	for (int i = 0; i < 5; i++)
		ask(&peer, i, WAIT);
	assert_int_equal(expect_error(&peer, "busy"), -32005);
	assert_int_equal(release(&f, NULL), 4);
	for (int i = 0; i < 4; i++)
		expect_result(&peer, i);
	ask(&peer, 9, "system.health", "");
	expect_result(&peer, 9);
	hang_up(&peer);
	stop(&f);
}

/* Requests count for their user even when the connection that brought them is gone. */
static void test_bound_on_requests_of_a_user(void **state _unused_)
{
	enum { MAX = 2 };
	struct fixture f;
	struct peer peer;

	start(&f, &(struct options){ .max_in_flight = MAX });
	for (int i = 0; i < USER_SHARE; i++) {
		peer = dial(&f);
		for (int j = 0; j < MAX; j++)
			ask(&peer, j, WAIT);
		/* An answer to a third shows that the first two have been taken. */
		ask(&peer, 7, WAIT);
		expect_error(&peer, "busy");
		hang_up(&peer);
	}
	peer = dial(&f);
	ask(&peer, 1, WAIT);
	assert_int_equal(expect_error(&peer, "busy"), -32005);
	/* session.heartbeat does not get through either: sixteen calls are not answered. */
	ask(&peer, 2, "session.heartbeat", "{\"session\":\"s\"}");
	assert_int_equal(expect_error(&peer, "busy"), -32005);
	hang_up(&peer);
	stop(&f);
}

static void test_slow_reader_is_dropped(void **state _unused_)
{
	struct fixture f;
	json_t *answer;

	start(&f, &(struct options){ .max_queued = 64 * 1024 });
	struct peer slow = dial(&f), other = dial(&f);
	ask(&slow, 1, "events.subscribe", "{}");
	expect_result(&slow, 1);
	ask(&other, 1, "session.extend", "{\"session\":\"s\",\"ttl_seconds\":2000}");
	expect_result(&other, 1);
	/* What is asked next is answered after the end has been worked off, or the one after that. */
	int closed = 0;
	for (int id = 2; closed == 0; id++) {
		ask(&other, id, "session.extend", "{\"session\":\"s\",\"ttl_seconds\":1}");
		closed = (int)json_integer_value(result_of(&other, id, &answer));
		json_decref(answer);
	}
	assert_int_equal(closed, 1);
	int n = 0;
	for (; (answer = hear(&slow)); n++)
		json_decref(answer);
	assert_in_range(n, 1, 1999);
	hang_up(&slow);
	hang_up(&other);
	stop(&f);
}

static void test_hook_taken_out(void **state _unused_)
{
	struct fixture f;
	json_t *answer;

	start(&f, &(struct options){ 0 });
	struct peer peer = dial(&f), other = dial(&f);
	ask(&peer, 1, "events.subscribe", "{}");
	expect_result(&peer, 1);
	/* Half-closed and with a hook: notifications go on. */
	shutdown(peer.fd, SHUT_WR);
	ask(&other, 1, "session.extend", "{\"session\":\"s\",\"ttl_seconds\":3}");
	expect_result(&other, 1);
	for (int i = 0; i < 3; i++) {
		answer = hear(&peer);
		assert_int_equal(number(json_object_get(answer, "params"), "seq"), i);
		json_decref(answer);
	}
	ask(&other, 2, "session.pause", "{\"session\":\"s\"}");
	expect_result(&other, 2);
	expect_end(&peer);
	ask(&other, 3, "session.extend", "{\"session\":\"s\",\"ttl_seconds\":3}");
	assert_int_equal(json_integer_value(result_of(&other, 3, &answer)), 0);
	json_decref(answer);
	hang_up(&other);
	stop(&f);
}

static void test_peer_that_stops_reading_is_dropped_in_time(void **state _unused_)
{
	struct fixture f;

	start(&f, &(struct options){ .stall_ms = 100 });
	struct peer peer = dial(&f);
	for (int i = 0; i < 6; i++)
		ask(&peer, i, "session.logs", "{\"session\":\"s\",\"max_bytes\":262144}");
	/* Longer than a socket holds. The server hangs up on what it cannot send, which the peer sees without reading. */
	struct pollfd hung_up = { .fd = peer.fd, .events = 0 };
	assert_int_equal(poll(&hung_up, 1, 5000), 1);
	assert_true(hung_up.revents & POLLHUP);
	hang_up(&peer);
	stop(&f);
}

static void test_peer_that_does_not_finish_a_line_is_dropped(void **state _unused_)
{
	struct fixture f;

	start(&f, &(struct options){ .stall_ms = 100 });
	struct peer peer = dial(&f), idle = dial(&f);
	ask(&idle, 1, "system.health", "");
	expect_result(&idle, 1);
	say(&peer, "{\"jsonrpc\":");
	expect_end(&peer);
	/* One that says nothing at all is welcome to stay. */
	ask(&idle, 2, "system.health", "");
	expect_result(&idle, 2);
	hang_up(&idle);
	stop(&f);
}

/* A peer that asks and asks without reading is slowed down, not dropped; all is answered once it reads. */
static void test_requests_wait_for_a_full_socket(void **state _unused_)
{
	static const char line[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"session.logs\",\"params\":{"
				   "\"session\":\"s\",\"max_bytes\":4096}}\n";
	struct fixture f;
	size_t sent = 0, answers = 0;
	json_t *answer;

	start(&f, &(struct options){ 0 });
	struct peer peer = dial(&f);
	for (;;) {
		struct pollfd writable = { .fd = peer.fd, .events = POLLOUT };
		if (poll(&writable, 1, 200) == 0)
			break;
		ssize_t n = send(peer.fd, line + sent % (sizeof(line) - 1),
			sizeof(line) - 1 - sent % (sizeof(line) - 1), MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n > 0)
			sent += (size_t)n;
	}
	shutdown(peer.fd, SHUT_WR);
	while ((answer = hear(&peer))) {
		answers += json_object_get(answer, "result") != NULL;
		json_decref(answer);
	}
	assert_int_equal(answers, sent / (sizeof(line) - 1));
	hang_up(&peer);
	stop(&f);
}

static void send_descriptors(const struct peer *peer, const char *text, int fd, size_t n)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(16 * sizeof(int))];
	} control = { 0 };
	struct iovec iov = { .iov_base = (char *)(uintptr_t)text, .iov_len = strlen(text) };
	struct msghdr msg = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = CMSG_SPACE(n * sizeof(int)) };
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	*cmsg = (struct cmsghdr){
		.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(n * sizeof(int))
	};
	for (size_t i = 0; i < n; i++)
		memcpy(CMSG_DATA(cmsg) + i * sizeof(int), &fd, sizeof(fd));
	assert_return_code(sendmsg(peer->fd, &msg, MSG_NOSIGNAL), errno);
}

static int server_fds(struct peer *peer)
{
	json_t *answer;

	ask(peer, 99, "system.check", "");
	int n = number(result_of(peer, 99, &answer), "fds");
	json_decref(answer);
	return n;
}

static void test_descriptors_are_not_taken(void **state _unused_)
{
	struct fixture f;
	int pair[2];

	start(&f, &(struct options){ 0 });
	struct peer peer = dial(&f), other = dial(&f);
	int before = server_fds(&other);
	assert_return_code(pipe(pair), errno);
	for (int i = 0; i < MAX_DESCRIPTOR_MESSAGES; i++) {
		send_descriptors(&peer, HEALTH(1) "\n", pair[1], 16);
		expect_result(&peer, 1);
	}
	assert_int_equal(server_fds(&other), before);
	/* Nobody else has the writing end: ours is the last. */
	close(pair[1]);
	char byte;
	assert_int_equal(read(pair[0], &byte, 1), 0);
	send_descriptors(&peer, "\n", pair[0], 1);
	assert_int_equal(expect_error(&peer, "limit"), -32006);
	expect_end(&peer);
	close(pair[0]);
	hang_up(&other);
	stop(&f);
}

static void test_out_of_descriptors(void **state _unused_)
{
	struct fixture f;
	struct peer peers[64];
	size_t n = 0;
	json_t *answer = NULL;

	start(&f, &(struct options){ .max_fds = 24 });
	/* Each is served until one is told that there is no room. */
	for (bool full = false; !full; n++) {
		assert_true(n < ARRAY_SIZE(peers));
		peers[n] = dial(&f);
		say_maybe(&peers[n], HEALTH(1) "\n");
		answer = hear(&peers[n]);
		full = json_object_get(answer, "error");
		if (!full)
			json_decref(answer);
	}
	json_t *data = json_object_get(json_object_get(answer, "error"), "data");
	assert_string_equal(json_string_value(json_object_get(data, "kind")), "busy");
	json_decref(answer);
	/* Those inside go on; and when one leaves, another finds room. */
	ask(&peers[0], 2, "system.health", "");
	expect_result(&peers[0], 2);
	for (size_t i = 0; i < n; i++)
		hang_up(&peers[i]);
	struct peer peer = dial(&f);
	ask(&peer, 1, "system.health", "");
	expect_result(&peer, 1);
	hang_up(&peer);
	stop(&f);
}

/* One floods with rubbish and reads nothing of what it is told; the other is served all the same. */
static void test_flood_of_rubbish(void **state _unused_)
{
	static const char rubbish[] = "{]\n[[[[\n\xff\xfe\n{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"x\"}\n[]"
				      "\n\"\n7\n{\"a\":1,\"a\":2}\n";
	enum { LINES = 8, ROUNDS = 2500 };
	struct fixture f;
	uint64_t worst = 0;

	start(&f, &(struct options){ 0 });
	pid_t flooder = fork();
	if (flooder == 0) {
		struct peer peer = dial(&f);
		size_t heard = 0, sent = 0;
		fcntl(peer.fd, F_SETFL, O_NONBLOCK);
		while (heard < (size_t)LINES * ROUNDS) {
			static char sink[65536];
			size_t at = sent % (sizeof(rubbish) - 1);
			struct pollfd ready = { .fd = peer.fd, .events = POLLIN };
			if (sent < (sizeof(rubbish) - 1) * ROUNDS)
				ready.events |= POLLOUT;
			poll(&ready, 1, -1);
			ssize_t n =
				ready.revents & POLLOUT ? write(peer.fd, rubbish + at, sizeof(rubbish) - 1 - at) : 0;
			sent += n > 0 ? (size_t)n : 0;
			n = ready.revents & POLLIN ? read(peer.fd, sink, sizeof(sink)) : 0;
			for (ssize_t i = 0; i < n; i++)
				heard += sink[i] == '\n';
			if (ready.revents & POLLHUP)
				_exit(1);
		}
		_exit(0);
	}
	struct peer peer = dial(&f);
	int status;
	while (waitpid(flooder, &status, WNOHANG) == 0) {
		uint64_t before = monotonic_ns();
		ask(&peer, 1, "system.health", "");
		expect_result(&peer, 1);
		uint64_t took = monotonic_ns() - before;
		worst = took > worst ? took : worst;
	}
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	assert_true(worst < NS_PER_SEC);
	hang_up(&peer);
	stop(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hello_and_errors),
		cmocka_unit_test(test_error_details),
		cmocka_unit_test(test_discover),
		cmocka_unit_test(test_requests_in_one_write_and_byte_by_byte),
		cmocka_unit_test(test_half_closed_peer_gets_its_answers),
		cmocka_unit_test(test_requests_of_a_peer_that_left_are_done),
		cmocka_unit_test(test_batch_is_answered_as_one),
		cmocka_unit_test(test_notifications_are_silent),
		cmocka_unit_test(test_line_too_long),
		cmocka_unit_test(test_without_a_role),
		cmocka_unit_test(test_bound_on_connections),
		cmocka_unit_test(test_many_refusals_at_once),
		cmocka_unit_test(test_bound_on_requests_of_a_connection),
		cmocka_unit_test(test_bound_on_requests_of_a_user),
		cmocka_unit_test(test_slow_reader_is_dropped),
		cmocka_unit_test(test_hook_taken_out),
		cmocka_unit_test(test_peer_that_stops_reading_is_dropped_in_time),
		cmocka_unit_test(test_peer_that_does_not_finish_a_line_is_dropped),
		cmocka_unit_test(test_requests_wait_for_a_full_socket),
		cmocka_unit_test(test_descriptors_are_not_taken),
		cmocka_unit_test(test_out_of_descriptors),
		cmocka_unit_test(test_flood_of_rubbish),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
