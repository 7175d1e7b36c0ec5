"""Attachments: who may open a volume, from where.

    (reserve) reserved ---connect: export---> attaching ---complete---> attached
                 |                                |                         |
                 '------------- delete: unexport, forget ------------------'      (detaching meanwhile)

Making and removing an export are durable operations that run within the request which orders them, since the
answer holds how to connect.  The volume's own status follows from its attachments (`volume_states.settle`).

Who may delete one in use: nova (a service's token), else a volume could be given to the next owner while a server
still writes to it (CVE-2023-2088).  A user may delete what no server uses: nova is asked.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from cloudseed.cinder import volumes
from cloudseed.cinder.errors import AttachmentNotFound, InvalidVolume, NovaUsesAttachment, ResourceConflict
from cloudseed.cinder.export_work import ExportWork
from cloudseed.cinder.listing import Listing, Page, equals
from cloudseed.cinder.models import attachments as table
from cloudseed.cinder.models import volumes as volumes_table
from cloudseed.cinder.state import Cinder
from cloudseed.cinder.volume_states import ATTACHING, move, or_list, set_status, settle
from cloudseed.cinder.volumes import Attachment, Volume, attachment_from_row
from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx, utcnow
from cloudseed.kernel.errors import CloudseedError, Invalid, NotFound

SORT_KEYS = {key: table.c[key] for key in ("id", "volume_id", "instance_uuid", "attach_status", "attached_host",
                                           "created_at", "updated_at", "attach_time")}
LISTING = Listing(table, SORT_KEYS, lambda marker: AttachmentNotFound(attachment_id=marker))
FILTERS = {"volume_id": equals(table.c.volume_id), "status": equals(table.c.attach_status),
           "attach_status": equals(table.c.attach_status), "instance_id": equals(table.c.instance_uuid),
           "instance_uuid": equals(table.c.instance_uuid)}


def _target(attachment: Attachment) -> dict[str, Any]:
    return {"project_id": attachment.project_id}


async def get(cinder: Cinder, tx: Tx, ctx: Context, attachment_id: str, rule: str = "volume:get") -> Attachment:
    """Raises AttachmentNotFound for what the caller may not see."""
    row = await tx.first(sa.select(table).where(table.c.id == attachment_id))
    if row is None or not cinder.policy.check("volume:get", ctx.identity, {"project_id": row.project_id}):
        raise AttachmentNotFound(attachment_id=attachment_id)
    attachment = attachment_from_row(row)
    cinder.policy.enforce(rule, ctx.identity, _target(attachment))
    return attachment


async def get_attachment(cinder: Cinder, ctx: Context, attachment_id: str) -> Attachment:
    async with cinder.db.read() as tx:
        return await get(cinder, tx, ctx, attachment_id)


async def list_attachments(cinder: Cinder, ctx: Context, page: Page, where: Sequence[Any], *, everybody: bool
                           ) -> list[Attachment]:
    scope = [] if everybody else [table.c.project_id == ctx.project_id]
    async with cinder.db.read() as tx:
        return [attachment_from_row(row) for row in await LISTING.rows(tx, page, where, visible=scope)]


# ---- reserve, connect, complete

async def create_attachment(cinder: Cinder, work: ExportWork, ctx: Context, volume_id: str,
                            instance_uuid: str | None, connector: dict[str, Any] | None, mode: str | None
                            ) -> Attachment:
    """Reserve a place at a volume and, with a connector, connect it at once."""
    async with cinder.db.write() as tx:
        volume = await volumes.get(cinder, tx, ctx, volume_id, "volume:attachment_create")
        attachment_id = await _reserve(cinder, tx, ctx, volume, instance_uuid, mode)
        attachment = await get(cinder, tx, ctx, attachment_id)
    if not connector:
        return attachment
    try:
        return await connect(cinder, work, ctx, attachment_id, connector)
    except CloudseedError:
        await _withdraw(cinder, attachment_id)
        raise


async def _reserve(cinder: Cinder, tx: Tx, ctx: Context, volume: Volume, instance_uuid: str | None, mode: str | None
                   ) -> str:
    if "error" in volume.status:
        raise InvalidVolume(reason="Volume attachments can not be created if the volume is in an error state. The "
                                   f"Volume {volume.id} currently has a status of: {volume.status}")
    if volume.multiattach and volume.status == "in-use" and volume.bootable:
        cinder.policy.enforce("volume:multiattach_bootable_volume", ctx.identity, volume.target)
    # a server may hold two places for a while: it is moving from one host to another
    own = instance_uuid is not None and any(a.instance_uuid == instance_uuid for a in volume.attachments)
    expected = ("available", "in-use", "reserved", "attaching") if volume.multiattach else ("available",)
    if volume.status not in expected and not (own and volume.status in ("in-use", "reserved", "attaching")):
        raise InvalidVolume(reason=f"Volume {volume.id} status must be {or_list(expected)} to reserve, but the current "
                                   f"status is {volume.status}.")
    return await _insert(tx, volume, instance_uuid, "reserved", mode)


async def _insert(tx: Tx, volume: Volume, instance_uuid: str | None, status: str, mode: str | None) -> str:
    attachment_id = str(uuid.uuid4())
    await tx.execute(sa.insert(table).values(
        id=attachment_id, volume_id=volume.id, project_id=volume.project_id, instance_uuid=instance_uuid,
        attach_status=status, status_since=time.time(), attach_mode="ro" if volume.readonly else mode or "null",
        created_at=utcnow()))
    await settle(tx, volume.id)
    return attachment_id


async def _withdraw(cinder: Cinder, attachment_id: str) -> None:
    """Forget a reservation that could not be connected."""
    async with cinder.db.write() as tx:
        volume_id = await tx.scalar(sa.select(table.c.volume_id).where(table.c.id == attachment_id))
        await tx.execute(sa.delete(table).where(table.c.id == attachment_id, table.c.attach_status == "reserved"))
        if volume_id is not None:
            await settle(tx, volume_id)


async def connect(cinder: Cinder, work: ExportWork, ctx: Context, attachment_id: str, connector: dict[str, Any],
                  rule: str = "volume:attachment_update") -> Attachment:
    """Export the volume for this attachment; the attachment then says how to open it.  Asked again: again so."""
    host = str(connector.get("host") or "")
    data: dict[str, Any] = {"connector": connector}

    async def before(tx: Tx) -> None:
        attachment = await get(cinder, tx, ctx, attachment_id, rule)
        volume = await volumes.read(tx, attachment.volume_id)
        assert volume is not None
        _check_connectable(volume, attachment)
        given = connector.get("mode")
        mode = attachment.attach_mode if attachment.attach_mode in ("ro", "rw") else given or "rw"
        if mode not in ("ro", "rw"):
            raise Invalid(f"Invalid attaching mode '{str(mode)[:40]}' for volume {volume.id}.")
        status = "attached" if attachment.attach_status == "attached" else "attaching"
        await tx.execute(sa.update(table).where(table.c.id == attachment_id).values(
            attach_status=status, status_since=time.time(), attach_mode=mode, attached_host=host[:255] or None,
            connector=connector, mountpoint=str(connector.get("mountpoint") or "na")[:255],
            attach_time=attachment.attach_time or utcnow(), updated_at=utcnow()))
        await settle(tx, volume.id)
        data.update(host=volume.host, volume_id=volume.id, read_only=mode == "ro",
                    before=attachment.attach_status, had=attachment.connection_info is not None)

    await cinder.engine.run_here(work.connect, attachment_id, data, ctx, before)
    async with cinder.db.read() as tx:
        return await get(cinder, tx, ctx, attachment_id)


def _check_connectable(volume: Volume, attachment: Attachment) -> None:
    if "error" in volume.status or volume.status in ("deleting", "maintenance"):
        raise ResourceConflict(reason="Volume attachments can not be updated if the volume is in an error state. The "
                                      f"Volume {volume.id} currently has a status of: {volume.status}")
    if attachment.attach_status == "detaching":
        raise ResourceConflict(reason=f"attachment {attachment.id} is being removed")
    if volume.host is None:
        raise ResourceConflict(reason=f"volume {volume.id} is on no host yet")
    others = [a for a in volume.attachments if a.id != attachment.id and a.connection_info is not None
              and (a.instance_uuid is None or a.instance_uuid != attachment.instance_uuid)]
    if others and not volume.multiattach:
        raise ResourceConflict(reason=f"duplicate connectors detected on volume {volume.id}")


async def complete_attachment(cinder: Cinder, ctx: Context, attachment_id: str) -> None:
    """The server has opened the volume: it is in use."""
    async with cinder.db.write() as tx:
        attachment = await get(cinder, tx, ctx, attachment_id, "volume:attachment_complete")
        if attachment.attach_status == "detaching":
            raise ResourceConflict(reason=f"attachment {attachment_id} is being removed")
        await tx.execute(sa.update(table).where(table.c.id == attachment_id).values(
            attach_status="attached", status_since=time.time(), updated_at=utcnow(),
            attach_time=attachment.attach_time or utcnow()))
        await settle(tx, attachment.volume_id)


# ---- delete

def is_service(ctx: Context) -> bool:
    """Whether a service of this cloud asks: by its own token, or by one that goes with a user's."""
    return "service" in ctx.identity.roles or "service" in ctx.identity.service_roles


