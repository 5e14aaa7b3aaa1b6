# SPDX-License-Identifier: Apache-2.0
"""carrel cp, ls and cat against a real session: files and trees both ways, hostile trees, large files, what fails."""

import contextlib
import hashlib
import io
import json
import os
import pathlib
import pty
import re
import shutil
import signal
import stat
import subprocess
import tarfile
import tempfile
import time
import unittest

from carrel_host import ROOT, TEST_DIR, Host, own_network, scaled, wait_until

CARREL = ROOT / "usr/bin/carrel"
GIB = 1 << 30
TEMPLATE = {"kind": "exec", "image": "minimal", "command": ["/bin/busybox", "sleep", "infinity"],
            "env": {"PATH": "/bin", "HOME": "/tmp"}, "user": {"uid": 1000, "gid": 1000}, "workdir": "/tmp",
            "capabilities": [], "seccomp": "minimal",
            "limits": {"memory_bytes": 3 << 30, "swap_bytes": 0, "cpus": 2.0, "pids": 512, "root_bytes": 3 << 30,
                       "root_inodes": 131072, "shm_bytes": 1048576, "open_files": 1024},
            "network": {"egress": "none"}, "stop": {"signal": "SIGKILL", "grace_seconds": 1}}


def setUpModule():
    own_network()


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_to_the_end(master):
    """What was written to a terminal that nobody has open any more; it comes in pieces."""
    said = b""
    with contextlib.suppress(OSError):  # EIO: there is no more
        while piece := os.read(master, 65536):
            said += piece
    return said.decode()


def make_large(path, size):
    """A file of SIZE bytes that no shift or repetition leaves as it is."""
    block = os.urandom(1 << 20)
    with open(path, "wb") as file:
        for number in range(size >> 20):
            file.write(number.to_bytes(8, "little") + block[8:])


