"""Making, restoring and deleting one backup.

A backup that was begun and not finished has no manifest: when it is asked for again, what is there of it is removed
first.  Deleting removes the manifest first, so what a kill leaves is no backup, and asking again removes the rest.
"""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from collections.abc import AsyncGenerator
from typing import Any

import msgspec

from cloudseed.cinder.backup import layout
from cloudseed.cinder.backup.layout import Extent, Manifest
from cloudseed.cinder.backup.objects import BackupObjects
from cloudseed.cinder.volume.backend import Backend
from cloudseed.host.records import ByteSource
from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import BodyTooLarge, CloudseedError, Conflict, Invalid, NotFound

_ZERO = layout.zero_hash()
_LEVEL = 1  # of zlib: higher ones cost many times the time for little


class BackupDamaged(CloudseedError):
    """A backup's objects are not what its manifest says."""

    template = "Backup %(backup_id)s is damaged: %(reason)s"


class BackupWork:
    """The work on backups of one host's volumes."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    # ---- making one

    async def create(self, ctx: Context, objects: BackupObjects, backup_id: str, volume_id: str,
                     snapshot_id: str | None, parent: dict[str, Any] | None) -> dict[str, Any]:
        """Back up a volume, or a snapshot of it; with a parent, only what has changed since."""
        where = layout.prefix(volume_id, backup_id)
        await objects.ensure_container(ctx)
        if (done := await self._manifest(ctx, objects, where)) is not None:
            return _result(done)
        await self._remove(ctx, objects, where)
        try:
            if snapshot_id is not None:
                source = ByteSource(kind="snapshot", id=snapshot_id)
                return _result(await self._write(ctx, objects, backup_id, volume_id, source, parent))
            async with self._backend.moment(volume_id, backup_id) as source:
                return _result(await self._write(ctx, objects, backup_id, volume_id, source, parent))
        except CloudseedError as exc:
            if not exc.retry:  # else it is asked for again, and begins with that
                await self._remove(ctx, objects, where)
            raise

    async def _write(self, ctx: Context, objects: BackupObjects, backup_id: str, volume_id: str, source: ByteSource,
                     parent: dict[str, Any] | None) -> Manifest:
        where = layout.prefix(volume_id, backup_id)
        before, parent_prefix = b"", None
        if parent is not None:
            parent_prefix = layout.prefix(parent["volume_id"], parent["id"])
            if await self._manifest(ctx, objects, parent_prefix) is None:
                raise NotFound(f"Backup {parent['id']}, the parent of backup {backup_id}, is not in the object store.")
            before = await self._read(ctx, objects, parent_prefix, "sha256file", layout.MAX_HASHES_BYTES)
        hashes, run = bytearray(), bytearray()
        extents: list[Extent] = []
        size = begin = stored = 0

        async def flush() -> None:
            nonlocal run, stored
            if not run:
                return
            name = f"{len([e for e in extents if e.name]) + 1:05d}"
            packed, digest = await asyncio.to_thread(_pack, bytes(run))
            await objects.put(ctx, where + name, packed)
            extents.append(Extent(begin, len(run), name, digest))
            stored += len(packed)
            run = bytearray()

        async for block, digest in self._blocks(source):
            old = before[len(hashes): len(hashes) + layout.HASH_BYTES] if parent else _ZERO
            hashes += digest
            if digest == old:
                await flush()
            elif block is None:
                await flush()
                _add_zeros(extents, size, layout.BLOCK_BYTES)
            else:
                if run and len(run) >= layout.OBJECT_BYTES:
                    await flush()
                if not run:
                    begin = size
                run += block
            size += layout.BLOCK_BYTES if block is None else len(block)
        await flush()
        manifest = Manifest(backup_id=backup_id, volume_id=volume_id, size_bytes=size, parent=parent_prefix,
                            extents=extents, stored_bytes=stored)
        await objects.put(ctx, f"{where}sha256file", bytes(hashes))
        await objects.put(ctx, f"{where}metadata", msgspec.json.encode(manifest))
        return manifest

    async def _blocks(self, source: ByteSource) -> AsyncGenerator[tuple[bytes | None, bytes], None]:
        """Each block with its hash; None for one of zeros.  The last may be shorter."""
        rest = bytearray()
        async for piece in self._backend.pieces(source):
            zeros = piece.zero_bytes
            if rest and zeros:  # fill up the block that data began
                fill = min(zeros, layout.BLOCK_BYTES - len(rest))
                rest += bytes(fill)
                zeros -= fill
            rest += piece.data
            while len(rest) >= layout.BLOCK_BYTES:
                yield await asyncio.to_thread(_hashed, bytes(rest[: layout.BLOCK_BYTES]))
                del rest[: layout.BLOCK_BYTES]
            while zeros >= layout.BLOCK_BYTES:
                yield None, _ZERO
                zeros -= layout.BLOCK_BYTES
            rest += bytes(zeros)
        if rest:
            yield bytes(rest), hashlib.sha256(rest).digest()

    # ---- restoring

    async def restore(self, ctx: Context, objects: BackupObjects, backup_id: str, backup_volume_id: str,
                      volume_id: str) -> None:
        """Write a backup, on top of its parents, to a volume that is not exported; all else in it becomes zeros."""
        chain: list[tuple[str, Manifest]] = []
        where: str | None = layout.prefix(backup_volume_id, backup_id)
        while where is not None:
            manifest = await self._manifest(ctx, objects, where)
            if manifest is None or any(where == known for known, _ in chain) or len(chain) > layout.MAX_PARENTS:
                raise BackupDamaged(backup_id=backup_id, reason=f"the object store has no {where}metadata")
            chain.append((where, manifest))
            where = manifest.parent
        host, doing = self._backend.host, f"restore backup {backup_id} to volume {volume_id}"
        report = await self._backend.ask(doing, host.list_volumes())
        target = next((v for v in report.volumes if v.volume_id == volume_id), None)
        if target is None:
            raise NotFound(f"Volume {volume_id} is not on host {self._backend.name}.")
        if target.exports:
            raise Conflict(f"Volume {volume_id} is attached: detach it before backup {backup_id} is restored to it.")
        size = chain[0][1].size_bytes
        if target.size_bytes < size:
            raise Invalid(f"Volume {volume_id} has {target.size_bytes} bytes, fewer than the {size} of backup "
                          f"{backup_id}.")
        await self._backend.ask(doing, host.write_volume(volume_id, 0, zero_bytes=target.size_bytes))
        for where, manifest in reversed(chain):
            for extent in manifest.extents:
                if not extent.name:
                    await self._backend.ask(doing, host.write_volume(
                        volume_id, extent.offset, zero_bytes=min(extent.length, size - extent.offset)))
                    continue
                try:
                    packed = await objects.get(ctx, where + extent.name, layout.MAX_PACKED_BYTES)
                    data = await asyncio.to_thread(_unpack, packed, extent)
                except (NotFound, BodyTooLarge, ValueError) as exc:
                    reason = f"its object {where}{extent.name} is missing or is not what was written"
                    raise BackupDamaged(backup_id=manifest.backup_id, reason=reason) from exc
                for at in range(0, len(data), 4 * layout.BLOCK_BYTES):
                    piece = data[at: at + 4 * layout.BLOCK_BYTES]
                    await self._backend.ask(doing, host.write_volume(volume_id, extent.offset + at, piece))
        await self._backend.ask(doing, host.write_volume(volume_id, 0, sync=True))

    # ---- deleting

    async def delete(self, ctx: Context, objects: BackupObjects, backup_id: str, volume_id: str) -> None:
        """Remove every object of the backup."""
        await self._backend.ask(f"delete backup {backup_id}", self._backend.host.delete_snapshot(backup_id))
        await self._remove(ctx, objects, layout.prefix(volume_id, backup_id))

    async def _remove(self, ctx: Context, objects: BackupObjects, where: str) -> None:
        names = await objects.names(ctx, where)
        # the manifest sorts after the digits, and must go before them
        for name in sorted(names, key=lambda n: not n.endswith("/metadata")):
            await objects.delete(ctx, name)

    async def _manifest(self, ctx: Context, objects: BackupObjects, where: str) -> Manifest | None:
        try:
            text = await self._read(ctx, objects, where, "metadata", layout.MAX_MANIFEST_BYTES)
        except NotFound:
            return None
        try:
            manifest = msgspec.json.decode(text, type=Manifest)
        except msgspec.DecodeError as exc:
            raise BackupDamaged(backup_id=where, reason="its metadata cannot be read") from exc
        wrong = layout.check(manifest, where)
        if wrong is not None:
            raise BackupDamaged(backup_id=where, reason=f"its metadata was changed: {wrong}")
        return manifest

    async def _read(self, ctx: Context, objects: BackupObjects, where: str, name: str, limit: int) -> bytes:
        try:
            return await objects.get(ctx, where + name, limit)
        except BodyTooLarge as exc:
            raise BackupDamaged(backup_id=where, reason=f"its {name} has more than {limit} bytes") from exc


def _result(manifest: Manifest) -> dict[str, Any]:
    """What cinder keeps of it: `size` in GiB, `stored_bytes` as compressed."""
    return {"object_count": sum(1 for extent in manifest.extents if extent.name) + 2,
            "size": -(-manifest.size_bytes // 1024**3), "stored_bytes": manifest.stored_bytes,
            "location": {"prefix": layout.prefix(manifest.volume_id, manifest.backup_id)}}


def _add_zeros(extents: list[Extent], offset: int, length: int) -> None:
    """Blocks that became zeros; runs of them are one extent."""
    last = extents[-1] if extents else None
    if last is not None and not last.name and last.offset + last.length == offset:
        extents[-1] = Extent(last.offset, last.length + length)
    else:
        extents.append(Extent(offset, length))


def _hashed(block: bytes) -> tuple[bytes | None, bytes]:
    digest = hashlib.sha256(block).digest()
    return (None if digest == _ZERO else block), digest


def _pack(data: bytes) -> tuple[bytes, str]:
    return zlib.compress(data, _LEVEL), hashlib.sha256(data).hexdigest()


def _unpack(packed: bytes, extent: Extent) -> bytes:
    """ValueError when it is not what was packed; never more memory than the extent says."""
    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(packed, extent.length + 1)
    except zlib.error as exc:
        raise ValueError("not compressed data") from exc
    if len(data) != extent.length or hashlib.sha256(data).hexdigest() != extent.sha256:
        raise ValueError("not what was written")
    return data
