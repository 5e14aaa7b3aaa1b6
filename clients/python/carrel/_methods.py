# SPDX-License-Identifier: Apache-2.0
"""Written by tools/update-clients from the methods table. Do not edit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NotRequired, TypedDict

from ._base import UNSET, Error, Unset, given

__all__ = [
    "SessionState", "EndReason", "Isolation", "End", "Endpoint", "LimitValue", "Step", "Session", "EnsuredSession",
    "SessionList", "LogEntry", "Logs", "Room", "Space", "Stats", "Version", "Hello", "Health", "CheckItem", "Check",
    "TemplateEndpoint", "Template", "TemplateList", "ExecResult", "Gone", "Event", "Subscription", "StreamOffer",
    "FileStat", "FileEntry", "FileList", "FileContent", "FileStream", "Transfer", "Removed", "Started", "Ended",
    "OpenedTerminal", "Exec", "ExecList", "PublishedPort", "Limits", "NotFound", "AlreadyExists", "Conflict",
    "Denied", "Busy", "Limit", "InvalidState", "Timeout", "NotReady", "Failed", "Unavailable", "Draining",
    "InvalidParams",
]

Call = Callable[..., Any]

SessionState = Literal["creating", "starting", "ready", "paused", "stopping", "ended"]

EndReason = Literal["stopped", "expired", "idle", "exited", "failed", "unhealthy", "oom", "host-restart"]

Isolation = Literal["shared", "per-owner", "per-task"]


class End(TypedDict):
    reason: EndReason
    at: str
    exit_code: NotRequired[int]
    signal: NotRequired[int]
    step: NotRequired[str]
    errno: NotRequired[str]
    message: NotRequired[str]
    log_tail: NotRequired[str]


class Endpoint(TypedDict):
    url: NotRequired[str | None]
    unix: NotRequired[str]


class LimitValue(TypedDict):
    value: float
    enforced: bool


class Step(TypedDict):
    step: str
    ms: float


class Session(TypedDict):
    id: str
    isolation: Isolation | None
    template: str
    kind: str
    owner: str
    owner_hash: str
    task_id: str | None
    state: SessionState
    created_at: str
    ready_at: str | None
    expires_at: str | None
    idle_deadline: str | None
    last_activity_at: str | None
    end: End | None
    address: str | None
    ipv6: str | None
    hostname: str
    cdp_url: str | None
    rpc_url: str | None
    browser_view: str | None
    endpoints: dict[str, Endpoint]
    limits: dict[str, LimitValue]
    labels: dict[str, str]
    restarts: int
    volumes: list[Any]
    timeline: list[Step]


class EnsuredSession(Session):
    isolation_mode: Isolation
    created: bool


class SessionList(TypedDict):
    sessions: list[Session]
    next_cursor: str | None


class LogEntry(TypedDict):
    at: str
    stream: Literal["stdout", "stderr", "init"]
    text: str


class Logs(TypedDict):
    entries: list[LogEntry]
    next: int
    skipped_bytes: int
    more: bool
    ended: bool


class Room(TypedDict):
    limit: int
    free: int


class Space(TypedDict):
    mount: str
    bytes: Room
    inodes: Room


class Stats(TypedDict):
    session: str
    memory: dict[str, float | None] | None
    cpu: dict[str, float | None] | None
    pids: dict[str, float | None] | None
    io: Any
    network: Any
    ports: NotRequired[Any]
    pressure: Any
    limits: dict[str, LimitValue]
    space: list[Space] | None


class Version(TypedDict):
    major: int
    minor: int


class Hello(TypedDict):
    api: Version
    version: str
    boot_id: str
    role: Literal["client", "operator", "admin"]
    owner_prefix: str
    limits: dict[str, int]
    capabilities: list[str]


class Health(TypedDict):
    status: str
    active_sessions: int
    sessions_by_state: dict[str, int]
    docker_available: bool
    supervisor: str
    uptime_seconds: float


class CheckItem(TypedDict):
    name: str
    state: Literal["ok", "degraded", "missing"]
    detail: str
    remedy: str | None


class Check(TypedDict):
    items: list[CheckItem]


class TemplateEndpoint(TypedDict):
    name: str
    port: int
    url: str


class Template(TypedDict):
    name: str
    kind: str
    description: str
    image: str
    limits: dict[str, float]
    ttl_seconds: float | None
    max_ttl_seconds: float | None
    idle_timeout_seconds: float | None
    max_sessions: int | None
    grace_seconds: float
    egress: str
    egress_allowed: list[str]
    endpoints: list[TemplateEndpoint]


class TemplateList(TypedDict):
    templates: list[Template]


class ExecResult(TypedDict):
    exit_code: int | None
    signal: int | None
    stdout: str
    stderr: str
    logs: list[str]
    truncated: bool
    dropped_bytes: int
    elapsed_seconds: float


Gone = TypedDict("Gone", {"from": int, "to": int})


class Event(TypedDict):
    seq: NotRequired[int]
    boot_id: NotRequired[str]
    at: NotRequired[str]
    kind: str
    session: NotRequired[str | None]
    owner: NotRequired[str]
    template: NotRequired[str | None]
    gone: NotRequired[Gone]
    reason: NotRequired[EndReason]
    exit_code: NotRequired[int]
    signal: NotRequired[int]
    step: NotRequired[str]
    errno: NotRequired[str]
    message: NotRequired[str]
    log_tail: NotRequired[str]


class Subscription(TypedDict):
    last: int
    boot_id: str
    gone: Gone | None


class StreamOffer(TypedDict):
    token: NotRequired[str]
    expires_in_seconds: NotRequired[float]
    fd: NotRequired[int]


class FileStat(TypedDict):
    type: Literal["file", "directory", "symlink", "fifo", "socket", "char-device", "block-device", "unknown"]
    size_bytes: int
    mode: str
    uid: int
    gid: int
    modified_at: str | None
    links: int
    target: NotRequired[str | None]


class FileEntry(FileStat):
    path: str
    unread: NotRequired[str | None]


class FileList(TypedDict):
    entries: list[FileEntry]
    next_cursor: str | None


class FileContent(FileStat):
    content: str
    encoding: Literal["utf-8", "base64"]
    length: int


class FileStream(FileStat):
    transfer: str
    stream: StreamOffer
    length: int | None


class Transfer(TypedDict):
    transfer: str
    stream: StreamOffer


class Removed(TypedDict):
    removed: int


class Started(TypedDict):
    exec: str
    pid: int
    streams: dict[str, StreamOffer]


class Ended(TypedDict):
    exec: str
    exit_code: int | None
    signal: int | None


class OpenedTerminal(TypedDict):
    terminal: str
    exec: str
    pid: int
    created: bool
    stream: StreamOffer


class Exec(TypedDict):
    exec: str
    terminal: str | None
    command: str
    state: Literal["starting", "running", "ended"]
    tty: bool
    pid: int | None
    uid: int
    started_at: str
    exit_code: int | None
    signal: int | None
    attached: int


class ExecList(TypedDict):
    execs: list[Exec]


class PublishedPort(TypedDict):
    name: str
    port: NotRequired[int]
    path: NotRequired[str]
    unix: NotRequired[str]
    url: NotRequired[str]


class Limits(TypedDict, total=False):
    memory_bytes: int  # hard limit of memory, page cache and tmpfs included; past it the session is killed as a whole
    memory_high_bytes: int  # above this the session is slowed and its memory reclaimed
    memory_low_bytes: int  # up to this memory is kept for the session when the host is short of it
    swap_bytes: int  # hard limit of swap
    cpus: float  # CPUs' worth of time per 100 ms
    cpu_weight: int  # share of contended CPU time, 100 by default
    pids: int  # processes and threads
    root_bytes: int  # what may be written to the root file system
    root_inodes: int  # files that may be made in the root file system
    shm_bytes: int  # size of /dev/shm
    open_files: int  # open descriptors of each process
    io_read_bytes_per_second: int  # read from the disk that has the state directory
    io_write_bytes_per_second: int  # written to that disk
    io_reads_per_second: int  # read operations on that disk
    io_writes_per_second: int  # write operations on that disk
    terminals: int  # pseudo-terminals, 1024 by default
    inotify_instances: int  # inotify instances of each user of the session; all of them together have the host's fs.inotify.max_user_instances
    inotify_watches: int  # inotify watches, likewise
    user_namespaces: int  # user namespaces that each user of the session may make
    mount_namespaces: int  # mount namespaces, likewise
    network_namespaces: int  # network namespaces, likewise; the session's own is one of them
    network_rx_bytes_per_second: int  # received by the session, IPv4 and IPv6 together; what is more is dropped
    network_tx_bytes_per_second: int  # sent by the session, likewise


class NotFound(Error):
    """No such thing, or it belongs to an owner outside the caller's prefix."""


