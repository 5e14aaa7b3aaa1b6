#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The two tiers of the tests that run in virtual machines, on the oldest and the newest Linux: carrel with every cgroup
controller (run()), and its Debian package under systemd, from its installation through power cuts to its removal
(run_package()).

tests/run.py calls them; by itself this runs both and prints what it is told.
"""

import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import guest_tests  # noqa: E402
import images  # noqa: E402
import parts  # noqa: E402
import vm  # noqa: E402

KERNELS = ("6.1", "newest")
SECONDS_EACH = 1200  # of a machine; two or three minutes where nothing else runs
MACHINES = 2  # at the same time: each has as many processors as this computer, and uses half of them
reporting = threading.Lock()


def results(lines):
    """Out of what the guest says: (name, ok, seconds, output) for each test."""
    found = None
    for line in lines:
        match = re.match(r"(ok  |FAIL) +([\d.]+) s  (.*)$", line)
        if match:
            if found:
                yield found
            found = (match[3], match[1] == "ok  ", float(match[2]), "")
        elif found:
            found = (*found[:3], found[3] + line.removeprefix("     | "))
    if found:
        yield found


def packages(report):
    """Two versions of the Debian package, of which the later has other formats of its state: the directory, or None."""
    directory = parts.CACHE / "packages"
    shutil.rmtree(directory, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="carrel-deb-") as tree:
        for version, options in guest_tests.VERSIONS.items():
            begun = time.monotonic()
            build = subprocess.run([parts.TOP / "packaging/build-deb", directory / version], stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True, env={**os.environ, "CARREL_DEB_TREE": tree,
                                   "CARREL_DEB_VERSION": version, "CARREL_DEB_OPTIONS": options})
            report(f"package {version}", build.returncode == 0, time.monotonic() - begun, build.stdout)
            if build.returncode != 0:
                return None
    complaints = subprocess.run(["lintian", "--allow-root", "--fail-on=error,warning",
                                 *(directory / next(iter(guest_tests.VERSIONS))).glob("*.changes")], capture_output=True, text=True)
    report("lintian", complaints.returncode == 0, 0, complaints.stdout + complaints.stderr)
    return directory


def run_on(kernel, what, payload, report, **machine_options):
    """One machine; WHAT names its results."""
    begun, machine = time.monotonic(), vm.Machine(kernel, **machine_options)
    directory = parts.CACHE / f"results-{kernel}-{what}"
    shutil.rmtree(directory, ignore_errors=True)
    reader, writer = os.pipe()
    status = []
    with open(reader, errors="replace") as lines:
        def boot():
            with open(writer, "wb") as stream:
                status.append(machine.run(payload, SECONDS_EACH, directory, stdout=stream))

        thread = threading.Thread(target=boot)
        thread.start()
        all_ok, count = True, 0
        for name, ok, seconds, output in results(lines):
            with reporting:
                report(f"host {kernel}: {name}", ok, seconds, output)
                if ok and output:  # figures
                    print("".join(f"     | {line}\n" for line in output.splitlines()), end="", flush=True)
            all_ok, count = all_ok and ok, count + 1
        thread.join()
    if count == 0 or (status != [0] and all_ok):
        report(f"host {kernel} {what}", False, time.monotonic() - begun, f"exit code {status}; see {directory}")


def run(root, report):
    """ROOT: a tree that `meson install --destdir` made. REPORT(name, ok, seconds, output) is called for each test."""
    subprocess.run([str(parts.TOP / "tools/deps"), "vm"], check=True)
    # What measures how a neighbour fares, beside nothing else.
    for kernel in KERNELS:
        run_on(kernel, "alone", guest_tests.payload(guest_tests.command(["--alone"]), root), report)
    # The rest waits as much as it computes: two machines at a time.
    rest = guest_tests.payload(guest_tests.command(["--together"]), root)
    with concurrent.futures.ThreadPoolExecutor(MACHINES) as pool:
        for job in [pool.submit(run_on, kernel, "together", rest, report) for kernel in KERNELS]:
            job.result()


def run_package(root, report):
    """As run()."""
    subprocess.run([str(parts.TOP / "tools/deps"), "vm"], check=True)
    with concurrent.futures.ThreadPoolExecutor(MACHINES) as pool:
        made, disk = pool.submit(packages, report), pool.submit(images.disk, root)

        def package(kernel):
            run_on(kernel, "package", guest_tests.package_payload(made.result()), report, images=disk.result())

        def power(kernel):
            run_on(kernel, "power", guest_tests.package_payload(made.result(), "test_power.py"), report, reboots=True)

        if made.result() and disk.result():
            for job in [pool.submit(job, kernel) for job in (package, power) for kernel in KERNELS]:
                job.result()


def main():
    failed = []

    def report(name, ok, seconds, output):
        print(f"{'ok  ' if ok else 'FAIL'} {seconds:7.1f} s  {name}", flush=True)
        if not ok:
            failed.append(name)
            print(output)

    root = sys.argv[1] if len(sys.argv) > 1 else parts.TOP / "build/root"
    run(root, report)
    run_package(root, report)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
