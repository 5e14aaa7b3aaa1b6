# SPDX-License-Identifier: Apache-2.0
"""Liveness probes: a session that no longer does its work ends, or begins anew, as its template says."""

import os
import pathlib
import signal
import time
import unittest

from carrel_host import Host, children, own_network, scaled, wait_until

# Serves a page and a port until somebody takes away what it lives on.
SERVE = ("mkdir -p /tmp/www; echo fine > /tmp/www/health; echo started with $TOKEN; touch /tmp/alive;"
         "busybox httpd -f -p 127.0.0.1:8080 -h /tmp/www & echo $! > /tmp/pid; "
         "trap 'echo saving; exit 0' TERM; while true; do sleep 1 & wait; done")


def template(probe, **liveness):
    return {"kind": "minimal", "image": "minimal", "command": ["/bin/busybox", "sh", "-c", SERVE], "seccomp": "minimal",
            "env": {"PATH": "/bin:/usr/bin"},
            "limits": {"memory_bytes": 64 << 20, "cpus": 1, "pids": 64, "root_bytes": 16 << 20},
            "readiness": {"http": {"port": 8080, "path": "/health"}, "initial_delay_ms": 10},
            "stop": {"signal": "SIGTERM", "grace_seconds": 5},
            "liveness": {**probe, "initial_delay_seconds": 0, "period_seconds": 1, "timeout_seconds": 1, "failure_threshold": 2,
                         **liveness}}


PROBES = {
    "http": {"http": {"port": 8080, "path": "/health"}},
    "tcp": {"tcp": {"port": 8080}},
    "exec": {"exec": {"command": ["/bin/busybox", "test", "-e", "/tmp/alive"]}},
}

# What makes each of them fail.
BREAK = {
    "http": ["/bin/busybox", "rm", "/tmp/www/health"],
    "tcp": ["/bin/busybox", "sh", "-c", "kill $(cat /tmp/pid)"],
    "exec": ["/bin/busybox", "rm", "/tmp/alive"],
}


def setUpModule():
    own_network()


def command_line(pid):
    return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()


class Liveness(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        templates = {name: template(probe) for name, probe in PROBES.items()}
        templates["again"] = template(PROBES["exec"], action="restart", max_restarts=1)
        cls.host = Host(templates=templates).start()
        cls.client = cls.host.client()

    @classmethod
    def tearDownClass(cls):
        cls.host.close()

    def break_it(self, session, how):
        result = self.client.call("exec.run", session=session, command=BREAK[how])
        self.assertEqual(result["exit_code"], 0, result)

    def test_unhealthy_sessions_end(self):
        watcher = self.host.client()
        watcher.call("events.subscribe", kinds=["session.*"])
        sessions = {name: self.client.call("session.create", template=name)["id"] for name in PROBES}
        time.sleep(scaled(2.5))
        for name, session in sessions.items():
            self.assertEqual(self.client.call("session.get", session=session)["state"], "ready", name)
            self.break_it(session, name)
        for name, session in sessions.items():
            end = self.client.call("session.wait", session=session, **{"for": "ended"}, timeout_seconds=20)["end"]
            self.assertEqual((end["reason"], end["step"]), ("unhealthy", "liveness"), name)
            self.assertIn("failed 2 times in a row", end["message"])
            # Its stop signal and the grace were its own: the last lines say so.
            self.assertIn("saving", end["log_tail"])
        seen = {}
        while len(seen) < len(sessions):
            event = watcher.receive()["params"]
            if event["kind"] == "session.unhealthy":
                seen[event["session"]] = event
        for name, session in sessions.items():
            self.assertEqual((seen[session]["failures"], seen[session]["action"]), (2, "end"))
            self.assertIn({"http": "404", "tcp": "ECONNREFUSED", "exec": "exit code 1"}[name],
                          seen[session]["error"].replace("Connection refused", "ECONNREFUSED"))

    def test_restarted_in_place(self):
        before = self.client.call("session.ensure", template="again", isolation="per-owner", owner="ann", ttl_seconds=600,
                                  secrets={"TOKEN": "a secret"})
        session = before["id"]
        for restarts in (1, 2):
            self.break_it(session, "exec")
            if restarts == 2:
                break
            after = wait_until(lambda: next((s for s in [self.client.call("session.get", session=session)]
                                             if s["restarts"] == 1 and s["state"] == "ready"), None), 20, "a new beginning")
            for name in ("id", "owner", "created_at", "expires_at", "isolation"):
                self.assertEqual(after[name], before[name])
            found = self.client.call("session.ensure", template="again", isolation="per-owner", owner="ann")
            self.assertEqual((found["id"], found["created"]), (session, False))
            text = "".join(e["text"] for e in self.client.call("session.logs", session=session)["entries"])
            self.assertEqual(text.count("started with a secret"), 1, text)
        end = self.client.call("session.wait", session=session, **{"for": "ended"}, timeout_seconds=20)["end"]
        self.assertEqual(end["reason"], "unhealthy")


class HungBrowser(unittest.TestCase):
    def test_a_browser_that_hangs(self):
        """The installed template asks Chromium's debugging port; here more often than every half minute."""
        host = Host(images=("minimal", "host"))
        browser = host.template("browser-host")
        browser["liveness"] |= {"initial_delay_seconds": 0, "period_seconds": 1, "timeout_seconds": 2, "failure_threshold": 2}
        host.write_template("watched", browser)
        host.start()
        try:
            client = host.client()
            session = client.call("session.create", template="watched")["id"]
            time.sleep(scaled(3.5))
            self.assertEqual(client.call("session.get", session=session)["state"], "ready")
            [init] = host.init_pids()
            [browser] = [p for p in children(init) if b"--remote-debugging-port" in command_line(p)]
            os.kill(browser, signal.SIGSTOP)
            end = client.call("session.wait", session=session, **{"for": "ended"}, timeout_seconds=40)["end"]
            self.assertEqual(end["reason"], "unhealthy")
            self.assertIn("no answer within 2 s", end["message"])
        finally:
            host.close()


if __name__ == "__main__":
    unittest.main()
