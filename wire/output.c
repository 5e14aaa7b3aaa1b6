/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/output.h"

#include <stdbool.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* since Linux 5.14; headers of musl's are older */
#endif

/*
 * One writer, any number of readers, who never wait for each other. The writer moves the tail before it
 * overwrites what lies behind it, and the head after what lies before it is written. A reader copies a record and
 * then looks at the tail again: if it has passed the record's start, the copy is worthless and he starts again
 * from the new tail.
 */

enum {
	MIN_RING_BYTES = 2 * (OUTPUT_MAX_RECORD + sizeof(struct output_record)),
	MAX_RING_BYTES = OUTPUT_FILE_BYTES - sizeof(struct output_header),
	/* A reader who was overtaken so often comes back later rather than racing a flood. */
	MAX_ATTEMPTS = 16,
};

static uint64_t record_bytes(uint32_t length)
{
	return sizeof(struct output_record) + (((uint64_t)length + 7) & ~UINT64_C(7));
}

void output_format(struct output_header *header, size_t n)
{
	header->magic = OUTPUT_MAGIC;
	header->version = OUTPUT_VERSION;
	header->ring_bytes = (n - sizeof(*header)) & ~UINT64_C(7);
}

/* ---- writer ---- */

static void ring_put(struct output_header *header, uint64_t position, const void *data, size_t n)
{
	uint8_t *ring = (uint8_t *)(header + 1);
	size_t at = position % header->ring_bytes, first = header->ring_bytes - at;

	if (first > n)
		first = n;
	memcpy(ring + at, data, first);
	memcpy(ring, (const uint8_t *)data + first, n - first);
}

/*
 * The file has no pages until they are written to, and where the host's memory file system has no room for one that
 * would be a SIGBUS. In the first lap they are asked for (madvise(2), MADV_POPULATE_WRITE): true when they are there.
 */
static bool has_pages(struct output_header *header, uint64_t position, uint64_t n)
{
	const uintptr_t ring = (uintptr_t)(header + 1), page = (uintptr_t)sysconf(_SC_PAGESIZE);

	if (position >= header->ring_bytes)
		return true;
	if (n > header->ring_bytes - position)
		n = header->ring_bytes - position;
	const uintptr_t from = (ring + position) & ~(page - 1);
	return madvise((void *)from, ring + position + n - from, MADV_POPULATE_WRITE) == 0 || errno == EINVAL;
}

static void drop(struct output_header *header, uint64_t n)
{
	uint64_t dropped = atomic_load_explicit(&header->dropped_bytes, memory_order_relaxed);

	atomic_store_explicit(&header->dropped_bytes, dropped + n, memory_order_relaxed);
}

static uint32_t ring_record_length(const struct output_header *header, uint64_t position)
{
	uint32_t length;

	/* Positions are multiples of 8, and so is the ring's size: a record's first 8 bytes are never split. */
	memcpy(&length, (const uint8_t *)(header + 1) + position % header->ring_bytes, sizeof(length));
	return length;
}

/* Gives up the oldest records until NEEDED bytes are free. */
static void make_room(struct output_header *header, uint64_t head, uint64_t needed)
{
	uint64_t tail = atomic_load_explicit(&header->tail, memory_order_relaxed);
	uint64_t dropped = atomic_load_explicit(&header->dropped_bytes, memory_order_relaxed);

	if (head + needed - tail <= header->ring_bytes)
		return;
	while (head + needed - tail > header->ring_bytes && tail < head) {
		uint32_t length = ring_record_length(header, tail);
		tail += record_bytes(length);
		dropped += length;
	}
	/* Only rubbish in the ring leads past the head; then all of it is given up. */
	atomic_store_explicit(&header->tail, tail < head ? tail : head, memory_order_relaxed);
	atomic_store_explicit(&header->dropped_bytes, dropped, memory_order_relaxed);
	/* Whoever sees a byte of what is written next sees this tail. */
	atomic_thread_fence(memory_order_seq_cst);
}

void output_append(
	struct output_header *header, enum output_stream stream, uint64_t realtime_ns, const void *data, size_t n)
{
	const uint8_t *bytes = data;

	while (n > 0) {
		struct output_record record = {
			.length = n < OUTPUT_MAX_RECORD ? (uint32_t)n : OUTPUT_MAX_RECORD,
			.stream = stream,
			.realtime_ns = realtime_ns,
		};
		uint64_t head = atomic_load_explicit(&header->head, memory_order_relaxed);

		if (!has_pages(header, head, record_bytes(record.length))) {
			drop(header, n);
			return;
		}
		make_room(header, head, record_bytes(record.length));
		ring_put(header, head, &record, sizeof(record));
		ring_put(header, head + sizeof(record), bytes, record.length);
		atomic_store_explicit(&header->head, head + record_bytes(record.length), memory_order_release);
		bytes += record.length;
		n -= record.length;
	}
}

