# SPDX-License-Identifier: Apache-2.0
"""The client against a server of the test's own: what it asks, what it prints, how it exits. Needs no privilege."""

import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import threading
import unittest

from fake_carrel import CARREL, ROOT, CliTest, Refusal, Server, notify

TOP = pathlib.Path(__file__).resolve().parents[2]

SESSION = {
    "id": "sess-1", "template": "browser", "kind": "browser", "owner": "a@example.com", "state": "ready",
    "created_at": "2026-11-21T10:00:00.000Z", "expires_at": None, "idle_deadline": None, "end": None,
    "address": "100.96.0.2", "endpoints": {"cdp": {"url": "http://100.96.0.2:9222"}},
    "limits": {"memory_bytes": {"value": 536870912, "enforced": True}, "pids": {"value": 64, "enforced": False}},
    "labels": {}, "timeline": [{"step": "cgroup", "ms": 0.1}, {"step": "init", "ms": 3.9}, {"step": "ready", "ms": 196}],
}


class Sessions(CliTest):
    def test_create(self):
        server = self.serve(session__create=SESSION)
        result = self.run_cli("create", "browser", "--id", "sess-1", "--env", "A=1", "--secret", "KEY", "--limit",
                              "memory_bytes=512M", "--limit", "cpus=0.5", "--ttl", "2m", "--idle", "never", "--label", "x=y",
                              "--egress", "none", "--", "sh", "-c", "exit", env={"KEY": "hidden"})
        self.assertEqual(server.requests, [("session.create", {
            "template": "browser", "id": "sess-1", "env": {"A": "1"}, "secrets": {"KEY": "hidden"},
            "limits": {"memory_bytes": 536870912, "cpus": 0.5}, "ttl_seconds": 120, "idle_timeout_seconds": None,
            "labels": {"x": "y"}, "egress": "none", "wait": "ready", "command": ["sh", "-c", "exit"]})])
        self.assertEqual(result.stdout, "sess-1  ready  100.96.0.2\n  cdp      http://100.96.0.2:9222\n")
        self.assertEqual(result.stderr, "")

    def test_a_policy_that_the_template_does_not_allow(self):
        self.serve(session__create=Refusal("denied", "egress: template minimal does not allow the policy internet", path="egress"))
        said = self.run_cli("create", "minimal", "--egress", "internet", expect=1).stderr
        self.assertIn("carrel template show", said)
        self.assertNotIn("roles", said)

    def test_create_for_programs(self):
        server = self.serve(session__create=SESSION)
        self.assertEqual(self.run_cli("create", "browser", "--quiet", "--wait", "created").stdout, "sess-1\n")
        self.assertEqual(server.requests[0][1]["wait"], "created")
        self.assertEqual(json.loads(self.run_cli("create", "browser", "--json").stdout), SESSION)

    def test_timeline(self):
        self.serve(session__create=SESSION)
        lines = self.run_cli("create", "browser", "--timeline").stdout.splitlines()[2:]
        self.assertEqual([re.split(r"\s{2,}", line.strip())[:2] for line in lines],
                         [["cgroup", "0.10 ms"], ["init", "3.90 ms"], ["ready", "196.0 ms"], ["together", "200.0 ms"]])
        # Each bar begins where the one before ended; none is empty.
        self.assertGreater(lines[2].count("█"), 40)
        self.assertEqual(lines[0].count("█"), 1)
        self.assertIn("#", self.run_cli("create", "browser", "--timeline", env={"LC_ALL": "C"}).stdout)

    def test_list_reads_every_page(self):
        pages = {None: {"sessions": [SESSION], "next_cursor": "next"},
                 "next": {"sessions": [{**SESSION, "id": "sess-2", "state": "ended", "end": {"reason": "expired"}}],
                          "next_cursor": None}}
        server = self.serve(session__list=lambda params, _: pages[params.get("cursor")])
        lines = self.run_cli("list", "--state", "ready", "--label", "a=b").stdout.splitlines()
        self.assertEqual(re.split(r"\s{2,}", lines[0]),
                         ["SESSION", "TEMPLATE", "STATE", "OWNER", "AGE", "ENDS", "ADDRESS"])
        self.assertRegex(lines[1], r"^sess-1 +browser +ready +a@example.com .* never +100\.96\.0\.2$")
        self.assertRegex(lines[2], r"^sess-2 .* ended .* expired ")
        self.assertEqual(server.requests[0][1], {"state": "ready", "labels": {"a": "b"}})
        self.assertEqual(server.requests[1][1], {"state": "ready", "labels": {"a": "b"}, "cursor": "next"})
        self.assertEqual(self.run_cli("list", "-q").stdout, "sess-1\nsess-2\n")
        self.assertEqual([s["id"] for s in json.loads(self.run_cli("list", "--json").stdout)], ["sess-1", "sess-2"])

    def test_show(self):
        server = self.serve(session__get=SESSION)
        shown = self.run_cli("show", "sess-1").stdout
        self.assertRegex(shown, r"memory_bytes +512 MiB\n")
        self.assertRegex(shown, r"pids +64 \(not enforced on this host\)\n")
        self.assertRegex(shown, r"created_at +2026-11-21T10:00:00.000Z \((in|.* ago)")
        self.assertNotIn("labels", shown)
        self.run_cli("show", "--owner", "a@example.com")
        self.assertEqual([params for _, params in server.requests], [{"session": "sess-1"}, {"owner": "a@example.com"}])
        self.run_cli("show", expect=2)
        self.run_cli("show", "sess-1", "--owner", "x", expect=2)

    def test_what_has_ended_says_why(self):
        end = {"reason": "failed", "step": "ready", "errno": "ETIMEDOUT", "log_tail": "first\n\033[2Jlast\n"}
        self.serve(session__get={**SESSION, "state": "ended", "end": end})
        shown = self.run_cli("show", "sess-1").stdout
        self.assertIn("| first\n", shown)
        self.assertIn("| \\x1b[2Jlast\n", shown)

    def test_wait(self):
        server = self.serve(session__wait=lambda params, _: SESSION if params["for"] == "ready" else Refusal("timeout"))
        self.run_cli("wait", "sess-1")
        self.run_cli("wait", "sess-1", "--for", "ended", "--timeout", "0.5", expect=124)
        self.assertEqual(server.requests[0][1], {"session": "sess-1", "for": "ready"})
        self.assertEqual(server.requests[1][1], {"session": "sess-1", "for": "ended", "timeout_seconds": 0.5})

    def test_several_at_once(self):
        def stop(params, _):
            if params["session"] == "b":
                raise Refusal("not_found", "there is no session b")
            return {**SESSION, "id": params["session"], "state": "ended"}

        server = self.serve(session__stop=stop, session__remove=lambda params, _: {"removed": params["session"]})
        result = self.run_cli("stop", "--grace", "1", "a", "b", "c", expect=1)
        self.assertEqual(result.stdout, "a  ended\nc  ended\n")
        self.assertIn("there is no session b", result.stderr)
        self.assertEqual(server.requests[0][1], {"session": "a", "grace_seconds": 1})
        self.assertEqual(self.run_cli("remove", "a", "b").stdout, "a  removed\nb  removed\n")
        self.run_cli("stop", expect=2)

    def test_stats(self):
        stats = {"memory": {"current_bytes": 1048576, "peak_bytes": 2097152}, "cpu": {"usage_seconds": 1.5},
                 "pids": {"current": 3}}
        server = self.serve(session__stats=stats, session__list={"sessions": [
            SESSION, {**SESSION, "id": "old", "state": "ended"}], "next_cursor": None})
        self.assertRegex(self.run_cli("stats", "x").stdout, r"\nx +1 MiB +2 MiB +1 s +3\n")
        self.assertRegex(self.run_cli("stats").stdout, r"\nsess-1 ")
        self.assertEqual([p for m, p in server.requests if m == "session.stats"], [{"session": "x"}, {"session": "sess-1"}])
        server.methods["session.stats"] = {"memory": None, "cpu": None, "pids": {"current": None}}
        self.assertRegex(self.run_cli("stats", "x").stdout, r"\nx +- +- +- +-\n")


