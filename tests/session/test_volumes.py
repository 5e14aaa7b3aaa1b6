# SPDX-License-Identifier: Apache-2.0
"""Volumes: kept, shared by nobody, removed whole; what a hostile session puts there hurts nobody."""

import fcntl
import json
import os
import pathlib
import signal
import stat
import struct
import unittest

from carrel_host import Host, RpcError, own_network, snapshot, wait_until

DATA = {"path": "/data", "uid": 1000, "gid": 1000, "mode": "0700"}
PLACES = [DATA, {"path": "/own", "name": "own-{owner_hash}"}, {"path": "/scratch", "name": "scratch-{session}", "persistent": False}]

FS_IOC_SETFLAGS, FS_IMMUTABLE_FL = 0x40086602, 0x10


def setUpModule():
    own_network()


class Volumes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.host = Host(config={"client_limits": {"max_volumes_per_owner": 3, "max_volumes": 12}})
        template = cls.host.template("minimal")
        cls.host.write_template("with", {**template, "volumes": PLACES})
        able = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "MKNOD", "SETGID", "SETUID"]
        cls.host.write_template("able", {**template, "volumes": PLACES, "capabilities": able})
        cls.host.write_template("always", {**template, "volumes": [{"path": "/own", "name": "own-{owner_hash}", "use": "always"}]})
        cls.host.start()

    @classmethod
    def tearDownClass(cls):
        cls.host.close()

    def setUp(self):
        self.client = self.host.client()
        self.addCleanup(self.remove_all)

    def remove_all(self):
        self.host.remove_all()
        wait_until(lambda: self.client.call("volume.list")["volumes"] == [], what="no volume")
        wait_until(lambda: self.on_disk("removed") == [], what="no file of a removed volume")
        self.assertEqual(self.on_disk("volumes"), [])

    def on_disk(self, where="volumes"):
        return sorted(os.listdir(self.host.state_dir / where))

    def create(self, *volumes, template="with", **params):
        return self.client.call("session.create", template=template, volumes=[dict(v) for v in volumes], **params)

    def run_in(self, session, command, user=None):
        params = {"user": user} if user else {}
        result = self.client.call("exec.run", session=session["id"], command=["/bin/sh", "-c", command], **params)
        return result["stdout"] + result["stderr"]

    def refuses(self, kind, path, call, *args, **params):
        with self.assertRaises(RpcError) as caught:
            call(*args, **params)
        self.assertEqual((caught.exception.kind, caught.exception.data.get("path")), (kind, path), caught.exception)
        return caught.exception

    # ---- what is kept

    def test_files_outlive_the_session_with_their_owners(self):
        first = self.create({"path": "/data", "name": "one"})
        self.assertEqual(first["volumes"], [{"name": "one", "path": "/data", "persistent": True}])
        self.assertEqual(self.run_in(first, "stat -c '%a %u %g' /data; echo kept >/data/file; ls -ln /data | tail -1", user="1000:1000").split()[:3],
                         ["700", "1000", "1000"])
        self.client.call("session.stop", session=first["id"])
        second = self.create({"path": "/data", "name": "one"})
        self.assertNotEqual(second["address"], first["address"])  # another slot, other ids on the host
        self.assertEqual(self.run_in(second, "cat /data/file; stat -c '%u %g' /data/file", user="1000:1000").split(), ["kept", "1000", "1000"])

    def test_names_of_the_template(self):
        session = self.create({"path": "/own"}, {"path": "/scratch"}, owner="ann", id="s1")
        names = {v["path"]: (v["name"], v["persistent"]) for v in session["volumes"]}
        self.assertEqual(names, {"/own": (f"own-{session['owner_hash']}", True), "/scratch": ("scratch-s1", False)})
        self.client.call("session.remove", session="s1")
        wait_until(lambda: self.on_disk() == [f"own-{session['owner_hash']}"], what="the session's own is gone")
        kept = self.client.call("volume.get", volume=f"own-{session['owner_hash']}")
        self.assertEqual((kept["owner"], kept["state"], kept["session"]), ("ann", "free", None))
        always = self.create(template="always", owner="ann")
        self.assertEqual([v["name"] for v in always["volumes"]], [f"own-{session['owner_hash']}"])

    def test_kept_or_removed_by_request(self):
        for name, first, fate, left in (("a", True, None, ["a"]), ("b", True, "remove", []), ("c", False, None, []), ("d", False, "keep", ["d"])):
            with self.subTest(name):
                session = self.create({"path": "/data", "name": name, "persistent": first})
                self.client.call("session.remove", session=session["id"], **({"volumes": fate} if fate else {}))
                wait_until(lambda: self.on_disk() == left, what=f"{left} is left")
                self.remove_all()

    def test_removed_after_the_session_ended(self):
        session = self.create({"path": "/data", "name": "late"})
        self.client.call("session.stop", session=session["id"])
        self.assertEqual(self.on_disk(), ["late"])
        self.client.call("session.remove", session=session["id"], volumes="remove")
        wait_until(lambda: self.on_disk() == [], what="removed")

    def test_a_session_that_never_began_leaves_no_volume(self):
        with self.assertRaises(RpcError):
            self.create({"path": "/data", "name": "never"}, command=["/no/such/program"])
        wait_until(lambda: self.client.call("volume.list")["volumes"] == [], what="no volume")
        self.assertEqual(self.on_disk(), [])

    # ---- who may have one

    def test_one_session_at_a_time(self):
        holder = self.create({"path": "/data", "name": "busy"}, id="holder")
        self.assertEqual(self.client.call("volume.get", volume="busy")["session"], "holder")
        error = self.refuses("conflict", "volumes[0].name", self.create, {"path": "/data", "name": "busy"})
        self.assertEqual(error.data["session"], "holder")
        error = self.refuses("conflict", "volume", self.client.call, "volume.remove", volume="busy")
        self.assertEqual(error.data["session"], "holder")
        self.client.call("session.stop", session=holder["id"])
        self.create({"path": "/data", "name": "busy"})

    def test_of_another_owner(self):
        self.client.call("session.remove", session=self.create({"path": "/data", "name": "hers"}, owner="ann")["id"])
        self.refuses("denied", "volumes[0].name", self.create, {"path": "/data", "name": "hers"}, owner="bob")
        self.create({"path": "/data", "name": "hers"}, owner="ann")

    def test_what_is_refused(self):
        cases = [
            ("volumes[0].path", [{"path": "/etc", "name": "x"}]),
            ("volumes[0].path", [{"path": "data", "name": "x"}]),
            ("volumes[0].path", [{"name": "x"}]),
            ("volumes[0].name", [{"path": "/data"}]),
            ("volumes[0].name", [{"path": "/data", "name": "../x"}]),
            ("volumes[0].name", [{"path": "/data", "name": ""}]),
            ("volumes[0].size", [{"path": "/data", "name": "x", "size": 1}]),
            ("volumes[0].persistent", [{"path": "/data", "name": "x", "persistent": 1}]),
            ("volumes[0]", ["x"]),
            ("volumes", [{"path": "/data", "name": "x"}] * 5),
            ("volumes[1].path", [{"path": "/data", "name": "x"}, {"path": "/data", "name": "y"}]),
            ("volumes[1].name", [{"path": "/data", "name": "x"}, {"path": "/scratch", "name": "x"}]),
            ("owner", [{"path": "/own"}]),
        ]
        for path, volumes in cases:
            with self.subTest(volumes):
                with self.assertRaises(RpcError) as caught:
                    self.client.call("session.create", template="with", volumes=volumes)
                self.assertEqual((caught.exception.code, caught.exception.data.get("path")), (-32602, path), caught.exception)
        self.assertEqual(self.on_disk(), [])

    def test_limits(self):
        for i in range(3):
            self.client.call("session.remove", session=self.create({"path": "/data", "name": f"v{i}"}, owner="ann")["id"])
        error = self.refuses("limit", "volumes[0].name", self.create, {"path": "/data", "name": "v3"}, owner="ann")
        self.assertIn("max_volumes_per_owner", str(error))
        for i in range(3, 12):
            self.client.call("session.remove", session=self.create({"path": "/data", "name": f"v{i}"}, owner=f"o{i // 3}")["id"])
        error = self.refuses("limit", "volumes[0].name", self.create, {"path": "/data", "name": "v12"}, owner="zoe")
        self.assertIn("client_limits.max_volumes)", str(error))
        page = self.client.call("volume.list", limit=5)
        names = [v["name"] for v in page["volumes"]]
        while page["next_cursor"]:
            page = self.client.call("volume.list", limit=5, cursor=page["next_cursor"])
            names += [v["name"] for v in page["volumes"]]
        self.assertEqual(names, sorted(f"v{i}" for i in range(12)))
        self.assertEqual([v["name"] for v in self.client.call("volume.list", owner="ann")["volumes"]], ["v0", "v1", "v2"])

    def test_events(self):
        last = self.client.call("events.subscribe", kinds=["volume.*"])["last"]
        session = self.create({"path": "/data", "name": "told"}, owner="ann", id="teller")
        self.client.call("session.remove", session=session["id"], volumes="remove")
        wait_until(lambda: self.client.call("volume.list")["volumes"] == [], what="gone")
        events = [n["params"] for n in self.client.notifications if n["method"] == "event" and n["params"]["seq"] > last]
        self.assertEqual([(e["kind"], e["volume"], e["session"], e["owner"]) for e in events],
                         [("volume.created", "told", "teller", "ann"), ("volume.released", "told", "teller", "ann"),
                          ("volume.removed", "told", None, "ann")])

    # ---- a hostile session's volume

    def test_mount_flags(self):
        session = self.create({"path": "/data", "name": "flags"})
        line = self.run_in(session, "grep ' /data ' /proc/self/mountinfo").split()
        self.assertLessEqual({"nosuid", "nodev"}, set(line[5].split(",")))
        self.assertNotIn(self.host.name, " ".join(line[4:]))

    def test_hostile_files(self):
        marker = self.host.dir / "marker"
        marker.write_text("untouched")
        session = self.create({"path": "/data", "name": "evil"}, template="able")
        self.run_in(session, f"""cd /data
            mkdir bin; cp /bin/busybox bin/id; ln bin/id suid; chmod 6755 suid
            mknod null c 1 3; mknod disk b 8 0; mkfifo pipe
            ln -s {marker} link; ln -s / root; ln -s ../../../../../../../../etc up; ln suid hard
            mkdir sticky; chmod 1777 sticky; touch sticky/theirs; chown 7:7 sticky/theirs sticky
            mkdir shut; touch shut/in; chmod 0 shut; chown 9 shut
            d=.; i=0; while [ $i -lt 300 ]; do mkdir deep; cd deep; touch f; i=$((i+1)); done
            cd /data; i=0; while [ $i -lt 500 ]; do : >file$i; i=$((i+1)); done""")
        at = self.host.state_dir / "volumes/evil"
        self.assertEqual(stat.S_IMODE((self.host.state_dir / "volumes").stat().st_mode), 0o700)
        kinds = {p.name: stat.S_IFMT(p.lstat().st_mode) for p in at.iterdir()}
        self.assertFalse({stat.S_IFCHR, stat.S_IFBLK} & set(kinds.values()), kinds)
        # Root never follows what is in there: the next session sees links as its own.
        self.client.call("session.stop", session=session["id"])
        session = self.create({"path": "/data", "name": "evil"}, template="able")
        self.assertIn("No such file", self.run_in(session, "cat /data/link"))
        self.assertEqual(self.run_in(session, "chmod 711 /data").strip(), "")
        self.assertEqual(self.run_in(session, "/data/bin/id -u", user="1000:1000").strip(), "1000")
        self.client.call("session.remove", session=session["id"], volumes="remove")
        wait_until(lambda: self.on_disk() == [] and self.on_disk("removed") == [], what="all of it deleted")
        self.assertEqual(marker.read_text(), "untouched")
        self.assertTrue(os.path.isdir("/etc"))

    def test_the_root_of_a_volume_replaced(self):
        """A session owns the root of its volume, but not its name; what it does there is done inside."""
        session = self.create({"path": "/data", "name": "swap"}, template="able")
        out = self.run_in(session, "rmdir /data; mv /data /x; chmod 000 /data; chown 5:5 /data; echo done")
        self.assertIn("done", out)
        self.client.call("session.stop", session=session["id"])
        again = self.create({"path": "/data", "name": "swap"}, template="able")
        self.assertEqual(self.run_in(again, "stat -c '%a %u' /data").split(), ["0", "5"])

    def test_what_cannot_be_deleted_is_tried_again(self):
        session = self.create({"path": "/data", "name": "sticky"})
        self.assertEqual(self.run_in(session, "mkdir /data/d; : >/data/d/kept; : >/data/gone", user="1000:1000"), "")

        def immutable(path, on):
            fd = os.open(path, os.O_RDONLY)
            fcntl.ioctl(fd, FS_IOC_SETFLAGS, struct.pack("l", FS_IMMUTABLE_FL if on else 0))
            os.close(fd)

        self.addCleanup(lambda: [immutable(p, False) for p in self.host.state_dir.rglob("kept")])
        immutable(self.host.state_dir / "volumes/sticky/d/kept", True)
        self.client.call("session.remove", session=session["id"], volumes="remove")
        wait_until(lambda: "not deleted yet" in self.host.log(), what="word of it")
        self.assertEqual(self.client.call("volume.list")["volumes"], [])
        kept = list((self.host.state_dir / "removed").rglob("kept"))
        self.assertEqual(len(kept), 1)
        immutable(kept[0], False)
        # Nobody asks for anything.
        wait_until(lambda: self.on_disk("removed") == [], 20, "deleted")

    def test_what_deletes_has_no_privilege(self):
        session = self.create({"path": "/data", "name": "many"})
        files = "for d in a b c d e f g h; do mkdir $d; i=0; while [ $i -lt 900 ]; do : >$d/$i; i=$((i+1)); done; done"
        self.assertEqual(self.run_in(session, f"cd /data; {files}", user="1000:1000"), "")
        self.client.call("session.remove", session=session["id"])
        request = self.client.send("volume.remove", volume="many")
        seen = set()

        def look():
            for pid in pathlib.Path(f"/proc/{self.host.process.pid}/task/{self.host.process.pid}/children").read_text().split():
                try:
                    text = pathlib.Path(f"/proc/{pid}/status").read_text()
                except OSError:
                    continue
                if "Name:\tcarreld" in text:
                    uid = text.split("Uid:\t")[1].split()[0]
                    fds = sorted(os.listdir(f"/proc/{pid}/fd")) if os.path.exists(f"/proc/{pid}/fd") else []
                    seen.add((uid, tuple(fds)))
            return self.on_disk("removed") == [] and self.on_disk() == []

        wait_until(look, what="deleted")
        self.client.answer(request)
        uids = {uid for uid, _ in seen} - {"0"}  # 0 is before it has become another
        self.assertEqual(uids, {"2147352576"})


