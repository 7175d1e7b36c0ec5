"""Orders to rescue a server and to end that."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import Conflict, Forbidden, Invalid, NotFound
from cloudseed.nova.compute.devices import decode_devices, root_of
from cloudseed.nova.compute.spec import Rescue
from cloudseed.nova.errors import NeverActive
from cloudseed.nova.server_create import new_password
from cloudseed.nova.server_images import describe
from cloudseed.nova.server_states import TaskState
from cloudseed.nova.servers import Server, check_order, find_server, get_server, order, record_action, wake

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

RULE = "os_compute_api:os-rescue"
BUSES = {"disk": ("virtio", "scsi", "ide", "sata", "usb"), "cdrom": ("scsi", "ide", "sata")}


class UnsupportedRescueImage(Invalid):
    template = "Requested rescue image '%(image)s' is not supported"


class NotRescuable(Invalid):
    template = "Instance %(server_id)s cannot be rescued: %(reason)s"


async def rescue_server(nova: Nova, ctx: Context, server_id: str, image_id: str | None, password: str | None, *,
                        volume_backed: bool) -> str:
    """Order it, with the image given or the server's own; the password for the guest.

    `volume_backed`: whether a server that boots from a volume may be rescued (microversion 2.87), which takes an image
    whose `hw_rescue_device` and `hw_rescue_bus` leave its disks in their places.
    """
    row = await get_server(nova, ctx, server_id, RULE)
    check_order(nova, ctx, row, "rescue")
    if row.launched_at is None:
        raise NeverActive(action="rescue")
    rescue = await _plan(nova, ctx, row, image_id, volume_backed)
    chosen = password or new_password()
    async with nova.db.write() as tx:
        row = await find_server(nova, tx, ctx, server_id, RULE)
        check_order(nova, ctx, row, "rescue")
        await record_action(tx, ctx, server_id, "rescue")
        await nova.conductor.order(tx, ctx, server_id, "nova.rescue", TaskState.RESCUING, {
            "rescue": msgspec.to_builtins(rescue), "start": row.vm_state != "stopped", "admin_password": chosen})
    await wake(nova, ctx)
    return chosen


async def unrescue_server(nova: Nova, ctx: Context, server_id: str) -> None:
    await order(nova, ctx, server_id, "nova.unrescue", TaskState.UNRESCUING, rule="os-unrescue", action="unrescue",
                record="unrescue")


async def _plan(nova: Nova, ctx: Context, row: Server, image_id: str | None, volume_backed: bool) -> Rescue:
    root = root_of(decode_devices(row.block_devices))
    backed = root is not None and root.is_volume
    properties = {name: str(value) for name, value in (row.image_properties or {}).items()}
    if image_id is not None:
        properties = await _properties(nova, ctx, image_id)
    # as upstream: only an image that is named is looked at for a stable rescue
    stable = image_id is not None and ("hw_rescue_device" in properties or "hw_rescue_bus" in properties)
    if backed and not (volume_backed and {"hw_rescue_device", "hw_rescue_bus"} <= properties.keys() and stable):
        raise NotRescuable(server_id=row.id, reason="Cannot rescue a volume-backed instance")
    chosen = image_id or row.image_id
    if chosen is None:
        raise Conflict(f"Instance {row.id} was made from no image: name one to rescue it with.")
    if not stable:
        return Rescue(image_id=chosen)
    device = properties.get("hw_rescue_device", "disk")
    if device not in BUSES:
        raise Invalid(f"Requested rescue device '{device}' is not supported")
    bus = properties.get("hw_rescue_bus")
    if bus is not None and bus not in BUSES[device]:
        raise Invalid(f"Requested rescue bus '{bus}' is not supported by the 'qemu' virt driver")
    return Rescue(image_id=chosen, stable=True, device=device, bus=bus)


async def _properties(nova: Nova, ctx: Context, image_id: str) -> dict[str, str]:
    """The properties of an active image that the user may see and that is a disk."""
    try:
        image = await nova.api_session.get_json(ctx, "image", f"/v2/images/{image_id}", as_user=True)
    except (NotFound, Forbidden):
        raise UnsupportedRescueImage(image=image_id) from None
    if image.get("status") != "active" or image.get("block_device_mapping"):
        raise UnsupportedRescueImage(image=image_id)
    schema = await nova.api_session.get_json(ctx, "image", "/v2/schemas/image", as_user=True)
    return describe(image, schema).properties
