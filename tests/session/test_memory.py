# SPDX-License-Identifier: Apache-2.0
"""Every allocation of carreld and of carrel-control fails once, while they create and while they remove a session: the
request is answered with an error or carried out, or control hangs up on whom it cannot answer; neither daemon ends; nothing
is left.

Control has a thousand of them. Each fifth fails; with CARREL_ALLOCATIONS=N each Nth."""

import mmap
import os
import pathlib
import shutil
import struct
import subprocess
import unittest

from carrel_host import HERE, Host, RpcError, footprint, own_network, scaled, wait_until

ORDER = struct.Struct("<4I")  # as in failing_malloc.c
VOLUMES = [{"path": "/data", "name": "kept"}]
STRIDE = {"carreld": 1, "control": int(os.environ.get("CARREL_ALLOCATIONS", "5"))}


def setUpModule():
    own_network()


class Memory(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # Networks are made as part of a creation, not at some moment in the background.
        cls.host = Host(config={"spare_networks": 0, "audit": "none"})
        cls.addClassCleanup(cls.host.close)
        cls.library = cls.host.dir / "failing_malloc.so"
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", cls.library, HERE / "failing_malloc.c"], check=True)
        cls.host.write_template("with", {**cls.host.template("minimal"), "volumes": [{"path": "/data"}]})
        (cls.host.state_dir / "control").mkdir(parents=True)
        # Control may write to no other directory.
        cls.orders = {name: cls.map_order(cls.host.state_dir / "control" / f"order-{name}") for name in ("carreld", "control")}
        cls.preload()
        cls.host.start()
        cls.base = footprint(cls.host)

    @staticmethod
    def map_order(path):
        path.write_bytes(bytes(4096))
        path.chmod(0o666)
        with open(path, "r+b") as file:
            return mmap.mmap(file.fileno(), 4096)

    @classmethod
    def preload(cls):
        def environment(name):
            return [f"LD_PRELOAD={cls.library}", f"FAILING_MALLOC={cls.host.state_dir / 'control' / f'order-{name}'}"]

        cls.host.launcher = ["env", *environment("carreld")]
        directory = cls.host.dir / "libexec"
        shutil.copytree(cls.host.libexec_dir, directory)
        (directory / "carrel-control").rename(directory / "control-itself")
        (directory / "carrel-control").write_text(
            f"#!/bin/sh\nexec env {' '.join(environment('control'))} {directory / 'control-itself'} \"$@\"\n")
        (directory / "carrel-control").chmod(0o755)
        cls.host.libexec_dir = directory

    def setUp(self):
        self.connect()

    def connect(self):
        self.client = self.host.client()
        self.client.socket.settimeout(scaled(10))
        self.client.call("system.health")  # now it has been accepted

    def order(self, name, counting, failing=0):
        """Returns how many allocations there were, and whether one failed."""
        _, count, _, failed = ORDER.unpack(self.orders[name][:ORDER.size])
        self.orders[name][:ORDER.size] = ORDER.pack(counting, 0, failing, 0)
        return count, failed

    def ask(self, method, params):
        """How the request was answered: "carried out", the kind or the code of the error, or "hung up"."""
        try:
            request = self.client.send(method, **params)
            while (message := self.client.receive()).get("id", 0) not in (request, None):
                pass
        except ConnectionError:
            return "hung up"
        # What could not be read for want of memory is answered without the number that it had.
        error = message.get("error")
        return str(error.get("data", {}).get("kind", error["code"])) if error else "carried out"

    def pids(self):
        return self.host.process.pid, self.host.control_pid()

    def left(self):
        """Removes what can be removed; what is left nevertheless."""
        for session in self.client.call("session.list")["sessions"]:
            self.client.call("session.remove", session=session["id"], volumes="remove")
        now, volumes = footprint(self.host), self.client.call("volume.list")["volumes"]
        for volume in volumes:
            if volume["state"] == "free":
                self.client.call("volume.remove", volume=volume["name"])
        found = {**{kind: now[kind] - self.base[kind] for kind in now}, "volumes that are known": volumes}
        found["volumes"] = set(os.listdir(self.host.state_dir / "volumes")) - {".new"}
        return {kind: things for kind, things in found.items() if things}

    def clear(self):
        try:
            wait_until(lambda: not self.left(), 10, "nothing is left")
        except AssertionError:
            self.assertEqual(self.left(), {})

    def go_through(self, name, prepare, method, params):
        prepare()
        self.order(name, 1)
        self.assertEqual(self.ask(method, params), "carried out")
        total, _ = self.order(name, 0)
        self.clear()
        pids, outcomes = self.pids(), {}
        for number in range(1, total + 1, STRIDE[name]):
            with self.subTest(daemon=name, method=method, allocation=number):
                self.connect()
                prepare()
                self.order(name, 1, number)
                outcome = self.ask(method, params)
                self.order(name, 0)
                outcomes[outcome] = outcomes.get(outcome, 0) + 1
                self.assertEqual(self.pids(), pids, self.host.log()[-2000:])
                self.client.close()
                self.connect()
                self.clear()
                self.client.close()
        # Files that could not be deleted go with those of the next volume that is removed.
        self.connect()
        self.make()
        self.clear()
        wait_until(lambda: not os.listdir(self.host.state_dir / "removed"), 10, "no file of a removed volume")
        print(f"\n  {name}, {method}: {total} allocations, {outcomes}", end=" ", flush=True)

    CREATE = {"template": "with", "id": "victim", "owner": "ann", "volumes": VOLUMES}

    def make(self):
        """As soon as control can: a registry that could not be written is tried again each second."""
        def made():
            try:
                return self.client.call("session.create", **self.CREATE)
            except RpcError:
                return None

        wait_until(made, 10, "a session")

    def test_create_carreld(self):
        self.go_through("carreld", lambda: None, "session.create", self.CREATE)

    def test_create_control(self):
        self.go_through("control", lambda: None, "session.create", self.CREATE)

    def test_remove_carreld(self):
        self.go_through("carreld", self.make, "session.remove", {"session": "victim", "volumes": "remove"})

    def test_remove_control(self):
        self.go_through("control", self.make, "session.remove", {"session": "victim", "volumes": "remove"})


if __name__ == "__main__":
    unittest.main()
