// SPDX-License-Identifier: Apache-2.0
// Written by tools/update-clients from the methods table. Do not edit.

import { CallOptions, CarrelError } from './base.js';

export type SessionState = "creating" | "starting" | "ready" | "paused" | "stopping" | "ended";

export type EndReason = "stopped" | "expired" | "idle" | "exited" | "failed" | "unhealthy" | "oom" | "host-restart";

export type Isolation = "shared" | "per-owner" | "per-task";

export interface End {
	reason: EndReason;
	at: string;
	exit_code?: number;
	signal?: number;
	step?: string;
	errno?: string;
	message?: string;
	log_tail?: string;
}

export interface Endpoint {
	url?: string | null;
	unix?: string;
}

export interface LimitValue {
	value: number;
	enforced: boolean;
}

export interface Step {
	step: string;
	ms: number;
}

export interface Session {
	id: string;
	isolation: Isolation | null;
	template: string;
	kind: string;
	owner: string;
	owner_hash: string;
	task_id: string | null;
	state: SessionState;
	created_at: string;
	ready_at: string | null;
	expires_at: string | null;
	idle_deadline: string | null;
	last_activity_at: string | null;
	end: End | null;
	address: string | null;
	ipv6: string | null;
	hostname: string;
	cdp_url: string | null;
	rpc_url: string | null;
	browser_view: string | null;
	endpoints: Record<string, Endpoint>;
	limits: Record<string, LimitValue>;
	labels: Record<string, string>;
	restarts: number;
	volumes: Array<any>;
	timeline: Array<Step>;
}

export interface EnsuredSession extends Session {
	isolation_mode: Isolation;
	created: boolean;
}

export interface SessionList {
	sessions: Array<Session>;
	next_cursor: string | null;
}

export interface LogEntry {
	at: string;
	stream: "stdout" | "stderr" | "init";
	text: string;
}

export interface Logs {
	entries: Array<LogEntry>;
	next: number;
	skipped_bytes: number;
	more: boolean;
	ended: boolean;
}

export interface Room {
	limit: number;
	free: number;
}

export interface Space {
	mount: string;
	bytes: Room;
	inodes: Room;
}

export interface Stats {
	session: string;
	memory: Record<string, number | null> | null;
	cpu: Record<string, number | null> | null;
	pids: Record<string, number | null> | null;
	io: any;
	network: any;
	ports?: any;
	pressure: any;
	limits: Record<string, LimitValue>;
	space: Array<Space> | null;
}

export interface Version {
	major: number;
	minor: number;
}

export interface Hello {
	api: Version;
	version: string;
	boot_id: string;
	role: "client" | "operator" | "admin";
	owner_prefix: string;
	limits: Record<string, number>;
	capabilities: Array<string>;
}

export interface Health {
	status: string;
	active_sessions: number;
	sessions_by_state: Record<string, number>;
	docker_available: boolean;
	supervisor: string;
	uptime_seconds: number;
}

export interface CheckItem {
	name: string;
	state: "ok" | "degraded" | "missing";
	detail: string;
	remedy: string | null;
}

export interface Check {
	items: Array<CheckItem>;
}

export interface TemplateEndpoint {
	name: string;
	port: number;
	url: string;
}

export interface Template {
	name: string;
	kind: string;
	description: string;
	image: string;
	limits: Record<string, number>;
	ttl_seconds: number | null;
	max_ttl_seconds: number | null;
	idle_timeout_seconds: number | null;
	max_sessions: number | null;
	grace_seconds: number;
	egress: string;
	egress_allowed: Array<string>;
	endpoints: Array<TemplateEndpoint>;
}

export interface TemplateList {
	templates: Array<Template>;
}

export interface ExecResult {
	exit_code: number | null;
	signal: number | null;
	stdout: string;
	stderr: string;
	logs: Array<string>;
	truncated: boolean;
	dropped_bytes: number;
	elapsed_seconds: number;
}

export interface Gone {
	from: number;
	to: number;
}

export interface Event {
	seq?: number;
	boot_id?: string;
	at?: string;
	kind: string;
	session?: string | null;
	owner?: string;
	template?: string | null;
	gone?: Gone;
	reason?: EndReason;
	exit_code?: number;
	signal?: number;
	step?: string;
	errno?: string;
	message?: string;
	log_tail?: string;
}

export interface Subscription {
	last: number;
	boot_id: string;
	gone: Gone | null;
}

export interface StreamOffer {
	token?: string;
	expires_in_seconds?: number;
	fd?: number;
}

export interface FileStat {
	type: "file" | "directory" | "symlink" | "fifo" | "socket" | "char-device" | "block-device" | "unknown";
	size_bytes: number;
	mode: string;
	uid: number;
	gid: number;
	modified_at: string | null;
	links: number;
	target?: string | null;
}

export interface FileEntry extends FileStat {
	path: string;
	unread?: string | null;
}

export interface FileList {
	entries: Array<FileEntry>;
	next_cursor: string | null;
}

export interface FileContent extends FileStat {
	content: string;
	encoding: "utf-8" | "base64";
	length: number;
}

export interface FileStream extends FileStat {
	transfer: string;
	stream: StreamOffer;
	length: number | null;
}

export interface Transfer {
	transfer: string;
	stream: StreamOffer;
}

export interface Removed {
	removed: number;
}

export interface Started {
	exec: string;
	pid: number;
	streams: Record<string, StreamOffer>;
}

export interface Ended {
	exec: string;
	exit_code: number | null;
	signal: number | null;
}

export interface OpenedTerminal {
	terminal: string;
	exec: string;
	pid: number;
	created: boolean;
	stream: StreamOffer;
}

