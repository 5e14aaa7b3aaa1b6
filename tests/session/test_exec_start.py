# SPDX-License-Identifier: Apache-2.0
"""Commands that outlive connections: streams, ends, signals, limits, and control killed in the middle."""

import json
import os
import pathlib
import signal
import socket
import threading
import time
import unittest

from carrel_host import Exactly, Host, RpcError, own_network, scaled, wait_until, waited
from test_exec import open_files, resident_kib, session_pids

TEMPLATE = {"kind": "exec", "image": "minimal", "command": ["/bin/busybox", "sleep", "infinity"],
            "env": {"PATH": "/bin", "HOME": "/root"}, "user": {"uid": 1000, "gid": 1000},
            "workdir": "/tmp", "capabilities": [], "seccomp": "minimal",
            "limits": {"memory_bytes": 268435456, "swap_bytes": 0, "cpus": 2.0, "pids": 1024, "root_bytes": 33554432,
                       "root_inodes": 8192, "shm_bytes": 1048576, "open_files": 1024},
            "network": {"egress": "none"}, "stop": {"signal": "SIGKILL", "grace_seconds": 1}}
EXECS, ENDED_KEPT = 256, 64


def setUpModule():
    own_network()


def command_of(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def read_all(stream):
    """To the end of the stream, which is then closed."""
    with stream:
        parts = []
        while part := stream.recv(1 << 16):
            parts.append(part)
        return b"".join(parts)


class Case(unittest.TestCase):
    templates = {"exec": TEMPLATE}

    @classmethod
    def setUpClass(cls):
        cls.host = Host(templates=cls.templates).start()
        cls.addClassCleanup(cls.host.close)
        cls.client = cls.host.client()
        cls.client.call("session.create", template="exec", id="one")
        cls.init = cls.host.init_pids()[0]

    def open(self, offered):
        stream = self.host.stream(offered)
        self.addCleanup(stream.close)
        return stream

    def start(self, *command, client=None, **params):
        return (client or self.client).call("exec.start", session="one", command=list(command), **params)

    def sh(self, script, **params):
        return self.start("sh", "-c", script, **params)

    def wait(self, started, **params):
        ended = self.client.call("exec.wait", session="one", exec=started["exec"], timeout_seconds=20, **params)
        return ended["signal"] or ended["exit_code"]

    def stop(self, started):
        self.client.call("exec.signal", session="one", exec=started["exec"], signal="KILL")
        self.wait(started)

    def expect(self, kind, method, client=None, **params):
        with self.assertRaises(RpcError) as caught:
            (client or self.client).call(method, session="one", **params)
        self.assertEqual(caught.exception.kind, kind, caught.exception)
        return caught.exception

    def listed(self, name):
        return next(row for row in self.client.call("exec.list", session="one")["execs"] if row["exec"] == name)


class ExecStart(Case):
    # ---- streams

    def test_three_streams(self):
        started = self.sh("cat; echo err >&2; exit 3")
        self.assertEqual(sorted(started["streams"]), ["stderr", "stdin", "stdout"])
        stdin, stdout, stderr = (self.open(started["streams"][name]) for name in ("stdin", "stdout", "stderr"))
        stdin.sendall(b"one\n")
        self.assertEqual(stdout.recv(100), b"one\n")
        stdin.sendall(b"two\n")
        stdin.shutdown(socket.SHUT_WR)
        self.assertEqual(read_all(stdout), b"two\n")
        self.assertEqual(read_all(stderr), b"err\n")
        self.assertEqual(self.wait(started), 3)

    def test_merged(self):
        started = self.sh("echo out; echo err >&2", merge=True)
        self.assertEqual(sorted(started["streams"]), ["stdin", "stdout"])
        self.assertEqual(read_all(self.open(started["streams"]["stdout"])), b"out\nerr\n")
        self.assertEqual(self.wait(started), 0)

    def test_output_waits_for_a_reader(self):
        started = self.sh("echo early; exit 4")
        self.assertEqual(self.wait(started), 4)
        self.assertEqual(read_all(self.open(started["streams"]["stdout"])), b"early\n")

    def test_much_both_ways(self):
        started = self.start("cat")
        data = os.urandom(1 << 20) * 32
        stdin, stdout = (self.open(started["streams"][name]) for name in ("stdin", "stdout"))

        def feed():
            stdin.sendall(data)
            stdin.close()

        feeder = threading.Thread(target=feed)
        feeder.start()
        self.assertTrue(read_all(stdout) == data)
        feeder.join()
        self.assertEqual(self.wait(started), 0)

    def test_streams_can_be_opened_again(self):
        started = self.sh("echo one > /dev/stdout; echo two > /dev/stderr")
        self.assertEqual(read_all(self.open(started["streams"]["stdout"])), b"one\n")
        self.assertEqual(read_all(self.open(started["streams"]["stderr"])), b"two\n")

    def test_descriptors(self):
        """"via": "fd": the streams come with the answer."""
        with socket.socket(socket.AF_UNIX) as plain:
            plain.settimeout(scaled(20))
            plain.connect(str(self.host.socket_path))
            request = {"jsonrpc": "2.0", "id": 1, "method": "exec.start",
                       "params": {"session": "one", "command": ["cat"], "via": "fd"}}
            plain.sendall(json.dumps(request).encode() + b"\n")
            line, fds, _, _ = socket.recv_fds(plain, 65536, 8)
        streams = json.loads(line)["result"]["streams"]
        self.assertEqual(streams, {"stdin": {"fd": 0}, "stdout": {"fd": 1}, "stderr": {"fd": 2}})
        stdin, stdout, stderr = (socket.socket(fileno=fd) for fd in fds)
        stdin.sendall(b"straight")
        stdin.close()
        self.assertEqual(read_all(stdout), b"straight")
        self.assertEqual(read_all(stderr), b"")

    def test_descriptors_not_in_a_batch(self):
        request = {"jsonrpc": "2.0", "id": 1, "method": "exec.start",
                   "params": {"session": "one", "command": ["true"], "via": "fd"}}
        self.client.socket.sendall(json.dumps([request]).encode() + b"\n")
        self.assertEqual(self.client.receive()[0]["error"]["data"]["path"], "via")

    def test_attach_again(self):
        started = self.sh("while read line; do echo got $line; done; echo end")
        with self.open(started["streams"]["stdin"]) as stdin, self.open(started["streams"]["stdout"]) as stdout:
            stdin.sendall(b"one\n")
            self.assertEqual(stdout.recv(100), b"got one\n")
            again = self.client.call("exec.attach", session="one", exec=started["exec"])
            newer = self.open(again["streams"]["stdout"])
            # The newest reader counts: the older one is at its end.
            self.assertEqual(stdout.recv(100), b"")
            stdin.sendall(b"two\n")
            self.assertEqual(newer.recv(100), b"got two\n")
        self.assertEqual(read_all(newer), b"end\n")
        self.assertEqual(self.wait(started), 0)

    def test_reader_that_goes_away(self):
        """What it did not read is lost with it; what comes later waits for the next."""
        started = self.sh("read line; echo late")
        self.open(started["streams"]["stdout"]).close()
        self.open(started["streams"]["stdin"]).sendall(b"\n")
        again = self.client.call("exec.attach", session="one", exec=started["exec"])
        self.assertEqual(read_all(self.open(again["streams"]["stdout"])), b"late\n")

    def test_reader_that_stops_holds_up_nobody(self):
        control = self.host.control_pid()
        flood = self.start("yes", "x" * 1000)
        stream = self.open(flood["streams"]["stdout"])
        stream.recv(1)
        before = resident_kib(control)
        begun = time.monotonic()
        for _ in range(50):
            self.assertEqual(self.client.call("exec.run", session="one", command=["echo", "quick"])["stdout"], "quick\n")
        self.assertLess(time.monotonic() - begun, scaled(10))
        self.assertLess(resident_kib(control) - before, 4096)
        self.stop(flood)
        stream.close()

    # ---- ends

    def test_not_started(self):
        error = self.expect("failed", "exec.start", command=["/nowhere"])
        self.assertEqual((error.data["step"], error.data["errno"]), ("exec", "ENOENT"))
        error = self.expect("failed", "exec.start", command=["true"], user="nobody-here")
        self.assertEqual(error.data["step"], "user")

    def test_signals(self):
        started = self.sh("sleep 1000 & sleep 1000; true")
        before = wait_until(lambda: sum(command_of(pid).startswith("sleep 1000")
                                        for pid in session_pids(self.init)) == 2 and len(session_pids(self.init)), what="both")
        self.client.call("exec.signal", session="one", exec=started["exec"], signal="SIGTERM")
        self.assertEqual(self.wait(started), 15)
        wait_until(lambda: len(session_pids(self.init)) <= before - 3, what="the end of the group")
        self.expect("invalid_state", "exec.signal", exec=started["exec"], signal="9")
        error = self.expect("invalid_params", "exec.signal", exec=started["exec"], signal="NONSENSE")
        self.assertEqual(error.data["path"], "signal")

    def test_timeout(self):
        started = self.sh("sleep 1000 & sleep 1000", timeout_seconds=Exactly(waited(0.3)))
        self.assertEqual(self.wait(started), 9)

    def test_wait_times_out(self):
        started = self.start("sleep", "1000")
        self.expect("timeout", "exec.wait", exec=started["exec"], timeout_seconds=Exactly(0.1))
        self.stop(started)

    def test_wait_by_many(self):
        started = self.sh("read line; exit 5")
        clients = [self.host.client() for _ in range(5)]
        asked = [client.send("exec.wait", session="one", exec=started["exec"]) for client in clients]
        clients[0].close()
        self.open(started["streams"]["stdin"]).sendall(b"\n")
        for client, request in list(zip(clients, asked))[1:]:
            self.assertEqual(client.answer(request)["exit_code"], 5)

    def test_list(self):
        started = self.sh("exit 6")
        self.wait(started)
        row = self.listed(started["exec"])
        self.assertEqual((row["state"], row["exit_code"], row["signal"]), ("ended", 6, None))
        self.assertEqual((row["tty"], row["terminal"]), (False, None))
        self.assertEqual((row["command"], row["uid"], row["pid"]), ("sh -c exit 6", 0, started["pid"]))

    def test_ends_are_kept_for_a_while(self):
        first = self.sh("exit 1")
        self.wait(first)
        for _ in range(ENDED_KEPT + 1):
            self.wait(self.start("true"))
        self.expect("not_found", "exec.wait", exec=first["exec"])
        ended = [row for row in self.client.call("exec.list", session="one")["execs"] if row["state"] == "ended"]
        self.assertEqual(len(ended), ENDED_KEPT)

    # ---- limits

    def test_limit(self):
        started = [self.start("sleep", "1000") for _ in range(20)]
        running = sum(row["state"] == "running" for row in self.client.call("exec.list", session="one")["execs"])
        clients = []
        while running < EXECS:
            started.append(self.start("sleep", "1000"))
            running += 1
        error = self.expect("limit", "exec.start", command=["true"])
        self.assertIn(str(EXECS), str(error))
        self.expect("limit", "exec.run", command=["true"])
        for one in started:
            self.client.call("exec.signal", session="one", exec=one["exec"], signal="KILL")
        for one in started[-ENDED_KEPT // 2:]:
            self.wait(one)
        for client in clients:
            client.close()
        wait_until(lambda: self.client.call("exec.run", session="one", command=["true"])["exit_code"] == 0, what="room")

    def test_two_hundred_at_once(self):
        """In one session, by connections that have 64 requests open each."""
        clients = [self.host.client() for _ in range(4)]
        begun = time.monotonic()
        asked = [[client.send("exec.run", session="one", command=["sh", "-c", f"sleep 1; echo {i}.{j}"]) for j in range(50)]
                 for i, client in enumerate(clients)]
        for i, client in enumerate(clients):
            came = {}
            while len(came) < 50:
                message = client.receive()
                came[message["id"]] = message["result"]["stdout"]
            self.assertEqual([came[request] for request in asked[i]], [f"{i}.{j}\n" for j in range(50)])
        self.assertLess(time.monotonic() - begun, scaled(20))

    def test_paused(self):
        started = self.start("sleep", "1000")
        self.client.call("session.pause", session="one")
        try:
            self.refused_while_paused(started)
        finally:
            self.client.call("session.resume", session="one")
        self.stop(started)

    def refused_while_paused(self, started):
        for method, params in (("exec.signal", {"signal": "HUP"}), ("exec.attach", {}), ("exec.resize", {"rows": 5, "cols": 5})):
            self.expect("invalid_state", method, exec=started["exec"], **params)
        self.expect("invalid_state", "exec.start", command=["true"])
        self.assertEqual(self.listed(started["exec"])["state"], "running")

    def test_events(self):
        client = self.host.client()
        client.call("events.subscribe", kinds=["exec.*"])
        started = self.sh("exit 3")
        self.wait(started)
        seen = []
        while len(seen) < 2:
            event = client.receive()["params"]
            if event.get("exec") == started["exec"]:
                seen.append((event["kind"], event.get("exit_code")))
        self.assertEqual(seen, [("exec.started", None), ("exec.ended", 3)])

    def test_other_owners_see_nothing(self):
        started = self.start("sleep", "1000")
        with self.assertRaises(RpcError) as caught:
            self.client.call("exec.attach", session="two", exec=started["exec"])
        self.assertEqual(caught.exception.kind, "not_found")
        self.expect("not_found", "exec.attach", exec="exec-1")
        self.stop(started)

    def test_nothing_is_left(self):
        control = self.host.control_pid()

        def one():
            started = self.sh("cat; exit 0")
            self.open(started["streams"]["stdin"]).close()
            self.assertEqual(read_all(self.open(started["streams"]["stdout"])), b"")
            self.assertEqual(read_all(self.open(started["streams"]["stderr"])), b"")
            self.wait(started)

        for _ in range(ENDED_KEPT + 8):
            one()
        files, inits, memory = open_files(control), open_files(self.init), resident_kib(control)
        for _ in range(200):
            one()
        wait_until(lambda: open_files(control) <= files + 2 and open_files(self.init) <= inits + 2, what="no descriptor more")
        self.assertLess(resident_kib(control) - memory, 1024)


class Survival(Case):
    def kill_control(self):
        before = self.host.control_pid()
        os.kill(before, signal.SIGKILL)
        self.host.wait_for_api()
        wait_until(lambda: self.host.control_pid() not in (None, before), what="another control")
        type(self).client = self.host.client()

        def known():
            try:
                return self.client.call("exec.list", session="one") is not None
            except RpcError:
                return False
        wait_until(known, what="the list")

    def attach(self, name):
        def attached():
            try:
                return self.client.call("exec.attach", session="one", exec=name)
            except RpcError as error:
                if error.kind != "not_ready":
                    raise
                return None
        return wait_until(attached, what="attach")

    def test_command_goes_on(self):
        started = self.sh("echo one; while read line; do echo got $line; done; echo end; exit 9")
        stdin, stdout = (self.open(started["streams"][name]) for name in ("stdin", "stdout"))
        self.assertEqual(stdout.recv(100), b"one\n")
        stdin.sendall(b"a\n")
        self.assertEqual(stdout.recv(100), b"got a\n")
        self.kill_control()
        # The streams are at their ends; the command's input is not.
        self.assertEqual(stdout.recv(100), b"")
        again = self.attach(started["exec"])
        self.assertEqual(again["pid"], started["pid"])
        row = self.listed(started["exec"])
        self.assertEqual((row["state"], row["uid"], row["command"][:12]), ("running", 0, "sh -c echo o"))
        stdin, stdout = (self.open(again["streams"][name]) for name in ("stdin", "stdout"))
        stdin.sendall(b"b\n")
        self.assertEqual(stdout.recv(100), b"got b\n")
        stdin.close()
        self.assertEqual(read_all(stdout), b"end\n")
        self.assertEqual(self.wait(started), 9)

    def test_end_while_nobody_looks(self):
        control = self.host.control_pid()
        started = self.sh("sleep 0.3; echo last; exit 8")
        os.kill(control, signal.SIGSTOP)
        wait_until(lambda: not os.path.exists(f"/proc/{self.init}/root/proc/{started['pid']}"), what="its end")
        os.kill(control, signal.SIGCONT)
        self.kill_control()
        again = self.attach(started["exec"])
        self.assertEqual(read_all(self.open(again["streams"]["stdout"])), b"last\n")
        self.assertEqual(self.wait(started), 8)

    def test_timeout_survives(self):
        started = self.start("sleep", "1000", timeout_seconds=2)
        self.kill_control()
        self.assertEqual(self.wait(started), 9)


class Activity(Case):
    templates = {"exec": {**TEMPLATE, "activity": ["stream"]}}

    def last(self):
        return self.client.call("session.get", session="one")["last_activity_at"]

    def test_only_what_counts(self):
        before = self.last()
        time.sleep(0.01)
        self.assertEqual(self.client.call("exec.run", session="one", command=["true"])["exit_code"], 0)
        started = self.start("cat")
        self.assertEqual(self.last(), before)
        stdin, stdout = (self.open(started["streams"][name]) for name in ("stdin", "stdout"))
        stdin.sendall(b"x")
        self.assertEqual(stdout.recv(1), b"x")
        self.assertGreater(self.last(), before)


del Case  # not a test by itself

if __name__ == "__main__":
    unittest.main()
