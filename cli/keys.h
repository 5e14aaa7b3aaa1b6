/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keys that leave a terminal without ending what runs there. They are found among what is typed; as long as they may
 * be coming they are held back, and are typed after all when another key comes instead.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum { DETACH_KEYS_MAX = 8 };

#define DETACH_KEYS_DEFAULT "ctrl-p,ctrl-q"

struct detach_keys {
	char keys[DETACH_KEYS_MAX];
	size_t n; /* 0: none leave it */
	size_t n_held; /* of them, typed so far */
};

/*
 * TEXT is what a person writes: keys with commas between them, each a character or "ctrl-" and one of a-z, @, [, \, ],
 * ^, _; empty for none. 0; -EINVAL for what is no key, -E2BIG for too many, *RET untouched.
 */
int detach_keys_parse(const char *text, struct detach_keys *ret);

/*
 * Of N bytes typed, at BYTES, what is for the command goes to OUT, which has room for N + DETACH_KEYS_MAX; *RET_N is how
 * many. True when the keys are complete: what was typed after them is for nobody.
 */
bool detach_keys_find(struct detach_keys *keys, const char *bytes, size_t n, char *out, size_t *ret_n);

/* Nothing more will be typed: puts what is held back at OUT, with room for DETACH_KEYS_MAX, and returns how much it is. */
size_t detach_keys_end(struct detach_keys *keys, char *out);
