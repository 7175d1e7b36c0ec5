"""Orders about a volume that exists: each checks, takes the volume out of its rest, and submits its operation.

Check, change of status and order are one transaction, so of two orders at once one is refused.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from cloudseed.cinder import images, quotas, snapshots, volume_types, volumes
from cloudseed.cinder.errors import InvalidInput, InvalidVolume, NotSupported
from cloudseed.cinder.models import snapshots as snapshots_table
from cloudseed.cinder.models import transfers
from cloudseed.cinder.models import volumes as table
from cloudseed.cinder.state import Cinder
from cloudseed.cinder.volume_states import DELETABLE, STATES, move, or_list, set_status
from cloudseed.cinder.volume_work import CREATE, DELETE, EXTEND, REIMAGE, REVERT, UPLOAD
from cloudseed.cinder.volumes import Volume
from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx, utcnow
from cloudseed.kernel.errors import CloudseedError, Conflict, Invalid


async def delete_volume(cinder: Cinder, ctx: Context, volume_id: str, *, cascade: bool = False, force: bool = False,
                        force_rule: str = "volume:force_delete") -> None:
    """Order a deletion.  `cascade`: with its snapshots; `force`: whatever its status, an attachment forbids it."""
    async with cinder.db.write() as tx:
        volume = await volumes.get(cinder, tx, ctx, volume_id, "volume:delete")
        if force:
            cinder.policy.enforce(force_rule, ctx.identity, volume.target)
        doomed = await _check_deletable(tx, ctx, volume, cascade=cascade, force=force)
        if force:
            # whatever works on it stops and is undone first; the deletion follows
            await cinder.engine.cancel(tx, volume_id)
        await set_status(tx, volume_id, "deleting")
        await tx.execute(sa.update(snapshots_table).where(snapshots_table.c.id.in_(doomed))
                         .values(status="deleting", updated_at=utcnow()))
        await tx.execute(sa.delete(transfers).where(transfers.c.volume_id == volume_id))
        await cinder.engine.submit(tx, DELETE, volume_id, {"host": volume.host, "snapshots": doomed}, ctx)
    cinder.engine.wake()


async def _check_deletable(tx: Tx, ctx: Context, volume: Volume, *, cascade: bool, force: bool) -> list[str]:
    """The ids of the snapshots that go with it.  Raises InvalidVolume that says what holds the volume."""
    known = await tx.all(sa.select(snapshots_table).where(snapshots_table.c.volume_id == volume.id))
    problems = []
    if not force and volume.status not in DELETABLE:
        problems.append(f"its status must be {or_list(DELETABLE)}, but is {volume.status}")
    if volume.status == "deleting":
        problems.append("it is being deleted already")
    if any(a.attach_status == "attached" for a in volume.attachments):
        problems.append("it is attached")
    if volume.group_id is not None:
        problems.append(f"it belongs to the group {volume.group_id}")
    if known and not cascade:
        problems.append(f"it has {len(known)} snapshots")
    for row in known if cascade else ():
        if row.group_snapshot_id is not None:
            problems.append(f"its snapshot {row.id} belongs to a group snapshot")
        elif not force and row.status not in ("available", "error", "deleting", "error_deleting"):
            problems.append(f"its snapshot {row.id} is {row.status}")
        elif row.project_id != ctx.project_id and "admin" not in ctx.identity.roles:
            problems.append(f"its snapshot {row.id} belongs to another project")
    if problems:
        raise InvalidVolume(reason=f"Volume {volume.id} must not be attached, belong to a group, have snapshots or be "
                                   f"awaiting a transfer: {', '.join(problems)}.")
    return [row.id for row in known]


async def extend_volume(cinder: Cinder, ctx: Context, volume_id: str, size: int, *, attached: bool) -> None:
    """Order a growth to `size` GiB.  `attached`: the client's version knows that a volume can grow in use."""
    async with cinder.db.write() as tx:
        volume = await volumes.get(cinder, tx, ctx, volume_id)
        in_use = attached and volume.status == "in-use"
        cinder.policy.enforce("volume:extend_attached_volume" if in_use else "volume:extend", ctx.identity,
                              volume.target)
        if size <= volume.size:
            raise InvalidInput(reason=f"New size for extend must be greater than current size. (current: "
                                      f"{volume.size}, extended: {size}).")
        await quotas.check_size(tx, volume.project_id, size)
        await quotas.check(tx, volume.project_id, volume.type_name, {"gigabytes": size - volume.size})
        expected = "in-use" if in_use else "available"
        if not await move(tx, volume_id, [expected], "extending", growing_to=size, previous_status=volume.status):
            raise InvalidVolume(reason=f"Volume {volume_id} status must be '{expected}' to extend, currently "
                                       f"{volume.status}.")
        await cinder.engine.submit(tx, EXTEND, volume_id,
                                   {"host": volume.host, "size": size, "back_to": volume.status}, ctx)
    cinder.engine.wake()


