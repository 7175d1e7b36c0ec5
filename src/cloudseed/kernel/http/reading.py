"""How requests are read from their sockets: large bodies in large pieces, copied once; hostile ones to an end.

The event loop hands a protocol 64 KiB at a time, and each piece costs a turn of the loop and a walk through every
layer: an image of a GiB took 16,384 of them.  A buffered protocol brings room of its own, so a busy sender's bytes
come as many at a time as there is room for.  The room is one for all connections, since bytes are parsed (and
copied) before the next are read: idle connections cost nothing.

uvicorn puts no limit to a request's head, nor to the time that a client takes for it, and whoever can connect can
send one.  Here a head (or a trailer, or a chunk's extension: whatever is no body) has `HEAD_BYTES` and `HEAD_S`, and
a client that stops in the middle of its body is given up after `SILENCE_S`, unless it is us who let it wait.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

ROOM = 1 << 20  # bytes; a connection holds that much unread at most, beside uvicorn's 64 KiB
HEAD_BYTES = 64 * 1024
HEAD_S = 30.0
SILENCE_S = 120.0

_room = memoryview(bytearray(ROOM))
_TOO_LARGE = b"The request's line and headers are too large."


class _TooLarge(Exception):
    """Ends the parser's work on a head."""


class _Http(HttpToolsProtocol):
    """uvicorn's protocol, which would copy each piece into a bytearray and out of it again."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._within_body = False
        self._progress = 0  # pieces of bodies, ends of heads and messages
        self._idle_bytes = 0  # since then
        self._too_large = False
        self._heard = 0.0
        self._timer: asyncio.TimerHandle | None = None

    # ---- limits

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast(asyncio.Transport, transport))
        self._watch(HEAD_S)

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        super().connection_lost(exc)

    def take(self, data: memoryview) -> None:
        """What has come."""
        before, self._heard = self._progress, self.loop.time()
        self.data_received(cast(bytes, data))  # the parser takes any buffer
        if not isinstance(self.transport.get_protocol(), BulkReader):
            return  # it is a websocket from now on
        self._idle_bytes = self._idle_bytes + len(data) if self._progress == before else 0
        if self._idle_bytes > HEAD_BYTES and not self.transport.is_closing():
            self._too_large = True
            self.send_400_response("")
        elif self._timer is None and not self.transport.is_closing():
            if self._within_body:
                self._watch(SILENCE_S)
            elif self._progress == before:
                self._watch(HEAD_S)

    def _watch(self, seconds: float) -> None:
        self._unwatch()
        self._timer = self.loop.call_later(seconds, self._late)

    def _unwatch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        self._timer = None
        if self._within_body:
            left = self._heard + SILENCE_S - self.loop.time()
            if left > 0 or self.flow.read_paused or self.cycle.waiting_for_100_continue:
                self._watch(max(left, 1.0))
                return
        self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        if not self._too_large:
            super().send_400_response(msg)
            return
        self._unwatch()
        self.transport.write(b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: text/plain\r\n"
                             b"content-length: %d\r\nconnection: close\r\n\r\n%s" % (len(_TOO_LARGE), _TOO_LARGE))
        self.transport.close()

    # ---- what the parser finds

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._within_body:  # else it is a trailer, which nobody here asks for
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._unwatch()
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > HEAD_BYTES:
            self._too_large = True
            raise _TooLarge
        self._progress += 1
        self._within_body = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._unwatch()
        self._progress += 1
        self._within_body = False
        super().on_message_complete()

    def on_body(self, body: bytes) -> None:
        self._progress += 1
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
        self._http.take(_room[:nbytes])

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
