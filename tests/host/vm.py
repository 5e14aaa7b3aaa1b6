# SPDX-License-Identifier: Apache-2.0
"""A virtual machine that runs one command and is gone.

There is no hardware virtualisation: QEMU emulates a processor, and everything takes some twenty-five times as long. What
goes in is a tar on a disk; what comes out is a stream on a serial port and a tar on another disk. The guest's side of
this is parts/files/usr/lib/carrel-guest/run.
"""

import io
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import termios
import time
import uuid

import parts

TIMED_OUT, NO_REPORT = 124, 125  # exit codes beside those of the command
RESULTS_BYTES = 512 << 20  # room for what comes back; sparse
BOOT_SECONDS, BOOTS = 150, 3  # ten or twenty seconds where nothing else runs
TIME_SCALE = 25  # the guest's time limits, beside those of real hardware

# Without the mitigations of a processor that is not there; names of interfaces as they were given. Without a look at
# whether the timer ticks: where the emulator gets too little time for that, the kernel gives up and hangs.
COMMAND_LINE = "console=ttyS0 rw panic=-1 mitigations=off quiet loglevel=4 systemd.show_status=0 net.ifnames=0 no_timer_check"
# Nehalem: what all packages are compiled for, at most. cx16 is slow in emulation, rdrand starts the guest's entropy.
PROCESSOR = "Nehalem,+rdrand,-cx16"

# For every command; see tests/session/carrel_host.py.
ENVIRONMENT = {
    "CARREL_ROOT": "/",
    "CARREL_TIME_SCALE": str(TIME_SCALE),
    "CARREL_TEST_DIR": "/var/tmp",
    "CARREL_PROGRAMS": "/carrel/programs",
    "CARREL_BUILD": "/carrel/build",
    "PYTHONPATH": "/carrel/tests/session:/carrel/tests/lib:/carrel/tests/host/guest",
    "PYTHONDONTWRITEBYTECODE": "1",
}


class Payload:
    """Files for the guest, and the command that it runs in /carrel, by sh."""

    def __init__(self, command):
        exports = "".join(f"export {name}={value}\n" for name, value in ENVIRONMENT.items())
        self.texts = {"carrel/command": exports + command + "\n", "carrel/run": uuid.uuid4().hex + "\n"}
        self.trees = []

    def put(self, source, target):
        """A file or directory of ours, to be found at the absolute path TARGET."""
        self.trees.append((str(source), target.strip("/") or "."))

    def write(self, path):
        with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
            for source, target in self.trees:
                tar.add(source, target, filter=self._as_root)
            for target, text in self.texts.items():
                member = tarfile.TarInfo(target)
                member.size = len(text.encode())
                tar.addfile(member, io.BytesIO(text.encode()))

    @staticmethod
    def _as_root(member):
        if "__pycache__" in member.name:
            return None
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        return member


