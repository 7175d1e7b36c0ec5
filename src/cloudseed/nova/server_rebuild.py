"""Orders to rebuild a server: what is checked before, and what its record is from then on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import utcnow
from cloudseed.kernel.errors import Forbidden, Invalid
from cloudseed.nova import hardware, quotas
from cloudseed.nova.compute.devices import BlockDevice, decode_devices, next_name, root_of
from cloudseed.nova.compute.volumes import Volumes
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
    reimage: bool = False  # the client knows that a root volume is written anew
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
    backed = root is not None and root.is_volume
    image = await get_boot_image(nova, ctx, order.image_id, "Cannot find image for rebuild")
    if root is not None and backed:
        await _check_volume(nova, ctx, row, root, image, order)
    else:
        _check_image(nova, ctx, row, image)
    hardware.check(row.flavor.get("extra_specs") or {}, image.properties, row.flavor["vcpus"])
    changes = dict(order.changes)
    if "key_name" in changes:
        changes["key_data"] = await find_key(nova, ctx, changes["key_name"])
    await quotas.check_request(nova, ctx, changes.get("metadata", {}), changes.get("personality", []))
    password = order.admin_password or new_password()
    async with nova.db.write() as tx:
        row = await find_server(nova, tx, ctx, server_id, RULE)
        check_order(nova, ctx, row, "rebuild")
        # the disk no longer stands on the image that the server came off a shelf from
        kept = {name: value for name, value in row.system_metadata.items() if name != "disk_image_id"}
        changes["system_metadata"] = kept
        if order.disk_config is not None:
            changes["system_metadata"] = {**kept, "disk_config": order.disk_config}
        old = {name: getattr(row, name) for name in ("image_id", "image_properties", "root_device_name")}
        root_name = next_name(image.properties.get("hw_disk_bus", "virtio"), set())
        await tx.execute(sa.update(servers).where(servers.c.id == server_id).values(
            **changes, image_id=None if backed else image.id, image_properties=image.properties,
            root_device_name=root_name, progress=0, updated_at=utcnow()))
        await record_action(tx, ctx, server_id, "rebuild")
        await nova.conductor.order(tx, ctx, server_id, "nova.rebuild", TaskState.REBUILDING, {
            "start": row.vm_state != "stopped", "old": old, "admin_password": password,
            "reimage": image.id if backed and order.reimage else None})
        row = await find_server(nova, tx, ctx, server_id, RULE)
    await wake(nova, ctx)
    return row, password


async def _check_volume(nova: Nova, ctx: Context, row: Server, root: BlockDevice, image: BootImage,
                        order: RebuildOrder) -> None:
    """A root volume takes another image's bytes since 2.93; before, the image must be the one that it was made of."""
    if order.changes.get("trusted_image_certificates"):
        raise Invalid("Image certificate validation is not supported for volume-backed servers.")
    volume = await Volumes(nova.api_session).get_volume(ctx, str(root.volume_id))
    if not order.reimage and (volume.get("volume_image_metadata") or {}).get("image_id") != image.id:
        raise Invalid(f"Image {image.id} is unacceptable: Unable to rebuild with a different image for a "
                      "volume-backed server.")
    check_memory(row.flavor, image)
    if image.min_disk_gib > volume["size"]:
        raise Invalid("Volume is smaller than the minimum size specified in image metadata. Volume size is "
                      f"{volume['size'] * 2**30} bytes, minimum size is {image.min_disk_gib * 2**30} bytes.")
    if volume["status"] != "in-use":
        raise Invalid(f"Invalid volume: volume '{volume['id']}' status must be 'in-use'. Currently in "
                      f"'{volume['status']}' status")


def _check_image(nova: Nova, ctx: Context, row: Server, image: BootImage) -> None:
    check_memory(row.flavor, image)
    if row.flavor["disk"] == 0:
        if not nova.policy.check("os_compute_api:servers:create:zero_disk_flavor", ctx.identity):
            raise Forbidden("Only volume-backed servers are allowed for flavors with zero disk.")
        return
    check_root_disk(row.flavor, image)
