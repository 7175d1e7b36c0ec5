"""Objects: stored whole or not at all, replaced by a row's change, read from immutable files."""

from __future__ import annotations

import contextlib
import mimetypes
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple

import sqlalchemy as sa

from cloudseed.kernel.context import Identity
from cloudseed.kernel.db import Tx
from cloudseed.kernel.errors import Invalid
from cloudseed.kernel.http.request import ClientGone
from cloudseed.swift import access, metadata, quotas, versions
from cloudseed.swift.accounts import discard
from cloudseed.swift.containers import find_container
from cloudseed.swift.errors import (
    BadRequest,
    ClientDisconnected,
    EtagMismatch,
    NoSuchThing,
    Precondition,
    TooLarge,
)
from cloudseed.swift.models import objects
from cloudseed.swift.store import MAX_FILE_SIZE, MAX_OBJECT_NAME, Swift, Target


class Stored(NamedTuple):
    """An object after a change."""

    etag: str
    created_at: float
    size: int


class Content(NamedTuple):
    """What an object's row says of its bytes: a file, or a manifest of segments."""

    size: int
    etag: str
    file: str | None
    manifest: list[dict[str, Any]] | None


class Properties(NamedTuple):
    """What a request's headers say of an object beside its bytes.  `content_type` None: not said."""

    metadata: dict[str, str]
    content_type: str | None
    delete_at: float | None


def check_name(name: str) -> None:
    size = len(name.encode())
    if size > MAX_OBJECT_NAME:
        raise BadRequest(f"Object name length of {size} longer than {MAX_OBJECT_NAME}")


def read_properties(headers: Mapping[str, str], now: float) -> Properties:
    """A PUT's or POST's headers.  Raises BadRequest."""
    meta = metadata.collect(headers, "object")  # an object's metadata is replaced whole: an empty value stays
    for name in metadata.KEPT:
        if headers.get(name):
            meta[name] = metadata.text(headers[name])
    content_type = headers.get("content-type") or None
    if content_type is not None:
        content_type = metadata.text(content_type)
        if len(content_type) > 1024:
            raise BadRequest("Content-Type is too long.")
    return Properties(meta, content_type, _delete_at(headers, now))


def _delete_at(headers: Mapping[str, str], now: float) -> float | None:
    for name in ("x-delete-after", "x-delete-at"):
        value = headers.get(name)
        if value is None:
            continue
        value = value.strip()
        if not value.lstrip("-").isdigit() or not value.isascii() or len(value) > 12:
            raise BadRequest(f"Non-integer {name.title()}")
        moment = int(value) + (int(now) if name == "x-delete-after" else 0)
        if moment <= now:
            raise BadRequest(f"{name.title()} in past")
        return float(moment)
    return None


def guess_type(name: str) -> str:
    return mimetypes.guess_type(name)[0] or "application/octet-stream"


def live(now: float) -> Any:
    """The condition that an object has not expired."""
    return sa.or_(objects.c.delete_at.is_(None), objects.c.delete_at > now)


async def find_object(tx: Tx, container_id: int, name: str) -> Any | None:
    return await tx.first(sa.select(objects).where(objects.c.container_id == container_id, objects.c.name == name,
                                                   live(time.time())))


async def get_object(swift: Swift, identity: Identity, target: Target, referer: str | None) -> Any:
    """The object's row, for reading.  Raises NoSuchThing."""
    async with swift.db.read() as tx:
        container = await find_container(tx, target)
        access.authorize(identity, target.account, "read", acl=container.read_acl if container else None,
                         referer=referer)
        row = await find_object(tx, container.id, target.name) if container else None
    if row is None:
        raise NoSuchThing()
    return row


async def writable_container(tx: Tx, identity: Identity, target: Target) -> Any:
    """The row of the container in which the caller may write.  Raises NoSuchThing."""
    container = await find_container(tx, target)
    access.authorize(identity, target.account, "write", acl=container.write_acl if container else None)
    if container is None:
        raise NoSuchThing()
    return container


async def prepare_put(swift: Swift, identity: Identity, target: Target, headers: Mapping[str, str],
                      size: int | None) -> Properties:
    """Everything that can refuse a PUT before its bytes are read.  `size`: announced, None when unknown."""
    check_name(target.name)
    properties = read_properties(headers, time.time())
    if size is not None and size > MAX_FILE_SIZE:
        raise TooLarge()
    unless = headers.get("if-none-match")
    if unless is not None and unless.strip() != "*":
        raise BadRequest("If-None-Match only supports * in a PUT.")
    async with swift.db.read() as tx:
        container = await writable_container(tx, identity, target)
        old = await find_object(tx, container.id, target.name)
        if unless is not None and old is not None:
            raise Precondition()
        await quotas.check(tx, container, size or 0, old.size if old else None)
    return properties