class AlreadyExists(Error):
    """The id is taken."""


class Conflict(Error):
    """The idempotency key was used with other parameters, a lease is held, or a volume is of the other kind."""


class Denied(Error):
    """The caller's role or owner prefix does not permit it."""


class Busy(Error):
    """A bound on connections, requests or bytes is reached; ask again after retry_after_ms."""


class Limit(Error):
    """A configured limit is reached or would be passed; the message names it."""


class InvalidState(Error):
    """The session's state does not allow it."""


class Timeout(Error):
    """It did not happen within the time given."""


class NotReady(Error):
    """The session ended, or did not become ready in time."""


class Failed(Error):
    """A step failed and everything before it was undone; step and errno say which and why."""


class Unavailable(Error):
    """This host or this version cannot do it."""


class Draining(Error):
    """The host takes no new sessions."""


class InvalidParams(Error):
    """A parameter is missing, unknown or out of range; path names it."""


KINDS: dict[str, type[Error]] = {
    "not_found": NotFound, "already_exists": AlreadyExists, "conflict": Conflict, "denied": Denied, "busy": Busy,
    "limit": Limit, "invalid_state": InvalidState, "timeout": Timeout, "not_ready": NotReady, "failed": Failed,
    "unavailable": Unavailable, "draining": Draining, "invalid_params": InvalidParams,
}


class RpcMethods:
    """The interface itself."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def discover(self) -> Any:
        """This reference as an OpenRPC document.

        Answers with an OpenRPC 1.3 document.
        """
        return self._call("rpc.discover")


class SystemMethods:
    """The host."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def health(self) -> Health:
        """Whether the service works, for a monitor.

        Answers with {status, active_sessions, sessions_by_state, docker_available, supervisor, uptime_seconds}.
        """
        return self._call("system.health")

    def info(self) -> Any:
        """What this host is and how it is configured.

        Answers with {version, api, boot_id, kernel, machine, host, uptime_seconds, templates, max_sessions, …}.
        """
        return self._call("system.info")

    def check(self) -> Check:
        """The host's features that sessions need, each ok, degraded or missing, with the remedy.

        Answers with {items: [{name, state, detail, remedy}]}.
        """
        return self._call("system.check")

    def capacity(self) -> Any:
        """What more this host takes: slots for sessions, and the memory and CPUs that no session's limits promise
        away.

        Answers with {draining, sessions, memory, cpus, templates: [{name, live, max, more, more_within_memory,
            more_within_cpus}]}.
        """
        return self._call("system.capacity")

    def metrics(self) -> Any:
        """Counters, gauges and histograms for a monitor, in Prometheus' text format.

        Answers with {content_type, text}.
        """
        return self._call("system.metrics")

    def drain(self, on: bool) -> Any:
        """Has the host take no new sessions, or take them again; those that there are go on. It stays so over
        restarts.

        on: whether it is drained from now on

        Answers with {draining, active_sessions}.
        """
        return self._call("system.drain", given({"on": on}))


