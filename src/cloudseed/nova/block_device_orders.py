"""What the disks of a new server shall be: the client's mapping, the image's and the flavor's made one, and checked.

Texts and order of the checks are upstream's.  Nothing is changed here or elsewhere: volumes are reserved once the
whole order is known to be good.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import CloudseedError, Invalid, Unavailable
from cloudseed.nova.block_devices import named
from cloudseed.nova.compute.devices import PREFIXES, BlockDevice, next_name, root_of
from cloudseed.nova.compute.volumes import Volumes
from cloudseed.nova.server_images import BootImage, describe_volume, get_boot_image

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

INVALID = "Block Device Mapping is Invalid"
BUSES = ("virtio", "scsi", "ide", "sata")  # that a disk can have here
KNOWN_BUSES = (*BUSES, "fdc", "usb", "xen", "lxc", "uml")
MAX_LOCAL = 3  # upstream's max_local_block_devices


class DeviceOrder(msgspec.Struct, kw_only=True):
    """The mapping as the client sent it, in today's form; `legacy`: converted from block_device_mapping."""

    devices: list[BlockDevice] = []
    legacy: bool = False


class Disks(msgspec.Struct, kw_only=True):
    """The outcome: the devices to write down, the image whose properties the server takes over, and the root's name.

    `image_id`: the image that is shown with the server, null when it boots from a volume.  `shareable`: the volumes
    among them that several servers may have.
    """

    devices: list[BlockDevice]
    image: BootImage | None
    image_id: str | None
    root_device_name: str
    shareable: frozenset[str]


async def plan_disks(nova: Nova, ctx: Context, image_id: str | None, order: DeviceOrder, flavor: dict[str, Any],
                     count: int, *, multiattach: bool) -> Disks:
    """The disks of `count` servers of this order.  Raises Invalid, with upstream's texts."""
    volumes = Volumes(nova.api_session)
    image = await _boot_image(nova, ctx, volumes, image_id, order)
    devices = _merged(order, image, image_id)
    if count > 1 and any(device.source_type == "volume" for device in devices):
        raise Invalid("Cannot attach one or more volumes to multiple instances")
    root = root_of(devices)
    if root is not None and root.is_volume and image_id is None and image is None:
        image = await _image_of(nova, ctx, volumes, root)
    shareable: set[str] = set()
    devices = [await _checked(nova, ctx, volumes, device, image_id, shareable, multiattach=multiattach)
               for device in devices]
    _check_sequence(devices)
    await _check_types(volumes, ctx, devices)
    _check_local(devices, flavor)
    bus = (image.properties.get("hw_disk_bus") if image else None) or "virtio"
    devices, root_name = name_devices(devices, bus, flavor)
    backed = (found := root_of(devices)) is not None and found.is_volume
    # a root disk from the image is what a server has anyway
    kept = [named(device) for device in devices if not (device.source_type == "image" and not device.is_volume)]
    return Disks(devices=kept, image=image, image_id=None if backed else image_id, root_device_name=root_name,
                 shareable=frozenset(shareable))


async def _boot_image(nova: Nova, ctx: Context, volumes: Volumes, image_id: str | None,
                      order: DeviceOrder) -> BootImage | None:
    """The image whose properties count: the one named, else that of the device to boot from."""
    if image_id is not None:
        return await get_boot_image(nova, ctx, image_id)
    if order.legacy:
        first: Callable[[BlockDevice], bool] = lambda d: _letter(d.device_name) == "a"  # noqa: E731
    else:
        first = lambda d: d.is_root  # noqa: E731
    root = next((device for device in order.devices if first(device)), None)
    return await _image_of(nova, ctx, volumes, root) if root is not None else None


async def _image_of(nova: Nova, ctx: Context, volumes: Volumes, root: BlockDevice) -> BootImage | None:
    if root.image_id is not None:
        try:
            return await get_boot_image(nova, ctx, root.image_id)
        except Unavailable:
            raise
        except CloudseedError:
            raise Invalid(f"{INVALID}: failed to get image {root.image_id}.") from None
    volume_id = root.volume_id
    if root.snapshot_id is not None:
        volume_id = (await _snapshot(volumes, ctx, root.snapshot_id))["volume_id"]
    if volume_id is None:
        return None
    volume = await _volume(volumes, ctx, volume_id)
    if str(volume.get("bootable", "true")).lower() == "false":
        raise Invalid(f"Block Device {volume_id} is not bootable.")
    return describe_volume(volume)


# ---- one list of what client, image and flavor say

