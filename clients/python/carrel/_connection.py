# SPDX-License-Identifier: Apache-2.0
"""A connection to carrel: JSON-RPC 2.0 over a unix stream socket, one JSON value per line."""

from __future__ import annotations

import collections
import json
import select
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ._base import Error
from ._methods import KINDS

T = TypeVar("T")
MAX_FDS = 8


def _remaining(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def make_error(error: Mapping[str, Any]) -> Error:
    """The exception for an error object of JSON-RPC."""
    data = error.get("data")
    kind = data.get("kind") if isinstance(data, Mapping) else None
    return KINDS.get(str(kind), Error)(error)


class Connection:
    """Any number of threads may call at once, each waits for its own answer: whoever waits and finds nobody reading
    reads for all."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.connect(path)
        except BaseException:
            self._socket.close()
            raise
        self._buffer = bytearray()
        self._sending = threading.Lock()
        self._changed = threading.Condition()  # guards all that follows
        self._reading = False
        self._broken: Exception | None = None
        self._last_id = 0
        self._expected: set[int] = set()
        self._answers: dict[int, dict[str, Any]] = {}
        self._notifications: collections.deque[dict[str, Any]] = collections.deque()
        self._fds: list[int] = []

    def close(self) -> None:
        """Ends the connection; threads that wait get a ConnectionError."""
        with self._changed:
            if self._broken is None:
                self._broken = ConnectionError("the connection was closed")
                if self._reading:
                    self._socket.shutdown(socket.SHUT_RDWR)  # wakes the one who reads, who closes it
                else:
                    self._socket.close()
            self._changed.notify_all()

    # ---- calls

    def call(self, method: str, params: Mapping[str, Any] | None = None, timeout: float | None = None) -> Any:
        """The result of METHOD. Raises Error when it is refused, ConnectionError, or TimeoutError after TIMEOUT seconds;
        then it is not known whether it was done."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            if self._broken is not None:
                raise self._broken
            self._last_id += 1
            request_id = self._last_id
            self._expected.add(request_id)
        try:
            request = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": dict(params or {})}
            line = json.dumps(request, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
            with self._sending:
                self._socket.sendall(line)
            answer = self._wait(lambda: self._answers.pop(request_id, None), deadline)
        finally:
            with self._changed:
                self._expected.discard(request_id)
                self._answers.pop(request_id, None)
        if "error" in answer:
            raise make_error(answer["error"])
        return answer.get("result")

    def notification(self, timeout: float | None = None) -> dict[str, Any]:
        """The next notification: {"method", "params"}."""
        deadline = None if timeout is None else time.monotonic() + timeout
        return self._wait(lambda: self._notifications.popleft() if self._notifications else None, deadline)

    def take_fds(self) -> list[int]:
        """Descriptors that came so far; they are the caller's now."""
        with self._changed:
            fds, self._fds = self._fds, []
            return fds

    # ---- one reads for all

    def _wait(self, ready: Callable[[], T | None], deadline: float | None) -> T:
        with self._changed:
            while True:
                found = ready()
                if found is not None:
                    return found
                if self._broken is not None:
                    raise self._broken
                if self._reading:
                    if not self._changed.wait(_remaining(deadline)):
                        raise TimeoutError("no answer in the time given")
                    continue
                self._reading = True
                try:
                    self._changed.release()
                    try:
                        message = self._read(deadline)
                    finally:
                        self._changed.acquire()
                except (OSError, ValueError) as error:
                    if isinstance(error, TimeoutError):
                        raise
                    if self._broken is None:
                        self._broken = error if isinstance(error, ConnectionError) else ConnectionError(str(error))
                    self._socket.close()
                    raise self._broken from error
                finally:
                    self._reading = False
                    self._changed.notify_all()
                self._take(message)

    def _take(self, message: dict[str, Any]) -> None:
        request_id = message.get("id")
        if "method" in message:
            self._notifications.append(message)
        elif request_id in self._expected:
            self._answers[request_id] = message
        elif request_id is None and "error" in message:
            # What was sent could not even be read: no request on this connection can be told from another.
            raise make_error(message["error"])

    def _read(self, deadline: float | None) -> dict[str, Any]:
        """The next message. Only the thread that has set _reading comes here."""
        searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
            poll = select.poll()
            poll.register(self._socket, select.POLLIN)
            remaining = _remaining(deadline)
            if not poll.poll(None if remaining is None else remaining * 1000):
                raise TimeoutError("no answer in the time given")
            data, fds, _, _ = socket.recv_fds(self._socket, 65536, MAX_FDS)
            self._fds += fds
            if not data:
                raise ConnectionError("carrel ended the connection")
            self._buffer += data
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        message = json.loads(line)
        if not isinstance(message, dict):
            raise ConnectionError("the answer is no JSON-RPC")
        return message
