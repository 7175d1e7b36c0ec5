"""Groups of volumes, and snapshots of all of a group's volumes; their durable operations.

    group delete             volumes -> forget             `error_deleting`
    group snapshot create    bytes -> finish               undone: the snapshots go; it is left in `error`
    group snapshot delete    bytes -> forget               `error_deleting`

A group itself has no bytes: it is a record to which volumes point.  The snapshots of a group snapshot are made one
after the other, each consistent for itself.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from cloudseed.cinder import group_types, quotas, services, snapshots, volume_create, volume_types, volumes
from cloudseed.cinder.errors import GroupNotFound, GroupSnapshotNotFound
from cloudseed.cinder.listing import Listing, Page, equals
from cloudseed.cinder.models import group_snapshots as gs_table
from cloudseed.cinder.models import groups as table
from cloudseed.cinder.models import snapshots as snapshots_table
from cloudseed.cinder.models import volumes as volumes_table
from cloudseed.cinder.state import Cinder
from cloudseed.cinder.volume_states import move
from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx, utcnow
from cloudseed.kernel.errors import CloudseedError, Conflict, Invalid
from cloudseed.kernel.operations import OperationType, Run, Step

DELETE = OperationType("cinder.group.delete", ())
SNAPSHOT = OperationType("cinder.group_snapshot.create", ())
UNSNAPSHOT = OperationType("cinder.group_snapshot.delete", ())
LISTING = Listing(table, {key: table.c[key] for key in ("id", "name", "status", "created_at", "updated_at")},
                  lambda marker: GroupNotFound(group_id=marker))
GS_LISTING = Listing(gs_table, {key: gs_table.c[key] for key in ("id", "name", "status", "group_id", "created_at")},
                     lambda marker: GroupSnapshotNotFound(group_snapshot_id=marker))
FILTERS = {"name": equals(table.c.name), "status": equals(table.c.status)}
GS_FILTERS = {"name": equals(gs_table.c.name), "status": equals(gs_table.c.status),
              "group_id": equals(gs_table.c.group_id)}
STATES = ("creating", "available", "deleting", "error", "error_deleting", "updating")


async def get(cinder: Cinder, tx: Tx, ctx: Context, group_id: str, rule: str = "group:get") -> Any:
    row = await tx.first(sa.select(table).where(table.c.id == group_id))
    target = {"project_id": row.project_id} if row is not None else {}
    if row is None or not cinder.policy.check("group:get", ctx.identity, target):
        raise GroupNotFound(group_id=group_id)
    cinder.policy.enforce(rule, ctx.identity, target)
    return row


async def get_snapshot(cinder: Cinder, tx: Tx, ctx: Context, snapshot_id: str, rule: str = "group:get_group_snapshot"
                       ) -> Any:
    row = await tx.first(sa.select(gs_table).where(gs_table.c.id == snapshot_id))
    target = {"project_id": row.project_id} if row is not None else {}
    if row is None or not cinder.policy.check("group:get_group_snapshot", ctx.identity, target):
        raise GroupSnapshotNotFound(group_snapshot_id=snapshot_id)
    cinder.policy.enforce(rule, ctx.identity, target)
    return row


async def list_groups(cinder: Cinder, ctx: Context, page: Page, where: Sequence[Any], *, everybody: bool
                      ) -> Sequence[Any]:
    cinder.policy.enforce("group:get_all", ctx.identity, {"project_id": ctx.identity.project_id})
    scope = [] if everybody else [table.c.project_id == ctx.project_id]
    async with cinder.db.read() as tx:
        return await LISTING.rows(tx, page, where, visible=scope)


async def list_snapshots(cinder: Cinder, ctx: Context, page: Page, where: Sequence[Any], *, everybody: bool
                         ) -> Sequence[Any]:
    cinder.policy.enforce("group:get_all_group_snapshots", ctx.identity, {"project_id": ctx.identity.project_id})
    scope = [] if everybody else [gs_table.c.project_id == ctx.project_id]
    async with cinder.db.read() as tx:
        return await GS_LISTING.rows(tx, page, where, visible=scope)


async def volume_ids(tx: Tx, group_ids: Sequence[str]) -> dict[str, list[str]]:
    """The volumes of groups."""
    found: dict[str, list[str]] = {}
    for row in await tx.all(sa.select(volumes_table.c.id, volumes_table.c.group_id)
                            .where(volumes_table.c.group_id.in_(list(group_ids))).order_by(volumes_table.c.id)):
        found.setdefault(row.group_id, []).append(row.id)
    return found


async def create_group(cinder: Cinder, ctx: Context, *, name: str | None, description: str | None, group_type: str,
                       types: Sequence[str], zone: str | None) -> Any:
    cinder.policy.enforce("group:create", ctx.identity, {"project_id": ctx.identity.project_id})
    async with cinder.db.write() as tx:
        kind = await group_types.get(tx, ctx, group_type)
        ids = [(await volume_types.find_type(tx, ctx, text)).id for text in types]
        return await _insert(tx, ctx, name=name, description=description, group_type_id=kind.id, types=ids,
                             zone=await services.check_zone(tx, zone))


async def _insert(tx: Tx, ctx: Context, *, name: str | None, description: str | None, group_type_id: str,
                  types: Sequence[str], zone: str, **source: str) -> Any:
    if not ctx.project_id:
        raise Invalid("A group belongs to a project: use a token with a project scope.")
    await quotas.check(tx, ctx.project_id, None, {"groups": 1})
    group_id = str(uuid.uuid4())
    await tx.execute(sa.insert(table).values(
        id=group_id, project_id=ctx.project_id, user_id=ctx.user_id, name=name, description=description,
        status="available", status_since=time.time(), group_type_id=group_type_id, volume_types=list(types),
        availability_zone=zone, created_at=utcnow(), **source))
    return await tx.first(sa.select(table).where(table.c.id == group_id))


async def create_from_source(cinder: Cinder, ctx: Context, *, name: str | None, description: str | None,
                             group_snapshot_id: str | None, source_group_id: str | None) -> Any:
    """A new group with a new volume for each of the source's."""
    async with cinder.db.write() as tx:
        if group_snapshot_id is not None:
            gs = await get_snapshot(cinder, tx, ctx, group_snapshot_id)
            if gs.status != "available":
                raise Invalid(f"Invalid group snapshot: {gs.id} is {gs.status}.")
            origin = await get(cinder, tx, ctx, gs.group_id)
            found = await tx.scalars(sa.select(snapshots_table.c.id)
                                     .where(snapshots_table.c.group_snapshot_id == gs.id))
            orders = [volume_create.Order(snapshot_id=one) for one in found]
            source = {"group_snapshot_id": gs.id}
        else:
            origin = await get(cinder, tx, ctx, str(source_group_id))
            orders = [volume_create.Order(source_volid=one)
                      for one in (await volume_ids(tx, [origin.id])).get(origin.id, [])]
            source = {"source_group_id": origin.id}
        cinder.policy.enforce("group:create", ctx.identity, {"project_id": ctx.identity.project_id})
        if not orders:
            raise Invalid(f"Invalid group: the source of the group has no volumes ({origin.id}).")
        group = await _insert(tx, ctx, name=name, description=description, group_type_id=origin.group_type_id,
                              types=origin.volume_types, zone=origin.availability_zone, **source)
        for order in orders:
            order.group_id = group.id
            await volume_create.submit(cinder, tx, ctx, order)
    cinder.engine.wake()
    return group


