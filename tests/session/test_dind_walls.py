# SPDX-License-Identifier: Apache-2.0
"""Sessions with a Docker daemon: what root inside, and root in a container that is privileged inside, cannot reach."""

import os
import pathlib
import re
import time
import unittest

from carrel_dind import MAKE_BUSYBOX, SCRATCH_BYTES, DindHost, template
from carrel_host import RpcError, own_network, wait_until


def setUpModule():
    own_network()


# Opens every file below the directories for writing, and writes another number, or else what was there. Prints those
# that took it. What acts on a device rather than keep a value is left alone: a hole there would cost the machine.
WRITE_ALL = r"""
import os, sys
for top in sys.argv[1:]:
    for directory, below, files in os.walk(top):
        if directory == "/sys/fs":
            below.remove("cgroup")  # its own: it would freeze itself
        for name in files:
            if name in ("uevent", "unbind", "bind", "remove", "rescan", "reset", "delete", "driver_override"):
                continue
            path = os.path.join(directory, name)
            try:
                reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
                old = os.read(reader, 4096)
            except OSError:
                old = b""
            try:
                writer = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
                os.write(writer, b"%d" % (int(old) + 1) if old.strip().isdigit() else old)
                print(path)
            except OSError:
                pass
"""

# Settings of namespaces: the session's own, whoever writes them.
OWN_SETTINGS = re.compile(
    r"/proc/sys/net/|/proc/sys/user/max_|/proc/sys/fs/mqueue/|/proc/sys/kernel/"
    r"(msg|sem|shm|hostname|domainname|auto_msgmni|ns_last_pid|pid_max|sched_domain)|"
    r"/sys/class/net/|/sys/devices/virtual/net/|/sys/fs/cgroup/|/sys/devices/.*/net/")


def settings():
    """Every file of /proc/sys and what is in it, but those of the network namespace, which is the tests' own."""
    found = {}
    for directory, _, files in os.walk("/proc/sys"):
        for name in files if not directory.startswith("/proc/sys/net") else ():
            path = pathlib.Path(directory) / name
            try:
                found[str(path)] = path.read_bytes()
            except OSError:
                pass
    for directory in ("/sys/kernel", "/sys/module", "/sys/block", "/sys/power", "/sys/class/net"):
        for path in pathlib.Path(directory).rglob("*"):
            try:
                if path.is_file() and path.stat().st_mode & 0o200 and "debug" not in path.parts and "tracing" not in path.parts:
                    found[str(path)] = path.read_bytes()
            except OSError:
                pass
    return found


