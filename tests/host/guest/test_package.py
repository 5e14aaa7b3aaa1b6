# SPDX-License-Identifier: Apache-2.0
"""The Debian package under systemd, from its installation to its purge. The tests follow one another; run.py and
host_tier.py put two versions of the package at /carrel/packages."""

import contextlib
import datetime
import json
import os
import pathlib
import pwd
import re
import resource
import signal
import time
import unittest
import urllib.request

from carrel_host import Client, RpcError, name_of, scaled, wait_until
from disks import Disks
from packaged import API, CGROUP, PACKAGES, UNITS, Terminal, call, install, journal, main_pid, prop, run, unexpected_items
from workloads import Workloads

BACKEND, STRANGER = "backend", "stranger"


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def seconds_until(text):
    return (datetime.datetime.fromisoformat(text) - datetime.datetime.now(datetime.timezone.utc)).total_seconds()


@contextlib.contextmanager
def no_descriptors(pid):
    """PID can open nothing more."""
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    used = {int(p.name) for p in pathlib.Path(f"/proc/{pid}/fd").iterdir()}
    free = next(n for n in range(len(used) + 1) if n not in used)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (free, limits[1]))
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)


@contextlib.contextmanager
def clock_set_by(seconds):
    time.clock_settime(time.CLOCK_REALTIME, time.time() + seconds)
    try:
        yield
    finally:
        time.clock_settime(time.CLOCK_REALTIME, time.time() - seconds)


def traces():
    """What carrel may have on a host, by kind."""
    links = json.loads(run("ip", "-j", "link").stdout)
    return {
        "processes": sorted(name for name in (name_of(p.name) for p in pathlib.Path("/proc").glob("[0-9]*")) if "carrel" in name),
        "cgroups": sorted(str(p) for p in pathlib.Path("/sys/fs/cgroup").glob("**/carrel*")
                          if p.is_dir() and "carrel-guest" not in p.name),
        "interfaces": sorted(link["ifname"] for link in links if link["ifname"].startswith("cr")),
        "tables": re.findall(r"table inet carrel\S*", run("nft", "list", "tables").stdout),
        "mounts": [line for line in pathlib.Path("/proc/self/mounts").read_text().splitlines() if "carrel" in line],
        "files": sorted(str(p) for folder in ("/run", "/var/lib", "/etc", "/usr/lib", "/lib/systemd", "/usr/sbin", "/usr/bin")
                        for p in pathlib.Path(folder).glob("carrel*") if p.name != "carrel-guest"),
    }


