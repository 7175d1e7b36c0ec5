"""Machines that go to other hosts.

One that is off goes as files, and stays as it is here.  One that runs: its disks are copied while it writes to them,
and from then on each of its writes goes to both places; then its memory.  For the last of it the guest stands still:
the disks are let go of, the last memory goes, and the other host is asked whether all of it is there.  Only then this
is done, and the guest stands still on both sides until the control plane has decided.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from contextlib import AsyncExitStack, ExitStack
from typing import Any

import msgspec

from cloudseed.host import disks, doors, moved_files, processes, qemu_command, suspension
from cloudseed.host.arrivals import Start
from cloudseed.host.errors import HostError
from cloudseed.host.launch import Launcher
from cloudseed.host.machines import Machines
from cloudseed.host.paths import StatePaths
from cloudseed.host.qmp import QmpMonitor
from cloudseed.host.records import DiskSpec, Door, SendStatus
from cloudseed.host.wire import listen

_ASK_S = 5.0  # how long one request waits for the end
_POLL_S = 0.02
_DOWNTIME_MS = 200
_JOBS = "move-"
_WHOLE = ("paused", "prelaunch", "running")


class _Sending:
    """One machine on its way."""

    def __init__(self, door: Door) -> None:
        self.door = door
        self.files = moved_files.Progress()
        self.memory: dict[str, int] = {}
        self.disks: dict[str, tuple[int, int]] = {}
        self.task: asyncio.Task[None] | None = None

    def status(self, done: bool) -> SendStatus:
        disk_total = self.files.total + sum(total for _, total in self.disks.values())
        disk_done = self.files.done + sum(at for at, _ in self.disks.values())
        return SendStatus(
            done=done, memory_total_bytes=self.memory.get("total", 0),
            memory_processed_bytes=self.memory.get("transferred", 0),
            memory_remaining_bytes=self.memory.get("remaining", 0), disk_total_bytes=disk_total,
            disk_processed_bytes=disk_done, disk_remaining_bytes=max(0, disk_total - disk_done))


class Departures:
    """All machines that are being sent from here."""

    def __init__(self, paths: StatePaths, launcher: Launcher, machines: Machines) -> None:
        self._paths = paths
        self._launcher = launcher
        self._machines = machines
        self._under_way: dict[str, _Sending] = {}

    async def send_disks(self, server_id: str, door: Door) -> SendStatus:
        """Begin to send a machine that is off, or tell how far that is."""
        return await self._begin(server_id, door, self._disks)

    async def send_machine(self, server_id: str, door: Door) -> SendStatus:
        """Begin to send a machine that runs, or tell how far that is."""
        return await self._begin(server_id, door, self._guest)

    def status(self, server_id: str) -> SendStatus:
        sending = self._under_way.get(server_id)
        if sending is None:
            raise HostError("not_found", f"server {server_id} is not being sent")
        return sending.status(False)

    async def _begin(self, server_id: str, door: Door, act: Any) -> SendStatus:
        sending = self._under_way.get(server_id)
        if sending is not None and sending.door != door:
            await self.drop(server_id)
            sending = None
        if sending is None:
            sending = self._under_way[server_id] = _Sending(door)
            sending.task = asyncio.create_task(act(server_id, sending), name=f"send-{server_id}")
        assert sending.task is not None
        await asyncio.wait({sending.task}, timeout=_ASK_S)
        if not sending.task.done():
            return sending.status(False)
        if self._under_way.get(server_id) is sending:
            del self._under_way[server_id]
        if sending.task.cancelled():
            raise HostError("conflict", f"server {server_id} is not sent any more")
        try:
            sending.task.result()
        except (OSError, EOFError) as exc:
            raise HostError("failed", f"the way to the other host broke: {exc}") from exc
        return sending.status(True)

    async def drop(self, server_id: str) -> None:
        """Send it no more."""
        sending = self._under_way.pop(server_id, None)
        if sending is not None and sending.task is not None:
            sending.task.cancel()
            await asyncio.gather(sending.task, return_exceptions=True)

    async def drop_all(self) -> None:
        for server_id in list(self._under_way):
            await self.drop(server_id)

    async def hurry(self, server_id: str) -> None:
        """Let the guest stand still: the rest of it is then finite."""
        self.status(server_id)
        await self._monitor(server_id).pause()

    async def take_back(self, server_id: str, paused: bool) -> None:
        """Send no more; the guest goes on here."""
        await self.drop(server_id)
        if not self._machines.info(server_id).running:
            return
        monitor = self._monitor(server_id)
        await self._clear(server_id, monitor)
        self._machines.hold(server_id, paused)
        if not paused and await monitor.status() in ("postmigrate", "finish-migrate", "paused"):
            await monitor.resume()

    def _monitor(self, server_id: str) -> QmpMonitor:
        monitor = self._machines.monitor(server_id)
        if monitor is None:
            raise HostError("unavailable", f"QEMU of server {server_id} does not answer: try again")
        return monitor

    # ---- off

    async def _disks(self, server_id: str, sending: _Sending) -> None:
        async with self._machines.lock(server_id):  # it must not start meanwhile
            if self._machines.info(server_id).running:
                raise HostError("conflict", f"server {server_id} runs: stop it before its disks are sent")
            files = moved_files.of_machine(self._paths.machine(server_id), disks_too=True)
            await self._files(sending, files)

    async def _files(self, sending: _Sending, files: list[Any]) -> None:
        async with doors.way(self._paths.tls, sending.door, "files") as (reader, writer):
            try:
                await moved_files.send(self._paths, files, writer, sending.files)
            except ConnectionError:
                await doors.answer(reader)  # why it was refused
                raise
            await doors.answer(reader)

    # ---- running

    async def _guest(self, server_id: str, sending: _Sending) -> None:
        monitor, machine = self._monitor(server_id), self._paths.machine(server_id)
        if await monitor.status() == "postmigrate":  # we were killed when all was there
            await self._check_there(sending.door)
            return
        await self._clear(server_id, monitor)
        spec = self._launcher.load_spec(server_id)
        if spec is None:
            raise HostError("failed", f"nothing says what server {server_id} runs with")
        overlays = [disk for disk in spec.disks if disk.kind == "overlay" and not disk.read_only]
        await self._files(sending, moved_files.of_machine(machine, disks_too=False))
        async with doors.way(self._paths.tls, sending.door, "start") as (reader, writer):
            images = {disk.name: disks.backing_key(self._paths, machine.disk(disk.name)) for disk in overlays}
            start = Start(layout=await suspension.layout_of(monitor), images=images)
            writer.write(msgspec.json.encode(start) + b"\n")
            await doors.answer(reader)
        async with AsyncExitStack() as stack:
            for number, disk in enumerate(overlays):
                path = await self._way(stack, server_id, f"disk-{number}", sending.door, "disk")
                await self._mirror(monitor, disk, path)
            await self._until_mirrored(monitor, overlays, sending)
            path = await self._way(stack, server_id, "memory", sending.door, "memory")
            await self._memory(server_id, monitor, overlays, sending, path)
            await self._check_there(sending.door)

    async def _way(self, stack: AsyncExitStack, server_id: str, name: str, door: Door, stream: str) -> str:
        """A socket that the machine's QEMU can connect to, and what it says there flows to the other host; its path as
        QEMU names it."""
        machine, record = self._paths.machine(server_id), self._machines.process(server_id)
        if record is None:
            raise HostError("unavailable", f"QEMU of server {server_id} has ended")
        uid = os.stat(f"/proc/{record.pid}").st_uid
        path = machine.way_socket(name)
        flows: set[asyncio.Task[None]] = set()

        async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            flows.add(task)
            try:
                async with doors.way(self._paths.tls, door, stream) as outer:
                    await doors.splice((reader, writer), outer)
            except (HostError, OSError):
                pass  # QEMU sees its connection end, and says what that meant
            finally:
                flows.discard(task)
                writer.close()

        with ExitStack() as opened:
            descriptor = os.dup(listen(opened, path, (uid, uid)))
        server = await asyncio.start_unix_server(carry, sock=socket.socket(fileno=descriptor), limit=1 << 20)

        async def close() -> None:
            server.close()
            for flow in list(flows):
                flow.cancel()
            await asyncio.gather(*flows, return_exceptions=True)
            path.unlink(missing_ok=True)

        stack.push_async_callback(close)
        return f"/proc/self/fd/{processes.find_descriptor(record.pid, machine.volumes)}/{path.name}"

    async def _mirror(self, monitor: QmpMonitor, disk: DiskSpec, path: str) -> None:
        """Copy the disk, and from the end of that on write to both."""
        job, node = _names(disk)
        await monitor.execute("blockdev-add", {
            "driver": "nbd", "node-name": node, "server": {"type": "unix", "path": path}, "export": disk.name,
            "discard": "unmap"})
        # both stand on the same image: only what the machine wrote must go
        await monitor.execute("blockdev-mirror", {
            "job-id": job, "device": qemu_command.node_id(disk.name), "target": node, "sync": "top",
            "copy-mode": "write-blocking", "on-target-error": "report", "auto-dismiss": False})

    async def _until_mirrored(self, monitor: QmpMonitor, overlays: list[DiskSpec], sending: _Sending) -> None:
        waiting = {_names(disk)[0] for disk in overlays}
        while waiting:
            jobs = {job["id"]: job for job in await monitor.execute("query-jobs")}
            for name in list(waiting):
                job = jobs.get(name)
                if job is None or job["status"] == "concluded":
                    raise HostError("failed", "a disk could not be copied: "
                                              f"{(job or {}).get('error') or 'QEMU lost the job'}")
                sending.disks[name] = int(job["current-progress"]), int(job["total-progress"])
                if job["status"] == "ready":
                    waiting.discard(name)
            if waiting:
                await asyncio.sleep(0.1)

    async def _memory(self, server_id: str, monitor: QmpMonitor, overlays: list[DiskSpec], sending: _Sending,
                      path: str) -> None:
        await monitor.execute("migrate-set-capabilities", {"capabilities": [
            {"capability": "pause-before-switchover", "state": True}, {"capability": "auto-converge", "state": True}]})
        await monitor.execute("migrate-set-parameters", {"max-bandwidth": 0, "downtime-limit": _DOWNTIME_MS})
        self._machines.hold(server_id, True)  # it may be the other host's from now on
        await monitor.execute("migrate", {"uri": f"unix:{path}"})
        while True:
            found = await monitor.execute("query-migrate")
            sending.memory = found.get("ram") or sending.memory
            match found.get("status"):
                case "pre-switchover":
                    await self._let_go(monitor, overlays)
                    await monitor.execute("migrate-continue", {"state": "pre-switchover"})
                case "completed":
                    return
                case "failed" | "cancelled":
                    why = found.get("error-desc") or "it was cancelled"
                    raise HostError("failed", f"QEMU could not send the guest: {why}")
            await asyncio.sleep(_POLL_S)

    async def _let_go(self, monitor: QmpMonitor, overlays: list[DiskSpec]) -> None:
        """The guest stands still: what it wrote is in both places, and the copies are the other host's from now on."""
        for disk in overlays:
            await monitor.execute("block-job-cancel", {"device": _names(disk)[0]})
        for disk in overlays:
            job, node = _names(disk)
            while (found := await _job(monitor, job))["status"] != "concluded":  # noqa: ASYNC110 - QEMU tells
                await asyncio.sleep(0.005)
            if found.get("error"):
                raise HostError("failed", f"a disk's copy was not finished: {found['error']}")
            await monitor.execute("job-dismiss", {"id": job})
            await monitor.execute("blockdev-del", {"node-name": node})

    async def _check_there(self, door: Door) -> None:
        """All of the guest is on the other host, or it is not; then it goes on here."""
        async with doors.way(self._paths.tls, door, "state") as (reader, _):
            state = await doors.answer(reader)
        if state not in _WHOLE:
            raise HostError("failed", f"the guest has not come to the other host: its machine there is {state[:40]}")

    async def _clear(self, server_id: str, monitor: QmpMonitor) -> None:
        """End what is under way in QEMU."""
        if await monitor.status() != "postmigrate":
            with contextlib.suppress(HostError):
                await monitor.execute("migrate_cancel")
            for _ in range(200):
                status = (await monitor.execute("query-migrate")).get("status")
                if status not in ("active", "setup", "cancelling", "pre-switchover", "device"):
                    break
                await asyncio.sleep(0.05)
        for _ in range(200):
            jobs = [job for job in await monitor.execute("query-jobs") if str(job["id"]).startswith(_JOBS)]
            for job in jobs:
                with contextlib.suppress(HostError):  # it came to its end in the meantime
                    if job["status"] == "concluded":
                        await monitor.execute("job-dismiss", {"id": job["id"]})
                    else:
                        await monitor.execute("block-job-cancel", {"device": job["id"], "force": True})
            if not jobs:
                break
            await asyncio.sleep(0.05)
        spec = self._launcher.load_spec(server_id)
        for disk in spec.disks if spec is not None else []:
            if disk.kind == "overlay":
                with contextlib.suppress(HostError):
                    await monitor.execute("blockdev-del", {"node-name": _names(disk)[1]})


async def _job(monitor: QmpMonitor, name: str) -> dict[str, Any]:
    for job in await monitor.execute("query-jobs"):
        if job["id"] == name:
            return dict(job)
    raise HostError("failed", "QEMU lost the copy of a disk")


def _names(disk: DiskSpec) -> tuple[str, str]:
    """The job's and the node's names of a disk on its way."""
    node = qemu_command.node_id(disk.name)
    return f"{_JOBS}{node}", f"m-{node[2:]}"
