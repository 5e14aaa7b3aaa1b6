# SPDX-License-Identifier: Apache-2.0
"""carrel top: what all sessions use, the busiest first."""

import re
import unittest

from carrel_host import Host, own_network


def setUpModule():
    own_network()


class Top(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.host = Host().start()
        cls.addClassCleanup(cls.host.close)
        cls.client = cls.host.client()

    def rounds(self, n):
        """The lines of each round: how many sessions there are, and a row for each."""
        shown = self.host.carrel("top", "--count", str(n), "--interval", "1").stdout
        return [part.splitlines() for part in re.split(r"(?=^\d+ sessions?, )", shown, flags=re.M) if part]

    def test_the_busiest_is_first(self):
        for name, script in (("idle", "exec busybox sleep 1000"), ("busy", "while :; do :; done")):
            self.client.call("session.create", template="minimal", id=name, command=["/bin/busybox", "sh", "-c", script])
        self.client.call("session.create", template="minimal", id="over")
        self.client.call("session.stop", session="over")
        rounds = self.rounds(2)
        self.assertEqual(len(rounds), 2, rounds)
        for lines in rounds:
            self.assertEqual(lines[0], "2 sessions, 2 ready")
            rows = [line.split() for line in lines[3:]]
            self.assertEqual([row[0] for row in rows if row], ["busy", "idle"])
            self.assertGreater(float(rows[0][3]), float(rows[1][3]) + 10, lines)

    def test_more_sessions_than_are_asked_for_together(self):
        for i in range(40):
            self.client.call("session.create", template="minimal", id=f"many-{i}")
        (lines,) = self.rounds(1)
        self.assertEqual(len([line for line in lines if line.startswith("many-")]), 40)
        for i in range(40):
            self.client.call("session.remove", session=f"many-{i}")


if __name__ == "__main__":
    unittest.main()