class TemplateMethods:
    """What sessions are made from."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def list(self) -> TemplateList:
        """The templates that sessions are made from.

        Answers with {templates: [template]}.
        """
        return self._call("template.list")

    def get(self, template: str) -> Template:
        """One template: limits, deadlines, endpoints.

        template: its name

        Answers with a template.
        """
        return self._call("template.get", given({"template": template}))


class SessionMethods:
    """Sessions."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def create(
        self,
        template: str,
        *,
        id: str | None = None,
        owner: str | None = None,
        task_id: str | None = None,
        labels: Mapping[str, str] | None = None,
        ttl_seconds: float | None | Unset = UNSET,
        idle_timeout_seconds: float | None | Unset = UNSET,
        limits: Limits | None = None,
        env: Mapping[str, str] | None = None,
        secrets: Mapping[str, str] | None = None,
        egress: str | None = None,
        volumes: Sequence[Limits] | None = None,
        command: Sequence[str] | None = None,
        wait: Literal["created", "ready"] | None = None,
        queue_timeout_seconds: float | None = None,
        idempotency_key: str | None = None,
    ) -> Session:
        """Makes a session. The same idempotency_key and parameters give the same session again.

        template: what it is made from
        id: its id; one is made up when none is given
        owner: whom it belongs to; a client's owner prefix by default
        task_id: what it is for, in the caller's words
        labels: words for session.list to select by
        ttl_seconds: it ends after this long, used or not; null: never. The template's by default
        idle_timeout_seconds: it ends when not used for this long; null: never. The template's by default
        limits: lower limits than the template's, by name; the reference ends with a list of them
        env: environment of the workload, added to the template's
        secrets: as env, but shown and kept nowhere
        egress: a network policy that the template allows
        volumes: what is mounted where the template has places for volumes: [{path, name?, persistent?}]; a volume
            that is not there yet is made
        command: argument vector of the workload instead of the template's
        wait: when to answer: when the workload runs, or (the default) when its readiness probe has succeeded, too
        queue_timeout_seconds: wait so long, in the order of asking, for room on the host or for the template; without
            it the answer is then busy (0 to 3600)
        idempotency_key: makes asking again safe; other parameters with the same key are a conflict

        Answers with a session.
        """
        return self._call("session.create", given(
            {"template": template, "id": id, "owner": owner, "task_id": task_id, "labels": labels, "limits": limits,
             "env": env, "secrets": secrets, "egress": egress, "volumes": volumes, "command": command, "wait": wait,
             "queue_timeout_seconds": queue_timeout_seconds, "idempotency_key": idempotency_key},
            {"ttl_seconds": ttl_seconds, "idle_timeout_seconds": idle_timeout_seconds},
        ))

    def ensure(
        self,
        isolation: Literal["shared", "per-owner", "per-task"],
        template: str,
        *,
        owner: str | None = None,
        task_id: str | None = None,
        thread_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        id: str | None = None,
        labels: Mapping[str, str] | None = None,
        ttl_seconds: float | None | Unset = UNSET,
        idle_timeout_seconds: float | None | Unset = UNSET,
        limits: Limits | None = None,
        env: Mapping[str, str] | None = None,
        secrets: Mapping[str, str] | None = None,
        egress: str | None = None,
        volumes: Sequence[Limits] | None = None,
        command: Sequence[str] | None = None,
        wait: Literal["created", "ready"] | None = None,
        queue_timeout_seconds: float | None = None,
        idempotency_key: str | None = None,
    ) -> EnsuredSession:
        """The session that there is for somebody, which counts as use of it; or a new one, in place of one that has
        ended.

        isolation: one session for all who ask with the same owner or none, one for each owner, or one for each task
        template: what it is made from
        owner: whom it belongs to. By default: per-task, the task_id; else the first that there is of
            metadata.user_id, metadata.session_id, thread_id, task_id and "default", below the owner prefix that a
            client has
        task_id: what it is for; required with per-task unless owner is given
        thread_id: may name the owner
        metadata: its members user_id and session_id may name the owner; the others are not looked at
        id: the id of a session that is made; one is made up when none is given
        labels: words for session.list to select by
        ttl_seconds: it ends after this long, used or not; null: never. The template's by default
        idle_timeout_seconds: it ends when not used for this long; null: never. The template's by default
        limits: lower limits than the template's, by name; the reference ends with a list of them
        env: environment of the workload, added to the template's
        secrets: as env, but shown and kept nowhere
        egress: a network policy that the template allows
        volumes: what is mounted where the template has places for volumes: [{path, name?, persistent?}]; a volume
            that is not there yet is made
        command: argument vector of the workload instead of the template's
        wait: when to answer: when the workload runs, or (the default) when its readiness probe has succeeded, too
        queue_timeout_seconds: wait so long, in the order of asking, for room on the host or for the template; without
            it the answer is then busy (0 to 3600)
        idempotency_key: makes asking again safe; other parameters with the same key are a conflict

        Answers with the session, with isolation_mode and created: whether this call made it.
        """
        return self._call("session.ensure", given(
            {"isolation": isolation, "template": template, "owner": owner, "task_id": task_id, "thread_id": thread_id,
             "metadata": metadata, "id": id, "labels": labels, "limits": limits, "env": env, "secrets": secrets,
             "egress": egress, "volumes": volumes, "command": command, "wait": wait, "queue_timeout_seconds":
             queue_timeout_seconds, "idempotency_key": idempotency_key},
            {"ttl_seconds": ttl_seconds, "idle_timeout_seconds": idle_timeout_seconds},
        ))

    def get(self, session: str | None = None, *, owner: str | None = None) -> Session:
        """One session.

        session: the session's id
        owner: or its owner: the newest of his sessions, one that has not ended first

        Answers with a session.
        """
        return self._call("session.get", given({"session": session, "owner": owner}))

    def list(
        self,
        *,
        owner: str | None = None,
        template: str | None = None,
        state: Literal["creating", "starting", "ready", "paused", "stopping", "ended"] | None = None,
        labels: Mapping[str, str] | None = None,
        cursor: str | None = None,
        limit: int | None = None,
    ) -> SessionList:
        """Sessions, oldest first, a page at a time.

        owner: of this owner only
        template: of this template only
        state: in this state only
        labels: with all of these labels
        cursor: next_cursor of the page before
        limit: sessions in a page, 100 by default (1 to 1000)

        Answers with {sessions: [session], next_cursor}: null on the last page.
        """
        return self._call("session.list", given(
            {"owner": owner, "template": template, "state": state, "labels": labels, "cursor": cursor, "limit":
             limit},
        ))

    def wait(self, session: str, for_: Literal["ready", "ended"], *, timeout_seconds: float | None = None) -> Session:
        """Answers when the session is ready, or has ended.

        session: the session's id
        for_: what to wait for
        timeout_seconds: then the error timeout; for ever by default (0 to 31622400)

        Answers with the session.
        """
        return self._call("session.wait", given(
            {"session": session, "for": for_, "timeout_seconds": timeout_seconds},
        ))

    def stop(
        self,
        session: str | None = None,
        *,
        owner: str | None = None,
        grace_seconds: float | None = None,
    ) -> Session:
        """Ends a session: its stop signal, the grace, then SIGKILL to all that is left. Answers when it has ended.

        session: the session's id
        owner: or its owner: the newest of his sessions, one that has not ended first
        grace_seconds: instead of the template's (0 to 3600)

        Answers with the session.
        """
        return self._call("session.stop", given({"session": session, "owner": owner, "grace_seconds": grace_seconds}))

    def remove(
        self,
        session: str | None = None,
        *,
        owner: str | None = None,
        volumes: Literal["keep", "remove"] | None = None,
    ) -> Session:
        """Ends a session if it has not ended, and forgets it.

        session: the session's id
        owner: or its owner: the newest of his sessions, one that has not ended first
        volumes: what becomes of all its volumes; by default of each what was said when the session was made

        Answers with the session as it was.
        """
        return self._call("session.remove", given({"session": session, "owner": owner, "volumes": volumes}))

    def logs(
        self,
        session: str,
        *,
        follow: bool | None = None,
        since: int | None = None,
        max_bytes: int | None = None,
    ) -> Logs:
        """What the workload wrote to its standard output and error, from a ring of bounded size.

        session: the session's id
        follow: as more is written, send notifications "log" of the same form on this connection, until ended
        since: next of an earlier answer
        max_bytes: of text in the answer, 65536 by default (1 to 524288)

        Answers with {entries: [{at, stream, text}], next, skipped_bytes, more, ended}.
        """
        return self._call("session.logs", given(
            {"session": session, "follow": follow, "since": since, "max_bytes": max_bytes},
        ))

    def stats(self, session: str) -> Stats:
        """What the session uses now.

        session: the session's id

        Answers with {session, memory, cpu, pids, io, pressure, network, limits, ports, space}; null where the host
            does not count it.
        """
        return self._call("session.stats", given({"session": session}))

    def set_limits(self, session: str, limits: Limits) -> Any:
        """Changes limits of a session that runs: at most to the template's. Others stay as they are.

        session: the session's id
        limits: those to change; only limits that can be changed while a session runs

        Answers with the session.
        """
        return self._call("session.set_limits", given({"session": session, "limits": limits}))

    def pause(self, session: str) -> Session:
        """Freezes every process of a session.

        session: the session's id

        Answers with the session.
        """
        return self._call("session.pause", given({"session": session}))

    def resume(self, session: str) -> Session:
        """Thaws a paused session.

        session: the session's id

        Answers with the session.
        """
        return self._call("session.resume", given({"session": session}))

    def heartbeat(self, session: str | None = None, *, owner: str | None = None) -> Session:
        """Counts as use: the idle timeout begins anew.

        session: the session's id
        owner: or its owner: the newest of his sessions, one that has not ended first

        Answers with the session.
        """
        return self._call("session.heartbeat", given({"session": session, "owner": owner}))

    def extend(
        self,
        session: str,
        *,
        ttl_seconds: float | None | Unset = UNSET,
        idle_timeout_seconds: float | None | Unset = UNSET,
    ) -> Session:
        """Moves the end of a session's time, or of the time that it may go unused.

        session: the session's id
        ttl_seconds: it ends so long from now; null: no end. Not past the template's max_ttl_seconds from creation
        idle_timeout_seconds: it ends when not used for so long since its last use; null: no end. One of the two is
            required

        Answers with the session.
        """
        return self._call("session.extend", given(
            {"session": session},
            {"ttl_seconds": ttl_seconds, "idle_timeout_seconds": idle_timeout_seconds},
        ))


