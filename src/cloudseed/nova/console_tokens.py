"""Console tokens: what lets a browser to the screen or the serial line of one server, for a short while.

A token is a secret of 256 bits that only the URL holds; the database has its digest, so who reads the database
gains nothing.  It names one server and one kind of console.  It ends when its time is up, when the server is
deleted, and when an operation is ordered that ends or moves the machine (stop, shelve, ...): whoever wants to see
the next machine asks anew.
"""

from __future__ import annotations

import datetime
import hashlib
import secrets
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from cloudseed.kernel.db import Tx, utcnow
from cloudseed.nova.errors import ConsoleTokenNotFound, ServerNotReady
from cloudseed.nova.models import console_tokens, servers

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

MAX_PER_SERVER = 32  # the oldest ends when one more is asked for
# what is ordered that ends the machine, or moves it
_ENDS = frozenset({"powering-off", "deleting", "soft-deleting", "suspending", "shelving", "shelving_offloading",
                   "rebuilding", "resize_prep", "resize_reverting", "rescuing", "unrescuing", "migrating"})
_LIVE = (sa.select(console_tokens, servers.c.name, servers.c.host.label("server_host"), servers.c.vm_state,
                   servers.c.task_state)
         .join(servers, servers.c.id == console_tokens.c.server_id)
         .where(console_tokens.c.token_digest == sa.bindparam("digest"),
                console_tokens.c.expires_at > sa.bindparam("now"), servers.c.deleted_at.is_(None)))


def digest(token: str) -> str:
    """What the database knows of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


async def issue(nova: Nova, server_id: str, kind: str, host: str) -> str:
    """A new token for the `kind` of console ("novnc", "serial") of a server on `host`.

    Raises ServerNotReady when the server is not there any more, or about to lose its machine.
    """
    token, now = secrets.token_urlsafe(32), utcnow()
    async with nova.db.write() as tx:
        server = await tx.first(sa.select(servers.c.host, servers.c.task_state).where(
            servers.c.id == server_id, servers.c.deleted_at.is_(None)))
        if server is None or server.host != host or server.task_state in _ENDS:
            raise ServerNotReady(server_id=server_id)
        await tx.execute(sa.delete(console_tokens).where(console_tokens.c.expires_at <= now))
        mine = sa.select(console_tokens.c.token_digest).where(console_tokens.c.server_id == server_id).order_by(
            console_tokens.c.created_at.desc()).offset(MAX_PER_SERVER - 1)
        await tx.execute(sa.delete(console_tokens).where(
            console_tokens.c.token_digest.in_(await tx.scalars(mine))))
        await tx.execute(sa.insert(console_tokens).values(
            token_digest=digest(token), server_id=server_id, kind=kind, host=host, created_at=now,
            expires_at=now + datetime.timedelta(seconds=nova.config.console_token_ttl_s)))
    return token


async def redeem(nova: Nova, token: str) -> sa.Row[Any]:
    """The living token with its server's name, host and states.  Raises ConsoleTokenNotFound for all others."""
    async with nova.db.read() as tx:
        row = await tx.first(_LIVE, {"digest": digest(token), "now": utcnow()})
    if row is None or row.server_host != row.host:
        raise ConsoleTokenNotFound()
    return row


async def forget(tx: Tx, server_id: str, task_state: str | None) -> None:
    """End the server's tokens if what is ordered (`task_state`) ends its machine, or moves it."""
    if task_state in _ENDS:
        await tx.execute(sa.delete(console_tokens).where(console_tokens.c.server_id == server_id))
