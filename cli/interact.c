/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/interact.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include "cli/format.h"
#include "cli/safe.h"

enum {
	CHUNK = 65536,
	REDRAW_MS = 100, /* how long a program may take to notice the one size before it is told the other */
};

enum source { FROM_SIGNALS, FROM_CLIENT, FROM_INPUT, FROM_OUTPUT, FROM_ERRORS, TO_COMMAND, N_SOURCES };

/* One way of the command's output to ours. */
struct outlet {
	int fd; /* -1 when it has ended */
	struct safe_writer to;
};

struct loop {
	struct interaction *with;
	struct console console;
	json_int_t wait_id;
	json_t *result; /* what the wait was answered */
	char input[CHUNK +
		   DETACH_KEYS_MAX]; /* ours, for the command: [start, end); more for keys that were held back */
	size_t start, end;
	bool input_ended;
	struct outlet outlets[2];
	int64_t redraw_at_ms; /* 0: not wanted */
	bool left;
	int signal;
	struct failure *why;
};

static int broke(struct loop *loop, int num, const char *text)
{
	failure_set(loop->why, EXIT_UNREACHABLE, num, "%s", text);
	failure_add(loop->why, "step", "stream");
	return num;
}

/* ---- what control is told ---- */

/* Without asking for an answer: a size that is not taken is none to wait for. */
static int tell(struct loop *loop, const char *method, json_t *params)
{
	json_object_update(params, loop->with->target);
	return client_send(loop->with->client, method, params, NULL, loop->why);
}

static int tell_size(struct loop *loop, int fewer_columns)
{
	int rows, columns;

	if (!loop->with->resize_method || !console_size(&loop->console, &rows, &columns))
		return 0;
	columns -= columns > fewer_columns ? fewer_columns : 0;
	return tell(loop, loop->with->resize_method, json_pack("{si, si}", "rows", rows, "cols", columns));
}

static int on_signal(struct loop *loop, int number)
{
	const struct interaction *with = loop->with;

	if (number == SIGTSTP) {
		console_suspend(&loop->console);
		return tell_size(loop, 0);
	}
	if (number == SIGWINCH)
		return tell_size(loop, 0);
	/* Keys of a raw terminal are no signals: one that comes is meant for this program. */
	if (with->tty || !with->signal_method) {
		loop->signal = number;
		return 0;
	}
	return tell(loop, with->signal_method, json_pack("{ss+}", "signal", "SIG", sigabbrev_np(number)));
}

/* ---- input ---- */

static int read_input(struct loop *loop)
{
	struct detach_keys *keys = &loop->with->detach_keys;
	char bytes[CHUNK / 2];
	size_t room = CHUNK - loop->end, used;
	ssize_t n = RETRY_EINTR(read(loop->with->in_fd, bytes, room < sizeof(bytes) ? room : sizeof(bytes)));

	if (n < 0 && errno == EAGAIN)
		return 0;
	/* A terminal that is gone, and standard input that was closed, have ended. */
	if (n <= 0) {
		loop->end += detach_keys_end(keys, loop->input + loop->end);
		loop->input_ended = true;
		return 0;
	}
	loop->left = detach_keys_find(keys, bytes, (size_t)n, loop->input + loop->end, &used);
	loop->end += used;
	return 0;
}

/* The command's side of its input is closed once all of ours is there. */
static void end_input(struct loop *loop)
{
	struct interaction *with = loop->with;

	if (!loop->input_ended || loop->start < loop->end || with->to_fd < 0 || with->tty)
		return;
	if (with->to_fd == with->from_fd)
		shutdown(with->to_fd, SHUT_WR);
	else
		close_fd(with->to_fd);
	with->to_fd = -1;
}

static int write_input(struct loop *loop)
{
	struct interaction *with = loop->with;
	ssize_t n = RETRY_EINTR(send(with->to_fd, loop->input + loop->start, loop->end - loop->start, MSG_NOSIGNAL));

	if (n < 0 && errno == EAGAIN)
		return 0;
	if (n < 0) {
		/* It closed its input, or has ended: what comes is for nobody. */
		loop->start = loop->end = 0;
		loop->input_ended = true;
		return 0;
	}
	loop->start += (size_t)n;
	if (loop->start == loop->end)
		loop->start = loop->end = 0;
	return 0;
}

/* ---- output ---- */

/* One portion of output. 0, or a negative errno of our own side. At the end the outlet has none any more. */
static int read_output(struct outlet *outlet)
{
	char bytes[CHUNK];
	ssize_t n = RETRY_EINTR(read(outlet->fd, bytes, sizeof(bytes)));

	if (n < 0 && errno == EAGAIN)
		return 0;
	if (n < 0 && errno != ECONNRESET && errno != EIO)
		return -errno;
	if (n > 0)
		return safe_write(&outlet->to, bytes, (size_t)n);
	outlet->fd = -1;
	return safe_end(&outlet->to);
}

static int on_output(struct loop *loop, struct outlet *outlet)
{
	int r = read_output(outlet);

	if (r == -EPIPE) {
		/* Nobody reads what we print. The signal is blocked and ends this program once all is as it was. */
		loop->signal = SIGPIPE;
		return 0;
	}
	return r < 0 ? broke(loop, r, "the output of the command cannot be passed on") : 0;
}

/* ---- the loop ---- */

static int on_answer(struct loop *loop)
{
	struct failure late = { 0 };
	int r = client_answer(loop->with->client, loop->wait_id, 0, &loop->result, &late);

	if (r == -ETIMEDOUT) {
		failure_free(&late);
		return 0;
	}
	if (r < 0)
		*loop->why = late;
	return r;
}

