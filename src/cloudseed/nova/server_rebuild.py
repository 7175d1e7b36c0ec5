"""Orders to rebuild a server: what is checked before, and what its record is from then on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import utcnow
from cloudseed.kernel.errors import Forbidden, Invalid
from cloudseed.nova import quotas
from cloudseed.nova.compute.devices import decode_devices, next_name, root_of
from cloudseed.nova.errors import NeverActive
from cloudseed.nova.models import servers
from cloudseed.nova.server_create import check_memory, check_root_disk, find_key, new_password
from cloudseed.nova.server_images import BootImage, get_boot_image
from cloudseed.nova.server_states import TaskState
from cloudseed.nova.servers import Server, check_order, find_server, get_server, record_action, target, wake

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

RULE = "os_compute_api:servers:rebuild"


class RebuildOrder(msgspec.Struct, kw_only=True):
    """`changes`: columns of the server that the user gives new values, by name; `key_name` among them means the
    caller's key pair of that name, or none."""

    image_id: str
    changes: dict[str, Any]
    disk_config: str | None = None
    admin_password: str | None = None


async def rebuild_server(nova: Nova, ctx: Context, server_id: str, order: RebuildOrder) -> tuple[Server, str]:
    """Order it; the server as it is now, and the password for its guest.

    Raises Conflict (state, lock), Invalid (image, key) with upstream's texts, OverQuota.
    """
    row = await get_server(nova, ctx, server_id, RULE)
    check_order(nova, ctx, row, "rebuild")
    if row.launched_at is None:
        raise NeverActive(action="rebuild")
    if "trusted_image_certificates" in order.changes:
        nova.policy.enforce(f"{RULE}:trusted_certs", ctx.identity, target(row))
    root = root_of(decode_devices(row.block_devices))
    if root is not None and root.is_volume:
        raise Invalid(f"Image {order.image_id} is unacceptable: Unable to rebuild with a different image for a "
                      "volume-backed server.")
    image = await get_boot_image(nova, ctx, order.image_id, "Cannot find image for rebuild")
    _check_image(nova, ctx, row, image)
    changes = dict(order.changes)
    if "key_name" in changes:
        changes["key_data"] = await find_key(nova, ctx, changes["key_name"])
    await quotas.check_request(nova, ctx, changes.get("metadata", {}), changes.get("personality", []))
    password = order.admin_password or new_password()
    async with nova.db.write() as tx:
        row = await find_server(nova, tx, ctx, server_id, RULE)
        check_order(nova, ctx, row, "rebuild")
        if order.disk_config is not None:
            changes["system_metadata"] = {**row.system_metadata, "disk_config": order.disk_config}
        old = {name: getattr(row, name) for name in ("image_id", "image_properties", "root_device_name")}
        root_name = next_name(image.properties.get("hw_disk_bus", "virtio"), set())
        await tx.execute(sa.update(servers).where(servers.c.id == server_id).values(
            **changes, image_id=image.id, image_properties=image.properties, root_device_name=root_name, progress=0,
            updated_at=utcnow()))
        await record_action(tx, ctx, server_id, "rebuild")
        await nova.conductor.order(tx, ctx, server_id, "nova.rebuild", TaskState.REBUILDING, {
            "start": row.vm_state != "stopped", "old": old, "admin_password": password})
        row = await find_server(nova, tx, ctx, server_id, RULE)
    await wake(nova, ctx)
    return row, password


def _check_image(nova: Nova, ctx: Context, row: Server, image: BootImage) -> None:
    check_memory(row.flavor, image)
    if row.flavor["disk"] == 0:
        if not nova.policy.check("os_compute_api:servers:create:zero_disk_flavor", ctx.identity):
            raise Forbidden("Only volume-backed servers are allowed for flavors with zero disk.")
        return
    check_root_disk(row.flavor, image)
