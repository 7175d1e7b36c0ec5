"""This host's gate: the one port on which other hosts of the cloud come to it, for volumes and for consoles.

    a process here ── GatePath ══ TLS on the underlay ══ Gate ── a process of the other host

Both sides show a certificate of the cloud's authority (authority.py).  The first line that comes is JSON and names
what is wanted and the ticket for it, which only those know whom the control plane told it.  Whoever has a ticket
comes from the one address that it was made for: his certificate must name the address that he comes from.  From then
on bytes flow, as fast as the slower side takes them; neither QEMU nor a storage daemon sees the network or a key.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import msgspec

from cloudseed.host.errors import HostError
from cloudseed.host.tls import tls_context

log = logging.getLogger("cloudseed.host")
VOLUME, CONSOLE = "volume", "console"  # kinds of things that hosts want of one another
PORT = 10809  # IANA's for NBD; on the underlay address alone
_GREETING_BYTES, _GREETING_S, _CONNECT_S = 1024, 10.0, 10.0
_MAX_COMERS = 512  # at once


class Wanted(msgspec.Struct, forbid_unknown_fields=True):
    """The first line of a connection: `kind` of thing, its id, and the ticket for it."""

    kind: str
    id: str
    ticket: str


# what is wanted, and by whom (his address) -> where it flows; HostError or OSError refuse
Opener = Callable[[Wanted, str], Awaitable["Leg"]]


class Leg(asyncio.Protocol):
    """One end of a way: what arrives here leaves at the other end.  `on_end` is called once, when it is over."""

    def __init__(self, on_end: Callable[[], None] | None = None) -> None:
        self.transport: asyncio.Transport | None = None
        self._other: Leg | None = None
        self._early = bytearray()
        self._on_end = on_end

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def join(self, other: Leg) -> None:
        """Let both flow into one another."""
        for one, its in ((self, other), (other, self)):
            one._other = its
        for one in (self, other):
            one._forward()

    def _forward(self) -> None:
        assert self._other is not None
        if self._early:
            self.data_received(bytes(self._early))
            self._early.clear()
        if self.transport is None or self.transport.is_closing():
            self._other.end()
        else:
            self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        if self._other is None:
            self._early += data
            if self.transport is not None:
                self.transport.pause_reading()
        elif self._other.transport is not None:
            self._other.transport.write(data)

    def pause_writing(self) -> None:
        if self._other is not None and self._other.transport is not None:
            self._other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self._other is not None and self._other.transport is not None and not self._other.transport.is_closing():
            self._other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._other is not None:
            self._other.end()
        if self._on_end is not None:
            on_end, self._on_end = self._on_end, None
            on_end()

    def end(self) -> None:
        """What was written is sent, then the connection ends; for `kill`, at once."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.close()

    def kill(self) -> None:
        """End it at once, and the other end with it."""
        for leg in (self, self._other):
            if leg is not None and leg.transport is not None:
                leg.transport.abort()


