#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the tests in the guest, each module in a process of its own, and prints a line for each test that is not skipped:

  ok      3.1 s  limits.test_memory
       | what the test printed
  FAIL    0.2 s  limits.test_pids
       | Traceback ...

Arguments are words: only tests whose names contain one of them are run.
"""

import concurrent.futures
import importlib.util
import io
import os
import pathlib
import subprocess
import sys
import time
import traceback
import unittest

TESTS = pathlib.Path(__file__).resolve().parent.parent.parent
# The first takes things away from the host, the second measures how a neighbour fares.
ALONE = ["host/guest/test_check.py", "host/guest/test_limits.py"]
# The longest first, because several run at a time.
TOGETHER = [
    "session/test_sessions.py",
    "session/test_survival.py",
    "session/test_escape.py",
    "host/guest/test_delegation.py",
    "host/guest/test_network.py",
    "host/guest/test_netns.py",
    "session/test_isolation.py",
    "session/test_inside.py",
    "session/test_exec.py",
]
# What takes long in emulation; the session tier runs it on real hardware.
TOO_SLOW = {
    "escape.test_descriptors_and_pipes", "escape.test_inotify_instances", "escape.test_message_queues",
    "escape.test_nested_namespaces", "escape.test_new_file_systems", "escape.test_root_file_system",
    "escape.test_shared_memory", "escape.test_system_v_objects", "escape.test_terminals",
    "escape.test_timers_and_signals", "exec.test_a_flood_does_not_take_all_the_time", "exec.test_limit_per_session",
    "exec.test_many_at_once", "exec.test_worst_output_does_not_cost_the_connection",
    "sessions.test_two_hundred_sessions", "sessions.test_workloads_that_end_at_once",
    "survival.test_control_killed_during_creations",
}
# Loaded beforehand: in emulation that takes longer than the check has patience.
KERNEL_MODULES = ["br_netfilter", "fuse", "nf_tables", "nft_chain_nat", "nft_ct", "nft_masq", "nft_nat", "overlay", "veth"]


class Lines(unittest.TestResult):
    """Prints as the tests end."""

    def startTest(self, test):
        super().startTest(test)
        self.begun, self.problems, self.skipped_test = time.monotonic(), [], False
        self.stdout, sys.stdout = sys.stdout, io.StringIO()

    def stopTest(self, test):
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
    found = unittest.defaultTestLoader.loadTestsFromModule(module)
    return unittest.TestSuite(t for t in tests_of(found) if is_wanted(short_name(t), words))


def is_wanted(name, words):
    """What is too slow runs when somebody asks for it by its whole name."""
    return name in words or (name not in TOO_SLOW and (not words or any(word in name for word in words)))


def run_module(path, words):
    result = Lines()
    load(path, words).run(result)
    return 0 if result.wasSuccessful() else 1


def run_process(name, words):
    """Runs a module in a process of its own; whether all is well."""
    result = subprocess.run([sys.executable, __file__, "--module", str(TESTS / name), *words], check=False)
    if result.returncode not in (0, 1):
        print(f"FAIL     0.0 s  {name} ended with {result.returncode}", flush=True)
    return result.returncode == 0


def main():
    if sys.argv[1:2] == ["--module"]:
        return run_module(pathlib.Path(sys.argv[2]), sys.argv[3:])
    words = sys.argv[1:]
    subprocess.run(["modprobe", "-a", *KERNEL_MODULES], check=True)
    well = [run_process(name, words) for name in ALONE]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        well += pool.map(lambda name: run_process(name, words), TOGETHER)
    return 0 if all(well) else 1


if __name__ == "__main__":
    sys.exit(main())
