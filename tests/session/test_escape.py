# SPDX-License-Identifier: Apache-2.0
"""A session's root tries to get out, to change the host, to see its neighbours and to leave them nothing.

escaper.c makes the tries, bomber.c takes all there is; both run inside sessions only. Four kinds of sessions: the
installed template `minimal`; the filter of browsers, as uid 0 and as uid 1000; and what a Docker daemon needs.
"""

import ctypes
import os
import pathlib
import re
import shutil
import socket
import struct
import subprocess
import time
import unittest

from carrel_host import TIME_SCALE, Host, compile_static, own_network, wait_until

DOCKER = """CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE NET_RAW SYS_CHROOT MKNOD
AUDIT_WRITE SETFCAP NET_ADMIN SYS_ADMIN""".split()
BOUNDING = 0xa82435fb  # the same as a number
BROWSERS = ("browser", "browser-user")
KINDS = ("minimal", *BROWSERS, "strong") if TIME_SCALE == 1 else ("minimal", "strong")  # the weakest and the strongest
CONFINED = ("minimal", *BROWSERS)

# Files that can be opened for writing: PID 1's that anybody may open, and nobody may write to, ...
OF_INIT = r"/proc/1/(attr/[\w/]+|timerslack_ns)"
# ... and with CAP_SYS_ADMIN settings that each namespace has its own of.
# (and in a /proc that nothing covers the files that take orders from everybody to watch the host's pressure)
OF_NAMESPACES = (r"/proc/pressure/\w+|/proc/sys/(net/.*|fs/mqueue/\w+|user/max_\w+|kernel/(msg|sem|shm)\w*|"
                 r"kernel/(auto_msgmni|ns_last_pid|pid_max|hostname|domainname))")
OF_CGROUP = r"/sys/fs/cgroup/(cgroup\.(procs|threads|subtree_control)|init/[\w.]+)"

host = client = base_ms = None


def own_mounts():
    """A mount namespace as systemd has it, shared, in which nobody else mounts."""
    if ctypes.CDLL(None, use_errno=True).unshare(0x20000) != 0:  # CLONE_NEWNS
        raise OSError(ctypes.get_errno(), "unshare")
    for propagation in ("--make-rprivate", "--make-rshared"):
        subprocess.run(["mount", propagation, "/"], check=True)


def setUpModule():
    global host, client, base_ms
    own_network()
    own_mounts()
    minimal = Host.template(None, "minimal")
    browser = {**minimal, "kind": "browser", "seccomp": "browser", "mounts": [
        {"type": "tmpfs", "target": "/tmp", "mode": "1777", "size_bytes": 1 << 20, "inodes": 256}]}
    strong = {**minimal, "kind": "dind", "seccomp": "dind", "capabilities": DOCKER, "no_new_privs": False, "proc": "full",
              "cgroup": True, "network": {"egress": "none", "loopback_ports": [7000]}}
    user = {"user": {"uid": 1000, "gid": 1000}}
    host = Host(templates={"browser": browser, "browser-user": {**browser, **user}, "strong": strong,
                           "strong-user": {**strong, **user}})
    unittest.addModuleCleanup(host.close)
    programs = host.state_dir / "rootfs/minimal/0/bin"
    for name in ("escaper", "bomber"):
        shutil.copy(compile_static(f"{name}.c", host.dir), programs / name)
    shutil.copy(programs / "escaper", programs / "escaper-setuid")
    (programs / "escaper-setuid").chmod(0o4755)
    shutil.copy(programs / "escaper", programs / "escaper-capable")
    every = struct.pack("<5I", 0x02000001, 0xffffffff, 0, 0x1ff, 0)  # linux/capability.h, VFS_CAP_REVISION_2, effective
    os.setxattr(programs / "escaper-capable", "security.capability", every)
    host.start()
    client = host.client()
    base_ms = min(creation_ms() for _ in range(5))


# ---- sessions

def output(name):
    return "".join(e["text"] for e in client.call("session.logs", session=name, max_bytes=1 << 18)["entries"])


