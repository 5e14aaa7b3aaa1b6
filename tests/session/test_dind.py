# SPDX-License-Identifier: Apache-2.0
"""Sessions with a Docker daemon of their own: what a learner can do there."""

import json
import os
import pathlib
import socket
import subprocess
import tempfile
import unittest

from carrel_dind import MAKE_BUSYBOX, SCRATCH_BYTES, DindHost, template
from carrel_host import RpcError, own_network, scaled, wait_until


def setUpModule():
    own_network()


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.host = DindHost()
        cls.addClassCleanup(cls.host.close)
        # After the build: no empty file system was made for these.
        for name, one in cls.templates().items():
            cls.host.write_template(name, one)
        cls.host.start()
        cls.client = cls.host.client()

    @staticmethod
    def templates():
        return {}

    def create(self, name="dind", **params):
        session = self.client.call("session.create", template=name, **params)
        self.addCleanup(self.client.call, "session.remove", session=session["id"])
        return session

    def run_in(self, session, *command, code=0, **params):
        """Runs a command; what it printed, or the assertion that it should have ended otherwise."""
        result = self.client.call("exec.run", session=session["id"], command=list(command), timeout_seconds=60, **params)
        self.assertEqual(result["exit_code"], code, f"{command}: {result['stdout']}{result['stderr']}")
        return result["stdout"]

    def shell(self, session, script, **params):
        return self.run_in(session, "bash", "-c", script, **params)


