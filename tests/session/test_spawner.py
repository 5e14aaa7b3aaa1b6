# SPDX-License-Identifier: Apache-2.0
"""The process in a session that starts commands in a hurry, and what a hostile session can do to it: cost itself a command."""

import contextlib
import os
import pathlib
import signal
import time
import unittest

from carrel_host import Host, RpcError, has_ended, name_of, own_network, scaled, wait_until

KEPT_SECONDS, ORDER_SECONDS = 20, 5  # control/spawner.c


def setUpModule():
    own_network()


class Spawner(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # Root, so that commands may signal it, as nobody else can.
        template = {**Host.template(None, "minimal"), "user": {"uid": 0, "gid": 0}}
        cls.host = Host(templates={"root": template}).start()
        cls.addClassCleanup(cls.host.close)
        cls.client = cls.host.client()
        cls.client.call("session.create", template="root", id="one")
        cls.init = cls.host.init_pids()[0]

    def run_in(self, *command, **params):
        return self.client.call("exec.run", session="one", command=list(command), **params)

    def expect(self, kind, *command, **params):
        with self.assertRaises(RpcError) as caught:
            self.run_in(*command, **params)
        self.assertEqual(caught.exception.kind, kind, caught.exception)
        return caught.exception

    def spawners(self):
        found = pathlib.Path(f"/proc/{self.init}/task/{self.init}/children").read_text().split()
        return [int(pid) for pid in found if name_of(pid) == "carrel-spawn"]

    def spawner(self):
        """The one that there is after a command, on the host; it has said that it is there, and is free."""
        self.run_in("true")
        pid = wait_until(self.spawners, what="a spawner")[0]
        wait_until(lambda: self.last_pid() == self.last_pid() - 1, what="commands by it")
        return pid

    def last_pid(self):
        """Of a command in the session: the number grows by one where no child is forked besides."""
        return int(self.run_in("sh", "-c", "echo $$")["stdout"])

    def order(self, client, command, **params):
        """The request for a command that has been given to the spawner when this returns."""
        request = client.send("exec.run", session="one", command=command, **params)
        client.call("system.health")
        return request

    def inside(self, pid):
        return int(next(line for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
                        if line.startswith("NSpid")).split()[-1])

    def test_there_is_one_and_it_starts_what_is_run(self):
        pid = self.spawner()
        for _ in range(20):
            self.assertEqual(self.run_in("echo", "hello")["stdout"], "hello\n")
        self.assertEqual(self.spawners(), [pid])
        # Its commands are init's children, with nothing of its own.
        result = self.run_in("sh", "-c", "echo $PPID; ls /proc/self/fd | wc -l; cat /proc/self/stat | cut -d' ' -f5-6; echo $$")
        parent, n_fds, group, number = result["stdout"].splitlines()
        self.assertEqual((parent, n_fds), ("1", "4"))  # and the directory that ls reads
        self.assertEqual(len(set(group.split())), 1)

    def test_what_cannot_be_started(self):
        pid = self.spawner()
        for command, params, step in ((["nonesuch"], {}, "exec"), (["/etc/passwd"], {}, "exec"),
                                      (["true"], {"cwd": "/nonesuch"}, "cwd"), (["true"], {"user": "nobody-such"}, "user")):
            error = self.expect("failed", *command, **params)
            self.assertEqual(error.data["step"], step)
        self.assertEqual(self.run_in("sh", "-c", "exit 127")["exit_code"], 127)
        self.assertEqual(self.run_in("id", "-u", user="1000")["stdout"], "1000\n")
        self.assertEqual(self.spawners(), [pid])

    def test_it_is_nobodys_to_look_into(self):
        for user in ("0", "1000"):
            number = self.inside(self.spawner())
            result = self.run_in("sh", "-c", f"for f in mem environ maps fd/0 root/etc; do cat /proc/{number}/$f && echo open; done", user=user)
            self.assertNotIn("open", result["stdout"])
        self.assertEqual(self.run_in("kill", "-9", str(number), user="1000")["exit_code"], 1)

    def test_killed_while_it_waits(self):
        pid = self.spawner()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: has_ended(pid), what="its end")
        self.assertEqual(self.run_in("echo", "hello")["stdout"], "hello\n")
        self.assertNotEqual(self.spawner(), pid)

    def test_stopped_before_its_order(self):
        """That command is not started; the caller's time holds, others are served, and it is replaced."""
        pid = self.spawner()
        os.kill(pid, signal.SIGSTOP)
        begun = time.monotonic()
        request = self.order(self.client, ["touch", "/tmp/late"], timeout_seconds=1)
        other = self.host.client()
        for _ in range(5):
            self.assertEqual(other.call("exec.run", session="one", command=["echo", "hello"])["stdout"], "hello\n")
        with self.assertRaises(RpcError) as caught:
            self.client.answer(request)
        self.assertEqual(caught.exception.kind, "timeout")
        self.assertLess(time.monotonic() - begun, scaled(10))
        wait_until(lambda: pid not in self.spawners(), what="its end")
        self.assertEqual(self.run_in("ls", "/tmp/late")["exit_code"], 1)
        self.assertNotEqual(self.spawner(), pid)

    def test_stopped_with_an_order_that_has_all_the_time(self):
        pid = self.spawner()
        os.kill(pid, signal.SIGSTOP)
        begun = time.monotonic()
        error = self.expect("failed", "touch", "/tmp/never")
        self.assertEqual((error.data["step"], error.data["retryable"]), ("spawn", True))
        self.assertLess(time.monotonic() - begun, scaled(ORDER_SECONDS + 3))
        self.assertEqual(self.run_in("ls", "/tmp/never")["exit_code"], 1)

    def test_killed_with_its_order(self):
        pid = self.spawner()
        os.kill(pid, signal.SIGSTOP)
        request = self.order(self.client, ["touch", "/tmp/lost"])
        os.kill(pid, signal.SIGKILL)
        with self.assertRaises(RpcError) as caught:
            self.client.answer(request)
        self.assertEqual((caught.exception.kind, caught.exception.data["retryable"]), ("failed", True))
        self.assertEqual(self.run_in("ls", "/tmp/lost")["exit_code"], 1)

    def test_client_that_goes(self):
        pid = self.spawner()
        os.kill(pid, signal.SIGSTOP)
        other = self.host.client()
        self.order(other, ["touch", "/tmp/gone"])
        other.close()
        wait_until(lambda: pid not in self.spawners(), what="its end")
        self.assertEqual(self.run_in("ls", "/tmp/gone")["exit_code"], 1)

    def test_session_that_fights_it(self):
        """Signals at any moment: each command ends in one of the ways that there are, and nothing is left."""
        script = """while [ ! -e /tmp/enough ]; do for p in /proc/[0-9]*; do read -r name <$p/comm 2>/dev/null && [ "$name" = carrel-spawn ] &&
            kill -STOP ${p#/proc/} && kill -CONT ${p#/proc/} && kill -9 ${p#/proc/}; done; done 2>/dev/null"""
        other = self.host.client()
        fight = other.send("exec.run", session="one", command=["sh", "-c", script])
        came = {}
        for i in range(300):
            try:
                result = self.run_in("echo", str(i), timeout_seconds=30)
                self.assertIn((result["exit_code"], result["signal"], result["stdout"]), ((0, None, f"{i}\n"), (None, 9, "")))
                came["ok"] = came.get("ok", 0) + 1
            except RpcError as e:
                self.assertEqual(e.kind, "failed", e)
                came[e.kind] = came.get(e.kind, 0) + 1
        print(f"a session that kills its spawner: {came}")

        def enough():
            with contextlib.suppress(RpcError):
                return self.run_in("touch", "/tmp/enough")["exit_code"] == 0

        wait_until(enough, what="the end of the fight")
        self.assertIsNone(other.answer(fight)["signal"])
        self.spawner()
        self.assertEqual(len(self.spawners()), 1)
        left = {name_of(pid) for pid in pathlib.Path(f"/proc/{self.init}/task/{self.init}/children").read_text().split()}
        self.assertLessEqual(left, {"carrel-spawn", "sleep", "busybox", "sh"})

    def test_control_that_is_killed(self):
        pid = self.spawner()
        os.kill(self.host.control_pid(), signal.SIGKILL)
        wait_until(lambda: not os.path.exists(f"/proc/{pid}"), what="the spawner's end")
        self.host.wait_for_api()
        type(self).client = self.host.client()
        self.assertEqual(self.run_in("echo", "hello")["stdout"], "hello\n")

    def test_it_goes_when_nothing_is_run(self):
        pid = self.spawner()
        wait_until(lambda: not os.path.exists(f"/proc/{pid}"), KEPT_SECONDS + 10, "the spawner's end")


if __name__ == "__main__":
    unittest.main(verbosity=2)
