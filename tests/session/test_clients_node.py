# SPDX-License-Identifier: Apache-2.0
"""The client library for Node against a real carrel: calls, streams of every kind, events over a restart."""

import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import threading
import unittest

from carrel_host import own_network, scaled
from test_clients import ECHO_SERVER, TOP, Clients, carrel, echoing, example

NODE = shutil.which("node")


def setUpModule():
    own_network()


@unittest.skipUnless(NODE, "there is no node: the client library for it is not tested")
class Node(Clients):
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