class _Comer(Leg):
    """A connection of another host, until its first line has been read and after."""

    def __init__(self, gate: Gate) -> None:
        super().__init__(self._gone)
        self._gate = gate
        self._line: bytearray | None = bytearray()
        self._patience: asyncio.TimerHandle | None = None
        self.task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._patience = asyncio.get_running_loop().call_later(_GREETING_S, transport.close)
        self._gate.comers.add(self)
        if len(self._gate.comers) > _MAX_COMERS:
            cast(asyncio.Transport, transport).abort()

    def data_received(self, data: bytes) -> None:
        if self._line is None:
            super().data_received(data)
            return
        self._line += data
        line, newline, rest = self._line.partition(b"\n")
        if not newline and len(self._line) <= _GREETING_BYTES:
            return
        self._line = None
        assert self.transport is not None
        assert self._patience is not None
        self._patience.cancel()
        if not newline or len(line) > _GREETING_BYTES:
            self.transport.abort()
            return
        if rest:
            super().data_received(bytes(rest))
        self.task = asyncio.get_running_loop().create_task(self._gate.admit(self, bytes(line)))

    def _gone(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
        if self.task is not None:
            self.task.cancel()
        self._gate.comers.discard(self)


class Gate:
    """Listens on the underlay address, once something may be wanted here."""

    def __init__(self, tls: Path, address: str) -> None:
        self._tls = tls
        self.address = address
        self._openers: dict[str, Opener] = {}
        self._listener: asyncio.Server | None = None
        self.comers: set[_Comer] = set()

    def offer(self, kind: str, opener: Opener) -> None:
        """What to do for those who want something of this kind."""
        self._openers[kind] = opener

    async def open(self) -> None:
        """Listen; HostError when that cannot be.  Listening already is fine."""
        if self._listener is not None:
            return
        if not self.address:
            raise HostError("failed", "this host has no address among others (underlay_address is not set)")
        context = tls_context(self._tls, server=True)
        try:
            self._listener = await asyncio.get_running_loop().create_server(
                lambda: _Comer(self), self.address, PORT, ssl=context, ssl_handshake_timeout=_GREETING_S, backlog=64)
        except OSError as exc:
            raise HostError("failed", f"nothing can listen on {self.address} port {PORT}: {exc}") from exc

    async def close(self) -> None:
        """Listen no more, and end every connection."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        tasks = [comer.task for comer in self.comers if comer.task is not None]
        for comer in list(self.comers):
            comer.kill()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def admit(self, comer: _Comer, line: bytes) -> None:
        """Give a comer what he wants, or end his connection."""
        assert comer.transport is not None
        peer = str(comer.transport.get_extra_info("peername")[0])
        try:
            wanted = msgspec.json.decode(line, type=Wanted)
            if peer not in _addresses(comer.transport.get_extra_info("peercert")):
                raise HostError("conflict", "its certificate is of another address")
            opener = self._openers.get(wanted.kind)
            if opener is None:
                raise HostError("not_found", f"nothing here is of kind {wanted.kind[:20]!r}")
            comer.join(await opener(wanted, peer))
        except (HostError, OSError, msgspec.MsgspecError) as exc:
            log.warning("host %s was not let in: %s", peer, exc)
            comer.kill()


def _addresses(certificate: dict[str, Any] | None) -> set[str]:
    names = (certificate or {}).get("subjectAltName", ())
    return {str(value) for kind, value in names if kind == "IP Address"}


async def enter(tls: Path, own: str, address: str, port: int, wanted: Wanted, leg: Leg) -> None:
    """Connect `leg` from our `own` address through another host's gate.  HostError `unavailable` when that host is not
    there.

    Whether one is let in shows only by what comes then: something, or the end.
    """
    context = tls_context(tls, server=False)
    try:
        async with asyncio.timeout(_CONNECT_S):
            await asyncio.get_running_loop().create_connection(
                lambda: leg, address, port, ssl=context, server_hostname=address, local_addr=(own, 0))
    except (TimeoutError, OSError, ssl.SSLError) as exc:
        raise HostError("unavailable", f"host {address} cannot be reached: {exc or 'it does not answer'}") from exc
    assert leg.transport is not None
    leg.transport.write(msgspec.json.encode(wanted) + b"\n")


async def enter_streams(
    tls: Path, own: str, address: str, port: int, wanted: Wanted
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """As `enter`, for those who speak themselves."""
    context = tls_context(tls, server=False)
    try:
        async with asyncio.timeout(_CONNECT_S):
            reader, writer = await asyncio.open_connection(
                address, port, ssl=context, server_hostname=address, local_addr=(own, 0))
    except (TimeoutError, OSError, ssl.SSLError) as exc:
        raise HostError("unavailable", f"host {address} cannot be reached: {exc or 'it does not answer'}") from exc
    writer.write(msgspec.json.encode(wanted) + b"\n")
    return reader, writer


async def local(sock: Any, leg: Leg) -> Leg:
    """A leg on a connected unix socket, which is closed when it cannot be."""
    try:
        await asyncio.get_running_loop().create_unix_connection(lambda: leg, sock=sock)
    except BaseException:
        with contextlib.suppress(OSError):
            sock.close()
        raise
    return leg
