# SPDX-License-Identifier: Apache-2.0
"""What outlives what: control killed, the supervisor killed, both."""

import contextlib
import os
import shutil
import signal
import sqlite3
import threading
import time
import unittest

from carrel_host import (TIME_SCALE, Client, Host, RpcError, children, footprint, has_ended, own_network, rss_bytes, scaled,
                         wait_until)

SESSIONS = 50 if TIME_SCALE == 1 else 10
RESTARTS = int(os.environ.get("CARREL_RESTARTS", "20" if TIME_SCALE == 1 else "6"))
RESTARTING = ("already_exists", "not_found", "unavailable", "failed", "invalid_state", "conflict", "busy")
GROWTH_BYTES = 1 << 20
DYING = ["/bin/busybox", "sh", "-c", "trap 'exit 5' TERM; echo dying; busybox sleep 1000 & wait"]
TALKER = ["/bin/busybox", "sh", "-c", "echo hello; exec busybox sleep 1000"]


def setUpModule():
    own_network()


class Load(threading.Thread):
    """Makes sessions, runs something in them and removes them, whether carrel is there or not."""

    def __init__(self, host, number):
        super().__init__(daemon=True)
        self.host, self.name_of_session, self.over, self.done, self.wrong = host, f"load-{number}", threading.Event(), 0, []

    def run(self):
        while not self.over.is_set():
            try:
                client = Client(self.host.socket_path)
            except OSError:
                time.sleep(0.005)
                continue
            try:
                self.cycle(client)
            except (OSError, RpcError) as e:
                # What a restart may do to a request; and what the one before it had made may be there.
                if isinstance(e, RpcError) and e.kind not in RESTARTING:
                    self.wrong.append(f"{e} {e.data}")
            finally:
                client.close()

    def cycle(self, client):
        name = self.name_of_session
        try:
            client.call("session.remove", session=name)
        except RpcError as e:
            if e.kind != "not_found":
                raise
        while not self.over.is_set():
            client.call("session.create", template="minimal", id=name)
            if client.call("exec.run", session=name, command=["true"])["exit_code"] != 0:
                self.wrong.append("exec")
            client.call("session.remove", session=name)
            self.done += 1


class Restarts(unittest.TestCase):
    def test_again_and_again_under_load(self):
        """CARREL_RESTARTS says how many times: nobody who was there before is lost, and nothing grows."""
        host = Host(config={"audit": "none"}).start()
        self.addCleanup(host.close)
        client = host.client()
        for i in range(SESSIONS):
            client.call("session.create", template="minimal", id=f"kept-{i}")
        before = {s["id"]: s for s in client.call("session.list", limit=200)["sessions"]}
        inits, sizes = set(host.init_pids()), []
        loads = [Load(host, i) for i in range(2)]
        for load in loads:
            load.start()
        for i in range(RESTARTS):
            done = sum(load.done for load in loads)
            wait_until(lambda: sum(load.done for load in loads) > done, 20, "sessions meanwhile")
            control = host.control_pid()
            host.stop(signal.SIGKILL if i % 2 else signal.SIGTERM)
            if control:
                wait_until(lambda: has_ended(control), what="control ended")
            host.start()
            sizes.append(rss_bytes(host.process.pid) + rss_bytes(wait_until(host.control_pid, what="control")))
        for load in loads:
            load.over.set()
            load.join()
            self.assertEqual(load.wrong, [])
        client = host.client()
        after = {s["id"]: s for s in client.call("session.list", limit=200)["sessions"]}
        for name, session in before.items():
            for member in ("state", "address", "created_at"):
                self.assertEqual(after[name][member], session[member], f"{name} {member}")
        self.assertEqual([pid for pid in inits if has_ended(pid)], [])
        print(f"\n  {RESTARTS} restarts, {sum(load.done for load in loads)} sessions meanwhile, "
              f"{(sizes[-1] - sizes[0]) >> 10} KiB grown", end=" ", flush=True)
        self.assertLessEqual(min(sizes[-5:]) - min(sizes[:5]), GROWTH_BYTES)


