# SPDX-License-Identifier: Apache-2.0
"""Sessions and the world, from the host's first network namespace: policies, masquerade, and the rules of others beside
carrel's. A second namespace plays the internet, a third a container of Docker's."""

import pathlib
import re
import shutil
import signal
import subprocess
import unittest

from carrel_host import PROGRAMS, Host, scaled, wait_until

PORT, OTHER_PORT = 8000, 8001
PUBLIC, PRIVATE = ("11.0.0.1", "2a00::1"), ("10.9.0.1", "fd09::1")
POLICIES = {"shop": [{"to": PRIVATE, "ports": [PORT]}]}

# Drops what it does not know, as a careful operator's does.
FIREWALL = """
table inet firewall {
	chain input { type filter hook input priority 0; policy drop; iif lo accept; ct state established,related accept;
		icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept; }
	chain forward { type filter hook forward priority 0; policy drop; ct state established,related accept; }
}"""
# What `nft list ruleset` shows where Docker has one container, less what takes no part: counters, swarm.
DOCKER = """
table ip nat {
	chain DOCKER { iifname "docker0" return; iifname != "docker0" tcp dport 8080 dnat to 172.17.0.2:8000; }
	chain PREROUTING { type nat hook prerouting priority -100; fib daddr type local jump DOCKER; }
	chain OUTPUT { type nat hook output priority -100; ip daddr != 127.0.0.0/8 fib daddr type local jump DOCKER; }
	chain POSTROUTING { type nat hook postrouting priority 100; oifname != "docker0" ip saddr 172.17.0.0/16 masquerade; }
}
table ip filter {
	chain DOCKER { iifname != "docker0" oifname "docker0" ip daddr 172.17.0.2 tcp dport 8000 accept; }
	chain DOCKER-ISOLATION-STAGE-2 { oifname "docker0" drop; return; }
	chain DOCKER-ISOLATION-STAGE-1 { iifname "docker0" oifname != "docker0" jump DOCKER-ISOLATION-STAGE-2; return; }
	chain DOCKER-USER { return; }
	chain FORWARD { type filter hook forward priority 0; policy drop; jump DOCKER-USER; jump DOCKER-ISOLATION-STAGE-1;
		oifname "docker0" ct state related,established accept; oifname "docker0" jump DOCKER;
		iifname "docker0" oifname != "docker0" accept; iifname "docker0" oifname "docker0" accept; }
}"""

host = client = None


def run(*words, text=None):
    return subprocess.run(words, input=text, capture_output=True, text=True, check=True, timeout=scaled(20)).stdout


def ip(line):
    run("ip", *line.split())


def space(name, link, addresses):
    """A network namespace behind LINK, whose other end is called "uplink" there."""
    ip(f"netns add {name}")
    ip(f"link add {link} type veth peer name uplink netns {name}")
    for address in addresses:
        ip(f"-n {name} address add {address} dev uplink" + (" nodad" if ":" in address else ""))
    for device in ("lo", "uplink"):
        ip(f"-n {name} link set {device} up")


def serve(name):
    """prober in a namespace, at both ports; ends with the tests."""
    for port in (PORT, OTHER_PORT):
        process = subprocess.Popen(["ip", "netns", "exec", name, f"{PROGRAMS}/prober", "serve", str(port)],
                                   stdout=subprocess.DEVNULL)
        unittest.addModuleCleanup(process.wait)
        unittest.addModuleCleanup(process.kill)


def setUpModule():
    global host, client
    for name in ("world", "container"):
        unittest.addModuleCleanup(run, "ip", "netns", "delete", name)
    space("world", "up0", ["11.0.0.1/24", "10.9.0.1/24", "2a00::1/64", "fd09::1/64"])
    for address in ("11.0.0.2/24", "10.9.0.2/24", "2a00::2/64 nodad", "fd09::2/64 nodad"):
        ip(f"address add {address} dev up0")
    ip("link set up0 up")
    space("container", "docker1", ["172.17.0.2/16"])
    ip("link add docker0 type bridge")
    unittest.addModuleCleanup(ip, "link delete docker0")
    ip("address add 172.17.0.1/16 dev docker0")
    ip("link set docker1 master docker0")
    for link in ("docker0", "docker1"):
        ip(f"link set {link} up")
    ip("-n container route add default via 172.17.0.1")
    for name in ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"):
        pathlib.Path("/proc/sys", name).write_text("1")
    serve("world")
    serve("container")
    host = Host(config={"missing_controllers": "refuse", "egress_policies": POLICIES})
    unittest.addModuleCleanup(host.close)
    for policy in ("none", "internet", "shop"):
        host.write_template(policy, {**host.template("minimal"), "network": {"egress": policy}})
    for program in ("prober", "hostile"):
        shutil.copy(pathlib.Path(PROGRAMS) / program, host.state_dir / "rootfs/minimal/0/bin")
    host.start()
    client = host.client()
    wait_until(lambda: reach("world", PUBLIC[0]) and reach("container", "172.17.0.2"), what="the world answers")


