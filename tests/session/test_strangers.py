# SPDX-License-Identifier: Apache-2.0
"""Who may ask for what, and with what: a client that is held to its owners gets of another's sessions and volumes the
answers that it gets of none, from every method there is; and every parameter of every method, given what it does not
take, is refused by its name."""

import json
import os
import re
import unittest

from carrel_host import Host, RpcError, own_network, wait_until

STRANGER = 2000
ODD = (None, True, False, -1, 0, 0.5, 1e300, -1e300, 2**53 + 1, 2**63 - 1, -2**63, "", "x" * 6000, "-", "é/../\n", [], [None], [1], ["x" * 200000],
       [[]], {}, {"": "x"}, {"a": None}, {"a": 1}, {"a": {"b": []}}, {"cpus": "1"}, {"cpus": -1}, {"pids": 1e9})
# What these take is more than their schema says, and is asked of them by tests of their own.
FREE = {("port.publish", "as"), ("session.ensure", "metadata")}
VALUES = {"path": "/x", "to": "/y", "as": {"unix": True}, "content": "c", "signal": "TERM", "transfer": "t-1"}


def setUpModule():
    own_network()


def size(value):
    return len(value.encode())


def fits(schema, value):
    """Whether VALUE is what SCHEMA, one of rpc.discover's, describes; of limits and volumes, only none."""
    if "oneOf" in schema:
        return any(fits(one, value) for one in schema["oneOf"])
    if "enum" in schema:
        return value in schema["enum"]
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    kinds = {
        "null": lambda: value is None,
        "boolean": lambda: isinstance(value, bool),
        "integer": lambda: number and isinstance(value, int) and schema["minimum"] <= value <= schema["maximum"],
        "number": lambda: number and schema["minimum"] <= value <= schema["maximum"],
        "string": lambda: isinstance(value, str) and (re.fullmatch(schema["pattern"], value) if "pattern" in schema
                                                      else schema["minLength"] <= size(value) <= schema["maxLength"]),
        "array": lambda: isinstance(value, list) and schema.get("minItems", 0) <= len(value) <= schema["maxItems"] and all(
            isinstance(v, str) and size(v) <= schema["items"].get("maxLength", 0) for v in value),
        "object": lambda: isinstance(value, dict) and (not value or not isinstance(schema.get("additionalProperties"), bool)) and all(
            name and isinstance(v, str) for name, v in value.items()),
    }
    return bool(kinds[schema["type"]]())


def example(param):
    """The least that the parameter takes."""
    schema = param["schema"]
    if param["name"] in VALUES:
        return VALUES[param["name"]]
    if "enum" in schema:
        return schema["enum"][0]
    return {"string": "x" * schema.get("minLength", 1), "integer": schema.get("minimum"), "number": schema.get("minimum"), "boolean": False,
            "array": ["x"] * schema.get("minItems", 0), "object": {}}[schema["type"]]


