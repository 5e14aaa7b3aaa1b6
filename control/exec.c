/* SPDX-License-Identifier: Apache-2.0 */
#include "control/exec.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "control/command.h"
#include "control/kept.h"
#include "control/lifecycle.h"
#include "control/session_methods.h"

static const char *param_string(const struct call *call, const char *name)
{
	return json_string_value(json_object_get(call_params(call), name));
}

bool exec_fail_foreign(const struct session *session, struct call *call)
{
	if (session->foreign)
		call_fail(call, E_UNAVAILABLE, false, &(struct error_details){ .session = session->record.id },
			"session %s was begun by another version of carrel, which speaks another protocol: it goes "
			"on, but"
			" can only be paused, limited and stopped",
			session->record.id);
	return session->foreign;
}

/* Why nothing can be done inside SESSION now; false when it can. */
static bool fail_state(const struct session *session, struct call *call)
{
	const struct error_details details = { .session = session->record.id };
	enum session_state state = session->record.state;

	if (state == SESSION_CREATING)
		call_fail(call, E_NOT_READY, true, &details, "session %s is being created", session->record.id);
	else if (state != SESSION_STARTING && state != SESSION_READY)
		call_fail(call, E_INVALID_STATE, false, &details, "session %s is %s", session->record.id,
			session_state_name(state));
	else if (session->frozen)
		call_fail(call, E_INVALID_STATE, false, &details, "session %s is just being paused",
			session->record.id);
	else if (exec_fail_foreign(session, call))
		return true;
	else if (!init_link_is_open(&session->init))
		call_fail(call, E_INVALID_STATE, false, &details, "session %s is ending", session->record.id);
	else
		return false;
	return true;
}

struct session *session_for_work(struct call *call)
{
	struct session *session = session_of_call(call);

	if (!session || fail_state(session, call))
		return NULL;
	const struct error_details details = { .session = session->record.id };
	if (!session->template) {
		call_fail(call, E_UNAVAILABLE, false, &details,
			"session %s was made from the template %s, which the configuration no longer has",
			session->record.id, session->record.template);
		return NULL;
	}
	return session;
}

struct session *exec_session(struct call *call)
{
	struct session *session = session_for_work(call);

	if (!session)
		return NULL;
	const struct error_details details = { .session = session->record.id };
	if (session->n_execs + session->n_kept_running >= EXECS_PER_SESSION) {
		call_fail(call, E_LIMIT, true, &details, "session %s runs %d commands, and takes no more",
			session->record.id, EXECS_PER_SESSION);
		return NULL;
	}
	return session;
}

bool exec_has_room(const struct session *session, struct call *call, bool tty)
{
	const struct error_details details = { .session = session->record.id };
	size_t n_terminals = 0;

	for (struct list *l = session->kept.next; l != &session->kept; l = l->next) {
		const struct kept *kept = container_of(l, struct kept, of_session);
		n_terminals += kept->flags & START_TTY && !kept->ended;
	}
	if (!call_conn(call)) {
		call_fail(call, E_UNAVAILABLE, true, NULL, "the connection ended");
		return false;
	}
	if (!tty || n_terminals < TERMINALS_PER_SESSION)
		return true;
	call_fail(call, E_LIMIT, true, &details, "session %s has %d terminals, and takes no more", session->record.id,
		TERMINALS_PER_SESSION);
	return false;
}

static void fail_spec(const struct session *session, struct call *call, int r, const struct err *err)
{
	struct error_details details = { .session = session->record.id, .step = err->step, .err_no = -r };
	char text[sizeof(*err) + 64];

	if (r == -EINVAL && streq(err->step, "env")) {
		details.path = "env";
		call_fail(
			call, E_INVALID_PARAMS, false, &details, "env: %.64s is no name for a variable", err->object);
	} else if (r == -E2BIG) {
		details.path = "command";
		call_fail(call, E_LIMIT, false, &details,
			"command: with its environment it is longer than a session takes (%s)", err->object);
	} else {
		call_fail(call, E_FAILED, false, &details, "%s", err_text(err, text, sizeof(text)));
	}
}

int exec_spec(const struct session *session, struct call *call, bool tty)
{
	const struct command_request request = {
		.command = json_object_get(call_params(call), "command"),
		.env = json_object_get(call_params(call), "env"),
		.user = param_string(call, "user"),
		.cwd = param_string(call, "cwd"),
		.tty = tty,
	};
	struct err err = { 0 };

	if (request.cwd && request.cwd[0] != '/') {
		call_fail(call, E_INVALID_PARAMS, false, &(struct error_details){ .path = "cwd" },
			"cwd: an absolute path");
		return -EINVAL;
	}
	int fd = command_exec(lifecycle_config(session->lifecycle), session->template, &request, &err);
	if (fd < 0)
		fail_spec(session, call, fd, &err);
	return fd;
}

int exec_pipe(bool control_reads, int *ret_control, int *ret_command)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	_close_ int control = ends[control_reads ? 0 : 1], command = ends[control_reads ? 1 : 0];
	/* Flags belong to an end, the mode to the pipe; nobody but the session's processes can find it in /proc. */
	if (fcntl(control, F_SETFL, O_NONBLOCK) < 0 || fchmod(command, 0666) < 0)
		return -errno;
	*ret_control = steal_fd(&control);
	*ret_command = steal_fd(&command);
	return 0;
}

/* What may be over when asked again. */
static bool is_transient(int num)
{
	return num == -EAGAIN || num == -ENOMEM || num == -EMFILE || num == -ENFILE || num == -ENOBUFS;
}

void exec_fail_start(const struct session *session, struct call *call, const struct err *err)
{
	struct error_details details = { .session = session->record.id, .step = err->step, .err_no = -err->num };

	call_fail(call, E_FAILED, is_transient(err->num), &details, "the command was not started: %s%s%s: %s",
		err->step, err->object[0] ? " " : "", err->object, strerror(-err->num));
}
