# SPDX-License-Identifier: Apache-2.0
"""A compromised control process: what it asks of the supervisor, and what it can do by itself."""

import errno
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import unittest

from carrel_host import CONTROL_ID, HERE, ROOT, Host, own_network, snapshot, wait_until


def setUpModule():
    own_network()


class HostileControl(unittest.TestCase):
    def setUp(self):
        self.host = Host(config={"max_sessions": 8})
        libexec = self.host.dir / "libexec"
        libexec.mkdir()
        shutil.copy(HERE / "hostile_control.py", libexec / "carrel-control")
        shutil.copy(ROOT / "usr/libexec/carrel/carrel-init", libexec)
        self.host.libexec_dir = libexec
        version = subprocess.run([ROOT / "usr/sbin/carreld", "--version"], capture_output=True, text=True, check=True)
        (self.host.config_dir / "version").write_text(version.stdout.split()[1])
        table = subprocess.run([ROOT / "usr/sbin/carreld", "--list-operations"], capture_output=True, text=True, check=True)
        sizes = re.findall(r"^\| `([a-z-]+)` \|.*\| (\d+) bytes, ", table.stdout, re.M)
        (self.host.config_dir / "sizes").write_text(json.dumps({name: int(size) for name, size in sizes}))
        path = self.host.config_dir / "report.sock"
        self.reports = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.reports.bind(str(path))
        self.reports.settimeout(30)
        os.chmod(path, 0o666)

    def tearDown(self):
        self.reports.close()
        self.host.close()

    def run_scenario(self, *words):
        (self.host.config_dir / "scenario").write_text(" ".join(words))
        if self.host.process is None:
            self.host.start(wait=False)
        try:
            return json.loads(self.reports.recv(1 << 20))
        except TimeoutError:
            self.fail(f"{words}: no report\n{self.host.log()}")

    def expect_its_end(self, *words):
        """It reports its number before it does what the supervisor must end it for."""
        pid = self.run_scenario(*words)
        self.assertIsInstance(pid, int)
        wait_until(lambda: not os.path.exists(f"/proc/{pid}"), what=f"the end of control: {words}")

    def test_crafted_requests(self):
        said = self.run_scenario("crafted")
        for name in ("hello", "good", "still good"):
            self.assertEqual(said[name][0], 0, f"{name}: {said[name]}")
        wanted = {
            "same id": errno.EEXIST, "unknown template": errno.ENOENT,
            "egress that the template does not allow": errno.EPERM, "memory past the ceiling": errno.EPERM,
            "memory out of range": errno.ERANGE, "pids past the ceiling": errno.EPERM,
            "limits raised while it runs": errno.EPERM, "a volume that the template does not have": errno.EPERM, "noted of a live session": errno.EBUSY,
            **{f"{op} of no session": errno.ESRCH for op in ("connect", "kill", "freeze", "thaw", "noted")},
        }
        for name, number in wanted.items():
            self.assertEqual(said[name][0], number, f"{name}: {said[name]}")
        for name in ("a spec that is no spec", "a spec that is a pipe", "a spec that is not sealed"):
            self.assertNotEqual(said[name][0], 0, name)
        # Of all that, one session has come: the good one.
        cgroups = {p.rsplit("/", 1)[1] for p in snapshot(self.host)["cgroups"]}
        self.assertEqual({c for c in cgroups if re.fullmatch(r"good|x\d", c)}, {"good"})

    def test_malformed_messages_end_it_and_nothing_else(self):
        for seed in range(40):
            self.expect_its_end("malformed", str(seed))
            self.assertIsNone(self.host.process.poll(), self.host.log())
            if seed % 8 == 0:
                # Ended again and again, it is started less and less often: begin anew.
                self.host.stop(signal.SIGTERM)

    def test_nothing_before_the_greeting(self):
        self.expect_its_end("no-greeting")
        self.expect_its_end("no-greeting")  # the report is the next one's number, not "answered"

    def test_one_that_never_reads(self):
        self.expect_its_end("deaf")
        self.assertIsNone(self.host.process.poll(), self.host.log())
        rss = int(open(f"/proc/{self.host.process.pid}/statm").read().split()[1]) * 4096
        self.assertLess(rss, 128 << 20)

    def test_as_many_sessions_as_it_can_get(self):
        made, last, answers = self.run_scenario("greedy")
        self.assertEqual(made, 8, answers)
        self.assertEqual(last[0], errno.EBUSY)
        self.assertIn("max_sessions is 8", last[2])

    def test_what_it_can_do_by_itself(self):
        said = self.run_scenario("look")
        self.assertEqual(said["status"]["Uid"], [str(CONTROL_ID)] * 4)
        self.assertEqual(said["status"]["Gid"], [str(CONTROL_ID)] * 4)
        self.assertEqual(said["status"]["Groups"], [])
        for which in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            self.assertEqual(int(said["status"][which][0], 16), 0, which)
        self.assertEqual(said["status"]["NoNewPrivs"], ["1"])
        for what in ("write /etc", "write /tmp", "become root", "read images", "sessions", "ledger", "signal"):
            self.assertIn(said[what], ("Permission denied", "Operation not permitted", "Read-only file system"), what)
        self.assertEqual({k: v for k, v in said["environment"].items() if k != "LC_CTYPE"}, {})
        fds = {int(k): v for k, v in said["fds"].items()}
        self.assertEqual(fds[0], "/dev/null")
        self.assertEqual(fds[1], "/dev/null")
        for number in (3, 4):
            self.assertTrue(fds[number].startswith("socket:"))
        # 2 is the log; what is left is the listing's own descriptor and the interpreter's.
        self.assertLessEqual(len(fds), 6, fds)


if __name__ == "__main__":
    unittest.main()
