/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every public method, with all it takes. What a row does not say does not exist: a parameter that is not here is
 * refused before a handler runs.
 */
#include "control/methods.h"

#include "control/control.h"
#include "control/system.h"
#include "wire/super.h"

enum {
	MAX_OWNER = 256,
	MAX_LABELS = 32,
	MAX_LABEL_BYTES = 256,
	MAX_ENV = 512,
	MAX_ENV_BYTES = 32768,
	MAX_ARGS = 1024,
	MAX_ARG_BYTES = 131071, /* the kernel's MAX_ARG_STRLEN, less its NUL */
	MAX_SECONDS = 366 * 24 * 3600,
	MAX_PAGE = 1000,
	MAX_PATH = 4095,
	MAX_LOG_BYTES = 512 * 1024,
};

/* The largest integer that every JSON library keeps whole. */
#define MAX_SEQ 9007199254740991.0

/* clang-format off */
#define SESSION  { "session", P_NAME, .required = true, .help = "the session's id" }
#define SESSION_OR_OWNER \
	{ "session", P_NAME, .one_of = true, .help = "the session's id" }, \
	{ "owner", P_STRING, .one_of = true, .min = 1, .max = MAX_OWNER, .help = "or its owner: the newest of his sessions, one that has not ended first" }
#define VOLUME   { "volume", P_NAME, .required = true, .help = "the volume's name" }
#define PATH(text) { "path", P_STRING, .required = true, .min = 1, .max = MAX_PATH, .help = text }
#define MODE(text) { "mode", P_STRING, .min = 1, .max = 5, .help = "permissions in octal, \"0644\"; " text }
#define STREAM_PARAM(text) { "stream", P_BOOL, .help = text }
#define VIA { "via", P_ENUM, .values = "token|fd", .help = "fd: the stream comes as a descriptor with the answer (SCM_RIGHTS); a token for stream.sock by default" }
#define FILE_COMMON \
	{ "user", P_STRING, .min = 1, .max = 63, .help = "whose rights count: name, name:group, uid or uid:gid in the session; the workload's by default" }, \
	{ "timeout_seconds", P_NUMBER, .min = 0.001, .max = MAX_SECONDS, .help = "then the error timeout; 30 by default, of a stream none, but one on which nothing moves for 60 ends" }
#define PORT_OR_PATH \
	{ "port", P_INTEGER, .one_of = true, .min = 1, .max = 65535, .help = "the port in the session" }, \
	{ "path", P_STRING, .one_of = true, .min = 1, .max = 1023, .help = "or the path of a stream socket in the session, which its root connects to" }, \
	{ "family", P_ENUM, .values = "ipv4|ipv6", .help = "of the loopback address; by default IPv4, then IPv6" }
#define LABELS(text) { "labels", P_STRING_MAP, .max = MAX_LABELS, .item_bytes = MAX_LABEL_BYTES, .help = text }
/* What session.create and session.ensure have in common. */
#define CREATION \
	{ "template", P_NAME, .required = true, .help = "what it is made from" }, \
	LABELS("words for session.list to select by"), \
	{ "ttl_seconds", P_NUMBER | P_NULLABLE, .min = 0.1, .max = MAX_SECONDS, .help = "it ends after this long, used or not; null: never. The template's by default" }, \
	{ "idle_timeout_seconds", P_NUMBER | P_NULLABLE, .min = 0.1, .max = MAX_SECONDS, .help = "it ends when not used for this long; null: never. The template's by default" }, \
	{ "limits", P_LIMITS, .help = "lower limits than the template's, by name; the reference ends with a list of them" }, \
	{ "env", P_STRING_MAP, .max = MAX_ENV, .item_bytes = MAX_ENV_BYTES, .help = "environment of the workload, added to the template's" }, \
	{ "secrets", P_STRING_MAP, .max = MAX_ENV, .item_bytes = MAX_ENV_BYTES, .help = "as env, but shown and kept nowhere" }, \
	{ "egress", P_NAME, .help = "a network policy that the template allows" }, \
	{ "volumes", P_VOLUMES, .max = SUPER_MAX_VOLUMES, .help = "what is mounted where the template has places for volumes: [{path, name?, persistent?}]; a volume that is not there yet is made" }, \
	{ "command", P_STRINGS, .min = 1, .max = MAX_ARGS, .item_bytes = MAX_ARG_BYTES, .help = "argument vector of the workload instead of the template's" }, \
	{ "wait", P_ENUM, .values = "created|ready", .help = "when to answer: when the workload runs, or (the default) when its readiness probe has succeeded, too" }, \
	{ "queue_timeout_seconds", P_NUMBER, .min = 0, .max = 3600, .help = "wait so long, in the order of asking, for room on the host or for the template; without it the answer is then busy" }, \
	{ "idempotency_key", P_STRING, .min = 1, .max = 128, .help = "makes asking again safe; other parameters with the same key are a conflict" }

