# SPDX-License-Identifier: Apache-2.0
"""The documentation is true: generated parts are current, examples run, manuals list what there is; and the sources
keep the rules that the documentation states of them."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import unittest
import urllib.error
import urllib.request

from carrel_host import Host, RpcError, own_network

TOP = pathlib.Path(__file__).resolve().parents[2]
ROOT = pathlib.Path(os.environ.get("CARREL_ROOT", "/nonexistent"))
BUILD = pathlib.Path(os.environ.get("CARREL_BUILD", "/nonexistent"))

AS_ROOT = ("supervisor", "netns", "rootfs", "wire")
PRIVILEGED = (*AS_ROOT, "check", "config", "sandbox")
PRODUCT = (*PRIVILEGED, "control", "cli")
ROOT_LINES_MAX, FUNCTION_LINES_MAX, FILE_LINES_MAX, PROSE_COLUMNS = 6000, 60, 600, 118

DOCUMENTS = sorted([TOP / "README.md", TOP / "CHANGELOG.md", *(TOP / "docs").glob("*.md")])
MANUALS = sorted((TOP / "docs/man").iterdir())
SKIPPED = {".git", "build", ".cache", "__pycache__"}
NO_COMMENTS = {"LICENSE", ".gitignore", ".clang-format", "changelog", "format", "copyright"}  # or where a comment would be noise

printed = []


def tearDownModule():
    print("\n".join(printed))


def sources(*folders, suffixes=(".c", ".h")):
    return sorted(p for folder in folders for p in (TOP / folder).iterdir() if p.suffix in suffixes)


def repository():
    """Every file of the source tree: those that git knows, or in a tree without it those that are there."""
    listed = subprocess.run(["git", "-c", f"safe.directory={TOP}", "-C", TOP, "ls-files", "-z"], capture_output=True, text=True)
    names = listed.stdout.split("\0")[:-1] if listed.returncode == 0 else [p.relative_to(TOP) for p in TOP.rglob("*")]
    return [TOP / n for n in names if (TOP / n).is_file() and not set(pathlib.Path(n).parts) & SKIPPED]


def without_comments(text):
    """C without its comments; strings stay, lines too."""
    def keep(match):
        return match[0] if match[0][0] in "\"'" else "\n" * match[0].count("\n")

    return re.sub(r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|/\*.*?\*/|//[^\n]*', keep, text, flags=re.S)


def says(*command):
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, check=True).stdout


def block(text, name):
    """What stands between the comments "NAME: begin" and "NAME: end"."""
    return re.search(rf"^<!-- {name}: begin.*?-->\n(.*?)^<!-- {name}: end", text, re.S | re.M)[1]


def table_rows(text):
    """The cells of each row of a Markdown table but its header."""
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


class Generated(unittest.TestCase):
    def test_blocks_are_what_the_programs_print(self):
        result = subprocess.run([TOP / "tools/update-docs", "--check", BUILD], capture_output=True, text=True)
        self.assertEqual((result.returncode, result.stdout, result.stderr), (0, "", ""),
                         f"renew them: tools/update-docs {BUILD}")

    def test_every_block_is_kept_true_by_somebody(self):
        script = (TOP / "tools/update-docs").read_text()
        here = pathlib.Path(__file__).read_text()
        for path in (*DOCUMENTS, *MANUALS):
            text = path.read_text()
            begun = re.findall(r'^(?:<!-- |\.\\" )([a-z-]+): begin', text, re.M)
            self.assertEqual(begun, re.findall(r'^(?:<!-- |\.\\" )([a-z-]+): end', text, re.M), path.name)
            for name in begun:
                self.assertTrue(f'"{name}":' in script or f'"{name}")' in here, f"{path.name}: {name}")


class Architecture(unittest.TestCase):
    text = (TOP / "docs/ARCHITECTURE.md").read_text()

    def test_programs_exist(self):
        rows = table_rows(block(self.text, "processes"))
        self.assertGreaterEqual(len(rows), 4)
        for row in rows:
            name = row[0].strip("`")
            found = [p for p in ROOT.glob(f"usr/**/{name}") if p.is_file() and os.access(p, os.X_OK)]
            self.assertEqual(len(found), 1, name)

    def test_what_each_folder_may_import(self):
        rows = {cell: row[2] for row in table_rows(self.text.split("## Where things are")[1]) for cell in
                re.findall(r"`(\w+)/`", row[0])}
        self.assertEqual(set(rows), set(PRODUCT))
        for folder, may in rows.items():
            allowed = set(re.findall(r"`([\w/.]+)`", may)) | {folder}
            for path in sources(folder):
                for name in re.findall(r'^#\s*include "([^"]+/[^"]+)"', path.read_text(), re.M):
                    self.assertTrue({name, name.split("/")[0]} & allowed, f"{path.relative_to(TOP)} includes {name}")
        # What the table says of the supervisor in words.
        filters = [n for p in sources("supervisor") for n in re.findall(r'"(sandbox/[^"]+)"', p.read_text())]
        self.assertEqual(set(filters), {"sandbox/seccomp.h"})

    def test_json_is_read_by_config_alone(self):
        readers = {p.parent.name for p in sources(*PRIVILEGED)
                   if re.search(r'^#\s*include [<"](jansson\.h|config/(members|file)\.h)[>"]', p.read_text(), re.M)}
        self.assertEqual(readers, {"config"})

    def test_code_that_runs_as_root_is_small(self):
        def linked(*folders):
            """The sources that carreld is linked from, with the headers that they include. Each .c defines a symbol."""
            symbols = set(re.findall(r" [a-zA-Z] (\w+)$", says("nm", BUILD / "supervisor/carreld"), re.M))
            defined = r"^(?!static\b)\w[^;{}()=]*?(\w+)(?:\[\w*\])?(?:\(| =)"
            found = [p for p in sources(*folders, suffixes=(".c",))
                     if p.parent.name == "supervisor" or symbols & set(re.findall(defined, p.read_text(), re.M))]
            for path in found:
                found += [TOP / name for name in re.findall(r'^#\s*include "([^"]+)"', path.read_text(), re.M)
                          if name.split("/")[0] in folders and TOP / name not in found and (TOP / name).exists()]
            return found

        def lines(*folders):
            return sum(1 for p in linked(*folders) for line in without_comments(p.read_text()).splitlines() if line.strip())

        count = lines(*AS_ROOT)
        printed.append(f"as root: {count} lines of code in {', '.join(AS_ROOT)}, {lines('check')} in check, {lines('config')} in config")
        self.assertLess(count, ROOT_LINES_MAX)


class HouseRules(unittest.TestCase):
    def test_forbidden_functions(self):
        forbidden = re.compile(r"\b(system|popen|v?sprintf|strcpy|strcat|strncpy|strncat|gets|alloca|mktemp|tmpnam|u?sleep|"
                               r"nanosleep|pthread_create)\s*\(")
        for path in sources(*PRIVILEGED, "control"):
            found = forbidden.search(without_comments(path.read_text()))
            self.assertIsNone(found, f"{path.relative_to(TOP)}: {found and found[0]}")

    def test_licence_lines(self):
        self.assertGreater(len(repository()), 200)
        for path in repository():
            if path.name in NO_COMMENTS or path.suffix in (".json", ".png") or "corpus" in path.parts:
                continue
            head = path.read_text(errors="replace").splitlines()[:4]
            self.assertTrue(any("SPDX-License-Identifier: Apache-2.0" in line for line in head), path.relative_to(TOP))

    def test_chromium_keeps_its_sandbox(self):
        flag = "--no-" + "sandbox"
        for path in repository():
            for line in path.read_text(errors="replace").splitlines():
                self.assertTrue(flag not in line or "assertNotIn" in line, f"{path.relative_to(TOP)}: {line.strip()}")

    def test_functions_and_files_are_short(self):
        for path in sources(*PRODUCT):
            lines = path.read_text().splitlines()
            self.assertLess(len(lines), FILE_LINES_MAX, path.relative_to(TOP))
            start = None
            for number, line in enumerate(lines):
                if line == "{":
                    start = number
                elif line == "}" and start is not None:
                    self.assertLessEqual(number - start - 1, FUNCTION_LINES_MAX, f"{path.relative_to(TOP)}:{start}")
                    start = None


class Text(unittest.TestCase):
    def test_no_path_of_a_machine(self):
        own = {str(TOP), str(ROOT), str(BUILD), os.path.expanduser("~")} - {"/", "/nonexistent"}
        for path in (*DOCUMENTS, *MANUALS):
            text = path.read_text()
            for word in own:
                self.assertNotIn(word + "/", text, path.name)
            self.assertNotRegex(text, r"(?<![\w.}])/(home|Users|work|workspace|builds?|tmp)/", path.name)

    def test_links_lead_somewhere(self):
        for path in DOCUMENTS:
            for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
                self.assertTrue((path.parent / target).exists(), f"{path.name}: {target}")
            for target in re.findall(r"`((?:docs|tools|tests|supervisor|control|sandbox|config|netns|rootfs|wire|cli)/[\w./-]+)`",
                                     path.read_text()):
                self.assertTrue((TOP / target).exists(), f"{path.name}: {target}")

    def test_lines_fit(self):
        for path in DOCUMENTS:
            text = re.sub(r"<!-- api: begin.*?<!-- api: end", "", path.read_text(), flags=re.S)
            for line in text.splitlines():
                self.assertTrue(line.startswith("|") or len(line) <= PROSE_COLUMNS, f"{path.name}: {line}")


class Security(unittest.TestCase):
    text = (TOP / "docs/SECURITY.md").read_text()

    def test_what_is_shown_is_shown(self):
        rows = table_rows(block(self.text, "shown"))
        self.assertGreater(len(rows), 20)
        for row in rows:
            named = re.findall(r"`([\w/.]+)::(\w+)`", row[3])
            self.assertTrue(named, row[0])
            for file, test in named:
                source = (TOP / "tests" / file).read_text()
                # In C it is defined and stands in the list of tests.
                wanted = [rf"def {test}\(self\)"] if file.endswith(".py") else \
                    [rf"^static void {test}\(", rf"\w\({test}[,)]"]
                for pattern in wanted:
                    self.assertRegex(source, re.compile(pattern, re.M), f"{file}::{test}")


class Manual(unittest.TestCase):
    @staticmethod
    def page(name):
        return (TOP / "docs/man" / name).read_text()

    def test_lint(self):
        for path in MANUALS:
            # From their own directory, where they find one another; others need not be installed.
            lint = subprocess.run(["mandoc", "-Tlint", path.name], cwd=path.parent, capture_output=True, text=True).stdout
            found = [line for line in lint.splitlines() if not re.search("referenced manual not found: Xr (?!carrel)", line)]
            self.assertEqual(found, [])

    def test_installed(self):
        for path in MANUALS:
            self.assertTrue((ROOT / f"usr/share/man/man{path.suffix[1:]}" / path.name).is_file(), path.name)

    @staticmethod
    def options(mdoc):
        """Long options that list items of MDOC are about."""
        items = re.findall(r"^\.It (?:Xo\n\.)?(.*)$", mdoc, re.M)
        return {name for item in items for name in re.findall(r"Fl -([a-z][a-z-]*)", item)}

    def test_carreld(self):
        usage = says(ROOT / "usr/sbin/carreld", "--help")
        there = set(re.findall(r"^ .*?--([a-z-]+)", usage, re.M))
        self.assertEqual(self.options(self.page("carreld.8")), there)
        for letter in re.findall(r"^  -(\w),", usage, re.M):
            self.assertRegex(self.page("carreld.8"), rf"\.It Fl {letter}\b")
        for signal in re.findall(r"SIG[A-Z]+", usage):
            self.assertIn(f".It Dv {signal}", self.page("carreld.8"))

    def carrel(self, *words):
        return says(ROOT / "usr/bin/carrel", *words)

    def test_carrel(self):
        page = self.page("carrel.1")
        verbs = re.findall(r"^  ((?:image |pool |template |volume )?[a-z]+)(?= |$)", self.carrel("help"), re.M)
        item = rf"^\.It (?:Xo\n\.)?Cm (?=(?:{'|'.join(verbs)})(?:\n| [A-Z]))"
        parts = re.split(item, page.split(".Sh ENVIRONMENT")[0], flags=re.M)
        known = {"json", "socket", "help"}
        for verb in verbs:
            with self.subTest(verb):
                part = next((p for p in parts if re.match(rf"{verb}(?=\n| [A-Z])", p)), None)
                self.assertIsNotNone(part, "the manual has no item for it")
                if like := re.search(r"^Options are those of\n\.Cm (\w+)", part, re.M):
                    part += next(p for p in parts if p.startswith(like[1]))
                # Those that several verbs share stand behind the last of them.
                group = part + "".join(p for p in parts if p.startswith(verb.split()[0]))
                for letter, option in re.findall(r"^  (?:-(\w), )?--([a-z-]+)", self.carrel(*verb.split(), "--help"), re.M):
                    self.assertIn(f"Fl -{option}", group)
                    if letter:
                        self.assertIn(f"Fl {letter} , Fl -{option}", part)
                    known.add(option)
        self.assertEqual(set(re.findall(r"Fl -([a-z][a-z-]*)", page)) - known, set())
        exits = self.carrel("help").split("Exit status")[1]
        for status in re.findall(r"^  (\d+) ", exits, re.M):
            self.assertRegex(page, re.compile(rf"^\.It {status}$", re.M))
        for variable in re.findall(r"\$([A-Z_]+)", self.carrel("help")):
            self.assertIn(f".It Ev {variable}", page)

    def test_configuration(self):
        page = self.page("carrel.json.5")
        for line in says(BUILD / "supervisor/carreld", "--list-config").splitlines():
            name = re.match(r"(?:carrel\.json|template) (\S+):", line)[1]
            self.assertIn(f".It Ic {name}\n", page)


class Api(unittest.TestCase):
    text = (TOP / "docs/API.md").read_text()

    def test_every_kind_of_error(self):
        kinds = re.findall(r"\bE_([A-Z_]+)\b", re.search(r"enum error_kind \{(.*?)E_KIND_COUNT",
                                                         (TOP / "control/call.h").read_text(), re.S)[1])
        self.assertGreater(len(kinds), 10)
        described = re.findall(r"^\| `(\w+)` \| -\d+ \|", self.text.split("## Errors\n\n| kind")[1], re.M)
        self.assertEqual(described, [kind.lower() for kind in kinds])

    def test_every_method(self):
        document = json.loads(says(BUILD / "control/carrel-control", "--print-openrpc"))
        self.assertEqual(re.findall(r"^### (\S+)$", self.text, re.M), [m["name"] for m in document["methods"]])

    def test_reasons_of_an_end(self):
        names = re.search(r"reason_names\[.*?\] = \{(.*?)\};", (TOP / "control/record.c").read_text(), re.S)[1]
        self.assertEqual({row[0].strip("`") for row in table_rows(block(self.text, "reasons"))},
                         set(re.findall(r'"(.+?)"', names)))


class Readme(unittest.TestCase):
    text = (TOP / "README.md").read_text()

    def test_tiers(self):
        sys.path.insert(0, str(TOP / "tests"))
        import run
        sentence = re.search(r"the tiers are (.*?)\.", self.text, re.S)[1]
        self.assertEqual(re.findall(r"`(\w+)`", sentence), list(run.TIERS))

    def test_numbers(self):
        calls = says(BUILD / "control/carrel-control", "--list-syscalls").splitlines()
        capabilities = says(BUILD / "supervisor/carreld", "--list-capabilities").splitlines()
        self.assertIn(f"{len(calls)} system calls", self.text)
        self.assertIn(f"root: {len(capabilities)} capabilities", self.text)

    def test_version(self):
        version = says(BUILD / "supervisor/carreld", "--version").split()[1]
        self.assertIn(f"Version {version}", self.text)
        self.assertIn(version, (TOP / "CHANGELOG.md").read_text())


class Running(unittest.TestCase):
    """What is said to run runs: against a host of its own whose template "browser" is that of the host's Chromium, which
    needs no image that takes minutes to build, and whose template "web" is the manual's."""

    @classmethod
    def setUpClass(cls):
        own_network()
        examples = re.findall(r"^\.Bd -literal.*?\n(\{.*?)^\.Ed", Manual.page("carrel.json.5"), re.S | re.M)
        cls.daemon_example, web = (json.loads(text) for text in examples)
        browser = json.loads((ROOT / "etc/carrel/templates.d/browser-host.json").read_text())
        cls.host = Host(templates={"browser": browser, "web": web}, images=("minimal", "host")).start()
        cls.client = cls.host.client()
        cls.directory = cls.host.dir / "work"
        (cls.directory / "node_modules").mkdir(parents=True)
        (cls.directory / "node_modules/carrel").symlink_to(TOP / "clients/node")
        cls.environment = {
            **{k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")},
            "CARREL_SOCKET": str(cls.host.socket_path),
            "PATH": f"{ROOT / 'usr/bin'}:{os.environ['PATH']}",
            "PYTHONPATH": str(TOP / "clients/python"),
        }

    @classmethod
    def tearDownClass(cls):
        cls.host.close()

    def tearDown(self):
        for session in self.client.call("session.list")["sessions"]:
            self.client.call("session.remove", session=session["id"])

    def run_example(self, *command):
        result = subprocess.run(command, env=self.environment, cwd=self.directory, capture_output=True, text=True, timeout=120)
        self.assertEqual(result.returncode, 0, f"{command[-1]}\n{result.stdout}{result.stderr}")
        return result.stdout

    def test_readme(self):
        examples = re.findall(r"^```(\w+)\n(.*?)^```", block(Readme.text, "examples"), re.S | re.M)
        self.assertEqual([kind for kind, _ in examples], ["sh", "sh", "python", "js"])
        for kind, text in examples:
            with self.subTest(kind):
                if kind == "js" and not shutil.which("node"):
                    self.skipTest("there is no node")
                self.assertIn("Chrome/", self.run_example(*self.command(kind), text))
                self.assertEqual(self.client.call("session.list")["sessions"], [], "it ends what it made")

    @staticmethod
    def command(kind):
        """What runs a program that is its last argument."""
        return {"sh": ["bash", "-euo", "pipefail", "-c"], "python": ["/usr/bin/python3", "-c"],
                "js": ["node", "--input-type=module", "-e"]}[kind]

    def test_readme_in_passing(self):
        for command in re.findall(r"`(carrel (?:create|logs)[^`]*)`", Readme.text):
            said = self.run_example("bash", "-euo", "pipefail", "-c", command)
        self.assertEqual(said, "1\n2\n3\n")

    def test_manual_of_carrel(self):
        examples = re.findall(r"^\.Bd -literal.*?\n(\$.*?)^\.Ed", Manual.page("carrel.1"), re.S | re.M)
        said = [self.run_example("bash", "-euo", "pipefail", "-c", re.sub(r"^\$ ", "", text, flags=re.M)) for text in examples]
        self.assertRegex(said[0], r"http://[\d.]+:9222")
        self.assertIn("\n42\n", said[1])

    def test_manual_of_the_configuration(self):
        directory = self.host.dir / "example"
        (directory / "templates.d").mkdir(parents=True)
        (directory / "carrel.json").write_text(json.dumps(self.daemon_example))
        checked = subprocess.run([ROOT / "usr/sbin/carreld", "--config", directory, "--check", "--json"], capture_output=True,
                                 text=True)
        self.assertIn("items", json.loads(checked.stdout), checked.stderr)
        session = self.client.call("session.create", template="web")
        with self.assertRaises(urllib.error.HTTPError) as caught:
            urllib.request.build_opener(urllib.request.ProxyHandler({})).open(session["endpoints"]["web"]["url"], timeout=10)
        caught.exception.close()
        self.assertEqual(caught.exception.code, 404)

    def test_members_of_a_session(self):
        members = re.findall(r"`(\w+)`", " ".join(row[0] for row in table_rows(block(Api.text, "session"))))
        session = self.client.call("session.create", template="minimal", command=["/bin/busybox", "false"])
        self.assertEqual(sorted(members), sorted(session))
        ended = self.client.call("session.wait", session=session["id"], **{"for": "ended"}, timeout_seconds=10)
        self.assertLessEqual(set(ended["end"]), set(re.findall(r"`(\w+)`", re.search(r"^\| `end` .*$", Api.text, re.M)[0])))

    def test_error(self):
        example = json.loads(re.search(r"## Errors\n\n```json\n(.*?)```", Api.text, re.S)[1])
        with self.assertRaises(RpcError) as caught:
            self.client.call("session.create", template="minimal", limits={"pids": 65})
        self.assertEqual({"code": caught.exception.code, "message": str(caught.exception), "data": caught.exception.data},
                         example)

    def test_notifications(self):
        described = {name: re.search(rf"^- `{name}`, after .*?`\{{(.*?)\}}`", Api.text, re.S | re.M)[1].split(", ")
                     for name in ("event", "log")}
        self.client.call("session.create", template="minimal", id="talks",
                         command=["/bin/busybox", "sh", "-c", "while :; do echo x; sleep 0.05; done"])
        watcher = self.host.client()
        watcher.call("events.subscribe", since=0)
        watcher.call("session.logs", session="talks", follow=True)
        seen = {}
        while set(seen) != set(described):
            message = watcher.notifications.pop() if watcher.notifications else watcher.receive()
            seen[message["method"]] = message["params"]
        self.assertEqual(set(described["log"]), set(seen["log"]))
        self.assertEqual(set(described["event"]) - {"…"}, set(seen["event"]))


if __name__ == "__main__":
    unittest.main()