async def update_group(cinder: Cinder, ctx: Context, group_id: str, changes: dict[str, Any], add: Sequence[str],
                       remove: Sequence[str]) -> None:
    async with cinder.db.write() as tx:
        group = await get(cinder, tx, ctx, group_id, "group:update")
        if group.status != "available":
            raise Invalid(f"Invalid group: Group {group_id} status must be available, but it is {group.status}.")
        for volume_id in add:
            volume = await volumes.get(cinder, tx, ctx, volume_id, "volume:update")
            if volume.group_id not in (None, group_id) or volume.status not in ("available", "in-use") or \
                    volume.volume_type_id not in group.volume_types or volume.project_id != group.project_id:
                raise Invalid(f"Invalid volume: Cannot add volume {volume_id} to group {group_id}: it must be of the "
                              "group's project and types, be available or in-use, and be in no other group.")
            await _point(tx, volume_id, group_id)
        for volume_id in remove:
            volume = await volumes.get(cinder, tx, ctx, volume_id, "volume:update")
            if volume.group_id != group_id:
                raise Invalid(f"Invalid volume: Cannot remove volume {volume_id}: it is not in group {group_id}.")
            await _point(tx, volume_id, None)
        await tx.execute(sa.update(table).where(table.c.id == group_id).values(**changes, updated_at=utcnow()))


