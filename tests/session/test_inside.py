# SPDX-License-Identifier: Apache-2.0
"""What a session looks like from inside and to the kernel: ids, capabilities, descriptors, mounts, files."""

import os
import pathlib
import re
import unittest

from carrel_host import ID_BASE, Host, own_network, wait_until

# What root inside tries; each line of output is "name: result". Run by busybox sh as the session's root.
PROBE = r"""
id -u
echo "ids: $(cat /proc/self/uid_map | tr -s ' ')"
echo "hostname: $(hostname)"
echo "hosts: $(grep -c . /etc/hosts)"
echo "cwd: $(pwd)"
echo "exe: $( (echo x > /proc/1/exe) 2>&1 | tail -1)"
echo "mem: $(dd if=/proc/1/mem of=/dev/null bs=1 count=1 2>&1 | head -1)"
echo "environ: $(cat /proc/1/environ 2>&1 | head -1)"
echo "root: $(ls /proc/1/root/ 2>&1 | head -1)"
echo "pids: $(ls /proc | grep -c '^[0-9]')"
echo "links: $(ls /sys/class/net | tr '\n' ' ')"
echo "dev: $(ls /dev | tr '\n' ' ')"
echo "mknod: $(mknod /tmp/sda b 8 0 2>&1)"
echo "mount: $(mount -t tmpfs none /mnt 2>&1)"
echo "null: $(echo x > /dev/null && echo writable)"
echo "devdir: $( (echo x > /dev/x) 2>&1)"
echo "rootfs: $(echo x > /etc/new-file && cat /etc/new-file)"
echo "core_pattern: $( (echo x > /proc/sys/kernel/core_pattern) 2>&1 | tail -1)"
echo "sysrq: $(test -c /proc/sysrq-trigger && echo denied, by a cover; (echo b > /proc/sysrq-trigger) 2>&1 | tail -1)"
echo "accept_ra: $(cat /proc/sys/net/ipv6/conf/eth0/accept_ra)"
echo "kcore: $(head -c 4 /proc/kcore 2>/dev/null | wc -c)"
echo "done: yes"
exec busybox sleep 1000
"""


def setUpModule():
    own_network()


