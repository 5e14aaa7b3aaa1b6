# SPDX-License-Identifier: Apache-2.0
"""A disk that is full, and one that the kernel has made read-only, under the installed service: whoever wants to write is
told, whoever lives goes on, and it passes without a restart."""

import contextlib
import os
import pathlib
import signal
import time

from carrel_host import RpcError, wait_until
from packaged import Terminal, call, main_pid, run

FILLER = pathlib.Path("/var/lib/filler")
MIB = 1 << 20


@contextlib.contextmanager
def full_disk():
    """There is not one block left. Nothing is written for that: the blocks are set aside."""
    with open(FILLER, "wb", buffering=0) as file:
        for n in (256 * MIB, MIB, 4096):
            with contextlib.suppress(OSError):
                while True:
                    os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, n)
    try:
        yield
    finally:
        FILLER.unlink()


@contextlib.contextmanager
def read_only_disk():
    """What the kernel does about an error on a disk, whoever has files open there: all are read-only."""
    pathlib.Path("/proc/sysrq-trigger").write_text("u")
    wait_until(lambda: os.statvfs("/var").f_flag & os.ST_RDONLY, 5, "a disk that is read-only")
    try:
        yield
    finally:
        run("mount", "-o", "remount,rw", "/")


class Disks:
    """Tests of a unittest.TestCase; carrel is installed and runs."""

    def services(self):
        return main_pid("carreld.service"), main_pid("carrel-control.service")

    def assert_refuses_images(self, text):
        built = run("carrel", "image", "build", "minimal", "--force", check=False)
        self.assertNotEqual(built.returncode, 0)
        self.assertIn(text, built.stderr)

    def test_5_full_disk(self):
        session, began = self.session(), time.time()
        terminal = Terminal(session)
        # Ends the registry's log, which may have room for what comes.
        run("systemctl", "restart", "carrel-control.service")
        self.assert_lives(session)
        pids = self.services()
        with full_disk():
            refused = self.write_until_refused()
            self.assertEqual((refused.kind, refused.data["step"], refused.data["errno"]), ("failed", "registry", "ENOSPC"))
            self.assertIn("No space left on device", str(refused))
            # From then on nothing is begun.
            again = self.refused(id="not-begun")
            self.assertEqual((again.kind, again.data["step"], again.data["retry_after_ms"]), ("failed", "registry", 1000))
            self.assertEqual(call("system.health")["status"], "degraded")
            self.assert_says("carrel-control", began, "cannot be written: No space left on device")
            self.assert_refuses_images("No space left on device")
            self.assert_lives(session)
            terminal.assert_lives()
        wait_until(lambda: call("system.health")["status"] == "ok", 10, "what had to wait is written")
        self.assert_takes_sessions()
        self.assertEqual(self.services(), pids)
        self.assert_lives(session)
        run("carrel", "remove", session["id"])

    def test_5_read_only_disk(self):
        """What is open there stays so: the kernel takes what is written, and keeps it until it can be written out. A
        carrel-control that begins meanwhile says why it cannot, and can as soon as the disk can be written again."""
        session, began = self.session(), time.time()
        terminal = Terminal(session)
        carreld, control = self.services()
        with read_only_disk():
            self.assert_refuses_images("Read-only file system")
            self.assert_lives(session)
            os.kill(control, signal.SIGKILL)
            self.assert_says("carrel-control", began, "Read-only file system")
        terminal.assert_lives()
        self.assert_lives(session)
        self.assert_takes_sessions()
        self.assertEqual(main_pid("carreld.service"), carreld)
        run("carrel", "remove", session["id"])

    def write_until_refused(self):
        """Has control write more than there is room for; how that is refused."""
        labels = {f"l{i}": "x" * 200 for i in range(16)}
        for _ in range(100):
            try:
                call("session.remove", session=call("session.create", template="minimal", labels=labels)["id"])
            except RpcError as e:
                return e
        raise AssertionError("never refused")
