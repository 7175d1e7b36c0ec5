"""Ways of this host's machines to volumes of others: a socket for each, through which bytes flow to the other's gate.

A machine's QEMU finds the socket where that of a volume of this host would be.  When the other host, its storage
daemon or this process ends, QEMU's connection ends; it connects again and repeats what was under way
(`qemu_command.RECONNECT_S`), so the way is laid again when this process starts.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from contextlib import ExitStack
from pathlib import Path

from cloudseed.host import gate, wire
from cloudseed.host.errors import HostError, from_os_error
from cloudseed.host.paths import StatePaths
from cloudseed.host.records import DiskSpec, VolumeWay

log = logging.getLogger("cloudseed.host")


class _Way:
    """One disk's."""

    def __init__(self, tls: Path, address: str, disk: DiskSpec, way: VolumeWay) -> None:
        self._tls = tls
        self._address = address
        self.way = way
        self._wanted = gate.Wanted(gate.VOLUME, f"{disk.volume_id}/{disk.attachment_id}", way.ticket)
        self._server: asyncio.Server | None = None
        self._legs: set[gate.Leg] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def listen(self, path: Path) -> None:
        """Wait for QEMU; only who may pass the directory can connect."""
        with ExitStack() as stack:
            descriptor = os.dup(wire.listen(stack, path, (0, 0)))
        path.chmod(0o666)
        sock = socket.socket(fileno=descriptor)
        sock.setblocking(False)
        self._server = await asyncio.get_running_loop().create_unix_server(self._comes, sock=sock)

    def _comes(self) -> gate.Leg:
        leg = gate.Leg(lambda: self._legs.discard(leg))
        self._legs.add(leg)
        task = asyncio.get_running_loop().create_task(self._carry(leg))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return leg

    async def _carry(self, leg: gate.Leg) -> None:
        outer = gate.Leg()
        try:
            await gate.enter(self._tls, self._address, self.way.address, self.way.port, self._wanted, outer)
        except HostError as exc:
            log.warning("volume %s: %s", self._wanted.id.partition("/")[0], exc.message)
            leg.kill()
            return
        leg.join(outer)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for leg in list(self._legs):
            leg.kill()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class VolumeWays:
    """All of this host, by server and attachment."""

    def __init__(self, paths: StatePaths, address: str) -> None:
        self._paths = paths
        self._address = address
        self._ways: dict[tuple[str, str], _Way] = {}

    async def lay(self, server_id: str, disk: DiskSpec) -> None:
        """Lay the way of this disk, unless it is there."""
        assert disk.way is not None
        key = server_id, disk.attachment_id
        known, path = self._ways.get(key), self._paths.machine(server_id).volume_socket(disk.attachment_id)
        if known is not None and known.way == disk.way and path.exists():
            return
        if not self._address:
            raise HostError("failed", "this host has no address among others (underlay_address is not set)")
        await self.remove(server_id, disk.attachment_id)
        way = _Way(self._paths.tls, self._address, disk, disk.way)
        try:
            path.parent.mkdir(mode=0o710, exist_ok=True)
            await way.listen(path)
        except OSError as exc:
            raise from_os_error(exc, f"laying the way to volume {disk.volume_id}") from exc
        self._ways[key] = way

    async def remove(self, server_id: str, attachment_id: str) -> None:
        """Take one away."""
        way = self._ways.pop((server_id, attachment_id), None)
        if way is not None:
            await way.close()
            self._paths.machine(server_id).volume_socket(attachment_id).unlink(missing_ok=True)

    async def remove_all(self, server_id: str) -> None:
        """Take all of a machine away, which does not run."""
        for server, attachment_id in list(self._ways):
            if server == server_id:
                await self.remove(server, attachment_id)

    async def close(self) -> None:
        """This process ends; QEMUs wait for the next."""
        for way in self._ways.values():
            await way.close()
        self._ways.clear()
