# SPDX-License-Identifier: Apache-2.0
"""A throw-away carrel host for tests: carreld with a configuration of its own, in a network namespace of its own.

A test module calls `own_network()` once, so that everything it starts has no part in the machine's network; then
`Host` starts the installed programs and `Host.close()` checks that nothing is left.

Environment:
  CARREL_ROOT        where the build was installed (DESTDIR)
  CARREL_TIME_SCALE  how much slower than real hardware this machine is (1): every time limit is multiplied by it
  CARREL_TEST_ID_BASE  first of the sessions' ids (524288): tests that run at the same time share no user's limits
  CARREL_TEST_DIR    where the hosts keep their files (/dev/shm); it must be a file system that can be idmapped
  CARREL_PROGRAMS    static programs compiled elsewhere, where there is no musl-gcc
"""

import ctypes
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

ROOT = pathlib.Path(os.environ.get("CARREL_ROOT", "/nonexistent"))
TEST_DIR = os.environ.get("CARREL_TEST_DIR", "/dev/shm")
PROGRAMS = os.environ.get("CARREL_PROGRAMS")
TIME_SCALE = float(os.environ.get("CARREL_TIME_SCALE", "1"))
HERE = pathlib.Path(__file__).resolve().parent
CONTROL_ID = 61184  # a uid and gid that no account has
CLONE_NEWNET = 0x40000000
ID_BASE = int(os.environ.get("CARREL_TEST_ID_BASE", "524288"))

PAUSE_SECONDS = 0.005 * min(TIME_SCALE, 8)  # asking takes time, too, and from whom it is waited for
PREBUILT = {}  # state directories that have just an image, by its name: a process that makes many hosts may fill it

_libc = ctypes.CDLL(None, use_errno=True)


def own_network():
    """Puts the calling process into a new network namespace with its loopback up."""
    if _libc.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def scaled(seconds):
    """What takes SECONDS at most on real hardware takes this long at most here."""
    return seconds * TIME_SCALE


def waited(seconds):
    """For times that a test waits out: longer where the machine is slow, but not as much as what it must be done within."""
    return seconds * min(TIME_SCALE, 4)


class Exactly(float):
    """A timeout that is to be over."""


def wait_until(condition, seconds=10.0, what="condition"):
    """Asks again every few milliseconds, because the kernel tells nobody when these things come true."""
    seconds = scaled(seconds)
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {seconds} s")
        time.sleep(PAUSE_SECONDS)


def compile_static(name, directory):
    """Compiles a C file of this folder into a static program; its path."""
    program = pathlib.Path(directory) / pathlib.Path(name).stem
    if PROGRAMS:
        return pathlib.Path(shutil.copy(pathlib.Path(PROGRAMS) / program.name, program))
    headers = ["-idirafter", "/usr/include", "-idirafter", "/usr/include/x86_64-linux-gnu"]
    subprocess.run(["musl-gcc", "-O1", "-static", *headers, "-o", str(program), str(HERE / name)], check=True)
    return program


class RpcError(Exception):
    def __init__(self, error):
        super().__init__(error.get("message"))
        self.code = error.get("code")
        self.data = error.get("data") or {}
        self.kind = self.data.get("kind")