export interface Exec {
	exec: string;
	terminal: string | null;
	command: string;
	state: "starting" | "running" | "ended";
	tty: boolean;
	pid: number | null;
	uid: number;
	started_at: string;
	exit_code: number | null;
	signal: number | null;
	attached: number;
}

export interface ExecList {
	execs: Array<Exec>;
}

export interface PublishedPort {
	name: string;
	port?: number;
	path?: string;
	unix?: string;
	url?: string;
}

export interface Limits {
	/** hard limit of memory, page cache and tmpfs included; past it the session is killed as a whole */
	memory_bytes?: number;
	/** above this the session is slowed and its memory reclaimed */
	memory_high_bytes?: number;
	/** up to this memory is kept for the session when the host is short of it */
	memory_low_bytes?: number;
	/** hard limit of swap */
	swap_bytes?: number;
	/** CPUs' worth of time per 100 ms */
	cpus?: number;
	/** share of contended CPU time, 100 by default */
	cpu_weight?: number;
	/** processes and threads */
	pids?: number;
	/** what may be written to the root file system */
	root_bytes?: number;
	/** files that may be made in the root file system */
	root_inodes?: number;
	/** size of /dev/shm */
	shm_bytes?: number;
	/** open descriptors of each process */
	open_files?: number;
	/** read from the disk that has the state directory */
	io_read_bytes_per_second?: number;
	/** written to that disk */
	io_write_bytes_per_second?: number;
	/** read operations on that disk */
	io_reads_per_second?: number;
	/** write operations on that disk */
	io_writes_per_second?: number;
	/** pseudo-terminals, 1024 by default */
	terminals?: number;
	/** inotify instances of each user of the session; all of them together have the host's fs.inotify.max_user_instances */
	inotify_instances?: number;
	/** inotify watches, likewise */
	inotify_watches?: number;
	/** user namespaces that each user of the session may make */
	user_namespaces?: number;
	/** mount namespaces, likewise */
	mount_namespaces?: number;
	/** network namespaces, likewise; the session's own is one of them */
	network_namespaces?: number;
	/** received by the session, IPv4 and IPv6 together; what is more is dropped */
	network_rx_bytes_per_second?: number;
	/** sent by the session, likewise */
	network_tx_bytes_per_second?: number;
}

/** no such thing, or it belongs to an owner outside the caller's prefix */
export class NotFound extends CarrelError {}

/** the id is taken */
export class AlreadyExists extends CarrelError {}

/** the idempotency key was used with other parameters, a lease is held, or a volume is of the other kind */
export class Conflict extends CarrelError {}

/** the caller's role or owner prefix does not permit it */
export class Denied extends CarrelError {}

/** a bound on connections, requests or bytes is reached; ask again after retry_after_ms */
export class Busy extends CarrelError {}

/** a configured limit is reached or would be passed; the message names it */
export class Limit extends CarrelError {}

/** the session's state does not allow it */
export class InvalidState extends CarrelError {}

/** it did not happen within the time given */
export class Timeout extends CarrelError {}

/** the session ended, or did not become ready in time */
export class NotReady extends CarrelError {}

/** a step failed and everything before it was undone; step and errno say which and why */
export class Failed extends CarrelError {}

/** this host or this version cannot do it */
export class Unavailable extends CarrelError {}

/** the host takes no new sessions */
export class Draining extends CarrelError {}

/** a parameter is missing, unknown or out of range; path names it */
export class InvalidParams extends CarrelError {}

/** Parameters of hello. */
export interface HelloParams {
	/** name and version of the calling program, for people */
	client?: string;
	/** the major version wanted; another one is refused (1 to 1000) */
	api?: number;
}

/** Parameters of system.drain. */
export interface SystemDrainParams {
	/** whether it is drained from now on */
	on: boolean;
}

/** Parameters of template.get. */
export interface TemplateGetParams {
	/** its name */
	template: string;
}

/** Parameters of session.create. */
export interface SessionCreateParams {
	/** what it is made from */
	template: string;
	/** its id; one is made up when none is given */
	id?: string;
	/** whom it belongs to; a client's owner prefix by default */
	owner?: string;
	/** what it is for, in the caller's words */
	task_id?: string;
	/** words for session.list to select by */
	labels?: Record<string, string>;
	/** it ends after this long, used or not; null: never. The template's by default */
	ttl_seconds?: number | null;
	/** it ends when not used for this long; null: never. The template's by default */
	idle_timeout_seconds?: number | null;
	/** lower limits than the template's, by name; the reference ends with a list of them */
	limits?: Limits;
	/** environment of the workload, added to the template's */
	env?: Record<string, string>;
	/** as env, but shown and kept nowhere */
	secrets?: Record<string, string>;
	/** a network policy that the template allows */
	egress?: string;
	/** what is mounted where the template has places for volumes: [{path, name?, persistent?}]; a volume that is not there yet is made */
	volumes?: Array<Limits>;
	/** argument vector of the workload instead of the template's */
	command?: Array<string>;
	/** when to answer: when the workload runs, or (the default) when its readiness probe has succeeded, too */
	wait?: "created" | "ready";
	/** wait so long, in the order of asking, for room on the host or for the template; without it the answer is then busy (0 to 3600) */
	queue_timeout_seconds?: number;
	/** makes asking again safe; other parameters with the same key are a conflict */
	idempotency_key?: string;
}