def run(kind, *command):
    """What a command prints in a session of its own; the session must end by itself, and be gone then."""
    name = client.call("session.create", template=kind, wait="created", command=list(command))["id"]
    client.call("session.wait", session=name, **{"for": "ended"}, timeout_seconds=20)
    text = output(name)
    client.call("session.remove", session=name)
    return text


def start(kind, *command, until="held"):
    """A session that goes on; its id, once its output has the word."""
    name = client.call("session.create", template=kind, wait="created", command=list(command))["id"]
    wait_until(lambda: re.search(rf"^{until}$", output(name), re.M), what=f"{command}: {until}")
    return name


def creation_ms():
    begun = time.monotonic()
    name = client.call("session.create", template="minimal", wait="created")["id"]
    elapsed = (time.monotonic() - begun) * 1000
    client.call("session.remove", session=name)
    return elapsed


def escape(kind, group):
    """All that one group of tries says."""
    text = run(kind, "/bin/escaper", group, str(host.dir), str(host.process.pid), str(host.control_pid()))
    if not text.rstrip().endswith("end"):
        raise AssertionError(f"{kind} {group} did not come to its end:\n{text[-2000:]}")
    return text


def results(text):
    return dict(re.findall(r"^(.+?): (done|E[A-Z0-9]+|another error)$", text, re.M))


def done(text):
    return {name for name, result in results(text).items() if result == "done"}


# ---- the host

VOLATILE = r"random/|fs/quota/|dentry-state|file-nr|inode-nr|inode-state|nf_conntrack_count|pty/nr|ns_last_pid|cad_pid|aio-nr|" \
           r"khugepaged/|/refcnt$|damon_stat/|hugepages-\w+/stats|page_reporting|/net/\w+/(conf|neigh)/cr\d"


def settings():
    """Values of the host's settings, all that stand still by themselves."""
    found = {}
    for top in ("/proc/sys", "/sys/kernel/mm", "/sys/module"):
        for directory, below, names in os.walk(top):
            if top == "/sys/module" and directory.count("/") > 3 and not directory.endswith("/parameters"):
                below.clear()
                continue
            for name in names:
                path = f"{directory}/{name}"
                if re.search(VOLATILE, path):
                    continue
                try:
                    with open(path, "rb") as f:
                        found[path] = f.read(65536)
                except OSError:
                    continue
    return found


def mounts():
    """Without network namespaces that other tests give names to: they go from here when they go there."""
    return [line for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines() if " /run/netns" not in line]


def state():
    """What else of the host an escape would change."""
    return {"hostname": socket.gethostname(), "mounts": mounts(),
            "dev": sorted(os.listdir("/dev")), "null": os.stat("/dev/null")[:6],
            "links": {n for _, n in socket.if_nameindex() if not re.fullmatch(r"cr\d+", n)},
            "control": host.control_pid(), "supervisor": host.process.poll()}


class Case(unittest.TestCase):
    maxDiff = 4000

    def setUp(self):
        self.state = state()

    def tearDown(self):
        self.assertEqual(state(), self.state)

    def each(self, kinds, group):
        """(kind, what it printed) of each kind, within a subtest."""
        for kind in kinds:
            with self.subTest(kind):
                yield kind, escape(kind, group)


