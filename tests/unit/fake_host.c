/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "fake_host.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define MIB (UINT64_C(1) << 20)

/* ---- call.h ---- */

struct control *call_control(const struct call *call)
{
	return call->control;
}

const struct caller *call_caller(const struct call *call)
{
	return &call->caller;
}

const json_t *call_params(const struct call *call)
{
	return call->params;
}

struct conn *call_conn(const struct call *call)
{
	return call->conn;
}

void call_reply(struct call *call, json_t *result)
{
	assert_false(call->answered);
	assert_non_null(result);
	call->answered = true;
	call->result = result;
}

void call_fail(struct call *call, enum error_kind kind, bool retryable, const struct error_details *details,
	const char *format, ...)
{
	static const struct error_details none;
	va_list ap;

	assert_false(call->answered);
	call->answered = true;
	call->kind = kind;
	call->retryable = retryable;
	details = details ? details : &none;
	snprintf(call->path, sizeof(call->path), "%s", details->path ? details->path : "");
	snprintf(call->step, sizeof(call->step), "%s", details->step ? details->step : "");
	call->err_no = details->err_no;
	call->log_tail = details->log_tail ? strdup(details->log_tail) : NULL;
	va_start(ap, format);
	vsnprintf(call->message, sizeof(call->message), format, ap);
	va_end(ap);
}

void conn_notify(struct conn *conn, const char *method, json_t *params)
{
	assert_non_null(params);
	json_array_append_new(conn->notifications, json_pack("{s:s, s:o}", "method", method, "params", params));
}

void conn_on_close(struct conn *conn, void (*fn)(struct conn *conn, void *owner), void *owner)
{
	size_t free_hook = ARRAY_SIZE(conn->hooks);

	for (size_t i = 0; i < ARRAY_SIZE(conn->hooks); i++) {
		if (conn->hooks[i].fn && conn->hooks[i].owner == owner) {
			conn->hooks[i].fn = fn;
			return;
		}
		if (!conn->hooks[i].fn)
			free_hook = i;
	}
	if (!fn)
		return;
	assert_true(free_hook < ARRAY_SIZE(conn->hooks));
	conn->hooks[free_hook].fn = fn;
	conn->hooks[free_hook].owner = owner;
}

struct conn *conn_new(void)
{
	struct conn *conn = calloc(1, sizeof(*conn));

	conn->notifications = json_array();
	return conn;
}

void conn_end(struct conn *conn)
{
	for (size_t i = 0; i < ARRAY_SIZE(conn->hooks); i++) {
		void (*fn)(struct conn *, void *) = conn->hooks[i].fn;
		conn->hooks[i].fn = NULL;
		if (fn)
			fn(conn, conn->hooks[i].owner);
	}
	json_decref(conn->notifications);
	free(conn);
}

struct call *call_new(struct fake_host *host, struct conn *conn, json_t *params)
{
	struct call *call = calloc(1, sizeof(*call));

	assert_non_null(params);
	*call = (struct call){
		.control = &host->control,
		.caller = { .uid = 1000, .gid = 1000, .role = ROLE_OPERATOR, .owner_prefix = "" },
		.conn = conn,
		.params = params,
	};
	return call;
}

void call_free(struct call *call)
{
	json_decref(call->params);
	json_decref(call->result);
	free(call->log_tail);
	free(call);
}

/* ---- the fake supervisor and init ---- */

static void put(int sock, void *msg, uint16_t op, uint64_t id, size_t size, const int *fds, size_t n_fds)
{
	msg_init(msg, op, id, size);
	assert_int_equal(msg_send(sock, msg, fds, n_fds), 0);
}

struct fake_session *host_session(struct fake_host *host, const char *id)
{
	for (struct fake_session *s = host->sessions; s; s = s->next)
		if (streq(s->id, id))
			return s;
	return NULL;
}

static void session_free_fake(struct fake_session *session)
{
	close_fd(session->init);
	close_fd(session->output);
	close_fd(session->cgroup);
	munmap(session->ring, OUTPUT_FILE_BYTES);
	free(session->argv);
	free(session->envp);
	free(session);
}

static void drop(struct fake_host *host, struct fake_session *session)
{
	struct fake_session **at = &host->sessions;

	while (*at != session)
		at = &(*at)->next;
	*at = session->next;
	session_free_fake(session);
}

