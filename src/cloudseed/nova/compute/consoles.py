"""Where a machine's console is, as its host's driver says it; the way is a unix socket on that host."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Literal

import msgspec

from cloudseed.host import wire
from cloudseed.kernel.errors import Conflict, Invalid

ConsoleKind = Literal["novnc", "serial"]


class ConsoleTypeUnavailable(Invalid):
    template = "Unavailable console type %(console_type)s."


class ConsoleNotReady(Conflict):
    template = "Instance %(server_id)s is not ready: its machine does not run."


class ConsoleAddress(msgspec.Struct, frozen=True, kw_only=True):
    """A machine's console.  `pid`: the process that must be the one that listens there."""

    kind: ConsoleKind
    path: str
    pid: int


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