async def revert_volume(cinder: Cinder, ctx: Context, volume_id: str, snapshot_id: str | None) -> None:
    """Order a return to the latest snapshot."""
    async with cinder.db.write() as tx:
        volume = await volumes.get(cinder, tx, ctx, volume_id, "volume:revert_to_snapshot")
        latest = await tx.first(sa.select(snapshots_table).where(snapshots_table.c.volume_id == volume_id)
                                .order_by(snapshots_table.c.created_at.desc(), snapshots_table.c.id.desc()).limit(1))
        if latest is None:
            raise Invalid(f"Volume {volume_id} doesn't have any snapshots.")
        if latest.id != snapshot_id:
            raise Invalid(f"Specified snapshot {snapshot_id} is None or not the latest one of volume {volume_id}.")
        if latest.volume_size != volume.size:
            raise Invalid(f"Can't revert volume {volume_id} to its latest snapshot {snapshot_id}. The volume size must "
                          "be equal to the snapshot size.")
        if latest.status != "available":
            raise Conflict(f"Invalid snapshot: Snapshot {snapshot_id} is in an invalid status {latest.status}.")
        if not await move(tx, volume_id, ["available"], "reverting"):
            raise Conflict(f"Invalid volume: Can't revert volume {volume_id} to its latest snapshot {snapshot_id}. "
                           f"Volume must be available, but is {volume.status}.")
        await snapshots.set_status(tx, latest.id, "restoring")
        await cinder.engine.submit(tx, REVERT, volume_id, {
            "host": volume.host, "snapshot_id": snapshot_id, "working": "reverting", "back_to": "available"}, ctx)
    cinder.engine.wake()


async def reimage_volume(cinder: Cinder, ctx: Context, volume_id: str, image_id: str, *, reserved: bool) -> None:
    """Order that an image's bytes replace the volume's.  `reserved`: also when a server has it reserved."""
    image = await images.find_image(cinder, ctx, image_id)
    async with cinder.db.write() as tx:
        volume = await volumes.get(cinder, tx, ctx, volume_id)
        rule = "volume:reimage_reserved" if volume.status == "reserved" else "volume:reimage"
        cinder.policy.enforce(rule, ctx.identity, volume.target)
        if len(volume.attachments) > 1:
            raise Conflict("Cannot re-image a volume which is attached to more than one server.")
        if any(a.connection_info for a in volume.attachments):
            raise Conflict(f"Volume {volume_id} is connected to a server: what it reads would change under it.")
        expected = ("available", "error", "reserved") if reserved else ("available", "error")
        images.check_image(image, volume.size)
        back_to = "reserved" if volume.status == "reserved" else "available"
        if not await move(tx, volume_id, expected, "downloading", previous_status=volume.status):
            raise InvalidVolume(reason=f"Volume {volume_id} status must be {or_list(expected)}, but current status is "
                                       f"{volume.status}.")
        await cinder.engine.submit(tx, REIMAGE, volume_id, {
            "host": volume.host, "size": volume.size, "source": {"kind": "image", "id": image["id"]},
            "image_metadata": images.image_metadata(image), "working": "downloading", "back_to": back_to}, ctx)
    cinder.engine.wake()


_PROTECTED = ("image_id", "image_name", "checksum", "container_format", "disk_format", "min_disk", "min_ram", "size")


