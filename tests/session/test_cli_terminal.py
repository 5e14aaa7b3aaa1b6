# SPDX-License-Identifier: Apache-2.0
"""carrel exec -it, shell and attach in a real terminal emulator: tmux types, resizes and looks at the screen."""

import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

from carrel_host import ROOT, TEST_DIR, Host, own_network, scaled, wait_until

CARREL = ROOT / "usr/bin/carrel"
TEMPLATE = {"kind": "exec", "image": "host", "command": ["/usr/bin/sleep", "infinity"],
            "env": {"PATH": "/usr/bin:/bin", "HOME": "/tmp", "TERM": "xterm-256color", "PS1": "desk> "},
            "user": {"uid": 1000, "gid": 1000}, "workdir": "/tmp", "capabilities": [], "seccomp": "minimal",
            "limits": {"memory_bytes": 1 << 30, "swap_bytes": 0, "cpus": 2.0, "pids": 512, "root_bytes": 64 << 20,
                       "root_inodes": 8192, "shm_bytes": 1048576, "open_files": 1024},
            "network": {"egress": "none"}, "stop": {"signal": "SIGKILL", "grace_seconds": 1}}


def setUpModule():
    own_network()


class Terminal(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        template = {**TEMPLATE}
        host = json.loads((ROOT / "etc/carrel/templates.d/browser-host.json").read_text())
        template["mounts"] = host.get("mounts", [])
        cls.host = Host(templates={"exec": template}, images=("host",)).start()
        cls.addClassCleanup(cls.host.close)
        cls.client = cls.host.client()
        cls.client.call("session.create", template="exec", id="desk")
        cls.dir = pathlib.Path(tempfile.mkdtemp(prefix="carrel-tmux-", dir=TEST_DIR))
        cls.addClassCleanup(shutil.rmtree, cls.dir)
        cls.environment = {**os.environ, "CARREL_SOCKET": str(cls.host.socket_path), "LC_ALL": "C.UTF-8",
                           "PATH": f"{CARREL.parent}:{os.environ['PATH']}", "TERM": "xterm-256color"}

    def carrel(self, *arguments, **kwargs):
        return subprocess.run([CARREL, *arguments], env=self.environment, capture_output=True, timeout=scaled(60), **kwargs)

    # ---- exec -i

    def test_streams_of_a_command(self):
        data = os.urandom(3_000_000)
        result = self.carrel("exec", "-i", "desk", "cat", input=data)
        self.assertEqual((result.returncode, result.stderr), (0, b""))
        self.assertEqual(result.stdout, data)
        result = self.carrel("exec", "-i", "desk", "sh", "-c", "echo out; echo err >&2; exit 7", input=b"")
        self.assertEqual((result.returncode, result.stdout, result.stderr), (7, b"out\n", b"err\n"))
        self.assertEqual(self.carrel("exec", "-i", "desk", "sh", "-c", "kill -9 $$", input=b"").returncode, 137)

    def test_what_ends_at_once_is_shown(self):
        """However soon it ends: before its streams are opened, while they are, and many at a time."""
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            for options in (("-t",), ("-it",), ("-i",)):
                results = pool.map(lambda i: self.carrel("exec", *options, "desk", "echo", f"hi {i}", input=b""), range(16))
                for i, result in enumerate(results):
                    self.assertEqual((result.returncode, result.stdout.rstrip(), result.stderr), (0, b"hi %d" % i, b""), options)

    def test_exit_status_of_what_did_not_run(self):
        for words, status in ((("desk", "nonesuch"), 127), (("desk", "/tmp"), 126), (("nobody", "true"), 125)):
            for options in ((), ("-i",)):
                with self.subTest(words, options=options):
                    self.assertEqual(self.carrel("exec", *options, *words, input=b"").returncode, status)

    def test_signals_go_to_the_command(self):
        process = subprocess.Popen([CARREL, "exec", "-i", "desk", "sh", "-c",
                                    "trap 'echo caught; exit 3' TERM; echo ready; while :; do sleep 0.05; done"],
                                   env=self.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.assertEqual(process.stdout.readline(), b"ready\n")
        process.terminate()
        self.assertEqual(process.communicate(timeout=scaled(20))[0], b"caught\n")
        self.assertEqual(process.returncode, 3)

    # ---- in a terminal emulator

    def tmux(self, *arguments):
        result = subprocess.run(["tmux", "-S", self.dir / "tmux", *arguments], env=self.environment, capture_output=True,
                                text=True, timeout=scaled(30))
        self.assertEqual(result.returncode, 0, f"{arguments} {result.stderr}")
        return result.stdout

    def screen(self):
        return self.tmux("capture-pane", "-p", "-t", "t")

    def see(self, *words, seconds=15):
        try:
            wait_until(lambda: all(word in self.screen() for word in words), seconds, str(words))
        except AssertionError as e:
            raise AssertionError(f"{e}\n{self.screen()}") from None

    def keys(self, *keys):
        self.tmux("send-keys", "-t", "t", *keys)

    @unittest.skipUnless(shutil.which("tmux") and shutil.which("vim"), "there is no tmux or no vim")
    def test_vim_is_resized_left_and_come_back_to(self):
        self.client.call("exec.run", session="desk", command=["sh", "-c", "seq -f 'line %g' 200 > /tmp/text"])
        self.tmux("-f", "/dev/null", "new-session", "-d", "-s", "t", "-x", "80", "-y", "24", "env PS1='here> ' sh")
        self.addCleanup(self.tmux, "kill-server")
        self.keys("carrel shell desk --name pane -- sh", "Enter")
        self.see("desk>")
        self.keys("stty size", "Enter")
        self.see("24 80")
        self.keys("vim -u NONE /tmp/text", "Enter")
        self.see("line 1\n", "line 23\n")
        for columns, rows in ((100, 30), (60, 15)):
            self.tmux("resize-window", "-t", "t", "-x", str(columns), "-y", str(rows))
            # The last row is vim's own.
            wait_until(lambda: f"line {rows - 1}\n" in (seen := self.screen()) and f"line {rows}\n" not in seen, 15,
                       f"{rows} rows")
        before = self.screen()
        self.keys("C-p", "C-q")
        self.see("carrel attach desk pane", "here>")
        self.assertNotIn("line 14", self.screen())
        self.keys("clear; stty -a | grep -c -- -icanon; carrel attach desk pane", "Enter")
        wait_until(lambda: self.screen() == before, 15, f"the screen as it was:\n{before}")
        self.keys(":q", "Enter")
        self.see("desk>")
        self.keys("top -d 100", "Enter")
        self.see("PID USER", "load average")
        self.tmux("resize-window", "-t", "t", "-x", "90", "-y", "20")
        self.see("PID USER", "COMMAND", "load average")
        self.keys("q")
        self.keys("exit 5", "Enter")
        self.see("here>")
        self.keys("echo status $?; stty -a | grep -o -- '-*icanon'", "Enter")
        self.see("status 5", "\nicanon")

    @unittest.skipUnless(shutil.which("tmux") and shutil.which("htop"), "there is no tmux or no htop")
    def test_htop_redraws_all_of_the_screen(self):
        self.tmux("-f", "/dev/null", "new-session", "-d", "-s", "t", "-x", "80", "-y", "24", "env PS1='here> ' sh")
        self.addCleanup(self.tmux, "kill-server")
        self.keys("carrel shell desk --name meters -- htop -d 100", "Enter")
        for columns, rows in ((80, 24), (110, 34), (70, 18)):
            self.tmux("resize-window", "-t", "t", "-x", str(columns), "-y", str(rows))
            self.see("Tasks:", "Load average:", "PID USER")
            # The keys are on the last row, whatever its number.
            wait_until(lambda: "F1Help" in (seen := self.screen().rstrip("\n").split("\n"))[-1] and len(seen) == rows, 15,
                       f"{rows} rows")
        self.keys("C-p", "C-q")
        self.see("carrel attach desk meters")
        # Other keys: the first of them, and those of before, are the program's.
        self.keys("clear; carrel attach --detach-keys=ctrl-a,d desk meters", "Enter")
        self.see("Tasks:", "F1Help")
        self.keys("C-p", "C-q", "C-a", "C-a", "d")
        self.see("it goes on; `carrel attach desk meters` comes", "here>")
        self.keys("clear; carrel attach --detach-keys= desk meters", "Enter")
        self.see("Tasks:", "F1Help")
        self.keys("C-p", "C-q", "q")
        self.see("here>")

    def test_detach_keys_that_are_none(self):
        """They are refused before anything is started."""
        for verb, rest in (("exec", ("-t", "desk", "true")), ("shell", ("desk",)), ("attach", ("desk", "pane"))):
            for keys in ("ctrl-1", "ctrl-p ctrl-q", ",", "a,b,c,d,e,f,g,h,i"):
                result = self.carrel(verb, "--detach-keys", keys, *rest, input=b"")
                self.assertEqual((result.returncode, result.stdout), (2, b""), result)
                self.assertIn(b"--detach-keys: ", result.stderr)

    @unittest.skipUnless(shutil.which("tmux"), "there is no tmux")
    def test_exec_is_left_and_come_back_to(self):
        self.tmux("-f", "/dev/null", "new-session", "-d", "-s", "t", "-x", "80", "-y", "24", "env PS1='here> ' sh")
        self.addCleanup(self.tmux, "kill-server")
        self.keys("carrel exec -it --detach-keys '~,.' desk -- sh -c 'echo be''gun; read word; echo \"got $word\"; exit 9'", "Enter")
        self.see("begun")
        self.keys("~.")
        self.see("carrel exec: it goes on; `carrel attach desk exec-", "here>")
        name = re.search(r"attach desk (exec-\w+)", self.screen())[1]
        self.keys(f"clear; carrel attach desk {name}; echo status $?", "Enter")
        self.see("begun")
        self.keys("~word", "Enter")
        self.see("got ~word", "status 9")
        # And once more, when it has ended.
        self.keys(f"clear; carrel attach desk {name}; echo again $?", "Enter")
        self.see("got ~word", "again 9")


if __name__ == "__main__":
    unittest.main()
