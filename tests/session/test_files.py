# SPDX-License-Identifier: Apache-2.0
"""Files of a session: looked at, read, written, by answer and by stream; and everything in there that is a trap."""

import array
import base64
import json
import os
import pathlib
import re
import signal
import socket
import statistics
import time
import unittest

import file_client
from carrel_host import RpcError, children, name_of, own_network, scaled, wait_until
from file_client import USER, expect

GIB = 1 << 30


def setUpModule():
    own_network()


def resident_kib(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"^VmRSS:\s+(\d+)", text, re.M).group(1))


def file_children(init):
    return [pid for pid in children(init) if name_of(pid) == "carrel-files"]


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        file_client.start(cls)
        cls.init = cls.host.init_pids()[0]

    def setUp(self):
        self.call, self.sh = self.files.call, self.files.sh
        self.sh("rm -rf /tmp/t; mkdir /tmp/t")

    def expect(self, kind, errno, method, **params):
        return expect(self, kind, errno, self.call, method, **params)

    def names(self, directory="/tmp/t"):
        return sorted(self.sh(f"ls -A {directory}").split())


class Looking(Case):
    def test_stat(self):
        self.sh("cd /tmp/t; printf 12345 > f; chmod 4750 f; touch -d @1000000000 f; ln -s f l; mkfifo p")
        self.assertEqual(self.call("file.stat", path="/tmp/t/f"),
                         {"type": "file", "size_bytes": 5, "mode": "4750", "uid": USER, "gid": USER,
                          "modified_at": "2001-09-09T01:46:40.000Z", "links": 1})
        link = self.call("file.stat", path="/tmp/t/l")
        self.assertEqual((link["type"], link["target"]), ("symlink", "f"))
        self.assertEqual(self.call("file.stat", path="/tmp/t/l", follow=True)["size_bytes"], 5)
        self.assertEqual(self.call("file.stat", path="/tmp/t/p")["type"], "fifo")
        self.assertEqual(self.call("file.stat", path="/dev/null")["type"], "char-device")
        self.assertEqual(self.call("file.stat", path="/")["type"], "directory")
        self.expect("not_found", "ENOENT", "file.stat", path="/tmp/t/none")
        self.expect("failed", "ENOTDIR", "file.stat", path="/tmp/t/f/x")

    def test_list_in_pages(self):
        self.sh("cd /tmp/t; i=0; while [ $i -lt 2500 ]; do : > f$i; i=$((i+1)); done; mkdir d; : > d/x")
        found, cursor, pages = [], None, 0
        while True:
            page = self.call("file.list", path="/tmp/t", **({"cursor": cursor} if cursor else {}))
            found += [entry["path"] for entry in page["entries"]]
            pages += 1
            cursor = page["next_cursor"]
            if cursor is None:
                break
        self.assertEqual(found, sorted(["d", *(f"f{i}" for i in range(2500))]))
        self.assertEqual(pages, 3)

    def test_list_recursive(self):
        self.sh("cd /tmp/t; mkdir -p a/b c; ln -s / a/b/root; : > a/b/f; : > c/g; mkdir secret; chmod 0 secret")
        entries = self.call("file.list", path="/tmp/t", recursive=True)["entries"]
        self.assertEqual([e["path"] for e in entries], ["a", "a/b", "a/b/f", "a/b/root", "c", "c/g", "secret"])
        self.assertEqual(entries[3]["target"], "/")
        self.assertEqual(entries[-1]["unread"], "EACCES")
        page = self.call("file.list", path="/tmp/t", recursive=True,
                         cursor=base64.b64encode(b"a/b/f").decode())["entries"]
        self.assertEqual([e["path"] for e in page], ["a/b/root", "c", "c/g", "secret"])
        # A cursor into what is no longer there goes on where it would have been.
        page = self.call("file.list", path="/tmp/t", recursive=True,
                         cursor=base64.b64encode(b"b/gone").decode())["entries"]
        self.assertEqual([e["path"] for e in page], ["c", "c/g", "secret"])
        self.sh("chmod 700 /tmp/t/secret")

    def test_list_refusals(self):
        self.expect("invalid_params", None, "file.list", path="/tmp/t", cursor="????")
        self.expect("failed", "ENOTDIR", "file.list", path="/etc/passwd")
        self.sh("cd /tmp/t; i=0; while [ $i -lt 102 ]; do mkdir d; cd d; i=$((i+1)); done")
        error = self.expect("limit", "E2BIG", "file.list", path="/tmp/t", recursive=True)
        self.assertIn("100 deep", str(error))

    def test_names_that_are_no_text(self):
        self.sh("cd /tmp/t; touch \"$(printf 'a\\377b')\"")
        entry = self.call("file.list", path="/tmp/t")["entries"][0]
        self.assertEqual((entry["path"], entry["path_is_exact"]), ("a\ufffdb", False))