class Exec(CliTest):
    RESULT = {"exit_code": 0, "signal": None, "stdout": "out\n", "stderr": "err\n", "logs": ["out", "err"],
              "truncated": False, "dropped_bytes": 0, "elapsed_seconds": 0.001}

    def test_request(self):
        server = self.serve(exec__run=self.RESULT)
        result = self.run_cli("exec", "sess-1", "--env", "A=1", "-e", "B=x=y", "--cwd", "/tmp", "--user", "web", "--timeout",
                              "1m", "--max-output", "10", "--merge", "-n", "--", "sh", "-c", "exit")
        self.assertEqual((result.stdout, result.stderr), ("out\n", "err\n"))
        self.assertEqual(server.requests, [("exec.run", {
            "session": "sess-1", "command": ["sh", "-c", "exit"], "env": {"A": "1", "B": "x=y"}, "cwd": "/tmp",
            "user": "web", "timeout_seconds": 60, "max_output_bytes": 10, "merge": True})])
        self.assertEqual(json.loads(self.run_cli("exec", "x", "--json", "--", "true").stdout), self.RESULT)
        for arguments in (("exec",), ("exec", "x"), ("exec", "x", "--"), ("exec", "x", "-e", "A", "--", "y")):
            self.run_cli(*arguments, expect=2)

    def test_exit_status(self):
        server = self.serve(exec__run={**self.RESULT, "exit_code": 3})
        self.run_cli("exec", "x", "--", "false", expect=3)
        server.methods["exec.run"] = {**self.RESULT, "exit_code": None, "signal": 15}
        self.run_cli("exec", "x", "--", "false", expect=143)
        self.run_cli("exec", "x", "--json", "--", "false", expect=143)

    def test_standard_input(self):
        server = self.serve(exec__run=self.RESULT)
        self.run_cli("exec", "x", "--", "cat", input="für dich\n")
        self.run_cli("exec", "x", "--", "cat", stdin=subprocess.DEVNULL)
        self.run_cli("exec", "x", "-n", "--", "cat", input="not this")
        self.on_terminal("exec", "x", "-n", "--", "cat")
        self.assertEqual([params.get("stdin") for _, params in server.requests], ["für dich\n", None, None, None])
        for wrong in (b"a\xff", b"a\0", b"x" * (2**20 + 1)):
            result = self.run_cli("exec", "x", "--", "cat", input=wrong, text=False, expect=2)
            self.assertIn(b"standard input", result.stderr)
        self.assertEqual(len(server.requests), 4)

    def test_output(self):
        server = self.serve(exec__run={**self.RESULT, "stdout": "a\0b\033[2J\nno end", "stderr": "", "dropped_bytes": 7,
                                       "truncated": True})
        result = self.run_cli("exec", "x", "--", "y")
        self.assertEqual(result.stdout, "a\0b\033[2J\nno end")
        self.assertIn("7 more bytes", result.stderr)
        server.methods["exec.run"]["dropped_bytes"] = 0
        self.assertEqual(self.on_terminal("exec", "x", "-n", "--", "y"), "a\\x00b\\x1b[2J\nno end")

    def test_failures(self):
        server = self.serve(exec__run=Refusal("failed", "exec nonesuch: No such file or directory", step="exec",
                                              errno="ENOENT"))
        result = self.run_cli("exec", "x", "--", "nonesuch", expect=127)
        self.assertIn("step     exec", result.stderr)
        server.methods["exec.run"] = Refusal("timeout", "killed", result={**self.RESULT, "exit_code": None})
        result = self.run_cli("exec", "x", "--timeout", "1", "--", "y", expect=124)
        self.assertEqual(result.stdout, "out\n")
        self.assertTrue(result.stderr.startswith("err\ncarrel exec: killed\n"), result.stderr)


