/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Taking over from a supervisor that is no more. The ledger says what it had begun; a session is adopted when its
 * init is proved to be the process that was written down: this boot (the ledger checks it), the same start time, and
 * in the session's cgroup. Everything else is undone, by the same column of step_table as at any end.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <syslog.h>

#include "supervisor/supervisor.h"

enum { STAT_STARTTIME = 22 }; /* proc(5) */

uint64_t adopt_start_time(pid_t pid)
{
	char path[32], text[1024];

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	ssize_t n = read(fd, text, sizeof(text) - 1);
	text[n > 0 ? n : 0] = '\0';
	/* The second field is the program's name in parentheses and may hold anything; count from the last one. */
	char *field = strrchr(text, ')');
	for (int i = 2; field && i < STAT_STARTTIME; i++)
		field = strchr(field + 1, ' ');
	return field ? strtoull(field, NULL, 10) : 0;
}

/* Opens what a live session has. 0, or why it is not to be adopted. */
static int open_live(struct session *session)
{
	struct supervisor *super = session->super;
	const struct ledger_entry *e = &session->entry;

	session->dir_fd = openat(super->sessions_fd, e->id, OPEN_DIR);
	session->cgroup_fd = openat(super->cgroup_fd, e->id, OPEN_DIR);
	if (session->dir_fd < 0 || session->cgroup_fd < 0)
		return -errno;
	session->init_io.fd = (int)syscall(SYS_pidfd_open, e->pid, 0);
	if (session->init_io.fd < 0)
		return -errno;
	/* The pidfd holds whatever process it is now; what is read about it after this cannot be another's. */
	if (adopt_start_time(e->pid) != e->pid_start_time || !cgroup_contains(session, e->pid)) {
		close_fdp(&session->init_io.fd);
		return -ESRCH;
	}
	return session_watch(session);
}

static int adopt(struct supervisor *super, const struct ledger_entry *entry)
{
	struct session *session = session_new(super, entry);

	if (!session)
		return -ENOMEM;
	slots_claim(super, entry->slot);
	super->by_slot[entry->slot] = session;
	int r = entry->live && entry->steps_begun == n_steps ? open_live(session) : -ECANCELED;
	if (r == 0) {
		struct err err;
		session_adopted(session);
		if (network_set_rates(session, &entry->limits, &err) < 0)
			log_err(LOG_ERR, entry->id, &err);
		return 0;
	}
	log_line(LOG_NOTICE, "session %s: %s, undoing what is left of it", entry->id,
		entry->live ? "ended while nobody watched" : "was only half made");
	session_end(session);
	return 0;
}

int adopt_all(struct supervisor *super)
{
	for (uint32_t slot = 1; slot <= super->ledger.n_slots; slot++) {
		struct ledger_entry entry;
		if (!ledger_read(&super->ledger, slot, &entry))
			continue;
		/* Written by a version with other steps: undo all that there are. */
		if (entry.steps_begun > n_steps)
			entry.steps_begun = (uint32_t)n_steps;
		int r = adopt(super, &entry);
		if (r < 0)
			return r;
	}
	return 0;
}