class Walls(unittest.TestCase):
    """Two sessions: one attacks, the other is its neighbour."""

    capabilities = None  # the template's
    # A privileged container would have more capabilities than the session has, and so does not start.
    everything = ["--cap-add=NET_ADMIN", "--cap-add=SYS_ADMIN", "--security-opt=seccomp=unconfined", "--security-opt=systempaths=unconfined"]

    @classmethod
    def setUpClass(cls):
        cls.host = DindHost(templates={"dind": template(**({"capabilities": cls.capabilities} if cls.capabilities else {}))})
        cls.addClassCleanup(cls.host.close)
        cls.host.start()
        cls.client = cls.host.client()
        cls.sessions = {}
        for name in ("mallory", "alice"):
            cls.sessions[name] = cls.client.call("session.create", template="dind", id=name)
            cls.addClassCleanup(cls.client.call, "session.remove", session=name)
            cls.shell(MAKE_BUSYBOX, session=name)

    @classmethod
    def run_in(cls, session, *command):
        result = cls.client.call("exec.run", session=session, command=list(command), timeout_seconds=120)
        assert result["exit_code"] == 0, result["stderr"][-1000:]
        return result["stdout"]

    @classmethod
    def shell(cls, script, *arguments, session="mallory"):
        return cls.run_in(session, "bash", "-c", script, "sh", *arguments)

    @classmethod
    def contained(cls, *command):
        """In a container that has all that the session's Docker can give, with the session's programs."""
        return cls.run_in("mallory", "docker", "run", "--rm", *cls.everything, "--pid=host", "--network=host", "--cgroupns=host", "-v",
                          "/:/session", "-v", "/usr:/usr:ro", "-v", "/usr/lib:/lib:ro", "-v", "/usr/lib64:/lib64:ro", "busybox", *command)

    @classmethod
    def privileged(cls, script, *arguments):
        return cls.contained("sh", "-c", script, "sh", *arguments)

    def test_no_setting_of_the_host_is_written(self):
        first = settings()
        time.sleep(0.5)
        second = settings()
        steady = {path: value for path, value in second.items() if first.get(path) == value}
        self.assertGreater(len(steady), 500)
        attack = "/usr/bin/python3", "-c", WRITE_ALL, "/proc/sys", "/sys"
        for name, run in (("root", lambda: self.run_in("mallory", *attack)), ("contained", lambda: self.contained(*attack))):
            with self.subTest(name):
                written = run().split()
                self.assertTrue(any(path.startswith("/proc/sys/net/") for path in written), "nothing was tried")
                foreign = [path for path in written if not OWN_SETTINGS.match(path)]
                self.assertEqual(foreign, [])
        after = settings()
        # Counts of what happens, which writing to them does not change.
        counts = ("/proc/sys/fs/quota/", "/proc/sys/kernel/pty/nr", "/proc/sys/kernel/random/", "/proc/sys/fs/file-nr",
                  "/proc/sys/fs/dentry-state", "/proc/sys/fs/inode-", "/proc/sys/fs/aio-nr", "/proc/sys/kernel/ns_last_pid")
        changed = [path for path, value in steady.items() if after.get(path, value) != value and not path.startswith(counts)]
        self.assertEqual(changed, [])

    def test_nothing_of_the_host_is_seen(self):
        for name, run in (("root", self.shell), ("contained", self.privileged)):
            with self.subTest(name):
                processes = run("cat /proc/[0-9]*/comm 2>/dev/null; true").split()  # some end meanwhile
                self.assertIn("carrel-init", processes)
                self.assertFalse({"carreld", "carrel-control", "python3"} & set(processes), processes)
                self.assertEqual(processes.count("dockerd"), 1)
                mounts = run("cat /proc/self/mountinfo; cat /proc/1/mountinfo 2>/dev/null; true")
                self.assertNotIn(str(self.host.dir), mounts)
                self.assertNotIn(self.host.name, mounts)
                links = set(re.findall(r"^\d+: ([^:@]+)", run("ip -o link"), re.M))
                self.assertEqual({link for link in links if not link.startswith("veth")}, {"lo", "eth0", "docker0"})
                self.assertEqual(run("find /dev /session/dev -type b 2>/dev/null; true"), "")

    def test_devices_cannot_be_made_or_opened(self):
        for device in pathlib.Path("/sys/block").glob("*/dev"):
            number = device.read_text().strip().split(":")
            made = self.privileged("mknod /tmp/disk b $1 $2 2>&1 && head -c 1 /tmp/disk; true", *number)
            self.assertIn("Operation not permitted", made, device)
        self.assertIn("Operation not permitted", self.privileged("mknod /tmp/mem c 1 1 2>&1; true"))
        self.assertNotIn("done", self.privileged("echo > /tmp/x; losetup -f /tmp/x 2>/dev/null && echo done; true"))

    def test_the_neighbours_data_is_out_of_reach(self):
        """Nor is the host's: where its own Docker would have it, and where carrel has that of the sessions."""
        self.shell("echo alice-secret > /var/lib/docker/alice-marker; echo alice-secret > /workspace/alice-marker", session="alice")
        (self.host.state_dir / "host-marker").write_text("the host's")
        for run in (self.shell, self.privileged):
            self.assertEqual(run("find / \\( -name alice-marker -o -name host-marker \\) -not -path '/proc/[0-9]*' 2>/dev/null; true"), "")
            # By way of every process that it sees, too.
            self.assertEqual(run(f"""for root in /proc/[0-9]*/root; do for path in {self.host.state_dir} /var/lib/docker; do
                ls $root$path/*-marker 2>/dev/null; done; done; true"""), "")
            self.assertEqual(run("grep -rl alice-secre[t] /var/lib /session/var/lib/docker/containers /workspace /session/workspace 2>/dev/null; true"), "")

    def test_the_neighbour_is_not_reached(self):
        address = self.sessions["alice"]["address"]
        self.shell("docker run -d --name web -p 8080:80 busybox sh -c 'echo hers > /tmp/index.html; exec httpd -f -p 80 -h /tmp'", session="alice")
        self.addCleanup(self.shell, "docker rm -f web", session="alice")
        reached = wait_until(lambda: self.shell(f"curl -s http://{address}:8080/ || true", session="alice"), 10, "her own server")
        self.assertEqual(reached, "hers\n")
        for run in (self.shell, self.privileged):
            self.assertEqual(run(f"(wget -T 2 -q -O - http://{address}:8080/ || curl -m 2 -s http://{address}:8080/) 2>/dev/null; true"), "")
        self.assertEqual(self.shell(f"docker run --rm busybox wget -T 2 -q -O - http://{address}:8080/ 2>/dev/null; true"), "")

    def test_limits_cannot_be_changed(self):
        limits = self.host.run_dir  # not seen from inside; the files below are
        self.assertTrue(limits.exists())
        own = "cgroup.max.descendants", "cgroup.max.depth", "cgroup.freeze", "memory.max", "pids.max", "cpu.max"
        for run in (self.shell, self.privileged):
            written = run("""mkdir -p /tmp/c; mount -t cgroup2 none /tmp/c 2>/dev/null
                for dir in /sys/fs/cgroup /session/sys/fs/cgroup /tmp/c; do for file in "$@"; do
                    [ -e $dir/$file ] && (echo max > $dir/$file) 2>/dev/null && echo $dir/$file; done; done
                umount /tmp/c 2>/dev/null; true""", *own)
            # Below the container's own leaf it may: that root is not the session's.
            self.assertEqual([line for line in written.split() if not line.startswith("/sys/fs/cgroup") or run == self.shell], [])

    def test_daemon_and_init_hold_their_ground(self):
        """With all that Docker gives, PID 1 of the session is as far as from anywhere else in it."""
        self.assertEqual(self.privileged("cat /proc/1/environ /proc/1/maps 2>/dev/null | wc -c").strip(), "0")
        self.assertIn("denied", self.privileged("ls /proc/1/root/ 2>&1; true"))
        self.privileged("kill -9 1")
        self.assertEqual(self.client.call("session.get", session="mallory")["state"], "ready")