class Streams(CliTest):
    ENTRIES = [{"at": "2026-11-21T10:00:00.000Z", "stream": "stdout", "text": "one\ntw"},
               {"at": "2026-11-21T10:00:00.001Z", "stream": "stderr", "text": "o\n\033[31mred\n"}]

    def test_logs_are_what_was_written(self):
        answers = {0: {"entries": self.ENTRIES[:1], "next": 10, "skipped_bytes": 7, "more": True, "ended": True},
                   10: {"entries": self.ENTRIES[1:], "next": 20, "skipped_bytes": 0, "more": False, "ended": True}}
        server = self.serve(session__logs=lambda params, _: answers[params.get("since", 0)])
        result = self.run_cli("logs", "sess-1")
        self.assertEqual(result.stdout, "one\ntwo\n\033[31mred\n")
        self.assertIn("7 bytes are gone", result.stderr)
        self.assertEqual(server.requests[1][1], {"session": "sess-1", "since": 10})
        self.assertEqual(self.run_cli("logs", "sess-1", "--max-bytes", "100").stdout, "one\ntw")
        self.assertIn("2026-11-21T10:00:00.001Z stderr o\n", self.run_cli("logs", "sess-1", "-t").stdout)

    def test_logs_cannot_play_with_the_terminal(self):
        self.serve(session__logs={"entries": self.ENTRIES, "next": 20, "skipped_bytes": 0, "more": False, "ended": True})
        self.assertIn("two\n\\x1b[31mred\n", self.on_terminal("logs", "sess-1"))

    def test_logs_follow_until_the_end(self):
        def logs(params, connection):
            self.assertTrue(params["follow"])
            answer = {"entries": self.ENTRIES[:1], "next": 10, "skipped_bytes": 0, "more": False, "ended": False}
            connection.sendall(json.dumps({"jsonrpc": "2.0", "id": 1, "result": answer}).encode() + b"\n")
            notify(connection, "log", session="sess-1", entries=self.ENTRIES[1:], next=20, ended=False)
            notify(connection, "log", session="sess-1", entries=[], next=20, ended=True)

        self.serve(session__logs=logs)
        self.assertEqual(self.run_cli("logs", "-f", "sess-1").stdout, "one\ntwo\n\033[31mred\n")

    def test_events(self):
        def subscribe(params, connection):
            # One that is sent ahead of the answer is not lost.
            notify(connection, "event", seq=4, at="2026-11-21T10:00:00.000Z", kind="session.ready", session="s", owner="o")
            answer = {"last": 4, "gone": {"from": 1, "to": 3}}
            connection.sendall(json.dumps({"jsonrpc": "2.0", "id": 1, "result": answer}).encode() + b"\n")
            notify(connection, "event", seq=5, at="2026-11-21T10:00:01.000Z", kind="session.ended", session="s",
                   owner="\033[2J", reason="expired", boot_id="b", exit_code=None)
            raise ConnectionError

        server = self.serve(events__subscribe=subscribe)
        result = self.run_cli("events", "--since", "0", "--kind", "session.*", expect=3)
        lines = result.stdout.splitlines()
        self.assertRegex(lines[0], r"^ +4  2026-11-21T10:00:00.000Z  session.ready      s  owner=\"o\"$")
        self.assertRegex(lines[1], r"^ +5  .*session.ended      s  owner=\"\\u001B\[2J\"  reason=\"expired\"$")
        self.assertIn('{"from":1,"to":3}', result.stderr)
        self.assertEqual(server.requests[0][1], {"since": 0, "kinds": ["session.*"]})
        lines = self.run_cli("events", "--json", expect=3).stdout.splitlines()
        self.assertEqual([json.loads(line)["seq"] for line in lines], [4, 5])