class Client:
    """One connection to the API socket."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(scaled(60))
        try:
            self.socket.connect(str(path))
        except OSError:
            self.socket.close()
            raise
        self.file = self.socket.makefile("rb")
        self.next_id = 0
        self.notifications = []

    def send(self, method, **params):
        self.next_id += 1
        if "timeout_seconds" in params and not isinstance(params["timeout_seconds"], Exactly):
            params["timeout_seconds"] = scaled(params["timeout_seconds"])
        line = json.dumps({"jsonrpc": "2.0", "id": self.next_id, "method": method, "params": params})
        self.socket.sendall(line.encode() + b"\n")
        return self.next_id

    def receive(self):
        line = self.file.readline()
        if not line:
            raise ConnectionError("carrel closed the connection")
        return json.loads(line)

    def answer(self, request_id):
        while True:
            message = self.receive()
            if "method" in message:
                self.notifications.append(message)
            elif message.get("id") == request_id:
                if "error" in message:
                    raise RpcError(message["error"])
                return message["result"]

    def call(self, method, **params):
        return self.answer(self.send(method, **params))

    def close(self):
        self.file.close()
        self.socket.close()


def call_side_by_side(clients, method, requests):
    """Calls METHOD with the parameters of each of REQUESTS, over as many connections at once as there are CLIENTS."""
    waiting = {}
    for i, params in enumerate(requests):
        client = clients[i % len(clients)]
        if client in waiting:
            client.answer(waiting[client])
        waiting[client] = client.send(method, **params)
    for client, request in waiting.items():
        client.answer(request)


class Host:
    def __init__(self, config=None, templates=None, images=("minimal",), state_base=None):
        """STATE_BASE: where the state is, when it is to be elsewhere than the rest, whose paths are those of sockets and
        have to be short."""
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="carrel-test-", dir=TEST_DIR))
        self.dir.chmod(0o755)
        self.name = self.dir.name
        self.config_dir = self.dir / "etc"
        self.state_dir = state_base / self.name if state_base else self.dir / "state"
        self.run_dir = self.dir / "run"
        self.log_path = self.dir / "log"
        self.program = ROOT / "usr/sbin/carreld"
        self.libexec_dir = ROOT / "usr/libexec/carrel"
        self.launcher = []  # a command that becomes carreld, with its arguments appended
        self.process = None
        self.clients = []
        (self.config_dir / "templates.d").mkdir(parents=True)
        self.config = {
            "user": f"#{CONTROL_ID}",
            "group": f"#{CONTROL_ID}",
            "state_dir": str(self.state_dir),
            "run_dir": str(self.run_dir),
            "cgroup": self.name,
            "id_base": ID_BASE,
            "missing_controllers": "warn",
            "access": [{"user": "root", "role": "admin"}],
            **(config or {}),
        }
        self.write_config()
        defaults = ROOT / "etc/carrel/templates.d"
        # Where each network is made at a snail's pace, no ports of a template that nothing is made of.
        for name in ("minimal", "browser-host") if TIME_SCALE == 1 or "host" in images else ("minimal",):
            shutil.copy(defaults / f"{name}.json", self.config_dir / "templates.d")
        for name, template in (templates or {}).items():
            self.write_template(name, template)
        for image in images:
            if image in PREBUILT:
                subprocess.run(["cp", "-a", f"{PREBUILT[image]}/.", str(self.state_dir)], check=True)
            else:
                self.carrel("image", "build", image, "--state-dir", str(self.state_dir))

    # ---- configuration

    def write_config(self):
        (self.config_dir / "carrel.json").write_text(json.dumps(self.config, indent=2))

    def template(self, name):
        return json.loads((ROOT / f"etc/carrel/templates.d/{name}.json").read_text())

    def write_template(self, name, template):
        (self.config_dir / "templates.d" / f"{name}.json").write_text(json.dumps(template, indent=2))

    # ---- programs

    @property
    def socket_path(self):
        return self.run_dir / "api.sock"

    def carrel(self, *arguments, check=True):
        """Runs the client; the completed process with its output as text."""
        result = subprocess.run(
            [str(ROOT / "usr/bin/carrel"), *arguments],
            env={**os.environ, "CARREL_SOCKET": str(self.socket_path)},
            capture_output=True,
            text=True,
            timeout=scaled(600),
        )
        if check and result.returncode != 0:
            raise AssertionError(f"carrel {arguments}: {result.returncode}\n{result.stdout}{result.stderr}")
        return result

    def start(self, wait=True):
        log = open(self.log_path, "ab")
        environment = {k: v for k, v in os.environ.items() if k != "JOURNAL_STREAM"}
        self.process = subprocess.Popen(
            [*self.launcher, str(self.program), "--config", str(self.config_dir), "--libexec-dir",
             str(self.libexec_dir)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, umask=0o077,  # the unit's
        )
        log.close()
        if wait:
            self.wait_for_api()
        return self

    def wait_for_api(self, seconds=15.0):
        def answers():
            if self.process.poll() is not None:
                raise AssertionError(f"carreld ended with {self.process.returncode}\n{self.log()}")
            try:
                client = Client(self.socket_path)
            except OSError:
                return False
            try:
                client.call("system.health")
                return True
            except (OSError, RpcError):
                return False
            finally:
                client.close()

        try:
            wait_until(answers, seconds, "API")
        except AssertionError as e:
            raise AssertionError(f"{e}\n{self.log()}") from None

    def client(self):
        client = Client(self.socket_path)
        self.clients.append(client)
        return client

    def stream(self, offered):
        """The connection behind a method's {token, ...}."""
        stream = socket.socket(socket.AF_UNIX)
        stream.settimeout(scaled(30))
        stream.connect(str(self.run_dir / "stream.sock"))
        stream.sendall(json.dumps({"token": offered["token"]}).encode() + b"\n")
        return stream

    def remove_all(self):
        """Asks for the end of every session and volume, over a connection of its own; waits for none."""
        client = Client(self.socket_path)
        for session in client.call("session.list")["sessions"]:
            client.call("session.remove", session=session["id"], volumes="remove")
        for volume in client.call("volume.list")["volumes"]:
            try:
                client.call("volume.remove", volume=volume["name"])
            except RpcError as e:
                if e.kind not in ("not_found", "busy"):
                    raise
        client.close()

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def control_pid(self):
        for pid in children(self.process.pid):
            if name_of(pid) == "carrel-control":
                return pid
        return None

    def init_pids(self):
        return [pid for pid in children(self.process.pid) if name_of(pid) == "carrel-init"]

    def stop(self, number=signal.SIGTERM, seconds=30):
        """SIGTERM leaves the sessions, SIGINT ends them first."""
        if self.process is None:
            return None
        self.process.send_signal(number)
        status = self.process.wait(scaled(seconds))
        self.process = None
        return status

    def close(self):
        """Ends everything and raises when something is left."""
        for client in self.clients:
            client.close()
        try:
            if self.process is not None and self.process.poll() is None:
                status = self.stop(signal.SIGINT)
                if status != 0:
                    raise AssertionError(f"carreld ended with {status}\n{self.log()}")
                left = self.leftovers()
                if left:
                    raise AssertionError(f"left behind: {left}\n{self.log()}")
        finally:
            shutil.rmtree(self.dir, ignore_errors=True)
            shutil.rmtree(self.state_dir, ignore_errors=True)

    # ---- what there is on the host

    def leftovers(self):
        """Everything of carrel's but the state directory, by kind; empty when there is nothing."""
        found = {kind: sorted(things) for kind, things in snapshot(self).items() if things}
        return {kind: things for kind, things in found.items() if kind != "run_files" or things}


