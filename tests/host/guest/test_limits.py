# SPDX-License-Identifier: Apache-2.0
"""Every limit holds against a workload that runs into it, and a neighbour does not notice."""

import os
import pathlib
import re
import shutil
import tempfile
import time
import unittest

from carrel_host import TEST_DIR, RpcError, own_network, scaled, snapshot, wait_until
from limited import LIMITS, MIB, LimitedHost, flat

# May make namespaces and mounts of its own.
NESTING = {"seccomp": "dind", "proc": "full", "capabilities": ["SYS_ADMIN", "SETUID", "SETGID"]}


def setUpModule():
    own_network()
    # On a disk, and mapped: what the session writes there belongs to its ids.
    data = pathlib.Path(tempfile.mkdtemp(prefix="carrel-data-", dir=TEST_DIR))
    unittest.addModuleCleanup(shutil.rmtree, data)
    disk = {"type": "bind", "source": str(data), "target": "/data", "read_only": False}
    (data / "large").write_bytes(b"x" * 64 * MIB)
    LimitedHost.open(**{"writer": {"mounts": [disk]}, "nesting": NESTING, "big-root": {"limits": {**LIMITS, "root_bytes": 128 * MIB}},
                        "precious": {"limits": {**LIMITS, "memory_low_bytes": 16 * MIB}}})


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


class Memory(LimitedHost):
    def test_allocation(self):
        before = self.ooms()
        self.hostile("memory", limits={"memory_bytes": 32 * MIB})
        self.expect_oom("hostile", before)
        self.assertNotIn("held", self.output("hostile"))

    def test_files_of_the_root_are_memory(self):
        before = self.ooms()
        self.hostile("fill", "/full", template="big-root", limits={"memory_bytes": 32 * MIB})
        self.expect_oom("hostile", before)

    def test_every_process_is_killed(self):
        """One of a session's processes that takes too much takes the others with it."""
        before = self.ooms()
        script = "busybox sleep 1000 & hostile memory; echo the shell survived"
        self.create("group", ["busybox", "sh", "-c", script], limits={"memory_bytes": 32 * MIB})
        self.expect_oom("group", before)
        self.assertNotIn("survived", self.output("group"))

    def test_below_the_limit_all_is_well(self):
        self.hostile("memory", "24", limits={"memory_bytes": 32 * MIB})
        self.wait_for_output("hostile", "held 24 MiB: asked for no more")
        self.assertEqual(self.client.call("session.get", session="hostile")["state"], "ready")

    def test_an_event_tells(self):
        """And says what had the memory."""
        events = self.events_of(lambda: self.hostile("memory", limits={"memory_bytes": 32 * MIB}), "session.ended")
        message = next(e["message"] for e in events if e["kind"] == "session.oom")
        said = re.search(r"it may have 32 MiB, and had (\d+) MiB at most; .* processes had (\d+) MiB", message)
        self.assertIsNotNone(said, message)
        print(message)
        self.assertIn(int(said[1]), range(28, 33))
        self.assertEqual(self.client.call("session.get", session="hostile")["end"]["message"], message)

    def test_above_the_soft_limit(self):
        def fill():
            self.hostile("fill", "/full", limits={"memory_bytes": 64 * MIB, "memory_high_bytes": 16 * MIB})

        events = self.events_of(fill, "session.throttled")
        self.assertEqual(events[-1]["limit"], "memory_high_bytes")
        self.assert_neighbour_unharmed()


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


class Processes(LimitedHost):
    def test_forks(self):
        self.hostile("processes", limits={"pids": 40})
        said = self.wait_for_output("hostile", r"forked (\d+): (.*)")
        # Without carrel-init and the workload itself.
        self.assertEqual((int(said[1]), said[2]), (38, "Resource temporarily unavailable"))
        self.assertEqual(self.stats("hostile")["pids"]["current"], 40)
        self.assert_neighbour_unharmed()

    def test_fork_bomb(self):
        self.hostile("bomb", limits={"pids": 40, "cpus": 0.5})
        events = self.cgroup("hostile") / "pids.events"
        wait_until(lambda: flat(events)["max"] > 0, what="the bomb reaches its limit")
        self.assertLessEqual(self.stats("hostile")["pids"]["current"], 40)
        self.assert_neighbour_unharmed()
        begun = time.monotonic()
        self.client.call("session.stop", session="hostile", grace_seconds=0)
        self.assertLess(time.monotonic() - begun, scaled(2))
        wait_until(lambda: not any("/hostile" in c for c in snapshot(self.host)["cgroups"]), what="nothing is left")


    def test_an_event_tells(self):
        events = self.events_of(lambda: self.hostile("processes", limits={"pids": 40}), "session.refused")
        self.assertEqual((events[-1]["limit"], events[-1]["session"]), ("pids", "hostile"))


