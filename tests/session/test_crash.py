# SPDX-License-Identifier: Apache-2.0
"""The crash matrix: each daemon, and then both, are killed at each call by which it changes anything, while sessions are
made, ended, claimed and removed; so is every process that a creation begins, the session's init among them. After every
kill the world comes to rest in a moment: who lived lives, nothing is left over, no volume is held by the dead or by two.
strace, and for processes that are yet to be made killer.c, enumerate the calls and deliver the signal on entering one,
before it has done anything; that is after all that the call before it did.

  CARREL_CRASHES  "all": with volumes of fixed size control, and both at once, are killed, too, and init on each of its
                  calls, not only on every fourth
"""

import os
import pathlib
import re
import select
import signal
import subprocess
import tempfile
import time
import unittest

from carrel_host import Host, RpcError, compile_static, footprint, has_ended, own_network, scaled, wait_until

# By these a daemon changes the host, the ledger, the registry or what another process knows.
EFFECTS = ("pwrite64", "write", "ftruncate", "fsync", "fdatasync", "mkdirat", "unlinkat", "renameat2", "fchmod", "fchown", "fchownat",
           "bind", "clone3", "open_tree", "mount_setattr", "sendmsg", "sendto", "pidfd_send_signal")
ALL = os.environ.get("CARREL_CRASHES") == "all"
INIT_STRIDE = 1 if ALL else 4
SETTLED_SECONDS = 2.0
AFTERMATH_SECONDS = 0.3  # after an answer: what the daemons still have to do then
VOLUMES = [{"path": "/data"}, {"path": "/scratch", "name": "scratch-{session}", "persistent": False}]
BOTH = [{"path": "/data", "name": "kept"}, {"path": "/scratch"}]


def setUpModule():
    own_network()


def read(file):
    """The text of a file that may be gone, or no longer be one of anything."""
    try:
        return file.read_text()
    except OSError:
        return ""


