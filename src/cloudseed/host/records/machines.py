"""Machines: what one is made of, what is known of it, and the commands about it."""

from __future__ import annotations

from typing import Literal

from cloudseed.host.records.base import Command, Record
from cloudseed.host.records.disks import DiskSpec


class NicSpec(Record, frozen=True, kw_only=True):
    """A network card: the tap of `port_id` in the namespace of `network_id` must have been applied before."""

    port_id: str
    network_id: str
    mac_address: str
    model: Literal["virtio", "e1000", "rtl8139"] = "virtio"
    mtu: int = 1500


class MachineSpec(Record, frozen=True, kw_only=True):
    """One machine, whole.  `accel` null lets the probe decide; `cpu_model` null takes the best for it."""

    server_id: str
    name: str
    vcpus: int
    memory_mib: int
    disks: list[DiskSpec] = []
    nics: list[NicSpec] = []
    machine_type: Literal["pc", "q35"] = "pc"
    firmware: Literal["bios", "uefi"] = "bios"
    guest_agent: bool = False  # a port for QEMU's agent in the guest
    accel: Literal["kvm", "tcg"] | None = None
    cpu_model: str | None = None
    vga: Literal["std", "virtio", "none"] = "std"
    video_memory_mib: int = 0  # of a std card, a power of two; 0 is QEMU's choice
    topology: tuple[int, int, int] | None = None  # sockets, cores, threads; their product is `vcpus`
    boot_menu: bool = False
    watchdog: Literal["none", "reset", "poweroff", "pause"] | None = None  # what happens when it is not fed
    tablet: Literal["usb", "virtio"] | None = None  # a pointer with absolute positions, on that bus
    random_bytes: int = 0  # that the guest may draw in each `random_period_ms`; 0: as many as it likes
    random_period_ms: int = 1000
    local_time: bool = False  # its clock shows local time, as Windows expects


class MachineInfo(Record, frozen=True, kw_only=True):
    """A machine that this host has files or a process of.  `started_at` is seconds since the epoch by the
    host's clock, as it is set now; `start` names the start that it runs since, for all time.  `owner` is what was said
    with its first disk.
    """

    server_id: str
    running: bool
    paused: bool = False  # it runs and its guest's processors stand still
    suspended: bool = False  # it is off and its memory lies on disk
    pid: int | None = None
    started_at: float | None = None
    start: str = ""
    cpu_seconds: float = 0.0
    rss_bytes: int = 0
    owner: str = ""


class EnsureMachine(Command, frozen=True, kw_only=True):
    """Start the machine unless it runs; its disks and taps must exist. -> MachineInfo

    One that is suspended goes on, with the devices that it had then.
    """

    spec: MachineSpec


class StopMachine(Command, frozen=True, kw_only=True):
    """Soft: press the ACPI power button and return at once.  Hard: end the process and wait for it. -> None

    A machine that is not running is already stopped; stopped hard, one that was suspended is so no more.
    """

    server_id: str
    hard: bool = False


class PauseMachine(Command, frozen=True, kw_only=True):
    """Stop the guest's processors, or let them go on; so already is fine. -> None"""

    server_id: str
    paused: bool


class SuspendMachine(Command, frozen=True, kw_only=True):
    """Write the machine's memory to disk and end its process; the next start goes on from there. -> None

    Suspended already is fine.  A hard stop forgets the memory.
    """

    server_id: str


class ClaimMachine(Command, frozen=True, kw_only=True):
    """Keep a place for a machine that has no disk of its own on this host: it boots from a volume. -> None"""

    server_id: str
    owner: str = ""


class RemoveMachine(Command, frozen=True, kw_only=True):
    """End the process and remove the machine's directory; nothing there is fine. -> None"""

    server_id: str


class ListMachines(Command, frozen=True, kw_only=True):
    """-> list[MachineInfo]"""


class AttachInterface(Command, frozen=True, kw_only=True):
    """Plug a card into a running machine and its spec; already plugged is fine. -> None"""

    server_id: str
    nic: NicSpec


class DetachInterface(Command, frozen=True, kw_only=True):
    """Unplug the card of `port_id`; returns when the guest has let go.  Not plugged is fine. -> None"""

    server_id: str
    port_id: str


class AttachDisk(Command, frozen=True, kw_only=True):
    """Plug a disk into a running machine and its spec; already plugged is fine. -> None"""

    server_id: str
    disk: DiskSpec


class DetachDisk(Command, frozen=True, kw_only=True):
    """Unplug a disk by name; returns when the guest has let go.  Not plugged is fine. -> None"""

    server_id: str
    name: str


class WriteConfigDrive(Command, frozen=True, kw_only=True):
    """Write `machines/<server>/config.iso` (ISO 9660 with Joliet and Rock Ridge, label config-2). -> None

    Keys of `files` are relative paths such as `openstack/latest/meta_data.json`.
    """

    server_id: str
    files: dict[str, bytes]
