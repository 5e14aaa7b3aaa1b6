# SPDX-License-Identifier: Apache-2.0
"""What goes into the guest to test carrel there: the installed programs, the tests, their static programs."""

import os
import pathlib
import shlex
import sys

import parts
import vm

TESTS = parts.TOP / "tests"
# Of the package, with options of meson's: one to be installed, and one to upgrade to.
VERSIONS = {"0.1.0": "", "0.1.1": "-Dnext_formats=true"}
FOLDERS = ("session", "lib", "host/guest")
PROGRAMS = [TESTS / name for name in  # there is no compiler in the guest
            ("session/prober.c", "session/escaper.c", "session/bomber.c", "session/port_server.c", "host/guest/hostile.c")]
# Of the build directory: linked to libraries that the guest has, but for cmocka.
BUILT = ("sandbox/carrel-init", *(f"tests/session/{name}" for name in (
    "init_harness", "init_probe", "netns_list_test", "netns_test", "seccomp_run")))
SECONDS = 900  # then the tests of a guest are ended from inside, so that its journal comes back
CMOCKA = "/usr/lib/x86_64-linux-gnu/libcmocka.so.0"

sys.path.insert(0, str(TESTS / "session"))
from carrel_host import compile_static  # noqa: E402


def payload(shell_command, root):
    """ROOT is a tree that `meson install --destdir` made."""
    made = vm.Payload(shell_command)
    made.put(root, "/")
    for folder in FOLDERS:
        made.put(TESTS / folder, f"/carrel/tests/{folder}")
    directory = parts.CACHE / "programs"
    directory.mkdir(parents=True, exist_ok=True)
    for source in PROGRAMS:
        program = compile_static(source, directory)
        made.put(program, f"/carrel/programs/{pathlib.Path(program).name}")
    build = pathlib.Path(os.environ.get("CARREL_BUILD") or pathlib.Path(root).parent / "gcc")
    for name in BUILT:
        if (build / name).exists():
            made.put(build / name, f"/carrel/build/{name}")
    if os.path.exists(CMOCKA):
        made.put(pathlib.Path(CMOCKA).resolve(), f"/carrel/build/{pathlib.Path(CMOCKA).name}")
    return made


def package_payload(directory, module="test_package.py", words=()):
    """DIRECTORY has a folder for each version of the package. Nothing of carrel is in the guest before it is installed.
    WORDS: as for command()."""
    path = "/carrel/tests/host/guest"
    made = vm.Payload(command(["--module", f"{path}/{module}", *words]))
    for version in VERSIONS:
        name = f"carrel_{version}_amd64.deb"
        made.put(pathlib.Path(directory) / version / name, f"/carrel/packages/{name}")
    for folder in FOLDERS:
        made.put(TESTS / folder, f"/carrel/tests/{folder}")
    return made


def command(words=()):
    """Runs the tests whose names contain one of the words; all of them where there is no word. Or as runner.py says."""
    return shlex.join(["timeout", "--kill-after=10", str(SECONDS), "python3", "/carrel/tests/host/guest/runner.py", *words])
