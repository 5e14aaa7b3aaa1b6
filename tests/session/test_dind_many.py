# SPDX-License-Identifier: Apache-2.0
"""Sessions with a Docker daemon, ten of them at once: nothing is left of them, however they end."""

import concurrent.futures
import os
import pathlib
import re
import subprocess
import unittest

from carrel_dind import MAKE_BUSYBOX, DindHost, loop_devices
from carrel_host import ID_BASE, cgroup_root, own_network, wait_until


def setUpModule():
    own_network()


def processes_of(host):
    return [pid for file in (cgroup_root() / host.name).rglob("cgroup.procs") for pid in file.read_text().split()]


def network_of(pid):
    try:
        return os.stat(f"/proc/{pid}/ns/net").st_ino
    except OSError:
        return None


def holders(networks):
    """Processes that are in one of these network namespaces, or see one that is mounted somewhere."""
    found = []
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            mounted = set(map(int, re.findall(r" net:\[(\d+)\] ", (process / "mountinfo").read_text())))
        except OSError:
            continue
        if network_of(process.name) in networks or mounted & networks:
            found.append(process.name)
    return found


class Many(unittest.TestCase):
    def test_ten_at_once_and_nothing_left(self):
        host = DindHost()
        self.addCleanup(host.close)
        host.start()
        before = len(loop_devices(host.state_dir))
        self.assertEqual(before, 0)

        def live(i):
            client = host.client()
            name = f"many{i}"
            client.call("session.create", template="dind", id=name)
            prepare = "mkdir /workspace/b; printf 'FROM busybox\\nRUN hostname > /h\\n' > /workspace/b/Dockerfile"
            made = client.call("exec.run", session=name, command=["bash", "-c", MAKE_BUSYBOX + "\n" + prepare])
            self.assertEqual(made["exit_code"], 0, made)
            built = client.call("docker.build", session=name, context_path="b", image_tag="built")
            # Left running, with a network and a volume of its own, when the session is removed.
            client.call("docker.run", session=name, image="built", detach=True, command=["sleep", "1000"])
            return built["image_id"]

        with concurrent.futures.ThreadPoolExecutor(10) as pool:
            self.assertEqual(len(set(pool.map(live, range(10)))), 10)
        self.assertEqual(len(loop_devices(host.state_dir)), 20)
        networks = {n for n in map(network_of, processes_of(host)) if n}
        self.assertGreaterEqual(len(networks), 20, "those of the sessions and of their containers")
        client = host.client()
        for session in client.call("session.list")["sessions"]:
            client.call("session.remove", session=session["id"])
        wait_until(lambda: not loop_devices(host.state_dir), 10, "no loop device")
        self.assertEqual(host.init_pids(), [])
        self.assertEqual(holders(networks), [])
        shifted = subprocess.run(["find", host.state_dir, "-uid", f"+{ID_BASE - 1}", "-o", "-gid", f"+{ID_BASE - 1}"], capture_output=True, check=True)
        self.assertEqual(shifted.stdout, b"")

    def test_scratch_goes_when_everything_is_killed(self):
        host = DindHost()
        self.addCleanup(host.close)
        host.start()
        client = host.client()
        client.call("session.create", template="dind", id="orphan")
        self.assertEqual(len(loop_devices(host.state_dir)), 2)
        host.process.kill()
        host.process.wait()
        # The session goes on, and so does its scratch; the next carreld takes both over and ends them.
        self.assertEqual(len(loop_devices(host.state_dir)), 2)
        host.start()
        client = host.client()
        ran = client.call("exec.run", session="orphan", command=["docker", "info", "-f", "{{.Driver}}"])
        self.assertEqual(ran["stdout"], "overlay2\n")
        client.call("session.remove", session="orphan")
        wait_until(lambda: not loop_devices(host.state_dir), 10, "no loop device")


if __name__ == "__main__":
    unittest.main()
