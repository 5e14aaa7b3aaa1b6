# SPDX-License-Identifier: Apache-2.0
"""Every limit holds against a workload that runs into it, and a neighbour does not notice. Nothing else runs meanwhile; what
is set, changed and told of limits is test_limit_values.py's."""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time
import unittest

from carrel_host import PROGRAMS, TEST_DIR, footprint, own_network, scaled, wait_until
from limited import LIMITS, MIB, NESTING, LimitedHost, flat


def setUpModule():
    own_network()
    # On a disk, and mapped: what the session writes there belongs to its ids.
    data = pathlib.Path(tempfile.mkdtemp(prefix="carrel-data-", dir=TEST_DIR))
    unittest.addModuleCleanup(shutil.rmtree, data)
    disk = {"type": "bind", "source": str(data), "target": "/data", "read_only": False}
    (data / "large").write_bytes(b"x" * 64 * MIB)
    LimitedHost.open(**{"writer": {"mounts": [disk]}, "nesting": NESTING, "big-root": {"limits": {**LIMITS, "root_bytes": 128 * MIB}}})


class Control(LimitedHost):
    """How the neighbour fares where nobody is hostile: what the ratios below are to be seen beside."""

    def test_idle_session(self):
        self.hostile("memory", "1")
        self.wait_for_output("hostile", "held 1 MiB")
        self.assert_neighbour_unharmed()

    def outside(self, script):
        """The same programs in no session, and under no limit."""
        process = subprocess.Popen(["unshare", "--mount", "sh", "-c", script], stdout=subprocess.PIPE, text=True)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def test_full_file_system_outside(self):
        process = self.outside(f"mount -t tmpfs -o size=16m none /mnt && exec {PROGRAMS}/hostile fill /mnt/full")
        self.assertIn("No space left", process.stdout.readline())
        self.assert_neighbour_unharmed()

    def test_busy_processor_outside(self):
        self.outside(f"exec {PROGRAMS}/hostile spin 1")
        self.assert_neighbour_unharmed()


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

    def test_above_the_soft_limit(self):
        def fill():
            self.hostile("fill", "/full", limits={"memory_bytes": 64 * MIB, "memory_high_bytes": 16 * MIB})

        events = self.events_of(fill, "session.throttled")
        self.assertEqual(events[-1]["limit"], "memory_high_bytes")
        self.assert_neighbour_unharmed()


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
        wait_until(lambda: not any("/hostile" in c for c in footprint(self.host)["cgroups"]), what="nothing is left")


class Processor(LimitedHost):
    def test_throttled(self):
        self.hostile("spin", "2", limits={"cpus": 0.2})
        (share,), stat = self.shares("hostile")
        self.assertGreater(stat["nr_throttled"], 5)
        # What the machine below takes away counts as used, and of a period at either end more may be counted than of others.
        self.assertLess(share, 0.2 * 2)
        self.assertGreater(share, 0.02)
        self.assertGreater(self.stats("hostile")["cpu"]["throttled_seconds"], 0)
        self.assert_neighbour_unharmed()


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

    def test_mounts(self):
        """A mount namespace has a hundred thousand (fs.mount-max); each costs memory that is the session's."""
        self.hostile("mounts", "2000", template="nesting")
        before = self.stats("hostile")["memory"]["current_bytes"]
        self.wait_for_output("hostile", r"mounted (\d+): asked for no more")
        self.assertGreater(self.stats("hostile")["memory"]["current_bytes"] - before, 2000 * 256)
        self.assert_neighbour_unharmed()


class Connections(LimitedHost):
    """Of what is tracked in a session's own network namespace."""

    MOST, SENT = 3000, 4000

    @staticmethod
    def in_network(pid, *command):
        return subprocess.run(["nsenter", "--net", "--target", str(pid), *command], capture_output=True, text=True, check=True).stdout

    @staticmethod
    def objects():
        """Entries of all tables, and the bytes of each."""
        return map(int, re.search(r"^nf_conntrack +(\d+) +\d+ +(\d+)", pathlib.Path("/proc/slabinfo").read_text(), re.M).groups())

    def test_own_table(self):
        """It ends at the host's setting, which nobody inside can change, and is no other session's nor the host's."""
        setting = "net.netfilter.nf_conntrack_max"
        before = self.in_network(1, "sysctl", "-n", setting).strip()
        self.addCleanup(self.in_network, 1, "sysctl", "-qw", f"{setting}={before}")
        self.in_network(1, "sysctl", "-qw", f"{setting}={self.MOST}")
        others = set(self.host.init_pids())
        script = f"until test -e /go; do sleep 0.1; done; exec hostile flows 11.0.0.1 {self.SENT}"
        self.create("hostile", ["busybox", "sh", "-c", script], template="nesting")
        (pid,) = set(self.host.init_pids()) - others
        count = lambda: int(self.in_network(pid, "sysctl", "-n", "net.netfilter.nf_conntrack_count"))  # noqa: E731
        self.in_network(pid, "nft", "add table ip docker; add chain ip docker out { type filter hook output priority 0; };"
                        "add rule ip docker out ct state new counter")
        self.assertEqual(count(), 0)
        memory, (entries, size) = self.stats("hostile")["memory"]["current_bytes"], self.objects()
        self.client.call("exec.run", session="hostile", command=["/bin/busybox", "touch", "/go"])
        self.wait_for_output("hostile", "sent")
        self.assertIn(count(), range(self.MOST * 9 // 10, self.MOST + 1))  # older ones make room for newer
        grown = self.stats("hostile")["memory"]["current_bytes"] - memory
        print(f"{count()} entries; {next(iter(self.objects())) - entries} more of {size} bytes on the host, the session's memory grew "
              f"by {grown >> 10} KiB")
        said = self.client.call("exec.run", session="hostile", command=["/bin/busybox", "sh", "-c",
                                f"echo 1000000 > /proc/sys/{setting.replace('.', '/')}"])
        self.assertNotEqual(said["exit_code"], 0)
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
