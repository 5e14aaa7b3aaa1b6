# SPDX-License-Identifier: Apache-2.0
"""carrel-init once the workload runs: output, commands, ports, and a control process that is well, slow or hostile."""

import errno
import fcntl
import os
import pathlib
import random
import select
import signal
import socket
import struct
import tempfile
import termios
import time
import unittest
import unittest.mock

from carrel_host import scaled, wait_until
from carrel_init import (ATTACH, CDP_PIPE, CONNECT, CONNECT_PATH, END_INPUT, EV_EXITED, EV_HELLO, EV_OUTPUT, EXEC, FORGET, HEADER, LABEL, LIST,
                         MAX_EXECS, REPLY, RESIZE, SIGNAL, START, STOP,
                         STOP_CDP, STOP_SIGNAL, TTY, WATCH_OUTPUT, Session, make_image, make_spec, status_of)

SLEEP = ["sleep", "1000"]


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        holder = tempfile.TemporaryDirectory(prefix="carrel-init-")
        cls.addClassCleanup(holder.cleanup)
        cls.directory = pathlib.Path(holder.name)
        make_image(cls.directory)

    def start(self, command=SLEEP, *options, **named):
        self.session = Session(self.directory, command, *options, **named)
        self.addCleanup(self.session.close)
        self.assertIsNone(self.session.error)
        return self.session

    def control(self, hello=("running", 0)):
        control = self.session.control()
        self.addCleanup(control.close)
        if hello:
            self.assertEqual(control.hello(), hello)
        return control

    def serving(self, *command, **named):
        self.start(*command, **named)
        return self.control()


class OutputOfTheWorkload(Case):
    def test_streams_in_order_and_whole(self):
        self.start(["/bin/sh", "-c", "echo one; echo two >&2; printf three"])
        self.assertEqual(self.session.wait(), 0)
        output = self.session.output
        self.assertEqual((output.stdout, output.stderr, output.init), ("one\nthree", "two\n", ""))
        self.assertEqual(output.dropped, 0)

    def test_last_words_are_kept(self):
        """What was in the pipes when the workload ended is in the file, all of it."""
        self.start(["/bin/sh", "-c", "head -c 60000 /dev/zero | tr '\\0' x; exec kill -9 $$"])
        self.session.wait()
        self.start(["/bin/sh", "-c", "yes 0123456789 | head -c 60000"])
        self.assertEqual(self.session.wait(), 0)
        self.assertEqual(len(self.session.output.stdout), 60000)

    def test_flood_holds_up_nobody(self):
        control = self.serving(["/bin/sh", "-c", "yes aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa & yes b >&2"])
        wait_until(lambda: self.session.output.dropped > 1 << 20, what="a flood")
        slowest = 0
        for i in range(1, 51):
            begun = time.monotonic()
            self.assertIsNone(control.signal(i, 0, 0))
            slowest = max(slowest, time.monotonic() - begun)
        self.assertLess(slowest, 1)
        self.assertEqual(control.run(100, ["echo", "hello"]), (0, "hello\n", ""))
        self.assertEqual((self.directory / "output").stat().st_size, 256 * 1024)

    def test_grandchildren_are_not_waited_for(self):
        begun = time.monotonic()
        self.start(["/bin/sh", "-c", "sleep 1000 & echo done; exit 3"])
        self.assertEqual(self.session.wait(), 3)
        self.assertLess(time.monotonic() - begun, 5)
        self.assertEqual(self.session.output.stdout, "done\n")
        self.start(["/bin/sh", "-c", "yes & sleep 0.1; exit 4"])
        self.assertEqual(self.session.wait(), 4)

    def test_closed_output_is_no_end(self):
        control = self.serving(["/bin/sh", "-c", "exec >/dev/null 2>&1 && exec sleep 1000"])
        self.assertEqual(control.run(1, ["echo", "hello"]), (0, "hello\n", ""))

    def test_watch(self):
        """Growth is told once for each time it was asked for, and not before there is any."""
        script = "for i in 1 2 3; do head -c 34 <&3 >/dev/null; echo turn $i; done; exec sleep 1000"
        control = self.serving(["/bin/sh", "-c", script], spec_flags=CDP_PIPE)

        def turn(i):
            self.assertIsNone(control.stop(10 + i, STOP_CDP))
            wait_until(lambda: f"turn {i}\n" in self.session.output.stdout, what=f"turn {i}")

        self.assertIsNone(control.watch(1))
        self.assertEqual(control.run(2, ["true"])[0], 0)
        self.assertEqual(control.events, [])
        turn(1)
        control.event(EV_OUTPUT)
        turn(2)
        self.assertEqual(control.run(3, ["true"])[0], 0)
        self.assertEqual(control.events, [])
        self.assertIsNone(control.watch(4))
        turn(3)
        control.event(EV_OUTPUT)

    def test_browser_close_goes_down_the_pipe(self):
        control = self.serving(["/bin/sh", "-c", "head -c 34 <&3; echo; head -c 300000 /dev/zero >&4; echo written"],
                               spec_flags=CDP_PIPE)
        self.assertIsNone(control.watch(1))
        self.assertIsNone(control.stop(2, STOP_CDP))
        control.event(EV_OUTPUT)
        self.assertEqual(control.exited(), (0, 0, 0))
        self.assertEqual(self.session.wait(), 0)
        self.assertEqual(self.session.output.stdout, '{"id":1,"method":"Browser.close"}\0\nwritten\n')

    def test_no_pipe_to_close_a_browser_by(self):
        control = self.serving()
        self.assertEqual(control.stop(1, STOP_CDP), ("ENOTSUP", "stop", "debugging pipe"))

    def test_debugging_pipe_that_nobody_reads(self):
        control = self.serving(["/bin/sh", "-c", "exec sleep 1000 3<&-"], spec_flags=CDP_PIPE)
        wait_until(lambda: any(status_of(p)["Name"] == "sleep" for p in self.session.processes()), what="exec")
        self.assertEqual(control.stop(1, STOP_CDP), ("EPIPE", "stop", "debugging pipe"))
        self.start(SLEEP, spec_flags=CDP_PIPE)
        control = self.control()
        errors = {control.stop(i, STOP_CDP) for i in range(1, 3000)}
        self.assertEqual(errors, {None, ("EAGAIN", "stop", "debugging pipe")})


