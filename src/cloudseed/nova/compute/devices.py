"""A server's block devices as its host sees them: which disk is made of what, and how the guest will call it.  Pure.

The root disk is the device with `boot_index` 0; a server without such a device has a local root disk made from its
image.  Only what differs from "a root disk from the image, ephemeral and swap disks as the flavor has them" is
written down as a device.
"""

from __future__ import annotations

import string
from collections.abc import Collection, Iterable
from typing import Any, Literal

import msgspec

PREFIXES = {"virtio": "vd", "ide": "hd", "scsi": "sd", "sata": "sd", "usb": "sd"}

SourceType = Literal["image", "volume", "snapshot", "blank"]
DestinationType = Literal["local", "volume"]
State = Literal["new", "attached", "detaching"]


class BlockDevice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One block device mapping.  `volume_size` in GiB, of a swap disk in MiB.

    `state`: `new` until its volume was connected for the first time.  `made`: the volume was made for this server.
    """

    id: str = ""
    source_type: SourceType
    destination_type: DestinationType
    boot_index: int | None = None
    device_name: str | None = None
    delete_on_termination: bool = False
    volume_size: int | None = None
    volume_type: str | None = None
    guest_format: str | None = None
    device_type: str | None = None
    disk_bus: str | None = None
    tag: str | None = None
    image_id: str | None = None
    snapshot_id: str | None = None
    volume_id: str | None = None
    attachment_id: str | None = None
    connection_info: dict[str, Any] | None = None
    state: State = "new"
    made: bool = False

    @property
    def is_root(self) -> bool:
        return self.boot_index == 0

    @property
    def is_volume(self) -> bool:
        return self.destination_type == "volume"

    @property
    def is_swap(self) -> bool:
        return self.source_type == "blank" and not self.is_volume and self.guest_format == "swap"

    @property
    def is_ephemeral(self) -> bool:
        return self.source_type == "blank" and not self.is_volume and self.guest_format != "swap"

    @property
    def read_only(self) -> bool:
        return bool(self.connection_info) and self.connection_info["data"].get("access_mode") == "ro"  # type: ignore[index]


def decode_devices(wire: Iterable[dict[str, Any]] | None) -> list[BlockDevice]:
    """From JSON: the bus, or the column `servers.block_devices`."""
    return [msgspec.convert(one, BlockDevice) for one in wire or ()]


def root_of(devices: Iterable[BlockDevice]) -> BlockDevice | None:
    return next((device for device in devices if device.is_root), None)


def next_name(bus: str, taken: Collection[str | None]) -> str:
    """The name that the next disk on `bus` gets in the guest: /dev/vdb after /dev/vda.

    >>> next_name("virtio", {"/dev/vda", "/dev/sdb"})
    '/dev/vdb'
    """
    prefix = f"/dev/{PREFIXES.get(bus, 'vd')}"
    index = 0
    while (name := prefix + _letters(index)) in taken:
        index += 1
    return name


def _letters(index: int) -> str:
    """0 -> a, 25 -> z, 26 -> aa"""
    text = ""
    while index >= 0:
        text = string.ascii_lowercase[index % 26] + text
        index = index // 26 - 1
    return text
