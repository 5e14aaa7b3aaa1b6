/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exec.run: a command from its start to its end, as one call.
 *
 * It is over when the command has ended. What it wrote is in the pipes by then and is read; what processes that it
 * left behind may write later nobody waits for.
 */
#include "control/capture.h"
#include "control/exec.h"
#include "control/json.h"
#include "control/lifecycle.h"
#include "control/session_methods.h"
#include "control/spawner.h"

enum {
	DEFAULT_OUTPUT_BYTES = 1 << 20,
	CHUNK = 64 * 1024, /* one read: what a pipe holds unless it was made larger */
	MAX_CHUNKS = 16, /* 1 MiB: what an unprivileged user can make it hold (fs.pipe-max-size) */
};

/* After a chunk that was dropped: 32 MB/s for all commands of a session, so that floods do not take all the time. */
#define REST_NS (2 * NS_PER_MS)
#define KILL_PATIENCE_NS (2 * NS_PER_SEC) /* between the kill at a timeout and an answer without the command's end */

struct run;

struct output {
	struct run *run;
	enum capture_stream stream;
	struct loop_io io; /* fd -1: closed */
	struct loop_timer rest;
};

struct run {
	struct session *session;
	struct call *call;
	struct init_exec command;
	struct loop_io input; /* fd -1: closed */
	const char *stdin_text; /* what is still to be written; the call's */
	size_t stdin_left;
	struct output outputs[CAPTURE_STREAMS];
	struct capture capture;
	struct loop_timer timeout; /* then the patience after it */
	uint64_t begun_ns;
	bool timed_out;
};

static struct loop *loop_of(const struct run *run)
{
	return lifecycle_loop(run->session->lifecycle);
}

static void drop_io(struct run *run, struct loop_io *io)
{
	loop_remove(loop_of(run), io);
	close_fdp(&io->fd);
}

/* ---- the end ---- */

/* Frees RUN and returns its call, still to be answered. */
static struct call *run_take(struct run *run)
{
	struct session *session = run->session;
	struct call *call = run->call;

	init_link_forget_exec(&session->init, &run->command);
	loop_disarm(loop_of(run), &run->timeout);
	drop_io(run, &run->input);
	for (size_t i = 0; i < CAPTURE_STREAMS; i++) {
		loop_disarm(loop_of(run), &run->outputs[i].rest);
		drop_io(run, &run->outputs[i].io);
	}
	capture_release(&run->capture);
	if (call_conn(call))
		conn_on_close(call_conn(call), NULL, run);
	session->n_execs--;
	session_active(session, ACTIVITY_EXEC);
	free(run);
	return call;
}

/* The answer; EXIT_CODE and SIGNAL are -1 where they are not known. NULL when memory is short. */
static json_t *result_json(const struct run *run, int exit_code, int signal)
{
	json_t *result = json_object();

	json_put(&result, "exit_code", exit_code >= 0 ? json_integer(exit_code) : json_null());
	json_put(&result, "signal", signal > 0 ? json_integer(signal) : json_null());
	capture_put_json(&run->capture, &result);
	json_put(&result, "elapsed_seconds", json_real((double)(boottime_ns() - run->begun_ns) / (double)NS_PER_SEC));
	return result;
}

static void fail_with_output(struct run *run, enum error_kind kind, const char *text)
{
	struct session *session = run->session;
	json_t *result = result_json(run, -1, -1);
	const struct error_details details = { .session = session->record.id, .result = result };

	call_fail(run_take(run), kind, false, &details, "session %s: the command %s", session->record.id, text);
	json_decref(result);
}

static void fail_timeout(struct run *run)
{
	fail_with_output(run, E_TIMEOUT, "did not end in the time given, and was killed");
}

/* ---- input and output ---- */

static void on_input_ready(struct loop_io *io, uint32_t revents _unused_)
{
	struct run *run = container_of(io, struct run, input);
	ssize_t n = RETRY_EINTR(write(io->fd, run->stdin_text, run->stdin_left));

	if (n < 0 && errno == EAGAIN)
		return;
	if (n > 0) {
		run->stdin_text += n;
		run->stdin_left -= (size_t)n;
	}
	/* EPIPE: it does not want the rest. */
	if (n < 0 || run->stdin_left == 0)
		drop_io(run, io);
}

