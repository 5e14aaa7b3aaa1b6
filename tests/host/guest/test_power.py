# SPDX-License-Identifier: Apache-2.0
"""Power cuts: in the midst of creations, of writes to the registry and to volumes, of an image's build, of an upgrade. The
machine starts again after each, without a word to the file system; $BOOT counts from 1, and each boot first looks at
what the one before left."""

import json
import os
import pathlib
import subprocess
import termios
import threading
import time
import unittest

from carrel_host import Client, RpcError, wait_until
from test_package import API, CGROUP, call, install, journal, prop, run, traces

BOOT = int(os.environ.get("BOOT", "1"))
TEMPLATE = pathlib.Path("/etc/carrel/templates.d/keeper.json")
CUT_AFTER = 20  # things that were under way


def tearDownModule():
    """The results are out; what is under way is not waited for."""
    if UNDER_WAY:
        wait_until(lambda: UNDER_WAY[0]() or None, 60, "something under way")
        termios.tcdrain(1)
        pathlib.Path("/proc/sysrq-trigger").write_text("b")
        time.sleep(60)  # there is no later


UNDER_WAY = []


def start():
    run("systemctl", "start", "carrel.target")
    wait_until(lambda: prop("carrel-control.service", "ActiveState") == "active", 60, "the service")


def forever(action):
    """Does it in the background; how often it was done."""
    done = []

    def loop():
        while True:
            try:
                action(len(done))
            except (OSError, RpcError, ValueError):
                pass
            done.append(None)

    threading.Thread(target=loop, daemon=True).start()
    UNDER_WAY.append(lambda: len(done) >= CUT_AFTER)


def with_keeper(name, *command):
    """Runs a command in a session that has the volume, and ends the session."""
    session = call("session.create", template="keeper", owner="ada", id=name)
    try:
        return call("exec.run", session=session["id"], command=["/bin/busybox", *command])["stdout"]
    finally:
        call("session.remove", session=session["id"])


def look_after_a_cut(test):
    start()
    sessions = {s["id"]: s for s in call("session.list")["sessions"]}
    for session in sessions.values():
        test.assertEqual(session["state"], "ended", session)
    if "alive" in sessions:
        test.assertEqual(sessions["alive"]["end"]["reason"], "host-restart")
        call("session.remove", session="alive")
    test.assertEqual([p for p in CGROUP.glob("*/")], [])
    test.assertFalse(list(pathlib.Path("/var/lib/carrel/control").glob("*damaged*")), journal())
    test.assertEqual(with_keeper("reader", "cat", "/data/kept"), "kept\n")
    test.assertEqual([v["state"] for v in call("volume.list")["volumes"]], ["free"])


class Power(unittest.TestCase):
    @unittest.skipUnless(BOOT == 1, "another boot")
    def test_1_while_sessions_are_created(self):
        install("0.1.0")
        template = json.loads(pathlib.Path("/etc/carrel/templates.d/minimal.json").read_text())
        volume = {"path": "/data", "name": "data-{owner_hash}", "use": "always", "persistent": True}
        TEMPLATE.write_text(json.dumps({**template, "volumes": [volume]}))
        run("carrel", "image", "build", "minimal")
        run("systemctl", "restart", "carreld.service", "carrel-control.service")
        start()
        with_keeper("writer", "sh", "-c", "echo kept | busybox dd of=/data/kept conv=fsync")
        call("session.create", template="minimal", id="alive")
        forever(lambda n: call("session.create", template="minimal", id=f"many-{n}"))

    @unittest.skipUnless(BOOT == 2, "another boot")
    def test_2_while_the_registry_and_a_volume_are_written(self):
        look_after_a_cut(self)
        call("session.create", template="keeper", owner="ada", id="alive")
        call("exec.start", session="alive", command=["/bin/busybox", "sh", "-c",
             "while :; do echo more >> /data/more; busybox cp /data/more /data/copy; done"])
        forever(lambda n: call("session.extend", session="alive", ttl_seconds=1000 + n))

    @unittest.skipUnless(BOOT == 3, "another boot")
    def test_3_while_an_image_is_built(self):
        look_after_a_cut(self)
        subprocess.Popen(["carrel", "image", "build", "minimal", "--force"], stdout=subprocess.DEVNULL)
        forever(lambda n: call("session.get", session="alive"))

    @unittest.skipUnless(BOOT == 4, "another boot")
    def test_4_while_the_package_is_upgraded(self):
        run("carrel", "image", "build", "minimal")
        look_after_a_cut(self)
        call("session.create", template="minimal", id="alive")
        threading.Thread(target=lambda: install("0.1.1"), daemon=True).start()
        UNDER_WAY.append(lambda: "0.1.1" in pathlib.Path("/var/lib/dpkg/status").read_text()
                         or list(pathlib.Path("/var/lib/dpkg/updates").iterdir()))

    @unittest.skipUnless(BOOT == 5, "another boot")
    def test_5_afterwards(self):
        run("dpkg", "--configure", "-a")
        install("0.1.1")
        look_after_a_cut(self)
        self.assertEqual(call("hello")["version"], "0.1.1")