void fake_print(struct fake_session *session, const char *text)
{
	output_append(session->ring, OUTPUT_STDOUT, realtime_ns(), text, strlen(text));
	struct init_plain grew = { 0 };
	if (session->init >= 0 && session->n_watches > 0) {
		session->n_watches = 0;
		put(session->init, &grew, INIT_EV_OUTPUT, 0, sizeof(grew), NULL, 0);
	}
}

void fake_exit(struct fake_host *host _unused_, struct fake_session *session, int exit_code, int signal)
{
	struct init_ev_exited ev = { .exit_code = exit_code, .signal = signal };

	session->ring->exit_code = exit_code >= 0 ? exit_code : 0;
	session->ring->signal = signal;
	session->ring->workload = exit_code >= 0 ? WORKLOAD_EXITED : WORKLOAD_SIGNALED;
	if (session->init >= 0)
		put(session->init, &ev, INIT_EV_EXITED, 0, sizeof(ev), NULL, 0);
}

void fake_die(struct fake_host *host, struct fake_session *session)
{
	struct super_ev_exited exited = { .oom_kills = host->oom_kills };

	session->ending = true;
	close_fdp(&session->init);
	memcpy(exited.id, session->id, NAME_SIZE);
	if (host->super >= 0)
		put(host->super, &exited, SUPER_EV_EXITED, 0, sizeof(exited), NULL, 0);
}

void fake_gone(struct fake_host *host, struct fake_session *session)
{
	struct super_session gone = { 0 };

	memcpy(gone.id, session->id, NAME_SIZE);
	if (host->super >= 0)
		put(host->super, &gone, SUPER_EV_GONE, 0, sizeof(gone), NULL, 0);
	drop(host, session);
}

/* Control has written down how it ended: the last of it goes. */
static void noted(struct fake_host *host, struct fake_session *session)
{
	host->n_noted++;
	if (session && session->ending && !host->hold_gone)
		fake_gone(host, session);
}

static char *join_strings(char *const *strings)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	for (; *strings; strings++)
		fprintf(out, "%s ", *strings);
	fclose(out);
	return text;
}

/* Three connected descriptors of a session for control; the init's end says hello. */
static void connect_init(struct fake_host *host, struct fake_session *session, int fds[SUPER_FD_COUNT])
{
	struct init_hello hello = { .workload = session->ring->workload };
	int pair[2];

	close_fdp(&session->init);
	assert_return_code(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), errno);
	session->init = pair[0];
	fds[SUPER_FD_INIT] = pair[1];
	fds[SUPER_FD_CGROUP] = session->cgroup;
	fds[SUPER_FD_OUTPUT] = session->output;
	put(session->init, &hello, INIT_EV_HELLO, 0, sizeof(hello), NULL, 0);
	if (host->fault == FAULT_RUBBISH)
		assert_int_equal(write(session->init, "rubbish", 7), 7);
	if (host->fault == FAULT_TWO_HELLOS)
		put(session->init, &hello, INIT_EV_HELLO, 0, sizeof(hello), NULL, 0);
	if (host->fault == FAULT_UNASKED) {
		struct init_done done = { 0 };
		put(session->init, &done, INIT_SIGNAL | MSG_REPLY, boottime_ns() * 2, sizeof(done), NULL, 0);
	}
	if (host->fault == FAULT_BAD_EXIT) {
		struct init_ev_exited ev = { .exit_code = 70000 };
		put(session->init, &ev, INIT_EV_EXITED, 0, sizeof(ev), NULL, 0);
	}
	if (host->fault == FAULT_CLOSE)
		close_fdp(&session->init);
}

static struct fake_session *make(struct fake_host *host, const struct super_create *request, int spec_fd)
{
	struct fake_session *session = calloc(1, sizeof(*session));
	struct spec spec;

