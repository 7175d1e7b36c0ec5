"""The disks of a QEMU machine, from its server's block devices.  Pure.

In the guest's order: the root disk, ephemeral disks, swap, volumes, then the config drive.  Volumes are named by
their ids: the host process finds the export by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, cast

import msgspec

from cloudseed.host.records import DiskSpec, VolumeWay
from cloudseed.nova.compute.devices import BlockDevice
from cloudseed.nova.compute.errors import BuildAborted
from cloudseed.nova.compute.spec import Rescue, ServerSpec

DISK_BUSES = ("virtio", "scsi", "ide", "sata")
RESCUE_DISK = "rescue"
Bus = Literal["virtio", "scsi", "ide", "sata", "usb"]


def volume_disk_name(device: BlockDevice) -> str:
    """The name of a volume's disk within its machine."""
    return f"volume-{device.volume_id}"


def volume_disk(device: BlockDevice, default_bus: Bus) -> DiskSpec:
    """A volume as a disk of a machine; BuildAborted when it is not connected or not of a kind that we have."""
    if device.attachment_id is None or device.connection_info is None or device.volume_id is None:
        raise BuildAborted(f"Volume {device.volume_id} is not connected.")
    kind = device.connection_info["driver_volume_type"]
    if kind != "nbd":
        raise BuildAborted(f"Volume {device.volume_id} is offered by {kind}, which this host does not speak.")
    if (device.device_type or "disk") != "disk":
        raise BuildAborted(f"device_type {device.device_type!r} is not supported on this host; supported: disk.")
    return DiskSpec(name=volume_disk_name(device), kind="volume", format="raw", volume_id=device.volume_id,
                    attachment_id=device.attachment_id, bus=bus_of(device.disk_bus, default_bus),
                    serial=device.volume_id, read_only=device.read_only,
                    way=_way(device.connection_info["data"].get("way")))


def _way(told: Any) -> VolumeWay | None:
    """How a volume of another host is reached, as cinder tells it."""
    return msgspec.convert(told, VolumeWay) if told else None


def bus_of(value: str | None, default: Bus) -> Bus:
    """A device's bus; BuildAborted when it is none of ours."""
    bus = value or default
    if bus not in DISK_BUSES:
        raise BuildAborted(f"disk_bus {bus!r} is not supported on this host; supported: {', '.join(DISK_BUSES)}.")
    return cast(Bus, bus)


def local_disks(spec: ServerSpec, bus: Bus) -> list[tuple[DiskSpec, int]]:
    """The ephemeral and swap disks, each with its size in bytes."""
    found = [(f"ephemeral{number or ''}", gib * 1024**3, _bus(spec, lambda d: d.is_ephemeral, number, bus))
             for number, gib in enumerate(spec.ephemeral_disks_gib)]
    if spec.swap_disk_mib:
        found.append(("swap", spec.swap_disk_mib * 1024**2, _bus(spec, lambda d: d.is_swap, 0, bus)))
    return [(DiskSpec(name=name, bus=own), size) for name, size, own in found]


def _bus(spec: ServerSpec, wanted: Callable[[BlockDevice], bool], number: int, default: Bus) -> Bus:
    ordered = [device for device in spec.block_devices if wanted(device)]
    return bus_of(ordered[number].disk_bus if number < len(ordered) else None, default)


def machine_disks(spec: ServerSpec, bus: Bus, cdrom: Literal["ide", "sata"]) -> list[DiskSpec]:
    """Every disk of the server's machine."""
    volumes = [(volume_disk(device, bus), device.boot_index) for device in spec.connected_volumes]
    roots = [(disk, index) for disk, index in volumes if index == 0]
    others = [(disk, index) for disk, index in volumes if index != 0]
    if not spec.volume_backed:
        roots = [(DiskSpec(name="root", bus=bus), 0)]
    elif not roots:
        raise BuildAborted(f"The root disk of server {spec.id} is not connected.")
    local: list[tuple[DiskSpec, int | None]] = [(disk, None) for disk, _ in local_disks(spec, bus)]
    disks = [*roots, *local, *others]
    # who has a boot index boots in that order, all others behind
    order = sorted(disks, key=lambda one: one[1] if one[1] is not None and one[1] >= 0 else len(disks) + 1)
    places = {disk.name: place for place, (disk, _) in enumerate(order)}
    found = [msgspec.structs.replace(disk, boot_index=places[disk.name]) for disk, _ in disks]
    if spec.rescue is not None:
        found = _with_rescue(spec.rescue, found, bus, cdrom)
    config = []
    if spec.config_drive:
        config.append(DiskSpec(name="config", kind="config_drive", format="raw", bus=cdrom, read_only=True))
    return found + config


def _with_rescue(rescue: Rescue, own: list[DiskSpec], bus: Bus, cdrom: Bus) -> list[DiskSpec]:
    """The server's own disks (the root disk first) with the one that it is rescued from, which boots.

    A stable rescue puts it behind all of them; else it is the first, and the root disk the only other one.
    """
    is_cdrom = rescue.device == "cdrom"
    # by USB only to rescue: all other disks must be able to come and go
    own_bus: Bus = "usb" if rescue.bus == "usb" and not is_cdrom else bus_of(rescue.bus, cdrom if is_cdrom else bus)
    disk = DiskSpec(name=RESCUE_DISK, bus=own_bus, boot_index=0,
                    cdrom=is_cdrom, read_only=is_cdrom)
    behind = [msgspec.structs.replace(one, boot_index=(one.boot_index or 0) + 1) for one in own]
    return [*behind, disk] if rescue.stable else [disk, behind[0]]
