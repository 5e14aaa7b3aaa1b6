# SPDX-License-Identifier: Apache-2.0
"""Every system call of the supervisor while it creates a session fails once: the request fails with its step and
errno, and nothing is left. So does every one while it removes a session, and it is removed all the same. strace injects
the faults."""

import os
import pathlib
import re
import signal
import subprocess
import time
import unittest

from carrel_host import Host, RpcError, own_network, snapshot, wait_until

# A plausible errno for each call that can fail for reasons of the host; others are not made to fail because the kernel
# has no way to (close of a valid descriptor, ...) or because they are how the supervisor waits.
PLAUSIBLE = {
    "openat": "EMFILE", "openat2": "EMFILE", "mkdirat": "ENOSPC", "socket": "ENFILE", "socketpair": "ENFILE",
    "bind": "ENOSPC", "listen": "ENOBUFS", "pwrite64": "ENOSPC", "write": "EIO", "clone": "EAGAIN", "clone3": "EAGAIN",
    "mmap": "ENOMEM", "open_tree": "ENOMEM", "mount_setattr": "EINVAL", "pidfd_open": "EMFILE", "sendmsg": "ENOBUFS",
    "fcntl": "EMFILE", "connect": "ECONNREFUSED", "epoll_ctl": "ENOSPC", "setns": "EPERM", "fchown": "EPERM", "fchownat": "EPERM",
    "sendto": "ENOBUFS", "fchmodat": "EPERM", "timerfd_settime": None, "read": None, "epoll_wait": None, "close": None,
}


# The same for what a removal calls beside those.
REMOVING = {**PLAUSIBLE, "unlinkat": "EIO", "pidfd_send_signal": "EPERM", "renameat2": "ENOSPC", "recvfrom": "ENOBUFS"}

STEPS = {"slot", "directory", "cgroup", "network", "rootfs", "init"}


def setUpModule():
    own_network()


