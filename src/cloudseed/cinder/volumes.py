"""Volumes' records: reading with the caller's eyes, and the changes that need no manager."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from cloudseed.cinder.errors import InvalidVolume, MetadataNotFound, VolumeNotFound
from cloudseed.cinder.listing import Listing, Page, boolean, equals, like, pairs, times
from cloudseed.cinder.models import attachments, volume_image_metadata, volume_metadata, volume_types, volumes
from cloudseed.cinder.state import Cinder
from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx, utcnow
from cloudseed.kernel.errors import Invalid


class Attachment(msgspec.Struct, frozen=True, kw_only=True):
    """A place at a volume; see models.attachments."""

    id: str
    volume_id: str
    project_id: str
    instance_uuid: str | None
    attach_status: str
    attach_mode: str
    attached_host: str | None
    mountpoint: str | None
    connector: dict[str, Any] | None
    connection_info: dict[str, Any] | None
    attach_time: datetime.datetime | None
    created_at: datetime.datetime
    updated_at: datetime.datetime | None


class Volume(msgspec.Struct, frozen=True, kw_only=True):
    """A volume with its metadata and attachments.  Sizes in GiB."""

    id: str
    project_id: str
    user_id: str
    name: str | None
    description: str | None
    status: str
    status_since: float
    size: int
    growing_to: int | None
    previous_status: str | None
    migration_status: str | None
    host: str | None
    availability_zone: str
    volume_type_id: str
    snapshot_id: str | None
    source_volid: str | None
    bootable: bool
    multiattach: bool
    readonly: bool
    readonly_said: bool | None
    group_id: str | None
    consumes_quota: bool
    created_at: datetime.datetime
    updated_at: datetime.datetime | None
    type_name: str
    metadata: dict[str, str] = {}
    image_metadata: dict[str, str] = {}
    attachments: list[Attachment] = []

    @property
    def target(self) -> dict[str, Any]:
        """The fields that policy looks at."""
        return {"project_id": self.project_id, "user_id": self.user_id}

    @property
    def attach_status(self) -> str:
        return "attached" if any(a.attach_status == "attached" for a in self.attachments) else "detached"


_SELECT = sa.select(volumes, volume_types.c.name.label("type_name")).join(
    volume_types, volume_types.c.id == volumes.c.volume_type_id)
_COLUMNS = [*volumes.c, sa.select(volume_types.c.name).where(volume_types.c.id == volumes.c.volume_type_id)
            .scalar_subquery().label("type_name")]


# what hangs on volumes; `ids` are filled up to a round number (_of), so that the database knows the statement again
_IDS: sa.BindParameter[list[str]] = sa.bindparam("ids", expanding=True)
_NOTES, _OF_IMAGES = (sa.select(table.c.volume_id, table.c.key, table.c.value).where(table.c.volume_id.in_(_IDS))
                      for table in (volume_metadata, volume_image_metadata))
_ROUND = 64
_CONNECTION = ("connector", "connection_info")  # long, and no view of a volume shows them
_PLACES, _PLACES_BRIEFLY = (
    sa.select(*(attachments.c[name] for name in Attachment.__struct_fields__ if name not in left_out))
    .where(attachments.c.volume_id.in_(_IDS)).order_by(attachments.c.created_at, attachments.c.id)
    for left_out in ((), _CONNECTION))
_BRIEFLY = dict.fromkeys(_CONNECTION)


def attachment_from_row(row: Any) -> Attachment:
    fields = dict(row._mapping)
    fields.pop("status_since", None)
    return Attachment(**fields)


def _of(rows: Sequence[Any]) -> dict[str, list[str]]:
    ids = [row.id for row in rows]
    return {"ids": ids + ids[-1:] * (-len(ids) % _ROUND if len(ids) > 1 else 0)}


async def load(tx: Tx, rows: Sequence[Any], *, connections: bool = True) -> list[Volume]:
    """Rows of volumes (with `type_name`) with all that hangs on them: three statements, however many volumes.

    Without `connections` no attachment says how it is connected.
    """
    if not rows:
        return []
    ids = _of(rows)
    notes: dict[str, dict[str, str]] = {}
    of_images: dict[str, dict[str, str]] = {}
    for statement, found in ((_NOTES, notes), (_OF_IMAGES, of_images)):
        for volume_id, key, value in await tx.all(statement, ids):
            found.setdefault(volume_id, {})[key] = value
    places: dict[str, list[Attachment]] = {}
    fields: Mapping[str, Any] = {} if connections else _BRIEFLY
    for place in _records(await tx.all(_PLACES if connections else _PLACES_BRIEFLY, ids)):
        places.setdefault(place["volume_id"], []).append(Attachment(**place, **fields))
    return [Volume(**record, metadata=notes.get(record["id"], {}), image_metadata=of_images.get(record["id"], {}),
                   attachments=places.get(record["id"], [])) for record in _records(rows)]


def _records(rows: Sequence[Any]) -> Iterable[dict[str, Any]]:
    """Rows of one statement by their columns' names; `_mapping` takes three times as long."""
    names = rows[0]._fields if rows else ()
    return (dict(zip(names, row, strict=True)) for row in rows)


