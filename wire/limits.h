/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The limits of a session: one enum, one struct of numbers, one table of what each is called in the API and which
 * cgroup v2 file or mount option carries it. Templates, requests, the supervisor and statistics all speak of limits
 * through this table.
 */
#pragma once

#include <stdbool.h>

#include "wire/def.h"

enum limit {
	LIMIT_MEMORY, /* memory.max */
	LIMIT_MEMORY_HIGH,
	LIMIT_MEMORY_LOW,
	LIMIT_SWAP,
	LIMIT_CPUS, /* thousandths of a CPU: 1500 is one and a half */
	LIMIT_CPU_WEIGHT,
	LIMIT_PIDS,
	LIMIT_ROOT_BYTES, /* the root's upper layer, a tmpfs */
	LIMIT_ROOT_INODES,
	LIMIT_SHM_BYTES, /* /dev/shm, charged to the session's memory */
	LIMIT_OPEN_FILES, /* RLIMIT_NOFILE of each process */
	LIMIT_IO_READ_BYTES, /* per second, from the device of the state directory */
	LIMIT_IO_WRITE_BYTES,
	LIMIT_IO_READS, /* operations per second */
	LIMIT_IO_WRITES,
	LIMIT_TERMINALS, /* max= of /dev/pts */
	LIMIT_INOTIFY_INSTANCES, /* these are counted for each user of the session's user namespace */
	LIMIT_INOTIFY_WATCHES,
	LIMIT_USER_NAMESPACES,
	LIMIT_MOUNT_NAMESPACES,
	LIMIT_NETWORK_NAMESPACES,
	LIMIT_NETWORK_RX, /* bytes per second to the session, by rules of the host's */
	LIMIT_NETWORK_TX, /* and from it */
	LIMIT_COUNT,
};

#define LIMIT_UNSET UINT64_MAX

struct limits {
	uint64_t value[LIMIT_COUNT]; /* LIMIT_UNSET where nothing is said */
};

enum limit_carrier {
	CARRIER_CGROUP, /* a number into a cgroup file */
	CARRIER_CGROUP_CPU, /* "quota period" into cpu.max */
	CARRIER_CGROUP_IO, /* "device key=number" into io.max */
	CARRIER_MOUNT, /* size= or nr_inodes= of a tmpfs */
	CARRIER_RLIMIT,
	CARRIER_USER, /* a number into a file of /proc/sys/user, which each user namespace has its own of */
	CARRIER_NETWORK, /* a rule of nftables in the host's network namespace */
};

struct limit_row {
	const char *name; /* member of "limits" in templates and requests */
	const char *controller; /* cgroup controller that must be there for it to be enforced, or NULL */
	const char *file; /* in the session's cgroup or in /proc/sys/user, or NULL */
	enum limit_carrier carrier;
	uint64_t min, max; /* what a template or request may say */
	uint64_t absent; /* what holds where a template does not set it; LIMIT_UNSET: no limit */
	bool fractional; /* a JSON real, stored in thousandths */
	bool live; /* can be changed while the session runs */
	bool is_ceiling; /* a request may lower the template's value, never raise it */
	const char *help;
	const char *key; /* CARRIER_CGROUP_IO */
};

extern const struct limit_row limit_table[LIMIT_COUNT];

/* All LIMIT_UNSET. */
void limits_clear(struct limits *limits);

/* The most that a request may ask for of LIMIT under TEMPLATE; LIMIT_UNSET: whatever is in the table's range. */
uint64_t limit_ceiling(const struct limits *template, enum limit limit);

/*
 * What a session gets: REQUEST where set, else TEMPLATE. 0, or -EPERM with ret_bad at the first limit with which the
 * request would pass the template's ceiling, or -ERANGE for one outside the table's range.
 */
int limits_merge(
	const struct limits *template, const struct limits *request, struct limits *ret, enum limit *ret_bad);
