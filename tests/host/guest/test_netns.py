# SPDX-License-Identifier: Apache-2.0
"""The session tier's tests of netns/ on this kernel: every kind of address, spoofed sources, raw packets, router
advertisements, ARP, redirects. They play host and world in network namespaces of their own."""

import os
import pathlib
import subprocess
import unittest

from carrel_host import scaled

BUILD = pathlib.Path(os.environ["CARREL_BUILD"])


class Netns(unittest.TestCase):
    def expect(self, name):
        program = BUILD / "tests/session" / name
        if not program.exists():
            self.skipTest("there was no build directory to take it from")
        result = subprocess.run([program], capture_output=True, text=True, timeout=scaled(60),
                                env={**os.environ, "LD_LIBRARY_PATH": str(BUILD)})
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertIn("[  PASSED  ]", result.stdout + result.stderr)

    def test_policies(self):
        self.expect("netns_test")

    def test_lists(self):
        self.expect("netns_list_test")


if __name__ == "__main__":
    unittest.main()