async def upload_volume(cinder: Cinder, ctx: Context, volume_id: str, image: dict[str, Any], *, force: bool
                        ) -> tuple[Volume, dict[str, Any]]:
    """Order a copy into a new image with the fields `image`; the volume and the image's record."""
    disk_format, container_format = image["disk_format"], image["container_format"]
    if container_format != "bare":
        raise NotSupported(what=f"The container format {container_format[:40]}", why="images of volumes are bare.")
    if disk_format not in ("raw", "qcow2"):
        raise NotSupported(what=f"The disk format {disk_format[:40]}", why="a volume is uploaded as raw or qcow2.")
    expected = ("available", "in-use") if force else ("available",)
    async with cinder.db.read() as tx:
        volume = await volumes.get(cinder, tx, ctx, volume_id, "volume_extension:volume_actions:upload_image")
    if image.get("visibility") == "public":
        cinder.policy.enforce("volume_extension:volume_actions:upload_public", ctx.identity, volume.target)
    if volume.status not in expected:
        raise InvalidVolume(reason=f"Volume {volume_id} status must be {or_list(expected)}, but it is {volume.status}")
    kept = {key: value for key, value in volume.image_metadata.items() if key not in _PROTECTED}
    sizes = {"min_disk": volume.size if disk_format == "raw" else 0}
    # the image first: dying in between leaves an empty image, which its owner sees, and not a volume that waits
    try:
        answer = await cinder.session.request(ctx, "image", "POST", "/v2/images", json={**kept, **sizes, **image},
                                              as_user=True)
    except CloudseedError as exc:
        raise (Invalid(exc.message) if exc.status < 500 else exc) from exc
    made: dict[str, Any] = answer.json()
    async with cinder.db.write() as tx:
        taken = await move(tx, volume_id, [volume.status], "uploading", previous_status=volume.status)
        if taken:
            await cinder.engine.submit(tx, UPLOAD, volume_id, {
                "host": volume.host, "image_id": made["id"], "disk_format": disk_format,
                "container_format": container_format, "working": "uploading", "back_to": volume.status}, ctx)
    if not taken:
        await cinder.session.request(ctx, "image", "DELETE", f"/v2/images/{made['id']}", as_user=True, expect=(403,))
        raise InvalidVolume(reason=f"Volume {volume_id} status must be {or_list(expected)}.")
    cinder.engine.wake()
    return volume, made


async def retype_volume(cinder: Cinder, ctx: Context, volume_id: str, new_type: str) -> None:
    """Give a volume another type, where its bytes can stay where they are."""
    async with cinder.db.write() as tx:
        volume = await volumes.get(cinder, tx, ctx, volume_id, "volume:retype")
        kind = await volume_types.find_type(tx, ctx, new_type)
        if kind.multiattach != volume.multiattach and volume.status != "available":
            raise InvalidInput(reason="Invalid volume_type passed, retypes affecting multiattach are only allowed on "
                                      "available volumes, the specified volume however currently has a status of: "
                                      f"{volume.status}.")
        if kind.multiattach:
            cinder.policy.enforce("volume:multiattach", ctx.identity, volume.target)
        if await volume_types.encryptions(tx, [kind.id]):
            raise NotSupported(what=f"The type {kind.name}", why="it asks for encryption, and there is no key manager.")
        backend = kind.extra_specs.get("volume_backend_name")
        current = await volume_types.get_any_type(tx, volume.volume_type_id)
        if backend is not None and backend != current.extra_specs.get("volume_backend_name", backend):
            raise NotSupported(what="A retype to another backend", why="its volumes cannot be migrated.")
        if kind.id == volume.volume_type_id or volume.status not in ("available", "in-use") or volume.group_id:
            raise InvalidVolume(reason="Retype needs volume to be in available or in-use state, not be part of an "
                                       "active migration or a consistency group, requested type has to be different "
                                       "that the one from the volume, and for in-use volumes front-end qos specs "
                                       f"cannot change. (volume {volume_id} is {volume.status})")
        await quotas.check_by_type(tx, volume.project_id, kind.name, {"volumes": 1, "gigabytes": volume.size})
        await tx.execute(sa.update(table).where(table.c.id == volume_id, table.c.status == volume.status)
                         .values(volume_type_id=kind.id, multiattach=kind.multiattach, updated_at=utcnow()))


async def reset_status(cinder: Cinder, ctx: Context, volume_id: str, *, status: str | None,
                       migration_status: str | None) -> None:
    """An operator's word on what a volume's status is.  Work that is under way refuses it."""
    async with cinder.db.write() as tx:
        volume = await volumes.get(cinder, tx, ctx, volume_id, "volume_extension:volume_admin_actions:reset_status")
        changes: dict[str, Any] = {}
        if migration_status is not None:
            changes["migration_status"] = None if migration_status == "none" else migration_status
        if status is not None:
            if status in ("deleting", "error_deleting", "detaching") or status not in STATES:
                raise Invalid(f"Cannot reset-state to {status[:40]}")
            if status == "in-use" and not volume.attachments:
                raise Invalid("Cannot reset-state to in-use because volume does not have any attachments.")
            if volume.status == "deleting":
                raise Conflict(f"Volume {volume_id} is being deleted.")
            await cinder.engine.cancel(tx, volume_id, kinds=(CREATE.kind, EXTEND.kind, REVERT.kind, UPLOAD.kind))
            await set_status(tx, volume_id, status, growing_to=None, **changes)
        elif changes:
            await tx.execute(sa.update(table).where(table.c.id == volume_id).values(**changes, updated_at=utcnow()))
