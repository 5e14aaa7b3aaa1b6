# SPDX-License-Identifier: Apache-2.0
"""Sessions that run tests/host/guest/hostile.c under limits, with a neighbour that must not notice."""

import pathlib
import re
import shutil
import socket
import statistics
import time
import unittest

from carrel_host import PROGRAMS, Host, cgroup_root, footprint, scaled, wait_until

MIB = 1 << 20
RESERVE = {"memory_bytes": 300 * MIB, "cpus": 0.1}
NEIGHBOUR_PORT = 8000
REQUESTS = 15
SPARE_NETWORKS = 2
# The goal is 1.2 on real hardware; two emulated processors share what they have with the emulation and with the tests.
MOST_TIMES_SLOWER = 20

# Roomy: each test narrows the one limit that it is about.
LIMITS = {
    "memory_bytes": 256 * MIB, "swap_bytes": 2 * MIB, "cpus": 1.0, "pids": 256, "root_bytes": 64 * MIB, "root_inodes": 4096,
    "shm_bytes": 8 * MIB, "open_files": 1024,
}

# May make namespaces and mounts of its own.
NESTING = {"seccomp": "dind", "proc": "full", "capabilities": ["SYS_ADMIN", "SETUID", "SETGID"]}


def flat(path):
    """A file of "name number" lines."""
    return {name: int(number) for name, number in (line.split() for line in path.read_text().splitlines())}


class LimitedHost(unittest.TestCase):
    """A host that refuses to start where a controller is missing, as is the default; one for all tests of a module."""

    host = client = neighbour = None

    @classmethod
    def open(cls, **templates):
        """In setUpModule(). TEMPLATES: beside "hostile", and given as what they change of it."""
        hostile = {**Host.template(None, "minimal"), "limits": LIMITS}
        LimitedHost.host = host = Host(config={"missing_controllers": "refuse", "host_reserve": RESERVE,
                                               "spare_networks": SPARE_NETWORKS}, templates={
            "hostile": hostile, **{name: {**hostile, **changes} for name, changes in templates.items()}})
        for program in ("hostile", "prober"):
            shutil.copy(pathlib.Path(PROGRAMS) / program, host.state_dir / "rootfs/minimal/0/bin")
        unittest.addModuleCleanup(host.close)
        host.start()
        LimitedHost.client, LimitedHost.neighbour = host.client(), None

    def setUp(self):
        """The neighbour stays from test to test: it is not to notice any of them. How quick it is where nothing happens is
        measured each time, because the machine below may be busier at one time than at another."""
        self.requests = None
        if not LimitedHost.neighbour:
            LimitedHost.neighbour = self.create("neighbour", ["prober", "serve", str(NEIGHBOUR_PORT)])
            self.wait_for_output("neighbour", "serving")
        # Networks of sessions that ended are removed, and others made, in the background.
        wait_until(lambda: len(footprint(self.host)["links"]) == 1 + SPARE_NETWORKS, what="the host is quiet")
        self.quiet = statistics.median(self.request() for _ in range(REQUESTS))
        self.requests = []

    def tearDown(self):
        for session in self.client.call("session.list")["sessions"]:
            if session["id"] != "neighbour":
                self.client.call("session.remove", session=session["id"])

    # ---- sessions

    def create(self, name, command, template="hostile", **params):
        return self.client.call("session.create", template=template, id=name, wait="created",
                                command=[f"/bin/{command[0]}", *command[1:]], **params)

    def hostile(self, *arguments, name="hostile", **params):
        return self.create(name, ["hostile", *arguments], **params)

    def output(self, name):
        return "".join(e["text"] for e in self.client.call("session.logs", session=name)["entries"])

    def wait(self, condition, what):
        """As wait_until(), asking the neighbour for something each time."""
        def ask():
            if self.requests is not None:
                self.requests.append(self.request())
            return condition()

        return wait_until(ask, what=what)

    def wait_for_output(self, name, pattern):
        """The match of PATTERN in what the session printed."""
        return self.wait(lambda: re.search(pattern, self.output(name)), f"{name} says {pattern}")

    def wait_for_end(self, name):
        return self.wait(lambda: self.client.call("session.get", session=name)["end"], f"{name} ends")

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

    def events_of(self, action, last):
        """The events of the session "hostile" from ACTION until one of the kind LAST."""
        watcher = self.host.client()
        watcher.call("events.subscribe", session="hostile")
        action()
        events = [watcher.receive()["params"]]
        while events[-1]["kind"] != last:
            events.append(watcher.receive()["params"])
        return events

    def shares(self, *names, seconds=3.0):
        """The share of one processor that each of the sessions used while time passed, and the last one's figures."""
        usage = lambda: [flat(self.cgroup(name) / "cpu.stat") for name in names]  # noqa: E731
        before, begun = usage(), time.monotonic()
        time.sleep(seconds)  # what is measured is what happens meanwhile
        after, passed = usage(), time.monotonic() - begun
        return [(b["usage_usec"] - a["usage_usec"]) / 1e6 / passed for a, b in zip(before, after)], after[-1]

    # ---- the neighbour

    def request(self):
        """Seconds until the neighbour has taken a connection and closed it."""
        begun = time.monotonic()
        with socket.create_connection((self.neighbour["address"], NEIGHBOUR_PORT), scaled(10)) as connection:
            connection.recv(1)
        return time.monotonic() - begun

    def assert_neighbour_unharmed(self):
        """It has answered all the while, none of it was killed, commands run there and others are made beside it."""
        meanwhile = self.requests + [self.request() for _ in range(REQUESTS)]
        begun = time.monotonic()
        self.client.call("exec.run", session="neighbour", command=["/bin/busybox", "true"])
        execution = time.monotonic() - begun
        median = statistics.median(meanwhile)
        print(f"neighbour: {len(meanwhile)} requests, median {median * 1000:.1f} ms, {median / self.quiet:.1f} times the quiet "
              f"host's {self.quiet * 1000:.1f}; worst {max(meanwhile) * 1000:.0f} ms; a command {execution * 1000:.0f} ms")
        self.assertLess(median, MOST_TIMES_SLOWER * self.quiet)
        self.assertEqual(self.client.call("session.get", session="neighbour")["state"], "ready")
        self.assertEqual(self.stats("neighbour")["memory"]["events"]["oom_kill"], 0)
        begun = time.monotonic()
        self.create("newcomer", ["busybox", "sleep", "1000"])
        self.assertLess(time.monotonic() - begun, scaled(1))
        self.client.call("session.remove", session="newcomer")