async def check_removable(cinder: Cinder, ctx: Context, volume: Volume, attachment: Attachment | None) -> None:
    """CVE-2023-2088: raise NovaUsesAttachment when a server uses the attachment and no service asks.

    `attachment` None: a request that names none, of a volume that may have several.
    """
    if is_service(ctx) or (attachment is None and not volume.attachments):
        return
    if attachment is None and len(volume.attachments) == 1:
        attachment = volume.attachments[0]
    if attachment is None:
        raise NovaUsesAttachment(server_id="")
    server_id = attachment.instance_uuid
    if not server_id or not attachment.connection_info:
        return
    try:
        answer = await cinder.session.get_json(
            ctx, "compute", f"/v2.1/servers/{server_id}/os-volume_attachments/{volume.id}", as_user=True,
            microversion="compute 2.89")
    except NotFound:
        return  # no such server, or it does not have the volume
    if answer["volumeAttachment"].get("attachment_id", attachment.id) == attachment.id:
        raise NovaUsesAttachment(server_id=server_id)


async def delete_attachment(cinder: Cinder, work: ExportWork, ctx: Context, attachment_id: str) -> list[Attachment]:
    """Remove the export, then the place; the volume's other attachments."""
    async with cinder.db.read() as tx:
        attachment = await get(cinder, tx, ctx, attachment_id, "volume:attachment_delete")
        volume = await volumes.read(tx, attachment.volume_id)
    assert volume is not None
    await check_removable(cinder, ctx, volume, attachment)
    await remove(cinder, work, ctx, volume, attachment)
    async with cinder.db.read() as tx:
        left = await volumes.read(tx, volume.id)
    return left.attachments if left is not None else []