def reach(name, address, port=PORT, protocol="tcp"):
    """Whether the namespace NAME, None for the host, reaches it."""
    inside = ["ip", "netns", "exec", name] if name else []
    said = run(*inside, f"{PROGRAMS}/prober", protocol, address, str(port))
    return said.rstrip().endswith("reached")


class Network(unittest.TestCase):
    def tearDown(self):
        for session in client.call("session.list")["sessions"]:
            client.call("session.remove", session=session["id"])

    def session(self, policy):
        client.call("session.create", template=policy, id=policy, command=["/bin/busybox", "sleep", "1000"])

    def reached(self, policy, addresses, port=PORT):
        """Those of ADDRESSES that a session of the policy reaches, by TCP and by UDP alike."""
        script = "; ".join(f"prober {protocol} {address} {port}" for address in addresses for protocol in ("tcp", "udp"))
        output = client.call("exec.run", session=policy, command=["/bin/busybox", "sh", "-c", script])["stdout"]
        found = {protocol: {a for a in addresses if re.search(rf"^{protocol} {a}: reached$", output, re.M)}
                 for protocol in ("tcp", "udp")}
        if policy == "internet":
            self.assertEqual(found["tcp"], found["udp"], output)
        return found["tcp"]

    def rules(self, text):
        """Somebody else's, until the end of the test."""
        tables = re.findall(r"^table (\w+ \w+)", text, re.M)
        run("nft", "-f", "-", text=text)
        self.addCleanup(run, "nft", "-f", "-", text="".join(f"delete table {name}\n" for name in tables))

    def test_none(self):
        self.session("none")
        self.assertEqual(self.reached("none", PUBLIC + PRIVATE), set())

    def test_internet(self):
        self.session("internet")
        self.assertEqual(self.reached("internet", PUBLIC + PRIVATE), set(PUBLIC))
        # Nor the host at the address that it shows the world.
        self.assertEqual(self.reached("internet", ("11.0.0.2", "2a00::2")), set())

    def test_list(self):
        self.session("shop")
        self.assertEqual(self.reached("shop", PUBLIC + PRIVATE), set(PRIVATE))
        self.assertEqual(self.reached("shop", PRIVATE, OTHER_PORT), set())
        output = client.call("exec.run", session="shop", command=["/bin/prober", "udp", PRIVATE[0], str(PORT)])["stdout"]
        self.assertNotIn("reached", output)

    def test_connections_are_bounded(self):
        """One session does not fill the host's table of connections, and another notices nothing."""
        count = lambda: int(pathlib.Path("/proc/sys/net/netfilter/nf_conntrack_count").read_text())  # noqa: E731
        self.session("shop")
        before = count()
        client.call("session.create", template="internet", id="bomb", command=["/bin/hostile", "flows", PUBLIC[0], "4000"])
        output = lambda: client.call("session.logs", session="bomb")["entries"]  # noqa: E731
        wait_until(output, 60, "all was sent")
        self.assertRegex(output()[0]["text"], r"sent \d{4,}")
        self.assertGreater(count() - before, 1000)
        self.assertLess(count() - before, 1100)
        self.assertEqual(self.reached("shop", PRIVATE), set(PRIVATE))

    def test_lists_outlive_a_restart(self):
        self.session("shop")
        host.stop(signal.SIGTERM)
        host.start()
        globals()["client"] = host.client()
        self.assertEqual(self.reached("shop", PUBLIC + PRIVATE), set(PRIVATE))

    def test_firewall_that_drops_by_default(self):
        """What the operator refuses stays refused; what he lets pass is judged by the policy still."""
        self.session("internet")
        self.rules(FIREWALL)
        self.assertEqual(self.reached("internet", PUBLIC + PRIVATE), set())
        self.assertFalse(reach("world", "11.0.0.2", 22))
        run("nft", "insert rule inet firewall forward iifname \"cr*\" accept")
        self.assertEqual(self.reached("internet", PUBLIC + PRIVATE), set(PUBLIC))
        self.assertTrue(reach(None, PUBLIC[0]))

    def test_docker_beside(self):
        """Its containers reach the world and are reached, sessions reach them not; they reach the world when Docker's own
        chain for users lets them."""
        self.rules(DOCKER)
        self.session("internet")
        self.assertTrue(reach("container", PUBLIC[0]))
        self.assertTrue(reach("world", "11.0.0.2", 8080))
        self.assertEqual(self.reached("internet", (PUBLIC[0], "172.17.0.2", "11.0.0.2"), 8080), set())
        self.assertEqual(self.reached("internet", (PUBLIC[0],)), set())
        run("nft", "insert rule ip filter DOCKER-USER iifname \"cr*\" accept")
        run("nft", "insert rule ip filter DOCKER-USER oifname \"cr*\" ct state established,related accept")
        self.assertEqual(self.reached("internet", (PUBLIC[0], "172.17.0.2", "11.0.0.2")), {PUBLIC[0]})
        self.assertTrue(reach("container", PUBLIC[0]))
        self.assertTrue(reach("world", "11.0.0.2", 8080))


if __name__ == "__main__":
    unittest.main()
