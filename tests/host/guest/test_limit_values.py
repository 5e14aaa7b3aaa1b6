# SPDX-License-Identifier: Apache-2.0
"""Limits as they are set, changed, kept and told of, beside what the kernel was told. Other modules run meanwhile: how a
neighbour fares is test_limits.py's."""

import os
import pathlib
import re
import shutil
import tempfile
import unittest

from carrel_host import TEST_DIR, RpcError, own_network
from limited import LIMITS, MIB, NESTING, LimitedHost


def setUpModule():
    own_network()
    data = pathlib.Path(tempfile.mkdtemp(prefix="carrel-data-", dir=TEST_DIR))
    unittest.addModuleCleanup(shutil.rmtree, data)
    disk = {"type": "bind", "source": str(data), "target": "/data", "read_only": False}
    LimitedHost.open(writer={"mounts": [disk]}, nesting=NESTING, precious={"limits": {**LIMITS, "memory_low_bytes": 16 * MIB}})


class Files(LimitedHost):
    """What is said of the limits, beside what the kernel was told."""

    def test_all_are_enforced_and_in_the_files(self):
        limits = {"memory_bytes": 48 * MIB, "memory_high_bytes": 40 * MIB, "memory_low_bytes": 8 * MIB, "swap_bytes": MIB,
                  "cpus": 0.25, "cpu_weight": 50, "pids": 17}
        session = self.hostile("memory", "1", template="precious", limits=limits)
        self.assertEqual({name: limit["value"] for name, limit in session["limits"].items()}, {**LIMITS, **limits})
        for name, limit in session["limits"].items():
            self.assertIs(limit["enforced"], True, name)
        files = {"memory.max": 48 * MIB, "memory.high": 40 * MIB, "memory.low": 8 * MIB, "memory.swap.max": MIB,
                 "cpu.max": "25000 100000", "cpu.weight": 50, "pids.max": 17, "memory.oom.group": 1}
        for name, value in files.items():
            # A kernel without swap has no limit of it.
            if (self.cgroup("hostile") / name).exists():
                self.assertEqual((self.cgroup("hostile") / name).read_text().strip(), str(value), name)

    def test_stats_show_usage(self):
        self.hostile("memory", "20")
        self.wait_for_output("hostile", "held 20 MiB")
        stats = self.stats("hostile")
        self.assertGreater(stats["memory"]["current_bytes"], 20 * MIB)
        self.assertLess(stats["memory"]["current_bytes"], 30 * MIB)
        self.assertEqual(stats["memory"]["events"]["oom_kill"], 0)
        self.assertEqual(stats["pids"]["current"], 2)  # carrel-init and the workload
        self.assertEqual(stats["pids"]["refused"], 0)
        self.assertGreaterEqual(stats["network"]["sent_packets"], 0)
        self.assertGreater(stats["cpu"]["usage_seconds"], 0)
        self.assertEqual(set(stats["pressure"]), {"cpu", "memory", "io"})
        self.assertIsInstance(stats["io"], list)

    def test_files_and_enforced(self):
        limits = {"io_read_bytes_per_second": 3 * MIB, "io_write_bytes_per_second": 2 * MIB, "io_reads_per_second": 200,
                  "io_writes_per_second": 100}
        session = self.hostile("memory", "1", template="writer", limits=limits)
        self.assertEqual({session["limits"][name]["enforced"] for name in limits}, {True})
        file = (self.cgroup("hostile") / "io.max").read_text()
        self.assertRegex(file, rf"^\d+:0 rbps={3 * MIB} wbps={2 * MIB} riops=200 wiops=100$")
        self.client.call("session.set_limits", session="hostile", limits={"io_reads_per_second": 50})
        self.assertIn("riops=50 ", (self.cgroup("hostile") / "io.max").read_text())

    def test_below_the_limit_all_is_well(self):
        self.hostile("memory", "24", limits={"memory_bytes": 32 * MIB})
        self.wait_for_output("hostile", "held 24 MiB: asked for no more")
        self.assertEqual(self.client.call("session.get", session="hostile")["state"], "ready")

    def test_nobody_inside_raises_them(self):
        script = "for f in /proc/sys/user/max_*; do (echo 1000000 > $f) 2>&1; done; cat /proc/sys/user/max_user_namespaces; echo end"
        self.create("hostile", ["busybox", "sh", "-c", script], template="nesting", limits={"user_namespaces": 4})
        self.wait_for_output("hostile", r"(?m)^4\nend$")


