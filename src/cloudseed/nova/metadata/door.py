"""The unix socket to which the host process brings guests' connections, and the HTTP spoken on it.

First comes one line of JSON from the host process, which no guest can forge, then the guest's bytes.  A guest is
hostile until shown otherwise: heads, bodies, waiting and the number of requests and connections have limits, and what
is over a limit ends that connection only.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import h11
import msgspec

from cloudseed.host.wire import short_address
from cloudseed.nova.metadata.answer import Answer, Source, refusal
from cloudseed.nova.metadata.pace import Pace

log = logging.getLogger(__name__)

HEAD_BYTES = 16 * 1024
BODY_BYTES = 4 * 1024
REQUEST_S = 10.0  # for a whole request, and for a client to take its answer
IDLE_S = 15.0  # between requests
REQUESTS_PER_CONNECTION = 100
REQUESTS_PER_S, BURST = 20.0, 100  # of one guest; what is beyond waits
CONNECTIONS = 1024  # the host process allows a guest and a network fewer
_FROM_HOST_S = 5.0

Answering = Callable[[Source, str, str, bytes], Awaitable[Answer]]


class _Ended(Exception):
    """Nothing more is to be said on this connection."""


class Door:
    """Serves `answer` on the socket `path`, which only this process's user and root may open."""

    def __init__(self, path: Path, answer: Answering) -> None:
        self._path = path
        self._answer = answer
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self._pace = Pace(REQUESTS_PER_S, BURST)

    async def start(self) -> None:
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            with short_address(self._path) as address:
                listener.bind(address)
                os.chmod(address, 0o600)
            listener.listen(256)
            self._server = await asyncio.start_unix_server(self._serve, sock=listener)
        except BaseException:
            listener.close()
            raise

    async def stop(self) -> None:
        if self._server is None:
            return
        self._server.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        await self._server.wait_closed()
        self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._open) >= CONNECTIONS:
            writer.transport.abort()
            return
        self._open.add(task)
        try:
            with contextlib.suppress(OSError, TimeoutError, _Ended):
                async with asyncio.timeout(_FROM_HOST_S):
                    line = await reader.readuntil(b"\n")
                await _Conversation(msgspec.json.decode(line, type=Source), reader, writer, self._answer,
                                    self._pace).run()
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, msgspec.DecodeError) as exc:
            log.warning("a connection to the metadata socket did not begin as the host process's do: %s", exc)
        finally:
            self._open.discard(task)
            writer.transport.abort()


class _Conversation:
    """The requests of one connection, one after the other."""

    def __init__(self, source: Source, reader: asyncio.StreamReader, writer: asyncio.StreamWriter,
                 answer: Answering, pace: Pace) -> None:
        self._source = source
        self._reader = reader
        self._writer = writer
        self._answer = answer
        self._pace = pace
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)

    async def run(self) -> None:
        for _ in range(REQUESTS_PER_CONNECTION):
            try:
                request, body = await self._request()
            except h11.RemoteProtocolError as exc:
                await self._send(refusal(400), head_only=False, status=exc.error_status_hint)
                break
            await self._pace.wait(self._source)
            made = await self._answer(self._source, request.method.decode(), request.target.decode("latin-1"), body)
            await self._send(made, head_only=request.method == b"HEAD")
            if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                break
            self._http.start_next_cycle()
        self._writer.close()
        await self._writer.wait_closed()

    async def _request(self) -> tuple[h11.Request, bytes]:
        request: h11.Request | None = None
        body = b""
        waiting_s = IDLE_S if self._http.trailing_data[0] == b"" else REQUEST_S
        begun = asyncio.get_running_loop().time()
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                left = begun + (waiting_s if request is None else REQUEST_S) - asyncio.get_running_loop().time()
                async with asyncio.timeout(max(0.0, left)):
                    if self._http.they_are_waiting_for_100_continue:
                        await self._write(h11.InformationalResponse(status_code=100, headers=[]))
                    self._http.receive_data(await self._reader.read(HEAD_BYTES))
            elif isinstance(event, h11.Request):
                request, begun = event, asyncio.get_running_loop().time()
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > BODY_BYTES:
                    await self._send(refusal(400, "Request is too large."), head_only=False)
                    raise _Ended
            elif isinstance(event, h11.EndOfMessage) and request is not None:
                return request, body
            else:  # the guest has nothing more to ask
                raise _Ended

    async def _send(self, made: Answer, *, head_only: bool, status: int | None = None) -> None:
        charset = "" if made.content_type == "application/json" else "; charset=UTF-8"
        headers = [("Content-Type", f"{made.content_type}{charset}"), ("Content-Length", str(len(made.body)))]
        if self._http.their_state is not h11.DONE:
            headers.append(("Connection", "close"))
        await self._write(h11.Response(status_code=status or made.status, headers=headers))
        if not head_only:
            await self._write(h11.Data(data=made.body))
        await self._write(h11.EndOfMessage())

    async def _write(self, event: h11.Event) -> None:
        data = self._http.send(event)
        if data:
            self._writer.write(data)
            async with asyncio.timeout(REQUEST_S):
                await self._writer.drain()
