/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <stdio.h>

#include "control/kept.h"
#include "control/lifecycle.h"

/* What a session whose time was over when it was adopted still gets to answer its probe. */
#define LEAST_PROBE_NS NS_PER_SEC

/* ---- from init ---- */

static void on_hello(struct init_link *link, enum workload_state workload)
{
	struct session *session = container_of(link, struct session, init);
	struct output_state state;

	if (workload != WORKLOAD_EXITED && workload != WORKLOAD_SIGNALED)
		return;
	/* It ended before anybody listened; how stands in the output. */
	if (output_read_state(session->output_fd, &state) < 0)
		session_workload_exited(session, -1, 0);
	else if (state.workload == WORKLOAD_EXITED)
		session_workload_exited(session, state.exit_code, 0);
	else
		session_workload_exited(session, -1, state.signal);
}

static void on_workload_exited(struct init_link *link, int exit_code, int signal)
{
	session_workload_exited(container_of(link, struct session, init), exit_code, signal);
}

static void on_output(struct init_link *link)
{
	session_output_grew(container_of(link, struct session, init));
}

static void on_kept(struct init_link *link, const struct init_ev_kept *event)
{
	struct session *session = container_of(link, struct session, init);

	if (event)
		kept_adopt(session, event);
}

static void on_init_closed(struct init_link *link, int error)
{
	session_lost_init(container_of(link, struct session, init), error);
}

void session_attach(struct session *session, int fds[static SUPER_FD_COUNT])
{
	session->cgroup_fd = steal_fd(&fds[SUPER_FD_CGROUP]);
	session->output_fd = steal_fd(&fds[SUPER_FD_OUTPUT]);
	limit_watch_start(session);
	session->init.on_hello = on_hello;
	session->init.on_workload_exited = on_workload_exited;
	session->init.on_output = on_output;
	session->init.on_kept = on_kept;
	session->init.on_closed = on_init_closed;
	int r = init_link_open(&session->init, lifecycle_loop(session->lifecycle), steal_fd(&fds[SUPER_FD_INIT]));
	if (r < 0)
		session_fail(session, "init", r, "connection to the session's init");
	else {
		ports_open(session);
		session_watch_output(session);
	}
}

/* ---- readiness ---- */

static void on_probed(struct probe *probe, int error)
{
	struct session *session = container_of(probe, struct session, probe);

	if (error == 0)
		session_enter(session, SESSION_READY);
	else
		session_fail(session, "readiness", error, "not ready within %.3g s; last attempt: %s",
			(double)session->template->readiness.timeout_ns / (double)NS_PER_SEC, probe->last_error);
}

void session_probe(struct session *session)
{
	const struct template *template = session->template;
	uint64_t now = boottime_ns(), deadline;

	if (!template || template->readiness.kind == PROBE_NONE) {
		session_enter(session, SESSION_READY);
		return;
	}
	if (__builtin_add_overflow(session->started_ns, template->readiness.timeout_ns, &deadline))
		deadline = UINT64_MAX;
	session->probe.link = &session->init;
	session->probe.template = template;
	session->probe.config = &template->readiness;
	session->probe.null_fd = session->lifecycle->null_fd;
	session->probe.on_done = on_probed;
	int r = probe_start(&session->probe, lifecycle_loop(session->lifecycle),
		deadline > now ? deadline : now + LEAST_PROBE_NS);
	if (r < 0)
		session_fail(session, "readiness", r, "no probe");
}

/* ---- from the supervisor ---- */

void session_set_limits(struct session *session, const struct limits *limits, uint32_t enforced)
{
	json_t **newest = &session->kin->limits, *json = session_limits_json(limits, enforced);

	if (!json_equal(*newest, json)) {
		json_decref(*newest);
		*newest = json_incref(json);
	}
	json_decref(session->record.limits);
	session->record.limits = json_incref(*newest);
	json_decref(json);
}

/* ADDRESS in words, to TEXT; whether that said something else. All zero: there is none. */
static bool set_address(int family, const uint8_t *address, char *text, socklen_t size)
{
	static const uint8_t none[16];
	char before[INET6_ADDRSTRLEN];

	snprintf(before, sizeof(before), "%s", text);
	text[0] = '\0';
	if (memcmp(address, none, family == AF_INET ? 4 : 16) != 0)
		inet_ntop(family, address, text, size);
	return !streq(text, before);
}

bool session_set_resources(struct session *session, const struct limits *limits, uint32_t enforced,
	const uint8_t ipv4[static 4], const uint8_t ipv6[static 16])
{
	struct record *record = &session->record;
	json_t *before = json_incref(record->limits);

	session_set_limits(session, limits, enforced);
	bool changed = !json_equal(before, record->limits);
	json_decref(before);
	changed |= set_address(AF_INET, ipv4, record->address, sizeof(record->address));
	changed |= set_address(AF_INET6, ipv6, record->address6, sizeof(record->address6));
	return changed;
}

static json_t *timeline(const struct super_created *created)
{
	json_t *array = json_array();

	for (size_t i = 0; i < created->n_steps; i++)
		json_array_append_new(array, json_pack("{s:s, s:f}", "step", created->steps[i].name, "ms",
						     (double)created->steps[i].ns / (double)NS_PER_MS));
	return array;
}

static void on_created(void *owner, struct msg *answer)
{
	struct session *session = owner;
	char text[ERR_STEP_SIZE + ERR_OBJECT_SIZE + 64];

	/* The channel ended, and this process ends with it; the next one will find the session, or not. */
	if (!answer)
		return;
	const struct super_created *created = (const void *)answer->bytes;
	session->asked = false;
	if (created->err.num < 0) {
		if (answer->n_fds == SUPER_FD_COUNT)
			session->output_fd = steal_fd(&answer->fds[SUPER_FD_OUTPUT]);
		session_failed_to_start(session, created->err.step, created->err.num, "%s",
			err_text(&created->err, text, sizeof(text)));
		return;
	}
	session->started_ns = created->started_ns;
	session->slot = created->slot;
	session_set_resources(session, &created->limits, created->enforced, created->ipv4, created->ipv6);
	record_add_times(&session->record, timeline(created));
	metrics_created(session, created);
	if (answer->n_fds == SUPER_FD_COUNT && session->record.state == SESSION_CREATING)
		session_attach(session, answer->fds);
	/* Somebody wanted its end while it was being made. */
	if (session->record.state == SESSION_STOPPING) {
		session_kill(session);
		return;
	}
	if (answer->n_fds != SUPER_FD_COUNT) {
		session_fail(session, "init", -EMFILE, "carrel-control has no descriptors left");
		return;
	}
	session_enter(session, SESSION_STARTING);
	session_probe(session);
}

void session_launch(struct session *session)
{
	_free_ struct super_create *create = steal_ptr(&session->create);
	_close_ int spec = steal_fd(&session->spec_fd);

	list_remove(&session->of_launch);
	liveness_keep(session, create, spec);
	session->asked = true;
	int r = super_link_send(&session->lifecycle->super, &create->header, &spec, 1, on_created, session);
	if (r < 0) {
		session->asked = false;
		session_failed_to_start(session, "supervisor", r, "cannot be asked: %s", strerror(-r));
	}
}
