"""Snapshots: records, and their two durable operations.

    snapshot create    bytes -> finish     undone: the bytes go; the snapshot is left in `error`
    snapshot delete    bytes -> forget     `error_deleting`
"""

from __future__ import annotations

import datetime
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from cloudseed.cinder import messages, quotas, volumes
from cloudseed.cinder.errors import InvalidSnapshot, InvalidVolume, MetadataNotFound, SnapshotNotFound
from cloudseed.cinder.listing import Listing, Page, boolean, equals, like, pairs
from cloudseed.cinder.models import snapshot_metadata
from cloudseed.cinder.models import snapshots as table
from cloudseed.cinder.models import volumes as volumes_table
from cloudseed.cinder.state import Cinder
from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx, utcnow
from cloudseed.kernel.errors import CloudseedError, Invalid
from cloudseed.kernel.operations import OperationType, Run, Step

CREATE = OperationType("cinder.snapshot.create", ())
DELETE = OperationType("cinder.snapshot.delete", ())
STATES = ("creating", "available", "deleting", "error", "error_deleting", "restoring", "backing-up")


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot with its metadata.  `volume_size` in GiB."""

    id: str
    project_id: str
    user_id: str
    name: str | None
    description: str | None
    status: str
    status_since: float
    volume_id: str
    volume_size: int
    volume_type_id: str
    progress: str
    group_snapshot_id: str | None
    consumes_quota: bool
    created_at: datetime.datetime
    updated_at: datetime.datetime | None
    metadata: dict[str, str] = {}

    @property
    def target(self) -> dict[str, Any]:
        return {"project_id": self.project_id, "user_id": self.user_id}


SORT_KEYS = {"name": table.c.name, "display_name": table.c.name, **{key: table.c[key] for key in (
    "id", "status", "volume_id", "created_at", "updated_at", "volume_size", "user_id", "project_id", "description")}}
LISTING = Listing(table, SORT_KEYS, lambda marker: SnapshotNotFound(snapshot_id=marker))
_zone = sa.select(volumes_table.c.id).where
FILTERS = {
    "name": equals(table.c.name), "display_name": equals(table.c.name), "name~": like(table.c.name),
    "status": equals(table.c.status), "status~": like(table.c.status), "volume_id": equals(table.c.volume_id),
    "metadata": pairs(snapshot_metadata, snapshot_metadata.c.snapshot_id, table.c.id),
    "consumes_quota": boolean(table.c.consumes_quota), "id": equals(table.c.id),
    "availability_zone": lambda text: table.c.volume_id.in_(_zone(volumes_table.c.availability_zone == text))}
ADMIN_FILTERS = {"project_id": equals(table.c.project_id), "user_id": equals(table.c.user_id),
                 "volume_size": equals(table.c.volume_size), "description": equals(table.c.description),
                 "host": lambda text: table.c.volume_id.in_(_zone(volumes_table.c.host == text))}


async def load(tx: Tx, rows: Sequence[Any]) -> list[Snapshot]:
    if not rows:
        return []
    notes: dict[str, dict[str, str]] = {}
    for pair in await tx.all(sa.select(snapshot_metadata).where(
            snapshot_metadata.c.snapshot_id.in_([row.id for row in rows]))):
        notes.setdefault(pair.snapshot_id, {})[pair.key] = pair.value
    return [Snapshot(**row._mapping, metadata=notes.get(row.id, {})) for row in rows]


async def read(tx: Tx, snapshot_id: str) -> Snapshot | None:
    rows = await tx.all(sa.select(table).where(table.c.id == snapshot_id))
    return (await load(tx, rows))[0] if rows else None


async def get(cinder: Cinder, tx: Tx, ctx: Context, snapshot_id: str, rule: str = "volume:get_snapshot") -> Snapshot:
    """Raises SnapshotNotFound where the caller may not even see it, Forbidden."""
    snapshot = await read(tx, snapshot_id)
    if snapshot is None or not cinder.policy.check("volume:get_snapshot", ctx.identity, snapshot.target):
        raise SnapshotNotFound(snapshot_id=snapshot_id)
    cinder.policy.enforce(rule, ctx.identity, snapshot.target)
    return snapshot


async def list_snapshots(cinder: Cinder, ctx: Context, page: Page, where: Sequence[Any], *, everybody: bool,
                         with_count: bool = False) -> tuple[list[Snapshot], int | None]:
    cinder.policy.enforce("volume:get_all_snapshots", ctx.identity, {"project_id": ctx.identity.project_id})
    scope = [] if everybody else [table.c.project_id == ctx.project_id]
    async with cinder.db.read() as tx:
        rows = await LISTING.rows(tx, page, where, visible=scope)
        count = await LISTING.count(tx, [*scope, *where]) if with_count else None
        return await load(tx, rows), count


async def set_status(tx: Tx, snapshot_id: str, status: str, **values: Any) -> None:
    await tx.execute(sa.update(table).where(table.c.id == snapshot_id)
                     .values(status=status, status_since=time.time(), updated_at=utcnow(), **values))


async def insert(tx: Tx, ctx: Context, volume: volumes.Volume, *, name: str | None, description: str | None,
                 metadata: Mapping[str, str], group_snapshot_id: str | None = None) -> str:
    """The record of a snapshot to be made, within its quota; its id."""
    await quotas.check(tx, volume.project_id, volume.type_name, {"snapshots": 1, "gigabytes": volume.size})
    snapshot_id = str(uuid.uuid4())
    await tx.execute(sa.insert(table).values(
        id=snapshot_id, project_id=volume.project_id, user_id=ctx.user_id, name=name, description=description,
        status="creating", status_since=time.time(), volume_id=volume.id, volume_size=volume.size,
        volume_type_id=volume.volume_type_id, progress="0%", group_snapshot_id=group_snapshot_id, consumes_quota=True,
        created_at=utcnow()))
    for key, value in metadata.items():
        await tx.execute(sa.insert(snapshot_metadata).values(snapshot_id=snapshot_id, key=key, value=value))
    return snapshot_id


async def create_snapshot(cinder: Cinder, ctx: Context, volume_id: str, *, name: str | None, description: str | None,
                          metadata: Mapping[str, str], in_use: bool) -> Snapshot:
    """Order a snapshot.  `in_use`: also of a volume that is attached."""
    async with cinder.db.write() as tx:
        volume = await volumes.get(cinder, tx, ctx, volume_id, "volume:create_snapshot")
        valid = ("available", "in-use") if in_use else ("available",)
        if volume.status not in valid:
            raise InvalidVolume(reason=f"Volume {volume_id} status must be {', '.join(valid)}, but current status is: "
                                       f"{volume.status}.")
        snapshot_id = await insert(tx, ctx, volume, name=name, description=description, metadata=metadata)
        await cinder.engine.submit(tx, CREATE, snapshot_id, {"host": volume.host, "volume_id": volume_id}, ctx)
        snapshot = await read(tx, snapshot_id)
    cinder.engine.wake()
    assert snapshot is not None
    return snapshot


async def delete_snapshot(cinder: Cinder, ctx: Context, snapshot_id: str, *, force: bool = False) -> None:
    async with cinder.db.write() as tx:
        snapshot = await get(cinder, tx, ctx, snapshot_id, "volume:delete_snapshot")
        if force:
            cinder.policy.enforce("volume_extension:snapshot_admin_actions:force_delete", ctx.identity,
                                  snapshot.target)
        if snapshot.group_snapshot_id is not None or (not force and snapshot.status not in ("available", "error")):
            raise InvalidSnapshot(reason=f"Snapshot {snapshot_id} status must be available or error (it is "
                                         f"{snapshot.status}) and it must not be part of a group.")
        volume = await volumes.read(tx, snapshot.volume_id)
        assert volume is not None
        if volume.status == "reverting":
            raise InvalidSnapshot(reason=f"Volume {volume.id} is being reverted to a snapshot.")
        if force:
            await cinder.engine.cancel(tx, snapshot_id)
        await set_status(tx, snapshot_id, "deleting")
        await cinder.engine.submit(tx, DELETE, snapshot_id, {"host": volume.host, "volume_id": volume.id}, ctx)
    cinder.engine.wake()


async def update_snapshot(cinder: Cinder, ctx: Context, snapshot_id: str, changes: dict[str, Any]) -> Snapshot:
    async with cinder.db.write() as tx:
        await get(cinder, tx, ctx, snapshot_id, "volume:update_snapshot")
        await tx.execute(sa.update(table).where(table.c.id == snapshot_id).values(**changes, updated_at=utcnow()))
        return await get(cinder, tx, ctx, snapshot_id)


async def reset_status(cinder: Cinder, ctx: Context, snapshot_id: str, status: str) -> None:
    async with cinder.db.write() as tx:
        snapshot = await get(cinder, tx, ctx, snapshot_id, "volume_extension:snapshot_admin_actions:reset_status")
        if status not in STATES:
            raise Invalid(f"Cannot reset-state to {status[:40]}")
        if snapshot.status == "deleting":
            raise InvalidSnapshot(reason=f"Snapshot {snapshot_id} is being deleted.")
        await cinder.engine.cancel(tx, snapshot_id, kinds=(CREATE.kind,))
        await set_status(tx, snapshot_id, status)


async def update_status(cinder: Cinder, ctx: Context, snapshot_id: str, status: str, progress: str | None) -> None:
    """What a driver of upstream's reports during a snapshot that nova assists."""
    allowed = {"creating": ("creating", "available", "error"), "deleting": ("deleting", "error_deleting")}
    async with cinder.db.write() as tx:
        snapshot = await get(cinder, tx, ctx, snapshot_id, "snapshot_extension:snapshot_actions:update_snapshot_status")
        if snapshot.status not in allowed:
            raise Invalid(f"Snapshot status {snapshot.status} not allowed for update_snapshot_status")
        if status not in allowed[snapshot.status]:
            raise Invalid(f"Provided snapshot status {status[:40]} not allowed for snapshot with status "
                          f"{snapshot.status}.")
        await set_status(tx, snapshot_id, status, **({"progress": progress} if progress is not None else {}))


