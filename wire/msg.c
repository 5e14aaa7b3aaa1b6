/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/msg.h"

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define FDS_LOST SIZE_MAX /* some, but nobody knows any more how many */

int msg_send(int sock, const struct msg_header *header, const int *fds, size_t n_fds)
{
	struct iovec iov = { .iov_base = (void *)(uintptr_t)header, .iov_len = header->length };
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * MSG_MAX_FDS)];
	} control = { 0 };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (n_fds > MSG_MAX_FDS || header->length > MSG_MAX_SIZE)
		return -EINVAL;
	if (n_fds > 0) {
		mh.msg_control = control.bytes;
		mh.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		struct cmsghdr *c = CMSG_FIRSTHDR(&mh);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fds);
	}
	ssize_t n = RETRY_EINTR(sendmsg(sock, &mh, MSG_NOSIGNAL | MSG_DONTWAIT));
	if (n < 0)
		return -errno;
	return (size_t)n == header->length ? 0 : -EIO;
}

int msg_check(const void *bytes, size_t n, size_t n_fds, const struct msg_shape *shapes, size_t n_shapes)
{
	const struct msg_header *header = bytes;

	if (n < sizeof(*header) || header->length != n)
		return -EPROTO;
	if (header->version != MSG_VERSION)
		return -EPROTONOSUPPORT;
	for (size_t i = 0; i < n_shapes; i++) {
		const struct msg_shape *s = &shapes[i];
		if (s->op != header->op)
			continue;
		const bool fds_fit = n_fds == FDS_LOST ? s->max_fds > 0 : n_fds >= s->min_fds && n_fds <= s->max_fds;
		if (s->length != n || !fds_fit)
			return -EPROTO;
		return s->check ? s->check(bytes) : 0;
	}
	return -EPROTO;
}

/* Moves the descriptors of all control messages into MSG; those past the limit are closed and counted as a fault. */
static int take_fds(struct msghdr *mh, struct msg *msg)
{
	int fault = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int fd;
			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (msg->n_fds < MSG_MAX_FDS) {
				msg->fds[msg->n_fds++] = fd;
			} else {
				close_fd(fd);
				fault = -EPROTO;
			}
		}
	}
	/* Less than there was room for: the kernel could not open them here. */
	if (fault == 0 && mh->msg_flags & MSG_CTRUNC && msg->n_fds < MSG_MAX_FDS)
		fault = -EMFILE;
	return mh->msg_flags & MSG_TRUNC || (mh->msg_flags & MSG_CTRUNC && fault == 0) ? -EPROTO : fault;
}

int msg_recv(int sock, const struct msg_shape *shapes, size_t n_shapes, struct msg *ret)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * MSG_MAX_FDS)];
	} control;
	struct iovec iov = { .iov_base = ret->bytes, .iov_len = sizeof(ret->bytes) };
	struct msghdr mh = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes) };

	ret->n_fds = 0;
	ssize_t n = RETRY_EINTR(recvmsg(sock, &mh, MSG_CMSG_CLOEXEC | MSG_DONTWAIT));
	if (n < 0)
		return errno == ECONNRESET ? 0 : -errno;
	int r = take_fds(&mh, ret);
	/* An empty datagram with descriptors is no end of file. */
	if (n == 0 && r == 0 && ret->n_fds == 0)
		return 0;
	const int lost = r == -EMFILE ? r : 0;
	if (r == 0 || lost)
		r = msg_check(ret->bytes, (size_t)n, lost ? FDS_LOST : ret->n_fds, shapes, n_shapes);
	if (r < 0 || lost)
		msg_release(ret);
	return r < 0 ? r : lost ? lost : 1;
}

void msg_release(struct msg *msg)
{
	close_fds(msg->fds, msg->n_fds);
	msg->n_fds = 0;
}