/** Parameters of session.ensure. */
export interface SessionEnsureParams {
	/** one session for all who ask with the same owner or none, one for each owner, or one for each task */
	isolation: "shared" | "per-owner" | "per-task";
	/** what it is made from */
	template: string;
	/** whom it belongs to. By default: per-task, the task_id; else the first that there is of metadata.user_id, metadata.session_id, thread_id, task_id and "default", below the owner prefix that a client has */
	owner?: string;
	/** what it is for; required with per-task unless owner is given */
	task_id?: string;
	/** may name the owner */
	thread_id?: string;
	/** its members user_id and session_id may name the owner; the others are not looked at */
	metadata?: Record<string, any>;
	/** the id of a session that is made; one is made up when none is given */
	id?: string;
	/** words for session.list to select by */
	labels?: Record<string, string>;
	/** it ends after this long, used or not; null: never. The template's by default */
	ttl_seconds?: number | null;
	/** it ends when not used for this long; null: never. The template's by default */
	idle_timeout_seconds?: number | null;
	/** lower limits than the template's, by name; the reference ends with a list of them */
	limits?: Limits;
	/** environment of the workload, added to the template's */
	env?: Record<string, string>;
	/** as env, but shown and kept nowhere */
	secrets?: Record<string, string>;
	/** a network policy that the template allows */
	egress?: string;
	/** what is mounted where the template has places for volumes: [{path, name?, persistent?}]; a volume that is not there yet is made */
	volumes?: Array<Limits>;
	/** argument vector of the workload instead of the template's */
	command?: Array<string>;
	/** when to answer: when the workload runs, or (the default) when its readiness probe has succeeded, too */
	wait?: "created" | "ready";
	/** wait so long, in the order of asking, for room on the host or for the template; without it the answer is then busy (0 to 3600) */
	queue_timeout_seconds?: number;
	/** makes asking again safe; other parameters with the same key are a conflict */
	idempotency_key?: string;
}

/** Parameters of session.get. */
export interface SessionGetParams {
	/** the session's id */
	session?: string;
	/** or its owner: the newest of his sessions, one that has not ended first */
	owner?: string;
}

/** Parameters of session.list. */
export interface SessionListParams {
	/** of this owner only */
	owner?: string;
	/** of this template only */
	template?: string;
	/** in this state only */
	state?: "creating" | "starting" | "ready" | "paused" | "stopping" | "ended";
	/** with all of these labels */
	labels?: Record<string, string>;
	/** next_cursor of the page before */
	cursor?: string;
	/** sessions in a page, 100 by default (1 to 1000) */
	limit?: number;
}

/** Parameters of session.wait. */
export interface SessionWaitParams {
	/** the session's id */
	session: string;
	/** what to wait for */
	for: "ready" | "ended";
	/** then the error timeout; for ever by default (0 to 31622400) */
	timeout_seconds?: number;
}

/** Parameters of session.stop. */
export interface SessionStopParams {
	/** the session's id */
	session?: string;
	/** or its owner: the newest of his sessions, one that has not ended first */
	owner?: string;
	/** instead of the template's (0 to 3600) */
	grace_seconds?: number;
}

/** Parameters of session.remove. */
export interface SessionRemoveParams {
	/** the session's id */
	session?: string;
	/** or its owner: the newest of his sessions, one that has not ended first */
	owner?: string;
	/** what becomes of all its volumes; by default of each what was said when the session was made */
	volumes?: "keep" | "remove";
}

/** Parameters of session.logs. */
export interface SessionLogsParams {
	/** the session's id */
	session: string;
	/** as more is written, send notifications "log" of the same form on this connection, until ended */
	follow?: boolean;
	/** next of an earlier answer */
	since?: number;
	/** of text in the answer, 65536 by default (1 to 524288) */
	max_bytes?: number;
}

/** Parameters of session.stats. */
export interface SessionStatsParams {
	/** the session's id */
	session: string;
}

/** Parameters of session.set_limits. */
export interface SessionSetLimitsParams {
	/** the session's id */
	session: string;
	/** those to change; only limits that can be changed while a session runs */
	limits: Limits;
}

/** Parameters of session.pause. */
export interface SessionPauseParams {
	/** the session's id */
	session: string;
}

/** Parameters of session.resume. */
export interface SessionResumeParams {
	/** the session's id */
	session: string;
}

/** Parameters of session.heartbeat. */
export interface SessionHeartbeatParams {
	/** the session's id */
	session?: string;
	/** or its owner: the newest of his sessions, one that has not ended first */
	owner?: string;
}

/** Parameters of session.extend. */
export interface SessionExtendParams {
	/** the session's id */
	session: string;
	/** it ends so long from now; null: no end. Not past the template's max_ttl_seconds from creation */
	ttl_seconds?: number | null;
	/** it ends when not used for so long since its last use; null: no end. One of the two is required */
	idle_timeout_seconds?: number | null;
}

/** Parameters of volume.list. */
export interface VolumeListParams {
	/** of this owner only */
	owner?: string;
	/** next_cursor of the page before */
	cursor?: string;
	/** volumes in a page, 100 by default (1 to 1000) */
	limit?: number;
}

/** Parameters of volume.get. */
export interface VolumeGetParams {
	/** the volume's name */
	volume: string;
}

/** Parameters of volume.remove. */
export interface VolumeRemoveParams {
	/** the volume's name */
	volume: string;
}

/** Parameters of pool.get. */
export interface PoolGetParams {
	/** of this template */
	template?: string;
}

/** Parameters of pool.set. */
export interface PoolSetParams {
	/** the template */
	template: string;
	/** how many; as far as max_sessions has room (0 to 16384) */
	size: number;
}

