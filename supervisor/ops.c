/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The privileged operations: everything that control can make root do is a row of op_table at the end of this file,
 * with the reason why it is safe when control is hostile. Messages have been checked against their shape (exact
 * length, descriptors, terminated strings, valid names: wire/super.c) before they come here.
 *
 * What holds for all: a request names sessions, templates and policies, and nothing of the host. A request that is
 * not in the table, or comes before the greeting, ends control.
 */
#include <fcntl.h>
#include <stdio.h>
#include <syslog.h>

#include "check/check.h"
#include "rootfs/volumes.h"
#include "supervisor/supervisor.h"

#define CHECK_AGE_NS (5 * NS_PER_SEC)

struct op {
	enum super_op op;
	unsigned int phases; /* of the session it names, as bits; 0: it names none */
	void (*serve)(struct supervisor *super, struct session *session, struct msg *msg);
	const char *what, *safe;
};

static void send_to_control(struct supervisor *super, const struct msg_header *header, const int *fds, size_t n_fds)
{
	struct chan *chan = &super->keeper.chan;

	if (!chan_is_open(chan))
		return;
	int r = chan_send(chan, header, fds, n_fds);
	if (r < 0) {
		log_line(LOG_ERR, "carrel-control does not read its answers (%s): starting it again", strerror(-r));
		keeper_restart(super);
	}
}

/* NUM: 0, or why what was asked for could not be done to OBJECT. */
static void answer(
	struct supervisor *super, const struct msg_header *request, int num, const char *step, const char *object)
{
	struct super_done done;

	msg_begin(&done, request->op | MSG_REPLY, request->id);
	if (num < 0)
		err_set(&done.err, num, step, "%s", object);
	send_to_control(super, &done.header, NULL, 0);
}

/* ---- hello, check, list ---- */

static void serve_hello(struct supervisor *super, struct session *session _unused_, struct msg *msg)
{
	const struct super_hello *hello = (const void *)msg->bytes;
	struct super_welcome welcome;

	msg_begin(&welcome, SUPER_HELLO | MSG_REPLY, hello->header.id);
	super->keeper.greeted = streq(hello->version, carrel_version);
	if (!super->keeper.greeted)
		err_set(&welcome.err, -EPROTONOSUPPORT, "hello", "carrel-control %s with carreld %s", hello->version,
			carrel_version);
	copy_string(welcome.version, sizeof(welcome.version), carrel_version);
	memcpy(welcome.boot_id, super->boot_id, sizeof(welcome.boot_id));
	welcome.started_ns = super->started_ns;
	welcome.max_sessions = super->config.max_sessions;
	welcome.controllers = super->controllers;
	send_to_control(super, &welcome.header, NULL, 0);
}

static void serve_check(struct supervisor *super, struct session *session _unused_, struct msg *msg)
{
	struct super_checked *checked = &super->checked;
	uint64_t now = boottime_ns();

	if (super->checked_ns == 0 || now - super->checked_ns > CHECK_AGE_NS) {
		size_t n = 0;
		memset(checked, 0, sizeof(*checked));
		check_host(&super->config, checked->items, MAX_CHECK_ITEMS, &n);
		checked->n_items = (uint32_t)n;
		super->checked_ns = now;
	}
	msg_init(&checked->header, SUPER_CHECK | MSG_REPLY, msg->header.id, sizeof(*checked));
	send_to_control(super, &checked->header, NULL, 0);
}

