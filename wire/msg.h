/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Framing of every private channel (control–supervisor, control–init, init–supervisor): one SOCK_SEQPACKET datagram
 * is one message, a fixed-size struct that starts with a msg_header. There is no trailing data, no pointer, no
 * offset and no size_t in a message; strings are arrays that must hold a NUL; descriptors travel by SCM_RIGHTS in a
 * number that the operation fixes. A table of shapes says all this for each operation, and msg_recv checks a
 * message against it before anybody reads a member. A message that does not fit ends the peer.
 */
#pragma once

#include "wire/def.h"

/*
 * MSG_VERSION is that of what is said to carrel-init (wire/init.h, files.h, spec.h), which lives on when control and
 * carreld are upgraded: raised with every change there, it leaves the sessions of before running and out of reach,
 * instead of misunderstood. Control and carreld compare their whole versions when they greet each other.
 */
enum {
	MSG_VERSION = 1,
	MSG_MAX_SIZE = 16384, /* no private message is larger */
	MSG_MAX_FDS = 8,
	MSG_REPLY = 0x8000, /* the answer to operation N is N | MSG_REPLY and has its id */
};

struct msg_header {
	uint16_t version; /* MSG_VERSION */
	uint16_t op;
	uint32_t length; /* of the whole message, this header included */
	uint64_t id; /* chosen by who asks, counted up, repeated in the answer; 0 in an event */
};
_Static_assert(sizeof(struct msg_header) == 16, "part of the protocol");

struct msg_shape {
	uint16_t op;
	uint8_t min_fds, max_fds;
	uint32_t length;
	const char *name;
	int (*check)(const void *msg); /* NULL, or 0 / -EPROTO: strings terminated, enums and counts in range */
};

/* For these checks: the string MEMBER of M holds a NUL; what a check returns. */
#define TERMINATED(m, member) is_terminated((m)->member, sizeof((m)->member))
#define FITS(condition) ((condition) ? 0 : -EPROTO)

/* A received message; the descriptors belong to it until stolen. */
struct msg {
	union {
		struct msg_header header;
		uint64_t align;
		uint8_t bytes[MSG_MAX_SIZE];
	};
	size_t n_fds;
	int fds[MSG_MAX_FDS];
};

/*
 * Sends one message; HEADER is the first member of a struct of header->length bytes. Never blocks and never raises
 * SIGPIPE. 0, -EAGAIN when the peer's queue is full, -EPIPE/-ECONNRESET when it is gone. The descriptors are only
 * borrowed.
 */
int msg_send(int sock, const struct msg_header *header, const int *fds, size_t n_fds);

/*
 * Receives one message and checks it against SHAPES. 1 with RET filled, 0 at end of file, -EAGAIN when there is
 * none, -EPROTONOSUPPORT when it is of another version, -EPROTO when it fits no shape (its descriptors are closed),
 * else a negative errno. RET's descriptors are the caller's to take or to release with msg_release(). -EMFILE: RET is
 * filled and fits, but its descriptors are lost, because this process has no room for them; it has none.
 */
int msg_recv(int sock, const struct msg_shape *shapes, size_t n_shapes, struct msg *ret);

/* Closes the descriptors that were not stolen. */
void msg_release(struct msg *msg);

/* Fills a header; LENGTH is the size of the whole struct. */
static inline void msg_init(struct msg_header *header, uint16_t op, uint64_t id, size_t length)
{
	*header = (struct msg_header){ .version = MSG_VERSION, .op = op, .length = (uint32_t)length, .id = id };
}

/* Empties the whole of the struct that MSG points to, padding and all, and fills its header. */
#define msg_begin(msg, op, id) \
	(memset((msg), 0, sizeof(*(msg))), msg_init(&(msg)->header, (op), (id), sizeof(*(msg))))

/* The check behind msg_recv, for fuzzing: 0, -EPROTONOSUPPORT or -EPROTO. */
int msg_check(const void *bytes, size_t n, size_t n_fds, const struct msg_shape *shapes, size_t n_shapes);
