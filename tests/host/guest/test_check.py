# SPDX-License-Identifier: Apache-2.0
"""`carreld --check` on a host that has everything, and what it says when one thing is taken away. Its remedies are
believed: they are run as they stand, and the item must be ok afterwards."""

import json
import os
import pathlib
import re
import resource
import shlex
import signal
import subprocess
import unittest

from carrel_host import ROOT, Host, own_network, scaled, wait_until

CGROUPS = pathlib.Path("/sys/fs/cgroup")
CONTROLLERS = {"cpu", "io", "memory", "pids"}
# What the kernel itself lacks; there is no remedy but another one.
OF_THE_KERNEL = {"tmpfs"} if os.uname().release.startswith("6.1.") else set()
BLOCKED = pathlib.Path("/run/modprobe.d/blocked-by-test.conf")  # modules that are not to be had


def setUpModule():
    own_network()


def sysctl(name, value=None):
    """Reads, or sets and returns what it was."""
    path = pathlib.Path("/proc/sys") / name.replace(".", "/")
    before = path.read_text().strip()
    if value is not None:
        path.write_text(value)
    return before


def succeeds(*command):
    return subprocess.run(command, capture_output=True, timeout=scaled(60), check=False).returncode == 0


def run(*command):
    result = subprocess.run(command, capture_output=True, text=True, timeout=scaled(60), check=False)
    if result.returncode != 0:
        raise AssertionError(f"{shlex.join(command)}: {result.stderr}")


