# SPDX-License-Identifier: Apache-2.0
"""A carrel that answers what a test tells it to, and the client run against it."""

import contextlib
import json
import os
import pathlib
import pty
import shutil
import socket
import subprocess
import tempfile
import threading
import unittest

ROOT = pathlib.Path(os.environ.get("CARREL_ROOT", "/nonexistent"))
CARREL = ROOT / "usr/bin/carrel"


class Refusal(Exception):
    """Raised by a method of the fake server: an error answer."""

    def __init__(self, kind, message="no", code=-32000, **data):
        super().__init__(message)
        self.error = {"code": code, "message": message, "data": {"kind": kind, "retryable": False, **data}}


class Server:
    """Answers JSON-RPC from METHODS: a value, an exception, or a function of the parameters and the connection."""

    def __init__(self, path, methods):
        self.methods = methods
        self.requests = []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.converse, args=(connection,), daemon=True).start()

    def converse(self, connection):
        with connection, connection.makefile("rb") as lines:
            for line in lines:
                if not self.answer(json.loads(line), connection):
                    return

    def answer(self, request, connection):
        self.requests.append((request["method"], request.get("params")))
        result = self.methods.get(request["method"], Refusal("unknown", "no such method", code=-32601))
        message = {"jsonrpc": "2.0", "id": request["id"]}
        try:
            if callable(result):
                result = result(request.get("params"), connection)
            if isinstance(result, Exception):
                raise result
            message["result"] = result
        except Refusal as refusal:
            message["error"] = refusal.error
        except ConnectionError:
            return False
        if result is not None:
            with contextlib.suppress(BrokenPipeError):
                connection.sendall(json.dumps(message).encode() + b"\n")
        return True

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()


def notify(connection, method, **params):
    connection.sendall(json.dumps({"jsonrpc": "2.0", "method": method, "params": params}).encode() + b"\n")


class CliTest(unittest.TestCase):
    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="carrel-cli-"))
        self.socket = self.dir / "api.sock"
        self.addCleanup(shutil.rmtree, self.dir)

    def serve(self, **methods):
        server = Server(self.socket, {name.replace("__", "."): value for name, value in methods.items()})
        self.addCleanup(server.close)
        return server

    def command(self, *arguments, program=CARREL, env=None, **kwargs):
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "CARREL_SOCKET": str(self.socket), **(env or {})}
        return {"args": [str(program), *arguments], "env": environment, "timeout": 30, **kwargs}

    def run_cli(self, *arguments, expect=0, **kwargs):
        result = subprocess.run(**self.command(*arguments, **{"capture_output": True, "text": True, **kwargs}))
        self.assertEqual(result.returncode, expect, f"{arguments}\n{result.stdout}\n{result.stderr}")
        return result

    def on_terminal(self, *arguments, env=None):
        """What is written to a terminal, newlines as they were sent."""
        master, slave = pty.openpty()
        try:
            command = self.command(*arguments, env={"TERM": "xterm", **(env or {})})
            process = subprocess.Popen(command["args"], env=command["env"], stdout=slave, stderr=slave)
            os.close(slave)
            written = b""
            with contextlib.suppress(OSError):  # EIO: nobody holds the terminal any more
                while chunk := os.read(master, 65536):
                    written += chunk
            process.wait(30)
        finally:
            os.close(master)
        return written.decode(errors="replace").replace("\r\n", "\n")
