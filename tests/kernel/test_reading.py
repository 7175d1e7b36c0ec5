"""Bodies as they come through a socket: large, in tiny chunks, and one after the other on a connection."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn

from cloudseed.kernel.http.reading import ROOM, BulkReader

LARGE = os.urandom(1 << 20) * 5 + b"end"


class Toy:
    """Answers a body's digest; keeps the sizes of the pieces that it got, and waits for `go` before it reads."""

    def __init__(self) -> None:
        self.pieces: list[int] = []
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.go.wait()
        digest, more = hashlib.sha256(), True
        while more:
            message = await receive()
            assert isinstance(message["body"], bytes)
            self.pieces.append(len(message["body"]))
            digest.update(message["body"])
            more = message["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"64")]})
        await send({"type": "http.response.body", "body": digest.hexdigest().encode()})


@pytest.fixture
async def served() -> AsyncIterator[tuple[Toy, int]]:
    toy, listener = Toy(), socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(toy, http=BulkReader, ws="none", lifespan="off",  # type: ignore[arg-type]
                            log_config=None)
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    task = asyncio.create_task(server.serve(sockets=[listener]))
    yield toy, listener.getsockname()[1]
    server.should_exit = True
    await task


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: str, body: bytes) -> str:
    writer.write(f"PUT / HTTP/1.1\r\nHost: toy\r\n{head}\r\n\r\n".encode() + body)
    await writer.drain()
    answer = await reader.readuntil(b"\r\n\r\n")
    assert b" 200 " in answer
    return (await reader.readexactly(64)).decode()


def chunked(body: bytes, size: int) -> bytes:
    parts = (body[at:at + size] for at in range(0, len(body), size))
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


async def test_bodies_arrive_whole_one_after_the_other(served: tuple[Toy, int]) -> None:
    toy, port = served
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    tiny = os.urandom(50_000)
    for head, sent, body in ((f"Content-Length: {len(LARGE)}", LARGE, LARGE),
                             ("Transfer-Encoding: chunked", chunked(tiny, 1), tiny),
                             ("Content-Length: 0", b"", b""),
                             ("Transfer-Encoding: chunked", chunked(LARGE, 100_000), LARGE)):
        assert await ask(reader, writer, head, sent) == hashlib.sha256(body).hexdigest()
    writer.close()
    await writer.wait_closed()
    assert max(toy.pieces) > 65_536, "no piece was larger than an ordinary protocol's"


async def test_what_nobody_reads_yet_is_limited(served: tuple[Toy, int]) -> None:
    toy, port = served
    toy.go.clear()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    asking = asyncio.create_task(ask(reader, writer, f"Content-Length: {len(LARGE)}", LARGE))
    done, _ = await asyncio.wait({asking}, timeout=0.2)
    assert not done
    toy.go.set()
    assert await asking == hashlib.sha256(LARGE).hexdigest()
    writer.close()
    await writer.wait_closed()
    assert max(toy.pieces) <= ROOM + 65_536
