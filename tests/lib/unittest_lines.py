# SPDX-License-Identifier: Apache-2.0
"""python3 unittest_lines.py FILE [WORD...]: runs a unittest file, or those of its tests whose names have one of the words, and
prints "RESULT NAME ok|FAIL SECONDS" for each, on a line of its own whatever the test prints; tests/run.py counts these lines.
Details of failures follow at the end."""

import importlib.util
import sys
import time
import unittest


class Result(unittest.TextTestResult):
    def startTest(self, test):
        self.begun, self.problems = time.monotonic(), len(self.failures) + len(self.errors)
        super().startTest(test)

    def stopTest(self, test):
        ok = len(self.failures) + len(self.errors) == self.problems
        name = test.id().split(".", 1)[1]
        print(f"\nRESULT {name} {'ok' if ok else 'FAIL'} {time.monotonic() - self.begun:.1f}", flush=True)
        super().stopTest(test)


def tests_of(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from tests_of(test)
        else:
            yield test


def main(path, *words):
    spec = importlib.util.spec_from_file_location("tests", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["tests"] = module
    spec.loader.exec_module(module)
    found = tests_of(unittest.defaultTestLoader.loadTestsFromModule(module))
    suite = unittest.TestSuite(test for test in found if not words or any(word in test.id() for word in words))
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=0, resultclass=Result).run(suite)
    # A module or class that could not be set up has no test of its own to fail.
    if result.errors and not result.testsRun:
        print(f"\nRESULT {path} FAIL 0")
    return 0 if result.wasSuccessful() and result.testsRun else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
