"""Real machines: QEMU through the host process.  It computes a machine's spec; the host process runs it.

Disks: `root` is a qcow2 overlay over the image in the host's cache (or empty without an image), or a volume; what
else a machine has is in `qemu_disks.py`.  Hardware follows the
image's `hw_*` properties and the flavor's `hw:*` extra specs, within what QEMU here is started with; what is not
in the lists below is refused before anything runs (the scheduler asks for the same by traits).
"""

from __future__ import annotations

import asyncio
import platform
import time
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from cloudseed.host.binaries import UEFI_CODE
from cloudseed.host.client import HostClient
from cloudseed.host.errors import HostError
from cloudseed.host.paths import StatePaths
from cloudseed.host.records import Door, MachineSpec, NicSpec
from cloudseed.kernel.errors import CloudseedError, NotFound, Timeout, Unavailable
from cloudseed.nova import hardware
from cloudseed.nova.compute.consoles import (
    ConsoleAddress,
    ConsoleKind,
    ConsoleNotReady,
    ConsoleTypeUnavailable,
)
from cloudseed.nova.compute.devices import BlockDevice
from cloudseed.nova.compute.drivers.base import CachedImage, DriverFacts, Machine, MachineExit
from cloudseed.nova.compute.drivers.qemu_disks import (
    DISK_BUSES,
    RESCUE_DISK,
    Bus,
    local_disks,
    machine_disks,
    volume_disk,
    volume_disk_name,
)
from cloudseed.nova.compute.drivers.qemu_guest import (
    figures,
    freeze,
    inject_nmi,
    quiesced,
    set_password,
    thaw,
)
from cloudseed.nova.compute.drivers.qemu_moves import QemuMoves
from cloudseed.nova.compute.errors import BuildAborted, HostFailed
from cloudseed.nova.compute.network_info import Vif
from cloudseed.nova.compute.spec import ServerSpec

T = TypeVar("T")
GIB = 1024**3
VIF_MODELS = ("virtio", "e1000", "rtl8139")
MACHINE_TYPES = ("pc", "q35")
FIRMWARES = ("bios", "uefi")
VIDEO = {"vga": "std", "virtio": "virtio", "none": "none", "std": "std"}
TRAITS = ["COMPUTE_NODE", "COMPUTE_FIRMWARE_BIOS", "COMPUTE_IMAGE_TYPE_QCOW2", "COMPUTE_IMAGE_TYPE_RAW",
          *(f"COMPUTE_STORAGE_BUS_{bus.upper()}" for bus in DISK_BUSES),
          *(f"COMPUTE_NET_VIF_MODEL_{model.upper()}" for model in VIF_MODELS),
          "COMPUTE_GRAPHICS_MODEL_VGA", "COMPUTE_GRAPHICS_MODEL_VIRTIO", "COMPUTE_GRAPHICS_MODEL_NONE"]
RESERVED_MEMORY_MIB = 512
CONSOLE_MAX_BYTES = 100 * 1024


