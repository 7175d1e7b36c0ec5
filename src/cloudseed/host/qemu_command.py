"""QEMU's command line: a pure function of a machine's spec and of the files that it gets open.

QEMU opens nothing by path but its own firmware: disks, taps, sockets and the console's log come as descriptors,
so its user needs no right on any directory of ours.  The VNC socket is the exception, since QEMU takes only a
path there: it lies in the one directory that QEMU gets open and may write to.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from cloudseed.host.errors import HostError
from cloudseed.host.paths import check_disk_name, check_mac, check_uuid
from cloudseed.host.records import DiskSpec, MachineSpec, NicSpec
from cloudseed.host.suspension import Layout

_NIC_MODELS = {"virtio": "virtio-net-pci", "e1000": "e1000", "rtl8139": "rtl8139"}
RECONNECT_S = 300  # how long a guest's requests wait for a volume's storage daemon before they fail
# TCG runs the "fast" string instructions, which this flag recommends to guests for clearing and copying, byte by byte
_EMULATED_CPU = "max,-erms"
_HOT_PLUG_PORTS = 12  # of a q35 machine; a pc machine's slots are all hot-pluggable


@dataclass(frozen=True)
class DiskFiles:
    """The open files of one disk: descriptor of the disk, and of the image below it with its format."""

    descriptor: int | None
    read_only: bool = False
    backing_descriptor: int | None = None
    backing_format: str | None = None
    socket: str | None = None  # of a volume's export, as QEMU names it


@dataclass(frozen=True)
class Launch:
    """What a start needs besides the spec."""

    binary: str
    accel: Literal["kvm", "tcg"]
    disks: dict[str, DiskFiles] = field(default_factory=dict)  # by the disk's name
    taps: dict[str, int] = field(default_factory=dict)  # by port id
    qmp: int = -1
    host_qmp: int = -1
    serial: int = -1
    console_log: int = -1
    agent: int = -1
    vnc_directory: int = -1
    volumes_directory: int = -1
    uefi: tuple[int, int] | None = None  # the firmware, and the machine's own variables


def check_spec(spec: MachineSpec) -> None:
    """`invalid` when the spec makes no machine."""
    check_uuid(spec.server_id, "server_id")
    if not 1 <= spec.vcpus <= 255:
        raise HostError("invalid", f"vcpus must be 1 to 255, not {spec.vcpus}")
    if not 16 <= spec.memory_mib <= 4 * 1024 * 1024:
        raise HostError("invalid", f"memory_mib must be 16 to 4194304, not {spec.memory_mib}")
    if spec.topology is not None and (
        min(spec.topology) < 1 or spec.topology[0] * spec.topology[1] * spec.topology[2] != spec.vcpus
    ):
        raise HostError("invalid", f"sockets, cores and threads {spec.topology} do not make {spec.vcpus} vcpus")
    if spec.video_memory_mib and (spec.video_memory_mib.bit_count() != 1 or not 1 <= spec.video_memory_mib <= 256):
        raise HostError("invalid", "video_memory_mib must be a power of two of at most 256")
    if not 0 <= spec.random_bytes < 1 << 31 or not 1 <= spec.random_period_ms < 1 << 31:
        raise HostError("invalid", "random_bytes and random_period_ms must be positive")
    for name in (check_disk_name(disk.name) for disk in spec.disks):
        if sum(disk.name == name for disk in spec.disks) > 1:
            raise HostError("invalid", f"two disks are named {name}")
    for disk in spec.disks:
        if disk.kind == "volume":
            check_uuid(disk.volume_id, f"the volume_id of disk {disk.name}")
            check_uuid(disk.attachment_id, f"the attachment_id of disk {disk.name}")
    for nic in spec.nics:
        check_uuid(nic.port_id, "port_id")
        check_uuid(nic.network_id, "network_id")
        check_mac(nic.mac_address, f"the MAC address of port {nic.port_id}")
    if spec.cpu_model is not None and not spec.cpu_model.replace("-", "").replace("_", "").isalnum():
        raise HostError("invalid", f"{spec.cpu_model[:40]!r} is no CPU model")


def arguments(spec: MachineSpec, launch: Launch, layout: Layout | None = None) -> list[str]:
    """The whole command line; `check_spec` has passed, and `launch` has a file for each disk and card.

    `layout`: how the machine must be to read its memory (suspension.py).
    """
    places = layout.places if layout is not None else {}
    machine_type = layout.machine_type if layout is not None else spec.machine_type
    argv = [
        launch.binary,
        "-nodefaults",
        "-no-user-config",
        "-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
        "-name", f"{spec.server_id},debug-threads=on",  # its processors are told apart in /proc
        "-uuid", spec.server_id,
        "-machine", f"{machine_type},usb=off,graphics={'off' if spec.vga == 'none' else 'on'}"
        + (",pflash0=uefi-code,pflash1=uefi-vars" if launch.uefi is not None else ""),
        "-accel", "tcg,thread=multi" if launch.accel == "tcg" else launch.accel,
        "-cpu", spec.cpu_model or ("host" if launch.accel == "kvm" else _EMULATED_CPU),
        "-smp", _processors(spec),
        "-m", str(spec.memory_mib),
        "-rtc", "base=localtime" if spec.local_time else "base=utc",
        "-boot", "strict=on,menu=on,splash-time=3000" if spec.boot_menu else "strict=on",
        "-display", "none",
        "-msg", "timestamp=on",
        # what guests' tools look for to know where they are
        "-smbios", f"type=1,manufacturer=OpenStack Foundation,product=OpenStack Nova,uuid={spec.server_id}",
        *_monitor("qmp", launch.qmp),
        *_monitor("hostqmp", launch.host_qmp),
        "-add-fd", f"fd={launch.console_log},set={_set_id('console')},opaque=console",
        "-chardev", f"socket,id=serial0,fd={launch.serial},server=on,wait=off"
        f",logfile=/dev/fdset/{_set_id('console')},logappend=on",
        "-serial", "chardev:serial0",
        "-object", "rng-builtin,id=rng0",
    ]  # fmt: skip
    if spec.machine_type == "q35":
        for number in range(_HOT_PLUG_PORTS):
            argv += ["-device", f"pcie-root-port,id=port{number},chassis={number + 1},slot={number + 1}"]
    limit = f",max-bytes={spec.random_bytes},period={spec.random_period_ms}" if spec.random_bytes else ""
    argv += ["-device", f"virtio-rng-pci,rng=rng0{limit}"]
    if spec.vga != "none":
        argv += ["-vnc", f"unix:/proc/self/fd/{launch.vnc_directory}/vnc.sock"]
        memory = f",vgamem_mb={spec.video_memory_mib}" if spec.video_memory_mib and spec.vga == "std" else ""
        argv += ["-device", f"VGA{memory}" if spec.vga == "std" else "virtio-vga"]
    if spec.tablet == "usb" or any(disk.bus == "usb" for disk in spec.disks):
        argv += ["-device", "qemu-xhci,id=usb0"]
    if spec.tablet == "usb":
        argv += ["-device", "usb-tablet,bus=usb0.0"]
    elif spec.tablet == "virtio":
        argv += ["-device", "virtio-tablet-pci"]
    if spec.watchdog is not None:
        argv += ["-device", "i6300esb,id=watchdog0", "-action", f"watchdog={spec.watchdog}"]
    if launch.uefi is not None:
        argv += _firmware(*launch.uefi)
    if any(disk.bus == "scsi" for disk in spec.disks):
        argv += ["-device", "virtio-scsi-pci,id=scsi0"]
    if spec.guest_agent:
        argv += ["-device", "virtio-serial-pci,id=agents"]
        argv += ["-chardev", f"socket,id=agent0,fd={launch.agent},server=on,wait=off"]
        argv += ["-device", "virtserialport,bus=agents.0,chardev=agent0,name=org.qemu.guest_agent.0"]
    for index, disk in enumerate(spec.disks):
        files = launch.disks[disk.name]
        argv += add_fds(disk, files)
        argv += ["-blockdev", blockdev_json(disk, files)]
        argv += ["-device", _json(_placed(disk_device(disk, index, spec.machine_type), places))]
    for nic in spec.nics:
        argv += ["-netdev", f"tap,id={netdev_id(nic.port_id)},fd={launch.taps[nic.port_id]}"]
        argv += ["-device", _json(_placed(nic_device(nic), places))]
    return argv


def _processors(spec: MachineSpec) -> str:
    if spec.topology is None:
        return str(spec.vcpus)
    sockets, cores, threads = spec.topology
    return f"{spec.vcpus},sockets={sockets},cores={cores},threads={threads}"


def _firmware(code: int, variables: int) -> list[str]:
    """UEFI in two flash chips: the firmware, which nobody writes, and the machine's variables."""
    argv = []
    for name, descriptor, read_only in (("uefi-code", code, True), ("uefi-vars", variables, False)):
        argv += ["-add-fd", f"fd={descriptor},set={_set_id(name)},opaque={name}"]
        file = {"driver": "file", "filename": f"/dev/fdset/{_set_id(name)}", "read-only": read_only}
        argv += ["-blockdev", _json({"driver": "raw", "node-name": name, "read-only": read_only, "file": file})]
    return argv


