# SPDX-License-Identifier: Apache-2.0
"""File calls while a process of the session swaps symlinks, directories, files, FIFOs and devices under their paths.

Whatever a call comes to, it is a file of the session's, or an error, and at once: nothing of the host is read or
written, nothing hangs. Archives, lists and removals do not even leave the tree that they were asked for.

CARREL_RACE_CALLS is the number of calls (100,000).
"""

import base64
import collections
import io
import os
import tarfile
import threading
import time
import unittest

import file_client
from carrel_host import RpcError, compile_static, own_network, scaled

CALLS = int(os.environ.get("CARREL_RACE_CALLS", "100000"))
TREES = max(CALLS // 400, 25)
IN_FLIGHT = 16
CANARY = "of the host\n"


def setUpModule():
    own_network()


class Race(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        file_client.start(cls)
        # A directory of the host that everybody may read and write, by every name that it could have from inside.
        cls.canary = cls.host.dir / "canary"
        cls.canary.mkdir()
        cls.canary.chmod(0o777)
        (cls.canary / "secret").write_text(CANARY)
        (cls.canary / "secret").chmod(0o666)
        cls.ways = [f"{prefix}{cls.canary}" for prefix in (
            "", "/proc/1/root", "/proc/self/root", "/proc/1/cwd", "/proc/self/cwd/../../..", "../../../../../..")]
        program = compile_static("racer.c", cls.host.dir)
        cls.files.call("file.write", path="/tmp/racer", mode="0755", encoding="base64",
                       content=base64.b64encode(program.read_bytes()).decode())

    def race(self, *pairs):
        """Has PAIRS exchanged in the session until the test ends."""
        client = file_client.Files(self.host)

        def run():
            try:
                client.call("exec.run", command=["/tmp/racer", *(name for pair in pairs for name in pair)])
            except (RpcError, OSError, ValueError):
                pass  # the connection was closed: so is the racer

        thread = threading.Thread(target=run)
        thread.start()

        def stop():
            self.files.sh("killall -9 racer", check=False)
            thread.join()

        self.addCleanup(stop)

    def unchanged(self):
        self.assertEqual([p.name for p in self.canary.iterdir()], ["secret"])
        self.assertEqual((self.canary / "secret").read_text(), CANARY)

    def test_calls(self):
        sh = self.files.sh
        sh("mkdir /tmp/race; cd /tmp/race; mkdir real; echo inside > real/secret; echo inside > file; mkfifo fifo")
        pairs = []
        for i, way in enumerate(self.ways):
            sh(f"cd /tmp/race; cp -r real d{i}; ln -s {way} l{i}; cp file f{i}; ln -s {way}/secret m{i}")
            pairs += [(f"/tmp/race/d{i}", f"/tmp/race/l{i}"), (f"/tmp/race/f{i}", f"/tmp/race/m{i}")]
        sh("cd /tmp/race; cp file g; ln -s /dev/ptmx ptmx; cp file h; ln -s fifo to-fifo; ln -s loop loop; cp file k")
        self.race(*pairs, ("/tmp/race/g", "/tmp/race/fifo"), ("/tmp/race/h", "/tmp/race/ptmx"),
                  ("/tmp/race/k", "/tmp/race/loop"), ("/tmp/race/real", "/tmp/race/to-fifo"))
        n = len(self.ways)
        kinds = []
        for i in range(n):
            kinds += [("file.read", {"path": f"/tmp/race/d{i}/secret"}), ("file.read", {"path": f"/tmp/race/f{i}"}),
                      ("file.write", {"path": f"/tmp/race/d{i}/new{i}", "content": "x"}),
                      ("file.write", {"path": f"/tmp/race/d{i}/x/y", "content": "x", "create_parents": True}),
                      ("file.move", {"path": f"/tmp/race/d{i}/new{i}", "to": f"/tmp/race/d{(i + 1) % n}/moved"}),
                      ("file.delete", {"path": f"/tmp/race/d{i}/moved"}), ("file.mkdir", {"path": f"/tmp/race/d{i}/made"}),
                      ("file.stat", {"path": f"/tmp/race/f{i}", "follow": True}),
                      ("file.list", {"path": f"/tmp/race/d{i}", "recursive": True})]
        kinds += [("file.read", {"path": f"/tmp/race/{name}"}) for name in ("g", "h", "k", "fifo", "ptmx", "real/secret")]
        client, outcomes, waiting = self.files.client, collections.Counter(), {}
        begun = time.monotonic()
        for i in range(CALLS + IN_FLIGHT):
            if i < CALLS:
                method, params = kinds[i % len(kinds)]
                waiting[client.send(method, session="one", **params)] = method
            if i < IN_FLIGHT:
                continue
            message = client.receive()
            method = waiting.pop(message["id"])
            if "error" in message:
                data = message["error"]["data"]
                outcomes[method, data["kind"]] += 1
                self.assertIn(data["kind"], ("not_found", "failed", "denied", "already_exists"), message)
                self.assertIn("errno", data, message)
            else:
                outcomes[method, "done"] += 1
                if method == "file.read":
                    self.assertIn(message["result"]["content"], ("inside\n", "x"), message)
        seconds = time.monotonic() - begun
        print(f"{CALLS} calls in {seconds:.1f} s", flush=True)
        # The race was one: most calls were seen to come to both.
        for method in ("file.read", "file.write", "file.list"):
            self.assertGreater(outcomes[method, "done"], 0, outcomes)
            self.assertGreater(sum(n for (m, kind), n in outcomes.items() if m == method and kind != "done"), 0, outcomes)
        self.unchanged()

    def test_trees(self):
        """A directory below the tree is a link to another one half of the time."""
        sh = self.files.sh
        sh("mkdir -p /tmp/trees/victim/deep /tmp/trees/put/sub /tmp/trees/get/sub; cd /tmp/trees; echo victim > victim/v;"
           "echo victim > victim/deep/w; ln -s /tmp/trees/victim put.link; ln -s /tmp/trees/victim get.link;"
           "ln -s /tmp/trees/victim gone.link; echo inside > get/sub/f")
        self.race(("/tmp/trees/put/sub", "/tmp/trees/put.link"), ("/tmp/trees/get/sub", "/tmp/trees/get.link"),
                  ("/tmp/trees/gone/sub", "/tmp/trees/gone.link"))
        before = sh("cd /tmp/trees/victim; find . | sort; cat v deep/w; stat -c '%f %Y' . deep v deep/w")
        tar = io.BytesIO()
        with tarfile.open(fileobj=tar, mode="w") as file:
            for name in ("sub/x", "sub/y/z"):
                info = tarfile.TarInfo(name)
                info.size = 4
                file.addfile(info, io.BytesIO(b"evil"))
            link = tarfile.TarInfo("sub/v")
            link.type, link.linkname = tarfile.LNKTYPE, "sub/x"
            file.addfile(link)
            directory = tarfile.TarInfo("sub/deep")
            directory.type, directory.mode = tarfile.DIRTYPE, 0o777
            file.addfile(directory)
        one = tar.getvalue()[:1024] + bytes(1024)  # "sub/x" alone
        outcomes = collections.Counter()

        def count(name, function, *args, **params):
            begun = time.monotonic()
            try:
                result = function(*args, **params)
                outcomes[name, "done"] += 1
                return result
            except RpcError as error:
                self.assertIn(error.kind, ("failed", "not_found", "already_exists"), error)
                outcomes[name, "error"] += 1
                return None
            finally:
                self.assertLess(time.monotonic() - begun, scaled(20))

        for _ in range(TREES):
            count("put", self.files.upload, "archive.put", "/tmp/trees/put", tar.getvalue())
            count("put one", self.files.upload, "archive.put", "/tmp/trees/put", one)
            got = count("get", self.files.download, "archive.get", "/tmp/trees/get")
            if got:
                with tarfile.open(fileobj=io.BytesIO(got[0])) as file:
                    self.assertLessEqual({m.name for m in file}, {".", "sub", "sub/f"})
            listed = count("list", self.files.call, "file.list", path="/tmp/trees/get", recursive=True)
            if listed:
                self.assertLessEqual({e["path"] for e in listed["entries"]}, {"sub", "sub/f"})
            count("mkdir", self.files.call, "file.mkdir", path="/tmp/trees/gone/sub", create_parents=True)
            count("delete", self.files.call, "file.delete", path="/tmp/trees/gone", recursive=True)
        print(dict(outcomes), flush=True)
        self.assertGreater(outcomes["put one", "done"], 0)
        self.assertGreater(outcomes["put one", "error"], 0)
        after = sh("cd /tmp/trees/victim; find . | sort; cat v deep/w; stat -c '%f %Y' . deep v deep/w")
        self.assertEqual(after, before)


if __name__ == "__main__":
    unittest.main()