class Files(Case):
    def test_settings_of_the_host(self):
        """Every file of /proc, /sys and the cgroup tree is opened for writing; what opens is the session's own."""
        before = settings()
        self.assertGreater(len(before), 500)
        for kind, text in self.each(KINDS, "files"):
            self.assertGreater(int(re.search(r"^seen (\d+)$", text, re.M)[1]), 3000)
            allowed = f"{OF_INIT}|{OF_NAMESPACES}|{OF_CGROUP}" if kind == "strong" else OF_INIT
            opened = set(re.findall(r"^opened (.*)$", text, re.M))
            self.assertEqual({p for p in opened if not re.fullmatch(allowed, p)}, set())
            written = set(re.findall(r"^written (.*)$", text, re.M))
            self.assertLessEqual(written, opened)
            # The walk does find what can be written.
            self.assertEqual("/proc/sys/net/ipv4/ip_forward" in written, kind == "strong")
        after = settings()
        self.assertEqual({p: (v, after[p]) for p, v in before.items() if p in after and after[p] != v}, {})

    def test_settings_by_mounts_of_ones_own(self):
        """A /proc, /sys or cgroup tree that the session mounts itself shows it no more."""
        before = settings()
        text = escape("strong", "mounts")
        own = f"{OF_INIT}|{OF_NAMESPACES}|{OF_CGROUP}".replace("/sys/fs/cgroup/", "/cgroup2/")
        own += r"|/sysfs/(devices/virtual|class)/net/(eth0|lo)/.*|/binfmt_misc/(register|status)|/cgroup/cgroup.event_control"
        opened = {p.removeprefix("/tmp/m") for p in re.findall(r"^opened (.*)$", text, re.M)}
        self.assertGreater(len(opened), 100)
        self.assertEqual({p for p in opened if not re.fullmatch(own, p)}, set())
        after = settings()
        self.assertEqual({p: (v, after[p]) for p, v in before.items() if p in after and after[p] != v}, {})

    def test_remounting_opens_nothing(self):
        for kind, text in self.each(KINDS, "mounts"):
            made = done(text)
            places = {n.removeprefix("write in ") for n in made if n.startswith("write in ")}
            self.assertLessEqual(places, {"/", "/tmp", "/dev/shm", "/dev/mqueue"})
            self.assertGreaterEqual(places, {"/dev/shm"})
            self.assertNotIn("marker", made)
            if kind != "strong":
                self.assertEqual({n for n in made if not n.startswith("write in ")}, set())
            # The file systems that the host made stay as they are, whatever flags their mounts have.
            self.assertNotIn("remount rw /dev", made)
            self.assertEqual({n for n in made if n.startswith("fspick")}, set())

    def test_new_file_systems(self):
        """Not one that reads a disk, reaches the kernel's insides, or shows more than the session's namespaces."""
        for kind, text in self.each(KINDS, "mounts"):
            made = {n.removeprefix("mount ") for n in done(text) if re.fullmatch(r"mount \w+", n)}
            allowed = {"proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup", "cgroup2", "binfmt_misc", "ramfs", "overlay"}
            self.assertLessEqual(made, allowed if kind == "strong" else set())

    def test_devices(self):
        for kind, text in self.each(KINDS, "devices"):
            nodes = {n for n in done(text) if n != "open /dev/ptmx"}
            # The kernel lets everybody make whiteouts, and nobody open them.
            self.assertLessEqual(nodes, {f"mknod {d}whiteout" for d in ("/", "/tmp/", "/dev/shm/")})
            self.assertGreater(len(results(text)), 90)


