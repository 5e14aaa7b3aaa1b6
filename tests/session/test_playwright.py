# SPDX-License-Identifier: Apache-2.0
"""Ten browsers at once, each driven by Playwright over its session's debugging endpoint: clicks and screenshots."""

import os
import pathlib
import shutil
import subprocess
import unittest

from carrel_host import Host, own_network, scaled

TOP = pathlib.Path(__file__).resolve().parents[2]
VERSION = "playwright-core@1.56"
SESSIONS = 10
SCRIPT = """
import { writeFile } from 'node:fs/promises';
import { chromium } from 'playwright-core';
import { Client } from 'carrel';

const client = await Client.connect();

async function drive(number) {
    const session = await client.session.create({ template: 'browser-host', owner: `user-${number}` });
    const browser = await chromium.connectOverCDP(session.cdp_url);
    const page = await browser.contexts()[0].newPage();
    await page.setContent(`<title>none</title><button onclick="document.title = 'clicked ${number}'">press</button>`);
    await page.getByRole('button', { name: 'press' }).click();
    const title = await page.title();
    await writeFile(`${number}.png`, await page.screenshot());
    await browser.close();
    await client.session.remove({ session: session.id });
    return title;
}

console.log((await Promise.all([...Array(Number(process.argv[2])).keys()].map(drive))).join('\\n'));
"""


def install():
    """A directory in which Node finds playwright-core and carrel, or why there is none."""
    directory = pathlib.Path(os.environ.get("CARREL_BUILD", "/nonexistent")) / "playwright"
    if not shutil.which("npm"):
        return None, "there is no npm"
    if not directory.parent.is_dir():
        return None, "CARREL_BUILD is no directory to install playwright-core in"
    if not (directory / "node_modules/playwright-core").is_dir():
        directory.mkdir(exist_ok=True)
        result = subprocess.run(["npm", "install", "--silent", "--no-save", "--ignore-scripts", "--prefix", directory, VERSION],
                                capture_output=True, text=True, timeout=scaled(300))
        if result.returncode != 0:
            return None, f"npm cannot install {VERSION}: {(result.stderr or result.stdout).strip()[-300:]}"
    link = directory / "node_modules/carrel"
    if not link.is_symlink():
        link.symlink_to(TOP / "clients/node")
    return directory, None


def setUpModule():
    global directory, why_not
    directory, why_not = install()  # while there is a network
    own_network()


class Playwright(unittest.TestCase):
    def test_ten_browsers_are_clicked_at_once(self):
        if why_not:
            print(f"skipped: {why_not}", flush=True)
            self.skipTest(why_not)
        host = Host(images=("minimal", "host")).start()
        try:
            work = host.dir / "work"
            work.mkdir()
            (work / "node_modules").symlink_to(directory / "node_modules")
            (work / "drive.mjs").write_text(SCRIPT)
            environment = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
            result = subprocess.run(["node", "drive.mjs", str(SESSIONS)], cwd=work, capture_output=True, text=True,
                                    env={**environment, "CARREL_SOCKET": str(host.socket_path)}, timeout=scaled(300))
            self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
            self.assertEqual(result.stdout.splitlines(), [f"clicked {n}" for n in range(SESSIONS)])
            for number in range(SESSIONS):
                picture = (work / f"{number}.png").read_bytes()
                self.assertEqual(picture[:8], b"\x89PNG\r\n\x1a\n")
                self.assertGreater(len(picture), 1000)
        finally:
            host.close()


if __name__ == "__main__":
    unittest.main()