class VolumeMethods:
    """What outlives sessions."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def list(self, *, owner: str | None = None, cursor: str | None = None, limit: int | None = None) -> Any:
        """Volumes by name, a page at a time.

        owner: of this owner only
        cursor: next_cursor of the page before
        limit: volumes in a page, 100 by default (1 to 1000)

        Answers with {volumes: [volume], next_cursor}: null on the last page.
        """
        return self._call("volume.list", given({"owner": owner, "cursor": cursor, "limit": limit}))

    def get(self, volume: str) -> Any:
        """One volume.

        volume: the volume's name

        Answers with {name, owner, owner_hash, state, session, persistent, size_bytes, used_bytes, created_at,
            last_used_at}: state is free, in-use or removing; size_bytes is null for a directory, which has no bound,
            and used_bytes is what was taken of it when a session last gave it back.
        """
        return self._call("volume.get", given({"volume": volume}))

    def remove(self, volume: str) -> Any:
        """Removes a volume that no session has. Answers when its name is free again; its files go in the background.

        volume: the volume's name

        Answers with the volume as it was.
        """
        return self._call("volume.remove", given({"volume": volume}))


class PoolMethods:
    """Sessions that are ready."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def get(self, *, template: str | None = None) -> Any:
        """Sessions that are kept ready: all pools that have or are to have any, or one template's.

        template: of this template

        Answers with {pools: [{template, size, ready, starting, claims, misses}]}.
        """
        return self._call("pool.get", given({"template": template}))

    def set(self, template: str, size: int) -> Any:
        """How many sessions of a template are kept ready, instead of what the configuration says.

        template: the template
        size: how many; as far as max_sessions has room (0 to 16384)

        Answers with {template, size, ready, starting, claims, misses}.
        """
        return self._call("pool.set", given({"template": template, "size": size}))


