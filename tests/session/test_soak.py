# SPDX-License-Identifier: Apache-2.0
"""Sessions made, used and removed again and again: afterwards carrel and the host are what they were before.

CARREL_SOAK says how many (20,000). A thousand go before the first look, in which caches, the free lists of memory and the
tables of the registry come to their size."""

import os
import pathlib
import selectors
import sqlite3
import time
import unittest

from carrel_host import Host, own_network, rss_bytes, scaled, snapshot, wait_until

CYCLES = int(os.environ.get("CARREL_SOAK", "20000"))
WARM_UP = 1000
AT_ONCE = 16
GROWTH_BYTES = 1 << 20
STEPS = (("session.create", "id", {"template": "minimal"}), ("exec.run", "session", {"command": ["/bin/busybox", "true"]}),
         ("session.remove", "session", {}))


def setUpModule():
    own_network()


class Worker:
    """A connection on which one session after the other lives."""

    def __init__(self, client, name):
        self.client, self.name, self.step = client, name, 0

    def ask(self):
        method, member, params = STEPS[self.step]
        self.request = self.client.send(method, **{member: self.name}, **params)

    def answered(self):
        """True when that was the end of a session."""
        result = self.client.answer(self.request)
        if STEPS[self.step][0] == "exec.run":
            assert result["exit_code"] == 0, result
        self.step = (self.step + 1) % len(STEPS)
        return self.step == 0


class Soak(unittest.TestCase):
    def setUp(self):
        # Networks are made as part of a creation: how many there are ahead at some moment is no difference.
        self.host = Host(config={"audit": "none", "spare_networks": 0, "event_history": 500}).start()
        self.addCleanup(self.host.close)

    def cycle(self, n):
        """N sessions, AT_ONCE at a time."""
        selector, begun, ended = selectors.DefaultSelector(), 0, 0
        for i in range(AT_ONCE):
            worker = Worker(self.host.client(), f"soak-{i}")
            selector.register(worker.client.socket, selectors.EVENT_READ, worker)
            worker.ask()
            begun += 1
        while ended < n:
            for key, _ in selector.select(scaled(60)):
                if key.data.answered():
                    ended += 1
                    if begun == n:
                        continue
                    begun += 1
                key.data.ask()
        for key in list(selector.get_map().values()):
            key.data.client.close()
            self.host.clients.remove(key.data.client)
        selector.close()

    def rows(self):
        """Of each table of the registry, read from a copy: control has the file for itself."""
        copy = self.host.dir / "copy"
        copy.mkdir()
        for path in (self.host.state_dir / "control").iterdir():
            if path.is_file():
                (copy / path.name).write_bytes(path.read_bytes())
        database = sqlite3.connect(next(p for p in copy.iterdir() if p.suffix == ".db"))
        tables = [name for name, in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found = {f"rows of {name}": database.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables}
        database.close()
        for path in copy.iterdir():
            path.unlink()
        copy.rmdir()
        return found

    def counts(self):
        daemons = {"carreld": self.host.process.pid, "control": self.host.control_pid()}
        found = {kind: len(things) for kind, things in snapshot(self.host).items()}
        found["children of carreld"] = len(pathlib.Path(f"/proc/{self.host.process.pid}/task/{self.host.process.pid}/children")
                                           .read_text().split())
        found["files of the state"] = sum(1 for p in self.host.state_dir.rglob("*") if "rootfs" not in p.parts)
        for name, pid in daemons.items():
            found[f"descriptors of {name}"] = len(os.listdir(f"/proc/{pid}/fd"))
        return {**found, **self.rows()}

    def memory(self):
        return {"carreld": rss_bytes(self.host.process.pid), "control": rss_bytes(self.host.control_pid())}

    def test_nothing_is_left(self):
        self.cycle(WARM_UP)
        wait_until(lambda: not snapshot(self.host)["links"], 30, "links are gone")
        before, memory, begun = self.counts(), self.memory(), time.monotonic()
        self.cycle(CYCLES)
        rate = CYCLES / (time.monotonic() - begun)
        after = {}

        def same():
            after.update(self.counts())
            return after == before

        try:
            wait_until(same, 30, "the same as before")
        except AssertionError:
            self.assertEqual(after, before)
        grown = {name: size - memory[name] for name, size in self.memory().items()}
        print(f"\n  {CYCLES} cycles, {rate:.0f} a second; bytes grown: {grown}", end=" ", flush=True)
        for name, size in grown.items():
            self.assertLessEqual(size, GROWTH_BYTES, name)


if __name__ == "__main__":
    unittest.main()
