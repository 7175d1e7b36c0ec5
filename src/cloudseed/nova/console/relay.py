"""Bytes between a viewer's websocket and a machine's console, in both directions, as fast as the slower side takes.

At most one piece of 64 KiB and the sockets' own buffers lie in between: a viewer that does not read makes the
machine wait for its screen, not this process grow.
"""

from __future__ import annotations

import asyncio
from typing import Any

from cloudseed.kernel.http.edge import Receive, Send
from cloudseed.nova.compute.consoles import PIECE, Streams


async def relay(receive: Receive, send: Send, machine: Streams, stop: asyncio.Event) -> str:
    """Carry until one side ends or `stop` is set; says who ended: "machine", "viewer" or "stop".

    `machine` is closed when this returns.
    """
    reader, writer = machine
    tasks: dict[asyncio.Task[Any], str] = {
        asyncio.create_task(_to_viewer(reader, send)): "machine",
        asyncio.create_task(_to_machine(receive, writer)): "viewer",
        asyncio.create_task(stop.wait()): "stop",
    }
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return next(who for task, who in tasks.items() if task in done)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        writer.transport.abort()  # close() would wait for ever for a machine that does not read


async def _to_viewer(reader: asyncio.StreamReader, send: Send) -> None:
    try:
        while data := await reader.read(PIECE):
            await send({"type": "websocket.send", "bytes": data})
    except OSError:
        pass  # one of the two is gone: that is the end


async def _to_machine(receive: Receive, writer: asyncio.StreamWriter) -> None:
    try:
        while (message := await receive())["type"] == "websocket.receive":
            data = message.get("bytes")
            writer.write(data if data is not None else message["text"].encode())
            await writer.drain()
    except OSError:
        pass