#define EXEC { "exec", P_NAME, .required = true, .help = "the command, or the terminal, by its name" }
/* How a command is run. */
#define COMMAND \
	{ "env", P_STRING_MAP, .max = MAX_ENV, .item_bytes = MAX_ENV_BYTES, .help = "environment, added to the template's" }, \
	{ "cwd", P_STRING, .min = 1, .max = 1023, .help = "directory to run in, an absolute path; the workload's by default" }, \
	{ "user", P_STRING, .min = 1, .max = 63, .help = "name, name:group, uid or uid:gid in the session; the workload's by default" }
#define ROWS_COLS(is_required) \
	{ "rows", P_INTEGER, .required = is_required, .min = 1, .max = 65535, .help = "of the terminal, 24 by default" }, \
	{ "cols", P_INTEGER, .required = is_required, .min = 1, .max = 65535, .help = "of the terminal, 80 by default" }

const struct method method_table[] = {
	{ "hello", ROLE_CLIENT, "Says who serves, who is asking in the kernel's eyes, and what the bounds are. Optional.",
	  "{api: {major, minor}, version, boot_id, role, owner_prefix, limits, capabilities}", method_hello, {
		{ "client", P_STRING, .min = 1, .max = 128, .help = "name and version of the calling program, for people" },
		{ "api", P_INTEGER, .min = 1, .max = 1000, .help = "the major version wanted; another one is refused" },
	}, .reads = true },
	{ "rpc.discover", ROLE_CLIENT, "This reference as an OpenRPC document.",
	  "an OpenRPC 1.3 document", method_rpc_discover, { { NULL } }, .reads = true },

	{ "system.health", ROLE_CLIENT, "Whether the service works, for a monitor.",
	  "{status, active_sessions, sessions_by_state, docker_available, supervisor, uptime_seconds}", method_system_health, { { NULL } }, .reads = true },
	{ "system.info", ROLE_OPERATOR, "What this host is and how it is configured.",
	  "{version, api, boot_id, kernel, machine, host, uptime_seconds, templates, max_sessions, …}", method_system_info, { { NULL } }, .reads = true },
	{ "system.check", ROLE_OPERATOR, "The host's features that sessions need, each ok, degraded or missing, with the remedy.",
	  "{items: [{name, state, detail, remedy}]}", lifecycle_check, { { NULL } }, .reads = true },

	{ "system.capacity", ROLE_CLIENT, "What more this host takes: slots for sessions, and the memory and CPUs that no session's limits promise away.",
	  "{draining, sessions, memory, cpus, templates: [{name, live, max, more, more_within_memory, more_within_cpus}]}", method_system_capacity, { { NULL } }, .reads = true },
	{ "system.metrics", ROLE_OPERATOR, "Counters, gauges and histograms for a monitor, in Prometheus' text format.",
	  "{content_type, text}", method_system_metrics, { { NULL } }, .reads = true },
	{ "system.drain", ROLE_OPERATOR, "Has the host take no new sessions, or take them again; those that there are go on. It stays so over restarts.",
	  "{draining, active_sessions}", method_system_drain, {
		{ "on", P_BOOL, .required = true, .help = "whether it is drained from now on" },
	} },

	{ "template.list", ROLE_CLIENT, "The templates that sessions are made from.",
	  "{templates: [template]}", method_template_list, { { NULL } }, .reads = true },
	{ "template.get", ROLE_CLIENT, "One template: limits, deadlines, endpoints.",
	  "a template", method_template_get, {
		{ "template", P_NAME, .required = true, .help = "its name" },
	}, .reads = true },

	{ "session.create", ROLE_CLIENT, "Makes a session. The same idempotency_key and parameters give the same session again.",
	  "a session", method_session_create, {
		{ "id", P_NAME, .help = "its id; one is made up when none is given" },
		{ "owner", P_STRING, .min = 1, .max = MAX_OWNER, .help = "whom it belongs to; a client's owner prefix by default" },
		{ "task_id", P_STRING, .min = 1, .max = MAX_OWNER, .help = "what it is for, in the caller's words" },
		CREATION,
	} },
	{ "session.ensure", ROLE_CLIENT, "The session that there is for somebody, which counts as use of it; or a new one, in place of one that has ended.",
	  "the session, with isolation_mode and created: whether this call made it", method_session_ensure, {
		{ "isolation", P_ENUM, .required = true, .values = "shared|per-owner|per-task", .help = "one session for all who ask with the same owner or none, one for each owner, or one for each task" },
		{ "owner", P_STRING, .min = 1, .max = MAX_OWNER, .help = "whom it belongs to. By default: per-task, the task_id; else the first that there is of metadata.user_id, metadata.session_id, thread_id, task_id and \"default\", below the owner prefix that a client has" },
		{ "task_id", P_STRING, .min = 1, .max = MAX_OWNER, .help = "what it is for; required with per-task unless owner is given" },
		{ "thread_id", P_STRING, .min = 1, .max = MAX_OWNER, .help = "may name the owner" },
		{ "metadata", P_OBJECT, .help = "its members user_id and session_id may name the owner; the others are not looked at" },
		{ "id", P_NAME, .help = "the id of a session that is made; one is made up when none is given" },
		CREATION,
	} },
	{ "session.get", ROLE_CLIENT, "One session.",
	  "a session", method_session_get, { SESSION_OR_OWNER }, .reads = true },
	{ "session.list", ROLE_CLIENT, "Sessions, oldest first, a page at a time.",
	  "{sessions: [session], next_cursor}: null on the last page", method_session_list, {
		{ "owner", P_STRING, .min = 1, .max = MAX_OWNER, .help = "of this owner only" },
		{ "template", P_NAME, .help = "of this template only" },
		{ "state", P_ENUM, .values = "creating|starting|ready|paused|stopping|ended", .help = "in this state only" },
		LABELS("with all of these labels"),
		{ "cursor", P_STRING, .min = 1, .max = 64, .help = "next_cursor of the page before" },
		{ "limit", P_INTEGER, .min = 1, .max = MAX_PAGE, .help = "sessions in a page, 100 by default" },
	}, .reads = true },
	{ "session.wait", ROLE_CLIENT, "Answers when the session is ready, or has ended.",
	  "the session", method_session_wait, {
		SESSION,
		{ "for", P_ENUM, .required = true, .values = "ready|ended", .help = "what to wait for" },
		{ "timeout_seconds", P_NUMBER, .min = 0, .max = MAX_SECONDS, .help = "then the error timeout; for ever by default" },
	}, .reads = true },
	{ "session.stop", ROLE_CLIENT, "Ends a session: its stop signal, the grace, then SIGKILL to all that is left. Answers when it has ended.",
	  "the session", method_session_stop, {
		SESSION_OR_OWNER,
		{ "grace_seconds", P_NUMBER, .min = 0, .max = 3600, .help = "instead of the template's" },
	} },
	{ "session.remove", ROLE_CLIENT, "Ends a session if it has not ended, and forgets it.",
	  "the session as it was", method_session_remove, {
		SESSION_OR_OWNER,
		{ "volumes", P_ENUM, .values = "keep|remove", .help = "what becomes of all its volumes; by default of each what was said when the session was made" },
	} },
	{ "session.logs", ROLE_CLIENT, "What the workload wrote to its standard output and error, from a ring of bounded size.",
	  "{entries: [{at, stream, text}], next, skipped_bytes, more, ended}", method_session_logs, {
		SESSION,
		{ "follow", P_BOOL, .help = "as more is written, send notifications \"log\" of the same form on this connection, until ended" },
		{ "since", P_INTEGER, .min = 0, .max = MAX_SEQ, .help = "next of an earlier answer" },
		{ "max_bytes", P_INTEGER, .min = 1, .max = MAX_LOG_BYTES, .help = "of text in the answer, 65536 by default" },
	}, .reads = true },
	{ "session.stats", ROLE_CLIENT, "What the session uses now.",
	  "{session, memory, cpu, pids, io, pressure, network, limits, ports, space}; null where the host does not count it", method_session_stats, { SESSION }, .reads = true },
	{ "session.set_limits", ROLE_CLIENT, "Changes limits of a session that runs: at most to the template's. Others stay as they are.",
	  "the session", method_session_set_limits, {
		SESSION,
		{ "limits", P_LIMITS, .required = true, .help = "those to change; only limits that can be changed while a session runs" },
	} },
	{ "session.pause", ROLE_CLIENT, "Freezes every process of a session.",
	  "the session", method_session_pause, { SESSION } },
	{ "session.resume", ROLE_CLIENT, "Thaws a paused session.",
	  "the session", method_session_resume, { SESSION } },
	{ "session.heartbeat", ROLE_CLIENT, "Counts as use: the idle timeout begins anew.",
	  "the session", method_session_heartbeat, { SESSION_OR_OWNER }, .reads = true },
	{ "session.extend", ROLE_CLIENT, "Moves the end of a session's time, or of the time that it may go unused.",
	  "the session", method_session_extend, {
		SESSION,
		{ "ttl_seconds", P_NUMBER | P_NULLABLE, .min = 0.1, .max = MAX_SECONDS, .help = "it ends so long from now; null: no end. Not past the template's max_ttl_seconds from creation" },
		{ "idle_timeout_seconds", P_NUMBER | P_NULLABLE, .min = 0.1, .max = MAX_SECONDS, .help = "it ends when not used for so long since its last use; null: no end. One of the two is required" },
	} },

	{ "volume.list", ROLE_CLIENT, "Volumes by name, a page at a time.",
	  "{volumes: [volume], next_cursor}: null on the last page", method_volume_list, {
		{ "owner", P_STRING, .min = 1, .max = MAX_OWNER, .help = "of this owner only" },
		{ "cursor", P_NAME, .help = "next_cursor of the page before" },
		{ "limit", P_INTEGER, .min = 1, .max = MAX_PAGE, .help = "volumes in a page, 100 by default" },
	}, .reads = true },
	{ "volume.get", ROLE_CLIENT, "One volume.",
	  "{name, owner, owner_hash, state, session, persistent, size_bytes, used_bytes, created_at, last_used_at}: state is free, in-use or removing; size_bytes is null for a directory, which has no bound, and used_bytes is what was taken of it when a session last gave it back", method_volume_get, { VOLUME }, .reads = true },
	{ "volume.remove", ROLE_CLIENT, "Removes a volume that no session has. Answers when its name is free again; its files go in the background.",
	  "the volume as it was", method_volume_remove, { VOLUME } },

	{ "pool.get", ROLE_OPERATOR, "Sessions that are kept ready: all pools that have or are to have any, or one template's.",
	  "{pools: [{template, size, ready, starting, claims, misses}]}", method_pool_get, {
		{ "template", P_NAME, .help = "of this template" },
	} },
	{ "pool.set", ROLE_OPERATOR, "How many sessions of a template are kept ready, instead of what the configuration says.",
	  "{template, size, ready, starting, claims, misses}", method_pool_set, {
		{ "template", P_NAME, .required = true, .help = "the template" },
		{ "size", P_INTEGER, .required = true, .min = 0, .max = 16384, .help = "how many; as far as max_sessions has room" },
	} },

	{ "exec.run", ROLE_CLIENT, "Runs a command in a session, and answers with what it printed when it has ended.",
	  "{exit_code, signal, stdout, stderr, logs, truncated, dropped_bytes, elapsed_seconds}", method_exec_run, {
		SESSION,
		{ "command", P_STRINGS, .required = true, .min = 1, .max = MAX_ARGS, .item_bytes = MAX_ARG_BYTES, .help = "argument vector; a program without a slash is looked for in PATH" },
		{ "env", P_STRING_MAP, .max = MAX_ENV, .item_bytes = MAX_ENV_BYTES, .help = "environment, added to the template's" },
		{ "cwd", P_STRING, .min = 1, .max = 1023, .help = "directory to run in, an absolute path; the workload's by default" },
		{ "user", P_STRING, .min = 1, .max = 63, .help = "name, name:group, uid or uid:gid in the session; the workload's by default" },
		{ "stdin", P_STRING, .min = 0, .max = 1 << 20, .help = "its standard input, which then ends; /dev/null by default" },
		{ "timeout_seconds", P_NUMBER, .min = 0.001, .max = MAX_SECONDS, .help = "then its process group is killed (SIGKILL), and the error timeout has in data.result what it printed; no end by default" },
		{ "max_output_bytes", P_INTEGER, .min = 0, .max = 1 << 24, .help = "of both streams together to keep, from the start: 1048576 by default; never more than fits into three quarters of client_limits.max_queued_bytes with all that the connection waits for" },
		{ "merge", P_BOOL, .help = "standard error goes where standard output goes" },
	} },

	{ "docker.build", ROLE_CLIENT, "Builds an image from a directory of the session, with its own Docker daemon. Tells its progress by events, too; ends when the client goes away.",
	  "{image_tag, image_id, logs, truncated, dropped_bytes, metrics: {image_size_mb, elapsed_seconds}}; a megabyte is a million bytes", method_docker_build, {
		SESSION,
		{ "context_path", P_STRING, .required = true, .min = 1, .max = 1023, .help = "the directory, from the template's workdir; it is sent without what its .dockerignore leaves out" },
		{ "dockerfile_path", P_STRING, .min = 1, .max = 1023, .help = "of the Dockerfile, in the directory; \"Dockerfile\" by default" },
		{ "image_tag", P_STRING, .required = true, .min = 1, .max = 256, .help = "what the image is to be called, as \"name:tag\"" },
		{ "build_args", P_STRING_MAP, .max = 64, .item_bytes = 256, .help = "values for the Dockerfile's ARG" },
		{ "timeout_seconds", P_NUMBER, .min = 0.001, .max = MAX_SECONDS, .help = "then it is cancelled, and the error timeout has in data.result what it said; no end by default" },
	} },
	{ "docker.cancel", ROLE_CLIENT, "Ends builds that are under way; their calls fail.",
	  "{cancelled}: how many", method_docker_cancel, {
		SESSION,
		{ "image_tag", P_STRING, .min = 1, .max = 256, .help = "those of this image only" },
	} },
	{ "docker.run", ROLE_CLIENT, "Runs a container in the session's own Docker daemon, and answers when it has ended unless it is detached.",
	  "{container_id, container_name, exit_code, logs, truncated, dropped_bytes, elapsed_seconds}; detached: without exit_code, logs and what they dropped", method_docker_run, {
		SESSION,
		{ "image", P_STRING, .required = true, .min = 1, .max = 256, .help = "an image of the session" },
		{ "command", P_STRINGS, .min = 1, .max = MAX_ARGS, .item_bytes = MAX_ARG_BYTES, .help = "instead of the image's" },
		{ "name", P_STRING, .min = 1, .max = 128, .help = "of the container; the daemon makes one up by default" },
		{ "ports", P_STRINGS, .min = 0, .max = 64, .item_bytes = 20, .help = "published at the session's address, as \"8080:80\" or \"53:53/udp\"; \"80\" takes a free one" },
		{ "env", P_STRING_MAP, .max = MAX_ENV, .item_bytes = MAX_ENV_BYTES, .help = "environment, added to the image's" },
		{ "detach", P_BOOL, .help = "answer when it has started" },
		{ "auto_remove", P_BOOL, .help = "remove it when it has ended, or when the client that waits for it goes away" },
	} },
	{ "docker.stop", ROLE_CLIENT, "Stops a container of the session's own Docker daemon.",
	  "{container_name, stopped, removed}", method_docker_stop, {
		SESSION,
		{ "container_name", P_STRING, .required = true, .min = 1, .max = 128, .help = "its name or id" },
		{ "timeout", P_INTEGER, .min = 0, .max = 3600, .help = "seconds until it is killed, 10 by default" },
		{ "remove", P_BOOL, .help = "remove it then" },
	} },
	{ "docker.ps", ROLE_CLIENT, "The containers of the session's own Docker daemon.",
	  "{containers: [{container_id, container_name, image, command, state, status, created_at_unix, ports}]}", method_docker_ps, {
		SESSION,
		{ "all", P_BOOL, .help = "those that do not run, too" },
	} },
	{ "docker.images", ROLE_CLIENT, "The images of the session's own Docker daemon.",
	  "{images: [{image_id, tags, size_bytes, created_at_unix}]}", method_docker_images, { SESSION } },

	{ "file.stat", ROLE_CLIENT, "What a file in a session is.",
	  "{type, size_bytes, mode, uid, gid, modified_at, links, target}: target of a symlink only", method_file_stat, {
		SESSION, PATH("absolute"),
		{ "follow", P_BOOL, .help = "of a symlink: what it leads to; by default itself" },
		FILE_COMMON,
	}, .reads = true },
	{ "file.list", ROLE_CLIENT, "What is in a directory, in order of names, a page at a time.",
	  "{entries: [{path, …as file.stat, unread}], next_cursor}: paths relative to the directory; unread: why a directory could not be gone into; null on the last page", method_file_list, {
		SESSION, PATH("of the directory, absolute"),
		{ "recursive", P_BOOL, .help = "and in the directories below, at most 100 deep" },
		{ "cursor", P_STRING, .min = 4, .max = 5464, .help = "next_cursor of the page before" },
		FILE_COMMON,
	}, .reads = true },
	{ "file.read", ROLE_CLIENT, "The contents of a regular file: up to 1 MiB in the answer, more by a stream.",
	  "{content, encoding, length, …as file.stat}, or {transfer, stream, length, …as file.stat} with so many bytes to come (null: up to the end)", method_file_read, {
		SESSION, PATH("absolute; a symlink is followed"),
		{ "offset", P_INTEGER, .min = 0, .max = MAX_SEQ, .help = "of the first byte" },
		{ "length", P_INTEGER, .min = 0, .max = MAX_SEQ, .help = "at most so many bytes; all by default" },
		{ "encoding", P_ENUM, .values = "utf-8|base64", .help = "base64 also for what is text; what is none always comes so" },
		STREAM_PARAM("true: by a stream, however short; false: never, more than 1 MiB is an error"),
		VIA, FILE_COMMON,
	}, .reads = true },
	{ "file.write", ROLE_CLIENT, "Writes a regular file, which appears, or replaces what has its name, when it is complete; a failure leaves nothing. By a stream: send, end your side, then file.wait.",
	  "as file.stat; or {transfer, stream}", method_file_write, {
		SESSION, PATH("absolute; a symlink is replaced, not followed"),
		{ "content", P_STRING, .max = 1 << 20, .help = "what it is to hold" },
		{ "encoding", P_ENUM, .values = "utf-8|base64", .help = "of content; utf-8 by default" },
		STREAM_PARAM("true: the contents come by a stream, of any size"),
		{ "size_bytes", P_INTEGER, .min = 0, .max = MAX_SEQ, .help = "of a stream: with any other number of bytes the file is not put in place. Here or in file.wait" },
		MODE("that of the file it replaces by default, else 0644"),
		{ "create_parents", P_BOOL, .help = "makes the directories above it that are missing" },
		VIA, FILE_COMMON,
	} },
	{ "file.mkdir", ROLE_CLIENT, "Makes a directory.",
	  "as file.stat", method_file_mkdir, {
		SESSION, PATH("absolute"),
		MODE("0755 by default"),
		{ "create_parents", P_BOOL, .help = "makes those above it, too; and it may be there already" },
		FILE_COMMON,
	} },
	{ "file.move", ROLE_CLIENT, "Gives a file or directory another name in the same file system.",
	  "as file.stat, of the new name", method_file_move, {
		SESSION, PATH("absolute"),
		{ "to", P_STRING, .required = true, .min = 1, .max = MAX_PATH, .help = "the new one, absolute" },
		{ "replace", P_BOOL, .help = "false: what has that name stays, and the error is already_exists; true by default" },
		FILE_COMMON,
	} },
	{ "file.delete", ROLE_CLIENT, "Removes a file, a symlink or a directory.",
	  "{removed}: how many", method_file_delete, {
		SESSION, PATH("absolute; a symlink itself"),
		{ "recursive", P_BOOL, .help = "with all that is in it; by default a directory must be empty" },
		FILE_COMMON,
	} },
	{ "file.wait", ROLE_CLIENT, "Answers when a stream of file.read, file.write, archive.get or archive.put has ended, with how. An outcome is kept for 60 seconds.",
	  "{transfer, size_bytes}, of a written file …as file.stat, of an archive {entries, skipped, first_skipped}", method_file_wait, {
		SESSION,
		{ "transfer", P_STRING, .required = true, .min = 1, .max = 32, .help = "as answered" },
		{ "size_bytes", P_INTEGER, .min = 0, .max = MAX_SEQ, .help = "of file.write: how many bytes were sent. Required if file.write was not told" },
	}, .reads = true },
	{ "archive.get", ROLE_CLIENT, "A directory with all that is in it, or one file, as a tar by a stream. Sockets and devices are left out.",
	  "{transfer, stream}", method_archive_get, {
		SESSION, PATH("absolute; the names in the tar are relative to it"),
		VIA, FILE_COMMON,
	}, .reads = true },
	{ "archive.put", ROLE_CLIENT, "Unpacks a tar that comes by a stream below a directory, and nowhere else. Modes, times, links and holes are kept; owners where the user may; devices are left out.",
	  "{transfer, stream}", method_archive_put, {
		SESSION, PATH("of the directory, absolute"),
		{ "create_parents", P_BOOL, .help = "makes it, and those above it, if it is not there" },
		VIA, FILE_COMMON,
	} },

	{ "exec.start", ROLE_CLIENT, "Starts a command that goes on whoever is connected, until it ends by itself. Its output waits until somebody is attached.",
	  "{exec, pid, streams: {stdin, stdout, stderr}}, or with tty {…, streams: {tty}}; each {token, expires_in_seconds}, or {fd} for \"via\": \"fd\"", method_exec_start, {
		SESSION,
		{ "command", P_STRINGS, .required = true, .min = 1, .max = MAX_ARGS, .item_bytes = MAX_ARG_BYTES, .help = "argument vector; a program without a slash is looked for in PATH" },
		COMMAND,
		{ "merge", P_BOOL, .help = "standard error goes where standard output goes" },
		{ "tty", P_BOOL, .help = "it gets a terminal: one stream for all" },
		ROWS_COLS(false),
		{ "timeout_seconds", P_NUMBER, .min = 0.001, .max = MAX_SECONDS, .help = "then its process group is killed (SIGKILL); no end by default" },
		VIA,
	} },
	{ "exec.attach", ROLE_CLIENT, "Streams to a command that exec.start has started. Of its standard streams the newest counts; a terminal has several viewers, and shows each what it showed before. Of one that has ended, streams give what nobody has read, and a terminal what it showed last.",
	  "{exec, pid, streams} as of exec.start", method_exec_attach, { SESSION, EXEC, VIA } },
	{ "exec.wait", ROLE_CLIENT, "Answers when the command has ended, also if it had before: the last 64 of a session are known for ten minutes.",
	  "{exec, exit_code, signal}: one of them null", method_exec_wait, {
		SESSION,
		EXEC,
		{ "timeout_seconds", P_NUMBER, .min = 0, .max = MAX_SECONDS, .help = "then the error timeout; for ever by default" },
	} },
	{ "exec.signal", ROLE_CLIENT, "Sends a signal to the command's process group.",
	  "{}", method_exec_signal, {
		SESSION,
		EXEC,
		{ "signal", P_STRING, .required = true, .min = 1, .max = 16, .help = "\"TERM\", \"SIGTERM\" or \"15\"" },
		{ "group", P_BOOL, .help = "false: to the command itself only" },
	} },
	{ "exec.resize", ROLE_CLIENT, "Gives the command's terminal another size.",
	  "{}", method_exec_resize, { SESSION, EXEC, ROWS_COLS(true) } },
	{ "exec.list", ROLE_CLIENT, "The session's commands that exec.start and terminal.open have started.",
	  "{execs: [{exec, terminal, command, state, tty, pid, uid, started_at, exit_code, signal, attached}]}", method_exec_list, { SESSION } },
	{ "terminal.open", ROLE_CLIENT, "A terminal that outlives connections, with a shell or another command; one of this name that is there is attached to. It first shows what it showed before, up to 64 KiB.",
	  "{terminal, exec, pid, created, stream}; the methods exec.* take either name", method_terminal_open, {
		SESSION,
		{ "name", P_NAME, .help = "its name; one is made up when none is given" },
		{ "command", P_STRINGS, .min = 1, .max = MAX_ARGS, .item_bytes = MAX_ARG_BYTES, .help = "argument vector; a shell by default" },
		COMMAND,
		ROWS_COLS(false),
		VIA,
	} },
	{ "terminal.attach", ROLE_CLIENT, "Another stream to a terminal; it first shows what it showed before, and then its end where it has ended. Whoever reads too slowly for the others misses some, and is told so.",
	  "{terminal, exec, pid, created: false, stream}", method_terminal_attach, {
		SESSION,
		{ "terminal", P_NAME, .required = true, .help = "its name, or the command's" },
		VIA,
	} },

	{ "port.connect", ROLE_CLIENT, "A connection to a port of a session, its loopback included, or to a socket in it.",
	  "{token, expires_in_seconds}: see streams; or {via: \"fd\"} and the descriptor", method_port_connect, {
		SESSION, PORT_OR_PATH,
		{ "via", P_ENUM, .values = "token|fd", .help = "how the connection is handed over: by a token, as a stream (the default), or as a descriptor" },
	} },
	{ "port.publish", ROLE_CLIENT, "Makes a socket of the host lead to a port of a session. The same again is the same endpoint. It ends with the session.",
	  "the endpoint: {name, port or path, unix or url}", method_port_publish, {
		SESSION,
		{ "as", P_OBJECT, .required = true, .help = "{\"unix\": true}, a socket that those may connect to who see the session; or {\"tcp\": {\"address\"?, \"port\"?}}, of those in the configuration (publish)" },
		PORT_OR_PATH,
		{ "name", P_NAME, .help = "of the endpoint, at most 32 characters; \"port-8080\", \"tcp-8080\" or \"socket-1\" by default" },
	} },
	{ "port.unpublish", ROLE_CLIENT, "Takes a published port back. Connections that there are go on.",
	  "{}", method_port_unpublish, {
		SESSION,
		{ "name", P_NAME, .required = true, .help = "of the endpoint" },
	} },

	{ "events.subscribe", ROLE_CLIENT, "Sends notifications \"event\" on this connection until it ends.",
	  "{last, boot_id, gone}: the newest event's number, and the range {from, to} that is no longer kept, or null", method_events_subscribe, {
		{ "since", P_INTEGER, .min = 0, .max = MAX_SEQ, .help = "the last number seen; what came after it is sent first" },
		{ "owner", P_STRING, .min = 1, .max = MAX_OWNER, .help = "of this owner's sessions only" },
		{ "session", P_NAME, .help = "of this session only" },
		{ "kinds", P_STRINGS, .min = 1, .max = 32, .item_bytes = 64, .help = "of these kinds only: \"session.ended\", or \"session.*\" for a group" },
	}, .reads = true },
};
/* clang-format on */

const size_t n_methods = ARRAY_SIZE(method_table);

const struct method *method_find(const char *name)
{
	for (size_t i = 0; i < n_methods; i++)
		if (streq(method_table[i].name, name))
			return &method_table[i];
	return NULL;
}
