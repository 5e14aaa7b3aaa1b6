# SPDX-License-Identifier: Apache-2.0
"""Volumes of fixed size, on a small disk of the test's own: they hold no more and no less than they say, are whole after a
power cut, and never mounted twice; and what becomes of everything when that disk is full or cannot be written."""

import ctypes
import hashlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import unittest

from carrel_host import TEST_DIR, Host, RpcError, own_network, wait_until

MIB = 1 << 20
SIZE = 16 * MIB
SIZED = {"path": "/sized", "size_bytes": SIZE, "uid": 1000, "gid": 1000, "mode": "0700"}
PLAIN = {"path": "/plain", "uid": 1000, "gid": 1000}
RUN_SIZE = 8 * MIB
CLONE_NEWNS = 0x00020000


def setUpModule():
    own_network()
    # What is mounted here goes with this process, whatever becomes of it.
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)


class Disk:
    """A file with an ext4, mounted: what its file holds is what a power cut now would leave of it."""

    def __init__(self, megabytes):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="carrel-test-disk-", dir=TEST_DIR))
        self.dir.chmod(0o755)
        self.file, self.at = self.dir / "disk", self.dir / "at"
        self.at.mkdir()
        with open(self.file, "wb") as file:
            file.truncate(megabytes * MIB)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=0", self.file], check=True)
        self.mount()

    def mount(self):
        subprocess.run(["mount", "-o", "loop", self.file, self.at], check=True)

    def after_power_cut(self):
        copy = Disk.__new__(Disk)
        copy.dir = pathlib.Path(tempfile.mkdtemp(prefix="carrel-test-disk-", dir=TEST_DIR))
        copy.file, copy.at = copy.dir / "disk", copy.dir / "at"
        copy.at.mkdir()
        subprocess.run(["cp", "--sparse=always", self.file, copy.file], check=True)
        copy.mount()
        return copy

    def fill(self):
        """Takes what room there is, to the last block."""
        with open(self.at / "filler", "ab", buffering=0) as file:
            for n in (MIB, 4096):
                try:
                    while True:
                        os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, n)
                except OSError:
                    pass

    def empty(self, missing_ok=False):
        (self.at / "filler").unlink(missing_ok)

    def remount(self, how):
        subprocess.run(["mount", "-o", f"remount,{how}", self.at], check=True)

    def close(self):
        subprocess.run(["umount", self.at], check=True)
        shutil.rmtree(self.dir)


