/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/keys.h"

#include "wire/def.h"

/* What a terminal sends for the key that the N bytes at TEXT name, or -1. */
static int key_of(const char *text, size_t n)
{
	static const char prefix[] = "ctrl-";
	const size_t skip = sizeof(prefix) - 1;

	if (n == 1 && text[0] > ' ' && text[0] < 0x7f)
		return text[0];
	if (n != skip + 1 || strncmp(text, prefix, skip) != 0)
		return -1;
	const char with = text[skip];
	return (with >= 'a' && with <= 'z') || strchr("@[\\]^_", with) ? with & 0x1f : -1;
}

int detach_keys_parse(const char *text, struct detach_keys *ret)
{
	struct detach_keys keys = { 0 };

	for (const char *at = text; *text && at;) {
		const size_t n = strcspn(at, ",");
		const int key = key_of(at, n);
		if (key < 0)
			return -EINVAL;
		if (keys.n == DETACH_KEYS_MAX)
			return -E2BIG;
		keys.keys[keys.n++] = (char)key;
		at = at[n] ? at + n + 1 : NULL;
	}
	*ret = keys;
	return 0;
}

/* How many of the keys that are held, but not all, may be the beginning of the same keys typed once more. */
static size_t shorter_beginning(const struct detach_keys *keys)
{
	size_t n = keys->n_held - 1;

	while (n > 0 && memcmp(keys->keys, keys->keys + keys->n_held - n, n) != 0)
		n--;
	return n;
}

bool detach_keys_find(struct detach_keys *keys, const char *bytes, size_t n, char *out, size_t *ret_n)
{
	size_t used = 0;

	for (size_t i = 0; i < n && (keys->n == 0 || keys->n_held < keys->n); i++) {
		while (keys->n_held > 0 && bytes[i] != keys->keys[keys->n_held]) {
			const size_t left = shorter_beginning(keys), typed = keys->n_held - left;
			memcpy(out + used, keys->keys, typed);
			used += typed;
			keys->n_held = left;
		}
		if (keys->n > 0 && bytes[i] == keys->keys[keys->n_held])
			keys->n_held++;
		else
			out[used++] = bytes[i];
	}
	*ret_n = used;
	return keys->n > 0 && keys->n_held == keys->n;
}

size_t detach_keys_end(struct detach_keys *keys, char *out)
{
	const size_t n = keys->n_held;

	memcpy(out, keys->keys, n);
	keys->n_held = 0;
	return n;
}
