"""Backups: records and orders.  The work, step by step, is in `backup_work.py`."""

from __future__ import annotations

import datetime
import time
import uuid
from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from cloudseed.cinder import quotas, services, snapshots, volume_create, volume_types, volumes
from cloudseed.cinder.backup_work import CREATE, DELETE, RESTORE
from cloudseed.cinder.errors import BackupNotFound, InvalidBackup, InvalidInput, InvalidVolume
from cloudseed.cinder.listing import Listing, Page, equals, like
from cloudseed.cinder.models import backups as table
from cloudseed.cinder.models import volume_metadata
from cloudseed.cinder.models import volumes as volumes_table
from cloudseed.cinder.state import Cinder
from cloudseed.cinder.volume_states import move, or_list
from cloudseed.cinder.volumes import Volume
from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx, utcnow
from cloudseed.kernel.errors import Conflict, Invalid, Unavailable

DEFAULT_CONTAINER = "volumebackups"
STATES = ("creating", "available", "deleting", "restoring", "error", "error_deleting")


class Backup(msgspec.Struct, frozen=True, kw_only=True):
    """A backup.  `size` in GiB; `location` is the backup manager's own note of where its objects are."""

    id: str
    project_id: str
    user_id: str
    name: str | None
    description: str | None
    status: str
    status_since: float
    volume_id: str
    snapshot_id: str | None
    parent_id: str | None
    restore_volume_id: str | None
    size: int
    object_count: int
    container: str | None
    location: Any
    metadata: dict[str, str]
    fail_reason: str | None
    host: str | None
    availability_zone: str
    data_timestamp: datetime.datetime
    created_at: datetime.datetime
    updated_at: datetime.datetime | None
    dependents: int

    @property
    def target(self) -> dict[str, Any]:
        return {"project_id": self.project_id, "user_id": self.user_id}


_child = table.alias("child")
_DEPENDENTS = sa.select(sa.func.count()).select_from(_child).where(_child.c.parent_id == table.c.id).scalar_subquery()
_COLUMNS = [*table.c, _DEPENDENTS.label("dependents")]
SORT_KEYS = {key: table.c[key] for key in ("id", "name", "status", "size", "volume_id", "created_at", "updated_at",
                                           "data_timestamp", "container")}
LISTING = Listing(table, SORT_KEYS, lambda marker: BackupNotFound(backup_id=marker))
FILTERS = {"name": equals(table.c.name), "name~": like(table.c.name), "status": equals(table.c.status),
           "volume_id": equals(table.c.volume_id)}
ADMIN_FILTERS = {"project_id": equals(table.c.project_id), "user_id": equals(table.c.user_id),
                 "host": equals(table.c.host), "snapshot_id": equals(table.c.snapshot_id)}


async def read(tx: Tx, backup_id: str) -> Backup | None:
    row = await tx.first(sa.select(*_COLUMNS).where(table.c.id == backup_id))
    return Backup(**row._mapping) if row is not None else None


async def get(cinder: Cinder, tx: Tx, ctx: Context, backup_id: str, rule: str = "backup:get") -> Backup:
    """Raises BackupNotFound where the caller may not even see it, Forbidden."""
    backup = await read(tx, backup_id)
    if backup is None or not cinder.policy.check("backup:get", ctx.identity, backup.target):
        raise BackupNotFound(backup_id=backup_id)
    cinder.policy.enforce(rule, ctx.identity, backup.target)
    return backup


async def list_backups(cinder: Cinder, ctx: Context, page: Page, where: Sequence[Any], *, everybody: bool,
                       with_count: bool = False) -> tuple[list[Backup], int | None]:
    cinder.policy.enforce("backup:get_all", ctx.identity, {"project_id": ctx.identity.project_id})
    scope = [] if everybody else [table.c.project_id == ctx.project_id]
    async with cinder.db.read() as tx:
        rows = await LISTING.rows(tx, page, where, _COLUMNS, visible=scope)
        count = await LISTING.count(tx, [*scope, *where]) if with_count else None
    return [Backup(**row._mapping) for row in rows], count


class Order(msgspec.Struct, kw_only=True):
    """What a client asks for."""

    volume_id: str
    name: str | None = None
    description: str | None = None
    container: str | None = None
    incremental: bool = False
    force: bool = False
    snapshot_id: str | None = None
    metadata: dict[str, str] = {}
    availability_zone: str | None = None