def children(pid):
    try:
        return [int(p) for p in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def name_of(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def rss_bytes(pid):
    return 1024 * int(re.search(r"^VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text(), re.M)[1])


def has_ended(pid):
    """A zombie has, too: what lost its parent is reaped by the host's PID 1 in its own time."""
    try:
        return "State:\tZ" in pathlib.Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


def cgroup_root():
    for path in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"):
        if os.path.exists(f"{path}/cgroup.controllers"):
            return pathlib.Path(path)
    raise AssertionError("no cgroup v2 tree is mounted")


def _processes():
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            status = (entry / "status").read_text()
            # A zombie has given everything back; an adopted init waits for the host's PID 1 to reap it.
            if not re.search(r"^State:\tZ", status, re.M):
                yield int(entry.name), (entry / "cgroup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue


def footprint(host):
    """What sessions have on the host: cgroups, interfaces, files of the run directory. Quick, to be asked often."""
    cgroup = cgroup_root() / host.name
    return {
        "cgroups": {path for path, _, _ in os.walk(cgroup)},
        "links": {name for _, name in socket.if_nameindex() if re.fullmatch(r"cr\d+", name)},
        "run_files": {os.path.join(path, name) for path, dirs, files in os.walk(host.run_dir) for name in dirs + files},
    }


def snapshot(host):
    """What the host has of this carrel: its footprint, processes, tables, mounts."""
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
    return {
        **footprint(host),
        "processes": {f"{pid} {name_of(pid)}" for pid, path in _processes() if f"/{host.name}/" in path},
        "tables": {line for line in tables.splitlines() if "carrel" in line},
        "mounts": {line for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines() if host.name in line},
    }
