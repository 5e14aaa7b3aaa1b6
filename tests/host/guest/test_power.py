# SPDX-License-Identifier: Apache-2.0
"""Power cuts: while sessions are created and ended, and the registry and volumes are written for them; while an image is
built; while the package is unpacked; and while it is configured.

The machine resets itself without a word to the file system, and starts again: what is on the disk is there, what was in
memory alone is not. $BOOT counts from 1; each boot looks at what the one before left, has the next thing begin, and cuts
the power once that is seen to be under way.
"""

import faulthandler
import itertools
import json
import os
import pathlib
import signal
import termios
import threading
import time
import unittest

from carrel_host import Client, scaled, wait_until
from packaged import API, CGROUP, UNITS, call, install, prop, run, unexpected_items

BOOT = int(os.environ.get("BOOT", "1"))
STATE = pathlib.Path("/var/lib/carrel")
TEMPLATE = pathlib.Path("/etc/carrel/templates.d/keeper.json")
MEMORY_OFFSET = 256 << 20  # on the disk for results, beyond them
VOLUMES = [  # one is a directory, the other a file system of its own
    {"path": "/data", "name": "data-{owner_hash}", "use": "always", "persistent": True},
    {"path": "/sized", "name": "sized-{owner_hash}", "use": "always", "persistent": True, "size_bytes": 16 << 20},
]
# Says each number when files that are full of it are on the disk; and writes one that need not be.
WRITER = """
n=0
while n=$((n + 1)); do
	yes $BOOT-$n | head -n 1000 > /data/loose
	for volume in data sized; do yes $BOOT-$n | head -n 1000 | dd of=/$volume/synced-$BOOT-$n conv=fsync 2> /dev/null; done
	echo $n
	sleep 0.2
done
"""
READER = """awk '{ n[FILENAME " " $0]++ } END { for (k in n) print k, n[k] }' /data/synced-* /sized/synced-*"""
AFTERWARDS = []  # what cut() left to do once the test has been told of


def memory():
    """A disk that no file system is on: what is written there writes nothing else out."""
    for disk in pathlib.Path("/sys/block").glob("vd*"):
        if (disk / "serial").read_text() == "results":
            return os.open(f"/dev/{disk.name}", os.O_RDWR | os.O_SYNC)
    raise AssertionError("no disk for results")


def remember(what):
    os.pwrite(memory(), json.dumps(what).encode().ljust(1 << 20, b"\n"), MEMORY_OFFSET)


def remembered():
    return json.loads(os.pread(memory(), 1 << 20, MEMORY_OFFSET)) if BOOT > 1 else {}


def setUpModule():
    # Where it hangs, rather than that it does.
    faulthandler.dump_traceback_later(scaled(20), exit=True)


def tearDownModule():
    for step in AFTERWARDS:
        step()


def in_background(function):
    threading.Thread(target=function, daemon=True).start()


def everything(method, of, **params):
    """All pages of a list."""
    page = call(method, limit=1000, **params)
    assert page["next_cursor"] is None
    return page[of]


def kept_at():
    """When what the registry had been told by then went to the disk."""
    return (STATE / "control/registry.db").stat().st_mtime


def names(folder):
    return {path.name for path in (STATE / folder).iterdir()}


