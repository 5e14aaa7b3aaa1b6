/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a template, its image and a request to the spec of a session's workload or of a probe (wire/spec.h).
 *
 * Arguments: the request's command, else the template's. A template without one runs what the image says, as Docker
 * does: its entrypoint followed by the request's command or the image's own. The image's user and directory count in
 * that case, too. Environment: the image's, the template's, the request's env, its secrets; a later one wins.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "config/config.h"

/* What a request says; members may be NULL. Already checked to be an array and objects of strings. */
struct command_request {
	const json_t *command, *env, *secrets;
	/* Of command_exec() only. */
	const char *user, *cwd; /* NULL: the workload's */
	bool tty; /* it gets a terminal; without a command, a shell */
};

/*
 * A sealed spec, the caller's to close; or a negative errno with ERR: -E2BIG past the bounds of a spec, -EINVAL with
 * the step "env" and the name of a variable that cannot be one, -ENOEXEC when nobody says what to run.
 */
int command_workload(const struct config *config, const struct template *template,
	const struct command_request *request, struct err *err);

/*
 * The spec of a command in a session that runs, likewise: REQUEST's command, with the workload's user, directory and
 * environment as template and image have them unless REQUEST says otherwise. What the session's own creation added to
 * the environment is not kept anywhere, and not in it. -ENAMETOOLONG with the step "user" or "cwd".
 */
int command_exec(const struct config *config, const struct template *template, const struct command_request *request,
	struct err *err);

/*
 * The spec of a file child (wire/files.h) that is USER or, for NULL, the workload's. It has an argument and an
 * environment because every spec has; nothing is executed.
 */
int command_files(const struct config *config, const struct template *template, const char *user, struct err *err);

/* The spec of the template's exec probe, likewise; its environment is the template's. */
int command_probe(const struct template *template, char *const *command, struct err *err);