class ExecMethods:
    """Commands in sessions."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def run(
        self,
        session: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        user: str | None = None,
        stdin: str | None = None,
        timeout_seconds: float | None = None,
        max_output_bytes: int | None = None,
        merge: bool | None = None,
    ) -> ExecResult:
        """Runs a command in a session, and answers with what it printed when it has ended.

        session: the session's id
        command: argument vector; a program without a slash is looked for in PATH
        env: environment, added to the template's
        cwd: directory to run in, an absolute path; the workload's by default
        user: name, name:group, uid or uid:gid in the session; the workload's by default
        stdin: its standard input, which then ends; /dev/null by default
        timeout_seconds: then its process group is killed (SIGKILL), and the error timeout has in data.result what it
            printed; no end by default (0.001 to 31622400)
        max_output_bytes: of both streams together to keep, from the start: 1048576 by default; never more than fits
            into three quarters of client_limits.max_queued_bytes with all that the connection waits for (0 to
            16777216)
        merge: standard error goes where standard output goes

        Answers with {exit_code, signal, stdout, stderr, logs, truncated, dropped_bytes, elapsed_seconds}.
        """
        return self._call("exec.run", given(
            {"session": session, "command": command, "env": env, "cwd": cwd, "user": user, "stdin": stdin,
             "timeout_seconds": timeout_seconds, "max_output_bytes": max_output_bytes, "merge": merge},
        ))

    def start(
        self,
        session: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        user: str | None = None,
        merge: bool | None = None,
        tty: bool | None = None,
        rows: int | None = None,
        cols: int | None = None,
        timeout_seconds: float | None = None,
        via: Literal["token", "fd"] | None = None,
    ) -> Started:
        """Starts a command that goes on whoever is connected, until it ends by itself. Its output waits until
        somebody is attached.

        session: the session's id
        command: argument vector; a program without a slash is looked for in PATH
        env: environment, added to the template's
        cwd: directory to run in, an absolute path; the workload's by default
        user: name, name:group, uid or uid:gid in the session; the workload's by default
        merge: standard error goes where standard output goes
        tty: it gets a terminal: one stream for all
        rows: of the terminal, 24 by default (1 to 65535)
        cols: of the terminal, 80 by default (1 to 65535)
        timeout_seconds: then its process group is killed (SIGKILL); no end by default (0.001 to 31622400)
        via: fd: the stream comes as a descriptor with the answer (SCM_RIGHTS); a token for stream.sock by default

        Answers with {exec, pid, streams: {stdin, stdout, stderr}}, or with tty {…, streams: {tty}}; each {token,
            expires_in_seconds}, or {fd} for "via": "fd".
        """
        return self._call("exec.start", given(
            {"session": session, "command": command, "env": env, "cwd": cwd, "user": user, "merge": merge, "tty": tty,
             "rows": rows, "cols": cols, "timeout_seconds": timeout_seconds, "via": via},
        ))

    def attach(
        self,
        session: str,
        exec: str,
        *,
        via: Literal["token", "fd"] | None = None,
    ) -> Started | OpenedTerminal:
        """Streams to a command that exec.start has started. Of its standard streams the newest counts; a terminal has
        several viewers, and shows each what it showed before. Of one that has ended, streams give what nobody has
        read, and a terminal what it showed last.

        session: the session's id
        exec: the command, or the terminal, by its name
        via: fd: the stream comes as a descriptor with the answer (SCM_RIGHTS); a token for stream.sock by default

        Answers with {exec, pid, streams} as of exec.start.
        """
        return self._call("exec.attach", given({"session": session, "exec": exec, "via": via}))

    def wait(self, session: str, exec: str, *, timeout_seconds: float | None = None) -> Ended:
        """Answers when the command has ended, also if it had before: the last 64 of a session are known for ten
        minutes.

        session: the session's id
        exec: the command, or the terminal, by its name
        timeout_seconds: then the error timeout; for ever by default (0 to 31622400)

        Answers with {exec, exit_code, signal}: one of them null.
        """
        return self._call("exec.wait", given({"session": session, "exec": exec, "timeout_seconds": timeout_seconds}))

    def signal(self, session: str, exec: str, signal: str, *, group: bool | None = None) -> Any:
        """Sends a signal to the command's process group.

        session: the session's id
        exec: the command, or the terminal, by its name
        signal: "TERM", "SIGTERM" or "15"
        group: false: to the command itself only

        Answers with {}.
        """
        return self._call("exec.signal", given({"session": session, "exec": exec, "signal": signal, "group": group}))

    def resize(self, session: str, exec: str, rows: int, cols: int) -> Any:
        """Gives the command's terminal another size.

        session: the session's id
        exec: the command, or the terminal, by its name
        rows: of the terminal, 24 by default (1 to 65535)
        cols: of the terminal, 80 by default (1 to 65535)

        Answers with {}.
        """
        return self._call("exec.resize", given({"session": session, "exec": exec, "rows": rows, "cols": cols}))

    def list(self, session: str) -> ExecList:
        """The session's commands that exec.start and terminal.open have started.

        session: the session's id

        Answers with {execs: [{exec, terminal, command, state, tty, pid, uid, started_at, exit_code, signal,
            attached}]}.
        """
        return self._call("exec.list", given({"session": session}))


class DockerMethods:
    """The Docker daemon of a session."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def build(
        self,
        session: str,
        context_path: str,
        image_tag: str,
        *,
        dockerfile_path: str | None = None,
        build_args: Mapping[str, str] | None = None,
        timeout_seconds: float | None = None,
    ) -> Any:
        """Builds an image from a directory of the session, with its own Docker daemon. Tells its progress by events,
        too; ends when the client goes away.

        session: the session's id
        context_path: the directory, from the template's workdir; it is sent without what its .dockerignore leaves out
        image_tag: what the image is to be called, as "name:tag"
        dockerfile_path: of the Dockerfile, in the directory; "Dockerfile" by default
        build_args: values for the Dockerfile's ARG
        timeout_seconds: then it is cancelled, and the error timeout has in data.result what it said; no end by
            default (0.001 to 31622400)

        Answers with {image_tag, image_id, logs, truncated, dropped_bytes, metrics: {image_size_mb, elapsed_seconds}};
            a megabyte is a million bytes.
        """
        return self._call("docker.build", given(
            {"session": session, "context_path": context_path, "image_tag": image_tag, "dockerfile_path":
             dockerfile_path, "build_args": build_args, "timeout_seconds": timeout_seconds},
        ))

    def cancel(self, session: str, *, image_tag: str | None = None) -> Any:
        """Ends builds that are under way; their calls fail.

        session: the session's id
        image_tag: those of this image only

        Answers with {cancelled}: how many.
        """
        return self._call("docker.cancel", given({"session": session, "image_tag": image_tag}))

    def run(
        self,
        session: str,
        image: str,
        *,
        command: Sequence[str] | None = None,
        name: str | None = None,
        ports: Sequence[str] | None = None,
        env: Mapping[str, str] | None = None,
        detach: bool | None = None,
        auto_remove: bool | None = None,
    ) -> Any:
        """Runs a container in the session's own Docker daemon, and answers when it has ended unless it is detached.

        session: the session's id
        image: an image of the session
        command: instead of the image's
        name: of the container; the daemon makes one up by default
        ports: published at the session's address, as "8080:80" or "53:53/udp"; "80" takes a free one
        env: environment, added to the image's
        detach: answer when it has started
        auto_remove: remove it when it has ended, or when the client that waits for it goes away

        Answers with {container_id, container_name, exit_code, logs, truncated, dropped_bytes, elapsed_seconds};
            detached: without exit_code, logs and what they dropped.
        """
        return self._call("docker.run", given(
            {"session": session, "image": image, "command": command, "name": name, "ports": ports, "env": env,
             "detach": detach, "auto_remove": auto_remove},
        ))

    def stop(
        self,
        session: str,
        container_name: str,
        *,
        timeout: int | None = None,
        remove: bool | None = None,
    ) -> Any:
        """Stops a container of the session's own Docker daemon.

        session: the session's id
        container_name: its name or id
        timeout: seconds until it is killed, 10 by default (0 to 3600)
        remove: remove it then

        Answers with {container_name, stopped, removed}.
        """
        return self._call("docker.stop", given(
            {"session": session, "container_name": container_name, "timeout": timeout, "remove": remove},
        ))

    def ps(self, session: str, *, all: bool | None = None) -> Any:
        """The containers of the session's own Docker daemon.

        session: the session's id
        all: those that do not run, too

        Answers with {containers: [{container_id, container_name, image, command, state, status, created_at_unix,
            ports}]}.
        """
        return self._call("docker.ps", given({"session": session, "all": all}))

    def images(self, session: str) -> Any:
        """The images of the session's own Docker daemon.

        session: the session's id

        Answers with {images: [{image_id, tags, size_bytes, created_at_unix}]}.
        """
        return self._call("docker.images", given({"session": session}))


