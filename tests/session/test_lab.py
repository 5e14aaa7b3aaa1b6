# SPDX-License-Identifier: Apache-2.0
"""A lab runner's day: everything that a service which lends Docker to learners asks of carrel, in its own order."""

import datetime
import json
import re
import socket
import time
import unittest
import urllib.request

from carrel_dind import MAKE_BUSYBOX, DindHost
from carrel_host import ROOT, RpcError, own_network, scaled, wait_until


def setUpModule():
    own_network()


def seconds(text):
    return datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%f%z").timestamp()


def lifetime(session):
    return seconds(session["expires_at"]) - seconds(session["created_at"])


def reaches(address, port):
    try:
        with socket.create_connection((address, port), 2):
            return True
    except OSError:
        return False


class Lab(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.host = DindHost(config={"max_sessions": 4})
        cls.addClassCleanup(cls.host.close)
        cls.host.start()
        cls.client = cls.host.client()
        cls.session = cls.client.call("session.create", template="dind", id="lab-7", ttl_seconds=1200)
        cls.shell(MAKE_BUSYBOX)

    @classmethod
    def shell(cls, script):
        result = cls.client.call("exec.run", session="lab-7", command=["bash", "-c", script], timeout_seconds=60)
        assert result["exit_code"] == 0, result
        return result["stdout"]

    def call(self, method, **params):
        return self.client.call(method, session="lab-7", **params)

    def refused(self, kind, path, method, **params):
        """Refused with this kind of error, which names the member that is to blame."""
        with self.subTest(method=method, **params):
            with self.assertRaises(RpcError) as caught:
                self.call(method, **params)
            self.assertEqual((caught.exception.kind, caught.exception.data.get("path")), (kind, path), caught.exception)
            self.assertIs(caught.exception.data["retryable"], False)

    # ---- sessions

    def test_create_get_and_delete(self):
        self.assertEqual((self.session["id"], self.session["state"], self.session["hostname"]), ("lab-7", "ready", "lab-7"))
        self.assertEqual(lifetime(self.session), 1200)
        got = self.call("session.get")
        self.assertEqual([got[member] for member in ("created_at", "expires_at")], [self.session[member] for member in ("created_at", "expires_at")])
        self.assertIn("lab-7", [s["id"] for s in self.client.call("session.list", template="dind")["sessions"]])
        short = self.client.call("session.create", template="dind", id="short")
        self.assertEqual(lifetime(short), 1800, "the template's")
        self.neighbours_do_not_meet(short)
        removed = self.client.call("session.remove", session="short")
        self.assertEqual(removed["id"], "short")
        with self.assertRaises(RpcError) as caught:
            self.client.call("session.get", session="short")
        self.assertEqual(caught.exception.kind, "not_found")

    def neighbours_do_not_meet(self, short):
        """A container of the one serves on all addresses; the other has no way to it, as itself or from a container."""
        self.call("docker.run", image="busybox", name="listener", ports=["9000:9000"], detach=True,
                  command=["httpd", "-f", "-p", "9000", "-h", "/"])
        self.addCleanup(self.call, "docker.stop", container_name="listener", timeout=0, remove=True)
        wait_until(lambda: reaches(self.session["address"], 9000), 20, "the listener")
        look = f"nc -z -w 2 {self.session['address']} 9000 && echo reached"
        prepared = self.client.call("exec.run", session="short", command=["bash", "-c", MAKE_BUSYBOX], timeout_seconds=60)
        self.assertEqual(prepared["exit_code"], 0, prepared)
        for way in (["busybox", "sh", "-c", look], ["docker", "run", "--rm", "busybox", "sh", "-c", look],
                    ["docker", "run", "--rm", "--network", "host", "busybox", "sh", "-c", look]):
            tried = self.client.call("exec.run", session="short", command=way, timeout_seconds=60)
            self.assertEqual((tried["stdout"], tried["exit_code"]), ("", 1), f"{way}: {tried}")
        self.assertEqual(short["state"], "ready")

    def test_time_that_is_over(self):
        self.client.call("session.create", template="dind", id="brief")
        self.client.call("session.extend", session="brief", ttl_seconds=0.5)
        ended = self.client.call("session.wait", session="brief", timeout_seconds=30, **{"for": "ended"})
        self.assertEqual((ended["end"]["reason"], ended["expires_at"]), ("expired", None))
        self.assertLess(abs(seconds(ended["end"]["at"]) - time.time()), scaled(5))

    def test_defaults_of_the_installed_template(self):
        installed = json.loads((ROOT / "etc/carrel/templates.d/dind.json").read_text())
        self.assertEqual((installed["limits"]["memory_bytes"], installed["limits"]["cpus"], installed["ttl_seconds"]),
                         (1536 << 20, 1.0, 1800))
        self.assertEqual([self.session["limits"][name]["value"] for name in ("memory_bytes", "cpus")], [1536 << 20, 1.0])

    def test_what_sessions_are_not(self):
        for params, path in (({"id": "lab-7"}, "id"), ({"ttl_seconds": 0}, "ttl_seconds"), ({"ttl_seconds": -5}, "ttl_seconds"), ({"ttl_seconds": "60"}, "ttl_seconds"),
                             ({"ttl_seconds": 1e12}, "ttl_seconds"), ({"template": "windows"}, "template"), ({"size": 1}, "size")):
            with self.subTest(**params), self.assertRaises(RpcError) as caught:
                self.client.call("session.create", **{"template": "dind", **params})
            self.assertEqual(caught.exception.data["path"], path)
        for method in ("session.get", "session.remove", "docker.ps", "docker.images"):
            with self.subTest(method), self.assertRaises(RpcError) as caught:
                self.client.call(method, session="nobodys")
            self.assertEqual(caught.exception.kind, "not_found")

    # ---- Docker

    def test_build_run_and_stop(self):
        self.call("file.write", path="/workspace/app/Dockerfile", create_parents=True,
                  content="FROM busybox\nARG WHAT=nothing\nCOPY index.html /www/\nRUN echo $WHAT >> /www/index.html\nCMD httpd -f -p 8080 -h /www\n")
        self.call("file.write", path="/workspace/app/index.html", content="from the lab\n")
        built = self.call("docker.build", context_path="/workspace/app", dockerfile_path="Dockerfile", image_tag="app:1", build_args={"WHAT": "built"})
        self.assertEqual(sorted(built), ["dropped_bytes", "image_id", "image_tag", "logs", "metrics", "truncated"])
        self.assertEqual((built["image_tag"], built["logs"][0], built["logs"][-1]), ("app:1", "Step 1/5 : FROM busybox", "Successfully tagged app:1"))
        self.assertRegex(built["image_id"], "^sha256:[0-9a-f]{64}$")
        self.assertEqual(sorted(built["metrics"]), ["elapsed_seconds", "image_size_mb"])
        self.assertGreater(built["metrics"]["image_size_mb"], 1)
        self.assertGreater(built["metrics"]["elapsed_seconds"], 0)
        image = next(i for i in self.call("docker.images")["images"] if i["tags"] == ["app:1"])
        self.assertEqual(sorted(image), ["created_at_unix", "image_id", "size_bytes", "tags"])
        self.assertEqual((image["image_id"], image["size_bytes"] / 1e6), (built["image_id"], built["metrics"]["image_size_mb"]))
        ran = self.call("docker.run", image="app:1", name="web", ports=["8080:8080"], detach=True, auto_remove=False)
        self.assertEqual(ran["container_name"], "web")
        self.assertRegex(ran["container_id"], "^[0-9a-f]{64}$")
        url = f"http://{self.session['address']}:8080/"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

        def page():
            try:
                return opener.open(url, timeout=5).read()
            except OSError:
                return None

        self.assertEqual(wait_until(page, 20, url), b"from the lab\nbuilt\n")
        self.a_port_that_is_taken()
        listed = next(c for c in self.call("docker.ps")["containers"] if c["container_name"] == "web")
        self.assertEqual(sorted(listed), ["command", "container_id", "container_name", "created_at_unix", "image", "ports", "state", "status"])
        self.assertEqual((listed["container_id"], listed["image"], listed["state"]), (ran["container_id"], "app:1", "running"))
        stopped = self.call("docker.stop", container_name="web", timeout=1, remove=True)
        self.assertEqual(stopped, {"container_name": "web", "stopped": True, "removed": True})
        self.assertNotIn("web", json.dumps(self.call("docker.ps", all=True)))

    def a_port_that_is_taken(self):
        self.refused("conflict", "ports", "docker.run", image="busybox", command=["true"], name="late", ports=["8080:80"])
        self.refused("conflict", "name", "docker.run", image="busybox", command=["true"], name="web")
        wait_until(lambda: "late" not in json.dumps(self.call("docker.ps", all=True)), 20, "nothing left of it")

    def test_run_to_the_end(self):
        ran = self.call("docker.run", image="busybox", command=["sh", "-c", "echo $WORD; exit 3"], env={"WORD": "a $HOME"}, auto_remove=True)
        self.assertEqual((ran["exit_code"], ran["logs"], ran["truncated"]), (3, ["a $HOME"], False))
        self.assertNotIn(ran["container_id"], json.dumps(self.call("docker.ps", all=True)))
        gone = self.call("docker.run", image="busybox", command=["true"], detach=True, auto_remove=True)
        wait_until(lambda: gone["container_id"] not in json.dumps(self.call("docker.ps", all=True)), 20, "its removal")

    def test_stop_with_and_without_grace(self):
        for timeout, trap, status in ((30, "exit 5", "Exited (5)"), (0, "", "Exited (137)")):
            ran = self.call("docker.run", image="busybox", detach=True,
                            command=["sh", "-c", f"trap '{trap}' TERM; echo set; while :; do sleep 0.1; done"])
            wait_until(lambda: self.shell(f"docker logs {ran['container_id']}") == "set\n", 20, "the trap")
            # By its id, and it stays unless it is to be removed.
            stopped = self.call("docker.stop", container_name=ran["container_id"][:12], timeout=timeout)
            self.assertEqual((stopped["stopped"], stopped["removed"]), (True, False))
            listed = next(c for c in self.call("docker.ps", all=True)["containers"] if c["container_id"] == ran["container_id"])
            self.assertEqual((listed["state"], listed["status"].startswith(status)), ("exited", True), listed)
            # Of one that has stopped it is no error.
            self.assertTrue(self.call("docker.stop", container_name=ran["container_id"], remove=True)["removed"])

    def test_what_docker_is_not_asked(self):
        self.shell("mkdir -p /workspace/odd; cd /workspace/odd; echo FROM busybox > Dockerfile; echo NONSENSE > Broken; touch Empty")
        build = {"context_path": "odd", "image_tag": "odd"}
        for kind, path, changed in (
                ("invalid_params", "context_path", {"context_path": 5}), ("invalid_params", "context_path", {"context_path": ""}),
                ("not_found", "context_path", {"context_path": "/nowhere"}), ("failed", "context_path", {"context_path": "odd/Empty"}),
                ("not_found", "dockerfile_path", {"dockerfile_path": "None"}), ("invalid_params", "dockerfile_path", {"dockerfile_path": "../odd/Dockerfile"}),
                ("failed", "dockerfile_path", {"dockerfile_path": "Broken"}), ("failed", "dockerfile_path", {"dockerfile_path": "Empty"}),
                ("invalid_params", "image_tag", {"image_tag": "Upper"}), ("invalid_params", "image_tag", {"image_tag": "a:b:c"}),
                ("invalid_params", "image_tag", {"image_tag": "x" * 256}), ("invalid_params", "image_tag", {"image_tag": ["odd"]}),
                ("invalid_params", "build_args", {"build_args": ["A=1"]}), ("invalid_params", "build_args.A", {"build_args": {"A": 1}}),
                ("invalid_params", "build_args", {"build_args": {f"A{i}": "v" * 250 for i in range(40)}}),
                ("invalid_params", "timeout_seconds", {"timeout_seconds": -1}), ("invalid_params", "pull", {"pull": True})):
            self.refused(kind, path, "docker.build", **{**build, **changed})
        run = {"image": "busybox", "command": ["true"]}
        for kind, path, changed in (
                ("not_found", "image", {"image": "nowhere:1"}), ("invalid_params", "image", {"image": "Upper"}), ("invalid_params", "image", {"image": ""}),
                ("invalid_params", "command", {"command": "true"}), ("invalid_params", "command", {"command": []}), ("failed", "command", {"command": ["/no/such"]}),
                ("invalid_params", "command[1]", {"command": ["echo", 1]}), ("invalid_params", "name", {"name": "a"}), ("invalid_params", "name", {"name": "a/b"}),
                ("invalid_params", "ports", {"ports": "80:80"}), ("invalid_params", "ports[0]", {"ports": [80]}), ("invalid_params", "ports[1]", {"ports": ["80", "99999:80"]}),
                ("conflict", "ports", {"ports": ["7000:70", "7000:71"]}), ("invalid_params", "env.A=B", {"env": {"A=B": "c"}}), ("invalid_params", "env.A", {"env": {"A": 1}}),
                ("invalid_params", "detach", {"detach": "yes"}), ("invalid_params", "auto_remove", {"auto_remove": 1}), ("invalid_params", "privileged", {"privileged": True})):
            self.refused(kind, path, "docker.run", **{**run, **changed})
        for kind, path, changed in (
                ("not_found", "container_name", {"container_name": "nobody"}), ("invalid_params", "container_name", {"container_name": "../images"}),
                ("invalid_params", "timeout", {"timeout": -1}), ("invalid_params", "timeout", {"timeout": 3601}), ("invalid_params", "timeout", {"timeout": 1.5}),
                ("invalid_params", "remove", {"remove": "yes"})):
            self.refused(kind, path, "docker.stop", **{"container_name": "nobody", **changed})

    # ---- commands, files, terminals

    def test_exec(self):
        ran = self.call("exec.run", command=["sh", "-c", "pwd; echo to the other >&2; exit 3"], cwd="/tmp")
        self.assertEqual((ran["exit_code"], ran["signal"]), (3, None))
        self.assertEqual(sorted(ran["logs"]), ["/tmp", "to the other"])
        self.assertEqual(self.call("exec.run", command=["pwd"])["logs"], ["/workspace"])
        self.refused("invalid_params", "cwd", "exec.run", command=["pwd"], cwd="workspace")
        self.refused("invalid_params", "command", "exec.run", command="pwd")
        self.refused("failed", None, "exec.run", command=["no-such-program"])

    def test_files(self):
        self.call("file.write", path="/workspace/notes/one.txt", content="first", create_parents=True)
        self.assertEqual(self.call("file.read", path="/workspace/notes/one.txt")["content"], "first")
        self.call("file.write", path="/workspace/notes/one.txt", content="second")
        self.assertEqual(self.shell("cat /workspace/notes/one.txt"), "second")
        entries = self.call("file.list", path="/workspace/notes")["entries"]
        self.assertEqual([(e["path"], e["type"], e["size_bytes"]) for e in entries], [("one.txt", "file", 6)])
        self.call("file.delete", path="/workspace/notes/one.txt")
        with self.assertRaises(RpcError) as caught:
            self.call("file.read", path="/workspace/notes/one.txt")
        self.assertEqual(caught.exception.data.get("errno"), "ENOENT")

    def test_terminal(self):
        opened = self.call("terminal.open", name="shell", rows=24, cols=80)
        stream = self.host.stream(opened["stream"])
        stream.sendall(b"echo $((6 * 7)) in $PWD of $BASH\n")
        self.read_until(stream, rb"\b42 in /workspace of /\S*bash")
        self.call("exec.resize", exec="shell", rows=50, cols=132)
        stream.sendall(b"stty size\n")
        self.read_until(stream, rb"50 132")
        stream.close()
        # It goes on, and shows again what it had shown.
        again = self.host.stream(self.call("terminal.attach", terminal="shell")["stream"])
        self.read_until(again, rb"42 in /workspace(.|\s)*50 132")
        again.sendall(b"exit 9\n")
        self.assertEqual(self.call("exec.wait", exec="shell")["exit_code"], 9)
        again.close()

    def read_until(self, stream, pattern):
        read = b""
        while not re.search(pattern, read):
            piece = stream.recv(4096)
            self.assertTrue(piece, read)
            read += piece

    def test_ids_and_commands_are_checked(self):
        for bad in ("Lab", "../lab", "a" * 64, "lab 7", ""):
            with self.subTest(bad), self.assertRaises(RpcError) as caught:
                self.client.call("session.create", template="dind", id=bad)
            self.assertEqual(caught.exception.code, -32602)
        ran = self.call("exec.run", command=["echo", "$(id); `id` && id"])
        self.assertEqual(ran["stdout"], "$(id); `id` && id\n")

    # ---- the host

    def test_health(self):
        health = self.client.call("system.health")
        self.assertEqual(sorted(health), ["active_sessions", "docker_available", "sessions_by_state", "status", "supervisor", "uptime_seconds"])
        self.assertEqual((health["status"], health["docker_available"]), ("ok", True))
        self.assertGreaterEqual(health["active_sessions"], 1)
        metrics = self.client.call("system.metrics")["text"]
        for line in (r'carrel_sessions\{template="dind",state="ready"\} [1-9]', r'carrel_sessions_created_total\{[^}]*template="dind"[^}]*\} [1-9]',
                     r"carrel_session_destroy_seconds_count [0-9]", r"carrel_event_loop_lag_seconds_count [1-9]"):
            self.assertTrue(re.search(line, metrics), line)


if __name__ == "__main__":
    unittest.main()
