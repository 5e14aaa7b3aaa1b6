# SPDX-License-Identifier: Apache-2.0
"""The client libraries against a real carrel: every type they promise, errors, threads, events over a restart."""

import io
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import unittest

from carrel_host import Host, own_network, scaled, wait_until

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "clients/python"))

import carrel  # noqa: E402

TYPES = json.loads((TOP / "clients/types.json").read_text())
NODE = shutil.which("node")
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

    def node(self, code):
        """Runs CODE in Node as a module that may import 'carrel'; what it printed."""
        with tempfile.TemporaryDirectory(prefix="carrel-node-") as directory:
            modules = pathlib.Path(directory, "node_modules")
            modules.mkdir()
            (modules / "carrel").symlink_to(TOP / "clients/node")
            script = pathlib.Path(directory, "test.mjs")
            script.write_text(code)
            result = subprocess.run([NODE, script], env=self.environment, capture_output=True, text=True, timeout=scaled(60))
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        return result.stdout


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


@unittest.skipUnless(NODE, "there is no node: the client library for it is not tested")
class Node(Clients):
    def test_example(self):
        said = self.node(example("node"))
        self.assertRegex(said, r"^hello\n 3\n.*no-such-program.* exec ENOENT false\n\d+ session\.created\n")

    def test_calls(self):
        said = self.node("""
            import assert from 'node:assert/strict';
            import { Client, CarrelError, ConnectionError, InvalidParams, NotFound } from 'carrel';
            const client = await Client.connect();
            const session = await client.session.create({template: 'minimal', id: 'node', ttl_seconds: null});
            assert.equal(session.expires_at, null);
            await assert.rejects(client.session.get({session: 'none'}), (e) =>
                e instanceof NotFound && e.kind === 'not_found' && e.session === 'none' && !e.retryable);
            await assert.rejects(client.session.create({template: 'minimal', limits: {pids: 0}}), (e) =>
                e instanceof InvalidParams && e.path === 'limits.pids');
            await assert.rejects(client.call('no.method'), (e) => e instanceof CarrelError && e.code === -32601);
            const words = [...Array(100).keys()].map(String);
            const said = await Promise.all(words.slice(0, 30).map(async (word) =>
                (await client.exec.run({session: 'node', command: ['echo', word]})).stdout));
            assert.deepEqual(said, words.slice(0, 30).map((word) => word + '\\n'));
            const abort = new AbortController();
            const waiting = client.session.wait({session: 'node', for: 'ended'}, {signal: abort.signal});
            abort.abort(new Error('enough'));
            await assert.rejects(waiting, /enough/);
            const lost = client.session.wait({session: 'node', for: 'ended'});
            client.close();
            await assert.rejects(lost, ConnectionError);
            await assert.rejects(Client.connect({path: '/nonexistent/api.sock'}), ConnectionError);
            const other = await Client.connect();
            const ids = [];
            for await (const each of other.eachSession({limit: 1})) ids.push(each.id);
            assert.deepEqual(ids, ['node']);
            console.log('all of it');
        """)
        self.assertEqual(said, "all of it\n", "and it ends although a connection is open")

    def test_contents_of_any_size(self):
        self.client.session.create("minimal", id="files")
        said = self.node("""
            import assert from 'node:assert/strict';
            import { randomBytes } from 'node:crypto';
            import { PassThrough, Readable } from 'node:stream';
            import { buffer } from 'node:stream/consumers';
            import { Client, CarrelError } from 'carrel';
            const client = await Client.connect();
            const data = randomBytes(5000000);
            const wrote = await client.upload('files', '/tmp/sub/f', Readable.from([data]), {create_parents: true});
            assert.equal(wrote.size_bytes, data.length);
            const through = new PassThrough();
            const [back] = await Promise.all([buffer(through), client.download('files', '/tmp/sub/f', through)]);
            assert.ok(back.equals(data));
            const tar = new PassThrough();
            const [archive] = await Promise.all([buffer(tar), client.getArchive('files', '/tmp/sub', tar)]);
            await client.putArchive('files', '/tmp/copy', Readable.from([archive]), {create_parents: true});
            assert.equal((await client.file.stat({session: 'files', path: '/tmp/copy/f'})).size_bytes, data.length);
            await assert.rejects(client.upload('files', '/proc/version', Readable.from(['x'])), (e) =>
                e instanceof CarrelError && e.errno !== null);
            console.log('all of it');
        """)
        self.assertEqual(said, "all of it\n")

    def test_streams_of_a_command(self):
        """Both ways with as much as no pipe holds, each stream to its end; left and come back to; and in a terminal."""
        self.client.session.create("minimal", id="streams")
        said = self.node("""
            import assert from 'node:assert/strict';
            import { randomBytes } from 'node:crypto';
            import { Readable } from 'node:stream';
            import { buffer, text } from 'node:stream/consumers';
            import { pipeline } from 'node:stream/promises';
            import { Client, NotFound } from 'carrel';
            const client = await Client.connect();
            const session = 'streams';
            const open = async (offers) => Object.fromEntries(await Promise.all(
                Object.entries(offers).map(async ([name, offer]) => [name, await client.openStream(offer)])));

            const started = await client.exec.start({session, command: ['sh', '-c', 'cat; echo err >&2; exit 4']});
            const {stdin, stdout, stderr} = await open(started.streams);
            const data = randomBytes(3000000);
            const [back, errors] = await Promise.all([
                buffer(stdout), text(stderr), pipeline(Readable.from([data.subarray(0, 99), data.subarray(99)]), stdin)]);
            assert.ok(back.equals(data));
            assert.equal(errors, 'err\\n');
            assert.deepEqual(await client.exec.wait({session, exec: started.exec}), {exec: started.exec, exit_code: 4, signal: null});

            // A stream is let go; what comes later is for the next. To end stdin would be to end the command's input.
            const long = await client.exec.start({session, command: ['sh', '-c', 'echo one; read word; echo $word'], merge: true});
            assert.deepEqual(Object.keys(long.streams).sort(), ['stdin', 'stdout']);
            const first = await open(long.streams);
            for await (const part of first.stdout) {
                assert.equal(part.toString(), 'one\\n');
                break;
            }
            const second = await open((await client.exec.attach({session, exec: long.exec})).streams);
            second.stdin.end('two\\n');
            assert.equal(await text(second.stdout), 'two\\n');
            first.stdin.destroy();
            const {execs} = await client.exec.list({session});
            assert.deepEqual(execs.map(({exec, state}) => [exec, state]).sort(), [[long.exec, 'ended'], [started.exec, 'ended']].sort());

            // One that is ended by a signal, and has nobody who reads.
            const sleeper = await client.exec.start({session, command: ['sleep', '1000']});
            await client.exec.signal({session, exec: sleeper.exec, signal: 'TERM'});
            assert.equal((await client.exec.wait({session, exec: sleeper.exec})).signal, 15);
            await assert.rejects(client.exec.wait({session, exec: 'exec-none'}), NotFound);
            console.log('all of it');
        """)
        self.assertEqual(said, "all of it\n", "and it ends although streams were never opened")

    def test_terminals(self):
        self.client.session.create("minimal", id="terminals")
        said = self.node("""
            import assert from 'node:assert/strict';
            import { text } from 'node:stream/consumers';
            import { Client, InvalidState } from 'carrel';
            const client = await Client.connect();
            const session = 'terminals';
            async function shows(stream, word) {
                let shown = '';
                for await (const part of stream.iterator({destroyOnReturn: false})) {
                    shown += part;
                    if (shown.includes(word))
                        return shown;
                }
                assert.fail(`the end after ${shown}`);
            }

            const opened = await client.terminal.open({session, name: 'pane', command: ['sh'], rows: 24, cols: 80});
            assert.ok(opened.created && opened.terminal === 'pane');
            const stream = await client.openStream(opened.stream);
            stream.write("stty size; echo re''ady\\r");
            assert.match(await shows(stream, 'ready'), /24 80/);
            await client.exec.resize({session, exec: 'pane', rows: 10, cols: 20});
            stream.write("stty size; echo ag''ain\\r");
            assert.match(await shows(stream, 'again'), /10 20/);

            // A second viewer sees what was shown, and both what comes; the first leaves, and it goes on.
            const attached = await client.terminal.attach({session, terminal: 'pane'});
            assert.ok(!attached.created && attached.exec === opened.exec);
            const other = await client.openStream(attached.stream);
            await shows(other, 'again');
            stream.destroy();
            other.write("echo la''st; exit 7\\r");
            assert.match(await text(other), /last/);
            assert.equal((await client.exec.wait({session, exec: 'pane'})).exit_code, 7);

            // After the end.
            const late = await client.openStream((await client.terminal.attach({session, terminal: 'pane'})).stream);
            assert.match(await text(late), /24 80[^]*10 20[^]*last/);
            await assert.rejects(client.exec.resize({session, exec: 'pane', rows: 1, cols: 1}), InvalidState);
            console.log('all of it');
        """)
        self.assertEqual(said, "all of it\n")

    def test_ports(self):
        self.client.session.create("minimal", id="ports")
        self.client.exec.start("ports", ECHO_SERVER)
        echoing(lambda: self.client.port.connect("ports", port=7000))
        said = self.node("""
            import assert from 'node:assert/strict';
            import { randomBytes } from 'node:crypto';
            import net from 'node:net';
            import { Readable } from 'node:stream';
            import { buffer, text } from 'node:stream/consumers';
            import { pipeline } from 'node:stream/promises';
            import { CarrelError, Client, ConnectionError } from 'carrel';
            const client = await Client.connect();
            const session = 'ports';
            const echoed = async (stream, data) =>
                (await Promise.all([buffer(stream), pipeline(Readable.from([data]), stream, {end: true})]))[0];

            // The end of what is sent is not the end of what comes back; several at a time.
            const data = [...Array(8).keys()].map(() => randomBytes(500000));
            const streams = await Promise.all(data.map(async () =>
                client.openStream(await client.port.connect({session, port: 7000}))));
            const back = await Promise.all(streams.map((stream, i) => echoed(stream, data[i])));
            back.forEach((got, i) => assert.ok(got.equals(data[i])));

            const published = await client.port.publish({session, port: 7000, as: {unix: true}});
            const direct = net.connect({path: published.unix, allowHalfOpen: true});
            direct.end('by its socket');
            assert.equal(await text(direct), 'by its socket');
            assert.deepEqual(await client.port.unpublish({session, name: published.name}), {});

            await assert.rejects(client.port.connect({session, port: 7001}), (e) =>
                e instanceof CarrelError && e.errno === 'ECONNREFUSED');
            // A token is worth one stream; what shows it again, or one that is none, gets nothing.
            const offer = await client.port.connect({session, port: 7000});
            const got = await echoed(await client.openStream(offer), 'once');
            assert.equal(got.toString(), 'once');
            for (const wrong of [offer, {token: 'none'}]) {
                const [end] = await Promise.allSettled([client.openStream(wrong).then((stream) => text(stream))]);
                assert.ok(end.status === 'rejected' || !end.value.includes('once'), end.value);
            }
            await assert.rejects(new Client(null, '', '/nonexistent/stream.sock').openStream(offer), ConnectionError);
            console.log('all of it');
        """)
        self.assertEqual(said, "all of it\n")

    def test_streams_that_break(self):
        """What is written to nobody is an error of the stream, and of no other; one ends with its session."""
        self.client.session.create("minimal", id="breaks")
        said = self.node("""
            import assert from 'node:assert/strict';
            import { once } from 'node:events';
            import { setTimeout as sleep } from 'node:timers/promises';
            import { Client } from 'carrel';
            const client = await Client.connect();
            const session = 'breaks';
            const started = await client.exec.start({session, command: ['sh', '-c', 'exec <&-; echo closed; sleep 1000']});
            const stdin = await client.openStream(started.streams.stdin);
            const stdout = await client.openStream(started.streams.stdout);
            assert.equal((await once(stdout, 'data')).toString(), 'closed\\n');
            const broken = new Promise((resolve) => stdin.once('error', resolve));
            for (; !stdin.destroyed; await Promise.race([sleep(10), broken]))
                stdin.write(Buffer.alloc(65536));
            assert.match((await broken).code, /EPIPE|ECONNRESET/);
            assert.ok(!stdout.destroyed);
            const [ended] = await Promise.all([once(stdout.resume(), 'end'), client.session.remove({session})]);
            assert.deepEqual(ended, []);
            console.log('all of it');
        """)
        self.assertEqual(said, "all of it\n")

    def test_logs_and_events(self):
        self.client.session.create("minimal", id="talks", command=["/bin/busybox", "sh", "-c",
                                                                    "for i in 1 2 3; do echo $i; sleep 0.1; done"])
        said = self.node("""
            import { Client } from 'carrel';
            const client = await Client.connect();
            let text = '';
            for await (const entry of client.followLogs('talks'))
                if (entry.stream === 'stdout')
                    text += entry.text;
            for await (const event of client.followEvents({since: 0, session: 'talks'}))
                if (event.kind === 'session.ended') {
                    console.log(JSON.stringify(text), event.reason);
                    break;
                }
        """)
        self.assertEqual(said, '"1\\n2\\n3\\n" exited\n')

    def test_events_go_on_after_a_restart_of_control(self):
        timer = threading.Timer(0.5, lambda: os.kill(self.host.control_pid(), signal.SIGKILL))
        timer.start()
        said = self.node("""
            import { Client } from 'carrel';
            const client = await Client.connect();
            await client.session.create({template: 'minimal', id: 'first'});
            let started = false;
            const numbers = [];
            for await (const event of client.followEvents({since: 0})) {
                numbers.push(event.seq);
                if (!started) {
                    started = true;
                    // By then control was killed and started again.
                    setTimeout(async () => {
                        const other = await Client.connect();
                        await other.session.create({template: 'minimal', id: 'late', command: ['/bin/busybox', 'true']});
                    }, 2000);
                }
                if (event.session === 'late' && event.kind === 'session.ended')
                    break;
            }
            console.log(numbers.every((n, i) => n === numbers[0] + i));
        """)
        timer.join()
        self.host.wait_for_api()
        self.client.close()
        self.client = carrel.Client(str(self.host.socket_path))
        self.assertEqual(said, "true\n")


if __name__ == "__main__":
    unittest.main()
