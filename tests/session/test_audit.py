# SPDX-License-Identifier: Apache-2.0
"""The audit log: who asked for what, and what came of it, without a secret in it."""

import json
import os
import unittest

from carrel_host import Client, Host, RpcError, own_network, wait_until

PREFIX = "carrel-control: audit "


def setUpModule():
    own_network()


class Audit(unittest.TestCase):
    def setUp(self):
        self.host = Host(config={"access": [{"user": "#2000", "role": "client", "owner_prefix": "a/"},
                                            {"user": "root", "role": "admin"}]}).start()
        self.client = self.host.client()

    def tearDown(self):
        self.host.close()

    def lines(self):
        return [json.loads(line[len(PREFIX):]) for line in self.host.log().splitlines() if line.startswith(PREFIX)]

    def client_of(self, uid):
        os.setegid(uid)
        os.seteuid(uid)
        try:
            return self.host.client()
        finally:
            os.seteuid(0)
            os.setegid(0)

    def test_who_asked_for_what(self):
        session = self.client.call("session.create", template="minimal", owner="a/ann", env={"PLAIN": "env-value"},
                                   secrets={"TOKEN": "secret-value"}, labels={"l": "label-value"})["id"]
        self.client.call("exec.run", session=session, command=["/bin/busybox", "echo", "argument-value"], stdin="stdin-value")
        self.client.call("session.list")
        self.host.run_dir.chmod(0o755)
        os.chmod(self.host.socket_path, 0o666)
        other = self.client_of(2000)
        with self.assertRaises(RpcError):
            other.call("session.create", template="minimal", owner="b/bob")
        with self.assertRaises(RpcError):
            other.call("system.drain", on=True)
        stranger = self.client_of(3000)
        self.assertEqual(stranger.receive()["error"]["data"]["kind"], "denied")
        self.client.call("session.remove", session=session)
        wait_until(lambda: len(self.lines()) >= 6, what="the lines")
        lines = self.lines()
        self.assertEqual([(e["uid"], e["role"], e["method"], e.get("session"), e.get("owner"), e["outcome"]) for e in lines], [
            (0, "admin", "session.create", session, "a/ann", "ok"),
            (0, "admin", "exec.run", session, None, "ok"),
            (2000, "client", "session.create", None, "b/bob", "denied"),
            (2000, "client", "system.drain", None, None, "denied"),
            (3000, "none", "connect", None, None, "denied"),
            (0, "admin", "session.remove", session, "a/ann", "ok"),
        ])
        for entry in lines:
            self.assertEqual(entry["pid"], os.getpid())
            self.assertGreaterEqual(entry.get("ms", 0), 0)
        for word in ("env-value", "secret-value", "label-value", "argument-value", "stdin-value"):
            self.assertNotIn(word, self.host.log())

    def test_secrets_are_in_no_file(self):
        secret = "correct-horse-battery-staple"
        self.client.call("session.ensure", template="minimal", isolation="per-owner", owner="a/ann", idempotency_key="k",
                         secrets={"TOKEN": secret}, metadata={"user_id": "u"})
        self.host.stop()
        found = [p for top in (self.host.state_dir / "control", self.host.run_dir) for p in top.rglob("*")
                 if p.is_file() and secret.encode() in p.read_bytes()]
        self.assertEqual(found, [])
        self.assertNotIn(secret, self.host.log())
        self.host.start()


if __name__ == "__main__":
    unittest.main()
