"""A console's viewer within the test's own process: a websocket through the edge, without a browser."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cloudseed.kernel.http.edge import Edge


class Viewer:
    """A websocket to the console that `url` (as nova gave it) shows.

    `accepted` says whether it was let in; `read` gives the machine's bytes; `closed` the close code once it ended.
    """

    def __init__(self, edge: Edge, url: str, *, origin: str | None = "http://127.0.0.1:8080",
                 host: str = "127.0.0.1:8080", path: str | None = None) -> None:
        where = path if path is not None else "/" + parse_qs(urlsplit(url).query)["path"][0]
        headers = [(b"host", host.encode())] + ([(b"origin", origin.encode())] if origin else [])
        target, _, query = where.partition("?")
        self._scope = {"type": "websocket", "scheme": "ws", "path": target, "query_string": query.encode(),
                       "headers": headers, "subprotocols": ["binary"], "client": ("127.0.0.1", 1)}
        self._edge = edge
        self._in: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._out: asyncio.Queue[dict[str, Any]] = asyncio.Queue(1)  # a viewer that does not read is slow
        self._buffer = b""
        self.accepted = False
        self.subprotocol: str | None = None
        self.closed: int | None = None

    async def __aenter__(self) -> Viewer:
        self._in.put_nowait({"type": "websocket.connect"})
        self.task = asyncio.create_task(self._edge(self._scope, self._in.get, self._out.put))
        first = await self._next()
        self.accepted = first["type"] == "websocket.accept"
        self.subprotocol = first.get("subprotocol")
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        trace: TracebackType | None) -> None:
        self._in.put_nowait({"type": "websocket.disconnect", "code": 1005})
        while not self.task.done():
            drain = asyncio.create_task(self._out.get())
            await asyncio.wait({self.task, drain}, return_when=asyncio.FIRST_COMPLETED, timeout=5)
            drain.cancel()
        self.task.result()

    async def _next(self) -> dict[str, Any]:
        async with asyncio.timeout(10):
            message = await self._out.get()
        if message["type"] == "websocket.close":
            self.closed = message["code"]
        return message

    def write(self, data: bytes) -> None:
        self._in.put_nowait({"type": "websocket.receive", "bytes": data})

    async def read(self, size: int) -> bytes:
        """Exactly `size` bytes, or fewer when the console was closed."""
        while len(self._buffer) < size and self.closed is None:
            self._buffer += (await self._next()).get("bytes") or b""
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    async def wait_closed(self) -> int:
        """The close code, once the other side has closed; what comes before is dropped."""
        while self.closed is None:
            await self._next()
        return self.closed