class QemuDriver(QemuMoves):
    """The machines that `host` runs for the compute `name`; `paths` is its state directory, where consoles are read.

    Computes that share a machine (`sharing` says how many) each have their part of its processors, memory and disk.
    Whose a machine is, the host process keeps with it; one that nobody owns is the first compute's.
    """

    needs_image = True
    copy_format = "qcow2"
    waits_for_plug = True

    def __init__(self, host: HostClient, paths: StatePaths, name: str, sharing: int = 1, first: bool = True) -> None:
        self._sharing = sharing
        self._first = first
        self._host = host
        self._paths = paths
        self._name = name

    async def facts(self) -> DriverFacts:
        found = await self._ask("report facts", self._host.get_facts())
        version = [int(part) for part in (found.qemu_version or "0").split(".")] + [0, 0]
        traits = [*TRAITS, "COMPUTE_ARCH_X86_64"] if found.architecture == "x86_64" else list(TRAITS)
        if UEFI_CODE.exists():
            traits.append("COMPUTE_FIRMWARE_UEFI")
        return DriverFacts(
            hypervisor_type="QEMU", hypervisor_version=version[0] * 1_000_000 + version[1] * 1000 + version[2],
            vcpus=-(-found.cpus // self._sharing), memory_mib=found.memory_mib // self._sharing,
            disk_gib=int(found.disk_total_gib) // self._sharing, boot_id=found.boot_id,
            traits=traits, reserved_memory_mib=RESERVED_MEMORY_MIB // self._sharing, problems=found.problems,
            network_errors=found.network_errors,
            details={"cpu_info": {"arch": found.architecture, "model": found.cpu_model, "vendor": "", "features": [],
                                  "topology": {"cores": found.cpus, "threads": 1, "sockets": 1}},
                     "accel": found.accel, "accel_reason": found.accel_reason, "kernel": found.kernel,
                     "hostname": platform.node(), "free_disk_gb": int(found.disk_free_gib) // self._sharing,
                     "uptime": _uptime(), "machine_types": list(MACHINE_TYPES), "problems": found.problems})

    async def prepare(self, spec: ServerSpec, image: CachedImage | None, config_drive: dict[str, bytes]) -> None:
        machine_spec(spec, [])  # refuse hardware that we do not have before anything is made
        root_bytes = spec.root_gib * GIB
        if image is not None and not spec.volume_backed and 0 < root_bytes < image.size_bytes:
            raise BuildAborted(f"Flavor's disk is too small for requested image. Flavor disk is {root_bytes} bytes, "
                               f"image is {image.size_bytes} bytes.")
        doing = f"make the disks of server {spec.id}"
        if spec.volume_backed:
            await self._ask(doing, self._host.claim_machine(spec.id, self._name))
        else:
            await self._ask(doing, self._host.create_disk(
                spec.id, "root", root_bytes, image.key if image else None,
                cast(Literal["qcow2", "raw"], image.format) if image else None, self._name))
        for disk, size_bytes in local_disks(spec, _disk_bus(spec)):
            await self._ask(doing, self._host.create_disk(spec.id, disk.name, size_bytes, owner=self._name))
        if spec.config_drive:
            await self._ask(doing, self._host.write_config_drive(spec.id, config_drive))

    async def remake(self, spec: ServerSpec, image: CachedImage | None, config_drive: dict[str, bytes]) -> None:
        doing = f"make the disks of server {spec.id} anew"
        await self._ask(doing, self._host.stop_machine(spec.id, hard=True))
        for name in ("root", *(disk.name for disk, _ in local_disks(spec, _disk_bus(spec)))):
            await self._ask(doing, self._host.remove_disk(spec.id, name))
        await self.prepare(spec, image, config_drive)

    async def prepare_rescue(self, spec: ServerSpec, image: CachedImage | None,
                             config_drive: dict[str, bytes]) -> None:
        machine_spec(spec, [])
        await self.drop_rescue(spec, config_drive)
        await self._ask(f"make the rescue disk of server {spec.id}", self._host.create_disk(
            spec.id, RESCUE_DISK, 0, image.key if image else None,
            cast(Literal["qcow2", "raw"], image.format) if image else None, self._name))

    async def drop_rescue(self, spec: ServerSpec, config_drive: dict[str, bytes]) -> None:
        doing = f"remove the rescue disk of server {spec.id}"
        await self._ask(doing, self._host.remove_disk(spec.id, RESCUE_DISK))
        if spec.config_drive:
            await self._ask(doing, self._host.write_config_drive(spec.id, config_drive))

    async def start(self, spec: ServerSpec, vifs: list[Vif]) -> None:
        doing = f"start server {spec.id}"
        try:
            await self._host.ensure_machine(machine_spec(spec, vifs))
        except HostError as exc:
            if exc.code == "not_found" and await self._has_disks(spec):
                # taps and exports are made anew after a reboot of the host: somebody may be about to
                raise Unavailable(f"Host {self._name} could not {doing} yet: {exc.message}") from exc
            raise self._in_our_terms(exc, doing) from exc

    async def _has_disks(self, spec: ServerSpec) -> bool:
        if spec.volume_backed:
            return await self.machine(spec.id) is not None
        try:
            await self._host.get_disk(spec.id, "root")
        except HostError:
            return False
        return True

    async def attach_volume(self, spec: ServerSpec, device: BlockDevice) -> None:
        disk = volume_disk(device, _disk_bus(spec))
        if await self._runs(spec.id):
            await self._ask(f"attach volume {device.volume_id} to server {spec.id}",
                            self._host.attach_disk(spec.id, disk))

    async def detach_volume(self, spec: ServerSpec, device: BlockDevice) -> None:
        if await self._runs(spec.id):
            await self._ask(f"detach volume {device.volume_id} from server {spec.id}",
                            self._host.detach_disk(spec.id, volume_disk_name(device)))

    async def extend_volume(self, spec: ServerSpec, device: BlockDevice, size_bytes: int) -> None:
        if await self._runs(spec.id):
            await self._ask(f"show server {spec.id} the new size of volume {device.volume_id}",
                            self._host.resize_disk(spec.id, volume_disk_name(device), size_bytes))

    async def _runs(self, server_id: str) -> bool:
        machine = await self.machine(server_id)
        return machine is not None and machine.running

    async def stop(self, server_id: str, *, hard: bool) -> None:
        await self._ask(f"stop server {server_id}", self._host.stop_machine(server_id, hard=hard))

    async def resize_disks(self, spec: ServerSpec) -> None:
        doing = f"resize the disks of server {spec.id}"
        await self._ask(doing, self._host.keep_disks(spec.id))
        await self.fit_disks(spec)

    async def fit_disks(self, spec: ServerSpec) -> None:
        """Give the disks of a machine that is off the sizes of its flavor; what is left out goes, what is new comes."""
        doing = f"resize the disks of server {spec.id}"
        wanted = {disk.name: size for disk, size in local_disks(spec, _disk_bus(spec))}
        if not spec.volume_backed:
            wanted["root"] = spec.root_gib * GIB
        for name in ("ephemeral", "swap"):
            # swap holds nothing that lasts, so it is made anew
            found = await self._size(spec.id, name)
            if found and found != wanted.get(name, 0) and (name == "swap" or name not in wanted):
                await self._ask(doing, self._host.remove_disk(spec.id, name))
        for name, size in wanted.items():
            found = await self._size(spec.id, name)
            if not found:
                await self._ask(doing, self._host.create_disk(spec.id, name, size, owner=self._name))
            elif size > found:
                await self._ask(doing, self._host.resize_disk(spec.id, name, size))

    async def _size(self, server_id: str, name: str) -> int:
        """A disk's size in bytes; 0 when there is none."""
        try:
            return (await self._host.get_disk(server_id, name)).size_bytes
        except HostError as exc:
            if exc.code == "not_found":
                return 0
            raise self._in_our_terms(exc, f"look at disk {name} of server {server_id}") from exc

    async def restore_disks(self, server_id: str) -> None:
        await self._ask(f"restore the disks of server {server_id}", self._host.restore_disks(server_id))

    async def drop_kept_disks(self, server_id: str) -> None:
        await self._ask(f"drop the old disks of server {server_id}", self._host.drop_kept_disks(server_id))

    async def attach_interface(self, spec: ServerSpec, vif: Vif) -> None:
        await self._ask(f"plug port {vif['id']} into server {spec.id}",
                        self._host.attach_interface(spec.id, nic_spec(spec, vif)))

    async def detach_interface(self, server_id: str, port_id: str) -> None:
        await self._ask(f"unplug port {port_id} from server {server_id}",
                        self._host.detach_interface(server_id, port_id))

    async def pause(self, server_id: str) -> None:
        await self._ask(f"pause server {server_id}", self._host.pause_machine(server_id, paused=True))

    async def unpause(self, server_id: str) -> None:
        await self._ask(f"unpause server {server_id}", self._host.pause_machine(server_id, paused=False))

    async def suspend(self, server_id: str) -> None:
        await self._ask(f"suspend server {server_id}", self._host.suspend_machine(server_id))

    async def remove(self, server_id: str) -> None:
        if await self.machine(server_id) is None:
            return  # nothing, or that of another compute that shares the host with us
        await self._ask(f"remove server {server_id}", self._host.remove_machine(server_id))

    async def copy_disk(self, spec: ServerSpec, copy_id: str) -> Path:
        doing, pause, path = f"copy the disk of server {spec.id}", 0.05, self._paths.outgoing_copy(copy_id)
        if path.exists():
            return path
        async with quiesced(self._paths, spec, await self._runs(spec.id)):
            status = await self._ask(doing, self._host.copy_disk(spec.id, "root", copy_id))
        while not status.done:
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 2.0)
            status = await self._ask(doing, self._host.copy_disk(spec.id, "root", copy_id))
        return path

    async def figures(self, server_id: str) -> dict[str, Any]:
        found = await self._ask("list machines", self._host.list_machines())
        info = next((i for i in found if i.server_id == server_id and i.running), None)
        return await self._ask("read its figures", figures(self._paths, info)) if info is not None else {}

    async def inject_nmi(self, server_id: str) -> None:
        await self._ask(f"interrupt server {server_id}", inject_nmi(self._paths, server_id))

    async def set_password(self, spec: ServerSpec, user: str, password: str) -> None:
        await set_password(self._paths, spec, user, password)

    async def quiesce(self, spec: ServerSpec) -> None:
        await freeze(self._paths, spec)

    async def unquiesce(self, server_id: str) -> None:
        await thaw(self._paths, server_id)

    async def drop_copy(self, server_id: str, copy_id: str) -> None:
        await thaw(self._paths, server_id)  # who froze it may have been killed
        await self._ask(f"remove a copy of the disk of server {server_id}", self._host.drop_copy(server_id, copy_id))

    async def machines(self) -> list[Machine]:
        found = await self._ask("list machines", self._host.list_machines())
        return [Machine(server_id=info.server_id, running=info.running, paused=info.paused, suspended=info.suspended,
                        started_at=info.started_at, start=info.start) for info in found
                if info.owner == self._name or (self._first and not info.owner)]

    async def machine(self, server_id: str) -> Machine | None:
        return next((m for m in await self.machines() if m.server_id == server_id), None)

    async def console_output(self, server_id: str, lines: int | None) -> str:
        path = self._paths.machine(server_id).console_log
        try:
            return await asyncio.to_thread(_tail, path, lines)
        except FileNotFoundError:
            raise NotFound(f"Server {server_id} has no console here.") from None

    async def console(self, server_id: str, kind: ConsoleKind) -> ConsoleAddress:
        found = await self._ask("find a console", self._host.list_machines())
        machine = next((m for m in found if m.server_id == server_id), None)
        if machine is None or machine.pid is None:
            raise ConsoleNotReady(server_id=server_id)
        paths = self._paths.machine(server_id)
        path = paths.vnc_socket if kind == "novnc" else paths.serial_socket
        if not path.is_socket():  # the machine was made without a screen
            raise ConsoleTypeUnavailable(console_type=kind)
        return ConsoleAddress(kind=kind, path=str(path), pid=machine.pid)

    async def console_door(self, server_id: str, kind: ConsoleKind, peer: str) -> Door:
        return await self._ask("open a console to another host", self._host.open_console(server_id, kind, peer))

    def close(self) -> None:
        """Nothing is held: the connection to the host process is its owner's to close."""

    async def exits(self) -> AsyncIterator[MachineExit]:
        try:
            async for event in self._host.watch():
                yield MachineExit(event.server_id, event.reason)
        except HostError as exc:
            raise Unavailable(f"The host process does not answer: {exc.message}") from exc

    def _machine_spec(self, spec: ServerSpec, vifs: list[Vif]) -> MachineSpec:
        return machine_spec(spec, vifs)

    async def _ask(self, doing: str, command: Awaitable[T]) -> T:
        """A command to the host process, its errors in nova's terms."""
        try:
            return await command
        except HostError as exc:
            raise self._in_our_terms(exc, doing) from exc

    def _in_our_terms(self, error: HostError, doing: str) -> CloudseedError:
        match error.code:
            case "timeout":
                return Timeout(f"Host {self._name} could not {doing} in time: {error.message}")
            case "unavailable":
                return Unavailable(f"The host process of {self._name} does not answer: {error.message}")
            case "invalid":
                return BuildAborted(f"Host {self._name} refuses to {doing}: {error.message}")
            case _:
                return HostFailed(host=self._name, doing=doing, reason=error.message)


