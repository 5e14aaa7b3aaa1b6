# SPDX-License-Identifier: Apache-2.0
"""Ports of sessions: published as sockets of the host, or connected to one at a time; relayed without loss."""

import hashlib
import json
import os
import signal
import socket
import stat
import struct
import subprocess
import threading
import time
import unittest

from carrel_host import ROOT, Host, RpcError, compile_static, own_network, scaled, wait_until

MIB = 1 << 20
NOBODY = 61185


def setUpModule():
    own_network()


def read_all(connection):
    chunks = []
    while chunk := connection.recv(1 << 16):
        chunks.append(chunk)
    return b"".join(chunks)


class Case(unittest.TestCase):
    config = {}

    @classmethod
    def setUpClass(cls):
        template = Host.template(None, "minimal")
        template["endpoints"] = {"echo": {"port": 7000}, "bare": {"port": 7001, "unix": False},
                                 "daemon": {"path": "/tmp/daemon.sock"}}
        template["limits"]["open_files"] = 10000
        cls.host = Host(cls.config, templates={"ported": template})
        cls.addClassCleanup(cls.host.close)
        program = cls.host.state_dir / "rootfs/minimal/0/bin/port_server"
        compile_static("port_server.c", program.parent)
        cls.host.start()
        cls.client = cls.host.client()

    def start(self, *words, name=None):
        """A session whose workload is a server, removed at the test's end."""
        command = ["/bin/port_server", *words]
        session = self.client.call("session.create", template="ported", command=command, **({"id": name} if name else {}))
        self.addCleanup(self.remove, session["id"])
        wait_until(lambda: "serving" in self.output(session["id"]), what="the server")
        return session

    def remove(self, name):
        try:
            self.host.client().call("session.remove", session=name)
        except RpcError as e:
            self.assertEqual(e.kind, "not_found")

    def output(self, name):
        return "".join(e["text"] for e in self.client.call("session.logs", session=name)["entries"])

    def refused(self, kind, method, **params):
        with self.assertRaises(RpcError) as caught:
            self.client.call(method, **params)
        self.assertEqual(caught.exception.kind, kind, caught.exception)
        return caught.exception

    def stats(self, name):
        return self.client.call("session.stats", session=name)["ports"]

    def connect(self, path):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(scaled(20))
        self.addCleanup(connection.close)
        connection.connect(str(path))
        return connection

    def connect_tcp(self, url):
        address, port = url.removeprefix("tcp://").rsplit(":", 1)
        connection = socket.create_connection((address.strip("[]"), int(port)), timeout=scaled(20))
        self.addCleanup(connection.close)
        return connection

    def stream(self, token):
        connection = self.connect(self.host.run_dir / "stream.sock")
        connection.sendall(b'{"token": "%s"}\n' % token.encode())
        return connection

    def hello(self, connection, text=b"hello"):
        connection.sendall(text)
        self.assertEqual(connection.recv(len(text), socket.MSG_WAITALL), text)
        return connection