/* -1 with errno when it is not there. */
static int open_output(struct session *session)
{
	/* A session of a former supervisor's that has ended was not opened. */
	if (session->dir_fd < 0)
		session->dir_fd = openat(session->super->sessions_fd, session->entry.id, OPEN_DIR);
	return openat(session->dir_fd, "output", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
}

/* What control gets of a live session; INIT is a connection to its init, taken over. The number, or an errno. */
static int open_for_control(struct session *session, int init, int fds[SUPER_FD_COUNT])
{
	_close_ int connection = init;
	_close_ int cgroup = fcntl(session->cgroup_fd, F_DUPFD_CLOEXEC, 3);
	_close_ int output = open_output(session);

	if (connection < 0 || cgroup < 0 || output < 0)
		return -errno;
	fds[SUPER_FD_CGROUP] = steal_fd(&cgroup);
	fds[SUPER_FD_OUTPUT] = steal_fd(&output);
	fds[SUPER_FD_INIT] = steal_fd(&connection);
	return SUPER_FD_COUNT;
}

/* 0, or why this is no time to say what lives: descriptors or memory ran out. */
static int list_one(struct session *session)
{
	const struct ledger_entry *e = &session->entry;
	struct super_ev_session ev;
	int fds[SUPER_FD_COUNT], n = 0;

	if (session->phase == PHASE_CREATING || !e->live)
		return 0;
	msg_begin(&ev, SUPER_EV_SESSION, 0);
	memcpy(ev.id, e->id, sizeof(ev.id));
	memcpy(ev.template, e->template, sizeof(ev.template));
	ev.slot = e->slot;
	ev.limits = e->limits;
	ev.enforced = e->enforced;
	ev.started_ns = e->started_ns;
	plan_addresses(session, ev.ipv4, ev.ipv6);
	int init = -1;
	if (session->phase == PHASE_LIVE)
		n = session_connect(session, &init);
	if (session->phase == PHASE_LIVE && n == 0)
		n = open_for_control(session, init, fds);
	if (n == -EMFILE || n == -ENFILE || n == -ENOMEM || n == -ENOBUFS)
		return n;
	/* Its init is gone, or as good as: what control gets is how it ended. */
	bool ends = n <= 0;
	if (ends) {
		ev.state = SUPER_ENDING;
		fds[SUPER_FD_OUTPUT] = open_output(session);
		n = fds[SUPER_FD_OUTPUT] >= 0;
	} else {
		ev.state = SUPER_LIVE;
		ev.frozen = cgroup_is_frozen(session);
	}
	send_to_control(session->super, &ev.header, fds, (size_t)n);
	close_fds(fds, (size_t)n);
	if (ends)
		session_end(session);
	return 0;
}

/* A list of names that is sent whenever it is full. */
struct listing {
	struct supervisor *super;
	struct super_ev_volumes ev;
};

static void send_listing(struct listing *listing)
{
	msg_init(&listing->ev.header, SUPER_EV_VOLUMES, 0, sizeof(listing->ev));
	send_to_control(listing->super, &listing->ev.header, NULL, 0);
	memset(&listing->ev, 0, sizeof(listing->ev));
}

static void list_volume(const char *name, void *arg)
{
	struct listing *listing = arg;

	if (!name_is_valid(name))
		return;
	volume_look(listing->super->volumes_fd, name, &listing->ev.volumes[listing->ev.n++]);
	if (listing->ev.n == SUPER_VOLUMES_LISTED)
		send_listing(listing);
}

void ops_tell_volumes(const struct session *session)
{
	struct listing listing = { .super = session->super };

	for (size_t i = 0; i < SUPER_MAX_VOLUMES; i++)
		list_volume(session->entry.volumes[i], &listing);
	send_listing(&listing);
}

static void serve_list(struct supervisor *super, struct session *session _unused_, struct msg *msg)
{
	struct listing listing = { .super = super };
	int r = volume_list(super->volumes_fd, list_volume, &listing);

	if (listing.ev.n > 0)
		send_listing(&listing);
	for (struct session *s = super->sessions, *next; s && r == 0; s = next) {
		next = s->next;
		r = list_one(s);
	}
	answer(super, &msg->header, r, "list", "volumes and sessions");
}

/* ---- create ---- */

void ops_refuse_create(struct supervisor *super, uint64_t request_id, const struct err *err)
{
	struct super_created created;

	msg_begin(&created, SUPER_CREATE | MSG_REPLY, request_id);
	created.err = *err;
	send_to_control(super, &created.header, NULL, 0);
}

int ops_answer_create(struct session *session)
{
	struct making *making = session->making;
	struct super_created created;
	int fds[SUPER_FD_COUNT], n = 0;

	uint64_t request_id = session->answer_to;
	session->answer_to = 0;
	if (session->failure.num < 0) {
		ops_refuse_create(session->super, request_id, &session->failure);
		return 0;
	}
	msg_begin(&created, SUPER_CREATE | MSG_REPLY, request_id);
	created.slot = session->entry.slot;
	created.n_steps = (uint32_t)making->n_times;
	memcpy(created.steps, making->times, sizeof(created.steps));
	created.limits = session->entry.limits;
	created.enforced = session->entry.enforced;
	created.started_ns = session->entry.started_ns;
	plan_addresses(session, created.ipv4, created.ipv6);
	n = open_for_control(session, steal_fd(&making->init_fd), fds);
	if (n < 0) {
		err_set(&session->failure, n, "init", "descriptors for carrel-control");
		ops_refuse_create(session->super, request_id, &session->failure);
		return n;
	}
	send_to_control(session->super, &created.header, fds, (size_t)n);
	close_fds(fds, (size_t)n);
	return 0;
}

/* The policy that REQUEST may have: the template's, or one that the template allows to be named. */
static int choose_policy(
	const struct supervisor *super, const struct template *template, const char *name, enum netns_policy *ret)
{
	bool allowed = !name[0] || streq(name, template->egress);

	for (char **p = template->egress_allowed; p && *p && !allowed; p++)
		allowed = streq(*p, name);
	return allowed ? netns_policy_by_name(&super->netns_config, name[0] ? name : template->egress, ret) : -EPERM;
}

static int check_create(struct supervisor *super, const struct super_create *request, const struct template *template,
	struct limits *ret_limits, enum netns_policy *ret_policy, struct err *err)
{
	enum limit bad;
	int r;

	if (super->ending)
		return err_set(err, -ESHUTDOWN, "create", "carreld is ending");
	if (!template)
		return err_set(err, -ENOENT, "template", "%s", request->template);
	if (session_find(super, request->id))
		return err_set(err, -EEXIST, "create", "%s", request->id);
	if (super->n_sessions >= super->config.max_sessions)
		return err_set(err, -EBUSY, "slot", "max_sessions is %u", super->config.max_sessions);
	r = limits_merge(&template->limits, &request->limits, ret_limits, &bad);
	if (r < 0)
		return err_set(err, r, "limits", "%s", limit_table[bad].name);
	r = choose_policy(super, template, request->egress, ret_policy);
	if (r < 0)
		return err_set(err, r, "egress", "%s", request->egress);
	return volumes_check(super, request, template, err);
}

static void serve_create(struct supervisor *super, struct session *session _unused_, struct msg *msg)
{
	const struct super_create *request = (const void *)msg->bytes;
	const struct template *template = config_template(&super->config, request->template);
	struct limits limits;
	enum netns_policy policy;
	struct err err;

	int r = check_create(super, request, template, &limits, &policy, &err);
	if (r == 0 && msg->n_fds == 0)
		r = err_set(&err, -EMFILE, "create", "descriptors of carreld");
	if (r < 0) {
		ops_refuse_create(super, request->header.id, &err);
		return;
	}
	session_create(super, request, template, &limits, policy, steal_fd(&msg->fds[0]));
}

/* ---- operations on a session ---- */

static void serve_connect(struct supervisor *super, struct session *session, struct msg *msg)
{
	struct super_done done;
	_close_ int fd = -1;
	int r = session_connect(session, &fd);

	if (r < 0) {
		answer(super, &msg->header, r, "connect", session->entry.id);
		return;
	}
	msg_begin(&done, SUPER_CONNECT | MSG_REPLY, msg->header.id);
	send_to_control(super, &done.header, &fd, 1);
}

static void serve_kill(struct supervisor *super, struct session *session, struct msg *msg)
{
	session->killed = true;
	answer(super, &msg->header, 0, NULL, NULL);
	session_end(session);
}

static void serve_noted(struct supervisor *super, struct session *session, struct msg *msg)
{
	session->noted = true;
	answer(super, &msg->header, 0, NULL, NULL);
	session_advance(session);
}

static void serve_freeze(struct supervisor *super, struct session *session, struct msg *msg)
{
	answer(super, &msg->header, cgroup_freeze(session, true), "freeze", session->entry.id);
}

static void serve_thaw(struct supervisor *super, struct session *session, struct msg *msg)
{
	answer(super, &msg->header, cgroup_freeze(session, false), "thaw", session->entry.id);
}

static int change_limits(struct session *session, const struct limits *request, struct err *err)
{
	/* The template's are the ceilings; of one that is no longer configured, what the session has. */
	const struct limits *ceilings = session->template ? &session->template->limits : &session->entry.limits;
	struct limits merged;
	enum limit bad;

	for (enum limit i = 0; i < LIMIT_COUNT; i++)
		if (request->value[i] != LIMIT_UNSET && !limit_table[i].live)
			return err_set(err, -EINVAL, "limits", "%s cannot be changed while the session runs",
				limit_table[i].name);
	int r = limits_merge(ceilings, request, &merged, &bad);
	if (r < 0)
		return err_set(err, r, "limits", "%s", limit_table[bad].name);
	r = cgroup_set_limits(session, request, err);
	if (r == 0)
		r = network_set_rates(session, request, err);
	if (r < 0)
		return r;
	for (enum limit i = 0; i < LIMIT_COUNT; i++)
		if (request->value[i] != LIMIT_UNSET)
			session->entry.limits.value[i] = request->value[i];
	cgroup_limits_changed(session);
	r = ledger_write(&session->super->ledger, &session->entry);
	return r < 0 ? err_set(err, r, "limits", "ledger") : 0;
}

static void serve_set_limits(struct supervisor *super, struct session *session, struct msg *msg)
{
	const struct super_set_limits *request = (const void *)msg->bytes;
	struct super_limits_set set;

	msg_begin(&set, SUPER_SET_LIMITS | MSG_REPLY, request->header.id);
	change_limits(session, &request->limits, &set.err);
	set.limits = session->entry.limits;
	set.enforced = session->entry.enforced;
	send_to_control(super, &set.header, NULL, 0);
}

static void serve_remove_volume(struct supervisor *super, struct session *session _unused_, struct msg *msg)
{
	const struct super_named *request = (const void *)msg->bytes;

	answer(super, &msg->header, volumes_remove(super, request->id), "volume", request->id);
}

/* ---- the table ---- */

enum { CREATING = 1 << PHASE_CREATING, LIVE = 1 << PHASE_LIVE, ENDING = 1 << PHASE_ENDING };

/* clang-format off */
static const struct op op_table[] = {
	{ SUPER_HELLO, 0, serve_hello,
	  "compare versions; everything else comes after it",
	  "answers with numbers that are no secret" },
	{ SUPER_CHECK, 0, serve_check,
	  "say what the host has and lacks",
	  "looks only at what the configuration names, at most once in five seconds" },
	{ SUPER_LIST, 0, serve_list,
	  "hand out the live sessions again",
	  "gives control what it had before: a cgroup directory and output open for reading, a connection to init" },
	{ SUPER_CREATE, 0, serve_create,
	  "start a session",
	  "template, ceilings, policy and the volumes' places are root's; ids, names and addresses are chosen here; the spec is passed on unread; their number is bounded" },
	{ SUPER_CONNECT, LIVE, serve_connect,
	  "connect to a session's init",
	  "init has no privilege on the host and trusts nothing that control says" },
	{ SUPER_KILL, CREATING | LIVE | ENDING, serve_kill,
	  "end a session",
	  "reaches only the cgroup of a session in the ledger" },
	{ SUPER_NOTED, ENDING, serve_noted,
	  "let go of how a session ended",
	  "removes the directory of a session in the ledger that has ended; a control that never asks keeps only its own slots busy" },
	{ SUPER_FREEZE, LIVE, serve_freeze,
	  "stop a session's processes",
	  "reaches only the cgroup of a session in the ledger; a frozen one can still be killed" },
	{ SUPER_THAW, LIVE, serve_thaw,
	  "let them run again",
	  "reaches only the cgroup of a session in the ledger" },
	{ SUPER_SET_LIMITS, LIVE, serve_set_limits,
	  "change limits of a running session",
	  "never past the template's ceilings" },
	{ SUPER_REMOVE_VOLUME, 0, serve_remove_volume,
	  "remove a volume",
	  "one rename of a checked name between two directories of root's, for a volume that no session holds; files are deleted by a process without privilege" },
};
/* clang-format on */

static const struct msg_shape *shape_of(uint16_t op)
{
	for (size_t i = 0; i < n_super_requests; i++)
		if (super_requests[i].op == op)
			return &super_requests[i];
	return NULL;
}

/* Every message that names a session has its id in the same place. */
static struct session *named_session(struct supervisor *super, const struct msg *msg)
{
	const struct super_named *request = (const void *)msg->bytes;
	return session_find(super, request->id);
}

void ops_serve(struct supervisor *super, struct msg *msg)
{
	const struct op *op = NULL;
	struct session *session = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(op_table); i++)
		if (op_table[i].op == msg->header.op)
			op = &op_table[i];
	if (!op || (!super->keeper.greeted && op->op != SUPER_HELLO)) {
		log_line(LOG_ERR, "carrel-control asked for operation %u, which is not permitted: ending it",
			msg->header.op);
		keeper_restart(super);
		return;
	}
	if (op->phases) {
		session = named_session(super, msg);
		if (!session || !(op->phases & 1U << session->phase)) {
			/* No fault of control's: sessions end while requests are under way. */
			const struct super_named *request = (const void *)msg->bytes;
			answer(super, &msg->header, session ? -EBUSY : -ESRCH, shape_of(msg->header.op)->name,
				request->id);
			return;
		}
	}
	op->serve(super, session, msg);
}

