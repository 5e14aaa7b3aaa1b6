/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A session's use of the host, read from its cgroup (v2) and the host's list of interfaces when somebody asks.
 */
#pragma once

#include <jansson.h>
#include <stdint.h>

/*
 * {memory, cpu, pids, io, pressure}, a new reference; null for what the host does not count. CGROUP_FD is the
 * directory of the session's cgroup, borrowed; a negative one has nothing. The files are the kernel's own.
 */
json_t *stats_read(int cgroup_fd);

/*
 * What the session in SLOT sent and received, as the host's end of its link counts it, a new reference; null when it has
 * none. NET_DEV_FD is /proc/self/net/dev, borrowed: reading it takes no lock that creations wait for, needs no
 * privilege, and shows the network namespace of who opened it.
 */
json_t *stats_network(int net_dev_fd, uint32_t slot);
