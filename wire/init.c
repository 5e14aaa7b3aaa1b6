/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/init.h"

#include <stdbool.h>

#define TERMINATED(m, member) is_terminated((m)->member, sizeof((m)->member))
#define FITS(condition) ((condition) ? 0 : -EPROTO)

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

/* clang-format off */
const struct msg_shape init_requests[] = {
	{ INIT_EXEC,         4, 4, sizeof(struct init_plain),   "exec",         NULL },
	{ INIT_SIGNAL,       0, 0, sizeof(struct init_signal),  "signal",       check_signal },
	{ INIT_STOP,         0, 0, sizeof(struct init_stop),    "stop",         check_stop },
	{ INIT_CONNECT,      0, 0, sizeof(struct init_connect), "connect",      check_connect },
	{ INIT_WATCH_OUTPUT, 0, 0, sizeof(struct init_plain),   "watch-output", NULL },
	{ INIT_CONNECT_PATH, 0, 0, sizeof(struct init_connect_path), "connect-path", check_connect_path },
	{ INIT_FILES,        2, 2, sizeof(struct init_plain),   "files",        NULL },
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
	{ INIT_EV_HELLO,                 0, 0, sizeof(struct init_hello),     "ev-hello",  NULL },
	{ INIT_EV_EXITED,                0, 0, sizeof(struct init_ev_exited), "ev-exited", NULL },
	{ INIT_EV_OUTPUT,                0, 0, sizeof(struct init_plain),     "ev-output", NULL },
};
const size_t n_init_answers = ARRAY_SIZE(init_answers);
/* clang-format on */
