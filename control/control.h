/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one struct of the control process, and what its two halves ask of each other: the server (conn.c, rpc.c,
 * methods.c: connections, frames, validation, roles) and the lifecycle (session.c, registry.c, probe.c: sessions from
 * creation to end).
 */
#pragma once

#include <stdio.h>

#include "control/methods.h"
#include "wire/loop.h"

struct access; /* who has which role */
struct server; /* connections and the listening socket */
struct streams; /* tokens and the socket where they are shown */
struct lifecycle; /* sessions, the supervisor's channel, the registry, events */

struct control {
	struct loop loop;
	struct config config;
	const char *config_directory; /* as given to the program, for messages that say what to edit */
	struct access *access; /* config.access with its names looked up */
	char boot_id[40]; /* of the host: sequence numbers and times of another boot are told apart by it */
	struct server *server;
	struct streams *streams;
	struct lifecycle *lifecycle;
	uint64_t started_ns; /* CLOCK_BOOTTIME */
	size_t n_descriptors; /* RLIMIT_NOFILE */
	int net_dev_fd; /* /proc/self/net/dev: the host's interfaces and what passed through them; -1: not there */
	int meminfo_fd; /* /proc/meminfo, opened before the sandbox; or -1 */
	uint32_t n_cpus; /* on line when this process began */
};

/* ---- server (control/server.c) ---- */

/* Serves LISTEN_FD (a nonblocking listening stream socket, taken over). 0 or a negative errno. */
int server_start(struct control *control, int listen_fd);

/*
 * Ends every connection: their conn_on_close() functions are called, so the lifecycle must still be there. Calls that
 * it has not answered yet stay valid, and must be answered still.
 */
void server_stop(struct control *control);

/*
 * Who is at the other end of a unix socket, as it was when it connected: ids, role and prefix; ROLE_NONE when no entry
 * of the configuration fits. 0 or a negative errno.
 */
int server_identify(const struct control *control, int fd, struct caller *ret);

/* ---- lifecycle (control/lifecycle.c) ---- */

/*
 * Opens the registry below the state directory, takes over the channel to the supervisor, says hello and asks for the
 * sessions that live; sessions of the registry that do not are ended. READY is called once the list is whole: only
 * then does main start the server. 0 or a negative errno with a message on standard error.
 */
int lifecycle_start(struct control *control, int super_fd, void (*ready)(struct control *control));
void lifecycle_stop(struct control *control);

/* Counts for system.health: states by name ("ready": 3, ...), a new object. */
json_t *lifecycle_states(const struct control *control);

/* "ok"; "draining": it takes no new sessions; "degraded": the registry cannot be written. */
const char *lifecycle_status(const struct control *control);

/* The lifecycle's part of system.metrics, in Prometheus' text format. */
void lifecycle_print_metrics(const struct control *control, FILE *out);

/* Sessions that have not ended, and those of them that are ready. */
void lifecycle_count(const struct control *control, size_t *ret_live, size_t *ret_ready);

/* system.check: asks the supervisor and answers CALL with {items: [{name, state, detail, remedy}]}. */
void lifecycle_check(struct call *call);

/* Handlers of session.* and events.subscribe, rows of the methods table. */
void method_session_create(struct call *call);
void method_session_ensure(struct call *call);
void method_session_get(struct call *call);
void method_session_list(struct call *call);
void method_session_wait(struct call *call);
void method_session_stop(struct call *call);
void method_session_remove(struct call *call);
void method_session_logs(struct call *call);
void method_session_stats(struct call *call);
void method_session_set_limits(struct call *call);
void method_session_pause(struct call *call);
void method_session_resume(struct call *call);
void method_session_heartbeat(struct call *call);
void method_session_extend(struct call *call);
void method_pool_get(struct call *call);
void method_pool_set(struct call *call);
void method_volume_list(struct call *call);
void method_volume_get(struct call *call);
void method_volume_remove(struct call *call);
void method_exec_run(struct call *call);
void method_system_drain(struct call *call);
void method_system_capacity(struct call *call);
void method_docker_build(struct call *call);
void method_docker_cancel(struct call *call);
void method_docker_run(struct call *call);
void method_docker_stop(struct call *call);
void method_docker_ps(struct call *call);
void method_docker_images(struct call *call);
void method_file_list(struct call *call);
void method_file_stat(struct call *call);
void method_file_read(struct call *call);
void method_file_write(struct call *call);
void method_file_mkdir(struct call *call);
void method_file_move(struct call *call);
void method_file_delete(struct call *call);
void method_file_wait(struct call *call);
void method_archive_get(struct call *call);
void method_archive_put(struct call *call);
void method_exec_start(struct call *call);
void method_exec_attach(struct call *call);
void method_exec_resize(struct call *call);
void method_exec_signal(struct call *call);
void method_exec_wait(struct call *call);
void method_exec_list(struct call *call);
void method_terminal_open(struct call *call);
void method_terminal_attach(struct call *call);
void method_port_connect(struct call *call);
void method_port_publish(struct call *call);
void method_port_unpublish(struct call *call);
void method_events_subscribe(struct call *call);