/* Keeps what the bound and the connection have room for. */
static void keep(struct run *run, enum capture_stream stream, const char *bytes, size_t n)
{
	size_t kept = capture_room(&run->capture, n);

	if (kept > 0 && !call_reserve(run->call, capture_cost(bytes, kept)))
		kept = 0;
	capture_add(&run->capture, stream, bytes, kept);
	capture_drop(&run->capture, n - kept);
}

/* Reads once. False when there is nothing more to be read now. */
static bool read_output(struct output *output)
{
	_uninitialized_ char chunk[CHUNK];

	if (output->io.fd < 0)
		return false;
	ssize_t n = RETRY_EINTR(read(output->io.fd, chunk, sizeof(chunk)));
	if (n > 0)
		keep(output->run, output->stream, chunk, (size_t)n);
	else if (n == 0 || errno != EAGAIN)
		drop_io(output->run, &output->io);
	return n > 0;
}

static void on_output_ready(struct loop_io *io, uint32_t revents _unused_)
{
	struct output *output = container_of(io, struct output, io);
	struct loop *loop = loop_of(output->run);
	size_t n = output->run->session->n_execs; /* that may all be floods */

	if (!read_output(output) || !output->run->capture.full)
		return;
	if (loop_arm(loop, &output->rest, boottime_ns() + n * REST_NS) == 0)
		loop_remove(loop, io);
}

static void on_rested(struct loop_timer *timer)
{
	struct output *output = container_of(timer, struct output, rest);

	if (output->io.fd >= 0 && loop_watch(loop_of(output->run), &output->io, EPOLLIN) < 0)
		drop_io(output->run, &output->io);
}

/* ---- what becomes of the command ---- */

static void kill_group(struct run *run)
{
	if (!spawner_kill(run->session, run->command.id))
		init_link_kill(&run->session->init, run->command.id);
}

static void on_started(struct init_exec *command, const struct err *err, int pid _unused_)
{
	struct run *run = container_of(command, struct run, command);
	struct session *session = run->session;

	if (!err) {
		fail_with_output(run, E_INVALID_STATE, "was not started before the session ended");
	} else if (run->timed_out && err->num < 0) {
		fail_timeout(run);
	} else if (err->num < 0) {
		const struct err why = *err;
		exec_fail_start(session, run_take(run), &why);
	}
}

static void on_exited(struct init_exec *command, int exit_code, int signal)
{
	struct run *run = container_of(command, struct run, command);
	struct session *session = run->session;

	for (size_t i = 0; i < CAPTURE_STREAMS; i++)
		for (size_t n = 0; n < MAX_CHUNKS && read_output(&run->outputs[i]); n++)
			continue;
	if (run->timed_out) {
		fail_timeout(run);
	} else if (exit_code < 0 && signal < 0) {
		fail_with_output(run, E_INVALID_STATE, "was ended by the end of the session");
	} else {
		json_t *result = result_json(run, exit_code, signal);
		call_reply(run_take(run), result);
		spawner_want(session);
	}
}

static void on_timeout(struct loop_timer *timer)
{
	struct run *run = container_of(timer, struct run, timeout);

	/* Init does not say that it has ended: the session may be frozen by now, and dies of it once it is not. */
	if (run->timed_out) {
		fail_timeout(run);
		return;
	}
	run->timed_out = true;
	kill_group(run);
	if (loop_arm(loop_of(run), timer, boottime_ns() + KILL_PATIENCE_NS) < 0)
		fail_timeout(run);
}

static void on_conn_closed(struct conn *conn _unused_, void *owner)
{
	struct run *run = owner;

	kill_group(run);
	call_fail(run_take(run), E_UNAVAILABLE, true, NULL, "the connection ended");
}

/* ---- the beginning ---- */

static struct run *run_new(struct session *session, struct call *call)
{
	const json_t *params = call_params(call), *text = json_object_get(params, "stdin");
	const json_t *max_bytes = json_object_get(params, "max_output_bytes");
	struct run *run = calloc(1, sizeof(*run));