async def change_metadata(cinder: Cinder, ctx: Context, snapshot_id: str, metadata: Mapping[str, str], *, replace: bool
                          ) -> dict[str, str]:
    async with cinder.db.write() as tx:
        snapshot = await get(cinder, tx, ctx, snapshot_id, "volume:update_snapshot_metadata")
        whole = dict(metadata) if replace else {**snapshot.metadata, **metadata}
        if len(whole) > volumes.MAX_PAIRS:
            raise Invalid(f"A snapshot may have {volumes.MAX_PAIRS} metadata items; these would be {len(whole)}.")
        await tx.execute(sa.delete(snapshot_metadata).where(snapshot_metadata.c.snapshot_id == snapshot_id))
        for key, value in whole.items():
            await tx.execute(sa.insert(snapshot_metadata).values(snapshot_id=snapshot_id, key=key, value=value))
        return whole


async def delete_metadata(cinder: Cinder, ctx: Context, snapshot_id: str, key: str) -> None:
    async with cinder.db.write() as tx:
        snapshot = await get(cinder, tx, ctx, snapshot_id, "volume:delete_snapshot_metadata")
        if key not in snapshot.metadata:
            raise MetadataNotFound()
        await tx.execute(sa.delete(snapshot_metadata).where(snapshot_metadata.c.snapshot_id == snapshot_id,
                                                            snapshot_metadata.c.key == key))


