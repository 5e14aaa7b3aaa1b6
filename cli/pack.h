/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Trees as tar, by libarchive: what `carrel cp` sends and what it takes. What comes out of a session is hostile: it is
 * unpacked below a directory's descriptor, by names that are resolved without following any link, so that nothing
 * outside of it is touched however the names, the links and the order of an archive are chosen.
 */
#pragma once

#include "cli/failure.h"
#include "cli/transfer.h"

/* What was left out of an archive because it is no file, directory or link: how many, and the first. */
struct skipped {
	unsigned int n;
	char first[256];
};

/*
 * Writes the tree at PATH (its own entry is "./") to FD as a tar. Owners are not told: whoever unpacks it owns it. 0,
 * or a negative errno with WHY.
 */
int pack_tree(const char *path, int fd, struct transfer *transfer, struct skipped *ret, struct failure *why);

/*
 * Unpacks the tar from FD below DIR_FD. Modes are kept but for setuid, setgid and what the umask takes; times of files
 * are kept, owners are not. An entry replaces what is there, but no directory. FD is read to its end. 0, or a negative
 * errno with WHY; what was unpacked until then stays.
 */
int unpack_tree(int fd, int dir_fd, struct transfer *transfer, struct skipped *ret, struct failure *why);