class Failures(CliTest):
    def test_refused(self):
        self.serve(session__create=Refusal("failed", "the overlay cannot be mounted", session="sess-1", step="overlay",
                                           errno="ENOSPC", log_tail="one\n\033]0;x\007two\n"))
        result = self.run_cli("create", "browser", expect=1)
        self.assertEqual(result.stdout, "")
        self.assertEqual(result.stderr, "carrel create: the overlay cannot be mounted\n"
                                        "  kind     failed\n"
                                        "  session  sess-1\n"
                                        "  step     overlay\n"
                                        "  errno    ENOSPC (No space left on device)\n"
                                        "  log      | one\n"
                                        "           | \\x1b]0;x\\x07two\n")

    def test_refused_for_programs(self):
        self.serve(session__get=Refusal("not_found", "there is no session x", code=-32001))
        error = json.loads(self.run_cli("show", "x", "--json", expect=1).stderr)
        self.assertEqual(error["error"]["data"]["kind"], "not_found")
        self.assertEqual(error["exit_code"], 1)

    def test_nobody_there(self):
        result = self.run_cli("list", expect=3)
        self.assertIn(f"cannot reach carrel at {self.socket}", result.stderr)
        self.assertIn("ENOENT", result.stderr)
        self.assertIn("systemctl status carreld", result.stderr)
        left = socket.socket(socket.AF_UNIX)
        left.bind(str(self.socket))
        left.close()
        self.assertIn("ECONNREFUSED", self.run_cli("list", expect=3).stderr)

    def test_no_permission(self):
        self.serve()
        self.dir.chmod(0o755)
        self.socket.chmod(0)
        program = shutil.copy(CARREL, self.dir) if os.geteuid() == 0 else CARREL
        result = self.run_cli("list", expect=3, program=program, user=65534 if os.geteuid() == 0 else None)
        self.assertIn("EACCES", result.stderr)
        self.assertIn("group carrel", result.stderr)

    def test_a_path_that_is_too_long(self):
        self.run_cli("list", "--socket", "/" + "x" * 108, expect=2)

    def test_what_is_no_answer(self):
        for answer, message in ((b"", "ended the connection"), (b'"half an answer', "ended the connection"),
                                (b"rubbish\n", "not JSON"), (b'{"id": 1, "id": 1, "result": 0}\n', "not JSON"),
                                (b'{"jsonrpc": "2.0", "id": 1}\n', "no JSON-RPC"), (b"[]\n", "no JSON-RPC")):
            def say_and_hang_up(_, connection):
                connection.sendall(answer)
                raise ConnectionError

            with self.subTest(answer):
                server = Server(self.socket, {"system.health": say_and_hang_up})
                self.assertIn(message, self.run_cli("health", expect=3).stderr)
                server.close()
                self.socket.unlink()

    def test_an_error_without_an_id_is_the_answer(self):
        def refuse(_, connection):
            connection.sendall(b'{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"frame too long"}}\n')

        self.serve(system__health=refuse)
        self.assertIn("frame too long", self.run_cli("health", expect=1).stderr)

    def test_a_full_disk_is_no_success(self):
        self.serve(session__get=SESSION)
        with open("/dev/full", "w") as full:
            self.run_cli("show", "x", "--json", expect=1, capture_output=False, stdout=full, stderr=subprocess.DEVNULL)

    def test_usage(self):
        for arguments in (("launch",), ("create",), ("create", "a", "--what"), ("image",), ("image", "build", "nothing"),
                          ("image", "build", "minimal", "--package", "x"), ("rpc", "m", "{")):
            with self.subTest(arguments):
                result = self.run_cli(*arguments, expect=2)
                self.assertEqual(result.stdout, "")
                self.assertTrue(result.stderr.startswith("carrel"))


