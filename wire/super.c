/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/super.h"

bool name_is_valid(const char *name)
{
	size_t n = 0;

	for (; name[n]; n++) {
		char c = name[n];
		bool alnum = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
		if (!alnum && !(c == '-' && n > 0))
			return false;
	}
	return n > 0 && n < NAME_SIZE;
}

static int check_hello(const void *msg)
{
	const struct super_hello *m = msg;
	return FITS(TERMINATED(m, version));
}

int super_check_named(const void *msg)
{
	const struct super_named *m = msg;
	return FITS(TERMINATED(m, id) && name_is_valid(m->id));
}

static int check_create(const void *msg)
{
	const struct super_create *m = msg;

	for (size_t i = 0; i < SUPER_MAX_VOLUMES; i++)
		if (!TERMINATED(m, volumes[i]) || (m->volumes[i][0] && !name_is_valid(m->volumes[i])))
			return -EPROTO;
	return FITS(TERMINATED(m, id) && name_is_valid(m->id) && TERMINATED(m, template) &&
		    name_is_valid(m->template) && TERMINATED(m, hostname) &&
		    (!m->hostname[0] || name_is_valid(m->hostname)) && TERMINATED(m, egress) &&
		    (!m->egress[0] || name_is_valid(m->egress)));
}

/* clang-format off */
const struct msg_shape super_requests[] = {
	{ SUPER_HELLO,      0, 0, sizeof(struct super_hello),      "hello",      check_hello },
	{ SUPER_CHECK,      0, 0, sizeof(struct super_plain),      "check",      NULL },
	{ SUPER_LIST,       0, 0, sizeof(struct super_plain),      "list",       NULL },
	{ SUPER_CREATE,     1, 1, sizeof(struct super_create),     "create",     check_create },
	{ SUPER_CONNECT,    0, 0, sizeof(struct super_named),    "connect",    super_check_named },
	{ SUPER_NOTED,      0, 0, sizeof(struct super_named),    "noted",      super_check_named },
	{ SUPER_KILL,       0, 0, sizeof(struct super_named),    "kill",       super_check_named },
	{ SUPER_FREEZE,     0, 0, sizeof(struct super_named),    "freeze",     super_check_named },
	{ SUPER_THAW,       0, 0, sizeof(struct super_named),    "thaw",       super_check_named },
	{ SUPER_SET_LIMITS, 0, 0, sizeof(struct super_set_limits), "set-limits", super_check_named },
	{ SUPER_REMOVE_VOLUME, 0, 0, sizeof(struct super_named),  "remove-volume", super_check_named },
};
const size_t n_super_requests = ARRAY_SIZE(super_requests);
/* clang-format on */