class FileMethods:
    """Files in sessions."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def stat(
        self,
        session: str,
        path: str,
        *,
        follow: bool | None = None,
        user: str | None = None,
        timeout_seconds: float | None = None,
    ) -> FileStat:
        """What a file in a session is.

        session: the session's id
        path: absolute
        follow: of a symlink: what it leads to; by default itself
        user: whose rights count: name, name:group, uid or uid:gid in the session; the workload's by default
        timeout_seconds: then the error timeout; 30 by default, of a stream none, but one on which nothing moves for
            60 ends (0.001 to 31622400)

        Answers with {type, size_bytes, mode, uid, gid, modified_at, links, target}: target of a symlink only.
        """
        return self._call("file.stat", given(
            {"session": session, "path": path, "follow": follow, "user": user, "timeout_seconds": timeout_seconds},
        ))

    def list(
        self,
        session: str,
        path: str,
        *,
        recursive: bool | None = None,
        cursor: str | None = None,
        user: str | None = None,
        timeout_seconds: float | None = None,
    ) -> FileList:
        """What is in a directory, in order of names, a page at a time.

        session: the session's id
        path: of the directory, absolute
        recursive: and in the directories below, at most 100 deep
        cursor: next_cursor of the page before
        user: whose rights count: name, name:group, uid or uid:gid in the session; the workload's by default
        timeout_seconds: then the error timeout; 30 by default, of a stream none, but one on which nothing moves for
            60 ends (0.001 to 31622400)

        Answers with {entries: [{path, …as file.stat, unread}], next_cursor}: paths relative to the directory; unread:
            why a directory could not be gone into; null on the last page.
        """
        return self._call("file.list", given(
            {"session": session, "path": path, "recursive": recursive, "cursor": cursor, "user": user,
             "timeout_seconds": timeout_seconds},
        ))

    def read(
        self,
        session: str,
        path: str,
        *,
        offset: int | None = None,
        length: int | None = None,
        encoding: Literal["utf-8", "base64"] | None = None,
        stream: bool | None = None,
        via: Literal["token", "fd"] | None = None,
        user: str | None = None,
        timeout_seconds: float | None = None,
    ) -> FileContent | FileStream:
        """The contents of a regular file: up to 1 MiB in the answer, more by a stream.

        session: the session's id
        path: absolute; a symlink is followed
        offset: of the first byte
        length: at most so many bytes; all by default
        encoding: base64 also for what is text; what is none always comes so
        stream: true: by a stream, however short; false: never, more than 1 MiB is an error
        via: fd: the stream comes as a descriptor with the answer (SCM_RIGHTS); a token for stream.sock by default
        user: whose rights count: name, name:group, uid or uid:gid in the session; the workload's by default
        timeout_seconds: then the error timeout; 30 by default, of a stream none, but one on which nothing moves for
            60 ends (0.001 to 31622400)

        Answers with {content, encoding, length, …as file.stat}, or {transfer, stream, length, …as file.stat} with so
            many bytes to come (null: up to the end).
        """
        return self._call("file.read", given(
            {"session": session, "path": path, "offset": offset, "length": length, "encoding": encoding, "stream":
             stream, "via": via, "user": user, "timeout_seconds": timeout_seconds},
        ))

    def write(
        self,
        session: str,
        path: str,
        *,
        content: str | None = None,
        encoding: Literal["utf-8", "base64"] | None = None,
        stream: bool | None = None,
        size_bytes: int | None = None,
        mode: str | None = None,
        create_parents: bool | None = None,
        via: Literal["token", "fd"] | None = None,
        user: str | None = None,
        timeout_seconds: float | None = None,
    ) -> FileStat | Transfer:
        """Writes a regular file, which appears, or replaces what has its name, when it is complete; a failure leaves
        nothing. By a stream: send, end your side, then file.wait.

        session: the session's id
        path: absolute; a symlink is replaced, not followed
        content: what it is to hold
        encoding: of content; utf-8 by default
        stream: true: the contents come by a stream, of any size
        size_bytes: of a stream: with any other number of bytes the file is not put in place. Here or in file.wait
        mode: permissions in octal, "0644"; that of the file it replaces by default, else 0644
        create_parents: makes the directories above it that are missing
        via: fd: the stream comes as a descriptor with the answer (SCM_RIGHTS); a token for stream.sock by default
        user: whose rights count: name, name:group, uid or uid:gid in the session; the workload's by default
        timeout_seconds: then the error timeout; 30 by default, of a stream none, but one on which nothing moves for
            60 ends (0.001 to 31622400)

        Answers with as file.stat; or {transfer, stream}.
        """
        return self._call("file.write", given(
            {"session": session, "path": path, "content": content, "encoding": encoding, "stream": stream,
             "size_bytes": size_bytes, "mode": mode, "create_parents": create_parents, "via": via, "user": user,
             "timeout_seconds": timeout_seconds},
        ))

    def mkdir(
        self,
        session: str,
        path: str,
        *,
        mode: str | None = None,
        create_parents: bool | None = None,
        user: str | None = None,
        timeout_seconds: float | None = None,
    ) -> FileStat:
        """Makes a directory.

        session: the session's id
        path: absolute
        mode: permissions in octal, "0644"; 0755 by default
        create_parents: makes those above it, too; and it may be there already
        user: whose rights count: name, name:group, uid or uid:gid in the session; the workload's by default
        timeout_seconds: then the error timeout; 30 by default, of a stream none, but one on which nothing moves for
            60 ends (0.001 to 31622400)

        Answers with as file.stat.
        """
        return self._call("file.mkdir", given(
            {"session": session, "path": path, "mode": mode, "create_parents": create_parents, "user": user,
             "timeout_seconds": timeout_seconds},
        ))

    def move(
        self,
        session: str,
        path: str,
        to: str,
        *,
        replace: bool | None = None,
        user: str | None = None,
        timeout_seconds: float | None = None,
    ) -> FileStat:
        """Gives a file or directory another name in the same file system.

        session: the session's id
        path: absolute
        to: the new one, absolute
        replace: false: what has that name stays, and the error is already_exists; true by default
        user: whose rights count: name, name:group, uid or uid:gid in the session; the workload's by default
        timeout_seconds: then the error timeout; 30 by default, of a stream none, but one on which nothing moves for
            60 ends (0.001 to 31622400)

        Answers with as file.stat, of the new name.
        """
        return self._call("file.move", given(
            {"session": session, "path": path, "to": to, "replace": replace, "user": user, "timeout_seconds":
             timeout_seconds},
        ))

    def delete(
        self,
        session: str,
        path: str,
        *,
        recursive: bool | None = None,
        user: str | None = None,
        timeout_seconds: float | None = None,
    ) -> Removed:
        """Removes a file, a symlink or a directory.

        session: the session's id
        path: absolute; a symlink itself
        recursive: with all that is in it; by default a directory must be empty
        user: whose rights count: name, name:group, uid or uid:gid in the session; the workload's by default
        timeout_seconds: then the error timeout; 30 by default, of a stream none, but one on which nothing moves for
            60 ends (0.001 to 31622400)

        Answers with {removed}: how many.
        """
        return self._call("file.delete", given(
            {"session": session, "path": path, "recursive": recursive, "user": user, "timeout_seconds":
             timeout_seconds},
        ))

    def wait(self, session: str, transfer: str, *, size_bytes: int | None = None) -> Any:
        """Answers when a stream of file.read, file.write, archive.get or archive.put has ended, with how. An outcome
        is kept for 60 seconds.

        session: the session's id
        transfer: as answered
        size_bytes: of file.write: how many bytes were sent. Required if file.write was not told

        Answers with {transfer, size_bytes}, of a written file …as file.stat, of an archive {entries, skipped,
            first_skipped}.
        """
        return self._call("file.wait", given({"session": session, "transfer": transfer, "size_bytes": size_bytes}))


class ArchiveMethods:
    """Directories of sessions as tar."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def get(
        self,
        session: str,
        path: str,
        *,
        via: Literal["token", "fd"] | None = None,
        user: str | None = None,
        timeout_seconds: float | None = None,
    ) -> Transfer:
        """A directory with all that is in it, or one file, as a tar by a stream. Sockets and devices are left out.

        session: the session's id
        path: absolute; the names in the tar are relative to it
        via: fd: the stream comes as a descriptor with the answer (SCM_RIGHTS); a token for stream.sock by default
        user: whose rights count: name, name:group, uid or uid:gid in the session; the workload's by default
        timeout_seconds: then the error timeout; 30 by default, of a stream none, but one on which nothing moves for
            60 ends (0.001 to 31622400)

        Answers with {transfer, stream}.
        """
        return self._call("archive.get", given(
            {"session": session, "path": path, "via": via, "user": user, "timeout_seconds": timeout_seconds},
        ))

    def put(
        self,
        session: str,
        path: str,
        *,
        create_parents: bool | None = None,
        via: Literal["token", "fd"] | None = None,
        user: str | None = None,
        timeout_seconds: float | None = None,
    ) -> Transfer:
        """Unpacks a tar that comes by a stream below a directory, and nowhere else. Modes, times, links and holes are
        kept; owners where the user may; devices are left out.

        session: the session's id
        path: of the directory, absolute
        create_parents: makes it, and those above it, if it is not there
        via: fd: the stream comes as a descriptor with the answer (SCM_RIGHTS); a token for stream.sock by default
        user: whose rights count: name, name:group, uid or uid:gid in the session; the workload's by default
        timeout_seconds: then the error timeout; 30 by default, of a stream none, but one on which nothing moves for
            60 ends (0.001 to 31622400)

        Answers with {transfer, stream}.
        """
        return self._call("archive.put", given(
            {"session": session, "path": path, "create_parents": create_parents, "via": via, "user": user,
             "timeout_seconds": timeout_seconds},
        ))


