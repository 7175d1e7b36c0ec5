"""The managers of one pretended host, with real files, over keystone, swift and glance; cinder-api is a double."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from cloudseed.cinder.backup.service import BackupManager
from cloudseed.cinder.volume.service import VolumeManager
from cloudseed.host.records import ByteSource
from cloudseed.kernel.context import Context
from tests.support.cloud import Cloud

MIB = 1024**2
GIB = 1024**3


class Managers:
    """Both managers, asked over the bus as cinder-api asks."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.host = cloud.env.host
        self.reports: list[dict[str, Any]] = []
        self.wish: list[dict[str, Any]] = []
        self.volume = VolumeManager(cloud.env, self.host)
        self.backup = BackupManager(cloud.env, self.host)
        self._bus = cloud.env.bus("cinder-api")
        self._name = cloud.config.host

    async def start(self) -> None:
        async def report_state(ctx: Context, **said: Any) -> None:
            self.reports.append(said)

        async def export_wish(ctx: Context, host: str) -> list[dict[str, Any]]:
            return self.wish

        self._bus.serve("cinder-api", {"report_state": report_state, "export_wish": export_wish})
        await self.volume.start()
        await self.backup.start()

    async def ask(self, method: str, **arguments: Any) -> Any:
        part = "cinder-backup" if "backup" in method else "cinder-volume"
        return await self._bus.call(Context(), f"{part}.{self._name}", method, timeout_s=30, **arguments)

    async def new_volume(self, size_gib: int = 1) -> str:
        volume_id = new_id()
        await self.ask("create_volume", volume_id=volume_id, size_gib=size_gib)
        return volume_id

    async def write(self, volume_id: str, offset: int, data: bytes) -> None:
        await self.host.write_volume(volume_id, offset, data)

    async def data(self, volume_id: str, kind: Any = "volume") -> dict[int, bytes]:
        """What a volume holds, by MiB, without the zeros at each end."""
        found: dict[int, bytes] = {}
        source, offset = ByteSource(kind=kind, id=volume_id), 0
        while True:
            piece = await self.host.read_volume(source, offset, MIB - offset % MIB)
            if not piece.data and not piece.zero_bytes:
                return {n: data.rstrip(b"\0") for n, data in found.items() if data.strip(b"\0")}
            if piece.data:
                found[offset // MIB] = found.get(offset // MIB, b"").ljust(offset % MIB, b"\0") + piece.data
            offset += len(piece.data) + piece.zero_bytes


def new_id() -> str:
    return str(uuid.uuid4())


@asynccontextmanager
async def running(path: Path) -> AsyncIterator[Managers]:
    """Managers over a cloud of their own."""
    async with Cloud(path, ["keystone", "swift", "glance"]) as cloud:
        managers = Managers(cloud)
        await managers.start()
        try:
            yield managers
        finally:
            await managers.volume.stop()
            await managers.backup.stop()