async def _point(tx: Tx, volume_id: str, group_id: str | None) -> None:
    await tx.execute(sa.update(volumes_table).where(volumes_table.c.id == volume_id)
                     .values(group_id=group_id, updated_at=utcnow()))


async def delete_group(cinder: Cinder, ctx: Context, group_id: str, *, with_volumes: bool) -> None:
    async with cinder.db.write() as tx:
        group = await get(cinder, tx, ctx, group_id, "group:delete")
        if group.status not in ("available", "error", "error_deleting"):
            raise Invalid(f"Invalid group: Group status must be available or error, but it is {group.status}.")
        if await tx.scalar(sa.select(sa.func.count()).select_from(gs_table).where(gs_table.c.group_id == group_id)):
            raise Invalid(f"Invalid group: Group {group_id} has group snapshots.")
        ids = (await volume_ids(tx, [group_id])).get(group_id, [])
        if ids and not with_volumes:
            raise Invalid(f"Invalid group: Group {group_id} is not empty: its volumes go with it when delete-volumes "
                          "is true.")
        hosts = []
        for volume_id in ids:
            volume = await volumes.read(tx, volume_id)
            assert volume is not None
            kept = await tx.scalar(sa.select(sa.func.count()).select_from(snapshots_table)
                                   .where(snapshots_table.c.volume_id == volume_id))
            if kept or volume.attachments or not await move(tx, volume_id, ["available", "error", "error_deleting"],
                                                            "deleting"):
                raise Invalid(f"Invalid group: its volume {volume_id} is {volume.status}, attached, or has snapshots.")
            hosts.append((volume_id, volume.host))
        await _set(tx, table, group_id, "deleting")
        await cinder.engine.submit(tx, DELETE, group_id, {"volumes": hosts}, ctx)
    cinder.engine.wake()


async def _set(tx: Tx, which: sa.Table, id: str, status: str) -> None:
    await tx.execute(sa.update(which).where(which.c.id == id)
                     .values(status=status, status_since=time.time(), updated_at=utcnow()))


async def reset_status(cinder: Cinder, ctx: Context, id: str, status: str, *, snapshot: bool = False) -> None:
    async with cinder.db.write() as tx:
        row = await (get_snapshot(cinder, tx, ctx, id, "group:reset_group_snapshot_status") if snapshot else
                     get(cinder, tx, ctx, id, "group:reset_status"))
        if status not in STATES:
            raise Invalid(f"Cannot reset-state to {status[:40]}")
        if row.status == "deleting":
            raise Conflict(f"{id} is being deleted.")
        await _set(tx, gs_table if snapshot else table, id, status)


# ---- group snapshots

async def create_snapshot(cinder: Cinder, ctx: Context, group_id: str, *, name: str | None, description: str | None
                          ) -> Any:
    async with cinder.db.write() as tx:
        group = await get(cinder, tx, ctx, group_id)
        cinder.policy.enforce("group:create_group_snapshot", ctx.identity, {"project_id": group.project_id})
        ids = (await volume_ids(tx, [group_id])).get(group_id, [])
        if not ids:
            raise Invalid(f"Invalid group: Group {group_id} is empty. No group snapshot will be created.")
        gs_id = str(uuid.uuid4())
        await tx.execute(sa.insert(gs_table).values(
            id=gs_id, project_id=group.project_id, user_id=ctx.user_id, name=name, description=description,
            status="creating", status_since=time.time(), group_id=group_id, group_type_id=group.group_type_id,
            created_at=utcnow()))
        work = []
        for volume_id in ids:
            volume = await volumes.read(tx, volume_id)
            assert volume is not None
            if volume.status not in ("available", "in-use"):
                raise Invalid(f"Invalid volume: the group's volume {volume_id} is {volume.status}.")
            work.append((await snapshots.insert(tx, ctx, volume, name=name, description=description, metadata={},
                                                group_snapshot_id=gs_id), volume_id, volume.host))
        await cinder.engine.submit(tx, SNAPSHOT, gs_id, {"snapshots": work}, ctx)
        row = await tx.first(sa.select(gs_table).where(gs_table.c.id == gs_id))
    cinder.engine.wake()
    return row