def machine_spec(spec: ServerSpec, vifs: list[Vif]) -> MachineSpec:
    """The machine of a server, whole.  BuildAborted names the hardware property that cannot be had."""
    machine = _machine_type(spec)
    disks = machine_disks(spec, _disk_bus(spec), "sata" if machine == "q35" else "ide")
    _one_of(spec, "vif_model", "virtio", VIF_MODELS)
    nics = [nic_spec(spec, vif) for vif in vifs]
    return MachineSpec(
        server_id=spec.id, name=spec.name, vcpus=spec.vcpus, memory_mib=spec.memory_mib, disks=disks, nics=nics,
        machine_type=machine, guest_agent=spec.has_guest_agent,
        firmware=cast(Literal["bios", "uefi"], _one_of(spec, "firmware_type", "bios", FIRMWARES)),
        vga=cast(Literal["std", "virtio", "none"], VIDEO[_one_of(spec, "video_model", "vga", tuple(VIDEO))]),
        **_details(spec))


def _details(spec: ServerSpec) -> dict[str, Any]:
    """What of a machine is only there when the image or the flavor asks (nova/hardware.py has checked it)."""
    specs, image = spec.extra_specs, spec.image_properties
    found: dict[str, Any] = {"topology": hardware.topology(specs, image, spec.vcpus),
                             "boot_menu": hardware.flag(specs, image, "boot_menu"),
                             "local_time": str(image.get("os_type", "")).lower() == "windows"}
    if memory := hardware.setting(specs, image, "video_ram"):
        found["video_memory_mib"] = int(memory)
    if (action := hardware.setting(specs, image, "watchdog_action")) not in ("", "disabled"):
        found["watchdog"] = action
    bus, pointer = hardware.setting(specs, image, "input_bus"), hardware.setting(specs, image, "pointer_model")
    if bus or pointer == "usbtablet":
        found["tablet"] = bus or "usb"
    if rate := int(specs.get("hw_rng:rate_bytes") or 0):
        found |= {"random_bytes": rate, "random_period_ms": int(specs.get("hw_rng:rate_period") or 1000) or 1000}
    return found


