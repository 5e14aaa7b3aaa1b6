# SPDX-License-Identifier: Apache-2.0
"""Just enough of the Chrome DevTools Protocol to drive a page: one tab over one WebSocket."""

import asyncio
import base64
import json
import urllib.request

import websockets


class Tab:
    """`async with Tab("http://host:9222") as tab: await tab.call("Page.navigate", url=...)`"""

    def __init__(self, base):
        self.base = base
        self.next_id = 0
        self.waiting = {}
        self.events = {}

    async def __aenter__(self):
        request = urllib.request.Request(f"{self.base}/json/new?about:blank", method="PUT")
        with urllib.request.urlopen(request, timeout=20) as answer:
            target = json.load(answer)
        self.socket = await websockets.connect(target["webSocketDebuggerUrl"], max_size=None, origin=None)
        self.reader = asyncio.create_task(self._read())
        await self.call("Page.enable")
        return self

    async def __aexit__(self, *_):
        self.reader.cancel()
        await self.socket.close()

    async def _read(self):
        async for text in self.socket:
            message = json.loads(text)
            if "id" in message:
                self.waiting.pop(message["id"]).set_result(message)
            else:
                future = self.events.pop(message["method"], None)
                if future:
                    future.set_result(message["params"])

    async def call(self, method, **params):
        self.next_id += 1
        future = self.waiting[self.next_id] = asyncio.get_running_loop().create_future()
        await self.socket.send(json.dumps({"id": self.next_id, "method": method, "params": params}))
        message = await asyncio.wait_for(future, 60)
        if "error" in message:
            raise RuntimeError(f"{method}: {message['error']['message']}")
        return message["result"]

    async def navigate(self, url):
        """Returns when the page has loaded."""
        loaded = self.events["Page.loadEventFired"] = asyncio.get_running_loop().create_future()
        result = await self.call("Page.navigate", url=url)
        if result.get("errorText"):
            raise RuntimeError(f"{url}: {result['errorText']}")
        await asyncio.wait_for(loaded, 60)

    async def evaluate(self, expression):
        result = await self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        return result["result"].get("value")

    async def screenshot(self):
        return base64.b64decode((await self.call("Page.captureScreenshot", format="png"))["data"])
