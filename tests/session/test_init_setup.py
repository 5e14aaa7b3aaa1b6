# SPDX-License-Identifier: Apache-2.0
"""carrel-init up to the workload's exec: what a session looks like from inside, what a step's failure looks like."""

import os
import pathlib
import re
import signal
import stat
import subprocess
import tempfile
import time
import unittest

from carrel_host import wait_until
from carrel_init import (ADDRESSES, CGROUP, HARNESS, ID_BASE, INIT, MASK_PROC, NO_NEW_PRIVS, TTY, Session, make_image,
                         status_of)

STEPS = "plan stage files root proc counts sys dev masks mounts cgroupfs enter service limits privilege exec".split()
ALL_CAPABILITIES = (1 << 41) - 1
SYS_ADMIN = 1 << 21
DIND = sum(1 << c for c in (0, 1, 3, 4, 5, 6, 7, 8, 10, 12, 13, 18, 21, 27, 29, 31))  # Docker's fourteen and two
KEPT = 1 << 5 | 1 << 6 | 1 << 7  # KILL, SETGID, SETUID


class Case(unittest.TestCase):
    edit_image = None

    @classmethod
    def setUpClass(cls):
        holder = tempfile.TemporaryDirectory(prefix="carrel-init-")
        cls.addClassCleanup(holder.cleanup)
        cls.directory = pathlib.Path(holder.name)
        make_image(cls.directory, cls.edit_image)

    def start(self, command, *options, **named):
        session = Session(self.directory, command, *options, **named)
        self.addCleanup(session.close)
        return session

    def run_sh(self, script, *options, **named):
        """What a shell prints in a session of its own; the session must end well."""
        session = self.start(["/bin/sh", "-c", script], *options, **named)
        self.assertIsNone(session.error)
        self.assertEqual(session.wait(), 0, session.output.stderr)
        return session.output.stdout

    def probe(self, *words, **named):
        return self.run_sh("init_probe " + " ".join(words), **named).strip()


