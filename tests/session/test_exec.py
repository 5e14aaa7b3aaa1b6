# SPDX-License-Identifier: Apache-2.0
"""Commands run in sessions: results, refusals, bounds, what is left of them."""

import os
import pathlib
import statistics
import threading
import time
import unittest

from carrel_host import TIME_SCALE, Exactly, Host, RpcError, name_of, own_network, scaled, wait_until, waited

FEW, MANY = (100, 1000) if TIME_SCALE == 1 else (30, 60)
CONCURRENT_SESSIONS, CONCURRENT_EACH = 4, 50


def setUpModule():
    own_network()


def open_files(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def resident_kib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError(f"{pid} has no memory")


def session_pids(init):
    """Every process of the session, dead ones that nobody has reaped included."""
    space = os.stat(f"/proc/{init}/ns/pid").st_ino
    found = []
    for entry in os.listdir("/proc"):
        try:
            # A zombie has no namespaces any more, but a parent.
            if entry.isdigit():
                parent = int(pathlib.Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1])
                if parent == init or os.stat(f"/proc/{entry}/ns/pid").st_ino == space:
                    found.append(int(entry))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            pass
    return found


def answers(client, requests):
    """The answers to REQUESTS, in their order, whichever way they come."""
    came = {}
    while len(came) < len(requests):
        message = client.receive()
        if message.get("id") in requests:
            came[message["id"]] = message
    return [came[request] for request in requests]