class Processor(LimitedHost):
    def test_an_event_tells(self):
        events = self.events_of(lambda: self.hostile("spin", "2", limits={"cpus": 0.2}), "session.throttled")
        self.assertEqual(events[-1]["limit"], "cpus")
        self.assertGreater(events[-1]["throttled_ms"], 1000)

    def measure(self, *names, seconds=3.0):
        """The share of one processor that each of the sessions used while time passed, and the last one's figures."""
        usage = lambda: [flat(self.cgroup(name) / "cpu.stat") for name in names]  # noqa: E731
        before, begun = usage(), time.monotonic()
        time.sleep(seconds)  # what is measured is what happens meanwhile
        after, passed = usage(), time.monotonic() - begun
        return [(b["usage_usec"] - a["usage_usec"]) / 1e6 / passed for a, b in zip(before, after)], after[-1]

    def test_throttled(self):
        self.hostile("spin", "2", limits={"cpus": 0.2})
        (share,), stat = self.measure("hostile")
        self.assertGreater(stat["nr_throttled"], 5)
        self.assertLess(share, 0.2 * 1.3)  # of a period at either end more than of the others may have been counted
        self.assertGreater(share, 0.02)
        self.assertGreater(self.stats("hostile")["cpu"]["throttled_seconds"], 0)
        self.assert_neighbour_unharmed()

    def test_unlimited_beside_limited(self):
        """What keeps a session at its limit is the limit, not the machine."""
        self.hostile("spin", "1", name="free", limits={"cpus": 2.0})
        self.hostile("spin", "1", name="bound", limits={"cpus": 0.1})
        (free, bound), _ = self.measure("free", "bound")
        self.assertGreater(free, 3 * bound)

    def test_pause_stops_it(self):
        self.hostile("spin", "1")
        self.client.call("session.pause", session="hostile")
        (share,), _ = self.measure("hostile", seconds=1.0)
        self.assertEqual(share, 0)


class Space(LimitedHost):
    """File systems in memory fill up by themselves: the session lives on, and reads why."""

    def test_root_bytes(self):
        self.hostile("fill", "/full", limits={"root_bytes": 16 * MIB})
        said = self.wait_for_output("hostile", r"wrote (\d+): (.*)")
        self.assertEqual(said[2], "No space left on device")
        self.assertLessEqual(int(said[1]), 16 * MIB)
        self.assertGreater(int(said[1]), 15 * MIB)
        self.others_have_room("/")

    def test_root_inodes(self):
        self.hostile("files", "/", limits={"root_inodes": 300})
        said = self.wait_for_output("hostile", r"made (\d+): (.*)")
        self.assertEqual(said[2], "No space left on device")
        self.assertLessEqual(int(said[1]), 300)
        self.assertGreater(int(said[1]), 250)
        self.others_have_room("/")

    def test_shm_bytes(self):
        self.hostile("fill", "/dev/shm/full", limits={"shm_bytes": MIB})
        said = self.wait_for_output("hostile", r"wrote (\d+): (.*)")
        self.assertEqual((int(said[1]), said[2]), (MIB, "No space left on device"))
        self.others_have_room("/dev/shm")

    def others_have_room(self, mount):
        session = self.client.call("session.get", session="hostile")
        self.assertEqual(session["state"], "ready")
        full = [s for s in self.stats("hostile")["space"] if min(s["bytes"]["free"], s["inodes"]["free"]) == 0]
        self.assertEqual([s["mount"] for s in full], [mount])
        self.hostile("fill", "/small", name="other", limits={"root_bytes": 2 * MIB})
        self.assertGreater(int(self.wait_for_output("other", r"wrote (\d+)")[1]), MIB)
        pathlib.Path(self.host.dir / "probe").write_bytes(b"x" * MIB)
        self.assert_neighbour_unharmed()


