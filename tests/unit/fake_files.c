/* SPDX-License-Identifier: Apache-2.0 */
/* File children for tests of control: what they are asked is answered as the test wants, also wrongly. */
#include "unit.h"

#include "fake_host.h"

#include "wire/files.h"

void fake_files_start(struct fake_host *host, struct fake_session *session, struct msg *msg)
{
	struct init_started started = { .err = host->exec_error, .pid = 3 };

	assert_int_equal(msg->n_fds, 2);
	if (started.err.num == 0) {
		struct fake_files *child = calloc(1, sizeof(*child));
		*child = (struct fake_files){ .next = session->files, .id = msg->header.id, .channel = msg->fds[1] };
		msg->fds[1] = -1;
		session->files = child;
	}
	fake_put(session->init, &started, INIT_FILES | MSG_REPLY, msg->header.id, sizeof(started), NULL, 0);
}

static void child_free(struct fake_files *child)
{
	close_fd(child->channel);
	free(child);
}

static void answer(const struct fake_host *host, struct fake_files *child, const struct msg *msg)
{
	struct files_done done = { .attributes.mode = 0100644 };
	uint16_t op = msg->header.op;
	uint64_t id = msg->header.id;

	switch (host->files_fault) {
	case FILES_SILENT:
		return;
	case FILES_RUBBISH:
		assert_int_equal(write(child->channel, "rubbish", 7), 7);
		return;
	case FILES_WRONG_OP:
		op = op == FILES_STAT ? FILES_MKDIR : FILES_STAT;
		break;
	case FILES_WRONG_ID:
		id++;
		break;
	case FILES_CLOSED:
		close_fdp(&child->channel);
		return;
	case FILES_FAILS:
		err_set(&done.err, -ENOENT, "open", "%s", "");
		break;
	case FILES_MUCH:
		done.n_bytes = INT64_MAX;
		break;
	case FILES_TWICE:
		fake_put(child->channel, &done, op | MSG_REPLY, id, sizeof(done), NULL, 0);
		break;
	case FILES_WELL:
		break;
	}
	fake_put(child->channel, &done, op | MSG_REPLY, id, sizeof(done), NULL, 0);
}

bool fake_files_serve(struct fake_host *host, struct fake_session *session)
{
	struct msg msg;
	bool any = false;

	for (struct fake_files **at = &session->files, *child; (child = *at);) {
		int r = child->channel < 0 ? 0 : msg_recv(child->channel, files_requests, n_files_requests, &msg);
		if (r == 1) {
			host->n_files_asked++;
			answer(host, child, &msg);
			msg_release(&msg);
			any = true;
		}
		/* One whose channel has ended ends. */
		if (r == 0 && !session->frozen) {
			struct init_ev_exited ev = { .exec = child->id };
			if (session->init >= 0) {
				msg_init(&ev.header, INIT_EV_EXITED, 0, sizeof(ev));
				msg_send(session->init, &ev.header, NULL, 0);
			}
			*at = child->next;
			child_free(child);
			any = true;
			continue;
		}
		at = &child->next;
	}
	return any;
}

size_t fake_files_count(const struct fake_session *session)
{
	size_t n = 0;

	for (const struct fake_files *child = session->files; child; child = child->next)
		n++;
	return n;
}

void fake_files_free(struct fake_session *session)
{
	while (session->files) {
		struct fake_files *child = session->files;
		session->files = child->next;
		child_free(child);
	}
}