class Report(Case):
    def test_steps_and_times(self):
        session = self.start(["sleep", "100"])
        self.assertIsNone(session.error)
        self.assertEqual(list(session.steps), STEPS)
        self.assertTrue(all(0 < ns < 10**9 for ns in session.steps.values()), session.steps)
        self.assertLess(abs(session.started_ns - time.clock_gettime_ns(time.CLOCK_BOOTTIME)), 5 * 10**9)
        # The report is sent just before.
        wait_until(lambda: session.output.state == "running", what="the workload's state")

    def test_time_from_plan_to_exec(self):
        out = subprocess.run([HARNESS, INIT, str(self.directory), "bench=60", "--", "/bin/sleep", "100"],
                             stdout=subprocess.PIPE, text=True, check=True, timeout=60).stdout
        print("\n" + out)
        self.assertEqual(re.findall(r"^(\S+)\s+least", out, re.M), STEPS)

    def test_exit_codes(self):
        for script, code in (("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -9 $$", 137), ("kill -15 $$", 143)):
            with self.subTest(script):
                session = self.start(["/bin/sh", "-c", script])
                self.assertEqual(session.wait(), code)
                output = session.output
                self.assertEqual((output.state, output.exit_code, output.signal),
                                 ("signaled", 0, code - 128) if 128 < code < 160 else ("exited", code, 0))
                self.assertLess(abs(output.ended_ns - time.time_ns()), 5 * 10**9)

    def test_what_cannot_be_started(self):
        cases = [
            (["/bin/none"], {}, ("ENOENT", "exec", "/bin/none")),
            (["none"], {}, ("ENOENT", "exec", "none")),
            ([""], {}, ("ENOENT", "exec", "")),
            (["none"], {"env": "PATH=/bin:/etc"}, ("ENOENT", "exec", "none")),
            (["passwd"], {"env": "PATH=/none:/etc:/bin"}, ("EACCES", "exec", "passwd")),
            (["/etc/passwd"], {}, ("EACCES", "exec", "/etc/passwd")),
            (["/bin/text"], {}, ("ENOEXEC", "exec", "/bin/text")),
            (["/bin"], {}, ("EACCES", "exec", "/bin")),
            (["true"], {"cwd": "/none"}, ("ENOENT", "cwd", "/none")),
            (["true"], {"cwd": "/etc/passwd"}, ("ENOTDIR", "cwd", "/etc/passwd")),
            (["true"], {"cwd": "/home/me"}, ("EACCES", "cwd", "/home/me")),
            (["true"], {"cwd": "/proc/self/fd/0"}, ("ELOOP", "cwd", "/proc/self/fd/0")),
            (["true"], {"cwd": "/proc/1/root"}, ("EACCES", "cwd", "/proc/1/root")),
            (["true"], {"user": "nobody"}, ("ENOENT", "user", "nobody")),
            (["true"], {"user": "me:none"}, ("ENOENT", "user", "group none")),
            (["true"], {"user": "65536"}, ("EINVAL", "user", "gid 65536")),
            (["true"], {"user": "1x"}, ("ENOENT", "user", "1x")),
            (["true"], {"user": "4294967296"}, ("EINVAL", "user", "4294967296")),
            (["true"], {"spec_flags": TTY}, ("ENOTTY", "session", "controlling terminal")),
        ]
        layer = self.directory / "store/image/0"
        (layer / "bin/text").write_text("not a program\n")
        (layer / "bin/text").chmod(0o755)
        for command, named, error in cases:
            with self.subTest(command=command, **named):
                session = self.start(command, **named)
                self.assertEqual(session.error, error)
                self.assertEqual(list(session.steps), STEPS)
                self.assertEqual(session.wait(), 1)
                self.assertEqual(session.output.state, "none")

    def test_which_step_failed(self):
        cases = [
            ({"extra_fd": 1}, ("EBADFD", "plan", "descriptor 10, not in the plan")),
            ({"root_inodes": "1"}, ("ENOSPC", "stage", "directory u")),
            ({"root_inodes": "10"}, ("ENOSPC", "files", "u/etc/hosts")),
            ({"mount": "tmpfs:/etc/passwd/x:0755:0:0:-:-:0"}, ("ENOTDIR", "mounts", "target /etc/passwd/x")),
            ({"mount": "tmpfs:/etc/passwd:0755:0:0:-:-:0"}, ("ENOTDIR", "mounts", "target /etc/passwd")),
            ({"rlimit": "99:1:1"}, ("EINVAL", "limits", "resource 99")),
            ({"rlimit": "7:2:1"}, ("EINVAL", "limits", "resource 7")),
            ({"rlimit": "7:10:0x7fffffff"}, ("EPERM", "limits", "resource 7, above the supervisor's own")),
        ]
        for named, error in cases:
            with self.subTest(**named):
                session = self.start(["true"], **named)
                self.assertEqual(session.error, error)
                self.assertEqual(list(session.steps)[-1], error[1])
                self.assertEqual(session.wait(), 1)

    def test_lost_supervisor_takes_no_session_with_it(self):
        session = self.start(["sleep", "100"])
        session.harness.kill()
        session.harness.wait()
        control = session.control()
        self.assertEqual(control.hello(), ("running", 0))
        self.assertEqual(control.run(1, ["echo", "still here"]), (0, "still here\n", ""))
        control.stop(2, 1, signal.SIGKILL)
        self.assertEqual(control.exited(), (0, -1, 9))
        control.close()