/** Parameters of exec.run. */
export interface ExecRunParams {
	/** the session's id */
	session: string;
	/** argument vector; a program without a slash is looked for in PATH */
	command: Array<string>;
	/** environment, added to the template's */
	env?: Record<string, string>;
	/** directory to run in, an absolute path; the workload's by default */
	cwd?: string;
	/** name, name:group, uid or uid:gid in the session; the workload's by default */
	user?: string;
	/** its standard input, which then ends; /dev/null by default */
	stdin?: string;
	/** then its process group is killed (SIGKILL), and the error timeout has in data.result what it printed; no end by default (0.001 to 31622400) */
	timeout_seconds?: number;
	/** of both streams together to keep, from the start: 1048576 by default; never more than fits into three quarters of client_limits.max_queued_bytes with all that the connection waits for (0 to 16777216) */
	max_output_bytes?: number;
	/** standard error goes where standard output goes */
	merge?: boolean;
}

/** Parameters of docker.build. */
export interface DockerBuildParams {
	/** the session's id */
	session: string;
	/** the directory, from the template's workdir; it is sent without what its .dockerignore leaves out */
	context_path: string;
	/** what the image is to be called, as "name:tag" */
	image_tag: string;
	/** of the Dockerfile, in the directory; "Dockerfile" by default */
	dockerfile_path?: string;
	/** values for the Dockerfile's ARG */
	build_args?: Record<string, string>;
	/** then it is cancelled, and the error timeout has in data.result what it said; no end by default (0.001 to 31622400) */
	timeout_seconds?: number;
}

/** Parameters of docker.cancel. */
export interface DockerCancelParams {
	/** the session's id */
	session: string;
	/** those of this image only */
	image_tag?: string;
}

/** Parameters of docker.run. */
export interface DockerRunParams {
	/** the session's id */
	session: string;
	/** an image of the session */
	image: string;
	/** instead of the image's */
	command?: Array<string>;
	/** of the container; the daemon makes one up by default */
	name?: string;
	/** published at the session's address, as "8080:80" or "53:53/udp"; "80" takes a free one */
	ports?: Array<string>;
	/** environment, added to the image's */
	env?: Record<string, string>;
	/** answer when it has started */
	detach?: boolean;
	/** remove it when it has ended, or when the client that waits for it goes away */
	auto_remove?: boolean;
}

/** Parameters of docker.stop. */
export interface DockerStopParams {
	/** the session's id */
	session: string;
	/** its name or id */
	container_name: string;
	/** seconds until it is killed, 10 by default (0 to 3600) */
	timeout?: number;
	/** remove it then */
	remove?: boolean;
}

/** Parameters of docker.ps. */
export interface DockerPsParams {
	/** the session's id */
	session: string;
	/** those that do not run, too */
	all?: boolean;
}

/** Parameters of docker.images. */
export interface DockerImagesParams {
	/** the session's id */
	session: string;
}

/** Parameters of file.stat. */
export interface FileStatParams {
	/** the session's id */
	session: string;
	/** absolute */
	path: string;
	/** of a symlink: what it leads to; by default itself */
	follow?: boolean;
	/** whose rights count: name, name:group, uid or uid:gid in the session; the workload's by default */
	user?: string;
	/** then the error timeout; 30 by default, of a stream none, but one on which nothing moves for 60 ends (0.001 to 31622400) */
	timeout_seconds?: number;
}

/** Parameters of file.list. */
export interface FileListParams {
	/** the session's id */
	session: string;
	/** of the directory, absolute */
	path: string;
	/** and in the directories below, at most 100 deep */
	recursive?: boolean;
	/** next_cursor of the page before */
	cursor?: string;
	/** whose rights count: name, name:group, uid or uid:gid in the session; the workload's by default */
	user?: string;
	/** then the error timeout; 30 by default, of a stream none, but one on which nothing moves for 60 ends (0.001 to 31622400) */
	timeout_seconds?: number;
}

/** Parameters of file.read. */
export interface FileReadParams {
	/** the session's id */
	session: string;
	/** absolute; a symlink is followed */
	path: string;
	/** of the first byte */
	offset?: number;
	/** at most so many bytes; all by default */
	length?: number;
	/** base64 also for what is text; what is none always comes so */
	encoding?: "utf-8" | "base64";
	/** true: by a stream, however short; false: never, more than 1 MiB is an error */
	stream?: boolean;
	/** fd: the stream comes as a descriptor with the answer (SCM_RIGHTS); a token for stream.sock by default */
	via?: "token" | "fd";
	/** whose rights count: name, name:group, uid or uid:gid in the session; the workload's by default */
	user?: string;
	/** then the error timeout; 30 by default, of a stream none, but one on which nothing moves for 60 ends (0.001 to 31622400) */
	timeout_seconds?: number;
}

/** Parameters of file.write. */
export interface FileWriteParams {
	/** the session's id */
	session: string;
	/** absolute; a symlink is replaced, not followed */
	path: string;
	/** what it is to hold */
	content?: string;
	/** of content; utf-8 by default */
	encoding?: "utf-8" | "base64";
	/** true: the contents come by a stream, of any size */
	stream?: boolean;
	/** of a stream: with any other number of bytes the file is not put in place. Here or in file.wait */
	size_bytes?: number;
	/** permissions in octal, "0644"; that of the file it replaces by default, else 0644 */
	mode?: string;
	/** makes the directories above it that are missing */
	create_parents?: boolean;
	/** fd: the stream comes as a descriptor with the answer (SCM_RIGHTS); a token for stream.sock by default */
	via?: "token" | "fd";
	/** whose rights count: name, name:group, uid or uid:gid in the session; the workload's by default */
	user?: string;
	/** then the error timeout; 30 by default, of a stream none, but one on which nothing moves for 60 ends (0.001 to 31622400) */
	timeout_seconds?: number;
}

