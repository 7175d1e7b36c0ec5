"""The machines of this host: started, listened to, ended.

    absent ──CreateDisk──▶ stopped ──EnsureMachine──▶ running ──exit──▶ stopped ──RemoveMachine──▶ absent

There is no other state here: a machine runs when the process that its `pid` file names is alive.  Each running
machine has a pidfd, which tells its end, and a monitor connection, over which QEMU says why.  When the host
process starts it takes up the machines that run, by the same path as those that it starts (running.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any, Literal

import msgspec

from cloudseed.host import disks, plugging, processes, qemu_command, strays, suspension
from cloudseed.host.errors import HostError, from_os_error
from cloudseed.host.launch import Launcher
from cloudseed.host.machine_volumes import MachineVolumes
from cloudseed.host.paths import StatePaths
from cloudseed.host.qmp import QmpMonitor
from cloudseed.host.records import DiskInfo, DiskSpec, MachineInfo, MachineSpec, NicSpec
from cloudseed.host.running import FAILED_TO_START, Running, RunningMachines

_UNPLUG_TIMEOUT_S = 15.0


class Machines:
    """All machines below one state directory.  `on_exit(server_id, reason)` is called for each end."""

    def __init__(
        self,
        paths: StatePaths,
        launcher: Launcher,
        volumes: MachineVolumes,
        accel: Callable[[], Awaitable[Literal["kvm", "tcg"]]],
        on_exit: Callable[[str, str], None],
    ) -> None:
        self._paths = paths
        self._launcher = launcher
        self._volumes = volumes
        self._accel = accel
        self._on_exit = on_exit
        self._running = RunningMachines(paths, self._ended)
        self._locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def adopt(self) -> None:
        """Take up the machines that run already, those that a killed predecessor did not record among them."""
        server_ids = self.server_ids()
        found = strays.machines(server_ids)
        taking_up = []
        for server_id in server_ids:
            pid_file = self._paths.machine(server_id).pid
            record = processes.load(pid_file)
            if server_id in found and (record is None or not record.alive):
                record = strays.record(found[server_id])
                if record is not None:
                    processes.save(pid_file, record)
            if record is not None and record.alive:
                await self._volumes.adopt(self._launcher.load_spec(server_id))
                taking_up.append(self._running.take_up(server_id, record))
        for result in await asyncio.gather(*taking_up, return_exceptions=True):
            # a HostError: it ended meanwhile, or it runs and its monitor does not answer
            if isinstance(result, BaseException) and not isinstance(result, HostError):
                raise result

    async def close(self) -> None:
        """Let go of the machines; they run on."""
        await self._running.close()

    def server_ids(self) -> list[str]:
        """The servers that have a directory here."""
        if not self._paths.machines.is_dir():
            return []
        return sorted(path.name for path in self._paths.machines.iterdir() if len(path.name) == 36)

    def info(self, server_id: str) -> MachineInfo:
        """What the system says of the machine."""
        record = processes.load(self._paths.machine(server_id).pid)
        stat = processes.read_stat(record.pid) if record is not None and record.alive else None
        if record is None or stat is None:
            return MachineInfo(server_id=server_id, running=False, owner=self._owner(server_id),
                               suspended=suspension.is_suspended(self._paths.machine(server_id)))
        known = self._running.get(server_id)
        return MachineInfo(
            server_id=server_id,
            running=True,
            paused=known is not None and known.paused,
            pid=record.pid,
            started_at=processes.started_at(record),
            start=f"{record.boot}/{record.pid}/{record.start_ticks}",
            cpu_seconds=stat.cpu_seconds,
            rss_bytes=stat.rss_bytes,
            owner=self._owner(server_id),
        )

    def _owner(self, server_id: str) -> str:
        try:
            return self._paths.machine(server_id).owner.read_text()
        except FileNotFoundError:
            return ""

    async def ensure(self, spec: MachineSpec) -> MachineInfo:
        """Start the machine unless it runs; returns when QEMU has accepted the spec and the guest runs."""
        qemu_command.check_spec(spec)
        accel = spec.accel or await self._accel()
        async with self._locks[spec.server_id]:
            if await self._runs(spec.server_id):
                return self.info(spec.server_id)
            self._launcher.directory(spec.server_id)
            for disk in spec.disks:
                await self._volumes.open(spec.server_id, disk)
            record = await asyncio.to_thread(self._launcher.start, spec, accel)
            try:
                await self._running.take_up(spec.server_id, record)
            except HostError as exc:
                await asyncio.to_thread(processes.end, record, 1.0)
                raise HostError("failed", self._why_not_started(spec.server_id, exc)) from exc
            await self._go_on(spec.server_id)
            return self.info(spec.server_id)

    async def expect(self, spec: MachineSpec, layout: suspension.Layout) -> QmpMonitor:
        """Start a machine that waits for its guest, which comes from another host; its monitor."""
        qemu_command.check_spec(spec)
        accel = spec.accel or await self._accel()
        async with self._locks[spec.server_id]:
            if self.info(spec.server_id).running:
                raise HostError("conflict", f"server {spec.server_id} runs on this host already")
            suspension.discard(self._launcher.directory(spec.server_id))
            for disk in spec.disks:
                await self._volumes.open(spec.server_id, disk)
            record = await asyncio.to_thread(self._launcher.start, spec, accel, layout)
            try:
                await self._running.take_up(spec.server_id, record)
                self._running[spec.server_id].paused = True
                return self._plugging(spec.server_id)[1]
            except HostError as exc:
                await asyncio.to_thread(processes.end, record, 1.0)
                raise HostError("failed", self._why_not_started(spec.server_id, exc)) from exc

    async def stop(self, server_id: str, hard: bool) -> None:
        """Soft: press the power button.  Hard: end the process and wait until it is gone."""
        if not hard:
            running = self._running.get(server_id)
            if running is not None and running.monitor is not None:
                await running.monitor.system_powerdown()
            elif self.info(server_id).running:
                message = f"QEMU of server {server_id} does not answer: stop it hard, or try again"
                raise HostError("unavailable", message)
            return
        async with self._locks[server_id]:
            await self._end(server_id, "stopped")
            suspension.discard(self._paths.machine(server_id))

    async def pause(self, server_id: str, paused: bool) -> None:
        """Stop the guest's processors, or let them go on."""
        async with self._locks[server_id]:
            monitor = self._plugging(server_id)[1]
            self.hold(server_id, paused)
            await (monitor.pause() if paused else monitor.resume())
            self._running[server_id].paused = paused

    def hold(self, server_id: str, held: bool) -> None:
        """Whether a guest that stands still because a disk is full is to stay so when there is space."""
        running = self._running.get(server_id)
        if running is not None and running.full is not None:
            running.full.held = held

    async def suspend(self, server_id: str) -> None:
        """Write the machine's memory to disk and end its process."""
        async with self._locks[server_id]:
            if suspension.is_suspended(self._paths.machine(server_id)) and not self.info(server_id).running:
                return
            await suspension.save(self._plugging(server_id)[1], self._paths.machine(server_id))
            await self._end(server_id, "suspended")

    async def _runs(self, server_id: str) -> bool:
        """Whether the machine runs, once what was cut short of its suspension or of its going on is finished."""
        if not self.info(server_id).running:
            return False
        if suspension.is_suspended(self._paths.machine(server_id)):
            if await self._plugging(server_id)[1].status() == "postmigrate":
                await self._end(server_id, "suspended")
                return False
            await self._go_on(server_id)
        elif suspension.is_going_on(self._paths.machine(server_id)):
            await suspension.let_go_on(self._plugging(server_id)[1], self._paths.machine(server_id))
        return True

    async def _go_on(self, server_id: str) -> None:
        """After a start: wait for the memory of a machine that was suspended to be read."""
        running, machine = self._running.get(server_id), self._paths.machine(server_id)
        if not suspension.is_suspended(machine) or running is None or running.monitor is None:
            return
        try:
            await suspension.finish_restore(running.monitor, machine)
        except HostError as exc:
            await self._end(server_id, FAILED_TO_START)
            raise HostError("failed", self._why_not_started(server_id, exc)) from exc

    async def remove(self, server_id: str) -> None:
        """End the process and remove the directory."""
        directory = self._paths.machine(server_id).directory
        async with self._locks[server_id]:
            await self._end(server_id, "removed")
            await self._volumes.ended(server_id)
            try:
                await asyncio.to_thread(shutil.rmtree, directory)
            except FileNotFoundError:
                pass
            except OSError as exc:
                raise from_os_error(exc, f"removing server {server_id}") from exc
        if not self._locks[server_id].locked():
            self._locks.pop(server_id, None)

    async def attach_interface(self, server_id: str, nic: NicSpec) -> None:
        """Plug a card into the running machine."""
        async with self._locks[server_id]:
            spec, monitor = self._plugging(server_id)
            device = qemu_command.nic_device(nic)
            if device["id"] not in await plugging.plugged(monitor):
                await plugging.remove_netdev(monitor, nic.port_id)  # of a predecessor that was killed right here
                netdev = qemu_command.netdev_id(nic.port_id)
                with ExitStack() as stack:
                    tap = await asyncio.to_thread(self._launcher.open_tap, stack, nic)
                    await monitor.execute_with_fd("getfd", tap, {"fdname": netdev})
                    await monitor.execute("netdev_add", {"type": "tap", "id": netdev, "fd": netdev})
                try:
                    await plugging.add_device(monitor, device, spec)
                except HostError:
                    await plugging.remove_netdev(monitor, nic.port_id)
                    raise
            others = [n for n in spec.nics if n.port_id != nic.port_id]
            self._launcher.save_spec(_replace(spec, nics=[*others, nic]))

    async def detach_interface(self, server_id: str, port_id: str) -> None:
        """Unplug a card; returns when the guest has let go."""
        async with self._locks[server_id]:
            spec, monitor = self._plugging(server_id)
            await self._unplug(server_id, monitor, qemu_command.nic_id(port_id))
            await plugging.remove_netdev(monitor, port_id)
            self._launcher.save_spec(_replace(spec, nics=[n for n in spec.nics if n.port_id != port_id]))

    async def attach_disk(self, server_id: str, disk: DiskSpec) -> None:
        """Plug a disk into the running machine."""
        async with self._locks[server_id]:
            spec, monitor = self._plugging(server_id)
            qemu_command.check_spec(_replace(spec, disks=[disk]))
            device = qemu_command.disk_device(disk, len(spec.disks), spec.machine_type)
            device.pop("bootindex", None)
            if device["id"] not in await plugging.plugged(monitor):
                await plugging.remove_node(monitor, disk.name)  # of a predecessor that was killed right here
                with ExitStack() as stack:
                    volumes = None
                    if disk.kind == "volume":
                        pid = self._running[server_id].record.pid
                        volumes = processes.find_descriptor(pid, self._paths.machine(server_id).volumes)
                        await self._volumes.open(server_id, disk)
                    files = await asyncio.to_thread(self._launcher.open_disk, stack, server_id, disk, volumes)
                    sets = qemu_command.fd_sets(disk)
                    for number, descriptor in zip(sets, (files.descriptor, files.backing_descriptor), strict=True):
                        if descriptor is not None:
                            await monitor.execute_with_fd("add-fd", descriptor, {"fdset-id": number})
                    try:
                        await monitor.execute("blockdev-add", qemu_command.blockdev(disk, files))
                        await plugging.add_device(monitor, device, spec)
                    except HostError:
                        await plugging.remove_node(monitor, disk.name)
                        raise
            others = [d for d in spec.disks if d.name != disk.name]
            self._launcher.save_spec(_replace(spec, disks=[*others, disk]))

    async def detach_disk(self, server_id: str, name: str) -> None:
        """Unplug a disk; returns when the guest has let go."""
        async with self._locks[server_id]:
            spec, monitor = self._plugging(server_id)
            await self._unplug(server_id, monitor, qemu_command.device_id(name))
            await plugging.remove_node(monitor, name)
            for disk in spec.disks:
                if disk.name == name:
                    await self._volumes.close(server_id, disk)
            self._launcher.save_spec(_replace(spec, disks=[d for d in spec.disks if d.name != name]))

    async def resize_disk(self, server_id: str, name: str, size_bytes: int) -> DiskInfo:
        """Grow a disk, in the running machine too."""
        async with self._locks[server_id]:
            spec = self._launcher.load_spec(server_id)
            volume = next((d for d in spec.disks if d.name == name and d.kind == "volume"), None) if spec else None
            if volume is not None:
                return await self._resize_volume(server_id, volume, size_bytes)
            if not self.info(server_id).running:
                return await asyncio.to_thread(disks.resize_file, self._paths, server_id, name, size_bytes)
            _, monitor = self._plugging(server_id)
            disks.check_growth(disks.read(self._paths, server_id, name), size_bytes)
            node = qemu_command.node_id(name)
            await monitor.execute("block_resize", {"node-name": node, "size": size_bytes})
            return disks.read(self._paths, server_id, name)

    async def _resize_volume(self, server_id: str, disk: DiskSpec, size_bytes: int) -> DiskInfo:
        """Tell a running guest of its volume's new size."""
        size_bytes, allocated = self._volumes.check_size(disk, size_bytes)
        if self.info(server_id).running:
            _, monitor = self._plugging(server_id)
            node = qemu_command.node_id(disk.name)
            # its connection ended with the export's old size; a flush makes QEMU connect again and see the new one
            await monitor.execute("human-monitor-command", {"command-line": f'qemu-io {node} "flush"'})
            await monitor.execute("block_resize", {"node-name": node, "size": size_bytes})
        return DiskInfo(name=disk.name, format="raw", size_bytes=size_bytes, allocated_bytes=allocated)

    async def while_off(self, server_id: str, act: Callable[[StatePaths, str], None]) -> None:
        """Do something to the files of a machine, which does not run meanwhile; `conflict` when it runs."""
        async with self._locks[server_id]:
            if self.info(server_id).running:
                raise HostError("conflict", f"server {server_id} runs: stop it before its disks are replaced")
            await asyncio.to_thread(act, self._paths, server_id)

    async def remove_disk(self, server_id: str, name: str) -> None:
        """Remove a disk that no running machine uses."""
        async with self._locks[server_id]:
            spec = self._launcher.load_spec(server_id)
            used = spec is not None and any(d.name == name and d.kind == "overlay" for d in spec.disks)
            if used and self.info(server_id).running:
                raise HostError("conflict", f"disk {name} is in use by running server {server_id}: detach it")
            disks.remove(self._paths, server_id, name)

    def lock(self, server_id: str) -> asyncio.Lock:
        """Who holds it keeps the machine as it is: running or not."""
        return self._locks[server_id]

    def process(self, server_id: str) -> processes.ProcessRecord | None:
        """The process of a machine that runs."""
        running = self._running.get(server_id)
        return running.record if running is not None else None

    def monitor(self, server_id: str) -> QmpMonitor | None:
        """The monitor of a machine that runs and answers."""
        running = self._running.get(server_id)
        return running.monitor if running is not None else None

    # ---- one machine's end

    async def _end(self, server_id: str, reason: str) -> None:
        record = processes.load(self._paths.machine(server_id).pid)
        if record is None:
            return
        running = self._running.get(server_id)
        if running is not None:
            running.reason = running.reason or reason
        await asyncio.to_thread(processes.end, record, 3.0)
        if running is not None:
            async with asyncio.timeout(5.0):
                await running.ended.wait()

    async def _ended(self, server_id: str, running: Running) -> None:
        """Its process is gone and has said its last words."""
        if (lock := self._locks.get(server_id)) is not None:
            async with lock:
                if not self.info(server_id).running:
                    await self._volumes.ended(server_id)
        if running.reason != FAILED_TO_START:
            self._on_exit(server_id, running.reason or "crashed")

    # ---- plugging

    def _plugging(self, server_id: str) -> tuple[MachineSpec, QmpMonitor]:
        running = self._running.get(server_id)
        spec = self._launcher.load_spec(server_id)
        if not self.info(server_id).running or spec is None:
            raise HostError("conflict", f"server {server_id} is not running: start it with the device instead")
        if running is None or running.monitor is None:
            raise HostError("unavailable", f"QEMU of server {server_id} does not answer: try again")
        return spec, running.monitor

    async def _unplug(self, server_id: str, monitor: QmpMonitor, device: str) -> None:
        if device not in await plugging.plugged(monitor):
            return
        if self._running[server_id].paused:
            # not even asked: the guest would let go of it, unexpected by everybody, whenever it goes on
            raise HostError("conflict", f"server {server_id} is paused, so its guest cannot let go of {device}: "
                                        "unpause it first")
        gone = self._running[server_id].deleted[device]
        gone.clear()
        try:
            await monitor.execute("device_del", {"id": device})
        except HostError as exc:
            if "already in the process of unplug" not in exc.message:
                raise
        try:
            async with asyncio.timeout(_UNPLUG_TIMEOUT_S):
                await gone.wait()
        except TimeoutError:
            if device in await plugging.plugged(monitor):
                message = f"the guest of server {server_id} does not let go of {device}: is it booted?"
                raise HostError("timeout", message) from None

    def _why_not_started(self, server_id: str, exc: HostError) -> str:
        with contextlib.suppress(OSError):
            lines = self._paths.machine(server_id).qemu_log.read_text(errors="replace").strip().splitlines()
            if lines:
                return f"QEMU refused server {server_id}: {' / '.join(lines[-3:])[:600]}"
        return f"QEMU did not start server {server_id}: {exc.message}"


def _replace(spec: MachineSpec, **changes: Any) -> MachineSpec:
    return msgspec.structs.replace(spec, **changes)