class Inside(Case):
    def mounts(self, *options, **named):
        """Mount point → (options, file system, root in it) from the session's mountinfo."""
        found, self.mountinfo = {}, self.run_sh("cat /proc/self/mountinfo", *options, **named)
        for line in self.mountinfo.splitlines():
            left, right = line.split(" - ")
            found[left.split()[4]] = (left.split()[5], right.split()[0], left.split()[3])
        return found

    def test_mounts(self):
        mounts = self.mounts("mount=tmpfs:/tmp:01777:0:0:1048576:100:0", "mount=tmpfs:/run/deep/er:0750:1000:5:-:-:6")
        self.assertEqual({point: found[1] for point, found in mounts.items()}, {
            "/": "overlay", "/proc": "proc", "/sys": "sysfs", "/dev": "tmpfs", "/dev/pts": "devpts", "/dev/shm": "tmpfs",
            "/dev/mqueue": "mqueue", "/tmp": "tmpfs", "/run/deep/er": "tmpfs"})
        expected = {"/": "rw,nosuid,nodev", "/proc": "rw,nosuid,nodev,noexec", "/sys": "ro,nosuid,nodev,noexec",
                    "/dev": "ro,nosuid,noexec", "/dev/pts": "rw,nosuid,noexec", "/dev/shm": "rw,nosuid,nodev,noexec",
                    "/dev/mqueue": "rw,nosuid,nodev,noexec", "/tmp": "rw,nosuid,nodev", "/run/deep/er": "rw,nodev,noexec"}
        for point, options in expected.items():
            self.assertEqual(mounts[point][0].replace(",relatime", "").replace(",idmapped", ""), options, point)
        self.assertIn("lowerdir=l0,upperdir=u,workdir=w", self.mountinfo)
        self.assertNotIn(str(self.directory), self.mountinfo)
        self.assertNotIn("master:", self.mountinfo)
        self.assertNotIn("shared:", self.mountinfo)
        self.assertTrue(self.mounts(flags=0)["/"][0].startswith("rw,nodev"))  # where setuid programs may work

    def test_no_host_path_anywhere(self):
        with open("/proc/self/mountinfo") as f:
            devices = {line.split(" - ")[1].split()[1] for line in f} - {"tmpfs", "proc", "sysfs", "devpts", "none", "cgroup",
                                                                         "cgroup2", "overlay", "mqueue"}
        said = self.run_sh("cat /proc/self/mountinfo /proc/1/cmdline /proc/mounts", flags=NO_NEW_PRIVS | MASK_PROC)
        for device in devices:
            self.assertNotIn(device, said)
        self.assertNotIn("/tmp/carrel-init-", said)
        self.assertIn("carrel-init\0", said)

    def test_root_is_the_image_and_nothing_else(self):
        names = set(self.run_sh("ls /").split())
        self.assertEqual(names, {"bin", "dev", "etc", "home", "proc", "root", "sys", "tmp", "usr"})
        self.assertEqual(self.run_sh("cd /..; pwd; cd ../../..; pwd; readlink /proc/self/cwd; readlink /proc/self/root"),
                         "/\n/\n/\n/\n")
        self.assertEqual(self.run_sh("stat -c '%u %g %a' / /etc /home/me"), "0 0 755\n0 0 755\n1000 1000 700\n")

    def test_files(self):
        out = self.run_sh("cat /etc/hostname /etc/hosts /etc/resolv.conf; hostname; ls -l /etc/hosts")
        self.assertEqual(out.splitlines()[:-1], [
            "desk-1", "127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback", "100.96.0.2 desk-1",
            "fd63::2 desk-1", "nameserver 192.0.2.53", "nameserver 2001:db8::53", "desk-1"])
        self.assertTrue(out.splitlines()[-1].startswith("-rw-r--r--    1 root     root"), out)
        self.assertIn("127.0.1.1 desk-1\n", self.run_sh("cat /etc/hosts", flags=0))

    def test_dev(self):
        self.assertEqual(set(self.run_sh("ls /dev").split()), {"fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm",
                                                               "stderr", "stdin", "stdout", "tty", "urandom", "zero"})
        self.assertEqual(self.run_sh("echo x >/dev/null; head -c 3 /dev/zero | wc -c; head -c 9 /dev/urandom | wc -c"), "3\n9\n")
        self.assertEqual(self.run_sh("stat -L -c '%a %T' /dev/ptmx; ls /dev/pts"), "666 2\nptmx\n")
        self.assertEqual(self.run_sh("stat -c %a /dev/shm; echo x >/dev/shm/x; dd if=/dev/zero of=/dev/shm/y bs=1M count=2 "
                                     "2>&1 | grep -c 'No space'"), "1777\n1\n")

    def test_limits_of_the_root(self):
        self.assertIn("No space", self.run_sh("dd if=/dev/zero of=/big bs=1M count=20 2>&1; rm /big"))
        self.assertIn("No space", self.run_sh("for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21; do touch /f$i || "
                                              "echo; done 2>&1", root_inodes="30"))

    def test_proc_is_masked_where_the_plan_says(self):
        script = "cat /proc/interrupts /proc/timer_list /proc/keys /proc/key-users 2>/dev/null | wc -c; ls /proc/fs | wc -l; " \
                 "cat /proc/meminfo | wc -l; echo 1 2>/dev/null >/proc/sys/net/ipv4/ip_forward || echo refused"
        masked = self.run_sh(script, flags=NO_NEW_PRIVS | MASK_PROC).split()
        self.assertEqual((masked[0], masked[1], masked[3]), ("0", "0", "refused"))
        self.assertGreater(int(masked[2]), 10)
        full = self.run_sh(script, caps=DIND).split()
        self.assertGreater(int(full[0]), 0)
        self.assertEqual(len(full), 3)  # the session's own ip_forward may be set

    def test_bind_mounts(self):
        shared, single = self.directory / "shared", self.directory / "single"
        shared.mkdir()
        (shared / "a").write_text("from the host\n")
        single.write_text("one\n")
        os.chmod(self.directory, 0o711)
        out = self.run_sh("cat /mnt/shared/a /etc/single; stat -c '%u %n' /mnt/shared/a; echo new >/mnt/shared/b",
                          f"mount=bind:/mnt/shared:{shared}:0", f"mount=bind:/etc/single:{single}:1")
        self.assertEqual(out, "from the host\none\n0 /mnt/shared/a\n")
        self.assertEqual((shared / "b").read_text(), "new\n")
        self.assertEqual((shared / "b").stat().st_uid, 0)

    def test_read_only_binds_stay_so(self):
        source = self.directory / "source"
        source.mkdir()
        (source / "a").write_text("from the host\n")
        options = {"caps": ALL_CAPABILITIES, "flags": ADDRESSES, "mount": f"bind:/mnt:{source}:1"}
        self.assertEqual(self.run_sh("cat /mnt/a; touch /mnt/new 2>/dev/null || echo refused", **options),
                         "from the host\nrefused\n")
        self.assertEqual(self.probe("remount", "/mnt", **options), "EROFS")
        self.assertEqual(os.listdir(source), ["a"])
        session = self.start(["true"], caps=SYS_ADMIN, mount=f"bind:/mnt:{source / 'a'}:1")
        self.assertEqual(session.error, ("ENOTSUP", "mounts", "read-only file in a session with CAP_SYS_ADMIN"))

    def test_the_shared_dev_stays_read_only(self):
        """One tree serves all sessions: whoever could write there would write to his neighbours'."""
        self.assertEqual(self.probe("remount", "/dev", caps=ALL_CAPABILITIES, flags=ADDRESSES), "EROFS")

    def test_cgroup(self):
        top = pathlib.Path("/sys/fs/cgroup/unified")
        if not (top / "cgroup.procs").exists():
            top = pathlib.Path("/sys/fs/cgroup")
        group = top / f"carrel-init-test-{os.getpid()}"
        group.mkdir()
        self.addCleanup(lambda: [(p.rmdir() if p.exists() else None) for p in (group / "init", group)])
        for path in (group, *(group / name for name in ("cgroup.procs", "cgroup.subtree_control", "cgroup.threads"))):
            os.chown(path, ID_BASE, ID_BASE)
        script = "cd /sys/fs/cgroup; grep ^0: /proc/self/cgroup; wc -l <init/cgroup.procs; " \
                 "echo =$(cat cgroup.controllers); echo =$(cat cgroup.subtree_control); echo 9 2>/dev/null >cgroup.freeze || " \
                 "echo refused"
        out = self.run_sh(script, cgroup=group, flags=NO_NEW_PRIVS | CGROUP, caps=DIND).splitlines()
        self.assertEqual(out[:2], ["0::/init", "3"])  # init, the shell, wc
        self.assertEqual(out[2], out[3])  # every controller that there is has been enabled
        self.assertEqual(out[4], "refused")


