# SPDX-License-Identifier: Apache-2.0
"""Nobody inside a session, root with CAP_SYS_ADMIN included, raises a limit or leaves the session's cgroup."""

import os
import pathlib
import re
import unittest

from carrel_host import own_network, wait_until
from limited import LIMITS, MIB, LimitedHost

# A cgroup tree of one's own and everything that a daemon for containers is given; see packaging's templates.
CONTAINERS = {
    "cgroup": True, "proc": "full", "seccomp": "dind",
    "capabilities": ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP", "NET_BIND_SERVICE",
                     "NET_RAW", "SYS_CHROOT", "MKNOD", "AUDIT_WRITE", "SETFCAP", "NET_ADMIN", "SYS_ADMIN"],
    "limits": {**LIMITS, "memory_bytes": 32 * MIB, "pids": 40},
}
# What the kernel's documentation hands to the owner of a delegated cgroup (cgroup-v2.rst, "Delegation Containment").
DELEGATED = {"cgroup.procs", "cgroup.threads", "cgroup.subtree_control"}


def setUpModule():
    own_network()
    LimitedHost.open(containers=CONTAINERS)


class Delegation(LimitedHost):
    def settings(self, name):
        """Every file of the session's cgroup and of the payload below it that holds a setting, with its contents."""
        directories = (self.cgroup(name), self.cgroup(name) / "payload")
        return {str(path): path.read_text() for directory in directories for path in directory.iterdir()
                if path.is_file() and path.stat().st_mode & 0o600 == 0o600 and path.name not in DELEGATED
                and path.suffix not in (".pressure", ".peak")}  # those take orders, and tell of other things

    def script(self, text, name="hostile", template="containers", **params):
        self.create(name, ["busybox", "sh", "-c", text], template=template, **params)

    def writable(self, name):
        self.wait_for_output(name, r"(?m)^end$")
        return set(re.findall(r"^writable (.*)$", self.output(name), re.M))

    def test_without_a_tree(self):
        self.hostile("cgroup", "/sys/fs/cgroup")
        self.assertEqual(self.writable("hostile"), set())

    def test_limit_files(self):
        """Of its own tree's root it may write what moves processes and makes children; of a child everything."""
        self.script("sleep 1000")
        before = self.settings("hostile")
        self.client.call("session.remove", session="hostile")
        self.assertGreater(len(before), 20)
        self.hostile("cgroup", "/sys/fs/cgroup", template="containers")
        found = {path for path in self.writable("hostile") if not path.startswith("/sys/fs/cgroup/init/")}
        self.assertEqual(found, {f"/sys/fs/cgroup/{name}" for name in DELEGATED})
        self.assertEqual(self.settings("hostile"), before)

    def test_another_mount_shows_the_same(self):
        self.script("mount -t cgroup2 none /mnt && exec hostile cgroup /mnt")
        found = {path for path in self.writable("hostile") if not path.startswith("/mnt/init/")}
        self.assertEqual(found, {f"/mnt/{name}" for name in DELEGATED})

    def test_a_cgroup_namespace_shows_less(self):
        self.script("unshare -C -m sh -c 'mount -t cgroup2 none /mnt && exec hostile cgroup /mnt'; echo end")
        self.wait_for_output("hostile", r"(?m)^end$")
        for path in self.writable("hostile"):
            # It was in the leaf init/, which now is the root, and is its own.
            self.assertNotIn("/mnt/init", path)

    def test_a_child_without_limits_has_its_parents(self):
        before = self.ooms()
        self.script("cd /sys/fs/cgroup && mkdir mine && echo max > mine/memory.max && echo max > mine/pids.max &&"
                    "echo $$ > mine/cgroup.procs && cat mine/memory.max && exec hostile memory")
        self.expect_oom("hostile", before)
        self.assertIn("max", self.output("hostile"))

    def test_processes_of_a_child_count(self):
        self.script("cd /sys/fs/cgroup && mkdir mine && echo $$ > mine/cgroup.procs && exec hostile processes")
        self.assertEqual(int(self.wait_for_output("hostile", r"forked (\d+)")[1]), 38)

    def test_nobody_leaves(self):
        """By every path that leads up; the neighbour's cgroup by name. Then the host looks where each process is."""
        tries = ["/sys/fs/cgroup/../cgroup.procs", "/sys/fs/cgroup/../../cgroup.procs",
                 f"/sys/fs/cgroup/{self.host.name}/sessions/neighbour/payload/cgroup.procs",
                 "/proc/1/root/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/cgroup.procs"]
        self.script("mount -t cgroup2 none /mnt\n" + "\n".join(f"(echo 0 > {path})" for path in tries) +
                    "\n(echo 0 > /mnt/../cgroup.procs); busybox sleep 1000 & echo end; wait")
        self.wait_for_output("hostile", r"(?m)^end$")
        payload = self.cgroup("hostile") / "payload"
        inside = [pid for path in [payload, *payload.rglob("*")] if path.is_dir()
                  for pid in (path / "cgroup.procs").read_text().split()]
        self.assertEqual(sorted(inside), sorted(self.processes_like(inside[0])))

    @staticmethod
    def processes_like(pid):
        """Every process of the host that is in the same pid namespace."""
        space = os.stat(f"/proc/{pid}/ns/pid").st_ino
        for entry in pathlib.Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and os.stat(entry / "ns/pid").st_ino == space:
                    yield entry.name
            except FileNotFoundError:
                continue

    def test_cgroups_are_bounded(self):
        """Empty cgroups cost the host memory that no limit counts."""
        self.hostile("cgroups", "/sys/fs/cgroup", template="containers", limits={"memory_bytes": 32 * MIB})
        said = self.wait_for_output("hostile", r"made (\d+): (.*)")
        self.assertEqual(said[2], "Resource temporarily unavailable")
        self.assertLessEqual(int(said[1]), 1024)
        self.client.call("session.remove", session="hostile")
        wait_until(lambda: not self.cgroup("hostile").exists(), what="all of them are gone")
        self.assert_neighbour_unharmed()


if __name__ == "__main__":
    unittest.main()