class Survival(unittest.TestCase):
    def setUp(self):
        self.host = Host().start()
        self.client = self.host.client()

    def tearDown(self):
        self.host.close()

    def reconnect(self, seconds=5.0):
        """The API answers again; how long that took."""
        begun = time.monotonic()

        def answers():
            try:
                self.client = self.host.client()
                return self.client.call("system.health")["status"] == "ok"
            except OSError:
                return False

        wait_until(answers, seconds, "API is back")
        return time.monotonic() - begun

    def all_sessions(self):
        return {s["id"]: s for s in self.client.call("session.list", limit=200)["sessions"]}

    def make(self, n):
        for i in range(n):
            self.client.call("session.create", template="minimal", id=f"s{i}", owner=f"o{i}", labels={"n": str(i)},
                             command=TALKER)

    def test_control_killed(self):
        self.make(SESSIONS)
        before, inits = self.all_sessions(), set(self.host.init_pids())
        self.assertEqual(len(inits), SESSIONS)
        os.kill(self.host.control_pid(), signal.SIGKILL)
        self.assertLess(self.reconnect(), scaled(1.0))
        after = self.all_sessions()
        self.assertEqual(set(after), set(before))
        for name, session in after.items():
            for member in ("owner", "labels", "address", "created_at", "limits", "state"):
                self.assertEqual(session[member], before[name][member], f"{name} {member}")
            entries = self.client.call("session.logs", session=name)["entries"]
            self.assertEqual([e["text"].strip() for e in entries], ["hello"])
        self.assertEqual(set(self.host.init_pids()), inits)
        for name in after:
            self.client.call("session.remove", session=name)

    def test_control_killed_again_and_again(self):
        self.make(3)
        for _ in range(5):
            pid = wait_until(self.host.control_pid, what="control")
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: self.host.control_pid() not in (None, pid), what="another control")
        self.reconnect(30)
        self.assertEqual(set(self.all_sessions()), {"s0", "s1", "s2"})

    def restart_supervisor(self, number):
        process = self.host.process
        control = self.host.control_pid()
        process.send_signal(number)
        process.wait(10)
        if number == signal.SIGKILL:
            # Its control sees the channel end, and ends.
            wait_until(lambda: has_ended(control), what="control ended")
        self.host.start()
        self.client = self.host.client()

    def test_supervisor_restarted(self):
        for number in (signal.SIGTERM, signal.SIGKILL):
            with self.subTest(number):
                name = f"kept-{int(number)}"
                before = self.client.call("session.create", template="minimal", id=name, command=TALKER)
                self.restart_supervisor(number)
                after = self.client.call("session.get", session=name)
                self.assertEqual(after["state"], "ready")
                self.assertEqual(after["address"], before["address"])
                self.client.call("session.stop", session=name)
                self.assertEqual(self.client.call("session.get", session=name)["end"]["reason"], "stopped")

    def next_version(self):
        """The same programs with another version in them."""
        directory = self.host.dir / "next"
        shutil.copytree(self.host.libexec_dir, directory)
        shutil.copy(self.host.program, directory / "carreld")
        version = self.client.call("system.info")["version"]
        other = version[:-1] + chr(ord(version[-1]) + 1)
        for path in directory.iterdir():
            path.write_bytes(path.read_bytes().replace(version.encode() + b"\0", other.encode() + b"\0"))
        self.host.program, self.host.libexec_dir = directory / "carreld", directory
        return other

    def test_upgrade(self):
        """A later version takes over what the one before it made, and knows how what ended meanwhile did."""
        before = self.client.call("session.create", template="minimal", id="goes-on", owner="ann", labels={"a": "b"}, command=TALKER)
        self.client.call("session.create", template="minimal", id="paused", command=TALKER)
        self.client.call("session.pause", session="paused")
        self.client.call("session.create", template="minimal", id="ends", command=DYING)
        ends = max(self.host.init_pids())
        inits = set(self.host.init_pids())
        version = self.next_version()
        self.host.stop()
        self.end(ends)
        self.host.start()
        self.client = self.host.client()
        self.assertEqual(self.client.call("hello")["version"], version)
        self.expect_exit_code_5()
        after = self.all_sessions()
        for member in ("owner", "labels", "address", "created_at", "limits", "state"):
            self.assertEqual(after["goes-on"][member], before[member])
        self.assertEqual(self.client.call("exec.run", session="goes-on", command=["echo", "here"])["stdout"], "here\n")
        self.assertEqual(after["paused"]["state"], "paused")
        self.client.call("session.resume", session="paused")
        for pid in inits - {ends}:
            self.assertTrue(os.path.exists(f"/proc/{pid}"))
        for name in after:
            self.client.call("session.remove", session=name)

    def test_state_of_a_later_version(self):
        """Neither the ledger nor the registry is understood, nor touched; sessions go on until somebody can take them."""
        self.client.call("session.create", template="minimal", id="goes-on", owner="ann", command=TALKER)
        self.host.stop()
        ledger, registry = self.host.run_dir / "ledger", self.host.state_dir / "control/registry.db"
        before = ledger.read_bytes()
        later = before[:8] + (int.from_bytes(before[8:12], "little") + 1).to_bytes(4, "little") + before[12:]
        ledger.write_bytes(later)
        self.host.start(wait=False)
        self.assertEqual(self.host.process.wait(scaled(20)), 1)
        self.host.process = None
        self.assertIn("a later version's, which alone can take its sessions over", self.host.log())
        self.assertEqual(ledger.read_bytes(), later)
        ledger.write_bytes(before)

        def version(number=None):
            with contextlib.closing(sqlite3.connect(registry, isolation_level=None)) as file:
                return file.execute(f"PRAGMA user_version{f' = {number}' if number else ''}").fetchone()

        known = version()[0]
        version(known + 1)
        state = registry.read_bytes()
        self.host.start(wait=False)
        wait_until(lambda: "is of a later version of carrel" in self.host.log(), what="the refusal")
        self.host.stop()
        self.assertEqual(registry.read_bytes(), state)
        version(known)
        self.host.start()
        self.client = self.host.client()
        self.assertEqual(self.all_sessions()["goes-on"]["owner"], "ann")
        self.assertEqual(self.client.call("exec.run", session="goes-on", command=["echo", "here"])["stdout"], "here\n")

    def test_control_of_another_version_is_refused(self):
        old = self.host.program
        self.next_version()
        self.host.program = old
        self.host.stop()
        self.host.start(wait=False)
        wait_until(lambda: "carrel-control" in self.host.log() and "with carreld" in self.host.log(), what="the refusal")
        self.host.process.send_signal(signal.SIGINT)
        self.host.process.wait(10)

    def test_session_ends_while_control_is_down(self):
        """Its end is told to the next control, which has the exit code from the output that was kept for it."""
        self.client.call("session.create", template="minimal", id="ends", command=DYING)
        control, init = self.host.control_pid(), self.host.init_pids()[0]
        os.kill(control, signal.SIGSTOP)  # it hears nothing from here on
        self.end(init)
        wait_until(lambda: not os.path.exists(f"/proc/{init}"), what="the supervisor reaped it")
        os.kill(control, signal.SIGKILL)
        self.reconnect()
        self.expect_exit_code_5()

    def test_session_ends_while_nobody_watches(self):
        self.client.call("session.create", template="minimal", id="ends", command=DYING)
        process, control, init = self.host.process, self.host.control_pid(), self.host.init_pids()[0]
        os.kill(control, signal.SIGSTOP)
        process.kill()
        os.kill(control, signal.SIGKILL)
        process.wait(10)
        self.end(init)
        self.host.start()
        self.client = self.host.client()
        self.expect_exit_code_5()

    def test_session_ends_while_everything_starts_again(self):
        for delay in (0.02, 0.05, 0.08):
            with self.subTest(delay):
                self.client.call("session.create", template="minimal", id="ends",
                                 command=["/bin/busybox", "sh", "-c", f"echo dying; sleep {delay}; exit 5"])
                process, control = self.host.process, self.host.control_pid()
                process.kill()
                os.kill(control, signal.SIGKILL)
                process.wait(10)
                self.host.start()
                self.client = self.host.client()
                self.expect_exit_code_5()
                self.client.call("session.remove", session="ends")

    @staticmethod
    def end(init):
        """The workload DYING ends, and with it the session of INIT."""
        (workload,) = children(init)
        wait_until(lambda: children(workload), what="its trap is set")
        os.kill(workload, signal.SIGTERM)
        wait_until(lambda: not os.path.lexists(f"/proc/{init}/exe"), what="the session ended")

    def expect_exit_code_5(self):
        ended = self.client.call("session.wait", session="ends", **{"for": "ended"}, timeout_seconds=10)
        self.assertEqual((ended["end"]["reason"], ended["end"]["exit_code"]), ("exited", 5), ended)
        self.assertIn("dying", "".join(e["text"] for e in self.client.call("session.logs", session="ends")["entries"]))
        wait_until(lambda: not any("/ends" in p for p in footprint(self.host)["cgroups"]), what="nothing left")

    def test_control_killed_during_creations(self):
        """What was being made is made whole or undone, and the next control gets no answer that was another's."""
        for round_ in range(10):
            clients = [self.host.client() for _ in range(8)]
            for i, client in enumerate(clients):
                client.send("session.create", template="minimal", id=f"r{round_}-{i}")
            time.sleep(0.001 * round_)
            os.kill(self.host.control_pid(), signal.SIGKILL)
            self.reconnect(30)
            made = self.client.call("session.create", template="minimal", id=f"after-{round_}")
            self.assertEqual(made["id"], f"after-{round_}")
        states = {s["id"]: s["state"] for s in self.all_sessions().values()}
        self.assertEqual({n for n in states if n.startswith("after-")}, {f"after-{i}" for i in range(10)})
        live = {n for n, state in states.items() if state == "ready"}

        def same():
            cgroups = {p.rsplit("/", 1)[1] for p in footprint(self.host)["cgroups"] if p.count("/sessions/") and
                       not p.endswith("/payload")}
            return cgroups == {s["id"] for s in self.all_sessions().values() if s["state"] == "ready"}

        wait_until(same, what="the host has what the registry has")
        self.assertGreaterEqual(len(live), 10)

    def test_a_second_supervisor_is_refused(self):
        """It would take the first one's table and interfaces over."""
        self.client.call("session.create", template="minimal", id="first")
        other = Host()
        try:
            other.start(wait=False)
            self.assertEqual(other.process.wait(20), 1)
            self.assertIn("another carreld runs in this network namespace", other.log())
        finally:
            other.process = None
            other.close()
        self.assertEqual(self.client.call("session.get", session="first")["state"], "ready")

    def test_stranger_with_the_same_pid_is_not_adopted(self):
        self.client.call("session.create", template="minimal", id="victim")
        pid = self.host.init_pids()[0]
        process = self.host.process
        process.kill()
        process.wait(10)
        # The ledger now names another process: this one.
        ledger = self.host.run_dir / "ledger"
        data = ledger.read_bytes()
        self.assertIn(pid.to_bytes(4, "little"), data)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not os.path.exists(f"/proc/{pid}"), what="init is gone")
        self.host.start()
        self.assertTrue(os.path.exists("/proc/self"))
        wait_until(lambda: not any("/victim" in p for p in footprint(self.host)["cgroups"]), what="undone")


if __name__ == "__main__":
    unittest.main()
