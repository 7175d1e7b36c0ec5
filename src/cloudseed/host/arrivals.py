"""Machines that come from other hosts.

A machine that is off comes as files.  For one that runs, in this order: its config drive and its firmware's variables
as files; `start`, upon which QEMU is started here as the sender says that it must be, and stands still; its disks, over
NBD; its memory; `state`, by which the sender learns that all of it is here.  Whether it then runs here says `run`,
which the control plane orders and no other host can.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from contextlib import ExitStack
from pathlib import Path

import msgspec

from cloudseed.host import disks, moved_files, qemu_command, suspension
from cloudseed.host.doors import Doors, splice
from cloudseed.host.errors import HostError
from cloudseed.host.launch import Launcher
from cloudseed.host.machines import Machines
from cloudseed.host.paths import StatePaths
from cloudseed.host.qmp import QmpMonitor
from cloudseed.host.records import Door, MachineSpec
from cloudseed.host.wire import connect, listen

_READ_TIMEOUT_S = 30.0
_POLL_S = 0.02
_STATE_S = 20.0
_FD = "arriving"
_CAPABILITY = {"capability": "late-block-activate", "state": True}  # nobody writes before the guest runs


class Start(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a machine must be to take a guest.  `images`: disk -> the key of the image that it stands on."""

    layout: suspension.Layout
    images: dict[str, str | None]


class Arrivals:
    """All machines that are expected here."""

    def __init__(self, paths: StatePaths, launcher: Launcher, machines: Machines, doors: Doors) -> None:
        self._paths = paths
        self._launcher = launcher
        self._machines = machines
        self._doors = doors
        self._whole: set[str] = set()

    # ---- off

    async def receive_disks(self, server_id: str) -> Door:
        """Expect the files of a machine."""
        self._launcher.directory(server_id)
        self._whole.discard(server_id)

        async def take(stream: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if stream != "files":
                raise HostError("invalid", f"nothing named {stream[:40]!r} is expected")
            async with self._machines.lock(server_id):
                if self._machines.info(server_id).running:
                    raise HostError("conflict", f"server {server_id} runs on this host")
                await moved_files.receive(self._paths, server_id, reader, disks_too=True)
            self._whole.add(server_id)
            await _say(writer, "ok")

        return await self._doors.open(server_id, take)

    async def settle(self, server_id: str) -> None:
        """Expect it no more; `conflict` when it has not come."""
        await self._doors.close(server_id)
        if server_id not in self._whole:
            raise HostError("conflict", f"the disks of server {server_id} have not come")
        self._whole.discard(server_id)

    async def forget(self, server_id: str) -> None:
        """Expect nothing of it."""
        await self._doors.close(server_id)
        self._whole.discard(server_id)

    # ---- running

    async def receive_machine(self, spec: MachineSpec) -> Door:
        """Expect a guest.  `not_found` when a tap of its is missing, which may be about to come."""
        qemu_command.check_spec(spec)
        with ExitStack() as stack:
            for nic in spec.nics:
                await asyncio.to_thread(self._launcher.open_tap, stack, nic)
        self._launcher.directory(spec.server_id)
        return await self._doors.open(spec.server_id, _Guest(self._paths, self._machines, spec).take)

    async def run(self, server_id: str, paused: bool) -> None:
        """Let a guest that has come go on."""
        monitor = self._machines.monitor(server_id)
        if monitor is None:
            raise HostError("unavailable", f"QEMU of server {server_id} does not answer on this host")
        await self._doors.close(server_id)
        status = await monitor.status()
        if status == "inmigrate":
            raise HostError("conflict", f"the guest of server {server_id} has not come")
        with contextlib.suppress(HostError):  # stopped already
            await monitor.execute("nbd-server-stop")
        if not paused and status != "running":
            await monitor.resume()
            await monitor.execute("announce-self", {"initial": 50, "max": 550, "rounds": 5, "step": 100})
        _socket(self._paths, server_id).unlink(missing_ok=True)


class _Guest:
    """One guest that comes, and the machine that waits for it."""

    def __init__(self, paths: StatePaths, machines: Machines, spec: MachineSpec) -> None:
        self._paths = paths
        self._machines = machines
        self._spec = spec
        self._monitor: QmpMonitor | None = None

    async def take(self, stream: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        match stream:
            case "files":
                await moved_files.receive(self._paths, self._spec.server_id, reader, disks_too=False)
                await _say(writer, "ok")
            case "start":
                async with asyncio.timeout(_READ_TIMEOUT_S):
                    line = await reader.readuntil(b"\n")
                await self._start(msgspec.json.decode(line, type=Start))
                await _say(writer, "ok")
            case "disk":
                sock = await connect(_socket(self._paths, self._spec.server_id))
                inner = await asyncio.open_unix_connection(sock=sock, limit=1 << 20)
                try:
                    await splice((reader, writer), inner)
                finally:
                    inner[1].close()
            case "memory":
                await self._memory(reader, writer)
            case "state":
                await _say(writer, await self._state())
            case _:
                raise HostError("invalid", f"nothing named {stream[:40]!r} is expected")

    async def _start(self, start: Start) -> None:
        """The machine, and its disks open for the sender, who sends what its own disks have above their images."""
        spec = self._spec
        overlays = [disk for disk in spec.disks if disk.kind == "overlay" and not disk.read_only]
        for disk in overlays:
            image = disks.read(self._paths, spec.server_id, disk.name).backing
            if disk.name not in start.images or start.images[disk.name] != image:
                raise HostError("conflict", f"disk {disk.name} stands on image {image} here, and on "
                                            f"{start.images.get(disk.name)} where it comes from")
        monitor = self._monitor = await self._machines.expect(spec, suspension.check_layout(start.layout))
        await monitor.execute("migrate-set-capabilities", {"capabilities": [_CAPABILITY]})
        if not overlays:
            return
        with ExitStack() as stack:
            listener = listen(stack, _socket(self._paths, spec.server_id), (0, 0))
            await monitor.execute_with_fd("getfd", listener, {"fdname": _FD})
            await monitor.execute("nbd-server-start", {
                "addr": {"type": "fd", "data": {"str": _FD}}, "max-connections": len(overlays)})
        for disk in overlays:
            node = qemu_command.node_id(disk.name)
            await monitor.execute("block-export-add", {
                "type": "nbd", "id": f"a-{node}", "node-name": node, "name": disk.name, "writable": True})

    async def _memory(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._monitor is None:
            raise HostError("conflict", "its machine has not been started")
        ours, its = socket.socketpair()
        inner = await asyncio.open_unix_connection(sock=ours, limit=1 << 20)
        try:
            with its:
                await self._monitor.execute_with_fd("getfd", its.fileno(), {"fdname": _FD})
            await self._monitor.execute("migrate-incoming", {"uri": f"fd:{_FD}"})
            await splice((reader, writer), inner)
        finally:
            inner[1].close()

    async def _state(self) -> str:
        """The machine's state once its guest has come, or what it has come to."""
        if self._monitor is None:
            return "absent"
        async with asyncio.timeout(_STATE_S):
            while (status := await self._monitor.status()) == "inmigrate":  # noqa: ASYNC110 - another process tells
                await asyncio.sleep(_POLL_S)
        return status


def _socket(paths: StatePaths, server_id: str) -> Path:
    return paths.machine(server_id).directory / "arrive.sock"


async def _say(writer: asyncio.StreamWriter, line: str) -> None:
    writer.write(line.encode() + b"\n")
    await writer.drain()