	memcpy(session->id, request->id, NAME_SIZE);
	memcpy(session->template, request->template, NAME_SIZE);
	memcpy(session->hostname, request->hostname, NAME_SIZE);
	session->limits = request->limits;
	session->init = -1;
	session->started_ns = boottime_ns();
	session->output = memfd_create("output", MFD_CLOEXEC);
	assert_return_code(ftruncate(session->output, OUTPUT_FILE_BYTES), errno);
	session->ring = mmap(NULL, OUTPUT_FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, session->output, 0);
	assert_ptr_not_equal(session->ring, MAP_FAILED);
	output_format(session->ring, OUTPUT_FILE_BYTES);
	session->ring->workload = host->workload_gone ? WORKLOAD_EXITED : WORKLOAD_RUNNING;
	session->ring->exit_code = host->workload_gone ? 4 : 0;
	session->cgroup = open(host->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(spec_read(spec_fd, &spec), 0);
	session->argv = join_strings(spec.argv);
	session->envp = join_strings(spec.envp);
	spec_release(&spec);
	session->next = host->sessions;
	host->sessions = session;
	return session;
}

static void answer_create(struct fake_host *host, const struct super_create *request, int spec_fd)
{
	struct super_created created = { .err = host->create_error };
	int fds[SUPER_FD_COUNT];

	host->n_creates++;
	if (created.err.num < 0) {
		put(host->super, &created, SUPER_CREATE | MSG_REPLY, request->header.id, sizeof(created), NULL, 0);
		return;
	}
	struct fake_session *session = make(host, request, spec_fd);
	if (host->hold_create) {
		host->held_id = request->header.id;
		memcpy(host->held_session, request->id, NAME_SIZE);
		return;
	}
	connect_init(host, session, fds);
	created.limits = request->limits;
	created.enforced = 1U << LIMIT_MEMORY;
	memcpy(created.ipv4, (uint8_t[]){ 100, 96, 0, 6 }, 4);
	created.started_ns = session->started_ns;
	created.n_steps = 2;
	created.steps[0] = (struct step_time){ .name = "slot", .ns = 20000 };
	created.steps[1] = (struct step_time){ .name = "init", .ns = 1500000 };
	put(host->super, &created, SUPER_CREATE | MSG_REPLY, request->header.id, sizeof(created), fds,
		SUPER_FD_COUNT);
	close(fds[SUPER_FD_INIT]);
}

static void answer_done(struct fake_host *host, const struct msg_header *request, int num)
{
	struct super_done done = { 0 };

	if (num < 0)
		err_set(&done.err, num, "session", "fake");
	put(host->super, &done, request->op | MSG_REPLY, request->id, sizeof(done), NULL, 0);
}

static void answer_list(struct fake_host *host, const struct msg_header *request)
{
	for (struct fake_session *s = host->sessions; s; s = s->next) {
		struct super_ev_session ev = { .state = s->ending ? SUPER_ENDING : SUPER_LIVE,
			.limits = s->limits,
			.enforced = 1U << LIMIT_MEMORY,
			.started_ns = s->started_ns,
			.frozen = s->frozen };
		int fds[SUPER_FD_COUNT];
		memcpy(ev.id, s->id, NAME_SIZE);
		memcpy(ev.template, s->template, NAME_SIZE);
		memcpy(ev.ipv4, (uint8_t[]){ 100, 96, 0, 6 }, 4);
		connect_init(host, s, fds);
		put(host->super, &ev, SUPER_EV_SESSION, 0, sizeof(ev), fds,
			s->ending || host->no_descriptors ? 1 : SUPER_FD_COUNT);
		close(fds[SUPER_FD_INIT]);
	}
	answer_done(host, request, 0);
}

static void answer_hello(struct fake_host *host, const struct super_hello *hello)
{
	struct super_welcome welcome = { .max_sessions = 8 };

	copy_string(welcome.version, sizeof(welcome.version), hello->version);
	memcpy(welcome.boot_id, host->control.boot_id, sizeof(welcome.boot_id));
	put(host->super, &welcome, SUPER_HELLO | MSG_REPLY, hello->header.id, sizeof(welcome), NULL, 0);
	for (struct fake_session *s = host->sessions; s && host->exit_before_list; s = s->next)
		if (s->ending)
			fake_die(host, s);
}

static void answer_check(struct fake_host *host, const struct msg_header *request)
{
	struct super_checked checked = { .n_items = 1 };

	checked.items[0] = (struct check_item){ .name = "net.nftables", .state = CHECK_DEGRADED, .detail = "slow" };
	put(host->super, &checked, SUPER_CHECK | MSG_REPLY, request->id, sizeof(checked), NULL, 0);
}

static void serve_session_op(struct fake_host *host, const struct super_session *request)
{
	struct fake_session *session = host_session(host, request->id);

	if (request->header.op == SUPER_NOTED) {
		answer_done(host, &request->header, session ? 0 : -ESRCH);
		noted(host, session);
		return;
	}
	answer_done(host, &request->header, session ? 0 : -ESRCH);
	if (!session)
		return;
	if (request->header.op == SUPER_KILL) {
		host->n_kills++;
		if (!session->ending)
			fake_die(host, session);
	} else {
		session->frozen = request->header.op == SUPER_FREEZE;
		host->n_thaws += request->header.op == SUPER_THAW;
	}
}

static bool serve_super(struct fake_host *host)
{
	struct msg msg;

	if (host->super < 0 || msg_recv(host->super, super_requests, n_super_requests, &msg) != 1)
		return false;
	switch (msg.header.op) {
	case SUPER_HELLO:
		answer_hello(host, (const void *)msg.bytes);
		break;
	case SUPER_LIST:
		answer_list(host, &msg.header);
		break;
	case SUPER_CHECK:
		answer_check(host, &msg.header);
		break;
	case SUPER_CREATE:
		answer_create(host, (const void *)msg.bytes, msg.fds[0]);
		break;
	default:
		serve_session_op(host, (const void *)msg.bytes);
	}
	msg_release(&msg);
	return true;
}

/* A connection to the listener, which reads nothing and answers at once. */
static int connect_port(struct fake_host *host)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
		.sin_port = htons((uint16_t)host->http_port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_return_code(connect(fd, (const void *)&to, sizeof(to)), errno);
	int server = accept4(host->listener, NULL, NULL, SOCK_CLOEXEC);
	assert_return_code(server, errno);
	if (host->http_answer)
		assert_int_equal(send(server, host->http_answer, strlen(host->http_answer), 0),
			(int)strlen(host->http_answer));
	shutdown(server, SHUT_WR);
	/* Nothing that is unread may turn the end into a reset. */
	char request[512];
	if (host->http_answer)
		recv(server, request, sizeof(request), MSG_DONTWAIT);
	close(server);
	return fd;
}

static void serve_connect(struct fake_host *host, struct fake_session *session, const struct msg *msg)
{
	struct init_done done = { 0 };
	int pipe_fds[2] = { -1, -1 };
	_close_ int fd = -1;

	if (session->n_connects++ < host->refuse_connects)
		err_set(&done.err, -ECONNREFUSED, "connect", "port");
	else if (host->fault == FAULT_PIPE && pipe2(pipe_fds, O_CLOEXEC) == 0)
		fd = pipe_fds[0];
	else
		fd = connect_port(host);
	put(session->init, &done, INIT_CONNECT | MSG_REPLY, msg->header.id, sizeof(done), &fd, fd >= 0);
	close_fd(pipe_fds[1]);
}

static void serve_exec(struct fake_host *host, struct fake_session *session, const struct msg *msg)
{
	struct init_started started = { .pid = 2 };
	struct init_ev_exited ev = { .exec = msg->header.id, .exit_code = host->exec_exit_code };

	session->n_execs++;
	put(session->init, &started, INIT_EXEC | MSG_REPLY, msg->header.id, sizeof(started), NULL, 0);
	if (!host->silent_exec)
		put(session->init, &ev, INIT_EV_EXITED, 0, sizeof(ev), NULL, 0);
}

static void serve_stop(struct fake_host *host, struct fake_session *session, const struct init_stop *stop)
{
	struct init_done done = { 0 };

	session->n_stops++;
	session->last_stop_method = (int)stop->method;
	session->last_stop_signal = stop->signal;
	put(session->init, &done, INIT_STOP | MSG_REPLY, stop->header.id, sizeof(done), NULL, 0);
	if (!host->deaf_stop && !session->frozen)
		fake_exit(host, session, 0, 0);
}

static bool serve_init(struct fake_host *host, struct fake_session *session)
{
	struct init_done done = { 0 };
	struct msg msg;

	if (session->init < 0 || msg_recv(session->init, init_requests, n_init_requests, &msg) != 1)
		return false;
	switch (msg.header.op) {
	case INIT_CONNECT:
		serve_connect(host, session, &msg);
		break;
	case INIT_EXEC:
		serve_exec(host, session, &msg);
		break;
	case INIT_STOP:
		serve_stop(host, session, (const void *)msg.bytes);
		break;
	default:
		session->n_watches += msg.header.op == INIT_WATCH_OUTPUT;
		if (msg.header.op == INIT_WATCH_OUTPUT && host->deaf_watch)
			break;
		put(session->init, &done, msg.header.op | MSG_REPLY, msg.header.id, sizeof(done), NULL, 0);
	}
	msg_release(&msg);
	return true;
}

static void serve_all(struct fake_host *host)
{
	while (serve_super(host))
		;
	for (struct fake_session *s = host->sessions, *next; s; s = next) {
		next = s->next;
		while (serve_init(host, s))
			;
	}
}

/* ---- running ---- */

static void on_tick(struct loop_timer *timer)
{
	container_of(timer, struct fake_host, tick)->control.loop.stop = true;
}

static void turn(struct fake_host *host)
{
	host->tick.fn = on_tick;
	loop_arm(&host->control.loop, &host->tick, boottime_ns() + NS_PER_MS);
	assert_int_equal(loop_run(&host->control.loop), 0);
	loop_disarm(&host->control.loop, &host->tick);
	serve_all(host);
}

void host_run(struct fake_host *host, bool (*done)(void *arg), void *arg)
{
	uint64_t limit = boottime_ns() + 5 * NS_PER_SEC;

	while (!done(arg)) {
		if (boottime_ns() > limit)
			fail_msg("what was waited for did not happen");
		turn(host);
	}
}

void host_idle(struct fake_host *host, unsigned ms)
{
	uint64_t limit = boottime_ns() + ms * NS_PER_MS;

	while (boottime_ns() < limit)
		turn(host);
}

static bool is_answered(void *arg)
{
	return ((struct call *)arg)->answered;
}

void host_answer(struct fake_host *host, struct call *call, void (*method)(struct call *call))
{
	if (method)
		method(call);
	host_run(host, is_answered, call);
}

json_t *host_ok(struct fake_host *host, void (*method)(struct call *call), json_t *params)
{
	struct conn *conn = conn_new();
	struct call *call = call_new(host, conn, params);

	host_answer(host, call, method);
	if (!call->result)
		fail_msg("unexpected error: %s", call->message);
	json_t *result = json_incref(call->result);
	call_free(call);
	conn_end(conn);
	return result;
}

struct call *host_error(struct fake_host *host, void (*method)(struct call *call), json_t *params)
{
	struct conn *conn = conn_new();
	struct call *call = call_new(host, conn, params);

