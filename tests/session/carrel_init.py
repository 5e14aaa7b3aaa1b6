# SPDX-License-Identifier: Apache-2.0
"""A session of carrel-init alone: init_harness plays the supervisor, `Control` the control process.

The messages and files are written and read here by their layout in wire/*.h, once more and independently of the C
code, so that a change of the layout is a failure.
"""

import array
import errno
import fcntl
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading

BUILD = pathlib.Path(os.environ.get("CARREL_BUILD", "/nonexistent"))
INIT = os.environ.get("CARREL_INIT", str(BUILD / "sandbox/carrel-init"))
HARNESS = os.environ.get("CARREL_INIT_HARNESS", str(BUILD / "tests/session/init_harness"))
PROBE = os.environ.get("CARREL_INIT_PROBE", str(BUILD / "tests/session/init_probe"))
ID_BASE = 1500053504  # init_harness.c

# enum plan_flags
NO_NEW_PRIVS, MASK_PROC, CGROUP, HAS_IPV4, HAS_IPV6 = 1, 2, 4, 8, 16
ADDRESSES = HAS_IPV4 | HAS_IPV6
# enum spec_flags
TTY, CDP_PIPE = 1, 2
# enum init_op
EXEC, SIGNAL, STOP, CONNECT, WATCH_OUTPUT, CONNECT_PATH = 1, 2, 3, 4, 5, 6
FILES, START, ATTACH, END_INPUT, RESIZE, FORGET, LIST = 7, 8, 9, 10, 11, 12, 13
EV_KEPT = 0x103
START_TTY, START_MERGE, START_INPUT = 1, 2, 4
LABEL = struct.Struct("<64s192sQQQII")
EV_HELLO, EV_EXITED, EV_OUTPUT = 0x100, 0x101, 0x102
REPLY = 0x8000
STOP_SIGNAL, STOP_CDP = 1, 2
MAX_EXECS = 1024

HEADER = struct.Struct("<HHIQ")
ERR = struct.Struct("<i24s104s")
APPLETS = "sh cat chmod cp dd echo env false grep head hostname id kill ls mkdir mount nc ps pwd readlink rm sleep stat " \
          "stty true tty touch umount wc yes".split()


def text(raw):
    return raw.split(b"\0", 1)[0].decode()


# ---- images ----

def make_image(directory, edit=None):
    """A small tree of ids from 0, as an image's only layer; EDIT may add to it."""
    layer = directory / "store/image/0"
    for name in ("bin", "etc", "tmp", "root", "home/me", "usr/bin"):
        (layer / name).mkdir(parents=True, exist_ok=True)
    shutil.copy("/bin/busybox", layer / "bin/busybox")
    shutil.copy(PROBE, layer / "bin/init_probe")
    for applet in APPLETS:
        (layer / "bin" / applet).symlink_to("busybox")
    (layer / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nme:x:1000:1000::/home/me:/bin/sh\n")
    (layer / "etc/group").write_text("root:x:0:\nme:x:1000:\naudio:x:29:me\nvideo:x:44:root,me\n")
    os.chown(layer / "home/me", 1000, 1000)
    os.chmod(layer / "home/me", 0o700)
    if edit:
        edit(layer)
    return layer


# ---- specs, wire/spec.h ----

def make_spec(argv, env=(), user="", uid=0, gid=0, groups=(), cwd="/", flags=0):
    strings = b"".join(os.fsencode(s) + b"\0" for s in [*argv, *env])
    header = struct.pack("<II", 0x63737063, 1) + struct.pack("<IIIII", 0, flags, uid, gid, len(groups)) + \
        struct.pack("<32I", *groups, *[0] * (32 - len(groups))) + struct.pack("<II", len(argv), len(env)) + \
        struct.pack("<64s1024s", user.encode(), cwd.encode())
    header = header[:8] + struct.pack("<I", len(header) + len(strings)) + header[12:]
    fd = os.memfd_create("spec", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, header + strings)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS,
                fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE)
    return fd


# ---- the output file, wire/output.h ----

STATES = ["none", "running", "exited", "signaled"]


