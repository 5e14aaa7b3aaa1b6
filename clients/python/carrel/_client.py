# SPDX-License-Identifier: Apache-2.0
"""The client: every method of the interface, and what needs more than one call."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from . import _methods as generated
from ._base import Error, given
from ._connection import Connection
from ._streams import Stream

DEFAULT_SOCKET = "/run/carrel/api.sock"
RECONNECT_SECONDS = 0.05, 2.0  # the first pause and the longest


class Client(generated.Methods):
    """A client of carrel, connected when it is made and closed by `with` or close().

    Methods are grouped as in the reference: `client.session.create("browser")` calls session.create. Any number of
    threads may use one client at once; each call waits for its own answer, a connection is never shared with an
    iterator or a stream. A client does not survive fork().

    path: carrel's API socket; else $CARREL_SOCKET, else /run/carrel/api.sock
    timeout: seconds for each call, after which it raises TimeoutError; None: for ever
    stream_path: the stream socket; by default stream.sock beside the API socket
    """

    def __init__(self, path: str | None = None, *, timeout: float | None = None, stream_path: str | None = None) -> None:
        self.path = os.fspath(path or os.environ.get("CARREL_SOCKET") or DEFAULT_SOCKET)
        self.stream_path = stream_path or os.path.join(os.path.dirname(self.path), "stream.sock")
        self.timeout = timeout
        self._connection = Connection(self.path)
        for group, methods in generated.GROUPS.items():
            setattr(self, group, methods(self.call))

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection, and with it the commands that exec.run still runs on it."""
        self._connection.close()

    def call(self, method: str, params: Mapping[str, Any] | None = None) -> Any:
        """Any method by its name: what the grouped ones use, for methods that this version does not know."""
        return self._connection.call(method, params, self.timeout)

    _call = call

    # ---- streams

    def call_fds(self, method: str, params: Mapping[str, Any]) -> tuple[Any, list[int]]:
        """Calls a method with `via: fd`: its result, and the descriptors that came with it, which are the caller's."""
        connection = Connection(self.path)
        try:
            result = connection.call(method, {**params, "via": "fd"}, self.timeout)
            return result, connection.take_fds()
        finally:
            for fd in connection.take_fds():
                os.close(fd)
            connection.close()

    def open_stream(self, offer: Mapping[str, Any]) -> Stream:
        """The stream that a method offers: {"token", …} becomes a connection. It works once, and not for long."""
        return Stream.connect(self.stream_path, offer["token"])

    # ---- contents of any size

    def download(self, session: str, path: str, target: BinaryIO, **params: Any) -> dict[str, Any]:
        """Writes a file of a session to TARGET; raises when it was not all of it. Parameters of file.read are taken."""
        return self._receive("file.read", {"session": session, "path": path, "stream": True, **params}, target)

    def upload(self, session: str, path: str, source: BinaryIO, **params: Any) -> dict[str, Any]:
        """Writes all of SOURCE to a file of a session, which appears when it is complete. Parameters of file.write are
        taken."""
        return self._send("file.write", {"session": session, "path": path, "stream": True, **params}, source)

    def get_archive(self, session: str, path: str, target: BinaryIO, **params: Any) -> dict[str, Any]:
        """Writes a directory of a session to TARGET, as a tar. Take tarfile's filter "data" to unpack it: what comes out
        of a session is hostile."""
        return self._receive("archive.get", {"session": session, "path": path, **params}, target)

    def put_archive(self, session: str, path: str, source: BinaryIO, **params: Any) -> dict[str, Any]:
        """Unpacks the tar SOURCE below a directory of a session. Parameters of archive.put are taken."""
        return self._send("archive.put", {"session": session, "path": path, **params}, source)

    def _receive(self, method: str, params: Mapping[str, Any], target: BinaryIO) -> dict[str, Any]:
        opened = self.call(method, given(params))
        with self.open_stream(opened["stream"]) as stream:
            received = stream.copy_to(target)
        # Only this says that what came is all.
        outcome = self.call("file.wait", {"session": params["session"], "transfer": opened["transfer"]})
        if outcome["size_bytes"] != received:
            raise ConnectionError(f"{received} of {outcome['size_bytes']} bytes came")
        return outcome

    def _send(self, method: str, params: Mapping[str, Any], source: BinaryIO) -> dict[str, Any]:
        opened = self.call(method, given(params))
        wait = {"session": params["session"], "transfer": opened["transfer"]}
        with self.open_stream(opened["stream"]) as stream:
            try:
                sent = stream.copy_from(source)
                stream.close_write()
            except (BrokenPipeError, ConnectionResetError):
                # The other side ended it, and says why. With this number of bytes nothing is put in place.
                self.call("file.wait", {**wait, "size_bytes": 0} if method == "file.write" else wait)
                raise
            return self.call("file.wait", {**wait, "size_bytes": sent} if method == "file.write" else wait)

    # ---- iterators, each on a connection of its own

    def follow_events(
        self,
        since: int | None = None,
        *,
        owner: str | None = None,
        session: str | None = None,
        kinds: Sequence[str] | None = None,
        reconnect_seconds: float = 30.0,
    ) -> Iterator[generated.Event]:
        """Events as they happen, from SINCE on or from now on, without end.

        When the connection breaks, as when carrel is started again, a new one goes on behind the last event seen; only
        when none can be made for RECONNECT_SECONDS, ConnectionError is raised. If events are no longer kept, the next
        one is {"kind": "events.gone", "gone": {"from", "to"}}.
        """
        selection = given({"owner": owner, "session": session, "kinds": kinds})
        lost_at, pause = None, RECONNECT_SECONDS[0]
        while True:
            connection = None
            try:
                connection = Connection(self.path)
                answer = connection.call("events.subscribe", {**selection, **given({"since": since})}, self.timeout)
                lost_at, pause = None, RECONNECT_SECONDS[0]
                if answer["gone"]:
                    yield {"kind": "events.gone", "gone": answer["gone"]}
                if since is None:
                    since = answer["last"]
                while True:
                    message = connection.notification()
                    if message["method"] != "event":
                        continue
                    event = message["params"]
                    since = max(since, event.get("seq", since))
                    yield event
            except OSError:
                lost_at = lost_at or time.monotonic()
                if time.monotonic() - lost_at >= reconnect_seconds:
                    raise
            except Error as error:
                # A carrel that has just been started may have too much to do.
                if not error.retryable:
                    raise
            finally:
                if connection is not None:
                    connection.close()
            time.sleep(pause)
            pause = min(2 * pause, RECONNECT_SECONDS[1])

    def follow_logs(self, session: str, since: int | None = None) -> Iterator[generated.LogEntry]:
        """What a session's workload wrote, and what it writes until the session has ended."""
        connection = Connection(self.path)
        try:
            portion = connection.call("session.logs", given({"session": session, "since": since, "follow": True}), self.timeout)
            while True:
                yield from portion["entries"]
                if portion["ended"] and not portion["more"]:
                    return
                if portion["ended"]:
                    portion = connection.call("session.logs", {"session": session, "since": portion["next"]}, self.timeout)
                else:
                    portion = connection.notification()["params"]
        finally:
            connection.close()

    def each_session(self, **selection: Any) -> Iterator[generated.Session]:
        """All sessions that session.list selects, page by page."""
        cursor: str | None = None
        while True:
            page = self.call("session.list", given({**selection, "cursor": cursor}))
            yield from page["sessions"]
            cursor = page["next_cursor"]
            if cursor is None:
                return
