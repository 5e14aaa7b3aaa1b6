# SPDX-License-Identifier: Apache-2.0
"""The Debian package under systemd, from its installation to its purge. The tests follow one another; run.py and
host_tier.py put two versions of the package at /carrel/packages."""

import json
import os
import pathlib
import pwd
import re
import signal
import subprocess
import unittest

from carrel_host import Client, name_of, wait_until
from workloads import Workloads

PACKAGES = pathlib.Path("/carrel/packages")
API = "/run/carrel/api.sock"
CGROUP = pathlib.Path("/sys/fs/cgroup/carrel.slice/carrel-sessions.service/sessions")
UNITS = ("carreld.service", "carrel-control.service", "carrel-sessions.service", "carrel-grace.service")
BACKEND, STRANGER = "backend", "stranger"


def run(*command, user=None, check=True):
    if user:
        command = ("setpriv", "--reuid", user, "--regid", user, "--init-groups", *command)
    result = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=240)
    if check and result.returncode != 0:
        raise AssertionError(f"{' '.join(command)}: {result.returncode}\n{result.stdout}{result.stderr}\n{journal()}")
    return result


def journal():
    return subprocess.run(["journalctl", "-b", "--no-pager", "-n", "60", "-u", "carrel*"], capture_output=True,
                          text=True).stdout


def prop(unit, name):
    return run("systemctl", "show", "-P", name, unit).stdout.strip()


def main_pid(unit):
    return int(prop(unit, "MainPID"))


def call(method, **params):
    client = Client(API)
    try:
        return client.call(method, **params)
    finally:
        client.close()


def install(version):
    return run("dpkg", "--install", str(*PACKAGES.glob(f"carrel_{version}_*.deb")))


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


class Package(Workloads, unittest.TestCase):
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
        # But for templates whose images nobody has built yet, and for what the kernel can do since 6.6 only.
        items = json.loads(run("carrel", "check", "--json", check=False).stdout)["items"]
        old = tuple(int(n) for n in os.uname().release.split(".")[:2]) < (6, 6)
        expected = {"tmpfs"} if old else set()
        self.assertEqual({item["name"] for item in items if item["state"] != "ok" and not item["name"].startswith("template")},
                         expected)
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
        run("carrel", "remove", session["id"])

    def test_5_watchdog(self):
        session = self.session()
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
            (folder / "watchdog.conf").unlink()
            folder.rmdir()
        run("systemctl", "daemon-reload")
        run("carrel", "remove", session["id"])

    def test_6_upgrade(self):
        session = self.session()
        before = main_pid("carreld.service"), main_pid("carrel-control.service")
        install("0.1.1")
        self.assert_lives(session)
        after = main_pid("carreld.service"), main_pid("carrel-control.service")
        self.assertFalse(set(before) & set(after))
        self.assertEqual(call("hello")["version"], "0.1.1")
        run("carrel", "remove", session["id"])

    def test_7_security(self):
        for unit, most in (("carrel-control.service", 1.0), ("carreld.service", 5.2)):
            said = run("systemd-analyze", "security", "--no-pager", unit).stdout.splitlines()[-1]
            self.assertLessEqual(float(re.search(r": ([\d.]+)", said)[1]), most, said)
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
        wait_until(lambda: all(prop(unit, "ActiveState") == "inactive" for unit in UNITS), 30, "the end of all units")
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
