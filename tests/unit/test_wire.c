/* SPDX-License-Identifier: Apache-2.0 */
/* Framing, shapes, channels and the event loop. */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "wire/chan.h"
#include "wire/files.h"
#include "wire/init.h"
#include "wire/spec.h"
#include "wire/super.h"

static void pair(int fds[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
}

static int count_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static struct super_named named(uint16_t op, const char *id)
{
	struct super_named m;

	memset(&m, 0, sizeof(m));
	msg_init(&m.header, op, 7, sizeof(m));
	copy_string(m.id, sizeof(m.id), id);
	return m;
}

static void carries_messages_and_descriptors(void **state _unused_)
{
	int fds[2], before = count_fds();
	struct super_create create;
	struct msg msg;

	pair(fds);
	memset(&create, 0, sizeof(create));
	msg_init(&create.header, SUPER_CREATE, 1, sizeof(create));
	copy_string(create.id, sizeof(create.id), "sess-1");
	copy_string(create.template, sizeof(create.template), "minimal");
	assert_int_equal(msg_recv(fds[1], super_requests, n_super_requests, &msg), -EAGAIN);
	assert_int_equal(msg_send(fds[0], &create.header, &fds[0], 1), 0);
	assert_int_equal(msg_recv(fds[1], super_requests, n_super_requests, &msg), 1);
	assert_int_equal(msg.n_fds, 1);
	assert_int_equal(fcntl(msg.fds[0], F_GETFD), FD_CLOEXEC);
	assert_memory_equal(msg.bytes, &create, sizeof(create));
	msg_release(&msg);
	close(fds[0]);
	assert_int_equal(msg_recv(fds[1], super_requests, n_super_requests, &msg), 0);
	close(fds[1]);
	assert_int_equal(count_fds(), before);
}

/* A process without room for descriptors hears of the message, and can answer it. */
static void loses_descriptors_alone(void **state _unused_)
{
	struct super_named kill = named(SUPER_KILL, "sess-1");
	struct rlimit limit, none;
	struct super_create create;
	struct msg msg;
	int fds[2];

	pair(fds);
	memset(&create, 0, sizeof(create));
	msg_init(&create.header, SUPER_CREATE, 1, sizeof(create));
	copy_string(create.id, sizeof(create.id), "sess-1");
	copy_string(create.template, sizeof(create.template), "minimal");
	assert_int_equal(msg_send(fds[0], &create.header, &fds[0], 1), 0);
	assert_int_equal(msg_send(fds[0], &kill.header, &fds[0], 1), 0);
	const int before = count_fds();
	assert_return_code(getrlimit(RLIMIT_NOFILE, &limit), errno);
	none = (struct rlimit){ .rlim_cur = 0, .rlim_max = limit.rlim_max };
	assert_return_code(setrlimit(RLIMIT_NOFILE, &none), errno);
	int r = msg_recv(fds[1], super_requests, n_super_requests, &msg);
	int unexpected = msg_recv(fds[1], super_requests, n_super_requests, &(struct msg){ 0 });
	assert_return_code(setrlimit(RLIMIT_NOFILE, &limit), errno);
	assert_int_equal(r, -EMFILE);
	assert_int_equal(msg.n_fds, 0);
	assert_memory_equal(msg.bytes, &create, sizeof(create));
	assert_int_equal(unexpected, -EPROTO);
	assert_int_equal(count_fds(), before);
	close_fds(fds, 2);
}

/*
 * Every session has an init of the version that began it: whoever changes a number here has changed what is said to
 * it, and counts MSG_VERSION up.
 */
static void what_is_said_to_init_has_a_version(void **state _unused_)
{
	const struct {
		const struct msg_shape *shapes;
		size_t n;
	} tables[] = { { init_requests, n_init_requests }, { init_answers, n_init_answers },
		{ files_requests, n_files_requests }, { files_answers, n_files_answers } };
	uint64_t sum = sizeof(struct spec_header) + SPEC_VERSION;

	for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
		for (size_t j = 0; j < tables[i].n; j++) {
			const struct msg_shape *s = &tables[i].shapes[j];
			const uint32_t numbers[] = { s->op, s->length, s->min_fds, s->max_fds };
			for (size_t k = 0; k < ARRAY_SIZE(numbers); k++)
				sum = (sum ^ numbers[k]) * UINT64_C(0x100000001b3);
		}
	}
	assert_int_equal(MSG_VERSION, 1);
	assert_int_equal(sum, UINT64_C(0x15d4c6c078fb886));
}

