/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may do what: the configuration's "access" with its names looked up, and the role of a peer as the kernel names
 * it. The first entry that fits decides, as in a firewall: put exceptions before the rule. A peer whom no entry fits
 * has no role, root included.
 */
#pragma once

#include "control/call.h"

struct access;

/*
 * Looks up the names in CONFIG once, so that no request ever waits for a directory service; CONFIG must outlive the
 * result. An entry whose name does not exist fits nobody; such names are put into UNKNOWN, comma-separated and cut to
 * fit, or "". 0 and *RET, or -ENOMEM.
 */
int access_resolve(const struct config *config, struct access **ret, char *unknown, size_t unknown_size);
void access_free(struct access *access);

/* Fills RET with the peer's ids, role and prefix; ROLE_NONE when no entry fits. */
void access_match(
	const struct access *access, uid_t uid, gid_t gid, const gid_t *groups, size_t n_groups, struct caller *ret);

/* What somebody without a role is told: which groups to join, which file to edit. Always terminated. */
void access_hint(const struct config *config, const char *config_directory, uid_t uid, char *buf, size_t size);
