"""Accounts: an account that nobody wrote to is empty, and comes to be with its first container."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import sqlalchemy as sa

from cloudseed.kernel.context import Identity
from cloudseed.kernel.db import Tx
from cloudseed.swift import access, metadata
from cloudseed.swift.errors import AccessDenied, BadRequest, NoSuchThing
from cloudseed.swift.listings import Query, Subdir, walk
from cloudseed.swift.models import accounts, containers, objects, trash
from cloudseed.swift.store import Swift, Target

META_QUOTA_BYTES, QUOTA_BYTES, QUOTA_COUNT = QUOTAS = (
    "x-account-meta-quota-bytes", "x-account-quota-bytes", "x-account-quota-count")


class Account(NamedTuple):
    """An account with its usage, counted."""

    name: str
    created_at: float
    metadata: dict[str, str]
    containers: int
    objects: int
    bytes: int


class ContainerEntry(NamedTuple):
    """A container in its account's listing."""

    name: str
    objects: int
    bytes: int
    changed_at: float


async def get_account(swift: Swift, identity: Identity, target: Target) -> tuple[Account, bool]:
    """The account, and whether the caller owns it."""
    owner = access.authorize(identity, target.account, "read")
    async with swift.db.read() as tx:
        row = await tx.first(sa.select(accounts).where(accounts.c.name == target.account))
        count = await tx.scalar(sa.select(sa.func.count()).where(containers.c.account == target.account))
        used = await usage(tx, target.account)
    created, meta = (row.created_at, row.metadata) if row else (time.time(), {})
    return Account(target.account, created, meta, count, used[0], used[1]), owner


async def usage(tx: Tx, account: str) -> tuple[int, int]:
    """Objects and bytes in an account."""
    row: Any = await tx.first(sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(objects.c.size), 0))
                         .join(containers, objects.c.container_id == containers.c.id)
                         .where(containers.c.account == account))
    return row[0], row[1]


async def list_containers(swift: Swift, target: Target, query: Query) -> list[ContainerEntry | Subdir]:
    """One page of an account's containers, with their usage.  The caller is authorized already."""
    async with swift.db.read() as tx:
        page = await walk(tx, "containers", "account", target.account, query)
        names = [entry for entry in page if isinstance(entry, str)]
        rows = await tx.all(
            sa.select(containers.c.name, sa.func.count(objects.c.id), sa.func.coalesce(sa.func.sum(objects.c.size), 0),
                      containers.c.changed_at)
            .outerjoin(objects, objects.c.container_id == containers.c.id)
            .where(containers.c.account == target.account, containers.c.name.in_(names))
            .group_by(containers.c.id)) if names else []
    known = {row[0]: ContainerEntry._make(row) for row in rows}
    return [known[entry] if isinstance(entry, str) else entry for entry in page]


async def ensure_account(tx: Tx, name: str) -> None:
    """Make the account's row unless it is there."""
    if await tx.scalar(sa.select(accounts.c.name).where(accounts.c.name == name)) is None:  # and nobody else writes now
        await tx.execute(sa.insert(accounts).values(name=name, created_at=time.time(), metadata={}))


async def update_account(swift: Swift, identity: Identity, target: Target, headers: Mapping[str, str]) -> None:
    """Merge metadata.  The account's quota is its provider's to set, not its owner's."""
    if not access.authorize(identity, target.account, "write"):
        raise AccessDenied()
    changes = metadata.collect(headers, "account")
    for name in (QUOTA_BYTES, QUOTA_COUNT):
        if (value := headers.get(name)) is not None:
            changes[name] = metadata.text(value)
        elif f"x-remove-{name[2:]}" in headers:
            changes[name] = ""
    for name in QUOTAS:
        value = changes.get(name)
        if value is not None and not access.is_reseller(identity):
            raise AccessDenied("Only a reseller administrator may set an account's quota.")
        if value and not (value.isascii() and value.isdigit() and len(value) < 19):
            raise BadRequest(f"Invalid quota: {name} must be a number.")
    async with swift.db.write() as tx:
        await ensure_account(tx, target.account)
        old = await tx.scalar(sa.select(accounts.c.metadata).where(accounts.c.name == target.account))
        await tx.execute(sa.update(accounts).where(accounts.c.name == target.account)
                         .values(metadata=metadata.merge(old, changes, "account")))


async def delete_account(swift: Swift, identity: Identity, target: Target) -> None:
    """Remove an account with all that is in it; for resellers alone, as upstream."""
    if not access.is_reseller(identity):
        raise AccessDenied()
    async with swift.db.write() as tx:
        inside = sa.select(containers.c.id).where(containers.c.account == target.account)
        await discard(tx, objects.c.container_id.in_(inside))
        await tx.execute(sa.delete(containers).where(containers.c.account == target.account))
        gone = await tx.execute(sa.delete(accounts).where(accounts.c.name == target.account))
        if gone.rowcount == 0:
            raise NoSuchThing()
    swift.hint_cleanup()


async def discard(tx: Tx, condition: Any) -> int:
    """Delete object rows and put their files into the trash, in one transaction.  Returns how many rows."""
    now = sa.literal(time.time())
    await tx.execute(sa.insert(trash).from_select(
        ["file", "since"], sa.select(objects.c.file, now).where(condition, objects.c.file.is_not(None))))
    return (await tx.execute(sa.delete(objects).where(condition))).rowcount