class Reading(Case):
    def test_text_and_bytes(self):
        self.sh("cd /tmp/t; printf 'h\\303\\244' > text; printf 'a\\000\\377' > bytes; : > empty")
        text = self.call("file.read", path="/tmp/t/text")
        self.assertEqual((text["content"], text["encoding"], text["length"]), ("hä", "utf-8", 3))
        data = self.call("file.read", path="/tmp/t/bytes")
        self.assertEqual((base64.b64decode(data["content"]), data["encoding"]), (b"a\0\xff", "base64"))
        self.assertEqual(self.call("file.read", path="/tmp/t/empty")["content"], "")
        self.assertEqual(self.call("file.read", path="/tmp/t/text", encoding="base64")["content"], "aMOk")

    def test_parts(self):
        self.sh("printf 0123456789 > /tmp/t/f")
        self.assertEqual(self.call("file.read", path="/tmp/t/f", offset=3, length=4)["content"], "3456")
        self.assertEqual(self.call("file.read", path="/tmp/t/f", offset=8)["content"], "89")
        self.assertEqual(self.call("file.read", path="/tmp/t/f", offset=100)["content"], "")
        self.assertEqual(self.files.download("file.read", "/tmp/t/f", offset=3, length=4, stream=True)[0], b"3456")

    def test_files_of_proc(self):
        """They say that they are empty."""
        self.assertIn("Linux version", self.call("file.read", path="/proc/version")["content"])
        data, outcome = self.files.download("file.read", "/proc/version", stream=True)
        self.assertIn(b"Linux version", data)
        self.assertEqual(outcome["size_bytes"], len(data))

    def test_whose_rights(self):
        self.sh("cd /tmp/t; echo mine > f; chmod 600 f", user="0:0")
        self.expect("denied", "EACCES", "file.read", path="/tmp/t/f")
        self.assertEqual(self.call("file.read", path="/tmp/t/f", user="root")["content"], "mine\n")
        error = self.expect("failed", "ENOENT", "file.read", path="/tmp/t/f", user="nonesuch")
        self.assertEqual(error.data["step"], "user")

    def test_traps(self):
        """No host file, no wait, no effect on whoever is at the other end."""
        self.sh("cd /tmp/t; mkfifo fifo; ln -s /proc/1/root/etc/passwd root; ln -s loop loop; mkdir d")
        for path, kind, errno in (
                ("/tmp/t/fifo", "failed", "EOPNOTSUPP"), ("/dev/null", "failed", "EOPNOTSUPP"),
                ("/dev/ptmx", "failed", "EOPNOTSUPP"), ("/tmp/t/d", "failed", "EISDIR"),
                ("/tmp/t/root", "denied", "EACCES"), ("/tmp/t/loop", "failed", "ELOOP"),
                ("/proc/self/exe", "failed", "ELOOP"), ("/proc/self/root/etc/passwd", "failed", "ELOOP"),
                ("/proc/self/cwd/etc/passwd", "failed", "ELOOP"), ("/proc/self/fd/0", "failed", "ELOOP"),
                ("/proc/1/root/etc/passwd", "denied", "EACCES"), ("/tmp/t/none", "not_found", "ENOENT")):
            with self.subTest(path=path):
                expect(self, kind, errno, self.call, "file.read", path=path)
        self.assertEqual(self.call("file.read", path="/../../../etc/passwd")["content"][:5], "root:")

    def test_refusals(self):
        for path in ("etc/passwd", "x"):
            error = self.expect("invalid_params", None, "file.read", path=path)
            self.assertEqual(error.data["path"], "path")
        self.expect("invalid_params", None, "file.read", path="/" + "x" * 4095)
        self.expect("limit", "ENAMETOOLONG", "file.read", path="/" + "x" * 300)
        self.sh("truncate -s 2000000 /tmp/t/f")
        error = self.expect("limit", None, "file.read", path="/tmp/t/f", stream=False)
        self.assertIn("1048576", str(error))