	host_answer(host, call, method);
	if (call->result)
		fail_msg("unexpected success: %s", json_dumps(call->result, 0));
	call->conn = NULL;
	conn_end(conn);
	return call;
}

/* ---- the host ---- */

static char *sleep_argv[] = { "sleep", "1000", NULL };
static char *probe_argv[] = { "test", "-e", "/ready", NULL };
static char *base_env[] = { "PATH=/bin", "LANG=C", NULL };
static char *allowed_egress[] = { "internet", NULL };

static void fill_template(struct template *template, const char *name, enum probe_kind probe)
{
	*template = (struct template){
		.name = (char *)(uintptr_t)name,
		.kind = (char *)(uintptr_t) "minimal",
		.image = (char *)(uintptr_t) "base",
		.egress = (char *)(uintptr_t) "none",
		.egress_allowed = allowed_egress,
		.command = sleep_argv,
		.env = base_env,
		.uid = 1000,
		.gid = 1000,
		.workdir = (char *)(uintptr_t) "/",
		.stop_kind = STOP_BY_SIGNAL,
		.stop_signal = SIGTERM,
		.grace_ns = 100 * NS_PER_MS,
		.constant_hostname = (char *)(uintptr_t) "",
		.readiness = { .kind = probe,
			.port = 9222,
			.path = (char *)(uintptr_t) "/json/version",
			.command = probe_argv,
			.interval_ns = 2 * NS_PER_MS,
			.timeout_ns = 300 * NS_PER_MS },
		.ttl_ns = UINT64_MAX,
		.idle_ns = UINT64_MAX,
	};
	limits_clear(&template->limits);
	template->limits.value[LIMIT_MEMORY] = 512 * MIB;
	template->limits.value[LIMIT_CPUS] = 1500;
	template->limits.value[LIMIT_PIDS] = 512;
}

static void listen_loopback(struct fake_host *host)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof(at);