async def create_backup(cinder: Cinder, ctx: Context, order: Order) -> Backup:
    """Order a backup of a volume, or of a snapshot of it."""
    async with cinder.db.write() as tx:
        volume = await volumes.get(cinder, tx, ctx, order.volume_id)
        cinder.policy.enforce("backup:create", ctx.identity, volume.target)
        moment = await _check_source(cinder, tx, ctx, order, volume)
        host = await _host(cinder, tx, volume)
        parent = await _parent(tx, order, volume.project_id) if order.incremental else None
        await quotas.check(tx, volume.project_id, None, {"backups": 1, "backup_gigabytes": volume.size})
        backup_id = str(uuid.uuid4())
        container = parent.container if parent is not None else order.container or DEFAULT_CONTAINER
        await tx.execute(sa.insert(table).values(
            id=backup_id, project_id=volume.project_id, user_id=ctx.user_id, name=order.name,
            description=order.description, status="creating", status_since=time.time(), volume_id=volume.id,
            snapshot_id=order.snapshot_id, parent_id=parent.id if parent is not None else None, size=volume.size,
            object_count=0, container=container, metadata=order.metadata, host=host,
            availability_zone=order.availability_zone or volume.availability_zone, data_timestamp=moment,
            created_at=utcnow()))
        if order.snapshot_id is None and not await move(tx, volume.id, [volume.status], "backing-up",
                                                        previous_status=volume.status):
            raise InvalidVolume(reason=f"Volume {volume.id} changed its status meanwhile.")
        if order.snapshot_id is not None:
            await snapshots.set_status(tx, order.snapshot_id, "backing-up")
        await cinder.engine.submit(tx, CREATE, backup_id, {
            "host": host, "volume_id": volume.id, "project_id": volume.project_id, "container": container,
            "parent": {"id": parent.id, "volume_id": parent.volume_id} if parent is not None else None,
            "snapshot_id": order.snapshot_id, "back_to": volume.status}, ctx)
        backup = await read(tx, backup_id)
    cinder.engine.wake()
    assert backup is not None
    return backup


async def _check_source(cinder: Cinder, tx: Tx, ctx: Context, order: Order, volume: Volume) -> datetime.datetime:
    """The moment whose bytes the backup will have.  Raises when they cannot be read now."""
    if order.snapshot_id is not None:
        snapshot = await snapshots.get(cinder, tx, ctx, order.snapshot_id)
        if snapshot.volume_id != volume.id:
            raise InvalidInput(reason=f"Snapshot {snapshot.id} is not of volume {volume.id}.")
        if snapshot.status != "available":
            raise Invalid(f"Invalid snapshot: Snapshot to be backed up must be available, but the current status is "
                          f"\"{snapshot.status}\".")
        return snapshot.created_at
    if volume.status not in ("available", "in-use"):
        raise InvalidVolume(reason=f"Volume to be backed up must be available or in-use, but the current status is "
                                   f"\"{volume.status}\".")
    if volume.status == "in-use" and not order.force:
        raise InvalidVolume(reason="Backing up an in-use volume must use the force flag.")
    return utcnow()


async def _host(cinder: Cinder, tx: Tx, volume: Volume) -> str:
    """The backup manager that can read the volume: the one of its own host."""
    if volume.host is None:
        raise InvalidVolume(reason=f"Volume {volume.id} is on no host.")
    for row in await services.list_services(tx, "cinder-backup", volume.host):
        if services.is_up(cinder, row) and not row.disabled:
            return volume.host
    raise Unavailable(f"Service cinder-backup on host {volume.host} could not be found, or is down or disabled.")


async def _parent(tx: Tx, order: Order, project_id: str) -> Backup:
    """The newest backup of the volume, which an incremental one adds to; a former owner's is not ours to hold."""
    rows = await tx.all(sa.select(*_COLUMNS).where(table.c.volume_id == order.volume_id,
                                                   table.c.project_id == project_id,
                                                   table.c.status.in_(("available", "restoring")))
                        .order_by(table.c.data_timestamp.desc(), table.c.id).limit(1))
    if not rows:
        raise InvalidBackup(reason="No backups available to do an incremental backup.")
    parent = Backup(**rows[0]._mapping)
    if order.container not in (None, parent.container):
        raise InvalidBackup(reason=f"An incremental backup lies in its parent's container, {parent.container}.")
    return parent


async def update_backup(cinder: Cinder, ctx: Context, backup_id: str, changes: dict[str, Any]) -> Backup:
    async with cinder.db.write() as tx:
        await get(cinder, tx, ctx, backup_id, "backup:update")
        await tx.execute(sa.update(table).where(table.c.id == backup_id).values(**changes, updated_at=utcnow()))
        return await get(cinder, tx, ctx, backup_id)


