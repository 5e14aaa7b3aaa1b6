#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the tiers of tests one after the other; `./test` calls it. Ends with one line, "N passed, N failed"."""

import concurrent.futures
import os
import pathlib
import queue
import re
import shutil
import subprocess
import sys
import threading
import time

TOP = pathlib.Path(__file__).resolve().parent.parent
BUILD = TOP / "build"
JOBS = os.cpu_count() or 2
PROTOCOLS = ("rpc", "super", "init_link", "init_requests")  # between those who do not trust each other
IDLE = ("nice", "-n", "19")
ID_BASES = (524288, 1 << 30)  # of sessions that run at the same time: a user's limits are one user's
ALONE = ("test_check", "test_dind_walls", "test_escape")
FUZZ_SECONDS = int(os.environ.get("FUZZ_SECONDS", "60" if os.environ.get("CI") else "10"))

passed, failed = 0, []
reporting = threading.Lock()


def excerpt(lines):
    """The first failure, from which others often follow, and the end."""
    first = next((i for i, line in enumerate(lines) if re.match(r"(ERROR|FAIL): |\[  FAILED|.*ERROR: (Address|Leak)", line)), None)
    if first is None or len(lines) - first <= 80:
        return lines[-80:]
    return [*lines[first:first + 50], "...", *lines[-30:]]


def report(name, ok, seconds, output=""):
    global passed
    with reporting:
        print(f"{'ok  ' if ok else 'FAIL'} {seconds:7.1f} s  {name}", flush=True)
        if ok:
            passed += 1
        else:
            failed.append(name)
            print("\n".join("     | " + line for line in excerpt(output.strip().splitlines())), flush=True)


def run(name, command, count=None, timeout=1200, **kwargs):
    """One command; COUNT takes its output and returns [(name, ok)] of the tests in it."""
    begun = time.monotonic()
    try:
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                                timeout=timeout, stdin=subprocess.DEVNULL, cwd=TOP, **kwargs)
        status, output = result.returncode, result.stdout
    except subprocess.TimeoutExpired as e:
        status, output = -1, (e.stdout or b"").decode(errors="replace") + f"\nno end after {timeout} s"
    seconds = time.monotonic() - begun
    tests = count(output) if count else []
    for test, ok in tests:
        report(f"{name}: {test}", ok, seconds / len(tests), output)
    # Whatever fails outside a test, and a command that counts none, is a failure of its own.
    if not tests or (status != 0 and all(ok for _, ok in tests)):
        report(name, status == 0 and not count, seconds, output)
    return status == 0


def cmocka_tests(output):
    # A failure is listed once more at the end.
    return list({name: word == "OK" for word, name in re.findall(r"^\[ +(OK|FAILED) +\] (\S+)$", output, re.M)
                 if name != "tests"}.items())


def python_tests(output):
    return [(name, word == "ok") for name, word in re.findall(r"^RESULT (\S+) (ok|FAIL) [\d.]+$", output, re.M)]


def setup(directory, *options, env=None, priority=()):
    if not (directory / "build.ninja").exists():
        shutil.rmtree(directory, ignore_errors=True)
        if not run(f"configure {directory.name}", ["meson", "setup", str(directory), *options],
                   env={**os.environ, **(env or {})}):
            return False
    return run(f"compile {directory.name}", [*priority, "ninja", "-C", str(directory), f"-j{JOBS}"])


def tier_build():
    """Both compilers, without a warning; the optimised build is installed below build/root for the tiers that follow."""
    ok = setup(BUILD / "gcc", "-Dbuildtype=debugoptimized")
    ok = ok and run("install", ["meson", "install", "-C", str(BUILD / "gcc"), "--no-rebuild", "--quiet", "--destdir",
                                str(BUILD / "root")])
    return setup(BUILD / "clang", "-Dbuildtype=debugoptimized", env={"CC": "clang"}) and ok


def tier_unit():
    """Unit tests under AddressSanitizer and UndefinedBehaviorSanitizer."""
    directory = BUILD / "sanitize"
    if not setup(directory, "-Dbuildtype=debug", "-Db_sanitize=address,undefined", "-Db_lundef=false"):
        return
    environment = {**os.environ, "CARREL_SOURCE": str(TOP), "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0", "UBSAN_OPTIONS": "halt_on_error=1",
                   "CMOCKA_MESSAGE_OUTPUT": "stdout"}
    for test in sorted((directory / "tests/unit").glob("test_*")):
        if test.is_file() and os.access(test, os.X_OK):
            run(f"unit {test.name[5:]}", [str(test)], cmocka_tests, env=environment, timeout=300)


def python_module(name, test, **more):
    environment = {**os.environ, "CARREL_ROOT": str(BUILD / "root"), "CARREL_BUILD": str(BUILD / "gcc"), "CARREL_SOURCE": str(TOP),
                   "PYTHONPATH": f"{TOP / 'tests/session'}:{TOP / 'tests/lib'}", "PYTHONDONTWRITEBYTECODE": "1", **more}
    run(f"{name} {test.stem[5:]}", ["/usr/bin/python3", "-W", "ignore::ResourceWarning", "tests/lib/unittest_lines.py",
                                    str(test.relative_to(TOP))], python_tests, env=environment, timeout=1800)


