/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A session's use of the host, read from its cgroup (v2) when somebody asks.
 */
#pragma once

#include <jansson.h>

/*
 * {memory, cpu, pids, io, pressure}, a new reference; null for what the host does not count. CGROUP_FD is the
 * directory of the session's cgroup, borrowed; a negative one has nothing. The files are the kernel's own.
 */
json_t *stats_read(int cgroup_fd);