class Check(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.host = Host(config={"missing_controllers": "refuse"})
        # One that wants the internet, so that forwarding matters.
        cls.host.write_template("online", {**cls.host.template("minimal"), "network": {"egress": "internet"}})
        # And one for Docker.
        cls.host.write_template("docker", {**cls.host.template("minimal"), "seccomp": "dind"})
        for name in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
            sysctl(name, "1")

    @classmethod
    def tearDownClass(cls):
        cls.host.close()

    def setUp(self):
        self.host.log_path.write_text("")

    # ---- tools

    def set_for_test(self, name, value):
        self.addCleanup(sysctl, name, sysctl(name, value))

    def configure(self, **changes):
        """Changes carrel.json for the rest of the test."""
        def write(config):
            self.host.config = config
            self.host.write_config()

        self.addCleanup(write, self.host.config)
        write({**self.host.config, **changes})

    def check(self, *before, **kwargs):
        """The items, by name, of `carreld --check`; BEFORE: a command that becomes what is appended to it."""
        carreld = [str(ROOT / "usr/sbin/carreld"), "--config", str(self.host.config_dir), "--check", "--json"]
        result = subprocess.run([*before, *carreld], capture_output=True, text=True, timeout=scaled(60), check=False, **kwargs)
        items = {item["name"]: item for item in json.loads(result.stdout)["items"]}
        missing = any(item["state"] == "missing" for item in items.values())
        self.assertEqual(result.returncode, 1 if missing else 0, result.stderr)
        return items

    def lacking(self, items):
        """What is not ok, but for what the kernel does not have."""
        lacking = {name for name, item in items.items() if item["state"] != "ok"}
        self.assertLessEqual(OF_THE_KERNEL & set(items), lacking)
        return {name: items[name] for name in lacking - OF_THE_KERNEL}

    def expect(self, items, name, state, detail):
        """That the item, and it alone, is as said; the item."""
        self.assertEqual(set(self.lacking(items)), {name}, self.lacking(items))
        self.assertEqual(items[name]["state"], state, items[name])
        self.assertIn(detail, items[name]["detail"])
        return items[name]

    def follow(self, item):
        """Does what the item's remedy says; it must begin with a command."""
        command = re.match(r"(sysctl -w \S+?|modprobe [\w -]+?)(, .*)?$", item["remedy"])
        self.assertIsNotNone(command, item["remedy"])
        run(*shlex.split(command[1]))

    def start_fails(self):
        """What carreld logs when it is started here and refuses."""
        self.host.start(wait=False)
        try:
            self.assertEqual(self.host.process.wait(scaled(2)), 1)
        except subprocess.TimeoutExpired:
            self.fail(f"it started\n{self.host.log()}")
        return self.host.log()

    # ---- a host that has everything

    def test_all_ok_after_the_remedies(self):
        for name in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
            self.set_for_test(name, "0")
        items = self.lacking(self.check())
        self.assertEqual(set(items), {"net.forwarding4", "net.forwarding6"})
        for item in items.values():
            self.assertEqual(item["state"], "degraded")
            self.follow(item)
        self.assertEqual(self.lacking(self.check()), {})

    def test_it_starts(self):
        self.host.start()
        self.addCleanup(self.host.stop, signal.SIGINT)
        self.assertNotIn("error", self.host.log())
        answer = self.host.client().call("system.check")
        self.assertEqual(self.lacking({item["name"]: item for item in answer["items"]}), {})

    # ---- settings

    def setting(self, item, name, value, state, detail):
        self.set_for_test(name, value)
        self.follow(self.expect(self.check(), item, state, detail))
        self.assertEqual(self.lacking(self.check()), {})

    def test_few_user_namespaces(self):
        self.setting("namespaces", "user.max_user_namespaces", "100", "degraded", "is 100")

    def test_few_pids(self):
        self.setting("pids", "kernel.pid_max", "20000", "degraded", "20000")

    def test_core_pattern_that_starts_a_program(self):
        self.setting("core_pattern", "kernel.core_pattern", "|/bin/false", "degraded", "|/bin/false")

    def test_no_ipv6(self):
        self.setting("net.ipv6", "net.ipv6.conf.all.disable_ipv6", "1", "missing", "off, but configured")

    def test_no_user_namespaces(self):
        """Nothing that needs one can be tried, or is said to be there."""
        self.set_for_test("user.max_user_namespaces", "0")
        items = self.check()
        self.expect(items, "namespaces", "missing", "No space left on device")
        self.assertNotIn("net.veth", items)
        self.follow(items["namespaces"])
        self.assertEqual(self.lacking(self.check()), {})

    @unittest.skipUnless(os.path.exists("/proc/sys/vm/memfd_noexec"), "Linux 6.3")
    def test_no_executable_memory_files(self):
        """In a pid namespace of its own, because each may only be stricter than the one above."""
        script = "sysctl -qw vm.memfd_noexec=2; exec \"$@\""
        items = self.check("unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", script, "sh")
        self.expect(items, "memfd", "missing", "Permission denied")

    # ---- modules

    def module(self, item, module, detail, state="missing"):
        """The module goes, and cannot come back until the remedy is followed."""
        BLOCKED.parent.mkdir(exist_ok=True)
        BLOCKED.write_text(f"install {module} /bin/false\n")
        self.addCleanup(BLOCKED.unlink, missing_ok=True)
        # Network namespaces of checks before this one, which die in the background, may still use it.
        wait_until(lambda: succeeds("modprobe", "-r", module), what=f"{module} can be removed")
        found = self.expect(self.check(), item, state, detail)
        BLOCKED.unlink()
        self.follow(found)
        self.assertTrue(os.path.exists(f"/sys/module/{module}"))
        self.assertEqual(self.lacking(self.check()), {})

    def test_no_veth(self):
        self.module("net.veth", "veth", "Operation not supported")

    def test_no_bridge_filter(self):
        self.module("net.bridge", "br_netfilter", "no br_netfilter", "degraded")

    def test_no_redirect(self):
        self.module("net.veth", "nft_nat", "redirect")

    def test_no_masquerading(self):
        self.module("net.nftables", "nft_masq", "the policy's rules")

    def test_no_overlay(self):
        self.module("overlay", "overlay", "No such device")

    # ---- privileges and files

    def test_no_capability(self):
        items = self.check("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")
        self.assertEqual(items["capabilities"]["state"], "missing")
        self.assertIn("cap_net_admin is not permitted", items["capabilities"]["detail"])

    def test_a_filter_hides_clone3(self):
        items = self.check("systemd-run", "--quiet", "--pipe", "--wait", "-p", "SystemCallFilter=~clone3",
                           "-p", "SystemCallErrorNumber=ENOSYS", "-p", f"NetworkNamespacePath=/proc/{os.getpid()}/ns/net")
        self.assertEqual(items["clone3"]["state"], "missing")
        self.assertIn("Function not implemented", items["clone3"]["detail"])

    def test_few_open_files(self):
        limit = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))  # noqa: E731
        items = self.check(preexec_fn=limit)
        self.expect(items, "open_files", "degraded", "at most 1024; 512 sessions take 4352")

    def test_state_directory_on_a_tmpfs(self):
        """Linux 6.1 cannot map the ids of files in a tmpfs."""
        state = pathlib.Path("/run/state-of-test")
        run("cp", "-a", str(self.host.state_dir), str(state))
        self.addCleanup(run, "rm", "-r", str(state))
        self.configure(state_dir=str(state))
        if os.uname().release.startswith("6.1."):
            self.expect(self.check(), "idmap", "missing", "Invalid argument")
        else:
            self.assertEqual(self.lacking(self.check()), {})

    # ---- cgroup controllers

    def without(self, controller):
        """A command that runs another where the root of the cgroup tree has all controllers but one, as in a container."""
        poor = CGROUPS / f"poor-{controller}"
        inner = poor / "inner"
        inner.mkdir(parents=True)
        self.addCleanup(poor.rmdir)
        self.addCleanup(inner.rmdir)
        (poor / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in CONTROLLERS - {controller}))
        return ["sh", "-c", f'echo $$ > {inner}/cgroup.procs; exec unshare --cgroup "$@"', "sh"]

    def test_no_controller(self):
        for name in sorted(CONTROLLERS):
            with self.subTest(name):
                launcher = self.without(name)
                self.expect(self.check(*launcher), f"cgroup.{name}", "missing", "no such controller")
        self.host.launcher = launcher
        self.addCleanup(setattr, self.host, "launcher", [])
        self.assertIn(f"cgroup.{name}: no such controller in cgroup v2", self.start_fails())

    def test_missing_controllers_may_be_lived_with(self):
        """Then every session says which of its limits do not hold."""
        launcher = self.without("io")
        self.configure(missing_controllers="warn")
        self.expect(self.check(*launcher), "cgroup.io", "degraded", "no such controller")
        self.host.launcher = launcher
        self.addCleanup(setattr, self.host, "launcher", [])
        self.host.start()
        self.addCleanup(self.host.stop, signal.SIGINT)
        session = self.host.client().call("session.create", template="minimal")
        # The root of that tree has processes, carreld itself, and so hands nothing down.
        enforced = {name: limit["enforced"] for name, limit in session["limits"].items()}
        self.assertEqual(enforced, {"memory_bytes": False, "swap_bytes": False, "cpus": False, "pids": False,
                                    "root_bytes": True, "root_inodes": True, "shm_bytes": True, "open_files": True})

    def test_a_parent_that_hands_nothing_down(self):
        """The host has all controllers, but a cgroup with processes of its own gives none to its children."""
        busy = CGROUPS / "busy"
        busy.mkdir()
        self.addCleanup(busy.rmdir)
        sleeper = subprocess.Popen(["sleep", "1000"])
        self.addCleanup(sleeper.wait)
        self.addCleanup(sleeper.kill)
        (busy / "cgroup.procs").write_text(str(sleeper.pid))
        self.configure(cgroup="busy/carrel")
        self.assertIn('busy/carrel has no controller "cpu" to hand down', self.start_fails())
        self.assertEqual(list(busy.glob("*/")), [])


if __name__ == "__main__":
    unittest.main()
