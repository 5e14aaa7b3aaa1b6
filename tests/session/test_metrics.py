# SPDX-License-Identifier: Apache-2.0
"""system.metrics is what Prometheus reads, and says what happened; system.health says whether all is well."""

import json
import math
import os
import pathlib
import re
import signal
import unittest

from carrel_host import Host, RpcError, own_network, wait_until

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "packaging/examples"
MIB = 1 << 20
NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)')
SAMPLE = re.compile(rf"({NAME})(?:\{{(.*)\}})? (\S+)$")


def parse(text):
    """{(name, (label, value)...): number} of an exposition, which must follow the format to the letter."""
    assert text.endswith("\n")
    types, samples, order = {}, {}, []
    for line in text.splitlines():
        head = re.fullmatch(rf"# (HELP|TYPE) ({NAME}) (.+)", line)
        if head:
            if head[1] == "TYPE":
                assert head[2] not in types, f"{head[2]} twice"
                assert head[3] in ("counter", "gauge", "histogram"), line
                types[head[2]] = head[3]
            continue
        sample = SAMPLE.fullmatch(line)
        assert sample, line
        name, labels, value = sample.groups()
        pairs, at = [], 0
        while labels and at < len(labels):
            label = LABEL.match(labels, at)
            assert label, line
            pairs.append((label[1], label[2]))
            at = label.end()
        family = name if name in types else re.sub(r"_(bucket|sum|count)$", "", name)
        assert family in types, f"{name} has no TYPE"
        # All samples of a family stand together, below its TYPE.
        if not order or order[-1] != family:
            assert family not in order, f"{family} is scattered"
            order.append(family)
        assert types[family] != "counter" or name.endswith("_total"), name
        key = (name, *sorted(pairs))
        assert key not in samples, f"{key} twice"
        samples[key] = float(value)
    check_histograms(types, samples)
    return samples


def check_histograms(types, samples):
    for name in (n for n, kind in types.items() if kind == "histogram"):
        series = {}
        for (sample, *labels), value in samples.items():
            if sample == f"{name}_bucket":
                bound = math.inf if dict(labels)["le"] == "+Inf" else float(dict(labels)["le"])
                series.setdefault(tuple(p for p in labels if p[0] != "le"), []).append((bound, value))
        for labels, buckets in series.items():
            bounds, counts = zip(*buckets)
            assert list(bounds) == sorted(bounds) and list(counts) == sorted(counts), name
            assert bounds[-1] == math.inf and counts[-1] == samples[(f"{name}_count", *labels)], name
            assert (f"{name}_sum", *labels) in samples


def selectors(expression):
    """(metric, [(label, operator, value)...]) of carrel's metrics in an expression of Prometheus'."""
    for metric, matchers in re.findall(r"\b(carrel_\w+)(?:\{(.*?)\})?", expression):
        yield metric, re.findall(r'(\w+)(=~|!=|!~|=)"(.*?)"', matchers)


def matches(value, operator, wanted):
    equal = re.fullmatch(wanted, value) is not None if "~" in operator else value == wanted
    return equal != operator.startswith("!")


def setUpModule():
    own_network()