	host->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_return_code(bind(host->listener, (const void *)&at, sizeof(at)), errno);
	assert_return_code(listen(host->listener, 8), errno);
	assert_return_code(getsockname(host->listener, (void *)&at, &n), errno);
	host->http_port = ntohs(at.sin_port);
}

struct fake_host *host_new(void)
{
	static const char *const names[] = { "plain", "http", "tcp", "exec" };
	static const enum probe_kind probes[] = { PROBE_NONE, PROBE_HTTP, PROBE_TCP, PROBE_EXEC };
	static struct config_endpoint endpoints[] = { { .name = (char *)(uintptr_t) "cdp",
		.port = 9222,
		.url = (char *)(uintptr_t) "http://{address}:{port}" } };
	struct fake_host *host = calloc(1, sizeof(*host));

	snprintf(host->dir, sizeof(host->dir), "/tmp/carrel-unit-XXXXXX");
	assert_non_null(mkdtemp(host->dir));
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		fill_template(&host->templates[i], names[i], probes[i]);
	host->templates[1].endpoints = endpoints;
	host->templates[1].n_endpoints = 1;
	host->super = -1;
	host->http_answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
	host->control.config = (struct config){ .state_dir = host->dir,
		.max_sessions = 8,
		.event_history = 1000,
		.templates = host->templates,
		.n_templates = ARRAY_SIZE(names) };
	copy_string(host->control.boot_id, sizeof(host->control.boot_id), "boot-one");
	assert_int_equal(loop_open(&host->control.loop), 0);
	listen_loopback(host);
	return host;
}