class Endpoints(Case):
    def test_of_the_template(self):
        session = self.start("tcp", "7000", "unix", "/tmp/daemon.sock")
        ends = session["endpoints"]
        self.assertEqual(set(ends), {"echo", "bare", "daemon"})
        self.assertEqual(ends["echo"]["url"], f"tcp://{session['address']}:7000")
        self.assertEqual((ends["echo"]["port"], ends["daemon"]["path"]), (7000, "/tmp/daemon.sock"))
        self.assertNotIn("unix", ends["bare"])
        self.assertNotIn("url", ends["daemon"])
        for name in ("echo", "daemon"):
            status = os.stat(ends[name]["unix"])
            self.assertTrue(stat.S_ISSOCK(status.st_mode))
            self.assertEqual(stat.S_IMODE(status.st_mode), 0o660)
            with self.connect(ends[name]["unix"]) as connection:
                self.hello(connection)
        self.client.call("session.remove", session=session["id"])
        self.assertEqual(os.listdir(self.host.run_dir / "endpoints"), [])

    def test_publish_unix(self):
        session = self.start("tcp", "8080")["id"]
        end = self.client.call("port.publish", session=session, port=8080, **{"as": {"unix": True}})
        self.assertEqual((end["name"], end["port"]), ("port-8080", 8080))
        self.hello(self.connect(end["unix"]))
        # The same again is the same; something else under its name is a conflict.
        again = self.client.call("port.publish", session=session, port=8080, **{"as": {"unix": True}})
        self.assertEqual(again, end)
        self.refused("conflict", "port.publish", session=session, port=8081, name="port-8080", **{"as": {"unix": True}})
        self.assertEqual(self.client.call("session.get", session=session)["endpoints"]["port-8080"],
                         {"port": 8080, "unix": end["unix"]})
        kept = self.hello(self.connect(end["unix"]))
        self.assertEqual(self.client.call("port.unpublish", session=session, name="port-8080"), {})
        self.assertFalse(os.path.exists(end["unix"]))
        self.hello(kept)
        self.refused("not_found", "port.unpublish", session=session, name="port-8080")
        self.refused("denied", "port.unpublish", session=session, name="echo")

    def test_publish_path(self):
        session = self.start("unix", "/tmp/one.sock", "unix", "/tmp/two.sock")["id"]
        ends = [self.client.call("port.publish", session=session, path=p, **{"as": {"unix": True}})
                for p in ("/tmp/one.sock", "/tmp/two.sock", "/tmp/one.sock")]
        self.assertEqual([e["name"] for e in ends], ["socket-1", "socket-2", "socket-1"])
        self.hello(self.connect(ends[1]["unix"]))
        # A path that is not there, or leads out of the session, is found out when somebody connects.
        end = self.client.call("port.publish", session=session, path=str(self.host.socket_path), **{"as": {"unix": True}})
        self.assertEqual(self.connect(end["unix"]).recv(10), b"")

    def test_publish_tcp(self):
        session = self.start("tcp", "8080")["id"]
        end = self.client.call("port.publish", session=session, port=8080, **{"as": {"tcp": {}}})
        self.assertRegex(end["url"], r"^tcp://127\.0\.0\.1:20\d\d\d$")
        self.hello(self.connect_tcp(end["url"]))
        port = int(end["url"].rsplit(":", 1)[1])
        other = self.start("tcp", "8080")["id"]
        self.refused("conflict", "port.publish", session=other, port=8080, **{"as": {"tcp": {"port": port}}})
        for tcp, path in (({"address": "0.0.0.0"}, "as.tcp.address"), ({"port": 19999}, "as.tcp.port"),
                          ({"address": "::1"}, "as.tcp.address")):
            error = self.refused("denied", "port.publish", session=other, port=8080, **{"as": {"tcp": tcp}})
            self.assertEqual(error.data["path"], path)
        self.client.call("port.unpublish", session=session, name="tcp-8080")
        with self.assertRaises(ConnectionRefusedError):
            self.connect_tcp(end["url"])
        self.client.call("port.publish", session=other, port=8080, **{"as": {"tcp": {"port": port}}})
        self.hello(self.connect_tcp(end["url"]))

    def test_bad_parameters(self):
        session = self.start("tcp", "8080")["id"]
        unix = {"as": {"unix": True}}
        for params in ({"port": 0, **unix}, {"port": 65536, **unix}, unix, {"port": 1, "path": "/a", **unix},
                       {"path": "relative", **unix}, {"path": "/" + 1023 * "a", **unix}, {"port": 1}, {"port": 1, "as": {}},
                       {"port": 1, "as": {"unix": False}}, {"port": 1, "as": {"unix": True, "tcp": {}}},
                       {"port": 1, "as": {"tcp": 1}}, {"port": 1, "as": {"tcp": {"host": "x"}}},
                       {"port": 1, "as": {"tcp": {"port": "20000"}}}, {"port": 1, "as": {"tcp": {"port": 2.5}}},
                       {"port": 1, "as": {"tcp": {"address": "localhost"}}}, {"port": 1, "name": "n" * 33, **unix},
                       {"port": 1, "name": "a.b", **unix}, {"port": 1, "family": "ipx", **unix}):
            with self.subTest(params):
                error = self.refused("invalid_params", "port.publish", session=session, **params)
                self.assertTrue("path" in error.data or "exactly one of" in str(error))

    def test_long_path(self):
        session = self.start("tcp", "8080", name="s" * 63)
        self.assertNotIn("unix", session["endpoints"]["echo"])
        error = self.refused("limit", "port.publish", session=session["id"], port=8080, **{"as": {"unix": True}})
        self.assertIn("107 bytes", str(error))
        self.client.call("port.publish", session=session["id"], port=8080, **{"as": {"tcp": {}}})

    def test_limit_of_ports(self):
        session = self.start("tcp", "8080")["id"]
        for i in range(16):
            self.client.call("port.publish", session=session, port=9000 + i, **{"as": {"unix": True}})
        error = self.refused("limit", "port.publish", session=session, port=9999, **{"as": {"unix": True}})
        self.assertIn("client_limits.max_ports_per_session", str(error))

    def test_events(self):
        subscriber = self.host.client()
        subscriber.call("events.subscribe", kinds=["port.*"])
        session = self.start("tcp", "8080")["id"]
        self.client.call("port.publish", session=session, port=8080, **{"as": {"unix": True}})
        self.client.call("port.unpublish", session=session, name="port-8080")
        events = [subscriber.receive()["params"] for _ in range(2)]
        self.assertEqual([(e["kind"], e["session"], e["name"]) for e in events],
                         [("port.published", session, "port-8080"), ("port.unpublished", session, "port-8080")])