async def delete_backup(cinder: Cinder, ctx: Context, backup_id: str, *, force: bool = False) -> None:
    async with cinder.db.write() as tx:
        backup = await get(cinder, tx, ctx, backup_id, "backup:delete")
        if force:
            cinder.policy.enforce("volume_extension:backup_admin_actions:force_delete", ctx.identity, backup.target)
        elif backup.status not in ("available", "error"):
            raise InvalidBackup(reason=f"Backup status must be available or error, but it is {backup.status}.")
        if backup.status in ("deleting", "restoring"):
            raise InvalidBackup(reason=f"Backup {backup_id} is {backup.status}.")
        if backup.dependents:
            raise InvalidBackup(reason="Incremental backups exist for this backup.")
        if force:
            await cinder.engine.cancel(tx, backup_id)
        await set_status(tx, backup_id, "deleting")
        await cinder.engine.submit(tx, DELETE, backup_id, {
            "host": backup.host, "volume_id": backup.volume_id, "project_id": backup.project_id,
            "container": backup.container}, ctx)
    cinder.engine.wake()


async def set_status(tx: Tx, backup_id: str, status: str, **values: Any) -> None:
    await tx.execute(sa.update(table).where(table.c.id == backup_id)
                     .values(status=status, status_since=time.time(), updated_at=utcnow(), **values))


async def reset_status(cinder: Cinder, ctx: Context, backup_id: str, status: str) -> None:
    async with cinder.db.write() as tx:
        backup = await get(cinder, tx, ctx, backup_id, "volume_extension:backup_admin_actions:reset_status")
        if status not in ("available", "error"):
            raise Invalid(f"Cannot reset-state to {status[:40]}: it may be available or error.")
        if backup.status in ("deleting", "restoring"):
            raise Conflict(f"Backup {backup_id} is {backup.status}: its work goes on by itself.")
        await cinder.engine.cancel(tx, backup_id, kinds=(CREATE.kind,))
        await set_status(tx, backup_id, status)


# ---- restoring

async def restore_backup(cinder: Cinder, ctx: Context, backup_id: str, volume_id: str | None, name: str | None
                         ) -> tuple[Backup, Volume]:
    """Order a restore, into a volume or into a new one."""
    async with cinder.db.write() as tx:
        backup = await get(cinder, tx, ctx, backup_id, "backup:restore")
        _check_restorable(backup)
        if volume_id is not None:
            volume = await volumes.get(cinder, tx, ctx, volume_id)
            cinder.policy.enforce("volume:update", ctx.identity, volume.target)
            if volume.size < backup.size:
                raise InvalidVolume(reason=f"volume size {volume.size} is too small to restore backup of size "
                                           f"{backup.size}.")
            states = ("available", "error", "error_restoring")
            if volume.host != backup.host:
                raise InvalidVolume(reason=f"volume {volume.id} is on host {volume.host}, the backup's manager on "
                                           f"{backup.host}.")
            if volume.attachments or not await move(tx, volume.id, states, "restoring-backup"):
                raise InvalidVolume(reason=f"Volume to be restored to must be {or_list(states[:1])}, but it is "
                                           f"{volume.status}.")
            new = False
        else:
            order = volume_create.Order(name=name or f"restore_backup_{backup_id}", description=backup.description)
            volume = await _insert_volume(cinder, tx, ctx, order, backup)
            new = True
        await _submit_restore(cinder, tx, ctx, backup, volume, new=new)
        found = await volumes.read(tx, volume.id)
    cinder.engine.wake()
    assert found is not None
    return backup, found


async def create_volume_from_backup(cinder: Cinder, ctx: Context, order: volume_create.Order, backup_id: str
                                    ) -> Volume:
    """Order a new volume with a backup's bytes."""
    async with cinder.db.write() as tx:
        backup = await get(cinder, tx, ctx, backup_id, "backup:restore")
        cinder.policy.enforce("volume:create", ctx.identity, {"project_id": ctx.identity.project_id})
        _check_restorable(backup)
        volume = await _insert_volume(cinder, tx, ctx, order, backup)
        await _submit_restore(cinder, tx, ctx, backup, volume, new=True)
    cinder.engine.wake()
    return volume


def _check_restorable(backup: Backup) -> None:
    if backup.status != "available":
        raise InvalidBackup(reason=f"Backup status must be available, but it is {backup.status}.")


async def _submit_restore(cinder: Cinder, tx: Tx, ctx: Context, backup: Backup, volume: Volume, *, new: bool) -> None:
    await set_status(tx, backup.id, "restoring", restore_volume_id=volume.id)
    await cinder.engine.submit(tx, RESTORE, volume.id, {
        "host": backup.host, "new": new, "size": volume.size, "backup_id": backup.id,
        "backup_volume_id": backup.volume_id, "project_id": backup.project_id, "container": backup.container}, ctx)


