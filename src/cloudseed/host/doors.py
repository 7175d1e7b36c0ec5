"""Ways between hosts: a door that one opens for one machine that comes, and connections of another through it.

    QEMU or a file ── host process ══ TLS on the underlay ══ host process ── QEMU or a file
      (source)          Way                                    Doors           (destination)

QEMU needs no right to the network and sees no key: what it sends and gets flows through us.  A connection is of a
host of this cloud (authority.py); its first line names the ticket, which is known to those alone whom the control
plane told it, and what flows: so a host can send to no machine but the one that is expected of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import secrets
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec

from cloudseed.host.errors import HostError
from cloudseed.host.records import Door
from cloudseed.host.tls import tls_context

log = logging.getLogger("cloudseed.host")
PIECE = 256 * 1024
_GREETING_S = 10.0
_CONNECT_S = 20.0
_LIMIT = 1 << 20
Handler = Callable[[str, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Greeting(msgspec.Struct, forbid_unknown_fields=True):
    """The first line of a connection."""

    ticket: str
    stream: str


class Doors:
    """This host's doors, by server; they listen on one port of the underlay address."""

    def __init__(self, tls: Path, address: str) -> None:
        self._tls = tls
        self._address = address
        self._listener: asyncio.Server | None = None
        self._open: dict[str, tuple[str, Handler]] = {}
        self._connections: dict[asyncio.Task[None], str] = {}

    async def open(self, server_id: str, handler: Handler) -> Door:
        """Expect the machine of this server; `handler(stream, reader, writer)` gets each connection for it."""
        if not self._address:
            raise HostError("failed", "this host has no address among others (underlay_address is not set)")
        if self._listener is None:
            context = tls_context(self._tls, server=True)
            try:
                self._listener = await asyncio.start_server(self._accept, self._address, 0, ssl=context, limit=_LIMIT)
            except OSError as exc:
                raise HostError("failed", f"nothing can listen on {self._address}: {exc}") from exc
        ticket = secrets.token_hex(32)
        await self.close(server_id)
        self._open[server_id] = ticket, handler
        return Door(address=self._address, port=self._listener.sockets[0].getsockname()[1], ticket=ticket)

    async def close(self, server_id: str) -> None:
        """Expect it no more, and end the connections for it."""
        self._open.pop(server_id, None)
        await self._end([task for task, of in self._connections.items() if of == server_id])

    async def close_all(self) -> None:
        if self._listener is not None:
            self._listener.close()
        self._open.clear()
        await self._end(list(self._connections))

    @staticmethod
    async def _end(tasks: list[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections[task] = ""
        try:
            async with asyncio.timeout(_GREETING_S):
                greeting = msgspec.json.decode(await reader.readuntil(b"\n"), type=Greeting)
            for server_id, (ticket, handler) in list(self._open.items()):
                if hmac.compare_digest(ticket.encode(), greeting.ticket.encode()):
                    self._connections[task] = server_id
                    await handler(greeting.stream, reader, writer)
                    return
            log.warning("a host came with a ticket for nothing that is expected here")
        except (TimeoutError, OSError, EOFError, ValueError, asyncio.LimitOverrunError, msgspec.MsgspecError) as exc:
            log.info("a connection of another host ended: %s", exc)
        except HostError as exc:
            log.warning("what another host sent was not taken: %s", exc.message)
            with contextlib.suppress(OSError):
                writer.write(b"refused: " + exc.message.replace("\n", " ").encode()[:400] + b"\n")
                await writer.drain()
        finally:
            self._connections.pop(task, None)
            writer.close()


@contextlib.asynccontextmanager
async def way(tls: Path, door: Door, stream: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection through another host's door.  HostError `unavailable` when it is not there."""
    context = tls_context(tls, server=False)
    try:
        async with asyncio.timeout(_CONNECT_S):
            reader, writer = await asyncio.open_connection(
                door.address, door.port, ssl=context, server_hostname=door.address, limit=_LIMIT)
    except (TimeoutError, OSError, ssl.SSLError) as exc:
        raise HostError("failed", f"host {door.address} cannot be reached: {exc or 'it does not answer'}") from exc
    try:
        writer.write(msgspec.json.encode(Greeting(door.ticket, stream)) + b"\n")
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(5.0):
                await writer.wait_closed()


async def answer(reader: asyncio.StreamReader) -> str:
    """The other host's one line; HostError when it refuses or says nothing."""
    line = (await reader.readline()).decode(errors="replace").strip()
    if line.startswith("refused: "):
        raise HostError("failed", f"the other host says: {line.removeprefix('refused: ')[:400]}")
    if not line:
        raise HostError("failed", "the other host ended the connection")
    return line


async def splice(one: tuple[asyncio.StreamReader, asyncio.StreamWriter],
                 other: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
    """Let two connections flow into one another until either ends; what came until then has arrived."""
    flows = [asyncio.create_task(_flow(one[0], other[1])), asyncio.create_task(_flow(other[0], one[1]))]
    try:
        await asyncio.wait(flows, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for flow in flows:
            flow.cancel()
        await asyncio.gather(*flows, return_exceptions=True)


async def _flow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(PIECE):
        writer.write(piece)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
