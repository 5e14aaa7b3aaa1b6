/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ledger: which host resources exist for which session, in <run_dir>/ledger, so that a supervisor that starts
 * after a crash knows what to adopt and what to undo. An entry says which steps have begun, and says so before the
 * step does anything.
 *
 * One file, two places per slot, each with a sequence number and a checksum: a write goes to the older place, so that
 * one that was cut short leaves the newer intact. Only the supervisor may reach the file, and it trusts it only after
 * checking; a file of another boot describes nothing that still exists.
 *
 * Sessions outlive an upgrade, and so must what is written here: places have one size, with room. A later version may
 * add limits, and may use what is reserved, where zero stands for what was before; then it counts LEDGER_VERSION up.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "wire/super.h"

struct ledger_entry {
	uint32_t slot; /* from 1 */
	uint32_t steps_begun; /* rows of step_table; 0: the entry is free */
	uint32_t live; /* carrel-init has reported that the workload runs */
	uint32_t enforced; /* bit N: enum limit N */
	char id[NAME_SIZE];
	char template[NAME_SIZE];
	char volumes[SUPER_MAX_VOLUMES]
		    [NAME_SIZE]; /* held by it, in the order of its template's; empty: none there */
	int32_t pid; /* of carrel-init; 0 before it runs */
	uint32_t n_limits; /* that the version which wrote it knew; those beyond are read as unset */
	uint64_t
		pid_start_time; /* clock ticks after boot: with the boot id and the cgroup, the identity of a process */
	uint64_t started_ns; /* CLOCK_BOOTTIME */
	uint64_t reserved[8];
	struct limits limits; /* the last: there is room for more behind it */
};

struct ledger {
	int fd;
	uint32_t n_slots;
	uint64_t *sequences; /* the newest of each slot */
};

/*
 * Opens or makes the ledger below RUN_FD for slots 1..N_SLOTS. One of another boot is replaced by an empty one.
 * -EPROTONOSUPPORT for that of a later version, which is left as it is: only that one can take its sessions over.
 */
int ledger_open(int run_fd, uint32_t n_slots, const char *boot_id, struct ledger *ret);
void ledger_close(struct ledger *ledger);

/* Records ENTRY for its slot. 0 or a negative errno; after a failure the former entry still holds. */
int ledger_write(struct ledger *ledger, const struct ledger_entry *entry);

/* Frees the slot's entry. */
int ledger_clear(struct ledger *ledger, uint32_t slot);

/* The entry of SLOT: 1, or 0 when it is free. Strings are terminated and names valid. */
int ledger_read(struct ledger *ledger, uint32_t slot, struct ledger_entry *ret);
