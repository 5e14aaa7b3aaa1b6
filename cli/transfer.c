/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/transfer.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "cli/format.h"
#include "wire/def.h"

enum {
	SHOW_AFTER_MS = 1000, /* what is quicker needs no progress */
	SHOW_EVERY_MS = 200,
	CHUNK = 1 << 20,
	NAME_COLUMNS = 30,
};

void transfer_begin(struct transfer *transfer, const struct term *term, const char *name, uint64_t total)
{
	*transfer = (struct transfer){ .term = term, .name = name, .total = total, .started_ms = monotonic_ms() };
}

static void show(struct transfer *transfer, int64_t now)
{
	char done[FORMAT_SIZE], all[FORMAT_SIZE], rate[FORMAT_SIZE];
	double seconds = (double)(now - transfer->started_ms) / 1000;

	_free_ char *name = term_text(transfer->term, transfer->name);
	struct fit fit = term_fit(transfer->term, name ? name : "", NAME_COLUMNS);
	fprintf(stderr, "\r%.*s%s  %s", (int)fit.bytes, name ? name : "", fit.mark,
		format_bytes(done, transfer->bytes));
	if (transfer->total > 0)
		fprintf(stderr, " of %s, %d %%", format_bytes(all, transfer->total),
			(int)(100.0 * (double)transfer->bytes / (double)transfer->total));
	/* Erase to the end of the line: the one before may have been longer. */
	fprintf(stderr, "  %s/s\033[K", format_bytes(rate, (uint64_t)((double)transfer->bytes / seconds)));
	fflush(stderr);
	transfer->shown_ms = now;
}

void transfer_add(struct transfer *transfer, uint64_t n)
{
	transfer->bytes += n;
	if (!transfer->term || !transfer->term->tty)
		return;
	int64_t now = monotonic_ms();
	if (now - transfer->started_ms >= SHOW_AFTER_MS && now - transfer->shown_ms >= SHOW_EVERY_MS)
		show(transfer, now);
}

void transfer_end(struct transfer *transfer)
{
	if (transfer->shown_ms)
		fputs("\r\033[K", stderr);
	transfer->shown_ms = 0;
}

/* Waits until FD, which would block, takes or gives more. */
static int wait_for(int fd, short events)
{
	struct pollfd poll_fd = { .fd = fd, .events = events };

	return RETRY_EINTR(poll(&poll_fd, 1, -1)) < 0 ? -errno : 0;
}

int write_all(int fd, const void *bytes, size_t n)
{
	const char *at = bytes;
	int r = 0;

	while (r == 0 && n > 0) {
		ssize_t written = RETRY_EINTR(write(fd, at, n));
		if (written >= 0) {
			at += written;
			n -= (size_t)written;
		} else {
			r = errno == EAGAIN ? wait_for(fd, POLLOUT) : -errno;
		}
	}
	return r;
}

/* Through a pipe, without a copy into this process. 1: the kernel cannot, and nothing was moved. */
static int splice_all(struct transfer *transfer, int in, int out)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return 1;
	_close_ int reader = ends[0], writer = ends[1];
	fcntl(writer, F_SETPIPE_SZ, CHUNK); /* a smaller one does, too */
	for (bool begun = false;; begun = true) {
		ssize_t n = RETRY_EINTR(splice(in, NULL, writer, NULL, CHUNK, SPLICE_F_MOVE));
		if (n <= 0)
			return n == 0 ? 0 : begun ? -errno : 1;
		while (n > 0) {
			ssize_t moved = RETRY_EINTR(splice(reader, NULL, out, NULL, (size_t)n, SPLICE_F_MOVE));
			if (moved <= 0)
				return moved < 0 ? -errno : -EIO;
			n -= moved;
			transfer_add(transfer, (uint64_t)moved);
		}
	}
}

/* Whether it can be spliced to: what is appended to, and a terminal, cannot. */
static bool is_plain_file(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && !(fcntl(fd, F_GETFL) & O_APPEND);
}

int transfer_all(struct transfer *transfer, int in, int out)
{
	if (is_plain_file(out)) {
		int r = splice_all(transfer, in, out);
		if (r <= 0)
			return r;
	}

	_free_ char *buffer = malloc(CHUNK);

	if (!buffer)
		return -ENOMEM;
	for (;;) {
		ssize_t n = RETRY_EINTR(read(in, buffer, CHUNK));
		int r = n < 0 ? -errno : 0;
		if (r == -EAGAIN)
			r = wait_for(in, POLLIN);
		else if (n == 0)
			return 0;
		else if (r == 0)
			r = write_all(out, buffer, (size_t)n);
		if (r < 0)
			return r;
		if (n > 0)
			transfer_add(transfer, (uint64_t)n);
	}
}