def _merged(order: DeviceOrder, image: BootImage | None, image_id: str | None) -> list[BlockDevice]:
    """The client's devices and the image's own, without those that a device of the same name replaces."""
    root_name = "vda"
    if image_id is not None and any(device.is_volume and _bare(device.device_name) == root_name
                                    for device in order.devices):
        raise Invalid(f"The volume cannot be assigned the same device name as the root device {root_name}")
    own = image_devices(image) if image is not None else []
    ours = order.devices
    if order.legacy or not ours:
        ours = _legacy_roots(ours, image_id if root_of(own) is None else None, root_name,
                             no_root=root_of(own) is not None)
    elif root_of(own) is not None:
        # clients send the image as root disk though the image says itself what its disks are
        ours = [device for device in ours if not (device.is_root and device.source_type == "image")]
    taken = {device.device_name for device in ours if device.device_name}
    return [*ours, *(device for device in own if device.device_name not in taken)]


def _legacy_roots(devices: list[BlockDevice], image_id: str | None, root_name: str, *,
                  no_root: bool) -> list[BlockDevice]:
    """Of the old form the device that is called as the root disk is the one to boot from, else the image."""
    if no_root:
        return [msgspec.structs.replace(device, boot_index=-1) for device in devices]
    if image_id is None:
        first = next((d for d in devices if _bare(d.device_name) == root_name and d.source_type != "blank"),
                     next((d for d in devices if d.source_type != "blank"), None))
    else:
        first = None
    found = [msgspec.structs.replace(device, boot_index=0 if device is first else -1) for device in devices]
    if image_id is not None:
        found.insert(0, BlockDevice(source_type="image", destination_type="local", boot_index=0, image_id=image_id,
                                    delete_on_termination=True))
    return found


def image_devices(image: BootImage) -> list[BlockDevice]:
    """The devices that an image describes in its property block_device_mapping (a snapshot of a volume-backed server
    does).  Invalid when they cannot be understood."""
    text = image.properties.get("block_device_mapping")
    if not text:
        return []
    try:
        found = msgspec.json.decode(text, type=list[dict[str, Any]])
        return [_from_image(one) for one in found if not one.get("no_device")]
    except (msgspec.DecodeError, msgspec.ValidationError, TypeError, ValueError, AttributeError):
        raise Invalid(f"{INVALID}: the image's property block_device_mapping cannot be understood.") from None


def _from_image(one: dict[str, Any]) -> BlockDevice:
    source = one.get("source_type") or ("snapshot" if one.get("snapshot_id") else
                                        "volume" if one.get("volume_id") else "blank")
    known = {name: one.get(name) for name in (
        "boot_index", "device_name", "volume_size", "volume_type", "guest_format", "device_type", "disk_bus", "tag",
        "image_id", "snapshot_id", "volume_id")}
    for name in ("image_id", "snapshot_id", "volume_id"):
        if known[name] is not None:
            known[name] = str(uuid.UUID(known[name]))  # what is no id must not become a part of a URL
    destination = one.get("destination_type") or ("local" if source == "blank" else "volume")
    boot_index = known["boot_index"]
    if boot_index is None and "source_type" not in one and _bare(known["device_name"]) in ("vda", "sda", "hda"):
        boot_index = 0
    return msgspec.convert({**known, "boot_index": boot_index, "source_type": source,
                            "destination_type": destination,
                            "delete_on_termination": bool(one.get("delete_on_termination"))}, BlockDevice,
                           strict=False)


# ---- checks

async def _checked(nova: Nova, ctx: Context, volumes: Volumes, device: BlockDevice, image_id: str | None,
                   shareable: set[str], *, multiattach: bool) -> BlockDevice:
    """The device with what its source adds to it; Invalid when the source cannot be used."""
    match device.source_type:
        case "image":
            if device.image_id != image_id and device.image_id is not None:
                try:
                    await get_boot_image(nova, ctx, device.image_id)
                except Unavailable:
                    raise
                except CloudseedError:
                    raise Invalid(f"{INVALID}: failed to get image {device.image_id}.") from None
            if device.is_volume and not device.volume_size:
                raise Invalid("Images with destination_type 'volume' need to have a non-zero size specified")
        case "volume":
            assert device.volume_id is not None
            volume = await _volume(volumes, ctx, device.volume_id)
            check_attachable(volume, multiattach=multiattach)
            if volume.get("multiattach"):
                shareable.add(device.volume_id)
            device = msgspec.structs.replace(device, volume_size=volume["size"])
        case "snapshot":
            assert device.snapshot_id is not None
            snapshot = await _snapshot(volumes, ctx, device.snapshot_id)
            device = msgspec.structs.replace(device, volume_size=device.volume_size or snapshot.get("size"))
        case "blank":
            if device.is_volume and not device.volume_size:
                raise Invalid("Blank volumes (source: 'blank', dest: 'volume') need to have non-zero size")
    if device.disk_bus and device.disk_bus not in KNOWN_BUSES:
        raise Invalid(f"{INVALID}: The provided disk bus {device.disk_bus[:60]!r} is not valid.")
    if device.disk_bus and device.disk_bus not in BUSES:
        raise Invalid(f"{INVALID}: The disk bus {device.disk_bus} is not supported by this cloud; supported: "
                      f"{', '.join(BUSES)}.")
    if (device.device_type or "disk") != "disk":
        raise Invalid(f"{INVALID}: The device type {device.device_type[:60]!r} is not supported by this cloud; "  # type: ignore[index]
                      "supported: disk.")
    return device


