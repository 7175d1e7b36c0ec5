"""The one door: every request, from a client outside or from a co-hosted service, enters here.

For each it drops the identity headers that nobody may send, makes the request's context (ids, trace), hands
it to the service that owns the prefix, waits for durability before the first byte of an answer, and records
the exchange.  Calls between co-hosted services come through `serve` without a socket.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from cloudseed.kernel.context import (
    Context,
    Trace,
    new_request_id,
    new_span_id,
    new_trace,
    parse_traceparent,
    trace_for_audit_id,
)
from cloudseed.kernel.db import Durability
from cloudseed.kernel.errors import Unavailable
from cloudseed.kernel.flow.recorder import Exchange, FlowRecorder
from cloudseed.kernel.http import hop, json
from cloudseed.kernel.http.linger import lingering
from cloudseed.kernel.http.request import RequestState

log = logging.getLogger(__name__)
Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# What keystonemiddleware sets for services behind it.  Here identity travels in the context, so any such
# header comes from a client and means nothing but an attempt.
_FORGED = re.compile(
    rb"^x-(roles?|user(-.*)?|project(-.*)?|tenant(-.*)?|domain(-.*)?|identity-status|is-admin-project"
    rb"|service-(roles|user.*|project.*|identity-status|catalog)|system-scope|openstack-system-scope)$"
)
_HOP = hop.HEADER.lower().encode()
_READS = ("GET", "HEAD", "OPTIONS")
_REQUEST_ID = re.compile(rb"^req-[0-9a-fA-F-]{1,64}$")


class Mount(NamedTuple):
    """A service's app under its prefix.  `name` is its part's name in flows, such as nova-api.

    `websocket`: the app that answers websockets there; without one they are refused.  It is called with the whole
    connection, which it accepts or closes; nobody has looked at any token before.  `visitor`: who asks from outside,
    in flows; a client's requests with one token are one flow, each request of a "browser" is its own.
    """

    prefix: str
    name: str
    app: App
    websocket: App | None = None
    visitor: str = "openstack"


class Edge:
    """The ASGI app of a process: dispatch by prefix.  `fallback` answers what no prefix owns."""

    def __init__(self, recorder: FlowRecorder, public_url: str, key: bytes = b"") -> None:
        """`key`: of our own parts in other processes (hop.py)."""
        self._key = key
        self._mounts: list[Mount] = []
        self._recorder = recorder
        self.public_url = public_url.rstrip("/")
        # client connection -> first exchange of a trace that waits for its token
        self._provisional: dict[Any, Exchange] = {}

    def mount(self, mount: Mount) -> None:
        self._mounts.append(mount)
        self._mounts.sort(key=lambda m: -len(m.prefix))

    def find(self, path: str) -> Mount | None:
        for mount in self._mounts:
            prefix = mount.prefix
            if path.startswith(prefix) and (len(path) == len(prefix) or path[len(prefix)] == "/"):
                return mount
        return None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A request from outside (through the HTTP server)."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await self._websocket(scope, receive, send)
            return
        path = scope["path"]
        mount = self.find(path)
        if mount is None:
            await _plain(
                send, 404, b"Nothing is served here. Services: " + " ".join(m.prefix for m in self._mounts).encode()
            )
            return
        headers = [(k, v) for k, v in scope["headers"] if not (k.startswith(b"x-") and _FORGED.match(k))]
        traceparent = host = global_id = signed = None
        for name, value in headers:
            if name == b"traceparent":
                traceparent = value.decode("latin-1")
            elif name == _HOP:
                signed = value.decode("latin-1")
            elif name == b"host":
                host = value.decode("latin-1")
            elif name == b"x-openstack-request-id" and _REQUEST_ID.match(value):
                global_id = value.decode()
            elif name == b"connection" and value.lower() == b"close" and scope["method"] not in _READS:
                receive, send = lingering(receive, send)
        given = parse_traceparent(traceparent)
        connection = scope.get("client")
        if given is not None:
            trace = given.child()
        else:
            held = self._provisional.get(connection) if mount.visitor == "openstack" else None
            trace = Trace(held.trace_id, new_span_id()) if held else new_trace()
        context = Context(request_id=new_request_id(), global_request_id=global_id, trace=trace)
        base = (
            f"{scope.get('scheme', 'http')}://{host}{mount.prefix}"
            if host and _sane_host(host)
            else f"{self.public_url}{mount.prefix}"
        )
        scope = {**scope, "headers": headers}
        part = hop.part_of(self._key, signed, traceparent) if given is not None and signed and traceparent else None
        if given is not None and part is not None:  # recorded where it was sent
            context = Context(request_id=context.request_id, global_request_id=global_id, trace=given)
            exchange = Exchange(0, given, part, mount.name, "http", scope["method"], path)
        else:
            exchange = self._recorder.begin(trace, mount.visitor, mount.name, "http", scope["method"], path)
        state = RequestState(context, part, base)

        leaving: asyncio.Future[dict[str, Any]] | None = None

        async def sending(message: dict[str, Any]) -> None:
            nonlocal leaving
            if message["type"] == "http.response.start":
                exchange.changed = state.wrote and scope["method"] not in _READS and not path.endswith("/auth/tokens")
                exchange.project_id = state.context.identity.project_id or ""
                self._recorder.end(exchange, message["status"])
                if given is None and mount.visitor == "openstack":
                    self._group(connection, exchange, state)
            elif message.get("more_body"):
                # the server swallows what is sent to a client that left: without a look, a stream would run to its end
                if leaving is None:
                    leaving = asyncio.ensure_future(receive())
                elif leaving.done() and leaving.result()["type"] == "http.disconnect":
                    raise _ClientLeft
            await send(message)

        try:
            await self.serve(mount, scope, receive, sending, state)
        except _ClientLeft:
            log.debug("%s %s: the client left before the end of its answer", context.request_id, path)
        finally:
            if leaving is not None:
                leaving.cancel()

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A websocket from outside; recorded as one exchange that is answered when it is accepted or refused."""
        mount = self.find(scope["path"])
        if mount is None or mount.websocket is None:
            await send({"type": "websocket.close", "code": 1000})
            return
        trace = new_trace()
        exchange = self._recorder.begin(trace, mount.visitor, mount.name, "http", "GET", scope["path"])
        state = RequestState(Context(trace=trace), None, f"{self.public_url}{mount.prefix}")

        async def sending(message: dict[str, Any]) -> None:
            if not exchange.status:
                self._recorder.end(exchange, 101 if message["type"] == "websocket.accept" else 403)
            await send(message)

        inner = {**scope, "path": scope["path"][len(mount.prefix) :] or "/", "root_path": "", "cloudseed": state}
        await mount.websocket(inner, receive, sending)

    def _group(self, connection: Any, exchange: Exchange, state: RequestState) -> None:
        """Join what this connection asked before it had a token with the flow of that token."""
        audit_id = state.authenticated_as or state.issued_audit_id
        if audit_id:
            first = self._provisional.pop(connection, exchange)
            if first.trace_id != exchange.trace_id:
                first = exchange
            self._recorder.adopt(first, trace_for_audit_id(audit_id))
        else:
            if len(self._provisional) > 10_000:
                self._provisional.clear()
            self._provisional.setdefault(connection, exchange)

    async def serve(self, mount: Mount, scope: Scope, receive: Receive, send: Send, state: RequestState) -> None:
        """One request in its service's app, answered only when what it wrote is durable."""
        inner = dict(scope)
        inner["path"] = scope["path"][len(mount.prefix) :] or "/"
        inner["root_path"] = ""
        inner["cloudseed"] = state
        body_ended = False

        async def receiving() -> dict[str, Any]:
            nonlocal body_ended
            message = await receive()
            if message["type"] == "http.request":
                body_ended = not message.get("more_body", False)
            elif not body_ended:
                state.truncated = True
            return message

        with Durability() as durability:
            answered = False

            async def sending(message: dict[str, Any]) -> None:
                nonlocal answered
                if message["type"] == "http.response.start":
                    try:
                        state.wrote = await durability.wait()
                    except Unavailable as exc:  # what was done may be lost: the answer that says so is ours
                        log.warning("%s: %s %s", state.context.request_id, exc.message, exc.detail)
                        answered = True
                        await _unavailable(send, exc, state.context.request_id)
                if not answered:
                    await send(message)

            await mount.app(inner, receiving, sending)


class _ClientLeft(Exception):
    """Nobody reads this answer any more."""


def _sane_host(host: str) -> bool:
    return len(host) < 256 and all(c.isalnum() or c in ".-:[]_" for c in host)


async def _unavailable(send: Send, error: Unavailable, request_id: str) -> None:
    said = {"code": error.status, "title": error.title, "message": error.message}
    body = json.encode({"error": said})
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()),
               (b"x-openstack-request-id", request_id.encode())]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _plain(send: Send, status: int, body: bytes) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())],
        }
    )
    await send({"type": "http.response.body", "body": body})
