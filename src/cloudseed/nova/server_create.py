"""POST /servers: everything is checked with its owner first, then one transaction writes the order.

Order of the checks as upstream's: flavor, image, availability zone, key, group, networks, quota.  What can change
between check and write (quota, group members) is checked again inside the transaction.
"""

from __future__ import annotations

import re
import secrets
import string
import uuid
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx, utcnow
from cloudseed.kernel.errors import Forbidden, Invalid
from cloudseed.nova import block_devices, flavors, hardware, quotas, server_groups
from cloudseed.nova.block_device_orders import DeviceOrder, Disks, plan_disks
from cloudseed.nova.compute.devices import root_of
from cloudseed.nova.errors import FlavorNotFound
from cloudseed.nova.models import key_pairs, server_group_members, server_tags, servers
from cloudseed.nova.server_images import BootImage
from cloudseed.nova.server_networks import check_networks, check_security_groups
from cloudseed.nova.server_volumes import reserve_and_order
from cloudseed.nova.server_zones import Placement, check_placement
from cloudseed.nova.servers import record_action

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

_NEW = sa.insert(servers)
_ALPHABET = "".join(sorted(set(string.ascii_letters + string.digits) - set("0O1lIo")))


class ServerOrder(msgspec.Struct, kw_only=True):
    """What a user asked for, in the newest microversion's terms."""

    name: str
    flavor_id: str
    image_id: str | None = None
    disks: DeviceOrder = msgspec.field(default_factory=DeviceOrder)
    multiattach: bool = False  # the client knows volumes that several servers have
    networks: list[dict[str, str]] | str | None = None  # {uuid?, port?, fixed_ip?, tag?}, "auto", "none", null
    key_name: str | None = None
    user_data: str | None = None
    metadata: dict[str, str] = {}
    personality: list[dict[str, str]] = []
    config_drive: bool = False
    min_count: int = 1
    max_count: int = 1
    security_groups: list[str] = []
    availability_zone: str | None = None
    description: str | None = None
    tags: list[str] = []
    hostname: str | None = None
    host: str | None = None
    hypervisor_hostname: str | None = None
    scheduler_hints: dict[str, Any] = {}
    access_ip_v4: str | None = None
    access_ip_v6: str | None = None
    admin_password: str | None = None
    disk_config: str = "MANUAL"
    trusted_image_certificates: list[str] | None = None


class Created(msgspec.Struct):
    """The servers that were ordered, and what the client is told once."""

    ids: list[str]
    reservation_id: str
    admin_password: str
    security_groups: list[str]


class _Checked(msgspec.Struct):
    """What the checks found."""

    flavor: dict[str, Any]
    disks: Disks
    networks: list[dict[str, str]] | str
    key_data: str | None
    placement: Placement
    group_id: str | None


async def create_servers(nova: Nova, ctx: Context, order: ServerOrder) -> Created:
    """Check, write, and hand over to the conductor; returns before anything is built."""
    checked = await _check(nova, ctx, order)
    given = [device for device in checked.disks.devices if device.volume_id is not None]
    if given:
        async def write(tx: Tx, server_id: str, attachments: dict[str, str]) -> Created:
            return await _order(nova, tx, ctx, order, checked, [server_id], attachments)

        created = await reserve_and_order(nova, ctx, given, checked.disks.shareable, write)
    else:
        async with nova.db.write() as tx:
            created = await _order(nova, tx, ctx, order, checked)
    await nova.api_bus.cast(ctx, "conductor", "wake")
    return created


async def _order(nova: Nova, tx: Tx, ctx: Context, order: ServerOrder, checked: _Checked,
                 ids: list[str] | None = None, attachments: dict[str, str] | None = None) -> Created:
    """Check once more what may have changed, and write.  `attachments`: of the given volumes, by device."""
    count = await quotas.check_servers(nova, tx, ctx, order.min_count, order.max_count,
                                       checked.flavor["vcpus"], checked.flavor["ram"])
    if checked.group_id is not None:
        await server_groups.check_room(nova, tx, ctx, checked.group_id, count)
    return await _write(nova, tx, ctx, order, checked, ids or [str(uuid.uuid4()) for _ in range(count)],
                        attachments or {})