class Survival(unittest.TestCase):
    def setUp(self):
        self.host = Host()
        self.host.write_template("with", {**self.host.template("minimal"), "volumes": PLACES})
        self.host.start()
        self.client = self.host.client()

    def tearDown(self):
        self.host.close()

    def create(self, name="v", **params):
        return self.client.call("session.create", template="with", volumes=[{"path": "/data", "name": name, **params}], id=f"s-{name}")

    def restart(self, control=True, supervisor=True):
        process, pid = self.host.process, self.host.control_pid()
        if supervisor:
            process.kill()
        if control:
            os.kill(pid, signal.SIGKILL)
        if supervisor:
            process.wait(10)
            self.host.start()

        def answers():
            try:
                self.client = self.host.client()
                return self.client.call("system.health")
            except OSError:
                return False

        wait_until(answers, what="API")

    def test_the_living_hold_theirs(self):
        for control, supervisor in ((True, False), (True, True)):
            with self.subTest(supervisor=supervisor):
                name = f"v{int(supervisor)}"
                self.create(name)
                self.restart(control, supervisor)
                self.assertEqual(self.client.call("volume.get", volume=name)["session"], f"s-{name}")
                with self.assertRaises(RpcError) as caught:
                    self.client.call("session.create", template="with", volumes=[{"path": "/data", "name": name}])
                self.assertEqual(caught.exception.kind, "conflict")
                self.client.call("session.remove", session=f"s-{name}")
                self.assertEqual(self.client.call("volume.get", volume=name)["state"], "free")

    def test_the_dead_hold_nothing(self):
        self.create("v")
        self.create("t", persistent=False)
        process, control, inits = self.host.process, self.host.control_pid(), self.host.init_pids()
        process.kill()
        os.kill(control, signal.SIGKILL)
        for pid in inits:
            os.kill(pid, signal.SIGKILL)
        process.wait(10)
        self.host.start()
        self.client = self.host.client()
        wait_until(lambda: [v["state"] for v in self.client.call("volume.list")["volumes"]] == ["free"], what="free")
        self.assertEqual(self.client.call("session.get", session="s-v")["state"], "ended")
        wait_until(lambda: os.listdir(self.host.state_dir / "volumes") == ["v"], what="the session's own is gone")

    def test_a_lost_registry_gives_nobody_anothers_volume(self):
        hers = self.client.call("session.create", template="with", owner="ann", volumes=[{"path": "/own"}])
        name = hers["volumes"][0]["name"]
        self.client.call("session.remove", session=hers["id"])
        self.host.stop()
        for file in (self.host.state_dir / "control").glob("registry.db*"):
            file.unlink()
        self.host.start()
        self.client = self.host.client()
        found = self.client.call("volume.get", volume=name)
        self.assertEqual((found["owner"], found["state"]), (None, "free"))
        again = self.client.call("session.create", template="with", owner="ann", volumes=[{"path": "/own"}])
        self.assertEqual(again["volumes"][0]["name"], name)
        self.assertEqual(self.client.call("volume.get", volume=name)["owner"], "ann")

    def test_deletion_goes_on_after_a_crash(self):
        session = self.create("v")
        made = self.client.call("exec.run", session=session["id"], command=["/bin/sh", "-c",
            "cd /data; for d in a b c d; do mkdir $d; i=0; while [ $i -lt 2000 ]; do : >$d/$i; i=$((i+1)); done; done; ls a | wc -l"], user="1000:1000")
        self.assertEqual((made["stdout"], made["stderr"]), ("2000\n", ""))
        self.client.call("session.remove", session=session["id"])
        self.client.call("volume.remove", volume="v")
        self.restart()
        wait_until(lambda: os.listdir(self.host.state_dir / "removed") == [], what="deleted")
        self.assertEqual(self.client.call("volume.list")["volumes"], [])


if __name__ == "__main__":
    unittest.main()
