"""Bodies as they come through a socket: large, in tiny chunks, and one after the other on a connection."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn

from cloudseed.kernel.http import reading
from cloudseed.kernel.http.reading import HEAD_BYTES, ROOM, BulkReader

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
            if message["type"] == "http.disconnect":
                return
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


# ---- what never becomes a request, or never ends

async def _hear(port: int, *pieces: bytes, pause_s: float = 0.0) -> bytes:
    """All that is answered until the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(pause_s)
        async with asyncio.timeout(5):
            try:
                return await reader.read()
            except ConnectionError:
                return b""
    finally:
        writer.transport.abort()


@pytest.mark.parametrize("head", ["url", "one header", "many headers", "in one piece"])
async def test_a_head_has_its_limit(served: tuple[Toy, int], head: str) -> None:
    toy, port = served
    pieces: dict[str, list[bytes]] = {
        "url": [b"GET /", *[b"x" * 10_000] * 30], "one header": [b"GET / HTTP/1.1\r\nA: ", *[b"x" * 10_000] * 30],
        "many headers": [b"GET / HTTP/1.1\r\n", *[b"a: bbbb\r\n" * 1000] * 30],
        "in one piece": [b"GET / HTTP/1.1\r\nA: " + b"x" * (HEAD_BYTES + 1) + b"\r\n\r\n"]}
    answer = await _hear(port, *pieces[head])
    assert answer.startswith(b"HTTP/1.1 431 ") or not answer  # a reset may overtake it
    assert toy.pieces == []


@pytest.mark.parametrize("tail", [b"5;" + b"x" * 10_000, b"0\r\nA: " + b"x" * 10_000])
async def test_chunks_extensions_and_trailers_too(served: tuple[Toy, int], tail: bytes) -> None:
    _, port = served
    answer = await _hear(port, b"PUT / HTTP/1.1\r\nHost: toy\r\nTransfer-Encoding: chunked\r\n\r\n", tail,
                         *[b"x" * 10_000] * 30)
    assert b" 200 " not in answer


@pytest.mark.parametrize("pieces", [
    (), (b"GET / HT",), (b"\r\n",) * 8, (b"GET / HTTP/1.1\r\n", *[b"a: b\r\n"] * 8),
    (b"PUT / HTTP/1.1\r\nHost: toy\r\nContent-Length: 5\r\n\r\n", b"abc")])
async def test_who_is_slow_is_given_up(served: tuple[Toy, int], monkeypatch: pytest.MonkeyPatch,
                                       pieces: tuple[bytes, ...]) -> None:
    monkeypatch.setattr(reading, "HEAD_S", 0.3)
    monkeypatch.setattr(reading, "SILENCE_S", 0.3)
    toy, port = served
    assert b" 200 " not in await _hear(port, *pieces, pause_s=0.1)
    assert sum(toy.pieces) < 5


async def test_who_waits_for_us_is_not(served: tuple[Toy, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "SILENCE_S", 0.2)
    toy, port = served
    toy.go.clear()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    asked = asyncio.create_task(ask(reader, writer, f"Content-Length: {len(LARGE)}", LARGE))
    await asyncio.sleep(0.8)
    toy.go.set()
    assert await asked == hashlib.sha256(LARGE).hexdigest()
    writer.close()
    await writer.wait_closed()