class Exec(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        template = {"kind": "exec", "image": "minimal", "command": ["/bin/busybox", "sleep", "infinity"],
                    "env": {"PATH": "/bin", "HOME": "/root", "KEPT": "template"}, "user": {"uid": 1000, "gid": 1000},
                    "workdir": "/tmp", "capabilities": [], "seccomp": "minimal",
                    "limits": {"memory_bytes": 268435456, "swap_bytes": 0, "cpus": 2.0, "pids": 512, "root_bytes": 33554432,
                               "root_inodes": 8192, "shm_bytes": 1048576, "open_files": 1024},
                    "network": {"egress": "none"}, "stop": {"signal": "SIGKILL", "grace_seconds": 1}}
        cls.host = Host(templates={"exec": template}).start()
        cls.client = cls.host.client()
        cls.client.call("session.create", template="exec", id="one")
        cls.init = cls.host.init_pids()[0]

    @classmethod
    def tearDownClass(cls):
        cls.host.close()

    def run_in(self, *command, session="one", **params):
        return self.client.call("exec.run", session=session, command=list(command), **params)

    def sh(self, script, **params):
        return self.run_in("sh", "-c", script, **params)

    def expect(self, kind, *command, **params):
        with self.assertRaises(RpcError) as caught:
            self.run_in(*command, **params)
        self.assertEqual(caught.exception.kind, kind, caught.exception)
        return caught.exception

    # ---- results

    def test_result(self):
        result = self.sh("echo out; echo err >&2; exit 7")
        self.assertEqual((result["exit_code"], result["signal"]), (7, None))
        self.assertEqual((result["stdout"], result["stderr"]), ("out\n", "err\n"))
        self.assertEqual(sorted(result["logs"]), ["err", "out"])
        self.assertEqual((result["truncated"], result["dropped_bytes"]), (False, 0))
        self.assertLess(result["elapsed_seconds"], scaled(10))

    def test_logs_are_in_order(self):
        result = self.sh("for i in 1 2 3; do echo o$i; sleep 0.1; echo e$i >&2; sleep 0.1; done")
        self.assertEqual(result["logs"], ["o1", "e1", "o2", "e2", "o3", "e3"])

    def test_exit_codes_and_signals(self):
        for code in (0, 1, 126, 127, 255):
            self.assertEqual(self.sh(f"exit {code}")["exit_code"], code)
        for number in (9, 11, 15):
            result = self.sh(f"kill -{number} $$")
            self.assertEqual((result["exit_code"], result["signal"]), (None, number))

    def test_user_directory_environment(self):
        result = self.sh('echo "$(id -u):$(id -g) $(pwd) $KEPT $PATH"')
        self.assertEqual(result["stdout"], "1000:1000 /tmp template /bin\n")
        result = self.sh('echo "$(id -u):$(id -g) $(pwd) $KEPT $MORE"', user="0:0", cwd="/etc",
                         env={"KEPT": "mine", "MORE": "a=b c"})
        self.assertEqual(result["stdout"], "0:0 /etc mine a=b c\n")
        self.assertEqual(self.run_in("id", "-un", user="root")["stdout"], "root\n")

    def test_descriptors_and_capabilities(self):
        result = self.sh("ls /proc/self/fd; grep -E 'Cap(Eff|Bnd)|NoNewPrivs|Seccomp:' /proc/self/status")
        self.assertEqual(result["stdout"].split("Cap")[0].split(), ["0", "1", "2", "3"])  # 3: the directory being listed
        self.assertRegex(result["stdout"], r"CapEff:\s+0+\n")
        self.assertRegex(result["stdout"], r"NoNewPrivs:\s+1\n")
        self.assertRegex(result["stdout"], r"Seccomp:\s+2\n")

    def test_standard_input(self):
        self.assertEqual(self.run_in("cat", stdin="für dich\n")["stdout"], "für dich\n")
        self.assertEqual(self.run_in("cat")["stdout"], "")
        self.assertEqual(self.run_in("wc", "-c", stdin="x" * 900_000)["stdout"].strip(), "900000")
        # One that does not want it.
        self.assertEqual(self.run_in("true", stdin="x" * 900_000)["exit_code"], 0)

    def test_streams_can_be_opened_again(self):
        result = self.sh("echo out > /dev/stdout; echo err > /dev/stderr; cat < /dev/stdin", stdin="in\n")
        self.assertEqual((result["stdout"], result["stderr"]), ("out\nin\n", "err\n"))

    def test_merge(self):
        result = self.sh("echo 1; echo 2 >&2; echo 3", merge=True)
        self.assertEqual((result["stdout"], result["stderr"]), ("1\n2\n3\n", ""))

    def test_any_bytes(self):
        result = self.sh(r"printf 'a\377\000b\303\244\n'")
        self.assertEqual(result["stdout"], "a\ufffd\0bä\n")

    def test_what_it_leaves_behind_is_not_waited_for(self):
        begun = time.monotonic()
        result = self.sh("sleep 30 & echo done")
        self.assertEqual(result["stdout"], "done\n")
        self.assertLess(time.monotonic() - begun, scaled(10))
        self.sh("killall sleep", user="1000")

    def test_client_program(self):
        carrel = self.host.carrel
        self.assertEqual(carrel("exec", "one", "--", "echo", "hello").stdout, "hello\n")
        self.assertEqual(carrel("exec", "one", "-n", "-e", "A=b", "-w", "/etc", "-u", "0", "--", "sh", "-c",
                                "echo $A $(pwd) $(id -u)").stdout, "b /etc 0\n")
        self.assertEqual(carrel("exec", "one", "--", "sh", "-c", "exit 5", check=False).returncode, 5)
        self.assertEqual(carrel("exec", "one", "--", "sh", "-c", "kill -9 $$", check=False).returncode, 137)
        late = carrel("exec", "one", "--timeout", str(waited(0.3)), "--", "sh", "-c", "echo so far; sleep 63", check=False)
        self.assertEqual((late.returncode, late.stdout), (124, "so far\n"))
        wrong = carrel("exec", "one", "--", "nonesuch", check=False)
        self.assertEqual(wrong.returncode, 127)
        self.assertIn("ENOENT", wrong.stderr)

    # ---- bounds

    def test_large_output_is_cut(self):
        result = self.sh("yes 0123456789 | head -c 3000000; echo end >&2", max_output_bytes=100_000)
        self.assertEqual(len(result["stdout"]), 100_000)
        self.assertEqual((result["truncated"], result["dropped_bytes"]), (True, 2_900_004))
        self.assertEqual(result["exit_code"], 0)
        result = self.sh("yes 0123456789 | head -c 3000000")
        self.assertEqual(len(result["stdout"]) + result["dropped_bytes"], 3_000_000)
        self.assertGreater(len(result["stdout"]), 500_000)

    def test_worst_output_does_not_cost_the_connection(self):
        for script in (r"yes '' | head -c 2000000", r"tr '\000' '\001' < /dev/zero | head -c 2000000",
                       "head -c 2000000 /dev/urandom"):
            requests = [self.client.send("exec.run", session="one", command=["sh", "-c", script]) for _ in range(8)]
            results = [message["result"] for message in answers(self.client, requests)]
            self.assertTrue(all(r["exit_code"] == 0 and r["truncated"] for r in results), script)
        self.assertEqual(self.run_in("echo", "here")["stdout"], "here\n")

    def test_a_flood_does_not_take_all_the_time(self):
        other = self.host.client()
        request = other.send("exec.run", session="one", command=["yes"], timeout_seconds=1.5, max_output_bytes=1000)
        times = []
        end = time.monotonic() + 1
        while time.monotonic() < end:
            begun = time.monotonic()
            self.client.call("system.health")
            times.append(time.monotonic() - begun)
        with self.assertRaises(RpcError) as caught:
            other.answer(request)
        self.assertEqual(caught.exception.kind, "timeout")
        self.assertLess(statistics.median(times), scaled(0.05))

    def test_a_flood_and_the_neighbour(self):
        """Commands that print without end, with readers and without, beside another session's commands."""
        self.client.call("session.create", template="minimal", id="beside")
        self.addCleanup(self.client.call, "session.remove", session="beside")

        def median(n):
            times = []
            for _ in range(n):
                begun = time.monotonic()
                self.assertEqual(self.client.call("exec.run", session="beside", command=["echo", "here"])["stdout"], "here\n")
                times.append(time.monotonic() - begun)
            return statistics.median(times)

        quiet = median(50)
        control = self.host.control_pid()
        before = resident_kib(control)
        other = self.host.client()
        requests = [other.send("exec.run", session="one", command=["yes"], timeout_seconds=Exactly(waited(3)), max_output_bytes=1000)
                    for _ in range(4)]
        deaf = self.client.call("exec.start", session="one", command=["yes"])
        beside = median(50)
        grown = resident_kib(control) - before
        results = [message["error"]["data"]["result"] for message in answers(other, requests)]
        self.client.call("exec.signal", session="one", exec=deaf["exec"], signal="SIGKILL")
        # What was dropped is said, and it was much: the flood was one.
        self.assertTrue(all(r["truncated"] and r["dropped_bytes"] > 1 << 20 for r in results), results)
        print(f"exec.run of a neighbour: {quiet * 1e3:.2f} ms quiet, {beside * 1e3:.2f} ms beside four floods, control grew by {grown} KiB",
              flush=True)
        self.assertLess(grown, 4096)
        self.assertLess(beside, quiet + scaled(0.2))

    def test_timeout_kills_the_group(self):
        begun = time.monotonic()
        error = self.expect("timeout", "sh", "-c", "echo so far; (sleep 7777 & wait) & sleep 7777", timeout_seconds=Exactly(waited(0.5)))
        self.assertLess(time.monotonic() - begun, scaled(5))
        self.assertEqual(error.data["result"]["stdout"], "so far\n")
        self.assertIsNone(error.data["result"]["exit_code"])
        left = []

        def gone():
            left[:] = [line for line in self.run_in("ps", "-o", "pid,ppid,pgid,stat,args")["stdout"].splitlines() if "7777" in line]
            return not left

        try:
            wait_until(gone, 4, "the group is gone")
        except AssertionError as e:
            raise AssertionError("\n".join(left)) from e

    def test_limit_per_session(self):
        clients = [self.host.client() for _ in range(4)]
        requests = [[c.send("exec.run", session="one", command=["sleep", "4"]) for _ in range(64)] for c in clients]
        wait_until(lambda: [name_of(pid) for pid in session_pids(self.init)].count("sleep") >= 256, what="256 commands")
        error = self.expect("limit", "true")
        self.assertIn("256 commands", str(error))
        for client, sent in zip(clients, requests):
            self.assertEqual({message["result"]["exit_code"] for message in answers(client, sent)}, {0})
        self.assertEqual(self.run_in("true")["exit_code"], 0)

    # ---- refusals

    def test_not_started(self):
        for command, params, step, errno in (
                (["nonesuch"], {}, "exec", "ENOENT"),
                (["/bin/nonesuch"], {}, "exec", "ENOENT"),
                (["/etc/passwd"], {}, "exec", "EACCES"),
                (["/"], {}, "exec", "EACCES"),
                (["true"], {"cwd": "/nonesuch"}, "cwd", "ENOENT"),
                (["true"], {"cwd": "/etc/passwd"}, "cwd", "ENOTDIR"),
                (["true"], {"user": "nobody-of-this-name"}, "user", None)):
            error = self.expect("failed", *command, **params)
            self.assertEqual(error.data["step"], step, error)
            self.assertEqual(error.data["errno"], errno or error.data["errno"], error)

    def test_state(self):
        self.client.call("session.create", template="exec", id="two")
        self.client.call("session.pause", session="two")
        self.expect("invalid_state", "true", session="two")
        self.client.call("session.resume", session="two")
        self.assertEqual(self.run_in("true", session="two")["exit_code"], 0)
        request = self.client.send("exec.run", session="two", command=["sleep", "60"])
        other = self.host.client()
        wait_until(lambda: "sleep 60" in other.call("exec.run", session="two", command=["ps", "-o", "args"])["stdout"],
                   what="the command")
        other.call("session.stop", session="two")
        with self.assertRaises(RpcError) as caught:
            self.client.answer(request)
        self.assertEqual(caught.exception.kind, "invalid_state")
        self.expect("invalid_state", "true", session="two")
        self.client.call("session.remove", session="two")
        self.expect("not_found", "true", session="two")

    def test_timeout_of_a_session_that_is_paused_meanwhile(self):
        self.client.call("session.create", template="exec", id="frozen")
        request = self.client.send("exec.run", session="frozen", command=["sleep", "61"], timeout_seconds=Exactly(waited(1)))
        self.host.client().call("session.pause", session="frozen")
        with self.assertRaises(RpcError) as caught:
            self.client.answer(request)
        self.assertEqual(caught.exception.kind, "timeout")
        self.client.call("session.resume", session="frozen")
        wait_until(lambda: "sleep 61" not in self.run_in("ps", "-o", "args", session="frozen")["stdout"], what="its end")
        self.client.call("session.remove", session="frozen")

    def test_counts_as_use(self):
        self.client.call("session.create", template="exec", id="idle", idle_timeout_seconds=waited(0.5))
        self.assertEqual(self.run_in("sleep", str(waited(1.0)), session="idle")["exit_code"], 0)
        ended = self.client.call("session.wait", session="idle", **{"for": "ended"}, timeout_seconds=10)
        self.assertEqual(ended["end"]["reason"], "idle")

    # ---- what is left

    def test_a_client_that_goes_takes_its_command_along(self):
        client = self.host.client()
        client.send("exec.run", session="one", command=["sleep", "62"])
        there = lambda: "sleep 62" in self.run_in("ps", "-o", "args")["stdout"]
        wait_until(there, what="the command")
        client.close()
        wait_until(lambda: not there(), what="its end")

    def test_control_killed_in_the_middle(self):
        client = self.host.client()
        client.send("exec.run", session="one", command=["sh", "-c", "sleep 1; echo survived > /tmp/survived"])
        wait_until(lambda: "sleep 1" in self.run_in("ps", "-o", "args")["stdout"], what="the command")
        os.kill(self.host.control_pid(), 9)
        self.host.wait_for_api()
        type(self).client = self.host.client()
        wait_until(lambda: self.sh("cat /tmp/survived")["stdout"] == "survived\n", what="it went on")

    def test_many_in_a_row_leave_nothing(self):
        def counted():
            pids = {"control": self.host.control_pid(), "init": self.init, "carreld": self.host.process.pid}
            return {name: (open_files(pid), resident_kib(pid)) for name, pid in pids.items()}

        for _ in range(FEW):
            self.run_in("true")
        before, processes, times = counted(), len(session_pids(self.init)), []
        for i in range(MANY):
            begun = time.monotonic()
            self.assertEqual(self.run_in("echo", str(i))["stdout"], f"{i}\n")
            times.append(time.monotonic() - begun)
        after = counted()
        print(f"exec round trip: median {statistics.median(times) * 1000:.2f} ms of {MANY}, "
              f"95 % below {statistics.quantiles(times, n=20)[-1] * 1000:.2f} ms")
        self.assertEqual(len(session_pids(self.init)), processes)
        for name in before:
            self.assertLessEqual(after[name][0], before[name][0], f"descriptors of {name}")
            self.assertLessEqual(after[name][1], before[name][1] + 256, f"memory of {name}, KiB")

    def test_many_at_once(self):
        names = [f"busy-{i}" for i in range(CONCURRENT_SESSIONS)]
        for name in names:
            self.client.call("session.create", template="exec", id=name)
        failures, finished, lock = [], [], threading.Lock()
        control = self.host.control_pid()
        before = open_files(control)

        def work(name):
            client = self.host.client()
            requests = [client.send("exec.run", session=name, command=["sh", "-c", f"sleep 0.2; echo {i}"])
                        for i in range(CONCURRENT_EACH)]
            wrong = [message for i, message in enumerate(answers(client, requests))
                     if message.get("result", {}).get("stdout") != f"{i}\n"]
            client.close()
            with lock:
                failures.extend(wrong)
                finished.append(name)

        threads = [threading.Thread(target=work, args=(name,)) for name in names]
        begun = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(f"{CONCURRENT_SESSIONS * CONCURRENT_EACH} at once: {time.monotonic() - begun:.2f} s")
        self.assertEqual((failures, sorted(finished)), ([], names))
        for name in names:
            self.client.call("session.remove", session=name)
        wait_until(lambda: open_files(control) <= before, what="descriptors are closed")


if __name__ == "__main__":
    unittest.main()