class Machine:
    def __init__(self, kernel="6.1", memory_mib=1536, processors=2, disk=None, reboots=False, append="", images=None):
        """DISK: a root disk that is kept, made if it is not there; else one that is forgotten. REBOOTS: the guest may
        start again, and finds the same disk; otherwise that ends it. APPEND: to the kernel's command line. IMAGES: one
        more disk, with this serial number; what the guest changes there is forgotten."""
        self.kernel = parts.kernel(kernel)
        self.root = parts.root()
        self.qemu = parts.qemu()
        self.memory_mib = memory_mib
        self.processors = processors
        self.disk = disk
        self.reboots = reboots
        self.append = append
        self.images = images

    def run(self, payload, seconds, results=None, stdin=subprocess.DEVNULL, stdout=None):
        """Boots, runs the payload's command with its output to STDOUT, and powers off; its exit code, or TIMED_OUT after
        SECONDS, or NO_REPORT when the guest ended without one. What it left in /results comes to the directory RESULTS."""
        with tempfile.TemporaryDirectory(prefix="carrel-vm-") as name:
            directory = pathlib.Path(name)
            payload.write(directory / "payload")
            with open(directory / "results", "wb") as file:
                file.truncate(RESULTS_BYTES)
            timed_out = not self._boot(directory, seconds, stdin, stdout)
            status = TIMED_OUT if timed_out else self._status(directory)
            if results:
                self._bring(directory, pathlib.Path(results))
            if status in (TIMED_OUT, NO_REPORT):
                self._complain(directory, status, seconds)
        return status

    def _boot(self, directory, seconds, stdin, stdout):
        """True when the machine has ended by itself. Now and then a kernel hangs in the emulator before it has started
        anything of ours: such a machine is begun again."""
        for left in reversed(range(BOOTS)):
            ended = self._boot_once(directory, seconds, stdin, stdout, may_hang=left == 0 or seconds <= BOOT_SECONDS)
            if ended is not None:
                return ended
            print(f"vm: {self.kernel.name} did not come up within {BOOT_SECONDS} s; beginning again", file=sys.stderr, flush=True)
        return False

    def _boot_once(self, directory, seconds, stdin, stdout, may_hang):
        """Whether it has ended by itself; None: it has not come up in time, and may not hang."""
        saved = termios.tcgetattr(stdin) if stdin is not subprocess.DEVNULL and os.isatty(stdin) else None
        # It ends with us, however that is.
        (directory / "here").write_bytes(b"")
        command = ["setpriv", "--pdeathsig", "KILL", str(self.qemu), *self._arguments(directory)]
        with open(directory / "qemu.log", "wb") as log:
            process = subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=log,
                                       env={**os.environ, "TMPDIR": str(directory)})
        begun = time.monotonic()
        try:
            while not may_hang and not (directory / "here").stat().st_size:
                try:
                    process.wait(1)
                    return True
                except subprocess.TimeoutExpired:
                    if time.monotonic() - begun > BOOT_SECONDS:
                        return None
            process.wait(seconds)
            return True
        except subprocess.TimeoutExpired:
            return False
        finally:
            process.kill()
            process.wait()
            if saved:
                termios.tcsetattr(stdin, termios.TCSADRAIN, saved)

    def _arguments(self, directory):
        arguments = [
            "-nodefaults", "-no-user-config", "-display", "none", "-M", "q35", "-accel", "tcg,thread=multi",
            "-cpu", PROCESSOR, "-smp", str(self.processors), "-m", str(self.memory_mib),
            "-kernel", str(self.kernel / "vmlinuz"), "-initrd", str(self.kernel / "initrd"),
            "-append", f"{COMMAND_LINE} {self.append}",
            "-serial", f"file:{directory / 'console'}",
            "-chardev", "stdio,id=stream,signal=off", "-serial", "chardev:stream", "-serial", f"file:{directory / 'here'}",
            *self._disk("root", self._root_disk(), "snapshot=on" if not self.disk else "snapshot=off"),
            *self._disk("modules", self.kernel / "modules.ext4", "readonly=on"),
            *self._disk("payload", directory / "payload", "readonly=on"),
            *self._disk("results", directory / "results", "snapshot=off"),
            *(self._disk("images", self.images, "snapshot=on") if self.images else ()),
        ]
        return arguments if self.reboots else [*arguments, "-no-reboot"]

    @staticmethod
    def _disk(serial, path, option):
        return ["-drive", f"file={path},format=raw,if=none,id={serial},{option}",
                "-device", f"virtio-blk-pci,drive={serial},serial={serial}"]

    def _root_disk(self):
        if not self.disk:
            return self.root
        disk = pathlib.Path(self.disk)
        if not disk.exists():
            subprocess.run(["cp", "--sparse=always", "--reflink=auto", str(self.root), str(disk)], check=True)
        return disk

    @staticmethod
    def _status(directory):
        try:
            with tarfile.open(directory / "results") as tar:
                return int(tar.extractfile("./.status").read())
        except (tarfile.TarError, KeyError, ValueError):
            return NO_REPORT

    @staticmethod
    def _bring(directory, results):
        results.mkdir(parents=True, exist_ok=True)
        subprocess.run(["tar", "-xf", str(directory / "results"), "-C", str(results)], stderr=subprocess.DEVNULL,
                       check=False)  # there is none when the guest ended too early
        shutil.copy(directory / "console", results / "console.txt")

    @staticmethod
    def _complain(directory, status, seconds):
        what = f"no end after {seconds} s" if status == TIMED_OUT else "the guest ended without a report"
        print(f"vm: {what}; the end of its console:", file=sys.stderr)
        for name in ("console", "qemu.log"):
            text = (directory / name).read_text(errors="replace") if (directory / name).exists() else ""
            print("\n".join(text.splitlines()[-30:]), file=sys.stderr)