class Output:
    def __init__(self, path):
        raw = path.read_bytes()
        (self.magic, self.version, self.ring_bytes, self.head, self.tail, self.dropped, state, self.exit_code,
         self.signal, self.ended_ns) = struct.unpack_from("<IIQQQQIii4xQ", raw)
        self.state = STATES[state]
        self.records = []
        position = self.tail
        ring = raw[72:72 + self.ring_bytes]

        def get(at, n):
            at %= self.ring_bytes
            return (ring[at:] + ring[:at])[:n] if at + n > self.ring_bytes else ring[at:at + n]

        while position < self.head:
            length, stream, ns = struct.unpack("<IIQ", get(position, 16))
            self.records.append((stream, get(position + 16, length)))
            position += 16 + (length + 7) // 8 * 8

    def bytes(self, stream):
        return b"".join(data for s, data in self.records if s == stream)

    @property
    def stdout(self):
        return self.bytes(1).decode(errors="replace")

    @property
    def stderr(self):
        return self.bytes(2).decode(errors="replace")

    @property
    def init(self):
        return self.bytes(3).decode(errors="replace")


# ---- the harness ----

class Session:
    """Starts a session; the report is there when the constructor returns."""

    def __init__(self, directory, command, *options, flags=NO_NEW_PRIVS | ADDRESSES, **named):
        self.directory = directory
        options = [*options, f"flags={flags}", *(f"{key}={value}" for key, value in named.items())]
        self.harness = subprocess.Popen([HARNESS, INIT, str(directory), *options, "--", *command],
                                        stdout=subprocess.PIPE, text=True)
        self.steps, self.pid, self.error, self.started_ns = {}, None, None, None
        for line in self.harness.stdout:
            word, _, rest = line.rstrip("\n").partition(" ")
            if word == "pid":
                self.pid = int(rest)
            elif word == "report":
                number, step, thing = (rest.split(" ", 2) + ["", ""])[:3]
                self.error = (errno.errorcode[-int(number)], step, thing) if number != "0" else None
            elif word == "step":
                name, ns = rest.split()
                self.steps[name] = int(ns)
            elif word == "started":
                self.started_ns = int(rest)
                break
            elif word == "status":
                raise AssertionError(f"init ended without a report, wait status {rest}")

    def wait(self, timeout=20):
        """Waits for init's end: its exit code, or minus its signal."""
        watchdog = threading.Timer(timeout, self.kill)
        watchdog.start()
        out = self.harness.stdout.read()
        watchdog.cancel()
        self.harness.wait()
        return os.waitstatus_to_exitcode(int(out.split("status ")[1]))

    def kill(self):
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def close(self):
        if self.harness.poll() is None and self.pid:
            self.kill()
        self.harness.stdout.close()
        self.harness.wait()

    @property
    def output(self):
        return Output(self.directory / "output")

    @property
    def alive(self):
        return os.path.exists(f"/proc/{self.pid}/ns/pid")

    def control(self):
        return Control(self.directory / "init.sock")

    def processes(self):
        """Host pids of everything in the session's pid namespace."""
        namespace = os.stat(f"/proc/{self.pid}/ns/pid").st_ino
        found = []
        for name in os.listdir("/proc"):
            try:
                if name.isdigit() and os.stat(f"/proc/{name}/ns/pid").st_ino == namespace:
                    found.append(int(name))
            except OSError:
                continue
        return found


def status_of(pid):
    """/proc/PID/status as a dictionary."""
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


# ---- control's side of wire/init.h ----