async def _check(nova: Nova, ctx: Context, order: ServerOrder) -> _Checked:
    try:
        row = await flavors.get_flavor(nova, ctx, order.flavor_id)
    except FlavorNotFound:
        raise Invalid(f"Flavor {order.flavor_id} could not be found.") from None
    flavor = flavors.as_dict(row)
    placement = await check_placement(nova, ctx, order.availability_zone, order.host, order.hypervisor_hostname)
    disks = await plan_disks(nova, ctx, order.image_id, order.disks, flavor, order.max_count,
                             multiattach=order.multiattach)
    _check_size(nova, ctx, flavor, disks)
    hardware.check(flavor["extra_specs"] or {}, disks.image.properties if disks.image else {}, flavor["vcpus"])
    key_data = await find_key(nova, ctx, order.key_name)
    group = order.scheduler_hints.get("group")
    if group is not None:
        await server_groups.check_group(nova, ctx, str(group))
    await quotas.check_request(nova, ctx, order.metadata, order.personality)
    async with nova.db.read() as tx:  # early, so that a full project costs neutron nothing; decided when written
        await quotas.check_servers(nova, tx, ctx, order.min_count, order.max_count, flavor["vcpus"], flavor["ram"])
    networks = await check_networks(nova, ctx, order.networks, order.max_count)
    await check_security_groups(nova, ctx, order.security_groups)
    return _Checked(flavor, disks, networks, key_data, placement, str(group) if group is not None else None)


def _check_size(nova: Nova, ctx: Context, flavor: dict[str, Any], disks: Disks) -> None:
    """An image must fit into the flavor's memory and root disk.  A root disk of 0 takes the image's own size."""
    image, root = disks.image, root_of(disks.devices)
    if image is not None:
        check_memory(flavor, image)
    if root is not None and root.is_volume:
        # what cinder will refuse later is refused now; a volume that is there has been looked at when it was made
        if image is not None and root.volume_id is None and image.min_disk_gib > (root.volume_size or 0):
            raise Invalid("Volume is smaller than the minimum size specified in image metadata. Volume size is "
                          f"{(root.volume_size or 0) * 2**30} bytes, minimum size is {image.min_disk_gib * 2**30} "
                          "bytes.")
        return
    if flavor["disk"] == 0:
        if not nova.policy.check("os_compute_api:servers:create:zero_disk_flavor", ctx.identity):
            raise Forbidden("Only volume-backed servers are allowed for flavors with zero disk.")
        return
    if image is not None:
        check_root_disk(flavor, image)


def check_memory(flavor: dict[str, Any], image: BootImage) -> None:
    if image.min_ram_mib > flavor["ram"]:
        raise Invalid("Flavor's memory is too small for requested image.")


def check_root_disk(flavor: dict[str, Any], image: BootImage) -> None:
    """The image must fit into the flavor's root disk, which is not 0."""
    disk_bytes = flavor["disk"] * 2**30
    if image.size_bytes > disk_bytes:
        raise Invalid(f"Flavor's disk is too small for requested image. Flavor disk is {disk_bytes} bytes, image is "
                      f"{image.size_bytes} bytes.")
    if image.min_disk_gib * 2**30 > disk_bytes:
        raise Invalid("Flavor's disk is smaller than the minimum size specified in image metadata. Flavor disk is "
                      f"{disk_bytes} bytes, minimum size is {image.min_disk_gib * 2**30} bytes.")


def new_password() -> str:
    """A password for a guest whose user chose none."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(12))


async def find_key(nova: Nova, ctx: Context, name: str | None) -> str | None:
    """The public key of the caller's key pair of that name."""
    if name is None:
        return None
    async with nova.db.read() as tx:
        data = await tx.scalar(sa.select(key_pairs.c.public_key).where(
            key_pairs.c.user_id == ctx.user_id, key_pairs.c.name == name))
    if data is None:
        raise Invalid("Invalid key_name provided.")
    return str(data)


