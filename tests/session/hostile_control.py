#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Stands in for carrel-control and abuses what it was given: the channel to the supervisor at descriptor 3.

Started by carreld like the real one, with the configuration directory as its argument; the file `scenario` there says
what to do, and what happened is sent to the socket `report.sock` beside it. The structs are those of wire/super.h.
"""

import array
import fcntl
import json
import os
import pathlib
import random
import socket
import struct
import sys

HELLO, CHECK, LIST, CREATE, CONNECT, NOTED, KILL, FREEZE, THAW, SET_LIMITS = range(1, 11)
REPLY = 0x8000
EV_SESSION, EV_EXITED, EV_GONE = 0x100, 0x101, 0x102
UNSET = 2**64 - 1
ERR_AT = 16


def padded(text, size):
    return text.encode()[:size].ljust(size, b"\0")


def counts():
    """How many limits and volumes a creation names, after the sizes that carreld says its messages have."""
    sizes = json.loads(pathlib.Path(sys.argv[1], "sizes").read_text())
    limits = (sizes["set-limits"] - 16 - 64) // 8
    return limits, (sizes["create"] - 16 - 4 * 64 - 8 * limits) // 64


N_LIMITS, N_VOLUMES = counts()


class Channel:
    def __init__(self):
        self.socket = socket.socket(fileno=3)
        self.socket.setblocking(True)
        self.socket.settimeout(20)
        self.next_id = 0

    def raw(self, data, fds=()):
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.socket.sendmsg([data], rights)

    def send(self, op, body=b"", fds=()):
        self.next_id += 1
        self.raw(struct.pack("<HHIQ", 1, op, 16 + len(body), self.next_id) + body, fds)
        return self.next_id

    def receive(self):
        data, fds, _, _ = socket.recv_fds(self.socket, 20000, 8)
        for fd in fds:
            os.close(fd)
        if not data:
            raise EOFError
        _, op, _, identity = struct.unpack_from("<HHIQ", data)
        return op, identity, data

    def ask(self, op, body=b"", fds=()):
        """The errno that the answer carries, as a positive number, with the step and the object."""
        identity = self.send(op, body, fds)
        while True:
            answer, of, data = self.receive()
            if of == identity and answer == op | REPLY:
                number, step, thing = struct.unpack_from("<i24s104s", data, ERR_AT)
                return [-number, step.split(b"\0")[0].decode(), thing.split(b"\0")[0].decode()]

    def hello(self):
        return self.ask(HELLO, padded(version(), 32))


def version():
    return os.environ.get("CARREL_VERSION") or pathlib.Path(sys.argv[1], "version").read_text().strip()


def spec(*argv):
    strings = b"".join(a.encode() + b"\0" for a in argv)
    head = struct.pack("<III", 0x63737063, 1, 0) + struct.pack("<IIII", 0, 0, 0, 0) + bytes(128)
    head += struct.pack("<II", len(argv), 0) + bytes(64) + padded("/", 1024)
    head = struct.pack("<III", 0x63737063, 1, len(head) + len(strings)) + head[12:]
    fd = os.memfd_create("spec", os.MFD_ALLOW_SEALING)
    os.write(fd, head + strings)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE)
    return fd


def create(channel, identity, template="minimal", hostname="", egress="", limits=None, volumes=(), fd=None):
    values = [UNSET] * N_LIMITS
    for place, value in (limits or {}).items():
        values[place] = value
    body = padded(identity, 64) + padded(template, 64) + padded(hostname, 64) + padded(egress, 64)
    body += struct.pack(f"<{N_LIMITS}Q", *values)
    body += b"".join(padded(name, 64) for name in (*volumes, *[""] * N_VOLUMES)[:N_VOLUMES])
    own = spec("/bin/busybox", "sleep", "1000") if fd is None else fd
    try:
        return channel.ask(CREATE, body, [own])
    finally:
        if fd is None:
            os.close(own)


def crafted(channel):
    """Requests of the right shape that must be refused, and some that must work in between."""
    said = {"hello": channel.hello()}
    said["good"] = create(channel, "good")
    said["same id"] = create(channel, "good")
    said["unknown template"] = create(channel, "x1", template="nonesuch")
    said["egress that the template does not allow"] = create(channel, "x2", egress="internet")
    said["memory past the ceiling"] = create(channel, "x3", limits={0: 2**50 // 16})
    said["memory out of range"] = create(channel, "x4", limits={0: 1})
    said["pids past the ceiling"] = create(channel, "x5", limits={6: 4000000})
    said["a volume that the template does not have"] = create(channel, "x9", volumes=["data"])
    with open("/dev/null", "rb") as null:
        said["a spec that is no spec"] = create(channel, "x6", fd=null.fileno())
    read, write = os.pipe()
    said["a spec that is a pipe"] = create(channel, "x7", fd=read)
    os.close(read)
    os.close(write)
    unsealed = os.memfd_create("spec")
    os.write(unsealed, bytes(2000))
    said["a spec that is not sealed"] = create(channel, "x8", fd=unsealed)
    for name, op in (("connect", CONNECT), ("kill", KILL), ("freeze", FREEZE), ("thaw", THAW), ("noted", NOTED)):
        said[f"{name} of no session"] = channel.ask(op, padded("nonesuch", 64))
    said["noted of a live session"] = channel.ask(NOTED, padded("good", 64))
    raised = struct.pack(f"<{N_LIMITS}Q", 2**45, *[UNSET] * (N_LIMITS - 1))
    identity = channel.send(SET_LIMITS, padded("good", 64) + raised)
    while (answer := channel.receive())[1] != identity:
        pass
    said["limits raised while it runs"] = [-struct.unpack_from("<i", answer[2], ERR_AT)[0]]
    said["still good"] = channel.ask(THAW, padded("good", 64))
    return said


def report(said):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.sendto(json.dumps(said).encode(), str(pathlib.Path(sys.argv[1], "report.sock")))


def malformed(channel, generator):
    """One message that fits no shape, after a greeting: the supervisor ends this process for it."""
    channel.hello()
    report(os.getpid())
    kind = generator.randrange(8)
    good = struct.pack("<HHIQ", 1, KILL, 80, 9) + padded("good", 64)
    if kind == 0:
        channel.raw(generator.randbytes(generator.randrange(1, 500)))
    elif kind == 1:
        channel.raw(good[:generator.randrange(1, 80)])
    elif kind == 2:
        channel.raw(good + b"x")
    elif kind == 3:
        channel.raw(good, [0, 1])
    elif kind == 4:
        channel.raw(struct.pack("<HHIQ", 1, KILL, 80, 9) + b"a" * 64)
    elif kind == 5:
        channel.raw(struct.pack("<HHIQ", 1, KILL, 80, 9) + padded("../../etc", 64))
    elif kind == 6:
        channel.raw(struct.pack("<HHIQ", 1, generator.choice([0, 11, 99, 0x8001, 0xffff]), 16, 9))
    else:
        channel.raw(struct.pack("<HHIQ", 2, CHECK, 16, 9))
    while True:
        channel.receive()


def no_greeting(channel):
    report(os.getpid())
    channel.send(LIST)
    channel.receive()
    return "answered"


def deaf(channel):
    """Asks and asks, and never reads."""
    channel.hello()
    report(os.getpid())
    channel.socket.settimeout(None)
    while True:
        channel.send(CHECK)


def greedy(channel):
    """As many sessions as it can get."""
    channel.hello()
    answers = [create(channel, f"g{i}") for i in range(12)]
    return [sum(a[0] == 0 for a in answers), answers[-1], answers]


def look_around(_channel):
    """What the process itself can do."""
    def tries(function):
        try:
            function()
            return "done"
        except OSError as e:
            return e.strerror

    status = pathlib.Path("/proc/self/status").read_text()
    return {
        "status": {line.split(":")[0]: line.split(":")[1].split() for line in status.splitlines()
                   if line.startswith(("Uid", "Gid", "Groups", "Cap", "NoNewPrivs"))},
        "fds": {fd: os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")
                if os.path.lexists(f"/proc/self/fd/{fd}")},
        "write /etc": tries(lambda: open("/etc/carrel-was-here", "w").close()),
        "write /tmp": tries(lambda: open("/tmp/carrel-was-here", "w").close()),
        "become root": tries(lambda: os.setuid(0)),
        "read images": tries(lambda: os.listdir(pathlib.Path(sys.argv[1]).parent / "state/rootfs")),
        "sessions": tries(lambda: os.listdir(pathlib.Path(sys.argv[1]).parent / "run/sessions")),
        "ledger": tries(lambda: open(pathlib.Path(sys.argv[1]).parent / "run/ledger", "rb").close()),
        "signal": tries(lambda: os.kill(os.getppid(), 0)),
        "environment": dict(os.environ),
    }


def main():
    scenario = pathlib.Path(sys.argv[1], "scenario").read_text().split()
    channel = Channel()
    said = {"crafted": crafted, "no-greeting": no_greeting, "deaf": deaf, "greedy": greedy, "look": look_around,
            "malformed": lambda c: malformed(c, random.Random(scenario[1]))}[scenario[0]](channel)
    report(said)
    if scenario[0] in ("crafted", "greedy", "look"):
        channel.socket.settimeout(None)
        while True:
            channel.receive()


if __name__ == "__main__":
    main()