class Host(CliTest):
    CHECK = {"items": [{"name": "cgroup.memory", "state": "ok", "detail": "v2", "remedy": ""},
                       {"name": "net.nftables", "state": "degraded", "detail": "old", "remedy": "a newer kernel"},
                       {"name": "idmap", "state": "degraded", "detail": "no tmpfs", "remedy": "a newer kernel"},
                       {"name": "account", "state": "degraded", "detail": "none", "remedy": "add one"}]}

    def test_check_asks_carrel(self):
        server = self.serve(system__check=self.CHECK)
        shown = self.run_cli("check").stdout
        self.assertRegex(shown, r"cgroup\.memory +ok +v2\n")
        self.assertTrue(shown.endswith("\n\nnet.nftables, idmap:\n  a newer kernel\n\naccount:\n  add one\n"), shown)
        server.methods["system.check"] = {"items": [{**self.CHECK["items"][0], "state": "missing"}]}
        self.run_cli("check", expect=1)
        self.run_cli("check", "--json", expect=1)

    def test_check_without_carrel_runs_carreld(self):
        program = shutil.copy(CARREL, self.dir)
        carreld = self.dir / "carreld"
        carreld.write_text('#!/bin/sh\necho "carreld $*"\nexit 1\n')
        carreld.chmod(0o755)
        result = self.run_cli("check", "--json", "--config", "/somewhere", program=program, expect=1)
        self.assertEqual(result.stdout, "carreld --check --json --config /somewhere\n")
        carreld.unlink()
        self.assertIn("cannot reach carrel", self.run_cli("check", program=program, expect=3).stderr)

    def test_health_waits_for_a_carrel_that_starts(self):
        started = []
        timer = threading.Timer(0.3, lambda: started.append(Server(self.socket, {"system.health": {"status": "ok"}})))
        timer.start()
        try:
            self.assertRegex(self.run_cli("health", "--wait", "20").stdout, r"status +ok\n")
        finally:
            timer.join()
            started[0].close()
        self.socket.unlink()
        self.run_cli("health", "--wait", "0.1", expect=3)

    def test_templates(self):
        template = {"name": "browser", "image": "browser", "description": "Chromium", "limits": {
            "memory_bytes": 4294967296, "cpus": 2.0}, "idle_timeout_seconds": 1800.0, "ttl_seconds": None}
        server = self.serve(template__list={"templates": [template]}, template__get=template)
        self.assertRegex(self.run_cli("template", "list").stdout, r"\nbrowser +browser +4 GiB +2 +Chromium\n")
        self.assertRegex(self.run_cli("template", "show", "browser").stdout, r"idle_timeout_seconds +30 min\n")
        self.assertEqual(server.requests[1], ("template.get", {"template": "browser"}))

    def test_rpc(self):
        server = self.serve(a__b=lambda params, _: {"got": params})
        self.assertEqual(self.run_cli("rpc", "a.b", '{"x": [1]}').stdout, '{"got":{"x":[1]}}\n')
        self.assertEqual(self.run_cli("rpc", "a.b", "-", input='{"y": 2}').stdout, '{"got":{"y":2}}\n')
        self.run_cli("rpc", "a.b")
        self.assertEqual(server.requests[2][1], {})
        self.assertIn("carrel version", self.run_cli("rpc", "no.such", expect=1).stderr)

    def test_version(self):
        version = re.fullmatch(r"carrel (\S+)\n", self.run_cli("version").stdout).group(1)
        self.assertEqual(self.run_cli("--version").stdout, f"carrel {version}\n")
        self.serve(hello={"version": "99.0"})
        self.assertIn("99.0", self.run_cli("version").stdout)
        self.assertEqual(json.loads(self.run_cli("version", "--json").stdout), {"client": version, "running": "99.0"})


