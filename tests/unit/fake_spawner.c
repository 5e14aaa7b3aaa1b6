/* SPDX-License-Identifier: Apache-2.0 */
/* A session's spawner for tests of control: what it is ordered is carried out as the test wants, or lied about. */
#include "unit.h"

#include "fake_host.h"

#include <signal.h>

void fake_spawner_start(struct fake_host *host, struct fake_session *session, struct msg *msg)
{
	struct init_started started = { .pid = 3 };

	if (host->spawner_fault == SPAWNER_NONE) {
		err_set(&started.err, -EAGAIN, "spawn", "fork");
	} else {
		assert_int_equal(session->spawner, -1);
		session->spawner = steal_fd(&msg->fds[0]);
		session->spawner_id = msg->header.id;
	}
	fake_put(session->init, &started, INIT_SPAWNER | MSG_REPLY, msg->header.id, sizeof(started), NULL, 0);
	if (host->spawner_fault == SPAWNER_UNASKED)
		fake_put(session->spawner, &started, INIT_EXEC | MSG_REPLY, 0, sizeof(started), NULL, 0);
}

void fake_spawner_end(struct fake_session *session, int signal)
{
	struct init_ev_exited ev = { .exec = session->spawner_id, .exit_code = signal ? -1 : 0, .signal = signal };

	close_fdp(&session->spawner);
	session->spawner_id = 0;
	session->n_spawners_ended++;
	fake_put(session->init, &ev, INIT_EV_EXITED, 0, sizeof(ev), NULL, 0);
}

static void carry_out(const struct fake_host *host, struct fake_session *session, const struct msg *order)
{
	struct init_started started = { .pid = 4 };
	struct init_ev_exited ev = { .exec = order->header.id, .exit_code = host->exec_exit_code };

	fake_put(session->init, &ev, INIT_EV_EXITED, 0, sizeof(ev), NULL, 0);
	fake_put(session->spawner, &started, INIT_EXEC | MSG_REPLY, order->header.id, sizeof(started), NULL, 0);
	if (host->spawner_fault == SPAWNER_TWICE)
		fake_put(session->spawner, &started, INIT_EXEC | MSG_REPLY, order->header.id, sizeof(started), NULL, 0);
}

static void lie(enum spawner_fault fault, struct fake_session *session, const struct msg *order)
{
	struct init_started started = { .pid = 4 };
	const uint64_t id = order->header.id;

	switch (fault) {
	case SPAWNER_RUBBISH:
		assert_int_equal(write(session->spawner, "rubbish", 7), 7);
		break;
	case SPAWNER_WRONG_OP:
		fake_put(session->spawner, &started, INIT_SPAWNER | MSG_REPLY, id, sizeof(started), NULL, 0);
		break;
	case SPAWNER_WRONG_ID:
		fake_put(session->spawner, &started, INIT_EXEC | MSG_REPLY, id + 1, sizeof(started), NULL, 0);
		break;
	case SPAWNER_HANGS_UP:
		close_fdp(&session->spawner);
		break;
	case SPAWNER_DIES:
		fake_spawner_end(session, SIGKILL);
		break;
	default:
		fail();
	}
}

bool fake_spawner_serve(struct fake_host *host, struct fake_session *session)
{
	struct msg msg;
	int r = session->spawner < 0 ? -1 : msg_recv(session->spawner, init_requests, n_init_requests, &msg);

	if (r == 0)
		fake_spawner_end(session, 0);
	if (r != 1)
		return r == 0;
	assert_int_equal(msg.header.op, INIT_EXEC);
	assert_int_equal(msg.n_fds, 4);
	session->n_orders++;
	if (host->spawner_fault == SPAWNER_WELL || host->spawner_fault == SPAWNER_TWICE)
		carry_out(host, session, &msg);
	else
		lie(host->spawner_fault, session, &msg);
	msg_release(&msg);
	return true;
}