async def remove(cinder: Cinder, work: ExportWork, ctx: Context, volume: Volume, attachment: Attachment) -> None:
    """As `delete_attachment`, for what is already allowed."""

    async def before(tx: Tx) -> None:
        changed = await tx.execute(sa.update(table).where(table.c.id == attachment.id)
                                   .values(attach_status="detaching", status_since=time.time(), updated_at=utcnow()))
        if changed.rowcount == 0:
            raise AttachmentNotFound(attachment_id=attachment.id)
        await settle(tx, volume.id)

    data = {"host": volume.host, "volume_id": volume.id, "exported": attachment.connector is not None}
    await cinder.engine.run_here(work.disconnect, attachment.id, data, ctx, before)


# ---- the older way: actions of the volume, which name no attachment

async def reserve_volume(cinder: Cinder, ctx: Context, volume_id: str) -> None:
    async with cinder.db.write() as tx:
        volume = await volumes.get(cinder, tx, ctx, volume_id, "volume_extension:volume_actions:reserve")
        expected = ("available", "in-use") if volume.multiattach else ("available",)
        if not await move(tx, volume_id, expected, "attaching"):
            raise InvalidVolume(reason=f"Volume status must be {or_list(expected)} to reserve, but the status is "
                                       f"{volume.status}.")


