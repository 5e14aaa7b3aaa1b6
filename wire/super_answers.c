/* SPDX-License-Identifier: Apache-2.0 */
/* What control accepts from the supervisor: apart from what the supervisor accepts, which is not linked with it. */
#include "wire/super.h"

static int err_fits(const struct err *err)
{
	return err->num <= 0 && TERMINATED(err, step) && TERMINATED(err, object);
}

static int check_welcome(const void *msg)
{
	const struct super_welcome *m = msg;
	return FITS(err_fits(&m->err) && TERMINATED(m, version) && TERMINATED(m, boot_id));
}

static int check_done(const void *msg)
{
	const struct super_done *m = msg;
	return FITS(err_fits(&m->err));
}

static int check_created(const void *msg)
{
	const struct super_created *m = msg;

	if (!err_fits(&m->err) || m->n_steps > MAX_STEP_TIMES)
		return -EPROTO;
	for (size_t i = 0; i < m->n_steps; i++)
		if (!TERMINATED(&m->steps[i], name))
			return -EPROTO;
	return 0;
}

static int check_limits_set(const void *msg)
{
	const struct super_limits_set *m = msg;
	return FITS(err_fits(&m->err));
}

static int check_ev_session(const void *msg)
{
	const struct super_ev_session *m = msg;
	return FITS(TERMINATED(m, id) && name_is_valid(m->id) && TERMINATED(m, template) &&
		    name_is_valid(m->template) && (m->state == SUPER_LIVE || m->state == SUPER_ENDING));
}

static int check_ev_volumes(const void *msg)
{
	const struct super_ev_volumes *m = msg;

	if (m->n > SUPER_VOLUMES_LISTED)
		return -EPROTO;
	for (size_t i = 0; i < m->n; i++)
		if (!TERMINATED(&m->volumes[i], name) || !name_is_valid(m->volumes[i].name))
			return -EPROTO;
	return 0;
}

static int check_checked(const void *msg)
{
	const struct super_checked *m = msg;

	if (m->n_items > MAX_CHECK_ITEMS)
		return -EPROTO;
	for (size_t i = 0; i < m->n_items; i++) {
		const struct check_item *item = &m->items[i];
		if (!TERMINATED(item, name) || !TERMINATED(item, detail) || !TERMINATED(item, remedy) ||
			item->state < CHECK_OK || item->state > CHECK_MISSING)
			return -EPROTO;
	}
	return 0;
}

/* clang-format off */
const struct msg_shape super_answers[] = {
	{ SUPER_HELLO | MSG_REPLY,      0, 0, sizeof(struct super_welcome),    "welcome",    check_welcome },
	{ SUPER_CHECK | MSG_REPLY,      0, 0, sizeof(struct super_checked),    "checked",    check_checked },
	{ SUPER_LIST | MSG_REPLY,       0, 0, sizeof(struct super_done),       "listed",     check_done },
	{ SUPER_CREATE | MSG_REPLY,     0, SUPER_FD_COUNT, sizeof(struct super_created),    "created",    check_created },
	{ SUPER_CONNECT | MSG_REPLY,    0, 1, sizeof(struct super_done),       "connected",  check_done },
	{ SUPER_NOTED | MSG_REPLY,      0, 0, sizeof(struct super_done),       "forgotten",  check_done },
	{ SUPER_KILL | MSG_REPLY,       0, 0, sizeof(struct super_done),       "killed",     check_done },
	{ SUPER_FREEZE | MSG_REPLY,     0, 0, sizeof(struct super_done),       "frozen",     check_done },
	{ SUPER_THAW | MSG_REPLY,       0, 0, sizeof(struct super_done),       "thawed",     check_done },
	{ SUPER_SET_LIMITS | MSG_REPLY, 0, 0, sizeof(struct super_limits_set), "limits-set", check_limits_set },
	{ SUPER_REMOVE_VOLUME | MSG_REPLY, 0, 0, sizeof(struct super_done),    "volume-removed", check_done },
	{ SUPER_EV_SESSION,             0, SUPER_FD_COUNT, sizeof(struct super_ev_session), "ev-session", check_ev_session },
	{ SUPER_EV_EXITED,              0, 0, sizeof(struct super_ev_exited),  "ev-exited",  super_check_named },
	{ SUPER_EV_GONE,                0, 0, sizeof(struct super_named),    "ev-gone",    super_check_named },
	{ SUPER_EV_VOLUMES,             0, 0, sizeof(struct super_ev_volumes), "ev-volumes", check_ev_volumes },
};
const size_t n_super_answers = ARRAY_SIZE(super_answers);
/* clang-format on */