class Connecting(Case):
    def test_token(self):
        session = self.start("tcp", "8080", "tcp6", "8086", "unix", "/tmp/s")["id"]
        for target in ({"port": 8080}, {"port": 8080, "family": "ipv4"}, {"port": 8086}, {"port": 8086, "family": "ipv6"},
                       {"path": "/tmp/s"}):
            with self.subTest(target):
                answer = self.client.call("port.connect", session=session, **target)
                self.assertEqual(set(answer), {"token", "expires_in_seconds"})
                connection = self.hello(self.stream(answer["token"]))
                connection.shutdown(socket.SHUT_WR)
                self.assertEqual(read_all(connection), b"")
        self.assertIn("refused", str(self.refused("failed", "port.connect", session=session, port=9)))
        self.assertEqual(self.refused("failed", "port.connect", session=session, path="/tmp/none").data["errno"], "ENOENT")

    def test_descriptor(self):
        session = self.start("tcp", "8080")["id"]
        client = self.host.client()
        client.send("port.connect", session=session, port=8080, via="fd")
        line, fds, _, _ = socket.recv_fds(client.socket, 1 << 16, 4)
        self.assertIn(b'"fd"', line)
        with socket.socket(fileno=fds[0]) as connection:
            connection.settimeout(scaled(20))
            self.hello(connection)
            # It is no socket of the session's: that would keep the session's network there for as long as it is open.
            self.assertEqual(connection.family, socket.AF_UNIX)
            self.client.call("session.remove", session=session)
            self.assertEqual(connection.recv(1), b"")

    def test_states(self):
        session = self.start("tcp", "8080")["id"]
        end = self.client.call("port.publish", session=session, port=8080, **{"as": {"unix": True}})["unix"]
        self.client.call("session.pause", session=session)
        self.refused("invalid_state", "port.connect", session=session, port=8080)
        waiting = self.connect(end)
        waiting.sendall(b"later")
        waiting.settimeout(0.2)
        with self.assertRaises(TimeoutError):
            waiting.recv(5)
        self.client.call("session.resume", session=session)
        waiting.settimeout(scaled(10))
        self.assertEqual(waiting.recv(5, socket.MSG_WAITALL), b"later")
        self.client.call("session.stop", session=session)
        self.assertEqual(waiting.recv(5), b"")
        self.assertFalse(os.path.exists(end))
        self.refused("invalid_state", "port.connect", session=session, port=8080)
        self.refused("invalid_state", "port.publish", session=session, port=8080, **{"as": {"unix": True}})

    def test_counts_as_use(self):
        session = self.client.call("session.create", template="ported", command=["/bin/port_server", "tcp", "7000"],
                                   idle_timeout_seconds=1.5)
        self.addCleanup(self.remove, session["id"])
        wait_until(lambda: "serving" in self.output(session["id"]), what="the server")
        connection = self.connect(session["endpoints"]["echo"]["unix"])
        for _ in range(10):
            self.hello(connection)
            time.sleep(0.3)
        self.assertEqual(self.client.call("session.get", session=session["id"])["state"], "ready")