class Package(Disks, Workloads, unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        for name in (BACKEND, STRANGER):
            run("useradd", "--no-create-home", name)

    installed = False

    def setUp(self):
        if not self.installed and "install" not in self.id():
            self.fail("it was not installed")

    def session(self, *command):
        return json.loads(run("carrel", "create", "minimal", "--json", "--", *(command or ("busybox", "sleep", "10000"))).stdout)

    def assert_lives(self, session, user=BACKEND):
        """The session answers, and runs what is asked of it: it is the same one, not one that was made again."""
        def answers():
            try:
                return call("session.get", session=session["id"])
            except OSError:
                return None

        now = wait_until(answers, 60, "the API")
        self.assertEqual((now["state"], now["ready_at"]), ("ready", session["ready_at"]), journal())
        self.assertEqual(run("carrel", "exec", session["id"], "--", "busybox", "echo", "here").stdout, "here\n")

    def test_1_install(self):
        install("0.1.0")
        for unit in ("carrel.target", *UNITS):
            self.assertEqual(prop(unit, "ActiveState"), "active", journal())
        self.assertEqual(pwd.getpwnam("carrel").pw_shell, "/usr/sbin/nologin")
        self.assertEqual(unexpected_items(), set())
        for path in (API, "/run/carrel/stream.sock"):
            self.assertEqual(oct(os.stat(path).st_mode & 0o777), "0o660")
        run("carrel", "image", "build", "minimal")
        type(self).installed = True

    def test_2_members_of_the_group_and_strangers(self):
        refused = run("carrel", "list", user=STRANGER, check=False)
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn("group carrel", refused.stderr)
        run("usermod", "-aG", "carrel", BACKEND)
        run("carrel", "create", "minimal", "--id", "of-a-member", "--", "busybox", "sleep", "1000", user=BACKEND)
        run("carrel", "remove", "of-a-member", user=BACKEND)

    def test_3_status(self):
        session = self.session()
        wait_until(lambda: prop("carrel-control.service", "StatusText") == "1 session, 1 ready", 30, "status")
        wait_until(lambda: prop("carreld.service", "StatusText") == "1 session", 30, "status")
        run("carrel", "remove", session["id"])

    def test_3_what_protects_the_services_does_not_protect_sessions(self):
        """The kernel's choice of what dies for want of memory: the services last, sessions like anybody."""
        session = self.session()
        self.assertEqual(pathlib.Path(f"/proc/{main_pid('carreld.service')}/oom_score_adj").read_text(), "-900\n")
        for command, output in (("cat /proc/self/oom_score_adj", "0\n"),
                                ("echo -1 > /proc/self/oom_score_adj || echo refused", "refused\n")):
            result = run("carrel", "exec", session["id"], "--", "busybox", "sh", "-c", command)
            self.assertEqual(result.stdout, output)
        run("carrel", "remove", session["id"])

    def test_4_sessions_live_on(self):
        session = self.session()
        terminal = Terminal(session)
        for what in (("restart", "carreld.service"), ("restart", "carrel-control.service"), ("stop", "carreld.service"),
                     ("start", "carreld.service"), ("daemon-reexec",), ("daemon-reload",)):
            with self.subTest(" ".join(what)):
                run("systemctl", *what)
                if what[0] != "stop":
                    self.assert_lives(session)
        for unit in ("carreld.service", "carrel-control.service"):
            with self.subTest(f"kill -9 of {unit}"):
                killed = main_pid(unit)
                os.kill(killed, signal.SIGKILL)
                wait_until(lambda: main_pid(unit) not in (0, killed), 60, f"{unit} after its death")
                self.assert_lives(session)
        terminal.assert_lives()
        run("carrel", "remove", session["id"])

    def test_5_watchdog(self):
        session = self.session()
        terminal = Terminal(session)
        for unit in ("carreld.service", "carrel-control.service"):
            folder = pathlib.Path(f"/run/systemd/system/{unit}.d")
            folder.mkdir(parents=True)
            (folder / "watchdog.conf").write_text("[Service]\nWatchdogSec=4\nTimeoutAbortSec=1\n")
            run("systemctl", "daemon-reload")
            run("systemctl", "restart", unit)
            self.assert_lives(session)
            with self.subTest(unit):
                hung = main_pid(unit)
                os.kill(hung, signal.SIGSTOP)
                wait_until(lambda: main_pid(unit) not in (0, hung), 90, f"{unit} after its watchdog")
                self.assert_lives(session)
                terminal.assert_lives()
            (folder / "watchdog.conf").unlink()
            folder.rmdir()
        run("systemctl", "daemon-reload")
        run("carrel", "remove", session["id"])

    # What goes wrong with a host: one request fails and says why, what lives goes on, and it passes by itself.

    def refused(self, **params):
        with self.assertRaises(RpcError) as caught:
            call("session.create", template="minimal", command=["/bin/busybox", "sleep", "1000"], **params)
        return caught.exception

    def assert_takes_sessions(self):
        def one():
            try:
                return call("session.create", template="minimal", command=["/bin/busybox", "sleep", "1000"])
            except (OSError, RpcError):
                return None

        call("session.remove", session=wait_until(one, 20, "a new session")["id"])

    def assert_says(self, unit, since, text):
        wait_until(lambda: text in run("journalctl", "--no-pager", "-b", "-u", unit, "--since", f"@{int(since)}").stdout, 10,
                   f"{unit} says {text!r}")

    def test_5_missing_module(self):
        """What is missing is named with its remedy, and is there again without a restart."""
        def item():
            return next(i for i in call("system.check")["items"] if i["name"] == "net.bridge")

        session = self.session()
        self.assertEqual(item()["state"], "ok")
        run("modprobe", "--remove", "br_netfilter")
        lacking = wait_until(lambda: item()["state"] != "ok" and item(), 5, "it is noticed")
        self.assertIn("br_netfilter", lacking["remedy"])
        self.assert_lives(session)
        run("modprobe", "br_netfilter")
        wait_until(lambda: item()["state"] == "ok", 5, "it is noticed")
        run("carrel", "remove", session["id"])

    def test_5_unfit_host(self):
        """carreld does not begin on a host that lacks something, says what, and begins when it is there."""
        session, began = self.session(), time.time()
        setting = pathlib.Path("/proc/sys/user/max_user_namespaces")
        before = setting.read_text()
        try:
            setting.write_text("0")
            run("systemctl", "restart", "carreld.service", check=False)
            wait_until(lambda: int(prop("carreld.service", "NRestarts")) >= 1, 20, "another try")
            self.assert_says("carreld", began, "max_user_namespaces")
        finally:
            setting.write_text(before)
        self.assert_lives(session)
        self.assert_takes_sessions()
        run("carrel", "remove", session["id"])

    def test_5_clock_jumps(self):
        """Deadlines are of a clock that nobody sets; what is shown of them follows the one that was set."""
        day = 24 * 3600
        for jump in (day, -day):
            with self.subTest(jump):
                long = call("session.create", template="minimal", ttl_seconds=1000, idle_timeout_seconds=900)
                short = call("session.create", template="minimal", ttl_seconds=int(scaled(0.3)))
                with clock_set_by(jump):
                    shown = call("session.get", session=long["id"])
                    self.assertEqual(shown["state"], "ready")
                    self.assertTrue(800 < seconds_until(shown["expires_at"]) <= 1000, shown["expires_at"])
                    self.assertTrue(700 < seconds_until(shown["idle_deadline"]) <= 900, shown["idle_deadline"])
                    ended = call("session.wait", session=short["id"], **{"for": "ended"}, timeout_seconds=2)
                    self.assertEqual(ended["end"]["reason"], "expired")
                    self.assertLess(abs(seconds_until(ended["end"]["at"])), 60)
                    self.assertEqual(call("system.health")["status"], "ok")
                call("session.remove", session=long["id"])

    def test_5_control_without_descriptors(self):
        session, client = self.session(), Client(API)
        control = main_pid("carrel-control.service")
        with no_descriptors(control):
            late = Client(API)
            error = late.receive()["error"]
            self.assertEqual((error["data"]["kind"], "descriptors" in error["message"]), ("busy", True), error)
            late.close()
            with self.assertRaises(RpcError) as caught:
                client.call("exec.run", session=session["id"], command=["/bin/busybox", "true"])
            self.assertEqual(caught.exception.data.get("errno"), "EMFILE", str(caught.exception))
            with self.assertRaises(RpcError) as caught:
                client.call("session.create", template="minimal")
            self.assertEqual(caught.exception.data.get("errno"), "EMFILE", str(caught.exception))
            self.assert_idle(control)
        client.close()
        self.assertEqual(main_pid("carrel-control.service"), control)
        self.assert_lives(session)
        self.assert_takes_sessions()
        run("carrel", "remove", session["id"])

    def test_5_carreld_without_descriptors(self):
        """A creation fails with the step; and a control that begins meanwhile does not cost what lives its life."""
        session, carreld = self.session(), main_pid("carreld.service")
        with no_descriptors(carreld):
            refusal = self.refused()
            self.assertEqual(refusal.data.get("errno"), "EMFILE", str(refusal))
            self.assert_lives(session)
            run("systemctl", "kill", "--signal=KILL", "carrel-control.service")
            wait_until(lambda: main_pid("carrel-control.service") != 0, 20, "another control")
            self.assert_idle(carreld)
        self.assertEqual(main_pid("carreld.service"), carreld)
        self.assert_lives(session)
        self.assert_takes_sessions()
        run("carrel", "remove", session["id"])

    def assert_idle(self, pid):
        before, begun = cpu_seconds(pid), time.monotonic()
        time.sleep(2)
        self.assertLess(cpu_seconds(pid) - before, (time.monotonic() - begun) / 2)

    def test_5_journald_is_killed(self):
        """Nobody waits for the journal, or ends with it; what is said goes there again afterwards."""
        session = self.session()
        pids = main_pid("carreld.service"), main_pid("carrel-control.service")
        journald = main_pid("systemd-journald.service")
        os.kill(journald, signal.SIGKILL)
        self.assert_lives(session)
        self.assert_takes_sessions()
        wait_until(lambda: main_pid("systemd-journald.service") not in (0, journald), 60, "journald")
        began = time.time()
        call("session.create", template="minimal", id="after-journald")
        call("session.remove", session="after-journald")
        self.assert_says("carrel-control", began - 1, "after-journald")
        self.assertEqual((main_pid("carreld.service"), main_pid("carrel-control.service")), pids)
        run("carrel", "remove", session["id"])

    def test_5_reload(self):
        """A mistake is refused and the old configuration stays; a sound one holds for what comes, not for what runs."""
        session, began = self.session(), time.time()
        terminal = Terminal(session)
        pids = main_pid("carreld.service"), main_pid("carrel-control.service")
        path = pathlib.Path("/etc/carrel/templates.d/minimal.json")
        before = path.read_text()
        path.write_text(before.replace("{", '{"limits": {"pids": "many"}, ', 1))
        self.assertNotEqual(run("systemctl", "reload", "carreld.service", check=False).returncode, 0)
        self.assert_says("carreld", began, "minimal.json")
        self.assertEqual((main_pid("carreld.service"), main_pid("carrel-control.service")), pids)
        self.assert_takes_sessions()
        path.write_text(json.dumps({**json.loads(before), "limits": {**json.loads(before).get("limits", {}), "pids": 77}}))
        run("systemctl", "reload", "carreld.service")
        wait_until(lambda: not {main_pid("carreld.service"), main_pid("carrel-control.service")} & {*pids, 0}, 30, "the reload")
        self.assert_lives(session)
        terminal.assert_lives()
        new = call("session.create", template="minimal")
        self.assertEqual(new["limits"]["pids"]["value"], 77)
        self.assertNotEqual(call("session.get", session=session["id"])["limits"]["pids"]["value"], 77)
        path.write_text(before)
        for each in (session, new):
            run("carrel", "remove", each["id"])

    def test_6_ports_on_tcp(self):
        """As it is installed, carrel-control knows no network; with the drop-in that comes with it, this host's own."""
        serve = "echo served > /tmp/index.html; exec busybox httpd -f -p 8080 -h /tmp"
        session = self.session("busybox", "sh", "-c", serve)
        publish = {"session": session["id"], "port": 8080, "as": {"tcp": {}}}
        with self.assertRaises(RpcError) as caught:
            call("port.publish", **publish)
        self.assertIn("publish-tcp.conf", str(caught.exception))
        folder = pathlib.Path("/etc/systemd/system/carrel-control.service.d")
        folder.mkdir()
        # The guest has no /usr/share/doc.
        packed = run("sh", "-c", f"dpkg-deb --fsys-tarfile {PACKAGES}/carrel_0.1.0_*.deb | tar -xO --wildcards '*/publish-tcp.conf'")
        (folder / "publish-tcp.conf").write_text(packed.stdout)
        run("systemctl", "daemon-reload")
        run("systemctl", "restart", "carrel-control.service")
        self.assert_lives(session)
        url = call("port.publish", **publish)["url"].replace("tcp:", "http:")
        with urllib.request.urlopen(url, timeout=scaled(10)) as answer:
            self.assertEqual(answer.read(), b"served\n")
        self.assert_exposed("carrel-control.service", 1.1)
        (folder / "publish-tcp.conf").unlink()
        folder.rmdir()
        run("systemctl", "daemon-reload")
        run("systemctl", "restart", "carrel-control.service")
        self.assert_lives(session)
        run("carrel", "remove", session["id"])

    def test_6_upgrade(self):
        session = self.session()
        terminal = Terminal(session)
        before = main_pid("carreld.service"), main_pid("carrel-control.service")
        install("0.1.1")
        self.assert_lives(session)
        terminal.assert_lives()
        after = main_pid("carreld.service"), main_pid("carrel-control.service")
        self.assertFalse(set(before) & set(after))
        self.assertEqual(call("hello")["version"], "0.1.1")
        run("carrel", "remove", session["id"])

    def assert_exposed(self, unit, most):
        said = run("systemd-analyze", "security", "--no-pager", unit).stdout.splitlines()[-1]
        self.assertLessEqual(float(re.search(r": ([\d.]+)", said)[1]), most, said)

    def test_7_security(self):
        self.assert_exposed("carrel-control.service", 1.0)
        self.assert_exposed("carreld.service", 5.2)
        control = pathlib.Path(f"/proc/{main_pid('carrel-control.service')}/status").read_text()
        for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            self.assertRegex(control, rf"{name}:\s+0+\n")
        listed = run("/usr/libexec/carrel/carrel-control", "--list-syscalls").stdout.splitlines()
        self.assertLessEqual(len(listed), 60)

    def test_8_the_end_of_the_target(self):
        """Sessions end with their grace, and then nothing of them is left."""
        script = "trap 'echo asked; exit 0' TERM; while :; do busybox sleep 0.1; done"
        session = self.session("busybox", "sh", "-c", script)
        run("systemctl", "stop", "carrel.target")
        # The target itself has nothing to wait for.
        wait_until(lambda: all(prop(unit, "ActiveState") in ("inactive", "failed") for unit in UNITS), 5, "the end of all units")
        self.assertEqual({unit: prop(unit, "ActiveState") for unit in UNITS}, dict.fromkeys(UNITS, "inactive"), journal())
        left = traces()
        self.assertEqual([left[kind] for kind in ("processes", "interfaces", "tables", "mounts")], [[], [], [], []])
        self.assertFalse(CGROUP.exists() and list(CGROUP.glob("*/")))
        run("systemctl", "start", "carrel.target")
        wait_until(lambda: prop("carrel-control.service", "ActiveState") == "active", 30, "the service")
        end = call("session.get", session=session["id"])["end"]
        self.assertEqual((end["reason"], end.get("exit_code")), ("stopped", 0), end)

    def test_9_remove_and_purge(self):
        self.session()
        run("dpkg", "--remove", "carrel")
        left = traces()
        self.assertEqual([left[kind] for kind in ("processes", "interfaces", "tables", "mounts")], [[], [], [], []])
        self.assertTrue(pathlib.Path("/var/lib/carrel/control").is_dir(), "what purge is for")
        run("dpkg", "--purge", "carrel")
        self.assertEqual({kind: found for kind, found in traces().items() if found}, {})