static void on_ready(struct control *control)
{
	container_of(control, struct fake_host, control)->ready = true;
}

static bool is_ready(void *arg)
{
	return ((struct fake_host *)arg)->ready;
}

void host_start(struct fake_host *host)
{
	int pair[2];

	assert_return_code(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), errno);
	host->super = pair[0];
	host->ready = false;
	assert_int_equal(lifecycle_start(&host->control, pair[1], on_ready), 0);
	host_run(host, is_ready, host);
}

void host_stop(struct fake_host *host)
{
	lifecycle_stop(&host->control);
	close_fdp(&host->super);
}

/* ---- files ---- */

static void file_path(const struct fake_host *host, const char *name, const char *suffix, char *buf, size_t size)
{
	snprintf(buf, size, "%s/control/%s%s", host->dir, name, suffix);
}

static void copy_file(const char *from, const char *to)
{
	char bytes[65536];
	_close_ int in = open(from, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (in < 0) {
		unlink(to);
		return;
	}
	_close_ int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	while ((n = read(in, bytes, sizeof(bytes))) > 0)
		assert_int_equal(write(out, bytes, (size_t)n), n);
}

void host_crash(struct fake_host *host)
{
	static const char *const names[] = { "registry.db", "registry.db-wal" };
	char path[128], saved[128];

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		file_path(host, names[i], "", path, sizeof(path));
		file_path(host, names[i], ".saved", saved, sizeof(saved));
		copy_file(path, saved);
	}
	host_stop(host);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		file_path(host, names[i], "", path, sizeof(path));
		file_path(host, names[i], ".saved", saved, sizeof(saved));
		copy_file(saved, path);
		unlink(saved);
	}
}

static void remove_dir(const struct fake_host *host)
{
	static const char *const names[] = { "registry.db", "registry.db-wal", "registry.db.damaged",
		"registry.db.damaged-wal", "../memory.current", "../cpu.stat", "../images/base.json" };
	char path[128];

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		file_path(host, names[i], "", path, sizeof(path));
		unlink(path);
	}
	snprintf(path, sizeof(path), "%s/control", host->dir);
	rmdir(path);
	snprintf(path, sizeof(path), "%s/images", host->dir);
	rmdir(path);
	assert_return_code(rmdir(host->dir), errno);
}

void host_free(struct fake_host *host)
{
	host_stop(host);
	while (host->sessions)
		drop(host, host->sessions);
	assert_int_equal(host->control.loop.n_timers, 0);
	loop_close(&host->control.loop);
	close_fd(host->listener);
	remove_dir(host);
	free(host);
}

/* ---- JSON ---- */

const char *json_path(const json_t *json, const char *path)
{
	char name[64];

	for (const char *dot; (dot = strchr(path, '.')); path = dot + 1) {
		snprintf(name, sizeof(name), "%.*s", (int)(dot - path), path);
		json = json_object_get(json, name);
	}
	return json_string_value(json_object_get(json, path));
}

void check_string(const json_t *json, const char *path, const char *wanted)
{
	const char *value = json_path(json, path);

	if (!value)
		fail_msg("no %s in %s", path, json_dumps(json, 0));
	assert_string_equal(value, wanted);
}
