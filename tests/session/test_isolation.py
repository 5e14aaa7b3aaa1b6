# SPDX-License-Identifier: Apache-2.0
"""Nothing passes between sessions, nor from a session to the host; the host reaches what a session offers."""

import re
import shutil
import socket
import subprocess
import threading
import unittest

from carrel_host import Host, RpcError, compile_static, own_network, wait_until


def setUpModule():
    own_network()
    # The host's own address, on an interface that could lead elsewhere.
    for command in ("link add uplink type veth peer name elsewhere", "link set uplink up", "link set elsewhere up",
                    "addr add 192.0.2.1/24 dev uplink", "addr add 2001:db8::1/64 dev uplink nodad"):
        subprocess.run(["ip", *command.split()], check=True)


class Listener:
    """Counts what reaches a port of the host, over TCP and UDP, IPv4 and IPv6."""

    def __init__(self, port):
        self.seen = []
        self.tcp = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
        self.udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self.udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self.udp.bind(("::", port))
        for function in (self.accept, self.receive):
            threading.Thread(target=function, daemon=True).start()

    def accept(self):
        while True:
            connection, peer = self.tcp.accept()
            self.seen.append(("tcp", peer[0]))
            connection.close()

    def receive(self):
        while True:
            _, peer = self.udp.recvfrom(100)
            self.seen.append(("udp", peer[0]))


class Isolation(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # A workload with raw sockets, and one port of its loopback redirected.
        template = {**Host.template(None, "minimal"), "capabilities": ["NET_RAW"]}
        template["network"] = {**template.get("network", {}), "loopback_ports": [7000]}
        cls.host = Host(templates={"prober": template})
        shutil.copy(compile_static("prober.c", cls.host.dir), cls.host.state_dir / "rootfs/minimal/0/bin/prober")
        cls.host.start()
        cls.client = cls.host.client()
        cls.victim = cls.serve("victim", 8000)
        cls.listener = Listener(7777)

    @classmethod
    def tearDownClass(cls):
        cls.host.close()

    @classmethod
    def serve(cls, name, port):
        """A session that answers on PORT."""
        session = cls.client.call("session.create", template="prober", id=name, command=["/bin/prober", "serve", str(port)])
        wait_until(lambda: "serving" in cls.output(name), what="the server")
        return session

    @classmethod
    def output(cls, name):
        return "".join(e["text"] for e in cls.client.call("session.logs", session=name)["entries"])

    def inside(self, *tries):
        """Makes each try ("tcp 10.0.0.1 80") from a new session; {"tcp 10.0.0.1": result}."""
        script = "\n".join(f"prober {t} &" for t in tries) + "\nwait\n"
        session = self.client.call("session.create", template="prober", wait="created",
                                   command=["/bin/busybox", "sh", "-c", script])
        self.client.call("session.wait", session=session["id"], **{"for": "ended"}, timeout_seconds=50)
        said = dict(re.findall(r"^(\w+ \S+): (.*)$", self.output(session["id"]), re.M))
        self.client.call("session.remove", session=session["id"])
        self.assertEqual(len(said), len(tries), said)
        return said

    def from_host(self, protocol, address, port):
        result = subprocess.run([self.host.dir / "prober", protocol, address, str(port)], capture_output=True, text=True)
        return result.stdout.split(": ", 1)[1].strip()

    def host_end(self):
        network, last = self.victim["address"].rsplit(".", 1)
        return f"{network}.{int(last) + 1}"

    def test_the_tries_would_work(self):
        """A session reaches itself, by every protocol: what fails below fails because of a wall."""
        tries = [f"{p} {a} 7000" for p in ("tcp", "udp", "icmp") for a in ("127.0.0.1", "::1")]
        session = self.client.call("session.create", template="prober", wait="created", command=[
            "/bin/busybox", "sh", "-c",
            "prober serve 7000 & sleep 0.2\n" + "\n".join(f"prober {t}" for t in tries) + "\nkill $!"])
        self.client.call("session.wait", session=session["id"], **{"for": "ended"}, timeout_seconds=50)
        said = self.output(session["id"])
        for t in tries:
            self.assertIn(f"{' '.join(t.split()[:2])}: reached", said)

    def test_the_host_reaches_the_session(self):
        for address in (self.victim["address"], self.victim["ipv6"]):
            for protocol in ("tcp", "udp", "icmp"):
                self.assertEqual(self.from_host(protocol, address, 8000), "reached", f"{protocol} {address}")

    def test_loopback_port_is_reached_at_the_address(self):
        session = self.client.call("session.create", template="prober", id="looped", command=[
            "/bin/busybox", "sh", "-c", "echo serving; exec busybox httpd -f -p 127.0.0.1:7000"])
        wait_until(lambda: self.from_host("tcp", session["address"], 7000) == "reached", what="the redirect")
        self.assertEqual(self.from_host("tcp", session["address"], 7001), "Connection refused")

    def test_sessions_do_not_reach_each_other(self):
        other = self.serve("other", 8000)
        before = self.output("victim").count("got") + self.output("other").count("got")
        tries = [f"{p} {s[a]} 8000" for p in ("tcp", "udp", "icmp") for s in (self.victim, other)
                 for a in ("address", "ipv6")]
        for name, result in self.inside(*tries).items():
            self.assertNotEqual(result, "reached", name)
        self.assertEqual(self.output("victim").count("got") + self.output("other").count("got"), before)

    def test_sessions_do_not_reach_the_host(self):
        hosts = ["192.0.2.1", "2001:db8::1", self.host_end(), "169.254.169.254"]
        tries = [f"{p} {a} 7777" for p in ("tcp", "udp", "icmp") for a in hosts]
        for name, result in self.inside(*tries).items():
            self.assertNotEqual(result, "reached", name)
        self.assertEqual(self.listener.seen, [])
        # The listener does listen: the host itself reaches it.
        self.assertEqual(self.from_host("tcp", "192.0.2.1", 7777), "reached")
        wait_until(lambda: self.listener.seen, what="the listener's own check")
        self.listener.seen.clear()

    def test_egress_must_be_allowed_by_the_template(self):
        with self.assertRaises(RpcError) as caught:
            self.client.call("session.create", template="minimal", egress="internet")
        self.assertIn(caught.exception.kind, ("denied", "limit"))
        self.assertRegex(str(caught.exception), "egress|internet")

    def test_interface_is_bare(self):
        session = self.client.call("session.create", template="prober", wait="created", command=[
            "/bin/busybox", "sh", "-c", "ip addr show; ip route; ip neigh"])
        self.client.call("session.wait", session=session["id"], **{"for": "ended"}, timeout_seconds=50)
        said = self.output(session["id"])
        self.assertNotIn("fe80", said)
        self.assertEqual(len(re.findall(r"^\d+: ", said, re.M)), 2, said)


if __name__ == "__main__":
    unittest.main()
