/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much room there is in the session's file systems. Asked of descriptors that were taken before the workload ran: by
 * path the session could lead PID 1 into a file system of its own that never answers.
 */
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/vfs.h>

#include "sandbox/init.h"

enum { MAGIC_XFS = 0x58465342 };

static bool answers_at_once(const struct statfs *st)
{
	static const unsigned long types[] = { TMPFS_MAGIC, OVERLAYFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, MAGIC_XFS,
		BTRFS_SUPER_MAGIC };

	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if ((unsigned long)st->f_type == types[i])
			return true;
	return false;
}

int space_keep(struct setup *setup, int tree, const char *target)
{
	struct place *place = &setup->places[setup->n_places];
	struct statfs st;

	if (tree < 0 || setup->n_places == INIT_MAX_PLACES || fstatfs(tree, &st) < 0 || !answers_at_once(&st) ||
		copy_string(place->target, sizeof(place->target), target) < 0)
		return tree;
	place->fd = fcntl(tree, F_DUPFD_CLOEXEC, 3);
	setup->n_places += place->fd >= 0;
	return tree;
}

static uint64_t times(uint64_t n, uint64_t size)
{
	uint64_t product;

	return __builtin_mul_overflow(n, size, &product) ? UINT64_MAX : product;
}

void space_request(struct serve *serve, struct msg *msg)
{
	const struct init_place *request = (const void *)msg->bytes;
	const struct place *place = &serve->places[request->place < serve->n_places ? request->place : 0];
	struct init_space space = { .n_places = (uint32_t)serve->n_places, .target = "/" };
	struct statfs st;

	msg_init(&space.header, INIT_SPACE | MSG_REPLY, msg->header.id, sizeof(space));
	if (serve->n_places == 0)
		space.n_places = 1;
	else if (fstatfs(place->fd, &st) == 0) {
		const uint64_t size = (uint64_t)st.f_bsize;
		memcpy(space.target, place->target, sizeof(space.target));
		space.bytes = times(st.f_blocks, size);
		space.bytes_free = times(st.f_bavail < st.f_blocks ? st.f_bavail : st.f_blocks, size);
		space.inodes = st.f_files;
		space.inodes_free = st.f_ffree < st.f_files ? st.f_ffree : st.f_files;
	}
	control_answer(serve, serve->n_controls, &space.header, NULL, 0);
}