class Changes(LimitedHost):
    """Limits of a session that runs."""

    def change(self, **limits):
        return self.client.call("session.set_limits", session="hostile", limits=limits)

    def test_files_change(self):
        self.hostile("memory", "1")
        limits = {"memory_bytes": 48 * MIB, "memory_high_bytes": 40 * MIB, "cpus": 0.25, "cpu_weight": 50, "pids": 17}
        session = self.change(**limits)
        self.assertEqual({name: limit["value"] for name, limit in session["limits"].items()}, {**LIMITS, **limits})
        files = {"memory.max": 48 * MIB, "memory.high": 40 * MIB, "cpu.max": "25000 100000", "cpu.weight": 50, "pids.max": 17}
        for name, value in files.items():
            self.assertEqual((self.cgroup("hostile") / name).read_text().strip(), str(value), name)
        with self.assertRaises(RpcError) as caught:
            self.change(cpu_weight=101)
        self.assertEqual(caught.exception.kind, "limit")
        self.assertEqual((self.cgroup("hostile") / "cpu.weight").read_text().strip(), "50")

    def test_more_processes(self):
        self.hostile("processes", limits={"pids": 10})
        self.wait_for_output("hostile", r"forked (\d+)")
        self.assertGreater(self.stats("hostile")["pids"]["refused"], 0)
        with self.assertRaises(RpcError):
            self.client.call("exec.run", session="hostile", command=["/bin/busybox", "true"])
        self.change(pids=LIMITS["pids"])
        self.assertEqual(self.client.call("exec.run", session="hostile", command=["/bin/busybox", "true"])["exit_code"], 0)

    def test_less_memory_than_it_has(self):
        before = self.ooms()
        self.hostile("memory", "40")
        self.wait_for_output("hostile", "held 40 MiB")
        self.change(memory_bytes=16 * MIB)
        # Linux 6.16 and later look at it when the session asks for more; earlier ones at once.
        try:
            self.client.call("exec.run", session="hostile", command=["/bin/hostile", "memory", "16"], timeout_seconds=1)
        except RpcError:
            pass
        self.expect_oom("hostile", before)


class Events(LimitedHost):
    def test_out_of_memory(self):
        """And says what had the memory."""
        events = self.events_of(lambda: self.hostile("memory", limits={"memory_bytes": 32 * MIB}), "session.ended")
        message = next(e["message"] for e in events if e["kind"] == "session.oom")
        said = re.search(r"it may have 32 MiB, and had (\d+) MiB at most; .* processes had (\d+) MiB", message)
        self.assertIsNotNone(said, message)
        print(message)
        self.assertIn(int(said[1]), range(28, 33))
        self.assertEqual(self.client.call("session.get", session="hostile")["end"]["message"], message)

    def test_refused_processes(self):
        events = self.events_of(lambda: self.hostile("processes", limits={"pids": 40}), "session.refused")
        self.assertEqual((events[-1]["limit"], events[-1]["session"]), ("pids", "hostile"))

    def test_throttled_processors(self):
        events = self.events_of(lambda: self.hostile("spin", "2", limits={"cpus": 0.2}), "session.throttled")
        self.assertEqual(events[-1]["limit"], "cpus")
        self.assertGreater(events[-1]["throttled_ms"], 1000)


class Processor(LimitedHost):
    def test_unlimited_beside_limited(self):
        """What keeps a session at its limit is the limit, not the machine."""
        self.hostile("spin", "1", name="free")
        self.hostile("spin", "1", name="bound", limits={"cpus": 0.05})
        (free, bound), _ = self.shares("free", "bound")
        self.assertGreater(free, 3 * bound)

    def test_pause_stops_it(self):
        self.hostile("spin", "1")
        self.client.call("session.pause", session="hostile")
        # What it used until it came to rest is counted a moment later.
        self.wait(lambda: self.shares("hostile", seconds=0.1)[0] == [0], "it rests")
        (share,), _ = self.shares("hostile", seconds=1.0)
        self.assertEqual(share, 0)


class Protection(LimitedHost):
    def test_the_host_has_its_part(self):
        above = self.cgroup("x").parent
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGESIZE")
        self.assertEqual(int((above / "memory.max").read_text()), total - 300 * MIB)
        self.assertEqual((above / "cpu.max").read_text(), f"{os.cpu_count() * 100000 - 10000} 100000\n")

    def test_memory_is_kept(self):
        """What is kept for a session is kept for the cgroups above it, or it would not be."""
        above = [self.cgroup("x").parent / "memory.low", self.cgroup("x").parent.parent / "memory.low"]
        kept = lambda: [int(path.read_text()) for path in above]  # noqa: E731
        self.create("one", ["busybox", "sleep", "1000"], template="precious")
        self.create("two", ["busybox", "sleep", "1000"], template="precious", limits={"memory_low_bytes": MIB})
        self.assertEqual(kept(), [17 * MIB] * 2)
        self.client.call("session.set_limits", session="one", limits={"memory_low_bytes": 2 * MIB})
        self.assertEqual(kept(), [3 * MIB] * 2)
        self.client.call("session.remove", session="two")
        self.client.call("session.remove", session="one")
        self.assertEqual(kept(), [0] * 2)


if __name__ == "__main__":
    unittest.main()
