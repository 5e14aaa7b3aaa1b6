#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Measures carrel beside its peers in one run and prints medians, 95th percentiles and ratios.

  start     from the request to the workload's first instruction
  end       from the workload's end to everything of it being gone
  whole     both
  browser   from the request to the first answer of the browser's debugging port, beside the bare browser on the host and one
            of a pool, kept ready
  exec      from exec.run of the smallest program there is, in a session that is there, to its answer; beside a process in
            that session that starts the same program itself ("floor"), and beside exec in a container of the peers'
  docker    from the request to what "docker info" prints, beside a dockerd that is started by hand in a session that is
            there: in the same namespaces, on the same kind of disk
  burst     many sessions at once: how many a second
  files     file.stat; a file by stream into a session's tmpfs, beside a process that writes what comes through a socket
            ("by hand"), and out of it; a tree as tar

The peers do less: bubblewrap makes no network link, cgroup or id range; crun, runc and docker (where a daemon answers) make
no network link. Most of carrel's "end" is the kernel's removal of that link. Runs are interleaved in rounds, so that a
machine whose speed drifts does so for all.
"""

import argparse
import json
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

DOCKER_IMAGE = "carrel-bench-stamp"
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "session"))
import carrel_host  # noqa: E402
import file_client  # noqa: E402


class Figures:
    """Milliseconds by name, for one contestant."""

    def __init__(self):
        self.values = {}

    def add(self, name, ms):
        self.values.setdefault(name, []).append(ms)

    def summary(self):
        return {name: {"median_ms": round(statistics.median(v), 3), "p95_ms": round(percentile(v, 95), 3), "n": len(v)}
                for name, v in self.values.items()}


def percentile(values, percent):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def compile_helpers(directory):
    subprocess.run(["musl-gcc", "-O2", "-static", "-o", directory / "stamp", HERE / "stamp.c"], check=True)
    subprocess.run(["cc", "-O2", "-D_GNU_SOURCE", "-o", directory / "launch", HERE / "launch.c"], check=True)
    for program in "spawn", "true":
        subprocess.run(["musl-gcc", "-O2", "-static", "-o", directory / program, HERE / f"{program}.c"], check=True)


def make_rootfs(directory):
    """A tree with the two programs, and the mount points that the peers want to find."""
    root = directory / "rootfs"
    for name in ("proc", "sys", "dev", "tmp", "bin"):
        (root / name).mkdir(parents=True)
    for program in "stamp", "true":
        shutil.copy(directory / program, root / program)
    shutil.copy(shutil.which("busybox"), root / "bin/busybox")
    for path in (directory, root):
        path.chmod(0o755)
    return root


def oci_bundle(directory, root, name, command):
    """The same isolation that carrel gives as far as the runtime has it: all namespaces, mapped ids, no capability."""
    bundle = directory / name
    bundle.mkdir()
    subprocess.run(["runc", "spec", "--rootless"], cwd=bundle, check=True)
    config = json.loads((bundle / "config.json").read_text())
    config["root"] = {"path": str(root), "readonly": True}
    config["process"].update(args=command, terminal=False, noNewPrivileges=True)
    mapping = [{"containerID": 0, "hostID": 1000000, "size": 65536}]
    config["linux"].update(uidMappings=mapping, gidMappings=mapping)
    config["linux"]["namespaces"] = [{"type": t} for t in ("pid", "ipc", "uts", "mount", "user", "network")]
    config["linux"].pop("resources", None)
    config["mounts"] = [m for m in config["mounts"] if m["destination"] in ("/proc", "/dev", "/dev/pts", "/dev/shm")]
    (bundle / "config.json").write_text(json.dumps(config))
    return bundle


def peers(directory, root):
    """Name → command that runs the workload once in a new container."""
    found = {}
    if shutil.which("bwrap"):
        found["bubblewrap"] = ["bwrap", "--unshare-all", "--ro-bind", str(root), "/", "--proc", "/proc", "--dev", "/dev",
                               "--tmpfs", "/tmp", "/stamp"]
    if shutil.which("runc"):
        bundle = oci_bundle(directory, root, "bundle", ["/stamp"])
        if shutil.which("crun"):
            found["crun"] = ["crun", "--cgroup-manager=disabled", "--root", str(directory / "crun"), "run", "-b", str(bundle),
                             "bench"]
        found["runc"] = ["runc", "--root", str(directory / "runc"), "run", "-b", str(bundle), "bench"]
    if shutil.which("docker") and subprocess.run(["docker", "info"], capture_output=True).returncode == 0:
        tar = subprocess.run(["tar", "-C", root, "-c", "."], capture_output=True, check=True).stdout
        subprocess.run(["docker", "import", "-", DOCKER_IMAGE], input=tar, capture_output=True, check=True)
        found["docker"] = ["docker", "run", "--rm", "--network", "none", DOCKER_IMAGE, "/stamp"]
    return found


def wrapper_of(name):
    """crun refuses a hybrid cgroup tree: show it the v2 one alone, in a mount namespace of its own."""
    if name != "crun":
        return []
    return ["unshare", "-m", "sh", "-c", "umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; exec \"$@\"", "sh"]


def run_peer(directory, name, command, n, figures):
    result = subprocess.run([*wrapper_of(name), str(directory / "launch"), str(n), *command], capture_output=True, text=True)
    if result.returncode != 0:
        raise RuntimeError(f"{name}: {result.stderr.strip()[-400:]}")
    for line in result.stdout.splitlines():
        start, end = (int(x) / 1e6 for x in line.split())
        figures.add("start", start)
        figures.add("end", end)
        figures.add("whole", start + end)


def run_carrel(client, n, figures):
    for _ in range(n):
        begun = time.monotonic_ns()
        name = client.call("session.create", template="stamp", wait="created")["id"]
        answered = time.monotonic_ns()
        client.call("session.wait", session=name, **{"for": "ended"})
        gone = time.monotonic_ns()
        entries = client.call("session.logs", session=name)["entries"]
        stamp = int("".join(e["text"] for e in entries))
        client.call("session.remove", session=name)
        figures.add("start", (stamp - begun) / 1e6)
        figures.add("answer", (answered - begun) / 1e6)
        figures.add("end", (gone - stamp) / 1e6)
        figures.add("whole", (gone - begun) / 1e6)


TRUE = ["/true"]
SLEEP = ["/bin/busybox", "sleep", "1000"]


def run_execs(client, n, figures, floor):
    client.call("session.create", template="execs", id="execs")
    for _ in range(n):
        begun = time.monotonic()
        result = client.call("exec.run", session="execs", command=TRUE)
        figures.add("exec", (time.monotonic() - begun) * 1e3)
        assert result["exit_code"] == 0, result
    result = client.call("exec.run", session="execs", command=["/spawn", str(n), *TRUE])
    client.call("session.remove", session="execs")
    for line in result["stdout"].splitlines():
        floor.add("exec", int(line) / 1e6)


class PeerExecs:
    """A container of each peer that has such, and exec in it."""

    def __init__(self, directory, root, names):
        self.spawn, self.commands, self.removals = str(directory / "spawn"), {}, []
        try:
            for name in names:
                if name in ("crun", "runc"):
                    bundle = oci_bundle(directory, root, f"bundle-{name}", SLEEP)
                    options = ["--cgroup-manager=disabled"] if name == "crun" else []
                    tool = [name, *options, "--root", str(directory / f"{name}-execs")]
                    self.add(name, [*tool, "run", "--detach", "-b", str(bundle), "execs"], [*tool, "exec", "execs"],
                             [*tool, "delete", "--force", "execs"])
                elif name == "docker":
                    tool = ["docker"]
                    self.add(name, [*tool, "run", "--detach", "--name", DOCKER_IMAGE, "--network", "none", DOCKER_IMAGE, *SLEEP],
                             [*tool, "exec", DOCKER_IMAGE], [*tool, "rm", "--force", DOCKER_IMAGE])
        except BaseException:
            self.close()
            raise

    def add(self, name, start, execute, remove):
        nothing = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
        self.removals.append([*wrapper_of(name), *remove])
        subprocess.run([*wrapper_of(name), *start], check=True, **nothing)
        self.commands[name] = execute

    def run(self, name, n, figures):
        if name not in self.commands:
            return
        command = [*wrapper_of(name), self.spawn, str(n), *self.commands[name], *TRUE]
        for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines():
            figures.add("exec", int(line) / 1e6)

    def close(self):
        for command in self.removals:
            subprocess.run(command, stdout=subprocess.DEVNULL, check=False)


def run_burst(host, n, at_once):
    clients = [host.client() for _ in range(at_once)]
    begun = time.monotonic()
    carrel_host.call_side_by_side(clients, "session.create", [{"template": "minimal", "id": f"burst-{i}"} for i in range(n)])
    made = time.monotonic()
    carrel_host.call_side_by_side(clients, "session.remove", [{"session": f"burst-{i}"} for i in range(n)])
    return {"sessions": n, "at_once": at_once, "created_per_second": round(n / (made - begun), 1),
            "removed_per_second": round(n / (time.monotonic() - made), 1)}


def wait_for_cdp(url, process=None):
    while True:
        try:
            with urllib.request.urlopen(f"{url}/json/version", timeout=5) as answer:
                answer.read()
            return
        except (urllib.error.URLError, ConnectionError):
            if process is not None and process.poll() is not None:
                raise RuntimeError("the bare browser ended") from None
            time.sleep(0.002)


def in_pairs(n, ours, bare):
    """Both N times, of which now the one and now the other is first; the median of how many milliseconds ours takes longer."""
    differences = []
    for i in range(n):
        before = bare() if i % 2 else None
        took = ours()
        differences.append(took - (before or bare()))
    return statistics.median(differences)


def group_exists(group):
    try:
        os.killpg(group, 0)
        return True
    except ProcessLookupError:
        return False


def run_bare_browser(command, figures):
    """The same program and flags on the host, as an unprivileged user with its own sandbox."""
    with tempfile.TemporaryDirectory(prefix="carrel-bench-") as profile:
        os.chmod(profile, 0o777)
        argv = [a for a in command if not a.startswith(("--user-data-dir", "--remote-debugging"))]
        begun = time.monotonic()
        process = subprocess.Popen(
            ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *argv, f"--user-data-dir={profile}/p",
             "--remote-debugging-port=9333"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
            env={"PATH": "/usr/bin:/bin", "HOME": profile, "LANG": "C.UTF-8", "XDG_RUNTIME_DIR": profile})
        wait_for_cdp("http://127.0.0.1:9333", process)
        ms = (time.monotonic() - begun) * 1e3
        figures.add("browser", ms)
        # Only when all of it is gone does nobody write to the profile any more.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        carrel_host.wait_until(lambda: not group_exists(process.pid), what="the bare browser is gone")
    return ms


def run_carrel_browser(client, figures):
    begun = time.monotonic()
    session = client.call("session.create", template="browser-host")
    wait_for_cdp(session["cdp_url"])
    ms = (time.monotonic() - begun) * 1e3
    figures.add("browser", ms)
    client.call("session.remove", session=session["id"])
    return ms


def run_claims(client, n, figures):
    """The same with a browser of a pool; nothing else is under way when one is claimed."""
    client.call("pool.set", template="browser-host", size=1)
    for _ in range(n):
        carrel_host.wait_until(lambda: client.call("pool.get", template="browser-host")["pools"][0]["ready"] == 1, 60, "a ready browser")
        run_carrel_browser(client, figures)
    client.call("pool.set", template="browser-host", size=0)


# Both ends are taken inside. dockerd starts a containerd of its own then, as it does where nobody else has. It answers
# who has connected before as soon as it can.
BARE_DOCKERD = """start=$EPOCHREALTIME
dockerd > /dev/null 2>&1 &
until [ -S /run/docker.sock ]; do sleep 0.002; done
curl -sf --unix-socket /run/docker.sock http://docker/_ping > /dev/null
docker info > /dev/null || exit 1
end=$EPOCHREALTIME
echo $((${end/./} - ${start/./}))"""


def run_docker(client, figures):
    begun = time.monotonic()
    session = client.call("session.create", template="dind")
    result = client.call("exec.run", session=session["id"], command=["docker", "info"])
    ms = (time.monotonic() - begun) * 1000
    client.call("session.remove", session=session["id"])
    assert result["exit_code"] == 0, result
    figures.add("docker", ms)
    return ms


def run_bare_docker(client, figures):
    session = client.call("session.create", template="by-hand")
    result = client.call("exec.run", session=session["id"], command=["bash", "-c", BARE_DOCKERD])
    client.call("session.remove", session=session["id"])
    assert result["exit_code"] == 0, result
    ms = int(result["stdout"]) / 1000
    figures.add("docker", ms)
    return ms


def run_dockers(rounds, carrel_figures, bare_figures):
    """On a host of its own, whose state is on a disk, one session at a time; how much longer carrel's take."""
    carrel_dind = sys.modules["carrel_dind"]
    by_hand = carrel_dind.template(command=["/bin/sleep", "infinity"], readiness=None, liveness=None)
    host = carrel_dind.DindHost(templates={"by-hand": by_hand})
    try:
        host.start()
        client = host.client()
        run_docker(client, Figures()), run_bare_docker(client, Figures())  # these find cold caches
        return in_pairs(rounds, lambda: run_docker(client, carrel_figures), lambda: run_bare_docker(client, bare_figures))
    finally:
        host.close()