class PrivilegedWalls(Walls):
    """The same where the template gives all capabilities, and a container is privileged."""

    capabilities = re.findall(r"^#define CAP_(\w+)\s+\d+$", pathlib.Path("/usr/include/linux/capability.h").read_text(), re.M)
    everything = ["--privileged"]


class Bombs(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.host = DindHost()
        cls.addClassCleanup(cls.host.close)
        cls.host.start()
        cls.client = cls.host.client()

    def create(self, name):
        session = self.client.call("session.create", template="dind", id=name)
        self.addCleanup(self.client.call, "session.remove", session=name)
        self.client.call("exec.run", session=name, command=["bash", "-c", MAKE_BUSYBOX], timeout_seconds=60)
        return session

    def disk_used(self):
        """Of the file system on which scratch is, in bytes."""
        fs = os.statvfs(self.host.state_dir)
        return (fs.f_blocks - fs.f_bfree) * fs.f_frsize

    def test_layers_and_containers_fill_the_sessions_own_scratch(self):
        self.create("bomber")
        self.create("neighbour")
        write = "mkdir -p /workspace/b; printf 'FROM busybox\\nRUN dd if=/dev/zero of=/bomb bs=1M count=4000\\n' > /workspace/b/Dockerfile"
        self.client.call("exec.run", session="bomber", command=["bash", "-c", write])
        events = self.host.client()
        self.addCleanup(events.close)
        events.call("events.subscribe", session="bomber", kinds=["session.full"])
        before = self.disk_used()
        with self.assertRaises(RpcError) as caught:
            self.client.call("docker.build", session="bomber", context_path="b", image_tag="bomb")
        self.assertIn("No space left on device", "\n".join(caught.exception.data["result"]["logs"]))
        self.assertLess(self.disk_used() - before, SCRATCH_BYTES + (256 << 20))
        # Containers with data of their own, until there is no room for more.
        hoard = """for i in 1 2 3 4 5 6; do docker run --name hoard$i busybox sh -c 'head -c 220m /dev/zero > /data'; done
            df --output=avail /var/lib/docker"""
        said = self.client.call("exec.run", session="bomber", command=["bash", "-c", hoard], timeout_seconds=60)
        self.assertIn("o space left on device", said["stderr"])
        self.assertRegex(said["stdout"], r"^Avail\n *\d{1,5}\n$")
        self.assertLess(self.disk_used() - before, SCRATCH_BYTES + (256 << 20))
        # The backend is told, now or when the build had filled it, at the latest when it asks.
        self.client.call("session.stats", session="bomber")
        told = (events.notifications.pop(0) if events.notifications else events.receive())["params"]
        self.assertEqual((told["session"], told["mount"]), ("bomber", "/var/lib/docker"))
        freed = self.client.call("exec.run", session="bomber", command=["bash", "-c", "docker rm -f hoard{1..6} > /dev/null; docker ps -aq"], timeout_seconds=60)
        self.assertEqual(freed["stdout"], "")
        # The daemon has thrown all that away and works; the neighbour noticed nothing.
        for name in ("bomber", "neighbour"):
            ran = self.client.call("docker.run", session=name, image="busybox", command=["echo", "well"], auto_remove=True)
            self.assertEqual(ran["logs"], ["well"])

    def test_logs_of_containers_are_bounded(self):
        self.create("talker")
        self.client.call("docker.run", session="talker", image="busybox", detach=True, name="talk", command=["sh", "-c", "timeout -s KILL 6 yes; true"])

        def ended():
            return not self.client.call("docker.ps", session="talker")["containers"]

        wait_until(ended, 60, "end of the flood")
        used = self.client.call("exec.run", session="talker", command=["du", "-sm", "/var/lib/docker/containers"])["stdout"]
        self.assertLess(int(used.split()[0]), 40)


if __name__ == "__main__":
    unittest.main()