async def _write(nova: Nova, tx: Tx, ctx: Context, order: ServerOrder, checked: _Checked, ids: list[str],
                 attachments: dict[str, str]) -> Created:
    """The records of servers with these ids, with the orders to boot them."""
    now, reservation = utcnow(), "r-" + "".join(secrets.choice(string.ascii_lowercase + string.digits)
                                                for _ in range(8))
    disks, image, placement = checked.disks, checked.disks.image, checked.placement
    security_groups = order.security_groups or ["default"]
    password = order.admin_password or new_password()
    config_drive = order.config_drive or needs_config_drive(nova, image)
    rows, tags, members = [], [], []
    for index, server_id in enumerate(ids):
        devices = [msgspec.structs.replace(device, id=device.id if not index else "",
                                           attachment_id=attachments.get(device.id)) for device in disks.devices]
        devices = [block_devices.named(device) for device in devices]
        if attachments:  # the rows are there since the volumes were reserved
            await block_devices.remove_devices(tx, server_id)
        await block_devices.add_devices(tx, server_id, devices, paint=False)
        name = order.name if order.max_count == 1 else f"{order.name}-{index + 1}"
        hostname = order.hostname if order.hostname is not None else default_hostname(name, server_id)
        if order.hostname is not None and order.max_count > 1:
            hostname = f"{order.hostname}-{index + 1}"
        rows.append({
            "id": server_id, "project_id": ctx.project_id, "user_id": ctx.user_id, "name": name,
            "description": order.description, "hostname": hostname, "vm_state": "building",
            "task_state": "scheduling", "power_state": 0, "progress": 0, "image_id": disks.image_id,
            "image_properties": _kept(image), "block_devices": block_devices.picture(devices), "flavor": checked.flavor,
            "flavor_id": checked.flavor["id"], "vcpus": checked.flavor["vcpus"], "memory_mb": checked.flavor["ram"],
            "disk_gb": checked.flavor["disk"] + checked.flavor["ephemeral"],
            "key_name": order.key_name, "key_data": checked.key_data, "user_data": order.user_data,
            "config_drive": config_drive, "availability_zone": placement.zone, "reservation_id": reservation,
            "launch_index": index, "access_ip_v4": order.access_ip_v4, "access_ip_v6": order.access_ip_v6,
            "metadata": order.metadata, "system_metadata": {"disk_config": order.disk_config},
            "requested_networks": checked.networks, "security_groups": security_groups,
            "scheduler_hints": order.scheduler_hints, "requested_destination": placement.destination,
            "trusted_image_certificates": order.trusted_image_certificates, "personality": order.personality,
            "root_device_name": disks.root_device_name, "network_info": [], "created_at": now,
            "updated_at": now, "generation": 0})
        tags += [{"server_id": server_id, "tag": tag} for tag in order.tags]
        if checked.group_id is not None:
            members.append({"group_id": checked.group_id, "server_id": server_id})
    await tx.execute(_NEW, rows)
    if tags:
        await tx.execute(sa.insert(server_tags), tags)
    if members:
        await tx.execute(sa.insert(server_group_members), members)
    for server_id in ids:
        await record_action(tx, ctx, server_id, "create")
        await nova.conductor.order_boot(tx, ctx, server_id, password if config_drive else None)
    return Created(ids, reservation, password, security_groups)


def needs_config_drive(nova: Nova, image: BootImage | None) -> bool:
    """Whether a server gets a config drive that its owner did not ask for."""
    asks = image is not None and image.properties.get("img_config_drive") == "mandatory"
    return asks or nova.config.force_config_drive


def _kept(image: BootImage | None) -> dict[str, str]:
    """The image's properties that a server keeps: what it says of disks has become the server's block devices."""
    return {name: value for name, value in (image.properties if image else {}).items()
            if name not in ("block_device_mapping", "bdm_v2", "root_device_name", "mappings")}


def default_hostname(name: str, server_id: str) -> str:
    """A host name made of a display name: letters, digits and dashes, at most 63; else "server-<id>".

    >>> default_hostname("My web.server_1!", "x")
    'my-web-server-1'
    """
    text = re.sub(r"[ _.]", "-", name.encode("latin-1", "ignore").decode("latin-1"))
    text = re.sub(r"[^a-zA-Z0-9-]+", "", text).lower().strip("-")[:63].strip("-")
    return text or f"server-{server_id}"