class Commands(Case):
    def test_run(self):
        control = self.serving()
        self.assertEqual(control.run(1, ["sh", "-c", "echo out; echo err >&2; exit 5"]), (5, "out\n", "err\n"))
        self.assertEqual(control.run(2, ["sh", "-c", "kill -11 $$"]), (-11, "", ""))
        self.assertEqual(control.run(3, ["env"], env=["PATH=/bin", "A=b c"]), (0, "PATH=/bin\nA=b c\n", ""))
        self.assertEqual(control.run(4, ["pwd"], cwd="/home/me", user="me"), (0, "/home/me\n", ""))
        self.assertEqual(control.run(5, ["id"], user="me")[1], "uid=1000(me) gid=1000(me) groups=29(audio),44(video),1000(me)\n")
        self.assertEqual(control.run(6, ["id", "-G"], uid=7, gid=8, groups=[9, 10])[1], "8 9 10\n")
        self.assertEqual(control.run(7, ["id", "-g"], user="me:video")[1], "44\n")
        self.assertEqual(control.run(8, ["id", "-u"], user="1000")[1], "1000\n")
        self.assertEqual(control.run(9, ["true"])[0], 0)

    def test_not_started(self):
        control = self.serving()
        self.assertEqual(control.run(1, ["none"]), ("ENOENT", "exec", "none"))
        self.assertEqual(control.run(2, ["true"], cwd="/home/me/x"), ("EACCES", "cwd", "/home/me/x"))
        self.assertEqual(control.run(3, ["true"], user="nobody"), ("ENOENT", "user", "nobody"))
        self.assertEqual(control.run(4, ["true"], flags=CDP_PIPE), ("EINVAL", "spec", "debugging pipe"))
        self.assertEqual(control.run(5, ["true"], flags=TTY), ("ENOTTY", "session", "controlling terminal"))
        with open("/dev/null", "r+b") as null:
            error, _, _ = control.ask(EXEC, 6, fds=[null.fileno()] * 4)
        self.assertEqual(error, ("EPROTO", "spec", ""))
        control.send(SIGNAL, 7, struct.pack("<QiI", 0, 0, 0))
        self.assertEqual(control.answer(SIGNAL, 7)[0][:4], b"\0" * 4)
        self.assertEqual(control.events, [])  # no exit of something that never was
        wait_until(lambda: len(self.session.processes()) == 2, what="children reaped")

    def test_numbers(self):
        control = self.serving()
        self.assertIsInstance(control.exec(5, SLEEP), int)
        self.assertEqual(control.exec(5, SLEEP), ("EEXIST", "spawn", "number 5"))
        self.assertEqual(control.exec(0, SLEEP), ("EEXIST", "spawn", "number 0"))
        self.assertIsNone(control.signal(6, 5, signal.SIGTERM))
        self.assertEqual(control.exited(), (5, -1, 15))
        self.assertEqual(control.signal(7, 5, signal.SIGTERM), ("ESRCH", "signal", "command 5"))
        self.assertIsInstance(control.exec(5, ["true"]), int)
        self.assertEqual(control.exited(), (5, 0, 0))

    def test_signals_to_a_group(self):
        control = self.serving()
        before = len(self.session.processes())
        control.exec(1, ["sh", "-c", "sleep 1000 & sleep 1000 & wait"], user="me")
        wait_until(lambda: len(self.session.processes()) == before + 3, what="three processes")
        self.assertIsNone(control.signal(2, 1, signal.SIGKILL, group=True))
        self.assertEqual(control.exited(), (1, -1, 9))
        wait_until(lambda: len(self.session.processes()) == before, what="no process left")

    def test_descriptors_and_privileges(self):
        control = self.serving(seccomp="uname")
        for user in ("root", "me"):
            with tempfile.TemporaryFile() as out:
                pid = control.exec(1, SLEEP, stdout=out, user=user)
                self.assertIsInstance(pid, int)
                found = next(p for p in self.session.processes() if status_of(p)["NSpid"].split()[-1] == str(pid))
                self.assertEqual(set(os.listdir(f"/proc/{found}/fd")), {"0", "1", "2"})
                status = status_of(found)
                self.assertEqual((status["NoNewPrivs"], status["Seccomp"]), ("1", "2"))
                self.assertEqual([status[c] for c in ("CapPrm", "CapEff", "CapBnd")], ["0" * 16] * 3)
                self.assertEqual(status["NSsid"].split()[-1], str(pid))
                control.signal(2, 1, signal.SIGKILL)
                control.exited()

    def test_terminal(self):
        control = self.serving()
        ours, theirs = os.openpty()
        fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("<4H", 30, 100, 0, 0))
        with open(theirs, "r+b", buffering=0) as tty:
            script = "echo $(stty size) >/dev/tty; read line; echo got $line"
            self.assertIsInstance(control.exec(1, ["sh", "-c", script], stdin=tty, stdout=tty, stderr=tty, flags=TTY), int)
            os.write(ours, b"word\n")
            self.assertEqual(control.exited(), (1, 0, 0))
            said = b""
            while b"got word\r\n" not in said:  # a terminal passes on what was written in its own time
                self.assertTrue(select.select([ours], [], [], scaled(20))[0], said)
                said += os.read(ours, 1000)
            self.assertIn(b"30 100\r\n", said)
        os.close(ours)

    def test_limit(self):
        control = self.serving()
        for i in range(1, MAX_EXECS + 1):
            self.assertIsInstance(control.exec(i, ["sleep", "1000"]), int)
        self.assertEqual(control.exec(MAX_EXECS + 1, SLEEP), ("EAGAIN", "spawn", f"{MAX_EXECS} commands run already"))
        again = self.control(hello=("running", MAX_EXECS))
        for i in range(1, MAX_EXECS + 1):
            self.assertIsNone(again.signal(i, i, signal.SIGKILL))
        self.assertEqual({again.exited() for _ in range(MAX_EXECS)}, {(i, -1, 9) for i in range(1, MAX_EXECS + 1)})
        self.assertEqual(again.run(1, ["echo", "room"]), (0, "room\n", ""))

    def test_orphans_are_reaped(self):
        control = self.serving()
        script = "i=0; while [ $i -lt 300 ]; do (true & true &); i=$((i + 1)); done"
        self.assertEqual(control.run(1, ["sh", "-c", script])[0], 0)
        wait_until(lambda: len(self.session.processes()) == 2, what="no zombies")

    def test_account_files_may_change(self):
        control = self.serving()
        script = "echo new:x:77:78::/:/bin/sh >>/etc/passwd; echo extra:x:99:new >>/etc/group"
        self.assertEqual(control.run(1, ["sh", "-c", script])[0], 0)
        self.assertEqual(control.run(2, ["id"], user="new")[1], "uid=77(new) gid=78 groups=78,99(extra)\n")
        self.assertEqual(control.run(3, ["sh", "-c", "rm /etc/passwd; ln -s /dev /etc/passwd"])[0], 0)
        self.assertEqual(control.run(4, ["id"], user="new"), ("EINVAL", "user", "/etc/passwd"))

    def test_stop(self):
        control = self.serving(["sh", "-c", "trap 'echo bye; exit 9' TERM; echo hello; while :; do sleep 0.05; done"])
        wait_until(lambda: self.session.output.stdout, what="the trap")
        self.assertIsNone(control.stop(1, STOP_SIGNAL, signal.SIGTERM))
        self.assertEqual(control.exited(), (0, 9, 0))
        self.assertEqual(self.session.wait(), 9)
        self.assertEqual(self.session.output.stdout, "hello\nbye\n")