def _placed(device: dict[str, Any], places: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {**device, **places.get(device["id"], {})}


def add_fds(disk: DiskSpec, files: DiskFiles) -> list[str]:
    """The arguments that give QEMU the disk's open files, as sets that block devices name."""
    argv = []
    for descriptor, what in ((files.descriptor, disk.name), (files.backing_descriptor, f"{disk.name}/backing")):
        if descriptor is not None:
            argv += ["-add-fd", f"fd={descriptor},set={_set_id(what)},opaque={what}"]
    return argv


def fd_sets(disk: DiskSpec) -> tuple[int, int]:
    """The sets of the disk's file and of its backing image."""
    return _set_id(disk.name), _set_id(f"{disk.name}/backing")


def blockdev(disk: DiskSpec, files: DiskFiles) -> dict[str, Any]:
    """The block device of a disk, for -blockdev and blockdev-add; every format is stated."""
    if disk.kind == "volume":
        volume: dict[str, Any] = {
            "driver": "nbd",
            "server": {"type": "unix", "path": files.socket},
            "export": disk.attachment_id,
            "reconnect-delay": RECONNECT_S,
            "read-only": files.read_only,
            "discard": "unmap",
        }
        return {
            "driver": "raw",
            "node-name": node_id(disk.name),
            "read-only": files.read_only,
            "discard": "unmap",
            "file": volume,
        }
    own, below = fd_sets(disk)
    node: dict[str, Any] = {
        "driver": "raw" if disk.kind == "config_drive" else disk.format,
        "node-name": node_id(disk.name),
        "read-only": files.read_only,
        "file": {"driver": "file", "filename": f"/dev/fdset/{own}", "read-only": files.read_only},
    }
    if not files.read_only:
        node["discard"] = node["file"]["discard"] = "unmap"
    if node["driver"] == "qcow2":
        node["backing"] = None  # whatever its header says
    if files.backing_descriptor is not None:
        node["backing"] = {
            "driver": files.backing_format,
            "read-only": True,
            "file": {"driver": "file", "filename": f"/dev/fdset/{below}", "read-only": True},
        }
    return node


def blockdev_json(disk: DiskSpec, files: DiskFiles) -> str:
    """`blockdev` as the command line takes it."""
    return _json(blockdev(disk, files))


def disk_device(disk: DiskSpec, index: int, machine_type: str) -> dict[str, Any]:
    """The guest's side of a disk; its place in the list is its boot order unless it says otherwise."""
    device: dict[str, Any] = {"id": device_id(disk.name), "drive": node_id(disk.name)}
    kind = "cd" if disk.kind == "config_drive" or disk.cdrom else "hd"
    match disk.bus:
        case "virtio":
            device["driver"] = "virtio-blk-pci"
        case "scsi":
            device["driver"] = f"scsi-{kind}"
            device["bus"] = "scsi0.0"
        case "ide" | "sata":
            device["driver"] = f"ide-{kind}"
        case "usb":
            device["driver"] = "usb-storage"
            device["bus"] = "usb0.0"
    if disk.serial:
        device["serial"] = disk.serial[:20]
    if disk.kind != "config_drive":
        device["bootindex"] = disk.boot_index if disk.boot_index is not None else index + 1
    return device


def nic_device(nic: NicSpec) -> dict[str, Any]:
    """The guest's side of a card.  Without a ROM the BIOS does not try to boot from it, which takes seconds."""
    device: dict[str, Any] = {
        "driver": _NIC_MODELS[nic.model],
        "id": nic_id(nic.port_id),
        "netdev": netdev_id(nic.port_id),
        "mac": nic.mac_address,
        "romfile": "",
    }
    if nic.model == "virtio":
        device["host_mtu"] = nic.mtu
    return device


def node_id(disk_name: str) -> str:
    """The node name of a disk; QEMU takes 31 characters."""
    return f"n-{_short(disk_name)}"


def device_id(disk_name: str) -> str:
    """The device id of a disk."""
    return f"disk-{disk_name}"


def netdev_id(port_id: str) -> str:
    """The id of a card's host side."""
    return f"net-{port_id}"


def nic_id(port_id: str) -> str:
    """The id of a card's guest side."""
    return f"nic-{port_id}"


def _monitor(name: str, descriptor: int) -> list[str]:
    return [
        "-chardev", f"socket,id={name},fd={descriptor},server=on,wait=off",
        "-mon", f"chardev={name},mode=control",
    ]  # fmt: skip


def _set_id(what: str) -> int:
    """A number for a set of descriptors, the same whenever it is asked for."""
    return zlib.crc32(what.encode()) & 0x3FFFFFFF


def _short(name: str) -> str:
    if len(name) <= 28:
        return name
    return f"{name[:18]}-{_set_id(name):08x}"


def _json(value: dict[str, Any]) -> str:
    return msgspec.json.encode(value).decode()


def hot_plug_buses() -> list[str]:
    """The buses of a q35 machine that take a device while it runs."""
    return [f"port{number}" for number in range(_HOT_PLUG_PORTS)]
