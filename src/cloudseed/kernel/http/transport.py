"""The way of a service's call: straight into a co-hosted app, or over a socket.  Same headers either way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from urllib.parse import quote

from cloudseed.kernel.context import Context, Trace, new_request_id
from cloudseed.kernel.http import hop
from cloudseed.kernel.http.edge import Edge
from cloudseed.kernel.http.request import RequestState

if TYPE_CHECKING:
    import aiohttp

Body = bytes | AsyncIterator[bytes]


class RawResponse(Protocol):
    """An answer whose head has come; the body is read once, whole or in chunks."""

    status: int
    headers: dict[str, str]

    async def read(self) -> bytes: ...
    def chunks(self) -> AsyncIterator[bytes]: ...
    async def close(self) -> None: ...


class Call(NamedTuple):
    """One call of a service: by which part, for which exchange, where to; `stream`: the answer comes in chunks."""

    part: str
    trace: Trace
    base: str
    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: Body | None
    stream: bool


class NotConnected(OSError):
    """No connection could be made: nothing of the request was sent."""


class Transport(Protocol):
    async def send(self, call: Call) -> RawResponse: ...


class _Whole:
    """An answer held in memory."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self._parts: list[bytes] = []

    async def read(self) -> bytes:
        return b"".join(self._parts)

    async def chunks(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            yield part

    async def close(self) -> None:
        self._parts.clear()

    async def send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = _headers(message)
        elif message.get("body"):
            self._parts.append(message["body"])


class _Streamed:
    """An answer from an app that runs beside its reader; at most a few chunks wait in between."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.started = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(4)

    async def send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = _headers(message)
            self.started.set()
            return
        if message.get("body"):
            await self._queue.put(message["body"])
        if not message.get("more_body", False):
            await self._queue.put(None)

    async def read(self) -> bytes:
        return b"".join([chunk async for chunk in self.chunks()])

    async def chunks(self) -> AsyncIterator[bytes]:
        assert self.task is not None
        while True:
            getter = asyncio.ensure_future(self._queue.get())
            await asyncio.wait({getter, self.task}, return_when=asyncio.FIRST_COMPLETED)
            if not getter.done():
                if self._queue.empty():  # the app ended without a last chunk: it failed midway
                    getter.cancel()
                    self.task.result()
                    raise OSError("the answer was cut short")
                await asyncio.wait({getter})
            chunk = getter.result()
            if chunk is None:
                return
            yield chunk

    async def close(self) -> None:
        if self.task is not None and not self.task.done():
            self.task.cancel()
            await asyncio.wait({self.task})


def _headers(message: dict[str, Any]) -> dict[str, str]:
    return {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in message.get("headers", ())}


class LocalTransport:
    """Calls services of this process through the edge, others through `remote`."""

    def __init__(self, edge: Edge, remote: HttpTransport) -> None:
        self._edge = edge
        self._remote = remote

    async def send(self, call: Call) -> RawResponse:
        prefix = "/" + call.base.split("://", 1)[1].partition("/")[2]
        mount = self._edge.find(prefix.rstrip("/") or "/") if call.base.startswith(self._edge.public_url) else None
        if mount is None:
            return await self._remote.send(call)
        body = call.body
        raw_headers = [(k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in call.headers.items()]
        raw_headers.append((b"host", b"localhost"))
        if isinstance(body, bytes):
            raw_headers.append((b"content-length", str(len(body)).encode()))
        elif body is not None and not any(k == b"content-length" for k, _ in raw_headers):
            raw_headers.append((b"transfer-encoding", b"chunked"))  # as it would be over a socket
        full = prefix.rstrip("/") + call.path
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": call.method,
            "scheme": "http",
            "path": full,
            "raw_path": quote(full).encode(),
            "query_string": call.query.encode(),
            "root_path": "",
            "headers": raw_headers,
            "client": None,
            "server": None,
        }
        context = Context(
            request_id=new_request_id(), global_request_id=call.headers.get("X-OpenStack-Request-ID"), trace=call.trace
        )
        state = RequestState(context, call.part, f"{self._edge.public_url}{mount.prefix}")
        receive = _receiver(body)
        if not call.stream:
            whole = _Whole()
            await self._edge.serve(mount, scope, receive, whole.send, state)
            if not whole.status:  # the body broke before its first byte: an app does not answer that
                raise OSError("the service gave no answer")
            return whole
        streamed = _Streamed()
        streamed.task = asyncio.create_task(self._edge.serve(mount, scope, receive, streamed.send, state))
        started = asyncio.ensure_future(streamed.started.wait())
        await asyncio.wait({started, streamed.task}, return_when=asyncio.FIRST_COMPLETED)
        if not streamed.started.is_set():
            started.cancel()
            streamed.task.result()
            raise OSError("the service gave no answer")
        return streamed


def _receiver(body: Body | None) -> Any:
    if body is None or isinstance(body, bytes):
        waiting = [{"type": "http.request", "body": body or b"", "more_body": False}]

        async def receive_whole() -> dict[str, Any]:
            return waiting.pop() if waiting else {"type": "http.disconnect"}

        return receive_whole
    iterator = aiter(body)
    done = False

    async def receive_chunk() -> dict[str, Any]:
        nonlocal done
        if done:
            return {"type": "http.disconnect"}
        try:
            return {"type": "http.request", "body": await anext(iterator), "more_body": True}
        except StopAsyncIteration:
            done = True
            return {"type": "http.request", "body": b"", "more_body": False}
        except BaseException:
            done = True  # the source broke: the service must see a cut, not an end
            return {"type": "http.disconnect"}

    return receive_chunk


class _Remote:
    """An answer over a socket."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers = {k.lower(): v for k, v in response.headers.items()}

    async def read(self) -> bytes:
        try:
            return await self._response.read()
        finally:
            self._response.release()

    async def chunks(self) -> AsyncIterator[bytes]:
        async for chunk in self._response.content.iter_chunked(262_144):
            yield chunk

    async def close(self) -> None:
        self._response.close()


class HttpTransport:
    """Calls over HTTP, connections kept open and shared.

    aiohttp is loaded by the first call: where all services share a process there is none, and loading it would be
    a tenth of the start.
    """

    def __init__(self, key: bytes = b"") -> None:
        """`key`: signs our calls as a part's (hop.py)."""
        self._key = key
        self._session: aiohttp.ClientSession | None = None

    async def send(self, call: Call) -> RawResponse:
        import aiohttp
        from yarl import URL

        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=None, connect=10, sock_connect=5), auto_decompress=False
            )
        headers = call.headers
        if self._key and (traceparent := headers.get("traceparent")):
            headers = {**headers, hop.HEADER: hop.sign(self._key, call.part, traceparent)}
        url = call.base.rstrip("/") + quote(call.path, safe="/:~%") + (f"?{call.query}" if call.query else "")
        try:
            response = await self._session.request(
                call.method, URL(url, encoded=True), headers=headers, data=call.body, allow_redirects=False
            )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as exc:
            raise NotConnected(str(exc)) from exc
        except aiohttp.ClientError as exc:
            raise OSError(str(exc)) from exc
        return _Remote(response)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
