#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Measures what many sessions cost each other and the host: `minimal` ones, that sleep.

  create    the median of a session.create and of the CPU time of carreld and carrel-control for it, while there are no
            others and while there are all
  memory    the proportional share (PSS) of carreld and carrel-control together, more than without sessions, for each; and of
            a carrel-init
  restart   from the start of carreld to the first answer that counts all sessions, beside one that finds none

Memory does not depend on how busy the machine is, and is held to its bounds: 16 MB and 8 KiB for each session, 64 KiB for a
carrel-init. Times are printed.
"""

import argparse
import json
import os
import pathlib
import re
import statistics
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "session"))
import carrel_host  # noqa: E402

CLIENTS, PROBES, INITS, RESTARTS = 16, 60, 50, 5
REST_SECONDS, REST_CPU_MS = 0.5, 5
BASE_BYTES, SESSION_BYTES, INIT_BYTES = 16_000_000, 8 << 10, 64 << 10


def pss_bytes(pid):
    return 1024 * int(re.search(r"^Pss:\s+(\d+)", pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)[1])


def cpu_ms(pid):
    """Of a process alone; what it has started counts for itself."""
    fields = pathlib.Path(f"/proc/{pid}/schedstat").read_text().split()
    return int(fields[0]) / 1e6


class Density:
    def __init__(self, n):
        self.n = n
        self.host = carrel_host.Host(config={"max_sessions": n + 100}).start()
        self.client = self.host.client()

    def daemons(self):
        return self.host.process.pid, self.host.control_pid()

    def memory(self):
        return sum(pss_bytes(pid) for pid in self.daemons())

    def rest(self):
        """Waits until what many creations have left to do is done: networks made ahead, the registry brought to the disk."""
        before = None
        while before is None or sum(map(cpu_ms, self.daemons())) - before > REST_CPU_MS:
            before = sum(map(cpu_ms, self.daemons()))
            time.sleep(REST_SECONDS)

    def create(self):
        """Medians of one creation after the other: as its caller sees it, and CPU time of the daemons."""
        took, cpu = [], []
        self.rest()
        for i in range(PROBES):
            before, begun = sum(map(cpu_ms, self.daemons())), time.monotonic()
            self.client.call("session.create", template="minimal", id=f"probe-{i}")
            took.append((time.monotonic() - begun) * 1e3)
            cpu.append(sum(map(cpu_ms, self.daemons())) - before)
            self.client.call("session.remove", session=f"probe-{i}")
        return statistics.median(took), statistics.median(cpu)

    def fill(self):
        clients = [self.host.client() for _ in range(CLIENTS)]
        begun = time.monotonic()
        carrel_host.call_side_by_side(clients, "session.create", [{"template": "minimal", "id": f"live-{i}"} for i in range(self.n)])
        for client in clients:
            client.close()
        return self.n / (time.monotonic() - begun)

    def restart(self, expected):
        """Milliseconds until the API answers that there are EXPECTED sessions; the quickest of a few."""
        took = []
        for _ in range(RESTARTS):
            control = self.host.control_pid()
            self.host.stop()
            carrel_host.wait_until(lambda: carrel_host.has_ended(control), what="control ended")
            begun = time.monotonic()
            self.host.start()
            took.append((time.monotonic() - begun) * 1e3)
            self.client = self.host.client()
            found = self.client.call("system.health")["active_sessions"]
            assert found == expected, f"{found} of {expected} sessions are there after a restart"
        return min(took)

    def measure(self):
        restart_none = self.restart(0)
        self.create()
        none, none_cpu = self.create()
        base = self.memory()
        rate = self.fill()
        full, full_cpu = self.create()
        daemons = self.memory()
        inits = [pss_bytes(pid) for pid in self.host.init_pids()[::max(1, self.n // INITS)]]
        restart_full = self.restart(self.n)
        return {
            "sessions": self.n, "filled_per_second": round(rate, 1),
            "create_ms": {"none": round(none, 3), "all": round(full, 3), "ratio": round(full / none, 2)},
            "create_cpu_ms": {"none": round(none_cpu, 3), "all": round(full_cpu, 3), "ratio": round(full_cpu / none_cpu, 2)},
            "daemons_bytes": daemons, "daemons_bytes_per_session": round((daemons - base) / self.n),
            "daemons_bytes_after_restart": self.memory(), "init_bytes": max(inits),
            "restart_ms": {"none": round(restart_none, 1), "all": round(restart_full, 1),
                           "adoption": round(restart_full - restart_none, 1)}}


def exceeded(figures):
    bound = BASE_BYTES + SESSION_BYTES * figures["sessions"]
    for name, most in (("daemons_bytes", bound), ("daemons_bytes_after_restart", bound), ("init_bytes", INIT_BYTES)):
        if figures[name] > most:
            yield f"{name}: {figures[name]}, at most {most}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--root", required=True, help="where carrel is installed (DESTDIR of meson install)")
    parser.add_argument("--sessions", type=int, default=1000, help="how many there are in the end (1000)")
    parser.add_argument("--json", metavar="FILE", help="write the figures there, too")
    args = parser.parse_args()
    carrel_host.ROOT = pathlib.Path(args.root).resolve()
    os.environ["CARREL_ROOT"] = str(carrel_host.ROOT)
    carrel_host.own_network()
    density = Density(args.sessions)
    try:
        figures = density.measure()
    finally:
        density.host.close()
    for name, value in figures.items():
        print(f"{name:28} {json.dumps(value)}")
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(figures, indent=2) + "\n")
    too_much = list(exceeded(figures))
    print("\n".join(too_much))
    return 1 if too_much else 0


if __name__ == "__main__":
    sys.exit(main())
