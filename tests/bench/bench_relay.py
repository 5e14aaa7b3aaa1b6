#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Measures a connection to a port of a session: straight to the session's address, through a socket that carrel
publishes, and through one of socat's that leads to the same port. Prints megabytes a second into the session, the
median round trip of 16 bytes, and the CPU time that the relay took for each gigabyte.

A round of each in turn, so that a machine whose speed drifts does so for all.
"""

import argparse
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "session"))
import carrel_host  # noqa: E402

CHUNK = b"x" * (1 << 20)


def connect(where):
    if isinstance(where, tuple):
        return socket.create_connection(where, timeout=60)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(60)
    connection.connect(where)
    return connection


def throughput(where, megabytes):
    """Until the session says that it has all of it."""
    with connect(where) as connection:
        began = time.monotonic()
        for _ in range(megabytes):
            connection.sendall(CHUNK)
        connection.shutdown(socket.SHUT_WR)
        assert int(connection.recv(100)) == megabytes << 20
        return megabytes * 1.048576 / (time.monotonic() - began)


def round_trips(where, n):
    with connect(where) as connection:
        times = []
        for _ in range(n):
            began = time.monotonic()
            connection.sendall(b"0123456789abcdef")
            connection.recv(16, socket.MSG_WAITALL)
            times.append((time.monotonic() - began) * 1e6)
        return times


def cpu_seconds(pids):
    ticks = 0
    for pid in pids:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12]) + int(fields[13]) + int(fields[14])
    return ticks / os.sysconf("SC_CLK_TCK")


def start_socat(path, address, port):
    process = subprocess.Popen(["socat", f"UNIX-LISTEN:{path},fork", f"TCP:{address}:{port}"])
    carrel_host.wait_until(lambda: os.path.exists(path), what="socat")
    return process


def measure(host, rounds, megabytes, trips):
    client = host.client()
    command = ["/bin/port_server", "any-sum", "7000", "any-tcp", "7001"]
    session = client.call("session.create", template="minimal", command=command, wait="ready")["id"]
    address = client.call("session.get", session=session)["address"]
    ends = [client.call("port.publish", session=session, port=p, **{"as": {"unix": True}})["unix"] for p in (7000, 7001)]
    contestants = {"direct": ([(address, 7000), (address, 7001)], []), "carrel": (ends, [host.control_pid()])}
    helpers = []
    if shutil.which("socat"):
        paths = [str(host.dir / f"socat-{p}") for p in (7000, 7001)]
        helpers = [start_socat(path, address, port) for path, port in zip(paths, (7000, 7001))]
        contestants["socat"] = (paths, [p.pid for p in helpers])
    time.sleep(0.2)
    found = {name: ([], [], []) for name in contestants}
    for _ in range(rounds):
        for name, ((sink, echo), pids) in contestants.items():
            before = cpu_seconds(pids)
            found[name][0].append(throughput(sink, megabytes))
            time.sleep(0.1)  # a child's time counts once it has been reaped
            found[name][2].append((cpu_seconds(pids) - before) * 1000 / (megabytes * 1.048576))
            found[name][1].extend(round_trips(echo, trips))
    for process in helpers:
        process.send_signal(signal.SIGTERM)
        process.wait()
    client.call("session.remove", session=session)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few runs: shows that it works, not how fast it is")
    args = parser.parse_args()
    carrel_host.own_network()
    host = carrel_host.Host()
    try:
        carrel_host.compile_static("port_server.c", host.state_dir / "rootfs/minimal/0/bin")
        host.start()
        found = measure(host, *((2, 64, 200) if args.quick else (7, 512, 2000)))
    finally:
        host.close()
    print(f"{'':8} {'MB/s':>8} {'round trip, µs':>15} {'CPU s/GB':>9}")
    for name, (speeds, trips, cpu) in found.items():
        print(f"{name:8} {statistics.median(speeds):8.0f} {statistics.median(trips):15.1f} {statistics.median(cpu):9.2f}")


if __name__ == "__main__":
    main()
