# SPDX-License-Identifier: Apache-2.0
"""Sessions that run tests/host/guest/hostile.c under limits, with a neighbour that must not notice."""

import pathlib
import re
import shutil
import subprocess
import time
import unittest

from carrel_host import PROGRAMS, Host, cgroup_root, scaled, wait_until

MIB = 1 << 20
NEIGHBOUR_PORT = 8000

# Roomy: each test narrows the one limit that it is about.
LIMITS = {
    "memory_bytes": 256 * MIB, "swap_bytes": 2 * MIB, "cpus": 2.0, "pids": 256, "root_bytes": 64 * MIB, "root_inodes": 4096,
    "shm_bytes": 8 * MIB, "open_files": 1024,
}


def flat(path):
    """A file of "name number" lines."""
    return {name: int(number) for name, number in (line.split() for line in path.read_text().splitlines())}


class LimitedHost(unittest.TestCase):
    """A host that refuses to start where a controller is missing, as is the default; one for all tests of a module."""

    host = client = None

    @classmethod
    def open(cls, **templates):
        """In setUpModule(). TEMPLATES: beside "hostile", and given as what they change of it."""
        hostile = {**Host.template(None, "minimal"), "limits": LIMITS}
        LimitedHost.host = host = Host(config={"missing_controllers": "refuse"}, templates={
            "hostile": hostile, **{name: {**hostile, **changes} for name, changes in templates.items()}})
        for program in ("hostile", "prober"):
            shutil.copy(pathlib.Path(PROGRAMS) / program, host.state_dir / "rootfs/minimal/0/bin")
        unittest.addModuleCleanup(host.close)
        host.start()
        LimitedHost.client = host.client()

    def setUp(self):
        self.neighbour = self.create("neighbour", ["prober", "serve", str(NEIGHBOUR_PORT)])
        self.wait_for_output("neighbour", "serving")

    def tearDown(self):
        for session in self.client.call("session.list")["sessions"]:
            self.client.call("session.remove", session=session["id"])

    # ---- sessions

    def create(self, name, command, template="hostile", **params):
        return self.client.call("session.create", template=template, id=name, wait="created",
                                command=[f"/bin/{command[0]}", *command[1:]], **params)

    def hostile(self, *arguments, name="hostile", **params):
        return self.create(name, ["hostile", *arguments], **params)

    def output(self, name):
        return "".join(e["text"] for e in self.client.call("session.logs", session=name)["entries"])

    def wait_for_output(self, name, pattern):
        """The match of PATTERN in what the session printed."""
        return wait_until(lambda: re.search(pattern, self.output(name)), what=f"{name} says {pattern}")

    def wait_for_end(self, name):
        return self.client.call("session.wait", session=name, **{"for": "ended"}, timeout_seconds=20)["end"]

    def stats(self, name):
        return self.client.call("session.stats", session=name)

    def cgroup(self, name):
        """The session's directory in the host's cgroup tree: the one with the limits."""
        return cgroup_root() / self.host.name / "sessions" / name

    def ooms(self):
        """How often sessions of this host ran into their own limits of memory; the host's own shortage is not counted."""
        return flat(cgroup_root() / self.host.name / "sessions/memory.events")["oom"]

    def expect_oom(self, name, before):
        """The session ends for want of memory; BEFORE: what ooms() was."""
        end = self.wait_for_end(name)
        self.assertEqual(end["reason"], "oom", end)
        self.assertGreater(self.ooms(), before)
        self.assert_neighbour_unharmed()

    # ---- the neighbour

    def assert_neighbour_unharmed(self):
        """It answers over the network, none of it was killed, and another session can be made beside it."""
        prober = str(pathlib.Path(PROGRAMS) / "prober")
        result = subprocess.run([prober, "tcp", self.neighbour["address"], str(NEIGHBOUR_PORT)],
                                capture_output=True, text=True, timeout=scaled(10), check=True)
        self.assertIn("reached", result.stdout)
        self.assertEqual(self.client.call("session.get", session="neighbour")["state"], "ready")
        self.assertEqual(self.stats("neighbour")["memory"]["events"]["oom_kill"], 0)
        begun = time.monotonic()
        self.create("newcomer", ["busybox", "sleep", "1000"])
        self.assertLess(time.monotonic() - begun, scaled(1))
        self.client.call("session.remove", session="newcomer")