static void choose(const struct loop *loop, struct pollfd fds[static N_SOURCES])
{
	const struct interaction *with = loop->with;
	bool wants_input = with->in_fd >= 0 && !loop->input_ended && with->to_fd >= 0 && loop->end < CHUNK;

	for (size_t i = 0; i < N_SOURCES; i++)
		fds[i] = (struct pollfd){ .fd = -1, .events = POLLIN };
	fds[FROM_SIGNALS].fd = loop->console.signal_fd;
	fds[FROM_CLIENT].fd = loop->result ? -1 : with->client->fd;
	fds[FROM_INPUT].fd = wants_input && !loop->result ? with->in_fd : -1;
	fds[FROM_OUTPUT].fd = loop->outlets[0].fd;
	fds[FROM_ERRORS].fd = loop->outlets[1].fd;
	fds[TO_COMMAND].fd = loop->start < loop->end ? with->to_fd : -1;
	fds[TO_COMMAND].events = POLLOUT;
}

static int dispatch(struct loop *loop, const struct pollfd fds[static N_SOURCES])
{
	int r = 0;

	for (int number; fds[FROM_SIGNALS].revents && r == 0 && (number = console_signal(&loop->console));)
		r = on_signal(loop, number);
	if (r == 0 && fds[FROM_OUTPUT].revents)
		r = on_output(loop, &loop->outlets[0]);
	if (r == 0 && fds[FROM_ERRORS].revents)
		r = on_output(loop, &loop->outlets[1]);
	if (r == 0 && fds[TO_COMMAND].revents)
		r = write_input(loop);
	if (r == 0 && fds[FROM_INPUT].revents)
		r = read_input(loop);
	if (r == 0 && fds[FROM_CLIENT].revents)
		r = on_answer(loop);
	end_input(loop);
	return r;
}

static bool is_over(const struct loop *loop)
{
	return loop->left || loop->signal || (loop->result && loop->outlets[0].fd < 0 && loop->outlets[1].fd < 0);
}

static int run(struct loop *loop)
{
	struct pollfd fds[N_SOURCES];
	int r = 0;

	while (r == 0 && !is_over(loop)) {
		int64_t left = loop->redraw_at_ms ? loop->redraw_at_ms - monotonic_ms() : -1;
		choose(loop, fds);
		if (poll(fds, N_SOURCES, loop->redraw_at_ms ? (int)(left > 0 ? left : 0) : -1) < 0 && errno != EINTR)
			return broke(loop, -errno, "cannot wait for the command");
		if (loop->redraw_at_ms && monotonic_ms() >= loop->redraw_at_ms) {
			loop->redraw_at_ms = 0;
			r = tell_size(loop, 0);
		}
		if (r == 0)
			r = dispatch(loop, fds);
	}
	return r;
}

/* A program that is there already draws its screen anew when the size changes, and only then. */
static int begin(struct loop *loop)
{
	struct interaction *with = loop->with;
	int r = console_open(&loop->console, with->tty && with->in_fd >= 0 && isatty(with->in_fd) ? with->in_fd : -1);

	if (r == 0)
		r = console_raw(&loop->console);
	if (r < 0)
		return failure_set(loop->why, EXIT_REFUSED, r, "the terminal cannot be set up");
	const int streams[] = { with->to_fd, with->from_fd, with->errors_fd };
	for (size_t i = 0; i < ARRAY_SIZE(streams); i++)
		if (streams[i] >= 0 && fcntl(streams[i], F_SETFL, O_NONBLOCK) < 0)
			return broke(loop, -errno, "a stream cannot be set up");
	r = tell_size(loop, with->redraw ? 1 : 0);
	if (r == 0 && with->redraw)
		loop->redraw_at_ms = monotonic_ms() + REDRAW_MS;
	if (r == 0)
		r = client_send(with->client, with->wait_method, json_copy(with->target), &loop->wait_id, loop->why);
	return r;
}

static void finish(struct loop *loop)
{
	struct interaction *with = loop->with;

	/* It goes on without us: its screen is not ours any more. */
	if (!loop->result && with->tty)
		console_reset_screen(&loop->console);
	console_close(&loop->console);
	if (with->to_fd != with->from_fd)
		close_fd(with->to_fd);
	close_fd(with->from_fd);
	close_fd(with->errors_fd);
	with->to_fd = with->from_fd = with->errors_fd = -1;
}

int interact(struct interaction *interaction, enum interaction_end *ret_end, json_t **ret_result, int *ret_signal,
	struct failure *why)
{
	struct loop *loop = calloc(1, sizeof(*loop));

	if (!loop)
		return failure_set(why, EXIT_REFUSED, -ENOMEM, "out of memory");
	*loop = (struct loop){ .with = interaction,
		.console = { .fd = -1, .signal_fd = -1 },
		.input_ended = interaction->in_fd < 0,
		.outlets = { { interaction->from_fd, { .fd = STDOUT_FILENO, .filter = interaction->filter_out } },
			{ interaction->errors_fd, { .fd = STDERR_FILENO, .filter = interaction->filter_err } } },
		.why = why };
	fflush(stdout);
	int r = begin(loop);
	if (r == 0)
		r = run(loop);
	finish(loop);
	if (r == 0) {
		*ret_end = loop->left ? INTERACTION_LEFT : loop->signal ? INTERACTION_SIGNALLED : INTERACTION_ENDED;
		*ret_result = loop->result;
		*ret_signal = loop->signal;
		loop->result = NULL;
	}
	json_decref(loop->result);
	free(loop);
	return r;
}
