/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A command to be run in a session: who, where, with which arguments and environment. Control writes it into a
 * sealed memfd; the supervisor passes it on and never reads it; init maps it and treats it as any hostile input.
 * The workload of a session and every exec are described in the same way.
 *
 * Layout: struct spec_header, then argc argument strings, then envc "NAME=value" strings, each NUL-terminated, and
 * nothing after them.
 */
#pragma once

#include "wire/def.h"

enum {
	SPEC_VERSION = 1,
	SPEC_MAX_BYTES = 1 << 20,
	SPEC_MAX_STRINGS = 4096, /* arguments, and as many environment entries */
	SPEC_MAX_GROUPS = 32,
};

#define SPEC_MAGIC UINT32_C(0x63737063)

enum spec_flags {
	SPEC_TTY = 1 << 0, /* stdin, stdout and stderr are one pty: own session, controlling terminal */
	SPEC_CDP_PIPE =
		1 << 1, /* workload only: descriptors 3 and 4 are Chromium's --remote-debugging-pipe, held by init */
};

struct spec_header {
	uint32_t magic, version;
	uint32_t total_bytes; /* header and strings */
	uint32_t flags;
	uint32_t uid, gid; /* in the session; used where user is empty */
	uint32_t n_groups;
	uint32_t groups[SPEC_MAX_GROUPS];
	uint32_t argc, envc; /* argc at least 1 */
	char user[64]; /* "name", "name:group", "1000" or "1000:1000", looked up in the session; may be empty */
	char cwd[1024]; /* absolute; "/" when there is none */
};

/* A parsed spec: pointers into MAP, which it owns until spec_release(). argv and envp end with NULL. */
struct spec {
	const struct spec_header *header;
	void *map;
	size_t map_size;
	char **argv, **envp;
};

/*
 * A memfd that can be sealed and that nobody can execute, where the kernel knows of such (vm.memfd_noexec=2 insists on
 * it): the descriptor, the caller's, or a negative errno.
 */
int memfd_make(const char *name);

/*
 * Makes a sealed memfd (no growing, shrinking, writing or further sealing) from HEADER, whose magic, version, sizes
 * and counts it fills itself, and NULL-terminated ARGV and ENVP. Returns the descriptor, the caller's; -E2BIG past a
 * limit, -EINVAL for an empty argv or an environment entry without '=', or another negative errno.
 */
int spec_write(const struct spec_header *header, char *const argv[], char *const envp[]);

/*
 * Maps and checks a spec: regular seals, sizes, counts, terminated strings. 0 and *RET; -EPROTO for anything that
 * spec_write() would not have written. FD is borrowed.
 */
int spec_read(int fd, struct spec *ret);
void spec_release(struct spec *spec);

/* The check behind spec_read, for fuzzing: fills argv and envp (sized by the caller: argc + 1, envc + 1). */
int spec_parse(const void *bytes, size_t n, char **argv, char **envp);