class Profiles(Case):
    def test_init_gets_by_with_what_a_session_may(self):
        """Init lives under the session's filter: each profile has what its work needs."""
        for profile in ("minimal", "browser", "dind"):
            for user in ("", "me"):
                with self.subTest(profile=profile, user=user):
                    control = self.serving(["sh", "-c", "trap 'echo bye; exit 9' TERM; echo hello; "
                                            "while :; do sleep 0.05; done"], seccomp=profile, user=user)
                    self.assertEqual(control.run(1, ["sh", "-c", "pwd; id -u"], user="me", cwd="/tmp"), (0, "/tmp\n1000\n", ""))
                    self.assertEqual(control.run(2, ["none"]), ("ENOENT", "exec", "none"))
                    ours, theirs = os.openpty()
                    with open(theirs, "r+b", buffering=0) as tty:
                        control.exec(3, ["tty"], stdin=tty, stdout=tty, stderr=tty, flags=TTY)
                        self.assertEqual(control.exited()[0], 3)
                    os.close(ours)
                    self.assertEqual(control.connect(4, 9), ("ECONNREFUSED", "connect", "port 9"))
                    self.assertIsNone(control.watch(5))
                    self.assertIsNone(control.signal(6, 0, 0))
                    wait_until(lambda: self.session.output.stdout, what="the trap")
                    again = self.control()
                    again.stop(7, STOP_SIGNAL, signal.SIGTERM)
                    self.assertEqual(again.exited(), (0, 9, 0))
                    self.assertEqual(self.session.wait(), 9)
                    self.assertEqual(self.session.output.stdout, "hello\nbye\n")


