/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The output of a session's workload: a file of fixed size on the host's /run, made by the supervisor, written by
 * init through a shared mapping (it closes the descriptor before the workload starts, so that nobody in the session
 * can make the file grow) and read by control with pread, as hostile bytes. It outlives init, so the last lines and
 * the exit status of a session are there however it ended.
 *
 * A ring of records behind a header. Positions count bytes ever written and never wrap; a record is at position
 * modulo the ring's size, padded to 8 bytes; one that would pass the end of the ring goes on at its start.
 */
#pragma once

#include <stdatomic.h>

#include "wire/def.h"

enum {
	OUTPUT_VERSION = 1,
	OUTPUT_FILE_BYTES = 256 * 1024, /* header and ring */
	OUTPUT_MAX_RECORD = 4096, /* bytes of data in one record */
};

#define OUTPUT_MAGIC UINT32_C(0x636f7574)

enum output_stream {
	OUTPUT_STDOUT = 1,
	OUTPUT_STDERR = 2,
	OUTPUT_INIT = 3, /* a line of init's own: what it could not do, what it dropped */
};

enum workload_state {
	WORKLOAD_NONE,
	WORKLOAD_RUNNING,
	WORKLOAD_EXITED, /* exit_code is valid */
	WORKLOAD_SIGNALED, /* signal is valid */
};

struct output_header {
	uint32_t magic, version;
	uint64_t ring_bytes;
	_Atomic uint64_t head; /* position after the newest record */
	_Atomic uint64_t tail; /* position of the oldest whole record */
	_Atomic uint64_t
		dropped_bytes; /* overwritten before anybody could be sure to have read them: all that left the ring */
	_Atomic uint32_t workload; /* enum workload_state */
	int32_t exit_code, signal;
	uint64_t ended_realtime_ns;
	uint8_t reserved[8];
};
_Static_assert(sizeof(struct output_header) % 8 == 0, "records are aligned");

struct output_record {
	uint32_t length; /* of the data that follows, without padding */
	uint32_t stream; /* enum output_stream */
	uint64_t realtime_ns;
};

/* Writer (init): prepares the mapping of a zero-filled file of N bytes. */
void output_format(struct output_header *header, size_t n);

/* Appends data, cut into records; overwrites the oldest. Never fails. */
void output_append(
	struct output_header *header, enum output_stream stream, uint64_t realtime_ns, const void *data, size_t n);

/* Reader (control): what the header said at one moment, already checked. */
struct output_state {
	uint64_t ring_bytes, head, tail, dropped_bytes;
	enum workload_state workload;
	int exit_code, signal;
	uint64_t ended_realtime_ns;
};

/* 0, or -EPROTO when the file is no such ring; FD is borrowed. */
int output_read_state(int fd, struct output_state *ret);

/*
 * The first record at or after *POSITION (0: the oldest there is). 1 with the record, its data in DATA (of
 * OUTPUT_MAX_RECORD bytes), *POSITION moved behind it and *RET_SKIPPED set to the bytes that had been overwritten
 * before it; 0 when there is none yet; -EPROTO for rubbish.
 */
int output_read(int fd, uint64_t *position, struct output_record *ret, uint8_t *data, uint64_t *ret_skipped);
