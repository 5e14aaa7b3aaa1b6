# SPDX-License-Identifier: Apache-2.0
"""Nothing passes between sessions, nor from a session to the host; the host reaches what a session offers."""

import pathlib
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
import unittest

from carrel_host import Host, RpcError, compile_static, own_network, scaled, wait_until

WORLD, STREAM_PORT, MUTE_PORT = ("11.0.0.2", "2a00::2"), 9000, 9001
RATE = 64 << 10  # far less than an emulated processor can do
BURST = 128 << 10  # beyond what passes in a second


def most(rate, seconds):
    """Bytes that pass at most: the bucket is a second's, and the burst."""
    return rate * (seconds + 1) + BURST


def setUpModule():
    own_network()
    # The host's own address, on an interface that could lead elsewhere.
    for command in ("link add uplink type veth peer name elsewhere", "link set uplink up", "link set elsewhere up",
                    "addr add 192.0.2.1/24 dev uplink", "addr add 2001:db8::1/64 dev uplink nodad"):
        subprocess.run(["ip", *command.split()], check=True)
    for name in ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"):
        pathlib.Path("/proc/sys", name).write_text("1")


def serve_in_the_world(*command):
    server = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, text=True)
    unittest.addModuleCleanup(server.wait)
    unittest.addModuleCleanup(server.stdout.close)
    unittest.addModuleCleanup(server.kill)
    assert server.stdout.readline() == "serving\n"
    return server


