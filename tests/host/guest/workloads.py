# SPDX-License-Identifier: Apache-2.0
"""What sessions are for, on the installed service: Docker with its limits on containers, and a browser."""

import contextlib
import json
import pathlib
import shutil
import subprocess
import time
import urllib.request

from carrel_host import Client, scaled, wait_until

API = "/run/carrel/api.sock"
TEMPLATES = pathlib.Path("/etc/carrel/templates.d")
STORE = pathlib.Path("/var/lib/carrel/rootfs")
IMAGES = pathlib.Path("/var/lib/carrel/images")
SERVICES = ("carreld.service", "carrel-control.service")
DISK = pathlib.Path("/run/guest-images")
PREFIX = "slow-"  # of templates whose patience fits a machine like this, and whose browser has nothing but what is needed
IMAGES_OF = {"browser": "browser-small", "dind": "dind"}  # by template
SHELL = "/usr/lib/chromium/chromium-headless-shell"
PAGE = "data:text/html,<title>carrel</title>"

# The image "busybox", with as few processes as will do.
MAKE_BUSYBOX = """set -e; mkdir -p /tmp/b/bin; cp /bin/busybox /tmp/b/bin
for name in cat dd grep sh sleep; do ln -s busybox /tmp/b/bin/$name; done
tar -C /tmp/b -c . | docker import -c 'ENV PATH=/bin' - busybox"""

# With room for this shell and seven more; then more memory than there may be, in the container's first process.
GREEDY = """cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max
(for i in 1 2 3 4 5 6 7 8 9; do sleep 1000 & done) 2>&1
exec dd if=/dev/zero of=/dev/null bs=64M count=1"""
BUSY = """cat /sys/fs/cgroup/cpu.max; until grep '^nr_throttled [1-9]' /sys/fs/cgroup/cpu.stat; do :; done"""


def images_disk():
    """The disk of tests/host/images.py, or None."""
    return next((pathlib.Path("/dev") / disk.name for disk in pathlib.Path("/sys/block").glob("vd*")
                 if (disk / "serial").read_text().strip() == "images"), None)


def stop_services():
    # That a socket can start them again need not be said.
    subprocess.run(["systemctl", "stop", *SERVICES], check=True, stderr=subprocess.DEVNULL)


def put_images(disk):
    """What `carrel image build` would have made here, had the guest a network and an hour."""
    stop_services()
    DISK.mkdir()
    subprocess.run(["mount", disk, DISK], check=True)
    subprocess.run(["mount", "--bind", DISK / "rootfs", STORE], check=True)
    for name, image in IMAGES_OF.items():
        shutil.copy(DISK / f"images/{image}.json", IMAGES)
        template = json.loads((TEMPLATES / f"{name}.json").read_text())
        template["image"] = image
        template["limits"]["cpus"] = 2
        template["readiness"].update(timeout_seconds=int(scaled(4)), interval_ms=500)
        template["liveness"] = None
        if name == "browser":
            template["command"] = [SHELL, *template["command"][1:], PAGE]
        (TEMPLATES / f"{PREFIX}{name}.json").write_text(json.dumps(template))
    subprocess.run(["systemctl", "start", *SERVICES], check=True)


def take_images():
    """Also after half of the other."""
    stop_services()
    for name, image in IMAGES_OF.items():
        (TEMPLATES / f"{PREFIX}{name}.json").unlink(missing_ok=True)
        (IMAGES / f"{image}.json").unlink(missing_ok=True)
    subprocess.run(["umount", STORE, DISK], check=True)
    DISK.rmdir()
    subprocess.run(["systemctl", "start", *SERVICES], check=True)


@contextlib.contextmanager
def session_of(name):
    """A ready session and a connection; how long it took is printed, and what the session said when something fails."""
    begun = time.monotonic()
    client = Client(API)
    try:
        session = client.call("session.create", template=f"{PREFIX}{name}", id=name)
        print(f"{name}: ready after {time.monotonic() - begun:.1f} s")
        yield client, session
    except BaseException:
        print(f"{name}: failed after {time.monotonic() - begun:.1f} s; what it said:\n{log_of(name)}")
        raise
    finally:
        client.close()
        subprocess.run(["carrel", "remove", name], check=True, timeout=scaled(2), stdout=subprocess.DEVNULL)
        print(f"{name}: gone after {time.monotonic() - begun:.1f} s")


def log_of(name):
    return subprocess.run(["carrel", "logs", name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=scaled(2)).stdout


class Workloads:
    """Tests of a unittest.TestCase; carrel is installed and runs."""

    def test_7_workloads(self):
        disk = images_disk()
        if not disk:
            self.skipTest("this machine has no disk with images")
        self.addCleanup(take_images)
        put_images(disk)
        with self.subTest("docker"), session_of("dind") as (client, _):
            self.docker(client)
        with self.subTest("browser"), session_of("browser") as (_, session):
            self.browser(session["cdp_url"])

    def docker(self, client):
        """Limits of nested containers, which the session's own controllers enforce."""
        def shell(script):
            return client.call("exec.run", session="dind", command=["bash", "-c", script], timeout_seconds=4)

        made = shell(MAKE_BUSYBOX)
        self.assertEqual(made["exit_code"], 0, made)
        result = shell(f"docker run --name greedy --memory 32m --pids-limit 8 busybox sh -c '{GREEDY}'")
        self.assertEqual(result["stdout"].splitlines()[:2], [str(32 << 20), "8"], result)
        self.assertIn("can't fork", result["stdout"])
        self.assertEqual(result["exit_code"], 137, result)
        self.assertEqual(shell("docker inspect -f '{{.State.OOMKilled}}' greedy")["stdout"], "true\n")
        result = shell(f"docker run --cpus 0.2 busybox sh -c \"{BUSY}\"")
        self.assertEqual((result["exit_code"], result["stdout"].splitlines()[0]), (0, "20000 100000"), result)
        self.assertIn("nr_throttled", result["stdout"])

    def browser(self, base):
        def get(path):
            with urllib.request.urlopen(base + path, timeout=scaled(2)) as answer:
                return json.load(answer)

        self.assertIn("Chrome", get("/json/version")["Browser"])
        wait_until(lambda: "carrel" in [page["title"] for page in get("/json/list")], 3, "the page's title")
