# SPDX-License-Identifier: Apache-2.0
"""Nothing passes between sessions, nor from a session to the host; the host reaches what a session offers."""

import re
import socket
import subprocess
import threading
import unittest

from carrel_host import Host, RpcError, own_network, wait_until

SERVER = ["/bin/busybox", "sh", "-c",
          "echo served > /tmp/index.html; busybox nc -u -l -p 9000 >/dev/null & "
          "echo up; exec busybox httpd -f -p 8000 -h /tmp"]


def setUpModule():
    own_network()
    # The host's own address, on an interface that could lead elsewhere.
    for command in ("link add uplink type dummy", "link set uplink up", "addr add 192.0.2.1/24 dev uplink",
                    "addr add 2001:db8::1/64 dev uplink nodad"):
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
        template = Host.template(None, "minimal")
        template["network"] = {**template.get("network", {}), "loopback_ports": [7000]}
        # ping needs a raw socket, where the template gives one.
        cls.host = Host(templates={"looped": template}).start()
        cls.client = cls.host.client()
        cls.victim = cls.client.call("session.create", template="minimal", id="victim", command=SERVER)
        cls.listener = Listener(7777)

    @classmethod
    def tearDownClass(cls):
        cls.host.close()

    def inside(self, script, template="minimal"):
        """Runs SCRIPT as the workload of a new session; its output."""
        session = self.client.call("session.create", template=template, wait="created",
                                   command=["/bin/busybox", "sh", "-c", script])
        self.client.call("session.wait", session=session["id"], **{"for": "ended"}, timeout_seconds=50)
        entries = self.client.call("session.logs", session=session["id"])["entries"]
        self.client.call("session.remove", session=session["id"])
        return "".join(e["text"] for e in entries)

    def fetch(self, address, port=8000):
        with socket.create_connection((address, port), timeout=5) as s:
            s.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return s.makefile("rb").read()

    def test_the_host_reaches_the_session(self):
        wait_until(lambda: self.client.call("session.logs", session="victim")["entries"], what="server")
        self.assertIn(b"served", self.fetch(self.victim["address"]))
        self.assertIn(b"served", self.fetch(self.victim["ipv6"]))

    def test_loopback_port_is_reached_at_the_address(self):
        session = self.client.call("session.create", template="looped", id="looped", command=[
            "/bin/busybox", "sh", "-c", "echo looped > /tmp/index.html; echo up; exec busybox httpd -f -p 127.0.0.1:7000 -h /tmp"])
        wait_until(lambda: self.client.call("session.logs", session="looped")["entries"], what="server")
        self.assertIn(b"looped", self.fetch(session["address"], 7000))
        with self.assertRaises(OSError):
            self.fetch(session["address"], 7001)

    def test_sessions_do_not_reach_each_other(self):
        self.test_the_host_reaches_the_session()
        a4, a6 = self.victim["address"], self.victim["ipv6"]
        said = self.inside(f"""
            for a in {a4} [{a6}]; do busybox wget -T 2 -q -O - http://$a:8000/ 2>&1 && echo REACHED tcp $a; done
            echo x | busybox nc -u -w 1 {a4} 9000 ; echo x | busybox nc -u -w 1 {a6} 9000
            busybox ping -c 1 -W 1 {a4} >/dev/null 2>&1 && echo REACHED icmp
            busybox ping6 -c 1 -W 1 {a6} >/dev/null 2>&1 && echo REACHED icmp6
            echo finished""")
        self.assertIn("finished", said)
        self.assertNotIn("REACHED", said)
        self.assertNotIn("served", said)

    def test_sessions_do_not_reach_the_host(self):
        gateway = self.victim["address"].rsplit(".", 1)
        host_end = f"{gateway[0]}.{int(gateway[1]) + 1}"
        said = self.inside(f"""
            for a in 192.0.2.1 [2001:db8::1] {host_end} 169.254.169.254; do
                busybox wget -T 2 -q -O - http://$a:7777/ 2>&1 && echo REACHED tcp $a
                echo x | busybox nc -u -w 1 $(echo $a | tr -d '[]') 7777
            done
            busybox ping -c 1 -W 1 192.0.2.1 >/dev/null 2>&1 && echo REACHED icmp
            busybox ping6 -c 1 -W 1 2001:db8::1 >/dev/null 2>&1 && echo REACHED icmp6
            echo finished""")
        self.assertIn("finished", said)
        self.assertNotIn("REACHED", said)
        self.assertEqual(self.listener.seen, [])
        # The listener does listen: the host itself reaches it.
        with socket.create_connection(("192.0.2.1", 7777), timeout=5):
            pass
        wait_until(lambda: self.listener.seen, what="the listener's own check")
        self.listener.seen.clear()

    def test_egress_must_be_allowed_by_the_template(self):
        with self.assertRaises(RpcError) as caught:
            self.client.call("session.create", template="minimal", egress="internet")
        self.assertIn(caught.exception.kind, ("denied", "limit"))
        self.assertRegex(str(caught.exception), "egress|internet")

    def test_interface_is_bare(self):
        said = self.inside("busybox ip addr show; busybox ip route; busybox ip neigh; echo finished")
        self.assertNotIn("fe80", said)
        self.assertEqual(len(re.findall(r"^\d+: ", said, re.M)), 2, said)


if __name__ == "__main__":
    unittest.main()