class Privileges(Case):
    def both(self, *options, **named):
        """/proc/PID/status of init and of the workload, seen from the host."""
        session = self.start(["sleep", "100"], *options, **named)
        self.assertIsNone(session.error)
        self.session, others = session, [p for p in session.processes() if p != session.pid]
        self.assertEqual(len(others), 1)
        return status_of(session.pid), status_of(others[0])

    def check(self, status, uid, permitted, effective, bounding):
        base = str(ID_BASE + uid)
        self.assertEqual(status["Uid"].split(), [base] * 4)
        self.assertEqual(status["Gid"].split(), [base] * 4)
        found = [int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")]
        self.assertEqual(found, [0, permitted, effective, bounding, 0])

    def test_root_without_capabilities(self):
        init, workload = self.both()
        self.check(init, 0, KEPT, KEPT, 0)
        self.check(workload, 0, 0, 0, 0)
        self.assertEqual((init["NoNewPrivs"], workload["NoNewPrivs"]), ("1", "1"))

    def test_root_with_docker_s_capabilities(self):
        for flags in (0, NO_NEW_PRIVS):
            init, workload = self.both(caps=DIND, flags=flags)
            self.check(init, 0, DIND | KEPT, KEPT, DIND)
            self.check(workload, 0, DIND, DIND, DIND)
            self.assertEqual(workload["NoNewPrivs"], str(flags))

    def test_user(self):
        init, workload = self.both(user="me", caps=DIND)
        self.check(workload, 1000, 0, 0, DIND)
        self.assertEqual({int(g) - ID_BASE for g in workload["Groups"].split()}, {29, 44, 1000})
        self.assertEqual(init["Groups"], "")

    def test_user_by_number(self):
        _, workload = self.both(uid=1234, gid=1234)
        self.check(workload, 1234, 0, 0, 0)
        self.assertEqual(workload["Groups"], "")

    def test_setuid_program(self):
        """Gains what the bounding set holds, unless no_new_privs or the lack of any capability forbids it."""
        program = self.directory / "store/image/0/bin/init_probe"
        self.addCleanup(os.chmod, program, 0o755)
        os.chmod(program, 0o4755)
        for caps, flags, gained in ((DIND, 0, DIND), (DIND, NO_NEW_PRIVS, 0), (0, 0, 0)):
            self.assertEqual(int(self.probe("effective", user="me", caps=caps, flags=flags), 16), gained)

    def test_seccomp(self):
        for caps, flags in ((0, NO_NEW_PRIVS), (DIND, 0)):
            init, workload = self.both(seccomp="uname", caps=caps, flags=flags)
            self.assertEqual((init["Seccomp"], init["Seccomp_filters"]), ("2", "1"))
            self.assertEqual((workload["Seccomp"], workload["Seccomp_filters"]), ("2", "1"))
            self.session.close()
            self.assertEqual(self.probe("uname", seccomp="uname", caps=caps, flags=flags), "EPERM")
        init, workload = self.both()
        self.assertEqual((init["Seccomp"], workload["Seccomp"]), ("0", "0"))

    def test_rlimits(self):
        out = self.run_sh("ulimit -n; ulimit -Hn; ulimit -c", "rlimit=7:100:200", "rlimit=4:0:0")
        self.assertEqual(out, "100\n200\n0\n")

    def test_signals_are_as_a_program_expects(self):
        _, workload = self.both()
        for name in ("SigBlk", "SigIgn", "SigPnd", "ShdPnd"):
            self.assertEqual(int(workload[name], 16), 0, name)

    def test_own_session(self):
        self.both()
        for pid in self.session.processes():
            status = status_of(pid)
            self.assertEqual(status["NSsid"].split()[-1], status["NSpid"].split()[-1])
            self.assertEqual(status["NSpgid"].split()[-1], status["NSpid"].split()[-1])

    def descriptors(self, pid):
        found = {}
        for name in os.listdir(f"/proc/{pid}/fd"):
            found[int(name)] = re.sub(r"\[\d+\]", "", os.readlink(f"/proc/{pid}/fd/{name}"))
        return found

    def test_descriptors(self):
        """Of init and of the workload there are these and no others (runc, CVE-2024-21626)."""
        for spec_flags, more in ((0, {}), (2, {3: "pipe:", 4: "pipe:"})):
            session = self.start(["sleep", "100"], spec_flags=spec_flags, seccomp="uname")
            workload = next(p for p in session.processes() if p != session.pid)
            self.assertEqual(self.descriptors(workload), {0: "/dev/null", 1: "pipe:", 2: "pipe:", **more})
            # /dev/pts: where terminals are made, without a path. The other places are there to ask how full they are.
            expected = sorted(["/dev/null"] * 3 + ["/", "/dev/shm", "/dev/pts", "socket:", "anon_inode:[eventpoll]", "anon_inode:[signalfd]"] +
                              ["pipe:"] * (2 + len(more)))
            # The channel is closed just after the report is sent.
            wait_until(lambda: sorted(self.descriptors(session.pid).values()) == expected, what="no other descriptors")
            for fd, target in self.descriptors(session.pid).items():
                if target in ("/", "/dev/shm", "/dev/pts"):
                    flags = re.search(r"flags:\s+(\d+)", pathlib.Path(f"/proc/{session.pid}/fdinfo/{fd}").read_text())[1]
                    self.assertTrue(int(flags, 8) & os.O_PATH, target)
            # Their /dev/null is the session's, not the host's.
            self.assertNotEqual(os.stat(f"/proc/{session.pid}/fd/0").st_dev, os.stat("/dev/null").st_dev)
            session.close()

    def test_nobody_reaches_init(self):
        """Not even root with every capability in the session (runc, CVE-2019-5736; lxc, CVE-2016-8649)."""
        everything = {"caps": ALL_CAPABILITIES, "flags": 0}
        for what in ("ptrace", "seize", "vm_read", "getfd"):
            self.assertEqual(self.probe(what, **everything), "EPERM", what)
        script = "for f in mem maps environ auxv; do cat /proc/1/$f >/dev/null 2>&1 && echo $f; done; " \
                 "for f in exe cwd root fd/0 ns/mnt; do readlink /proc/1/$f && echo $f; done; ls /proc/1/fd 2>/dev/null; " \
                 "echo x 2>/dev/null >/proc/1/mem && echo mem; echo 9 2>/dev/null >/proc/1/oom_score_adj && echo oom; true"
        self.assertEqual(self.run_sh(script, **everything), "")
        session = self.start(["sleep", "100"])
        self.assertEqual(os.stat(f"/proc/{session.pid}/mem").st_uid, 0)  # root's of the host

    def test_init_shrugs_off_signals(self):
        out = self.run_sh("for s in 1 2 3 6 9 10 11 13 14 15 17 19 20 31 34 50; do kill -$s 1; done; sleep 0.1; echo alive",
                          caps=ALL_CAPABILITIES, flags=0)
        self.assertEqual(out, "alive\n")


class HostileImage(Case):
    @staticmethod
    def edit_image(layer):
        for name in ("proc", "sys", "dev"):
            (layer / name).symlink_to("/etc")
        (layer / "run").symlink_to("/../../../../tmp")
        (layer / "way-out").symlink_to("../../../../../../../..")
        (layer / "dangling").symlink_to("/nowhere")
        (layer / "etc/hosts").mkdir()
        (layer / "etc/resolv.conf").symlink_to("/proc/1/root/etc/resolv.conf")
        (layer / "etc/hostname").symlink_to("/bin/busybox")
        (layer / "tmp/magic").symlink_to("/proc/self/fd/9")

    def test_names_of_the_session_s_own_mounts(self):
        out = self.run_sh("for d in proc sys dev etc; do stat -c %F /$d; done; cat /etc/hostname; head -n1 /etc/hosts; "
                          "head -n1 /etc/resolv.conf; head -c 4 /bin/busybox | grep -c ELF")
        self.assertEqual(out.splitlines(), ["directory"] * 4 + ["desk-1", "127.0.0.1 localhost", "nameserver 192.0.2.53", "1"])

    def test_links_in_mount_targets_stay_inside(self):
        before = set(os.listdir("/tmp"))
        out = self.run_sh("cat /proc/self/mountinfo; ls -d /tmp/deep /inside", "mount=tmpfs:/run/deep:0755:0:0:-:-:0",
                          "mount=tmpfs:/way-out/inside:0755:0:0:-:-:0", "mount=tmpfs:/way-out/../../up:0755:0:0:-:-:0")
        self.assertIn(" /tmp/deep ", out)
        self.assertIn(" /inside ", out)
        self.assertIn(" /up ", out)
        self.assertEqual({n for n in set(os.listdir("/tmp")) - before if n in ("deep", "inside", "up")}, set())

    def test_links_that_lead_nowhere_are_refused(self):
        for target, error in (("/dangling", "EEXIST"), ("/dangling/x", "EEXIST"), ("/tmp/magic/x", "ELOOP"), ("/tmp/..", "EXDEV")):
            with self.subTest(target):
                session = self.start(["true"], f"mount=tmpfs:{target}:0755:0:0:-:-:0")
                # A mount over the root itself shows at the end, when "/" is not what was put together.
                self.assertEqual(session.error[:2], (error, "enter" if error == "EXDEV" else "mounts"))

    def test_hostile_account_files(self):
        etc = self.directory / "store/image/0/etc"
        keep = (etc / "passwd").read_text()
        self.addCleanup(lambda: ((etc / "passwd").unlink(), (etc / "passwd").write_text(keep)))

        def case(make, error):
            (etc / "passwd").unlink()
            make(etc / "passwd")
            session = self.start(["true"], user="me")
            self.assertEqual(session.error, error)

        case(lambda p: os.mkfifo(p), ("EINVAL", "user", "/etc/passwd"))
        case(lambda p: p.symlink_to("/dev/zero"), ("EINVAL", "user", "/etc/passwd"))
        case(lambda p: p.symlink_to("/proc/self/fd/0"), ("ELOOP", "user", "/etc/passwd"))
        case(lambda p: p.write_bytes(b"x" * (2 << 20)), ("EFBIG", "user", "/etc/passwd"))
        case(lambda p: p.symlink_to("passwd"), ("ELOOP", "user", "/etc/passwd"))
        case(lambda p: p.write_text("me:x:0x0:0\nme:x:-1:0\nme:x: 0:0\nme:x::\nme\n:\n"), ("ENOENT", "user", "me"))


if __name__ == "__main__":
    unittest.main()