class Ways(Case):
    def test_pid_1(self):
        for kind, text in self.each(KINDS, "init"):
            # A security module's file: opened, but it takes orders from the process itself alone.
            self.assertEqual(done(text) - {"write attr/current"}, set())
            self.assertGreater(len(results(text)), 55)

    def test_signals(self):
        """None reaches PID 1 or a process of the host; both live on."""
        for kind in KINDS:
            with self.subTest(kind):
                name = start(kind, "/bin/busybox", "sh", "-c", f"/bin/escaper signals {host.dir} {host.process.pid} "
                             f"{host.control_pid()} 1234567; exec busybox sleep 1000", until="end")
                said = results(output(name))
                self.assertEqual(said.pop("PID 1"), "EPERM" if kind == "browser-user" else "done")
                self.assertEqual(set(said.values()), {"ESRCH"}, said)
                self.assertEqual(len(said), 9)
                self.assertEqual(client.call("session.get", session=name)["state"], "ready")
                client.call("session.remove", session=name)

    def test_roots_and_descriptors(self):
        for kind, text in self.each(KINDS, "roots"):
            self.assertEqual(done(text), set())
            # The tries ran to their ends: ECHILD is their own word for "still inside".
            said = results(text)
            self.assertEqual(said["chroot"], "EPERM" if kind in ("minimal", "browser-user", "browser") else "ECHILD")
            if kind == "strong":
                self.assertEqual((said["pivot_root"], said["open_tree of /"]), ("ECHILD", "ECHILD"))
            # Who takes the root away finds the empty one that the session began with, and nothing in it.
            below = {"./stage", "./proc", "./sys"} if kind == "strong" else set()
            self.assertEqual(set(re.findall(r"^below the root: (.*)$", text, re.M)), below)
            links = dict(re.findall(r"^fd (\d+) -> (.*)$", text, re.M))
            self.assertEqual(set(links), {"0", "1", "2"})
            self.assertEqual({re.sub(r"\[\d+\]", "", t) for t in links.values()}, {"/dev/null", "pipe:"})

    def test_namespaces(self):
        allowed = {"minimal": set(), "browser": {"user"}, "browser-user": {"user"},
                   "strong": set("user mnt pid net ipc uts cgroup time".split())}
        for kind, text in self.each(KINDS, "namespaces"):
            made = done(text)
            self.assertEqual({n.removeprefix("unshare ") for n in made if n.startswith("unshare ")}, allowed[kind])
            self.assertEqual({n for n in made if n.startswith(("join ", "parent "))}, set())
            # Whoever owns one's own namespaces is as far up as one sees.
            self.assertNotIn("owner of user", made)
            nested = {n.removeprefix("nested: ") for n in made if n.startswith("nested: ")}
            more = {"mount namespace", "mount tmpfs", "mount sysfs", "sethostname"} if kind == "strong" else set()
            self.assertLessEqual(nested, {"all capabilities", "signal to PID 1", "link up"} | more)
            if kind in BROWSERS:
                # In a network namespace of their own, where the kernel would look at the rules.
                for option in (64, 96, 128):
                    self.assertEqual(results(text)[f"nested: setsockopt {option}"], "EPERM")


class Kernel(Case):
    def test_calls(self):
        for kind, text in self.each(KINDS, "calls"):
            said = results(text)
            old = {said.pop("int 0x80"), said.pop("x32")}
            self.assertEqual(old, {"ENOTRECOVERABLE"})
            self.assertLessEqual(set(said.values()), {"EPERM", "ENOSYS"}, said)
            self.assertEqual(said["a number of the future"], "ENOSYS")
            self.assertGreater(len(said), 40)

    def test_socket_families(self):
        listeners = []
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            s = socket.socket(socket.AF_UNIX, kind)
            self.addCleanup(s.close)
            s.bind(f"\0{host.dir}")
            listeners.append(s)
        listeners[0].listen()
        for kind, text in self.each(KINDS, "sockets"):
            families = set(map(int, re.findall(r"^family (\d+)$", text, re.M)))
            self.assertEqual(families, {socket.AF_UNIX, socket.AF_INET, socket.AF_INET6})
            self.assertEqual(set(re.findall(r"^pair (\d+)$", text, re.M)), {str(int(socket.AF_UNIX))})
            protocols = set(map(int, re.findall(r"^netlink (\d+)$", text, re.M)))
            self.assertEqual(protocols, {"minimal": {0}, "strong": {0, 12}}.get(kind, set()))
            # Those that a process of the host listens at, under a name and in no file.
            said = results(text)
            self.assertEqual(done(text), set())
            self.assertEqual({r for n, r in said.items() if n.startswith("abstract")}, {"ECONNREFUSED"})
        for s in listeners:
            s.setblocking(False)
            with self.assertRaises(BlockingIOError):
                s.accept() if s.type == socket.SOCK_STREAM else s.recv(1)

    def test_netlink_reaches_no_other_namespace(self):
        """The session's link has its other end in the host's namespace, which so has a number here."""
        for kind, text in self.each(KINDS, "netlink"):
            self.assertLessEqual(done(text), {"socket"})
            if kind not in BROWSERS:
                self.assertEqual(len(results(text)), 2 + 4 * 8)
                self.assertIn("EACCES" if kind == "strong" else "EPERM", results(text).values())

    def test_terminals(self):
        for kind, text in self.each(KINDS, "terminal"):
            said = results(text)
            self.assertEqual(done(text), {"terminal", "controlling terminal"})
            self.assertEqual({r for n, r in said.items() if n.startswith(("TIOCSTI", "TIOCLINUX"))}, {"EPERM"})
            self.assertEqual(len(said), 20)

    def test_no_privilege_is_gained(self):
        bounding = {"strong": BOUNDING, "strong-user": BOUNDING}
        for kind, text in self.each((*KINDS, "strong-user"), "privilege"):
            self.assertLessEqual(done(text), {"securebits", "setuid program", "program with capabilities"})
            self.assertEqual(re.findall(r"^ambient", text, re.M), [])
            for name, value in re.findall(r"^(Cap\w+):\t(\w+)$", text, re.M):
                self.assertEqual(int(value, 16) & ~bounding.get(kind, 0), 0, name)
            itself, setuid = (re.search(rf"^--- {part}\n.*?^Uid:\t(\d+)\t(\d+)", text, re.M | re.S) for part in
                              ("itself", "setuid"))
            if kind.endswith("user"):
                self.assertEqual(itself.groups(), ("1000", "1000"))
                # Where no_new_privs is off setuid programs work, for the session's ids.
                self.assertEqual(setuid.groups(), ("1000", "0" if kind == "strong-user" else "1000"))
            else:
                self.assertIn("setresuid 65536: EINVAL", text)