def check_attachable(volume: dict[str, Any], *, multiattach: bool) -> None:
    """Whether this client may have the volume at all; whether it is free is decided when it is reserved."""
    if volume.get("multiattach") and not multiattach:
        raise Invalid("Multiattach volumes are only supported starting with compute API version 2.60.")


async def _volume(volumes: Volumes, ctx: Context, volume_id: str) -> dict[str, Any]:
    try:
        return await volumes.get_volume(ctx, volume_id, as_user=True)
    except Unavailable:
        raise
    except CloudseedError:
        raise Invalid(f"{INVALID}: failed to get volume {volume_id}.") from None


async def _snapshot(volumes: Volumes, ctx: Context, snapshot_id: str) -> dict[str, Any]:
    try:
        return await volumes.get_snapshot(ctx, snapshot_id, as_user=True)
    except Unavailable:
        raise
    except CloudseedError:
        raise Invalid(f"{INVALID}: failed to get snapshot {snapshot_id}.") from None


def _check_sequence(devices: Iterable[BlockDevice]) -> None:
    """Boot indexes are 0, 1, 2, ... without a hole, and there is something to boot from."""
    indexes = sorted(d.boot_index for d in devices if d.boot_index is not None and d.boot_index >= 0)
    if not indexes or indexes != list(range(len(indexes))):
        raise Invalid(f"{INVALID}: Boot sequence for the instance and image/block device mapping combination is not "
                      "valid.")


async def _check_types(volumes: Volumes, ctx: Context, devices: Sequence[BlockDevice]) -> None:
    wanted = {device.volume_type for device in devices if device.volume_type}
    if not wanted:
        return
    known = {name for kind in await volumes.volume_types(ctx) for name in (kind["id"], kind["name"])}
    for name in sorted(wanted - known):
        raise Invalid(f"Volume type {name} could not be found.")


def _check_local(devices: Sequence[BlockDevice], flavor: dict[str, Any]) -> None:
    """Disks on the host stay within the flavor."""
    ephemeral = sum(device.volume_size or flavor["ephemeral"] for device in devices if device.is_ephemeral)
    if ephemeral > flavor["ephemeral"]:
        raise Invalid("Ephemeral disks requested are larger than the instance type allows. If no size is given in one "
                      "block device mapping, flavor ephemeral size will be used.")
    swaps = [device for device in devices if device.is_swap]
    if len(swaps) > 1:
        raise Invalid(f"{INVALID}: More than one swap drive requested.")
    if swaps and (swaps[0].volume_size or 0) > flavor["swap"]:
        raise Invalid("Swap drive requested is larger than instance type allows.")
    if sum(not device.is_volume for device in devices) > MAX_LOCAL:
        raise Invalid(f"{INVALID}: You specified more local devices than the limit allows")


# ---- names

def name_devices(devices: Sequence[BlockDevice], bus: str, flavor: dict[str, Any]) -> tuple[list[BlockDevice], str]:
    """Every device with the name that the guest will give its disk, and the root disk's.  Names that clients wish for
    are not honoured: a guest counts its disks, whatever a cloud says."""
    taken: set[str | None] = set()
    names: dict[int, str] = {}

    def name(key: int, own: str | None) -> None:
        names[key] = next_name(own or bus, taken)
        taken.add(names[key])

    root = next((number for number, device in enumerate(devices) if device.is_root), None)
    name(-1 if root is None else root, devices[root].disk_bus if root is not None else None)
    ordered = [n for n, d in enumerate(devices) if d.is_ephemeral and n != root]
    ordered += [n for n, d in enumerate(devices) if d.is_swap and n != root]
    # what the flavor adds by itself lies between them and the volumes
    for kind, has in (("ephemeral", any(d.is_ephemeral for d in devices)), ("swap", any(d.is_swap for d in devices))):
        if flavor.get(kind) and not has:
            ordered.append(-2 if kind == "ephemeral" else -3)
    ordered += [n for n, d in enumerate(devices) if d.is_volume and n != root]
    for key in ordered:
        name(key, devices[key].disk_bus if key >= 0 else None)
    root_name = names[-1 if root is None else root]
    return [msgspec.structs.replace(device, device_name=names.get(number, device.device_name))
            for number, device in enumerate(devices)], root_name


def _bare(name: str | None) -> str:
    return (name or "").removeprefix("/dev/")


def _letter(name: str | None) -> str:
    """The letters of a disk's name behind its prefix: "a" of /dev/vda1."""
    text = _bare(name).rstrip("0123456789")
    return next((text.removeprefix(p) for p in ("xvd", *sorted(set(PREFIXES.values()))) if text.startswith(p)), text)