class SnapshotWork:
    """The steps of the two operations."""

    def __init__(self, cinder: Cinder) -> None:
        self._cinder = cinder

    def types(self) -> list[OperationType]:
        return [CREATE._replace(steps=(Step("bytes", self.make, self.remove, 3600.0), Step("finish", self.finish)),
                                failed=self.create_failed),
                DELETE._replace(steps=(Step("bytes", self.remove, patience_s=300.0), Step("forget", self.forget)),
                                failed=self.delete_failed)]

    async def make(self, run: Run) -> None:
        await self._cinder.managers.create_snapshot(run.ctx, run.data["host"], run.resource_id, run.data["volume_id"])

    async def remove(self, run: Run) -> None:
        await self._cinder.managers.delete_snapshot(run.ctx, run.data["host"], run.resource_id, run.data["volume_id"])

    async def finish(self, run: Run) -> None:
        async with self._cinder.db.write() as tx:
            snapshot = await read(tx, run.resource_id)
            if snapshot is not None and snapshot.status == "creating":
                await set_status(tx, snapshot.id, "available", progress="100%")

    async def forget(self, run: Run) -> None:
        async with self._cinder.db.write() as tx:
            await tx.execute(sa.delete(table).where(table.c.id == run.resource_id))

    async def create_failed(self, run: Run, error: CloudseedError) -> None:
        await self._failed(run, error, "creating", "error", "create snapshot")

    async def delete_failed(self, run: Run, error: CloudseedError) -> None:
        await self._failed(run, error, "deleting", "error_deleting", "delete snapshot")

    async def _failed(self, run: Run, error: CloudseedError, old: str, new: str, action: str) -> None:
        async with self._cinder.db.write() as tx:
            snapshot = await read(tx, run.resource_id)
            if snapshot is not None and snapshot.status == old:
                await set_status(tx, snapshot.id, new)
                await messages.add(tx, run.ctx, snapshot.project_id, action, "VOLUME_SNAPSHOT", snapshot.id,
                                   error.message, operation_id=run.id)
