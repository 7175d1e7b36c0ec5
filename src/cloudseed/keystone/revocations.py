"""What ends tokens before their time.

An event fits a token when every field that it names is the token's and the token was issued before it.  A
disabled user, project or domain, and an assignment that is gone, need no event: a token is held against the
present state of the database each time it is validated afresh.  Events are dropped once no token that they
could fit is still alive.
"""

from __future__ import annotations

import datetime
from typing import NamedTuple

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx, utcnow
from cloudseed.keystone.directory import Record
from cloudseed.keystone.models import revocations
from cloudseed.keystone.state import Keystone

# a service may still accept an expired token for this long (`allow_expired`), keystone's allow_expired_window
EXPIRED_WINDOW_S = 172_800


class _Events(NamedTuple):
    """All events, found by their most specific field."""

    by_audit_id: dict[str, float]
    by_chain: dict[str, float]
    by_user: dict[str, list[Record]]
    others: list[Record]


async def _events(ks: Keystone) -> _Events:
    async def load() -> _Events:
        async with ks.db.read() as tx:
            rows = await tx.all(sa.select(revocations))
        events = _Events({}, {}, {}, [])
        for row in rows:
            at = row.issued_before.timestamp()
            if row.audit_id:
                events.by_audit_id[row.audit_id] = at
            elif row.audit_chain_id:
                events.by_chain[row.audit_chain_id] = at
            elif row.user_id:
                events.by_user.setdefault(row.user_id, []).append(row)
            else:
                events.others.append(row)
        return events
    return await ks.memory.recall(("revocations",), load)


async def is_revoked(ks: Keystone, *, audit_ids: tuple[str, ...], user_id: str, project_id: str | None,
                     domain_id: str | None, trust_id: str | None, role_ids: set[str], issued_at: float) -> bool:
    events = await _events(ks)
    if audit_ids[0] in events.by_audit_id or audit_ids[-1] in events.by_chain:
        return True
    for event in (*events.by_user.get(user_id, ()), *events.others):
        if (event.issued_before.timestamp() >= issued_at
                and (event.project_id is None or event.project_id == project_id)
                and (event.domain_id is None or event.domain_id == domain_id)
                and (event.trust_id is None or event.trust_id == trust_id)
                and (event.role_id is None or event.role_id in role_ids)):
            return True
    return False


async def revoke(tx: Tx, **fields: str) -> None:
    """Write an event, within the change that causes it.  `fields`: audit_id, audit_chain_id, user_id,
    project_id, domain_id, role_id, trust_id."""
    now = utcnow()
    await tx.execute(sa.insert(revocations).values(issued_before=now, revoked_at=now, **fields))


async def revoke_token(ks: Keystone, ctx: Context, audit_id: str) -> None:
    """End one token, not those that were got with it (keystone's default).  DELETE /v3/auth/tokens"""
    async with ks.changing(ctx) as tx:
        await revoke(tx, audit_id=audit_id)


async def revoke_all_of_user(ks: Keystone, ctx: Context, user_id: str) -> None:
    """End all tokens of a user.  DELETE /v3/users/{user_id}/tokens"""
    ks.enforce(ctx, "revoke_tokens_for_user", {"user_id": user_id})
    async with ks.changing(ctx) as tx:
        await revoke(tx, user_id=user_id)


async def drop_old(ks: Keystone) -> None:
    """Forget events that no living token can fit.  A loop's work."""
    limit = utcnow() - datetime.timedelta(seconds=ks.config.token_expiration_s + EXPIRED_WINDOW_S)
    async with ks.db.read() as tx:
        if not await tx.scalar(sa.select(sa.func.count()).where(revocations.c.revoked_at < limit)):
            return
    async with ks.changing(Context(), forget=False) as tx:
        await tx.execute(sa.delete(revocations).where(revocations.c.revoked_at < limit))


async def list_events(ks: Keystone, ctx: Context, since: datetime.datetime | None) -> list[Record]:
    """GET /v3/OS-REVOKE/events"""
    ks.enforce(ctx, "list_revoke_events")
    statement = sa.select(revocations).order_by(revocations.c.id)
    if since is not None:
        statement = statement.where(revocations.c.revoked_at >= since)
    async with ks.db.read() as tx:
        return list(await tx.all(statement))