class CommandLine(Case):
    def test_port(self):
        session = self.start("tcp", "8080", "unix", "/tmp/s", "sum", "9090")["id"]
        path = self.host.carrel("port", session, "8080").stdout.strip()
        self.hello(self.connect(path))
        self.hello(self.connect(self.host.carrel("port", session, "/tmp/s", "--name", "mine").stdout.strip()))
        self.hello(self.connect_tcp(self.host.carrel("port", session, "8080", "--tcp", "127.0.0.1:").stdout.strip()))
        self.host.carrel("port", "--remove", session, "mine")
        self.assertNotIn("mine", self.client.call("session.get", session=session)["endpoints"])
        for wrong in ("0", "65536", "http", "relative/path"):
            self.assertEqual(self.host.carrel("port", session, wrong, check=False).returncode, 2, wrong)
        said = subprocess.run([ROOT / "usr/bin/carrel", "port", session, "9090", "--stdio"], input=b"x" * 300000,
                              env={**os.environ, "CARREL_SOCKET": str(self.host.socket_path)}, capture_output=True,
                              timeout=scaled(30))
        self.assertEqual((said.returncode, said.stdout), (0, b"300000\n"), said.stderr)


class Relaying(Case):
    def test_both_ways(self):
        session = self.start("tcp", "7000")
        data = os.urandom(MIB) * 64
        connection = self.connect(session["endpoints"]["echo"]["unix"])
        got = hashlib.sha256()
        n = 0

        def send():
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        while chunk := connection.recv(MIB):
            got.update(chunk)
            n += len(chunk)
        sender.join()
        self.assertEqual((n, got.digest()), (len(data), hashlib.sha256(data).digest()))
        stats = wait_until(lambda: (s := self.stats(session["id"]))["open"] == 0 and s, what="the connection's end")
        self.assertEqual((stats["bytes_in"], stats["bytes_out"], stats["accepted"]), (len(data), len(data), 1))

    def test_half_close(self):
        """The answer to what was sent whole comes after the end of the question."""
        session = self.start("sum", "8080")["id"]
        end = self.client.call("port.publish", session=session, port=8080, **{"as": {"tcp": {}}})["url"]
        connection = self.connect_tcp(end)
        connection.sendall(b"\1" * 100000)
        connection.shutdown(socket.SHUT_WR)
        self.assertEqual(read_all(connection), b"100000\n")

    def test_back_pressure(self):
        """A server that does not read holds up who writes to it, and nobody else; no memory is filled."""
        session = self.start("deaf", "8080", "tcp", "7000")
        name = session["id"]
        end = self.client.call("port.publish", session=name, port=8080, **{"as": {"unix": True}})["unix"]
        before = self.memory_of_control()
        deaf = [self.connect(end) for _ in range(20)]
        for connection in deaf:
            connection.setblocking(False)
        total, quiet = 0, time.monotonic()
        while time.monotonic() - quiet < 0.5:
            for connection in deaf:
                try:
                    total += connection.send(b"x" * MIB)
                    quiet = time.monotonic()
                except BlockingIOError:
                    pass
            time.sleep(0.01)
            self.assertLess(total, 400 * MIB)
        began = time.monotonic()
        for _ in range(100):
            self.hello(self.connect(session["endpoints"]["echo"]["unix"])).close()
        self.assertLess(time.monotonic() - began, scaled(5))
        self.assertLess(self.memory_of_control() - before, 4 * MIB)

    def memory_of_control(self):
        with open(f"/proc/{self.host.control_pid()}/statm") as f:
            return int(f.read().split()[1]) * 4096

    def test_the_other_side_goes(self):
        session = self.start("once", "8080", "tcp", "7000")
        name = session["id"]
        end = self.client.call("port.publish", session=name, port=8080, **{"as": {"unix": True}})["unix"]
        with self.connect(end) as connection:
            self.assertEqual(read_all(connection), b"only this\n")
        gone = self.connect(session["endpoints"]["echo"]["unix"])
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.hello(gone).close()
        wait_until(lambda: self.stats(name)["open"] == 0, what="both ends are closed")

    def test_nobody_listens(self):
        session = self.start("tcp", "8080")
        self.assertEqual(read_all(self.connect(session["endpoints"]["echo"]["unix"])), b"")
        stats = self.stats(session["id"])
        self.assertEqual((stats["open"], stats["accepted"], stats["refused"]), (0, 1, 1))

    def test_2000_at_once(self):
        session = self.start("tcp", "7000")
        path = session["endpoints"]["echo"]["unix"]
        descriptors = len(os.listdir(f"/proc/{self.host.control_pid()}/fd"))
        began = time.monotonic()
        connections = [self.connect(path) for _ in range(2000)]
        for i, connection in enumerate(connections):
            connection.sendall(b"%08d" % i)
        for i, connection in enumerate(connections):
            self.assertEqual(connection.recv(8, socket.MSG_WAITALL), b"%08d" % i)
        self.assertLess(time.monotonic() - began, scaled(20))
        self.assertEqual(self.stats(session["id"])["open"], 2000)
        # Idle ones have two descriptors each, and a few pipes that they share.
        self.assertLess(len(os.listdir(f"/proc/{self.host.control_pid()}/fd")) - descriptors, 2 * 2000 + 2 * 32 + 16)
        for connection in connections:
            connection.close()
        wait_until(lambda: self.stats(session["id"])["open"] == 0, what="all are closed")
        wait_until(lambda: len(os.listdir(f"/proc/{self.host.control_pid()}/fd")) <= descriptors + 2 * 32,
                   what="descriptors are given back")