/** Parameters of file.mkdir. */
export interface FileMkdirParams {
	/** the session's id */
	session: string;
	/** absolute */
	path: string;
	/** permissions in octal, "0644"; 0755 by default */
	mode?: string;
	/** makes those above it, too; and it may be there already */
	create_parents?: boolean;
	/** whose rights count: name, name:group, uid or uid:gid in the session; the workload's by default */
	user?: string;
	/** then the error timeout; 30 by default, of a stream none, but one on which nothing moves for 60 ends (0.001 to 31622400) */
	timeout_seconds?: number;
}

/** Parameters of file.move. */
export interface FileMoveParams {
	/** the session's id */
	session: string;
	/** absolute */
	path: string;
	/** the new one, absolute */
	to: string;
	/** false: what has that name stays, and the error is already_exists; true by default */
	replace?: boolean;
	/** whose rights count: name, name:group, uid or uid:gid in the session; the workload's by default */
	user?: string;
	/** then the error timeout; 30 by default, of a stream none, but one on which nothing moves for 60 ends (0.001 to 31622400) */
	timeout_seconds?: number;
}

/** Parameters of file.delete. */
export interface FileDeleteParams {
	/** the session's id */
	session: string;
	/** absolute; a symlink itself */
	path: string;
	/** with all that is in it; by default a directory must be empty */
	recursive?: boolean;
	/** whose rights count: name, name:group, uid or uid:gid in the session; the workload's by default */
	user?: string;
	/** then the error timeout; 30 by default, of a stream none, but one on which nothing moves for 60 ends (0.001 to 31622400) */
	timeout_seconds?: number;
}

/** Parameters of file.wait. */
export interface FileWaitParams {
	/** the session's id */
	session: string;
	/** as answered */
	transfer: string;
	/** of file.write: how many bytes were sent. Required if file.write was not told */
	size_bytes?: number;
}

/** Parameters of archive.get. */
export interface ArchiveGetParams {
	/** the session's id */
	session: string;
	/** absolute; the names in the tar are relative to it */
	path: string;
	/** fd: the stream comes as a descriptor with the answer (SCM_RIGHTS); a token for stream.sock by default */
	via?: "token" | "fd";
	/** whose rights count: name, name:group, uid or uid:gid in the session; the workload's by default */
	user?: string;
	/** then the error timeout; 30 by default, of a stream none, but one on which nothing moves for 60 ends (0.001 to 31622400) */
	timeout_seconds?: number;
}

/** Parameters of archive.put. */
export interface ArchivePutParams {
	/** the session's id */
	session: string;
	/** of the directory, absolute */
	path: string;
	/** makes it, and those above it, if it is not there */
	create_parents?: boolean;
	/** fd: the stream comes as a descriptor with the answer (SCM_RIGHTS); a token for stream.sock by default */
	via?: "token" | "fd";
	/** whose rights count: name, name:group, uid or uid:gid in the session; the workload's by default */
	user?: string;
	/** then the error timeout; 30 by default, of a stream none, but one on which nothing moves for 60 ends (0.001 to 31622400) */
	timeout_seconds?: number;
}

/** Parameters of exec.start. */
export interface ExecStartParams {
	/** the session's id */
	session: string;
	/** argument vector; a program without a slash is looked for in PATH */
	command: Array<string>;
	/** environment, added to the template's */
	env?: Record<string, string>;
	/** directory to run in, an absolute path; the workload's by default */
	cwd?: string;
	/** name, name:group, uid or uid:gid in the session; the workload's by default */
	user?: string;
	/** standard error goes where standard output goes */
	merge?: boolean;
	/** it gets a terminal: one stream for all */
	tty?: boolean;
	/** of the terminal, 24 by default (1 to 65535) */
	rows?: number;
	/** of the terminal, 80 by default (1 to 65535) */
	cols?: number;
	/** then its process group is killed (SIGKILL); no end by default (0.001 to 31622400) */
	timeout_seconds?: number;
	/** fd: the stream comes as a descriptor with the answer (SCM_RIGHTS); a token for stream.sock by default */
	via?: "token" | "fd";
}

/** Parameters of exec.attach. */
export interface ExecAttachParams {
	/** the session's id */
	session: string;
	/** the command, or the terminal, by its name */
	exec: string;
	/** fd: the stream comes as a descriptor with the answer (SCM_RIGHTS); a token for stream.sock by default */
	via?: "token" | "fd";
}

/** Parameters of exec.wait. */
export interface ExecWaitParams {
	/** the session's id */
	session: string;
	/** the command, or the terminal, by its name */
	exec: string;
	/** then the error timeout; for ever by default (0 to 31622400) */
	timeout_seconds?: number;
}

/** Parameters of exec.signal. */
export interface ExecSignalParams {
	/** the session's id */
	session: string;
	/** the command, or the terminal, by its name */
	exec: string;
	/** "TERM", "SIGTERM" or "15" */
	signal: string;
	/** false: to the command itself only */
	group?: boolean;
}

/** Parameters of exec.resize. */
export interface ExecResizeParams {
	/** the session's id */
	session: string;
	/** the command, or the terminal, by its name */
	exec: string;
	/** of the terminal, 24 by default (1 to 65535) */
	rows: number;
	/** of the terminal, 80 by default (1 to 65535) */
	cols: number;
}

/** Parameters of exec.list. */
export interface ExecListParams {
	/** the session's id */
	session: string;
}

