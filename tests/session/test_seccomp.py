# SPDX-License-Identifier: Apache-2.0
"""The system call profiles are enough for what they are named after: each runs its real programs, with nothing else
of a session around them."""

import http.server
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import threading
import unittest

from carrel_host import wait_until

RUN = str(pathlib.Path(os.environ.get("CARREL_BUILD", "/nonexistent")) / "tests/session/seccomp_run")
UID = 61185  # that no account has
CHROMIUM = "/usr/lib/chromium/chromium"

PAGE = b"""<!doctype html><canvas id=c></canvas><script>
const wasm = new Uint8Array([0,97,115,109,1,0,0,0,1,7,1,96,2,127,127,1,127,3,2,1,0,7,7,1,3,97,100,100,0,0,10,9,1,7,0,32,0,32,1,106,11]);
const worker = source => new Promise(done => {
  const w = new Worker(URL.createObjectURL(new Blob([source])));
  w.onmessage = e => done(e.data); w.postMessage(1); });
const stored = () => new Promise((done, fail) => {
  const open = indexedDB.open('d', 1);
  open.onupgradeneeded = () => open.result.createObjectStore('s');
  open.onerror = () => fail(open.error);
  open.onsuccess = () => {
    const t = open.result.transaction('s', 'readwrite'); t.objectStore('s').put('kept', 'k');
    t.oncomplete = () => { open.result.transaction('s').objectStore('s').get('k').onsuccess = e => done(e.target.result); }; }; });
const random = () => crypto.subtle.digest('SHA-256', new Uint8Array([1])).then(d => d.byteLength);
(async () => {
  const result = {};
  result.wasm = (await WebAssembly.instantiate(wasm)).instance.exports.add(40, 2);
  result.worker = await worker('onmessage = e => postMessage(e.data + 1)');
  result.fetched = await (await fetch('/data')).text();
  result.stored = await stored();
  result.hash = await random();
  const c = document.getElementById('c').getContext('2d'); c.fillText('x', 5, 5);
  result.drawn = c.getImageData(0, 0, 20, 20).data.some(v => v);
  await fetch('/done', {method: 'POST', body: JSON.stringify(result)});
})().catch(e => fetch('/done', {method: 'POST', body: JSON.stringify({error: String(e)})}));
</script>"""


class Site:
    """A web site on 127.0.0.1 that keeps what the page sends to /done."""

    def __init__(self):
        site = self
        self.result = None

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self, kind, body):
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self):
                self.answer("text/html", b"hello" if self.path == "/data" else PAGE)

            def do_POST(self):
                site.result = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.answer("text/plain", b"")

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def status_of(pid):
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def renderers(group):
    """Pids of Chromium's renderers in a process group's session."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if b"--type=renderer" in (entry / "cmdline").read_bytes() and os.getsid(int(entry.name)) == group:
                found.append(int(entry.name))
        except OSError:
            continue
    return found


class SeccompTest(unittest.TestCase):
    def setUp(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="carrel-seccomp-"))
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.directory.chmod(0o755)

    def run_under(self, profile, uid, *command, **kwargs):
        return subprocess.run([RUN, profile, str(uid), *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=60, cwd="/", **kwargs)

    def shell(self, profile, script):
        return self.run_under(profile, UID, "/bin/busybox", "sh", "-c", script)

    def test_shell(self):
        for profile in ("minimal", "browser", "dind"):
            with self.subTest(profile):
                r = self.shell(profile, "echo a b | wc -w; (sleep 0 & wait; id -u); f=$(mktemp); echo x >$f; "
                                        "ls -l $f | wc -l; tar c $f 2>/dev/null | tar t | wc -l; rm $f; kill -0 $$ && echo end")
                self.assertEqual((r.returncode, r.stdout.split()), (0, ["2", str(UID), "1", "1", "end"]), r.stdout)

    def test_interpreter(self):
        program = """
import asyncio, multiprocessing, os, select, socket, subprocess, threading
a, b = socket.socketpair(); a.send(b'x'); assert b.recv(1) == b'x'
with multiprocessing.Pool(2) as pool: assert pool.map(abs, [-1, 2]) == [1, 2]
assert subprocess.check_output(['/bin/busybox', 'echo', 'y']) == b'y\\n'
async def serve():
    server = await asyncio.start_server(lambda r, w: (w.write(b'z'), w.close()), '127.0.0.1', 0)
    r, w = await asyncio.open_connection(*server.sockets[0].getsockname())
    return await r.read()
