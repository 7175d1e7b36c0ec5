"""Static and dynamic large objects: one name for many objects' bytes.

Static (SLO): a manifest names the segments with their sizes and ETags, checked when it is put and again before
each download.  A segment may be an SLO itself.  Dynamic (DLO): `X-Object-Manifest: container/prefix` means
whatever lies below the prefix at the time.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Mapping
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from cloudseed.kernel.context import Identity
from cloudseed.kernel.db import Tx
from cloudseed.kernel.http import json
from cloudseed.swift import access, objects
from cloudseed.swift.conditions import parse_ranges
from cloudseed.swift.errors import BadRequest, EtagMismatch, NoSuchThing, ThereIsConflict
from cloudseed.swift.models import containers
from cloudseed.swift.models import objects as table
from cloudseed.swift.store import Swift, Target

MAX_SEGMENTS = 1000
MAX_MANIFEST = 8 << 20  # bytes
MAX_DEPTH = 10
MAX_PIECES = 100_000  # of one download: nested manifests multiply
MAX_SIZE = 2**63 - 1  # what a database's integer holds


class Segment(msgspec.Struct):
    """A segment as the client names it (upstream's manifest format)."""

    path: str
    etag: str | None = None
    size_bytes: int | None = None
    range: str | None = None


class Piece(NamedTuple):
    """A part of a file that an object's bytes consist of."""

    file: str
    start: int
    length: int


def _name(path: str) -> tuple[str, str]:
    container, slash, name = path.lstrip("/").partition("/")
    if not container or not slash or not name:
        raise BadRequest(f"Each segment's path must be /container/object: {path!r} is not.")
    return container, name


async def _find(tx: Tx, account: str, names: set[tuple[str, str]]) -> dict[tuple[str, str], Any]:
    """Rows by (container, object), each with its container's `read_acl`, in one statement."""
    rows = await tx.all(
        sa.select(table, containers.c.name.label("container"), containers.c.read_acl)
        .join(containers, table.c.container_id == containers.c.id)
        .where(containers.c.account == account,
               sa.tuple_(containers.c.name, table.c.name).in_(sorted(names))))
    return {(row.container, row.name): row for row in rows}


async def put_manifest(swift: Swift, identity: Identity, target: Target, headers: Mapping[str, str],
                       body: bytes) -> objects.Stored:
    """Make `target` a static large object of the segments in `body`.  Raises BadRequest that lists what is wrong."""
    properties = await objects.prepare_put(swift, identity, target, headers, None)
    segments: list[Segment] = json.decode(body, list[Segment])
    if not 1 <= len(segments) <= MAX_SEGMENTS:
        raise BadRequest(f"The manifest must name 1 to {MAX_SEGMENTS} segments.")
    names = [_name(segment.path) for segment in segments]
    async with swift.db.read() as tx:
        found = await _find(tx, target.account, set(names))
    problems: list[str] = []
    manifest: list[dict[str, Any]] = []
    digest, total = hashlib.md5(usedforsecurity=False), 0
    for segment, name in zip(segments, names, strict=True):
        row = found.get(name)
        problem = _problem(segment, row) if name != (target.container, target.name) else "is the manifest itself"
        if problem or row is None:
            problems.append(f"/{name[0]}/{name[1]}, {problem}")
            continue
        entry = {"name": f"/{name[0]}/{name[1]}", "hash": row.etag, "bytes": row.size,
                 "content_type": row.content_type, "created_at": row.created_at}
        length = row.size
        if segment.range is not None:
            (start, end), = parse_ranges(f"bytes={segment.range}", row.size) or [(0, 0)]
            length = end - start
            entry["range"] = f"{start}-{end - 1}"
            digest.update(f"{row.etag}:{start}-{end - 1};".encode())
        else:
            digest.update(row.etag.encode())
        if row.manifest is not None:
            entry["sub_slo"] = True
        total += length
        manifest.append(entry)
    if total > MAX_SIZE:
        raise BadRequest(f"The segments add up to {total} bytes: a large object may have {MAX_SIZE}.")
    if problems:
        raise BadRequest("Errors:\n" + "\n".join(problems))
    wanted = headers.get("etag", "").strip('"')
    if wanted and wanted != digest.hexdigest():
        raise EtagMismatch()
    return await objects.commit(swift, identity, target,
                                objects.Content(total, digest.hexdigest(), None, manifest), properties,
                                only_new=headers.get("if-none-match") is not None)


def _problem(segment: Segment, row: Any) -> str:
    if row is None:
        return "404 Not Found"
    if segment.size_bytes is not None and segment.size_bytes != row.size:
        return "Size Mismatch"
    if segment.etag is not None and segment.etag.strip('"') != row.etag:
        return "Etag Mismatch"
    if row.size == 0:
        return "Too Small; each segment must be at least 1 byte."
    if segment.range is not None:
        ranges = parse_ranges(f"bytes={segment.range}", row.size)
        if ranges is None or len(ranges) != 1:
            return "Unsatisfiable or invalid range"
    return ""


class _Walk:
    """One walk through nested manifests: each is read once, and their parts are counted before they are cut."""

    def __init__(self) -> None:
        self.known: dict[int, list[Piece]] = {}  # by the row's id
        self._left = MAX_PIECES

    def spend(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise ThereIsConflict(f"The large object's manifests, nested ones included, name more than {MAX_PIECES} "
                                  "segments: use fewer, larger ones.")


async def _pieces(tx: Tx, identity: Identity, account: str, row: Any, walk: _Walk, depth: int = 0) -> list[Piece]:
    """All of an object's bytes, as parts of files.  Raises ThereIsConflict when a segment changed or is gone, or
    when there are too many."""
    if row.manifest is None:
        return [Piece(row.file, 0, row.size)]
    if depth >= MAX_DEPTH:
        raise ThereIsConflict(f"Large objects are nested deeper than {MAX_DEPTH} levels.")
    names = [_name(entry["name"]) for entry in row.manifest]
    found = await _find(tx, account, set(names))
    for container in {found[name].container: found[name] for name in names if name in found}.values():
        access.authorize(identity, account, "read", acl=container.read_acl)
    pieces: list[Piece] = []
    for entry, name in zip(row.manifest, names, strict=True):
        segment = found.get(name)
        if segment is None or segment.etag != entry["hash"] or segment.size != entry["bytes"]:
            raise ThereIsConflict(f"Segment {entry['name']} of the large object is gone or was changed.")
        part = walk.known.get(segment.id)
        if part is None:
            part = walk.known[segment.id] = await _pieces(tx, identity, account, segment, walk, depth + 1)
        walk.spend(len(part))
        if "range" in entry:
            start, _, last = entry["range"].partition("-")
            part = cut(part, int(start), int(last) + 1)
        pieces.extend(part)
    return pieces


def cut(pieces: list[Piece], start: int, end: int) -> list[Piece]:
    """The bytes `start` to `end` (exclusive) of a sequence of pieces."""
    out, at = [], 0
    for piece in pieces:
        first, last = max(start, at), min(end, at + piece.length)
        if first < last:
            out.append(Piece(piece.file, piece.start + first - at, last - first))
        at += piece.length
    return out


async def object_pieces(swift: Swift, identity: Identity, target: Target, row: Any) -> list[Piece]:
    """The files' parts that make up an object."""
    if row.manifest is None:
        return [Piece(row.file, 0, row.size)]
    async with swift.db.read() as tx:
        return await _pieces(tx, identity, target.account, row, _Walk())


async def dynamic_object(swift: Swift, identity: Identity, target: Target, row: Any) -> tuple[list[Piece], str]:
    """A dynamic large object's pieces and ETag, as of now; at most the first 10,000 segments.  Raises NoSuchThing."""
    container, _, prefix = row.metadata["x-object-manifest"].partition("/")
    async with swift.db.read() as tx:
        rows = await tx.all(
            sa.select(table, containers.c.read_acl).join(containers, table.c.container_id == containers.c.id)
            .where(containers.c.account == target.account, containers.c.name == container,
                   table.c.name.startswith(prefix, autoescape=True), table.c.file.is_not(None))
            .order_by(table.c.name).limit(10_000))
    if rows:
        access.authorize(identity, target.account, "read", acl=rows[0].read_acl)
    digest = hashlib.md5("".join(r.etag for r in rows).encode(), usedforsecurity=False)
    return [Piece(r.file, 0, r.size) for r in rows], digest.hexdigest()


async def open_object(swift: Swift, identity: Identity, target: Target, row: Any, start: int,
                      end: int) -> AsyncGenerator[bytes, None]:
    """The object's bytes from `start` to `end` (exclusive).  Raises ThereIsConflict, NoSuchThing."""
    return open_pieces(swift, cut(await object_pieces(swift, identity, target, row), start, end))


def open_pieces(swift: Swift, pieces: list[Piece]) -> AsyncGenerator[bytes, None]:
    """An async generator over the bytes; the first file is opened at once, so that a deletion right after does
    not matter.  Raises NoSuchThing when it is gone."""
    try:
        first = swift.files.open(*pieces[0]) if pieces else None
    except FileNotFoundError:
        raise NoSuchThing() from None

    async def read() -> AsyncGenerator[bytes, None]:
        for number, piece in enumerate(pieces):
            reader = first if number == 0 and first is not None else swift.files.open(*piece)
            try:
                async for data in reader:
                    yield data
            finally:
                await reader.close()

    return read()


async def delete_manifest(swift: Swift, identity: Identity, target: Target) -> list[Target]:
    """What `multipart-manifest=delete` removes: all segments, nested ones too, then the manifest, in that order."""
    async with swift.db.read() as tx:
        container = await objects.writable_container(tx, identity, target)
        row = await objects.find_object(tx, container.id, target.name)
        if row is None:
            raise NoSuchThing()
        if row.manifest is None:
            raise BadRequest("Not an SLO manifest")
        doomed: dict[tuple[str, str], None] = {}
        level = [_name(entry["name"]) for entry in row.manifest]
        for _ in range(MAX_DEPTH):
            for name in level:
                doomed.setdefault(name)
            rows = await _find(tx, target.account, set(level)) if level else {}
            level = [_name(e["name"]) for r in rows.values() if r.manifest is not None for e in r.manifest]
    return [*(Target(target.account, c, n) for c, n in doomed), target]
