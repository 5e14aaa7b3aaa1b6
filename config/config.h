/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The root-owned configuration: carrel.json and templates.d/NAME.json in one directory (by default /etc/carrel).
 * Read once at start by the supervisor (as root) and by control (as its user), each for itself; it is the only place
 * in the supervisor's program that includes a JSON library, and it never sees a byte that a peer wrote.
 *
 * Unknown members are refused; every error names file, line and member ("carrel.json:12: access[1].role: ...").
 * A table per object drives reading, defaults, ranges and the manual's member list.
 */
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "wire/egress.h"
#include "wire/limits.h"
#include "wire/super.h"

enum role {
	ROLE_NONE,
	ROLE_CLIENT,
	ROLE_OPERATOR,
	ROLE_ADMIN,
};

struct config_access {
	char *user;		/* a name or "#uid"; NULL where group is given */
	char *group;		/* a name or "#gid" */
	enum role role;
	char *owner_prefix;	/* clients: owners outside it are invisible; "" for none */
};

struct config_pool {
	char *template;
	uint32_t size;		/* sessions kept ready */
};

enum missing_controllers {
	MISSING_REFUSE,
	MISSING_WARN,
};

enum audit {
	AUDIT_NONE,
	AUDIT_CHANGES,
	AUDIT_ALL,
};

enum { CONFIG_MAX_NAMESERVERS = 3, CONFIG_MAX_LOOPBACK_PORTS = 16, CONFIG_MAX_TEMPLATES = 64 };
enum { CONFIG_MAX_ADDRESSES = 8, CONFIG_MAX_PUBLISH_PORTS = 4096 };

struct config_address {
	uint8_t family; /* 4 or 6 */
	uint8_t bytes[16];
};

struct config {
	char *user, *group;		/* control runs as; names or "#number". "carrel" */
	char *state_dir;		/* /var/lib/carrel: images, registry, volumes */
	char *run_dir;			/* /run/carrel: sockets, ledger, sessions' directories */
	char *cgroup;			/* below the root of the cgroup v2 tree: "carrel"; made when it is not there */
	enum missing_controllers missing_controllers;
	uint64_t reserve_memory_bytes, reserve_cpus;	/* "host_reserve": what sessions together leave; CPUs in thousandths */
	uint32_t max_sessions;		/* 512; also the number of slots */
	uint32_t spare_networks;	/* 4: network namespaces kept ready for the next sessions */
	uint32_t id_base;		/* 524288: first host id; slot N has [id_base + (N-1) * 65536, + 65536) */
	uint8_t ipv4[4];		/* 100.96.0.0/16: slot N is base + 2N, its host end base + 2N + 1 */
	uint32_t ipv4_bits;
	uint8_t ipv6[16];		/* fd63:6172:7265:6c00::/64, the same scheme, /127 */
	uint32_t ipv6_bits;
	bool has_ipv6;			/* "ipv6": null turns it off */
	size_t n_nameservers;
	uint8_t nameserver_family[CONFIG_MAX_NAMESERVERS];
	uint8_t nameservers[CONFIG_MAX_NAMESERVERS][16];
	/* where ports of sessions may be published ("publish") */
	struct config_address publish_addresses[CONFIG_MAX_ADDRESSES];	/* of the host; 127.0.0.1 */
	size_t n_publish_addresses;
	uint32_t publish_first_port, publish_last_port;		/* 20000 to 20999, all of them carrel's */
	enum role publish_role;					/* the least that may publish there: operator */
	struct egress_list *egress_lists;	/* policies beside "none" and "internet" */
	size_t n_egress_lists;
	/* access */
	struct config_access *access;
	size_t n_access;
	/* bounds on clients ("client_limits") */
	uint32_t max_connections, max_connections_per_uid;	/* 256, 64 */
	uint32_t max_in_flight;					/* 64 requests per connection */
	uint64_t max_queued_bytes;				/* 4 MiB of answers per connection */
	uint32_t max_sessions_per_uid, max_sessions_per_owner;	/* 0: no bound but max_sessions */
	uint32_t max_port_connections, max_port_connections_per_session;	/* 8192, 4096 that are relayed */
	uint32_t max_ports_per_session;				/* 16 published besides the template's */
	uint32_t max_volumes, max_volumes_per_owner;		/* 4096, 64 */
	uint32_t max_queued_creations;	/* 256 requests that wait for room */
	enum audit audit;					/* requests that are written to standard error */
	uint32_t event_history;					/* 10000 events kept; outside "client_limits" */

	struct config_pool *pools;
	size_t n_pools;

	struct template *templates;
	size_t n_templates;
};

enum probe_kind {
	PROBE_NONE,
	PROBE_HTTP,
	PROBE_TCP,
	PROBE_EXEC,
};

struct config_probe {
	enum probe_kind kind;
	uint16_t port;		/* 0 where unix_path is given */
	char *unix_path;	/* http: of a socket in the session, or NULL */
	char *path;		/* http: "/" */
	char **command;		/* exec: argv, NULL-terminated */
	uint64_t interval_ns;	/* first retry comes after it, too; 20 ms for readiness */
	uint64_t timeout_ns;	/* of the whole: the session fails when it is not ready by then. 30 s */
	uint64_t initial_delay_ns;	/* before the first attempt */
};

struct config_liveness {
	struct config_probe probe;	/* interval_ns: from one to the next, timeout_ns: of each */
	uint64_t initial_delay_ns;	/* from ready */
	uint32_t failure_threshold;	/* in a row */
	bool restart;			/* else the session ends */
	uint32_t max_restarts;
};

struct config_endpoint {
	char *name;		/* "cdp" */
	uint16_t port;		/* 0: a path instead */
	char *path;		/* of a socket in the session, or NULL */
	char *url;		/* "http://{address}:{port}"; of a port only */
	bool has_unix;		/* a socket of the host leads there; true */
};