async def unreserve_volume(cinder: Cinder, ctx: Context, volume_id: str) -> None:
    async with cinder.db.write() as tx:
        volume = await volumes.get(cinder, tx, ctx, volume_id, "volume_extension:volume_actions:unreserve")
        if volume.status == "attaching":
            await settle(tx, volume_id)


async def begin_detaching(cinder: Cinder, ctx: Context, volume_id: str) -> None:
    async with cinder.db.write() as tx:
        volume = await volumes.get(cinder, tx, ctx, volume_id, "volume_extension:volume_actions:begin_detaching")
        if volume.attach_status != "attached" or not await move(tx, volume_id, ["in-use"], "detaching"):
            raise InvalidVolume(reason="Unable to detach volume. Volume status must be 'in-use' and attach_status must "
                                       f"be 'attached' to detach. (it is {volume.status})")


async def roll_detaching(cinder: Cinder, ctx: Context, volume_id: str) -> None:
    async with cinder.db.write() as tx:
        volume = await volumes.get(cinder, tx, ctx, volume_id, "volume_extension:volume_actions:roll_detaching")
        if volume.status == "detaching":
            await settle(tx, volume_id)


async def attach_volume(cinder: Cinder, ctx: Context, volume_id: str, *, instance_uuid: str | None,
                        host_name: str | None, mountpoint: str, mode: str) -> None:
    """Note that a server (or a host) has the volume: it is in use."""
    async with cinder.db.write() as tx:
        volume = await volumes.get(cinder, tx, ctx, volume_id, "volume_extension:volume_actions:attach")
        if volume.readonly and mode != "ro":
            raise InvalidVolume(reason=f"Invalid attaching mode '{mode}' for volume {volume_id}.")
        known = next((a for a in volume.attachments if a.instance_uuid == instance_uuid
                      and a.attach_status == "attached"), None)
        if known is not None and instance_uuid is not None:
            return
        expected = ("available", "attaching", "reserved", "in-use") if volume.multiattach else \
            ("available", "attaching", "reserved")
        if volume.status not in expected:
            raise InvalidVolume(reason="volume is already attached" if volume.status == "in-use" else
                                f"status must be {or_list(expected)} to attach, but it is {volume.status}")
        place = next((a for a in volume.attachments if a.instance_uuid in (None, instance_uuid)
                      and a.attach_status in ("attaching", "reserved")), None)
        if place is None and volume.attachments and not volume.multiattach:
            raise InvalidVolume(reason=f"volume {volume_id} is reserved for another server")
        attachment_id = place.id if place is not None else await _insert(tx, volume, instance_uuid, "reserved", mode)
        await tx.execute(sa.update(table).where(table.c.id == attachment_id).values(
            instance_uuid=instance_uuid, attached_host=host_name or (place.attached_host if place else None),
            mountpoint=mountpoint, attach_mode=mode,
            attach_status="attached", status_since=time.time(), attach_time=utcnow(), updated_at=utcnow()))
        await settle(tx, volume_id)


