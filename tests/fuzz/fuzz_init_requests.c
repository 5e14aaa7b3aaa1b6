/* SPDX-License-Identifier: Apache-2.0 */
/*
 * carrel-init's serving code under a control process that sends anything: real sockets, real epoll, the real handlers;
 * only spawn() is replaced, so that no process is started, and pids are numbers that no process can have.
 */
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "sandbox/serve.h"

enum { NO_PID = 0x7ffffff0, PORT = 7 };

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* What a fuzz target may have of state: the process under test, as it is between two inputs. */
static struct serve *serve;
static struct sockaddr_un address;
static socklen_t address_size;
static uint8_t next_result;

int spawn(const struct spawn *what, pid_t *ret_pid, int *ret_pipe, struct err *err)
{
	int ends[2];

	if (what->n_fds == SPAWN_CDP || what->is_first)
		abort();
	if (next_result % 8 == 0)
		return err_set(err, -ENOMEM, "spawn", "fork");
	if (pipe(ends) < 0)
		abort();
	close(ends[1]);
	*ret_pid = NO_PID;
	*ret_pipe = ends[0];
	return 0;
}

int spawn_result(int pipe, int *ret_master, struct err *err)
{
	if (pipe < 0)
		abort();
	if (next_result % 4 == 0)
		return 0;
	/* As good as a terminal whose other side is closed. */
	if (ret_master && *ret_master < 0)
		*ret_master = dup(pipe);
	return next_result % 4 == 1 ? err_set(err, -ENOENT, "exec", "none") : 1;
}

/* Of a spawner: that it is there, then orders begun and failed, then nonsense. */
int spawn_report(int pipe, struct spawn_report *ret)
{
	if (pipe < 0)
		abort();
	if (next_result % 8 == 7)
		return -EPROTO;
	*ret = (struct spawn_report){ .id = next_result % 8, .pid = NO_PID, .err.num = next_result % 3 ? 0 : -ENOENT };
	return next_result++ % 4 != 0;
}

/* A network of its own, with one server on the loopback; without the right to it, connecting just fails. */
static void open_port(void)
{
	struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	struct sockaddr_in to = {
		.sin_family = AF_INET, .sin_port = htons(PORT), .sin_addr = { htonl(INADDR_LOOPBACK) }
	};

	if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
		return;
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request) < 0 ||
		bind(fd, (const struct sockaddr *)&to, sizeof(to)) < 0 || listen(fd, 4096) < 0)
		abort();
}

int LLVMFuzzerInitialize(int *argc _unused_, char ***argv _unused_)
{
	const struct sockaddr_un any = { .sun_family = AF_UNIX };
	int fds[SPAWN_CDP];

	open_port();
	int listening = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	address_size = sizeof(address);
	void *output = mmap(NULL, OUTPUT_FILE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (listening < 0 || output == MAP_FAILED || bind(listening, (const void *)&any, sizeof(sa_family_t)) < 0 ||
		listen(listening, 8) < 0 || getsockname(listening, (void *)&address, &address_size) < 0)
		abort();
	output_format(output, OUTPUT_FILE_BYTES);
	if (serve_open(&serve, listening, output, true, fds) < 0)
		abort();
	return 0;
}

static int connect_control(void)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0);

	if (fd < 0 || connect(fd, (const void *)&address, address_size) < 0)
		abort();
	control_accept(serve);
	return fd;
}

/* Every answer and event is one that control accepts. */
static void read_answers(int fd)
{
	struct msg msg;
	int r;

	while ((r = msg_recv(fd, init_answers, n_init_answers, &msg)) == 1)
		msg_release(&msg);
	if (r == -EPROTO)
		abort();
}

static void send_frame(int fd, const uint8_t *data, size_t n, uint8_t how)
{
	struct {
		struct msg_header header;
		uint8_t body[INIT_PATH_SIZE]; /* the largest */
	} frame = { 0 };
	const int fds[] = { fd, fd, fd, fd };
	const struct msg_shape *shape = &init_requests[how % n_init_requests];

	if (how & 0x80) {
		send(fd, data, n, MSG_DONTWAIT | MSG_NOSIGNAL);
		return;
	}
	/* A frame that is right up to its body. */
	msg_init(&frame.header, shape->op, n > 0 ? data[0] % 8 : 0, shape->length);
	size_t room = shape->length - sizeof(frame.header);
	memcpy(frame.body, data, n < room ? n : room);
	msg_send(fd, &frame.header, fds, how & 0x40 ? (how & 7) % 5 : shape->min_fds);
}

static void reset(void)
{
	control_close(serve, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(serve->execs); i++) {
		if (serve->execs[i].state == EXEC_STARTING)
			serve_drop(serve, &serve->execs[i].pipe);
		serve->execs[i] = (struct exec){ .pipe = -1 };
	}
	serve->execs[0] = (struct exec){ .pid = NO_PID, .state = EXEC_RUNNING, .pipe = -1 };
	serve->n_execs_used = 1;
	serve->more_children = false;
}

/* A command ends, as exec_reap() would have it. */
static void end_some(void)
{
	for (size_t i = 1; i < serve->n_execs_used; i++)
		if (serve->execs[i].state == EXEC_RUNNING)
			serve->execs[i].state = EXEC_ENDED;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	reset();
	_close_ int fd = connect_control();
	/* Two bytes say what happens, and how many of those that follow belong to it. */
	for (size_t used; n >= 2; data += used, n -= used) {
		uint8_t what = data[0];
		used = 2 + data[1] % 64;
		used = used < n ? used : n;
		next_result = data[1];
		if (what % 16 == 15)
			end_some();
		else if (what % 16 == 14)
			serve_keep(serve, OUTPUT_STDOUT, data, used);
		else
			send_frame(fd, data + 2, used - 2, what);
		if (serve->control >= 0)
			control_ready(serve, EPOLLIN | EPOLLOUT);
		for (size_t i = 0; i < serve->n_execs_used; i++)
			exec_ready(serve, i);
		for (size_t i = 0; i < SERVE_MAX_CONNECTS; i++)
			connect_ready(serve, i);
		control_tell(serve);
		read_answers(fd);
		if (serve->control < 0) {
			close_fd(fd);
			fd = connect_control();
		}
	}
	return 0;
}
