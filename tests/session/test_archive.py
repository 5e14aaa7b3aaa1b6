# SPDX-License-Identifier: Apache-2.0
"""Trees as tar: out and in again unchanged, with GNU tar and Python at the other end, and archives that are attacks."""

import io
import os
import pathlib
import random
import socket
import struct
import subprocess
import tarfile
import tempfile
import unittest

import file_client
from carrel_host import RpcError, own_network
from file_client import USER, expect

LONG = "/".join(["d" * 90] * 4)
TREE = f"""
cd /tmp/t; umask 022
mkdir -p tree/a/b tree/empty tree/locked '{LONG}'; mv {'d' * 90} tree/
echo text > tree/a/text; : > tree/a/none; head -c 300000 /dev/urandom > tree/a/b/large
ln -s ../a/text tree/link; ln -s /etc/passwd tree/absolute; ln tree/a/text tree/hard
ln -s {'t' * 150}/{'u' * 150} tree/long-link
echo x > tree/{LONG}/{'n' * 200}; mkfifo -m 620 tree/fifo
chmod 4711 tree/a/none; chmod 500 tree/locked; chmod 1777 tree/empty
touch -d @1234567890 tree/a/text; touch -h -d @1111111111 tree/link; touch -d @1000000001 tree/empty
"""
# What there is of a tree, in words.
SHOW = r"""cd %s && find . ! -type l -exec stat -c '%%n %%f %%u %%g %%Y' {} + | sort;
cd %s && find . -type l -exec stat -c '%%N %%Y' {} + | sort; find . -type f -exec sha256sum {} + | sort"""


def setUpModule():
    own_network()


