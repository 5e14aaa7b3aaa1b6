#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the tests in the guest, each module in a process of its own, and prints a line for each test that is not skipped:

  ok      3.1 s  limits.test_memory
       | what the test printed
  FAIL    0.2 s  limits.test_pids
       | Traceback ...

Arguments are words: only tests whose names contain one of them are run. --alone and --together before them: only the
modules that measure, or only the others; --module FILE: only that one. A test that does not end is failed after a while,
with where it was, what ran and what the journal says, and the next one begins.
"""

import importlib.util
import io
import os
import pathlib
import signal
import subprocess
import sys
import time
import traceback
import unittest

# What most modules want, so that it is read and compiled once and not by each of them.
import carrel_host
import limited  # noqa: F401

TESTS = pathlib.Path(__file__).resolve().parent.parent.parent
SECONDS_EACH = carrel_host.scaled(10)  # the longest takes 35 s where nothing else runs
SECONDS_MORE = carrel_host.scaled(2)  # for each thing that hangs when a test that hung is cleaned up
AT_A_TIME = 3  # modules; more than there are processors, because they wait for one thing and another
# The first takes things away from the host, the second measures how a neighbour fares.
ALONE = ["check", "limits"]
# Modules of the guest's, and what each of the session tier has that is worth its seconds here: what depends on the
# kernel or on cgroups, and of the rest a part that shows that the whole stands. The longest first.
TOGETHER = {
    "netns": None,
    "escape": """settings_of_the_host settings_by_mounts_of_ones_own remounting_opens_nothing devices pid_1 signals
        roots_and_descriptors namespaces calls socket_families netlink_reaches_no_other_namespace no_privilege_is_gained
        link_is_taken_away connections""",
    "network": None,
    "limit_values": None,
    "lifetimes": "changed_while_it_runs heartbeats_keep_it deadlines_outlive_control",
    "survival": "control_killed supervisor_restarted session_ends_while_nobody_watches",
    "isolation": None,
    "delegation": None,
    "exec": """result exit_codes_and_signals descriptors_and_capabilities standard_input client_program
        timeout_kills_the_group not_started state timeout_of_a_session_that_is_paused_meanwhile
        a_client_that_goes_takes_its_command_along control_killed_in_the_middle""",
    "sessions": """life_of_a_session a_workload_that_exits a_workload_that_is_killed environment_and_secrets deadline
        stop_asks_before_it_kills stop_kills_after_the_grace pause_and_resume events limits_past_the_ceiling
        limits_of_a_session_that_runs a_missing_program a_port_that_is_never_opened
        a_workload_that_dies_before_it_is_ready idempotency_key""",
    "init_setup": """which_step_failed mounts no_host_path_anywhere dev bind_mounts read_only_binds_stay_so
        the_shared_dev_stays_read_only cgroup root_with_docker_s_capabilities setuid_program seccomp descriptors
        links_in_mount_targets_stay_inside""",
    "volumes": "files_outlive_the_session_with_their_owners one_session_at_a_time hostile_files the_living_hold_theirs",
    "pools": "a_claim members_outlive_both_daemons",
    "exec_start": "three_streams descriptors attach_again signals timeout paused command_goes_on",
    "ports": "publish_unix publish_tcp descriptor both_ways half_close who_may_connect not_from_another_session",
    "files": "stat files_of_proc traps new_and_replaced full_disk mkdir_move_delete by_descriptor",
    "archive": "there_and_back owners links_that_lead_out",
    "terminal": "is_one resize_and_signals scrollback survives_control",
    "liveness": "restarted_in_place",
    "ensure": "what_a_caller_gets after_a_restart",
    "init_serve": """streams_in_order_and_whole last_words_are_kept descriptors_and_privileges terminal newest_wins
        ends_are_kept_for_the_next malformed""",
    "hostile_client": "descriptors_are_not_kept a_frame_without_end",
    "hostile_control": "crafted_requests nothing_before_the_greeting one_that_never_reads",
    "spawner": "there_is_one_and_it_starts_what_is_run killed_with_its_order client_that_goes",
    "metrics": "what_happened starts_of_control_are_counted",
    "events_resume": "nothing_is_missed_and_nothing_comes_twice",
    "audit": None,
    "strangers": "volumes_and_lists sessions_of_a_pool",
    "admission": "ceilings waiting_for_room drain",
    "inside": None,
    "seccomp": "shell minimal_makes_no_namespaces",
}
# Loaded beforehand: in emulation that takes longer than the check has patience.
KERNEL_MODULES = ["br_netfilter", "fuse", "nf_tables", "nft_chain_nat", "nft_ct", "nft_masq", "nft_nat", "overlay", "veth"]


class Hung(Exception):
    pass


def hung(*_):
    raise Hung("this test does not end")


def is_of_hung(error):
    """ERROR, or what it came of."""
    return error is not None and (isinstance(error, Hung) or is_of_hung(error.__cause__ or error.__context__))


def what_runs():
    """Of the machine, for those who were not there."""
    said = ""
    for command in (["ps", "-N", "--ppid", "2", "-o", "pid,stat,wchan:24,time,args"], ["systemctl", "list-jobs", "--no-pager"],
                    ["systemctl", "list-units", "--no-pager", "--all", "carrel*"], ["journalctl", "-b", "--no-pager", "-n", "80"]):
        result = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        said += f"$ {' '.join(command)}\n{result.stdout}"
    return "".join(f"{line[:240]}\n" for line in said.splitlines())


class Lines(unittest.TestResult):
    """Prints as the tests end."""

    def startTest(self, test):
        super().startTest(test)
        self.begun, self.problems, self.skipped_test = time.monotonic(), [], False
        self.stdout, sys.stdout = sys.stdout, io.StringIO()
        signal.setitimer(signal.ITIMER_REAL, SECONDS_EACH, SECONDS_MORE)

    def stopTest(self, test):
        signal.setitimer(signal.ITIMER_REAL, 0)
        super().stopTest(test)
        printed, sys.stdout = sys.stdout.getvalue(), self.stdout
        if not self.skipped_test:
            self.say(short_name(test), time.monotonic() - self.begun, printed.strip("\n"))

    def say(self, name, seconds, printed=""):
        """In one write, because other modules run beside this one."""
        lines = [f"{'FAIL' if self.problems else 'ok  '} {seconds:7.1f} s  {name}"]
        lines += [f"     | {line}" for line in "\n".join([printed, *self.problems]).splitlines() if line]
        os.write(1, ("\n".join(lines) + "\n").encode())

    def problem(self, test, error):
        text = "".join(traceback.format_exception(*error))
        if is_of_hung(error[1]):
            signal.setitimer(signal.ITIMER_REAL, 0)
            text += what_runs()
            signal.setitimer(signal.ITIMER_REAL, SECONDS_MORE, SECONDS_MORE)
        if isinstance(test, unittest.TestCase):
            self.problems.append(text)
        else:
            # setUpModule() and the like: no test has begun.
            self.problems = [text]
            self.say(str(test), 0)

    def addError(self, test, err):
        super().addError(test, err)
        self.problem(test, err)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.problem(test, err)

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err:
            self.problems.append(f"{subtest}:")
            self.problem(test, err)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.skipped_test = True

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self.problems.append("succeeded unexpectedly")


def short_name(test):
    """test_limits.Limits.test_memory is limits.test_memory for people."""
    module, _, name = test.id().split(".", 2)
    return f"{module.removeprefix('test_')}.{name}"


def tests_of(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from tests_of(test)
        else:
            yield test


def load(path, words):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    found = list(tests_of(unittest.defaultTestLoader.loadTestsFromModule(module)))
    chosen = (TOGETHER.get(path.stem.removeprefix("test_")) or "").split()
    unknown = {f"test_{name}" for name in chosen} - {t.id().rsplit(".", 1)[1] for t in found}
    if unknown:
        raise ValueError(f"{path.name} has no {', '.join(sorted(unknown))}")
    return unittest.TestSuite(t for t in found if is_wanted(short_name(t), chosen, words))


def is_wanted(name, chosen, words):
    """What was not chosen runs when somebody asks for it by its whole name."""
    if name in words:
        return True
    return (not chosen or name.split(".test_")[1] in chosen) and (not words or any(word in name for word in words))


def run_module(path, words):
    result = Lines()
    signal.signal(signal.SIGALRM, hung)
    load(path, words).run(result)
    return 0 if result.wasSuccessful() else 1


def path_of(name):
    own = TESTS / f"host/guest/test_{name}.py"
    return own if own.exists() else TESTS / f"session/test_{name}.py"


def run_processes(names, words, at_a_time):
    """Runs modules, each in a child of this process; whether all is well."""
    names, running, well = list(names), {}, True
    while names or running:
        while names and len(running) < at_a_time:
            name = names.pop(0)
            pid = os.fork()
            if pid == 0:
                status = 2
                try:
                    status = run_module(path_of(name), words)
                except BaseException:  # of which the line below tells
                    traceback.print_exc()
                finally:
                    os._exit(status)
            running[pid] = name
        pid, status = os.wait()
        name = running.pop(pid)
        if status not in (0, 1 << 8):
            print(f"FAIL     0.0 s  {name} ended with {os.waitstatus_to_exitcode(status)}", flush=True)
        well = well and status == 0
    return well


def main():
    if sys.argv[1:2] == ["--module"]:
        return run_module(pathlib.Path(sys.argv[2]), sys.argv[3:])
    words = sys.argv[1:]
    alone, together = ALONE, TOGETHER
    if words[:1] == ["--alone"]:
        words, together = words[1:], ()
    elif words[:1] == ["--together"]:
        words, alone = words[1:], ()
    subprocess.run(["modprobe", "-a", *KERNEL_MODULES], check=True)
    made = carrel_host.Host()
    carrel_host.PREBUILT["minimal"] = made.state_dir
    well = run_processes(alone, words, 1)
    return 0 if run_processes(together, words, AT_A_TIME) and well else 1


if __name__ == "__main__":
    sys.exit(main())
