# SPDX-License-Identifier: Apache-2.0
"""Pools: sessions made ahead, frozen, and claimed in a moment by whoever asks for nothing special."""

import json
import os
import pathlib
import signal
import statistics
import time
import unittest
import urllib.request

from carrel_host import Host, RpcError, footprint, own_network, scaled, wait_until


def setUpModule():
    own_network()


class Base(unittest.TestCase):
    config, images, size, template = {}, ("minimal",), 2, "minimal"

    def setUp(self):
        self.host = Host(config={"pools": [{"template": self.template, "size": self.size}], **self.config}, images=self.images)
        self.host.start()
        self.addCleanup(self.host.close)
        self.client = self.host.client()

    def pool(self, template=None):
        return self.client.call("pool.get", template=template or self.template)["pools"][0]

    def filled(self, size=None):
        return wait_until(lambda: self.pool()["ready"] == (self.size if size is None else size) and self.pool(), 30, "pool filled")

    def create(self, **params):
        return self.client.call("session.create", template=self.template, **params)

    def frozen(self):
        return sorted(p.parent.name for p in self.cgroups() if "frozen 1" in p.read_text())

    def cgroups(self):
        return [p for path in footprint(self.host)["cgroups"] if (p := pathlib.Path(path) / "cgroup.events").exists()
                and p.parent.parent.name == "sessions"]