class Daemon(Case):
    """One session, in which one thing after the other is done."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.session = cls.client.call("session.create", template="dind", id="learner")
        cls.addClassCleanup(cls.client.call, "session.remove", session="learner")
        result = cls.client.call("exec.run", session="learner", command=["bash", "-c", MAKE_BUSYBOX])
        assert result["exit_code"] == 0, result

    def test_what_it_is(self):
        self.assertEqual((self.session["state"], self.session["kind"]), ("ready", "dind"))
        info = json.loads(self.run_in(self.session, "docker", "info", "-f", "{{json .}}"))
        self.assertEqual((info["Driver"], info["CgroupVersion"], info["DockerRootDir"]), ("overlay2", "2", "/var/lib/docker"))
        self.assertIn(["Backing Filesystem", "extfs"], info["DriverStatus"])
        size = int(self.shell(self.session, "df -B1 --output=size /var/lib/docker | tail -1"))
        self.assertTrue(0.9 * SCRATCH_BYTES < size < SCRATCH_BYTES, size)
        # It need not outlive a power cut, so that no fsync waits for the host's disk.
        self.assertIn("nobarrier", self.shell(self.session, "findmnt -no OPTIONS /var/lib/docker").strip().split(","))

    def test_socket_of_the_host(self):
        """A client on the host speaks to the session's daemon as to any other."""
        connection = socket.socket(socket.AF_UNIX)
        self.addCleanup(connection.close)
        connection.settimeout(scaled(20))
        connection.connect(self.session["endpoints"]["docker"]["unix"])
        connection.sendall(b"GET /_ping HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
        self.assertTrue(answer.startswith(b"HTTP/1.1 200 OK\r\n") and answer.endswith(b"OK"), answer)

    def test_build(self):
        for builder in ("0", "1"):
            self.shell(self.session, f"""set -e; cd /workspace; rm -rf b; mkdir b; cd b
                echo built by {builder} > file
                printf 'FROM busybox\\nCOPY file /file\\nRUN cat /file > /copy && id -u > /id\\nCMD cat /copy /id\\n' > Dockerfile
                DOCKER_BUILDKIT={builder} docker build -t built{builder} .""")
            self.assertEqual(self.run_in(self.session, "docker", "run", "--rm", f"built{builder}"), f"built by {builder}\n0\n")

    def test_run_with_and_without_network(self):
        links = self.run_in(self.session, "docker", "run", "--rm", "busybox", "ip", "-o", "link")
        self.assertIn("eth0", links)
        links = self.run_in(self.session, "docker", "run", "--rm", "--network=none", "busybox", "ip", "-o", "link")
        self.assertNotIn("eth0", links)

    def test_network_of_ones_own_with_names(self):
        self.shell(self.session, "docker network create lab; docker run -d --name web --network lab busybox "
                                 "sh -c 'echo found > /tmp/index.html; exec httpd -f -p 80 -h /tmp'")
        self.addCleanup(self.shell, self.session, "docker rm -f web; docker network rm lab")
        self.assertEqual(self.shell(self.session, "docker run --rm --network lab busybox wget -q -O - http://web/"), "found\n")

    def test_exec_stop_and_volumes(self):
        self.shell(self.session, "docker volume create kept; docker run -d --name keeper -v kept:/kept busybox sleep 1000")
        self.addCleanup(self.shell, self.session, "docker volume rm kept")
        self.run_in(self.session, "docker", "exec", "keeper", "sh", "-c", "echo it > /kept/is")
        self.shell(self.session, "docker stop -t 0 keeper; docker rm keeper")
        self.assertEqual(self.run_in(self.session, "docker", "run", "--rm", "-v", "kept:/kept", "busybox", "cat", "/kept/is"), "it\n")

    def test_compose(self):
        self.shell(self.session, """set -e; mkdir -p /workspace/c; cd /workspace/c
            printf 'version: "3"\\nservices:\\n  one:\\n    image: busybox\\n    command: echo composed\\n' > docker-compose.yml""")
        self.assertIn("composed", self.shell(self.session, "cd /workspace/c; docker-compose up; docker-compose down"))


class Clients(Case):
    """Docker's own client, on the host; the session's image has one."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.session = cls.client.call("session.create", template="dind")
        cls.addClassCleanup(cls.client.call, "session.remove", session=cls.session["id"])
        cls.client.call("exec.run", session=cls.session["id"], command=["bash", "-c", MAKE_BUSYBOX])

    def docker(self, *arguments, **params):
        socket = self.session["endpoints"]["docker"]["unix"]
        # From its directory: the path of a socket must be short.
        return subprocess.run(
            [str(self.host.state_dir / "rootfs/dind/0/usr/bin/docker"), *arguments], capture_output=True, text=True, timeout=scaled(60),
            env={"DOCKER_HOST": f"unix://{os.path.basename(socket)}", "HOME": "/nonexistent", "PATH": os.environ["PATH"]},
            cwd=os.path.dirname(socket), **params)

    def printed(self, *arguments, **params):
        result = self.docker(*arguments, **params)
        self.assertEqual(result.returncode, 0, result.stderr)
        return result.stdout

    def test_it_speaks_to_the_sessions_daemon(self):
        self.assertEqual(self.printed("info", "-f", "{{.Name}} {{.Driver}}"), f"{self.session['hostname']} overlay2\n")

    def test_attached(self):
        """The connection becomes a raw stream, in both directions, with half of it closed."""
        self.assertEqual(self.printed("run", "--rm", "-i", "busybox", "sh", "-c", "cat; echo end", input="through\n" * 20000),
                         "through\n" * 20000 + "end\n")
        self.assertEqual(self.docker("run", "--rm", "busybox", "sh", "-c", "exit 7").returncode, 7)

    def test_exec(self):
        self.printed("run", "-d", "--name", "held", "busybox", "sleep", "1000")
        self.addCleanup(self.printed, "rm", "-f", "held")
        self.assertEqual(self.printed("exec", "-i", "held", "wc", "-c", input="x" * 100000).strip(), "100000")

    def test_build_from_the_host(self):
        with tempfile.TemporaryDirectory(prefix="carrel-context-") as context:
            pathlib.Path(context, "Dockerfile").write_text("FROM busybox\nCOPY file /\nCMD cat /file\n")
            pathlib.Path(context, "file").write_text("from the host\n")
            self.printed("build", "-t", "sent", context)
        self.assertEqual(self.printed("run", "--rm", "sent"), "from the host\n")

    def test_published_ports_of_containers(self):
        """At the session's address, and through port.publish."""
        self.printed("run", "-d", "--name", "web", "-p", "8080:80", "busybox", "sh", "-c",
                     "echo served > /tmp/index.html; exec httpd -f -p 80 -h /tmp")
        self.addCleanup(self.printed, "rm", "-f", "web")

        def fetch(connect):
            try:
                with connect() as stream:
                    stream.settimeout(5)
                    stream.sendall(b"GET / HTTP/1.0\r\n\r\n")
                    return b"".join(iter(lambda: stream.recv(4096), b"")).endswith(b"served\n")
            except OSError:
                return False

        def by_unix():
            stream = socket.socket(socket.AF_UNIX)
            stream.connect(published["unix"])
            return stream

        wait_until(lambda: fetch(lambda: socket.create_connection((self.session["address"], 8080), 5)), 10, "the session's address")
        published = self.client.call("port.publish", session=self.session["id"], port=8080, **{"as": {"unix": True}})
        self.assertTrue(fetch(by_unix), published)


class Health(Case):
    @staticmethod
    def templates():
        def one(action):
            ping = {"http": {"unix": "/run/docker.sock", "path": "/_ping"}}
            return template(liveness={**ping, "initial_delay_seconds": 1, "period_seconds": 1, "timeout_seconds": 2,
                                      "failure_threshold": 2, "action": action})

        return {"ending": one("end"), "restarting": one("restart")}

    def unhealthy(self, name, kill):
        session = self.create(name)
        events = self.host.client()
        events.call("events.subscribe", session=session["id"], kinds=["session.*"])
        self.shell(session, kill)
        while True:
            event = events.receive()["params"]
            if event["kind"] == "session.unhealthy":
                return session, events, event

    def test_a_killed_daemon_ends_the_session(self):
        session, _, event = self.unhealthy("ending", "pkill -9 -x dockerd")
        self.assertEqual(event["action"], "end")
        self.assertIn("dockerd ended with 137", event["log_tail"])
        ended = self.client.call("session.wait", session=session["id"], **{"for": "ended"})
        self.assertEqual(ended["end"]["reason"], "unhealthy")

    def test_a_daemon_that_hangs_is_restarted(self):
        self.restarted("pkill -STOP -x dockerd")

    def test_a_killed_daemon_is_restarted(self):
        self.restarted("echo kept > /workspace/file; pkill -9 -x dockerd")

    def restarted(self, kill):
        session, events, event = self.unhealthy("restarting", kill)
        self.assertEqual(event["action"], "restart")
        while events.receive()["params"]["kind"] != "session.ready":
            pass
        self.assertEqual(self.shell(session, "docker info -f '{{.Driver}} {{.Images}}'; ls /workspace | grep -vx lost+found || true"),
                         "overlay2 0\n")
        now = self.client.call("session.get", session=session["id"])
        self.assertEqual((now["state"], now["restarts"]), ("ready", 1))
        self.assertEqual([now[member] for member in ("created_at", "expires_at")], [session[member] for member in ("created_at", "expires_at")])

    def test_a_daemon_that_gives_up_takes_the_session_along(self):
        session = self.create("ending")
        # A moment later, so that the command has ended by then.
        self.shell(session, "setsid sh -c 'sleep 0.5; kill $(pgrep -x containerd)' > /dev/null 2>&1 &")
        ended = self.client.call("session.wait", session=session["id"], **{"for": "ended"})
        self.assertEqual(ended["end"]["reason"], "exited")
        self.assertIn("containerd ended with", ended["end"]["log_tail"])


class Failures(Case):
    @staticmethod
    def templates():
        broken = template()
        broken["command"] = [*broken["command"], "--storage-driver=vfs"]
        small = template()
        small["mounts"] = [{"type": "scratch", "target": "/var/lib/docker", "size_bytes": 48 << 20}]
        return {"broken": broken, "small": small}

    def test_a_daemon_that_does_not_start_shows_its_last_lines(self):
        with self.assertRaises(RpcError) as caught:
            self.client.call("session.create", template="broken")
        self.assertEqual(caught.exception.kind, "failed")
        # Twice: in daemon.json and as an option.
        self.assertIn("storage-driver", caught.exception.data["log_tail"])

    def test_scratch_of_a_size_that_was_not_made(self):
        with self.assertRaises(RpcError) as caught:
            self.client.call("session.create", template="small")
        self.assertEqual((caught.exception.kind, caught.exception.data["errno"]), ("failed", "ENOENT"))
        self.assertIn("scratch", str(caught.exception))


if __name__ == "__main__":
    unittest.main()
