"""Containers: metadata, ACLs, quotas, and the listing of what is in them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import sqlalchemy as sa

from cloudseed.kernel.context import Identity
from cloudseed.kernel.db import Tx
from cloudseed.swift import access, metadata
from cloudseed.swift.accounts import discard, ensure_account
from cloudseed.swift.errors import AccessDenied, BadRequest, NoSuchThing, ThereIsConflict
from cloudseed.swift.listings import Query, Subdir, walk
from cloudseed.swift.models import containers, objects
from cloudseed.swift.store import MAX_CONTAINER_NAME, Swift, Target

QUOTA_BYTES = "x-container-meta-quota-bytes"
VERSION_HEADERS = ("x-versions-location", "x-history-location")  # versions.py
QUOTA_COUNT = "x-container-meta-quota-count"


class Usage(NamedTuple):
    objects: int
    bytes: int


class ObjectEntry(NamedTuple):
    """An object in its container's listing."""

    name: str
    size: int
    etag: str
    content_type: str
    created_at: float
    large: bool


async def find_container(tx: Tx, target: Target) -> Any | None:
    """The container's row, or None."""
    return await tx.first(sa.select(containers).where(containers.c.account == target.account,
                                                      containers.c.name == target.container))


async def get_container(swift: Swift, identity: Identity, target: Target,
                        referer: str | None) -> tuple[Any, Usage, bool]:
    """The container's row, its usage, and whether the caller owns the account.  Raises NoSuchThing."""
    async with swift.db.read() as tx:
        row = await find_container(tx, target)
        owner = access.authorize(identity, target.account, "read", acl=row.read_acl if row else None, listing=True,
                                 referer=referer)
        if row is None:
            raise NoSuchThing()
        return row, await usage(tx, row.id), owner


async def usage(tx: Tx, container_id: int) -> Usage:
    row = await tx.first(sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(objects.c.size), 0))
                         .where(objects.c.container_id == container_id))
    assert row is not None
    return Usage._make(row)


async def list_objects(swift: Swift, container_id: int, query: Query) -> list[ObjectEntry | Subdir]:
    """One page of a container's objects.  The caller is authorized already."""
    columns = (objects.c.name, objects.c.size, objects.c.etag, objects.c.content_type, objects.c.created_at,
               objects.c.manifest.is_not(None))
    async with swift.db.read() as tx:
        page = await walk(tx, "objects", "container_id", container_id, query)
        names = [entry for entry in page if isinstance(entry, str)]
        rows = await tx.all(sa.select(*columns).where(objects.c.container_id == container_id,
                                                      objects.c.name.in_(names))) if names else []
    known = {row[0]: ObjectEntry._make(row) for row in rows}
    return [known[entry] if isinstance(entry, str) else entry for entry in page]


def _changes(headers: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Metadata and ACL columns that a request changes.  Raises BadRequest."""
    meta = metadata.collect(headers, "container")
    for name, what in ((QUOTA_BYTES, "bytes"), (QUOTA_COUNT, "count")):
        value = meta.get(name)
        if value and not (value.isascii() and value.isdigit() and len(value) < 19):
            raise BadRequest(f"Invalid {what} quota.")
    for name in VERSION_HEADERS:
        if (value := headers.get(name)) is not None:
            meta[name] = metadata.text(value).strip("/")
        elif f"x-remove-{name[2:]}" in headers:
            meta[name] = ""
    if meta.get(VERSION_HEADERS[0]) and meta.get(VERSION_HEADERS[1]):
        raise BadRequest("Only one of X-Versions-Location and X-History-Location may be given.")
    acls = {}
    for kind in ("read", "write"):
        if (value := headers.get(f"x-container-{kind}")) is not None:
            acls[f"{kind}_acl"] = access.clean_acl(f"x-container-{kind}", metadata.text(value))
        elif f"x-remove-container-{kind}" in headers:
            acls[f"{kind}_acl"] = ""
    return meta, acls


def check_name(name: str) -> None:
    size = len(name.encode())
    if size > MAX_CONTAINER_NAME:
        raise BadRequest(f"Container name length of {size} longer than {MAX_CONTAINER_NAME}")


async def put_container(swift: Swift, identity: Identity, target: Target, headers: Mapping[str, str]) -> bool:
    """Make the container, or merge metadata into it.  True when it is new."""
    if not access.authorize(identity, target.account, "write"):
        raise AccessDenied()
    check_name(target.container)
    meta, acls = _changes(headers)
    now = time.time()
    async with swift.db.write() as tx:
        row = await find_container(tx, target)
        if row is not None:
            await _merge(tx, row, meta, acls)
            return False
        await ensure_account(tx, target.account)
        await tx.execute(sa.insert(containers).values(
            account=target.account, name=target.container, created_at=now, changed_at=now,
            metadata=metadata.merge({}, meta, "container"), **{"read_acl": "", "write_acl": "", **acls}))
        return True


async def _merge(tx: Tx, row: Any, meta: dict[str, str], acls: dict[str, str]) -> None:
    if meta or acls:
        await tx.execute(sa.update(containers).where(containers.c.id == row.id).values(
            metadata=metadata.merge(row.metadata, meta, "container"), changed_at=time.time(), **acls))


async def update_container(swift: Swift, identity: Identity, target: Target, headers: Mapping[str, str]) -> None:
    """Merge metadata and ACLs.  Raises NoSuchThing."""
    if not access.authorize(identity, target.account, "write"):
        raise AccessDenied()
    meta, acls = _changes(headers)
    async with swift.db.write() as tx:
        row = await find_container(tx, target)
        if row is None:
            raise NoSuchThing()
        await _merge(tx, row, meta, acls)


async def delete_container(swift: Swift, identity: Identity, target: Target) -> None:
    """Remove an empty container.  Raises NoSuchThing, ThereIsConflict when objects are left."""
    if not access.authorize(identity, target.account, "write"):
        raise AccessDenied()
    async with swift.db.write() as tx:
        row = await find_container(tx, target)
        if row is None:
            raise NoSuchThing()
        await discard(tx, sa.and_(objects.c.container_id == row.id, objects.c.delete_at <= time.time()))
        left = await tx.scalar(sa.select(objects.c.id).where(objects.c.container_id == row.id).limit(1))
        if left is not None:
            raise ThereIsConflict()
        await tx.execute(sa.delete(containers).where(containers.c.id == row.id))