class Pools(Base):
    def test_a_claim(self):
        last = self.client.call("events.subscribe")["last"]
        self.filled()
        self.assertEqual(self.client.call("session.list")["sessions"], [])
        self.assertEqual(self.client.call("system.health")["active_sessions"], 0)
        members = self.frozen()
        self.assertEqual(len(members), 2)
        session = self.create(id="mine", owner="ann", labels={"a": "b"}, ttl_seconds=100, idle_timeout_seconds=50)
        self.assertEqual((session["id"], session["owner"], session["state"], session["labels"]), ("mine", "ann", "ready", {"a": "b"}))
        self.assertIn(session["hostname"], members)
        self.assertIsNotNone(session["expires_at"])
        self.assertIsNotNone(session["idle_deadline"])
        self.assertEqual([s["step"] for s in session["timeline"]], ["ready"])
        out = self.client.call("exec.run", session="mine", command=["hostname"])["stdout"].strip()
        self.assertEqual(out, session["hostname"])
        self.filled()
        self.assertEqual(self.pool()["claims"], 1)
        kinds = [n["params"]["kind"] for n in self.client.notifications if n["params"]["seq"] > last]
        self.assertEqual(kinds, ["session.created", "session.starting", "session.ready"])
        self.client.call("session.pause", session="mine")
        self.client.call("session.resume", session="mine")
        self.client.call("session.stop", session="mine")
        self.assertEqual(self.client.call("session.get", session="mine")["end"]["reason"], "stopped")
        self.client.call("session.remove", session="mine")
        wait_until(lambda: len(self.cgroups()) == 2, what="only the pool is left")

    def test_who_gets_none(self):
        self.filled()
        for special in ({"command": ["/bin/busybox", "sleep", "100"]}, {"env": {"A": "1"}}, {"secrets": {"A": "1"}},
                        {"limits": {"pids": 8}}):
            with self.subTest(special):
                session = self.create(**special)
                self.assertEqual(session["hostname"], session["id"])
        self.assertEqual((self.pool()["claims"], self.pool()["misses"]), (0, 0))
        for plain in ({"env": {}}, {"limits": {}}, {"egress": "none"}):
            with self.subTest(plain):
                self.filled()
                self.assertNotEqual(self.create(**plain)["hostname"], "")
        self.assertEqual(self.pool()["claims"], 3)

    def test_ensure_claims(self):
        self.filled()
        made = self.client.call("session.ensure", template="minimal", isolation="per-owner", owner="ann")
        again = self.client.call("session.ensure", template="minimal", isolation="per-owner", owner="ann")
        self.assertEqual((made["created"], again["created"], again["id"]), (True, False, made["id"]))
        self.assertEqual(self.pool()["claims"], 1)

    def test_more_than_there_are(self):
        self.filled()
        clients = [self.host.client() for _ in range(6)]
        requests = [c.send("session.create", template="minimal", id=f"s{i}") for i, c in enumerate(clients)]
        sessions = [c.answer(r) for c, r in zip(clients, requests)]
        self.assertEqual({s["state"] for s in sessions}, {"ready"})
        self.assertEqual(len({s["address"] for s in sessions}), 6)
        self.filled()

    def test_size_is_changed_and_kept(self):
        self.filled()
        self.assertEqual(self.client.call("pool.set", template="minimal", size=3)["size"], 3)
        self.filled(3)
        self.client.call("pool.set", template="minimal", size=1)
        self.filled(1)
        wait_until(lambda: len(self.cgroups()) == 1, what="one is left")
        self.host.stop()
        self.host.start()
        self.client = self.host.client()
        self.assertEqual(self.filled(1)["size"], 1)
        with self.assertRaises(RpcError) as caught:
            self.client.call("pool.set", template="none", size=1)
        self.assertEqual((caught.exception.kind, caught.exception.data["path"]), ("not_found", "template"))

    def test_from_the_command_line(self):
        self.filled()
        self.create(env={})
        self.filled()
        self.assertEqual([line.split() for line in self.host.carrel("pool", "list").stdout.splitlines()],
                         [["TEMPLATE", "WANTED", "READY", "STARTING", "CLAIMS", "MISSES"], ["minimal", "2", "2", "0", "1", "0"]])
        self.assertEqual(json.loads(self.host.carrel("pool", "list", "--json", "minimal").stdout), [self.pool()])
        resized = json.loads(self.host.carrel("pool", "resize", "minimal", "1", "--json").stdout)
        self.assertEqual((resized["template"], resized["size"]), ("minimal", 1))
        self.filled(1)
        for words, said in ((("list", "none"), "no template none"), (("resize", "minimal", "many"), "number of sessions"),
                            (("resize", "minimal", "20000"), "size")):
            with self.subTest(words):
                result = self.host.carrel("pool", *words, check=False)
                self.assertIn(said, result.stderr)
                self.assertNotEqual(result.returncode, 0)
        self.assertEqual(self.host.carrel("complete", "2", "--", "pool", "resize", "").stdout.split(), ["browser-host", "minimal"])

    def test_a_member_that_ends_is_replaced(self):
        self.filled()
        before = set(self.frozen())
        os.kill(self.host.init_pids()[0], signal.SIGKILL)
        wait_until(lambda: len(set(self.frozen()) & before) == 1 and self.pool()["ready"] == 2, 20, "replaced")
        self.assertEqual(self.client.call("session.list")["sessions"], [])

    def test_members_outlive_both_daemons(self):
        self.filled()
        before = self.frozen()
        process, control = self.host.process, self.host.control_pid()
        process.kill()
        os.kill(control, signal.SIGKILL)
        process.wait(10)
        self.host.start()
        self.client = self.host.client()
        self.filled()
        self.assertEqual(self.frozen(), before)
        session = self.create(id="mine")
        self.assertIn(session["hostname"], before)

    def test_claimed_ones_outlive_control(self):
        self.filled()
        session = self.create(id="mine", owner="ann")
        os.kill(self.host.control_pid(), signal.SIGKILL)

        def answers():
            try:
                self.client = self.host.client()
                return self.client.call("session.get", session="mine")
            except (OSError, RpcError):
                return None

        after = wait_until(answers, what="API")
        for member in ("owner", "state", "hostname", "address", "created_at"):
            self.assertEqual(after[member], session[member])
        self.assertEqual(self.client.call("exec.run", session="mine", command=["true"])["exit_code"], 0)
        self.client.call("session.stop", session="mine")
        self.assertEqual(self.client.call("session.get", session="mine")["state"], "ended")

    def test_control_killed_at_claims(self):
        """Whenever it is killed: the claim came about, or the member is still the pool's; none is lost, none is two."""
        for round_ in range(12):
            self.filled()
            self.client.send("session.create", template="minimal", id=f"c{round_}")
            time.sleep(0.0004 * round_)
            os.kill(self.host.control_pid(), signal.SIGKILL)

            def answers():
                try:
                    self.client = self.host.client()
                    return self.client.call("system.health")
                except (OSError, RpcError):
                    return None

            wait_until(answers, 20, "API")
            self.filled()
            sessions = self.client.call("session.list")["sessions"]
            self.assertLessEqual(len(sessions), 1)
            for session in sessions:
                ready = self.client.call("session.wait", session=session["id"], **{"for": "ready"}, timeout_seconds=5)
                self.assertEqual(ready["state"], "ready")
                self.assertEqual(self.client.call("exec.run", session=session["id"], command=["true"])["exit_code"], 0)
                self.client.call("session.remove", session=session["id"])
            wait_until(lambda: len(self.cgroups()) == 2, 10, f"round {round_}: the pool and nothing else")


