"""Volumes of servers: attach, detach, look, change; and the reservation that comes before what needs a volume.

A volume is the server's from the transaction that writes its row on: within nova no two orders can have it.  Cinder
is asked next, within the request, so that the user hears its refusal; then the order is written.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Awaitable, Callable, Collection
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx
from cloudseed.kernel.errors import Conflict, Forbidden, Invalid, NotFound
from cloudseed.nova import block_devices, server_states
from cloudseed.nova.block_device_orders import check_attachable
from cloudseed.nova.compute.devices import BlockDevice, decode_devices, next_name
from cloudseed.nova.compute.spec import spec_from_row
from cloudseed.nova.compute.volumes import Volumes
from cloudseed.nova.conductor.on_host import Hosts
from cloudseed.nova.errors import NotAttached, VolumeNotFound
from cloudseed.nova.servers import Server, check_lock, find_server, get_server, record_action

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

T = TypeVar("T")
RULE = "os_compute_api:os-volumes-attachments"
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
MAX_DISKS = 26  # /dev/vda to /dev/vdz, and about what a machine has slots for
NOT_IN_USE = ("Invalid volume: Unable to detach volume. Volume status must be 'in-use' and attach_status must be "
              "'attached' to detach.")


class VolumeOrder(msgspec.Struct, kw_only=True):
    """An attach as the user asked for it; `multiattach`: the client knows volumes that several servers have."""

    volume_id: str
    tag: str | None = None
    delete_on_termination: bool = False
    multiattach: bool = False


# ---- reserving

async def reserve_and_order(nova: Nova, ctx: Context, devices: list[BlockDevice], shareable: Collection[str],
                            write: Callable[[Tx, str, dict[str, str]], Awaitable[T]]) -> T:
    """Reserve the volumes of `devices` for a server that is not there yet, then have `write(tx, server id,
    {device id: attachment id})` write it.  Nothing stays reserved when either fails.

    Raises Invalid when a volume cannot be had; `shareable` are those that several servers may have.
    """
    server_id = str(uuid.uuid4())

    async def intend(tx: Tx) -> None:
        for device in devices:
            await _check_free(tx, server_id, str(device.volume_id), shared=device.volume_id in shareable)
        await block_devices.add_devices(tx, server_id, devices, paint=False)

    try:
        return await reserve(nova, ctx, server_id, devices, intend,
                              lambda tx, attachments: write(tx, server_id, attachments), new=True)
    except NotFound as exc:
        raise Invalid(f"Block Device Mapping is Invalid: {exc.message}") from None


async def reserve(nova: Nova, ctx: Context, server_id: str, devices: list[BlockDevice],
                  intend: Callable[[Tx], Awaitable[None]], write: Callable[[Tx, dict[str, str]], Awaitable[T]], *,
                  new: bool) -> T:
    """`intend(tx)` writes the devices' rows, then cinder is asked, then `write(tx, attachments)` orders.  `new`: the
    server is written by `write`."""
    written: list[T] = []

    async def order(tx: Tx, attachments: dict[str, str]) -> None:
        written.append(await write(tx, attachments))

    data = {"devices": [{"id": device.id, "volume_id": device.volume_id} for device in devices], "new": new}
    await nova.engine.run_here(nova.conductor.reservation.type(order), server_id, data, ctx, before=intend)
    return written[-1]


async def _check_free(tx: Tx, server_id: str, volume_id: str, *, shared: bool) -> None:
    """Nova's own books: whose the volume is already."""
    having = await block_devices.servers_of_volume(tx, volume_id)
    if having and not shared:
        raise Invalid(f"Invalid volume: volume {volume_id} is already attached to instances: {' '.join(having)}")
    if server_id in having:
        raise Invalid(f"Invalid volume: volume {volume_id} already attached")


# ---- attach, detach

async def attach_volume(nova: Nova, ctx: Context, server_id: str, order: VolumeOrder) -> BlockDevice:
    """Order that the server gets the volume; returns the device with the name that its disk will have."""
    server = await _changeable(nova, ctx, server_id, "create", "attach_volume")
    volume = await _volume(nova, ctx, order.volume_id)
    async with nova.db.read() as tx:
        await _check_free(tx, server_id, order.volume_id, shared=bool(volume.get("multiattach")))
    if server.vm_state == "shelved_offloaded":
        if order.tag:
            raise Invalid("Tagged volume attachment is not supported for shelved-offloaded instances.")
        if volume.get("multiattach"):
            raise Invalid("Attaching multiattach volumes is not supported for shelved-offloaded instances.")
    check_attachable(volume, multiattach=order.multiattach)
    device = BlockDevice(
        id=str(uuid.uuid4()), source_type="volume", destination_type="volume", volume_id=order.volume_id,
        volume_size=volume["size"], tag=order.tag, delete_on_termination=order.delete_on_termination)

    async def intend(tx: Tx) -> None:
        nonlocal device
        row = await _change(nova, tx, ctx, server_id, "create", "attach_volume")
        await _check_free(tx, server_id, order.volume_id, shared=bool(volume.get("multiattach")))
        device = msgspec.structs.replace(device, device_name=free_name(row))
        await block_devices.add_devices(tx, server_id, [device])

    async def write(tx: Tx, attachments: dict[str, str]) -> None:
        await block_devices.change_device(tx, server_id, device.id, attachment_id=attachments[device.id])
        await record_action(tx, ctx, server_id, "attach_volume")
        await nova.conductor.order(tx, ctx, server_id, "nova.attach_volume", None, {"device": device.id})

    await reserve(nova, ctx, server_id, [device], intend, write, new=False)
    await nova.api_bus.cast(ctx, "conductor", "wake")
    return device


