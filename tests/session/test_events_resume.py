# SPDX-License-Identifier: Apache-2.0
"""Events go on where a subscriber left off, whatever was restarted meanwhile; and a registry that is lost is told of."""

import os
import signal
import unittest

from carrel_host import Host, own_network, wait_until

HISTORY = 40


def setUpModule():
    own_network()


class Events(unittest.TestCase):
    def setUp(self):
        self.host = Host(config={"event_history": HISTORY}).start()
        self.client = self.host.client()

    def tearDown(self):
        self.host.close()

    def kill_control(self):
        pid = self.host.control_pid()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: self.host.control_pid() not in (None, pid), what="another control")
        self.client = self.host.client()

    def subscribe(self, **params):
        """The answer, and a function that gives the next event."""
        watcher = self.host.client()
        answer = watcher.call("events.subscribe", **params)

        def following():
            if watcher.notifications:
                return watcher.notifications.pop(0)["params"]
            return watcher.receive()["params"]

        return answer, following

    def up_to(self, following, session, kind="session.ended"):
        """All events until that of KIND about SESSION."""
        events = []
        while not events or (events[-1].get("session"), events[-1]["kind"]) != (session, kind):
            events.append(following())
        return events

    def run_session(self, name):
        self.client.call("session.create", template="minimal", id=name)
        self.client.call("session.stop", session=name)

    def test_nothing_is_missed_and_nothing_comes_twice(self):
        """Control is killed again and again; a subscriber that gives its last number sees every one after it."""
        _, following = self.subscribe()
        self.run_session("s0")
        seen = self.up_to(following, "s0")
        for i in range(1, 5):
            name = f"s{i}"
            self.client.call("session.create", template="minimal", id=name,
                             command=["/bin/busybox", "sh", "-c", "sleep 0.3; exit 3"])
            # It ends while nobody is there to see it.
            self.kill_control()
            self.client.call("session.wait", session=name, **{"for": "ended"}, timeout_seconds=20)
            answer, following = self.subscribe(since=seen[-1]["seq"])
            self.assertIsNone(answer["gone"])
            seen += self.up_to(following, name)
        numbers = [event["seq"] for event in seen]
        self.assertEqual(numbers, list(range(numbers[0], numbers[0] + len(numbers))))
        self.assertEqual(len({event["boot_id"] for event in seen}), 1)
        for i in range(5):
            kinds = [e["kind"] for e in seen if e["session"] == f"s{i}"]
            self.assertEqual(kinds, ["session.created", "session.starting", "session.ready", "session.stopping", "session.ended"])
        for event in seen:
            if event["kind"] == "session.stopping":
                self.assertEqual(event["reason"], "stopped" if event["session"] == "s0" else "exited")

    def test_the_range_that_is_gone_is_exact(self):
        answer, following = self.subscribe()
        first = answer["last"]
        for i in range(12):
            self.run_session(f"s{i}")
        last = self.up_to(following, "s11")[-1]["seq"]
        self.kill_control()
        answer, following = self.subscribe(since=first)
        self.assertEqual(answer["gone"], {"from": first + 1, "to": last - HISTORY})
        kept = self.up_to(following, "s11")
        self.assertEqual([e["seq"] for e in kept], list(range(last - HISTORY + 1, last + 1)))
        # From the edge of it, nothing is gone.
        answer, _ = self.subscribe(since=last - HISTORY)
        self.assertIsNone(answer["gone"])

    def test_a_filter_changes_no_numbers(self):
        _, following = self.subscribe(kinds=["session.ended"])
        self.run_session("a")
        self.run_session("b")
        first, second = following(), following()
        self.assertEqual((first["session"], second["session"]), ("a", "b"))
        answer, following = self.subscribe(since=first["seq"], session="b")
        self.assertIsNone(answer["gone"])
        self.assertEqual(self.up_to(following, "b")[-1]["seq"], second["seq"])

    def test_a_damaged_registry(self):
        """It is set aside with a message; sessions are taken up again from the supervisor, without what it knew of them."""
        self.client.call("session.create", template="minimal", id="kept", owner="ann", labels={"a": "b"})
        last = self.client.call("events.subscribe")["last"]
        self.host.stop()
        control = self.host.state_dir / "control"
        path = control / "registry.db"
        damaged = b"not a database" + path.read_bytes()[14:]
        path.write_bytes(damaged)
        self.host.start()
        self.client = self.host.client()
        self.assertIn("registry: it is damaged, and was set aside as registry.db.damaged", self.host.log())
        self.assertEqual((control / "registry.db.damaged").read_bytes(), damaged)
        session = self.client.call("session.get", session="kept")
        self.assertEqual((session["state"], session["owner"], session["labels"]), ("ready", "", {}))
        result = self.client.call("exec.run", session="kept", command=["/bin/busybox", "echo", "alive"])
        self.assertEqual(result["stdout"], "alive\n")
        # Numbers go on past those that were given: who asks from before is told that he missed some.
        answer, following = self.subscribe(since=last)
        self.assertEqual(answer["gone"]["from"], last + 1)
        kinds = {following()["kind"] for _ in range(2)}
        self.assertEqual(kinds, {"system.registry_damaged", "session.adopted"})
        self.client.call("session.remove", session="kept")


if __name__ == "__main__":
    unittest.main()
