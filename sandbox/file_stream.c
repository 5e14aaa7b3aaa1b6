/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes between files and the stream. The stream does not block; who waits for it also listens to control, which ends
 * a transfer by closing the channel.
 */
#include <poll.h>
#include <sys/sendfile.h>

#include "sandbox/file_child.h"

enum { SEND_BYTES = 1 << 20 }; /* in one call */

/* Waits until the stream is ready for EVENTS. */
static int wait_for(struct file_child *child, short events)
{
	struct pollfd fds[] = { { .fd = child->stream, .events = events },
		{ .fd = child->channel, .events = POLLIN } };

	int n = RETRY_EINTR(poll(fds, ARRAY_SIZE(fds), FILES_STALL_SECONDS * 1000));
	if (n < 0)
		return file_fail(child, -errno, "stream", "poll");
	if (n == 0)
		return file_fail(child, -ETIMEDOUT, "stream", "nothing moved for %d s", FILES_STALL_SECONDS);
	/* Control asks for nothing while a transfer is under way: this is its end. */
	if (fds[1].revents)
		return file_fail(child, -ECANCELED, "stream", "%s", "");
	return 0;
}

int stream_write(struct file_child *child, const void *bytes, size_t n)
{
	const uint8_t *from = bytes;

	while (n > 0) {
		ssize_t sent = RETRY_EINTR(write(child->stream, from, n));
		if (sent < 0 && errno != EAGAIN)
			return file_fail(child, -errno, "stream", "%s", "");
		int r = sent < 0 ? wait_for(child, POLLOUT) : 0;
		if (r < 0)
			return r;
		from += sent < 0 ? 0 : sent;
		n -= sent < 0 ? 0 : (size_t)sent;
	}
	return 0;
}

int stream_read(struct file_child *child, void *bytes, size_t n)
{
	for (;;) {
		/* Nobody asks for more than a buffer at once. */
		ssize_t got = RETRY_EINTR(read(child->stream, bytes, n));
		if (got >= 0)
			return (int)got;
		if (errno != EAGAIN)
			return file_fail(child, -errno, "stream", "%s", "");
		int r = wait_for(child, POLLIN);
		if (r < 0)
			return r;
	}
}

/* Where the kernel cannot send a file by itself. */
static int64_t send_copy(struct file_child *child, int file, uint64_t n)
{
	uint64_t sent = 0;

	while (sent < n) {
		uint64_t left = n - sent;
		ssize_t got = RETRY_EINTR(
			read(file, child->buffer, left < FILE_BUFFER_BYTES ? (size_t)left : FILE_BUFFER_BYTES));
		if (got < 0)
			return file_fail(child, -errno, "read", "%s", "");
		if (got == 0)
			break;
		int r = stream_write(child, child->buffer, (size_t)got);
		if (r < 0)
			return r;
		sent += (uint64_t)got;
	}
	return (int64_t)sent;
}

int64_t stream_send_file(struct file_child *child, int file, uint64_t n)
{
	uint64_t sent = 0;

	while (sent < n) {
		uint64_t left = n - sent;
		ssize_t r = RETRY_EINTR(
			sendfile(child->stream, file, NULL, left < SEND_BYTES ? (size_t)left : SEND_BYTES));
		if (r == 0)
			break;
		if (r > 0) {
			sent += (uint64_t)r;
		} else if (errno == EINVAL && sent == 0) {
			return send_copy(child, file, n);
		} else if (errno != EAGAIN) {
			return file_fail(child, -errno, "stream", "%s", "");
		} else if (wait_for(child, POLLOUT) < 0) {
			return child->err.num;
		}
	}
	return (int64_t)sent;
}

int64_t stream_receive_file(struct file_child *child, int file, uint64_t n)
{
	uint64_t received = 0;

	for (;;) {
		int got = stream_read(child, child->buffer, FILE_BUFFER_BYTES);
		if (got <= 0)
			return got < 0 ? got : (int64_t)received;
		if ((uint64_t)got > n - received)
			return file_fail(child, -EFBIG, "stream", "more than was announced");
		int r = file_write_at(file, child->buffer, (size_t)got, received);
		if (r < 0)
			return file_fail(child, r, "write", "%s", "");
		received += (uint64_t)got;
	}
}

int file_write_at(int file, const uint8_t *bytes, size_t n, uint64_t offset)
{
	while (n > 0) {
		ssize_t written = RETRY_EINTR(pwrite(file, bytes, n, (off_t)offset));
		if (written < 0)
			return -errno;
		bytes += written;
		offset += (uint64_t)written;
		n -= (size_t)written;
	}
	return 0;
}

int64_t file_copy(struct file_child *child, int from, int to, uint64_t n)
{
	uint64_t copied = 0;

	while (copied < n) {
		uint64_t left = n - copied;
		ssize_t got = RETRY_EINTR(
			read(from, child->buffer, left < FILE_BUFFER_BYTES ? (size_t)left : FILE_BUFFER_BYTES));
		if (got < 0)
			return file_fail(child, -errno, "read", "%s", "");
		if (got == 0)
			break;
		int r = file_write_at(to, child->buffer, (size_t)got, copied);
		if (r < 0)
			return file_fail(child, r, "write", "%s", "");
		copied += (uint64_t)got;
	}
	return (int64_t)copied;
}