class Walls(Case):
    config = {"access": [{"user": "root", "role": "admin"},
                         {"user": f"#{NOBODY}", "role": "client", "owner_prefix": "ann/"}],
              "client_limits": {"max_port_connections_per_session": 3}}

    def as_nobody(self, path, groups=()):
        """What NOBODY reads after a word, or the error's name."""
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.setgroups(groups)
                os.setresgid(NOBODY, NOBODY, NOBODY)
                os.setresuid(NOBODY, NOBODY, NOBODY)
                connection = socket.socket(socket.AF_UNIX)
                connection.settimeout(scaled(10))
                connection.connect(path)
                connection.sendall(b"word")
                os.write(write, connection.recv(4))
            except OSError as e:
                os.write(write, type(e).__name__.encode())
            finally:
                os._exit(0)
        os.close(write)
        os.waitpid(pid, 0)
        said = os.read(read, 100)
        os.close(read)
        return said

    def test_who_may_connect(self):
        """Who reaches the directory is the group's business; of those, who sees the session in the API."""
        template = self.client.call("session.create", template="ported", owner="ann/1",
                                    command=["/bin/port_server", "tcp", "7000"])
        other = self.client.call("session.create", template="ported", owner="bob/1",
                                 command=["/bin/port_server", "tcp", "7000"])
        for session in (template, other):
            self.addCleanup(self.remove, session["id"])
            wait_until(lambda: "serving" in self.output(session["id"]), what="the server")
        group = [os.stat(self.host.run_dir / "endpoints").st_gid]
        self.assertEqual(self.as_nobody(template["endpoints"]["echo"]["unix"], group), b"word")
        self.assertIn(self.as_nobody(other["endpoints"]["echo"]["unix"], group), (b"", b"ConnectionResetError", b"BrokenPipeError"))
        self.assertEqual(self.stats(other["id"])["refused"], 1)
        self.assertEqual(self.as_nobody(template["endpoints"]["echo"]["unix"]), b"PermissionError")

    def test_tcp_is_for_operators(self):
        self.assertEqual(self.refused_to_client(), "denied")

    def refused_to_client(self):
        session = self.client.call("session.create", template="ported", owner="ann/1",
                                   command=["/bin/port_server", "tcp", "7000"])
        self.addCleanup(self.remove, session["id"])
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.setgroups([os.stat(self.host.run_dir / "endpoints").st_gid])
                os.setresgid(NOBODY, NOBODY, NOBODY)
                os.setresuid(NOBODY, NOBODY, NOBODY)
                self.host.client().call("port.publish", session=session["id"], port=7000, **{"as": {"tcp": {}}})
                os.write(write, b"done")
            except RpcError as e:
                os.write(write, str(e.kind).encode())
            finally:
                os._exit(0)
        os.close(write)
        os.waitpid(pid, 0)
        said = os.read(read, 100).decode()
        os.close(read)
        return said

    def test_limit_of_connections(self):
        session = self.start("tcp", "7000")
        path = session["endpoints"]["echo"]["unix"]
        three = [self.hello(self.connect(path)) for _ in range(3)]
        self.assertEqual(self.connect(path).recv(1), b"")
        error = self.refused("limit", "port.connect", session=session["id"], port=7000)
        self.assertIn("max_port_connections_per_session", str(error))
        self.assertEqual(self.stats(session["id"]), {"open": 3, "accepted": 3, "refused": 1, "bytes_in": 15, "bytes_out": 15})
        three[0].close()
        wait_until(lambda: self.stats(session["id"])["open"] == 2, what="one is closed")
        self.hello(self.connect(path))

    def test_not_from_another_session(self):
        """What is published on the host's loopback is not reached from inside any session, its own included."""
        session = self.start("tcp", "7000")
        url = self.client.call("port.publish", session=session["id"], port=7000, **{"as": {"tcp": {}}})["url"]
        self.hello(self.connect_tcp(url))
        port = url.rsplit(":", 1)[1]
        stranger = self.start("tcp", "7000")
        network, last = stranger["address"].rsplit(".", 1)
        host_end = f"{network}.{int(last) + 1}"
        for address in ("127.0.0.1", host_end, session["address"]):
            ran = self.client.call("exec.run", session=stranger["id"], timeout_seconds=20,
                                   command=["/bin/port_server", "try", address, port])
            self.assertIn(ran["stdout"].strip(), ("ECONNREFUSED", "timeout", "EHOSTUNREACH", "ENETUNREACH", "EPERM"), address)
        ran = self.client.call("exec.run", session=stranger["id"], timeout_seconds=20,
                               command=["/bin/port_server", "try", "127.0.0.1", "7000"])
        self.assertEqual(ran["stdout"].strip(), "reached")


