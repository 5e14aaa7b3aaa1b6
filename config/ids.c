/* SPDX-License-Identifier: Apache-2.0 */
/* Users and groups in the configuration: a name, or "#number" for one that has no entry. Looked up once, at start. */
#include "config/ids.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdint.h>
#include <stdlib.h>

static int parse_number(const char *text, uint32_t *ret)
{
	char *end;

	errno = 0;
	unsigned long n = strtoul(text, &end, 10);
	if (errno || end == text || *end || n >= UINT32_MAX)
		return -EINVAL;
	*ret = (uint32_t)n;
	return 0;
}

int ids_user(const char *name, uid_t *ret_uid, gid_t *ret_gid)
{
	if (name[0] == '#') {
		uint32_t n;
		int r = parse_number(name + 1, &n);
		if (r == 0)
			*ret_uid = *ret_gid = n;
		return r;
	}
	const struct passwd *pw = getpwnam(name);
	if (!pw)
		return -ENOENT;
	*ret_uid = pw->pw_uid;
	*ret_gid = pw->pw_gid;
	return 0;
}

int ids_group(const char *name, gid_t *ret_gid)
{
	if (name[0] == '#')
		return parse_number(name + 1, ret_gid);
	const struct group *gr = getgrnam(name);
	if (!gr)
		return -ENOENT;
	*ret_gid = gr->gr_gid;
	return 0;
}