class TerminalMethods:
    """Terminals that outlive connections."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def open(
        self,
        session: str,
        *,
        name: str | None = None,
        command: Sequence[str] | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        user: str | None = None,
        rows: int | None = None,
        cols: int | None = None,
        via: Literal["token", "fd"] | None = None,
    ) -> OpenedTerminal:
        """A terminal that outlives connections, with a shell or another command; one of this name that is there is
        attached to. It first shows what it showed before, up to 64 KiB.

        session: the session's id
        name: its name; one is made up when none is given
        command: argument vector; a shell by default
        env: environment, added to the template's
        cwd: directory to run in, an absolute path; the workload's by default
        user: name, name:group, uid or uid:gid in the session; the workload's by default
        rows: of the terminal, 24 by default (1 to 65535)
        cols: of the terminal, 80 by default (1 to 65535)
        via: fd: the stream comes as a descriptor with the answer (SCM_RIGHTS); a token for stream.sock by default

        Answers with {terminal, exec, pid, created, stream}; the methods exec.* take either name.
        """
        return self._call("terminal.open", given(
            {"session": session, "name": name, "command": command, "env": env, "cwd": cwd, "user": user, "rows": rows,
             "cols": cols, "via": via},
        ))

    def attach(self, session: str, terminal: str, *, via: Literal["token", "fd"] | None = None) -> OpenedTerminal:
        """Another stream to a terminal; it first shows what it showed before, and then its end where it has ended.
        Whoever reads too slowly for the others misses some, and is told so.

        session: the session's id
        terminal: its name, or the command's
        via: fd: the stream comes as a descriptor with the answer (SCM_RIGHTS); a token for stream.sock by default

        Answers with {terminal, exec, pid, created: false, stream}.
        """
        return self._call("terminal.attach", given({"session": session, "terminal": terminal, "via": via}))


class PortMethods:
    """Ports of sessions."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def connect(
        self,
        session: str,
        port: int | None = None,
        *,
        path: str | None = None,
        family: Literal["ipv4", "ipv6"] | None = None,
        via: Literal["token", "fd"] | None = None,
    ) -> StreamOffer:
        """A connection to a port of a session, its loopback included, or to a socket in it.

        session: the session's id
        port: the port in the session (1 to 65535)
        path: or the path of a stream socket in the session, which its root connects to
        family: of the loopback address; by default IPv4, then IPv6
        via: how the connection is handed over: by a token, as a stream (the default), or as a descriptor

        Answers with {token, expires_in_seconds}: see streams; or {via: "fd"} and the descriptor.
        """
        return self._call("port.connect", given(
            {"session": session, "port": port, "path": path, "family": family, "via": via},
        ))

    def publish(
        self,
        session: str,
        as_: Mapping[str, Any],
        port: int | None = None,
        *,
        path: str | None = None,
        family: Literal["ipv4", "ipv6"] | None = None,
        name: str | None = None,
    ) -> PublishedPort:
        """Makes a socket of the host lead to a port of a session. The same again is the same endpoint. It ends with
        the session.

        session: the session's id
        as_: {"unix": true}, a socket that those may connect to who see the session; or {"tcp": {"address"?,
            "port"?}}, of those in the configuration (publish)
        port: the port in the session (1 to 65535)
        path: or the path of a stream socket in the session, which its root connects to
        family: of the loopback address; by default IPv4, then IPv6
        name: of the endpoint, at most 32 characters; "port-8080", "tcp-8080" or "socket-1" by default

        Answers with the endpoint: {name, port or path, unix or url}.
        """
        return self._call("port.publish", given(
            {"session": session, "as": as_, "port": port, "path": path, "family": family, "name": name},
        ))

    def unpublish(self, session: str, name: str) -> Any:
        """Takes a published port back. Connections that there are go on.

        session: the session's id
        name: of the endpoint

        Answers with {}.
        """
        return self._call("port.unpublish", given({"session": session, "name": name}))