class Writing(Case):
    def test_new_and_replaced(self):
        made = self.call("file.write", path="/tmp/t/a/b/f", content="hä", create_parents=True)
        self.assertEqual((made["size_bytes"], made["mode"], made["uid"]), (3, "0644", USER))
        self.sh("chmod 751 /tmp/t/a/b/f; ln /tmp/t/a/b/f /tmp/t/old")
        made = self.call("file.write", path="/tmp/t/a/b/f", content="/wAB", encoding="base64")
        self.assertEqual((made["size_bytes"], made["mode"]), (3, "0751"))
        # Another file under the name: who had the old one open still has it whole.
        self.assertEqual(self.sh("cat /tmp/t/old; od -An -tx1 /tmp/t/a/b/f"), "hä ff 00 01\n")
        self.assertEqual(self.call("file.write", path="/tmp/t/f", content="", mode="6777")["mode"], "6777")
        self.assertEqual(self.names(), ["a", "f", "old"])

    def test_links_are_replaced(self):
        self.sh("cd /tmp/t; echo keep > target; ln -s target l")
        self.call("file.write", path="/tmp/t/l", content="new")
        self.assertEqual(self.sh("cd /tmp/t; cat target l; test ! -h l"), "keep\nnew")

    def test_failures_leave_nothing(self):
        self.sh("mkdir -p /tmp/t/d/e")
        self.expect("not_found", "ENOENT", "file.write", path="/tmp/t/none/f", content="")
        self.expect("failed", "EISDIR", "file.write", path="/tmp/t/d", content="")
        self.expect("denied", "EACCES", "file.write", path="/etc/passwd", content="")
        self.expect("denied", "EACCES", "file.write", path="/etc/new/file", content="", create_parents=True)
        self.expect("invalid_params", "EINVAL", "file.write", path="/tmp/t/..", content="")
        self.expect("invalid_params", "EINVAL", "file.write", path="/", content="")
        self.expect("failed", "ENOTDIR", "file.write", path="/etc/passwd/x", content="", create_parents=True)
        for mode in ("8", "10000", "-1", "rwx"):
            self.assertEqual(self.expect("invalid_params", None, "file.write", path="/tmp/t/f", content="",
                                         mode=mode).data["path"], "mode")
        for content in ("a", "====", "aa=a", "YQ=", "YR=="):
            self.assertEqual(self.expect("invalid_params", None, "file.write", path="/tmp/t/f", content=content,
                                         encoding="base64").data["path"], "content")
        self.expect("invalid_params", None, "file.write", path="/tmp/t/f")
        self.expect("invalid_params", None, "file.write", path="/tmp/t/f", content="", stream=True)
        self.assertEqual(self.names(), ["d"])

    def test_full_disk(self):
        self.sh("mkdir /dev/shm/d")
        with self.assertRaises(RpcError) as caught:
            self.files.upload("file.write", "/dev/shm/d/f", b"x" * (4 << 20), stream=True, size_bytes=4 << 20)
        self.assertEqual((caught.exception.kind, caught.exception.data["errno"]), ("limit", "ENOSPC"))
        self.assertEqual(self.names("/dev/shm/d"), [])
        self.sh("rmdir /dev/shm/d")

    def test_mkdir_move_delete(self):
        self.assertEqual(self.call("file.mkdir", path="/tmp/t/d", mode="2750")["mode"], "2750")
        self.expect("already_exists", "EEXIST", "file.mkdir", path="/tmp/t/d")
        self.expect("not_found", "ENOENT", "file.mkdir", path="/tmp/t/x/y")
        self.call("file.mkdir", path="/tmp/t/x/y/z", create_parents=True)
        self.call("file.mkdir", path="/tmp/t/x/y/z", create_parents=True)
        self.sh("echo 1 > /tmp/t/a; echo 2 > /tmp/t/b")
        self.expect("already_exists", "EEXIST", "file.move", path="/tmp/t/a", to="/tmp/t/b", replace=False)
        self.assertEqual(self.call("file.move", path="/tmp/t/a", to="/tmp/t/b")["size_bytes"], 2)
        self.expect("not_found", "ENOENT", "file.move", path="/tmp/t/a", to="/tmp/t/b")
        self.assertEqual(self.sh("cat /tmp/t/b"), "1\n")
        error = self.expect("not_found", "ENOENT", "file.move", path="/tmp/t/b", to="/tmp/t/none/b")
        self.assertIn("/tmp/t/none/b", str(error))
        self.assertEqual(self.expect("invalid_params", "EINVAL", "file.move", path="/tmp/t/x",
                                     to="/tmp/t/x/y/x").data["path"], "path")
        self.expect("failed", "ENOTEMPTY", "file.delete", path="/tmp/t/x")
        self.sh("ln -s / /tmp/t/x/root; i=0; while [ $i -lt 9000 ]; do : > /tmp/t/x/y/f$i; i=$((i+1)); done")
        self.assertEqual(self.call("file.delete", path="/tmp/t/x", recursive=True)["removed"], 9004)
        self.call("file.delete", path="/tmp/t/b")
        self.call("file.delete", path="/tmp/t/d")
        self.assertEqual(self.names(), [])
        self.assertTrue(self.sh("ls /etc/passwd"))