/* ---- reader: every byte is hostile ---- */

static int read_exactly(int fd, void *buffer, size_t n, uint64_t offset)
{
	while (n > 0) {
		ssize_t got = RETRY_EINTR(pread(fd, buffer, n, (off_t)offset));
		if (got < 0)
			return -errno;
		if (got == 0)
			return -EPROTO;
		buffer = (uint8_t *)buffer + got;
		n -= (size_t)got;
		offset += (size_t)got;
	}
	return 0;
}

/* Positions that a writer could have written, provided that both were read at the same moment. */
static bool positions_fit(const struct output_state *state)
{
	return state->tail <= state->head && state->head - state->tail <= state->ring_bytes;
}

static int read_header(int fd, struct output_state *ret)
{
	struct output_header h;

	int r = read_exactly(fd, &h, sizeof(h), 0);
	if (r < 0)
		return r;
	*ret = (struct output_state){
		.ring_bytes = h.ring_bytes,
		.head = atomic_load_explicit(&h.head, memory_order_relaxed),
		.tail = atomic_load_explicit(&h.tail, memory_order_relaxed),
		.dropped_bytes = atomic_load_explicit(&h.dropped_bytes, memory_order_relaxed),
		.workload = atomic_load_explicit(&h.workload, memory_order_relaxed),
		.exit_code = h.exit_code,
		.signal = h.signal,
		.ended_realtime_ns = h.ended_realtime_ns,
	};
	if (h.magic != OUTPUT_MAGIC || h.version != OUTPUT_VERSION || h.ring_bytes < MIN_RING_BYTES ||
		h.ring_bytes > MAX_RING_BYTES || h.ring_bytes % 8 != 0 || ret->head % 8 != 0 || ret->tail % 8 != 0 ||
		ret->head > INT64_MAX || ret->workload > WORKLOAD_SIGNALED || h.exit_code < 0 || h.exit_code > 255 ||
		h.signal < 0 || h.signal > 64)
		return -EPROTO;
	return 0;
}

int output_read_state(int fd, struct output_state *ret)
{
	struct output_state state;
	bool seen_ended = false;

	/* pread(2) copies a header that is being written to: not all of it was true at the same moment. */
	for (int i = 0; i < MAX_ATTEMPTS; i++) {
		int r = read_header(fd, &state);
		if (r < 0)
			return r;
		/* How the workload ended was written before the fact that it did: read again after seeing that. */
		bool ended = state.workload >= WORKLOAD_EXITED;
		if (positions_fit(&state) && ended == seen_ended) {
			*ret = state;
			return 0;
		}
		seen_ended = ended;
	}
	return -EPROTO;
}

/* Copies N bytes from a position of the ring, around its end. */
static int ring_get(int fd, uint64_t ring_bytes, uint64_t position, void *buffer, size_t n)
{
	size_t at = position % ring_bytes, first = ring_bytes - at;

	if (first > n)
		first = n;
	int r = read_exactly(fd, buffer, first, sizeof(struct output_header) + at);
	if (r < 0)
		return r;
	return read_exactly(fd, (uint8_t *)buffer + first, n - first, sizeof(struct output_header));
}

/* Copies the record at POSITION. -EPROTO when it makes no sense; also when it is being overwritten. */
static int copy_record(
	int fd, const struct output_state *state, uint64_t position, struct output_record *record, uint8_t *data)
{
	if (state->head - position < sizeof(*record))
		return -EPROTO;
	int r = ring_get(fd, state->ring_bytes, position, record, sizeof(*record));
	if (r < 0)
		return r;
	if (record->length == 0 || record->length > OUTPUT_MAX_RECORD || record->stream < OUTPUT_STDOUT ||
		record->stream > OUTPUT_INIT || record_bytes(record->length) > state->head - position)
		return -EPROTO;
	return ring_get(fd, state->ring_bytes, position + sizeof(*record), data, record->length);
}

int output_read(int fd, uint64_t *position, struct output_record *ret, uint8_t *data, uint64_t *ret_skipped)
{
	const uint64_t asked = *position;
	struct output_state state;
	struct output_record record;

	int r = output_read_state(fd, &state);
	if (r < 0)
		return r;
	for (int i = 0; i < MAX_ATTEMPTS; i++) {
		uint64_t at = asked > state.tail ? asked : state.tail;
		if (at > state.head || at % 8 != 0)
			return -EPROTO;
		if (at == state.head)
			return 0;
		int copied = copy_record(fd, &state, at, &record, data);
		atomic_thread_fence(memory_order_seq_cst);
		r = output_read_state(fd, &state);
		if (r < 0)
			return r;
		if (state.tail > at)
			continue;
		if (copied < 0)
			return copied;
		*position = at + record_bytes(record.length);
		*ret_skipped = at - asked;
		*ret = record;
		return 1;
	}
	return 0;
}
