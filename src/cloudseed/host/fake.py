"""A host without privileges: takes every network wish and calls it done, touching nothing.

For clouds without root (CI jobs, laptops, `driver = "fake"`) and for scale work.  It speaks HostClient's
language for networks and facts; it has no machines: the fake hypervisor keeps its own.  Volumes are real files,
by the very code of the real host, but nothing exports them.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import platform
import shutil
import tempfile
import weakref
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from cloudseed.host import images, processes, records, volume_files
from cloudseed.host.errors import HostError
from cloudseed.host.exporters import Exporter
from cloudseed.host.paths import ExporterPaths, StatePaths
from cloudseed.host.records import (
    ApplyResult,
    HostFacts,
    ImageInfo,
    InventoryReport,
    MachineExited,
    MachineInfo,
    NetworkStatus,
    NetworkWish,
    PortStatus,
    RouterStatus,
    RouterWish,
)
from cloudseed.host.users import Users
from cloudseed.host.volume_client import VolumeClient
from cloudseed.host.volume_commands import volume_commands
from cloudseed.host.volume_gate import NoGate, VolumeGate
from cloudseed.host.volumes import Volumes

_T = TypeVar("_T")


class FakeHost(VolumeClient):
    """Networks in memory: what was applied last is in `networks` and `routers`, by id.  Volumes below `state`, or
    below a directory that `close` removes."""

    real = False

    def __init__(self, name: str = "fake", state: Path | None = None) -> None:
        self._finalizer = None
        if state is None:  # not told where: a place that goes with this object, closed or not
            state = Path(tempfile.mkdtemp(prefix="cloudseed-fake-"))
            self._finalizer = weakref.finalize(self, shutil.rmtree, state, ignore_errors=True)
        self.paths = StatePaths(state)
        self._volumes = Volumes(self.paths, _NoDaemons(self.paths), Users(), VolumeGate(self.paths, NoGate()))
        self._commands = volume_commands(self._volumes)
        self.name = name
        self.networks: dict[str, NetworkWish] = {}
        self.routers: dict[str, RouterWish] = {}

    async def get_facts(self) -> HostFacts:
        return HostFacts(
            hostname=platform.node(),
            kernel=platform.release(),
            architecture=platform.machine(),
            cpus=os.cpu_count() or 1,
            cpu_model="fake",
            memory_mib=1024,
            memory_available_mib=1024,
            disk_total_gib=1.0,
            disk_free_gib=1.0,
            qemu_version=None,
            accel="tcg",
            accel_reason="a fake host runs no machines",
            boot_id="fake",
            name=self.name,
        )

    async def apply_networks(
        self, networks: Sequence[NetworkWish], *, full: bool, routers: Sequence[RouterWish] = ()
    ) -> ApplyResult:
        """Every local port that is administratively up is up at once, and every router."""
        done = [RouterStatus(router_id=r.router_id, changed=self.routers.get(r.router_id) != r) for r in routers]
        self.routers = {**({} if full else self.routers), **{router.router_id: router for router in routers}}
        removed = [known for known in self.networks if full and known not in {n.network_id for n in networks}]
        statuses = [
            NetworkStatus(network_id=wish.network_id, changed=self.networks.get(wish.network_id) != wish)
            for wish in networks
        ]
        for network_id in removed:
            del self.networks[network_id]
        self.networks.update({wish.network_id: wish for wish in networks})
        ports = [
            PortStatus(port_id=port.port_id, up=port.admin_state_up)
            for wish in networks
            for port in wish.ports
            if port.local
        ]
        return ApplyResult(ports=ports, networks=statuses, routers=done, removed_namespaces=removed)

    async def list_machines(self) -> list[MachineInfo]:
        return []

    async def get_inventory(self) -> InventoryReport:
        volumes = volume_files.volume_ids(self.paths)
        return InventoryReport(
            namespaces=[], networks={}, taps={}, dnsmasq_pids={}, machine_pids={}, machines=[], images=[], files=[],
            volumes=volumes,
            snapshots=volume_files.snapshot_ids(self.paths),
            packs=volume_files.pack_ids(self.paths),
            exports={a: volume_id for volume_id in volumes for a in volume_files.load_exports(self.paths, volume_id)},
        )  # fmt: skip

    # ---- images and volumes

    async def import_image(self, key: str, source: str, format: Literal["qcow2", "raw"]) -> ImageInfo:
        self._prepare()
        return await asyncio.to_thread(images.import_image, self.paths, key, source, format)

    async def list_images(self) -> list[ImageInfo]:
        self._prepare()
        return images.list_images(self.paths)

    async def remove_image(self, key: str) -> None:
        images.remove_image(self.paths, key)

    async def _ask(self, command: records.AnyCommand, answer: type[_T], timeout_s: float | None = None) -> _T:
        self._prepare()
        result = self._commands[type(command)](command)
        # as over the wire
        return msgspec.convert(msgspec.to_builtins(await result if inspect.isawaitable(result) else result,
                                                   builtin_types=(bytes,)), answer)

    async def _tell(self, command: records.AnyCommand, timeout_s: float | None = None) -> None:
        self._prepare()
        await self._commands[type(command)](command)

    def _prepare(self) -> None:
        if not self.paths.packs.is_dir():
            for directory in (self.paths.images, self.paths.incoming):
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            volume_files.prepare(self.paths)

    async def ensure_machine(self, spec: object) -> MachineInfo:
        raise HostError(
            "unavailable",
            "this cloud runs without the privileged host process, so it can start no "
            'real machines: run `sudo ./cloudseed up`, or use driver = "fake"',
        )

    async def watch(self) -> AsyncIterator[MachineExited]:
        await asyncio.Event().wait()
        yield MachineExited(server_id="", reason="")

    async def close(self) -> None:
        self.networks.clear()
        await self._volumes.close()
        if self._finalizer is not None:
            self._finalizer()


class _NoDaemons:
    """Exports nothing, and says that it does."""

    def __init__(self, paths: StatePaths) -> None:
        self._paths = paths

    def paths(self, exporter: Exporter) -> ExporterPaths:
        return self._paths.volume(exporter.volume_id).exporter(exporter.read_only)

    def record(self, exporter: Exporter) -> processes.ProcessRecord | None:
        return None

    def adopt(self, exporter: Exporter) -> None:
        pass

    async def serve(self, exporter: Exporter, attachment_ids: list[str]) -> None:
        pass

    async def end(self, exporter: Exporter) -> None:
        pass

    async def copy(self, exporter: Exporter) -> Path:
        files = self.paths(exporter)
        files.directory.mkdir(mode=0o700, exist_ok=True)
        await asyncio.to_thread(shutil.copyfile, self._paths.volume(exporter.volume_id).data, files.copy)
        return files.copy
