# SPDX-License-Identifier: Apache-2.0
"""docker.*: a session's Docker daemon by the API."""

import unittest
import urllib.request

from carrel_dind import MAKE_BUSYBOX, DindHost
from carrel_host import RpcError, own_network, wait_until


def setUpModule():
    own_network()


class Methods(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.host = DindHost()
        cls.addClassCleanup(cls.host.close)
        cls.host.start()
        cls.client = cls.host.client()
        cls.session = cls.client.call("session.create", template="dind", id="lab", env={"LAB": "1"})
        cls.addClassCleanup(cls.client.call, "session.remove", session="lab")
        cls.shell(MAKE_BUSYBOX)

    @classmethod
    def shell(cls, script):
        result = cls.client.call("exec.run", session="lab", command=["bash", "-c", script], timeout_seconds=60)
        assert result["exit_code"] == 0, result
        return result["stdout"]

    def call(self, method, **params):
        return self.client.call(f"docker.{method}", session="lab", **params)

    def refused(self, kind, method, **params):
        with self.assertRaises(RpcError) as caught:
            self.call(method, **params)
        self.assertEqual(caught.exception.kind, kind, caught.exception)
        return caught.exception

    def context(self, name, dockerfile, **files):
        self.shell(f"mkdir -p /workspace/{name}; cat > /workspace/{name}/Dockerfile <<'END'\n{dockerfile}\nEND")
        for file, text in files.items():
            self.shell(f"printf %s '{text}' > /workspace/{name}/{file}")
        return f"/workspace/{name}"

    # ---- build

    def test_build(self):
        path = self.context("one", "FROM busybox\nARG WHAT=nothing\nCOPY file /file\nRUN echo made of $WHAT > /made\nCMD cat /file /made",
                            file="from the context\n")
        subscriber = self.host.client()
        subscriber.call("events.subscribe", session="lab", kinds=["docker.build.progress"])
        result = self.call("build", context_path=path, image_tag="lab/one:v1", build_args={"WHAT": "a & b"})
        self.assertEqual(result["image_tag"], "lab/one:v1")
        self.assertRegex(result["image_id"], "^sha256:[0-9a-f]{64}$")
        self.assertIn("Successfully tagged lab/one:v1", result["logs"])
        self.assertTrue(1 < result["metrics"]["image_size_mb"] < 10, result["metrics"])
        self.assertTrue(0 < result["metrics"]["elapsed_seconds"] < 60)
        event = subscriber.receive()["params"]
        self.assertEqual((event["kind"], event["session"], event["image_tag"]), ("docker.build.progress", "lab", "lab/one:v1"))
        self.assertTrue(event["lines"][0].startswith("Step 1/"), event)
        ran = self.call("run", image="lab/one:v1", auto_remove=True)
        self.assertEqual((ran["exit_code"], ran["logs"]), (0, ["from the context", "made of a & b"]))

    def test_build_with_another_dockerfile_and_a_large_context(self):
        path = self.context("two", "FROM busybox")
        self.shell(f"mkdir {path}/sub; head -c 20000000 /dev/urandom > {path}/large; sha256sum < {path}/large > {path}/sum; "
                   f"printf 'FROM busybox\\nCOPY large sum /\\nRUN sha256sum < /large | cmp - /sum\\n' > {path}/sub/Other")
        self.call("build", context_path="two", dockerfile_path="sub/Other", image_tag="two")

    def test_what_dockerignore_says(self):
        path = self.context("ignoring", "FROM busybox\nCOPY . /sent/\nCMD cd /sent && find . -type f | sort")
        self.shell(f"""cd {path}; mkdir -p node_modules/a logs/old src; touch node_modules/a/x logs/1.log logs/old/2.log logs/keep.log
            touch src/a.c src/a.o src/secret; printf '# not sent\n**/node_modules\nlogs\n!logs/keep.log\n**/*.o\nsrc/[s]ecret\nDockerfile\n' > .dockerignore""")
        # Docker's client in there leaves out the same, asked by the classic way and by a relative path.
        self.call("build", context_path="ignoring", image_tag="ignoring")
        self.shell(f"DOCKER_BUILDKIT=0 docker build -q -t ignoring:client {path}")
        for tag in ("ignoring", "ignoring:client"):
            self.assertEqual(self.call("run", image=tag, auto_remove=True)["logs"], ["./.dockerignore", "./logs/keep.log", "./src/a.c"])
        self.shell(f"printf 'x\n[\n' > {path}/.dockerignore")
        self.assertIn(".dockerignore: line 2 is no pattern", str(self.refused("failed", "build", context_path=path, image_tag="bad")))

    def test_failed_builds_say_why(self):
        path = self.context("bad", "FROM busybox\nRUN echo so far; exit 3")
        failure = self.refused("failed", "build", context_path=path, image_tag="bad")
        self.assertIn("returned a non-zero code: 3", str(failure))
        self.assertIn("so far", failure.data["result"]["logs"])
        self.assertIn("No such file", str(self.refused("not_found", "build", context_path="/workspace/not", image_tag="bad")))
        self.assertIn("Dockerfile", str(self.refused("not_found", "build", context_path=path, dockerfile_path="not", image_tag="bad")))
        self.assertIn("invalid", str(self.refused("invalid_params", "build", context_path=path, image_tag="NOT A TAG")))

    def test_builds_are_cancelled(self):
        path = self.context("slow", "FROM busybox\nRUN sleep 1000")

        def sleepers():
            return self.client.call("exec.run", session="lab", command=["pgrep", "-xf", "sleep 1000"])["stdout"].split()

        ways = {
            "cancelled": lambda client: self.assertEqual(self.call("cancel", image_tag="slow"), {"cancelled": 1}),
            "gone": lambda client: client.close(),
        }
        for way, end in ways.items():
            with self.subTest(way):
                client = self.host.client()
                request = client.send("docker.build", session="lab", context_path=path, image_tag="slow")
                wait_until(sleepers, 20, "the build's command")
                self.assertEqual(self.call("cancel", image_tag="another"), {"cancelled": 0})
                end(client)
                if way == "cancelled":
                    with self.assertRaises(RpcError) as caught:
                        client.answer(request)
                    self.assertIn("cancelled", str(caught.exception))
                    self.assertIn("Step 2/2 : RUN sleep 1000", caught.exception.data["result"]["logs"])
                wait_until(lambda: not sleepers(), 20, "end of the build's command")
        failure = self.refused("timeout", "build", context_path=path, image_tag="slow", timeout_seconds=5)
        self.assertIn("Step 1/2 : FROM busybox", failure.data["result"]["logs"])
        wait_until(lambda: not sleepers(), 20, "end of the build's command")

    # ---- run, stop, ps, images

    def test_run(self):
        ran = self.call("run", image="busybox", command=["sh", "-c", "echo out; echo $A; echo err >&2; exit 4"], env={"A": "b c"},
                        name="runner")
        self.assertEqual((ran["exit_code"], ran["container_name"], sorted(ran["logs"])), (4, "runner", ["b c", "err", "out"]))
        listed = {c["container_name"]: c for c in self.call("ps", all=True)["containers"]}
        self.assertEqual((listed["runner"]["container_id"], listed["runner"]["state"]), (ran["container_id"], "exited"))
        self.assertEqual(self.refused("conflict", "run", image="busybox", name="runner", command=["true"]).data["session"], "lab")
        self.assertTrue(self.call("stop", container_name="runner", remove=True)["removed"])
        self.assertNotIn("runner", [c["container_name"] for c in self.call("ps", all=True)["containers"]])

    def test_published_ports(self):
        ran = self.call("run", image="busybox", ports=["8080:80"], detach=True, name="web",
                        command=["sh", "-c", "echo served > /tmp/index.html; exec httpd -f -p 80 -h /tmp"])
        self.assertEqual(sorted(ran), ["container_id", "container_name", "elapsed_seconds"])
        container = next(c for c in self.call("ps")["containers"] if c["container_name"] == "web")
        self.assertIn({"container_port": 80, "port": 8080, "address": "0.0.0.0", "protocol": "tcp"}, container["ports"])

        def fetch():
            try:
                with urllib.request.urlopen(f"http://{self.session['address']}:8080/", timeout=5) as answer:
                    return answer.read()
            except OSError:
                return None

        self.assertEqual(wait_until(fetch, 10, "the published port"), b"served\n")
        stopped = self.call("stop", container_name="web", timeout=0, remove=True)
        self.assertEqual(stopped, {"container_name": "web", "stopped": True, "removed": True})

    def test_images(self):
        images = [i for i in self.call("images")["images"] if "busybox:latest" in i["tags"]]
        self.assertEqual(len(images), 1)
        self.assertGreater(images[0]["size_bytes"], 1_000_000)

    def test_what_is_refused(self):
        self.refused("not_found", "run", image="nowhere/such:image")
        self.refused("not_found", "stop", container_name="nobody")
        self.refused("invalid_params", "stop", container_name="../../images/busybox")
        self.refused("invalid_params", "run", image="busybox", name="a b")
        self.refused("invalid_params", "run", image="busybox", ports=["80:80:80"])
        self.refused("invalid_params", "run", image="busybox", ports=["0:80"])
        self.refused("invalid_params", "run", image="busybox", ports=["8080:80/icmp"])
        self.refused("invalid_params", "run", image="busybox", ports=["x"])
        self.refused("invalid_params", "stop", container_name="")
        failure = self.refused("failed", "run", image="busybox", command=["/not/there"], name="never")
        self.assertIn("/not/there", str(failure))
        wait_until(lambda: "never" not in [c["container_name"] for c in self.call("ps", all=True)["containers"]], 10, "its removal")

    def test_output_without_end_is_cut(self):
        ran = self.call("run", image="busybox", auto_remove=True, command=["sh", "-c", "yes 0123456789abcdef | head -c 8000000"])
        self.assertTrue(ran["truncated"])
        self.assertGreater(ran["dropped_bytes"], 0)

    def test_a_client_that_leaves_takes_what_was_to_be_removed_along(self):
        client = self.host.client()
        client.send("docker.run", session="lab", image="busybox", name="left", auto_remove=True, command=["sleep", "1000"])
        wait_until(lambda: "left" in [c["container_name"] for c in self.call("ps")["containers"]], 20, "container")
        client.close()
        wait_until(lambda: "left" not in [c["container_name"] for c in self.call("ps", all=True)["containers"]], 20, "its end")


class Others(unittest.TestCase):
    def test_a_session_without_a_daemon_and_one_that_ends(self):
        host = DindHost()
        self.addCleanup(host.close)
        host.carrel("image", "build", "minimal", "--state-dir", str(host.state_dir))
        host.start()
        client = host.client()
        client.call("session.create", template="minimal", id="bare")
        with self.assertRaises(RpcError) as caught:
            client.call("docker.ps", session="bare")
        self.assertEqual((caught.exception.kind, caught.exception.data["errno"]), ("unavailable", "ENOENT"))
        client.call("session.create", template="dind", id="ends")
        client.call("exec.run", session="ends", command=["bash", "-c", MAKE_BUSYBOX])
        waiting = client.send("docker.run", session="ends", image="busybox", command=["sleep", "1000"])
        other = host.client()
        wait_until(lambda: other.call("docker.ps", session="ends")["containers"], 20, "container")
        other.call("session.remove", session="ends")
        with self.assertRaises(RpcError) as caught:
            client.answer(waiting)
        self.assertIn(caught.exception.kind, ("invalid_state", "unavailable"))


if __name__ == "__main__":
    unittest.main()
