# SPDX-License-Identifier: Apache-2.0
"""How many sessions a host takes: ceilings, waiting for room, draining, and what it says of itself."""

import os
import signal
import unittest

from carrel_host import Host, RpcError, own_network, wait_until


def setUpModule():
    own_network()


class Admission(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        template = {"kind": "minimal", "image": "minimal", "command": ["/bin/busybox", "sleep", "1000000"],
                    "seccomp": "minimal", "stop": {"signal": "SIGKILL"}, "max_sessions": 2,
                    "limits": {"memory_bytes": 64 << 20, "cpus": 1, "pids": 64, "root_bytes": 16 << 20}}
        cls.host = Host(config={"max_sessions": 4, "client_limits": {"max_sessions_per_owner": 3, "max_queued_creations": 2}},
                        templates={"rare": template}).start()
        cls.client = cls.host.client()

    @classmethod
    def tearDownClass(cls):
        cls.host.close()

    def tearDown(self):
        for session in self.client.call("session.list")["sessions"]:
            self.client.call("session.remove", session=session["id"])

    def create(self, template="minimal", **params):
        return self.client.call("session.create", template=template, **params)

    def expect(self, kind, text, method="session.create", **params):
        with self.assertRaises(RpcError) as caught:
            self.client.call(method, **params)
        self.assertEqual(caught.exception.kind, kind, caught.exception)
        self.assertIn(text, str(caught.exception))
        self.assertEqual(caught.exception.data["retryable"], kind != "limit")
        self.assertEqual("retry_after_ms" in caught.exception.data, kind != "limit")

    def test_ceilings(self):
        self.create("rare", owner="a")
        self.create("rare", owner="a")
        self.expect("busy", "template rare has 2", template="rare", owner="b")
        self.create(owner="a")
        self.expect("limit", "max_sessions_per_owner", template="minimal", owner="a")
        self.create(owner="b")
        self.expect("busy", "this host has 4", template="minimal", owner="c")

    def test_waiting_for_room(self):
        sessions = [self.create(owner=str(i))["id"] for i in range(4)]
        waiting = self.host.client()
        requests = [waiting.send("session.create", template="minimal", queue_timeout_seconds=20) for _ in range(2)]
        wait_until(lambda: self.client.call("system.capacity")["sessions"]["queued"] == 2, what="two that wait")
        self.expect("busy", "max_queued_creations", template="minimal", queue_timeout_seconds=1)
        for request, session in zip(requests, sessions):
            self.client.call("session.remove", session=session)
            self.assertEqual(waiting.answer(request)["state"], "ready")
        self.expect("busy", "queue_timeout_seconds", template="minimal", queue_timeout_seconds=0.2)

    def test_drain(self):
        self.client.call("session.ensure", template="minimal", isolation="per-owner", owner="ann")
        self.assertEqual(self.host.carrel("--json", "drain", "on").returncode, 0)
        self.expect("draining", "drained", template="minimal")
        pid = self.host.control_pid()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: self.host.control_pid() not in (None, pid), what="another control")
        type(self).client = self.host.client()
        self.expect("draining", "drained", template="minimal")
        self.assertEqual(self.client.call("system.health")["status"], "draining")
        found = self.client.call("session.ensure", template="minimal", isolation="per-owner", owner="ann")
        self.assertFalse(found["created"])
        self.assertEqual(self.client.call("system.drain", on=False), {"draining": False, "active_sessions": 1})
        self.create()
        kinds = []
        watcher = self.host.client()
        watcher.call("events.subscribe", since=0, kinds=["system.*"])
        while "system.accepting" not in kinds:
            kinds.append(watcher.receive()["params"]["kind"])
        self.assertIn("system.draining", kinds)

    def test_capacity(self):
        self.create("rare")
        capacity = self.client.call("system.capacity")
        self.assertEqual(capacity["sessions"], {"max": 4, "live": 1, "free": 3, "queued": 0, "max_queued": 2})
        self.assertEqual(capacity["memory"]["promised_bytes"], 64 << 20)
        self.assertGreater(capacity["memory"]["total_bytes"], capacity["memory"]["available_bytes"])
        self.assertGreater(capacity["memory"]["available_bytes"], 0)
        self.assertEqual(capacity["cpus"], {"online": os.cpu_count(), "promised": 1.0})
        rare = next(t for t in capacity["templates"] if t["name"] == "rare")
        self.assertEqual((rare["live"], rare["max"], rare["more"]), (1, 2, 1))
        self.assertIn("promised_bytes", self.host.carrel("capacity").stdout)


if __name__ == "__main__":
    unittest.main()