async def put_object(swift: Swift, identity: Identity, target: Target, headers: Mapping[str, str],
                     chunks: AsyncIterator[bytes], size: int | None) -> Stored:
    """Store the body as the object.  When this returns, bytes and row are there; when it raises, nothing is.

    Raises NoSuchThing (no container), EtagMismatch, TooLarge, ClientDisconnected, NoSpace.
    """
    properties = await prepare_put(swift, identity, target, headers, size)
    try:
        stored = await swift.files.receive(_limited(chunks))
    except ClientGone:
        raise ClientDisconnected() from None
    wanted = headers.get("etag", "").strip().strip('"').lower()
    if wanted and wanted != stored.md5:
        await swift.files.remove([stored.name])
        raise EtagMismatch()
    content = Content(stored.size, stored.md5, stored.name, None)
    return await commit(swift, identity, target, content, properties,
                        only_new=headers.get("if-none-match") is not None)


async def _limited(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    total = 0
    async for chunk in chunks:
        total += len(chunk)
        if total > MAX_FILE_SIZE:
            raise TooLarge()
        yield chunk


async def commit(swift: Swift, identity: Identity, target: Target, content: Content, properties: Properties, *,
                 only_new: bool = False) -> Stored:
    """Make `content` the object, replacing what was there; its file is removed again when that is refused."""
    now = round(time.time(), 5)
    try:
        async with swift.db.write() as tx:
            container = await writable_container(tx, identity, target)
            old = await find_object(tx, container.id, target.name)
            if only_new and old is not None:
                raise Precondition()
            await quotas.check(tx, container, content.size, old.size if old else None)
            if old is not None:
                await versions.keep(tx, container, old)
            replaced = await discard(tx, sa.and_(objects.c.container_id == container.id,
                                                 objects.c.name == target.name))
            await tx.execute(sa.insert(objects).values(
                container_id=container.id, name=target.name, size=content.size, etag=content.etag,
                content_type=properties.content_type or guess_type(target.name), file=content.file,
                manifest=content.manifest, metadata=properties.metadata, created_at=now,
                delete_at=properties.delete_at))
    except BaseException:
        if content.file is not None:
            await swift.files.remove([content.file])
        raise
    if replaced:
        swift.hint_cleanup()
    return Stored(content.etag, now, content.size)


async def update_object(swift: Swift, identity: Identity, target: Target, headers: Mapping[str, str]) -> None:
    """Replace the object's metadata; its bytes stay, its content type too unless another is given."""
    now = time.time()
    properties = read_properties(headers, now)
    async with swift.db.write() as tx:
        container = await writable_container(tx, identity, target)
        row = await find_object(tx, container.id, target.name)
        if row is None:
            raise NoSuchThing()
        await tx.execute(sa.update(objects).where(objects.c.id == row.id).values(
            metadata=properties.metadata, content_type=properties.content_type or row.content_type,
            delete_at=properties.delete_at, created_at=round(now, 5)))


async def delete_object(swift: Swift, identity: Identity, target: Target) -> None:
    """Remove the object.  Raises NoSuchThing."""
    async with swift.db.write() as tx:
        container = await writable_container(tx, identity, target)
        row = await find_object(tx, container.id, target.name)
        if row is None:
            raise NoSuchThing()
        history = bool(container.metadata.get(versions.HISTORY))
        if not (history and await versions.keep(tx, container, row)):
            await discard(tx, objects.c.id == row.id)
            await versions.restore(tx, container, target.name)
    swift.hint_cleanup()


async def copy_object(swift: Swift, identity: Identity, source: Target, target: Target, headers: Mapping[str, str], *,
                      manifest: bool, referer: str | None) -> tuple[Any, Stored, Properties]:
    """Copy `source` to `target`: the source's row, what was stored, and the copy's properties.

    Metadata of the source stays unless `X-Fresh-Metadata` is true; headers given win.  A large object is copied
    as its bytes, or with `manifest` as its manifest.
    """
    from cloudseed.swift import large_objects

    row = await get_object(swift, identity, source, referer)
    given = await prepare_put(swift, identity, target, headers, row.size)
    fresh = headers.get("x-fresh-metadata", "").lower() in ("true", "1", "yes", "on", "t", "y")
    properties = Properties(given.metadata if fresh else {**row.metadata, **given.metadata},
                            given.content_type or row.content_type, given.delete_at or row.delete_at)
    if row.manifest is None:
        try:
            content = Content(row.size, row.etag, await swift.files.link(row.file), None)
        except FileNotFoundError:
            raise NoSuchThing() from None  # deleted since we looked
    elif manifest:
        content = Content(row.size, row.etag, None, row.manifest)
    else:
        body = await large_objects.open_object(swift, identity, source, row, 0, row.size)
        async with contextlib.aclosing(body):
            file = await swift.files.receive(body)
        content = Content(file.size, file.md5, file.name, None)
    stored = await commit(swift, identity, target, content, properties,
                          only_new=headers.get("if-none-match") is not None)
    return row, stored, properties


def parse_path(value: str, what: str) -> tuple[str, str]:
    """"container/object", with or without a slash before it.  Raises Invalid (412, as swift)."""
    container, _, name = value.lstrip("/").partition("/")
    if not container or not name:
        raise PathInvalid(f"{what} header must be of the form <container name>/<object name>")
    return container, name


class PathInvalid(Invalid):
    status, title = 412, "Precondition Failed"