class Crash(unittest.TestCase):
    longest = 0.0
    volumes = VOLUMES

    def setUp(self):
        # Networks are made as part of a creation, not at some moment in the background.
        self.host = Host(config={"spare_networks": 0}, images=())
        self.host.write_template("with", {**self.host.template("minimal"), "volumes": self.volumes})
        self.host.carrel("image", "build", "minimal", "--state-dir", str(self.host.state_dir), "--config", str(self.host.config_dir))
        self.host.start()
        self.addCleanup(self.host.close)
        self.client = self.host.client()
        self.client.call("session.create", template="minimal", id="bystander", owner="eve")
        self.members = 0

    # ---- what is done

    def make(self, **params):
        return self.client.call("session.create", template="with", id="victim", owner="ann", volumes=BOTH, **params)

    def nothing(self):
        pass

    def pool(self):
        self.client.call("pool.set", template="minimal", size=1)
        self.members = 1
        self.filled()

    def filled(self):
        wait_until(lambda: self.client.call("pool.get", template="minimal")["pools"][0]["ready"] == self.members, 20, "the pool is full")

    CREATE = ("session.create", {"template": "with", "id": "victim", "owner": "ann", "volumes": BOTH})

    # ---- one cell

    def pid_of(self, victim):
        return self.host.process.pid if victim == "carreld" else wait_until(self.host.control_pid, what="control")

    def trace(self, pid, *options):
        tracer = subprocess.Popen(["strace", "-p", str(pid), *options], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.assertIn("attached", tracer.stderr.readline())
        return tracer

    @staticmethod
    def detach(tracer):
        tracer.send_signal(signal.SIGINT)
        tracer.wait(20)
        tracer.stderr.close()

    def act(self, action):
        """Asks for ACTION and waits for the answer, or for the end of the connection."""
        client = self.host.client()
        method, params = action
        try:
            client.call(method, **params)
        except (OSError, RpcError):
            pass

    def act_and_watch(self, action, pidfd):
        """Asks for ACTION; whether the process dies of it, as soon as that is known."""
        client = self.host.client()
        method, params = action
        try:
            client.send(method, **params)
        except OSError:
            pass
        if pidfd not in select.select([pidfd, client.socket], [], [], scaled(20))[0]:
            select.select([pidfd], [], [], scaled(2 * AFTERMATH_SECONDS))
        return bool(select.select([pidfd], [], [], 0)[0])

    def calls_of(self, victim, prepare, action):
        """The names and numbers of the calls that VICTIM makes meanwhile."""
        prepare()
        with tempfile.NamedTemporaryFile("r") as log:
            tracer = self.trace(self.pid_of(victim), "-o", log.name, "-e", f"trace={','.join(EFFECTS)}")
            self.act(action)
            time.sleep(scaled(AFTERMATH_SECONDS))
            self.detach(tracer)
            names = re.findall(r"^([a-z0-9_]+)\(", log.read(), re.M)
        self.settle()
        self.clear()
        self.assertTrue(names)
        return {name: names.count(name) for name in dict.fromkeys(names)}

    def kill_at(self, victims, name, number, prepare, action):
        """The first of VICTIMS dies on entering the call, the other as soon as that is known."""
        prepare()
        pids = {victim: self.pid_of(victim) for victim in ("carreld", "control")}
        pidfd = os.pidfd_open(pids[victims[0]])
        tracer = self.trace(pids[victims[0]], "-e", f"trace={name}", "-e", f"inject={name}:signal=SIGKILL:when={number}")
        gone = self.act_and_watch(action, pidfd)
        for victim in victims[1:]:
            try:
                os.kill(pids[victim], signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.detach(tracer)
        os.close(pidfd)
        if "carreld" in victims:
            self.restart(pids["control"], kill=True)
        self.reconnect()
        begun = time.monotonic()
        self.settle()
        Crash.longest = max(Crash.longest, time.monotonic() - begun)
        self.clear()
        return gone

    def restart(self, control, kill=False):
        """CONTROL: the one that belongs to the supervisor, which may be dead already."""
        process = self.host.process
        process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        process.wait(20)
        # Until it has noticed, the old one answers on the old socket.
        wait_until(lambda: has_ended(control), what="its control ended")
        self.host.start()

    def reconnect(self):
        for client in self.host.clients:
            client.close()
        self.host.clients.clear()

        def answers():
            try:
                self.client = self.host.client()
                return self.client.call("system.health")
            except OSError:
                return None

        wait_until(answers, 20, "API")

    # ---- what must be

    def trouble(self):
        """What is not as it should be; empty when the world is at rest."""
        sessions = {s["id"]: s for s in self.client.call("session.list")["sessions"]}
        live = {name for name, s in sessions.items() if s["state"] != "ended"}
        found = footprint(self.host)
        there = {pathlib.Path(p).name for p in found["cgroups"] if pathlib.Path(p).parent.name == "sessions"}
        files = {pathlib.Path(p).name for p in found["run_files"] if pathlib.Path(p).parent.name == "sessions"}
        if [s["state"] for s in sessions.values() if s["state"] not in ("ready", "ended")]:
            return f"not settled: {[(s['id'], s['state']) for s in sessions.values()]}"
        if "bystander" not in live:
            return "the bystander is gone"
        pooled = {name for name in there if name.startswith("pool-")}
        if len(there) != len(live) + self.members or live - there - {"victim"} or len(pooled) > self.members + 1:
            return f"live {live}, on the host {there}"
        if files != there or len(found["links"]) != len(there):
            return f"on the host {there}, files of {files}, links {found['links']}"
        return self.trouble_with_volumes(live)

    def trouble_with_volumes(self, live):
        volumes = self.client.call("volume.list")["volumes"]
        for volume in volumes:
            if volume["session"] is not None and volume["session"] not in live:
                return f"{volume['name']} is held by {volume['session']}, which is dead"
            if volume["session"] is None and not volume["persistent"]:
                return f"{volume['name']} should be gone"
        there = set(os.listdir(self.host.state_dir / "volumes")) - {".new"}
        if there != {v["name"] for v in volumes}:
            return f"volumes {[v['name'] for v in volumes]}, on disk {there}"
        left = os.listdir(self.host.state_dir / "removed")
        return f"removed, but not deleted: {left}" if left else ""

    def settle(self):
        if self.members:
            self.filled()
        last = [""]

        def at_rest():
            last[0] = self.trouble()
            return not last[0]

        try:
            wait_until(at_rest, SETTLED_SECONDS * 3, "rest")
        except AssertionError as e:
            raise AssertionError(f"{e}: {last[0]}\n{self.host.log()[-4000:]}") from None
        self.assertEqual(self.client.call("exec.run", session="bystander", command=["true"])["exit_code"], 0)

    def clear(self):
        """All but the bystander goes; that this works says that nobody dead holds anything."""
        for session in self.client.call("session.list")["sessions"]:
            if session["id"] != "bystander":
                self.client.call("session.remove", session=session["id"], volumes="remove")
        for volume in self.client.call("volume.list")["volumes"]:
            if volume["state"] == "free":
                self.client.call("volume.remove", volume=volume["name"])
        self.settle()

    def go_through(self, victim, prepare, action, together=True):
        """VICTIM alone, and TOGETHER with the other, at each of its calls."""
        calls = self.calls_of(victim, prepare, action)
        killed = total = 0
        for name, count in calls.items():
            for number in range(1, count + 1):
                for victims in ((victim,), (victim, "control" if victim == "carreld" else "carreld"))[:1 + together]:
                    with self.subTest(victims=victims, call=name, number=number):
                        total += 1
                        killed += self.kill_at(victims, name, number, prepare, action)
        print(f"\n  {victim}: killed at {killed} of {total} calls, at rest within {Crash.longest:.2f} s", end=" ", flush=True)
        self.assertGreaterEqual(killed, total // 2)


class Matrix(Crash):
    def test_create_carreld(self):
        self.go_through("carreld", self.nothing, self.CREATE)

    def test_create_control(self):
        self.go_through("control", self.nothing, self.CREATE)

    def test_stop_carreld(self):
        self.go_through("carreld", self.make, ("session.stop", {"session": "victim", "grace_seconds": 0}))

    def test_stop_control(self):
        self.go_through("control", self.make, ("session.stop", {"session": "victim", "grace_seconds": 0}))

    def test_remove_carreld(self):
        self.go_through("carreld", self.make, ("session.remove", {"session": "victim", "volumes": "remove"}))

    def test_remove_control(self):
        self.go_through("control", self.make, ("session.remove", {"session": "victim", "volumes": "remove"}))

    def test_expiry(self):
        """Its time is over a moment after the answer, however long it took to get there."""
        for victim in ("carreld", "control"):
            self.go_through(victim, self.make, ("session.extend", {"session": "victim", "ttl_seconds": 0.1}))

    def test_claim_carreld(self):
        self.pool()
        self.go_through("carreld", self.filled, ("session.create", {"template": "minimal", "id": "victim"}))

    def test_claim_control(self):
        self.pool()
        self.go_through("control", self.filled, ("session.create", {"template": "minimal", "id": "victim"}))


class Sized(Crash):
    """Volumes of fixed size: files that are made, written out, mounted by loop devices, and written back when they go."""

    volumes = [{**volume, "size_bytes": 16 << 20} for volume in VOLUMES]

    def trouble(self):
        """No loop device either holds a volume that no session has."""
        trouble = super().trouble()
        held = {v["name"] for v in self.client.call("volume.list")["volumes"] if v["session"]}
        # What the kernel calls a file begins at its mount, wherever that is.
        loops = [file.parts[3] for file in pathlib.Path("/sys/block").glob("loop*/loop/backing_file") if self.host.name in read(file)]
        return trouble or (f"held {held}, loop devices {loops}" if len(loops) != len(held) else "")

    def test_create(self):
        for victim in ("carreld", "control")[:1 + ALL]:
            self.go_through(victim, self.nothing, self.CREATE, together=ALL)

    def test_remove(self):
        for victim in ("carreld", "control")[:1 + ALL]:
            self.go_through(victim, self.make, ("session.remove", {"session": "victim", "volumes": "remove"}), together=ALL)


class Made(Crash):
    """Processes that carreld makes: the one that goes into the session's namespaces, init, what these make, and the one
    that sees to volumes which are given back."""

    @classmethod
    def setUpClass(cls):
        directory = tempfile.TemporaryDirectory(prefix="carrel-test-killer-")
        cls.addClassCleanup(directory.cleanup)
        cls.killer = compile_static("killer.c", directory.name)

    def follow(self, action, *where):
        """What killer.c says of ACTION, and how that was answered."""
        killer = subprocess.Popen([str(self.killer), str(self.host.process.pid), *map(str, where)], stdout=subprocess.PIPE, text=True)
        self.assertEqual(killer.stdout.readline(), "attached\n")
        method, params = action
        try:
            answer = self.client.call(method, **params)
        except RpcError as e:
            answer = e
        killer.send_signal(signal.SIGINT)
        lines = killer.communicate(timeout=20)[0].splitlines()
        return lines, answer

    def go_through(self, prepare, action, kinds):
        """Each process at each of its calls; the answers are of these KINDS. How many calls which process makes."""
        prepare()
        counts = [int(line.split()[1]) for line in self.follow(action)[0]]
        self.settle()
        self.clear()
        killed, met, total = 0, {}, 0
        for process, count in enumerate(counts):
            for number in range(1, count + 1, INIT_STRIDE if count > 200 else 1):
                total += 1
                with self.subTest(process=process, call=number):
                    prepare()
                    lines, answer = self.follow(action, process, number)
                    killed += "killed" in lines
                    kind = answer.kind if isinstance(answer, RpcError) else answer["state"]
                    met[kind] = met.get(kind, 0) + 1
                    self.settle()
                    self.clear()
                    self.assertIn(kind, kinds, answer)
                    self.assertIsNone(self.host.process.poll(), self.host.log()[-2000:])
        print(f"\n  killed at {killed} of {total} calls among {counts}: {met}", end=" ", flush=True)
        self.assertGreaterEqual(killed, total * 3 // 4)
        return counts

    def test_create(self):
        # Of a workload that ended at once the session is told as it was then.
        counts = self.go_through(self.nothing, self.CREATE, ("failed", "ready", "stopping", "ended", "not_ready"))
        self.assertGreater(max(counts), 200, "init's set-up")

    def test_remove(self):
        """What brings to the disk what was written: the session's end does not wait for it in vain."""
        def used():
            self.make()
            self.client.call("exec.run", session="victim", command=["sh", "-c", "mkdir -p /data/a/b; echo x > /data/a/b/c; echo y > /scratch/d"])

        self.go_through(used, ("session.remove", {"session": "victim", "volumes": "remove"}), ("ready", "stopping", "ended"))


if __name__ == "__main__":
    unittest.main()
