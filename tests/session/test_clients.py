# SPDX-License-Identifier: Apache-2.0
"""The client libraries against a real carrel: every type they promise, errors, threads, events over a restart."""

import io
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tarfile
import threading
import time
import unittest

from carrel_host import Host, own_network, scaled, wait_until

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "clients/python"))

import carrel  # noqa: E402

TYPES = json.loads((TOP / "clients/types.json").read_text())
THREADS, EACH = 16, 20


def setUpModule():
    own_network()


def alternatives(text):
    """The parts of a union of clients/types.json."""
    return [part.strip() for part in re.split(r"\|(?![^<]*>)", text)]


def fits(value, kind, types):
    """What is wrong with VALUE as a KIND of clients/types.json, or None."""
    wrong = [fits_one(value, one, types) for one in alternatives(kind)]
    return None if None in wrong else f"{repr(value)[:60]} is no {kind}: {wrong[0] if len(wrong) == 1 else wrong}"


def fits_one(value, kind, types):
    plain = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "null": type(None), "any": object}
    if kind in plain:
        return None if isinstance(value, plain[kind]) and (kind == "boolean" or not isinstance(value, bool) or kind == "any") \
            else kind
    if kind.startswith('"'):
        return None if value == json.loads(kind) else kind
    if container := re.fullmatch(r"(list|map)<(.*)>", kind):
        if not isinstance(value, list if container[1] == "list" else dict):
            return kind
        found = [fits(v, container[2], types) for v in (value if container[1] == "list" else value.values())]
        return next((wrong for wrong in found if wrong), None)
    if isinstance(types[kind], str):
        return fits(value, types[kind], types)
    if not isinstance(value, dict):
        return kind
    declared = {**types.get(types[kind].get("..."), {}), **types[kind]}
    declared.pop("...", None)
    members = {name.rstrip("?"): inner for name, inner in declared.items()}
    missing = {name for name in declared if not name.endswith("?")} - set(value)
    if missing or set(value) - set(members):
        return f"{kind}: {missing} missing, {set(value) - set(members)} unknown"
    return next((f"{name}: {wrong}" for name, v in value.items() if (wrong := fits(v, members[name], types))), None)


ECHO_SERVER = ["nc", "-ll", "-p", "7000", "-e", "cat"]


def echoing(connect):
    """What CONNECT offers, as soon as the server in the session listens."""
    def offered():
        try:
            return connect()
        except carrel.Error as error:
            if error.errno != "ECONNREFUSED":
                raise
            return None
    return wait_until(offered, what="the server")


def example(language):
    text = (TOP / f"clients/{language}/README.md").read_text()
    return re.search(r"<!-- example: begin.*?```\w+\n(.*?)```", text, re.S)[1]


