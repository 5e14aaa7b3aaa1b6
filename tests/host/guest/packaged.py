# SPDX-License-Identifier: Apache-2.0
"""What the tests of the Debian package share: how to ask systemd, dpkg and carrel, and a terminal that is to survive."""

import json
import os
import pathlib
import socket
import subprocess

from carrel_host import Client, scaled

PACKAGES = pathlib.Path("/carrel/packages")
API = "/run/carrel/api.sock"
CGROUP = pathlib.Path("/sys/fs/cgroup/carrel.slice/carrel-sessions.service/sessions")
UNITS = ("carreld.service", "carrel-control.service", "carrel-sessions.service", "carrel-grace.service")


def run(*command, user=None, check=True):
    if user:
        command = ("setpriv", "--reuid", user, "--regid", user, "--init-groups", *command)
    result = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=240)
    if check and result.returncode != 0:
        raise AssertionError(f"{' '.join(command)}: {result.returncode}\n{result.stdout}{result.stderr}\n{journal()}")
    return result


def journal():
    return subprocess.run(["journalctl", "-b", "--no-pager", "-n", "60", "-u", "carrel*"], capture_output=True,
                          text=True).stdout


def prop(unit, name):
    return run("systemctl", "show", "-P", name, unit).stdout.strip()


def main_pid(unit):
    return int(prop(unit, "MainPID"))


def call(method, **params):
    client = Client(API)
    try:
        return client.call(method, **params)
    finally:
        client.close()


class Terminal:
    """A shell in a session, whose variable tells whether it is still the same."""

    def __init__(self, session):
        opened = call("terminal.open", session=session["id"], rows=24, cols=80, command=["/bin/busybox", "sh"])
        self.session, self.name = session["id"], opened["terminal"]
        self.say(opened["stream"], b"there=yes\n", b"there=yes")

    def assert_lives(self):
        attached = call("terminal.attach", session=self.session, terminal=self.name)
        self.say(attached["stream"], b"echo still-$there\n", b"still-yes")

    @staticmethod
    def say(offered, line, expected):
        with socket.socket(socket.AF_UNIX) as stream:
            stream.settimeout(scaled(10))
            stream.connect("/run/carrel/stream.sock")
            stream.sendall(json.dumps({"token": offered["token"]}).encode() + b"\n" + line)
            seen = b""
            while expected not in seen:
                got = stream.recv(4096)
                if not got:
                    raise AssertionError(f"the terminal ended after {seen}")
                seen += got


def install(version):
    return run("dpkg", "--install", str(*PACKAGES.glob(f"carrel_{version}_*.deb")))


def unexpected_items():
    """What `carrel check` says is not ok, but for templates whose images nobody has built yet, and for what the kernel can
    do since 6.6 only."""
    items = json.loads(run("carrel", "check", "--json", check=False).stdout)["items"]
    old = tuple(int(n) for n in os.uname().release.split(".")[:2]) < (6, 6)
    return {item["name"] for item in items if item["state"] != "ok" and not item["name"].startswith("template")
            and not (old and item["name"] == "tmpfs")}
