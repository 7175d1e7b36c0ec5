"""A server as its host sees it: everything that is needed to build and run it, and nothing that changes there.

The conductor makes it from the server's record and sends it with each request (the host has no database).
"""

from __future__ import annotations

import datetime
from typing import Any

import msgspec

from cloudseed.nova.compute.devices import BlockDevice, decode_devices, root_of


class Rescue(msgspec.Struct, frozen=True, kw_only=True):
    """What a rescued server boots from: a disk made of an image.  `stable`: its own disks keep their places, and the
    rescue disk comes behind them on `bus`; else the rescue disk comes first."""

    image_id: str
    stable: bool = False
    bus: str | None = None
    device: str = "disk"  # or cdrom


class ServerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One server.  Sizes: `memory_mib` and `swap_mib` in MiB, `root_gib` and `ephemeral_gib` in GiB."""

    id: str
    name: str
    hostname: str
    project_id: str
    user_id: str
    vcpus: int
    memory_mib: int
    root_gib: int
    ephemeral_gib: int = 0
    swap_mib: int = 0
    flavor_name: str = ""
    extra_specs: dict[str, str] = {}
    image_id: str | None = None
    image_properties: dict[str, Any] = {}
    key_name: str | None = None
    key_data: str | None = None
    user_data: str | None = None  # base64
    metadata: dict[str, str] = {}
    config_drive: bool = False
    availability_zone: str | None = None
    launch_index: int = 0
    requested_networks: list[dict[str, Any]] | str = []  # {uuid?, port?, fixed_ip?, tag?}; "auto" or "none"
    security_groups: list[str] = []
    personality: list[dict[str, Any]] = []
    created_at: str = ""
    reservation_id: str = ""
    root_device_name: str | None = None
    network_info: list[dict[str, Any]] = []
    block_devices: list[BlockDevice] = []
    rescue: Rescue | None = None

    @property
    def root_device(self) -> BlockDevice | None:
        """The device to boot from; None: a local disk made from the image."""
        return root_of(self.block_devices)

    @property
    def volume_backed(self) -> bool:
        root = self.root_device
        return root is not None and root.is_volume

    @property
    def volumes(self) -> list[BlockDevice]:
        """The devices that are volumes, in the order in which the guest sees them."""
        return [device for device in self.block_devices if device.is_volume]

    @property
    def connected_volumes(self) -> list[BlockDevice]:
        """The volumes that the machine has when it runs."""
        return [device for device in self.volumes if device.state != "new"]

    @property
    def ephemeral_disks_gib(self) -> list[int]:
        """The sizes of the ephemeral disks: as ordered, else one of the flavor's size."""
        ordered = [device.volume_size or self.ephemeral_gib for device in self.block_devices if device.is_ephemeral]
        return ordered or ([self.ephemeral_gib] if self.ephemeral_gib else [])

    @property
    def swap_disk_mib(self) -> int:
        """The size of the swap disk, 0 without one."""
        return next((device.volume_size or self.swap_mib for device in self.block_devices if device.is_swap),
                    self.swap_mib)

    @property
    def given_ports(self) -> list[str]:
        """Ports that the user made: bound and unbound, never deleted."""
        if isinstance(self.requested_networks, str):
            return []
        return [wanted["port"] for wanted in self.requested_networks if wanted.get("port")]

    @property
    def has_guest_agent(self) -> bool:
        """Whether the image says that its guests run QEMU's agent."""
        return _is_true(self.image_properties.get("hw_qemu_guest_agent"))

    @property
    def must_quiesce(self) -> bool:
        """Whether the image allows no copy of a running guest's disks unless its file systems stand still."""
        return _is_true(self.image_properties.get("os_require_quiesce"))

    def hardware(self, name: str, default: str) -> str:
        """An `hw_*` setting: the flavor's extra spec `hw:<name>` wins over the image's property `hw_<name>`."""
        return str(self.extra_specs.get(f"hw:{name}") or self.image_properties.get(f"hw_{name}") or default)


def _is_true(value: Any) -> bool:
    return str(value or "").lower() in ("yes", "true", "1", "on", "y", "t")


def spec_from_row(row: Any, flavor: dict[str, Any] | None = None) -> ServerSpec:
    """The spec of a row of `servers`; with another flavor, as it would be."""
    flavor, rescue = flavor or row.flavor, (row.system_metadata or {}).get("rescue")
    created: datetime.datetime = row.created_at
    return ServerSpec(
        id=row.id, name=row.name, hostname=row.hostname, project_id=row.project_id, user_id=row.user_id,
        vcpus=flavor["vcpus"], memory_mib=flavor["ram"], root_gib=flavor["disk"],
        ephemeral_gib=flavor.get("ephemeral") or 0, swap_mib=flavor.get("swap") or 0,
        flavor_name=flavor.get("name", ""), extra_specs=flavor.get("extra_specs") or {},
        image_id=row.image_id, image_properties=row.image_properties or {}, key_name=row.key_name,
        key_data=row.key_data, user_data=row.user_data, metadata=row.metadata or {},
        config_drive=bool(row.config_drive), availability_zone=row.availability_zone, launch_index=row.launch_index,
        requested_networks=row.requested_networks if row.requested_networks is not None else [],
        security_groups=row.security_groups or [], personality=row.personality or [],
        created_at=created.isoformat(), network_info=row.network_info or [],
        reservation_id=row.reservation_id, root_device_name=row.root_device_name,
        block_devices=decode_devices(row.block_devices),
        rescue=msgspec.convert(rescue, Rescue) if rescue is not None else None)


def encode_spec(spec: ServerSpec) -> dict[str, Any]:
    """As it travels over the bus."""
    wire: dict[str, Any] = msgspec.to_builtins(spec)
    return wire


def decode_spec(wire: dict[str, Any]) -> ServerSpec:
    return msgspec.convert(wire, ServerSpec)
