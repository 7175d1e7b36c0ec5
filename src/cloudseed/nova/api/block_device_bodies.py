"""The two forms of block device mapping in POST /servers, and their way into a `DeviceOrder`."""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec

from cloudseed.kernel.errors import Invalid
from cloudseed.kernel.http.microversion import Version
from cloudseed.nova.api.body import MAX_INT, check_range, check_text, is_uuid, shown
from cloudseed.nova.block_device_orders import INVALID, DeviceOrder
from cloudseed.nova.compute.devices import BlockDevice

_DEVICE_NAME = re.compile(r"^[a-zA-Z0-9._/-]{1,255}\Z")
_ID = re.compile(r"^[a-zA-Z0-9._-]{1,255}\Z")
TAG = re.compile(r"^[^,/]{1,60}\Z")
_EPHEMERAL = re.compile(r"^ephemeral[0-9]+\Z")
MAX_DEVICES = 64
Source = Literal["volume", "image", "snapshot", "blank"]


class _Common(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    virtual_name: str | None = None
    volume_id: str | None = None
    snapshot_id: str | None = None
    volume_size: int | None = None
    device_name: str | None = None
    delete_on_termination: bool = False
    no_device: Any = None
    connection_info: str | None = None

    def __post_init__(self) -> None:
        check_range(self.volume_size, "volume_size", 1, MAX_INT)
        if self.device_name is not None and not _DEVICE_NAME.match(self.device_name):
            raise ValueError(f"Invalid input for field/attribute device_name. Value: {shown(self.device_name)}. It "
                             "must have 1 to 255 letters, digits, dots, dashes, underscores and slashes")
        for what in ("volume_id", "snapshot_id"):
            value = getattr(self, what)
            if value is not None and not is_uuid(value):
                raise ValueError(f"Invalid input for field/attribute {what}. Value: {shown(value)}. {shown(value)} is "
                                 "not a 'uuid'")
        check_text(self.virtual_name, "virtual_name")


class LegacyMapping(_Common, forbid_unknown_fields=True, kw_only=True):
    """One item of `block_device_mapping`."""


class Mapping(_Common, forbid_unknown_fields=True, kw_only=True):
    """One item of `block_device_mapping_v2`."""

    source_type: Source | None = None
    uuid: str | None = None
    image_id: str | None = None
    destination_type: Literal["local", "volume"] | None = None
    guest_format: str | None = None
    device_type: str | None = None
    disk_bus: str | None = None
    boot_index: int | None = None
    tag: str | None = None
    volume_type: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for what in ("guest_format", "device_type", "disk_bus", "volume_type"):
            check_text(getattr(self, what), what)
        check_range(self.boot_index, "boot_index", -MAX_INT, MAX_INT)
        if self.uuid is not None and not _ID.match(self.uuid):
            raise ValueError(f"Invalid input for field/attribute uuid. Value: {shown(self.uuid)}. It must have 1 to "
                             "255 letters, digits, dots, dashes and underscores")
        if self.tag is not None and not TAG.match(self.tag):
            raise ValueError("Invalid input for field/attribute tag. It must have 1 to 60 characters, no comma "
                             "or slash")


def read_devices(legacy: list[LegacyMapping] | None, mappings: list[Mapping] | None, *, image: bool,
                 version: Version) -> DeviceOrder:
    """What the client wants; `image`: it named an image too.  Raises Invalid with upstream's texts."""
    if legacy and mappings:
        raise Invalid("Using different block_device_mapping syntaxes is not allowed in the same request.")
    if len(legacy or mappings or ()) > MAX_DEVICES:
        raise Invalid(f"{INVALID}: at most {MAX_DEVICES} block devices can be given.")
    if legacy:
        return DeviceOrder(devices=[_from_legacy(one) for one in legacy if one.no_device is None], legacy=True)
    devices = []
    for one in mappings or ():
        _check_version(one, version)
        if one.no_device is None or one.no_device is False:
            devices.append(_device(one, image))
    return DeviceOrder(devices=devices)


def _check_version(one: Mapping, version: Version) -> None:
    for name, known in (("tag", (2, 32) <= version <= (2, 36) or version >= (2, 42)),
                        ("volume_type", version >= (2, 67))):
        if getattr(one, name) is not None and not known:
            raise Invalid("Invalid input for field/attribute block_device_mapping_v2. Additional properties are not "
                          f"allowed ('{name}' was unexpected)")


def _device(one: Mapping, image: bool) -> BlockDevice:
    source = one.source_type
    if source == "blank" and one.uuid:
        raise Invalid(f"{INVALID}: Invalid device UUID.")
    if source != "blank" and not one.uuid:
        raise Invalid(f"{INVALID}: Missing device UUID.")
    if source is None:
        raise Invalid(f"{INVALID}: Some required fields are missing")
    root_from_image = source == "image" and image and one.boot_index == 0
    destination = one.destination_type or ("local" if source == "blank" or root_from_image else "volume")
    if destination == "local" and source != "blank" and not root_from_image:
        raise Invalid(f"{INVALID}: Mapping {source} to local is not supported.")
    if destination == "local" and one.volume_type:
        raise Invalid(f"{INVALID}: Specifying a volume_type with destination_type=local is not supported.")
    if source == "volume" and one.volume_type:
        raise Invalid(f"{INVALID}: Specifying volume type to existing volume is not supported.")
    ids: dict[str, Any] = {f"{source}_id": _checked_id(source, str(one.uuid))} if source != "blank" else {}
    return BlockDevice(
        source_type=source, destination_type=destination, boot_index=one.boot_index, device_name=_path(one.device_name),
        delete_on_termination=one.delete_on_termination, volume_size=one.volume_size, volume_type=one.volume_type,
        guest_format=one.guest_format, device_type=one.device_type, disk_bus=one.disk_bus, tag=one.tag, **ids)


def _checked_id(source: str, value: str) -> str:
    """What is no uuid names nothing; it must not become a part of a URL."""
    if not is_uuid(value):
        raise Invalid(f"{INVALID}: failed to get {source} {shown(value)}.")
    digits = value.replace("-", "").lower()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _from_legacy(one: LegacyMapping) -> BlockDevice:
    common: dict[str, Any] = {
        "device_name": _path(one.device_name), "delete_on_termination": one.delete_on_termination,
        "volume_size": one.volume_size}
    if one.virtual_name == "swap" or _EPHEMERAL.match(one.virtual_name or ""):
        return BlockDevice(**{**common, "delete_on_termination": True}, source_type="blank", destination_type="local",
                           guest_format="swap" if one.virtual_name == "swap" else None)
    if one.snapshot_id:
        return BlockDevice(**common, source_type="snapshot", destination_type="volume",
                           snapshot_id=_checked_id("snapshot", one.snapshot_id))
    if one.volume_id:
        return BlockDevice(**common, source_type="volume", destination_type="volume",
                           volume_id=_checked_id("volume", one.volume_id))
    raise Invalid(f"{INVALID}: Unrecognized legacy format.")


def _path(name: str | None) -> str | None:
    return "/dev/" + name.removeprefix("/dev/") if name else None