class Sized(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.disk = Disk(128)
        cls.addClassCleanup(cls.disk.close)
        run = cls.disk.dir / "run"
        run.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={RUN_SIZE},mode=0755", "run", run], check=True)
        cls.addClassCleanup(subprocess.run, ["umount", run], check=True)
        cls.host = Host(state_base=cls.disk.at, config={"run_dir": str(run / "r")})
        cls.host.run_dir = run / "r"
        cls.host.write_template("with", {**cls.host.template("minimal"), "volumes": [SIZED, PLAIN]})
        cls.host.carrel("image", "build", "minimal", "--state-dir", str(cls.host.state_dir), "--config", str(cls.host.config_dir))
        cls.host.write_template("larger", {**cls.host.template("minimal"), "volumes": [{**SIZED, "size_bytes": 2 * SIZE}, PLAIN]})
        cls.host.start()

    @classmethod
    def tearDownClass(cls):
        cls.host.close()

    def setUp(self):
        self.client = self.host.client()
        self.addCleanup(self.remove_all)

    def remove_all(self):
        self.host.remove_all()
        wait_until(lambda: os.listdir(self.host.state_dir / "removed") + os.listdir(self.host.state_dir / "volumes") == [], what="no volume")

    def create(self, template="with", **names):
        return self.client.call("session.create", template=template,
                                volumes=[{"path": f"/{place}", "name": name} for place, name in names.items()])

    def run_in(self, session, command, **params):
        result = self.client.call("exec.run", session=session["id"], command=["/bin/sh", "-c", command], user="1000:1000", **params)
        return result["stdout"] + result["stderr"]

    def refuses(self, call, *args, **params):
        with self.assertRaises(RpcError) as caught:
            call(*args, **params)
        return caught.exception

    def file_of(self, name):
        return self.host.state_dir / "volumes" / name

    # ---- the size

    def test_holds_what_it_says_and_no_more(self):
        session = self.create(sized="one")
        made = self.client.call("volume.get", volume="one")
        self.assertEqual((made["size_bytes"], made["used_bytes"]), (SIZE, None))
        self.assertEqual(self.run_in(session, "ls -A /sized; stat -c '%a %u %g' /sized").split(), ["700", "1000", "1000"])
        self.assertGreaterEqual(self.file_of("one").stat().st_blocks * 512, SIZE)  # set aside, not promised
        free = os.statvfs(self.disk.at).f_bfree
        out = self.run_in(session, "dd if=/dev/zero of=/sized/all bs=64k 2>&1; stat -c %s /sized/all; ln -s x /sized/link")
        self.assertIn("No space left", out)
        self.assertGreater(int(out.split()[-1]), SIZE // 2, out)
        self.client.call("session.stop", session=session["id"])
        self.assertLess(free - os.statvfs(self.disk.at).f_bfree, 256)  # of the disk's blocks: the registry's
        used = self.client.call("volume.get", volume="one")["used_bytes"]
        self.assertTrue(0.9 * SIZE < used <= SIZE, used)
        again = self.create(sized="one")
        self.assertEqual(self.run_in(again, "readlink /sized/link; rm /sized/all").split(), ["x"])
        self.client.call("session.stop", session=again["id"])
        self.assertLess(self.client.call("volume.get", volume="one")["used_bytes"], used - SIZE // 2)

    def test_mount_flags(self):
        line = self.run_in(self.create(sized="flags"), "grep ' /sized ' /proc/self/mountinfo").split()
        self.assertLessEqual({"nosuid", "nodev"}, set(line[5].split(",")))
        self.assertIn("errors=remount-ro", line[-1].split(","))
        self.assertNotIn("nobarrier", line[-1].split(","))
        self.assertNotIn(self.host.name, " ".join(line))

    def test_of_the_other_kind(self):
        for place in ("sized", "plain"):
            self.client.call("session.stop", session=self.create(**{place: place})["id"])
        self.assertIsNone(self.client.call("volume.get", volume="plain")["size_bytes"])
        for place, name in (("sized", "plain"), ("plain", "sized")):
            error = self.refuses(self.create, **{place: name})
            self.assertEqual((error.kind, error.data["path"], error.data.get("session")), ("conflict", "volumes[0].name", None), error)
        self.client.call("volume.remove", volume="sized")
        self.create(plain="sized")

    def test_of_a_size_that_was_not_made(self):
        self.client.call("session.stop", session=self.create(sized="old")["id"])
        error = self.refuses(self.create, "larger", sized="new")
        self.assertEqual((error.kind, error.data["errno"]), ("failed", "ENOENT"), error)
        self.assertIn("empty file system of 33554432 bytes", str(error))
        self.create("larger", sized="old")  # keeps the size it was made with
        self.assertEqual(self.client.call("volume.get", volume="old")["size_bytes"], SIZE)
        self.assertEqual(os.listdir(self.host.state_dir / "volumes"), ["old"])

    # ---- crashes

    def restart(self):
        process, pids = self.host.process, [self.host.control_pid(), *self.host.init_pids()]
        process.kill()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        process.wait(10)
        self.host.start()
        self.client = self.host.client()

    def test_everything_is_killed(self):
        session = self.create(sized="hers")
        self.run_in(session, "echo kept >/sized/file")
        self.restart()
        wait_until(lambda: self.client.call("volume.get", volume="hers")["state"] == "free", what="free")
        self.assertEqual(self.run_in(self.create(sized="hers"), "cat /sized/file").strip(), "kept")

    def test_power_cuts(self):
        # Just made: where there is one of that name, it is whole.
        session = self.create(sized="s", plain="p")
        volumes = os.open(self.host.state_dir / "volumes", os.O_RDONLY)
        os.fsync(volumes)
        os.close(volumes)
        cut = self.disk.after_power_cut()
        try:
            self.look_into(cut, "s", [])
        finally:
            cut.close()
        # Ended: everything is there that it wrote.
        sums = self.run_in(session, "for d in sized plain; do head -c 3000000 /dev/urandom >/$d/file; sha256sum /$d/file; done").split()
        self.client.call("session.remove", session=session["id"])
        cut = self.disk.after_power_cut()
        try:
            self.look_into(cut, "s", [sums[0]])
            plain = cut.at / self.host.name / "volumes/p/file"
            self.assertEqual(hashlib.sha256(plain.read_bytes()).hexdigest(), sums[2])
        finally:
            cut.close()

    def look_into(self, disk, name, sums):
        """A kernel mounts what is in the file, and finds files of these contents."""
        at = disk.dir / "volume"
        at.mkdir()
        subprocess.run(["mount", "-o", "loop", disk.at / self.host.name / "volumes" / name, at], check=True)
        try:
            self.assertEqual((at.stat().st_uid, at.stat().st_mode & 0o777), (1000, 0o700))
            self.assertEqual([hashlib.sha256(p.read_bytes()).hexdigest() for p in at.iterdir()], sums)
        finally:
            subprocess.run(["umount", at], check=True)

    def test_one_that_is_still_mounted_is_not_mounted_again(self):
        """Somebody on the host keeps the file system of a session alive that has ended."""
        session = self.create(sized="pinned")
        pin = os.open(f"/proc/{self.host.init_pids()[0]}/root/sized", os.O_RDONLY)
        try:
            self.client.call("session.stop", session=session["id"])
            error = self.refuses(self.create, sized="pinned")
            self.assertEqual((error.kind, error.data["errno"]), ("failed", "EBUSY"), error)
        finally:
            os.close(pin)
        self.create(sized="pinned")

    # ---- no room, no writing

    def health(self):
        return self.client.call("system.health")["status"]

    def write_until_refused(self):
        """Has control write more than there is room for; how that is refused."""
        labels = {f"l{i}": "x" * 200 for i in range(16)}
        for i in range(400):
            try:
                session = self.client.call("session.create", template="minimal", labels=labels)
                self.client.call("session.remove", session=session["id"])
            except RpcError as e:
                return e
        raise AssertionError("never refused")

    def test_full_disk(self):
        live = self.create(sized="s", plain="p")
        self.run_in(live, "echo before >/plain/file")
        self.client.call("session.stop", session=self.create(sized="spare")["id"])
        pids = [self.host.process.pid, self.host.control_pid()]
        self.disk.fill()
        self.addCleanup(lambda: self.disk.empty(missing_ok=True))
        # Who has room keeps it; who has none is told.
        self.assertIn("done", self.run_in(live, "dd if=/dev/zero of=/sized/file bs=64k count=64 conv=fsync 2>&1 && echo done"))
        self.assertIn("No space left", self.run_in(live, "dd if=/dev/zero of=/plain/more bs=64k count=1 conv=fsync 2>&1"))
        self.assertEqual(self.run_in(live, "cat /plain/file").strip(), "before")
        for place, name in (("sized", "s2"), ("plain", "p2")):
            error = self.refuses(self.create, **{place: name})
            self.assertEqual((error.kind, error.data["errno"]), ("failed", "ENOSPC"), error)
        error = self.write_until_refused()
        self.assertEqual((error.kind, error.data["step"], error.data["errno"]), ("failed", "registry", "ENOSPC"), error)
        # From then on nothing is begun.
        error = self.refuses(self.client.call, "session.create", template="minimal", id="refused")
        self.assertEqual((error.kind, error.data["step"], error.data["retry_after_ms"]), ("failed", "registry", 1000), error)
        self.assertEqual(self.refuses(self.client.call, "session.get", session="refused").kind, "not_found")
        self.assertEqual(self.health(), "degraded")
        self.look_at(live, pids)
        # Control starts, each time with a little to write, until not even that can be written.
        for _ in range(3):
            os.kill(self.host.control_pid(), signal.SIGKILL)
            self.host.wait_for_api()
            self.client = self.host.client()
            self.look_at(live)
        # What is removed makes room.
        self.client.call("volume.remove", volume="spare")
        self.client.call("session.remove", session=live["id"])
        self.disk.empty()
        self.all_is_well()

    def look_at(self, live, pids=None):
        self.assertEqual(self.run_in(live, "cat /plain/file").strip(), "before")
        if pids:
            self.assertEqual([self.host.process.pid, self.host.control_pid()], pids)

    def all_is_well(self):
        wait_until(lambda: self.health() == "ok", what="written")
        session = self.create(sized="well", plain="good")
        self.assertEqual(self.run_in(session, "echo fine >/plain/file; echo fine >/sized/file; cat /*/file").split(), ["fine"] * 2)
        self.restart()
        self.assertEqual({v["name"] for v in self.client.call("volume.list")["volumes"]} & {"well", "good"}, {"well", "good"})
        wait_until(lambda: self.client.call("session.get", session=session["id"])["state"] == "ended", what="ended")

    def test_full_run_directory(self):
        """What sessions have there already they keep; output that there is no room for is counted, and ends nobody."""
        flood = f"i=0; while [ $i -lt 3000 ]; do echo {'x' * 60}; i=$((i+1)); done; echo spoke"
        loop = f"while :; do if [ -e /tmp/go ]; then {flood}; rm /tmp/go; fi; sleep 0.02; done"
        talker = self.client.call("session.create", template="minimal", command=["/bin/sh", "-c", loop])

        def talk():
            self.client.call("exec.run", session=talker["id"], command=["/bin/sh", "-c", "touch /tmp/go; while [ -e /tmp/go ]; do sleep 0.02; done"])

        filler = self.host.run_dir / "filler"
        self.addCleanup(filler.unlink, True)
        with open(filler, "wb", buffering=0) as file, self.assertRaises(OSError):
            while True:
                file.write(bytes(4096))
        error = self.refuses(self.client.call, "session.create", template="minimal")
        self.assertEqual((error.kind, error.data["step"], error.data["errno"]), ("failed", "plan", "ENOSPC"), error)
        talk()
        self.assertEqual(self.run_in(talker, "echo lives").strip(), "lives")
        self.client.call("session.pause", session=talker["id"])
        self.client.call("session.resume", session=talker["id"])
        filler.unlink()
        talk()

        def spoke(page={"next": 0, "more": True}):
            while page["more"]:
                page = self.client.call("session.logs", session=talker["id"], since=page["next"])
            return "spoke" in json.dumps(page)

        wait_until(spoke, what="output")
        self.assertEqual(self.client.call("session.get", session=talker["id"])["state"], "ready")
        self.client.call("session.create", template="minimal")

    def immutable(self, on, *paths):
        subprocess.run(["chattr", "+i" if on else "-i", *(self.host.state_dir / p for p in paths)], check=True)

    def test_state_that_cannot_be_written(self):
        live = self.create(sized="s", plain="p")
        self.run_in(live, "echo before >/plain/file")
        self.client.call("session.stop", session=self.create(plain="spare")["id"])
        pids = [self.host.process.pid, self.host.control_pid()]
        closed = ["volumes", "removed"]
        self.addCleanup(lambda: closed and self.immutable(False, *closed))
        self.immutable(True, *closed)
        for place in ("sized", "plain"):
            error = self.refuses(self.create, **{place: f"new-{place}"})
            self.assertEqual((error.kind, error.data["step"], error.data["errno"]), ("failed", "rootfs", "EPERM"), error)
        error = self.refuses(self.client.call, "volume.remove", volume="spare")
        self.assertEqual((error.kind, error.data["step"], error.data["errno"]), ("failed", "volume", "EPERM"), error)
        files = [f"control/registry.db{end}" for end in ("", "-wal")]
        self.immutable(True, *files)
        closed += files
        error = self.write_until_refused()
        self.assertEqual((error.kind, error.data["step"], error.data["errno"]), ("failed", "registry", "EPERM"), error)
        self.assertEqual(self.health(), "degraded")
        self.look_at(live, pids)
        self.client.call("session.stop", session=live["id"])
        self.immutable(False, *closed)
        closed.clear()
        self.all_is_well()

    def test_starting_on_a_disk_that_is_read_only(self):
        live = self.client.call("session.create", template="minimal")
        self.host.stop()
        self.addCleanup(self.disk.remount, "rw")
        self.disk.remount("ro")
        self.host.start(wait=False)
        self.assertNotEqual(self.host.process.wait(30), 0)
        self.assertIn("Read-only file system", self.host.log().splitlines()[-1])
        self.disk.remount("rw")
        self.host.start()
        self.client = self.host.client()
        self.assertEqual(self.run_in(live, "echo lives").strip(), "lives")


if __name__ == "__main__":
    unittest.main()
