# SPDX-License-Identifier: Apache-2.0
"""A lab runner's day: everything that a service which lends Docker to learners asks of carrel, in its own order."""

import json
import unittest
import urllib.request

from carrel_dind import MAKE_BUSYBOX, DindHost
from carrel_host import ROOT, RpcError, own_network, wait_until


def setUpModule():
    own_network()


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

    def test_create_get_and_delete(self):
        self.assertEqual((self.session["id"], self.session["state"]), ("lab-7", "ready"))
        self.assertGreater(self.session["expires_at"], self.session["created_at"])
        self.assertEqual(self.call("session.get")["created_at"], self.session["created_at"])
        self.client.call("session.create", template="dind", id="short")
        removed = self.client.call("session.remove", session="short")
        self.assertEqual(removed["id"], "short")
        with self.assertRaises(RpcError) as caught:
            self.client.call("session.get", session="short")
        self.assertEqual(caught.exception.kind, "not_found")

    def test_defaults_of_the_installed_template(self):
        installed = json.loads((ROOT / "etc/carrel/templates.d/dind.json").read_text())
        self.assertEqual((installed["limits"]["memory_bytes"], installed["limits"]["cpus"], installed["ttl_seconds"]),
                         (1536 << 20, 1.0, 1800))

    def test_build_run_and_stop(self):
        self.call("file.write", path="/workspace/app/Dockerfile", create_parents=True,
                  content="FROM busybox\nCOPY index.html /www/\nCMD httpd -f -p 8080 -h /www\n")
        self.call("file.write", path="/workspace/app/index.html", content="from the lab\n")
        built = self.call("docker.build", context_path="/workspace/app", dockerfile_path="Dockerfile", image_tag="app:1")
        self.assertEqual(built["image_tag"], "app:1")
        self.assertTrue(built["logs"])
        self.assertGreater(built["metrics"]["image_size_mb"], 0)
        self.assertGreater(built["metrics"]["elapsed_seconds"], 0)
        self.assertIn("app:1", json.dumps(self.call("docker.images")))
        ran = self.call("docker.run", image="app:1", name="web", ports=["8080:8080"], detach=True, auto_remove=False)
        self.assertEqual(ran["container_name"], "web")
        url = f"http://{self.session['address']}:8080/"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

        def page():
            try:
                return opener.open(url, timeout=5).read()
            except OSError:
                return None

        self.assertEqual(wait_until(page, 20, url), b"from the lab\n")
        self.assertIn("web", json.dumps(self.call("docker.ps")))
        self.call("docker.stop", container_name="web", timeout=1, remove=True)
        self.assertNotIn("web", json.dumps(self.call("docker.ps")))

    def test_exec(self):
        ran = self.call("exec.run", command=["sh", "-c", "pwd; echo to the other >&2; exit 3"], cwd="/workspace")
        self.assertEqual(ran["exit_code"], 3)
        self.assertEqual(sorted(ran["logs"]), ["/workspace", "to the other"])

    def test_files(self):
        self.call("file.write", path="/workspace/notes/one.txt", content="first", create_parents=True)
        self.assertEqual(self.call("file.read", path="/workspace/notes/one.txt")["content"], "first")
        listed = self.call("file.list", path="/workspace/notes")
        self.assertIn("one.txt", json.dumps(listed))
        self.call("file.delete", path="/workspace/notes/one.txt")
        with self.assertRaises(RpcError) as caught:
            self.call("file.read", path="/workspace/notes/one.txt")
        self.assertEqual(caught.exception.data.get("errno"), "ENOENT")

    def test_terminal(self):
        opened = self.call("terminal.open", rows=24, cols=80)
        self.assertIn("stream", opened)

    def test_ids_and_commands_are_checked(self):
        for bad in ("Lab", "../lab", "a" * 64, "lab 7", ""):
            with self.subTest(bad), self.assertRaises(RpcError) as caught:
                self.client.call("session.create", template="dind", id=bad)
            self.assertEqual(caught.exception.code, -32602)
        ran = self.call("exec.run", command=["echo", "$(id); `id` && id"])
        self.assertEqual(ran["stdout"], "$(id); `id` && id\n")

    def test_health(self):
        health = self.client.call("system.health")
        self.assertEqual(health["status"], "ok")
        self.assertGreaterEqual(health["active_sessions"], 1)
        self.assertIs(health["docker_available"], True)
        self.assertIn('carrel_sessions{', str(self.client.call("system.metrics")))


if __name__ == "__main__":
    unittest.main()
