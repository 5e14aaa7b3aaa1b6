#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""drive.py CDP_URL PAGE PNG: loads PAGE in the browser at CDP_URL, writes a screenshot, prints how long each took."""

import asyncio
import pathlib
import sys
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests/lib"))
from cdp import Tab  # noqa: E402


async def drive(base, page, png):
    begun = time.monotonic()

    def step(name):
        print(f"  {name:<28}{(time.monotonic() - begun) * 1000:9.1f} ms")

    urllib.request.urlopen(f"{base}/json/version", timeout=20).read()
    step("CDP answers")
    async with Tab(base) as tab:
        await tab.call("Emulation.setDeviceMetricsOverride", width=960, height=600, deviceScaleFactor=1, mobile=False)
        await tab.navigate(page)
        step("page loaded")
        while await tab.evaluate("document.title") != "ready":
            await asyncio.sleep(0.01)
        pathlib.Path(png).write_bytes(await tab.screenshot())
        step("screenshot written")


asyncio.run(drive(*sys.argv[1:]))
