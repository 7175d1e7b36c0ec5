"""Answers that reach a client which is still sending, on a connection that closes behind them.

A socket that is closed with unread bytes in it is reset, and the reset overtakes the answer: a client whose large
upload is refused midway would see a broken connection instead of the reason.  So the rest is read and dropped
first, for a while.  Connections that stay open need none of this: the server skips the rest by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
TOTAL_S = 30.0
SILENCE_S = 2.0


def lingering(receive: Receive, send: Send) -> tuple[Receive, Send]:
    """`receive` and `send` of one request, whose last bytes wait until the client's body is read or time is up."""
    ended = False

    async def receiving() -> dict[str, Any]:
        nonlocal ended
        message = await receive()
        ended = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    async def drain() -> None:
        try:
            async with asyncio.timeout(TOTAL_S):
                while not ended:
                    async with asyncio.timeout(SILENCE_S):
                        await receiving()
        except TimeoutError:
            pass

    async def sending(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.body" and not message.get("more_body") and not ended:
            await send({**message, "more_body": True})
            await drain()
            message = {"type": "http.response.body", "body": b""}
        await send(message)

    return receiving, sending