class Ports(Case):
    def listen(self, control, ident, *words):
        read, write = os.pipe()
        self.assertIsInstance(control.exec(ident, ["init_probe", *words], stdout=write), int)
        os.close(write)
        self.assertEqual(os.read(read, 10), b"ok\n")
        os.close(read)

    def test_connect(self):
        control = self.serving()
        self.listen(control, 1, "serve", "8080", "4")
        self.listen(control, 2, "serve", "8086", "6")
        for i, (port, family) in enumerate(((8080, 0), (8080, 4), (8086, 0), (8086, 6)), start=10):
            with control.connect(i, port, family) as connected:
                self.assertEqual(connected.recv(100), b"hello\n")
        for i, (port, family) in enumerate(((8080, 6), (8086, 4), (9, 0), (9, 4), (9, 6)), start=20):
            self.assertEqual(control.connect(i, port, family), ("ECONNREFUSED", "connect", f"port {port}"))

    def test_connect_to_a_path(self):
        control = self.serving()
        self.listen(control, 1, "serve_at", "/tmp/server")
        self.assertEqual(control.run(2, ["busybox", "ln", "-s", "server", "/tmp/link"])[0], 0)
        self.assertEqual(control.run(3, ["busybox", "mkfifo", "/tmp/fifo"])[0], 0)
        for i, path in enumerate(("/tmp/server", "/tmp/link", "/tmp/../tmp/server", "/../../tmp/server"), start=10):
            with control.connect_path(i, path) as connected:
                self.assertEqual(connected.family, socket.AF_UNIX)
                self.assertEqual(connected.recv(100), b"hello\n")
        for i, (path, error) in enumerate((("/tmp/nothing", "ENOENT"), ("/tmp/fifo", "ENOTSOCK"), ("/tmp", "ENOTSOCK"),
                                           ("/proc/1/fd/3", "ELOOP"), ("/proc/self/root/tmp/server", "ELOOP"),
                                           ("/etc/passwd/x", "ENOTDIR")), start=20):
            self.assertEqual(control.connect_path(i, path), (error, "connect", path))
        self.assertEqual(control.run(30, ["true"])[0], 0)
        # What is no absolute path, or has no end, costs control its connection.
        control.send(CONNECT_PATH, 40, struct.pack("<1024s", b"tmp/server"))
        self.assertIsNone(control.receive())
        again = self.control(hello=("running", 1))
        again.send(CONNECT_PATH, 41, b"/" * 1024)
        self.assertIsNone(again.receive())

    def test_never_meets_itself(self):
        control = self.serving()
        low, high = map(int, control.run(1, ["cat", "/proc/sys/net/ipv4/ip_local_port_range"])[1].split())
        for i in range(2, 3000):
            self.assertEqual(control.connect(i, random.randint(low, high)), ("ECONNREFUSED", "connect", unittest.mock.ANY))

    def test_slow_ports_hold_up_nobody(self):
        control = self.serving()
        self.listen(control, 1, "serve", "8080", "4")
        self.listen(control, 2, "listen", "8081", "0")
        for i in range(100, 180):
            control.send(CONNECT, i, struct.pack("<HHI", 8081, 4, 0))
        with control_connect(control, 200, 8080, self) as result:
            self.assertTrue(result is None or result.recv(100) == b"hello\n")
        # The newest control gives up what the one before it had asked for, and may ask for as much.
        again = self.control(hello=("running", 2))
        with again.connect(1, 8080) as connected:
            self.assertEqual(connected.recv(100), b"hello\n")