void ops_tell_exited(struct session *session, int32_t status)
{
	struct super_ev_exited ev;

	msg_begin(&ev, SUPER_EV_EXITED, 0);
	memcpy(ev.id, session->entry.id, sizeof(ev.id));
	ev.status = status;
	ev.killed = session->killed;
	ev.oom_kills = (uint32_t)cgroup_read(session, "memory.events", "oom_kill");
	ev.memory_peak_bytes = cgroup_read(session, "memory.peak", NULL);
	send_to_control(session->super, &ev.header, NULL, 0);
}

void ops_tell_gone(struct session *session)
{
	struct super_named ev;

	if (!session->entry.live)
		return;
	msg_begin(&ev, SUPER_EV_GONE, 0);
	memcpy(ev.id, session->entry.id, sizeof(ev.id));
	send_to_control(session->super, &ev.header, NULL, 0);
}

void ops_print(FILE *out)
{
	static const char *const phases[] = {
		[PHASE_CREATING] = "creating", [PHASE_LIVE] = "live", [PHASE_ENDING] = "ending"
	};

	for (size_t i = 0; i < ARRAY_SIZE(op_table); i++) {
		const struct op *op = &op_table[i];
		const struct msg_shape *shape = shape_of((uint16_t)op->op);
		const char *comma = "";
		fprintf(out, "| `%s` | %s | ", shape->name, op->what);
		for (size_t p = 0; p < ARRAY_SIZE(phases); p++) {
			if (!(op->phases & 1U << p))
				continue;
			fprintf(out, "%s%s", comma, phases[p]);
			comma = ", ";
		}
		fprintf(out, "%s | %u bytes, %u descriptors | %s |\n", op->phases ? "" : "–", shape->length,
			shape->max_fds, op->safe);
	}
}