	if (!run)
		return NULL;
	*run = (struct run){
		.session = session,
		.call = call,
		.command = { .on_started = on_started, .on_exited = on_exited },
		.input = { .fd = -1, .fn = on_input_ready },
		.stdin_text = json_string_value(text),
		.stdin_left = json_string_length(text),
		.capture.max_bytes = max_bytes ? (uint32_t)json_integer_value(max_bytes) : DEFAULT_OUTPUT_BYTES,
		.timeout.fn = on_timeout,
		.begun_ns = boottime_ns(),
	};
	for (size_t i = 0; i < CAPTURE_STREAMS; i++)
		run->outputs[i] = (struct output){
			.run = run,
			.stream = (enum capture_stream)i,
			.io = { .fd = -1, .fn = on_output_ready },
			.rest.fn = on_rested,
		};
	session->n_execs++;
	conn_on_close(call_conn(call), on_conn_closed, run);
	return run;
}

/* Makes the pipes that the command gets; its ends go to FDS, the caller's, also after an error. */
static int open_pipes(struct run *run, int fds[static EXEC_STDIO])
{
	struct loop_io *out = &run->outputs[CAPTURE_STDOUT].io, *err = &run->outputs[CAPTURE_STDERR].io;
	bool merge = json_is_true(json_object_get(call_params(run->call), "merge"));
	int r = exec_pipe(true, &out->fd, &fds[EXEC_STDOUT]);

	if (r == 0)
		r = loop_watch(loop_of(run), out, EPOLLIN);
	if (r == 0 && !merge)
		r = exec_pipe(true, &err->fd, &fds[EXEC_STDERR]);
	if (r == 0 && !merge)
		r = loop_watch(loop_of(run), err, EPOLLIN);
	if (r == 0 && run->stdin_left > 0)
		r = exec_pipe(false, &run->input.fd, &fds[EXEC_STDIN]);
	if (r == 0 && run->stdin_left > 0)
		r = loop_watch(loop_of(run), &run->input, EPOLLOUT);
	/* Most inputs fit into the pipe at once. */
	if (r == 0 && run->stdin_left > 0)
		on_input_ready(&run->input, EPOLLOUT);
	return r;
}

/* Asks init to start the command. 0, or a negative errno: then nothing was asked. */
static int run_start(struct run *run, int spec)
{
	const json_t *timeout = json_object_get(call_params(run->call), "timeout_seconds");
	int own[EXEC_STDIO] = { -1, -1, -1 };

	int r = open_pipes(run, own);
	if (r == 0 && timeout)
		r = loop_arm(loop_of(run), &run->timeout, run->begun_ns + duration_ns(timeout));
	if (r == 0) {
		const int fds[] = {
			spec,
			own[EXEC_STDIN] >= 0 ? own[EXEC_STDIN] : run->session->lifecycle->null_fd,
			own[EXEC_STDOUT],
			own[EXEC_STDERR] >= 0 ? own[EXEC_STDERR] : own[EXEC_STDOUT],
		};
		r = spawner_exec(run->session, &run->command, fds);
		if (r < 0)
			r = init_link_exec(&run->session->init, &run->command, fds);
	}
	close_fds(own, ARRAY_SIZE(own));
	return r;
}

void method_exec_run(struct call *call)
{
	struct session *session = exec_session(call);
	struct err err;

	if (!session)
		return;
	if (!call_conn(call)) {
		call_fail(call, E_UNAVAILABLE, true, NULL, "the connection ended");
		return;
	}
	_close_ int spec = exec_spec(session, call, false);
	if (spec < 0)
		return;
	struct run *run = run_new(session, call);
	if (!run) {
		err_set(&err, -ENOMEM, "exec", "%s", "");
		exec_fail_start(session, call, &err);
		return;
	}
	session_active(session, ACTIVITY_EXEC);
	int r = run_start(run, spec);
	if (r < 0) {
		err_set(&err, r, "exec", "%s", "");
		exec_fail_start(session, run_take(run), &err);
	}
}