class Faults(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # Without spare networks the making of one is part of every creation.
        cls.host = Host(config={"spare_networks": 0}).start()

    @classmethod
    def tearDownClass(cls):
        cls.host.close()

    def setUp(self):
        self.client = self.host.client()

    def trace(self, *options):
        """Attaches strace to the supervisor (not to what it forks); returns the process once it is attached."""
        tracer = subprocess.Popen(["strace", "-p", str(self.host.process.pid), *options], stdout=subprocess.DEVNULL,
                                  stderr=subprocess.PIPE, text=True)
        line = tracer.stderr.readline()
        self.assertIn("attached", line)
        return tracer

    @staticmethod
    def detach(tracer):
        tracer.send_signal(signal.SIGINT)
        tracer.wait(10)
        tracer.stderr.close()

    def clean(self):
        return wait_until(lambda: not self.unclean(), what=f"nothing left: {self.unclean()}")

    def unclean(self):
        now = snapshot(self.host)
        return {kind: now[kind] - self.base[kind] for kind in now if now[kind] - self.base[kind]}

    def calls_of(self, *create_or_remove):
        """What a creation and a removal call, or the one of them that is named."""
        log = self.host.dir / "trace"
        for what in ("create", "remove"):
            traced = what in create_or_remove
            tracer = self.trace("-o", str(log)) if traced else None
            self.client.call(f"session.{what}", **({"template": "minimal", "id": "traced"} if what == "create" else {"session": "traced"}))
            if traced:
                self.detach(tracer)
        text = log.read_text()
        log.unlink()
        return re.findall(r"^(\w+)\(", text, re.M)

    def test_every_call_fails_once(self):
        self.base = snapshot(self.host)
        names = self.calls_of("create")
        self.clean()
        counted = {name: names.count(name) for name in dict.fromkeys(names) if PLAUSIBLE.get(name)}
        unknown = set(names) - set(PLAUSIBLE)
        failed, survived, steps = 0, [], set()
        for name, times in counted.items():
            for when in range(1, times + 1):
                with self.subTest(call=name, when=when):
                    tracer = self.trace("-e", f"trace={name}", "-e", f"inject={name}:error={PLAUSIBLE[name]}:when={when}",
                                        "-o", "/dev/null")
                    identity = f"f-{name.replace('_', '-')}-{when}"
                    try:
                        self.client.call("session.create", template="minimal", id=identity)
                        survived.append(f"{name} {when}")
                    except RpcError as e:
                        failed += 1
                        self.assertIn(e.kind, ("failed", "busy", "unavailable", "limit"), e)
                        if e.kind == "failed":
                            self.assertIn(e.data.get("step"), STEPS, e.data)
                            steps.add(e.data["step"])
                    except ConnectionError:
                        # Control could not be answered and was started again: it must be back, and whole.
                        self.client = None
                    finally:
                        self.detach(tracer)
                    if self.host.process.poll() is not None:
                        # The one call without which it must not go on: coming back from a session's namespace.
                        self.assertEqual((name, when), ("setns", 2), self.host.log())
                        self.host.start()
                    if self.client is None:
                        self.host.wait_for_api()
                        self.client = self.host.client()
                    for session in self.client.call("session.list")["sessions"]:
                        self.client.call("session.remove", session=session["id"])
                    self.assertIsNone(self.host.process.poll(), self.host.log())
                    self.clean()
        print(f"\n  {failed} faults refused, {len(survived)} survived, steps {sorted(steps)}; "
              f"calls without a fault: {sorted(unknown)}")
        self.assertGreater(failed, 20)
        self.assertEqual(steps, STEPS - {"slot"})

    def test_every_call_of_a_removal_fails_once(self):
        self.base = snapshot(self.host)
        names = self.calls_of("remove")
        self.clean()
        counted = {name: names.count(name) for name in dict.fromkeys(names) if REMOVING.get(name)}
        outcomes = {}
        for name, times in counted.items():
            for when in range(1, times + 1):
                with self.subTest(call=name, when=when):
                    self.client.call("session.create", template="minimal", id="victim")
                    tracer = self.trace("-e", f"trace={name}", "-e", f"inject={name}:error={REMOVING[name]}:when={when}", "-o", "/dev/null")
                    try:
                        self.client.call("session.remove", session="victim")
                        outcome = "removed"
                    except RpcError as e:
                        outcome = e.kind
                    except ConnectionError:
                        outcome = "control started again"
                    finally:
                        self.detach(tracer)
                    outcomes[outcome] = outcomes.get(outcome, 0) + 1
                    self.assertIsNone(self.host.process.poll(), self.host.log())
                    self.host.wait_for_api()
                    self.client = self.host.client()
                    for session in self.client.call("session.list")["sessions"]:
                        self.client.call("session.remove", session=session["id"])
                    self.clean()
        print(f"\n  {sum(outcomes.values())} faults: {outcomes}")
        self.assertLessEqual(set(outcomes), {"removed", "failed", "unavailable", "control started again"})
        self.assertGreater(sum(outcomes.values()), 10)

    def test_every_step_fails_by_itself(self):
        """The same by means of the host: something is in the way of each step."""
        self.base = snapshot(self.host)
        blocked = {
            "directory": lambda name: (self.host.run_dir / "sessions" / name),
            "cgroup": lambda name: pathlib.Path("/sys/fs/cgroup") / ("" if os.path.exists(
                "/sys/fs/cgroup/cgroup.controllers") else "unified") / self.host.name / "sessions" / name,
        }
        for step, path_of in blocked.items():
            name = f"blocked-{step}"
            path = path_of(name)
            path.mkdir()
            with self.subTest(step=step):
                with self.assertRaises(RpcError) as caught:
                    self.client.call("session.create", template="minimal", id=name)
                self.assertEqual(caught.exception.data["step"], step)
                self.assertEqual(caught.exception.data["errno"], "EEXIST")
            if path.exists():
                path.rmdir()
            self.clean()
        image = self.host.state_dir / "rootfs/minimal"
        image.rename(image.with_name("elsewhere"))
        try:
            with self.assertRaises(RpcError) as caught:
                self.client.call("session.create", template="minimal")
            self.assertEqual(caught.exception.data["step"], "rootfs")
            self.assertEqual(caught.exception.data["errno"], "ENOENT")
        finally:
            image.with_name("elsewhere").rename(image)
        self.clean()


if __name__ == "__main__":
    unittest.main()