def tier_docs():
    for name in "docs", "cli":
        for test in sorted((TOP / "tests" / name).glob("test_*.py")):
            python_module(name, test)


def tier_session():
    """Real sessions: the modules in pairs, each in a network namespace and a range of ids of its own, but those which hold
    that nothing on the whole machine changes."""
    if os.geteuid() != 0:
        report("session tests need root", False, 0)
        return
    for test in sorted((BUILD / "gcc/tests/session").glob("*_test")):
        run(f"session {test.name}", [str(test)], cmocka_tests, timeout=600,
            env={**os.environ, "CMOCKA_MESSAGE_OUTPUT": "stdout"})
    modules = sorted((TOP / "tests/session").glob("test_*.py"))
    bases = queue.SimpleQueue()

    def take_turn(test):
        base = bases.get()
        python_module("session", test, CARREL_TEST_ID_BASE=str(base))
        bases.put(base)

    for base in ID_BASES:
        bases.put(base)
    with concurrent.futures.ThreadPoolExecutor(len(ID_BASES)) as pool:
        list(pool.map(take_turn, [test for test in modules if test.stem not in ALONE]))
    for test in modules:
        if test.stem in ALONE:
            python_module("session", test)


def in_machines(name, run_tier):
    sys.path.insert(0, str(TOP / "tests/host"))
    import host_tier
    try:
        getattr(host_tier, run_tier)(BUILD / "root", report)
    except (OSError, RuntimeError, subprocess.CalledProcessError) as e:
        report(name, False, 0, str(e))


def tier_host():
    """carrel in virtual machines with systemd and every cgroup controller, on the oldest and the newest Linux."""
    in_machines("host", "run")


def tier_package():
    """Its Debian package there, from its installation through upgrades and power cuts to its removal."""
    in_machines("package", "run_package")


def tier_fuzz():
    """libFuzzer on every parser, starting from the corpus in the repository: FUZZ_SECONDS for a protocol, a third of it for
    the others. With the lowest priority, because main() may have it run beside tests that mostly wait."""
    directory = BUILD / "fuzz"
    if not setup(directory, "-Dbuildtype=debugoptimized", "-Dfuzz=true", "-Db_lundef=false", "-Db_sanitize=address,undefined",
                 env={"CC": "clang"}, priority=IDLE):
        return
    found = [p for p in sorted((directory / "tests/fuzz").glob("fuzz_*")) if p.is_file() and os.access(p, os.X_OK)]

    def fuzz(target):
        seconds = FUZZ_SECONDS if target.name[5:] in PROTOCOLS else max(1, FUZZ_SECONDS // 3)
        seeds = TOP / "tests/fuzz/corpus" / target.name[5:]
        grown = directory / "corpus" / target.name[5:]
        grown.mkdir(parents=True, exist_ok=True)
        run(f"fuzz {target.name[5:]}",
            [*IDLE, str(target), f"-max_total_time={seconds}", "-fork=1", "-max_len=65536", "-print_final_stats=0",
             f"-artifact_prefix={directory}/", str(grown), *([str(seeds)] if seeds.is_dir() else [])],
            timeout=FUZZ_SECONDS * 3 + 60)

    # A processor for each, as many at a time as there are processors.
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        list(pool.map(fuzz, found))


def tier_demo():
    if run("demo", ["./demo"], timeout=900):
        begun = time.monotonic()
        run("demo again", ["./demo"], timeout=120)
        if time.monotonic() - begun > 60:
            report("demo again takes seconds", False, time.monotonic() - begun)


def tier_bench():
    run("bench", ["/usr/bin/python3", "tests/bench/bench.py", "--quick", "--root", str(BUILD / "root")], timeout=600)
    run("bench density", ["/usr/bin/python3", "tests/bench/bench_density.py", "--root", str(BUILD / "root")], timeout=600)


TIERS = {"build": tier_build, "unit": tier_unit, "docs": tier_docs, "session": tier_session, "host": tier_host,
         "package": tier_package, "fuzz": tier_fuzz, "demo": tier_demo, "bench": tier_bench}


def main():
    chosen = sys.argv[1:] or list(TIERS)
    for name in chosen:
        if name not in TIERS:
            print(f"no tier {name!r}; there are {', '.join(TIERS)}", file=sys.stderr)
            return 2
    begun = time.monotonic()
    fuzzing, times = None, []
    for name in chosen:
        tier_begun = time.monotonic()
        print(f"--- {name}", flush=True)
        if name == "session" and "fuzz" in chosen:
            fuzzing = threading.Thread(target=tier_fuzz)
            fuzzing.start()
        if name == "fuzz" and fuzzing:
            fuzzing.join()
        elif TIERS[name]() is False:
            break
        times.append(f"{name} {time.monotonic() - tier_begun:.0f}")
    print(f"--- {time.monotonic() - begun:.0f} s: {', '.join(times)}")
    for name in failed:
        print(f"FAILED {name}")
    print(f"{passed} passed, {len(failed)} failed")
    return 1 if failed or passed == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
