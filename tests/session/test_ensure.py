# SPDX-License-Identifier: Apache-2.0
"""session.ensure: one session for each owner, task or for all, however many ask at once."""

import hashlib
import threading
import unittest

from carrel_host import Host, RpcError, own_network

CEILING = 150


def setUpModule():
    own_network()


class Ensure(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        template = {"kind": "minimal", "image": "minimal", "command": ["/bin/busybox", "sleep", "1000000"],
                    "seccomp": "minimal", "stop": {"signal": "SIGKILL"},
                    "limits": {"memory_bytes": 64 << 20, "cpus": 1, "pids": 64, "root_bytes": 16 << 20},
                    "endpoints": {
                        "cdp": {"port": 9222, "url": "http://{address}:{port}"},
                        "rpc": {"port": 4000, "url": "http://{address}:{port}/rpc"},
                        "view": {"port": 6080, "url": "https://b.example/view/{owner_hash}/vnc.html?path=view/{owner_hash}/websockify"}}}
        cls.host = Host(config={"max_sessions": CEILING, "client_limits": {"max_in_flight": 1024}},
                        templates={"desk": template}).start()
        cls.client = cls.host.client()

    @classmethod
    def tearDownClass(cls):
        cls.host.close()

    def tearDown(self):
        ids = [self.client.send("session.remove", session=s["id"]) for s in self.client.call("session.list", limit=1000)["sessions"]]
        for _ in ids:
            self.client.receive()

    def ensure(self, client=None, **params):
        return (client or self.client).call("session.ensure", **{"template": "desk", "isolation": "per-owner", **params})

    def test_what_a_caller_gets(self):
        session = self.ensure(metadata={"user_id": "user@example.com"})
        digest = hashlib.sha256(b"user@example.com").hexdigest()[:16]
        self.assertTrue(session["created"])
        self.assertEqual((session["owner"], session["owner_hash"]), ("user@example.com", digest))
        self.assertEqual(session["isolation_mode"], "per-owner")
        self.assertEqual(session["cdp_url"], f"http://{session['address']}:9222")
        self.assertEqual(session["rpc_url"], f"http://{session['address']}:4000/rpc")
        self.assertEqual(session["browser_view"],
                         f"https://b.example/view/{digest}/vnc.html?path=view/{digest}/websockify")
        again = self.ensure(thread_id="user@example.com")
        self.assertEqual((again["id"], again["created"]), (session["id"], False))
        minimal = self.ensure(template="minimal", owner="other")
        self.assertIsNone(minimal["browser_view"])
        self.assertIsNone(minimal["cdp_url"])

    def test_by_owner(self):
        session = self.ensure(owner="ann")
        self.assertEqual(self.client.call("session.get", owner="ann")["id"], session["id"])
        beat = self.client.call("session.heartbeat", owner="ann")
        self.assertGreaterEqual(beat["last_activity_at"], session["last_activity_at"])
        self.assertEqual(self.client.call("session.remove", owner="ann")["id"], session["id"])
        self.assertTrue(self.ensure(owner="ann")["created"])

    def test_one_hundred_at_once_make_one(self):
        answers, clients = [], [self.host.client() for _ in range(20)]

        def ask(client):
            ids = [client.send("session.ensure", template="desk", isolation="per-owner", owner="crowd") for _ in range(5)]
            for _ in ids:
                answers.append(client.receive()["result"])

        threads = [threading.Thread(target=ask, args=(c,)) for c in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len(answers), 100)
        self.assertEqual(len({a["id"] for a in answers}), 1)
        self.assertEqual(sum(a["created"] for a in answers), 1)
        self.assertEqual({a["state"] for a in answers}, {"ready"})
        self.assertEqual(len(self.client.call("session.list")["sessions"]), 1)

    def test_a_thousand_owners_at_once(self):
        """As many sessions as the host takes; who finds no room is told so, and when to ask again."""
        clients, made, refused = [self.host.client() for _ in range(20)], {}, []
        for i in range(1000):
            clients[i % 20].send("session.ensure", template="desk", isolation="per-owner", owner=f"owner-{i}", wait="created")
        for i in range(1000):
            message = clients[i % 20].receive()
            if "result" in message:
                made[message["result"]["owner"]] = message["result"]["id"]
            else:
                refused.append(RpcError(message["error"]))
        self.assertEqual((len(made), len(set(made.values())), len(refused)), (CEILING, CEILING, 1000 - CEILING))
        self.assertEqual({e.kind for e in refused}, {"busy"})
        self.assertTrue(all(e.data["retry_after_ms"] > 0 and e.data["retryable"] for e in refused))
        # Those that there are go on to be found.
        owner, session = next(iter(made.items()))
        self.assertEqual(self.ensure(owner=owner)["id"], session)

    def test_after_a_restart(self):
        session = self.ensure(owner="ann", isolation="per-task", task_id="t")
        self.host.stop()
        self.host.start()
        type(self).client = self.host.client()
        again = self.ensure(owner="ann", isolation="per-task", task_id="t")
        self.assertEqual((again["id"], again["created"]), (session["id"], False))

    def test_conflicting_template(self):
        session = self.ensure(owner="ann")
        with self.assertRaises(RpcError) as caught:
            self.ensure(owner="ann", template="minimal")
        self.assertEqual((caught.exception.kind, caught.exception.data["session"]), ("conflict", session["id"]))

    def test_from_the_command_line(self):
        first = self.host.carrel("ensure", "desk", "--owner", "cli", "-q").stdout
        second = self.host.carrel("ensure", "desk", "--owner", "cli", "--isolation", "per-owner", "-q").stdout
        self.assertEqual(first, second)
        self.assertIn(first.strip(), self.host.carrel("list", "--owner", "cli").stdout)


if __name__ == "__main__":
    unittest.main()
