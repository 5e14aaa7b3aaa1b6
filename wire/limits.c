/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/limits.h"

#define MIB (UINT64_C(1) << 20)
#define TIB (UINT64_C(1) << 40)

/* clang-format off */
const struct limit_row limit_table[LIMIT_COUNT] = {
	[LIMIT_MEMORY] = { "memory_bytes", "memory", "memory.max", CARRIER_CGROUP, 4 * MIB, 64 * TIB, LIMIT_UNSET, false, true, true,
		"hard limit of memory, page cache and tmpfs included; past it the session is killed as a whole" },
	[LIMIT_MEMORY_HIGH] = { "memory_high_bytes", "memory", "memory.high", CARRIER_CGROUP, 4 * MIB, 64 * TIB, LIMIT_UNSET, false, true, true,
		"above this the session is slowed and its memory reclaimed" },
	[LIMIT_MEMORY_LOW] = { "memory_low_bytes", "memory", "memory.low", CARRIER_CGROUP, 0, 64 * TIB, 0, false, true, true,
		"up to this memory is kept for the session when the host is short of it" },
	[LIMIT_SWAP] = { "swap_bytes", "memory", "memory.swap.max", CARRIER_CGROUP, 0, 64 * TIB, LIMIT_UNSET, false, true, true,
		"hard limit of swap" },
	[LIMIT_CPUS] = { "cpus", "cpu", "cpu.max", CARRIER_CGROUP_CPU, 10, 1024 * 1000, LIMIT_UNSET, true, true, true,
		"CPUs' worth of time per 100 ms" },
	[LIMIT_CPU_WEIGHT] = { "cpu_weight", "cpu", "cpu.weight", CARRIER_CGROUP, 1, 10000, 100, false, true, true,
		"share of contended CPU time, 100 by default" },
	[LIMIT_PIDS] = { "pids", "pids", "pids.max", CARRIER_CGROUP, 2, 4194304, LIMIT_UNSET, false, true, true,
		"processes and threads" },
	[LIMIT_ROOT_BYTES] = { "root_bytes", NULL, NULL, CARRIER_MOUNT, 1 * MIB, 64 * TIB, LIMIT_UNSET, false, false, true,
		"what may be written to the root file system" },
	[LIMIT_ROOT_INODES] = { "root_inodes", NULL, NULL, CARRIER_MOUNT, 64, UINT32_MAX, LIMIT_UNSET, false, false, true,
		"files that may be made in the root file system" },
	[LIMIT_SHM_BYTES] = { "shm_bytes", NULL, NULL, CARRIER_MOUNT, 4096, 64 * TIB, LIMIT_UNSET, false, false, true,
		"size of /dev/shm" },
	[LIMIT_OPEN_FILES] = { "open_files", NULL, NULL, CARRIER_RLIMIT, 16, 1 << 20, LIMIT_UNSET, false, false, true,
		"open descriptors of each process" },
	[LIMIT_IO_READ_BYTES] = { "io_read_bytes_per_second", "io", "io.max", CARRIER_CGROUP_IO, 4096, TIB, LIMIT_UNSET, false, true, true,
		"read from the disk that has the state directory", "rbps" },
	[LIMIT_IO_WRITE_BYTES] = { "io_write_bytes_per_second", "io", "io.max", CARRIER_CGROUP_IO, 4096, TIB, LIMIT_UNSET, false, true, true,
		"written to that disk", "wbps" },
	[LIMIT_IO_READS] = { "io_reads_per_second", "io", "io.max", CARRIER_CGROUP_IO, 1, UINT32_MAX, LIMIT_UNSET, false, true, true,
		"read operations on that disk", "riops" },
	[LIMIT_IO_WRITES] = { "io_writes_per_second", "io", "io.max", CARRIER_CGROUP_IO, 1, UINT32_MAX, LIMIT_UNSET, false, true, true,
		"write operations on that disk", "wiops" },
	[LIMIT_TERMINALS] = { "terminals", NULL, NULL, CARRIER_MOUNT, 1, 4096, 1024, false, false, true,
		"pseudo-terminals, 1024 by default" },
	[LIMIT_INOTIFY_INSTANCES] = { "inotify_instances", NULL, "max_inotify_instances", CARRIER_USER, 0, INT32_MAX, LIMIT_UNSET, false, false, true,
		"inotify instances of each user of the session; all of them together have the host's fs.inotify.max_user_instances" },
	[LIMIT_INOTIFY_WATCHES] = { "inotify_watches", NULL, "max_inotify_watches", CARRIER_USER, 0, INT32_MAX, LIMIT_UNSET, false, false, true,
		"inotify watches, likewise" },
	[LIMIT_USER_NAMESPACES] = { "user_namespaces", NULL, "max_user_namespaces", CARRIER_USER, 0, INT32_MAX, LIMIT_UNSET, false, false, true,
		"user namespaces that each user of the session may make" },
	[LIMIT_MOUNT_NAMESPACES] = { "mount_namespaces", NULL, "max_mnt_namespaces", CARRIER_USER, 0, INT32_MAX, LIMIT_UNSET, false, false, true,
		"mount namespaces, likewise" },
	[LIMIT_NETWORK_NAMESPACES] = { "network_namespaces", NULL, "max_net_namespaces", CARRIER_USER, 0, INT32_MAX, LIMIT_UNSET, false, false, true,
		"network namespaces, likewise; the session's own is one of them" },
	/* The kernel counts nanoseconds times bytes in 64 bits; 8 GiB in a second are more than a veth carries. */
	[LIMIT_NETWORK_RX] = { "network_rx_bytes_per_second", NULL, NULL, CARRIER_NETWORK, 4096, 8192 * MIB, LIMIT_UNSET, false, true, true,
		"received by the session, IPv4 and IPv6 together; what is more is dropped" },
	[LIMIT_NETWORK_TX] = { "network_tx_bytes_per_second", NULL, NULL, CARRIER_NETWORK, 4096, 8192 * MIB, LIMIT_UNSET, false, true, true,
		"sent by the session, likewise" },
};
/* clang-format on */

void limits_clear(struct limits *limits)
{
	for (size_t i = 0; i < LIMIT_COUNT; i++)
		limits->value[i] = LIMIT_UNSET;
}

uint64_t limit_ceiling(const struct limits *template, enum limit limit)
{
	const struct limit_row *row = &limit_table[limit];

	if (!row->is_ceiling)
		return LIMIT_UNSET;
	return template->value[limit] == LIMIT_UNSET ? row->absent : template->value[limit];
}

int limits_merge(const struct limits *template, const struct limits *request, struct limits *ret, enum limit *ret_bad)
{
	struct limits merged;

	for (enum limit i = 0; i < LIMIT_COUNT; i++) {
		const struct limit_row *row = &limit_table[i];
		uint64_t asked = request->value[i], ceiling = limit_ceiling(template, i);

		merged.value[i] = asked == LIMIT_UNSET ? template->value[i] : asked;
		if (asked == LIMIT_UNSET)
			continue;
		if (asked < row->min || asked > row->max) {
			*ret_bad = i;
			return -ERANGE;
		}
		if (ceiling != LIMIT_UNSET && asked > ceiling) {
			*ret_bad = i;
			return -EPERM;
		}
	}
	*ret = merged;
	return 0;
}
