/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration that came with an image: what to run when the template does not say. Kept by the image store in
 * <state_dir>/images/<name>.json as {"layers": [...], "config": {"env", "entrypoint", "cmd", "user", "workdir"}}.
 */
#pragma once

#include <jansson.h>

#include "wire/err.h"

/* Views of ROOT, which is owned until image_release(). Arrays are arrays of strings; each may be NULL. */
struct image {
	json_t *root;
	const json_t *env, *entrypoint, *cmd;
	const char *user, *workdir;
};

/* 0 and *RET, or a negative errno with ERR: -EINVAL for a file that says anything unexpected. */
int image_load(const char *state_dir, const char *name, struct image *ret, struct err *err);
void image_release(struct image *image);