async def read(tx: Tx, volume_id: str) -> Volume | None:
    """A volume, for work that is already allowed."""
    rows = await tx.all(_SELECT.where(volumes.c.id == volume_id))
    return (await load(tx, rows))[0] if rows else None


async def get(cinder: Cinder, tx: Tx, ctx: Context, volume_id: str, rule: str = "volume:get") -> Volume:
    """A volume that the caller may do `rule` to.  Raises VolumeNotFound where it may not even be seen, Forbidden."""
    volume = await read(tx, volume_id)
    if volume is None or not cinder.policy.check("volume:get", ctx.identity, volume.target):
        raise VolumeNotFound(volume_id=volume_id)
    cinder.policy.enforce(rule, ctx.identity, volume.target)
    return volume


async def get_volume(cinder: Cinder, ctx: Context, volume_id: str, rule: str = "volume:get") -> Volume:
    async with cinder.db.read() as tx:
        return await get(cinder, tx, ctx, volume_id, rule)


# ---- lists

SORT_KEYS = {"name": volumes.c.name, **{key: volumes.c[key] for key in (
    "id", "status", "size", "host", "created_at", "updated_at", "availability_zone", "bootable", "user_id",
    "project_id", "volume_type_id", "migration_status", "description")},
    "display_name": volumes.c.name, "display_description": volumes.c.description}
LISTING = Listing(volumes, SORT_KEYS, lambda marker: VolumeNotFound(volume_id=marker))
FILTERS = {
    "name": equals(volumes.c.name), "display_name": equals(volumes.c.name), "name~": like(volumes.c.name),
    "status": equals(volumes.c.status), "status~": like(volumes.c.status),
    "metadata": pairs(volume_metadata, volume_metadata.c.volume_id, volumes.c.id),
    "glance_metadata": pairs(volume_image_metadata, volume_image_metadata.c.volume_id, volumes.c.id),
    "bootable": boolean(volumes.c.bootable), "multiattach": boolean(volumes.c.multiattach),
    "migration_status": equals(volumes.c.migration_status),
    "availability_zone": equals(volumes.c.availability_zone),
    "availability_zone~": like(volumes.c.availability_zone),
    "group_id": equals(volumes.c.group_id), "size": equals(volumes.c.size), "id": equals(volumes.c.id),
    "created_at": times(volumes.c.created_at), "updated_at": times(volumes.c.updated_at),
    "consumes_quota": boolean(volumes.c.consumes_quota)}
ADMIN_FILTERS = {
    "host": equals(volumes.c.host), "project_id": equals(volumes.c.project_id),
    "user_id": equals(volumes.c.user_id), "volume_type_id": equals(volumes.c.volume_type_id),
    "snapshot_id": equals(volumes.c.snapshot_id), "source_volid": equals(volumes.c.source_volid),
    "description": equals(volumes.c.description)}


async def list_volumes(cinder: Cinder, ctx: Context, page: Page, where: Sequence[Any], *, everybody: bool,
                       with_count: bool = False) -> tuple[list[Volume], int | None]:
    """One page of the caller's (or everybody's) volumes, and how many there are in all if asked."""
    cinder.policy.enforce("volume:get_all", ctx.identity, {"project_id": ctx.identity.project_id})
    scope = [] if everybody else [volumes.c.project_id == ctx.project_id]
    async with cinder.db.read() as tx:
        rows = await LISTING.rows(tx, page, where, _COLUMNS, visible=scope)
        count = await LISTING.count(tx, [*scope, *where]) if with_count else None
        return await load(tx, rows, connections=False), count


async def summarize(cinder: Cinder, ctx: Context, where: Sequence[Any], *, everybody: bool
                    ) -> tuple[int, int, dict[str, list[str]]]:
    """Number, GiB and all metadata of the caller's volumes."""
    cinder.policy.enforce("volume:get_all", ctx.identity, {"project_id": ctx.identity.project_id})
    conditions = [*where, *([] if everybody else [volumes.c.project_id == ctx.project_id])]
    async with cinder.db.read() as tx:
        row = await tx.first(sa.select(sa.func.count().label("number"), sa.func.sum(volumes.c.size).label("size"))
                             .where(*conditions))
        found: dict[str, list[str]] = {}
        for pair in await tx.all(
                sa.select(volume_metadata.c.key, volume_metadata.c.value).distinct()
                .join(volumes, volumes.c.id == volume_metadata.c.volume_id).where(*conditions)
                .order_by(volume_metadata.c.key, volume_metadata.c.value)):
            found.setdefault(pair.key, []).append(pair.value)
    assert row is not None
    return row.number, row.size or 0, found


