"""A new volume: everything that can be checked is checked, then the record and the order are written at once."""

from __future__ import annotations

import time
import uuid
from typing import Any

import msgspec
import sqlalchemy as sa

from cloudseed.cinder import images, quotas, services, snapshots, volume_types, volumes
from cloudseed.cinder.errors import GroupNotFound, InvalidInput, InvalidVolume
from cloudseed.cinder.models import groups, volume_image_metadata, volume_metadata
from cloudseed.cinder.models import volumes as volumes_table
from cloudseed.cinder.state import Cinder
from cloudseed.cinder.volume_types import VolumeType
from cloudseed.cinder.volume_work import CREATE
from cloudseed.cinder.volumes import Volume
from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx, utcnow
from cloudseed.kernel.errors import Invalid

SOURCE_STATES = ("available", "in-use")


class Order(msgspec.Struct, kw_only=True):
    """What a client asks for; at most one source.  `size` in GiB, None: the source's."""

    size: int | None = None
    name: str | None = None
    description: str | None = None
    metadata: dict[str, str] = {}
    volume_type: str | None = None
    availability_zone: str | None = None
    snapshot_id: str | None = None
    source_volid: str | None = None
    image: dict[str, Any] | None = None  # as glance describes it
    group_id: str | None = None


class _Source(msgspec.Struct, kw_only=True):
    """Where the bytes come from."""

    wire: dict[str, Any] | None = None  # as the manager is told
    size: int = 0
    host: str | None = None
    zone: str | None = None
    type_id: str | None = None
    bootable: bool = False
    image_metadata: dict[str, str] = {}


async def create_volume(cinder: Cinder, ctx: Context, order: Order) -> Volume:
    """Order a volume.  Raises Invalid, QuotaExceeded, not-found for the source or the type."""
    async with cinder.db.write() as tx:
        volume = await submit(cinder, tx, ctx, order)
    cinder.engine.wake()
    return volume


async def submit(cinder: Cinder, tx: Tx, ctx: Context, order: Order) -> Volume:
    """As `create_volume`, within the caller's transaction; the caller wakes the engine."""
    cinder.policy.enforce("volume:create", ctx.identity, {"project_id": ctx.identity.project_id})
    if order.image is not None:
        cinder.policy.enforce("volume:create_from_image", ctx.identity, {"project_id": ctx.identity.project_id})
    if not ctx.project_id:
        raise Invalid("A volume belongs to a project: use a token with a project scope.")
    volume_id = str(uuid.uuid4())
    source = await _source(cinder, tx, ctx, order)
    size = order.size if order.size is not None else source.size
    if size <= 0:
        raise InvalidInput(reason=f"Volume size '{size or None}' must be an integer and greater than 0")
    if size < source.size:
        what = "the snapshot" if order.snapshot_id else "original volume"
        raise InvalidInput(reason=f"Volume size '{size}'GB cannot be smaller than {what} size {source.size}GB. "
                                  "They must be >= original size.")
    if order.image is not None:
        images.check_image(order.image, size)
    kind = await _type(tx, ctx, order, source)
    if kind.multiattach:
        cinder.policy.enforce("volume:multiattach", ctx.identity, {"project_id": ctx.identity.project_id})
    if order.group_id is not None:
        await _check_group(tx, ctx, order.group_id, kind)
    zone = await services.check_zone(tx, order.availability_zone or source.zone)
    if source.zone is not None and zone != source.zone:
        raise Invalid(f"Volume must be in the same availability zone as its source ({source.zone}).")
    await quotas.check_size(tx, ctx.project_id, size)
    await quotas.check(tx, ctx.project_id, kind.name, {"volumes": 1, "gigabytes": size})
    await tx.execute(sa.insert(volumes_table).values(
        id=volume_id, project_id=ctx.project_id, user_id=ctx.user_id, name=order.name,
        description=order.description, status="creating", status_since=time.time(), size=size, host=source.host,
        availability_zone=zone, volume_type_id=kind.id, snapshot_id=order.snapshot_id,
        source_volid=order.source_volid, bootable=False, multiattach=kind.multiattach, readonly=False,
        group_id=order.group_id, consumes_quota=True, created_at=utcnow()))
    for key, value in order.metadata.items():
        await tx.execute(sa.insert(volume_metadata).values(volume_id=volume_id, key=key, value=value))
    for key, value in source.image_metadata.items():
        await tx.execute(sa.insert(volume_image_metadata).values(volume_id=volume_id, key=key, value=value))
    await cinder.engine.submit(tx, CREATE, volume_id, {
        "size": size, "zone": zone, "extra_specs": kind.extra_specs, "source": source.wire,
        "host": source.host, "bootable": source.bootable}, ctx)
    volume = await volumes.read(tx, volume_id)
    assert volume is not None
    return volume


async def _check_group(tx: Tx, ctx: Context, group_id: str, kind: VolumeType) -> None:
    """A group of the caller's project that takes volumes of this type."""
    group = await tx.first(sa.select(groups).where(groups.c.id == group_id, groups.c.project_id == ctx.project_id))
    if group is None:
        raise GroupNotFound(group_id=group_id)
    if group.status != "available":
        raise InvalidInput(reason=f"Group {group_id} status must be available, but it is {group.status}.")
    if kind.id not in group.volume_types:
        raise InvalidInput(reason=f"Volume type {kind.name} is not one of the types of group {group_id}.")


async def _source(cinder: Cinder, tx: Tx, ctx: Context, order: Order) -> _Source:
    if order.snapshot_id is not None:
        snapshot = await snapshots.get(cinder, tx, ctx, order.snapshot_id)
        if snapshot.status != "available":
            raise InvalidInput(reason=f"Originating snapshot status must be one of 'available' values, but it is "
                                      f"{snapshot.status}.")
        origin = await volumes.read(tx, snapshot.volume_id)
        assert origin is not None  # a volume with snapshots is not deleted
        wire, size = {"kind": "snapshot", "id": snapshot.id, "volume_id": origin.id}, snapshot.volume_size
    elif order.source_volid is not None:
        origin = await volumes.get(cinder, tx, ctx, order.source_volid)
        if origin.status not in SOURCE_STATES:
            raise InvalidVolume(reason="Originating source volume status must be one of 'available, in-use' values, "
                                       f"but it is {origin.status}.")
        wire, size = {"kind": "volume", "id": origin.id}, origin.size
    elif order.image is not None:
        return _Source(wire={"kind": "image", "id": order.image["id"]}, bootable=True,
                       image_metadata=images.image_metadata(order.image))
    else:
        return _Source()
    return _Source(wire=wire, size=size, host=origin.host, zone=origin.availability_zone,
                   type_id=origin.volume_type_id, bootable=origin.bootable, image_metadata=origin.image_metadata)


async def _type(tx: Tx, ctx: Context, order: Order, source: _Source) -> VolumeType:
    if order.volume_type:
        kind = await volume_types.find_type(tx, ctx, order.volume_type)
    elif source.type_id is not None:
        kind = await volume_types.get_any_type(tx, source.type_id)
    else:
        named = order.image.get("cinder_img_volume_type") if order.image else None
        kind = await volume_types.find_type(tx, ctx, named) if named else await volume_types.get_default_type(tx, ctx)
    await check_encryption(tx, kind)
    return kind


async def check_encryption(tx: Tx, kind: VolumeType) -> None:
    """Raises Invalid for a type whose volumes would have to be encrypted."""
    if await volume_types.encryptions(tx, [kind.id]):
        raise Invalid(f"The volume type {kind.name} asks for encryption, which this cloud cannot do: it has no key "
                      "manager. Use another volume type.")
