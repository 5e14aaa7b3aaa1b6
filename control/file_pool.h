/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file children of a session (wire/files.h), and the jobs that they do. Control itself opens nothing inside.
 *
 * A child does one job at a time and runs as one user; it is kept for the next one for a while, because to ask one
 * that is there takes a fifth of the time that a new one takes. Whatever a file system in the session does to a child,
 * nobody else waits: a job that is not done in its time has failed, its child is killed, and as long as that has not
 * ended (one that waits for a dead file system may not for a long time) it counts as one of the session's.
 *
 *	file_pool.c		children and jobs
 *	file_methods.c		file.list, stat, read, write, mkdir, move, delete: one request, one answer
 *	file_transfer.c		streams: file.read and write of any size, archive.get and put, file.wait
 *	file_json.c		what clients see
 */
#pragma once

#include "control/session.h"
#include "wire/files.h"

enum {
	FILE_CHILDREN = 12, /* of a session at once */
	FILE_TRANSFERS = 8, /* of them for streams, so that a slow reader does not keep other calls from theirs */
	FILE_JOBS_WAITING = 256, /* of a session, for a child */
	FILE_USER_SIZE = 64, /* as in a spec */
};

#define FILE_CALL_SECONDS 30 /* for one request, unless the caller says otherwise */

struct file_worker;
struct file_job;

struct file_pool {
	struct session *session;
	struct list workers; /* file_worker.of_pool */
	struct list waiting; /* file_job.of_pool, first come first served */
	struct list transfers; /* of file_transfer.c */
	size_t n_workers, n_waiting, n_transfers;
};

/* Why a job was not done. */
struct file_failure {
	enum error_kind kind;
	bool retryable;
	struct err err; /* num 0: TEXT says it all */
	const char *text;
};

/*
 * A job, embedded in its owner, which fills the functions. After failed() the job is over; it is also over after
 * file_job_end(). The functions may end the job and free its owner.
 */
struct file_job {
	struct list of_pool; /* while it waits */
	struct file_pool *pool;
	struct file_worker *worker;
	char user[FILE_USER_SIZE]; /* "": the workload's */
	struct loop_timer deadline;
	/* A child is there: time to send the first request. */
	void (*begin)(struct file_job *job);
	void (*answered)(struct file_job *job, const struct files_done *done);
	void (*failed)(struct file_job *job, const struct file_failure *failure);
};

/* ---- file_transfer.c ---- */

/* Fails every transfer: the session has ended. */
void file_transfers_end(struct file_pool *pool);

/* ---- file_pool.c ---- */

/* The session's pool, made when it has none; NULL when memory is short. */
struct file_pool *file_pool_get(struct session *session);
/* Fails every job and lets go of every child: the session has ended. Harmless when there is no pool. */
void file_pool_end(struct session *session);

/*
 * Has JOB done as USER (NULL: the workload's) within NS (NEVER: for as long as it takes). begin() or failed() is
 * called, perhaps from here.
 */
void file_job_start(struct file_pool *pool, struct file_job *job, const char *user, uint64_t ns);

/* Sends a request to the job's child: HEADER is filled but for its id, the descriptors are borrowed. */
void file_job_send(struct file_job *job, struct msg_header *header, const int *fds, size_t n_fds);

/* Sets the job's time anew. */
void file_job_arm(struct file_job *job, uint64_t ns);

/* The job is over, answered or not: a child that still owes an answer, or holds something (HOLDS), is let go. */
void file_job_end(struct file_job *job, bool holds);
