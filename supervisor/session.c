/* SPDX-License-Identifier: Apache-2.0 */
#include <search.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <syslog.h>

#include "supervisor/supervisor.h"

#define SETUP_TIMEOUT_NS (10 * NS_PER_SEC)
#define UNDO_RETRY_NS (100 * NS_PER_MS)

static int compare_ids(const void *a, const void *b)
{
	return strcmp(a, b);
}

struct session *session_find(struct supervisor *super, const char *id)
{
	char *const *found = tfind(id, &super->ids, compare_ids);

	return found ? container_of(*found, struct session, entry.id[0]) : NULL;
}

struct session *session_new(struct supervisor *super, const struct ledger_entry *entry)
{
	struct session *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->super = super;
	s->entry = *entry;
	if (!tsearch(s->entry.id, &super->ids, compare_ids)) {
		free(s);
		return NULL;
	}
	s->template = config_template(&super->config, entry->template);
	s->net = (struct netns_slot){ .slot = entry->slot, .user_fd = -1, .net_fd = -1 };
	s->dir_fd = s->cgroup_fd = s->payload_fd = -1;
	s->init_io.fd = s->channel_io.fd = s->events_io.fd = -1;
	s->next = super->sessions;
	s->link = &super->sessions;
	if (s->next)
		s->next->link = &s->next;
	super->sessions = s;
	super->n_sessions++;
	super->n_creating++;
	return s;
}

void making_free(struct making *making)
{
	if (!making)
		return;
	close_fd(making->spec_fd);
	close_fd(making->listen_fd);
	close_fd(making->init_fd);
	close_fd(making->output_fd);
	close_fd(making->dev_fd);
	close_fds(making->mounts, making->n_mounts);
	free(making);
}

/* Every step is undone: says so and forgets the session. */
static void session_free(struct session *session)
{
	struct supervisor *super = session->super;

	if (session->entry.slot)
		ledger_clear(&super->ledger, session->entry.slot);
	if (session->answer_to && session->failure.num == 0)
		err_set(&session->failure, -ECANCELED, "init", "ended while it was being made");
	if (session->answer_to)
		ops_answer_create(session);
	else
		ops_tell_gone(session);
	loop_disarm(&super->loop, &session->timer);
	making_free(session->making);
	tdelete(session->entry.id, &super->ids, compare_ids);
	*session->link = session->next;
	if (session->next)
		session->next->link = session->link;
	super->n_sessions--;
	free(session);
	super_stop_when_empty(super);
}

static void on_retry(struct loop_timer *timer)
{
	session_advance(container_of(timer, struct session, timer));
}

void session_retry_later(struct session *session, uint64_t delay_ns)
{
	session->timer.fn = on_retry;
	loop_arm(&session->super->loop, &session->timer, boottime_ns() + delay_ns);
}

void session_advance(struct session *session)
{
	if (session->phase != PHASE_ENDING)
		return;
	while (session->entry.steps_begun > 0) {
		const struct step *step = &step_table[session->entry.steps_begun - 1];
		int r = step->undo(session);
		if (r == -EAGAIN)
			return;
		if (r < 0) {
			/* Nothing is forgotten: the entry stays in the ledger, and this comes back. */
			struct err err;
			err_set(&err, r, step->name, "undo");
			log_err(LOG_WARNING, session->entry.id, &err);
			session_retry_later(session, UNDO_RETRY_NS);
			return;
		}
		session->entry.steps_begun--;
	}
	session_free(session);
}

/* How many are being made is what holds the making of spare networks back. */
static void leave_creating(struct session *session, enum phase phase)
{
	if (session->phase == PHASE_CREATING)
		session->super->n_creating--;
	session->phase = phase;
}

void session_adopted(struct session *session)
{
	leave_creating(session, PHASE_LIVE);
}

void session_end(struct session *session)
{
	leave_creating(session, PHASE_ENDING);
	session_advance(session);
}

/* Ends a session that did not come to life. */
static void creation_failed(struct session *session, const struct err *err)
{
	session->failure = *err;
	log_err(LOG_NOTICE, session->entry.id, err);
	session_end(session);
}

static void note_time(struct making *making, const char *name, uint64_t ns)
{
	if (making->n_times == MAX_STEP_TIMES)
		return;
	struct step_time *t = &making->times[making->n_times++];
	*t = (struct step_time){ .ns = ns };
	snprintf(t->name, sizeof(t->name), "%s", name);
}

static int run_steps(struct session *session, struct err *err)
{
	uint64_t before = monotonic_ns();

	for (uint32_t i = 0; i < n_steps; i++) {
		session->entry.steps_begun = i + 1;
		/* What is about to be done is written down first. Before the first step there is no place for it, and
		 * taking a number touches nothing. */
		int r = i > 0 ? ledger_write(&session->super->ledger, &session->entry) : 0;
		if (r < 0)
			return err_set(err, r, step_table[i].name, "ledger");
		r = step_table[i].run(session, err);
		if (r < 0) {
			err_within(err, step_table[i].name);
			return r;
		}
		uint64_t now = monotonic_ns();
		note_time(session->making, step_table[i].name, now - before);
		before = now;
	}
	return 0;
}

