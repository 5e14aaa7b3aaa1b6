/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tells when a session runs into its limits: of memory and processes the kernel raises an event (EPOLLPRI on
 * memory.events and pids.events, cgroup-v2.rst), CPU time is looked at now and then. A limit is told of when a session
 * comes to it, and again only after it kept away from it for a while; a session that does nothing but run into limits
 * costs a look in a tenth of a second.
 *
 * Of a file system that fills up the kernel raises no event: those are looked at, too (control/space.h).
 */
#pragma once

#include <jansson.h>

#include "wire/loop.h"

struct limit_file {
	struct loop_io io; /* io.fd: the events file, -1: none */
	uint64_t count; /* of what is told, at the last look */
	uint64_t near_ns; /* when it last grew; 0: never */
};

/* Bytes, from memory.stat; all zero: never looked at. */
struct memory_use {
	uint64_t anonymous, files, tmpfs, kernel;
};

struct limit_watch {
	struct limit_file memory, processes;
	uint64_t at_limit, oom_kills, throttled_usec, throttled_near_ns;
	uint64_t looked_ns; /* when throttled_usec was read; 0: it was not */
	uint64_t space_ns, space_usage_usec; /* when the file systems were looked at, and the CPU time by then */
	struct loop_timer again;
	struct memory_use most; /* of the looks taken when memory was short */
};

struct session;

/* Begins to watch SESSION, whose cgroup_fd is open. What the host has no controller for is not watched. */
void limit_watch_start(struct session *session);
void limit_watch_stop(struct session *session);

/* Emits session.throttled, .refused, .oom or .full, and counts it. DATA is stolen. */
void limit_watch_tell(struct session *session, const char *kind, json_t *data);

/* Microseconds of CPU time that SESSION has used; returns those for which it was held back. Both 0: not known. */
uint64_t limit_watch_read_cpu(const struct session *session, uint64_t *ret_usage_usec);

/*
 * What used the memory of a session that ran out of it, in words, the caller's; NULL when memory is short.
 * PEAK_BYTES 0: not known.
 */
char *limit_watch_describe_oom(const struct session *session, uint64_t peak_bytes);
