"""Consoles of machines that only pretend: a small screen and a serial line, real enough for a real viewer.

The screen speaks RFB 3.8 (RFC 6143) and shows one colour pattern; the serial line greets and gives back what is
typed.  Their sockets are made when somebody asks for them and end with the machine.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

from cloudseed.host.wire import short_address
from cloudseed.nova.compute.consoles import ConsoleAddress, ConsoleKind

WIDTH, HEIGHT = 64, 48
_FORMAT = struct.pack(">BBBBHHHBBB3x", 32, 24, 0, 1, 255, 255, 255, 16, 8, 0)
_LENGTHS = {0: 19, 3: 9, 4: 7, 5: 5}  # of a client's messages behind their type
_MAX_TEXT = 1 << 16


class FakeConsoles:
    """The consoles of one host's pretended machines."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._open: dict[tuple[str, ConsoleKind], _Line] = {}

    async def address(self, server_id: str, name: str, kind: ConsoleKind) -> ConsoleAddress:
        """Where the console is; it listens from now on."""
        path = self._directory / f"{server_id}.{kind}"
        if (server_id, kind) not in self._open:
            line = _Line(name, _screen if kind == "novnc" else _serial)
            await line.start(path)
            self._open[server_id, kind] = line
        return ConsoleAddress(kind=kind, path=str(path), pid=os.getpid())

    def end(self, server_id: str | None = None) -> None:
        """The machine ended (every machine, when None): whoever looks sees the end."""
        for key in [key for key in self._open if server_id in (None, key[0])]:
            self._open.pop(key).close()
            (self._directory / f"{key[0]}.{key[1]}").unlink(missing_ok=True)


class _Line:
    """One listening console and whoever is connected to it."""

    def __init__(self, name: str, talk: Callable[[str, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
                 ) -> None:
        self._name = name
        self._talk = talk
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        with short_address(path) as address:
            sock.bind(address)
        self._server = await asyncio.start_unix_server(self._serve, sock=sock, limit=_MAX_TEXT)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            await self._talk(self._name, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, ValueError):
            pass  # it left, or speaks another language
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    def close(self) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()


async def _serial(name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(f"FAKE SERIAL CONSOLE of {name}\r\n".encode())
    while typed := await reader.read(4096):
        writer.write(typed)
        await writer.drain()


async def _screen(name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"RFB 003.008\n")
    await reader.readexactly(12)
    writer.write(b"\x01\x01")  # one kind of security: none
    await reader.readexactly(1)
    writer.write(bytes(4))  # accepted
    await reader.readexactly(1)
    title = name.encode()
    writer.write(struct.pack(">HH", WIDTH, HEIGHT) + _FORMAT + struct.pack(">I", len(title)) + title)
    shown = 4  # bytes of a pixel
    while True:
        kind = (await reader.readexactly(1))[0]
        if kind == 2:  # encodings: raw pixels are always allowed
            count = struct.unpack(">xH", await reader.readexactly(3))[0]
            await reader.readexactly(4 * count)
        elif kind == 6:  # text for the guest's clipboard
            length = struct.unpack(">3xI", await reader.readexactly(7))[0]
            if length > _MAX_TEXT:
                raise ValueError("a text that is too long")
            await reader.readexactly(length)
        elif kind in _LENGTHS:
            body = await reader.readexactly(_LENGTHS[kind])
            if kind == 0:
                shown = max(1, body[3] // 8)
            elif kind == 3 and not body[0]:  # the whole picture; what changes later: nothing does
                writer.write(struct.pack(">BxHHHHHi", 0, 1, 0, 0, WIDTH, HEIGHT, 0) + _picture(shown))
        else:
            raise ValueError(f"there is no message {kind}")
        await writer.drain()


def _picture(pixel_bytes: int) -> bytes:
    """A pattern in two colours."""
    row = [b"\x40\x80\xc0\x00"[:pixel_bytes], b"\xf0\xf0\xf0\x00"[:pixel_bytes]]
    return b"".join(row[(x // 8 + y // 8) % 2] for y in range(HEIGHT) for x in range(WIDTH))