class Help(CliTest):
    def verbs(self):
        overview = self.run_cli("help").stdout
        return overview, re.findall(r"^  ((?:image |pool |template |volume )?[a-z]+)(?= |$)", overview, re.M)

    def test_every_verb_explains_itself(self):
        overview, verbs = self.verbs()
        self.assertEqual(self.run_cli().stdout, overview)
        self.assertEqual(self.run_cli("--help").stdout, overview)
        self.assertIn("image build", verbs)
        for verb in verbs:
            with self.subTest(verb):
                shown = self.run_cli(*verb.split(), "--help").stdout
                self.assertTrue(shown.startswith(f"usage: carrel {verb}"))
                self.assertEqual(self.run_cli("help", *verb.split()).stdout, shown)

    def test_every_option_explains_itself(self):
        for verb in self.verbs()[1]:
            shown = self.run_cli(*verb.split(), "--help").stdout
            for option, text in re.findall(r"^  ((?:-\w, )?--\S+(?: \S+)?)(?: {2,}|\n {20,})(.*)$", shown, re.M):
                with self.subTest(f"{verb} {option}"):
                    self.assertRegex(text, r"^[a-z\"].{8,}[^.]$")
            self.assertEqual(len(re.findall(r"^ +(?:-\w, )?--", shown, re.M)),
                             len(re.findall(r"^  (?:-\w, )?--\S+(?: \S+)?(?: {2,}|\n {20,})\S", shown, re.M)), verb)

    def test_methods(self):
        self.assertIn("idempotency_key", self.run_cli("help", "session.create").stdout)
        self.run_cli("help", "no.such", expect=2)
        self.run_cli("help", "nothing", expect=2)
        # The carrel that runs may know more.
        self.serve(rpc__discover={"methods": [{"name": "new.method", "summary": "Is new.", "params": [
            {"name": "x", "summary": "a number", "required": True, "schema": {"type": "integer", "minimum": 1, "maximum": 9}}],
            "result": {"summary": "nothing"}}]})
        shown = self.run_cli("help", "new.method").stdout
        self.assertRegex(shown, r"\n  x +a number \(integer from 1 to 9\)\n")

    def test_color_is_for_terminals(self):
        self.assertNotIn("\033", self.run_cli("help").stdout)
        self.assertIn("\033[1m", self.on_terminal("help"))
        self.assertNotIn("\033", self.on_terminal("help", env={"NO_COLOR": "1"}))
        self.assertNotIn("\033", self.on_terminal("help", env={"TERM": "dumb"}))
        self.assertIn("\033[1m", self.on_terminal("help", env={"NO_COLOR": ""}))