def nic_spec(spec: ServerSpec, vif: Vif) -> NicSpec:
    """The card of an interface, of the model that the image or the flavor asks for."""
    model = cast(Literal["virtio", "e1000", "rtl8139"], _one_of(spec, "vif_model", "virtio", VIF_MODELS))
    return NicSpec(port_id=vif["id"], network_id=vif["network"]["id"], mac_address=vif["address"], model=model,
                   mtu=vif["network"]["meta"].get("mtu") or 1500)


def _disk_bus(spec: ServerSpec) -> Bus:
    """The bus of the server's disks, but for those that say otherwise."""
    return cast(Bus, _one_of(spec, "disk_bus", "virtio", DISK_BUSES))


def _one_of(spec: ServerSpec, name: str, default: str, known: tuple[str, ...]) -> str:
    value = spec.hardware(name, default).lower()
    if value not in known:
        raise BuildAborted(f"hw_{name} {value!r} is not supported on this host; supported: {', '.join(known)}.")
    return value


def _machine_type(spec: ServerSpec) -> Literal["pc", "q35"]:
    """`pc` and `q35`, also by their versioned names, of which QEMU's newest is used."""
    value = spec.hardware("machine_type", "pc").lower()
    if value == "q35" or value.startswith("pc-q35"):
        return "q35"
    if value == "pc" or value.startswith("pc-i440fx"):
        return "pc"
    raise BuildAborted(f"hw_machine_type {value!r} is not supported on this host; supported: "
                       f"{', '.join(MACHINE_TYPES)}.")


def _uptime() -> str:
    """As uptime(1) begins: "up 3 days, 4:05"."""
    minutes = int(time.clock_gettime(time.CLOCK_BOOTTIME)) // 60
    days, minutes = divmod(minutes, 24 * 60)
    return f"up {f'{days} days, ' if days else ''}{minutes // 60}:{minutes % 60:02d}"


def _tail(path: Path, lines: int | None) -> str:
    """The console's end: at most 100 KiB, and `lines` lines of it."""
    with path.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - CONSOLE_MAX_BYTES))
        text = file.read().decode("utf-8", "replace")
    if lines is None:
        return text
    return "\n".join(text.splitlines()[-lines:]) if lines > 0 else ""