/** Parameters of terminal.open. */
export interface TerminalOpenParams {
	/** the session's id */
	session: string;
	/** its name; one is made up when none is given */
	name?: string;
	/** argument vector; a shell by default */
	command?: Array<string>;
	/** environment, added to the template's */
	env?: Record<string, string>;
	/** directory to run in, an absolute path; the workload's by default */
	cwd?: string;
	/** name, name:group, uid or uid:gid in the session; the workload's by default */
	user?: string;
	/** of the terminal, 24 by default (1 to 65535) */
	rows?: number;
	/** of the terminal, 80 by default (1 to 65535) */
	cols?: number;
	/** fd: the stream comes as a descriptor with the answer (SCM_RIGHTS); a token for stream.sock by default */
	via?: "token" | "fd";
}

/** Parameters of terminal.attach. */
export interface TerminalAttachParams {
	/** the session's id */
	session: string;
	/** its name, or the command's */
	terminal: string;
	/** fd: the stream comes as a descriptor with the answer (SCM_RIGHTS); a token for stream.sock by default */
	via?: "token" | "fd";
}

/** Parameters of port.connect. */
export interface PortConnectParams {
	/** the session's id */
	session: string;
	/** the port in the session (1 to 65535) */
	port?: number;
	/** or the path of a stream socket in the session, which its root connects to */
	path?: string;
	/** of the loopback address; by default IPv4, then IPv6 */
	family?: "ipv4" | "ipv6";
	/** how the connection is handed over: by a token, as a stream (the default), or as a descriptor */
	via?: "token" | "fd";
}

/** Parameters of port.publish. */
export interface PortPublishParams {
	/** the session's id */
	session: string;
	/** {"unix": true}, a socket that those may connect to who see the session; or {"tcp": {"address"?, "port"?}}, of those in the configuration (publish) */
	as: Record<string, any>;
	/** the port in the session (1 to 65535) */
	port?: number;
	/** or the path of a stream socket in the session, which its root connects to */
	path?: string;
	/** of the loopback address; by default IPv4, then IPv6 */
	family?: "ipv4" | "ipv6";
	/** of the endpoint, at most 32 characters; "port-8080", "tcp-8080" or "socket-1" by default */
	name?: string;
}

/** Parameters of port.unpublish. */
export interface PortUnpublishParams {
	/** the session's id */
	session: string;
	/** of the endpoint */
	name: string;
}

/** Parameters of events.subscribe. */
export interface EventsSubscribeParams {
	/** the last number seen; what came after it is sent first */
	since?: number;
	/** of this owner's sessions only */
	owner?: string;
	/** of this session only */
	session?: string;
	/** of these kinds only: "session.ended", or "session.*" for a group */
	kinds?: Array<string>;
}

/** The interface itself. */
export interface RpcMethods {
	/** This reference as an OpenRPC document. Answers with an OpenRPC 1.3 document. */
	discover(params?: {}, options?: CallOptions): Promise<any>;
}

/** The host. */
export interface SystemMethods {
	/** Whether the service works, for a monitor. Answers with {status, active_sessions, sessions_by_state, docker_available, supervisor, uptime_seconds}. */
	health(params?: {}, options?: CallOptions): Promise<Health>;
	/** What this host is and how it is configured. Answers with {version, api, boot_id, kernel, machine, host, uptime_seconds, templates, max_sessions, …}. */
	info(params?: {}, options?: CallOptions): Promise<any>;
	/** The host's features that sessions need, each ok, degraded or missing, with the remedy. Answers with {items: [{name, state, detail, remedy}]}. */
	check(params?: {}, options?: CallOptions): Promise<Check>;
	/** What more this host takes: slots for sessions, and the memory and CPUs that no session's limits promise away. Answers with {draining, sessions, memory, cpus, templates: [{name, live, max, more, more_within_memory, more_within_cpus}]}. */
	capacity(params?: {}, options?: CallOptions): Promise<any>;
	/** Counters, gauges and histograms for a monitor, in Prometheus' text format. Answers with {content_type, text}. */
	metrics(params?: {}, options?: CallOptions): Promise<any>;
	/** Has the host take no new sessions, or take them again; those that there are go on. It stays so over restarts. Answers with {draining, active_sessions}. */
	drain(params: SystemDrainParams, options?: CallOptions): Promise<any>;
}

/** What sessions are made from. */
export interface TemplateMethods {
	/** The templates that sessions are made from. Answers with {templates: [template]}. */
	list(params?: {}, options?: CallOptions): Promise<TemplateList>;
	/** One template: limits, deadlines, endpoints. Answers with a template. */
	get(params: TemplateGetParams, options?: CallOptions): Promise<Template>;
}

