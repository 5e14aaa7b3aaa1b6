/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/init.h"

#include <stdbool.h>

#include "wire/super.h"

static bool err_fits(const struct err *err)
{
	return err->num <= 0 && TERMINATED(err, step) && TERMINATED(err, object);
}

static int check_signal(const void *msg)
{
	const struct init_signal *m = msg;
	return FITS(m->signal >= 0 && m->signal <= 64 && m->group <= 1);
}

static int check_stop(const void *msg)
{
	const struct init_stop *m = msg;
	return FITS((m->method == STOP_SIGNAL && m->signal > 0 && m->signal <= 64) || m->method == STOP_CDP);
}

static int check_connect(const void *msg)
{
	const struct init_connect *m = msg;
	return FITS(m->port > 0 && (m->family == FAMILY_ANY || m->family == FAMILY_IPV4 || m->family == FAMILY_IPV6));
}

static int check_connect_path(const void *msg)
{
	const struct init_connect_path *m = msg;
	return FITS(TERMINATED(m, path) && m->path[0] == '/');
}

static bool label_fits(const struct init_label *label)
{
	return TERMINATED(label, name) && TERMINATED(label, command) &&
	       (!label->name[0] || name_is_valid(label->name));
}

static int check_start(const void *msg)
{
	const struct init_start *m = msg;
	return FITS(!(m->flags & ~(uint32_t)START_FLAGS) && label_fits(&m->label));
}

static int check_attach(const void *msg)
{
	const struct init_attach *m = msg;
	return FITS(m->stream < STREAM_COUNT);
}

/* Of one that has ended, exactly one of exit code and signal. */
static int check_ev_kept(const void *msg)
{
	const struct init_ev_kept *m = msg;
	bool by_exit = m->exit_code >= 0 && m->exit_code <= 255 && m->signal == 0;
	bool by_signal = m->exit_code == -1 && m->signal > 0 && m->signal <= 64;

	return FITS(m->exec > 0 && !(m->flags & ~(uint32_t)START_FLAGS) && label_fits(&m->label) && m->pid >= 0 &&
		    (m->pid > 0 || by_exit || by_signal));
}

static int check_done(const void *msg)
{
	const struct init_done *m = msg;
	return FITS(err_fits(&m->err));
}

static int check_started(const void *msg)
{
	const struct init_started *m = msg;
	return FITS(err_fits(&m->err));
}

static int check_space(const void *msg)
{
	const struct init_space *m = msg;
	return FITS(m->n_places > 0 && m->n_places <= INIT_MAX_PLACES && m->bytes_free <= m->bytes &&
		    m->inodes_free <= m->inodes && TERMINATED(m, target) && m->target[0] == '/');
}

/* clang-format off */
const struct msg_shape init_requests[] = {
	{ INIT_EXEC,         4, 4, sizeof(struct init_plain),   "exec",         NULL },
	{ INIT_SIGNAL,       0, 0, sizeof(struct init_signal),  "signal",       check_signal },
	{ INIT_STOP,         0, 0, sizeof(struct init_stop),    "stop",         check_stop },
	{ INIT_CONNECT,      0, 0, sizeof(struct init_connect), "connect",      check_connect },
	{ INIT_WATCH_OUTPUT, 0, 0, sizeof(struct init_plain),   "watch-output", NULL },
	{ INIT_CONNECT_PATH, 0, 0, sizeof(struct init_connect_path), "connect-path", check_connect_path },
	{ INIT_FILES,        2, 2, sizeof(struct init_plain),   "files",        NULL },
	{ INIT_START,        1, 1, sizeof(struct init_start),   "start",        check_start },
	{ INIT_ATTACH,       1, 2, sizeof(struct init_attach),  "attach",       check_attach },
	{ INIT_END_INPUT,    0, 0, sizeof(struct init_kept),    "end-input",    NULL },
	{ INIT_RESIZE,       0, 0, sizeof(struct init_resize),  "resize",       NULL },
	{ INIT_FORGET,       0, 0, sizeof(struct init_kept),    "forget",       NULL },
	{ INIT_LIST,         0, 0, sizeof(struct init_plain),   "list",         NULL },
	{ INIT_SPACE,        0, 0, sizeof(struct init_place),   "space",        NULL },
	{ INIT_SPAWNER,      1, 1, sizeof(struct init_plain),   "spawner",      NULL },
};
const size_t n_init_requests = ARRAY_SIZE(init_requests);

const struct msg_shape init_answers[] = {
	{ INIT_EXEC | MSG_REPLY,         0, 0, sizeof(struct init_started),   "started",   check_started },
	{ INIT_SIGNAL | MSG_REPLY,       0, 0, sizeof(struct init_done),      "signalled", check_done },
	{ INIT_STOP | MSG_REPLY,         0, 0, sizeof(struct init_done),      "stopping",  check_done },
	{ INIT_CONNECT | MSG_REPLY,      0, 1, sizeof(struct init_done),      "connected", check_done },
	{ INIT_WATCH_OUTPUT | MSG_REPLY, 0, 0, sizeof(struct init_done),      "watching",  check_done },
	{ INIT_CONNECT_PATH | MSG_REPLY, 0, 1, sizeof(struct init_done),      "path-connected", check_done },
	{ INIT_FILES | MSG_REPLY,        0, 0, sizeof(struct init_started),   "files-started", check_started },
	{ INIT_START | MSG_REPLY,        0, 0, sizeof(struct init_started),   "kept",      check_started },
	{ INIT_ATTACH | MSG_REPLY,       0, 0, sizeof(struct init_done),      "attached",  check_done },
	{ INIT_END_INPUT | MSG_REPLY,    0, 0, sizeof(struct init_done),      "input-ended", check_done },
	{ INIT_RESIZE | MSG_REPLY,       0, 0, sizeof(struct init_done),      "resized",   check_done },
	{ INIT_FORGET | MSG_REPLY,       0, 0, sizeof(struct init_done),      "forgotten", check_done },
	{ INIT_LIST | MSG_REPLY,         0, 0, sizeof(struct init_done),      "listed",    check_done },
	{ INIT_SPACE | MSG_REPLY,        0, 0, sizeof(struct init_space),     "space-told", check_space },
	{ INIT_SPAWNER | MSG_REPLY,      0, 0, sizeof(struct init_started),   "spawner-started", check_started },
	{ INIT_EV_HELLO,                 0, 0, sizeof(struct init_hello),     "ev-hello",  NULL },
	{ INIT_EV_EXITED,                0, 0, sizeof(struct init_ev_exited), "ev-exited", NULL },
	{ INIT_EV_OUTPUT,                0, 0, sizeof(struct init_plain),     "ev-output", NULL },
	{ INIT_EV_KEPT,                  0, 0, sizeof(struct init_ev_kept),   "ev-kept",   check_ev_kept },
};
const size_t n_init_answers = ARRAY_SIZE(init_answers);
/* clang-format on */
