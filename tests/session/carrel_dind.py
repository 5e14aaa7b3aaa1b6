# SPDX-License-Identifier: Apache-2.0
"""A throw-away host whose sessions have Docker daemons.

The image takes a minute to make, so it is made once, below CARREL_BUILD, and each host gets a copy of hard links. The
hosts keep their state there, too: scratch is on a disk, as it is in real life.

There is no registry: base images are busybox, which every session has, put into a tar and imported.
"""

import fcntl
import json
import os
import pathlib
import subprocess

from carrel_host import ROOT, Host

BUILD = pathlib.Path(os.environ.get("CARREL_BUILD", "/nonexistent"))
STORE = BUILD / "dind-store"
SCRATCH_BYTES = 1 << 30
WORKSPACE_BYTES = 64 << 20
MACHINE = os.open("/proc/self/ns/net", os.O_RDONLY)  # imported before own_network() is called


def template(**changes):
    """The one that is installed, with less room, so that a test can fill it."""
    installed = json.loads((ROOT / "etc/carrel/templates.d/dind.json").read_text())
    for mount in installed["mounts"]:
        if mount["type"] == "scratch":
            mount["size_bytes"] = SCRATCH_BYTES if mount["target"] == "/var/lib/docker" else WORKSPACE_BYTES
    return {**installed, **changes}


def build_image(host):
    """In the machine's network, where Debian's packages are; the calling process may have left it. One module at a time."""
    lock = open(BUILD / "dind-store.lock", "w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    built = subprocess.run(
        ["nsenter", f"--net=/proc/self/fd/{MACHINE}", str(ROOT / "usr/bin/carrel"), "image", "build", "dind", "--state-dir",
         str(STORE), "--libexec-dir", str(host.libexec_dir), "--config", str(host.config_dir)],
        capture_output=True, text=True, timeout=1200, pass_fds=(MACHINE,))
    lock.close()
    if built.returncode != 0:
        raise AssertionError(f"the image is not built: {built.stdout}{built.stderr}")


class DindHost(Host):
    def __init__(self, config=None, templates=None):
        super().__init__(config, {"dind": template(), **(templates or {})}, state_base=BUILD)
        build_image(self)
        # Of rootfs/ but what is shared: each host has its own lock and scratch.
        for part in ("rootfs/dind", "rootfs/.scratch", "images"):
            (self.state_dir / part).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            subprocess.run(["cp", "-al", STORE / part, self.state_dir / part], check=True)

    def leftovers(self):
        """Loop devices, too, and files that only they hold."""
        found = super().leftovers()
        loops = loop_devices(self.state_dir)
        return {**found, "loop devices": loops} if loops else found


def loop_devices(directory):
    """Those whose files are, or were, below DIRECTORY."""
    found = []
    for backing in pathlib.Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            if backing.read_text().startswith(str(directory)):
                found.append(backing.parts[3])
        except OSError:
            pass
    return sorted(found)


# Run in a session: the image "busybox", of nothing else.
MAKE_BUSYBOX = """set -e
rm -rf /tmp/busybox; mkdir -p /tmp/busybox/bin /tmp/busybox/etc /tmp/busybox/tmp /tmp/busybox/proc /tmp/busybox/sys /tmp/busybox/dev
cp /bin/busybox /tmp/busybox/bin; /bin/busybox --list | while read name; do
    [ $name = busybox ] || ln -s busybox /tmp/busybox/bin/$name; done
printf 'root:x:0:0:root:/:/bin/sh\\n' > /tmp/busybox/etc/passwd
tar -C /tmp/busybox -c . | docker import -c 'ENV PATH=/bin' - busybox
rm -r /tmp/busybox"""
