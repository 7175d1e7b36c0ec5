"""Websockets at the real HTTP server: who is let in, and what no peer can make of it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import os
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cloudseed.host.fake import FakeHost
from cloudseed.kernel.config import Config
from cloudseed.kernel.http.edge import Mount, Receive, Scope, Send
from cloudseed.kernel.runtime import Environment, Runtime, Service
from tests.support.daemon import free_port

HANDSHAKE = {"Host": "127.0.0.1", "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
             "Sec-WebSocket-Key": base64.b64encode(b"0" * 16).decode()}


class Peer:
    """One connection to the server, bytes in and out."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def __aenter__(self) -> Peer:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):  # the server may have ended it with a reset
            await self.writer.wait_closed()

    async def ask(self, path: str, **changes: str | None) -> bytes:
        """Ask for an upgrade, some headers changed or left out; the answer's head."""
        headers = {**HANDSHAKE, **{name.replace("_", "-"): value for name, value in changes.items()}}
        lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items() if value is not None)]
        self.writer.write("\r\n".join([*lines, "", ""]).encode())
        async with asyncio.timeout(5):
            return await self.reader.readuntil(b"\r\n\r\n")

    def send(self, opcode: int, data: bytes, *, length: int | None = None) -> None:
        """One masked frame; `length` may lie."""
        size = len(data) if length is None else length
        head = bytes([0x80 | opcode]) + (bytes([0x80 | size]) if size < 126 else
                                         b"\xfe" + struct.pack(">H", size) if size < 65536 else
                                         b"\xff" + struct.pack(">Q", size))
        self.writer.write(head + bytes(4) + data)

    async def frame(self) -> tuple[int, bytes]:
        """The next frame's opcode and payload."""
        async with asyncio.timeout(5):
            first, size = await self.reader.readexactly(2)
            if size == 126:
                size = struct.unpack(">H", await self.reader.readexactly(2))[0]
            elif size == 127:
                size = struct.unpack(">Q", await self.reader.readexactly(8))[0]
            return first & 15, await self.reader.readexactly(size)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    if scope["path"] == "/closed":
        await send({"type": "websocket.close", "code": 1008})
        return
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "bytes": message.get("bytes") or message["text"].encode()})


async def plain(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[int]:
    config = Config(state=str(tmp_path), port=free_port())

    def build(env: Environment) -> Service:
        return Service("echo", mounts=[Mount("/echo", "echo", plain, echo), Mount("/plain", "plain", plain)])

    runtime = Runtime(Environment(config, host=FakeHost()), [build])
    await runtime.start()
    yield config.port
    await runtime.stop()


async def test_bytes_come_and_go(port: int) -> None:
    async with Peer(port) as peer:
        assert (await peer.ask("/echo/x")).startswith(b"HTTP/1.1 101 ")
        for data in (b"a", b"b" * 200, os.urandom(70_000)):
            peer.send(2, data)
            assert await peer.frame() == (2, data)
        peer.send(1, "é".encode())
        assert await peer.frame() == (2, "é".encode())
        peer.send(9, b"ping")
        assert await peer.frame() == (10, b"ping")


@pytest.mark.parametrize("path", ["/echo/closed", "/plain", "/plain/x", "/nowhere", "/echo-not", "/"])
async def test_a_refusal_has_no_body(port: int, path: str) -> None:
    """Tempest reads whatever follows the head as the console's first bytes."""
    async with Peer(port) as peer:
        assert (await peer.ask(path)).startswith(b"HTTP/1.1 403 ")
        assert await peer.reader.read() == b""


@pytest.mark.parametrize("changes", [{"Sec_WebSocket_Key": None}, {"Sec_WebSocket_Version": "12"},
                                     {"Sec_WebSocket_Version": None}, {"Sec_WebSocket_Key": "short"}])
async def test_a_wrong_handshake_opens_nothing(port: int, changes: dict[str, Any]) -> None:
    async with Peer(port) as peer:
        head = await peer.ask("/echo/x", **changes)
        assert not head.startswith(b"HTTP/1.1 5")
        assert b" 101 " not in head or "short" in changes.values()  # a key's length is the client's own affair
    await test_bytes_come_and_go(port)


async def test_a_message_is_limited(port: int) -> None:
    async with Peer(port) as peer:
        await peer.ask("/echo/x")
        for _ in range(40):
            peer.send(2, b"x" * 65536, length=2**40)  # the frame claims to be endless
        async with asyncio.timeout(10):
            try:
                while await peer.reader.read(65536):
                    pass
            except ConnectionError:
                pass
    await test_bytes_come_and_go(port)


@pytest.mark.parametrize("data", [b"\xff" * 100, b"\x81\x05hello", b"\xf2\x80\x00\x00\x00\x00", b"\x88\xfe\xff\xff",
                                  b"\x82\x84\x00\x00", b"GET / HTTP/1.1\r\n\r\n"])
async def test_garbage_ends_its_own_connection_alone(port: int, data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async with Peer(port) as peer:
        await peer.ask("/echo/x")
        peer.writer.write(data)
        peer.writer.write_eof()
        async with asyncio.timeout(10):
            await peer.reader.read()
    await test_bytes_come_and_go(port)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
