# SPDX-License-Identifier: Apache-2.0
"""A browser's profile volume: who logged in is logged in next time, however the session ended."""

import asyncio
import os
import signal
import time
import unittest

from carrel_host import Host, RpcError, own_network, wait_until
from cdp import Tab

PLACE = "/home/user/profile"


def setUpModule():
    own_network()


class Profile(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.host = Host(images=("minimal", "host"))
        sized = cls.host.template("browser-host")
        sized["volumes"][0]["size_bytes"] = 64 << 20
        cls.host.write_template("browser-sized", sized)
        cls.host.carrel("image", "build", "host", "--state-dir", str(cls.host.state_dir), "--config", str(cls.host.config_dir))
        cls.host.start()

    @classmethod
    def tearDownClass(cls):
        cls.host.close()

    def setUp(self):
        self.client = self.host.client()

    def ensure(self, owner, template="browser-host", **params):
        return self.client.call("session.ensure", template=template, isolation="per-owner", owner=owner, **params)

    def set_cookie(self, session, value):
        async def work():
            async with Tab(session["cdp_url"]) as tab:
                await tab.call("Storage.setCookies", cookies=[{"name": "login", "value": value, "domain": "example.com",
                                                               "path": "/", "expires": time.time() + 86400}])
        asyncio.run(work())

    def cookies(self, session):
        async def work():
            async with Tab(session["cdp_url"]) as tab:
                return (await tab.call("Storage.getCookies"))["cookies"]
        return [c["value"] for c in asyncio.run(work()) if c["name"] == "login"]

    def bookmark(self, session, text=None):
        """Leaves a file in the profile, or reads it."""
        command = f"echo {text} >{PLACE}/Default/Bookmarks.test" if text else f"cat {PLACE}/Default/Bookmarks.test"
        return self.client.call("exec.run", session=session["id"], command=["/bin/sh", "-c", command])["stdout"].strip()

    def test_logged_in_next_time(self):
        first = self.ensure("ann")
        self.assertEqual(first["volumes"], [{"name": f"profile-{first['owner_hash']}", "path": PLACE, "persistent": True}])
        self.assertEqual(first["hostname"], f"profile-{first['owner_hash']}")
        self.set_cookie(first, "anns")
        self.bookmark(first, "anns")
        self.client.call("session.stop", session=first["id"])  # Browser.close within a second of it
        second = self.ensure("ann")
        self.assertNotEqual(second["id"], first["id"])
        self.assertEqual(second["hostname"], first["hostname"])
        self.assertEqual((self.cookies(second), self.bookmark(second)), (["anns"], "anns"))
        other = self.ensure("bob")
        self.assertEqual(self.cookies(other), [])
        for session in (second, other):
            self.client.call("session.remove", session=session["id"], volumes="remove")
        third = self.ensure("ann")
        self.assertEqual(self.cookies(third), [])
        self.client.call("session.remove", session=third["id"], volumes="remove")

    def test_a_browser_starts_after_everything_was_killed(self):
        locks = self.kill_everything("browser-host", "cat")
        self.assertTrue([p.name for p in locks.iterdir() if p.name.startswith("Singleton")], "the killed browser's locks")
        self.browse_on("browser-host", "cat")

    def test_one_with_a_file_system_of_its_own_starts_as_well(self):
        file = self.kill_everything("browser-sized", "eve")
        self.assertEqual(file.stat().st_size, 64 << 20)
        self.browse_on("browser-sized", "eve")

    def kill_everything(self, template, owner):
        """With a cookie that was set in the session before; where the profile is."""
        first = self.ensure(owner, template)
        self.set_cookie(first, "cats")
        self.client.call("session.stop", session=first["id"])
        second = self.ensure(owner, template)
        self.assertEqual(self.cookies(second), ["cats"])
        process, control = self.host.process, self.host.control_pid()
        inits = self.host.init_pids()
        process.kill()
        for pid in (control, *inits):
            os.kill(pid, signal.SIGKILL)
        process.wait(10)
        self.killed = second["id"]
        return self.host.state_dir / "volumes" / second["volumes"][0]["name"]

    def browse_on(self, template, owner):
        self.host.start()
        self.client = self.host.client()
        wait_until(lambda: self.client.call("session.get", session=self.killed)["state"] == "ended", what="ended")
        third = self.ensure(owner, template)
        self.assertEqual(self.cookies(third), ["cats"])
        self.client.call("session.remove", session=third["id"], volumes="remove")

    def test_a_profile_is_for_one_browser(self):
        first = self.ensure("dan")
        with self.assertRaises(RpcError) as caught:
            self.client.call("session.create", template="browser-host", owner="dan", volumes=[{"path": PLACE}])
        self.assertEqual((caught.exception.kind, caught.exception.data["session"]), ("conflict", first["id"]))
        ephemeral = self.client.call("session.create", template="browser-host", owner="dan")
        self.assertEqual(ephemeral["volumes"], [])
        for session in (first, ephemeral):
            self.client.call("session.remove", session=session["id"], volumes="remove")

    def test_per_task_takes_it_along(self):
        session = self.client.call("session.ensure", template="browser-host", isolation="per-task", task_id="t1")
        name = session["volumes"][0]["name"]
        self.assertFalse(session["volumes"][0]["persistent"])
        self.client.call("session.stop", session=session["id"])
        wait_until(lambda: not (self.host.state_dir / "volumes" / name).exists(), what="gone")


if __name__ == "__main__":
    unittest.main()