class Disk(LimitedHost):
    """The disk below the state directory; each session has its share of it by the second."""

    def measure(self, **limits):
        begun = time.monotonic()
        self.hostile("direct", "/data/out", "4", template="writer", limits=limits)
        self.assertEqual(self.wait_for_output("hostile", r"wrote (\d+): (.*)").groups(), (str(4 * MIB), "all"))
        elapsed = time.monotonic() - begun
        self.assert_neighbour_unharmed()
        self.client.call("session.remove", session="hostile")
        return elapsed

    def test_bytes_written(self):
        self.assertGreater(self.measure(io_write_bytes_per_second=MIB), 3)

    def test_writes(self):
        self.assertGreater(self.measure(io_writes_per_second=16), 3)

    def test_without_a_limit_it_is_quick(self):
        self.assertLess(self.measure(), 3)

    def test_files_and_enforced(self):
        limits = {"io_read_bytes_per_second": 3 * MIB, "io_write_bytes_per_second": 2 * MIB, "io_reads_per_second": 200,
                  "io_writes_per_second": 100}
        session = self.hostile("memory", "1", template="writer", limits=limits)
        self.assertEqual({session["limits"][name]["enforced"] for name in limits}, {True})
        file = (self.cgroup("hostile") / "io.max").read_text()
        self.assertRegex(file, rf"^\d+:0 rbps={3 * MIB} wbps={2 * MIB} riops=200 wiops=100$")
        self.client.call("session.set_limits", session="hostile", limits={"io_reads_per_second": 50})
        self.assertIn("riops=50 ", (self.cgroup("hostile") / "io.max").read_text())

    def test_page_cache(self):
        """Reading much, again and again, costs the reader's own page cache."""
        before = self.ooms()
        # Pages belong to whoever read them first, and that was not the session.
        os.sync()
        pathlib.Path("/proc/sys/vm/drop_caches").write_text("1")
        self.hostile("read", "/data/large", template="writer", limits={"memory_bytes": 32 * MIB})
        wait_until(lambda: self.stats("hostile")["memory"]["events"]["max"] > 10, what="it is at its limit")
        self.assert_neighbour_unharmed()
        self.assertLessEqual(self.stats("hostile")["memory"]["current_bytes"], 32 * MIB)
        self.assertEqual(self.ooms(), before)

    def test_output(self):
        """Printing without end: a ring of fixed size, in memory."""
        self.hostile("print")
        self.wait_for_output("hostile", "xxx")
        self.assert_neighbour_unharmed()
        self.assertLess(len(self.output("hostile")), MIB)


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


class Counts(LimitedHost):
    """What the kernel counts for each user or file system, and no cgroup does."""

    def expect(self, what, reached, reason, *arguments, **params):
        self.hostile(what, *arguments, **params)
        said = self.wait_for_output("hostile", r"(?:opened|watched|made|mounted) (\d+): (.*)")
        self.assertEqual((int(said[1]), said[2]), (reached, reason))
        self.assert_neighbour_unharmed()

    def test_terminals(self):
        self.expect("terminals", 5, "No space left on device", limits={"terminals": 5})

    def test_inotify_instances(self):
        self.expect("inotify", 3, "No file descriptors available", limits={"inotify_instances": 3})

    def test_inotify_watches(self):
        self.expect("watches", 20, "No space left on device", "/dev/shm", limits={"inotify_watches": 20})

    def test_user_namespaces(self):
        self.expect("user-namespaces", 4, "No space left on device", template="nesting", limits={"user_namespaces": 4})

    def test_mount_namespaces(self):
        self.expect("mount-namespaces", 6, "No space left on device", template="nesting", limits={"mount_namespaces": 6})

    def test_network_namespaces(self):
        self.expect("network-namespaces", 2, "No space left on device", template="nesting", limits={"network_namespaces": 3})

    def test_nobody_inside_raises_them(self):
        script = "for f in /proc/sys/user/max_*; do (echo 1000000 > $f) 2>&1; done; cat /proc/sys/user/max_user_namespaces; echo end"
        self.create("hostile", ["busybox", "sh", "-c", script], template="nesting", limits={"user_namespaces": 4})
        self.wait_for_output("hostile", r"(?m)^4\nend$")

    def test_mounts(self):
        """A mount namespace has a hundred thousand (fs.mount-max); each costs memory that is the session's."""
        self.hostile("mounts", "2000", template="nesting")
        before = self.stats("hostile")["memory"]["current_bytes"]
        self.wait_for_output("hostile", r"mounted (\d+): asked for no more")
        self.assertGreater(self.stats("hostile")["memory"]["current_bytes"] - before, 2000 * 256)
        self.assert_neighbour_unharmed()


class Descriptors(LimitedHost):
    def test_open_files(self):
        self.hostile("descriptors", limits={"open_files": 100})
        said = self.wait_for_output("hostile", r"opened (\d+): (.*)")
        self.assertEqual(int(said[1]), 97)  # and three that it was born with
        self.assertRegex(said[2], "No file descriptors available|Too many open files")
        self.assert_neighbour_unharmed()


if __name__ == "__main__":
    unittest.main()