# ---- changes of the record alone

async def update_volume(cinder: Cinder, ctx: Context, volume_id: str, changes: dict[str, Any],
                        metadata: Mapping[str, str] | None = None) -> Volume:
    """Change name, description and, if given, replace the metadata."""
    async with cinder.db.write() as tx:
        volume = await get(cinder, tx, ctx, volume_id, "volume:update")
        check_not_in_maintenance(volume, "updated")
        await tx.execute(sa.update(volumes).where(volumes.c.id == volume_id).values(**changes, updated_at=utcnow()))
        if metadata is not None:
            await replace_pairs(tx, volume_metadata, volume_id, metadata)
        return await get(cinder, tx, ctx, volume_id)


def check_not_in_maintenance(volume: Volume, what: str) -> None:
    if volume.status == "maintenance":
        raise InvalidVolume(reason=f"The volume {volume.id} cannot be {what} during maintenance.")


async def replace_pairs(tx: Tx, table: sa.Table, volume_id: str, metadata: Mapping[str, str]) -> None:
    await tx.execute(sa.delete(table).where(table.c.volume_id == volume_id))
    for key, value in metadata.items():
        await tx.execute(sa.insert(table).values(volume_id=volume_id, key=key, value=value))


MAX_PAIRS = 128  # upstream's quota_metadata_items


async def change_metadata(cinder: Cinder, ctx: Context, volume_id: str, metadata: Mapping[str, str], *,
                          replace: bool, rule: str) -> dict[str, str]:
    """Replace, or add to, the metadata; all of it afterwards."""
    async with cinder.db.write() as tx:
        volume = await get(cinder, tx, ctx, volume_id, rule)
        check_not_in_maintenance(volume, "updated")
        whole = dict(metadata) if replace else {**volume.metadata, **metadata}
        if len(whole) > MAX_PAIRS:
            raise Invalid(f"A volume may have {MAX_PAIRS} metadata items; these would be {len(whole)}.")
        await replace_pairs(tx, volume_metadata, volume_id, whole)
        return whole


async def delete_metadata(cinder: Cinder, ctx: Context, volume_id: str, key: str) -> None:
    async with cinder.db.write() as tx:
        volume = await get(cinder, tx, ctx, volume_id, "volume:delete_volume_metadata")
        check_not_in_maintenance(volume, "updated")
        if key not in volume.metadata:
            raise MetadataNotFound()
        await tx.execute(sa.delete(volume_metadata).where(volume_metadata.c.volume_id == volume_id,
                                                          volume_metadata.c.key == key))


async def change_image_metadata(cinder: Cinder, ctx: Context, volume_id: str, metadata: Mapping[str, str]
                                ) -> dict[str, str]:
    async with cinder.db.write() as tx:
        volume = await get(cinder, tx, ctx, volume_id, "volume_extension:volume_image_metadata:set")
        whole = {**volume.image_metadata, **metadata}
        if len(whole) > MAX_PAIRS:
            raise Invalid(f"A volume may have {MAX_PAIRS} image metadata items; these would be {len(whole)}.")
        await replace_pairs(tx, volume_image_metadata, volume_id, whole)
        return whole


async def delete_image_metadata(cinder: Cinder, ctx: Context, volume_id: str, key: str) -> None:
    async with cinder.db.write() as tx:
        volume = await get(cinder, tx, ctx, volume_id, "volume_extension:volume_image_metadata:remove")
        if key not in volume.image_metadata:
            raise MetadataNotFound()
        await tx.execute(sa.delete(volume_image_metadata).where(volume_image_metadata.c.volume_id == volume_id,
                                                                volume_image_metadata.c.key == key))


async def set_flags(cinder: Cinder, ctx: Context, volume_id: str, **flags: bool) -> None:
    """`bootable` or `readonly`."""
    async with cinder.db.write() as tx:
        rule = "volume:update_readonly_flag" if "readonly" in flags else "volume:update"
        volume = await get(cinder, tx, ctx, volume_id, rule)
        if "readonly" in flags:
            if volume.status != "available":
                raise InvalidVolume(reason=f"Volume {volume_id} status must be available to update readonly flag, but "
                                           f"current status is: {volume.status}.")
            flags["readonly_said"] = True
        await tx.execute(sa.update(volumes).where(volumes.c.id == volume_id).values(**flags, updated_at=utcnow()))