class EventsMethods:
    """What happens."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def subscribe(
        self,
        *,
        since: int | None = None,
        owner: str | None = None,
        session: str | None = None,
        kinds: Sequence[str] | None = None,
    ) -> Subscription:
        """Sends notifications "event" on this connection until it ends.

        since: the last number seen; what came after it is sent first
        owner: of this owner's sessions only
        session: of this session only
        kinds: of these kinds only: "session.ended", or "session.*" for a group

        Answers with {last, boot_id, gone}: the newest event's number, and the range {from, to} that is no longer
            kept, or null.
        """
        return self._call("events.subscribe", given(
            {"since": since, "owner": owner, "session": session, "kinds": kinds},
        ))


class Methods:
    """Every method, by group: `client.session.create(...)` calls session.create."""

    _call: Call
    rpc: RpcMethods
    system: SystemMethods
    template: TemplateMethods
    session: SessionMethods
    volume: VolumeMethods
    pool: PoolMethods
    exec: ExecMethods
    docker: DockerMethods
    file: FileMethods
    archive: ArchiveMethods
    terminal: TerminalMethods
    port: PortMethods
    events: EventsMethods

    def hello(self, *, client: str | None = None, api: int | None = None) -> Hello:
        """Says who serves, who is asking in the kernel's eyes, and what the bounds are. Optional.

        client: name and version of the calling program, for people
        api: the major version wanted; another one is refused (1 to 1000)

        Answers with {api: {major, minor}, version, boot_id, role, owner_prefix, limits, capabilities}.
        """
        return self._call("hello", given({"client": client, "api": api}))


GROUPS: dict[str, Callable[[Call], Any]] = {
    "rpc": RpcMethods, "system": SystemMethods, "template": TemplateMethods, "session": SessionMethods, "volume":
    VolumeMethods, "pool": PoolMethods, "exec": ExecMethods, "docker": DockerMethods, "file": FileMethods, "archive":
    ArchiveMethods, "terminal": TerminalMethods, "port": PortMethods, "events": EventsMethods,
}
