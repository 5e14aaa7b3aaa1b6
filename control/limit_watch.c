/* SPDX-License-Identifier: Apache-2.0 */
#include "control/limit_watch.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>

#include "control/lifecycle.h"

#define AFTER_EVENT_NS (100 * NS_PER_MS) /* a file that raised an event is deaf for so long */
#define LOOK_NS (10 * NS_PER_SEC) /* how often the CPU time is looked at, and the file systems of what runs */
#define IDLE_LOOK_NS (60 * NS_PER_SEC) /* those of what hardly runs */
#define IDLE_USEC 20000 /* of CPU time: less is hardly */
#define AWAY_NS (30 * NS_PER_SEC) /* after so long it is news again */
#define MIB (UINT64_C(1) << 20)

enum { FILE_SIZE = 512 }; /* of an events file */
enum { THROTTLED_PER_CENT = 10 }; /* of the time: less is what bursts cost */

/* The number behind KEY in a "key number" file of the kernel's; 0 when it is not there. */
static uint64_t number_of(const char *text, const char *key)
{
	size_t n = strlen(key);

	for (const char *line = text; line; line = strchr(line, '\n'), line += line ? 1 : 0)
		if (strncmp(line, key, n) == 0 && line[n] == ' ')
			return strtoull(line + n + 1, NULL, 10);
	return 0;
}

/* The file from its start, terminated; empty when it cannot be read. Also what the kernel waits for to tell again. */
static void read_whole(int fd, char *buf, size_t size)
{
	ssize_t n = fd < 0 ? 0 : RETRY_EINTR(pread(fd, buf, size - 1, 0));

	buf[n > 0 ? n : 0] = '\0';
}

static void read_file(int dir, const char *name, char *buf, size_t size)
{
	_close_ int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	read_whole(fd, buf, size);
}

/* Whether a limit that SESSION came to at *NEAR_NS, and now again, is news. */
static bool is_news(uint64_t *near_ns)
{
	uint64_t now = boottime_ns(), before = *near_ns;

	*near_ns = now;
	return before == 0 || now - before > AWAY_NS;
}

void limit_watch_tell(struct session *session, const char *kind, json_t *data)
{
	metrics_limit(session, kind);
	session_emit(session, kind, data);
}

static void tell(struct session *session, const char *kind, enum limit limit, const char *what, uint64_t n)
{
	limit_watch_tell(
		session, kind, json_pack("{s:s, s:I}", "limit", limit_table[limit].name, what, (json_int_t)n));
}

/* ---- memory ---- */

static void look_at_memory(struct session *session)
{
	struct memory_use *most = &session->limit_watch.most;
	char text[8192];

	read_file(session->cgroup_fd, "memory.stat", text, sizeof(text));
	const struct memory_use now = { .anonymous = number_of(text, "anon"),
		.tmpfs = number_of(text, "shmem"),
		.files = number_of(text, "file") - number_of(text, "shmem"),
		.kernel = number_of(text, "kernel") };
	if (now.anonymous + now.files + now.tmpfs + now.kernel >=
		most->anonymous + most->files + most->tmpfs + most->kernel)
		*most = now;
}

/*
 * The session itself ran out of memory, not a cgroup below it: memory.oom.group ends all of it, and that is told with
 * the end, whose news may be under way.
 */
static bool is_own_end(const struct session *session)
{
	char text[FILE_SIZE];

	read_file(session->cgroup_fd, "memory.events.local", text, sizeof(text));
	return number_of(text, "oom") > 0;
}

static void read_memory(struct session *session)
{
	struct limit_watch *watch = &session->limit_watch;
	char text[FILE_SIZE];

	read_whole(watch->memory.io.fd, text, sizeof(text));
	uint64_t high = number_of(text, "high"), at_limit = number_of(text, "max"),
		 kills = number_of(text, "oom_kill");
	uint64_t before = watch->memory.count;
	if (at_limit != watch->at_limit)
		look_at_memory(session);
	watch->at_limit = at_limit;
	watch->memory.count = high;
	if (high > before && is_news(&watch->memory.near_ns))
		tell(session, "session.throttled", LIMIT_MEMORY_HIGH, "times", high - before);
	if (kills > watch->oom_kills && session->record.state < SESSION_STOPPING && !is_own_end(session))
		tell(session, "session.oom", LIMIT_MEMORY, "killed", kills - watch->oom_kills);
	watch->oom_kills = kills;
}

char *limit_watch_describe_oom(const struct session *session, uint64_t peak_bytes)
{
	const struct memory_use *most = &session->limit_watch.most;
	const json_t *limit = json_object_get(json_object_get(session->record.limits, "memory_bytes"), "value");
	char *text = NULL;

	if (asprintf(&text,
		    "the session ran out of memory: it may have %" JSON_INTEGER_FORMAT " MiB, and had %" PRIu64
		    " MiB at most; when last looked at, processes had %" PRIu64 " MiB, files %" PRIu64
		    ", file systems in memory %" PRIu64 ", the kernel for it %" PRIu64,
		    json_integer_value(limit) / (json_int_t)MIB, peak_bytes / MIB, most->anonymous / MIB,
		    most->files / MIB, most->tmpfs / MIB, most->kernel / MIB) < 0)
		return NULL;
	return text;
}

/* ---- processes, CPU time ---- */