/* Each is refused and leaves no descriptor behind. */
static void refuses_what_fits_no_shape(void **state _unused_)
{
	int fds[2], before;
	struct super_named good = named(SUPER_KILL, "sess-1");
	struct super_named bad[7];
	struct msg msg;

	pair(fds);
	before = count_fds();
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		bad[i] = good;
	bad[0].header.version = 2;
	bad[1].header.op = 999;
	bad[2].header.op = SUPER_CREATE;
	memset(bad[3].id, 'a', sizeof(bad[3].id));
	copy_string(bad[4].id, sizeof(bad[4].id), "../etc");
	copy_string(bad[5].id, sizeof(bad[5].id), "");
	bad[6].header.op = SUPER_KILL | MSG_REPLY;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(msg_send(fds[0], &bad[i].header, NULL, 0), 0);
		assert_int_equal(msg_recv(fds[1], super_requests, n_super_requests, &msg),
			i == 0 ? -EPROTONOSUPPORT : -EPROTO);
	}
	/* Descriptors where there are to be none; a length that lies; a datagram that is cut. */
	assert_int_equal(msg_send(fds[0], &good.header, fds, 2), 0);
	assert_int_equal(msg_recv(fds[1], super_requests, n_super_requests, &msg), -EPROTO);
	assert_int_equal(send(fds[0], &good, sizeof(good) - 1, 0), sizeof(good) - 1);
	assert_int_equal(msg_recv(fds[1], super_requests, n_super_requests, &msg), -EPROTO);
	static uint8_t big[MSG_MAX_SIZE + 1];
	memcpy(big, &good, sizeof(good));
	assert_int_equal(send(fds[0], big, sizeof(big), 0), sizeof(big));
	assert_int_equal(msg_recv(fds[1], super_requests, n_super_requests, &msg), -EPROTO);
	assert_int_equal(count_fds(), before);
	close_fds(fds, 2);
}

static void names_are_strict(void **state _unused_)
{
	static const char *const good[] = { "a", "0", "sess-abc123", "a-" };
	static const char *const bad[] = { "", "-a", "A", "a_b", "a.b", "a/b", "ä", " a" };
	char longest[NAME_SIZE + 1];

	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		assert_true(name_is_valid(good[i]));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_false(name_is_valid(bad[i]));
	memset(longest, 'a', sizeof(longest));
	longest[NAME_SIZE] = '\0';
	assert_false(name_is_valid(longest));
	longest[NAME_SIZE - 1] = '\0';
	assert_true(name_is_valid(longest));
}

static void limits_are_ceilings(void **state _unused_)
{
	struct limits template, request, merged;
	enum limit bad;

	limits_clear(&template);
	limits_clear(&request);
	template.value[LIMIT_MEMORY] = 1 << 30;
	assert_int_equal(limits_merge(&template, &request, &merged, &bad), 0);
	assert_int_equal(merged.value[LIMIT_MEMORY], 1 << 30);
	request.value[LIMIT_MEMORY] = 1 << 29;
	request.value[LIMIT_PIDS] = 100;
	assert_int_equal(limits_merge(&template, &request, &merged, &bad), 0);
	assert_int_equal(merged.value[LIMIT_MEMORY], 1 << 29);
	assert_int_equal(merged.value[LIMIT_PIDS], 100);
	request.value[LIMIT_MEMORY] = UINT64_C(1) << 31;
	assert_int_equal(limits_merge(&template, &request, &merged, &bad), -EPERM);
	assert_int_equal(bad, LIMIT_MEMORY);
	request.value[LIMIT_MEMORY] = 1;
	assert_int_equal(limits_merge(&template, &request, &merged, &bad), -ERANGE);
}

/* ---- channels ---- */

struct side {
	struct chan chan;
	int received, closed, error;
	uint64_t last_id;
};

static void on_message(struct chan *chan, struct msg *msg)
{
	struct side *side = container_of(chan, struct side, chan);
	side->received++;
	side->last_id = msg->header.id;
}

static void on_closed(struct chan *chan, int error)
{
	struct side *side = container_of(chan, struct side, chan);
	side->closed++;
	side->error = error;
	chan->loop->stop = true;
}

static void open_side(struct side *side, struct loop *loop, int fd)
{
	*side = (struct side){ .chan = { .shapes = super_requests,
				       .n_shapes = n_super_requests,
				       .on_message = on_message,
				       .on_closed = on_closed } };
	assert_int_equal(chan_open(&side->chan, loop, fd), 0);
}