def status(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return dict(re.findall(r"^(\w+):\t(.*)$", text, re.M))


class Inside(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.host = Host().start()
        cls.client = cls.host.client()
        template = cls.host.template("minimal")
        cls.client.call("session.create", template="minimal", id="probed", command=["/bin/busybox", "sh", "-c", PROBE])
        cls.init = cls.host.init_pids()[0]
        cls.template = template

        def output():
            entries = cls.client.call("session.logs", session="probed")["entries"]
            text = "".join(e["text"] for e in entries)
            return text if "done: yes" in text else None

        cls.text = wait_until(output, what="the probe's output")
        cls.said = dict(re.findall(r"^(\w+): (.*)$", cls.text, re.M))
        cls.pids = [p for p in cls.all_pids()]

    @classmethod
    def tearDownClass(cls):
        cls.host.close()

    @classmethod
    def all_pids(cls):
        space = os.stat(f"/proc/{cls.init}/ns/pid").st_ino
        for entry in os.listdir("/proc"):
            try:
                if entry.isdigit() and os.stat(f"/proc/{entry}/ns/pid").st_ino == space:
                    yield int(entry)
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                pass

    def test_ids(self):
        base = int(status(self.init)["Uid"].split()[0])
        self.assertGreaterEqual(base, ID_BASE)
        self.assertEqual((base - ID_BASE) % 65536, 0)
        self.assertEqual(pathlib.Path(f"/proc/{self.init}/uid_map").read_text().split(), ["0", str(base), "65536"])
        self.assertEqual(pathlib.Path(f"/proc/{self.init}/gid_map").read_text().split(), ["0", str(base), "65536"])
        self.assertIn(f"0 {base} 65536".split()[0], self.said["ids"])

    def test_every_process_is_confined(self):
        self.assertGreaterEqual(len(self.pids), 2)
        for pid in self.pids:
            with self.subTest(pid=pid):
                s = status(pid)
                self.assertEqual(s["NoNewPrivs"], "1")
                self.assertEqual(s["Seccomp"], "2")
                self.assertEqual(s["CapInh"], "0" * 16)
                self.assertEqual(s["CapAmb"], "0" * 16)
                if pid == self.init:
                    continue
                wanted = 0
                for name in self.template["capabilities"]:
                    wanted |= 1 << CAPABILITIES.index(name)
                self.assertEqual(int(s["CapBnd"], 16), wanted)
                self.assertEqual(int(s["CapEff"], 16) & ~wanted, 0)
                self.assertEqual(s["Groups"].split(), [])

    def test_namespaces(self):
        for kind in ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup"):
            ours, theirs = os.stat(f"/proc/self/ns/{kind}").st_ino, os.stat(f"/proc/{self.init}/ns/{kind}").st_ino
            self.assertNotEqual(ours, theirs, kind)

    def test_descriptors(self):
        """Exactly these, in every process: nothing of the host's has leaked."""
        for pid in self.pids:
            links = {int(fd): os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
            with self.subTest(pid=pid, fds=links):
                if pid == self.init:
                    # The roots of its own file systems, to ask how full they are.
                    places = ["/", *(re.escape(mount["target"]) for mount in self.template.get("mounts", []))]
                    allowed = (rf"^({'|'.join(places)}|/dev/(null|pts|shm)|socket:\[\d+\]|"
                               r"anon_inode:\[(eventpoll|signalfd)\]|pipe:\[\d+\])$")
                else:
                    allowed = r"^(/dev/null|pipe:\[\d+\])$"
                    self.assertEqual(set(links), {0, 1, 2})
                for target in links.values():
                    self.assertRegex(target, allowed)

    def test_mounts_show_no_host_path(self):
        text = pathlib.Path(f"/proc/{self.init}/mountinfo").read_text()
        for word in (self.host.name, "/dev/shm/carrel", "/var/lib", "/work", "upperdir=/dev"):
            self.assertNotIn(word, text)
        cmdline = pathlib.Path(f"/proc/{self.init}/cmdline").read_bytes().rstrip(b"\0")
        self.assertEqual(cmdline, b"carrel-init")
        for line in text.splitlines():
            fields = line.split()
            self.assertIn("nosuid", fields[5].split(","), line)

    def test_pid_1_is_out_of_reach(self):
        for name in ("exe", "mem", "environ", "root"):
            self.assertRegex(self.said[name], "(?i)permission denied|can't|busy", name)
        self.assertEqual(os.readlink(f"/proc/{self.init}/exe"), "/memfd:carrel-init (deleted)")

    def test_files(self):
        self.assertEqual(self.said["hostname"], "probed")
        self.assertEqual(self.said["cwd"], "/")
        self.assertEqual(self.said["rootfs"], "x")
        self.assertEqual(self.said["null"], "writable")
        self.assertIn("Read-only", self.said["devdir"])
        self.assertLessEqual(set(self.said["dev"].split()),
                             set("fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero".split()))
        self.assertEqual(set(self.said["links"].split()), {"eth0", "lo"})

    def test_no_router_is_heard(self):
        self.assertEqual(self.said["accept_ra"], "0")

    def test_host_settings_cannot_be_written(self):
        for name in ("core_pattern", "sysrq"):
            self.assertRegex(self.said[name], "(?i)denied|read-only|can't create|permitted", name)
        self.assertEqual(self.said["kcore"], "0")
        for name in ("mknod", "mount"):
            self.assertRegex(self.said[name], "(?i)permitted|denied|not implemented", name)


CAPABILITIES = """CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE
NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT
SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE
MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE""".split()


if __name__ == "__main__":
    unittest.main()