/** Sessions. */
export interface SessionMethods {
	/** Makes a session. The same idempotency_key and parameters give the same session again. Answers with a session. */
	create(params: SessionCreateParams, options?: CallOptions): Promise<Session>;
	/** The session that there is for somebody, which counts as use of it; or a new one, in place of one that has ended. Answers with the session, with isolation_mode and created: whether this call made it. */
	ensure(params: SessionEnsureParams, options?: CallOptions): Promise<EnsuredSession>;
	/** One session. Answers with a session. */
	get(params: SessionGetParams, options?: CallOptions): Promise<Session>;
	/** Sessions, oldest first, a page at a time. Answers with {sessions: [session], next_cursor}: null on the last page. */
	list(params?: SessionListParams, options?: CallOptions): Promise<SessionList>;
	/** Answers when the session is ready, or has ended. Answers with the session. */
	wait(params: SessionWaitParams, options?: CallOptions): Promise<Session>;
	/** Ends a session: its stop signal, the grace, then SIGKILL to all that is left. Answers when it has ended. Answers with the session. */
	stop(params: SessionStopParams, options?: CallOptions): Promise<Session>;
	/** Ends a session if it has not ended, and forgets it. Answers with the session as it was. */
	remove(params: SessionRemoveParams, options?: CallOptions): Promise<Session>;
	/** What the workload wrote to its standard output and error, from a ring of bounded size. Answers with {entries: [{at, stream, text}], next, skipped_bytes, more, ended}. */
	logs(params: SessionLogsParams, options?: CallOptions): Promise<Logs>;
	/** What the session uses now. Answers with {session, memory, cpu, pids, io, pressure, network, limits, ports, space}; null where the host does not count it. */
	stats(params: SessionStatsParams, options?: CallOptions): Promise<Stats>;
	/** Changes limits of a session that runs: at most to the template's. Others stay as they are. Answers with the session. */
	setLimits(params: SessionSetLimitsParams, options?: CallOptions): Promise<any>;
	/** Freezes every process of a session. Answers with the session. */
	pause(params: SessionPauseParams, options?: CallOptions): Promise<Session>;
	/** Thaws a paused session. Answers with the session. */
	resume(params: SessionResumeParams, options?: CallOptions): Promise<Session>;
	/** Counts as use: the idle timeout begins anew. Answers with the session. */
	heartbeat(params: SessionHeartbeatParams, options?: CallOptions): Promise<Session>;
	/** Moves the end of a session's time, or of the time that it may go unused. Answers with the session. */
	extend(params: SessionExtendParams, options?: CallOptions): Promise<Session>;
}

/** What outlives sessions. */
export interface VolumeMethods {
	/** Volumes by name, a page at a time. Answers with {volumes: [volume], next_cursor}: null on the last page. */
	list(params?: VolumeListParams, options?: CallOptions): Promise<any>;
	/** One volume. Answers with {name, owner, owner_hash, state, session, persistent, size_bytes, used_bytes, created_at, last_used_at}: state is free, in-use or removing; size_bytes is null for a directory, which has no bound, and used_bytes is what was taken of it when a session last gave it back. */
	get(params: VolumeGetParams, options?: CallOptions): Promise<any>;
	/** Removes a volume that no session has. Answers when its name is free again; its files go in the background. Answers with the volume as it was. */
	remove(params: VolumeRemoveParams, options?: CallOptions): Promise<any>;
}

/** Sessions that are ready. */
export interface PoolMethods {
	/** Sessions that are kept ready: all pools that have or are to have any, or one template's. Answers with {pools: [{template, size, ready, starting, claims, misses}]}. */
	get(params?: PoolGetParams, options?: CallOptions): Promise<any>;
	/** How many sessions of a template are kept ready, instead of what the configuration says. Answers with {template, size, ready, starting, claims, misses}. */
	set(params: PoolSetParams, options?: CallOptions): Promise<any>;
}

/** Commands in sessions. */
export interface ExecMethods {
	/** Runs a command in a session, and answers with what it printed when it has ended. Answers with {exit_code, signal, stdout, stderr, logs, truncated, dropped_bytes, elapsed_seconds}. */
	run(params: ExecRunParams, options?: CallOptions): Promise<ExecResult>;
	/** Starts a command that goes on whoever is connected, until it ends by itself. Its output waits until somebody is attached. Answers with {exec, pid, streams: {stdin, stdout, stderr}}, or with tty {…, streams: {tty}}; each {token, expires_in_seconds}, or {fd} for "via": "fd". */
	start(params: ExecStartParams, options?: CallOptions): Promise<Started>;
	/** Streams to a command that exec.start has started. Of its standard streams the newest counts; a terminal has several viewers, and shows each what it showed before. Of one that has ended, streams give what nobody has read, and a terminal what it showed last. Answers with {exec, pid, streams} as of exec.start. */
	attach(params: ExecAttachParams, options?: CallOptions): Promise<Started | OpenedTerminal>;
	/** Answers when the command has ended, also if it had before: the last 64 of a session are known for ten minutes. Answers with {exec, exit_code, signal}: one of them null. */
	wait(params: ExecWaitParams, options?: CallOptions): Promise<Ended>;
	/** Sends a signal to the command's process group. Answers with {}. */
	signal(params: ExecSignalParams, options?: CallOptions): Promise<any>;
	/** Gives the command's terminal another size. Answers with {}. */
	resize(params: ExecResizeParams, options?: CallOptions): Promise<any>;
	/** The session's commands that exec.start and terminal.open have started. Answers with {execs: [{exec, terminal, command, state, tty, pid, uid, started_at, exit_code, signal, attached}]}. */
	list(params: ExecListParams, options?: CallOptions): Promise<ExecList>;
}

/** The Docker daemon of a session. */
export interface DockerMethods {
	/** Builds an image from a directory of the session, with its own Docker daemon. Tells its progress by events, too; ends when the client goes away. Answers with {image_tag, image_id, logs, truncated, dropped_bytes, metrics: {image_size_mb, elapsed_seconds}}; a megabyte is a million bytes. */
	build(params: DockerBuildParams, options?: CallOptions): Promise<any>;
	/** Ends builds that are under way; their calls fail. Answers with {cancelled}: how many. */
	cancel(params: DockerCancelParams, options?: CallOptions): Promise<any>;
	/** Runs a container in the session's own Docker daemon, and answers when it has ended unless it is detached. Answers with {container_id, container_name, exit_code, logs, truncated, dropped_bytes, elapsed_seconds}; detached: without exit_code, logs and what they dropped. */
	run(params: DockerRunParams, options?: CallOptions): Promise<any>;
	/** Stops a container of the session's own Docker daemon. Answers with {container_name, stopped, removed}. */
	stop(params: DockerStopParams, options?: CallOptions): Promise<any>;
	/** The containers of the session's own Docker daemon. Answers with {containers: [{container_id, container_name, image, command, state, status, created_at_unix, ports}]}. */
	ps(params: DockerPsParams, options?: CallOptions): Promise<any>;
	/** The images of the session's own Docker daemon. Answers with {images: [{image_id, tags, size_bytes, created_at_unix}]}. */
	images(params: DockerImagesParams, options?: CallOptions): Promise<any>;
}