assert asyncio.run(serve()) == b'z'
print('done')
"""
        for profile in ("minimal", "browser", "dind"):
            with self.subTest(profile):
                r = self.run_under(profile, UID, "/usr/bin/python3", "-I", "-c", program)
                self.assertEqual((r.returncode, r.stdout), (0, "done\n"))

    def test_minimal_makes_no_namespaces(self):
        r = self.shell("minimal", "unshare -U true; unshare -n true; chroot / true; hostname x; dmesg")
        self.assertEqual(r.stdout.count("not permitted"), 5, r.stdout)

    def test_browser(self):
        """Chromium with its own sandbox whole: a second filter and namespaces of their own around every renderer."""
        site = Site()
        self.addCleanup(site.close)
        home = self.directory / "home"
        home.mkdir()
        os.chown(home, UID, UID)
        log = open(self.directory / "log", "w+")
        self.addCleanup(log.close)
        browser = subprocess.Popen(
            [RUN, "browser", str(UID), CHROMIUM, "--headless", "--disable-gpu", "--disable-quic", "--no-first-run",
             "--no-default-browser-check", "--disable-background-networking", "--disable-component-update",
             "--disable-sync", "--disable-breakpad", "--password-store=basic", f"--user-data-dir={home}/profile",
             "--remote-debugging-port=0", site.url],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=home, start_new_session=True,
            env={"PATH": "/usr/bin:/bin", "HOME": str(home), "LANG": "C.UTF-8"})
        try:
            wait_until(lambda: site.result or browser.poll() is not None, 60, "the page's result")
            log.seek(0)
            self.assertEqual(site.result, {"wasm": 42, "worker": 2, "fetched": "hello", "stored": "kept", "hash": 32,
                                           "drawn": True}, log.read())
            own_user = os.readlink(f"/proc/{browser.pid}/ns/user")
            found = renderers(browser.pid)
            self.assertTrue(found)
            for pid in found:
                status = status_of(pid)
                self.assertGreaterEqual(len(status["NSpid"].split()), 2, "a pid namespace of its own")
                self.assertEqual(status["Seccomp"].strip(), "2")
                self.assertGreaterEqual(int(status["Seccomp_filters"]), 2, "Chromium's own filter")
                self.assertNotEqual(os.readlink(f"/proc/{pid}/ns/user"), own_user)
        finally:
            os.killpg(browser.pid, signal.SIGKILL)
            browser.wait()

    def test_container(self):
        """runc makes a container, with a filter of its own, in a user namespace that has no more than dind."""
        bundle = self.directory / "bundle"
        root = bundle / "rootfs"
        for name in ("bin", "proc", "dev", "sys"):
            (root / name).mkdir(parents=True)
        shutil.copy("/bin/busybox", root / "bin")
        subprocess.run(["runc", "spec", "--rootless"], cwd=bundle, check=True)
        config = json.loads((bundle / "config.json").read_text())
        config["process"]["terminal"] = False
        config["process"]["args"] = ["/bin/busybox", "sh", "-c", "busybox hostname; busybox id -u; echo $$"]
        config["hostname"] = "inner"
        config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW",
                                      "syscalls": [{"names": ["bpf"], "action": "SCMP_ACT_ERRNO"}]}
        (bundle / "config.json").write_text(json.dumps(config))
        state = self.directory / "state"
        state.mkdir()
        r = self.run_under("dind", 0, "unshare", "-Urmpf", "--mount-proc", "/bin/busybox", "sh", "-c",
                           f"mount -t tmpfs none {state} && cd {state} && mkdir l u w m && "
                           "mount -t overlay -o lowerdir=l,upperdir=u,workdir=w,userxattr none m && echo overlay && "
                           f"runc --root {state}/runc run -b {bundle} inner")
        self.assertEqual((r.returncode, r.stdout.split()), (0, ["overlay", "inner", "0", "1"]), r.stdout)


if __name__ == "__main__":
    unittest.main()
