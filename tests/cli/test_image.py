# SPDX-License-Identifier: Apache-2.0
"""The image store: built, found current, replaced under sessions, swept, removed. As root; needs busybox-static."""

import fcntl
import json
import os
import shutil
import stat
import unittest

from fake_carrel import CARREL, CliTest


@unittest.skipUnless(os.geteuid() == 0, "the image store belongs to root")
class Images(CliTest):
    def setUp(self):
        super().setUp()
        self.state = self.dir / "state"
        self.rootfs = self.state / "rootfs"

    def image(self, *arguments, **kwargs):
        return self.run_cli("image", *arguments, "--state-dir", str(self.state), **kwargs)

    def names(self, start=""):
        return sorted(p.name for p in self.rootfs.iterdir() if p.name.startswith(start) and p.name != ".lock")

    def info(self, name):
        return json.loads((self.state / f"images/{name}.json").read_text())

    def sessions(self, *templates):
        """A carrel with a live session of each of these templates, which are named like their images."""
        return self.serve(
            session__list={"sessions": [{"template": t, "state": "ready"} for t in templates], "next_cursor": None},
            template__get=lambda params, _: {"image": params["template"]})

    def test_minimal(self):
        self.assertRegex(self.image("build", "minimal").stdout, r"^image minimal is built: \d.* in \d")
        root = self.rootfs / "minimal/0"
        self.assertEqual(stat.S_IMODE(self.rootfs.stat().st_mode), 0o700)
        self.assertEqual(stat.S_IMODE((root / "tmp").stat().st_mode), 0o1777)
        self.assertEqual(list((root / "dev").iterdir()), [])
        self.assertEqual((root / "home/user").stat().st_uid, 1000)
        self.assertTrue((root / "usr/bin/busybox").is_file())
        self.assertEqual(os.readlink(root / "usr/bin/sh"), "busybox")
        self.assertEqual(os.readlink(root / "bin"), "usr/bin")
        self.assertIn("user:*:1000:1000:", (root / "etc/passwd").read_text())
        info = self.info("minimal")
        self.assertEqual((info["name"], info["layers"]), ("minimal", 1))
        self.assertEqual(info["config"], {"env": [], "entrypoint": [], "user": "", "workdir": ""})
        self.assertGreater(info["size_bytes"], 500000)
        self.assertRegex(info["built_at"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")

    def test_host_takes_only_what_all_may_read(self):
        self.image("build", "host")
        root = self.rootfs / "host/0"
        self.assertEqual(list((root / "usr").iterdir()), [])
        self.assertEqual(os.readlink(root / "lib"), "usr/lib")
        self.assertTrue((root / "etc/ld.so.cache").is_file())
        self.assertNotIn(os.uname().nodename, (root / "etc/hosts").read_text())
        for path in root.rglob("*"):
            mode = path.lstat().st_mode
            self.assertFalse(mode & 0o6000 and path.is_file(), path)
            self.assertTrue(stat.S_ISDIR(mode) or stat.S_ISREG(mode) or stat.S_ISLNK(mode), path)
        self.assertFalse((root / "etc/ssl/private").exists())
        self.assertFalse((root / "etc/shadow").exists())

    def test_current_images_are_left_alone(self):
        self.image("build", "minimal")
        before, inode = self.info("minimal"), (self.rootfs / "minimal").stat().st_ino
        self.assertIn("image minimal is current", self.image("build", "minimal").stdout)
        self.assertEqual(self.info("minimal"), before)
        self.assertEqual((self.rootfs / "minimal").stat().st_ino, inode)
        self.assertEqual(self.names(), ["minimal"])
        self.sessions()
        self.assertIn("is built", self.image("build", "minimal", "--force").stdout)
        self.assertNotEqual((self.rootfs / "minimal").stat().st_ino, inode)
        self.assertEqual(self.names(), ["minimal"])

    def test_a_replaced_image_stays_while_sessions_use_it(self):
        self.image("build", "minimal")
        inode = (self.rootfs / "minimal").stat().st_ino
        server = self.sessions("minimal")
        self.image("build", "minimal", "--force")
        old = self.names(".old-minimal-")
        self.assertEqual(len(old), 1)
        self.assertEqual((self.rootfs / old[0]).stat().st_ino, inode)
        self.image("build", "host")
        self.assertEqual(self.names(".old-"), old)
        server.methods["session.list"] = {"sessions": [], "next_cursor": None}
        self.image("build", "host")
        self.assertEqual(self.names(), ["host", "minimal"])

    def test_without_an_answer_every_image_is_in_use(self):
        self.image("build", "minimal")
        self.image("build", "minimal", "--force")
        self.assertEqual(len(self.names(".old-minimal-")), 1)

    def test_what_an_interrupted_build_left(self):
        self.image("build", "minimal")
        left = self.rootfs / ".new-browser-0123456789abcdef/0/usr/bin"
        left.mkdir(parents=True)
        (left / "link").symlink_to("/etc")
        self.image("build", "minimal")
        self.assertEqual(self.names(), ["minimal"])
        self.assertTrue(os.path.isdir("/etc"))

    def test_one_at_a_time(self):
        self.image("build", "minimal")
        with open(self.rootfs / ".lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.assertIn("another `carrel image`", self.image("build", "minimal", expect=1).stderr)

    def test_a_store_that_others_may_enter_is_refused(self):
        self.rootfs.mkdir(parents=True, mode=0o755)
        self.assertIn("0700", self.image("build", "minimal", expect=1).stderr)

    def test_list(self):
        self.image("build", "minimal")
        self.image("build", "host")
        (self.state / "images/broken.json").write_text("{")
        self.assertEqual([i["name"] for i in json.loads(self.image("list", "--json").stdout)], ["host", "minimal"])
        self.assertRegex(self.image("list").stdout, r"^IMAGE +SIZE +BUILT\nhost +\d\S* [KM]iB +\d{4}-.*\nminimal ")

    def test_remove(self):
        self.image("build", "minimal")
        server = self.sessions("minimal")
        self.assertIn("EBUSY", self.image("remove", "minimal", expect=1).stderr)
        server.methods["session.list"] = {"sessions": [{"template": "minimal", "state": "ended"}], "next_cursor": None}
        self.image("remove", "minimal")
        self.assertEqual(self.names(), [])
        self.assertEqual(json.loads(self.image("list", "--json").stdout), [])
        self.image("remove", "minimal", expect=1)
        self.image("remove", "../images/minimal", expect=1)

    def test_state_dir_from_the_configuration(self):
        (self.dir / "carrel.json").write_text(json.dumps({"state_dir": str(self.state)}))
        self.run_cli("image", "build", "minimal", "--config", str(self.dir))
        self.assertEqual(self.names(), ["minimal"])
        (self.dir / "carrel.json").write_text("{\n rubbish")
        self.assertIn("carrel.json:2", self.run_cli("image", "list", "--config", str(self.dir), expect=1).stderr)

    def test_state_dir_of_the_carrel_at_the_socket(self):
        self.image("build", "minimal")
        server = self.serve(system__info={"state_directory": str(self.state)})
        self.assertIn("minimal", self.run_cli("image", "list").stdout)
        self.assertEqual(server.requests, [("system.info", None)])
        # A configuration that is named counts for more.
        (self.dir / "carrel.json").write_text(json.dumps({"state_dir": str(self.dir / "other")}))
        self.assertIn("image build", self.run_cli("image", "list", "--config", str(self.dir), expect=1).stderr)

    def test_packages_that_do_not_exist(self):
        for name, code in (("-x", 2), ("a,b", 2), ("*", 2)):
            with self.subTest(name):
                result = self.image("build", "browser", f"--package={name}", expect=code)
                self.assertIn("no package's name", result.stderr)
        self.assertEqual(self.names(), [])


@unittest.skipUnless(os.geteuid() == 0, "becomes another user")
class Unprivileged(CliTest):
    def test_building_needs_root(self):
        self.dir.chmod(0o755)
        program = shutil.copy(CARREL, self.dir)
        result = self.run_cli("image", "build", "minimal", "--state-dir", str(self.dir / "state"), program=program,
                              user=65534, expect=1)
        self.assertIn("run this as root", result.stderr)
        self.assertFalse((self.dir / "state").exists())


if __name__ == "__main__":
    unittest.main()
