"""A real browser for tests: headless Chromium, driven over its own protocol (DevTools), which needs no other library.

    async with Browser() as browser:
        page = await browser.open(url)
        await page.wait("document.title.includes('Console')")
        await page.type("hello\\r")
        await page.screenshot(path)

It resolves no name but loopback's, so no page can make it leave this machine.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp
import pytest

needs_chromium = pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Debian's package chromium")
_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-extensions", "--disable-dev-shm-usage",
    "--no-proxy-server", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
    "--remote-debugging-port=0", "--window-size=1200,900", "--hide-scrollbars",
)  # fmt: skip


class Navigated(AssertionError):
    """The page went while it was asked; the next one may be there already."""


class Page:
    """One tab.  `problems` holds what the browser complained of: errors of scripts, refusals by policy."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self.problems: list[str] = []
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for message in self._socket:
            body = message.json()
            if "id" in body:
                self._answers.pop(body["id"]).set_result(body)
            elif body["method"] == "Runtime.exceptionThrown":
                self.problems.append(str(body["params"]["exceptionDetails"]))
            elif body["method"] == "Log.entryAdded" and body["params"]["entry"]["level"] == "error":
                entry = body["params"]["entry"]
                self.problems.append(f"{entry['text']} {entry.get('url', '')}")

    async def send(self, method: str, **parameters: Any) -> Any:
        """One command of the protocol; its result."""
        number = next(self._numbers)
        self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        async with asyncio.timeout(30):
            answer = await self._answers[number]
        if "error" in answer:
            raise (Navigated if "navigated" in answer["error"]["message"] else AssertionError)(method, answer["error"])
        return answer["result"]

    async def evaluate(self, expression: str) -> Any:
        """A script's value in the page; promises are awaited."""
        result = await self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    async def wait(self, expression: str, seconds: float = 30.0) -> Any:
        """The expression's first true value."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    with contextlib.suppress(Navigated):
                        if value := await self.evaluate(expression):
                            return value
                    await asyncio.sleep(0.1)
        except TimeoutError:
            text = await self.evaluate("document.body.innerText")
            pytest.fail(f"waited {seconds:g} s in vain for {expression}; the page: {text!r}; {self.problems}")

    async def type(self, text: str) -> None:
        """Press keys, as a person does."""
        for character in text:
            key = {"\r": "Enter"}.get(character, character)
            code = 13 if character == "\r" else ord(character.upper()) if character.isalnum() else 0
            for kind in ("keyDown", "keyUp"):
                await self.send("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code,
                                **({"text": character} if kind == "keyDown" else {}))

    async def go(self, url: str) -> None:
        """Open another page in this tab."""
        await self.send("Page.navigate", url=url)
        await self.wait("document.readyState === 'complete'")

    async def screenshot(self, path: Path) -> bytes:
        """A picture of what is to be seen, as PNG."""
        data = base64.b64decode((await self.send("Page.captureScreenshot", format="png"))["data"])
        path.write_bytes(data)
        return data

    async def close(self) -> None:
        await self._socket.close()
        await self._reading


class Browser:
    """A browser with a profile of its own, gone at the end with all that it puts into temporary directories."""

    async def __aenter__(self) -> Browser:
        self._directory = tempfile.mkdtemp(prefix="chromium-")
        self._process = await asyncio.create_subprocess_exec(
            "chromium", *_FLAGS, f"--user-data-dir={self._directory}/profile", "about:blank",
            env={**os.environ, "TMPDIR": self._directory},
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE)
        self._session = aiohttp.ClientSession()
        self._pages: list[Page] = []
        assert self._process.stderr is not None
        async with asyncio.timeout(60):
            while b"DevTools listening on ws://" not in (line := await self._process.stderr.readline()):
                assert line, "chromium ended at once"
        self._debugger = line.decode().split("ws://")[1].partition("/")[0]
        self._draining = asyncio.create_task(self._process.stderr.read())
        return self

    async def open(self, url: str) -> Page:
        """A new tab with that page."""
        async with self._session.put(f"http://{self._debugger}/json/new?about:blank") as answer:
            where = (await answer.json())["webSocketDebuggerUrl"]
        page = Page(await self._session.ws_connect(where, max_msg_size=0))
        self._pages.append(page)
        for domain in ("Page", "Runtime", "Log"):
            await page.send(f"{domain}.enable")
        await page.go(url)
        return page

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        trace: TracebackType | None) -> None:
        for page in self._pages:
            await page.close()
        await self._session.close()
        self._process.terminate()
        await self._process.wait()
        self._draining.cancel()
        await asyncio.gather(self._draining, return_exceptions=True)
        await asyncio.sleep(0)
        shutil.rmtree(self._directory, ignore_errors=True)
