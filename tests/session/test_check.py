# SPDX-License-Identifier: Apache-2.0
"""`carreld --check`: each item says what is so, the remedy for what is not, and nothing of what was tried is left."""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

from carrel_host import CONTROL_ID, ROOT, own_network

TEMPLATE = {
    "kind": "test", "image": "tiny", "command": ["/bin/busybox", "sleep", "1"], "seccomp": "minimal",
    "limits": {"memory_bytes": 67108864, "cpus": 1, "pids": 64, "root_bytes": 1048576},
}


def setUpModule():
    own_network()


def host_state():
    """What a check that forgets something would add to."""
    return (subprocess.check_output(["ip", "-o", "link"], text=True),
            subprocess.check_output(["nft", "list", "ruleset"], text=True),
            pathlib.Path("/proc/self/mountinfo").read_text())


class CheckTest(unittest.TestCase):
    def setUp(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="carrel-check-", dir="/dev/shm"))
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.config = {"user": f"#{CONTROL_ID}", "group": f"#{CONTROL_ID}", "missing_controllers": "warn",
                       "state_dir": str(self.directory / "state"), "run_dir": str(self.directory / "run")}
        (self.directory / "etc/templates.d").mkdir(parents=True)
        self.image = self.directory / "state/rootfs/tiny/0"
        (self.image / "bin").mkdir(parents=True)
        shutil.copy("/bin/busybox", self.image / "bin")

    def carreld(self, *arguments, template=TEMPLATE, **config):
        (self.directory / "etc/carrel.json").write_text(json.dumps({**self.config, **config}))
        (self.directory / "etc/templates.d/tiny.json").write_text(json.dumps(template))
        return subprocess.run([str(ROOT / "usr/sbin/carreld"), "--config", str(self.directory / "etc"), "--check", *arguments],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)

    def check(self, **kwargs):
        result = self.carreld("--json", **kwargs)
        self.assertEqual(result.stderr, "")
        items = {item["name"]: item for item in json.loads(result.stdout)["items"]}
        missing = [name for name, item in items.items() if item["state"] == "missing"]
        self.assertEqual(result.returncode, 1 if missing else 0)
        for item in items.values():
            self.assertEqual(item["remedy"] is None, item["state"] == "ok", item)
        return items

    def template_item(self, **changes):
        items = self.check(template={**TEMPLATE, **changes})
        self.assertEqual(items["templates"]["state"], "degraded")
        self.assertEqual(items["template.tiny"]["state"], "degraded")
        return items["template.tiny"]["detail"]

    def test_this_host(self):
        before = host_state()
        items = self.check()
        self.assertEqual(host_state(), before)
        for name in ("kernel", "capabilities", "seccomp", "clone3", "memfd", "namespaces", "overlay", "idmap", "cgroup",
                     "net.nftables", "net.veth", "net.ipv6", "ids", "account", "templates"):
            self.assertEqual(items[name]["state"], "ok", items[name])
        self.assertNotIn("net.forwarding4", items)
        self.assertNotIn("template.tiny", items)

    def test_table(self):
        result = self.carreld()
        self.assertEqual(result.returncode, 0, result.stdout)
        self.assertIn("\nok        overlay ", result.stdout)

    def test_controllers(self):
        available = self.directory / "cgroup"
        available.mkdir()
        subprocess.run(["mount", "-t", "cgroup2", "none", str(available)], check=True)
        words = (available / "cgroup.controllers").read_text().split()
        subprocess.run(["umount", str(available)], check=True)
        for policy, otherwise in (("warn", "degraded"), ("refuse", "missing")):
            items = self.check(missing_controllers=policy)
            for name in ("cpu", "memory", "pids", "io"):
                self.assertEqual(items[f"cgroup.{name}"]["state"], "ok" if name in words else otherwise)

    def test_account(self):
        item = self.check(user="carrel-no-such-user")["account"]
        self.assertEqual((item["state"], item["detail"]), ("missing", "there is no user carrel-no-such-user"))
        item = self.check(user="root")["account"]
        self.assertEqual((item["state"], item["detail"]),
                         ("missing", f"carrel-control must not run as root:#{CONTROL_ID}"))

    def test_forwarding(self):
        template = {**TEMPLATE, "network": {"egress_allowed": ["internet"]}}
        for value, state in (("0", "degraded"), ("1", "ok")):
            pathlib.Path("/proc/sys/net/ipv4/ip_forward").write_text(value)
            self.assertEqual(self.check(template=template)["net.forwarding4"]["state"], state)
        self.assertNotIn("net.forwarding6", self.check(template=template, ipv6=None))

    def test_ipv6(self):
        path = pathlib.Path("/proc/sys/net/ipv6/conf/all/disable_ipv6")
        path.write_text("1")
        self.addCleanup(path.write_text, "0")
        self.assertEqual(self.check()["net.ipv6"]["state"], "missing")
        self.assertNotIn("net.ipv6", self.check(ipv6=None))

    def test_room(self):
        items = self.check(max_sessions=16384, spare_networks=0)
        self.assertEqual(items["pids"]["state"], "ok" if
                         int(pathlib.Path("/proc/sys/kernel/pid_max").read_text()) >= 64 * 16384 else "degraded")
        self.assertEqual(items["open_files"]["state"], "ok" if os.sysconf("SC_OPEN_MAX") >= 8 * 16384 + 256 else "degraded")

    def test_template_without_image(self):
        self.assertEqual(self.template_item(image="none"), "there is no image none")

    def test_template_without_program(self):
        self.assertEqual(self.template_item(command=["/bin/none"]), "image tiny has no /bin/none")

    def test_program_behind_links(self):
        """Resolved with the image as the root: a link to the host's own tree finds nothing."""
        (self.image / "bin/good").symlink_to("/bin/busybox")
        (self.image / "bin/bad").symlink_to("../../../../../../../../../../../usr/bin/env")
        self.assertNotIn("template.tiny", self.check(template={**TEMPLATE, "command": ["/bin/good"]}))
        self.assertEqual(self.template_item(command=["/bin/bad"]), "image tiny has no /bin/bad")

    def test_program_in_a_bind(self):
        mounts = [{"type": "bind", "source": "/usr", "target": "/usr"}]
        self.assertNotIn("template.tiny", self.check(template={**TEMPLATE, "mounts": mounts, "command": ["/usr/bin/env"]}))
        self.assertEqual(self.template_item(mounts=mounts, command=["/usr/bin/no-such"]), "image tiny has no /usr/bin/no-such")

    def test_bind_without_source(self):
        mounts = [{"type": "bind", "source": "/no-such", "target": "/x"}]
        self.assertEqual(self.template_item(mounts=mounts), "mount of /no-such: No such file or directory")

    def test_open_files(self):
        limits = {**TEMPLATE["limits"], "open_files": 1 << 20}
        if os.sysconf("SC_OPEN_MAX") < 1 << 20:
            self.assertIn("limits.open_files is above", self.template_item(limits=limits))
        else:
            self.assertNotIn("template.tiny", self.check(template={**TEMPLATE, "limits": limits}))

    def test_bad_configuration(self):
        result = self.carreld(max_sessions="many")
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("carrel.json:1: max_sessions: must be an integer, not a string", result.stderr)


if __name__ == "__main__":
    unittest.main()
