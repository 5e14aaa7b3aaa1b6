/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "fake_host.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define MIB (UINT64_C(1) << 20)

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
	fake_serve(host);
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
		.max_ttl_ns = UINT64_MAX,
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
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		fill_template(&host->templates[i], names[i], probes[i]);
		host->templates[i].activity = ~(1U << ACTIVITY_API);
	}
	host->templates[1].endpoints = endpoints;
	host->templates[1].n_endpoints = 1;
	host->super = -1;
	host->control.net_dev_fd = -1;
	host->control.meminfo_fd = -1;
	host->control.n_cpus = 2;
	host->http_answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
	host->control.config = (struct config){ .state_dir = host->dir,
		.max_sessions = 8,
		.max_queued_creations = 4,
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

void host_disk_full(struct fake_host *host, bool full)
{
	struct rlimit none = { 0 };

	if (full) {
		/* The write is to fail, not to kill. */
		signal(SIGXFSZ, SIG_IGN);
		assert_return_code(getrlimit(RLIMIT_FSIZE, &host->file_size), errno);
		none.rlim_max = host->file_size.rlim_max;
	}
	assert_return_code(setrlimit(RLIMIT_FSIZE, full ? &none : &host->file_size), errno);
}

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

void host_lose_power(struct fake_host *host)
{
	char path[128];

	host_crash(host);
	file_path(host, "registry.db-wal", "", path, sizeof(path));
	unlink(path);
	while (host->sessions)
		fake_gone(host, host->sessions);
	copy_string(host->control.boot_id, sizeof(host->control.boot_id), "boot-two");
}

void host_write(const struct fake_host *host, const char *name, const char *text)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", host->dir, name);
	FILE *file = fopen(path, "we");
	fputs(text, file);
	fclose(file);
}

static void remove_dir(const struct fake_host *host)
{
	static const char *const names[] = { "registry.db", "registry.db-wal", "registry.db.damaged",
		"registry.db.damaged-wal", "../memory.current", "../cpu.stat", "../pids.events", "../memory.events",
		"../memory.stat", "../interfaces", "../images/base.json" };
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
		fake_drop(host, host->sessions);
	assert_int_equal(host->control.loop.n_timers, 0);
	loop_close(&host->control.loop);
	close_fd(host->listener);
	remove_dir(host);
	free(host);
}

/* ---- what tests ask again and again ---- */

json_t *host_create(struct fake_host *host, const char *template, const char *id)
{
	return host_ok(host, method_session_create,
		json_pack("{s:s, s:s, s:s}", "template", template, "id", id, "owner", "ann"));
}

json_t *host_get(struct fake_host *host, const char *id)
{
	return host_ok(host, method_session_get, json_pack("{s:s}", "session", id));
}

void host_expect_state(struct fake_host *host, const char *id, const char *wanted)
{
	json_t *session = host_get(host, id);

	check_string(session, "state", wanted);
	json_decref(session);
}

void host_expect_forgotten(struct fake_host *host, const char *id)
{
	struct call *call = host_error(host, method_session_get, json_pack("{s:s}", "session", id));

	assert_int_equal(call->kind, E_NOT_FOUND);
	call_free(call);
}

json_t *host_ended(struct fake_host *host, const char *id, const char *reason)
{
	json_t *session = host_ok(host, method_session_wait, json_pack("{s:s, s:s}", "session", id, "for", "ended"));

	check_string(session, "state", "ended");
	check_string(session, "end.reason", reason);
	return session;
}

void host_expect_ended(struct fake_host *host, const char *id, const char *reason)
{
	json_decref(host_ended(host, id, reason));
}

bool host_has_session(void *arg)
{
	struct fake_host *host = arg;

	return host->sessions != NULL;
}

void host_refused(struct fake_host *host, void (*method)(struct call *call), json_t *params, enum error_kind kind,
	const char *path, const char *text)
{
	struct call *call = host_error(host, method, params);

	if (call->kind != kind)
		fail_msg("kind %d: %s", (int)call->kind, call->message);
	assert_string_equal(call->path, path);
	if (!strstr(call->message, text))
		fail_msg("no \"%s\" in \"%s\"", text, call->message);
	call_free(call);
}