class Completion(CliTest):
    def complete(self, line):
        script = (f". {TOP}/packaging/completions/carrel; PATH={CARREL.parent}:$PATH; COMP_LINE=$1; COMP_POINT=${{#1}}; shift;"
                  "COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); _carrel; printf '%s\\n' \"${COMPREPLY[@]}\"")
        words = [w for w in re.split(r"\s+|(=)", line) if w is not None]
        words = [w for w in words[:-1] if w] + words[-1:]
        out = self.run_cli("-c", script, "bash", line, *words, program="/bin/bash").stdout
        return out.split()

    def test_words(self):
        self.assertIn("create", self.complete("carrel "))
        self.assertEqual(self.complete("carrel cr"), ["create"])
        self.assertEqual(self.complete("carrel image "), ["list", "build", "remove"])
        self.assertEqual(self.complete("carrel image build mi"), ["minimal"])
        self.assertEqual(self.complete("carrel create x --ti"), ["--timeline"])
        self.assertIn("--json", self.complete("carrel list --"))
        self.assertEqual(self.complete("carrel wait x --for "), ["ready", "ended"])
        self.assertEqual(self.complete("carrel wait x --for=re"), ["ready"])
        for verb in ("exec", "shell", "attach"):
            self.assertEqual(self.complete(f"carrel {verb} --det"), ["--detach-keys"])
            self.assertEqual(self.complete(f"carrel {verb} --detach-keys "), ["ctrl-p,ctrl-q"])
        self.assertIn("session.create", self.complete("carrel rpc session."))
        self.assertEqual(self.complete("carrel create x -- "), [])

    def test_names_come_from_carrel(self):
        self.serve(session__list={"sessions": [SESSION, {**SESSION, "id": "other"}]},
                   template__list={"templates": [{"name": "browser"}]})
        self.assertEqual(self.complete("carrel stop "), ["sess-1", "other"])
        self.assertEqual(self.complete("carrel stop sess-1 o"), ["other"])
        self.assertEqual(self.complete("carrel create b"), ["browser"])
        self.assertEqual(self.complete("carrel exec s"), ["sess-1"])
        self.assertEqual(self.complete("carrel exec sess-1 --c"), ["--cwd"])

    def test_what_a_server_says_is_not_run(self):
        mark = self.dir / "mark"
        self.serve(session__list={"sessions": [{"id": f"$(touch {mark})"}]})
        self.complete("carrel stop ")
        self.assertFalse(mark.exists())


if __name__ == "__main__":
    unittest.main()