class Clients(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.host = Host().start()
        cls.environment = {**os.environ, "CARREL_SOCKET": str(cls.host.socket_path),
                           "PYTHONPATH": str(TOP / "clients/python")}

    @classmethod
    def tearDownClass(cls):
        cls.host.close()

    def setUp(self):
        self.client = carrel.Client(str(self.host.socket_path), timeout=scaled(30))

    def tearDown(self):
        for session in list(self.client.each_session()):
            self.client.session.remove(session["id"])
        self.client.close()


class Python(Clients):
    def test_example(self):
        result = subprocess.run([sys.executable, "-W", "error", "-c", example("python")], env=self.environment,
                                capture_output=True, text=True, timeout=scaled(60))
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertRegex(result.stdout, r"^hello\n 3\n.*no-such-program.* exec ENOENT False\n\d+ session\.created\n")

    def test_results_have_the_types_that_they_promise(self):
        session = self.client.session
        results = {
            "hello": self.client.hello(client="test"),
            "system.health": self.client.system.health(),
            "system.check": self.client.system.check(),
            "template.list": self.client.template.list(),
            "template.get": self.client.template.get("minimal"),
            "session.create": session.create("minimal", id="types", labels={"a": "b"}, ttl_seconds=600),
            "session.ensure": session.ensure("per-owner", template="minimal", owner="types"),
            "exec.run": self.client.exec.run("types", ["echo", "x"]),
            "file.write": self.client.file.write("types", "/tmp/f", content="text", mode="0600"),
            "file.read": self.client.file.read("types", "/tmp/f"),
            "file.stat": self.client.file.stat("types", "/tmp/f"),
            "file.list": self.client.file.list("types", "/tmp"),
            "file.mkdir": self.client.file.mkdir("types", "/tmp/d/e", create_parents=True),
            "file.move": self.client.file.move("types", "/tmp/f", "/tmp/d/g"),
            "archive.get": self.client.archive.get("types", "/tmp/d"),
            "archive.put": self.client.archive.put("types", "/tmp/d"),
            "file.delete": self.client.file.delete("types", "/tmp/d", recursive=True),
            "session.get": session.get("types"),
            "session.list": session.list(limit=1),
            "session.wait": session.wait("types", for_="ready"),
            "session.logs": session.logs("types"),
            "session.stats": session.stats("types"),
            "session.pause": session.pause("types"),
            "session.resume": session.resume("types"),
            "session.heartbeat": session.heartbeat("types"),
            "session.extend": session.extend("types", ttl_seconds=None),
            "events.subscribe": self.client.events.subscribe(session="types"),
            "session.stop": session.stop("types", grace_seconds=0.1),
            "session.remove": session.remove("types"),
        }
        for method, result in results.items():
            with self.subTest(method):
                self.assertIsNone(fits(result, TYPES["results"][method], TYPES["types"]), "name it in clients/types.json")
        self.assertIsNone(results["session.extend"]["expires_at"])
        self.assertIsNotNone(results["session.create"]["expires_at"])
        self.assertIsNotNone(fits({**results["session.get"], "more": 1}, "Session", TYPES["types"]))

    def test_errors(self):
        with self.assertRaises(carrel.NotFound) as caught:
            self.client.session.get("none")
        self.assertEqual((caught.exception.kind, caught.exception.session, caught.exception.retryable),
                         ("not_found", "none", False))
        with self.assertRaises(carrel.InvalidParams) as caught:
            self.client.session.create("minimal", limits={"pids": 0})
        self.assertEqual(caught.exception.path, "limits.pids")
        with self.assertRaises(carrel.Error) as caught:
            self.client.call("no.method")
        self.assertEqual((caught.exception.kind, caught.exception.code), (None, -32601))
        self.client.session.create("minimal", id="slow")
        with self.assertRaises(carrel.Timeout) as caught:
            self.client.exec.run("slow", ["sh", "-c", "echo said; sleep 60"], timeout_seconds=0.2)
        self.assertEqual(caught.exception.result["stdout"], "said\n")
        hasty = carrel.Client(str(self.host.socket_path), timeout=0.1)
        with self.assertRaises(TimeoutError):
            hasty.session.wait("slow", for_="ended")
        self.assertEqual(hasty.session.get("slow")["id"], "slow", "its late answer is nobody's")
        hasty.close()
        with self.assertRaises(ConnectionError):
            hasty.session.get("slow")
        with self.assertRaises(OSError):
            carrel.Client("/nonexistent/api.sock")

    def test_contents_of_any_size(self):
        self.client.session.create("minimal", id="files")
        data = os.urandom(5_000_000)
        wrote = self.client.upload("files", "/tmp/sub/f", io.BytesIO(data), create_parents=True)
        self.assertEqual(wrote["size_bytes"], len(data))
        back = io.BytesIO()
        self.client.download("files", "/tmp/sub/f", back)
        self.assertEqual(back.getvalue(), data)
        archive = io.BytesIO()
        self.client.get_archive("files", "/tmp/sub", archive)
        archive.seek(0)
        with tarfile.open(fileobj=archive) as tar:
            self.assertEqual([m.size for m in tar if m.isfile()], [len(data)])
        archive.seek(0)
        self.client.put_archive("files", "/tmp/copy", archive, create_parents=True)
        self.assertEqual(self.client.file.stat("files", "/tmp/copy/f")["size_bytes"], len(data))
        with self.assertRaises(carrel.Error) as caught:
            self.client.upload("files", "/proc/version", io.BytesIO(b"x"))
        self.assertIsNotNone(caught.exception.errno)
        result, fds = self.client.call_fds("file.read", {"session": "files", "path": "/tmp/sub/f", "stream": True})
        with carrel.Stream(fds[0]) as stream:
            self.assertEqual(len(fds), 1)
            self.assertEqual(stream.readall(), data)

    def test_streams_of_a_command_and_a_terminal(self):
        self.client.session.create("minimal", id="streams")
        started = self.client.exec.start("streams", ["sh", "-c", "cat; echo err >&2; exit 4"])
        self.assertIsNone(fits(started, "Started", TYPES["types"]))
        streams = {name: self.client.open_stream(offer) for name, offer in started["streams"].items()}
        streams["stdin"].write(b"words")
        streams["stdin"].close_write()
        self.assertEqual((streams["stdout"].readall(), streams["stderr"].readall()), (b"words", b"err\n"))
        ended = self.client.exec.wait("streams", started["exec"])
        self.assertIsNone(fits(ended, "Ended", TYPES["types"]))
        self.assertEqual(ended["exit_code"], 4)
        opened = self.client.terminal.open("streams", name="pane", command=["sh"], rows=24, cols=80)
        self.assertIsNone(fits(opened, "OpenedTerminal", TYPES["types"]))
        streams["tty"] = self.client.open_stream(opened["stream"])
        streams["tty"].write(b"stty size; exit\n")
        self.assertIn(b"24 80", streams["tty"].readall())
        # What it showed, once more.
        again = self.client.terminal.attach("streams", "pane")
        self.assertIsNone(fits(again, "OpenedTerminal", TYPES["types"]))
        streams["again"] = self.client.open_stream(again["stream"])
        self.assertIn(b"24 80", streams["again"].readall())
        listed = self.client.exec.list("streams")
        self.assertIsNone(fits(listed, "ExecList", TYPES["types"]))
        self.assertEqual({e["exec"]: e["exit_code"] for e in listed["execs"]}, {started["exec"]: 4, opened["exec"]: 0})
        for stream in streams.values():
            stream.close()

    def test_ports(self):
        self.client.session.create("minimal", id="ports")
        self.client.exec.start("ports", ECHO_SERVER)
        data = os.urandom(3_000_000)
        with self.client.open_stream(echoing(lambda: self.client.port.connect("ports", port=7000))) as stream:
            sender = threading.Thread(target=lambda: (stream.write(data), stream.close_write()))
            sender.start()
            self.assertEqual(stream.readall(), data)
            sender.join()
        published = self.client.port.publish("ports", port=7000, as_={"unix": True})
        self.assertIsNone(fits(published, "PublishedPort", TYPES["types"]))
        self.assertTrue(pathlib.Path(published["unix"]).is_socket())
        self.assertEqual(self.client.port.unpublish("ports", name=published["name"]), {})

    def test_threads_share_a_client(self):
        self.client.session.create("minimal", id="busy")
        wrong = []

        def work(number):
            for turn in range(EACH):
                word = f"{number}-{turn}"
                got = self.client.exec.run("busy", ["echo", word])["stdout"]
                if got != word + "\n":
                    wrong.append((word, got))

        threads = [threading.Thread(target=work, args=(n,)) for n in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(scaled(60))
        self.assertEqual(wrong, [])

    def test_closing_wakes_who_waits(self):
        self.client.session.create("minimal", id="long")
        other = carrel.Client(str(self.host.socket_path))
        ended = []

        def wait():
            try:
                other.session.wait("long", for_="ended")
            except ConnectionError as error:
                ended.append(error)

        threads = [threading.Thread(target=wait) for _ in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(0.1)
        other.close()
        for thread in threads:
            thread.join(scaled(10))
        self.assertEqual(len(ended), 3)

    def test_events_go_on_after_a_restart_of_control(self):
        seen, ready = [], threading.Event()

        def watch():
            for event in self.client.follow_events(since=0):
                seen.append(event)
                ready.set()
                if event.get("session") == "after" and event["kind"] == "session.ended":
                    return

        self.client.session.create("minimal", id="before")
        thread = threading.Thread(target=watch)
        thread.start()
        ready.wait(scaled(10))
        os.kill(self.host.control_pid(), signal.SIGKILL)
        self.host.wait_for_api()
        self.client.close()
        self.client = wait_until(lambda: carrel.Client(str(self.host.socket_path)), what="a new client")
        self.client.session.create("minimal", id="after", command=["/bin/busybox", "true"])
        thread.join(scaled(20))
        self.assertFalse(thread.is_alive(), seen)
        numbers = [event["seq"] for event in seen]
        self.assertEqual(numbers, list(range(numbers[0], numbers[0] + len(numbers))), "none is missing, none comes twice")
        for event in seen:
            self.assertIsNone(fits({k: v for k, v in event.items() if k in TYPES["types"]["Event"]} | {"kind": event["kind"]},
                                   "Event", TYPES["types"]))

    def test_logs_are_followed_to_the_end(self):
        self.client.session.create("minimal", id="talks", command=["/bin/busybox", "sh", "-c",
                                                                    "for i in 1 2 3; do echo $i; sleep 0.1; done"])
        text = "".join(entry["text"] for entry in self.client.follow_logs("talks") if entry["stream"] == "stdout")
        self.assertEqual(text, "1\n2\n3\n")


if __name__ == "__main__":
    unittest.main()