def archive(*members, end=True):
    """A tar of (name or TarInfo, contents)."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, data in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(data) if info.isreg() else 0
            tar.addfile(info, io.BytesIO(data))
        offset = tar.offset
    return file.getvalue() if end else file.getvalue()[:offset]


def entry(name, kind, target="", mode=0o644):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, target, mode
    return info


class Archive(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        file_client.start(cls)
        holder = tempfile.TemporaryDirectory(prefix="carrel-archive-")
        cls.addClassCleanup(holder.cleanup)
        cls.directory = pathlib.Path(holder.name)

    def setUp(self):
        self.call, self.sh = self.files.call, self.files.sh
        self.sh("chmod -R u+rwx /tmp/t 2>/dev/null; rm -rf /tmp/t; mkdir /tmp/t")

    def get(self, path, **params):
        return self.files.download("archive.get", path, **params)

    def put(self, data, path="/tmp/t/out", **params):
        return self.files.upload("archive.put", path, data, create_parents=True, **params)

    def show(self, path, **params):
        return self.sh(SHOW % (path, path), **params)

    def refuse(self, kind, errno, *members, **params):
        return expect(self, kind, errno, self.put, archive(*members), **params)

    # ---- whole trees

    def test_there_and_back(self):
        self.sh(TREE)
        data, outcome = self.get("/tmp/t/tree")
        self.assertEqual((outcome["size_bytes"], outcome["skipped"]), (len(data), 0))
        self.assertEqual(len(data) % 10240, 0)
        put = self.put(data)
        self.assertEqual((put["entries"], put["skipped"]), (outcome["entries"], 0))
        self.assertEqual(self.show("/tmp/t/out"), self.show("/tmp/t/tree"))
        # The same tree is the same archive, and hard links are links again.
        self.assertEqual(self.get("/tmp/t/tree")[0], data)
        self.assertEqual(self.sh("stat -c %h /tmp/t/out/hard"), "2\n")
        # Times have all their digits.
        self.assertEqual(self.sh("stat -c %y /tmp/t/out/a/b/large"), self.sh("stat -c %y /tmp/t/tree/a/b/large"))

    def test_owners(self):
        """Root's archives keep them; who is not root gets files of his own."""
        self.sh("cd /tmp/t; mkdir tree; echo 1 > tree/a; echo 2 > tree/b; ln -s a tree/l; chown 7:8 tree/a tree/l;"
                "chown 65000:9 tree/b tree; chmod 4755 tree/b", user="0")
        data, _ = self.get("/tmp/t/tree", user="0")
        self.put(data, user="root")
        self.assertEqual(self.show("/tmp/t/out", user="0"), self.show("/tmp/t/tree", user="0"))
        self.put(data, path="/tmp/t/mine")
        self.assertEqual(self.sh("stat -c '%u:%g %f' /tmp/t/mine/b"), f"{USER}:{USER} 89ed\n")
        self.sh("rm -rf /tmp/t/*", user="0")

    def test_holes(self):
        self.sh("cd /tmp/t; mkdir tree; truncate -s 3000000000 tree/hole; truncate -s 500000000 tree/data;"
                "echo begin | dd of=tree/data conv=notrunc 2>/dev/null;"
                "echo middle | dd of=tree/data bs=1 seek=300000000 conv=notrunc 2>/dev/null; echo end >> tree/data")
        data, _ = self.get("/tmp/t/tree")
        self.assertLess(len(data), 100000)
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            member = tar.getmember("data")
            self.assertEqual((member.size, member.issparse()), (500000004, True))
            with tar.extractfile(member) as file:
                file.seek(300000000)
                self.assertEqual(file.read(7), b"middle\n")
        self.put(data)
        self.assertEqual(self.sh("cd /tmp/t; sha256sum < out/data"), self.sh("cd /tmp/t; sha256sum < tree/data"))
        self.assertEqual(self.sh("stat -c %s /tmp/t/out/hole"), "3000000000\n")
        self.assertLess(int(self.sh("du -sk /tmp/t/out").split()[0]), 1000)

    def test_one_file(self):
        self.sh("echo text > /tmp/t/f; ln -s f /tmp/t/l")
        for path, name in (("/tmp/t/f", "f"), ("/tmp/t/l", "l")):
            with tarfile.open(fileobj=io.BytesIO(self.get(path)[0])) as tar:
                self.assertEqual([(m.name, m.size) for m in tar], [(name, 5)])

    def test_what_is_left_out(self):
        """Sockets and devices, and it is said."""
        self.sh("mkdir /tmp/t/tree; echo > /tmp/t/tree/f")
        self.sh("cd /tmp/t/tree; timeout 1 nc -l -U s 2>/dev/null & sleep 0.3; kill $!", check=False)
        outcome = self.get("/dev/pts", user="0")[1]
        self.assertEqual((outcome["skipped"], outcome["first_skipped"]), (1, "ptmx"))
        put = self.put(archive(("a", b"1"), (entry("null", tarfile.CHRTYPE), b""), ("b", b"2")))
        self.assertEqual((put["entries"], put["skipped"], put["first_skipped"]), (2, 1, "null"))

    # ---- other programs

    def test_gnu_tar_reads_ours(self):
        self.sh(TREE)
        data, _ = self.get("/tmp/t/tree")
        target = self.directory / "gnu"
        target.mkdir()
        subprocess.run(["tar", "-xpf", "-", "--numeric-owner", "-C", str(target)], input=data, check=True)
        shown = subprocess.run(["sh", "-c", SHOW % (target, target)], capture_output=True, text=True, check=True,
                               env={**os.environ, "LC_ALL": "C"}).stdout
        self.assertEqual(sorted(shown.replace("'", "").splitlines()),
                         sorted(self.show("/tmp/t/tree").replace("'", "").splitlines()))

    def test_gnu_tar_writes_for_us(self):
        self.sh(TREE)
        source = self.directory / "source"
        source.mkdir()
        subprocess.run(["tar", "-xpf", "-", "-C", str(source)], input=self.get("/tmp/t/tree")[0], check=True)
        with open(source / "sparse", "wb") as file:
            for at in range(40):
                file.seek(at * 1000000)
                file.write(b"x")
        for form in ("gnu", "posix", "oldgnu"):
            with self.subTest(form=form):
                data = subprocess.run(["tar", "-cSf", "-", f"--format={form}", "-C", str(source), "."],
                                      capture_output=True, check=True).stdout
                self.sh("chmod -R u+rwx /tmp/t/out 2>/dev/null; rm -rf /tmp/t/out", check=False)
                self.put(data)
                size = self.sh("cd /tmp/t/out; stat -c %s sparse; du -k sparse").split()
                self.assertEqual(size[0], "39000001")
                self.assertLess(int(size[1]), 4000)
                self.sh("rm /tmp/t/out/sparse")
                # The directory's own time has changed by that.
                self.assertEqual(self.show("/tmp/t/out").splitlines()[1:], self.show("/tmp/t/tree").splitlines()[1:])
        # Ids and modes that the oldest format has no room for are no error, either.
        data = subprocess.run(["tar", "-cf", "-", "--format=v7", "-C", str(source), "a"], capture_output=True,
                              check=True).stdout
        self.assertGreater(self.put(data, path="/tmp/t/v7")["entries"], 3)

    def test_python_both_ways(self):
        self.sh(TREE)
        with tarfile.open(fileobj=io.BytesIO(self.get("/tmp/t/tree")[0])) as tar:
            members = {m.name: m for m in tar}
            self.assertEqual(members["link"].linkname, "../a/text")
            self.assertEqual(members["hard"].islnk(), True)
            self.assertEqual(tar.extractfile("a/text").read(), b"text\n")
            self.assertIn(f"{LONG}/{'n' * 200}", members)
            self.assertEqual(oct(members["a/none"].mode), "0o4711")
        for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
            file = io.BytesIO()
            with tarfile.open(fileobj=file, mode="w", format=form) as tar:
                info = tarfile.TarInfo("d" * 90 + "/" + "f" * 90)
                info.size, info.mtime = 3, 1234567890
                tar.addfile(info, io.BytesIO(b"abc"))
            self.put(file.getvalue(), path=f"/tmp/t/python{form}")
            self.assertEqual(self.sh(f"cd /tmp/t/python{form}/d*; cat f*; stat -c %Y f*"), "abc1234567890\n")

    # ---- attacks

    def test_names_that_lead_out(self):
        for name in ("../evil", "a/../../evil", "/tmp/evil", "/", "..", "a/.."):
            with self.subTest(name=name):
                error = self.refuse("failed", "EXDEV", (name, b"x"))
                self.assertEqual(error.data["step"], "archive")
        self.sh("test ! -e /tmp/evil")

    def test_links_that_lead_out(self):
        """An archive's own link, one that was there, one that leads further down: none is followed."""
        self.sh("mkdir -p /tmp/t/victim /tmp/t/out/real; ln -s /tmp/t/victim /tmp/t/out/there; ln -s real /tmp/t/out/in")
        for target in ("/tmp/t/victim", "../victim"):
            self.refuse("failed", "ELOOP", (entry("l", tarfile.SYMTYPE, target), b""), ("l/evil", b"x"))
        self.refuse("failed", "ELOOP", ("there/evil", b"x"))
        self.refuse("failed", "ELOOP", ("in/evil", b"x"))
        self.refuse("failed", "ELOOP", (entry("there/d", tarfile.DIRTYPE), b""))
        for target in ("../victim/f", "/etc/passwd", "there/f"):
            with self.assertRaises(RpcError):
                self.put(archive((entry("h", tarfile.LNKTYPE, target), b"")))
        self.assertEqual(self.sh("ls -A /tmp/t/victim"), "")
        # A file takes the place of a link, not of what that leads to.
        self.put(archive(("there", b"file")))
        self.assertEqual(self.sh("test ! -h /tmp/t/out/there; cat /tmp/t/out/there"), "file")

    def test_what_is_in_the_way(self):
        self.sh("mkdir -p /tmp/t/out/d/e; echo old > /tmp/t/out/f")
        self.refuse("failed", "EISDIR", ("d", b"x"))
        self.refuse("failed", "ENOTDIR", (entry("f", tarfile.DIRTYPE), b""))
        self.put(archive((entry("f", tarfile.SYMTYPE, "d"), b""), (entry("d", tarfile.DIRTYPE, mode=0o700), b"")))
        self.assertEqual(self.sh("readlink /tmp/t/out/f; stat -c %a /tmp/t/out/d"), "d\n700\n")
        self.put(archive(("g", b"1"), (entry("h", tarfile.LNKTYPE, "g"), b""), (entry("g", tarfile.LNKTYPE, "./g"), b"")))
        self.assertEqual(self.sh("cat /tmp/t/out/g; stat -c %h /tmp/t/out/g"), "12\n")

    def test_archives_that_end_early(self):
        """A tar says where it ends; without that nobody knows that it is whole. Nothing stays that is half."""
        data = archive(("a", b"x" * 1000), ("b", b"y" * 100000))
        for n in (0, 100, 512, 1000, 2048, 50000):
            with self.subTest(n=n):
                self.sh("rm -rf /tmp/t/out")
                expect(self, "failed", "EPIPE", self.put, data[:n])
                self.assertNotIn("b", self.sh("ls -A /tmp/t/out"))
        expect(self, "failed", "EPIPE", self.put, archive(("a", b"x"), end=False))

    def test_rubbish(self):
        rng = random.Random(4)
        expect(self, "failed", "EBADMSG", self.put, b"x" * 10240)
        good = archive(*((f"d{i}/f{i}", bytes(i * 50)) for i in range(20)))
        for _ in range(60):
            data = bytearray(good)
            for _ in range(rng.randrange(1, 6)):
                data[rng.randrange(len(data))] = rng.randrange(256)
            try:
                self.put(bytes(data), path="/tmp/t/rubbish")
            except RpcError as error:
                self.assertIn(error.kind, ("failed", "denied", "limit", "not_found"), error)
        self.call("file.stat", path="/")

    def test_bounds(self):
        self.assertEqual(self.put(archive(("/".join(["d"] * 100), b"x")))["entries"], 1)
        self.assertEqual(self.get("/tmp/t/out")[1]["entries"], 101)
        self.refuse("limit", "E2BIG", ("/".join(["d"] * 101), b"x"))
        error = expect(self, "limit", "E2BIG", self.get, "/tmp")
        self.assertIn("100 deep", str(error))
        self.refuse("limit", "ENAMETOOLONG", ("n" * 300, b""))
        self.refuse("limit", "ENAMETOOLONG", ("/".join(["n" * 200] * 30), b""))

    def test_reader_goes_away(self):
        self.sh("truncate -s 50000000 /tmp/t/f; dd if=/dev/zero of=/tmp/t/g bs=1M count=50 2>/dev/null")
        opened = self.call("archive.get", path="/tmp/t")
        self.files.attach(opened).close()
        expect(self, "failed", "EPIPE", self.files.wait, opened)


if __name__ == "__main__":
    unittest.main()