async def detach_volume(nova: Nova, ctx: Context, server_id: str, volume_id: str) -> None:
    """Order that the server lets go of the volume."""
    server = await _changeable(nova, ctx, server_id, "delete", "detach_volume", checks=False)
    volume = await _volume(nova, ctx, volume_id)
    device = _find(server, volume_id)
    if device.is_root:
        raise Invalid("Cannot detach a root device volume")
    check_lock(nova, ctx, server)
    server_states.check_action("detach_volume", server_id, server.vm_state, server.task_state)
    if server.host is not None and not await Hosts(nova).is_up(server.host):
        raise Conflict(f"Compute service of {server.host} is unavailable at this time.")
    if volume["status"] != "in-use" and device.state != "attached":
        raise Invalid(NOT_IN_USE)
    async with nova.db.write() as tx:
        row = await _change(nova, tx, ctx, server_id, "delete", "detach_volume")
        device = _find(row, volume_id)
        if device.state != "attached":
            raise Invalid(NOT_IN_USE)
        await block_devices.change_device(tx, server_id, device.id, state="detaching")
        await record_action(tx, ctx, server_id, "detach_volume")
        await nova.conductor.order(tx, ctx, server_id, "nova.detach_volume", None, {"device": device.id})
    await nova.api_bus.cast(ctx, "conductor", "wake")


async def _changeable(nova: Nova, ctx: Context, server_id: str, rule: str, action: str, *,
                      checks: bool = True) -> Server:
    async with nova.db.read() as tx:
        if checks:
            return await _change(nova, tx, ctx, server_id, rule, action)
        return await find_server(nova, tx, ctx, server_id, f"{RULE}:{rule}")


async def _change(nova: Nova, tx: Tx, ctx: Context, server_id: str, rule: str, action: str) -> Server:
    """The server, if its volumes may be changed now."""
    server = await find_server(nova, tx, ctx, server_id, f"{RULE}:{rule}")
    check_lock(nova, ctx, server)
    server_states.check_action(action, server_id, server.vm_state, server.task_state)
    if action == "attach_volume" and 1 + len(decode_devices(server.block_devices)) >= MAX_DISKS:
        raise Forbidden(f"The maximum allowed number of disk devices ({MAX_DISKS}) to attach to a single instance has "
                        "been exceeded.")
    return server


async def _volume(nova: Nova, ctx: Context, volume_id: str) -> dict[str, Any]:
    if not _ID.match(volume_id):  # what is no id must not become a part of a URL
        raise VolumeNotFound(volume_id=volume_id[:60])
    try:
        return await Volumes(nova.api_session).get_volume(ctx, volume_id, as_user=True)
    except (NotFound, Forbidden):
        raise VolumeNotFound(volume_id=volume_id) from None


def free_name(server: Server) -> str:
    """The name of the next disk of a server, behind those that its flavor gives it and those that it has."""
    spec = spec_from_row(server)
    bus = spec.hardware("disk_bus", "virtio")
    taken: set[str | None] = {server.root_device_name}
    taken |= {device.device_name for device in spec.block_devices if not device.is_volume}
    for size, has in ((spec.ephemeral_gib, any(d.is_ephemeral for d in spec.block_devices)),
                      (spec.swap_mib, any(d.is_swap for d in spec.block_devices))):
        if size and not has:
            taken.add(next_name(bus, taken))
    return next_name(bus, taken | {device.device_name for device in spec.volumes})


# ---- look, change

def _find(server: Server, volume_id: str) -> BlockDevice:
    for device in decode_devices(server.block_devices):
        if device.volume_id == volume_id:
            return device
    raise NotAttached(server_id=server.id, volume_id=volume_id)


async def list_attachments(nova: Nova, ctx: Context, server_id: str) -> list[BlockDevice]:
    """The server's devices that have a volume."""
    server = await get_server(nova, ctx, server_id, f"{RULE}:index")
    return [device for device in decode_devices(server.block_devices) if device.volume_id]


async def get_attachment(nova: Nova, ctx: Context, server_id: str, volume_id: str) -> BlockDevice:
    return _find(await get_server(nova, ctx, server_id, f"{RULE}:show"), volume_id)


async def update_attachment(nova: Nova, ctx: Context, server_id: str, volume_id: str,
                            fixed: dict[str, Any], delete_on_termination: bool | None) -> None:
    """Change whether the volume ends with the server.  `fixed`: what else the client repeated, which cannot change."""
    async with nova.db.write() as tx:
        server = await find_server(nova, tx, ctx, server_id, f"{RULE}:update")
        device = _find(server, volume_id)
        present = {"id": volume_id, "serverId": server_id, "device": device.device_name, "tag": device.tag}
        for name, value in fixed.items():
            if value != present[name]:
                raise Invalid(f"The {name} property is not mutable")
        if delete_on_termination is not None:
            await block_devices.change_device(tx, server_id, device.id, delete_on_termination=delete_on_termination)


async def swap_volume(nova: Nova, ctx: Context, server_id: str, volume_id: str) -> None:
    """Cinder asks for it while it migrates a volume, which this cloud does not do: refused as upstream refuses
    everybody else."""
    await get_server(nova, ctx, server_id, "os_compute_api:servers:show")
    await _volume(nova, ctx, volume_id)
    raise Conflict(f"volume {volume_id} is not migrating; this API should only be called by Cinder")
