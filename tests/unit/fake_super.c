/* SPDX-License-Identifier: Apache-2.0 */
/* The supervisor and the inits of its sessions, as far as control can tell. */
#include "unit.h"

#include "fake_host.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>

void fake_put(int sock, void *msg, uint16_t op, uint64_t id, size_t size, const int *fds, size_t n_fds)
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
	fake_files_free(session);
	close_fd(session->spawner);
	close_fd(session->init);
	close_fd(session->output);
	close_fd(session->cgroup);
	munmap(session->ring, OUTPUT_FILE_BYTES);
	free(session->argv);
	free(session->envp);
	free(session->exec_argv);
	free(session->exec_envp);
	free(session->exec_input);
	free(session);
}

void fake_drop(struct fake_host *host, struct fake_session *session)
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
		fake_put(session->init, &grew, INIT_EV_OUTPUT, 0, sizeof(grew), NULL, 0);
	}
}

void fake_exit(struct fake_host *host _unused_, struct fake_session *session, int exit_code, int signal)
{
	struct init_ev_exited ev = { .exit_code = exit_code, .signal = signal };

	session->ring->exit_code = exit_code >= 0 ? exit_code : 0;
	session->ring->signal = signal;
	session->ring->workload = exit_code >= 0 ? WORKLOAD_EXITED : WORKLOAD_SIGNALED;
	if (session->init >= 0)
		fake_put(session->init, &ev, INIT_EV_EXITED, 0, sizeof(ev), NULL, 0);
}

void fake_die(struct fake_host *host, struct fake_session *session)
{
	struct super_ev_exited exited = { .oom_kills = host->oom_kills };

	session->ending = true;
	close_fdp(&session->init);
	memcpy(exited.id, session->id, NAME_SIZE);
	if (host->super >= 0)
		fake_put(host->super, &exited, SUPER_EV_EXITED, 0, sizeof(exited), NULL, 0);
}

void fake_gone(struct fake_host *host, struct fake_session *session)
{
	struct super_named gone = { 0 };

	memcpy(gone.id, session->id, NAME_SIZE);
	if (host->super >= 0)
		fake_put(host->super, &gone, SUPER_EV_GONE, 0, sizeof(gone), NULL, 0);
	fake_drop(host, session);
}