/* More than the socket takes is queued, in order and with descriptors; too much ends the channel's use. */
static void queues_in_order_and_is_bounded(void **state _unused_)
{
	int fds[2], before = count_fds();
	struct loop loop;
	struct side a, b;
	struct super_named m = named(SUPER_KILL, "sess-1");
	int r = 0, sent = 0;

	pair(fds);
	assert_int_equal(loop_open(&loop), 0);
	open_side(&a, &loop, fds[0]);
	while (r == 0) {
		m.header.id = (uint64_t)sent + 1;
		r = chan_send(&a.chan, &m.header, NULL, 0);
		sent += r == 0;
		assert_true(sent < 100000);
	}
	assert_int_equal(r, -ENOBUFS);
	assert_true(sent > CHAN_MAX_QUEUED);
	open_side(&b, &loop, fds[1]);
	/* a ends once its queue is out, which ends b's reading. */
	while (a.chan.n_queued > 0 || b.received < sent) {
		struct epoll_event ev;
		int n = epoll_wait(loop.epoll_fd, &ev, 1, 1000);
		assert_int_equal(n, 1);
		struct loop_io *io = ev.data.ptr;
		io->fn(io, ev.events);
	}
	assert_int_equal(b.last_id, sent);
	chan_close(&a.chan);
	assert_int_equal(loop_run(&loop), 0);
	assert_int_equal(b.closed, 1);
	assert_int_equal(b.error, 0);
	assert_int_equal(chan_send(&b.chan, &m.header, NULL, 0), -ENOTCONN);
	loop_close(&loop);
	assert_int_equal(count_fds(), before);
}

static void rubbish_closes_the_channel(void **state _unused_)
{
	int fds[2];
	struct loop loop;
	struct side b;

	pair(fds);
	assert_int_equal(loop_open(&loop), 0);
	open_side(&b, &loop, fds[1]);
	assert_int_equal(send(fds[0], "rubbish", 7, 0), 7);
	assert_int_equal(loop_run(&loop), 0);
	assert_int_equal(b.error, -EPROTO);
	assert_false(chan_is_open(&b.chan));
	close(fds[0]);
	loop_close(&loop);
}

/* ---- timers ---- */

enum { N_TIMERS = 200 };

struct alarm {
	struct loop_timer timer;
	struct loop *loop;
	uint64_t *last;
	int *fired;
};

static void on_alarm(struct loop_timer *timer)
{
	struct alarm *alarm = container_of(timer, struct alarm, timer);
	assert_true(timer->at_ns >= *alarm->last);
	assert_true(boottime_ns() >= timer->at_ns);
	*alarm->last = timer->at_ns;
	(*alarm->fired)++;
}

static void stop(struct loop_timer *timer)
{
	container_of(timer, struct alarm, timer)->loop->stop = true;
}

static void timers_fire_in_order(void **state _unused_)
{
	static struct alarm alarms[N_TIMERS];
	struct loop loop;
	uint64_t last = 0, now;
	int fired = 0;
	unsigned int seed = 1;

	assert_int_equal(loop_open(&loop), 0);
	now = boottime_ns();
	for (size_t i = 0; i < N_TIMERS; i++) {
		alarms[i] = (struct alarm){ .timer.fn = on_alarm, .loop = &loop, .last = &last, .fired = &fired };
		seed = seed * 1103515245 + 12345;
		assert_int_equal(loop_arm(&loop, &alarms[i].timer, now + seed % (20 * NS_PER_MS)), 0);
	}
	/* Some are moved, some taken out again. */
	for (size_t i = 0; i < N_TIMERS; i += 3)
		assert_int_equal(loop_arm(&loop, &alarms[i].timer, now + (N_TIMERS - i) * 10000), 0);
	for (size_t i = 1; i < N_TIMERS; i += 4)
		loop_disarm(&loop, &alarms[i].timer);
	struct alarm end = { .timer.fn = stop, .loop = &loop };
	assert_int_equal(loop_arm(&loop, &end.timer, now + 25 * NS_PER_MS), 0);
	assert_int_equal(loop_run(&loop), 0);
	assert_int_equal(fired, N_TIMERS - N_TIMERS / 4);
	assert_int_equal(loop.n_timers, 0);
	loop_close(&loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(carries_messages_and_descriptors),
		cmocka_unit_test(loses_descriptors_alone),
		cmocka_unit_test(what_is_said_to_init_has_a_version),
		cmocka_unit_test(refuses_what_fits_no_shape),
		cmocka_unit_test(names_are_strict),
		cmocka_unit_test(limits_are_ceilings),
		cmocka_unit_test(queues_in_order_and_is_bounded),
		cmocka_unit_test(rubbish_closes_the_channel),
		cmocka_unit_test(timers_fire_in_order),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