class Files(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.host = Host(templates={"exec": TEMPLATE}).start()
        cls.addClassCleanup(cls.host.close)
        cls.client = cls.host.client()
        cls.client.call("session.create", template="exec", id="desk")

    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="carrel-files-", dir=TEST_DIR))
        self.addCleanup(shutil.rmtree, self.dir)
        self.sh("rm -rf /tmp/* /tmp/.[!.]*")

    def carrel(self, *arguments, expect=0, **kwargs):
        kwargs = {"text": True, **kwargs}
        result = subprocess.run([CARREL, *map(str, arguments)], cwd=self.dir, capture_output=True, timeout=scaled(120),
                                env={**os.environ, "CARREL_SOCKET": str(self.host.socket_path), "LC_ALL": "C.UTF-8"}, **kwargs)
        self.assertEqual(result.returncode, expect, f"{arguments}\n{result.stdout}\n{result.stderr}")
        return result

    def sh(self, script):
        result = self.client.call("exec.run", session="desk", command=["sh", "-c", script])
        self.assertEqual(result["exit_code"], 0, result)
        return result["stdout"]

    # ---- files

    def test_a_file_there_and_back(self):
        (self.dir / "a b").write_bytes(b"hello\0\xff\n")
        (self.dir / "a b").chmod(0o750)
        self.carrel("cp", "a b", "desk:/tmp/new")
        self.assertEqual(self.sh("stat -c '%a %s' /tmp/new"), "750 8\n")
        self.carrel("cp", "desk:/tmp/new", "back")
        self.assertEqual((self.dir / "back").read_bytes(), b"hello\0\xff\n")
        self.assertEqual(stat.S_IMODE((self.dir / "back").stat().st_mode), 0o750)
        self.assertEqual(sorted(p.name for p in self.dir.iterdir()), ["a b", "back"])

    def test_names_of_targets(self):
        (self.dir / "one").write_text("1")
        (self.dir / "two").write_text("2")
        (self.dir / "x:y").write_text("colon")
        self.carrel("cp", "one", "two", "desk:tmp")
        self.carrel("cp", "./x:y", "desk:/tmp/")
        self.assertEqual(self.sh("cat /tmp/one /tmp/two /tmp/x:y"), "12colon")
        (self.dir / "into").mkdir()
        self.carrel("cp", "desk:/tmp/one", "desk:/tmp/two", "into")
        self.assertEqual((self.dir / "into/two").read_text(), "2")
        said = self.carrel("cp", "one", "two", "desk:/tmp/one", expect=1).stderr
        self.assertIn("several", said)
        self.carrel("cp", "desk:/tmp/one", "desk:/tmp/two", "one", expect=1)
        self.assertEqual(json.loads(self.carrel("cp", "one", "desk:/tmp", "--json").stdout),
                         [{"from": "one", "bytes": 1, "skipped": 0}])
        for wrong in (("one", "two"), ("desk:/tmp/one", "desk:/tmp/two"), ("one",), ("", "desk:/tmp")):
            self.carrel("cp", *wrong, expect=2)

    def test_a_file_is_replaced_as_a_whole(self):
        (self.dir / "f").write_text("old")
        kept = open(self.dir / "f")
        self.sh("echo new > /tmp/f")
        self.carrel("cp", "desk:/tmp/f", "f")
        self.assertEqual(((self.dir / "f").read_text(), kept.read()), ("new\n", "old"))
        kept.close()
        self.carrel("cp", "desk:/tmp/f", "/dev/null")
        self.assertTrue(stat.S_ISCHR(os.stat("/dev/null").st_mode))

    def test_what_fails(self):
        (self.dir / "f").write_text("x")
        self.assertIn("ENOENT", self.carrel("cp", "nothing", "desk:/tmp", expect=1).stderr)
        self.assertIn("there is no /tmp/none", self.carrel("cp", "desk:/tmp/none", "x", expect=1).stderr)
        self.assertIn("there is no session", self.carrel("cp", "f", "none:/tmp", expect=1).stderr)
        self.assertIn("EACCES", self.carrel("cp", "f", "desk:/etc/f", expect=1).stderr)
        self.assertIn("ENOENT", self.carrel("cp", "f", "desk:/tmp/no/f", expect=1).stderr)
        self.assertIn("ENOENT", self.carrel("cp", "desk:/etc/passwd", "no/f", expect=1).stderr)
        self.sh("mkfifo /tmp/fifo")
        self.carrel("cp", "desk:/tmp/fifo", "x", expect=1)
        self.assertEqual([p.name for p in self.dir.iterdir()], ["f"])
        # One that does not fit leaves nothing.
        with open(self.dir / "large", "wb") as file:
            file.truncate(4 * GIB)
        said = self.carrel("cp", "large", "desk:/tmp/large", expect=1).stderr
        self.assertRegex(said, "ENOSPC|EFBIG|EDQUOT")
        self.assertEqual(self.sh("ls -A /tmp"), "fifo\n")

    def test_a_gibibyte(self):
        make_large(self.dir / "large", GIB)
        best = {}
        for _ in range(3):
            for way, words in (("in", ("large", "desk:/tmp/large")), ("out", ("desk:/tmp/large", "back"))):
                begun = time.monotonic()
                self.carrel("cp", *words)
                best[way] = min(best.get(way, 1e9), time.monotonic() - begun)
        self.assertEqual(digest(self.dir / "back"), digest(self.dir / "large"))
        rates = {way: GIB / seconds / 1e9 for way, seconds in best.items()}
        print(f"1 GiB by carrel cp: in {rates['in']:.2f} GB/s, out {rates['out']:.2f} GB/s", flush=True)
        # A machine that is busy with other things is slower; a copy that is read byte by byte would be much slower.
        self.assertGreater(min(rates.values()), 0.2 / scaled(1))

    def started(self, *words):
        """A copy that is stopped in its middle, by its own output or else by a signal."""
        process = subprocess.Popen([CARREL, *words], cwd=self.dir, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   env={**os.environ, "CARREL_SOCKET": str(self.host.socket_path), "LC_ALL": "C.UTF-8"})
        if words[0] == "cat":
            process.stdout.read(1000)
        else:
            wait_until(lambda: self.moved(process.pid) > 1 << 20, what="the middle")
            process.send_signal(signal.SIGSTOP)
        self.assertLess(self.moved(process.pid), 2 * GIB)
        return process

    def moved(self, pid):
        """How far it has come in a file of this test's."""
        places = [0]
        for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir():
            try:
                if os.readlink(fd).startswith(f"{self.dir}/"):
                    places.append(int(re.search(r"pos:\s+(\d+)", pathlib.Path(f"/proc/{pid}/fdinfo/{fd.name}").read_text())[1]))
            except FileNotFoundError:
                pass
        return max(places)

    def test_control_is_killed_in_the_middle(self):
        """What was cut short is an error, either way, and leaves the files as they were."""
        self.sh("echo old > /tmp/kept; truncate -s 2G /tmp/big")
        (self.dir / "back").write_text("old")
        with open(self.dir / "large", "wb") as file:
            file.truncate(2 * GIB)
        processes = [self.started(*words) for words in (("cp", "desk:/tmp/big", "back"), ("cp", "large", "desk:/tmp/kept"),
                                                        ("cat", "desk:/tmp/big"))]
        before = self.host.control_pid()
        os.kill(before, signal.SIGKILL)
        wait_until(lambda: self.host.control_pid() not in (None, before), what="another control")
        self.host.wait_for_api()
        type(self).client = self.host.client()
        for process in processes:
            process.send_signal(signal.SIGCONT)
            _, said = process.communicate(timeout=scaled(30))
            self.assertGreater(process.returncode, 0, process.args)
            self.assertTrue(said, process.args)
        self.assertEqual(sorted(p.name for p in self.dir.iterdir()), ["back", "large"])
        self.assertEqual((self.dir / "back").read_text(), "old")
        self.assertEqual(self.sh("cat /tmp/kept; ls -A /tmp"), "old\nbig\nkept\n")

    def test_progress_is_for_terminals(self):
        make_large(self.dir / "large", 64 << 20)
        self.assertEqual(self.carrel("cp", "large", "desk:/tmp/large").stderr, "")
        os.mkfifo(self.dir / "slow")
        master, slave = pty.openpty()
        with open(self.dir / "from", "wb") as file:
            file.truncate(1 << 20)
        process = subprocess.Popen([CARREL, "cp", "slow", "desk:/tmp/slow"], cwd=self.dir, stderr=slave,
                                   env={**os.environ, "CARREL_SOCKET": str(self.host.socket_path), "TERM": "xterm"})
        os.close(slave)
        with open(self.dir / "slow", "wb", buffering=0) as fifo:
            for _ in range(16):
                fifo.write(b"x" * 4096)
                time.sleep(0.1)
        self.assertEqual(process.wait(scaled(30)), 0)
        said = read_to_the_end(master)
        os.close(master)
        self.assertRegex(said, r"slow +\d+ KiB +[\d.]+ KiB/s")
        self.assertTrue(said.endswith("\r\x1b[K"), "and it is taken away")

    # ---- trees

    def test_a_tree_there_and_back(self):
        tree = self.dir / "tree"
        (tree / "deep/er").mkdir(parents=True)
        (tree / "deep/er/file").write_text("deep")
        (tree / "program").write_text("#!/bin/sh\n")
        (tree / "program").chmod(0o755)
        (tree / "link").symlink_to("/etc/passwd")
        os.link(tree / "program", tree / "same")
        (tree / "ünï\n").write_text("name")
        os.mkfifo(tree / "fifo")
        said = self.carrel("cp", "tree", "desk:/tmp")
        self.assertIn("left out", said.stderr)
        self.assertEqual(self.sh("cat /tmp/tree/deep/er/file; readlink /tmp/tree/link; stat -c '%a %h' /tmp/tree/program"),
                         "deep/etc/passwd\n755 2\n")
        self.carrel("cp", "desk:/tmp/tree", "back")
        self.assertEqual((self.dir / "back/deep/er/file").read_text(), "deep")
        self.assertEqual((self.dir / "back/ünï\n").read_text(), "name")
        self.assertEqual(os.readlink(self.dir / "back/link"), "/etc/passwd")
        self.assertEqual((self.dir / "back/same").stat().st_ino, (self.dir / "back/program").stat().st_ino)
        # Into what is there: below it with its name, or what is in it.
        self.carrel("cp", "desk:/tmp/tree", "back")
        self.assertTrue((self.dir / "back/tree/program").is_file())
        self.carrel("cp", "tree/.", "desk:/tmp")
        self.assertEqual(self.sh("cat /tmp/deep/er/file"), "deep")

    def test_tar_by_standard_input_and_output(self):
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            info = tarfile.TarInfo("sub/file")
            info.size = 5
            tar.addfile(info, io.BytesIO(b"hello"))
        self.carrel("cp", "-", "desk:/tmp/unpacked", input=archive.getvalue(), text=False)
        self.assertEqual(self.sh("cat /tmp/unpacked/sub/file"), "hello")
        out = self.carrel("cp", "desk:/tmp/unpacked", "-", text=False).stdout
        with tarfile.open(fileobj=io.BytesIO(out)) as tar:
            self.assertEqual(tar.extractfile("sub/file").read(), b"hello")
        self.carrel("cp", "-", "desk:/tmp/bad", input=b"no tar at all" * 100, text=False, expect=1)

    def test_a_hostile_tree_stays_in_its_target(self):
        """The session changes a tree while it is copied out, again and again: links for directories and back."""
        victim = self.dir / "victim"
        victim.mkdir()
        (victim / "file").write_text("mine")
        script = (f"mkdir -p /tmp/t/d /tmp/t/e; ln -s {victim} /tmp/l; for i in $(seq 400); do echo evil > /tmp/t/d/file; "
                  "mv -T /tmp/t/d /tmp/t/e 2>/dev/null; cp -P /tmp/l /tmp/t/d; rm -rf /tmp/t/d /tmp/t/e; mkdir -p /tmp/t/d; done")
        process = subprocess.Popen([CARREL, "exec", "desk", "sh", "-c", script], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
                                   env={**os.environ, "CARREL_SOCKET": str(self.host.socket_path)})
        copies = 0
        while process.poll() is None:
            subprocess.run([CARREL, "cp", "desk:/tmp/t", "out"], cwd=self.dir, capture_output=True, timeout=scaled(60),
                           env={**os.environ, "CARREL_SOCKET": str(self.host.socket_path)})
            copies += 1
        self.assertGreater(copies, 0)
        self.assertEqual([(p.name, p.read_text()) for p in victim.iterdir()], [("file", "mine")])

    # ---- looking

    def test_ls(self):
        self.sh("mkdir /tmp/dir; printf abc > /tmp/file; chmod 4751 /tmp/file; ln -s file /tmp/link; printf x > '/tmp/\x1b[31m'")
        self.assertEqual(self.carrel("ls", "desk:/tmp").stdout, "\x1b[31m\ndir\nfile\nlink\n")
        lines = self.carrel("ls", "-l", "desk:/tmp").stdout.splitlines()
        self.assertRegex(lines[0], r"^MODE +OWNER +SIZE +MODIFIED +NAME$")
        self.assertRegex(lines[3], r"^-rwsr-x--x +1000:1000 +3 +\d{4}-\d\d-\d\dT\S+ +file$")
        self.assertRegex(lines[4], r"^lrwxrwxrwx .* link -> file$")
        self.assertIn(r"\x1b[31m", lines[1])
        self.assertEqual([e["type"] for e in json.loads(self.carrel("ls", "--json", "desk:/tmp").stdout)],
                         ["file", "directory", "file", "symlink"])
        self.assertIn("bin", self.carrel("ls", "desk").stdout.split())
        self.assertEqual(self.carrel("ls", "desk:/tmp/file").stdout, "/tmp/file\n")
        self.sh("mkdir /tmp/many; cd /tmp/many; seq 2500 | xargs touch")
        self.assertEqual(len(self.carrel("ls", "desk:/tmp/many").stdout.split()), 2500)
        self.assertIn("many/2500", self.carrel("ls", "-R", "desk:/tmp").stdout.split())
        self.assertIn("there is no /none", self.carrel("ls", "desk:/none", expect=1).stderr)
        self.carrel("ls", "/tmp", expect=2)

    def test_cat(self):
        self.sh(r"printf 'a\033[2Jb\n' > /tmp/f; printf 'z\000' > /tmp/g")
        self.assertEqual(self.carrel("cat", "desk:/tmp/f", "desk:/tmp/g", text=False).stdout, b"a\x1b[2Jb\nz\0")
        result = self.carrel("cat", "desk:/tmp/none", "desk:/tmp/g", text=False, expect=1)
        self.assertEqual(result.stdout, b"z\0")
        self.assertIn(b"ENOENT", result.stderr)
        self.assertIn("Linux", self.carrel("cat", "desk:/proc/version").stdout)

    def test_completion(self):
        self.sh("mkdir -p /tmp/direct; touch /tmp/different")

        def complete(*words):
            return self.carrel("complete", len(words) - 1, "--", *words).stdout.split("\n")[:-1]

        self.assertEqual(complete("cat", "de"), ["desk:"])
        self.assertEqual(complete("cp", "x", "desk:/tmp/di"), ["desk:/tmp/different", "desk:/tmp/direct/"])
        script = pathlib.Path(__file__).resolve().parents[2] / "packaging/completions/carrel"
        shell = (f". {script}; COMP_LINE='carrel cat desk:/tmp/dif'; COMP_POINT=${{#COMP_LINE}}; "
                 "COMP_WORDS=(carrel cat desk : /tmp/dif); COMP_CWORD=4; _carrel; printf '%s\\n' \"${COMPREPLY[@]}\"")
        said = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, env={
            **os.environ, "CARREL_SOCKET": str(self.host.socket_path), "PATH": f"{CARREL.parent}:{os.environ['PATH']}"})
        self.assertEqual(said.stdout, "/tmp/different\n", said.stderr)


if __name__ == "__main__":
    unittest.main()