class control_connect:
    """Connects while other answers may arrive: those that were queued, and EAGAIN past the limit."""

    def __init__(self, control, ident, port, case):
        control.send(CONNECT, ident, struct.pack("<HHI", port, 4, 0))
        self.result, busy = None, 0
        while True:
            op, got, body, fds = control.receive()
            case.assertEqual(op, CONNECT | REPLY)
            number = struct.unpack_from("<i", body)[0]
            busy += number == -errno.EAGAIN
            if got == ident:
                case.assertIn(number, (0, -errno.EAGAIN))
                self.result = socket.socket(fileno=fds[0]) if number == 0 else None
                if self.result:
                    self.result.settimeout(10)
                break
            for fd in fds:
                os.close(fd)
        case.assertGreater(busy, 0)  # 80 at once are more than the limit of 64

    def __enter__(self):
        return self.result

    def __exit__(self, *_):
        if self.result:
            self.result.close()


class ControlProcesses(Case):
    def test_newest_wins(self):
        self.start()
        first = self.control()
        second = self.control()
        self.assertIsNone(first.receive())
        self.assertEqual(second.run(1, ["echo", "mine"]), (0, "mine\n", ""))

    def test_ends_are_kept_for_the_next(self):
        first = self.serving()
        first.exec(1, ["sh", "-c", "sleep 0.2; exit 3"])
        first.exec(2, SLEEP)
        first.close()
        time.sleep(0.5)  # nobody is connected while the first command ends
        second = self.control(hello=("running", 1))
        self.assertEqual(second.exited(), (1, 3, 0))
        self.assertIsNone(second.signal(9, 2, signal.SIGKILL))
        self.assertEqual(second.exited(), (2, -1, 9))

    def test_answers_go_to_who_asked(self):
        """A command that is being started when control changes is not the next one's to hear of, but for its end."""
        self.start()
        spec = make_spec(["true"])
        self.addCleanup(os.close, spec)
        with open("/dev/null", "r+b") as null:
            for i in range(1, 100):
                first = self.control(hello=None)
                first.send(EXEC, i, fds=[spec, *[null.fileno()] * 3])
                second = self.control(hello=None)
                self.assertEqual(second.hello()[0], "running")
                self.assertIsNone(second.signal(1000 + i, 0, 0))  # fails on any other answer
                first.close(), second.close()

    def test_one_that_does_not_read(self):
        """Init takes no more requests than it can answer, and answers each once they are read."""
        self.start()
        for flood in (lambda c, i: c.send(SIGNAL, i, struct.pack("<QiI", 0, 0, 0)), lambda c, i: c.send(WATCH_OUTPUT, i)):
            deaf = self.control()
            deaf.socket.settimeout(0.5)
            sent = 0
            with self.assertRaises(TimeoutError):
                while sent < 100000:
                    flood(deaf, sent + 1)
                    sent += 1
            self.assertGreater(sent, 100)
            deaf.socket.settimeout(20)
            self.assertEqual([deaf.receive()[1] for _ in range(sent)], list(range(1, sent + 1)))
        self.assertEqual(self.control().run(1, ["echo", "fine"]), (0, "fine\n", ""))

    def test_answers_of_many_commands_wait(self):
        """More than the socket holds, asked for before the first answer is read."""
        control = self.serving()
        control.socket.settimeout(0.05)
        sent, came = 0, {}
        with open("/dev/null", "r+") as null, open(make_spec(["true"]), "rb") as spec:
            while sum(came.values()) < 1200:
                try:
                    if sent < 600:
                        control.send(EXEC, sent + 1, fds=[spec.fileno(), *[null.fileno()] * 3])
                        sent += 1
                        continue
                except TimeoutError:
                    pass  # it takes no more before something is read
                try:
                    for _ in range(200):
                        op = control.receive()[0]
                        came[op] = came.get(op, 0) + 1
                except TimeoutError:
                    pass
        self.assertEqual(came, {EXEC | REPLY: 600, EV_EXITED: 600})

    def test_ends_wait_for_one_that_reads_late(self):
        control = self.serving()
        for i in range(1, 601):
            self.assertIsInstance(control.exec(i, ["sleep", "0.5"]), int)
        time.sleep(1.5)  # 600 events are more than the socket takes
        self.assertEqual({control.exited() for _ in range(600)}, {(i, 0, 0) for i in range(1, 601)})

    def test_end_of_the_workload_is_told(self):
        control = self.serving(["sh", "-c", "read x <&3; exit 6"], spec_flags=CDP_PIPE)
        control.stop(1, STOP_CDP)
        control.signal(2, 0, signal.SIGKILL)
        self.assertEqual(control.exited(), (0, -1, 9))
        self.assertIsNone(control.receive())
        self.assertEqual(self.session.wait(), 137)

    def test_malformed(self):
        self.start()
        good = HEADER.pack(1, WATCH_OUTPUT, 16, 1)
        frames = [b"x", good[:15], good + b"x", HEADER.pack(2, WATCH_OUTPUT, 16, 1), HEADER.pack(1, 99, 16, 1),
                  HEADER.pack(1, WATCH_OUTPUT, 17, 1), HEADER.pack(1, WATCH_OUTPUT | REPLY, 16, 1),
                  HEADER.pack(1, STOP, 24, 1) + struct.pack("<Ii", 3, 15), HEADER.pack(1, STOP, 24, 1) + struct.pack("<Ii", 1, 65),
                  HEADER.pack(1, SIGNAL, 32, 1) + struct.pack("<QiI", 0, -1, 0), HEADER.pack(1, EXEC, 16, 1),
                  HEADER.pack(1, CONNECT, 24, 1) + struct.pack("<HHI", 0, 0, 0),
                  HEADER.pack(1, CONNECT, 24, 1) + struct.pack("<HHI", 80, 5, 0), b"\0" * 16384, b"\xff" * 20000]
        for frame in frames:
            with self.subTest(frame[:24]):
                control = self.control()
                control.raw(frame)
                self.assertIsNone(control.receive())
        control = self.control()
        control.raw(good, fds=[control.socket.fileno()] * 3)
        self.assertIsNone(control.receive())
        self.assertIn("malformed", self.session.output.init)
        self.assertEqual(self.control().run(1, ["echo", "fine"]), (0, "fine\n", ""))

    def test_100000_random_frames(self):
        """No frame ends init or makes it lose a descriptor; those that would end the workload by right are left out."""
        self.start()
        seed = random.randrange(1 << 32)
        source = random.Random(seed)
        control = self.control()  # greeted, so that init is past its set-up
        before = len(os.listdir(f"/proc/{self.session.pid}/fd"))
        bodies = {
            EXEC: lambda: b"",
            SIGNAL: lambda: struct.pack("<QiI", source.randrange(1, 1 << 64), source.randrange(-2, 70), source.randrange(3)),
            STOP: lambda: struct.pack("<Ii", source.choice((0, 2, 3)), source.randrange(1 << 31)),
            CONNECT: lambda: struct.pack("<HHI", source.randrange(1 << 16), source.choice((0, 4, 6, 5)), source.randrange(9)),
            WATCH_OUTPUT: lambda: b"",
            99: lambda: source.randbytes(source.randrange(100)),
        }
        null, spec, sent = os.open("/dev/null", os.O_RDWR), make_spec(["true"]), 0
        control.socket.setblocking(False)
        while sent < 100000:
            if control is None:
                control = self.session.control()
                control.socket.setblocking(False)
            op = source.choices((WATCH_OUTPUT, SIGNAL, STOP, CONNECT, EXEC, 99), (60, 60, 20, 10, 5, 2))[0]
            body = bodies[op]()
            frame = HEADER.pack(1, op, 16 + len(body), source.randrange(1, 1 << 63)) + body
            if source.random() < 0.02:
                frame = source.randbytes(source.randrange(1, 300))
            fds = [source.choice((spec, null)), null, null, null] if op == EXEC and source.random() < 0.9 else []
            try:
                control.raw(frame, fds)
                sent += 1
                while True:
                    got = control.receive()
                    if got is None:
                        raise ConnectionResetError
                    for fd in got[3]:
                        os.close(fd)
            except BlockingIOError:
                continue
            except (BrokenPipeError, ConnectionResetError):
                control.close()
                control = None
        if control:
            control.close()
        os.close(null), os.close(spec)
        self.assertTrue(self.session.alive, f"seed {seed}")
        control = self.control(hello=None)
        self.assertEqual(control.hello()[0], "running")
        wait_until(lambda: len(self.session.processes()) == 2, what=f"no process left, seed {seed}")
        wait_until(lambda: len(os.listdir(f"/proc/{self.session.pid}/fd")) == before, what=f"no descriptor lost, seed {seed}")

    def test_kept_commands_under_random_requests(self):
        """Started, attached, resized, forgotten in any order and number: nothing is lost that is then forgotten."""
        self.start()
        seed = random.randrange(1 << 32)
        source = random.Random(seed)
        control = self.control()
        before = len(os.listdir(f"/proc/{self.session.pid}/fd"))
        label = LABEL.pack(b"", b"x", 0, 0, 0, 0, 0)
        null, ends = os.open("/dev/null", os.O_RDWR), os.pipe()
        specs = [make_spec(words, flags=flags) for words in (["true"], ["sh", "-c", "echo a; read x"], ["nothing"])
                 for flags in (0, TTY)]
        bodies = {
            START: lambda: struct.pack("<IHH", source.randrange(8), 24, 80) + label,
            ATTACH: lambda: struct.pack("<QII", source.randrange(1, 5000), source.randrange(4), 0),
            END_INPUT: lambda: struct.pack("<Q", source.randrange(1, 5000)),
            RESIZE: lambda: struct.pack("<QHHI", source.randrange(1, 5000), 5, 6, 0),
            FORGET: lambda: struct.pack("<Q", source.randrange(1, 5000)),
            SIGNAL: lambda: struct.pack("<QiI", source.randrange(1, 5000), 9, 1),
            LIST: lambda: b"",
        }
        for ident in range(1, 5000):
            op = source.choice(list(bodies))
            fds = {START: lambda: [source.choice(specs)],
                   ATTACH: lambda: [source.choice((*ends, null)) for _ in range(source.randrange(1, 3))]}.get(op, list)()
            control.send(op, ident, bodies[op](), fds)
            control.drain()
        control.forget_all()
        os.close(null), os.close(ends[0]), os.close(ends[1])
        for spec in specs:
            os.close(spec)
        self.assertTrue(self.session.alive, f"seed {seed}")
        wait_until(lambda: len(self.session.processes()) == 2, what=f"no process left, seed {seed}")
        wait_until(lambda: len(os.listdir(f"/proc/{self.session.pid}/fd")) == before, what=f"no descriptor lost, seed {seed}")


if __name__ == "__main__":
    unittest.main()