class Neighbours(Case):
    def test_devices_and_files_show_nothing_of_others(self):
        """inotify and locks on what all sessions have by the same names: /dev, and the image's files."""
        for kind in KINDS:
            with self.subTest(kind):
                watcher = start(kind, "/bin/bomber", "watch")
                run("minimal", "/bin/busybox", "sh", "-c", "head -c 4 /dev/urandom >/dev/null; ls -l /bin /etc / >/dev/null")
                self.assertIn("lock: done", run("minimal", "/bin/bomber", "probe"))
                text = output(watcher)
                self.assertEqual(len(re.findall(r"^watch \d+ is", text, re.M)), 7)
                self.assertNotIn("event", text)
                client.call("session.remove", session=watcher)

    def test_link_is_taken_away(self):
        """Root with CAP_NET_ADMIN deletes its link, or takes it to a namespace of its own: that is its own loss."""
        for script in ("ip link del eth0", "ip link set eth0 down; ip link set eth0 name x; ip addr flush dev x",
                       "unshare -n sleep 1000 & while [ $(readlink /proc/$!/ns/net) = $(readlink /proc/self/ns/net) ]; do :; done; "
                       "ip link set eth0 netns $!"):
            with self.subTest(script):
                script += "; ip link show eth0 2>&1; echo held; exec sleep 1000"
                name = start("strong", "/bin/busybox", "sh", "-c", script)
                self.assertRegex(output(name), "can't find device|does not exist|not found")
                self.assertGreater(creation_ms(), 0)
                client.call("session.remove", session=name)
        self.assertGreater(creation_ms(), 0)

    def test_escape_sequences(self):
        """What a workload prints arrives as JSON text: no control character stands for itself."""
        forged = r'\033]0;title\007\033[2J\r{"jsonrpc":"2.0","id":1}\n\000\200\377\342\200\256'
        name = start("minimal", "/bin/busybox", "sh", "-c", f"printf '{forged}'; echo; echo held; exec busybox sleep 1000")
        other = host.client()
        other.send("session.logs", session=name)
        line = other.file.readline()
        self.assertIn(b"title", line)
        self.assertEqual([c for c in line[:-1] if c < 0x20 or c == 0x7f], [])
        line.decode()
        client.call("session.remove", session=name)


# ---- exhaustion

def on_the_host():
    """One of each kind that sessions took: {name: whether root on the host still gets it}."""
    libc = ctypes.CDLL(None, use_errno=True)
    got = {}
    fd = libc.inotify_init1(os.O_CLOEXEC)
    got["inotify"] = fd >= 0 and os.close(fd) is None
    timer, event = ctypes.c_int(), (ctypes.c_int * 16)(0, 0, 0, 1)  # struct sigevent: SIGEV_NONE
    got["timer"] = libc.syscall(222, time.CLOCK_MONOTONIC, event, ctypes.byref(timer)) == 0
    libc.syscall(226, timer)
    fd = libc.mq_open(b"/carrel-escape", os.O_CREAT | os.O_RDWR, 0o600, None)
    got["queue"] = fd >= 0 and os.close(fd) is None and libc.mq_unlink(b"/carrel-escape") == 0
    master, slave = os.openpty()
    os.close(master)
    os.close(slave)
    return got


