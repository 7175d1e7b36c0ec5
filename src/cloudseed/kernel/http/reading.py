"""How requests are read from their sockets: large bodies in large pieces, copied once.

The event loop hands a protocol 64 KiB at a time, and each piece costs a turn of the loop and a walk through every
layer: an image of a GiB took 16,384 of them.  A buffered protocol brings room of its own, so a busy sender's bytes
come as many at a time as there is room for.  The room is one for all connections, since bytes are parsed (and
copied) before the next are read: idle connections cost nothing.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

ROOM = 1 << 20  # bytes; a connection holds that much unread at most, beside uvicorn's 64 KiB

_room = memoryview(bytearray(ROOM))


class _Http(HttpToolsProtocol):
    """uvicorn's protocol, which would copy each piece into a bytearray and out of it again."""

    def on_body(self, body: bytes) -> None:
        cycle = cast(Any, self.cycle)  # its body is a bytearray by type, but all that is done with it suits bytes
        if not cycle.body:
            cycle.body, body = body, b""
        elif isinstance(cycle.body, bytes):
            cycle.body = bytearray(cycle.body)  # it grows: by thousands of tiny chunks perhaps
        super().on_body(body)


class BulkReader(asyncio.BufferedProtocol):
    """uvicorn's protocol behind a buffer of ours; made with the same arguments."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        # not a subclass of it: the loop takes what is an asyncio.Protocol for one without a buffer
        self._http = _Http(*arguments, **named)

    def get_buffer(self, sizehint: int) -> memoryview:
        return _room

    def buffer_updated(self, nbytes: int) -> None:
        self._http.data_received(cast(bytes, _room[:nbytes]))  # the parser takes any buffer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._http.connection_made(cast(asyncio.Transport, transport))

    def connection_lost(self, exc: Exception | None) -> None:
        self._http.connection_lost(exc)

    def eof_received(self) -> None:
        self._http.eof_received()

    def pause_writing(self) -> None:
        self._http.pause_writing()

    def resume_writing(self) -> None:
        self._http.resume_writing()
