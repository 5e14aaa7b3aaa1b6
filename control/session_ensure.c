/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session.ensure: whose session is meant, and the one that there is for him. There is one session at a time in each
 * place, a text made of the isolation and of whom it sets apart:
 *
 *	shared		everybody who asks with the same owner, or, without one, within the same owner prefix
 *	per-owner	an owner
 *	per-task	a task, of an owner where one is given
 *
 * One thread looks for the place and takes it, so that of any number of requests at once one makes the session and
 * the others wait for the same.
 */
#include <stdarg.h>
#include <stdio.h>

#include "control/lifecycle.h"
#include "control/session_create.h"
#include "control/session_methods.h"
#include "control/visibility.h"

enum { MAX_OWNER = 256 }; /* as the methods table has it */

static const char *param_string(const struct call *call, const char *name)
{
	return json_string_value(json_object_get(call_params(call), name));
}

/* As asprintf(3), with nothing in *RET on failure. 0 or -ENOMEM. */
static int print(char **ret, const char *format, ...) _printf_(2, 3);

static int print(char **ret, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	int n = vasprintf(ret, format, ap);
	va_end(ap);
	if (n >= 0)
		return 0;
	*ret = NULL;
	return -ENOMEM;
}

/* ---- who ---- */

/*
 * The member NAME of metadata as text, the caller's: a string, or a whole number as backends number their users. 0, with
 * NULL when it is not there or empty; -ENOMEM; or -EINVAL for anything else, and the call is answered.
 */
static int metadata_text(struct call *call, const char *name, char **ret)
{
	const json_t *value = json_object_get(json_object_get(call_params(call), "metadata"), name);
	char path[64];

	if (!value || json_is_null(value) || (json_is_string(value) && json_string_length(value) == 0))
		return 0;
	if (json_is_integer(value))
		return print(ret, "%lld", (long long)json_integer_value(value));
	if (json_is_string(value) && json_string_length(value) <= MAX_OWNER) {
		*ret = strdup(json_string_value(value));
		return *ret ? 0 : -ENOMEM;
	}
	snprintf(path, sizeof(path), "metadata.%s", name);
	call_fail(call, E_INVALID_PARAMS, false, &(struct error_details){ .path = path },
		"%s: a string of at most %d bytes, or an integer", path, MAX_OWNER);
	return -EINVAL;
}

/* Names that a caller of one prefix did not choose himself are put below it: what he makes, he must be able to see. */
static int within_prefix(const struct caller *caller, const char *name, char **ret)
{
	const char *prefix = caller_sees_owner(caller, name) ? "" : caller->owner_prefix;

	return print(ret, "%s%s", prefix, name);
}

/* The first that there is of the names that a request may carry, the caller's. As metadata_text(). */
static int find_owner(struct call *call, bool per_task, char **ret)
{
	const char *task = param_string(call, "task_id"), *thread = param_string(call, "thread_id");
	_free_ char *named = NULL;
	int r = 0;

	if (per_task && !task) {
		call_fail(call, E_INVALID_PARAMS, false, &(struct error_details){ .path = "task_id" },
			"task_id: is required with the isolation per-task, unless owner is given");
		return -EINVAL;
	}
	if (!per_task)
		r = metadata_text(call, "user_id", &named);
	if (!per_task && r == 0 && !named)
		r = metadata_text(call, "session_id", &named);
	if (r < 0)
		return r;
	return within_prefix(call_caller(call),
		named	   ? named
		: per_task ? task
		: thread   ? thread
		: task	   ? task
			   : "default",
		ret);
}

/* ---- where ---- */

/* The place's name, the caller's. The length keeps "a:b" and "c" apart from "a" and "b:c". 0 or -ENOMEM. */
static int make_place(const struct call *call, const char *isolation, const char *owner, char **ret)
{
	const char *given = param_string(call, "owner"), *prefix = call_caller(call)->owner_prefix;
	const char *task = given ? param_string(call, "task_id") : NULL;

	if (streq(isolation, "shared"))
		owner = given ? given : prefix && !caller_sees_host(call_caller(call)) ? prefix : "";
	if (!streq(isolation, "per-task"))
		task = NULL;
	return print(ret, "%s:%zu:%s:%s", isolation, strlen(owner), owner, task ? task : "");
}

static struct session *find_place(const struct lifecycle *lifecycle, const char *place)
{
	struct index_node *node = index_find(&lifecycle->by_place, place);

	return node ? container_of(node, struct session, by_place) : NULL;
}

void session_leave_place(struct lifecycle *lifecycle, const char *place)
{
	struct session *session = find_place(lifecycle, place);

	if (session && !session_is_live(session))
		session_forget(session);
}

bool session_ensure_existing(struct call *call, const struct wanted *wanted, enum wait_for wait_for)
{
	struct session *session = find_place(call_control(call)->lifecycle, wanted->place);
	const char *template = param_string(call, "template");

	if (!session || !session_is_live(session))
		return false;
	if (session->record.state == SESSION_STOPPING) {
		session_wait(session, call, WAIT_REPLACEABLE, NEVER, 0);
	} else if (!streq(session->record.template, template)) {
		call_fail(call, E_CONFLICT, false,
			&(struct error_details){ .path = "template", .session = session->record.id },
			"template: %s is asked for, but session %s of owner %.64s is made from %s", template,
			session->record.id, session->record.owner, session->record.template);
	} else {
		session_touch(session);
		session_wait(session, call, wait_for, NEVER, WAITER_ENSURES);
	}
	return true;
}

void method_session_ensure(struct call *call)
{
	const char *isolation = param_string(call, "isolation"), *given = param_string(call, "owner");
	_free_ char *found = NULL, *place = NULL;
	int r = given ? 0 : find_owner(call, streq(isolation, "per-task"), &found);

	if (r == -EINVAL)
		return;
	if (r == 0)
		r = make_place(call, isolation, given ? given : found, &place);
	if (r == 0)
		session_create(call,
			&(struct wanted){ .isolation = isolation, .owner = given ? given : found, .place = place });
	else
		call_fail(call, E_FAILED, true, &(struct error_details){ .err_no = -r }, "out of memory");
}