class Strangers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.host = Host(config={"access": [{"user": "root", "role": "admin"}, {"user": f"#{STRANGER}", "role": "client", "owner_prefix": "a/"}],
                                "pools": [{"template": "minimal", "size": 1}]})
        cls.addClassCleanup(cls.host.close)
        cls.host.write_template("with", {**cls.host.template("minimal"), "volumes": [{"path": "/data"}]})
        cls.host.start()
        cls.host.run_dir.chmod(0o755)
        os.chmod(cls.host.socket_path, 0o666)
        cls.client = cls.host.client()
        cls.methods = cls.client.call("rpc.discover")["methods"]
        os.seteuid(STRANGER)
        try:
            cls.stranger = cls.host.client()
        finally:
            os.seteuid(0)
        cls.client.call("session.create", template="with", id="hers", owner="b/bob", volumes=[{"path": "/data", "name": "hers"}])

    def answer(self, method, **params):
        """What the stranger is told, as text."""
        try:
            return json.dumps(self.stranger.call(method, **params))
        except RpcError as e:
            return json.dumps([e.code, str(e), e.data])

    def no_different(self, method, member, hers, nobodys, **params):
        """The same answer, but for the name; that of an error of the kind not_found, unless it is a list."""
        told = self.answer(method, **{member: hers}, **params)
        self.assertEqual(told.replace(hers, "NAME"), self.answer(method, **{member: nobodys}, **params).replace(nobodys, "NAME"))
        return told

    def test_every_method_that_takes_a_session(self):
        self.client.call("exec.start", session="hers", command=["sleep", "1000"])
        self.client.call("terminal.open", session="hers", name="term")
        self.client.call("port.publish", session="hers", port=80, name="web", **{"as": {"unix": True}})
        asked = 0
        for method in self.methods:
            names = [p["name"] for p in method["params"]]
            if "session" not in names or method["x-role"] != "client" or method["name"] == "events.subscribe":
                continue
            params = {p["name"]: example(p) for p in method["params"] if p["name"] != "session" and (p["required"] or p["name"] == "content")}
            params.update({"port": 80} if "port" in method.get("x-exactly-one-of", ()) else {})
            params.update({"exec": "term"} if "exec" in params else {})
            with self.subTest(method["name"]):
                told = self.no_different(method["name"], "session", "hers", "nobodys", **params)
                self.assertIn('"kind": "not_found"', told)
                asked += 1
            if "owner" in method.get("x-exactly-one-of", ()):
                with self.subTest(method["name"], by="owner"):
                    self.assertIn('"kind": "not_found"', self.no_different(method["name"], "owner", "b/bob", "b/eve", **params))
        self.assertGreater(asked, 35)
        self.assertEqual(self.client.call("session.get", session="hers")["state"], "ready")

    def test_volumes_and_lists(self):
        for method in ("volume.get", "volume.remove"):
            self.assertIn('"kind": "not_found"', self.no_different(method, "volume", "hers", "nobodys"))
        for method in ("volume.list", "session.list"):
            self.assertNotIn("hers", self.answer(method))
            self.assertNotIn("hers", self.no_different(method, "owner", "b/bob", "b/eve"))
        subscribed = self.answer("events.subscribe", session="hers", since=0)
        self.client.call("session.pause", session="hers")
        self.client.call("session.resume", session="hers")
        # An answer that comes after all that: no event was sent before it.
        self.answer("system.health")
        self.assertEqual((self.stranger.notifications, "gone" in subscribed), ([], True))

    def test_sessions_of_ones_own_with_what_is_anothers(self):
        told = self.answer("session.create", template="with", owner="a/al", id="mine", volumes=[{"path": "/data", "name": "hers"}])
        # Names are the host's, so that one that is taken cannot be hidden; whose it is, and where, can.
        self.assertIn('"kind": "denied"', told)
        self.assertNotIn("bob", told)
        self.assertNotIn('"session"', told)
        self.assertIn('"kind": "denied"', self.answer("session.create", template="minimal", owner="b/bob"))
        taken = self.answer("session.create", template="minimal", id="hers")
        self.assertIn('"kind": "already_exists"', taken)
        self.assertNotIn("bob", taken)

    def test_keys_are_each_users_own(self):
        first = self.client.call("session.create", template="minimal", owner="a/al", idempotency_key="one")
        other = self.stranger.call("session.create", template="minimal", owner="a/al", idempotency_key="one")
        self.assertNotEqual(first["id"], other["id"])
        for session in (first, other):
            self.client.call("session.remove", session=session["id"])

    def test_sessions_of_a_pool(self):
        """They are nobody's: not to be had by their name, and neither is the name."""
        cgroups = [p.name for p in wait_until(lambda: [p for p in self.host.run_dir.glob("sessions/*") if p.name.startswith("pool-")], 20, "the pool")]
        for name in cgroups:
            self.assertIn('"kind": "not_found"', self.no_different("session.get", "session", name, "pool-nobodys"))
            self.assertIn('"kind": "not_found"', self.no_different("session.remove", "session", name, "pool-nobodys"))
            for client in (self.client, self.stranger):
                with self.assertRaises(RpcError) as caught:
                    client.call("session.create", template="minimal", id=name)
                self.assertIn(caught.exception.kind, ("already_exists", "invalid_params"))

    def test_what_parameters_do_not_take(self):
        """Of the least that a method takes, one parameter at a time is something else."""
        control, asked = self.host.control_pid(), 0
        for method in self.methods:
            alternatives = method.get("x-exactly-one-of", ())
            least = {p["name"]: example(p) for p in method["params"] if p["required"] or p["name"] in alternatives[:1]}
            for param in method["params"]:
                name = param["name"]
                if (method["name"], name) in FREE:
                    continue
                others = {n: v for n, v in least.items() if n != name and not (name in alternatives and n in alternatives)}
                for value in (v for v in ODD if not fits(param["schema"], v)):
                    with self.subTest(method=method["name"], param=name, value=repr(value)[:60]):
                        self.refused(method["name"], name, value, others)
                        asked += 1
        self.assertGreater(asked, 3000)
        self.assertEqual(self.host.control_pid(), control)

    def refused(self, method, name, value, others):
        request = self.client.next_id = self.client.next_id + 1
        line = json.dumps({"jsonrpc": "2.0", "id": request, "method": method, "params": {**others, name: value}})
        self.client.socket.sendall(line.encode() + b"\n")
        with self.assertRaises(RpcError) as caught:
            self.client.answer(request)
        self.assertEqual(caught.exception.code, -32602, caught.exception)
        self.assertRegex(caught.exception.data["path"], rf"^{name}($|[.\[])")


if __name__ == "__main__":
    unittest.main()