static void read_processes(struct session *session)
{
	struct limit_file *file = &session->limit_watch.processes;
	char text[FILE_SIZE];

	read_whole(file->io.fd, text, sizeof(text));
	uint64_t refused = number_of(text, "max"), before = file->count;
	file->count = refused;
	if (refused > before && is_news(&file->near_ns))
		tell(session, "session.refused", LIMIT_PIDS, "times", refused - before);
}

uint64_t limit_watch_read_cpu(const struct session *session, uint64_t *ret_usage_usec)
{
	char text[1024];

	read_file(session->cgroup_fd, "cpu.stat", text, sizeof(text));
	*ret_usage_usec = number_of(text, "usage_usec");
	return number_of(text, "throttled_usec");
}

static void look_at_cpu(struct session *session, uint64_t *ret_usage_usec)
{
	struct limit_watch *watch = &session->limit_watch;
	uint64_t now = boottime_ns(), throttled = limit_watch_read_cpu(session, ret_usage_usec),
		 before = watch->throttled_usec;
	uint64_t passed_usec = (now - watch->looked_ns) / 1000;
	bool first = watch->looked_ns == 0;
	watch->throttled_usec = throttled;
	watch->looked_ns = now;
	if (!first && (throttled - before) * 100 > passed_usec * THROTTLED_PER_CENT &&
		is_news(&watch->throttled_near_ns))
		tell(session, "session.throttled", LIMIT_CPUS, "throttled_ms", (throttled - before) / 1000);
}

/* What has hardly run has hardly written; and init's answer wakes it up. */
static void look_at_space(struct session *session, uint64_t usage_usec)
{
	struct limit_watch *watch = &session->limit_watch;
	uint64_t now = boottime_ns();

	if (usage_usec - watch->space_usage_usec < IDLE_USEC && now - watch->space_ns < IDLE_LOOK_NS)
		return;
	watch->space_usage_usec = usage_usec;
	watch->space_ns = now;
	space_look(session);
}

/* ---- the loop ---- */

static void listen_to(struct session *session, struct limit_file *file)
{
	if (file->io.fd >= 0)
		loop_watch(lifecycle_loop(session->lifecycle), &file->io, EPOLLPRI);
}

static void arm(struct session *session, uint64_t delay_ns)
{
	struct limit_watch *watch = &session->limit_watch;

	if (!watch->again.place || watch->again.at_ns > boottime_ns() + delay_ns)
		loop_arm(lifecycle_loop(session->lifecycle), &watch->again, boottime_ns() + delay_ns);
}

static void on_event(struct session *session, struct limit_file *file)
{
	loop_remove(lifecycle_loop(session->lifecycle), &file->io);
	arm(session, AFTER_EVENT_NS);
}

static void on_memory(struct loop_io *io, uint32_t revents _unused_)
{
	struct session *session = container_of(io, struct session, limit_watch.memory.io);

	/* At once: it may be the last chance to see who had it. */
	look_at_memory(session);
	on_event(session, &session->limit_watch.memory);
}

static void on_processes(struct loop_io *io, uint32_t revents _unused_)
{
	struct session *session = container_of(io, struct session, limit_watch.processes.io);

	read_processes(session);
	on_event(session, &session->limit_watch.processes);
}

static void on_again(struct loop_timer *timer)
{
	struct session *session = container_of(timer, struct session, limit_watch.again);
	struct limit_watch *watch = &session->limit_watch;

	if (watch->memory.io.fd >= 0)
		read_memory(session);
	if (watch->processes.io.fd >= 0)
		read_processes(session);
	if (boottime_ns() - watch->looked_ns >= LOOK_NS) {
		uint64_t usage_usec;
		look_at_cpu(session, &usage_usec);
		look_at_space(session, usage_usec);
	}
	listen_to(session, &watch->memory);
	listen_to(session, &watch->processes);
	arm(session, LOOK_NS);
}

static void open_file(struct session *session, struct limit_file *file, const char *name, char text[static FILE_SIZE])
{
	file->io.fd = openat(session->cgroup_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	read_whole(file->io.fd, text, FILE_SIZE);
	listen_to(session, file);
}

void limit_watch_start(struct session *session)
{
	struct limit_watch *watch = &session->limit_watch;

	char text[FILE_SIZE];

	/* A session that begins anew in place has another cgroup, and a clean slate. */
	*watch = (struct limit_watch){ .memory.io.fn = on_memory, .processes.io.fn = on_processes };
	const bool made = session->record.state == SESSION_CREATING && streq(session->record.id, session->record.host_id);
	open_file(session, &watch->memory, "memory.events", text);
	watch->memory.count = made ? 0 : number_of(text, "high");
	watch->oom_kills = number_of(text, "oom_kill");
	open_file(session, &watch->processes, "pids.events", text);
	watch->processes.count = made ? 0 : number_of(text, "max");
	/*
	 * One just made was not throttled, and what it did before we looked is told soon. Of another it is read later:
	 * the kernel adds up what each processor counted.
	 */
	if (made)
		watch->looked_ns = boottime_ns();
	watch->space_ns = boottime_ns();
	watch->again.fn = on_again;
	space_start(session);
	arm(session, made ? AFTER_EVENT_NS : LOOK_NS);
}

void limit_watch_stop(struct session *session)
{
	struct limit_watch *watch = &session->limit_watch;
	struct loop *loop = lifecycle_loop(session->lifecycle);

	space_stop(session);
	loop_disarm(loop, &watch->again);
	loop_remove(loop, &watch->memory.io);
	loop_remove(loop, &watch->processes.io);
	close_fdp(&watch->memory.io.fd);
	close_fdp(&watch->processes.io.fd);
}
