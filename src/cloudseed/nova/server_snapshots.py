"""Orders to make images of servers: createImage and createBackup."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import msgspec

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx
from cloudseed.kernel.errors import CloudseedError, Invalid
from cloudseed.nova import server_states
from cloudseed.nova.compute.spec import spec_from_row
from cloudseed.nova.conductor.image_of_server import make_record, new_image
from cloudseed.nova.server_states import TaskState
from cloudseed.nova.servers import find_server, get_server, record_action, target, wake

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova


class SnapshotOrder(msgspec.Struct, kw_only=True):
    """`backup_type` and `rotation` make it a backup."""

    name: str
    metadata: dict[str, str]
    backup_type: str | None = None
    rotation: int = 0


async def create_image(nova: Nova, ctx: Context, server_id: str, order: SnapshotOrder) -> str:
    """Order an image of the server's root disk; its id.  As upstream, a lock does not forbid it.

    The order is committed first and the image's record made by whoever comes first, this request or the operation:
    a process that dies in between leaves no image that nobody carries on.  An image that glance refuses to this
    user ends the order, and the request.
    """
    backup = order.backup_type is not None
    rule = "os-create-backup" if backup else "servers:create_image"
    image_id = str(uuid.uuid4())
    row = await get_server(nova, ctx, server_id, f"os_compute_api:{rule}")
    if spec_from_row(row).volume_backed:
        if backup:
            raise Invalid("Backup is not supported for volume-backed instances.")
        return await _image_of_volumes(nova, ctx, server_id, image_id, order)
    async with nova.db.write() as tx:
        row = await find_server(nova, tx, ctx, server_id, f"os_compute_api:{rule}")
        server_states.check_action("create_backup" if backup else "create_image", server_id, row.vm_state,
                                   row.task_state)
        metadata = order.metadata | ({"backup_type": order.backup_type} if order.backup_type is not None else {})
        body = new_image(row, ctx, order.name, "backup" if backup else "snapshot", metadata)
        await record_action(tx, ctx, server_id, "createBackup" if backup else "createImage")
        data: dict[str, Any] = {"image": {"id": image_id, "body": body}}
        if backup:
            data |= {"backup_type": order.backup_type, "rotation": order.rotation}
        await nova.conductor.order(
            tx, ctx, server_id, "nova.backup" if backup else "nova.snapshot",
            TaskState.IMAGE_BACKUP if backup else TaskState.IMAGE_SNAPSHOT_PENDING, data)
    try:
        await make_record(nova.api_session, ctx, image_id, body)
    except CloudseedError:
        async with nova.db.write() as tx:
            await nova.engine.cancel(tx, server_id, kinds=("nova.backup", "nova.snapshot"))
        raise
    finally:
        await wake(nova, ctx)
    return image_id


async def _image_of_volumes(nova: Nova, ctx: Context, server_id: str, image_id: str, order: SnapshotOrder) -> str:
    """An image of a server that boots from a volume: made within the request, of snapshots of its volumes."""
    data: dict[str, Any] = {"image": {"id": image_id}}

    async def record(tx: Tx) -> None:
        row = await find_server(nova, tx, ctx, server_id, "os_compute_api:servers:create_image")
        nova.policy.enforce("os_compute_api:servers:create_image:allow_volume_backed", ctx.identity, target(row))
        server_states.check_action("create_image", server_id, row.vm_state, row.task_state)
        data["image"]["body"] = new_image(row, ctx, order.name, "snapshot", order.metadata) | (
            {"root_device_name": row.root_device_name} if row.root_device_name else {})
        await record_action(tx, ctx, server_id, "createImage")

    await nova.engine.run_here(nova.conductor.volume_snapshots, server_id, data, ctx, before=record)
    await wake(nova, ctx)
    return image_id
