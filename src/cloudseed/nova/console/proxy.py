"""Lets a websocket to a console: `/console/websockify?token=...`, subprotocol `binary`.

In this order, and before a byte is carried: the page that asks must be this cloud's own (Origin); the token must
live; the server's host says where the console is now; whoever listens there must be the machine itself.  A refused
websocket gets an empty 403, as upstream's proxy gives; the page asks `check` for the reason.

Several may look at a screen, each with a token of its own.  A serial line has one viewer: a new one takes over, and
the former is told.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import sqlalchemy as sa

from cloudseed.host.paths import StatePaths
from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import CloudseedError, Conflict, Forbidden, Unavailable
from cloudseed.kernel.http.edge import Receive, Scope, Send
from cloudseed.nova import console_tokens, consoles
from cloudseed.nova.compute.consoles import ConsoleAddress, open_console
from cloudseed.nova.console.relay import relay

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

log = logging.getLogger(__name__)
MAX_VIEWERS = 200  # in all
MAX_SCREENS = 8  # of one server
_TAKEN_OVER, _ENDED = 4001, 4002  # close codes for our own pages


class WrongOrigin(Forbidden):
    template = "A page of %(origin)s asks for this console, and only pages of this cloud may."


class TooManyViewers(Conflict):
    template = "%(count)s consoles are open already: close one of them."


class TokenInUse(Conflict):
    template = "This URL has its console open already: close that page, or ask for a new URL."


@dataclass(eq=False)
class _Session:
    """One viewer."""

    token_digest: str
    server_id: str
    kind: str
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class ConsoleProxy:
    """The ASGI app for websockets below the consoles' prefix."""

    def __init__(self, nova: Nova) -> None:
        self._nova = nova
        self._sessions: set[_Session] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        ctx: Context = scope["cloudseed"].context
        session = None
        try:
            if scope["path"] != "/websockify":
                raise Forbidden("There is no console here.")
            check_origin(scope, self._nova.env.edge.public_url)
            row = await console_tokens.redeem(self._nova, _token(scope))
            session = await self._enter(row)
            config = self._nova.config
            found = await consoles.find_console(self._nova, ctx, row.server_id, row.host, row.kind,
                                                config.underlay_address)
            machine = await open_console(msgspec.convert(found, ConsoleAddress), StatePaths(config.state_path).tls,
                                         config.underlay_address)
        except CloudseedError as exc:
            log.info("%s a console was refused: %s", ctx.request_id, exc.message)
            self._leave(session)
            await send({"type": "websocket.close", "code": 1008})
            return
        except BaseException:
            self._leave(session)
            raise
        try:
            offered = scope.get("subprotocols") or []
            await send({"type": "websocket.accept", "subprotocol": "binary" if "binary" in offered else None})
            log.info("%s the %s console of server %s is open", ctx.request_id, row.kind, row.server_id)
            who = await relay(receive, send, machine, session.stop)
            if who != "viewer":
                code, why = {"stop": (_TAKEN_OVER, "Another viewer has taken the console over."),
                             "machine": (_ENDED, "The machine has ended.")}[who]
                await send({"type": "websocket.close", "code": code, "reason": why})
        except OSError:
            pass  # the viewer left meanwhile
        finally:
            machine[1].transport.abort()
            self._leave(session)

    async def _enter(self, row: sa.Row[Any]) -> _Session:
        """A place among the viewers; a serial line's former viewer has left when this returns."""
        if any(other.token_digest == row.token_digest for other in self._sessions):
            raise TokenInUse()
        mine = [other for other in self._sessions if (other.server_id, other.kind) == (row.server_id, row.kind)]
        if len(self._sessions) >= MAX_VIEWERS or (row.kind != "serial" and len(mine) >= MAX_SCREENS):
            raise TooManyViewers(count=len(self._sessions if len(self._sessions) >= MAX_VIEWERS else mine))
        session = _Session(row.token_digest, row.server_id, row.kind)
        self._sessions.add(session)
        if row.kind == "serial":
            for other in mine:
                other.stop.set()
            try:
                async with asyncio.timeout(5):
                    for other in mine:
                        await other.ended.wait()
            except TimeoutError:
                self._leave(session)
                raise Unavailable("The former viewer of this console does not leave; try again.") from None
            except BaseException:
                self._leave(session)
                raise
        return session

    def _leave(self, session: _Session | None) -> None:
        if session is not None:
            self._sessions.discard(session)
            session.ended.set()

    @property
    def viewers(self) -> int:
        """How many look at consoles now."""
        return len(self._sessions)


def check_origin(scope: Scope, public_url: str) -> None:
    """Raise WrongOrigin unless the page that asks came from the very address that it asks, or from our own URL.

    No Origin at all: no browser, so no foreign page can be behind it.
    """
    headers = dict(scope["headers"])
    origin = headers.get(b"origin", b"").decode("latin-1")
    if not origin or origin == public_url:
        return
    parts = urlsplit(origin)
    if parts.scheme not in ("http", "https") or parts.netloc != headers.get(b"host", b"").decode("latin-1"):
        raise WrongOrigin(origin=origin[:100])


def _token(scope: Scope) -> str:
    query = parse_qs(scope["query_string"].decode("latin-1"))  # its length is limited by the HTTP server
    return str(query.get("token", [""])[-1])
