# SPDX-License-Identifier: Apache-2.0
"""Sessions from creation to gone, over the public API, with the minimal template."""

import hashlib
import ipaddress
import time
import unittest

from carrel_host import Host, RpcError, footprint, own_network, snapshot, wait_until, waited


def setUpModule():
    own_network()


class Sessions(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        deaf = {**Host.template(None, "minimal"), "readiness": {"tcp": {"port": 4000}, "interval_ms": 20, "timeout_seconds": 1},
                "command": ["/bin/busybox", "sh", "-c", "echo waiting for godot; exec busybox sleep 100"]}
        cls.host = Host(config={"max_sessions": 256}, templates={"deaf": deaf}).start()
        cls.client = cls.host.client()

    @classmethod
    def tearDownClass(cls):
        cls.host.close()

    def tearDown(self):
        for session in self.client.call("session.list")["sessions"]:
            try:
                self.client.call("session.remove", session=session["id"])
            except RpcError as e:
                self.assertEqual(e.kind, "not_found", e)  # it ended by itself meanwhile, with a creator who left

    def expect(self, kind, method, **params):
        with self.assertRaises(RpcError) as caught:
            self.client.call(method, **params)
        self.assertEqual(caught.exception.kind, kind, caught.exception)
        return caught.exception

    def wait_for_output(self, session, text):
        wait_until(lambda: any(text in e["text"] for e in self.client.call("session.logs", session=session)["entries"]),
                   what=f"{text!r} from {session}")

    # ---- the usual course

    def test_life_of_a_session(self):
        empty = snapshot(self.host)
        session = self.client.call("session.create", template="minimal", id="one", owner="a@example.com",
                                   labels={"purpose": "test"})
        self.assertEqual(session["state"], "ready")
        self.assertEqual(session["id"], "one")
        self.assertEqual(session["owner"], "a@example.com")
        self.assertEqual(session["owner_hash"], hashlib.sha256(b"a@example.com").hexdigest()[:16])
        self.assertRegex(session["created_at"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        self.assertIsNone(session["end"])
        self.assertTrue(session["limits"]["pids"]["value"] > 0)
        self.assertIn("enforced", session["limits"]["pids"])
        self.assertEqual(self.client.call("session.get", session="one")["id"], "one")
        self.assertEqual([s["id"] for s in self.client.call("session.list", owner="a@example.com")["sessions"]], ["one"])
        stats = self.client.call("session.stats", session="one")
        self.assertIn("memory", stats)
        stopped = self.client.call("session.stop", session="one")
        self.assertEqual(stopped["state"], "ended")
        self.assertEqual(stopped["end"]["reason"], "stopped")
        self.client.call("session.remove", session="one")
        self.expect("not_found", "session.get", session="one")
        # The number of others changes: networks are made ahead in the background.
        slot = (int(ipaddress.ip_address(session["address"])) - int(ipaddress.ip_address("100.96.0.0"))) // 2
        wait_until(lambda: f"cr{slot}" not in footprint(self.host)["links"], what="its link is gone")
        left = snapshot(self.host)
        for kind in ("processes", "cgroups", "mounts", "run_files"):
            self.assertEqual(left[kind], empty[kind], kind)

    def test_the_same_id_twice(self):
        self.client.call("session.create", template="minimal", id="twice")
        self.expect("already_exists", "session.create", template="minimal", id="twice")

    def test_an_id_can_be_used_again(self):
        for _ in range(5):
            self.client.call("session.create", template="minimal", id="again")
            self.client.call("session.remove", session="again")

    def test_a_workload_that_exits(self):
        session = self.client.call("session.create", template="minimal", id="brief", wait="created",
                                   command=["/bin/busybox", "sh", "-c", "echo out; echo err >&2; exit 3"])
        self.assertIn(session["state"], ("starting", "ready", "stopping", "ended"))
        ended = self.client.call("session.wait", session="brief", **{"for": "ended"}, timeout_seconds=10)
        self.assertEqual(ended["end"]["reason"], "exited")
        self.assertEqual(ended["end"]["exit_code"], 3)
        entries = self.client.call("session.logs", session="brief")["entries"]
        self.assertEqual({(e["stream"], e["text"].strip()) for e in entries}, {("stdout", "out"), ("stderr", "err")})

    def test_workloads_that_end_at_once(self):
        """However close its end is to the report that it runs: it was created, and has exited with its code."""
        for code in range(100):
            session = self.client.call("session.create", template="minimal", wait="created",
                                       command=["/bin/busybox", "false" if code % 2 else "true"])
            ended = self.client.call("session.wait", session=session["id"], **{"for": "ended"}, timeout_seconds=10)
            self.assertEqual((ended["end"]["reason"], ended["end"]["exit_code"]), ("exited", code % 2), ended)

    def test_a_workload_that_is_killed(self):
        self.client.call("session.create", template="minimal", id="killed",
                         command=["/bin/busybox", "sh", "-c", "sleep 0.2; kill -9 $$"])
        ended = self.client.call("session.wait", session="killed", **{"for": "ended"}, timeout_seconds=10)
        self.assertEqual(ended["end"]["reason"], "exited")
        self.assertEqual(ended["end"]["signal"], 9)

    def test_environment_and_secrets(self):
        session = self.client.call("session.create", template="minimal", id="env", env={"PLAIN": "seen"},
                                   secrets={"HIDDEN": "s3cr3t-value"},
                                   command=["/bin/busybox", "sh", "-c", "env; sleep 100"])
        self.assertNotIn("s3cr3t-value", str(session))
        entries = wait_until(lambda: self.client.call("session.logs", session="env")["entries"], what="output")
        text = "".join(e["text"] for e in entries)
        self.assertIn("PLAIN=seen", text)
        self.assertIn("HIDDEN=s3cr3t-value", text)
        self.assertNotIn("s3cr3t-value", str(self.client.call("session.list")))
        found = [p for p in self.host.state_dir.glob("control/*") if b"s3cr3t-value" in p.read_bytes()]
        self.assertEqual(found, [])
        self.assertNotIn("s3cr3t-value", self.host.log())

    def test_deadline(self):
        begun = time.monotonic()
        self.client.call("session.create", template="minimal", id="short", ttl_seconds=waited(1))
        ended = self.client.call("session.wait", session="short", **{"for": "ended"}, timeout_seconds=10)
        self.assertEqual(ended["end"]["reason"], "expired")
        self.assertGreaterEqual(time.monotonic() - begun, 1.0)

    def test_stop_asks_before_it_kills(self):
        self.client.call("session.create", template="minimal", id="polite",
                         command=["/bin/busybox", "sh", "-c", "trap 'echo bye; exit 0' TERM; echo armed; while :; do sleep 0.05; done"])
        self.wait_for_output("polite", "armed")
        ended = self.client.call("session.stop", session="polite", grace_seconds=5)
        self.assertEqual(ended["end"]["reason"], "stopped")
        self.assertIn("bye", "".join(e["text"] for e in self.client.call("session.logs", session="polite")["entries"]))

    def test_stop_kills_after_the_grace(self):
        self.client.call("session.create", template="minimal", id="stubborn",
                         command=["/bin/busybox", "sh", "-c", "trap '' TERM; echo armed; while :; do sleep 1; done"])
        self.wait_for_output("stubborn", "armed")
        begun = time.monotonic()
        ended = self.client.call("session.stop", session="stubborn", grace_seconds=1)
        self.assertEqual(ended["end"]["reason"], "stopped")
        self.assertGreaterEqual(time.monotonic() - begun, 1.0)

    def test_pause_and_resume(self):
        self.client.call("session.create", template="minimal", id="paused",
                         command=["/bin/busybox", "sh", "-c", "while :; do echo x; sleep 0.02; done"])
        self.assertEqual(self.client.call("session.pause", session="paused")["state"], "paused")
        first = len(self.client.call("session.logs", session="paused")["entries"])
        time.sleep(0.3)  # the thing tested is that nothing happens meanwhile
        self.assertLessEqual(len(self.client.call("session.logs", session="paused")["entries"]), first + 1)
        self.assertEqual(self.client.call("session.resume", session="paused")["state"], "ready")
        wait_until(lambda: len(self.client.call("session.logs", session="paused")["entries"]) > first + 2, what="output")

    def test_events(self):
        watcher = self.host.client()
        watcher.call("events.subscribe")
        self.client.call("session.create", template="minimal", id="watched")
        self.client.call("session.remove", session="watched")
        kinds = []
        while "session.ended" not in kinds:
            event = watcher.receive()["params"]
            if event.get("session") == "watched":
                kinds.append(event["kind"])
        self.assertEqual(kinds[0], "session.created")
        self.assertIn("session.ready", kinds)

    # ---- bad input

    def test_unknown_template(self):
        self.assertIn("nonesuch", str(self.expect("not_found", "session.create", template="nonesuch")))

    def test_bad_ids(self):
        for bad in ("", "-a", "A", "a/b", "../x", "a" * 64, "a b", "ä"):
            with self.assertRaises(RpcError) as caught:
                self.client.call("session.create", template="minimal", id=bad)
            self.assertEqual(caught.exception.code, -32602)
            self.assertEqual(caught.exception.data["path"], "id")

    def test_unknown_members_are_refused(self):
        with self.assertRaises(RpcError) as caught:
            self.client.call("session.create", template="minimal", nonsense=1)
        self.assertEqual(caught.exception.code, -32602)
        self.assertIn("nonsense", caught.exception.data["path"])

    def test_limits_past_the_ceiling(self):
        ceiling = self.host.template("minimal")["limits"]["memory_bytes"]
        error = self.expect("limit", "session.create", template="minimal", limits={"memory_bytes": ceiling * 2})
        self.assertIn("memory_bytes", str(error))
        self.assertIn(str(ceiling), str(error))

    def test_limits_of_a_session_that_runs(self):
        ceiling = self.host.template("minimal")["limits"]["pids"]
        self.client.call("session.create", template="minimal", id="shrinking", limits={"pids": 30})
        session = self.client.call("session.set_limits", session="shrinking", limits={"pids": 20, "cpus": 0.5})
        self.assertEqual((session["limits"]["pids"]["value"], session["limits"]["cpus"]["value"]), (20, 0.5))
        error = self.expect("limit", "session.set_limits", session="shrinking", limits={"pids": ceiling + 1})
        self.assertEqual(error.data["path"], "limits.pids")
        self.host.carrel("limit", "shrinking", "--limit", f"pids={ceiling}")
        self.assertEqual(self.client.call("session.get", session="shrinking")["limits"]["pids"]["value"], ceiling)
        self.assertGreater(self.client.call("session.stats", session="shrinking")["network"]["sent_packets"], -1)
        self.client.call("session.remove", session="shrinking")
        self.expect("not_found", "session.set_limits", session="shrinking", limits={"pids": 20})

    def test_a_missing_program(self):
        error = self.expect("failed", "session.create", template="minimal", id="nobinary", command=["/bin/nonesuch"])
        self.assertEqual(error.data["step"], "exec")
        self.assertEqual(error.data["errno"], "ENOENT")
        self.assertIn("/bin/nonesuch", str(error))
        self.assertEqual(self.client.call("session.list", state="ready")["sessions"], [])

    def test_a_port_that_is_never_opened(self):
        with self.assertRaises(RpcError) as caught:
            self.client.call("session.create", template="deaf", id="deaf")
        self.assertIn(caught.exception.kind, ("not_ready", "timeout", "failed"))
        self.assertIn("waiting for godot", caught.exception.data["log_tail"])
        wait_until(lambda: not any("/deaf" in p for p in footprint(self.host)["cgroups"]), what="nothing left")

    def test_a_workload_that_dies_before_it_is_ready(self):
        error = self.expect("failed", "session.create", template="deaf", id="dies",
                            command=["/bin/busybox", "sh", "-c", "echo last words; exit 7"])
        self.assertIn("last words", error.data["log_tail"])

    def test_a_client_that_vanishes(self):
        for _ in range(20):
            gone = self.host.client()
            gone.send("session.create", template="minimal")
            gone.close()
        wait_until(lambda: not self.client.call("session.list")["sessions"], what="what it asked for is gone")
        self.assertEqual(self.client.call("system.health")["status"], "ok")

    def test_idempotency_key(self):
        one = self.client.call("session.create", template="minimal", idempotency_key="k1", labels={"a": "1"})
        two = self.client.call("session.create", template="minimal", idempotency_key="k1", labels={"a": "1"})
        self.assertEqual(one["id"], two["id"])
        self.expect("conflict", "session.create", template="minimal", idempotency_key="k1", labels={"a": "2"})

    # ---- many

    def test_two_hundred_sessions(self):
        before = snapshot(self.host)
        links = len(before["links"])
        clients = [self.host.client() for _ in range(32)]
        waiting = {}
        for i in range(200):
            client = clients[i % 32]
            if client in waiting:
                client.answer(waiting[client])
            waiting[client] = client.send("session.create", template="minimal", id=f"many-{i}")
        for client, request in waiting.items():
            client.answer(request)
        ids, cursor = [], None
        while True:
            page = self.client.call("session.list", limit=50, **({"cursor": cursor} if cursor else {}))
            ids += [s["id"] for s in page["sessions"]]
            cursor = page.get("next_cursor")
            if not cursor:
                break
        self.assertEqual(len(set(ids)), 200)
        waiting.clear()
        for i in range(200):
            client = clients[i % 32]
            if client in waiting:
                client.answer(waiting[client])
            waiting[client] = client.send("session.remove", session=f"many-{i}")
        for client, request in waiting.items():
            client.answer(request)
        wait_until(lambda: len(footprint(self.host)["links"]) <= links + 16, what="links are gone")
        after = snapshot(self.host)
        for kind in ("processes", "cgroups", "mounts", "run_files"):
            self.assertEqual(after[kind], before[kind], kind)


if __name__ == "__main__":
    unittest.main()
