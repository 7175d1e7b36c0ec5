"""A hypervisor that only pretends, for scale and speed tests: machines are small files, boots are instant.

Its machines survive our process, as real ones do, and end with the host's boot (`end_all`, as a reboot would).
`latency_s` and `failures` make it slow or faulty: `driver.failures["start"] = [HostFailed(...)]` makes the next
start fail.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec

from cloudseed.kernel.config import Config
from cloudseed.kernel.errors import CloudseedError, Conflict, Invalid, NotFound
from cloudseed.nova.compute.consoles import ConsoleAddress, ConsoleKind, ConsoleNotReady
from cloudseed.nova.compute.devices import BlockDevice
from cloudseed.nova.compute.drivers.base import CachedImage, DriverFacts, Machine, MachineExit
from cloudseed.nova.compute.drivers.fake_consoles import FakeConsoles
from cloudseed.nova.compute.drivers.fake_moves import FakeMoves
from cloudseed.nova.compute.drivers.fake_records import GIB, Record, disks_of
from cloudseed.nova.compute.errors import BuildAborted, HostFailed
from cloudseed.nova.compute.network_info import Vif
from cloudseed.nova.compute.spec import ServerSpec

TRAITS = ["COMPUTE_NODE", "COMPUTE_ARCH_X86_64", "COMPUTE_FIRMWARE_BIOS", "COMPUTE_FIRMWARE_UEFI",
          "COMPUTE_IMAGE_TYPE_QCOW2", "COMPUTE_IMAGE_TYPE_RAW", "COMPUTE_STORAGE_BUS_VIRTIO",
          "COMPUTE_STORAGE_BUS_SCSI", "COMPUTE_STORAGE_BUS_IDE", "COMPUTE_STORAGE_BUS_SATA",
          "COMPUTE_NET_VIF_MODEL_VIRTIO", "COMPUTE_NET_VIF_MODEL_E1000", "COMPUTE_NET_VIF_MODEL_RTL8139",
          "COMPUTE_GRAPHICS_MODEL_VGA", "COMPUTE_GRAPHICS_MODEL_VIRTIO", "COMPUTE_GRAPHICS_MODEL_NONE"]


class FakeDriver(FakeMoves):
    """Machines in memory, each with a file below `directory`."""

    needs_image = False
    copy_format = "raw"
    waits_for_plug = False

    def __init__(self, directory: Path, config: Config) -> None:
        self._directory = directory
        self._config = config
        self.latency_s = 0.0
        self.ignores_power_button = False
        self.failures: defaultdict[str, list[CloudseedError]] = defaultdict(list)
        self.boot_id = "fake-1"
        self._exits: asyncio.Queue[MachineExit] = asyncio.Queue()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._consoles = FakeConsoles(directory)
        self._records = {path.stem: msgspec.json.decode(path.read_bytes(), type=Record)
                         for path in directory.glob("*.json")}

    async def _pretend(self, doing: str) -> None:
        if self.latency_s:
            await asyncio.sleep(self.latency_s)
        if self.failures[doing]:
            raise self.failures[doing].pop(0)

    def _save(self, record: Record) -> None:
        path = self._directory / f"{record.server_id}.json"
        temporary = path.with_suffix(".new")
        try:
            temporary.write_bytes(msgspec.json.encode(record))
            temporary.rename(path)
        except OSError as exc:
            temporary.unlink(missing_ok=True)
            raise HostFailed(host=self._config.host, doing=f"keep server {record.server_id}",
                             reason=exc.strerror or str(exc)) from exc
        self._records[record.server_id] = record

    async def facts(self) -> DriverFacts:
        config = self._config
        return DriverFacts(
            hypervisor_type="fake", hypervisor_version=1000, vcpus=config.fake_vcpus,
            memory_mib=config.fake_memory_mib, disk_gib=config.fake_disk_gib, boot_id=self.boot_id, traits=TRAITS,
            details={"cpu_info": {"arch": "x86_64", "model": "fake", "vendor": "fake", "features": [],
                                  "topology": {"cores": config.fake_vcpus, "threads": 1, "sockets": 1}},
                     "machine_types": ["pc", "q35"]})

    async def prepare(self, spec: ServerSpec, image: CachedImage | None, config_drive: dict[str, bytes]) -> None:
        await self._pretend("prepare")
        if spec.id not in self._records:
            self._save(Record(spec.id, spec.name, disks=disks_of(spec), disk_of=spec.image_id))

    async def start(self, spec: ServerSpec, vifs: list[Vif]) -> None:
        await self._pretend("start")
        record = self._records.get(spec.id)
        if record is None:
            raise NotFound(f"Server {spec.id} has no disks on this host.")
        if record.started_at is None:
            volumes = spec.connected_volumes
            if spec.volume_backed and not any(device.is_root for device in volumes):
                raise BuildAborted(f"The root disk of server {spec.id} is not connected.")
            self._save(msgspec.structs.replace(
                record, started_at=time.time(), starts=record.starts + 1, ports=[vif["id"] for vif in vifs],
                paused=False, suspended=False, quiesced=False,
                volumes={str(d.volume_id): (d.volume_size or 0) * GIB for d in volumes}))

    async def stop(self, server_id: str, *, hard: bool) -> None:
        await self._pretend("stop")
        if hard and server_id in self._records:
            self._save(msgspec.structs.replace(self._records[server_id], suspended=False))
        if hard or not self.ignores_power_button:
            self.end(server_id, "stopped" if hard else "guest-shutdown")

    def end(self, server_id: str, reason: str) -> None:
        """The machine ends (its guest shut down, or it crashed)."""
        record = self._records.get(server_id)
        if record is not None and record.started_at is not None:
            self._save(msgspec.structs.replace(record, started_at=None, paused=False))
            self._consoles.end(server_id)
            self._exits.put_nowait(MachineExit(server_id, reason))

    def end_all(self, boot_id: str) -> None:
        """The host rebooted: nothing runs, and nobody was told."""
        self.boot_id = boot_id
        self._consoles.end()
        for record in list(self._records.values()):
            self._save(msgspec.structs.replace(record, started_at=None, paused=False))

    async def resize_disks(self, spec: ServerSpec) -> None:
        await self._pretend("resize_disks")
        record = self._record(spec.id)
        kept = record.disks if record.kept is None else record.kept
        self._save(msgspec.structs.replace(record, disks=disks_of(spec), kept=kept))

    async def restore_disks(self, server_id: str) -> None:
        await self._pretend("restore_disks")
        record = self._record(server_id)
        if record.kept is not None:
            self._save(msgspec.structs.replace(record, disks=record.kept, kept=None))

    async def drop_kept_disks(self, server_id: str) -> None:
        await self._pretend("drop_kept_disks")
        self._save(msgspec.structs.replace(self._record(server_id), kept=None))

    def disks(self, server_id: str) -> tuple[dict[str, int], dict[str, int] | None]:
        """The machine's disks, and those that are kept of before a resize."""
        record = self._record(server_id)
        return record.disks, record.kept

    def _record(self, server_id: str) -> Record:
        record = self._records.get(server_id)
        if record is None:
            raise NotFound(f"Server {server_id} has no disks on this host.")
        return record

    async def attach_interface(self, spec: ServerSpec, vif: Vif) -> None:
        await self._pretend("attach_interface")
        record = self._running(spec.id)
        if vif["id"] not in record.ports:
            self._save(msgspec.structs.replace(record, ports=[*record.ports, vif["id"]]))

    async def detach_interface(self, server_id: str, port_id: str) -> None:
        await self._pretend("detach_interface")
        record = self._running(server_id)
        if port_id in record.ports:
            _check_goes_on(record, f"unplug port {port_id}")
            self._save(msgspec.structs.replace(record, ports=[port for port in record.ports if port != port_id]))

    def ports(self, server_id: str) -> list[str]:
        """The ports whose cards the machine has (of its present or last run)."""
        return list(self._records[server_id].ports)

    def _running(self, server_id: str) -> Record:
        record = self._records.get(server_id)
        if record is None or record.started_at is None:
            raise Conflict(f"Server {server_id} does not run on this host.")
        return record

    async def remake(self, spec: ServerSpec, image: CachedImage | None, config_drive: dict[str, bytes]) -> None:
        await self._pretend("remake")
        self._save(Record(spec.id, spec.name, None, self._records[spec.id].ports, disks=disks_of(spec),
                           disk_of=spec.image_id))

    async def prepare_rescue(self, spec: ServerSpec, image: CachedImage | None,
                             config_drive: dict[str, bytes]) -> None:
        await self._pretend("prepare_rescue")
        for device in spec.connected_volumes:
            _check_connected(device)
        self._save(msgspec.structs.replace(
            self._records[spec.id],
            rescue=spec.rescue.image_id if spec.rescue else None))

    async def drop_rescue(self, spec: ServerSpec, config_drive: dict[str, bytes]) -> None:
        await self._pretend("drop_rescue")
        if spec.id in self._records:
            self._save(msgspec.structs.replace(self._records[spec.id], rescue=None))

    def boots_from(self, server_id: str) -> str | None:
        """The image whose disk the machine boots from."""
        record = self._records[server_id]
        return record.rescue or record.disk_of

    async def pause(self, server_id: str) -> None:
        await self._pretend("pause")
        self._save(msgspec.structs.replace(self._running(server_id), paused=True))

    async def unpause(self, server_id: str) -> None:
        await self._pretend("unpause")
        self._save(msgspec.structs.replace(self._running(server_id), paused=False))

    async def suspend(self, server_id: str) -> None:
        await self._pretend("suspend")
        if server_id in self._records and self._records[server_id].suspended:
            return
        self._save(msgspec.structs.replace(self._running(server_id), started_at=None, paused=False, suspended=True))
        self._exits.put_nowait(MachineExit(server_id, "suspended"))

    async def quiesce(self, spec: ServerSpec) -> None:
        await self._pretend("quiesce")
        record = self._running(spec.id)
        if not spec.has_guest_agent:
            raise Invalid("QEMU guest agent is not enabled")
        self._save(msgspec.structs.replace(record, quiesced=True))

    async def unquiesce(self, server_id: str) -> None:
        await self._pretend("unquiesce")
        if server_id in self._records:
            self._save(msgspec.structs.replace(self._records[server_id], quiesced=False))

    def quiesced(self, server_id: str) -> bool:
        """Whether the guest's file systems stand still."""
        return self._records[server_id].quiesced

    async def attach_volume(self, spec: ServerSpec, device: BlockDevice) -> None:
        await self._pretend("attach_volume")
        _check_connected(device)
        self._set_volume(spec.id, device, (device.volume_size or 0) * GIB)

    async def detach_volume(self, spec: ServerSpec, device: BlockDevice) -> None:
        await self._pretend("detach_volume")
        record = self._records.get(spec.id)
        if record is not None and device.volume_id in record.volumes:
            _check_goes_on(record, f"detach volume {device.volume_id}")
        self._set_volume(spec.id, device, None)

    async def extend_volume(self, spec: ServerSpec, device: BlockDevice, size_bytes: int) -> None:
        await self._pretend("extend_volume")
        self._set_volume(spec.id, device, size_bytes)

    def _set_volume(self, server_id: str, device: BlockDevice, size_bytes: int | None) -> None:
        record = self._records.get(server_id)
        if record is not None and record.started_at is not None:
            volumes = {name: size for name, size in record.volumes.items() if name != device.volume_id}
            if size_bytes is not None:
                volumes[str(device.volume_id)] = size_bytes
            self._save(msgspec.structs.replace(record, volumes=volumes))

    def volumes(self, server_id: str) -> dict[str, int]:
        """The volumes that the running guest sees, with their sizes in bytes."""
        return dict(self._records[server_id].volumes)

    async def remove(self, server_id: str) -> None:
        await self._pretend("remove")
        self._records.pop(server_id, None)
        self._consoles.end(server_id)
        (self._directory / f"{server_id}.json").unlink(missing_ok=True)

    def _copy(self, copy_id: str) -> Path:
        return self._directory / f"{copy_id}.copy"

    async def copy_disk(self, spec: ServerSpec, copy_id: str) -> Path:
        await self._pretend("copy_disk")
        if spec.id not in self._records:
            raise NotFound(f"Server {spec.id} has no disks on this host.")
        self._copy(copy_id).write_text(f"the disk of {spec.name}\n")
        return self._copy(copy_id)

    async def drop_copy(self, server_id: str, copy_id: str) -> None:
        await self._pretend("drop_copy")
        self._copy(copy_id).unlink(missing_ok=True)

    async def machines(self) -> list[Machine]:
        return [_machine(record) for record in self._records.values()]

    async def machine(self, server_id: str) -> Machine | None:
        record = self._records.get(server_id)
        return _machine(record) if record else None

    async def console_output(self, server_id: str, lines: int | None) -> str:
        record = self._records.get(server_id)
        if record is None:
            raise NotFound(f"Server {server_id} has no console here.")
        text = [f"FAKE CONSOLE OUTPUT of {record.name}", "ANOTHER", "LAST LINE"]
        return "\n".join(text if lines is None else text[len(text) - min(lines, len(text)):])

    async def console_door(self, server_id: str, kind: ConsoleKind, peer: str) -> None:
        return None

    async def console(self, server_id: str, kind: ConsoleKind) -> ConsoleAddress:
        record = self._records.get(server_id)
        if record is None or record.started_at is None:
            raise ConsoleNotReady(server_id=server_id)
        return await self._consoles.address(server_id, record.name, kind)

    def close(self) -> None:
        self._consoles.end()

    async def figures(self, server_id: str) -> dict[str, Any]:
        await self._pretend("figures")
        started_at = self._running(server_id).started_at
        return {"uptime": int(time.time() - started_at) if started_at else None}

    async def inject_nmi(self, server_id: str) -> None:
        await self._pretend("inject_nmi")
        self._running(server_id)

    async def set_password(self, spec: ServerSpec, user: str, password: str) -> None:
        await self._pretend("set_password")
        self._running(spec.id)
        if not spec.has_guest_agent:
            raise Conflict("QEMU guest agent is not enabled")

    async def exits(self) -> AsyncIterator[MachineExit]:
        while True:
            yield await self._exits.get()


def _check_connected(device: BlockDevice) -> None:
    if device.attachment_id is None or device.connection_info is None:
        raise BuildAborted(f"Volume {device.volume_id} is not connected.")


def _check_goes_on(record: Record, doing: str) -> None:
    if record.paused:
        raise HostFailed(host="fake", doing=f"{doing} from server {record.server_id}",
                         reason="it is paused, so its guest cannot let go: unpause it first")


def _machine(record: Record) -> Machine:
    return Machine(server_id=record.server_id, running=record.started_at is not None, started_at=record.started_at,
                   start=f"{record.starts}/{record.started_at}" if record.started_at is not None else "",
                   paused=record.paused, suspended=record.suspended)