class Browser(Case):
    """A debugging port wants Host to be an address or localhost: by a unix socket clients say localhost."""

    @classmethod
    def setUpClass(cls):
        cls.host = Host(images=("minimal", "host"))
        cls.addClassCleanup(cls.host.close)
        cls.host.start()
        cls.client = cls.host.client()

    def version(self, connection):
        connection.sendall(b"GET /json/version HTTP/1.1\r\nHost: localhost\r\n\r\n")
        file = connection.makefile("rb")
        self.assertEqual(file.readline(), b"HTTP/1.1 200 OK\r\n")
        headers = dict(line.decode().strip().lower().split(":", 1) for line in iter(file.readline, b"\r\n"))
        return json.loads(file.read(int(headers["content-length"])))

    def test_debugging_port(self):
        session = self.client.call("session.create", template="browser-host")
        self.addCleanup(self.remove, session["id"])
        by_socket = self.version(self.connect(session["endpoints"]["cdp"]["unix"]))
        by_stream = self.version(self.stream(self.client.call("port.connect", session=session["id"], port=9222)["token"]))
        self.assertIn("Chrome", by_socket["Browser"])
        self.assertEqual(by_socket["Browser"], by_stream["Browser"])
        self.assertRegex(by_socket["webSocketDebuggerUrl"], "^ws://localhost/devtools/browser/")


class Survival(Case):
    def test_control_killed(self):
        session = self.start("tcp", "7000", "tcp", "8080")["id"]
        other = self.start("tcp", "7000")["id"]
        unix = self.client.call("port.publish", session=session, port=8080, **{"as": {"unix": True}})
        tcp = self.client.call("port.publish", session=session, port=8080, **{"as": {"tcp": {}}})
        gone = self.client.call("port.publish", session=session, port=8080, name="gone", **{"as": {"unix": True}})
        self.client.call("port.unpublish", session=session, name="gone")
        before = self.client.call("session.get", session=session)["endpoints"]
        cut = self.hello(self.connect(unix["unix"]))
        stale = self.client.call("session.get", session=other)["endpoints"]["echo"]["unix"]
        time.sleep(0.1)
        os.kill(self.host.control_pid(), signal.SIGKILL)
        self.assertEqual(read_all(cut), b"")
        self.host.wait_for_api()
        type(self).client = self.host.client()
        self.assertEqual(self.client.call("session.get", session=session)["endpoints"], before)
        self.hello(self.connect(unix["unix"]))
        self.hello(self.connect_tcp(tcp["url"]))
        self.hello(self.connect(before["echo"]["unix"]))
        self.assertFalse(os.path.exists(gone["unix"]))
        self.client.call("session.remove", session=other)
        self.assertFalse(os.path.exists(stale))

    def test_session_ends_while_control_is_down(self):
        session = self.start("tcp", "7000")
        path = session["endpoints"]["echo"]["unix"]
        control = self.host.control_pid()
        os.kill(control, signal.SIGSTOP)
        for pid in self.host.init_pids():
            os.kill(pid, signal.SIGKILL)
        os.kill(control, signal.SIGKILL)
        self.host.wait_for_api()
        type(self).client = self.host.client()
        wait_until(lambda: not os.path.exists(path), what="its socket is gone")


if __name__ == "__main__":
    unittest.main()
