#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the tests in the guest, each module in a process of its own, and prints a line for each test that is not skipped:

  ok      3.1 s  limits.test_memory
  FAIL    0.2 s  limits.test_pids
       | Traceback ...

Arguments are words: only tests whose names contain one of them are run.
"""

import concurrent.futures
import importlib.util
import os
import pathlib
import subprocess
import sys
import time
import traceback
import unittest

TESTS = pathlib.Path(__file__).resolve().parent.parent.parent
ALONE = ["host/guest/test_check.py"]  # takes things away from the host
# The longest first, because several run at a time.
TOGETHER = [
    "session/test_sessions.py",
    "session/test_survival.py",
    "host/guest/test_limits.py",
    "host/guest/test_delegation.py",
    "session/test_isolation.py",
    "session/test_inside.py",
]
# Loaded beforehand: in emulation that takes longer than the check has patience.
KERNEL_MODULES = ["br_netfilter", "nf_tables", "nft_chain_nat", "nft_ct", "nft_masq", "nft_nat", "overlay", "veth"]


class Lines(unittest.TestResult):
    """Prints as the tests end."""

    def startTest(self, test):
        super().startTest(test)
        self.begun, self.problems, self.skipped_test = time.monotonic(), [], False

    def stopTest(self, test):
        super().stopTest(test)
        if not self.skipped_test:
            self.say(short_name(test), time.monotonic() - self.begun)

    def say(self, name, seconds):
        """In one write, because other modules run beside this one."""
        lines = [f"{'FAIL' if self.problems else 'ok  '} {seconds:7.1f} s  {name}"]
        lines += [f"     | {line}" for line in "\n".join(self.problems).splitlines()]
        os.write(sys.stdout.fileno(), ("\n".join(lines) + "\n").encode())

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
    return unittest.TestSuite(t for t in tests_of(found) if not words or any(w in short_name(t) for w in words))


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