async def delete_snapshot(cinder: Cinder, ctx: Context, gs_id: str) -> None:
    async with cinder.db.write() as tx:
        row = await get_snapshot(cinder, tx, ctx, gs_id, "group:delete_group_snapshot")
        if row.status not in ("available", "error"):
            raise Invalid(f"Invalid group snapshot: its status must be available or error, but it is {row.status}.")
        work = [tuple(found) for found in await tx.all(
            sa.select(snapshots_table.c.id, snapshots_table.c.volume_id, volumes_table.c.host)
            .join(volumes_table, volumes_table.c.id == snapshots_table.c.volume_id)
            .where(snapshots_table.c.group_snapshot_id == gs_id))]
        for snapshot_id, _, _ in work:
            await snapshots.set_status(tx, snapshot_id, "deleting")
        await _set(tx, gs_table, gs_id, "deleting")
        await cinder.engine.submit(tx, UNSNAPSHOT, gs_id, {"snapshots": work}, ctx)
    cinder.engine.wake()


class GroupWork:
    """The steps of the operations."""

    def __init__(self, cinder: Cinder) -> None:
        self._cinder = cinder

    def types(self) -> list[OperationType]:
        return [DELETE._replace(steps=(Step("volumes", self.delete_volumes, patience_s=300.0),
                                       Step("forget", self.forget)), failed=self.delete_failed),
                SNAPSHOT._replace(steps=(Step("bytes", self.make, self.remove, 3600.0), Step("finish", self.finish)),
                                  failed=self.make_failed),
                UNSNAPSHOT._replace(steps=(Step("bytes", self.remove, patience_s=300.0),
                                           Step("forget", self.forget_snapshot)), failed=self.remove_failed)]

    async def delete_volumes(self, run: Run) -> None:
        for volume_id, host in run.data["volumes"]:
            if host is not None:
                await self._cinder.managers.delete_volume(run.ctx, host, volume_id)
            async with self._cinder.db.write() as tx:
                await tx.execute(sa.delete(volumes_table).where(volumes_table.c.id == volume_id))

    async def forget(self, run: Run) -> None:
        async with self._cinder.db.write() as tx:
            await tx.execute(sa.delete(table).where(table.c.id == run.resource_id))

    async def delete_failed(self, run: Run, error: CloudseedError) -> None:
        async with self._cinder.db.write() as tx:
            await _set(tx, table, run.resource_id, "error_deleting")
            await tx.execute(sa.update(volumes_table).where(
                volumes_table.c.group_id == run.resource_id, volumes_table.c.status == "deleting")
                .values(status="error_deleting", status_since=time.time()))

    async def make(self, run: Run) -> None:
        for snapshot_id, volume_id, host in run.data["snapshots"]:
            await self._cinder.managers.create_snapshot(run.ctx, host, snapshot_id, volume_id)

    async def remove(self, run: Run) -> None:
        for snapshot_id, volume_id, host in run.data["snapshots"]:
            await self._cinder.managers.delete_snapshot(run.ctx, host, snapshot_id, volume_id)

    async def _all(self, run: Run, old: str, new: str, **values: Any) -> None:
        """Move the group snapshot and its snapshots."""
        async with self._cinder.db.write() as tx:
            await _set(tx, gs_table, run.resource_id, new)
            await tx.execute(sa.update(snapshots_table).where(
                snapshots_table.c.group_snapshot_id == run.resource_id, snapshots_table.c.status == old)
                .values(status=new, status_since=time.time(), updated_at=utcnow(), **values))

    async def finish(self, run: Run) -> None:
        await self._all(run, "creating", "available", progress="100%")

    async def make_failed(self, run: Run, error: CloudseedError) -> None:
        await self._all(run, "creating", "error")

    async def remove_failed(self, run: Run, error: CloudseedError) -> None:
        await self._all(run, "deleting", "error_deleting")

    async def forget_snapshot(self, run: Run) -> None:
        async with self._cinder.db.write() as tx:
            await tx.execute(sa.delete(snapshots_table).where(
                snapshots_table.c.group_snapshot_id == run.resource_id))
            await tx.execute(sa.delete(gs_table).where(gs_table.c.id == run.resource_id))