/** Files in sessions. */
export interface FileMethods {
	/** What a file in a session is. Answers with {type, size_bytes, mode, uid, gid, modified_at, links, target}: target of a symlink only. */
	stat(params: FileStatParams, options?: CallOptions): Promise<FileStat>;
	/** What is in a directory, in order of names, a page at a time. Answers with {entries: [{path, …as file.stat, unread}], next_cursor}: paths relative to the directory; unread: why a directory could not be gone into; null on the last page. */
	list(params: FileListParams, options?: CallOptions): Promise<FileList>;
	/** The contents of a regular file: up to 1 MiB in the answer, more by a stream. Answers with {content, encoding, length, …as file.stat}, or {transfer, stream, length, …as file.stat} with so many bytes to come (null: up to the end). */
	read(params: FileReadParams, options?: CallOptions): Promise<FileContent | FileStream>;
	/** Writes a regular file, which appears, or replaces what has its name, when it is complete; a failure leaves nothing. By a stream: send, end your side, then file.wait. Answers with as file.stat; or {transfer, stream}. */
	write(params: FileWriteParams, options?: CallOptions): Promise<FileStat | Transfer>;
	/** Makes a directory. Answers with as file.stat. */
	mkdir(params: FileMkdirParams, options?: CallOptions): Promise<FileStat>;
	/** Gives a file or directory another name in the same file system. Answers with as file.stat, of the new name. */
	move(params: FileMoveParams, options?: CallOptions): Promise<FileStat>;
	/** Removes a file, a symlink or a directory. Answers with {removed}: how many. */
	delete(params: FileDeleteParams, options?: CallOptions): Promise<Removed>;
	/** Answers when a stream of file.read, file.write, archive.get or archive.put has ended, with how. An outcome is kept for 60 seconds. Answers with {transfer, size_bytes}, of a written file …as file.stat, of an archive {entries, skipped, first_skipped}. */
	wait(params: FileWaitParams, options?: CallOptions): Promise<any>;
}

/** Directories of sessions as tar. */
export interface ArchiveMethods {
	/** A directory with all that is in it, or one file, as a tar by a stream. Sockets and devices are left out. Answers with {transfer, stream}. */
	get(params: ArchiveGetParams, options?: CallOptions): Promise<Transfer>;
	/** Unpacks a tar that comes by a stream below a directory, and nowhere else. Modes, times, links and holes are kept; owners where the user may; devices are left out. Answers with {transfer, stream}. */
	put(params: ArchivePutParams, options?: CallOptions): Promise<Transfer>;
}

/** Terminals that outlive connections. */
export interface TerminalMethods {
	/** A terminal that outlives connections, with a shell or another command; one of this name that is there is attached to. It first shows what it showed before, up to 64 KiB. Answers with {terminal, exec, pid, created, stream}; the methods exec.* take either name. */
	open(params: TerminalOpenParams, options?: CallOptions): Promise<OpenedTerminal>;
	/** Another stream to a terminal; it first shows what it showed before, and then its end where it has ended. Whoever reads too slowly for the others misses some, and is told so. Answers with {terminal, exec, pid, created: false, stream}. */
	attach(params: TerminalAttachParams, options?: CallOptions): Promise<OpenedTerminal>;
}

/** Ports of sessions. */
export interface PortMethods {
	/** A connection to a port of a session, its loopback included, or to a socket in it. Answers with {token, expires_in_seconds}: see streams; or {via: "fd"} and the descriptor. */
	connect(params: PortConnectParams, options?: CallOptions): Promise<StreamOffer>;
	/** Makes a socket of the host lead to a port of a session. The same again is the same endpoint. It ends with the session. Answers with the endpoint: {name, port or path, unix or url}. */
	publish(params: PortPublishParams, options?: CallOptions): Promise<PublishedPort>;
	/** Takes a published port back. Connections that there are go on. Answers with {}. */
	unpublish(params: PortUnpublishParams, options?: CallOptions): Promise<any>;
}

/** What happens. */
export interface EventsMethods {
	/** Sends notifications "event" on this connection until it ends. Answers with {last, boot_id, gone}: the newest event's number, and the range {from, to} that is no longer kept, or null. */
	subscribe(params?: EventsSubscribeParams, options?: CallOptions): Promise<Subscription>;
}

/** Methods without a group. */
export interface Methods {
	readonly rpc: RpcMethods;
	readonly system: SystemMethods;
	readonly template: TemplateMethods;
	readonly session: SessionMethods;
	readonly volume: VolumeMethods;
	readonly pool: PoolMethods;
	readonly exec: ExecMethods;
	readonly docker: DockerMethods;
	readonly file: FileMethods;
	readonly archive: ArchiveMethods;
	readonly terminal: TerminalMethods;
	readonly port: PortMethods;
	readonly events: EventsMethods;
	/** Says who serves, who is asking in the kernel's eyes, and what the bounds are. Optional. Answers with {api: {major, minor}, version, boot_id, role, owner_prefix, limits, capabilities}. */
	hello(params?: HelloParams, options?: CallOptions): Promise<Hello>;
}

export const kinds: Record<string, typeof CarrelError>;
export const methods: string[];