enum config_mount_kind {
	MOUNT_TMPFS,
	MOUNT_BIND,
	MOUNT_SCRATCH,		/* an ext4 of the session's own on disk, of "size_bytes" */
};

struct config_mount {
	enum config_mount_kind kind;
	char *source;		/* bind: an absolute host path, shown read-only unless "writable" */
	char *target;
	bool read_only, noexec, suid;
	uint32_t mode, uid, gid;
	uint64_t bytes, inodes;
};

struct config_rlimit {
	int resource;		/* RLIMIT_* */
	uint64_t soft, hard;
};

enum volume_use {
	VOLUME_ASKED,		/* mounted when a request names the path */
	VOLUME_ENSURED,		/* and for a session.ensure that says nothing of volumes */
	VOLUME_ALWAYS,
};

struct config_volume {
	char *path;
	char *name;		/* of the volume where a request gives none, with {owner_hash} and {session}; NULL: it must */
	enum volume_use use;
	bool persistent;	/* unless a request says otherwise: it stays when the session ends */
	bool chromium_profile;	/* locks of a Chromium that was killed are removed, the host name is the volume's */
	uint64_t bytes;		/* its size, set aside on disk; 0: a directory, as large as the disk lets it be */
	uint32_t mode, uid, gid;	/* of its root when it is made, in the session's ids */
};

enum stop_kind {
	STOP_BY_SIGNAL,
	STOP_BY_CDP,
};

/* What clients do with a session. A template says which of it counts as use. */
enum activity {
	ACTIVITY_EXEC,		/* a command is started, is signalled, ends */
	ACTIVITY_STREAM,	/* bytes to or from a command without a terminal */
	ACTIVITY_TERMINAL,	/* something is typed into a terminal, or somebody attaches to one */
	ACTIVITY_PORT,		/* a connection to a port, and its bytes */
	ACTIVITY_FILE,		/* files and archives */
	ACTIVITY_API,		/* any call that names the session */
	ACTIVITY_COUNT,
};

#define ACTIVITY_WORDS "exec|stream|terminal|port|file|api" /* in the order of the enum */

struct template {
	char *name;		/* the file's name without .json */
	char *kind;		/* "browser", "dind", "minimal": shown to clients, no meaning of its own */
	char *description;
	/* the supervisor's part */
	char *image;		/* name in the image store */
	uint64_t capabilities;	/* bit N: capability N in the bounding set of the workload */
	bool no_new_privs;	/* true */
	char *seccomp;		/* name of a built-in profile: "minimal", "browser", "dind"; "" for none is refused */
	bool mask_proc;		/* "proc": "masked" (default) or "full" */
	bool cgroup;		/* delegate a cgroup subtree and show it at /sys/fs/cgroup */
	struct limits limits;	/* ceilings and defaults; every template must set memory_bytes, cpus, pids, root_bytes */
	struct config_mount *mounts;
	size_t n_mounts;
	struct config_volume *volumes;	/* at most SUPER_MAX_VOLUMES */
	size_t n_volumes;
	struct config_rlimit *rlimits;
	size_t n_rlimits;
	char *egress;		/* "none" (default), "internet", or one of the configuration's egress_lists */
	char **egress_allowed;	/* policies a request may name instead, NULL-terminated */
	uint16_t loopback_ports[CONFIG_MAX_LOOPBACK_PORTS];	/* reached at the session's address though bound to 127.0.0.1 */
	size_t n_loopback_ports;
	/* control's part */
	char **command;		/* argv, NULL-terminated; NULL: the image's entrypoint */
	char **env;		/* "NAME=value", NULL-terminated */
	uint32_t uid, gid;
	char *workdir;
	enum stop_kind stop_kind;
	int stop_signal;
	uint64_t grace_ns;
	bool cdp_pipe;		/* the workload gets a debugging pipe at descriptors 3 and 4 ("stop": {"cdp": true}) */
	struct config_probe readiness;
	struct config_liveness liveness;	/* probe.kind PROBE_NONE: none */
	struct config_endpoint *endpoints;
	size_t n_endpoints;
	uint64_t ttl_ns, idle_ns;	/* UINT64_MAX: never */
	uint32_t max_sessions;	/* at once; 0: as many as the host takes */
	uint64_t max_ttl_ns;	/* from creation; no request moves an end past it. UINT64_MAX: no bound */
	char **activity_words;	/* of ACTIVITY_WORDS, NULL-terminated */
	uint32_t activity;	/* bit N: enum activity N counts as use */
	char *constant_hostname;	/* "" or a name used for every session of the template */
};

/*
 * Reads DIRECTORY/carrel.json and DIRECTORY/templates.d. Files must belong to root (or to the caller's own uid) and
 * be writable by nobody else. 0 and *RET (config_free() it), or -EINVAL / the errno of what failed, with a message of
 * one line in ERROR.
 */
int config_load(const char *directory, struct config *ret, char *error, size_t error_size);
void config_free(struct config *config);

/* Its sessions have a volume whatever a request says. */
bool template_always_has_volume(const struct template *template);

/* NULL when there is no such template. */
const struct template *config_template(const struct config *config, const char *name);

/*
 * How many slot numbers are needed. Networks made ahead must not take numbers away from sessions; in the worst case each
 * template has loopback ports of its own, and so spares of its own.
 */
uint32_t config_slots(const struct config *config);

/* Names in the file: "admin", ... and back; NULL / ROLE_NONE for none. */
const char *role_name(enum role role);

/* Prints every member of carrel.json and of a template with type, default and help, for the manual page's check. */
void config_print_members(FILE *out);
