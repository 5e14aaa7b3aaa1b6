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
