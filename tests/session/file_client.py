# SPDX-License-Identifier: Apache-2.0
"""A session for tests of file.* and archive.*, and a client's side of their streams."""

import contextlib
import json
import socket

from carrel_host import Host, RpcError, scaled

USER = 1000
TEMPLATE = {"kind": "exec", "image": "minimal", "command": ["/bin/busybox", "sleep", "infinity"],
            "env": {"PATH": "/bin", "HOME": "/tmp"}, "user": {"uid": USER, "gid": USER}, "workdir": "/tmp",
            "capabilities": ["CHOWN", "DAC_OVERRIDE", "FOWNER"], "seccomp": "minimal",
            "limits": {"memory_bytes": 3 << 30, "swap_bytes": 0, "cpus": 2.0, "pids": 512, "root_bytes": 2 << 30,
                       "root_inodes": 131072, "shm_bytes": 1048576, "open_files": 1024},
            "network": {"egress": "none"}, "stop": {"signal": "SIGKILL", "grace_seconds": 1}}


class Files:
    """Calls about one session."""

    def __init__(self, host, session="one", **template):
        self.host = host
        self.session = session
        self.client = host.client()

    def call(self, method, **params):
        return self.client.call(method, session=self.session, **params)

    def sh(self, script, check=True, **params):
        result = self.call("exec.run", command=["sh", "-c", script], **params)
        if check and result["exit_code"] != 0:
            raise AssertionError(f"{script}: {result}")
        return result["stdout"]

    def attach(self, opened):
        """The stream that a call has answered with."""
        stream = socket.socket(socket.AF_UNIX)
        stream.settimeout(scaled(60))
        stream.connect(str(self.host.run_dir / "stream.sock"))
        stream.sendall(json.dumps({"token": opened["stream"]["token"]}).encode() + b"\n")
        return stream

    def wait(self, opened, **params):
        return self.call("file.wait", transfer=opened["transfer"], **params)

    def download(self, method, path, **params):
        """(bytes, outcome) of file.read or archive.get."""
        opened = self.call(method, path=path, **params)
        with self.attach(opened) as stream, stream.makefile("rb") as file:
            data = file.read()
        return data, self.wait(opened)

    def upload(self, method, path, data, **params):
        """The outcome of file.write or archive.put."""
        opened = self.call(method, path=path, **params)
        with self.attach(opened) as stream:
            # Who refuses what is sent closes the stream, and says why in the outcome.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                stream.sendall(data)
                stream.shutdown(socket.SHUT_WR)
            return self.wait(opened)


def start(test_class):
    """A host with the session "one", for setUpClass."""
    test_class.host = Host(templates={"exec": TEMPLATE}).start()
    test_class.addClassCleanup(test_class.host.close)
    test_class.files = Files(test_class.host)
    test_class.files.client.call("session.create", template="exec", id="one")


def expect(test, kind, errno, function, *args, **params):
    """Calls what must fail so; the error."""
    with test.assertRaises(RpcError) as caught:
        function(*args, **params)
    error = caught.exception
    test.assertEqual((error.kind, error.data.get("errno")), (kind, errno), error)
    return error
