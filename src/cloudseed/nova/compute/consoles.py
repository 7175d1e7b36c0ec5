"""Where a machine's console is, as its host's driver says it: a unix socket on that host, which others reach through
its gate (host/gate.py)."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Literal

import msgspec

from cloudseed.host import gate, wire
from cloudseed.host.errors import HostError
from cloudseed.host.records import Door
from cloudseed.kernel.errors import Conflict, Invalid

ConsoleKind = Literal["novnc", "serial"]
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
PIECE = 1 << 16  # bytes


class ConsoleTypeUnavailable(Invalid):
    template = "Unavailable console type %(console_type)s."


class ConsoleNotReady(Conflict):
    template = "Instance %(server_id)s is not ready: its machine does not run."


class ConsoleAddress(msgspec.Struct, frozen=True, kw_only=True):
    """A machine's console.  `pid`: the process that must be the one that listens there.  `door`: the way to it for
    the one who asked, if he is on another machine."""

    kind: ConsoleKind
    path: str
    pid: int
    server_id: str = ""
    door: Door | None = None


async def open_console(address: ConsoleAddress, tls: Path, own: str) -> Streams:
    """A connection to the console, through its host's gate if it is on another.  Raises as `connect`.

    `tls`: our certificate's directory, `own`: our address among the hosts.
    """
    if address.door is None:
        return await asyncio.open_unix_connection(sock=await connect(address), limit=PIECE)
    door = address.door
    try:
        wanted = gate.Wanted(gate.CONSOLE, address.server_id, door.ticket)
        return await gate.enter_streams(tls, own, door.address, door.port, wanted)
    except HostError as exc:
        raise ConsoleNotReady(f"The console cannot be reached: {exc.message}") from exc


async def connect(address: ConsoleAddress) -> socket.socket:
    """A connection to the console.  Raises ConsoleNotReady when nobody listens, or somebody else than the machine.

    The screen's socket lies in a directory that the machine's own QEMU may write to: a guest that broke out could
    put a link there, to sockets that trust us.  So nothing is sent before the kernel said who is at the other end.
    """
    try:
        async with asyncio.timeout(5):
            return await wire.connect(Path(address.path), pid=address.pid)
    except (OSError, TimeoutError) as exc:
        raise ConsoleNotReady(f"The console does not answer: {exc or 'no answer in 5 s'}") from exc