class Limits(Base):
    config = {"max_sessions": 5}
    size = 8

    def test_pools_leave_room(self):
        self.filled(3)
        sessions = [self.create() for _ in range(5)]
        self.assertEqual({s["state"] for s in sessions}, {"ready"})
        with self.assertRaises(RpcError) as caught:
            self.create()
        self.assertEqual(caught.exception.kind, "busy")
        self.assertEqual(self.pool()["ready"], 0)

    def test_drained(self):
        self.filled(3)
        self.client.call("system.drain", on=True)
        wait_until(lambda: self.cgroups() == [], what="no member")
        self.client.call("system.drain", on=False)
        self.filled(3)


class Failing(Base):
    def test_a_template_that_fails_is_tried_again_later(self):
        self.client.call("pool.set", template="minimal", size=0)
        self.filled(0)
        broken = self.host.template("minimal")
        self.host.stop()
        self.host.write_template("broken", {**broken, "command": ["/no/such/program"]})
        self.host.start()
        self.client = self.host.client()
        self.client.call("pool.set", template="broken", size=2)
        time.sleep(1)
        self.assertEqual(self.pool("broken")["ready"], 0)
        tries = self.host.log().count("/no/such/program")
        self.assertTrue(1 <= tries <= 3, self.host.log())


class Busy(Base):
    """Members are frozen when they have come to rest, so that what they begin with is not done in a claimer's time."""

    size = 0

    def member(self, script):
        minimal = self.host.template("minimal")
        self.host.stop()
        self.host.write_template("busy", {**minimal, "command": ["/bin/busybox", "sh", "-c", script]})
        self.host.start()
        self.client = self.host.client()
        begun = time.monotonic()
        self.client.call("pool.set", template="busy", size=1)
        wait_until(lambda: self.pool("busy")["ready"] == 1, 30, "a member")
        return time.monotonic() - begun

    def test_at_rest(self):
        # The loop takes longer than a look's time wherever this runs.
        self.member("begun=$(date +%s); until [ $(($(date +%s) - begun)) -gt 1 ]; do :; done; exec sleep infinity")
        session = self.client.call("session.create", template="busy")
        self.assertEqual(self.pool("busy")["claims"], 1)
        processes = self.client.call("exec.run", session=session["id"], command=["ps", "-o", "args"])["stdout"].split("\n")
        self.assertIn("sleep infinity", processes)

    def test_never_at_rest(self):
        took = self.member("while :; do :; done")
        self.assertGreater(took, 9.9)
        self.assertEqual(self.client.call("session.create", template="busy")["state"], "ready")
        self.assertEqual(self.pool("busy")["claims"], 1)


class Browser(Base):
    images, size, template = ("minimal", "host"), 1, "browser-host"

    def first_answer(self, name, **params):
        """Milliseconds until a browser's debugging port answers; the session is gone then."""
        begun = time.monotonic()
        session = self.create(id=name, **params)
        with urllib.request.urlopen(f"{session['cdp_url']}/json/version", timeout=30) as answer:
            self.assertIn(b"Chrome", answer.read())
        took = 1000 * (time.monotonic() - begun)
        self.client.call("session.remove", session=session["id"])
        return took

    def test_a_browser_in_a_moment(self):
        claimed, cold = [], []
        for i in range(5):
            self.filled()
            claimed.append(self.first_answer(f"claimed-{i}"))
            self.filled()
            # A pool's sessions are for those who ask for nothing special.
            cold.append(self.first_answer(f"cold-{i}", env={"LANG": "C"}))
        print(f"\n  to the first CDP answer: claimed {statistics.median(claimed):.1f} ms, cold {statistics.median(cold):.1f} ms", end=" ",
              flush=True)
        self.assertLess(statistics.median(claimed), statistics.median(cold))


if __name__ == "__main__":
    unittest.main()