/* Control has written down how it ended: the last of it goes. */
static void noted(struct fake_host *host, struct fake_session *session)
{
	host->n_noted++;
	if (session && session->ending && !host->hold_gone)
		fake_gone(host, session);
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
	if (host->fault == FAULT_OTHER_VERSION) {
		msg_init(&hello.header, INIT_EV_HELLO, 0, sizeof(hello));
		hello.header.version++;
		assert_int_equal(msg_send(session->init, &hello.header, NULL, 0), 0);
	}
	/* Either hangs up on what it is asked. */
	if (host->fault == FAULT_OTHER_VERSION || host->fault == FAULT_HANGS_UP) {
		close_fdp(&session->init);
		return;
	}
	fake_put(session->init, &hello, INIT_EV_HELLO, 0, sizeof(hello), NULL, 0);
	if (host->fault == FAULT_RUBBISH)
		assert_int_equal(write(session->init, "rubbish", 7), 7);
	if (host->fault == FAULT_TWO_HELLOS)
		fake_put(session->init, &hello, INIT_EV_HELLO, 0, sizeof(hello), NULL, 0);
	if (host->fault == FAULT_UNASKED) {
		struct init_done done = { 0 };
		fake_put(session->init, &done, INIT_SIGNAL | MSG_REPLY, boottime_ns() * 2, sizeof(done), NULL, 0);
	}
	if (host->fault == FAULT_BAD_EXIT) {
		struct init_ev_exited ev = { .exit_code = 70000 };
		fake_put(session->init, &ev, INIT_EV_EXITED, 0, sizeof(ev), NULL, 0);
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
	session->init = session->spawner = -1;
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
	session->argv = fake_join(spec.argv);
	session->envp = fake_join(spec.envp);
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
		fake_put(host->super, &created, SUPER_CREATE | MSG_REPLY, request->header.id, sizeof(created), NULL, 0);
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
	created.slot = 3;
	created.n_steps = 2;
	created.steps[0] = (struct step_time){ .name = "slot", .ns = 20000 };
	created.steps[1] = (struct step_time){ .name = "init", .ns = 1500000 };
	fake_put(host->super, &created, SUPER_CREATE | MSG_REPLY, request->header.id, sizeof(created), fds,
		SUPER_FD_COUNT);
	close(fds[SUPER_FD_INIT]);
}

static void answer_done(struct fake_host *host, const struct msg_header *request, int num)
{
	struct super_done done = { 0 };

	if (num < 0)
		err_set(&done.err, num, "session", "fake");
	fake_put(host->super, &done, request->op | MSG_REPLY, request->id, sizeof(done), NULL, 0);
}

static void answer_list(struct fake_host *host, const struct msg_header *request)
{
	if (host->volumes.n > 0)
		fake_put(host->super, &host->volumes, SUPER_EV_VOLUMES, 0, sizeof(host->volumes), NULL, 0);
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
		fake_put(host->super, &ev, SUPER_EV_SESSION, 0, sizeof(ev), fds,
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
	fake_put(host->super, &welcome, SUPER_HELLO | MSG_REPLY, hello->header.id, sizeof(welcome), NULL, 0);
	for (struct fake_session *s = host->sessions; s && host->exit_before_list; s = s->next)
		if (s->ending)
			fake_die(host, s);
}

static void answer_check(struct fake_host *host, const struct msg_header *request)
{
	struct super_checked checked = { .n_items = 1 };

	checked.items[0] = (struct check_item){ .name = "net.nftables", .state = CHECK_DEGRADED, .detail = "slow" };
	fake_put(host->super, &checked, SUPER_CHECK | MSG_REPLY, request->id, sizeof(checked), NULL, 0);
}

static void serve_session_op(struct fake_host *host, const struct super_named *request)
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

static void answer_set_limits(struct fake_host *host, const struct super_set_limits *request)
{
	struct fake_session *session = host_session(host, request->id);
	struct super_limits_set set = { .err = host->limits_error, .enforced = 1U << LIMIT_MEMORY };

	for (enum limit i = 0; session && set.err.num == 0 && i < LIMIT_COUNT; i++)
		if (request->limits.value[i] != LIMIT_UNSET)
			session->limits.value[i] = request->limits.value[i];
	if (session)
		set.limits = session->limits;
	fake_put(host->super, &set, SUPER_SET_LIMITS | MSG_REPLY, request->header.id, sizeof(set), NULL, 0);
}

static void add_volumes(struct fake_host *host, const struct super_create *request)
{
	struct super_ev_volumes *volumes = &host->volumes;

	for (size_t i = 0; i < SUPER_MAX_VOLUMES; i++) {
		bool there = !request->volumes[i][0];
		for (size_t j = 0; j < volumes->n; j++)
			there = there || streq(volumes->volumes[j].name, request->volumes[i]);
		if (!there)
			memcpy(volumes->volumes[volumes->n++].name, request->volumes[i], NAME_SIZE);
	}
}

static void answer_remove_volume(struct fake_host *host, const struct super_named *request)
{
	struct super_ev_volumes *volumes = &host->volumes;
	int error = host->remove_error ? host->remove_error : -ENOENT;

	host->n_removes++;
	for (size_t i = 0; i < volumes->n && host->remove_error == 0; i++)
		if (streq(volumes->volumes[i].name, request->id)) {
			volumes->volumes[i] = volumes->volumes[volumes->n - 1];
			volumes->n--;
			error = 0;
		}
	host->remove_error = 0;
	answer_done(host, &request->header, error);
}

static void answer_connect(struct fake_host *host, const struct super_named *request)
{
	struct fake_session *session = host_session(host, request->id);
	struct super_done done = { 0 };
	int fds[SUPER_FD_COUNT];

	if (!session) {
		answer_done(host, &request->header, -ESRCH);
		return;
	}
	connect_init(host, session, fds);
	fake_put(host->super, &done, SUPER_CONNECT | MSG_REPLY, request->header.id, sizeof(done), &fds[SUPER_FD_INIT], 1);
	close(fds[SUPER_FD_INIT]);
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
	case SUPER_CONNECT:
		answer_connect(host, (const void *)msg.bytes);
		break;
	case SUPER_REMOVE_VOLUME:
		answer_remove_volume(host, (const void *)msg.bytes);
		break;
	case SUPER_CREATE:
		add_volumes(host, (const void *)msg.bytes);
		answer_create(host, (const void *)msg.bytes, msg.fds[0]);
		break;
	case SUPER_SET_LIMITS:
		if (host->hold_limits)
			break;
		answer_set_limits(host, (const void *)msg.bytes);
		break;
	default:
		serve_session_op(host, (const void *)msg.bytes);
	}
	msg_release(&msg);
	return true;
}

void fake_serve(struct fake_host *host)
{
	while (serve_super(host))
		;
	for (struct fake_session *s = host->sessions, *next; s; s = next) {
		next = s->next;
		while (fake_init_serve(host, s))
			;
		fake_init_list(host, s);
		while (fake_files_serve(host, s) || fake_spawner_serve(host, s))
			;
	}
}

void fake_refuse_held(struct fake_host *host)
{
	struct super_created created = { 0 };

	err_set(&created.err, -ECANCELED, "init", "ended while it was being made");
	msg_init(&created.header, SUPER_CREATE | MSG_REPLY, host->held_id, sizeof(created));
	assert_int_equal(msg_send(host->super, &created.header, NULL, 0), 0);
}