class Streams(Case):
    def test_a_gibibyte_in_and_out(self):
        """Identical, quick, and neither control nor init holds any of it."""
        control = self.host.control_pid()
        before = resident_kib(control), resident_kib(self.init)
        block = os.urandom(64 << 20)
        opened = self.call("file.write", path="/tmp/t/big", stream=True, size_bytes=GIB)
        with self.files.attach(opened) as stream:
            begun = time.monotonic()
            for _ in range(GIB // len(block)):
                stream.sendall(block)
            stream.shutdown(socket.SHUT_WR)
            self.assertEqual(self.files.wait(opened)["size_bytes"], GIB)
            written = GIB / (time.monotonic() - begun) / 1e9
        opened = self.call("file.read", path="/tmp/t/big")
        self.assertEqual(opened["length"], GIB)
        buffer, seconds = bytearray(len(block)), 0.0
        with self.files.attach(opened) as stream:
            for _ in range(GIB // len(block)):
                at, begun = 0, time.monotonic()
                while at < len(block):
                    n = stream.recv_into(memoryview(buffer)[at:])
                    self.assertGreater(n, 0, "ends early")
                    at += n
                seconds += time.monotonic() - begun
                self.assertEqual(buffer, block)
            self.assertEqual(stream.recv(1), b"")
        self.assertEqual(self.files.wait(opened)["size_bytes"], GIB)
        print(f"1 GiB in {written:.2f} GB/s, out {GIB / seconds / 1e9:.2f} GB/s", flush=True)
        after = resident_kib(control), resident_kib(self.init)
        self.assertLess(after[0] - before[0], 2048, "control")
        self.assertLess(after[1] - before[1], 512, "init")

    def test_size_is_said_afterwards(self):
        opened = self.call("file.write", path="/tmp/t/f", stream=True)
        with self.files.attach(opened) as stream:
            stream.sendall(b"12345")
            stream.shutdown(socket.SHUT_WR)
            error = expect(self, "invalid_params", None, self.files.wait, opened)
            self.assertEqual(error.data["path"], "size_bytes")
            self.assertEqual(self.names(), [])
            self.assertEqual(self.files.wait(opened, size_bytes=5)["size_bytes"], 5)
        self.assertEqual(self.sh("cat /tmp/t/f"), "12345")
        # The outcome can be asked for again; of another transfer nobody knows.
        self.assertEqual(self.files.wait(opened)["size_bytes"], 5)
        self.expect("not_found", None, "file.wait", transfer="abc")

    def test_aborted_uploads_change_nothing(self):
        self.sh("echo old > /tmp/t/f")
        for sent, said in ((3, 5), (7, 5), (0, 5)):
            with self.subTest(sent=sent, said=said), self.assertRaises(RpcError):
                self.files.upload("file.write", "/tmp/t/f", b"x" * sent, stream=True, size_bytes=said)
        opened = self.call("file.write", path="/tmp/t/f", stream=True)
        self.files.attach(opened).close()
        with self.assertRaises(RpcError):
            self.files.wait(opened, size_bytes=5)
        self.assertEqual((self.sh("cat /tmp/t/f"), self.names()), ("old\n", ["f"]))

    def test_control_is_killed(self):
        """The stream ends, and the file stays as it was."""
        self.sh("echo old > /tmp/t/f; truncate -s 100000000 /tmp/t/big")
        writing = self.call("file.write", path="/tmp/t/f", stream=True, size_bytes=10)
        reading = self.call("file.read", path="/tmp/t/big")
        with self.files.attach(writing) as up, self.files.attach(reading) as down:
            up.sendall(b"12345")
            first = down.recv(1000)
            control = self.host.control_pid()
            os.kill(control, signal.SIGKILL)
            wait_until(lambda: self.host.control_pid() not in (None, control), what="another control")
            with down.makefile("rb") as file:
                self.assertLess(len(first) + len(file.read()), 100000000)
            self.assertEqual(up.recv(1), b"")
        self.host.wait_for_api()
        self.files.client = self.host.client()
        wait_until(lambda: not file_children(self.init), what="children of the old one are gone")
        self.assertEqual((self.sh("cat /tmp/t/f"), self.names()), ("old\n", ["big", "f"]))
        self.expect("not_found", None, "file.wait", transfer=writing["transfer"])

    def test_by_descriptor(self):
        self.sh("printf contents > /tmp/t/f")
        request = {"jsonrpc": "2.0", "id": 1, "method": "file.read",
                   "params": {"session": "one", "path": "/tmp/t/f", "stream": True, "via": "fd"}}
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(self.host.socket_path))
            client.sendall(json.dumps(request).encode() + b"\n")
            line, ancillary, _, _ = client.recvmsg(65536, socket.CMSG_SPACE(4))
        fd = array.array("i", ancillary[0][2])[0]
        with socket.socket(fileno=fd) as stream, stream.makefile("rb") as file:
            self.assertEqual(file.read(), b"contents")
        self.assertEqual(json.loads(line)["result"]["stream"], {"via": "fd"})

    def test_bounds(self):
        """Eight streams; other calls are not held up by readers that do not read."""
        self.sh("truncate -s 10000000 /tmp/t/f")
        opened = [self.call("file.read", path="/tmp/t/f") for _ in range(8)]
        streams = [self.files.attach(one) for one in opened]
        error = self.expect("limit", None, "file.read", path="/tmp/t/f")
        self.assertIn("8 streams", str(error))
        begun = time.monotonic()
        self.call("file.stat", path="/tmp/t/f")
        self.assertLess(time.monotonic() - begun, scaled(5))
        for stream in streams:
            stream.close()
        for one in opened:
            with self.assertRaises(RpcError):
                self.files.wait(one)
        self.assertEqual(len(self.files.download("file.read", "/tmp/t/f")[0]), 10000000)


class Children(Case):
    def test_what_a_call_costs(self):
        times = []
        for _ in range(500):
            begun = time.monotonic()
            self.call("file.stat", path="/etc/passwd")
            times.append(time.monotonic() - begun)
        print(f"file.stat {statistics.median(times) * 1000:.3f} ms", flush=True)
        self.assertLess(statistics.median(times), scaled(0.005))

    def test_many_at_once(self):
        ids = [self.files.client.send("file.stat", session="one", path="/etc/passwd") for _ in range(60)]
        answers = {}
        while len(answers) < len(ids):
            message = self.files.client.receive()
            answers[message["id"]] = message
        self.assertTrue(all("result" in answers[i] for i in ids))
        wait_until(lambda: len(file_children(self.init)) <= 5, what="only a few are kept")

    def test_what_they_are(self):
        """The user's, without a descriptor too many, out of his reach."""
        self.call("file.stat", path="/")
        child = file_children(self.init)[0]
        status = pathlib.Path(f"/proc/{child}/status").read_text()
        self.assertRegex(status, r"CapEff:\s+0+\n")
        self.assertRegex(status, r"Seccomp:\s+2\n")
        self.assertRegex(status, r"NoNewPrivs:\s+1\n")
        # Its channel and the root.
        self.assertEqual(len(os.listdir(f"/proc/{child}/fd")), 2)
        inside = re.search(r"^NSpid:.*\s(\d+)$", status, re.M).group(1)
        self.assertEqual(self.sh(f"cat /proc/{inside}/environ; ls /proc/{inside}/fd", check=False), "")

    def test_one_that_is_killed(self):
        """It costs the call that it was about, no other."""
        self.call("file.stat", path="/")
        self.sh("kill -STOP $(pidof carrel-files) 2>/dev/null || killall -STOP carrel-files")
        begun = time.monotonic()
        self.expect("timeout", None, "file.stat", path="/", timeout_seconds=0.3)
        self.assertLess(time.monotonic() - begun, scaled(10))
        self.assertEqual(self.call("file.stat", path="/")["type"], "directory")
        wait_until(lambda: len(file_children(self.init)) == 1, what="the stopped one is gone")

    def test_paused(self):
        self.call("session.pause")
        self.expect("invalid_state", None, "file.stat", path="/")
        self.call("session.resume")
        self.call("file.stat", path="/")


if __name__ == "__main__":
    unittest.main()