def run_files(host, size):
    """What file calls and streams of SIZE bytes take; the client's side is this program."""
    host.client().call("session.create", template="files", id="files")
    files = file_client.Files(host, "files")
    block, buffer, stats = os.urandom(1 << 24), bytearray(1 << 24), []
    for _ in range(300):
        begun = time.monotonic()
        files.call("file.stat", path="/etc/passwd")
        stats.append(time.monotonic() - begun)

    def timed(method, path, upload):
        begun = time.monotonic()
        opened = files.call(method, path=path, **({"stream": True, "size_bytes": size, "create_parents": True} if method == "file.write" else {}))
        with files.attach(opened) as stream:
            if upload:
                for part in upload:
                    stream.sendall(part)
                stream.shutdown(socket.SHUT_WR)
                files.wait(opened)
            while stream.recv_into(buffer):
                pass
        n = size if method.startswith("file") else files.wait(opened)["size_bytes"]
        return round(n / (time.monotonic() - begun) / 1e9, 2)

    def by_hand():
        """The least there is to it: a socket, and another process that writes what comes into a tmpfs."""
        ours, theirs = socket.socketpair()
        with ours, theirs, tempfile.NamedTemporaryFile(dir="/dev/shm") as file:
            begun = time.monotonic()
            pid = os.fork()
            if pid == 0:
                ours.close()
                while n := theirs.recv_into(buffer):
                    os.write(file.fileno(), memoryview(buffer)[:n])
                os._exit(0)
            theirs.close()
            for _ in range(size // len(block)):
                ours.sendall(block)
            ours.close()
            os.waitpid(pid, 0)
            return round(size / (time.monotonic() - begun) / 1e9, 2)

    result = {"stat_ms": round(statistics.median(stats) * 1e3, 3), "gb": size / 1e9}
    rounds = {"in": [], "out": [], "by_hand": []}
    # The first round is not counted: a virtual machine's host gives it the memory only then.
    for _ in range(4):
        rounds["in"].append(timed("file.write", "/tmp/tree/big", [block] * (size // len(block))))
        rounds["out"].append(timed("file.read", "/tmp/tree/big", None))
        files.call("file.delete", path="/tmp/tree/big")
        rounds["by_hand"].append(by_hand())
    result.update({f"{way}_gb_per_second": statistics.median(rates[1:]) for way, rates in rounds.items()})
    timed("file.write", "/tmp/tree/big", [block] * (size // len(block)))
    files.sh("cd /tmp/tree; mv big /tmp/big; i=0; while [ $i -lt 2000 ]; do head -c 8192 /tmp/big > f$i; i=$((i+1)); done; rm /tmp/big")
    data, _ = files.download("archive.get", "/tmp/tree")
    result["tar_out_gb_per_second"] = timed("archive.get", "/tmp/tree", None)
    result["tar_in_gb_per_second"] = timed("archive.put", "/tmp/tree", [data])
    host.client().call("session.remove", session="files")
    return result


def table(results, base):
    names = [n for n in ("start", "answer", "end", "whole", "exec", "browser", "docker") if any(n in r for r in results.values())]
    lines = [f"{'':14}" + "".join(f"{n + ' ms':>14}{'p95':>9}{'ratio':>8}" for n in names)]
    for who, figures in results.items():
        cells = ""
        for name in names:
            f = figures.get(name)
            if not f:
                cells += f"{'':>31}"
                continue
            ours = results[base].get(name, {}).get("median_ms")
            ratio = f"{f['median_ms'] / ours:.1f}×" if ours else ""
            cells += f"{f['median_ms']:14.2f}{f['p95_ms']:9.2f}{ratio:>8}"
        lines.append(f"{who:14}{cells}")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--root", required=True, help="where carrel is installed (DESTDIR of meson install)")
    parser.add_argument("--quick", action="store_true", help="few runs: shows that it works, not how fast it is")
    parser.add_argument("--json", metavar="FILE", help="write the figures there, too")
    args = parser.parse_args()
    carrel_host.ROOT = pathlib.Path(args.root).resolve()
    os.environ.setdefault("CARREL_BUILD", str(carrel_host.ROOT.parent / "gcc"))
    os.environ["CARREL_ROOT"] = str(carrel_host.ROOT)
    import carrel_dind  # noqa: F401, E402: while this is still in the machine's network, where Debian's packages are
    carrel_host.own_network()
    rounds, per_round, browsers, burst = (2, 5, 2, 32) if args.quick else (10, 20, 10, 200)

    directory = pathlib.Path(tempfile.mkdtemp(prefix="carrel-bench-", dir="/dev/shm"))
    stamp_template = carrel_host.Host.template(None, "minimal")
    stamp_template.update(command=["/stamp"], image="stamp")
    execs_template = {**carrel_host.Host.template(None, "minimal"), "image": "stamp"}
    host, peer_execs, contestants = None, None, {}
    try:
        compile_helpers(directory)
        root = make_rootfs(directory)
        contestants = peers(directory, root)
        with_browser = os.path.exists("/usr/lib/chromium/chromium")
        host = carrel_host.Host(config={"max_sessions": 512}, templates={"stamp": stamp_template, "execs": execs_template, "files": file_client.TEMPLATE},
                                images=("minimal", "host") if with_browser else ("minimal",))
        image = host.state_dir / "rootfs/stamp"
        shutil.copytree(host.state_dir / "rootfs/minimal", image, symlinks=True)
        for program in ("stamp", "spawn", "true"):
            shutil.copy(directory / program, image / "0")
        host.start()
        client = host.client()
        peer_execs = PeerExecs(directory, root, contestants)
        figures = {name: Figures() for name in ("carrel", "floor", *contestants, "bare", "pool")}
        run_carrel(client, 3, Figures())
        for _ in range(rounds):
            run_carrel(client, per_round, figures["carrel"])
            run_execs(client, 5 * per_round, figures["carrel"], figures["floor"])
            for name, command in contestants.items():
                run_peer(directory, name, command, per_round, figures[name])
                peer_execs.run(name, per_round, figures[name])
        if with_browser:
            command = host.template("browser-host")["command"]
            run_carrel_browser(client, Figures())
            run_bare_browser(command, Figures())
            longer_browser = in_pairs(browsers, lambda: run_carrel_browser(client, figures["carrel"]),
                                      lambda: run_bare_browser(command, figures["bare"]))
            run_claims(client, browsers, figures["pool"])
        bursts = run_burst(host, burst, 32)
        files = run_files(host, 1 << 26 if args.quick else 1 << 30)
        # One host at a time: each has its network namespace for itself.
        host.close()
        host = None
        longer = run_dockers(browsers, figures["carrel"], figures["bare"])
        results = {name: f.summary() for name, f in figures.items() if f.values}
        print(table(results, "carrel"))
        if with_browser:
            print(f"browser: from the request to the first answer {longer_browser:+.0f} ms beside the bare one (median of pairs)")
        print(f"docker: from the request to docker info {longer:+.0f} ms beside dockerd by hand (median of pairs)")
        print(f"burst: {bursts['sessions']} sessions, {bursts['at_once']} at once: {bursts['created_per_second']} created, "
              f"{bursts['removed_per_second']} removed a second")
        print(f"files: stat {files['stat_ms']} ms; GB/s of {files['gb']:.2f} GB in {files['in_gb_per_second']} (by hand "
              f"{files['by_hand_gb_per_second']}), out {files['out_gb_per_second']}; of 2,000 small ones as tar out {files['tar_out_gb_per_second']}, in "
              f"{files['tar_in_gb_per_second']}")
        if args.json:
            pathlib.Path(args.json).write_text(json.dumps({"results": results, "burst": bursts, "files": files, "docker_longer_ms": longer}, indent=2) + "\n")
    finally:
        if host:
            host.close()
        if peer_execs:
            peer_execs.close()
        if "docker" in contestants:
            subprocess.run(["docker", "rmi", DOCKER_IMAGE], capture_output=True)
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
