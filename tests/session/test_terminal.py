# SPDX-License-Identifier: Apache-2.0
"""Terminals that outlive connections, as a person sees them: through a terminal emulator, tmux, and its screen."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

from carrel_host import Host, RpcError, own_network, scaled, wait_until
from test_exec import open_files
from test_exec_start import TEMPLATE, read_all

TERMINALS, VIEWERS, SCROLLBACK = 16, 8, 65536

# A person's side: the pane's terminal, raw, joined to the stream; a new size of the pane is passed on.
VIEWER = """
import json, os, selectors, signal, socket, sys, termios, tty
directory, name, command = sys.argv[1:]
api = socket.socket(socket.AF_UNIX)
api.connect(directory + "/api.sock")
answers = api.makefile("rb")
def call(method, **params):
    params = {"session": "one", **params}
    api.sendall(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode() + b"\\n")
    return json.loads(answers.readline())["result"]
def size():
    columns, rows = os.get_terminal_size(0)
    return {"rows": rows, "cols": columns}
more = {"command": json.loads(command)} if command else {}
opened = call("terminal.open", name=name, **size(), **more)
stream = socket.socket(socket.AF_UNIX)
stream.connect(directory + "/stream.sock")
stream.sendall(json.dumps({"token": opened["stream"]["token"]}).encode() + b"\\n")
signal.signal(signal.SIGWINCH, lambda *_: call("exec.resize", exec=name, **size()))
before = termios.tcgetattr(0)
tty.setraw(0)
ready = selectors.DefaultSelector()
ready.register(0, selectors.EVENT_READ)
ready.register(stream, selectors.EVENT_READ)
try:
    while True:
        for key, _ in ready.select():
            data = os.read(key.fd, 65536)
            if not data or data == b"\\x1d":  # Ctrl-]: leave
                raise EOFError
            os.write(1, data) if key.fd != 0 else stream.sendall(data)
except (EOFError, ConnectionError):
    termios.tcsetattr(0, termios.TCSANOW, before)
    print("left")