class Power(unittest.TestCase):
    def begin(self):
        """A session that has a volume of each kind, and writes to them from now on."""
        call("session.create", template="keeper", owner="ada", id="alive", env={"BOOT": str(BOOT)},
             command=["/bin/sh", "-c", WRITER])
        self.created_at = time.time()

    def cut_amid(self, begin, is_under_way, known):
        """Has BEGIN run in the background, and cuts the power when IS_UNDER_WAY; KNOWN is what the next boot is told."""
        def written():
            said = "".join(entry["text"] for entry in call("session.logs", session="alive")["entries"]).split()
            return int(said[-1]) if said and kept_at() > self.created_at else None

        def cut():
            known["synced"] = {**remembered().get("synced", {}), BOOT: wait_until(written, 4, "the session's record")}
            known["event"] = call("events.subscribe")["last"]
            in_background(begin)
            wait_until(is_under_way, 4, "what is to be cut")
            remember(known)
            termios.tcdrain(1)
            pathlib.Path("/proc/sysrq-trigger").write_text("b")
            signal.pause()

        AFTERWARDS.append(cut)

    def look(self):
        """After a cut: nothing is left that is not to be, and nothing is gone that was to stay."""
        # What this guest does not do as it boots.
        run("/usr/lib/systemd/systemd-modules-load")
        run("systemctl", "start", "carrel.target")
        wait_until(lambda: all(prop(unit, "ActiveState") == "active" for unit in UNITS), 4, "the units")
        sessions = {s["id"]: s for s in everything("session.list", "sessions")}
        known = remembered()
        self.assertEqual({id: (s["state"], s["end"]["reason"]) for id, s in sessions.items() if not id.startswith("brief")},
                         {id: ("ended", "host-restart") for id in sessions if not id.startswith("brief")})
        self.assertLessEqual({"alive", *known.get("sessions", [])}, set(sessions))
        self.assertGreater(call("events.subscribe")["last"], known["event"])
        call("session.remove", session="alive")
        self.assertEqual(list(CGROUP.glob("*/")), [])
        self.begin()

        self.assertEqual(run("systemctl", "--failed", "--plain", "--no-legend").stdout, "")
        # But what the check says as carreld starts: images that nobody has built, and what an old kernel lacks.
        warnings = run("journalctl", "-b", "-q", "-o", "cat", "-p", "warning", "-u", "carrel*").stdout.splitlines()
        self.assertEqual([line for line in warnings if not line.startswith(("template", "tmpfs:"))], [])
        self.assertNotIn("EXT4-fs error", run("dmesg").stdout)
        self.assertEqual(unexpected_items(), set())
        self.assertLessEqual(names("control"), {"registry.db", "registry.db-wal"})
        self.assertEqual(names("images"), {"minimal.json"})
        self.assertLessEqual(names("rootfs"), {"minimal", ".scratch", ".lock"})
        self.assertEqual(os.listdir("/run/carrel/sessions"), ["alive"])
        self.look_at_volumes(known)

    def look_at_volumes(self, known):
        volumes = [v for v in everything("volume.list", "volumes") if v["state"] != "removing"]
        owners = {v["owner"] for v in volumes}
        self.assertNotIn(None, owners)
        self.assertLessEqual({"ada", *known.get("owners", [])}, owners)
        self.assertFalse(set(known.get("former_owners", [])) & owners)
        # But one that was not yet made, of which nothing was said.
        self.assertEqual(names("volumes") - {".new"}, {v["name"] for v in volumes})
        wait_until(lambda: not names("removed"), 4, "what is left of removed volumes")
        self.assertEqual({v["owner"] for v in volumes if v["state"] == "in-use"}, {"ada"})
        said = call("exec.run", session="alive", command=["/bin/sh", "-c", READER])["stdout"].splitlines()
        synced = {f"/{volume}/synced-{boot}-{n} {boot}-{n} 1000" for volume in ("data", "sized")
                  for boot, last in known["synced"].items() for n in range(1, last + 1)}
        self.assertLessEqual(synced, set(said))

    @unittest.skipUnless(BOOT == 1, "another boot")
    def test_1_cut_while_sessions_come_and_go(self):
        install("0.1.0")
        TEMPLATE.write_text(json.dumps({**json.loads(TEMPLATE.with_name("minimal.json").read_text()), "volumes": VOLUMES}))
        run("carrel", "image", "build", "minimal")
        # A file that has just been written, and not synced, is empty after a cut.
        os.sync()
        run("systemctl", "restart", "carreld.service", "carrel-control.service")
        self.begin()
        made, known = [], {"sessions": [], "owners": [], "former_owners": []}

        def create():
            client = Client(API)
            for n in itertools.count():
                client.call("session.create", template="minimal", id=f"many-{n}")
                made.append((f"many-{n}", time.time()))

        def come_and_go():
            client = Client(API)
            in_background(create)
            for n in itertools.count():
                volumes, owners = (("keep", "owners"), ("remove", "former_owners"))[n % 2]
                client.call("session.create", template="keeper", owner=f"owner-{n}", id=f"brief-{n}")
                client.call("session.remove", session=f"brief-{n}", volumes=volumes)
                known[owners].append(f"owner-{n}")

        def some_are_kept():
            known["sessions"] = [id for id, at in made if at < kept_at()]
            return known["sessions"] and len(made) > len(known["sessions"]) and len(known["former_owners"]) >= 2

        self.cut_amid(come_and_go, some_are_kept, known)

    @unittest.skipUnless(BOOT == 2, "another boot")
    def test_2_cut_while_an_image_is_built(self):
        self.look()
        self.cut_amid(lambda: run("carrel", "image", "build", "minimal", "--force"),
                      lambda: list((STATE / "rootfs").glob(".new-minimal-*/0/usr/bin/busybox")), {})

    @unittest.skipUnless(BOOT == 3, "another boot")
    def test_3_cut_while_the_package_is_unpacked(self):
        self.look()
        self.cut_amid(lambda: install("0.1.1"), pathlib.Path("/usr/sbin/carreld.dpkg-new").exists, {})

    @unittest.skipUnless(BOOT == 4, "another boot")
    def test_4_cut_while_the_package_is_configured(self):
        self.look()
        run("dpkg", "--configure", "--pending")
        log = pathlib.Path("/var/log/dpkg.log")
        before = log.stat().st_size
        self.cut_amid(lambda: install("0.1.1"), lambda: b"half-configured carrel:amd64 0.1.1" in log.read_bytes()[before:], {})

    @unittest.skipUnless(BOOT == 5, "another boot")
    def test_5_after_all_cuts(self):
        self.look()
        run("dpkg", "--configure", "--pending")
        self.assertEqual(run("dpkg", "--audit").stdout, "")
        self.assertEqual(list(pathlib.Path("/usr").glob("*/carrel*.dpkg-new")), [])
        self.assertEqual(call("hello")["version"], "0.1.1")
        self.assertEqual(call("session.get", session="alive")["state"], "ready")