def stream_from_the_world(prober):
    """prober in a network namespace that plays the internet: it gives and takes as much as it gets, or nothing."""
    server = serve_in_the_world("unshare", "--net", prober, "stream", STREAM_PORT)
    inside = ["nsenter", "--net", "--target", str(server.pid)]
    for where, command in (([], f"link add world type veth peer name home netns {server.pid}"), ([], "link set world up"),
                           ([], "addr add 11.0.0.1/24 dev world"), ([], "addr add 2a00::1/64 dev world nodad"),
                           (inside, "link set home up"), (inside, f"addr add {WORLD[0]}/24 dev home"),
                           (inside, f"addr add {WORLD[1]}/64 dev home nodad")):
        subprocess.run([*where, "ip", *command.split()], check=True)
    serve_in_the_world(*inside, prober, "mute", MUTE_PORT)


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
        surfer = {**template, "network": {"egress": "internet"}}
        cls.host = Host(templates={"prober": template, "surfer": surfer})
        prober = compile_static("prober.c", cls.host.dir)
        shutil.copy(prober, cls.host.state_dir / "rootfs/minimal/0/bin/prober")
        stream_from_the_world(prober)
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
        said = self.inside(*tries)
        self.assertNotIn("reached", said.values(), said)
        self.assertEqual(self.output("victim").count("got") + self.output("other").count("got"), before)

    def test_sessions_do_not_reach_the_host(self):
        hosts = ["192.0.2.1", "2001:db8::1", self.host_end(), "169.254.169.254"]
        tries = [f"{p} {a} 7777" for p in ("tcp", "udp", "icmp") for a in hosts]
        said = self.inside(*tries)
        self.assertNotIn("reached", said.values(), said)
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

    # ---- rates

    def surf(self, name, script, **params):
        return self.client.call("session.create", template="surfer", id=name, command=["/bin/busybox", "sh", "-c", script],
                                wait="created", **params)

    @staticmethod
    def rules():
        """Those of the host's table that limit a session's rate, each the first of a chain."""
        table = subprocess.run(["nft", "list", "table", "inet", "carrel"], capture_output=True, text=True, check=True).stdout
        return re.findall(r"chain ((?:sent|received)\d+) {\s+(.*)\n", table)

    def test_rates_hold_for_one_session(self):
        """Both ways, over IPv4 and IPv6, while another is as quick as the machine."""
        limits = {"network_rx_bytes_per_second": RATE, "network_tx_bytes_per_second": RATE}
        script = "".join(f"prober {way} {address} {STREAM_PORT} 1500 &\n" for way, address in zip(("pull", "push"), WORLD)) + "wait"
        session = self.surf("slow", script, limits=limits)
        for name, rate in limits.items():
            self.assertEqual(session["limits"][name], {"value": rate, "enforced": True})
        self.surf("quick", script)
        moved = {}
        for name in ("slow", "quick"):
            self.client.call("session.wait", session=name, **{"for": "ended"}, timeout_seconds=50)
            moved[name] = {way: int(n) for way, n in re.findall(r"^(\w+) \S+: (\d+)$", self.output(name), re.M)}
            self.client.call("session.remove", session=name)
        print(moved)
        for way in ("pull", "push"):
            self.assertLess(moved["slow"][way], most(RATE, 1.6))
            self.assertGreater(moved["slow"][way], RATE / 2)
            self.assertGreater(moved["quick"][way], 2 * most(RATE, 1.6))

    def received(self, name, seconds):
        """Bytes that a session receives in at least so many seconds, and how many these were."""
        count = lambda: self.client.call("session.stats", session=name)["network"]["received_bytes"]  # noqa: E731
        before, begun = count(), time.monotonic()
        time.sleep(seconds)  # what is measured is what happens meanwhile
        return count() - before, time.monotonic() - begun

    def test_rates_change_and_last(self):
        """A limit comes to a session that runs, changes, outlives the daemon and those who flush the host's rules, and goes
        with the session."""
        # One connection after another: rules that are flushed take translated ones with them.
        self.surf("changing", f"while true; do prober pull {WORLD[1]} {STREAM_PORT} 300; done")
        wait_until(lambda: self.received("changing", 0.5)[0] > most(RATE, 2), what="it is quick")

        def limit(rate):
            return self.client.call("session.set_limits", session="changing", limits={"network_rx_bytes_per_second": rate})

        self.assertEqual(limit(RATE)["limits"]["network_rx_bytes_per_second"], {"value": RATE, "enforced": True})
        for change in (lambda: None, lambda: subprocess.run(["nft", "flush", "ruleset"], check=True)):
            change()
            received, seconds = self.received("changing", 1.0)
            self.assertLess(received, most(RATE, seconds) + BURST)
        limit(16 * RATE)
        wait_until(lambda: self.received("changing", 0.5)[0] > most(RATE, 0.5) + BURST, what="it is quicker")
        self.host.stop(signal.SIGTERM)
        self.host.start()
        type(self).client = self.host.client()
        rules = self.rules()
        self.assertEqual(len(rules), 1)
        self.assertRegex(" ".join(rules[0]), rf"received\d+ limit rate over {16 * RATE >> 20} mbytes/second burst 128 kbytes")
        self.client.call("session.remove", session="changing")
        self.assertEqual(self.rules(), [])

    def test_what_is_unsent_keeps_nothing_of_the_session(self):
        """The kernel goes on sending for whoever was killed, for minutes where nobody takes it; the session has ended."""
        pushes = "".join(f"prober push {address} {MUTE_PORT} 1000000 &\n" for address in 8 * WORLD)
        self.surf("unsent", f"{pushes}echo pushing; wait")
        sent = lambda: self.client.call("session.stats", session="unsent")["network"]["sent_bytes"]  # noqa: E731
        wait_until(lambda: sent() > 16 * (64 << 10), what="they have sent what is taken")
        begun = time.monotonic()
        self.client.call("session.remove", session="unsent")
        self.assertLess(time.monotonic() - begun, scaled(15))

    def test_interface_is_bare(self):
        session = self.client.call("session.create", template="prober", wait="created", command=[
            "/bin/busybox", "sh", "-c", "ip addr show; ip route; ip neigh"])
        self.client.call("session.wait", session=session["id"], **{"for": "ended"}, timeout_seconds=50)
        said = self.output(session["id"])
        self.assertNotIn("fe80", said)
        self.assertEqual(len(re.findall(r"^\d+: ", said, re.M)), 2, said)


if __name__ == "__main__":
    unittest.main()