"""


def setUpModule():
    own_network()


class Case(unittest.TestCase):
    template = TEMPLATE
    images = ("minimal",)

    @classmethod
    def setUpClass(cls):
        cls.host = Host(templates={"exec": cls.template}, images=cls.images).start()
        cls.addClassCleanup(cls.host.close)
        cls.client = cls.host.client()
        cls.client.call("session.create", template="exec", id="one")
        cls.init = cls.host.init_pids()[0]

    def open(self, **params):
        opened = self.client.call("terminal.open", session="one", **{"rows": 24, "cols": 80, **params})
        stream = self.host.stream(opened["stream"])
        self.addCleanup(stream.close)
        return opened, stream

    def attach(self, opened):
        again = self.client.call("terminal.attach", session="one", terminal=opened["terminal"])
        stream = self.host.stream(again["stream"])
        self.addCleanup(stream.close)
        return stream

    def expect(self, stream, text):
        """Reads on until TEXT has been shown; all that was."""
        shown = b""
        stream.settimeout(scaled(10))
        while text not in shown:
            part = stream.recv(65536)
            self.assertTrue(part, f"the end, after {shown!r}")
            shown += part
        return shown

    def end(self, opened):
        self.client.call("exec.signal", session="one", exec=opened["terminal"], signal="KILL")
        self.client.call("exec.wait", session="one", exec=opened["exec"], timeout_seconds=20)

    def refused(self, kind, method, **params):
        with self.assertRaises(RpcError) as caught:
            self.client.call(method, session="one", **params)
        self.assertEqual(caught.exception.kind, kind, caught.exception)
        return caught.exception


class Terminal(Case):
    def test_is_one(self):
        opened, stream = self.open(rows=31, cols=97)
        self.assertTrue(opened["created"])
        stream.sendall(b"tty; stty size; id -u; echo $TERM; ls -ln $(tty); cat /proc/self/stat | cut -d' ' -f7; echo do''ne\r")
        shown = self.expect(stream, b"done\r\n").decode()
        self.assertRegex(shown, r"/dev/pts/\d+\r\n31 97\r\n1000\r\nxterm-256color\r\ncrw--w---- +1 1000 ")
        self.assertNotIn("\r\n0\r\ndone", shown)  # it is a controlling terminal
        # It can be opened again by those to whom it belongs.
        stream.sendall(b"echo again > /dev/stderr; echo co''ntrol > /dev/tty\r")
        self.assertIn("again\r\n", self.expect(stream, b"control\r\n").decode())
        self.end(opened)

    def test_no_descriptor_too_many(self):
        opened, stream = self.open(command=["sh", "-c", "ls /proc/self/fd; echo do''ne; read end"])
        self.assertEqual(self.expect(stream, b"done").split(), [b"0", b"1", b"2", b"3", b"done"])

    def test_resize_and_signals(self):
        opened, stream = self.open(command=["sh", "-c", "trap 'stty size' WINCH; trap 'echo interrupted' INT; echo up; "
                                                        "while true; do sleep 0.1; done"])
        self.expect(stream, b"up\r\n")
        self.client.call("exec.resize", session="one", exec=opened["terminal"], rows=10, cols=20)
        self.expect(stream, b"10 20\r\n")
        stream.sendall(b"\x03")
        self.expect(stream, b"interrupted\r\n")
        self.end(opened)
        self.refused("invalid_state", "exec.resize", exec=opened["exec"], rows=10, cols=20)

    def test_closed_with_its_shell(self):
        opened, stream = self.open()
        stream.sendall(b"sleep 1000 & exit 7\r")
        read_all(stream)
        ended = self.client.call("exec.wait", session="one", exec=opened["exec"], timeout_seconds=10)
        self.assertEqual(ended["exit_code"], 7)
        # Its name is free again.
        again, _ = self.open(name=opened["terminal"])
        self.assertTrue(again["created"])
        self.end(again)

    def test_scrollback(self):
        opened, stream = self.open(name="scroll")
        stream.sendall(b"for i in $(seq 20000); do echo line $i; done; echo en''d\r")
        self.expect(stream, b"end\r\n")
        stream.close()
        shown = self.expect(self.attach(opened), b"end\r\n")
        self.assertLessEqual(len(shown), SCROLLBACK)
        self.assertGreater(len(shown), SCROLLBACK - 4096)
        self.assertIn(b"line 19999\r\nline 20000\r\nend\r\n", shown)
        self.end(opened)

    def test_nobody_watches(self):
        """Output goes on without anybody, and into nothing but the scrollback."""
        opened, stream = self.open(command=["sh", "-c", "read x; seq 100000; echo fi''nished; sleep 1000"])
        stream.sendall(b"\r")
        stream.close()
        wait_until(lambda: b"finished" in self.peek(opened), what="the end of the output")
        self.end(opened)

    def peek(self, opened):
        with self.attach(opened) as stream:
            stream.settimeout(0.2)
            shown = b""
            try:
                while part := stream.recv(65536):
                    shown += part
            except TimeoutError:
                pass
            return shown

    def test_attached_only_after_the_end(self):
        """What it showed is there for the stream that was offered first, and for who asks when it has ended."""
        opened, _ = self.opened_and_ended(["sh", "-c", "echo hello; stty size; exit 3"], rows=7, cols=70, name="short")
        self.assertEqual(read_all(self.host.stream(opened["stream"])), b"hello\r\n7 70\r\n")
        self.assertEqual(read_all(self.attach(opened)), b"hello\r\n7 70\r\n")
        named = {"session": "one", "exec": opened["exec"]}
        stream = self.client.call("exec.attach", **named)["stream"]
        self.assertEqual(read_all(self.host.stream(stream)), b"hello\r\n7 70\r\n")
        self.assertEqual(self.client.call("exec.wait", **named)["exit_code"], 3)
        # The end of what it showed, where that was long; and nothing is left to be resized.
        opened, ended = self.opened_and_ended(["sh", "-c", "seq 50000; exec echo done"])
        self.assertEqual(ended["exit_code"], 0)
        shown = read_all(self.host.stream(opened["stream"]))
        self.assertEqual(len(shown), SCROLLBACK)
        self.assertTrue(shown.endswith(b"49999\r\n50000\r\ndone\r\n"), shown[-99:])
        self.refused("invalid_state", "exec.resize", exec=opened["exec"], rows=10, cols=20)

    def opened_and_ended(self, command, **params):
        opened = self.client.call("terminal.open", session="one", command=command, **{"rows": 24, "cols": 80, **params})
        return opened, self.client.call("exec.wait", session="one", exec=opened["exec"], timeout_seconds=20)

    def test_ended_ones_make_room(self):
        """The newest are there to be looked at; those that nobody has seen stay longer; and new ones always start."""
        opened = [self.opened_and_ended(["echo", f"this is {i}"])[0] for i in range(3 * TERMINALS)]
        for i in range(2 * TERMINALS, 3 * TERMINALS):
            self.assertEqual(read_all(self.attach(opened[i])), f"this is {i}\r\n".encode())
        self.assertEqual(read_all(self.attach(opened[0])), b"")
        for _ in range(TERMINALS):
            self.opened_and_ended(["true"])
        self.assertEqual(read_all(self.attach(opened[TERMINALS])), f"this is {TERMINALS}\r\n".encode())
        self.assertEqual(read_all(self.attach(opened[-1])), b"")

    def test_viewers(self):
        opened, first = self.open(name="shared")
        second = self.attach(opened)
        first.sendall(b"echo fr''om-first\r")
        self.expect(first, b"from-first\r\n")
        self.expect(second, b"from-first\r\n")
        second.sendall(b"echo fr''om-second\r")
        self.expect(first, b"from-second\r\n")
        self.expect(second, b"from-second\r\n")
        viewers = [self.attach(opened) for _ in range(VIEWERS - 2)]
        error = self.refused("limit", "terminal.attach", terminal="shared")
        self.assertIn(str(VIEWERS), str(error))
        viewers.pop().close()
        wait_until(lambda: self.room(opened), what="room for a viewer")
        self.end(opened)

    def room(self, opened):
        try:
            self.attach(opened)
            return True
        except RpcError:
            return False

    def test_slow_viewer_holds_up_nobody(self):
        opened, fast = self.open(name="slow")
        slow = self.attach(opened)
        self.expect(slow, b"$")
        fast.sendall(b"yes 0123456789012345678901234567890123456789 | head -c 8000000; echo en''d\r")
        self.expect(fast, b"end\r\n")
        # It missed some, is told so, and sees the end.
        self.assertIn(b"[output skipped]", self.expect(slow, b"end\r\n"))
        self.end(opened)

    def test_only_viewer_that_stops(self):
        """Then the program waits, as at any terminal; and goes on when somebody looks."""
        opened, stream = self.open(command=["sh", "-c", "seq 1000000; echo en''d; sleep 1000"])
        time.sleep(0.3)
        self.assertIn(b"999999\r\n1000000\r\nend", self.expect(stream, b"end\r\n"))
        self.end(opened)

    def test_limit(self):
        opened = []
        with self.assertRaises(RpcError) as caught:
            for _ in range(TERMINALS + 1):
                opened.append(self.open()[0])
        self.assertEqual(caught.exception.kind, "limit")
        self.assertIn(str(TERMINALS), str(caught.exception))
        self.assertEqual(len({one["terminal"] for one in opened}), len(opened))
        for one in opened:
            self.end(one)

    def test_nothing_is_left(self):
        control = self.host.control_pid()
        opened, stream = self.open()
        self.end(opened)
        read_all(stream)
        files = wait_until(lambda: (open_files(control), open_files(self.init)), what="files")
        for _ in range(30):
            opened, stream = self.open()
            self.end(opened)
            read_all(stream)
        wait_until(lambda: open_files(control) <= files[0] and open_files(self.init) <= files[1], what="no descriptor more")

    def test_survives_control(self):
        opened, stream = self.open(name="lasting")
        stream.sendall(b"KEPT=value; echo re''ady\r")
        self.expect(stream, b"ready\r\n")
        before = self.host.control_pid()
        os.kill(before, signal.SIGKILL)
        wait_until(lambda: self.host.control_pid() not in (None, before), what="another control")
        self.host.wait_for_api()
        type(self).client = self.host.client()

        def attached():
            try:
                return self.attach(opened)
            except RpcError as error:
                if error.kind != "not_ready":
                    raise
                return None
        again = wait_until(attached, what="attach")
        self.expect(again, b"ready\r\n")
        again.sendall(b"echo $KEPT\r")
        self.expect(again, b"value\r\n")
        self.end(opened)


@unittest.skipUnless(shutil.which("tmux"), "tmux is not installed")
class Screen(Case):
    def setUp(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="carrel-tmux-"))
        self.addCleanup(shutil.rmtree, self.directory)
        (self.directory / "viewer.py").write_text(VIEWER)
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", "sh")
        self.addCleanup(self.tmux, "kill-server", check=False)  # it ends with its last program
        self.tmux("set-option", "-g", "status", "off")

    def tmux(self, *arguments, check=True):
        environment = {**os.environ, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
        return subprocess.run(["tmux", "-S", str(self.directory / "socket"), *arguments], env=environment,
                              capture_output=True, text=True, check=check).stdout

    def type(self, *keys):
        self.tmux("send-keys", *keys)

    def view(self, name, command=""):
        program = f"{sys.executable} -S {self.directory}/viewer.py"
        self.type(f"clear; exec {program} {self.host.run_dir} {name} '{command}'", "Enter")

    def leave_and_view(self, name):
        self.tmux("respawn-pane", "-k", "sh")
        self.view(name)

    def screen(self):
        return self.tmux("capture-pane", "-p").rstrip("\n").split("\n")

    def shows(self, condition, what):
        try:
            wait_until(lambda: condition(self.screen()), 15, what)
        except AssertionError as error:
            raise AssertionError(f"{error}:\n" + "\n".join(self.screen())) from None

    def resize(self, columns, rows):
        self.tmux("resize-window", "-x", str(columns), "-y", str(rows))


class Busybox(Screen):
    def test_shell(self):
        self.view("shell")
        self.shows(lambda s: s[-1].endswith("$"), "a prompt")
        self.type("stty size; echo Grüße", "Enter")
        self.shows(lambda s: "24 80" in s and "Grüße" in s, "the size")
        self.resize(100, 30)
        self.type("stty size", "Enter")
        self.shows(lambda s: "30 100" in s, "the new size")
        self.leave_and_view("shell")
        self.shows(lambda s: "30 100" in s and "24 80" in s, "what was shown before")

    def test_editor(self):
        """A full-screen program, resized twice, left and seen again: its screen is right."""
        self.view("editor", '["vi","/tmp/text"]')
        self.shows(lambda s: s[1:2] == ["~"], "an empty file")
        self.type("i", "first line", "Enter", "second line", "Escape")
        self.shows(lambda s: s[:2] == ["first line", "second line"] and s[2] == "~", "what was typed")
        for columns, rows in ((60, 15), (90, 28)):
            self.resize(columns, rows)
            self.type("C-l")
            self.shows(lambda s: s[:2] == ["first line", "second line"] and len(s) == rows and s[rows - 2] == "~",
                       "a redrawn screen")
        self.leave_and_view("editor")
        self.type("C-l")
        self.shows(lambda s: s[:2] == ["first line", "second line"] and len(s) == 28 and s[26] == "~",
                   "the screen again")
        self.type(":wq", "Enter")
        self.client.call("exec.wait", session="one", exec="editor", timeout_seconds=10)
        written = self.client.call("exec.run", session="one", command=["cat", "/tmp/text"])["stdout"]
        self.assertEqual(written, "first line\nsecond line\n")

    def test_top(self):
        self.view("top", '["top","-d","1"]')
        self.shows(lambda s: any("PID" in line and "COMMAND" in line for line in s), "processes")
        self.resize(60, 12)
        self.shows(lambda s: len(s) <= 12 and any("PID" in line for line in s), "fewer of them")
        self.leave_and_view("top")
        self.shows(lambda s: any("sleep infinity" in line or "busybox" in line for line in s), "processes again")
        self.type("q")
        self.client.call("exec.wait", session="one", exec="top", timeout_seconds=10)


@unittest.skipUnless(shutil.which("vim"), "vim is not installed")
class OfTheHost(Screen):
    """bash, vim and top as people know them: the host's own /usr."""
    images = ("host",)
    template = {**TEMPLATE, "image": "host", "command": ["/usr/bin/sleep", "infinity"],
                "env": {"PATH": "/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8"},
                "mounts": [{"type": "bind", "source": "/usr", "target": "/usr", "read_only": True},
                           {"type": "tmpfs", "target": "/tmp", "mode": "1777", "size_bytes": 16777216, "inodes": 1024}]}

    def test_shell_editor_top(self):
        self.view("desk")
        self.shows(lambda s: s[-1].rstrip().endswith("$"), "a prompt")
        self.type("echo $BASH; stty size; printf 'one\\ntwo\\n' > /tmp/text", "Enter")
        self.shows(lambda s: any(line.endswith("/bash") for line in s) and "24 80" in s, "bash")
        self.type("vim -u NONE -N /tmp/text", "Enter")
        self.shows(lambda s: s[:3] == ["one", "two", "~"], "the file")
        self.type("o", "three", "Escape")
        for columns, rows in ((61, 14), (95, 29)):
            self.resize(columns, rows)
            self.shows(lambda s: s[:4] == ["one", "three", "two", "~"] and s[rows - 2:rows - 1] == ["~"], "a redrawn screen")
        self.leave_and_view("desk")
        self.shows(lambda s: s[:4] == ["one", "three", "two", "~"] and s[27:28] == ["~"], "the screen again")
        self.type(":wq", "Enter")
        self.shows(lambda s: s[-1].rstrip().endswith("$"), "the prompt again")
        self.type("clear; cat /tmp/text; top -d 1", "Enter")
        self.shows(lambda s: s[0].startswith("top - ") and any("PID" in line and "COMMAND" in line for line in s), "top")
        self.resize(80, 20)
        self.shows(lambda s: s[0].startswith("top - ") and len(s) <= 20 and any(line.endswith("sleep") for line in s),
                   "fewer lines")
        self.type("q")
        self.type("cat /tmp/text; stty size", "Enter")
        self.shows(lambda s: "three" in s and "20 80" in s, "the text and the size")


del Case, Screen

if __name__ == "__main__":
    unittest.main()