async def _insert_volume(cinder: Cinder, tx: Tx, ctx: Context, order: volume_create.Order, backup: Backup) -> Volume:
    """The record of a new volume for a backup, on the host of the backup's manager."""
    size = order.size or backup.size
    if size < backup.size:
        raise InvalidInput(reason=f"Volume size {size}GB cannot be smaller than the backup size {backup.size}GB. It "
                                  "must be >= backup size.")
    kind = await volume_types.find_type(tx, ctx, order.volume_type) if order.volume_type else \
        await volume_types.get_default_type(tx, ctx)
    if kind.multiattach:
        cinder.policy.enforce("volume:multiattach", ctx.identity, {"project_id": ctx.identity.project_id})
    await volume_create.check_encryption(tx, kind)
    if order.group_id is not None:
        raise InvalidInput(reason="A volume made from a backup enters a group afterwards, not at once.")
    zone = await services.check_zone(tx, order.availability_zone or backup.availability_zone)
    await quotas.check_size(tx, ctx.project_id, size)
    await quotas.check(tx, ctx.project_id, kind.name, {"volumes": 1, "gigabytes": size})
    volume_id = str(uuid.uuid4())
    await tx.execute(sa.insert(volumes_table).values(
        id=volume_id, project_id=ctx.project_id, user_id=ctx.user_id, name=order.name, description=order.description,
        status="restoring-backup", status_since=time.time(), size=size, host=backup.host, availability_zone=zone,
        volume_type_id=kind.id, bootable=False, multiattach=kind.multiattach, readonly=False, consumes_quota=True,
        created_at=utcnow()))
    for key, value in order.metadata.items():
        await tx.execute(sa.insert(volume_metadata).values(volume_id=volume_id, key=key, value=value))
    volume = await volumes.read(tx, volume_id)
    assert volume is not None
    return volume


# ---- records that go from one cloud to another

class Record(msgspec.Struct, kw_only=True):
    """What an exported record says; the objects themselves stay where they are."""

    id: str
    project_id: str
    user_id: str
    volume_id: str
    size: int
    object_count: int
    container: str
    name: str | None = None
    description: str | None = None
    metadata: dict[str, str] = {}

    def __post_init__(self) -> None:
        for text in (self.id, self.volume_id):
            uuid.UUID(text)
        if not 0 < self.size < 2**31 or not 0 <= self.object_count < 2**31:
            raise ValueError("size and object_count must be sensible numbers")
        for text in (self.project_id, self.user_id):
            if not 0 < len(text) <= 64 or not text.isalnum():
                raise ValueError("project_id and user_id must be ids")
        if not 0 < len(self.container) <= 255 or "/" in self.container or not self.container.isprintable() \
                or self.container in (".", ".."):
            raise ValueError("container must be a container's name")
        if len(self.name or "") > 255 or len(self.description or "") > 255:
            raise ValueError("name and description may have 255 characters")


async def export_record(cinder: Cinder, ctx: Context, backup_id: str) -> Record:
    async with cinder.db.read() as tx:
        backup = await get(cinder, tx, ctx, backup_id, "backup:export-import")
    if backup.status != "available":
        raise InvalidBackup(reason=f"Backup status must be available and not {backup.status}.")
    if backup.parent_id is not None:
        raise InvalidBackup(reason="An incremental backup is nothing without its parents, and cannot be exported.")
    return Record(id=backup.id, project_id=backup.project_id, user_id=backup.user_id, volume_id=backup.volume_id,
                  size=backup.size, object_count=backup.object_count,
                  container=backup.container or DEFAULT_CONTAINER, name=backup.name, description=backup.description,
                  metadata=backup.metadata)


async def import_record(cinder: Cinder, ctx: Context, record: Record) -> Backup:
    """Take in a record whose objects are in this cloud's object store already."""
    cinder.policy.enforce("backup:backup-import", ctx.identity)
    async with cinder.db.write() as tx:
        if await read(tx, record.id) is not None:
            raise InvalidBackup(reason=f"Backup {record.id} already exists in database")
        managers = [row for row in await services.list_services(tx, "cinder-backup") if services.is_up(cinder, row)]
        if not managers:
            raise Unavailable("Service cinder-backup could not be found.")
        now = utcnow()
        await tx.execute(sa.insert(table).values(
            **msgspec.structs.asdict(record), status="available", status_since=time.time(), host=managers[0].host,
            availability_zone=managers[0].availability_zone, data_timestamp=now, created_at=now))
        backup = await read(tx, record.id)
    assert backup is not None
    return backup