class Metrics(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        minimal = Host.template(None, "minimal")
        small = {**minimal, "limits": {**minimal["limits"], "root_bytes": MIB, "root_inodes": 100, "shm_bytes": MIB},
                 "mounts": [*minimal.get("mounts", []),
                            {"type": "tmpfs", "target": "/mnt/few", "size_bytes": MIB, "inodes": 50},
                            {"type": "scratch", "target": "/mnt/disk", "size_bytes": 16 * MIB}],
                 "volumes": [{"path": "/mnt/volume", "name": "data-{session}", "use": "always", "persistent": False}]}
        cls.host = Host(config={"max_sessions": 2}, templates={"small": small})
        # With the empty file system that "small" wants.
        cls.host.carrel("image", "build", "minimal", "--state-dir", str(cls.host.state_dir), "--config",
                        str(cls.host.config_dir))
        cls.host.start()
        cls.client = cls.host.client()

    @classmethod
    def tearDownClass(cls):
        cls.host.close()

    def scrape(self):
        answer = self.client.call("system.metrics")
        self.assertIn("version=0.0.4", answer["content_type"])
        return parse(answer["text"])

    def test_what_happened(self):
        # Who has waited for the API to answer has hung up, which is heard in a moment.
        before = wait_until(lambda: (now := self.scrape())[("carrel_connections",)] == 1 and now, what="one connection")
        first = self.client.call("session.create", template="minimal")["id"]
        second = self.client.call("session.create", template="minimal")["id"]
        with self.assertRaises(RpcError):
            self.client.call("session.create", template="minimal")
        self.client.call("exec.run", session=first, command=["/bin/busybox", "true"])
        self.client.call("session.stop", session=first)
        after = self.scrape()

        def grown(name, **labels):
            key = (name, *sorted(labels.items()))
            return after[key] - before.get(key, 0)

        self.assertEqual(grown("carrel_sessions_created_total", template="minimal"), 2)
        self.assertEqual(grown("carrel_sessions_ended_total", reason="stopped"), 1)
        self.assertEqual(grown("carrel_sessions_refused_total", limit="host"), 1)
        self.assertEqual(grown("carrel_requests_total", method="session.create", outcome="ok"), 2)
        self.assertEqual(grown("carrel_requests_total", method="session.create", outcome="busy"), 1)
        self.assertEqual(grown("carrel_requests_total", method="exec.run", outcome="ok"), 1)
        self.assertEqual(grown("carrel_session_create_seconds_count"), 2)
        self.assertEqual(grown("carrel_session_ready_seconds_count"), 2)
        self.assertEqual(grown("carrel_session_destroy_seconds_count"), 1)
        self.assertGreater(after[("carrel_session_create_seconds_sum",)], 0)
        steps = {dict(labels)["step"] for name, *labels in after if name == "carrel_session_create_step_seconds_count"}
        timeline = {s["step"] for s in self.client.call("session.get", session=second)["timeline"]} - {"ready"}
        self.assertEqual(steps, timeline)
        self.assertEqual(after[("carrel_sessions", ("state", "ready"), ("template", "minimal"))], 1)
        self.assertEqual(after[("carrel_connections",)], 1)
        self.assertEqual(after[("carrel_registry_writable",)], 1)
        self.assertEqual({labels[0][1] for name, *labels in after if name == "carrel_queue_depth"},
                         {"admission", "supervisor", "registry", "events"})
        wait_until(lambda: self.scrape()[("carrel_event_loop_lag_seconds_count",)] >= 2, what="lag to be measured")
        self.assertIn("# TYPE carrel_sessions gauge", self.host.carrel("metrics").stdout)
        self.client.call("session.remove", session=second)

    def test_full_file_systems(self):
        """Each has an event, once, and is counted; session.stats says how much room there is."""
        watcher = self.host.client()
        counter = ("carrel_session_limit_events_total", ("event", "full"))
        before = self.scrape()[counter]
        session = self.client.call("session.create", template="small", command=["/bin/busybox", "sleep", "1000"])["id"]
        watcher.call("events.subscribe", session=session, kinds=["session.full"])

        def fill(script):
            self.client.call("exec.run", session=session, command=["/bin/busybox", "sh", "-c", script])
            return {s["mount"]: s for s in self.client.call("session.stats", session=session)["space"]}

        space = fill("true")
        self.assertLessEqual({"/", "/dev/shm", "/mnt/few", "/mnt/disk", "/mnt/volume"}, set(space))
        self.assertEqual((space["/"]["bytes"]["limit"], space["/"]["inodes"]["limit"]), (MIB, 100))
        self.assertEqual(space["/dev/shm"]["bytes"], {"limit": MIB, "free": MIB})
        self.assertEqual(space["/mnt/few"]["inodes"]["limit"], 50)
        self.assertLess(space["/mnt/disk"]["bytes"]["limit"], 17 * MIB)
        write = "busybox dd if=/dev/zero bs=4k of="
        for script, mount, limit, what in (
                (f"{write}/full", "/", "root_bytes", "bytes"),
                ("rm /full; i=0; while >/f$i; do i=$((i+1)); done", "/", "root_inodes", "inodes"),
                (f"{write}/dev/shm/full", "/dev/shm", "shm_bytes", "bytes"),
                ("i=0; while >/mnt/few/$i; do i=$((i+1)); done", "/mnt/few", "inodes", "inodes"),
                (f"{write}/mnt/disk/full", "/mnt/disk", "size_bytes", "bytes")):
            space = fill(f"({script}) 2>/dev/null")
            self.assertLess(space[mount][what]["free"], space[mount][what]["limit"] / 50, mount)
            event = watcher.receive()["params"]
            self.assertEqual({name: event[name] for name in ("mount", "limit", what)},
                             {"mount": mount, "limit": limit, what: space[mount][what]["limit"]})
        # None of them again while they stay full; and what the session mounts over one does not hide it.
        fill("busybox true")
        self.assertEqual(self.scrape()[counter] - before, 5)
        fill("rm /dev/shm/full")
        fill(f"{write}/dev/shm/full 2>/dev/null")
        self.assertEqual(watcher.receive()["params"]["mount"], "/dev/shm")
        self.client.call("session.remove", session=session)

    def test_examples_ask_for_what_there_is(self):
        """Each metric, label and value that the alerts and the dashboard name is one that is printed."""
        self.client.call("pool.set", template="minimal", size=1)
        self.client.call("session.remove", session=self.client.call("session.create", template="minimal")["id"])
        samples = self.scrape()
        self.client.call("pool.set", template="minimal", size=0)
        described = self.client.call("rpc.discover")
        methods, kinds = {m["name"] for m in described["methods"]}, set(described["components"]["errors"])
        rules = re.sub(r">-\n\s+", "", (EXAMPLES / "prometheus-rules.yml").read_text())
        dashboard = json.loads((EXAMPLES / "grafana-dashboard.json").read_text())
        expressions = re.findall(r"^ +expr: (.*(?:\n {10,}.*)*)", rules, re.M)
        self.assertEqual(len(expressions), rules.count("- alert:"))
        expressions += [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
        self.assertGreater(len(expressions), 40)
        for expression in expressions:
            found = list(selectors(expression))
            self.assertTrue(found, expression)
            for metric, matchers in found:
                there = [dict(labels) for name, *labels in samples if name == metric]
                self.assertTrue(there, f"{metric} in {expression}")
                for label, operator, wanted in (m for m in matchers if m[0] != "instance"):
                    # Of requests those are printed that there were.
                    values = {"method": methods, "outcome": kinds | {"ok"}}.get(label, {d.get(label, "") for d in there})
                    for one in wanted.split("|"):
                        self.assertIn(one, values, f"{label} of {metric} in {expression}")
                    self.assertTrue(any(matches(v, operator, wanted) for v in values), expression)
            # What is summed by is a label.
            for label in re.findall(r"\w+", " ".join(re.findall(r"\bby \(([^)]*)\)", expression))):
                self.assertTrue(label == "instance" or any(label in dict(k[1:]) for k in samples), f"{label} in {expression}")

    def test_starts_of_control_are_counted(self):
        before = self.scrape()[("carrel_control_starts_total",)]
        pid = self.host.control_pid()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: self.host.control_pid() not in (None, pid), what="another control")
        type(self).client = self.host.client()
        self.assertEqual(self.scrape()[("carrel_control_starts_total",)], before + 1)

    def test_health(self):
        health = self.client.call("system.health")
        self.assertEqual(set(health), {"status", "active_sessions", "sessions_by_state", "docker_available", "supervisor",
                                       "uptime_seconds"})
        self.assertEqual((health["status"], health["supervisor"]), ("ok", "connected"))
        session = self.client.call("session.create", template="minimal")["id"]
        health = self.client.call("system.health")
        self.assertEqual((health["active_sessions"], health["sessions_by_state"]["ready"]), (1, 1))
        self.client.call("session.remove", session=session)


if __name__ == "__main__":
    unittest.main()