/* init says that the workload runs, or why not. Everything in MSG is hostile, but has the right shape. */
static void on_report(struct session *session, const struct plan_report *report)
{
	if (report->err.num < 0) {
		creation_failed(session, &report->err);
		return;
	}
	for (uint32_t i = 0; i < report->n_steps; i++)
		note_time(session->making, report->steps[i].name, report->steps[i].ns);
	session->entry.live = 1;
	session->entry.pid_start_time = adopt_start_time(session->entry.pid);
	session->entry.started_ns = report->started_ns;
	int r = ledger_write(&session->super->ledger, &session->entry);
	if (r < 0) {
		struct err err;
		session->entry.live = 0;
		err_set(&err, r, "init", "ledger");
		creation_failed(session, &err);
		return;
	}
	loop_remove(&session->super->loop, &session->channel_io);
	close_fdp(&session->channel_io.fd);
	loop_disarm(&session->super->loop, &session->timer);
	leave_creating(session, PHASE_LIVE);
	/* init holds the namespaces from here on. */
	netns_slot_release(&session->net);
	close_fdp(&session->payload_fd);
	r = ops_answer_create(session);
	making_free(session->making);
	session->making = NULL;
	if (r < 0)
		session_end(session);
}

static void on_channel(struct loop_io *io, uint32_t revents _unused_)
{
	struct session *session = container_of(io, struct session, channel_io);
	struct msg msg;
	struct err err;

	int r = msg_recv(io->fd, plan_reports, n_plan_reports, &msg);
	if (r == -EAGAIN)
		return;
	if (r > 0) {
		on_report(session, (const struct plan_report *)(const void *)&msg);
		return;
	}
	err_set(&err, r < 0 ? r : -ECHILD, "init", "carrel-init ended before it reported");
	creation_failed(session, &err);
}

static void on_setup_timeout(struct loop_timer *timer)
{
	struct err err;

	err_set(&err, -ETIMEDOUT, "init", "no report after 10 s");
	creation_failed(container_of(timer, struct session, timer), &err);
}

static void on_init_exit(struct loop_io *io, uint32_t revents _unused_)
{
	struct session *session = container_of(io, struct session, init_io);
	siginfo_t info = { 0 };
	int32_t status = -1;

	/* The report may have come with the end: a workload that was executed did run, however briefly. */
	if (session->phase == PHASE_CREATING && session->channel_io.fd >= 0)
		on_channel(&session->channel_io, EPOLLIN);
	if (session->is_child && waitid(P_PIDFD, (id_t)io->fd, &info, WEXITED | WNOHANG) == 0) {
		if (info.si_pid == 0)
			return;
		status = info.si_code == CLD_EXITED ? (info.si_status & 0xff) << 8 : info.si_status & 0x7f;
	}
	loop_remove(&session->super->loop, io);
	close_fdp(&io->fd);
	if (session->entry.live)
		ops_tell_exited(session, status);
	else if (session->phase == PHASE_CREATING && session->failure.num == 0)
		err_set(&session->failure, -ECHILD, "init", "carrel-init ended before it reported");
	session_end(session);
}

int session_watch(struct session *session)
{
	session->init_io.fn = on_init_exit;
	return loop_watch(&session->super->loop, &session->init_io, EPOLLIN);
}

static int watch_setup(struct session *session, struct err *err)
{
	struct loop *loop = &session->super->loop;

	session->channel_io.fn = on_channel;
	session->timer.fn = on_setup_timeout;
	int r = session_watch(session);
	if (r == 0)
		r = loop_watch(loop, &session->channel_io, EPOLLIN);
	if (r == 0)
		r = loop_arm(loop, &session->timer, boottime_ns() + SETUP_TIMEOUT_NS);
	return r < 0 ? err_set(err, r, "init", "event loop") : 0;
}

void session_create(struct supervisor *super, const struct super_create *request, const struct template *template,
	const struct limits *limits, enum netns_policy policy, int spec_fd)
{
	struct ledger_entry entry = { .n_limits = LIMIT_COUNT, .limits = *limits, .enforced = super->controllers };
	_close_ int spec = spec_fd;
	struct err err;

	memcpy(entry.id, request->id, sizeof(entry.id));
	memcpy(entry.template, request->template, sizeof(entry.template));
	memcpy(entry.volumes, request->volumes, sizeof(entry.volumes));
	struct session *session = session_new(super, &entry);
	struct making *making = calloc(1, sizeof(*making));
	if (!session) {
		free(making);
		err_set(&err, -ENOMEM, "slot", "memory");
		ops_refuse_create(super, request->header.id, &err);
		return;
	}
	session->answer_to = request->header.id;
	session->template = template;
	session->making = making;
	if (!making) {
		err_set(&err, -ENOMEM, "slot", "memory");
		creation_failed(session, &err);
		return;
	}
	making->listen_fd = making->init_fd = making->output_fd = making->dev_fd = -1;
	making->spec_fd = steal_fd(&spec);
	making->policy = policy;
	memcpy(making->hostname, request->hostname[0] ? request->hostname : request->id, sizeof(making->hostname));
	int r = run_steps(session, &err);
	if (r == 0)
		r = watch_setup(session, &err);
	if (r < 0) {
		/* A pidfd that was not watched yet would never be heard. */
		if (session->init_io.fd >= 0)
			session_watch(session);
		creation_failed(session, &err);
	}
}

int session_connect(struct session *session, int *ret_fd)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	_close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/init.sock", session->dir_fd);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	*ret_fd = steal_fd(&fd);
	return 0;
}