async def detach_volume(cinder: Cinder, work: ExportWork, ctx: Context, volume_id: str, attachment_id: str | None,
                        rule: str = "volume_extension:volume_actions:detach") -> None:
    """Note that nobody has the volume any more, and remove what export is left."""
    async with cinder.db.read() as tx:
        volume = await volumes.get(cinder, tx, ctx, volume_id, rule)
    chosen = [a for a in volume.attachments if attachment_id in (None, a.id)]
    if attachment_id is not None and not chosen:
        raise Invalid(f"Invalid volume: attachment {attachment_id} is none of volume {volume_id}.")
    if len(chosen) > 1:
        raise InvalidVolume(reason=f"Detach volume failed: More than one attachment of volume {volume_id}, but no "
                                   "attachment_id provided.")
    await check_removable(cinder, ctx, volume, chosen[0] if chosen else None)
    if chosen:
        await remove(cinder, work, ctx, volume, chosen[0])
    async with cinder.db.write() as tx:
        await settle(tx, volume_id)


async def initialize_connection(cinder: Cinder, work: ExportWork, ctx: Context, volume_id: str,
                                connector: dict[str, Any]) -> dict[str, Any]:
    """Export for whoever asks from the connector's host; how to open it."""
    async with cinder.db.write() as tx:
        volume = await volumes.get(cinder, tx, ctx, volume_id, "volume_extension:volume_actions:initialize_connection")
        place = next((a for a in volume.attachments if a.attached_host in (None, connector.get("host"))), None)
        if place is None and volume.attachments and not volume.multiattach:
            raise InvalidVolume(reason=f"volume {volume_id} is connected elsewhere")
        if place is None and volume.status not in ("available", "in-use", *ATTACHING):
            raise InvalidVolume(reason=f"volume {volume_id} is {volume.status}")
        place_id = place.id if place is not None else await _insert(tx, volume, None, "reserved", None)
    made = await connect(cinder, work, ctx, place_id, connector,
                         "volume_extension:volume_actions:initialize_connection")
    assert made.connection_info is not None
    return made.connection_info


async def terminate_connection(cinder: Cinder, work: ExportWork, ctx: Context, volume_id: str,
                               connector: dict[str, Any] | None,
                               rule: str = "volume_extension:volume_actions:terminate_connection") -> None:
    """Remove the export for the connector's host."""
    async with cinder.db.read() as tx:
        volume = await volumes.get(cinder, tx, ctx, volume_id, rule)
    await check_removable(cinder, ctx, volume, None)
    host = (connector or {}).get("host")
    place = next((a for a in volume.attachments if a.connector is not None and
                  (host is None or a.attached_host == host)), None)
    if place is None:
        return
    if place.attach_status == "attached":  # os-detach follows, and forgets it
        await cinder.managers.unexport(ctx, str(volume.host), volume_id, place.id)
        async with cinder.db.write() as tx:
            await tx.execute(sa.update(table).where(table.c.id == place.id)
                             .values(connection_info=None, connector=None, updated_at=utcnow()))
    else:
        await remove(cinder, work, ctx, volume, place)


async def wished(cinder: Cinder, host: str) -> list[dict[str, Any]]:
    """Which exports must be there on a manager's host, for its reconciler."""
    async with cinder.db.read() as tx:
        rows = await tx.all(
            sa.select(table.c.id, table.c.volume_id, table.c.attach_mode, table.c.connector)
            .join(volumes_table, volumes_table.c.id == table.c.volume_id)
            .where(volumes_table.c.host == host, table.c.connection_info.is_not(None),
                   table.c.attach_status != "detaching"))
    return [{"attachment_id": row.id, "volume_id": row.volume_id, "read_only": row.attach_mode == "ro",
             "connector": row.connector} for row in rows]




async def detach_all(cinder: Cinder, work: ExportWork, ctx: Context, volume_id: str, *, keep_status: str | None
                     ) -> None:
    """An operator's word that nobody has the volume: every place goes, with its export.  `keep_status`: said too."""
    rule = "volume_extension:volume_admin_actions:reset_status"
    async with cinder.db.read() as tx:
        volume = await volumes.get(cinder, tx, ctx, volume_id, rule)
    for attachment in volume.attachments:
        await remove(cinder, work, ctx, volume, attachment)
    if keep_status is not None:
        async with cinder.db.write() as tx:
            await set_status(tx, volume_id, keep_status)
