"""The machines whose processes run: what this process holds of each, from its start or ours to its end.

A pidfd tells the end, a monitor connection what QEMU says before that: why it ends, whether its guest stands still,
which device its guest let go of.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

from cloudseed.host import processes
from cloudseed.host.errors import HostError
from cloudseed.host.full_disks import FullDisk
from cloudseed.host.paths import StatePaths
from cloudseed.host.qmp import QmpMonitor

FAILED_TO_START = "failed to start"  # the reason of an end that nobody is told of
_START_TIMEOUT_S = 20.0


class Running:
    """One running machine: its pidfd, its monitor (None when it does not answer), and the word that it left behind."""

    def __init__(self, record: processes.ProcessRecord, pidfd: int) -> None:
        self.record = record
        self.pidfd = pidfd
        self.monitor: QmpMonitor | None = None
        self.full: FullDisk | None = None
        self.listening: asyncio.Task[None] | None = None
        self.reason: str | None = None
        self.paused = False
        self.ended = asyncio.Event()
        self.deleted: dict[str, asyncio.Event] = defaultdict(asyncio.Event)

    async def listen(self, monitor: QmpMonitor, full: FullDisk) -> None:
        """Hear what QEMU says, until it ends."""
        with contextlib.closing(full):
            async for event in monitor.events():
                data: dict[str, Any] = event.get("data", {})
                full.heard(event)
                if event["event"] == "SHUTDOWN":
                    self.reason = self.reason or str(data.get("reason", "shutdown"))
                elif event["event"] in ("STOP", "RESUME"):
                    self.paused = event["event"] == "STOP"
                elif event["event"] == "DEVICE_DELETED" and "device" in data:
                    self.deleted[str(data["device"])].set()

    async def close(self) -> None:
        if self.listening is not None:
            self.listening.cancel()
            await asyncio.gather(self.listening, return_exceptions=True)
        if self.monitor is not None:
            await self.monitor.close()


class RunningMachines:
    """By server.  `ended(server_id, running)` is awaited after each end, once its last words were heard."""

    def __init__(self, paths: StatePaths, ended: Callable[[str, Running], Awaitable[None]]) -> None:
        self._paths = paths
        self._ended = ended
        self._running: dict[str, Running] = {}
        self._farewells: set[asyncio.Task[None]] = set()

    def get(self, server_id: str) -> Running | None:
        return self._running.get(server_id)

    def __getitem__(self, server_id: str) -> Running:
        return self._running[server_id]

    async def take_up(self, server_id: str, record: processes.ProcessRecord) -> None:
        """Watch the process's end and connect to its monitor; HostError when it ends before that."""
        pidfd = processes.open_pidfd(record)
        if pidfd is None:
            raise HostError("unavailable", "QEMU ended at once")
        running = Running(record, pidfd)
        monitor = QmpMonitor(self._paths.machine(server_id).host_qmp_socket, timeout_s=_START_TIMEOUT_S)
        self._running[server_id] = running
        asyncio.get_running_loop().add_reader(pidfd, self._process_ended, server_id, running)
        connecting = asyncio.create_task(monitor.connect())
        ended = asyncio.create_task(running.ended.wait())
        await asyncio.wait({connecting, ended}, return_when=asyncio.FIRST_COMPLETED)
        if ended.done() and not connecting.done():
            connecting.cancel()
        ended.cancel()
        results = await asyncio.gather(connecting, ended, return_exceptions=True)
        if isinstance(results[0], BaseException):
            if running.record.alive and isinstance(results[0], HostError):
                raise results[0]  # it runs, unheard; its end is watched all the same
            running.reason = FAILED_TO_START
            raise HostError("unavailable", "QEMU ended before it was ready") from results[0]
        running.monitor = monitor
        running.full = full = FullDisk(server_id, monitor)
        with contextlib.suppress(HostError):  # it went meanwhile, which its pidfd tells
            status = await monitor.status()
            running.paused = status in ("paused", "io-error")
            full.found(status)
        running.listening = asyncio.create_task(running.listen(monitor, full), name=f"qmp-{server_id}")

    async def close(self) -> None:
        """Let go of the machines; they run on."""
        for server_id, running in list(self._running.items()):
            self._forget(server_id, running)
            await running.close()
        if self._farewells:
            await asyncio.wait(self._farewells, timeout=2.0)

    def _forget(self, server_id: str, running: Running) -> None:
        asyncio.get_running_loop().remove_reader(running.pidfd)
        os.close(running.pidfd)
        if self._running.get(server_id) is running:
            del self._running[server_id]

    def _process_ended(self, server_id: str, running: Running) -> None:
        self._forget(server_id, running)
        farewell = asyncio.create_task(self._farewell(server_id, running), name=f"farewell-{server_id}")
        self._farewells.add(farewell)
        farewell.add_done_callback(self._farewells.discard)

    async def _farewell(self, server_id: str, running: Running) -> None:
        """Hear the machine's last words, then tell."""
        processes.reap(running.record.pid)
        if running.listening is not None:
            await asyncio.wait({running.listening}, timeout=1.0)
        await running.close()
        for event in running.deleted.values():
            event.set()
        running.ended.set()
        await self._ended(server_id, running)
