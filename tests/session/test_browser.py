# SPDX-License-Identifier: Apache-2.0
"""A real Chromium in a session, from the zero-build image over the host's own /usr."""

import asyncio
import http.server
import json
import os
import pathlib
import re
import signal
import statistics
import subprocess
import threading
import time
import unittest
import urllib.request

from carrel_host import Host, children, own_network, wait_until
from cdp import Tab


def setUpModule():
    own_network()


def descends(pid):
    """PID and all below it."""
    found, rest = [], [pid]
    while rest:
        one = rest.pop()
        found.append(one)
        try:
            for task in os.listdir(f"/proc/{one}/task"):
                rest += [int(p) for p in pathlib.Path(f"/proc/{one}/task/{task}/children").read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            pass
    return found


def version(url):
    with urllib.request.urlopen(f"{url}/json/version", timeout=10) as answer:
        return json.load(answer)


class Browser(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.host = Host(images=("minimal", "host"))
        cls.profile = cls.host.dir / "profile"
        cls.profile.mkdir()
        os.chown(cls.profile, 1000, 1000)
        kept = cls.host.template("browser-host")
        kept["mounts"].append({"type": "bind", "source": str(cls.profile), "target": "/profile", "read_only": False})
        kept["command"] = [re.sub(r"^--user-data-dir=.*", "--user-data-dir=/profile", c) for c in kept["command"]]
        cls.host.write_template("kept", kept)
        cls.host.start()
        cls.client = cls.host.client()

    @classmethod
    def tearDownClass(cls):
        cls.host.close()

    def create(self, template="browser-host", **params):
        session = self.client.call("session.create", template=template, **params)
        self.addCleanup(self.remove, session["id"])
        return session

    def remove(self, name):
        if name in [s["id"] for s in self.client.call("session.list")["sessions"]]:
            self.client.call("session.remove", session=name)

    def test_cdp_answers_when_ready(self):
        session = self.create()
        self.assertEqual(session["state"], "ready")
        self.assertEqual(session["cdp_url"], session["endpoints"]["cdp"]["url"])
        self.assertIn("Chrome/", version(session["cdp_url"])["Browser"])

    def test_chromiums_own_sandbox_is_on(self):
        session = self.create(id="sandboxed")

        async def open_page():
            async with Tab(session["cdp_url"]) as tab:
                await tab.navigate("data:text/html,<title>x</title><p>hello</p>")
                return await tab.evaluate("document.body.textContent"), self.look(session)

        text, renderers = asyncio.run(open_page())
        self.assertEqual(text, "hello")
        self.assertGreaterEqual(len(renderers), 1)
        outer = self.session_namespaces()
        for pid, command, filters, namespaces in renderers:
            with self.subTest(pid=pid):
                for kind in ("user", "pid", "net"):
                    self.assertNotEqual(namespaces[kind], outer[kind], f"{kind}: {command}")
                self.assertEqual(filters, 2)

    def session_namespaces(self):
        init = self.host.init_pids()[0]
        return {k: os.stat(f"/proc/{init}/ns/{k}").st_ino for k in ("user", "pid", "net")}

    def look(self, _session):
        found = []
        for pid in descends(self.host.init_pids()[0]):
            try:
                command = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
                status = pathlib.Path(f"/proc/{pid}/status").read_text()
                self.assertNotIn("--no-sandbox", command)
                if "--type=renderer" in command:
                    filters = int(re.search(r"^Seccomp_filters:\t(\d+)", status, re.M).group(1))
                    found.append((pid, command, filters,
                                  {k: os.stat(f"/proc/{pid}/ns/{k}").st_ino for k in ("user", "pid", "net")}))
            except FileNotFoundError:
                pass
        return found

    def test_nothing_runs_as_root(self):
        self.create(id="rootless")
        init = self.host.init_pids()[0]
        base = int(pathlib.Path(f"/proc/{init}/uid_map").read_text().split()[1])
        for pid in descends(init)[1:]:
            try:
                status = pathlib.Path(f"/proc/{pid}/status").read_text()
            except FileNotFoundError:
                continue
            self.assertEqual(int(re.search(r"^Uid:\t(\d+)", status, re.M).group(1)), base + 1000)
            # In a user namespace of Chromium's own making the bounding set is full again, and reaches only that far.
            if os.stat(f"/proc/{pid}/ns/user").st_ino == os.stat(f"/proc/{init}/ns/user").st_ino:
                self.assertEqual(int(re.search(r"^CapBnd:\t(\w+)", status, re.M).group(1), 16), 0)

    def test_clean_end_keeps_cookies(self):
        first = self.create("kept", id="first")

        async def set_cookie():
            async with Tab(first["cdp_url"]) as tab:
                await tab.call("Storage.setCookies", cookies=[{
                    "name": "login", "value": "kept-value", "domain": "example.com", "path": "/",
                    "expires": time.time() + 86400}])

        asyncio.run(set_cookie())
        begun = time.monotonic()
        ended = self.client.call("session.stop", session="first")
        self.assertEqual(ended["end"]["reason"], "stopped")
        self.assertEqual(ended["end"]["exit_code"], 0)
        self.assertLess(time.monotonic() - begun, 4)
        self.client.call("session.remove", session="first")
        self.assertEqual(list(self.profile.glob("Singleton*")), [], "the browser removed its locks itself")
        second = self.create("kept", id="second")

        async def read_cookie():
            async with Tab(second["cdp_url"]) as tab:
                return (await tab.call("Storage.getCookies"))["cookies"]

        self.assertEqual([c["value"] for c in asyncio.run(read_cookie()) if c["name"] == "login"], ["kept-value"])

    def test_five_at_once(self):
        clients = [self.host.client() for _ in range(5)]
        requests = [c.send("session.create", template="browser-host", id=f"b{i}") for i, c in enumerate(clients)]
        sessions = [c.answer(r) for c, r in zip(clients, requests)]
        for session in sessions:
            self.addCleanup(self.remove, session["id"])
            self.assertIn("Chrome/", version(session["cdp_url"])["Browser"])

    def test_a_browser_that_is_killed(self):
        self.create(id="crashing")
        init = self.host.init_pids()[0]
        # The workload is init's own child; one that Chromium has forked looks the same for a moment.
        browser = [p for p in children(init) if b"--remote-debugging-port" in
                   pathlib.Path(f"/proc/{p}/cmdline").read_bytes()]
        self.assertEqual(len(browser), 1)
        os.kill(browser[0], signal.SIGKILL)
        ended = self.client.call("session.wait", session="crashing", **{"for": "ended"}, timeout_seconds=20)
        self.assertEqual(ended["end"]["reason"], "exited")
        self.assertEqual(ended["end"]["signal"], 9)


if __name__ == "__main__":
    unittest.main()
