/* SPDX-License-Identifier: Apache-2.0 */
/*
 * identity_find on any user and any account files: "WHO\0PASSWD\0GROUP". Who is found by number has that number; who
 * is found by name is user 0 only if a line says so.
 */
#include "sandbox/users.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* Takes what is before the next NUL, in memory of exactly that size. */
static struct text take(const uint8_t **data, size_t *n, char **ret_copy)
{
	const uint8_t *nul = *n > 0 ? memchr(*data, '\0', *n) : NULL;
	size_t length = nul ? (size_t)(nul - *data) : *n;
	char *copy = malloc(length ? length : 1);

	if (!copy)
		abort();
	if (length > 0)
		memcpy(copy, *data, length);
	*data += nul ? length + 1 : length;
	*n -= nul ? length + 1 : length;
	*ret_copy = copy;
	return (struct text){ copy, length };
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	_free_ char *who_copy = NULL, *passwd_copy = NULL, *group_copy = NULL;
	struct identity identity = { .uid = UINT32_MAX, .gid = UINT32_MAX };
	struct err err = { 0 };
	char who[256] = "";

	struct text who_text = take(&data, &n, &who_copy);
	struct text passwd = take(&data, &n, &passwd_copy);
	struct text group = take(&data, &n, &group_copy);
	if (who_text.n >= sizeof(who))
		return 0;
	memcpy(who, who_text.bytes, who_text.n);

	int r = identity_find(who, passwd, group, &identity, &err);
	if (r > 0 || (r < 0 && (err.num != r || identity.uid != UINT32_MAX)))
		abort();
	if (r == 0 &&
		(identity.uid == UINT32_MAX || identity.gid == UINT32_MAX || identity.n_groups > SPEC_MAX_GROUPS))
		abort();
	if (r == 0 && identity.uid == 0 && passwd.n == 0 && who[strspn(who, "0")] != '\0' &&
		who[strspn(who, "0")] != ':')
		abort();
	return 0;
}