class Bombs(Case):
    def bomb(self, name, most, errors, kinds=KINDS):
        """Takes all there is, and holds it; meanwhile neighbours and the host lack nothing, and are not held up."""
        for kind in kinds:
            with self.subTest(kind):
                bomber = start(kind, "/bin/bomber", name)
                try:
                    count, error = re.search(rf"^{name}: (\d+) (.*)$", output(bomber), re.M).groups()
                    self.assertLessEqual(int(count), most)
                    self.assertRegex(error, errors)
                    spent = min(creation_ms() for _ in range(3))
                    self.check_neighbours()
                finally:
                    begun = time.monotonic()
                    client.call("session.remove", session=bomber)
                    removal = (time.monotonic() - begun) * 1000
                print(f"  {kind}: {name} {count}, then {error!r}; creation beside it {spent:.1f} ms ({spent / base_ms:.1f} "
                      f"times), its removal {removal:.0f} ms")

    def check_neighbours(self):
        for kind in ("minimal", "browser", "strong"):
            said = results(run(kind, "/bin/bomber", "probe"))
            if kind == "minimal":
                self.assertEqual(said.pop("user namespace"), "EPERM")
            self.assertEqual(set(said.values()), {"done"}, (kind, said))
        self.assertNotIn(False, on_the_host().values(), on_the_host())

    def test_root_file_system(self):
        self.bomb("root", 32, "No space", kinds=("minimal", "strong"))
        self.bomb("inodes", 8192, "No space", kinds=("minimal", "strong"))
        self.bomb("directories", 8192, "No space", kinds=("minimal", "strong"))

    def test_shared_memory(self):
        self.bomb("shm", 1, "No space")
        self.bomb("shm-inodes", 272, "No space")

    def test_message_queues(self):
        """Bytes of queues are counted against the owner of the user namespace."""
        self.bomb("queues", 256, "No file descriptors|No space|memory")

    def test_inotify_instances(self):
        self.bomb("inotify", 1024, "No file descriptors")

    def test_timers_and_signals(self):
        limits = pathlib.Path("/proc/self/limits").read_text()
        pending = int(re.search(r"Max pending signals\s+(\d+)", limits)[1])
        self.bomb("timers", pending, "unavailable")
        self.bomb("signals", pending, "unavailable")

    def test_descriptors_and_pipes(self):
        self.bomb("files", 1024, "No file descriptors")
        self.bomb("pipes", 64, "not permitted|No file descriptors")
        self.bomb("abstract", 1024, "Bad file descriptor")

    def test_terminals(self):
        """Each session has at most 1,024; the host has some that no session can take."""
        self.bomb("terminals", 1024, "No space|No file descriptors")

    def test_system_v_objects(self):
        for name in ("shared-memory", "semaphores", "messages"):
            self.bomb(name, 32000, "No space", kinds=("strong",))

    def test_mounts(self):
        self.bomb("mounts", 10000, "no error|No space", kinds=("strong",))

    def test_cgroups(self):
        self.bomb("cgroups", 1024, "unavailable", kinds=("strong",))

    def test_nested_namespaces(self):
        """In one another they end at 32; beside each other nothing but the host's count for one user bounds them."""
        self.bomb("nested", 33, "Too many users|No space", kinds=("browser-user", "strong"))
        self.bomb("user-namespaces", 300, "no error|unavailable|No space", kinds=BROWSERS)
        self.bomb("net-namespaces", 100, "no error|unavailable|No space", kinds=BROWSERS)

    def test_connections(self):
        """The session's own table of connections fills; the host's does not."""
        count = pathlib.Path("/proc/sys/net/netfilter/nf_conntrack_count")
        before = int(count.read_text()) if count.exists() else 0
        self.bomb("flows", 20000, "no error|not permitted|No buffer", kinds=("strong",))
        self.assertLess((int(count.read_text()) if count.exists() else 0) - before, 100)


if __name__ == "__main__":
    unittest.main()
