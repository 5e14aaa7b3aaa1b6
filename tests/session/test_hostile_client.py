# SPDX-License-Identifier: Apache-2.0
"""A client that sends rubbish, floods, does not read, or gives descriptors away; and one beside it that behaves."""

import array
import json
import os
import pathlib
import random
import socket
import statistics
import threading
import time
import unittest

from carrel_host import Host, RpcError, own_network, wait_until

FRAMES = 100_000


def setUpModule():
    own_network()


def mutate(generator):
    """A line that is no valid request, or only just one."""
    good = json.dumps({"jsonrpc": "2.0", "id": generator.randrange(1000), "method": "session.get",
                       "params": {"session": "x"}}).encode()
    kind = generator.randrange(10)
    if kind == 0:
        return generator.randbytes(generator.randrange(1, 200)).replace(b"\n", b"")
    if kind == 1:
        return good[:generator.randrange(len(good))]
    if kind == 2:
        at = generator.randrange(len(good))
        return good[:at] + generator.randbytes(1).replace(b"\n", b"") + good[at + 1:]
    if kind == 3:
        return b"[" * generator.randrange(1, 200)
    if kind == 4:
        return b'{"jsonrpc":"2.0","id":1.5,"method":"hello"}'
    if kind == 5:
        return b'{"jsonrpc":"2.0","id":1,"id":2,"method":"hello"}'
    if kind == 6:
        return b"[]"
    if kind == 7:
        return b'{"jsonrpc":"2.0","id":1,"method":"session.create","params":{"template":' + b'{"a":' * 40 + b"1" + b"}" * 41 + b"}"
    if kind == 8:
        return b'"' + b"\\u0000" * generator.randrange(1, 30) + b'"'
    return b'{"jsonrpc":"2.0","method":"session.get","id":null,"params":[]}'


class HostileClient(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.host = Host().start()

    @classmethod
    def tearDownClass(cls):
        cls.host.close()

    def control_fds(self):
        return len(os.listdir(f"/proc/{self.host.control_pid()}/fd"))

    def test_malformed_frames(self):
        good = self.host.client()
        good.call("session.create", template="minimal", id="bystander")
        quiet = statistics.median(self.timed(good) for _ in range(200))
        control, fds = self.host.control_pid(), self.control_fds()
        seen = {"lines": 0}
        stop = threading.Event()

        def flood():
            generator = random.Random(1)
            sent = 0
            while sent < FRAMES:
                try:
                    bad = socket.socket(socket.AF_UNIX)
                    bad.settimeout(30)
                    bad.connect(str(self.host.socket_path))
                    for _ in range(200):
                        n = min(100, FRAMES - sent)
                        if n == 0:
                            break
                        bad.sendall(b"".join(mutate(generator) + b"\n" for _ in range(n)))
                        sent += n
                        bad.settimeout(0.001)
                        try:
                            seen["lines"] += bad.recv(1 << 20).count(b"\n")
                        except TimeoutError:
                            pass
                        bad.settimeout(30)
                except (ConnectionError, TimeoutError):
                    pass  # dropped, as it may be; the next connection goes on
                finally:
                    bad.close()
            stop.set()

        thread = threading.Thread(target=flood)
        thread.start()
        during = []
        while not stop.is_set():
            during.append(self.timed(good))
        thread.join()
        self.assertGreater(seen["lines"], 1000)
        self.assertEqual(self.host.control_pid(), control)
        self.assertEqual(good.call("session.get", session="bystander")["state"], "ready")
        good.call("session.remove", session="bystander")
        self.assertLessEqual(self.control_fds(), fds + 2)
        print(f"\n  well-behaved client: {quiet * 1000:.2f} ms quiet, {statistics.median(during) * 1000:.2f} ms during the flood")
        self.assertLess(statistics.median(during), 0.25)

    @staticmethod
    def timed(client):
        begun = time.monotonic()
        client.call("session.get", session="bystander")
        return time.monotonic() - begun

    def test_descriptors_are_not_kept(self):
        before = self.control_fds()
        client = self.host.client()
        read, write = os.pipe()
        for _ in range(50):
            fds = array.array("i", [read, write] * 10)
            client.socket.sendmsg([b" "], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
        os.close(read)
        os.close(write)
        try:
            client.call("system.health")
        except ConnectionError:
            pass  # refusing such a client altogether is as good
        self.assertLessEqual(self.control_fds(), before + 1)

    def test_a_reader_that_does_not_read(self):
        lazy = socket.socket(socket.AF_UNIX)
        lazy.connect(str(self.host.socket_path))
        lazy.settimeout(0.2)
        request = b'{"jsonrpc":"2.0","id":1,"method":"rpc.discover"}\n'
        try:
            for _ in range(5000):
                lazy.sendall(request)
        except (TimeoutError, ConnectionError):
            pass
        good = self.host.client()
        begun = time.monotonic()
        good.call("system.health")
        self.assertLess(time.monotonic() - begun, 1.0)
        rss = int(pathlib.Path(f"/proc/{self.host.control_pid()}/statm").read_text().split()[1]) * 4096
        self.assertLess(rss, 100 << 20)
        lazy.close()

    def test_a_frame_without_end(self):
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(10)
        client.connect(str(self.host.socket_path))
        try:
            for _ in range(64):
                client.sendall(b"x" * 65536)
        except ConnectionError:
            pass
        answer = b""
        try:
            answer = client.recv(65536)
        except ConnectionError:
            pass
        if answer:
            self.assertIn(b"-32700", answer)
        client.close()
        self.assertEqual(self.host.client().call("system.health")["status"], "ok")

    def test_more_connections_than_allowed(self):
        sockets = []
        try:
            for _ in range(200):
                s = socket.socket(socket.AF_UNIX)
                s.settimeout(5)
                s.connect(str(self.host.socket_path))
                sockets.append(s)
            refused = sockets[-1].recv(65536)
            self.assertTrue(refused == b"" or b"busy" in refused, refused)
        finally:
            for s in sockets:
                s.close()

        def served():
            # The ends of those connections and this one reach control in any order.
            try:
                return self.host.client().call("system.health")["status"] == "ok"
            except (OSError, RpcError):
                return False

        wait_until(served, what="room for a connection")


if __name__ == "__main__":
    unittest.main()