class Control:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(10)
        self.socket.connect(str(path))
        self.events = []

    def close(self):
        self.socket.close()

    def send(self, op, ident, body=b"", fds=()):
        frame = HEADER.pack(1, op, HEADER.size + len(body), ident) + body
        self.raw(frame, fds)

    def raw(self, frame, fds=()):
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.socket.sendmsg([frame], ancillary)

    def drain(self):
        """Takes what is there."""
        self.socket.setblocking(False)
        try:
            while got := self.receive():
                for fd in got[3]:
                    os.close(fd)
        except BlockingIOError:
            pass
        finally:
            self.socket.settimeout(20)

    def kept(self, ident):
        """{number: pid or 0} of the commands that init keeps."""
        found = {}
        self.send(LIST, ident)
        while True:
            op, answered, body, _ = self.receive()
            if op == EV_KEPT:
                number, _, pid = struct.unpack_from("<QIi", body)
                found[number] = pid
            if (op, answered) == (LIST | REPLY, ident):
                return found

    def forget_all(self):
        """Kills and forgets every command that init keeps."""
        ident = 1 << 40
        while kept := self.kept(ident):
            for number, pid in kept.items():
                ident += 1
                body = struct.pack("<QiI", number, 9, 1) if pid else struct.pack("<Q", number)
                self.send(SIGNAL if pid else FORGET, ident, body)
            self.drain()
            ident += 1

    def receive(self):
        """(op, id, body, fds); None when init has closed."""
        try:
            frame, ancillary, _, _ = self.socket.recvmsg(16384, socket.CMSG_SPACE(8 * 4))
        except ConnectionResetError:
            return None
        if not frame:
            return None
        fds = array.array("i")
        for _, _, data in ancillary:
            fds.frombytes(data[:len(data) // 4 * 4])
        version, op, length, ident = HEADER.unpack_from(frame)
        assert version == 1 and length == len(frame), frame
        return op, ident, frame[HEADER.size:], list(fds)

    def event(self, op):
        """The next event of that kind; others are kept."""
        for i, (kept, body) in enumerate(self.events):
            if kept == op:
                return self.events.pop(i)[1]
        while True:
            got = self.receive()
            assert got is not None, "init closed the connection"
            assert got[1] == 0, f"an answer nobody waits for: {got}"
            if got[0] == op:
                return got[2]
            self.events.append((got[0], got[2]))

    def answer(self, op, ident):
        while True:
            got = self.receive()
            assert got is not None, "init closed the connection"
            if got[:2] == (op | REPLY, ident):
                return got[2], got[3]
            assert got[1] == 0, f"an answer nobody waits for: {got}"
            self.events.append((got[0], got[2]))

    def ask(self, op, ident, body=b"", fds=()):
        """(error, what follows the error, fds): error is None or (errno's name, step, object)."""
        self.send(op, ident, body, fds)
        body, fds = self.answer(op, ident)
        number, step, thing = ERR.unpack_from(body)
        error = (errno.errorcode[-number], text(step), text(thing)) if number else None
        return error, body[ERR.size:], fds

    def hello(self):
        state, n_execs = struct.unpack("<II", self.event(EV_HELLO))
        return STATES[state], n_execs

    def exited(self):
        """(exec, exit code, signal)"""
        return struct.unpack("<Qii", self.event(EV_EXITED))

    def exec(self, ident, argv, stdin=None, stdout=None, stderr=None, **spec):
        """Starts a command; the error or its pid."""
        with open("/dev/null", "r+b") as null:
            fds = [make_spec(argv, **spec), *(null if f is None else f for f in (stdin, stdout, stderr))]
            error, rest, _ = self.ask(EXEC, ident, fds=[f if isinstance(f, int) else f.fileno() for f in fds])
            os.close(fds[0])
        return error or struct.unpack_from("<i", rest)[0]

    def run(self, ident, argv, **spec):
        """(exit code or minus the signal, standard output, standard error) of a command, run to its end."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            result = self.exec(ident, argv, stdout=out, stderr=err, **spec)
            if isinstance(result, tuple):
                return result
            number, code, sig = self.exited()
            assert number == ident
            out.seek(0), err.seek(0)
            return -sig if sig else code, out.read().decode(), err.read().decode()

    def signal(self, ident, number, sig, group=False):
        return self.ask(SIGNAL, ident, struct.pack("<QiI", number, sig, group))[0]

    def stop(self, ident, method, sig=0):
        return self.ask(STOP, ident, struct.pack("<Ii", method, sig))[0]

    def connect(self, ident, port, family=0):
        """The error or a connected socket."""
        return self.connected(*self.ask(CONNECT, ident, struct.pack("<HHI", port, family, 0)))

    def connect_path(self, ident, path):
        return self.connected(*self.ask(CONNECT_PATH, ident, struct.pack("<1024s", path.encode())))

    @staticmethod
    def connected(error, _, fds):
        if error:
            return error
        connected = socket.socket(fileno=fds[0])
        connected.settimeout(10)
        return connected

    def watch(self, ident):
        return self.ask(WATCH_OUTPUT, ident)[0]
