# SPDX-License-Identifier: Apache-2.0
"""Raw byte streams: what a command reads and writes, a port, a file."""

from __future__ import annotations

import io
import json
import os
import socket
from typing import Any, BinaryIO

CHUNK = 1 << 20


class Stream(io.RawIOBase):
    """A byte stream of a session, file-like: readable, writable or both. Wrap it in io.BufferedReader where lines are
    read; tarfile, shutil.copyfileobj and select take it as it is. One thread may read while another one writes."""

    def __init__(self, fd: int) -> None:
        """Takes over FD, a socket or one end of a pipe."""
        super().__init__()
        self._fd = fd

    @classmethod
    def connect(cls, path: str, token: str) -> Stream:
        """The stream that TOKEN stands for, from the stream socket at PATH."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(path)
            connection.sendall(json.dumps({"token": token}).encode() + b"\n")
        except BaseException:
            connection.close()
            raise
        return cls(connection.detach())

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        if self.closed:
            raise ValueError("the stream is closed")
        return self._fd

    def readinto(self, buffer: Any) -> int:
        return os.readv(self.fileno(), [buffer])

    def readall(self) -> bytes:
        """Everything up to the end."""
        parts = []
        while part := os.read(self.fileno(), CHUNK):
            parts.append(part)
        return b"".join(parts)

    def write(self, data: Any) -> int:
        """Writes all of DATA, and waits for as long as the other side needs."""
        view = memoryview(data).cast("B")
        done = 0
        while done < len(view):
            done += os.write(self.fileno(), view[done:])
        return done

    def close_write(self) -> None:
        """Tells the other side that no more comes; reading goes on."""
        with self.to_socket() as half:
            half.shutdown(socket.SHUT_WR)

    def to_socket(self) -> socket.socket:
        """The same stream as a socket of its own."""
        return socket.socket(fileno=os.dup(self.fileno()))

    def copy_from(self, source: BinaryIO) -> int:
        """Writes all that SOURCE has; how many bytes that were."""
        total = 0
        buffer = memoryview(bytearray(CHUNK))
        while count := _read_into(source, buffer):
            total += self.write(buffer[:count])
        return total

    def copy_to(self, target: BinaryIO) -> int:
        """Writes all that comes to TARGET; how many bytes that were."""
        total = 0
        buffer = memoryview(bytearray(CHUNK))
        while count := self.readinto(buffer):
            view = buffer[:count]
            while view:
                view = view[target.write(view) or 0 :]
            total += count
        return total

    def close(self) -> None:
        if not self.closed:
            super().close()
            os.close(self._fd)


def _read_into(source: BinaryIO, buffer: memoryview) -> int:
    readinto = getattr(source, "readinto", None)
    if readinto is not None:
        return readinto(buffer) or 0
    data = source.read(len(buffer))
    buffer[: len(data)] = data
    return len(data)
